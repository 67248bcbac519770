/* tree: POSIX semantics of names and inodes, operation by operation and error by error, and the times they change. */
#include "check.h"
#include "vault_fixture.h"

#include "fs/tree.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static struct fixture f;
static const struct tree_cred me = {1000, 100};
static struct inode tmp; /* where the inode does not matter */

#define N(s) s, strlen(s)
#define OLD  1000 /* a time that is surely not now */

static uint64_t new_dir(uint64_t parent, const char *name)
{
    struct inode i;
    CHECK_EQ(tree_mkdir(f.v, parent, N(name), 0755, me, &i), 0);
    return i.ino;
}

static uint64_t new_file(uint64_t parent, const char *name)
{
    struct inode i;
    CHECK_EQ(tree_mknod(f.v, parent, N(name), S_IFREG | 0644, 0, me, &i), 0);
    return i.ino;
}

static struct inode get(uint64_t ino)
{
    struct inode i = {0};
    CHECK_EQ(tree_getattr(f.v, ino, &i), 0);
    return i;
}

static int look(uint64_t parent, const char *name)
{
    return tree_lookup(f.v, parent, N(name), &tmp);
}

static int ren(uint64_t p, const char *a, uint64_t q, const char *b, unsigned flags)
{
    return tree_rename(f.v, p, N(a), q, N(b), flags, &tmp);
}

/* All times of an inode to OLD, so that it shows which of them an operation changes. */
static void age(uint64_t ino)
{
    struct inode in = {.atime = OLD, .mtime = OLD, .ctime = OLD};
    CHECK_EQ(tree_setattr(f.v, ino, TREE_ATIME | TREE_MTIME | TREE_CTIME, &in, &tmp), 0);
}

/* Which times are not OLD any more: "a", "m", "c" in this order. */
static const char *changed(uint64_t ino)
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

static void names(void)
{
    uint64_t d = new_dir(INODE_ROOT, "names");
    char name[300];
    memset(name, 'n', sizeof(name));
    CHECK_EQ(tree_mknod(f.v, d, name, 255, S_IFREG | 0600, 0, me, &tmp), 0);
    CHECK_EQ(tree_lookup(f.v, d, name, 255, &tmp), 0);
    CHECK_EQ(tree_mknod(f.v, d, name, 256, S_IFREG | 0600, 0, me, &tmp), ERR_NAMETOOLONG);
    CHECK_EQ(tree_mkdir(f.v, d, name, 256, 0700, me, &tmp), ERR_NAMETOOLONG);
    CHECK_EQ(tree_symlink(f.v, d, name, 256, "t", me, &tmp), ERR_NAMETOOLONG);
    CHECK_EQ(tree_lookup(f.v, d, name, 256, &tmp), ERR_NAMETOOLONG);
    CHECK_EQ(tree_unlink(f.v, d, name, 256, &tmp), ERR_NAMETOOLONG);
    CHECK_EQ(tree_rmdir(f.v, d, name, 256, &tmp), ERR_NAMETOOLONG);
    CHECK_EQ(tree_rename(f.v, d, name, 255, d, name, 256, 0, &tmp), ERR_NAMETOOLONG);
    CHECK_EQ(tree_link(f.v, new_file(d, "l"), d, name, 256, &tmp), ERR_NAMETOOLONG);

    /* any bytes but '/' and NUL; compared as bytes */
    CHECK_EQ(tree_mknod(f.v, d, "\xff\xfe\n\x80", 4, S_IFREG | 0600, 0, me, &tmp), 0);
    CHECK_EQ(tree_lookup(f.v, d, "\xff\xfe\n\x80", 4, &tmp), 0);
    CHECK_EQ(tree_lookup(f.v, d, "\xff\xfe\n\x81", 4, &tmp), ERR_NOENT);
    new_file(d, "case");
    new_file(d, "Case");
    CHECK_EQ(tree_mknod(f.v, d, "a/b", 3, S_IFREG, 0, me, &tmp), ERR_INVAL);
    CHECK_EQ(tree_mknod(f.v, d, "a\0b", 3, S_IFREG, 0, me, &tmp), ERR_INVAL);
    CHECK_EQ(tree_mknod(f.v, d, "", 0, S_IFREG, 0, me, &tmp), ERR_NOENT);
    CHECK_EQ(tree_mkdir(f.v, d, N("."), 0700, me, &tmp), ERR_EXIST);
    CHECK_EQ(tree_mkdir(f.v, d, N(".."), 0700, me, &tmp), ERR_EXIST);

    CHECK_EQ(look(d, "."), 0);
    CHECK_EQ(tmp.ino, d);
    CHECK_EQ(look(d, ".."), 0);
    CHECK_EQ(tmp.ino, INODE_ROOT);
    CHECK_EQ(look(INODE_ROOT, ".."), 0);
    CHECK_EQ(tmp.ino, INODE_ROOT);
}

