#include "fs/fusefs_session.h"

#include "crypto/err.h"

#include <stdio.h>
#include <string.h>

static struct tree_cred cred_of(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);

    return (struct tree_cred){.uid = ctx->uid, .gid = ctx->gid};
}

static void reply(fuse_req_t req, int err, fuse_ino_t parent, const struct inode *inode)
{
    if (err < 0)
        fusefs_ops_reply_err(req, err);
    else
        fusefs_ops_reply_entry(req, parent, inode);
}

void fusefs_names_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode inode;
    int err = tree_lookup(fs->vault, parent, name, strlen(name), &inode);

    if (err == ERR_NOENT) {
        /* That a name does not exist is cached too. */
        struct fuse_entry_param none = {.entry_timeout = FUSEFS_TIMEOUT};
        fuse_reply_entry(req, &none);
        return;
    }
    reply(req, err, parent, &inode);
}

void fusefs_names_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                        dev_t rdev)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode inode;
    int err = tree_mknod(fs->vault, parent, name, strlen(name), mode, (uint32_t)rdev, cred_of(req),
                         &inode);

    reply(req, err, parent, &inode);
}

void fusefs_names_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode inode;
    int err = tree_mkdir(fs->vault, parent, name, strlen(name), mode, cred_of(req), &inode);

    reply(req, err, parent, &inode);
}

void fusefs_names_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode inode;
    int err = tree_symlink(fs->vault, parent, name, strlen(name), target, cred_of(req), &inode);

    reply(req, err, parent, &inode);
}

void fusefs_names_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode inode;
    int err = tree_link(fs->vault, ino, parent, name, strlen(name), &inode);

    if (err == 0 && inode.nlink == 1)
        fusefs_lookup_unmark(fs->lookup, ino); /* it had none: made by O_TMPFILE */
    reply(req, err, parent, &inode);
}

void fusefs_names_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode gone;
    int err = tree_unlink(fs->vault, parent, name, strlen(name), &gone);

    /* Before the answer: the kernel holds the inode until then, so the last FORGET cannot slip in between. */
    if (err == 0)
        fusefs_ops_gone(fs, &gone);
    fusefs_ops_reply_err(req, err);
}

void fusefs_names_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode gone;
    int err = tree_rmdir(fs->vault, parent, name, strlen(name), &gone);

    if (err == 0)
        fusefs_ops_gone(fs, &gone);
    fusefs_ops_reply_err(req, err);
}

/* What is now at that name has come into another directory. */
static void moved(struct fusefs *fs, fuse_ino_t parent, const char *name)
{
    struct inode inode;

    if (tree_lookup(fs->vault, parent, name, strlen(name), &inode) == 0)
        fusefs_lookup_moved(fs->lookup, inode.ino, parent, inode.nlink > 1);
}

void fusefs_names_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                         const char *new_name, unsigned flags)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode gone = {0};
    int err = tree_rename(fs->vault, parent, name, strlen(name), new_parent, new_name,
                          strlen(new_name), flags, &gone);

    if (err == 0)
        fusefs_ops_gone(fs, &gone);
    if (err == 0 && parent != new_parent) {
        moved(fs, new_parent, new_name);
        if (flags & RENAME_EXCHANGE)
            moved(fs, parent, name);
    }
    fusefs_ops_reply_err(req, err);
}

void fusefs_names_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct fusefs *fs = fusefs_session_of(req);
    char target[TARGET_LEN_MAX + 1];
    size_t len = 0;
    int err = tree_readlink(fs->vault, ino, target, sizeof(target), &len);

    if (err < 0) {
        fusefs_ops_reply_err_inode(req, err);
        return;
    }
    fusefs_ops_accessed(fs, ino);
    fuse_reply_readlink(req, target);
}
