/*
 * What one store has and another misses: packs, and what other devices wrote. With one store there is nothing to do here.
 */
#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/members.h"
#include "sync/pack.h"
#include "sync/push_impl.h"

#include <stdlib.h>
#include <string.h>

/* The bytes of an object from any other store that has it and that ${valid} accepts. ERR_NOENT: nowhere now. */
static int fetch_elsewhere(struct push *p, const struct push_store *to, const char *name,
                           size_t max,
                           bool (*valid)(const void *ctx, const struct bytes_out *bytes),
                           const void *ctx, struct bytes_out *bytes)
{
    for (size_t i = 0; i < p->store_count; i++) {
        struct push_store *from = &p->stores[i];
        if (from == to || push_store_err(p, from))
            continue;
        bytes_out_reset(bytes);
        int err = store_get(from->store, name, 0, 0, max, bytes);
        if (!err && valid(ctx, bytes))
            return 0;
        if (err && err != ERR_NOENT && err != ERR_FORMAT)
            push_store_note(p, from, from->store, err);
    }
    return ERR_NOENT;
}

/* ---- packs ---- */

static bool pack_valid(const void *ctx, const struct bytes_out *bytes)
{
    const struct ledger_pack *pack = ctx;
    return bytes->len == pack->size && !pack_check_hash(bytes->p, bytes->len, pack->hash);
}

/* Sees to it that the store has the pack. 0: it has; ERR_NOENT: no other store has it now. Other errors are the store's and noted. */
static int copy_pack(struct push *p, struct push_store *s, const struct ledger_pack *pack,
                     struct bytes_out *bytes)
{
    char name[PACK_NAME_LEN];
    uint64_t size;
    pack_name(pack->hash, name);
    int err = store_head(s->store, name, &size);
    if (!err && size == pack->size)
        return 0;
    if (!err || err == ERR_NOENT) {
        err = fetch_elsewhere(p, s, name, PACK_SIZE, pack_valid, pack, bytes);
        if (err)
            return err;
        err = store_put(s->store, name, bytes->p, bytes->len);
        if (!err)
            push_sent(p, bytes->len);
    }
    return err ? push_store_note(p, s, s->store, err) : 0;
}

/* A pack that no other store has at hand. Its batches wait until one has, unless none can be hoped for. */
static int not_found(struct push *p, struct push_store *s, uint64_t pid)
{
    if (push_all_answered(p))
        return push_lost_add(p, pid);
    s->incomplete = true;
    return 0;
}

/* Packs known to be missing. Returns local errors only. */
static int copy_missing(struct push *p, struct push_store *s, struct bytes_out *bytes)
{
    uint64_t pid = 0;
    while (!push_store_err(p, s)) {
        struct ledger_pack pack;
        index_lock(p->ix);
        int err = ledger_missing_next(p->ix, s->id, pid, &pid);
        if (!err)
            err = ledger_pack_get(p->ix, pid, &pack);
        index_unlock(p->ix);
        if (err)
            return err == ERR_NOENT ? 0 : err;
        int got = copy_pack(p, s, &pack, bytes);
        if (got == ERR_NOENT && (err = not_found(p, s, pid)))
            return err;
        if (got)
            continue;
        index_lock(p->ix);
        err = index_begin(p->ix, INDEX_REMOTE, LEDGER_ROOM);
        if (!err) {
            err = ledger_missing_del(p->ix, s->id, pid);
            index_end(p->ix);
        }
        index_unlock(p->ix);
        if (err)
            return err;
    }
    return 0;
}

static int fill_step(struct push *p, const struct push_store *s, struct ledger_fill *fill,
                     bool missing)
{
    index_lock(p->ix);
    int err = index_begin(p->ix, INDEX_REMOTE, 2 * LEDGER_ROOM);
    if (!err) {
        if (missing)
            err = ledger_missing_add(p->ix, s->id, fill->next);
        fill->next++;
        if (!err)
            err = ledger_fill_put(p->ix, s->id, fill);
        index_end(p->ix);
    }
    index_unlock(p->ix);
    return err;
}

/* Packs that are older than the store's place in the list. */
static int fill_store(struct push *p, struct push_store *s, struct bytes_out *bytes)
{
    struct ledger_fill fill;
    struct ledger_pack pack;
    index_lock(p->ix);
    int err = ledger_fill_get(p->ix, s->id, &fill);
    index_unlock(p->ix);
    if (err)
        return err == ERR_NOENT ? 0 : err;
    while (fill.next <= fill.last) {
        if (push_store_err(p, s)) {
            s->incomplete = true;
            return 0;
        }
        index_lock(p->ix);
        err = ledger_pack_get(p->ix, fill.next, &pack);
        index_unlock(p->ix);
        int got = err == ERR_NOENT ? 0 : err;
        if (!err)
            got = copy_pack(p, s, &pack, bytes);
        else if (got)
            return got;
        if (got && got != ERR_NOENT)
            continue; /* noted: the store is left alone */
        err = got == ERR_NOENT ? not_found(p, s, pack.pid) : 0;
        if (!err)
            err = fill_step(p, s, &fill, got == ERR_NOENT);
        if (err)
            return err;
    }
    return 0;
}

static void note_incomplete(struct push *p, const struct push_store *s)
{
    if (s->incomplete)
        push_note(p, ERR_BEHIND, "a store misses something that no other store has at hand");
}

