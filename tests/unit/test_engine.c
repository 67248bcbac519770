/*
 * The engine: pushes and pulls in the background and in the foreground, goes on after a store that went away, pauses, stops in bounded
 * time, hydrates, finds what is damaged on the store.
 */
#include "check.h"
#include "sync_fixture.h"

#include "crypto/code.h"
#include "crypto/log.h"
#include "sync/engine.h"
#include "sync/pack.h"

#include <dirent.h>
#include <time.h>

static uint8_t code[CODE_LEN];
static struct device a, b;

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void add_store(struct device *d, const char *folder, bool prepare)
{
    struct stores_item item;
    char why[200];
    uint32_t id;
    memset(&item, 0, sizeof(item));
    folder_url(folder, item.url);
    struct store *s = folder_open(folder);
    if (prepare)
        CHECK_EQ(join_prepare_store(d->v, s, why), 0);
    store_close(s);
    CHECK_EQ(stores_add(d->v, &item, &id), 0);
}

static void clone(struct device *d, const char *name, const char *folder)
{
    char url[160], why[200] = "";
    struct store *s = folder_open(folder);
    folder_url(folder, url);
    snprintf(d->path, sizeof(d->path), "%s/%s", fixture_base, name);
    int err = join_clone(d->path, s, url, NULL, NULL, code, DEVICE_SECRET, strlen(DEVICE_SECRET),
                         &fixture_cost, name, NULL, NULL, why);
    if (err)
        fixture_die(why, err);
    store_close(s);
    device_open(d);
}

static uint8_t *random_bytes(size_t len)
{
    uint8_t *p = malloc(len);
    secret_random(p, len);
    return p;
}

/* Does the file have these bytes? Missing ones are fetched. */
static int same(struct vault *v, const char *name, const uint8_t *want, size_t len)
{
    struct inode in;
    size_t got;
    int err = tree_lookup(v, INODE_ROOT, name, strlen(name), &in);
    uint8_t *have = calloc(1, len + 1);
    if (!err)
        err = data_read(v, in.ino, 0, have, len + 1, &got, NULL);
    if (!err && (got != len || memcmp(have, want, len) != 0))
        err = ERR_FORMAT;
    free(have);
    return err;
}

static void wait_state(struct engine *e, bool (*is)(const struct engine_status *s))
{
    struct engine_status s;
    struct timespec ts = {.tv_nsec = 5000000};
    const int64_t end = now_ms() + 20000;
    do {
        engine_status(e, &s);
        if (is(&s))
            break;
        nanosleep(&ts, NULL);
    } while (now_ms() < end);
    CHECK(is(&s));
}

static bool is_done(const struct engine_status *s)
{
    return s->state == ENGINE_IDLE && s->pending_bytes + s->pending_changes == 0 &&
           s->last_sync != 0;
}

static bool is_offline(const struct engine_status *s)
{
    return s->state == ENGINE_OFFLINE;
}

/* What one device writes another one, made from the store alone, reads. */
static void test_two_devices(void)
{
    struct engine *ea, *eb;
    struct engine_status s;
    const size_t len = 3u << 20;
    uint8_t *p = random_bytes(len);
    device_init(&a, "a", code);
    make_file(a.v, INODE_ROOT, "photo", p, len);
    make_file(a.v, INODE_ROOT, "note", "hello", 5);
    CHECK_EQ(engine_new(&ea, a.v, NULL), 0);
    CHECK_EQ(engine_sync(ea, NULL, NULL), ERR_NOENT); /* no store yet */
    add_store(&a, "store", true);
    CHECK_EQ(engine_reload(ea), 0);
    engine_status(ea, &s);
    CHECK_EQ(s.state, ENGINE_PENDING);
    CHECK(s.pending_bytes > len && s.pending_changes > 0);
    CHECK_EQ(engine_sync(ea, NULL, NULL), 0);
    engine_status(ea, &s);
    CHECK(is_done(&s));
    CHECK_EQ(s.store_count, 1);
    CHECK(s.sent > len);

    clone(&b, "b", "store");
    CHECK_EQ(engine_new(&eb, b.v, NULL), 0);
    engine_status(eb, &s);
    CHECK_EQ(s.received, 0);
    CHECK_EQ(same(b.v, "photo", p, len), 0);
    CHECK_EQ(same(b.v, "note", (const uint8_t *)"hello", 5), 0);
    engine_status(eb, &s);
    CHECK(s.received > len && s.received < len + (2u << 20));

    make_file(b.v, INODE_ROOT, "answer", "yes", 3);
    CHECK_EQ(engine_sync(eb, NULL, NULL), 0);
    CHECK_EQ(engine_sync(ea, NULL, NULL), 0);
    CHECK_EQ(same(a.v, "answer", (const uint8_t *)"yes", 3), 0);
    free(p);
    engine_free(ea);
    engine_free(eb);
}

