/*
 * pass.h - where passphrases and other secrets come from: the terminal, a file, a command, standard input.
 *
 * Secrets are in secret_alloc memory; the caller frees them with secret_free. Only the first line counts, without its
 * newline. Not thread-safe.
 */
#ifndef CLI_PASS_H
#define CLI_PASS_H

#include <stdbool.h>
#include <stddef.h>

#define PASS_MAX 1024u

/* The options that every command with a passphrase has. */
struct pass_source {
    const char *passfile; /* --passfile FILE, or NULL */
    const char *extpass;  /* --extpass COMMAND, or NULL */
};

struct pass {
    char *text; /* secret_alloc, NUL-terminated */
    size_t len;
};

/* Options for a command's table, and the help text. */
#define PASS_OPTIONS                                                                               \
    {"passfile", required_argument, NULL, 'P'},                                                    \
    {                                                                                              \
        "extpass", required_argument, NULL, 'E'                                                    \
    }
#define PASS_HELP                                                                                  \
    "      --passfile FILE    the passphrase is the first line of FILE\n"                          \
    "      --extpass COMMAND  the passphrase is the first line that COMMAND prints\n"

/* Takes one of PASS_OPTIONS; false: ${c} is another. */
bool pass_option(int c, const char *arg, struct pass_source *source);

/*
 * Gets a passphrase. From the source if given; else, on a terminal, by asking ${prompt} without echo (twice if ${confirm}); else the
 * next line of standard input. 0 or an exit code, after saying why.
 */
int pass_get(const struct pass_source *source, const char *prompt, bool confirm, struct pass *out);
void pass_release(struct pass *pass);

/* A line with echo from the terminal, or from standard input. ${out} has ${size} bytes. 0 or an exit code. */
int pass_ask_line(const char *prompt, char *out, size_t size);
/* The first two lines of a file: login and secret. 0 or an exit code. */
int pass_login_file(const char *path, struct pass *user, struct pass *secret);
/* True if there is a terminal to ask on. */
bool pass_can_ask(void);

/*
 * Refuses a passphrase that is empty (also with ${allow_weak}) or guessable. ${words}: words that an attacker would try first (vault name, user
 * name). 0, or EXIT_WEAK_PASSPHRASE after saying why and how to do better.
 */
int pass_check_strength(const struct pass *pass, const char *const *words, bool allow_weak);

#endif
