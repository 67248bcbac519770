/*
 * segment_cache.h - open descriptors of segment files: the most recently used ones stay open.
 *
 * Internal to the segment files. Thread-safe: a file that somebody uses is not closed, even when it was deleted.
 */
#ifndef FS_SEGMENT_CACHE_H
#define FS_SEGMENT_CACHE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define SEGMENT_CACHE_FILES 32u
/* Numbers above are nobody's: a planted file name must not use the numbers up. */
#define SEGMENT_NUMBER_MAX (1ull << 48)
#define SEGMENT_NAME_SIZE  17u /* 16 hex digits and a NUL */

struct segment_file {
    uint64_t seg;
    int fd;
    unsigned refs; /* guarded by the cache's lock; the cache itself counts as one */
    uint64_t used; /* the same; when it was last asked for */
    struct segment_file
        *retired; /* for segment.c, under the store's lock: next of the full files not synced yet */
};

struct segment_cache {
    int dirfd; /* borrowed */
    bool read_only;
    pthread_mutex_t lock;
    uint64_t clock;                                  /* guarded by lock */
    struct segment_file *files[SEGMENT_CACHE_FILES]; /* guarded by lock; NULL: free */
};

void segment_cache_name(char name[SEGMENT_NAME_SIZE], uint64_t seg);
/* The number, or 0 when it is not the name of a segment file. */
uint64_t segment_cache_number(const char *name);

void segment_cache_init(struct segment_cache *cache, int dirfd, bool read_only);
/* Nobody may use a file any more. */
void segment_cache_close(struct segment_cache *cache);
/* Give it back with segment_cache_put. ERR_FORMAT: missing, or not a regular file; ERR_IO, ERR_NOMEM. */
int segment_cache_get(struct segment_cache *cache, uint64_t seg, struct segment_file **file);
/* Takes over the descriptor of a new file (closed on failure); in use until segment_cache_put. ERR_NOMEM. */
int segment_cache_add(struct segment_cache *cache, uint64_t seg, int fd,
                      struct segment_file **file);
void segment_cache_ref(struct segment_cache *cache, struct segment_file *file);
void segment_cache_put(struct segment_cache *cache, struct segment_file *file);
/* The file was deleted: closes it as soon as nobody uses it. */
void segment_cache_forget(struct segment_cache *cache, uint64_t seg);

#endif
