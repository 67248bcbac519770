/* Readers, jobs and the workers that do them. */
#include "sync/hydrate.h"

#include "crypto/err.h"
#include "sync/hydrate_impl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_MS       100
#define IDLE_MS       2000         /* after which an idle worker gives its buffer back */
#define PART_START    (1u << 20)   /* of one get ahead, before anything is known of the link */
#define SLOW_PART     (512u << 10) /* on a link that slow, gets ahead take it from readers */
#define SLOW_PARALLEL 2u
#define AT_LEAST      (64u << 10)  /* a get for a reader: a round trip costs more */
#define WHOLE         (192u << 10) /* extents up to this size are fetched whole */

int64_t hydrate_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Needs the lock. */
static int wait_ms(struct hydrate *h, pthread_cond_t *cond, unsigned ms)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += (long)(ms % 1000) * 1000000;
    ts.tv_sec += ms / 1000 + ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    return pthread_cond_clockwait(cond, &h->lock, CLOCK_MONOTONIC, &ts);
}

/* ---- stores ---- */

/* Needs the lock. */
void hydrate_list_unref(struct hydrate_list *list)
{
    if (!list || --list->refs)
        return;
    stores_free(list->items, list->n);
    free(list);
}

void hydrate_worker_close(struct hydrate_worker *w)
{
    pthread_mutex_lock(&w->h->lock);
    struct store *store = w->store;
    w->store = NULL; /* the watcher does not touch it any more */
    hydrate_list_unref(w->list);
    w->list = NULL;
    pthread_mutex_unlock(&w->h->lock);
    store_close(store);
}

/* ---- jobs ---- */

struct hydrate_job *hydrate_job_new(const struct ledger_pack *pack)
{
    struct hydrate_job *job = calloc(1, sizeof(*job));
    if (!job)
        return NULL;
    job->pack = *pack;
    pack_name(pack->hash, job->name);
    job->low = UINT64_MAX;
    return job;
}

void hydrate_job_free(struct hydrate_job *job)
{
    free(job->pieces);
    free(job);
}

int hydrate_job_add(struct hydrate_job *job, const struct extent *e, size_t first, size_t end)
{
    const size_t whole = seal_size(e->len), from = seal_block_offset(first),
                 to = seal_block_offset(end) < whole ? seal_block_offset(end) : whole;
    if (e->len == 0 || e->len > SEAL_EXTENT_MAX || from >= to || e->pack_off > job->pack.size ||
        whole > job->pack.size - e->pack_off)
        return ERR_FORMAT;
    if (job->n == job->cap) {
        size_t cap = job->cap ? job->cap * 2 : 4;
        struct hydrate_piece *pieces = realloc(job->pieces, cap * sizeof(*pieces));
        if (!pieces)
            return ERR_NOMEM;
        job->pieces = pieces;
        job->cap = cap;
    }
    job->pieces[job->n++] = (struct hydrate_piece){.e = *e, .first = first, .end = end};
    if (job->n == 1)
        job->off = e->pack_off + from;
    job->len = (size_t)(e->pack_off + to - job->off);
    job->low = e->eid < job->low ? e->eid : job->low;
    job->high = e->eid > job->high ? e->eid : job->high;
    return 0;
}

struct hydrate_job *hydrate_find(struct hydrate *h, uint64_t eid, size_t first, size_t end,
                                 size_t *piece)
{
    for (struct hydrate_job *job = h->jobs; job; job = job->next) {
        if (eid < job->low || eid > job->high || job->abandoned)
            continue;
        for (size_t i = 0; i < job->n; i++)
            if (job->pieces[i].e.eid == eid && job->pieces[i].first <= first &&
                end <= job->pieces[i].end) {
                *piece = i;
                return job;
            }
    }
    return NULL;
}

/* Takes it out of the queue. Needs the lock. */
static void dequeue(struct hydrate *h, struct hydrate_job *job)
{
    struct hydrate_job **at = &h->jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    if (h->jobs_end == &job->next)
        h->jobs_end = at;
}

/* ---- workers ---- */

static unsigned most_ahead(const struct hydrate *h)
{
    return h->part < SLOW_PART ? SLOW_PARALLEL : HYDRATE_WORKERS - 1;
}

/* The next thing to do: what a reader waits for, or what is fetched ahead, of which nothing is done that nobody reads any more.
 * Needs the lock. */
static struct hydrate_job *next_job(struct hydrate *h, bool ahead)
{
    for (struct hydrate_job *job = h->jobs, *next; job; job = next) {
        next = job->next;
        if (job->running)
            continue;
        if (job->wants || (ahead && !hydrate_is_stale(h, job->stream)))
            return job;
        if (!job->stream || ahead) { /* its reader has left, or the stream */
            dequeue(h, job);
            hydrate_job_free(job);
        }
    }
    return NULL;
}

