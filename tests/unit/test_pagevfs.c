/* The sealed SQLite VFS: nothing readable on the disk, nothing accepted that was not sealed for its place. */
#include "pagevfs_fixture.h"

#include "crypto/bytes.h"
#include "crypto/seal.h"

#include <pthread.h>
#include <signal.h>
#include <sys/inotify.h>

#define MARKER "MARKER-of-a-secret-name"

/* --- settings and visibility --- */

static void test_settings(void)
{
    sqlite3 *db = fresh_db();
    int reserve = -1;

    must(db, "CREATE TABLE t(a)");
    CHECK_EQ(ask(db, "PRAGMA page_size"), 4096);
    CHECK_EQ(ask(db, "PRAGMA synchronous"), 1);
    CHECK_EQ(ask(db, "PRAGMA temp_store"), 2);
    CHECK_EQ(ask(db, "PRAGMA cache_spill"), 0);
    CHECK_EQ(ask(db, "PRAGMA wal_autocheckpoint"), 0);
    CHECK_EQ(ask(db, "PRAGMA trusted_schema"), 0);
    CHECK_EQ(ask(db, "PRAGMA foreign_keys"), 0);
    CHECK_EQ(sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve), SQLITE_OK);
    CHECK_EQ(reserve, 40);
    CHECK_EQ(pagevfs_wal_bytes(db) % FRAME, WAL_HEAD);
    CHECK_EQ(pagevfs_checkpoint(db), 0);
    CHECK_EQ(pagevfs_wal_bytes(db), 0);
    must(db, "VACUUM"); /* keeps the reserved bytes */
    CHECK_EQ(sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve), SQLITE_OK);
    CHECK_EQ(reserve, 40);
    CHECK_EQ(pagevfs_close(db), 0);
    CHECK(access(test_wal, F_OK) != 0);

    struct blob file = slurp(test_db);
    CHECK(file.len > 0 && file.len % PAGE == 0);
    CHECK(memmem(file.p, file.len, "SQLite format", 13) == NULL);
    free(file.p);
}

/* Opens a record by the words of the format alone. [index-aad] */
static bool open_by_format(int kind, uint64_t number, const uint8_t *generation,
                           const uint8_t *nonce, const uint8_t *sealed, size_t len, uint8_t *plain)
{
    uint8_t aad[49] = {0};

    memcpy(aad, test_id, 32);
    aad[32] = (uint8_t)kind;
    bytes_le64(aad + 33, number);
    if (generation != NULL)
        memcpy(aad + 41, generation, 8);
    return seal_box_open(test_key, nonce, aad, sizeof(aad), sealed, len + SEAL_TAG, plain) == 0;
}

/* [index-file] [index-wal] byte for byte, so that another program can read them. */
static void test_format(void)
{
    uint8_t head[32], frame_head[24], page[PAGE];
    sqlite3 *db = fresh_db();

    must(db, "CREATE TABLE t(a); PRAGMA user_version = 77");
    CHECK_EQ(pagevfs_checkpoint(db), 0);
    must(db, "INSERT INTO t VALUES('" MARKER "')");
    struct blob file = slurp(test_db), wal = slurp(test_wal);
    for (size_t i = 0; i < file.len / PAGE; i++) {
        const uint8_t *at = file.p + i * PAGE;
        CHECK(open_by_format(1, i + 1, NULL, at + 4072, at, 4056, page));
        if (i == 0)
            CHECK(memcmp(page, "SQLite format 3", 16) == 0 && page[20] == 40 && page[63] == 77);
    }
    CHECK_EQ((wal.len - WAL_HEAD) % FRAME, 0);
    CHECK(open_by_format(2, 0, NULL, wal.p, wal.p + 24, 32, head));
    CHECK(head[0] == 0x37 && head[1] == 0x7f);
    bool seen = false;
    for (size_t i = 0; i < (wal.len - WAL_HEAD) / FRAME; i++) {
        const uint8_t *at = wal.p + WAL_HEAD + i * FRAME;
        CHECK(open_by_format(3, i, head + 16, at, at + 24, 24, frame_head));
        CHECK(memcmp(frame_head + 8, head + 16, 8) == 0); /* the salts */
        CHECK(open_by_format(4, i, head + 16, at + FRAME_HEAD, at + FRAME_HEAD + 24, PAGE, page));
        seen = seen || memmem(page, PAGE, MARKER, strlen(MARKER)) != NULL;
    }
    CHECK(seen);
    free(file.p);
    free(wal.p);
    CHECK_EQ(pagevfs_close(db), 0);
}

