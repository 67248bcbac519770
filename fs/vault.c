#include "fs/vault.h"

#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/log.h"
#include "fs/vault_dir.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RENEW        "make this device new with: obscurafs clone URL NEWDIR"
#define FAILURE_SIZE 256u

struct vault {
    /* set by vault_open, then constant */
    char *path; /* absolute: a daemon changes its directory */
    int fd, lock_fd;
    uint8_t id[SEAL_VAULT_ID];
    bool read_only;
    struct keyring *keyring;
    struct seal_key *keys[KEYRING_EPOCHS_MAX]; /* as in the keyring: ascending */
    struct segment_store *segments;
    struct index *index;

    pthread_mutex_t lock;       /* guards the two below and what they are set from */
    char failure[FAILURE_SIZE]; /* written once, before the flag */
    struct vault_fetcher fetcher_copy;
    atomic_bool failed;
    _Atomic(const struct vault_fetcher *) fetcher; /* NULL or fetcher_copy */

    pthread_rwlock_t watcher_lock; /* guards watcher; shared while it is called */
    struct vault_watcher watcher;
    pthread_rwlock_t reclaim;
};

/* ---- opening ---- */

static void init_locks(struct vault *v)
{
    pthread_rwlockattr_t attr;
    pthread_mutex_init(&v->lock, NULL);
    pthread_rwlockattr_init(&attr);
    /* Taken under the index lock (vault_held), and held while requests that need that lock are waited for (vault_settle):
     * nobody may be kept out because somebody waits to change the watcher. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_READER_NP);
    pthread_rwlock_init(&v->watcher_lock, &attr);
    /* The thread that reclaims is the one that commits: readers that never leave a gap must not keep it waiting. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&v->reclaim, &attr);
    pthread_rwlockattr_destroy(&attr);
}

static void free_vault(struct vault *v)
{
    segment_store_close(v->segments);
    for (size_t i = 0; i < KEYRING_EPOCHS_MAX; i++)
        seal_key_free(v->keys[i]);
    keyring_free(v->keyring);
    if (v->fd >= 0)
        close(v->fd);
    if (v->lock_fd >= 0)
        close(v->lock_fd); /* last: until here nobody else may open it */
    pthread_rwlock_destroy(&v->reclaim);
    pthread_rwlock_destroy(&v->watcher_lock);
    pthread_mutex_destroy(&v->lock);
    free(v->path);
    free(v);
}

static int new_vault(struct vault **out, const char *path, enum vault_mode mode)
{
    struct vault *v = calloc(1, sizeof(*v));
    if (!v)
        return ERR_NOMEM;
    v->fd = v->lock_fd = -1;
    v->read_only = mode == VAULT_READ_ONLY;
    init_locks(v);
    v->path = realpath(path, NULL);
    v->keyring = keyring_new();
    if (v->path && v->keyring) {
        *out = v;
        return ERR_OK;
    }
    int e = v->path ? ENOMEM : errno;
    free_vault(v);
    return e == ENOENT || e == ENOTDIR ? ERR_NOTVAULT : err_from_errno(e);
}

static bool is_damage(int err)
{
    return err == ERR_AUTH || err == ERR_FORMAT || err == ERR_NOTVAULT || err == ERR_NOENT;
}

/* One line for people when ${err} means damage of ${name}; the code is then one that the header names. */
static int explain(const struct vault *v, int err, const char *name, const char *what, char *why)
{
    if (!is_damage(err))
        return err;
    vault_dir_why(why, v->path, name, what);
    log_debug("vault: %s: %s", name, err_text(err));
    return err == ERR_AUTH ? ERR_AUTH : ERR_FORMAT;
}

/* What opens a vault: a slot's secret, or the device key itself. */
struct opener {
    const void *secret;
    size_t len;
    const uint8_t *device_key; /* or NULL */
};

static int open_device_key(struct vault *v, const struct opener *o)
{
    unsigned slot;
    if (!o->device_key)
        return vault_dir_open_slot(v->fd, v->id, o->secret, o->len, v->keyring->device_key, &slot);
    memcpy(v->keyring->device_key, o->device_key, SECRET_KEY_LEN);
    return 0;
}

