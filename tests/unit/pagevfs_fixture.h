/*
 * pagevfs_fixture.h - what the tests of the sealed SQLite VFS share: a temporary folder, SQL in one line, files as bytes,
 * and faults of the disk. The faults work by taking the place of libc's functions in the test program.
 */
#ifndef TESTS_UNIT_PAGEVFS_FIXTURE_H
#define TESTS_UNIT_PAGEVFS_FIXTURE_H

#include "check.h"
#include "crypto/err.h"
#include "crypto/pagevfs.h"
#include "crypto/secret.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* [index-file] [index-wal] as the format says it, not as the code does */
#define PAGE       4096
#define WAL_HEAD   72
#define FRAME_HEAD 64
#define FRAME_PAGE 4136
#define FRAME      (FRAME_HEAD + FRAME_PAGE)

static const uint8_t test_key[SECRET_KEY_LEN] = {7, 7, 7, 1};
static const uint8_t test_id[32] = {9, 8, 7};
static char test_dir[128], test_db[192], test_wal[200];

/* --- faults --- */

static long fault_write_room = -1; /* bytes that may still be written; -1: no limit */
static int fault_sync_fails;       /* so many syncs fail from now on */
static _Atomic long count_writes, count_syncs;
static void (*on_sync)(int fd);
static void (*on_write)(int fd, const uint8_t *p, size_t len, off_t off); /* sees what is written */

ssize_t pwrite(int fd, const void *p, size_t len, off_t off)
{
    count_writes++;
    if (on_write != NULL)
        on_write(fd, p, len, off);
    if (fault_write_room >= 0) {
        if (fault_write_room == 0 && len > 0) {
            errno = ENOSPC;
            return -1;
        }
        if ((long)len > fault_write_room)
            len = (size_t)fault_write_room;
        fault_write_room -= (long)len;
    }
    return syscall(SYS_pwrite64, fd, p, len, off);
}

int fdatasync(int fd)
{
    count_syncs++;
    if (fault_sync_fails > 0) {
        fault_sync_fails--;
        errno = EIO;
        return -1;
    }
    if (on_sync != NULL) {
        on_sync(fd); /* instead of the real one */
        return 0;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

/* Drops what the log says while damage is expected thousands of times. */
static inline void quiet(bool on)
{
    static int saved = -1;

    if (on) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        saved = fcntl(2, F_DUPFD_CLOEXEC, 3);
        dup2(null, 2);
        close(null);
    } else {
        dup2(saved, 2);
        close(saved);
    }
}

/* --- folder and files --- */

static inline void empty_dir(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[512];

    while (d != NULL && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.' && unlink(path) != 0)
            empty_dir(path), rmdir(path);
    }
    if (d != NULL)
        closedir(d);
}

static inline void fixture_paths(const char *dir)
{
    snprintf(test_dir, sizeof(test_dir), "%s", dir);
    snprintf(test_db, sizeof(test_db), "%s/index", dir);
    snprintf(test_wal, sizeof(test_wal), "%s/index-wal", dir);
}

static inline void fixture_begin(void)
{
    const char *tmp = getenv("TMPDIR");
    char dir[100];

    snprintf(dir, sizeof(dir), "%s/pagevfs-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL || secret_init() != 0) {
        perror("fixture");
        exit(2);
    }
    fixture_paths(dir);
}

static inline int fixture_end(void)
{
    empty_dir(test_dir);
    rmdir(test_dir);
    return check_done();
}

struct blob {
    uint8_t *p;
    size_t len;
};

/* A missing file is {NULL, 0}. */
static inline struct blob slurp(const char *path)
{
    struct blob b = {NULL, 0};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return b;
    if (fstat(fd, &st) == 0 && (b.p = malloc((size_t)st.st_size + 1)) != NULL) {
        ssize_t n = read(fd, b.p, (size_t)st.st_size);
        b.len = n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return b;
}

static inline void spew(const char *path, const void *p, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, p, len) != (ssize_t)len)
        perror(path), exit(2);
    close(fd);
}

static inline bool blob_equal(struct blob a, struct blob b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* How many files below ${dir} hold ${marker}. */
static inline int files_with(const char *dir, const char *marker)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[512];
    int n = 0;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        struct blob b = slurp(path);
        n += b.p != NULL && memmem(b.p, b.len, marker, strlen(marker)) != NULL;
        free(b.p);
    }
    if (d != NULL)
        closedir(d);
    return n;
}

