/* vault: made whole or not at all, opened by its passphrase alone and by one process, damage is named with a remedy. */
#include "check.h"
#include "keyring_fixture.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/committer.h"
#include "fs/tree.h"
#include "fs/vault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PASS     "a passphrase"
#define PASS_LEN (sizeof(PASS) - 1)

static char base[] = "/tmp/test_vault_XXXXXX";
static char path[128], why[200];
static const uint8_t id[32] = {7, 7, 7};

static int remove_one(const char *p, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(p);
}

static void remove_tree(const char *p)
{
    nftw(p, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int create_at(const char *where)
{
    struct keyring *k = keyring_fixture(2);
    struct vault_new params = {.path = where,
                               .vault_id = id,
                               .keyring = k,
                               .secret = PASS,
                               .secret_len = PASS_LEN,
                               .with_root = true};
    int err = vault_create(&params);
    keyring_free(k);
    return err;
}

static int open_with(const char *pass, enum vault_mode mode, struct vault **v)
{
    return vault_open(v, path, pass, strlen(pass), mode, why);
}

/* Opens and closes; the result of opening. */
static int try_open(const char *pass, enum vault_mode mode)
{
    struct vault *v;
    int err = open_with(pass, mode, &v);
    if (!err)
        CHECK_EQ(vault_close(v), ERR_OK);
    else
        CHECK(!v);
    return err;
}

static void file_path(char out[256], const char *name)
{
    snprintf(out, 256, "%s/%s", path, name);
}

/* Flips a bit of a file; again to mend it. */
static void flip(const char *name, off_t at)
{
    char p[256];
    uint8_t byte = 0;
    file_path(p, name);
    int fd = open(p, O_RDWR);
    CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 4;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

static size_t count_names(const char *p)
{
    DIR *dir = opendir(p);
    size_t n = 0;
    for (struct dirent *d; dir && (d = readdir(dir));)
        n += strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
    if (dir)
        closedir(dir);
    return n;
}

/* ---- making ---- */

static void refuses_to_make(void)
{
    char p[256];
    struct stat st;
    CHECK(mkdir(path, 0755) == 0);
    file_path(p, "holiday.jpg");
    CHECK(close(open(p, O_CREAT | O_WRONLY, 0644)) == 0);
    CHECK_EQ(create_at(path), ERR_EXIST);
    CHECK(count_names(path) == 1 && stat(p, &st) == 0);
    CHECK_EQ(create_at(p), ERR_EXIST); /* a file */
    CHECK(stat(p, &st) == 0 && S_ISREG(st.st_mode));
    CHECK(unlink(p) == 0);
    snprintf(p, sizeof(p), "%s/no/such/place", path);
    CHECK_EQ(create_at(p), ERR_NOENT);
    CHECK(count_names(path) == 0 && rmdir(path) == 0);
}

static int child_makes(void)
{
    return create_at(path) == ERR_OK ? 0 : 1;
}

/* Killed anywhere, the directory is no vault or a whole one, and making it again works or finds it there. */
static void killed_while_making(void)
{
    unsigned begun = 0, whole = 0;
    for (unsigned us = 8000; us < 6000000 && !whole; us *= 2) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(secret_init() == ERR_OK ? child_makes() : 99);
        usleep(us);
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        begun += access(path, F_OK) == 0;
        int err = try_open(PASS, VAULT_READ_WRITE);
        CHECK(err == ERR_OK || err == ERR_NOTVAULT);
        whole = err == ERR_OK;
        CHECK_EQ(create_at(path), whole ? ERR_EXIST : ERR_OK);
        CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_OK);
        remove_tree(path);
    }
    CHECK(begun && whole);
    /* ours by name, but nothing of ours says so */
    char p[256];
    CHECK(mkdir(path, 0700) == 0);
    file_path(p, "index");
    CHECK(close(open(p, O_CREAT | O_WRONLY, 0644)) == 0);
    CHECK_EQ(create_at(path), ERR_EXIST);
    CHECK(unlink(p) == 0 && rmdir(path) == 0);
}

/* A limit on the size of files stands for a full disk: for each limit the vault is whole or nothing is there. */
static void full_disk_while_making(void)
{
    struct rlimit limit, old;
    getrlimit(RLIMIT_FSIZE, &old);
    unsigned made = 0, refused = 0;
    for (rlim_t size = 64; size < (64 << 20); size *= 8) {
        limit = (struct rlimit){size, old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
        int err = create_at(path);
        setrlimit(RLIMIT_FSIZE, &old);
        if (err) {
            refused++;
            CHECK(err == ERR_NOSPACE || err == ERR_IO);
            CHECK(access(path, F_OK) != 0);
            CHECK(mkdir(path, 0700) == 0); /* the same in a directory that was there */
            setrlimit(RLIMIT_FSIZE, &limit);
            CHECK(create_at(path) != ERR_OK);
            setrlimit(RLIMIT_FSIZE, &old);
            CHECK(count_names(path) == 0 && rmdir(path) == 0);
            continue;
        }
        made++;
        CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_OK);
        remove_tree(path);
    }
    CHECK(made > 0 && refused > 0);
}

/* ---- opening ---- */

static void opening(void)
{
    struct vault *v;
    struct stat st;
    uint8_t got[32];
    uint32_t tag;
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_NOTVAULT); /* nothing there */
    CHECK_EQ(vault_peek(path, got, &tag), ERR_NOTVAULT);
    CHECK_EQ(create_at(path), ERR_OK);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0700);
    CHECK_EQ(create_at(path), ERR_EXIST);
    CHECK_EQ(vault_peek(path, got, &tag), ERR_OK);
    CHECK(memcmp(got, id, 32) == 0 && tag == 4711);

    CHECK_EQ(open_with(PASS, VAULT_READ_WRITE, &v), ERR_OK);
    struct inode root;
    CHECK_EQ(tree_getattr(v, INODE_ROOT, &root), ERR_OK);
    CHECK(S_ISDIR(root.mode) && root.nlink == 2 && root.dirty == DIRTY_ATTR);
    CHECK(memcmp(vault_id(v), id, 32) == 0 && !vault_read_only(v) && !vault_failure(v));
    CHECK(vault_path(v)[0] == '/' && vault_keyring(v)->epoch_count == 2);
    CHECK_EQ(seal_key_epoch(vault_seal_key(v, 0)), 3);
    CHECK_EQ(seal_key_epoch(vault_seal_key(v, 1)), 1);
    CHECK(!vault_seal_key(v, 2));
    CHECK(vault_in_use(path));
    uint8_t device_key[SECRET_KEY_LEN];
    memcpy(device_key, vault_keyring(v)->device_key, sizeof(device_key));
    CHECK_EQ(vault_close(v), ERR_OK);
    CHECK(!vault_in_use(path));
    CHECK_EQ(vault_close(NULL), ERR_OK);

    /* by the device key itself, and by no other */
    CHECK_EQ(vault_open_key(&v, path, device_key, VAULT_READ_WRITE, why), ERR_OK);
    CHECK_EQ(seal_key_epoch(vault_seal_key(v, 0)), 3);
    CHECK_EQ(vault_close(v), ERR_OK);
    device_key[0] ^= 1;
    CHECK_EQ(vault_open_key(&v, path, device_key, VAULT_READ_WRITE, why), ERR_AUTH);
    CHECK(!vault_in_use(path));
    why[0] = '\0';

    CHECK_EQ(try_open("A passphrase", VAULT_READ_WRITE), ERR_WRONGKEY);
    CHECK_EQ(try_open("", VAULT_READ_WRITE), ERR_WRONGKEY);
    CHECK(!why[0]);
    CHECK(!vault_in_use(path)); /* a wrong passphrase leaves no lock */
}

