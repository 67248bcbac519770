/* tree: attributes, listings and xattrs; what has lost its name; what sync is told; a mount that is read only. */
#include "tree_fixture.h"

#include <sys/xattr.h>

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
    CHECK_EQ(tree_rmdir(f.v, INODE_ROOT, N("ro"), &tmp), ERR_NOTEMPTY);
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
