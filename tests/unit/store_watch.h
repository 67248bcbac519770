/*
 * store_watch.h - a store that keeps a record of what is asked of it, as its owner could, and that can be as stale as a store may be.
 *
 * Record: one line for each request: what, name, bytes. Names that are random (hashes, devices) are shown as '*', so that the records of
 * two vaults can be compared. Staleness: what was put in the last ${horizon} requests to any watcher of the same world is, at each
 * request anew, there or not, or (in a get or a head) there by half. What is older is there for all.
 *
 * Counted as broken promises of the client: a name put twice with different bytes, and any delete.
 */
#ifndef TESTS_UNIT_STORE_WATCH_H
#define TESTS_UNIT_STORE_WATCH_H

#include "crypto/kdf.h"
#include "sync/store_impl.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct watch_put {
    char name[STORE_NAME_MAX + 1];
    uint8_t hash[32];
    uint64_t when; /* of the first put */
};

/* What all watchers of one store share. */
struct watch_world {
    pthread_mutex_t lock; /* guards the rest */
    uint64_t requests, horizon, seed;
    uint64_t hidden; /* answers that were stale */
    unsigned rewritten, deleted;
    struct watch_put *puts;
    size_t count, cap;
};

struct watch_store {
    struct store s; /* first */
    struct store *real;
    struct watch_world *world;
    struct bytes_out *record; /* NULL: none is kept */
};

static inline uint64_t watch_random(struct watch_world *w)
{
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return w->seed;
}

static inline struct watch_put *watch_find(struct watch_world *w, const char *name)
{
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->puts[i].name, name) == 0)
            return &w->puts[i];
    return NULL;
}

/* Names as anybody sees them, but for what is random in them. */
static inline void watch_note(struct watch_store *f, const char *what, const char *name, size_t len)
{
    char line[STORE_NAME_MAX + 60], shown[STORE_NAME_MAX + 1];
    size_t at = 0;
    if (!f->record)
        return;
    for (const char *p = name; *p;) {
        size_t hex = p == name || p[-1] == '/' || p[-1] == '-' ? strspn(p, "0123456789abcdef") : 0;
        if (hex == 2 || hex == 32 || hex == 64 || (hex == 16 && strncmp(name, "roster/", 7) == 0)) {
            shown[at++] = '*';
            p += hex;
        } else if (hex) {
            memcpy(shown + at, p, hex);
            at += hex;
            p += hex;
        } else {
            shown[at++] = *p++;
        }
    }
    shown[at] = '\0';
    int n = snprintf(line, sizeof(line), "%s %s %zu\n", what, shown, len);
    bytes_put(f->record, line, (size_t)n);
}

/* 0: as it is; 1: not there; 2: by half. */
static inline int watch_stale(struct watch_store *f, const char *name)
{
    struct watch_world *w = f->world;
    int how = 0;
    pthread_mutex_lock(&w->lock);
    w->requests++;
    const struct watch_put *put = w->horizon ? watch_find(w, name) : NULL;
    if (put && w->requests - put->when <= w->horizon) {
        uint64_t r = watch_random(w) % 8;
        how = r < 4 ? 0 : r < 7 ? 1 : 2;
        w->hidden += how != 0;
    }
    pthread_mutex_unlock(&w->lock);
    return how;
}

static inline int watch_put_many(struct store *s, struct store_put_item *items, size_t n)
{
    struct watch_store *f = (struct watch_store *)s;
    struct watch_world *w = f->world;
    int first = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t hash[32];
        kdf_hash(hash, "watch", items[i].p, items[i].len);
        pthread_mutex_lock(&w->lock);
        watch_note(f, "put", items[i].name, items[i].len);
        struct watch_put *put = watch_find(w, items[i].name);
        if (put) {
            w->rewritten += memcmp(put->hash, hash, 32) != 0;
        } else {
            if (w->count == w->cap)
                w->puts = realloc(w->puts, (w->cap = w->cap ? w->cap * 2 : 64) * sizeof(*w->puts));
            put = &w->puts[w->count++];
            snprintf(put->name, sizeof(put->name), "%s", items[i].name);
            memcpy(put->hash, hash, 32);
            put->when = ++w->requests;
        }
        pthread_mutex_unlock(&w->lock);
        items[i].err = store_put(f->real, items[i].name, items[i].p, items[i].len);
        if (items[i].err && !first)
            first = items[i].err;
    }
    return first;
}

