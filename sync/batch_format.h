/*
 * batch_format.h - what the writer and the reader of batches share. Internal to sync/batch_*.c. [batch]
 */
#ifndef SYNC_BATCH_FORMAT_H
#define SYNC_BATCH_FORMAT_H

#include "crypto/object.h"
#include "sync/batch.h"

#define BATCH_MAGIC        "OBSJ"
#define BATCH_VERSION      1u
#define BATCH_SUITE        1u
#define BATCH_DOMAIN       "obs-batch"
#define BATCH_BODY_MIN     4096u
#define BATCH_RECORD_HEAD  5u  /* kind, length */
#define BATCH_RANGE_HOLE   17u /* bytes of a range that is a hole */
#define BATCH_RANGE_EXTENT 53u /* of one that is not */
#define BATCH_REF_LEN      44u
#define BATCH_LAMPORT_MAX  ((uint64_t)INT64_MAX)
#define BATCH_TAG_MAX      0x7fffffu

/* The records of an opened body, as batch_open_body hands them out; apart for fuzzing. */
int batch_parse_records(const uint8_t *p, size_t len,
                        int (*each)(void *ctx, const struct batch_record *record), void *ctx);

/* The rules for what a record may say. They are the same on both sides, so that we never write what we would refuse. */
bool batch_record_valid(const struct batch_record *r);
/* The same for ranges, where the sizes of the packs of this batch are known: ${pack_size} has ${packs} of them. */
bool batch_range_valid(const struct batch_range *range, uint64_t not_before, uint64_t size,
                       const uint32_t *pack_size, size_t packs);

#endif
