#include "sync/pull.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/chain.h"
#include "sync/ledger.h"
#include "sync/members.h"
#include "sync/merge.h"
#include "sync/pull_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOINING_WINDOW 4u  /* batches asked for after a first one that was there */
#define OWN_STEP       64u /* own batches noted under one lock */

bool pull_cancelled(const struct pull *p)
{
    return p->params->cancelled && *p->params->cancelled;
}

/* The gravest error is the result; errors of stores count only if no store answered. */
static int gravity(int err)
{
    switch (err) {
    case 0:
        return 0;
    case ERR_BEHIND:
        return 1;
    case ERR_FORMAT:
    case ERR_VERSION:
        return 2;
    case ERR_INTR:
        return 3;
    case ERR_CONTRADICTION:
        return 5;
    default:
        return 4;
    }
}

int pull_note(struct pull *p, int err, const char *why)
{
    if (gravity(err) > gravity(p->err)) {
        p->err = err;
        snprintf(p->result->why, sizeof(p->result->why), "%s", why ? why : err_text(err));
    }
    return err;
}

void pull_store_note(struct pull *p, size_t i, int err)
{
    p->store_err[i] = err;
    p->last_store_err = err;
    const char *why = store_last_error(p->params->stores[i].store);
    snprintf(p->store_why, sizeof(p->store_why), "%s", why && why[0] ? why : err_text(err));
}

/* ---- who there is ---- */

static int note_own(struct pull *p)
{
    bool more = true;
    int err = 0;
    while (more && !err) {
        index_lock(p->ix);
        err = index_begin(p->ix, INDEX_REMOTE, OWN_STEP * 256);
        if (!err) {
            err = chain_note_own(p->ix, p->self, OWN_STEP, &more);
            index_end(p->ix);
        }
        index_unlock(p->ix);
    }
    return err;
}

static int fetch_members(struct pull *p)
{
    size_t all = 0;
    if (p->params->joining)
        return 0;
    for (size_t i = 0; i < p->params->count; i++) {
        size_t fresh = 0;
        int err = members_fetch(p->params->stores[i].store, p->roster, &fresh);
        all += fresh;
        if (pull_cancelled(p))
            return ERR_INTR;
        if (err == ERR_CONTRADICTION)
            return pull_note(
                p, err,
                "two devices of the vault claim the same number: the roster on the store is forged");
        if (err == ERR_VERSION) {
            err = members_save(p->params->vault, p->roster);
            if (!err)
                err = index_flush(p->ix);
            return err ? err
                       : pull_note(p, ERR_VERSION,
                                   "a newer program changed which devices belong; update this one");
        }
        if (err == ERR_NOMEM)
            return err;
        if (err)
            pull_store_note(p, i, err);
    }
    return all ? members_save(p->params->vault, p->roster) : 0;
}

static int make_devices(struct pull *p)
{
    size_t n = roster_count(p->roster);
    p->devices = calloc(n ? n : 1, sizeof(*p->devices));
    if (!p->devices)
        return ERR_NOMEM;
    int err = 0;
    index_lock(p->ix);
    for (size_t i = 0; i < n && !err; i++) {
        const struct roster_device *member = roster_at(p->roster, i);
        if (member->tag == p->self)
            continue;
        struct pull_device *d = &p->devices[p->device_count++];
        d->member = member;
        d->window = p->params->joining ? JOINING_WINDOW : 1;
        err = ledger_head_get(p->ix, member->tag, &d->head);
    }
    index_unlock(p->ix);
    return err;
}

/* ---- one batch ---- */

static const uint8_t *epoch_key(struct pull *p, uint32_t epoch)
{
    for (uint32_t i = 0; i < p->keyring->epoch_count; i++)
        if (p->keyring->epochs[i].epoch == epoch)
            return p->keyring->epochs[i].key;
    return NULL;
}

