/*
 * Packing: extents that are alive and in no pack, in the order of their numbers, a few packs at once.
 *
 * Each worker builds a pack (one at a time builds), sends it to every store and notes it, then builds the next: so reading,
 * sealing and sending overlap, and no more than the workers' buffers are in memory. The last of them begin only when a pack has shown
 * that the link is fast: then it is the round trips that cost, while on a slow one they would only share it. A pack counts when one store has it; the others are
 * noted as missing it.
 */
#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/pagevfs.h"
#include "sync/pack.h"
#include "sync/push_impl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WINDOW         256u /* extents that wait to be placed: small ones fill what large ones leave */
#define NOTE_AT_ONCE   64u /* extents noted under one hold of the lock */
#define EXTENT_ROOM    64u
#define CANCEL_POLL_MS 100
#define FAST_MS        1500 /* a pack sent in so long: a fast link */

struct waiting {
    uint64_t eid;
    uint32_t len;
};

struct packing {
    struct push *p;
    uint64_t last; /* extents that came later are for the next push */

    pthread_mutex_t build; /* guards the window; held while a pack is built from it */
    struct waiting window[WINDOW];
    size_t waiting;
    uint64_t taken; /* extents up to this number have been in the window */
    bool ended;

    pthread_mutex_t state; /* guards what follows; the conditions are signalled with it */
    pthread_cond_t gone, more;
    unsigned running;
    bool fast;      /* all workers are worth their buffers */
    bool nears_end; /* a worker has found nothing more to do */
    int err;        /* of the index or memory: ends the stage */
};

struct worker {
    struct packing *k;
    pthread_t thread;
    bool extra;                    /* waits for a fast link */
    struct store *own[STORES_MAX]; /* opened here; NULL: the one of push_params */
    struct pack_builder *builder;
    struct placed {
        uint64_t eid, off;
        uint8_t id[16];
    } * placed;
    size_t count, cap;
};

static void fail(struct packing *k, int err)
{
    pthread_mutex_lock(&k->state);
    if (!k->err)
        k->err = err;
    pthread_mutex_unlock(&k->state);
}

static bool stopped(struct packing *k)
{
    pthread_mutex_lock(&k->state);
    int err = k->err;
    pthread_mutex_unlock(&k->state);
    return err || !push_any_store(k->p);
}

/* ---- building ---- */

/* Needs ${build}. */
static int refill(struct packing *k)
{
    sqlite3_stmt *stmt;
    index_lock(k->p->ix);
    int err = index_prepare(k->p->ix,
                            "SELECT eid, len FROM extent WHERE pack = 0 AND eid > ?1 AND eid <= ?2"
                            " AND refs > 0 AND seg <> 0 ORDER BY eid LIMIT ?3",
                            &stmt);
    if (!err) {
        int rc;
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)k->taken);
        sqlite3_bind_int64(stmt, 2, (sqlite3_int64)k->last);
        sqlite3_bind_int64(stmt, 3, (sqlite3_int64)(WINDOW - k->waiting));
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
            struct waiting *w = &k->window[k->waiting++];
            w->eid = k->taken = (uint64_t)sqlite3_column_int64(stmt, 0);
            w->len = (uint32_t)sqlite3_column_int64(stmt, 1);
        }
        if (rc != SQLITE_DONE)
            err = pagevfs_err(rc);
        sqlite3_finalize(stmt);
    }
    index_unlock(k->p->ix);
    k->ended = k->waiting < WINDOW;
    return err;
}

/* What the segment holds is opened before it is sent: a damaged disk must not become a damaged store. */
static int verify(struct vault *vault, const struct extent *e, const uint8_t *sealed)
{
    uint8_t plain[SEAL_BLOCK];
    const struct seal_key *key = vault_seal_key(vault, e->epoch);
    size_t blocks = (e->len + SEAL_BLOCK - 1) / SEAL_BLOCK;
    int err = key ? 0 : ERR_AUTH;
    for (size_t i = 0; i < blocks && !err; i++)
        err = seal_open(key, e->id, e->len, i, 1, sealed + seal_block_offset(i), plain);
    secret_wipe(plain, sizeof(plain));
    return err;
}

