/*
 * A mount over a vault of which we hold the other end: reads that wait for the store hold nobody else up and end when the
 * reader is killed or the mount is stopped; what changes behind the kernel's back shows after vault_invalidate, and not before;
 * unlinked files are freed with their last user. Exit 77 (skipped) where mounting is not possible.
 */
#include "tests/unit/data_fixture.h"

#include "fs/fusefs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

enum { LOST = 8, LOST_LEN = 200000, WAIT_S = 20 };

static struct fusefs *fs;
static char mnt[128];
static _Atomic bool is_ready, has_ended;
static _Atomic int run_result;

static struct {
    char name[16];
    uint8_t id[16];
    uint8_t plain[LOST_LEN], sealed[2 * LOST_LEN];
} lost[LOST];
static atomic_uint fetching;
static atomic_bool hold;

/* Waits until the condition holds; fails after WAIT_S seconds. */
#define EVENTUALLY(x)                                                                              \
    do {                                                                                           \
        time_t end = time(NULL) + WAIT_S;                                                          \
        bool met;                                                                                  \
        while (!(met = (x)) && time(NULL) < end)                                                   \
            usleep(1000);                                                                          \
        if (!met)                                                                                  \
            fprintf(stderr, "%s:%d: never: %s\n", __FILE__, __LINE__, #x);                         \
        CHECK(met);                                                                                \
    } while (0)

/* Changes that are told and not taken up yet: from so many on, whoever tells another waits (fusefs_notify.c). */
#define QUEUE 4096u
static atomic_uint told;
static atomic_bool flooding, rescued;

static int fetch(void *ctx, struct vault_fetch *want)
{
    const struct extent *e = want->e;
    const _Atomic bool *cancelled = want->cancelled;
    fetching++;
    while (hold && !*cancelled)
        usleep(1000);
    if (*cancelled)
        return ERR_INTR;
    for (int i = 0; i < LOST; i++)
        if (memcmp(lost[i].id, e->id, sizeof(e->id)) == 0) {
            const size_t from = seal_block_offset(want->first);
            memcpy(want->sealed + from, lost[i].sealed + from, seal_size(e->len) - from);
            want->end = want->limit;
            return 0;
        }
    return ERR_NET;
}

/* Files whose only extent is not here any more, but on the store. */
static void lose(int i)
{
    snprintf(lost[i].name, sizeof(lost[i].name), "lost%d", i);
    uint64_t ino = new_file(lost[i].name);
    fill(lost[i].plain, LOST_LEN, (unsigned)i);
    CHECK_EQ(write_at(ino, 0, lost[i].plain, LOST_LEN), 0);
    struct extent e = fixture_extent(&f, ino, 0);
    memcpy(lost[i].id, e.id, sizeof(e.id));
    CHECK_EQ(segment_read(vault_segments(f.v), e.at, 0, lost[i].sealed, seal_size(e.len)), 0);
    e.at = (struct segment_pos){0, 0};
    e.pack = 5;
    index_lock(f.ix);
    CHECK_EQ(index_begin(f.ix, INDEX_REMOTE, 0), 0);
    CHECK_EQ(index_extent_move(f.ix, &e), 0);
    index_end(f.ix);
    index_unlock(f.ix);
}

static const char *at(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", mnt, name);
    return path;
}

/* A child that reads a lost file: exit 0 if every byte is right, 1 if wrong, 2 for an error. */
static pid_t reader(int i)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    /* Nothing of the mount's program may live on in it: neither the device nor the lock. */
    close_range(3, ~0u, 0);
    uint8_t *b = malloc(LOST_LEN);
    int fd = open(at(lost[i].name), O_RDONLY);
    size_t got = 0;
    while (fd >= 0 && got < LOST_LEN) {
        ssize_t n = read(fd, b + got, LOST_LEN - got);
        if (n <= 0)
            _exit(2);
        got += (size_t)n;
    }
    _exit(fd < 0 ? 2 : memcmp(b, lost[i].plain, LOST_LEN) != 0);
}

static int status_of(pid_t pid)
{
    int status = -1;

    EVENTUALLY(waitpid(pid, &status, WNOHANG) == pid);
    return status;
}

