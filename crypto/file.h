/*
 * file.h - whole small files, durably; and reads and writes that finish what they start.
 *
 * ${dirfd} is an open directory, or AT_FDCWD; ${name} is relative to it and may contain directories. Every descriptor is
 * closed on exec. EINTR is never seen by callers. Errors of the system are those of err_from_errno (a missing file:
 * ERR_NOENT). Thread-safe; nothing is logged, since only the caller knows what the file is.
 */
#ifndef CRYPTO_FILE_H
#define CRYPTO_FILE_H

#include "crypto/bytes.h"

/* Names of temporary files start so. One that is there when no process works in the directory is left from a crash and
 * can be removed. */
#define FILE_TEMP_PREFIX ".tmp-"

/* Appends the content of the regular file to ${out}. ERR_FORMAT: it has more than ${max} bytes or is no regular file.
 * After an error nothing is appended. */
int file_read(int dirfd, const char *name, size_t max, struct bytes_out *out);

/*
 * The file has the new content, durably, when this returns 0; after a crash at any moment it has the old content (or is
 * missing, if it was) or the new, whole. ${mode} is exact, whatever the umask. After an error before the rename the old
 * content stays; ERR_IO from the very last step (the directory cannot be synced) leaves the new one, maybe not durable.
 */
int file_replace(int dirfd, const char *name, const void *p, size_t len, unsigned mode);

/* All ${len} bytes at ${off}. */
int file_write_all(int fd, const void *p, size_t len, uint64_t off);

/* Up to ${len} bytes at ${off}; *got is less only at the end of the file. got == NULL: fewer are ERR_FORMAT. */
int file_read_all(int fd, void *p, size_t len, uint64_t off, size_t *got);

/* Makes the entries of the directory ${name} (made, renamed, removed) durable. "." is ${dirfd} itself. */
int file_sync_dir(int dirfd, const char *name);

#endif
