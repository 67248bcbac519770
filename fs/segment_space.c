/* Reading payloads, and giving space back. */
#include "crypto/err.h"
#include "crypto/file.h"
#include "crypto/log.h"
#include "fs/segment_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u

int segment_read(struct segment_store *store, struct segment_pos pos, uint64_t off, uint8_t *buf,
                 size_t len)
{
    struct segment_file *file;
    if (pos.off > INT64_MAX || off > INT64_MAX - pos.off || len > INT64_MAX - pos.off - off)
        return ERR_FORMAT;
    int err = segment_cache_get(&store->cache, pos.seg, &file);
    if (err)
        return err;
    err = file_read_all(file->fd, buf, len, pos.off + off, NULL);
    segment_cache_put(&store->cache, file);
    return err;
}

void segment_punch(struct segment_store *store, struct segment_pos pos, size_t len)
{
    struct segment_file *file;
    if (store->read_only || pos.off > INT64_MAX - PAGE || len > INT64_MAX - PAGE - pos.off)
        return;
    /* Pages that are not wholly inside belong to neighbours too. */
    uint64_t from = (pos.off + PAGE - 1) / PAGE * PAGE, to = (pos.off + len) / PAGE * PAGE;
    if (from >= to || segment_cache_get(&store->cache, pos.seg, &file) != ERR_OK)
        return;
    if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
                  (off_t)(to - from)) != 0)
        log_debug("segments: no hole could be punched: %s", strerror(errno));
    segment_cache_put(&store->cache, file);
}

static bool is_current(struct segment_store *store, uint64_t seg, uint64_t *end)
{
    pthread_mutex_lock(&store->lock);
    bool current = store->current && store->current->seg == seg;
    if (current)
        *end = store->end;
    pthread_mutex_unlock(&store->lock);
    return current;
}

int segment_drop(struct segment_store *store, uint64_t seg)
{
    char name[SEGMENT_NAME_SIZE];
    uint64_t end;
    if (store->read_only)
        return ERR_ROFS;
    if (!seg || seg > SEGMENT_NUMBER_MAX || is_current(store, seg, &end))
        return ERR_MISUSE;
    segment_cache_name(name, seg);
    /* Not synced: a file that is back after a crash is before the start of every scan, and nothing refers to it; it is
     * dropped again. */
    if (unlinkat(store->dirfd, name, 0) != 0 && errno != ENOENT)
        return err_from_errno(errno);
    segment_cache_forget(&store->cache, seg);
    return ERR_OK;
}

int segment_each(struct segment_store *store, int (*each)(void *ctx, uint64_t seg, uint64_t bytes),
                 void *ctx)
{
    uint64_t *numbers;
    size_t count;
    int err = segment_store_list(store, &numbers, &count);
    for (size_t i = 0; !err && i < count; i++) {
        char name[SEGMENT_NAME_SIZE];
        struct stat st;
        uint64_t bytes;
        segment_cache_name(name, numbers[i]);
        if (fstatat(store->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno != ENOENT) /* else it was dropped meanwhile */
                err = err_from_errno(errno);
            continue;
        }
        if (!is_current(store, numbers[i], &bytes))
            bytes = (uint64_t)st.st_size;
        err = each(ctx, numbers[i], bytes);
    }
    free(numbers);
    return err;
}
