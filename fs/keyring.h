/*
 * keyring.h - the keys of this device and the epoch keys of the vault. [keyring]
 *
 * Kept in VAULT/keyring as one sealed object (OBJECT_KEYRING, under the device key's KDF_KEYRING subkey, place "keyring"):
 *   u16 version = 1; sign seed (32); box seed (32); device tag u32; u16 number of epochs; { epoch u32; key (32) } ...;
 *   var32 recovery object (the sealed recovery slot, as it goes to keys/recovery); var32 genesis roster bytes;
 *   var16 device name (UTF-8, no control characters)
 * Epochs ascend from 1 on; there is at least one.
 * The vault code itself is not kept. Whole struct in secret_alloc memory.
 */
#ifndef FS_KEYRING_H
#define FS_KEYRING_H

#include "crypto/bytes.h"
#include "crypto/secret.h"

#define KEYRING_EPOCHS_MAX 64u
/* Small, so that the rings of several vaults fit into the locked arena: 64 epoch keys need 2.5 KiB. */
#define KEYRING_RECOVERY_MAX 4096u
#define KEYRING_GENESIS_MAX  2048u
#define KEYRING_NAME_MAX     64u

struct keyring {
    uint8_t device_key[SECRET_KEY_LEN]; /* first; not in the file: it opens the file */
    uint8_t sign_seed[32], box_seed[32];
    uint32_t device_tag; /* 1 to 2^23 - 1 */
    uint32_t epoch_count;
    struct {
        uint32_t epoch;
        uint8_t key[SECRET_KEY_LEN];
    } epochs[KEYRING_EPOCHS_MAX]; /* ascending */
    uint32_t recovery_len, genesis_len;
    uint8_t recovery[KEYRING_RECOVERY_MAX];
    uint8_t genesis[KEYRING_GENESIS_MAX];
    char device_name[KEYRING_NAME_MAX + 1];
};

struct keyring *keyring_new(void); /* zeroed; NULL: out of memory */
void keyring_free(struct keyring *keyring);
/* Durable replacement of the file below ${vault_fd}. ERR_MISUSE: not complete. ERR_NOSPACE, ERR_IO, ERR_NOMEM: the old one stays. */
int keyring_save(const struct keyring *keyring, int vault_fd, const uint8_t vault_id[32]);
/* ${keyring}->device_key must be set; fills the rest. ERR_AUTH, ERR_FORMAT, ERR_VERSION, ERR_IO. */
int keyring_load(struct keyring *keyring, int vault_fd, const uint8_t vault_id[32]);

#endif
