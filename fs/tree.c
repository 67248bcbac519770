#include "fs/tree.h"

#include "crypto/err.h"
#include "fs/tree_op.h"

#include <stdlib.h>
#include <string.h>

static bool is_dot(const char *name, size_t len)
{
    return len == 1 && name[0] == '.';
}

static bool is_dotdot(const char *name, size_t len)
{
    return len == 2 && name[0] == '.' && name[1] == '.';
}

static int lookup_locked(struct index *ix, uint64_t parent, const char *name, size_t len,
                         struct inode *out)
{
    struct inode dir;
    int err;

    if (is_dot(name, len) || is_dotdot(name, len)) {
        err = tree_op_dir(ix, parent, false, &dir);
        return err ? err : index_inode_get(ix, len == 1 ? parent : dir.parent, out);
    }
    err = tree_op_name(name, len);
    if (err)
        return err;
    struct entry entry;
    err = index_entry_get(ix, parent, name, len, &entry);
    if (!err)
        return index_inode_get(ix, entry.ino, out);
    /* only now, so that the usual case is one query less: was it a directory at all? */
    int dir_err = err == ERR_NOENT ? tree_op_dir(ix, parent, false, &dir) : ERR_OK;
    return dir_err ? dir_err : err;
}

int tree_lookup(struct vault *v, uint64_t parent, const char *name, size_t len, struct inode *out)
{
    struct index *ix = vault_index(v);
    index_lock(ix);
    int err = lookup_locked(ix, parent, name, len, out);
    index_unlock(ix);
    return err;
}

/* ---- making inodes ---- */

struct making {
    struct vault *v;
    struct index *ix;
    uint64_t parent;
    const char *name; /* NULL: without a name */
    size_t len;
    const char *target; /* symlinks */
    struct inode *out;
};

/* Everything that can refuse, before anything changes. */
static int make_check(const struct making *m, struct inode *dir)
{
    int err = tree_op_dir(m->ix, m->parent, true, dir);
    if (err || !m->name)
        return err;
    if (is_dot(m->name, m->len) || is_dotdot(m->name, m->len))
        return ERR_EXIST;
    err = tree_op_name(m->name, m->len);
    if (err)
        return err;
    struct entry there;
    err = index_entry_get(m->ix, m->parent, m->name, m->len, &there);
    if (!err)
        return ERR_EXIST;
    if (err != ERR_NOENT)
        return err;
    return S_ISDIR(m->out->mode) && dir->nlink >= TREE_OP_DIR_LINKS_MAX ? ERR_MLINK : ERR_OK;
}

static int put_entry(struct index *ix, uint64_t parent, const char *name, size_t len,
                     const struct inode *inode)
{
    struct entry entry = {.parent = parent,
                          .ino = inode->ino,
                          .type = inode->mode & S_IFMT,
                          .dirty = true,
                          .name_len = (uint8_t)len};
    memcpy(entry.name, name, len);
    return index_entry_put(ix, &entry);
}

static int make_change(const struct making *m, struct inode *dir)
{
    struct inode *new = m->out;
    int64_t now = tree_op_now();
    new->atime = new->mtime = new->ctime = new->btime = now;
    new->dirty = DIRTY_ATTR;
    if (dir->mode & S_ISGID) {
        new->gid = dir->gid;
        if (S_ISDIR(new->mode))
            new->mode |= S_ISGID;
    }
    if (S_ISDIR(new->mode)) {
        new->parent = m->parent;
        dir->nlink++;
    }
    int err = index_inode_new(m->ix, &new->ino);
    if (!err)
        err = index_inode_put(m->ix, new);
    if (!err && m->target)
        err = index_target_put(m->ix, new->ino, m->target, new->size);
    if (!err && m->name)
        err = put_entry(m->ix, m->parent, m->name, m->len, new);
    if (!err && m->name)
        err = tree_op_dir_changed(m->ix, dir, now);
    return err;
}

/* m->out holds mode, owner, rdev, size and nlink; the rest is filled in. */
static int try_make(const struct making *m)
{
    struct inode dir;
    index_lock(m->ix);
    int err = make_check(m, &dir);
    err = tree_op_begin_checked(m->v, err, false, m->target ? m->out->size + 4096 : 0);
    if (err)
        return err;
    return tree_op_end(m->v, make_change(m, &dir));
}

