/*
 * Inodes: rows of the table through a write-back cache, link targets.
 *
 * A slot of the cache that is newer than its row is written when another inode needs the slot, before anything looks at the
 * table as a whole, and before every commit.
 */
#include "fs/index_private.h"

#include "crypto/err.h"

#include <string.h>

#define DAY_NS       (INT64_C(86400) * 1000000000)
#define COUNTER_MASK ((UINT64_C(1) << INODE_TAG_SHIFT) - 1)

static struct index_row *slot_of(struct index *ix, uint64_t ino)
{
    return &ix->cache[ino % INDEX_CACHE_SLOTS];
}

static void bind_row(sqlite3_stmt *stmt, const struct inode *in, bool all)
{
    index_bind(stmt, 1, in->ino);
    index_bind(stmt, 2, in->mode);
    index_bind(stmt, 3, in->uid);
    index_bind(stmt, 4, in->gid);
    index_bind(stmt, 5, in->rdev);
    index_bind(stmt, 6, in->size);
    index_bind(stmt, 7, in->stored);
    index_bind(stmt, 8, (uint64_t)in->atime);
    index_bind(stmt, 9, (uint64_t)in->mtime);
    index_bind(stmt, 10, (uint64_t)in->ctime);
    index_bind(stmt, 11, (uint64_t)in->btime);
    index_bind(stmt, 12, in->parent);
    index_bind(stmt, 13, in->attr_version.lamport);
    index_bind(stmt, 14, in->attr_version.device);
    index_bind(stmt, 15, in->content_version.lamport);
    index_bind(stmt, 16, in->content_version.device);
    index_bind(stmt, 17, in->xattr_version.lamport);
    index_bind(stmt, 18, in->xattr_version.device);
    if (!all)
        return;
    index_bind(stmt, 19, in->nlink);
    index_bind(stmt, 20, in->dirty);
}

static int write_row(struct index *ix, struct index_row *row)
{
    enum index_stmt id = STMT_INODE_INSERT;
    if (row->in_db && row->db_dirty == row->inode.dirty && row->db_nlink == row->inode.nlink)
        id = STMT_INODE_TOUCH;
    else if (row->in_db)
        id = STMT_INODE_UPDATE;
    bind_row(ix->stmt[id], &row->inode, id != STMT_INODE_TOUCH);
    int err = index_run(ix, ix->stmt[id]);
    if (err)
        return err;
    /* Outside of a group a time of access may be all that is new. It has to be committed some time, or a mount that only
     * reads would keep the whole table in memory, as pages of a transaction that nobody ends. */
    if (ix->origin == 0)
        atomic_fetch_add_explicit(&ix->ops, 1, memory_order_relaxed);
    row->in_db = true;
    row->unwritten = false;
    row->db_dirty = row->inode.dirty;
    row->db_nlink = row->inode.nlink;
    return 0;
}

int index_rows_write(struct index *ix)
{
    for (size_t i = 0; i < INDEX_CACHE_SLOTS; i++) {
        struct index_row *row = &ix->cache[i];
        int err = row->inode.ino && row->unwritten ? write_row(ix, row) : 0;
        if (err)
            return err;
    }
    return 0;
}

void index_rows_forget(struct index *ix)
{
    memset(ix->cache, 0, sizeof(ix->cache));
    index_seen_forget(ix);
}

/* 1: found. */
static int read_row(struct index *ix, uint64_t ino, struct inode *in)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_INODE_GET];
    index_bind(stmt, 1, ino);
    int got = index_read(stmt);
    if (got <= 0)
        return got;
    in->ino = ino;
    in->mode = (uint32_t)index_column(stmt, 0);
    in->nlink = (uint32_t)index_column(stmt, 1);
    in->uid = (uint32_t)index_column(stmt, 2);
    in->gid = (uint32_t)index_column(stmt, 3);
    in->rdev = (uint32_t)index_column(stmt, 4);
    in->size = index_column(stmt, 5);
    in->stored = index_column(stmt, 6);
    in->atime = sqlite3_column_int64(stmt, 7);
    in->mtime = sqlite3_column_int64(stmt, 8);
    in->ctime = sqlite3_column_int64(stmt, 9);
    in->btime = sqlite3_column_int64(stmt, 10);
    in->parent = index_column(stmt, 11);
    in->attr_version = (struct version){index_column(stmt, 12), (uint32_t)index_column(stmt, 13)};
    in->content_version =
        (struct version){index_column(stmt, 14), (uint32_t)index_column(stmt, 15)};
    in->xattr_version = (struct version){index_column(stmt, 16), (uint32_t)index_column(stmt, 17)};
    in->dirty = (uint32_t)index_column(stmt, 18);
    sqlite3_reset(stmt);
    return 1;
}

