#include "fs/data_fetch.h"

#include "crypto/err.h"
#include "fs/data_keep.h"
#include "fs/data_scratch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define UNKEPT_MAX 8u        /* extents of which (a part) stays in memory */
#define POLL_NS    100000000 /* how often a waiter looks whether it was interrupted */

struct data_fetch {
    struct data_fetch *next;
    const struct vault *vault; /* only compared */
    uint8_t id[SEAL_ID_LEN];
    unsigned refs; /* guarded by table_mutex: one of the table, one of each reader */
    bool busy;     /* guarded by table_mutex: somebody fetches */
    bool listed;   /* guarded by table_mutex: is in the table */
    int err;       /* guarded by table_mutex: how the last fetch ended */
    size_t first,
        end; /* guarded by table_mutex: blocks that are there; only grows, and what is there does not change */
    size_t len;
    uint8_t sealed[];
};

static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t table_cond = PTHREAD_COND_INITIALIZER;
static struct data_fetch *table; /* last used first; guarded by table_mutex */

/* One reader's fetching. */
struct fetching {
    struct vault *v;
    const struct data_want *want;
    size_t first, end; /* blocks */
    const _Atomic bool *cancelled;
    bool waited; /* for the network, or for somebody who did */
};

static size_t blocks_of(uint32_t len)
{
    return (len + SEAL_BLOCK - 1) / SEAL_BLOCK;
}

static bool is_cancelled(const _Atomic bool *cancelled)
{
    return cancelled && *cancelled;
}

static void unref_locked(struct data_fetch *f)
{
    if (--f->refs == 0)
        free(f);
}

static void take_out_locked(struct data_fetch *f)
{
    struct data_fetch **at = &table;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
}

static void unlist_locked(struct data_fetch *f)
{
    if (!f->listed)
        return;
    take_out_locked(f);
    f->listed = false;
    unref_locked(f);
}

static void to_front_locked(struct data_fetch *f)
{
    if (!f->listed)
        return;
    take_out_locked(f);
    f->next = table;
    table = f;
}