static void lookup_and_getattr(void)
{
    uint64_t file = new_file(INODE_ROOT, "lg");
    CHECK_EQ(look(INODE_ROOT, "lg"), 0);
    CHECK_EQ(tmp.ino, file);
    CHECK_EQ(look(INODE_ROOT, "missing"), ERR_NOENT);
    CHECK_EQ(look(file, "x"), ERR_NOTDIR);
    CHECK_EQ(look(999999999, "x"), ERR_NOENT);
    CHECK_EQ(tree_getattr(f.v, 999999999, &tmp), ERR_NOENT);
    struct inode i = get(file);
    CHECK_EQ(i.mode, S_IFREG | 0644);
    CHECK_EQ(i.nlink, 1);
    CHECK_EQ(i.uid, 1000);
    CHECK_EQ(i.gid, 100);
    CHECK_EQ(i.size, 0);
    CHECK(i.atime == i.mtime && i.mtime == i.ctime && i.ctime == i.btime && i.btime > OLD);
}

static void make(void)
{
    uint64_t d = new_dir(INODE_ROOT, "make");
    age(d);
    struct inode i;
    CHECK_EQ(tree_mknod(f.v, d, N("f"), S_IFREG | 07777, 0, me, &i), 0);
    CHECK_EQ(i.mode, S_IFREG | 07777);
    CHECK_CHANGED(d, "mc");
    age(d);
    CHECK_EQ(tree_mknod(f.v, d, N("f"), S_IFREG, 0, me, &tmp), ERR_EXIST);
    CHECK_EQ(tree_mkdir(f.v, d, N("f"), 0700, me, &tmp), ERR_EXIST);
    CHECK_EQ(tree_symlink(f.v, d, N("f"), "t", me, &tmp), ERR_EXIST);
    CHECK_CHANGED(d, "");
    CHECK_EQ(tree_mknod(f.v, i.ino, N("x"), S_IFREG, 0, me, &tmp), ERR_NOTDIR);
    CHECK_EQ(tree_mknod(f.v, 999999999, N("x"), S_IFREG, 0, me, &tmp), ERR_NOENT);
    CHECK_EQ(tree_mkdir(f.v, i.ino, N("x"), 0700, me, &tmp), ERR_NOTDIR);
    CHECK_EQ(tree_symlink(f.v, i.ino, N("x"), "t", me, &tmp), ERR_NOTDIR);

    CHECK_EQ(tree_mknod(f.v, d, N("typeless"), 0600, 0, me, &i), 0);
    CHECK_EQ(i.mode, S_IFREG | 0600);
    CHECK_EQ(tree_mknod(f.v, d, N("fifo"), S_IFIFO | 0600, 5, me, &i), 0);
    CHECK_EQ(i.rdev, 0);
    CHECK_EQ(tree_mknod(f.v, d, N("sock"), S_IFSOCK | 0600, 0, me, &i), 0);
    CHECK_EQ(tree_mknod(f.v, d, N("null"), S_IFCHR | 0666, 0x103, me, &i), 0);
    CHECK_EQ(get(i.ino).rdev, 0x103);
    CHECK_EQ(tree_mknod(f.v, d, N("blk"), S_IFBLK | 0600, 0x801, me, &i), 0);
    CHECK_EQ(get(i.ino).mode, S_IFBLK | 0600);
    CHECK_EQ(tree_mknod(f.v, d, N("no"), S_IFDIR | 0700, 0, me, &i), ERR_INVAL);
    CHECK_EQ(tree_mknod(f.v, d, N("no"), S_IFLNK | 0700, 0, me, &i), ERR_INVAL);

    CHECK_EQ(get(d).nlink, 2);
    age(d);
    CHECK_EQ(tree_mkdir(f.v, d, N("sub"), 01755, me, &i), 0);
    CHECK_EQ(i.mode, S_IFDIR | 01755);
    CHECK_EQ(i.nlink, 2);
    CHECK_EQ(i.parent, d);
    CHECK_EQ(get(d).nlink, 3);
    CHECK_CHANGED(d, "mc");

    /* a set-group-ID directory gives its group; the bit only to directories */
    struct inode in = {.mode = 02775, .gid = 500};
    CHECK_EQ(tree_setattr(f.v, d, TREE_MODE | TREE_GID, &in, &tmp), 0);
    CHECK_EQ(tree_mkdir(f.v, d, N("sgdir"), 0755, me, &i), 0);
    CHECK_EQ(i.mode, S_IFDIR | 02755);
    CHECK_EQ(i.gid, 500);
    CHECK_EQ(tree_mknod(f.v, d, N("sgfile"), S_IFREG | 0644, 0, me, &i), 0);
    CHECK_EQ(i.mode, S_IFREG | 0644);
    CHECK_EQ(i.gid, 500);
    CHECK_EQ(tree_symlink(f.v, d, N("sglink"), "t", me, &i), 0);
    CHECK_EQ(i.gid, 500);
}

