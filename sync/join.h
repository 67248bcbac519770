/*
 * join.h - how a vault and its devices begin: init, clone, and what the store gets to know of it.
 *
 * On the store:
 *   vault            "OBSSTORE", u32 format 1, u32 suite 1, vault id (32)                     [store-header]
 *   roster/<n>-<16 hex of its hash>  signed records: genesis, devices added                   [roster]  see roster.h
 *   keys/<device>    epoch keys boxed to that device                                          [keybox]
 *   keys/recovery    epoch keys and the recovery signing seed under the vault code            [recovery]
 */
#ifndef SYNC_JOIN_H
#define SYNC_JOIN_H

#include "crypto/code.h"
#include "fs/vault.h"
#include "sync/store.h"

/* A new vault (vault_create with everything in it). ${code} gets the vault code, to be shown once and wiped.
 * ${device_name}: UTF-8, at most KEYRING_NAME_MAX bytes. */
int join_init(const char *path, const void *secret, size_t secret_len, const struct slot_cost *cost,
              const char *device_name, uint8_t code[CODE_LEN], char *why);

/* Makes ${path} a new device of the vault on ${store}: recovery slot -> epoch keys; roster verified up to the genesis (its hash is the vault
 * id); new device keys; our roster record (signed with the recovery key) and key box put on the store; then all batches are replayed. The store
 * with its login is added to the new vault's list. Nothing is left at ${path} on failure; what a clone to the same ${path}
 * that was killed has left beside it is taken away. ${progress} may be NULL.
 * On success ${why} (200 bytes, or NULL) may hold a line, too: the store does not show all yet (the next pull will see).
 * ERR_EXIST (${path} is there and not an empty directory), ERR_WRONGKEY (wrong vault code), ERR_NOTOURS (no vault on the store), ERR_NET..., ERR_AUTH/ERR_FORMAT (damaged store). */
int join_clone(const char *path, struct store *store, const char *url,
               const struct store_login *login, const struct store_options *options,
               const uint8_t code[CODE_LEN], const void *secret, size_t secret_len,
               const struct slot_cost *cost, const char *device_name,
               void (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total),
               void *ctx, char *why);

/* Is the store empty, or this vault's? Writes nothing. ERR_NOTOURS: something else is there (${why}: 200 bytes for people, or NULL). */
int join_check_store(struct vault *vault, struct store *store, char *why);

/* Puts the header, roster, key boxes and recovery slot on a store that is empty, or checks that what is there is this vault.
 * ERR_NOTOURS: something else is there. On a store that was empty nothing stays when it fails, unless the store cannot be reached; then the
 * next attempt goes on. */
int join_prepare_store(struct vault *vault, struct store *store, char *why);

#endif