static inline int watch_get(struct store *s, const char *name, uint64_t off, size_t len, size_t max,
                            struct bytes_out *out)
{
    struct watch_store *f = (struct watch_store *)s;
    size_t before = out->len;
    watch_note(f, "get", name, len);
    int stale = watch_stale(f, name);
    if (stale == 1)
        return ERR_NOENT;
    int err = store_get(f->real, name, off, len, max, out);
    if (!err && stale == 2)
        out->len = before + (out->len - before) / 2;
    return err;
}

static inline int watch_get_many(struct store *s, struct store_get_item *items, size_t n)
{
    int first = 0;
    for (size_t i = 0; i < n; i++) {
        items[i].err =
            watch_get(s, items[i].name, items[i].off, items[i].len, items[i].len, items[i].out);
        if (items[i].err && !first)
            first = items[i].err;
    }
    return first;
}

static inline int watch_head(struct store *s, const char *name, uint64_t *size)
{
    struct watch_store *f = (struct watch_store *)s;
    watch_note(f, "head", name, 0);
    int stale = watch_stale(f, name);
    if (stale == 1)
        return ERR_NOENT;
    int err = store_head(f->real, name, size);
    if (!err && stale == 2)
        *size /= 2;
    return err;
}

static inline int watch_delete(struct store *s, const char *name)
{
    struct watch_store *f = (struct watch_store *)s;
    watch_note(f, "delete", name, 0);
    pthread_mutex_lock(&f->world->lock);
    f->world->deleted++;
    pthread_mutex_unlock(&f->world->lock);
    return store_delete(f->real, name);
}

struct watch_listing {
    struct watch_store *f;
    int (*each)(void *ctx, const char *name, uint64_t size);
    void *ctx;
};

static inline int watch_list_each(void *ctx, const char *name, uint64_t size)
{
    struct watch_listing *l = ctx;
    int stale = watch_stale(l->f, name);
    return stale == 1 ? 0 : l->each(l->ctx, name, stale == 2 ? size / 2 : size);
}

static inline int watch_list(struct store *s, const char *prefix, bool all,
                             int (*each)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    struct watch_store *f = (struct watch_store *)s;
    struct watch_listing l = {f, each, ctx};
    watch_note(f, "list", prefix, 0);
    return all ? store_list_all(f->real, watch_list_each, &l)
               : store_list(f->real, prefix, watch_list_each, &l);
}

static inline void watch_prune(struct store *s, const char *name)
{
    store_prune(((struct watch_store *)s)->real, name);
}

static inline void watch_close(struct store *s)
{
    (void)s;
}

static const struct store_ops watch_ops = {.close = watch_close,
                                           .put_many = watch_put_many,
                                           .get = watch_get,
                                           .get_many = watch_get_many,
                                           .head = watch_head,
                                           .delete = watch_delete,
                                           .list = watch_list,
                                           .prune = watch_prune};

static inline void watch_world_init(struct watch_world *w, uint64_t seed)
{
    *w = (struct watch_world){.seed = seed * 2654435761u + 88172645463325252u};
    pthread_mutex_init(&w->lock, NULL);
}

static inline void watch_world_free(struct watch_world *w)
{
    pthread_mutex_destroy(&w->lock);
    free(w->puts);
}

static inline void watch_init(struct watch_store *f, struct store *real, struct watch_world *world,
                              struct bytes_out *record)
{
    *f = (struct watch_store){.real = real, .world = world, .record = record};
    f->s.ops = &watch_ops;
}

#endif