static void symlinks(void)
{
    uint64_t d = new_dir(INODE_ROOT, "symlinks");
    char target[TARGET_LEN_MAX + 2], got[TARGET_LEN_MAX + 1];
    size_t len = 0;
    struct inode i;
    memset(target, 't', sizeof(target));
    target[TARGET_LEN_MAX + 1] = 0;
    CHECK_EQ(tree_symlink(f.v, d, N("l"), target, me, &i), ERR_NAMETOOLONG);
    target[TARGET_LEN_MAX] = 0;
    CHECK_EQ(tree_symlink(f.v, d, N("l"), target, me, &i), 0);
    CHECK_EQ(i.mode, S_IFLNK | 0777);
    CHECK_EQ(i.size, TARGET_LEN_MAX);
    CHECK_EQ(i.nlink, 1);
    CHECK_EQ(tree_readlink(f.v, i.ino, got, sizeof(got), &len), 0);
    CHECK(len == TARGET_LEN_MAX && memcmp(got, target, len) == 0);
    CHECK_EQ(tree_symlink(f.v, d, N("e"), "", me, &tmp), ERR_NOENT);
    CHECK_EQ(tree_readlink(f.v, d, got, sizeof(got), &len), ERR_INVAL);
    CHECK_EQ(tree_readlink(f.v, new_file(d, "f"), got, sizeof(got), &len), ERR_INVAL);
    CHECK_EQ(tree_readlink(f.v, 999999999, got, sizeof(got), &len), ERR_NOENT);
    CHECK_EQ(tree_unlink(f.v, d, N("l"), &tmp), 0);
}

static void links(void)
{
    uint64_t d = new_dir(INODE_ROOT, "links"), e = new_dir(d, "e"), file = new_file(d, "a");
    struct inode i;
    age(d), age(e), age(file);
    CHECK_EQ(tree_link(f.v, file, e, N("b"), &i), 0);
    CHECK_EQ(i.nlink, 2);
    CHECK_EQ(i.ino, file);
    CHECK_CHANGED(file, "c");
    CHECK_CHANGED(e, "mc");
    CHECK_CHANGED(d, "");
    CHECK_EQ(look(e, "b"), 0);
    CHECK_EQ(tmp.ino, file);
    CHECK_EQ(tree_link(f.v, file, e, N("b"), &i), ERR_EXIST);
    CHECK_EQ(tree_link(f.v, file, e, N("."), &i), ERR_EXIST);
    CHECK_EQ(tree_link(f.v, d, e, N("dir"), &i), ERR_PERM);
    CHECK_EQ(tree_link(f.v, file, file, N("x"), &i), ERR_NOTDIR);
    CHECK_EQ(tree_link(f.v, 999999999, e, N("x"), &i), ERR_NOENT);
    CHECK_EQ(tree_link(f.v, file, 999999999, N("x"), &i), ERR_NOENT);

    age(file);
    CHECK_EQ(tree_unlink(f.v, d, N("a"), &i), 0);
    CHECK_EQ(i.nlink, 1);
    CHECK_CHANGED(file, "c");
    CHECK_EQ(tree_unlink(f.v, e, N("b"), &i), 0);
    CHECK_EQ(i.nlink, 0);
    CHECK_EQ(tree_link(f.v, file, d, N("again"), &i), ERR_NOENT); /* it lost its last name */
    CHECK_EQ(get(file).nlink, 0); /* still there for who has it open */
    CHECK_EQ(tree_reap(f.v, file), 0);
    CHECK_EQ(tree_getattr(f.v, file, &i), ERR_NOENT);

    CHECK_EQ(tree_tmpfile(f.v, d, 0600, me, &i), 0);
    uint64_t t = i.ino;
    CHECK_EQ(i.nlink, 0);
    CHECK_EQ(i.mode, S_IFREG | 0600);
    CHECK_EQ(tree_link(f.v, t, d, N("named"), &i), 0);
    CHECK_EQ(i.nlink, 1);
    CHECK_EQ(tree_unlink(f.v, d, N("named"), &i), 0);
    CHECK_EQ(tree_link(f.v, t, d, N("named"), &i), ERR_NOENT);
    CHECK_EQ(tree_reap(f.v, t), 0);
    CHECK_EQ(tree_tmpfile(f.v, new_file(d, "notdir"), 0600, me, &i), ERR_NOTDIR);

    /* EMLINK: the count is what matters, so it is set near the limit directly */
    uint64_t many = new_file(d, "many");
    index_lock(f.ix);
    i = (struct inode){0};
    CHECK_EQ(index_inode_get(f.ix, many, &i), 0);
    CHECK_EQ(index_begin(f.ix, INDEX_LOCAL, 0), 0);
    i.nlink = 64999;
    CHECK_EQ(index_inode_put(f.ix, &i), 0);
    index_end(f.ix);
    index_unlock(f.ix);
    CHECK_EQ(tree_link(f.v, many, d, N("last"), &i), 0);
    CHECK_EQ(i.nlink, 65000);
    CHECK_EQ(tree_link(f.v, many, d, N("toomany"), &i), ERR_MLINK);
    CHECK_EQ(look(d, "toomany"), ERR_NOENT);
}

