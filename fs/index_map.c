/*
 * Maps: which extent holds which bytes of a file, and which ranges sync has to look at again.
 *
 * Rows of a file never overlap. One that a change cuts becomes one or two; each row is one reference to its extent.
 */
#include "fs/index_private.h"

#include "crypto/err.h"

#include <string.h>

#define BATCH 64

/* ---- ranges changed since the file was published ---- */

static int range_del(struct index *ix, uint64_t ino, uint64_t off)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_RANGE_DEL];
    index_bind(stmt, 1, ino);
    index_bind(stmt, 2, off);
    return index_run(ix, stmt);
}

/* Adds [off, end) to the merged intervals. */
static int range_add(struct index *ix, uint64_t ino, uint64_t off, uint64_t end)
{
    sqlite3_stmt *below = ix->stmt[STMT_RANGE_BELOW], *put = ix->stmt[STMT_RANGE_PUT];
    uint64_t low = off, high = end;
    for (;;) {
        index_bind(below, 1, ino);
        index_bind(below, 2, high);
        int got = index_read(below);
        if (got < 0)
            return got;
        if (got == 0)
            break;
        const uint64_t row_off = index_column(below, 0), row_end = row_off + index_column(below, 1);
        sqlite3_reset(below);
        if (row_end < low)
            break; /* neither meets nor touches */
        if (row_off <= low && row_end >= high)
            return 0; /* known */
        if (row_end > high)
            high = row_end;
        if (row_off <= low) {
            low = row_off; /* REPLACE writes over it, and nothing further down can touch */
            break;
        }
        int err = range_del(ix, ino, row_off);
        if (err)
            return err;
    }
    index_bind(put, 1, ino);
    index_bind(put, 2, low);
    index_bind(put, 3, high - low);
    return index_run(ix, put);
}

/* After the bytes [off, end) of a file changed. */
static int content_changed(struct index *ix, struct index_row *row, uint64_t off, uint64_t end)
{
    index_row_touch(ix, row, DIRTY_CONTENT);
    if (!index_local(ix) || row->inode.content_version.lamport == 0)
        return 0;
    return range_add(ix, row->inode.ino, off, end);
}

int index_dirty_ranges(struct index *ix, uint64_t ino,
                       int (*each)(void *ctx, uint64_t off, uint64_t len), void *ctx)
{
    sqlite3_stmt *stmt = index_scan_begin(ix, STMT_RANGE_SCAN);
    if (!stmt)
        return ERR_NOMEM;
    index_bind(stmt, 1, ino);
    int err = 0, got;
    while (!err && (got = index_read(stmt)) != 0)
        err = got < 0 ? got : each(ctx, index_column(stmt, 0), index_column(stmt, 1));
    index_scan_end(ix, STMT_RANGE_SCAN, stmt);
    return err;
}

static int ranges_clear(struct index *ix, uint64_t ino)
{
    index_bind(ix->stmt[STMT_RANGE_CLEAR], 1, ino);
    return index_run(ix, ix->stmt[STMT_RANGE_CLEAR]);
}

int index_dirty_ranges_clear(struct index *ix, uint64_t ino)
{
    int err = index_change(ix);
    if (!err && (ino == 0 || ino > INT64_MAX))
        err = ERR_INVAL;
    if (!err)
        err = ranges_clear(ix, ino);
    if (!err && index_log(ix))
        note_ranges_clear(index_log(ix), ino);
    return err;
}

/* ---- rows ---- */

static int put_row(struct index *ix, uint64_t ino, const struct map_row *row)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_MAP_PUT];
    index_bind(stmt, 1, ino);
    index_bind(stmt, 2, row->off);
    index_bind(stmt, 3, row->len);
    index_bind(stmt, 4, row->eid);
    index_bind(stmt, 5, row->eoff);
    return index_run(ix, stmt);
}

