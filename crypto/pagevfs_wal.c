/*
 * The write-ahead log. [index-wal]
 *
 * SQLite sees:       file header (32), then frames of header (24) and page (4096).
 * On the disk:       file header record (72), then frames of header record (64) and page record (4136).
 * A record is nonce (24) || ciphertext || tag (16). Frames carry the salts of the file header (its bytes 16 to 23)
 * as generation in their AAD, so what is left of an older log does not verify in a newer one.
 *
 * No two records share a byte, so SQLite's assumption that an overwrite harms no neighbour holds as it does for its
 * own files. It overwrites frames in place and rewrites headers alone when it wrote pages before their commit; so
 * header and page are records of their own, and no nonce depends on the place.
 *
 * Writes at the end of the log are held back and written together, up to BUFFER bytes at a time and always before
 * the write that completes a commit returns: SQLite counts a commit as made when that write succeeds, so an error
 * must not come later.
 *
 * A log with room of its own (pagevfs_wal_reserve) is not cut when SQLite empties it: its head is zeroed, and what follows
 * counts for nothing. SQLite empties it when the database has all of it durably, so it does no harm if the old
 * head is back after a power cut.
 */
#include "crypto/log.h"
#include "crypto/pagevfs_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD(len) (SEAL_NONCE + (len) + SEAL_TAG)
#define PAGE        PAGEVFS_FILE_PAGE
#define HEAD        32u
#define FRAME_HEAD  24u
#define FRAME       (FRAME_HEAD + PAGE)
#define DISK_HEAD   RECORD(HEAD)
#define DISK_FRAME  (RECORD(FRAME_HEAD) + RECORD(PAGE))
#define BUFFER      (64u * DISK_FRAME)
#define NO_FRAME    UINT64_MAX

struct pagevfs_wal {
    struct pagevfs_db *db;
    int fd;                /* -1: read-only and missing, an empty log */
    bool head_known;       /* ${generation} is set */
    bool commit;           /* the last header written is of a frame that commits */
    atomic_bool dirty;     /* written since the last sync */
    atomic_bool new_name;  /* its folder was not synced yet by us; changed under db->sync */
    _Atomic uint64_t size; /* bytes of the log on the disk */
    uint64_t file_size; /* of its file; what is beyond ${size} is room, or left from older logs */
    uint64_t keep;      /* the file is not cut below this; 0: no room is kept */
    bool reserved;      /* ${keep} bytes have disk space */
    uint64_t tail; /* the frame after the last one whose header and page were written in turn */
    uint64_t head_frame;    /* the frame whose header was written last, its page not yet */
    uint8_t generation[8];  /* salts of the file header */
    uint64_t held_at;       /* where on the disk the held bytes belong */
    size_t held;            /* how many */
    uint8_t buffer[BUFFER]; /* held bytes, sealed */
    uint8_t scratch[DISK_FRAME];
};

/* --- where things are --- */

static uint64_t disk_frame(uint64_t frame)
{
    return DISK_HEAD + frame * DISK_FRAME;
}

static uint64_t disk_end(const struct pagevfs_wal *wal)
{
    uint64_t held_end = wal->held > 0 ? wal->held_at + wal->held : 0;
    return held_end > wal->size ? held_end : wal->size;
}

static struct pagevfs_place place_of(const struct pagevfs_wal *wal, enum pagevfs_kind kind,
                                     uint64_t frame)
{
    struct pagevfs_place place = {.kind = kind, .number = frame};

    if (kind != PAGEVFS_KIND_WAL_HEAD)
        memcpy(place.generation, wal->generation, sizeof(place.generation));
    return place;
}

static int seal_record(struct pagevfs_wal *wal, enum pagevfs_kind kind, uint64_t frame,
                       const void *plain, size_t len, uint8_t *record)
{
    struct pagevfs_place place = place_of(wal, kind, frame);
    return pagevfs_file_seal(wal->db, &place, plain, len, record, record + SEAL_NONCE);
}

static bool open_record(const struct pagevfs_wal *wal, enum pagevfs_kind kind, uint64_t frame,
                        const uint8_t *record, size_t len, uint8_t *plain)
{
    struct pagevfs_place place = place_of(wal, kind, frame);
    return pagevfs_file_open(wal->db, &place, record, record + SEAL_NONCE, len, plain);
}

/* --- writing --- */

