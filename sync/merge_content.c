#include "crypto/err.h"
#include "sync/merge_impl.h"

#include <string.h>

#define RANGE_NOTES     192u
#define RANGES_COMPLETE 16000u /* less than what push puts into one record */

int merge_extent(struct merge *m, const struct batch_range *range, uint64_t *eid)
{
    struct extent e;
    if (range->pack >= m->pid_count)
        return ERR_FORMAT;
    int err = index_extent_by_id(m->ix, range->id, &e);
    if (!err) {
        *eid = e.eid;
        /* What is here we have put somewhere ourselves, or can. Of what is not, the newest place counts: an older pack may be lost.
         * [lost-packs] */
        if (e.pack &&
            (e.at.seg || (e.pack == m->pids[range->pack] && e.pack_off == range->pack_off)))
            return 0;
        e.pack = m->pids[range->pack];
        e.pack_off = range->pack_off;
        return index_extent_move(m->ix, &e);
    }
    if (err != ERR_NOENT)
        return err;
    e = (struct extent){.len = range->extent_len,
                        .epoch = range->epoch,
                        .pack = m->pids[range->pack],
                        .pack_off = range->pack_off};
    memcpy(e.id, range->id, sizeof(e.id));
    err = index_extent_put(m->ix, &e);
    *eid = e.eid;
    return err;
}

/* ---- applying ---- */

/* Is [off, off+len) mapped already just so? Then its extent, which may be here, keeps its reference. */
static bool mapped_so(struct merge *m, uint64_t ino, const struct batch_range *range)
{
    struct map_row row;
    struct extent e;
    size_t n;
    if (index_map_get(m->ix, ino, range->off, range->len, &row, &e, 1, &n) || n == 0)
        return false;
    return row.off <= range->off && row.off + row.len >= range->off + range->len &&
           memcmp(e.id, range->id, sizeof(e.id)) == 0 &&
           row.eoff + (range->off - row.off) == range->eoff;
}

static int apply_range(struct merge *m, uint64_t ino, const struct batch_range *range)
{
    uint64_t eid;
    int err = merge_step(m, RANGE_NOTES);
    if (err)
        return err;
    if (range->hole)
        return index_map_punch(m->ix, ino, range->off, range->len);
    const bool mapped = mapped_so(m, ino, range);
    err = merge_extent(m, range, &eid);
    return err || mapped ? err
                         : index_map_set(m->ix, ino, range->off, range->len, eid, range->eoff);
}

/* Of a whole map, what no range covers is a hole. */
static int apply_ranges(struct merge *m, const struct batch_record *r)
{
    const uint64_t ino = r->u.content.ino;
    uint64_t at = 0;
    int err = 0;
    for (size_t i = 0; i < r->u.content.range_count && !err; i++) {
        const struct batch_range *range = &r->u.content.ranges[i];
        if (r->u.content.whole && range->off > at)
            err = index_map_punch(m->ix, ino, at, range->off - at);
        if (!err)
            err = apply_range(m, ino, range);
        at = range->off + range->len;
    }
    if (!err)
        err = index_map_punch(m->ix, ino, r->u.content.whole ? at : r->u.content.size, UINT64_MAX);
    return err;
}

static int apply(struct merge *m, const struct batch_record *r, uint32_t edited)
{
    struct inode inode;
    int err = index_inode_get(m->ix, r->u.content.ino, &inode);
    if (err)
        return err;
    const uint64_t size = r->u.content.size;
    if (size > inode.size) { /* the map never reaches beyond the size */
        inode.size = size;
        err = index_inode_put(m->ix, &inode);
    }
    if (!err)
        err = apply_ranges(m, r);
    if (!err)
        err = index_inode_get(m->ix, inode.ino, &inode);
    if (err)
        return err;
    const bool follow = inode.dirty && !edited;
    inode.size = size;
    /* Truly edited here, and the same is published; or a copy that others made, too. */
    if (r->u.content.whole &&
        (edited & DIRTY_CONTENT || merge_done_by_other(inode.ino, inode.content_version)))
        inode.dirty &= ~(uint32_t)DIRTY_CONTENT;
    inode.content_version = m->version;
    err = index_inode_put(m->ix, &inode);
    if (!err && r->u.content.whole)
        err = index_dirty_ranges_clear(m->ix, inode.ino);
    merge_tell(m, inode.ino, NULL, VAULT_DATA);
    return err || !follow ? err : merge_again_follow(m, &inode, true);
}

/* ---- comparing ---- */