/* --- SQL --- */

static inline int try_open(sqlite3 **db, bool create, bool read_only)
{
    return pagevfs_open(db, test_db, test_key, test_id, create, read_only);
}

static inline sqlite3 *must_open(bool create)
{
    sqlite3 *db;
    int err = try_open(&db, create, false);

    if (err != 0) {
        fprintf(stderr, "cannot open %s: %s\n", test_db, err_text(err));
        exit(2);
    }
    return db;
}

/* A new empty database. */
static inline sqlite3 *fresh_db(void)
{
    unlink(test_db);
    unlink(test_wal);
    return must_open(true);
}

static inline int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static inline void must(sqlite3 *db, const char *sql)
{
    int rc = run(db, sql);

    if (rc != SQLITE_OK) {
        fprintf(stderr, "%.60s: %d %s\n", sql, sqlite3_extended_errcode(db), sqlite3_errmsg(db));
        CHECK_EQ(rc, SQLITE_OK);
    }
}

/* The first column of the first row; -1 and *err set after an error. */
static inline long long ask_err(sqlite3 *db, const char *sql, int *err)
{
    sqlite3_stmt *stmt = NULL;
    long long value = -1;

    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    *err = pagevfs_err(rc);
    return value;
}

static inline long long ask(sqlite3 *db, const char *sql)
{
    int err;
    return ask_err(db, sql, &err);
}

/* "ok" of integrity_check, and no error. */
static inline bool is_whole(sqlite3 *db)
{
    sqlite3_stmt *stmt = NULL;
    bool ok = sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL) == SQLITE_OK &&
              sqlite3_step(stmt) == SQLITE_ROW &&
              strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0;

    if (!ok && stmt != NULL)
        fprintf(stderr, "integrity_check: %s (%s)\n", (const char *)sqlite3_column_text(stmt, 0),
                sqlite3_errmsg(db));
    sqlite3_finalize(stmt);
    return ok;
}

/* The database has ${want} rows in t and is whole, in this connection and as a crash would leave it now. */
static inline void check_last_commit(sqlite3 *db, long long want)
{
    char copy[220], copy_wal[230];
    sqlite3 *other;

    snprintf(copy, sizeof(copy), "%s/copy", test_dir);
    snprintf(copy_wal, sizeof(copy_wal), "%s-wal", copy);
    struct blob file = slurp(test_db),
                wal = slurp(test_wal); /* first: asking could write what was held back */
    CHECK_EQ(ask(db, "SELECT count(*) FROM t"), want);
    CHECK(is_whole(db));
    spew(copy, file.p, file.len);
    spew(copy_wal, wal.p, wal.len);
    free(file.p);
    free(wal.p);
    CHECK_EQ(pagevfs_open(&other, copy, test_key, test_id, false, false), 0);
    if (other != NULL) {
        CHECK_EQ(ask(other, "SELECT count(*) FROM t"), want);
        CHECK(is_whole(other));
    }
    CHECK_EQ(pagevfs_close(other), 0);
    unlink(copy);
    unlink(copy_wal);
}

/* --- other processes --- */

/* Runs this program again as ${role}; what it writes to descriptor 1 comes out of *out (if not NULL). */
static inline pid_t spawn(const char *role, const char *arg, int *out)
{
    int ends[2] = {-1, -1};

    fflush(NULL);
    if (out != NULL && pipe2(ends, O_CLOEXEC) != 0)
        perror("pipe"), exit(2);
    pid_t pid = fork();
    if (pid == 0) {
        if (out != NULL)
            dup2(ends[1], 1);
        execl("/proc/self/exe", "test", role, test_dir, arg, (char *)NULL);
        _exit(127);
    }
    if (out != NULL) {
        close(ends[1]);
        *out = ends[0];
    }
    return pid;
}

static inline int wait_exit(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* OBSCURAFS_TEST_ROUNDS, or ${rounds}. */
static inline long test_rounds(long rounds)
{
    const char *text = getenv("OBSCURAFS_TEST_ROUNDS");
    long n = text != NULL ? atol(text) : 0;

    return n > 0 ? n : rounds;
}

#endif