static void removal(void)
{
    uint64_t d = new_dir(INODE_ROOT, "removal"), sub = new_dir(d, "sub"), file = new_file(sub, "f");
    struct inode gone;
    CHECK_EQ(tree_unlink(f.v, d, N("sub"), &gone), ERR_ISDIR);
    CHECK_EQ(tree_unlink(f.v, d, N("none"), &gone), ERR_NOENT);
    CHECK_EQ(tree_unlink(f.v, file, N("x"), &gone), ERR_NOTDIR);
    CHECK_EQ(tree_rmdir(f.v, d, N("none"), &gone), ERR_NOENT);
    CHECK_EQ(tree_rmdir(f.v, sub, N("f"), &gone), ERR_NOTDIR);
    CHECK_EQ(tree_rmdir(f.v, file, N("x"), &gone), ERR_NOTDIR);
    CHECK_EQ(tree_rmdir(f.v, d, N("sub"), &gone), ERR_NOTEMPTY);
    CHECK_EQ(tree_rmdir(f.v, sub, N("."), &gone), ERR_INVAL);
    CHECK_EQ(tree_rmdir(f.v, sub, N(".."), &gone), ERR_NOTEMPTY);
    age(sub), age(file);
    CHECK_EQ(tree_unlink(f.v, sub, N("f"), &gone), 0);
    CHECK_EQ(gone.ino, file);
    CHECK_EQ(gone.nlink, 0);
    CHECK_CHANGED(file, "c");
    CHECK_CHANGED(sub, "mc");
    CHECK_EQ(tree_reap(f.v, file), 0);
    CHECK_EQ(tree_reap(f.v, file), 0); /* again: nothing to do */
    age(d);
    CHECK_EQ(get(d).nlink, 3);
    CHECK_EQ(tree_rmdir(f.v, d, N("sub"), &gone), 0);
    CHECK_EQ(gone.ino, sub);
    CHECK_EQ(gone.nlink, 0);
    CHECK_EQ(get(d).nlink, 2);
    CHECK_CHANGED(d, "mc");

    /* a removed directory that is still open takes nothing */
    CHECK_EQ(tree_mknod(f.v, sub, N("x"), S_IFREG, 0, me, &tmp), ERR_NOENT);
    CHECK_EQ(tree_mkdir(f.v, sub, N("x"), 0700, me, &tmp), ERR_NOENT);
    CHECK_EQ(tree_link(f.v, new_file(d, "k"), sub, N("x"), &tmp), ERR_NOENT);
    CHECK_EQ(ren(d, "k", sub, "x", 0), ERR_NOENT);
    CHECK_EQ(tree_reap(f.v, sub), 0);

    CHECK_EQ(tree_reap(f.v, d), 0); /* has a name: stays */
    CHECK_EQ(get(d).nlink, 2);
}

static void rename_errors(void)
{
    uint64_t d = new_dir(INODE_ROOT, "re"), full = new_dir(d, "full"), file = new_file(d, "file");
    uint64_t deep = new_dir(full, "deep");
    new_dir(d, "empty");
    new_file(full, "child");
    CHECK_EQ(ren(d, "none", d, "x", 0), ERR_NOENT);
    CHECK_EQ(ren(file, "a", d, "x", 0), ERR_NOTDIR);
    CHECK_EQ(ren(d, "file", file, "x", 0), ERR_NOTDIR);
    CHECK_EQ(ren(999999999, "a", d, "x", 0), ERR_NOENT);
    CHECK_EQ(ren(d, "file", 999999999, "x", 0), ERR_NOENT);
    CHECK_EQ(ren(d, "file", d, "empty", 0), ERR_ISDIR);
    CHECK_EQ(ren(d, "empty", d, "file", 0), ERR_NOTDIR);
    CHECK_EQ(ren(d, "empty", d, "full", 0), ERR_NOTEMPTY);
    CHECK_EQ(ren(d, "full", full, "x", 0), ERR_INVAL);
    CHECK_EQ(ren(d, "full", deep, "x", 0), ERR_INVAL);
    CHECK_EQ(ren(INODE_ROOT, "re", deep, "x", 0), ERR_INVAL);
    CHECK_EQ(ren(full, "deep", INODE_ROOT, "re", 0), ERR_NOTEMPTY);
    CHECK_EQ(ren(d, "full", full, "deep", RENAME_EXCHANGE), ERR_INVAL);
    CHECK_EQ(ren(full, "deep", d, "full", RENAME_EXCHANGE), ERR_INVAL);
    CHECK_EQ(ren(full, "child", d, "full", RENAME_EXCHANGE), ERR_INVAL);
    CHECK_EQ(ren(d, "file", d, "x", RENAME_EXCHANGE), ERR_NOENT);
    CHECK_EQ(ren(d, "file", d, "empty", RENAME_NOREPLACE), ERR_EXIST);
    CHECK_EQ(ren(d, "file", d, "file", RENAME_NOREPLACE), ERR_EXIST);
    CHECK_EQ(ren(d, "file", d, "x", RENAME_NOREPLACE | RENAME_EXCHANGE), ERR_INVAL);
    CHECK_EQ(ren(d, "file", d, "x", 4), ERR_INVAL);
    CHECK_EQ(ren(d, ".", d, "x", 0), ERR_INVAL);
    CHECK_EQ(ren(d, "file", d, "..", 0), ERR_INVAL);
    CHECK_EQ(get(d).nlink, 4);
    CHECK_EQ(look(d, "x"), ERR_NOENT);
}

