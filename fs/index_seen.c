/*
 * Rows of maps that were looked up lately: reading the bytes of one file, one part after the other or here and there, finds the
 * same rows again and again.
 *
 * Any change makes all of them worthless: reading and changing at once gains nothing here, and nothing can go stale.
 */
#include "fs/index_private.h"

#define GRANULE_SHIFT 20 /* SEAL_EXTENT_MAX: a file written in one go has about one row in each */

static struct index_seen *set_of(struct index *ix, uint64_t ino, uint64_t off)
{
    uint64_t h = (ino * UINT64_C(0x9e3779b97f4a7c15)) ^ (off >> GRANULE_SHIFT);
    return ix->seen[h % INDEX_SEEN_SETS];
}

void index_seen_forget(struct index *ix)
{
    ix->seen_age++;
}

bool index_seen_get(struct index *ix, uint64_t ino, uint64_t off, uint64_t end, struct map_row *row,
                    struct extent *e)
{
    if (ix->origin != 0)
        return false;
    const struct index_seen *set = set_of(ix, ino, off);
    for (size_t i = 0; i < INDEX_SEEN_WAYS; i++) {
        const struct index_seen *seen = &set[i];
        if (seen->ino != ino || seen->age != ix->seen_age || seen->row.off > off ||
            seen->row.off + seen->row.len < end)
            continue;
        *row = seen->row;
        *e = seen->extent;
        return true;
    }
    return false;
}

void index_seen_put(struct index *ix, uint64_t ino, uint64_t off, const struct map_row *row,
                    const struct extent *e)
{
    if (ix->origin != 0)
        return;
    struct index_seen *set = set_of(ix, ino, off);
    set[ix->seen_turn++ % INDEX_SEEN_WAYS] =
        (struct index_seen){.ino = ino, .age = ix->seen_age, .row = *row, .extent = *e};
}
