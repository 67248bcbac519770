/*
 * index, its log: what a power cut takes is cut off whole and what comes later is kept; a database that falls back to
 * its last checkpoint catches up; a group that failed never counts; a read-only start shows the log and writes
 * nothing; inode numbers do not come back; space of what died is given back only after a checkpoint; flushes of many
 * threads keep their promises.
 */
#include "check.h"
#include "index_env.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define EXTENT (64u << 10)

/* Shared with the children, who count what failed in them. */
static struct {
    unsigned failed;
    uint64_t ino;
    struct segment_pos at[8];
    unsigned promised[4];
} * shared;

#define CHILD_CHECK(x)                                                                             \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x);                        \
            shared->failed++;                                                                      \
        }                                                                                          \
    } while (0)

/* Runs ${body} in a process that ends without closing anything (or after it closed), like one that was killed. */
static void in_child(void (*body)(struct env *env), struct env *env)
{
    shared->failed = 0;
    pid_t pid = fork();
    if (pid == 0) {
        body(env);
        _exit(0);
    }
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    CHECK_EQ(status, 0);
    CHECK_EQ(shared->failed, 0);
}

/* ---- making and looking ---- */

static uint8_t byte_of(unsigned n)
{
    return (uint8_t)(n * 37 + 11);
}

/* The stand-in for vault.c's check of tags: an extent is good if it holds what extent_make put there. */
static int verify(void *ctx, const struct extent *e)
{
    struct env *env = ctx;
    size_t len = seal_size(e->len);
    uint8_t *p = malloc(len);
    int err = p ? segment_read(env->segments, e->at, 0, p, len) : ERR_NOMEM;
    for (size_t i = 0; !err && i < len; i++)
        err = p[i] == byte_of(e->id[0]) ? 0 : ERR_AUTH;
    free(p);
    return err;
}

static int start(struct env *env, bool create, bool read_only)
{
    env->verify = verify;
    env->verify_ctx = env;
    int err = env_open(env, create, read_only);
    CHILD_CHECK(err == 0);
    return err;
}

static int extent_make(struct env *env, unsigned n, uint32_t len, struct extent *e)
{
    size_t sealed = seal_size(len);
    uint8_t *p = malloc(sealed);
    memset(e, 0, sizeof(*e));
    memset(e->id, (int)n, sizeof(e->id));
    e->len = len;
    e->epoch = 1;
    memset(p, byte_of(n), sealed);
    int err = segment_append(env->segments, SEGMENT_EXTENT, p, sealed, &e->at);
    free(p);
    return err;
}

/* File ${ino} with one extent, filled from ${n}. */
static int put_file(struct env *env, uint64_t ino, unsigned n, uint32_t len)
{
    struct extent e;
    const struct inode in = {.ino = ino, .mode = S_IFREG | 0644, .nlink = 1, .size = len};
    int err = extent_make(env, n, len, &e);
    if (err)
        return err;
    index_lock(env->ix);
    err = index_begin(env->ix, INDEX_LOCAL, 0);
    if (!err) {
        err = index_inode_put(env->ix, &in);
        if (!err)
            err = index_extent_put(env->ix, &e);
        if (!err)
            err = index_map_set(env->ix, ino, 0, len, e.eid, 0);
        index_end(env->ix);
    }
    index_unlock(env->ix);
    if (n < 8)
        shared->at[n] = e.at;
    return err;
}

static uint64_t number(unsigned n)
{
    return (uint64_t)ENV_TAG << INODE_TAG_SHIFT | n;
}

static bool exists(struct env *env, uint64_t ino)
{
    struct inode in;
    index_lock(env->ix);
    int err = index_inode_get(env->ix, ino, &in);
    index_unlock(env->ix);
    return err == 0;
}

/* The file is there and its extent verifies. */
static bool whole(struct env *env, uint64_t ino)
{
    struct map_row row;
    struct extent e;
    size_t n = 0;
    index_lock(env->ix);
    int err = index_map_get(env->ix, ino, 0, UINT64_MAX, &row, &e, 1, &n);
    index_unlock(env->ix);
    return err == 0 && n == 1 && verify(env, &e) == 0;
}

