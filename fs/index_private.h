/*
 * index_private.h - what the index_*.c files share. Nobody else includes it.
 *
 * Everything here needs the index lock unless it says otherwise.
 */
#ifndef FS_INDEX_PRIVATE_H
#define FS_INDEX_PRIVATE_H

#include "fs/index.h"
#include "fs/note.h"

#include <pthread.h>
#include <stdatomic.h>

/* Prepared once, in this order, in index_schema.c. */
enum index_stmt {
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_STATE_GET,
    STMT_STATE_PUT,
    STMT_INODE_GET,
    STMT_INODE_INSERT,
    STMT_INODE_UPDATE,
    STMT_INODE_TOUCH,
    STMT_INODE_DEL,
    STMT_ORPHANS,
    STMT_TARGET_GET,
    STMT_TARGET_PUT,
    STMT_TARGET_DEL,
    STMT_ENTRY_WINDOW,
    STMT_ENTRY_INSERT,
    STMT_ENTRY_UPDATE,
    STMT_ENTRY_DEL,
    STMT_ENTRY_SCAN,
    STMT_ENTRY_ANY,
    STMT_XATTR_GET,
    STMT_XATTR_PUT,
    STMT_XATTR_DEL,
    STMT_XATTR_SCAN,
    STMT_XATTR_CLEAR,
    STMT_EXTENT_INSERT,
    STMT_EXTENT_GET,
    STMT_EXTENT_BY_ID,
    STMT_EXTENT_REF,
    STMT_EXTENT_UNREF,
    STMT_EXTENT_DEL,
    STMT_EXTENT_MOVE,
    STMT_MAP_BELOW,
    STMT_MAP_PUT,
    STMT_MAP_CUT,
    STMT_MAP_DEL,
    STMT_MAP_GET,
    STMT_RANGE_BELOW,
    STMT_RANGE_PUT,
    STMT_RANGE_DEL,
    STMT_RANGE_SCAN,
    STMT_RANGE_CLEAR,
    STMT_KV_GET,
    STMT_KV_PUT,
    STMT_KV_DEL,
    STMT_KV_SCAN,
    STMT_SEG_SCAN,
    STMT_SEG_PUT,
    STMT_SEG_DEL,
    STMT_DEAD_PUT,
    STMT_DEAD_SCAN,
    STMT_DEAD_DEL,
    STMT_COUNT
};

/* A write-back cache of inode rows: a write touches the same row many times between two commits. */
#define INDEX_CACHE_SLOTS 1024u

struct index_row {
    struct inode inode; /* inode.ino 0: the slot is empty */
    bool unwritten;     /* newer than the database row */
    bool in_db;         /* the row exists */
    uint32_t db_dirty,
        db_nlink; /* as in the row: when they stay, no partial index needs touching */
};

/* A row of a map with its extent, as it was at some moment. */
#define INDEX_SEEN_SETS 512u
#define INDEX_SEEN_WAYS 4u

struct index_seen {
    uint64_t ino; /* 0: empty */
    uint64_t age; /* worth something while it is the index's */
    struct map_row row;
    struct extent extent;
};

/* Live sealed bytes of a segment. */
struct index_seg {
    uint64_t seg, live;
    bool changed; /* since the last commit */
};

/* Bytes of a segment that nothing needs: record with its head. */
struct index_dead {
    uint64_t seg, off, len;
    bool early; /* may be given back before the next commit: see index_seg_extent_dead */
};

struct index_state {
    struct segment_pos log;      /* notes before it are in the database, */
    uint64_t groups;             /* and so many groups of the record there */
    bool groups_stored;          /* the database says so */
    uint64_t ino_next, eid_next; /* never used yet */
    struct index_stats stats;
};

struct index {
    /* set by index_open, then constant */
    sqlite3_stmt *stmt[STMT_COUNT];
    sqlite3 *db;
    struct segment_store *segments;
    int vault_fd;
    uint32_t device_tag;
    bool read_only;
    bool in_memory; /* read-only, and the log had to be replayed: db is a copy in memory */
    int (*verify_extent)(void *ctx, const struct extent *e);
    void *verify_ctx;
    uint8_t *hash_key; /* guarded memory: SipHash key of the names */

    pthread_mutex_t checkpoint_lock; /* one checkpoint at a time; taken first */
    /* keeps notes in order on their way into the log; taken before the index lock */
    pthread_mutex_t flush_lock;
    struct bytes_out out; /* flush_lock: whole groups being appended */
    struct index_dead
        *placed; /* flush_lock: notes appended since the last commit; dead once it is made */
    size_t placed_count, placed_cap;
    pthread_mutex_t lock; /* the index lock */