/* What is done in one session is there in the next, also through a relative path. */
static void keeps(void)
{
    struct vault *v;
    struct inode dir, got;
    char cwd[1024];
    CHECK_EQ(open_with(PASS, VAULT_READ_WRITE, &v), ERR_OK);
    CHECK_EQ(tree_mkdir(v, INODE_ROOT, "photos", 6, 0750, (struct tree_cred){1, 2}, &dir), ERR_OK);
    CHECK_EQ(vault_close(v), ERR_OK);
    CHECK(getcwd(cwd, sizeof(cwd)) && chdir(base) == 0);
    CHECK_EQ(vault_open(&v, "v", PASS, PASS_LEN, VAULT_READ_ONLY, NULL), ERR_OK);
    CHECK(chdir("/") == 0);
    CHECK_EQ(tree_lookup(v, INODE_ROOT, "photos", 6, &got), ERR_OK);
    CHECK(got.ino == dir.ino && got.ino >> INODE_TAG_SHIFT == 4711 && got.uid == 1);
    CHECK(strcmp(vault_path(v), path) == 0 && vault_read_only(v));
    CHECK_EQ(tree_mkdir(v, INODE_ROOT, "more", 4, 0750, (struct tree_cred){1, 2}, &dir), ERR_ROFS);
    CHECK_EQ(vault_close(v), ERR_OK);
    CHECK(chdir(cwd) == 0);
}

