/* Reading the log back. */
#include "crypto/err.h"
#include "crypto/file.h"
#include "crypto/log.h"
#include "fs/segment_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int each_fn(void *ctx, enum segment_kind kind, struct segment_pos pos,
                    const uint8_t *payload, size_t len);

struct scan {
    struct segment_store *store;
    each_fn *each;
    void *ctx;
    uint64_t ours; /* files from here on are this mount's: their writers see to them */
    int stop;      /* what ${each} returned */
    uint8_t *buf;  /* for notes; grows as needed */
    size_t cap;
    struct segment_pos end; /* after the last record that verified */
};

/* One file of the log. */
struct scan_file {
    int fd;
    uint64_t seg, off, size; /* off: of the next head */
    bool follows;            /* the log leads here, also without SEGMENT_RECORD_BEGIN */
    bool ended;              /* by an END */
    bool settled;            /* an earlier mount's, and we may write: its reserve is needless */
};

/* True for what damage looks like, which ends the log; other errors (memory, the disk) end the scan, because going on
 * without what is there would lose it. */
static bool is_damage(int err)
{
    return err == ERR_AUTH || err == ERR_FORMAT;
}

/* Room for a payload that is known to be in the file; its length was authenticated and is capped. */
static int make_room(struct scan *s, size_t len)
{
    if (s->cap >= len)
        return ERR_OK;
    uint8_t *grown = realloc(s->buf, len);
    if (!grown)
        return ERR_NOMEM;
    s->buf = grown;
    s->cap = len;
    return ERR_OK;
}

static int scan_note(struct scan *s, struct scan_file *f, const struct segment_record_head *head,
                     const uint8_t sealed[SEGMENT_HEAD])
{
    struct segment_pos pos = {f->seg, f->off + SEGMENT_HEAD};
    uint8_t *note = NULL;
    size_t len = 0;
    int err = make_room(s, head->len);
    if (!err)
        err = file_read_all(f->fd, s->buf, head->len, pos.off, NULL);
    if (!err)
        err = segment_record_open_note(&s->store->rk, sealed, s->buf, head->len, &note, &len);
    if (err)
        return err;
    s->stop = s->each(s->ctx, SEGMENT_NOTE, pos, note, len);
    secret_wipe(note, len);
    return ERR_OK;
}

/* Reads, checks and hands on the record at f->off. Damage: the log of this file ends here. */
static int scan_record(struct scan *s, struct scan_file *f)
{
    uint8_t sealed[SEGMENT_HEAD];
    struct segment_record_head head = {.at = {f->seg, f->off}};
    if (f->size < SEGMENT_HEAD || f->off > f->size - SEGMENT_HEAD)
        return ERR_FORMAT;
    int err = file_read_all(f->fd, sealed, SEGMENT_HEAD, f->off, NULL);
    if (!err)
        err = segment_record_open_head(&s->store->rk, sealed, &head);
    if (err)
        return err;
    if (f->off == 0 && !f->follows && !(head.flags & SEGMENT_RECORD_BEGIN))
        return ERR_FORMAT;
    if (head.len > f->size - f->off - SEGMENT_HEAD)
        return ERR_FORMAT;
    if (head.kind == SEGMENT_RECORD_END) {
        f->ended = true; /* s->end stays before it: a scan from there has to come by it again */
        return ERR_OK;
    }
    if (head.kind == SEGMENT_NOTE)
        err = scan_note(s, f, &head, sealed);
    else
        s->stop = s->each(s->ctx, SEGMENT_EXTENT,
                          (struct segment_pos){f->seg, f->off + SEGMENT_HEAD}, NULL, head.len);
    if (err)
        return err;
    f->off += SEGMENT_HEAD + head.len;
    s->end = (struct segment_pos){f->seg, f->off};
    return ERR_OK;
}

/* Gives back the zeroes at the end of a file: reserve that a crash left. Never a record that verified, and nothing else
 * that was ever written. Best effort. */
