#include "fs/segment.h"

#include "crypto/err.h"
#include "crypto/file.h"
#include "crypto/log.h"
#include "fs/segment_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DIR_NAME     "seg"
#define RESERVE_STEP (4ull << 20)

/* ---- opening ---- */

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int read_numbers(DIR *dir, uint64_t **numbers, size_t *count)
{
    size_t cap = 0;
    for (;;) {
        errno = 0;
        struct dirent *d = readdir(dir);
        if (!d)
            return errno ? err_from_errno(errno) : ERR_OK;
        uint64_t seg = segment_cache_number(d->d_name);
        if (!seg)
            continue;
        if (*count == cap) {
            size_t more = cap ? cap * 2 : 64;
            uint64_t *grown = reallocarray(*numbers, more, sizeof(*grown));
            if (!grown)
                return ERR_NOMEM;
            *numbers = grown;
            cap = more;
        }
        (*numbers)[(*count)++] = seg;
    }
}

int segment_store_list(struct segment_store *store, uint64_t **numbers, size_t *count)
{
    *numbers = NULL;
    *count = 0;
    int fd = openat(store->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int err = err_from_errno(errno);
        if (fd >= 0)
            close(fd);
        return err;
    }
    int err = read_numbers(dir, numbers, count);
    closedir(dir);
    if (err) {
        free(*numbers);
        *numbers = NULL;
        return err;
    }
    if (*count)
        qsort(*numbers, *count, sizeof(**numbers), compare_numbers);
    return ERR_OK;
}

static int open_dir(int vault_fd, bool read_only, int *dirfd)
{
    if (!read_only && mkdirat(vault_fd, DIR_NAME, 0700) == 0) {
        /* Without it a crash may lose the directory with all that was promised in it. */
        int err = file_sync_dir(vault_fd, ".");
        if (err)
            return err;
    } else if (!read_only && errno != EEXIST) {
        return err_from_errno(errno);
    }
    *dirfd = openat(vault_fd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *dirfd < 0 ? err_from_errno(errno) : ERR_OK;
}

int segment_store_open(struct segment_store **out, int vault_fd, const uint8_t key[SECRET_KEY_LEN],
                       const uint8_t vault_id[32], uint32_t device_tag, bool read_only)
{
    *out = NULL;
    struct segment_store *store = calloc(1, sizeof(*store));
    if (!store)
        return ERR_NOMEM;
    store->read_only = read_only;
    int err = open_dir(vault_fd, read_only, &store->dirfd);
    if (err) {
        free(store);
        return err;
    }
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->changed, NULL);
    segment_cache_init(&store->cache, store->dirfd, read_only);

    uint64_t *numbers = NULL;
    size_t count = 0;
    err = segment_record_key_init(&store->rk, key, vault_id, device_tag);
    if (!err)
        err = segment_store_list(store, &numbers, &count);
    store->next_seg = count ? numbers[count - 1] + 1 : 1;
    free(numbers);
    if (err) {
        segment_store_close(store);
        return err;
    }
    *out = store;
    return ERR_OK;
}

