/*
 * pull_impl.h - what the parts of a pull share. Internal to sync/pull*.c. One thread.
 */
#ifndef SYNC_PULL_IMPL_H
#define SYNC_PULL_IMPL_H

#include "sync/ledger.h"
#include "sync/pull.h"
#include "sync/roster.h"

#define PULL_WINDOW 8u /* batches asked for at once */
/* What is asked for of those behind the first. Whoever is larger, and few are, is asked for again when it is the first. */
#define PULL_AHEAD_MAX (256u << 10)
/* Batches that wait for others are kept up to this size together. With BATCH_MAX and what is ahead of one device, a pull has less than
 * 32 MiB of batches in memory, however many devices there are and whatever the store sends. */
#define PULL_HELD_MAX (8u << 20)

struct pull_device {
    const struct roster_device *member;
    struct ledger_head head; /* applied */
    struct bytes_out ahead
        [PULL_WINDOW]; /* fetched and verified: those after the head, the first in ahead[first] */
    size_t first, count;
    size_t window; /* how many to ask for next */
    bool ended;    /* nothing further was there when last asked */
    bool shown;    /* the head was fetched in this run */
    bool
        /* its next batch was there and waits for others; it is fetched again when it is its turn */
        let_go;
    bool stuck; /* its next batch is refused, or does not verify */
};

struct pull {
    const struct pull_params *params;
    struct pull_result *result;
    struct index *ix;
    const struct keyring *keyring;
    uint32_t self;
    struct roster *roster;
    struct pull_device *devices;
    size_t device_count;
    int store_err[STORES_MAX]; /* not 0: that store is not asked any more */
    int last_store_err;
    char store_why[200];
    int err; /* the gravest so far */
    bool local;
};

bool pull_cancelled(const struct pull *p);
int pull_note(struct pull *p, int err, const char *why);
void pull_store_note(struct pull *p, size_t store, int err);

/* ---- pull_fetch.c ---- */
/* *batch: the one after the head, verified as far as it can be without what is applied here; NULL: none is there (yet). */
int pull_fetch(struct pull *p, struct pull_device *d, struct bytes_out **batch);
/* It is applied. */
void pull_fetch_next(struct pull_device *d);
/* It waits for others: is kept, or let go when too much is kept already. */
void pull_fetch_wait(struct pull *p, struct pull_device *d);
/* Is there one that waits to be applied? */
bool pull_fetch_pending(const struct pull_device *d);
uint64_t pull_fetch_waiting(const struct pull *p);
/* Notes ERR_BEHIND when no store shows the last batch of a device any more. */
int pull_fetch_check_heads(struct pull *p);
void pull_fetch_release(struct pull_device *d);

#endif