static void ready(void *ctx)
{
    is_ready = true;
}

static void *run(void *arg)
{
    run_result = fusefs_run(fs, ready, NULL);
    has_ended = true;
    return NULL;
}

static void slow_reads(void)
{
    enum { READERS = LOST - 1 };
    pid_t pids[READERS];
    struct stat st;
    char b[8] = "";

    hold = true;
    fetching = 0;
    for (int i = 0; i < READERS; i++)
        pids[i] = reader(i);
    EVENTUALLY(fetching == READERS);
    /* All of them wait; everything else goes on. (A dead mount would stop the test here: alarm.) */
    alarm(WAIT_S);
    for (int i = 0; i < 200; i++)
        CHECK(stat(at("none"), &st) < 0 && errno == ENOENT);
    int fd = open(at("quick"), O_CREAT | O_RDWR, 0644);
    CHECK_EQ(pwrite(fd, "hello", 5, 0), 5);
    CHECK_EQ(fsync(fd), 0);
    CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    CHECK_EQ(pread(fd, b, 8, 0), 5);
    close(fd);
    CHECK_EQ(unlink(at("quick")), 0);
    alarm(0);
    CHECK_EQ(kill(pids[0], SIGKILL), 0);
    CHECK(WIFSIGNALED(status_of(pids[0]))); /* although its bytes have not come */
    hold = false;
    for (int i = 1; i < READERS; i++)
        CHECK_EQ(status_of(pids[i]), 0);
}

static bool reads(const char *name, const char *content)
{
    char b[64] = "";
    int fd = open(at(name), O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, b, sizeof(b) - 1);

    if (fd >= 0)
        close(fd);
    return n == (ssize_t)strlen(content) && strcmp(b, content) == 0;
}

static bool exists(const char *name)
{
    struct stat st;

    return stat(at(name), &st) == 0;
}

static uint32_t mode_of(const char *name)
{
    struct stat st = {0};

    return stat(at(name), &st) == 0 ? st.st_mode & 07777 : 0;
}

/* As sync does when another device's changes arrive. */
static void behind_the_back(void)
{
    struct inode i, in = {.mode = S_IFREG | 0604}, gone;

    CHECK(!exists("far"));
    uint64_t ino = new_file("far");
    CHECK_EQ(write_at(ino, 0, "one", 3), 0);
    CHECK(!exists("far")); /* that it is not there is cached: the kernel does not ask */
    vault_invalidate(f.v, INODE_ROOT, "far", 3);
    EVENTUALLY(exists("far"));
    CHECK(reads("far", "one"));
    CHECK_EQ(write_at(ino, 0, "two!", 4), 0);
    CHECK(reads("far", "one"));
    vault_invalidate(f.v, ino, NULL, VAULT_DATA);
    EVENTUALLY(reads("far", "two!"));
    CHECK_EQ(tree_setattr(f.v, ino, TREE_MODE, &in, &i), 0);
    vault_invalidate(f.v, ino, NULL, 0);
    EVENTUALLY(mode_of("far") == 0604);

    /* Appended to elsewhere while open here. */
    int fd = open(at("far"), O_RDONLY);
    struct stat st;
    CHECK_EQ(write_at(ino, 4, " more", 5), 0);
    vault_invalidate(f.v, ino, NULL, VAULT_DATA);
    EVENTUALLY(fstat(fd, &st) == 0 && st.st_size == 9);
    EVENTUALLY(reads("far", "two! more"));

    /* Deleted elsewhere while open here. */
    char b[16] = "";
    CHECK_EQ(tree_unlink(f.v, INODE_ROOT, "far", 3, &gone), 0);
    CHECK_EQ(gone.nlink, 0);
    vault_invalidate(f.v, ino, NULL, VAULT_DATA);
    vault_invalidate(f.v, INODE_ROOT, "far", 3);
    EVENTUALLY(!exists("far"));
    CHECK_EQ(pread(fd, b, 16, 0), 9);
    CHECK(memcmp(b, "two! more", 9) == 0);
    CHECK_EQ(tree_getattr(f.v, ino, &i), 0);
    close(fd);
    EVENTUALLY(tree_getattr(f.v, ino, &i) == ERR_NOENT);
}

