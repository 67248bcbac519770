/*
 * push.h - puts on the stores what changed here: packs of extents first, then batches of records.
 *
 *   1. the stores are asked for our own last batch (push_check.c): a store that lost it is behind or rolled back
 *   2. live extents in no pack are packed, several packs at once (push_pack.c); packs that a store misses are copied to it
 *      from another one (push_mirror.c), and those that no store has are made anew (push_lost.c)
 *   3. changes whose bytes are all in packs are written as batches to the outbox, in the index (push_batch.c)
 *   4. the outbox is put on each store in order (push_outbox.c)
 *
 * Nothing is lost by any failure: a pack that was put and not noted is an orphan on the store, everything else goes on where it
 * stood at the next run. The bytes of a batch never change once it is in the outbox, so a retried put is the same put. A file that is
 * being written is held back until all its bytes are in packs.
 *
 * Called by one thread at a time. Takes the index lock itself, never over network or segment I/O.
 */
#ifndef SYNC_PUSH_H
#define SYNC_PUSH_H

#include "fs/vault.h"
#include "sync/stores.h"

/* inodes and names in one batch at most: bounds how long the lock is held */
#define PUSH_BATCH_ITEMS  4096u
#define PUSH_WORKERS      4u /* packs in flight at once; each has a buffer of PACK_SIZE */
#define PUSH_WORKERS_SLOW 3u /* as long as the link has not shown that it carries more */

/* For tests; zeroes are the defaults. */
struct push_limits {
    unsigned workers; /* at most PUSH_WORKERS; 0: that */
    /* how long a batch that the store had confirmed must stay missing for an alarm; 0: 60; < 0:
     * none */
    int64_t missing_span_s;
    size_t batch_items; /* records of one batch at most; 0: PUSH_BATCH_ITEMS */
};

struct push_params {
    struct vault *vault;
    const struct stores_handle *stores;
    size_t count;
    const _Atomic bool *cancelled; /* NULL: never */
    /* Sealed bytes of extents put so far, and all that there are to put; may be NULL. Called without locks, one call at a time. */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
    const struct push_limits *limits; /* NULL: defaults */
};

struct push_result {
    uint64_t sent;    /* bytes put */
    uint64_t packs;   /* put */
    uint64_t batches; /* put, counted once for each store */
    uint64_t held;    /* inodes and entries held back because bytes of theirs are in no pack yet */
    char why[200];    /* a line for people when there is an error */
};

/*
 * 0: everything that could be published is on every store. Otherwise the gravest of what happened, in this order: ERR_CONTRADICTION (the
 * store was rolled back, or another copy of this device writes: the caller turns the vault read-only); local errors (ERR_IO, ERR_NOSPACE,
 * ERR_AUTH: damaged extents, which were left out); ERR_LOGIN, ERR_STOREFULL, ERR_NETPERM; ERR_NET; ERR_BEHIND; ERR_INTR. What can be done on other stores and for other
 * files was done all the same. No stores: ERR_NOENT.
 */
int push_run(const struct push_params *params, struct push_result *result);

#endif