/* ---- a power cut ---- */

static void cut_write(struct env *env)
{
    start(env, true, false);
    CHILD_CHECK(put_file(env, number(1), 1, EXTENT) == 0);
    CHILD_CHECK(index_flush(env->ix) == 0);
    CHILD_CHECK(put_file(env, number(2), 2, EXTENT) == 0);
    CHILD_CHECK(index_flush(env->ix) == 0);
    CHILD_CHECK(put_file(env, number(3), 3, EXTENT) == 0);
    CHILD_CHECK(index_flush(env->ix) == 0);
}

static void cut_again(struct env *env)
{
    start(env, false, false);
    CHILD_CHECK(whole(env, number(1)));
    CHILD_CHECK(!exists(env, number(2)) && !exists(env, number(3)));
    CHILD_CHECK(put_file(env, number(4), 4, EXTENT) == 0);
    CHILD_CHECK(index_flush(env->ix) == 0);
}

static void cut_look(struct env *env)
{
    start(env, false, false);
    CHILD_CHECK(whole(env, number(1)) && whole(env, number(4)));
    CHILD_CHECK(!exists(env, number(2)) && !exists(env, number(3)));
    CHILD_CHECK(env_close(env) == 0);
}

static void cut_look_only(struct env *env)
{
    start(env, false, true);
    CHILD_CHECK(whole(env, number(1)));
    CHILD_CHECK(!exists(env, number(2)) && !exists(env, number(3)));
    CHILD_CHECK(env_close(env) == 0);
}

static void lose_bytes(const struct env *env, struct segment_pos at)
{
    char path[300];
    static const uint8_t zeroes[4096];
    snprintf(path, sizeof(path), "%s/seg/%016llx", env->path, (unsigned long long)at.seg);
    int fd = open(path, O_WRONLY);
    CHECK(fd >= 0 &&
          pwrite(fd, zeroes, sizeof(zeroes), (off_t)at.off + 8192) == (ssize_t)sizeof(zeroes));
    close(fd);
}

static void power_cut(void)
{
    struct env env;
    env_dir(&env);
    in_child(cut_write, &env);
    lose_bytes(&env, shared->at[2]);
    in_child(cut_look_only, &env);
    in_child(cut_again, &env); /* ends killed, after building on what was left */
    in_child(cut_look, &env);
    env_remove(&env);
}

static void moved_write(struct env *env)
{
    struct extent e, again;
    start(env, true, false);
    CHILD_CHECK(put_file(env, number(1), 1, EXTENT) == 0);
    index_lock(env->ix);
    CHILD_CHECK(index_extent_get(env->ix, 1, &e) == 0);
    index_unlock(env->ix);
    e.pack = 7;
    e.at = (struct segment_pos){0, 0};
    CHILD_CHECK(ENV_GROUP(env->ix, INDEX_REMOTE, index_extent_move(env->ix, &e)) == 0);
    CHILD_CHECK(index_commit(env->ix) == 0);
    CHILD_CHECK(extent_make(env, 1, EXTENT, &again) == 0); /* fetched from the store */
    shared->at[1] = e.at = again.at;
    CHILD_CHECK(ENV_GROUP(env->ix, INDEX_REMOTE, index_extent_move(env->ix, &e)) == 0);
    CHILD_CHECK(put_file(env, number(2), 2, EXTENT) == 0);
    CHILD_CHECK(index_flush(env->ix) == 0);
}

static void moved_look(struct env *env)
{
    struct extent e;
    start(env, false, false);
    index_lock(env->ix);
    CHILD_CHECK(index_extent_get(env->ix, 1, &e) == 0 && e.at.seg == 0 && e.pack == 7);
    index_unlock(env->ix);
    CHILD_CHECK(whole(env, number(2))); /* that is no reason to cut the log */
    CHILD_CHECK(env_close(env) == 0);
}

