/*
 * Who reads on, and what is fetched ahead for it.
 *
 * What follows is looked for in the order of the extents' numbers, which is the order in which files were written, here or on the
 * device that the batches came from: so it goes on from extent to extent, from file to file and from pack to pack.
 */
#include "crypto/err.h"
#include "crypto/pagevfs.h"
#include "fs/data_keep.h"
#include "sync/hydrate_impl.h"

#include <stdlib.h>
#include <string.h>

#define SLACK      32u         /* blocks: the kernel asks in parallel, so not quite in order */
#define EDGE       8u          /* blocks at the end of an extent that need not have been read */
#define GAP        4u          /* numbers that may be missing between two extents of a stream */
#define NEAR       (64u << 10) /* bytes of a pack that are fetched in vain rather than asking twice */
#define WINDOW_MIN (256u << 10)
#define UNKEPT     (4u << 20) /* ahead at most when nothing can be kept on the disk */
#define SMALL_FILE (8u << 20) /* whoever reads on in such a file will read it all */
#define GROWTH     8u         /* ahead at most, in what was read so far */
#define ROWS       256u
#define LOOK       1024u /* numbers looked at in one go; beyond, it is hardly the same reader's */
#define STALE_MS   5000
#define QUIET_MS   5000

/* ---- streams; all need the lock ---- */

static void advance(struct hydrate_stream *s, const struct extent *e, size_t end)
{
    const size_t blocks = (e->len + SEAL_BLOCK - 1) / SEAL_BLOCK;
    s->used = hydrate_now();
    if (e->eid == s->eid) {
        if (end <= s->block)
            return;
        s->consumed += (uint64_t)(end - s->block) * SEAL_BLOCK;
        s->block = end;
        return;
    }
    s->consumed += e->len;
    s->ahead -= e->len < s->ahead ? e->len : s->ahead;
    s->left -= e->len < s->left ? e->len : s->left;
    s->eid = e->eid;
    s->block = end;
    s->blocks = blocks;
    if (s->planned < e->eid) { /* beyond all that was planned */
        s->planned = e->eid;
        s->ahead = 0;
        s->exhausted = false;
    }
}

/* Is this where the stream is, or what comes next for it? */
static bool is_next(const struct hydrate_stream *s, const struct vault_fetch *ask)
{
    const uint64_t eid = ask->e->eid;
    if (eid == s->eid)
        return ask->first <= s->block + SLACK && s->block <= ask->first + SLACK;
    if (eid < s->eid)
        return false;
    if (eid <= s->planned)
        return true;
    return eid - s->planned <= GAP && ask->first <= EDGE &&
           (s->planned > s->eid || s->block + EDGE >= s->blocks);
}

static struct hydrate_stream *find_stream(struct hydrate *h, const struct vault_fetch *ask)
{
    for (size_t i = 0; i < HYDRATE_STREAMS; i++)
        if (h->streams[i].id && is_next(&h->streams[i], ask))
            return &h->streams[i];
    return NULL;
}

static void begin_stream(struct hydrate *h, const struct vault_fetch *ask)
{
    struct hydrate_stream *oldest = NULL;
    for (size_t i = 0; i < HYDRATE_STREAMS; i++) {
        struct hydrate_stream *s = &h->streams[i];
        if (!s->planning && (!oldest || s->used < oldest->used))
            oldest = s;
    }
    if (!oldest)
        return;
    *oldest = (struct hydrate_stream){.id = ++h->stream_ids,
                                      .ino = ask->ino,
                                      .eid = ask->e->eid,
                                      .planned = ask->e->eid,
                                      .block = ask->end,
                                      .blocks = (ask->e->len + SEAL_BLOCK - 1) / SEAL_BLOCK,
                                      .consumed = (ask->end - ask->first) * SEAL_BLOCK,
                                      .left = ask->left,
                                      .used = hydrate_now()};
}

static uint64_t window(const struct hydrate *h, const struct hydrate_stream *s)
{
    const uint64_t most = data_keep_can(h->vault) ? HYDRATE_AHEAD : UNKEPT;
    uint64_t want = s->consumed * GROWTH > WINDOW_MIN ? s->consumed * GROWTH : WINDOW_MIN;
    if (!s->crossed && s->left <= SMALL_FILE && s->left > want)
        want = s->left;
    return want < most ? want : most;
}

static bool needs_plan(const struct hydrate *h, const struct hydrate_stream *s)
{
    return s->id && s->goes_on && !s->planning && !s->exhausted && s->ahead < window(h, s) / 2 &&
           (s->crossed || s->ahead < s->left);
}

static void ask_for_plan(struct hydrate *h, const struct hydrate_stream *s)
{
    if (needs_plan(h, s) && hydrate_now() >= h->quiet_until)
        pthread_cond_broadcast(&h->work);
}

