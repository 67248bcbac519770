#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static void shared(void)
{
    int fd = open("m", O_CREAT | O_RDWR, 0644);
    char buf[16] = "";

    OK(ftruncate(fd, 4 * PAGE));
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    if (p == MAP_FAILED)
        return;
    EQ(p[100], 0);
    memcpy(p + PAGE - 2, "across", 6);
    EQ(pread(fd, buf, 6, PAGE - 2), 6); /* read sees the mapping */
    CHECK(memcmp(buf, "across", 6) == 0);
    EQ(pwrite(fd, "written", 7, 2 * PAGE), 7); /* the mapping sees write */
    CHECK(memcmp(p + 2 * PAGE, "written", 7) == 0);
    OK(msync(p, 4 * PAGE, MS_SYNC));
    OK(msync(p, 4 * PAGE, MS_ASYNC));
    int other = open("m", O_RDONLY);
    char *q = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, other, 0);
    CHECK(q != MAP_FAILED);
    p[3 * PAGE] = 'q';
    EQ(q[3 * PAGE], 'q');
    close(other);
    close(fd); /* the mapping outlives the descriptor */
    p[0] = 'z';
    EQ(q[0], 'z');
    OK(munmap(p, 4 * PAGE));
    OK(munmap(q, 4 * PAGE));
    OK(fd = open("m", O_RDONLY));
    EQ(read(fd, buf, 1), 1);
    EQ(buf[0], 'z');
    close(fd);
    EQ(posix_stat("m").st_size, 4 * PAGE);
}

static void private(void)
{
    posix_make("p", 0644, "original");
    int fd = open("p", O_RDONLY);
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED);
    memcpy(p, "CHANGED!", 8);
    CHECK(posix_holds("p", "original"));
    EQ(p[8], 0); /* past the end: zeroes */
    EQ(p[PAGE - 1], 0);
    OK(munmap(p, PAGE));
    CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    EQ(errno, EACCES);
    close(fd);
    OK(fd = open("p", O_WRONLY));
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
    EQ(errno, EACCES);
    close(fd);
}

/* Bytes that a mapping leaves behind the end of the file never show up in it. */
static void tail(void)
{
    posix_make("t", 0644, "12345");
    int fd = open("t", O_RDWR);
    char buf[16] = "", *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    p[5] = 'X';
    p[100] = 'X';
    OK(msync(p, PAGE, MS_SYNC));
    OK(munmap(p, PAGE));
    EQ(posix_stat("t").st_size, 5);
    OK(ftruncate(fd, 10));
    EQ(pread(fd, buf, 16, 0), 10);
    struct statfs fs;
    if (fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
        posix_skip("tmpfs keeps what a mapping wrote behind the end");
    else
        CHECK(memcmp(buf, "12345\0\0\0\0\0", 10) == 0);
    close(fd);
}

static void touch_past_end(const char *path, int expect)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        int fd = open(path, O_RDONLY);
        volatile char *p = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
        signal(SIGBUS, SIG_DFL);
        char c = p[3 * PAGE];
        _exit(c == 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    CHECK(expect ? WIFSIGNALED(status) && WTERMSIG(status) == expect
                 : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void ends(void)
{
    posix_make("e", 0644, "short");
    touch_past_end("e", SIGBUS);
    OK(truncate("e", 4 * PAGE));
    touch_past_end("e", 0);
    int fd = open("e", O_RDWR);
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    memset(p, 'a', 4 * PAGE);
    OK(ftruncate(fd, PAGE + 10));
    OK(ftruncate(fd, 4 * PAGE));
    EQ(p[PAGE + 9], 'a');
    EQ(p[PAGE + 10], 0);
    EQ(p[3 * PAGE], 0);
    OK(munmap(p, 4 * PAGE));
    close(fd);
}

/* Two processes share a page. */
static void between_processes(void)
{
    int fd = open("ipc", O_CREAT | O_RDWR, 0644), status = -1;

    OK(ftruncate(fd, PAGE));
    volatile int *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pid_t pid = fork();
    if (pid == 0) {
        int own = open("ipc", O_RDWR);
        volatile int *q = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
        q[0] = 1234;
        for (long i = 0; i < 1000000000 && q[1] != 4321; i++)
            continue;
        _exit(q[1] == 4321 ? 0 : 1);
    }
    for (long i = 0; i < 1000000000 && p[0] != 1234; i++)
        continue;
    EQ(p[0], 1234);
    p[1] = 4321;
    waitpid(pid, &status, 0);
    EQ(status, 0);
    close(fd);
}

static void dirty_pages(void)
{
    enum { PAGES = 512 };
    int fd = open("big", O_CREAT | O_RDWR, 0644);
    bool good = true;

    OK(ftruncate(fd, PAGES * PAGE));
    unsigned *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    for (unsigned i = 0; i < PAGES; i++)
        p[i * PAGE / sizeof(*p) + i] = i * 7 + 1;
    OK(msync(p, PAGES * PAGE, MS_SYNC));
    OK(munmap(p, PAGES * PAGE));
    OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    for (unsigned i = 0; i < PAGES; i++) {
        unsigned v = 0;
        good = good && pread(fd, &v, sizeof(v), (off_t)(i * PAGE + i * sizeof(v))) == sizeof(v) &&
               v == i * 7 + 1;
    }
    CHECK(good);
    int64_t before = posix_ns(posix_stat("big").st_mtim);
    posix_tick();
    p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    p[0]++;
    OK(msync(p, PAGE, MS_SYNC));
    CHECK(posix_ns(posix_stat("big").st_mtim) >
          before); /* writing through memory counts as writing */
    OK(munmap(p, PAGE));
    close(fd);
}

void posix_mmap(void)
{
    shared();
    private();
    tail();
    ends();
    between_processes();
    dirty_pages();
}
