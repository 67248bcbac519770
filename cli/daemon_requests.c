#include "cli/daemon_requests.h"

#include "cli/common.h"
#include "crypto/err.h"
#include "crypto/secret.h"
#include "fs/check.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *text_of(const cJSON *request, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, key));
}

static void answer(struct control_peer *peer, cJSON *last, int err, const char *why)
{
    cJSON_AddNumberToObject(last, "code", err);
    if (err)
        cJSON_AddStringToObject(last, "why", why && *why ? why : err_text(err));
    control_send(peer, last);
    cJSON_Delete(last);
}

static void do_status(struct daemon_state *d, struct control_peer *peer)
{
    struct engine_status status;
    cJSON *last = cJSON_CreateObject();
    char real[PATH_MAX];

    engine_status(d->engine, &status);
    cJSON_AddStringToObject(last, "vault",
                            realpath(vault_path(d->vault), real) ? real : vault_path(d->vault));
    cJSON_AddStringToObject(last, "mountpoint", d->mountpoint);
    cJSON_AddNumberToObject(last, "pid", getpid());
    cJSON_AddBoolToObject(last, "read_only", vault_read_only(d->vault));
    const char *failure = vault_failure(d->vault);
    cJSON_AddStringToObject(last, "failure", failure ? failure : "");
    common_status_json(last, &status);
    answer(peer, last, 0, NULL);
}

static void send_progress(void *ctx, const struct engine_status *status)
{
    cJSON *line = cJSON_CreateObject();
    cJSON_AddNumberToObject(line, "done", (double)status->done_bytes);
    cJSON_AddNumberToObject(line, "total", (double)status->total_bytes);
    control_send(ctx, line);
    cJSON_Delete(line);
}

static void do_sync(struct daemon_state *d, struct control_peer *peer)
{
    struct engine_status status;
    fusefs_settle(d->fs); /* our peer has called syncfs, which does not wait on FUSE */
    int err = engine_sync(d->engine, send_progress, peer);
    engine_status(d->engine, &status);
    cJSON *last = cJSON_CreateObject();
    common_status_json(last, &status);
    answer(peer, last, err, status.last_error_text);
}

static void do_stop(struct daemon_state *d, const cJSON *request, struct control_peer *peer)
{
    const cJSON *wait = cJSON_GetObjectItemCaseSensitive(request, "wait_ms");
    if (cJSON_IsNumber(wait) && wait->valuedouble >= 0 && wait->valuedouble <= 3600e3)
        d->stop_wait_ms = (unsigned)wait->valuedouble;
    control_keep(peer);
    answer(peer, cJSON_CreateObject(), 0, NULL);
    fusefs_stop(d->fs);
}

static char *secret_of(const cJSON *request, const char *key)
{
    const char *text = text_of(request, key);
    char *copy = text ? secret_alloc(strlen(text) + 1) : NULL;
    if (copy)
        memcpy(copy, text, strlen(text) + 1);
    return copy;
}

static void do_store_add(struct daemon_state *d, const cJSON *request, struct control_peer *peer)
{
    struct stores_item *item = secret_alloc(sizeof(*item));
    const char *url = text_of(request, "url"), *ca = text_of(request, "ca_file");
    char why[200] = "";
    int err = ERR_INVAL;

    if (item && url && strlen(url) < sizeof(item->url) &&
        (!ca || strlen(ca) < sizeof(item->ca_file))) {
        strcpy(item->url, url);
        if (ca)
            strcpy(item->ca_file, ca);
        item->allow_http = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "allow_http"));
        item->user = secret_of(request, "user");
        item->secret = secret_of(request, "secret");
        item->token = secret_of(request, "token");
        err = common_add_store(d->vault, item, why);
        if (!err)
            err = engine_reload(d->engine);
        secret_free(item->user);
        secret_free(item->secret);
        secret_free(item->token);
    }
    secret_free(item);
    answer(peer, cJSON_CreateObject(), err, why);
}

