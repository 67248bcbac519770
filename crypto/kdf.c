#include "crypto/kdf.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define PERSONAL_LEN crypto_generichash_blake2b_PERSONALBYTES

_Static_assert(SECRET_KEY_LEN == crypto_kdf_KEYBYTES, "subkeys are keys");
_Static_assert(sizeof(((struct kdf_hasher *)0)->state) >= sizeof(crypto_generichash_blake2b_state),
               "the state fits");
_Static_assert(_Alignof(struct kdf_hasher) >= _Alignof(crypto_generichash_blake2b_state),
               "the state is aligned");

/* [kdf] */
void kdf_derive(uint8_t out[SECRET_KEY_LEN], const uint8_t parent[SECRET_KEY_LEN],
                enum kdf_purpose purpose)
{
    uint8_t key[SECRET_KEY_LEN]; /* out may be parent */
    if (crypto_kdf_derive_from_key(key, sizeof(key), (uint64_t)purpose, "obscura1", parent) != 0)
        abort(); /* only for a length out of range */
    memcpy(out, key, sizeof(key));
    sodium_memzero(key, sizeof(key));
}

/* [hash] */
void kdf_hash_init(struct kdf_hasher *h, const char *domain)
{
    uint8_t personal[PERSONAL_LEN] = {0};
    size_t len = strlen(domain);
    if (len == 0 || len > sizeof(personal))
        abort(); /* domains are constants of the program: two that are cut short could become one */
    memcpy(personal, domain, len);
    crypto_generichash_blake2b_init_salt_personal((crypto_generichash_blake2b_state *)h->state,
                                                  NULL, 0, KDF_HASH_LEN, NULL, personal);
}

void kdf_hash_update(struct kdf_hasher *h, const void *p, size_t len)
{
    if (len)
        crypto_generichash_blake2b_update((crypto_generichash_blake2b_state *)h->state, p, len);
}

void kdf_hash_final(struct kdf_hasher *h, uint8_t out[KDF_HASH_LEN])
{
    crypto_generichash_blake2b_final((crypto_generichash_blake2b_state *)h->state, out,
                                     KDF_HASH_LEN);
    sodium_memzero(h, sizeof(*h));
}

void kdf_hash(uint8_t out[KDF_HASH_LEN], const char *domain, const void *p, size_t len)
{
    struct kdf_hasher h;
    kdf_hash_init(&h, domain);
    kdf_hash_update(&h, p, len);
    kdf_hash_final(&h, out);
}
