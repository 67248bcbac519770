#include "fs/data_fetch.h"

#include "crypto/err.h"
#include "fs/data_open.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define UNKEPT_MAX 4u /* fetched extents that stay in memory because they cannot be kept on disk */
#define POLL_NS    100000000 /* how often a waiter looks whether it was interrupted */

struct data_fetch {
    struct data_fetch *next;
    const struct vault *vault; /* only compared */
    uint8_t id[SEAL_ID_LEN];
    unsigned refs; /* guarded by table_mutex: one of the table, one of each reader */
    bool done;     /* guarded by table_mutex; then err and sealed do not change any more */
    bool listed;   /* guarded by table_mutex: is in the table */
    int err;
    size_t len;
    uint8_t sealed[];
};

static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t table_cond = PTHREAD_COND_INITIALIZER;
static struct data_fetch *table; /* newest first; guarded by table_mutex */

static bool is_cancelled(const _Atomic bool *cancelled)
{
    return cancelled && *cancelled;
}

static void unref_locked(struct data_fetch *f)
{
    if (--f->refs == 0)
        free(f);
}

static void unlist_locked(struct data_fetch *f)
{
    if (!f->listed)
        return;
    struct data_fetch **at = &table;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    f->listed = false;
    unref_locked(f);
}

/* The oldest of those that only the memory holds go. */
static void trim_locked(void)
{
    unsigned n = 0;
    for (struct data_fetch *f = table, *next; f; f = next) {
        next = f->next;
        if (f->done && ++n > UNKEPT_MAX)
            unlist_locked(f);
    }
}

static struct data_fetch *find_locked(const struct vault *v, const struct extent *e)
{
    for (struct data_fetch *f = table; f; f = f->next)
        if (f->vault == v && memcmp(f->id, e->id, SEAL_ID_LEN) == 0 && f->len == seal_size(e->len))
            return f;
    return NULL;
}

static struct data_fetch *add_locked(const struct vault *v, const struct extent *e)
{
    size_t len = seal_size(e->len);
    struct data_fetch *f = malloc(sizeof(*f) + len);
    if (!f)
        return NULL;
    *f = (struct data_fetch){.vault = v, .refs = 2, .listed = true, .len = len, .next = table};
    memcpy(f->id, e->id, SEAL_ID_LEN);
    table = f;
    return f;
}

static int wait_locked(struct data_fetch *f, const _Atomic bool *cancelled)
{
    while (!f->done) {
        if (is_cancelled(cancelled))
            return ERR_INTR;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += POLL_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_clockwait(&table_cond, &table_mutex, CLOCK_MONOTONIC, &until);
    }
    return f->err;
}

/* Is the extent still where the caller found it missing or damaged? */
static bool is_unmoved(const struct extent *now, const struct extent *e)
{
    return now->at.seg == e->at.seg && now->at.off == e->at.off &&
           memcmp(now->id, e->id, SEAL_ID_LEN) == 0;
}

/* Still missing, now that nobody else can be fetching it? Whoever fetched it before wrote that down before it left the table. */
static int still_missing(struct vault *v, const struct extent *e)
{
    struct index *ix = vault_index(v);
    struct extent now;
    index_lock(ix);
    int err = index_extent_get(ix, e->eid, &now);
    index_unlock(ix);
    if (err == ERR_NOENT || (!err && !is_unmoved(&now, e)))
        return ERR_STALE;
    return err;
}

static int move_here(struct index *ix, const struct extent *e, struct segment_pos at)
{
    struct extent now;
    int err = index_extent_get(ix, e->eid, &now);
    if (err)
        return err;
    if (!is_unmoved(&now, e))
        return ERR_STALE;
    err = index_begin(ix, INDEX_REMOTE, 0);
    if (err)
        return err;
    now.at = at;
    err = index_extent_move(ix, &now);
    index_end(ix);
    return err;
}

/* True if it is on disk now and in the index. Not being able to keep it is no error: it can be fetched again. */
static bool keep(struct vault *v, const struct extent *e, const struct data_fetch *f)
{
    struct index *ix = vault_index(v);
    struct segment_pos at;

    if (vault_read_only(v) || index_full(ix))
        return false;
    /* from the append on: reclaiming must not drop the segment before the index speaks of what is in it */
    vault_reclaim_rdlock(v);
    int err = segment_append(vault_segments(v), SEGMENT_EXTENT, f->sealed, f->len, &at);
    if (!err) {
        index_lock(ix);
        err = move_here(ix, e, at);
        index_unlock(ix);
        if (err && !index_failed(ix)) /* its room is good for something else */
            segment_punch(vault_segments(v), at, f->len);
    }
    vault_reclaim_unlock(v);
    return !err;
}

static int fetch_now(struct vault *v, const struct extent *e, const _Atomic bool *cancelled,
                     struct data_fetch *f)
{
    static const _Atomic bool never = false;
    const struct vault_fetcher *sync = vault_fetcher(v);

    int err = still_missing(v, e);
    if (err)
        return err;
    if (!sync || !sync->fetch)
        return ERR_NET;
    struct data_scratch *s = data_scratch_get();
    if (!s)
        return ERR_NOMEM;
    err = sync->fetch(sync->ctx, e, f->sealed, cancelled ? cancelled : &never);
    return err ? err : data_open_verify(v, s, e, f->sealed);
}

int data_fetch_get(struct vault *v, const struct extent *e, const _Atomic bool *cancelled,
                   struct data_fetch **fetch)
{
    struct data_fetch *f;
    int err;

    if (e->len == 0 || e->len > SEAL_EXTENT_MAX)
        return ERR_FORMAT;
    pthread_mutex_lock(&table_mutex);
    while ((f = find_locked(v, e)) != NULL) {
        f->refs++;
        err = wait_locked(f, cancelled);
        if (!err) {
            pthread_mutex_unlock(&table_mutex);
            *fetch = f;
            return ERR_OK;
        }
        unref_locked(f);
        if (err != ERR_INTR || is_cancelled(cancelled)) {
            pthread_mutex_unlock(&table_mutex);
            return err;
        }
        /* another reader was interrupted, not this one: it fetches itself */
    }
    f = add_locked(v, e);
    pthread_mutex_unlock(&table_mutex);
    if (!f)
        return ERR_NOMEM;

    err = fetch_now(v, e, cancelled, f);
    bool kept = !err && keep(v, e, f);

    pthread_mutex_lock(&table_mutex);
    f->err = err;
    f->done = true;
    if (err || kept)
        unlist_locked(f);
    trim_locked();
    if (err)
        unref_locked(f);
    pthread_cond_broadcast(&table_cond);
    pthread_mutex_unlock(&table_mutex);
    *fetch = f;
    return err;
}

const uint8_t *data_fetch_sealed(const struct data_fetch *fetch)
{
    return fetch->sealed;
}

void data_fetch_release(struct data_fetch *fetch)
{
    pthread_mutex_lock(&table_mutex);
    unref_locked(fetch);
    pthread_mutex_unlock(&table_mutex);
}