bool hydrate_note_reader(struct hydrate *h, const struct vault_fetch *ask)
{
    struct hydrate_stream *s = find_stream(h, ask);
    if (!s) {
        begin_stream(h, ask);
        atomic_store(&h->live, true);
        return false;
    }
    if (ask->e->eid != s->eid || ask->end > s->block)
        s->goes_on = true; /* not when the same is read once more */
    if (ask->ino != s->ino)
        s->crossed = true;
    s->ino = ask->ino;
    advance(s, ask->e, ask->end);
    if (s->eid == ask->e->eid)
        s->left = ask->left;
    ask_for_plan(h, s);
    return s->goes_on;
}

void hydrate_reading(struct hydrate *h, const struct extent *e)
{
    if (!atomic_load_explicit(&h->live, memory_order_relaxed))
        return;
    bool live = false;
    const int64_t now = hydrate_now();
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < HYDRATE_STREAMS; i++) {
        struct hydrate_stream *s = &h->streams[i];
        if (!s->id)
            continue;
        if (s->goes_on && e->eid >= s->eid && e->eid <= s->planned) {
            advance(s, e, (e->len + SEAL_BLOCK - 1) / SEAL_BLOCK);
            ask_for_plan(h, s);
        }
        live = live || now - s->used < STALE_MS;
    }
    if (!live)
        atomic_store(&h->live, false);
    pthread_mutex_unlock(&h->lock);
}

struct hydrate_stream *hydrate_to_plan(struct hydrate *h)
{
    if (hydrate_now() < h->quiet_until)
        return NULL;
    for (size_t i = 0; i < HYDRATE_STREAMS; i++)
        if (needs_plan(h, &h->streams[i]))
            return &h->streams[i];
    return NULL;
}

bool hydrate_is_stale(struct hydrate *h, uint64_t stream)
{
    for (size_t i = 0; i < HYDRATE_STREAMS; i++)
        if (h->streams[i].id == stream)
            return hydrate_now() < h->quiet_until || hydrate_now() - h->streams[i].used > STALE_MS;
    return true;
}

void hydrate_ahead_failed(struct hydrate *h)
{
    h->quiet_until = hydrate_now() + QUIET_MS;
    for (size_t i = 0; i < HYDRATE_STREAMS; i++) { /* begins anew from where the reader is then */
        h->streams[i].planned = h->streams[i].eid;
        h->streams[i].ahead = 0;
        h->streams[i].exhausted = false;
    }
}

/* ---- planning ---- */

struct planned {
    struct extent e;
    size_t
        rank; /* of its pack among those of the plan, in the order in which the reader comes to them */
};

struct plan {
    struct hydrate *h;
    uint64_t stream, from, budget; /* budget: bytes that may still be planned */
    size_t part;
    struct planned rows[ROWS];
    size_t n;
    struct ledger_pack pack; /* of the job that is being made */
    struct hydrate_job *jobs, **end;
    struct hydrate_job *open; /* the last, to which pieces may still be added */
    uint64_t bytes;
};

/* What is missing behind ${from}. */
static int load_rows(struct plan *p)
{
    struct index *ix = vault_index(p->h->vault);
    sqlite3_stmt *stmt;
    p->n = 0;
    index_lock(ix);
    int err =
        index_prepare(ix,
                      "SELECT eid, id, len, epoch, refs, pack, pack_off FROM extent WHERE eid > ?1"
                      " AND eid <= ?2 AND seg = 0 AND pack <> 0 AND refs > 0 ORDER BY eid"
                      " LIMIT ?3",
                      &stmt);
    if (!err) {
        int rc;
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)p->from);
        sqlite3_bind_int64(stmt, 2, (sqlite3_int64)(p->from + LOOK));
        sqlite3_bind_int64(stmt, 3, ROWS);
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
            struct extent *e = &p->rows[p->n++].e;
            *e = (struct extent){.eid = (uint64_t)sqlite3_column_int64(stmt, 0),
                                 .len = (uint32_t)sqlite3_column_int64(stmt, 2),
                                 .epoch = (uint32_t)sqlite3_column_int64(stmt, 3),
                                 .refs = (uint32_t)sqlite3_column_int64(stmt, 4),
                                 .pack = (uint64_t)sqlite3_column_int64(stmt, 5),
                                 .pack_off = (uint64_t)sqlite3_column_int64(stmt, 6)};
            const void *id = sqlite3_column_blob(stmt, 1);
            if (id && sqlite3_column_bytes(stmt, 1) == SEAL_ID_LEN)
                memcpy(e->id, id, SEAL_ID_LEN);
        }
        if (rc != SQLITE_DONE)
            err = pagevfs_err(rc);
        sqlite3_finalize(stmt);
    }
    index_unlock(ix);
    return err;
}

