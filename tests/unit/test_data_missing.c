/* data that is damaged or not here: concerns exactly the file it belongs to; is fetched once, verified, and kept. */
#include "data_fixture.h"

#include "fs/data_keep.h"

#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>

static void damage(void)
{
    uint64_t bad = new_file("bad"), good = new_file("good");
    static uint8_t b[100000], c[100000];
    size_t got = 0;
    fill(b, sizeof(b), 3);
    CHECK_EQ(write_at(bad, 0, b, sizeof(b)), 0);
    CHECK_EQ(write_at(good, 0, b, sizeof(b)), 0);
    fixture_flip(&f, fixture_extent(&f, bad, 0).at, seal_block_offset(2) + 50);
    memset(c, 0xee, sizeof(c));
    CHECK_EQ(read_at(bad, 0, c, sizeof(c), &got), ERR_AUTH);
    CHECK(c[2 * SEAL_BLOCK + 49] !=
          b[2 * SEAL_BLOCK + 49]); /* nothing of the bad block was handed out */
    CHECK_EQ(read_at(bad, 0, c, 2 * SEAL_BLOCK, &got), 0); /* the blocks around it still verify */
    CHECK_EQ(read_at(bad, 3 * SEAL_BLOCK, c, SEAL_BLOCK, &got), 0);
    CHECK_EQ(read_at(bad, 2 * SEAL_BLOCK + 5, c, 1, &got), ERR_AUTH);
    CHECK_EQ(read_at(good, 0, c, sizeof(c), &got), 0);
    CHECK(got == sizeof(c) && memcmp(b, c, got) == 0);
    fixture_flip(&f, fixture_extent(&f, bad, 0).at, seal_block_offset(2) + 50);
    CHECK_EQ(read_at(bad, 0, c, sizeof(c), &got), 0);
}

#define LOST_LEN 300000u

static atomic_uint thread_errors;
static uint8_t lost_plain[LOST_LEN], lost_sealed[2 * LOST_LEN];
static atomic_uint fetches;
static atomic_bool hold_fetch, fetch_started;
static int fetch_result;
static unsigned fetch_spoil;

/* Gives all that it may. */
static int fake_fetch(void *ctx, struct vault_fetch *want)
{
    const _Atomic bool *cancelled = want->cancelled;
    const size_t from = seal_block_offset(want->first), whole = seal_size(want->e->len);
    const size_t to =
        seal_block_offset(want->limit) < whole ? seal_block_offset(want->limit) : whole;
    fetches++;
    fetch_started = true;
    while (hold_fetch && !*cancelled)
        usleep(1000);
    if (*cancelled)
        return ERR_INTR;
    if (to > from)
        memcpy(want->sealed + from, lost_sealed + from, to - from);
    want->sealed[from + 100] ^= (uint8_t)fetch_spoil;
    want->end = want->limit;
    return fetch_result;
}

/* A file whose only extent is not here any more, but with the fetcher. */
static uint64_t lose(const char *name)
{
    uint64_t ino = new_file(name);
    fill(lost_plain, LOST_LEN, 9);
    CHECK_EQ(write_at(ino, 0, lost_plain, LOST_LEN), 0);
    struct extent e = fixture_extent(&f, ino, 0);
    CHECK_EQ(segment_read(vault_segments(f.v), e.at, 0, lost_sealed, seal_size(e.len)), 0);
    e.at = (struct segment_pos){0, 0};
    e.pack = 5;
    index_lock(f.ix);
    CHECK_EQ(index_begin(f.ix, INDEX_REMOTE, 0), 0);
    CHECK_EQ(index_extent_move(f.ix, &e), 0);
    index_end(f.ix);
    index_unlock(f.ix);
    return ino;
}

static void *lost_reader(void *arg)
{
    uint8_t *b = malloc(LOST_LEN);
    size_t got;
    int err = read_at(*(uint64_t *)arg, 0, b, LOST_LEN, &got);
    thread_errors += err || got != LOST_LEN || memcmp(b, lost_plain, LOST_LEN) != 0;
    free(b);
    return NULL;
}

