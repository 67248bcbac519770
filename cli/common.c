#include "cli/common.h"

#include "cli/cmd.h"
#include "cli/control.h"
#include "crypto/err.h"
#include "crypto/secret.h"
#include "sync/join.h"

#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLOSING_WAIT_MS 30000 /* more than a mount waits for its store at the end */
#define SILENT_WAIT_MS  2000  /* for one that does not answer: it may be just about to end */
#define STEP_MS         50

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool is_mounted(const char *mountpoint)
{
    FILE *mounts = setmntent("/proc/self/mounts", "r");
    struct mntent *m;
    bool found = false;

    while (mounts && !found && (m = getmntent(mounts)))
        found = strcmp(m->mnt_dir, mountpoint) == 0 && strstr(m->mnt_type, "obscurafs");
    if (mounts)
        endmntent(mounts);
    return found;
}

/* How long to wait for the vault at most, seen from now: 0 if somebody goes on using it. */
static long worth_waiting_ms(const char *path)
{
    cJSON *status = NULL;
    char *sock = control_find(path, &status);
    const char *at = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "mountpoint"));
    long ms = !sock ? SILENT_WAIT_MS : at && !is_mounted(at) ? CLOSING_WAIT_MS : 0;
    cJSON_Delete(status);
    free(sock);
    return ms;
}

int common_wait_free(const char *path)
{
    const int64_t start = now_ms();
    while (vault_in_use(path)) {
        /* asking may take its time, too: a process that is silent is waited for each time */
        const long worth = worth_waiting_ms(path);
        if (now_ms() - start >= worth)
            return common_say_in_use(path);
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000}, NULL);
    }
    return 0;
}

int common_say_in_use(const char *path)
{
    cJSON *status = NULL;
    char *sock = control_find(path, &status);
    const char *at = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "mountpoint"));
    if (at)
        cmd_error("%s: is mounted at %s; use that, or unmount it first: obscurafs umount %s", path,
                  at, at);
    else
        cmd_error("%s: is in use by another obscurafs process", path);
    cJSON_Delete(status);
    free(sock);
    return EXIT_IN_USE;
}

int common_peek(const char *path, uint8_t id[32], uint32_t *tag)
{
    int err = vault_peek(path, id, tag);
    switch (err) {
    case ERR_OK:
        return 0;
    case ERR_NOTVAULT:
        return cmd_fail(err, path, "no vault there; make one with: obscurafs init VAULT");
    case ERR_FORMAT:
        return cmd_fail(
            err, path,
            "its file \"vault\" is damaged; make this device new with: obscurafs clone URL NEWDIR");
    case ERR_VERSION:
        return cmd_fail(err, path, "was made by a newer version of obscurafs; install that");
    default:
        return cmd_fail(err, path, NULL);
    }
}

int common_open(const char *path, const struct pass_source *source, enum vault_mode mode,
                struct vault **vault)
{
    struct pass pass = {0};
    uint8_t id[32];
    uint32_t tag;
    char why[200] = "";

    *vault = NULL;
    int rc = common_peek(path, id, &tag);
    if (rc != 0)
        return rc;
    rc = common_wait_free(path);
    if (rc != 0)
        return rc;
    rc = pass_get(source, "Passphrase", false, &pass);
    if (rc != 0)
        return rc;
    int err = vault_open(vault, path, pass.text, pass.len, mode, why);
    pass_release(&pass);
    if (err == ERR_LOCKED)
        return common_say_in_use(path);
    if (err)
        return cmd_fail(err, path, why);
    return 0;
}

const char *common_state_name(enum engine_state state)
{
    switch (state) {
    case ENGINE_IDLE:
        return "idle";
    case ENGINE_PENDING:
        return "pending";
    case ENGINE_BUSY:
        return "busy";
    case ENGINE_OFFLINE:
        return "offline";
    case ENGINE_PAUSED:
        return "paused";
    case ENGINE_BEHIND:
        return "behind";
    case ENGINE_ALARM:
        return "alarm";
    }
    return "unknown";
}

void common_status_json(cJSON *json, const struct engine_status *s)
{
    cJSON_AddStringToObject(json, "state",
                            s->store_count ? common_state_name(s->state) : "no-store");
    cJSON_AddNumberToObject(json, "stores", (double)s->store_count);
    cJSON_AddStringToObject(json, "store", s->store_url);
    cJSON_AddNumberToObject(json, "pending_bytes", (double)s->pending_bytes);
    cJSON_AddNumberToObject(json, "pending_changes", (double)s->pending_changes);
    cJSON_AddNumberToObject(json, "done_bytes", (double)s->done_bytes);
    cJSON_AddNumberToObject(json, "total_bytes", (double)s->total_bytes);
    cJSON_AddNumberToObject(json, "sent_bytes", (double)s->sent);
    cJSON_AddNumberToObject(json, "received_bytes", (double)s->received);
    cJSON_AddNumberToObject(json, "last_sync", (double)s->last_sync);
    cJSON_AddNumberToObject(json, "last_error_code", s->last_error);
    cJSON_AddStringToObject(json, "last_error", s->last_error_text);
}