static int make(const struct making *m)
{
    unsigned tries = 0;
    int err;
    do
        err = try_make(m);
    while (tree_op_more_room(m->v, err, false, &tries));
    return err;
}

int tree_mknod(struct vault *v, uint64_t parent, const char *name, size_t len, uint32_t mode,
               uint32_t rdev, struct tree_cred cred, struct inode *out)
{
    uint32_t type = mode & S_IFMT ? mode & S_IFMT : S_IFREG;
    if (type == S_IFDIR || type == S_IFLNK)
        return ERR_INVAL;
    bool device = type == S_IFCHR || type == S_IFBLK;
    *out = (struct inode){.mode = type | (mode & 07777),
                          .nlink = 1,
                          .uid = cred.uid,
                          .gid = cred.gid,
                          .rdev = device ? rdev : 0};
    return make(&(struct making){v, vault_index(v), parent, name, len, NULL, out});
}

int tree_mkdir(struct vault *v, uint64_t parent, const char *name, size_t len, uint32_t mode,
               struct tree_cred cred, struct inode *out)
{
    *out = (struct inode){
        .mode = S_IFDIR | (mode & 07777), .nlink = 2, .uid = cred.uid, .gid = cred.gid};
    return make(&(struct making){v, vault_index(v), parent, name, len, NULL, out});
}

int tree_symlink(struct vault *v, uint64_t parent, const char *name, size_t len, const char *target,
                 struct tree_cred cred, struct inode *out)
{
    size_t target_len = strlen(target);
    if (target_len == 0)
        return ERR_NOENT;
    if (target_len > TARGET_LEN_MAX)
        return ERR_NAMETOOLONG;
    *out = (struct inode){
        .mode = S_IFLNK | 0777, .nlink = 1, .uid = cred.uid, .gid = cred.gid, .size = target_len};
    return make(&(struct making){v, vault_index(v), parent, name, len, target, out});
}

/* A file without a name that may still get one is told from one that lost its last by its `parent`, which files do
 * not use otherwise: the kernel keeps that difference only while it caches the inode. */
int tree_tmpfile(struct vault *v, uint64_t parent, uint32_t mode, struct tree_cred cred,
                 struct inode *out)
{
    *out = (struct inode){.mode = S_IFREG | (mode & 07777),
                          .nlink = 0,
                          .uid = cred.uid,
                          .gid = cred.gid,
                          .parent = parent};
    return make(&(struct making){v, vault_index(v), parent, NULL, 0, NULL, out});
}

static int link_check(struct index *ix, uint64_t ino, uint64_t parent, const char *name, size_t len,
                      struct inode *dir, struct inode *inode)
{
    int err = tree_op_dir(ix, parent, true, dir);
    if (!err)
        err = index_inode_get(ix, ino, inode);
    if (err)
        return err;
    if (S_ISDIR(inode->mode))
        return ERR_PERM;
    if (is_dot(name, len) || is_dotdot(name, len))
        return ERR_EXIST;
    err = tree_op_name(name, len);
    if (err)
        return err;
    struct entry there;
    err = index_entry_get(ix, parent, name, len, &there);
    if (!err)
        return ERR_EXIST;
    if (err != ERR_NOENT)
        return err;
    if (inode->nlink == 0 && inode->parent == 0)
        return ERR_NOENT;
    return inode->nlink >= TREE_OP_LINKS_MAX ? ERR_MLINK : ERR_OK;
}

int tree_link(struct vault *v, uint64_t ino, uint64_t parent, const char *name, size_t len,
              struct inode *out)
{
    struct index *ix = vault_index(v);
    struct inode dir;

    index_lock(ix);
    int err = link_check(ix, ino, parent, name, len, &dir, out);
    err = tree_op_begin_checked(v, err, false, 0);
    if (err)
        return err;
    int64_t now = tree_op_now();
    out->nlink++;
    out->parent = 0;
    out->ctime = now;
    out->dirty |= DIRTY_TIMES;
    err = index_inode_put(ix, out);
    if (!err)
        err = put_entry(ix, parent, name, len, out);
    if (!err)
        err = tree_op_dir_changed(ix, &dir, now);
    return tree_op_end(v, err);
}

/* ---- taking names away ---- */