/* Needs the lock, and gives it up. */
static void do_job(struct hydrate_worker *w, struct hydrate_job *job)
{
    struct hydrate *h = w->h;
    const bool ahead = job->stream;
    job->running = true;
    h->ahead_running += ahead;
    h->running++;
    w->deadline = hydrate_now() + h->timeout;
    w->job = job;
    pthread_cond_broadcast(&h->work);
    pthread_mutex_unlock(&h->lock);
    hydrate_run(w, job);
    pthread_mutex_lock(&h->lock);
    w->job = NULL;
    dequeue(h, job);
    hydrate_job_free(job);
    h->running--;
    h->ahead_running -= ahead;
    pthread_cond_broadcast(&h->work);
}

static void *work(void *arg)
{
    struct hydrate_worker *w = arg;
    struct hydrate *h = w->h;
    pthread_mutex_lock(&h->lock);
    while (!h->ending) {
        struct hydrate_job *job = next_job(h, false);
        struct hydrate_stream *stream = job ? NULL : hydrate_to_plan(h);
        if (stream) {
            stream->planning = true;
            pthread_mutex_unlock(&h->lock);
            hydrate_plan(h, stream);
            pthread_mutex_lock(&h->lock);
            continue;
        }
        if (!job && h->ahead_running < most_ahead(h))
            job = next_job(h, true);
        if (job) {
            do_job(w, job);
            continue;
        }
        h->idle++;
        if (!w->buf.p)
            pthread_cond_wait(&h->work, &h->lock);
        else if (wait_ms(h, &h->work, IDLE_MS))
            bytes_out_release(&w->buf);
        h->idle--;
    }
    pthread_mutex_unlock(&h->lock);
    bytes_out_release(&w->buf);
    return NULL;
}

/* One more worker, if there is more to do than idle ones. Needs the lock. */
static void hire(struct hydrate *h)
{
    unsigned waiting = 0;
    for (struct hydrate_job *job = h->jobs; job; job = job->next)
        waiting += !job->running;
    if (waiting <= h->idle || h->worker_count == HYDRATE_WORKERS || h->ending)
        return;
    struct hydrate_worker *w = &h->workers[h->worker_count];
    *w = (struct hydrate_worker){.h = h};
    bytes_out_init(&w->buf);
    if (pthread_create(&w->thread, NULL, work, w) == 0)
        h->worker_count++;
}

void hydrate_enqueue(struct hydrate *h, struct hydrate_job *job)
{
    job->next = NULL;
    *h->jobs_end = job;
    h->jobs_end = &job->next;
    hire(h);
    pthread_cond_broadcast(&h->work);
}

/* ---- the watcher ---- */

static bool is_wanted(const struct hydrate_job *job)
{
    for (const struct hydrate_want *want = job->wants; want; want = want->next)
        if (!*want->ask->cancelled)
            return true;
    return job->stream;
}

