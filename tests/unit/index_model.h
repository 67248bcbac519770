/*
 * index_model.h - what the index should hold, in plain arrays, and the random operations that change both.
 *
 * The operations are drawn from a seed and from the model alone, so any prefix of them can be made again without an
 * index: that is what the state after a crash is compared with.
 */
#ifndef TESTS_UNIT_INDEX_MODEL_H
#define TESTS_UNIT_INDEX_MODEL_H

#include "index_env.h"

#include <stdarg.h>

#define M_FILES   24u   /* inodes at once */
#define M_CELLS   32u   /* of a file */
#define M_CELL    4096u /* bytes of one */
#define M_EXTENTS 400u
#define M_ENTRIES 60u
#define M_KV      40u
#define M_XATTRS  3u
/* segments that do not exist: punching and dropping must not hit the log */
#define M_SEG 1000000u

struct m_file {
    struct inode in;
    bool used;
    char target[16];
    char xattr[M_XATTRS][8]; /* value; empty: none */
    struct {
        uint32_t row; /* runs of one number are a row of the map; 0: hole */
        uint32_t extent, cell;
    } map[M_CELLS];
    bool dirty[M_CELLS + 1]; /* the last one: all that comes after */
};

struct m_extent {
    bool used;
    struct extent e;
};

struct m_entry {
    bool used;
    uint64_t parent, ino;
    char name[8];
    struct version version;
    bool dirty;
};

struct m_kv {
    bool used;
    char space[12];
    uint8_t key[24];
    size_t key_len;
    char value[16];
    size_t len;
};

struct model {
    uint64_t rng;
    uint64_t next_ino;
    uint32_t next_row, next_eid;
    struct m_file files[M_FILES];
    struct m_extent extents[M_EXTENTS];
    struct m_entry entries[M_ENTRIES];
    struct m_kv kv[M_KV];
};

static inline uint32_t m_random(struct model *m, uint32_t below)
{
    m->rng = m->rng * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(m->rng >> 33) % below;
}

static inline void m_start(struct model *m, uint64_t seed)
{
    memset(m, 0, sizeof(*m));
    m->rng = seed;
    m->next_ino = m->next_row = m->next_eid = 1;
}

/* ---- finding ---- */

static inline struct m_file *m_any_file(struct model *m)
{
    for (unsigned n = 0, i = m_random(m, M_FILES); n < M_FILES; n++, i = (i + 1) % M_FILES)
        if (m->files[i].used)
            return &m->files[i];
    return NULL;
}

static inline struct m_kv *m_kv_find(struct model *m, const char *space, const void *key,
                                     size_t len)
{
    for (unsigned i = 0; i < M_KV; i++) {
        struct m_kv *kv = &m->kv[i];
        if (kv->used && strcmp(kv->space, space) == 0 && kv->key_len == len &&
            memcmp(kv->key, key, len) == 0)
            return kv;
    }
    return NULL;
}

static inline void m_kv_set(struct model *m, const char *space, const void *key, size_t key_len,
                            const void *value, size_t len)
{
    struct m_kv *kv = m_kv_find(m, space, key, key_len);
    for (unsigned i = 0; !kv && i < M_KV; i++)
        if (!m->kv[i].used)
            kv = &m->kv[i];
    if (!kv)
        abort();
    kv->used = true;
    strcpy(kv->space, space);
    memcpy(kv->key, key, key_len);
    kv->key_len = key_len;
    memcpy(kv->value, value, len);
    kv->len = len;
}

/* [tombstone] */
static inline void m_tombstone(struct model *m, const char *space, uint64_t number,
                               const char *name, struct version version)
{
    uint8_t key[24], value[12];
    for (int i = 0; i < 8; i++)
        key[i] = (uint8_t)(number >> (56 - 8 * i));
    memcpy(key + 8, name, strlen(name));
    bytes_le64(value, version.lamport);
    bytes_le32(value + 8, version.device);
    m_kv_set(m, space, key, 8 + strlen(name), value, 12);
}

/* ---- extents and maps ---- */

static inline uint32_t m_rows_of(struct model *m, uint32_t eid)
{
    uint32_t n = 0;
    for (unsigned f = 0; f < M_FILES; f++)
        for (unsigned c = 0; m->files[f].used && c < M_CELLS; c++)
            n += m->files[f].map[c].row && m->files[f].map[c].extent == eid &&
                 (c == 0 || m->files[f].map[c - 1].row != m->files[f].map[c].row);
    return n;
}

