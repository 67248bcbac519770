#include "crypto/seal.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/seal_backend.h"

#include <sodium.h>
#include <stdatomic.h>
#include <string.h>

#define BOX_MAX    (1u << 30)
#define LAST_BLOCK (UINT64_C(1) << 63)

_Static_assert(SEAL_ID_LEN == crypto_core_hchacha20_INPUTBYTES, "an id derives one subkey");

struct seal_key {
    uint8_t key[SECRET_KEY_LEN];
    uint8_t aad[SEAL_VAULT_ID + 4]; /* [extent-aad] */
    uint32_t epoch;
};

static _Atomic(const struct seal_backend *) chosen; /* NULL: not chosen yet */

static const struct seal_backend *get_backend(void)
{
    const struct seal_backend *backend = chosen;
    if (backend)
        return backend;
    backend = &seal_sodium;
#ifdef HAVE_LIBCRYPTO
    if (seal_libcrypto.available())
        backend = &seal_libcrypto;
#endif
    chosen = backend;
    return backend;
}

bool seal_use_backend(const char *name)
{
    static const struct seal_backend *const all[] = {
        &seal_sodium,
#ifdef HAVE_LIBCRYPTO
        &seal_libcrypto,
#endif
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(all[i]->name, name) == 0 && all[i]->available()) {
            chosen = all[i];
            return true;
        }
    }
    return false;
}

const char *seal_backend_name(void)
{
    return get_backend()->name;
}

struct seal_key *seal_key_new(const uint8_t epoch_key[SECRET_KEY_LEN], uint32_t epoch,
                              const uint8_t vault_id[SEAL_VAULT_ID])
{
    struct seal_key *key = secret_alloc(sizeof(*key));
    if (!key)
        return NULL;
    kdf_derive(key->key, epoch_key, KDF_EXTENT); /* [extent-key] */
    memcpy(key->aad, vault_id, SEAL_VAULT_ID);
    bytes_le32(key->aad + SEAL_VAULT_ID, epoch);
    key->epoch = epoch;
    return key;
}

void seal_key_free(struct seal_key *key)
{
    secret_free(key);
}

uint32_t seal_key_epoch(const struct seal_key *key)
{
    return key->epoch;
}

/* [xchacha] the first 16 bytes of the nonce go into the key; the back end sees the rest. */
static int start(const struct seal_backend *backend, struct seal_backend_run *run,
                 uint8_t subkey[SECRET_KEY_LEN], const uint8_t key[SECRET_KEY_LEN],
                 const uint8_t nonce16[16], bool opening)
{
    crypto_core_hchacha20(subkey, nonce16, key, NULL);
    return backend->start(run, subkey, opening);
}

/* How many blocks an extent of ${len} bytes has; how long its block ${i} is. */
static size_t block_count(size_t len)
{
    return (len + SEAL_BLOCK - 1) / SEAL_BLOCK;
}

static size_t block_len(size_t len, size_t i)
{
    size_t left = len - i * SEAL_BLOCK;
    return left < SEAL_BLOCK ? left : SEAL_BLOCK;
}

/* [extent-nonce] the second half of it, as the back end takes it */
static void block_nonce(uint8_t nonce[SEAL_BACKEND_NONCE], size_t i, size_t count)
{
    memset(nonce, 0, 4);
    bytes_le64(nonce + 4, (uint64_t)i | (i + 1 == count ? LAST_BLOCK : 0));
}

int seal_extent(const struct seal_key *key, const uint8_t id[SEAL_ID_LEN], uint8_t *out,
                const uint8_t *plain, size_t len)
{
    if (len == 0 || len > SEAL_EXTENT_MAX)
        return ERR_MISUSE;
    const struct seal_backend *backend = get_backend();
    size_t count = block_count(len);
    uint8_t subkey[SECRET_KEY_LEN], nonce[SEAL_BACKEND_NONCE];
    struct seal_backend_run run;

    int err = start(backend, &run, subkey, key->key, id, false);
    if (!err) {
        for (size_t i = 0; i < count && !err; i++) {
            size_t n = block_len(len, i);
            uint8_t *to = out + seal_block_offset(i);
            block_nonce(nonce, i, count);
            err = backend->message(&run, nonce, key->aad, sizeof(key->aad), plain + i * SEAL_BLOCK,
                                   n, to, to + n);
        }
        backend->stop(&run);
    }
    secret_wipe(subkey, sizeof(subkey));
    return err;
}

