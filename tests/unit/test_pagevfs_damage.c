/* The sealed SQLite VFS on a bad disk: flipped bits, moved pages, torn writes, no room, failed syncs. */
#include "pagevfs_fixture.h"

#include <signal.h>
#include <sys/resource.h>

static int read_err; /* why read_state refused */

/* What a reader gets: the sum that stands for a state, or -1 when it is refused. Writes nothing. */
static long long read_state(void)
{
    sqlite3 *db;
    long long sum = -1;

    read_err = try_open(&db, false, true);
    if (read_err == 0)
        sum = ask_err(db, "SELECT sum(a * 1000 + length(b)) FROM t", &read_err);
    if (read_err == 0)
        ask_err(db, "SELECT count(length(b)) FROM t INDEXED BY tb WHERE b >= x''", &read_err);
    pagevfs_close(db);
    return read_err == 0 ? sum : -1;
}

/* The sum when ${path} holds these bytes. */
static long long state_with(const char *path, const uint8_t *p, size_t len)
{
    spew(path, p, len);
    return read_state();
}

static bool is_one_of(long long sum, const long long *legal, size_t n)
{
    bool found = false;

    for (size_t i = 0; i < n; i++)
        found = found || sum == legal[i];
    return found;
}

/* Flips each bit of ${path} (one of each byte by default) and counts reads that are neither refused nor legal. */
static void flip_bits(const char *path, const long long *legal, size_t n_legal, long *refused,
                      long *wrong)
{
    struct blob file = slurp(path);
    bool all = test_rounds(0) > 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    *refused = *wrong = 0;
    for (size_t bit = 0; bit < file.len * 8; bit++) {
        if (!all && bit % 8 != bit / 8 % 8)
            continue;
        uint8_t byte = file.p[bit / 8] ^ (uint8_t)(1u << bit % 8);
        if (pwrite(fd, &byte, 1, (off_t)(bit / 8)) != 1)
            break;
        long long sum = read_state();
        *refused += sum == -1 && read_err == ERR_AUTH;
        *wrong += sum != -1 && !is_one_of(sum, legal, n_legal);
        if (pwrite(fd, &file.p[bit / 8], 1, (off_t)(bit / 8)) != 1)
            break;
    }
    close(fd);
    free(file.p);
}

/* A database of a few pages and a log with several commits; legal[] are the states they had. */
static void damaged_pair(long long legal[5])
{
    sqlite3 *db = fresh_db();

    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX tb ON t(b)");
    must(db, "INSERT INTO t VALUES(1, zeroblob(10)), (2, zeroblob(500))");
    CHECK_EQ(pagevfs_checkpoint(db), 0);
    legal[0] = ask(db, "SELECT sum(a * 1000 + length(b)) FROM t");
    must(db, "INSERT INTO t VALUES(3, zeroblob(30))");
    legal[1] = ask(db, "SELECT sum(a * 1000 + length(b)) FROM t");
    must(db, "UPDATE t SET b = zeroblob(77) WHERE a = 1");
    legal[2] = ask(db, "SELECT sum(a * 1000 + length(b)) FROM t");
    struct blob file = slurp(test_db), wal = slurp(test_wal);
    CHECK_EQ(pagevfs_close(db), 0);
    spew(test_db, file.p, file.len);
    spew(test_wal, wal.p, wal.len);
    free(file.p);
    free(wal.p);
}

static void test_bit_flips(void)
{
    long long legal[5];
    long refused, wrong, wrong_wal, wrong_both;

    damaged_pair(legal);
    CHECK_EQ(read_state(), legal[2]);
    quiet(true);
    flip_bits(test_wal, legal, 3, &refused, &wrong_wal);
    flip_bits(test_db, legal, 3, &refused,
              &wrong_both); /* pages that the log has too are not needed */
    unlink(test_wal);
    flip_bits(test_db, legal, 1, &refused, &wrong);
    quiet(false);
    struct stat st;
    CHECK_EQ(stat(test_db, &st), 0);
    CHECK_EQ(wrong_wal, 0);
    CHECK_EQ(wrong_both, 0);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(refused,
             test_rounds(0) > 0 ? st.st_size * 8 : st.st_size); /* not one bit goes unnoticed */
    CHECK_EQ(read_state(), legal[0]);
}