/* The open job has room for it, and nothing much lies between. */
static bool fits(const struct plan *p, const struct extent *e)
{
    const struct hydrate_job *job = p->open;
    if (!job || job->pack.pid != e->pack)
        return false;
    const uint64_t stop = job->off + job->len, end = e->pack_off + seal_size(e->len);
    return e->pack_off >= stop && e->pack_off - stop <= NEAR && end - job->off <= p->part;
}

static int open_job(struct plan *p, const struct extent *e)
{
    struct index *ix = vault_index(p->h->vault);
    int err = 0;
    if (p->pack.pid != e->pack) {
        index_lock(ix);
        err = ledger_pack_get(ix, e->pack, &p->pack);
        index_unlock(ix);
        if (err)
            p->pack.pid = 0;
    }
    p->open = err ? NULL : hydrate_job_new(&p->pack);
    if (!p->open)
        return err ? err : ERR_NOMEM;
    p->open->stream = p->stream;
    *p->end = p->open;
    p->end = &p->open->next;
    return 0;
}

/* False: a reader or a stream has it on its way already. */
static bool is_free(struct plan *p, const struct extent *e)
{
    size_t piece;
    pthread_mutex_lock(&p->h->lock);
    bool taken = hydrate_find(p->h, e->eid, 0, 1, &piece) != NULL;
    pthread_mutex_unlock(&p->h->lock);
    return !taken;
}

static int add_row(struct plan *p, const struct extent *e)
{
    int err = fits(p, e) ? 0 : open_job(p, e);
    return err ? err : hydrate_job_add(p->open, e, 0, (e->len + SEAL_BLOCK - 1) / SEAL_BLOCK);
}

static int by_place(const void *a, const void *b)
{
    const struct planned *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->e.pack_off < y->e.pack_off ? -1 : x->e.pack_off > y->e.pack_off;
}

/* Drops the rows that there is no room for, or that are on their way already. *to: the last that was looked at. */
static void choose_rows(struct plan *p, uint64_t *to)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n && p->bytes < p->budget; i++) {
        struct planned row = p->rows[i];
        *to = row.e.eid;
        if (row.e.len == 0 || row.e.len > SEAL_EXTENT_MAX || !is_free(p, &row.e))
            continue;
        size_t same = 0;
        while (same < n && p->rows[same].e.pack != row.e.pack)
            same++;
        row.rank = same < n ? p->rows[same].rank : n;
        p->bytes += row.e.len;
        p->rows[n++] = row;
    }
    p->n = n;
}

/* Extents lie in packs nearly, but not quite, in the order of their numbers. Those that cannot be fetched are left to a reader, who is
 * told why. False: there is nothing more. */
static bool make_jobs(struct plan *p, uint64_t *to)
{
    bool more = !load_rows(p) && p->n;
    choose_rows(p, to);
    qsort(p->rows, p->n, sizeof(p->rows[0]), by_place);
    for (size_t i = 0; more && i < p->n; i++)
        more = add_row(p, &p->rows[i].e) != ERR_NOMEM;
    return more;
}

static struct plan *plan_new(struct hydrate *h, const struct hydrate_stream *s)
{
    struct plan *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    const uint64_t most = window(h, s);
    p->h = h;
    p->end = &p->jobs;
    p->stream = s->id;
    p->from = s->planned;
    p->budget = most > s->ahead ? most - s->ahead : 0;
    if (!s->crossed) {
        const uint64_t left = s->left > s->ahead ? s->left - s->ahead : 0;
        p->budget = left < p->budget ? left : p->budget;
    }
    /* so many parts that they travel side by side, but not one for each small extent */
    p->part = h->part < most / 4 ? h->part : (size_t)(most / 4);
    return p;
}

void hydrate_plan(struct hydrate *h, struct hydrate_stream *s)
{
    uint64_t to = 0;
    pthread_mutex_lock(&h->lock);
    struct plan *p = plan_new(h, s);
    pthread_mutex_unlock(&h->lock);
    bool more = p && make_jobs(p, &to);
    pthread_mutex_lock(&h->lock);
    s->planning = false;
    if (p && p->from == s->planned) { /* else it has failed meanwhile, or the reader is further */
        s->planned = to > s->planned ? to : s->planned;
        s->ahead += p->bytes;
    }
    s->exhausted = !more;
    for (struct hydrate_job *job = p ? p->jobs : NULL, *next; job; job = next) {
        next = job->next;
        if (job->n)
            hydrate_enqueue(h, job);
        else
            hydrate_job_free(job);
    }
    pthread_mutex_unlock(&h->lock);
    free(p);
}