static int del_row(struct index *ix, uint64_t ino, uint64_t off)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_MAP_DEL];
    index_bind(stmt, 1, ino);
    index_bind(stmt, 2, off);
    return index_run(ix, stmt);
}

static int cut_row(struct index *ix, uint64_t ino, uint64_t off, uint64_t len)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_MAP_CUT];
    index_bind(stmt, 1, ino);
    index_bind(stmt, 2, off);
    index_bind(stmt, 3, len);
    return index_run(ix, stmt);
}

/* Takes [off, end) out of one row that meets it; ${replaced}: a row at ${off} is written over afterwards. */
static int carve(struct index *ix, uint64_t ino, const struct map_row *row, uint64_t off,
                 uint64_t end, bool replaced, uint64_t *removed)
{
    const uint64_t row_end = row->off + row->len;
    const bool keep_head = row->off<off, keep_tail = row_end> end;
    int err = 0;

    *removed += (keep_tail ? end : row_end) - (keep_head ? off : row->off);
    if (keep_head)
        err = cut_row(ix, ino, row->off, off - row->off);
    else if (!(replaced && row->off == off))
        err = del_row(ix, ino, row->off);
    if (!err && keep_tail) {
        const struct map_row tail = {end, row_end - end, row->eid,
                                     row->eoff + (uint32_t)(end - row->off)};
        err = put_row(ix, ino, &tail);
    }
    if (err)
        return err;
    if (keep_head && keep_tail)
        return index_extent_ref(ix, row->eid, 0, 0); /* two rows now */
    return keep_head || keep_tail ? 0 : index_extent_unref(ix, row->eid);
}

/* Rows that begin below ${end} and meet [off, end), the last first. The number of rows, or an error. */
static int rows_below(struct index *ix, uint64_t ino, uint64_t off, uint64_t end,
                      struct map_row rows[BATCH])
{
    sqlite3_stmt *stmt = ix->stmt[STMT_MAP_BELOW];
    index_bind(stmt, 1, ino);
    index_bind(stmt, 2, end);
    int n = 0, got = 0;
    while (n < BATCH && (got = index_read(stmt)) == 1) {
        struct map_row *row = &rows[n];
        row->off = index_column(stmt, 0);
        row->len = index_column(stmt, 1);
        row->eid = index_column(stmt, 2);
        row->eoff = (uint32_t)index_column(stmt, 3);
        if (row->off + row->len <= off)
            break;
        n++;
    }
    sqlite3_reset(stmt);
    return got < 0 ? got : n;
}

static int unmap(struct index *ix, uint64_t ino, uint64_t off, uint64_t end, bool replaced,
                 uint64_t *removed)
{
    struct map_row rows[BATCH];
    int n;
    *removed = 0;
    do {
        n = rows_below(ix, ino, off, end, rows);
        if (n < 0)
            return index_fail(ix, n, "a map cannot be read");
        for (int i = 0; i < n; i++) {
            int err = carve(ix, ino, &rows[i], off, end, replaced, removed);
            if (err)
                return err;
        }
    } while (n == BATCH && rows[BATCH - 1].off > off);
    return 0;
}

static void stored_changed(struct index *ix, struct index_row *row, uint64_t added,
                           uint64_t removed)
{
    row->inode.stored += added - removed;
    ix->state.stats.mapped_bytes += added - removed;
}

int index_map_set(struct index *ix, uint64_t ino, uint64_t off, uint64_t len, uint64_t eid,
                  uint32_t eoff)
{
    struct index_row *row;
    int err = index_change(ix);
    if (!err && (len == 0 || off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off || eid == 0 ||
                 eid > INT64_MAX))
        err = ERR_INVAL;
    if (!err)
        err = index_row_get(ix, ino, &row);
    /* the new reference first: the old one may be to the same extent */
    if (!err)
        err = index_extent_ref(ix, eid, eoff, len);
    if (err)
        return err;
    const struct map_row map = {off, len, eid, eoff};
    uint64_t removed;
    err = unmap(ix, ino, off, off + len, true, &removed);
    if (!err)
        err = put_row(ix, ino, &map);
    if (err)
        return err;
    stored_changed(ix, row, len, removed);
    err = content_changed(ix, row, off, off + len);
    if (!err && index_log(ix))
        note_map_set(index_log(ix), ino, &map);
    return err;
}

