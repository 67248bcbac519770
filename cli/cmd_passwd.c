/* obscurafs passwd: changes the passphrase of this device's vault. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "crypto/err.h"

#include <stdio.h>
#include <string.h>

static int run(int argc, char **argv)
{
    static const struct option longs[] = {PASS_OPTIONS,
                                          {"new-passfile", required_argument, NULL, 'N'},
                                          {"allow-weak", no_argument, NULL, 'W'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    struct pass_source source = {0}, new_source = {0};
    struct pass old_pass = {0}, new_pass = {0};
    const char *words[] = {"obscurafs", NULL};
    bool allow_weak = false;
    uint8_t id[32];
    uint32_t tag;
    int c;
    while ((c = cmd_getopt(&cmd_passwd, argc, argv, "h", longs)) != -1) {
        if (pass_option(c, optarg, &source))
            continue;
        switch (c) {
        case 'N':
            new_source.passfile = optarg;
            break;
        case 'W':
            allow_weak = true;
            break;
        }
    }
    cmd_operands(&cmd_passwd, argc, 1, 1);
    const char *path = argv[optind];
    int rc = common_peek(path, id, &tag);
    if (rc != 0)
        return rc;
    rc = pass_get(&source, "Passphrase now", false, &old_pass);
    if (rc == 0)
        rc = pass_get(&new_source, "New passphrase", true, &new_pass);
    if (rc == 0)
        rc = pass_check_strength(&new_pass, words, allow_weak);
    if (rc == 0) {
        int err = vault_passwd(path, old_pass.text, old_pass.len, new_pass.text, new_pass.len);
        rc = err ? cmd_fail(err, path, NULL) : EXIT_OK;
    }
    pass_release(&old_pass);
    pass_release(&new_pass);
    if (rc == 0)
        puts("The passphrase is changed. The vault code stays as it is.");
    return rc;
}

const struct cmd cmd_passwd = {
    "passwd", run, "[OPTIONS] VAULT", "Change the passphrase on this device",
    PASS_HELP "      --new-passfile FILE  the new passphrase is the first line of FILE\n"
              "      --allow-weak       take a passphrase that is easy to guess\n"};
