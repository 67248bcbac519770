/*
 * note.h - the records of the log: what was changed in the index, in order. [note]
 *
 * The payload of a NOTE record (segment.h) is a row of groups, each { u8 origin, u32 length, notes }. A group is one operation:
 * all of it counts or nothing. origin: 1 a change made here, 2 one applied for sync (enum index_origin). Each note is a u8
 * kind and the fields below; a note names the primitive of index.h that it repeats at replay. An inode's fields are
 * preceded by a u16 mask that says which are there; the others are zero. `stored`, cookies, tombstones, dirty ranges and
 * counts are not in notes: the same calls on the same index make them again.
 *
 * The writers only append to a struct bytes_out and cannot fail but for its sticky ${bad}. The readers trust nothing:
 * every length has a cap, and what no writer makes is ERR_FORMAT.
 */
#ifndef FS_NOTE_H
#define FS_NOTE_H

#include "crypto/bytes.h"
#include "fs/inode.h"

#define NOTE_GROUP_HEAD 5u
#define NOTE_SPACE_MAX  31u        /* characters of a kv space */
#define NOTE_KEY_MAX    1024u      /* bytes of a kv key */
#define NOTE_VALUE_MAX  (4u << 20) /* bytes of a kv value */

/* [note-kind] Never reuse a number. */
enum note_kind {
    NOTE_INODE_PUT = 1,  /* ino u64, mask u16, the fields of the mask in the order of note.c */
    NOTE_INODE_DEL = 2,  /* ino u64 */
    NOTE_TARGET_PUT = 3, /* ino u64, target var16 */
    NOTE_ENTRY_PUT =
        4, /* parent u64, ino u64, type u32, lamport u64, device u32, dirty u8, name var16 */
    NOTE_ENTRY_DEL = 5, /* parent u64, name var16 */
    NOTE_XATTR_PUT = 6, /* ino u64, name var16, value var32 */
    NOTE_XATTR_DEL = 7, /* ino u64, name var16 */
    NOTE_EXTENT_PUT =
        8, /* eid u64, id (16), len u32, epoch u32, seg u64, off u64, pack u64, pack off u64 */
    NOTE_EXTENT_MOVE = 9,   /* eid u64, seg u64, off u64, pack u64, pack off u64 */
    NOTE_MAP_SET = 10,      /* ino u64, off u64, len u64, eid u64, eoff u32 */
    NOTE_MAP_PUNCH = 11,    /* ino u64, off u64, len u64 */
    NOTE_RANGES_CLEAR = 12, /* ino u64 */
    NOTE_KV_PUT = 13,       /* space var16, key var16, value var32 */
    NOTE_KV_DEL = 14        /* space var16, key var16 */
};

/* A note as read. Pointers go into the input. */
struct note {
    enum note_kind kind;
    uint64_t ino;        /* of all that concern one inode; the parent of NOTE_ENTRY_DEL */
    const uint8_t *name; /* entry or xattr name, kv space: without NUL inside */
    size_t name_len;
    const uint8_t *key;
    size_t key_len;
    const uint8_t *value; /* xattr or kv value, link target */
    size_t value_len;
    union {
        struct inode inode;   /* INODE_PUT */
        struct entry entry;   /* ENTRY_PUT */
        struct extent extent; /* EXTENT_PUT, EXTENT_MOVE (eid and places only) */
        struct map_row map;   /* MAP_SET, MAP_PUNCH */
    };
};

/* Opens a group at the end of ${out}; returns its mark for note_group_end. */
size_t note_group_begin(struct bytes_out *out, unsigned origin);
/* Closes it; a group without notes is taken away. */
void note_group_end(struct bytes_out *out, size_t mark);

void note_inode_put(struct bytes_out *out, const struct inode *inode);
void note_inode_del(struct bytes_out *out, uint64_t ino);
void note_target_put(struct bytes_out *out, uint64_t ino, const void *target, size_t len);
void note_entry_put(struct bytes_out *out, const struct entry *entry);
void note_entry_del(struct bytes_out *out, uint64_t parent, const void *name, size_t len);
void note_xattr_put(struct bytes_out *out, uint64_t ino, const char *name, const void *value,
                    size_t len);
void note_xattr_del(struct bytes_out *out, uint64_t ino, const char *name);
void note_extent_put(struct bytes_out *out, const struct extent *e);
void note_extent_move(struct bytes_out *out, const struct extent *e);
void note_map_set(struct bytes_out *out, uint64_t ino, const struct map_row *row);
void note_map_punch(struct bytes_out *out, uint64_t ino, uint64_t off, uint64_t len);
void note_ranges_clear(struct bytes_out *out, uint64_t ino);
void note_kv_put(struct bytes_out *out, const char *space, const void *key, size_t key_len,
                 const void *value, size_t len);
void note_kv_del(struct bytes_out *out, const char *space, const void *key, size_t key_len);

/* The next group of a NOTE payload: 1 (*origin and *notes are set), 0 at the end, ERR_FORMAT. */
int note_group_next(struct bytes_in *in, unsigned *origin, struct bytes_in *notes);
/* The size of the group that starts at ${p}, with its head; 0 if it is not whole. For cutting a buffer into records. */
size_t note_group_size(const uint8_t *p, size_t left);
/* The next note of a group: 1, 0 at the end, ERR_FORMAT. */
int note_next(struct bytes_in *notes, struct note *note);

#endif
