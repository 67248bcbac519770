/* A directory as a store: perhaps one that another program copies elsewhere, perhaps on a drive
 * that comes and goes. It is opened anew for each call, so that a drive can be unmounted between
 * two of them. */
#include "sync/store_impl.h"

#include "crypto/err.h"
#include "sync/store_clutter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEMP_PREFIX ".tmp-"
#define TEMP_LEN    (sizeof(TEMP_PREFIX) - 1 + 32) /* with 32 hexadecimal digits */
#define TEMP_AGE_S  (7 * 24 * 3600)
#define CHUNK       (1u << 20) /* between two looks at ${cancelled} */
#define LIST_DEPTH  4

static int fail_errno(struct store *store, int e, const char *what)
{
    int err;
    switch (e) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        err = ERR_STOREFULL;
        break;
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
        err = ERR_NETPERM;
        break;
    case ENOMEM:
        err = ERR_NOMEM;
        break;
    default: /* EIO, ESTALE, a drive that was pulled out: may come back */
        err = ERR_NET;
    }
    return store_fail(store, err, "the store's folder: %s failed: %s", what, strerror(e));
}

static int fail_cancelled(struct store *store)
{
    return store_fail(store, ERR_INTR, "the transfer was cancelled");
}

/* Opens the root; *fd is the caller's. */
static int open_root(struct store *store, int *fd)
{
    if (atomic_load(&store->cancelled))
        return fail_cancelled(store);
    *fd = open(store->place.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd >= 0)
        return 0;
    if (errno == ENOENT)
        return store_fail(store, ERR_NET,
                          "the store's folder is not there (a drive that is not connected?)");
    return fail_errno(store, errno, "opening it");
}

/* A directory entry is durable only once its directory is. Some file systems cannot sync one:
 * nothing is gained by refusing them. */
static int sync_dir(int fd)
{
    return fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS ? -1 : 0;
}

/* What is done on the way to an object besides opening directories. */
enum way {
    WAY_LOOK,
    WAY_SETTLE, /* makes their names durable */
    WAY_MAKE    /* that, and makes those that are missing */
};

/* Goes from *fd (closed) down to its child ${part}. Links are not followed: whoever else writes to
 * the folder could lead us out of it. errno on failure, with *fd closed. */
static int step_down(int *fd, const char *part, enum way way)
{
    int parent = *fd, e = 0;
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    *fd = openat(parent, part, flags);
    if (*fd < 0 && errno == ENOENT && way == WAY_MAKE) {
        if (mkdirat(parent, part, 0777) < 0 && errno != EEXIST)
            e = errno;
        else
            *fd = openat(parent, part, flags);
    }
    if (!e && *fd < 0)
        e = errno;
    /* without the sync of the parent, a crash could take the directory away with all that was
     * synced inside it; also one that was there: who made it may have been killed before its sync */
    if (!e && way != WAY_LOOK && sync_dir(parent) < 0) {
        e = errno;
        close(*fd);
    }
    close(parent);
    return e;
}

/* Opens the directory that holds ${name}; *leaf points at the last part in ${name}. ERR_NOENT when
 * it is missing and not to be made. */
static int open_parent(struct store *store, const char *name, enum way way, int *fd,
                       const char **leaf)
{
    char part[STORE_NAME_MAX + 1];
    const char *slash;
    int err = open_root(store, fd);
    *leaf = name;
    while (!err && (slash = strchr(*leaf, '/'))) {
        size_t len = (size_t)(slash - *leaf);
        memcpy(part, *leaf, len);
        part[len] = '\0';
        *leaf = slash + 1;
        int e = step_down(fd, part, way);
        if (e == ENOENT && way != WAY_MAKE)
            err = ERR_NOENT;
        else if (e)
            err = fail_errno(store, e, "opening a directory in it");
    }
    return err;
}

