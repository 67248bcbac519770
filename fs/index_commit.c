/*
 * How changes become durable: notes into the log, the transaction into the database, and what that makes needless away.
 */
#include "fs/index_private.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/pagevfs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the log ---- */

size_t index_note_room(size_t bytes)
{
    /* Records are cut at group boundaries, so one may be half full. */
    return bytes + (bytes / (INDEX_RECORD_TARGET / 2) + 2) * SEGMENT_NOTE_OVERHEAD;
}

static int remember_placed(struct index *ix, struct segment_pos pos, size_t len)
{
    if (ix->placed_count == ix->placed_cap) {
        size_t cap = ix->placed_cap ? ix->placed_cap * 2 : 64;
        struct index_dead *p = reallocarray(ix->placed, cap, sizeof(*p));
        if (!p)
            return ERR_NOMEM;
        ix->placed = p;
        ix->placed_cap = cap;
    }
    ix->placed[ix->placed_count++] =
        (struct index_dead){pos.seg, pos.off, len + SEGMENT_NOTE_OVERHEAD - SEGMENT_HEAD, false};
    return 0;
}

/* The length of the next record: whole groups. 0: what is there is not whole groups. */
static size_t next_record(const uint8_t *p, size_t left)
{
    size_t len = 0;
    while (len < left) {
        size_t group = note_group_size(p + len, left - len);
        if (group == 0)
            return 0;
        if (len && len + group > INDEX_RECORD_TARGET)
            break;
        len += group;
    }
    return len;
}

/* flush_lock held. After an error the rest stays in ix->out, and the next flush starts with it. */
static int append_out(struct index *ix)
{
    size_t done = 0;
    int err = 0;
    while (!err && done < ix->out.len) {
        struct segment_pos pos;
        size_t len = next_record(ix->out.p + done, ix->out.len - done);
        err = len ? segment_append(ix->segments, SEGMENT_NOTE, ix->out.p + done, len, &pos)
                  : ERR_MISUSE;
        if (err)
            break;
        done += len;
        if (remember_placed(ix, pos, len) != 0)
            log_warn("index: out of memory; some space in the segments is freed later");
    }
    if (done) {
        memmove(ix->out.p, ix->out.p + done, ix->out.len - done);
        ix->out.len -= done;
    }
    return err;
}

/* flush_lock and lock held: takes the buffered notes over into ix->out. */
static int take_notes(struct index *ix)
{
    const size_t room = index_note_room(ix->notes.len);
    if (ix->notes.len == 0)
        return 0;
    if (ix->out.len == 0) {
        struct bytes_out empty = ix->out;
        ix->out = ix->notes;
        ix->notes = empty;
    } else {
        bytes_put(&ix->out, ix->notes.p, ix->notes.len);
        if (ix->out.bad) {
            ix->out.bad = false;
            return ERR_NOMEM;
        }
        bytes_out_reset(&ix->notes);
    }
    ix->held -= ix->held < room ? ix->held : room;
    ix->appending = ix->out.len;
    atomic_store_explicit(&ix->note_bytes, 0, memory_order_relaxed);
    return 0;
}

int index_append_locked(struct index *ix)
{
    int err = take_notes(ix);
    if (!err)
        err = append_out(ix);
    ix->appending = ix->out.len;
    return err;
}

int index_flush_locked(struct index *ix)
{
    int err = index_append_locked(ix);
    int sync_err = segment_sync(ix->segments);
    return err ? err : sync_err;
}

int index_flush(struct index *ix)
{
    if (ix->read_only)
        return 0;
    pthread_mutex_lock(&ix->flush_lock);
    index_lock(ix);
    int err = take_notes(ix);
    index_unlock(ix);
    if (!err)
        err = append_out(ix);
    index_lock(ix);
    ix->appending = ix->out.len;
    index_unlock(ix);
    pthread_mutex_unlock(&ix->flush_lock);
    /* Extents were appended before the notes that speak of them, and a sync covers all that comes before: without it a
     * power cut takes what fsync(2) or a commit has promised. Outside the lock, so that several callers share one. */
    int sync_err = segment_sync(ix->segments);
    return err ? err : sync_err;
}

