/* Push: what the device shows is on the store, whatever fails or dies on the way; nothing readable is; rollback and copies are seen. */
#include "replay_fixture.h"

#include "crypto/object.h"
#include "sync/ledger.h"
#include "sync/push.h"

#include <linux/falloc.h>
#include <sys/wait.h>

#define MARK "lighthouse-at-dusk"

static uint8_t code[CODE_LEN];

/* A device whose store folder is ${name}; prepared. */
static uint32_t add_store(struct device *d, const char *name)
{
    struct stores_item item = {0};
    uint32_t id = 0;
    char why[200];
    folder_url(name, item.url);
    struct store *s = folder_open(name);
    CHECK_EQ(join_prepare_store(d->v, s, why), 0);
    store_close(s);
    CHECK_EQ(stores_add(d->v, &item, &id), 0);
    return id;
}

static int push_to(struct device *d, const struct stores_handle *handles, size_t n,
                   struct push_result *result)
{
    static const struct push_limits limits = {.missing_span_s = -1};
    struct push_params params = {.vault = d->v, .stores = handles, .count = n, .limits = &limits};
    return push_run(&params, result);
}

/* To all stores, as the engine does. */
static int push(struct device *d, struct push_result *result)
{
    struct stores_item *items;
    struct stores_handle handles[STORES_MAX];
    size_t n;
    int err = stores_load(d->v, &items, &n);
    for (size_t i = 0; i < n && !err; i++) {
        handles[i].id = items[i].id;
        handles[i].item = &items[i];
        err = stores_open(&items[i], &handles[i].store, NULL);
    }
    CHECK_EQ(err, 0);
    err = push_to(d, handles, n, result);
    for (size_t i = 0; i < n; i++)
        store_close(handles[i].store);
    stores_free(items, n);
    return err;
}

static bool on_store(const char *folder, struct device *d)
{
    struct store *s = folder_open(folder);
    bool same = replay_equals(s, d->v);
    store_close(s);
    return same;
}

static uint8_t *noise(size_t len)
{
    uint8_t *p = malloc(len + 1);
    secret_random(p, len);
    return p;
}

static void make_tree(struct vault *v)
{
    struct inode in;
    uint8_t *p = noise(5000000);
    uint64_t dir = make_dir(v, INODE_ROOT, MARK "-dir"), deep = make_dir(v, dir, "deep");
    make_file(v, deep, MARK ".jpg", p, 5000000);
    uint64_t text = make_file(v, dir, "text", MARK " " MARK, 37);
    make_file(v, dir, "empty", "", 0);
    uint64_t sparse = make_file(v, INODE_ROOT, "sparse", p, 10);
    CHECK_EQ(data_write(v, sparse, 3000000, p, 100, true, false), 0);
    CHECK_EQ(tree_symlink(v, deep, "link", 4, "../" MARK, fixture_cred, &in), 0);
    CHECK_EQ(tree_link(v, text, INODE_ROOT, "hard", 4, &in), 0);
    CHECK_EQ(tree_mknod(v, dir, "fifo", 4, S_IFIFO | 0600, 0, fixture_cred, &in), 0);
    CHECK_EQ(tree_mknod(v, dir, "\xff\xfe not text", 11, S_IFREG | 0600, 0, fixture_cred, &in), 0);
    CHECK_EQ(tree_setxattr(v, text, "user.zebra", "1", 1, 0), 0);
    CHECK_EQ(tree_setxattr(v, text, "user.apple", MARK, 18, 0), 0);
    free(p);
}

struct census {
    size_t objects, bytes, bad_sizes, full;
    bool marked;
    struct store *s;
};

static int census_each(void *ctx, const char *name, uint64_t size)
{
    struct census *c = ctx;
    struct bytes_out b;
    bytes_out_init(&b);
    c->objects++;
    c->bytes += size;
    c->full += size == PACK_SIZE;
    if (!strncmp(name, "packs/", 6) && (size < 4096 || object_padme(size, 1) != size))
        c->bad_sizes++;
    if (!strncmp(name, "journal/", 8) &&
        object_padme(size - 226, 1) != size - 226) /* no other device: a head without refs */
        c->bad_sizes++;
    CHECK_EQ(store_get(c->s, name, 0, 0, 64 << 20, &b), 0);
    c->marked |= memmem(b.p, b.len, MARK, 10) != NULL || strstr(name, MARK);
    bytes_out_release(&b);
    return 0;
}

