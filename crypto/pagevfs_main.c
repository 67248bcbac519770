/*
 * The database file. [index-file]
 *
 * Page n (from 1) is the 4096 bytes at (n - 1) * 4096: ciphertext of SQLite's 4056 usable bytes || tag (16) ||
 * nonce (24). Nothing else is in the file. The 40 reserved bytes read as zeroes.
 */
#include "crypto/err.h"
#include "crypto/pagevfs_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE PAGEVFS_FILE_PAGE

static int read_page(struct pagevfs_db *db, uint64_t number, uint8_t page[PAGE])
{
    const struct pagevfs_place place = {.kind = PAGEVFS_KIND_PAGE, .number = number};
    size_t got;

    int rc = pagevfs_file_read(db, db->fd, page, PAGE, (number - 1) * PAGE, &got);
    if (rc != SQLITE_OK)
        return rc;
    if (got < PAGE) {
        memset(page, 0, PAGE);
        return SQLITE_IOERR_SHORT_READ;
    }
    bool good = pagevfs_file_open(db, &place, page + PAGEVFS_FILE_USABLE + SEAL_TAG, page,
                                  PAGEVFS_FILE_USABLE, page);
    memset(page + PAGEVFS_FILE_USABLE, 0, PAGEVFS_FILE_RESERVE);
    return good ? SQLITE_OK : SQLITE_IOERR_DATA;
}

static int write_page(struct pagevfs_db *db, uint64_t number, const uint8_t *plain)
{
    const struct pagevfs_place place = {.kind = PAGEVFS_KIND_PAGE, .number = number};
    uint8_t page[PAGE];

    int rc = pagevfs_file_seal(db, &place, plain, PAGEVFS_FILE_USABLE,
                               page + PAGEVFS_FILE_USABLE + SEAL_TAG, page);
    if (rc == SQLITE_OK)
        rc = pagevfs_file_write(db, db->fd, page, PAGE, (number - 1) * PAGE);
    if (rc == SQLITE_OK && number * PAGE > db->size)
        db->size = number * PAGE;
    return rc;
}

/* Fills pages that SQLite skips with sealed zeroes, so that every page of a healthy file verifies. */
static int fill_up_to(struct pagevfs_db *db, uint64_t number)
{
    static const uint8_t zeroes[PAGE];
    int rc = SQLITE_OK;

    for (uint64_t next = db->size / PAGE + 1; rc == SQLITE_OK && next < number; next++)
        rc = write_page(db, next, zeroes);
    return rc;
}

/*
 * The part of page 1 that SQLite asks for before it looks into the log: page size, reserved bytes, format versions.
 *
 * A power cut during a checkpoint can tear page 1. The log, which holds it whole, is read after these bytes, so
 * they must not be an error then. They are the same in every database of ours; the real page 1 must still verify,
 * in the log or here.
 */
static void standard_head(uint8_t page[PAGE])
{
    memset(page, 0, PAGE);
    memcpy(page, "SQLite format 3", 16);
    page[16] = PAGE >> 8;
    page[18] = page[19] = 2; /* write-ahead log */
    page[20] = PAGEVFS_FILE_RESERVE;
    page[21] = 64;
    page[22] = page[23] = 32;
}

static int main_read(sqlite3_file *file, void *out, int amount, sqlite3_int64 offset)
{
    struct pagevfs_db *db = ((struct pagevfs_handle *)file)->db;
    uint64_t number = (uint64_t)offset / PAGE + 1;
    size_t skip = (uint64_t)offset % PAGE, len = (size_t)amount;

    if (skip == 0 && len == PAGE) {
        int rc = read_page(db, number, out);
        if (rc == SQLITE_IOERR_DATA)
            pagevfs_file_damaged(db, "page", number);
        return rc;
    }
    if (skip + len > PAGE)
        return SQLITE_IOERR_READ; /* SQLite reads pages, or a part of page 1 */
    uint8_t page[PAGE];
    int rc = read_page(db, number, page);
    if (rc == SQLITE_IOERR_DATA && number == 1 && db->torn_head) {
        standard_head(page);
        rc = SQLITE_OK;
    }
    memcpy(out, page + skip, len);
    secret_wipe(page, sizeof(page));
    return rc;
}

