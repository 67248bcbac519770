#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { K64 = 65536, MEG = 1 << 20 };

static bool zero_at(int fd, off_t off, size_t len)
{
    char *buf = malloc(len);
    bool zero = pread(fd, buf, len, off) == (ssize_t)len;

    for (size_t i = 0; i < len && zero; i++)
        zero = buf[i] == 0;
    free(buf);
    return zero;
}

static bool filled_at(int fd, off_t off, size_t len, char c)
{
    char *buf = malloc(len);
    bool same = pread(fd, buf, len, off) == (ssize_t)len;

    for (size_t i = 0; i < len && same; i++)
        same = buf[i] == c;
    free(buf);
    return same;
}

static int make_filled(const char *path, char c, size_t len)
{
    char *buf = malloc(len);
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0644);

    memset(buf, c, len);
    EQ(pwrite(fd, buf, len, 0), len);
    free(buf);
    return fd;
}

static void allocate(void)
{
    int fd = open("a", O_CREAT | O_RDWR, 0644);

    OK(fallocate(fd, 0, 0, MEG));
    EQ(posix_stat("a").st_size, MEG);
    CHECK(zero_at(fd, 0, MEG));
    EQ(pwrite(fd, "kept", 4, 1000), 4);
    OK(fallocate(fd, 0, 0, MEG)); /* what is there stays */
    char buf[4];
    EQ(pread(fd, buf, 4, 1000), 4);
    CHECK(memcmp(buf, "kept", 4) == 0);
    OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, MEG, MEG));
    EQ(posix_stat("a").st_size, MEG);
    OK(fallocate(fd, 0, 2 * MEG, 100));
    EQ(posix_stat("a").st_size, 2 * MEG + 100);
    EQ(posix_fallocate(fd, 0, 3 * MEG), 0);
    EQ(posix_stat("a").st_size, 3 * MEG);
    FAILS(fallocate(fd, 0, -1, 10), EINVAL);
    FAILS(fallocate(fd, 0, 0, 0), EINVAL);
    FAILS(fallocate(fd, 0, 10, -1), EINVAL);
    FAILS(fallocate(fd, 0x800000, 0, 10), EOPNOTSUPP);
    close(fd);
    OK(fd = open("a", O_RDONLY));
    FAILS(fallocate(fd, 0, 0, MEG), EBADF);
    close(fd);
}

static void punch(void)
{
    int fd = make_filled("p", 'p', MEG);

    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, K64, K64) < 0) {
        posix_skip("no holes can be punched here");
        close(fd);
        return;
    }
    EQ(posix_stat("p").st_size, MEG);
    CHECK(zero_at(fd, K64, K64));
    CHECK(filled_at(fd, 0, K64, 'p'));
    CHECK(filled_at(fd, 2 * K64, MEG - 2 * K64, 'p'));
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * K64 + 100,
                 50)); /* inside a page */
    CHECK(zero_at(fd, 5 * K64 + 100, 50));
    CHECK(filled_at(fd, 5 * K64, 100, 'p'));
    CHECK(filled_at(fd, 5 * K64 + 150, 1000, 'p'));
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MEG - 100,
                 MEG)); /* over the end */
    EQ(posix_stat("p").st_size, MEG);
    CHECK(zero_at(fd, MEG - 100, 100));
    FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
    OK(fsync(fd));
    OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    CHECK(zero_at(fd, K64, K64));
    CHECK(filled_at(fd, 2 * K64, K64, 'p'));
    close(fd);
}

static void zero_range(void)
{
    int fd = make_filled("z", 'z', MEG);

    if (fallocate(fd, FALLOC_FL_ZERO_RANGE, 1000, 5000) < 0) {
        posix_skip("no zeroing of ranges here");
        close(fd);
        return;
    }
    CHECK(zero_at(fd, 1000, 5000));
    CHECK(filled_at(fd, 0, 1000, 'z'));
    CHECK(filled_at(fd, 6000, K64, 'z'));
    OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, MEG - 10, 100));
    EQ(posix_stat("z").st_size, MEG);
    OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, MEG - 10, 100));
    EQ(posix_stat("z").st_size, MEG + 90);
    CHECK(zero_at(fd, MEG - 10, 100));
    close(fd);
}

