/*
 * data_scratch.h - the memory that one thread needs to seal and open extents.
 *
 * Made when a thread first asks, wiped and freed when it ends. About 1 MiB a thread, so that the number of
 * threads bounds it.
 */
#ifndef FS_DATA_SCRATCH_H
#define FS_DATA_SCRATCH_H

#include "crypto/seal.h"

struct data_scratch {
    uint8_t *sealed; /* seal_size(SEAL_EXTENT_MAX) bytes */
    uint8_t *block;  /* SEAL_BLOCK bytes: plaintext of a block of which only a part is wanted */
};

/* This thread's own; NULL: out of memory. */
struct data_scratch *data_scratch_get(void);

/* A new extent id: random, never given twice. Needs data_scratch_get to have succeeded in this thread. */
void data_scratch_id(uint8_t id[SEAL_ID_LEN]);

#endif
