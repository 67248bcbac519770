/*
 * sign.h - the key pairs of a device: Ed25519 to sign, X25519 to receive keys.
 *
 * A signature covers BLAKE2b-256, in a domain of its own, of the message; so a signature made for one
 * purpose is worth nothing for another. [signature]
 */
#ifndef CRYPTO_SIGN_H
#define CRYPTO_SIGN_H

#include "crypto/bytes.h"
#include "crypto/secret.h"

#define SIGN_PUBLIC_LEN 32u
#define SIGN_LEN        64u
#define SIGN_SEED_LEN   32u

/* Secret half of a device. Memory from secret_alloc. */
struct sign_keys;
/* From two seeds (32 bytes each; random for a new device). NULL: out of memory. */
struct sign_keys *sign_keys_new(const uint8_t sign_seed[SIGN_SEED_LEN], const uint8_t box_seed[SIGN_SEED_LEN]);
void sign_keys_free(struct sign_keys *keys);
const uint8_t *sign_keys_public(const struct sign_keys *keys);     /* Ed25519, 32 bytes */
const uint8_t *sign_keys_box_public(const struct sign_keys *keys); /* X25519, 32 bytes */

/* ${domain}: as kdf_hash. */
void sign_make(const struct sign_keys *keys, const char *domain, const void *msg, size_t len, uint8_t sig[SIGN_LEN]);
/* ERR_AUTH. */
int sign_verify(const uint8_t public_key[SIGN_PUBLIC_LEN], const char *domain, const void *msg, size_t len,
                const uint8_t sig[SIGN_LEN]);

/* Anonymous box to a device (crypto_box_seal): out gets len + SIGN_BOX_OVERHEAD bytes. */
#define SIGN_BOX_OVERHEAD 48u
int sign_box(const uint8_t box_public[SIGN_PUBLIC_LEN], const void *plain, size_t len, uint8_t *out);
/* ERR_AUTH. ${len} counts the overhead. */
int sign_box_open(const struct sign_keys *keys, const uint8_t *boxed, size_t len, uint8_t *plain);

#endif
