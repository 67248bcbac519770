/* Key boxes: only their device opens them, only when a member signed; the recovery slot opens with the one code only. */
#include "check.h"
#include "crypto/err.h"
#include "sync/keybox.h"

#include <string.h>

static uint8_t vault_id[32], other_id[32];
static struct sign_keys *first, *second, *stranger, *recovery;
static struct roster *roster;
static struct keyring ring;

static struct sign_keys *keys_of(uint8_t n)
{
    uint8_t seed[32] = {n, 1}, box[32] = {n, 2};
    return sign_keys_new(seed, box);
}

static void setup(void)
{
    struct bytes_out out;
    bytes_out_init(&out);
    first = keys_of(1);
    second = keys_of(2);
    stranger = keys_of(3);
    recovery = keys_of(4);
    ring.epoch_count = 2;
    ring.epochs[0].epoch = 1;
    memset(ring.epochs[0].key, 0x11, 32);
    ring.epochs[1].epoch = 2;
    memset(ring.epochs[1].key, 0x22, 32);
    CHECK_EQ(roster_make_genesis(first, 5, sign_keys_public(recovery), ring.epochs[0].key, "a",
                                 &out, vault_id),
             0);
    roster = roster_new(vault_id, ring.epochs[0].key);
    CHECK_EQ(roster_add(roster, out.p, out.len), 0);
    bytes_out_reset(&out);
    CHECK_EQ(roster_make_add(roster, second, 6, recovery, "b", &out), 0);
    CHECK_EQ(roster_add(roster, out.p, out.len), 0);
    bytes_out_release(&out);
    memset(other_id, 9, 32);
}

static void test_boxes(void)
{
    struct bytes_out out;
    struct keyring got;
    char name[KEYBOX_NAME_LEN];
    const struct roster_device *device = roster_by_tag(roster, 6);
    bytes_out_init(&out);
    keybox_name(device, name);
    CHECK(!strncmp(name, "keys/", 5) && strlen(name) == 37);
    CHECK_EQ(keybox_make(&ring, vault_id, first, device, &out), 0);
    memset(&got, 0, sizeof(got));
    CHECK_EQ(keybox_open(out.p, out.len, vault_id, roster, second, &got), 0);
    CHECK(got.epoch_count == 2 && got.epochs[1].epoch == 2 &&
          !memcmp(got.epochs[1].key, ring.epochs[1].key, 32));
    CHECK_EQ(keybox_open(out.p, out.len, vault_id, roster, first, &got), ERR_AUTH); /* not to us */
    CHECK_EQ(keybox_open(out.p, out.len, other_id, roster, second, &got), ERR_AUTH);
    bool refused = true;
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused &= keybox_open(out.p, out.len, vault_id, roster, second, &got) != 0;
        out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < out.len; cut++)
        refused &= keybox_open(out.p, cut, vault_id, roster, second, &got) != 0;
    CHECK(refused);
    /* The store can box keys of its own to our device, but nobody in the roster has signed that. */
    bytes_out_reset(&out);
    CHECK_EQ(keybox_make(&ring, vault_id, stranger, device, &out), 0);
    CHECK_EQ(keybox_open(out.p, out.len, vault_id, roster, second, &got), ERR_AUTH);
    /* Every member may, not only the first one. */
    bytes_out_reset(&out);
    CHECK_EQ(keybox_make(&ring, vault_id, second, roster_by_tag(roster, 5), &out), 0);
    CHECK_EQ(keybox_open(out.p, out.len, vault_id, roster, first, &got), 0);
    /* A member's box of another vault in a frame of this one, as if signed so: the vault stands inside, too. */
    bytes_out_reset(&out);
    CHECK_EQ(keybox_make(&ring, other_id, first, device, &out), 0);
    memcpy(out.p + 8, vault_id, 32);
    sign_make(first, "obs-keybox", out.p, out.len - SIGN_LEN, out.p + out.len - SIGN_LEN);
    CHECK_EQ(keybox_open(out.p, out.len, vault_id, roster, second, &got), ERR_AUTH);
    bytes_out_release(&out);
}

static void test_recovery(void)
{
    struct bytes_out out;
    struct keyring got;
    uint8_t code[CODE_LEN] = {7}, wrong[CODE_LEN] = {8}, seed[32] = {0x33}, back[32];
    bytes_out_init(&out);
    CHECK_EQ(keybox_make_recovery(&ring, vault_id, code, seed, &out), 0);
    CHECK(out.len <= KEYRING_RECOVERY_MAX);
    memset(&got, 0, sizeof(got));
    CHECK_EQ(keybox_open_recovery(out.p, out.len, vault_id, code, &got, back), 0);
    CHECK(got.epoch_count == 2 && !memcmp(back, seed, 32) &&
          !memcmp(got.epochs[0].key, ring.epochs[0].key, 32));
    CHECK_EQ(keybox_open_recovery(out.p, out.len, vault_id, wrong, &got, back), ERR_WRONGKEY);
    CHECK_EQ(keybox_open_recovery(out.p, out.len, other_id, code, &got, back), ERR_WRONGKEY);
    bool refused = true;
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused &= keybox_open_recovery(out.p, out.len, vault_id, code, &got, back) != 0;
        out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < out.len; cut++)
        refused &= keybox_open_recovery(out.p, cut, vault_id, code, &got, back) != 0;
    CHECK(refused);
    /* The key that it gives is the one that the genesis names. */
    struct sign_keys *again = keybox_recovery_keys(seed);
    struct sign_keys *same = keybox_recovery_keys(back);
    CHECK_EQ(keybox_open_recovery(out.p, out.len, vault_id, code, &got, back), 0);
    CHECK(again && same && !memcmp(sign_keys_public(again), sign_keys_public(same), 32));
    sign_keys_free(again);
    sign_keys_free(same);
    bytes_out_release(&out);
}

int main(void)
{
    if (secret_init())
        return 1;
    setup();
    test_boxes();
    test_recovery();
    roster_free(roster);
    sign_keys_free(first);
    sign_keys_free(second);
    sign_keys_free(stranger);
    sign_keys_free(recovery);
    return check_done();
}
