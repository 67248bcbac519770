/*
 * sync_fixture.h - a device with its vault, a folder as store, a store that fails or calls back where a test wants it, and a
 * reader that knows nothing of the index: it replays what is on the store and gives names and bytes.
 */
#ifndef TESTS_UNIT_SYNC_FIXTURE_H
#define TESTS_UNIT_SYNC_FIXTURE_H

#include "crypto/err.h"
#include "fs/data.h"
#include "fs/tree.h"
#include "sync/join.h"
#include "sync/store_impl.h"
#include "sync/stores.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICE_SECRET "correct horse battery staple"

struct device {
    char path[120];
    struct vault *v;
};

static char fixture_base[64];
static const struct slot_cost fixture_cost = {SLOT_OPS_MIN, SLOT_MEM_MIN};

static inline void fixture_die(const char *what, int err)
{
    fprintf(stderr, "%s: %s\n", what, err_text(err));
    exit(1);
}

static inline void fixture_start(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(fixture_base, sizeof(fixture_base), "%.40s/obscurafs-XXXXXX",
             tmp && *tmp ? tmp : "/tmp");
    if (secret_init() || !mkdtemp(fixture_base))
        fixture_die(fixture_base, ERR_IO);
}

static inline int fixture_rm_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void fixture_rm(const char *path)
{
    nftw(path, fixture_rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void device_open(struct device *d)
{
    char why[200] = "";
    int err =
        vault_open(&d->v, d->path, DEVICE_SECRET, strlen(DEVICE_SECRET), VAULT_READ_WRITE, why);
    if (err)
        fixture_die(why[0] ? why : "vault_open", err);
}

static inline void device_close(struct device *d)
{
    int err = vault_close(d->v);
    if (err)
        fixture_die("vault_close", err);
    d->v = NULL;
}

static inline void device_init(struct device *d, const char *name, uint8_t code[CODE_LEN])
{
    char why[200] = "";
    snprintf(d->path, sizeof(d->path), "%s/%s", fixture_base, name);
    int err =
        join_init(d->path, DEVICE_SECRET, strlen(DEVICE_SECRET), &fixture_cost, name, code, why);
    if (err)
        fixture_die(why, err);
    device_open(d);
}

/* Makes the folder if need be. */
static inline void folder_url(const char *name, char url[160])
{
    char path[120];
    snprintf(path, sizeof(path), "%s/%s", fixture_base, name);
    mkdir(path, 0700);
    snprintf(url, 160, "file://%s", path);
}

static inline struct store *folder_open(const char *name)
{
    char url[160];
    struct store *s;
    folder_url(name, url);
    int err = store_open(&s, url, NULL, NULL, NULL);
    if (err)
        fixture_die("store_open", err);
    return s;
}

/* ---- a store with a will of its own ---- */

struct fault {
    struct store s; /* first */
    struct store *real;
    long countdown; /* this many calls go through; < 0: all */
    bool after;     /* the call that fails has its effect all the same */
    bool dies;      /* the process ends there */
    bool once;      /* later calls go through again */
    int code;       /* what fails fails with; 0: ERR_NET */
    bool puts_only; /* the others go through */
    long calls;
    size_t asked_at_once;                        /* bytes of the largest get_many */
    void (*on_put)(void *ctx, const char *name); /* before each put */
    void *ctx;
};

static inline int fault_step(struct fault *f)
{
    f->calls++;
    if (f->countdown < 0 || f->countdown-- > 0)
        return 0;
    if (f->once)
        f->countdown = -1;
    else
        f->countdown = 0;
    return f->code ? f->code : ERR_NET;
}

static inline int fault_step_other(struct fault *f)
{
    return f->puts_only ? 0 : fault_step(f);
}

static inline int fault_end(struct fault *f, int err)
{
    if (f->dies)
        _exit(9);
    return store_fail(&f->s, err, "the test store fails here");
}

static inline int fault_put_many(struct store *s, struct store_put_item *items, size_t n)
{
    struct fault *f = (struct fault *)s;
    for (size_t i = 0; i < n; i++) {
        if (items[i].place)
            continue;
        if (f->on_put)
            f->on_put(f->ctx, items[i].name);
        int err = fault_step(f);
        if (!err || f->after)
            items[i].err = store_put(f->real, items[i].name, items[i].p, items[i].len);
        if (err)
            return items[i].err = fault_end(f, err);
        if (items[i].err)
            return items[i].err;
    }
    return 0;
}

static inline int fault_get(struct store *s, const char *name, uint64_t off, size_t len, size_t max,
                            struct bytes_out *out)
{
    struct fault *f = (struct fault *)s;
    int err = fault_step_other(f);
    return err ? fault_end(f, err) : store_get(f->real, name, off, len, max, out);
}

static inline int fault_get_many(struct store *s, struct store_get_item *items, size_t n)
{
    struct fault *f = (struct fault *)s;
    int err = fault_step_other(f);
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += items[i].len;
    if (bytes > f->asked_at_once)
        f->asked_at_once = bytes;
    return err ? fault_end(f, err) : store_get_many(f->real, items, n);
}

static inline int fault_head(struct store *s, const char *name, uint64_t *size)
{
    struct fault *f = (struct fault *)s;
    int err = fault_step_other(f);
    return err ? fault_end(f, err) : store_head(f->real, name, size);
}

static inline int fault_delete(struct store *s, const char *name)
{
    return store_delete(((struct fault *)s)->real, name);
}

static inline int fault_list(struct store *s, const char *prefix, bool all,
                             int (*each)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    struct fault *f = (struct fault *)s;
    int err = fault_step_other(f);
    if (err)
        return fault_end(f, err);
    return all ? store_list_all(f->real, each, ctx) : store_list(f->real, prefix, each, ctx);
}

static inline void fault_prune(struct store *s, const char *name)
{
    store_prune(((struct fault *)s)->real, name);
}

static inline void fault_close(struct store *s)
{
    (void)s;
}

static const struct store_ops fault_ops = {.close = fault_close,
                                           .put_many = fault_put_many,
                                           .get = fault_get,
                                           .get_many = fault_get_many,
                                           .head = fault_head,
                                           .delete = fault_delete,
                                           .list = fault_list,
                                           .prune = fault_prune};

static inline void fault_init(struct fault *f, struct store *real)
{
    memset(f, 0, sizeof(*f));
    f->s.ops = &fault_ops;
    f->real = real;
    f->countdown = -1;
}

/* ---- making things in the tree ---- */

static const struct tree_cred fixture_cred = {1000, 1000};

static inline uint64_t make_file(struct vault *v, uint64_t parent, const char *name, const void *p,
                                 size_t len)
{
    struct inode in;
    int err = tree_mknod(v, parent, name, strlen(name), S_IFREG | 0644, 0, fixture_cred, &in);
    for (size_t at = 0; !err && at < len;) {
        size_t n = len - at < (1u << 20) ? len - at : 1u << 20;
        err = data_write(v, in.ino, at, (const uint8_t *)p + at, n, true, false);
        at += n;
    }
    if (err)
        fixture_die(name, err);
    return in.ino;
}

static inline uint64_t make_dir(struct vault *v, uint64_t parent, const char *name)
{
    struct inode in;
    int err = tree_mkdir(v, parent, name, strlen(name), 0755, fixture_cred, &in);
    if (err)
        fixture_die(name, err);
    return in.ino;
}

#endif