/* Header, lock, slot, keyring. */
static int unlock(struct vault *v, const struct opener *o, char *why)
{
    uint32_t tag;
    int err = vault_dir_open(v->path, &v->fd);
    if (!err)
        err = vault_dir_read_header(v->fd, v->id, &tag);
    if (err == ERR_FORMAT)
        return explain(v, err, "vault", "is damaged; " RENEW, why);
    if (!err)
        err = vault_dir_lock(v->fd, v->read_only, &v->lock_fd);
    if (err)
        return err;
    if (!v->read_only)
        vault_dir_clean(v->fd, ".");

    err = open_device_key(v, o);
    if (err)
        return explain(v, err, VAULT_DIR_SLOTS, "holds no slot any more; " RENEW, why);
    err = keyring_load(v->keyring, v->fd, v->id);
    if (!err && v->keyring->device_tag != tag)
        return explain(v, ERR_FORMAT, "vault", "is not of this device; " RENEW, why);
    return explain(v, err, "keyring", "is damaged; " RENEW, why);
}

static int make_keys(struct vault *v)
{
    for (uint32_t i = 0; i < v->keyring->epoch_count; i++) {
        v->keys[i] = seal_key_new(v->keyring->epochs[i].key, v->keyring->epochs[i].epoch, v->id);
        if (!v->keys[i])
            return ERR_NOMEM;
    }
    return ERR_OK;
}

static int open_segments(struct vault *v, char *why)
{
    uint8_t *key = secret_alloc(SECRET_KEY_LEN);
    if (!key)
        return ERR_NOMEM;
    kdf_derive(key, v->keyring->device_key, KDF_SEGMENT);
    int err =
        segment_store_open(&v->segments, v->fd, key, v->id, v->keyring->device_tag, v->read_only);
    secret_free(key);
    return explain(v, err, "seg", "is missing; " RENEW, why);
}

/* Replay asks about extents whose bytes may not have reached the disk before a crash. */
struct verifier {
    struct vault *vault;
    uint8_t *sealed, *plain; /* an extent and a block */
};

static int verify_extent(void *ctx, const struct extent *e)
{
    struct verifier *f = ctx;
    const struct seal_key *key = vault_seal_key(f->vault, e->epoch);
    if (!e->len || e->len > SEAL_EXTENT_MAX)
        return ERR_FORMAT;
    if (!key)
        return ERR_AUTH;
    int err = segment_read(f->vault->segments, e->at, 0, f->sealed, seal_size(e->len));
    size_t blocks = (e->len + SEAL_BLOCK - 1) / SEAL_BLOCK;
    for (size_t i = 0; !err && i < blocks; i++)
        err = seal_open(key, e->id, e->len, i, 1, f->sealed + seal_block_offset(i), f->plain);
    return err;
}

static int open_index(struct vault *v, char *why)
{
    struct verifier verifier = {v, malloc(seal_size(SEAL_EXTENT_MAX)), malloc(SEAL_BLOCK)};
    struct index_params params = {.vault_fd = v->fd,
                                  .vault_path = v->path,
                                  .device_key = v->keyring->device_key,
                                  .vault_id = v->id,
                                  .device_tag = v->keyring->device_tag,
                                  .segments = v->segments,
                                  .read_only = v->read_only,
                                  .verify_extent = verify_extent,
                                  .verify_ctx = &verifier};
    int err = verifier.sealed && verifier.plain ? index_open(&v->index, &params) : ERR_NOMEM;
    if (verifier.plain)
        secret_wipe(verifier.plain, SEAL_BLOCK);
    free(verifier.plain);
    free(verifier.sealed);
    return explain(v, err, "index", "is damaged; " RENEW, why);
}

static int open_by(struct vault **out, const char *path, const struct opener *o,
                   enum vault_mode mode, char *why)
{
    struct vault *v = NULL;
    *out = NULL;
    if (why)
        why[0] = '\0';
    int err = new_vault(&v, path, mode);
    if (err)
        return err;
    err = unlock(v, o, why);
    if (!err)
        err = make_keys(v);
    if (!err)
        err = open_segments(v, why);
    if (!err)
        err = open_index(v, why);
    if (err) {
        free_vault(v);
        return err;
    }
    *out = v;
    return ERR_OK;
}

int vault_open(struct vault **out, const char *path, const void *secret, size_t len,
               enum vault_mode mode, char *why)
{
    const struct opener o = {.secret = secret, .len = len};
    return open_by(out, path, &o, mode, why);
}

int vault_open_key(struct vault **out, const char *path, const uint8_t device_key[SECRET_KEY_LEN],
                   enum vault_mode mode, char *why)
{
    const struct opener o = {.device_key = device_key};
    return open_by(out, path, &o, mode, why);
}

int vault_close(struct vault *v)
{
    if (!v)
        return ERR_OK;
    int err = index_close(v->index);
    free_vault(v);
    return err;
}

/* ---- without unlocking ---- */

int vault_peek(const char *path, uint8_t id[32], uint32_t *device_tag)
{
    int fd;
    int err = vault_dir_open(path, &fd);
    if (err)
        return err;
    err = vault_dir_read_header(fd, id, device_tag);
    close(fd);
    return err;
}

