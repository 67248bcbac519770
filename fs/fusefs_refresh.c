#include "fs/fusefs_refresh.h"

#include "crypto/err.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRIES 16

/* ---- the thread ---- */

/* The file in the mount, by O_PATH: no open that others would notice. -1: none. */
static int open_file(struct fusefs *fs, uint64_t ino, uint64_t parent, const char *name)
{
    const struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                                 .resolve =
                                     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    struct bytes_out path;
    struct stat st;
    int root, fd = -1;

    bytes_out_init(&path);
    if (tree_path(fs->vault, parent, &path) == 0) {
        if (path.len > 0)
            bytes_put_u8(&path, '/');
        bytes_put(&path, name, strlen(name) + 1);
        /* Somebody has a file open in the mount, so this does not make it any busier. */
        root = path.bad ? -1 : open(fs->mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root >= 0) {
            fd = (int)syscall(SYS_openat2, root, (const char *)path.p, &how, sizeof(how));
            close(root);
        }
    }
    bytes_out_release(&path);
    if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_ino != ino || !S_ISREG(st.st_mode))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Its owner may change a file that is not writable by giving himself the right; for our thread this is done without. */
static bool may_write(struct fusefs *fs, const struct inode *inode)
{
    if (atomic_load(&fs->refresher_writes) || inode->uid != geteuid())
        return false;
    atomic_store(&fs->refresher_writes, true);
    (void)fuse_lowlevel_notify_inval_inode(fs->session, inode->ino, -1, 0);
    return true;
}

static bool set_size(struct fusefs *fs, int fd, const char *self, uint64_t ino)
{
    struct inode inode;
    struct stat st;

    for (unsigned i = 0; i < TRIES; i++) {
        /* In this order: what is appended after it is noticed, what was before is written. */
        if (fstat(fd, &st) < 0)
            return false;
        (void)fuse_lowlevel_notify_inval_inode(fs->session, ino, 0, 0);
        if (tree_getattr(fs->vault, ino, &inode) < 0)
            return false;
        if ((uint64_t)st.st_size == inode.size)
            return true;
        if (truncate(self, st.st_size) < 0 && errno != EAGAIN &&
            !(errno == EACCES && may_write(fs, &inode)))
            return false;
    }
    return false; /* somebody writes without end; what is written is kept */
}

/* Setting times makes the kernel write what it holds back first, also times. With the time of access, so that
 * fusefs_refresh_setattr can tell it from those. */
static void set_times(struct fusefs *fs, int fd, const char *self, uint64_t ino)
{
    struct timespec times[2];
    struct inode inode;
    struct stat st, ours;

    for (unsigned i = 0; i < TRIES; i++) {
        if (fstat(fd, &st) < 0)
            return;
        times[0] = st.st_atim;
        times[1] = st.st_mtim;
        if (utimensat(AT_FDCWD, self, times, 0) < 0 || tree_getattr(fs->vault, ino, &inode) < 0)
            return;
        fusefs_ops_stat(&inode, &ours);
        times[1] = ours.st_mtim;
        if (memcmp(&times[1], &st.st_mtim, sizeof(times[1])) == 0)
            return;
        if (utimensat(AT_FDCWD, self, times, 0) < 0)
            return;
        /* Unless something was written meanwhile, this was it. */
    }
}

bool fusefs_refresh_file(struct fusefs *fs, uint64_t ino, uint64_t parent, const char *name,
                         bool data)
{
    char self[32];
    int fd = open_file(fs, ino, parent, name);
    bool done = true;

    if (fd < 0)
        return false;
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    if (data)
        done = set_size(fs, fd, self, ino);
    set_times(fs, fd, self, ino);
    close(fd);
    if (atomic_exchange(&fs->refresher_writes, false))
        (void)fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
    return done;
}

/* ---- its requests ---- */

bool fusefs_refresh_asks(fuse_req_t req)
{
    return fuse_req_ctx(req)->pid == atomic_load(&fusefs_session_of(req)->refresher) &&
           fuse_req_ctx(req)->pid != 0;
}

bool fusefs_refresh_setattr(fuse_req_t req, fuse_ino_t ino, int to_set)
{
    struct fusefs *fs = fusefs_session_of(req);
    const int times = FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME;
    struct inode inode;
    struct stat st;
    int err = tree_getattr(fs->vault, ino, &inode);

    if (err < 0) {
        fusefs_ops_reply_err_inode(req, err);
        return true;
    }
    if ((to_set & FUSE_SET_ATTR_SIZE) && (to_set & times)) {
        fuse_reply_err(req, EAGAIN); /* the size is not the one any more that we saw */
        return true;
    }
    if ((to_set & (FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME)) == 0 && (to_set & times))
        return false; /* times that a program's writes made, which our thread writes before it sets others */
    fusefs_ops_stat(&inode, &st);
    fuse_reply_attr(req, &st, FUSEFS_TIMEOUT);
    return true;
}
