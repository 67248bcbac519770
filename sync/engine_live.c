#include "sync/engine_live.h"

#include "crypto/err.h"
#include "sync/ledger_key.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_AT_ONCE 2000 /* under one lock */

struct pack {
    uint64_t pid;
    size_t count; /* extents, as the first walk has counted them */
    size_t start; /* of its extents in ${list}; valid for packs from first to end */
    size_t filled;
};

struct engine_live {
    struct index *ix;
    const atomic_bool *stop;
    size_t max;
    unsigned walks;
    struct bytes_out packs; /* of struct pack, in the order of their numbers */
    size_t first, end;      /* packs whose extents are in ${list} */
    struct engine_extent *list;
};

static struct pack *packs(const struct engine_live *l)
{
    return (struct pack *)(void *)l->packs.p;
}

static int collect_pack(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    (void)value, (void)len;
    if (key_len != 8)
        return ERR_FORMAT;
    struct pack pack = {.pid = ledger_key_number(key, 8)};
    bytes_put(ctx, &pack, sizeof(pack));
    return 0;
}

static int compare(const void *key, const void *member)
{
    uint64_t pid = *(const uint64_t *)key, other = ((const struct pack *)member)->pid;
    return pid < other ? -1 : pid > other;
}

static void take_row(struct engine_live *l, sqlite3_stmt *row)
{
    uint64_t pid = (uint64_t)sqlite3_column_int64(row, 1);
    struct pack *pack = bsearch(&pid, packs(l), engine_live_count(l), sizeof(struct pack), compare);
    if (!pack)
        return; /* in no pack yet, or in one that came later */
    if (!l->list) {
        pack->count++;
        return;
    }
    size_t i = (size_t)(pack - packs(l));
    if (i < l->first || i >= l->end || pack->filled == pack->count)
        return;
    struct engine_extent *e = &l->list[pack->start + pack->filled++];
    *e = (struct engine_extent){.eid = (uint64_t)sqlite3_column_int64(row, 0),
                                .off = (uint64_t)sqlite3_column_int64(row, 2),
                                .len = (uint32_t)sqlite3_column_int64(row, 3),
                                .epoch = (uint32_t)sqlite3_column_int64(row, 4)};
    if (sqlite3_column_bytes(row, 5) == (int)SEAL_ID_LEN)
        memcpy(e->id, sqlite3_column_blob(row, 5), SEAL_ID_LEN);
}

/* Some rows after *eid, which moves on. Needs the index lock. */
static int walk_some(struct engine_live *l, int64_t *eid, bool *more)
{
    sqlite3_stmt *row;
    int rows = 0, rc;
    int err = index_prepare(l->ix,
                            "SELECT eid, pack, pack_off, len, epoch, id FROM extent"
                            " WHERE eid > ?1 ORDER BY eid LIMIT ?2",
                            &row);
    if (err)
        return err;
    sqlite3_bind_int64(row, 1, *eid);
    sqlite3_bind_int(row, 2, ROWS_AT_ONCE);
    for (; (rc = sqlite3_step(row)) == SQLITE_ROW; rows++) {
        take_row(l, row);
        *eid = sqlite3_column_int64(row, 0);
    }
    sqlite3_finalize(row);
    *more = rows == ROWS_AT_ONCE;
    return rc == SQLITE_DONE ? 0 : ERR_IO;
}

/* Counts the extents of all packs, or fills ${list} with those of the packs from first to end. */
static int walk(struct engine_live *l)
{
    int64_t eid = 0;
    bool more = true;
    int err = 0;
    l->walks++;
    while (more && !err) {
        if (l->stop && atomic_load(l->stop))
            return ERR_INTR;
        index_lock(l->ix);
        err = walk_some(l, &eid, &more);
        index_unlock(l->ix);
    }
    return err;
}

int engine_live_new(struct engine_live **live, struct index *ix, size_t max,
                    const atomic_bool *stop)
{
    struct engine_live *l = *live = calloc(1, sizeof(*l));
    if (!l)
        return ERR_NOMEM;
    l->ix = ix;
    l->max = max;
    l->stop = stop;
    bytes_out_init(&l->packs);
    index_lock(ix);
    int err = index_kv_scan(ix, "pack", NULL, 0, collect_pack, &l->packs);
    index_unlock(ix);
    if (!err && l->packs.bad)
        err = ERR_NOMEM;
    return err ? err : walk(l);
}

void engine_live_free(struct engine_live *live)
{
    if (!live)
        return;
    bytes_out_release(&live->packs);
    free(live->list);
    free(live);
}

size_t engine_live_count(const struct engine_live *live)
{
    return live->packs.len / sizeof(struct pack);
}

uint64_t engine_live_pid(const struct engine_live *live, size_t i)
{
    return packs(live)[i].pid;
}

/* The packs from the ${i}th on that fit. */
static int load(struct engine_live *l, size_t i)
{
    size_t sum = 0, end = i;
    while (end < engine_live_count(l) && (end == i || sum + packs(l)[end].count <= l->max)) {
        packs(l)[end].start = sum;
        packs(l)[end].filled = 0;
        sum += packs(l)[end++].count;
    }
    free(l->list);
    l->first = i;
    l->end = i;
    l->list = calloc(sum ? sum : 1, sizeof(*l->list));
    if (!l->list)
        return ERR_NOMEM;
    l->end = end;
    int err = sum ? walk(l) : 0;
    if (err)
        l->end = i; /* it is not whole */
    return err;
}

int engine_live_get(struct engine_live *live, size_t i, const struct engine_extent **list,
                    size_t *n)
{
    int err = i >= live->first && i < live->end ? 0 : load(live, i);
    if (err)
        return err;
    *list = live->list + packs(live)[i].start;
    *n = packs(live)[i].filled;
    return 0;
}

unsigned engine_live_walks(const struct engine_live *live)
{
    return live->walks;
}
