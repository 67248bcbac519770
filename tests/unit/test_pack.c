/* Packs: sizes say nothing, everything in them is bound to the name and the vault, damage anywhere is refused. */
#include "check.h"
#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/object.h"
#include "sync/pack.h"

#include <stdlib.h>
#include <string.h>

static uint8_t key1[32], key2[32], vault_id[32];
static struct seal_key *seal;

static const uint8_t *epoch_key(void *ctx, uint32_t epoch)
{
    return epoch == 1 ? key1 : epoch == 2 ? key2 : NULL;
}

static int add(struct pack_builder *b, uint32_t len, uint8_t fill, uint64_t *off)
{
    struct extent e = {.len = len, .epoch = 2};
    memset(e.id, fill, sizeof(e.id));
    uint8_t *at = pack_builder_add(b, &e, off);
    if (!at)
        return ERR_NOSPACE;
    uint8_t *plain = malloc(len);
    memset(plain, fill, len);
    int err = seal_extent(seal, e.id, at, plain, len);
    free(plain);
    return err;
}

struct seen {
    size_t n, bytes;
    bool opens;
};

static int each(void *ctx, const struct extent *e, const uint8_t *sealed)
{
    struct seen *seen = ctx;
    uint8_t *plain = malloc(e->len);
    size_t blocks = (e->len + SEAL_BLOCK - 1) / SEAL_BLOCK;
    seen->opens &= e->epoch == 2 && seal_open(seal, e->id, e->len, 0, blocks, sealed, plain) == 0 &&
                   plain[0] == e->id[0] && plain[e->len - 1] == e->id[0];
    free(plain);
    seen->n++;
    seen->bytes += e->len;
    return 0;
}

static int read_all(const uint8_t *p, size_t len, const uint8_t hash[32], struct seen *seen)
{
    *seen = (struct seen){.opens = true};
    return pack_read(p, len, hash, vault_id, epoch_key, each, seen);
}

static void test_round_trip(struct pack_builder *b)
{
    const uint8_t *p;
    size_t len;
    uint8_t hash[32], other[32] = {0};
    uint64_t off;
    struct seen seen;
    char name[PACK_NAME_LEN];
    CHECK(add(b, 5, 1, &off) == 0 && off == PACK_HEAD);
    CHECK(add(b, 40000, 2, &off) == 0 && off == PACK_HEAD + 5 + 16);
    CHECK_EQ(add(b, 1, 3, &off), 0);
    CHECK_EQ(add(b, 1000, 4, &off), 0);
    pack_builder_undo(b);
    CHECK_EQ(pack_builder_count(b), 3);
    CHECK_EQ(pack_builder_finish(b, &p, &len, hash), 0);
    CHECK_EQ(len, object_padme(len, PACK_MIN));
    CHECK(read_all(p, len, hash, &seen) == 0 && seen.n == 3 && seen.bytes == 40006 && seen.opens);
    CHECK_EQ(pack_check_hash(p, len, hash), 0);
    CHECK_EQ(pack_check_hash(p, len - 1, hash), ERR_AUTH);
    CHECK_EQ(read_all(p, len, other, &seen), ERR_AUTH);
    CHECK_EQ(pack_read(p, len, hash, other, epoch_key, each, &seen), ERR_AUTH);
    memset(hash, 0xab, 32);
    pack_name(hash, name);
    CHECK(!strncmp(name, "packs/ab/abab", 13) && strlen(name) == PACK_NAME_LEN - 1);
}

/* With the hash made to fit, as one who has no key would do: head, table and trailer are still refused; extents and padding are not
 * covered by them, but extents authenticate on their own and padding means nothing. */
