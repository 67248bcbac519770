/*
 * One run of the engine: pull, then push, on all stores.
 */
#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/engine_impl.h"
#include "sync/pull.h"
#include "sync/push.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define POLL_MS     50
#define PROGRESS_MS 100

static void sleep_ms(long ms)
{
    struct timespec ts = {.tv_nsec = ms * 1000000};
    nanosleep(&ts, NULL);
}

int engine_lock_run(struct engine *e, const atomic_bool *cancel)
{
    while (pthread_mutex_trylock(&e->run) != 0) {
        if (atomic_load(&e->halt) || (cancel && atomic_load(cancel)))
            return ERR_INTR;
        sleep_ms(POLL_MS);
    }
    return 0;
}

/* ---- cancelling ---- */

static void *watch(void *ctx)
{
    struct engine_watch *w = ctx;
    pthread_mutex_lock(&w->lock);
    while (!w->done) {
        struct timespec until;
        if (atomic_load(&w->e->halt) || (w->cancel && atomic_load(w->cancel))) {
            atomic_store(&w->stop, true);
            for (size_t i = 0; i < w->e->count; i++) /* the run that we belong to holds them open */
                store_cancel(w->e->handles[i].store);
        }
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += POLL_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_clockwait(&w->cond, &w->lock, CLOCK_MONOTONIC, &until);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int engine_watch_begin(struct engine_watch *w, struct engine *e, const atomic_bool *cancel)
{
    w->e = e;
    w->cancel = cancel;
    w->done = false;
    atomic_init(&w->stop, false);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->cond, NULL);
    for (size_t i = 0; i < e->count; i++)
        store_resume(e->handles[i].store);
    return pthread_create(&w->thread, NULL, watch, w) == 0 ? 0 : ERR_NOMEM;
}

void engine_watch_end(struct engine_watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->cond);
    pthread_mutex_destroy(&w->lock);
    for (size_t i = 0; i < w->e->count; i++)
        store_resume(w->e->handles[i].store);
}

/* ---- stores ---- */

void engine_close_stores(struct engine *e)
{
    for (size_t i = 0; i < e->count; i++)
        store_close(e->handles[i].store);
    e->count = 0;
    stores_free(e->items, e->item_count);
    e->items = NULL;
    e->item_count = 0;
}

int engine_open_stores(struct engine *e)
{
    struct stores_item *own = NULL;
    size_t n = 0;
    if (atomic_exchange(&e->reload, false) || e->open_err) {
        engine_close_stores(e);
        e->open_err = 0;
        int err = stores_load(e->vault, &e->items, &e->item_count);
        if (!err)
            err = stores_load(e->vault, &own, &n);
        if (err) {
            atomic_store(&e->reload, true);
            return err;
        }
        hydrate_set_stores(e->hydrate, own, n);
        for (size_t i = 0; i < e->item_count && i < STORES_MAX; i++) {
            struct stores_handle *h = &e->handles[e->count];
            *h = (struct stores_handle){.id = e->items[i].id, .item = &e->items[i]};
            char why[200] = "";
            err = stores_open(&e->items[i], &h->store, why);
            if (!err) {
                e->count++;
                continue;
            }
            e->open_err = err == ERR_NOENT ? ERR_NET : err; /* a folder that is not mounted now */
            snprintf(e->open_why, sizeof(e->open_why), "%s", why[0] ? why : err_text(err));
        }
    }
    return e->item_count ? 0 : ERR_NOENT;
}

/* ---- the run ---- */

struct running {
    struct engine *e;
    void (*progress)(void *ctx, const struct engine_status *status);
    void *ctx;
};

static void tell(struct running *r, bool now)
{
    struct engine_status status;
    const int64_t t = engine_now();
    if (!r->progress || (!now && t - r->e->told < PROGRESS_MS))
        return;
    r->e->told = t;
    engine_status(r->e, &status);
    r->progress(r->ctx, &status);
}

static void set_progress(struct engine *e, uint64_t done, uint64_t total)
{
    pthread_mutex_lock(&e->state);
    e->status.done_bytes = done;
    e->status.total_bytes = total;
    pthread_mutex_unlock(&e->state);
}

static void pushed(void *ctx, uint64_t done, uint64_t total)
{
    struct running *r = ctx;
    set_progress(r->e, done, total);
    tell(r, false);
}

static void pulled(void *ctx, uint64_t done, uint64_t total)
{
    tell(ctx, false);
}

