/* Joining: a store is made ready or refused; a new device comes from the store and the code alone, or leaves nothing; a store that lies gets nothing. */
#include "replay_fixture.h"

#include "sync/keybox.h"
#include "sync/ledger.h"
#include "sync/members.h"
#include "sync/pull.h"
#include "sync/push.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>

static uint8_t code[CODE_LEN], other_code[CODE_LEN];

static int prepare(struct device *d, const char *folder, char why[200])
{
    struct store *s = folder_open(folder);
    int err = join_prepare_store(d->v, s, why);
    store_close(s);
    return err;
}

static int count_each(void *ctx, const char *name, uint64_t size)
{
    (void)name, (void)size;
    ++*(size_t *)ctx;
    return 0;
}

static size_t objects(const char *folder)
{
    size_t n = 0;
    struct store *s = folder_open(folder);
    CHECK_EQ(store_list(s, "", count_each, &n), 0);
    store_close(s);
    return n;
}

static void put_one(const char *folder, const char *name, const void *p, size_t len)
{
    struct store *s = folder_open(folder);
    store_delete(s, name);
    CHECK_EQ(store_put(s, name, p, len), 0);
    store_close(s);
}

static void copy_objects(const char *from, const char *to, const char *what)
{
    char command[400];
    snprintf(command, sizeof(command), "mkdir -p '%s/%s' && cp -a '%s/%s/'%s '%s/%s/'",
             fixture_base, to, fixture_base, from, what, fixture_base, to);
    CHECK_EQ(system(command), 0);
}

static void test_prepare(struct device *d, struct device *other)
{
    char why[200];
    CHECK_EQ(prepare(d, "s1", why), 0);
    CHECK_EQ(objects("s1"), 4); /* header, genesis, recovery, key box */
    CHECK_EQ(prepare(d, "s1", why), 0);
    CHECK_EQ(objects("s1"), 4);
    CHECK_EQ(prepare(other, "s1", why), ERR_NOTOURS);
    CHECK(strstr(why, "another vault"));
    CHECK_EQ(objects("s1"), 4);
    CHECK_EQ(prepare(other, "other", why), 0);

    put_one("full", "some/thing.txt", "x", 1);
    CHECK_EQ(prepare(d, "full", why), ERR_NOTOURS);
    CHECK(strstr(why, "some/thing.txt"));
    CHECK_EQ(objects("full"), 1);
    CHECK(strstr(why, "not empty") && strstr(why, "choose an empty folder"));
    put_one("strange", "vault", "not a header of ours, and longer than one of ours would be", 58);
    CHECK_EQ(prepare(d, "strange", why), ERR_NOTOURS);
    put_one("future", "vault", "OBSSTORE\2\0\0\0\1\0\0\0................................", 48);
    CHECK_EQ(prepare(d, "future", why), ERR_VERSION);
    CHECK(strstr(why, "newer"));
}

static int shell(const char *command)
{
    char line[500];
    snprintf(line, sizeof(line), "cd '%s' && %s", fixture_base, command);
    return system(line);
}

/* Names that are not of our form are there all the same; what desktop programs leave in every folder is not. */
static void test_foreign_names(struct device *d)
{
    char why[200];
    CHECK_EQ(shell("mkdir -p photos/Photos && touch 'photos/Photos/IMG 1.JPG'"), 0);
    CHECK_EQ(prepare(d, "photos", why), ERR_NOTOURS);
    CHECK(strstr(why, "Photos/"));
    CHECK_EQ(shell("test $(find photos | wc -l) = 3"), 0);
    CHECK_EQ(shell("mkdir strange-name && touch \"$(printf 'strange-name/\\033[31m\\nX')\""), 0);
    CHECK_EQ(prepare(d, "strange-name", why), ERR_NOTOURS);
    CHECK(!strpbrk(why, "\033\n") && strstr(why, "?[31m?X"));
    CHECK_EQ(shell("mkdir -p used/.stfolder used/keys && touch used/.DS_Store used/desktop.ini"),
             0);
    CHECK_EQ(prepare(d, "used", why), 0);
    CHECK_EQ(prepare(d, "used", why), 0);
}

/* A store that has room for less than the beginning: nothing of it stays there. */
static void test_prepare_refused(struct device *d)
{
    char why[200];
    struct store *real = folder_open("narrow");
    int refusals = 0;
    for (long at = 0;; at++) {
        struct fault f;
        fault_init(&f, real);
        f.countdown = at;
        f.code = ERR_STOREFULL;
        f.puts_only = true;
        int err = join_prepare_store(d->v, &f.s, why);
        if (!err)
            break;
        refusals++;
        CHECK_EQ(err, ERR_STOREFULL);
        CHECK_EQ(shell("test -z \"$(ls -A narrow)\""), 0);
    }
    CHECK_EQ(refusals, 4); /* four objects */
    store_close(real);
}

