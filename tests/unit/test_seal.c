/*
 * seal: both back ends make the bits of plain XChaCha20-Poly1305; an extent opens whole and block by block, and nothing
 * that was reordered, doubled, dropped, cut, extended, swapped or flipped opens.
 */
#include "check.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/seal.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static uint8_t epoch_key[32], vault_id[32], id_a[16], id_b[16];
static struct seal_key *key;

static uint8_t *pattern(size_t len)
{
    uint8_t *p = malloc(len ? len : 1);
    if (!p)
        abort();
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(i * 131 + (i >> 8) * 17 + 5);
    return p;
}

static bool is_zero(const uint8_t *p, size_t len)
{
    return sodium_is_zero(p, len) == 1;
}

/* [extent-key] [extent-nonce] [extent-aad], written once more and straight from the format. */
static void reference(uint8_t *out, const uint8_t *plain, size_t len, const uint8_t id[16],
                      uint32_t epoch)
{
    uint8_t k[32], aad[36], nonce[24];
    kdf_derive(k, epoch_key, KDF_EXTENT);
    memcpy(aad, vault_id, 32);
    bytes_le32(aad + 32, epoch);
    memcpy(nonce, id, 16);
    for (uint64_t i = 0; i * 16384 < len; i++) {
        size_t n = len - i * 16384 < 16384 ? len - i * 16384 : 16384;
        bytes_le64(nonce + 16, i | ((i + 1) * 16384 >= len ? 1ull << 63 : 0));
        crypto_aead_xchacha20poly1305_ietf_encrypt(out + i * 16400, NULL, plain + i * 16384, n, aad,
                                                   36, NULL, nonce, k);
    }
}

static void extents_of_all_sizes(void)
{
    static const size_t sizes[] = {1,     2,     15,     16,     17,     63,      64,     65,
                                   4096,  16383, 16384,  16385,  32767,  32768,   32769,  65536,
                                   70000, 99999, 131072, 262143, 524289, 1048575, 1048576};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        size_t len = sizes[s], count = (len + SEAL_BLOCK - 1) / SEAL_BLOCK;
        uint8_t *plain = pattern(len), *want = malloc(seal_size(len)),
                *got = malloc(seal_size(len));
        uint8_t *back = malloc(len);
        CHECK_EQ(seal_size(len), len + 16 * count);
        reference(want, plain, len, id_a, 7);
        memset(got, 0, seal_size(len));
        CHECK_EQ(seal_extent(key, id_a, got, plain, len), ERR_OK);
        CHECK(memcmp(got, want, seal_size(len)) == 0);
        memset(back, 0, len);
        CHECK_EQ(seal_open(key, id_a, len, 0, count, got, back), ERR_OK);
        CHECK(memcmp(back, plain, len) == 0);
        /* each block alone, and from each on to the end */
        for (size_t i = 0; i<count; i += count> 8 ? 7 : 1) {
            size_t n = i + 1 == count ? len - i * SEAL_BLOCK : SEAL_BLOCK;
            memset(back, 0, len);
            CHECK_EQ(seal_open(key, id_a, len, i, 1, got + seal_block_offset(i), back), ERR_OK);
            CHECK(memcmp(back, plain + i * SEAL_BLOCK, n) == 0);
            CHECK_EQ(seal_open(key, id_a, len, i, count - i, got + seal_block_offset(i), back),
                     ERR_OK);
            CHECK(memcmp(back, plain + i * SEAL_BLOCK, len - i * SEAL_BLOCK) == 0);
        }
        free(plain), free(want), free(got), free(back);
    }
}

static void misuse(void)
{
    uint8_t b[64] = {0};
    CHECK_EQ(seal_extent(key, id_a, b, b, 0), ERR_MISUSE);
    CHECK_EQ(seal_extent(key, id_a, b, b, SEAL_EXTENT_MAX + 1), ERR_MISUSE);
    CHECK_EQ(seal_open(key, id_a, 0, 0, 1, b, b), ERR_MISUSE);
    CHECK_EQ(seal_open(key, id_a, 16, 0, 0, b, b), ERR_MISUSE);
    CHECK_EQ(seal_open(key, id_a, 16, 1, 1, b, b), ERR_MISUSE);
    CHECK_EQ(seal_open(key, id_a, 16, 0, 2, b, b), ERR_MISUSE);
    CHECK_EQ(seal_open(key, id_a, 40000, 2, SIZE_MAX, b, b), ERR_MISUSE);
    CHECK_EQ(seal_open(key, id_a, SEAL_EXTENT_MAX + 1, 0, 1, b, b), ERR_MISUSE);
    CHECK_EQ(seal_key_epoch(key), 7);
}

