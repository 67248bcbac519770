/*
 * Batches from the stores. The next one is asked for by its number; after one that was there several more are asked for at once, if
 * they are small.
 * What does not verify is asked for once more, then at the next store, and then counts as not there yet. It is asked for as often whichever
 * check it fails, so that a store that changes things does not learn from us which one it was.
 */
#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/batch.h"
#include "sync/pull_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Is this the batch of that number? The server could show any other. */
static int verify(struct pull *p, const struct pull_device *d, uint64_t seq,
                  const struct bytes_out *bytes)
{
    uint8_t key[SIGN_PUBLIC_LEN], hash[32];
    struct batch_head head;
    int err = batch_peek(bytes->p, bytes->len, key);
    if (err)
        return err;
    if (memcmp(key, d->member->sign_key, sizeof(key)) != 0)
        return ERR_AUTH;
    err = batch_open_head(bytes->p, bytes->len, &head, hash);
    if (err)
        return err;
    if (memcmp(head.vault_id, vault_id(p->params->vault), 32) != 0 || head.seq != seq)
        err = ERR_AUTH;
    batch_head_release(&head);
    return err;
}

static int get(struct pull *p, const struct pull_device *d, size_t store, uint64_t seq,
               struct bytes_out *out)
{
    char name[BATCH_NAME_LEN];
    int err = ERR_AUTH;
    batch_name(d->member->store_name, seq, name);
    for (int attempt = 0; attempt < 2 && (err == ERR_AUTH || err == ERR_VERSION); attempt++) {
        bytes_out_reset(out);
        err = store_get(p->params->stores[store].store, name, 0, 0, BATCH_MAX, out);
        if (err && err != ERR_FORMAT)
            return err;
        p->result->received += out->len;
        if (!err)
            err = verify(p, d, seq, out);
        if (err && err != ERR_VERSION)
            err = ERR_AUTH; /* whatever is wrong with it: it counts as not there yet */
    }
    return err;
}

/* The first of a window; asks every store until one has it. */
static int get_first(struct pull *p, struct pull_device *d, size_t *from, bool *found)
{
    char why[200];
    struct bytes_out *out = &d->ahead[0];
    *found = false;
    for (size_t i = 0; i < p->params->count; i++) {
        if (p->store_err[i])
            continue;
        int err = get(p, d, i, d->head.seq + 1, out);
        if (pull_cancelled(p))
            return ERR_INTR;
        if (err == 0) {
            *from = i;
            *found = true;
            return 0;
        }
        if (err == ERR_NOMEM)
            return err;
        if (err == ERR_AUTH) {
            log_warn("pull: batch %" PRIu64 " of device %u does not verify", d->head.seq + 1,
                     d->member->tag);
            pull_note(p, ERR_BEHIND, "the store shows a batch that does not verify (yet)");
        } else if (err == ERR_VERSION) {
            snprintf(why, sizeof(why), "device %s writes a newer format; update this program",
                     d->member->name);
            pull_note(p, err, why);
        } else if (err != ERR_NOENT) {
            pull_store_note(p, i, err);
        }
    }
    return 0;
}

/* Those after the first, all at once. Whatever goes wrong, they are asked for again one by one. False: they are too large for this. */
static bool get_more(struct pull *p, struct pull_device *d, size_t from)
{
    struct store_get_item items[PULL_WINDOW];
    char names[PULL_WINDOW][BATCH_NAME_LEN];
    size_t n = d->window - 1;
    for (size_t i = 0; i < n; i++) {
        bytes_out_reset(&d->ahead[1 + i]);
        batch_name(d->member->store_name, d->head.seq + 2 + i, names[i]);
        items[i] = (struct store_get_item){
            .name = names[i], .len = PULL_AHEAD_MAX, .out = &d->ahead[1 + i]};
    }
    (void)store_get_many(p->params->stores[from].store, items, n);
    for (size_t i = 0; i < n; i++) {
        p->result->received += items[i].out->len;
        /* the only store has just said that there is no more */
        d->ended = items[i].err == ERR_NOENT && p->params->count == 1;
        if (items[i].err || verify(p, d, d->head.seq + 2 + i, items[i].out))
            return items[i].err || items[i].out->len < PULL_AHEAD_MAX;
        d->count++;
    }
    return true;
}

int pull_fetch(struct pull *p, struct pull_device *d, struct bytes_out **batch)
{
    bool found, small = true;
    size_t from = 0;
    *batch = NULL;
    if (d->count == 0 && !d->ended) {
        d->first = 0;
        d->let_go = false;
        int err = get_first(p, d, &from, &found);
        if (err)
            return err;
        d->ended = !found;
        d->count = found;
        if (found && d->window > 1)
            small = get_more(p, d, from);
        if (!small)
            d->window = 1;
        else if (d->window < PULL_WINDOW)
            d->window *= 2;
        for (size_t i = d->count; i < PULL_WINDOW; i++)
            bytes_out_release(&d->ahead[i]); /* what did not verify */
    }
    if (d->count)
        *batch = &d->ahead[d->first];
    return 0;
}

void pull_fetch_next(struct pull_device *d)
{
    bytes_out_release(&d->ahead[d->first]);
    d->first++;
    d->count--;
    d->shown = true;
}

void pull_fetch_wait(struct pull *p, struct pull_device *d)
{
    size_t held = 0;
    for (size_t i = 0; i < p->device_count; i++)
        for (size_t k = 0; k < PULL_WINDOW; k++)
            held += p->devices[i].ahead[k].cap;
    if (held <= PULL_HELD_MAX)
        return;
    pull_fetch_release(d);
    d->count = 0;
    d->ended = false; /* it is there to be asked for again */
    d->let_go = true;
}

bool pull_fetch_pending(const struct pull_device *d)
{
    return d->count > 0 || d->let_go;
}

uint64_t pull_fetch_waiting(const struct pull *p)
{
    uint64_t n = 0;
    for (size_t i = 0; i < p->device_count; i++)
        n += p->devices[i].count;
    return n;
}

int pull_fetch_check_heads(struct pull *p)
{
    for (size_t k = 0; k < p->device_count; k++) {
        const struct pull_device *d = &p->devices[k];
        char name[BATCH_NAME_LEN];
        bool asked = false, shown = d->head.seq == 0 || d->shown;
        batch_name(d->member->store_name, d->head.seq ? d->head.seq : 1, name);
        for (size_t i = 0; i < p->params->count && !shown; i++) {
            uint64_t size;
            if (p->store_err[i])
                continue;
            int err = store_head(p->params->stores[i].store, name, &size);
            if (pull_cancelled(p))
                return ERR_INTR;
            if (err && err != ERR_NOENT)
                pull_store_note(p, i, err);
            asked |= err == ERR_NOENT;
            shown = !err;
        }
        if (asked && !shown)
            pull_note(p, ERR_BEHIND, "the store does not show any more what it showed before");
    }
    return 0;
}

void pull_fetch_release(struct pull_device *d)
{
    for (size_t i = 0; i < PULL_WINDOW; i++)
        bytes_out_release(&d->ahead[i]);
}
