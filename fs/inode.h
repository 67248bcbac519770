/*
 * inode.h - the types that index, tree, data and sync share.
 */
#ifndef FS_INODE_H
#define FS_INODE_H

#include "fs/segment.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define INODE_ROOT       1u
#define NAME_LEN_MAX     255u
#define TARGET_LEN_MAX   4095u
#define XATTR_SIZE_LIMIT 65536u
#define FILE_SIZE_MAX    INT64_MAX

/*
 * Inode numbers are unique in the whole vault, on all devices: device tag (23 bits, not 0) << 40 | counter. The root is 1.
 * The tag is drawn from the device's public key and is different for every device in the roster.
 */
#define INODE_TAG_SHIFT 40

/* Who wrote last, for merging: ordered by lamport, then device tag. {0, 0}: never published. */
struct version {
    uint64_t lamport;
    uint32_t device;
};

/* What of an inode changed here and has not been put into a journal batch yet. */
enum {
    DIRTY_ATTR = 1,    /* mode, owner, times, link target, or the inode is new */
    DIRTY_CONTENT = 2, /* size or map */
    DIRTY_XATTR = 4,
    DIRTY_TIMES = 8, /* of the attributes, only times */
    DIRTY_AGAIN =
        16 /* sync's: with the bits above; published before, and not changed here since. A change made here takes it off. */
};

struct inode {
    uint64_t ino;
    uint32_t mode;  /* with the S_IFMT bits */
    uint32_t nlink; /* 0: unlinked but open */
    uint32_t uid, gid;
    uint32_t rdev;
    uint64_t size;
    uint64_t stored; /* bytes of the file that are mapped to extents (st_blocks) */
    int64_t atime, mtime, ctime, btime; /* nanoseconds since 1970 */
    uint64_t parent; /* directories only: the directory that holds it (the root: itself) */
    /* sync; set by sync/ only */
    struct version attr_version, content_version, xattr_version;
    uint32_t dirty; /* DIRTY_..., set by the index for changes made here */
};

/* An extent: bytes sealed once. Lives as long as a map refers to it (refs > 0). */
struct extent {
    uint64_t eid;   /* local number */
    uint8_t id[16]; /* its global id, the first half of its nonces */
    uint32_t len;   /* plaintext bytes */
    uint32_t epoch;
    uint32_t refs;
    struct segment_pos at; /* where the sealed bytes are here; seg 0: not here */
    uint64_t pack;     /* local number of the pack that holds it (sync's table); 0: in none yet */
    uint64_t pack_off; /* where in the pack the sealed bytes start */
};

/* File bytes [off, off+len) are extent bytes [eoff, eoff+len). Ranges that no row covers are holes. */
struct map_row {
    uint64_t off, len;
    uint64_t eid;
    uint32_t eoff;
};

struct entry {
    uint64_t parent;
    uint64_t cookie; /* place in the directory: stable, > 2, unique in it */
    uint64_t ino;
    uint32_t type;          /* S_IFMT bits of the inode */
    struct version version; /* {0,0}: not published */
    bool dirty;
    uint8_t name_len;
    char name[NAME_LEN_MAX + 1]; /* NUL-terminated for convenience; bytes, any but NUL and '/' */
};

#endif