static void rename_files(void)
{
    uint64_t d = new_dir(INODE_ROOT, "rf"), a = new_dir(d, "a"), b = new_dir(d, "b");
    uint64_t x = new_file(a, "x"), y = new_file(b, "y");
    age(a), age(b), age(x), age(y);
    CHECK_EQ(ren(a, "x", b, "y", 0), 0);
    CHECK_EQ(tmp.ino, y);
    CHECK_EQ(tmp.nlink, 0);
    CHECK_CHANGED(a, "mc");
    CHECK_CHANGED(b, "mc");
    CHECK_CHANGED(x, "c");
    CHECK_CHANGED(y, "c");
    CHECK_EQ(tree_reap(f.v, y), 0);
    CHECK_EQ(look(a, "x"), ERR_NOENT);
    CHECK_EQ(look(b, "y"), 0);
    CHECK_EQ(tmp.ino, x);
    CHECK_EQ(ren(b, "y", a, "free", RENAME_NOREPLACE), 0);
    CHECK_EQ(tmp.ino, 0);

    /* two names of one file: nothing happens, not even to the times */
    CHECK_EQ(tree_link(f.v, x, b, N("other"), &tmp), 0);
    age(a), age(b), age(x);
    CHECK_EQ(ren(a, "free", b, "other", 0), 0);
    CHECK_EQ(tmp.ino, 0);
    CHECK_EQ(look(a, "free"), 0);
    CHECK_EQ(look(b, "other"), 0);
    CHECK_EQ(ren(a, "free", a, "free", 0), 0);
    CHECK_CHANGED(a, "");
    CHECK_CHANGED(x, "");
    CHECK_EQ(get(x).nlink, 2);

    /* one of two names is replaced: the file stays with the other */
    new_file(a, "z");
    CHECK_EQ(ren(a, "z", b, "other", 0), 0);
    CHECK_EQ(tmp.ino, x);
    CHECK_EQ(tmp.nlink, 1);
    CHECK_EQ(get(x).nlink, 1);
}

static void rename_dirs(void)
{
    uint64_t d = new_dir(INODE_ROOT, "rd"), a = new_dir(d, "a"), b = new_dir(d, "b");
    uint64_t m = new_dir(a, "m"), e = new_dir(b, "e");
    new_file(m, "inside");
    CHECK_EQ(ren(a, "m", b, "m2", 0), 0);
    CHECK_EQ(get(a).nlink, 2);
    CHECK_EQ(get(b).nlink, 4);
    CHECK_EQ(get(m).parent, b);
    CHECK_EQ(look(m, ".."), 0);
    CHECK_EQ(tmp.ino, b);
    /* over an empty one in the same directory */
    CHECK_EQ(ren(b, "m2", b, "e", 0), 0);
    CHECK_EQ(tmp.ino, e);
    CHECK_EQ(tmp.nlink, 0);
    CHECK_EQ(get(b).nlink, 3);
    CHECK_EQ(tree_reap(f.v, e), 0);
    CHECK_EQ(look(m, "inside"), 0);
    /* over an empty one in another */
    new_dir(a, "t");
    CHECK_EQ(ren(b, "e", a, "t", 0), 0);
    CHECK_EQ(tree_reap(f.v, tmp.ino), 0);
    CHECK_EQ(get(a).nlink, 3);
    CHECK_EQ(get(b).nlink, 2);
    CHECK_EQ(get(m).parent, a);
}

static void exchange(void)
{
    uint64_t d = new_dir(INODE_ROOT, "ex"), a = new_dir(d, "a"), b = new_dir(d, "b");
    uint64_t dir = new_dir(a, "dir"), file = new_file(b, "file"), dir2 = new_dir(b, "dir2");
    age(a), age(b), age(dir), age(file);
    CHECK_EQ(ren(a, "dir", b, "file", RENAME_EXCHANGE), 0);
    CHECK_EQ(tmp.ino, 0);
    CHECK_CHANGED(a, "mc");
    CHECK_CHANGED(b, "mc");
    CHECK_CHANGED(dir, "c");
    CHECK_CHANGED(file, "c");
    CHECK_EQ(look(a, "dir"), 0);
    CHECK_EQ(tmp.ino, file);
    CHECK_EQ(look(b, "file"), 0);
    CHECK_EQ(tmp.ino, dir);
    CHECK_EQ(get(a).nlink, 2);
    CHECK_EQ(get(b).nlink, 4);
    CHECK_EQ(get(dir).parent, b);
    /* two directories of different parents */
    CHECK_EQ(ren(b, "dir2", d, "a", RENAME_EXCHANGE), 0);
    CHECK_EQ(get(dir2).parent, d);
    CHECK_EQ(get(a).parent, b);
    CHECK_EQ(get(d).nlink, 4);
    CHECK_EQ(get(b).nlink, 4);
    /* in one directory */
    CHECK_EQ(ren(b, "dir2", b, "file", RENAME_EXCHANGE), 0);
    CHECK_EQ(look(b, "dir2"), 0);
    CHECK_EQ(tmp.ino, dir);
    CHECK_EQ(get(b).nlink, 4);
}