static inline void m_count(struct model *m)
{
    for (unsigned i = 0; i < M_EXTENTS; i++) {
        struct m_extent *x = &m->extents[i];
        if (!x->used)
            continue;
        x->e.refs = m_rows_of(m, (uint32_t)x->e.eid);
        x->used = x->e.refs != 0;
    }
    for (unsigned f = 0; f < M_FILES; f++) {
        m->files[f].in.stored = 0;
        for (unsigned c = 0; c < M_CELLS; c++)
            m->files[f].in.stored += m->files[f].map[c].row ? M_CELL : 0;
    }
}

/* Cells [from, to) become holes; what a row has behind them is a row of its own then. */
static inline void m_carve(struct model *m, struct m_file *f, unsigned from, unsigned to)
{
    if (from > 0 && to < M_CELLS && f->map[to].row && f->map[to].row == f->map[from - 1].row) {
        uint32_t old = f->map[to].row, row = m->next_row++;
        for (unsigned c = to; c < M_CELLS && f->map[c].row == old; c++)
            f->map[c].row = row;
    }
    for (unsigned c = from; c < to; c++)
        f->map[c].row = 0;
}

static inline void m_changed(struct m_file *f, unsigned from, unsigned to, bool local)
{
    if (!local)
        return;
    f->in.dirty |= DIRTY_CONTENT;
    for (unsigned c = from; c < to && f->in.content_version.lamport; c++)
        f->dirty[c] = true;
}

/* ---- operations: each changes the model and, if there is one, the index ---- */

#define M_DO(ix, call) ((ix) ? (call) : 0)

static inline int m_inode_new(struct model *m, struct index *ix, bool local)
{
    struct m_file *f = NULL;
    for (unsigned i = 0; !f && i < M_FILES; i++)
        if (!m->files[i].used)
            f = &m->files[i];
    if (!f)
        return 0;
    static const uint32_t modes[] = {S_IFREG | 0644, S_IFREG | 0600, S_IFDIR | 0755,
                                     S_IFLNK | 0777};
    memset(f, 0, sizeof(*f));
    f->used = true;
    f->in.ino = (uint64_t)ENV_TAG << INODE_TAG_SHIFT | m->next_ino++;
    f->in.mode = modes[m_random(m, 4)];
    f->in.nlink = m_random(m, 3);
    f->in.mtime = (int64_t)m_random(m, 1000) - 500;
    f->in.parent = S_ISDIR(f->in.mode) ? 1 : 0;
    if (!local)
        f->in.attr_version = f->in.content_version = (struct version){1 + m_random(m, 9), 5};
    int err = M_DO(ix, index_inode_put(ix, &f->in));
    if (local)
        f->in.dirty |= DIRTY_ATTR;
    if (err || !S_ISLNK(f->in.mode))
        return err;
    snprintf(f->target, sizeof(f->target), "to-%u", m_random(m, 100));
    return M_DO(ix, index_target_put(ix, f->in.ino, f->target, strlen(f->target)));
}

static inline int m_inode_set(struct model *m, struct index *ix, bool local)
{
    struct m_file *f = m_any_file(m);
    if (!f)
        return 0;
    struct inode in = f->in;
    in.size = m_random(m, 100000);
    in.nlink = m_random(m, 3);
    in.mtime++;
    in.stored = 12345; /* must not matter */
    if (local) {
        in.dirty = m_random(m, 2) ? DIRTY_ATTR : 0;
        in.attr_version.lamport = 77; /* must not matter */
    } else {                          /* as sync does after a push */
        in.dirty = 0;
        in.attr_version = in.content_version = (struct version){1 + m_random(m, 9), 5};
    }
    const struct inode old = f->in;
    f->in = in;
    f->in.stored = old.stored;
    if (local) {
        f->in.dirty |= old.dirty;
        f->in.attr_version = old.attr_version;
    }
    return M_DO(ix, index_inode_put(ix, &in));
}

static inline int m_inode_del(struct model *m, struct index *ix, bool local)
{
    struct m_file *f = m_any_file(m);
    if (!f)
        return 0;
    f->used = false;
    if (local && f->in.attr_version.lamport)
        m_tombstone(m, "gone-inode", f->in.ino, "", f->in.attr_version);
    int err = M_DO(ix, index_inode_del(ix, f->in.ino));
    memset(f->map, 0, sizeof(f->map));
    m_count(m);
    return err;
}

