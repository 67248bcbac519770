#include "tests/fs/random/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DIRECT_ALIGN = 4096 };

void rnd_content_resize(struct rnd_node *node, size_t size)
{
    if (size > node->now.size) {
        node->now.data = realloc(node->now.data, size);
        if (!node->now.data)
            abort();
        memset(node->now.data + node->now.size, 0, size - node->now.size);
    }
    node->now.size = size;
}

void rnd_content_set(struct rnd_world *w, struct rnd_node *node, size_t off, const uint8_t *data,
                     size_t len)
{
    if (len == 0)
        return;
    if (off + len > w->opt->max_size)
        abort();
    if (off + len > node->now.size)
        rnd_content_resize(node, off + len);
    if (data)
        memcpy(node->now.data + off, data, len);
    else
        memset(node->now.data + off, 0, len);
}

void rnd_content_changed(struct rnd_node *node)
{
    node->mtime_known = false;
}

void rnd_content_same(struct rnd_world *w, struct rnd_node *node, size_t off, const uint8_t *seen,
                      size_t len, const char *how)
{
    size_t i = 0, end;

    if (len == 0 || memcmp(node->now.data + off, seen, len) == 0)
        return;
    while (node->now.data[off + i] == seen[i])
        i++;
    for (end = len; node->now.data[off + end - 1] == seen[end - 1];)
        end--;
    rnd_world_fail(
        w, node,
        "%s shows other bytes: the first at %zu is %02x, expected %02x; the last at %zu (read %zu at %zu, size %zu)",
        how, off + i, seen[i], node->now.data[off + i], off + end - 1, len, off, node->now.size);
}

static void close_it(struct rnd_world *w, struct rnd_node *node, int fd, bool mine)
{
    if (mine)
        MUST(node, close(fd));
}

/* Where a call did less than it was asked to: that is how it ends if the server goes meanwhile, which shows in the next one. */
static void did_less(struct rnd_world *w, struct rnd_node *node, int fd)
{
    if (w->dying)
        MUST(node, fsync(fd));
}

static void read_part(struct rnd_world *w, struct rnd_node *node, int fd, size_t off, size_t len,
                      const char *how)
{
    size_t expected = off >= node->now.size        ? 0
                      : off + len > node->now.size ? node->now.size - off
                                                   : len;
    size_t got = (size_t)MUST(node, pread(fd, w->buf, len, (off_t)off));

    if (got < expected)
        did_less(w, node, fd);
    if (got != expected)
        rnd_world_fail(w, node, "%s of %zu at %zu gives %zu bytes, expected %zu (size %zu)", how,
                       len, off, got, expected, node->now.size);
    rnd_content_same(w, node, off, w->buf, got, how);
}

void rnd_content_check(struct rnd_world *w, struct rnd_node *node, int fd)
{
    struct stat st;

    MUST(node, fstat(fd, &st));
    if ((size_t)st.st_size != node->now.size)
        rnd_world_fail(w, node, "fstat shows %lld bytes, expected %zu", (long long)st.st_size,
                       node->now.size);
    read_part(w, node, fd, 0, w->opt->max_size, "read of the whole");
}

/* A place and a length; more often at the ends of pages and of the file than chance would have it. */
static void pick_range(struct rnd_world *w, const struct rnd_node *node, size_t *off, size_t *len)
{
    size_t max = w->opt->max_size;
    size_t size = node->now.size;
    size_t longest = rnd_one_in(w, 4) ? max : rnd_one_in(w, 2) ? 40000 : 5000;

    *off = rnd_one_in(w, 3) ? size : rnd_one_in(w, 4) ? rnd_below(w, max) : rnd_below(w, size + 1);
    if (rnd_one_in(w, 3))
        *off &= ~(size_t)4095;
    else if (rnd_one_in(w, 6))
        *off &= ~(size_t)16383;
    if (*off >= max)
        *off = max - 1;
    *len = 1 + rnd_below(w, longest < max ? longest : max);
    if (rnd_one_in(w, 3))
        *len = (*len + 4095) & ~(size_t)4095;
    if (*off + *len > max)
        *len = max - *off;
}

