/*
 * hydrate.h - sealed bytes of extents that are only on the stores, by ranged gets.
 *
 * A few store handles of its own (HYDRATE_HANDLES); every store is tried in turn until one gives bytes that verify. Reading on in
 * the same pack fetches ahead: what comes is kept, sealed as it came, until it is asked for. A fetch ends in HYDRATE_TIMEOUT_MS at
 * the latest, and soon after its caller is interrupted: a thread of its own watches for both.
 *
 * Thread-safe. Never called with locks held.
 */
#ifndef SYNC_HYDRATE_H
#define SYNC_HYDRATE_H

#include "fs/vault.h"
#include "sync/stores.h"

#define HYDRATE_HANDLES    4u
#define HYDRATE_TIMEOUT_MS 30000
#define HYDRATE_AHEAD      (2u << 20) /* bytes fetched at once at most */

struct hydrate;
/* ERR_NOMEM. */
int hydrate_new(struct hydrate **h, struct vault *vault);
/* Ends fetches under way. NULL is a no-op. */
void hydrate_free(struct hydrate *h);
/* Uses these stores from now on (taken over, freed with stores_free). */
void hydrate_set_stores(struct hydrate *h, struct stores_item *items, size_t n);
/* As vault_fetcher.fetch: ERR_NET (none can be reached, or not in time), ERR_LOGIN..., ERR_BEHIND (the pack is on none of them), ERR_AUTH
 * (none gives the right bytes), ERR_INTR. */
int hydrate_fetch(struct hydrate *h, const struct extent *e, uint8_t *sealed,
                  const _Atomic bool *cancelled);
/* 0 for NULL. */
uint64_t hydrate_received(struct hydrate *h);

#endif
