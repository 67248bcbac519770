/* The sealed SQLite VFS survives the death of its process and a power cut, at any point. */
#include "pagevfs_fixture.h"

#include <signal.h>

#define MARKER   "MARKER-of-a-secret-name"
#define LOG_ROOM (1u << 18)

static unsigned long long random_state = 1;

/* splitmix64: repeatable from its seed */
static unsigned long long draw(unsigned long long below)
{
    unsigned long long z = random_state += 0x9e3779b97f4a7c15ULL;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return (z ^ z >> 31) % below;
}

/* --- what is written, and how to see that it is one state and not a mixture --- */

static void make_tables(sqlite3 *db)
{
    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, gen INT); CREATE INDEX tb ON t(b)");
    must(db, "CREATE TABLE state(n INT, bytes INT); INSERT INTO state VALUES(0, 0)");
}

/* Changes that belong to commit ${n}; the transaction stays open. */
static void change(sqlite3 *db, long long n)
{
    char sql[400];
    int kind = (int)draw(8);

    snprintf(
        sql, sizeof(sql),
        kind == 0   ? "DELETE FROM t WHERE a %% 5 = %d"
        : kind == 1 ? "UPDATE t SET gen = gen + 1, b = '" MARKER
                      "' || hex(randomblob(a * 13 %% 90)) WHERE a %% 3 = %d"
        : kind == 2
            ? "DELETE FROM t WHERE a IN (SELECT a FROM t LIMIT 60 OFFSET %d)"
            : "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) INSERT INTO "
              "t(b, gen) SELECT '" MARKER "' || hex(randomblob(i * 17 %% 400)), %d FROM n",
        (int)draw(3));
    must(db, sql);
    snprintf(sql, sizeof(sql),
             "UPDATE state SET n = %lld, bytes = (SELECT coalesce(sum(length(b)), 0) FROM t)", n);
    must(db, sql);
}

/* The commit that the database shows; -1 if it is not one whole state. */
static long long state_of(sqlite3 *db)
{
    if (!is_whole(db) ||
        ask(db, "SELECT bytes = (SELECT coalesce(sum(length(b)), 0) FROM t) FROM state") != 1)
        return -1;
    return ask(db, "SELECT n FROM state");
}

/* --- kill -9 --- */

enum progress { STEP = 1, COMMITTED = 2 };

static void report(enum progress what, long long n)
{
    long long record[2] = {what, n};

    if (write(1, record, sizeof(record)) != sizeof(record))
        _exit(3);
}

/* Works until it is killed; says on descriptor 1 how far it is. */
static int child_writer(const char *seed)
{
    sqlite3 *db = must_open(false);

    random_state = strtoull(seed, NULL, 10);
    for (long long n = ask(db, "SELECT n FROM state") + 1;; n++) {
        must(db, "BEGIN");
        for (int i = (int)draw(4); i >= 0; i--) {
            change(db, n);
            report(STEP, n);
        }
        must(db, "COMMIT");
        report(COMMITTED, n);
        if (draw(5) == 0)
            CHECK_EQ(pagevfs_sync(db), 0);
        if (draw(9) == 0)
            CHECK_EQ(pagevfs_checkpoint(db), 0);
        if (check_failed > 0)
            return 1;
    }
}

/* Kills a writer after some progress; the last commit that it told of. */
static long long kill_writer(long long last)
{
    char seed[32];
    long long record[2];
    int out;

    snprintf(seed, sizeof(seed), "%llu", draw(1000000000));
    pid_t pid = spawn("writer", seed, &out);
    for (long long left = 1 + (long long)draw(60);
         read(out, record, sizeof(record)) == sizeof(record);) {
        if (record[0] == COMMITTED)
            last = record[1];
        if (--left == 0)
            kill(pid, SIGKILL);
    }
    CHECK_EQ(wait_exit(pid), 128 + SIGKILL);
    close(out);
    return last;
}

