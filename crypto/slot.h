/*
 * slot.h - a local slot: one way to open the device key of this device. [slot]
 *
 * Slots never leave the device. All slots have one length, SLOT_LEN, and one error, ERR_WRONGKEY, in the same
 * time, whether the passphrase is wrong or the slot is damaged (unless the damage is in the cost, see below); the
 * key commitment is checked before the AEAD.
 *
 *   0    8   magic "OBSSLOT1"
 *   8    1   type (1 passphrase, 2 keyfile)
 *   9    1   kdf (1: Argon2id, version 1.3)
 *   10   2   slot number
 *   12   4   opslimit (t)
 *   16   8   memlimit, bytes
 *   24   16  salt
 *   40   32  vault id
 *   72   32  commitment: BLAKE2b under the slot key's KDF_SLOT_COMMIT subkey of bytes 0..71
 *   104  24  nonce
 *   128  48  device key sealed (32 + tag), AAD: bytes 0..103
 *   176  80  random, so that every slot has 256 bytes; readers do not look at it
 *
 * slot key   = Argon2id version 1.3, 1 lane, 32 bytes, t = opslimit, m = memlimit / 1024 KiB, of the passphrase's
 *              bytes with the salt (crypto_pwhash, ALG_ARGON2ID13)                              [slot-key]
 * commitment = BLAKE2b, output 32 bytes, key = kdf_derive(slot key, KDF_SLOT_COMMIT),
 *              message = bytes 0..71                                                     [slot-commitment]
 * body       = XChaCha20-Poly1305 (crypto/seal.h) with key = kdf_derive(slot key, KDF_SLOT_BODY)
 *
 * slot_make makes type 1; both types open alike. A magic that ends in '2' to '9' is ERR_VERSION. Parameters read from disk below the floor (t 3, 64 MiB) or above the ceiling (t 16, 2 GiB) are refused
 * before any work; a slot that is made always uses local policy. [slot-policy]
 * Thread-safe.
 */
#ifndef CRYPTO_SLOT_H
#define CRYPTO_SLOT_H

#include "crypto/seal.h"

#define SLOT_LEN        256u
#define SLOT_SECRET_MAX 4096u /* bytes of a passphrase at most */
#define SLOT_OPS_MIN    3u
#define SLOT_OPS_MAX    16u
#define SLOT_MEM_MIN    (64ull << 20)
#define SLOT_MEM_MAX    (2ull << 30)

struct slot_cost {
    uint32_t ops;
    uint64_t mem; /* bytes */
};

/* Argon2id parameters for about one second on this machine (from 64 MiB up to 1 GiB and a quarter of RAM).
 * OBSCURAFS_TEST_FAST_KDF=1 in the environment gives the floor: for tests, which make many vaults; the floor is
 * still a sound policy. */
void slot_calibrate(struct slot_cost *cost);

/* Seals ${device_key} under ${secret} (a passphrase's bytes, 1 to SLOT_SECRET_MAX). ERR_NOMEM; ERR_MISUSE: an empty or
 * too long secret, or a cost below the floor or above the ceiling. After an error ${slot} is as it was. */
int slot_make(uint8_t slot[SLOT_LEN], uint16_t number, const uint8_t vault_id[SEAL_VAULT_ID],
              const struct slot_cost *cost, const void *secret, size_t len,
              const uint8_t device_key[SECRET_KEY_LEN]);

/* ERR_WRONGKEY (also for damage), ERR_VERSION (a newer slot format), ERR_NOMEM (not enough memory for the
 * parameters; says so instead of "wrong passphrase"). After an error ${device_key} is zero. */
int slot_open(const uint8_t slot[SLOT_LEN], uint16_t number, const uint8_t vault_id[SEAL_VAULT_ID],
              const void *secret, size_t len, uint8_t device_key[SECRET_KEY_LEN]);

/* For info: the cost, without opening. Nothing of it is authenticated. ERR_FORMAT: no slot of ours. */
int slot_describe(const uint8_t slot[SLOT_LEN], struct slot_cost *cost);

#endif
