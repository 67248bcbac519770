#include "sync/store_http.h"

#include "crypto/err.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_TIMEOUT_S 60u
#define FIRST_DELAY_MS    200u
#define RETRY_AFTER_MAX_S 5u /* a longer wish is the engine's to keep: it sees ERR_NET and waits */
#define IDLE_MS           60000u

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void drop_strings(struct store_call *call)
{
    for (size_t i = 0; i < call->string_count; i++)
        free(call->strings[i]);
    call->string_count = 0;
    memset(call->request.headers, 0, sizeof(call->request.headers));
}

static char *keep_string(struct store_call *call, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
static char *keep_string(struct store_call *call, const char *fmt, va_list ap)
{
    char *text;
    if (call->string_count == STORE_HTTP_STRINGS_MAX || vasprintf(&text, fmt, ap) < 0)
        return NULL;
    return call->strings[call->string_count++] = text;
}

int store_http_url(struct store_call *call, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    call->request.url = keep_string(call, fmt, ap);
    va_end(ap);
    return call->request.url ? 0 : ERR_NOMEM;
}

int store_http_header(struct store_call *call, const char *fmt, ...)
{
    size_t i = 0;
    va_list ap;
    while (i < HTTP_HEADERS_MAX && call->request.headers[i])
        i++;
    if (i == HTTP_HEADERS_MAX)
        return ERR_MISUSE;
    va_start(ap, fmt);
    call->request.headers[i] = keep_string(call, fmt, ap);
    va_end(ap);
    return call->request.headers[i] ? 0 : ERR_NOMEM;
}

/* The calls of one run. Up to HTTP_PARALLEL of them are begun and not ended: under way, or waiting
 * for their next try. */
struct run {
    struct store_http *s;
    struct store_call *begun[HTTP_PARALLEL];
    struct store_call *calls;
    size_t n, next, left;
    int fatal; /* what the calls not yet begun get */
};

static void end_call(struct run *run, struct store_call *call, int err)
{
    call->err = err;
    if (err && call->out)
        call->out->len = call->out_start;
    if (err == ERR_NET || err == ERR_LOGIN || err == ERR_STOREFULL || err == ERR_INTR ||
        err == ERR_NOMEM)
        run->fatal = run->fatal ? run->fatal : err;
    drop_strings(call);
    http_request_release(&call->request);
    for (size_t i = 0; i < HTTP_PARALLEL; i++)
        if (run->begun[i] == call)
            run->begun[i] = NULL;
    run->left--;
}

static void launch(struct run *run, struct store_call *call)
{
    drop_strings(call);
    int err = store_answer_begin(call);
    if (!err)
        err = run->s->dialect->build(run->s, call);
    if (!err)
        err = http_start(run->s->http, &call->request);
    call->running = !err;
    if (err)
        end_call(run, call, err);
}

/* The step ${step}, after a pause that grows with each try and differs from device to device. */
static void try_again(struct run *run, struct store_call *call, enum store_step step)
{
    unsigned after = call->request.retry_after_s;
    if (++call->tries >= STORE_HTTP_TRIES || after > RETRY_AFTER_MAX_S) {
        end_call(run, call, ERR_NET);
        return;
    }
    unsigned delay = FIRST_DELAY_MS << call->tries;
    delay = delay / 2 + randombytes_uniform(delay);
    call->step = step;
    call->not_before = now_ms() + (delay > after * 1000 ? delay : after * 1000);
}

static void go_on(struct run *run, struct store_call *call, enum store_step step)
{
    call->step = step;
    launch(run, call);
}

/* A put ended without a clear yes or no. */
static void settle(struct run *run, struct store_call *call)
{
    const struct http_request *r = &call->request;
    bool refused = r->status == 429 || r->status == 503; /* turned away at the door */
    if (r->reached && !refused)
        go_on(run, call, STORE_STEP_CHECK_HEAD);
    else
        try_again(run, call, STORE_STEP_MAIN);
}

static void after_main(struct run *run, struct store_call *call, int err)
{
    const struct store_dialect *dialect = run->s->dialect;
    if (call->verb == STORE_PUT && dialect->collections && err != ERR_INTR) {
        err = dialect->collections(run->s, call, err);
        if (err == STORE_HTTP_UNDECIDED) {
            launch(run, call);
            return;
        }
    }
    if (err != ERR_NET)
        end_call(run, call, err);
    else if (call->verb == STORE_PUT)
        settle(run, call);
    else
        try_again(run, call, STORE_STEP_MAIN);
}

/* The answer to the question whether a put has arrived. */
static void after_check(struct run *run, struct store_call *call, int err)
{
    const struct http_request *r = &call->request;
    if (err == ERR_NET)
        try_again(run, call, call->step);
    else if (err && err != ERR_NOENT)
        end_call(run, call, err);
    else if (call->step == STORE_STEP_CHECK_HEAD && !err &&
             (r->length < 0 || (uint64_t)r->length == call->len))
        go_on(run, call, STORE_STEP_CHECK_GET);
    else if (call->step == STORE_STEP_CHECK_GET && !err && !call->differs &&
             call->compared == call->len)
        end_call(run, call, 0);
    else /* absent, or half an object */
        try_again(run, call, STORE_STEP_MAIN);
}

static void after_collection(struct run *run, struct store_call *call, int err)
{
    if (err != ERR_INTR)
        err = run->s->dialect->collections(run->s, call, err);
    if (err == STORE_HTTP_UNDECIDED)
        launch(run, call);
    else if (err == ERR_NET)
        try_again(run, call, STORE_STEP_COLLECTION);
    else
        end_call(run, call, err);
}

static void advance(struct run *run, struct store_call *call)
{
    call->running = false;
    int err = store_answer_judge(run->s, call);
    switch (call->step) {
    case STORE_STEP_MAIN:
        after_main(run, call, err);
        break;
    case STORE_STEP_COLLECTION:
        after_collection(run, call, err);
        break;
    default:
        after_check(run, call, err);
    }
}

static void begin_call(struct run *run, struct store_call *call)
{
    const struct store_dialect *dialect = run->s->dialect;
    http_request_init(&call->request);
    call->out_start = call->out ? call->out->len : 0;
    call->step = STORE_STEP_MAIN;
    if (call->verb == STORE_PUT && dialect->first_step)
        call->step = dialect->first_step(run->s, call);
    launch(run, call);
}

/* Begins what there is room for and what has waited enough; ms until the next one is due. */
static unsigned start_due(struct run *run)
{
    bool cancelled = atomic_load(&run->s->base.cancelled);
    int64_t now = now_ms(), wait = IDLE_MS;
    for (size_t i = 0; i < HTTP_PARALLEL; i++) {
        struct store_call *call = run->begun[i];
        if (call && !call->running) {
            if (cancelled)
                end_call(run, call, ERR_INTR);
            else if (call->not_before <= now)
                launch(run, call);
            else if (call->not_before - now < wait)
                wait = call->not_before - now;
        }
        while (!run->begun[i] && run->next < run->n && !run->fatal && !cancelled) {
            run->begun[i] = &run->calls[run->next++];
            begin_call(run, run->begun[i]); /* empties the place when it fails at once */
        }
    }
    return (unsigned)wait;
}

int store_http_run(struct store_http *s, struct store_call *calls, size_t n)
{
    struct run run = {.s = s, .calls = calls, .n = n, .left = n};
    int first = 0;
    if (atomic_load(&s->base.cancelled))
        run.fatal = store_fail(&s->base, ERR_INTR, "the transfer was cancelled");
    while (run.left) {
        unsigned wait = start_due(&run);
        if (atomic_load(&s->base.cancelled) && !run.fatal)
            run.fatal = store_fail(&s->base, ERR_INTR, "the transfer was cancelled");
        while (run.fatal && run.next < run.n) {
            calls[run.next++].err = run.fatal;
            run.left--;
        }
        struct http_request *r = run.left ? http_wait(s->http, wait) : NULL;
        if (r)
            advance(&run, r->user);
    }
    for (size_t i = 0; i < n; i++) {
        first = first ? first : calls[i].err;
        if (calls[i].result)
            *calls[i].result = calls[i].err;
    }
    return first;
}

static struct store_http *from_base(struct store *store)
{
    return (struct store_http *)store; /* its first member */
}

/* Runs and frees the calls; NULL: there was no memory for them. */
static int run_many(struct store *store, struct store_call *calls, size_t n)
{
    if (!calls)
        return store_fail(store, ERR_NOMEM, "out of memory");
    int err = store_http_run(from_base(store), calls, n);
    free(calls);
    return err;
}

int store_http_put_many(struct store *store, struct store_put_item *items, size_t n)
{
    struct store_call *calls = calloc(n, sizeof(*calls));
    const bool places = from_base(store)->dialect->collections;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        struct store_put_item *item = &items[i];
        item->err = item->place && !places ? 0 : ERR_NOMEM;
        if (calls && item->err)
            calls[count++] = (struct store_call){.verb = STORE_PUT,
                                                 .name = item->name,
                                                 .p = item->p,
                                                 .len = item->len,
                                                 .place = item->place,
                                                 .result = &item->err};
    }
    return run_many(store, calls, count);
}

