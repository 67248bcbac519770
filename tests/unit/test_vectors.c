/* The frozen vectors of tests/vectors, made by another implementation: what it sealed opens here, and the same goes out. */
#include "check.h"
#include "vectors.h"

#include "crypto/bytes.h"
#include "crypto/code.h"
#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/object.h"
#include "crypto/seal.h"
#include "crypto/sign.h"
#include "crypto/slot.h"

#include <sodium.h>

static struct vectors v;

static void kdf(void)
{
    vectors_open(&v, "kdf.txt");
    while (vectors_next(&v)) {
        uint8_t in[4096], want[32], got[32];
        if (vectors_find(&v, "purpose")) {
            vectors_exact(&v, "parent", in, 32);
            vectors_exact(&v, "key", want, 32);
            kdf_derive(got, in, (enum kdf_purpose)vectors_number(&v, "purpose"));
        } else {
            char domain[32];
            vectors_text(&v, "domain", domain, sizeof(domain));
            vectors_exact(&v, "hash", want, 32);
            kdf_hash(got, domain, in, vectors_bytes(&v, "message", in, sizeof(in)));
        }
        CHECK(memcmp(want, got, 32) == 0);
    }
    CHECK_EQ(v.cases, 17 + 1);
}

static void seal_case(void)
{
    uint8_t epoch_key[32], vault_id[32], id[16], want[32], got[32];
    size_t len = vectors_number(&v, "length");
    vectors_exact(&v, "epoch_key", epoch_key, 32);
    vectors_exact(&v, "vault_id", vault_id, 32);
    vectors_exact(&v, "id", id, 16);
    vectors_exact(&v, "sealed_hash", want, 32);
    struct seal_key *key = seal_key_new(epoch_key, (uint32_t)vectors_number(&v, "epoch"), vault_id);
    uint8_t *plain = malloc(len), *sealed = malloc(seal_size(len)), *back = malloc(len);
    for (size_t i = 0; i < len; i++)
        plain[i] = (uint8_t)(131 * i + 17 * (i / 256) + 5);
    CHECK_EQ(seal_extent(key, id, sealed, plain, len), ERR_OK);
    crypto_generichash(got, 32, sealed, seal_size(len), NULL, 0);
    CHECK(memcmp(want, got, 32) == 0);
    if (vectors_find(&v, "sealed")) {
        vectors_exact(&v, "sealed", sealed, seal_size(len));
        crypto_generichash(got, 32, sealed, seal_size(len), NULL, 0);
        CHECK(memcmp(want, got, 32) == 0);
    }
    CHECK_EQ(seal_open(key, id, len, 0, (len + SEAL_BLOCK - 1) / SEAL_BLOCK, sealed, back), ERR_OK);
    CHECK(memcmp(plain, back, len) == 0);
    free(plain), free(sealed), free(back);
    seal_key_free(key);
}

static void seal(const char *backend)
{
    if (!seal_use_backend(backend))
        return;
    vectors_open(&v, "seal.txt");
    while (vectors_next(&v))
        seal_case();
    CHECK_EQ(v.cases, 15 + 1);
}

static void object(void)
{
    vectors_open(&v, "object.txt");
    while (vectors_next(&v)) {
        if (vectors_find(&v, "padded")) {
            CHECK_EQ(object_padme(vectors_number(&v, "length"), vectors_number(&v, "min")),
                     vectors_number(&v, "padded"));
            continue;
        }
        uint8_t key[32], vault_id[32], want[200], sealed[300];
        char place[100];
        struct bytes_out plain;
        uint32_t epoch;
        enum object_type type = (enum object_type)vectors_number(&v, "type");
        bytes_out_init(&plain);
        vectors_exact(&v, "key", key, 32);
        vectors_exact(&v, "vault_id", vault_id, 32);
        vectors_text(&v, "place", place, sizeof(place));
        size_t want_len = vectors_bytes(&v, "plain", want, sizeof(want));
        size_t len = vectors_bytes(&v, "sealed", sealed, sizeof(sealed));
        CHECK_EQ(object_peek(sealed, len, type, &epoch), ERR_OK);
        CHECK_EQ(epoch, vectors_number(&v, "epoch"));
        CHECK_EQ(object_open(&plain, type, key, vault_id, place, sealed, len), ERR_OK);
        CHECK(plain.len == want_len && (want_len == 0 || memcmp(plain.p, want, want_len) == 0));
        bytes_out_release(&plain);
    }
    CHECK_EQ(v.cases, 8 + 14 + 1);
}