/* ---- one process ---- */

/* ${act} in a process of its own; its exit code. */
static int in_child(int (*act)(void))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(secret_init() == ERR_OK ? act() : 99);
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int child_opens(void)
{
    struct vault *v;
    int err = open_with(PASS, VAULT_READ_WRITE, &v);
    int ro_err = open_with(PASS, VAULT_READ_ONLY, &v);
    return err == ERR_LOCKED && ro_err == ERR_LOCKED && vault_in_use(path) ? 0 : 1;
}

/* Dies with the vault open and a change not committed, but flushed. */
static int child_dies(void)
{
    struct vault *v;
    struct inode dir;
    if (open_with(PASS, VAULT_READ_WRITE, &v) != ERR_OK)
        return 1;
    if (tree_mkdir(v, INODE_ROOT, "kept", 4, 0700, (struct tree_cred){0, 0}, &dir) != ERR_OK)
        return 2;
    if (index_flush(vault_index(v)) != ERR_OK)
        return 3;
    kill(getpid(), SIGKILL);
    return 4;
}

static void one_process(void)
{
    struct vault *v;
    struct inode got;
    CHECK_EQ(open_with(PASS, VAULT_READ_WRITE, &v), ERR_OK);
    CHECK_EQ(in_child(child_opens), 0);
    CHECK_EQ(vault_close(v), ERR_OK);
    CHECK_EQ(in_child(child_dies), -1);
    CHECK(!vault_in_use(path)); /* the lock died with it */
    for (int mode = 0; mode < 2; mode++) {
        CHECK_EQ(open_with(PASS, mode ? VAULT_READ_WRITE : VAULT_READ_ONLY, &v), ERR_OK);
        CHECK_EQ(tree_lookup(v, INODE_ROOT, "kept", 4, &got), ERR_OK);
        CHECK_EQ(vault_close(v), ERR_OK);
    }
}

/* ---- damage ---- */

static bool why_names(const char *name)
{
    return strstr(why, name) && strstr(why, "obscurafs clone URL NEWDIR") && !strchr(why, '\n');
}

static void damaged_header(void)
{
    uint8_t got[32];
    uint32_t tag;
    flip("vault", 0);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_FORMAT);
    CHECK(why_names("/vault is"));
    flip("vault", 0);
    flip("vault", 8); /* format 5 */
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_VERSION);
    CHECK_EQ(vault_peek(path, got, &tag), ERR_VERSION);
    flip("vault", 8);
    flip("vault", 12); /* suite 5 */
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_VERSION);
    flip("vault", 12);
    flip("vault", 20); /* another vault's id: no slot is for it */
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_WRONGKEY);
    flip("vault", 20);
    flip("vault", 48); /* another device's tag */
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_FORMAT);
    CHECK(why_names("/vault is"));
    flip("vault", 48);
    char p[256];
    file_path(p, "vault");
    CHECK(truncate(p, 53) == 0);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_FORMAT);
    CHECK(truncate(p, 52) == 0);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_OK);
}

