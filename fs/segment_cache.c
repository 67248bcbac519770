#include "fs/segment_cache.h"

#include "crypto/err.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void segment_cache_name(char name[SEGMENT_NAME_SIZE], uint64_t seg)
{
    snprintf(name, SEGMENT_NAME_SIZE, "%016" PRIx64, seg);
}

uint64_t segment_cache_number(const char *name)
{
    if (strlen(name) != SEGMENT_NAME_SIZE - 1 ||
        strspn(name, "0123456789abcdef") != SEGMENT_NAME_SIZE - 1)
        return 0;
    uint64_t seg = strtoull(name, NULL, 16);
    return seg <= SEGMENT_NUMBER_MAX ? seg : 0;
}

void segment_cache_init(struct segment_cache *cache, int dirfd, bool read_only)
{
    *cache = (struct segment_cache){.dirfd = dirfd, .read_only = read_only};
    pthread_mutex_init(&cache->lock, NULL);
}

static void drop_ref(struct segment_file *file)
{
    if (--file->refs)
        return;
    close(file->fd);
    free(file);
}

void segment_cache_close(struct segment_cache *cache)
{
    for (size_t i = 0; i < SEGMENT_CACHE_FILES; i++)
        if (cache->files[i])
            drop_ref(cache->files[i]);
    pthread_mutex_destroy(&cache->lock);
}

static struct segment_file *find(struct segment_cache *cache, uint64_t seg)
{
    for (size_t i = 0; i < SEGMENT_CACHE_FILES; i++)
        if (cache->files[i] && cache->files[i]->seg == seg)
            return cache->files[i];
    return NULL;
}

/* A free place, made by closing the file that was unused for longest; NULL when all are in use. */
static struct segment_file **find_place(struct segment_cache *cache)
{
    struct segment_file **oldest = NULL;
    for (size_t i = 0; i < SEGMENT_CACHE_FILES; i++) {
        struct segment_file **place = &cache->files[i];
        if (!*place)
            return place;
        if ((*place)->refs == 1 && (!oldest || (*place)->used < (*oldest)->used))
            oldest = place;
    }
    if (oldest) {
        drop_ref(*oldest);
        *oldest = NULL;
    }
    return oldest;
}

/* With the lock held. ${file} has one reference, the caller's. */
static void insert(struct segment_cache *cache, struct segment_file *file)
{
    struct segment_file **place = find_place(cache);
    file->used = ++cache->clock;
    if (!place)
        return; /* lives as long as its user */
    *place = file;
    file->refs++;
}

static struct segment_file *new_file(uint64_t seg, int fd)
{
    struct segment_file *file = malloc(sizeof(*file));
    if (!file) {
        close(fd);
        return NULL;
    }
    *file = (struct segment_file){.seg = seg, .fd = fd, .refs = 1};
    return file;
}

static int open_file(struct segment_cache *cache, uint64_t seg, int *fd)
{
    char name[SEGMENT_NAME_SIZE];
    struct stat st;
    segment_cache_name(name, seg);
    /* Not through links, and not hanging on a FIFO: somebody else may have put it there. */
    int flags =
        (cache->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    do
        *fd = openat(cache->dirfd, name, flags);
    while (*fd < 0 && errno == EINTR);
    if (*fd < 0)
        return errno == ENOENT || errno == ELOOP || errno == EISDIR || errno == ENXIO
                   ? ERR_FORMAT
                   : err_from_errno(errno);
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode))
        return ERR_OK;
    close(*fd);
    return ERR_FORMAT;
}

int segment_cache_get(struct segment_cache *cache, uint64_t seg, struct segment_file **file)
{
    pthread_mutex_lock(&cache->lock);
    *file = find(cache, seg);
    if (*file) {
        (*file)->refs++;
        (*file)->used = ++cache->clock;
    }
    pthread_mutex_unlock(&cache->lock);
    if (*file)
        return ERR_OK;

    int fd;
    int err = seg && seg <= SEGMENT_NUMBER_MAX ? open_file(cache, seg, &fd) : ERR_FORMAT;
    if (err)
        return err;
    struct segment_file *opened = new_file(seg, fd);
    if (!opened)
        return ERR_NOMEM;
    pthread_mutex_lock(&cache->lock);
    *file = find(cache, seg); /* another thread was quicker */
    if (*file) {
        (*file)->refs++;
        drop_ref(opened);
    } else {
        *file = opened;
        insert(cache, opened);
    }
    pthread_mutex_unlock(&cache->lock);
    return ERR_OK;
}

int segment_cache_add(struct segment_cache *cache, uint64_t seg, int fd, struct segment_file **file)
{
    *file = new_file(seg, fd);
    if (!*file)
        return ERR_NOMEM;
    pthread_mutex_lock(&cache->lock);
    insert(cache, *file);
    pthread_mutex_unlock(&cache->lock);
    return ERR_OK;
}

void segment_cache_ref(struct segment_cache *cache, struct segment_file *file)
{
    pthread_mutex_lock(&cache->lock);
    file->refs++;
    pthread_mutex_unlock(&cache->lock);
}

void segment_cache_put(struct segment_cache *cache, struct segment_file *file)
{
    pthread_mutex_lock(&cache->lock);
    drop_ref(file);
    pthread_mutex_unlock(&cache->lock);
}

void segment_cache_forget(struct segment_cache *cache, uint64_t seg)
{
    pthread_mutex_lock(&cache->lock);
    for (size_t i = 0; i < SEGMENT_CACHE_FILES; i++)
        if (cache->files[i] && cache->files[i]->seg == seg) {
            drop_ref(cache->files[i]);
            cache->files[i] = NULL;
        }
    pthread_mutex_unlock(&cache->lock);
}
