/*
 * index.h - the sealed database that says what exists, and its log.
 *
 * The index is SQLite through crypto/pagevfs. Between commits it sits in one open transaction. Each change also
 * goes as a note record (note.h) into a buffer that index_flush appends to the current segment: *the log is what makes
 * changes durable, and the database is a checkpoint of it.* After a crash, opening replays the log from the position
 * that the last commit wrote down; the replayed notes call the same functions that made them. [index-replay]
 *
 * A full disk: log and database have room reserved for small operations before they are begun (index_begin), so what was
 * answered is kept. A commit that meets a full disk is rolled back by SQLite; the index then replays its log (all of it is
 * on disk, nothing is lost) in steps that fit, goes "full" - index_begin answers ERR_NOSPACE but for INDEX_FREES -
 * gives up its ballast file, and recovers by itself when there is room. Where not even a step fits, what is left is
 * replayed into the open transaction, and index_checkpoint gives back first what deletions in the log have made needless.
 * INDEX_FREES finds no room either when its reserve in the log is used up: index_checkpoint makes it new.
 * Any other failure in the middle of an operation is final: the index turns read-only (index_failed).
 *
 * Locking: index_lock is THE lock of the tree; every function here needs it but those marked [no lock]. Held for
 * microseconds; no I/O to segments, no network and no sealing of data under it (a commit writes under it, and syncs
 * the little that came since its sync outside; on a full disk it reads the log again and checkpoints under it, for nothing
 * could go on meanwhile). Lock order: reclaim lock (vault.h) -> index lock -> segment's own.
 */
#ifndef FS_INDEX_H
#define FS_INDEX_H

#include "crypto/bytes.h"
#include "fs/inode.h"

#include <sqlite3.h>

struct index;

struct index_params {
    int vault_fd;
    const char *vault_path;    /* for SQLite, which opens by path */
    const uint8_t *device_key; /* 32 bytes; subkeys are derived and kept in guarded memory */
    const uint8_t *vault_id;   /* 32 bytes */
    uint32_t device_tag;
    struct segment_store *segments; /* borrowed */
    bool create, read_only;
    /* Asked at replay of notes whose extents were never synced: does the extent at this place verify? (vault.c) */
    int (*verify_extent)(void *ctx, const struct extent *e);
    void *verify_ctx;
};

/* Creates or opens and replays. ERR_AUTH/ERR_FORMAT: damaged. [no lock] */
int index_open(struct index **ix, const struct index_params *params);
/* Flushes, commits, checkpoints, closes. The first error. [no lock] */
int index_close(struct index *ix);

void index_lock(struct index *ix);
void index_unlock(struct index *ix);

/* ---- operations ---- */

enum index_origin {
    /* a change made here: marks what it changes dirty, and records tombstones for sync */
    INDEX_LOCAL = 1,
    /* applied from another device's batch, or sync's own bookkeeping: marks nothing */
    INDEX_REMOTE = 2,
    INDEX_FREES = 16 /* flag: allowed on a full disk (deleting, truncating to less) */
};

/* Begins a group of changes that survive a crash together or not at all; every change below must be in one (else ERR_MISUSE).
 * ${room}: bytes of notes it may make at most (0: a usual small operation, up to 8 KiB; whoever puts larger values adds their
 * sizes, up to 8 MiB). Check everything before the first change: there is no undo. ERR_NOSPACE, ERR_ROFS, ERR_TOOBIG. */
int index_begin(struct index *ix, unsigned origin, size_t room);
/* Ends the group, before the lock is let go of (a group without changes costs nothing). Changes are visible at once and durable after the next index_flush. */
void index_end(struct index *ix);

/* Makes everything ended before the call durable: appends the buffered notes and syncs the segments. [no lock] */
int index_flush(struct index *ix);
/* Flush, then commit the database transaction at an exact point of the log. [no lock] */
int index_commit(struct index *ix);
/* Commit, sync and checkpoint the database; then the log before this point is not needed: segments without live
 * extents are dropped and dead extents are punched (under the reclaim lock that vault.h hands in; NULL: nobody else is
 * there). Whoever appends an extent holds that lock shared until index_map_set has made it count: until then its
 * segment may look dead. [no lock] */
int index_checkpoint(struct index *ix, void (*reclaim_lock)(void *), void (*reclaim_unlock)(void *),
                     void *ctx);
/* How much waits: operations since the last commit, bytes of notes not flushed. For the committer. [no lock] */
void index_waiting(struct index *ix, uint64_t *ops, uint64_t *note_bytes);
bool index_failed(struct index *ix); /* also when the segments failed [no lock] */
bool index_full(struct index *ix);   /* [no lock] */
/* About so many bytes of segments are dead, and a checkpoint will give them back. [no lock] */
uint64_t index_reclaimable(struct index *ix);

/* ---- inodes ---- ERR_NOENT where there is none */
int index_inode_new(struct index *ix, uint64_t *ino); /* a number never used before */
int index_inode_get(struct index *ix, uint64_t ino, struct inode *inode);
/* Inserts or replaces. `stored` is the map's and is not taken from ${inode}. Local: ORs the dirty bits given in inode->dirty
 * into what is stored (a new inode gets DIRTY_ATTR) and keeps the stored versions. Remote: versions and dirty as given. */
int index_inode_put(struct index *ix, const struct inode *inode);
/* Sets the inode's atime, as relatime does: only if it is not newer than mtime and ctime, or a day old. No change in the sense of
 * a group: nothing is logged, and after a crash it may be as it was at the last checkpoint. Those of many inodes wait for a
 * commit (index_waiting), a few for what comes next. */
