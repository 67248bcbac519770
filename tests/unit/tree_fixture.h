/*
 * tree_fixture.h - a vault with a tree, and times that show which operation changes them.
 */
#ifndef TESTS_UNIT_TREE_FIXTURE_H
#define TESTS_UNIT_TREE_FIXTURE_H

#include "check.h"
#include "vault_fixture.h"

#include "fs/tree.h"

#include <stdio.h>
#include <sys/stat.h>

static struct fixture f;
static const struct tree_cred me = {1000, 100};
static struct inode tmp; /* where the inode does not matter */

#define N(s) s, strlen(s)
#define OLD  1000 /* a time that is surely not now */

static inline uint64_t new_dir(uint64_t parent, const char *name)
{
    struct inode i;
    CHECK_EQ(tree_mkdir(f.v, parent, N(name), 0755, me, &i), 0);
    return i.ino;
}

static inline uint64_t new_file(uint64_t parent, const char *name)
{
    struct inode i;
    CHECK_EQ(tree_mknod(f.v, parent, N(name), S_IFREG | 0644, 0, me, &i), 0);
    return i.ino;
}

static inline struct inode get(uint64_t ino)
{
    struct inode i = {0};
    CHECK_EQ(tree_getattr(f.v, ino, &i), 0);
    return i;
}

static inline int look(uint64_t parent, const char *name)
{
    return tree_lookup(f.v, parent, N(name), &tmp);
}

static inline int ren(uint64_t p, const char *a, uint64_t q, const char *b, unsigned flags)
{
    return tree_rename(f.v, p, N(a), q, N(b), flags, &tmp);
}

/* All times of an inode to OLD, so that it shows which of them an operation changes. */
static inline void age(uint64_t ino)
{
    struct inode in = {.atime = OLD, .mtime = OLD, .ctime = OLD};
    CHECK_EQ(tree_setattr(f.v, ino, TREE_ATIME | TREE_MTIME | TREE_CTIME, &in, &tmp), 0);
}

/* Which times are not OLD any more: "a", "m", "c" in this order. */
static inline const char *changed(uint64_t ino)
{
    static char s[4];
    struct inode i = get(ino);
    char *p = s;
    if (i.atime != OLD)
        *p++ = 'a';
    if (i.mtime != OLD)
        *p++ = 'm';
    if (i.ctime != OLD)
        *p++ = 'c';
    *p = 0;
    return s;
}

#define CHECK_CHANGED(ino, want) CHECK(strcmp(changed(ino), want) == 0)

#endif
