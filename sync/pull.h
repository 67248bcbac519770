/*
 * pull.h - what other devices did, fetched from the stores and applied.
 *
 * For every device in the roster but this one the next batch is asked for by its number, at each store in turn; what verifies and whose
 * vector of heads is satisfied is applied (merge.h), until no device has another. What does not verify counts as not there
 * yet. New roster records are fetched first (members.h).
 *
 * A batch and the new head of its device are applied in one index operation: interrupted anywhere, the next pull goes on.
 * Called by one thread at a time (the engine's, or join_clone); takes the index lock itself, never over network.
 */
#ifndef SYNC_PULL_H
#define SYNC_PULL_H

#include "fs/vault.h"
#include "sync/stores.h"

struct pull_params {
    struct vault *vault;
    const struct stores_handle *stores;
    size_t count;
    const _Atomic bool *cancelled; /* NULL: never */
    /* A new device: its roster is what the store had just now, and it has everybody's history to read. */
    bool joining;
    /* Batches applied, and batches known to exist; may be NULL. Called without locks. */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};

struct pull_result {
    uint64_t batches;  /* applied */
    uint64_t received; /* bytes */
    bool local;        /* merging made changes that are to be published */
    char why[200];     /* a line for people when there is an error */
};

/* 0: nothing further is there. ERR_BEHIND: a batch that must exist is not shown (yet); what could be applied was. ERR_CONTRADICTION: validly
 * signed and contradicts (the caller turns the vault read-only). ERR_NET, ERR_LOGIN...: of the last store that failed, when no store
 * answered. ERR_INTR, ERR_NOSPACE, ERR_IO. ${result} is filled in any case. */
int pull_run(const struct pull_params *params, struct pull_result *result);

#endif
