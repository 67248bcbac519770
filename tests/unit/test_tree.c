/* tree: POSIX semantics of names, operation by operation and error by error, and the times they change. */
#include "tree_fixture.h"

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
    fixture_remove(&f);
    return check_done();
}