/* Work that makes SQLite want temporary files: sorts, temporary tables, an index, a VACUUM, statement journals. */
static void heavy_work(sqlite3 *db)
{
    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c INT UNIQUE)");
    must(db, "BEGIN");
    must(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
             "INSERT INTO t SELECT i, '" MARKER
             "' || i || hex(randomblob(20)), i * 7919 % 20011 FROM n");
    must(db, "COMMIT");
    must(db, "CREATE INDEX tb ON t(b)");
    must(db, "CREATE TEMP TABLE u AS SELECT b || b AS bb, c FROM t ORDER BY c");
    must(db, "CREATE INDEX temp.ub ON u(bb)");
    must(db, "SELECT count(*) FROM (SELECT DISTINCT bb FROM u ORDER BY bb DESC)");
    must(
        db,
        "BEGIN; UPDATE t SET b = b || 'x' WHERE a % 3 = 0; SAVEPOINT s; DELETE FROM t WHERE a % 7 = 0; RELEASE s");
    CHECK(run(db, "UPDATE t SET c = 5") != SQLITE_OK); /* half-way undone by its own journal */
    must(db, "COMMIT");
    must(
        db,
        "WITH m AS MATERIALIZED (SELECT b FROM t ORDER BY b) SELECT count(*) FROM m, (SELECT 1 UNION SELECT 2)");
    must(db, "VACUUM");
}