/* Whatever happened to the extent since it came into the window. */
static bool still_wanted(struct push *p, uint64_t eid, struct extent *e)
{
    index_lock(p->ix);
    int err = index_extent_get(p->ix, eid, e);
    index_unlock(p->ix);
    return !err && e->refs > 0 && e->pack == 0 && e->at.seg != 0;
}

static int note_placed(struct worker *w, const struct extent *e, uint64_t off)
{
    if (w->count == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 64;
        struct placed *placed = realloc(w->placed, cap * sizeof(*placed));
        if (!placed)
            return ERR_NOMEM;
        w->placed = placed;
        w->cap = cap;
    }
    struct placed *at = &w->placed[w->count++];
    at->eid = e->eid;
    at->off = off;
    memcpy(at->id, e->id, sizeof(at->id));
    return 0;
}

/* Damage is noted and the extent left out; its file will be named by check. */
static int place(struct worker *w, uint64_t eid)
{
    struct push *p = w->k->p;
    struct vault *vault = p->params->vault;
    struct extent e;
    uint64_t off;
    int err = 0;
    vault_reclaim_rdlock(vault);
    if (!still_wanted(p, eid, &e)) {
        vault_reclaim_unlock(vault);
        return 0;
    }
    uint8_t *at = pack_builder_add(w->builder, &e, &off);
    if (at)
        err = segment_read(vault_segments(vault), e.at, 0, at, seal_size(e.len));
    vault_reclaim_unlock(vault);
    if (!at)
        return ERR_NOMEM;
    if (!err)
        err = verify(vault, &e, at);
    if (!err)
        return note_placed(w, &e, off);
    pack_builder_undo(w->builder);
    if (err == ERR_NOMEM)
        return err;
    push_note(p, err, "a piece of a file is damaged on this disk and cannot be sent; see check");
    log_error("extent %llu does not verify on this disk: %s", (unsigned long long)eid,
              err_text(err));
    return 0;
}

/* The first waiting extent that fits into what is left of the pack. */
static size_t next_fit(const struct packing *k, const struct pack_builder *b)
{
    for (size_t i = 0; i < k->waiting; i++)
        if (pack_builder_fits(b, k->window[i].len))
            return i;
    return WINDOW;
}

/* Marks the pack full, so that it gets the full size. */
static void mark_full(struct packing *k, struct pack_builder *b)
{
    struct extent e = {.len = k->window[0].len, .epoch = 1};
    uint64_t off;
    pack_builder_add(b, &e, &off);
}

/* w->count is 0 when nothing is left. Needs ${build}. */
static int build(struct worker *w)
{
    struct packing *k = w->k;
    int err = 0;
    w->count = 0;
    pack_builder_reset(w->builder);
    while (!err) {
        if (!k->ended && k->waiting < WINDOW / 2)
            err = refill(k);
        if (err || k->waiting == 0)
            break;
        size_t i = next_fit(k, w->builder);
        if (i == WINDOW) {
            mark_full(k, w->builder);
            break;
        }
        uint64_t eid = k->window[i].eid;
        memmove(&k->window[i], &k->window[i + 1], (k->waiting - i - 1) * sizeof(k->window[0]));
        k->waiting--;
        err = place(w, eid);
    }
    return err;
}

/* ---- sending ---- */

static struct store *handle(struct worker *w, size_t i)
{
    return w->own[i] ? w->own[i] : w->k->p->stores[i].store;
}

/* Bit i of *have: store i has it. */
static void send_pack(struct worker *w, const uint8_t *bytes, size_t len, const char *name,
                      unsigned *have)
{
    struct push *p = w->k->p;
    *have = 0;
    for (size_t i = 0; i < p->store_count; i++) {
        if (push_store_err(p, &p->stores[i]))
            continue;
        int err = store_put(handle(w, i), name, bytes, len);
        if (err) {
            push_store_note(p, &p->stores[i], handle(w, i), err);
            continue;
        }
        *have |= 1u << i;
        push_sent(p, len);
    }
}

/* Needs the index lock. */
static int note_pack(struct push *p, struct ledger_pack *pack, unsigned have)
{
    int err = index_begin(p->ix, INDEX_REMOTE, (3 + p->store_count) * LEDGER_ROOM);
    if (err)
        return err;
    err = ledger_pack_add(p->ix, pack, NULL);
    for (size_t i = 0; i < p->store_count && !err; i++)
        if (!(have & 1u << i)) {
            err = ledger_missing_add(p->ix, p->stores[i].id, pack->pid);
            p->stores[i].incomplete = true;
        }
    index_end(p->ix);
    return err;
}

