#include "sync/push.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/members.h"
#include "sync/push_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS                                                                                     \
    2 /* what was written while the first packs were on their way gets its chance in the second */

bool push_cancelled(const struct push *p)
{
    return p->params->cancelled && *p->params->cancelled;
}

static int gravity(int err)
{
    switch (err) {
    case 0:
        return 0;
    case ERR_INTR:
        return 1;
    case ERR_BEHIND:
        return 2;
    case ERR_NET:
        return 3;
    case ERR_LOGIN:
    case ERR_STOREFULL:
    case ERR_NETPERM:
        return 4;
    case ERR_CONTRADICTION:
        return 6;
    default:
        return 5;
    }
}

int push_note(struct push *p, int err, const char *why)
{
    pthread_mutex_lock(&p->lock);
    if (gravity(err) > gravity(p->err)) {
        p->err = err;
        snprintf(p->result->why, sizeof(p->result->why), "%s", why ? why : err_text(err));
    }
    pthread_mutex_unlock(&p->lock);
    return err;
}

int push_store_note(struct push *p, struct push_store *s, const struct store *store, int err)
{
    const char *why = store_last_error(store);
    pthread_mutex_lock(&p->lock);
    if (!s->err && err != ERR_BEHIND)
        s->err = err;
    pthread_mutex_unlock(&p->lock);
    return push_note(p, err, why && why[0] && err != ERR_INTR ? why : NULL);
}

int push_store_err(struct push *p, struct push_store *s)
{
    if (push_cancelled(p))
        return ERR_INTR;
    pthread_mutex_lock(&p->lock);
    int err = s->err;
    pthread_mutex_unlock(&p->lock);
    return err;
}

bool push_any_store(struct push *p)
{
    for (size_t i = 0; i < p->store_count; i++)
        if (!push_store_err(p, &p->stores[i]))
            return true;
    return false;
}

void push_sent(struct push *p, uint64_t bytes)
{
    pthread_mutex_lock(&p->lock);
    p->result->sent += bytes;
    pthread_mutex_unlock(&p->lock);
}

static int start(struct push *p, const struct push_params *params, struct push_result *result)
{
    const struct push_limits *limits = params->limits;
    memset(p, 0, sizeof(*p));
    memset(result, 0, sizeof(*result));
    p->params = params;
    p->result = result;
    pthread_mutex_init(&p->lock, NULL);
    if (params->count == 0)
        return ERR_NOENT;
    if (params->count > STORES_MAX || vault_read_only(params->vault))
        return params->count > STORES_MAX ? ERR_MISUSE : ERR_ROFS;
    p->ix = vault_index(params->vault);
    p->keyring = vault_keyring(params->vault);
    p->batch_items = limits && limits->batch_items ? limits->batch_items : PUSH_BATCH_ITEMS;
    for (size_t i = 0; i < params->count; i++)
        p->stores[i] = (struct push_store){.id = params->stores[i].id,
                                           .store = params->stores[i].store,
                                           .item = params->stores[i].item};
    p->store_count = params->count;
    if (p->keyring->epoch_count == 0)
        return ERR_FORMAT;
    p->epoch = p->keyring->epochs[p->keyring->epoch_count - 1].epoch;
    p->epoch_key = p->keyring->epochs[p->keyring->epoch_count - 1].key;
    p->keys = sign_keys_new(p->keyring->sign_seed, p->keyring->box_seed);
    if (!p->keys)
        return ERR_NOMEM;
    int err = members_load(params->vault, &p->roster);
    if (err)
        return err;
    p->self = roster_by_key(p->roster, sign_keys_public(p->keys));
    return p->self && p->self->tag == p->keyring->device_tag ? 0 : ERR_FORMAT;
}

static void finish(struct push *p)
{
    free(p->lost);
    roster_free(p->roster);
    sign_keys_free(p->keys);
    pthread_mutex_destroy(&p->lock);
}

/* Each step notes its errors itself; they decide what the next ones leave out, but only a failing index ends the run. */
static int run(struct push *p)
{
    int err = push_check_stores(p);
    if (!err)
        err = push_mirror_packs(p);
    if (!err)
        err = push_lost(p);
    /* Without a store there is no batch either: a long time offline would make many small ones. */
    for (int round = 0; round < ROUNDS && !err && push_any_store(p); round++) {
        uint64_t held = 0;
        err = push_packs(p);
        if (!err)
            err = push_write_batches(p, &held);
        p->result->held = held;
        if (!held)
            break;
    }
    if (!err)
        err = push_mirror_batches(p);
    if (!err)
        err = push_lost(p); /* for the next run */
    /* The outbox must be durable before any of it is on a store: otherwise a crash here would make us write another batch of the same
     * number, which is what a forked device looks like. */
    if (!err)
        err = index_flush(p->ix);
    if (!err)
        err = push_outbox(p);
    return err;
}

int push_run(const struct push_params *params, struct push_result *result)
{
    struct push p;
    int err = start(&p, params, result);
    if (!err)
        err = run(&p);
    if (err)
        push_note(&p, err, NULL);
    if (push_cancelled(&p))
        push_note(&p, ERR_INTR, NULL);
    err = p.err;
    finish(&p);
    return err;
}
