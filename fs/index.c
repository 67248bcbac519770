#include "fs/index_private.h"

#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/log.h"
#include "crypto/pagevfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_ROOM (8u << 10) /* notes of a usual small operation */
#define NOTES_HIGH (1u << 20) /* buffered notes that are appended without being asked */
#define GROUP_MAX  (SEGMENT_NOTE_MAX - NOTE_GROUP_HEAD)

/* ---- failing ---- */

int index_fail(struct index *ix, int err, const char *what)
{
    if (!atomic_exchange(&ix->failed, true))
        log_error("index: %s (%s); read-only from now on", what, err_text(err));
    ix->aborted = true;
    return err;
}

int index_fail_sql(struct index *ix, int rc)
{
    return index_fail(ix, pagevfs_err(rc), sqlite3_errstr(rc));
}

bool index_failed(struct index *ix)
{
    return atomic_load(&ix->failed) || segment_failed(ix->segments);
}

bool index_full(struct index *ix)
{
    return atomic_load(&ix->full);
}

uint64_t index_reclaimable(struct index *ix)
{
    return atomic_load_explicit(&ix->dead_bytes, memory_order_relaxed);
}

/* ---- opening ---- */

static void free_index(struct index *ix)
{
    secret_free(ix->hash_key);
    bytes_out_release(&ix->out);
    bytes_out_release(&ix->notes);
    free(ix->segs);
    free(ix->dead);
    free(ix->placed);
    pthread_mutex_destroy(&ix->checkpoint_lock);
    pthread_mutex_destroy(&ix->flush_lock);
    pthread_mutex_destroy(&ix->lock);
    free(ix);
}

static struct index *new_index(const struct index_params *params)
{
    struct index *ix = calloc(1, sizeof(*ix));
    if (!ix)
        return NULL;
    pthread_mutexattr_t adaptive; /* held for microseconds: spin a little before sleeping */
    pthread_mutexattr_init(&adaptive);
    pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&ix->lock, &adaptive);
    pthread_mutexattr_destroy(&adaptive);
    pthread_mutex_init(&ix->flush_lock, NULL);
    pthread_mutex_init(&ix->checkpoint_lock, NULL);
    bytes_out_init(&ix->out);
    bytes_out_init(&ix->notes);
    ix->out.secret = ix->notes.secret = true; /* names and sizes in the clear */
    ix->segments = params->segments;
    ix->vault_fd = params->vault_fd;
    ix->device_tag = params->device_tag;
    ix->read_only = params->read_only;
    ix->verify_extent = params->verify_extent;
    ix->verify_ctx = params->verify_ctx;
    return ix;
}

static int open_database(struct index *ix, const struct index_params *params)
{
    char path[4096];
    int n = snprintf(path, sizeof(path), "%s/index", params->vault_path);
    if (n < 0 || (size_t)n >= sizeof(path))
        return ERR_NAMETOOLONG;
    uint8_t *key = secret_alloc(SECRET_KEY_LEN);
    ix->hash_key = secret_alloc(SECRET_KEY_LEN);
    int err = key && ix->hash_key ? 0 : ERR_NOMEM;
    if (!err) {
        kdf_derive(ix->hash_key, params->device_key, KDF_NAMEHASH);
        kdf_derive(key, params->device_key, KDF_INDEX);
        err = pagevfs_open(&ix->db, path, key, params->vault_id, params->create, params->read_only);
    }
    secret_free(key);
    return err;
}

static int close_database(struct index *ix)
{
    index_schema_finalize(ix);
    int err = 0;
    if (ix->in_memory)
        sqlite3_close(ix->db);
    else
        err = pagevfs_close(ix->db);
    ix->db = NULL;
    return err;
}

int index_open(struct index **out, const struct index_params *params)
{
    *out = NULL;
    struct index *ix = new_index(params);
    if (!ix)
        return ERR_NOMEM;
    int err = open_database(ix, params);
    if (!err)
        err = index_schema_open(ix, params->create && !params->read_only);
    if (!err)
        err = index_schema_prepare(ix);
    if (!err)
        err = index_reload(ix);
    if (!err)
        err = index_replay_open(ix);
    if (!err && !ix->read_only) {
        if (!ix->tried_full)
            index_full_leave(ix); /* sees to the ballast */
        if (sqlite3_get_autocommit(ix->db))
            err = index_txn_begin(ix);
    }
    if (err) {
        close_database(ix);
        free_index(ix);
        return err;
    }
    *out = ix;
    return 0;
}

