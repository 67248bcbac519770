/* segment: what was appended is read back in order, from all threads; full files, space, full and failing disks. */
#include "segment_fixture.h"

#include "crypto/seal.h"
#include "fs/segment_record.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

static const struct segment_pos start = {0, 0};
static struct seen seen;

static void one_after_the_other(void)
{
    struct fixture fx;
    fixture_make(&fx);
    fixture_open(&fx, false);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK_EQ(seen.count, 0);
    CHECK_EQ(segment_sync(fx.store), ERR_OK); /* nothing to do */
    struct segment_pos tail = segment_tail(fx.store), e, n, m;
    CHECK(tail.seg == 1 && tail.off == 0);
    CHECK_EQ(append_extent(&fx, 7, 5000, &e), ERR_OK);
    CHECK_EQ(append_mark(&fx, 11, &n), ERR_OK);
    CHECK_EQ(segment_sync(fx.store), ERR_OK);
    tail = segment_tail(fx.store);
    CHECK_EQ(append_mark(&fx, 12, &m), ERR_OK);
    CHECK(e.seg == 1 && e.off == 64 && n.off == 64 + 5000 + 64 && m.off == tail.off + 64);

    uint8_t buf[100];
    CHECK_EQ(segment_read(fx.store, e, 4900, buf, 100), ERR_OK);
    CHECK(buf[0] == 7 && buf[99] == 7);
    fixture_close(&fx);
    CHECK_EQ(fixture_size(&fx, 1), m.off + 8 + 40); /* the reserve is cut off */

    fixture_open(&fx, false);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK_EQ(seen.count, 3);
    CHECK(seen.at[0].kind == SEGMENT_EXTENT && seen.at[0].pos.off == e.off &&
          seen.at[0].len == 5000);
    CHECK(seen.at[1].kind == SEGMENT_NOTE && seen.at[1].mark == 11 && seen.at[1].len == 8);
    CHECK(seen.at[2].mark == 12 && seen.end.seg == 1 && seen.end.off == m.off + 48);
    /* from the middle */
    CHECK_EQ(fixture_scan(&fx, tail, &seen), ERR_OK);
    CHECK(seen.count == 1 && seen.at[0].mark == 12);
    CHECK_EQ(fixture_scan(&fx, seen.end, &seen), ERR_OK);
    CHECK_EQ(seen.count, 0);
    /* what the caller says stops it */
    seen.stop_after = 2;
    CHECK_EQ(fixture_scan(&fx, start, &seen), 42);
    CHECK_EQ(seen.count, 2);
    seen.stop_after = 0;
    /* a new mount never touches an old file */
    CHECK_EQ(append_mark(&fx, 13, &n), ERR_OK);
    CHECK(n.seg == 2 && n.off == 64);
    fixture_close(&fx);

    fixture_open(&fx, true);
    CHECK_EQ(fixture_scan(&fx, tail, &seen), ERR_OK);
    CHECK(seen.count == 2 && seen.at[1].mark == 13 && seen.end.seg == 2);
    CHECK_EQ(append_mark(&fx, 14, &n), ERR_ROFS);
    CHECK_EQ(segment_hold(fx.store, 100), ERR_ROFS);
    CHECK_EQ(segment_drop(fx.store, 1), ERR_ROFS);
    fixture_close(&fx);
    fixture_remove(&fx);
}

/* As the index does it on a full disk: what was synced is read again, and the reserve stays. */
static void read_again(void)
{
    struct fixture fx;
    struct segment_pos pos;
    fixture_make(&fx);
    fixture_open(&fx, false);
    CHECK_EQ(append_mark(&fx, 1, &pos), ERR_OK);
    CHECK_EQ(append_extent(&fx, 1, 500, &pos), ERR_OK);
    CHECK_EQ(segment_sync(fx.store), ERR_OK);
    off_t size = fixture_size(&fx, 1);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK(seen.count == 2 && fixture_size(&fx, 1) == size && size >= 1 << 20);
    CHECK_EQ(append_mark(&fx, 2, &pos), ERR_OK);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK(seen.count == 3 && seen.at[2].mark == 2);
    fixture_close(&fx);
    fixture_remove(&fx);
}

