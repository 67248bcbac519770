/*
 * fusefs_lookup.h - how many references to each inode the kernel holds.
 *
 * The kernel counts one for each entry we answer (lookup, mknod, mkdir, symlink, link, each readdirplus entry but "."
 * and "..") and gives them back with FORGET, when neither its caches nor an open file nor a mapping need the inode any
 * more. As we never see open and release, this count alone says whether an unlinked file is still open. An inode without
 * names is marked gone, so that a FORGET needs no look into the index. The root is not counted. Thread-safe.
 */
#ifndef FS_FUSEFS_LOOKUP_H
#define FS_FUSEFS_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fusefs_lookup;

/* Of a file with names in more directories than that, some are not remembered. */
#define FUSEFS_LOOKUP_PARENTS 256u

struct fusefs_lookup *fusefs_lookup_new(void); /* NULL: out of memory */
void fusefs_lookup_free(struct fusefs_lookup *table);

/* One reference more, to an entry in ${parent} (0: none); before the answer is sent, since FORGET may come at once. ERR_NOMEM. */
int fusefs_lookup_add(struct fusefs_lookup *table, uint64_t ino, uint64_t parent);
/* It was renamed into another directory; ${links}: and has other names, which may be in the one before. */
void fusefs_lookup_moved(struct fusefs_lookup *table, uint64_t ino, uint64_t parent, bool links);
/* True if the kernel holds it. */
bool fusefs_lookup_held(struct fusefs_lookup *table, uint64_t ino);
/* All directories where the kernel has found it, the last one first (perhaps some more); at most ${max}. How many. */
size_t fusefs_lookup_parents(struct fusefs_lookup *table, uint64_t ino, uint64_t *parents,
                             size_t max);
/* ${n} references less. True: that was the last one of an inode marked gone; the caller reaps it. */
bool fusefs_lookup_forget(struct fusefs_lookup *table, uint64_t ino, uint64_t n);
/* Marks an inode that has no name: ${for_good} one that lost its last, or one that never had any and may get one (O_TMPFILE).
 * False: the kernel does not hold it; the caller reaps it now. */
bool fusefs_lookup_mark_gone(struct fusefs_lookup *table, uint64_t ino, bool for_good);
/* Marks one that another device deleted. False: the kernel does not hold it. */
bool fusefs_lookup_mark_deleted(struct fusefs_lookup *table, uint64_t ino);
bool fusefs_lookup_is_deleted(struct fusefs_lookup *table, uint64_t ino);
/* True if it is marked so for good: what is changed in it now, nobody will read after a remount. */
bool fusefs_lookup_gone_for_good(struct fusefs_lookup *table, uint64_t ino);
/* Takes the marks off: it has a name again. */
void fusefs_lookup_unmark(struct fusefs_lookup *table, uint64_t ino);
/* How many inodes the kernel holds. */
size_t fusefs_lookup_count(struct fusefs_lookup *table);

#endif