int index_close(struct index *ix)
{
    int err = 0;
    if (!ix->read_only) {
        err = index_flush(ix); /* also after a failure: whole groups are good */
        int checkpoint_err = index_failed(ix) ? ERR_IO : index_checkpoint(ix, NULL, NULL, NULL);
        /* On a full disk the log keeps what the database could not take. */
        if (!err && checkpoint_err != ERR_NOSPACE)
            err = checkpoint_err;
        /* Who opens a full disk needs room for a segment, to delete: it cuts this one's off, and takes it. */
        if (index_full(ix))
            segment_keep_room(ix->segments);
    }
    int close_err = close_database(ix);
    free_index(ix);
    return err ? err : close_err;
}

/* ---- operations ---- */

void index_lock(struct index *ix)
{
    pthread_mutex_lock(&ix->lock);
}

void index_unlock(struct index *ix)
{
    pthread_mutex_unlock(&ix->lock);
}

int index_change(const struct index *ix)
{
    if (ix->origin == 0)
        return ERR_MISUSE;
    return atomic_load_explicit(&ix->failed, memory_order_relaxed) ? ERR_IO : 0;
}

int index_begin(struct index *ix, unsigned origin, size_t room)
{
    const bool frees = origin & INDEX_FREES;
    origin &= ~(unsigned)INDEX_FREES;
    if (ix->origin != 0 || (origin != INDEX_LOCAL && origin != INDEX_REMOTE))
        return ERR_MISUSE;
    if (room > GROUP_MAX)
        return ERR_TOOBIG;
    if (ix->read_only || index_failed(ix))
        return ERR_ROFS;
    if (!frees && index_full(ix))
        return ERR_NOSPACE;
    /* If a flush is on its way it takes the notes as soon as we let go of the lock. */
    if (ix->notes.len > NOTES_HIGH && pthread_mutex_trylock(&ix->flush_lock) == 0) {
        int err = index_append_locked(ix);
        pthread_mutex_unlock(&ix->flush_lock);
        if (err)
            return err == ERR_NOSPACE ? err : ERR_ROFS;
    }
    int err = index_room_hold(ix, room ? room : SMALL_ROOM, frees);
    if (err)
        return err == ERR_NOSPACE ? err : ERR_ROFS;
    ix->origin = origin;
    ix->aborted = false;
    index_seen_forget(ix);
    ix->group_mark = note_group_begin(&ix->notes, origin);
    return 0;
}

void index_end(struct index *ix)
{
    if (ix->origin == 0)
        return;
    if (!ix->aborted)
        (void)index_extent_settle(ix);
    if (!ix->aborted && (ix->notes.bad || ix->notes.len - ix->group_mark > SEGMENT_NOTE_MAX))
        index_fail(ix, ix->notes.bad ? ERR_NOMEM : ERR_TOOBIG, "an operation cannot be logged");
    if (ix->aborted) {
        ix->notes.len = ix->group_mark; /* half an operation must never become durable */
        ix->notes.bad = false;
    } else {
        note_group_end(&ix->notes, ix->group_mark);
        index_room_used(ix, ix->notes.len - ix->group_mark);
    }
    ix->origin = 0;
    ix->tried_full = false;
    atomic_fetch_add_explicit(&ix->ops, 1, memory_order_relaxed);
    atomic_store_explicit(&ix->note_bytes, ix->notes.len, memory_order_relaxed);
}

void index_waiting(struct index *ix, uint64_t *ops, uint64_t *note_bytes)
{
    *ops = atomic_load_explicit(&ix->ops, memory_order_relaxed);
    *note_bytes = atomic_load_explicit(&ix->note_bytes, memory_order_relaxed);
}

/* ---- looking at the whole ---- */

int index_prepare(struct index *ix, const char *sql, sqlite3_stmt **stmt)
{
    *stmt = NULL;
    int err = index_extent_settle(ix);
    if (!err)
        err = index_rows_write(ix);
    if (err)
        return err;
    int rc = sqlite3_prepare_v2(ix->db, sql, -1, stmt, NULL);
    if (rc == SQLITE_OK && *stmt && sqlite3_stmt_readonly(*stmt))
        return 0;
    sqlite3_finalize(*stmt);
    *stmt = NULL;
    return rc == SQLITE_OK ? ERR_MISUSE : pagevfs_err(rc);
}

int index_stats(struct index *ix, struct index_stats *stats)
{
    *stats = ix->state.stats;
    return 0;
}
