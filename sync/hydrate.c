#include "sync/hydrate.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/ledger.h"
#include "sync/pack.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_MS   100
#define CACHED    2u          /* pieces of packs kept */
#define NEAR      (64u << 10) /* a gap that still counts as reading on */
#define AHEAD_MIN (256u << 10)

/* A list of stores, as long as somebody uses it. */
struct list {
    struct stores_item *items;
    size_t n;
    unsigned refs; /* guarded by lock */
};

struct handle {
    struct store *store; /* NULL: a free place */
    struct list *list;   /* a reference */
    size_t item;
    const _Atomic bool *cancelled; /* of the fetch that uses it; NULL: idle. Guarded by lock */
    int64_t deadline;              /* guarded by lock */
    bool timed_out;                /* guarded by lock */
};

/* Sealed bytes [off, off+len) of a pack, as they came. */
struct piece {
    uint8_t pack[32];
    uint64_t off;
    size_t len;
    uint8_t *bytes;
    uint64_t used; /* clock of the last use */
};

struct hydrate {
    struct vault *vault;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t cond;  /* a handle became idle, or there is something to watch */
    struct list *list;
    struct handle handles[HYDRATE_HANDLES];
    struct piece pieces[CACHED];
    uint64_t clock;
    uint8_t last_pack[32]; /* where the last fetch ended */
    uint64_t last_end;
    size_t ahead;
    unsigned busy; /* fetches under way */
    bool ending;
    pthread_t watcher;
    uint64_t received;
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void wait_ms(struct hydrate *h, unsigned ms)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += (long)ms * 1000000;
    ts.tv_sec += ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    pthread_cond_clockwait(&h->cond, &h->lock, CLOCK_MONOTONIC, &ts);
}

/* ---- lists and handles; all need the lock ---- */

static void list_unref(struct list *list)
{
    if (!list || --list->refs)
        return;
    stores_free(list->items, list->n);
    free(list);
}

static void handle_close(struct handle *s)
{
    if (!s->store)
        return;
    store_close(s->store);
    list_unref(s->list);
    *s = (struct handle){0};
}

