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
    bool made;    /* the directory itself */
    bool claimed; /* we hold its lock, and nothing in it is anybody else's */
};

/* ---- the directory ---- */

/* All that a vault has, the header left out: with that it is one. */
static const char *const files[] = {"keyring", "index", "index-wal", "ballast"};
static const char *const dirs[] = {VAULT_DIR_SLOTS, "seg"};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool is_ours(const char *name)
{
    bool ours = strcmp(name, VAULT_DIR_LOCK) == 0 ||
                strncmp(name, FILE_TEMP_PREFIX, strlen(FILE_TEMP_PREFIX)) == 0;
    for (size_t i = 0; !ours && i < COUNT(files); i++)
        ours = strcmp(name, files[i]) == 0;
    for (size_t i = 0; !ours && i < COUNT(dirs); i++)
        ours = strcmp(name, dirs[i]) == 0;
    return ours;
}

static DIR *open_dir(int fd, const char *name)
{
    int dirfd = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = dirfd < 0 ? NULL : fdopendir(dirfd);
    if (!dir && dirfd >= 0)
        close(dirfd);
    return dir;
}

/* The next name but "." and ".."; NULL at the end. */
static const char *next_name(DIR *dir)
{
    struct dirent *d;
    do
        d = readdir(dir);
    while (d && (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0));
    return d ? d->d_name : NULL;
}

/* 0 for an empty directory, and for one where we were killed in the middle: the lock file and only names of ours, but no
 * header. Else ERR_EXIST. */
static int check_free(int fd)
{
    DIR *dir = open_dir(fd, ".");
    if (!dir)
        return err_from_errno(errno);
    bool foreign = false, any = false, lock = false;
    for (const char *name; (name = next_name(dir));) {
        any = true;
        lock = lock || strcmp(name, VAULT_DIR_LOCK) == 0;
        foreign = foreign || !is_ours(name);
    }
    closedir(dir);
    return foreign || (any && !lock) ? ERR_EXIST : ERR_OK;
}

static void remove_dir(int fd, const char *name)
{
    DIR *dir = open_dir(fd, name);
    if (!dir)
        return;
    for (const char *entry; (entry = next_name(dir));)
        (void)unlinkat(dirfd(dir), entry, 0);
    closedir(dir);
    (void)unlinkat(fd, name, AT_REMOVEDIR);
}

/* Only what we make, by name, and while we hold the lock. */
static void remove_content(int fd)
{
    for (size_t i = 0; i < COUNT(files); i++)
        (void)unlinkat(fd, files[i], 0);
    for (size_t i = 0; i < COUNT(dirs); i++)
        remove_dir(fd, dirs[i]);
    vault_dir_clean(fd, ".");
}

/* Takes the lock, and looks again: another may have made its vault, or given up, in between. */
static int lock_directory(struct creating *c)
{
    struct stat st;
    c->lock_fd = openat(c->fd, VAULT_DIR_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->lock_fd < 0)
        return err_from_errno(errno);
    if (flock(c->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? ERR_LOCKED : err_from_errno(errno);
    if (fstat(c->lock_fd, &st) != 0 || st.st_nlink == 0)
        return ERR_LOCKED;
    int err = check_free(c->fd);
    c->claimed = !err;
    /* By the lock the next call knows that what is there is ours: without this a power cut could leave other names and not
     * this one, and the directory would be refused. */
    return err ? err : file_sync_dir(c->fd, ".");
}

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
    err = check_free(c->fd);
    if (!err)
        err = lock_directory(c);
    if (err)
        return err;
    remove_content(c->fd);
    c->path = realpath(path, NULL);
    return c->path ? ERR_OK : err_from_errno(errno);
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

/* The name of the directory. */
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
    /* Also that of a directory that was there: a call that was killed may have made it. */
    if (!err)
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
    if (err && c.claimed) {
        (void)unlinkat(c.fd, "vault", 0); /* if syncing its name failed */
        remove_content(c.fd);
        (void)unlinkat(c.fd, VAULT_DIR_LOCK, 0); /* last: until then nobody else begins here */
    }
    if (err && c.made && rmdir(params->path) != 0)
        log_debug("vault: the directory that was begun is not empty: %s", strerror(errno));
    if (c.fd >= 0)
        close(c.fd);
    if (c.lock_fd >= 0)
        close(c.lock_fd);
    free(c.path);
    return err;
}
