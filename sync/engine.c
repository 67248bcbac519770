#include "sync/engine.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/engine_impl.h"
#include "sync/merge.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define QUIET_MS     5000
#define MAX_MS       60000
#define PULL_S       60
#define BACK_OFF_MS  1000
#define BACK_OFF_MAX (5 * 60 * 1000)
#define PAUSE_MS     (10 * 60 * 1000)
#define CANCEL_GRACE 200 /* ms that a push gets at least when the engine is stopped */

int64_t engine_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void wake(struct engine *e)
{
    const uint64_t one = 1;
    /* It only fails when the counter is full: then it is awake anyway. */
    if (write(e->event, &one, sizeof(one)) < 0)
        return;
}

/* ---- called by the file system ---- */

static int fetch(void *ctx, struct vault_fetch *want)
{
    struct engine *e = ctx;
    return hydrate_fetch(e->hydrate, want);
}

static void reading(void *ctx, const struct extent *extent)
{
    struct engine *e = ctx;
    hydrate_reading(e->hydrate, extent);
}

static void changed(void *ctx)
{
    struct engine *e = ctx;
    const int64_t now = engine_now();
    atomic_store_explicit(&e->last_change, now, memory_order_relaxed);
    if (atomic_load_explicit(&e->first_change, memory_order_relaxed) == 0 &&
        atomic_exchange(&e->first_change, now) == 0)
        wake(e);
}

static void rescue(void *ctx, uint64_t ino)
{
    struct engine *e = ctx;
    bool local;
    int err = merge_rescue(e->vault, ino, &local);
    if (err)
        log_warn("a file that another device deleted was changed here, and has no name: %s",
                 err_text(err));
    else if (local)
        changed(e);
}

/* ---- beginning and end ---- */

int engine_new(struct engine **out, struct vault *vault, const struct engine_options *options)
{
    struct engine *e = calloc(1, sizeof(*e));
    if (!e)
        return ERR_NOMEM;
    e->vault = vault;
    if (options)
        e->options = *options;
    e->options.quiet_ms = e->options.quiet_ms ? e->options.quiet_ms : QUIET_MS;
    e->options.max_ms = e->options.max_ms ? e->options.max_ms : MAX_MS;
    e->options.pull_s = e->options.pull_s ? e->options.pull_s : PULL_S;
    atomic_init(&e->reload, true);
    pthread_mutex_init(&e->run, NULL);
    pthread_mutex_init(&e->state, NULL);
    pthread_cond_init(&e->idle, NULL);
    e->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int err = e->event < 0 ? ERR_IO : hydrate_new(&e->hydrate, vault);
    if (!err) {
        err = engine_open_stores(e);
        err = err == ERR_NOENT ? 0 : err;
    }
    if (err) {
        engine_free(e);
        return err;
    }
    engine_load_last_sync(e);
    e->fetcher = (struct vault_fetcher){
        .fetch = fetch, .reading = reading, .changed = changed, .rescue = rescue, .ctx = e};
    vault_set_fetcher(vault, &e->fetcher);
    *out = e;
    return 0;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    (void)engine_stop(e, 0);
    if (e->fetcher.fetch)
        vault_set_fetcher(e->vault, NULL);
    hydrate_free(e->hydrate);
    engine_close_stores(e);
    if (e->event >= 0)
        close(e->event);
    pthread_cond_destroy(&e->idle);
    pthread_mutex_destroy(&e->state);
    pthread_mutex_destroy(&e->run);
    free(e);
}

/* ---- the thread ---- */

/* After a run: when to try again by itself. */
static void plan(struct engine *e, int err)
{
    int64_t wait = 0;
    pthread_mutex_lock(&e->state);
    if (err == 0 || err == ERR_NOENT || err == ERR_INTR) {
        e->failures = 0;
    } else if (e->status.state == ENGINE_PAUSED) {
        wait = PAUSE_MS;
    } else {
        unsigned doublings = e->failures < 9 ? e->failures : 9;
        uint32_t random;
        wait = (int64_t)BACK_OFF_MS << doublings;
        if (wait > BACK_OFF_MAX)
            wait = BACK_OFF_MAX;
        secret_random(&random, sizeof(random));
        wait = wait / 2 +
               (int64_t)(random % (uint32_t)wait); /* so that many devices do not come at once */
        e->failures++;
    }
    e->next_try = wait ? engine_now() + wait : 0;
    pthread_mutex_unlock(&e->state);
}

/* When to push because of changes: after quiet, or when the first has waited long. INT64_MAX: nothing waits. */
static int64_t change_due(struct engine *e)
{
    const int64_t first = atomic_load(&e->first_change), last = atomic_load(&e->last_change);
    if (first == 0)
        return INT64_MAX;
    const int64_t quiet = last + e->options.quiet_ms, max = first + e->options.max_ms;
    return quiet < max ? quiet : max;
}

static bool is_ending(struct engine *e, int64_t *stop_at)
{
    pthread_mutex_lock(&e->state);
    bool ending = e->ending;
    *stop_at = e->stop_at;
    pthread_mutex_unlock(&e->state);
    return ending;
}

/* Sleeps until something is due. What: true to push. */
static bool wait_due(struct engine *e, int64_t pull_at)
{
    for (;;) {
        int64_t stop_at, now = engine_now();
        if (is_ending(e, &stop_at))
            return true;
        pthread_mutex_lock(&e->state);
        const int64_t next_try = e->next_try;
        const bool alarm = e->status.state == ENGINE_ALARM;
        pthread_mutex_unlock(&e->state);
        const bool kick = atomic_exchange(&e->kick, false);
        const int64_t change = change_due(e);
        int64_t due = next_try ? next_try : change < pull_at ? change : pull_at;
        if (alarm)
            due = INT64_MAX; /* nothing more, until people have looked */
        else if (kick || now >= due)
            return kick || next_try || change <= now;
        struct pollfd p = {.fd = e->event, .events = POLLIN};
        const int64_t ms = due - now;
        (void)poll(&p, 1, due == INT64_MAX ? -1 : ms > 60000 ? 60000 : (int)ms);
        uint64_t n;
        if (read(e->event, &n, sizeof(n)) < 0)
            continue;
    }
}

