/*
 * pagevfs.h - an SQLite VFS that seals every page. [index-file] [index-wal]
 *
 * Registers a VFS named "obscurafs". A database opened through it is readable only with its key: pages are 4096
 * bytes of which SQLite uses 4056 (40 reserved: tag 16, nonce 24), each sealed with a fresh random nonce on every
 * write and bound to file id, kind and page number; page 1 is sealed as a whole, so not even SQLite's header
 * shows. In the write-ahead log, the file header and every frame header are sealed too (they hold checksums of
 * plaintext), in records of their own: SQLite's offsets are remapped to the larger physical layout. Every other
 * kind of file (temporary, journal, super-journal) is refused: nothing readable can reach the disk. ATTACH is
 * refused too.
 *
 * A tag that is wrong in the log when it is recovered reads as the end of the log (a torn write looks just so);
 * in the database, or in a part of the log that is in use, it is SQLITE_IOERR_DATA. The connection is EXCLUSIVE,
 * with temp_store=MEMORY and mmap_size=0: pagevfs_open sets and checks all of that. No code of ours uses ROLLBACK TO
 * (SQLite before 3.42 can lose commits after it) or turns cache_spill on.
 *
 * A commit that fails because the disk is full (SQLITE_FULL) is rolled back as a whole; the database is as after the
 * commit before it, and the same connection goes on when there is room again. After a failed sync no later sync
 * or checkpoint succeeds: close, open again and look at what is really there.
 *
 * Not promised: that an old state is noticed. Whoever can write to the disk can put back the whole pair of files, an
 * older version of a page in its own place, or an older log, and can cut the log at a commit; each page is then
 * genuine, but maybe not of the same commit as its neighbour. The files' size, and which pages change, are visible. The
 * index is anchored elsewhere and can always be rebuilt.
 *
 * Threads may share a connection (SQLite serialises them). A connection does not survive fork.
 */
#ifndef CRYPTO_PAGEVFS_H
#define CRYPTO_PAGEVFS_H

#include "crypto/secret.h"

#include <sqlite3.h>

/*
 * Opens or creates (${create}) the database ${path} with ${key} and ${file_id} (32 bytes, e.g. the vault id:
 * goes into every AAD) and sets page size, WAL, locking and the rest; synchronous=NORMAL (a commit is not
 * synced; pagevfs_sync makes everything committed so far durable), cache_spill off, wal_autocheckpoint off.
 * The key is copied into guarded memory. A creation that fails leaves no file; one that succeeds is durable.
 *
 * ${read_only}: no byte on the disk changes and no file is made, ${create} counts for nothing, and others may read at
 * the same time. The log of a session that crashed is recovered in memory only. Statements that write give
 * SQLITE_READONLY.
 *
 * ERR_NOTVAULT (missing and not create), ERR_LOCKED (open elsewhere, in this process or another), ERR_AUTH (wrong key,
 * or a damaged or missing first page), ERR_DENIED, ERR_IO, ERR_NOSPACE, ERR_NOMEM, ERR_FORMAT (pages that verify but
 * make no database, e.g. the file was cut). *db is NULL after an error.
 */
int pagevfs_open(sqlite3 **db, const char *path, const uint8_t key[SECRET_KEY_LEN],
                 const uint8_t file_id[32], bool create, bool read_only);
/*
 * Rolls back what is not committed, checkpoints, closes and forgets the key. If there is no room for the checkpoint, the
 * log is synced and stays: 0, too. ERR_IO: the last commits may not be durable. ERR_MISUSE: a statement was not
 * finalized, and db is still open. db may be NULL.
 */
int pagevfs_close(sqlite3 *db);
/* Makes every commit so far durable: fsync of the log (what a checkpoint wrote is durable already). Does not hold up
 * other threads' statements while the disk works. ERR_IO is final. */
int pagevfs_sync(sqlite3 *db);
/*
 * Sees to it that the disk has room for the database as it is in the open transaction and ${more} bytes beyond, and for
 * ${log} bytes of log, and keeps it: from then on a checkpoint of what is committed needs no room that is not there,
 * and neither does a commit that fits into ${log} after a checkpoint. A log that has such room keeps it when it
 * is emptied and when the database is closed. 0 also where the file system cannot reserve. ERR_NOSPACE: not all of it.
 */
int pagevfs_reserve(sqlite3 *db, uint64_t more, uint64_t log);
/* Copies the log into the database and empties the log; durable when it returns. ERR_LOCKED: a transaction or a
 * statement is open. ERR_NOSPACE: nothing is lost, the log stays. */
int pagevfs_checkpoint(sqlite3 *db);
/* Bytes in the log now. */
uint64_t pagevfs_wal_bytes(sqlite3 *db);
/* One of our codes for an SQLite result code (extended): CORRUPT and NOTADB are ERR_FORMAT, a bad tag ERR_AUTH, a
 * broken PRIMARY KEY or UNIQUE is ERR_EXIST, every other mistake of the caller ERR_MISUSE. */
int pagevfs_err(int sqlite_rc);

#endif