/* As sync does, in whatever thread it is called. */
static void rescue(void *ctx, uint64_t ino)
{
    if (!flooding)
        return;
    EVENTUALLY(told >= QUEUE);
    flooding = false;
    vault_invalidate(f.v, ino, NULL, 0);
    rescued = true;
}

static void *tell_much(void *arg)
{
    for (unsigned i = 0; i < 2 * QUEUE; i++, told++)
        vault_invalidate(f.v, INODE_ROOT, "none", 4);
    return NULL;
}

/* A deletion is taken back while very much else changes. */
static void rescued_in_a_flood(void)
{
    struct inode i, gone;
    pthread_t thread;
    uint64_t ino = new_file("flood");

    CHECK_EQ(write_at(ino, 0, "one", 3), 0);
    int fd = open(at("flood"), O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(tree_unlink(f.v, INODE_ROOT, "flood", 5, &gone), 0);
    flooding = true;
    vault_invalidate(f.v, ino, NULL, VAULT_DATA);
    CHECK_EQ(pthread_create(&thread, NULL, tell_much, NULL), 0);
    EVENTUALLY(rescued);
    if (!rescued)
        exit(1); /* it hangs, and so would the end of the mount */
    pthread_join(thread, NULL);
    vault_invalidate(f.v, INODE_ROOT, "flood", 5);
    close(fd);
    EVENTUALLY(tree_getattr(f.v, ino, &i) == ERR_NOENT);
}

static void unlinked(void)
{
    int fd = open(at("temp"), O_CREAT | O_RDWR, 0644);
    struct stat st;
    struct inode i;

    CHECK_EQ(write(fd, "x", 1), 1);
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(unlink(at("temp")), 0);
    CHECK_EQ(tree_getattr(f.v, st.st_ino, &i), 0);
    CHECK_EQ(i.nlink, 0);
    close(fd);
    EVENTUALLY(tree_getattr(f.v, st.st_ino, &i) == ERR_NOENT);
}

static void stopped_while_reading(pthread_t thread)
{
    hold = true;
    fetching = 0;
    pid_t pid = reader(LOST - 1);
    EVENTUALLY(fetching == 1);
    int fd = open(at("unsynced"), O_CREAT | O_WRONLY, 0644);
    CHECK_EQ(write(fd, "kept", 4), 4); /* in the kernel's cache only */
    fusefs_stop(fs);
    EVENTUALLY(has_ended);
    pthread_join(thread, NULL);
    CHECK_EQ(run_result, 0);
    fusefs_free(fs);
    CHECK(WIFEXITED(status_of(pid)));
    close(fd);
    CHECK(!exists("unsynced")); /* the mount is gone */
    fixture_reopen(&f);
    struct inode i;
    CHECK_EQ(tree_lookup(f.v, INODE_ROOT, "unsynced", 8, &i), 0);
    uint8_t b[8];
    size_t got = 0;
    CHECK_EQ(read_at(i.ino, 0, b, 8, &got), 0);
    CHECK(got == 4 && memcmp(b, "kept", 4) == 0);
}

int main(void)
{
    const struct vault_fetcher fetcher = {.fetch = fetch, .rescue = rescue};
    struct fusefs_options options = {.mountpoint = mnt};
    pthread_t thread;
    char why[200];

    fixture_make(&f);
    snprintf(mnt, sizeof(mnt), "%s/mnt", f.base);
    CHECK_EQ(mkdir(mnt, 0755), 0);
    if (fusefs_mount(&fs, f.v, &options, why) < 0) {
        fprintf(stderr, "cannot mount here: %s\n", why);
        fixture_remove(&f);
        return 77;
    }
    for (int i = 0; i < LOST; i++)
        lose(i);
    vault_set_fetcher(f.v, &fetcher);
    CHECK_EQ(pthread_create(&thread, NULL, run, NULL), 0);
    EVENTUALLY(is_ready);
    slow_reads();
    behind_the_back();
    rescued_in_a_flood();
    unlinked();
    stopped_while_reading(thread);
    fixture_remove(&f);
    return check_done();
}
