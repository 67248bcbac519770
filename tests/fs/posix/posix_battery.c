/*
 * The POSIX battery: what POSIX and the Linux man pages say of files, checked in the directory given as argument.
 * It passes on ext4 and tmpfs; on a mount of ours it must pass too.
 *
 *   posix_battery DIR [TOPIC...]
 */
#include "tests/fs/posix/posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *name;
    void (*run)(void);
} topics[] = {
    {"names", posix_names},   {"open", posix_open},         {"links", posix_links},
    {"rename", posix_rename}, {"attr", posix_attr},         {"times", posix_times},
    {"xattr", posix_xattr},   {"data", posix_data},         {"mmap", posix_mmap},
    {"aio", posix_aio},       {"space", posix_space},       {"dirs", posix_dirs},
    {"locks", posix_locks},   {"unlinked", posix_unlinked}, {"perms", posix_perms},
    {"setid", posix_setid},
};

/* Shared with children. */
static struct {
    atomic_uint passed, failed, skipped;
} * counts;

void posix_result(bool ok, const char *file, int line, const char *what, int error)
{
    const char *base = strrchr(file, '/');

    if (ok) {
        counts->passed++;
        return;
    }
    counts->failed++;
    fprintf(stderr, "%s:%d: failed: %s%s%s\n", base ? base + 1 : file, line, what,
            error ? ": " : "", error ? strerror(error) : "");
}

void posix_equal(long long a, long long b, const char *file, int line, const char *what)
{
    char text[512];

    snprintf(text, sizeof(text), "%s (%lld, %lld)", what, a, b);
    posix_result(a == b, file, line, text, 0);
}

void posix_error(bool failed, int error, int want, const char *file, int line, const char *what)
{
    char text[512];

    snprintf(text, sizeof(text), "%s: wanted \"%s\", got \"%s\"", what, strerror(want),
             failed ? strerror(error) : "success");
    posix_result(failed && error == want, file, line, text, 0);
}

void posix_skip(const char *why)
{
    counts->skipped++;
    fprintf(stderr, "skipped: %s\n", why);
}

bool posix_as_groups(uid_t uid, gid_t gid, gid_t extra, void (*run)(void))
{
    int status = -1;
    pid_t pid;

    if (geteuid() != 0) {
        posix_skip("needs root, to become another user");
        return false;
    }
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        umask(0);
        if (setgroups(extra ? 1 : 0, &extra) < 0 || setresgid(gid, gid, gid) < 0 ||
            setresuid(uid, uid, uid) < 0)
            _exit(99);
        run();
        fflush(NULL);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return true;
}

bool posix_as(uid_t uid, gid_t gid, void (*run)(void))
{
    return posix_as_groups(uid, gid, 0, run);
}

void posix_make(const char *path, mode_t mode, const char *content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

    if (fd < 0 || write(fd, content, strlen(content)) != (ssize_t)strlen(content) || close(fd) < 0)
        posix_result(false, __FILE__, __LINE__, path, errno);
}

bool posix_holds(const char *path, const char *content)
{
    char buf[4096];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

    if (fd >= 0)
        close(fd);
    return n == (ssize_t)strlen(content) && memcmp(buf, content, (size_t)n) == 0;
}

struct stat posix_stat(const char *path)
{
    struct stat st;

    memset(&st, 0, sizeof(st));
    if (lstat(path, &st) < 0)
        posix_result(false, __FILE__, __LINE__, path, errno);
    return st;
}

bool posix_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

int64_t posix_ns(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void posix_tick(void)
{
    struct timespec fine, coarse;

    /* File times come from the coarse clock of the kernel: wait until it passes what the fine one shows now. */
    clock_gettime(CLOCK_REALTIME, &fine);
    do
        clock_gettime(CLOCK_REALTIME_COARSE, &coarse);
    while (posix_ns(coarse) <= posix_ns(fine));
}

const char *posix_long_name(size_t len, char c)
{
    static char buf[8192];

    memset(buf, c, len);
    buf[len] = 0;
    return buf;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    if (S_ISDIR(st->st_mode))
        chmod(path, 0700);
    return remove(path);
}

static void run_topic(size_t i, const char dir[PATH_MAX])
{
    char path[PATH_MAX + 64];
    unsigned before = counts->failed;

    snprintf(path, sizeof(path), "%s/posix-%s-%ld", dir, topics[i].name, (long)getpid());
    if (mkdir(path, 0755) < 0 || chdir(path) < 0) {
        posix_result(false, __FILE__, __LINE__, path, errno);
        return;
    }
    umask(022);
    topics[i].run();
    if (chdir(dir) < 0)
        posix_result(false, __FILE__, __LINE__, dir, errno);
    OK(nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS));
    if (counts->failed != before)
        fprintf(stderr, "topic %s: %u failed\n", topics[i].name, counts->failed - before);
}

int main(int argc, char **argv)
{
    char dir[PATH_MAX];

    if (argc < 2 || !realpath(argv[1], dir)) {
        fprintf(stderr, "usage: posix_battery DIR [TOPIC...]\n");
        return 2;
    }
    counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counts == MAP_FAILED)
        return 2;
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        bool wanted = argc == 2;
        for (int a = 2; a < argc; a++)
            wanted = wanted || strcmp(argv[a], topics[i].name) == 0;
        if (wanted)
            run_topic(i, dir);
    }
    printf("%u passed, %u failed, %u skipped\n", counts->passed, counts->failed, counts->skipped);
    return counts->failed ? 1 : 0;
}
