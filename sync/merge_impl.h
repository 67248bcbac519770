/*
 * merge_impl.h - what the parts of a merge share. Internal to sync/merge*.c. Everything needs the index lock and a group begun.
 */
#ifndef SYNC_MERGE_IMPL_H
#define SYNC_MERGE_IMPL_H

#include "sync/merge.h"

struct merge_batch {
    struct batch_record *records;
    size_t count, cap;
    void **blocks; /* what the records borrow */
    size_t block_count, block_cap;
};

/* An inode that lost a name by this batch. */
struct merge_lost {
    uint64_t ino, parent;
    size_t len;
    char name[NAME_LEN_MAX];
};

struct merge {
    const struct merge_params *params;
    const struct merge_batch *batch;
    struct vault *vault;
    struct index *ix;
    uint32_t self;          /* our tag */
    struct version version; /* of every record of the batch */
    uint64_t *pids;         /* of the batch's packs, by order */
    size_t pid_count;
    struct merge_lost *lost;
    size_t lost_count, lost_cap;
    struct bytes_out told; /* what to invalidate: { ino u64, var16 name } */
    size_t notes;          /* bytes of notes made in the open group, roughly */
    bool local;            /* something is to be published */
};

static inline bool merge_before(struct version a, struct version b)
{
    return a.lamport != b.lamport ? a.lamport < b.lamport : a.device < b.device;
}
static inline bool merge_same(struct version a, struct version b)
{
    return a.lamport == b.lamport && a.device == b.device;
}
static inline struct version merge_later(struct version a, struct version b)
{
    return merge_before(a, b) ? b : a;
}

/* A conflict copy that another device has made, too, and published first: nothing is left to publish. What is published again for those who
 * had deleted it is not done by anybody else's record: they may have passed over that. */
static inline bool merge_done_by_other(uint64_t ino, struct version before)
{
    return ino >> INODE_TAG_SHIFT == MERGE_TAG && before.lamport == 0;
}

/* ---- merge.c ---- */
/* Before a change that makes about ${bytes} of notes: begins another group if this one is getting long. */
int merge_step(struct merge *m, size_t bytes);
/* as vault_invalidate */
void merge_tell(struct merge *m, uint64_t ino, const char *name, size_t len);
/* Tells the watcher, without the lock. */
void merge_tell_watcher(struct merge *m);
bool merge_seen(struct merge *m, struct version version);

/* ---- merge_table.c: merge's tables; a version of {0, 0} stands for "none" ---- */
int merge_absent_get(struct merge *m, uint64_t parent, const char *name, size_t len,
                     struct version *v);
int merge_absent_put(struct merge *m, uint64_t parent, const char *name, size_t len,
                     struct version v);
/* The same for names that were deleted here and not published ("gone-entry" of index.h); *any tells there is one. */
int merge_pending_get(struct merge *m, uint64_t parent, const char *name, size_t len,
                      struct version *v, bool *any);
int merge_pending_put(struct merge *m, uint64_t parent, const char *name, size_t len,
                      struct version v);
int merge_pending_del(struct merge *m, uint64_t parent, const char *name, size_t len);
int merge_folded_get(struct merge *m, uint64_t ino, uint64_t *into); /* 0: not folded */
int merge_folded_put(struct merge *m, uint64_t ino, uint64_t into);
int merge_doomed_get(struct merge *m, uint64_t ino, struct version *v, bool *any);
int merge_doomed_put(struct merge *m, uint64_t ino, struct version v);
int merge_doomed_del(struct merge *m, uint64_t ino);
/* Is the deletion of this inode waiting to be published ("gone-inode")? */
int merge_gone_pending(struct merge *m, uint64_t ino, bool *any);
/* The inode is deleted here; to be published. */
int merge_gone_put(struct merge *m, uint64_t ino, struct version version);
/* It was changed elsewhere: the deletion, which did not know that, is published on no base, so that who has it keeps it. */
int merge_gone_doubt(struct merge *m, uint64_t ino);
/* What is dirty of the inode is published again, its content whole. ${edited}: it was really changed here, too. */
int merge_again_put(struct merge *m, uint64_t ino, bool edited);
/* The bits of inode->dirty that are real changes of this device. */
int merge_edited(struct merge *m, const struct inode *inode, uint32_t *bits);
int merge_stand_in_mark(struct merge *m, uint64_t ino, bool stand_in);
/* The last name of a file; get: ERR_NOENT. */
int merge_nameless_put(struct merge *m, const struct merge_lost *name);
int merge_nameless_get(struct merge *m, uint64_t ino, struct merge_lost *name);
int merge_nameless_del(struct merge *m, uint64_t ino);
/* After bits of inode->dirty were cleared, or all of it was replaced. ${same}: it was not edited before. */
int merge_again_follow(struct merge *m, const struct inode *inode, bool same);
/* Marks everything of the inode to be published again. Stores it. */
int merge_republish(struct merge *m, struct inode *inode);

