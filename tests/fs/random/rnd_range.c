#include "tests/fs/random/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

static void close_it(struct rnd_world *w, struct rnd_node *node, int fd, bool mine)
{
    if (mine)
        MUST(node, close(fd));
}

static const char *mode_name(int mode)
{
    return mode == 0                     ? "allocate"
           : mode == FALLOC_FL_KEEP_SIZE ? "allocate, keep size"
           : mode & FALLOC_FL_PUNCH_HOLE ? "punch"
           : mode & FALLOC_FL_KEEP_SIZE  ? "zero, keep size"
                                         : "zero";
}

static void range_in(struct rnd_world *w, const struct rnd_node *node, size_t *off, size_t *len)
{
    size_t max = w->opt->max_size;

    *off = rnd_below(w, node->now.size + 5000);
    *len = 1 + rnd_below(w, rnd_one_in(w, 3) ? max : 20000);
    if (rnd_one_in(w, 3)) {
        *off &= ~(size_t)(PAGE - 1);
        *len = (*len + PAGE - 1) & ~(size_t)(PAGE - 1);
    }
    if (*off >= max)
        *off = max - 1;
    if (*off + *len > max)
        *len = max - *off;
}

static void apply_allocate(struct rnd_world *w, struct rnd_node *node, int mode, size_t off,
                           size_t len)
{
    size_t end = off + len;

    if (!(mode & FALLOC_FL_KEEP_SIZE) && end > node->now.size)
        rnd_content_resize(node, end);
    if (end > node->now.size)
        end = node->now.size;
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && off < end)
        rnd_content_set(w, node, off, NULL, end - off);
}

static bool missing_here(struct rnd_world *w, struct rnd_node *node, int fd, int mode)
{
    if (fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)w->opt->max_size, 1) == 0)
        return false;
    if (!rnd_world_unsupported())
        MUST(node, -1);
    return true;
}

/* Once, behind the end, so that the model need not know. */
static void probe(struct rnd_world *w, struct rnd_node *node, int fd)
{
    w->no_falloc = missing_here(w, node, fd, 0);
    w->no_zero = missing_here(w, node, fd, FALLOC_FL_ZERO_RANGE);
    w->no_punch = missing_here(w, node, fd, FALLOC_FL_PUNCH_HOLE);
    w->probed = true;
    rnd_content_changed(node);
}

void rnd_range_allocate(struct rnd_world *w)
{
    static const int modes[] = {0,
                                FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE,
                                FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    struct rnd_node *node = rnd_world_pick_file(w);
    int mode = modes[rnd_below(w, 6)], fd;
    bool *missing = mode & FALLOC_FL_PUNCH_HOLE   ? &w->no_punch
                    : mode & FALLOC_FL_ZERO_RANGE ? &w->no_zero
                                                  : &w->no_falloc;
    size_t off, len, old;
    bool mine;

    if (!node || *missing)
        return;
    range_in(w, node, &off, &len);
    old = node->now.size;
    rnd_world_note(w, node, NULL, "%s %zu at %zu, size %zu", mode_name(mode), len, off, old);
    fd = rnd_world_fd(w, node, &mine);
    if (!w->probed)
        probe(w, node, fd);
    if (!*missing) {
        apply_allocate(w, node, mode, off, len);
        MUST(node, fallocate(fd, mode, (off_t)off, (off_t)len));
        rnd_content_changed(node);
        rnd_history_bytes(w, node);
        if (rnd_one_in(w, 3))
            rnd_content_check(w, node, fd);
    }
    close_it(w, node, fd, mine);
}

static bool zero_from(const struct rnd_node *node, size_t from, size_t to)
{
    for (; from < to; from++)
        if (node->now.data[from] != 0)
            return false;
    return true;
}

/* What must hold whatever is a hole here: what is skipped as a hole is zero, and what is called one is. */
void rnd_range_seek(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick_file(w);
    size_t size, off;
    bool mine;
    off_t at;
    int fd;

    if (!node)
        return;
    size = node->now.size;
    off = rnd_below(w, size + 100);
    rnd_world_note(w, node, NULL, "seek data and hole from %zu, size %zu", off, size);
    fd = rnd_world_fd(w, node, &mine);
    at = lseek(fd, (off_t)off, SEEK_DATA);
    if (at < 0 && errno != ENXIO)
        MUST(node, at);
    if (at < 0 && off < size && !zero_from(node, off, size))
        rnd_world_fail(w, node, "SEEK_DATA from %zu finds nothing, but there is data (size %zu)",
                       off, size);
    if (at >= 0 && (at < (off_t)off || at >= (off_t)size || !zero_from(node, off, (size_t)at)))
        rnd_world_fail(w, node, "SEEK_DATA from %zu finds %lld (size %zu)", off, (long long)at,
                       size);
    at = lseek(fd, (off_t)off, SEEK_HOLE);
    if (off >= size) {
        MUST_FAIL(node, ENXIO, at);
    } else {
        MUST(node, at);
        if (at < (off_t)off || at > (off_t)size || (at < (off_t)size && node->now.data[at] != 0))
            rnd_world_fail(w, node, "SEEK_HOLE from %zu finds %lld (size %zu)", off, (long long)at,
                           size);
    }
    close_it(w, node, fd, mine);
}

/* All of it, in as many calls as it takes. */
static void copy_all(struct rnd_world *w, struct rnd_node *to, int from_fd, size_t from_off,
                     int to_fd, size_t to_off, size_t len)
{
    off_t in = (off_t)from_off, out = (off_t)to_off;

    while (len > 0) {
        ssize_t n = copy_file_range(from_fd, &in, to_fd, &out, len, 0);
        MUST(to, n);
        if (n == 0)
            rnd_world_fail(w, to, "copy_file_range ends %zu bytes before the end of the source",
                           len);
        len -= (size_t)n;
    }
}

void rnd_range_copy(struct rnd_world *w)
{
    struct rnd_node *from = rnd_world_pick_file(w), *to = rnd_world_pick_file(w);
    size_t from_off, to_off, len, max = w->opt->max_size;
    bool from_mine, to_mine, align = rnd_one_in(w, 2);
    int from_fd, to_fd;

    if (!from || !to || w->no_copy || from->now.size == 0)
        return;
    from_off = rnd_below(w, from->now.size);
    to_off = rnd_one_in(w, 3) ? to->now.size : rnd_below(w, max);
    if (align)
        from_off &= ~(size_t)(PAGE - 1), to_off &= ~(size_t)(PAGE - 1);
    len = 1 + rnd_below(w, from->now.size - from_off);
    if (to_off + len > max)
        len = to_off < max ? max - to_off : 0;
    if (len == 0)
        return;
    rnd_world_note(w, to, from, "copy %zu at %zu from #%llu at %zu, sizes %zu, %zu", len, to_off,
                   (unsigned long long)from->id, from_off, to->now.size, from->now.size);
    from_fd = rnd_world_fd(w, from, &from_mine);
    to_fd = rnd_world_fd(w, to, &to_mine);
    if (from == to && from_off < to_off + len && to_off < from_off + len) {
        MUST_FAIL(to, EINVAL,
                  copy_file_range(from_fd, &(off_t){(off_t)from_off}, to_fd,
                                  &(off_t){(off_t)to_off}, len, 0));
    } else {
        memcpy(w->buf, from->now.data + from_off, len);
        rnd_content_set(w, to, to_off, w->buf, len);
        copy_all(w, to, from_fd, from_off, to_fd, to_off, len);
        rnd_content_changed(to);
        rnd_history_bytes(w, to);
        if (rnd_one_in(w, 3))
            rnd_content_check(w, to, to_fd);
    }
    close_it(w, from, from_fd, from_mine);
    close_it(w, to, to_fd, to_mine);
}

/* A mapping of the pages that hold the range: a handle's, or a new one. */
struct view {
    uint8_t *map, *mine;
    size_t mine_len;
};

static struct view view_of(struct rnd_world *w, struct rnd_node *node, size_t off, size_t len)
{
    struct view v = {.mine = NULL};
    size_t start = off & ~(size_t)(PAGE - 1);
    bool close_fd;
    int fd;

    for (unsigned i = 0; i < RND_HANDLES; i++)
        if (w->handles[i].fd >= 0 && w->handles[i].node == node && w->handles[i].map) {
            v.map = w->handles[i].map;
            return v;
        }
    fd = rnd_world_fd(w, node, &close_fd);
    v.mine_len = off + len - start;
    v.mine = mmap(NULL, v.mine_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)start);
    if (v.mine == MAP_FAILED) {
        rnd_world_check_gone(w);
        rnd_world_fail(w, node, "mmap: %s", strerror(errno));
    }
    close_it(w, node, fd, close_fd);
    w->view = v.mine;
    w->view_len = v.mine_len;
    v.map = v.mine - start;
    return v;
}

