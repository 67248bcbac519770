#include "cli/cmd.h"

#include "crypto/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void cmd_error(const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    fprintf(stderr, "obscurafs: %s\n", line);
}

static void help(const struct cmd *cmd)
{
    printf("usage: obscurafs %s %s\n%s.\n", cmd->name, cmd->usage, cmd->summary);
    printf(
        "\noptions:\n%s  -h, --help             this text\n      --version          the version\n",
        cmd->options);
    printf("\nSee obscurafs(1).\n");
}

int cmd_getopt(const struct cmd *cmd, int argc, char **argv, const char *shorts,
               const struct option *longs)
{
    opterr = 0;
    int c = getopt_long(argc, argv, shorts, longs, NULL);
    switch (c) {
    case 'h':
        help(cmd);
        exit(EXIT_OK);
    case 'V':
        puts("obscurafs " OBSCURAFS_VERSION);
        exit(EXIT_OK);
    case '?':
    case ':':
        cmd_error("%s: option not understood or without its value: %s; see obscurafs %s --help",
                  cmd->name, argv[optind - 1], cmd->name);
        exit(EXIT_USAGE);
    default:
        return c;
    }
}

void cmd_operands(const struct cmd *cmd, int argc, int min, int max)
{
    int n = argc - optind;
    if (n >= min && n <= max)
        return;
    cmd_error("usage: obscurafs %s %s", cmd->name, cmd->usage);
    exit(EXIT_USAGE);
}

int cmd_exit_code(int err)
{
    switch (err) {
    case ERR_OK:
        return EXIT_OK;
    case ERR_NOTVAULT:
        return EXIT_NO_VAULT;
    case ERR_EXIST:
        return EXIT_NOT_EMPTY;
    case ERR_FORMAT:
    case ERR_AUTH:
        return EXIT_DAMAGED;
    case ERR_WRONGKEY:
        return EXIT_WRONG_PASSPHRASE;
    case ERR_LOCKED:
        return EXIT_IN_USE;
    case ERR_LOGIN:
        return EXIT_STORE_LOGIN;
    case ERR_INTR:
        return EXIT_INTERRUPTED;
    case ERR_NOTOURS:
        return EXIT_NOT_OURS;
    case ERR_NOSPACE:
        return EXIT_DISK_FULL;
    case ERR_NET:
    case ERR_NETPERM:
        return EXIT_STORE_UNREACHABLE;
    case ERR_CONTRADICTION:
        return EXIT_CONTRADICTION;
    case ERR_BEHIND:
    case ERR_STALE:
        return EXIT_BEHIND;
    case ERR_STOREFULL:
        return EXIT_STORE_FULL;
    case ERR_VERSION:
        return EXIT_VERSION;
    default:
        return EXIT_OTHER;
    }
}

int cmd_fail(int err, const char *thing, const char *why)
{
    cmd_error("%s: %s", thing, why && *why ? why : err_text(err));
    return cmd_exit_code(err);
}
