/* The roster: only who is signed in by the recovery key or a member belongs; other vaults' and forged records are refused. */
#include "check.h"
#include "crypto/err.h"
#include "crypto/kdf.h"
#include "sync/roster.h"

#include <string.h>

static uint8_t epoch_key[32];

struct party {
    struct sign_keys *keys, *recovery;
    struct bytes_out genesis;
    uint8_t vault_id[32];
    struct roster *roster;
};

static struct sign_keys *keys_of(uint8_t n)
{
    uint8_t seed[32] = {n, 1}, box[32] = {n, 2};
    return sign_keys_new(seed, box);
}

static void party_make(struct party *p, uint8_t n)
{
    p->keys = keys_of(n);
    p->recovery = keys_of((uint8_t)(n + 1));
    bytes_out_init(&p->genesis);
    CHECK_EQ(roster_make_genesis(p->keys, n, sign_keys_public(p->recovery), epoch_key, "first",
                                 &p->genesis, p->vault_id),
             0);
    p->roster = roster_new(p->vault_id, epoch_key);
    CHECK_EQ(roster_add(p->roster, p->genesis.p, p->genesis.len), 0);
}

static void party_free(struct party *p)
{
    roster_free(p->roster);
    bytes_out_release(&p->genesis);
    sign_keys_free(p->keys);
    sign_keys_free(p->recovery);
}

static void make_add(struct party *p, struct sign_keys *keys, uint32_t tag,
                     struct sign_keys *signer, const char *name, struct bytes_out *out)
{
    bytes_out_reset(out);
    CHECK_EQ(roster_make_add(p->roster, keys, tag, signer, name, out), 0);
}

static void test_growth(void)
{
    struct party p;
    struct bytes_out a, b;
    char name[64];
    party_make(&p, 10);
    CHECK_EQ(roster_count(p.roster), 1);
    CHECK(!strcmp(roster_at(p.roster, 0)->name, "first") && roster_at(p.roster, 0)->tag == 10);
    CHECK_EQ(roster_object_name(p.genesis.p, p.genesis.len, name), 0);
    CHECK(!strncmp(name, "roster/00000000-", 16) && strlen(name) == 32);
    CHECK(strlen(roster_at(p.roster, 0)->store_name) == 32);

    struct sign_keys *ka = keys_of(20), *kb = keys_of(30), *kc = keys_of(40);
    bytes_out_init(&a);
    bytes_out_init(&b);
    /* Two that join at once, both following the genesis, in either order. */
    make_add(&p, ka, 20, p.recovery, "laptop \xc3\xa4", &a);
    make_add(&p, kb, 30, p.recovery, "", &b);
    uint8_t before[32], h1[32], h2[32];
    roster_hash(p.roster, before);
    CHECK_EQ(roster_add(p.roster, b.p, b.len), 0);
    CHECK_EQ(roster_add(p.roster, a.p, a.len), 0);
    CHECK_EQ(roster_add(p.roster, a.p, a.len), 0); /* known */
    CHECK_EQ(roster_count(p.roster), 3);
    roster_hash(p.roster, h1);
    struct roster *other = roster_new(p.vault_id, epoch_key);
    CHECK_EQ(roster_add(other, a.p, a.len), ERR_NOENT); /* no genesis yet */
    CHECK_EQ(roster_add(other, p.genesis.p, p.genesis.len), 0);
    CHECK_EQ(roster_add(other, a.p, a.len), 0);
    CHECK_EQ(roster_add(other, b.p, b.len), 0);
    roster_hash(other, h2);
    CHECK(!memcmp(h1, h2, 32) && memcmp(h1, before, 32));
    const struct roster_device *d = roster_by_tag(p.roster, 20);
    CHECK(d && !strcmp(d->name, "laptop \xc3\xa4") && d->n == 1);
    CHECK(d && !memcmp(d->box_key, sign_keys_box_public(ka), 32) && d->record_len == a.len &&
          !memcmp(d->record, a.p, a.len));
    CHECK(roster_by_key(p.roster, sign_keys_public(kb)) &&
          !roster_by_key(p.roster, sign_keys_public(kc)));
    CHECK(!roster_by_tag(p.roster, 99));

    /* One that follows a record that is not known yet waits for it. */
    struct roster *late = roster_new(p.vault_id, epoch_key);
    CHECK_EQ(roster_add(late, p.genesis.p, p.genesis.len), 0);
    struct bytes_out c;
    bytes_out_init(&c);
    make_add(&p, kc, 40, p.recovery, "c", &c);
    CHECK_EQ(roster_add(late, c.p, c.len), ERR_NOENT);
    CHECK_EQ(roster_add(late, a.p, a.len), 0);
    CHECK_EQ(roster_add(late, b.p, b.len), 0);
    CHECK_EQ(roster_add(late, c.p, c.len), 0);
    CHECK(roster_by_tag(late, 40) && roster_by_tag(late, 40)->n == 2);

    /* A taken tag. */
    struct sign_keys *kd = keys_of(50);
    make_add(&p, kd, 20, p.recovery, "d", &c);
    CHECK_EQ(roster_add(p.roster, c.p, c.len), ERR_CONTRADICTION);
    CHECK_EQ(roster_count(p.roster), 3);
    /* The tag of conflict copies: no device can have it, so none makes inodes with their numbers. */
    CHECK_EQ(roster_make_add(p.roster, kd, 0x7fffff, p.recovery, "d", &c), ERR_MISUSE);
    make_add(&p, kd, 0x7ffffe, p.recovery, "d", &c);
    size_t tag_at = 4 + 4 + 32 + 4 + 32 + 32 + 32;
    CHECK(c.len > tag_at && bytes_from_le32(c.p + tag_at) == 0x7ffffe);
    c.p[tag_at]++;
    CHECK_EQ(roster_add(p.roster, c.p, c.len), ERR_FORMAT);
    sign_keys_free(kd);
    sign_keys_free(ka);
    sign_keys_free(kb);
    sign_keys_free(kc);
    bytes_out_release(&a);
    bytes_out_release(&b);
    bytes_out_release(&c);
    roster_free(other);
    roster_free(late);
    party_free(&p);
}

