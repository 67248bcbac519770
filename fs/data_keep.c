#include "fs/data_keep.h"

#include "crypto/err.h"
#include "fs/data_fetch.h"

#include <string.h>

static bool is_unmoved(const struct extent *now, const struct extent *e)
{
    return now->at.seg == e->at.seg && now->at.off == e->at.off &&
           memcmp(now->id, e->id, SEAL_ID_LEN) == 0;
}

int data_keep_missing(struct vault *v, const struct extent *e)
{
    struct index *ix = vault_index(v);
    struct extent now;
    index_lock(ix);
    int err = index_extent_get(ix, e->eid, &now);
    index_unlock(ix);
    if (err == ERR_NOENT || (!err && !is_unmoved(&now, e)))
        return ERR_STALE;
    return err;
}

bool data_keep_can(const struct vault *v)
{
    return !vault_read_only(v) && !index_full(vault_index((struct vault *)v));
}

/* Needs the index lock, in a group of changes. *at is none afterwards if the index speaks of it now. */
static int move_here(struct index *ix, const struct extent *e, struct segment_pos *at)
{
    struct extent now;
    int err = index_extent_get(ix, e->eid, &now);
    if (err == ERR_NOENT || (!err && !is_unmoved(&now, e)))
        return 0;
    now.at = *at;
    if (!err)
        err = index_extent_move(ix, &now);
    if (!err)
        *at = (struct segment_pos){0};
    return err;
}

static int move_all(struct index *ix, const struct data_keep *items, struct segment_pos *at,
                    size_t n)
{
    index_lock(ix);
    int err = index_begin(ix, INDEX_REMOTE, 0);
    if (!err) {
        for (size_t i = 0; i < n && !err; i++)
            err = move_here(ix, &items[i].e, &at[i]);
        index_end(ix);
    }
    index_unlock(ix);
    return err;
}

/* At most DATA_KEEP_AT_ONCE. */
static int keep_some(struct vault *v, const struct data_keep *items, size_t n)
{
    struct segment_pos at[DATA_KEEP_AT_ONCE] = {0};
    int err = 0;
    /* from the append on: reclaiming must not drop the segment before the index speaks of what is in it */
    vault_reclaim_rdlock(v);
    for (size_t i = 0; i < n && !err; i++)
        err = segment_append(vault_segments(v), SEGMENT_EXTENT, items[i].sealed,
                             seal_size(items[i].e.len), &at[i]);
    if (!err)
        err = move_all(vault_index(v), items, at, n);
    /* What the index does not speak of is in nobody's count, so no checkpoint would give it back. */
    for (size_t i = 0; i < n; i++)
        if (at[i].seg != 0)
            segment_punch(vault_segments(v), at[i], seal_size(items[i].e.len));
    vault_reclaim_unlock(v);
    return err;
}

bool data_keep(struct vault *v, const struct data_keep *items, size_t n)
{
    for (size_t i = 0; i < n; i += DATA_KEEP_AT_ONCE) {
        size_t some = n - i < DATA_KEEP_AT_ONCE ? n - i : DATA_KEEP_AT_ONCE;
        if (!data_keep_can(v) || keep_some(v, items + i, some))
            return false;
    }
    return true;
}

void data_keep_ahead(struct vault *v, const struct data_keep *items, size_t n)
{
    if (data_keep(v, items, n))
        return;
    for (size_t i = 0; i < n; i++)
        if (data_keep_missing(v, &items[i].e) == 0)
            data_fetch_remember(v, &items[i].e, items[i].sealed);
}
