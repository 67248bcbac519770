/*
 * replay_fixture.h - what the batches of one device on a store say, read straight from them: a tree of names and bytes to compare
 * with what the device shows. It stops at the first batch that is not there, as every reader does, and demands that all that a
 * batch names is there and opens.
 */
#ifndef TESTS_UNIT_REPLAY_FIXTURE_H
#define TESTS_UNIT_REPLAY_FIXTURE_H

#include "check.h"
#include "sync_fixture.h"

#include "sync/batch.h"
#include "sync/pack.h"
#include "sync/roster.h"

#define REPLAY_MAX 4096

struct replay_inode {
    uint64_t ino;
    struct inode attr;
    bool attr_seen, gone;
    uint8_t *bytes;
    uint64_t size;
    char target[300];
    struct bytes_out xattrs;
};

struct replay_entry {
    uint64_t parent, ino;
    char name[256];
    size_t len;
};

struct replay {
    struct store *store;
    struct vault *v; /* for its keys only */
    uint64_t seq;    /* of the last batch */
    uint8_t prev[32];
    struct replay_inode inodes[REPLAY_MAX];
    struct replay_entry entries[REPLAY_MAX];
    size_t inode_count, entry_count;
    struct { /* packs of this batch */
        uint8_t hash[32];
        struct bytes_out bytes;
    } packs[64];
    size_t pack_count;
    size_t record_count, range_count;
};

static inline struct replay_inode *replay_inode(struct replay *r, uint64_t ino)
{
    for (size_t i = 0; i < r->inode_count; i++)
        if (r->inodes[i].ino == ino)
            return &r->inodes[i];
    if (r->inode_count == REPLAY_MAX)
        fixture_die("replay: too many inodes", ERR_TOOBIG);
    struct replay_inode *in = &r->inodes[r->inode_count++];
    memset(in, 0, sizeof(*in));
    in->ino = ino;
    return in;
}

static inline struct replay_entry *replay_entry(struct replay *r, uint64_t parent, const char *name,
                                                size_t len)
{
    for (size_t i = 0; i < r->entry_count; i++) {
        struct replay_entry *e = &r->entries[i];
        if (e->parent == parent && e->len == len && !memcmp(e->name, name, len))
            return e;
    }
    return NULL;
}

static inline void replay_size(struct replay_inode *in, uint64_t size)
{
    in->bytes = realloc(in->bytes, size + 1);
    if (size > in->size)
        memset(in->bytes + in->size, 0, size - in->size);
    in->size = size;
}

static inline void replay_range(struct replay *r, struct replay_inode *in,
                                const struct batch_range *g)
{
    if (g->hole) {
        memset(in->bytes + g->off, 0, g->len);
        return;
    }
    static uint8_t plain[SEAL_EXTENT_MAX];
    const struct bytes_out *pack = &r->packs[g->pack].bytes;
    int err = g->pack_off + seal_size(g->extent_len) > pack->len
                  ? ERR_FORMAT
                  : seal_open(vault_seal_key(r->v, g->epoch), g->id, g->extent_len, 0,
                              (g->extent_len + SEAL_BLOCK - 1) / SEAL_BLOCK, pack->p + g->pack_off,
                              plain);
    CHECK_EQ(err, 0);
    memcpy(in->bytes + g->off, plain + g->eoff, g->len);
    r->range_count++;
}

static inline int replay_record(void *ctx, const struct batch_record *rec)
{
    struct replay *r = ctx;
    struct replay_inode *in;
    struct replay_entry *e;
    char name[PACK_NAME_LEN];
    r->record_count++;
    switch (rec->kind) {
    case BATCH_PACK:
        memcpy(r->packs[r->pack_count].hash, rec->u.pack.name, 32);
        pack_name(rec->u.pack.name, name);
        bytes_out_init(&r->packs[r->pack_count].bytes);
        CHECK_EQ(store_get(r->store, name, 0, 0, PACK_SIZE, &r->packs[r->pack_count].bytes), 0);
        CHECK_EQ(r->packs[r->pack_count].bytes.len, rec->u.pack.size);
        CHECK_EQ(
            pack_check_hash(r->packs[r->pack_count].bytes.p, rec->u.pack.size, rec->u.pack.name),
            0);
        r->pack_count++;
        break;
    case BATCH_ATTR:
        in = replay_inode(r, rec->u.attr.inode.ino);
        in->attr = rec->u.attr.inode;
        in->attr_seen = true;
        memcpy(in->target, rec->u.attr.target ? rec->u.attr.target : "", rec->u.attr.target_len);
        in->target[rec->u.attr.target_len] = '\0';
        break;
    case BATCH_CONTENT:
        in = replay_inode(r, rec->u.content.ino);
        if (rec->u.content.whole)
            in->size = 0;
        replay_size(in, rec->u.content.size);
        for (size_t i = 0; i < rec->u.content.range_count; i++)
            replay_range(r, in, &rec->u.content.ranges[i]);
        break;
    case BATCH_XATTRS:
        in = replay_inode(r, rec->u.xattrs.ino);
        bytes_out_reset(&in->xattrs);
        bytes_put(&in->xattrs, rec->u.xattrs.pairs, rec->u.xattrs.pairs_len);
        break;
    case BATCH_ENTRY:
        e = replay_entry(r, rec->u.entry.parent, rec->u.entry.name, rec->u.entry.name_len);
        if (!rec->u.entry.ino) {
            CHECK(e != NULL); /* what was never published is never said to be gone */
            if (e)
                *e = r->entries[--r->entry_count];
            break;
        }
        CHECK(replay_inode(r, rec->u.entry.ino)->attr_seen); /* no name without its inode */
        CHECK(rec->u.entry.parent == INODE_ROOT || replay_inode(r, rec->u.entry.parent)->attr_seen);
        if (!e) {
            if (r->entry_count == REPLAY_MAX)
                fixture_die("replay: too many entries", ERR_TOOBIG);
            e = &r->entries[r->entry_count++];
        }
        e->parent = rec->u.entry.parent;
        e->ino = rec->u.entry.ino;
        e->len = rec->u.entry.name_len;
        memcpy(e->name, rec->u.entry.name, e->len);
        e->name[e->len] = '\0';
        break;
    default:
        in = replay_inode(r, rec->u.gone.ino);
        CHECK(in->attr_seen && !in->gone);
        in->gone = true;
        break;
    }
    return 0;
}

