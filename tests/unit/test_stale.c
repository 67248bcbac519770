/*
 * A store that is stale at random, or that withholds, is no attack and costs nothing (A15); and what does contradict is an alarm on
 * the same store (A12, A14). Nothing on a store is ever taken away or written anew, whatever a device was not shown (A32).
 *
 * OBSCURAFS_TEST_SEEDS=n runs n seeds instead of a few, OBSCURAFS_TEST_SEED=k only that one.
 */
#include "merge_fixture.h"
#include "store_watch.h"

#include "sync/ledger.h"

#define SEEDS   3u
#define STEPS   160u
#define HORIZON 60u

struct scene {
    struct group g;
    struct watch_world world;
    struct watch_store watch[DEVICES_MAX];
    uint64_t runs, behind, alarms, other;
};

static void scene_make(struct scene *s, size_t n, const char *name, uint64_t seed)
{
    memset(s, 0, sizeof(*s));
    group_make(&s->g, n, name);
    watch_world_init(&s->world, seed);
    for (size_t i = 0; i < n; i++) {
        watch_init(&s->watch[i], s->g.m[i].store, &s->world, NULL);
        s->g.m[i].handle.store = &s->watch[i].s;
    }
}

static void scene_free(struct scene *s)
{
    for (size_t i = 0; i < s->g.n; i++)
        s->g.m[i].handle.store = s->g.m[i].store;
    watch_world_free(&s->world);
    group_free(&s->g);
}

static void count_run(struct scene *s, int err)
{
    s->runs++;
    s->behind += err == ERR_BEHIND;
    s->alarms += err == ERR_CONTRADICTION;
    s->other += err != 0 && err != ERR_BEHIND && err != ERR_CONTRADICTION;
}

/* Something that a person would do. */
static void change(struct scene *s, struct member *m, unsigned step)
{
    struct vault *v = m->d.v;
    struct inode in, gone = {0};
    char name[32], other[32];
    uint8_t bytes[5000];
    snprintf(name, sizeof(name), "f%llu", (unsigned long long)(watch_random(&s->world) % 12));
    snprintf(other, sizeof(other), "f%llu", (unsigned long long)(watch_random(&s->world) % 12));
    memset(bytes, (int)step, sizeof(bytes));
    if (tree_lookup(v, INODE_ROOT, name, strlen(name), &in) != 0) {
        make_file(v, INODE_ROOT, name, bytes, 1 + watch_random(&s->world) % sizeof(bytes));
        return;
    }
    switch (watch_random(&s->world) % 4) {
    case 0:
        CHECK_EQ(tree_unlink(v, INODE_ROOT, name, strlen(name), &gone), 0);
        break;
    case 1:
        if (strcmp(name, other) == 0)
            return;
        CHECK_EQ(tree_rename(v, INODE_ROOT, name, strlen(name), INODE_ROOT, other, strlen(other), 0,
                             &gone),
                 0);
        break;
    default:
        CHECK_EQ(data_write(v, in.ino, watch_random(&s->world) % 9000, bytes, 700, true, false), 0);
        return;
    }
    if (gone.ino && gone.nlink == 0)
        CHECK_EQ(tree_reap(v, gone.ino), 0);
}

static void run_seed(unsigned seed)
{
    struct scene s;
    char name[32];
    snprintf(name, sizeof(name), "seed%u", seed);
    scene_make(&s, 3, name, seed + 1);
    s.world.horizon = HORIZON;
    for (unsigned step = 0; step < STEPS; step++) {
        struct member *m = &s.g.m[watch_random(&s.world) % s.g.n];
        if (watch_random(&s.world) % 3)
            change(&s, m, step);
        count_run(&s, member_pull(m, NULL, NULL));
        count_run(&s, member_push(m, NULL));
    }
    CHECK_EQ(s.alarms, 0);
    CHECK_EQ(s.other, 0);
    CHECK(s.behind > STEPS / 10 && s.world.hidden > STEPS); /* it was stale indeed */
    s.world.horizon = 0;
    bool same = group_settle(&s.g) && group_same(&s.g);
    if (!same)
        fprintf(stderr, "OBSCURAFS_TEST_SEED=%u\n", seed);
    CHECK(same);
    CHECK_EQ(s.world.rewritten, 0);
    CHECK_EQ(s.world.deleted, 0);
    scene_free(&s);
}

