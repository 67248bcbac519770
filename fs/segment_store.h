/*
 * segment_store.h - what the files that implement segment.h share.
 *
 * segment.c opens, places and writes; segment_sync.c makes durable; segment_scan.c reads the log back; segment_space.c
 * reads payloads and gives space back.
 */
#ifndef FS_SEGMENT_STORE_H
#define FS_SEGMENT_STORE_H

#include "fs/segment_cache.h"
#include "fs/segment_record.h"

#include <pthread.h>
#include <stdatomic.h>

/* A record that was placed and is not wholly written yet. On the stack of its writer. */
struct segment_flight {
    struct segment_pos at; /* its head */
    uint64_t end;          /* in the same file: the byte after it */
    struct segment_flight *prev, *next;
};

struct segment_store {
    int dirfd;
    bool read_only;
    struct segment_record_key rk;
    struct segment_cache cache;
    atomic_bool failed; /* set once, never cleared */

    pthread_mutex_t lock;   /* guards all below; never held while bytes are written or synced */
    pthread_cond_t changed; /* a flight ended, a sync ended, or it failed */
    struct segment_file
        *current;      /* being written, a reference of ours; NULL before the first record */
    uint64_t end;      /* of current: where the next head goes */
    uint64_t reserved; /* of current: its size on the disk */
    uint64_t held;     /* bytes that only notes may use */
    uint64_t next_seg;
    uint64_t first_seg; /* the first file that this mount made; 0: none yet */
    struct segment_flight *flights, *last_flight; /* in the order of their places */
    struct segment_pos done;                      /* the end of the last record that is written */
    struct segment_pos synced;                    /* durable up to here */
    bool syncing;                                 /* a thread is at it, for all who wait */
    bool keep_room;                               /* closing does not cut the reserve off */
    bool dir_changed; /* a file was made since the directory was synced */
    struct segment_file *retired,
        *last_retired; /* full and not synced, ascending; a reference of ours each */
};

static inline bool segment_pos_before(struct segment_pos a, struct segment_pos b)
{
    return a.seg != b.seg ? a.seg < b.seg : a.off < b.off;
}

/* Ascending numbers of the files that exist; free(*numbers). ERR_NOMEM, ERR_IO. */
int segment_store_list(struct segment_store *store, uint64_t **numbers, size_t *count);

/* Makes every later call fail; says why once. ${what} is what failed ("write"), ${e} its errno. Returns ERR_IO. */
int segment_store_fail(struct segment_store *store, const char *what, int e);

/* fdatasync or fsync without EINTR: 0 or an errno. */
int segment_store_sync_fd(int fd, bool data_only);

#endif
