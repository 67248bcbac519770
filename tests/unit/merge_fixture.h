/*
 * merge_fixture.h - several devices of one vault in one process, with fixed keys and numbers so that a seed gives the same run again, and one
 * folder as their store.
 */
#ifndef TESTS_UNIT_MERGE_FIXTURE_H
#define TESTS_UNIT_MERGE_FIXTURE_H

#include "check.h"
#include "sync_fixture.h"

#include "crypto/kdf.h"
#include "crypto/log.h"
#include "fs/check.h"
#include "sync/batch.h"
#include "sync/hydrate.h"
#include "sync/members.h"
#include "sync/pull.h"
#include "sync/push.h"

#define DEVICES_MAX 4u

struct member {
    struct device d;
    uint32_t tag;
    struct store *store;
    struct stores_handle handle;
    struct hydrate *hydrate;
    struct vault_fetcher fetcher;
    struct sign_keys *keys;
    struct push_limits limits;
};

struct group {
    struct member m[DEVICES_MAX];
    size_t n;
    uint8_t vault_id[32], epoch_key[SECRET_KEY_LEN];
    struct roster *roster;
    char store[40], url[160];
};

static inline int group_fetch(void *ctx, struct vault_fetch *want)
{
    return hydrate_fetch(ctx, want);
}

static inline void group_keyring(struct group *g, size_t i, struct keyring *k,
                                 const struct bytes_out *genesis)
{
    memset(k->sign_seed, 10 + (int)i, sizeof(k->sign_seed));
    memset(k->box_seed, 50 + (int)i, sizeof(k->box_seed));
    memset(k->device_key, 90 + (int)i, sizeof(k->device_key));
    k->device_tag = 1000 + (uint32_t)i;
    k->epoch_count = 1;
    k->epochs[0].epoch = 1;
    memcpy(k->epochs[0].key, g->epoch_key, SECRET_KEY_LEN);
    if (genesis->len)
        memcpy(k->genesis, genesis->p, genesis->len);
    k->genesis_len = (uint32_t)genesis->len;
    snprintf(k->device_name, sizeof(k->device_name), "dev%zu", i);
}

static inline void group_open(struct group *g, size_t i)
{
    struct member *m = &g->m[i];
    struct stores_item *item = calloc(1, sizeof(*item));
    device_open(&m->d);
    m->store = folder_open(g->store);
    m->handle = (struct stores_handle){.id = 1, .store = m->store};
    item->id = 1;
    memcpy(item->url, g->url, sizeof(g->url));
    if (hydrate_new(&m->hydrate, m->d.v))
        fixture_die("hydrate_new", ERR_NOMEM);
    hydrate_set_stores(m->hydrate, item, 1);
    m->fetcher = (struct vault_fetcher){.fetch = group_fetch, .ctx = m->hydrate};
    vault_set_fetcher(m->d.v, &m->fetcher);
}

static inline void group_make(struct group *g, size_t n, const char *name)
{
    struct bytes_out genesis, record;
    struct sign_keys *recovery;
    uint8_t seed[32];
    memset(g, 0, sizeof(*g));
    g->n = n;
    memset(g->epoch_key, 7, sizeof(g->epoch_key));
    memset(seed, 200, sizeof(seed));
    recovery = sign_keys_new(seed, seed);
    snprintf(g->store, sizeof(g->store), "%s-store", name);
    folder_url(g->store, g->url);
    bytes_out_init(&genesis);
    bytes_out_init(&record);
    struct keyring *k = keyring_new();
    for (size_t i = 0; i < n; i++) {
        struct member *m = &g->m[i];
        char device[16];
        int err = 0;
        m->tag = 1000 + (uint32_t)i;
        group_keyring(g, i, k, &genesis);
        m->keys = sign_keys_new(k->sign_seed, k->box_seed);
        if (i == 0) {
            err = roster_make_genesis(m->keys, m->tag, sign_keys_public(recovery), g->epoch_key,
                                      "dev0", &genesis, g->vault_id);
            g->roster = roster_new(g->vault_id, g->epoch_key);
            if (!err)
                err = roster_add(g->roster, genesis.p, genesis.len);
            group_keyring(g, i, k, &genesis);
        } else {
            bytes_out_reset(&record);
            snprintf(device, sizeof(device), "dev%zu", i);
            err = roster_make_add(g->roster, m->keys, m->tag, recovery, device, &record);
            if (!err)
                err = roster_add(g->roster, record.p, record.len);
        }
        if (err)
            fixture_die("roster", err);
        snprintf(m->d.path, sizeof(m->d.path), "%s/%s-%zu", fixture_base, name, i);
        struct vault_new params = {.path = m->d.path,
                                   .vault_id = g->vault_id,
                                   .keyring = k,
                                   .secret = DEVICE_SECRET,
                                   .secret_len = strlen(DEVICE_SECRET),
                                   .cost = &fixture_cost,
                                   .with_root = i == 0};
        err = vault_create(&params);
        if (err)
            fixture_die("vault_create", err);
    }
    keyring_free(k);
    for (size_t i = 0; i < n; i++) {
        group_open(g, i);
        if (members_save(g->m[i].d.v, g->roster))
            fixture_die("members_save", ERR_IO);
    }
    if (members_put(g->m[0].store, g->roster))
        fixture_die("members_put", ERR_IO);
    bytes_out_release(&genesis);
    bytes_out_release(&record);
    sign_keys_free(recovery);
}

