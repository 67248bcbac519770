/*
 * push_impl.h - what the parts of a push share. Internal to sync/push*.c.
 */
#ifndef SYNC_PUSH_IMPL_H
#define SYNC_PUSH_IMPL_H

#include "sync/ledger.h"
#include "sync/push.h"
#include "sync/roster.h"

#include <pthread.h>

struct push_store {
    uint32_t id;
    struct store *store;
    const struct stores_item *item; /* may be NULL */
    int err;                        /* it failed in this run: left alone from there on */
    bool
        /* it misses packs: no batch goes there in this run. Workers set it under the index lock */
        incomplete;
};

/* One run. Written by the thread of push_run only, but for what ${lock} guards. */
struct push {
    const struct push_params *params;
    struct index *ix;
    const struct keyring *keyring;
    struct sign_keys *keys;           /* own */
    struct roster *roster;            /* own */
    const struct roster_device *self; /* in the roster */
    uint32_t epoch;
    const uint8_t *epoch_key;
    size_t batch_items;
    struct push_store stores[STORES_MAX];
    size_t store_count;
    uint64_t *lost; /* numbers of packs that no store has */
    size_t lost_count, lost_cap;

    pthread_mutex_t
        lock; /* guards all below, and ${err} of the stores; taken alone or inside nothing */
    struct push_result *result;
    int err; /* the gravest so far */
    uint64_t done, total;
};

bool push_cancelled(const struct push *p);
/* Keeps the error if it is graver than what there was. ${why}: a line for people, or NULL. Returns ${err}. Any thread. */
int push_note(struct push *p, int err, const char *why);
/* The same for a store, with what it says itself (${store}: the handle that failed); the store is left alone from now on, unless err is
 * ERR_BEHIND. */
int push_store_note(struct push *p, struct push_store *s, const struct store *store, int err);
/* Its error so far; ERR_INTR when cancelled. Any thread. */
int push_store_err(struct push *p, struct push_store *s);
/* False: cancelled, or every store has failed. Any thread. */
bool push_any_store(struct push *p);
void push_sent(struct push *p, uint64_t bytes);

int push_check_stores(struct push *p); /* push_check.c */
int push_packs(struct push *p);        /* push_pack.c */
int push_mirror_packs(
    struct push *p); /* push_mirror.c: packs that a store misses, from other stores */
int push_mirror_batches(
    struct push *p); /* push_mirror.c: batches of other devices with their packs, roster records */
/* push_lost.c: what was in packs that no store has any more is made to be packed again. */
int push_lost(struct push *p);
int push_lost_add(struct push *p, uint64_t pid);
/* Every store in the list was asked in this run, and has answered so far. */
bool push_all_answered(struct push *p);
int push_write_batches(struct push *p, uint64_t *held); /* push_batch.c */
int push_outbox(struct push *p);                        /* push_outbox.c */

#endif
