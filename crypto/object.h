/*
 * object.h - small sealed objects: everything on disk or store that is neither an extent, a segment nor the
 * index. [object]
 *
 *   offset size
 *   0      4    magic "OBS1"
 *   4      1    format version, 1
 *   5      1    suite, 1 (XChaCha20-Poly1305, BLAKE2b, Ed25519, X25519, Argon2id)
 *   6      1    type (enum object_type)
 *   7      1    0
 *   8      4    epoch (0: not under an epoch key)
 *   12     24   nonce, random
 *   36     n    ciphertext
 *   36+n   16   tag
 *
 * XChaCha20-Poly1305. AAD: the 36 bytes before the ciphertext || vault id (32 bytes) || place (its characters,
 * without a NUL). ${place} says where the object belongs (its name on the store, a slot number): an object put
 * anywhere else does not open. [object-aad]
 *
 * The key that callers pass is already a subkey of its own for each type (kdf_derive with the purpose that
 * crypto/kdf.h names for it); the type in the AAD keeps objects apart even where two types share one. Plaintext
 * is at most 1 GiB. Readers authenticate before they parse. Thread-safe.
 */
#ifndef CRYPTO_OBJECT_H
#define CRYPTO_OBJECT_H

#include "crypto/bytes.h"
#include "crypto/seal.h"

#define OBJECT_HEAD     36u
#define OBJECT_OVERHEAD (OBJECT_HEAD + SEAL_TAG)

enum object_type {
    OBJECT_KEYRING = 1,     /* local: the device's keys */
    OBJECT_PACK_TABLE = 2,  /* in a pack */
    OBJECT_BATCH = 3,       /* the body of a journal batch */
    OBJECT_CHECKPOINT = 4,  /* reserved, as 5 and 7: nothing of ours is written so */
    OBJECT_KEYBOX = 5,      /* (keys/<device> has a form of its own: sync/keybox.h) */
    OBJECT_RECOVERY = 6,    /* keys/recovery */
    OBJECT_MOUNTED = 7,     /* reserved */
    OBJECT_DEVICE_NAME = 8, /* in the roster: a device's name */
};

/* Appends the sealed object (len + OBJECT_OVERHEAD bytes) to ${out}; nothing after an error. ${place} is a C string.
 * ERR_NOMEM; ERR_MISUSE: ${len} is over 1 GiB. */
int object_seal(struct bytes_out *out, enum object_type type, uint32_t epoch,
                const uint8_t key[SECRET_KEY_LEN], const uint8_t vault_id[SEAL_VAULT_ID],
                const char *place, const void *plain, size_t len);

/* Reads the head only: *epoch says which key opens it. ERR_FORMAT, ERR_VERSION. Nothing in it is trusted yet. */
int object_peek(const void *sealed, size_t len, enum object_type type, uint32_t *epoch);

/* Appends the plaintext to ${plain}; nothing after an error. ERR_FORMAT (also for another type), ERR_VERSION, ERR_AUTH,
 * ERR_NOMEM. */
int object_open(struct bytes_out *plain, enum object_type type, const uint8_t key[SECRET_KEY_LEN],
                const uint8_t vault_id[SEAL_VAULT_ID], const char *place, const void *sealed,
                size_t len);

/*
 * Padmé: ${len} (or ${min}, if that is more) rounded up so that it leaks little. With e = floor(log2 len) and
 * s = floor(log2 e) + 1 the lowest e - s bits of the result are zero; 0 and 1 stay. [padme]
 */
size_t object_padme(size_t len, size_t min);

#endif