/* A thread that ends what takes too long or was interrupted. */
static void *watch(void *ctx)
{
    struct hydrate *h = ctx;
    pthread_mutex_lock(&h->lock);
    while (!h->ending) {
        if (!h->busy) {
            pthread_cond_wait(&h->cond, &h->lock);
            continue;
        }
        wait_ms(h, POLL_MS);
        const int64_t now = now_ms();
        for (size_t i = 0; i < HYDRATE_HANDLES; i++) {
            struct handle *s = &h->handles[i];
            if (!s->store || !s->cancelled)
                continue;
            s->timed_out |= now >= s->deadline;
            if (*s->cancelled || s->timed_out)
                store_cancel(s->store);
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

int hydrate_new(struct hydrate **out, struct vault *vault)
{
    struct hydrate *h = calloc(1, sizeof(*h));
    if (!h)
        return ERR_NOMEM;
    h->vault = vault;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->cond, NULL);
    if (pthread_create(&h->watcher, NULL, watch, h) != 0) {
        free(h);
        return ERR_NOMEM;
    }
    *out = h;
    return 0;
}

void hydrate_free(struct hydrate *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->ending = true;
    pthread_cond_broadcast(&h->cond);
    for (size_t i = 0; i < HYDRATE_HANDLES; i++)
        if (h->handles[i].store)
            store_cancel(h->handles[i].store);
    while (h->busy)
        pthread_cond_wait(&h->cond, &h->lock);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->watcher, NULL);
    for (size_t i = 0; i < HYDRATE_HANDLES; i++)
        handle_close(&h->handles[i]);
    for (size_t i = 0; i < CACHED; i++)
        free(h->pieces[i].bytes);
    list_unref(h->list);
    pthread_cond_destroy(&h->cond);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

void hydrate_set_stores(struct hydrate *h, struct stores_item *items, size_t n)
{
    struct list *list = malloc(sizeof(*list));
    if (!list) {
        stores_free(items, n);
        return;
    }
    *list = (struct list){items, n, 1};
    pthread_mutex_lock(&h->lock);
    list_unref(h->list);
    h->list = list;
    for (size_t i = 0; i < HYDRATE_HANDLES; i++)
        if (!h->handles[i].cancelled)
            handle_close(&h->handles[i]);
    pthread_mutex_unlock(&h->lock);
}

uint64_t hydrate_received(struct hydrate *h)
{
    if (!h)
        return 0;
    pthread_mutex_lock(&h->lock);
    uint64_t n = h->received;
    pthread_mutex_unlock(&h->lock);
    return n;
}

/* ---- one fetch ---- */

struct fetch {
    struct hydrate *h;
    const struct extent *e;
    uint8_t *sealed;
    size_t len;
    const _Atomic bool *cancelled;
    int64_t deadline;
    struct ledger_pack pack;
    char name[PACK_NAME_LEN];
    struct list *list; /* a reference */
};

static int stopped(const struct fetch *f)
{
    if (*f->cancelled || f->h->ending)
        return ERR_INTR;
    return now_ms() >= f->deadline ? ERR_NET : 0;
}

/* An idle handle of that store, an opened one, or one waited for. Needs the lock, which it gives up while it opens. */
static int take_handle(struct fetch *f, size_t item, struct handle **handle)
{
    struct hydrate *h = f->h;
    for (;;) {
        struct handle *place = NULL;
        int err = stopped(f);
        if (err)
            return err;
        for (size_t i = 0; i < HYDRATE_HANDLES; i++) {
            struct handle *s = &h->handles[i];
            if (s->cancelled)
                continue;
            if (s->store && s->list == f->list && s->item == item) {
                place = s;
                break;
            }
            if (!place || !s->store)
                place = s;
        }
        if (!place) {
            wait_ms(h, POLL_MS);
            continue;
        }
        if (!place->store || place->list != f->list || place->item != item) {
            handle_close(place);
            err = stores_open(&f->list->items[item], &place->store, NULL); /* no network: quick */
            if (err)
                return err == ERR_NOENT ? ERR_NET : err;
            place->list = f->list;
            f->list->refs++;
            place->item = item;
        }
        store_resume(place->store);
        place->cancelled = f->cancelled;
        place->deadline = f->deadline;
        place->timed_out = false;
        *handle = place;
        return 0;
    }
}

/* Right bytes? What a store gives is worth nothing before. */
static int verify(const struct fetch *f, const uint8_t *sealed)
{
    const struct seal_key *key = vault_seal_key(f->h->vault, f->e->epoch);
    uint8_t *plain = malloc(f->e->len);
    if (!key || !plain) {
        free(plain);
        return key ? ERR_NOMEM : ERR_BEHIND; /* a key that is not here yet */
    }
    int err = seal_open(key, f->e->id, f->e->len, 0, (f->e->len + SEAL_BLOCK - 1) / SEAL_BLOCK,
                        sealed, plain);
    secret_wipe(plain, f->e->len);
    free(plain);
    return err;
}

static void log_wrong(const struct fetch *f, const char *what)
{
    char id[2 * SEAL_ID_LEN + 1];
    for (size_t i = 0; i < SEAL_ID_LEN; i++)
        snprintf(id + 2 * i, 3, "%02x", f->e->id[i]);
    log_error("extent %s: %s (%s)", id, what, f->name);
}

/* Needs the lock. */
static bool from_cache(const struct fetch *f)
{
    struct hydrate *h = f->h;
    for (size_t i = 0; i < CACHED; i++) {
        struct piece *c = &h->pieces[i];
        if (!c->bytes || memcmp(c->pack, f->pack.hash, 32) != 0 || f->e->pack_off < c->off ||
            f->e->pack_off + f->len > c->off + c->len)
            continue;
        memcpy(f->sealed, c->bytes + (f->e->pack_off - c->off), f->len);
        c->used = ++h->clock;
        return true;
    }
    return false;
}

/* Takes over the bytes. Needs the lock. */
static void to_cache(struct fetch *f, struct bytes_out *bytes)
{
    struct hydrate *h = f->h;
    struct piece *oldest = &h->pieces[0];
    for (size_t i = 1; i < CACHED; i++)
        if (h->pieces[i].used < oldest->used)
            oldest = &h->pieces[i];
    free(oldest->bytes);
    *oldest = (struct piece){
        .off = f->e->pack_off, .len = bytes->len, .bytes = bytes->p, .used = ++h->clock};
    memcpy(oldest->pack, f->pack.hash, 32);
    bytes_out_init(bytes);
}

/* How much to ask for: what is needed, and more if this reads on where the last one ended. Needs the lock. */
static size_t how_much(struct fetch *f)
{
    struct hydrate *h = f->h;
    const bool on = memcmp(h->last_pack, f->pack.hash, 32) == 0 && f->e->pack_off >= h->last_end &&
                    f->e->pack_off - h->last_end <= NEAR;
    h->ahead = on ? h->ahead ? h->ahead * 2 : AHEAD_MIN : 0;
    if (h->ahead > HYDRATE_AHEAD)
        h->ahead = HYDRATE_AHEAD;
    size_t len = h->ahead > f->len ? h->ahead : f->len;
    if (len > f->pack.size - f->e->pack_off)
        len = (size_t)(f->pack.size - f->e->pack_off);
    memcpy(h->last_pack, f->pack.hash, 32);
    h->last_end = f->e->pack_off + len;
    return len;
}

static int from_store(struct fetch *f, size_t item, size_t want)
{
    struct hydrate *h = f->h;
    struct handle *handle;
    struct bytes_out bytes;
    bytes_out_init(&bytes);
    pthread_mutex_lock(&h->lock);
    int err = take_handle(f, item, &handle);
    pthread_mutex_unlock(&h->lock);
    if (err)
        return err;
    err = store_get(handle->store, f->name, f->e->pack_off, want, want, &bytes);
    if (!err && bytes.len < f->len) {
        log_wrong(f, "the pack is too short");
        err = ERR_AUTH;
    }
    if (!err && (err = verify(f, bytes.p)) == ERR_AUTH)
        log_wrong(f, "wrong bytes from the store");
    pthread_mutex_lock(&h->lock);
    h->received += bytes.len;
    if (err == ERR_INTR)
        err = *f->cancelled || h->ending ? ERR_INTR : ERR_NET;
    handle->cancelled = NULL;
    if (!err) {
        memcpy(f->sealed, bytes.p, f->len);
        if (bytes.len > f->len)
            to_cache(f, &bytes);
    }
    pthread_cond_broadcast(&h->cond);
    pthread_mutex_unlock(&h->lock);
    bytes_out_release(&bytes);
    return err;
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

static int from_stores(struct fetch *f, size_t want)
{
    int worst = f->list->n ? 0 : ERR_NET;
    for (size_t i = 0; i < f->list->n; i++) {
        int err = from_store(f, i, want);
        if (err == 0 || err == ERR_INTR || err == ERR_NOMEM)
            return err;
        if (err == ERR_FORMAT)
            err = ERR_AUTH; /* more than was asked for, or another range */
        if (err == ERR_NOENT) {
            log_wrong(f, "the pack is not on the store");
            err = ERR_BEHIND;
        }
        worst = worse(worst, err);
    }
    return worst;
}

static int find_pack(struct fetch *f)
{
    struct index *ix = vault_index(f->h->vault);
    if (f->e->pack == 0)
        return ERR_FORMAT;
    index_lock(ix);
    int err = ledger_pack_get(ix, f->e->pack, &f->pack);
    index_unlock(ix);
    if (err)
        return ERR_FORMAT;
    pack_name(f->pack.hash, f->name);
    return f->e->pack_off <= f->pack.size && f->len <= f->pack.size - f->e->pack_off ? 0
                                                                                     : ERR_FORMAT;
}

int hydrate_fetch(struct hydrate *h, const struct extent *e, uint8_t *sealed,
                  const _Atomic bool *cancelled)
{
    struct fetch f = {.h = h,
                      .e = e,
                      .sealed = sealed,
                      .len = seal_size(e->len),
                      .cancelled = cancelled,
                      .deadline = now_ms() + HYDRATE_TIMEOUT_MS};
    int err = find_pack(&f);
    if (err)
        return err;
    pthread_mutex_lock(&h->lock);
    bool cached = from_cache(&f);
    pthread_mutex_unlock(&h->lock);
    if (cached && verify(&f, sealed) == 0)
        return 0;
    pthread_mutex_lock(&h->lock);
    if (h->ending || !h->list) {
        pthread_mutex_unlock(&h->lock);
        return ERR_NET;
    }
    h->busy++;
    f.list = h->list;
    f.list->refs++;
    size_t want = how_much(&f);
    pthread_cond_broadcast(&h->cond);
    pthread_mutex_unlock(&h->lock);

    err = from_stores(&f, want);

    pthread_mutex_lock(&h->lock);
    list_unref(f.list);
    h->busy--;
    pthread_cond_broadcast(&h->cond);
    pthread_mutex_unlock(&h->lock);
    return err;
}
