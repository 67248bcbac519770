/*
 * data.h - reading and writing what files hold.
 *
 * A write seals its bytes as new extents (at most SEAL_EXTENT_MAX each), appends them to the segment outside any lock, and then
 * maps them under the index lock: readers see the old or the new bytes, never a mixture inside one extent. A read takes the rows of the map
 * under the lock, then reads and opens blocks outside. Thread-safe. Sealing buffers are per thread.
 */
#ifndef FS_DATA_H
#define FS_DATA_H

#include "fs/tree.h"

/* *got < len only at the end of the file. Holes read as zeroes. Missing extents are fetched (vault_fetcher) and kept in the segment.
 * So are extents that are damaged here but in a pack. ERR_AUTH, ERR_FORMAT (damaged; logged with ino and extent id), ERR_NET...,
 * ERR_INTR, ERR_ISDIR. */
int data_read(struct vault *v, uint64_t ino, uint64_t off, uint8_t *buf, size_t len, size_t *got,
              const _Atomic bool *cancelled);
/* All or nothing. Extends the file. Sets mtime and ctime to now when ${touch}. ERR_NOSPACE, ERR_FBIG. ${kill_priv} as TREE_KILL_PRIV. */
int data_write(struct vault *v, uint64_t ino, uint64_t off, const uint8_t *buf, size_t len,
               bool touch, bool kill_priv);
/* ${mode}: fallocate(2)'s flags. Supported: 0 and KEEP_SIZE (room is checked, the file grows), PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE (with or
 * without KEEP_SIZE). Others ERR_NOTSUP. */
int data_fallocate(struct vault *v, uint64_t ino, int mode, uint64_t off, uint64_t len);
/* SEEK_DATA or SEEK_HOLE. ERR_NXIO. */
int data_seek(struct vault *v, uint64_t ino, uint64_t off, int whence, uint64_t *found);
/* Shares extents; no bytes are copied. *copied <= len. */
int data_copy_range(struct vault *v, uint64_t from, uint64_t from_off, uint64_t to, uint64_t to_off,
                    uint64_t len, uint64_t *copied);

#endif
