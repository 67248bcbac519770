/*
 * ledger.h - sync's own tables, kept as small things in the index. [ledger]
 *
 * Keys are big-endian so that they scan in order; values are little-endian (bytes.h).
 *   space          key                       value
 *   "head"         device tag u32            seq u64, hash (32): the last batch of that device that is applied here; for this
 *                                            device: the last one written to the outbox
 *   "clock"        "lamport"                 u64: the highest seen or used
 *   "counter"      "pack", "store"           u64: the last number given
 *   "pack"         pack number u64           hash (32), size u64
 *   "pack-hash"    hash (32)                 pack number u64
 *   "pack-missing" store u32, pack u64       (empty) the store is not known to hold that pack
 *   "pack-fill"    store u32                 u64 next, u64 last: packs whose presence on a store added later is to be looked at
 *   "outbox"       seq u64                   a batch of this device, as it goes to the stores; kept, for stores added later
 *   "acked"        store u32, device tag u32 seq u64: batches of that device up to this one are on the store
 *   "watch"        store u32                 what push_check.c remembers of a batch that went missing
 *   "rest"         ino u64                   u64: of a file with very many extents, the content from here on is still to be published
 *   "engine"       "last-sync"               i64: seconds since 1970 (engine_status.c)
 *   "store"        store u32                 a store and its login (stores.c)
 *   "proof"        tag u32, seq u64         hash (32) known here, var32 the batch that contradicts it (pull.c)
 *   "roster"       hash (32)                 a roster record
 *   "keybox"       "own"                     this device's key box, as it goes to the stores
 *
 * Every function needs the index lock, and those that change something an operation begun (index_begin with INDEX_REMOTE). A value that
 * is not of the right form is ERR_FORMAT. LEDGER_ROOM bytes of notes are enough for any one change here but the outbox.
 */
#ifndef SYNC_LEDGER_H
#define SYNC_LEDGER_H

#include "fs/index.h"
#include "sync/batch.h"

#define LEDGER_ROOM 256u

struct ledger_head {
    uint64_t seq; /* 0: none yet */
    uint8_t hash[32];
};

/* Zeroes when there is none. */
int ledger_head_get(struct index *ix, uint32_t tag, struct ledger_head *head);
int ledger_head_put(struct index *ix, uint32_t tag, const struct ledger_head *head);
/* All heads but that of ${without}, by ascending tag; *refs to be freed by the caller (NULL when there are none). */
int ledger_heads(struct index *ix, uint32_t without, struct batch_head_ref **refs, uint16_t *n);

int ledger_clock_get(struct index *ix, uint64_t *lamport);
/* Keeps the higher one. */
int ledger_clock_raise(struct index *ix, uint64_t lamport);

/* The next number of a counter ("pack", "store"), noted as given. */
int ledger_next(struct index *ix, const char *counter, uint64_t *number);
int ledger_last(struct index *ix, const char *counter, uint64_t *number);

struct ledger_pack {
    uint64_t pid; /* struct extent's ${pack} */
    uint8_t hash[32];
    uint64_t size;
};
int ledger_pack_get(struct index *ix, uint64_t pid, struct ledger_pack *pack); /* ERR_NOENT */
/* ERR_NOENT */
int ledger_pack_find(struct index *ix, const uint8_t hash[32], struct ledger_pack *pack);
/* Gives it a number, or finds it: pack->pid. *fresh (may be NULL): it was new. ERR_FORMAT: known with another size. */
int ledger_pack_add(struct index *ix, struct ledger_pack *pack, bool *fresh);

int ledger_missing_add(struct index *ix, uint32_t store, uint64_t pid);
int ledger_missing_del(struct index *ix, uint32_t store, uint64_t pid);
/* The first pack after ${after} that ${store} misses. ERR_NOENT. */
int ledger_missing_next(struct index *ix, uint32_t store, uint64_t after, uint64_t *pid);

struct ledger_fill {
    uint64_t next, last; /* next > last: nothing to do */
};
int ledger_fill_get(struct index *ix, uint32_t store, struct ledger_fill *fill); /* ERR_NOENT */
/* next > last: deletes it */
int ledger_fill_put(struct index *ix, uint32_t store, const struct ledger_fill *fill);

int ledger_outbox_get(struct index *ix, uint64_t seq, struct bytes_out *batch); /* ERR_NOENT */
int ledger_outbox_put(struct index *ix, uint64_t seq, const struct bytes_out *batch);

/* 0 when there is none. */
int ledger_acked_get(struct index *ix, uint32_t store, uint32_t tag, uint64_t *seq);
int ledger_acked_put(struct index *ix, uint32_t store, uint32_t tag, uint64_t seq);

/* UINT64_MAX when there is none; putting that deletes it. */
int ledger_rest_get(struct index *ix, uint64_t ino, uint64_t *off);
int ledger_rest_put(struct index *ix, uint64_t ino, uint64_t off);

/* Forgets everything about a store that was removed, at most ${max} rows; *more: call again (in another operation). */
int ledger_store_forget(struct index *ix, uint32_t store, unsigned max, bool *more);

#endif
