#include "fs/tree.h"

#include "crypto/err.h"
#include "fs/tree_op.h"

int tree_getattr(struct vault *v, uint64_t ino, struct inode *out)
{
    struct index *ix = vault_index(v);
    index_lock(ix);
    int err = index_inode_get(ix, ino, out);
    index_unlock(ix);
    return err;
}

void tree_accessed(struct vault *v, uint64_t ino)
{
    struct index *ix = vault_index(v);

    if (vault_read_only(v))
        return;
    index_lock(ix);
    index_accessed(ix, ino, tree_op_now());
    index_unlock(ix);
}

static int setattr_check(struct index *ix, uint64_t ino, unsigned what, const struct inode *in,
                         struct inode *inode)
{
    if (!(what & TREE_SIZE))
        return index_inode_get(ix, ino, inode);
    int err = tree_op_file(ix, ino, inode);
    if (err)
        return err;
    return in->size > FILE_SIZE_MAX ? ERR_FBIG : ERR_OK;
}

static void set_fields(struct inode *inode, unsigned what, const struct inode *in)
{
    int64_t now = tree_op_now();

    if (what & TREE_MODE)
        inode->mode = (inode->mode & S_IFMT) | (in->mode & 07777);
    if (what & TREE_UID)
        inode->uid = in->uid;
    if (what & TREE_GID)
        inode->gid = in->gid;
    if (what & TREE_SIZE) {
        inode->size = in->size;
        inode->mtime = now;
        inode->dirty |= DIRTY_CONTENT;
    }
    if (what & TREE_ATIME)
        inode->atime = in->atime;
    if (what & TREE_MTIME)
        inode->mtime = in->mtime;
    inode->ctime = what & TREE_CTIME ? in->ctime : now;
    inode->dirty |= what & (TREE_MODE | TREE_UID | TREE_GID) ? DIRTY_ATTR : DIRTY_TIMES;
}

static int setattr_change(struct index *ix, unsigned what, const struct inode *in,
                          struct inode *inode)
{
    uint64_t old_size = inode->size;
    set_fields(inode, what, in);
    int err = what & TREE_KILL_PRIV ? tree_op_kill_priv(ix, inode) : ERR_OK;
    /* before the map: punching counts `stored` in the stored inode down */
    if (!err)
        err = index_inode_put(ix, inode);
    if (!err && inode->size < old_size) {
        err = index_map_punch(ix, inode->ino, inode->size, UINT64_MAX);
        if (!err)
            err = index_inode_get(ix, inode->ino, inode);
    }
    return err;
}

static int try_setattr(struct vault *v, uint64_t ino, unsigned what, const struct inode *in,
                       struct inode *out, bool *shrinks)
{
    struct index *ix = vault_index(v);

    index_lock(ix);
    int err = setattr_check(ix, ino, what, in, out);
    if (!err)
        *shrinks = what & TREE_SIZE && in->size < out->size;
    err = tree_op_begin_checked(v, err, *shrinks, 0);
    if (err)
        return err;
    return tree_op_end(v, setattr_change(ix, what, in, out));
}

int tree_setattr(struct vault *v, uint64_t ino, unsigned what, const struct inode *in,
                 struct inode *out)
{
    unsigned tries = 0;
    bool shrinks = false;
    int err;
    do
        err = try_setattr(v, ino, what, in, out, &shrinks);
    while (tree_op_more_room(v, err, shrinks, &tries));
    return err;
}
