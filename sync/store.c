#include "sync/store.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/store_impl.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_PARTS_MAX 4
#define TRY_LEN        64u
#define OFFSET_MAX     (1ull << 60) /* so that no sum of an offset and a length overflows */

static int open_place(struct store **store, struct store_place *place,
                      const struct store_login *login, const struct store_options *options)
{
    static const struct store_login nobody;
    if (!login)
        login = &nobody;
    switch (place->scheme) {
    case STORE_SCHEME_WEBDAV:
        return store_webdav_open(store, place, login, options);
    case STORE_SCHEME_S3:
        return store_s3_open(store, place, login, options);
    default:
        return store_folder_open(store, place);
    }
}

int store_open(struct store **store, const char *url, const struct store_login *login,
               const struct store_options *options, char *why)
{
    static const struct store_options defaults;
    struct store_place place;
    *store = NULL;
    if (!options)
        options = &defaults;
    int err = store_url_parse(&place, url, options->allow_http, why);
    if (err)
        return err;
    err = open_place(store, &place, login, options);
    if (err && why)
        snprintf(why, STORE_URL_WHY, "%s",
                 err == ERR_NOENT   ? "there is no such folder"
                 : err == ERR_INVAL ? "an S3 store needs a key id and a secret key"
                                    : err_text(err));
    if (err)
        store_url_clear(&place);
    return err;
}

void store_close(struct store *store)
{
    if (store)
        store->ops->close(store);
}

bool store_name_valid(const char *name)
{
    size_t len = strlen(name), part = 0;
    int parts = 1;
    if (len > STORE_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c == '/') {
            if (part == 0 || ++parts > NAME_PARTS_MAX)
                return false;
            part = 0;
            continue;
        }
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
            return false;
        /* ".", ".." and hidden or temporary files of servers and of our own folder store */
        if (c == '.' && part == 0)
            return false;
        part++;
    }
    return part > 0;
}

/* "" or whole parts, each with its '/'. */
static bool prefix_valid(const char *prefix)
{
    char name[STORE_NAME_MAX + 1];
    size_t len = strlen(prefix);
    if (!len)
        return true;
    if (len > STORE_NAME_MAX || prefix[len - 1] != '/')
        return false;
    memcpy(name, prefix, len - 1);
    name[len - 1] = '\0';
    return store_name_valid(name);
}

int store_fail(struct store *store, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(store->error, sizeof(store->error), fmt, ap);
    va_end(ap);
    log_info("store: %s", store->error);
    return err;
}

int store_put_many(struct store *store, struct store_put_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!store_name_valid(items[i].name))
            return items[i].err = ERR_MISUSE;
    return n ? store->ops->put_many(store, items, n) : 0;
}

int store_put(struct store *store, const char *name, const void *p, size_t len)
{
    struct store_put_item item = {.name = name, .p = p, .len = len};
    return store_put_many(store, &item, 1);
}

int store_get(struct store *store, const char *name, uint64_t off, size_t len, size_t max,
              struct bytes_out *out)
{
    if (!store_name_valid(name) || off > OFFSET_MAX || len > OFFSET_MAX)
        return ERR_MISUSE;
    return store->ops->get(store, name, off, len, len ? len : max, out);
}

int store_get_many(struct store *store, struct store_get_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!store_name_valid(items[i].name) || !items[i].len || items[i].len > OFFSET_MAX ||
            items[i].off > OFFSET_MAX)
            return items[i].err = ERR_MISUSE;
    return n ? store->ops->get_many(store, items, n) : 0;
}

int store_head(struct store *store, const char *name, uint64_t *size)
{
    *size = 0;
    return store_name_valid(name) ? store->ops->head(store, name, size) : ERR_MISUSE;
}

int store_delete(struct store *store, const char *name)
{
    return store_name_valid(name) ? store->ops->delete (store, name) : ERR_MISUSE;
}

struct capped {
    struct store *store;
    int (*each)(void *ctx, const char *name, uint64_t size);
    void *ctx;
    size_t count;
};

static int capped_each(void *ctx, const char *name, uint64_t size)
{
    struct capped *c = ctx;
    if (++c->count > STORE_LIST_MAX)
        return store_fail(c->store, ERR_FORMAT, "the store lists more objects than a vault has");
    return c->each(c->ctx, name, size);
}