    /* guarded by lock */
    unsigned origin;        /* of the open group; 0: none is open */
    bool replaying;         /* changes make no notes */
    bool verifying;         /* at open: places of extents that notes speak of may hold anything */
    bool aborted;           /* a change failed in the middle of the open group */
    size_t group_mark;      /* where the open group starts in notes */
    struct bytes_out notes; /* groups not appended yet */
    size_t appending;       /* bytes that a flush took out of notes and has not appended yet */
    size_t held;            /* room in the log for notes beyond those that are being appended */
    size_t paged; /* bytes of notes still to be made whose pages have room in the database */
    struct index_state state;
    uint64_t eid_committed; /* eid_next of the last commit */
    uint64_t ino_unused;    /* counter: no inode of this device has it or a higher one */
    struct extent
        fresh; /* put and not referenced yet: inserted together with its first reference */
    bool has_fresh;
    bool gone_entries; /* there may be tombstones of entries */
    struct index_row cache[INDEX_CACHE_SLOTS];
    struct index_seen seen[INDEX_SEEN_SETS][INDEX_SEEN_WAYS];
    uint64_t seen_age;      /* grows with every group: see index_seen.c */
    unsigned seen_turn;     /* the way that is written next */
    struct index_seg *segs; /* ascending */
    size_t seg_count, seg_cap;
    struct index_dead *dead; /* since the last commit */
    size_t dead_count, dead_cap;
    bool tried_full; /* a commit on the full disk failed, and nothing has changed since */

    /* any thread */
    atomic_bool failed, full;
    atomic_uint_fast64_t ops, note_bytes;
    atomic_uint_fast64_t dead_bytes; /* about so many have died that no checkpoint has given back */
};

/* ---- index.c ---- */
/* Marks the index as failed for good (logged once) and gives our code for SQLite's ${rc}. */
int index_fail_sql(struct index *ix, int rc);
int index_fail(struct index *ix, int err, const char *what);
/* Start of each change: 0 if changes are allowed now, ERR_MISUSE outside a group, ERR_IO when failed. */
int index_change(const struct index *ix);
static inline bool index_local(const struct index *ix)
{
    return ix->origin == INDEX_LOCAL;
}
/* Where the note of a change goes; NULL at replay. */
static inline struct bytes_out *index_log(struct index *ix)
{
    return ix->replaying ? NULL : &ix->notes;
}

/* ---- index_schema.c ---- */
int index_schema_open(struct index *ix, bool create);
int index_schema_prepare(struct index *ix);
void index_schema_finalize(struct index *ix);
int index_state_load(struct index *ix);
int index_state_store(struct index *ix);
/* Steps a statement that reads: 1 a row, 0 done, or an error; reset unless there is a row. */
int index_read(sqlite3_stmt *stmt);
/* Runs a statement that changes, and resets it. An error is final for the index. */
int index_run(struct index *ix, sqlite3_stmt *stmt);
/* ${stmt} if it is idle, else a copy of it (a scan inside a scan); give back with index_scan_end. */
sqlite3_stmt *index_scan_begin(struct index *ix, enum index_stmt id);
void index_scan_end(struct index *ix, enum index_stmt id, sqlite3_stmt *stmt);
static inline void index_bind(sqlite3_stmt *stmt, int place, uint64_t v)
{
    sqlite3_bind_int64(stmt, place, (sqlite3_int64)v);
}
/* The bytes must stay until the statement is reset. */
static inline void index_bind_blob(sqlite3_stmt *stmt, int place, const void *p, size_t len)
{
    sqlite3_bind_blob(stmt, place, p ? p : "", (int)len, SQLITE_STATIC);
}
static inline uint64_t index_column(sqlite3_stmt *stmt, int place)
{
    return (uint64_t)sqlite3_column_int64(stmt, place);
}

/* ---- index_inode.c ---- */
/* The cached row of ${ino}, valid until the next call. ERR_NOENT. */
int index_row_get(struct index *ix, uint64_t ino, struct index_row **row);
int index_row_peek(struct index *ix, uint64_t ino, struct inode *inode);
/* After a change of row->inode: to be written at the next commit. Local: with ${dirty} ORed in. */
void index_row_touch(struct index *ix, struct index_row *row, uint32_t dirty);
/* Writes what is newer than the database. */
int index_rows_write(struct index *ix);
void index_rows_forget(struct index *ix);

/* ---- index_extent.c ---- */
int index_extent_settle(struct index *ix); /* inserts the fresh extent */
int index_extent_ref(struct index *ix, uint64_t eid, uint32_t eoff, uint64_t len);
int index_extent_unref(struct index *ix, uint64_t eid);

/* ---- index_map.c ---- */
int index_map_clear(struct index *ix, struct index_row *row); /* all of it; for deleting */

/* ---- index_seen.c ---- */
/* What was looked up lately has become worthless: a group begins, or the database was read again. */
void index_seen_forget(struct index *ix);
/* True: a row covers [off, end) of the file, and here it is. Never inside a group. */
bool index_seen_get(struct index *ix, uint64_t ino, uint64_t off, uint64_t end, struct map_row *row,
                    struct extent *e);
