/*
 * From the log into the database. [index-replay]
 *
 * At open the log is read twice from where the last commit left off. First to find where it ends: its records verify, and
 * the extents that notes speak of verify. Nothing was synced behind the last promise, and a power cut may have kept a
 * note and lost its extent; then the log ends before that record, because what follows may build on it. The second
 * reading applies the notes, committing as it goes, so that memory stays bounded. A commit may come before the end,
 * because the first reading has made all of it durable.
 *
 * Nothing may be appended before the commit at the end: the next mount would find the new records behind the refused
 * one, and never come to them.
 */
#include "fs/index_private.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/pagevfs.h"

#include <string.h>

#define COMMIT_EVERY (1u << 20) /* bytes of notes between commits */
/* Groups between commits on a full disk: to begin with, at most, and how many times fewer after one that did not fit. */
#define FULL_STEP     64u
#define FULL_STEP_MAX 1024u
#define FULL_STEP_CUT 8u

struct replay {
    struct index *ix;
    uint64_t skip; /* groups of the next record that are in the database already */
    /* first reading */
    uint64_t found; /* records of notes that count */
    bool refused;
    /* second */
    uint64_t left;            /* records of notes to apply; then stop */
    uint64_t pending_records; /* applied since the last commit */
    size_t pending;           /* bytes of them */
    size_t step;              /* bytes between commits; 0: none */
    uint64_t pending_groups;
    uint64_t group_step; /* full: groups between commits, each followed by a checkpoint; else 0 */
    bool moved;          /* a commit has been made */
    int err;
};

enum { STOP = 1 };

/* ---- checking ---- */

static int check_note(struct index *ix, const struct note *note)
{
    if (note->kind != NOTE_EXTENT_PUT || note->extent.at.seg == 0 || !ix->verify_extent)
        return 0;
    return ix->verify_extent(ix->verify_ctx, &note->extent);
}

/* 0, STOP if an extent does not verify, ERR_FORMAT if no writer of ours made this. Extents of groups that are in the
 * database already may be dead and gone. */
static int check_groups(struct replay *r, const uint8_t *payload, size_t len)
{
    struct bytes_in in, notes;
    unsigned origin;
    struct note note;
    int got, got_note, bad = 0;
    uint64_t n = 0;
    const uint64_t skip = r->skip;
    r->skip = 0;
    bytes_in_init(&in, payload, len);
    while ((got = note_group_next(&in, &origin, &notes)) == 1) {
        const bool known = n++ < skip;
        while ((got_note = note_next(&notes, &note)) == 1)
            if (!bad && !known && check_note(r->ix, &note) != 0)
                bad = STOP;
        if (got_note < 0)
            return got_note;
    }
    return got < 0 ? got : bad;
}

static int check_record(void *ctx, enum segment_kind kind, struct segment_pos pos,
                        const uint8_t *payload, size_t len)
{
    struct replay *r = ctx;
    (void)pos;
    if (kind != SEGMENT_NOTE || r->refused)
        return 0; /* read on to the end: what was scanned is durable then */
    int bad = check_groups(r, payload, len);
    if (bad < 0) {
        log_error("index: a record of the log verifies but cannot be read");
        return bad;
    }
    if (bad == STOP) {
        log_warn("index: the newest changes were lost with data that never reached the disk");
        r->refused = true;
    } else {
        r->found++;
    }
    return 0;
}

/* ---- applying ---- */

static int apply_inode(struct index *ix, struct note *n)
{
    switch (n->kind) {
    case NOTE_INODE_PUT:
        return index_inode_put(ix, &n->inode);
    case NOTE_INODE_DEL:
        return index_inode_del(ix, n->ino);
    case NOTE_TARGET_PUT:
        return index_target_put(ix, n->ino, n->value, n->value_len);
    case NOTE_ENTRY_PUT:
        return index_entry_put(ix, &n->entry);
    default:
        return index_entry_del(ix, n->ino, (const char *)n->name, n->name_len);
    }
}

/* A new place whose bytes a power cut took is not taken over: the old one, here or on the store, is still good. */
static int apply_move(struct index *ix, struct note *n)
{
    struct extent e;
    int err = index_extent_get(ix, n->extent.eid, &e);
    if (err)
        return err;
    const struct segment_pos old = e.at;
    e.at = n->extent.at;
    if (ix->verifying && e.at.seg != 0 && (e.at.seg != old.seg || e.at.off != old.off) &&
        ix->verify_extent(ix->verify_ctx, &e) != 0)
        n->extent.at = old;
    return index_extent_move(ix, &n->extent);
}

