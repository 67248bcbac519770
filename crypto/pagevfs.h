/*
 * pagevfs.h - an SQLite VFS that seals every page. [index-file] [index-wal]
 *
 * Registers a VFS named "obscurafs". A database opened through it is readable only with its key: pages are 4096
 * bytes of which SQLite uses 4056 (40 reserved: nonce 24, tag 16), each sealed with a fresh random nonce on every
 * write and bound to file id, kind and page number; page 1 is sealed as a whole, so not even SQLite's header
 * shows. In the write-ahead log, the file header and every frame header are sealed too (they hold checksums of
 * plaintext), in records of their own: SQLite's offsets are remapped to the larger physical layout. Every other
 * kind of file (temporary, journal, super-journal) is refused: nothing readable can reach the disk.
 *
 * A tag that is wrong in the log reads as the end of the log (a torn write looks just so); in the database it is
 * SQLITE_IOERR_DATA. The connection must be EXCLUSIVE, with temp_store=MEMORY and mmap_size=0:
 * pagevfs_open sets and checks all of that.
 */
#ifndef CRYPTO_PAGEVFS_H
#define CRYPTO_PAGEVFS_H

#include "crypto/secret.h"

#include <sqlite3.h>

/*
 * Opens or creates (${create}) the database ${path} with ${key} and ${file_id} (32 bytes, e.g. the vault id:
 * goes into every AAD) and sets page size, WAL, locking and the rest; synchronous=NORMAL (a commit is not
 * synced; pagevfs_sync makes everything committed so far durable), cache_spill off, wal_autocheckpoint off.
 * The key is copied into guarded memory.
 * ERR_NOTVAULT (missing and not create), ERR_LOCKED, ERR_AUTH (wrong key or damaged first page), ERR_IO, ERR_NOSPACE,
 * ERR_NOMEM.
 */
int pagevfs_open(sqlite3 **db, const char *path, const uint8_t key[SECRET_KEY_LEN], const uint8_t file_id[32],
                 bool create, bool read_only);
/* Checkpoints, closes and forgets the key. db may be NULL. */
int pagevfs_close(sqlite3 *db);
/* Makes every commit so far durable: fsync of the log (and of what a checkpoint wrote). */
int pagevfs_sync(sqlite3 *db);
/* Copies the log into the database and truncates the log; durable when it returns. */
int pagevfs_checkpoint(sqlite3 *db);
/* Bytes in the log now. */
uint64_t pagevfs_wal_bytes(sqlite3 *db);
/* One of our codes for an SQLite result code (extended). */
int pagevfs_err(int sqlite_rc);

#endif
