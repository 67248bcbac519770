/*
 * How much of each segment is alive, and which parts died. In memory, written to the database at a commit.
 */
#include "fs/index_private.h"

#include "crypto/err.h"

#include <stdlib.h>
#include <string.h>

static size_t position(const struct index *ix, uint64_t seg)
{
    size_t low = 0, high = ix->seg_count;
    if (high && ix->segs[high - 1].seg == seg)
        return high - 1; /* nearly always the newest */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (ix->segs[mid].seg < seg)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct index_seg *find(struct index *ix, uint64_t seg)
{
    size_t at = position(ix, seg);
    return at < ix->seg_count && ix->segs[at].seg == seg ? &ix->segs[at] : NULL;
}

static struct index_seg *find_or_add(struct index *ix, uint64_t seg)
{
    struct index_seg *found = find(ix, seg);
    if (found)
        return found;
    if (ix->seg_count == ix->seg_cap) {
        size_t cap = ix->seg_cap ? ix->seg_cap * 2 : 64;
        struct index_seg *p = reallocarray(ix->segs, cap, sizeof(*p));
        if (!p)
            return NULL;
        ix->segs = p;
        ix->seg_cap = cap;
    }
    size_t at = position(ix, seg);
    memmove(&ix->segs[at + 1], &ix->segs[at], (ix->seg_count - at) * sizeof(*ix->segs));
    ix->seg_count++;
    ix->segs[at] = (struct index_seg){seg, 0, false};
    return &ix->segs[at];
}

uint64_t index_seg_live(struct index *ix, uint64_t seg)
{
    const struct index_seg *found = find(ix, seg);
    return found ? found->live : 0;
}

int index_seg_add(struct index *ix, struct segment_pos at, uint64_t sealed)
{
    struct index_seg *seg = find_or_add(ix, at.seg);
    if (!seg)
        return index_fail(ix, ERR_NOMEM, "out of memory");
    seg->live += sealed;
    seg->changed = true;
    return 0;
}

int index_seg_keep(struct index *ix, struct segment_pos at, uint64_t sealed)
{
    struct index_seg *seg = find(ix, at.seg);
    if (!seg || seg->live < sealed)
        return index_fail(ix, ERR_FORMAT, "the counts of a segment are wrong");
    seg->live -= sealed;
    seg->changed = true;
    return 0;
}

static int add_dead(struct index *ix, struct index_dead d)
{
    atomic_fetch_add_explicit(&ix->dead_bytes, d.len, memory_order_relaxed);
    if (ix->dead_count) { /* deleting in the order of writing makes one long range */
        struct index_dead *last = &ix->dead[ix->dead_count - 1];
        if (last->seg == d.seg && last->off + last->len == d.off && last->early == d.early) {
            last->len += d.len;
            return 0;
        }
    }
    if (ix->dead_count == ix->dead_cap) {
        size_t cap = ix->dead_cap ? ix->dead_cap * 2 : 256;
        struct index_dead *p = reallocarray(ix->dead, cap, sizeof(*p));
        if (!p)
            return index_fail(ix, ERR_NOMEM, "out of memory");
        ix->dead = p;
        ix->dead_cap = cap;
    }
    ix->dead[ix->dead_count++] = d;
    return 0;
}

int index_seg_dead(struct index *ix, struct segment_pos at, uint64_t len)
{
    return add_dead(ix,
                    (struct index_dead){at.seg, at.off - SEGMENT_HEAD, len + SEGMENT_HEAD, false});
}

int index_seg_sub(struct index *ix, struct segment_pos at, uint64_t sealed)
{
    int err = index_seg_keep(ix, at, sealed);
    return err ? err : index_seg_dead(ix, at, sealed);
}

int index_seg_extent_dead(struct index *ix, struct segment_pos at, uint64_t sealed, uint64_t eid)
{
    int err = index_seg_keep(ix, at, sealed);
    if (err)
        return err;
    /* Behind the log's position its head is still needed, to read on. */
    const struct segment_pos log = ix->state.log;
    const bool early =
        eid < ix->eid_committed && (at.seg < log.seg || (at.seg == log.seg && at.off < log.off));
    return add_dead(
        ix, (struct index_dead){at.seg, at.off - SEGMENT_HEAD, sealed + SEGMENT_HEAD, early});
}

int index_seg_load(struct index *ix)
{
    index_seg_forget(ix);
    sqlite3_stmt *stmt = ix->stmt[STMT_SEG_SCAN];
    int got;
    while ((got = index_read(stmt)) == 1) {
        struct index_seg *seg = find_or_add(ix, index_column(stmt, 0));
        if (!seg) {
            sqlite3_reset(stmt);
            return ERR_NOMEM;
        }
        seg->live = index_column(stmt, 1);
    }
    return got;
}

static int store_segs(struct index *ix)
{
    size_t kept = 0;
    for (size_t i = 0; i < ix->seg_count; i++) {
        struct index_seg seg = ix->segs[i];
        if (seg.changed) {
            sqlite3_stmt *stmt = ix->stmt[seg.live ? STMT_SEG_PUT : STMT_SEG_DEL];
            index_bind(stmt, 1, seg.seg);
            if (seg.live)
                index_bind(stmt, 2, seg.live);
            int err = index_run(ix, stmt);
            if (err)
                return err;
        }
        seg.changed = false;
        if (seg.live)
            ix->segs[kept++] = seg;
    }
    ix->seg_count = kept;
    return 0;
}

static int compare_dead(const void *a, const void *b)
{
    const struct index_dead *x = a, *y = b;
    if (x->seg != y->seg)
        return x->seg < y->seg ? -1 : 1;
    return x->off < y->off ? -1 : x->off > y->off;
}

size_t index_dead_merge(struct index_dead *dead, size_t n)
{
    if (n == 0)
        return 0;
    qsort(dead, n, sizeof(*dead), compare_dead);
    size_t last = 0;
    for (size_t i = 1; i < n; i++) {
        if (dead[i].seg == dead[last].seg && dead[last].off + dead[last].len == dead[i].off &&
            dead[i].early == dead[last].early)
            dead[last].len += dead[i].len;
        else
            dead[++last] = dead[i];
    }
    return last + 1;
}

static int store_dead(struct index *ix)
{
    for (size_t i = 0; i < ix->dead_count; i++)
        ix->dead[i].early = false; /* after the commit all are alike */
    size_t n = index_dead_merge(ix->dead, ix->dead_count);
    sqlite3_stmt *stmt = ix->stmt[STMT_DEAD_PUT];
    for (size_t i = 0; i < n; i++) {
        index_bind(stmt, 1, ix->dead[i].seg);
        index_bind(stmt, 2, ix->dead[i].off);
        index_bind(stmt, 3, ix->dead[i].len);
        int err = index_run(ix, stmt);
        if (err)
            return err;
    }
    ix->dead_count = 0;
    return 0;
}

int index_seg_store(struct index *ix)
{
    int err = store_segs(ix);
    return err ? err : store_dead(ix);
}

void index_seg_forget(struct index *ix)
{
    ix->seg_count = 0;
    ix->dead_count = 0;
}