static void damaged_slot(void)
{
    char p[256], q[256];
    static const off_t places[] = {0, 9, 30, 50, 80, 110, 140};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        flip("slots/0", places[i]);
        CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_WRONGKEY);
        flip("slots/0", places[i]);
    }
    file_path(p, "slots/0");
    file_path(q, "slots/1");
    CHECK(rename(p, q) == 0); /* its number is part of it */
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_WRONGKEY);
    file_path(q, "elsewhere");
    file_path(p, "slots/1");
    CHECK(rename(p, q) == 0);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_FORMAT);
    CHECK(why_names("/slots "));
    file_path(p, "slots/0");
    CHECK(rename(q, p) == 0);
    CHECK(truncate(p, 100) == 0);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_WRONGKEY);
}

static void damaged_rest(void)
{
    char p[256], q[256];
    flip("keyring", 60);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_AUTH);
    CHECK(why_names("/keyring is damaged"));
    flip("keyring", 60);
    flip("index", 1000);
    int err = try_open(PASS, VAULT_READ_WRITE);
    CHECK(err == ERR_AUTH || err == ERR_FORMAT);
    CHECK(why_names("/index is damaged"));
    flip("index", 1000);
    file_path(p, "index");
    file_path(q, "gone");
    CHECK(rename(p, q) == 0);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_FORMAT);
    CHECK(why_names("/index is damaged"));
    CHECK(access(p, F_OK) != 0); /* no empty one is put there */
    CHECK(rename(q, p) == 0);
    file_path(p, "seg");
    CHECK(rename(p, q) == 0);
    CHECK_EQ(try_open(PASS, VAULT_READ_ONLY), ERR_FORMAT);
    CHECK(why_names("/seg is missing"));
    CHECK(rename(q, p) == 0);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_OK);
}

/* ---- passwd, read-only, failing, committing ---- */

static int child_changes(void)
{
    return vault_passwd(path, PASS, PASS_LEN, "new", 3) == ERR_OK ? 0 : 1;
}

static void passwd(void)
{
    struct vault *v;
    char p[256];
    CHECK_EQ(vault_passwd(path, "wrong", 5, "new", 3), ERR_WRONGKEY);
    CHECK_EQ(vault_passwd(path, PASS, PASS_LEN, "", 0), ERR_MISUSE);
    CHECK_EQ(vault_passwd("/nowhere", PASS, PASS_LEN, "new", 3), ERR_NOTVAULT);
    CHECK_EQ(open_with(PASS, VAULT_READ_WRITE, &v), ERR_OK);
    CHECK_EQ(in_child(child_changes), 0); /* while it is open */
    CHECK_EQ(vault_close(v), ERR_OK);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_WRONGKEY);
    CHECK_EQ(try_open("new", VAULT_READ_WRITE), ERR_OK);
    file_path(p, "slots");
    CHECK_EQ(count_names(p), 1);
    CHECK_EQ(vault_passwd(path, "new", 3, PASS, PASS_LEN), ERR_OK);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_OK);
}

/* A slot as cheap, or as costly, as whoever made it wanted gets the costs of this machine when the passphrase is changed (A4). */
static void passwd_costs(void)
{
    const struct slot_cost other = {SLOT_OPS_MIN + 1, SLOT_MEM_MIN};
    struct slot_cost policy, now;
    uint8_t slot[SLOT_LEN], device_key[SECRET_KEY_LEN];
    char p[256];
    file_path(p, "slots/0");
    int fd = open(p, O_RDWR);
    CHECK(fd >= 0 && pread(fd, slot, SLOT_LEN, 0) == SLOT_LEN);
    CHECK_EQ(slot_open(slot, 0, id, PASS, PASS_LEN, device_key), ERR_OK);
    CHECK_EQ(slot_make(slot, 0, id, &other, PASS, PASS_LEN, device_key), ERR_OK);
    CHECK(pwrite(fd, slot, SLOT_LEN, 0) == SLOT_LEN);
    close(fd);
    CHECK_EQ(vault_passwd(path, PASS, PASS_LEN, PASS, PASS_LEN), ERR_OK);
    fd = open(p, O_RDONLY);
    CHECK(fd >= 0 && pread(fd, slot, SLOT_LEN, 0) == SLOT_LEN);
    close(fd);
    slot_calibrate(&policy);
    CHECK_EQ(slot_describe(slot, &now), ERR_OK);
    CHECK(now.ops == policy.ops && now.mem == policy.mem && now.ops != other.ops);
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_OK);
}

