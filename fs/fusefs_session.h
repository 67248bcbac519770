/*
 * fusefs_session.h - what the files fusefs_*.c share. Private to them.
 */
#ifndef FS_FUSEFS_SESSION_H
#define FS_FUSEFS_SESSION_H

#include "fs/committer.h"
#include "fs/fusefs.h"
#include "fs/fusefs_lookup.h"
#include "fs/tree.h"

#include <fuse_lowlevel.h>
#include <stdatomic.h>

struct fusefs_loop;
struct fusefs_notify;

/* Seconds that the kernel may keep what we answered. Long: only it and we change the tree, and what sync changes is
 * taken out of its caches by fusefs_notify. */
#define FUSEFS_TIMEOUT 86400.0

/* Bits of struct fusefs.events. */
enum {
    FUSEFS_EVENT_READY = 1, /* INIT was answered */
    FUSEFS_EVENT_STOP = 2,  /* fusefs_stop was called */
    FUSEFS_EVENT_ENDED = 4  /* the connection is gone */
};

/* Bytes of one read at most, unless a mount option says otherwise: of a stream that the kernel reads ahead, several pieces are
 * opened at once. */
#define FUSEFS_READ_MAX (256u << 10)

/* One mount. Everything but the atomics is set before the threads start and constant while they run. */
struct fusefs {
    struct vault *vault; /* borrowed */
    struct fuse_session *session;
    char *mountpoint; /* absolute */
    bool read_only;
    struct fusefs_lookup *lookup;
    struct fusefs_loop *loop;
    struct fusefs_notify *notify;
    struct committer *committer; /* NULL when read-only */
    int wake;                    /* eventfd: events changed */
    _Atomic unsigned events;
    _Atomic unsigned write_backs; /* threads that wait for the kernel in lseek */
    bool noatime;                 /* set before INIT */
    unsigned max_read;            /* bytes of one read at most; set before INIT */
    _Atomic bool said_unsaved;    /* a write of the kernel was refused, and that was logged */
    _Atomic unsigned capable;     /* the kernel's FUSE_CAP_..., from INIT on */
    /* fusefs_refresh.h: the thread (0: none), and whether it may write to what is not writable */
    _Atomic int refresher;
    _Atomic bool refresher_writes;
};

/* Sets bits and wakes fusefs_run. Async-signal-safe. */
void fusefs_session_post(struct fusefs *fs, unsigned events);

static inline struct fusefs *fusefs_session_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/* ---- fusefs_ops.c: the table and what the callbacks share ---- */
extern const struct fuse_lowlevel_ops fusefs_ops;
void fusefs_ops_stat(const struct inode *inode, struct stat *st);
void fusefs_ops_entry(const struct inode *inode, struct fuse_entry_param *entry);
/* Answers with ${inode}, counting the reference (and giving it back if nobody takes the answer). */
void fusefs_ops_reply_entry(fuse_req_t req, uint64_t parent, const struct inode *inode);
void fusefs_ops_reply_err(fuse_req_t req, int err);        /* an operation on names */
void fusefs_ops_reply_err_inode(fuse_req_t req, int err);  /* an operation on an inode */
void fusefs_ops_accessed(struct fusefs *fs, uint64_t ino); /* it was read */
/* References given back, and the inode reaped if it was unlinked and this was the last. */
void fusefs_ops_forget(struct fusefs *fs, uint64_t ino, uint64_t n);
/* After an operation that took a name off ${gone}. */
void fusefs_ops_gone(struct fusefs *fs, const struct inode *gone);
/* After a change of a file's data: one that another device deleted while it was open gets its name again. */
void fusefs_ops_changed(struct fusefs *fs, uint64_t ino);

/* ---- fusefs_names.c ---- */
void fusefs_names_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fusefs_names_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                        dev_t rdev);
void fusefs_names_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fusefs_names_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fusefs_names_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void fusefs_names_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fusefs_names_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fusefs_names_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                         const char *new_name, unsigned flags);
void fusefs_names_readlink(fuse_req_t req, fuse_ino_t ino);

/* ---- fusefs_attr.c ---- */
void fusefs_attr_get(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fusefs_attr_set(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                     struct fuse_file_info *fi);
void fusefs_attr_statfs(fuse_req_t req, fuse_ino_t ino);

/* ---- fusefs_xattr.c ---- */
void fusefs_xattr_set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                      size_t size, int flags);
void fusefs_xattr_get(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fusefs_xattr_list(fuse_req_t req, fuse_ino_t ino, size_t size);
void fusefs_xattr_remove(fuse_req_t req, fuse_ino_t ino, const char *name);

/* ---- fusefs_file.c ---- */
void fusefs_file_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fusefs_file_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                      struct fuse_file_info *fi);
void fusefs_file_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                       struct fuse_file_info *fi);
void fusefs_file_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fusefs_file_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                           struct fuse_file_info *fi);
void fusefs_file_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                       struct fuse_file_info *fi);
void fusefs_file_copy_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
                            struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_off,
                            struct fuse_file_info *to_fi, size_t len, int flags);

/* ---- fusefs_dir.c ---- */
void fusefs_dir_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fusefs_dir_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                     struct fuse_file_info *fi);
void fusefs_dir_readplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                         struct fuse_file_info *fi);

#endif