/* Remembers the row that was found for ${off}. */
void index_seen_put(struct index *ix, uint64_t ino, uint64_t off, const struct map_row *row,
                    const struct extent *e);

/* ---- index_kv.c ---- */
int index_kv_store(struct index *ix, const char *space, const void *key, size_t key_len,
                   const void *value, size_t len);
int index_kv_drop(struct index *ix, const char *space, const void *key, size_t key_len);
void index_key_be64(uint8_t key[8], uint64_t v);
#define INDEX_GONE_ENTRY "gone-entry"
#define INDEX_GONE_INODE "gone-inode"
#define INDEX_GONE_VALUE 12u
void index_gone_value(uint8_t value[INDEX_GONE_VALUE], struct version v);
int index_gone_refresh(struct index *ix); /* sets gone_entries from the database */
int index_xattr_clear(struct index *ix, uint64_t ino);

/* ---- index_seg.c ---- */
int index_seg_load(struct index *ix);
int index_seg_store(struct index *ix);
void index_seg_forget(struct index *ix);
uint64_t index_seg_live(struct index *ix, uint64_t seg);
int index_seg_add(struct index *ix, struct segment_pos at, uint64_t sealed);
/* The payload of ${sealed} bytes at ${at} died, and its record can be punched. */
int index_seg_sub(struct index *ix, struct segment_pos at, uint64_t sealed);
/* The same for an extent whose last reference went, not for one that moved. If the last commit knew it, its bytes may go
 * as soon as the log that says so is durable, before the next commit: whoever replays that log does not read them. */
int index_seg_extent_dead(struct index *ix, struct segment_pos at, uint64_t sealed, uint64_t eid);
/* Only the count: it is about to be added again. */
int index_seg_keep(struct index *ix, struct segment_pos at, uint64_t sealed);
/* The record with ${len} bytes of payload at ${at} is not needed any more. */
int index_seg_dead(struct index *ix, struct segment_pos at, uint64_t len);
/* Sorts and joins neighbours; the number that is left. */
size_t index_dead_merge(struct index_dead *dead, size_t n);

/* ---- index_commit.c ---- */
#define INDEX_RECORD_TARGET                                                                        \
    (64u << 10) /* bytes of groups in one NOTE record, if they are smaller than that */
/* Needs flush_lock and lock. Appends all buffered notes; index_flush_locked also syncs. */
int index_append_locked(struct index *ix);
int index_flush_locked(struct index *ix);
/* Needs flush_lock and lock; all notes before ${log}, ${groups} groups of the record there, and no others are in the
 * transaction. ERR_NOSPACE: the disk is full, the transaction is gone. After success and ERR_NOSPACE alike none is open
 * (index_txn_begin). */
int index_commit_at(struct index *ix, struct segment_pos log, uint64_t groups);
int index_txn_begin(struct index *ix);
/* Reads counts and caches again from the database, after open and after a lost transaction. */
int index_reload(struct index *ix);
/* Room in the log that ${bytes} of notes take at most. */
size_t index_note_room(size_t bytes);

/* ---- index_replay.c ---- */
/* At open: replays what the log has beyond the database, and commits it (read-only: into a copy in memory). [no lock] */
int index_replay_open(struct index *ix);
/* After a lost transaction: replays ${records} records of notes from the last commit on, committing in small steps while
 * there is room. *stuck: there was not, and the rest is in the open transaction. Leaves a transaction open. Needs flush_lock
 * and lock. */
int index_replay_again(struct index *ix, uint64_t records, bool refused, bool *stuck);

/* ---- index_room.c ---- */
#define INDEX_FREES_RESERVE (512u << 10) /* room in the log that only INDEX_FREES may use */
#define INDEX_WAL_ROOM      (2u << 20)   /* room of SQLite's log that is ours for good */
/* Room for a group of ${room} bytes of notes. ${frees}: it may use the reserve. ERR_NOSPACE, ERR_IO, ERR_ROFS. */
int index_room_hold(struct index *ix, size_t room, bool frees);
/* ${notes} bytes of notes were made. */
void index_room_used(struct index *ix, size_t notes);
/* What deleting on a full disk needs: for its notes, and in the database. */
int index_room_least(struct index *ix);
int index_room_database(struct index *ix); /* only that */

/* ---- index_full.c ---- */
/* The commit found no room: see index.h; the arguments are those of index_replay_again (UINT64_MAX, false: all of the log).
 * Leaves a transaction open with all that the log has. ix->tried_full: the commit has to be tried again. */
int index_full_enter(struct index *ix, uint64_t records, bool refused);
/* True if another commit may do better than the last. */
bool index_full_retry(struct index *ix);
/* True if the disk may have what leaving the full state needs. */
bool index_full_room(const struct index *ix);
/* After a commit worked: takes all reserves back; the disk is full if that does not work. */
void index_full_leave(struct index *ix);

#endif