/* A read-only session changes no file, in a directory without write permission (which root does not heed). */
static void read_only(void)
{
    struct stat a, b;
    char p[256];
    static const char *const names[] = {"",          "vault", "keyring", "index",
                                        "index-wal", "seg",   "ballast"};
    struct stat before[7];
    CHECK_EQ(try_open(PASS, VAULT_READ_WRITE), ERR_OK);
    file_path(p, "lock");
    CHECK(chmod(p, 0400) == 0 && chmod(path, 0500) == 0);
    for (size_t i = 0; i < 7; i++) {
        file_path(p, names[i]);
        if (stat(p, &before[i]) != 0)
            before[i].st_ino = 0;
    }
    CHECK_EQ(try_open(PASS, VAULT_READ_ONLY), ERR_OK);
    for (size_t i = 0; i < 7; i++) {
        file_path(p, names[i]);
        a = before[i];
        bool there = stat(p, &b) == 0;
        CHECK(there == (a.st_ino != 0));
        CHECK(!there || (a.st_mtim.tv_nsec == b.st_mtim.tv_nsec && a.st_size == b.st_size &&
                         a.st_ino == b.st_ino));
    }
    CHECK(chmod(path, 0700) == 0);
    file_path(p, "lock");
    CHECK(chmod(p, 0600) == 0);
}

static void failing(void)
{
    struct vault *v;
    struct inode dir;
    CHECK_EQ(open_with(PASS, VAULT_READ_WRITE, &v), ERR_OK);
    log_set_level(LOG_LEVEL_ERROR);
    vault_fail(v, "the store contradicts itself");
    vault_fail(v, "something else");
    CHECK(vault_read_only(v) && strcmp(vault_failure(v), "the store contradicts itself") == 0);
    CHECK_EQ(tree_mkdir(v, INODE_ROOT, "x", 1, 0700, (struct tree_cred){0, 0}, &dir), ERR_ROFS);
    CHECK_EQ(vault_close(v), ERR_OK);
    CHECK_EQ(open_with(PASS, VAULT_READ_WRITE, &v), ERR_OK);
    CHECK(!vault_read_only(v) && !vault_failure(v)); /* until it is opened again */
    CHECK_EQ(vault_close(v), ERR_OK);
}

/* A limit on the size of files below what is reserved already stands for a disk that fails. */
static void failing_disk(void)
{
    struct vault *v;
    struct committer *c;
    struct inode dir, got;
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    struct rlimit none = {1, old.rlim_max};
    CHECK_EQ(open_with(PASS, VAULT_READ_WRITE, &v), ERR_OK);
    CHECK_EQ(tree_mkdir(v, INODE_ROOT, "lost", 4, 0700, (struct tree_cred){0, 0}, &dir), ERR_OK);
    setrlimit(RLIMIT_FSIZE, &none);
    CHECK_EQ(index_flush(vault_index(v)), ERR_IO);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK(vault_read_only(v) && strcmp(vault_failure(v), VAULT_DISK_FAILED) == 0);
    CHECK_EQ(tree_mkdir(v, INODE_ROOT, "x", 1, 0700, (struct tree_cred){0, 0}, &got), ERR_ROFS);
    CHECK_EQ(tree_lookup(v, INODE_ROOT, "lost", 4, &got), ERR_OK); /* reading goes on */
    CHECK_EQ(committer_start(&c, v), ERR_OK);
    CHECK(committer_stop(c) != ERR_OK);
    CHECK(vault_close(v) != ERR_OK);
    CHECK_EQ(open_with(PASS, VAULT_READ_WRITE, &v), ERR_OK);
    CHECK(!vault_read_only(v));
    CHECK_EQ(tree_lookup(v, INODE_ROOT, "photos", 6, &got), ERR_OK);
    CHECK_EQ(vault_close(v), ERR_OK);
}