static int write_through(struct pagevfs_wal *wal, const uint8_t *p, size_t len, uint64_t at)
{
    int rc = pagevfs_file_write(wal->db, wal->fd, p, len, at);

    if (rc == SQLITE_OK && at + len > wal->size)
        wal->size = at + len;
    if (rc == SQLITE_OK && at + len > wal->file_size)
        wal->file_size = at + len;
    atomic_store(&wal->dirty, true);
    return rc;
}

int pagevfs_wal_flush(struct pagevfs_wal *wal)
{
    if (wal->held == 0)
        return SQLITE_OK;
    int rc = write_through(wal, wal->buffer, wal->held, wal->held_at);
    wal->held = 0;
    if (rc != SQLITE_OK)
        wal->tail = wal->head_frame =
            NO_FRAME; /* what was held is given up, with the transaction it belongs to */
    return rc;
}

/* Room for a record that follows what is held; NULL if it does not follow. */
static uint8_t *hold(struct pagevfs_wal *wal, size_t len, uint64_t at)
{
    if (wal->held == 0)
        wal->held_at = at;
    if (at != wal->held_at + wal->held || wal->held + len > BUFFER)
        return NULL;
    wal->held += len;
    return wal->buffer + wal->held - len;
}

static int write_head(struct pagevfs_wal *wal, const uint8_t *head)
{
    uint8_t record[DISK_HEAD];

    int rc = pagevfs_wal_flush(wal);
    if (rc == SQLITE_OK)
        rc = seal_record(wal, PAGEVFS_KIND_WAL_HEAD, 0, head, HEAD, record);
    if (rc == SQLITE_OK)
        rc = write_through(wal, record, sizeof(record), 0);
    wal->head_known = rc == SQLITE_OK;
    memcpy(wal->generation, head + 16, sizeof(wal->generation));
    wal->head_frame = NO_FRAME;
    wal->tail = rc == SQLITE_OK ? 0 : NO_FRAME;
    return rc;
}

/*
 * Only a header at the tail is held back: its page follows. One that is written elsewhere may be the last write of
 * a commit (SQLite corrects checksums last), or the first of a transaction after a rollback.
 */
static int write_frame_head(struct pagevfs_wal *wal, uint64_t frame, const uint8_t *head)
{
    uint64_t at = disk_frame(frame);
    uint8_t record[RECORD(FRAME_HEAD)], *to = record;
    int rc = SQLITE_OK;

    if (frame == wal->tail) {
        to = hold(wal, sizeof(record), at);
        if (to == NULL) {
            rc = pagevfs_wal_flush(wal);
            to = rc == SQLITE_OK ? hold(wal, sizeof(record), at) : record;
        }
    } else {
        rc = pagevfs_wal_flush(wal);
    }
    if (rc == SQLITE_OK)
        rc = seal_record(wal, PAGEVFS_KIND_FRAME_HEAD, frame, head, FRAME_HEAD, to);
    if (rc == SQLITE_OK && to == record)
        rc = write_through(wal, record, sizeof(record), at);
    if (rc != SQLITE_OK) {
        wal->held = 0;
        wal->tail = wal->head_frame = NO_FRAME;
        return rc;
    }
    wal->head_frame = frame;
    wal->commit =
        (head[4] | head[5] | head[6] | head[7]) != 0; /* size of the database after the commit */
    return SQLITE_OK;
}

static int write_frame_page(struct pagevfs_wal *wal, uint64_t frame, const uint8_t *page)
{
    uint64_t at = disk_frame(frame) + RECORD(FRAME_HEAD);
    bool after_head = wal->head_frame == frame;
    uint8_t *to = NULL;

    if (after_head && wal->held > 0)
        to = hold(wal, RECORD(PAGE), at);
    if (to != NULL) {
        int rc = seal_record(wal, PAGEVFS_KIND_FRAME_PAGE, frame, page, PAGE, to);
        if (rc != SQLITE_OK) {
            wal->held = 0;
            wal->tail = wal->head_frame = NO_FRAME;
            return rc;
        }
    } else {
        int rc = pagevfs_wal_flush(wal);
        if (rc == SQLITE_OK)
            rc = seal_record(wal, PAGEVFS_KIND_FRAME_PAGE, frame, page, PAGE, wal->scratch);
        if (rc == SQLITE_OK)
            rc = write_through(wal, wal->scratch, RECORD(PAGE), at);
        if (rc != SQLITE_OK)
            return rc;
    }
    wal->head_frame = NO_FRAME;
    if (after_head)
        wal->tail = frame + 1;
    return wal->commit ? pagevfs_wal_flush(wal) : SQLITE_OK;
}