static void test_random(void)
{
    const char *only = getenv("OBSCURAFS_TEST_SEED"), *many = getenv("OBSCURAFS_TEST_SEEDS");
    const unsigned first = only ? (unsigned)atoi(only) : 0;
    const unsigned end = only ? first + 1 : many ? (unsigned)atoi(many) : SEEDS;
    for (unsigned seed = first; seed < end; seed++)
        run_seed(seed);
}

/* Device 1 wrote a second history: validly signed, and it follows another batch than the one that all have. */
static void forge(struct scene *s, char name[BATCH_NAME_LEN])
{
    struct vault *v = s->g.m[0].d.v;
    struct batch_head head = {.epoch = 1};
    struct ledger_head last;
    struct bytes_out out;
    struct batch_writer *w = batch_writer_new();
    struct batch_record r = {.kind = BATCH_ATTR};
    index_lock(vault_index(v));
    CHECK_EQ(ledger_head_get(vault_index(v), s->g.m[1].tag, &last), 0);
    CHECK_EQ(ledger_clock_get(vault_index(v), &head.lamport), 0);
    index_unlock(vault_index(v));
    memcpy(head.vault_id, s->g.vault_id, 32);
    memcpy(head.device_key, sign_keys_public(s->g.m[1].keys), 32);
    memset(head.prev, 0x66, 32);
    roster_hash(s->g.roster, head.roster);
    head.seq = last.seq + 1;
    head.lamport++;
    batch_name(roster_by_tag(s->g.roster, s->g.m[1].tag)->store_name, head.seq, name);
    CHECK_EQ(tree_getattr(v, INODE_ROOT, &r.u.attr.inode), 0);
    CHECK_EQ(batch_write(w, &r), 0);
    bytes_out_init(&out);
    CHECK_EQ(batch_finish(w, &head, s->g.epoch_key, name, s->g.m[1].keys, &out), 0);
    CHECK_EQ(store_put(&s->watch[1].s, name, out.p, out.len), 0);
    bytes_out_release(&out);
    batch_writer_free(w);
}

/* The newest batch of a device, as it lies in the folder; and where it is put aside. */
struct newest {
    char path[300], aside[310];
};

static void find_newest(struct scene *s, size_t device, struct newest *n)
{
    struct index *ix = vault_index(s->g.m[device].d.v);
    struct ledger_head own;
    char name[BATCH_NAME_LEN];
    index_lock(ix);
    CHECK_EQ(ledger_head_get(ix, s->g.m[device].tag, &own), 0);
    index_unlock(ix);
    batch_name(roster_by_tag(s->g.roster, s->g.m[device].tag)->store_name, own.seq, name);
    snprintf(n->path, sizeof(n->path), "%.200s/%s", s->g.url + 7, name);
    snprintf(n->aside, sizeof(n->aside), "%s.aside", n->path);
}

/* The same staleness hides no attack for long. */
static void test_alarms(void)
{
    struct scene s;
    char name[BATCH_NAME_LEN];
    int err = 0;
    scene_make(&s, 2, "alarm", 77);
    make_file(s.g.m[0].d.v, INODE_ROOT, "a", "x", 1);
    CHECK(group_settle(&s.g));
    make_file(s.g.m[1].d.v, INODE_ROOT, "b", "x", 1);
    CHECK(group_settle(&s.g) && group_same(&s.g));

    s.world.horizon = 400;
    forge(&s, name);
    for (int i = 0; i < 60 && err != ERR_CONTRADICTION; i++) {
        err = member_pull(&s.g.m[0], NULL, NULL);
        CHECK(err == 0 || err == ERR_BEHIND || err == ERR_CONTRADICTION);
    }
    CHECK_EQ(err, ERR_CONTRADICTION); /* A14 */
    CHECK_EQ(store_delete(s.g.m[0].store, name), 0);

    /* What it showed once and shows no more is missed, whoever wrote it (A13). */
    struct newest own, other;
    s.world.horizon = 0;
    find_newest(&s, 1, &other);
    CHECK_EQ(member_pull(&s.g.m[0], NULL, NULL), 0);
    CHECK_EQ(rename(other.path, other.aside), 0);
    CHECK_EQ(member_pull(&s.g.m[0], NULL, NULL), ERR_BEHIND);
    CHECK_EQ(rename(other.aside, other.path), 0);
    CHECK_EQ(member_pull(&s.g.m[0], NULL, NULL), 0);

    /* What the store had confirmed is gone for good; shown and hidden again it is never more than behind. */
    s.g.m[0].limits.missing_span_s = -1;
    find_newest(&s, 0, &own);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(rename(own.path, own.aside), 0);
        CHECK_EQ(member_push(&s.g.m[0], NULL), ERR_BEHIND);
        CHECK_EQ(member_push(&s.g.m[0], NULL), ERR_BEHIND);
        CHECK_EQ(rename(own.aside, own.path), 0);
        CHECK_EQ(member_push(&s.g.m[0], NULL), 0);
    }
    CHECK_EQ(unlink(own.path), 0);
    err = 0;
    for (int i = 0; i < 4 && err != ERR_CONTRADICTION; i++)
        err = member_push(&s.g.m[0], NULL);
    CHECK_EQ(err, ERR_CONTRADICTION); /* A12 */
    scene_free(&s);
}

