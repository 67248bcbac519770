/*
 * store_impl.h - what a back end of the store fills in. [store]
 *
 * A back end embeds struct store as its first member. Its functions are called with valid names
 * only (store.c checks), by one thread at a time. ${cancelled} and the counters are atomic: other
 * threads touch them.
 */
#ifndef SYNC_STORE_IMPL_H
#define SYNC_STORE_IMPL_H

#include "sync/store.h"
#include "sync/store_url.h"

#include <stdatomic.h>

#define STORE_ERROR_MAX 400u

struct store_ops {
    void (*close)(struct store *store); /* frees the store itself too */
    int (*put_many)(struct store *store, struct store_put_item *items, size_t n);
    int (*get)(struct store *store, const char *name, uint64_t off, size_t len, size_t max,
               struct bytes_out *out);
    int (*get_many)(struct store *store, struct store_get_item *items, size_t n);
    int (*head)(struct store *store, const char *name, uint64_t *size);
    int (*delete)(struct store *store, const char *name);
    /* ${all}: as store_list_all; ${prefix} is valid for both */
    int (*list)(struct store *store, const char *prefix, bool all,
                int (*each)(void *ctx, const char *name, uint64_t size), void *ctx);
    void (*prune)(struct store *store, const char *name); /* NULL: has no folders */
    void (*wake)(struct store *
                     store); /* any thread; NULL: the back end looks at ${cancelled} often enough */
};

struct store {
    const struct store_ops *ops;
    struct store_place place; /* owned */
    atomic_bool cancelled;
    atomic_uint_fast64_t sent, received;
    char error[STORE_ERROR_MAX]; /* for the thread that uses the store */
};

/* Keeps the line for people (never a secret, never the name of a file) and returns ${err}. */
int store_fail(struct store *store, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Of the form that store.h promises; no part starts with a dot. */
bool store_name_valid(const char *name);

/* Back ends. They take over ${*place} on success, and only then. ERR_NOENT (folder), ERR_NOMEM,
 * ERR_INVAL (S3: no login). */
int store_folder_open(struct store **store, struct store_place *place);
int store_webdav_open(struct store **store, struct store_place *place,
                      const struct store_login *login, const struct store_options *options);
int store_s3_open(struct store **store, struct store_place *place, const struct store_login *login,
                  const struct store_options *options);

#endif
