#include "crypto/seal_backend.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "crypto/seal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TAG_LEN 16

/* Set once by setup(), read-only afterwards. */
static EVP_CIPHER *cipher, *stream;
static EVP_MAC *poly1305;
static pthread_key_t thread_key; /* a struct contexts of each thread, freed when the thread ends */
static bool usable;

/* Made at the first use. They hold keys in ordinary memory, so those are overwritten after each. */
struct contexts {
    EVP_CIPHER_CTX *aead, *stream;
    EVP_MAC_CTX *mac;
};

static const uint8_t zero[64]; /* also a key that is no secret */

static void free_contexts(void *p)
{
    struct contexts *c = p;
    EVP_CIPHER_CTX_free(c->aead);
    EVP_CIPHER_CTX_free(c->stream);
    EVP_MAC_CTX_free(c->mac);
    free(c);
}

/* libcrypto may lack an algorithm at run time (a FIPS configuration). */
static void setup(void)
{
    cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    stream = EVP_CIPHER_fetch(NULL, "ChaCha20", NULL);
    poly1305 = EVP_MAC_fetch(NULL, "POLY1305", NULL);
    usable = cipher && stream && poly1305 && pthread_key_create(&thread_key, free_contexts) == 0;
}

static bool available(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, setup);
    return usable;
}

static struct contexts *get_contexts(void)
{
    struct contexts *c = pthread_getspecific(thread_key);
    if (c)
        return c;
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->aead = EVP_CIPHER_CTX_new();
    c->stream = EVP_CIPHER_CTX_new();
    c->mac = EVP_MAC_CTX_new(poly1305);
    if (!c->aead || !c->stream || !c->mac ||
        !EVP_CipherInit_ex2(c->aead, cipher, NULL, NULL, 1, NULL) ||
        !EVP_CipherInit_ex2(c->stream, stream, NULL, NULL, 1, NULL) ||
        pthread_setspecific(thread_key, c) != 0) {
        free_contexts(c);
        return NULL;
    }
    return c;
}

static int start(struct seal_backend_run *run, const uint8_t key[SECRET_KEY_LEN], bool opening)
{
    struct contexts *c = get_contexts();
    if (!c || !EVP_CipherInit_ex2(c->aead, NULL, key, NULL, !opening, NULL))
        return ERR_NOMEM;
    run->key = key;
    run->opening = opening;
    run->state = c->aead;
    return ERR_OK;
}

static int message(struct seal_backend_run *run, const uint8_t nonce[SEAL_BACKEND_NONCE],
                   const void *aad, size_t aad_len, const uint8_t *in, size_t len, uint8_t *out,
                   uint8_t *tag)
{
    EVP_CIPHER_CTX *ctx = run->state;
    int n;
    /* Key and direction stay, only the nonce is new. */
    if (!EVP_CipherInit_ex2(ctx, NULL, NULL, nonce, -1, NULL))
        return ERR_NOMEM;
    if (run->opening && !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag))
        return ERR_NOMEM;
    if (aad_len && !EVP_CipherUpdate(ctx, NULL, &n, aad, (int)aad_len))
        return ERR_NOMEM;
    if (len && !EVP_CipherUpdate(ctx, out, &n, in, (int)len))
        return ERR_NOMEM;
    uint8_t none[TAG_LEN]; /* a stream cipher: final writes nothing but checks the tag */
    if (!EVP_CipherFinal_ex(ctx, none, &n))
        return run->opening ? ERR_AUTH : ERR_NOMEM;
    if (!run->opening && !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, tag))
        return ERR_NOMEM;
    return ERR_OK;
}

/* The ${n} bytes that are ${counter} blocks into the stream. */
static bool run_stream(EVP_CIPHER_CTX *ctx, const uint8_t *key, const uint8_t nonce[12],
                       uint32_t counter, const uint8_t *in, size_t n, uint8_t *out)
{
    uint8_t iv[16];
    int got;
    bytes_le32(iv, counter);
    memcpy(iv + 4, nonce, SEAL_BACKEND_NONCE);
    return EVP_CipherInit_ex2(ctx, NULL, key, iv, 1, NULL) &&
           EVP_CipherUpdate(ctx, out, &got, in, (int)n);
}

static bool make_tag(EVP_MAC_CTX *mac, const uint8_t key[SECRET_KEY_LEN], const void *aad,
                     size_t aad_len, const uint8_t *in, size_t len, uint8_t tag[TAG_LEN])
{
    uint8_t lens[16];
    size_t n;
    bytes_le64(lens, aad_len);
    bytes_le64(lens + 8, len);
    return EVP_MAC_init(mac, key, SECRET_KEY_LEN, NULL) && EVP_MAC_update(mac, aad, aad_len) &&
           EVP_MAC_update(mac, zero, (16 - aad_len % 16) % 16) && EVP_MAC_update(mac, in, len) &&
           EVP_MAC_update(mac, zero, (16 - len % 16) % 16) &&
           EVP_MAC_update(mac, lens, sizeof(lens)) && EVP_MAC_final(mac, tag, &n, TAG_LEN);
}

/* [xchacha] The tag and the bytes as RFC 8439, 2.8 puts them together: block 0 of the stream gives the key of the tag, the text
 * begins at block 1. */
static int part(const uint8_t key[SECRET_KEY_LEN], const uint8_t nonce[SEAL_BACKEND_NONCE],
                const void *aad, size_t aad_len, const uint8_t *in, size_t len, size_t from,
                size_t n, uint8_t *out, const uint8_t tag[TAG_LEN])
{
    struct contexts *c = get_contexts();
    uint8_t block[SEAL_PART], got[TAG_LEN];
    if (!c)
        return ERR_NOMEM;
    int err = ERR_NOMEM;
    if (run_stream(c->stream, key, nonce, 0, zero, sizeof(block), block) &&
        make_tag(c->mac, block, aad, aad_len, in, len, got)) {
        if (CRYPTO_memcmp(got, tag, TAG_LEN) != 0)
            err = ERR_AUTH;
        else if (run_stream(c->stream, NULL, nonce, 1 + (uint32_t)(from / SEAL_PART), in + from, n,
                            out))
            err = ERR_OK;
    }
    secret_wipe(block, sizeof(block));
    EVP_CipherInit_ex2(c->stream, NULL, zero, zero + SECRET_KEY_LEN, -1, NULL);
    EVP_MAC_init(c->mac, zero, SECRET_KEY_LEN, NULL);
    return err;
}

static void stop(struct seal_backend_run *run)
{
    EVP_CipherInit_ex2(run->state, NULL, zero, zero + SECRET_KEY_LEN, -1, NULL);
    run->key = NULL;
}

const struct seal_backend seal_libcrypto = {"libcrypto", available, start, message, part, stop};
