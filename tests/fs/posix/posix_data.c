#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

static uint8_t pattern(uint64_t i, unsigned seed)
{
    return (uint8_t)((i * 2654435761u >> 7) + seed * 97 + i);
}

static void fill(uint8_t *buf, size_t len, uint64_t off, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = pattern(off + i, seed);
}

static bool zero(const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (buf[i])
            return false;
    return true;
}

/* Sizes around what file systems cut data by. */
static void sizes(void)
{
    static const size_t list[] = {0,      1,       511,     4095,    4096,   4097,
                                  16383,  16384,   16385,   65535,   65536,  131071,
                                  131073, 1048575, 1048576, 1048577, 3000001};
    uint8_t *out = malloc(3000001), *in = malloc(3000002);

    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        int fd = open("size", O_CREAT | O_TRUNC | O_RDWR, 0644);
        fill(out, list[i], 0, (unsigned)i);
        EQ(write(fd, out, list[i]), list[i]);
        EQ(posix_stat("size").st_size, list[i]);
        EQ(pread(fd, in, list[i] + 1, 0), list[i]);
        CHECK(memcmp(in, out, list[i]) == 0);
        OK(fsync(fd));
        close(fd);
        fd = open("size", O_RDONLY);
        EQ(read(fd, in, list[i] + 1), list[i]);
        CHECK(memcmp(in, out, list[i]) == 0);
        close(fd);
    }
    free(out);
    free(in);
}

/* Overwrites, holes, appends and truncations in random order, against a copy in memory. */
static void random_changes(void)
{
    enum { MAX = 600000, STEPS = 400 };
    uint8_t *model = calloc(1, MAX), *buf = malloc(MAX);
    size_t size = 0;
    int fd = open("random", O_CREAT | O_RDWR, 0644);
    bool good = true;

    srandom(7);
    for (unsigned s = 0; s < STEPS; s++) {
        size_t off = (size_t)random() % (MAX - 70000);
        size_t len = (size_t)random() % (s % 5 ? 9000 : 66000) + 1;
        switch (random() % 6) {
        case 0: /* truncate or extend */
            good = good && ftruncate(fd, (off_t)off) == 0;
            if (off < size)
                memset(model + off, 0, size - off);
            size = off;
            break;
        case 1:
            if (off < size) {
                size_t want = len < size - off ? len : size - off;
                good = good && pread(fd, buf, len, (off_t)off) == (ssize_t)want &&
                       memcmp(buf, model + off, want) == 0;
            } else {
                good = good && pread(fd, buf, len, (off_t)off) == 0;
            }
            break;
        case 2:
            good = good && (s % 3 ? fdatasync(fd) : 0) == 0;
            break;
        default:
            fill(buf, len, off, s);
            good = good && pwrite(fd, buf, len, (off_t)off) == (ssize_t)len;
            memcpy(model + off, buf, len);
            size = off + len > size ? off + len : size;
        }
        if (!good) {
            fprintf(stderr, "random change %u went wrong\n", s);
            break;
        }
    }
    CHECK(good);
    EQ(posix_stat("random").st_size, size);
    close(fd);
    fd = open("random", O_RDONLY);
    EQ(read(fd, buf, MAX), size);
    CHECK(memcmp(buf, model, size) == 0);
    close(fd);
    free(model);
    free(buf);
}

static void truncation(void)
{
    uint8_t buf[20000];
    int fd = open("trunc", O_CREAT | O_RDWR, 0644);

    memset(buf, 'x', sizeof(buf));
    EQ(write(fd, buf, 10000), 10000);
    OK(ftruncate(fd, 5000));
    EQ(posix_stat("trunc").st_size, 5000);
    EQ(pread(fd, buf, sizeof(buf), 0), 5000);
    OK(ftruncate(fd, 12000));
    EQ(pread(fd, buf, sizeof(buf), 0), 12000);
    CHECK(zero(buf + 5000, 7000)); /* what was cut does not come back */
    CHECK(buf[4999] == 'x');
    OK(truncate("trunc", 0));
    EQ(pread(fd, buf, sizeof(buf), 0), 0);
    OK(truncate("trunc", 3));
    EQ(pread(fd, buf, sizeof(buf), 0), 3);
    CHECK(zero(buf, 3));
    EQ(pwrite(fd, "end", 3, 16380), 3);
    EQ(pread(fd, buf, sizeof(buf), 0), 16383);
    CHECK(zero(buf, 16380));
    CHECK(memcmp(buf + 16380, "end", 3) == 0);
    FAILS(ftruncate(fd, -1), EINVAL);
    FAILS(truncate("trunc", -1), EINVAL);
    FAILS(pwrite(fd, "x", 1, -1), EINVAL);
    FAILS(pread(fd, buf, 1, -1), EINVAL);
    EQ(lseek(fd, 0, SEEK_CUR), 10000); /* truncation moves no offset */
    EQ(write(fd, "y", 1), 1);
    EQ(pread(fd, buf, 1, 10000), 1);
    EQ(buf[0], 'y');
    close(fd);
}

static void vectors(void)
{
    char a[4] = "", b[8] = "";
    struct iovec out[3] = {{"one", 3}, {"", 0}, {"twothree", 8}};
    struct iovec in[2] = {{a, 3}, {b, 8}};
    int fd = open("vec", O_CREAT | O_RDWR, 0644);

    EQ(writev(fd, out, 3), 11);
    EQ(preadv(fd, in, 2, 0), 11);
    CHECK(memcmp(a, "one", 3) == 0 && memcmp(b, "twothree", 8) == 0);
    EQ(pwritev(fd, out, 1, 20), 3);
    EQ(posix_stat("vec").st_size, 23);
    EQ(pwritev2(fd, out, 1, -1, RWF_APPEND), 3);
    EQ(posix_stat("vec").st_size, 26);
    volatile int negative = -1;
    FAILS(writev(fd, out, negative), EINVAL);
    EQ(read(fd, a, 0), 0);
    close(fd);
}

