/*
 * data_fetch.h - extents that are not here: fetched once for all who wait, verified, kept.
 *
 * Inside fs/ only. What is fetched of an extent at first are the blocks that are wanted; they stay in memory, sealed as they came, and
 * what is wanted of it later is put beside them. An extent that is complete is appended to the segment and written into the index. The
 * last few that are not complete, or that cannot be kept (read-only vault, full disk), stay in memory, so that reading
 * piece by piece fetches nothing twice. One fetch of an extent is under way at a time; whoever needs something else of it waits for that.
 * What came is verified before anyone sees it.
 */
#ifndef FS_DATA_FETCH_H
#define FS_DATA_FETCH_H

#include "fs/vault.h"

struct data_fetch;

/* What a reader wants: bytes [from, from+len) of ${e}, which is missing here (at.seg 0), or damaged at the place it names; a good
 * copy then takes its place. */
struct data_want {
    const struct extent *e;
    uint32_t from;
    size_t len;
    uint64_t ino, left; /* as in struct vault_fetch */
};

/*
 * Called without locks. On success data_fetch_sealed() has the verified sealed bytes of the blocks that are wanted, at their places in the
 * extent, until data_fetch_release().
 * ERR_STALE: the extent has come, or has gone, since the caller looked: look again. ERR_AUTH: what was fetched is not
 * what was sealed. ERR_INTR: *cancelled (may be NULL). ERR_NET: there is nothing to fetch with; and what the fetcher answers.
 */
int data_fetch_get(struct vault *v, const struct data_want *want, const _Atomic bool *cancelled,
                   struct data_fetch **fetch);
const uint8_t *data_fetch_sealed(const struct data_fetch *fetch);
void data_fetch_release(struct data_fetch *fetch);

/* Keeps a whole extent (verified, copied) in memory for a reader that will come, among the last few. */
void data_fetch_remember(struct vault *v, const struct extent *e, const uint8_t *sealed);

#endif
