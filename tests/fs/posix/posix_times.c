#include "tests/fs/posix/posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int64_t m(const char *path)
{
    return posix_ns(posix_stat(path).st_mtim);
}

static int64_t c(const char *path)
{
    return posix_ns(posix_stat(path).st_ctim);
}

static void set_time(const char *path, time_t asec, long ansec, time_t msec, long mnsec)
{
    struct timespec t[2] = {{asec, ansec}, {msec, mnsec}};
    struct stat st;

    OK(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW));
    st = posix_stat(path);
    EQ(st.st_atim.tv_sec, asec);
    EQ(st.st_atim.tv_nsec, ansec);
    EQ(st.st_mtim.tv_sec, msec);
    EQ(st.st_mtim.tv_nsec, mnsec);
}

static void setting(void)
{
    posix_make("f", 0644, "data");
    OK(mkdir("d", 0755));
    OK(symlink("f", "l"));
    set_time("f", 1000000000, 1, 1500000000, 999999999);
    set_time("f", 0, 0, 0, 0);
    set_time("f", 1, 123456789, 2147483647, 987654321);
    set_time("f", 2147483648, 5, 4294967295, 6); /* beyond 2038 */
    set_time("f", -1, 0, -1000000, 500000000);   /* before 1970 */
    set_time("d", 1000000000, 1, 1500000000, 2);
    set_time("l", 1200000000, 3, 1300000000, 4);
    EQ(posix_stat("f").st_mtim.tv_sec, -1000000); /* the link was set, not its target */

    struct timespec omit[2] = {{0, UTIME_OMIT}, {777, 7}};
    OK(utimensat(AT_FDCWD, "f", omit, 0));
    EQ(posix_stat("f").st_atim.tv_sec, -1);
    EQ(posix_stat("f").st_mtim.tv_sec, 777);
    struct timespec omit2[2] = {{888, 8}, {0, UTIME_OMIT}};
    OK(utimensat(AT_FDCWD, "f", omit2, 0));
    EQ(posix_stat("f").st_atim.tv_sec, 888);
    EQ(posix_stat("f").st_mtim.tv_sec, 777);
    struct timespec both[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
    int64_t before = c("f");
    posix_tick();
    OK(utimensat(AT_FDCWD, "f", both, 0));
    EQ(c("f"), before);
    struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    OK(utimensat(AT_FDCWD, "f", now, 0));
    CHECK(m("f") > before);
    CHECK(c("f") > before);
    CHECK(posix_stat("f").st_atim.tv_sec > 1000000000);
    before = m("f");
    posix_tick();
    OK(utimensat(AT_FDCWD, "f", NULL, 0));
    CHECK(m("f") > before);
    struct timespec bad[2] = {{0, 1000000000}, {0, 0}};
    FAILS(utimensat(AT_FDCWD, "f", bad, 0), EINVAL);
    int fd = open("f", O_WRONLY);
    struct timespec t[2] = {{42, 43}, {44, 45}};
    OK(futimens(fd, t));
    EQ(posix_stat("f").st_mtim.tv_nsec, 45);
    /* Times set through a descriptor hold after what was written before and is still in a cache. */
    EQ(write(fd, "more", 4), 4);
    OK(futimens(fd, t));
    close(fd);
    EQ(posix_stat("f").st_mtim.tv_sec, 44);
    OK(fd = open("f", O_RDONLY));
    OK(fsync(fd));
    close(fd);
    EQ(posix_stat("f").st_mtim.tv_sec, 44);
}

/* Runs ${what} after a tick; says which of the two times of ${path} moved. */
#define MOVES(path, what, mtime, ctime)                                                            \
    do {                                                                                           \
        int64_t m0 = m(path), c0 = c(path);                                                        \
        posix_tick();                                                                              \
        OK(what);                                                                                  \
        EQ(m(path) > m0, mtime);                                                                   \
        EQ(c(path) > c0, ctime);                                                                   \
    } while (0)

static int write_one(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND);
    int r = (int)write(fd, "x", 1);

    return close(fd) < 0 ? -1 : r;
}

static int read_one(const char *path)
{
    char b;
    int fd = open(path, O_RDONLY);
    int r = (int)read(fd, &b, 1);

    close(fd);
    return r;
}

/* Reads the file from the filesystem, not from what the kernel has of it. */
static int read_cold(const char *path)
{
    char b;
    int fd = open(path, O_RDONLY), r = -1;

    if (fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0)
        r = (int)read(fd, &b, 1);
    close(fd);
    return r;
}

static int list(const char *path)
{
    DIR *d = opendir(path);
    int r = d && readdir(d) ? 0 : -1;

    return d && closedir(d) == 0 ? r : -1;
}

static int read_link(const char *path)
{
    char target[16];

    return (int)readlink(path, target, sizeof(target));
}

static int64_t a(const char *path)
{
    return posix_ns(posix_stat(path).st_atim);
}

/* As relatime has it: reading moves the time of the last access if that is not after the last change; otherwise at most once a day. */
static void accessing(const char *path, int (*look)(const char *path))
{
    struct timespec old[2] = {{1000, 0}, {2000, 0}};

    OK(utimensat(AT_FDCWD, path, old, AT_SYMLINK_NOFOLLOW));
    int64_t m0 = m(path), c0 = c(path);
    posix_tick();
    OK(look(path));
    int64_t first = a(path);
    EQ(first > c0, 1);
    posix_tick();
    OK(look(path));
    EQ(a(path) == first, 1);
    EQ(m(path) == m0 && c(path) == c0, 1);
}