/* Is what is mapped here what the record says, of the same size? */
static int same_content(struct merge *m, const struct inode *inode, const struct batch_record *r,
                        bool *same)
{
    struct map_row rows[MERGE_ROWS];
    struct extent extents[MERGE_ROWS];
    const struct batch_range *ranges = r->u.content.ranges;
    size_t at = 0, n;
    uint64_t in_range = 0, pos = 0; /* what of ranges[at] was met */
    *same = false;
    if (!r->u.content.whole || r->u.content.size != inode->size)
        return 0;
    do {
        int err = index_map_get(m->ix, inode->ino, pos, UINT64_MAX, rows, extents, MERGE_ROWS, &n);
        if (err)
            return err;
        for (size_t i = 0; i < n; i++) {
            struct batch_range row = {.off = rows[i].off, .len = rows[i].len, .eoff = rows[i].eoff};
            memcpy(row.id, extents[i].id, sizeof(row.id));
            while (row.len) {
                while (at < r->u.content.range_count &&
                       (ranges[at].hole || in_range == ranges[at].len))
                    at++, in_range = 0;
                if (at == r->u.content.range_count)
                    return 0;
                struct batch_range met = ranges[at];
                met.off += in_range, met.eoff += (uint32_t)in_range;
                if (met.off != row.off || met.eoff != row.eoff ||
                    memcmp(met.id, row.id, sizeof(row.id)) != 0)
                    return 0;
                uint64_t len = met.len - in_range < row.len ? met.len - in_range : row.len;
                in_range += len, row.off += len, row.eoff += (uint32_t)len, row.len -= len;
            }
            pos = rows[i].off + rows[i].len;
        }
    } while (n == MERGE_ROWS);
    while (at < r->u.content.range_count && (ranges[at].hole || in_range == ranges[at].len))
        at++, in_range = 0;
    *same = at == r->u.content.range_count;
    return 0;
}

/* ---- conflicts ---- */

/* A map that says everything there is, so that a copy can be made of it: longer ones come in several records. */
static bool complete(const struct batch_record *r)
{
    return r->u.content.whole && r->u.content.range_count < RANGES_COMPLETE;
}

/* Ours wins, or is to win: whoever cannot apply a delta of ours needs all of it. */
static int send_whole(struct merge *m, struct inode *inode)
{
    uint32_t edited;
    int err = merge_edited(m, inode, &edited);
    if (err)
        return err;
    inode->dirty |= DIRTY_CONTENT;
    err = index_inode_put(m->ix, inode);
    return err ? err : merge_again_put(m, inode->ino, edited != 0);
}

static int rows_many(struct merge *m, uint64_t ino, bool *many)
{
    struct map_row rows[BATCH_MAP_FULL + 1];
    size_t n;
    int err = index_map_get(m->ix, ino, 0, UINT64_MAX, rows, NULL, BATCH_MAP_FULL + 1, &n);
    *many = n > BATCH_MAP_FULL;
    return err;
}

/* Changed here and not published: ours stays in the inode, theirs becomes the copy. */
static int against_local(struct merge *m, struct inode *inode, const struct batch_record *r)
{
    if (!complete(r))
        return send_whole(m, inode); /* its author makes the copy when ours gets there */
    int err = merge_copy(m, inode, m->version, r, r);
    if (err)
        return err;
    inode->content_version = merge_later(inode->content_version, m->version);
    m->local = true;
    err = index_inode_put(m->ix, inode);
    /* whole: what changed here is known against the version before only */
    return err ? err : merge_again_put(m, inode->ino, true);
}

static int theirs_wins(struct merge *m, struct inode *inode, const struct batch_record *r,
                       uint32_t edited)
{
    if (!r->u.content.whole)
        return 0; /* no mixtures: it comes whole when its author sees what is here */
    int err = merge_copy(m, inode, inode->content_version, NULL, r);
    return err ? err : apply(m, r, edited);
}

static int ours_wins(struct merge *m, struct inode *inode, const struct batch_record *r)
{
    bool many;
    int err = complete(r) ? merge_copy(m, inode, m->version, r, r) : 0;
    if (err || inode->content_version.device != m->self)
        return err;
    err = rows_many(m, inode->ino, &many);
    return err || !many ? err : send_whole(m, inode);
}

int merge_content(struct merge *m, const struct batch_record *r)
{
    struct inode inode;
    uint32_t edited;
    bool same;
    int err = index_inode_get(m->ix, r->u.content.ino, &inode);
    if (err)
        return err == ERR_NOENT ? merge_gone_doubt(m, r->u.content.ino)
                                : err; /* comes back whole */
    const struct version stored = inode.content_version;
    if (merge_same(stored, m->version))
        return 0; /* applied before */
    err = merge_copy_retract(m, inode.ino, r->base);
    if (!err)
        err = merge_edited(m, &inode, &edited);
    if (err)
        return err;
    const bool mine = edited & DIRTY_CONTENT;
    if (!mine && merge_same(stored, r->base))
        return apply(m, r, edited);
    if (!mine && stored.lamport == 0)
        return r->u.content.whole ? apply(m, r, edited) : 0;
    err = same_content(m, &inode, r, &same);
    if (err)
        return err;
    if (same)
        return merge_before(stored, m->version) ? apply(m, r, edited) : 0;
    if (mine)
        return against_local(m, &inode, r);
    return merge_before(stored, m->version) ? theirs_wins(m, &inode, r, edited)
                                            : ours_wins(m, &inode, r);
}