static void attributes(void)
{
    uint64_t d = new_dir(INODE_ROOT, "attr"), file = new_file(d, "f");
    struct inode
        in = {.mode = 0640, .uid = 5, .gid = 6, .atime = 11, .mtime = -12, .ctime = 13, .size = 77},
        out;
    age(file);
    CHECK_EQ(tree_setattr(f.v, file, TREE_MODE, &in, &out), 0);
    CHECK_EQ(out.mode, S_IFREG | 0640);
    CHECK_CHANGED(file, "c");
    CHECK_EQ(tree_setattr(f.v, file, TREE_UID | TREE_GID, &in, &out), 0);
    CHECK(out.uid == 5 && out.gid == 6);
    CHECK_EQ(tree_setattr(f.v, file, TREE_ATIME | TREE_MTIME, &in, &out), 0);
    CHECK(out.atime == 11 && out.mtime == -12 && out.ctime > OLD);
    CHECK_EQ(tree_setattr(f.v, file, TREE_CTIME, &in, &out), 0);
    CHECK_EQ(out.ctime, 13);
    age(file);
    CHECK_EQ(tree_setattr(f.v, file, TREE_SIZE, &in, &out), 0);
    CHECK_EQ(out.size, 77);
    CHECK_EQ(out.stored, 0);
    CHECK_CHANGED(file, "mc");
    CHECK_EQ(tree_setattr(f.v, file, TREE_SIZE | TREE_MTIME, &in, &out), 0);
    CHECK_EQ(out.mtime, -12);
    CHECK_EQ(tree_setattr(f.v, d, TREE_SIZE, &in, &out), ERR_ISDIR);
    CHECK_EQ(tree_mknod(f.v, d, N("fifo"), S_IFIFO | 0600, 0, me, &tmp), 0);
    CHECK_EQ(tree_setattr(f.v, tmp.ino, TREE_SIZE, &in, &out), ERR_INVAL);
    in.size = (uint64_t)INT64_MAX + 1;
    CHECK_EQ(tree_setattr(f.v, file, TREE_SIZE, &in, &out), ERR_FBIG);
    in.size = INT64_MAX;
    CHECK_EQ(tree_setattr(f.v, file, TREE_SIZE, &in, &out), 0);
    CHECK_EQ(tree_setattr(f.v, 999999999, TREE_MODE, &in, &out), ERR_NOENT);

    in.mode = 06755;
    CHECK_EQ(tree_setattr(f.v, file, TREE_MODE, &in, &out), 0);
    CHECK_EQ(tree_setxattr(f.v, file, "security.capability", "c", 1, 0), 0);
    CHECK_EQ(tree_setattr(f.v, file, TREE_KILL_PRIV, &in, &out), 0);
    CHECK_EQ(out.mode, S_IFREG | 0755);
    struct bytes_out value;
    bytes_out_init(&value);
    CHECK_EQ(tree_getxattr(f.v, file, "security.capability", &value), ERR_NODATA);
    bytes_out_release(&value);
    in.mode = 02745; /* set-group-ID without group execution is no privilege */
    CHECK_EQ(tree_setattr(f.v, file, TREE_MODE, &in, &out), 0);
    CHECK_EQ(tree_setattr(f.v, file, TREE_KILL_PRIV, &in, &out), 0);
    CHECK_EQ(out.mode, S_IFREG | 02745);
    in.mode = 06755;
    CHECK_EQ(tree_setattr(f.v, d, TREE_MODE | TREE_KILL_PRIV, &in, &out), 0);
    CHECK_EQ(out.mode, S_IFDIR | 06755);
}

struct listing {
    char names[4000][16];
    uint64_t cookies[4000];
    size_t n, stop_at;
};

static int list_one(void *ctx, const char *name, size_t len, uint64_t cookie,
                    const struct inode *inode)
{
    struct listing *l = ctx;
    CHECK(len < 16 && inode->ino != 0 && inode->nlink > 0);
    snprintf(l->names[l->n], 16, "%.*s", (int)len, name);
    l->cookies[l->n++] = cookie;
    return l->n == l->stop_at;
}

static void readdir(void)
{
    static struct listing all, part;
    static bool seen[1000];
    uint64_t d = new_dir(INODE_ROOT, "list");
    char name[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        new_file(d, name);
    }
    CHECK_EQ(tree_readdir(f.v, d, 0, list_one, &all), 0);
    CHECK_EQ(all.n, 1002);
    CHECK(strcmp(all.names[0], ".") == 0 && all.cookies[0] == 1);
    CHECK(strcmp(all.names[1], "..") == 0 && all.cookies[1] == 2);
    bool rising = true;
    for (size_t i = 2; i < all.n; i++) {
        rising = rising && all.cookies[i] > all.cookies[i - 1];
        seen[atoi(all.names[i] + 1)] = true;
    }
    CHECK(rising);
    int distinct = 0;
    for (int i = 0; i < 1000; i++)
        distinct += seen[i];
    CHECK_EQ(distinct, 1000);

    /* from any cookie on, also one whose entry is gone, the rest comes, once each */
    CHECK_EQ(tree_unlink(f.v, d, all.names[500], strlen(all.names[500]), &tmp), 0);
    CHECK_EQ(tree_readdir(f.v, d, all.cookies[500], list_one, &part), 0);
    CHECK_EQ(part.n, 501);
    CHECK(strcmp(part.names[0], all.names[501]) == 0);
    part.n = 0;
    part.stop_at = 37;
    CHECK_EQ(tree_readdir(f.v, d, 1, list_one, &part), 0);
    CHECK_EQ(part.n, 37);
    CHECK(strcmp(part.names[0], "..") == 0);
    part.n = part.stop_at = 0;
    CHECK_EQ(tree_readdir(f.v, d, UINT64_MAX >> 1, list_one, &part), 0);
    CHECK_EQ(part.n, 0);
    CHECK_EQ(tree_readdir(f.v, new_file(d, "file"), 0, list_one, &part), ERR_NOTDIR);
    CHECK_EQ(tree_readdir(f.v, 999999999, 0, list_one, &part), ERR_NOENT);

    uint64_t e = new_dir(d, "e");
    CHECK_EQ(tree_readdir(f.v, e, 0, list_one, &part), 0);
    CHECK_EQ(part.n, 2);
    part.n = 0;
    CHECK_EQ(tree_rmdir(f.v, d, N("e"), &tmp), 0);
    CHECK_EQ(tree_readdir(f.v, e, 0, list_one, &part), 0);
    CHECK_EQ(part.n, 0);
}

