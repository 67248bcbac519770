/*
 * data_keep.h - extents that were fetched are kept here: appended to the segment, then written into the index.
 */
#ifndef FS_DATA_KEEP_H
#define FS_DATA_KEEP_H

#include "fs/vault.h"

#define DATA_KEEP_AT_ONCE 64u /* under one hold of the index lock */

/* ${sealed}: the whole extent, verified by whoever fetched it. ${e}: as it was in the index when it was fetched. */
struct data_keep {
    struct extent e;
    const uint8_t *sealed;
};

/* Can anything be kept: no read-only vault, no full disk. */
bool data_keep_can(const struct vault *v);
/* True: each is on disk now and in the index, or has come or gone meanwhile. False: at least one is not, which is no failure: it can be
 * fetched again. Called without locks. */
bool data_keep(struct vault *v, const struct data_keep *items, size_t n);
/* The same for extents fetched before anybody asked: what cannot be kept on disk stays in memory for a while, if it is among the last few. */
void data_keep_ahead(struct vault *v, const struct data_keep *items, size_t n);

/* Is the extent still where ${e} says it is missing or damaged? 0, ERR_STALE (it has come, or gone), or the index's error. */
int data_keep_missing(struct vault *v, const struct extent *e);

#endif