static void test_kill(void)
{
    sqlite3 *db = fresh_db();
    long long last = 0;

    make_tables(db);
    CHECK_EQ(pagevfs_close(db), 0);
    for (long round = test_rounds(60); round > 0; round--) {
        last = kill_writer(last);
        CHECK_EQ(files_with(test_dir, MARKER), 0);
        CHECK_EQ(files_with(test_dir, "SQLite format"), 0);
        if (round % 2 == 0) { /* looking changes nothing */
            CHECK_EQ(try_open(&db, false, true), 0);
            long long n = state_of(db);
            CHECK(n == last || n == last + 1); /* killed between a commit and telling of it */
            CHECK_EQ(pagevfs_close(db), 0);
        }
        if (round % 3 == 0)
            continue; /* the next writer recovers */
        db = must_open(false);
        long long n = state_of(db);
        CHECK(n == last || n == last + 1);
        last = n;
        CHECK_EQ(pagevfs_close(db), 0);
        CHECK_EQ(files_with(test_dir, MARKER), 0);
    }
}

/* --- power cut ---
 *
 * A model of the disk's cache: writes since a file's last sync may have reached the disk or not, in any combination
 * of sectors. At a chosen write the power goes: what is then on the disk is put together at random. */

struct pending {
    uint8_t *p; /* NULL: the file was cut to ${off} */
    size_t len, off;
};

static struct disk {
    struct blob safe; /* what was synced */
    struct pending list[4096];
    size_t n;
} disks[2]; /* the database, its log */

static bool model_on;
static long long cut_in;  /* operations until the power goes; 0: it is gone */
static long long durable; /* the last commit that was promised */
static long long durable_at_cut;
static struct blob after_cut[2];

static struct disk *disk_of(int fd)
{
    char link[64], path[512];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    return strcmp(path, test_db) == 0 ? &disks[0] : strcmp(path, test_wal) == 0 ? &disks[1] : NULL;
}

/* Bytes allocated for a blob of ${len}: doubling, so that growing in small steps is cheap. */
static size_t room_for(size_t len)
{
    size_t room = 65536;

    while (room < len)
        room *= 2;
    return room;
}

/* Overwrites a part of ${b}, which was made by this function and grows (with zeroes) as needed. */
static void patch(struct blob *b, const uint8_t *p, size_t len, size_t off)
{
    if (off + len > b->len) {
        if (b->p == NULL || room_for(off + len) != room_for(b->len))
            b->p = realloc(b->p, room_for(off + len));
        memset(b->p + b->len, 0, off + len - b->len);
        b->len = off + len;
    }
    memcpy(b->p + off, p, len);
}

/* Applies what is pending, each sector with a chance of ${percent}. */
static void settle(struct blob *b, const struct pending *list, size_t n, unsigned percent)
{
    for (size_t i = 0; i < n; i++) {
        const struct pending *w = &list[i];
        if (w->p == NULL && draw(100) < percent && w->off < b->len)
            b->len = w->off;
        for (size_t at = 0, step; w->p != NULL && at < w->len; at += step) {
            step = 512 - (w->off + at) % 512;
            if (step > w->len - at)
                step = w->len - at;
            if (draw(100) < percent)
                patch(b, w->p + at, step, w->off + at);
        }
    }
}

static void cut_power(void)
{
    static const unsigned chances[] = {0, 50, 90, 100};

    for (int i = 0; i < 2; i++) {
        struct blob image = {NULL, 0};
        if (disks[i].safe.len > 0)
            patch(&image, disks[i].safe.p, disks[i].safe.len, 0);
        settle(&image, disks[i].list, disks[i].n, chances[draw(4)]);
        after_cut[i] = image;
    }
    durable_at_cut = durable;
}

static void note(int fd, const uint8_t *p, size_t len, off_t off)
{
    struct disk *d = model_on && cut_in > 0 ? disk_of(fd) : NULL;

    if (d == NULL)
        return;
    bool room = d->n < sizeof(d->list) / sizeof(d->list[0]);
    if (!room) {
        CHECK(room);
        return;
    }
    struct pending w = {.len = len, .off = (size_t)off};
    if (p != NULL && (w.p = malloc(len)) != NULL)
        memcpy(w.p, p, len);
    d->list[d->n++] = w;
    if (--cut_in == 0)
        cut_power();
}