/* Needs the index lock. Extents that died meanwhile leave a dead place in the pack. */
static int note_extents(struct push *p, const struct placed *placed, size_t n, uint64_t pid,
                        uint64_t *bytes)
{
    int err = index_begin(p->ix, INDEX_REMOTE, n * EXTENT_ROOM);
    if (err)
        return err;
    for (size_t i = 0; i < n && !err; i++) {
        struct extent e;
        int got = index_extent_get(p->ix, placed[i].eid, &e);
        if (got == ERR_NOENT || (!got && memcmp(e.id, placed[i].id, sizeof(e.id)) != 0))
            continue;
        e.pack = pid;
        e.pack_off = placed[i].off;
        err = got ? got : index_extent_move(p->ix, &e);
        *bytes += seal_size(e.len);
    }
    index_end(p->ix);
    return err;
}

/* In short holds of the lock: a crash between them makes us pack some extents again, no more. */
static int note_all(struct worker *w, struct ledger_pack *pack, unsigned have)
{
    struct push *p = w->k->p;
    uint64_t bytes = 0;
    index_lock(p->ix);
    int err = note_pack(p, pack, have);
    index_unlock(p->ix);
    for (size_t i = 0; i < w->count && !err; i += NOTE_AT_ONCE) {
        size_t n = w->count - i < NOTE_AT_ONCE ? w->count - i : NOTE_AT_ONCE;
        index_lock(p->ix);
        err = note_extents(p, w->placed + i, n, pack->pid, &bytes);
        index_unlock(p->ix);
    }
    pthread_mutex_lock(&p->lock);
    p->result->packs++;
    p->done += bytes;
    if (p->params->progress)
        p->params->progress(p->params->ctx, p->done, p->total > p->done ? p->total : p->done);
    pthread_mutex_unlock(&p->lock);
    return err;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void wake_extra(struct packing *k, bool fast, bool nears_end)
{
    pthread_mutex_lock(&k->state);
    k->fast |= fast;
    k->nears_end |= nears_end;
    pthread_cond_broadcast(&k->more);
    pthread_mutex_unlock(&k->state);
}

/* False: it is not needed. */
static bool wait_until_fast(struct packing *k)
{
    pthread_mutex_lock(&k->state);
    while (!k->fast && !k->nears_end)
        pthread_cond_wait(&k->more, &k->state);
    const bool go = k->fast && !k->nears_end;
    pthread_mutex_unlock(&k->state);
    return go;
}

static int one_pack(struct worker *w)
{
    struct packing *k = w->k;
    struct ledger_pack pack = {0};
    const uint8_t *bytes;
    size_t len;
    unsigned have;
    char name[PACK_NAME_LEN];
    pthread_mutex_lock(&k->build);
    int err = stopped(k) ? ERR_INTR : build(w);
    pthread_mutex_unlock(&k->build);
    if (err || w->count == 0)
        return err;
    err = pack_builder_finish(w->builder, &bytes, &len, pack.hash);
    if (err)
        return err;
    pack.size = len;
    pack_name(pack.hash, name);
    const int64_t start = now_ms();
    send_pack(w, bytes, len, name, &have);
    if (have && len == PACK_SIZE && now_ms() - start <= FAST_MS)
        wake_extra(k, true, false);
    return have ? note_all(w, &pack, have) : 0;
}

/* ---- workers ---- */

static void *work(void *arg)
{
    struct worker *w = arg;
    struct packing *k = w->k;
    int err = 0;
    if (!w->extra || wait_until_fast(k)) {
        do
            err = one_pack(w);
        while (!err && w->count && !stopped(k));
        if (err && err != ERR_INTR)
            fail(k, err);
    }
    wake_extra(k, false, true);
    pthread_mutex_lock(&k->state);
    k->running--;
    pthread_cond_signal(&k->gone);
    pthread_mutex_unlock(&k->state);
    return NULL;
}

static void worker_free(struct worker *w)
{
    for (size_t i = 0; i < STORES_MAX; i++)
        store_close(w->own[i]);
    pack_builder_free(w->builder);
    free(w->placed);
}

/* The first worker uses the stores that were given; the others need their own. False: no memory or no way to open more. */
static bool worker_make(struct packing *k, struct worker *w, bool first)
{
    struct push *p = k->p;
    memset(w, 0, sizeof(*w));
    w->k = k;
    for (size_t i = 0; i < p->store_count && !first; i++)
        if (!p->stores[i].item || stores_open(p->stores[i].item, &w->own[i], NULL)) {
            w->own[i] = NULL;
            worker_free(w);
            return false;
        }
    w->builder = pack_builder_new(p->epoch_key, p->epoch, vault_id(p->params->vault));
    if (!w->builder)
        worker_free(w);
    return w->builder != NULL;
}

/* Waits for all; passes a cancellation on to what hangs in the network. */
static void wait_all(struct packing *k, struct worker *workers, unsigned n)
{
    bool told = false;
    pthread_mutex_lock(&k->state);
    while (k->running) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += CANCEL_POLL_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&k->gone, &k->state, &until);
        if (told || !push_cancelled(k->p))
            continue;
        told = true;
        for (unsigned i = 0; i < n; i++)
            for (size_t s = 0; s < STORES_MAX; s++)
                if (workers[i].own[s])
                    store_cancel(workers[i].own[s]);
    }
    pthread_mutex_unlock(&k->state);
}

