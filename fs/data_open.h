/*
 * data_open.h - plaintext out of sealed extents.
 *
 * Inside fs/ only. ${sealed}: all the sealed bytes of the extent, or NULL: they are read from its segment, and the reclaim
 * lock must be held since its place was taken from the index.
 */
#ifndef FS_DATA_OPEN_H
#define FS_DATA_OPEN_H

#include "fs/data_scratch.h"
#include "fs/vault.h"

/* Plaintext bytes [from, from+len) of the extent into ${out}; nothing that did not verify. Failures are logged with
 * ${ino}. ERR_AUTH, ERR_FORMAT, ERR_IO, ERR_NOMEM. */
int data_open(struct vault *v, struct data_scratch *s, uint64_t ino, const struct extent *e,
              uint32_t from, size_t len, const uint8_t *sealed, uint8_t *out);

/* Opens every block and keeps nothing. The same errors; not logged. */
int data_open_verify(struct vault *v, struct data_scratch *s, const struct extent *e,
                     const uint8_t *sealed);

#endif
