/* data under threads and crashes: readers see whole writes while room is reclaimed, and what was flushed is there
 * after a kill. */
#include "data_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define SHARED_LEN  100000u /* not a multiple of the block */
#define SHARED_RUNS 150

static uint64_t shared_ino;
static atomic_bool writers_done;
static atomic_uint mixtures, reads, thread_errors;

static void *shared_writer(void *arg)
{
    uint8_t *b = malloc(SHARED_LEN);
    for (unsigned i = 0; i < SHARED_RUNS; i++) {
        memset(b, (int)((uintptr_t)arg + i) & 0xff, SHARED_LEN);
        thread_errors += write_at(shared_ino, 0, b, SHARED_LEN) != 0;
    }
    free(b);
    return NULL;
}

static void *shared_reader(void *arg)
{
    uint8_t *b = malloc(SHARED_LEN);
    size_t got;
    while (!writers_done) {
        thread_errors += read_at(shared_ino, 0, b, SHARED_LEN, &got) != 0 || got != SHARED_LEN;
        mixtures += memcmp(b, b + 1, SHARED_LEN - 1) != 0;
        reads++;
    }
    free(b);
    return NULL;
}

static void reclaim_lock(void *v)
{
    vault_reclaim_wrlock(v);
}

static void reclaim_unlock(void *v)
{
    vault_reclaim_unlock(v);
}

/* Gives the room of overwritten extents back all the time, under the feet of readers and writers. */
static void *shared_reclaimer(void *arg)
{
    while (!writers_done)
        thread_errors += index_checkpoint(f.ix, reclaim_lock, reclaim_unlock, f.v) != 0;
    return NULL;
}

static void concurrent(void)
{
    pthread_t writers[2], readers[2], reclaimer;
    static uint8_t zero[SHARED_LEN];
    shared_ino = new_file("shared");
    CHECK_EQ(write_at(shared_ino, 0, zero, SHARED_LEN), 0);
    for (uintptr_t i = 0; i < 2; i++) {
        CHECK(pthread_create(&writers[i], NULL, shared_writer, (void *)(i * 100)) == 0);
        CHECK(pthread_create(&readers[i], NULL, shared_reader, NULL) == 0);
    }
    CHECK(pthread_create(&reclaimer, NULL, shared_reclaimer, NULL) == 0);
    for (int i = 0; i < 2; i++)
        pthread_join(writers[i], NULL);
    writers_done = true;
    pthread_join(reclaimer, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    CHECK_EQ(mixtures, 0);
    CHECK_EQ(thread_errors, 0);
    CHECK(reads > 0);
}

/* ---- a crash ---- */

#define CRASH_LEN 70000u

/* Writes files, makes each durable and says so, until it is killed; what is not flushed comes in between. A program of
 * its own (this one again), since memory for keys is not inherited. */
static void crash_child(const char *path, int fd)
{
    static uint8_t b[CRASH_LEN];
    char name[20];
    snprintf(f.path, sizeof(f.path), "%s", path);
    if (secret_init())
        _exit(1);
    fixture_open(&f, VAULT_READ_WRITE);
    for (unsigned i = 0;; i++) {
        snprintf(name, sizeof(name), "crash%u", i);
        uint64_t ino = new_file(name);
        fill(b, sizeof(b), i);
        if (write_at(ino, 0, b, sizeof(b)) || (i % 5 == 0 && index_commit(f.ix)) ||
            index_flush(f.ix) || write(fd, "+", 1) != 1)
            _exit(1);
        snprintf(name, sizeof(name), "unflushed%u", i);
        write_at(new_file(name), 0, b, sizeof(b));
    }
}

/* Killed at any moment, everything that was flushed is there, and the index is sound. */
static void crash(void)
{
    static uint8_t b[CRASH_LEN], want[CRASH_LEN];
    int fds[2], status;
    unsigned durable = 0;
    char c;
    fixture_close(&f);
    CHECK(pipe(fds) == 0);
    pid_t child = fork();
    if (child == 0) {
        char fd[12];
        snprintf(fd, sizeof(fd), "%d", fds[1]);
        execl("/proc/self/exe", "test_data", f.path, fd, (char *)NULL);
        _exit(1);
    }
    close(fds[1]);
    while (durable < 23 && read(fds[0], &c, 1) == 1)
        durable++;
    CHECK_EQ(durable, 23);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    while (read(fds[0], &c, 1) == 1)
        durable++;
    close(fds[0]);

    fixture_open(&f, VAULT_READ_WRITE);
    for (unsigned i = 0; i < durable; i++) {
        char name[20];
        struct inode inode;
        size_t got = 0;
        snprintf(name, sizeof(name), "crash%u", i);
        CHECK_EQ(tree_lookup(f.v, INODE_ROOT, name, strlen(name), &inode), 0);
        fill(want, sizeof(want), i);
        CHECK_EQ(read_at(inode.ino, 0, b, sizeof(b), &got), 0);
        CHECK(got == sizeof(b) && memcmp(b, want, sizeof(b)) == 0);
    }
}

int main(int argc, char **argv)
{
    if (argc == 3)
        crash_child(argv[1], atoi(argv[2]));
    fixture_make(&f);
    concurrent();
    sound();
    crash();
    sound();
    fixture_remove(&f);
    return check_done();
}
