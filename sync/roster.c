#include "sync/roster.h"

#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/object.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROSTER_MAGIC   "OBSR"
#define ROSTER_VERSION 1u
#define ROSTER_SUITE   1u
#define ROSTER_DOMAIN  "obs-roster"
#define ROSTER_PLACE   "roster"
#define TAG_MAX        0x7ffffeu /* 0x7fffff is the tag of conflict copies: merge.h */
#define NAME_MAX_LEN   64u

enum { KIND_GENESIS = 1, KIND_ADD = 2 };
enum { SIGNER_RECOVERY = 1, SIGNER_DEVICE = 2 };

struct roster {
    uint8_t vault_id[32];
    uint8_t *name_key; /* KDF_JOURNAL subkey of the first epoch; secret_alloc */
    uint8_t recovery[SIGN_PUBLIC_LEN];
    struct roster_device *devices; /* [0] is the genesis */
    size_t count, cap;
    uint8_t *newer; /* [roster-newer] or NULL */
    size_t newer_len;
};

/* A record taken apart; pointers go into it. */
struct record {
    uint8_t kind;
    const uint8_t *vault_id, *prev, *sign_key, *box_key, *recovery, *name, *signer_key;
    uint32_t n, tag;
    size_t name_len;
    uint8_t signer;
    const uint8_t *sig;
    size_t signed_len;
};

static const uint8_t none[32];

struct roster *roster_new(const uint8_t vault_id[32], const uint8_t first_epoch_key[SECRET_KEY_LEN])
{
    struct roster *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->name_key = secret_alloc(SECRET_KEY_LEN);
    if (!r->name_key) {
        free(r);
        return NULL;
    }
    kdf_derive(r->name_key, first_epoch_key, KDF_JOURNAL);
    memcpy(r->vault_id, vault_id, 32);
    return r;
}

void roster_free(struct roster *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->count; i++)
        free(r->devices[i].record);
    secret_free(r->name_key);
    free(r->devices);
    free(r->newer);
    free(r);
}

size_t roster_count(const struct roster *r)
{
    return r->count;
}

const struct roster_device *roster_at(const struct roster *r, size_t i)
{
    return i < r->count ? &r->devices[i] : NULL;
}

const struct roster_device *roster_by_tag(const struct roster *r, uint32_t tag)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->devices[i].tag == tag)
            return &r->devices[i];
    return NULL;
}

const struct roster_device *roster_by_key(const struct roster *r,
                                          const uint8_t key[SIGN_PUBLIC_LEN])
{
    for (size_t i = 0; i < r->count; i++)
        if (memcmp(r->devices[i].sign_key, key, SIGN_PUBLIC_LEN) == 0)
            return &r->devices[i];
    return NULL;
}

static const struct roster_device *by_hash(const struct roster *r, const uint8_t hash[32])
{
    for (size_t i = 0; i < r->count; i++)
        if (memcmp(r->devices[i].hash, hash, 32) == 0)
            return &r->devices[i];
    return NULL;
}

static int compare_hashes(const void *a, const void *b)
{
    return memcmp(a, b, 32);
}

void roster_hash(const struct roster *r, uint8_t hash[32])
{
    uint8_t(*all)[32] = calloc(r->count ? r->count : 1, 32);
    if (!all) { /* 32 KiB at most; a hash that fits nothing is refused by readers, never mistaken */
        memset(hash, 0, 32);
        return;
    }
    for (size_t i = 0; i < r->count; i++)
        memcpy(all[i], r->devices[i].hash, 32);
    qsort(all, r->count, 32, compare_hashes);
    kdf_hash(hash, "obs-roster-set", all, r->count * 32);
    free(all);
}

void roster_store_name(const uint8_t sign_key[SIGN_PUBLIC_LEN], char name[ROSTER_DEVICE_NAME_LEN])
{
    uint8_t hash[32];
    kdf_hash(hash, "obs-device", sign_key, SIGN_PUBLIC_LEN);
    sodium_bin2hex(name, ROSTER_DEVICE_NAME_LEN, hash, (ROSTER_DEVICE_NAME_LEN - 1) / 2);
}

