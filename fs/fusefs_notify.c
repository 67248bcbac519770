#include "fs/fusefs_notify.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/fusefs_loop.h"
#include "fs/fusefs_refresh.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Past this many, whoever reports changes waits: a large pull must not fill the memory. */
#define QUEUE_MAX 4096u
/* How long the kernel gets for letting go of a file that nobody has open: 20 looks, 0.1 ms apart. */
#define LOOKS   20u
#define LOOK_NS 100000
/* Entries of a large directory that are looked at under one hold of the index lock. */
#define NAMES_AT_ONCE 1000u

struct change {
    struct change *next;
    uint64_t ino;
    bool named;  /* else the inode itself */
    size_t len;  /* of the name; else as in vault_invalidate */
    char name[]; /* NUL-terminated */
};

struct fusefs_notify {
    struct fusefs *fs;
    pthread_t thread;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t more, room;
    struct change *first, **last; /* *last is NULL, and where the next one goes */
    size_t count;
    bool stopping;
};

/* Not whoever empties the queue (a rescue tells of what it changed), nor who serves a request that he waits for. */
static bool may_wait(const struct fusefs_notify *n)
{
    return !fusefs_loop_serves() && !pthread_equal(pthread_self(), n->thread);
}

static void invalidate(void *ctx, uint64_t ino, const char *name, size_t len)
{
    struct fusefs_notify *n = ctx;
    struct change *change = malloc(sizeof(*change) + (name ? len : 0) + 1);

    if (!change) {
        log_error("a change from another device could not be shown: %s", err_text(ERR_NOMEM));
        return;
    }
    change->next = NULL;
    change->ino = ino;
    change->named = name != NULL;
    change->len = len;
    if (name)
        memcpy(change->name, name, len);
    change->name[name ? len : 0] = 0;
    pthread_mutex_lock(&n->lock);
    while (n->count >= QUEUE_MAX && !n->stopping && may_wait(n))
        pthread_cond_wait(&n->room, &n->lock);
    if (n->stopping) {
        free(change);
    } else {
        *n->last = change;
        n->last = &change->next;
        n->count++;
        pthread_cond_signal(&n->more);
    }
    pthread_mutex_unlock(&n->lock);
}

/* The first change, taken out; NULL: none. Lock held. */
static struct change *take(struct fusefs_notify *n)
{
    struct change *change = n->first;

    if (!change)
        return NULL;
    n->first = change->next;
    if (!n->first)
        n->last = &n->first;
    n->count--;
    return change;
}

struct finding {
    uint64_t ino, cookie; /* cookie: of the last entry that was looked at */
    unsigned looked;
    struct bytes_out *names;
};

static int look(void *ctx, const struct entry *entry, const struct inode *inode)
{
    struct finding *f = ctx;

    f->cookie = entry->cookie;
    if (entry->ino == f->ino) {
        bytes_put(f->names, entry->name, entry->name_len);
        bytes_put_u8(f->names, 0);
    }
    return ++f->looked == NAMES_AT_ONCE;
}

/* The names in ${parent} that lead to ${ino}, each with its NUL. */
static int find_names(struct fusefs *fs, uint64_t parent, uint64_t ino, struct bytes_out *names)
{
    struct index *ix = vault_index(fs->vault);
    struct finding f = {.ino = ino, .names = names};
    int err;

    do {
        f.looked = 0;
        index_lock(ix);
        err = index_entry_scan(ix, parent, f.cookie, false, look, &f);
        index_unlock(ix);
    } while (err == 1);
    return err < 0 ? err : names->bad ? ERR_NOMEM : 0;
}

/* The kernel forgets the file's names in that directory. ${one}, NAME_LEN_MAX + 1 bytes, gets one of them. */
static bool drop_names(struct fusefs *fs, uint64_t ino, uint64_t parent, char *one)
{
    struct bytes_out names;
    bool any = false;

    bytes_out_init(&names);
    if (find_names(fs, parent, ino, &names) == 0)
        for (size_t at = 0; at < names.len; at += strlen((char *)names.p + at) + 1) {
            const char *name = (const char *)names.p + at;
            any = true;
            memcpy(one, name, strlen(name) + 1);
            (void)fuse_lowlevel_notify_inval_entry(fs->session, parent, name, strlen(name));
        }
    bytes_out_release(&names);
    return any;
}

/* Does a program have it? Without its names the kernel lets go of a file, unless somebody has it open or mapped. */
static bool stays(struct fusefs *fs, uint64_t ino)
{
    const struct timespec pause = {.tv_nsec = LOOK_NS};

    for (unsigned i = 0; i < LOOKS && fusefs_lookup_held(fs->lookup, ino); i++)
        nanosleep(&pause, NULL);
    return fusefs_lookup_held(fs->lookup, ino);
}