static void power_cut_of_a_copy(void)
{
    struct env env;
    env_dir(&env);
    in_child(moved_write, &env);
    lose_bytes(&env, shared->at[1]);
    in_child(moved_look, &env);
    env_remove(&env);
}

/* ---- a database that falls back ---- */

static void copy_file(const struct env *env, const char *from, const char *to)
{
    char a[300], b[300];
    uint8_t buf[65536];
    ssize_t n;
    snprintf(a, sizeof(a), "%s/%s", env->path, from);
    snprintf(b, sizeof(b), "%s/%s", env->path, to);
    int in = open(a, O_RDONLY), out = open(b, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHILD_CHECK(in >= 0 && out >= 0);
    while ((n = read(in, buf, sizeof(buf))) > 0)
        CHILD_CHECK(write(out, buf, (size_t)n) == n);
    close(in);
    close(out);
}

static void fall_back_write(struct env *env)
{
    start(env, true, false);
    for (unsigned i = 1; i <= 70; i++) {
        CHILD_CHECK(put_file(env, number(i), i, SEAL_EXTENT_MAX) == 0);
        if (i == 5) {
            CHILD_CHECK(ENV_GROUP(env->ix, INDEX_LOCAL, index_inode_del(env->ix, number(1))) == 0);
            CHILD_CHECK(index_checkpoint(env->ix, NULL, NULL, NULL) == 0);
            copy_file(env, "index", "old-index");
            copy_file(env, "index-wal", "old-index-wal");
        }
    }
    for (unsigned i = 2; i <= 30; i++)
        CHILD_CHECK(ENV_GROUP(env->ix, INDEX_LOCAL, index_inode_del(env->ix, number(i))) == 0);
    CHILD_CHECK(index_commit(env->ix) == 0); /* not synced: a power cut may take it back */
}

static void fall_back_look(struct env *env)
{
    start(env, false, false);
    for (unsigned i = 1; i <= 70; i++)
        CHILD_CHECK(i <= 30 ? !exists(env, number(i)) : whole(env, number(i)));
    CHILD_CHECK(env_close(env) == 0);
}

static void falling_back(void)
{
    struct env env;
    env_dir(&env);
    in_child(fall_back_write, &env);
    copy_file(&env, "old-index", "index");
    copy_file(&env, "old-index-wal", "index-wal");
    in_child(fall_back_look, &env);
    env_remove(&env);
}

/* ---- failing in the middle ---- */

static void failing(struct env *env)
{
    start(env, true, false);
    CHILD_CHECK(put_file(env, number(1), 1, EXTENT) == 0);
    struct inode in = {.ino = number(2), .mode = S_IFREG, .nlink = 1};
    struct extent e = {
        .eid = 1, .len = 1, .at = {1, 64}}; /* a number that is taken: SQLite refuses */
    CHILD_CHECK(index_inode_put(env->ix, &in) == ERR_MISUSE); /* in no group */
    index_lock(env->ix);
    CHILD_CHECK(index_begin(env->ix, INDEX_LOCAL, 0) == 0);
    CHILD_CHECK(index_begin(env->ix, INDEX_LOCAL, 0) == ERR_MISUSE);
    CHILD_CHECK(index_inode_put(env->ix, &in) == 0);
    CHILD_CHECK(index_map_set(env->ix, in.ino, 0, 10, 99, 0) ==
                ERR_INVAL); /* no such extent: nothing happened */
    CHILD_CHECK(!index_failed(env->ix));
    CHILD_CHECK(index_extent_put(env->ix, &e) == 0);
    CHILD_CHECK(index_map_set(env->ix, in.ino, 0, 1, 1, 0) != 0);
    CHILD_CHECK(index_failed(env->ix));
    index_end(env->ix);
    CHILD_CHECK(index_begin(env->ix, INDEX_LOCAL, 0) == ERR_ROFS);
    index_unlock(env->ix);
    CHILD_CHECK(index_flush(env->ix) == 0); /* the whole group before it */
    CHILD_CHECK(index_commit(env->ix) == ERR_IO);
    CHILD_CHECK(env_close(env) == ERR_IO);
}

static void failed_look(struct env *env)
{
    start(env, false, false);
    CHILD_CHECK(whole(env, number(1)) && !exists(env, number(2)));
    CHILD_CHECK(env_close(env) == 0);
}

static void half_a_group(void)
{
    struct env env;
    env_dir(&env);
    in_child(failing, &env);
    in_child(failed_look, &env);
    env_remove(&env);
}

/* ---- inode numbers ---- */

static void take_number(struct env *env)
{
    uint64_t ino;
    start(env, access(strcat(strcpy((char[300]){0}, env->path), "/index"), F_OK) != 0, false);
    index_lock(env->ix);
    CHILD_CHECK(index_inode_new(env->ix, &ino) == 0);
    index_unlock(env->ix);
    CHILD_CHECK(ino > shared->ino && ino >> INODE_TAG_SHIFT == ENV_TAG);
    shared->ino = ino;
    CHILD_CHECK(put_file(env, ino, 1 + (unsigned)(ino & 0xff), 4096) == 0);
    CHILD_CHECK(ENV_GROUP(env->ix, INDEX_LOCAL, index_inode_del(env->ix, ino)) == 0);
    CHILD_CHECK(index_flush(env->ix) == 0);
}

static void numbers(void)
{
    struct env env;
    env_dir(&env);
    shared->ino = 0;
    for (int i = 0; i < 4; i++)
        in_child(take_number, &env); /* killed each time */
    env_remove(&env);
}

/* ---- read-only ---- */

static uint64_t sum_of_all;

static int sum_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)type, (void)ftw;
    sum_of_all +=
        (uint64_t)st->st_size * 31 + (uint64_t)st->st_mtim.tv_nsec + (uint64_t)st->st_mtim.tv_sec;
    for (const char *p = path; *p; p++)
        sum_of_all = sum_of_all * 131 + (uint8_t)*p;
    return 0;
}

