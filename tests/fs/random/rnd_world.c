#include "tests/fs/random/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t rnd_next(struct rnd_world *w)
{
    uint64_t z = (w->rng += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t rnd_below(struct rnd_world *w, uint64_t n)
{
    return rnd_next(w) % n;
}

bool rnd_one_in(struct rnd_world *w, unsigned n)
{
    return rnd_below(w, n) == 0;
}

void rnd_fill(struct rnd_world *w, uint8_t *buf, size_t len)
{
    uint64_t x = rnd_next(w);

    for (size_t i = 0; i < len; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        buf[i] = (uint8_t)(x >> 56);
    }
}

void *rnd_alloc(size_t len)
{
    void *p = calloc(1, len ? len : 1);

    if (!p)
        abort();
    return p;
}

struct rnd_node *rnd_world_new_node(struct rnd_world *w, mode_t mode)
{
    struct rnd_node *node = rnd_alloc(sizeof(*node));

    node->id = ++w->next_id;
    node->mode = mode;
    node->uid = geteuid();
    node->gid = getegid();
    node->next = w->nodes;
    w->nodes = node;
    w->node_count++;
    /* a new file that was never synced may be found empty */
    if (w->opt->kill && S_ISREG(mode))
        node->past_count = 1;
    return node;
}

static void free_node(struct rnd_node *node)
{
    for (unsigned i = 0; i < RND_XATTRS; i++)
        free(node->xattrs[i].value);
    for (unsigned i = 0; i < node->past_count; i++)
        free(node->past[i].data);
    free(node->now.data);
    free(node);
}

void rnd_world_sweep(struct rnd_world *w)
{
    struct rnd_node **at = &w->nodes;

    while (*at) {
        struct rnd_node *node = *at;
        if (node->links > 0 || node->handles > 0) {
            at = &node->next;
            continue;
        }
        *at = node->next;
        w->node_count--;
        free_node(node);
    }
}

/* Plain ones, ones that need care in shells and archives, and ones as long as can be. */
void rnd_world_name(unsigned i, char *name)
{
    static const char *const odd[] = {"a b", "-n", "\xc3\xa4\xc3\xb6", ".hidden", "x\ny"};

    if (i < 5)
        snprintf(name, 256, "%s", odd[i]);
    else if (i < 7)
        memset(name, (int)('a' + i), 255), name[255] = '\0';
    else
        snprintf(name, 256, "f%u", i);
}

void rnd_world_path_in(struct rnd_world *w, const struct rnd_node *dir, unsigned name, char *path)
{
    char last[256], upper[RND_PATH];

    if (!rnd_world_path(w, dir, upper))
        abort();
    rnd_world_name(name, last);
    if (snprintf(path, RND_PATH, "%s/%s", upper, last) >= RND_PATH)
        abort();
}

/* Looks for ${node} below ${dir}; of several names the one that is ${skip} further. */
static bool find(struct rnd_world *w, const struct rnd_node *dir, const struct rnd_node *node,
                 unsigned *skip, char *path, size_t len)
{
    for (unsigned i = 0; i < RND_NAMES; i++) {
        const struct rnd_node *at = dir->names[i];
        char name[256];
        if (!at)
            continue;
        rnd_world_name(i, name);
        size_t end = len + (size_t)snprintf(path + len, RND_PATH - len, "/%s", name);
        if (at == node && (*skip)-- == 0)
            return true;
        if (S_ISDIR(at->mode) && find(w, at, node, skip, path, end))
            return true;
    }
    return false;
}

bool rnd_world_path(struct rnd_world *w, const struct rnd_node *node, char *path)
{
    unsigned skip;

    snprintf(path, RND_PATH, "%s", w->top);
    if (node == w->root)
        return true;
    if (node->links == 0)
        return false;
    skip = (unsigned)((w->ops + node->id) % node->links);
    return find(w, w->root, node, &skip, path, strlen(w->top));
}

unsigned rnd_world_depth(const struct rnd_node *dir)
{
    unsigned depth = 0;

    for (; dir->parent; dir = dir->parent)
        depth++;
    return depth;
}

static unsigned bit_of(const struct rnd_node *node)
{
    return S_ISREG(node->mode) ? 1 : S_ISDIR(node->mode) ? 2 : 4;
}

struct rnd_node *rnd_world_pick(struct rnd_world *w, unsigned types)
{
    struct rnd_node *chosen = NULL;
    unsigned seen = 0;

    for (struct rnd_node *node = w->nodes; node; node = node->next)
        if (node->links > 0 && (bit_of(node) & types) && node != w->root && rnd_one_in(w, ++seen))
            chosen = node;
    return chosen;
}

struct rnd_node *rnd_world_pick_dir(struct rnd_world *w)
{
    struct rnd_node *dir = rnd_one_in(w, 3) ? NULL : rnd_world_pick(w, 2);

    return dir ? dir : w->root;
}

struct rnd_node *rnd_world_pick_file(struct rnd_world *w)
{
    const struct rnd_handle *handle = &w->handles[rnd_below(w, RND_HANDLES)];

    if (handle->fd >= 0 && rnd_one_in(w, 2))
        return handle->node;
    return rnd_world_pick(w, 1);
}

int rnd_world_fd(struct rnd_world *w, struct rnd_node *node, bool *close_it)
{
    char path[RND_PATH];

    *close_it = false;
    if (node->links == 0 || !rnd_one_in(w, 3))
        for (unsigned i = 0; i < RND_HANDLES; i++)
            if (w->handles[i].fd >= 0 && w->handles[i].node == node)
                return w->handles[i].fd;
    if (!rnd_world_path(w, node, path))
        abort();
    *close_it = true;
    return (int)MUST(node, open(path, O_RDWR | O_CLOEXEC));
}

void rnd_world_note(struct rnd_world *w, const struct rnd_node *node, const struct rnd_node *node2,
                    const char *format, ...)
{
    va_list args;
    unsigned at = (unsigned)(w->ops % RND_LOG);

    w->log[at].op = w->ops;
    w->log[at].node = node ? node->id : 0;
    w->log[at].node2 = node2 ? node2->id : 0;
    va_start(args, format);
    vsnprintf(w->log[at].text, sizeof(w->log[at].text), format, args);
    va_end(args);
    if (w->opt->verbose)
        printf("%u: %llu: #%llu %s\n", w->number, (unsigned long long)w->ops,
               (unsigned long long)w->log[at].node, w->log[at].text);
    w->busy[0] = (struct rnd_node *)(uintptr_t)node;
    w->busy[1] = (struct rnd_node *)(uintptr_t)node2;
}

/* The operations that had to do with the node (0: with any), the last ${count} of them. */
static void print_log(struct rnd_world *w, uint64_t node, unsigned count)
{
    uint64_t first = w->ops >= RND_LOG ? w->ops - RND_LOG + 1 : 0;
    unsigned matching = 0;

    for (int print = 0; print < 2; print++) {
        unsigned seen = 0;
        for (uint64_t op = first; op <= w->ops; op++) {
            unsigned at = (unsigned)(op % RND_LOG);
            if (w->log[at].op != op ||
                (node && w->log[at].node != node && w->log[at].node2 != node))
                continue;
            seen++;
            if (print && seen + count > matching)
                fprintf(stderr, "  op %llu #%llu: %s\n", (unsigned long long)op,
                        (unsigned long long)w->log[at].node, w->log[at].text);
        }
        matching = seen;
    }
}

void rnd_world_fail(struct rnd_world *w, const struct rnd_node *node, const char *format, ...)
{
    va_list args;
    char path[RND_PATH];

    fprintf(stderr,
            "FAILED: seed %llu, process %u, op %llu, %s: ", (unsigned long long)w->opt->seed,
            w->number, (unsigned long long)w->ops, w->top);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    if (node) {
        bool named = rnd_world_path(w, node, path);
        fprintf(stderr, "#%llu (ino %llu) %s, its last operations:\n", (unsigned long long)node->id,
                (unsigned long long)node->ino, named ? path : "(no name)");
        print_log(w, node->id, 40);
    }
    fprintf(stderr, "the last operations:\n");
    print_log(w, 0, 15);
    fflush(NULL);
    _exit(1);
}

void rnd_world_check_gone(struct rnd_world *w)
{
    if (w->dying && (errno == ENOTCONN || errno == ECONNABORTED || errno == EIO))
        siglongjmp(w->gone, 1);
}

long rnd_world_must(struct rnd_world *w, const struct rnd_node *node, long result, const char *what)
{
    if (result >= 0)
        return result;
    rnd_world_check_gone(w);
    rnd_world_fail(w, node, "%s: %s", what, strerror(errno));
}

void rnd_world_must_fail(struct rnd_world *w, const struct rnd_node *node, long result, int error,
                         const char *what)
{
    if (result < 0)
        rnd_world_check_gone(w);
    if (result >= 0)
        rnd_world_fail(w, node, "%s succeeds; expected: %s", what, strerror(error));
    if (errno != error)
        rnd_world_fail(w, node, "%s: %s; expected: %s", what, strerror(errno), strerror(error));
}

bool rnd_world_unsupported(void)
{
    return errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL;
}
