/*
 * Who belongs is what members have signed, and nothing else (A2, A11, A31): a device that put itself into the roster, or that stands in
 * no record, is not heard and gets no key. Devices cannot be removed yet; but when a newer program does so, this one does not go on as
 * if nothing were, also when the store hides the record again. [roster-newer]
 */
#include "merge_fixture.h"
#include "store_watch.h"

#include "sync/keybox.h"
#include "sync/ledger.h"

#define RECOVERY_FILL 200 /* of merge_fixture.h */

struct scene {
    struct group g;
    struct sign_keys *recovery, *stranger;
    struct member *good;
    struct watch_world world;
    struct watch_store watch;
    struct bytes_out record, before;
};

static void watch_good(struct scene *s)
{
    watch_init(&s->watch, s->good->store, &s->world, &s->record);
    s->good->handle.store = &s->watch.s;
}

static void scene_make(struct scene *s, const char *name)
{
    uint8_t seed[32];
    memset(s, 0, sizeof(*s));
    group_make(&s->g, 2, name);
    memset(seed, RECOVERY_FILL, sizeof(seed));
    s->recovery = sign_keys_new(seed, seed);
    memset(seed, 33, sizeof(seed));
    s->stranger = sign_keys_new(seed, seed);
    s->good = &s->g.m[0];
    make_file(s->good->d.v, INODE_ROOT, "a", "of the first", 12);
    CHECK(group_settle(&s->g));
    make_file(s->g.m[1].d.v, INODE_ROOT, "b", "of the second", 13);
    CHECK(group_settle(&s->g) && group_same(&s->g));
    watch_world_init(&s->world, 1);
    bytes_out_init(&s->record);
    watch_good(s);
    dump_tree(s->good->d.v, &s->before);
}

static void scene_free(struct scene *s)
{
    s->good->handle.store = s->good->store;
    watch_world_free(&s->world);
    bytes_out_release(&s->record);
    bytes_out_release(&s->before);
    sign_keys_free(s->recovery);
    sign_keys_free(s->stranger);
    group_free(&s->g);
}

static bool unchanged(struct scene *s)
{
    struct bytes_out now;
    dump_tree(s->good->d.v, &now);
    bool same = now.len == s->before.len && memcmp(now.p, s->before.p, now.len) == 0;
    bytes_out_release(&now);
    return same;
}

/* Was anything put, or anything asked for whose name has this in it, since the record began? */
static bool asked(const struct scene *s, const char *what)
{
    return s->record.len && memmem(s->record.p, s->record.len, what, strlen(what)) != NULL;
}

/* A record for the stranger, of that kind and signed by that key. */
static void make_record(struct scene *s, const struct sign_keys *signer, uint8_t kind,
                        struct bytes_out *out)
{
    bytes_out_init(out);
    CHECK_EQ(roster_make_add(s->g.roster, s->stranger, 4242, signer, "stranger", out), 0);
    out->p[6] = kind;
    sign_make(signer, "obs-roster", out->p, out->len - SIGN_LEN, out->p + out->len - SIGN_LEN);
}

static void put_record(struct scene *s, const struct bytes_out *record, char name[64])
{
    CHECK_EQ(roster_object_name(record->p, record->len, name), 0);
    CHECK_EQ(store_put(s->good->store, name, record->p, record->len), 0);
}

/* The first batch of the stranger, under its own name or as the next one of the second device. */
static void put_batch(struct scene *s, bool as_member, char name[BATCH_NAME_LEN])
{
    struct vault *v = s->good->d.v;
    struct batch_head head = {.seq = 1, .epoch = 1};
    struct ledger_head last;
    struct batch_record r = {.kind = BATCH_ATTR};
    struct bytes_out out;
    char device[ROSTER_DEVICE_NAME_LEN];
    struct batch_writer *w = batch_writer_new();
    index_lock(vault_index(v));
    CHECK_EQ(ledger_head_get(vault_index(v), s->g.m[1].tag, &last), 0);
    CHECK_EQ(ledger_clock_get(vault_index(v), &head.lamport), 0);
    index_unlock(vault_index(v));
    head.lamport++;
    memcpy(head.vault_id, s->g.vault_id, 32);
    memcpy(head.device_key, sign_keys_public(s->stranger), 32);
    roster_store_name(head.device_key, device);
    if (as_member) {
        head.seq = last.seq + 1;
        memcpy(head.prev, last.hash, 32);
        memcpy(device, roster_by_tag(s->g.roster, s->g.m[1].tag)->store_name, sizeof(device));
    }
    roster_hash(s->g.roster, head.roster);
    batch_name(device, head.seq, name);
    CHECK_EQ(tree_lookup(v, INODE_ROOT, "b", 1, &r.u.attr.inode), 0);
    r.base = r.u.attr.inode.attr_version;
    r.u.attr.inode.mode = S_IFREG | 0777;
    CHECK_EQ(batch_write(w, &r), 0);
    bytes_out_init(&out);
    CHECK_EQ(batch_finish(w, &head, s->g.epoch_key, name, s->stranger, &out), 0);
    CHECK_EQ(store_put(s->good->store, name, out.p, out.len), 0);
    bytes_out_release(&out);
    batch_writer_free(w);
}