static int remove_check(struct index *ix, uint64_t parent, const char *name, size_t len,
                        bool want_dir, struct inode *dir, struct inode *gone)
{
    int err = tree_op_dir(ix, parent, false, dir);
    if (err)
        return err;
    if (is_dotdot(name, len) && want_dir)
        return ERR_NOTEMPTY;
    err = tree_op_name(name, len);
    if (err)
        return err;
    struct entry entry;
    err = index_entry_get(ix, parent, name, len, &entry);
    if (!err)
        err = index_inode_get(ix, entry.ino, gone);
    if (err)
        return err;
    if (!want_dir)
        return S_ISDIR(gone->mode) ? ERR_ISDIR : ERR_OK;
    if (!S_ISDIR(gone->mode))
        return ERR_NOTDIR;
    bool any;
    err = index_entry_any(ix, gone->ino, &any);
    if (err)
        return err;
    return any ? ERR_NOTEMPTY : ERR_OK;
}

static int try_remove(struct vault *v, uint64_t parent, const char *name, size_t len, bool want_dir,
                      struct inode *gone)
{
    struct index *ix = vault_index(v);
    struct inode dir;

    index_lock(ix);
    int err = remove_check(ix, parent, name, len, want_dir, &dir, gone);
    err = tree_op_begin_checked(v, err, true, 0);
    if (err)
        return err;
    int64_t now = tree_op_now();
    if (want_dir) {
        gone->nlink = 0;
        dir.nlink--;
    } else {
        gone->nlink--;
    }
    gone->ctime = now;
    gone->dirty |= DIRTY_TIMES;
    err = index_entry_del(ix, parent, name, len);
    if (!err)
        err = index_inode_put(ix, gone);
    if (!err)
        err = tree_op_dir_changed(ix, &dir, now);
    return tree_op_end(v, err);
}

static int remove_name(struct vault *v, uint64_t parent, const char *name, size_t len,
                       bool want_dir, struct inode *gone)
{
    unsigned tries = 0;
    int err;
    do
        err = try_remove(v, parent, name, len, want_dir, gone);
    while (tree_op_more_room(v, err, true, &tries));
    return err;
}

int tree_unlink(struct vault *v, uint64_t parent, const char *name, size_t len, struct inode *gone)
{
    return remove_name(v, parent, name, len, false, gone);
}

int tree_rmdir(struct vault *v, uint64_t parent, const char *name, size_t len, struct inode *gone)
{
    return remove_name(v, parent, name, len, true, gone);
}

static int try_reap(struct vault *v, uint64_t ino)
{
    struct index *ix = vault_index(v);
    struct inode inode;

    index_lock(ix);
    int err = index_inode_get(ix, ino, &inode);
    bool full = false, reap = !err && inode.nlink == 0 && ino != INODE_ROOT && !vault_read_only(v);
    /* A folder that lost its name by sync, with something in it, waits for another. */
    if (reap && S_ISDIR(inode.mode))
        err = index_entry_any(ix, ino, &full);
    reap = reap && !full;
    if (!err && reap)
        err = tree_op_begin(v, true, 0);
    if (!reap || err) {
        index_unlock(ix);
        return err == ERR_NOENT ? ERR_OK : err;
    }
    return tree_op_end(v, index_inode_del(ix, ino));
}

int tree_reap(struct vault *v, uint64_t ino)
{
    unsigned tries = 0;
    int err;
    do
        err = try_reap(v, ino);
    while (tree_op_more_room(v, err, true, &tries));
    return err;
}

static int collect_orphan(void *ctx, uint64_t ino)
{
    bytes_put_u64(ctx, ino);
    return 0;
}

int tree_reap_all(struct vault *v)
{
    struct index *ix = vault_index(v);
    struct bytes_out found;

    bytes_out_init(&found);
    index_lock(ix);
    int err = index_orphans(ix, collect_orphan, &found);
    index_unlock(ix);
    if (!err && found.bad)
        err = ERR_NOMEM;
    for (size_t i = 0; !err && i + 8 <= found.len; i += 8)
        err = tree_reap(v, bytes_from_le64(found.p + i));
    bytes_out_release(&found);
    return err;
}

int tree_readlink(struct vault *v, uint64_t ino, char *target, size_t size, size_t *len)
{
    struct index *ix = vault_index(v);
    struct inode inode;

    index_lock(ix);
    int err = index_inode_get(ix, ino, &inode);
    if (!err && !S_ISLNK(inode.mode))
        err = ERR_INVAL;
    if (!err)
        err = index_target_get(ix, ino, target, size, len);
    index_unlock(ix);
    return err;
}
