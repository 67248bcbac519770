/*
 * fusefs_errno.h - the one place where the codes of err.h become errno values.
 */
#ifndef FS_FUSEFS_ERRNO_H
#define FS_FUSEFS_ERRNO_H

/* The errno value (positive) that a program sees for ${err}; 0 for 0. Unknown codes are EIO. */
int fusefs_errno(int err);

/* The same for an operation on an inode that the kernel holds: that it is gone is ESTALE there, on which the kernel walks
 * the path again instead of taking it for a missing name. */
int fusefs_errno_inode(int err);

#endif