static void test_tamper(struct pack_builder *b)
{
    const uint8_t *p;
    size_t len, refused = 0, tried = 0;
    uint8_t hash[32];
    uint64_t off;
    struct seen seen;
    pack_builder_reset(b);
    CHECK_EQ(add(b, 100, 1, &off), 0);
    CHECK_EQ(add(b, 200, 2, &off), 0);
    CHECK_EQ(pack_builder_finish(b, &p, &len, hash), 0);
    CHECK_EQ(len, PACK_MIN);
    size_t table = PACK_HEAD + 116 + 216, table_end = table + 4 + 2 * 28 + OBJECT_OVERHEAD;
    uint8_t *copy = malloc(len);
    for (size_t at = 0; at < len; at++) {
        memcpy(copy, p, len);
        copy[at] ^= 0x10;
        CHECK_EQ(read_all(copy, len, hash, &seen), ERR_AUTH); /* the name does not fit */
        uint8_t fitting[32];
        kdf_hash(fitting, "obs-pack", copy, len);
        int err = read_all(copy, len, fitting, &seen);
        bool sealed = at < table_end || at >= len - PACK_TRAILER;
        tried += sealed;
        refused += sealed && (err || !seen.opens);
        if (!sealed)
            CHECK(err == 0 && seen.opens);
    }
    CHECK(tried > 300);
    CHECK_EQ(refused, tried);
    for (size_t cut = 0; cut < len; cut += 97) {
        uint8_t fitting[32];
        kdf_hash(fitting, "obs-pack", p, cut);
        CHECK(read_all(p, cut, fitting, &seen) != 0);
    }
    free(copy);
}

/* [pack-padding] */
static void test_sizes(struct pack_builder *b)
{
    const uint8_t *p;
    size_t len;
    uint8_t hash[32];
    uint64_t off;
    struct seen seen;
    /* Full: always the one size. */
    for (uint32_t each_len = 100000; each_len < SEAL_EXTENT_MAX; each_len += 217777) {
        pack_builder_reset(b);
        while (add(b, each_len, 7, &off) == 0)
            ;
        CHECK_EQ(pack_builder_finish(b, &p, &len, hash), 0);
        CHECK_EQ(len, PACK_SIZE);
    }
    CHECK(read_all(p, len, hash, &seen) == 0 && seen.opens && seen.n == pack_builder_count(b));
    /* Partial: the same size for contents of different sizes, files and numbers. */
    size_t sizes[3];
    static const uint32_t what[3][4] = {{900000, 100}, {450000, 450100}, {1, 900092, 3, 4}};
    for (int i = 0; i < 3; i++) {
        pack_builder_reset(b);
        for (int k = 0; k < 4; k++)
            if (what[i][k])
                CHECK_EQ(add(b, what[i][k], 9, &off), 0);
        CHECK_EQ(pack_builder_finish(b, &p, &len, hash), 0);
        CHECK_EQ(len, object_padme(len, PACK_MIN));
        sizes[i] = len;
    }
    CHECK(sizes[0] == sizes[1] && sizes[1] == sizes[2]);
}

/* Two builders of the same extents share no byte that could be compared. */
static void test_unlinkable(struct pack_builder *b)
{
    const uint8_t *p;
    size_t len, len2, same = 0;
    uint8_t hash[32], hash2[32];
    uint64_t off;
    pack_builder_reset(b);
    CHECK_EQ(add(b, 10, 1, &off), 0);
    CHECK_EQ(pack_builder_finish(b, &p, &len, hash), 0);
    uint8_t *first = malloc(len);
    memcpy(first, p, len);
    pack_builder_reset(b);
    CHECK_EQ(add(b, 10, 1, &off), 0);
    CHECK_EQ(pack_builder_finish(b, &p, &len2, hash2), 0);
    CHECK(len == len2 && memcmp(hash, hash2, 32) != 0);
    for (size_t i = PACK_HEAD + 26 + OBJECT_HEAD; i < len; i++)
        same += first[i] == p[i];
    CHECK(same < len / 64);
    free(first);
}

int main(void)
{
    if (secret_init())
        return 1;
    memset(key1, 1, 32);
    memset(key2, 2, 32);
    memset(vault_id, 3, 32);
    seal = seal_key_new(key2, 2, vault_id);
    struct pack_builder *b = pack_builder_new(key2, 2, vault_id);
    CHECK(b && !pack_builder_fits(b, 0) && !pack_builder_fits(b, SEAL_EXTENT_MAX + 1));
    test_round_trip(b);
    test_tamper(b);
    test_sizes(b);
    test_unlinkable(b);
    pack_builder_free(b);
    seal_key_free(seal);
    return check_done();
}
