/* obscurafs store add | list | remove: where a vault pushes its ciphertext. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/store_args.h"
#include "crypto/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct given {
    struct pass_source source;
    struct store_args store;
    bool json;
};

static cJSON *add_request(const struct stores_item *item)
{
    cJSON *r = cJSON_CreateObject();
    cJSON_AddStringToObject(r, "do", "store-add");
    cJSON_AddStringToObject(r, "url", item->url);
    if (item->user)
        cJSON_AddStringToObject(r, "user", item->user);
    if (item->secret)
        cJSON_AddStringToObject(r, "secret", item->secret);
    if (item->token)
        cJSON_AddStringToObject(r, "token", item->token);
    if (item->ca_file[0])
        cJSON_AddStringToObject(r, "ca_file", item->ca_file);
    cJSON_AddBoolToObject(r, "allow_http", item->allow_http);
    return r;
}

/* Asks the process that has it mounted; takes over the request. ${why}: 200 bytes, or NULL. */
static int ask(const char *sock, cJSON *request, char *why)
{
    cJSON *last = control_call(sock, request, NULL, NULL, false);
    int err = last ? control_code(last) : ERR_IO;
    if (last && control_why(last) && why)
        snprintf(why, 200, "%s", control_why(last));
    cJSON_Delete(last);
    cJSON_Delete(request);
    return err;
}

/* Asks the process that has it mounted, or does it here. */
static int add_item(const char *vault_path, const char *sock, const struct given *a,
                    const struct stores_item *item)
{
    char why[200] = "";
    int err;
    if (sock) {
        err = ask(sock, add_request(item), why);
    } else {
        struct vault *vault;
        int rc = common_open(vault_path, &a->source, VAULT_READ_WRITE, &vault);
        if (rc != 0)
            return rc;
        err = common_add_store(vault, item, why);
        int closed = vault_close(vault);
        err = err ? err : closed;
    }
    if (err == ERR_INVAL || err == ERR_NOENT || err == ERR_EXIST) {
        cmd_error("%s: %s", item->url, why[0] ? why : err_text(err));
        return EXIT_USAGE;
    }
    return err ? cmd_fail(err, item->url, why) : EXIT_OK;
}

static int add(const char *vault_path, const char *url, const struct given *a)
{
    struct stores_item *item;
    int rc = store_args_item(url, &a->store, &item);
    char *sock = NULL;
    if (rc == 0)
        rc = common_find(vault_path, &sock, NULL);
    if (rc == 0)
        rc = add_item(vault_path, sock, a, item);
    free(sock);
    store_args_release(item);
    return rc;
}

static int remove_store(const char *vault_path, const char *url, const struct given *a)
{
    char *sock;
    int err, rc = common_find(vault_path, &sock, NULL);
    if (rc != 0)
        return rc;
    if (sock) {
        cJSON *request = cJSON_CreateObject();
        cJSON_AddStringToObject(request, "do", "store-remove");
        cJSON_AddStringToObject(request, "url", url);
        err = ask(sock, request, NULL);
    } else {
        struct vault *vault;
        rc = common_open(vault_path, &a->source, VAULT_READ_WRITE, &vault);
        if (rc != 0)
            return rc;
        err = stores_remove(vault, url);
        int closed = vault_close(vault);
        err = err ? err : closed;
    }
    free(sock);
    if (err == ERR_NOENT) {
        cmd_error("%s: is no store of this vault; see obscurafs store list", url);
        return EXIT_USAGE;
    }
    return err ? cmd_fail(err, url, NULL) : EXIT_OK;
}

static void print_one(bool json, cJSON *array, double id, const char *url)
{
    if (!json) {
        printf("%.0f\t%s\n", id, url);
        return;
    }
    cJSON *one = cJSON_CreateObject();
    cJSON_AddNumberToObject(one, "id", id);
    cJSON_AddStringToObject(one, "url", url);
    cJSON_AddItemToArray(array, one);
}

static int list_mounted(const char *sock, bool json, cJSON *array)
{
    cJSON *request = cJSON_CreateObject(), *one;
    cJSON_AddStringToObject(request, "do", "store-list");
    cJSON *last = control_call(sock, request, NULL, NULL, false);
    int err = last ? control_code(last) : ERR_IO;
    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(last, "stores"))
    {
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(one, "id");
        const char *url = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "url"));
        if (cJSON_IsNumber(id) && url)
            print_one(json, array, id->valuedouble, url);
    }
    cJSON_Delete(last);
    cJSON_Delete(request);
    return err;
}

static int list(const char *vault_path, const struct given *a)
{
    char *sock;
    int err, rc = common_find(vault_path, &sock, NULL);
    if (rc != 0)
        return rc;
    cJSON *array = cJSON_CreateArray();
    if (sock) {
        err = list_mounted(sock, a->json, array);
    } else {
        struct vault *vault;
        struct stores_item *items = NULL;
        size_t n = 0;
        rc = common_open(vault_path, &a->source, VAULT_READ_ONLY, &vault);
        if (rc != 0) {
            cJSON_Delete(array);
            return rc;
        }
        err = stores_load(vault, &items, &n);
        for (size_t i = 0; !err && i < n; i++)
            print_one(a->json, array, items[i].id, items[i].url);
        stores_free(items, n);
        vault_close(vault);
    }
    if (!err && a->json) {
        char *text = cJSON_Print(array);
        puts(text ? text : "[]");
        cJSON_free(text);
    }
    cJSON_Delete(array);
    free(sock);
    return err ? cmd_fail(err, vault_path, NULL) : EXIT_OK;
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {PASS_OPTIONS,
                                          STORE_ARGS_OPTIONS,
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    struct given a = {0};
    int c;
    while ((c = cmd_getopt(&cmd_store, argc, argv, "h", longs)) != -1) {
        if (pass_option(c, optarg, &a.source) || store_args_option(c, optarg, &a.store))
            continue;
        switch (c) {
        case 'j':
            a.json = true;
            break;
        }
    }
    cmd_operands(&cmd_store, argc, 2, 3);
    control_init();
    const char *what = argv[optind], *vault = argv[optind + 1], *url = argv[optind + 2];
    bool with_url = argc - optind == 3;
    if (strcmp(what, "add") == 0 && with_url)
        return add(vault, url, &a);
    if (strcmp(what, "remove") == 0 && with_url)
        return remove_store(vault, url, &a);
    if (strcmp(what, "list") == 0 && !with_url)
        return list(vault, &a);
    cmd_error("usage: obscurafs store %s", cmd_store.usage);
    return EXIT_USAGE;
}

const struct cmd cmd_store = {
    "store", run, "add VAULT URL | list VAULT | remove VAULT URL",
    "Say where VAULT pushes its ciphertext: file:///dir, https://host/dir (WebDAV), "
    "s3://bucket/prefix?endpoint=URL&region=NAME",
    PASS_HELP STORE_ARGS_HELP "      --json             list: as JSON\n"};