static char *secret_copy(const char *text)
{
    if (!text)
        return NULL;
    size_t len = strlen(text) + 1;
    char *copy = secret_alloc(len);
    if (copy)
        memcpy(copy, text, len);
    return copy;
}

static int from_env(struct stores_item *item, const char *user, const char *secret,
                    const char *token)
{
    item->user = secret_copy(getenv(user));
    item->secret = secret_copy(getenv(secret));
    item->token = token ? secret_copy(getenv(token)) : NULL;
    return item->user && item->secret;
}

static int from_terminal(bool s3, struct stores_item *item)
{
    struct pass secret = {0};
    char user[256];
    int rc = pass_ask_line(s3 ? "Access key id" : "Login at the store (empty: none)", user,
                           sizeof(user));
    if (rc == 0 && user[0]) {
        rc = pass_get(NULL, s3 ? "Secret access key" : "Password at the store", false, &secret);
        if (rc == 0) {
            item->user = secret_copy(user);
            item->secret = secret.text;
        }
    }
    return rc;
}

int common_login(const char *url, const char *login_file, struct stores_item *item)
{
    bool s3 = strncmp(url, "s3:", 3) == 0;
    if (strncmp(url, "file:", 5) == 0)
        return 0;
    if (login_file) {
        struct pass user = {0}, secret = {0};
        int rc = pass_login_file(login_file, &user, &secret);
        item->user = user.text;
        item->secret = secret.text;
        return rc;
    }
    if (s3 && from_env(item, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"))
        return 0;
    if (!s3 && from_env(item, "OBSCURAFS_STORE_USER", "OBSCURAFS_STORE_PASSWORD", NULL))
        return 0;
    if (pass_can_ask())
        return from_terminal(s3, item);
    if (s3) {
        cmd_error(
            "%s: no login; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --login-file FILE",
            url);
        return EXIT_STORE_LOGIN;
    }
    return 0; /* a server without a login; one that wants a login will say so */
}

/* Could it be added? Asked before anything is put on it. */
static int check_new(struct vault *vault, const struct stores_item *item, char *why)
{
    struct stores_item *items;
    size_t n;
    int err = stores_load(vault, &items, &n);
    if (err)
        return err;
    if (n >= STORES_MAX) {
        snprintf(why, 200, "a vault has at most %u stores; remove one first", STORES_MAX);
        err = ERR_TOOBIG;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i].url, item->url) == 0) {
            snprintf(why, 200, "is one of this vault's stores already");
            err = ERR_EXIST;
        }
    stores_free(items, n);
    return err;
}

int common_add_store(struct vault *vault, const struct stores_item *item, char *why)
{
    struct store *store = NULL;
    uint32_t id;
    int err = stores_open(item, &store, why);
    if (!err)
        err = check_new(vault, item, why);
    /* nothing is written to a place that is not for us */
    if (!err)
        err = join_check_store(vault, store, why);
    if (!err)
        err = store_try(store, why);
    if (!err)
        err = join_prepare_store(vault, store, why);
    if (!err)
        err = stores_add(vault, item, &id);
    store_close(store);
    return err;
}

int common_find(const char *what, char **sock, cJSON **status)
{
    cJSON *found;
    *sock = control_find(what, &found);
    const bool silent = *sock && control_silent(found);
    if (silent) {
        const cJSON *pid = cJSON_GetObjectItemCaseSensitive(found, "pid");
        if (cJSON_IsNumber(pid))
            cmd_error("%s: the process that serves it (%d) does not answer; if it goes on so, end "
                      "it (kill -9 %d) and unmount",
                      what, pid->valueint, pid->valueint);
        else
            cmd_error("%s: the process that serves it does not answer", what);
        free(*sock);
        *sock = NULL;
    }
    if (status && !silent)
        *status = found;
    else
        cJSON_Delete(found);
    if (status && silent)
        *status = NULL;
    return silent ? EXIT_OTHER : 0;
}

void common_flush_mount(const char *mountpoint)
{
    int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    syncfs(fd);
    close(fd);
}

void common_device_name(char *out)
{
    memset(out, 0, KEYRING_NAME_MAX + 1);
    if (gethostname(out, KEYRING_NAME_MAX) != 0 || !*out)
        strcpy(out, "device");
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ' || *p == '/')
            *p = '-';
}
