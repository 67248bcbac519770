/* Fetching batches takes bounded memory, whatever their size and whoever waits for whom, and loses none. */
#include "merge_fixture.h"

#include "sync/pull_impl.h"

#define TARGETS 200 /* of 4000 bytes: a batch that is larger than what is asked for ahead */

static void many_links(struct vault *v, int round)
{
    char target[4001], name[32];
    struct inode in;
    memset(target, 'a' + round, sizeof(target) - 1);
    target[sizeof(target) - 1] = '\0';
    for (int i = 0; i < TARGETS; i++) {
        int len = snprintf(name, sizeof(name), "link %d %d", round, i);
        CHECK_EQ(tree_symlink(v, INODE_ROOT, name, (size_t)len, target, fixture_cred, &in), 0);
    }
}

/* Large batches and small ones, by one member. The other gets all of them, and never asks for much at once. */
static void test_large_batches(void)
{
    struct group g;
    struct fault f;
    uint64_t sent = 0, got = 0;
    group_make(&g, 2, "large");
    for (int round = 0; round < 14; round++) {
        if (round < 5)
            many_links(g.m[0].d.v, round);
        else
            make_file(g.m[0].d.v, INODE_ROOT, (char[]){'f', (char)('a' + round), 0}, "x", 1);
        CHECK_EQ(member_push(&g.m[0], &sent), 0);
    }
    CHECK(sent >= 14);
    fault_init(&f, g.m[1].store);
    g.m[1].handle.store = &f.s;
    CHECK_EQ(member_pull(&g.m[1], &got, NULL), 0);
    g.m[1].handle.store = g.m[1].store;
    CHECK_EQ(got, sent);
    CHECK(group_settle(&g) && group_same(&g));
    CHECK(f.asked_at_once > PULL_AHEAD_MAX);                      /* several at once, */
    CHECK(f.asked_at_once <= (PULL_WINDOW - 1) * PULL_AHEAD_MAX); /* of a part each */
    CHECK(PULL_HELD_MAX + BATCH_MAX + (PULL_WINDOW - 1) * PULL_AHEAD_MAX <= 32u << 20);
    group_free(&g);
}

/* Those that wait are kept while they are small together. */
static void test_waiting(void)
{
    struct pull_device devices[3] = {0};
    struct pull p = {.devices = devices, .device_count = 3};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 2; k++) {
            bytes_out_init(&devices[i].ahead[k]);
            CHECK(bytes_put_space(&devices[i].ahead[k], PULL_HELD_MAX / 5));
        }
        devices[i].count = 2;
        devices[i].ended = true; /* these two are all that there is */
        pull_fetch_wait(&p, &devices[i]);
        CHECK(pull_fetch_pending(&devices[i]));
        CHECK_EQ(devices[i].count, i < 2 ? 2 : 0);
        CHECK_EQ(devices[i].let_go, i == 2);
        CHECK_EQ(devices[i].ended, i < 2); /* what was let go is asked for again */
    }
    CHECK_EQ(devices[2].ahead[0].cap + devices[2].ahead[1].cap, 0);
    for (size_t i = 0; i < 3; i++)
        pull_fetch_release(&devices[i]);
}

int main(void)
{
    fixture_start();
    test_large_batches();
    test_waiting();
    fixture_rm(fixture_base);
    return check_done();
}
