#include "sync/keybox.h"

#include "crypto/err.h"
#include "crypto/object.h"

#include <stdio.h>
#include <string.h>

#define BOX_MAGIC        "OBSK"
#define BOX_VERSION      1u
#define BOX_SUITE        1u
#define BOX_DOMAIN       "obs-keybox"
#define RECOVERY_VERSION 1u
#define EPOCH_LEN        36u
#define BOXED_MAX        (32u + 2u + KEYRING_EPOCHS_MAX * EPOCH_LEN + SIGN_BOX_OVERHEAD)

void keybox_name(const struct roster_device *device, char name[KEYBOX_NAME_LEN])
{
    snprintf(name, KEYBOX_NAME_LEN, "keys/%s", device->store_name);
}

static void put_epochs(struct bytes_out *out, const struct keyring *keyring)
{
    bytes_put_u16(out, (uint16_t)keyring->epoch_count);
    for (uint32_t i = 0; i < keyring->epoch_count; i++) {
        bytes_put_u32(out, keyring->epochs[i].epoch);
        bytes_put(out, keyring->epochs[i].key, SECRET_KEY_LEN);
    }
}

/* To the end of *in. */
static int get_epochs(struct bytes_in *in, struct keyring *keyring)
{
    uint16_t n = bytes_get_u16(in);
    if (in->bad || n < 1 || n > KEYRING_EPOCHS_MAX || in->left != (size_t)n * EPOCH_LEN)
        return ERR_FORMAT;
    uint32_t before = 0;
    for (uint32_t i = 0; i < n; i++) {
        keyring->epochs[i].epoch = bytes_get_u32(in);
        bytes_get(in, keyring->epochs[i].key, SECRET_KEY_LEN);
        if (keyring->epochs[i].epoch <= before)
            return ERR_FORMAT;
        before = keyring->epochs[i].epoch;
    }
    keyring->epoch_count = n;
    return bytes_in_done(in);
}

/* ---- boxes to devices ---- */

int keybox_make(const struct keyring *keyring, const uint8_t vault_id[32],
                const struct sign_keys *author, const struct roster_device *device,
                struct bytes_out *out)
{
    struct bytes_out plain;
    size_t start = out->len;
    bytes_out_init(&plain);
    plain.secret = true;
    bytes_put(&plain, vault_id, 32);
    put_epochs(&plain, keyring);

    bytes_put(out, BOX_MAGIC, 4); /* [keybox] */
    bytes_put_u8(out, BOX_VERSION);
    bytes_put_u8(out, BOX_SUITE);
    bytes_put_u16(out, 0);
    bytes_put(out, vault_id, 32);
    bytes_put(out, device->sign_key, SIGN_PUBLIC_LEN);
    bytes_put(out, sign_keys_public(author), SIGN_PUBLIC_LEN);
    bytes_put_u32(out, (uint32_t)(plain.len + SIGN_BOX_OVERHEAD));
    uint8_t *boxed = bytes_put_space(out, plain.len + SIGN_BOX_OVERHEAD);
    int err =
        boxed && !plain.bad ? sign_box(device->box_key, plain.p, plain.len, boxed) : ERR_NOMEM;
    bytes_out_release(&plain);
    uint8_t *sig = err ? NULL : bytes_put_space(out, SIGN_LEN);
    if (!err && !sig)
        err = ERR_NOMEM;
    if (!err)
        sign_make(author, BOX_DOMAIN, out->p + start, out->len - SIGN_LEN - start, sig);
    if (err)
        out->len = start;
    return err;
}

static int open_boxed(const uint8_t *boxed, size_t len, const uint8_t vault_id[32],
                      const struct sign_keys *own, struct keyring *keyring)
{
    struct bytes_out plain;
    struct bytes_in in;
    bytes_out_init(&plain);
    plain.secret = true;
    if (len <= SIGN_BOX_OVERHEAD)
        return ERR_FORMAT;
    uint8_t *at = bytes_put_space(&plain, len - SIGN_BOX_OVERHEAD);
    int err = at ? sign_box_open(own, boxed, len, at) : ERR_NOMEM;
    if (!err) {
        bytes_in_init(&in, plain.p, plain.len);
        const uint8_t *id = bytes_get_ref(&in, 32);
        err = !id ? ERR_FORMAT : memcmp(id, vault_id, 32) ? ERR_AUTH : get_epochs(&in, keyring);
    }
    bytes_out_release(&plain);
    return err;
}

