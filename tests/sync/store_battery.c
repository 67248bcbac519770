/*
 * store_battery - what a store promises (sync/store.h), asked of a real or a hostile server. [store-http]
 *
 *   store_battery URL                  the whole contract
 *   store_battery URL STEP...          single steps, each OP=RESULT
 *
 * OP: put (64 KiB), big (3 MiB), many (64 of 4 KiB at once), get, part, head, list, all, delete, try,
 * parts (several parts at once), cancel (a get that is cancelled from another thread). All work on
 * fixed names, so that steps of several runs fit together. RESULT: ok, net, netperm, login, full,
 * format, noent, intr; for list and all also the number of objects.
 *
 * The login comes from the environment: OBS_USER, OBS_SECRET. OBS_ALLOW_HTTP: http to any host;
 * OBS_TIMEOUT: seconds; OBS_OBJECTS: how many small ones.
 */
#include "tests/unit/check.h"

#include "crypto/err.h"
#include "crypto/secret.h"
#include "sync/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PUT_LEN  (64u << 10)
#define BIG_LEN  (3u << 20)
#define MANY     64u
#define MANY_LEN 4096u

static uint8_t big[BIG_LEN]; /* the content of every object is a part of it */

static int put(struct store *s, const char *name, size_t from, size_t len)
{
    return store_put(s, name, big + from, len);
}

static bool reads(struct store *s, const char *name, uint64_t off, size_t len, size_t from,
                  size_t expect)
{
    struct bytes_out out;
    bytes_out_init(&out);
    int err = store_get(s, name, off, len, BIG_LEN, &out);
    bool ok = err == 0 && out.len == expect && (!expect || memcmp(out.p, big + from, expect) == 0);
    if (!ok)
        fprintf(stderr, "%s: %d (%s), %zu bytes\n", name, err, store_last_error(s), out.len);
    bytes_out_release(&out);
    return ok;
}

struct counted {
    int n;
    uint64_t bytes;
    const char *last; /* every name must be valid and start so */
    bool foreign;
};

