/*
 * Any bytes as a local slot: no crash, and nothing but the slot that was made opens. Trying a passphrase costs a tenth
 * of a second, so most inputs are only taken as far as the checks before it.
 */
#include "fuzz.h"

#include "crypto/err.h"
#include "crypto/slot.h"

#include <string.h>

/* What of it was opened once, with the passphrase below; bytes 176 and on are filling. */
#define MEANT 176u

static const char passphrase[] = "correct horse battery staple";

/* One in 128 inputs; which ones depends on the input alone. */
static bool chosen(const uint8_t *data, size_t size)
{
    uint32_t sum = 2166136261u ^ (uint32_t)size;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ data[i]) * 16777619u;
    return (sum ^ sum >> 15) % 128 == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t made[SLOT_LEN], vault_id[32], device_key[32], opened[32];
    static bool ready;
    if (!ready) {
        const struct slot_cost cheapest = {SLOT_OPS_MIN, SLOT_MEM_MIN};
        FUZZ_CHECK(secret_init() == ERR_OK);
        memset(vault_id, 0x31, sizeof(vault_id));
        memset(device_key, 0x77, sizeof(device_key));
        FUZZ_CHECK(slot_make(made, 0, vault_id, &cheapest, passphrase, sizeof(passphrase) - 1,
                             device_key) == ERR_OK);
        FUZZ_CHECK(slot_open(made, 0, vault_id, passphrase, sizeof(passphrase) - 1, opened) ==
                       ERR_OK &&
                   memcmp(opened, device_key, 32) == 0);
        ready = true;
    }
    uint8_t slot[SLOT_LEN] = {0}, got[32];
    memcpy(slot, data, size < SLOT_LEN ? size : SLOT_LEN);
    /* A whole slot of this vault cannot be in a corpus, since its salt is random: bytes that are zero stand for it. */
    for (size_t i = 0; i < MEANT; i++)
        slot[i] ^= made[i];

    struct slot_cost cost;
    int err = slot_describe(slot, &cost);
    FUZZ_CHECK(err == ERR_OK || err == ERR_FORMAT);
    bool allowed = cost.ops >= SLOT_OPS_MIN && cost.ops <= SLOT_OPS_MAX &&
                   cost.mem >= SLOT_MEM_MIN && cost.mem <= SLOT_MEM_MAX;
    if (allowed && (cost.ops > 4 || cost.mem > 2 * SLOT_MEM_MIN || !chosen(data, size)))
        return 0;
    err = slot_open(slot, 0, vault_id, passphrase, sizeof(passphrase) - 1, got);
    if (memcmp(slot, made, MEANT) == 0) {
        FUZZ_CHECK(err == ERR_OK && memcmp(got, device_key, 32) == 0);
    } else {
        FUZZ_CHECK(err == ERR_WRONGKEY || err == ERR_VERSION);
        FUZZ_CHECK(allowed || err == ERR_WRONGKEY || slot[7] > '1');
    }
    return 0;
}