/* Pages copied over others, swapped, and files cut: a page is only good in its own place. Some are leaves of one tree,
 * which SQLite alone would not tell apart. */
static void test_moved_pages(void)
{
    int accepted = 0;
    sqlite3 *db = fresh_db();

    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX tb ON t(b)");
    must(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) "
             "INSERT INTO t SELECT i, zeroblob(600) FROM n");
    CHECK_EQ(pagevfs_close(db), 0);
    long long sum = read_state();
    struct blob file = slurp(test_db), other = slurp(test_db);
    size_t pages = file.len / PAGE;
    CHECK(pages >= 8 && sum > 0);
    quiet(true);
    for (size_t i = 0; i < pages * pages; i++) {
        size_t a = i / pages * PAGE, b = i % pages * PAGE;
        if (a == b)
            continue;
        memcpy(other.p + a, file.p + b, PAGE);
        accepted += state_with(test_db, other.p, other.len) != -1 || read_err != ERR_AUTH;
        memcpy(other.p + b, file.p + a, PAGE);
        accepted += state_with(test_db, other.p, other.len) != -1 || read_err != ERR_AUTH;
        memcpy(other.p, file.p, file.len);
    }
    for (size_t len = 0; len < file.len; len += 256)
        accepted += state_with(test_db, file.p, len) != -1;
    quiet(false);
    CHECK_EQ(accepted, 0);
    CHECK_EQ(state_with(test_db, file.p, file.len), sum);
    free(file.p);
    free(other.p);
}

/* The same with the log: what is left is a commit that was. */
static void test_moved_frames(void)
{
    long long legal[5];
    int wrong = 0;

    damaged_pair(legal);
    struct blob wal = slurp(test_wal);
    size_t frames = (wal.len - WAL_HEAD) / FRAME;
    CHECK(frames >= 3);
    quiet(true);
    for (size_t len = 0; len <= wal.len; len += 37)
        wrong += !is_one_of(state_with(test_wal, wal.p, len), legal, 3);
    for (size_t i = 0; i + 1 < frames; i++) {
        uint8_t *moved = malloc(wal.len);
        memcpy(moved, wal.p, wal.len);
        memcpy(moved + WAL_HEAD + i * FRAME, wal.p + WAL_HEAD + (i + 1) * FRAME, FRAME);
        wrong += !is_one_of(state_with(test_wal, moved, wal.len), legal, 2);
        free(moved);
    }
    quiet(false);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(state_with(test_wal, wal.p, wal.len), legal[2]);
    free(wal.p);
}

/* A power cut in a checkpoint can tear any page of the database, also the first; the log has them all. */
static void test_torn_checkpoint(void)
{
    sqlite3 *db = fresh_db();

    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX tb ON t(b)");
    must(db, "INSERT INTO t VALUES(1, zeroblob(10))");
    CHECK_EQ(pagevfs_checkpoint(db), 0);
    must(db, "CREATE TABLE u(a); INSERT INTO t VALUES(2, zeroblob(9000))"); /* changes page 1 */
    struct blob wal = slurp(test_wal);
    CHECK_EQ(pagevfs_checkpoint(db), 0);
    long long want = ask(db, "SELECT sum(a * 1000 + length(b)) FROM t");
    CHECK_EQ(pagevfs_close(db), 0);
    struct blob file = slurp(test_db);
    for (size_t page = 0; page * PAGE < file.len; page++) {
        struct blob torn = {malloc(file.len), file.len};
        memcpy(torn.p, file.p, file.len);
        memset(torn.p + page * PAGE + 512, 0x55, 1024);
        spew(test_db, torn.p, page * PAGE + 2000 > file.len ? page * PAGE + 2000 : torn.len);
        spew(test_wal, wal.p, wal.len);
        if (page == 0 || page >= 3) { /* pages of u and of the new row are in the log */
            CHECK_EQ(read_state(), want);
            db = must_open(false);
            CHECK(is_whole(db));
            CHECK_EQ(pagevfs_close(db), 0); /* and the checkpoint mends the page */
            CHECK_EQ(read_state(), want);
        }
        free(torn.p);
    }
    spew(test_db, file.p, file.len);
    int fd = open(test_db, O_RDWR | O_CLOEXEC);
    CHECK_EQ(pwrite(fd, "x", 1, 100), 1);
    close(fd);
    unlink(test_wal);
    CHECK_EQ(read_state(), -1); /* without the log it is damage */
    free(wal.p);
    free(file.p);
}

