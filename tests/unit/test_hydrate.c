/*
 * Fetching what is only on the store, over HTTP: what is fetched for what is read, never twice, never wrong bytes, and an end in
 * bounded time when the store does not answer.
 */
#include "merge_fixture.h"
#include "range_server.h"

#include "sync/hydrate_impl.h"

#include <time.h>

#define BIG      12u
#define BIG_LEN  (5u << 20)
#define TINY     300u
#define TINY_LEN 5000u
#define READ     (128u << 10) /* what the kernel asks for at once */
#define KiB      1024u

static struct group g;
static struct range_server server;

static uint8_t byte_at(unsigned file, size_t i)
{
    return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16) * 3 + file * 101);
}

static void file_name(char name[20], unsigned file)
{
    snprintf(name, 20, "%s%03u", file < BIG ? "big" : "tiny", file);
}

static size_t file_len(unsigned file)
{
    return file < BIG ? BIG_LEN : TINY_LEN;
}

static void write_files(struct vault *v)
{
    static const struct tree_cred me = {1000, 100};
    static uint8_t b[1 << 20];
    for (unsigned n = 0; n < BIG + TINY; n++) {
        struct inode in;
        char name[20];
        file_name(name, n);
        CHECK(tree_mknod(v, INODE_ROOT, name, strlen(name), S_IFREG | 0644, 0, me, &in) == 0);
        for (size_t at = 0, len; at < file_len(n); at += len) {
            len = file_len(n) - at < sizeof(b) ? file_len(n) - at : sizeof(b);
            for (size_t i = 0; i < len; i++)
                b[i] = byte_at(n, at + i);
            CHECK(data_write(v, in.ino, at, b, len, true, false) == 0);
        }
    }
}

static uint64_t ino_of(struct vault *v, unsigned file)
{
    struct inode in = {0};
    char name[20];
    file_name(name, file);
    int err = tree_lookup(v, INODE_ROOT, name, strlen(name), &in);
    if (err)
        fixture_die(name, err); /* no CHECK: also called by threads */
    return in.ino;
}

/* ERR_FORMAT: other bytes than were written. */
static int read_part(struct vault *v, unsigned file, size_t at, size_t len,
                     const _Atomic bool *cancelled)
{
    uint8_t *b = malloc(len);
    size_t got = 0;
    const size_t there = file_len(file) - at < len ? file_len(file) - at : len;
    int err = data_read(v, ino_of(v, file), at, b, len, &got, cancelled);
    bool same = got == there;
    for (size_t i = 0; !err && same && i < got; i++)
        same = b[i] == byte_at(file, at + i);
    free(b);
    return err ? err : same ? 0 : ERR_FORMAT;
}

static int read_whole(struct vault *v, unsigned file)
{
    int err = 0;
    for (size_t at = 0; !err && at < file_len(file); at += READ)
        err = read_part(v, file, at, READ, NULL);
    return err;
}

static bool is_here(struct vault *v, unsigned file)
{
    struct map_row row;
    struct extent e = {0};
    size_t n = 0;
    struct index *ix = vault_index(v);
    const uint64_t ino = ino_of(v, file);
    index_lock(ix);
    CHECK(index_map_get(ix, ino, 0, 1, &row, &e, 1, &n) == 0 && n == 1);
    index_unlock(ix);
    return e.at.seg != 0;
}