static void xattrs(void)
{
    uint64_t file = new_file(INODE_ROOT, "xattr");
    struct bytes_out b;
    bytes_out_init(&b);
    age(file);
    CHECK_EQ(tree_getxattr(f.v, file, "user.a", &b), ERR_NODATA);
    CHECK_EQ(tree_setxattr(f.v, file, "user.a", "1", 1, XATTR_REPLACE), ERR_NODATA);
    CHECK_CHANGED(file, "");
    CHECK_EQ(tree_setxattr(f.v, file, "user.a", "1", 1, XATTR_CREATE), 0);
    CHECK_CHANGED(file, "c");
    CHECK_EQ(tree_setxattr(f.v, file, "user.a", "2", 1, XATTR_CREATE), ERR_EXIST);
    CHECK_EQ(tree_setxattr(f.v, file, "user.a", "22", 2, XATTR_REPLACE), 0);
    CHECK_EQ(tree_getxattr(f.v, file, "user.a", &b), 0);
    CHECK(b.len == 2 && memcmp(b.p, "22", 2) == 0);
    CHECK_EQ(tree_setxattr(f.v, file, "user.a", "3", 1, 8), ERR_INVAL);
    CHECK_EQ(tree_setxattr(f.v, file, "user.empty", "", 0, 0), 0);
    bytes_out_reset(&b);
    CHECK_EQ(tree_getxattr(f.v, file, "user.empty", &b), 0);
    CHECK_EQ(b.len, 0);

    char *big = calloc(1, XATTR_SIZE_LIMIT + 1), name[300];
    CHECK_EQ(tree_setxattr(f.v, file, "user.big", big, XATTR_SIZE_LIMIT, 0), 0);
    CHECK_EQ(tree_setxattr(f.v, file, "user.big", big, XATTR_SIZE_LIMIT + 1, 0), ERR_TOOBIG);
    free(big);
    memset(name, 'n', sizeof(name));
    memcpy(name, "user.", 5);
    name[256] = 0;
    CHECK_EQ(tree_setxattr(f.v, file, name, "", 0, 0), ERR_RANGE);
    name[255] = 0;
    CHECK_EQ(tree_setxattr(f.v, file, name, "", 0, 0), 0);
    CHECK_EQ(tree_setxattr(f.v, file, "", "", 0, 0), ERR_RANGE);
    CHECK_EQ(tree_setxattr(f.v, file, "user.", "", 0, 0), ERR_INVAL);
    CHECK_EQ(tree_setxattr(f.v, file, "system.posix_acl_access", "", 0, 0), ERR_NOTSUP);
    CHECK_EQ(tree_getxattr(f.v, file, "system.posix_acl_access", &b), ERR_NOTSUP);
    CHECK_EQ(tree_setxattr(f.v, file, "trusted.t", "t", 1, 0), 0);
    CHECK_EQ(tree_setxattr(f.v, 999999999, "user.a", "", 0, 0), ERR_NOENT);

    bytes_out_reset(&b);
    CHECK_EQ(tree_listxattr(f.v, file, &b), 0);
    CHECK_EQ(b.len, 7 + 11 + 9 + 256 + 10);
    CHECK(b.len && memmem(b.p, b.len, "user.empty", 11) != NULL);
    age(file);
    CHECK_EQ(tree_removexattr(f.v, file, "user.none"), ERR_NODATA);
    CHECK_CHANGED(file, "");
    CHECK_EQ(tree_removexattr(f.v, file, "user.a"), 0);
    CHECK_CHANGED(file, "c");
    CHECK_EQ(tree_getxattr(f.v, file, "user.a", &b), ERR_NODATA);

    /* all names together stay listable: the kernel takes 64 KiB */
    uint64_t many = new_file(INODE_ROOT, "manyxattr");
    int err = 0, n = 0;
    for (; !err && n < 1000; n++) {
        snprintf(name, sizeof(name), "user.%0240d", n);
        err = tree_setxattr(f.v, many, name, "v", 1, 0);
    }
    CHECK_EQ(err, ERR_NOSPACE);
    CHECK_EQ(n - 1, 65536 / 246);
    bytes_out_release(&b);
}