static struct census census(const char *folder)
{
    struct census c = {.s = folder_open(folder)};
    CHECK_EQ(store_list(c.s, "", census_each, &c), 0);
    store_close(c.s);
    return c;
}

static void test_whole(struct device *d)
{
    struct push_result r;
    make_tree(d->v);
    add_store(d, "s1");
    CHECK_EQ(push(d, &r), 0);
    CHECK(r.packs == 1 && r.batches == 1 && r.held == 0);
    CHECK(on_store("s1", d));
    struct census c = census("s1");
    CHECK(!c.marked && c.bad_sizes == 0);
    /* Nothing to do: nothing is sent. */
    CHECK_EQ(push(d, &r), 0);
    CHECK(r.packs == 0 && r.batches == 0 && r.sent == 0);
    CHECK_EQ(census("s1").bytes, c.bytes);
}

static uint64_t lookup(struct vault *v, uint64_t parent, const char *name)
{
    struct inode in = {0};
    CHECK_EQ(tree_lookup(v, parent, name, strlen(name), &in), 0);
    return in.ino;
}

static void test_changes(struct device *d)
{
    struct push_result r;
    struct inode in, gone;
    struct vault *v = d->v;
    uint64_t dir = lookup(v, INODE_ROOT, MARK "-dir"), deep = lookup(v, dir, "deep");
    uint64_t photo = lookup(v, deep, MARK ".jpg");

    /* A rename is small, whatever is below. */
    CHECK_EQ(tree_rename(v, INODE_ROOT, MARK "-dir", strlen(MARK "-dir"), INODE_ROOT, "moved", 5, 0,
                         &gone),
             0);
    CHECK_EQ(push(d, &r), 0);
    CHECK(r.packs == 0 && r.batches == 1 && r.sent < 5000);
    CHECK(on_store("s1", d));

    /* So is an edit. */
    uint8_t *p = noise(4096);
    CHECK_EQ(data_write(v, photo, 2345678, p, 4096, true, false), 0);
    CHECK_EQ(push(d, &r), 0);
    CHECK(r.packs == 1 && r.sent < 20000);
    CHECK(on_store("s1", d));

    /* Truncation, growth, holes, attributes, deletion, replacement. */
    in = (struct inode){.size = 1000000, .mode = 0400};
    CHECK_EQ(tree_setattr(v, photo, TREE_SIZE | TREE_MODE, &in, &gone), 0);
    in.size = 4000000;
    CHECK_EQ(tree_setattr(v, photo, TREE_SIZE, &in, &gone), 0);
    CHECK_EQ(data_fallocate(v, photo, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 100000), 0);
    uint64_t copy = make_file(v, deep, "copy", "", 0), copied;
    CHECK_EQ(data_copy_range(v, photo, 0, copy, 0, 300000, &copied), 0);
    CHECK_EQ(tree_unlink(v, INODE_ROOT, "sparse", 6, &gone), 0);
    CHECK_EQ(tree_reap(v, gone.ino), 0);
    make_file(v, INODE_ROOT, "new", p, 4096);
    CHECK_EQ(tree_rename(v, INODE_ROOT, "new", 3, INODE_ROOT, "hard", 4, 0, &gone), 0);
    CHECK_EQ(tree_reap(v, gone.ino), 0);
    CHECK_EQ(push(d, &r), 0);
    CHECK(on_store("s1", d));

    /* What comes and goes between two pushes never travels. */
    uint64_t temp = make_file(v, INODE_ROOT, "temp", p, 4096);
    CHECK_EQ(tree_unlink(v, INODE_ROOT, "temp", 4, &gone), 0);
    CHECK_EQ(tree_reap(v, temp), 0);
    CHECK_EQ(push(d, &r), 0);
    CHECK(r.packs == 0);
    CHECK(on_store("s1", d));
    free(p);
}