/* ${sealed} must not open as an extent of ${len} bytes; nothing of it may be left behind. */
static void refused(const uint8_t *sealed, size_t len, const uint8_t id[16],
                    const struct seal_key *k)
{
    size_t count = (len + SEAL_BLOCK - 1) / SEAL_BLOCK;
    uint8_t *back = malloc(len);
    memset(back, 0xee, len);
    CHECK_EQ(seal_open(k, id, len, 0, count, sealed, back), ERR_AUTH);
    CHECK(is_zero(back, len));
    free(back);
}

static void rearranged(void)
{
    enum { LEN = 4 * SEAL_BLOCK, STEP = SEAL_BLOCK + SEAL_TAG };
    uint8_t *plain = pattern(LEN + SEAL_BLOCK), *a = malloc(5 * STEP), *b = malloc(5 * STEP);
    uint8_t *x = malloc(5 * STEP);
    CHECK_EQ(seal_extent(key, id_a, a, plain, LEN), ERR_OK);
    CHECK_EQ(seal_extent(key, id_b, b, plain, LEN), ERR_OK);
    CHECK(memcmp(a, b, 4 * STEP) != 0);

    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            if (i == j)
                continue;
            memcpy(x, a, 4 * STEP); /* block j in place of block i as well: doubled */
            memcpy(x + i * STEP, a + j * STEP, STEP);
            refused(x, LEN, id_a, key);
            memcpy(x + j * STEP, a + i * STEP, STEP); /* the two exchanged: reordered */
            refused(x, LEN, id_a, key);
        }
        memcpy(x, a, 4 * STEP); /* the same block of another extent: swapped */
        memcpy(x + i * STEP, b + i * STEP, STEP);
        refused(x, LEN, id_a, key);
        memcpy(x, a, (size_t)i * STEP); /* dropped; the extent is said to be one block shorter */
        memcpy(x + i * STEP, a + (i + 1) * STEP, (size_t)(3 - i) * STEP);
        refused(x, LEN - SEAL_BLOCK, id_a, key);
    }
    memcpy(x, a, 4 * STEP); /* extended by a block of its own, or by one of a longer extent */
    memcpy(x + 4 * STEP, a + 3 * STEP, STEP);
    refused(x, LEN + SEAL_BLOCK, id_a, key);
    CHECK_EQ(seal_extent(key, id_a, b, plain, LEN + SEAL_BLOCK), ERR_OK);
    memcpy(x + 4 * STEP, b + 4 * STEP, STEP);
    refused(x, LEN + SEAL_BLOCK, id_a, key);
    refused(b, LEN, id_a, key); /* the longer one, truncated */
    for (size_t len = LEN - SEAL_BLOCK + 1; len < LEN; len += 4001)
        refused(a, len, id_a, key); /* cut inside the last block */
    refused(a, LEN, id_b, key);
    free(plain), free(a), free(b), free(x);
}

static void wrong_key(void)
{
    uint8_t plain[100] = {1}, sealed[116], other[32];
    CHECK_EQ(seal_extent(key, id_a, sealed, plain, 100), ERR_OK);
    struct seal_key *k =
        seal_key_new(epoch_key, 8, vault_id); /* the same key under another epoch */
    refused(sealed, 100, id_a, k);
    seal_key_free(k);
    memcpy(other, vault_id, 32);
    other[31] ^= 0x80;
    k = seal_key_new(epoch_key, 7, other);
    refused(sealed, 100, id_a, k);
    seal_key_free(k);
    memcpy(other, epoch_key, 32);
    other[0] ^= 1;
    k = seal_key_new(other, 7, vault_id);
    refused(sealed, 100, id_a, k);
    seal_key_free(k);
}

