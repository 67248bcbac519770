/*
 * index on a full disk, how it goes on: the log comes into the database in steps that fit, and a kill between any two of them
 * loses nothing; all names can be deleted though somebody else takes every byte that becomes free; on a file system that can
 * reserve nothing the data of what was deleted makes room for the commit, and a kill then loses nothing. [index-full]
 * [index-replay]
 */
#include "full_fixture.h"

#include <linux/falloc.h>
#include <sys/syscall.h>

static bool cannot_reserve; /* the file system gives no room beyond what is written */
static unsigned syncs_left; /* then the process is killed; 0: never */
static unsigned holes;      /* punched */

int fallocate(int fd, int mode, off_t off, off_t len)
{
    if (mode & FALLOC_FL_PUNCH_HOLE)
        holes++;
    else if (cannot_reserve) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, off, len);
}

/* Who takes at once what becomes free, but for so many bytes. */
static const struct env *greedy;
static uint64_t greedy_left;

int ftruncate(int fd, off_t len)
{
    int r = (int)syscall(SYS_ftruncate, fd, len);
    if (greedy)
        take_all(greedy, greedy_left);
    return r;
}

int fdatasync(int fd)
{
    if (syncs_left && --syncs_left == 0)
        _exit(0);
    return (int)syscall(SYS_fdatasync, fd);
}

/* ---- names ---- */

static bool no_ballast(const struct env *env)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/ballast", env->path);
    return unlink(path) == 0 || errno == ENOENT;
}

static void fill_with_names(struct env *env)
{
    start(env, true);
    for (unsigned i = 0; i < 7000; i++)
        CHILD_CHECK(make_file(env, 0) == 0);
    CHILD_CHECK(index_checkpoint(env->ix, NULL, NULL, NULL) == 0);
}

/* Many deletions are in the log and not in the database. */
static void fill_and_delete(struct env *env)
{
    cannot_reserve = true;
    fill_with_names(env);
    for (unsigned i = 0; i < 1500; i++)
        CHILD_CHECK(delete_file(env) == 0);
    CHILD_CHECK(index_flush(env->ix) == 0);
}

/* With room for a small part of them. Each time killed one sync further: before the first step, in it, before the next, ... */
static unsigned kill_after;
static void die_in_steps(struct env *env)
{
    cannot_reserve = true;
    CHILD_CHECK(no_ballast(env));
    greedy = env;
    greedy_left = 300u << 10;
    take_all(env, greedy_left);
    syncs_left = kill_after;
    start(env, false);
    syncs_left = 0;
    CHILD_CHECK(index_full(env->ix));
    CHILD_CHECK(index_commit(env->ix) == 0);
    check_files(env);
    shared->whole = true;
    _exit(0);
}

static void as_it_was(struct env *env)
{
    sqlite3_stmt *stmt;
    start(env, false);
    check_files(env);
    CHILD_CHECK(index_commit(env->ix) == 0);
    index_lock(env->ix);
    CHILD_CHECK(index_prepare(env->ix, "SELECT 1 FROM kv WHERE space = 'replay'", &stmt) == 0);
    CHILD_CHECK(sqlite3_step(stmt) == SQLITE_DONE); /* nothing is in part in the database */
    sqlite3_finalize(stmt);
    index_unlock(env->ix);
    CHILD_CHECK(env_close(env) == 0);
}

static void delete_all(struct env *env)
{
    start(env, false);
    check_files(env);
    take_all(env, 0);
    while (shared->deleted + 1 < shared->files && !shared->failed) {
        int err = delete_file(env);
        CHILD_CHECK(err == 0 || err == ERR_NOSPACE);
        if (err == ERR_NOSPACE) {
            CHILD_CHECK(index_checkpoint(env->ix, NULL, NULL, NULL) == 0);
            take_all(env, 0);
            CHILD_CHECK(delete_file(env) == 0);
        }
    }
    CHILD_CHECK(!index_failed(env->ix));
    take_all(env, 0);
    CHILD_CHECK(env_close(env) == 0);
}

static void opens_full_and_goes_on(struct env *env)
{
    take_all(env, 0);
    start(env, false);
    check_files(env);
    take_all(env, 0);
    CHILD_CHECK(env_close(env) == 0);
    take_all(env, 0);
    start(env, false); /* what the first had for a segment serves the second */
    check_files(env);
    CHILD_CHECK(index_full(env->ix));
    CHILD_CHECK(delete_file(env) == 0);
    shared->deleted--; /* check_files wants one that is there */
    shared->files = 0;
    give_back(env);
    CHILD_CHECK(index_checkpoint(env->ix, NULL, NULL, NULL) == 0);
    CHILD_CHECK(!index_full(env->ix));
    CHILD_CHECK(env_close(env) == 0);
}

