#include "sync/ledger.h"

#include "crypto/err.h"
#include "sync/ledger_key.h"

#include <stdlib.h>
#include <string.h>

#define KEY_MAX 12u

/* ---- heads and clock ---- */

static int parse_head(const void *value, size_t len, uint64_t *seq, uint8_t hash[32])
{
    struct bytes_in in;
    bytes_in_init(&in, value, len);
    *seq = bytes_get_u64(&in);
    bytes_get(&in, hash, 32);
    return bytes_in_done(&in) || *seq == 0 ? ERR_FORMAT : 0;
}

int ledger_head_get(struct index *ix, uint32_t tag, struct ledger_head *head)
{
    uint8_t key[KEY_MAX];
    struct bytes_out value;
    bytes_out_init(&value);
    memset(head, 0, sizeof(*head));
    int err = index_kv_get(ix, "head", key, ledger_key_put(key, 0, tag, 4), &value);
    if (!err)
        err = parse_head(value.p, value.len, &head->seq, head->hash);
    else if (err == ERR_NOENT)
        err = 0;
    bytes_out_release(&value);
    return err;
}

int ledger_head_put(struct index *ix, uint32_t tag, const struct ledger_head *head)
{
    uint8_t key[KEY_MAX], value[40];
    bytes_le64(value, head->seq);
    memcpy(value + 8, head->hash, 32);
    return index_kv_put(ix, "head", key, ledger_key_put(key, 0, tag, 4), value, sizeof(value));
}

struct head_list {
    uint32_t without;
    struct batch_head_ref *refs;
    uint16_t n;
};

static int head_each(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    struct head_list *list = ctx;
    if (key_len != 4)
        return ERR_FORMAT;
    uint32_t tag = (uint32_t)ledger_key_number(key, 4);
    if (tag == list->without)
        return 0;
    if (list->n >= BATCH_HEADS_MAX)
        return ERR_TOOBIG;
    struct batch_head_ref *refs = realloc(list->refs, (list->n + 1u) * sizeof(*refs));
    if (!refs)
        return ERR_NOMEM;
    list->refs = refs;
    struct batch_head_ref *ref = &refs[list->n++];
    ref->device = tag;
    return parse_head(value, len, &ref->seq, ref->hash);
}

int ledger_heads(struct index *ix, uint32_t without, struct batch_head_ref **refs, uint16_t *n)
{
    struct head_list list = {.without = without};
    int err = index_kv_scan(ix, "head", NULL, 0, head_each, &list);
    if (err) {
        free(list.refs);
        list = (struct head_list){0};
    }
    *refs = list.refs;
    *n = list.n;
    return err;
}

int ledger_clock_get(struct index *ix, uint64_t *lamport)
{
    int err = ledger_u64_get(ix, "clock", "lamport", 7, lamport);
    return err == ERR_NOENT ? 0 : err;
}

int ledger_clock_raise(struct index *ix, uint64_t lamport)
{
    uint64_t now;
    int err = ledger_clock_get(ix, &now);
    if (err || lamport <= now)
        return err;
    return ledger_u64_put(ix, "clock", "lamport", 7, lamport);
}

int ledger_last(struct index *ix, const char *counter, uint64_t *number)
{
    int err = ledger_u64_get(ix, "counter", counter, strlen(counter), number);
    return err == ERR_NOENT ? 0 : err;
}

int ledger_next(struct index *ix, const char *counter, uint64_t *number)
{
    int err = ledger_last(ix, counter, number);
    if (err)
        return err;
    return ledger_u64_put(ix, "counter", counter, strlen(counter), ++*number);
}

/* ---- packs ---- */