/* A store that puts records of another vault, or forged ones, beside or in place of ours. */
static void test_attacks(void)
{
    struct party ours, theirs;
    struct bytes_out r;
    party_make(&ours, 10);
    party_make(&theirs, 60);
    bytes_out_init(&r);
    struct sign_keys *fake = keys_of(70), *member = keys_of(80);

    struct roster *fresh = roster_new(ours.vault_id, epoch_key);
    CHECK_EQ(roster_add(fresh, theirs.genesis.p, theirs.genesis.len), ERR_AUTH);
    CHECK_EQ(roster_count(fresh), 0);
    roster_free(fresh);
    CHECK_EQ(roster_add(ours.roster, theirs.genesis.p, theirs.genesis.len), ERR_AUTH);

    make_add(&theirs, fake, 70, theirs.recovery, "x", &r); /* a device of another vault */
    CHECK_EQ(roster_add(ours.roster, r.p, r.len), ERR_AUTH);
    memcpy(r.p + 8, ours.vault_id, 32); /* made to look like ours */
    CHECK(roster_add(ours.roster, r.p, r.len) != 0);
    make_add(&ours, fake, 70, fake, "x", &r); /* signed by itself */
    CHECK_EQ(roster_add(ours.roster, r.p, r.len), ERR_AUTH);
    make_add(&ours, fake, 70, theirs.recovery, "x",
             &r); /* signed by another vault's recovery key */
    CHECK_EQ(roster_add(ours.roster, r.p, r.len), ERR_AUTH);
    make_add(&ours, fake, 70, member, "x", &r); /* signed by one who is no member */
    CHECK_EQ(roster_add(ours.roster, r.p, r.len), ERR_AUTH);
    CHECK_EQ(roster_count(ours.roster), 1);

    /* Every bit and every cut of a good one. */
    make_add(&ours, member, 80, ours.recovery, "m", &r);
    bool refused = true;
    for (size_t bit = 0; bit < r.len * 8; bit++) {
        r.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused &= roster_add(ours.roster, r.p, r.len) != 0;
        r.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < r.len; cut++)
        refused &= roster_add(ours.roster, r.p, cut) != 0;
    CHECK(refused);
    CHECK_EQ(roster_count(ours.roster), 1);
    r.p[4] = 2;
    CHECK_EQ(roster_add(ours.roster, r.p, r.len), ERR_VERSION);
    r.p[4] = 1;
    CHECK_EQ(roster_add(ours.roster, r.p, r.len), 0);

    /* The genesis: every bit changes the vault id that it must have. */
    struct roster *again = roster_new(ours.vault_id, epoch_key);
    refused = true;
    for (size_t bit = 0; bit < ours.genesis.len * 8; bit++) {
        ours.genesis.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused &= roster_add(again, ours.genesis.p, ours.genesis.len) != 0;
        ours.genesis.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(refused);
    /* With the wrong epoch key the names do not open: the store cannot pair our id with keys of its own. */
    uint8_t wrong[32] = {9};
    struct roster *keyed = roster_new(ours.vault_id, wrong);
    CHECK_EQ(roster_add(keyed, ours.genesis.p, ours.genesis.len), ERR_AUTH);
    roster_free(keyed);
    roster_free(again);

    sign_keys_free(fake);
    sign_keys_free(member);
    bytes_out_release(&r);
    party_free(&ours);
    party_free(&theirs);
}

int main(void)
{
    if (secret_init())
        return 1;
    memset(epoch_key, 4, 32);
    struct sign_keys *k = keys_of(1);
    CHECK(roster_tag(sign_keys_public(k)) >= 1 && roster_tag(sign_keys_public(k)) < 1u << 23);
    sign_keys_free(k);
    test_growth();
    test_attacks();
    return check_done();
}