static enum engine_state state_of(int err)
{
    switch (err) {
    case 0:
    case ERR_NOENT:
        return ENGINE_IDLE;
    case ERR_CONTRADICTION:
        return ENGINE_ALARM;
    case ERR_LOGIN:
    case ERR_STOREFULL:
    case ERR_NETPERM:
    case ERR_NOTOURS:
        return ENGINE_PAUSED;
    case ERR_NET:
        return ENGINE_OFFLINE;
    case ERR_BEHIND:
        return ENGINE_BEHIND;
    default:
        return ENGINE_PENDING;
    }
}

static const char *remedy(int err)
{
    switch (err) {
    case ERR_LOGIN:
        return "the store refused the login; add the store again with the right one";
    case ERR_STOREFULL:
        return "the store is full; make room there";
    default:
        return err_text(err);
    }
}

static void finish(struct engine *e, int err, const char *why)
{
    const int64_t when = (int64_t)time(NULL);
    if (!err)
        engine_save_last_sync(e, when);
    pthread_mutex_lock(&e->state);
    struct engine_status *s = &e->status;
    s->done_bytes = s->total_bytes = 0;
    if (err == ERR_ROFS && s->state == ENGINE_ALARM) {
        err = s->last_error; /* as it was said before */
    } else if (err != ERR_INTR) {
        s->state = state_of(err);
        s->last_error = err == ERR_NOENT ? 0 : err;
        snprintf(s->last_error_text, sizeof(s->last_error_text), "%s",
                 err && err != ERR_NOENT ? why : "");
    } else if (s->state == ENGINE_BUSY) {
        s->state = ENGINE_PENDING;
    }
    if (!err)
        s->last_sync = when;
    pthread_mutex_unlock(&e->state);
    if (err && err != ERR_INTR && err != ERR_NOENT)
        log_warn("sync: %s", err_text(err));
    if (err == ERR_CONTRADICTION) {
        vault_settle(e->vault, 0); /* what was written before can still be kept */
        vault_fail(e->vault, why);
    }
}

static void count(struct engine *e, uint64_t sent, uint64_t received)
{
    pthread_mutex_lock(&e->state);
    e->status.sent += sent;
    e->status.received += received;
    pthread_mutex_unlock(&e->state);
}

/* Behind is no reason not to push, and to be told at the end. */
static int pull_and_push(struct engine *e, bool push, struct engine_watch *w, struct running *r,
                         char why[200])
{
    struct pull_result in = {0};
    struct push_result out = {0};
    const struct pull_params pull = {.vault = e->vault,
                                     .stores = e->handles,
                                     .count = e->count,
                                     .cancelled = &w->stop,
                                     .progress = pulled,
                                     .ctx = r};
    const struct push_params params = {e->vault, e->handles, e->count, &w->stop, pushed, r, NULL};
    int err = pull_run(&pull, &in);
    count(e, 0, in.received);
    snprintf(why, 200, "%s", in.why[0] ? in.why : remedy(err));
    if (err && err != ERR_BEHIND && err != ERR_FORMAT && err != ERR_VERSION)
        return err;
    if (!push && !in.local)
        return err;
    int push_err = push_run(&params, &out);
    count(e, out.sent, 0);
    if (push_err)
        snprintf(why, 200, "%s", out.why[0] ? out.why : remedy(push_err));
    return push_err ? push_err : err;
}

int engine_run(struct engine *e, bool push, const atomic_bool *cancel,
               void (*progress)(void *ctx, const struct engine_status *status), void *ctx)
{
    struct running r = {e, progress, ctx};
    struct engine_watch w;
    char why[200] = "";
    int err = vault_read_only(e->vault) ? ERR_ROFS : engine_open_stores(e);
    if (err) {
        finish(e, err,
               err == ERR_ROFS && vault_failure(e->vault) ? vault_failure(e->vault)
                                                          : err_text(err));
        return err;
    }
    pthread_mutex_lock(&e->state);
    e->status.state = ENGINE_BUSY;
    pthread_mutex_unlock(&e->state);
    tell(&r, true);
    if (e->count == 0)
        err = e->open_err;
    if (!err)
        err = engine_watch_begin(&w, e, cancel);
    if (!err) {
        err = pull_and_push(e, push, &w, &r, why);
        engine_watch_end(&w);
    }
    if (!err && e->open_err)
        err = e->open_err;
    if (err && err == e->open_err && !why[0])
        snprintf(why, sizeof(why), "%s", e->open_why);
    finish(e, err, why[0] ? why : remedy(err));
    tell(&r, true);
    return err;
}
