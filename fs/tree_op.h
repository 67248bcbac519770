/*
 * tree_op.h - what every operation on the tree shares: its frame, names, time, and checks of directories.
 *
 * Inside fs/ only (tree*.c and data*.c). An operation takes the index lock once, checks everything, and then
 * changes: between tree_op_begin and tree_op_end there is no way back. Functions that take ${ix} need the index lock.
 */
#ifndef FS_TREE_OP_H
#define FS_TREE_OP_H

#include "fs/tree.h"

#define TREE_OP_LINKS_MAX     65000u      /* names of a file */
#define TREE_OP_DIR_LINKS_MAX 4000000000u /* 2 + subdirectories of a directory */

/* Nanoseconds since 1970. */
int64_t tree_op_now(void);

/* 0 for a name that an entry may have; ERR_NAMETOOLONG; ERR_NOENT (empty); ERR_INVAL ('/' or NUL in it, "." and ".."). */
int tree_op_name(const char *name, size_t len);

/* Begins a group of local changes; ${frees}: allowed on a full disk. ERR_ROFS, ERR_NOSPACE. */
int tree_op_begin(struct vault *v, bool frees, size_t room);
/* The same after the checks of an operation, which said ${err}: when that or the beginning fails, the lock is released and
 * there is nothing more to do. */
int tree_op_begin_checked(struct vault *v, int err, bool frees, size_t room);
/*
 * After an operation that ended with ${err}, no lock held: true if it is worth another try, because there was no room and
 * some was made: what was deleted gives its space back at the next checkpoint only, which is made here. *tries counts; 0 at
 * first.
 */
bool tree_op_more_room(struct vault *v, int err, bool frees, unsigned *tries);
/* Ends the group and the lock. ${err} is the result of the operation (returned); on success sync is told. */
int tree_op_end(struct vault *v, int err);

/* The inode, which must be a directory: ERR_NOENT, ERR_NOTDIR. ${live}: and not removed (ERR_NOENT). */
int tree_op_dir(struct index *ix, uint64_t ino, bool live, struct inode *dir);
/* The inode, which must be a regular file: ERR_NOENT, ERR_ISDIR, ERR_INVAL. */
int tree_op_file(struct index *ix, uint64_t ino, struct inode *file);

/* Something was put into or taken out of the directory: stores it with new times. */
int tree_op_dir_changed(struct index *ix, struct inode *dir, int64_t now);

/* Takes set-user-ID, set-group-ID and file capabilities away as a write does: changes ${inode} (not stored yet)
 * and its xattr. */
int tree_op_kill_priv(struct index *ix, struct inode *inode);

#endif