static int wal_write(sqlite3_file *file, const void *in, int amount, sqlite3_int64 offset)
{
    struct pagevfs_wal *wal = ((struct pagevfs_handle *)file)->wal;

    if (wal->db->read_only)
        return SQLITE_READONLY;
    if (offset == 0 && amount == (int)HEAD)
        return write_head(wal, in);
    if (offset < (int)HEAD || !wal->head_known)
        return SQLITE_IOERR_WRITE;
    uint64_t frame = (uint64_t)(offset - HEAD) / FRAME, skip = (uint64_t)(offset - HEAD) % FRAME;
    if (skip == 0 && amount == (int)FRAME_HEAD)
        return write_frame_head(wal, frame, in);
    if (skip == FRAME_HEAD && amount == (int)PAGE)
        return write_frame_page(wal, frame, in);
    return SQLITE_IOERR_WRITE; /* SQLite writes so when it is told not to trust overwrites; cannot be sealed */
}

/* --- reading --- */

/* Reads a record into the scratch space: true if all of it is there. */
static bool fetch(struct pagevfs_wal *wal, uint64_t at, size_t len, int *rc)
{
    size_t got = 0;

    *rc = SQLITE_OK;
    if (wal->held > 0 && at + len > wal->held_at)
        *rc = pagevfs_wal_flush(wal);
    if (*rc == SQLITE_OK && wal->fd >= 0 && at + len <= wal->size)
        *rc = pagevfs_file_read(wal->db, wal->fd, wal->scratch, len, at, &got);
    if (*rc == SQLITE_OK && got < len)
        *rc = SQLITE_IOERR_SHORT_READ;
    return *rc == SQLITE_OK;
}

/* The file header. One that does not verify reads as zeroes: an empty log, as a torn first write leaves it. */
static int read_head(struct pagevfs_wal *wal, uint8_t head[HEAD])
{
    int rc;

    memset(head, 0, HEAD);
    if (!fetch(wal, 0, DISK_HEAD, &rc))
        return rc;
    wal->head_known = open_record(wal, PAGEVFS_KIND_WAL_HEAD, 0, wal->scratch, HEAD, head);
    if (wal->head_known)
        memcpy(wal->generation, head + 16, sizeof(wal->generation));
    else
        log_warn("the index: the head of its log does not verify; taken as empty");
    return SQLITE_OK;
}

/* A frame as recovery reads it. One that does not verify reads as zeroes: there SQLite finds the end of the log. */
static int read_frame(struct pagevfs_wal *wal, uint64_t frame, uint8_t out[FRAME])
{
    int rc;

    memset(out, 0, FRAME);
    if (!fetch(wal, disk_frame(frame), DISK_FRAME, &rc))
        return rc;
    if (!open_record(wal, PAGEVFS_KIND_FRAME_HEAD, frame, wal->scratch, FRAME_HEAD, out) ||
        !open_record(wal, PAGEVFS_KIND_FRAME_PAGE, frame, wal->scratch + RECORD(FRAME_HEAD), PAGE,
                     out + FRAME_HEAD))
        memset(out, 0, FRAME);
    return SQLITE_OK;
}

/* Everything else that SQLite reads it relies on, so here a wrong tag is an error. */
static int read_part(struct pagevfs_wal *wal, uint64_t frame, size_t skip, size_t len, uint8_t *out)
{
    uint8_t head[FRAME_HEAD];
    uint64_t at = disk_frame(frame);
    int rc;

    if (skip == FRAME_HEAD && len == PAGE) {
        if (!fetch(wal, at + RECORD(FRAME_HEAD), RECORD(PAGE), &rc))
            return rc;
        return open_record(wal, PAGEVFS_KIND_FRAME_PAGE, frame, wal->scratch, PAGE, out)
                   ? SQLITE_OK
                   : SQLITE_IOERR_DATA;
    }
    if (skip + len > FRAME_HEAD)
        return SQLITE_IOERR_READ;
    if (!fetch(wal, at, RECORD(FRAME_HEAD), &rc))
        return rc;
    if (!open_record(wal, PAGEVFS_KIND_FRAME_HEAD, frame, wal->scratch, FRAME_HEAD, head))
        return SQLITE_IOERR_DATA;
    memcpy(out, head + skip, len);
    return SQLITE_OK;
}