uint32_t roster_tag(const uint8_t sign_key[SIGN_PUBLIC_LEN])
{
    uint8_t hash[32];
    kdf_hash(hash, "obs-tag", sign_key, SIGN_PUBLIC_LEN);
    uint32_t tag = bytes_from_le32(hash) & 0x7fffffu;
    return tag && tag <= TAG_MAX ? tag : 1;
}

/* ---- reading ---- */

/* [roster-record] */
static int parse(struct record *rec, const uint8_t *p, size_t len)
{
    struct bytes_in in;
    bytes_in_init(&in, p, len);
    memset(rec, 0, sizeof(*rec));
    const uint8_t *magic = bytes_get_ref(&in, 4);
    uint8_t version = bytes_get_u8(&in), suite = bytes_get_u8(&in);
    rec->kind = bytes_get_u8(&in);
    uint8_t zero = bytes_get_u8(&in);
    if (in.bad || len > ROSTER_RECORD_MAX || memcmp(magic, ROSTER_MAGIC, 4) != 0 || !version ||
        !suite)
        return ERR_FORMAT;
    if (version != ROSTER_VERSION || suite != ROSTER_SUITE)
        return ERR_VERSION;
    rec->vault_id = bytes_get_ref(&in, 32);
    rec->n = bytes_get_u32(&in);
    rec->prev = bytes_get_ref(&in, 32);
    rec->sign_key = bytes_get_ref(&in, SIGN_PUBLIC_LEN);
    rec->box_key = bytes_get_ref(&in, SIGN_PUBLIC_LEN);
    rec->tag = bytes_get_u32(&in);
    rec->recovery = bytes_get_ref(&in, SIGN_PUBLIC_LEN);
    rec->name = bytes_get_var16(&in, NAME_MAX_LEN + OBJECT_OVERHEAD, &rec->name_len);
    rec->signer = bytes_get_u8(&in);
    rec->signer_key = rec->signer == SIGNER_DEVICE ? bytes_get_ref(&in, SIGN_PUBLIC_LEN) : NULL;
    rec->signed_len = len - in.left;
    rec->sig = bytes_get_ref(&in, SIGN_LEN);
    if (bytes_in_done(&in) || zero || rec->tag < 1 || rec->tag > TAG_MAX)
        return ERR_FORMAT;
    if (rec->signer != SIGNER_RECOVERY && rec->signer != SIGNER_DEVICE)
        return ERR_FORMAT;
    return rec->kind ? 0 : ERR_FORMAT;
}

/* The genesis is what the vault id is the hash of, so it cannot be another's; its signature shows that whoever made it has the key. */
static int check_genesis(const struct roster *r, const struct record *rec, const uint8_t *p,
                         const uint8_t hash[32])
{
    if (memcmp(hash, r->vault_id, 32) != 0)
        return ERR_AUTH;
    if (memcmp(rec->vault_id, none, 32) != 0 || memcmp(rec->prev, none, 32) != 0 || rec->n != 0 ||
        rec->signer != SIGNER_DEVICE ||
        memcmp(rec->signer_key, rec->sign_key, SIGN_PUBLIC_LEN) != 0)
        return ERR_FORMAT;
    return sign_verify(rec->sign_key, ROSTER_DOMAIN, p, rec->signed_len, rec->sig);
}

/* Signed by the recovery key or a member? */
static int check_signer(const struct roster *r, const struct record *rec, const uint8_t *p)
{
    const uint8_t *key = r->recovery;
    if (rec->signer == SIGNER_DEVICE) {
        const struct roster_device *signer = roster_by_key(r, rec->signer_key);
        if (!signer)
            return ERR_AUTH;
        key = signer->sign_key;
    }
    return sign_verify(key, ROSTER_DOMAIN, p, rec->signed_len, rec->sig);
}

/* [roster-newer] Where it stands among the others does not matter: that it is there is enough. */
static int keep_newer(struct roster *r, const struct record *rec, const uint8_t *p, size_t len)
{
    if (memcmp(rec->vault_id, r->vault_id, 32) != 0)
        return ERR_AUTH;
    if (r->count == 0)
        return ERR_NOENT;
    int err = check_signer(r, rec, p);
    if (err || r->newer)
        return err ? err : ERR_VERSION;
    r->newer = malloc(len);
    if (!r->newer)
        return ERR_NOMEM;
    memcpy(r->newer, p, len);
    r->newer_len = len;
    return ERR_VERSION;
}