static int apply_content(struct index *ix, struct note *n)
{
    switch (n->kind) {
    case NOTE_EXTENT_PUT:
        return index_extent_put(ix, &n->extent);
    case NOTE_EXTENT_MOVE:
        return apply_move(ix, n);
    case NOTE_MAP_SET:
        return index_map_set(ix, n->ino, n->map.off, n->map.len, n->map.eid, n->map.eoff);
    case NOTE_MAP_PUNCH:
        return index_map_punch(ix, n->ino, n->map.off, n->map.len);
    default:
        return index_dirty_ranges_clear(ix, n->ino);
    }
}

/* Those whose names the primitives take as C strings. */
static int apply_named(struct index *ix, struct note *n)
{
    char name[256];
    if (n->name_len >= sizeof(name))
        return ERR_FORMAT;
    memcpy(name, n->name, n->name_len);
    name[n->name_len] = '\0';
    switch (n->kind) {
    case NOTE_XATTR_PUT:
        return index_xattr_put(ix, n->ino, name, n->value, n->value_len);
    case NOTE_XATTR_DEL:
        return index_xattr_del(ix, n->ino, name);
    case NOTE_KV_PUT:
        return index_kv_put(ix, name, n->key, n->key_len, n->value, n->value_len);
    default:
        return index_kv_del(ix, name, n->key, n->key_len);
    }
}

static int apply_note(struct index *ix, struct note *n)
{
    switch (n->kind) {
    case NOTE_INODE_PUT:
    case NOTE_INODE_DEL:
    case NOTE_TARGET_PUT:
    case NOTE_ENTRY_PUT:
    case NOTE_ENTRY_DEL:
        return apply_inode(ix, n);
    case NOTE_EXTENT_PUT:
    case NOTE_EXTENT_MOVE:
    case NOTE_MAP_SET:
    case NOTE_MAP_PUNCH:
    case NOTE_RANGES_CLEAR:
        return apply_content(ix, n);
    case NOTE_XATTR_PUT:
    case NOTE_XATTR_DEL:
    case NOTE_KV_PUT:
    case NOTE_KV_DEL:
        return apply_named(ix, n);
    }
    return ERR_FORMAT;
}

/* 0; STOP: no room, and the transaction is gone. */
static int commit_step(struct replay *r, struct segment_pos at, uint64_t groups)
{
    struct index *ix = r->ix;
    int err = index_commit_at(ix, at, groups);
    if (err == ERR_NOSPACE)
        return STOP;
    r->pending = 0;
    r->pending_records = r->pending_groups = 0;
    r->moved = true;
    if (!err && r->group_step) {
        r->group_step = r->group_step * 2 < FULL_STEP_MAX ? r->group_step * 2 : FULL_STEP_MAX;
        /* SQLite's log is used again from its start, so each step needs little room. */
        err = pagevfs_checkpoint(ix->db);
        if (err == ERR_NOSPACE || err == ERR_LOCKED)
            err = 0;
    }
    return err ? err : index_txn_begin(ix);
}

static int apply_group(struct index *ix, unsigned origin, struct bytes_in *notes)
{
    struct note note;
    int got, err = 0;
    ix->origin = origin;
    while (!err && (got = note_next(notes, &note)) != 0)
        err = got < 0 ? got : apply_note(ix, &note);
    if (!err)
        err = index_extent_settle(ix);
    ix->origin = 0;
    return err;
}

static int misfit(struct replay *r, int err)
{
    log_error("index: the log does not fit the database: %s", err_text(err));
    return r->err = err == ERR_NOMEM || err == ERR_IO ? err : ERR_FORMAT;
}

/* The groups of a record that begins at ${head}. On a full disk a commit may come between two of them. */
static int apply_groups(struct replay *r, struct segment_pos head, const uint8_t *payload,
                        size_t len)
{
    struct bytes_in in, notes;
    unsigned origin;
    int got, err = 0;
    uint64_t n = 0;
    const uint64_t skip = r->skip;
    r->skip = 0;
    bytes_in_init(&in, payload, len);
    while ((got = note_group_next(&in, &origin, &notes)) == 1) {
        if (n++ < skip)
            continue;
        if (r->group_step && r->pending_groups >= r->group_step &&
            (err = commit_step(r, head, n - 1)))
            return err;
        if ((err = apply_group(r->ix, origin, &notes)))
            return misfit(r, err);
        r->pending_groups++;
    }
    return got < 0 ? misfit(r, got) : 0;
}

static int apply_record(void *ctx, enum segment_kind kind, struct segment_pos pos,
                        const uint8_t *payload, size_t len)
{
    struct replay *r = ctx;
    struct index *ix = r->ix;
    if (r->left == 0)
        return STOP;
    if (kind != SEGMENT_NOTE)
        return 0;
    int err = apply_groups(r, (struct segment_pos){pos.seg, pos.off - SEGMENT_HEAD}, payload, len);
    if (err) {
        if (err < 0)
            r->err = err;
        return err;
    }
    r->left--;
    r->pending_records++;
    r->pending += len;
    const size_t sealed = len + SEGMENT_NOTE_OVERHEAD - SEGMENT_HEAD;
    err = index_seg_dead(ix, pos, sealed);
    if (!err && r->step && r->pending >= r->step)
        err = commit_step(r, (struct segment_pos){pos.seg, pos.off + sealed}, 0);
    if (err < 0)
        r->err = err;
    return err;
}