static inline int m_entry_put(struct model *m, struct index *ix, bool local)
{
    struct entry e = {.parent = 1 + m_random(m, 2), .ino = 1 + m_random(m, 1000), .type = S_IFREG};
    e.name_len = (uint8_t)snprintf(e.name, sizeof(e.name), "n%u", m_random(m, 25));
    if (!local)
        e.version = (struct version){1 + m_random(m, 9), 6};
    struct m_entry *found = NULL, *empty = NULL;
    for (unsigned i = 0; i < M_ENTRIES; i++) {
        struct m_entry *x = &m->entries[i];
        if (x->used && x->parent == e.parent && strcmp(x->name, e.name) == 0)
            found = x;
        else if (!x->used)
            empty = x;
    }
    struct m_entry *x = found ? found : empty;
    struct version kept = found ? found->version : (struct version){0, 0};
    if (!found && local) { /* a tombstone gives its version back */
        uint8_t key[24] = {[7] = (uint8_t)e.parent};
        memcpy(key + 8, e.name, e.name_len);
        struct m_kv *gone = m_kv_find(m, "gone-entry", key, 8u + e.name_len);
        if (gone) {
            kept = (struct version){bytes_from_le64((uint8_t *)gone->value),
                                    bytes_from_le32((uint8_t *)gone->value + 8)};
            gone->used = false;
        }
    }
    *x = (struct m_entry){.used = true, .parent = e.parent, .ino = e.ino, .dirty = local};
    strcpy(x->name, e.name);
    x->version = local ? kept : e.version;
    return M_DO(ix, index_entry_put(ix, &e));
}

static inline int m_entry_del(struct model *m, struct index *ix, bool local)
{
    struct m_entry *x = &m->entries[m_random(m, M_ENTRIES)];
    if (!x->used)
        return 0;
    x->used = false;
    if (local && x->version.lamport)
        m_tombstone(m, "gone-entry", x->parent, x->name, x->version);
    return M_DO(ix, index_entry_del(ix, x->parent, x->name, strlen(x->name)));
}

static inline int m_xattr(struct model *m, struct index *ix, bool local)
{
    struct m_file *f = m_any_file(m);
    unsigned which = m_random(m, M_XATTRS);
    char name[16];
    if (!f)
        return 0;
    snprintf(name, sizeof(name), "user.%u", which);
    bool had = f->xattr[which][0];
    if (m_random(m, 3) == 0) {
        f->xattr[which][0] = '\0';
        if (had && local)
            f->in.dirty |= DIRTY_XATTR;
        int err = M_DO(ix, index_xattr_del(ix, f->in.ino, name));
        return ix && !had ? (err == ERR_NODATA ? 0 : ERR_MISUSE) : err;
    }
    snprintf(f->xattr[which], sizeof(f->xattr[which]), "v%u", m_random(m, 1000));
    if (local)
        f->in.dirty |= DIRTY_XATTR;
    return M_DO(ix, index_xattr_put(ix, f->in.ino, name, f->xattr[which], strlen(f->xattr[which])));
}

static inline struct m_file *m_any_regular(struct model *m)
{
    struct m_file *f = m_any_file(m);
    return f && S_ISREG(f->in.mode) ? f : NULL;
}

/* A new extent (or one that is there), mapped into a file. */
static inline int m_map(struct model *m, struct index *ix, bool local, bool share)
{
    struct m_file *f = m_any_regular(m);
    struct m_extent *x = &m->extents[m_random(m, M_EXTENTS)];
    if (!f || x->used != share)
        return 0;
    int err = 0;
    if (!share) {
        x->used = true;
        x->e = (struct extent){.eid = m->next_eid++,
                               .len = M_CELL * (1 + m_random(m, 8)),
                               .epoch = 1,
                               .at = {M_SEG + m_random(m, 3), 64 + 65536ull * m->next_eid}};
        snprintf((char *)x->e.id, sizeof(x->e.id), "extent %u", (unsigned)x->e.eid);
        err = M_DO(ix, index_extent_put(ix, &x->e));
    }
    unsigned cells = x->e.len / M_CELL, skip = m_random(m, cells),
             n = 1 + m_random(m, cells - skip);
    unsigned at = m_random(m, M_CELLS - n + 1);
    m_carve(m, f, at, at + n);
    uint32_t row = m->next_row++;
    for (unsigned c = 0; c < n; c++) {
        f->map[at + c].row = row;
        f->map[at + c].extent = (uint32_t)x->e.eid;
        f->map[at + c].cell = skip + c;
    }
    m_changed(f, at, at + n, local);
    m_count(m);
    if (err)
        return err;
    return M_DO(ix, index_map_set(ix, f->in.ino, at * M_CELL, n * M_CELL, x->e.eid, skip * M_CELL));
}