/* Names of files that were made in the watched folders; true if all are the database and its log. */
static bool only_ours(int watch)
{
    char buffer[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool ours = true;
    ssize_t n;

    while ((n = read(watch, buffer, sizeof(buffer))) > 0)
        for (char *p = buffer; p < buffer + n;) {
            const struct inotify_event *e = (const struct inotify_event *)(const void *)p;
            if (strcmp(e->name, "index") != 0 && strcmp(e->name, "index-wal") != 0) {
                fprintf(stderr, "made: %s\n", e->name);
                ours = false;
            }
            p += sizeof(*e) + e->len;
        }
    return ours;
}

static void test_nothing_readable(void)
{
    char temp[200], plain[210];

    snprintf(temp, sizeof(temp), "%s/temp", test_dir);
    snprintf(plain, sizeof(plain), "%s/plain", temp);
    mkdir(temp, 0700);
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    inotify_add_watch(watch, test_dir, IN_CREATE | IN_MOVED_TO);
    inotify_add_watch(watch, temp, IN_CREATE | IN_MOVED_TO);
    setenv("SQLITE_TMPDIR", temp, 1);

    sqlite3 *db = fresh_db();
    heavy_work(db);
    CHECK(pagevfs_wal_bytes(db) > 1000000);
    CHECK_EQ(files_with(test_dir, MARKER), 0);
    CHECK_EQ(files_with(test_dir, "CREATE TABLE"), 0);
    CHECK(is_whole(db));
    CHECK_EQ(pagevfs_checkpoint(db), 0);
    CHECK_EQ(files_with(test_dir, MARKER), 0);
    CHECK_EQ(pagevfs_close(db), 0);
    CHECK_EQ(files_with(test_dir, MARKER), 0);
    CHECK(only_ours(watch));

    /* The same with SQLite's own VFS, to see that this test can fail. */
    CHECK_EQ(sqlite3_open(plain, &db), SQLITE_OK);
    heavy_work(db);
    sqlite3_close(db);
    CHECK(files_with(temp, MARKER) > 0);
    CHECK(!only_ours(watch));
    close(watch);
    unsetenv("SQLITE_TMPDIR");
    empty_dir(temp);
    rmdir(temp);
}

enum { MOST_NONCES = 20000 };
static uint8_t nonces[MOST_NONCES][24];
static size_t n_nonces;

/* Takes the nonce of each record that is written. Only pages of the database are written 4096 bytes at a time. */
static void collect_nonces(int fd, const uint8_t *p, size_t len, off_t off)
{
    size_t at = 0;

    (void)fd;
    while (at < len && n_nonces < MOST_NONCES) {
        size_t in_frame = ((size_t)off + at - WAL_HEAD) % FRAME;
        const uint8_t *nonce = len == PAGE ? p + PAGE - 24 : p + at;
        memcpy(nonces[n_nonces++], nonce, 24);
        at += len == PAGE           ? PAGE
              : off == 0 && at == 0 ? WAL_HEAD
              : in_frame == 0       ? FRAME_HEAD
                                    : FRAME_PAGE;
    }
    CHECK_EQ(at, len);
}

static int compare_nonces(const void *a, const void *b)
{
    return memcmp(a, b, 24);
}

/* Every record ever written has a nonce of its own, also when SQLite writes the same place again in one transaction. */
static void test_nonces_never_repeat(void)
{
    on_write = collect_nonces;
    sqlite3 *db = fresh_db();
    must(
        db,
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b); PRAGMA cache_size = 10; PRAGMA cache_spill = 1");
    for (int i = 0; i < 6; i++) {
        must(db, "BEGIN");
        must(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) "
                 "INSERT INTO t(b) SELECT zeroblob(200) FROM n");
        must(db, "UPDATE t SET b = zeroblob(180) WHERE a % 5 = 2");
        must(db, i % 2 == 1 ? "ROLLBACK" : "COMMIT");
        if (i % 3 == 2)
            CHECK_EQ(pagevfs_checkpoint(db), 0);
    }
    CHECK_EQ(pagevfs_close(db), 0);
    on_write = NULL;
    qsort(nonces, n_nonces, 24, compare_nonces);
    int repeated = 0;
    for (size_t i = 1; i < n_nonces; i++)
        repeated += memcmp(nonces[i - 1], nonces[i], 24) == 0;
    CHECK(n_nonces > 1500 && n_nonces < MOST_NONCES);
    CHECK_EQ(repeated, 0);
}

/* --- keys and locks --- */