/*
 * Applies r->left records of notes from the last commit on and commits at the end, if steps are wanted. A transaction is
 * open before. STOP: there was no room, the last step is gone, and no transaction is open. 0: none is open if steps were
 * wanted. ${refused}: the log has a record that does not count, which the last commit leaves behind.
 */
static int apply_log(struct replay *r, bool refused)
{
    struct index *ix = r->ix;
    struct segment_pos end;
    r->skip = ix->state.groups;
    r->pending = 0;
    r->pending_records = r->pending_groups = 0;
    ix->replaying = true;
    int err = segment_scan(ix->segments, ix->state.log, apply_record, r, &end);
    ix->replaying = false;
    ix->origin = 0;
    if (r->err || err < 0)
        return r->err ? r->err : err;
    if (r->step == 0 && r->group_step == 0)
        return 0;
    if (sqlite3_get_autocommit(ix->db))
        return STOP;
    err = index_commit_at(ix, refused ? segment_tail(ix->segments) : end, 0);
    return err == ERR_NOSPACE ? STOP : err;
}

static int apply_again(struct replay *r, bool refused)
{
    r->moved = false;
    int err = index_reload(r->ix);
    if (!err)
        err = index_txn_begin(r->ix);
    if (!err)
        err = apply_log(r, refused);
    r->left += r->pending_records; /* those of a step that is gone */
    return err;
}

int index_replay_again(struct index *ix, uint64_t records, bool refused, bool *stuck)
{
    struct replay r = {.ix = ix, .left = records, .group_step = FULL_STEP};
    ix->placed_count = 0; /* found again by the replay */
    int err;
    for (;;) {
        err = apply_again(&r, refused);
        if (err != STOP || (r.group_step == 1 && !r.moved))
            break;
        r.group_step = r.group_step < FULL_STEP_CUT ? 1 : r.group_step / FULL_STEP_CUT;
    }
    *stuck = err == STOP;
    if (*stuck) {
        r.group_step = 0;
        return apply_again(&r, refused);
    }
    return err ? err : index_txn_begin(ix);
}

/* ---- at open ---- */

/* A read-only mount must show what the log says and must not write: it works on a copy. */
static int copy_to_memory(struct index *ix)
{
    sqlite3 *copy = NULL;
    int rc = sqlite3_open_v2(":memory:", &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    sqlite3_backup *backup =
        rc == SQLITE_OK ? sqlite3_backup_init(copy, "main", ix->db, "main") : NULL;
    if (backup) {
        rc = sqlite3_backup_step(backup, -1);
        int finish = sqlite3_backup_finish(backup);
        rc = rc == SQLITE_DONE ? finish : rc;
    } else if (rc == SQLITE_OK) {
        rc = sqlite3_extended_errcode(copy);
    }
    if (rc != SQLITE_OK) {
        sqlite3_close(copy);
        return pagevfs_err(rc);
    }
    sqlite3_extended_result_codes(copy, 1);
    index_schema_finalize(ix);
    pagevfs_close(ix->db);
    ix->db = copy;
    ix->in_memory = true;
    return index_schema_prepare(ix);
}

int index_replay_open(struct index *ix)
{
    struct replay r = {.ix = ix};
    struct segment_pos end;
    r.skip = ix->state.groups;
    int err = segment_scan(ix->segments, ix->state.log, check_record, &r, &end);
    if (err)
        return err < 0 ? err : ERR_FORMAT;
    if (r.found == 0 && (!r.refused || ix->read_only))
        return 0; /* closed in order */
    log_info("index: replaying %llu records of the log", (unsigned long long)r.found);
    if (ix->read_only && (err = copy_to_memory(ix)))
        return err;
    if ((err = index_txn_begin(ix)))
        return err;
    r.left = r.found;
    r.step = ix->read_only ? 0 : COMMIT_EVERY;
    ix->verifying = ix->verify_extent != NULL;
    err = apply_log(&r, r.refused);
    if (err == STOP)
        err = index_full_enter(ix, r.left + r.pending_records, r.refused);
    ix->verifying = false;
    if (!err && ix->tried_full && r.refused)
        err =
            ERR_NOSPACE; /* the refused record has to be left behind before anything is appended */
    if (err || ix->read_only)
        return err;
    /* Without it a power cut could bring the old position back, and what is appended from now on would come after a
     * refused record. */
    return r.refused ? pagevfs_sync(ix->db) : 0;
}
