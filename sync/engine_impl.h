/*
 * engine_impl.h - what the parts of the engine share. Internal to sync/engine*.c.
 */
#ifndef SYNC_ENGINE_IMPL_H
#define SYNC_ENGINE_IMPL_H

#include "sync/engine.h"
#include "sync/hydrate.h"

#include <pthread.h>
#include <stdatomic.h>

struct engine {
    struct vault *vault;
    struct engine_options options;
    struct hydrate *hydrate;
    struct vault_fetcher fetcher;
    int event; /* eventfd: wakes the thread */

    atomic_int_fast64_t first_change, last_change; /* monotonic ms; 0: nothing waits */
    atomic_bool cancel; /* engine_cancel: of engine_sync and engine_check */
    atomic_bool halt;   /* of whatever runs, for good */
    atomic_bool reload; /* the list of stores is to be read again */
    atomic_bool kick;   /* try now, whatever went wrong before */

    pthread_mutex_t run;       /* held by who pushes, pulls or checks; taken before state */
    struct stores_item *items; /* guarded by run */
    struct stores_handle handles[STORES_MAX];
    size_t count; /* handles that are open */
    size_t item_count;
    int open_err; /* a store could not be opened */
    char open_why[200];
    int64_t told; /* when progress was called last */

    pthread_mutex_t state; /* guards all below */
    pthread_cond_t idle;
    struct engine_status status; /* but for what is counted when it is asked for */
    bool running, started, ending;
    int64_t stop_at;   /* monotonic ms; valid when ending */
    unsigned failures; /* in a row */
    int64_t next_try;  /* monotonic ms; 0: none is waited for */
    pthread_t thread;
};

int64_t engine_now(void); /* monotonic ms */

/* ---- engine_run.c ---- */
/* Opens the stores if need be. Needs run. */
int engine_open_stores(struct engine *e);
void engine_close_stores(struct engine *e);
/* Pull, and push if ${push}; sets the status. Needs run. ${cancel}: may be NULL. */
int engine_run(struct engine *e, bool push, const atomic_bool *cancel,
               void (*progress)(void *ctx, const struct engine_status *status), void *ctx);
/* Waits for run while *cancel is not set. ERR_INTR. */
int engine_lock_run(struct engine *e, const atomic_bool *cancel);
/* Cancels the opened stores when a flag turns true, until it is ended. */
struct engine_watch {
    struct engine *e;
    const atomic_bool *cancel; /* besides e->halt; may be NULL */
    atomic_bool stop;          /* turned true for push and pull: cancelled */
    pthread_mutex_t lock;      /* guards done */
    pthread_cond_t cond;
    bool done;
    pthread_t thread;
};
int engine_watch_begin(struct engine_watch *w, struct engine *e, const atomic_bool *cancel);
void engine_watch_end(struct engine_watch *w);

/* ---- engine_status.c ---- */
/* Counts what is pending. */
void engine_count(struct engine *e, struct engine_status *status);
void engine_load_last_sync(struct engine *e);
void engine_save_last_sync(struct engine *e, int64_t when);

#endif
