/* Making segments durable: one thread syncs for all who wait. */
#include "crypto/err.h"
#include "fs/segment_store.h"

#include <errno.h>
#include <unistd.h>

int segment_store_sync_fd(int fd, bool data_only)
{
    int r;
    do
        r = data_only ? fdatasync(fd) : fsync(fd);
    while (r != 0 && errno == EINTR);
    return r == 0 ? 0 : errno;
}

/* Lock held on entry and return, not in between. */
static int unlocked_sync(struct segment_store *store, int fd, bool data_only)
{
    pthread_mutex_unlock(&store->lock);
    int e = segment_store_sync_fd(fd, data_only);
    pthread_mutex_lock(&store->lock);
    return e;
}

/* Lock held. The file ${seg}, which holds the last record written: the current one, or one that is full since. */
static struct segment_file *find_file(struct segment_store *store, uint64_t seg)
{
    if (store->current->seg == seg)
        return store->current;
    struct segment_file *f = store->retired;
    while (f && f->seg != seg)
        f = f->retired;
    return f;
}

/* Lock held, released while it works. Makes all records before ${target} durable; they are written. */
static int sync_upto(struct segment_store *store, struct segment_pos target)
{
    int e = 0;
    struct segment_file *last = find_file(store, target.seg);
    segment_cache_ref(&store->cache, last);
    /* A file whose name a crash loses is lost with all that was promised in it. */
    if (store->dir_changed) {
        store->dir_changed = false;
        e = unlocked_sync(store, store->dirfd, false);
    }
    /* Full files first have all their records before the target, their ENDs too. Only the thread that syncs takes files
     * off this list. */
    while (!e && store->retired && store->retired->seg < target.seg) {
        struct segment_file *full = store->retired;
        e = unlocked_sync(store, full->fd, true);
        if (e)
            break;
        store->retired = full->retired;
        if (!store->retired)
            store->last_retired = NULL;
        segment_cache_put(&store->cache, full);
    }
    /* The one sync that every promise of the file system rests on. */
    if (!e)
        e = unlocked_sync(store, last->fd, true);
    segment_cache_put(&store->cache, last);
    return e;
}

/* Lock held. Syncs for everybody whose records are written by now. */
static void lead(struct segment_store *store)
{
    store->syncing = true;
    struct segment_pos target = store->done;
    /* A record that is not written yet is a hole in which the log ends for who reads it after a crash; nothing after it
     * may be promised. */
    while (!store->failed && store->flights && segment_pos_before(store->flights->at, target))
        pthread_cond_wait(&store->changed, &store->lock);
    int e = store->failed ? 0 : sync_upto(store, target);
    if (e) {
        /* Not tried again: the kernel may have dropped the pages that it could not write and call the next sync a
         * success. */
        pthread_mutex_unlock(&store->lock);
        segment_store_fail(store, "a sync", e);
        pthread_mutex_lock(&store->lock);
    }
    if (!store->failed)
        store->synced = target;
    store->syncing = false;
    pthread_cond_broadcast(&store->changed);
}

int segment_sync(struct segment_store *store)
{
    pthread_mutex_lock(&store->lock);
    struct segment_pos target = store->done;
    while (!store->failed && segment_pos_before(store->synced, target)) {
        if (store->syncing)
            pthread_cond_wait(&store->changed, &store->lock);
        else
            lead(store);
    }
    int err = store->failed ? ERR_IO : ERR_OK;
    pthread_mutex_unlock(&store->lock);
    return err;
}