static void trim(const struct scan_file *f)
{
    uint8_t buf[16384];
    uint64_t size = f->size;
    while (size > f->off) {
        size_t n = size - f->off < sizeof(buf) ? (size_t)(size - f->off) : sizeof(buf);
        if (file_read_all(f->fd, buf, n, size - n, NULL) != ERR_OK)
            return;
        size_t keep = n;
        while (keep && !buf[keep - 1])
            keep--;
        size -= n - keep;
        if (keep)
            break;
    }
    if (size < f->size && ftruncate(f->fd, (off_t)size) != 0)
        log_debug("segments: the reserve of a crash could not be cut off: %s", strerror(errno));
}

static int scan_file(struct scan *s, struct scan_file *f)
{
    struct segment_file *file;
    struct stat st;
    int err = segment_cache_get(&s->store->cache, f->seg, &file);
    if (err)
        return is_damage(err) ? ERR_OK : err; /* no regular file: nothing of ours in it */
    f->fd = file->fd;
    if (fstat(f->fd, &st) != 0)
        err = err_from_errno(errno);
    f->size = err ? 0 : (uint64_t)st.st_size;
    while (!err && !f->ended && !s->stop)
        err = scan_record(s, f);
    if (is_damage(err)) {
        log_debug("segments: the log of file %llu ends at %llu", (unsigned long long)f->seg,
                  (unsigned long long)f->off);
        if (f->settled)
            trim(f);
        err = ERR_OK;
    }
    /* After a kill the pages of the last mount may be in memory only. New records will build on what was read here; were
     * they durable and these not, a power cut would leave a log with a gap. */
    if (!err && f->settled) {
        int e = segment_store_sync_fd(f->fd, true);
        if (e)
            err = segment_store_fail(s->store, "a sync", e);
    }
    segment_cache_put(&s->store->cache, file);
    return err;
}

/*
 * Goes on with the next file also after a torn one. That is safe: a sync waits for everything before it, so nothing after
 * a tear was ever promised; whoever found the tear began a file of its own (SEGMENT_RECORD_BEGIN) and built on the log up
 * to it, as we do now; and nothing is written to an old file, so the tear is where it was then. A file that the torn
 * one's own mount wrote after it lacks that mark and is left out, because the log before it has a gap.
 */
static int scan_files(struct scan *s, struct segment_pos from, const uint64_t *numbers,
                      size_t count)
{
    uint64_t ended = 0;
    bool first = true;
    for (size_t i = 0; i < count && !s->stop; i++) {
        if (numbers[i] < from.seg)
            continue;
        struct scan_file f = {.seg = numbers[i], .off = numbers[i] == from.seg ? from.off : 0};
        f.settled = !s->store->read_only && f.seg < s->ours;
        f.follows = (ended && f.seg == ended + 1) || (first && (!from.seg || f.seg == from.seg));
        int err = scan_file(s, &f);
        if (err)
            return err;
        ended = f.ended ? f.seg : 0;
        first = false;
    }
    return ERR_OK;
}

int segment_scan(struct segment_store *store, struct segment_pos from, each_fn *each, void *ctx,
                 struct segment_pos *end)
{
    struct scan s = {.store = store, .each = each, .ctx = ctx, .end = from};
    uint64_t *numbers;
    size_t count;
    pthread_mutex_lock(&store->lock);
    s.ours = store->first_seg ? store->first_seg : store->next_seg;
    pthread_mutex_unlock(&store->lock);
    int err = segment_store_list(store, &numbers, &count);
    if (err)
        return err;
    /* Positions before ${from} are spent even when their files are gone: a file that took such a number again would not
     * be scanned. */
    bool exists = count && numbers[count - 1] >= from.seg;
    pthread_mutex_lock(&store->lock);
    if (!exists && store->next_seg < from.seg + (from.off ? 1 : 0))
        store->next_seg = from.seg + (from.off ? 1 : 0);
    pthread_mutex_unlock(&store->lock);

    err = scan_files(&s, from, numbers, count);
    free(numbers);
    free(s.buf);
    /* As for the files: what was read must not be gone later because its name was only in memory. */
    if (!err && !store->read_only) {
        int e = segment_store_sync_fd(store->dirfd, false);
        if (e)
            err = segment_store_fail(store, "a sync", e);
    }
    *end = s.end;
    return err ? err : s.stop;
}
