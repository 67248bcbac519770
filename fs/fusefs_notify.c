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
    size_t len; /* of the name; 0: the inode itself */
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
    change->len = name ? len : 0;
    if (name)
        memcpy(change->name, name, len);
    change->name[change->len] = 0;
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

/* Failing is normal: the kernel does not have it cached. */
static void tell(struct fusefs *fs, const struct change *change)
{
    struct inode inode;

    if (change->len > 0) {
        (void)fuse_lowlevel_notify_inval_entry(fs->session, change->ino, change->name, change->len);
        return;
    }
    (void)fuse_lowlevel_notify_inval_inode(fs->session, change->ino, 0, 0);
    /* Deleted elsewhere while it may be open here: it goes when the kernel forgets it. */
    if (tree_getattr(fs->vault, change->ino, &inode) == 0)
        fusefs_ops_gone(fs, &inode);
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
    const struct vault_watcher watcher = {.invalidate = invalidate, .ctx = n};
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
