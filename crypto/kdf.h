/*
 * kdf.h - subkeys by purpose, and hashes with a domain.
 *
 * Every key of 32 bytes has one purpose and one kind of message.
 *
 * A subkey is libsodium's crypto_kdf_derive_from_key(out, 32, purpose, "obscura1", parent), that is: [kdf]
 *     BLAKE2b, output 32 bytes, key = parent (32 bytes), message empty,
 *     salt (16 bytes) = le64(purpose) || 8 zero bytes,
 *     personalisation (16 bytes) = "obscura1" || 8 zero bytes.
 * A hash in a domain is: [hash]
 *     BLAKE2b, output 32 bytes, no key, salt zero,
 *     personalisation (16 bytes) = the domain's ASCII characters, filled up with zero bytes.
 *
 * Thread-safe; nothing here can fail.
 */
#ifndef CRYPTO_KDF_H
#define CRYPTO_KDF_H

#include "crypto/secret.h"

#define KDF_HASH_LEN 32

/* [kdf-purpose] The number is crypto_kdf's subkey id; never reuse one. The parent is named in brackets. */
enum kdf_purpose {
    KDF_EXTENT = 1,      /* [epoch key] extents: crypto/seal.h */
    KDF_PACK = 2,        /* [epoch key] the table of a pack */
    KDF_JOURNAL = 3,     /* [epoch key] the body of a journal batch */
    KDF_CHECKPOINT = 4,  /* [epoch key] reserved: nothing is written with it */
    KDF_INDEX = 16,      /* [device key] the pages of the index */
    KDF_SEGMENT = 17,    /* [device key] record heads and notes in segments */
    KDF_NAMEHASH = 18,   /* [device key] cookies of directory entries (SipHash) */
    KDF_KEYRING = 19,    /* [device key] the device's keyring file */
    KDF_CONTROL = 20,    /* [device key] reserved: nothing is written with it */
    KDF_CODE_SLOT = 32,  /* [vault code] the recovery slot on the store */
    KDF_SLOT_BODY = 33,  /* [slot key] AEAD of a local slot */
    KDF_SLOT_COMMIT = 34 /* [slot key] key commitment of a local slot */
};

/* ${out} = the subkey of ${parent} for ${purpose}. ${out} may be ${parent}. */
void kdf_derive(uint8_t out[SECRET_KEY_LEN], const uint8_t parent[SECRET_KEY_LEN],
                enum kdf_purpose purpose);

/* BLAKE2b-256 of ${len} bytes in the domain ${domain}: 1 to 16 characters, else abort. ${out} may be inside ${p}. */
void kdf_hash(uint8_t out[KDF_HASH_LEN], const char *domain, const void *p, size_t len);

/* The same in pieces; kdf_hash_final ends it and wipes the state. */
struct kdf_hasher {
    _Alignas(64) unsigned char state[512];
};
void kdf_hash_init(struct kdf_hasher *h, const char *domain);
void kdf_hash_update(struct kdf_hasher *h, const void *p, size_t len);
void kdf_hash_final(struct kdf_hasher *h, uint8_t out[KDF_HASH_LEN]);

#endif