void segment_store_close(struct segment_store *store)
{
    if (!store)
        return;
    if (store->current && store->keep_room) {
        segment_cache_put(&store->cache, store->current);
    } else if (store->current) {
        /* What is cut is reserve, or a file without a record. Best effort: the next mount copes with either. */
        char name[SEGMENT_NAME_SIZE];
        segment_cache_name(name, store->current->seg);
        int r = store->end ? ftruncate(store->current->fd, (off_t)store->end)
                           : unlinkat(store->dirfd, name, 0);
        if (r != 0)
            log_debug("segments: the reserve could not be cut off: %s", strerror(errno));
        segment_cache_put(&store->cache, store->current);
    }
    for (struct segment_file *f = store->retired, *next; f; f = next) {
        next = f->retired;
        segment_cache_put(&store->cache, f);
    }
    segment_cache_close(&store->cache);
    segment_record_key_wipe(&store->rk);
    close(store->dirfd);
    pthread_cond_destroy(&store->changed);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

/* ---- room ---- */

/* Grows a file from ${from} to ${to} bytes with disk space behind them. Nothing changed unless 0 is returned. */
static int reserve(int fd, uint64_t from, uint64_t to)
{
    int e;
    do
        e = posix_fallocate(fd, (off_t)from, (off_t)(to - from));
    while (e == EINTR);
    if (!e)
        return ERR_OK;
    /* Part of the room may have been taken: somebody else can use it. */
    if (ftruncate(fd, (off_t)from) != 0)
        log_debug("segments: a part of a reserve could not be given back: %s", strerror(errno));
    return e == EFBIG ? ERR_NOSPACE : err_from_errno(e);
}

/* In big steps, so that few writes pay for it; just enough when the disk is nearly full. Sets *size on success. */
static int reserve_upto(int fd, uint64_t from, uint64_t least, uint64_t *size)
{
    uint64_t to = (least + RESERVE_STEP - 1) / RESERVE_STEP * RESERVE_STEP;
    int err = reserve(fd, from, to);
    if (err == ERR_NOSPACE && to > least) {
        to = least;
        err = reserve(fd, from, to);
    }
    if (!err)
        *size = to;
    return err;
}

/* Lock held. Makes the next file with room for ${room} bytes; nothing changed after an error. */
static int make_file(struct segment_store *store, uint64_t room, struct segment_file **file,
                     uint64_t *reserved)
{
    char name[SEGMENT_NAME_SIZE];
    if (store->next_seg > SEGMENT_NUMBER_MAX)
        return ERR_IO;
    segment_cache_name(name, store->next_seg);
    int fd;
    do
        fd = openat(store->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        int e = errno;
        if (e != ENOSPC && e != EDQUOT)
            log_error("cannot make the segment file seg/%s: %s", name, strerror(e));
        return err_from_errno(e) == ERR_NOSPACE ? ERR_NOSPACE : ERR_IO;
    }
    int err = reserve_upto(fd, 0, room, reserved);
    if (err)
        close(fd);
    else
        err = segment_cache_add(&store->cache, store->next_seg, fd, file);
    if (err)
        unlinkat(store->dirfd, name, 0);
    return err;
}

/* ---- placing and writing ---- */

/* Lock held. */
static void flight_begin(struct segment_store *store, struct segment_flight *flight,
                         struct segment_pos at, uint64_t len)
{
    *flight = (struct segment_flight){.at = at, .end = at.off + len, .prev = store->last_flight};
    *(store->last_flight ? &store->last_flight->next : &store->flights) = flight;
    store->last_flight = flight;
}

static void flight_end(struct segment_store *store, struct segment_flight *flight)
{
    struct segment_pos end = {flight->at.seg, flight->end};
    pthread_mutex_lock(&store->lock);
    *(flight->prev ? &flight->prev->next : &store->flights) = flight->next;
    *(flight->next ? &flight->next->prev : &store->last_flight) = flight->prev;
    if (segment_pos_before(store->done, end))
        store->done = end;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
}

/* Where a record goes; ${ended} is the file that this record's thread has to put an END to, or NULL. */
struct placement {
    struct segment_file *file, *ended;
    struct segment_flight flight, end_flight;
    bool begins;
};

/* Lock held. A new file becomes the current one. */
static int next_file(struct segment_store *store, uint64_t room)
{
    struct segment_file *file;
    uint64_t reserved = 0;
    int err = make_file(store, room, &file, &reserved);
    if (err)
        return err;
    if (!store->first_seg)
        store->first_seg = file->seg;
    store->current = file;
    store->end = 0;
    store->reserved = reserved;
    store->next_seg++;
    store->dir_changed = true;
    return ERR_OK;
}

/* Lock held. The same when the current file is full: it gets its END from ${p}. */
static int roll_file(struct segment_store *store, uint64_t room, struct placement *p)
{
    struct segment_file *full = store->current;
    uint64_t end = store->end;
    int err = next_file(store, room);
    if (err)
        return err;
    p->ended = full;
    flight_begin(store, &p->end_flight, (struct segment_pos){full->seg, end}, SEGMENT_HEAD);
    *(store->last_retired ? &store->last_retired->retired : &store->retired) = full;
    store->last_retired = full;
    return ERR_OK;
}

static int grow(struct segment_store *store, uint64_t size)
{
    if (size <= store->reserved)
        return ERR_OK;
    return reserve_upto(store->current->fd, store->reserved, size, &store->reserved);
}

static int check_writable(struct segment_store *store)
{
    return store->failed ? ERR_IO : store->read_only ? ERR_ROFS : ERR_OK;
}

/* Lock held. Makes a file with room for ${len} bytes, what is ${held} and an END the current one. */
static int make_room(struct segment_store *store, uint64_t len, uint64_t held, struct placement *p)
{
    uint64_t room = len + held + SEGMENT_HEAD;
    if (!store->current)
        return next_file(store, room);
    if (store->end && store->end + len + SEGMENT_HEAD > SEGMENT_FILE_MAX) {
        int err = roll_file(store, room, p);
        /* No room for another file: a longer one serves as well, if it has the room. */
        if (err != ERR_NOSPACE)
            return err;
    }
    return grow(store, store->end + room);
}

static int place(struct segment_store *store, enum segment_kind kind, uint64_t len,
                 struct placement *p)
{
    memset(p, 0, sizeof(*p));
    pthread_mutex_lock(&store->lock);
    uint64_t uses = kind == SEGMENT_NOTE ? (len < store->held ? len : store->held) : 0;
    int err = check_writable(store);
    if (!err)
        err = make_room(store, len, store->held - uses, p);
    if (!err) {
        store->held -= uses;
        p->file = store->current;
        p->begins = store->end == 0 && store->current->seg == store->first_seg;
        flight_begin(store, &p->flight, (struct segment_pos){store->current->seg, store->end}, len);
        store->end += len;
    }
    pthread_mutex_unlock(&store->lock);
    return err;
}

int segment_hold(struct segment_store *store, size_t bytes)
{
    pthread_mutex_lock(&store->lock);
    int err = check_writable(store);
    if (!err && bytes > store->held) {
        uint64_t room = bytes + SEGMENT_HEAD;
        err = store->current ? grow(store, store->end + room) : next_file(store, room);
        if (!err)
            store->held = bytes;
    }
    pthread_mutex_unlock(&store->lock);
    return err;
}

void segment_keep_room(struct segment_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->keep_room = true;
    pthread_mutex_unlock(&store->lock);
}

int segment_store_fail(struct segment_store *store, const char *what, int e)
{
    if (!atomic_exchange(&store->failed, true))
        log_error("segments: %s failed: %s; nothing more is written", what, strerror(e));
    pthread_mutex_lock(&store->lock);
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
    return ERR_IO;
}

/* Head and payload with one call: they are one run on the disk, and a call costs more than the sealing of a head. */
static int write_record(struct segment_store *store, int fd, uint64_t off,
                        const uint8_t head[SEGMENT_HEAD], const uint8_t *payload, size_t len)
{
    size_t done = 0, whole = SEGMENT_HEAD + len;
    while (done < whole) {
        struct iovec iov[2];
        int n = 0;
        if (done < SEGMENT_HEAD)
            iov[n++] = (struct iovec){(void *)(uintptr_t)(head + done), SEGMENT_HEAD - done};
        size_t skip = done < SEGMENT_HEAD ? 0 : done - SEGMENT_HEAD;
        if (skip < len)
            iov[n++] = (struct iovec){(void *)(uintptr_t)(payload + skip), len - skip};
        ssize_t wrote = pwritev(fd, iov, n, (off_t)(off + done));
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return segment_store_fail(store, "a write", wrote < 0 ? errno : EIO);
        done += (size_t)wrote;
    }
    return ERR_OK;
}

/* [segment-end] Only an END lets the reader go on to a file that is not the first of a mount: without it a crash could
 * lose the tail of this file and keep the next, and the log would have a gap that nobody sees. */
static int write_end(struct segment_store *store, struct placement *p)
{
    uint8_t sealed[SEGMENT_HEAD];
    struct segment_record_head head = {.kind = SEGMENT_RECORD_END, .at = p->end_flight.at};
    int err = segment_record_seal_head(&store->rk, &head, sealed);
    if (!err)
        err = write_record(store, p->ended->fd, head.at.off, sealed, NULL, 0);
    if (!err && ftruncate(p->ended->fd, (off_t)p->end_flight.end) != 0)
        log_debug("segments: the reserve could not be cut off: %s", strerror(errno));
    flight_end(store, &p->end_flight);
    return err;
}

static int write_payload(struct segment_store *store, const struct placement *p,
                         enum segment_kind kind, const uint8_t *payload, size_t len)
{
    size_t in_file = (size_t)(p->flight.end - p->flight.at.off) - SEGMENT_HEAD;
    struct segment_record_head head = {.kind = (uint8_t)kind,
                                       .flags = p->begins ? SEGMENT_RECORD_BEGIN : 0,
                                       .len = (uint32_t)in_file,
                                       .at = p->flight.at};
    uint8_t sealed[SEGMENT_HEAD], *note = NULL;
    int err = segment_record_seal_head(&store->rk, &head, sealed);
    if (!err && kind == SEGMENT_NOTE) {
        note = malloc(in_file);
        err = note ? segment_record_seal_note(&store->rk, sealed, payload, len, note) : ERR_NOMEM;
        payload = note;
    }
    /* A placed record that is not written is a hole, where the log would end. */
    if (err)
        err = segment_store_fail(store, "sealing a record", ENOMEM);
    else
        err = write_record(store, p->file->fd, head.at.off, sealed, payload, in_file);
    free(note);
    return err;
}

int segment_append(struct segment_store *store, enum segment_kind kind, const uint8_t *payload,
                   size_t len, struct segment_pos *pos)
{
    size_t in_file = len + (kind == SEGMENT_NOTE ? SEGMENT_NOTE_OVERHEAD - SEGMENT_HEAD : 0);
    if (kind > SEGMENT_NOTE || len > SEGMENT_NOTE_MAX || !segment_record_len_ok(kind, in_file))
        return ERR_MISUSE;
    struct placement p;
    int err = place(store, kind, SEGMENT_HEAD + in_file, &p);
    if (err)
        return err;
    if (p.ended)
        err = write_end(store, &p);
    int write_err = write_payload(store, &p, kind, payload, len);
    flight_end(store, &p.flight);
    *pos = (struct segment_pos){p.flight.at.seg, p.flight.at.off + SEGMENT_HEAD};
    return err ? err : write_err;
}

struct segment_pos segment_tail(struct segment_store *store)
{
    pthread_mutex_lock(&store->lock);
    struct segment_pos tail = {store->next_seg, 0};
    if (store->current)
        tail = (struct segment_pos){store->current->seg, store->end};
    pthread_mutex_unlock(&store->lock);
    return tail;
}

bool segment_failed(struct segment_store *store)
{
    return store->failed;
}