bool vault_in_use(const char *path)
{
    int fd;
    if (vault_dir_open(path, &fd) != ERR_OK)
        return false;
    bool in_use = vault_dir_is_locked(fd);
    close(fd);
    return in_use;
}

/* ---- parts ---- */

const char *vault_path(const struct vault *v)
{
    return v->path;
}

const uint8_t *vault_id(const struct vault *v)
{
    return v->id;
}

struct index *vault_index(struct vault *v)
{
    return v->index;
}

struct segment_store *vault_segments(struct vault *v)
{
    return v->segments;
}

const struct keyring *vault_keyring(const struct vault *v)
{
    return v->keyring;
}

const struct seal_key *vault_seal_key(struct vault *v, uint32_t epoch)
{
    uint32_t n = v->keyring->epoch_count;
    if (epoch == 0)
        return v->keys[n - 1];
    for (uint32_t i = n; i-- > 0;)
        if (v->keyring->epochs[i].epoch == epoch)
            return v->keys[i];
    return NULL;
}

/* ---- failing ---- */

static bool disk_failed(const struct vault *v)
{
    return index_failed(v->index) || segment_failed(v->segments);
}

bool vault_read_only(const struct vault *v)
{
    return v->read_only || v->failed || disk_failed(v);
}

const char *vault_failure(const struct vault *v)
{
    if (v->failed)
        return v->failure;
    return disk_failed(v) ? VAULT_DISK_FAILED : NULL;
}

void vault_fail(struct vault *v, const char *why)
{
    pthread_mutex_lock(&v->lock);
    bool first = !v->failed;
    if (first) {
        snprintf(v->failure, sizeof(v->failure), "%s", why);
        v->failed = true;
    }
    pthread_mutex_unlock(&v->lock);
    if (first)
        log_error("%s", why);
}

/* ---- space ---- */

static void lock_reclaim(void *ctx)
{
    vault_reclaim_wrlock(ctx);
}

static void unlock_reclaim(void *ctx)
{
    vault_reclaim_unlock(ctx);
}

int vault_checkpoint(struct vault *v)
{
    return index_checkpoint(v->index, lock_reclaim, unlock_reclaim, v);
}

/* ---- those who fetch and watch ---- */

void vault_set_fetcher(struct vault *v, const struct vault_fetcher *fetcher)
{
    pthread_mutex_lock(&v->lock);
    v->fetcher = NULL;
    if (fetcher) {
        v->fetcher_copy = *fetcher;
        v->fetcher = &v->fetcher_copy;
    }
    pthread_mutex_unlock(&v->lock);
}

const struct vault_fetcher *vault_fetcher(const struct vault *v)
{
    return v->fetcher;
}

void vault_rescue(struct vault *v, uint64_t ino)
{
    const struct vault_fetcher *f = vault_fetcher(v);
    if (f && f->rescue)
        f->rescue(f->ctx, ino);
}

void vault_set_watcher(struct vault *v, const struct vault_watcher *watcher)
{
    pthread_rwlock_wrlock(&v->watcher_lock);
    v->watcher = watcher ? *watcher : (struct vault_watcher){0};
    pthread_rwlock_unlock(&v->watcher_lock);
}

void vault_invalidate(struct vault *v, uint64_t ino, const char *name, size_t len)
{
    pthread_rwlock_rdlock(&v->watcher_lock);
    if (v->watcher.invalidate)
        v->watcher.invalidate(v->watcher.ctx, ino, name, len);
    pthread_rwlock_unlock(&v->watcher_lock);
}

void vault_settle(struct vault *v, uint64_t ino)
{
    pthread_rwlock_rdlock(&v->watcher_lock);
    if (v->watcher.settle)
        v->watcher.settle(v->watcher.ctx, ino);
    pthread_rwlock_unlock(&v->watcher_lock);
}

bool vault_held(struct vault *v, uint64_t ino)
{
    bool held = false;
    pthread_rwlock_rdlock(&v->watcher_lock);
    if (v->watcher.held)
        held = v->watcher.held(v->watcher.ctx, ino);
    pthread_rwlock_unlock(&v->watcher_lock);
    return held;
}

void vault_reclaim_rdlock(struct vault *v)
{
    pthread_rwlock_rdlock(&v->reclaim);
}

void vault_reclaim_unlock(struct vault *v)
{
    pthread_rwlock_unlock(&v->reclaim);
}

void vault_reclaim_wrlock(struct vault *v)
{
    pthread_rwlock_wrlock(&v->reclaim);
}
