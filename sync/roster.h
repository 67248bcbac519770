/*
 * roster.h - which devices belong to the vault: a set of signed records that starts with the genesis. [roster]
 *
 * A record: magic "OBSR"; u8 version 1; u8 suite 1; u8 kind (1 genesis, 2 add device); u8 0; vault id (32; zero in the genesis);
 * u32 n (0: genesis); hash of a record it follows (32; zero in the genesis); device sign key (32); device box key (32); device tag u32;
 * recovery sign key (32; the genesis fixes it, zero in others); var16 device name as a sealed object (OBJECT_DEVICE_NAME under the first
 * epoch key's KDF_JOURNAL subkey, epoch 0, place "roster", vault id as in the record: zero in the genesis); u8 signer (1 the recovery key, 2 a device in the roster followed by its key (32));
 * signature (64), domain "obs-roster", over all before it.                                               [roster-record]
 * The genesis is signed by its own device (signer 2). vault id = kdf_hash("obs-roster", genesis bytes). Adds commute, so two devices that join at once are both
 * in; the name on the store, roster/<n, 8 hex>-<first 16 hex of the hash>, is never written twice. A device tag that is taken is refused.
 * A record of any other kind but 0 is of the same form. If it verifies, whoever wrote it had a newer program and changed who belongs in a way that
 * this one does not know (removed a device, say): from then on this program must not go on as if nothing were. [roster-newer]
 * The roster hash in batches is kdf_hash("obs-roster-set", hashes of all known records in ascending order).
 *
 * The device's name on the store is the first 32 hex digits of kdf_hash("obs-device", sign key).
 */
#ifndef SYNC_ROSTER_H
#define SYNC_ROSTER_H

#include "crypto/bytes.h"
#include "crypto/sign.h"

#define ROSTER_RECORD_MAX      1024u
#define ROSTER_DEVICES_MAX     1024u
#define ROSTER_DEVICE_NAME_LEN 33u /* with NUL */

struct roster_device {
    uint8_t sign_key[SIGN_PUBLIC_LEN], box_key[SIGN_PUBLIC_LEN];
    uint32_t tag;
    uint8_t hash[32]; /* of its record */
    uint32_t n;
    char name[65]; /* for people */
    char store_name[ROSTER_DEVICE_NAME_LEN];
    uint8_t *record; /* its record, as on the store; owned by the roster */
    size_t record_len;
};

void roster_store_name(const uint8_t sign_key[SIGN_PUBLIC_LEN], char name[ROSTER_DEVICE_NAME_LEN]);
/* The tag that a new device asks for; if it is taken, another key is drawn. */
uint32_t roster_tag(const uint8_t sign_key[SIGN_PUBLIC_LEN]);

struct roster; /* not thread-safe */
struct roster *roster_new(const uint8_t vault_id[32],
                          const uint8_t first_epoch_key[SECRET_KEY_LEN]);
void roster_free(struct roster *r);
/* Verifies and adds a record (any order as long as its predecessor is known); known ones are no-ops. ERR_AUTH, ERR_FORMAT, ERR_VERSION,
 * ERR_NOENT (predecessor unknown yet), ERR_CONTRADICTION (a taken tag). */
int roster_add(struct roster *r, const void *record, size_t len);
/* The record, borrowed, for which roster_add gave ERR_VERSION although its signature is right; NULL: none was seen. Anybody can make a record
 * that gives ERR_VERSION without one. [roster-newer] */
const void *roster_newer(const struct roster *r, size_t *len, uint8_t hash[32]);
size_t roster_count(const struct roster *r);
const struct roster_device *roster_at(const struct roster *r, size_t i);
const struct roster_device *roster_by_tag(const struct roster *r, uint32_t tag);
const struct roster_device *roster_by_key(const struct roster *r,
                                          const uint8_t key[SIGN_PUBLIC_LEN]);
void roster_hash(const struct roster *r, uint8_t hash[32]);

/* ${out} gets the genesis; vault_id its hash. */
int roster_make_genesis(const struct sign_keys *keys, uint32_t tag,
                        const uint8_t recovery_public[SIGN_PUBLIC_LEN],
                        const uint8_t first_epoch_key[SECRET_KEY_LEN], const char *device_name,
                        struct bytes_out *out, uint8_t vault_id[32]);
/* A record that adds a device, following the newest known record, signed with the recovery key. */
int roster_make_add(const struct roster *r, const struct sign_keys *keys, uint32_t tag,
                    const struct sign_keys *recovery, const char *device_name,
                    struct bytes_out *out);
/* "roster/<n>-<hash>". */
int roster_object_name(const void *record, size_t len, char name[64]);

#endif