static int write_all(struct store *store, int fd, const uint8_t *p, size_t len)
{
    while (len) {
        if (atomic_load(&store->cancelled))
            return fail_cancelled(store);
        ssize_t n = write(fd, p, len < CHUNK ? len : CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(store, errno, "writing");
        p += n;
        len -= (size_t)n;
        atomic_fetch_add(&store->sent, (uint64_t)n);
    }
    return 0;
}

static void temp_name(char name[TEMP_LEN + 1])
{
    uint8_t random[16];
    randombytes_buf(random, sizeof(random));
    memcpy(name, TEMP_PREFIX, sizeof(TEMP_PREFIX) - 1);
    sodium_bin2hex(name + sizeof(TEMP_PREFIX) - 1, 33, random, sizeof(random));
}

static int put_one(struct store *store, const char *name, const void *p, size_t len)
{
    char temp[TEMP_LEN + 1];
    const char *leaf;
    int dir, err = open_parent(store, name, WAY_MAKE, &dir, &leaf);
    if (err)
        return err;
    temp_name(temp);
    int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        err = fail_errno(store, errno, "making a file");
    else {
        err = write_all(store, fd, p, len);
        /* before the rename: else a crash could leave the final name with fewer or other bytes,
         * which readers would take for a damaged object */
        if (!err && fsync(fd) < 0)
            err = fail_errno(store, errno, "syncing a file");
        if (close(fd) < 0 && !err)
            err = fail_errno(store, errno, "closing a file");
        if (!err && renameat(dir, temp, dir, leaf) < 0)
            err = fail_errno(store, errno, "renaming a file");
        if (err)
            unlinkat(dir, temp, 0);
        /* after the rename: else a crash could take back the name of an object that the caller
         * counts as stored */
        else if (sync_dir(dir) < 0)
            err = fail_errno(store, errno, "syncing a directory");
    }
    close(dir);
    return err;
}

static int folder_put_many(struct store *store, struct store_put_item *items, size_t n)
{
    int first = 0;
    for (size_t i = 0; i < n; i++) {
        /* folders are made on the way, at no cost */
        items[i].err = items[i].place ? 0 : put_one(store, items[i].name, items[i].p, items[i].len);
        first = first ? first : items[i].err;
    }
    return first;
}

/* Opens ${name} for reading; only a regular file is an object. */
static int open_object(struct store *store, const char *name, int *fd, uint64_t *size)
{
    const char *leaf;
    struct stat st;
    int dir, err = open_parent(store, name, WAY_LOOK, &dir, &leaf);
    if (err)
        return err;
    /* O_NONBLOCK: a FIFO of that name must not make us wait */
    *fd = openat(dir, leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int e = *fd < 0 ? errno : 0;
    close(dir);
    if (e)
        return e == ENOENT ? ERR_NOENT : fail_errno(store, e, "opening a file");
    if (fstat(*fd, &st) < 0)
        err = fail_errno(store, errno, "looking at a file");
    else if (!S_ISREG(st.st_mode))
        err = store_fail(store, ERR_NETPERM,
                         "the store's folder has something else in place of an object");
    else
        *size = (uint64_t)st.st_size;
    if (err)
        close(*fd);
    return err;
}

static int read_part(struct store *store, int fd, uint64_t off, size_t len, struct bytes_out *out)
{
    size_t start = out->len;
    uint8_t *p = bytes_put_space(out, len);
    if (!p)
        return ERR_NOMEM;
    size_t done = 0;
    int err = 0;
    while (done < len && !err) {
        size_t want = len - done < CHUNK ? len - done : CHUNK;
        ssize_t n = pread(fd, p + done, want, (off_t)(off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err = fail_errno(store, errno, "reading");
        else if (n == 0)
            break;
        else if (atomic_load(&store->cancelled))
            err = fail_cancelled(store);
        else
            done += (size_t)n;
    }
    out->len = start + (err ? 0 : done);
    atomic_fetch_add(&store->received, done);
    return err;
}

static int folder_get(struct store *store, const char *name, uint64_t off, size_t len, size_t max,
                      struct bytes_out *out)
{
    int fd;
    uint64_t size;
    int err = open_object(store, name, &fd, &size);
    if (err)
        return err;
    uint64_t left = off < size ? size - off : 0;
    if (!len && left > max)
        err = store_fail(store, ERR_FORMAT,
                         "an object in the store's folder is larger than it can be");
    else
        err = read_part(store, fd, off, len && len < left ? len : (size_t)left, out);
    close(fd);
    return err;
}

static int folder_get_many(struct store *store, struct store_get_item *items, size_t n)
{
    int first = 0;
    for (size_t i = 0; i < n; i++) {
        struct store_get_item *item = &items[i];
        item->err = folder_get(store, item->name, item->off, item->len, item->len, item->out);
        first = first ? first : item->err;
    }
    return first;
}

/* Who sees an object takes it for stored, and notes so. One that a killed process has put has its bytes, but its name may
 * not be durable yet. */
static int settle(struct store *store, const char *name)
{
    const char *leaf;
    int dir, err = open_parent(store, name, WAY_SETTLE, &dir, &leaf);
    if (err)
        return err;
    if (sync_dir(dir) < 0)
        err = fail_errno(store, errno, "syncing a directory");
    close(dir);
    return err;
}

static int folder_head(struct store *store, const char *name, uint64_t *size)
{
    int fd, err = open_object(store, name, &fd, size);
    if (err)
        return err;
    close(fd);
    return settle(store, name);
}

static int folder_delete(struct store *store, const char *name)
{
    const char *leaf;
    int dir, err = open_parent(store, name, WAY_LOOK, &dir, &leaf);
    if (err)
        return err == ERR_NOENT ? 0 : err;
    if (unlinkat(dir, leaf, 0) < 0 && errno != ENOENT)
        err = fail_errno(store, errno, "deleting a file");
    close(dir);
    return err;
}

struct listing {
    struct store *store;
    bool all;
    int (*each)(void *ctx, const char *name, uint64_t size);
    void *ctx;
};

/* A temporary file of ours: being written, or left behind by a crash. */
static bool is_temp(const char *name, const struct stat *st)
{
    size_t p = sizeof(TEMP_PREFIX) - 1;
    return S_ISREG(st->st_mode) && strlen(name) == TEMP_LEN && memcmp(name, TEMP_PREFIX, p) == 0 &&
           strspn(name + p, "0123456789abcdef") == 32;
}

static int list_foreign(struct listing *l, const char *name, const char *leaf,
                        const struct stat *st)
{
    char folder[STORE_NAME_MAX + NAME_MAX + 3];
    if (!l->all || store_clutter(leaf))
        return 0;
    snprintf(folder, sizeof(folder), "%s%s", name, S_ISDIR(st->st_mode) ? "/" : "");
    return l->each(l->ctx, folder, 0);
}

static int list_dir(struct listing *l, int fd, const char *prefix, int depth);

static int list_entry(struct listing *l, int fd, const char *prefix, const char *leaf, int depth)
{
    char name[STORE_NAME_MAX + NAME_MAX + 2];
    struct stat st;
    if (strcmp(leaf, ".") == 0 || strcmp(leaf, "..") == 0)
        return 0;
    if (fstatat(fd, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : fail_errno(l->store, errno, "looking at a file");
    if (is_temp(leaf, &st)) {
        if (st.st_mtime < time(NULL) - TEMP_AGE_S)
            unlinkat(fd, leaf, 0);
        return 0;
    }
    int n = snprintf(name, sizeof(name), "%s%s", prefix, leaf);
    bool ours = n >= 0 && (size_t)n <= STORE_NAME_MAX && store_name_valid(name) &&
                (S_ISREG(st.st_mode) || (S_ISDIR(st.st_mode) && depth + 1 < LIST_DEPTH));
    if (!ours || (l->all && store_clutter(leaf)))
        return list_foreign(l, name, leaf, &st);
    if (S_ISREG(st.st_mode))
        return l->each(l->ctx, name, (uint64_t)st.st_size);
    int child = openat(fd, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child < 0)
        return errno == ENOENT ? 0 : fail_errno(l->store, errno, "opening a directory in it");
    name[n] = '/';
    name[n + 1] = '\0';
    return list_dir(l, child, name, depth + 1);
}

/* Takes over ${fd}. */
static int list_dir(struct listing *l, int fd, const char *prefix, int depth)
{
    DIR *dir = fdopendir(fd);
    struct dirent *d;
    int err = 0;
    if (!dir) {
        close(fd);
        return ERR_NOMEM;
    }
    while (!err && (errno = 0, d = readdir(dir)))
        err = atomic_load(&l->store->cancelled) ? fail_cancelled(l->store)
                                                : list_entry(l, fd, prefix, d->d_name, depth);
    if (!err && errno)
        err = fail_errno(l->store, errno, "listing a directory");
    closedir(dir);
    return err;
}

static int folder_list(struct store *store, const char *prefix, bool all,
                       int (*each)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    struct listing l = {.store = store, .all = all, .each = each, .ctx = ctx};
    const char *leaf;
    int fd, err = open_parent(store, prefix, WAY_LOOK, &fd, &leaf);
    if (err)
        return err == ERR_NOENT ? 0 : err;
    int depth = 0;
    for (const char *p = prefix; *p; p++)
        depth += *p == '/';
    return list_dir(&l, fd, prefix, depth);
}

static void folder_prune(struct store *store, const char *name)
{
    const char *leaf;
    int dir;
    if (open_parent(store, name, WAY_LOOK, &dir, &leaf))
        return;
    unlinkat(dir, leaf, AT_REMOVEDIR); /* of an empty one only */
    close(dir);
}

static void folder_close(struct store *store)
{
    store_url_clear(&store->place);
    free(store);
}

int store_folder_open(struct store **store, struct store_place *place)
{
    static const struct store_ops ops = {
        .close = folder_close,
        .put_many = folder_put_many,
        .get = folder_get,
        .get_many = folder_get_many,
        .head = folder_head,
        .delete = folder_delete,
        .list = folder_list,
        .prune = folder_prune,
    };
    struct stat st;
    if (stat(place->dir, &st) < 0 || !S_ISDIR(st.st_mode))
        return ERR_NOENT;
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->ops = &ops;
    s->place = *place;
    *place = (struct store_place){0};
    *store = s;
    return 0;
}
