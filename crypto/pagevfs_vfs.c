/*
 * The VFS: which files SQLite may open, and how they are named, locked and deleted.
 *
 * Only two kinds exist: the main file, on request of pagevfs_open, and its log. SQLite is told that a rollback
 * journal is never there, so one that somebody planted beside the database is not played back.
 */
#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/pagevfs_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_MAX_BYTES 4096

/* Only this thread's: SQLite opens the main file inside sqlite3_open_v2. */
static _Thread_local struct pagevfs_vfs_request *pending;

void pagevfs_vfs_request(struct pagevfs_vfs_request *request)
{
    pending = request;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Opens and locks the main file. One of our codes. */
static int open_main_fd(struct pagevfs_db *db, bool create)
{
    const int flags = O_CLOEXEC | O_NOFOLLOW | (db->read_only ? O_RDONLY : O_RDWR);

    if (create) {
        db->fd = open(db->path, flags | O_CREAT | O_EXCL, 0600);
        db->created = db->fd >= 0;
    }
    if (db->fd < 0 && (!create || errno == EEXIST))
        db->fd = open(db->path, flags);
    if (db->fd < 0 && errno == ENOENT)
        return create ? ERR_IO : ERR_NOTVAULT;
    if (db->fd < 0) {
        log_error("the index: cannot open it: %s", strerror(errno));
        return err_from_errno(errno);
    }
    /* The lock belongs to this open file, so no close() elsewhere in the process can drop it, and it goes when the
     * process dies. Readers share it. */
    if (flock(db->fd, (db->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? ERR_LOCKED : err_from_errno(errno);
    struct stat st;
    if (fstat(db->fd, &st) != 0)
        return err_from_errno(errno);
    if (!S_ISREG(st.st_mode))
        return ERR_NOTVAULT;
    db->size = (uint64_t)st.st_size;
    if (db->size == 0 && create)
        return 0;
    return db->size < PAGEVFS_FILE_PAGE ? ERR_AUTH : pagevfs_main_check(db);
}

static struct pagevfs_db *make_db(const char *name, const struct pagevfs_vfs_request *request)
{
    struct pagevfs_db *db = calloc(1, sizeof(*db));

    if (db == NULL)
        return NULL;
    db->fd = -1;
    db->read_only = request->read_only;
    db->pool_used = sizeof(db->pool);
    pthread_mutex_init(&db->sync, NULL);
    memcpy(db->file_id, request->file_id, sizeof(db->file_id));
    db->path = strdup(name);
    db->key = secret_alloc(SECRET_KEY_LEN);
    if (db->path == NULL || db->key == NULL) {
        pagevfs_main_free(db);
        return NULL;
    }
    memcpy(db->key, request->key, SECRET_KEY_LEN);
    return db;
}

static int open_main(const char *name, struct pagevfs_handle *handle, int *out_flags)
{
    struct pagevfs_vfs_request *request = pending;

    pending = NULL;
    if (request == NULL)
        return SQLITE_CANTOPEN; /* an ATTACH, say: it has no key */
    struct pagevfs_db *db = make_db(name, request);
    if (db == NULL) {
        request->err = ERR_NOMEM;
        return SQLITE_NOMEM;
    }
    request->err = open_main_fd(db, request->create);
    if (request->err != 0) {
        if (db->created)
            unlink(db->path);
        pagevfs_main_free(db);
        return SQLITE_CANTOPEN;
    }
    request->db = db;
    handle->db = db;
    handle->base.pMethods = &pagevfs_main_methods;
    if (out_flags != NULL)
        *out_flags =
            SQLITE_OPEN_MAIN_DB | (db->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
    return SQLITE_OK;
}

static int open_wal(const char *name, struct pagevfs_handle *handle, int *out_flags)
{
    struct pagevfs_handle *owner = (struct pagevfs_handle *)sqlite3_database_file_object(name);

    if (owner == NULL || owner->base.pMethods != &pagevfs_main_methods || owner->db->wal != NULL)
        return SQLITE_CANTOPEN;
    int rc = pagevfs_wal_open(owner->db, name, &handle->wal);
    if (rc != SQLITE_OK)
        return rc;
    handle->base.pMethods = &pagevfs_wal_methods;
    /* Never said to be read-only: SQLite then wants shared memory. Writes are refused by the log itself. */
    if (out_flags != NULL)
        *out_flags = SQLITE_OPEN_WAL | SQLITE_OPEN_READWRITE;
    return SQLITE_OK;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                    int *out_flags)
{
    struct pagevfs_handle *handle = (struct pagevfs_handle *)file;

    (void)vfs;
    handle->base.pMethods = NULL;
    if (name != NULL && (flags & SQLITE_OPEN_MAIN_DB) != 0)
        return open_main(name, handle, out_flags);
    if (name != NULL && (flags & SQLITE_OPEN_WAL) != 0)
        return open_wal(name, handle, out_flags);
    return SQLITE_CANTOPEN;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    (void)vfs;
    (void)
        sync_folder; /* SQLite deletes a log only when the database has all of it: harmless if it comes back */
    if (!ends_with(name, "-wal"))
        return SQLITE_IOERR_DELETE_NOENT;
    if (unlink(name) == 0)
        return SQLITE_OK;
    return errno == ENOENT ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
    struct stat st;

    (void)vfs;
    (void)flags;
    *result = !ends_with(name, "-journal") && stat(name, &st) == 0 &&
              (!S_ISREG(st.st_mode) || st.st_size > 0);
    return SQLITE_OK;
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int len, char *out)
{
    char folder[PATH_MAX_BYTES] = "";

    (void)vfs;
    if (name[0] != '/' && getcwd(folder, sizeof(folder)) == NULL)
        return SQLITE_CANTOPEN;
    int n = snprintf(out, (size_t)len, "%s%s%s", folder, name[0] == '/' ? "" : "/", name);
    return n > 0 && n < len ? SQLITE_OK : SQLITE_CANTOPEN;
}

static void *vfs_dl_open(sqlite3_vfs *vfs, const char *name)
{
    (void)vfs;
    (void)name;
    return NULL; /* no extensions */
}

static void vfs_dl_error(sqlite3_vfs *vfs, int len, char *message)
{
    (void)vfs;
    snprintf(message, (size_t)len, "extensions are not allowed");
}

static void (*vfs_dl_sym(sqlite3_vfs *vfs, void *lib, const char *symbol))(void)
{
    (void)vfs;
    (void)lib;
    (void)symbol;
    return NULL;
}

static void vfs_dl_close(sqlite3_vfs *vfs, void *lib)
{
    (void)vfs;
    (void)lib;
}

static int vfs_randomness(sqlite3_vfs *vfs, int len, char *out)
{
    (void)vfs;
    secret_random(out, (size_t)len);
    return len;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    struct timespec t = {.tv_sec = microseconds / 1000000,
                         .tv_nsec = microseconds % 1000000 * 1000L};

    (void)vfs;
    nanosleep(&t, NULL);
    return microseconds;
}

/* Milliseconds since noon in Greenwich on 24 November 4714 BC, as SQLite counts. */
static int vfs_current_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    struct timespec now;

    (void)vfs;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = 210866760000000LL + now.tv_sec * 1000LL + now.tv_nsec / 1000000;
    return SQLITE_OK;
}

static int vfs_current_time(sqlite3_vfs *vfs, double *out)
{
    sqlite3_int64 ms;

    vfs_current_time_int64(vfs, &ms);
    *out = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int len, char *message)
{
    (void)vfs;
    (void)len;
    (void)message;
    return errno;
}

static sqlite3_vfs the_vfs = {
    .iVersion = 2,
    .szOsFile = sizeof(struct pagevfs_handle),
    .mxPathname = PATH_MAX_BYTES,
    .zName = PAGEVFS_FILE_NAME,
    .xOpen = vfs_open,
    .xDelete = vfs_delete,
    .xAccess = vfs_access,
    .xFullPathname = vfs_full_pathname,
    .xDlOpen = vfs_dl_open,
    .xDlError = vfs_dl_error,
    .xDlSym = vfs_dl_sym,
    .xDlClose = vfs_dl_close,
    .xRandomness = vfs_randomness,
    .xSleep = vfs_sleep,
    .xCurrentTime = vfs_current_time,
    .xGetLastError = vfs_last_error,
    .xCurrentTimeInt64 = vfs_current_time_int64,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int registered; /* written under ${once} */

static void do_register(void)
{
    registered = sqlite3_vfs_register(&the_vfs, 0);
}

int pagevfs_vfs_register(void)
{
    pthread_once(&once, do_register);
    return registered;
}

struct pagevfs_db *pagevfs_vfs_db(sqlite3 *connection)
{
    struct pagevfs_handle *handle = NULL;

    if (sqlite3_file_control(connection, "main", SQLITE_FCNTL_FILE_POINTER, &handle) != SQLITE_OK ||
        handle == NULL || handle->base.pMethods != &pagevfs_main_methods)
        return NULL;
    return handle->db;
}
