/*
 * fusefs_refresh.h - makes the kernel take size and times of a file that programs have open.
 *
 * With its write-back cache the kernel believes its own size and times of a regular file; it takes ours only into an inode
 * that it makes new. For one that is open there is one way: the size in the answer to a truncation. So a thread of ours
 * truncates the file, in the mount, to the size that the kernel has already, and the answer names the one it shall have.
 * Requests of that thread (fs->refresher) change nothing in the vault.
 *
 * What a program appends meanwhile is not cut off: what is dirty is written before, and when the size is not the one any
 * more that we saw, the kernel adds times to the request; then it is refused, and all begins again.
 */
#ifndef FS_FUSEFS_REFRESH_H
#define FS_FUSEFS_REFRESH_H

#include "fs/fusefs_session.h"

/* In the thread fs->refresher. The file has the name in ${parent}; ${data}: not only attributes changed. False: the kernel
 * could not be told (who serves the mount may not write to the file, or it has moved meanwhile). */
bool fusefs_refresh_file(struct fusefs *fs, uint64_t ino, uint64_t parent, const char *name,
                         bool data);

/* Is it a request of that thread? */
bool fusefs_refresh_asks(fuse_req_t req);
/* Answers such a setattr; false: it is to be served like any other. */
bool fusefs_refresh_setattr(fuse_req_t req, fuse_ino_t ino, int to_set);

#endif