static void end_view(struct rnd_world *w, const struct view *v)
{
    if (v->mine)
        munmap(v->mine, v->mine_len);
    w->view = NULL;
}

static bool range_inside(struct rnd_world *w, const struct rnd_node *node, size_t *off, size_t *len)
{
    if (node->now.size == 0)
        return false;
    *off = rnd_below(w, node->now.size);
    *len = 1 + rnd_below(w, rnd_one_in(w, 3) ? node->now.size : 9000);
    if (*off + *len > node->now.size)
        *len = node->now.size - *off;
    return true;
}

void rnd_range_map_write(struct rnd_world *w)
{
    static const char *const how_names[] = {"nothing", "MS_SYNC", "MS_ASYNC"};
    struct rnd_node *node = rnd_world_pick_file(w);
    unsigned how = (unsigned)rnd_below(w, 3);
    size_t off, len, start;
    struct view v;

    if (!node || !range_inside(w, node, &off, &len))
        return;
    rnd_world_note(w, node, NULL, "map write %zu at %zu, size %zu, msync: %s", len, off,
                   node->now.size, how_names[how]);
    v = view_of(w, node, off, len);
    rnd_fill(w, w->buf, len);
    rnd_content_set(w, node, off, w->buf, len);
    memcpy(v.map + off, w->buf, len);
    start = off & ~(size_t)(PAGE - 1);
    if (how > 0)
        MUST(node, msync(v.map + start, off + len - start, how == 1 ? MS_SYNC : MS_ASYNC));
    rnd_content_changed(node);
    rnd_history_bytes(w, node);
    end_view(w, &v);
}

/* Also what is in the last page behind the end: zeroes. */
void rnd_range_map_read(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick_file(w);
    size_t off, len, end;
    struct view v;

    if (!node || !range_inside(w, node, &off, &len))
        return;
    rnd_world_note(w, node, NULL, "map read %zu at %zu, size %zu", len, off, node->now.size);
    v = view_of(w, node, off, len);
    memcpy(w->buf, v.map + off, len);
    rnd_content_same(w, node, off, w->buf, len, "the mapping");
    end = (off + len + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (off + len == node->now.size)
        for (size_t i = node->now.size; i < end; i++)
            if (v.map[i] != 0)
                rnd_world_fail(w, node, "the mapping shows %02x behind the end, at %zu (size %zu)",
                               v.map[i], i, node->now.size);
    end_view(w, &v);
}
