/*
 * Preloaded into a program (LD_PRELOAD), records all that it changes and syncs below one directory. power_log.h has the format.
 *
 * Calls are made with the lock held, so that the log has them in the order in which they happened. Syncs are not made at all: what is
 * recorded need not last, and the model of the disk knows what each of them promised. Calls that would change something unseen (a shared
 * writable mapping, O_TMPFILE) end the program; that nothing else was missed is shown by comparing the directory with the log
 * (power_disk_compare).
 *
 * A kill could come between a call and its record. Whoever wants a recorded program to die makes a file with the name of the log and ".die"
 * behind it: then it ends at its next sync.
 */
/* So that both names of a call that has a variant for large files can be defined. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE

#include "tests/fault/power_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static char root[PATH_MAX], die_path[PATH_MAX];
static size_t root_len;
static uint64_t syncs;
static unsigned dies; /* at so many syncs from now; 0: never */

static void die(const char *what)
{
    dprintf(2, "power_record: %s\n", what);
    abort();
}

__attribute__((constructor)) static void start(void)
{
    const char *log = getenv(POWER_LOG_ENV), *dir = getenv(POWER_ROOT_ENV);
    if (!log || !dir || !realpath(dir, root))
        return;
    root_len = strlen(root);
    snprintf(die_path, sizeof(die_path), "%s.die", log);
    long fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    log_fd = fd < 0 ? -1 : fcntl((int)fd, F_DUPFD_CLOEXEC, 700); /* where nobody closes it */
    if (log_fd < 0)
        die("cannot open the log");
    syscall(SYS_close, fd);
}

/* One call, so that several processes can append. */
static void append(struct power_head *h, const char *name, const char *name2,
                   const struct iovec *data, int n)
{
    struct iovec v[3 + 8];
    h->magic = POWER_LOG_MAGIC;
    h->name_len = name ? (uint32_t)strlen(name) : 0;
    h->name2_len = name2 ? (uint32_t)strlen(name2) : 0;
    h->data_len = 0;
    v[0] = (struct iovec){h, sizeof(*h)};
    v[1] = (struct iovec){(void *)(uintptr_t)name, h->name_len};
    v[2] = (struct iovec){(void *)(uintptr_t)name2, h->name2_len};
    if (n > 8)
        die("a write of more parts than expected");
    for (int i = 0; i < n; i++) {
        v[3 + i] = data[i];
        h->data_len += data[i].iov_len;
    }
    size_t all = sizeof(*h) + h->name_len + h->name2_len + h->data_len;
    if (syscall(SYS_writev, log_fd, v, 3 + n) != (long)all)
        die("cannot write to the log");
}

static bool inside(const char *path)
{
    return strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == '\0');
}

/* Is the file or directory of the descriptor one that counts? Its path and inode number. */
static bool look(int fd, char path[PATH_MAX], uint64_t *ino)
{
    char link[64];
    struct stat st;
    if (log_fd < 0)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0 || path[0] != '/')
        return false;
    path[n] = '\0';
    if (!inside(path) || fstat(fd, &st) != 0)
        return false;
    *ino = st.st_ino;
    return true;
}