void rnd_content_read(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick_file(w);
    size_t off, len;
    bool mine;
    int fd;

    if (!node)
        return;
    pick_range(w, node, &off, &len);
    rnd_world_note(w, node, NULL, "read %zu at %zu", len, off);
    fd = rnd_world_fd(w, node, &mine);
    read_part(w, node, fd, off, len, "read");
    close_it(w, node, fd, mine);
}

static void after_change(struct rnd_world *w, struct rnd_node *node, int fd, size_t off, size_t len)
{
    size_t from = off > 100 ? off - 100 : 0;

    rnd_content_changed(node);
    rnd_history_bytes(w, node);
    if (rnd_one_in(w, 3))
        read_part(w, node, fd, from, len + 200, "read after the change");
}

void rnd_content_write(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick_file(w);
    size_t off, len;
    bool mine;
    int fd;

    if (!node)
        return;
    pick_range(w, node, &off, &len);
    rnd_world_note(w, node, NULL, "write %zu at %zu, size %zu", len, off, node->now.size);
    fd = rnd_world_fd(w, node, &mine);
    rnd_fill(w, w->buf, len);
    rnd_content_set(w, node, off, w->buf, len);
    if ((size_t)MUST(node, pwrite(fd, w->buf, len, (off_t)off)) != len) {
        did_less(w, node, fd);
        rnd_world_fail(w, node, "write of %zu at %zu writes less", len, off);
    }
    after_change(w, node, fd, off, len);
    close_it(w, node, fd, mine);
}

void rnd_content_append(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick(w, 1);
    char path[RND_PATH];
    size_t len = 1 + rnd_below(w, rnd_one_in(w, 3) ? 30000 : 300), off;
    int fd;

    if (!node || node->now.size + len > w->opt->max_size)
        return;
    rnd_world_note(w, node, NULL, "append %zu, size %zu", len, node->now.size);
    rnd_world_path(w, node, path);
    fd = (int)MUST(node, open(path, O_RDWR | O_APPEND | O_CLOEXEC));
    rnd_fill(w, w->buf, len);
    off = node->now.size;
    rnd_content_set(w, node, off, w->buf, len);
    /* the place is not asked for: the end is meant */
    if ((size_t)MUST(node, pwrite(fd, w->buf, len, 0)) != len) {
        did_less(w, node, fd);
        rnd_world_fail(w, node, "append of %zu writes less", len);
    }
    after_change(w, node, fd, off, len);
    MUST(node, close(fd));
}

/* Past the page cache, for reading or for writing. */
void rnd_content_direct(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick(w, 1);
    char path[RND_PATH];
    bool write = rnd_one_in(w, 2);
    size_t max = w->opt->max_size, off, len;
    int fd;

    if (!node || w->no_direct)
        return;
    off = rnd_below(w, node->now.size + DIRECT_ALIGN) & ~(size_t)(DIRECT_ALIGN - 1);
    len = (1 + rnd_below(w, rnd_one_in(w, 4) ? 300 : 6)) * DIRECT_ALIGN;
    if (off + len > max)
        len = max > off ? (max - off) & ~(size_t)(DIRECT_ALIGN - 1) : 0;
    if (len == 0)
        return;
    rnd_world_note(w, node, NULL, "direct %s %zu at %zu, size %zu", write ? "write" : "read", len,
                   off, node->now.size);
    rnd_world_path(w, node, path);
    fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0 && errno == EINVAL) {
        w->no_direct = true;
        return;
    }
    MUST(node, fd);
    if (write) {
        rnd_fill(w, w->buf, len);
        rnd_content_set(w, node, off, w->buf, len);
        if ((size_t)MUST(node, pwrite(fd, w->buf, len, (off_t)off)) != len) {
            did_less(w, node, fd);
            rnd_world_fail(w, node, "direct write of %zu at %zu writes less", len, off);
        }
        rnd_content_changed(node);
        rnd_history_bytes(w, node);
    } else {
        read_part(w, node, fd, off, len, "direct read");
    }
    MUST(node, close(fd));
}

