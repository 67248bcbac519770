/*
 * full_fixture.h - what the tests of the index on a full disk share: a small tmpfs of their own, somebody else who fills it,
 * files that are made and deleted, and what must hold for those that were answered. Steps run in children, which may die.
 */
#ifndef TESTS_UNIT_FULL_FIXTURE_H
#define TESTS_UNIT_FULL_FIXTURE_H

#include "check.h"
#include "index_env.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#define DISK   "size=24m"
#define EXTENT (48u << 10)

static struct {
    unsigned failed;
    unsigned files;   /* 1 to files were made; */
    unsigned deleted; /* of which the first so many are gone */
    bool whole;       /* a child that may be killed came to its end */
} * shared;

#define CHILD_CHECK(x)                                                                             \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x);                        \
            shared->failed++;                                                                      \
        }                                                                                          \
    } while (0)

static inline void in_child(void (*body)(struct env *env), struct env *env)
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

/* ---- the disk ---- */

static inline bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return good;
}

/* A mount namespace in which ${path} is a small disk. Also works for an ordinary user where the kernel lets him. */
static inline bool own_disk(const char *path)
{
    char uids[64], gids[64];
    bool root = geteuid() == 0;
    snprintf(uids, sizeof(uids), "0 %u 1", (unsigned)geteuid());
    snprintf(gids, sizeof(gids), "0 %u 1", (unsigned)getegid());
    if (unshare(root ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0)
        return false;
    if (!root &&
        (!write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", uids) ||
         !write_text("/proc/self/gid_map", gids)))
        return false;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", path, "tmpfs", MS_NOSUID | MS_NODEV, DISK) == 0;
}

static inline void junk_path(const struct env *env, char path[300])
{
    snprintf(path, 300, "%s/junk", env->path);
}

/* Somebody else takes all that is free but ${left} bytes. */
static inline void take_all(const struct env *env, uint64_t left)
{
    char path[300];
    struct statvfs st;
    static const uint8_t page[4096];
    junk_path(env, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    CHILD_CHECK(fd >= 0);
    while (fstatvfs(fd, &st) == 0 && st.f_bavail * st.f_frsize > left &&
           write(fd, page, sizeof(page)) > 0)
        continue;
    close(fd);
}

static inline void give_back(const struct env *env)
{
    char path[300];
    junk_path(env, path);
    CHILD_CHECK(unlink(path) == 0 || errno == ENOENT);
}

/* ---- files ---- */

static inline uint64_t number(unsigned n)
{
    return (uint64_t)ENV_TAG << INODE_TAG_SHIFT | n;
}

static inline void start(struct env *env, bool create)
{
    int err = env_open(env, create, false);
    if (err) {
        fprintf(stderr, "opening gives %s\n", err_text(err));
        shared->failed++;
        _exit(0);
    }
}

/* The next file, with an extent if ${len}; all of it or nothing. */
static inline int make_file(struct env *env, uint32_t len)
{
    static uint8_t sealed[EXTENT + 64];
    unsigned n = shared->files + 1;
    const struct inode in = {.ino = number(n), .mode = S_IFREG | 0644, .nlink = 1, .size = len};
    struct entry entry = {.parent = 1, .ino = number(n), .type = S_IFREG};
    struct extent e = {.len = len, .epoch = 1};
    entry.name_len =
        (uint8_t)snprintf(entry.name, sizeof(entry.name), "a name of some length for file %u", n);
    memcpy(e.id, &n, sizeof(n));
    int err =
        len ? segment_append(env->segments, SEGMENT_EXTENT, sealed, seal_size(len), &e.at) : 0;
    if (err)
        return err;
    index_lock(env->ix);
    err = index_begin(env->ix, INDEX_LOCAL, 0);
    if (!err) {
        CHILD_CHECK(index_inode_put(env->ix, &in) == 0);
        CHILD_CHECK(index_entry_put(env->ix, &entry) == 0);
        if (len) {
            CHILD_CHECK(index_extent_put(env->ix, &e) == 0);
            CHILD_CHECK(index_map_set(env->ix, in.ino, 0, len, e.eid, 0) == 0);
        }
        index_end(env->ix);
        shared->files = n;
    }
    index_unlock(env->ix);
    return err;
}

static inline int delete_file(struct env *env)
{
    char name[64];
    unsigned n = shared->deleted + 1;
    int len = snprintf(name, sizeof(name), "a name of some length for file %u", n);
    index_lock(env->ix);
    int err = index_begin(env->ix, INDEX_LOCAL | INDEX_FREES, 0);
    if (!err) {
        CHILD_CHECK(index_entry_del(env->ix, 1, name, (size_t)len) == 0);
        CHILD_CHECK(index_inode_del(env->ix, number(n)) == 0);
        index_end(env->ix);
        shared->deleted = n;
    }
    index_unlock(env->ix);
    return err;
}

static inline int count_one(void *ctx, const struct entry *entry, const struct inode *inode)
{
    (void)entry;
    CHILD_CHECK(inode->ino == entry->ino && inode->stored == inode->size);
    ++*(unsigned *)ctx;
    return 0;
}

static inline void check_files(struct env *env)
{
    unsigned n = 0;
    struct inode in;
    sqlite3_stmt *stmt;
    index_lock(env->ix);
    CHILD_CHECK(index_entry_scan(env->ix, 1, 0, true, count_one, &n) == 0);
    if (n != shared->files - shared->deleted)
        fprintf(stderr, "%u files, should be %u - %u\n", n, shared->files, shared->deleted);
    CHILD_CHECK(n == shared->files - shared->deleted);
    if (shared->deleted)
        CHILD_CHECK(index_inode_get(env->ix, number(shared->deleted), &in) == ERR_NOENT);
    CHILD_CHECK(index_inode_get(env->ix, number(shared->files), &in) == 0);
    CHILD_CHECK(
        index_prepare(env->ix,
                      "SELECT eid FROM extent e WHERE refs <> (SELECT count(*) FROM map m WHERE"
                      " m.eid = e.eid) UNION ALL SELECT eid FROM map WHERE eid NOT IN"
                      " (SELECT eid FROM extent)",
                      &stmt) == 0);
    CHILD_CHECK(sqlite3_step(stmt) == SQLITE_DONE);
    sqlite3_finalize(stmt);
    index_unlock(env->ix);
}

/* A small disk and a vault's directory on it. False (told): none can be had here. */
static inline bool full_begin(struct env *env)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        abort();
    env_dir(env);
    if (own_disk(env->path))
        return true;
    rmdir(env->path);
    printf("no small disk can be mounted here: left out\n");
    return false;
}

static inline int full_end(struct env *env)
{
    umount2(env->path, MNT_DETACH);
    rmdir(env->path);
    return check_done();
}

#endif
