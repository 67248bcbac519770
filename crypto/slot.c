#include "crypto/slot.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "crypto/kdf.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

/* [slot] where the fields are */
#define TYPE_AT       8u
#define KDF_AT        9u
#define NUMBER_AT     10u
#define OPS_AT        12u
#define MEM_AT        16u
#define SALT_AT       24u
#define VAULT_AT      40u
#define COMMIT_AT     72u
#define NONCE_AT      104u
#define BODY_AT       128u
#define BODY_LEN      (SECRET_KEY_LEN + SEAL_TAG)
#define PAD_AT        (BODY_AT + BODY_LEN)
#define COMMIT_LEN    32u
#define TYPE_PASSWORD 1u
#define TYPE_KEYFILE  2u
#define KDF_ARGON2ID  1u

_Static_assert(SALT_AT + crypto_pwhash_SALTBYTES == VAULT_AT, "the salt is Argon2's");

static const uint8_t magic[8] = {'O', 'B', 'S', 'S', 'L', 'O', 'T', '1'};

/* What the slot key opens: made together, wiped together. In secret_alloc memory. */
struct slot_keys {
    uint8_t body[SECRET_KEY_LEN];
    uint8_t commit[SECRET_KEY_LEN];
    uint8_t device[SECRET_KEY_LEN];
};

static bool cost_allowed(const struct slot_cost *cost)
{
    return cost->ops >= SLOT_OPS_MIN && cost->ops <= SLOT_OPS_MAX && cost->mem >= SLOT_MEM_MIN &&
           cost->mem <= SLOT_MEM_MAX;
}

/* [slot-key] Argon2id, with the slot's salt and cost, and the two subkeys. NULL in *keys after an error. */
static int derive(struct slot_keys **keys, const uint8_t slot[SLOT_LEN], const void *secret,
                  size_t len)
{
    struct slot_keys *k = secret_alloc(sizeof(*k));
    *keys = NULL;
    if (!k)
        return ERR_NOMEM;
    if (crypto_pwhash(k->body, sizeof(k->body), len ? secret : "", len, slot + SALT_AT,
                      bytes_from_le32(slot + OPS_AT), (size_t)bytes_from_le64(slot + MEM_AT),
                      crypto_pwhash_ALG_ARGON2ID13) != 0) {
        secret_free(k);
        return ERR_NOMEM; /* the parameters are in range, so nothing else can fail */
    }
    kdf_derive(k->commit, k->body, KDF_SLOT_COMMIT);
    kdf_derive(k->body, k->body, KDF_SLOT_BODY);
    *keys = k;
    return ERR_OK;
}

/* [slot-commitment] */
static void commitment(uint8_t out[COMMIT_LEN], const struct slot_keys *keys,
                       const uint8_t slot[SLOT_LEN])
{
    crypto_generichash_blake2b(out, COMMIT_LEN, slot, COMMIT_AT, keys->commit, SECRET_KEY_LEN);
}

int slot_make(uint8_t slot[SLOT_LEN], uint16_t number, const uint8_t vault_id[SEAL_VAULT_ID],
              const struct slot_cost *cost, const void *secret, size_t len,
              const uint8_t device_key[SECRET_KEY_LEN])
{
    if (!cost_allowed(cost) || len == 0 || len > SLOT_SECRET_MAX)
        return ERR_MISUSE;
    uint8_t s[SLOT_LEN]; /* the caller's slot stays as it was after an error */
    memcpy(s, magic, sizeof(magic));
    s[TYPE_AT] = TYPE_PASSWORD;
    s[KDF_AT] = KDF_ARGON2ID;
    bytes_le16(s + NUMBER_AT, number);
    bytes_le32(s + OPS_AT, cost->ops);
    bytes_le64(s + MEM_AT, cost->mem);
    secret_random(s + SALT_AT, crypto_pwhash_SALTBYTES);
    memcpy(s + VAULT_AT, vault_id, SEAL_VAULT_ID);
    secret_random(s + NONCE_AT, SEAL_NONCE);
    secret_random(s + PAD_AT, SLOT_LEN - PAD_AT);

    struct slot_keys *keys;
    int err = derive(&keys, s, secret, len);
    if (err)
        return err;
    commitment(s + COMMIT_AT, keys, s);
    err = seal_box(keys->body, s + NONCE_AT, s, NONCE_AT, device_key, SECRET_KEY_LEN, s + BODY_AT);
    secret_free(keys);
    if (!err)
        memcpy(slot, s, SLOT_LEN);
    return err;
}

/* The commitment first: a body that opens under several keys (which can be made for this AEAD, and then one slot tests
 * many passphrases at once) is never tried under any but the one the slot was made with. */
static int open_with(struct slot_keys *keys, const uint8_t slot[SLOT_LEN])
{
    uint8_t want[COMMIT_LEN];
    commitment(want, keys, slot);
    if (sodium_memcmp(want, slot + COMMIT_AT, sizeof(want)) != 0)
        return ERR_WRONGKEY;
    int err = seal_box_open(keys->body, slot + NONCE_AT, slot, NONCE_AT, slot + BODY_AT, BODY_LEN,
                            keys->device);
    return err == ERR_AUTH ? ERR_WRONGKEY : err;
}

static bool fields_known(const uint8_t slot[SLOT_LEN])
{
    return memcmp(slot, magic, sizeof(magic)) == 0 && slot[KDF_AT] == KDF_ARGON2ID &&
           (slot[TYPE_AT] == TYPE_PASSWORD || slot[TYPE_AT] == TYPE_KEYFILE);
}

int slot_open(const uint8_t slot[SLOT_LEN], uint16_t number, const uint8_t vault_id[SEAL_VAULT_ID],
              const void *secret, size_t len, uint8_t device_key[SECRET_KEY_LEN])
{
    struct slot_cost cost = {bytes_from_le32(slot + OPS_AT), bytes_from_le64(slot + MEM_AT)};
    memset(device_key, 0, SECRET_KEY_LEN);
    if (memcmp(slot, magic, 7) == 0 && slot[7] > magic[7] && slot[7] <= '9')
        return ERR_VERSION;
    /* [slot-policy] Before any work: neither a weak slot put in place of ours is tried with the passphrase, nor can a
     * made-up one take all memory. */
    if (!cost_allowed(&cost) || len > SLOT_SECRET_MAX)
        return ERR_WRONGKEY;
    /* Other damage waits for the end, so that it takes as long as a wrong passphrase. */
    bool ours = fields_known(slot) && bytes_from_le16(slot + NUMBER_AT) == number &&
                memcmp(slot + VAULT_AT, vault_id, SEAL_VAULT_ID) == 0;

    struct slot_keys *keys;
    int err = derive(&keys, slot, secret, len);
    if (err)
        return err;
    err = open_with(keys, slot);
    if (!err && !ours)
        err = ERR_WRONGKEY;
    if (!err)
        memcpy(device_key, keys->device, SECRET_KEY_LEN);
    secret_free(keys);
    return err;
}

int slot_describe(const uint8_t slot[SLOT_LEN], struct slot_cost *cost)
{
    cost->ops = bytes_from_le32(slot + OPS_AT);
    cost->mem = bytes_from_le64(slot + MEM_AT);
    return fields_known(slot) ? ERR_OK : ERR_FORMAT;
}
