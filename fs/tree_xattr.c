#include "fs/tree.h"

#include "crypto/err.h"
#include "fs/tree_op.h"

#include <string.h>
#include <sys/xattr.h>

#define LIST_MAX 65536u /* the kernel's limit for all names of an inode */

/* system. holds ACLs, which are not served; anything else the kernel would refuse too. */
static int check_name(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > NAME_LEN_MAX)
        return ERR_RANGE;
    static const char *const spaces[] = {"user.", "trusted.", "security."};
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        size_t n = strlen(spaces[i]);
        if (strncmp(name, spaces[i], n) == 0)
            return len > n ? ERR_OK : ERR_INVAL;
    }
    return ERR_NOTSUP;
}

static int add_name(void *ctx, const char *name, const void *value, size_t len)
{
    bytes_put(ctx, name, strlen(name) + 1);
    return 0;
}

/* Appends all names, each with its NUL. */
static int list(struct index *ix, uint64_t ino, struct bytes_out *names)
{
    int err = index_xattr_scan(ix, ino, add_name, names);
    return !err && names->bad ? ERR_NOMEM : err;
}

static int set_check(struct index *ix, uint64_t ino, const char *name, int flags,
                     struct inode *inode)
{
    int err = index_inode_get(ix, ino, inode);
    if (err)
        return err;
    struct bytes_out scratch;
    bytes_out_init(&scratch);
    err = index_xattr_get(ix, ino, name, &scratch);
    bytes_out_reset(&scratch);
    if (!err && flags & XATTR_CREATE)
        err = ERR_EXIST;
    else if (err == ERR_NODATA && !(flags & XATTR_REPLACE)) /* a new one: the list must still fit */
        err = list(ix, ino, &scratch);
    if (!err && scratch.len + strlen(name) + 1 > LIST_MAX)
        err = ERR_NOSPACE;
    bytes_out_release(&scratch);
    return err;
}

/* The common end of setting and removing: the inode shows that its xattrs changed. */
static int touch(struct index *ix, struct inode *inode)
{
    inode->ctime = tree_op_now();
    inode->dirty |= DIRTY_XATTR | DIRTY_TIMES;
    return index_inode_put(ix, inode);
}

int tree_setxattr(struct vault *v, uint64_t ino, const char *name, const void *value, size_t len,
                  int flags)
{
    struct index *ix = vault_index(v);
    struct inode inode;

    if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
        return ERR_INVAL;
    int err = check_name(name);
    if (err)
        return err;
    if (len > XATTR_SIZE_LIMIT)
        return ERR_TOOBIG;
    index_lock(ix);
    err = set_check(ix, ino, name, flags, &inode);
    err = tree_op_begin_checked(v, err, false, len + 4096);
    if (err)
        return err;
    err = index_xattr_put(ix, ino, name, value, len);
    if (!err)
        err = touch(ix, &inode);
    return tree_op_end(v, err);
}

int tree_getxattr(struct vault *v, uint64_t ino, const char *name, struct bytes_out *value)
{
    struct index *ix = vault_index(v);
    int err = check_name(name);
    if (err)
        return err;
    index_lock(ix);
    err = index_xattr_get(ix, ino, name, value);
    index_unlock(ix);
    return err;
}

int tree_listxattr(struct vault *v, uint64_t ino, struct bytes_out *names)
{
    struct index *ix = vault_index(v);
    struct inode inode;

    index_lock(ix);
    int err = index_inode_get(ix, ino, &inode);
    if (!err)
        err = list(ix, ino, names);
    index_unlock(ix);
    return err;
}

static int try_removexattr(struct vault *v, uint64_t ino, const char *name)
{
    struct index *ix = vault_index(v);
    struct inode inode;
    struct bytes_out old;

    int err = check_name(name);
    if (err)
        return err;
    bytes_out_init(&old);
    index_lock(ix);
    err = index_inode_get(ix, ino, &inode);
    if (!err)
        err = index_xattr_get(ix, ino, name, &old);
    bytes_out_release(&old);
    err = tree_op_begin_checked(v, err, true, 0);
    if (err)
        return err;
    err = index_xattr_del(ix, ino, name);
    if (!err)
        err = touch(ix, &inode);
    return tree_op_end(v, err);
}

int tree_removexattr(struct vault *v, uint64_t ino, const char *name)
{
    unsigned tries = 0;
    int err;
    do
        err = try_removexattr(v, ino, name);
    while (tree_op_more_room(v, err, true, &tries));
    return err;
}
