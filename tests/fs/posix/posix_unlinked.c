#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

static void file(void)
{
    char buf[16] = "";
    struct stat st;
    int fd = open("f", O_CREAT | O_RDWR, 0644);

    EQ(write(fd, "before", 6), 6);
    OK(unlink("f"));
    CHECK(!posix_exists("f"));
    OK(fstat(fd, &st));
    EQ(st.st_nlink, 0);
    EQ(st.st_size, 6);
    EQ(pread(fd, buf, 6, 0), 6);
    CHECK(memcmp(buf, "before", 6) == 0);
    EQ(pwrite(fd, "after", 5, 100), 5);
    OK(ftruncate(fd, 103));
    OK(fchmod(fd, 0600));
    OK(fsync(fd));
    OK(fstat(fd, &st));
    EQ(st.st_size, 103);
    EQ(st.st_mode & 07777, 0600);
    OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    EQ(pread(fd, buf, 16, 100), 3);
    CHECK(memcmp(buf, "aft", 3) == 0);
    struct timespec t[2] = {{5, 6}, {7, 8}};
    OK(futimens(fd, t));
    OK(fstat(fd, &st));
    EQ(st.st_mtim.tv_sec, 7);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    FAILS(linkat(AT_FDCWD, path, AT_FDCWD, "back", AT_SYMLINK_FOLLOW),
          ENOENT);                                          /* once gone, gone */
    int again = open("f", O_CREAT | O_EXCL | O_RDWR, 0644); /* the name is free */
    OK(again);
    struct stat st2;
    OK(fstat(again, &st2));
    CHECK(st2.st_ino != st.st_ino);
    int second = open(path, O_RDONLY);
    OK(second);
    close(fd); /* still open through the second */
    EQ(pread(second, buf, 16, 100), 3);
    close(second);
    close(again);
}

static void mapped(void)
{
    int fd = open("m", O_CREAT | O_RDWR, 0644);

    OK(ftruncate(fd, 8192));
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    close(fd);
    OK(unlink("m"));
    p[5000] = 'm';
    OK(msync(p, 8192, MS_SYNC));
    EQ(p[5000], 'm');
    OK(munmap(p, 8192));
}

static void replaced(void)
{
    char buf[8] = "";

    posix_make("r", 0644, "first");
    int fd = open("r", O_RDWR);
    posix_make("r2", 0644, "second");
    OK(rename("r2", "r"));
    EQ(pwrite(fd, "FIRST", 5, 0), 5);
    EQ(pread(fd, buf, 8, 0), 5);
    CHECK(memcmp(buf, "FIRST", 5) == 0);
    CHECK(posix_holds("r", "second"));
    close(fd);
}

static void many(void)
{
    enum { N = 200 };
    int fds[N];
    bool good = true;
    char name[16], c;

    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        fds[i] = open(name, O_CREAT | O_RDWR, 0644);
        c = (char)i;
        good = good && write(fds[i], &c, 1) == 1 && unlink(name) == 0;
    }
    for (int i = 0; i < N; i++) {
        good = good && pread(fds[i], &c, 1, 0) == 1 && c == (char)i;
        close(fds[i]);
    }
    CHECK(good);
}

static void tmpfile_flag(void)
{
    char path[64], buf[8];
    struct stat st;
    int fd = open(".", O_TMPFILE | O_RDWR, 0640);

    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
        posix_skip("no O_TMPFILE here");
        return;
    }
    OK(fd);
    OK(fstat(fd, &st));
    EQ(st.st_nlink, 0);
    EQ(st.st_mode, S_IFREG | 0640);
    EQ(st.st_uid, geteuid());
    EQ(write(fd, "nameless", 8), 8);
    EQ(pread(fd, buf, 8, 0), 8);
    CHECK(memcmp(buf, "nameless", 8) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    EQ(posix_stat("named").st_nlink, 1);
    EQ(posix_stat("named").st_ino, st.st_ino);
    EQ(pwrite(fd, "N", 1, 0), 1);
    close(fd);
    CHECK(posix_holds("named", "Nameless"));
    OK(unlink("named"));
    OK(fd = open(".", O_TMPFILE | O_WRONLY | O_EXCL, 0600));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    FAILS(linkat(AT_FDCWD, path, AT_FDCWD, "never", AT_SYMLINK_FOLLOW), ENOENT);
    close(fd);
    FAILS(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
    FAILS(open("none", O_TMPFILE | O_RDWR, 0600), ENOENT);
}

void posix_unlinked(void)
{
    file();
    mapped();
    replaced();
    many();
    tmpfile_flag();
}
