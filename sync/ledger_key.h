/*
 * ledger_key.h - keys and numbers of what sync keeps in the index (ledger.c, chain.c). [ledger]
 *
 * Numbers in keys are big-endian, so that keys scan in the order of their numbers; values are little-endian.
 * Those that take ${ix} need the index lock.
 */
#ifndef SYNC_LEDGER_KEY_H
#define SYNC_LEDGER_KEY_H

#include "fs/index.h"

/* Writes ${v} with ${len} bytes at ${at} of the key; where the next one goes, which is the key's length so far. */
size_t ledger_key_put(uint8_t *key, size_t at, uint64_t v, size_t len);
uint64_t ledger_key_number(const uint8_t *p, size_t len);

/* A u64 as value. ERR_NOENT (*v is 0), ERR_FORMAT. */
int ledger_u64_get(struct index *ix, const char *space, const void *key, size_t len, uint64_t *v);
/* In an operation (index_begin). */
int ledger_u64_put(struct index *ix, const char *space, const void *key, size_t len, uint64_t v);

#endif