/* The thread pushes after quiet, and what the other device did comes by itself. */
static void test_background(void)
{
    struct engine *ea, *eb;
    const struct engine_options quick = {.quiet_ms = 20, .max_ms = 200, .pull_s = 1};
    struct inode in;
    CHECK_EQ(engine_new(&ea, a.v, &quick), 0);
    CHECK_EQ(engine_new(&eb, b.v, &quick), 0);
    CHECK_EQ(engine_start(ea), 0);
    CHECK_EQ(engine_start(eb), 0);
    make_file(a.v, INODE_ROOT, "by itself", "1", 1);
    wait_state(ea, is_done);
    const int64_t end = now_ms() + 20000;
    struct timespec ts = {.tv_nsec = 10000000};
    while (tree_lookup(b.v, INODE_ROOT, "by itself", 9, &in) && now_ms() < end)
        nanosleep(&ts, NULL);
    CHECK_EQ(same(b.v, "by itself", (const uint8_t *)"1", 1), 0);
    make_file(b.v, INODE_ROOT, "at the end", "2", 1);
    CHECK_EQ(engine_stop(eb, 10000), 0); /* pushes it */
    CHECK_EQ(engine_stop(ea, 0), 0);
    engine_free(ea);
    engine_free(eb);
}

/* A store that is gone is no error that stays: offline, and on it goes when it is back. */
static void test_goes_away(void)
{
    struct engine *ea;
    const struct engine_options quick = {.quiet_ms = 10, .max_ms = 100, .pull_s = 1};
    char from[160], to[160];
    snprintf(from, sizeof(from), "%s/store", fixture_base);
    snprintf(to, sizeof(to), "%s/store-away", fixture_base);
    CHECK_EQ(engine_new(&ea, a.v, &quick), 0);
    CHECK_EQ(engine_start(ea), 0);
    CHECK_EQ(rename(from, to), 0);
    make_file(a.v, INODE_ROOT, "offline", "3", 1);
    wait_state(ea, is_offline);
    const int64_t begin = now_ms();
    CHECK_EQ(rename(to, from), 0);
    CHECK_EQ(engine_reload(ea), 0); /* as "sync" would; alone it takes the back-off */
    wait_state(ea, is_done);
    CHECK(now_ms() - begin < 15000);
    CHECK_EQ(engine_stop(ea, 1000), 0);
    engine_free(ea);
}

/* Stopping is quick and says what is left. */
static void test_stop(void)
{
    struct engine *ea;
    char from[160], to[160];
    snprintf(from, sizeof(from), "%s/store", fixture_base);
    snprintf(to, sizeof(to), "%s/store-away", fixture_base);
    CHECK_EQ(engine_new(&ea, a.v, NULL), 0);
    CHECK_EQ(engine_start(ea), 0);
    CHECK_EQ(rename(from, to), 0);
    make_file(a.v, INODE_ROOT, "left", "4", 1);
    const int64_t begin = now_ms();
    CHECK(engine_stop(ea, 500) > 0);
    CHECK(now_ms() - begin < 3000);
    CHECK_EQ(rename(to, from), 0);
    CHECK_EQ(engine_sync(ea, NULL, NULL), 0);
    engine_free(ea);
}

/* ---- check ---- */

static unsigned problems;
static bool named;

static void problem(void *ctx, const char *path, const char *what)
{
    problems++;
    if (path && strcmp(path, ctx) == 0)
        named = true;
}

