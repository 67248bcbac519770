/*
 * slot: opens with its passphrase, number and vault only; damage looks like a wrong passphrase; costs outside the policy
 * are refused before any work; a slot that is made is never weak; a body that opens under a key which the slot does not
 * commit to does not open.
 */
#include "check.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/slot.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct slot_cost cheapest = {SLOT_OPS_MIN, SLOT_MEM_MIN};
static uint8_t vault[32], device_key[32];

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void slot_keys(const uint8_t *slot, const char *pass, uint8_t body[32], uint8_t commit[32])
{
    uint8_t k[32];
    CHECK_EQ(crypto_pwhash(k, 32, pass, strlen(pass), slot + 24, bytes_from_le32(slot + 12),
                           (size_t)bytes_from_le64(slot + 16), crypto_pwhash_ALG_ARGON2ID13),
             0);
    kdf_derive(body, k, KDF_SLOT_BODY);
    kdf_derive(commit, k, KDF_SLOT_COMMIT);
}

/* A writer of its own, straight from the format, that makes what slot_make would not: commitment and body are for the
 * passphrases ${commit_pass} and ${body_pass}. */
static void forge(uint8_t slot[SLOT_LEN], uint32_t ops, uint64_t mem, const char *commit_pass,
                  const char *body_pass)
{
    uint8_t body[32], commit[32], unused[32];
    memset(slot, 0x55, SLOT_LEN);
    memcpy(slot, "OBSSLOT1\x01\x01\x03\x00", 12);
    bytes_le32(slot + 12, ops);
    bytes_le64(slot + 16, mem);
    memcpy(slot + 40, vault, 32);
    slot_keys(slot, commit_pass, unused, commit);
    slot_keys(slot, body_pass, body, unused);
    crypto_generichash_blake2b(slot + 72, 32, slot, 72, commit, 32);
    crypto_aead_xchacha20poly1305_ietf_encrypt(slot + 128, NULL, device_key, 32, slot, 104, NULL,
                                               slot + 104, body);
}

static int try(const uint8_t slot[SLOT_LEN], const char *pass)
{
    uint8_t got[32];
    memset(got, 7, 32);
    int err = slot_open(slot, 3, vault, pass, strlen(pass), got);
    CHECK(err ? sodium_is_zero(got, 32) == 1 : memcmp(got, device_key, 32) == 0);
    return err;
}

static void right_and_wrong(void)
{
    uint8_t slot[SLOT_LEN], other[SLOT_LEN], got[32];
    struct slot_cost cost;
    CHECK_EQ(slot_make(slot, 3, vault, &cheapest, "correct horse", 13, device_key), ERR_OK);
    CHECK_EQ(slot_make(other, 3, vault, &cheapest, "correct horse", 13, device_key), ERR_OK);
    CHECK(memcmp(slot + 24, other + 24, 16) != 0 && memcmp(slot + 72, other + 72, 104) != 0);
    CHECK_EQ(try(slot, "correct horse"), ERR_OK);
    CHECK_EQ(try(slot, "correct horsf"), ERR_WRONGKEY);
    CHECK_EQ(try(slot, ""), ERR_WRONGKEY);
    CHECK_EQ(slot_open(slot, 4, vault, "correct horse", 13, got),
             ERR_WRONGKEY); /* moved to another number */
    memcpy(got, vault, 32);
    got[9] ^= 1;
    CHECK_EQ(slot_open(slot, 3, got, "correct horse", 13, got),
             ERR_WRONGKEY); /* into another vault */
    CHECK_EQ(slot_describe(slot, &cost), ERR_OK);
    CHECK(cost.ops == SLOT_OPS_MIN && cost.mem == SLOT_MEM_MIN);
    slot[0] ^= 1;
    CHECK_EQ(slot_describe(slot, &cost), ERR_FORMAT);
}

static void damage(void)
{
    static const size_t at[] = {0,  6,  8,   9,   10,  11,  24,  39,  40,
                                71, 72, 103, 104, 127, 128, 159, 160, 175};
    uint8_t slot[SLOT_LEN];
    CHECK_EQ(slot_make(slot, 3, vault, &cheapest, "pass", 4, device_key), ERR_OK);
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        slot[at[i]] ^= (uint8_t)(1u << i % 8);
        CHECK_EQ(try(slot, "pass"), ERR_WRONGKEY);
        slot[at[i]] ^= (uint8_t)(1u << i % 8);
    }
    /* Costs inside the policy, but not those of the slot. */
    bytes_le32(slot + 12, 4);
    CHECK_EQ(try(slot, "pass"), ERR_WRONGKEY);
    bytes_le32(slot + 12, 3);
    bytes_le64(slot + 16, SLOT_MEM_MIN + 1); /* the same work, but not the same bytes */
    CHECK_EQ(try(slot, "pass"), ERR_WRONGKEY);
    bytes_le64(slot + 16, SLOT_MEM_MIN);
    CHECK_EQ(try(slot, "pass"), ERR_OK);
    slot[7] = '2';
    CHECK_EQ(try(slot, "pass"), ERR_VERSION);
}

