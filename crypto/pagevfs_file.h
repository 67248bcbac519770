/*
 * pagevfs_file.h - what the parts of the sealing VFS share; private to crypto/pagevfs*.c.
 *
 * One struct pagevfs_db per open database, made by pagevfs_vfs.c when SQLite opens the main file and freed when it
 * closes it. SQLite serialises all calls on the files of one connection (the connection's mutex); what is touched
 * without that mutex says so. Functions here return SQLite's codes, since SQLite is their caller.
 */
#ifndef CRYPTO_PAGEVFS_FILE_H
#define CRYPTO_PAGEVFS_FILE_H

#include "crypto/seal.h"
#include "crypto/secret.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#define PAGEVFS_FILE_PAGE    4096u
#define PAGEVFS_FILE_RESERVE (SEAL_TAG + SEAL_NONCE)
#define PAGEVFS_FILE_USABLE  (PAGEVFS_FILE_PAGE - PAGEVFS_FILE_RESERVE)
#define PAGEVFS_FILE_NAME    "obscurafs"

/* [index-aad] What a sealed record is. The number goes into its AAD. */
enum pagevfs_kind {
    PAGEVFS_KIND_PAGE = 1,       /* a page of the database; number: the page, from 1 */
    PAGEVFS_KIND_WAL_HEAD = 2,   /* the log's file header; number 0 */
    PAGEVFS_KIND_FRAME_HEAD = 3, /* the header of a frame of the log; number: the frame, from 0 */
    PAGEVFS_KIND_FRAME_PAGE = 4  /* the page in that frame; number: the frame */
};

/* Where a record belongs. */
struct pagevfs_place {
    enum pagevfs_kind kind;
    uint64_t number;
    uint8_t generation[8]; /* frames: the salts of the log's file header; else zero */
};

struct pagevfs_db {
    int fd;            /* the main file; holds the lock */
    bool read_only;    /* nothing on the disk may change */
    bool created;      /* this open made the main file */
    bool torn_head;    /* page 1 does not verify, but a log of ours is there: see pagevfs_main.c */
    uint64_t size;     /* bytes of the main file; nobody else changes it */
    uint64_t reserved; /* bytes of it that have disk space, as far as pagevfs_reserve knows */
    uint8_t *key;      /* secret_alloc */
    uint8_t file_id[32];
    uint8_t pool[170 * SEAL_NONCE]; /* random bytes for nonces; used ones are wiped */
    size_t pool_used;
    struct pagevfs_wal *wal; /* NULL while the log is not open */
    pthread_mutex_t
        /* one sync of the log at a time; held across fdatasync, by nobody who holds another */
        sync;
    atomic_bool failed; /* a sync failed: final */
    atomic_bool logged; /* an I/O error was logged */
    char *path;         /* the main file */
};

/* What SQLite allocates for each of its files. */
struct pagevfs_handle {
    sqlite3_file base;
    union {
        struct pagevfs_db *db;   /* main file */
        struct pagevfs_wal *wal; /* log */
    };
};

/* Seals ${len} bytes for ${place}: ${nonce} gets a fresh nonce, ${out} len + SEAL_TAG bytes. */
int pagevfs_file_seal(struct pagevfs_db *db, const struct pagevfs_place *place, const void *plain,
                      size_t len, uint8_t nonce[SEAL_NONCE], uint8_t *out);
/* The opposite; ${len} is of the plaintext. False, and ${plain} zeroed, when it does not verify. In place allowed. */
bool pagevfs_file_open(const struct pagevfs_db *db, const struct pagevfs_place *place,
                       const uint8_t nonce[SEAL_NONCE], const uint8_t *sealed, size_t len,
                       uint8_t *plain);

/* Logs damage, once. */
void pagevfs_file_damaged(struct pagevfs_db *db, const char *what, uint64_t number);

/* Up to ${len} bytes at ${off}; *got says how many there were. SQLITE_OK or SQLITE_IOERR_READ. */
int pagevfs_file_read(struct pagevfs_db *db, int fd, void *p, size_t len, uint64_t off,
                      size_t *got);
/* All of ${len} bytes. SQLITE_FULL when there is no room, SQLITE_IOERR_WRITE; part may then be written. */
int pagevfs_file_write(struct pagevfs_db *db, int fd, const void *p, size_t len, uint64_t off);
int pagevfs_file_truncate(struct pagevfs_db *db, int fd, uint64_t size);
/* Disk space for the bytes from ${from} to ${to}. 0, ENOSPC (part of it may be there), or another errno where it cannot be done. */
int pagevfs_file_reserve(int fd, uint64_t from, uint64_t to, bool keep_size);
/* fdatasync, and with ${dir} also fsync of the folder. A failure is final for ${db}. May be called without the
 * connection's mutex. SQLITE_OK, SQLITE_IOERR_FSYNC. */
int pagevfs_file_sync(struct pagevfs_db *db, int fd, bool dir);

/* pagevfs_main.c: the main file. */
extern const sqlite3_io_methods pagevfs_main_methods;
/* Verifies page 1 of a non-empty file. 0, ERR_AUTH, ERR_IO. */
int pagevfs_main_check(struct pagevfs_db *db);
/* Forgets the key, unlocks and frees. */
void pagevfs_main_free(struct pagevfs_db *db);

/* pagevfs_wal.c: the log. */
extern const sqlite3_io_methods pagevfs_wal_methods;
/* Opens the log ${path}, made if it is missing (if read-only: taken as empty), and links it to ${db}. */
int pagevfs_wal_open(struct pagevfs_db *db, const char *path, struct pagevfs_wal **wal);
/* True if ${db} has a log whose head verifies. Does not open it for SQLite. */
bool pagevfs_wal_probe(struct pagevfs_db *db);
/* Writes out what is held back. Under the connection's mutex. */
int pagevfs_wal_flush(struct pagevfs_wal *wal);
/* Makes everything that was flushed durable. Without the connection's mutex, if the caller wishes. */
int pagevfs_wal_sync(struct pagevfs_wal *wal);
uint64_t pagevfs_wal_size(const struct pagevfs_wal *wal);
/* Room for ${bytes} of the log that stays when it is emptied. As pagevfs_file_reserve. Under the connection's mutex. */
int pagevfs_wal_reserve(struct pagevfs_wal *wal, uint64_t bytes);
/* True if the file is to be kept when the database is closed. */
bool pagevfs_wal_keeps(const struct pagevfs_wal *wal);

/* pagevfs_vfs.c: the VFS. What pagevfs_open hands to xOpen, on the same thread. */
struct pagevfs_vfs_request {
    const uint8_t *key;
    const uint8_t *file_id;
    bool create, read_only;
    struct pagevfs_db *db; /* out */
    int err;               /* out: one of our codes, more exact than SQLite's */
};
/* Registers the VFS, once. */
int pagevfs_vfs_register(void);
/* The request for the next main file that this thread opens; NULL: none, opening is refused. */
void pagevfs_vfs_request(struct pagevfs_vfs_request *request);
/* The state behind a connection; NULL if it is not one of ours. */
struct pagevfs_db *pagevfs_vfs_db(sqlite3 *connection);

#endif