int index_map_punch(struct index *ix, uint64_t ino, uint64_t off, uint64_t len)
{
    struct index_row *row;
    int err = index_change(ix);
    if (!err &&
        (len == 0 || off > FILE_SIZE_MAX || (len != UINT64_MAX && len > FILE_SIZE_MAX - off)))
        err = ERR_INVAL;
    if (!err)
        err = index_row_get(ix, ino, &row);
    if (err)
        return err;
    const uint64_t end = len == UINT64_MAX ? FILE_SIZE_MAX : off + len;
    uint64_t removed;
    if ((err = unmap(ix, ino, off, end, false, &removed)))
        return err;
    stored_changed(ix, row, 0, removed);
    if (off < end)
        err = content_changed(ix, row, off, end);
    if (!err && index_log(ix))
        note_map_punch(index_log(ix), ino, off, len);
    return err;
}

int index_map_clear(struct index *ix, struct index_row *row)
{
    uint64_t removed;
    if (row->inode.stored == 0 && row->inode.content_version.lamport == 0)
        return 0; /* no rows, no ranges */
    int err = unmap(ix, row->inode.ino, 0, FILE_SIZE_MAX, false, &removed);
    if (err)
        return err;
    stored_changed(ix, row, 0, removed);
    return row->inode.content_version.lamport ? ranges_clear(ix, row->inode.ino) : 0;
}

static void get_row_extent(sqlite3_stmt *stmt, uint64_t eid, struct extent *e)
{
    memset(e, 0, sizeof(*e));
    e->eid = eid;
    if (sqlite3_column_bytes(stmt, 4) == (int)sizeof(e->id))
        memcpy(e->id, sqlite3_column_blob(stmt, 4), sizeof(e->id));
    e->len = (uint32_t)index_column(stmt, 5);
    e->epoch = (uint32_t)index_column(stmt, 6);
    e->refs = (uint32_t)index_column(stmt, 7);
    e->at = (struct segment_pos){index_column(stmt, 8), index_column(stmt, 9)};
    e->pack = index_column(stmt, 10);
    e->pack_off = index_column(stmt, 11);
}

int index_map_get(struct index *ix, uint64_t ino, uint64_t off, uint64_t len, struct map_row *rows,
                  struct extent *extents, size_t max, size_t *n)
{
    *n = 0;
    if (len == 0 || off > FILE_SIZE_MAX)
        return 0;
    const uint64_t end = len > FILE_SIZE_MAX - off ? FILE_SIZE_MAX : off + len;
    if (extents && max > 0 && index_seen_get(ix, ino, off, end, rows, extents)) {
        *n = 1;
        return 0;
    }
    int err = index_extent_settle(ix);
    if (err)
        return err;
    sqlite3_stmt *stmt = ix->stmt[STMT_MAP_GET];
    index_bind(stmt, 1, ino);
    index_bind(stmt, 2, off);
    index_bind(stmt, 3, end);
    int got = 0;
    while (*n < max && (got = index_read(stmt)) == 1) {
        struct map_row *row = &rows[*n];
        row->off = index_column(stmt, 0);
        row->len = index_column(stmt, 1);
        if (row->off + row->len <= off)
            continue;
        row->eid = index_column(stmt, 2);
        row->eoff = (uint32_t)index_column(stmt, 3);
        if (extents)
            get_row_extent(stmt, row->eid, &extents[*n]);
        (*n)++;
    }
    sqlite3_reset(stmt);
    if (got < 0)
        return got;
    if (extents && *n == 1 && rows->off <= off)
        index_seen_put(ix, ino, off, rows, extents);
    return 0;
}
