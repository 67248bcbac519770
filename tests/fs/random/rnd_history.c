#include "tests/fs/random/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <linux/limits.h>
#include <sys/xattr.h>
#include <unistd.h>

/* One name, as it was at some time. */
struct line {
    char *path;
    struct rnd_node *node;
    ino_t ino;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    unsigned links;
    uint64_t rest; /* xattrs, target of a symlink */
};

struct state {
    struct line *lines;
    unsigned count, room;
};

/* The tree since the last sync, oldest first. Every change of names and attributes is in order, so one of these must be found, whole. */
struct rnd_lines {
    struct state states[RND_STATES];
    unsigned count;
};

static void free_state(struct state *s)
{
    for (unsigned i = 0; i < s->count; i++)
        free(s->lines[i].path);
    free(s->lines);
    *s = (struct state){0};
}

static uint64_t hash(uint64_t h, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ data[i]) * 0x100000001b3u;
    return h;
}

static uint64_t rest_of(const struct rnd_node *node)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (unsigned i = 0; i < RND_XATTRS; i++)
        if (node->xattrs[i].there)
            h = hash(h + i + 1, node->xattrs[i].value, node->xattrs[i].len);
    return S_ISLNK(node->mode) ? hash(h, node->now.data, node->now.size) : h;
}

/* Names come in one order, so two states can be compared line by line. */
static void collect(struct rnd_world *w, const struct rnd_node *dir, struct state *s)
{
    char path[RND_PATH];

    for (unsigned i = 0; i < RND_NAMES; i++) {
        struct rnd_node *node = dir->names[i];
        if (!node)
            continue;
        if (s->count == s->room) {
            s->room = s->room * 2 + 32;
            s->lines = realloc(s->lines, s->room * sizeof(*s->lines));
            if (!s->lines)
                abort();
        }
        rnd_world_path_in(w, dir, i, path);
        s->lines[s->count++] = (struct line){.path = strdup(path),
                                             .node = node,
                                             .ino = node->ino,
                                             .mode = node->mode,
                                             .uid = node->uid,
                                             .gid = node->gid,
                                             .links = node->links,
                                             .rest = rest_of(node)};
        if (S_ISDIR(node->mode))
            collect(w, node, s);
    }
}

static void push_tree(struct rnd_world *w)
{
    struct rnd_lines *past = w->past;

    if (past->count == RND_STATES)
        abort();
    collect(w, w->root, &past->states[past->count++]);
}

static void push_bytes(struct rnd_node *node)
{
    struct rnd_bytes *b;

    if (node->past_count == RND_STATES)
        abort();
    b = &node->past[node->past_count++];
    b->size = node->now.size;
    b->data = rnd_alloc(b->size);
    if (b->size > 0)
        memcpy(b->data, node->now.data, b->size);
}

void rnd_history_begin(struct rnd_world *w)
{
    if (!w->opt->kill)
        return;
    w->past = rnd_alloc(sizeof(*w->past));
    push_tree(w);
}