static void set_running(struct engine *e, bool running)
{
    pthread_mutex_lock(&e->state);
    e->running = running;
    pthread_cond_broadcast(&e->idle);
    pthread_mutex_unlock(&e->state);
}

static int run_once(struct engine *e, bool push)
{
    int err = engine_lock_run(e, NULL);
    if (err)
        return err;
    const int64_t first = push ? atomic_exchange(&e->first_change, 0) : 0;
    err = engine_run(e, push, NULL, NULL, NULL);
    pthread_mutex_unlock(&e->run);
    if (err && err != ERR_NOENT && first) {
        int_fast64_t none = 0; /* still waits, since then */
        atomic_compare_exchange_strong(&e->first_change, &none, first);
    }
    plan(e, err);
    return err;
}

static void *work(void *ctx)
{
    struct engine *e = ctx;
    int64_t pull_at = engine_now(), stop_at;
    for (;;) {
        const bool push = wait_due(e, pull_at);
        if (is_ending(e, &stop_at))
            break;
        set_running(e, true);
        (void)run_once(e, push);
        set_running(e, false);
        pull_at = engine_now() + (int64_t)e->options.pull_s * 1000;
    }
    /* One last push, for as long as we are given. */
    struct engine_status status;
    engine_status(e, &status);
    if (stop_at > engine_now() && status.pending_bytes + status.pending_changes &&
        status.state != ENGINE_ALARM && status.state != ENGINE_PAUSED)
        (void)run_once(e, true);
    set_running(e, false);
    pthread_mutex_lock(&e->state);
    e->started = false;
    pthread_cond_broadcast(&e->idle);
    pthread_mutex_unlock(&e->state);
    return NULL;
}

int engine_start(struct engine *e)
{
    const int64_t now = engine_now();
    struct engine_status status;
    engine_status(e, &status);
    if (status.pending_bytes + status.pending_changes) { /* left from before */
        atomic_store(&e->last_change, now);
        atomic_store(&e->first_change, now);
    }
    pthread_mutex_lock(&e->state);
    e->started = true;
    e->ending = false;
    pthread_mutex_unlock(&e->state);
    atomic_store(&e->halt, false);
    if (pthread_create(&e->thread, NULL, work, e) == 0)
        return 0;
    e->started = false;
    return ERR_NOMEM;
}

uint64_t engine_stop(struct engine *e, unsigned wait_ms)
{
    struct engine_status status;
    pthread_mutex_lock(&e->state);
    bool join = e->started && !e->ending;
    if (join) {
        e->ending = true;
        e->stop_at = engine_now() + wait_ms;
    }
    pthread_mutex_unlock(&e->state);
    if (join) {
        wake(e);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += wait_ms / 1000;
        until.tv_nsec += (long)(wait_ms % 1000 + CANCEL_GRACE) * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&e->state);
        while (e->started &&
               pthread_cond_clockwait(&e->idle, &e->state, CLOCK_MONOTONIC, &until) == 0)
            ;
        pthread_mutex_unlock(&e->state);
        atomic_store(&e->halt, true);
        pthread_join(e->thread, NULL);
        atomic_store(&e->halt, false);
        pthread_mutex_lock(&e->state);
        e->ending = false;
        pthread_mutex_unlock(&e->state);
    }
    engine_status(e, &status);
    return status.pending_bytes + status.pending_changes;
}

/* ---- called by people ---- */

int engine_sync(struct engine *e, void (*progress)(void *ctx, const struct engine_status *status),
                void *ctx)
{
    atomic_store(&e->cancel, false);
    int err = engine_lock_run(e, &e->cancel);
    if (err)
        return err;
    const int64_t first = atomic_exchange(&e->first_change, 0);
    err = engine_run(e, true, &e->cancel, progress, ctx);
    pthread_mutex_unlock(&e->run);
    if (err && err != ERR_NOENT && first) {
        int_fast64_t none = 0;
        atomic_compare_exchange_strong(&e->first_change, &none, first);
    }
    plan(e, err);
    wake(e);
    return err;
}

void engine_cancel(struct engine *e)
{
    atomic_store(&e->cancel, true);
}

void engine_status(struct engine *e, struct engine_status *status)
{
    struct hydrate_stats fetched;
    pthread_mutex_lock(&e->state);
    *status = e->status;
    pthread_mutex_unlock(&e->state);
    hydrate_stats(e->hydrate, &fetched);
    status->received += fetched.received;
    engine_count(e, status);
    if (status->state == ENGINE_IDLE && status->store_count &&
        status->pending_bytes + status->pending_changes)
        status->state = ENGINE_PENDING;
    if (vault_failure(e->vault) && status->state != ENGINE_ALARM && !status->last_error_text[0])
        snprintf(status->last_error_text, sizeof(status->last_error_text), "%s",
                 vault_failure(e->vault));
}

int engine_reload(struct engine *e)
{
    atomic_store(&e->reload, true);
    atomic_store(&e->kick, true);
    pthread_mutex_lock(&e->state);
    e->failures = 0;
    e->next_try = 0;
    pthread_mutex_unlock(&e->state);
    const int64_t now = engine_now();
    atomic_store(&e->last_change, now);
    atomic_store(&e->first_change, now);
    wake(e);
    return 0;
}
