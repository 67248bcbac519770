/* obscurafs init: makes a vault and shows its vault code once. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/sheet.h"
#include "crypto/err.h"
#include "crypto/secret.h"
#include "sync/join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct init_options {
    struct pass_source source;
    const char *code_file;
    bool allow_weak, quiet;
};

static int make(const char *path, const struct init_options *o)
{
    struct pass pass = {0};
    char why[200] = "", device[KEYRING_NAME_MAX + 1];
    const char *base = strrchr(path, '/');
    const char *login = getenv("USER");
    const char *words[] = {base ? base + 1 : path, login ? login : "obscurafs", "obscurafs", NULL};
    uint8_t id[32];
    uint32_t tag;

    if (vault_peek(path, id, &tag) == 0) {
        cmd_error("%s: is a vault already; nothing was changed", path);
        return EXIT_NOT_EMPTY;
    }
    /* found out before the vault is made: the code is the one thing that cannot be shown again */
    if (o->code_file && access(o->code_file, F_OK) == 0) {
        cmd_error("%s: exists already; the code file must be new", o->code_file);
        return EXIT_USAGE;
    }
    int rc = pass_get(&o->source, "New passphrase", true, &pass);
    if (rc == 0)
        rc = pass_check_strength(&pass, words, o->allow_weak);
    uint8_t *code = secret_alloc(CODE_LEN);
    if (rc == 0 && !code)
        rc = EXIT_OTHER;
    if (rc == 0) {
        common_device_name(device);
        int err = join_init(path, pass.text, pass.len, NULL, device, code, why);
        if (err)
            rc = cmd_fail(err, path,
                          err == ERR_EXIST ? "is not empty; a vault needs a directory of its own"
                                           : why);
    }
    pass_release(&pass);
    if (rc == 0 && vault_peek(path, id, &tag) == 0) {
        if (o->code_file)
            rc = sheet_write_file(code, o->code_file);
        /* also if quiet: it is shown now or never */
        if (!o->code_file || rc != 0)
            sheet_print(code, id);
        if (!o->quiet)
            printf("Made the vault %s. Next: obscurafs mount '%s' MOUNTPOINT\n", path, path);
    }
    secret_free(code);
    return rc;
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {PASS_OPTIONS,
                                          {"code-file", required_argument, NULL, 'C'},
                                          {"allow-weak", no_argument, NULL, 'W'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    struct init_options o = {0};
    int c;
    while ((c = cmd_getopt(&cmd_init, argc, argv, "qh", longs)) != -1) {
        if (pass_option(c, optarg, &o.source))
            continue;
        switch (c) {
        case 'C':
            o.code_file = optarg;
            break;
        case 'W':
            o.allow_weak = true;
            break;
        case 'q':
            o.quiet = true;
            break;
        }
    }
    cmd_operands(&cmd_init, argc, 1, 1);
    return make(argv[optind], &o);
}

const struct cmd cmd_init = {
    "init", run, "[OPTIONS] VAULT", "Make a vault in the new or empty directory VAULT",
    PASS_HELP
    "      --code-file FILE   write the vault code to the new FILE instead of showing it\n"
    "      --allow-weak       take a passphrase that is easy to guess\n"
    "  -q, --quiet            say nothing when all is well\n"};