/* The pack of a file: the largest one. */
static void find_pack(char path[300])
{
    char dir[160], sub[300];
    off_t most = 0;
    snprintf(dir, sizeof(dir), "%s/store/packs", fixture_base);
    DIR *d = opendir(dir), *s;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(sub, sizeof(sub), "%s/%.100s", dir, e->d_name);
        s = opendir(sub);
        for (struct dirent *f; s && (f = readdir(s));) {
            char one[600];
            struct stat st;
            snprintf(one, sizeof(one), "%.200s/%.90s", sub, f->d_name);
            if (f->d_name[0] != '.' && stat(one, &st) == 0 && st.st_size > most) {
                most = st.st_size;
                snprintf(path, 300, "%.299s", one);
            }
        }
        closedir(s);
    }
    closedir(d);
}

/* What is damaged or missing on the store is never served, and check names the file (A9, A30). */
static void test_check(void)
{
    struct engine *e;
    struct engine_check_result r;
    struct device c;
    char path[300] = "", away[320];
    CHECK_EQ(engine_new(&e, a.v, NULL), 0);
    CHECK_EQ(engine_sync(e, NULL, NULL), 0);
    CHECK_EQ(engine_check(e, NULL, problem, (void *)"photo", &r), 0);
    CHECK_EQ(r.problems, 0);
    CHECK_EQ(problems, 0);
    CHECK(r.packs > 0 && r.extents > 0 && r.batches > 0);

    find_pack(path);
    snprintf(away, sizeof(away), "%s.away", path);
    clone(&c, "c", "store");
    struct engine *ec;
    CHECK_EQ(engine_new(&ec, c.v, NULL), 0);
    CHECK_EQ(rename(path, away), 0);
    CHECK_EQ(engine_check(e, NULL, problem, (void *)"photo", &r), 0);
    CHECK(r.problems > 0 && named);
    CHECK_EQ(same(c.v, "photo", (const uint8_t *)"x", 1), ERR_BEHIND);

    /* another pack in its place */
    uint8_t other[8192];
    secret_random(other, sizeof(other));
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK_EQ(write(fd, other, sizeof(other)), sizeof(other));
    close(fd);
    named = false;
    log_set_level(LOG_LEVEL_ERROR);
    CHECK_EQ(engine_check(e, NULL, problem, (void *)"photo", &r), 0);
    CHECK(r.problems > 0 && named);
    CHECK_EQ(same(c.v, "photo", (const uint8_t *)"x", 1), ERR_AUTH);
    CHECK_EQ(rename(away, path), 0);
    CHECK_EQ(same(c.v, "photo", (const uint8_t *)"x", 1),
             ERR_FORMAT); /* it is read now, and is longer */
    engine_free(e);
    engine_free(ec);
    device_close(&c);
}

struct every {
    struct store *s;
    struct engine *e;
    char names[64][STORE_NAME_MAX + 1];
    size_t n;
};

static int every_each(void *ctx, const char *name, uint64_t size)
{
    struct every *v = ctx;
    CHECK(v->n < 64);
    snprintf(v->names[v->n++], sizeof(v->names[0]), "%s", name);
    return 0;
}

static bool finds(struct every *v)
{
    struct engine_check_result r;
    CHECK_EQ(engine_check(v->e, NULL, problem, (void *)"", &r), 0);
    return r.problems > 0;
}

/* Whatever object is damaged or missing, check says so: also the ones that only a clone would need. */
static void test_check_everything(void)
{
    struct device d = {0};
    struct every v = {.n = 0};
    uint8_t *p = random_bytes(100000);
    device_init(&d, "every", code);
    add_store(&d, "every-store", true);
    CHECK_EQ(engine_new(&v.e, d.v, NULL), 0);
    make_file(d.v, INODE_ROOT, "one", p, 100000);
    CHECK_EQ(engine_sync(v.e, NULL, NULL), 0);
    v.s = folder_open("every-store");
    CHECK_EQ(store_list(v.s, "", every_each, &v), 0);
    CHECK(v.n == 6); /* header, recovery, key box, genesis, a pack, a batch */
    CHECK(!finds(&v));
    for (size_t i = 0; i < v.n; i++) {
        struct bytes_out bytes;
        bytes_out_init(&bytes);
        CHECK_EQ(store_get(v.s, v.names[i], 0, 0, 16 << 20, &bytes), 0);
        bytes.p[bytes.len / 2] ^= 4;
        CHECK_EQ(store_put(v.s, v.names[i], bytes.p, bytes.len), 0);
        CHECK(finds(&v));
        CHECK_EQ(store_put(v.s, v.names[i], bytes.p, bytes.len / 2), 0);
        CHECK(finds(&v));
        CHECK_EQ(store_delete(v.s, v.names[i]), 0);
        CHECK(finds(&v));
        bytes.p[bytes.len / 2] ^= 4;
        CHECK_EQ(store_put(v.s, v.names[i], bytes.p, bytes.len), 0);
        bytes_out_release(&bytes);
    }
    CHECK(!finds(&v));
    store_close(v.s);
    engine_free(v.e);
    device_close(&d);
    free(p);
}