static uint64_t fingerprint(const struct env *env)
{
    sum_of_all = 0;
    nftw(env->path, sum_one, 16, FTW_PHYS);
    return sum_of_all;
}

static void only_reading(struct env *env)
{
    start(env, false, true);
    CHILD_CHECK(whole(env, number(1)) && whole(env, number(2)) && whole(env, number(3)));
    index_lock(env->ix);
    CHILD_CHECK(index_begin(env->ix, INDEX_LOCAL, 0) == ERR_ROFS);
    index_unlock(env->ix);
    CHILD_CHECK(index_flush(env->ix) == 0 && index_commit(env->ix) == 0);
    CHILD_CHECK(env_close(env) == 0);
}

static void read_only(void)
{
    struct env env;
    env_dir(&env);
    in_child(cut_write, &env);
    uint64_t before = fingerprint(&env);
    in_child(only_reading, &env);
    CHECK(fingerprint(&env) == before);
    env_remove(&env);
}

/* ---- space ---- */

static int sum_blocks(void *ctx, uint64_t seg, uint64_t bytes)
{
    const struct env *env = ((void **)ctx)[0];
    uint64_t *sums = ((void **)ctx)[1];
    char path[300];
    struct stat st;
    (void)bytes;
    snprintf(path, sizeof(path), "%s/seg/%016llx", env->path, (unsigned long long)seg);
    if (stat(path, &st) == 0) {
        sums[0]++;
        sums[1] += (uint64_t)st.st_blocks * 512;
    }
    return 0;
}

static void count_space(struct env *env, uint64_t sums[2])
{
    sums[0] = sums[1] = 0;
    void *ctx[] = {env, sums};
    CHILD_CHECK(segment_each(env->segments, sum_blocks, ctx) == 0);
}

static unsigned locked;

