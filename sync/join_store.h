/*
 * join_store.h - what the files join*.c share: the header on the store, keys of new devices.
 */
#ifndef SYNC_JOIN_STORE_H
#define SYNC_JOIN_STORE_H

#include "fs/vault.h"
#include "sync/roster.h"
#include "sync/store.h"

#define JOIN_WHY 200u /* bytes of a line for people */

/* Draws a new device's keys and a tag that is free in ${roster} (NULL: any). ERR_INVAL: the name is too long. */
int join_device_keys(struct keyring *keyring, const struct roster *roster, const char *device_name);
/* Keeps the genesis and the recovery object in the keyring. */
int join_keyring_bytes(struct keyring *keyring, const void *genesis, size_t genesis_len,
                       const struct bytes_out *recovery);

/* Reads the header "vault" of a store. [store-header] ERR_NOENT: none; ERR_NOTOURS: something else has that name; ERR_VERSION. */
int join_store_header(struct store *store, uint8_t vault_id[32]);

/* Puts the key box of this device (made once, kept in the index) and then its roster record, where they are missing. ${fresh}: they
 * cannot be there, so it is not asked. */
int join_store_self(struct vault *vault, struct store *store, const struct roster *roster,
                    bool fresh);

#endif