static void do_store_remove(struct daemon_state *d, const cJSON *request, struct control_peer *peer)
{
    const char *url = text_of(request, "url");
    int err = url ? stores_remove(d->vault, url) : ERR_INVAL;
    if (!err)
        err = engine_reload(d->engine);
    answer(peer, cJSON_CreateObject(), err, err == ERR_NOENT ? "no such store" : NULL);
}

static void do_store_list(struct daemon_state *d, struct control_peer *peer)
{
    struct stores_item *items = NULL;
    size_t n = 0;
    int err = stores_load(d->vault, &items, &n);
    cJSON *last = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(last, "stores");
    for (size_t i = 0; !err && i < n; i++) {
        cJSON *one = cJSON_CreateObject();
        cJSON_AddNumberToObject(one, "id", items[i].id);
        cJSON_AddStringToObject(one, "url", items[i].url);
        cJSON_AddItemToArray(list, one);
    }
    stores_free(items, n);
    answer(peer, last, err, NULL);
}

static void send_problem(void *ctx, const char *path, const char *what)
{
    cJSON *line = cJSON_CreateObject();
    cJSON *problem = cJSON_AddObjectToObject(line, "problem");
    cJSON_AddStringToObject(problem, "path", path);
    cJSON_AddStringToObject(problem, "what", what);
    control_send(ctx, line);
    cJSON_Delete(line);
}

/* Checks say NULL for what has no name, and "" for the root. */
static void send_check_problem(void *ctx, const char *path, const char *what)
{
    send_problem(ctx, !path ? "(no name)" : *path ? path : "/", what);
}

static void send_check_progress(void *ctx, uint64_t done, uint64_t total)
{
    cJSON *line = cJSON_CreateObject();
    cJSON_AddNumberToObject(line, "done", (double)done);
    cJSON_AddNumberToObject(line, "total", (double)total);
    control_send(ctx, line);
    cJSON_Delete(line);
}

static void do_check(struct daemon_state *d, const cJSON *request, struct control_peer *peer)
{
    cJSON *last = cJSON_CreateObject();
    uint64_t problems = 0;
    struct check_result local = {0};
    struct check_options options = {.progress = send_check_progress,
                                    .problem = send_check_problem,
                                    .cancelled = &d->ending,
                                    .ctx = peer};
    fusefs_settle(d->fs);
    int err = check_vault(d->vault, &options, &local);
    problems += local.problems;
    cJSON_AddNumberToObject(last, "files", (double)local.inodes);
    cJSON_AddNumberToObject(last, "bytes", (double)local.bytes);
    if (!err && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "store"))) {
        struct engine_check_result remote = {0};
        err = engine_check(d->engine, send_check_progress, send_check_problem, peer, &remote);
        problems += remote.problems;
        cJSON_AddNumberToObject(last, "packs", (double)remote.packs);
        cJSON_AddNumberToObject(last, "batches", (double)remote.batches);
    }
    cJSON_AddNumberToObject(last, "problems", (double)problems);
    answer(peer, last, err, NULL);
}

void daemon_request(void *ctx, const cJSON *request, struct control_peer *peer)
{
    struct daemon_state *d = ctx;
    const char *what = text_of(request, "do");
    if (!what)
        what = "";
    if (strcmp(what, "status") == 0)
        do_status(d, peer);
    else if (strcmp(what, "sync") == 0)
        do_sync(d, peer);
    else if (strcmp(what, "stop") == 0)
        do_stop(d, request, peer);
    else if (strcmp(what, "store-add") == 0)
        do_store_add(d, request, peer);
    else if (strcmp(what, "store-remove") == 0)
        do_store_remove(d, request, peer);
    else if (strcmp(what, "store-list") == 0)
        do_store_list(d, peer);
    else if (strcmp(what, "check") == 0)
        do_check(d, request, peer);
    else
        answer(peer, cJSON_CreateObject(), ERR_INVAL, "request not understood");
}