static int main_write(sqlite3_file *file, const void *in, int amount, sqlite3_int64 offset)
{
    struct pagevfs_db *db = ((struct pagevfs_handle *)file)->db;
    const uint8_t *plain = in;

    if (db->read_only)
        return SQLITE_READONLY;
    if (amount != (int)PAGE || offset % PAGE != 0)
        return SQLITE_IOERR_WRITE; /* cannot be sealed; nothing of ours writes so */
    uint64_t number = (uint64_t)offset / PAGE + 1;
    if (number == 1 &&
        (plain[16] != PAGE >> 8 || plain[17] != 0 || plain[20] != PAGEVFS_FILE_RESERVE))
        return SQLITE_IOERR_WRITE; /* another page size, or SQLite would lose what it puts in our 40 bytes */
    int rc = fill_up_to(db, number);
    if (rc == SQLITE_OK)
        rc = write_page(db, number, plain);
    if (rc == SQLITE_OK && number == 1)
        db->torn_head = false;
    return rc;
}

static int main_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct pagevfs_db *db = ((struct pagevfs_handle *)file)->db;
    uint64_t want = (uint64_t)size;

    if (db->read_only)
        return SQLITE_READONLY;
    if (want % PAGE != 0)
        return SQLITE_IOERR_TRUNCATE;
    if (want >= db->size)
        return fill_up_to(db, want / PAGE + 1);
    int rc = pagevfs_file_truncate(db, db->fd, want);
    if (rc == SQLITE_OK) {
        db->size = want;
        db->reserved = 0; /* went with what was cut */
    }
    return rc;
}

static int main_sync(sqlite3_file *file, int flags)
{
    struct pagevfs_db *db = ((struct pagevfs_handle *)file)->db;

    (void)flags;
    return db->read_only ? SQLITE_OK : pagevfs_file_sync(db, db->fd, false);
}

static int main_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    const struct pagevfs_db *db = ((struct pagevfs_handle *)file)->db;

    /* A torn last page is one that a checkpoint was appending: the log still has it. */
    *size = (sqlite3_int64)(db->size / PAGE * PAGE);
    return SQLITE_OK;
}

/* The lock that keeps other processes out was taken at open and covers all that SQLite asks for. */
static int main_lock(sqlite3_file *file, int level)
{
    (void)file;
    (void)level;
    return SQLITE_OK;
}

static int main_check_reserved(sqlite3_file *file, int *reserved)
{
    (void)file;
    *reserved = 0;
    return SQLITE_OK;
}

static int main_control(sqlite3_file *file, int op, void *arg)
{
    const struct pagevfs_db *db = ((struct pagevfs_handle *)file)->db;

    switch (op) {
    case SQLITE_FCNTL_VFSNAME:
        *(char **)arg = sqlite3_mprintf("%s", PAGEVFS_FILE_NAME);
        return SQLITE_OK;
    case SQLITE_FCNTL_PERSIST_WAL: /* asked at close: is the log's file to stay? */
        if (*(int *)arg < 0)
            *(int *)arg = db->wal != NULL && pagevfs_wal_keeps(db->wal);
        return SQLITE_OK;
    default:
        return SQLITE_NOTFOUND;
    }
}

static int main_sector_size(sqlite3_file *file)
{
    (void)file;
    return (int)PAGE;
}

static int main_characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN;
}

static int main_close(sqlite3_file *file)
{
    struct pagevfs_handle *handle = (struct pagevfs_handle *)file;

    pagevfs_main_free(handle->db);
    handle->db = NULL;
    return SQLITE_OK;
}

/* Version 1: no shared memory and no memory mapping, so SQLite can use neither. */
const sqlite3_io_methods pagevfs_main_methods = {
    .iVersion = 1,
    .xClose = main_close,
    .xRead = main_read,
    .xWrite = main_write,
    .xTruncate = main_truncate,
    .xSync = main_sync,
    .xFileSize = main_file_size,
    .xLock = main_lock,
    .xUnlock = main_lock,
    .xCheckReservedLock = main_check_reserved,
    .xFileControl = main_control,
    .xSectorSize = main_sector_size,
    .xDeviceCharacteristics = main_characteristics,
};

int pagevfs_main_check(struct pagevfs_db *db)
{
    uint8_t page[PAGE];

    int rc = read_page(db, 1, page);
    secret_wipe(page, sizeof(page));
    if (rc == SQLITE_IOERR_DATA && pagevfs_wal_probe(db)) {
        db->torn_head = true;
        rc = SQLITE_OK;
    }
    if (rc == SQLITE_OK)
        return 0;
    return rc == SQLITE_IOERR_READ ? ERR_IO : ERR_AUTH;
}

void pagevfs_main_free(struct pagevfs_db *db)
{
    if (db == NULL)
        return;
    if (db->fd >= 0)
        close(db->fd); /* and unlocks */
    secret_free(db->key);
    secret_wipe(db->pool, sizeof(db->pool));
    pthread_mutex_destroy(&db->sync);
    free(db->path);
    free(db);
}