int store_list(struct store *store, const char *prefix,
               int (*each)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    struct capped capped = {.store = store, .each = each, .ctx = ctx};
    return prefix_valid(prefix) ? store->ops->list(store, prefix, false, capped_each, &capped)
                                : ERR_MISUSE;
}

int store_list_all(struct store *store, int (*each)(void *ctx, const char *name, uint64_t size),
                   void *ctx)
{
    struct capped capped = {.store = store, .each = each, .ctx = ctx};
    return store->ops->list(store, "", true, capped_each, &capped);
}

void store_prune(struct store *store, const char *name)
{
    if (store->ops->prune && store_name_valid(name))
        store->ops->prune(store, name);
}

struct trial {
    const char *name;
    bool seen;
};

static int trial_each(void *ctx, const char *name, uint64_t size)
{
    struct trial *trial = ctx;
    if (strcmp(name, trial->name) == 0 && size == TRY_LEN)
        trial->seen = true;
    return 0;
}

/* The steps of store_try; *step says what was being done. */
static int try_steps(struct store *store, struct trial *trial, struct bytes_out *got,
                     const char **step)
{
    uint8_t bytes[TRY_LEN];
    uint64_t size;
    randombytes_buf(bytes, sizeof(bytes));
    *step = "writing an object";
    int err = store_put(store, trial->name, bytes, sizeof(bytes));
    if (err)
        return err;
    *step = "reading it back";
    err = store_get(store, trial->name, 0, 0, TRY_LEN, got);
    if (!err && (got->len != sizeof(bytes) || memcmp(got->p, bytes, sizeof(bytes)) != 0))
        err = store_fail(store, ERR_FORMAT, "the store gave back other bytes than were written");
    bytes_out_reset(got);
    if (!err)
        err = store_get(store, trial->name, 7, 9, 9, got);
    if (!err && (got->len != 9 || memcmp(got->p, bytes + 7, 9) != 0))
        err = store_fail(store, ERR_FORMAT,
                         "the store gave back another part of the object than was asked for");
    if (err)
        return err;
    *step = "listing it";
    err = store_list(store, "try/", trial_each, trial);
    if (!err && !trial->seen)
        err = store_fail(store, ERR_NETPERM, "the store does not list what was written to it");
    if (err)
        return err;
    *step = "deleting it";
    err = store_delete(store, trial->name);
    if (!err && store_head(store, trial->name, &size) != ERR_NOENT)
        err = store_fail(store, ERR_NETPERM, "the store still has the object after its deletion");
    return err;
}

/* What was said about ${err} stays the last error. */
static void try_clean(struct store *store, const char *name, int err)
{
    char said[STORE_ERROR_MAX];
    if (err == ERR_NET || err == ERR_INTR)
        return; /* nobody there to be asked */
    memcpy(said, store->error, sizeof(said));
    if (err)
        (void)store_delete(store, name);
    store_prune(store, "try");
    memcpy(store->error, said, sizeof(said));
}

int store_try(struct store *store, char *why)
{
    static const char digits[] = "0123456789abcdef";
    char name[4 + 32 + 1] = "try/";
    uint8_t random[16];
    randombytes_buf(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++) {
        name[4 + 2 * i] = digits[random[i] >> 4];
        name[5 + 2 * i] = digits[random[i] & 15];
    }
    struct trial trial = {.name = name};
    struct bytes_out got;
    const char *step = "";
    bytes_out_init(&got);
    store->error[0] = '\0';
    int err = try_steps(store, &trial, &got, &step);
    if (err)
        snprintf(why, STORE_URL_WHY, "%s failed: %.150s", step,
                 store->error[0] ? store->error : err_text(err));
    try_clean(store, name, err);
    bytes_out_release(&got);
    return err;
}

void store_cancel(struct store *store)
{
    atomic_store(&store->cancelled, true);
    if (store->ops->wake)
        store->ops->wake(store);
}

void store_resume(struct store *store)
{
    atomic_store(&store->cancelled, false);
}

const char *store_last_error(const struct store *store)
{
    return store->error;
}

void store_counters(const struct store *store, uint64_t *sent, uint64_t *received)
{
    *sent = atomic_load(&store->sent);
    *received = atomic_load(&store->received);
}

const char *store_url(const struct store *store)
{
    return store->place.url;
}