static int count_each(void *ctx, const char *name, uint64_t size)
{
    struct counted *c = ctx;
    c->n++;
    c->bytes += size;
    if (strncmp(name, c->last, strlen(c->last)) != 0 ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789./_-") != strlen(name))
        c->foreign = true;
    return 0;
}

static int stop_each(void *ctx, const char *name, uint64_t size)
{
    (void)name, (void)size;
    return ++*(int *)ctx == 3 ? 42 : 0;
}

/* The number of objects, or an error; *bytes their size together. */
static int count(struct store *s, const char *prefix, uint64_t *bytes)
{
    struct counted c = {.last = prefix};
    int err = store_list(s, prefix, count_each, &c);
    if (bytes)
        *bytes = c.bytes;
    return err ? err : c.foreign ? -1000 : c.n;
}

static void single_objects(struct store *s)
{
    uint64_t size = 1;
    struct bytes_out out;
    bytes_out_init(&out);
    CHECK_EQ(count(s, "", NULL), 0);
    CHECK_EQ(count(s, "packs/", NULL), 0);
    CHECK_EQ(store_head(s, "packs/aa/one", &size), ERR_NOENT);
    CHECK_EQ(store_get(s, "packs/aa/one", 0, 0, 100, &out), ERR_NOENT);
    CHECK_EQ(store_get(s, "packs/aa/one", 5, 10, 100, &out), ERR_NOENT);
    CHECK_EQ(store_delete(s, "packs/aa/one"), 0);
    CHECK_EQ(put(s, "vault", 7, 100), 0); /* also makes the base collection if it is missing */
    CHECK_EQ(put(s, "packs/aa/one", 0, 1000), 0);
    CHECK_EQ(put(s, "packs/aa/one", 0, 1000), 0); /* the same again */
    CHECK_EQ(put(s, "packs/bb/big", 0, BIG_LEN), 0);
    CHECK_EQ(put(s, "journal/dev-1/00000001", 5, 1), 0);
    CHECK_EQ(put(s, "journal/empty", 0, 0), 0);
    CHECK_EQ(store_head(s, "packs/aa/one", &size), 0);
    CHECK_EQ(size, 1000);
    CHECK_EQ(store_head(s, "packs/bb/big", &size), 0);
    CHECK_EQ(size, BIG_LEN);
    CHECK_EQ(store_head(s, "journal/empty", &size), 0);
    CHECK_EQ(size, 0);
    CHECK(reads(s, "vault", 0, 0, 7, 100));
    CHECK(reads(s, "packs/bb/big", 0, 0, 0, BIG_LEN));
    CHECK(reads(s, "journal/empty", 0, 0, 0, 0));
    CHECK(reads(s, "journal/empty", 0, 10, 0, 0));
    CHECK_EQ(store_get(s, "packs/aa/one", 0, 0, 999, &out), ERR_FORMAT);
    CHECK_EQ(out.len, 0);
    bytes_out_release(&out);
}

static void ranges(struct store *s)
{
    CHECK(reads(s, "packs/aa/one", 0, 1, 0, 1));
    CHECK(reads(s, "packs/aa/one", 10, 20, 10, 20));
    CHECK(reads(s, "packs/aa/one", 999, 1, 999, 1));
    CHECK(reads(s, "packs/aa/one", 900, 500, 900, 100));
    CHECK(reads(s, "packs/aa/one", 1000, 10, 0, 0));
    CHECK(reads(s, "packs/aa/one", 1ull << 40, 10, 0, 0));
    CHECK(reads(s, "packs/aa/one", 100, 0, 100, 900)); /* from there to the end */
    CHECK(reads(s, "packs/bb/big", 1u << 20, 1u << 20, 1u << 20, 1u << 20));

    struct store_get_item items[24];
    struct bytes_out outs[24];
    for (size_t i = 0; i < 24; i++) {
        bytes_out_init(&outs[i]);
        items[i] = (struct store_get_item){.name = i == 20 ? "packs/bb/none" : "packs/bb/big",
                                           .off = i * 100000,
                                           .len = 50000,
                                           .out = &outs[i]};
    }
    CHECK_EQ(store_get_many(s, items, 24), ERR_NOENT);
    for (size_t i = 0; i < 24; i++) {
        CHECK_EQ(items[i].err, i == 20 ? ERR_NOENT : 0);
        CHECK(i == 20 || (outs[i].len == 50000 && memcmp(outs[i].p, big + i * 100000, 50000) == 0));
        bytes_out_release(&outs[i]);
    }
}

static size_t many_objects(void)
{
    const char *n = getenv("OBS_OBJECTS");
    return n ? strtoul(n, NULL, 10) : 1100;
}

/* More objects than fit one page of a listing, over several collections. */
static void many(struct store *s)
{
    size_t n = many_objects(), bytes = 0;
    struct store_put_item *items = calloc(n, sizeof(*items));
    char(*names)[40] = calloc(n, sizeof(*names));
    int stopped = 0;
    uint64_t listed;
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof(names[i]), "many/%02zx/object-%05zu", i % 5, i);
        items[i] = (struct store_put_item){.name = names[i], .p = big + i, .len = i % 50, .err = 1};
        bytes += i % 50;
    }
    CHECK_EQ(store_put_many(s, items, n), 0);
    size_t stored = 0;
    for (size_t i = 0; i < n; i++)
        stored += items[i].err == 0;
    CHECK_EQ(stored, n);
    CHECK_EQ(count(s, "many/", &listed), n);
    CHECK_EQ(listed, bytes);
    CHECK_EQ(count(s, "many/03/", NULL), n / 5);
    CHECK_EQ(count(s, "man/", NULL), 0);
    CHECK_EQ(count(s, "journal/", NULL), 2);
    CHECK_EQ(count(s, "", NULL), n + 5);
    CHECK_EQ(store_list(s, "many/", stop_each, &stopped), 42);
    CHECK_EQ(stopped, 3);
    CHECK(reads(s, names[n - 1], 0, 0, n - 1, (n - 1) % 50));
    free(items), free(names);
}

/* Places for objects that are not there yet, some of them at the same time, and again: nothing is put. */
static void places(struct store *s)
{
    struct store_put_item items[] = {{.name = "place/deep/one", .place = true, .err = 1},
                                     {.name = "place/deep/two", .place = true, .err = 1},
                                     {.name = "place/three", .p = "3", .len = 1, .err = 1}};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(store_put_many(s, items, 3), 0);
        CHECK(items[0].err == 0 && items[1].err == 0 && items[2].err == 0);
        CHECK_EQ(count(s, "place/", NULL), 1);
    }
    CHECK_EQ(store_put(s, "place/deep/one", "1", 1), 0);
    CHECK_EQ(count(s, "place/", NULL), 2);
    CHECK_EQ(store_delete(s, "place/deep/one"), 0);
    CHECK_EQ(store_delete(s, "place/three"), 0);
}

