/*
 * io: the reads and writes of the benchmarks, timed from inside so that starting a program does not count.
 *
 *   io write FILE BYTES           sequential, 128 KiB at a time, then fsync;   prints MB/s
 *   io read FILE                  sequential, 128 KiB at a time;               prints MB/s
 *   io randread FILE COUNT        4 KiB at random places;                      prints operations/s
 *   io randwrite FILE COUNT       the same, writing, one fsync at the end;     prints operations/s
 *   io fsync FILE COUNT           4 KiB at random places, fsync after each;    prints operations/s
 *
 * The places are the same in every run (fixed seed).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BIG   131072
#define SMALL 4096

static char buf[BIG];
static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void die(const char *what)
{
    fprintf(stderr, "io: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sequential_write(int fd, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += BIG) {
        size_t n = bytes - at < BIG ? (size_t)(bytes - at) : BIG;
        for (size_t i = 0; i < n; i += 8)
            memcpy(buf + i, &(uint64_t){next_random()}, 8);
        if (write(fd, buf, n) != (ssize_t)n)
            die("write");
    }
    if (fsync(fd) != 0)
        die("fsync");
}

static uint64_t sequential_read(int fd)
{
    uint64_t sum = 0;
    ssize_t n;
    while ((n = read(fd, buf, BIG)) > 0)
        sum += (uint64_t)n;
    if (n < 0)
        die("read");
    return sum;
}

static void at_random(int fd, const char *what, uint64_t count)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size < SMALL)
        die("the file is too small");
    uint64_t places = (uint64_t)st.st_size / SMALL;
    for (uint64_t i = 0; i < count; i++) {
        off_t off = (off_t)(next_random() % places * SMALL);
        memcpy(buf, &i, sizeof(i));
        ssize_t n = strcmp(what, "randread") == 0 ? pread(fd, buf, SMALL, off)
                                                  : pwrite(fd, buf, SMALL, off);
        if (n != SMALL)
            die(what);
        if (strcmp(what, "fsync") == 0 && fsync(fd) != 0)
            die("fsync");
    }
    if (strcmp(what, "randwrite") == 0 && fsync(fd) != 0)
        die("fsync");
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: io write|read|randread|randwrite|fsync FILE [N]\n");
        return 2;
    }
    const char *what = argv[1];
    uint64_t n = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    int flags = strcmp(what, "write") == 0 ? O_RDWR | O_CREAT | O_TRUNC
                : strstr(what, "read")     ? O_RDONLY
                                           : O_RDWR;
    int fd = open(argv[2], flags | O_CLOEXEC, 0644);
    if (fd < 0)
        die(argv[2]);
    double start = now();
    if (strcmp(what, "write") == 0)
        sequential_write(fd, n);
    else if (strcmp(what, "read") == 0)
        n = sequential_read(fd);
    else
        at_random(fd, what, n);
    double took = now() - start;
    if (close(fd) != 0)
        die("close");
    if (strcmp(what, "write") == 0 || strcmp(what, "read") == 0)
        printf("%.1f\n", (double)n / 1e6 / took);
    else
        printf("%.0f\n", (double)n / took);
    return 0;
}
