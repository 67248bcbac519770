/*
 * cmd.h - what a command is. Each lives in its own file, cmd_<name>.c, and returns the process's exit code.
 */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include <getopt.h>
#include <stdbool.h>

/* Exit codes, as obscurafs.1 lists them. */
enum {
    EXIT_OK = 0,
    EXIT_USAGE = 1,
    EXIT_NO_VAULT = 6,
    EXIT_NOT_EMPTY = 7,     /* the directory for a new vault is not empty */
    EXIT_DAMAGED = 8,       /* the vault here cannot be read */
    EXIT_NO_PASSPHRASE = 9, /* none could be read */
    EXIT_MOUNT_POINT = 10,
    EXIT_OTHER = 11,
    EXIT_WRONG_PASSPHRASE = 12,
    EXIT_IN_USE = 13,
    EXIT_STORE_LOGIN = 14,
    EXIT_INTERRUPTED = 15,
    EXIT_NOT_OURS = 16, /* the store holds something else */
    EXIT_WRONG_CODE = 17,
    EXIT_DISK_FULL = 18,
    EXIT_STORE_UNREACHABLE = 19,
    EXIT_CONTRADICTION = 20,
    EXIT_BEHIND = 21,
    EXIT_WEAK_PASSPHRASE = 22,
    EXIT_STORE_FULL = 24,
    EXIT_VERSION = 25,
    EXIT_CHECK_FAILED = 26,
};

struct cmd {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
    const char *usage;                 /* what follows the name */
    const char *summary;
    const char *options; /* the option lines of --help, or "" */
};

extern const struct cmd cmd_init, cmd_mount, cmd_umount, cmd_lock, cmd_store, cmd_sync, cmd_status,
    cmd_clone, cmd_passwd, cmd_info, cmd_check;

/*
 * getopt_long with --help, --version and "unknown option" done: returns the option's value or -1 at the end; on the first
 * two it prints and exits 0, on the last it prints one line and exits EXIT_USAGE.
 */
int cmd_getopt(const struct cmd *cmd, int argc, char **argv, const char *shorts,
               const struct option *longs);

/* Checks the number of operands; prints one line and exits EXIT_USAGE when it is wrong. */
void cmd_operands(const struct cmd *cmd, int argc, int min, int max);

/* "obscurafs: text" on standard error. */
void cmd_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The exit code for an err.h code; the one place where they meet. */
int cmd_exit_code(int err);
/* Prints "${thing}: ${why or err_text}" and returns the exit code. */
int cmd_fail(int err, const char *thing, const char *why);

#endif