static void bad_sizes(void)
{
    struct fixture fx;
    struct segment_pos pos;
    fixture_make(&fx);
    fixture_open(&fx, false);
    uint8_t *big = calloc(1, SEGMENT_NOTE_MAX + 1);
    CHECK_EQ(segment_append(fx.store, SEGMENT_EXTENT, big, 16, &pos), ERR_MISUSE);
    CHECK_EQ(segment_append(fx.store, SEGMENT_EXTENT, big, seal_size(SEAL_EXTENT_MAX) + 1, &pos),
             ERR_MISUSE);
    CHECK_EQ(segment_append(fx.store, SEGMENT_NOTE, big, 0, &pos), ERR_MISUSE);
    CHECK_EQ(segment_append(fx.store, SEGMENT_NOTE, big, SEGMENT_NOTE_MAX + 1, &pos), ERR_MISUSE);
    CHECK_EQ(segment_append(fx.store, SEGMENT_NOTE, big, SEGMENT_NOTE_MAX, &pos), ERR_OK);
    CHECK_EQ(segment_append(fx.store, SEGMENT_EXTENT, big, seal_size(SEAL_EXTENT_MAX), &pos),
             ERR_OK);
    free(big);
    fixture_close(&fx);
    fixture_open(&fx, true);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK(seen.count == 2 && seen.at[0].len == SEGMENT_NOTE_MAX);
    fixture_close(&fx);
    fixture_remove(&fx);
}

/* ---- many threads ---- */

#define THREADS 4
#define EACH    300

struct worker {
    pthread_t thread;
    struct fixture *fx;
    unsigned number, failures;
    struct segment_pos pos[EACH];
};

static size_t worker_len(unsigned number, unsigned i)
{
    return 17 + (number * 7919 + i * 104729) % 20000;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < EACH; i++) {
        if (i % 3 == 2)
            w->failures += append_mark(w->fx, w->number * 1000 + i, &w->pos[i]) != ERR_OK;
        else
            w->failures += append_extent(w->fx, (uint8_t)(w->number * 50 + i),
                                         worker_len(w->number, i), &w->pos[i]) != ERR_OK;
        if (i % 50 == 49) {
            w->failures += segment_sync(w->fx->store) != ERR_OK;
            uint8_t byte = 0;
            w->failures += segment_read(w->fx->store, w->pos[i - 1], 16, &byte, 1) != ERR_OK;
            w->failures +=
                i % 3 != 0 && byte != (uint8_t)(w->number * 50 + i - 1) && (i - 1) % 3 != 2;
        }
    }
    return NULL;
}

static void concurrent(void)
{
    static struct worker workers[THREADS];
    struct fixture fx;
    fixture_make(&fx);
    fixture_open(&fx, false);
    for (unsigned t = 0; t < THREADS; t++) {
        workers[t] = (struct worker){.fx = &fx, .number = t};
        CHECK(pthread_create(&workers[t].thread, NULL, work, &workers[t]) == 0);
    }
    for (unsigned t = 0; t < THREADS; t++) {
        pthread_join(workers[t].thread, NULL);
        CHECK_EQ(workers[t].failures, 0);
    }
    fixture_close(&fx);

    fixture_open(&fx, false);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK_EQ(seen.count, THREADS * EACH);
    /* each is there once, with what was written */
    unsigned found = 0, right = 0;
    for (unsigned t = 0; t < THREADS; t++) {
        for (unsigned i = 0; i < EACH; i++) {
            size_t k = 0;
            while (k < seen.count && (seen.at[k].pos.off != workers[t].pos[i].off))
                k++;
            if (k == seen.count)
                continue;
            found++;
            if (i % 3 == 2) {
                right += seen.at[k].kind == SEGMENT_NOTE && seen.at[k].mark == t * 1000 + i;
                continue;
            }
            static uint8_t buf[32768];
            size_t len = worker_len(t, i), same = 0;
            CHECK_EQ(segment_read(fx.store, seen.at[k].pos, 0, buf, len), ERR_OK);
            while (same < len && buf[same] == (uint8_t)(t * 50 + i))
                same++;
            right += seen.at[k].len == len && same == len;
        }
    }
    CHECK_EQ(found, THREADS * EACH);
    CHECK_EQ(right, THREADS * EACH);
    fixture_close(&fx);
    fixture_remove(&fx);
}

/* ---- several files ---- */