static int make(const char *path)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);

    return fd < 0 ? -1 : close(fd);
}

static void of_accesses(void)
{
    posix_make("r", 0644, "data");
    accessing("r", read_cold);
    OK(mkdir("rd", 0755));
    accessing("rd", list);
    OK(symlink("r", "rl"));
    accessing("rl", read_link);
}

static void of_files(void)
{
    posix_make("g", 0644, "data");
    OK(mkdir("other", 0755));
    MOVES("g", write_one("g"), 1, 1);
    MOVES("g", read_one("g"), 0, 0);
    MOVES("g", chmod("g", 0600), 0, 1);
    MOVES("g", chown("g", geteuid(), getegid()), 0, 1);
    MOVES("g", link("g", "g2"), 0, 1);
    MOVES("g", unlink("g2"), 0, 1);
    MOVES("g", truncate("g", 2), 1, 1);
    MOVES("g", truncate("g", 100), 1, 1);
    MOVES("g", rename("g", "g3") == 0 ? rename("g3", "g") : -1, 0, 1);
    MOVES("g", stat("g", &(struct stat){0}), 0, 0);
    MOVES("g", open("none", O_RDONLY) == -1 ? 0 : -1, 0, 0);
    int fd = open("g", O_RDWR);
    MOVES("g", (int)pwrite(fd, "y", 1, 0), 1, 1);
    MOVES("g", ftruncate(fd, 10), 1, 1);
    MOVES("g", (int)read(fd, &(char){0}, 1), 0, 0);
    MOVES("g", fchmod(fd, 0644), 0, 1);
    MOVES("g", (int)write(fd, "", 0), 0, 0);
    close(fd);
}

static void of_directories(void)
{
    OK(mkdir("dir", 0755));
    OK(mkdir("from", 0755));
    MOVES("dir", make("dir/a"), 1, 1);
    MOVES("dir", write_one("dir/a"), 0, 0);
    MOVES("dir", chmod("dir/a", 0600), 0, 0);
    MOVES("dir", link("dir/a", "dir/b"), 1, 1);
    MOVES("dir", unlink("dir/b"), 1, 1);
    MOVES("dir", mkdir("dir/s", 0755), 1, 1);
    MOVES("dir", rmdir("dir/s"), 1, 1);
    MOVES("dir", symlink("x", "dir/l"), 1, 1);
    MOVES("dir", unlink("dir/l"), 1, 1);
    MOVES("dir", mkfifo("dir/p", 0644), 1, 1);
    MOVES("dir", rename("dir/p", "dir/q"), 1, 1);
    MOVES("dir", rename("dir/q", "from/q"), 1, 1);
    MOVES("from", rename("from/q", "dir/q"), 1, 1);
    MOVES("dir", unlink("dir/q"), 1, 1);
    MOVES("dir", chmod("dir", 0700), 0, 1);
    DIR *d = opendir("dir");
    MOVES("dir", readdir(d) ? 0 : -1, 0, 0);
    closedir(d);
    MOVES("dir", make("dir/a") == -1 ? 0 : -1, 0, 0); /* failing changes nothing */
    MOVES("dir", rmdir("dir/none") == -1 ? 0 : -1, 0, 0);
}

static void of_new(void)
{
    struct timespec t;
    struct stat st;

    posix_tick();
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    OK(make("fresh"));
    st = posix_stat("fresh");
    CHECK(posix_ns(st.st_mtim) >= posix_ns(t));
    CHECK(posix_ns(st.st_ctim) >= posix_ns(t));
    CHECK(posix_ns(st.st_atim) >= posix_ns(t));
    posix_tick();
    clock_gettime(CLOCK_REALTIME, &t);
    CHECK(posix_ns(st.st_mtim) <= posix_ns(t));
    OK(mkdir("freshdir", 0755));
    EQ(posix_ns(posix_stat("freshdir").st_mtim), posix_ns(posix_stat("freshdir").st_ctim));
}

/*
 * What is done later does not look older, whichever of kernel and file system takes the time: make and rsync rely on it.
 * Both within one tick of the clock, and many times, as the two need not differ each time.
 */
static void in_order(void)
{
    int old = open("earlier", O_RDWR | O_CREAT, 0644), new = open("later", O_RDWR | O_CREAT, 0644);
    int wrong = 0;

    for (int i = 0; i < 200; i++) {
        OK(mkdir("earlier.d", 0755));
        EQ(pwrite(new, "x", 1, 0), 1);
        wrong += posix_ns(posix_stat("earlier.d").st_mtim) > posix_ns(posix_stat("later").st_mtim);
        OK(futimens(old, NULL));
        EQ(pwrite(new, "x", 1, 0), 1);
        wrong += posix_ns(posix_stat("earlier").st_mtim) > posix_ns(posix_stat("later").st_mtim);
        OK(rmdir("earlier.d"));
    }
    EQ(wrong, 0);
    close(old);
    close(new);
    OK(unlink("earlier"));
    OK(unlink("later"));
}

void posix_times(void)
{
    setting();
    in_order();
    of_accesses();
    of_files();
    of_directories();
    of_new();
}