static struct hydrate_stats settled(struct member *m)
{
    struct hydrate_stats s;
    while (hydrate_stats(m->hydrate, &s), s.jobs)
        usleep(2000);
    return s;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void use_server(struct member *m)
{
    struct stores_item *item = calloc(1, sizeof(*item));
    item->id = 1;
    snprintf(item->url, sizeof(item->url), "%s", server.url);
    hydrate_set_stores(m->hydrate, item, 1);
    m->fetcher.reading = (void (*)(void *, const struct extent *))hydrate_reading;
    vault_set_fetcher(m->d.v, &m->fetcher);
}

/* A file manager that makes thumbnails. */
static void heads_cost_heads(struct member *m)
{
    for (unsigned n = 0; n < BIG; n++)
        CHECK_EQ(read_part(m->d.v, n, 0, 64 * KiB, NULL), 0);
    struct hydrate_stats s = settled(m);
    CHECK_EQ(s.gets, BIG);
    CHECK(s.received <= BIG * 80 * KiB);
    /* what was fetched last is not fetched again */
    CHECK_EQ(read_part(m->d.v, BIG - 1, 10 * KiB, 20 * KiB, NULL), 0);
    CHECK_EQ(settled(m).gets, BIG);
    /* nor what is fetched beside it */
    CHECK_EQ(read_part(m->d.v, BIG - 1, 3000 * KiB, 1, NULL), 0);
    CHECK(settled(m).received <= s.received + 80 * KiB);
}

/* Player, hex editor: here and there. */
static void random_reads_cost_little(struct member *m)
{
    struct hydrate_stats before = settled(m);
    for (unsigned i = 0; i < 20; i++)
        CHECK_EQ(read_part(m->d.v, (i * 5) % BIG, ((i * 7919) % 80) * 64 * KiB, 4 * KiB, NULL), 0);
    struct hydrate_stats after = settled(m);
    CHECK(after.received - before.received <= 20 * 80 * KiB);
}

static void *read_head(void *m)
{
    return (void *)(intptr_t)read_part(((struct member *)m)->d.v, 3, 0, 64 * KiB, NULL);
}

static void same_bytes_once(struct member *m)
{
    pthread_t t[6];
    void *err;
    unsigned before = atomic_load(&server.gets);
    atomic_store(&server.hold, true);
    for (int i = 0; i < 6; i++)
        CHECK(pthread_create(&t[i], NULL, read_head, m) == 0);
    while (atomic_load(&server.gets) == before)
        usleep(500);
    atomic_store(&server.hold, false);
    for (int i = 0; i < 6; i++) {
        pthread_join(t[i], &err);
        CHECK_EQ((intptr_t)err, 0);
    }
    CHECK_EQ(atomic_load(&server.gets), before + 1);
}

/* One file, and nothing of the next. */
static void one_file(struct member *m)
{
    CHECK_EQ(read_whole(m->d.v, 0), 0);
    struct hydrate_stats s = settled(m);
    CHECK(s.received < BIG_LEN + BIG_LEN / 8);
    CHECK(is_here(m->d.v, 0) && !is_here(m->d.v, 1));
    CHECK(s.gets <= 9);
    CHECK_EQ(read_whole(m->d.v, 0), 0); /* is here now */
    CHECK_EQ(settled(m).gets, s.gets);
}

/* One file after the other: large ranges across files and packs, ahead of the reader, and nothing twice. */
static void a_folder(struct member *m)
{
    for (unsigned n = 1; n < BIG + TINY; n++)
        CHECK_EQ(read_whole(m->d.v, n), 0);
    struct hydrate_stats s = settled(m);
    const uint64_t all = (uint64_t)BIG * BIG_LEN + (uint64_t)TINY * TINY_LEN;
    CHECK(s.received >= all && s.received < all + all / 20);
    CHECK(s.gets <= 60);
    CHECK(atomic_load(&server.largest) > 3u << 20 && atomic_load(&server.largest) <= HYDRATE_PART);
    for (unsigned n = 0; n < BIG + TINY; n++)
        CHECK(is_here(m->d.v, n));
}

struct reader {
    struct member *m;
    unsigned first;
    int err;
};

static void *read_some(void *arg)
{
    struct reader *r = arg;
    for (unsigned n = r->first; n < BIG && !r->err; n += 4)
        r->err = read_whole(r->m->d.v, n);
    return NULL;
}

static void side_by_side(struct member *m)
{
    pthread_t t[4];
    struct reader r[4];
    for (unsigned i = 0; i < 4; i++) {
        r[i] = (struct reader){m, i, 0};
        CHECK(pthread_create(&t[i], NULL, read_some, &r[i]) == 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        CHECK_EQ(r[i].err, 0);
    }
    const uint64_t all = (uint64_t)BIG * BIG_LEN + (uint64_t)TINY * TINY_LEN;
    CHECK(settled(m).received < all + all / 10);
}

static unsigned gets_before;

static void *cancel_soon(void *arg)
{
    while (atomic_load(&server.gets) == gets_before)
        usleep(500);
    atomic_store((_Atomic bool *)arg, true);
    return NULL;
}

static void no_answer(struct member *m)
{
    static _Atomic bool cancelled;
    pthread_t t;
    CHECK_EQ(read_part(m->d.v, 0, 0, 64 * KiB, NULL), 0);
    hydrate_set_timeout(m->hydrate, 700);
    atomic_store(&server.hold, true);
    int64_t start = now();
    CHECK_EQ(read_part(m->d.v, 2, 0, 64 * KiB, NULL), ERR_NET);
    CHECK_EQ(read_part(m->d.v, 0, 64 * KiB, READ, NULL), ERR_NET); /* reads on */
    CHECK(now() - start < 8000);
    hydrate_set_timeout(m->hydrate, HYDRATE_TIMEOUT_MS);
    start = now();
    gets_before = atomic_load(&server.gets);
    CHECK(pthread_create(&t, NULL, cancel_soon, &cancelled) == 0);
    CHECK_EQ(read_part(m->d.v, 4, 0, 64 * KiB, &cancelled), ERR_INTR);
    pthread_join(t, NULL);
    CHECK(now() - start < 5000);
    CHECK(!is_here(m->d.v, 0) && !is_here(m->d.v, 2) && !is_here(m->d.v, 4));
    atomic_store(&server.hold, false);
    CHECK_EQ(read_whole(m->d.v, 2), 0);
    CHECK_EQ(read_whole(m->d.v, 0), 0);
    CHECK_EQ(read_whole(m->d.v, 4), 0);
}

static size_t part(struct member *m)
{
    pthread_mutex_lock(&m->hydrate->lock);
    size_t n = m->hydrate->part;
    pthread_mutex_unlock(&m->hydrate->lock);
    return n;
}

/* A link that was fast and is slow now: what is fetched ahead becomes small, or it would never come in time. */
static void slower_link(struct member *m)
{
    const unsigned n = BIG - 1; /* nobody reads on from there to what others look at */
    use_server(m);              /* what failed before is no reason to wait */
    CHECK_EQ(read_part(m->d.v, n, 0, 64 * KiB, NULL), 0);
    const size_t before = part(m);
    CHECK(before > 512 * KiB);
    hydrate_set_timeout(m->hydrate, 2500);
    atomic_store(&server.hold, true);
    CHECK_EQ(read_part(m->d.v, n, 64 * KiB, READ, NULL), ERR_NET); /* reads on */
    settled(m);
    CHECK(part(m) <= before / 2);
    atomic_store(&server.hold, false);
    hydrate_set_timeout(m->hydrate, HYDRATE_TIMEOUT_MS);
    CHECK_EQ(read_whole(m->d.v, n), 0);
}

/* Wrong bytes are neither served nor kept, whether somebody waits for them or they come ahead. */
static void wrong_bytes(struct member *m)
{
    const unsigned n = 9;
    int err = 0;
    atomic_store(&server.spoil, 1);
    CHECK_EQ(read_part(m->d.v, n, 0, 64 * KiB, NULL), ERR_AUTH);
    CHECK_EQ(read_part(m->d.v, n, 0, 64 * KiB, NULL), 0);
    settled(m);
    CHECK(!is_here(m->d.v, n));
    atomic_store(&server.spoil, 1000); /* before it is seen to read on, and all is fetched */
    for (size_t at = 0; at < BIG_LEN; at += READ) {
        int one = read_part(m->d.v, n, at, READ, NULL);
        CHECK(one == 0 || one == ERR_AUTH);
        err = err ? err : one;
    }
    CHECK_EQ(err, ERR_AUTH);
    settled(m);
    atomic_store(&server.spoil, 0);
    CHECK_EQ(read_whole(m->d.v, n), 0);
    for (unsigned i = 0; i < BIG + TINY; i++)
        CHECK_EQ(read_whole(m->d.v, i), 0);
}

int main(void)
{
    char root[160];
    log_set_level(LOG_LEVEL_ERROR);
    fixture_start();
    group_make(&g, 4, "h");
    write_files(g.m[0].d.v);
    CHECK(group_settle(&g));
    snprintf(root, sizeof(root), "%s", g.url + 7);
    CHECK(range_start(&server, root));
    for (size_t i = 1; i < 4; i++)
        use_server(&g.m[i]);
    heads_cost_heads(&g.m[2]);
    random_reads_cost_little(&g.m[2]);
    same_bytes_once(&g.m[1]);
    side_by_side(&g.m[2]);
    no_answer(&g.m[1]);
    slower_link(&g.m[1]);
    wrong_bytes(&g.m[1]);
    one_file(&g.m[3]);
    a_folder(&g.m[3]);
    group_free(&g);
    range_stop(&server);
    fixture_rm(fixture_base);
    return check_done();
}
