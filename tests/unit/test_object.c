/*
 * object: a sealed object opens only as its own type, in its own vault and place, under its own key and unchanged; a
 * version or suite from the future is named as such; Padmé has the values of its definition.
 */
#include "check.h"

#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/object.h"

#include <stdlib.h>
#include <string.h>

static const enum object_type types[] = {OBJECT_KEYRING,    OBJECT_PACK_TABLE, OBJECT_BATCH,
                                         OBJECT_CHECKPOINT, OBJECT_KEYBOX,     OBJECT_RECOVERY,
                                         OBJECT_MOUNTED,    OBJECT_DEVICE_NAME};
enum { TYPES = sizeof(types) / sizeof(types[0]) };

static uint8_t key[32], vault[32];
static const char text[] = "a plaintext of some length";

static int open_as(struct bytes_out *plain, enum object_type type, const char *place,
                   const struct bytes_out *o)
{
    bytes_out_reset(plain);
    return object_open(plain, type, key, vault, place, o->p, o->len);
}

static void round_trips(void)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, 100000};
    struct bytes_out o, plain;
    bytes_out_init(&o);
    bytes_out_init(&plain);
    uint8_t *data = calloc(1, 100000);
    for (size_t i = 0; i < 7; i++) {
        bytes_out_reset(&o);
        bytes_put(&o, "before", 6); /* appended, not put over */
        memset(data, (int)i + 1, sizes[i]);
        CHECK_EQ(object_seal(&o, OBJECT_BATCH, 9, key, vault, "journal/1", data, sizes[i]), ERR_OK);
        CHECK_EQ(o.len, 6 + sizes[i] + OBJECT_OVERHEAD);
        uint32_t epoch = 0;
        CHECK_EQ(object_peek(o.p + 6, o.len - 6, OBJECT_BATCH, &epoch), ERR_OK);
        CHECK_EQ(epoch, 9);
        struct bytes_out first; /* one that never held anything */
        bytes_out_init(&first);
        CHECK_EQ(object_open(&first, OBJECT_BATCH, key, vault, "journal/1", o.p + 6, o.len - 6),
                 ERR_OK);
        CHECK_EQ(first.len, sizes[i]);
        bytes_out_release(&first);
        bytes_out_reset(&plain);
        bytes_put(&plain, "x", 1);
        CHECK_EQ(object_open(&plain, OBJECT_BATCH, key, vault, "journal/1", o.p + 6, o.len - 6),
                 ERR_OK);
        CHECK(plain.len == sizes[i] + 1 && memcmp(plain.p + 1, data, sizes[i]) == 0);
    }
    free(data);
    bytes_out_release(&o);
    bytes_out_release(&plain);
}

static void every_pair_of_types(void)
{
    struct bytes_out o, plain;
    bytes_out_init(&o);
    bytes_out_init(&plain);
    for (int i = 0; i < TYPES; i++) {
        for (int j = 0; j < TYPES; j++) {
            bytes_out_reset(&o);
            CHECK_EQ(object_seal(&o, types[i], 1, key, vault, "p", text, sizeof(text)), ERR_OK);
            CHECK_EQ(open_as(&plain, types[j], "p", &o), i == j ? ERR_OK : ERR_FORMAT);
            CHECK_EQ(plain.len, i == j ? sizeof(text) : 0);
            if (i == j)
                continue;
            o.p[6] = (uint8_t)types[j]; /* relabelled: the same key, but it does not verify */
            CHECK_EQ(open_as(&plain, types[j], "p", &o), ERR_AUTH);
            CHECK_EQ(plain.len, 0);
        }
    }
    bytes_out_release(&o);
    bytes_out_release(&plain);
}

static void place_vault_key(void)
{
    static const char *const places[] = {"keys/recovery", "keys/recover", "keys/recovery2", "",
                                         "Keys/recovery"};
    struct bytes_out o, plain;
    bytes_out_init(&o);
    bytes_out_init(&plain);
    for (int i = 0; i < 5; i++) {
        bytes_out_reset(&o);
        CHECK_EQ(object_seal(&o, OBJECT_RECOVERY, 0, key, vault, places[i], text, sizeof(text)),
                 ERR_OK);
        for (int j = 0; j < 5; j++)
            CHECK_EQ(open_as(&plain, OBJECT_RECOVERY, places[j], &o), i == j ? ERR_OK : ERR_AUTH);
    }
    for (int i = 0; i < 32; i++) {
        vault[i] ^= 1;
        CHECK_EQ(open_as(&plain, OBJECT_RECOVERY, places[4], &o), ERR_AUTH);
        vault[i] ^= 1;
        key[i] ^= 1;
        CHECK_EQ(open_as(&plain, OBJECT_RECOVERY, places[4], &o), ERR_AUTH);
        key[i] ^= 1;
    }
    CHECK_EQ(open_as(&plain, OBJECT_RECOVERY, places[4], &o), ERR_OK);
    bytes_out_release(&o);
    bytes_out_release(&plain);
}