static void seek(void)
{
    int fd = open("s", O_CREAT | O_RDWR, 0644);

    OK(ftruncate(fd, 4 * MEG));
    EQ(pwrite(fd, "data", 4, 2 * MEG), 4);
    OK(fsync(fd));
    off_t data = lseek(fd, 0, SEEK_DATA);
    CHECK(data >= 0 && data <= 2 * MEG);
    off_t hole = lseek(fd, 2 * MEG, SEEK_HOLE);
    CHECK(hole > 2 * MEG && hole <= 4 * MEG);
    EQ(lseek(fd, 2 * MEG, SEEK_DATA), 2 * MEG);
    FAILS(lseek(fd, 4 * MEG, SEEK_DATA), ENXIO);
    FAILS(lseek(fd, 5 * MEG, SEEK_HOLE), ENXIO);
    FAILS(lseek(fd, -1, SEEK_DATA), ENXIO);
    off_t end = lseek(fd, 3 * MEG, SEEK_DATA); /* none follows, or the file system cannot tell */
    CHECK((end == -1 && errno == ENXIO) || end == 3 * MEG);
    close(fd);
    fd = make_filled("full", 'f', K64);
    EQ(lseek(fd, 0, SEEK_DATA), 0);
    EQ(lseek(fd, 0, SEEK_HOLE), K64); /* the end counts as one */
    EQ(lseek(fd, 100, SEEK_DATA), 100);
    /* What is only in the cache yet counts as data. */
    EQ(pwrite(fd, "x", 1, 4 * K64), 1);
    EQ(lseek(fd, 4 * K64, SEEK_DATA), 4 * K64);
    close(fd);
}

static void copy(void)
{
    int in = make_filled("in", 'i', 3 * K64), out = open("out", O_CREAT | O_RDWR, 0644);
    off_t from = 100, to = 50;
    ssize_t n, done = 0;

    EQ(pwrite(in, "marker", 6, 1000), 6);
    while (done < 2 * K64 &&
           (n = copy_file_range(in, &from, out, &to, (size_t)(2 * K64 - done), 0)) > 0)
        done += n;
    EQ(done, 2 * K64);
    EQ(from, 100 + 2 * K64);
    EQ(to, 50 + 2 * K64);
    EQ(posix_stat("out").st_size, 50 + 2 * K64);
    char buf[6];
    EQ(pread(out, buf, 6, 950), 6);
    CHECK(memcmp(buf, "marker", 6) == 0);
    CHECK(zero_at(out, 0, 50));
    CHECK(filled_at(out, 2000, K64, 'i'));
    /* The copy and the original go their own ways. */
    EQ(pwrite(in, "CHANGE", 6, 1000), 6);
    EQ(pread(out, buf, 6, 950), 6);
    CHECK(memcmp(buf, "marker", 6) == 0);
    EQ(pwrite(out, "OTHER!", 6, 950), 6);
    EQ(pread(in, buf, 6, 1000), 6);
    CHECK(memcmp(buf, "CHANGE", 6) == 0);
    from = 10 * K64;
    EQ(copy_file_range(in, &from, out, NULL, 100, 0), 0); /* past the end */
    FAILS(copy_file_range(in, NULL, out, NULL, 100, 1), EINVAL);
    from = 0;
    to = 10;
    FAILS(copy_file_range(in, &from, in, &to, 100, 0), EINVAL); /* overlap */
    from = 0;
    to = 2 * K64;
    EQ(copy_file_range(in, &from, in, &to, 100, 0), 100); /* inside one file */
    int ro = open("out", O_RDONLY);
    FAILS(copy_file_range(in, NULL, ro, NULL, 10, 0), EBADF);
    close(ro);
    close(in);
    OK(unlink("in"));
    CHECK(filled_at(out, 2000, K64, 'i')); /* it lives on without the original */
    close(out);
}

void posix_space(void)
{
    allocate();
    punch();
    zero_range();
    seek();
    copy();
}
