/*
 * Any bytes as a roster record, as they are and with the recovery key's signature put behind them: a record that is taken has a new device
 * with a tag in range, and the vault's own genesis stays the first.
 */
#include "fuzz.h"

#include "crypto/err.h"
#include "sync/roster.h"

#include <string.h>

static const uint8_t epoch_key[32] = {5};
static struct sign_keys *device, *recovery;
static struct bytes_out genesis;
static uint8_t vault_id[32];

static void setup(void)
{
    static const uint8_t seed[3][32] = {{1}, {2}, {3}};
    FUZZ_CHECK(secret_init() == 0);
    device = sign_keys_new(seed[0], seed[1]);
    recovery = sign_keys_new(seed[2], seed[1]);
    bytes_out_init(&genesis);
    FUZZ_CHECK(device && recovery);
    FUZZ_CHECK(roster_make_genesis(device, 77, sign_keys_public(recovery), epoch_key, "first",
                                   &genesis, vault_id) == 0);
}

static void try_one(struct roster *r, const uint8_t *p, size_t len)
{
    size_t before = roster_count(r);
    int err = roster_add(r, p, len);
    FUZZ_CHECK(roster_count(r) == before + (err == 0));
    FUZZ_CHECK(err != ERR_MISUSE && err != ERR_NOMEM);
    if (!err) {
        char name[64];
        const struct roster_device *d = roster_at(r, before);
        FUZZ_CHECK(d->tag >= 1 && d->tag < 1u << 23 && d->tag != 77 && d->n >= 1);
        FUZZ_CHECK(d->record_len == len && memcmp(d->record, p, len) == 0);
        FUZZ_CHECK(roster_object_name(p, len, name) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready)
        setup();
    ready = true;
    if (size > 4096)
        return 0;
    struct roster *r = roster_new(vault_id, epoch_key);
    FUZZ_CHECK(r && roster_add(r, genesis.p, genesis.len) == 0);
    try_one(r, data, size);

    uint8_t *signed_record = malloc(size + SIGN_LEN);
    FUZZ_CHECK(signed_record);
    if (size)
        memcpy(signed_record, data, size);
    if (size > 76) /* so that more than the signature is reached: our vault, after our genesis */
    {
        memcpy(signed_record + 8, vault_id, 32);
        memcpy(signed_record + 44, roster_at(r, 0)->hash, 32);
    }
    sign_make(recovery, "obs-roster", signed_record, size, signed_record + size);
    try_one(r, signed_record, size + SIGN_LEN);
    FUZZ_CHECK(roster_at(r, 0)->tag == 77);
    free(signed_record);
    roster_free(r);
    return 0;
}