static int wal_read(sqlite3_file *file, void *out, int amount, sqlite3_int64 offset)
{
    struct pagevfs_wal *wal = ((struct pagevfs_handle *)file)->wal;
    uint8_t head[HEAD];
    size_t len = (size_t)amount;
    int rc = SQLITE_OK;

    memset(out, 0, len);
    if (!wal->head_known || offset < (int)HEAD)
        rc = read_head(wal, head);
    if (rc != SQLITE_OK)
        return rc;
    if (offset < (int)HEAD) {
        if ((size_t)offset + len > HEAD)
            return SQLITE_IOERR_READ;
        memcpy(out, head + offset, len);
        return SQLITE_OK;
    }
    uint64_t frame = (uint64_t)(offset - HEAD) / FRAME, skip = (uint64_t)(offset - HEAD) % FRAME;
    if (skip == 0 && len == FRAME)
        return read_frame(wal, frame, out);
    rc = read_part(wal, frame, skip, len, out);
    if (rc == SQLITE_IOERR_SHORT_READ)
        rc = SQLITE_IOERR_DATA; /* SQLite would take zeroes for a page that it knows to be there */
    if (rc == SQLITE_IOERR_DATA)
        pagevfs_file_damaged(wal->db, "frame", frame);
    return rc;
}

/* --- the rest --- */

static int wal_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    const struct pagevfs_wal *wal = ((struct pagevfs_handle *)file)->wal;
    uint64_t end = disk_end(wal);

    /* Parts of a frame at the end are a torn write and not counted. */
    *size = end < DISK_HEAD ? 0 : (sqlite3_int64)(HEAD + (end - DISK_HEAD) / DISK_FRAME * FRAME);
    return SQLITE_OK;
}

static int cut(struct pagevfs_wal *wal, uint64_t want)
{
    static const uint8_t no_head[DISK_HEAD];
    const uint64_t file_want = want > wal->keep ? want : wal->keep;
    int rc = SQLITE_OK;

    if (want < DISK_HEAD && wal->keep > 0 && wal->file_size >= DISK_HEAD)
        rc = pagevfs_file_write(wal->db, wal->fd, no_head, sizeof(no_head), 0);
    if (rc == SQLITE_OK && file_want < wal->file_size) {
        rc = pagevfs_file_truncate(wal->db, wal->fd, file_want);
        if (rc == SQLITE_OK)
            wal->file_size = file_want;
    }
    if (rc == SQLITE_OK)
        wal->size = want;
    atomic_store(&wal->dirty, true);
    return rc;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct pagevfs_wal *wal = ((struct pagevfs_handle *)file)->wal;
    uint64_t want = size < (int)HEAD ? 0 : disk_frame((uint64_t)(size - HEAD) / FRAME);

    if (wal->db->read_only)
        return SQLITE_READONLY;
    int rc = pagevfs_wal_flush(wal);
    if (rc == SQLITE_OK && want < wal->size)
        rc = cut(wal, want);
    wal->tail = wal->head_frame = NO_FRAME;
    return rc;
}

int pagevfs_wal_sync(struct pagevfs_wal *wal)
{
    struct pagevfs_db *db = wal->db;

    if (db->read_only)
        return SQLITE_OK;
    /* A second caller waits here until the first one's sync is over: what it must see durable may be in that one. */
    pthread_mutex_lock(&db->sync);
    int rc = atomic_load(&db->failed) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
    if (rc == SQLITE_OK && atomic_exchange(&wal->dirty, false)) {
        rc = pagevfs_file_sync(db, wal->fd, atomic_load(&wal->new_name));
        if (rc == SQLITE_OK)
            atomic_store(&wal->new_name, false);
    }
    pthread_mutex_unlock(&db->sync);
    return rc;
}

static int wal_sync(sqlite3_file *file, int flags)
{
    struct pagevfs_wal *wal = ((struct pagevfs_handle *)file)->wal;

    (void)flags;
    int rc = pagevfs_wal_flush(wal);
    return rc == SQLITE_OK ? pagevfs_wal_sync(wal) : rc;
}

int pagevfs_wal_reserve(struct pagevfs_wal *wal, uint64_t bytes)
{
    struct stat st;

    if (wal->fd < 0 || (wal->reserved && bytes <= wal->keep))
        return 0;
    int e = pagevfs_file_reserve(wal->fd, 0, bytes, false);
    if (e != 0 && e != ENOSPC)
        return e;
    /* What there was of it is ours, too. */
    if (fstat(wal->fd, &st) == 0)
        wal->file_size = (uint64_t)st.st_size;
    wal->keep = bytes;
    wal->reserved = e == 0;
    return e;
}

