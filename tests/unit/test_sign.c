/* sign: signatures hold for one message, domain and key only; boxes open for their receiver only, whole. */
#include "check.h"

#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"

#include <sodium.h>
#include <string.h>

static struct sign_keys *make(uint8_t fill)
{
    uint8_t a[32], b[32];
    memset(a, fill, 32);
    memset(b, fill + 1, 32);
    return sign_keys_new(a, b);
}

static void keys(void)
{
    struct sign_keys *a = make(1), *b = make(1), *c = make(2);
    CHECK(a && b && c);
    CHECK(memcmp(sign_keys_public(a), sign_keys_public(b), 32) == 0); /* the seeds decide */
    CHECK(memcmp(sign_keys_box_public(a), sign_keys_box_public(b), 32) == 0);
    CHECK(memcmp(sign_keys_public(a), sign_keys_public(c), 32) != 0);
    CHECK(memcmp(sign_keys_box_public(a), sign_keys_box_public(c), 32) != 0);
    sign_keys_free(a);
    sign_keys_free(b);
    sign_keys_free(c);
    sign_keys_free(NULL);
}

static void signatures(void)
{
    struct sign_keys *a = make(1), *b = make(9);
    uint8_t msg[40] = "the message", sig[SIGN_LEN], again[SIGN_LEN], pub[32];
    memcpy(pub, sign_keys_public(a), 32);
    sign_make(a, "test.one", msg, sizeof(msg), sig);
    sign_make(a, "test.one", msg, sizeof(msg), again);
    CHECK(memcmp(sig, again, SIGN_LEN) == 0); /* deterministic */
    CHECK_EQ(sign_verify(pub, "test.one", msg, sizeof(msg), sig), ERR_OK);
    CHECK_EQ(sign_verify(pub, "test.two", msg, sizeof(msg), sig), ERR_AUTH);
    CHECK_EQ(sign_verify(pub, "test.one", msg, sizeof(msg) - 1, sig), ERR_AUTH);
    CHECK_EQ(sign_verify(sign_keys_public(b), "test.one", msg, sizeof(msg), sig), ERR_AUTH);
    for (size_t bit = 0; bit < SIGN_LEN * 8; bit++) {
        sig[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(sign_verify(pub, "test.one", msg, sizeof(msg), sig), ERR_AUTH);
        sig[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < sizeof(msg) * 8; bit++) {
        msg[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(sign_verify(pub, "test.one", msg, sizeof(msg), sig), ERR_AUTH);
        msg[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < 256; bit++) {
        pub[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(sign_verify(pub, "test.one", msg, sizeof(msg), sig), ERR_AUTH);
        pub[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    /* A public key of small order, for which a signature of zeros would verify everything. */
    uint8_t small[32] = {1}, none[SIGN_LEN] = {1};
    CHECK_EQ(sign_verify(small, "test.one", msg, sizeof(msg), none), ERR_AUTH);
    sign_make(a, "test.one", NULL, 0, sig);
    CHECK_EQ(sign_verify(pub, "test.one", NULL, 0, sig), ERR_OK);
    sign_keys_free(a);
    sign_keys_free(b);
}

static void boxes(void)
{
    struct sign_keys *a = make(1), *b = make(9);
    uint8_t plain[64] = "thirty-two bytes of epoch key...", box[64 + SIGN_BOX_OVERHEAD],
            other[64 + SIGN_BOX_OVERHEAD];
    uint8_t back[64];
    CHECK_EQ(sign_box(sign_keys_box_public(a), plain, 64, box), ERR_OK);
    CHECK_EQ(sign_box(sign_keys_box_public(a), plain, 64, other), ERR_OK);
    CHECK(memcmp(box, other, sizeof(box)) != 0);
    CHECK_EQ(sign_box_open(a, box, sizeof(box), back), ERR_OK);
    CHECK(memcmp(back, plain, 64) == 0);
    CHECK_EQ(sign_box_open(b, box, sizeof(box), back), ERR_AUTH);
    CHECK(sodium_is_zero(back, 64));
    for (size_t bit = 0; bit < sizeof(box) * 8; bit++) {
        box[bit / 8] ^= (uint8_t)(1u << bit % 8);
        memset(back, 1, 64);
        CHECK_EQ(sign_box_open(a, box, sizeof(box), back), ERR_AUTH);
        CHECK(sodium_is_zero(back, 64));
        box[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < sizeof(box); len++)
        CHECK_EQ(sign_box_open(a, box, len, back), ERR_AUTH);
    uint8_t zero[32] = {0};
    CHECK_EQ(sign_box(zero, plain, 64, box), ERR_AUTH); /* everybody knows the secret of this one */
    CHECK_EQ(sign_box(sign_keys_box_public(a), NULL, 0, box), ERR_OK);
    CHECK_EQ(sign_box_open(a, box, SIGN_BOX_OVERHEAD, back), ERR_OK);
    sign_keys_free(a);
    sign_keys_free(b);
}

int main(void)
{
    CHECK_EQ(secret_init(), ERR_OK);
    keys();
    signatures();
    boxes();
    return check_done();
}
