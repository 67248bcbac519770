/*
 * batch.h - a journal batch: what a device changed, sealed, signed and chained. [batch]
 *
 * journal/<device name>/<seq, 16 hex digits>:
 *   head (plain, signed): magic "OBSJ"; u8 version 1; u8 suite 1; u16 0; vault id (32); device public key (32); u64 seq (from 1);
 *     previous batch's hash (32, zero for seq 1); roster hash (32); u32 epoch; u64 lamport; u16 n; n x { device tag u32; seq u64;
 *     hash (32) }: the heads of all devices that its author had applied, by ascending tag               [batch-head]
 *   u32 length; body: a sealed object (OBJECT_BATCH, key KDF_JOURNAL, place = the object's name) of the records, padded with
 *     PAD records of zeroes to Padmé sizes of at least 4 KiB                                            [batch-body]
 *   signature (64) over everything before, domain "obs-batch"                                           [batch-signature]
 * The hash of a batch is kdf_hash("obs-batch", all its bytes).
 *
 * Readers check in this order: size cap, head parse, vault id, device in roster, signature, seq and previous hash, then open
 * the body, then parse records with all caps, then apply everything in one index operation or nothing.
 *
 * Records are state, not operations. A thing that moved is named at its new place before its old name is said to be gone, if need be in
 * an earlier batch of the same push; GONE comes after all entries. The version of everything in a batch is (lamport, device tag); `base` is the version that the author
 * saw before. Each record: u8 kind, u32 length, content:                                       [batch-record]
 *   PAD      zeroes
 *   PACK     hash (32), size u64
 *   ATTR     base, ino u64, mode u32, uid u32, gid u32, rdev u32 (0 but for devices), atime, mtime, ctime, btime i64, target var16
 *            (1 to 4095 bytes without NUL for symlinks, else empty)
 *   CONTENT  base, ino u64, size u64, mtime i64, whole u8, parent u64, name var16 (parent 0 and empty: unknown), u32 n, n ranges by
 *            ascending offset, apart, within the size: off u64, len u64, hole u8, and unless a hole: id (16), extent length u32, epoch u32,
 *            offset in the extent u32, pack u32, offset in the pack u64
 *   XATTRS   base, ino u64, u16 n, n x { name var16, value var32 }, by ascending name
 *   ENTRY    base, parent u64, ino u64, type u32 (S_IFMT bits; 0 if ino is 0), name var16
 *   GONE     base, ino u64
 * base is lamport u64, device u32. An extent is the same (length, epoch) wherever a batch names it; of its places the one
 * that was applied last counts.
 */
#ifndef SYNC_BATCH_H
#define SYNC_BATCH_H

#include "crypto/bytes.h"
#include "crypto/seal.h"
#include "crypto/sign.h"
#include "fs/inode.h"

#define BATCH_MAX (16u << 20) /* bytes of a batch object at most */
/* a writer begins another batch past this many bytes of records */
#define BATCH_BODY_GOAL (1u << 20)
#define BATCH_HEADS_MAX 1024u
#define BATCH_MAP_FULL  256u /* a map of at most so many rows is always sent whole */
/* ranges of one CONTENT record at most; a longer map goes in several, the later ones not
 * ${whole} */
#define BATCH_RANGES_MAX 65536u
#define BATCH_XATTRS_MAX 1024u /* xattrs of one inode at most */
#define BATCH_NAME_LEN   64u   /* "journal/<32 hex>/<16 hex>" with its NUL: 58 */

struct batch_head_ref { /* one device's head in the vector */
    uint32_t device;
    uint64_t seq;
    uint8_t hash[32];
};

struct batch_head {
    uint8_t vault_id[32], device_key[SIGN_PUBLIC_LEN];
    uint64_t seq;
    uint8_t prev[32], roster[32];
    uint32_t epoch;
    uint64_t lamport;
    uint16_t ref_count;
    struct batch_head_ref *refs; /* owned */
};

enum batch_kind {
    BATCH_PAD = 0,
    BATCH_PACK = 1,    /* names a pack; later records of this batch call it by its order, from 0 */
    BATCH_ATTR = 2,    /* an inode's mode, owner, times, link target; makes the inode if new */
    BATCH_CONTENT = 3, /* a file's size and map: whole, or the ranges that changed */
    BATCH_XATTRS = 4,  /* all xattrs of an inode */
    BATCH_ENTRY = 5,   /* a name points at an inode, or (ino 0) at nothing */
    BATCH_GONE = 6     /* an inode is deleted (its last name went) */
};

