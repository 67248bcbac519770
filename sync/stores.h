/*
 * stores.h - the list of a vault's stores, kept sealed in the index (space "store").
 */
#ifndef SYNC_STORES_H
#define SYNC_STORES_H

#include "fs/vault.h"
#include "sync/store.h"

#define STORES_MAX 8u

struct stores_item {
    uint32_t id; /* from 1, never reused */
    char url[STORE_URL_MAX + 1];
    char *user, *secret, *token; /* secret_alloc; NULL if none */
    char ca_file[1024];
    bool allow_http;
};

/* A store that is open, with the number that the ledger knows it by. */
struct stores_handle {
    uint32_t id;
    struct store *store;
    /* How to open more of it, for work in parallel; NULL: there is only this one. Borrowed. */
    const struct stores_item *item;
};

/* *items: array of *n, to be freed with stores_free. */
int stores_load(struct vault *vault, struct stores_item **items, size_t *n);
void stores_free(struct stores_item *items, size_t n);
/* ERR_EXIST: that URL is there already. Durable on return. */
int stores_add(struct vault *vault, const struct stores_item *item, uint32_t *id);
/* By URL or by number. ERR_NOENT. */
int stores_remove(struct vault *vault, const char *url_or_id);
int stores_open(const struct stores_item *item, struct store **store, char *why);

#endif
