/* A directory with a segment store in it, and a scan that remembers what it saw. */
#ifndef TESTS_UNIT_SEGMENT_FIXTURE_H
#define TESTS_UNIT_SEGMENT_FIXTURE_H

#include "check.h"

#include "crypto/err.h"
#include "fs/segment.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEEN_MAX 4096u

struct fixture {
    char path[64];
    int fd;
    struct segment_store *store;
};

static const uint8_t fixture_key[32] = {1, 2, 3}, fixture_vault[32] = {4, 5, 6};
#define FIXTURE_DEVICE 77u

static inline void fixture_open_as(struct fixture *fx, const uint8_t *key, const uint8_t *vault,
                                   uint32_t device, bool read_only)
{
    CHECK_EQ(segment_store_open(&fx->store, fx->fd, key, vault, device, read_only), ERR_OK);
    if (!fx->store)
        exit(check_done());
}

static inline void fixture_open(struct fixture *fx, bool read_only)
{
    fixture_open_as(fx, fixture_key, fixture_vault, FIXTURE_DEVICE, read_only);
}

static inline void fixture_close(struct fixture *fx)
{
    segment_store_close(fx->store);
    fx->store = NULL;
}

static inline void fixture_make(struct fixture *fx)
{
    *fx = (struct fixture){.path = "/tmp/test_segment_XXXXXX"};
    if (!mkdtemp(fx->path))
        abort();
    fx->fd = open(fx->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static inline void fixture_file(uint64_t seg, char name[32])
{
    snprintf(name, 32, "seg/%016llx", (unsigned long long)seg);
}

static inline off_t fixture_size(const struct fixture *fx, uint64_t seg)
{
    char name[32];
    struct stat st;
    fixture_file(seg, name);
    return fstatat(fx->fd, name, &st, 0) == 0 ? st.st_size : -1;
}

static inline int fixture_truncate(const struct fixture *fx, uint64_t seg, off_t size)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/seg/%016llx", fx->path, (unsigned long long)seg);
    return truncate(path, size);
}

/* The whole file; free(*bytes). */
static inline size_t fixture_get(const struct fixture *fx, uint64_t seg, uint8_t **bytes)
{
    char name[32];
    fixture_file(seg, name);
    size_t size = (size_t)fixture_size(fx, seg);
    *bytes = malloc(size + 1);
    int fd = openat(fx->fd, name, O_RDONLY);
    CHECK(fd >= 0 && read(fd, *bytes, size) == (ssize_t)size);
    close(fd);
    return size;
}

static inline void fixture_put(const struct fixture *fx, uint64_t seg, const uint8_t *bytes,
                               size_t size)
{
    char name[32];
    fixture_file(seg, name);
    /* Not O_TRUNC: file systems write a file out that is emptied and filled again, and there are thousands. */
    int fd = openat(fx->fd, name, O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || ftruncate(fd, (off_t)size) != 0)
        abort();
    close(fd);
}

static inline void fixture_remove(struct fixture *fx)
{
    int fd = openat(fx->fd, "seg", O_RDONLY | O_DIRECTORY);
    DIR *dir = fdopendir(fd);
    for (struct dirent *d; dir && (d = readdir(dir));)
        unlinkat(fd, d->d_name, 0);
    if (dir)
        closedir(dir);
    unlinkat(fx->fd, "seg", AT_REMOVEDIR);
    close(fx->fd);
    CHECK(rmdir(fx->path) == 0);
}

struct seen {
    size_t count;
    struct {
        enum segment_kind kind;
        struct segment_pos pos;
        size_t len;
        uint64_t mark; /* of notes: their first 8 bytes */
    } at[SEEN_MAX];
    size_t stop_after; /* 0: never */
    struct segment_pos end;
};

static inline int seen_each(void *ctx, enum segment_kind kind, struct segment_pos pos,
                            const uint8_t *payload, size_t len)
{
    struct seen *seen = ctx;
    if (seen->count == SEEN_MAX)
        return 99;
    size_t i = seen->count++;
    seen->at[i].kind = kind;
    seen->at[i].pos = pos;
    seen->at[i].len = len;
    seen->at[i].mark = 0;
    if (payload)
        memcpy(&seen->at[i].mark, payload, len < 8 ? len : 8);
    return seen->count == seen->stop_after ? 42 : 0;
}

static inline int fixture_scan(struct fixture *fx, struct segment_pos from, struct seen *seen)
{
    seen->count = 0;
    return segment_scan(fx->store, from, seen_each, seen, &seen->end);
}

/* A note of 8 bytes. */
static inline int append_mark(struct fixture *fx, uint64_t mark, struct segment_pos *pos)
{
    return segment_append(fx->store, SEGMENT_NOTE, (const uint8_t *)&mark, sizeof(mark), pos);
}

static inline int append_extent(struct fixture *fx, uint8_t fill, size_t len,
                                struct segment_pos *pos)
{
    uint8_t *bytes = malloc(len);
    memset(bytes, fill, len);
    int err = segment_append(fx->store, SEGMENT_EXTENT, bytes, len, pos);
    free(bytes);
    return err;
}

#endif
