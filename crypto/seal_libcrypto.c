#include "crypto/seal_backend.h"

#include "crypto/err.h"

#include <openssl/evp.h>
#include <pthread.h>

#define TAG_LEN 16

/* Set once by setup(), read-only afterwards. */
static EVP_CIPHER *cipher;
static pthread_key_t thread_ctx; /* an EVP_CIPHER_CTX of each thread, freed when the thread ends */
static bool usable;

static void free_ctx(void *ctx)
{
    EVP_CIPHER_CTX_free(ctx);
}

/* libcrypto may lack the cipher at run time (a FIPS configuration). */
static void setup(void)
{
    cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    usable = cipher && pthread_key_create(&thread_ctx, free_ctx) == 0;
}

static bool available(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, setup);
    return usable;
}

/* The thread's context, made at its first use. */
static EVP_CIPHER_CTX *get_ctx(void)
{
    EVP_CIPHER_CTX *ctx = pthread_getspecific(thread_ctx);
    if (ctx)
        return ctx;
    ctx = EVP_CIPHER_CTX_new();
    if (ctx && (!EVP_CipherInit_ex2(ctx, cipher, NULL, NULL, 1, NULL) ||
                pthread_setspecific(thread_ctx, ctx) != 0)) {
        EVP_CIPHER_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static int start(struct seal_backend_run *run, const uint8_t key[SECRET_KEY_LEN], bool opening)
{
    EVP_CIPHER_CTX *ctx = get_ctx();
    if (!ctx || !EVP_CipherInit_ex2(ctx, NULL, key, NULL, !opening, NULL))
        return ERR_NOMEM;
    run->key = key;
    run->opening = opening;
    run->state = ctx;
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

static void stop(struct seal_backend_run *run)
{
    /* The context lives on in ordinary memory: put a key that is no secret over the one that was. */
    static const uint8_t zero[SECRET_KEY_LEN + SEAL_BACKEND_NONCE];
    EVP_CipherInit_ex2(run->state, NULL, zero, zero + SECRET_KEY_LEN, -1, NULL);
    run->key = NULL;
}

const struct seal_backend seal_libcrypto = {"libcrypto", available, start, message, stop};
