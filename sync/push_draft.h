/*
 * push_draft.h - a batch that is being written: the records so far, and what is to be done in the index once it is in the outbox.
 * Internal to sync/push_batch.c and push_content.c. Everything here needs the index lock, which is held from the first
 * record to the end: a batch shows one moment.
 */
#ifndef SYNC_PUSH_DRAFT_H
#define SYNC_PUSH_DRAFT_H

#include "sync/push_impl.h"

#define PUSH_RANGES_MAX                                                                            \
    16384u /* ranges that one batch says of one file; more go into the next ones */

enum draft_kind { DRAFT_INODE, DRAFT_ENTRY, DRAFT_GONE_ENTRY, DRAFT_GONE_INODE };

struct draft_item {
    enum draft_kind kind;
    uint64_t ino;  /* of entries: the directory */
    uint64_t rest; /* inodes: content from here on is not in this batch; UINT64_MAX: all is */
    char *name;    /* entries; owned, NAME_LEN_MAX at most */
    size_t name_len;
};

struct draft {
    struct push *p;
    struct batch_writer *writer;
    struct draft_item *items;
    size_t count, cap;
    /* Inodes of this batch, for entries that point at them: an open hash table of twice batch_items places. */
    uint64_t *inos;
    size_t ino_places;
    struct batch_range *ranges; /* PUSH_RANGES_MAX; made when first needed */
    size_t range_count;
    uint64_t last_pid; /* of the pack that was looked up last, and its number in this batch */
    uint32_t last_order;
    /* What was left out, so that what depends on it is left out too. */
    uint64_t held_inodes, held_entries;
    bool held_move; /* an entry of something that has been published before */
};

/*
 * Writes the CONTENT record of a file. *held: an extent that it would name is in no pack yet; nothing was written then. *rest: as in struct
 * draft_item.
 */
int push_content(struct draft *d, const struct inode *inode, bool *held, uint64_t *rest);

#endif
