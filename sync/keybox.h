/*
 * keybox.h - the vault's keys on the store: boxed to each device, and once under the vault code.
 *
 * keys/<device name>                                                                                [keybox]
 *   magic "OBSK"; u8 version 1; u8 suite 1; u16 0; vault id (32); device sign key (32): whose box it is; author's sign key (32);
 *   var32 box: to the device's box key (sign_box) of { vault id (32); u16 n; n x { epoch u32; key (32) }, ascending };
 *   signature (64) of the author, domain "obs-keybox", over everything before.
 *   Anyone can make a box to a device, so it counts only when its author, a device in the roster, has signed it.
 *
 * keys/recovery                                                                                     [recovery]
 *   a sealed object (OBJECT_RECOVERY, epoch 0, key code_key(vault code, vault id), place "keys/recovery") of u16 version 1; recovery sign
 *   seed (32); u16 n; n x { epoch u32; key (32) }, ascending.
 *
 * Epochs go into and come from the ${epochs} of a struct keyring.
 */
#ifndef SYNC_KEYBOX_H
#define SYNC_KEYBOX_H

#include "crypto/code.h"
#include "fs/keyring.h"
#include "sync/roster.h"

#define KEYBOX_MAX      4096u
#define KEYBOX_NAME_LEN 40u /* "keys/<32 hex>" with its NUL */
#define KEYBOX_RECOVERY "keys/recovery"

void keybox_name(const struct roster_device *device, char name[KEYBOX_NAME_LEN]);

/* Appends a box of all epochs of ${keyring} to ${device}. */
int keybox_make(const struct keyring *keyring, const uint8_t vault_id[32],
                const struct sign_keys *author, const struct roster_device *device,
                struct bytes_out *out);
/* Opens a box to ${own}. ERR_AUTH (not signed by one in the roster, not to us, not of this vault), ERR_FORMAT, ERR_VERSION. */
int keybox_open(const void *p, size_t len, const uint8_t vault_id[32], const struct roster *roster,
                const struct sign_keys *own, struct keyring *keyring);

int keybox_make_recovery(const struct keyring *keyring, const uint8_t vault_id[32],
                         const uint8_t code[CODE_LEN], const uint8_t recovery_seed[SIGN_SEED_LEN],
                         struct bytes_out *out);
/* ${recovery_seed} in secret_alloc memory. ERR_WRONGKEY (also for damage), ERR_FORMAT, ERR_VERSION. */
int keybox_open_recovery(const void *p, size_t len, const uint8_t vault_id[32],
                         const uint8_t code[CODE_LEN], struct keyring *keyring,
                         uint8_t recovery_seed[SIGN_SEED_LEN]);

/* The secret half of the recovery key: it only signs. NULL: out of memory. */
struct sign_keys *keybox_recovery_keys(const uint8_t recovery_seed[SIGN_SEED_LEN]);

#endif