/*
 * Where nobody may write to a file, its size can at least be told to grow: storing a byte at the end makes the kernel's
 * size at least ours; the page is dropped at once, so that it is read from us.
 */
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
 * has. So it must let go of the inode; where programs have it open, it is told in another way.
 */
static void tell_file(struct fusefs *fs, const struct inode *inode, bool data)
{
    uint64_t parents[FUSEFS_LOOKUP_PARENTS], parent = 0;
    char name[NAME_LEN_MAX + 1];
    size_t n = fusefs_lookup_parents(fs->lookup, inode->ino, parents, FUSEFS_LOOKUP_PARENTS);

    for (size_t i = 0; i < n; i++)
        if (drop_names(fs, inode->ino, parents[i], name))
            parent = parents[i];
    if (!stays(fs, inode->ino))
        return;
    if (parent != 0 && fusefs_refresh_file(fs, inode->ino, parent, name, data))
        return;
    if (data)
        tell_growth(fs, inode);
}

/* Another device deleted it, or it has its name again. */
static void tell_deletion(struct fusefs *fs, uint64_t ino)
{
    struct inode inode;

    if (!fusefs_lookup_mark_deleted(fs->lookup, ino)) {
        inode = (struct inode){.ino = ino};
        fusefs_ops_gone(fs, &inode);
    } else if (tree_getattr(fs->vault, ino, &inode) == 0) {
        if (inode.nlink > 0)
            fusefs_lookup_unmark(fs->lookup, ino);
        else if (inode.dirty & DIRTY_CONTENT) /* written to before it was marked */
            vault_rescue(fs->vault, ino);
    }
}

/* Failing is normal: the kernel does not have it cached. */
static void tell(struct fusefs *fs, const struct change *change)
{
    const bool data = change->len == VAULT_DATA;
    struct inode inode;
    int err;

    if (change->named) {
        (void)fuse_lowlevel_notify_inval_entry(fs->session, change->ino, change->name, change->len);
        return;
    }
    err = tree_getattr(fs->vault, change->ino, &inode);
    (void)fuse_lowlevel_notify_inval_inode(fs->session, change->ino,
                                           !err && S_ISREG(inode.mode) && !data ? -1 : 0, 0);
    if (err < 0)
        return;
    if (inode.nlink == 0 && !S_ISREG(inode.mode))
        fusefs_ops_gone(fs, &inode);
    else if (inode.nlink == 0)
        tell_deletion(fs, change->ino);
    else if (S_ISREG(inode.mode)) {
        fusefs_lookup_unmark(fs->lookup, change->ino);
        tell_file(fs, &inode, data);
    }
}

/* Everything that the kernel holds back. */
static void settle_all(struct fusefs *fs)
{
    int root = open(fs->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (root < 0 || syncfs(root) < 0)
        log_warn("writing what was cached failed: %s", strerror(errno));
    if (root >= 0)
        close(root);
    fusefs_settle(fs); /* syncfs has only sent it */
}

/* In the thread that asks, which waits until what was dirty has been written. */
static void settle(void *ctx, uint64_t ino)
{
    const struct fusefs_notify *n = ctx;

    if (ino == 0)
        settle_all(n->fs);
    else if (fusefs_lookup_held(n->fs->lookup, ino))
        (void)fuse_lowlevel_notify_inval_inode(n->fs->session, ino, 0, 0);
}

static bool held(void *ctx, uint64_t ino)
{
    const struct fusefs_notify *n = ctx;

    return fusefs_lookup_held(n->fs->lookup, ino);
}

static void *run(void *arg)
{
    struct fusefs_notify *n = arg;
    struct change *change;

    atomic_store(&n->fs->refresher, gettid());
    pthread_mutex_lock(&n->lock);
    while (!n->stopping) {
        change = take(n);
        if (!change) {
            pthread_cond_wait(&n->more, &n->lock);
            continue;
        }
        pthread_cond_signal(&n->room);
        pthread_mutex_unlock(&n->lock);
        tell(n->fs, change);
        free(change);
        pthread_mutex_lock(&n->lock);
    }
    pthread_mutex_unlock(&n->lock);
    atomic_store(&n->fs->refresher, 0);
    return NULL;
}

int fusefs_notify_start(struct fusefs_notify **out, struct fusefs *fs)
{
    struct fusefs_notify *n = calloc(1, sizeof(*n));
    sigset_t all, old;
    int failed;

    if (!n)
        return ERR_NOMEM;
    n->fs = fs;
    n->last = &n->first;
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
        free(n);
        return ERR_NOMEM;
    }
    const struct vault_watcher watcher = {
        .invalidate = invalidate, .ctx = n, .settle = settle, .held = held};
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
    for (struct change *change = take(n); change; change = take(n))
        free(change);
    pthread_cond_destroy(&n->more);
    pthread_cond_destroy(&n->room);
    pthread_mutex_destroy(&n->lock);
    free(n);
}