/* More ranges than one batch says of a file, and many small extents in a pack. */
static void test_many_ranges(struct device *d)
{
    struct push_result r;
    uint8_t b[40];
    uint64_t ino = make_file(d->v, INODE_ROOT, "rows", "", 0);
    for (uint64_t i = 0; i < 17000; i++) {
        secret_random(b, sizeof(b));
        CHECK_EQ(data_write(d->v, ino, i * 40, b, 40, true, false), 0);
    }
    CHECK_EQ(push(d, &r), 0);
    CHECK(r.batches == 2 && r.packs >= 1);
    CHECK(on_store("s1", d));
    for (uint64_t i = 5; i < 17000; i += 4000)
        CHECK_EQ(data_write(d->v, ino, i * 40, b, 80, true, false), 0);
    CHECK_EQ(push(d, &r), 0);
    CHECK(r.sent < 20000);
    CHECK(on_store("s1", d));
}

/* Small batches: many items over many batches, with what depends on each other in different ones. */
static void test_small_batches(struct device *d)
{
    static const struct push_limits limits = {.batch_items = 7};
    struct push_result r;
    struct inode gone;
    char name[32];
    uint64_t dir = make_dir(d->v, INODE_ROOT, "many");
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        make_file(d->v, dir, name, name, strlen(name));
    }
    struct stores_item *items;
    size_t n;
    CHECK_EQ(stores_load(d->v, &items, &n), 0); /* [stores-item] */
    struct stores_handle h = {.id = items[0].id};
    CHECK_EQ(stores_open(&items[0], &h.store, NULL), 0);
    struct push_params params = {.vault = d->v, .stores = &h, .count = 1, .limits = &limits};
    CHECK_EQ(push_run(&params, &r), 0);
    CHECK(r.batches >= 17);
    CHECK(on_store("s1", d));
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        CHECK_EQ(
            tree_rename(d->v, dir, name, strlen(name), INODE_ROOT, name, strlen(name), 0, &gone),
            0);
    }
    CHECK_EQ(tree_rmdir(d->v, INODE_ROOT, "many", 4, &gone), 0);
    CHECK_EQ(tree_reap(d->v, gone.ino), 0);
    CHECK_EQ(push_run(&params, &r), 0);
    CHECK(on_store("s1", d));
    store_close(h.store);
    stores_free(items, n);
}

/* Several workers; packs are filled well, and all but the last have the one size. */
static void test_workers(struct device *d)
{
    struct push_result r;
    struct census before = census("s1");
    uint8_t *p = noise(1300000);
    char name[32];
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof(name), "photo-%d", i);
        p[0] = (uint8_t)i;
        make_file(d->v, INODE_ROOT, name, p, 1300000 - (size_t)i * 1000);
    }
    CHECK_EQ(push(d, &r), 0);
    struct census after = census("s1");
    CHECK(r.packs == 5 && r.batches == 1);
    CHECK(after.full - before.full == 4);
    CHECK(r.sent < 30 * 1300000 * 104ull / 100);
    CHECK(on_store("s1", d));
    free(p);
}

struct busy {
    struct vault *v;
    uint64_t growing, published;
    int writes;
};

/* A file that grows while we push. */
static void keep_writing(void *ctx, const char *name)
{
    struct busy *b = ctx;
    uint8_t block[4096] = {0};
    if (strncmp(name, "packs/", 6) != 0)
        return;
    CHECK_EQ(data_write(b->v, b->growing, (uint64_t)b->writes * 4096, block, 4096, true, false), 0);
    CHECK_EQ(data_write(b->v, b->published, (uint64_t)b->writes * 4096, block, 4096, true, false),
             0);
    b->writes++;
}

