#include "tests/fs/random/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A name in a directory, taken or not. */
struct place {
    struct rnd_node *dir, *node; /* node: NULL if the name is free */
    unsigned name;
    char path[RND_PATH];
};

static struct place pick_place(struct rnd_world *w)
{
    struct place p = {.dir = rnd_world_pick_dir(w), .name = (unsigned)rnd_below(w, RND_NAMES)};

    p.node = p.dir->names[p.name];
    rnd_world_path_in(w, p.dir, p.name, p.path);
    return p;
}

static void put(const struct place *p, struct rnd_node *node)
{
    p->dir->names[p->name] = node;
    p->dir->mtime_known = false;
    if (!node)
        return;
    if (S_ISDIR(node->mode))
        node->parent = p->dir;
}

/* What was made has the inode number that it keeps. */
static void learn_ino(struct rnd_world *w, struct rnd_node *node, const char *path)
{
    struct stat st;

    MUST(node, lstat(path, &st));
    node->ino = st.st_ino;
    node->gid = st.st_gid; /* of a directory with set-group-ID it would be another */
    rnd_history_tree(w);
}

void rnd_names_create(struct rnd_world *w)
{
    struct place p = pick_place(w);
    struct rnd_node *node;
    int fd;

    if (p.node || w->node_count >= RND_NODES) {
        if (p.node) {
            rnd_world_note(w, p.node, p.dir, "create what exists");
            MUST_FAIL(p.node, EEXIST, open(p.path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
        }
        return;
    }
    node = rnd_world_new_node(w, S_IFREG | 0640);
    rnd_world_note(w, node, p.dir, "create name %u in #%llu", p.name,
                   (unsigned long long)p.dir->id);
    node->links = 1;
    put(&p, node);
    fd = (int)MUST(node, open(p.path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640));
    learn_ino(w, node, p.path);
    MUST(node, close(fd));
}

/* A file without a name, which gets one. */
void rnd_names_tmpfile(struct rnd_world *w)
{
    struct place p = pick_place(w);
    struct rnd_node *node;
    char dir[RND_PATH], self[64];
    int fd;

    if (p.node || w->node_count >= RND_NODES || w->no_tmpfile)
        return;
    rnd_world_note(w, p.dir, NULL, "tmpfile");
    rnd_world_path(w, p.dir, dir);
    fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
    if (fd < 0 && (rnd_world_unsupported() || errno == EISDIR)) {
        w->no_tmpfile = true;
        return;
    }
    MUST(p.dir, fd);
    node = rnd_world_new_node(w, S_IFREG | 0640);
    node->links = 1;
    rnd_world_note(w, node, p.dir, "name %u for a tmpfile", p.name);
    put(&p, node);
    rnd_content_set(w, node, 0, (const uint8_t *)"tmpfile", 7);
    MUST(node, pwrite(fd, "tmpfile", 7, 0));
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    MUST(node, linkat(AT_FDCWD, self, AT_FDCWD, p.path, AT_SYMLINK_FOLLOW));
    rnd_history_bytes(w, node);
    learn_ino(w, node, p.path);
    MUST(node, close(fd));
}

void rnd_names_mkdir(struct rnd_world *w)
{
    struct place p = pick_place(w);
    struct rnd_node *node;

    if (p.node) {
        rnd_world_note(w, p.node, p.dir, "mkdir what exists");
        MUST_FAIL(p.node, EEXIST, mkdir(p.path, 0700));
        return;
    }
    if (w->node_count >= RND_NODES || rnd_world_depth(p.dir) >= RND_DEPTH)
        return;
    node = rnd_world_new_node(w, S_IFDIR | 0750);
    rnd_world_note(w, node, p.dir, "mkdir name %u in #%llu", p.name, (unsigned long long)p.dir->id);
    node->links = 1;
    put(&p, node);
    MUST(node, mkdir(p.path, 0750));
    learn_ino(w, node, p.path);
}

void rnd_names_symlink(struct rnd_world *w)
{
    struct place p = pick_place(w);
    size_t len = 1 + rnd_below(w, rnd_one_in(w, 5) ? 4000 : 60);
    struct rnd_node *node;
    char target[4096];

    for (size_t i = 0; i < len; i++)
        target[i] = (char)('!' + rnd_below(w, 90));
    target[len] = '\0';
    if (p.node) {
        rnd_world_note(w, p.node, p.dir, "symlink over what exists");
        MUST_FAIL(p.node, EEXIST, symlink(target, p.path));
        return;
    }
    if (w->node_count >= RND_NODES)
        return;
    node = rnd_world_new_node(w, S_IFLNK | 0777);
    rnd_world_note(w, node, p.dir, "symlink name %u, %zu bytes", p.name, len);
    node->links = 1;
    rnd_content_set(w, node, 0, (const uint8_t *)target, len);
    put(&p, node);
    MUST(node, symlink(target, p.path));
    learn_ino(w, node, p.path);
}

void rnd_names_link(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick(w, 1 | 4);
    struct place p = pick_place(w);
    char path[RND_PATH];

    if (!node)
        return;
    rnd_world_note(w, node, p.node, "link to name %u in #%llu", p.name,
                   (unsigned long long)p.dir->id);
    rnd_world_path(w, node, path);
    if (p.node) {
        MUST_FAIL(node, EEXIST, link(path, p.path));
        return;
    }
    put(&p, node);
    node->links++;
    MUST(node, link(path, p.path));
    rnd_history_tree(w);
}

void rnd_names_unlink(struct rnd_world *w)
{
    struct place p = pick_place(w);

    rnd_world_note(w, p.node, p.dir, "unlink name %u in #%llu", p.name,
                   (unsigned long long)p.dir->id);
    if (!p.node) {
        MUST_FAIL(NULL, ENOENT, unlink(p.path));
    } else if (S_ISDIR(p.node->mode)) {
        MUST_FAIL(p.node, EISDIR, unlink(p.path));
    } else {
        put(&p, NULL);
        p.node->links--;
        MUST(p.node, unlink(p.path));
        rnd_history_tree(w);
    }
}

static bool is_empty(const struct rnd_node *dir)
{
    for (unsigned i = 0; i < RND_NAMES; i++)
        if (dir->names[i])
            return false;
    return true;
}

void rnd_names_rmdir(struct rnd_world *w)
{
    struct place p = pick_place(w);

    rnd_world_note(w, p.node, p.dir, "rmdir name %u in #%llu", p.name,
                   (unsigned long long)p.dir->id);
    if (!p.node) {
        MUST_FAIL(NULL, ENOENT, rmdir(p.path));
    } else if (!S_ISDIR(p.node->mode)) {
        MUST_FAIL(p.node, ENOTDIR, rmdir(p.path));
    } else if (!is_empty(p.node)) {
        MUST_FAIL(p.node, ENOTEMPTY, rmdir(p.path));
    } else {
        put(&p, NULL);
        p.node->links = 0;
        MUST(p.node, rmdir(p.path));
        rnd_history_tree(w);
    }
}

/* ${dir} is ${node} or somewhere below it. */
static bool is_below(const struct rnd_node *dir, const struct rnd_node *node)
{
    for (; dir; dir = dir->parent)
        if (dir == node)
            return true;
    return false;
}

static unsigned height(const struct rnd_node *node)
{
    unsigned most = 0;

    if (!S_ISDIR(node->mode))
        return 0;
    for (unsigned i = 0; i < RND_NAMES; i++)
        if (node->names[i] && height(node->names[i]) > most)
            most = height(node->names[i]);
    return most + 1;
}

/* The error that rename must give, 0 for none. */
static int rename_error(const struct place *from, const struct place *to, unsigned flags)
{
    if (!from->node)
        return ENOENT;
    if ((flags & RENAME_NOREPLACE) && to->node)
        return EEXIST;
    if ((flags & RENAME_EXCHANGE) && !to->node)
        return ENOENT;
    if (is_below(to->dir, from->node))
        return EINVAL;
    if (to->node && is_below(from->dir, to->node))
        return flags & RENAME_EXCHANGE ? EINVAL : ENOTEMPTY;
    if (from->node == to->node || !to->node || (flags & RENAME_EXCHANGE))
        return 0;
    if (S_ISDIR(from->node->mode) && !S_ISDIR(to->node->mode))
        return ENOTDIR;
    if (!S_ISDIR(from->node->mode) && S_ISDIR(to->node->mode))
        return EISDIR;
    return S_ISDIR(to->node->mode) && !is_empty(to->node) ? ENOTEMPTY : 0;
}

/* Where it would make the tree deeper than paths can be here. */
static bool too_deep(const struct place *from, const struct place *to)
{
    return (from->node && rnd_world_depth(to->dir) + height(from->node) > RND_DEPTH) ||
           (to->node && rnd_world_depth(from->dir) + height(to->node) > RND_DEPTH);
}

static void apply_rename(const struct place *from, const struct place *to, unsigned flags)
{
    if (from->node == to->node)
        return;
    if (to->node && !(flags & RENAME_EXCHANGE))
        to->node->links--;
    put(from, flags & RENAME_EXCHANGE ? to->node : NULL);
    put(to, from->node);
}

void rnd_names_rename(struct rnd_world *w)
{
    static const unsigned all[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    struct place from = pick_place(w), to = pick_place(w);
    unsigned flags = all[rnd_below(w, 5)];
    int error;

    if (!from.node && !rnd_one_in(w, 4)) /* mostly something that is there */
        return;
    if (too_deep(&from, &to) || (w->no_exchange && flags))
        return;
    rnd_world_note(w, from.node, to.node, "rename%s name %u in #%llu to %u in #%llu, over #%llu",
                   flags == RENAME_EXCHANGE ? " exchange"
                   : flags                  ? " noreplace"
                                            : "",
                   from.name, (unsigned long long)from.dir->id, to.name,
                   (unsigned long long)to.dir->id, to.node ? (unsigned long long)to.node->id : 0);
    error = rename_error(&from, &to, flags);
    if (error != 0) {
        MUST_FAIL(from.node, error, renameat2(AT_FDCWD, from.path, AT_FDCWD, to.path, flags));
        return;
    }
    apply_rename(&from, &to, flags);
    MUST(from.node, renameat2(AT_FDCWD, from.path, AT_FDCWD, to.path, flags));
    rnd_history_tree(w);
}