/* Empties the slot for another inode. */
static int evict(struct index *ix, struct index_row *row)
{
    int err = row->inode.ino && row->unwritten ? write_row(ix, row) : 0;
    if (!err)
        row->inode.ino = 0;
    return err;
}

int index_row_get(struct index *ix, uint64_t ino, struct index_row **row)
{
    struct index_row *slot = slot_of(ix, ino);
    *row = slot;
    if (ino != 0 && slot->inode.ino == ino)
        return 0;
    if (ino == 0 || ino > INT64_MAX)
        return ERR_NOENT;
    struct inode in;
    int got = read_row(ix, ino, &in);
    if (got <= 0)
        return got < 0 ? got : ERR_NOENT;
    int err = evict(ix, slot);
    if (err)
        return err;
    slot->inode = in;
    slot->in_db = true;
    slot->unwritten = false;
    slot->db_dirty = in.dirty;
    slot->db_nlink = in.nlink;
    return 0;
}

/* A row for reading only, without driving others out of the cache: for listing a whole directory. */
int index_row_peek(struct index *ix, uint64_t ino, struct inode *inode)
{
    const struct index_row *slot = slot_of(ix, ino);
    if (slot->inode.ino == ino) {
        *inode = slot->inode;
        return 0;
    }
    int got = read_row(ix, ino, inode);
    return got == 1 ? 0 : got == 0 ? ERR_NOENT : got;
}

void index_row_touch(struct index *ix, struct index_row *row, uint32_t dirty)
{
    if (index_local(ix) && dirty) {
        ix->state.stats.dirty_inodes += row->inode.dirty == 0;
        row->inode.dirty = (row->inode.dirty | dirty) & ~(uint32_t)DIRTY_AGAIN;
    }
    row->unwritten = true;
}

/* Numbers of this device that were never given out need no look into the table. */
static bool never_used(const struct index *ix, uint64_t ino)
{
    return ino >> INODE_TAG_SHIFT == ix->device_tag && (ino & COUNTER_MASK) >= ix->ino_unused;
}

static void note_used(struct index *ix, uint64_t ino)
{
    if (ino >> INODE_TAG_SHIFT != ix->device_tag)
        return;
    uint64_t next = (ino & COUNTER_MASK) + 1;
    if (ix->ino_unused < next)
        ix->ino_unused = next;
    if (ix->state.ino_next < next)
        ix->state.ino_next = next;
}

int index_inode_new(struct index *ix, uint64_t *ino)
{
    if (ix->state.ino_next > COUNTER_MASK)
        return ERR_NOSPACE;
    *ino = (uint64_t)ix->device_tag << INODE_TAG_SHIFT | ix->state.ino_next++;
    return 0;
}

int index_inode_get(struct index *ix, uint64_t ino, struct inode *inode)
{
    struct index_row *row;
    int err = index_row_get(ix, ino, &row);
    if (!err)
        *inode = row->inode;
    return err;
}

void index_accessed(struct index *ix, uint64_t ino, int64_t now)
{
    struct index_row *row;

    if (ix->read_only || ix->origin != 0 || index_failed(ix) || index_full(ix) ||
        index_row_get(ix, ino, &row) != 0)
        return;
    const int64_t atime = row->inode.atime;
    if (atime > row->inode.mtime && atime > row->inode.ctime && atime > now - DAY_NS)
        return;
    row->inode.atime = now;
    row->unwritten = true;
}

/* The slot of an inode that is about to be put; an empty one (inode.ino 0) if it does not exist yet. */
static int row_for_put(struct index *ix, uint64_t ino, struct index_row **row)
{
    int err = ERR_NOENT;
    if (!never_used(ix, ino))
        err = index_row_get(ix, ino, row);
    if (err != ERR_NOENT)
        return err;
    *row = slot_of(ix, ino);
    return evict(ix, *row);
}