int ledger_pack_get(struct index *ix, uint64_t pid, struct ledger_pack *pack)
{
    uint8_t key[KEY_MAX];
    struct bytes_out value;
    struct bytes_in in;
    bytes_out_init(&value);
    int err = index_kv_get(ix, "pack", key, ledger_key_put(key, 0, pid, 8), &value);
    if (!err) {
        bytes_in_init(&in, value.p, value.len);
        pack->pid = pid;
        bytes_get(&in, pack->hash, 32);
        pack->size = bytes_get_u64(&in);
        err = bytes_in_done(&in);
    }
    bytes_out_release(&value);
    return err;
}

int ledger_pack_find(struct index *ix, const uint8_t hash[32], struct ledger_pack *pack)
{
    uint64_t pid;
    int err = ledger_u64_get(ix, "pack-hash", hash, 32, &pid);
    if (!err)
        err = ledger_pack_get(ix, pid, pack);
    return err;
}

int ledger_pack_add(struct index *ix, struct ledger_pack *pack, bool *fresh)
{
    struct ledger_pack known;
    int err = ledger_pack_find(ix, pack->hash, &known);
    if (fresh)
        *fresh = err == ERR_NOENT;
    if (!err) {
        pack->pid = known.pid;
        return known.size == pack->size ? 0 : ERR_FORMAT;
    }
    if (err == ERR_NOENT)
        err = ledger_next(ix, "pack", &pack->pid);
    if (err)
        return err;
    uint8_t key[KEY_MAX], value[40];
    memcpy(value, pack->hash, 32);
    bytes_le64(value + 32, pack->size);
    err = index_kv_put(ix, "pack", key, ledger_key_put(key, 0, pack->pid, 8), value, sizeof(value));
    return err ? err : ledger_u64_put(ix, "pack-hash", pack->hash, 32, pack->pid);
}

static size_t missing_key(uint8_t key[KEY_MAX], uint32_t store, uint64_t pid)
{
    return ledger_key_put(key, ledger_key_put(key, 0, store, 4), pid, 8);
}

int ledger_missing_add(struct index *ix, uint32_t store, uint64_t pid)
{
    uint8_t key[KEY_MAX];
    return index_kv_put(ix, "pack-missing", key, missing_key(key, store, pid), "", 0);
}

int ledger_missing_del(struct index *ix, uint32_t store, uint64_t pid)
{
    uint8_t key[KEY_MAX];
    return index_kv_del(ix, "pack-missing", key, missing_key(key, store, pid));
}

struct first {
    uint8_t key[KEY_MAX];
    bool found;
};

static int first_each(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    struct first *first = ctx;
    if (key_len != KEY_MAX)
        return ERR_FORMAT;
    memcpy(first->key, key, KEY_MAX);
    first->found = true;
    return 1;
}

int ledger_missing_next(struct index *ix, uint32_t store, uint64_t after, uint64_t *pid)
{
    uint8_t key[KEY_MAX];
    struct first first = {0};
    if (after == UINT64_MAX)
        return ERR_NOENT;
    int err = index_kv_scan(ix, "pack-missing", key, missing_key(key, store, after + 1), first_each,
                            &first);
    if (err < 0)
        return err;
    if (!first.found || ledger_key_number(first.key, 4) != store)
        return ERR_NOENT;
    *pid = ledger_key_number(first.key + 4, 8);
    return 0;
}

int ledger_fill_get(struct index *ix, uint32_t store, struct ledger_fill *fill)
{
    uint8_t key[KEY_MAX];
    struct bytes_out value;
    struct bytes_in in;
    bytes_out_init(&value);
    int err = index_kv_get(ix, "pack-fill", key, ledger_key_put(key, 0, store, 4), &value);
    if (!err) {
        bytes_in_init(&in, value.p, value.len);
        fill->next = bytes_get_u64(&in);
        fill->last = bytes_get_u64(&in);
        err = bytes_in_done(&in);
    }
    bytes_out_release(&value);
    return err;
}

