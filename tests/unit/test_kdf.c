/* kdf: subkeys and hashes are exactly the BLAKE2b that kdf.h says, differ by every input, and pieces make the whole. */
#include "check.h"

#include "crypto/err.h"
#include "crypto/kdf.h"

#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void subkeys(void)
{
    static const enum kdf_purpose all[] = {
        KDF_EXTENT,   KDF_PACK,    KDF_JOURNAL, KDF_CHECKPOINT, KDF_INDEX,     KDF_SEGMENT,
        KDF_NAMEHASH, KDF_KEYRING, KDF_CONTROL, KDF_CODE_SLOT,  KDF_SLOT_BODY, KDF_SLOT_COMMIT,
    };
    enum { N = sizeof(all) / sizeof(all[0]) };
    uint8_t parent[32], key[N][32], other[32];
    for (int i = 0; i < 32; i++)
        parent[i] = (uint8_t)i;
    for (int i = 0; i < N; i++) {
        kdf_derive(key[i], parent, all[i]);
        uint8_t salt[16] = {(uint8_t)all[i]}, personal[16] = "obscura1", want[32];
        crypto_generichash_blake2b_salt_personal(want, 32, NULL, 0, parent, 32, salt, personal);
        CHECK(memcmp(key[i], want, 32) == 0);
        for (int j = 0; j < i; j++)
            CHECK(memcmp(key[i], key[j], 32) != 0);
    }
    parent[31] ^= 1;
    kdf_derive(other, parent, KDF_EXTENT);
    CHECK(memcmp(other, key[0], 32) != 0);
    parent[31] ^= 1;
    kdf_derive(parent, parent, KDF_EXTENT); /* in place */
    CHECK(memcmp(parent, key[0], 32) == 0);
}

static void hashes(void)
{
    uint8_t msg[1000], whole[32], pieces[32], other[32];
    for (size_t i = 0; i < sizeof(msg); i++)
        msg[i] = (uint8_t)(i * 7);
    kdf_hash(whole, "test.domain", msg, sizeof(msg));
    uint8_t personal[16] = "test.domain", want[32];
    crypto_generichash_blake2b_salt_personal(want, 32, msg, sizeof(msg), NULL, 0, NULL, personal);
    CHECK(memcmp(whole, want, 32) == 0);

    for (size_t step = 1; step < 300; step += 37) {
        struct kdf_hasher h;
        kdf_hash_init(&h, "test.domain");
        for (size_t at = 0; at < sizeof(msg); at += step)
            kdf_hash_update(&h, msg + at, at + step < sizeof(msg) ? step : sizeof(msg) - at);
        kdf_hash_update(&h, NULL, 0);
        kdf_hash_final(&h, pieces);
        CHECK(memcmp(whole, pieces, 32) == 0);
    }
    kdf_hash(other, "test.domain2", msg, sizeof(msg));
    CHECK(memcmp(whole, other, 32) != 0);
    kdf_hash(other, "test.domain", msg, sizeof(msg) - 1);
    CHECK(memcmp(whole, other, 32) != 0);
    kdf_hash(other, "sixteen.letters!", NULL, 0);   /* the longest domain, the shortest message */
    kdf_hash(msg, "test.domain", msg, sizeof(msg)); /* over its own input */
    CHECK(memcmp(whole, msg, 32) == 0);
}

/* A domain that would be cut short must not pass as another. */
static void bad_domain(const char *domain)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        uint8_t out[32];
        signal(SIGABRT, SIG_DFL);
        kdf_hash(out, domain, "", 0);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    CHECK_EQ(secret_init(), ERR_OK);
    secret_harden_process(); /* no core files from the aborts */
    subkeys();
    hashes();
    bad_domain("");
    bad_domain("seventeen.letters");
    return check_done();
}
