#include "fs/segment_record.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "crypto/seal.h"

#include <string.h>

#define HEAD_PLAIN   24u
#define NOTE_FRAME   (SEAL_NONCE + SEAL_TAG)
#define EXTENT_LEAST (1u + SEAL_TAG)

_Static_assert(SEAL_NONCE + HEAD_PLAIN + SEAL_TAG == SEGMENT_HEAD, "size of a head");
_Static_assert(NOTE_FRAME + SEGMENT_HEAD == SEGMENT_NOTE_OVERHEAD, "size of a note");

/*
 * A record costs two nonces; asking the system for each would cost as much as the sealing. A forked child shares the
 * pool, but not the key: guarded memory is not inherited.
 */
#define POOL_NONCES 170u
static _Thread_local uint8_t pool[POOL_NONCES * SEAL_NONCE];
static _Thread_local size_t pool_left;

/* Random and nothing else: two devices that share an epoch, or a device put back from a backup, would make derived
 * nonces twice. */
static void fresh_nonce(uint8_t nonce[SEAL_NONCE])
{
    if (pool_left < SEAL_NONCE) {
        secret_random(pool, sizeof(pool));
        pool_left = sizeof(pool);
    }
    uint8_t *next = pool + sizeof(pool) - pool_left;
    memcpy(nonce, next, SEAL_NONCE);
    secret_wipe(next, SEAL_NONCE);
    pool_left -= SEAL_NONCE;
}

int segment_record_key_init(struct segment_record_key *rk, const uint8_t key[SECRET_KEY_LEN],
                            const uint8_t vault_id[32], uint32_t device_tag)
{
    rk->key = secret_alloc(SECRET_KEY_LEN);
    if (!rk->key)
        return ERR_NOMEM;
    memcpy(rk->key, key, SECRET_KEY_LEN);
    memcpy(rk->aad, vault_id, 32);
    bytes_le32(rk->aad + 32, device_tag);
    return ERR_OK;
}

void segment_record_key_wipe(struct segment_record_key *rk)
{
    secret_free(rk->key);
    rk->key = NULL;
}

bool segment_record_len_ok(unsigned kind, size_t len)
{
    switch (kind) {
    case SEGMENT_EXTENT:
        return len >= EXTENT_LEAST && len <= seal_size(SEAL_EXTENT_MAX);
    case SEGMENT_NOTE:
        return len > NOTE_FRAME && len <= NOTE_FRAME + SEGMENT_NOTE_MAX;
    case SEGMENT_RECORD_END:
        return len == 0;
    default:
        return false;
    }
}

/* [segment-head] */
int segment_record_seal_head(const struct segment_record_key *rk,
                             const struct segment_record_head *head, uint8_t sealed[SEGMENT_HEAD])
{
    uint8_t *plain = sealed + SEAL_NONCE;
    fresh_nonce(sealed);
    plain[0] = head->kind;
    plain[1] = head->flags;
    bytes_le16(plain + 2, 0);
    bytes_le32(plain + 4, head->len);
    bytes_le64(plain + 8, head->at.seg);
    bytes_le64(plain + 16, head->at.off);
    return seal_box(rk->key, sealed, rk->aad, sizeof(rk->aad), plain, HEAD_PLAIN, plain);
}

int segment_record_open_head(const struct segment_record_key *rk,
                             const uint8_t sealed[SEGMENT_HEAD], struct segment_record_head *head)
{
    uint8_t plain[HEAD_PLAIN];
    int err = seal_box_open(rk->key, sealed, rk->aad, sizeof(rk->aad), sealed + SEAL_NONCE,
                            SEGMENT_HEAD - SEAL_NONCE, plain);
    if (err)
        return err;
    struct bytes_in in;
    bytes_in_init(&in, plain, sizeof(plain));
    head->kind = bytes_get_u8(&in);
    head->flags = bytes_get_u8(&in);
    uint16_t zero = bytes_get_u16(&in);
    head->len = bytes_get_u32(&in);
    uint64_t seg = bytes_get_u64(&in), off = bytes_get_u64(&in);
    /* A head that was copied from another place of this vault is authentic; only its place gives it away. */
    bool here = seg == head->at.seg && off == head->at.off;
    bool flags_ok = !head->flags || (head->flags == SEGMENT_RECORD_BEGIN && !off);
    if (bytes_in_done(&in) || zero || !here || !flags_ok ||
        !segment_record_len_ok(head->kind, head->len))
        return ERR_FORMAT;
    return ERR_OK;
}

/* The head goes into the AAD: a note stands for this record and no other, wherever its bytes are copied. */
static void note_aad(const struct segment_record_key *rk, const uint8_t head[SEGMENT_HEAD],
                     uint8_t aad[SEGMENT_RECORD_AAD + SEGMENT_HEAD])
{
    memcpy(aad, rk->aad, SEGMENT_RECORD_AAD);
    memcpy(aad + SEGMENT_RECORD_AAD, head, SEGMENT_HEAD);
}

/* [segment-note] */
int segment_record_seal_note(const struct segment_record_key *rk, const uint8_t head[SEGMENT_HEAD],
                             const uint8_t *note, size_t len, uint8_t *out)
{
    uint8_t aad[SEGMENT_RECORD_AAD + SEGMENT_HEAD];
    note_aad(rk, head, aad);
    fresh_nonce(out);
    return seal_box(rk->key, out, aad, sizeof(aad), note, len, out + SEAL_NONCE);
}

int segment_record_open_note(const struct segment_record_key *rk, const uint8_t head[SEGMENT_HEAD],
                             uint8_t *payload, size_t payload_len, uint8_t **note, size_t *len)
{
    uint8_t aad[SEGMENT_RECORD_AAD + SEGMENT_HEAD];
    if (!segment_record_len_ok(SEGMENT_NOTE, payload_len))
        return ERR_FORMAT;
    note_aad(rk, head, aad);
    uint8_t *sealed = payload + SEAL_NONCE;
    int err =
        seal_box_open(rk->key, payload, aad, sizeof(aad), sealed, payload_len - SEAL_NONCE, sealed);
    if (err)
        return err;
    *note = sealed;
    *len = payload_len - NOTE_FRAME;
    return ERR_OK;
}
