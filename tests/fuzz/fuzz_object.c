/*
 * Any bytes as a sealed object: what opens is exactly what sealing gives for its head and plaintext. And any bytes as a
 * plaintext: sealed, they open again, and with one byte changed they do not.
 */
#include "fuzz.h"

#include "crypto/err.h"
#include "crypto/object.h"

#include <string.h>

static uint8_t key[32], vault_id[32];

static void as_sealed(const uint8_t *data, size_t size, enum object_type type)
{
    struct bytes_out plain, aad;
    uint32_t epoch;
    bytes_out_init(&plain);
    bytes_out_init(&aad);
    int peeked = object_peek(data, size, type, &epoch);
    int err = object_open(&plain, type, key, vault_id, "place", data, size);
    if (peeked)
        FUZZ_CHECK(err == peeked && plain.len == 0);
    else if (err)
        FUZZ_CHECK(err == ERR_AUTH && plain.len == 0);
    if (!err) {
        uint8_t *again = malloc(plain.len + SEAL_TAG);
        FUZZ_CHECK(again && size == plain.len + OBJECT_OVERHEAD);
        bytes_put(&aad, data, OBJECT_HEAD);
        bytes_put(&aad, vault_id, sizeof(vault_id));
        bytes_put(&aad, "place", 5);
        FUZZ_CHECK(seal_box(key, data + 12, aad.p, aad.len, plain.p, plain.len, again) == ERR_OK);
        FUZZ_CHECK(memcmp(again, data + OBJECT_HEAD, plain.len + SEAL_TAG) == 0);
        free(again);
    }
    bytes_out_release(&plain);
    bytes_out_release(&aad);
}

static void as_plain(const uint8_t *data, size_t size)
{
    struct bytes_out sealed, plain;
    bytes_out_init(&sealed);
    bytes_out_init(&plain);
    FUZZ_CHECK(object_seal(&sealed, OBJECT_BATCH, 3, key, vault_id, "place", data, size) == ERR_OK);
    FUZZ_CHECK(object_open(&plain, OBJECT_BATCH, key, vault_id, "place", sealed.p, sealed.len) ==
               ERR_OK);
    FUZZ_CHECK(plain.len == size && (size == 0 || memcmp(plain.p, data, size) == 0));
    size_t at = size ? (data[0] * 257u + data[size - 1] * 31u) % sealed.len : 0;
    sealed.p[at] = (uint8_t)(sealed.p[at] + 1 + (size ? data[size / 2] % 255 : 0));
    bytes_out_reset(&plain);
    FUZZ_CHECK(object_open(&plain, OBJECT_BATCH, key, vault_id, "place", sealed.p, sealed.len) !=
               ERR_OK);
    bytes_out_release(&sealed);
    bytes_out_release(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready) {
        FUZZ_CHECK(secret_init() == ERR_OK);
        memset(key, 0x42, sizeof(key));
        memset(vault_id, 0x31, sizeof(vault_id));
        ready = true;
    }
    for (int type = 0; type <= OBJECT_DEVICE_NAME; type++)
        as_sealed(data, size, (enum object_type)type);
    as_plain(data, size);
    return 0;
}