static inline void group_close(struct group *g, size_t i)
{
    struct member *m = &g->m[i];
    vault_set_fetcher(m->d.v, NULL);
    hydrate_free(m->hydrate);
    store_close(m->store);
    device_close(&m->d);
}

static inline void group_free(struct group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        group_close(g, i);
        sign_keys_free(g->m[i].keys);
        fixture_rm(g->m[i].d.path);
    }
    roster_free(g->roster);
    fixture_rm(g->url + 7);
}

static inline int member_push(struct member *m, uint64_t *batches)
{
    struct push_result r;
    const struct push_params p = {
        .vault = m->d.v, .stores = &m->handle, .count = 1, .limits = &m->limits};
    int err = push_run(&p, &r);
    if (batches)
        *batches += r.batches;
    return err;
}

static inline int member_pull(struct member *m, uint64_t *batches, char *why)
{
    struct pull_result r;
    const struct pull_params p = {.vault = m->d.v, .stores = &m->handle, .count = 1};
    int err = pull_run(&p, &r);
    if (batches)
        *batches += r.batches;
    if (why)
        memcpy(why, r.why, sizeof(r.why));
    return err;
}

/* Everybody has everything, and nobody has anything to say. False: it does not come to an end. */
static inline bool group_settle(struct group *g)
{
    for (int round = 0; round < 25; round++) {
        uint64_t batches = 0;
        for (size_t i = 0; i < g->n; i++) {
            int err = member_pull(&g->m[i], &batches, NULL);
            if (!err)
                err = member_push(&g->m[i], &batches);
            if (err) {
                fprintf(stderr, "device %zu: %s\n", i, err_text(err));
                return false;
            }
        }
        if (batches == 0)
            return true;
    }
    return false;
}

/* ---- what a tree looks like ---- */

struct dump {
    struct vault *v;
    struct bytes_out *out;
    char path[4096];
    size_t len;
};

static inline int dump_xattr(void *ctx, const char *name, const void *value, size_t len)
{
    char line[300];
    int n = snprintf(line, sizeof(line), "    %s=%.*s\n", name, (int)len, (const char *)value);
    bytes_put(ctx, line, (size_t)n);
    return 0;
}

static inline void dump_content(struct dump *d, const struct inode *in)
{
    uint8_t hash[32], *p = malloc(in->size + 1);
    char line[100];
    size_t got = 0;
    int err = data_read(d->v, in->ino, 0, p, in->size, &got, NULL);
    kdf_hash(hash, "dump", p, got);
    int n = snprintf(line, sizeof(line), "    content %d %zu %02x%02x%02x%02x\n", err, got, hash[0],
                     hash[1], hash[2], hash[3]);
    bytes_put(d->out, line, (size_t)n);
    free(p);
}

static inline void dump_dir(struct dump *d, uint64_t ino);

struct child {
    char name[256];
    size_t len;
    struct inode in;
};
struct children {
    struct child *list;
    size_t n, cap;
};