static inline int m_punch(struct model *m, struct index *ix, bool local)
{
    struct m_file *f = m_any_regular(m);
    if (!f)
        return 0;
    unsigned from = m_random(m, M_CELLS), to = from + 1 + m_random(m, M_CELLS - from);
    bool to_end = m_random(m, 4) == 0;
    if (to_end)
        to = M_CELLS;
    m_carve(m, f, from, to);
    m_changed(f, from, to_end ? to + 1 : to, local);
    m_count(m);
    return M_DO(ix, index_map_punch(ix, f->in.ino, from * M_CELL,
                                    to_end ? UINT64_MAX : (to - from) * M_CELL));
}

static inline int m_move(struct model *m, struct index *ix)
{
    struct m_extent *x = &m->extents[m_random(m, M_EXTENTS)];
    if (!x->used)
        return 0;
    if (m_random(m, 2))
        x->e.at = m_random(m, 3) ? (struct segment_pos){M_SEG + m_random(m, 4),
                                                        64 + 65536ull * m_random(m, 5000)}
                                 : (struct segment_pos){0, 0};
    x->e.pack = m_random(m, 3);
    x->e.pack_off = m_random(m, 1000);
    return M_DO(ix, index_extent_move(ix, &x->e));
}

static inline int m_kv_op(struct model *m, struct index *ix)
{
    char key[16], value[16];
    const char *space = m_random(m, 2) ? "heads" : "packs";
    int key_len = snprintf(key, sizeof(key), "k%u", m_random(m, 5));
    int len = snprintf(value, sizeof(value), "v%u", m_random(m, 1000));
    struct m_kv *kv = m_kv_find(m, space, key, (size_t)key_len);
    if (m_random(m, 3) == 0) {
        int err = M_DO(ix, index_kv_del(ix, space, key, (size_t)key_len));
        if (!kv)
            return ix ? (err == ERR_NOENT ? 0 : ERR_MISUSE) : 0;
        kv->used = false;
        return err;
    }
    m_kv_set(m, space, key, (size_t)key_len, value, (size_t)len);
    return M_DO(ix, index_kv_put(ix, space, key, (size_t)key_len, value, (size_t)len));
}

/* Sync took the tombstones and the ranges away. */
static inline int m_synced(struct model *m, struct index *ix)
{
    int err = 0;
    for (unsigned i = 0; !err && i < M_KV; i++) {
        struct m_kv *kv = &m->kv[i];
        if (!kv->used || strncmp(kv->space, "gone-", 5) != 0)
            continue;
        kv->used = false;
        err = M_DO(ix, index_kv_del(ix, kv->space, kv->key, kv->key_len));
    }
    struct m_file *f = m_any_regular(m);
    if (err || !f)
        return err;
    memset(f->dirty, 0, sizeof(f->dirty));
    return M_DO(ix, index_dirty_ranges_clear(ix, f->in.ino));
}

static inline unsigned m_kv_free(const struct model *m)
{
    unsigned n = 0;
    for (unsigned i = 0; i < M_KV; i++)
        n += !m->kv[i].used;
    return n;
}

static inline int m_one(struct model *m, struct index *ix, bool local)
{
    if (m_kv_free(m) < 12)
        return m_synced(m, ix);
    switch (m_random(m, 12)) {
    case 0:
        return m_inode_new(m, ix, local);
    case 1:
        return m_inode_set(m, ix, local);
    case 2:
        return m_random(m, 3) ? 0 : m_inode_del(m, ix, local);
    case 3:
    case 4:
        return m_entry_put(m, ix, local);
    case 5:
        return m_entry_del(m, ix, local);
    case 6:
        return m_xattr(m, ix, local);
    case 7:
        return m_map(m, ix, local, false);
    case 8:
        return m_map(m, ix, local, true);
    case 9:
        return m_punch(m, ix, local);
    case 10:
        return m_move(m, ix);
    default:
        return m_kv_op(m, ix);
    }
}

/* One group. ${ix} NULL: only the model. */
static inline int m_group(struct model *m, struct index *ix)
{
    bool local = m_random(m, 4) != 0;
    unsigned n = 1 + m_random(m, 4);
    int err = 0;
    if (ix) {
        index_lock(ix);
        err = index_begin(ix, local ? INDEX_LOCAL : INDEX_REMOTE, 0);
    }
    for (unsigned i = 0; !err && i < n; i++)
        err = m_one(m, ix, local);
    if (ix) {
        index_end(ix);
        index_unlock(ix);
    }
    return err;
}

#endif