static void missing_shared(void)
{
    uint64_t ino = lose("lost");
    pthread_t t[4];
    fetches = 0;
    thread_errors = 0;
    hold_fetch = true;
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, lost_reader, &ino) == 0);
    while (!fetch_started)
        usleep(100);
    hold_fetch = false;
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(thread_errors, 0);
    CHECK_EQ(fetches, 1);
    CHECK(fixture_extent(&f, ino, 0).at.seg != 0); /* kept */
    fixture_reopen(&f);
    CHECK(fixture_extent(&f, ino, 0).at.seg != 0);
    lost_reader(&ino);
    CHECK_EQ(thread_errors, 0);
    CHECK_EQ(fetches, 1);
}

static void *interrupted_reader(void *arg)
{
    _Atomic bool *cancelled = arg;
    struct inode i;
    uint8_t b[100];
    size_t got;
    if (tree_lookup(f.v, INODE_ROOT, "lost2", 5, &i))
        return NULL;
    thread_errors += data_read(f.v, i.ino, 0, b, sizeof(b), &got, cancelled) != ERR_INTR;
    return NULL;
}

static void missing_errors(const struct vault_fetcher *fetcher)
{
    uint64_t ino = lose("lost2");
    static uint8_t b[LOST_LEN];
    size_t got;
    pthread_t t[2];
    static _Atomic bool cancelled[2];

    vault_set_fetcher(f.v, NULL);
    CHECK_EQ(read_at(ino, 0, b, 10, &got), ERR_NET);
    vault_set_fetcher(f.v, fetcher);
    fetch_result = ERR_NET;
    CHECK_EQ(read_at(ino, 0, b, 10, &got), ERR_NET);
    fetch_result = 0;
    fetch_spoil = 1;
    memset(b, 0xee, sizeof(b));
    CHECK_EQ(read_at(ino, 0, b, 10, &got), ERR_AUTH); /* wrong bytes are neither served nor kept */
    CHECK(b[0] == 0xee || b[0] == 0);
    CHECK(fixture_extent(&f, ino, 0).at.seg == 0);
    fetch_spoil = 0;

    /* one who waits and one who fetches are both interrupted, each by its own flag */
    thread_errors = 0;
    fetch_started = false;
    hold_fetch = true;
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&t[i], NULL, interrupted_reader, &cancelled[i]) == 0);
    while (!fetch_started)
        usleep(100);
    cancelled[0] = cancelled[1] = true;
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    hold_fetch = false;
    CHECK_EQ(thread_errors, 0);
    lost_reader(&ino);
    CHECK_EQ(thread_errors, 0);
}

/* A copy that is damaged here is replaced from the store, if it is there; else the damage is the answer. */
static void damage_heals(void)
{
    uint64_t ino = lose("heal");
    static uint8_t b[LOST_LEN];
    size_t got = 0;
    CHECK_EQ(read_at(ino, 0, b, 10, &got), 0); /* is here now, and in a pack */
    struct extent e = fixture_extent(&f, ino, 0);
    fixture_flip(&f, e.at, 5);
    fetch_result = ERR_NET;
    CHECK_EQ(read_at(ino, 0, b, LOST_LEN, &got), ERR_AUTH);
    fetch_result = 0;
    fetches = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(read_at(ino, 0, b, LOST_LEN, &got), 0);
        CHECK(memcmp(b, lost_plain, LOST_LEN) == 0);
    }
    CHECK_EQ(fetches, 1);
    struct extent now = fixture_extent(&f, ino, 0);
    CHECK(now.at.seg && (now.at.seg != e.at.seg || now.at.off != e.at.off));
}

