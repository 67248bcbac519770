#include "fs/check_impl.h"

#include "crypto/err.h"
#include "fs/data_open.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 32 /* extents for one hold of the locks */

/* An extent that does not verify. Kept until the end: the map has no order by extent, so it is looked through once. */
struct bad {
    uint64_t eid;
    int err;
};

struct bad_list {
    struct bad *at; /* ascending by eid, as they are found */
    size_t n, cap;
};

static int add_bad(struct bad_list *list, uint64_t eid, int err)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        struct bad *more = realloc(list->at, cap * sizeof(*more));
        if (!more)
            return ERR_NOMEM;
        list->at = more;
        list->cap = cap;
    }
    list->at[list->n++] = (struct bad){eid, err};
    return ERR_OK;
}

static int load_extents(struct index *ix, uint64_t after, struct extent *extents, size_t *n)
{
    static const char sql[] =
        "SELECT eid, id, len, epoch, seg, off FROM extent WHERE eid > ?1 AND seg <> 0"
        " ORDER BY eid LIMIT ?2";
    sqlite3_stmt *stmt;
    int rc = SQLITE_DONE;

    *n = 0;
    index_lock(ix);
    int err = index_prepare(ix, sql, &stmt);
    if (!err) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)after);
        sqlite3_bind_int(stmt, 2, BATCH);
        while (*n < BATCH && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
            struct extent *e = &extents[(*n)++];
            *e = (struct extent){.eid = (uint64_t)sqlite3_column_int64(stmt, 0),
                                 .len = (uint32_t)sqlite3_column_int64(stmt, 2),
                                 .epoch = (uint32_t)sqlite3_column_int64(stmt, 3),
                                 .at = {(uint64_t)sqlite3_column_int64(stmt, 4),
                                        (uint64_t)sqlite3_column_int64(stmt, 5)}};
            const void *id = sqlite3_column_blob(stmt, 1);
            if (id && sqlite3_column_bytes(stmt, 1) == sizeof(e->id))
                memcpy(e->id, id, sizeof(e->id));
        }
        if (rc != SQLITE_DONE && rc != SQLITE_ROW)
            err = ERR_IO;
        sqlite3_finalize(stmt);
    }
    index_unlock(ix);
    return err;
}

/* Verifies the next extents after *eid; *n 0: there are none. */
static int verify_batch(struct check *c, struct data_scratch *s, uint64_t total, uint64_t *eid,
                        struct bad_list *bad, size_t *n)
{
    static const size_t size = BATCH * sizeof(struct extent);
    struct extent *extents = malloc(size);
    if (!extents)
        return ERR_NOMEM;
    vault_reclaim_rdlock(c->v);
    int err = load_extents(c->ix, *eid, extents, n);
    for (size_t i = 0; !err && i < *n; i++) {
        const struct extent *e = &extents[i];
        int wrong = data_open_verify(c->v, s, e, NULL);
        if (wrong == ERR_NOMEM)
            err = wrong;
        else if (wrong)
            err = add_bad(bad, e->eid, wrong);
        *eid = e->eid;
        c->result->bytes += seal_size(e->len);
        if (c->options->progress)
            c->options->progress(c->options->ctx, c->result->bytes,
                                 total > c->result->bytes ? total : c->result->bytes);
        if (c->options->cancelled && *c->options->cancelled)
            err = ERR_INTR;
    }
    vault_reclaim_unlock(c->v);
    free(extents);
    return err;
}

static int by_eid(const void *a, const void *b)
{
    const struct bad *x = a, *y = b;
    return x->eid < y->eid ? -1 : x->eid > y->eid;
}

/* A file's bytes that a bad extent holds. */
struct spot {
    uint64_t ino, off, len;
    int err;
};

/* Looks through the map for what the bad extents hold. */
static int find_spots(struct index *ix, const struct bad_list *bad, struct bytes_out *spots)
{
    sqlite3_stmt *stmt;
    int rc = SQLITE_DONE;

    index_lock(ix);
    int err = index_prepare(ix, "SELECT ino, off, len, eid FROM map", &stmt);
    if (!err) {
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
            struct bad key = {.eid = (uint64_t)sqlite3_column_int64(stmt, 3)};
            const struct bad *b = bsearch(&key, bad->at, bad->n, sizeof(*bad->at), by_eid);
            struct spot spot = {(uint64_t)sqlite3_column_int64(stmt, 0),
                                (uint64_t)sqlite3_column_int64(stmt, 1),
                                (uint64_t)sqlite3_column_int64(stmt, 2), b ? b->err : 0};
            if (b)
                bytes_put(spots, &spot, sizeof(spot));
        }
        if (rc != SQLITE_DONE)
            err = ERR_IO;
        sqlite3_finalize(stmt);
    }
    index_unlock(ix);
    return !err && spots->bad ? ERR_NOMEM : err;
}

static int report_spots(struct check *c, const struct bytes_out *spots)
{
    int err = ERR_OK;
    for (size_t at = 0; !err && at < spots->len; at += sizeof(struct spot)) {
        struct spot spot;
        char what[160];
        memcpy(&spot, spots->p + at, sizeof(spot));
        snprintf(what, sizeof(what), "bytes %" PRIu64 " to %" PRIu64 ": %s", spot.off,
                 spot.off + spot.len - 1, err_text(spot.err));
        err = check_report(c, spot.ino, what);
    }
    return err;
}

int check_data(struct check *c)
{
    struct bad_list bad = {0};
    struct bytes_out spots;
    struct index_stats stats;
    struct data_scratch *s = data_scratch_get();
    uint64_t eid = 0;
    size_t n;

    if (!s)
        return ERR_NOMEM;
    index_lock(c->ix);
    int err = index_stats(c->ix, &stats);
    index_unlock(c->ix);
    do {
        n = 0;
        if (!err)
            err = verify_batch(c, s, stats.local_bytes, &eid, &bad, &n);
    } while (!err && n == BATCH);
    bytes_out_init(&spots);
    if (!err && bad.n)
        err = find_spots(c->ix, &bad, &spots);
    if (!err)
        err = report_spots(c, &spots);
    bytes_out_release(&spots);
    free(bad.at);
    return err;
}
