#include "fs/fusefs_session.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/data.h"
#include "fs/fusefs_loop.h"

#include <errno.h>
#include <unistd.h>

#define WRITE_BACKS_MAX 4u

void fusefs_file_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    /* ENOSYS: open files without us from now on, and keep what is cached of them. */
    if (fusefs_session_of(req)->capable & FUSE_CAP_NO_OPEN_SUPPORT) {
        fuse_reply_err(req, ENOSYS);
        return;
    }
    fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

static void interrupted(fuse_req_t req, void *cancelled)
{
    atomic_store((_Atomic bool *)cancelled, true);
}

void fusefs_file_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                      struct fuse_file_info *fi)
{
    struct fusefs *fs = fusefs_session_of(req);
    uint8_t *buf = fusefs_loop_scratch();
    _Atomic bool *cancelled = fusefs_loop_cancelled();
    size_t got = 0;
    int err;

    if (size > FUSEFS_RAW_WRITE)
        size = FUSEFS_RAW_WRITE;
    fuse_req_interrupt_func(req, interrupted, (void *)cancelled);
    err = data_read(fs->vault, ino, (uint64_t)off, buf, size, &got, cancelled);
    /* Waits for a callback that is under way, so that it cannot hit this thread's next request. */
    fuse_req_interrupt_func(req, NULL, NULL);
    if (err < 0) {
        fusefs_ops_reply_err_inode(req, err);
        return;
    }
    fusefs_ops_accessed(fs, ino);
    fuse_reply_buf(req, (const char *)buf, got);
}

/*
 * The kernel's copy of the mode may still show set-user-ID after we cleared it: it must not run the changed file by that
 * copy. Only attributes are dropped, which waits for nothing, so it may be done inside the request.
 */
static void forget_mode(struct fusefs *fs, fuse_ino_t ino)
{
    (void)fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
}

void fusefs_file_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    struct fusefs *fs = fusefs_session_of(req);
    bool cached =
        fi->writepage; /* from the page cache: the kernel keeps the times and sends them itself */
    bool kill = !cached && fusefs_loop_raw()->kill_priv;
    int err = data_write(fs->vault, ino, (uint64_t)off, (const uint8_t *)buf, size, !cached, kill);

    if (err < 0) {
        /* The program was told that it is written; it only hears of it at fsync or close. */
        if (cached && !atomic_exchange(&fs->said_unsaved, true))
            log_error("what a program has written could not be kept: %s", err_text(err));
        fusefs_ops_reply_err_inode(req, err);
        return;
    }
    if (kill)
        forget_mode(fs, ino);
    fusefs_ops_changed(fs, ino);
    fuse_reply_write(req, size);
}

void fusefs_file_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct fusefs *fs = fusefs_session_of(req);
    int err = fs->read_only ? 0 : index_flush(vault_index(fs->vault));

    fusefs_ops_reply_err_inode(req, err);
}

/* Clears set-user-ID after a change of content for which the kernel gives no flag. */
static int kill_priv(fuse_req_t req, fuse_ino_t ino)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode in = {.ino = ino}, out;
    int err;

    if (fuse_req_ctx(req)->uid == 0)
        return 0;
    err = tree_getattr(fs->vault, ino, &out);
    if (err < 0 || !(out.mode & (S_ISUID | S_ISGID)))
        return err;
    err = tree_setattr(fs->vault, ino, TREE_KILL_PRIV, &in, &out);
    if (err == 0)
        forget_mode(fs, ino);
    return err;
}

void fusefs_file_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                           struct fuse_file_info *fi)
{
    struct fusefs *fs = fusefs_session_of(req);
    int err = data_fallocate(fs->vault, ino, mode, (uint64_t)off, (uint64_t)len);

    if (err == 0)
        fusefs_ops_changed(fs, ino);
    if (err == 0)
        err = kill_priv(req, ino);
    fusefs_ops_reply_err_inode(req, err);
}

/*
 * The kernel asks for holes without writing its dirty pages first. Invalidating the file makes it write them, as
 * requests that other threads must serve while we wait here. So only a few threads may do so at a time; others answer by
 * what we have.
 */
static void write_back(struct fusefs *fs, fuse_ino_t ino)
{
    if (atomic_fetch_add(&fs->write_backs, 1) < WRITE_BACKS_MAX && fusefs_loop_pass_lead())
        (void)fuse_lowlevel_notify_inval_inode(fs->session, ino, 0, 0);
    atomic_fetch_sub(&fs->write_backs, 1);
}

void fusefs_file_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                       struct fuse_file_info *fi)
{
    struct fusefs *fs = fusefs_session_of(req);
    uint64_t found = 0;
    int err = ERR_INVAL;

    if (off < 0)
        err = ERR_NXIO;
    else if (whence == SEEK_DATA || whence == SEEK_HOLE) {
        write_back(fs, ino);
        err = data_seek(fs->vault, ino, (uint64_t)off, whence, &found);
    }
    if (err < 0)
        fusefs_ops_reply_err_inode(req, err);
    else
        fuse_reply_lseek(req, (off_t)found);
}

void fusefs_file_copy_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
                            struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_off,
                            struct fuse_file_info *to_fi, size_t len, int flags)
{
    struct fusefs *fs = fusefs_session_of(req);
    uint64_t copied = 0;
    int err = ERR_INVAL;

    if (flags == 0)
        err = data_copy_range(fs->vault, from, (uint64_t)from_off, to, (uint64_t)to_off, len,
                              &copied);
    if (err == 0 && copied > 0)
        fusefs_ops_changed(fs, to);
    if (err == 0)
        err = kill_priv(req, to);
    if (err < 0)
        fusefs_ops_reply_err_inode(req, err);
    else
        fuse_reply_write(req, (size_t)copied);
}