static void sign(void)
{
    vectors_open(&v, "sign.txt");
    while (vectors_next(&v)) {
        uint8_t sign_seed[32], box_seed[32], want[64], got[64], msg[300], box[300], plain[300];
        char domain[32];
        vectors_exact(&v, "sign_seed", sign_seed, 32);
        vectors_exact(&v, "box_seed", box_seed, 32);
        struct sign_keys *keys = sign_keys_new(sign_seed, box_seed);
        vectors_exact(&v, "sign_public", want, 32);
        CHECK(memcmp(sign_keys_public(keys), want, 32) == 0);
        vectors_exact(&v, "box_public", want, 32);
        CHECK(memcmp(sign_keys_box_public(keys), want, 32) == 0);
        vectors_text(&v, "domain", domain, sizeof(domain));
        size_t len = vectors_bytes(&v, "message", msg, sizeof(msg));
        vectors_exact(&v, "signature", want, 64);
        sign_make(keys, domain, msg, len, got);
        CHECK(memcmp(want, got, 64) == 0);
        CHECK_EQ(sign_verify(sign_keys_public(keys), domain, msg, len, want), ERR_OK);
        len = vectors_bytes(&v, "box", box, sizeof(box));
        CHECK_EQ(sign_box_open(keys, box, len, plain), ERR_OK);
        CHECK_EQ(vectors_bytes(&v, "box_plain", msg, sizeof(msg)), len - SIGN_BOX_OVERHEAD);
        CHECK(memcmp(msg, plain, len - SIGN_BOX_OVERHEAD) == 0);
        sign_keys_free(keys);
    }
    CHECK_EQ(v.cases, 3 + 1);
}

static void slot(void)
{
    vectors_open(&v, "slot.txt");
    while (vectors_next(&v)) {
        uint8_t raw[SLOT_LEN], vault_id[32], want[32], got[32];
        char passphrase[100];
        vectors_exact(&v, "slot", raw, SLOT_LEN);
        vectors_exact(&v, "vault_id", vault_id, 32);
        vectors_exact(&v, "device_key", want, 32);
        vectors_text(&v, "passphrase", passphrase, sizeof(passphrase));
        CHECK_EQ(slot_open(raw, (uint16_t)vectors_number(&v, "number"), vault_id, passphrase,
                           strlen(passphrase), got),
                 ERR_OK);
        CHECK(memcmp(want, got, 32) == 0);
    }
    CHECK_EQ(v.cases, 3 + 1);
}

static void code(void)
{
    vectors_open(&v, "code.txt");
    while (vectors_next(&v)) {
        uint8_t raw[CODE_LEN], parsed[CODE_LEN], vault_id[32], want[32], got[32];
        char text[CODE_TEXT_MAX], made[CODE_TEXT_MAX];
        int group;
        vectors_exact(&v, "code", raw, CODE_LEN);
        vectors_exact(&v, "vault_id", vault_id, 32);
        vectors_exact(&v, "key", want, 32);
        vectors_text(&v, "text", text, sizeof(text));
        code_format(raw, made);
        CHECK(strcmp(text, made) == 0);
        CHECK_EQ(code_parse(text, parsed, &group), ERR_OK);
        CHECK(memcmp(raw, parsed, CODE_LEN) == 0);
        code_key(raw, vault_id, got);
        CHECK(memcmp(want, got, 32) == 0);
    }
    CHECK_EQ(v.cases, 4 + 1);
}

int main(void)
{
    CHECK_EQ(secret_init(), ERR_OK);
    kdf();
    seal("sodium");
    seal("libcrypto");
    object();
    sign();
    slot();
    code();
    return check_done();
}
