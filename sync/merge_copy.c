#include "crypto/err.h"
#include "crypto/kdf.h"
#include "sync/merge_impl.h"

#include <string.h>

#define ROW_NOTES 192u

/* The inode number of the copy that everybody makes of that version. [conflict-copy] */
static uint64_t copy_ino(uint64_t ino, struct version v)
{
    uint8_t in[20], hash[32];
    bytes_le64(in, ino);
    bytes_le64(in + 8, v.lamport);
    bytes_le32(in + 16, v.device);
    kdf_hash(hash, "obs-conflict", in, sizeof(in));
    return (uint64_t)MERGE_TAG << INODE_TAG_SHIFT |
           (bytes_from_le64(hash) & ((UINT64_C(1) << INODE_TAG_SHIFT) - 1));
}

static int map_record(struct merge *m, uint64_t to, const struct batch_record *r)
{
    int err = 0;
    for (size_t i = 0; i < r->u.content.range_count && !err; i++) {
        const struct batch_range *range = &r->u.content.ranges[i];
        uint64_t eid;
        if (range->hole)
            continue;
        err = merge_step(m, ROW_NOTES);
        if (!err)
            err = merge_extent(m, range, &eid);
        if (!err)
            err = index_map_set(m->ix, to, range->off, range->len, eid, range->eoff);
    }
    return err;
}

static int map_here(struct merge *m, uint64_t to, uint64_t from)
{
    struct map_row rows[MERGE_ROWS];
    uint64_t pos = 0;
    size_t n;
    do {
        int err = index_map_get(m->ix, from, pos, UINT64_MAX, rows, NULL, MERGE_ROWS, &n);
        if (err)
            return err;
        for (size_t i = 0; i < n; i++) {
            err = merge_step(m, ROW_NOTES);
            if (!err)
                err = index_map_set(m->ix, to, rows[i].off, rows[i].len, rows[i].eid, rows[i].eoff);
            if (err)
                return err;
            pos = rows[i].off + rows[i].len;
        }
    } while (n == MERGE_ROWS);
    return 0;
}

static int put_pair(void *ctx, const char *name, const void *value, size_t len)
{
    struct bytes_out *pairs = ctx;
    bytes_put(pairs, name, strlen(name) + 1);
    bytes_put_var32(pairs, value, len);
    return 0;
}

static int copy_xattrs(struct merge *m, uint64_t to, uint64_t from, bool *some)
{
    struct bytes_out pairs;
    struct bytes_in in;
    bytes_out_init(&pairs);
    int err = index_xattr_scan(m->ix, from, put_pair, &pairs);
    if (!err && pairs.bad)
        err = ERR_NOMEM;
    *some = pairs.len > 0;
    bytes_in_init(&in, pairs.p, pairs.len);
    while (!err && in.left) {
        const char *name = (const char *)in.p;
        size_t len;
        bytes_get_ref(&in, strlen(name) + 1);
        const void *value = bytes_get_var32(&in, XATTR_SIZE_LIMIT, &len);
        err = merge_step(m, len + 512);
        if (!err)
            err = index_xattr_put(m->ix, to, name, value, len);
    }
    bytes_out_release(&pairs);
    return err;
}

/* A name that the inode has here: the one that the record knows, or any. */
static int find_name(struct merge *m, uint64_t ino, const struct batch_record *place,
                     struct entry *entry)
{
    if (place && place->u.content.name_len &&
        !index_entry_get(m->ix, place->u.content.parent, place->u.content.name,
                         place->u.content.name_len, entry) &&
        entry->ino == ino)
        return 0;
    sqlite3_stmt *stmt;
    int err = index_prepare(
        m->ix, "SELECT parent, name FROM entry WHERE ino = ?1 ORDER BY parent, name LIMIT 1",
        &stmt);
    if (err)
        return err;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)ino);
    entry->parent = INODE_ROOT;
    entry->name_len = 9;
    memcpy(entry->name, "recovered", 10);
    int rc = sqlite3_step(stmt);
    size_t len = rc == SQLITE_ROW ? (size_t)sqlite3_column_bytes(stmt, 1) : 0;
    if (len > 0 && len <= NAME_LEN_MAX) {
        entry->parent = (uint64_t)sqlite3_column_int64(stmt, 0);
        entry->name_len = (uint8_t)len;
        memcpy(entry->name, sqlite3_column_blob(stmt, 1), len);
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : ERR_IO;
}

int merge_copy(struct merge *m, const struct inode *inode, struct version v,
               const struct batch_record *r, const struct batch_record *place)
{
    struct inode copy;
    struct entry at;
    bool xattrs;
    const uint64_t ino = copy_ino(inode->ino, v);
    const uint64_t size = r ? r->u.content.size : inode->size;
    if (size == 0)
        return 0;
    int err = index_inode_get(m->ix, ino, &copy);
    if (!err && copy.nlink)
        return 0; /* made before, or by somebody else */
    if (err && err != ERR_NOENT)
        return err;
    copy = (struct inode){
        .ino = ino, .mode = inode->mode, .uid = inode->uid, .gid = inode->gid, .size = size};
    copy.atime = copy.mtime = copy.ctime = copy.btime = r ? r->u.content.mtime : inode->mtime;
    copy.dirty = DIRTY_ATTR | DIRTY_CONTENT;
    err = index_inode_put(m->ix, &copy);
    if (!err)
        err = index_map_punch(m->ix, ino, 0, UINT64_MAX); /* what a crash left */
    if (!err)
        err = r ? map_record(m, ino, r) : map_here(m, ino, inode->ino);
    if (!err)
        err = copy_xattrs(m, ino, inode->ino, &xattrs);
    if (!err && xattrs)
        err = index_inode_get(m->ix, ino, &copy);
    if (!err && xattrs) {
        copy.dirty |= DIRTY_XATTR;
        err = index_inode_put(m->ix, &copy);
    }
    if (!err)
        err = merge_again_put(m, ino, false);
    if (!err)
        err = find_name(m, inode->ino, place, &at);
    /* the name last: what a crash cuts off before it has no name, and is made again */
    return err ? err
               : merge_name_conflict(m, at.parent, at.name, at.name_len, ino, S_IFREG, v.device,
                                     copy.mtime);
}

int merge_copy_retract(struct merge *m, uint64_t ino, struct version v)
{
    struct inode copy;
    struct entry entry;
    uint32_t edited;
    if (v.lamport == 0)
        return 0;
    int err = index_inode_get(m->ix, copy_ino(ino, v), &copy);
    if (err || copy.attr_version.lamport || copy.nlink != 1)
        return err == ERR_NOENT ? 0 : err;
    err = merge_edited(m, &copy, &edited);
    if (err || edited)
        return err;
    err = find_name(m, copy.ino, NULL, &entry);
    if (!err)
        err = index_entry_get(m->ix, entry.parent, entry.name, entry.name_len, &entry);
    if (err || entry.ino != copy.ino || entry.version.lamport)
        return err == ERR_NOENT ? 0 : err;
    err = merge_name_clear(m, &entry, (struct version){0, 0}, false);
    if (!err)
        err = index_inode_del(m->ix, copy.ino);
    copy.dirty = 0;
    return err ? err : merge_again_follow(m, &copy, false);
}