/* It knows the keys (it was a device once, or found the vault code) but nobody has signed it in. */
static void test_stranger(void)
{
    struct scene s;
    struct bytes_out record;
    char own[64], batch[BATCH_NAME_LEN], next[BATCH_NAME_LEN], box[KEYBOX_NAME_LEN];
    struct roster_device as = {0};
    uint64_t size;
    scene_make(&s, "stranger");
    make_record(&s, s.stranger, 2, &record);
    put_record(&s, &record, own);
    put_batch(&s, false, batch);
    CHECK_EQ(member_pull(s.good, NULL, NULL), 0);
    CHECK(unchanged(&s));
    put_batch(&s, true, next);
    CHECK_EQ(member_pull(s.good, NULL, NULL), ERR_BEHIND);
    CHECK(unchanged(&s));
    make_file(s.good->d.v, INODE_ROOT, "after", "x", 1);
    CHECK_EQ(member_push(s.good, NULL), 0);
    CHECK(!asked(&s, "put keys/"));
    roster_store_name(sign_keys_public(s.stranger), as.store_name);
    keybox_name(&as, box);
    CHECK_EQ(store_head(s.good->store, box, &size), ERR_NOENT);
    bytes_out_release(&record);

    /* What it wrote is heard once a member (here: the vault code) has signed it in. */
    CHECK_EQ(store_delete(s.good->store, next), 0);
    CHECK_EQ(store_delete(s.good->store, own), 0);
    make_record(&s, s.recovery, 2, &record);
    put_record(&s, &record, own);
    CHECK_EQ(member_pull(s.good, NULL, NULL), 0);
    CHECK(!unchanged(&s));
    bytes_out_release(&record);
    scene_free(&s);
}

/* Sync has stopped: nothing new is taken and nothing is given away, and what is here can be read. */
static void stopped(struct scene *s, const char *when)
{
    struct inode in;
    uint8_t back[12];
    size_t got;
    uint64_t batches = 0;
    bytes_out_reset(&s->record);
    int pulled = member_pull(s->good, &batches, NULL);
    int pushed = member_push(s->good, NULL);
    if (pulled != ERR_VERSION || pushed != ERR_VERSION || batches || asked(s, "put "))
        fprintf(stderr, "%s: pull: %s, push: %s\n", when, err_text(pulled), err_text(pushed));
    CHECK(pulled == ERR_VERSION && pushed == ERR_VERSION && !batches && !asked(s, "put "));
    CHECK_EQ(tree_lookup(s->good->d.v, INODE_ROOT, "a", 1, &in), 0);
    CHECK(data_read(s->good->d.v, in.ino, 0, back, 12, &got, NULL) == 0 && got == 12);
}

static void test_newer(void)
{
    struct scene s;
    struct bytes_out record;
    char name[64], why[200] = "";
    scene_make(&s, "newer");
    /* Anybody can make one that nobody signed: that is no reason to stop. */
    for (unsigned kind = 1; kind < 6; kind++) {
        make_record(&s, s.stranger, (uint8_t)kind, &record);
        put_record(&s, &record, name);
        CHECK_EQ(member_pull(s.good, NULL, NULL), 0);
        CHECK_EQ(store_delete(s.good->store, name), 0);
        bytes_out_release(&record);
    }
    make_record(&s, s.recovery, 3, &record);
    record.p[4] = 2; /* another version: what is signed cannot be known */
    CHECK_EQ(store_put(s.good->store, "roster/00000002-0123456789abcdef", record.p, record.len), 0);
    CHECK_EQ(member_pull(s.good, NULL, NULL), 0);
    CHECK_EQ(store_delete(s.good->store, "roster/00000002-0123456789abcdef"), 0);
    bytes_out_release(&record);

    make_record(&s, s.recovery, 3, &record);
    put_record(&s, &record, name);
    make_file(s.good->d.v, INODE_ROOT, "after", "not for the removed one", 23);
    make_file(s.g.m[1].d.v, INODE_ROOT, "late", "x", 1);
    CHECK_EQ(member_push(&s.g.m[1], NULL), 0); /* has not seen it yet */
    CHECK_EQ(member_pull(s.good, NULL, why), ERR_VERSION);
    CHECK(strstr(why, "update") != NULL);
    stopped(&s, "shown");
    CHECK_EQ(store_delete(s.good->store, name), 0);
    stopped(&s, "hidden again");
    s.good->handle.store = s.good->store;
    group_close(&s.g, 0);
    group_open(&s.g, 0);
    watch_good(&s);
    stopped(&s, "after another start");
    bytes_out_release(&record);
    scene_free(&s);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    fixture_start();
    test_stranger();
    test_newer();
    fixture_rm(fixture_base);
    return check_done();
}