/* Same time for damage and for a wrong passphrase: both are the time of Argon2. */
static void same_time(void)
{
    uint8_t slot[SLOT_LEN];
    CHECK_EQ(slot_make(slot, 3, vault, &cheapest, "pass", 4, device_key), ERR_OK);
    double t0 = cpu_seconds();
    CHECK_EQ(try(slot, "wrong"), ERR_WRONGKEY);
    double wrong = cpu_seconds() - t0;
    slot[0] ^= 1;
    t0 = cpu_seconds();
    CHECK_EQ(try(slot, "pass"), ERR_WRONGKEY);
    double damaged = cpu_seconds() - t0;
    CHECK(damaged > wrong / 4 && damaged < wrong * 4);
}

static void policy(void)
{
    static const struct slot_cost bad[] = {{2, SLOT_MEM_MIN},     {0, SLOT_MEM_MIN},
                                           {17, SLOT_MEM_MIN},    {UINT32_MAX, SLOT_MEM_MIN},
                                           {3, SLOT_MEM_MIN - 1}, {3, 0},
                                           {3, SLOT_MEM_MAX + 1}, {3, UINT64_MAX}};
    uint8_t slot[SLOT_LEN], before[SLOT_LEN];
    CHECK_EQ(slot_make(slot, 3, vault, &cheapest, "pass", 4, device_key), ERR_OK);
    double t0 = cpu_seconds();
    CHECK_EQ(try(slot, "pass"), ERR_OK);
    double work = cpu_seconds() - t0;
    memcpy(before, slot, SLOT_LEN);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_EQ(slot_make(slot, 3, vault, &bad[i], "pass", 4, device_key), ERR_MISUSE);
        CHECK(memcmp(slot, before, SLOT_LEN) == 0);
        bytes_le32(slot + 12, bad[i].ops);
        bytes_le64(slot + 16, bad[i].mem);
        t0 = cpu_seconds();
        CHECK_EQ(try(slot, "pass"), ERR_WRONGKEY);
        CHECK(cpu_seconds() - t0 < work / 10);
        memcpy(slot, before, SLOT_LEN);
    }
    CHECK_EQ(slot_make(slot, 3, vault, &cheapest, "", 0, device_key), ERR_MISUSE);
    CHECK_EQ(slot_make(slot, 3, vault, &cheapest, before, SLOT_SECRET_MAX + 1, device_key),
             ERR_MISUSE);
}

static void weak_slot(void)
{
    uint8_t slot[SLOT_LEN];
    forge(slot, SLOT_OPS_MIN, SLOT_MEM_MIN, "pass", "pass");
    CHECK_EQ(try(slot, "pass"), ERR_OK); /* the forger knows the format */
    forge(slot, 1, 8192, "pass", "pass");
    CHECK_EQ(try(slot, "pass"), ERR_WRONGKEY);
    forge(slot, 2, SLOT_MEM_MIN, "pass", "pass");
    CHECK_EQ(try(slot, "pass"), ERR_WRONGKEY);
    forge(slot, SLOT_OPS_MIN, SLOT_MEM_MIN - 1024, "pass", "pass");
    CHECK_EQ(try(slot, "pass"), ERR_WRONGKEY);
}

static void commitment(void)
{
    uint8_t slot[SLOT_LEN];
    forge(slot, SLOT_OPS_MIN, SLOT_MEM_MIN, "alpha", "beta");
    CHECK_EQ(try(slot, "beta"), ERR_WRONGKEY); /* its body would open */
    CHECK_EQ(try(slot, "alpha"), ERR_WRONGKEY);
    forge(slot, SLOT_OPS_MIN, SLOT_MEM_MIN, "beta", "beta");
    CHECK_EQ(try(slot, "beta"), ERR_OK);
}

static void calibrate(void)
{
    struct slot_cost cost = {0, 0};
    setenv("OBSCURAFS_TEST_FAST_KDF", "1", 1);
    slot_calibrate(&cost);
    CHECK(cost.ops == SLOT_OPS_MIN && cost.mem == SLOT_MEM_MIN);
    unsetenv("OBSCURAFS_TEST_FAST_KDF");
    slot_calibrate(&cost);
    printf("calibrated: %u passes, %llu MiB\n", cost.ops, (unsigned long long)(cost.mem >> 20));
    CHECK(cost.ops >= SLOT_OPS_MIN && cost.ops <= SLOT_OPS_MAX);
    CHECK(cost.mem >= SLOT_MEM_MIN && cost.mem <= (1ull << 30));
    uint8_t slot[SLOT_LEN];
    CHECK_EQ(slot_make(slot, 3, vault, &cost, "pass", 4, device_key), ERR_OK);
    struct slot_cost made;
    CHECK_EQ(slot_describe(slot, &made), ERR_OK);
    CHECK(made.ops == cost.ops && made.mem == cost.mem);
    CHECK_EQ(try(slot, "pass"), ERR_OK);
}

int main(void)
{
    CHECK_EQ(secret_init(), ERR_OK);
    secret_random(vault, sizeof(vault));
    secret_random(device_key, sizeof(device_key));
    right_and_wrong();
    damage();
    same_time();
    policy();
    weak_slot();
    commitment();
    calibrate();
    return check_done();
}