bool pagevfs_wal_keeps(const struct pagevfs_wal *wal)
{
    return wal->keep > 0;
}

uint64_t pagevfs_wal_size(const struct pagevfs_wal *wal)
{
    return wal->size;
}

static int wal_lock(sqlite3_file *file, int level)
{
    (void)file;
    (void)level;
    return SQLITE_OK;
}

static int wal_check_reserved(sqlite3_file *file, int *reserved)
{
    (void)file;
    *reserved = 0;
    return SQLITE_OK;
}

static int wal_control(sqlite3_file *file, int op, void *arg)
{
    (void)file;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int wal_sector_size(sqlite3_file *file)
{
    (void)file;
    return (int)PAGE;
}

static int wal_characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN;
}

static int wal_close(sqlite3_file *file)
{
    struct pagevfs_handle *handle = (struct pagevfs_handle *)file;
    struct pagevfs_wal *wal = handle->wal;

    /* What is still held belongs to a transaction that never committed. */
    wal->db->wal = NULL;
    if (wal->fd >= 0)
        close(wal->fd);
    secret_wipe(wal->scratch, sizeof(wal->scratch));
    free(wal);
    handle->wal = NULL;
    return SQLITE_OK;
}

const sqlite3_io_methods pagevfs_wal_methods = {
    .iVersion = 1,
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_file_size,
    .xLock = wal_lock,
    .xUnlock = wal_lock,
    .xCheckReservedLock = wal_check_reserved,
    .xFileControl = wal_control,
    .xSectorSize = wal_sector_size,
    .xDeviceCharacteristics = wal_characteristics,
};

/* An emptied log has a head of zeroes, and its room behind it. */
static bool is_emptied(const struct pagevfs_wal *wal)
{
    static const uint8_t no_head[DISK_HEAD];
    uint8_t head[DISK_HEAD];
    size_t got;

    return pagevfs_file_read(wal->db, wal->fd, head, sizeof(head), 0, &got) == SQLITE_OK &&
           got == sizeof(head) && memcmp(head, no_head, sizeof(head)) == 0;
}

int pagevfs_wal_open(struct pagevfs_db *db, const char *path, struct pagevfs_wal **out)
{
    struct pagevfs_wal *wal = calloc(1, sizeof(*wal));

    if (wal == NULL)
        return SQLITE_NOMEM;
    wal->db = db;
    wal->tail = wal->head_frame = NO_FRAME;
    const int flags = O_CLOEXEC | O_NOFOLLOW | (db->read_only ? O_RDONLY : O_RDWR);
    wal->fd = open(path, flags);
    if (wal->fd < 0 && errno == ENOENT && !db->read_only) {
        wal->fd = open(path, flags | O_CREAT | O_EXCL, 0600);
    }
    /* Also one that was there: who made it may have been killed before its name was durable. A power cut would then bring
     * back the log that was there before and was deleted, and its pages would be put over newer ones. */
    wal->new_name = true;
    if (wal->fd < 0 && !(errno == ENOENT && db->read_only)) {
        log_error("the index: cannot open its log: %s", strerror(errno));
        free(wal);
        return SQLITE_CANTOPEN;
    }
    if (wal->fd >= 0) {
        off_t size = lseek(wal->fd, 0, SEEK_END);
        wal->file_size = size > 0 ? (uint64_t)size : 0;
        wal->size = is_emptied(wal) ? 0 : wal->file_size;
        wal->dirty = wal->size > 0; /* what a killed process wrote may not be on the disk yet */
    }
    db->wal = wal;
    *out = wal;
    return SQLITE_OK;
}

bool pagevfs_wal_probe(struct pagevfs_db *db)
{
    const struct pagevfs_place place = {.kind = PAGEVFS_KIND_WAL_HEAD};
    uint8_t record[DISK_HEAD], head[HEAD];
    char *path = sqlite3_mprintf("%s-wal", db->path);
    size_t got = 0;

    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    sqlite3_free(path);
    if (fd < 0)
        return false;
    int rc = pagevfs_file_read(db, fd, record, sizeof(record), 0, &got);
    close(fd);
    return rc == SQLITE_OK && got == sizeof(record) &&
           pagevfs_file_open(db, &place, record, record + SEAL_NONCE, HEAD, head);
}
