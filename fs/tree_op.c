#include "fs/tree_op.h"

#include "crypto/err.h"

#include <string.h>
#include <time.h>

#define TRIES 2u
#define WORTH (256u << 10) /* dead bytes, from which on a checkpoint is likely to give room back */

int64_t tree_op_now(void)
{
    struct timespec ts;
    /* The kernel takes the times of cached writes by its clock of ticks. By a finer one, what we stamp would look newer
     * than what is written after it. */
    clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int tree_op_name(const char *name, size_t len)
{
    if (len == 0)
        return ERR_NOENT;
    if (len > NAME_LEN_MAX)
        return ERR_NAMETOOLONG;
    if (memchr(name, '/', len) || memchr(name, '\0', len))
        return ERR_INVAL;
    if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
        return ERR_INVAL;
    return ERR_OK;
}

int tree_op_begin(struct vault *v, bool frees, size_t room)
{
    if (vault_read_only(v))
        return ERR_ROFS;
    return index_begin(vault_index(v), frees ? INDEX_LOCAL | INDEX_FREES : INDEX_LOCAL, room);
}

int tree_op_begin_checked(struct vault *v, int err, bool frees, size_t room)
{
    if (!err)
        err = tree_op_begin(v, frees, room);
    if (err)
        index_unlock(vault_index(v));
    return err;
}

bool tree_op_more_room(struct vault *v, int err, bool frees, unsigned *tries)
{
    struct index *ix = vault_index(v);
    if (err != ERR_NOSPACE || *tries == TRIES)
        return false;
    /* Only what frees may go on in the reserves, so for that it is always worth it. */
    if (!frees && (index_full(ix) || index_reclaimable(ix) < WORTH))
        return false;
    ++*tries;
    return vault_checkpoint(v) == ERR_OK;
}

int tree_op_end(struct vault *v, int err)
{
    index_end(vault_index(v));
    index_unlock(vault_index(v));
    const struct vault_fetcher *sync = vault_fetcher(v);
    if (!err && sync && sync->changed)
        sync->changed(sync->ctx);
    return err;
}

int tree_op_dir(struct index *ix, uint64_t ino, bool live, struct inode *dir)
{
    int err = index_inode_get(ix, ino, dir);
    if (err)
        return err;
    if (!S_ISDIR(dir->mode))
        return ERR_NOTDIR;
    return live && dir->nlink == 0 ? ERR_NOENT : ERR_OK;
}

int tree_op_file(struct index *ix, uint64_t ino, struct inode *file)
{
    int err = index_inode_get(ix, ino, file);
    if (err)
        return err;
    if (S_ISDIR(file->mode))
        return ERR_ISDIR;
    return S_ISREG(file->mode) ? ERR_OK : ERR_INVAL;
}

int tree_op_dir_changed(struct index *ix, struct inode *dir, int64_t now)
{
    dir->mtime = dir->ctime = now;
    dir->dirty |= DIRTY_TIMES;
    return index_inode_put(ix, dir);
}

int tree_op_kill_priv(struct index *ix, struct inode *inode)
{
    if (S_ISDIR(inode->mode))
        return ERR_OK;
    const uint32_t before = inode->mode;
    inode->mode &= ~(uint32_t)S_ISUID;
    if (inode->mode & S_IXGRP) /* without it the bit means mandatory locking, not privilege */
        inode->mode &= ~(uint32_t)S_ISGID;
    inode->dirty |= inode->mode != before ? DIRTY_ATTR : DIRTY_TIMES;
    int err = index_xattr_del(ix, inode->ino, "security.capability");
    if (!err)
        inode->dirty |= DIRTY_XATTR;
    return err == ERR_NODATA ? ERR_OK : err;
}