static void test_keys(void)
{
    uint8_t other_key[32], other_id[32];
    sqlite3 *db = fresh_db(), *other;

    memcpy(other_key, test_key, 32);
    memcpy(other_id, test_id, 32);
    other_key[31] ^= 1;
    other_id[0] ^= 1;
    must(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    struct blob hot = slurp(test_wal);
    CHECK_EQ(pagevfs_close(db), 0);
    spew(test_wal, hot.p, hot.len); /* as after a crash */
    struct blob file = slurp(test_db);
    for (int read_only = 0; read_only < 2; read_only++)
        for (int create = 0; create < 2; create++) {
            CHECK_EQ(pagevfs_open(&other, test_db, other_key, test_id, create, read_only),
                     ERR_AUTH);
            CHECK(other == NULL);
            CHECK_EQ(pagevfs_open(&other, test_db, test_key, other_id, create, read_only),
                     ERR_AUTH);
        }
    struct blob file2 = slurp(test_db), hot2 = slurp(test_wal);
    CHECK(blob_equal(file, file2) && blob_equal(hot, hot2)); /* a wrong key changes nothing */
    db = must_open(false);
    CHECK_EQ(ask(db, "SELECT a FROM t"), 1);
    CHECK_EQ(pagevfs_close(db), 0);
    free(file.p);
    free(file2.p);
    free(hot.p);
    free(hot2.p);
}

static int child_holds(void)
{
    char c = 'x';
    sqlite3 *db = must_open(false);

    if (run(db, "INSERT INTO t VALUES(2)") != SQLITE_OK || write(1, &c, 1) != 1)
        return 1;
    for (;;)
        pause(); /* until it is killed */
}

static void test_one_process(void)
{
    sqlite3 *db = fresh_db(), *other;
    char c = 0;
    int out;

    must(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    CHECK_EQ(try_open(&other, false, false), ERR_LOCKED);
    CHECK_EQ(try_open(&other, false, true), ERR_LOCKED);
    CHECK_EQ(ask(db, "SELECT count(*) FROM t"), 1); /* the one that has it is not disturbed */
    CHECK_EQ(pagevfs_close(db), 0);

    pid_t pid = spawn("holds", "", &out);
    CHECK_EQ(read(out, &c, 1), 1);
    CHECK_EQ(try_open(&other, false, false), ERR_LOCKED);
    CHECK_EQ(try_open(&other, true, false), ERR_LOCKED);
    kill(pid, SIGKILL);
    wait_exit(pid);
    close(out);
    db = must_open(false); /* its lock died with it, its commit did not */
    CHECK_EQ(ask(db, "SELECT count(*) FROM t"), 2);
    CHECK_EQ(pagevfs_close(db), 0);
}

static void test_refused(void)
{
    char path[300];
    sqlite3 *db, *other = NULL;

    unlink(test_db);
    unlink(test_wal);
    CHECK_EQ(try_open(&db, false, false), ERR_NOTVAULT);
    CHECK_EQ(try_open(&db, false, true), ERR_NOTVAULT);
    CHECK_EQ(try_open(&db, true, true), ERR_NOTVAULT);
    CHECK(access(test_db, F_OK) != 0);
    spew(test_db, "", 0);
    CHECK_EQ(try_open(&db, false, false), ERR_AUTH);
    spew(test_db, "SQLite format 3", 16);
    CHECK_EQ(try_open(&db, true, false), ERR_AUTH);

    db = fresh_db();
    must(db, "CREATE TABLE t(a)");
    snprintf(path, sizeof(path), "ATTACH '%s/other' AS o", test_dir);
    CHECK(run(db, path) != SQLITE_OK);
    CHECK(sqlite3_open_v2(test_db, &other, SQLITE_OPEN_READWRITE, "obscurafs") !=
          SQLITE_OK); /* no key */
    sqlite3_close(other);
    CHECK_EQ(pagevfs_close(db), 0);

    snprintf(path, sizeof(path), "%s/link", test_dir);
    CHECK_EQ(symlink("index", path), 0);
    CHECK_EQ(pagevfs_open(&db, path, test_key, test_id, false, false) != 0, 1);
    unlink(path);
    snprintf(path, sizeof(path), "%s/index-journal", test_dir);
    spew(path, "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 not played back, not deleted", 36);
    db = must_open(false);
    CHECK_EQ(ask(db, "SELECT count(*) FROM sqlite_schema"), 1);
    CHECK_EQ(pagevfs_close(db), 0);
    CHECK(access(path, F_OK) == 0);
    unlink(path);
    db = must_open(false);
    run(db,
        "PRAGMA journal_mode = DELETE"); /* nobody does; a journal of plaintext must not come of it */
    run(db, "INSERT INTO t VALUES(1)");
    CHECK(access(path, F_OK) != 0);
    pagevfs_close(db);
}

/* --- reading only --- */

static void test_read_only(void)
{
    sqlite3 *db = fresh_db(), *other;

    must(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    CHECK_EQ(pagevfs_checkpoint(db), 0);
    must(db, "INSERT INTO t VALUES(2)");
    struct blob file = slurp(test_db), hot = slurp(test_wal);
    CHECK_EQ(pagevfs_close(db), 0);

    for (int with_log = 0; with_log < 2; with_log++) {
        spew(test_db, file.p, file.len);
        unlink(test_wal);
        if (with_log)
            spew(test_wal, hot.p, hot.len);
        CHECK_EQ(try_open(&db, false, true), 0);
        CHECK_EQ(try_open(&other, false, true), 0); /* two readers */
        CHECK_EQ(ask(db, "SELECT count(*) FROM t"), 1 + with_log);
        CHECK_EQ(ask(other, "SELECT count(*) FROM t"), 1 + with_log);
        CHECK_EQ(pagevfs_err(run(db, "INSERT INTO t VALUES(3)")), ERR_ROFS);
        CHECK_EQ(pagevfs_err(run(db, "VACUUM")), ERR_ROFS);
        CHECK_EQ(pagevfs_sync(db), 0);
        CHECK_EQ(pagevfs_checkpoint(db), ERR_ROFS);
        CHECK_EQ(ask(db, "SELECT count(*) FROM t"), 1 + with_log);
        CHECK(is_whole(db));
        CHECK_EQ(pagevfs_close(other), 0);
        CHECK_EQ(pagevfs_close(db), 0);
        struct blob file2 = slurp(test_db), hot2 = slurp(test_wal);
        CHECK(blob_equal(file, file2));
        CHECK(with_log ? blob_equal(hot, hot2) : hot2.p == NULL);
        free(file2.p);
        free(hot2.p);
    }
    free(file.p);
    free(hot.p);
}

/* --- the log in unusual use --- */

/* With a small cache that spills, SQLite writes pages before their commit, overwrites them in the log, reads them
 * from there and corrects the checksums of frames: all of that must work though pagevfs_open turns it off. */
static void test_spilled_pages(void)
{
    sqlite3 *db = fresh_db();

    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX tb ON t(b)");
    must(db, "PRAGMA cache_size = 10");
    must(db, "PRAGMA cache_spill = 1");
    for (int round = 0; round < 6; round++) {
        must(db, "BEGIN");
        must(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600) "
                 "INSERT INTO t(b) SELECT randomblob(200) FROM n");
        for (int i = 0; i < 4; i++)
            must(db, "UPDATE t SET b = randomblob(180) WHERE a % 5 = 2");
        must(db, round % 3 == 2 ? "ROLLBACK" : "COMMIT");
        long long rows = 600 * (round + 1 - (round + 1) / 3);
        check_last_commit(db, rows);
        if (round == 3)
            CHECK_EQ(pagevfs_checkpoint(db), 0);
    }
    CHECK_EQ(pagevfs_close(db), 0);
}

/* --- threads --- */

static _Atomic bool committing;

static void *sync_thread(void *arg)
{
    long failures = 0;

    do {
        failures += pagevfs_sync(arg) != 0;
        failures += pagevfs_wal_bytes(arg) % FRAME != WAL_HEAD && pagevfs_wal_bytes(arg) != 0;
    } while (committing);
    return (void *)failures;
}

/* A committer syncs while others change the tree. */
static void test_sync_beside_commits(void)
{
    sqlite3 *db = fresh_db();
    pthread_t thread;
    void *failures;

    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    committing = true;
    CHECK_EQ(pthread_create(&thread, NULL, sync_thread, db), 0);
    for (int i = 0; i < 300; i++) {
        must(db, "INSERT INTO t(b) VALUES(randomblob(3000))");
        if (i % 50 == 49)
            CHECK_EQ(pagevfs_checkpoint(db), 0);
    }
    committing = false;
    pthread_join(thread, &failures);
    CHECK_EQ((long)failures, 0);
    check_last_commit(db, 300);
    CHECK_EQ(pagevfs_close(db), 0);
}

/* --- speed --- */

static void test_speed(void)
{
    enum { ROWS = 100000, COMMITS = 1000 };
    sqlite3_stmt *insert, *update;
    sqlite3 *db = fresh_db();

    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c INT); CREATE INDEX tc ON t(c)");
    must(db, "BEGIN");
    sqlite3_prepare_v2(db,
                       "INSERT INTO t VALUES(?1, 'a name of some length.jpg', ?1 * 7919 % 100003)",
                       -1, &insert, NULL);
    double start = seconds();
    for (int i = 0; i < ROWS; i++) {
        sqlite3_bind_int(insert, 1, i);
        sqlite3_step(insert);
        sqlite3_reset(insert);
    }
    must(db, "COMMIT");
    printf("insert: %.0f rows/s (two B-trees, one transaction)\n", ROWS / (seconds() - start));
    sqlite3_finalize(insert);
    start = seconds();
    CHECK_EQ(pagevfs_checkpoint(db), 0);
    printf("checkpoint: %.1f ms\n", (seconds() - start) * 1e3);

    sqlite3_prepare_v2(db, "UPDATE t SET b = b || 'x' WHERE a = ?1", -1, &update, NULL);
    must(db, "SELECT sum(length(b)) FROM t");
    unsigned pick = 1;
    long writes = count_writes;
    start = seconds();
    for (int i = 0; i < COMMITS; i++) {
        must(db, "BEGIN");
        for (int j = 0; j < 10; j++) {
            sqlite3_bind_int(update, 1, (int)((pick = pick * 1664525u + 1013904223u) % ROWS));
            sqlite3_step(update);
            sqlite3_reset(update);
        }
        must(db, "COMMIT");
    }
    double took = seconds() - start;
    writes = count_writes - writes;
    printf("commit: %.1f us for %.1f pages, %.2f writes\n", took / COMMITS * 1e6,
           (double)pagevfs_wal_bytes(db) / FRAME / COMMITS, (double)writes / COMMITS);
    CHECK(writes <=
          COMMITS + 4); /* one system call each; the first ones after a checkpoint need more */
    sqlite3_finalize(update);
    CHECK_EQ(pagevfs_close(db), 0);
}

/* What is reserved stays ours: the log's room when it is emptied and closed, the database's for a checkpoint. */
static void test_reserve(void)
{
    const off_t room = 1 << 20;
    struct stat st;
    sqlite3 *db = fresh_db();

    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)");
    if (pagevfs_reserve(db, 300000, (uint64_t)room) != 0 || stat(test_db, &st) != 0 ||
        st.st_blocks * 512 < 300000) {
        printf("nothing can be reserved here: left out\n");
        CHECK_EQ(pagevfs_close(db), 0);
        return;
    }
    CHECK(st.st_size < 100000); /* beyond its end */
    CHECK(stat(test_wal, &st) == 0 && st.st_size == room && st.st_blocks * 512 >= room);
    CHECK(pagevfs_wal_bytes(db) < (uint64_t)room);
    check_last_commit(db, 0);
    must(db,
         "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT "
         "INTO t(b) SELECT randomblob(1000) FROM n");
    CHECK(pagevfs_wal_bytes(db) > (uint64_t)room);
    check_last_commit(db, 2000);
    CHECK_EQ(pagevfs_checkpoint(db), 0);
    CHECK_EQ(pagevfs_wal_bytes(db), 0);
    CHECK(stat(test_wal, &st) == 0 && st.st_size == room && st.st_blocks * 512 >= room);
    check_last_commit(db, 2000); /* old frames behind the empty head count for nothing */
    must(db, "DELETE FROM t WHERE a > 1990");
    check_last_commit(db, 1990);
    CHECK_EQ(pagevfs_close(db), 0);
    CHECK(stat(test_wal, &st) == 0 && st.st_size == room);

    CHECK_EQ(try_open(&db, false, true), 0); /* read-only: an empty log */
    CHECK_EQ(ask(db, "SELECT count(*) FROM t"), 1990);
    CHECK_EQ(pagevfs_close(db), 0);
    db = must_open(false);
    CHECK_EQ(pagevfs_wal_bytes(db), 0);
    must(db, "DELETE FROM t WHERE a > 1980");
    check_last_commit(db, 1980);
    CHECK_EQ(pagevfs_close(db), 0); /* nobody asked for room: nothing is kept */
    CHECK(access(test_wal, F_OK) != 0);
}

int main(int argc, char **argv)
{
    if (argc > 2) {
        fixture_paths(argv[2]);
        return secret_init() == 0 && strcmp(argv[1], "holds") == 0 ? child_holds() : 2;
    }
    fixture_begin();
    test_settings();
    test_format();
    test_nothing_readable();
    test_nonces_never_repeat();
    test_keys();
    test_one_process();
    test_refused();
    test_read_only();
    test_spilled_pages();
    test_sync_beside_commits();
    test_speed();
    test_reserve();
    return fixture_end();
}
