#include "tests/fs/random/rnd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <linux/limits.h>
#include <sys/xattr.h>
#include <unistd.h>

static unsigned links_expected(const struct rnd_node *node)
{
    unsigned links = 2;

    if (!S_ISDIR(node->mode))
        return node->links;
    for (unsigned i = 0; i < RND_NAMES; i++)
        links += node->names[i] && S_ISDIR(node->names[i]->mode);
    return links;
}

void rnd_verify_attr(struct rnd_world *w, struct rnd_node *node, const char *path)
{
    struct stat st;

    MUST(node, lstat(path, &st));
    if (st.st_ino != node->ino)
        rnd_world_fail(w, node, "%s is inode %llu", path, (unsigned long long)st.st_ino);
    if (st.st_mode != node->mode)
        rnd_world_fail(w, node, "the mode is %o, expected %o", st.st_mode, node->mode);
    if (st.st_uid != node->uid || st.st_gid != node->gid)
        rnd_world_fail(w, node, "the owner is %u:%u, expected %u:%u", st.st_uid, st.st_gid,
                       node->uid, node->gid);
    if (!S_ISDIR(node->mode) && (size_t)st.st_size != node->now.size)
        rnd_world_fail(w, node, "the size is %lld, expected %zu", (long long)st.st_size,
                       node->now.size);
    if (st.st_nlink != links_expected(node))
        rnd_world_fail(w, node, "there are %lu links, expected %u", (unsigned long)st.st_nlink,
                       links_expected(node));
    if (node->mtime_known &&
        (st.st_mtim.tv_sec != node->mtime.tv_sec || st.st_mtim.tv_nsec != node->mtime.tv_nsec))
        rnd_world_fail(w, node, "it was changed at %lld.%09ld, expected %lld.%09ld",
                       (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                       (long long)node->mtime.tv_sec, node->mtime.tv_nsec);
}

/* Those of ours that are listed, bit by bit. */
static unsigned listed(struct rnd_world *w, struct rnd_node *node, const char *path)
{
    ssize_t len = llistxattr(path, (char *)w->buf, w->opt->max_size);
    unsigned bits = 0;
    char name[256];

    if (len < 0 && errno == EOPNOTSUPP) {
        w->no_xattr = true;
        return 0;
    }
    MUST(node, len);
    for (const char *at = (const char *)w->buf; at < (const char *)w->buf + len;
         at += strlen(at) + 1) {
        bool ours = false;
        for (unsigned i = 0; i < RND_XATTRS; i++) {
            if (!rnd_meta_xattr_name(node, i, name) || strcmp(at, name) != 0)
                continue;
            if (bits & (1u << i))
                rnd_world_fail(w, node, "xattr %u is listed twice", i);
            bits |= 1u << i;
            ours = true;
        }
        if (!ours && (strncmp(at, "user.", 5) == 0 || strncmp(at, "trusted.", 8) == 0))
            rnd_world_fail(w, node, "an xattr %s is listed", at);
    }
    return bits;
}

void rnd_verify_xattrs(struct rnd_world *w, struct rnd_node *node, const char *path)
{
    unsigned bits = listed(w, node, path);
    char name[256];

    for (unsigned i = 0; i < RND_XATTRS && !w->no_xattr; i++) {
        const struct rnd_xattr *x = &node->xattrs[i];
        ssize_t len;
        if (!rnd_meta_xattr_name(node, i, name))
            continue;
        if (x->there != ((bits >> i) & 1))
            rnd_world_fail(w, node, "xattr %u is %s", i, x->there ? "not listed" : "listed");
        len = lgetxattr(path, name, w->buf, XATTR_SIZE_MAX);
        if (!x->there) {
            MUST_FAIL(node, ENODATA, len);
            continue;
        }
        MUST(node, len);
        if ((size_t)len != x->len || memcmp(w->buf, x->value, x->len) != 0)
            rnd_world_fail(w, node, "xattr %u has another value: %zd bytes, expected %zu", i, len,
                           x->len);
    }
}

/* Which of our names it is; RND_NAMES: none. */
static unsigned name_index(const char *seen)
{
    char name[256];
    unsigned i;

    for (i = 0; i < RND_NAMES; i++) {
        rnd_world_name(i, name);
        if (strcmp(seen, name) == 0)
            break;
    }
    return i;
}

void rnd_verify_dir(struct rnd_world *w, struct rnd_node *dir)
{
    unsigned seen = 0;
    char path[RND_PATH];
    struct dirent *e;
    DIR *d;

    rnd_world_path(w, dir, path);
    d = opendir(path);
    MUST(dir, d ? 0 : -1);
    while (errno = 0, (e = readdir(d))) {
        const struct rnd_node *node;
        unsigned i = name_index(e->d_name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        node = i < RND_NAMES ? dir->names[i] : NULL;
        if (!node)
            rnd_world_fail(w, dir, "readdir shows '%s', which is not there", e->d_name);
        if (seen & (1u << i))
            rnd_world_fail(w, dir, "readdir shows '%s' twice", e->d_name);
        seen |= 1u << i;
        if (e->d_ino != node->ino || (e->d_type != DT_UNKNOWN && e->d_type != IFTODT(node->mode)))
            rnd_world_fail(w, dir, "readdir shows '%s' as inode %llu of type %u, expected %llu",
                           e->d_name, (unsigned long long)e->d_ino, e->d_type,
                           (unsigned long long)node->ino);
    }
    MUST(dir, errno ? -1 : 0);
    closedir(d);
    for (unsigned i = 0; i < RND_NAMES; i++)
        if (dir->names[i] && !(seen & (1u << i)))
            rnd_world_fail(w, dir, "readdir does not show name %u", i);
}

static void verify_target(struct rnd_world *w, struct rnd_node *node, const char *path)
{
    char target[RND_PATH];
    size_t len = (size_t)MUST(node, readlink(path, target, sizeof(target)));

    if (len != node->now.size || memcmp(target, node->now.data, len) != 0)
        rnd_world_fail(w, node, "the symlink has another target (%zu bytes, expected %zu)", len,
                       node->now.size);
}

void rnd_verify_node(struct rnd_world *w, struct rnd_node *node)
{
    char path[RND_PATH];

    rnd_world_path(w, node, path);
    rnd_verify_attr(w, node, path);
    rnd_verify_xattrs(w, node, path);
    if (S_ISDIR(node->mode)) {
        rnd_verify_dir(w, node);
    } else if (S_ISLNK(node->mode)) {
        verify_target(w, node, path);
    } else {
        int fd = (int)MUST(node, open(path, O_RDONLY | O_CLOEXEC));
        rnd_content_check(w, node, fd);
        MUST(node, close(fd));
    }
}

void rnd_verify_one(struct rnd_world *w)
{
    struct rnd_node *node = rnd_one_in(w, 8) ? w->root : rnd_world_pick(w, 7);

    if (!node)
        return;
    rnd_world_note(w, node, NULL, "verify");
    rnd_verify_node(w, node);
}

void rnd_verify_all(struct rnd_world *w)
{
    for (struct rnd_node *node = w->nodes; node; node = node->next)
        if (node->links > 0)
            rnd_verify_node(w, node);
    for (unsigned i = 0; i < RND_HANDLES; i++)
        if (w->handles[i].fd >= 0)
            rnd_content_check(w, w->handles[i].node, w->handles[i].fd);
}
