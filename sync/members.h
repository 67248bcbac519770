/*
 * members.h - the roster of an opened vault: kept in the index, fetched from and put on stores.
 */
#ifndef SYNC_MEMBERS_H
#define SYNC_MEMBERS_H

#include "fs/vault.h"
#include "sync/roster.h"
#include "sync/store.h"

/* The roster as known here: the genesis of the keyring and the records in the index. To be freed with roster_free. Takes the index
 * lock. ERR_AUTH, ERR_FORMAT: the local copy is damaged. ERR_VERSION: a newer program changed who belongs, and this one must not sync any
 * more [roster-newer]. */
int members_load(struct vault *vault, struct roster **roster);

/*
 * Lists roster/ on the store and adds to ${roster} every record that is new and verifies; *fresh (may be NULL) says how many. What does not
 * verify, or follows a record that is not there, is left out (logged): it counts as not there yet. ERR_CONTRADICTION: a validly
 * signed record takes a taken tag. ERR_VERSION: one is of a kind that this program does not know; members_save keeps it, so that a store which
 * hides it again does not make it forgotten. ERR_NET... No index is touched: usable before there is a vault.
 */
int members_fetch(struct store *store, struct roster *roster, size_t *fresh);

/* Writes the records of ${roster} that the index does not know into it; durable with the next index_flush. Takes the lock. */
int members_save(struct vault *vault, const struct roster *roster);

/* Puts the records of ${roster} that the store does not have. */
int members_put(struct store *store, const struct roster *roster);
/* The same for one. */
int members_put_one(struct store *store, const struct roster_device *device);

#endif
