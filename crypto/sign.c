#include "crypto/sign.h"

#include "crypto/err.h"
#include "crypto/kdf.h"

#include <sodium.h>

struct sign_keys {
    uint8_t sign_secret[crypto_sign_SECRETKEYBYTES];
    uint8_t sign_public[SIGN_PUBLIC_LEN];
    uint8_t box_secret[crypto_box_SECRETKEYBYTES];
    uint8_t box_public[SIGN_PUBLIC_LEN];
};

_Static_assert(SIGN_PUBLIC_LEN == crypto_sign_PUBLICKEYBYTES, "");
_Static_assert(SIGN_PUBLIC_LEN == crypto_box_PUBLICKEYBYTES, "");
_Static_assert(SIGN_SEED_LEN == crypto_sign_SEEDBYTES && SIGN_SEED_LEN == crypto_box_SEEDBYTES, "");
_Static_assert(SIGN_LEN == crypto_sign_BYTES, "");
_Static_assert(SIGN_BOX_OVERHEAD == crypto_box_SEALBYTES, "");

struct sign_keys *sign_keys_new(const uint8_t sign_seed[SIGN_SEED_LEN],
                                const uint8_t box_seed[SIGN_SEED_LEN])
{
    struct sign_keys *keys = secret_alloc(sizeof(*keys));
    if (!keys)
        return NULL;
    crypto_sign_seed_keypair(keys->sign_public, keys->sign_secret, sign_seed);
    crypto_box_seed_keypair(keys->box_public, keys->box_secret, box_seed);
    return keys;
}

void sign_keys_free(struct sign_keys *keys)
{
    secret_free(keys);
}

const uint8_t *sign_keys_public(const struct sign_keys *keys)
{
    return keys->sign_public;
}

const uint8_t *sign_keys_box_public(const struct sign_keys *keys)
{
    return keys->box_public;
}

/* [signature] */
void sign_make(const struct sign_keys *keys, const char *domain, const void *msg, size_t len,
               uint8_t sig[SIGN_LEN])
{
    uint8_t hash[KDF_HASH_LEN];
    kdf_hash(hash, domain, msg, len);
    crypto_sign_detached(sig, NULL, hash, sizeof(hash), keys->sign_secret);
}

int sign_verify(const uint8_t public_key[SIGN_PUBLIC_LEN], const char *domain, const void *msg,
                size_t len, const uint8_t sig[SIGN_LEN])
{
    uint8_t hash[KDF_HASH_LEN];
    kdf_hash(hash, domain, msg, len);
    return crypto_sign_verify_detached(sig, hash, sizeof(hash), public_key) == 0 ? ERR_OK
                                                                                 : ERR_AUTH;
}

int sign_box(const uint8_t box_public[SIGN_PUBLIC_LEN], const void *plain, size_t len, uint8_t *out)
{
    return crypto_box_seal(out, plain, len, box_public) == 0 ? ERR_OK : ERR_AUTH;
}

int sign_box_open(const struct sign_keys *keys, const uint8_t *boxed, size_t len, uint8_t *plain)
{
    if (len < SIGN_BOX_OVERHEAD)
        return ERR_AUTH;
    if (crypto_box_seal_open(plain, boxed, len, keys->box_public, keys->box_secret) == 0)
        return ERR_OK;
    secret_wipe(plain, len - SIGN_BOX_OVERHEAD);
    return ERR_AUTH;
}
