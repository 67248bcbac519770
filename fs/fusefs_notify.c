#include "fs/fusefs_notify.h"

#include "crypto/err.h"
#include "crypto/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Past this many, whoever reports changes waits: a large pull must not fill the memory. */
#define QUEUE_MAX 4096u

struct change {
    uint64_t ino;
    bool named; /* else the inode itself */
    size_t len; /* of the name; else as in vault_invalidate */
    char name[NAME_LEN_MAX + 1];
};

struct fusefs_notify {
    struct fusefs *fs;
    pthread_t thread;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t more, room;
    struct change **ring; /* QUEUE_MAX; each allocated */
    size_t first, count;
    bool stopping;
};

static void invalidate(void *ctx, uint64_t ino, const char *name, size_t len)
{
    struct fusefs_notify *n = ctx;
    struct change *change = malloc(sizeof(*change));

    if (!change || len > NAME_LEN_MAX) {
        log_error("a change from another device could not be shown: %s", err_text(ERR_NOMEM));
        free(change);
        return;
    }
    change->ino = ino;
    change->named = name != NULL;
    change->len = len;
    if (name)
        memcpy(change->name, name, len);
    change->name[name ? len : 0] = 0;
    pthread_mutex_lock(&n->lock);
    while (n->count == QUEUE_MAX && !n->stopping)
        pthread_cond_wait(&n->room, &n->lock);
    if (n->stopping) {
        free(change);
    } else {
        n->ring[(n->first + n->count++) % QUEUE_MAX] = change;
        pthread_cond_signal(&n->more);
    }
    pthread_mutex_unlock(&n->lock);
}

/* The names in ${parent} that lead to ${ino}, each with its NUL. */
static int find_names(struct fusefs *fs, uint64_t parent, uint64_t ino, struct bytes_out *names)
{
    struct index *ix = vault_index(fs->vault);
    sqlite3_stmt *stmt;
    int err;

    index_lock(ix);
    err = index_prepare(ix, "SELECT name FROM entry WHERE parent = ?1 AND ino = ?2", &stmt);
    if (err == 0) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)parent);
        sqlite3_bind_int64(stmt, 2, (sqlite3_int64)ino);
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            bytes_put(names, sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));
            bytes_put_u8(names, 0);
        }
        sqlite3_finalize(stmt);
    }
    index_unlock(ix);
    return err < 0 ? err : names->bad ? ERR_NOMEM : 0;
}

/* Storing a byte at the end makes the kernel's size at least ours; its page is dropped at once, so that it is read from us. */
static void tell_growth(struct fusefs *fs, const struct inode *inode)
{
    struct fuse_bufvec byte = FUSE_BUFVEC_INIT(1);
    char zero = 0;
    off_t last = (off_t)inode->size - 1;

    if (inode->size == 0)
        return;
    byte.buf[0].mem = &zero;
    if (fuse_lowlevel_notify_store(fs->session, inode->ino, last, &byte, 0) == 0)
        (void)fuse_lowlevel_notify_inval_inode(fs->session, inode->ino, last, 1);
}

/*
 * With its write-back cache, the kernel believes its own size and times of a file and never takes ours for an inode that it
 * has. So it must let go of the inode: without its names it does, unless somebody has the file open. Then it can at
 * least be told of growth; a file that another device made shorter shows zeroes behind its end until it is closed.
 */
static void tell_size(struct fusefs *fs, const struct inode *inode, bool data)
{
    struct bytes_out names;
    uint64_t parent;

    if (!fusefs_lookup_parent(fs->lookup, inode->ino, &parent))
        return;
    bytes_out_init(&names);
    if (parent != 0 && find_names(fs, parent, inode->ino, &names) == 0)
        for (size_t at = 0; at < names.len; at += strlen((char *)names.p + at) + 1)
            (void)fuse_lowlevel_notify_inval_entry(fs->session, parent, (char *)names.p + at,
                                                   strlen((char *)names.p + at));
    bytes_out_release(&names);
    /* Only then: the byte would spoil what a program is writing at the end just now. */
    if (data)
        tell_growth(fs, inode);
}

/* Failing is normal: the kernel does not have it cached. */
static void tell(struct fusefs *fs, const struct change *change)
{
    struct inode inode;

    if (change->named) {
        (void)fuse_lowlevel_notify_inval_entry(fs->session, change->ino, change->name, change->len);
        return;
    }
    (void)fuse_lowlevel_notify_inval_inode(fs->session, change->ino, 0, 0);
    if (tree_getattr(fs->vault, change->ino, &inode) < 0)
        return;
    if (S_ISREG(inode.mode))
        tell_size(fs, &inode, change->len == VAULT_DATA);
    /* Deleted elsewhere while it may be open here: it goes when the kernel forgets it. */
    fusefs_ops_gone(fs, &inode);
}

/* In the thread that asks, which waits until what was dirty has been written. */
static void settle(void *ctx, uint64_t ino)
{
    const struct fusefs_notify *n = ctx;
    uint64_t parent;

    if (fusefs_lookup_parent(n->fs->lookup, ino, &parent))
        (void)fuse_lowlevel_notify_inval_inode(n->fs->session, ino, 0, 0);
}

static void *run(void *arg)
{
    struct fusefs_notify *n = arg;

    pthread_mutex_lock(&n->lock);
    for (;;) {
        while (n->count == 0 && !n->stopping)
            pthread_cond_wait(&n->more, &n->lock);
        if (n->stopping)
            break;
        struct change *change = n->ring[n->first];
        n->first = (n->first + 1) % QUEUE_MAX;
        n->count--;
        pthread_cond_signal(&n->room);
        pthread_mutex_unlock(&n->lock);
        tell(n->fs, change);
        free(change);
        pthread_mutex_lock(&n->lock);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

int fusefs_notify_start(struct fusefs_notify **out, struct fusefs *fs)
{
    struct fusefs_notify *n = calloc(1, sizeof(*n));
    sigset_t all, old;
    int failed;

    if (n)
        n->ring = calloc(QUEUE_MAX, sizeof(*n->ring));
    if (!n || !n->ring) {
        free(n);
        return ERR_NOMEM;
    }
    n->fs = fs;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->more, NULL);
    pthread_cond_init(&n->room, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    failed = pthread_create(&n->thread, NULL, run, n);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        pthread_cond_destroy(&n->more);
        pthread_cond_destroy(&n->room);
        pthread_mutex_destroy(&n->lock);
        free(n->ring);
        free(n);
        return ERR_NOMEM;
    }
    const struct vault_watcher watcher = {.invalidate = invalidate, .ctx = n, .settle = settle};
    vault_set_watcher(fs->vault, &watcher);
    *out = n;
    return 0;
}

void fusefs_notify_stop(struct fusefs_notify *n)
{
    if (!n)
        return;
    vault_set_watcher(n->fs->vault, NULL);
    pthread_mutex_lock(&n->lock);
    n->stopping = true;
    pthread_cond_broadcast(&n->more);
    pthread_cond_broadcast(&n->room);
    pthread_mutex_unlock(&n->lock);
    pthread_join(n->thread, NULL);
    for (size_t i = 0; i < n->count; i++)
        free(n->ring[(n->first + i) % QUEUE_MAX]);
    pthread_cond_destroy(&n->more);
    pthread_cond_destroy(&n->room);
    pthread_mutex_destroy(&n->lock);
    free(n->ring);
    free(n);
}