int seal_open(const struct seal_key *key, const uint8_t id[SEAL_ID_LEN], size_t extent_len,
              size_t first, size_t n, const uint8_t *sealed, uint8_t *plain)
{
    size_t count = block_count(extent_len);
    if (extent_len == 0 || extent_len > SEAL_EXTENT_MAX || n == 0 || first >= count ||
        n > count - first)
        return ERR_MISUSE;
    const struct seal_backend *backend = get_backend();
    uint8_t subkey[SECRET_KEY_LEN], nonce[SEAL_BACKEND_NONCE], tag[SEAL_TAG];
    struct seal_backend_run run;
    size_t plain_len = 0;

    int err = start(backend, &run, subkey, key->key, id, true);
    if (!err) {
        for (size_t i = first; i < first + n && !err; i++) {
            size_t len = block_len(extent_len, i);
            const uint8_t *from = sealed + seal_block_offset(i - first);
            memcpy(tag, from + len, sizeof(tag));
            block_nonce(nonce, i, count);
            err = backend->message(&run, nonce, key->aad, sizeof(key->aad), from, len,
                                   plain + (i - first) * SEAL_BLOCK, tag);
            plain_len += len;
        }
        backend->stop(&run);
    }
    /* Blocks that verified may not be used when a later one does not; those not reached hold nothing of ours, but
     * the contract says that all of it is zero. */
    if (err) {
        plain_len = (n - 1) * SEAL_BLOCK + block_len(extent_len, first + n - 1);
        secret_wipe(plain, plain_len);
    }
    secret_wipe(subkey, sizeof(subkey));
    return err;
}

int seal_open_part(const struct seal_key *key, const uint8_t id[SEAL_ID_LEN], size_t extent_len,
                   size_t i, size_t from, size_t end, const uint8_t *sealed, uint8_t *plain)
{
    size_t count = block_count(extent_len);
    if (extent_len == 0 || extent_len > SEAL_EXTENT_MAX || i >= count || from >= end ||
        from % SEAL_PART != 0 || end > block_len(extent_len, i))
        return ERR_MISUSE;
    size_t len = block_len(extent_len, i);
    uint8_t subkey[SECRET_KEY_LEN], nonce[SEAL_BACKEND_NONCE];

    crypto_core_hchacha20(subkey, id, key->key, NULL);
    block_nonce(nonce, i, count);
    int err = get_backend()->part(subkey, nonce, key->aad, sizeof(key->aad), sealed, len, from,
                                  end - from, plain, sealed + len);
    if (err)
        secret_wipe(plain, end - from);
    secret_wipe(subkey, sizeof(subkey));
    return err;
}

/* One message under a nonce of 24 bytes. */
static int box(const uint8_t key[SECRET_KEY_LEN], const uint8_t nonce[SEAL_NONCE], const void *aad,
               size_t aad_len, const uint8_t *in, size_t len, uint8_t *out, uint8_t *tag,
               bool opening)
{
    const struct seal_backend *backend = get_backend();
    uint8_t subkey[SECRET_KEY_LEN], rest[SEAL_BACKEND_NONCE] = {0};
    struct seal_backend_run run;

    memcpy(rest + 4, nonce + 16, 8);
    int err = start(backend, &run, subkey, key, nonce, opening);
    if (!err) {
        err = backend->message(&run, rest, aad, aad_len, in, len, out, tag);
        backend->stop(&run);
    }
    secret_wipe(subkey, sizeof(subkey));
    return err;
}

int seal_box(const uint8_t key[SECRET_KEY_LEN], const uint8_t nonce[SEAL_NONCE], const void *aad,
             size_t aad_len, const uint8_t *plain, size_t len, uint8_t *out)
{
    if (len > BOX_MAX || aad_len > BOX_MAX)
        return ERR_MISUSE;
    return box(key, nonce, aad, aad_len, plain, len, out, out + len, false);
}

int seal_box_open(const uint8_t key[SECRET_KEY_LEN], const uint8_t nonce[SEAL_NONCE],
                  const void *aad, size_t aad_len, const uint8_t *sealed, size_t len, uint8_t *out)
{
    if (len < SEAL_TAG)
        return ERR_AUTH;
    len -= SEAL_TAG;
    if (len > BOX_MAX || aad_len > BOX_MAX)
        return ERR_MISUSE;
    uint8_t tag[SEAL_TAG];
    memcpy(tag, sealed + len, sizeof(tag));
    int err = box(key, nonce, aad, aad_len, sealed, len, out, tag, true);
    if (err)
        secret_wipe(out, len);
    return err;
}
