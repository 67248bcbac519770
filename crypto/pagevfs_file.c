#include "crypto/pagevfs_file.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "crypto/file.h"
#include "crypto/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AAD_LEN (32 + 1 + 8 + 8)

/* [index-aad] file id (32) || kind (1) || le64(number) || generation (8) */
static void make_aad(const struct pagevfs_db *db, const struct pagevfs_place *place,
                     uint8_t aad[AAD_LEN])
{
    memcpy(aad, db->file_id, 32);
    aad[32] = (uint8_t)place->kind;
    bytes_le64(aad + 33, place->number);
    memcpy(aad + 41, place->generation, 8);
}

/* Random nonces from a pool, so that not every record costs a system call. Used ones are wiped: should a bug ever
 * hand out the same place again, it would be zeroes in a test's eye and not a silent repetition. */
static void next_nonce(struct pagevfs_db *db, uint8_t nonce[SEAL_NONCE])
{
    if (db->pool_used + SEAL_NONCE > sizeof(db->pool)) {
        secret_random(db->pool, sizeof(db->pool));
        db->pool_used = 0;
    }
    memcpy(nonce, db->pool + db->pool_used, SEAL_NONCE);
    secret_wipe(db->pool + db->pool_used, SEAL_NONCE);
    db->pool_used += SEAL_NONCE;
}

int pagevfs_file_seal(struct pagevfs_db *db, const struct pagevfs_place *place, const void *plain,
                      size_t len, uint8_t nonce[SEAL_NONCE], uint8_t *out)
{
    uint8_t aad[AAD_LEN];

    make_aad(db, place, aad);
    next_nonce(db, nonce);
    /* Fails closed: without a seal nothing is written. */
    return seal_box(db->key, nonce, aad, sizeof(aad), plain, len, out) == 0 ? SQLITE_OK
                                                                            : SQLITE_IOERR_WRITE;
}

bool pagevfs_file_open(const struct pagevfs_db *db, const struct pagevfs_place *place,
                       const uint8_t nonce[SEAL_NONCE], const uint8_t *sealed, size_t len,
                       uint8_t *plain)
{
    uint8_t aad[AAD_LEN], own_nonce[SEAL_NONCE];

    make_aad(db, place, aad);
    memcpy(own_nonce, nonce, SEAL_NONCE); /* it may lie in the buffer that is opened in place */
    return seal_box_open(db->key, own_nonce, aad, sizeof(aad), sealed, len + SEAL_TAG, plain) == 0;
}

static void log_once(struct pagevfs_db *db, const char *what, int e)
{
    if (!atomic_exchange(&db->logged, true))
        log_error("the index: cannot %s: %s", what, strerror(e));
}

void pagevfs_file_damaged(struct pagevfs_db *db, const char *what, uint64_t number)
{
    if (!atomic_exchange(&db->logged, true))
        log_error("the index: %s %llu does not verify", what, (unsigned long long)number);
}

int pagevfs_file_read(struct pagevfs_db *db, int fd, void *p, size_t len, uint64_t off, size_t *got)
{
    if (file_read_all(fd, p, len, off, got) == 0)
        return SQLITE_OK;
    log_once(db, "read", errno);
    return SQLITE_IOERR_READ;
}

/* A full disk is the caller's business (it keeps room in reserve for this) and is not logged here. */
static int write_error(struct pagevfs_db *db, int e, int sqlite_rc)
{
    if (e == ENOSPC || e == EDQUOT || e == EFBIG)
        return SQLITE_FULL;
    log_once(db, "write", e);
    return sqlite_rc;
}

int pagevfs_file_write(struct pagevfs_db *db, int fd, const void *p, size_t len, uint64_t off)
{
    const uint8_t *from = p;

    while (len > 0) {
        ssize_t n = pwrite(fd, from, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return write_error(db, n < 0 ? errno : EIO, SQLITE_IOERR_WRITE);
        from += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return SQLITE_OK;
}

int pagevfs_file_truncate(struct pagevfs_db *db, int fd, uint64_t size)
{
    int rc;

    do {
        rc = ftruncate(fd, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? SQLITE_OK : write_error(db, errno, SQLITE_IOERR_TRUNCATE);
}

int pagevfs_file_reserve(int fd, uint64_t from, uint64_t to, bool keep_size)
{
    int rc;

    do {
        rc = fallocate(fd, keep_size ? FALLOC_FL_KEEP_SIZE : 0, (off_t)from, (off_t)(to - from));
    } while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return 0;
    return errno == EDQUOT || errno == EFBIG ? ENOSPC : errno;
}

static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = strndup(path, slash != NULL ? (size_t)(slash - path) + 1 : 0);
    int err = folder != NULL ? file_sync_dir(AT_FDCWD, folder) : ERR_NOMEM;

    free(folder);
    return err;
}

int pagevfs_file_sync(struct pagevfs_db *db, int fd, bool dir)
{
    /* After a failed sync the kernel marks the lost pages clean, and the next sync would succeed without having
     * written them. So one failure is the end: only a new open, which reads what is really there, goes on. */
    if (atomic_load(&db->failed))
        return SQLITE_IOERR_FSYNC;
    int err = fdatasync(fd) == 0 ? 0 : err_from_errno(errno);
    if (err == 0 && dir)
        err = sync_folder(
            db->path); /* else a power cut could take away a new file with everything in it */
    if (err == 0)
        return SQLITE_OK;
    if (!atomic_exchange(&db->failed, true))
        log_error("the index: cannot sync, it takes no more changes: %s", err_text(err));
    return SQLITE_IOERR_FSYNC;
}
