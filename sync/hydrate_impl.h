/*
 * hydrate_impl.h - what the parts of hydrate share. Internal to sync/hydrate*.c.
 *
 * hydrate.c: readers, jobs, workers. hydrate_job.c: one job, from the stores to the disk. hydrate_ahead.c: who reads on, and
 * what is fetched ahead for it.
 */
#ifndef SYNC_HYDRATE_IMPL_H
#define SYNC_HYDRATE_IMPL_H

#include "sync/hydrate.h"
#include "sync/ledger.h"
#include "sync/pack.h"

#include <pthread.h>
#include <stdatomic.h>

#define HYDRATE_STREAMS 8u

/* A list of stores, as long as somebody uses it. */
struct hydrate_list {
    struct stores_item *items;
    size_t n;
    unsigned refs; /* guarded by lock */
};

/* A reader who waits; lives on its stack, and in its job until it is done. Guarded by lock. */
struct hydrate_want {
    struct hydrate_want *next;
    struct vault_fetch *ask;
    enum {
        WANT_WAITING,
        WANT_SERVED /* its buffer is being filled: it must not leave */,
        WANT_DONE
    } state;
    int err;
};

/* Blocks [first, end) of an extent: a piece of a job. */
struct hydrate_piece {
    struct extent e;
    size_t first, end;
    bool good;             /* verified; the worker's */
    bool done;             /* nothing to keep: has come meanwhile, or is kept; the worker's */
    const uint8_t *sealed; /* of block first, when good */
};

/* One get: neighbouring pieces of one pack. The pieces do not change once it is in the queue. */
struct hydrate_job {
    struct hydrate_job *next;
    struct hydrate_want *wants; /* guarded by lock */
    struct ledger_pack pack;
    char name[PACK_NAME_LEN];
    uint64_t off; /* in the pack */
    size_t len;
    struct hydrate_piece *pieces;
    size_t n, cap;
    uint64_t low, high; /* eids */
    uint64_t stream;    /* that it is fetched ahead for; 0: for a reader only */
    bool running;       /* guarded by lock */
    bool
        abandoned; /* guarded by lock: nobody waited any more, so it is being ended; nobody joins it */
};

/* Somebody who reads on. All guarded by lock. */
struct hydrate_stream {
    uint64_t id; /* 0: free */
    uint64_t ino, eid;
    size_t block, blocks; /* how far it is in the extent, and how many that has */
    uint64_t planned;     /* extents up to this number are fetched, or have been looked at */
    uint64_t consumed;    /* bytes read so far */
    uint64_t ahead;       /* bytes of what is planned and not read yet, about */
    uint64_t left;        /* bytes of the file behind the extent */
    bool goes_on;         /* seen twice: it is a stream */
    bool crossed;         /* has gone on from one file to the next */
    bool exhausted;       /* nothing more is missing there */
    bool planning;        /* a worker is at it */
    int64_t used;         /* ms */
};

struct hydrate_worker {
    struct hydrate *h;
    pthread_t thread;
    struct store *store;       /* guarded by lock; set by the worker only */
    struct hydrate_list *list; /* a reference; the worker's */
    size_t item;
    struct hydrate_job *job; /* guarded by lock; NULL: nothing to watch */
    int64_t deadline;        /* guarded by lock */
    struct bytes_out buf;    /* the worker's */
};

struct hydrate {
    struct vault *vault;
    _Atomic bool live; /* there is a stream: hydrate_reading has something to do */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;  /* something to do, for workers and watcher */
    pthread_cond_t done;  /* a want is done */
    struct hydrate_list *list;
    struct hydrate_job *jobs, **jobs_end; /* in the order in which they came, also those that run */
    struct hydrate_worker workers[HYDRATE_WORKERS];
    unsigned worker_count, idle, ahead_running, running;
    struct hydrate_stream streams[HYDRATE_STREAMS];
    uint64_t stream_ids;
    size_t part;         /* bytes of one get ahead, by what the link carries */
    int64_t quiet_until; /* ms: nothing is fetched ahead, since that failed */
    _Atomic bool ending; /* written under the lock */
    bool watching;
    unsigned readers; /* in hydrate_fetch */
    int64_t timeout;  /* ms */
    pthread_t watcher;
    struct hydrate_stats stats;
};

int64_t hydrate_now(void); /* ms */

/* ---- hydrate.c ---- */
/* The piece that covers these blocks in a job that is not over, or NULL. Needs the lock. */
struct hydrate_job *hydrate_find(struct hydrate *h, uint64_t eid, size_t first, size_t end,
                                 size_t *piece);
struct hydrate_job *hydrate_job_new(const struct ledger_pack *pack);
/* Adds a piece that lies behind the others. ERR_NOMEM, ERR_FORMAT: it is not in the pack. */
int hydrate_job_add(struct hydrate_job *job, const struct extent *e, size_t first, size_t end);
void hydrate_job_free(struct hydrate_job *job);
/* Needs the lock. */
void hydrate_enqueue(struct hydrate *h, struct hydrate_job *job);
void hydrate_list_unref(struct hydrate_list *list);
/* Closes the worker's store. Without the lock. */
void hydrate_worker_close(struct hydrate_worker *w);

/* ---- hydrate_job.c ---- */
/* Runs a job that is marked as running and frees it. Called without the lock. */
void hydrate_run(struct hydrate_worker *w, struct hydrate_job *job);

/* ---- hydrate_ahead.c ---- all but hydrate_plan need the lock */
/* A reader needs blocks that are not here. True: it reads on. */
bool hydrate_note_reader(struct hydrate *h, const struct vault_fetch *ask);
/* One for which more should be planned, or NULL. */
struct hydrate_stream *hydrate_to_plan(struct hydrate *h);
/* Looks up what comes next for the stream and puts jobs into the queue. Without the lock; ${s} is marked as planning. */
void hydrate_plan(struct hydrate *h, struct hydrate_stream *s);
/* Nobody reads there any more: not worth fetching. */
bool hydrate_is_stale(struct hydrate *h, uint64_t stream);
/* A get ahead has failed: the rest is not tried for a while. */
void hydrate_ahead_failed(struct hydrate *h);

#endif