/* More than one file of 1 MiB extents; the mark ${first} + i follows extent i. Returns the last position. */
static struct segment_pos fill(struct fixture *fx, uint64_t first, unsigned n)
{
    struct segment_pos pos = {0, 0};
    unsigned bad = 0;
    for (unsigned i = 0; i < n; i++) {
        bad += append_extent(fx, (uint8_t)i, seal_size(SEAL_EXTENT_MAX), &pos) != ERR_OK;
        bad += append_mark(fx, first + i, &pos) != ERR_OK;
    }
    CHECK_EQ(bad, 0);
    return pos;
}

static int count_file(void *ctx, uint64_t seg, uint64_t bytes)
{
    uint64_t *sum = ctx;
    sum[0] += bytes;
    sum[1] = sum[1] * 10 + seg;
    return 0;
}

static void full_files(void)
{
    struct fixture fx;
    fixture_make(&fx);
    fixture_open(&fx, false);
    struct segment_pos last = fill(&fx, 0, 70);
    CHECK_EQ(last.seg, 2);
    CHECK_EQ(segment_sync(fx.store), ERR_OK);
    CHECK(fixture_size(&fx, 1) <= (off_t)SEGMENT_FILE_MAX &&
          fixture_size(&fx, 1) > (off_t)(62 << 20));
    uint64_t sum[2] = {0, 0};
    CHECK_EQ(segment_each(fx.store, count_file, sum), ERR_OK);
    CHECK(sum[1] == 12 && sum[0] == (uint64_t)fixture_size(&fx, 1) + last.off + 48);
    fixture_close(&fx);

    fixture_open(&fx, false);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK(seen.count == 140 && seen.at[139].mark == 69 && seen.end.seg == 2);
    /* a position at the very end of the first file leads into the second */
    size_t in_first = 0;
    while (seen.at[in_first].pos.seg == 1)
        in_first++;
    struct segment_pos edge = {1, (uint64_t)fixture_size(&fx, 1) - 64};
    CHECK_EQ(fixture_scan(&fx, edge, &seen), ERR_OK);
    CHECK_EQ(seen.count, 140 - in_first);
    fixture_close(&fx);

    /*
     * A crash that kept the second file, and lost the end of the first: the second is not taken as what follows. Two
     * mounts later all of them still agree on where the log went.
     */
    CHECK(fixture_truncate(&fx, 1, (off_t)(30 << 20)) == 0);
    fixture_open(&fx, false);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    size_t kept = seen.count;
    CHECK(kept < in_first && seen.end.seg == 1 && seen.end.off <= (30 << 20));
    struct segment_pos pos;
    CHECK_EQ(append_mark(&fx, 500, &pos), ERR_OK);
    CHECK_EQ(pos.seg, 3);
    fixture_close(&fx);
    fixture_open(&fx, false);
    CHECK_EQ(append_mark(&fx, 501, &pos), ERR_OK);
    CHECK_EQ(pos.seg, 4);
    fixture_close(&fx);
    fixture_open(&fx, true);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK(seen.count == kept + 2 && seen.at[kept].mark == 500 && seen.at[kept + 1].mark == 501);
    fixture_close(&fx);
    fixture_remove(&fx);
}

/* More files than the cache holds are readable, from several threads at once. */
struct reader {
    pthread_t thread;
    struct fixture *fx;
    unsigned bad;
};

static void *read_all(void *arg)
{
    struct reader *r = arg;
    for (unsigned round = 0; round < 20; round++) {
        for (uint64_t seg = 1; seg <= 50; seg++) {
            uint8_t byte = 0;
            r->bad +=
                segment_read(r->fx->store, (struct segment_pos){seg, 64}, 9, &byte, 1) != ERR_OK;
            r->bad += byte != (uint8_t)seg;
        }
    }
    return NULL;
}