/* ---- the database ---- */

int index_txn_begin(struct index *ix)
{
    return index_run(ix, ix->stmt[STMT_BEGIN]);
}

int index_reload(struct index *ix)
{
    index_rows_forget(ix);
    ix->has_fresh = false;
    int err = index_state_load(ix);
    ix->ino_unused = ix->state.ino_next;
    ix->eid_committed = ix->state.eid_next;
    if (!err)
        err = index_seg_load(ix);
    return err ? err : index_gone_refresh(ix);
}

static int write_all(struct index *ix)
{
    int err = index_extent_settle(ix);
    if (!err)
        err = index_rows_write(ix);
    for (size_t i = 0; !err && i < ix->placed_count; i++) {
        const struct index_dead *p = &ix->placed[i];
        err = index_seg_dead(ix, (struct segment_pos){p->seg, p->off}, p->len);
    }
    ix->placed_count = 0;
    if (!err)
        err = index_seg_store(ix);
    if (!err && ix->gone_entries)
        err = index_gone_refresh(ix);
    return err ? err : index_state_store(ix);
}

/* COMMIT; SQLITE_FULL: there is no room. */
static int step_commit(struct index *ix)
{
    /* Without it a full disk could hold commits that no checkpoint can take into the database: SQLite's log would never
     * get short again, and deleting would free nothing. */
    int err = pagevfs_reserve(ix->db, 0, 0);
    if (err == ERR_NOSPACE)
        return SQLITE_FULL;
    int rc = sqlite3_step(ix->stmt[STMT_COMMIT]);
    if (rc != SQLITE_DONE)
        rc = sqlite3_extended_errcode(ix->db);
    sqlite3_reset(ix->stmt[STMT_COMMIT]);
    return rc;
}

int index_commit_at(struct index *ix, struct segment_pos log, uint64_t groups)
{
    ix->state.log = log;
    ix->state.groups = groups;
    int err = write_all(ix);
    if (err)
        return err;
    int rc = step_commit(ix);
    if (rc == SQLITE_DONE) {
        ix->eid_committed = ix->state.eid_next;
        atomic_store_explicit(&ix->ops, 0, memory_order_relaxed);
        return 0;
    }
    if ((rc & 0xff) != SQLITE_FULL)
        return index_fail_sql(ix, rc);
    if (!sqlite3_get_autocommit(ix->db) &&
        sqlite3_exec(ix->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        return index_fail_sql(ix, sqlite3_extended_errcode(ix->db));
    return ERR_NOSPACE;
}

/*
 * flush_lock and lock held. The notes that came since the flush outside the lock are synced before COMMIT: although the
 * commit itself is not synced, the kernel may write it at any time, and a database that refers to bytes that a power
 * cut took would be damaged.
 */
static int commit_locked(struct index *ix)
{
    if (index_failed(ix))
        return ERR_IO;
    int err = index_flush_locked(ix);
    if (err)
        return err;
    return index_commit_at(ix, segment_tail(ix->segments), 0);
}

/* The same, and what has to follow a commit; leaves a transaction open. ERR_NOSPACE: not all of the log is committed. */
static int commit_and_begin(struct index *ix)
{
    int err = commit_locked(ix);
    if (err == ERR_NOSPACE && sqlite3_get_autocommit(ix->db)) {
        int full_err = index_full_enter(ix, UINT64_MAX, false);
        return full_err ? full_err : ix->tried_full ? ERR_NOSPACE : 0;
    }
    if (err)
        return err;
    ix->tried_full = false;
    if (index_full(ix))
        index_full_leave(ix);
    return index_txn_begin(ix);
}

/* flush_lock and lock held. */
static int commit_full(struct index *ix)
{
    if (atomic_load(&ix->ops) != 0 || ix->tried_full)
        return index_full_retry(ix) ? commit_and_begin(ix) : ERR_NOSPACE;
    if (index_full_room(ix)) /* nothing waits */
        index_full_leave(ix);
    return 0;
}

/* On some file systems what was freed, here or by others, is free only when their own journal says so. That can take long
 * where others write: no lock that an operation needs. */
static void settle_freed(struct index *ix)
{
    if (index_full(ix))
        (void)syncfs(ix->vault_fd);
}

int index_commit(struct index *ix)
{
    if (ix->read_only)
        return 0;
    settle_freed(ix);
    int err = index_flush(ix);
    if (err)
        return err;
    pthread_mutex_lock(&ix->flush_lock);
    index_lock(ix);
    if (index_full(ix))
        err = commit_full(ix);
    else if (atomic_load(&ix->ops) != 0)
        err = commit_and_begin(ix);
    index_unlock(ix);
    pthread_mutex_unlock(&ix->flush_lock);
    return err;
}

/* ---- giving space back ---- */

/* What a checkpoint has made needless. */
struct needless {
    struct index_dead *dead;
    size_t dead_count;
    uint64_t last_id;
    uint64_t *alive; /* segments with live extents at the commit, ascending */
    size_t alive_count;
    uint64_t log_seg;
};

static int collect_dead(struct index *ix, struct needless *n)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_DEAD_SCAN];
    size_t cap = 0;
    int got;
    while ((got = index_read(stmt)) == 1) {
        if (n->dead_count == cap) {
            cap = cap ? cap * 2 : 256;
            struct index_dead *p = reallocarray(n->dead, cap, sizeof(*p));
            if (!p) {
                sqlite3_reset(stmt);
                return ERR_NOMEM;
            }
            n->dead = p;
        }
        uint64_t id = index_column(stmt, 0);
        n->last_id = id > n->last_id ? id : n->last_id;
        n->dead[n->dead_count++] = (struct index_dead){index_column(stmt, 1), index_column(stmt, 2),
                                                       index_column(stmt, 3), false};
    }
    n->dead_count = index_dead_merge(n->dead, n->dead_count);
    return got;
}