void index_accessed(struct index *ix, uint64_t ino, int64_t now);
/* Deletes the inode, its map (extents lose a reference), xattrs and target. Local and published: leaves a tombstone. */
int index_inode_del(struct index *ix, uint64_t ino);
int index_target_get(struct index *ix, uint64_t ino, char *target, size_t size, size_t *len);
int index_target_put(struct index *ix, uint64_t ino, const void *target, size_t len);
/* Calls ${each} for every inode with nlink 0. */
int index_orphans(struct index *ix, int (*each)(void *ctx, uint64_t ino), void *ctx);

/* ---- entries ---- */
int index_entry_get(struct index *ix, uint64_t parent, const char *name, size_t len,
                    struct entry *entry);
/* Inserts, or points an existing name at another inode. parent, name, name_len, ino, type are used; version and dirty when
 * remote (local: keeps the stored version and sets dirty; a name that comes back takes the version of its tombstone, which
 * goes). The cookie is found by the index and returned in ${entry}. */
int index_entry_put(struct index *ix, struct entry *entry);
/* Local and published: leaves a tombstone with the published version. */
int index_entry_del(struct index *ix, uint64_t parent, const char *name, size_t len);
/* Entries of a directory with cookie > ${after}, in cookie order, until ${each} returns non-zero (returned). ${inode} is
 * NULL unless ${with_inodes}. ${each} must not change the index. */
int index_entry_scan(struct index *ix, uint64_t parent, uint64_t after, bool with_inodes,
                     int (*each)(void *ctx, const struct entry *entry, const struct inode *inode),
                     void *ctx);
/* True if the directory has an entry. */
int index_entry_any(struct index *ix, uint64_t parent, bool *any);

/* ---- xattrs ---- ERR_NODATA */
int index_xattr_get(struct index *ix, uint64_t ino, const char *name, struct bytes_out *value);
int index_xattr_put(struct index *ix, uint64_t ino, const char *name, const void *value,
                    size_t len);
int index_xattr_del(struct index *ix, uint64_t ino, const char *name);
int index_xattr_scan(struct index *ix, uint64_t ino,
                     int (*each)(void *ctx, const char *name, const void *value, size_t len),
                     void *ctx);

/* ---- extents and maps ---- */
/* A new extent with refs 0; give it references (index_map_set) in the same operation. Sets e->eid (if 0). Remote: ERR_EXIST
 * (nothing changed) if the id is known. */
int index_extent_put(struct index *ix, struct extent *e);
int index_extent_get(struct index *ix, uint64_t eid, struct extent *e);
int index_extent_by_id(struct index *ix, const uint8_t id[16], struct extent *e);
/* Changes where it is: segment place and pack place as in ${e}. The old local place, if it changed, counts as dead. */
int index_extent_move(struct index *ix, const struct extent *e);
/* Maps [off, off+len) of the file to the extent, cutting or removing what was mapped there. Extents that lose their last reference are
 * deleted and their place counted as dead. Updates the inode's `stored`; not its size. */
int index_map_set(struct index *ix, uint64_t ino, uint64_t off, uint64_t len, uint64_t eid,
                  uint32_t eoff);
/* Makes [off, off+len) a hole. len UINT64_MAX: to the end. */
int index_map_punch(struct index *ix, uint64_t ino, uint64_t off, uint64_t len);
/* Rows that meet [off, off+len), in order, not cut to it; at most ${max}; *n how many. */
int index_map_get(struct index *ix, uint64_t ino, uint64_t off, uint64_t len, struct map_row *rows,
                  struct extent *extents, size_t max, size_t *n);
/* Ranges of a published file that changed here since (DIRTY_CONTENT): sync reads and clears them. */
int index_dirty_ranges(struct index *ix, uint64_t ino,
                       int (*each)(void *ctx, uint64_t off, uint64_t len), void *ctx);
int index_dirty_ranges_clear(struct index *ix, uint64_t ino);

/* ---- small things by space and key: sync's own tables (heads, outbox, packs, stores, tombstones) ---- */
/* A space is 1 to 31 characters, a key at most 1024 bytes, a value at most 4 MiB (else ERR_INVAL). [kv-caps] */
/* ERR_NOENT. ${value} is appended to. */
int index_kv_get(struct index *ix, const char *space, const void *key, size_t key_len,
                 struct bytes_out *value);
int index_kv_put(struct index *ix, const char *space, const void *key, size_t key_len,
                 const void *value, size_t len);
/* ERR_NOENT. */
int index_kv_del(struct index *ix, const char *space, const void *key, size_t key_len);
/* In order of the key's bytes, from ${from} on (NULL: the first), until ${each} returns non-zero (returned). ${each} must not change the index. */
int index_kv_scan(struct index *ix, const char *space, const void *from, size_t from_len,
                  int (*each)(void *ctx, const void *key, size_t key_len, const void *value,
                              size_t len),
                  void *ctx);
/* Tombstones are kept in the spaces "gone-entry" (key: parent be64 || name; value: version lamport u64, device u32) and "gone-inode"
 * (key: ino be64; value: as before). [tombstone] */

/* For queries that only read (SELECT); the caller finalizes, before it lets go of the lock: what changes later may not be in
 * the tables yet. The schema is in index_schema.c. */
int index_prepare(struct index *ix, const char *sql, sqlite3_stmt **stmt);

/* Counts for statfs, status, info. */
struct index_stats {
    uint64_t inodes, extents;
    uint64_t mapped_bytes;   /* sum of `stored` */
    uint64_t local_bytes;    /* sealed bytes of extents that are here */
    uint64_t unpacked_bytes; /* of extents in no pack yet */
    uint64_t dirty_inodes;
};
int index_stats(struct index *ix, struct index_stats *stats);

#endif
