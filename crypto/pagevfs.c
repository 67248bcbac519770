#include "crypto/pagevfs.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/pagevfs_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* A setting and what reading it back must give. NULL value: it cannot be set, only read. */
struct setting {
    const char *name, *value, *expect;
};

/* Before the first access: with EXCLUSIVE, the index of the log is in our memory and never in a file. */
static const struct setting before[] = {
    {"locking_mode", "EXCLUSIVE", "exclusive"},
    {"temp_store", "MEMORY", "2"},
    {"mmap_size", "0", NULL}, /* no answer where SQLite cannot map at all, as with our files */
    {"trusted_schema", "OFF", "0"},
    {"cell_size_check", "ON", "1"},
    {"foreign_keys", "OFF", "0"},
};

/* A new database gets these; the journal is off for the one commit that makes page 1, since the kind of journal it
 * would use is refused. A crash there leaves an empty file or all of it. */
static const struct setting fresh[] = {
    {"page_size", "4096", "4096"},
    {"journal_mode", "OFF", "off"},
};

static const struct setting after[] = {
    {"journal_mode", "WAL", "wal"},
    {"page_size", NULL, "4096"},
    {"locking_mode", NULL, "exclusive"},
    {"synchronous", "NORMAL", "1"},
    {"wal_autocheckpoint", "0", "0"},
    {"journal_size_limit", "1048576", "1048576"},
    {"cache_size", "-8000", "-8000"},
    /* SQLite before 3.42 can lose a commit after ROLLBACK TO when pages were spilled; and without spilling, all
     * writes to the log happen inside a commit, in one go. */
    {"cache_spill", "OFF", "0"},
    {"secure_delete", "OFF",
     "0"}, /* free pages are as sealed as others; wiping them is only work */
};

/* Runs one pragma; ${answer} gets the first column of its first row, "" if there is none. */
static int run_pragma(sqlite3 *db, const char *name, const char *value, char *answer, size_t size)
{
    char sql[128];
    sqlite3_stmt *stmt = NULL;

    snprintf(sql, sizeof(sql), "PRAGMA %s%s%s", name, value != NULL ? "=" : "",
             value != NULL ? value : "");
    answer[0] = '\0';
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);
        snprintf(answer, size, "%s", text != NULL ? text : "");
    }
    int rc2 = sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? rc2 : rc;
}

static int apply(sqlite3 *db, const struct setting *list, size_t n)
{
    char answer[64];

    for (size_t i = 0; i < n; i++) {
        int rc = SQLITE_OK;
        if (list[i].value != NULL)
            rc = run_pragma(db, list[i].name, list[i].value, answer, sizeof(answer));
        if (rc == SQLITE_OK)
            rc = run_pragma(db, list[i].name, NULL, answer, sizeof(answer));
        if (rc != SQLITE_OK)
            return pagevfs_err(rc);
        if (list[i].expect != NULL && strcasecmp(answer, list[i].expect) != 0) {
            log_error("the index: SQLite does not accept the setting %s", list[i].name);
            return ERR_MISUSE;
        }
    }
    return 0;
}

#define APPLY(db, list) apply(db, list, sizeof(list) / sizeof((list)[0]))

/* ${wanted} bytes of each page are ours; -1 only asks. */
static int check_reserve(sqlite3 *db, int wanted)
{
    int n = wanted;

    int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &n);
    if (rc != SQLITE_OK)
        return pagevfs_err(rc);
    n = -1;
    rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &n);
    if (rc != SQLITE_OK)
        return pagevfs_err(rc);
    return n == (int)PAGEVFS_FILE_RESERVE ? 0 : ERR_FORMAT;
}