static void paths(void)
{
    struct bytes_out b;
    bytes_out_init(&b);
    uint64_t d = new_dir(new_dir(INODE_ROOT, "p"), "q"), file = new_file(d, "r");
    CHECK_EQ(tree_path(f.v, file, &b), 0);
    CHECK(b.len == 5 && memcmp(b.p, "p/q/r", 5) == 0);
    bytes_out_reset(&b);
    CHECK_EQ(tree_path(f.v, d, &b), 0);
    CHECK(b.len == 3 && memcmp(b.p, "p/q", 3) == 0);
    bytes_out_reset(&b);
    CHECK_EQ(tree_path(f.v, INODE_ROOT, &b), 0);
    CHECK_EQ(b.len, 0);
    CHECK_EQ(tree_path(f.v, 999999999, &b), ERR_NOENT);
    CHECK_EQ(tree_unlink(f.v, d, N("r"), &tmp), 0);
    CHECK_EQ(tree_path(f.v, file, &b), ERR_NOENT);
    bytes_out_release(&b);
}

/* What a crash left open is reaped at the next mount, and only that. */
static void orphans(void)
{
    uint64_t d = new_dir(INODE_ROOT, "orphans"), file = new_file(d, "f"),
             keep = new_file(d, "keep");
    CHECK_EQ(tree_unlink(f.v, d, N("f"), &tmp), 0);
    CHECK_EQ(tree_tmpfile(f.v, d, 0600, me, &tmp), 0);
    uint64_t t = tmp.ino;
    fixture_reopen(&f);
    CHECK_EQ(get(file).nlink, 0);
    CHECK_EQ(tree_reap_all(f.v), 0);
    CHECK_EQ(tree_getattr(f.v, file, &tmp), ERR_NOENT);
    CHECK_EQ(tree_getattr(f.v, t, &tmp), ERR_NOENT);
    CHECK_EQ(get(keep).nlink, 1);
}

static unsigned told;

static void count_change(void *ctx)
{
    told++;
}

/* Sync is told of what succeeded, and of nothing else. */
static void sync_is_told(void)
{
    struct vault_fetcher fetcher = {.changed = count_change};
    vault_set_fetcher(f.v, &fetcher);
    uint64_t file = new_file(INODE_ROOT, "told");
    CHECK_EQ(told, 1);
    CHECK_EQ(tree_mknod(f.v, INODE_ROOT, N("told"), S_IFREG, 0, me, &tmp), ERR_EXIST);
    CHECK_EQ(look(INODE_ROOT, "told"), 0);
    CHECK_EQ(told, 1);
    CHECK_EQ(tree_setxattr(f.v, file, "user.x", "", 0, 0), 0);
    CHECK_EQ(ren(INODE_ROOT, "told", INODE_ROOT, "told2", 0), 0);
    CHECK_EQ(tree_unlink(f.v, INODE_ROOT, N("told2"), &tmp), 0);
    CHECK_EQ(told, 4);
    vault_set_fetcher(f.v, NULL);
}

static void read_only(void)
{
    uint64_t d = new_dir(INODE_ROOT, "ro"), file = new_file(d, "f");
    CHECK_EQ(tree_setxattr(f.v, file, "user.x", "", 0, 0), 0);
    fixture_close(&f);
    fixture_open(&f, VAULT_READ_ONLY);
    struct inode in = {.mode = 0600};
    CHECK_EQ(look(d, "f"), 0);
    CHECK_EQ(tree_mknod(f.v, d, N("x"), S_IFREG, 0, me, &tmp), ERR_ROFS);
    CHECK_EQ(tree_mkdir(f.v, d, N("x"), 0700, me, &tmp), ERR_ROFS);
    CHECK_EQ(tree_symlink(f.v, d, N("x"), "t", me, &tmp), ERR_ROFS);
    CHECK_EQ(tree_tmpfile(f.v, d, 0600, me, &tmp), ERR_ROFS);
    CHECK_EQ(tree_link(f.v, file, d, N("x"), &tmp), ERR_ROFS);
    CHECK_EQ(tree_unlink(f.v, d, N("f"), &tmp), ERR_ROFS);
    CHECK_EQ(tree_rmdir(f.v, INODE_ROOT, N("symlinks"), &tmp), ERR_NOTEMPTY);
    CHECK_EQ(ren(d, "f", d, "x", 0), ERR_ROFS);
    CHECK_EQ(tree_setattr(f.v, file, TREE_MODE, &in, &tmp), ERR_ROFS);
    CHECK_EQ(tree_setxattr(f.v, file, "user.y", "", 0, 0), ERR_ROFS);
    CHECK_EQ(tree_removexattr(f.v, file, "user.x"), ERR_ROFS);
    CHECK_EQ(tree_reap(f.v, file), 0);
    CHECK_EQ(tree_reap_all(f.v), 0);
    CHECK_EQ(look(d, "f"), 0);
}

int main(void)
{
    fixture_make(&f);
    names();
    lookup_and_getattr();
    make();
    symlinks();
    links();
    removal();
    rename_errors();
    rename_files();
    rename_dirs();
    exchange();
    attributes();
    readdir();
    xattrs();
    paths();
    orphans();
    sync_is_told();
    read_only();
    fixture_remove(&f);
    return check_done();
}
