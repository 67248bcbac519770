#include "sync/pack.h"

#include "crypto/err.h"
#include "crypto/kdf.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define PACK_MAGIC    "OBSP"
#define PACK_VERSION  1u
#define PACK_SUITE    1u
#define PACK_DOMAIN   "obs-pack"
#define PACK_PLACE    "pack"
#define SALT_AT       8u
#define SALT_LEN      32u
#define TABLE_ROW     28u
#define TABLE_HEAD    4u
#define TRAILER_PLAIN 16u
#define AAD_LEN       (PACK_HEAD + SEAL_VAULT_ID)

/* PACK_SIZE is a Padmé size itself, so no pack comes out larger. */
_Static_assert((PACK_SIZE & (PACK_SIZE - 1)) == 0, "PACK_SIZE is a power of two");
_Static_assert(PACK_TRAILER == SEAL_NONCE + TRAILER_PLAIN + SEAL_TAG, "the trailer's parts");

struct row {
    uint8_t id[16];
    uint32_t len, epoch, off;
};

struct pack_builder {
    uint8_t *key; /* KDF_PACK subkey; secret_alloc */
    uint32_t epoch;
    uint8_t vault_id[SEAL_VAULT_ID];
    uint8_t *bytes; /* PACK_SIZE */
    size_t used;
    struct row *rows;
    size_t count, cap;
    bool full; /* an extent did not fit: the pack gets its full size */
};

void pack_name(const uint8_t hash[32], char name[PACK_NAME_LEN])
{
    char hex[65];
    sodium_bin2hex(hex, sizeof(hex), hash, 32);
    memcpy(name, "packs/", 6);
    memcpy(name + 6, hex, 2);
    name[8] = '/';
    memcpy(name + 9, hex, sizeof(hex));
}

/* [pack-head] */
static void put_head(struct pack_builder *b)
{
    memset(b->bytes, 0, PACK_HEAD);
    memcpy(b->bytes, PACK_MAGIC, 4);
    b->bytes[4] = PACK_VERSION;
    b->bytes[5] = PACK_SUITE;
    secret_random(b->bytes + SALT_AT, SALT_LEN);
    b->used = PACK_HEAD;
}

struct pack_builder *pack_builder_new(const uint8_t epoch_key[SECRET_KEY_LEN], uint32_t epoch,
                                      const uint8_t vault_id[32])
{
    struct pack_builder *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->key = secret_alloc(SECRET_KEY_LEN);
    b->bytes = malloc(PACK_SIZE);
    if (!b->key || !b->bytes) {
        pack_builder_free(b);
        return NULL;
    }
    kdf_derive(b->key, epoch_key, KDF_PACK);
    b->epoch = epoch;
    memcpy(b->vault_id, vault_id, sizeof(b->vault_id));
    put_head(b);
    return b;
}

void pack_builder_free(struct pack_builder *b)
{
    if (!b)
        return;
    secret_free(b->key);
    free(b->bytes);
    free(b->rows);
    free(b);
}

void pack_builder_reset(struct pack_builder *b)
{
    put_head(b);
    b->count = 0;
    b->full = false;
}

static size_t table_size(size_t rows)
{
    return TABLE_HEAD + rows * TABLE_ROW + OBJECT_OVERHEAD;
}

bool pack_builder_fits(const struct pack_builder *b, uint32_t len)
{
    if (len < 1 || len > SEAL_EXTENT_MAX || b->count >= PACK_EXTENTS_MAX)
        return false;
    return b->used + seal_size(len) + table_size(b->count + 1) + PACK_TRAILER <= PACK_SIZE;
}

uint8_t *pack_builder_add(struct pack_builder *b, const struct extent *e, uint64_t *off)
{
    if (!pack_builder_fits(b, e->len)) {
        b->full = true;
        return NULL;
    }
    if (b->count == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 64;
        struct row *rows = realloc(b->rows, cap * sizeof(*rows));
        if (!rows)
            return NULL;
        b->rows = rows;
        b->cap = cap;
    }
    struct row *row = &b->rows[b->count++];
    memcpy(row->id, e->id, sizeof(row->id));
    row->len = e->len;
    row->epoch = e->epoch;
    row->off = (uint32_t)b->used;
    *off = b->used;
    uint8_t *at = b->bytes + b->used;
    b->used += seal_size(e->len);
    return at;
}

