/*
 * Any bytes as the inside of a pack whose seals are right: u32 table offset, u32 table length, u16 size of the pack in units of 16 bytes, then
 * the table's plaintext. What is handed out lies inside the pack. And any bytes as a pack with its right name: refused.
 */
#include "fuzz.h"

#include "crypto/err.h"
#include "crypto/kdf.h"
#include "sync/pack.h"

#include <string.h>

static const uint8_t epoch_key[32] = {5}, vault_id[32] = {6};
static const uint8_t *pack_start;
static size_t pack_len;

static const uint8_t *key_of(void *ctx, uint32_t epoch)
{
    return epoch == 1 ? epoch_key : NULL;
}

static int each(void *ctx, const struct extent *e, const uint8_t *sealed)
{
    size_t *next = ctx;
    FUZZ_CHECK(e->len >= 1 && e->len <= SEAL_EXTENT_MAX && e->pack_off == *next);
    FUZZ_CHECK(sealed == pack_start + e->pack_off);
    *next += seal_size(e->len);
    FUZZ_CHECK(*next <= pack_len - PACK_TRAILER);
    return 0;
}

static int read_named(const uint8_t *p, size_t len)
{
    uint8_t hash[32];
    size_t next = PACK_HEAD;
    pack_start = p;
    pack_len = len;
    kdf_hash(hash, "obs-pack", p, len);
    return pack_read(p, len, hash, vault_id, key_of, each, &next);
}

/* Head and trailer as pack.h says, around whatever is wanted. */
static void seal(uint8_t *p, size_t len, uint32_t off, uint32_t table_len)
{
    uint8_t key[32], plain[16] = {0}, aad[PACK_HEAD + 32];
    kdf_derive(key, epoch_key, KDF_PACK);
    memcpy(p, "OBSP\1\1\0\0", 8);
    bytes_le32(plain, 1);
    bytes_le32(plain + 4, off);
    bytes_le32(plain + 8, table_len);
    memcpy(aad, p, PACK_HEAD);
    memcpy(aad + PACK_HEAD, vault_id, 32);
    uint8_t *at = p + len - PACK_TRAILER;
    FUZZ_CHECK(seal_box(key, at, aad, sizeof(aad), plain, sizeof(plain), at + SEAL_NONCE) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready)
        FUZZ_CHECK(secret_init() == 0);
    ready = true;
    FUZZ_CHECK(read_named(data, size) != 0);
    if (size < 10)
        return 0;
    uint32_t off = bytes_from_le32(data), table_len = bytes_from_le32(data + 4);
    size_t len = PACK_MIN + 16 * (size_t)bytes_from_le16(data + 8);
    uint8_t key[32];
    struct bytes_out table;
    bytes_out_init(&table);
    kdf_derive(key, epoch_key, KDF_PACK);
    FUZZ_CHECK(object_seal(&table, OBJECT_PACK_TABLE, 1, key, vault_id, "pack", data + 10,
                           size - 10) == 0);
    if (table_len == 0)
        table_len = (uint32_t)table.len; /* the right one */
    uint8_t *p = calloc(1, len);
    FUZZ_CHECK(p);
    if (off <= len && table.len <= len - off)
        memcpy(p + off, table.p, table.len);
    seal(p, len, off, table_len);
    int err = read_named(p, len);
    FUZZ_CHECK(err == 0 || err == ERR_FORMAT || err == ERR_AUTH || err == ERR_VERSION);
    free(p);
    bytes_out_release(&table);
    return 0;
}
