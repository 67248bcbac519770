#include "crypto/seal_backend.h"

#include "crypto/err.h"

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

static void stop(struct seal_backend_run *run)
{
    run->key = NULL;
}

const struct seal_backend seal_sodium = {"sodium", available, start, message, stop};