static void test_held(struct device *d)
{
    struct push_result r;
    struct inode gone;
    struct fault f;
    struct busy b = {.v = d->v};
    struct store *real = folder_open("s1");
    b.published = make_file(d->v, INODE_ROOT, "published", "x", 1);
    uint64_t victim = make_file(d->v, INODE_ROOT, "victim", "x", 1);
    CHECK_EQ(push(d, &r), 0);
    b.growing = make_file(d->v, INODE_ROOT, "growing", "abc", 3);
    make_file(d->v, INODE_ROOT, "other", "abc", 3);
    /* The new file takes the place of one that the store knows: that must not be lost there before the new one is there. */
    CHECK_EQ(tree_rename(d->v, INODE_ROOT, "growing", 7, INODE_ROOT, "victim", 6, 0, &gone), 0);
    CHECK_EQ(tree_reap(d->v, victim), 0);
    fault_init(&f, real);
    f.on_put = keep_writing;
    f.ctx = &b;
    struct stores_handle h = {.id = 1, .store = &f.s};
    CHECK_EQ(push_to(d, &h, 1, &r), 0);
    CHECK(r.held > 0 && b.writes == 2);
    struct replay *now = replay_run(real, d->v);
    const struct replay_entry *e = replay_entry(now, INODE_ROOT, "victim", 6);
    CHECK(replay_entry(now, INODE_ROOT, "other", 5) != NULL);
    CHECK(e && e->ino == victim && !replay_inode(now, victim)->gone);
    CHECK(!replay_entry(now, INODE_ROOT, "growing", 7) && !replay_inode(now, b.growing)->attr_seen);
    replay_free(now);
    CHECK_EQ(push(d, &r), 0);
    CHECK_EQ(r.held, 0);
    CHECK(on_store("s1", d));
    store_close(real);
}

static void test_failures(struct device *d)
{
    struct push_result r;
    struct store *real = folder_open("s1");
    uint8_t *p = noise(100000);
    /* Each call to the store fails once, with and without its effect. */
    for (int after = 0; after < 2; after++) {
        for (long at = 0; at < 20; at++) {
            struct fault f;
            char name[32];
            snprintf(name, sizeof(name), "fail-%d-%ld", after, at);
            make_file(d->v, INODE_ROOT, name, p, 100000);
            fault_init(&f, real);
            f.countdown = at;
            f.after = after;
            struct stores_handle h = {.id = 1, .store = &f.s};
            int err = push_to(d, &h, 1, &r);
            if (!err) {
                CHECK(at >= 4); /* two looks, a pack, a batch */
                break;
            }
            CHECK(err == ERR_NET && strstr(r.why, "test store"));
            f.countdown = -1;
            CHECK_EQ(push_to(d, &h, 1, &r), 0);
        }
        CHECK(on_store("s1", d));
    }
    free(p);
    store_close(real);
}

/* The process dies at each call to the store; the next one goes on. */
static void test_kills(struct device *d)
{
    struct push_result r;
    uint8_t *p = noise(100000);
    bool done = false;
    for (long at = 0; at < 8 && !done; at++) {
        char name[32];
        snprintf(name, sizeof(name), "kill-%ld", at);
        make_file(d->v, INODE_ROOT, name, p, 100000);
        device_close(d);
        pid_t pid = fork();
        if (pid == 0) {
            struct fault f;
            if (secret_init())
                _exit(1);
            device_open(d);
            fault_init(&f, folder_open("s1"));
            f.countdown = at;
            f.after = at & 1;
            f.dies = true;
            struct stores_handle h = {.id = 1, .store = &f.s};
            _exit(push_to(d, &h, 1, &r) == 0 ? 0 : 2);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 0));
        done = WEXITSTATUS(status) == 0;
        device_open(d);
        CHECK_EQ(push(d, &r), 0);
        CHECK(on_store("s1", d));
    }
    CHECK(done);
    free(p);
}