static void drop_store(struct device *d, const char *folder)
{
    char url[160];
    folder_url(folder, url);
    CHECK_EQ(stores_remove(d->v, url), 0);
}

/* The only store is gone for good and another one takes its place: what is on the disks is packed again, and every device reads
 * everything from the new store alone. [lost-packs] */
static void test_store_lost(void)
{
    struct device d = {0}, second = {0}, third = {0};
    struct engine *e, *f, *g;
    uint8_t *p = random_bytes(3000000), *q = random_bytes(500000);
    char path[200];
    uint8_t own_code[CODE_LEN];
    device_init(&d, "moving", own_code);
    memcpy(code, own_code, CODE_LEN);
    add_store(&d, "first", true);
    CHECK_EQ(engine_new(&e, d.v, NULL), 0);
    make_file(d.v, INODE_ROOT, "photo", p, 3000000);
    make_file(d.v, INODE_ROOT, "edited", q, 500000);
    CHECK_EQ(engine_sync(e, NULL, NULL), 0);
    clone(&second, "moving-second", "first"); /* has no bytes, and knows the old places */

    snprintf(path, sizeof(path), "%s/first", fixture_base);
    fixture_rm(path);
    drop_store(&d, "first");
    add_store(&d, "next", true);
    CHECK_EQ(engine_reload(e), 0);
    struct inode in;
    CHECK_EQ(tree_lookup(d.v, INODE_ROOT, "edited", 6, &in), 0);
    CHECK_EQ(data_write(d.v, in.ino, 1000, p, 5000, true, false), 0);
    memcpy(q + 1000, p, 5000);
    CHECK_EQ(engine_sync(e, NULL, NULL), 0);
    struct engine_status status;
    engine_status(e, &status);
    CHECK_EQ(status.pending_bytes + status.pending_changes, 0);
    struct engine_check_result checked;
    problems = 0;
    CHECK_EQ(engine_check(e, NULL, problem, NULL, &checked), 0);
    CHECK(problems == 0 && checked.extents > 0);
    /* Once is enough. */
    const uint64_t sent = status.sent;
    CHECK_EQ(engine_sync(e, NULL, NULL), 0);
    engine_status(e, &status);
    CHECK_EQ(status.sent, sent);

    clone(&third, "moving-third", "next");
    CHECK_EQ(engine_new(&g, third.v, NULL), 0);
    CHECK_EQ(same(third.v, "photo", p, 3000000), 0);
    CHECK_EQ(same(third.v, "edited", q, 500000), 0);
    drop_store(&second, "first");
    add_store(&second, "next", true);
    CHECK_EQ(engine_new(&f, second.v, NULL), 0);
    CHECK_EQ(engine_sync(f, NULL, NULL), 0);
    CHECK_EQ(same(second.v, "photo", p, 3000000), 0);
    CHECK_EQ(same(second.v, "edited", q, 500000), 0);
    engine_free(e);
    engine_free(f);
    engine_free(g);
    device_close(&d);
    device_close(&second);
    device_close(&third);
    free(p);
    free(q);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    setenv("OBSCURAFS_TEST_FAST_KDF", "1", 1);
    fixture_start();
    test_two_devices();
    test_background();
    test_goes_away();
    test_stop();
    test_check();
    test_check_everything();
    test_store_lost();
    device_close(&a);
    device_close(&b);
    fixture_rm(fixture_base);
    return check_done();
}