static void flipped_bits(void)
{
    enum { LEN = 200 };
    uint8_t *plain = pattern(LEN), sealed[LEN + SEAL_TAG], id[16];
    CHECK_EQ(seal_extent(key, id_a, sealed, plain, LEN), ERR_OK);
    for (size_t bit = 0; bit < sizeof(sealed) * 8; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refused(sealed, LEN, id_a, key);
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < 128; bit++) {
        memcpy(id, id_a, 16);
        id[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refused(sealed, LEN, id, key);
    }
    free(plain);
}

/* Damage in a later block takes the earlier ones with it: never half a result. */
static void all_or_nothing(void)
{
    size_t len = 3 * SEAL_BLOCK + 5;
    uint8_t *plain = pattern(len), *sealed = malloc(seal_size(len));
    CHECK_EQ(seal_extent(key, id_a, sealed, plain, len), ERR_OK);
    for (size_t i = 0; i < 4; i++) {
        sealed[seal_block_offset(i)] ^= 4;
        refused(sealed, len, id_a, key);
        sealed[seal_block_offset(i)] ^= 4;
    }
    free(plain), free(sealed);
}

static void boxes(void)
{
    static const size_t sizes[] = {0, 1, 16, 33, 4056, 16384, 100000};
    uint8_t nonce[24], aad[50];
    secret_random(nonce, sizeof(nonce));
    secret_random(aad, sizeof(aad));
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        size_t len = sizes[s], aad_len = s * 8;
        uint8_t *plain = pattern(len), *want = malloc(len + 16), *got = malloc(len + 16);
        crypto_aead_xchacha20poly1305_ietf_encrypt(want, NULL, plain, len, aad, aad_len, NULL,
                                                   nonce, epoch_key);
        CHECK_EQ(seal_box(epoch_key, nonce, aad, aad_len, plain, len, got), ERR_OK);
        CHECK(memcmp(want, got, len + 16) == 0);
        memset(got, 0, len + 16);
        memcpy(got, plain, len);
        CHECK_EQ(seal_box(epoch_key, nonce, aad, aad_len, got, len, got), ERR_OK); /* in place */
        CHECK(memcmp(want, got, len + 16) == 0);
        CHECK_EQ(seal_box_open(epoch_key, nonce, aad, aad_len, got, len + 16, got), ERR_OK);
        CHECK(memcmp(plain, got, len) == 0);
        want[len / 2] ^= 1;
        CHECK_EQ(seal_box_open(epoch_key, nonce, aad, aad_len, want, len + 16, got), ERR_AUTH);
        CHECK(is_zero(got, len));
        want[len / 2] ^= 1;
        nonce[23] ^= 1;
        CHECK_EQ(seal_box_open(epoch_key, nonce, aad, aad_len, want, len + 16, got), ERR_AUTH);
        nonce[23] ^= 1;
        aad[0] ^= 1;
        CHECK_EQ(seal_box_open(epoch_key, nonce, aad, aad_len, want, len + 16, got),
                 aad_len ? ERR_AUTH : ERR_OK);
        aad[0] ^= 1;
        free(plain), free(want), free(got);
    }
    uint8_t small[16] = {0};
    for (size_t len = 0; len < 16; len++)
        CHECK_EQ(seal_box_open(epoch_key, nonce, aad, 0, small, len, small), ERR_AUTH);
}

/* The example of draft-irtf-cfrg-xchacha, appendix A.3.1. */
static void published(void)
{
    static const char plain[] =
        "Ladies and Gentlemen of the class of '99: If I could offer you only one "
        "tip for the future, sunscreen would be it.";
    static const char want_hex[] =
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
        "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
        "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49";
    uint8_t k[32], nonce[24], want[sizeof(plain) + 15], got[sizeof(plain) + 15];
    uint8_t aad[12] = {0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7};
    for (int i = 0; i < 32; i++)
        k[i] = (uint8_t)(0x80 + i);
    for (int i = 0; i < 24; i++)
        nonce[i] = (uint8_t)(0x40 + i);
    size_t n = 0;
    sodium_hex2bin(want, sizeof(want), want_hex, strlen(want_hex), NULL, &n, NULL);
    CHECK_EQ(n, sizeof(want));
    CHECK_EQ(seal_box(k, nonce, aad, 12, (const uint8_t *)plain, sizeof(plain) - 1, got), ERR_OK);
    CHECK(memcmp(got, want, sizeof(want)) == 0);
}

