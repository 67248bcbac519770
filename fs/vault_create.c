/* Making a vault. */
#include "crypto/err.h"
#include "crypto/file.h"
#include "crypto/kdf.h"
#include "crypto/log.h"
#include "fs/vault.h"
#include "fs/vault_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct creating {
    const struct vault_new *params;
    char *path; /* absolute */
    int fd, lock_fd;
    bool made; /* the directory itself */
};

/* ---- the directory ---- */

static int check_empty(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        int err = err_from_errno(errno);
        if (copy >= 0)
            close(copy);
        return err;
    }
    int err = ERR_OK;
    for (struct dirent *d; !err && (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            err = ERR_EXIST;
    closedir(dir);
    return err;
}

/* Makes the directory or finds it empty, and makes it ours: whoever makes the lock file makes the vault. */
static int claim_directory(struct creating *c)
{
    const char *path = c->params->path;
    if (mkdir(path, 0700) == 0)
        c->made = true;
    else if (errno != EEXIST)
        return err_from_errno(errno);
    int err = vault_dir_open(path, &c->fd);
    if (err)
        return err == ERR_NOTVAULT ? ERR_EXIST : err; /* a file */
    err = check_empty(c->fd);
    if (err)
        return err;
    c->lock_fd =
        openat(c->fd, VAULT_DIR_LOCK, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->lock_fd < 0)
        return err_from_errno(errno);
    if (flock(c->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? ERR_LOCKED : err_from_errno(errno);
    c->path = realpath(path, NULL);
    return c->path ? ERR_OK : err_from_errno(errno);
}

static void empty_directory(int fd, const char *name)
{
    int dirfd = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = dirfd < 0 ? NULL : fdopendir(dirfd);
    if (!dir) {
        if (dirfd >= 0)
            close(dirfd);
        return;
    }
    for (struct dirent *d; (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            (void)unlinkat(dirfd, d->d_name, 0);
    closedir(dir);
    (void)unlinkat(fd, name, AT_REMOVEDIR);
}

/* Only what we make, by name: it was empty when we came, but others may be quick. The lock file goes last, while we hold
 * it: until then nobody else begins here. */
static void remove_all(struct creating *c)
{
    static const char *const files[] = {"vault", "keyring", "index", "index-wal", "ballast"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        (void)unlinkat(c->fd, files[i], 0);
    empty_directory(c->fd, VAULT_DIR_SLOTS);
    empty_directory(c->fd, "seg");
    vault_dir_clean(c->fd, ".");
    (void)unlinkat(c->fd, VAULT_DIR_LOCK, 0);
}

/* ---- what goes into it ---- */

static int make_slot(struct creating *c)
{
    const struct vault_new *p = c->params;
    struct slot_cost cost;
    uint8_t slot[SLOT_LEN];
    if (p->cost)
        cost = *p->cost;
    else
        slot_calibrate(&cost);
    int err =
        slot_make(slot, 0, p->vault_id, &cost, p->secret, p->secret_len, p->keyring->device_key);
    if (!err && mkdirat(c->fd, VAULT_DIR_SLOTS, 0700) != 0)
        err = err_from_errno(errno);
    return err ? err : vault_dir_write_slot(c->fd, 0, slot);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A new vault tells its other devices of its root; a clone hears of it, and has one for them to change. */
static int make_root(struct index *ix, bool ours)
{
    int64_t now = now_ns();
    struct inode root = {.ino = INODE_ROOT,
                         .mode = S_IFDIR | 0755,
                         .nlink = 2,
                         .uid = getuid(),
                         .gid = getgid(),
                         .atime = now,
                         .mtime = now,
                         .ctime = now,
                         .btime = now,
                         .parent = INODE_ROOT,
                         .dirty = ours ? DIRTY_ATTR : 0};
    index_lock(ix);
    int err = index_begin(ix, ours ? INDEX_LOCAL : INDEX_REMOTE, 0);
    if (!err) {
        err = index_inode_put(ix, &root);
        index_end(ix);
    }
    index_unlock(ix);
    return err;
}

static int make_index(struct creating *c, struct segment_store *segments)
{
    const struct vault_new *p = c->params;
    struct index *ix;
    struct index_params params = {.vault_fd = c->fd,
                                  .vault_path = c->path,
                                  .device_key = p->keyring->device_key,
                                  .vault_id = p->vault_id,
                                  .device_tag = p->keyring->device_tag,
                                  .segments = segments,
                                  .create = true};
    int err = index_open(&ix, &params);
    if (err)
        return err;
    err = make_root(ix, p->with_root);
    int close_err = index_close(ix);
    return err ? err : close_err;
}

static int make_store(struct creating *c)
{
    const struct vault_new *p = c->params;
    struct segment_store *segments;
    uint8_t *key = secret_alloc(SECRET_KEY_LEN);
    if (!key)
        return ERR_NOMEM;
    kdf_derive(key, p->keyring->device_key, KDF_SEGMENT);
    int err = segment_store_open(&segments, c->fd, key, p->vault_id, p->keyring->device_tag, false);
    secret_free(key);
    if (err)
        return err;
    err = make_index(c, segments);
    segment_store_close(segments);
    return err;
}

/* The name of a directory that we made. */
static int sync_parent(const struct creating *c)
{
    char *copy = strdup(c->path);
    if (!copy)
        return ERR_NOMEM;
    int err = file_sync_dir(AT_FDCWD, dirname(copy));
    free(copy);
    return err == ERR_DENIED ? ERR_OK : err; /* a directory that we may write to but not read */
}

static int fill_directory(struct creating *c)
{
    const struct vault_new *p = c->params;
    int err = make_slot(c);
    if (!err)
        err = keyring_save(p->keyring, c->fd, p->vault_id);
    if (!err)
        err = make_store(c);
    /* The names of all that was made so far (of "index" in particular, which is not ours to sync): the header must not
     * be there without them. */
    if (!err)
        err = file_sync_dir(c->fd, ".");
    if (!err && c->made)
        err = sync_parent(c);
    /* Last, since it makes a vault of the directory: after a crash there is a whole one or none. */
    return err ? err : vault_dir_write_header(c->fd, p->vault_id, p->keyring->device_tag);
}

int vault_create(const struct vault_new *params)
{
    struct creating c = {.params = params, .fd = -1, .lock_fd = -1};
    int err = claim_directory(&c);
    if (!err)
        err = fill_directory(&c);
    if (err && c.lock_fd >= 0)
        remove_all(&c);
    if (err && c.made && rmdir(params->path) != 0)
        log_debug("vault: the directory that was begun is not empty: %s", strerror(errno));
    if (c.fd >= 0)
        close(c.fd);
    if (c.lock_fd >= 0)
        close(c.lock_fd);
    free(c.path);
    return err;
}
