/*
 * sign.h - the key pairs of a device: Ed25519 to sign, X25519 to receive keys.
 *
 * A signature is Ed25519 (RFC 8032, libsodium's crypto_sign_detached) of the 32 bytes kdf_hash(domain, message): a
 * signature made for one purpose is worth nothing for another. [signature]
 *
 * The Ed25519 pair comes from its seed as in RFC 8032; the X25519 secret key is the first 32 bytes of SHA-512 of its
 * seed (libsodium's crypto_box_seed_keypair). [device-keys]
 * A box is libsodium's crypto_box_seal: ephemeral X25519 public key || XSalsa20-Poly1305 box, with the nonce
 * BLAKE2b-192(ephemeral public key || receiver's public key). It does not say who made it. [box]
 *
 * Thread-safe: keys are read only once made.
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
/* From two seeds (32 bytes each; random for a new device), which are copied. NULL: the arena is full. */
struct sign_keys *sign_keys_new(const uint8_t sign_seed[SIGN_SEED_LEN],
                                const uint8_t box_seed[SIGN_SEED_LEN]);
void sign_keys_free(struct sign_keys *keys);
const uint8_t *sign_keys_public(const struct sign_keys *keys);     /* Ed25519, 32 bytes */
const uint8_t *sign_keys_box_public(const struct sign_keys *keys); /* X25519, 32 bytes */

/* ${domain}: as kdf_hash. */
void sign_make(const struct sign_keys *keys, const char *domain, const void *msg, size_t len,
               uint8_t sig[SIGN_LEN]);
/* ERR_AUTH; also for public keys of small order and signatures that are not canonical. */
int sign_verify(const uint8_t public_key[SIGN_PUBLIC_LEN], const char *domain, const void *msg,
                size_t len, const uint8_t sig[SIGN_LEN]);

/* Anonymous box to a device (crypto_box_seal): out gets len + SIGN_BOX_OVERHEAD bytes. ERR_AUTH: no key of
 * an honest device. */
#define SIGN_BOX_OVERHEAD 48u
int sign_box(const uint8_t box_public[SIGN_PUBLIC_LEN], const void *plain, size_t len,
             uint8_t *out);
/* ${len} counts the overhead. ERR_AUTH, and ${plain} is zeroed. */
int sign_box_open(const struct sign_keys *keys, const uint8_t *boxed, size_t len, uint8_t *plain);

#endif