void pack_builder_undo(struct pack_builder *b)
{
    if (b->count)
        b->used = b->rows[--b->count].off;
}

size_t pack_builder_count(const struct pack_builder *b)
{
    return b->count;
}

/* [pack-table] */
static int seal_table(struct pack_builder *b, struct bytes_out *sealed)
{
    struct bytes_out table;
    bytes_out_init(&table);
    bytes_put_u32(&table, (uint32_t)b->count);
    for (size_t i = 0; i < b->count; i++) {
        bytes_put(&table, b->rows[i].id, sizeof(b->rows[i].id));
        bytes_put_u32(&table, b->rows[i].len);
        bytes_put_u32(&table, b->rows[i].epoch);
        bytes_put_u32(&table, b->rows[i].off);
    }
    int err = table.bad ? ERR_NOMEM
                        : object_seal(sealed, OBJECT_PACK_TABLE, b->epoch, b->key, b->vault_id,
                                      PACK_PLACE, table.p, table.len);
    bytes_out_release(&table);
    return err;
}

static void make_aad(uint8_t aad[AAD_LEN], const uint8_t *head, const uint8_t *vault_id)
{
    memcpy(aad, head, PACK_HEAD);
    memcpy(aad + PACK_HEAD, vault_id, SEAL_VAULT_ID);
}

/* [pack-trailer] */
static int put_trailer(struct pack_builder *b, size_t size, size_t table_len)
{
    uint8_t plain[TRAILER_PLAIN] = {0}, aad[AAD_LEN], *at = b->bytes + size - PACK_TRAILER;
    bytes_le32(plain, b->epoch);
    bytes_le32(plain + 4, (uint32_t)b->used);
    bytes_le32(plain + 8, (uint32_t)table_len);
    make_aad(aad, b->bytes, b->vault_id);
    secret_random(at, SEAL_NONCE);
    return seal_box(b->key, at, aad, sizeof(aad), plain, sizeof(plain), at + SEAL_NONCE);
}

int pack_builder_finish(struct pack_builder *b, const uint8_t **bytes, size_t *len,
                        uint8_t hash[32])
{
    struct bytes_out table;
    bytes_out_init(&table);
    int err = seal_table(b, &table);
    size_t least = b->used + table.len + PACK_TRAILER;
    size_t size = b->full ? PACK_SIZE : object_padme(least, PACK_MIN);
    if (!err) {
        memcpy(b->bytes + b->used, table.p, table.len);
        secret_random(b->bytes + b->used + table.len, size - least); /* [pack-padding] */
        err = put_trailer(b, size, table.len);
    }
    if (!err) {
        kdf_hash(hash, PACK_DOMAIN, b->bytes, size);
        *bytes = b->bytes;
        *len = size;
    }
    bytes_out_release(&table);
    return err;
}

/* ---- reading ---- */

struct pack_in {
    const uint8_t *p;
    size_t len, table_off, table_len;
    const uint8_t *vault_id;
    uint8_t *key; /* secret_alloc */
    uint32_t epoch;
};

static int open_trailer(struct pack_in *in, const uint8_t *epoch_key)
{
    uint8_t plain[TRAILER_PLAIN], aad[AAD_LEN];
    const uint8_t *at = in->p + in->len - PACK_TRAILER;
    kdf_derive(in->key, epoch_key, KDF_PACK);
    make_aad(aad, in->p, in->vault_id);
    int err = seal_box_open(in->key, at, aad, sizeof(aad), at + SEAL_NONCE,
                            PACK_TRAILER - SEAL_NONCE, plain);
    if (err)
        return err;
    in->epoch = bytes_from_le32(plain);
    in->table_off = bytes_from_le32(plain + 4);
    in->table_len = bytes_from_le32(plain + 8);
    size_t end = in->len - PACK_TRAILER;
    if (bytes_from_le32(plain + 12) != 0 || in->table_off < PACK_HEAD || in->table_off > end ||
        in->table_len > end - in->table_off)
        return ERR_FORMAT;
    return 0;
}