static void delete_and_try(struct store *s)
{
    char why[200] = "";
    uint64_t size;
    CHECK_EQ(store_delete(s, "packs/aa/one"), 0);
    CHECK_EQ(store_delete(s, "packs/aa/one"), 0);
    CHECK_EQ(store_head(s, "packs/aa/one", &size), ERR_NOENT);
    CHECK_EQ(count(s, "packs/", NULL), 1);
    CHECK_EQ(store_try(s, why), 0);
    if (why[0])
        fprintf(stderr, "%s\n", why);
    CHECK_EQ(count(s, "try/", NULL), 0);
    CHECK_EQ(put(s, "UPPER", 0, 1), ERR_MISUSE);
    CHECK_EQ(put(s, "a/../b", 0, 1), ERR_MISUSE);
    CHECK_EQ(put(s, "a%2fb", 0, 1), ERR_MISUSE);
    store_cancel(s);
    CHECK_EQ(put(s, "packs/aa/two", 0, 10), ERR_INTR);
    CHECK_EQ(count(s, "", NULL), ERR_INTR);
    store_resume(s);
    CHECK_EQ(put(s, "packs/aa/two", 0, 10), 0);
    uint64_t sent, received;
    store_counters(s, &sent, &received);
    CHECK(sent > BIG_LEN && received > BIG_LEN);
}

static void contract(struct store *s)
{
    single_objects(s);
    if (check_failed)
        fprintf(stderr, "last error: %s\n", store_last_error(s));
    ranges(s);
    many(s);
    places(s);
    delete_and_try(s);
}

/* A wrong secret is refused as such, once, and never shown. */
static void wrong_login(const char *url, const char *user, const struct store_options *options)
{
    static const char secret[] = "not-the-right-one";
    struct store_login login = {.user = user, .secret = secret};
    struct store_put_item items[20];
    struct store *s;
    uint64_t size;
    char why[200] = "";
    for (size_t i = 0; i < 20; i++)
        items[i] = (struct store_put_item){.name = "refused", .p = big, .len = 10};
    CHECK_EQ(store_open(&s, url, &login, options, why), 0);
    CHECK_EQ(store_head(s, "vault", &size), ERR_LOGIN);
    CHECK_EQ(put(s, "refused", 0, BIG_LEN), ERR_LOGIN);
    CHECK_EQ(store_put_many(s, items, 20), ERR_LOGIN);
    CHECK_EQ(items[19].err, ERR_LOGIN);
    CHECK_EQ(count(s, "", NULL), ERR_LOGIN);
    CHECK_EQ(store_try(s, why), ERR_LOGIN);
    CHECK(why[0] && !strstr(why, secret) && !strstr(store_last_error(s), secret));
    store_close(s);
}

static int step_get(struct store *s, uint64_t off, size_t len)
{
    struct bytes_out out;
    bytes_out_init(&out);
    int err = store_get(s, "packs/ab/put", off, len, PUT_LEN, &out);
    size_t expect = len ? len : PUT_LEN;
    if (!err && (out.len != expect || memcmp(out.p, big + off, expect) != 0))
        err = -1000;
    if (err)
        CHECK_EQ(out.len, 0);
    bytes_out_release(&out);
    return err;
}

static int step_many(struct store *s)
{
    struct store_put_item items[MANY];
    char names[MANY][20];
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "many/%zu", i);
        items[i] = (struct store_put_item){.name = names[i], .p = big + i, .len = MANY_LEN};
    }
    int err = store_put_many(s, items, MANY);
    for (size_t i = 0; !err && i < MANY; i += 9)
        if (!reads(s, names[i], 0, 0, i, MANY_LEN))
            err = -1000;
    return err;
}

static int step_parts(struct store *s)
{
    struct store_get_item items[10];
    struct bytes_out outs[10];
    for (size_t i = 0; i < 10; i++) {
        bytes_out_init(&outs[i]);
        items[i] = (struct store_get_item){
            .name = "packs/ab/put", .off = 6000 * i, .len = 5000, .out = &outs[i]};
    }
    int err = store_get_many(s, items, 10);
    for (size_t i = 0; i < 10; i++) {
        if (!err && (outs[i].len != 5000 || memcmp(outs[i].p, big + 6000 * i, 5000) != 0))
            err = -1000;
        bytes_out_release(&outs[i]);
    }
    return err;
}

static atomic_bool in_call;

static void *cancel_soon(void *ctx)
{
    while (!atomic_load(&in_call))
        usleep(1000);
    usleep(
        200000); /* so that it is likely under way; cancelled before that, it must end the same */
    store_cancel(ctx);
    return NULL;
}