static int set_up(sqlite3 *db, const struct pagevfs_db *state)
{
    bool is_fresh = state->size == 0;

    int err = APPLY(db, before);
    if (err == 0 && is_fresh)
        err = APPLY(db, fresh);
    if (err == 0 && is_fresh)
        err = check_reserve(db, (int)PAGEVFS_FILE_RESERVE);
    if (err == 0)
        err = APPLY(db, after);
    /* The first access: recovers the log, so that what is wrong with it is seen here. */
    if (err == 0)
        err = pagevfs_err(sqlite3_exec(db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL));
    if (err == 0)
        err = check_reserve(db, -1);
    if (err == 0)
        err = pagevfs_err(sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL));
    return err;
}

/* Removes what a failed creation left, so that the next try starts from nothing. */
static void remove_half_made(const char *path)
{
    char *wal = sqlite3_mprintf("%s-wal", path);

    if (wal != NULL)
        unlink(wal);
    sqlite3_free(wal);
    unlink(path);
}

static int open_connection(sqlite3 **db, const char *path, struct pagevfs_vfs_request *request)
{
    const int flags = SQLITE_OPEN_FULLMUTEX |
                      (request->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) |
                      (request->create ? SQLITE_OPEN_CREATE : 0);

    /* "./" so that SQLite sees a file name in every path, and never a URI or ":memory:". */
    char *name = sqlite3_mprintf("%s%s", path[0] == '/' ? "" : "./", path);
    if (name == NULL)
        return ERR_NOMEM;
    pagevfs_vfs_request(request);
    int rc = sqlite3_open_v2(name, db, flags, PAGEVFS_FILE_NAME);
    pagevfs_vfs_request(NULL);
    sqlite3_free(name);
    if (request->err != 0)
        return request->err;
    if (rc == SQLITE_OK && request->db == NULL)
        return ERR_IO;
    sqlite3_extended_result_codes(*db, 1);
    return pagevfs_err(rc);
}

int pagevfs_open(sqlite3 **out, const char *path, const uint8_t key[SECRET_KEY_LEN],
                 const uint8_t file_id[32], bool create, bool read_only)
{
    struct pagevfs_vfs_request request = {
        .key = key, .file_id = file_id, .create = create && !read_only, .read_only = read_only};
    sqlite3 *db = NULL;

    *out = NULL;
    if (pagevfs_vfs_register() != SQLITE_OK)
        return ERR_NOMEM;
    int err = open_connection(&db, path, &request);
    bool created = err == 0 && request.db->created;
    if (err == 0 && read_only)
        err = pagevfs_err(sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL));
    if (err == 0)
        err = set_up(db, request.db);
    if (err == 0 && created) {
        /* Without both, a power cut right after creation leaves a database that is gone or does not verify. */
        err = pagevfs_err(pagevfs_file_sync(request.db, request.db->fd, true));
    }
    if (err == 0) {
        *out = db;
        return 0;
    }
    if (db != NULL) {
        /* Not after an error: a checkpoint could write to a database that cannot be read. */
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_close(db);
    }
    if (created)
        remove_half_made(path);
    return err;
}

int pagevfs_sync(sqlite3 *connection)
{
    struct pagevfs_db *db = pagevfs_vfs_db(connection);

    if (db == NULL)
        return ERR_MISUSE;
    sqlite3_mutex_enter(sqlite3_db_mutex(connection));
    struct pagevfs_wal *wal = db->wal;
    int rc = atomic_load(&db->failed) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
    if (rc == SQLITE_OK && wal != NULL)
        rc = pagevfs_wal_flush(wal);
    sqlite3_mutex_leave(sqlite3_db_mutex(connection));
    /* Outside the mutex: other threads go on while the disk works. The log stays open until pagevfs_close. */
    if (rc == SQLITE_OK && wal != NULL)
        rc = pagevfs_wal_sync(wal);
    return pagevfs_err(rc);
}