static void test_two_stores(struct device *d)
{
    struct push_result r;
    uint8_t *p = noise(3000000);
    struct fault f[2];
    /* One that is added later gets all that was before. */
    uint32_t second = add_store(d, "s2");
    CHECK_EQ(push(d, &r), 0);
    CHECK(on_store("s2", d));
    /* One is away: the other gets everything. */
    make_file(d->v, INODE_ROOT, "away", p, 3000000);
    fault_init(&f[0], folder_open("s1"));
    fault_init(&f[1], folder_open("s2"));
    struct stores_handle h[2] = {{.id = 1, .store = &f[0].s}, {.id = second, .store = &f[1].s}};
    f[0].countdown = 0;
    CHECK_EQ(push_to(d, h, 2, &r), ERR_NET);
    CHECK(on_store("s2", d) && !on_store("s1", d));
    /* Back again, but now the pack is to be had from the second only, which is away: no batch may come before its pack. */
    f[0].countdown = -1;
    f[1].countdown = 0;
    CHECK_EQ(push_to(d, h, 2, &r), ERR_NET);
    CHECK(on_store("s2", d) && !on_store("s1", d));
    f[1].countdown = -1;
    CHECK_EQ(push_to(d, h, 2, &r), 0);
    CHECK(on_store("s1", d) && on_store("s2", d));
    store_close(f[0].real);
    store_close(f[1].real);
    CHECK_EQ(stores_remove(d->v, "2"), 0);
    CHECK_EQ(stores_remove(d->v, "2"), ERR_NOENT);
    free(p);
}

/* [own-head] */
static void own_batch_path(struct device *d, uint64_t seq, char path[300])
{
    const struct keyring *k = vault_keyring(d->v);
    char device[ROSTER_DEVICE_NAME_LEN], name[BATCH_NAME_LEN];
    struct sign_keys *keys = sign_keys_new(k->sign_seed, k->box_seed);
    roster_store_name(sign_keys_public(keys), device);
    sign_keys_free(keys);
    batch_name(device, seq, name);
    snprintf(path, 300, "%s/s1/%s", fixture_base, name);
}

static uint64_t own_seq(struct device *d)
{
    struct ledger_head head;
    index_lock(vault_index(d->v));
    CHECK_EQ(ledger_head_get(vault_index(d->v), vault_keyring(d->v)->device_tag, &head), 0);
    index_unlock(vault_index(d->v));
    return head.seq;
}

static void test_rollback(struct device *d)
{
    struct push_result r;
    char path[300], aside[310];
    uint64_t seq = own_seq(d);
    own_batch_path(d, seq, path);
    snprintf(aside, sizeof(aside), "%s.aside", path);
    make_file(d->v, INODE_ROOT, "after", "x", 1);
    CHECK_EQ(rename(path, aside), 0);
    struct census before = census("s1");
    CHECK_EQ(push(d, &r), ERR_BEHIND);
    CHECK_EQ(push(d, &r), ERR_BEHIND);
    CHECK_EQ(own_seq(d), seq); /* no batch is written while no store takes any */
    /* It was only late. */
    CHECK_EQ(rename(aside, path), 0);
    CHECK_EQ(push(d, &r), 0);
    CHECK(on_store("s1", d));
    /* It stays away. */
    own_batch_path(d, own_seq(d), path);
    CHECK_EQ(rename(path, aside), 0);
    make_file(d->v, INODE_ROOT, "later", "x", 1);
    CHECK_EQ(push(d, &r), ERR_BEHIND);
    CHECK_EQ(push(d, &r), ERR_BEHIND);
    CHECK_EQ(push(d, &r), ERR_CONTRADICTION);
    CHECK(strstr(r.why, "rolled back"));
    CHECK(census("s1").objects ==
          before.objects + 2); /* nothing is put on a store that is doubted */
    CHECK_EQ(rename(aside, path), 0);
    CHECK_EQ(push(d, &r), 0);
    CHECK(on_store("s1", d));
}

static void test_junk(struct device *d)
{
    struct push_result r;
    char path[300];
    make_file(d->v, INODE_ROOT, "junk", "x", 1);
    /* Something unsigned stands where our next batch goes: it counts as not there. */
    own_batch_path(d, own_seq(d) + 1, path);
    FILE *f = fopen(path, "w");
    fputs("half of something", f);
    fclose(f);
    CHECK_EQ(push(d, &r), 0);
    CHECK(on_store("s1", d));
}

