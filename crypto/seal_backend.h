/*
 * seal_backend.h - what crypto/seal.c asks of a back end: ChaCha20-Poly1305 of RFC 8439. Internal to it.
 *
 * A run is a number of messages under one key, so that the key is set once: start, message..., stop. The state is
 * the thread's own: one run at a time in a thread, started and stopped there.
 */
#ifndef CRYPTO_SEAL_BACKEND_H
#define CRYPTO_SEAL_BACKEND_H

#include "crypto/secret.h"

#define SEAL_BACKEND_NONCE 12u

struct seal_backend_run {
    const uint8_t *key; /* borrowed until stop */
    bool opening;
    void *state; /* the back end's */
};

struct seal_backend {
    const char *name;
    bool (*available)(void);
    /* Key and direction. ERR_NOMEM. */
    int (*start)(struct seal_backend_run *run, const uint8_t key[SECRET_KEY_LEN], bool opening);
    /*
     * One message: ${len} bytes (0 allowed, at most 1 GiB) from ${in} to ${out}, in place allowed; ${tag} is written
     * when sealing and checked when opening. ERR_AUTH: ${out} may hold anything, the caller wipes it. ERR_NOMEM.
     */
    int (*message)(struct seal_backend_run *run, const uint8_t nonce[SEAL_BACKEND_NONCE],
                   const void *aad, size_t aad_len, const uint8_t *in, size_t len, uint8_t *out,
                   uint8_t *tag);
    /*
     * Outside of a run: checks a whole message as opening does, and writes only its plaintext bytes [from, from+n) to ${out},
     * apart from ${in}; ${from} is a multiple of SEAL_PART. ERR_AUTH (nothing is written), ERR_NOMEM.
     */
    int (*part)(const uint8_t key[SECRET_KEY_LEN], const uint8_t nonce[SEAL_BACKEND_NONCE],
                const void *aad, size_t aad_len, const uint8_t *in, size_t len, size_t from,
                size_t n, uint8_t *out, const uint8_t tag[16]);
    /* Forgets the key. */
    void (*stop)(struct seal_backend_run *run);
};

extern const struct seal_backend seal_sodium;
#ifdef HAVE_LIBCRYPTO
extern const struct seal_backend seal_libcrypto;
#endif

#endif
