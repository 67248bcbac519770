/*
 * hydrate.h - sealed bytes of extents that are only on the stores, by ranged gets.
 *
 * A reader gets the blocks that it asks for, and nothing more is fetched, until it is seen to read on: from one block to the next, or
 * from the end of an extent to the start of the following one, in the order in which files were written. Then extents are fetched
 * before they are asked for, in parts of packs that become as large as the link carries in a second or two, several at once; what comes is
 * kept on the disk. How far ahead grows with what was read (the rest of a file of a few MiB is fetched at once), and ends with the file until
 * the reader has gone on to the next file. A reader who needs what is on its way waits for that.
 *
 * HYDRATE_WORKERS threads do the gets, made when first needed, one of them for readers only. Each has a store handle of its own, and a buffer
 * of HYDRATE_PART bytes at most while there is work. Every store is tried in turn until one gives bytes that verify; nothing
 * else is served or kept. A fetch ends in HYDRATE_TIMEOUT_MS at the latest, and soon after its caller is interrupted: a
 * thread watches for both.
 *
 * Thread-safe. Never called with the index lock held.
 */
#ifndef SYNC_HYDRATE_H
#define SYNC_HYDRATE_H

#include "fs/vault.h"
#include "sync/stores.h"

#define HYDRATE_WORKERS    8u
#define HYDRATE_TIMEOUT_MS 30000
#define HYDRATE_PART       (4u << 20)  /* bytes fetched by one get at most */
#define HYDRATE_AHEAD      (48u << 20) /* bytes fetched ahead of a reader at most */

struct hydrate;
/* ERR_NOMEM. */
int hydrate_new(struct hydrate **h, struct vault *vault);
/* Ends fetches under way. NULL is a no-op. */
void hydrate_free(struct hydrate *h);
/* Uses these stores from now on (taken over, freed with stores_free). */
void hydrate_set_stores(struct hydrate *h, struct stores_item *items, size_t n);
/* As vault_fetcher.fetch: ERR_NET (none can be reached, or not in time), ERR_LOGIN..., ERR_BEHIND (the pack is on none of them), ERR_AUTH
 * (none gives the right bytes), ERR_INTR, ERR_STALE. */
int hydrate_fetch(struct hydrate *h, struct vault_fetch *ask);
/* As vault_fetcher.reading. */
void hydrate_reading(struct hydrate *h, const struct extent *e);

struct hydrate_stats {
    uint64_t received; /* bytes */
    uint64_t gets;     /* that were begun */
    unsigned jobs;     /* waiting or under way */
};
/* Zeroes for NULL. */
void hydrate_stats(struct hydrate *h, struct hydrate_stats *stats);
/* Instead of HYDRATE_TIMEOUT_MS; for tests. */
void hydrate_set_timeout(struct hydrate *h, int64_t ms);

#endif