/* Keeps what proves the contradiction: our hash, theirs, and the batch as signed. */
static int contradiction(struct pull *p, struct pull_device *d, const struct bytes_out *batch,
                         const uint8_t known[32], const char *what)
{
    uint8_t key[12];
    struct bytes_out value;
    char why[200];
    const size_t max = 512u << 10;
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(d->member->tag >> (24 - 8 * i));
    for (int i = 0; i < 8; i++)
        key[4 + i] = (uint8_t)((d->head.seq + 1) >> (56 - 8 * i));
    bytes_out_init(&value);
    bytes_put(&value, known, 32);
    bytes_put_var32(&value, batch->p, batch->len < max ? batch->len : max);
    index_lock(p->ix);
    int err = index_begin(p->ix, INDEX_REMOTE, value.len + 256);
    if (!err) {
        err = value.bad ? ERR_NOMEM
                        : index_kv_put(p->ix, "proof", key, sizeof(key), value.p, value.len);
        index_end(p->ix);
    }
    index_unlock(p->ix);
    bytes_out_release(&value);
    if (err)
        log_warn("pull: the proof of a contradiction could not be kept: %s", err_text(err));
    snprintf(why, sizeof(why),
             "%s (device %s, batch %" PRIu64 "); proof kept. Do not trust this store", what,
             d->member->name, d->head.seq + 1);
    log_error("pull: device %u, batch %" PRIu64 ": contradiction", d->member->tag, d->head.seq + 1);
    return pull_note(p, ERR_CONTRADICTION, why);
}

static int check_ref(struct pull *p, struct pull_device *d, const struct batch_head_ref *ref,
                     const struct bytes_out *batch, bool *ready)
{
    struct ledger_head head;
    uint8_t hash[32];
    index_lock(p->ix);
    int err = ledger_head_get(p->ix, ref->device, &head);
    if (!err)
        err = ref->seq <= head.seq ? chain_hash(p->ix, ref->device, ref->seq, hash) : ERR_NOENT;
    index_unlock(p->ix);
    if (!err && memcmp(hash, ref->hash, 32) == 0)
        return 0;
    if (!err)
        return contradiction(p, d, batch, hash,
                             "the store shows different devices different histories");
    if (err != ERR_NOENT)
        return err;
    if (ref->device == p->self)
        return contradiction(
            p, d, batch, head.hash,
            "this vault directory is older than what others have seen of it: restored from a backup? Clone anew");
    *ready = false;
    return 0;
}

/* All that its author had applied is applied here, with the same hashes? */
static int check_vector(struct pull *p, struct pull_device *d, const struct batch_head *head,
                        const struct bytes_out *batch, bool *ready)
{
    *ready = true;
    for (size_t i = 0; i < head->ref_count; i++) {
        if (head->refs[i].device == d->member->tag)
            continue;
        int err = check_ref(p, d, &head->refs[i], batch, ready);
        if (err)
            return err;
    }
    return 0;
}

static int apply(struct pull *p, struct pull_device *d, const struct batch_head *head,
                 const uint8_t hash[32], const struct bytes_out *bytes)
{
    char name[BATCH_NAME_LEN];
    bool local = false;
    const uint8_t *key = epoch_key(p, head->epoch);
    if (!key)
        return ERR_BEHIND; /* a key of ours that is not here yet */
    struct merge_batch *batch = merge_batch_new();
    if (!batch)
        return ERR_NOMEM;
    batch_name(d->member->store_name, head->seq, name);
    int err = batch_open_body(bytes->p, bytes->len, key, vault_id(p->params->vault), name,
                              merge_batch_add, batch);
    if (err == ERR_AUTH)
        err = ERR_FORMAT; /* its author signed it so */
    const struct merge_params params = {p->params->vault, head, hash, d->member->tag, p->roster};
    if (!err)
        err = merge_apply(&params, batch, &local);
    merge_batch_free(batch);
    p->local |= local;
    return err;
}

