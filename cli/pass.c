#include "cli/pass.h"

#include "cli/cmd.h"
#include "crypto/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <zxcvbn.h>

/* zxcvbn's scale, entropy in bits: below it, a stolen disk is opened by guessing. Slots are local, so this guards against a
 * thief of the device, with Argon2id in between. */
#define STRENGTH_FLOOR_BITS 35.0

void pass_release(struct pass *pass)
{
    secret_free(pass->text);
    pass->text = NULL;
    pass->len = 0;
}

static int pass_alloc(struct pass *out)
{
    out->len = 0;
    out->text = secret_alloc(PASS_MAX + 1);
    if (out->text)
        return 0;
    cmd_error("out of guarded memory");
    return EXIT_OTHER;
}

/* One byte at a time, so that nothing of what follows the line is taken from the next reader. */
static int read_line(int fd, struct pass *out)
{
    bool any = false;
    for (;;) {
        char c;
        ssize_t n = read(fd, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            return any ? 0 : -1;
        any = true;
        if (c == '\n')
            return 0;
        if (c == '\0' || out->len >= PASS_MAX)
            return -1;
        out->text[out->len++] = c;
        out->text[out->len] = '\0';
    }
}

static void strip_cr(struct pass *out)
{
    if (out->len > 0 && out->text[out->len - 1] == '\r')
        out->text[--out->len] = '\0';
}

static int from_file(const char *path, struct pass *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        cmd_error("%s: %s", path, strerror(errno));
        return EXIT_NO_PASSPHRASE;
    }
    int rc = read_line(fd, out);
    close(fd);
    strip_cr(out);
    if (rc != 0) {
        cmd_error("%s: no passphrase on its first line (at most %u bytes)", path, PASS_MAX);
        return EXIT_NO_PASSPHRASE;
    }
    return 0;
}

static int from_command(const char *command, struct pass *out)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) != 0) {
        cmd_error("pipe: %s", strerror(errno));
        return EXIT_OTHER;
    }
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGPIPE, SIG_DFL); /* we ignore it, and that would be inherited */
        dup2(p[1], STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(p[1]);
    int rc = pid < 0 ? -1 : read_line(p[0], out);
    close(p[0]);
    int status = 0;
    if (pid > 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    strip_cr(out);
    /* the command may be ended by SIGPIPE when it prints more than the line that we read */
    bool ended_well = WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGPIPE;
    if (rc != 0 || !ended_well) {
        cmd_error("the command of --extpass failed or printed no passphrase");
        return EXIT_NO_PASSPHRASE;
    }
    return 0;
}

/* For the handler that puts the terminal's echo back when the user gives up at the prompt. */
static struct termios saved_termios;
static volatile sig_atomic_t saved_fd = -1;

static void restore_and_die(int sig)
{
    if (saved_fd >= 0)
        tcsetattr(saved_fd, TCSANOW, &saved_termios);
    signal(sig, SIG_DFL);
    raise(sig);
}

static int from_terminal(int tty, const char *prompt, struct pass *out)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction old[4], sa = {.sa_handler = restore_and_die};
    struct termios quiet;

    if (tcgetattr(tty, &saved_termios) != 0)
        return -1;
    quiet = saved_termios;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
    quiet.c_lflag |= ICANON | ECHONL;
    saved_fd = tty;
    for (int i = 0; i < 4; i++)
        sigaction(signals[i], &sa, &old[i]);
    dprintf(tty, "%s: ", prompt);
    tcsetattr(tty, TCSAFLUSH, &quiet);
    int rc = read_line(tty, out);
    tcsetattr(tty, TCSAFLUSH, &saved_termios);
    saved_fd = -1;
    for (int i = 0; i < 4; i++)
        sigaction(signals[i], &old[i], NULL);
    return rc;
}

bool pass_can_ask(void)
{
    if (!isatty(STDIN_FILENO))
        return false;
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
    if (tty < 0)
        return false;
    close(tty);
    return true;
}

static int ask(const char *prompt, bool confirm, struct pass *out)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
    struct pass again = {0};
    int rc = EXIT_NO_PASSPHRASE;

    if (tty < 0 || from_terminal(tty, prompt, out) != 0) {
        cmd_error("no passphrase was typed");
    } else if (confirm) {
        if (pass_alloc(&again) == 0 && from_terminal(tty, "The same again", &again) == 0 &&
            again.len == out->len && memcmp(again.text, out->text, out->len) == 0)
            rc = 0;
        else
            cmd_error("the two passphrases differ; nothing was changed");
    } else {
        rc = 0;
    }
    pass_release(&again);
    if (tty >= 0)
        close(tty);
    return rc;
}

bool pass_option(int c, const char *arg, struct pass_source *source)
{
    if (c == 'P')
        source->passfile = arg;
    else if (c == 'E')
        source->extpass = arg;
    else
        return false;
    return true;
}

int pass_get(const struct pass_source *source, const char *prompt, bool confirm, struct pass *out)
{
    int rc = pass_alloc(out);
    if (rc != 0)
        return rc;
    if (source && source->passfile) {
        rc = from_file(source->passfile, out);
    } else if (source && source->extpass) {
        rc = from_command(source->extpass, out);
    } else if (pass_can_ask()) {
        rc = ask(prompt, confirm, out);
    } else if (read_line(STDIN_FILENO, out) == 0) {
        strip_cr(out);
    } else {
        cmd_error(
            "no passphrase: standard input is not a terminal and its next line is missing or too long");
        rc = EXIT_NO_PASSPHRASE;
    }
    if (rc != 0)
        pass_release(out);
    return rc;
}

int pass_ask_line(const char *prompt, char *out, size_t size)
{
    struct pass line = {0};
    int rc = pass_alloc(&line);
    if (rc != 0)
        return rc;
    if (pass_can_ask()) {
        printf("%s: ", prompt);
        fflush(stdout);
    }
    if (read_line(STDIN_FILENO, &line) != 0 || line.len >= size) {
        cmd_error("%s: no answer", prompt);
        rc = EXIT_USAGE;
    } else {
        strip_cr(&line);
        memcpy(out, line.text, line.len + 1);
    }
    pass_release(&line);
    return rc;
}

int pass_login_file(const char *path, struct pass *user, struct pass *secret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = EXIT_USAGE;
    if (fd < 0) {
        cmd_error("%s: %s", path, strerror(errno));
        return rc;
    }
    if (pass_alloc(user) == 0 && pass_alloc(secret) == 0 && read_line(fd, user) == 0 &&
        read_line(fd, secret) == 0) {
        strip_cr(user);
        strip_cr(secret);
        rc = 0;
    } else {
        cmd_error("%s: needs two lines, the login and the secret", path);
        pass_release(user);
        pass_release(secret);
    }
    close(fd);
    return rc;
}

int pass_check_strength(const struct pass *pass, const char *const *words, bool allow_weak)
{
    if (pass->len == 0) {
        cmd_error("an empty passphrase protects nothing; choose one, or four words drawn by dice");
        return EXIT_WEAK_PASSPHRASE;
    }
    double bits = ZxcvbnMatch(pass->text, (const char **)(uintptr_t)words, NULL);
    if (bits >= STRENGTH_FLOOR_BITS || allow_weak)
        return 0;
    cmd_error(
        "this passphrase can be guessed in about 2^%.0f tries; take four or more unrelated words, or insist with "
        "--allow-weak",
        bits);
    return EXIT_WEAK_PASSPHRASE;
}
