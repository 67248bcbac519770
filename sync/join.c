#include "sync/join.h"

#include "crypto/err.h"
#include "sync/join_store.h"
#include "sync/keybox.h"

#include <stdio.h>
#include <string.h>

static void explain(char *why, const char *text)
{
    if (why)
        snprintf(why, JOIN_WHY, "%s", text);
}

int join_device_keys(struct keyring *keyring, const struct roster *roster, const char *device_name)
{
    if (strlen(device_name) > KEYRING_NAME_MAX)
        return ERR_INVAL;
    secret_random(keyring->device_key, sizeof(keyring->device_key));
    secret_random(keyring->box_seed, sizeof(keyring->box_seed));
    strcpy(keyring->device_name, device_name);
    do {
        secret_random(keyring->sign_seed, sizeof(keyring->sign_seed));
        struct sign_keys *keys = sign_keys_new(keyring->sign_seed, keyring->box_seed);
        if (!keys)
            return ERR_NOMEM;
        keyring->device_tag = roster_tag(sign_keys_public(keys));
        sign_keys_free(keys);
    } while (roster && roster_by_tag(roster, keyring->device_tag));
    return 0;
}

int join_keyring_bytes(struct keyring *keyring, const void *genesis, size_t genesis_len,
                       const struct bytes_out *recovery)
{
    if (genesis_len > KEYRING_GENESIS_MAX || recovery->len > KEYRING_RECOVERY_MAX)
        return ERR_FORMAT;
    memcpy(keyring->genesis, genesis, genesis_len);
    keyring->genesis_len = (uint32_t)genesis_len;
    memcpy(keyring->recovery, recovery->p, recovery->len);
    keyring->recovery_len = (uint32_t)recovery->len;
    return 0;
}

struct founding {
    struct keyring *keyring;
    uint8_t *recovery_seed; /* secret_alloc */
    struct sign_keys *keys, *recovery_keys;
    struct bytes_out genesis, recovery;
    uint8_t vault_id[32];
};

static int found(struct founding *f, const char *device_name, uint8_t code[CODE_LEN])
{
    bytes_out_init(&f->genesis);
    bytes_out_init(&f->recovery);
    f->keyring = keyring_new();
    f->recovery_seed = secret_alloc(SIGN_SEED_LEN);
    if (!f->keyring || !f->recovery_seed)
        return ERR_NOMEM;
    int err = join_device_keys(f->keyring, NULL, device_name);
    if (err)
        return err;
    f->keyring->epoch_count = 1;
    f->keyring->epochs[0].epoch = 1;
    secret_random(f->keyring->epochs[0].key, SECRET_KEY_LEN);
    secret_random(f->recovery_seed, SIGN_SEED_LEN);
    f->keys = sign_keys_new(f->keyring->sign_seed, f->keyring->box_seed);
    f->recovery_keys = keybox_recovery_keys(f->recovery_seed);
    if (!f->keys || !f->recovery_keys)
        return ERR_NOMEM;
    err = roster_make_genesis(f->keys, f->keyring->device_tag, sign_keys_public(f->recovery_keys),
                              f->keyring->epochs[0].key, device_name, &f->genesis, f->vault_id);
    if (err)
        return err;
    code_generate(code);
    err = keybox_make_recovery(f->keyring, f->vault_id, code, f->recovery_seed, &f->recovery);
    return err ? err : join_keyring_bytes(f->keyring, f->genesis.p, f->genesis.len, &f->recovery);
}

int join_init(const char *path, const void *secret, size_t secret_len, const struct slot_cost *cost,
              const char *device_name, uint8_t code[CODE_LEN], char *why)
{
    struct founding f = {0};
    int err = found(&f, device_name, code);
    if (!err) {
        struct vault_new params = {.path = path,
                                   .vault_id = f.vault_id,
                                   .keyring = f.keyring,
                                   .secret = secret,
                                   .secret_len = secret_len,
                                   .cost = cost,
                                   .with_root = true};
        err = vault_create(&params);
    }
    if (err == ERR_EXIST)
        explain(why, "there is something already; choose an empty or new directory");
    else if (err)
        explain(why, err_text(err));
    if (err)
        secret_wipe(code, CODE_LEN);
    sign_keys_free(f.keys);
    sign_keys_free(f.recovery_keys);
    secret_free(f.recovery_seed);
    keyring_free(f.keyring);
    bytes_out_release(&f.genesis);
    bytes_out_release(&f.recovery);
    return err;
}