void rnd_content_truncate(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick_file(w);
    char path[RND_PATH];
    size_t size, old;
    bool mine;
    int fd;

    if (!node)
        return;
    old = node->now.size;
    size = rnd_one_in(w, 8)   ? 0
           : rnd_one_in(w, 2) ? rnd_below(w, old + 1)
                              : rnd_below(w, w->opt->max_size + 1);
    if (rnd_one_in(w, 4))
        size &= ~(size_t)4095;
    rnd_world_note(w, node, NULL, "truncate to %zu, size %zu", size, old);
    rnd_content_resize(node, size);
    fd = rnd_world_fd(w, node, &mine);
    if (node->links > 0 && rnd_world_path(w, node, path) && rnd_one_in(w, 2))
        MUST(node, truncate(path, (off_t)size));
    else
        MUST(node, ftruncate(fd, (off_t)size));
    after_change(w, node, fd, old < size ? old : size, 5000);
    close_it(w, node, fd, mine);
}

void rnd_content_sync(struct rnd_world *w)
{
    struct rnd_node *node = rnd_one_in(w, 4) ? rnd_world_pick_dir(w) : rnd_world_pick_file(w);
    char path[RND_PATH];
    bool mine = true, data = rnd_one_in(w, 2);
    int fd;

    if (!node)
        return;
    rnd_world_note(w, node, NULL, data ? "fdatasync" : "fsync");
    if (S_ISDIR(node->mode)) {
        rnd_world_path(w, node, path);
        fd = (int)MUST(node, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    } else {
        fd = rnd_world_fd(w, node, &mine);
    }
    if (data)
        MUST(node, fdatasync(fd));
    else
        MUST(node, fsync(fd));
    rnd_history_synced(w, node);
    close_it(w, node, fd, mine);
}

void rnd_content_open(struct rnd_world *w)
{
    struct rnd_handle *handle = &w->handles[rnd_below(w, RND_HANDLES)];
    struct rnd_node *node = rnd_world_pick(w, 1);
    char path[RND_PATH];
    bool map = rnd_one_in(w, 2), cut = rnd_one_in(w, 10);

    if (!node || handle->fd >= 0)
        return;
    rnd_world_note(w, node, NULL, "open%s%s", map ? ", map" : "", cut ? ", cut" : "");
    rnd_world_path(w, node, path);
    if (cut)
        rnd_content_resize(node, 0);
    handle->fd = (int)MUST(node, open(path, O_RDWR | O_CLOEXEC | (cut ? O_TRUNC : 0)));
    handle->node = node;
    node->handles++;
    if (cut) {
        rnd_content_changed(node);
        rnd_history_bytes(w, node);
    }
    handle->map = NULL;
    if (map) {
        handle->map =
            mmap(NULL, w->opt->max_size, PROT_READ | PROT_WRITE, MAP_SHARED, handle->fd, 0);
        if (handle->map == MAP_FAILED) {
            handle->map = NULL;
            rnd_world_check_gone(w);
            rnd_world_fail(w, node, "mmap: %s", strerror(errno));
        }
    }
}

static void close_handle(struct rnd_world *w, struct rnd_handle *handle)
{
    struct rnd_node *node = handle->node;
    int fd = handle->fd;

    if (handle->map)
        munmap(handle->map, w->opt->max_size);
    handle->map = NULL;
    handle->fd = -1;
    node->handles--;
    MUST(node, close(fd));
}

void rnd_content_close(struct rnd_world *w)
{
    struct rnd_handle *handle = &w->handles[rnd_below(w, RND_HANDLES)];

    if (handle->fd < 0)
        return;
    rnd_world_note(w, handle->node, NULL, "close%s", handle->node->links ? "" : ", without a name");
    if (rnd_one_in(w, 2))
        rnd_content_check(w, handle->node, handle->fd);
    close_handle(w, handle);
}

void rnd_content_close_all(struct rnd_world *w)
{
    for (unsigned i = 0; i < RND_HANDLES; i++)
        if (w->handles[i].fd >= 0)
            close_handle(w, &w->handles[i]);
}
