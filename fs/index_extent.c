/*
 * Extents: what was sealed once, where it is, how many rows of maps refer to it.
 *
 * A new extent is kept in memory until its first reference, so that both cost one insertion.
 */
#include "fs/index_private.h"

#include "crypto/err.h"
#include "crypto/seal.h"

#include <string.h>

static void get_extent(sqlite3_stmt *stmt, struct extent *e)
{
    memset(e, 0, sizeof(*e));
    e->eid = index_column(stmt, 0);
    const void *id = sqlite3_column_blob(stmt, 1);
    if (id && sqlite3_column_bytes(stmt, 1) == (int)sizeof(e->id))
        memcpy(e->id, id, sizeof(e->id));
    e->len = (uint32_t)index_column(stmt, 2);
    e->epoch = (uint32_t)index_column(stmt, 3);
    e->refs = (uint32_t)index_column(stmt, 4);
    e->at = (struct segment_pos){index_column(stmt, 5), index_column(stmt, 6)};
    e->pack = index_column(stmt, 7);
    e->pack_off = index_column(stmt, 8);
}

static bool places_valid(const struct extent *e)
{
    return e->at.seg <= INT64_MAX && e->at.off <= INT64_MAX && e->pack <= INT64_MAX &&
           e->pack_off <= INT64_MAX;
}

/* ---- counting ---- */

static int count_in(struct index *ix, const struct extent *e)
{
    const uint64_t sealed = seal_size(e->len);
    if (e->pack == 0)
        ix->state.stats.unpacked_bytes += sealed;
    if (e->at.seg == 0)
        return 0;
    ix->state.stats.local_bytes += sealed;
    return index_seg_add(ix, e->at, sealed);
}

enum fate { STAYS, MOVED, DIED };

static int count_out(struct index *ix, const struct extent *e, enum fate fate)
{
    const uint64_t sealed = seal_size(e->len);
    if (e->pack == 0)
        ix->state.stats.unpacked_bytes -= sealed;
    if (e->at.seg == 0)
        return 0;
    ix->state.stats.local_bytes -= sealed;
    if (fate == DIED)
        return index_seg_extent_dead(ix, e->at, sealed, e->eid);
    return fate == MOVED ? index_seg_sub(ix, e->at, sealed) : index_seg_keep(ix, e->at, sealed);
}

/* ---- changes ---- */

static int insert(struct index *ix, const struct extent *e)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_EXTENT_INSERT];
    index_bind(stmt, 1, e->eid);
    index_bind_blob(stmt, 2, e->id, sizeof(e->id));
    index_bind(stmt, 3, e->len);
    index_bind(stmt, 4, e->epoch);
    index_bind(stmt, 5, e->refs);
    index_bind(stmt, 6, e->at.seg);
    index_bind(stmt, 7, e->at.off);
    index_bind(stmt, 8, e->pack);
    index_bind(stmt, 9, e->pack_off);
    return index_run(ix, stmt);
}

int index_extent_settle(struct index *ix)
{
    if (!ix->has_fresh)
        return 0;
    ix->has_fresh = false;
    return insert(ix, &ix->fresh);
}

int index_extent_put(struct index *ix, struct extent *e)
{
    int err = index_change(ix);
    if (err)
        return err;
    if (e->len == 0 || e->len > SEAL_EXTENT_MAX || e->eid > INT64_MAX || !places_valid(e))
        return ERR_INVAL;
    if ((err = index_extent_settle(ix)))
        return err;
    if (!index_local(ix)) { /* our own ids are random; another device's could be there already */
        struct extent other;
        err = index_extent_by_id(ix, e->id, &other);
        if (err != ERR_NOENT)
            return err ? err : ERR_EXIST;
    }
    if (e->eid == 0)
        e->eid = ix->state.eid_next;
    if (ix->state.eid_next <= e->eid)
        ix->state.eid_next = e->eid + 1;
    ix->fresh = *e;
    ix->fresh.refs = 0;
    ix->has_fresh = true;
    ix->state.stats.extents++;
    if ((err = count_in(ix, e)))
        return err;
    if (index_log(ix))
        note_extent_put(index_log(ix), e);
    return 0;
}

static int select_extent(struct index *ix, enum index_stmt id, struct extent *e)
{
    int got = index_read(ix->stmt[id]);
    if (got <= 0)
        return got < 0 ? got : ERR_NOENT;
    get_extent(ix->stmt[id], e);
    sqlite3_reset(ix->stmt[id]);
    return 0;
}

int index_extent_get(struct index *ix, uint64_t eid, struct extent *e)
{
    int err = index_extent_settle(ix);
    if (err)
        return err;
    index_bind(ix->stmt[STMT_EXTENT_GET], 1, eid);
    return select_extent(ix, STMT_EXTENT_GET, e);
}

int index_extent_by_id(struct index *ix, const uint8_t id[16], struct extent *e)
{
    int err = index_extent_settle(ix);
    if (err)
        return err;
    index_bind_blob(ix->stmt[STMT_EXTENT_BY_ID], 1, id, SEAL_ID_LEN);
    return select_extent(ix, STMT_EXTENT_BY_ID, e);
}

int index_extent_move(struct index *ix, const struct extent *e)
{
    struct extent old;
    int err = index_change(ix);
    if (!err && !places_valid(e))
        err = ERR_INVAL;
    if (!err)
        err = index_extent_get(ix, e->eid, &old);
    if (err)
        return err;
    sqlite3_stmt *stmt = ix->stmt[STMT_EXTENT_MOVE];
    index_bind(stmt, 1, e->eid);
    index_bind(stmt, 2, e->at.seg);
    index_bind(stmt, 3, e->at.off);
    index_bind(stmt, 4, e->pack);
    index_bind(stmt, 5, e->pack_off);
    if ((err = index_run(ix, stmt)))
        return err;
    struct extent now = old;
    now.at = e->at;
    now.pack = e->pack;
    now.pack_off = e->pack_off;
    err = count_out(ix, &old, old.at.seg != now.at.seg || old.at.off != now.at.off ? MOVED : STAYS);
    if (!err)
        err = count_in(ix, &now);
    if (!err && index_log(ix))
        note_extent_move(index_log(ix), e);
    return err;
}

int index_extent_ref(struct index *ix, uint64_t eid, uint32_t eoff, uint64_t len)
{
    const uint64_t end = (uint64_t)eoff + len;
    if (ix->has_fresh && ix->fresh.eid == eid) {
        if (end > ix->fresh.len)
            return ERR_INVAL;
        ix->fresh.refs = 1;
        return index_extent_settle(ix);
    }
    sqlite3_stmt *stmt = ix->stmt[STMT_EXTENT_REF];
    index_bind(stmt, 1, eid);
    index_bind(stmt, 2, end);
    int err = index_run(ix, stmt);
    if (!err && sqlite3_changes(ix->db) != 1)
        err = ERR_INVAL; /* no such extent, or not so long */
    return err;
}

int index_extent_unref(struct index *ix, uint64_t eid)
{
    struct extent e;
    int err = index_extent_get(ix, eid, &e);
    if (err)
        return index_fail(ix, err == ERR_NOENT ? ERR_FORMAT : err, "an extent of a map is missing");
    const enum index_stmt id = e.refs > 1 ? STMT_EXTENT_UNREF : STMT_EXTENT_DEL;
    index_bind(ix->stmt[id], 1, eid);
    err = index_run(ix, ix->stmt[id]);
    if (err || e.refs > 1)
        return err;
    ix->state.stats.extents--;
    return count_out(ix, &e, DIED);
}