int index_inode_put(struct index *ix, const struct inode *inode)
{
    int err = index_change(ix);
    if (err)
        return err;
    if (inode->ino == 0 || inode->ino > INT64_MAX || inode->size > FILE_SIZE_MAX ||
        inode->parent > INT64_MAX)
        return ERR_INVAL;
    struct index_row *row;
    if ((err = row_for_put(ix, inode->ino, &row)))
        return err;

    const struct inode old = row->inode;
    struct index_stats *stats = &ix->state.stats;
    row->inode = *inode;
    if (old.ino == 0) {
        row->inode.stored = 0;
        row->in_db = false;
        stats->inodes++;
        if (index_local(ix))
            row->inode.dirty |= DIRTY_ATTR;
    } else {
        row->inode.stored = old.stored; /* the map's business */
        if (index_local(ix)) {
            row->inode.dirty = (row->inode.dirty | old.dirty) & ~(uint32_t)DIRTY_AGAIN;
            row->inode.attr_version = old.attr_version;
            row->inode.content_version = old.content_version;
            row->inode.xattr_version = old.xattr_version;
        }
        stats->dirty_inodes -= old.dirty != 0;
    }
    stats->dirty_inodes += row->inode.dirty != 0;
    row->unwritten = true;
    note_used(ix, inode->ino);
    if (index_log(ix))
        note_inode_put(index_log(ix), inode);
    return 0;
}

int index_inode_del(struct index *ix, uint64_t ino)
{
    struct index_row *row;
    int err = index_change(ix);
    if (!err)
        err = index_row_get(ix, ino, &row);
    if (err)
        return err;
    const struct inode old = row->inode;
    const bool in_db = row->in_db;
    err = index_map_clear(ix, row);
    if (!err && S_ISLNK(old.mode)) {
        index_bind(ix->stmt[STMT_TARGET_DEL], 1, ino);
        err = index_run(ix, ix->stmt[STMT_TARGET_DEL]);
    }
    if (!err)
        err = index_xattr_clear(ix, ino);
    if (!err && in_db) {
        index_bind(ix->stmt[STMT_INODE_DEL], 1, ino);
        err = index_run(ix, ix->stmt[STMT_INODE_DEL]);
    }
    if (err)
        return err;
    row->inode.ino = 0;
    row->unwritten = false;
    ix->state.stats.inodes--;
    ix->state.stats.dirty_inodes -= old.dirty != 0;
    if (index_log(ix))
        note_inode_del(index_log(ix), ino);
    if (!index_local(ix) || old.attr_version.lamport == 0)
        return 0;
    /* [tombstone] */
    uint8_t key[8], value[INDEX_GONE_VALUE];
    index_key_be64(key, ino);
    index_gone_value(value, old.attr_version);
    return index_kv_store(ix, INDEX_GONE_INODE, key, sizeof(key), value, sizeof(value));
}

int index_target_get(struct index *ix, uint64_t ino, char *target, size_t size, size_t *len)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_TARGET_GET];
    index_bind(stmt, 1, ino);
    int got = index_read(stmt);
    if (got <= 0)
        return got < 0 ? got : ERR_NOENT;
    const void *p = sqlite3_column_blob(stmt, 0);
    *len = (size_t)sqlite3_column_bytes(stmt, 0);
    int err = *len < size ? 0 : ERR_RANGE;
    if (!err) {
        if (*len)
            memcpy(target, p, *len);
        target[*len] = '\0';
    }
    sqlite3_reset(stmt);
    return err;
}

int index_target_put(struct index *ix, uint64_t ino, const void *target, size_t len)
{
    struct index_row *row;
    int err = index_change(ix);
    if (!err && len > TARGET_LEN_MAX)
        err = ERR_NAMETOOLONG;
    if (!err)
        err = index_row_get(ix, ino, &row);
    if (err)
        return err;
    sqlite3_stmt *stmt = ix->stmt[STMT_TARGET_PUT];
    index_bind(stmt, 1, ino);
    index_bind_blob(stmt, 2, target, len);
    if ((err = index_run(ix, stmt)))
        return err;
    index_row_touch(ix, row, DIRTY_ATTR);
    if (index_log(ix))
        note_target_put(index_log(ix), ino, target, len);
    return 0;
}

int index_orphans(struct index *ix, int (*each)(void *ctx, uint64_t ino), void *ctx)
{
    int err = index_rows_write(ix);
    if (err)
        return err;
    sqlite3_stmt *stmt = index_scan_begin(ix, STMT_ORPHANS);
    if (!stmt)
        return ERR_NOMEM;
    int got;
    while (!err && (got = index_read(stmt)) != 0)
        err = got < 0 ? got : each(ctx, index_column(stmt, 0));
    index_scan_end(ix, STMT_ORPHANS, stmt);
    return err;
}