struct batch_range {
    uint64_t off, len;
    bool hole;
    /* the extent, unless a hole */
    uint8_t id[16];
    uint32_t extent_len, epoch, eoff;
    uint32_t pack; /* order of the BATCH_PACK record in this batch */
    uint64_t pack_off;
};

struct batch_record {
    enum batch_kind kind;
    struct version base;
    union {
        struct {
            uint8_t name[32]; /* the pack's hash */
            uint64_t size;
        } pack;
        struct {
            struct inode inode; /* ino, mode, uid, gid, rdev, atime, mtime, ctime, btime */
            const char *target; /* symlinks; borrowed */
            size_t target_len;
        } attr;
        struct {
            uint64_t ino, size;
            int64_t mtime;
            /* ranges describe the whole file (what they leave out is a hole) */
            bool whole;
            uint64_t parent;  /* where the author knows it: places a conflict copy */
            const char *name; /* borrowed */
            size_t name_len;
            /* owned by the reader's scratch, valid during the callback */
            struct batch_range *ranges;
            size_t range_count;
        } content;
        struct {
            uint64_t ino;
            /* u16 count, then { var16 name, var32 value } ...; borrowed, already validated */
            const uint8_t *pairs;
            size_t pairs_len; /* batch_xattrs_next walks them */
        } xattrs;
        struct {
            uint64_t parent, ino; /* ino 0: deleted */
            uint32_t type;
            const char *name;
            size_t name_len;
        } entry;
        struct {
            uint64_t ino;
        } gone;
    } u;
};

/* ---- writing ---- */
struct batch_writer;
struct batch_writer *batch_writer_new(void);
void batch_writer_free(struct batch_writer *w);
/* Appends; order matters only for packs (before the records that call them). ERR_NOMEM, ERR_MISUSE. */
int batch_write(struct batch_writer *w, const struct batch_record *record);
/* The number that records use for this pack; writes the BATCH_PACK record the first time. */
int batch_write_pack(struct batch_writer *w, const uint8_t name[32], uint64_t size,
                     uint32_t *order);
size_t batch_writer_size(const struct batch_writer *w); /* bytes of records so far */
/* Pads, seals, signs. ${epoch_key}: of head->epoch. ${name}: the object's name on the store. */
int batch_finish(struct batch_writer *w, const struct batch_head *head,
                 const uint8_t epoch_key[SECRET_KEY_LEN], const char *name,
                 const struct sign_keys *keys, struct bytes_out *out);

/* "journal/<device>/<seq>". ${device}: its name on the store (roster.h). */
void batch_name(const char *device, uint64_t seq, char name[BATCH_NAME_LEN]);

/* ---- reading ---- */
/* The device key that the head claims, so that it can be looked up before anything else is done. ERR_FORMAT, ERR_VERSION. */
int batch_peek(const uint8_t *p, size_t len, uint8_t device_key[SIGN_PUBLIC_LEN]);
/* Parses the head and checks form and signature (against the key in the head: the caller checks that this key is in the roster
 * BEFORE by batch_peek, and seq, prev and name after). hash: of the whole. batch_head_release frees. ERR_FORMAT, ERR_VERSION, ERR_AUTH. */
int batch_open_head(const uint8_t *p, size_t len, struct batch_head *head, uint8_t hash[32]);
void batch_head_release(struct batch_head *head);
/* Opens the body and calls ${each} for every record but PAD in order, until it returns non-zero
 * (returned); everything is validated (names, types, ranges, caps) before the first call. */
int batch_open_body(const uint8_t *p, size_t len, const uint8_t epoch_key[SECRET_KEY_LEN],
                    const uint8_t vault_id[32], const char *name,
                    int (*each)(void *ctx, const struct batch_record *record), void *ctx);

/* Walks ${pairs}: start with *in over them after its u16 count. True: *name (NOT NUL-terminated) and *value are set. */
void batch_xattrs_begin(struct bytes_in *in, const struct batch_record *record, uint16_t *count);
bool batch_xattrs_next(struct bytes_in *in, const char **name, size_t *name_len, const void **value,
                       size_t *value_len);

#endif