/* Must end at once, not at a time-out (OBS_TIMEOUT is long then). */
static int step_cancel(struct store *s)
{
    struct timespec from, to;
    pthread_t thread;
    pthread_create(&thread, NULL, cancel_soon, s);
    clock_gettime(CLOCK_MONOTONIC, &from);
    atomic_store(&in_call, true);
    int err = step_get(s, 0, 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    pthread_join(thread, NULL);
    store_resume(s);
    CHECK(to.tv_sec - from.tv_sec < 5);
    return err;
}

static int step_try(struct store *s)
{
    char why[200];
    int err = store_try(s, why);
    if (err)
        CHECK(why[0]);
    return err;
}

static int thousand_each(void *ctx, const char *name, uint64_t size)
{
    (void)name, (void)size;
    return ++*(int *)ctx == 1000;
}

/* How many things there are, by whatever name; counts to 1000. */
static int step_all(struct store *s)
{
    int n = 0, err = store_list_all(s, thousand_each, &n);
    return err < 0 ? err : n;
}

static int do_step(struct store *s, const char *op)
{
    uint64_t size;
    int err = 0;
    if (strcmp(op, "put") == 0)
        return put(s, "packs/ab/put", 0, PUT_LEN);
    if (strcmp(op, "big") == 0)
        return put(s, "packs/ab/big", 0, BIG_LEN);
    if (strcmp(op, "many") == 0)
        return step_many(s);
    if (strcmp(op, "get") == 0)
        return step_get(s, 0, 0);
    if (strcmp(op, "part") == 0)
        return step_get(s, 1000, 3000);
    if (strcmp(op, "parts") == 0)
        return step_parts(s);
    if (strcmp(op, "cancel") == 0)
        return step_cancel(s);
    if (strcmp(op, "list") == 0)
        return count(s, "packs/", NULL);
    if (strcmp(op, "all") == 0)
        return step_all(s);
    if (strcmp(op, "delete") == 0)
        return store_delete(s, "packs/ab/put");
    if (strcmp(op, "try") == 0)
        return step_try(s);
    if (strcmp(op, "head") == 0) {
        err = store_head(s, "packs/ab/put", &size);
        return err ? err : size == PUT_LEN ? 0 : -1000;
    }
    return -2000;
}

static int result_code(const char *text)
{
    static const struct {
        const char *text;
        int code;
    } results[] = {{"ok", 0},
                   {"net", ERR_NET},
                   {"netperm", ERR_NETPERM},
                   {"login", ERR_LOGIN},
                   {"full", ERR_STOREFULL},
                   {"format", ERR_FORMAT},
                   {"noent", ERR_NOENT},
                   {"intr", ERR_INTR}};
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
        if (strcmp(results[i].text, text) == 0)
            return results[i].code;
    return atoi(text);
}

static void check_step(struct store *s, const char *step)
{
    char op[20];
    size_t len = strcspn(step, "=");
    snprintf(op, sizeof(op), "%.*s", (int)len, step);
    int got = do_step(s, op);
    bool as_expected = step[len] && got == result_code(step + len + 1);
    CHECK(as_expected);
    if (!as_expected)
        fprintf(stderr, "%s: got %d (%s)\n", step, got, store_last_error(s));
    else if (got < 0 && got != ERR_NOENT)
        CHECK(store_last_error(s)[0]);
}

int main(int argc, char **argv)
{
    const char *timeout = getenv("OBS_TIMEOUT"), *user = getenv("OBS_USER"), *ca = getenv("OBS_CA");
    struct store_login login = {.user = user, .secret = getenv("OBS_SECRET")};
    struct store_options options = {.ca_file = ca,
                                    .allow_http = getenv("OBS_ALLOW_HTTP") != NULL,
                                    .timeout_s = timeout ? (unsigned)atoi(timeout) : 20};
    struct store *s;
    char why[200];
    if (argc < 2 || secret_init() < 0)
        return 2;
    for (size_t i = 0; i < BIG_LEN; i++) /* no two parts alike */
        big[i] = (uint8_t)((i * 2654435761u) >> 24 ^ i >> 3);
    int err = store_open(&s, argv[1], &login, &options, why);
    if (err) {
        fprintf(stderr, "%s: %s\n", argv[1], why);
        return 2;
    }
    if (argc == 2) {
        contract(s);
        if (user)
            wrong_login(argv[1], user, &options);
    }
    for (int i = 2; i < argc; i++)
        check_step(s, argv[i]);
    store_close(s);
    return check_done();
}