static void many_files(void)
{
    struct fixture fx;
    struct segment_pos pos;
    fixture_make(&fx);
    for (unsigned i = 1; i <= 50; i++) {
        fixture_open(&fx, false);
        CHECK(append_extent(&fx, (uint8_t)i, 100, &pos) == ERR_OK && pos.seg == i);
        fixture_close(&fx);
    }
    fixture_open(&fx, true);
    struct reader readers[3] = {{.fx = &fx}, {.fx = &fx}, {.fx = &fx}};
    for (int t = 0; t < 3; t++)
        CHECK(pthread_create(&readers[t].thread, NULL, read_all, &readers[t]) == 0);
    for (int t = 0; t < 3; t++) {
        pthread_join(readers[t].thread, NULL);
        CHECK_EQ(readers[t].bad, 0);
    }
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK_EQ(seen.count, 50);
    fixture_close(&fx);
    fixture_remove(&fx);
}

/* ---- space ---- */

static void reading_and_freeing(void)
{
    struct fixture fx;
    struct segment_pos a, b, c;
    uint8_t buf[8192];
    fixture_make(&fx);
    fixture_open(&fx, false);
    CHECK_EQ(append_extent(&fx, 1, 50000, &a), ERR_OK);
    CHECK_EQ(append_extent(&fx, 2, 50000, &b), ERR_OK);
    CHECK_EQ(append_mark(&fx, 9, &c), ERR_OK);
    segment_punch(fx.store, a, 50000);
    CHECK_EQ(segment_read(fx.store, a, 8192, buf, 1), ERR_OK);
    CHECK_EQ(buf[0], 0);
    CHECK_EQ(segment_read(fx.store, b, 0, buf, 8192), ERR_OK);
    CHECK(buf[0] == 2 && buf[8191] == 2);            /* the neighbour is whole */
    CHECK_EQ(segment_drop(fx.store, 1), ERR_MISUSE); /* being written */
    fixture_close(&fx);

    fixture_open(&fx, false);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK); /* and so are all heads */
    CHECK(seen.count == 3 && seen.at[2].mark == 9);
    CHECK_EQ(segment_read(fx.store, b, 45000, buf, 5200),
             ERR_FORMAT); /* past the end of the file */
    CHECK_EQ(segment_read(fx.store, b, UINT64_MAX - 5, buf, 10), ERR_FORMAT);
    CHECK_EQ(segment_read(fx.store, (struct segment_pos){5, 64}, 0, buf, 10),
             ERR_FORMAT); /* no such file */
    CHECK_EQ(segment_read(fx.store, (struct segment_pos){0, 64}, 0, buf, 10), ERR_FORMAT);
    struct segment_pos end = seen.end;
    CHECK_EQ(segment_drop(fx.store, 1), ERR_OK);
    CHECK_EQ(segment_read(fx.store, b, 0, buf, 10), ERR_FORMAT);
    fixture_close(&fx);

    /* A number that was used is not used again, although no file tells. */
    fixture_open(&fx, false);
    CHECK_EQ(fixture_scan(&fx, end, &seen), ERR_OK);
    CHECK_EQ(seen.count, 0);
    CHECK_EQ(append_mark(&fx, 10, &c), ERR_OK);
    CHECK_EQ(c.seg, 2);
    fixture_close(&fx);
    fixture_open(&fx, true);
    CHECK_EQ(fixture_scan(&fx, end, &seen), ERR_OK);
    CHECK(seen.count == 1 && seen.at[0].mark == 10);
    fixture_close(&fx);
    fixture_remove(&fx);
}

