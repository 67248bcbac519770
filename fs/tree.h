/*
 * tree.h - what a file system does with names and inodes, on the index.
 *
 * POSIX semantics with the errors of err.h; permissions are checked by the kernel (default_permissions), ownership
 * rules that the kernel leaves to us are here. Every function takes the index lock itself, makes one atomic operation, and is
 * thread-safe. Times are of this clock unless given. Nothing here waits for the network.
 */
#ifndef FS_TREE_H
#define FS_TREE_H

#include "fs/vault.h"

/* Who asks: owner of what is created. */
struct tree_cred {
    uint32_t uid, gid;
};

int tree_lookup(struct vault *v, uint64_t parent, const char *name, size_t len, struct inode *out);
int tree_getattr(struct vault *v, uint64_t ino, struct inode *out);
/* Somebody read the file, the directory or the link: its atime follows as with relatime. */
void tree_accessed(struct vault *v, uint64_t ino);

enum {
    TREE_MODE = 1,
    TREE_UID = 2,
    TREE_GID = 4,
    TREE_SIZE = 8,
    TREE_ATIME = 16,
    TREE_MTIME = 32,
    TREE_CTIME = 64,
    /* clear set-user-ID and set-group-ID as a write by an unprivileged user does */
    TREE_KILL_PRIV = 128
};
/* Sets the fields of ${in} that ${what} names; ctime is set to now unless given. Growing leaves a hole, shrinking zeroes what is cut. */
int tree_setattr(struct vault *v, uint64_t ino, unsigned what, const struct inode *in,
                 struct inode *out);

/* Any type but directory and symlink. A set-group-ID directory gives its group (and the bit, to directories). */
int tree_mknod(struct vault *v, uint64_t parent, const char *name, size_t len, uint32_t mode,
               uint32_t rdev, struct tree_cred cred, struct inode *out);
int tree_mkdir(struct vault *v, uint64_t parent, const char *name, size_t len, uint32_t mode,
               struct tree_cred cred, struct inode *out);
int tree_symlink(struct vault *v, uint64_t parent, const char *name, size_t len, const char *target,
                 struct tree_cred cred, struct inode *out);
/* A regular file without a name (nlink 0), for O_TMPFILE; tree_link may give it one. */
int tree_tmpfile(struct vault *v, uint64_t parent, uint32_t mode, struct tree_cred cred,
                 struct inode *out);
int tree_link(struct vault *v, uint64_t ino, uint64_t parent, const char *name, size_t len,
              struct inode *out);
/* *gone: what the name pointed at, after the operation (nlink 0: call tree_reap when nobody has it open). */
int tree_unlink(struct vault *v, uint64_t parent, const char *name, size_t len, struct inode *gone);
int tree_rmdir(struct vault *v, uint64_t parent, const char *name, size_t len, struct inode *gone);
/* ${flags}: 0, RENAME_NOREPLACE, RENAME_EXCHANGE. ERR_INVAL: into itself. gone->ino is 0 when nothing was replaced. */
int tree_rename(struct vault *v, uint64_t parent, const char *name, size_t len, uint64_t new_parent,
                const char *new_name, size_t new_len, unsigned flags, struct inode *gone);
int tree_readlink(struct vault *v, uint64_t ino, char *target, size_t size, size_t *len);

/* Entries after ${cookie} (0: from the start, "." with cookie 1 and ".." with cookie 2 come first). ${each} returns
 * non-zero to stop. Inodes are complete. The lock is not held while ${each} runs. */
int tree_readdir(struct vault *v, uint64_t dir, uint64_t cookie,
                 int (*each)(void *ctx, const char *name, size_t len, uint64_t cookie,
                             const struct inode *inode),
                 void *ctx);

/* XATTR_CREATE and XATTR_REPLACE in ${flags}. */
int tree_setxattr(struct vault *v, uint64_t ino, const char *name, const void *value, size_t len,
                  int flags);
int tree_getxattr(struct vault *v, uint64_t ino, const char *name, struct bytes_out *value);
/* Names, each with its NUL. */
int tree_listxattr(struct vault *v, uint64_t ino, struct bytes_out *names);
int tree_removexattr(struct vault *v, uint64_t ino, const char *name);

/* Deletes an inode that has no name (nlink 0) and that nobody has open; a no-op for others, and for a folder with something in it. */
int tree_reap(struct vault *v, uint64_t ino);
/* At mount: reaps all that a crash left open. */
int tree_reap_all(struct vault *v);

/* The path of a directory or file for messages ("a/b/c" below the root); slow for files (scans), ERR_NOENT for none. */
int tree_path(struct vault *v, uint64_t ino, struct bytes_out *path);

#endif