/* *done: it is applied. Otherwise it waits for others, or (ERR_FORMAT) for ever. */
static int try_batch(struct pull *p, struct pull_device *d, const struct bytes_out *bytes,
                     bool *done)
{
    struct batch_head head;
    uint8_t hash[32];
    bool ready;
    *done = false;
    int err = batch_open_head(bytes->p, bytes->len, &head, hash);
    if (err)
        return err;
    if (memcmp(head.prev, d->head.hash, 32) != 0)
        err = contradiction(p, d, bytes, d->head.hash, "a device's history was forked");
    if (!err)
        err = check_vector(p, d, &head, bytes, &ready);
    if (!err && ready)
        err = apply(p, d, &head, hash, bytes);
    if (!err && ready) {
        d->head.seq = head.seq;
        memcpy(d->head.hash, hash, 32);
        p->result->batches++;
        *done = true;
    }
    batch_head_release(&head);
    return err;
}

static int refused(struct pull *p, struct pull_device *d, int err)
{
    char why[200];
    d->stuck = true;
    snprintf(why, sizeof(why), "batch %" PRIu64 " of device %s is refused: %s", d->head.seq + 1,
             d->member->name,
             err == ERR_VERSION ? "it was written by a newer program; update this one"
                                : "no honest device writes this");
    log_warn("pull: batch %" PRIu64 " of device %u is refused: %s", d->head.seq + 1, d->member->tag,
             err_text(err));
    pull_note(p, err, why);
    return 0;
}

/* Applies what it can of one device. */
static int pull_device(struct pull *p, struct pull_device *d, bool *progress)
{
    while (!d->stuck) {
        struct bytes_out *bytes;
        bool done;
        if (pull_cancelled(p))
            return ERR_INTR;
        int err = pull_fetch(p, d, &bytes);
        if (err)
            return err;
        if (!bytes)
            return 0;
        err = try_batch(p, d, bytes, &done);
        if (err == ERR_FORMAT || err == ERR_VERSION)
            return refused(p, d, err);
        if (err && err != ERR_BEHIND)
            return err;
        if (err || !done) {
            pull_fetch_wait(p, d);
            return 0;
        }
        pull_fetch_next(d);
        *progress = true;
        if (p->params->progress)
            p->params->progress(p->params->ctx, p->result->batches,
                                p->result->batches + pull_fetch_waiting(p));
    }
    return 0;
}

static int run(struct pull *p)
{
    int err = note_own(p);
    if (!err)
        err = fetch_members(p);
    if (!err)
        err = make_devices(p);
    bool progress = true;
    while (!err && progress) {
        progress = false;
        for (size_t i = 0; i < p->device_count && !err; i++)
            err = pull_device(p, &p->devices[i], &progress);
    }
    if (err)
        return err;
    for (size_t i = 0; i < p->device_count; i++)
        if (pull_fetch_pending(&p->devices[i]))
            pull_note(p, ERR_BEHIND, "the store does not show everything yet");
    err = pull_fetch_check_heads(p);
    if (err || p->err)
        return err;
    bool local;
    err = merge_settle(p->params->vault, p->result->batches == 0, &local);
    p->local |= local;
    return err;
}

int pull_run(const struct pull_params *params, struct pull_result *result)
{
    struct pull p = {.params = params, .result = result};
    memset(result, 0, sizeof(*result));
    if (params->count == 0 || params->count > STORES_MAX)
        return params->count ? ERR_MISUSE : ERR_NOENT;
    p.ix = vault_index(params->vault);
    p.keyring = vault_keyring(params->vault);
    p.self = p.keyring->device_tag;
    int err = members_load(params->vault, &p.roster);
    if (!err)
        err = run(&p);
    if (err)
        pull_note(&p, pull_cancelled(&p) ? ERR_INTR : err, NULL);
    bool answered = false;
    for (size_t i = 0; i < params->count; i++)
        answered |= p.store_err[i] == 0;
    if (!answered)
        pull_note(&p, p.last_store_err, p.store_why);
    if (result->batches) {
        err = index_flush(p.ix);
        if (err)
            pull_note(&p, err, NULL);
    }
    result->local = p.local;
    for (size_t i = 0; i < p.device_count; i++)
        pull_fetch_release(&p.devices[i]);
    free(p.devices);
    roster_free(p.roster);
    return p.err;
}
