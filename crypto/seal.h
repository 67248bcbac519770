/*
 * seal.h - sealing of extents: runs of file data cut in blocks, each an AEAD message. [extent]
 *
 * Block i of an extent covers SEAL_BLOCK bytes of plaintext (the last one 1 to SEAL_BLOCK) and is
 * XChaCha20-Poly1305 under the epoch's extent key with
 *     key   = kdf_derive(epoch key, KDF_EXTENT)                        [extent-key]
 *     nonce = id (16 bytes) || le64(i, top bit set on the last block)  [extent-nonce]
 *     aad   = vault id (32 bytes) || le32(epoch)                       [extent-aad]
 * and is stored as ciphertext || tag (16 bytes). No nonce is stored; id is random and never used twice.
 * XChaCha20 derives a subkey from key and id, so each extent has a key of its own. A reordered, swapped,
 * dropped, cut or appended block does not verify. An extent of length 0 does not exist.
 *
 * XChaCha20-Poly1305 of key and a 24-byte nonce is ChaCha20-Poly1305 of RFC 8439 with [xchacha]
 *     key = HChaCha20(key, nonce bytes 0..15), nonce = 4 zero bytes || nonce bytes 16..23.
 * Two back ends make the same bits: HChaCha20 is libsodium's, ChaCha20-Poly1305 is libsodium's or libcrypto's
 * (faster; used where the build and the machine have it). Thread-safe: a key is read only after seal_key_new.
 */
#ifndef CRYPTO_SEAL_H
#define CRYPTO_SEAL_H

#include "crypto/secret.h"

#define SEAL_BLOCK      16384u
#define SEAL_TAG        16u
#define SEAL_ID_LEN     16u
#define SEAL_EXTENT_MAX (1u << 20) /* plaintext bytes of one extent at most */
#define SEAL_VAULT_ID   32u

/* The sealed size of ${plain} bytes, 1 to SEAL_EXTENT_MAX. */
static inline size_t seal_size(size_t plain)
{
    return plain + SEAL_TAG * ((plain + SEAL_BLOCK - 1) / SEAL_BLOCK);
}

/* Where block ${i} starts in the sealed bytes. */
static inline size_t seal_block_offset(size_t i)
{
    return i * (SEAL_BLOCK + SEAL_TAG);
}

/* One epoch's extent key with what goes into the AAD. Memory from secret_alloc. */
struct seal_key;
/* Copies what it is given. NULL: the arena is full. */
struct seal_key *seal_key_new(const uint8_t epoch_key[SECRET_KEY_LEN], uint32_t epoch,
                              const uint8_t vault_id[SEAL_VAULT_ID]);
void seal_key_free(struct seal_key *key);
uint32_t seal_key_epoch(const struct seal_key *key);

/* Seals ${len} bytes of ${plain} into ${out} (seal_size(len) bytes, apart from ${plain}). ERR_MISUSE when len is out
 * of range, ERR_NOMEM; ${out} is then worth nothing. */
int seal_extent(const struct seal_key *key, const uint8_t id[SEAL_ID_LEN], uint8_t *out,
                const uint8_t *plain, size_t len);

/*
 * Opens ${n} blocks from block ${first} on of an extent of ${extent_len} plaintext bytes: ${sealed} points at
 * the first byte of block ${first}, and all bytes of the ${n} blocks must be there (apart from ${plain}); ${plain}
 * receives the plaintext of those blocks. ERR_AUTH or ERR_NOMEM, and then all of ${plain} is zeroed; ERR_MISUSE when
 * ${n} is 0 or the blocks are not in the extent.
 */
int seal_open(const struct seal_key *key, const uint8_t id[SEAL_ID_LEN], size_t extent_len,
              size_t first, size_t n, const uint8_t *sealed, uint8_t *plain);

/*
 * Opens the bytes [from, end) of block ${i} alone: all of the block is verified, no more than those is decrypted, so it costs
 * less where little is wanted. ${from} is a multiple of SEAL_PART; ${sealed} is the whole sealed block, apart from ${plain},
 * which gets end - from bytes. ERR_AUTH or ERR_NOMEM, and then ${plain} is zeroed; ERR_MISUSE when there is no such
 * part.
 */
#define SEAL_PART 64u
int seal_open_part(const struct seal_key *key, const uint8_t id[SEAL_ID_LEN], size_t extent_len,
                   size_t i, size_t from, size_t end, const uint8_t *sealed, uint8_t *plain);

/* Chooses the back end for tests and benchmarks: "sodium", "libcrypto"; false if the build or machine lacks it. */
bool seal_use_backend(const char *name);
/* The name of the one in use. */
const char *seal_backend_name(void);

/* Plain AEAD with an explicit 24-byte nonce, by the same back ends, for everything else (segment heads,
 * index pages): ${out} gets len + SEAL_TAG bytes: ciphertext || tag (in place allowed: out == plain).
 * ERR_NOMEM; ERR_MISUSE when ${len} is over 1 GiB. */
#define SEAL_NONCE 24u
int seal_box(const uint8_t key[SECRET_KEY_LEN], const uint8_t nonce[SEAL_NONCE], const void *aad,
             size_t aad_len, const uint8_t *plain, size_t len, uint8_t *out);
/* ${len} counts the tag; ${out} gets len - SEAL_TAG bytes. ERR_AUTH or ERR_NOMEM (and ${out} zeroed, so in place nothing
 * of the input is left). In place allowed. */
int seal_box_open(const uint8_t key[SECRET_KEY_LEN], const uint8_t nonce[SEAL_NONCE],
                  const void *aad, size_t aad_len, const uint8_t *sealed, size_t len, uint8_t *out);

#endif
