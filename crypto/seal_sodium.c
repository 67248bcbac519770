#include "crypto/seal_backend.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "crypto/seal.h"

#include <sodium.h>

static bool available(void)
{
    return true;
}

static int start(struct seal_backend_run *run, const uint8_t key[SECRET_KEY_LEN], bool opening)
{
    run->key = key;
    run->opening = opening;
    run->state = NULL;
    return ERR_OK;
}

static int message(struct seal_backend_run *run, const uint8_t nonce[SEAL_BACKEND_NONCE],
                   const void *aad, size_t aad_len, const uint8_t *in, size_t len, uint8_t *out,
                   uint8_t *tag)
{
    if (run->opening)
        return crypto_aead_chacha20poly1305_ietf_decrypt_detached(out, NULL, in, len, tag, aad,
                                                                  aad_len, nonce, run->key) == 0
                   ? ERR_OK
                   : ERR_AUTH;
    crypto_aead_chacha20poly1305_ietf_encrypt_detached(out, tag, NULL, in, len, aad, aad_len, NULL,
                                                       nonce, run->key);
    return ERR_OK;
}

/* [xchacha] The tag and the bytes as RFC 8439, 2.8 puts them together: block 0 of the stream gives the key of the tag, the text
 * begins at block 1. */
static int part(const uint8_t key[SECRET_KEY_LEN], const uint8_t nonce[SEAL_BACKEND_NONCE],
                const void *aad, size_t aad_len, const uint8_t *in, size_t len, size_t from,
                size_t n, uint8_t *out, const uint8_t tag[16])
{
    static const uint8_t zero[16];
    uint8_t mac_key[crypto_onetimeauth_poly1305_KEYBYTES], lens[16], got[16];
    crypto_onetimeauth_poly1305_state mac;

    crypto_stream_chacha20_ietf(mac_key, sizeof(mac_key), nonce, key);
    crypto_onetimeauth_poly1305_init(&mac, mac_key);
    crypto_onetimeauth_poly1305_update(&mac, aad, aad_len);
    crypto_onetimeauth_poly1305_update(&mac, zero, (16 - aad_len % 16) % 16);
    crypto_onetimeauth_poly1305_update(&mac, in, len);
    crypto_onetimeauth_poly1305_update(&mac, zero, (16 - len % 16) % 16);
    bytes_le64(lens, aad_len);
    bytes_le64(lens + 8, len);
    crypto_onetimeauth_poly1305_update(&mac, lens, sizeof(lens));
    crypto_onetimeauth_poly1305_final(&mac, got);
    int err = sodium_memcmp(got, tag, sizeof(got)) == 0 ? ERR_OK : ERR_AUTH;
    if (!err)
        crypto_stream_chacha20_ietf_xor_ic(out, in + from, n, nonce,
                                           1 + (uint32_t)(from / SEAL_PART), key);
    secret_wipe(mac_key, sizeof(mac_key));
    secret_wipe(&mac, sizeof(mac));
    return err;
}

static void stop(struct seal_backend_run *run)
{
    run->key = NULL;
}

const struct seal_backend seal_sodium = {"sodium", available, start, message, part, stop};