static int run_workers(struct packing *k, unsigned want)
{
    struct worker workers[PUSH_WORKERS];
    unsigned made = 0, started = 0;
    while (made < want && worker_make(k, &workers[made], made == 0))
        made++;
    if (made == 0)
        return ERR_NOMEM;
    for (; started < made; started++) {
        workers[started].extra = started >= PUSH_WORKERS_SLOW;
        pthread_mutex_lock(&k->state);
        k->running++;
        pthread_mutex_unlock(&k->state);
        if (pthread_create(&workers[started].thread, NULL, work, &workers[started])) {
            pthread_mutex_lock(&k->state);
            k->running--;
            pthread_mutex_unlock(&k->state);
            break;
        }
    }
    wait_all(k, workers, started);
    for (unsigned i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    for (unsigned i = 0; i < made; i++)
        worker_free(&workers[i]);
    return started ? k->err : ERR_NOMEM;
}

/* How many workers are worth their buffers, and where the work ends. */
static int survey(struct packing *k, unsigned *want)
{
    struct push *p = k->p;
    const struct push_limits *limits = p->params->limits;
    unsigned most = limits && limits->workers && limits->workers < PUSH_WORKERS ? limits->workers
                                                                                : PUSH_WORKERS;
    struct index_stats stats;
    sqlite3_stmt *stmt;
    index_lock(p->ix);
    int err = index_stats(p->ix, &stats);
    if (!err)
        err = index_prepare(p->ix, "SELECT max(eid) FROM extent WHERE pack = 0", &stmt);
    if (!err) {
        if (sqlite3_step(stmt) == SQLITE_ROW)
            k->last = (uint64_t)sqlite3_column_int64(stmt, 0);
        sqlite3_finalize(stmt);
    }
    index_unlock(p->ix);
    if (err)
        return err;
    uint64_t packs = k->last ? stats.unpacked_bytes / PACK_SIZE + 1 : 0;
    *want = packs < most ? (unsigned)packs : most;
    pthread_mutex_lock(&p->lock);
    p->total = p->done + stats.unpacked_bytes;
    pthread_mutex_unlock(&p->lock);
    return 0;
}

int push_packs(struct push *p)
{
    struct packing k = {.p = p};
    unsigned want = 0;
    pthread_condattr_t monotonic;
    int err = survey(&k, &want);
    if (err || !want)
        return err;
    pthread_mutex_init(&k.build, NULL);
    pthread_mutex_init(&k.state, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&k.gone, &monotonic);
    pthread_cond_init(&k.more, NULL);
    pthread_condattr_destroy(&monotonic);
    err = stopped(&k) ? 0 : run_workers(&k, want);
    pthread_cond_destroy(&k.gone);
    pthread_cond_destroy(&k.more);
    pthread_mutex_destroy(&k.state);
    pthread_mutex_destroy(&k.build);
    return err;
}
