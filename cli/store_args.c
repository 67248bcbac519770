#include "cli/store_args.h"

#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/place.h"
#include "crypto/err.h"
#include "crypto/secret.h"

#include <stdio.h>
#include <string.h>

bool store_args_option(int c, const char *arg, struct store_args *args)
{
    if (c == 'L')
        args->login_file = arg;
    else if (c == 'A')
        args->ca_file = arg;
    else if (c == 'H')
        args->allow_http = true;
    else
        return false;
    return true;
}

static int set_url(struct stores_item *item, const char *url)
{
    char real[PLACE_MAX];
    bool folder = strncmp(url, "file://", 7) == 0 && place_real(url + 7, real);
    if (strlen(folder ? real : url) + 7 > STORE_URL_MAX) {
        cmd_error("the URL is too long");
        return EXIT_USAGE;
    }
    snprintf(item->url, sizeof(item->url), "%s%s", folder ? "file://" : "", folder ? real : url);
    return 0;
}

static int set_ca_file(struct stores_item *item, const char *ca_file)
{
    char real[PLACE_MAX];
    if (!ca_file)
        return 0;
    if (!place_real(ca_file, real) || strlen(real) >= sizeof(item->ca_file)) {
        cmd_error("%s: no such file", ca_file);
        return EXIT_USAGE;
    }
    strcpy(item->ca_file, real);
    return 0;
}

/* The URL is understood before anybody is asked for a login. */
static int probe(const struct stores_item *item)
{
    static const struct store_login none = {"x", "x", NULL};
    struct store_options options = {.allow_http = item->allow_http};
    struct store *store = NULL;
    char why[200] = "";
    int err = store_open(&store, item->url, &none, &options, why);
    store_close(store);
    if (!err)
        return 0;
    cmd_error("%s: %s", item->url, why[0] ? why : err_text(err));
    return EXIT_USAGE;
}

int store_args_item(const char *url, const struct store_args *args, struct stores_item **out)
{
    struct stores_item *item = *out = secret_alloc(sizeof(*item));
    if (!item)
        return EXIT_OTHER;
    item->allow_http = args->allow_http;
    int rc = set_url(item, url);
    if (rc == 0)
        rc = set_ca_file(item, args->ca_file);
    if (rc == 0)
        rc = probe(item);
    return rc ? rc : common_login(item->url, args->login_file, item);
}

void store_args_release(struct stores_item *item)
{
    if (!item)
        return;
    secret_free(item->user);
    secret_free(item->secret);
    secret_free(item->token);
    secret_free(item);
}