/* Threads share a key but no state. */
/* A part of a block is what opening the block gives, and damage anywhere in the block, also outside of the part, refuses it. */
static void parts(void)
{
    static const size_t sizes[] = {1, 63, 64, 65, 4096, 16383, 16384, 16385, 40000, 3 * SEAL_BLOCK};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        size_t len = sizes[s], count = (len + SEAL_BLOCK - 1) / SEAL_BLOCK;
        uint8_t *plain = pattern(len), *sealed = malloc(seal_size(len)), back[SEAL_BLOCK];
        CHECK_EQ(seal_extent(key, id_a, sealed, plain, len), ERR_OK);
        for (size_t i = 0; i < count; i++) {
            size_t n = i + 1 == count ? len - i * SEAL_BLOCK : SEAL_BLOCK;
            uint8_t *block = sealed + seal_block_offset(i);
            for (size_t from = 0; from < n; from += from < 256 ? 64 : 1984)
                for (size_t end = from + 1; end <= n;
                     end = end == n || end + 777 < n ? end + 777 : n) {
                    memset(back, 0xee, sizeof(back));
                    CHECK_EQ(seal_open_part(key, id_a, len, i, from, end, block, back), ERR_OK);
                    CHECK(memcmp(back, plain + i * SEAL_BLOCK + from, end - from) == 0);
                    CHECK(end - from == sizeof(back) || back[end - from] == 0xee);
                }
            size_t last = (n - 1) / 64 * 64;
            for (size_t at = 0; at < n + SEAL_TAG; at += at < 20 || at + 20 > n ? 1 : 997) {
                block[at] ^= 0x10;
                memset(back, 0xee, sizeof(back));
                CHECK_EQ(seal_open_part(key, id_a, len, i, last, n, block, back), ERR_AUTH);
                CHECK(is_zero(back, n - last));
                block[at] ^= 0x10;
            }
            CHECK_EQ(seal_open_part(key, id_b, len, i, 0, 1, block, back), ERR_AUTH);
            if (count > 1 &&
                n == SEAL_BLOCK) /* all the bytes that another block has must be there */
                CHECK_EQ(seal_open_part(key, id_a, len, (i + 1) % count, 0, 1, block, back),
                         ERR_AUTH);
            CHECK_EQ(seal_open_part(key, id_a, len, i, 0, n + 1, block, back), ERR_MISUSE);
            CHECK_EQ(seal_open_part(key, id_a, len, i, 0, 0, block, back), ERR_MISUSE);
            CHECK_EQ(seal_open_part(key, id_a, len, i, 1, n, block, back), ERR_MISUSE);
        }
        CHECK_EQ(seal_open_part(key, id_a, len, count, 0, 1, sealed, back), ERR_MISUSE);
        free(plain), free(sealed);
    }
}

static void *worker(void *arg)
{
    size_t len = 40000 + 7777 * *(size_t *)arg;
    uint8_t id[16] = {(uint8_t)len}, *plain = pattern(len), *want = malloc(seal_size(len));
    uint8_t *got = malloc(seal_size(len)), *back = malloc(len);
    bool good = true;
    reference(want, plain, len, id, 7);
    for (int i = 0; i < 300; i++)
        good =
            good && seal_extent(key, id, got, plain, len) == ERR_OK &&
            memcmp(got, want, seal_size(len)) == 0 &&
            seal_open(key, id, len, 0, (len + SEAL_BLOCK - 1) / SEAL_BLOCK, got, back) == ERR_OK &&
            memcmp(back, plain, len) == 0 &&
            seal_open_part(key, id, len, 1, 4096, 8192, got + seal_block_offset(1), back) ==
                ERR_OK &&
            memcmp(back, plain + SEAL_BLOCK + 4096, 4096) == 0;
    free(plain), free(want), free(got), free(back);
    return good ? arg : NULL;
}

static void threads(void)
{
    pthread_t t[4];
    size_t n[4] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, worker, &n[i]);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(t[i], &result);
        CHECK(result == &n[i]);
    }
}

int main(void)
{
    CHECK_EQ(secret_init(), ERR_OK);
    for (int i = 0; i < 32; i++) {
        epoch_key[i] = (uint8_t)(i * 3 + 1);
        vault_id[i] = (uint8_t)(255 - i);
    }
    for (int i = 0; i < 16; i++) {
        id_a[i] = (uint8_t)(i + 1);
        id_b[i] = (uint8_t)(i + 1);
    }
    id_b[15] ^= 1;
    key = seal_key_new(epoch_key, 7, vault_id);
    CHECK(key);
    printf("default back end: %s\n", seal_backend_name());
    CHECK(!seal_use_backend("none"));
    static const char *const backends[] = {"sodium", "libcrypto"};
    for (int i = 0; i < 2; i++) {
        if (!seal_use_backend(backends[i])) {
            printf("this build has no back end %s\n", backends[i]);
            CHECK(i > 0);
            continue;
        }
        CHECK(strcmp(seal_backend_name(), backends[i]) == 0);
        published();
        extents_of_all_sizes();
        misuse();
        rearranged();
        wrong_key();
        flipped_bits();
        all_or_nothing();
        parts();
        boxes();
        threads();
    }
    seal_key_free(key);
    return check_done();
}
