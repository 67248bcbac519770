/* One job: a get from the first store that gives right bytes, then to the readers who wait and onto the disk. */
#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/data_keep.h"
#include "sync/hydrate_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINK_MS  2000 /* a get ahead is as long as the link needs for it, about */
#define PART_MIN (256u << 10)

static void log_wrong(const struct hydrate_job *job, const struct hydrate_piece *p,
                      const char *what)
{
    char id[2 * SEAL_ID_LEN + 1];
    for (size_t i = 0; i < SEAL_ID_LEN; i++)
        snprintf(id + 2 * i, 3, "%02x", p->e.id[i]);
    log_error("extent %s: %s (%s)", id, what, job->name);
}

/* Right bytes? What a store gives is worth nothing before. Of each block only the first bytes are decrypted: that is the least. */
static int verify(struct vault *vault, const struct hydrate_piece *p, const uint8_t *sealed)
{
    uint8_t plain[SEAL_PART];
    const struct seal_key *key = vault_seal_key(vault, p->e.epoch);
    int err = key ? 0 : ERR_BEHIND; /* a key that is not here yet */
    for (size_t i = p->first; i < p->end && !err; i++) {
        const size_t left = p->e.len - i * SEAL_BLOCK;
        err = seal_open_part(key, p->e.id, p->e.len, i, 0, left < SEAL_PART ? left : SEAL_PART,
                             sealed + seal_block_offset(i - p->first), plain);
    }
    secret_wipe(plain, sizeof(plain));
    return err;
}

/* Where the piece is in what the job gets. */
static size_t place_of(const struct hydrate_job *job, const struct hydrate_piece *p)
{
    return (size_t)(p->e.pack_off + seal_block_offset(p->first) - job->off);
}

static size_t size_of(const struct hydrate_piece *p)
{
    const size_t whole = seal_size(p->e.len), end = seal_block_offset(p->end);
    return (end < whole ? end : whole) - seal_block_offset(p->first);
}

/* ---- from the stores ---- */

/* A handle of the worker's own of that store. */
static int open_store(struct hydrate_worker *w, struct hydrate_list *list, size_t item)
{
    struct hydrate *h = w->h;
    struct store *store = NULL;
    if (w->store && w->list == list && w->item == item) {
        pthread_mutex_lock(&h->lock);
        if (hydrate_now() < w->deadline && !h->ending)
            store_resume(w->store);
        pthread_mutex_unlock(&h->lock);
        return 0;
    }
    hydrate_worker_close(w);
    int err = stores_open(&list->items[item], &store, NULL);
    if (err)
        return err == ERR_NOENT ? ERR_NET : err;
    pthread_mutex_lock(&h->lock);
    list->refs++;
    w->list = list;
    w->item = item;
    w->store = store;
    if (h->ending)
        store_cancel(store);
    pthread_mutex_unlock(&h->lock);
    return 0;
}

/* Which pieces are right in what came. The first that is wrong decides. */
static int check_pieces(struct hydrate_worker *w, struct hydrate_job *job)
{
    int first = 0;
    for (size_t i = 0; i < job->n; i++) {
        struct hydrate_piece *p = &job->pieces[i];
        const size_t at = place_of(job, p);
        int err = ERR_AUTH;
        if (p->good || p->done)
            continue;
        if (at > w->buf.len || size_of(p) > w->buf.len - at)
            log_wrong(job, p, "the pack is too short");
        else if ((err = verify(w->h->vault, p, w->buf.p + at)) == ERR_AUTH)
            log_wrong(job, p, "wrong bytes from the store");
        if (!err) {
            p->good = true;
            p->sealed = w->buf.p + at;
        }
        first = first ? first : err;
    }
    return first;
}

static void note_get(struct hydrate *h, const struct hydrate_job *job, size_t got, int64_t ms)
{
    pthread_mutex_lock(&h->lock);
    h->stats.received += got;
    /* also one that was cut off: on a link that has become slow the large ones come to nothing, again and again */
    if (job->stream && (got == job->len || ms >= LINK_MS)) {
        uint64_t part = (uint64_t)got * LINK_MS / (uint64_t)(ms > 0 ? ms : 1);
        if (part > 2 * (uint64_t)h->part)
            part = 2 * h->part;
        h->part = part > HYDRATE_PART ? HYDRATE_PART : part < PART_MIN ? PART_MIN : (size_t)part;
    }
    pthread_mutex_unlock(&h->lock);
}

static int from_store(struct hydrate_worker *w, struct hydrate_job *job, struct hydrate_list *list,
                      size_t item)
{
    struct hydrate *h = w->h;
    int err = open_store(w, list, item);
    if (err)
        return err;
    for (size_t i = 0; i < job->n;
         i++) /* those of another store are in the buffer that is filled again */
        job->pieces[i].good = false;
    bytes_out_reset(&w->buf);
    if (bytes_put_space(&w->buf, job->len) == NULL) /* so that it need not grow in small steps */
        return ERR_NOMEM;
    bytes_out_reset(&w->buf);
    pthread_mutex_lock(&h->lock);
    h->stats.gets++;
    pthread_mutex_unlock(&h->lock);
    const int64_t start = hydrate_now();
    err = store_get(w->store, job->name, job->off, job->len, job->len, &w->buf);
    note_get(h, job, w->buf.len, hydrate_now() - start);
    if (err == ERR_NOENT)
        log_wrong(job, &job->pieces[0], "the pack is not on the store");
    if (err == ERR_NOENT)
        return ERR_BEHIND;
    if (err == ERR_FORMAT)
        return ERR_AUTH; /* more than was asked for, or another range */
    return err ? err : check_pieces(w, job);
}

