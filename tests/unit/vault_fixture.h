/*
 * vault_fixture.h - a vault in a temporary directory, for tests of what works on an open vault.
 */
#ifndef TESTS_UNIT_VAULT_FIXTURE_H
#define TESTS_UNIT_VAULT_FIXTURE_H

#include "check.h"
#include "keyring_fixture.h"

#include "crypto/err.h"
#include "crypto/secret.h"
#include "fs/vault.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURE_SECRET "correct horse battery staple"

struct fixture {
    char base[64], path[80];
    struct vault *v;
    struct index *ix;
};

static inline void fixture_die(const char *what, int err)
{
    fprintf(stderr, "%s: %s\n", what, err_text(err));
    exit(1);
}

static inline void fixture_open(struct fixture *f, enum vault_mode mode)
{
    char why[200] = "";
    int err = vault_open(&f->v, f->path, FIXTURE_SECRET, strlen(FIXTURE_SECRET), mode, why);
    if (err)
        fixture_die(why[0] ? why : "vault_open", err);
    f->ix = vault_index(f->v);
}

static inline void fixture_close(struct fixture *f)
{
    int err = vault_close(f->v);
    if (err)
        fixture_die("vault_close", err);
    f->v = NULL;
}

static inline void fixture_reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f, VAULT_READ_WRITE);
}

static inline void fixture_make(struct fixture *f)
{
    const char *tmp = getenv("TMPDIR");
    int err = secret_init();
    if (err)
        fixture_die("secret_init", err);
    snprintf(f->base, sizeof(f->base), "%.40s/obscurafs-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(f->base))
        fixture_die(f->base, ERR_IO);
    snprintf(f->path, sizeof(f->path), "%s/vault", f->base);

    uint8_t id[32];
    secret_random(id, sizeof(id));
    struct keyring *k = keyring_fixture(1);
    if (!k)
        fixture_die("keyring_fixture", ERR_NOMEM);
    struct slot_cost cost = {SLOT_OPS_MIN, SLOT_MEM_MIN};
    struct vault_new params = {.path = f->path,
                               .vault_id = id,
                               .keyring = k,
                               .secret = FIXTURE_SECRET,
                               .secret_len = strlen(FIXTURE_SECRET),
                               .cost = &cost,
                               .with_root = true};
    err = vault_create(&params);
    keyring_free(k);
    if (err)
        fixture_die("vault_create", err);
    fixture_open(f, VAULT_READ_WRITE);
}

static inline int fixture_remove_one(const char *path, const struct stat *st, int type,
                                     struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void fixture_remove(struct fixture *f)
{
    if (f->v)
        fixture_close(f);
    nftw(f->base, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The extent that holds the byte at ${off}. */
static inline struct extent fixture_extent(struct fixture *f, uint64_t ino, uint64_t off)
{
    struct map_row row;
    struct extent e = {0};
    size_t n = 0;
    index_lock(f->ix);
    CHECK_EQ(index_map_get(f->ix, ino, off, 1, &row, &e, 1, &n), 0);
    index_unlock(f->ix);
    CHECK_EQ(n, 1);
    return e;
}

/* Changes a bit on the disk, behind the vault's back. */
static inline void fixture_flip(struct fixture *f, struct segment_pos at, uint64_t off)
{
    char path[200];
    uint8_t byte = 0;
    snprintf(path, sizeof(path), "%s/seg/%016llx", f->path, (unsigned long long)at.seg);
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    CHECK(pread(fd, &byte, 1, (off_t)(at.off + off)) == 1);
    byte ^= 0x40;
    CHECK(pwrite(fd, &byte, 1, (off_t)(at.off + off)) == 1);
    close(fd);
}

#endif