const void *roster_newer(const struct roster *r, size_t *len, uint8_t hash[32])
{
    if (!r->newer)
        return NULL;
    *len = r->newer_len;
    kdf_hash(hash, ROSTER_DOMAIN, r->newer, r->newer_len);
    return r->newer;
}

static int check_add(const struct roster *r, const struct record *rec, const uint8_t *p)
{
    if (memcmp(rec->vault_id, r->vault_id, 32) != 0)
        return ERR_AUTH;
    if (memcmp(rec->recovery, none, 32) != 0 || rec->n == 0)
        return ERR_FORMAT;
    if (r->count == 0)
        return ERR_NOENT;
    const struct roster_device *prev = by_hash(r, rec->prev);
    if (!prev)
        return ERR_NOENT;
    if (rec->n != prev->n + 1)
        return ERR_FORMAT;
    int err = check_signer(r, rec, p);
    if (err)
        return err;
    if (roster_by_tag(r, rec->tag) || roster_by_key(r, rec->sign_key))
        return ERR_CONTRADICTION;
    return r->count >= ROSTER_DEVICES_MAX ? ERR_FORMAT : 0;
}

static int open_name(const struct roster *r, const struct record *rec, char name[NAME_MAX_LEN + 1])
{
    /* The genesis is sealed before its hash, the vault id, is known: all zeroes stand for it there. */
    const uint8_t *vault_id = rec->kind == KIND_GENESIS ? none : r->vault_id;
    struct bytes_out plain;
    bytes_out_init(&plain);
    int err = object_open(&plain, OBJECT_DEVICE_NAME, r->name_key, vault_id, ROSTER_PLACE,
                          rec->name, rec->name_len);
    if (!err && (plain.len > NAME_MAX_LEN || memchr(plain.p, '\0', plain.len)))
        err = ERR_FORMAT;
    if (!err) {
        memcpy(name, plain.p, plain.len);
        name[plain.len] = '\0';
    }
    bytes_out_release(&plain);
    return err;
}

static int append(struct roster *r, const struct roster_device *device)
{
    if (r->count == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 4;
        struct roster_device *devices = realloc(r->devices, cap * sizeof(*devices));
        if (!devices)
            return ERR_NOMEM;
        r->devices = devices;
        r->cap = cap;
    }
    r->devices[r->count++] = *device;
    return 0;
}

int roster_add(struct roster *r, const void *record, size_t len)
{
    struct record rec;
    struct roster_device device = {0};
    int err = parse(&rec, record, len);
    if (err)
        return err;
    if (rec.kind != KIND_GENESIS && rec.kind != KIND_ADD)
        return keep_newer(r, &rec, record, len);
    kdf_hash(device.hash, ROSTER_DOMAIN, record, len);
    if (by_hash(r, device.hash))
        return 0;
    err = rec.kind == KIND_GENESIS ? check_genesis(r, &rec, record, device.hash)
                                   : check_add(r, &rec, record);
    if (!err)
        err = open_name(r, &rec, device.name);
    if (err)
        return err;
    memcpy(device.sign_key, rec.sign_key, SIGN_PUBLIC_LEN);
    memcpy(device.box_key, rec.box_key, SIGN_PUBLIC_LEN);
    device.tag = rec.tag;
    device.n = rec.n;
    roster_store_name(device.sign_key, device.store_name);
    device.record_len = len;
    device.record = malloc(len);
    if (!device.record)
        return ERR_NOMEM;
    memcpy(device.record, record, len);
    err = append(r, &device);
    if (err)
        free(device.record);
    else if (rec.kind == KIND_GENESIS)
        memcpy(r->recovery, rec.recovery, SIGN_PUBLIC_LEN);
    return err;
}

/* ---- writing ---- */

struct draft {
    uint8_t kind;
    const uint8_t *vault_id, *prev, *recovery;
    uint32_t n, tag;
    const struct sign_keys *keys;
};

