/*
 * data_fixture.h - a vault with files in it, for tests of their data.
 */
#ifndef TESTS_UNIT_DATA_FIXTURE_H
#define TESTS_UNIT_DATA_FIXTURE_H

#include "check.h"
#include "vault_fixture.h"

#include "crypto/seal.h"
#include "fs/check.h"
#include "fs/data.h"

#include <fcntl.h>

static struct fixture f;
static const struct tree_cred me = {1000, 100};

#define MiB (1u << 20)

static inline uint64_t new_file(const char *name)
{
    struct inode i = {0};
    CHECK_EQ(tree_mknod(f.v, INODE_ROOT, name, strlen(name), S_IFREG | 0644, 0, me, &i), 0);
    return i.ino;
}

static inline int write_at(uint64_t ino, uint64_t off, const void *p, size_t len)
{
    return data_write(f.v, ino, off, p, len, true, false);
}

static inline int read_at(uint64_t ino, uint64_t off, void *p, size_t len, size_t *got)
{
    return data_read(f.v, ino, off, p, len, got, NULL);
}

static inline int set_size(uint64_t ino, uint64_t size)
{
    struct inode in = {.size = size}, out;
    return tree_setattr(f.v, ino, TREE_SIZE, &in, &out);
}

static inline struct inode get(uint64_t ino)
{
    struct inode i = {0};
    CHECK_EQ(tree_getattr(f.v, ino, &i), 0);
    return i;
}

static inline void fill(uint8_t *p, size_t len, unsigned seed)
{
    uint32_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (uint8_t)(x >> 24) | 1; /* never 0: holes stand out */
    }
}

static unsigned problems;

static inline void count_problem(void *ctx, const char *path, const char *what)
{
    fprintf(stderr, "%s: %s\n", path ? path : "(none)", what);
    problems++;
}

/* Every reference and every byte of the vault is right. */
static inline void sound(void)
{
    struct check_options o = {.problem = count_problem};
    struct check_result r;
    CHECK_EQ(check_vault(f.v, &o, &r), 0);
    CHECK_EQ(problems, 0);
    CHECK(r.extents > 0 && r.bytes > 0);
}

#endif
