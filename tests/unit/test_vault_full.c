/*
 * vault on a full disk: a write that does not fit says so and changes nothing, what was answered stays (also across a
 * kill), deleting works, and then it goes on. On a small tmpfs of its own; passes over where that cannot be mounted.
 */
#include "check.h"
#include "keyring_fixture.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/committer.h"
#include "fs/data.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES_MAX 4000u
#define FILE_SIZE 30000u
#define DISK      "size=20m,mode=700"

static char dir[] = "/tmp/test_vault_full_XXXXXX";
static char path[128];

/* Files that were answered: written and flushed. Shared with a child that is killed. */
static const struct tree_cred cred = {0, 0};

static bool write_text(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* As an ordinary user only in a user namespace of our own. */
static bool mount_disk(void)
{
    char map[64];
    unsigned uid = getuid(), gid = getgid();
    if (unshare(uid ? CLONE_NEWNS | CLONE_NEWUSER : CLONE_NEWNS) != 0)
        return false;
    if (uid) {
        snprintf(map, sizeof(map), "0 %u 1\n", uid);
        if (!write_text("/proc/self/uid_map", map) || !write_text("/proc/self/setgroups", "deny"))
            return false;
        snprintf(map, sizeof(map), "0 %u 1\n", gid);
        if (!write_text("/proc/self/gid_map", map))
            return false;
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", dir, "tmpfs", 0, DISK) == 0;
}

static void fill_bytes(uint8_t *bytes, unsigned i)
{
    for (size_t k = 0; k < FILE_SIZE; k++)
        bytes[k] = (uint8_t)(i * 31 + k * 7);
}

static void name_of(char name[16], unsigned i)
{
    snprintf(name, 16, "f%u", i);
}

/* Makes, writes and flushes a file. After an error it is taken away again, as a program would do. */
static int put_file(struct vault *v, unsigned i)
{
    static uint8_t bytes[FILE_SIZE];
    char name[16];
    struct inode f, gone;
    name_of(name, i);
    fill_bytes(bytes, i);
    int err = tree_mknod(v, INODE_ROOT, name, strlen(name), S_IFREG | 0600, 0, cred, &f);
    if (err)
        return err;
    err = data_write(v, f.ino, 0, bytes, FILE_SIZE, true, false);
    if (!err)
        err = index_flush(vault_index(v));
    if (err) {
        CHECK_EQ(tree_unlink(v, INODE_ROOT, name, strlen(name), &gone), ERR_OK);
        CHECK_EQ(tree_reap(v, f.ino), ERR_OK);
    }
    return err;
}

static bool file_is_right(struct vault *v, unsigned i)
{
    static uint8_t want[FILE_SIZE], got[FILE_SIZE + 1];
    char name[16];
    struct inode f;
    size_t n = 0;
    name_of(name, i);
    fill_bytes(want, i);
    return tree_lookup(v, INODE_ROOT, name, strlen(name), &f) == ERR_OK && f.size == FILE_SIZE &&
           data_read(v, f.ino, 0, got, sizeof(got), &n, NULL) == ERR_OK && n == FILE_SIZE &&
           memcmp(want, got, FILE_SIZE) == 0;
}

static unsigned count_right(struct vault *v, unsigned from, unsigned to, unsigned step)
{
    unsigned n = 0;
    for (unsigned i = from; i < to; i += step)
        n += file_is_right(v, i);
    return n;
}

static int remove_file(struct vault *v, unsigned i)
{
    char name[16];
    struct inode gone;
    name_of(name, i);
    int err = tree_unlink(v, INODE_ROOT, name, strlen(name), &gone);
    return err ? err : tree_reap(v, gone.ino);
}

static struct vault *open_vault(void)
{
    struct vault *v;
    char why[200];
    int err = vault_open(&v, path, "p", 1, VAULT_READ_WRITE, why);
    CHECK_EQ(err, ERR_OK);
    if (err) {
        fprintf(stderr, "%s\n", why);
        exit(check_done());
    }
    return v;
}

static void make_vault(void)
{
    static const uint8_t id[32] = {3};
    const struct slot_cost cost = {SLOT_OPS_MIN, SLOT_MEM_MIN};
    struct keyring *k = keyring_fixture(1);
    struct vault_new params = {.path = path,
                               .vault_id = id,
                               .keyring = k,
                               .secret = "p",
                               .secret_len = 1,
                               .cost = &cost,
                               .with_root = true};
    CHECK_EQ(vault_create(&params), ERR_OK);
    keyring_free(k);
}

/* In a process of its own: fills the disk, tells how many files were answered, and dies. */
static unsigned fill_and_die(unsigned from)
{
    int ends[2];
    unsigned done = from;
    if (pipe(ends) != 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        struct committer *c;
        unsigned i = from;
        int err;
        if (secret_init() != ERR_OK)
            _exit(1);
        struct vault *v = open_vault();
        committer_start(&c, v);
        while ((err = put_file(v, i)) == ERR_OK && i < FILES_MAX)
            i++;
        bool ok = err == ERR_NOSPACE && !vault_read_only(v) && check_failed == 0;
        _exit(ok && write(ends[1], &i, sizeof(i)) == sizeof(i) ? 0 : 1);
    }
    close(ends[1]);
    CHECK(read(ends[0], &done, sizeof(done)) == sizeof(done));
    close(ends[0]);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return done;
}

/* True once there is room for new files again. Checkpoints give it back; the bound is generous. */
static bool room_again(struct vault *v, struct committer *c, unsigned i)
{
    for (int tries = 0; tries < 400; tries++) {
        if (put_file(v, i) == ERR_OK)
            return true;
        committer_nudge(c);
        usleep(25000);
    }
    return false;
}

int main(void)
{
    if (secret_init() != ERR_OK || !mkdtemp(dir))
        return 1;
    if (!mount_disk()) {
        fprintf(stderr, "passed over: no file system can be mounted here (%s)\n", strerror(errno));
        rmdir(dir);
        return check_done();
    }
    log_set_level(LOG_LEVEL_ERROR);
    snprintf(path, sizeof(path), "%s/v", dir);
    make_vault();

    unsigned n = fill_and_die(0);
    CHECK(n > 200 && n < FILES_MAX);
    struct vault *v = open_vault();
    struct committer *c;
    CHECK_EQ(count_right(v, 0, n, 1),
             n); /* all that was answered, before the first commit may be */
    CHECK_EQ(committer_start(&c, v), ERR_OK);
    unsigned more = n;
    int err;
    while ((err = put_file(v, more)) == ERR_OK) /* what the dead one had reserved */
        more++;
    CHECK_EQ(err, ERR_NOSPACE);
    CHECK_EQ(count_right(v, 0, more, 1), more);

    /* Deleting works on the full disk, and makes room. */
    unsigned bad = 0;
    for (unsigned i = 0; i < more; i += 2)
        bad += remove_file(v, i) != ERR_OK;
    CHECK_EQ(bad, 0);
    CHECK_EQ(index_flush(vault_index(v)), ERR_OK);
    CHECK(room_again(v, c, FILES_MAX));
    unsigned again = FILES_MAX + 1;
    while (again < FILES_MAX + more / 4 && room_again(v, c, again))
        again++;
    CHECK_EQ(again, FILES_MAX + more / 4);
    CHECK(!vault_read_only(v) && !vault_failure(v));
    CHECK_EQ(committer_stop(c), ERR_OK);
    CHECK_EQ(vault_close(v), ERR_OK);

    v = open_vault();
    CHECK_EQ(count_right(v, 1, more, 2), more / 2);
    CHECK_EQ(count_right(v, FILES_MAX, again, 1), again - FILES_MAX);
    CHECK_EQ(vault_close(v), ERR_OK);
    CHECK(umount2(dir, MNT_DETACH) == 0 && rmdir(dir) == 0);
    return check_done();
}