int keybox_open(const void *p, size_t len, const uint8_t vault_id[32], const struct roster *roster,
                const struct sign_keys *own, struct keyring *keyring)
{
    struct bytes_in in;
    size_t boxed_len;
    bytes_in_init(&in, p, len);
    const uint8_t *magic = bytes_get_ref(&in, 4);
    uint8_t version = bytes_get_u8(&in), suite = bytes_get_u8(&in);
    uint16_t zero = bytes_get_u16(&in);
    const uint8_t *id = bytes_get_ref(&in, 32), *to = bytes_get_ref(&in, SIGN_PUBLIC_LEN);
    const uint8_t *author = bytes_get_ref(&in, SIGN_PUBLIC_LEN);
    const uint8_t *boxed = bytes_get_var32(&in, BOXED_MAX, &boxed_len);
    const uint8_t *sig = bytes_get_ref(&in, SIGN_LEN);
    if (bytes_in_done(&in) || memcmp(magic, BOX_MAGIC, 4) != 0 || zero || !version || !suite)
        return ERR_FORMAT;
    if (version != BOX_VERSION || suite != BOX_SUITE)
        return ERR_VERSION;
    if (memcmp(id, vault_id, 32) != 0 || memcmp(to, sign_keys_public(own), SIGN_PUBLIC_LEN) != 0)
        return ERR_AUTH;
    const struct roster_device *from = roster_by_key(roster, author);
    int err = from ? sign_verify(from->sign_key, BOX_DOMAIN, p, len - SIGN_LEN, sig) : ERR_AUTH;
    return err ? err : open_boxed(boxed, boxed_len, vault_id, own, keyring);
}

/* ---- under the vault code ---- */

int keybox_make_recovery(const struct keyring *keyring, const uint8_t vault_id[32],
                         const uint8_t code[CODE_LEN], const uint8_t recovery_seed[SIGN_SEED_LEN],
                         struct bytes_out *out)
{
    struct bytes_out plain;
    uint8_t *key = secret_alloc(SECRET_KEY_LEN);
    if (!key)
        return ERR_NOMEM;
    bytes_out_init(&plain);
    plain.secret = true;
    bytes_put_u16(&plain, RECOVERY_VERSION); /* [recovery] */
    bytes_put(&plain, recovery_seed, SIGN_SEED_LEN);
    put_epochs(&plain, keyring);
    code_key(code, vault_id, key);
    int err = plain.bad ? ERR_NOMEM
                        : object_seal(out, OBJECT_RECOVERY, 0, key, vault_id, KEYBOX_RECOVERY,
                                      plain.p, plain.len);
    secret_free(key);
    bytes_out_release(&plain);
    return err;
}

int keybox_open_recovery(const void *p, size_t len, const uint8_t vault_id[32],
                         const uint8_t code[CODE_LEN], struct keyring *keyring,
                         uint8_t recovery_seed[SIGN_SEED_LEN])
{
    struct bytes_out plain;
    struct bytes_in in;
    uint8_t *key = secret_alloc(SECRET_KEY_LEN);
    if (!key)
        return ERR_NOMEM;
    bytes_out_init(&plain);
    plain.secret = true;
    code_key(code, vault_id, key);
    int err = object_open(&plain, OBJECT_RECOVERY, key, vault_id, KEYBOX_RECOVERY, p, len);
    secret_free(key);
    if (err == ERR_AUTH)
        err = ERR_WRONGKEY;
    if (!err) {
        bytes_in_init(&in, plain.p, plain.len);
        uint16_t version = bytes_get_u16(&in);
        bytes_get(&in, recovery_seed, SIGN_SEED_LEN);
        if (in.bad || version == 0)
            err = ERR_FORMAT;
        else
            err = version == RECOVERY_VERSION ? get_epochs(&in, keyring) : ERR_VERSION;
    }
    bytes_out_release(&plain);
    return err;
}

struct sign_keys *keybox_recovery_keys(const uint8_t recovery_seed[SIGN_SEED_LEN])
{
    static const uint8_t no_box[SIGN_SEED_LEN]; /* nothing is ever boxed to the recovery key */
    return sign_keys_new(recovery_seed, no_box);
}
