/*
 * engine_live.h - which extents that are alive lie in which pack, for a check of all packs one after the other.
 *
 * The index has no way from a pack to its extents (nothing else asks for it). So all extents are walked once to count them, and then once
 * for as many packs at a time as have at most ${max} extents together: with a million at a time, and 40 bytes each, that is one walk for
 * nearly every vault. Takes the index lock itself, for a few thousand rows at a time; what changes meanwhile may be missing in a list.
 */
#ifndef SYNC_ENGINE_LIVE_H
#define SYNC_ENGINE_LIVE_H

#include "crypto/seal.h"
#include "fs/index.h"

#include <stdatomic.h>

#define ENGINE_LIVE_MAX 1000000u

struct engine_extent {
    uint64_t eid, off; /* off: in the pack */
    uint32_t len, epoch;
    uint8_t id[SEAL_ID_LEN];
};

struct engine_live;

/* All packs that are known. *stop (may be NULL) turned true ends it with ERR_INTR. ERR_NOMEM, ERR_IO. */
int engine_live_new(struct engine_live **live, struct index *ix, size_t max,
                    const atomic_bool *stop);
void engine_live_free(struct engine_live *live);

size_t engine_live_count(const struct engine_live *live);
/* The number of the ${i}th pack; they rise. */
uint64_t engine_live_pid(const struct engine_live *live, size_t i);
/* Its extents, valid until the next call. Quick when ${i} rises from call to call. */
int engine_live_get(struct engine_live *live, size_t i, const struct engine_extent **list,
                    size_t *n);
/* How often all extents were walked so far. */
unsigned engine_live_walks(const struct engine_live *live);

#endif