/* --- a full disk, a failing one --- */

static void test_disk_full(void)
{
    static const char fill[] = "INSERT INTO t(b) SELECT randomblob(900) FROM t LIMIT 40";
    sqlite3 *db = fresh_db();

    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    must(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) "
             "INSERT INTO t SELECT i, randomblob(900) FROM n");
    CHECK_EQ(pagevfs_checkpoint(db), 0);
    long long rows = 40;
    for (long room = 0; room < 40000; room += 7777) {
        must(db, "BEGIN");
        must(db, fill);
        fault_write_room = room;
        CHECK_EQ(pagevfs_err(run(db, "COMMIT")), ERR_NOSPACE);
        if (!sqlite3_get_autocommit(db))
            must(db, "ROLLBACK");
        fault_write_room = -1;
        check_last_commit(db, rows);
        must(db, fill); /* there is room again */
        rows += 40;
        check_last_commit(db, rows);
        if (room % 2 == 1) {
            fault_write_room = room / 3;
            CHECK_EQ(pagevfs_checkpoint(db), ERR_NOSPACE);
            fault_write_room = -1;
            check_last_commit(db, rows);
        }
    }
    fault_write_room = 5000; /* no room for the checkpoint at the end */
    CHECK_EQ(pagevfs_close(db), 0);
    fault_write_room = -1;
    db = must_open(false);
    CHECK_EQ(ask(db, "SELECT count(*) FROM t"), rows);
    CHECK_EQ(pagevfs_close(db), 0);

    unlink(test_db);
    fault_write_room = 100;
    CHECK_EQ(try_open(&db, true, false), ERR_NOSPACE);
    fault_write_room = -1;
    CHECK(access(test_db, F_OK) != 0 && access(test_wal, F_OK) != 0); /* nothing half-made */
}

/* The same with a limit that the kernel enforces. */
static void test_file_limit(void)
{
    struct rlimit old, low;
    sqlite3 *db = fresh_db();

    must(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    must(db, "INSERT INTO t(b) VALUES(zeroblob(100))");
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    low = old;
    low.rlim_cur = 60000;
    setrlimit(RLIMIT_FSIZE, &low);
    CHECK_EQ(pagevfs_err(run(db, "INSERT INTO t(b) VALUES(zeroblob(100000))")), ERR_NOSPACE);
    setrlimit(RLIMIT_FSIZE, &old);
    check_last_commit(db, 1);
    must(db, "INSERT INTO t(b) VALUES(zeroblob(100000))");
    check_last_commit(db, 2);
    CHECK_EQ(pagevfs_close(db), 0);
}

static void test_failed_sync_is_final(void)
{
    sqlite3 *db = fresh_db();

    must(db, "CREATE TABLE t(a)");
    CHECK_EQ(pagevfs_sync(db), 0);
    long before = count_syncs;
    CHECK_EQ(pagevfs_sync(db), 0); /* nothing new, nothing to do */
    CHECK_EQ(count_syncs, before);
    must(db, "INSERT INTO t VALUES(1)");
    fault_sync_fails = 1;
    CHECK_EQ(pagevfs_sync(db), ERR_IO);
    CHECK_EQ(pagevfs_sync(db), ERR_IO); /* the disk is well again; what was lost stays lost */
    CHECK_EQ(pagevfs_checkpoint(db), ERR_IO);
    CHECK_EQ(ask(db, "SELECT count(*) FROM t"), 1);
    CHECK_EQ(pagevfs_close(db), ERR_IO);
    db = must_open(false);
    must(db, "INSERT INTO t VALUES(2)");
    fault_sync_fails = 1;
    CHECK(pagevfs_checkpoint(db) != 0);
    CHECK_EQ(pagevfs_sync(db), ERR_IO);
    CHECK_EQ(pagevfs_close(db), ERR_IO);
    db = must_open(false);
    CHECK_EQ(ask(db, "SELECT count(*) FROM t"), 2);
    CHECK_EQ(pagevfs_close(db), 0);
}

int main(void)
{
    fixture_begin();
    test_bit_flips();
    test_moved_pages();
    test_moved_frames();
    test_torn_checkpoint();
    test_disk_full();
    test_file_limit();
    test_failed_sync_is_final();
    return fixture_end();
}