/* The directory that has ${path}, if it counts, and the last part of the path. */
static bool locate(int dirfd, const char *path, uint64_t *dir, const char **leaf)
{
    char parent[PATH_MAX], where[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (log_fd < 0)
        return false;
    *leaf = slash ? slash + 1 : path;
    int len = slash ? (int)(slash - path) : 0;
    snprintf(parent, sizeof(parent), "%.*s", slash ? (len ? len : 1) : 1, slash ? path : ".");
    long fd = syscall(SYS_openat, dirfd, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool counts = look((int)fd, where, dir);
    syscall(SYS_close, fd);
    return counts;
}

/* ---- opening ---- */

static int open_recorded(int dirfd, const char *path, int flags, mode_t mode)
{
    struct stat st;
    char at[PATH_MAX];
    const char *leaf;
    struct power_head h = {.kind = POWER_CREATE};
    if ((flags & O_TMPFILE) == O_TMPFILE && locate(dirfd, path, &h.dir, &leaf))
        die("O_TMPFILE is not covered");
    if (!(flags & (O_CREAT | O_TRUNC)) || !locate(dirfd, path, &h.dir, &leaf))
        return (int)syscall(SYS_openat, dirfd, path, flags, mode);
    pthread_mutex_lock(&lock);
    bool there = fstatat(dirfd, path, &st, 0) == 0;
    int fd = (int)syscall(SYS_openat, dirfd, path, flags, mode), e = errno;
    if (fd >= 0 && look(fd, at, &h.ino)) {
        if (!there)
            append(&h, leaf, NULL, NULL, 0);
        else if (flags & O_TRUNC)
            append(&(struct power_head){.kind = POWER_TRUNCATE, .ino = h.ino}, NULL, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = e;
    return fd;
}

#define OPEN_MODE(last)                                                                            \
    mode_t mode = 0;                                                                               \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                           \
        va_list args;                                                                              \
        va_start(args, last);                                                                      \
        mode = va_arg(args, mode_t);                                                               \
        va_end(args);                                                                              \
    }

/* The headers take the second name of each pair where large offsets are asked for; both are the same on 64-bit machines. */
EXPORT int open(const char *path, int flags, ...)
{
    OPEN_MODE(flags)
    return open_recorded(AT_FDCWD, path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...)
{
    OPEN_MODE(flags)
    return open_recorded(AT_FDCWD, path, flags, mode);
}

EXPORT int openat(int dirfd, const char *path, int flags, ...)
{
    OPEN_MODE(flags)
    return open_recorded(dirfd, path, flags, mode);
}

EXPORT int openat64(int dirfd, const char *path, int flags, ...)
{
    OPEN_MODE(flags)
    return open_recorded(dirfd, path, flags, mode);
}

/* ---- content ---- */

/* Makes the call with the lock held; records as much as was written. ${off} < 0: where the descriptor stands. */
static ssize_t write_recorded(int fd, const struct iovec *v, int n, off_t off)
{
    char path[PATH_MAX];
    struct power_head h = {.kind = POWER_WRITE};
    if (!look(fd, path, &h.ino))
        return off < 0 ? syscall(SYS_writev, fd, v, n) : syscall(SYS_pwritev, fd, v, n, off, 0);
    pthread_mutex_lock(&lock);
    const bool at_end = fcntl(fd, F_GETFL) & O_APPEND;
    h.off = (uint64_t)(at_end ? lseek(fd, 0, SEEK_END) : off < 0 ? lseek(fd, 0, SEEK_CUR) : off);
    ssize_t done = off < 0 ? syscall(SYS_writev, fd, v, n) : syscall(SYS_pwritev, fd, v, n, off, 0);
    int e = errno;
    if (done > 0) {
        struct iovec part[8];
        size_t left = (size_t)done;
        int parts = 0;
        for (int i = 0; i < n && left && parts < 8; i++) {
            size_t len = v[i].iov_len < left ? v[i].iov_len : left;
            part[parts++] = (struct iovec){v[i].iov_base, len};
            left -= len;
        }
        if (left)
            die("a write of more parts than expected");
        append(&h, NULL, NULL, part, parts);
    }
    pthread_mutex_unlock(&lock);
    errno = e;
    return done;
}

EXPORT ssize_t write(int fd, const void *p, size_t len)
{
    return write_recorded(fd, &(struct iovec){(void *)(uintptr_t)p, len}, 1, -1);
}

EXPORT ssize_t writev(int fd, const struct iovec *v, int n)
{
    return write_recorded(fd, v, n, -1);
}

EXPORT ssize_t pwrite(int fd, const void *p, size_t len, off_t off)
{
    return write_recorded(fd, &(struct iovec){(void *)(uintptr_t)p, len}, 1, off);
}

EXPORT ssize_t pwrite64(int fd, const void *p, size_t len, off64_t off)
{
    return write_recorded(fd, &(struct iovec){(void *)(uintptr_t)p, len}, 1, off);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *v, int n, off_t off)
{
    return write_recorded(fd, v, n, off);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t off)
{
    return write_recorded(fd, v, n, off);
}

/* A call on one file that has no content: ${result} is 0 when it worked. */
#define ON_FILE(fd, head, call)                                                                    \
    do {                                                                                           \
        char path_[PATH_MAX];                                                                      \
        struct power_head h_ = head;                                                               \
        bool counts_ = look(fd, path_, &h_.ino);                                                   \
        if (counts_)                                                                               \
            pthread_mutex_lock(&lock);                                                             \
        int result_ = (int)(call), e_ = errno;                                                     \
        if (counts_ && result_ == 0)                                                               \
            append(&h_, NULL, NULL, NULL, 0);                                                      \
        if (counts_)                                                                               \
            pthread_mutex_unlock(&lock);                                                           \
        errno = e_;                                                                                \
        return result_;                                                                            \
    } while (0)

static int truncate_recorded(int fd, off_t size)
{
    ON_FILE(fd, ((struct power_head){.kind = POWER_TRUNCATE, .off = (uint64_t)size}),
            syscall(SYS_ftruncate, fd, size));
}

static int fallocate_recorded(int fd, int mode, off_t off, off_t len)
{
    if (mode == FALLOC_FL_KEEP_SIZE) /* room only: nothing that can be read changes */
        return (int)syscall(SYS_fallocate, fd, mode, off, len);
    if (mode != 0 && mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
        die("this mode of fallocate is not covered");
    ON_FILE(fd,
            ((struct power_head){.kind = mode ? POWER_PUNCH : POWER_ALLOCATE,
                                 .off = (uint64_t)off,
                                 .len = (uint64_t)len}),
            syscall(SYS_fallocate, fd, mode, off, len));
}

EXPORT int ftruncate(int fd, off_t size)
{
    return truncate_recorded(fd, size);
}

EXPORT int ftruncate64(int fd, off64_t size)
{
    return truncate_recorded(fd, size);
}

EXPORT int fallocate(int fd, int mode, off_t off, off_t len)
{
    return fallocate_recorded(fd, mode, off, len);
}

EXPORT int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
    return fallocate_recorded(fd, mode, off, len);
}

EXPORT int posix_fallocate(int fd, off_t off, off_t len)
{
    return fallocate_recorded(fd, 0, off, len) == 0 ? 0 : errno;
}

EXPORT int posix_fallocate64(int fd, off64_t off, off64_t len)
{
    return fallocate_recorded(fd, 0, off, len) == 0 ? 0 : errno;
}

/* A page that is written through a mapping is seen by nobody. */
static void *map_recorded(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    char path[PATH_MAX];
    uint64_t ino;
    if (fd >= 0 && (prot & PROT_WRITE) && (flags & MAP_SHARED) && look(fd, path, &ino))
        die("a shared writable mapping is not covered");
    return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, off); // NOLINT
}

EXPORT void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    return map_recorded(at, len, prot, flags, fd, off);
}

EXPORT void *mmap64(void *at, size_t len, int prot, int flags, int fd, off64_t off)
{
    return map_recorded(at, len, prot, flags, fd, off);
}

/* ---- names ---- */

EXPORT int mkdirat(int dirfd, const char *path, mode_t mode)
{
    struct power_head h = {.kind = POWER_MKDIR};
    const char *leaf;
    struct stat st;
    if (!locate(dirfd, path, &h.dir, &leaf))
        return (int)syscall(SYS_mkdirat, dirfd, path, mode);
    pthread_mutex_lock(&lock);
    int r = (int)syscall(SYS_mkdirat, dirfd, path, mode), e = errno;
    if (r == 0 && fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        h.ino = st.st_ino;
        append(&h, leaf, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}

EXPORT int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

EXPORT int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    struct power_head h = {.kind = POWER_LINK};
    const char *leaf;
    struct stat st;
    if (!locate(to_dir, to, &h.dir, &leaf))
        return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    pthread_mutex_lock(&lock);
    int r = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags), e = errno;
    if (r == 0 && fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        h.ino = st.st_ino;
        append(&h, leaf, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}

EXPORT int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int symlinkat(const char *target, int dirfd, const char *path)
{
    struct power_head h;
    const char *leaf;
    if (locate(dirfd, path, &h.dir, &leaf))
        die("symbolic links are not covered");
    return (int)syscall(SYS_symlinkat, target, dirfd, path);
}

EXPORT int symlink(const char *target, const char *path)
{
    return symlinkat(target, AT_FDCWD, path);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
    struct power_head h = {.kind = POWER_UNLINK};
    const char *leaf;
    if (!locate(dirfd, path, &h.dir, &leaf))
        return (int)syscall(SYS_unlinkat, dirfd, path, flags);
    pthread_mutex_lock(&lock);
    int r = (int)syscall(SYS_unlinkat, dirfd, path, flags), e = errno;
    if (r == 0)
        append(&h, leaf, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}

EXPORT int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

EXPORT int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

EXPORT int remove(const char *path)
{
    int r = unlinkat(AT_FDCWD, path, 0);
    return r != 0 && errno == EISDIR ? unlinkat(AT_FDCWD, path, AT_REMOVEDIR) : r;
}

EXPORT int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    struct power_head h = {.kind = flags & RENAME_EXCHANGE ? POWER_EXCHANGE : POWER_RENAME};
    const char *leaf, *leaf2;
    bool a = locate(from_dir, from, &h.dir, &leaf), b = locate(to_dir, to, &h.dir2, &leaf2);
    if (a != b)
        die("a rename out of the recorded directory or into it");
    if (!a)
        return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    pthread_mutex_lock(&lock);
    int r = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags), e = errno;
    if (r == 0)
        append(&h, leaf, leaf2, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}

EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return renameat2(from_dir, from, to_dir, to, 0);
}

EXPORT int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- syncs ---- */

/* Not under one lock: what other threads do meanwhile comes between the two records and is not promised. */
static int sync_recorded(uint64_t ino)
{
    struct power_head h = {.kind = POWER_SYNC_BEGIN, .ino = ino};
    pthread_mutex_lock(&lock);
    if ((dies && --dies == 0) || syscall(SYS_access, die_path, F_OK) == 0)
        _exit(0);
    h.off = (uint64_t)getpid() << 32 | ++syncs;
    append(&h, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    sched_yield();
    pthread_mutex_lock(&lock);
    h.kind = POWER_SYNC_END;
    append(&h, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return 0;
}

EXPORT int fsync(int fd)
{
    char path[PATH_MAX];
    uint64_t ino;
    return look(fd, path, &ino) ? sync_recorded(ino) : (int)syscall(SYS_fsync, fd);
}

EXPORT int fdatasync(int fd)
{
    char path[PATH_MAX];
    uint64_t ino;
    return look(fd, path, &ino) ? sync_recorded(ino) : (int)syscall(SYS_fdatasync, fd);
}

EXPORT int syncfs(int fd)
{
    char path[PATH_MAX];
    uint64_t ino;
    return look(fd, path, &ino) ? sync_recorded(0) : (int)syscall(SYS_syncfs, fd);
}

/* It promises nothing: not the metadata, and not the disk's own cache. */
EXPORT int sync_file_range(int fd, off64_t off, off64_t len, unsigned flags)
{
    return (int)syscall(SYS_sync_file_range, fd, off, len, flags);
}

/* ---- the workload's own lines ---- */

/* As if the process was killed when it asks for the so many-th sync from now, which is not made. */
EXPORT void power_die(unsigned count);
EXPORT void power_die(unsigned count)
{
    dies = count;
}

EXPORT void power_mark(const char *text);
EXPORT void power_mark(const char *text)
{
    if (log_fd < 0)
        return;
    struct iovec v = {(void *)(uintptr_t)text, strlen(text)};
    pthread_mutex_lock(&lock);
    append(&(struct power_head){.kind = POWER_MARK}, NULL, NULL, &v, 1);
    pthread_mutex_unlock(&lock);
}