static void sparse(void)
{
    uint8_t buf[64];
    const off_t far = (off_t)5 << 30;
    int fd = open("sparse", O_CREAT | O_RDWR, 0644);

    EQ(pwrite(fd, "far away", 8, far), 8);
    EQ(posix_stat("sparse").st_size, far + 8);
    EQ(pread(fd, buf, 8, far), 8);
    CHECK(memcmp(buf, "far away", 8) == 0);
    EQ(pread(fd, buf, 64, (off_t)4294967296 - 32), 64);
    CHECK(zero(buf, 64));
    EQ(pwrite(fd, "edge", 4, (off_t)4294967296 - 2), 4);
    EQ(pread(fd, buf, 8, (off_t)4294967296 - 4), 8);
    CHECK(memcmp(buf, "\0\0edge\0\0", 8) == 0);
    OK(fsync(fd));
    struct stat st;
    OK(fstat(fd, &st));
    CHECK(st.st_blocks < 4096);
    OK(ftruncate(fd, (off_t)1 << 40));
    EQ(posix_stat("sparse").st_size, (off_t)1 << 40);
    EQ(pread(fd, buf, 16, ((off_t)1 << 40) - 8), 8);
    close(fd);
    OK(unlink("sparse"));
}

static void limits(void)
{
    struct rlimit old, small = {.rlim_cur = 10000};
    int fd = open("limit", O_CREAT | O_RDWR, 0644);
    static char buf[20000];

    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    OK(setrlimit(RLIMIT_FSIZE, &small));
    EQ(write(fd, buf, sizeof(buf)), 10000); /* up to the limit */
    FAILS(write(fd, buf, 1), EFBIG);
    FAILS(ftruncate(fd, 10001), EFBIG);
    OK(setrlimit(RLIMIT_FSIZE, &old));
    signal(SIGXFSZ, SIG_DFL);
    FAILS(pwrite(fd, buf, 2, LLONG_MAX), EINVAL); /* no offset has a number beyond */
    close(fd);
}

static void kernel_copies(void)
{
    uint8_t *buf = malloc(300000), *back = malloc(300000);
    int in = open("src", O_CREAT | O_RDWR, 0644), out = open("dst", O_CREAT | O_RDWR, 0644);
    off_t off = 1000;
    int pipes[2];

    fill(buf, 300000, 0, 3);
    EQ(write(in, buf, 300000), 300000);
    ssize_t sent = 0, n;
    while (sent < 200000 && (n = sendfile(out, in, &off, (size_t)(200000 - sent))) > 0)
        sent += n;
    EQ(sent, 200000);
    EQ(off, 201000);
    EQ(pread(out, back, 300000, 0), 200000);
    CHECK(memcmp(back, buf + 1000, 200000) == 0);
    OK(pipe(pipes));
    off = 0;
    EQ(splice(in, &off, pipes[1], NULL, 4096, 0), 4096);
    loff_t to = 500000;
    EQ(splice(pipes[0], NULL, out, &to, 4096, 0), 4096);
    EQ(pread(out, back, 4096, 500000), 4096);
    CHECK(memcmp(back, buf, 4096) == 0);
    close(pipes[0]);
    close(pipes[1]);
    OK(posix_fadvise(in, 0, 0, POSIX_FADV_SEQUENTIAL));
    OK(posix_fadvise(in, 0, 0, POSIX_FADV_DONTNEED));
    EQ(pread(in, back, 300000, 0), 300000);
    CHECK(memcmp(back, buf, 300000) == 0);
    close(in);
    close(out);
    free(buf);
    free(back);
}

/* Past the page cache where the file system can. */
static void direct(void)
{
    int fd = open("direct", O_CREAT | O_RDWR | O_DIRECT, 0644);
    uint8_t *buf, *back;

    if (fd < 0) {
        posix_skip("no O_DIRECT here");
        return;
    }
    if (posix_memalign((void **)&buf, 4096, 131072) || posix_memalign((void **)&back, 4096, 131072))
        return;
    fill(buf, 131072, 0, 9);
    EQ(pwrite(fd, buf, 131072, 0), 131072);
    EQ(pread(fd, back, 131072, 0), 131072);
    CHECK(memcmp(buf, back, 131072) == 0);
    int cached = open("direct", O_RDWR);
    EQ(pread(cached, back, 131072, 0), 131072);
    CHECK(memcmp(buf, back, 131072) == 0);
    EQ(pwrite(cached, "cached", 6, 4096), 6);
    EQ(pread(fd, back, 8192, 0), 8192); /* sees what the cache holds */
    CHECK(memcmp(back + 4096, "cached", 6) == 0);
    memset(buf, 'd', 4096);
    EQ(pwrite(fd, buf, 4096, 4096), 4096);
    EQ(pread(cached, back, 8, 4096), 8);
    CHECK(memcmp(back, "dddddddd", 8) == 0);
    close(cached);
    close(fd);
    free(buf);
    free(back);
}

void posix_data(void)
{
    sizes();
    random_changes();
    truncation();
    vectors();
    sparse();
    limits();
    kernel_copies();
    direct();
}