/* Growing, cloning and cutting need no bytes; only reading does. */
static void missing_untouched(void)
{
    uint64_t ino = lose("lost3"), copy = new_file("lost3copy"), copied = 0;
    size_t got = 0;
    uint8_t b[10];
    fetches = 0;
    CHECK_EQ(data_copy_range(f.v, ino, 0, copy, 0, LOST_LEN, &copied), 0);
    CHECK_EQ(write_at(ino, 0, "new", 3), 0);
    CHECK_EQ(set_size(ino, 200000), 0);
    CHECK_EQ(read_at(ino, 0, b, 3, &got), 0);
    CHECK_EQ(fetches, 0);
    CHECK_EQ(read_at(copy, 0, b, 10, &got), 0);
    CHECK(memcmp(b, lost_plain, 10) == 0);
    CHECK_EQ(fetches, 1);
}

static int add_segment(void *ctx, uint64_t seg, uint64_t bytes)
{
    char path[200];
    struct stat st;
    (void)bytes;
    snprintf(path, sizeof(path), "%s/seg/%016llx", f.path, (unsigned long long)seg);
    CHECK_EQ(stat(path, &st), 0);
    *(uint64_t *)ctx += (uint64_t)st.st_blocks * 512;
    return 0;
}

static uint64_t room_taken(void)
{
    uint64_t sum = 0;
    CHECK_EQ(segment_each(vault_segments(f.v), add_segment, &sum), 0);
    return sum;
}

/* What was fetched and came meanwhile by another way: the second copy takes no room, be it ever so often. */
static void not_needed(void)
{
    struct data_keep items[20];
    uint64_t ino = lose("lost5");
    uint8_t b[10];
    size_t got = 0;
    for (size_t i = 0; i < 20; i++)
        items[i] = (struct data_keep){fixture_extent(&f, ino, 0), lost_sealed};
    CHECK_EQ(read_at(ino, 0, b, 10, &got), 0);
    const struct extent here = fixture_extent(&f, ino, 0);
    CHECK(here.at.seg != 0);
    const uint64_t before = room_taken();
    for (unsigned i = 0; i < 5; i++)
        CHECK(data_keep(f.v, items, 20));      /* 30 MB in all */
    CHECK(room_taken() < before + (8u << 20)); /* a reserve is */
    const struct extent now = fixture_extent(&f, ino, 0);
    CHECK(now.at.seg == here.at.seg && now.at.off == here.at.off);
    CHECK_EQ(read_at(ino, 0, b, 10, &got), 0);
    CHECK(memcmp(b, lost_plain, 10) == 0);
}

static void missing_read_only(const struct vault_fetcher *fetcher)
{
    uint64_t ino = lose("lost4");
    static uint8_t b[LOST_LEN];
    size_t got = 0;
    fixture_close(&f);
    fixture_open(&f, VAULT_READ_ONLY);
    vault_set_fetcher(f.v, fetcher);
    fetches = 0;
    CHECK_EQ(write_at(ino, 0, "x", 1), ERR_ROFS);
    CHECK_EQ(set_size(ino, 1), ERR_ROFS);
    CHECK_EQ(data_fallocate(f.v, ino, 0, 0, 1), ERR_ROFS);
    for (size_t at = 0; at < LOST_LEN; at += 50000)
        CHECK_EQ(read_at(ino, at, b + at, 50000, &got), 0);
    CHECK(memcmp(b, lost_plain, LOST_LEN) == 0);
    CHECK_EQ(fetches, 1); /* piece by piece, and still fetched once */
    CHECK(fixture_extent(&f, ino, 0).at.seg == 0);
}

int main(void)
{
    struct vault_fetcher fetcher = {.fetch = fake_fetch};
    fixture_make(&f);
    damage();
    vault_set_fetcher(f.v, &fetcher);
    missing_shared();
    vault_set_fetcher(f.v, &fetcher);
    missing_errors(&fetcher);
    damage_heals();
    missing_untouched();
    not_needed();
    missing_read_only(&fetcher);
    fixture_remove(&f);
    return check_done();
}