/* One state stays free for an operation that is cut off. */
void rnd_history_tree(struct rnd_world *w)
{
    int fd;

    if (!w->opt->kill)
        return;
    push_tree(w);
    if (w->past->count + 1 < RND_STATES)
        return;
    fd = (int)MUST(w->root, open(w->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    MUST(w->root, fsync(fd));
    close(fd);
    rnd_history_synced(w, w->root);
}

void rnd_history_bytes(struct rnd_world *w, struct rnd_node *node)
{
    bool mine;
    int fd;

    if (!w->opt->kill || !S_ISREG(node->mode))
        return;
    push_bytes(node);
    if (node->past_count + 1 < RND_STATES)
        return;
    fd = rnd_world_fd(w, node, &mine);
    MUST(node, fsync(fd));
    if (mine)
        close(fd);
    rnd_history_synced(w, node);
}

void rnd_history_cut(struct rnd_world *w)
{
    push_tree(w);
    for (int i = 0; i < 2; i++)
        if (w->busy[i] && S_ISREG(w->busy[i]->mode) && w->busy[i]->past_count < RND_STATES)
            push_bytes(w->busy[i]);
}

void rnd_history_synced(struct rnd_world *w, struct rnd_node *node)
{
    struct rnd_lines *past = w->past;

    if (!w->opt->kill)
        return;
    w->syncs++;
    if (S_ISREG(node->mode)) {
        for (unsigned i = 0; i < node->past_count; i++)
            free(node->past[i].data);
        node->past_count = 0;
        push_bytes(node);
    }
    for (unsigned i = 0; i < past->count; i++)
        free_state(&past->states[i]);
    past->count = 0;
    push_tree(w);
}

bool rnd_history_settled(const struct rnd_world *w)
{
    return !w->past || w->past->count == 1;
}

/* The model of what is there now. */
static void load_xattrs(struct rnd_world *w, struct rnd_node *node, const char *path)
{
    char name[256];

    for (unsigned i = 0; i < RND_XATTRS; i++) {
        struct rnd_xattr *x = &node->xattrs[i];
        ssize_t len =
            rnd_meta_xattr_name(node, i, name) ? lgetxattr(path, name, w->buf, XATTR_SIZE_MAX) : -1;
        if (len < 0)
            continue;
        x->there = true;
        x->len = (size_t)len;
        x->value = rnd_alloc(x->len);
        memcpy(x->value, w->buf, x->len);
    }
}

static void load_bytes(struct rnd_world *w, struct rnd_node *node, const char *path)
{
    ssize_t len;
    int fd;

    if (S_ISLNK(node->mode)) {
        len = MUST(node, readlink(path, (char *)w->buf, RND_PATH));
    } else {
        fd = (int)MUST(node, open(path, O_RDONLY | O_CLOEXEC));
        len = MUST(node, pread(fd, w->buf, w->opt->max_size + 1, 0));
        close(fd);
    }
    if ((size_t)len > w->opt->max_size)
        rnd_world_fail(w, node, "%s has %zd bytes, more than any file ever had", path, len);
    rnd_content_set(w, node, 0, w->buf, (size_t)len);
    node->past_count = 0;
    push_bytes(node);
}

static struct rnd_node *by_ino(struct rnd_world *w, ino_t ino)
{
    struct rnd_node *node = w->nodes;

    while (node && node->ino != ino)
        node = node->next;
    return node;
}

static void load_dir(struct rnd_world *w, struct rnd_node *dir)
{
    char path[RND_PATH];
    struct stat st;

    for (unsigned i = 0; i < RND_NAMES; i++) {
        struct rnd_node *node;
        rnd_world_path_in(w, dir, i, path);
        if (lstat(path, &st) < 0) {
            if (errno != ENOENT)
                MUST(dir, -1);
            continue;
        }
        node = by_ino(w, st.st_ino);
        if (!node) {
            node = rnd_world_new_node(w, st.st_mode);
            node->ino = st.st_ino;
            node->uid = st.st_uid;
            node->gid = st.st_gid;
            if (!S_ISDIR(st.st_mode))
                load_bytes(w, node, path);
            load_xattrs(w, node, path);
        }
        node->links++;
        dir->names[i] = node;
        if (S_ISDIR(node->mode)) {
            node->parent = dir;
            load_dir(w, node);
        }
    }
}

static bool same_line(const struct line *a, const struct line *b)
{
    return strcmp(a->path, b->path) == 0 && (a->ino == 0 || a->ino == b->ino) &&
           a->mode == b->mode && a->uid == b->uid && a->gid == b->gid && a->links == b->links &&
           a->rest == b->rest;
}

/* The bytes of a file are some that it had since its last sync. Pages go to the server in any order, so each byte is looked at alone;
 * a page that did not go, of a file that did grow, is zero. */
static bool bytes_possible(struct rnd_world *w, const struct rnd_node *past,
                           const struct rnd_node *seen, char *why, size_t room)
{
    size_t least = SIZE_MAX, most = 0;

    for (unsigned k = 0; k < past->past_count; k++) {
        least = past->past[k].size < least ? past->past[k].size : least;
        most = past->past[k].size > most ? past->past[k].size : most;
    }
    snprintf(why, room, "#%llu has %zu bytes, expected %zu to %zu", (unsigned long long)past->id,
             seen->now.size, least, most);
    if (seen->now.size < least || seen->now.size > most)
        return false;
    for (size_t at = 0; at < seen->now.size; at++) {
        uint8_t byte = seen->now.data[at];
        bool possible = false;
        for (unsigned k = 0; k < past->past_count && !possible; k++)
            possible = at < past->past[k].size ? past->past[k].data[at] == byte : byte == 0;
        if (!possible) {
            snprintf(why, room,
                     "#%llu has the byte %02x at %zu, which it had at no time since its last sync",
                     (unsigned long long)past->id, byte, at);
            return false;
        }
    }
    (void)w;
    return true;
}

static bool state_possible(struct rnd_world *w, const struct state *past, const struct state *seen,
                           char *why, size_t room)
{
    if (past->count != seen->count)
        return false;
    for (unsigned i = 0; i < seen->count; i++)
        if (!same_line(&past->lines[i], &seen->lines[i]))
            return false;
    for (unsigned i = 0; i < seen->count; i++)
        if (S_ISREG(seen->lines[i].mode) &&
            !bytes_possible(w, past->lines[i].node, seen->lines[i].node, why, room))
            return false;
    return true;
}

static void print_line(const char *what, const struct line *l)
{
    fprintf(stderr, "  %s %s ino %llu mode %o %u:%u links %u rest %016llx\n", what, l->path,
            (unsigned long long)l->ino, l->mode, l->uid, l->gid, l->links,
            (unsigned long long)l->rest);
}

/* What of one state is not in the other. */
static void print_missing(const char *what, const struct state *a, const struct state *b,
                          bool known_first)
{
    for (unsigned i = 0; i < a->count; i++) {
        bool there = false;
        for (unsigned j = 0; j < b->count && !there; j++)
            there = known_first ? same_line(&a->lines[i], &b->lines[j])
                                : same_line(&b->lines[j], &a->lines[i]);
        if (!there)
            print_line(what, &a->lines[i]);
    }
}

static void fail_tree(struct rnd_world *w, const struct state *seen, const char *why)
{
    const struct state *first = &w->past->states[0], *last = &w->past->states[w->past->count - 1];

    fprintf(stderr, "process %u: %s is in none of the %u states since the last sync. %s\n",
            w->number, w->top, w->past->count, why);
    print_missing("oldest, not found:", first, seen, true);
    print_missing("newest, not found:", last, seen, true);
    print_missing("found, not in the oldest:", seen, first, false);
    print_missing("found, not in the newest:", seen, last, false);
    rnd_world_fail(w, NULL, "after a kill the tree is in no state that it had");
}

void rnd_history_verify(struct rnd_world *w)
{
    struct rnd_node *old = w->nodes, *old_root = w->root;
    struct state seen = {0};
    char why[200] = "";
    bool found = false;

    w->nodes = NULL;
    w->node_count = 0;
    w->root = rnd_world_new_node(w, old_root->mode);
    w->root->links = 1;
    w->root->ino = old_root->ino;
    w->root->uid = old_root->uid;
    w->root->gid = old_root->gid;
    load_dir(w, w->root);
    for (struct rnd_node *node = w->nodes; node; node = node->next)
        rnd_verify_node(w, node);
    collect(w, w->root, &seen);
    for (unsigned k = w->past->count; k > 0 && !found; k--)
        found = state_possible(w, &w->past->states[k - 1], &seen, why, sizeof(why));
    if (!found)
        fail_tree(w, &seen, why);
    for (unsigned k = 0; k < w->past->count; k++)
        free_state(&w->past->states[k]);
    w->past->states[0] = seen;
    w->past->count = 1;
    /* nothing refers to the old nodes any more */
    struct rnd_node *fresh = w->nodes;
    unsigned count = w->node_count;
    w->nodes = old;
    for (struct rnd_node *node = old; node; node = node->next)
        node->links = node->handles = 0;
    rnd_world_sweep(w);
    w->nodes = fresh;
    w->node_count = count;
}