/* Interrupted anywhere, it can be done again, and the same bytes come under the same names. */
static void test_prepare_interrupted(struct device *d)
{
    char why[200];
    struct store *real = folder_open("broken");
    bool done = false;
    for (long at = 0; at < 30 && !done; at++) {
        struct fault f;
        fault_init(&f, real);
        f.countdown = at;
        f.after = at & 1;
        done = join_prepare_store(d->v, &f.s, why) == 0;
    }
    CHECK(done);
    store_close(real);
    CHECK_EQ(objects("broken"), 4);
    char command[300];
    snprintf(command, sizeof(command), "diff -r '%s/s1' '%s/broken'", fixture_base, fixture_base);
    CHECK_EQ(system(command), 0);
}

static int clone_to(const char *name, struct store *s, const char *folder, const uint8_t *with,
                    char why[200], struct device *d)
{
    char url[160];
    folder_url(folder, url);
    snprintf(d->path, sizeof(d->path), "%s/%s", fixture_base, name);
    d->v = NULL;
    return join_clone(d->path, s, url, NULL, NULL, with, DEVICE_SECRET, strlen(DEVICE_SECRET),
                      &fixture_cost, name, NULL, NULL, why);
}

static int clone(const char *name, const char *folder, const uint8_t *with, char why[200])
{
    struct device d;
    struct store *s = folder_open(folder);
    int err = clone_to(name, s, folder, with, why, &d);
    store_close(s);
    return err;
}