/* ---- merge_names.c: names and what follows from them for inodes and folders ---- */
/* Points the name at the inode (a stand-in is made where inode or folder are not here). ${dirty}: a local change, whose base is found here. What
 * the name pointed at before is noted as lost. */
int merge_name_set(struct merge *m, uint64_t parent, const char *name, size_t len, uint64_t ino,
                   uint32_t type, struct version version, bool dirty);
/* Takes the name away. ${pending}: as a local deletion on base ${version}; else deleted with that version ({0,0}: no trace). */
int merge_name_clear(struct merge *m, const struct entry *entry, struct version version,
                     bool pending);
/* Names a folder that has no name after its number, in the root, on this device only. */
int merge_name_stand_in(struct merge *m, struct inode *dir);
/* What was named by a stand-in's name is named so for all, since something of ours is in it. */
int merge_name_settle(struct merge *m, uint64_t dir);
/* Marks the entry as a local change on base ${version}. */
int merge_name_assert(struct merge *m, struct entry *entry, struct version version);
/* Gives the inode the conflict name in the folder, after the device and the date of ${mtime}. */
int merge_name_conflict(struct merge *m, uint64_t parent, const char *name, size_t len,
                        uint64_t ino, uint32_t type, uint32_t device, int64_t mtime);
/* The device that a conflict name of the entry tells: the one that made the inode, so that all that see a conflict tell the same. */
uint32_t merge_name_device(struct merge *m, const struct entry *entry);
/* The entry has its name now: the conflict name that somebody gave the file meanwhile goes. */
int merge_name_resolved(struct merge *m, const struct entry *entry, int64_t mtime);
/* The entry by which a folder is named. ERR_NOENT. */
int merge_name_of_dir(struct merge *m, const struct inode *dir, struct entry *entry);
/* Does the folder hold something that the author of the batch had not seen? */
int merge_dir_alive(struct merge *m, uint64_t ino, bool *alive, bool *empty);
/* After an entry went from the folder: if it was the last, what waits for that is done. */
int merge_dir_emptied(struct merge *m, uint64_t ino);
/* The folder's name was deleted, but it stays. */
int merge_undoom(struct merge *m, uint64_t ino);
/* ---- merge_folders.c: two folders that have one name ---- */
/* Are both folders, and here? */
int merge_folders_are(struct merge *m, const struct entry *there, uint64_t ino, uint32_t type,
                      bool *are);
/* Was the folder folded into another, and is not here any more? */
int merge_folders_gone(struct merge *m, uint64_t ino, uint32_t type, bool *gone);
/* Of the folder ${there} and the folder ${ino}, which has no name, one gets the name of ${there} with all that was in the other, which is deleted.
 * ${recorded}: a record of ${version} has given the name to ${ino}. ${there} is changed. */
int merge_folders(struct merge *m, struct entry *there, uint64_t ino, struct version version,
                  bool recorded);
/* The folder in which an entry of ${*dir} is to be: another one if it was folded into that and is not here any more. */
int merge_folders_follow(struct merge *m, uint64_t *dir);
/* The record puts an entry into such a folder: it is put into ${into}. */
int merge_folders_put(struct merge *m, const struct batch_record *r, uint64_t into);
/* ---- merge_mend.c ---- */
/* Gives an inode that lost its last name, though it was changed, that name again, or the conflict name after ${device}. */
int merge_name_again(struct merge *m, const struct merge_lost *lost, uint32_t device);
/* At the end of the batch: what lost its last name though it was changed concurrently gets one. */
int merge_lost_mend(struct merge *m);

/* ---- merge_entry.c, merge_inode.c, merge_content.c, merge_copy.c ---- */
int merge_entry(struct merge *m, const struct batch_record *r);
int merge_gone(struct merge *m, const struct batch_record *r);
/* Deletes an inode that has no name, now or when no program has it open any more. */
int merge_inode_drop(struct merge *m, uint64_t ino);
int merge_attr(struct merge *m, const struct batch_record *r);
int merge_xattrs(struct merge *m, const struct batch_record *r);
int merge_content(struct merge *m, const struct batch_record *r);
/* The extent that the range names, made if it is not here. */
int merge_extent(struct merge *m, const struct batch_range *range, uint64_t *eid);

#define MERGE_ROWS 128u
/* Keeps content of ${inode} that lost, of version ${v}: that of the record, or (r NULL) what is mapped here. ${place}: the CONTENT record that may
 * know the name. A no-op for empty content and for copies that are there. */
int merge_copy(struct merge *m, const struct inode *inode, struct version v,
               const struct batch_record *r, const struct batch_record *place);
/* The copy of that version is superseded by a newer one of the same author: goes if it was never published and not touched. */
int merge_copy_retract(struct merge *m, uint64_t ino, struct version v);

/* ---- merge_check.c ---- */
/* Refuses what no honest device writes, before anything is changed. Needs no group. */
int merge_check(struct merge *m);

#endif