static void damage(void)
{
    struct bytes_out o, plain;
    bytes_out_init(&o);
    bytes_out_init(&plain);
    CHECK_EQ(object_seal(&o, OBJECT_KEYBOX, 3, key, vault, "keys/d", text, sizeof(text)), ERR_OK);
    for (size_t bit = 0; bit < o.len * 8; bit++) {
        o.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int err = open_as(&plain, OBJECT_KEYBOX, "keys/d", &o);
        CHECK(err == ERR_AUTH || (bit < 8 * 8 && (err == ERR_FORMAT || err == ERR_VERSION)));
        CHECK_EQ(plain.len, 0);
        o.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    size_t len = o.len;
    for (o.len = 0; o.len < len; o.len++)
        CHECK_EQ(open_as(&plain, OBJECT_KEYBOX, "keys/d", &o),
                 o.len < OBJECT_OVERHEAD ? ERR_FORMAT : ERR_AUTH);
    bytes_put_u8(&o, 0);
    CHECK_EQ(open_as(&plain, OBJECT_KEYBOX, "keys/d", &o), ERR_AUTH); /* one byte more */
    bytes_out_release(&o);
    bytes_out_release(&plain);
}

static void future(void)
{
    struct bytes_out o, plain;
    bytes_out_init(&o);
    bytes_out_init(&plain);
    CHECK_EQ(object_seal(&o, OBJECT_BATCH, 3, key, vault, "p", text, sizeof(text)), ERR_OK);
    for (unsigned v = 0; v < 256; v++) {
        o.p[4] = (uint8_t)v;
        CHECK_EQ(open_as(&plain, OBJECT_BATCH, "p", &o), v == 0   ? ERR_FORMAT
                                                         : v == 1 ? ERR_OK
                                                                  : ERR_VERSION);
        o.p[4] = 1;
        o.p[5] = (uint8_t)v;
        CHECK_EQ(open_as(&plain, OBJECT_BATCH, "p", &o), v == 0   ? ERR_FORMAT
                                                         : v == 1 ? ERR_OK
                                                                  : ERR_VERSION);
        o.p[5] = 1;
    }
    bytes_out_release(&o);
    bytes_out_release(&plain);
}

static void fresh_nonce(void)
{
    struct bytes_out a, b;
    bytes_out_init(&a);
    bytes_out_init(&b);
    object_seal(&a, OBJECT_BATCH, 3, key, vault, "p", text, sizeof(text));
    object_seal(&b, OBJECT_BATCH, 3, key, vault, "p", text, sizeof(text));
    CHECK(a.len == b.len && memcmp(a.p + 12, b.p + 12, 24) != 0);
    CHECK(memcmp(a.p + 36, b.p + 36, sizeof(text)) != 0);
    bytes_out_release(&a);
    bytes_out_release(&b);
}

/* [padme] straight from its definition, in decimal arithmetic. */
static size_t slow_padme(size_t len)
{
    size_t e = 0, s = 0;
    if (len < 2)
        return len;
    while (len >> (e + 1))
        e++;
    while (e >> (s + 1))
        s++;
    s++;
    size_t unit = 1;
    for (size_t i = s; i < e; i++)
        unit *= 2;
    return (len + unit - 1) / unit * unit;
}

static void padme(void)
{
    static const struct {
        size_t len, padded;
    } known[] = {{0, 0},       {1, 1},       {7, 7},       {8, 8},
                 {9, 10},      {10, 10},     {11, 12},     {100, 104},
                 {1000, 1024}, {1025, 1088}, {4097, 4352}, {16777217, 17301504}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        CHECK_EQ(object_padme(known[i].len, 0), known[i].padded);
    size_t before = 0;
    unsigned distinct = 0;
    bool good = true;
    for (size_t len = 0; len < 300000; len++) {
        size_t p = object_padme(len, 0);
        good = good && p == slow_padme(len) && p >= len && p >= before && object_padme(p, 0) == p;
        good = good && (p - len) * 100 <= len * 12;
        distinct += len && p != before;
        before = p;
    }
    CHECK(good);
    CHECK(distinct < 250); /* few sizes: that is the point */
    CHECK_EQ(object_padme(0, 4096), 4096);
    CHECK_EQ(object_padme(4095, 4096), 4096);
    CHECK_EQ(object_padme(5000, 4096), 5120);
    CHECK_EQ(object_padme(10, 4097), 4352); /* the minimum is rounded too */
    CHECK(object_padme(SIZE_MAX, 0) == SIZE_MAX);
}

int main(void)
{
    CHECK_EQ(secret_init(), ERR_OK);
    secret_random(key, sizeof(key));
    secret_random(vault, sizeof(vault));
    round_trips();
    every_pair_of_types();
    place_vault_key();
    damage();
    future();
    fresh_nonce();
    padme();
    return check_done();
}