static int collect(struct index *ix, struct needless *n)
{
    n->log_seg = ix->state.log.seg;
    n->alive = calloc(ix->seg_count + 1, sizeof(*n->alive));
    if (!n->alive)
        return ERR_NOMEM;
    for (size_t i = 0; i < ix->seg_count; i++)
        n->alive[n->alive_count++] = ix->segs[i].seg;
    return collect_dead(ix, n);
}

struct dropping {
    struct index *ix;
    const struct needless *needless;
};

static int compare_seg(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int drop_segment(void *ctx, uint64_t seg, uint64_t bytes)
{
    const struct dropping *d = ctx;
    const struct needless *n = d->needless;
    (void)bytes;
    if (seg >= n->log_seg || bsearch(&seg, n->alive, n->alive_count, sizeof(seg), compare_seg))
        return 0;
    index_lock(d->ix);
    uint64_t live =
        index_seg_live(d->ix, seg); /* mapped since the commit by a write that was under way */
    index_unlock(d->ix);
    if (live == 0)
        (void)segment_drop(d->ix->segments, seg); /* tried again at the next checkpoint */
    return 0;
}

/* The reclaim lock is held. */
static void reclaim(struct index *ix, const struct needless *n, bool drop)
{
    struct dropping d = {ix, n};
    if (drop)
        (void)segment_each(ix->segments, drop_segment, &d);
    for (size_t i = 0; i < n->dead_count; i++)
        segment_punch(ix->segments, (struct segment_pos){n->dead[i].seg, n->dead[i].off},
                      n->dead[i].len);
}

/* flush_lock and lock held: commits exactly here, makes the commit durable, and notes what it makes needless. */
static int checkpoint_locked(struct index *ix, struct needless *n)
{
    int err = commit_locked(ix);
    if (err == ERR_NOSPACE && sqlite3_get_autocommit(ix->db)) {
        err = index_full_enter(ix, UINT64_MAX, false);
        /* In steps it fitted, and the transaction that is open now is an empty one. */
        if (!err)
            err = ix->tried_full ? ERR_NOSPACE : index_run(ix, ix->stmt[STMT_COMMIT]);
    }
    if (err)
        return err;
    ix->tried_full = false;
    err = pagevfs_checkpoint(ix->db);
    /* Without room, or while somebody reads, the commits stay in the write-ahead log. */
    if (err == ERR_NOSPACE || err == ERR_LOCKED)
        err = pagevfs_sync(ix->db);
    if (err)
        return index_fail(ix, err, "the database cannot be made durable");
    atomic_store_explicit(&ix->dead_bytes, 0, memory_order_relaxed);
    err = collect(ix, n);
    int begin_err = index_txn_begin(ix);
    return err ? err : begin_err;
}

/* Whom index_checkpoint keeps away from places in segments. */
struct reclaimer {
    void (*lock)(void *), (*unlock)(void *);
    void *ctx;
};

static void reclaim_locked(struct index *ix, const struct reclaimer *r, const struct needless *n,
                           bool drop)
{
    if (r->lock)
        r->lock(r->ctx);
    reclaim(ix, n, drop);
    if (r->unlock)
        r->unlock(r->ctx);
}

/* The extents that are dead by the log alone. flush_lock and lock held. */
static int collect_early(struct index *ix, struct needless *n)
{
    n->dead = calloc(ix->dead_count + 1, sizeof(*n->dead));
    if (!n->dead)
        return ERR_NOMEM;
    for (size_t i = 0; i < ix->dead_count; i++)
        if (ix->dead[i].early)
            n->dead[n->dead_count++] = ix->dead[i];
    return 0;
}

/*
 * The commit has no room, but deletions wait in it: their data makes room before they are committed. True if there was any.
 * The log must be durable up to them: after a crash it alone says that nobody needs these bytes.
 */
static bool reclaim_early(struct index *ix, const struct reclaimer *r)
{
    struct needless n = {0};
    pthread_mutex_lock(&ix->flush_lock);
    index_lock(ix);
    int err = index_flush_locked(ix);
    if (!err)
        err = collect_early(ix, &n);
    if (!err && n.dead_count)
        ix->tried_full = false;
    index_unlock(ix);
    pthread_mutex_unlock(&ix->flush_lock);
    if (!err && n.dead_count) {
        n.dead_count = index_dead_merge(n.dead, n.dead_count);
        reclaim_locked(ix, r, &n, false);
    }
    free(n.dead);
    return !err && n.dead_count;
}

/* Everything but the giving back of space. */
static int make_checkpoint(struct index *ix, struct needless *n)
{
    int err = index_commit(ix);
    if (err)
        return err;
    /* Most of the sync outside the lock. */
    if (pagevfs_sync(ix->db) != 0)
        return index_fail(ix, ERR_IO, "the database cannot be made durable");
    pthread_mutex_lock(&ix->flush_lock);
    index_lock(ix);
    err = checkpoint_locked(ix, n);
    index_unlock(ix);
    pthread_mutex_unlock(&ix->flush_lock);
    return err;
}

int index_checkpoint(struct index *ix, void (*reclaim_lock)(void *), void (*reclaim_unlock)(void *),
                     void *ctx)
{
    const struct reclaimer r = {reclaim_lock, reclaim_unlock, ctx};
    if (ix->read_only)
        return 0;
    struct needless n = {0};
    pthread_mutex_lock(&ix->checkpoint_lock);
    int err = make_checkpoint(ix, &n);
    if (err == ERR_NOSPACE && reclaim_early(ix, &r))
        err = make_checkpoint(ix, &n);
    if (!err) {
        /* Only now: a crash before the checkpoint was durable would come back to a state that still needs them. */
        reclaim_locked(ix, &r, &n, true);
        settle_freed(ix);
        index_lock(ix);
        index_bind(ix->stmt[STMT_DEAD_DEL], 1, n.last_id);
        if (n.dead_count)
            err = index_run(ix, ix->stmt[STMT_DEAD_DEL]);
        if (!err)
            index_full_leave(ix); /* before somebody else takes what became free */
        index_unlock(ix);
    }
    free(n.dead);
    free(n.alive);
    pthread_mutex_unlock(&ix->checkpoint_lock);
    return err;
}