static void settle_index(struct vault *v)
{
    CHECK_EQ(index_checkpoint(vault_index(v), NULL, NULL, NULL), 0);
}

/*
 * The store hides from device 0 that device 1 still needs the bytes of a file: device 0 deletes it, and frees the space on its disk. When the
 * other's small change is shown at last the file is whole: what it stands on was never taken off the store.
 */
static void test_withheld(void)
{
    enum { LEN = 3 << 20 };
    struct scene s;
    struct inode in, gone;
    struct vault *v;
    uint8_t *p = malloc(LEN), *q = malloc(LEN);
    size_t got;
    CHECK(p && q);
    scene_make(&s, 2, "withheld", 5);
    v = s.g.m[0].d.v;
    secret_random(p, LEN);
    uint64_t ino = make_file(v, INODE_ROOT, "photo", p, LEN);
    CHECK(group_settle(&s.g) && group_same(&s.g));
    memset(p + 1000000, 'E', 4096);
    CHECK_EQ(data_write(s.g.m[1].d.v, ino, 1000000, p + 1000000, 4096, true, false), 0);
    CHECK_EQ(member_push(&s.g.m[1], NULL), 0);
    struct newest hidden;
    find_newest(&s, 1, &hidden);
    CHECK_EQ(rename(hidden.path, hidden.aside), 0);

    CHECK_EQ(tree_unlink(v, INODE_ROOT, "photo", 5, &gone), 0);
    CHECK_EQ(tree_reap(v, gone.ino), 0);
    CHECK_EQ(member_pull(&s.g.m[0], NULL, NULL), 0);
    CHECK_EQ(member_push(&s.g.m[0], NULL), 0);
    settle_index(v);
    settle_index(v);
    group_close(&s.g, 0);
    group_open(&s.g, 0);
    watch_init(&s.watch[0], s.g.m[0].store, &s.world, NULL);
    s.g.m[0].handle.store = &s.watch[0].s;
    v = s.g.m[0].d.v;
    CHECK_EQ(tree_lookup(v, INODE_ROOT, "photo", 5, &in), ERR_NOENT);
    for (int i = 0; i < 3; i++) { /* however often it looks */
        CHECK_EQ(member_pull(&s.g.m[0], NULL, NULL), 0);
        CHECK_EQ(member_push(&s.g.m[0], NULL), 0);
    }

    CHECK_EQ(rename(hidden.aside, hidden.path), 0);
    CHECK(group_settle(&s.g) && group_same(&s.g));
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(tree_lookup(s.g.m[i].d.v, INODE_ROOT, "photo", 5, &in), 0);
        CHECK(in.size == LEN && data_read(s.g.m[i].d.v, in.ino, 0, q, LEN, &got, NULL) == 0 &&
              got == LEN && memcmp(p, q, LEN) == 0);
    }
    CHECK_EQ(s.world.deleted, 0);
    CHECK_EQ(s.world.rewritten, 0);
    free(p);
    free(q);
    scene_free(&s);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    fixture_start();
    test_random();
    test_alarms();
    test_withheld();
    fixture_rm(fixture_base);
    return check_done();
}
