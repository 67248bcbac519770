/* obscurafs: finds the command and runs it. */
#include "cli/cmd.h"
#include "cli/mount_helper.h"

#include "crypto/secret.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct cmd *const commands[] = {&cmd_init,   &cmd_mount, &cmd_umount, &cmd_lock,
                                             &cmd_store,  &cmd_sync,  &cmd_status, &cmd_clone,
                                             &cmd_passwd, &cmd_info,  &cmd_check};

static void help(FILE *out)
{
    fprintf(out, "usage: obscurafs COMMAND [OPTIONS] ...\n"
                 "A private folder that seals itself and syncs only ciphertext.\n\ncommands:\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\nobscurafs COMMAND --help says more; so does obscurafs(1).\n");
}

static int start(void)
{
    signal(SIGPIPE, SIG_IGN);
    secret_harden_process();
    if (secret_init() == 0)
        return EXIT_OK;
    cmd_error("no randomness or no memory from the system");
    return EXIT_OTHER;
}

int main(int argc, char **argv)
{
    int rc;

    if (argc > 0 && mount_helper_is_called(argv[0])) {
        rc = start();
        return rc != 0 ? rc : mount_helper_run(argc, argv);
    }
    if (argc < 2) {
        cmd_error("a command is missing; see obscurafs --help");
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        help(stdout);
        return EXIT_OK;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        puts("obscurafs " OBSCURAFS_VERSION);
        return EXIT_OK;
    }
    rc = start();
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(name, commands[i]->name) == 0)
            return commands[i]->run(argc - 1, argv + 1);
    cmd_error("no such command: %s; see obscurafs --help", name);
    return EXIT_USAGE;
}
