/*
 * chain.h - which batches of which device are applied here, so that it can be told who had seen what. [chain]
 *
 *   space    key                        value
 *   "chain"  device tag u32, seq u64    hash (32): a batch that is applied here (keys big-endian, values little-endian, as in ledger.h)
 *   "when"   device tag u32, lamport u64  seq u64: the (last) batch of that Lamport time
 *   "chain-own"  "seq"                  u64: our own batches up to this one are noted
 *
 * Every function needs the index lock; chain_put and chain_note_own a group begun.
 */
#ifndef SYNC_CHAIN_H
#define SYNC_CHAIN_H

#include "fs/index.h"
#include "sync/batch.h"

int chain_put(struct index *ix, uint32_t tag, uint64_t seq, uint64_t lamport,
              const uint8_t hash[32]);
/* ERR_NOENT: not applied here. */
int chain_hash(struct index *ix, uint32_t tag, uint64_t seq, uint8_t hash[32]);
/* Notes our own batches that the outbox has and that are not noted yet, at most ${max}; *more: call again. */
int chain_note_own(struct index *ix, uint32_t tag, unsigned max, bool *more);
/*
 * Had the author of a batch with ${head} (device ${author}) applied what has ${version} when it wrote it? What was never published (lamport 0)
 * nobody has: true for it, since there is nothing to lose. In doubt: false.
 */
bool chain_seen(struct index *ix, const struct batch_head *head, uint32_t author,
                struct version version);

#endif