static inline void replay_free(struct replay *r)
{
    for (size_t i = 0; i < r->inode_count; i++) {
        free(r->inodes[i].bytes);
        bytes_out_release(&r->inodes[i].xattrs);
    }
    free(r);
}

/* Everything that ${device} has on the store. */
static inline struct replay *replay_run(struct store *store, struct vault *v)
{
    struct replay *r = calloc(1, sizeof(*r));
    const struct keyring *k = vault_keyring(v);
    char device[ROSTER_DEVICE_NAME_LEN], name[BATCH_NAME_LEN];
    struct sign_keys *keys = sign_keys_new(k->sign_seed, k->box_seed);
    roster_store_name(sign_keys_public(keys), device);
    r->store = store;
    r->v = v;
    struct bytes_out b;
    bytes_out_init(&b);
    for (;;) {
        struct batch_head head;
        uint8_t hash[32];
        bytes_out_reset(&b);
        batch_name(device, r->seq + 1, name);
        if (store_get(store, name, 0, 0, BATCH_MAX, &b))
            break;
        CHECK_EQ(batch_open_head(b.p, b.len, &head, hash), 0);
        CHECK(head.seq == r->seq + 1 && !memcmp(head.prev, r->prev, 32));
        CHECK(!memcmp(head.device_key, sign_keys_public(keys), 32));
        memcpy(r->prev, hash, 32);
        r->seq++;
        batch_head_release(&head);
        r->pack_count = 0;
        CHECK_EQ(batch_open_body(b.p, b.len, k->epochs[0].key, vault_id(v), name, replay_record, r),
                 0);
        for (size_t i = 0; i < r->pack_count; i++)
            bytes_out_release(&r->packs[i].bytes);
    }
    bytes_out_release(&b);
    sign_keys_free(keys);
    return r;
}

struct replay_walk {
    struct replay *r;
    struct vault *v;
    uint64_t dir;
    size_t seen, different;
    bool verbose;
};

static inline void replay_compare_file(struct replay_walk *w, const struct inode *in,
                                       const struct replay_inode *got)
{
    uint8_t *buf = malloc(in->size + 1);
    size_t n = 0, at = 0;
    bool same = in->size == got->size;
    for (; same && at < in->size; at += n)
        if (data_read(w->v, in->ino, at, buf + at,
                      in->size - at < (1u << 20) ? in->size - at : 1u << 20, &n, NULL) ||
            !n)
            same = false;
    if (!same || (in->size && memcmp(buf, got->bytes, in->size)))
        w->different++;
    free(buf);
}

static inline int replay_compare_one(void *ctx, const char *name, size_t len, uint64_t cookie,
                                     const struct inode *in)
{
    struct replay_walk *w = ctx;
    (void)cookie;
    if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
        return 0;
    const struct replay_entry *e = replay_entry(w->r, w->dir, name, len);
    w->seen++;
    if (!e || e->ino != in->ino) {
        w->different++;
        return 0;
    }
    struct replay_inode *got = replay_inode(w->r, in->ino);
    if (!got->attr_seen || got->gone || got->attr.mode != in->mode || got->attr.uid != in->uid ||
        got->attr.mtime != in->mtime || got->attr.atime != in->atime)
        w->different++;
    if (S_ISREG(in->mode))
        replay_compare_file(w, in, got);
    if (S_ISLNK(in->mode)) {
        char target[300];
        size_t target_len;
        if (tree_readlink(w->v, in->ino, target, sizeof(target) - 1, &target_len) ||
            target_len != strlen(got->target) || memcmp(target, got->target, target_len))
            w->different++;
    }
    if (S_ISDIR(in->mode)) {
        uint64_t dir = w->dir;
        w->dir = in->ino;
        tree_readdir(w->v, in->ino, 0, replay_compare_one, w);
        w->dir = dir;
    }
    return 0;
}

/* True if the store shows just what the device shows. */
static inline bool replay_equals(struct store *store, struct vault *v)
{
    struct replay *r = replay_run(store, v);
    struct replay_walk w = {.r = r, .v = v, .dir = INODE_ROOT};
    tree_readdir(v, INODE_ROOT, 0, replay_compare_one, &w);
    bool same = w.different == 0 && w.seen == r->entry_count;
    if (!same)
        fprintf(stderr, "store and device differ: %zu of %zu, %zu names on the store\n",
                w.different, w.seen, r->entry_count);
    replay_free(r);
    return same;
}

#endif