static int transaction_pages(sqlite3 *connection, uint64_t *pages)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(connection, "PRAGMA page_count", -1, &stmt, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        *pages = (uint64_t)sqlite3_column_int64(stmt, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_OK ? 0 : pagevfs_err(rc);
}

/* Beyond the end of the file, whose size stays: SQLite asks for that. */
static int reserve_main(struct pagevfs_db *db, uint64_t bytes)
{
    const uint64_t from = db->reserved > db->size ? db->reserved : db->size;
    if (bytes <= from)
        return 0;
    int e = pagevfs_file_reserve(db->fd, from, bytes, true);
    if (e == 0)
        db->reserved = bytes;
    return e == ENOSPC ? ERR_NOSPACE : 0;
}

int pagevfs_reserve(sqlite3 *connection, uint64_t more, uint64_t log)
{
    struct pagevfs_db *db = pagevfs_vfs_db(connection);
    uint64_t pages = 0;

    if (db == NULL)
        return ERR_MISUSE;
    if (db->read_only)
        return ERR_ROFS;
    sqlite3_mutex_enter(sqlite3_db_mutex(connection));
    int err = transaction_pages(connection, &pages);
    if (err == 0)
        err = reserve_main(db, pages * PAGEVFS_FILE_PAGE + more);
    if ((err == 0 || err == ERR_NOSPACE) && log > 0 && db->wal != NULL &&
        pagevfs_wal_reserve(db->wal, log) == ENOSPC)
        err = ERR_NOSPACE;
    sqlite3_mutex_leave(sqlite3_db_mutex(connection));
    return err;
}

int pagevfs_checkpoint(sqlite3 *connection)
{
    struct pagevfs_db *db = pagevfs_vfs_db(connection);

    if (db == NULL)
        return ERR_MISUSE;
    if (db->read_only)
        return ERR_ROFS;
    if (atomic_load(&db->failed))
        return ERR_IO;
    /* With synchronous=NORMAL SQLite syncs the log before it writes to the database and the database before it cuts
     * the log: a power cut at any point leaves one of them whole. */
    return pagevfs_err(
        sqlite3_wal_checkpoint_v2(connection, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL));
}

int pagevfs_close(sqlite3 *connection)
{
    if (connection == NULL)
        return 0;
    struct pagevfs_db *db = pagevfs_vfs_db(connection);
    if (db == NULL)
        return ERR_MISUSE;
    if (!sqlite3_get_autocommit(connection))
        sqlite3_exec(connection, "ROLLBACK", NULL, NULL, NULL);
    int err = 0;
    if (!db->read_only && pagevfs_checkpoint(connection) != 0) {
        /* No room in the database, say: then the log is what must last, and the next open goes on from it. */
        sqlite3_db_config(connection, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        err = pagevfs_sync(connection);
    }
    int rc = sqlite3_close(connection);
    if (rc == SQLITE_BUSY)
        return ERR_MISUSE; /* a statement was not finalized; still open */
    return err != 0 ? err : pagevfs_err(rc);
}

uint64_t pagevfs_wal_bytes(sqlite3 *connection)
{
    struct pagevfs_db *db = pagevfs_vfs_db(connection);
    uint64_t bytes = 0;

    if (db == NULL)
        return 0;
    sqlite3_mutex_enter(sqlite3_db_mutex(connection));
    if (db->wal != NULL)
        bytes = pagevfs_wal_size(db->wal);
    sqlite3_mutex_leave(sqlite3_db_mutex(connection));
    return bytes;
}

int pagevfs_err(int sqlite_rc)
{
    switch (sqlite_rc) {
    case SQLITE_IOERR_DATA:
        return ERR_AUTH;
    case SQLITE_IOERR_NOMEM:
        return ERR_NOMEM;
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_ROWID:
        return ERR_EXIST;
    default:
        break;
    }
    switch (sqlite_rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_FULL:
        return ERR_NOSPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_FORMAT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_LOCKED;
    case SQLITE_READONLY:
        return ERR_ROFS;
    case SQLITE_INTERRUPT:
        return ERR_INTR;
    case SQLITE_TOOBIG:
        return ERR_TOOBIG;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return ERR_IO;
    default:
        return ERR_MISUSE; /* a wrong statement, a broken constraint: ours */
    }
}