int store_http_get_many(struct store *store, struct store_get_item *items, size_t n)
{
    struct store_call *calls = calloc(n, sizeof(*calls));
    for (size_t i = 0; i < n; i++) {
        struct store_get_item *item = &items[i];
        item->err = ERR_NOMEM;
        if (calls)
            calls[i] = (struct store_call){.verb = STORE_GET,
                                           .name = item->name,
                                           .off = item->off,
                                           .len = item->len,
                                           .max = item->len,
                                           .out = item->out,
                                           .result = &item->err};
    }
    return run_many(store, calls, n);
}

int store_http_get(struct store *store, const char *name, uint64_t off, size_t len, size_t max,
                   struct bytes_out *out)
{
    struct store_call call = {
        .verb = STORE_GET, .name = name, .off = off, .len = len, .max = max, .out = out};
    return store_http_run(from_base(store), &call, 1);
}

/* From a server whose answer to HEAD has no Content-Length (Apache, for an empty object): the
 * answer to a GET of the first byte says the size too. */
static int size_by_get(struct store_http *s, const char *name, uint64_t *size)
{
    struct bytes_out first;
    bytes_out_init(&first);
    struct store_call call = {.verb = STORE_GET, .name = name, .len = 1, .max = 1, .out = &first};
    int err = store_http_run(s, &call, 1);
    const struct http_request *r = &call.request;
    if (!err && first.len == 0)
        *size = 0;
    else if (!err && r->status == 200 && r->length > 0)
        *size = (uint64_t)r->length;
    else if (!err && sscanf(r->range, "bytes 0-0/%" SCNu64, size) != 1)
        err = store_fail(&s->base, ERR_NETPERM, "%s does not tell the size of an object",
                         s->base.place.host);
    bytes_out_release(&first);
    return err;
}