/* ---- data, and nothing can be reserved ---- */

#define PIECE 4096u
#define LARGE 900000u

static uint64_t pieces;

/* One file of many small extents. */
static void fill_with_pieces(struct env *env)
{
    static uint8_t sealed[PIECE + 64];
    cannot_reserve = true;
    start(env, true);
    const struct inode in = {.ino = number(LARGE), .mode = S_IFREG | 0644, .nlink = 1};
    CHILD_CHECK(ENV_GROUP(env->ix, INDEX_LOCAL, index_inode_put(env->ix, &in)) == 0);
    for (pieces = 0; pieces < 3500; pieces++) {
        struct extent e = {.len = PIECE, .epoch = 1};
        memcpy(e.id, &pieces, sizeof(pieces));
        e.id[15] = 1;
        CHILD_CHECK(
            segment_append(env->segments, SEGMENT_EXTENT, sealed, seal_size(PIECE), &e.at) == 0);
        index_lock(env->ix);
        CHILD_CHECK(index_begin(env->ix, INDEX_LOCAL, 0) == 0);
        CHILD_CHECK(index_extent_put(env->ix, &e) == 0);
        CHILD_CHECK(index_map_set(env->ix, in.ino, pieces * PIECE, PIECE, e.eid, 0) == 0);
        index_end(env->ix);
        index_unlock(env->ix);
    }
    CHILD_CHECK(make_file(env, 0) == 0);
    CHILD_CHECK(env_close(env) == 0);
}

static void delete_pieces(struct env *env)
{
    cannot_reserve = true;
    start(env, false);
    CHILD_CHECK(no_ballast(env));
    take_all(env, 0);
    CHILD_CHECK(ENV_GROUP(env->ix, INDEX_LOCAL | INDEX_FREES,
                          index_inode_del(env->ix, number(LARGE))) == 0);
    CHILD_CHECK(index_commit(env->ix) == ERR_NOSPACE); /* one group, and no page has room */
    holes = 0;
    syncs_left = kill_after;
    CHILD_CHECK(index_checkpoint(env->ix, NULL, NULL, NULL) == 0);
    syncs_left = 0;
    CHILD_CHECK(holes > 0);
    shared->whole = true;
    _exit(0);
}

static void large_is_gone(struct env *env)
{
    struct inode in;
    struct index_stats stats;
    cannot_reserve = true;
    start(env, false);
    check_files(env);
    index_lock(env->ix);
    CHILD_CHECK(index_inode_get(env->ix, number(LARGE), &in) == ERR_NOENT);
    CHILD_CHECK(index_stats(env->ix, &stats) == 0 && stats.local_bytes == 0);
    index_unlock(env->ix);
    give_back(env);
    CHILD_CHECK(index_checkpoint(env->ix, NULL, NULL, NULL) == 0);
    CHILD_CHECK(!index_failed(env->ix));
    CHILD_CHECK(env_close(env) == 0);
}

static void start_anew(struct env *env)
{
    DIR *d = opendir(env->path);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        struct env inside = *env;
        snprintf(inside.path, sizeof(inside.path), "%.100s/%.90s", env->path, e->d_name);
        env_remove(&inside);
    }
    if (d)
        closedir(d);
    shared->files = shared->deleted = 0;
}

int main(void)
{
    struct env env;
    if (!full_begin(&env))
        return check_done();
    for (kill_after = 3; kill_after < 3000 && !shared->whole; kill_after += kill_after / 2 + 1) {
        start_anew(&env);
        in_child(fill_and_delete, &env);
        in_child(die_in_steps, &env);
        in_child(as_it_was, &env);
    }
    CHECK(kill_after > 10 && shared->whole); /* there were steps */
    start_anew(&env);
    in_child(fill_with_names, &env);
    in_child(delete_all, &env);
    in_child(opens_full_and_goes_on, &env);
    shared->whole = false;
    for (kill_after = 1; kill_after < 20 && !shared->whole; kill_after++) {
        start_anew(&env);
        in_child(fill_with_pieces, &env);
        in_child(delete_pieces, &env);
        in_child(large_is_gone, &env);
    }
    CHECK(kill_after > 2 && shared->whole);
    return full_end(&env);
}