struct watched {
    unsigned calls;
    uint64_t ino;
};

static void on_invalidate(void *ctx, uint64_t ino, const char *name, size_t len)
{
    struct watched *w = ctx;
    w->calls++;
    w->ino = ino;
}

static void watching(void)
{
    struct vault *v;
    struct watched seen = {0, 0};
    CHECK_EQ(open_with(PASS, VAULT_READ_WRITE, &v), ERR_OK);
    vault_invalidate(v, 5, NULL, 0); /* nobody listens */
    struct vault_watcher watcher = {on_invalidate, &seen};
    struct vault_fetcher fetcher = {.ctx = &seen};
    vault_set_watcher(v, &watcher);
    vault_set_fetcher(v, &fetcher);
    memset(&watcher, 0, sizeof(watcher)); /* copied */
    memset(&fetcher, 0, sizeof(fetcher));
    vault_invalidate(v, 6, "n", 1);
    CHECK(seen.calls == 1 && seen.ino == 6 && vault_fetcher(v)->ctx == &seen);
    vault_set_watcher(v, NULL);
    vault_set_fetcher(v, NULL);
    vault_invalidate(v, 7, NULL, 0);
    CHECK(seen.calls == 1 && !vault_fetcher(v));
    CHECK_EQ(vault_close(v), ERR_OK);
}

static bool all_committed(struct vault *v)
{
    uint64_t ops, notes;
    index_waiting(vault_index(v), &ops, &notes);
    return !ops && !notes;
}

/* Everything is committed in the background: after the interval, at once when nudged, and at the end. */
static void committing(void)
{
    struct vault *v;
    struct committer *c;
    struct inode dir;
    CHECK_EQ(open_with(PASS, VAULT_READ_WRITE, &v), ERR_OK);
    CHECK_EQ(committer_start(&c, v), ERR_OK);
    CHECK_EQ(tree_mkdir(v, INODE_ROOT, "c1", 2, 0700, (struct tree_cred){0, 0}, &dir), ERR_OK);
    CHECK(!all_committed(v));
    for (int i = 0; i < 1000 && !all_committed(v); i++)
        usleep(10000); /* a condition, with a bound */
    CHECK(all_committed(v));
    CHECK_EQ(tree_mkdir(v, INODE_ROOT, "c2", 2, 0700, (struct tree_cred){0, 0}, &dir), ERR_OK);
    committer_nudge(c);
    for (int i = 0; i < 150 && !all_committed(v); i++)
        usleep(10000); /* sooner than the interval */
    CHECK(all_committed(v));
    CHECK_EQ(tree_mkdir(v, INODE_ROOT, "c3", 2, 0700, (struct tree_cred){0, 0}, &dir), ERR_OK);
    CHECK_EQ(committer_stop(c), ERR_OK);
    CHECK(all_committed(v));
    CHECK_EQ(committer_stop(NULL), ERR_OK);
    CHECK_EQ(vault_close(v), ERR_OK);
}

int main(void)
{
    setenv("OBSCURAFS_TEST_FAST_KDF", "1", 1);
    signal(SIGXFSZ, SIG_IGN);
    if (secret_init() != ERR_OK || !mkdtemp(base))
        return 1;
    snprintf(path, sizeof(path), "%s/v", base);
    refuses_to_make();
    full_disk_while_making();
    killed_while_making();
    opening();
    keeps();
    one_process();
    damaged_header();
    damaged_rest();
    passwd();
    passwd_costs();
    read_only();
    failing();
    failing_disk();
    watching();
    committing();
    damaged_slot(); /* cuts it in the end */
    remove_tree(base);
    CHECK(access(base, F_OK) != 0);
    return check_done();
}