/* A thread that ends what takes too long, and what nobody waits for any more. */
static void *watch(void *ctx)
{
    struct hydrate *h = ctx;
    pthread_mutex_lock(&h->lock);
    while (!h->ending) {
        if (!h->running) {
            pthread_cond_wait(&h->work, &h->lock);
            continue;
        }
        const int64_t until = hydrate_now() + POLL_MS;
        while (!h->ending && hydrate_now() < until)
            wait_ms(h, &h->work, POLL_MS);
        for (unsigned i = 0; i < h->worker_count; i++) {
            struct hydrate_worker *w = &h->workers[i];
            if (!w->job || !w->store)
                continue;
            if (!is_wanted(w->job))
                w->job->abandoned = true;
            if (w->job->abandoned || hydrate_now() >= w->deadline)
                store_cancel(w->store);
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* ---- beginning and end ---- */

int hydrate_new(struct hydrate **out, struct vault *vault)
{
    struct hydrate *h = calloc(1, sizeof(*h));
    if (!h)
        return ERR_NOMEM;
    h->vault = vault;
    h->timeout = HYDRATE_TIMEOUT_MS;
    h->part = PART_START;
    h->jobs_end = &h->jobs;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->work, NULL);
    pthread_cond_init(&h->done, NULL);
    *out = h;
    return 0;
}

void hydrate_free(struct hydrate *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->ending = true;
    pthread_cond_broadcast(&h->work);
    pthread_cond_broadcast(&h->done);
    for (unsigned i = 0; i < h->worker_count; i++)
        if (h->workers[i].store)
            store_cancel(h->workers[i].store);
    while (h->readers)
        wait_ms(h, &h->done, POLL_MS);
    pthread_mutex_unlock(&h->lock);
    for (unsigned i = 0; i < h->worker_count; i++) {
        pthread_join(h->workers[i].thread, NULL);
        hydrate_worker_close(&h->workers[i]);
    }
    if (h->watching)
        pthread_join(h->watcher, NULL);
    for (struct hydrate_job *job; (job = h->jobs); hydrate_job_free(job))
        h->jobs = job->next;
    hydrate_list_unref(h->list);
    pthread_cond_destroy(&h->work);
    pthread_cond_destroy(&h->done);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

void hydrate_set_timeout(struct hydrate *h, int64_t ms)
{
    pthread_mutex_lock(&h->lock);
    h->timeout = ms;
    pthread_mutex_unlock(&h->lock);
}

void hydrate_set_stores(struct hydrate *h, struct stores_item *items, size_t n)
{
    struct hydrate_list *list = malloc(sizeof(*list));
    if (!list) {
        stores_free(items, n);
        return;
    }
    *list = (struct hydrate_list){items, n, 1};
    pthread_mutex_lock(&h->lock);
    hydrate_list_unref(h->list);
    h->list = list; /* workers see it at their next job */
    h->quiet_until = 0;
    pthread_mutex_unlock(&h->lock);
}

void hydrate_stats(struct hydrate *h, struct hydrate_stats *stats)
{
    *stats = (struct hydrate_stats){0};
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    *stats = h->stats;
    for (struct hydrate_job *job = h->jobs; job; job = job->next)
        stats->jobs++;
    for (size_t i = 0; i < HYDRATE_STREAMS; i++)
        stats->jobs += h->streams[i].planning;
    stats->jobs += hydrate_to_plan(h) != NULL;
    pthread_mutex_unlock(&h->lock);
}

/* ---- a reader ---- */

static int find_pack(struct hydrate *h, const struct extent *e, struct ledger_pack *pack)
{
    struct index *ix = vault_index(h->vault);
    if (e->pack == 0)
        return ERR_FORMAT;
    index_lock(ix);
    int err = ledger_pack_get(ix, e->pack, pack);
    index_unlock(ix);
    return err ? ERR_FORMAT : 0;
}

/* How much of the extent is fetched for it. Needs the lock. */
static size_t how_much(struct hydrate *h, const struct vault_fetch *ask)
{
    const bool reads_on = hydrate_note_reader(h, ask);
    const size_t least = ask->first + AT_LEAST / SEAL_BLOCK;
    size_t end = ask->end > least ? ask->end : least;
    if (reads_on || seal_size(ask->e->len) <= WHOLE || end > ask->limit)
        end = ask->limit;
    return end;
}

/* A job for this reader alone. Needs the lock. */
static int begin(struct hydrate *h, const struct vault_fetch *ask, size_t end,
                 const struct ledger_pack *pack, struct hydrate_job **out)
{
    struct hydrate_job *job = hydrate_job_new(pack);
    int err = job ? hydrate_job_add(job, ask->e, ask->first, end) : ERR_NOMEM;
    if (!err) {
        hydrate_enqueue(h, job);
        *out = job;
        return h->worker_count ? 0 : ERR_NOMEM;
    }
    if (job)
        hydrate_job_free(job);
    return err;
}

static void leave(struct hydrate_job *job, struct hydrate_want *want)
{
    struct hydrate_want **at = &job->wants;
    while (*at != want)
        at = &(*at)->next;
    *at = want->next;
}

/* Needs the lock. */
static int wait_for(struct hydrate *h, struct hydrate_job *job, struct hydrate_want *want,
                    int64_t deadline)
{
    want->state = WANT_WAITING;
    want->next = job->wants;
    job->wants = want;
    while (want->state != WANT_DONE) {
        int err = *want->ask->cancelled || h->ending ? ERR_INTR
                  : hydrate_now() >= deadline        ? ERR_NET
                                                     : 0;
        if (err && want->state == WANT_WAITING) {
            leave(job, want);
            return err;
        }
        wait_ms(h, &h->done, POLL_MS);
    }
    /* the watcher may have ended it for that very reason */
    return want->err && *want->ask->cancelled ? ERR_INTR : want->err;
}

/* Waits for what is on its way, or for a get of its own: also when what was on its way came to nothing, since that may have been begun when
 * things were worse. Needs the lock. */
static int join_or_begin(struct hydrate *h, struct vault_fetch *ask, const struct ledger_pack *pack)
{
    struct hydrate_want want = {.ask = ask};
    const int64_t deadline = hydrate_now() + h->timeout;
    const size_t end = how_much(h, ask);
    size_t piece;
    struct hydrate_job *job = hydrate_find(h, ask->e->eid, ask->first, ask->end, &piece);
    if (job) {
        int err = wait_for(h, job, &want, deadline);
        if (err == 0 || err == ERR_STALE || err == ERR_INTR || hydrate_now() >= deadline)
            return err;
    }
    int err = begin(h, ask, end, pack, &job);
    return err ? err : wait_for(h, job, &want, deadline);
}

int hydrate_fetch(struct hydrate *h, struct vault_fetch *ask)
{
    struct ledger_pack pack;
    int err = find_pack(h, ask->e, &pack);
    if (err)
        return err;
    pthread_mutex_lock(&h->lock);
    if (!h->watching)
        h->watching = pthread_create(&h->watcher, NULL, watch, h) == 0;
    h->readers++;
    err = h->ending || !h->list || !h->watching ? ERR_NET : join_or_begin(h, ask, &pack);
    h->readers--;
    pthread_mutex_unlock(&h->lock);
    return err;
}