static void fake_lock(void *ctx)
{
    (void)ctx;
    locked++;
}

static void fake_unlock(void *ctx)
{
    (void)ctx;
    locked += 100;
}

static void space(struct env *env)
{
    const unsigned n = 140; /* more than two files of 64 MiB */
    uint64_t full[2], dead[2], after[2];
    start(env, true, false);
    for (unsigned i = 1; i <= n; i++)
        CHILD_CHECK(put_file(env, number(i), i, SEAL_EXTENT_MAX) == 0);
    CHILD_CHECK(index_checkpoint(env->ix, NULL, NULL, NULL) == 0);
    count_space(env, full);
    CHILD_CHECK(full[0] == 3 && full[1] > 140ull << 20);
    for (unsigned i = 1; i <= 90; i++) /* all of the first file, a part of the second */
        CHILD_CHECK(ENV_GROUP(env->ix, INDEX_LOCAL | INDEX_FREES,
                              index_inode_del(env->ix, number(i))) == 0);
    CHILD_CHECK(index_commit(env->ix) == 0);
    count_space(env, dead);
    CHILD_CHECK(dead[0] == 3 && dead[1] >= full[1]); /* a power cut may still come back to before */
    CHILD_CHECK(index_checkpoint(env->ix, fake_lock, fake_unlock, NULL) == 0);
    CHILD_CHECK(locked == 101);
    count_space(env, after);
    CHILD_CHECK(after[0] == 2 && after[1] < full[1] - (88ull << 20));
    for (unsigned i = 91; i <= n; i++)
        CHILD_CHECK(whole(env, number(i)));
    CHILD_CHECK(env_close(env) == 0);
}

static void giving_back(void)
{
    struct env env;
    env_dir(&env);
    in_child(space, &env);
    env_remove(&env);
}

/* ---- threads ---- */

#define PER_THREAD 150u

static struct env *thread_env;

static void *one_thread(void *arg)
{
    unsigned t = (unsigned)(uintptr_t)arg;
    struct index *ix = thread_env->ix;
    for (unsigned i = 0; i < PER_THREAD; i++) {
        struct inode in = {.ino = number(1000 * (t + 1) + i), .mode = S_IFREG, .nlink = 1};
        CHILD_CHECK(ENV_GROUP(ix, INDEX_LOCAL, index_inode_put(ix, &in)) == 0);
        if (i % 3 == 0) {
            CHILD_CHECK(index_flush(ix) == 0);
            shared->promised[t] = i + 1;
        }
        if (t == 0 && i % 20 == 0)
            CHILD_CHECK(index_checkpoint(ix, fake_lock, fake_unlock, NULL) == 0);
        if (t == 1 && i % 10 == 0)
            CHILD_CHECK(index_commit(ix) == 0);
    }
    return NULL;
}

static void many_threads(struct env *env)
{
    pthread_t threads[4];
    start(env, true, false);
    thread_env = env;
    for (uintptr_t t = 0; t < 4; t++)
        CHILD_CHECK(pthread_create(&threads[t], NULL, one_thread, (void *)t) == 0);
    for (unsigned t = 0; t < 4; t++)
        pthread_join(threads[t], NULL);
}

static void many_threads_look(struct env *env)
{
    start(env, false, false);
    for (unsigned t = 0; t < 4; t++)
        for (unsigned i = 0; i < shared->promised[t]; i++)
            CHILD_CHECK(exists(env, number(1000 * (t + 1) + i)));
    CHILD_CHECK(env_close(env) == 0);
}

static void together(void)
{
    struct env env;
    env_dir(&env);
    in_child(many_threads, &env);
    for (unsigned t = 0; t < 4; t++)
        CHECK(shared->promised[t] > PER_THREAD - 4);
    in_child(many_threads_look, &env);
    env_remove(&env);
}

int main(void)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    power_cut();
    power_cut_of_a_copy();
    falling_back();
    half_a_group();
    numbers();
    read_only();
    giving_back();
    together();
    return check_done();
}