/* What to say when no store could help: what is wrong for good says more than what may pass. */
static int worse(int a, int b)
{
    static const int order[] = {0, ERR_BEHIND, ERR_NET, ERR_NETPERM, ERR_LOGIN, ERR_AUTH};
    size_t x = 0, y = 0;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (order[i] == a)
            x = i;
        if (order[i] == b)
            y = i;
    }
    return y > x ? b : a;
}

static bool is_abandoned(struct hydrate *h, const struct hydrate_job *job)
{
    pthread_mutex_lock(&h->lock);
    bool abandoned = job->abandoned;
    pthread_mutex_unlock(&h->lock);
    return abandoned;
}

static int from_stores(struct hydrate_worker *w, struct hydrate_job *job)
{
    struct hydrate *h = w->h;
    pthread_mutex_lock(&h->lock);
    struct hydrate_list *list = h->list;
    list->refs++;
    pthread_mutex_unlock(&h->lock);
    int worst = list->n ? 0 : ERR_NET;
    for (size_t i = 0; i < list->n; i++) {
        int err = from_store(w, job, list, i);
        if (err == ERR_INTR && !h->ending)
            err = ERR_NET; /* by the watcher: too late, or nobody waits */
        worst = err == 0 || err == ERR_INTR || err == ERR_NOMEM ? err : worse(worst, err);
        if (err == 0 || err == ERR_INTR || err == ERR_NOMEM || hydrate_now() >= w->deadline ||
            is_abandoned(h, job))
            break;
    }
    pthread_mutex_lock(&h->lock);
    hydrate_list_unref(list);
    pthread_mutex_unlock(&h->lock);
    return worst;
}

/* ---- to the readers and the disk ---- */

static struct hydrate_piece *piece_of(struct hydrate_job *job, const struct vault_fetch *ask)
{
    for (size_t i = 0; i < job->n; i++)
        if (job->pieces[i].e.eid == ask->e->eid && job->pieces[i].first <= ask->first &&
            ask->end <= job->pieces[i].end)
            return &job->pieces[i];
    return NULL;
}

static int fill(const struct hydrate_piece *p, struct vault_fetch *ask)
{
    const size_t end = p->end < ask->limit ? p->end : ask->limit, whole = seal_size(p->e.len);
    const size_t from = seal_block_offset(ask->first),
                 to = seal_block_offset(end) < whole ? seal_block_offset(end) : whole;
    if (!p->good || memcmp(p->e.id, ask->e->id, SEAL_ID_LEN) != 0)
        return ERR_STALE;
    memcpy(ask->sealed + from, p->sealed + (from - seal_block_offset(p->first)), to - from);
    ask->end = end;
    return 0;
}

/* Those who wait get it, outside the lock: a reader who is being served does not leave. True: there was somebody. Needs the lock. */
static bool serve_one(struct hydrate *h, struct hydrate_job *job, int err)
{
    struct hydrate_want *want = job->wants;
    if (!want)
        return false;
    job->wants = want->next;
    want->state = WANT_SERVED;
    pthread_mutex_unlock(&h->lock);
    struct hydrate_piece *p = piece_of(job, want->ask);
    if (p && p->done)
        want->err = ERR_STALE;
    else if (p && p->good)
        want->err = fill(p, want->ask);
    else
        want->err = err ? err : ERR_STALE;
    if (p && !want->err)
        p->done = true; /* the reader keeps it */
    pthread_mutex_lock(&h->lock);
    want->state = WANT_DONE;
    pthread_cond_broadcast(&h->done);
    return true;
}

/* What was fetched ahead and no reader has taken. Readers that come from now on look again. */
static void keep(struct hydrate *h, struct hydrate_job *job)
{
    struct data_keep items[DATA_KEEP_AT_ONCE];
    size_t n = 0;
    for (size_t i = 0; i < job->n; i++) {
        struct hydrate_piece *p = &job->pieces[i];
        if (p->good && !p->done && p->first == 0 &&
            seal_block_offset(p->end) >= seal_size(p->e.len))
            items[n++] = (struct data_keep){p->e, p->sealed};
        p->done = true;
        if (n == DATA_KEEP_AT_ONCE || (n && i + 1 == job->n)) {
            data_keep_ahead(h->vault, items, n);
            n = 0;
        }
    }
}

/* What has come since the job was made is not fetched again. True: nothing is left. */
static bool drop_present(struct hydrate *h, struct hydrate_job *job)
{
    bool none = true;
    for (size_t i = 0; i < job->n; i++) {
        job->pieces[i].done = data_keep_missing(h->vault, &job->pieces[i].e) != 0;
        none = none && job->pieces[i].done;
    }
    return none;
}

void hydrate_run(struct hydrate_worker *w, struct hydrate_job *job)
{
    struct hydrate *h = w->h;
    int err = drop_present(h, job) ? ERR_STALE : from_stores(w, job);
    pthread_mutex_lock(&h->lock);
    if (err && err != ERR_STALE && job->stream)
        hydrate_ahead_failed(h);
    while (serve_one(h, job, err))
        ;
    pthread_mutex_unlock(&h->lock);
    if (job->stream)
        keep(h, job);
    pthread_mutex_lock(&h->lock);
    /* readers that came meanwhile: the extent is here, or they look again */
    while (serve_one(h, job, err))
        ;
    job->n = 0; /* nobody joins it any more */
    pthread_mutex_unlock(&h->lock);
}