static void put_record(struct bytes_out *out, const struct draft *d, const struct bytes_out *name)
{
    bytes_put(out, ROSTER_MAGIC, 4);
    bytes_put_u8(out, ROSTER_VERSION);
    bytes_put_u8(out, ROSTER_SUITE);
    bytes_put_u8(out, d->kind);
    bytes_put_u8(out, 0);
    bytes_put(out, d->vault_id, 32);
    bytes_put_u32(out, d->n);
    bytes_put(out, d->prev, 32);
    bytes_put(out, sign_keys_public(d->keys), SIGN_PUBLIC_LEN);
    bytes_put(out, sign_keys_box_public(d->keys), SIGN_PUBLIC_LEN);
    bytes_put_u32(out, d->tag);
    bytes_put(out, d->recovery, SIGN_PUBLIC_LEN);
    bytes_put_var16(out, name->p, name->len);
}

static int make(struct bytes_out *out, const struct draft *d, const uint8_t *name_key,
                const char *device_name, const struct sign_keys *signer)
{
    struct bytes_out name;
    size_t start = out->len;
    if (strlen(device_name) > NAME_MAX_LEN || d->tag < 1 || d->tag > TAG_MAX)
        return ERR_MISUSE;
    bytes_out_init(&name);
    int err = object_seal(&name, OBJECT_DEVICE_NAME, 0, name_key, d->vault_id, ROSTER_PLACE,
                          device_name, strlen(device_name));
    if (!err) {
        put_record(out, d, &name);
        if (signer == d->keys) {
            bytes_put_u8(out, SIGNER_DEVICE);
            bytes_put(out, sign_keys_public(signer), SIGN_PUBLIC_LEN);
        } else {
            bytes_put_u8(out, SIGNER_RECOVERY);
        }
        uint8_t *sig = bytes_put_space(out, SIGN_LEN);
        if (sig)
            sign_make(signer, ROSTER_DOMAIN, out->p + start, out->len - SIGN_LEN - start, sig);
        else
            err = ERR_NOMEM;
    }
    bytes_out_release(&name);
    if (err)
        out->len = start;
    return err;
}

int roster_make_genesis(const struct sign_keys *keys, uint32_t tag,
                        const uint8_t recovery_public[SIGN_PUBLIC_LEN],
                        const uint8_t first_epoch_key[SECRET_KEY_LEN], const char *device_name,
                        struct bytes_out *out, uint8_t vault_id[32])
{
    struct draft d = {.kind = KIND_GENESIS,
                      .vault_id = none,
                      .prev = none,
                      .recovery = recovery_public,
                      .tag = tag,
                      .keys = keys};
    size_t start = out->len;
    uint8_t *name_key = secret_alloc(SECRET_KEY_LEN);
    if (!name_key)
        return ERR_NOMEM;
    kdf_derive(name_key, first_epoch_key, KDF_JOURNAL);
    int err = make(out, &d, name_key, device_name, keys);
    secret_free(name_key);
    if (!err)
        kdf_hash(vault_id, ROSTER_DOMAIN, out->p + start, out->len - start);
    return err;
}

int roster_make_add(const struct roster *r, const struct sign_keys *keys, uint32_t tag,
                    const struct sign_keys *recovery, const char *device_name,
                    struct bytes_out *out)
{
    if (r->count == 0)
        return ERR_MISUSE;
    if (r->count >= ROSTER_DEVICES_MAX)
        return ERR_TOOBIG;
    const struct roster_device *last = &r->devices[0];
    for (size_t i = 1; i < r->count; i++)
        if (r->devices[i].n > last->n)
            last = &r->devices[i];
    struct draft d = {.kind = KIND_ADD,
                      .vault_id = r->vault_id,
                      .prev = last->hash,
                      .recovery = none,
                      .n = last->n + 1,
                      .tag = tag,
                      .keys = keys};
    return make(out, &d, r->name_key, device_name, recovery);
}

int roster_object_name(const void *record, size_t len, char name[64])
{
    struct record rec;
    uint8_t hash[32];
    char hex[17];
    int err = parse(&rec, record, len);
    if (err)
        return err;
    kdf_hash(hash, ROSTER_DOMAIN, record, len);
    sodium_bin2hex(hex, sizeof(hex), hash, 8);
    snprintf(name, 64, "roster/%08x-%s", rec.n, hex);
    return 0;
}