/* The trailer is the only way to the epoch, so the keys are tried: they are few, and what is opened here has the hash that a signed batch
 * gave, so no other writer can learn anything from which one fits. */
static int find_trailer(struct pack_in *in, const uint8_t *(*epoch_key)(void *ctx, uint32_t epoch),
                        void *ctx)
{
    const uint8_t *key;
    int err = ERR_AUTH;
    for (uint32_t epoch = 1; err == ERR_AUTH && (key = epoch_key(ctx, epoch)); epoch++) {
        err = open_trailer(in, key);
        if (!err && in->epoch != epoch)
            err = ERR_FORMAT;
    }
    return err;
}

static int check_head(const uint8_t *p, size_t len)
{
    if (len < PACK_MIN || len > PACK_SIZE || memcmp(p, PACK_MAGIC, 4) != 0 || !p[4] || !p[5])
        return ERR_FORMAT;
    if (p[4] != PACK_VERSION || p[5] != PACK_SUITE)
        return ERR_VERSION;
    return p[6] || p[7] ? ERR_FORMAT : 0;
}

static int get_row(struct bytes_in *in, struct extent *e)
{
    memset(e, 0, sizeof(*e));
    bytes_get(in, e->id, sizeof(e->id));
    e->len = bytes_get_u32(in);
    e->epoch = bytes_get_u32(in);
    e->pack_off = bytes_get_u32(in);
    return in->bad || e->len < 1 || e->len > SEAL_EXTENT_MAX || e->epoch == 0 ? ERR_FORMAT : 0;
}

/* Rows lie end to end from the head to the table, so every byte of a pack but the padding is accounted for. */
static int walk_table(const struct pack_in *in, const struct bytes_out *table,
                      int (*each)(void *ctx, const struct extent *e, const uint8_t *sealed),
                      void *ctx)
{
    struct bytes_in rows;
    bytes_in_init(&rows, table->p, table->len);
    uint32_t n = bytes_get_u32(&rows);
    if (rows.bad || n > PACK_EXTENTS_MAX || rows.left != (size_t)n * TABLE_ROW)
        return ERR_FORMAT;
    struct bytes_in again = rows;
    size_t at = PACK_HEAD;
    struct extent e;
    for (uint32_t i = 0; i < n; i++) {
        if (get_row(&rows, &e) || e.pack_off != at || seal_size(e.len) > in->table_off - at)
            return ERR_FORMAT;
        at += seal_size(e.len);
    }
    if (at != in->table_off)
        return ERR_FORMAT;
    int stop = 0;
    for (uint32_t i = 0; i < n && !stop; i++) {
        get_row(&again, &e);
        stop = each(ctx, &e, in->p + e.pack_off);
    }
    return stop;
}

int pack_check_hash(const uint8_t *p, size_t len, const uint8_t hash[32])
{
    uint8_t got[32];
    kdf_hash(got, PACK_DOMAIN, p, len);
    return sodium_memcmp(got, hash, sizeof(got)) == 0 ? 0 : ERR_AUTH;
}

int pack_read(const uint8_t *p, size_t len, const uint8_t hash[32], const uint8_t vault_id[32],
              const uint8_t *(*epoch_key)(void *ctx, uint32_t epoch),
              int (*each)(void *ctx, const struct extent *e, const uint8_t *sealed), void *ctx)
{
    int err = pack_check_hash(p, len, hash);
    if (!err)
        err = check_head(p, len);
    if (err)
        return err;
    struct pack_in in = {.p = p, .len = len, .vault_id = vault_id};
    in.key = secret_alloc(SECRET_KEY_LEN);
    if (!in.key)
        return ERR_NOMEM;
    struct bytes_out table;
    bytes_out_init(&table);
    err = find_trailer(&in, epoch_key, ctx);
    if (!err)
        err = object_open(&table, OBJECT_PACK_TABLE, in.key, vault_id, PACK_PLACE, p + in.table_off,
                          in.table_len);
    secret_free(in.key);
    if (!err)
        err = walk_table(&in, &table, each, ctx);
    bytes_out_release(&table);
    return err;
}
