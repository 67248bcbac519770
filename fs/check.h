/*
 * check.h - verifies an open vault on this device: every sealed byte that is here, and every reference.
 *
 * Changes nothing. What is only on the store is counted, not fetched. Meant for a vault that is not mounted; on a mounted
 * one it is correct too, but holds the index lock for as long as each of its queries takes (never while it reads data).
 */
#ifndef FS_CHECK_H
#define FS_CHECK_H

#include "fs/vault.h"

struct check_options {
    bool references_only;          /* do not read the data */
    const _Atomic bool *cancelled; /* may be NULL; ends with ERR_INTR soon after it turns true */
    /* Sealed bytes verified so far and in all; may be NULL. */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    /* ${path}: of the file or directory concerned, below the root ("" is the root itself), once for each of its names; bytes as
     * they are, NUL-terminated. NULL: it has no name, or the index as a whole is meant. ${what}: one line without a full stop. */
    void (*problem)(void *ctx, const char *path, const char *what);
    void *ctx;
};

struct check_result {
    uint64_t inodes, entries, extents; /* that exist */
    uint64_t bytes;                    /* sealed bytes verified, good or bad */
    uint64_t remote_extents;           /* extents that are only on the store */
    uint64_t problems;                 /* calls of problem */
};

/* 0 when it came to its end, however many problems it found. ERR_NOMEM, ERR_INTR; ERR_IO when the index cannot be read. */
int check_vault(struct vault *v, const struct check_options *options, struct check_result *result);

#endif
