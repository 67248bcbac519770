/*
 * segment_record.h - how a record of a segment file is sealed: heads and notes. [segment-head] [segment-note]
 *
 * Internal to the segment files; the format is in segment.h. Thread-safe once made.
 */
#ifndef FS_SEGMENT_RECORD_H
#define FS_SEGMENT_RECORD_H

#include "fs/segment.h"

/* Continues enum segment_kind; never shown to callers of segment.h. */
#define SEGMENT_RECORD_END 3u
/* In the first head of a file: a mount began it, whatever came before. */
#define SEGMENT_RECORD_BEGIN 1u

#define SEGMENT_RECORD_AAD (32u + 4u)

struct segment_record_key {
    uint8_t *key; /* SECRET_KEY_LEN bytes in guarded memory, owned */
    uint8_t aad[SEGMENT_RECORD_AAD];
};

struct segment_record_head {
    uint8_t kind; /* enum segment_kind or SEGMENT_RECORD_END */
    uint8_t flags;
    uint32_t len;          /* of the payload */
    struct segment_pos at; /* of the head itself */
};

/* Copies ${key} to guarded memory. ERR_NOMEM. */
int segment_record_key_init(struct segment_record_key *rk, const uint8_t key[SECRET_KEY_LEN],
                            const uint8_t vault_id[32], uint32_t device_tag);
void segment_record_key_wipe(struct segment_record_key *rk);

/* True if records of this kind may have payloads of ${len} bytes. */
bool segment_record_len_ok(unsigned kind, size_t len);

int segment_record_seal_head(const struct segment_record_key *rk,
                             const struct segment_record_head *head, uint8_t sealed[SEGMENT_HEAD]);
/* ${head}->at must be set: where ${sealed} was read; the rest is filled. ERR_AUTH, ERR_FORMAT: not a head of this place. */
int segment_record_open_head(const struct segment_record_key *rk,
                             const uint8_t sealed[SEGMENT_HEAD], struct segment_record_head *head);

/* ${out} gets len + SEGMENT_NOTE_OVERHEAD - SEGMENT_HEAD bytes: the payload that follows ${head}. */
int segment_record_seal_note(const struct segment_record_key *rk, const uint8_t head[SEGMENT_HEAD],
                             const uint8_t *note, size_t len, uint8_t *out);
/* In place: ${*note} points into ${payload} afterwards. ERR_AUTH. */
int segment_record_open_note(const struct segment_record_key *rk, const uint8_t head[SEGMENT_HEAD],
                             uint8_t *payload, size_t payload_len, uint8_t **note, size_t *len);

#endif