/* Killed at its ${at}th call of the store. True: it was. */
static bool clone_killed(const char *name, const char *folder, long at)
{
    struct fault f;
    struct device d;
    char why[200];
    struct store *real = folder_open(folder);
    fault_init(&f, real);
    f.countdown = at;
    f.dies = true;
    pid_t pid = fork();
    if (pid == 0) {
        secret_init();
        _exit(clone_to(name, &f.s, folder, code, why, &d) ? 1 : 0);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    store_close(real);
    return WIFEXITED(status) && WEXITSTATUS(status) == 9;
}

static int left_over(void)
{
    char command[200];
    snprintf(command, sizeof(command), "ls -A '%s' | grep -q 'clone'", fixture_base);
    return system(command) == 0;
}

static void test_refusals(struct device *d)
{
    char why[200], path[200];
    CHECK_EQ(clone("x", "empty", code, why), ERR_NOTOURS);
    CHECK_EQ(clone("x", "strange", code, why), ERR_NOTOURS);
    CHECK_EQ(clone("x", "future", code, why), ERR_VERSION);
    CHECK_EQ(clone("x", "s1", other_code, why), ERR_WRONGKEY);
    CHECK(strstr(why, "vault code"));
    snprintf(path, sizeof(path), "%s/taken", fixture_base);
    mkdir(path, 0700);
    put_one("taken", "a", "x", 1);
    CHECK_EQ(clone("taken", "s1", code, why), ERR_EXIST);
    CHECK_EQ(objects("taken"), 1);
    snprintf(path, sizeof(path), "%s/x", fixture_base);
    CHECK(access(path, F_OK) != 0 && !left_over());
    CHECK_EQ(objects("s1"), 4);
    (void)d;
}

/* A store that puts another vault's well-formed objects in place of ours, each kind by itself and all together. */
static void test_lies(void)
{
    static const char *const kinds[] = {"vault", "keys", "roster"};
    char why[200], folder[32];
    for (unsigned mask = 1; mask < 8; mask++) {
        snprintf(folder, sizeof(folder), "lie-%u", mask);
        for (unsigned k = 0; k < 3; k++)
            copy_objects(mask & 1u << k ? "other" : "s1", folder, kinds[k]);
        size_t before = objects(folder);
        CHECK(clone("y", folder, code, why) != 0);
        CHECK_EQ(objects(folder), before); /* and nothing is told to it */
    }
    CHECK(!left_over());
}

static void test_damage(void)
{
    static const char *const kinds[] = {"vault", "keys", "roster"};
    char why[200], folder[32];
    for (unsigned k = 0; k < 3; k++) {
        snprintf(folder, sizeof(folder), "without-%u", k);
        for (unsigned i = 0; i < 3; i++)
            if (i != k)
                copy_objects("s1", folder, kinds[i]);
        int err = clone("z", folder, code, why);
        CHECK(err == (k == 0 ? ERR_NOTOURS : ERR_FORMAT));
    }
    CHECK(!left_over());
}

static int push(struct device *d, const char *folder, uint32_t id)
{
    struct push_result r;
    struct stores_handle h = {.id = id, .store = folder_open(folder)};
    struct push_params params = {.vault = d->v, .stores = &h, .count = 1};
    int err = push_run(&params, &r);
    store_close(h.store);
    return err;
}

/* The same names, sizes and attributes on both; bytes come when they are read, which is another test's matter. */
struct walk {
    struct vault *there;
    uint64_t dir;
    size_t seen, different;
};

static int walk_each(void *ctx, const char *name, size_t len, uint64_t cookie,
                     const struct inode *in)
{
    struct walk *w = ctx;
    struct inode got;
    (void)cookie;
    if (name[0] == '.')
        return 0;
    w->seen++;
    if (tree_lookup(w->there, w->dir, name, len, &got) || got.ino != in->ino ||
        got.size != in->size || got.mode != in->mode || got.mtime != in->mtime ||
        got.nlink != in->nlink)
        w->different++;
    return 0;
}

static void test_clone(struct device *d)
{
    char why[200];
    struct device second, third;
    struct stores_item item = {0}, *items;
    uint32_t id;
    size_t n;
    folder_url("s1", item.url);
    CHECK_EQ(stores_add(d->v, &item, &id), 0);
    CHECK_EQ(stores_add(d->v, &item, &id), ERR_EXIST);
    make_file(d->v, INODE_ROOT, "photo", "0123456789", 10);
    uint64_t dir = make_dir(d->v, INODE_ROOT, "dir");
    make_file(d->v, dir, "inside", "abc", 3);
    CHECK_EQ(push(d, "s1", id), 0);

    /* Each call to the store fails once: nothing is left, and the next try works. */
    struct store *real = folder_open("s1");
    int err = -1;
    for (long at = 0; at < 60 && err; at++) {
        struct fault f;
        struct store *s = folder_open("s1");
        fault_init(&f, s);
        f.countdown = at;
        f.after = at & 2;
        err = clone_to("second", &f.s, "s1", code, why, &second);
        CHECK(!left_over());
        CHECK(err == 0 || access(second.path, F_OK) != 0);
        store_close(s);
    }
    CHECK_EQ(err, 0);
    store_close(real);
    device_open(&second);
    CHECK(!memcmp(vault_id(second.v), vault_id(d->v), 32));
    CHECK(vault_keyring(second.v)->device_tag != vault_keyring(d->v)->device_tag);
    CHECK(memcmp(vault_keyring(second.v)->device_key, vault_keyring(d->v)->device_key, 32) != 0);
    CHECK(stores_load(second.v, &items, &n) == 0 && n == 1 && !strcmp(items[0].url, item.url));
    stores_free(items, n);
    struct walk w = {.there = second.v, .dir = INODE_ROOT};
    CHECK_EQ(tree_readdir(d->v, INODE_ROOT, 0, walk_each, &w), 0);
    CHECK(w.seen == 2 && w.different == 0);
    w.dir = dir;
    CHECK_EQ(tree_readdir(d->v, dir, 0, walk_each, &w), 0);
    CHECK(w.seen == 3 && w.different == 0);

    /* It belongs: the first device sees it in the roster, its box opens, and it can push. */
    struct roster *roster;
    size_t fresh;
    struct store *s = folder_open("s1");
    CHECK_EQ(members_load(d->v, &roster), 0);
    CHECK_EQ(members_fetch(s, roster, &fresh), 0);
    CHECK(fresh >= 1 && roster_by_tag(roster, vault_keyring(second.v)->device_tag));
    CHECK_EQ(members_save(d->v, roster), 0);
    struct keyring *k = keyring_new();
    struct sign_keys *keys =
        sign_keys_new(vault_keyring(second.v)->sign_seed, vault_keyring(second.v)->box_seed);
    char name[KEYBOX_NAME_LEN];
    struct bytes_out box;
    bytes_out_init(&box);
    keybox_name(roster_by_tag(roster, vault_keyring(second.v)->device_tag), name);
    CHECK_EQ(store_get(s, name, 0, 0, KEYBOX_MAX, &box), 0);
    CHECK_EQ(keybox_open(box.p, box.len, vault_id(d->v), roster, keys, k), 0);
    CHECK(k->epoch_count == 1 && !memcmp(k->epochs[0].key, vault_keyring(d->v)->epochs[0].key, 32));
    bytes_out_release(&box);
    sign_keys_free(keys);
    keyring_free(k);
    roster_free(roster);
    store_close(s);
    make_file(second.v, dir, "from second", "xyz", 3);
    CHECK_EQ(push(&second, "s1", 1), 0);

    /* A third one sees what both did. */
    CHECK_EQ(clone("third", "s1", code, why), 0);
    snprintf(third.path, sizeof(third.path), "%s/third", fixture_base);
    device_close(&second); /* guarded memory holds two open vaults */
    device_open(&third);
    struct inode in;
    CHECK(tree_lookup(third.v, dir, "from second", 11, &in) == 0 && in.size == 3);
    CHECK(tree_lookup(third.v, INODE_ROOT, "photo", 5, &in) == 0 && in.size == 10);
    device_close(&third);
}

/* The second device knows one store only; the first, which has two, brings what the second wrote to the other. */
static void test_mirror(struct device *d)
{
    char why[200], command[300];
    struct stores_item item = {0};
    struct stores_handle h[2] = {{.id = 1, .store = folder_open("s1")},
                                 {.store = folder_open("s2")}};
    struct pull_params pull = {.vault = d->v, .stores = h, .count = 1};
    struct pull_result in;
    struct push_params params = {.vault = d->v, .stores = h, .count = 2};
    struct push_result out;
    struct device fourth;
    struct inode got;
    folder_url("s2", item.url);
    CHECK_EQ(join_prepare_store(d->v, h[1].store, why), 0);
    CHECK_EQ(stores_add(d->v, &item, &h[1].id), 0);
    CHECK_EQ(pull_run(&pull, &in), 0);
    CHECK(in.batches >= 1);
    CHECK_EQ(push_run(&params, &out), 0);
    for (int i = 0; i < 2; i++) {
        snprintf(command, sizeof(command), "diff -r '%s/s1/%s' '%s/s2/%s'", fixture_base,
                 i ? "packs" : "journal", fixture_base, i ? "packs" : "journal");
        CHECK_EQ(system(command), 0);
    }
    CHECK_EQ(push_run(&params, &out), 0);
    CHECK(out.sent == 0);
    CHECK_EQ(clone("fourth", "s2", code, why), 0);
    snprintf(fourth.path, sizeof(fourth.path), "%s/fourth", fixture_base);
    device_open(&fourth);
    CHECK(tree_lookup(fourth.v, INODE_ROOT, "dir", 3, &got) == 0);
    CHECK(tree_lookup(fourth.v, got.ino, "from second", 11, &got) == 0 && got.size == 3);
    device_close(&fourth);
    store_close(h[0].store);
    store_close(h[1].store);
}

/* What killed clones left is taken away by the next one to the same place; what one holds that still works, and what only has a
 * similar name, is not. */
static void test_killed(void)
{
    char why[200];
    long at = 0;
    while (clone_killed("killed", "s1", at))
        at++;
    CHECK(at > 4);
    CHECK_EQ(shell("test -e killed/vault && ! test -e killed.clone-*"), 0); /* it came through */
    CHECK_EQ(shell("rm -r killed && mkdir killed.clone-0123456789ab killed.clone-notes "
                   "killed2.clone-0123456789ab && echo x >killed.clone-0123456789ab/index"),
             0);
    CHECK(clone_killed("killed", "s1", at - 1));
    CHECK_EQ(shell("test ! -e killed.clone-0123456789ab"), 0);
    CHECK_EQ(shell("mkdir killed.clone-ba9876543210"), 0);
    snprintf(why, sizeof(why), "%s/killed.clone-ba9876543210", fixture_base);
    int fd = open(why, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0);
    CHECK_EQ(clone("killed", "s1", code, why), 0);
    CHECK_EQ(
        shell("test \"$(echo killed*)\" = 'killed killed.clone-ba9876543210 killed.clone-notes "
              "killed2.clone-0123456789ab'"),
        0);
    close(fd);
}

/* What somebody else made is not ours to remove, whatever its name. */
static void test_others_left(void)
{
    char why[200];
    if (geteuid() != 0)
        return; /* only root can make one */
    CHECK_EQ(shell("mkdir theirs.clone-0123456789ab && chown 1 theirs.clone-0123456789ab"), 0);
    CHECK_EQ(clone("theirs", "s1", code, why), 0);
    CHECK_EQ(shell("test -d theirs.clone-0123456789ab"), 0);
}

int main(void)
{
    struct device d = {0}, other = {0};
    fixture_start();
    device_init(&d, "vault", code);
    device_init(&other, "elsewhere", other_code);
    test_prepare(&d, &other);
    device_close(&other);
    test_prepare_interrupted(&d);
    test_foreign_names(&d);
    test_prepare_refused(&d);
    test_refusals(&d);
    test_lies();
    test_damage();
    test_clone(&d);
    test_mirror(&d);
    test_killed();
    test_others_left();
    device_close(&d);
    fixture_rm(fixture_base);
    return check_done();
}
