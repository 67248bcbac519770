/*
 * merge.h - applies a batch of another device to the index, and keeps both where both sides changed the same thing. [merge]
 *
 * Every published thing (attributes, xattrs, content of an inode; what a name points at) is a register: its value is that of the
 * record with the highest version (lamport, device), whatever the order in which records came. A change made here
 * and not published yet (dirty) counts as later than anything published. What would be lost or impossible by that rule alone is
 * mended with ordinary local changes that are published like any other: so all devices that have all records have the same
 * tree, and mending ends. The identity of what is made for that follows from the records, so that several devices which make it make the same:
 *
 *   content    the content that loses stays as a conflict copy: inode number f(inode, version) with the tag MERGE_TAG, named
 *              "stem (conflict, device, YYYY-MM-DD).ext" after the device whose content lost. A delta whose base is not what is here is not applied
 *              (no mixtures); the winner's author sends its map whole when it sees the other, the loser's author makes the copy.
 *   names      of two inodes under one name the loser gets the conflict name. A name that was deleted and concurrently put comes back, and
 *              so does a deleted file that was concurrently changed, or a folder with an entry that its deleter had not seen.
 *   folders    have one name: the later one. A move that would make a cycle is undone. Two under one name become one: that of the lower number
 *              stays, the entries of the other are put into it (and those that come later, too), the other is deleted.
 *   open files that are deleted elsewhere lose their names; they go when no program has them any more, and come back when one writes to them.
 *   GONE       is obeyed only for inodes without names; who refuses it publishes the inode whole again, for those who obeyed.
 *   strangers  a name for an inode (or in a folder) that is not here shows an empty stand-in until the device that
 *              still has it publishes it.
 *
 * merge's own tables (keys big-endian, values little-endian):
 *   "absent"  parent u64, name   lamport u64, device u32: the version of the deletion of that name
 *   "again"   ino u64            (empty): what is dirty of the inode is published again, its content whole
 *   "stand-in"  ino u64          (empty): the inode is a stand-in for one that is not here
 *   "nameless"  ino u64          parent u64, name: the last name of a file, which was deleted elsewhere
 *   "doomed"  ino u64            lamport u64, device u32: a folder whose name was deleted there with that version; it goes when it is empty
 *   "folded"  ino u64            u64 ino: the folder that has the name and the entries of that one
 *
 * A batch is checked whole before anything is changed. It is applied in as few index groups as the size of a note allows (one, nearly always);
 * the head of the device is noted in the last, and what is applied again after a crash changes nothing.
 */
#ifndef SYNC_MERGE_H
#define SYNC_MERGE_H

#include "fs/vault.h"
#include "sync/batch.h"
#include "sync/roster.h"

#define MERGE_TAG 0x7fffffu /* tag bits of the inode numbers of conflict copies */
#define MERGE_LAMPORT_JUMP                                                                         \
    (UINT64_C(1) << 32) /* a batch further ahead of our clock than that is refused */

/* The records of one batch, copied out of it. */
struct merge_batch;
struct merge_batch *merge_batch_new(void);
void merge_batch_free(struct merge_batch *b);
/* For batch_open_body: ${ctx} is a struct merge_batch. ERR_NOMEM. */
int merge_batch_add(void *ctx, const struct batch_record *record);

struct merge_params {
    struct vault *vault;
    const struct batch_head *head;
    const uint8_t *hash;         /* of the batch */
    uint32_t tag;                /* its device */
    const struct roster *roster; /* for the names of devices */
};

/*
 * Applies it, notes head, chain and clock, and tells the watcher. Takes the index lock; durable with the next index_flush. All that
 * the batch's vector names must be applied. *local: something was changed that must be published. ERR_FORMAT: no honest device
 * writes this, nothing was changed. ERR_NOSPACE, ERR_IO, ERR_NOMEM: to be applied again.
 */
int merge_apply(const struct merge_params *params, const struct merge_batch *batch, bool *local);

/*
 * At the end of a pull. Folders that are left without a name, with something in them, get a stand-in's name. ${quiet}: nothing had come, so
 * no real name is on its way: what is still named so is published so; and no deletion: folders that wait for those of their entries stay.
 */
int merge_settle(struct vault *vault, bool quiet, bool *local);

/*
 * A file that another device deleted, and that a program here had open, was written to: gets its name again (or the conflict name, if that was taken)
 * and is published whole. A no-op for files that have a name, or lost it here.
 */
int merge_rescue(struct vault *vault, uint64_t ino, bool *local);

/*
 * What push tells merge, and asks it. All need the index lock; the first two a group begun.
 */
/* The deletion of the name was put into a batch of that version. */
int merge_published_deletion(struct index *ix, uint64_t parent, const char *name, size_t len,
                             struct version version);
/* Everything that was dirty of the inode was put into a batch. */
int merge_published_inode(struct index *ix, uint64_t ino);
/* Names may point at a stand-in; it is published only if it was changed, and whoever has the real one keeps that. */
int merge_is_stand_in(struct index *ix, uint64_t ino, bool *stand_in);
/* The file's content is to be published again, whole, though it was not changed. */
int merge_publish_whole(struct index *ix, struct inode *inode);
/* Must the content be sent whole? */
int merge_wants_whole(struct index *ix, uint64_t ino, bool *whole);

#endif
