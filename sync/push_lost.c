/*
 * Packs that are on no store any more: the only store was exchanged for another one, or lost them. What of them is on this disk is
 * packed again, and the files that use it are published whole, so that readers learn the new places. What is nowhere stays as it
 * is; check --store names its files. [lost-packs]
 */
#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/pagevfs.h"
#include "sync/merge.h"
#include "sync/push_impl.h"

#include <stdlib.h>

#define ROWS_AT_ONCE 1024u /* looked at under one hold of the lock */
#define ITEM_ROOM    512u  /* notes of an inode, a mark and an extent's move */

int push_lost_add(struct push *p, uint64_t pid)
{
    if (p->lost_count == p->lost_cap) {
        size_t cap = p->lost_cap ? p->lost_cap * 2 : 64;
        uint64_t *lost = reallocarray(p->lost, cap, sizeof(*lost));
        if (!lost)
            return ERR_NOMEM;
        p->lost = lost;
        p->lost_cap = cap;
    }
    p->lost[p->lost_count++] = pid;
    return 0;
}

static int count_each(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    ++*(size_t *)ctx;
    return 0;
}

bool push_all_answered(struct push *p)
{
    size_t known = 0;
    for (size_t i = 0; i < p->store_count; i++)
        if (push_store_err(p, &p->stores[i]))
            return false;
    index_lock(p->ix);
    int err = index_kv_scan(p->ix, "store", NULL, 0, count_each, &known);
    index_unlock(p->ix);
    return !err && known <= p->store_count;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_lost(const struct push *p, uint64_t pid)
{
    return bsearch(&pid, p->lost, p->lost_count, sizeof(pid), by_number) != NULL;
}

struct rows {
    uint64_t item[ROWS_AT_ONCE]; /* inodes or extents concerned */
    size_t n, seen;
    int64_t first, second; /* the key of the last row seen */
};

/* The next rows of ${sql}, which gives item, second part of the key, pack, and takes the key of the last row. Needs the lock. */
static int next_rows(struct push *p, const char *sql, struct rows *r)
{
    sqlite3_stmt *stmt;
    int rc, err = index_prepare(p->ix, sql, &stmt);
    r->n = r->seen = 0;
    if (err)
        return err;
    sqlite3_bind_int64(stmt, 1, r->first);
    sqlite3_bind_int64(stmt, 2, r->second);
    sqlite3_bind_int64(stmt, 3, ROWS_AT_ONCE);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        r->seen++;
        r->first = sqlite3_column_int64(stmt, 0);
        r->second = sqlite3_column_int64(stmt, 1);
        const uint64_t item = (uint64_t)r->first;
        if (is_lost(p, (uint64_t)sqlite3_column_int64(stmt, 2)) &&
            (!r->n || r->item[r->n - 1] != item))
            r->item[r->n++] = item;
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : pagevfs_err(rc);
}

static int publish_file(struct push *p, uint64_t ino)
{
    struct inode inode;
    int err = index_inode_get(p->ix, ino, &inode);
    if (err || inode.nlink == 0)
        return err == ERR_NOENT ? 0 : err;
    return merge_publish_whole(p->ix, &inode);
}

static int take_out(struct push *p, uint64_t eid)
{
    struct extent e;
    int err = index_extent_get(p->ix, eid, &e);
    if (err)
        return err == ERR_NOENT ? 0 : err;
    e.pack = e.pack_off = 0;
    return index_extent_move(p->ix, &e);
}

static int each_row(struct push *p, const char *sql, int (*change)(struct push *p, uint64_t item))
{
    struct rows *r = calloc(1, sizeof(*r));
    int err = r ? 0 : ERR_NOMEM;
    do {
        if (err)
            break;
        index_lock(p->ix);
        err = next_rows(p, sql, r);
        if (!err && r->n)
            err = index_begin(p->ix, INDEX_REMOTE, r->n * ITEM_ROOM);
        if (!err && r->n) {
            for (size_t i = 0; i < r->n && !err; i++)
                err = change(p, r->item[i]);
            index_end(p->ix);
        }
        index_unlock(p->ix);
    } while (!err && r->seen == ROWS_AT_ONCE && !push_cancelled(p));
    free(r);
    return err ? err : push_cancelled(p) ? ERR_INTR : 0;
}

static int forget_missing(struct push *p, uint64_t pid)
{
    index_lock(p->ix);
    int err = index_begin(p->ix, INDEX_REMOTE, p->store_count * LEDGER_ROOM);
    if (!err) {
        for (size_t i = 0; i < p->store_count && !err; i++) {
            err = ledger_missing_del(p->ix, p->stores[i].id, pid);
            err = err == ERR_NOENT ? 0 : err;
        }
        index_end(p->ix);
    }
    index_unlock(p->ix);
    return err;
}

int push_lost(struct push *p)
{
    if (p->lost_count == 0)
        return 0;
    log_warn("%zu packs are on no store any more: what is on this disk is sent again",
             p->lost_count);
    qsort(p->lost, p->lost_count, sizeof(*p->lost), by_number);
    /* The files first, and the packs are forgotten last: interrupted anywhere, the next push finds them missing again. */
    int err = each_row(p,
                       "SELECT m.ino, m.off, e.pack FROM map m CROSS JOIN extent e ON e.eid = m.eid"
                       " WHERE (m.ino, m.off) > (?1, ?2) AND e.pack > 0 AND e.seg > 0"
                       " ORDER BY m.ino, m.off LIMIT ?3",
                       publish_file);
    if (!err)
        err = each_row(p,
                       "SELECT eid, ?2, pack FROM extent WHERE eid > ?1 AND pack > 0 AND seg > 0"
                       " ORDER BY eid LIMIT ?3",
                       take_out);
    for (size_t i = 0; i < p->lost_count && !err; i++)
        err = forget_missing(p, p->lost[i]);
    p->lost_count = 0;
    return err;
}