/* Those that were not used for longest go. */
static void trim_locked(void)
{
    unsigned n = 0;
    for (struct data_fetch *f = table, *next; f; f = next) {
        next = f->next;
        if (!f->busy && ++n > UNKEPT_MAX)
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

/* In the table, and with a reference for the caller. */
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

static bool covers(const struct data_fetch *f, size_t first, size_t end)
{
    return f->first <= first && end <= f->end;
}

static void wait_locked(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += POLL_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_clockwait(&table_cond, &table_mutex, CLOCK_MONOTONIC, &until);
}

static int verify(struct vault *v, struct data_scratch *s, const struct extent *e, size_t first,
                  size_t end, const uint8_t *sealed)
{
    const struct seal_key *key = vault_seal_key(v, e->epoch);
    int err = key ? ERR_OK : ERR_AUTH;
    for (size_t i = first; !err && i < end; i++)
        err = seal_open(key, e->id, e->len, i, 1, sealed + seal_block_offset(i), s->block);
    return err;
}

/* What is wanted and not there: in front of what is there, or behind it, so that no bytes that somebody may be reading change. */
static void what_lacks(const struct data_fetch *f, const struct fetching *g,
                       struct vault_fetch *ask)
{
    ask->first = g->first;
    ask->end = g->end;
    ask->limit = blocks_of(g->want->e->len);
    if (f->first == f->end)
        return;
    if (g->first >= f->first)
        ask->first = f->end;
    else
        ask->end = ask->limit = f->first;
}

/* Fetches into the place that is busy for us. *ask says what came. */
static int fetch_now(const struct fetching *g, struct data_fetch *f, struct vault_fetch *ask)
{
    static const _Atomic bool never = false;
    const struct vault_fetcher *sync = vault_fetcher(g->v);
    const struct extent *e = g->want->e;
    const size_t wanted = ask->end;

    /* Still missing, now that nobody else can be fetching it? Whoever fetched it before wrote that down before it left the table. */
    int err = data_keep_missing(g->v, e);
    if (err)
        return err;
    if (!sync || !sync->fetch)
        return ERR_NET;
    struct data_scratch *s = data_scratch_get();
    if (!s)
        return ERR_NOMEM;
    ask->e = e;
    ask->ino = g->want->ino;
    ask->left = g->want->left;
    ask->sealed = f->sealed;
    ask->cancelled = g->cancelled ? g->cancelled : &never;
    err = sync->fetch(sync->ctx, ask);
    if (!err && (ask->end < wanted || ask->end > ask->limit))
        err = ERR_MISUSE;
    return err ? err : verify(g->v, s, e, ask->first, ask->end, f->sealed);
}

/* Tries to get what is wanted. f->busy is ours; the lock is given up meanwhile. */
static int fetch_locked(const struct fetching *g, struct data_fetch *f)
{
    struct vault_fetch ask = {0};
    bool kept = false;
    what_lacks(f, g, &ask);
    pthread_mutex_unlock(&table_mutex);
    int err = fetch_now(g, f, &ask);
    bool whole = !err && (ask.first == 0 || (f->first == 0 && f->end == ask.first)) &&
                 (ask.end == blocks_of(g->want->e->len) ||
                  (f->end == blocks_of(g->want->e->len) && f->first == ask.end));
    if (whole) {
        struct data_keep item = {*g->want->e, f->sealed};
        kept = data_keep(g->v, &item, 1);
    }
    pthread_mutex_lock(&table_mutex);
    if (!err) {
        const bool none = f->first == f->end;
        f->first = none || ask.first < f->first ? ask.first : f->first;
        f->end = none || ask.end > f->end ? ask.end : f->end;
    }
    f->err = err;
    f->busy = false;
    if (kept || f->first == f->end)
        unlist_locked(f);
    trim_locked();
    pthread_cond_broadcast(&table_cond);
    return err;
}

/* The bytes that are there are read by others while more is put beside them; elsewhere in the extent is a new start. */
static bool is_beside(const struct data_fetch *f, size_t first, size_t end)
{
    return f->first == f->end || (first <= f->end && end >= f->first);
}

/* With the lock. *fetch has a reference for the caller, if there is no error. */
static int get_locked(struct fetching *g, struct data_fetch **fetch)
{
    for (;;) {
        struct data_fetch *f = find_locked(g->v, g->want->e);
        int err = ERR_OK;
        if (f && !f->busy && !is_beside(f, g->first, g->end)) {
            unlist_locked(f);
            f = NULL;
        }
        if (f)
            f->refs++;
        else if (!(f = add_locked(g->v, g->want->e)))
            return ERR_NOMEM;
        if (covers(f, g->first, g->end)) {
            to_front_locked(f);
            *fetch = f;
            return ERR_OK;
        }
        g->waited = true;
        if (!f->busy) {
            f->busy = true;
            err = fetch_locked(g, f);
        } else {
            while (f->busy && !is_cancelled(g->cancelled))
                wait_locked();
            err = is_cancelled(g->cancelled) ? ERR_INTR : f->err;
            /* another reader was interrupted, not this one: it fetches itself */
            if (err == ERR_INTR && !is_cancelled(g->cancelled))
                err = ERR_OK;
        }
        if (!err && covers(f, g->first, g->end)) {
            *fetch = f;
            return ERR_OK;
        }
        unref_locked(f);
        if (err)
            return err;
    }
}

int data_fetch_get(struct vault *v, const struct data_want *want, const _Atomic bool *cancelled,
                   struct data_fetch **fetch)
{
    const struct extent *e = want->e;

    if (e->len == 0 || e->len > SEAL_EXTENT_MAX || want->len == 0 || want->from >= e->len ||
        want->len > e->len - want->from)
        return ERR_FORMAT;
    struct fetching g = {.v = v,
                         .want = want,
                         .first = want->from / SEAL_BLOCK,
                         .end = (want->from + want->len - 1) / SEAL_BLOCK + 1,
                         .cancelled = cancelled};
    pthread_mutex_lock(&table_mutex);
    int err = get_locked(&g, fetch);
    pthread_mutex_unlock(&table_mutex);
    const struct vault_fetcher *sync = vault_fetcher(v);
    if (!err && !g.waited && sync && sync->reading)
        sync->reading(sync->ctx, e);
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

void data_fetch_remember(struct vault *v, const struct extent *e, const uint8_t *sealed)
{
    pthread_mutex_lock(&table_mutex);
    struct data_fetch *f = find_locked(v, e) ? NULL : add_locked(v, e);
    if (!f) {
        pthread_mutex_unlock(&table_mutex);
        return;
    }
    f->busy = true;
    pthread_mutex_unlock(&table_mutex);
    memcpy(f->sealed, sealed, f->len);
    pthread_mutex_lock(&table_mutex);
    f->busy = false;
    f->end = blocks_of(e->len);
    unref_locked(f);
    trim_locked();
    pthread_cond_broadcast(&table_cond);
    pthread_mutex_unlock(&table_mutex);
}