int ledger_fill_put(struct index *ix, uint32_t store, const struct ledger_fill *fill)
{
    uint8_t key[KEY_MAX], value[16];
    size_t len = ledger_key_put(key, 0, store, 4);
    if (fill->next > fill->last) {
        int err = index_kv_del(ix, "pack-fill", key, len);
        return err == ERR_NOENT ? 0 : err;
    }
    bytes_le64(value, fill->next);
    bytes_le64(value + 8, fill->last);
    return index_kv_put(ix, "pack-fill", key, len, value, sizeof(value));
}

/* ---- batches ---- */

int ledger_outbox_get(struct index *ix, uint64_t seq, struct bytes_out *batch)
{
    uint8_t key[KEY_MAX];
    return index_kv_get(ix, "outbox", key, ledger_key_put(key, 0, seq, 8), batch);
}

int ledger_outbox_put(struct index *ix, uint64_t seq, const struct bytes_out *batch)
{
    uint8_t key[KEY_MAX];
    return index_kv_put(ix, "outbox", key, ledger_key_put(key, 0, seq, 8), batch->p, batch->len);
}

static size_t acked_key(uint8_t key[KEY_MAX], uint32_t store, uint32_t tag)
{
    return ledger_key_put(key, ledger_key_put(key, 0, store, 4), tag, 4);
}

int ledger_acked_get(struct index *ix, uint32_t store, uint32_t tag, uint64_t *seq)
{
    uint8_t key[KEY_MAX];
    int err = ledger_u64_get(ix, "acked", key, acked_key(key, store, tag), seq);
    return err == ERR_NOENT ? 0 : err;
}

int ledger_acked_put(struct index *ix, uint32_t store, uint32_t tag, uint64_t seq)
{
    uint8_t key[KEY_MAX];
    return ledger_u64_put(ix, "acked", key, acked_key(key, store, tag), seq);
}

int ledger_rest_get(struct index *ix, uint64_t ino, uint64_t *off)
{
    uint8_t key[KEY_MAX];
    int err = ledger_u64_get(ix, "rest", key, ledger_key_put(key, 0, ino, 8), off);
    if (err)
        *off = UINT64_MAX;
    return err == ERR_NOENT ? 0 : err;
}

int ledger_rest_put(struct index *ix, uint64_t ino, uint64_t off)
{
    uint8_t key[KEY_MAX];
    size_t len = ledger_key_put(key, 0, ino, 8);
    if (off != UINT64_MAX)
        return ledger_u64_put(ix, "rest", key, len, off);
    int err = index_kv_del(ix, "rest", key, len);
    return err == ERR_NOENT ? 0 : err;
}

/* ---- forgetting ---- */

struct doomed {
    uint8_t store[4];
    uint8_t (*keys)[KEY_MAX];
    size_t len, n, max;
};

static int doomed_each(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    struct doomed *d = ctx;
    if (key_len < 4 || key_len > KEY_MAX || memcmp(key, d->store, 4) != 0 || d->n == d->max)
        return 1;
    memcpy(d->keys[d->n++], key, key_len);
    d->len = key_len; /* the keys of one space have one length */
    return 0;
}

int ledger_store_forget(struct index *ix, uint32_t store, unsigned max, bool *more)
{
    static const char *const spaces[] = {"pack-missing", "pack-fill", "acked", "watch"};
    struct doomed d = {.max = max};
    int err = 0;
    *more = false;
    ledger_key_put(d.store, 0, store, 4);
    d.keys = calloc(max, sizeof(*d.keys));
    if (!d.keys)
        return ERR_NOMEM;
    for (size_t s = 0; s < sizeof(spaces) / sizeof(spaces[0]) && !err && !*more; s++) {
        d.n = 0;
        err = index_kv_scan(ix, spaces[s], d.store, sizeof(d.store), doomed_each, &d);
        err = err > 0 ? 0 : err;
        for (size_t i = 0; i < d.n && !err; i++)
            err = index_kv_del(ix, spaces[s], d.keys[i], d.len);
        *more = d.n == max;
    }
    free(d.keys);
    return err;
}