int ftruncate(int fd, off_t size)
{
    note(fd, NULL, 0, size);
    return (int)syscall(SYS_ftruncate, fd, size);
}

/* The model's disk is enough; syncing the real one would only take time. */
static void note_sync(int fd)
{
    struct disk *d = model_on && cut_in > 0 ? disk_of(fd) : NULL;

    if (d == NULL)
        return;
    settle(&d->safe, d->list, d->n, 100);
    for (size_t i = 0; i < d->n; i++)
        free(d->list[i].p);
    d->n = 0;
}

static void start_model(void)
{
    for (int i = 0; i < 2; i++) {
        struct blob file = slurp(i == 0 ? test_db : test_wal);
        if (file.len > 0)
            patch(&disks[i].safe, file.p, file.len, 0);
        free(file.p);
    }
    cut_in = 1 + (long long)draw(draw(2) ? 40 : 400);
    on_write = note;
    on_sync = note_sync;
    model_on = true;
}

static void stop_model(void)
{
    model_on = false;
    on_write = NULL;
    on_sync = NULL;
    for (int i = 0; i < 2; i++) {
        for (size_t j = 0; j < disks[i].n; j++)
            free(disks[i].list[j].p);
        free(disks[i].safe.p);
        disks[i] = (struct disk){.n = 0};
    }
}

/* Works from what is on the disk until the power goes, and leaves what is then on the disk. */
static long long work_until_cut(long long n)
{
    start_model();
    sqlite3 *db = must_open(false);
    const bool keeps =
        draw(2); /* a log with room of its own, which stays when it is emptied and closed */
    if (keeps)
        CHECK_EQ(pagevfs_reserve(db, draw(1 << 18), LOG_ROOM), 0);
    while (cut_in > 0) {
        if (keeps && draw(12) == 0) {
            CHECK_EQ(pagevfs_close(db), 0);
            if (cut_in > 0)
                durable = n;
            db = must_open(false);
            CHECK_EQ(pagevfs_wal_bytes(db), 0);
            CHECK_EQ(pagevfs_reserve(db, 0, LOG_ROOM), 0);
        }
        n++;
        must(db, "BEGIN");
        for (int i = (int)draw(3); i >= 0; i--)
            change(db, n);
        must(db, "COMMIT");
        if (draw(4) == 0 && pagevfs_sync(db) == 0)
            durable = n;
        if (draw(7) == 0 && pagevfs_checkpoint(db) == 0)
            durable = n;
    }
    CHECK_EQ(pagevfs_close(db), 0);
    stop_model();
    spew(test_db, after_cut[0].p, after_cut[0].len);
    unlink(test_wal);
    if (after_cut[1].len > 0)
        spew(test_wal, after_cut[1].p, after_cut[1].len);
    free(after_cut[0].p);
    free(after_cut[1].p);
    return n;
}

static void test_power_cut(void)
{
    sqlite3 *db = fresh_db();
    long long n = 0;

    make_tables(db);
    CHECK_EQ(pagevfs_close(db), 0);
    durable = 0;
    for (long round = test_rounds(60) * 3; round > 0; round--) {
        long long most = work_until_cut(n);
        CHECK_EQ(files_with(test_dir, MARKER), 0);
        int err = try_open(&db, false, true);
        CHECK_EQ(err, 0);
        if (err != 0)
            return;
        n = state_of(db);
        CHECK(n >= durable_at_cut &&
              n <= most); /* nothing that was promised is gone, and nothing is half there */
        CHECK_EQ(pagevfs_close(db), 0);
        durable = n;
        if (n < 0)
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc > 3) {
        fixture_paths(argv[2]);
        return secret_init() == 0 && strcmp(argv[1], "writer") == 0 ? child_writer(argv[3]) : 2;
    }
    fixture_begin();
    const char *seed = getenv("OBSCURAFS_TEST_SEED");
    random_state = seed != NULL ? strtoull(seed, NULL, 10) : (unsigned long long)time(NULL);
    printf("OBSCURAFS_TEST_SEED=%llu\n", random_state);
    test_kill();
    test_power_cut();
    return fixture_end();
}