int push_mirror_packs(struct push *p)
{
    struct bytes_out bytes;
    int err = 0;
    bytes_out_init(&bytes);
    for (size_t i = 0; i < p->store_count && !err; i++) {
        err = copy_missing(p, &p->stores[i], &bytes);
        if (!err)
            err = fill_store(p, &p->stores[i], &bytes);
        note_incomplete(p, &p->stores[i]);
    }
    bytes_out_release(&bytes);
    return err;
}

/* ---- other devices' batches ---- */

struct wanted {
    const struct push *p;
    const struct roster_device *device;
    uint64_t seq;
};

static bool batch_valid(const void *ctx, const struct bytes_out *bytes)
{
    const struct wanted *w = ctx;
    struct batch_head head;
    uint8_t hash[32];
    if (batch_open_head(bytes->p, bytes->len, &head, hash))
        return false;
    bool ours = memcmp(head.device_key, w->device->sign_key, SIGN_PUBLIC_LEN) == 0 &&
                memcmp(head.vault_id, vault_id(w->p->params->vault), 32) == 0 && head.seq == w->seq;
    batch_head_release(&head);
    return ours;
}

struct named_packs {
    struct push *p;
    struct push_store *s;
    struct bytes_out *bytes;
};

/* A batch comes after the packs that it names, on this store too. */
static int named_each(void *ctx, const struct batch_record *record)
{
    struct named_packs *n = ctx;
    struct ledger_pack pack = {.size = record->u.pack.size};
    if (record->kind != BATCH_PACK)
        return 0;
    memcpy(pack.hash, record->u.pack.name, sizeof(pack.hash));
    int err = copy_pack(n->p, n->s, &pack, n->bytes);
    if (err != ERR_NOENT || !push_all_answered(n->p))
        return err;
    /* Gone for good, as far as anybody can tell: without the batch more would be missing. */
    index_lock(n->p->ix);
    err = ledger_pack_find(n->p->ix, pack.hash, &pack);
    index_unlock(n->p->ix);
    return err == ERR_NOENT ? 0 : err ? err : push_lost_add(n->p, pack.pid);
}

static int copy_named_packs(struct push *p, struct push_store *s, const char *name,
                            const struct bytes_out *batch)
{
    struct batch_head head;
    uint8_t hash[32];
    struct bytes_out bytes;
    struct named_packs n = {.p = p, .s = s, .bytes = &bytes};
    int err = batch_open_head(batch->p, batch->len, &head, hash);
    if (err)
        return err;
    const uint8_t *key = NULL;
    for (uint32_t i = 0; i < p->keyring->epoch_count; i++)
        if (p->keyring->epochs[i].epoch == head.epoch)
            key = p->keyring->epochs[i].key;
    batch_head_release(&head);
    bytes_out_init(&bytes);
    err = key ? batch_open_body(batch->p, batch->len, key, vault_id(p->params->vault), name,
                                named_each, &n)
              : ERR_NOENT;
    bytes_out_release(&bytes);
    return err;
}

/* 0: the store has it. Otherwise this device's batches end here for now. */
static int copy_batch(struct push *p, struct push_store *s, const struct wanted *w,
                      struct bytes_out *bytes)
{
    char name[BATCH_NAME_LEN];
    uint64_t size;
    batch_name(w->device->store_name, w->seq, name);
    int err = store_head(s->store, name, &size);
    if (err != ERR_NOENT)
        return err ? push_store_note(p, s, s->store, err) : 0;
    err = fetch_elsewhere(p, s, name, BATCH_MAX, batch_valid, w, bytes);
    if (!err)
        err = copy_named_packs(p, s, name, bytes);
    if (err) {
        /* Our own batches may speak of the same packs. */
        s->incomplete = true;
        return err;
    }
    err = store_put(s->store, name, bytes->p, bytes->len);
    if (err)
        return push_store_note(p, s, s->store, err);
    push_sent(p, bytes->len);
    return 0;
}

static int copy_device(struct push *p, struct push_store *s, const struct batch_head_ref *ref,
                       struct bytes_out *bytes)
{
    uint64_t acked;
    struct wanted w = {.p = p, .device = roster_by_tag(p->roster, ref->device)};
    index_lock(p->ix);
    int err = ledger_acked_get(p->ix, s->id, ref->device, &acked);
    index_unlock(p->ix);
    if (err || !w.device || acked >= ref->seq)
        return err;
    int got = acked ? 0 : members_put(s->store, p->roster);
    if (got)
        push_store_note(p, s, s->store, got);
    for (w.seq = acked + 1; !err && w.seq <= ref->seq && !push_store_err(p, s); w.seq++) {
        if (copy_batch(p, s, &w, bytes))
            break;
        index_lock(p->ix);
        err = index_begin(p->ix, INDEX_REMOTE, LEDGER_ROOM);
        if (!err) {
            err = ledger_acked_put(p->ix, s->id, ref->device, w.seq);
            index_end(p->ix);
        }
        index_unlock(p->ix);
    }
    return err;
}

int push_mirror_batches(struct push *p)
{
    struct batch_head_ref *refs;
    struct bytes_out bytes;
    uint16_t n;
    if (p->store_count < 2)
        return 0;
    index_lock(p->ix);
    int err = ledger_heads(p->ix, p->self->tag, &refs, &n);
    index_unlock(p->ix);
    bytes_out_init(&bytes);
    for (size_t i = 0; i < p->store_count && !err; i++) {
        for (size_t k = 0; k < n && !err; k++)
            if (!push_store_err(p, &p->stores[i]) && !p->stores[i].incomplete)
                err = copy_device(p, &p->stores[i], &refs[k], &bytes);
        note_incomplete(p, &p->stores[i]);
    }
    free(refs);
    bytes_out_release(&bytes);
    return err;
}
