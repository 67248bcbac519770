#include "tests/fs/random/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Two files in stripes, every other one of them belonging to each process; stripes share pages, and what is sealed together. One file is
 * written by calls and through a mapping, the other by calls and with holes made: a hole beside a mapping that is written at the same
 * time may, in Linux, bring back what was there. A third file is appended to by both.
 */
enum { STRIPE = 5000, STRIPES = 60, SIZE = STRIPE * STRIPES, RECORD = 72, RECORDS = 100000 };

static uint8_t *models[2]; /* shared by the processes; each writes its own stripes */
static uint32_t *appended; /* how many records each has appended */

static const char *path_of(const struct rnd_options *opt, const char *name)
{
    static char path[RND_PATH];

    snprintf(path, sizeof(path), "%s/%s", opt->base, name);
    return path;
}

static const char *const names[] = {"both-mapped", "both-holes", "both-appended"};

static int open_one(const struct rnd_options *opt, unsigned file, int flags)
{
    int fd = open(path_of(opt, names[file]), O_RDWR | O_CLOEXEC | flags, 0600);

    if (fd < 0) {
        fprintf(stderr, "FAILED: open %s: %s\n", names[file], strerror(errno));
        exit(1);
    }
    return fd;
}

void rnd_shared_prepare(const struct rnd_options *opt)
{
    for (unsigned i = 0; i < 3; i++) {
        int fd = open_one(opt, i, O_CREAT | O_TRUNC);
        if (i < 2 && ftruncate(fd, SIZE) < 0)
            exit(1);
        close(fd);
    }
    models[0] =
        mmap(NULL, 2 * SIZE + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (models[0] == MAP_FAILED)
        abort();
    models[1] = models[0] + SIZE;
    appended = (uint32_t *)(void *)(models[0] + 2 * SIZE);
}

static uint64_t draw(uint64_t *rng, uint64_t n)
{
    *rng = *rng * 6364136223846793005u + 1442695040888963407u;
    return (*rng >> 33) % n;
}

_Noreturn static void fail(unsigned number, unsigned file, size_t at, const char *what)
{
    fprintf(stderr, "FAILED: shared file %u, process %u, at %zu: %s (errno %d)\n", file, number, at,
            what, errno);
    _exit(1);
}

/* A part of one stripe of a file that is open. */
struct change {
    unsigned number, file;
    int fd;
    size_t off, len;
    uint8_t *map;
};

static void write_part(struct change *c, uint64_t *rng)
{
    uint8_t buf[STRIPE];

    for (size_t i = 0; i < c->len; i++)
        buf[i] = (uint8_t)(1 + draw(rng, 255));
    memcpy(models[c->file] + c->off, buf, c->len);
    if (c->map && draw(rng, 2) == 0)
        memcpy(c->map + c->off, buf, c->len);
    else if (pwrite(c->fd, buf, c->len, (off_t)c->off) != (ssize_t)c->len)
        fail(c->number, c->file, c->off, "write");
}

static void clear_part(struct change *c, uint64_t *rng)
{
    int mode =
        (draw(rng, 2) == 0 ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;

    if (fallocate(c->fd, mode, (off_t)c->off, (off_t)c->len) == 0)
        memset(models[c->file] + c->off, 0, c->len);
    else if (!rnd_world_unsupported())
        fail(c->number, c->file, c->off, "punch or zero");
}

static void read_part(struct change *c)
{
    size_t start = c->off - c->off % STRIPE;
    uint8_t buf[STRIPE];

    if (pread(c->fd, buf, STRIPE, (off_t)start) != STRIPE)
        fail(c->number, c->file, start, "read");
    for (size_t i = 0; i < STRIPE; i++)
        if (buf[i] != models[c->file][start + i])
            fail(c->number, c->file, start + i,
                 "read shows another byte than this process has written");
    if (c->map && memcmp(c->map + start, models[c->file] + start, STRIPE) != 0)
        fail(c->number, c->file, start,
             "the mapping shows other bytes than this process has written");
}

static void append_one(unsigned number, int fd)
{
    uint8_t record[RECORD];
    uint32_t n = appended[number];

    if (n == RECORDS)
        return;
    memset(record, (int)(number + 1 + n % 100), RECORD);
    memcpy(record, &number, 4);
    memcpy(record + 4, &n, 4);
    if (write(fd, record, RECORD) != RECORD)
        fail(number, 2, n, "append");
    appended[number]++;
}

void rnd_shared_run(const struct rnd_options *opt, unsigned number, uint64_t *rng, unsigned count)
{
    int fds[3] = {open_one(opt, 0, 0), open_one(opt, 1, 0), open_one(opt, 2, O_APPEND)};
    uint8_t *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);

    if (map == MAP_FAILED)
        fail(number, 0, 0, "mmap");
    while (count-- > 0) {
        unsigned file = (unsigned)draw(rng, 2);
        size_t stripe = 2 * draw(rng, STRIPES / 2) + number, from = draw(rng, STRIPE);
        struct change c = {.number = number,
                           .file = file,
                           .fd = fds[file],
                           .off = stripe * STRIPE + from,
                           .len = 1 + draw(rng, STRIPE - from),
                           .map = file == 0 ? map : NULL};
        unsigned what = (unsigned)draw(rng, 20);
        if (what < 9)
            write_part(&c, rng);
        else if (what < 11 && file == 1)
            clear_part(&c, rng);
        else if (what < 18)
            read_part(&c);
        else if (what < 19)
            append_one(number, fds[2]);
        else if (draw(rng, 10) == 0 && fdatasync(fds[draw(rng, 3)]) < 0)
            fail(number, file, 0, "fdatasync");
    }
    munmap(map, SIZE);
    for (unsigned i = 0; i < 3; i++)
        if (close(fds[i]) < 0)
            fail(number, i, 0, "close");
}

static bool check_appended(int fd)
{
    uint32_t seen[2] = {0, 0}, head[2];
    uint8_t record[RECORD];

    for (off_t at = 0; pread(fd, record, RECORD, at) == RECORD; at += RECORD) {
        memcpy(head, record, sizeof(head));
        if (head[0] > 1 || head[1] != seen[head[0]])
            return false;
        for (unsigned i = 8; i < RECORD; i++)
            if (record[i] != (uint8_t)(head[0] + 1 + head[1] % 100))
                return false;
        seen[head[0]]++;
    }
    return seen[0] == appended[0] && seen[1] == appended[1];
}

bool rnd_shared_check(const struct rnd_options *opt)
{
    uint8_t *buf = rnd_alloc(SIZE + 1);
    bool good = true;

    for (unsigned file = 0; file < 3; file++) {
        int fd = open_one(opt, file, 0);
        if (file == 2
                ? !check_appended(fd)
                : pread(fd, buf, SIZE + 1, 0) != SIZE || memcmp(buf, models[file], SIZE) != 0) {
            fprintf(stderr,
                    "FAILED: seed %llu: shared file %u is not what its two processes wrote\n",
                    (unsigned long long)opt->seed, file);
            good = false;
        }
        close(fd);
    }
    free(buf);
    return good;
}

bool rnd_shared_remove(const struct rnd_options *opt)
{
    bool good = true;

    for (unsigned file = 0; file < 3; file++)
        good = unlink(path_of(opt, names[file])) == 0 && good;
    return good;
}