static void test_copied_device(struct device *d)
{
    struct push_result r;
    struct device copy = {0};
    char command[400];
    snprintf(copy.path, sizeof(copy.path), "%s/copy", fixture_base);
    device_close(d);
    snprintf(command, sizeof(command), "cp -a '%s' '%s'", d->path, copy.path);
    CHECK_EQ(system(command), 0);
    device_open(d);
    make_file(d->v, INODE_ROOT, "original", "x", 1);
    CHECK_EQ(push(d, &r), 0);
    struct census before = census("s1");
    device_open(&copy);
    make_file(copy.v, INODE_ROOT, "copy", "y", 1);
    CHECK_EQ(push(&copy, &r), ERR_CONTRADICTION);
    CHECK(strstr(r.why, "clone"));
    CHECK_EQ(census("s1").bytes, before.bytes);
    device_close(&copy);
    CHECK(on_store("s1", d));
}

/* The bytes that were to be sent are damaged on this disk: they stay, everything else goes. */
static int hurt_each(void *ctx, uint64_t seg, uint64_t bytes)
{
    (void)bytes;
    *(uint64_t *)ctx = seg > *(uint64_t *)ctx ? seg : *(uint64_t *)ctx;
    return 0;
}

static void test_damage(struct device *d)
{
    struct push_result r;
    struct inode gone;
    struct map_row row;
    struct extent e;
    size_t n;
    uint64_t last = 0;
    char path[200];
    make_file(d->v, INODE_ROOT, "sound", "x", 1);
    uint64_t ino = make_file(d->v, INODE_ROOT, "hurt", MARK, 18);
    index_lock(vault_index(d->v));
    CHECK(index_map_get(vault_index(d->v), ino, 0, 18, &row, &e, 1, &n) == 0 && n == 1);
    index_unlock(vault_index(d->v));
    CHECK_EQ(segment_each(vault_segments(d->v), hurt_each, &last), 0);
    snprintf(path, sizeof(path), "%s/seg/%016llx", d->path, (unsigned long long)e.at.seg);
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0 && pwrite(fd, "!", 1, (off_t)e.at.off + 3) == 1);
    close(fd);
    CHECK_EQ(push(d, &r), ERR_AUTH);
    struct store *s = folder_open("s1");
    struct replay *now = replay_run(s, d->v);
    CHECK(replay_entry(now, INODE_ROOT, "sound", 5) && !replay_entry(now, INODE_ROOT, "hurt", 4));
    replay_free(now);
    store_close(s);
    CHECK_EQ(tree_unlink(d->v, INODE_ROOT, "hurt", 4, &gone), 0);
    CHECK_EQ(tree_reap(d->v, ino), 0);
    CHECK_EQ(push(d, &r), 0);
    CHECK(on_store("s1", d));
}

static void test_cancel(struct device *d)
{
    struct push_result r;
    _Atomic bool cancelled = true;
    struct store *s = folder_open("s1");
    struct stores_handle h = {.id = 1, .store = s};
    struct push_params params = {.vault = d->v, .stores = &h, .count = 1, .cancelled = &cancelled};
    make_file(d->v, INODE_ROOT, "cancelled", "x", 1);
    CHECK_EQ(push_run(&params, &r), ERR_INTR);
    cancelled = false;
    CHECK_EQ(push_run(&params, &r), 0);
    params.count = 0;
    CHECK_EQ(push_run(&params, &r), ERR_NOENT);
    CHECK(on_store("s1", d));
    store_close(s);
}

int main(void)
{
    struct device d = {0};
    fixture_start();
    device_init(&d, "vault", code);
    test_whole(&d);
    test_changes(&d);
    test_many_ranges(&d);
    test_small_batches(&d);
    test_workers(&d);
    test_held(&d);
    test_failures(&d);
    test_kills(&d);
    test_two_stores(&d);
    test_rollback(&d);
    test_junk(&d);
    test_copied_device(&d);
    test_damage(&d);
    test_cancel(&d);
    device_close(&d);
    fixture_rm(fixture_base);
    return check_done();
}
