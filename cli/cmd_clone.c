/* obscurafs clone: makes this machine a new device of a vault, from the store and the vault code. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/progress.h"
#include "cli/store_args.h"
#include "crypto/err.h"
#include "crypto/secret.h"
#include "sync/join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct clone_options {
    struct pass_source source;
    struct store_args store;
    const char *code_file;
    bool allow_weak, quiet;
};

static struct progress bar;

static void show(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    progress_show(&bar, what, done, total, false);
}

static int get_code(const struct clone_options *o, uint8_t code[CODE_LEN])
{
    struct pass text = {0};
    struct pass_source source = {.passfile = o->code_file};
    int group = 0;
    int rc = pass_get(&source, "Vault code", false, &text);
    if (rc != 0)
        return rc;
    if (code_parse(text.text, code, &group) != 0) {
        if (group)
            cmd_error("the vault code is mistyped in group %d", group);
        else
            cmd_error("this is no vault code: it has eight groups of five characters");
        rc = EXIT_WRONG_CODE;
    }
    pass_release(&text);
    return rc;
}

static int join(const char *path, const struct stores_item *item, const struct clone_options *o,
                const uint8_t *code, const struct pass *pass)
{
    struct store *store = NULL;
    char why[200] = "", device[KEYRING_NAME_MAX + 1];
    struct store_login login = {item->user, item->secret, item->token};
    struct store_options options = {.ca_file = item->ca_file[0] ? item->ca_file : NULL,
                                    .allow_http = item->allow_http};

    common_device_name(device);
    int err = store_open(&store, item->url, &login, &options, why);
    if (err) {
        cmd_error("%s: %s", item->url, why[0] ? why : err_text(err));
        return EXIT_USAGE;
    }
    err = join_clone(path, store, item->url, &login, &options, code, pass->text, pass->len, NULL,
                     device, show, NULL, why);
    store_close(store);
    progress_end(&bar);
    if (err == ERR_WRONGKEY) {
        cmd_error("%s: %s", item->url,
                  why[0] ? why : "this vault code does not open the vault on this store");
        return EXIT_WRONG_CODE;
    }
    if (err)
        return cmd_fail(err, err == ERR_EXIST ? path : item->url,
                        err == ERR_EXIST ? "is not empty; a vault needs a directory of its own"
                                         : why);
    if (!o->quiet)
        printf("Made the vault %s. Next: obscurafs mount '%s' MOUNTPOINT\n", path, path);
    return EXIT_OK;
}

static int clone_vault(const char *url, const char *path, const struct clone_options *o)
{
    struct stores_item *item;
    uint8_t *code = secret_alloc(CODE_LEN);
    struct pass pass = {0};
    const char *words[] = {"obscurafs", NULL};
    int rc = store_args_item(url, &o->store, &item);
    if (rc == 0)
        rc = code ? get_code(o, code) : EXIT_OTHER;
    if (rc == 0)
        rc = pass_get(&o->source, "New passphrase for this device", true, &pass);
    if (rc == 0)
        rc = pass_check_strength(&pass, words, o->allow_weak);
    if (rc == 0)
        rc = join(path, item, o, code, &pass);
    pass_release(&pass);
    secret_free(code);
    store_args_release(item);
    return rc;
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {PASS_OPTIONS,
                                          {"code-file", required_argument, NULL, 'C'},
                                          STORE_ARGS_OPTIONS,
                                          {"allow-weak", no_argument, NULL, 'W'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    struct clone_options o = {0};
    int c;
    while ((c = cmd_getopt(&cmd_clone, argc, argv, "qh", longs)) != -1) {
        if (pass_option(c, optarg, &o.source) || store_args_option(c, optarg, &o.store))
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
    cmd_operands(&cmd_clone, argc, 2, 2);
    control_init();
    progress_init(&bar, o.quiet);
    return clone_vault(argv[optind], argv[optind + 1], &o);
}

const struct cmd cmd_clone = {
    "clone", run, "[OPTIONS] URL VAULT",
    "Make this machine a new device of the vault on the store URL, with the vault code",
    PASS_HELP STORE_ARGS_HELP "      --code-file FILE   the vault code is the first line of FILE\n"
                              "      --allow-weak       take a passphrase that is easy to guess\n"
                              "  -q, --quiet            say nothing when all is well\n"};