int store_http_head(struct store *store, const char *name, uint64_t *size)
{
    struct store_call call = {.verb = STORE_HEAD, .name = name};
    int err = store_http_run(from_base(store), &call, 1);
    *size = call.size;
    if (!err && call.size == STORE_HTTP_SIZE_UNKNOWN)
        err = size_by_get(from_base(store), name, size);
    return err;
}

int store_http_delete(struct store *store, const char *name)
{
    struct store_call call = {.verb = STORE_DELETE, .name = name};
    return store_http_run(from_base(store), &call, 1);
}

void store_http_wake(struct store *store)
{
    http_cancel(from_base(store)->http);
}

int store_http_new(struct store_http **store, size_t size, const struct store_dialect *dialect,
                   struct store_place *place, const struct store_options *options,
                   const struct http_options *login)
{
    struct store_http *s = calloc(1, size);
    if (!s)
        return ERR_NOMEM;
    struct http_options http = *login;
    http.ca_file = options->ca_file;
    http.timeout_s = options->timeout_s ? options->timeout_s : DEFAULT_TIMEOUT_S;
    http.basic_at_once = place->tls || place->loopback;
    http.direct = place->loopback;
    http.cancelled = &s->base.cancelled;
    http.sent = &s->base.sent;
    http.received = &s->base.received;
    s->dialect = dialect;
    int err = http_new(&s->http, &http);
    if (err) {
        free(s);
        return err;
    }
    s->base.place = *place;
    *place = (struct store_place){0};
    *store = s;
    return 0;
}

void store_http_close(struct store *store)
{
    struct store_http *s = from_base(store);
    if (s->dialect->close)
        s->dialect->close(s);
    http_free(s->http);
    store_url_clear(&s->base.place);
    free(s);
}
