/* obscurafs clone: makes this machine a new device of a vault, from the store and the vault code. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/progress.h"
#include "crypto/err.h"
#include "crypto/secret.h"
#include "sync/join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct clone_options {
    struct pass_source source;
    const char *code_file, *login_file, *ca_file;
    bool allow_weak, allow_http, quiet;
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
    struct stores_item *item = secret_alloc(sizeof(*item));
    uint8_t *code = secret_alloc(CODE_LEN);
    struct pass pass = {0};
    char real[4096], file_url[4096 + 8];
    const char *words[] = {"obscurafs", NULL};
    int rc = item && code ? 0 : EXIT_OTHER;

    if (rc == 0 && strncmp(url, "file://", 7) == 0 && common_realpath(url + 7, real)) {
        snprintf(file_url, sizeof(file_url), "file://%s", real);
        url = file_url;
    }
    if (rc == 0 && strlen(url) > STORE_URL_MAX) {
        cmd_error("the URL is too long");
        rc = EXIT_USAGE;
    }
    if (rc == 0) {
        strcpy(item->url, url);
        item->allow_http = o->allow_http;
        if (o->ca_file && common_realpath(o->ca_file, real) && strlen(real) < sizeof(item->ca_file))
            strcpy(item->ca_file, real);
        rc = common_login(url, o->login_file, item);
    }
    if (rc == 0)
        rc = get_code(o, code);
    if (rc == 0)
        rc = pass_get(&o->source, "New passphrase for this device", true, &pass);
    if (rc == 0)
        rc = pass_check_strength(&pass, words, o->allow_weak);
    if (rc == 0)
        rc = join(path, item, o, code, &pass);
    pass_release(&pass);
    secret_free(code);
    if (item) {
        secret_free(item->user);
        secret_free(item->secret);
        secret_free(item->token);
    }
    secret_free(item);
    return rc;
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {PASS_OPTIONS,
                                          {"code-file", required_argument, NULL, 'C'},
                                          {"login-file", required_argument, NULL, 'L'},
                                          {"ca-file", required_argument, NULL, 'A'},
                                          {"allow-http", no_argument, NULL, 'H'},
                                          {"allow-weak", no_argument, NULL, 'W'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    struct clone_options o = {0};
    int c;
    while ((c = cmd_getopt(&cmd_clone, argc, argv, "qh", longs)) != -1) {
        switch (c) {
        case 'P':
            o.source.passfile = optarg;
            break;
        case 'E':
            o.source.extpass = optarg;
            break;
        case 'C':
            o.code_file = optarg;
            break;
        case 'L':
            o.login_file = optarg;
            break;
        case 'A':
            o.ca_file = optarg;
            break;
        case 'H':
            o.allow_http = true;
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
    PASS_HELP "      --code-file FILE   the vault code is the first line of FILE\n"
              "      --login-file FILE  login and secret for the store, on two lines\n"
              "      --ca-file FILE     certificates to trust instead of the system's\n"
              "      --allow-http       send a login unencrypted (never over the internet)\n"
              "      --allow-weak       take a passphrase that is easy to guess\n"
              "  -q, --quiet            say nothing when all is well\n"};
