/*
 * Does a store still have what it had confirmed, and nothing that only we could have written and did not? [own-head]
 *
 * Our last batch that the store confirmed is not there: the store is behind (a stale view; no alarm). It stays away over
 * several checks and a minute: the store was rolled back. The next number is taken by a batch that we signed and that is not in our
 * outbox: this device was restored from a backup, or copied. Batches that do not verify count as not there.
 */
#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/push_impl.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MISSING_CHECKS 3u
#define MISSING_SPAN_S 60

static const char rolled_back[] =
    "the store lost changes that it had confirmed (rolled back to an older state?); if you restored it on purpose: "
    "remove the store and add it again";
static const char forked[] =
    "another copy of this device, or a later state of it, has written to the store (restored from a "
    "backup?); make a new device with clone";

struct watch {
    int64_t first; /* seconds since 1970 */
    uint32_t count;
    uint64_t seq;
};

static void watch_key(uint8_t key[4], uint32_t store)
{
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(store >> (24 - 8 * i));
}

static int watch_get(struct index *ix, uint32_t store, struct watch *w)
{
    uint8_t key[4];
    struct bytes_out value;
    struct bytes_in in;
    watch_key(key, store);
    bytes_out_init(&value);
    int err = index_kv_get(ix, "watch", key, sizeof(key), &value);
    if (!err) {
        bytes_in_init(&in, value.p, value.len);
        w->first = bytes_get_i64(&in);
        w->count = bytes_get_u32(&in);
        w->seq = bytes_get_u64(&in);
        err = bytes_in_done(&in);
    }
    bytes_out_release(&value);
    return err;
}

/* NULL: forgets it. */
static int watch_put(struct index *ix, uint32_t store, const struct watch *w)
{
    uint8_t key[4], value[20];
    watch_key(key, store);
    int err = index_begin(ix, INDEX_REMOTE, LEDGER_ROOM);
    if (err)
        return err;
    if (w) {
        bytes_le64(value, (uint64_t)w->first);
        bytes_le32(value + 8, w->count);
        bytes_le64(value + 12, w->seq);
        err = index_kv_put(ix, "watch", key, sizeof(key), value, sizeof(value));
    } else {
        err = index_kv_del(ix, "watch", key, sizeof(key));
    }
    index_end(ix);
    return err;
}

static int seen_again(struct push *p, struct push_store *s)
{
    struct watch w;
    index_lock(p->ix);
    int err = watch_get(p->ix, s->id, &w);
    if (!err)
        err = watch_put(p->ix, s->id, NULL);
    index_unlock(p->ix);
    return err == ERR_NOENT ? 0 : err;
}

static int went_missing(struct push *p, struct push_store *s, uint64_t seq)
{
    const struct push_limits *limits = p->params->limits;
    int64_t span = limits && limits->missing_span_s ? limits->missing_span_s : MISSING_SPAN_S;
    int64_t now = (int64_t)time(NULL);
    struct watch w;
    index_lock(p->ix);
    int err = watch_get(p->ix, s->id, &w);
    if (err == ERR_NOENT || (!err && w.seq != seq)) {
        w = (struct watch){.first = now, .seq = seq};
        err = 0;
    }
    w.count++;
    if (!err)
        err = watch_put(p->ix, s->id, &w);
    index_unlock(p->ix);
    if (err)
        return err;
    if (w.count >= MISSING_CHECKS && now - w.first >= span) {
        s->err = ERR_CONTRADICTION;
        push_note(p, ERR_CONTRADICTION, rolled_back);
        log_error("batch %llu of this device was confirmed by the store and is gone",
                  (unsigned long long)seq);
        return 0;
    }
    s->err = ERR_BEHIND;
    push_note(p, ERR_BEHIND, "the store does not show yet what it had confirmed");
    return 0;
}

/* What is there under our name and number: 0 ours and valid, ERR_NOENT nothing (or nothing valid), else the store's error. */
static int get_own(struct push *p, struct push_store *s, uint64_t seq, struct bytes_out *batch)
{
    char name[BATCH_NAME_LEN];
    uint8_t hash[32];
    uint64_t size;
    struct batch_head head;
    batch_name(p->self->store_name, seq, name);
    bytes_out_reset(batch);
    int err = store_head(s->store, name, &size);
    if (!err)
        err = store_get(s->store, name, 0, 0, BATCH_MAX, batch);
    if (err)
        return err == ERR_FORMAT ? ERR_NOENT : err;
    err = batch_open_head(batch->p, batch->len, &head, hash);
    if (err)
        return err == ERR_NOMEM ? err : ERR_NOENT;
    bool ours = memcmp(head.device_key, p->self->sign_key, SIGN_PUBLIC_LEN) == 0 &&
                memcmp(head.vault_id, vault_id(p->params->vault), 32) == 0 && head.seq == seq;
    batch_head_release(&head);
    return ours ? 0 : ERR_NOENT;
}

/* The batch ${seq} is on the store. Is it the one in our outbox? Then a put of ours had arrived without our knowing. */
static int compare_own(struct push *p, struct push_store *s, uint64_t seq, uint64_t last,
                       const struct bytes_out *there)
{
    struct bytes_out mine;
    bytes_out_init(&mine);
    index_lock(p->ix);
    int err = seq <= last ? ledger_outbox_get(p->ix, seq, &mine) : 0;
    bool same =
        !err && mine.len == there->len && memcmp(mine.p, there->p, mine.len) == 0 && seq <= last;
    if (same)
        err = index_begin(p->ix, INDEX_REMOTE, LEDGER_ROOM);
    if (same && !err) {
        err = ledger_acked_put(p->ix, s->id, p->self->tag, seq);
        index_end(p->ix);
    }
    index_unlock(p->ix);
    bytes_out_release(&mine);
    if (!err && !same) {
        s->err = ERR_CONTRADICTION;
        push_note(p, ERR_CONTRADICTION, forked);
        log_error("batch %llu of this device on the store is not the one written here",
                  (unsigned long long)seq);
    }
    return err;
}

static int check_next(struct push *p, struct push_store *s, uint64_t acked, uint64_t last)
{
    struct bytes_out there;
    int err = 0;
    bytes_out_init(&there);
    while (!err && !push_store_err(p, s)) {
        int got = get_own(p, s, ++acked, &there);
        if (got == ERR_NOENT)
            break;
        if (got)
            push_store_note(p, s, s->store, got);
        else
            err = compare_own(p, s, acked, last, &there);
    }
    bytes_out_release(&there);
    return err;
}

static int check_store(struct push *p, struct push_store *s)
{
    struct ledger_head own;
    uint64_t acked, size;
    char name[BATCH_NAME_LEN];
    index_lock(p->ix);
    int err = ledger_acked_get(p->ix, s->id, p->self->tag, &acked);
    if (!err)
        err = ledger_head_get(p->ix, p->self->tag, &own);
    index_unlock(p->ix);
    if (err)
        return err;
    if (acked) {
        batch_name(p->self->store_name, acked, name);
        int got = store_head(s->store, name, &size);
        if (got == ERR_NOENT)
            return went_missing(p, s, acked);
        if (got) {
            push_store_note(p, s, s->store, got);
            return 0;
        }
        err = seen_again(p, s);
    }
    return err ? err : check_next(p, s, acked, own.seq);
}

int push_check_stores(struct push *p)
{
    int err = 0;
    for (size_t i = 0; i < p->store_count && !err && !push_cancelled(p); i++)
        err = check_store(p, &p->stores[i]);
    return err;
}