static inline int dump_collect(void *ctx, const char *name, size_t len, uint64_t cookie,
                               const struct inode *in)
{
    struct children *c = ctx;
    if (cookie <= 2)
        return 0;
    if (c->n == c->cap)
        c->list = realloc(c->list, (c->cap = c->cap ? c->cap * 2 : 16) * sizeof(*c->list));
    struct child *k = &c->list[c->n++];
    memcpy(k->name, name, len);
    k->name[len] = '\0';
    k->len = len;
    k->in = *in;
    return 0;
}

static inline int dump_order(const void *a, const void *b)
{
    return strcmp(((const struct child *)a)->name, ((const struct child *)b)->name);
}

static inline void dump_inode(struct dump *d, const struct inode *in)
{
    char line[4500], target[TARGET_LEN_MAX + 1];
    size_t len;
    int n =
        snprintf(line, sizeof(line),
                 "%.*s ino %llx mode %o nlink %u uid %u gid %u size %llu mtime %lld ctime %lld\n",
                 (int)d->len, d->path, (unsigned long long)in->ino, in->mode, in->nlink, in->uid,
                 in->gid, S_ISDIR(in->mode) ? 0ull : (unsigned long long)in->size,
                 (long long)in->mtime, (long long)in->ctime);
    bytes_put(d->out, line, (size_t)n);
    if (S_ISREG(in->mode))
        dump_content(d, in);
    if (S_ISLNK(in->mode) && tree_readlink(d->v, in->ino, target, sizeof(target), &len) == 0)
        bytes_put(d->out, target, len);
    index_lock(vault_index(d->v));
    (void)index_xattr_scan(vault_index(d->v), in->ino, dump_xattr, d->out);
    index_unlock(vault_index(d->v));
}

static inline void dump_dir(struct dump *d, uint64_t ino)
{
    struct children c = {0};
    const size_t len = d->len;
    (void)tree_readdir(d->v, ino, 0, dump_collect, &c);
    if (c.n)
        qsort(c.list, c.n, sizeof(*c.list), dump_order);
    for (size_t i = 0; i < c.n; i++) {
        if (len + c.list[i].len + 2 > sizeof(d->path))
            continue;
        d->path[len] = '/';
        memcpy(d->path + len + 1, c.list[i].name, c.list[i].len);
        d->len = len + 1 + c.list[i].len;
        dump_inode(d, &c.list[i].in);
        if (S_ISDIR(c.list[i].in.mode))
            dump_dir(d, c.list[i].in.ino);
        d->len = len;
    }
    free(c.list);
}

static inline void dump_tree(struct vault *v, struct bytes_out *out)
{
    struct dump d = {.v = v, .out = out};
    struct inode root;
    bytes_out_init(out);
    if (tree_getattr(v, INODE_ROOT, &root) == 0)
        dump_inode(&d, &root);
    dump_dir(&d, INODE_ROOT);
}

static inline void print_difference(const struct bytes_out *a, const struct bytes_out *b)
{
    fprintf(stderr, "---- first device\n%.*s---- other device\n%.*s----\n", (int)a->len,
            (const char *)a->p, (int)b->len, (const char *)b->p);
}

static inline void group_problem(void *ctx, const char *path, const char *what)
{
    fprintf(stderr, "check: device %zu: %s: %s\n", *(size_t *)ctx, path ? path : "-", what);
}

/* All trees are the same, byte for byte, and all indexes sound. */
static inline bool group_same(struct group *g)
{
    struct bytes_out first = {0}, other;
    bool same = true;
    for (size_t i = 0; i < g->n; i++) {
        const struct check_options o = {
            .references_only = true, .problem = group_problem, .ctx = &i};
        struct check_result r;
        same &= check_vault(g->m[i].d.v, &o, &r) == 0 && r.problems == 0;
        dump_tree(g->m[i].d.v, i ? &other : &first);
        if (!i)
            continue;
        if (first.len != other.len || memcmp(first.p, other.p, first.len) != 0) {
            print_difference(&first, &other);
            same = false;
        }
        bytes_out_release(&other);
    }
    bytes_out_release(&first);
    return same;
}

#endif
