/* A complete keyring for tests. */
#ifndef TESTS_UNIT_KEYRING_FIXTURE_H
#define TESTS_UNIT_KEYRING_FIXTURE_H

#include "fs/keyring.h"

#include <string.h>

static inline struct keyring *keyring_fixture(uint32_t epochs)
{
    struct keyring *k = keyring_new();
    if (!k)
        return NULL;
    memset(k->device_key, 1, sizeof(k->device_key));
    memset(k->sign_seed, 2, sizeof(k->sign_seed));
    memset(k->box_seed, 3, sizeof(k->box_seed));
    k->device_tag = 4711;
    k->epoch_count = epochs;
    for (uint32_t i = 0; i < epochs && i < KEYRING_EPOCHS_MAX; i++) {
        k->epochs[i].epoch = 2 * i + 1;
        memset(k->epochs[i].key, (int)(100 + i), SECRET_KEY_LEN);
    }
    k->recovery_len = 300;
    memset(k->recovery, 5, k->recovery_len);
    k->genesis_len = 200;
    memset(k->genesis, 6, k->genesis_len);
    strcpy(k->device_name, "caf\xc3\xa9 laptop");
    return k;
}

#endif