static void limit_files(uint64_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes ? (rlim_t)bytes : limit.rlim_max;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

/* A limit on the size of files stands for a full disk. */
static void full_disk(void)
{
    struct fixture fx;
    struct segment_pos pos;
    fixture_make(&fx);
    fixture_open(&fx, false);
    limit_files(1 << 20);
    CHECK_EQ(segment_hold(fx.store, 1000), ERR_OK);
    unsigned extents = 0;
    int err;
    while ((err = append_extent(&fx, 3, 30000, &pos)) == ERR_OK)
        extents++;
    CHECK_EQ(err, ERR_NOSPACE);
    CHECK_EQ(extents, ((1 << 20) - 1000 - 64) / 30064);
    while ((err = append_extent(&fx, 3, 100, &pos)) == ERR_OK)
        extents++;
    CHECK_EQ(err, ERR_NOSPACE);
    CHECK(!segment_failed(fx.store));
    CHECK_EQ(segment_hold(fx.store, 5000), ERR_NOSPACE);
    /* The room that was set aside is there for notes, and stays theirs. */
    unsigned notes = 0;
    for (; notes < 1000 / (8 + SEGMENT_NOTE_OVERHEAD); notes++) {
        CHECK_EQ(append_mark(&fx, notes, &pos), ERR_OK);
        CHECK_EQ(append_extent(&fx, 3, 200, &pos), ERR_NOSPACE);
    }
    while ((err = append_mark(&fx, notes, &pos)) == ERR_OK) /* crumbs */
        notes++;
    CHECK(err == ERR_NOSPACE && notes < 20);
    CHECK_EQ(segment_sync(fx.store), ERR_OK);
    /* room again: it goes on */
    limit_files(0);
    CHECK_EQ(append_extent(&fx, 3, 30000, &pos), ERR_OK);
    CHECK_EQ(append_mark(&fx, 777, &pos), ERR_OK);
    CHECK_EQ(segment_sync(fx.store), ERR_OK);
    fixture_close(&fx);
    fixture_open(&fx, true);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK_EQ(seen.count, extents + notes + 2);
    CHECK_EQ(seen.at[seen.count - 1].mark, 777);
    fixture_close(&fx);
    fixture_remove(&fx);
}

/* A limit below what is reserved already stands for a disk that fails in the middle of a write. */
static void failing_disk(void)
{
    struct fixture fx;
    struct segment_pos pos;
    fixture_make(&fx);
    fixture_open(&fx, false);
    CHECK_EQ(append_mark(&fx, 1, &pos), ERR_OK);
    CHECK_EQ(segment_sync(fx.store), ERR_OK);
    limit_files(50000);
    CHECK_EQ(append_extent(&fx, 3, 100000, &pos), ERR_IO);
    limit_files(0);
    CHECK(segment_failed(fx.store));
    CHECK_EQ(append_mark(&fx, 2, &pos), ERR_IO); /* nothing comes after the hole */
    CHECK_EQ(segment_sync(fx.store), ERR_IO);
    CHECK_EQ(segment_hold(fx.store, 100), ERR_IO);
    fixture_close(&fx);
    fixture_open(&fx, false);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK(seen.count >= 1 && seen.at[0].mark == 1 && seen.at[0].kind == SEGMENT_NOTE);
    fixture_close(&fx);
    fixture_remove(&fx);
}

#define NONCES 4000u /* far more than one pool of them */

static uint8_t nonces[NONCES][SEAL_NONCE];

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, SEAL_NONCE);
}

static void *seal_some(void *ctx)
{
    const uint8_t key[SECRET_KEY_LEN] = {1}, vault[32] = {2};
    const struct segment_record_head head = {.kind = SEGMENT_NOTE, .len = 48, .at = {1, 0}};
    struct segment_record_key rk;
    uint8_t sealed[SEGMENT_HEAD], note[100];
    uint8_t(*to)[SEAL_NONCE] = ctx;
    CHECK_EQ(segment_record_key_init(&rk, key, vault, 3), ERR_OK);
    for (size_t i = 0; i < NONCES / 2; i += 2) {
        CHECK_EQ(segment_record_seal_head(&rk, &head, sealed), ERR_OK);
        CHECK_EQ(segment_record_seal_note(&rk, sealed, (const uint8_t *)"same", 4, note), ERR_OK);
        memcpy(to[i], sealed, SEAL_NONCE);
        memcpy(to[i + 1], note, SEAL_NONCE);
    }
    segment_record_key_wipe(&rk);
    return NULL;
}

/* The same records, sealed again and again, in one thread and in another: no nonce twice (A17). */
static void no_nonce_twice(void)
{
    pthread_t t;
    unsigned repeated = 0;
    CHECK(pthread_create(&t, NULL, seal_some, nonces[NONCES / 2]) == 0);
    pthread_join(t, NULL);
    seal_some(nonces[0]);
    qsort(nonces, NONCES, SEAL_NONCE, by_bytes);
    for (size_t i = 1; i < NONCES; i++)
        repeated += memcmp(nonces[i - 1], nonces[i], SEAL_NONCE) == 0;
    CHECK_EQ(repeated, 0);
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    if (secret_init() != ERR_OK)
        return 1;
    one_after_the_other();
    read_again();
    bad_sizes();
    concurrent();
    full_files();
    many_files();
    reading_and_freeing();
    full_disk();
    failing_disk();
    no_nonce_twice();
    return check_done();
}
