#include "tests/fs/random/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <linux/limits.h>
#include <sys/xattr.h>
#include <unistd.h>

void rnd_meta_chmod(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick(w, 1 | 2);
    mode_t mode = (mode_t)(rnd_below(w, 0100) | 0700);
    char path[RND_PATH];

    if (!node)
        return;
    rnd_world_note(w, node, NULL, "chmod %o", mode);
    rnd_world_path(w, node, path);
    node->mode = (node->mode & S_IFMT) | mode;
    MUST(node, chmod(path, mode));
    rnd_history_tree(w);
    rnd_verify_attr(w, node, path);
}

void rnd_meta_chown(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick(w, 7);
    char path[RND_PATH];

    if (!node || geteuid() != 0)
        return;
    rnd_world_note(w, node, NULL, "chown");
    rnd_world_path(w, node, path);
    if (!rnd_one_in(w, 3))
        node->uid = (uid_t)rnd_below(w, 65534);
    if (!rnd_one_in(w, 3))
        node->gid = (gid_t)rnd_below(w, 65534);
    MUST(node, lchown(path, node->uid, node->gid));
    rnd_history_tree(w);
    rnd_verify_attr(w, node, path);
}

void rnd_meta_times(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick(w, 7);
    struct timespec times[2];
    char path[RND_PATH];
    struct stat st;

    if (!node)
        return;
    for (int i = 0; i < 2; i++) {
        times[i].tv_sec =
            (time_t)rnd_below(w, UINT64_C(9000000000)) - (rnd_one_in(w, 3) ? 1000000000 : 0);
        times[i].tv_nsec = (long)rnd_below(w, 1000000000);
    }
    rnd_world_note(w, node, NULL, "utimens %lld.%09ld %lld.%09ld", (long long)times[0].tv_sec,
                   times[0].tv_nsec, (long long)times[1].tv_sec, times[1].tv_nsec);
    rnd_world_path(w, node, path);
    node->mtime = times[1];
    node->mtime_known = true;
    MUST(node, utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
    MUST(node, lstat(path, &st));
    if (st.st_atim.tv_sec != times[0].tv_sec || st.st_atim.tv_nsec != times[0].tv_nsec)
        rnd_world_fail(w, node, "the access time is %lld.%09ld", (long long)st.st_atim.tv_sec,
                       st.st_atim.tv_nsec);
    rnd_verify_attr(w, node, path);
}

bool rnd_meta_xattr_name(const struct rnd_node *node, unsigned i, char *name)
{
    if (i < 3 && S_ISLNK(node->mode)) /* the kernel allows user.* on files and directories only */
        return false;
    if (i >= 3 && geteuid() != 0)
        return false;
    if (i == 1)
        memcpy(name, "user.", 5), memset(name + 5, 'n', 250), name[255] = '\0';
    else
        snprintf(name, 256, "%s.%u", i < 3 ? "user" : "trusted", i);
    return true;
}

static void remove_xattr(struct rnd_world *w, struct rnd_node *node, struct rnd_xattr *x,
                         const char *path, const char *name)
{
    rnd_world_note(w, node, NULL, "xattr remove %.20s", name);
    if (!x->there) {
        MUST_FAIL(node, ENODATA, lremovexattr(path, name));
        return;
    }
    x->there = false;
    MUST(node, lremovexattr(path, name));
    rnd_history_tree(w);
}

static void set_xattr(struct rnd_world *w, struct rnd_node *node, struct rnd_xattr *x,
                      const char *path, const char *name)
{
    size_t max = w->small_xattrs ? 100 : rnd_one_in(w, 6) ? XATTR_SIZE_MAX : 600;
    struct rnd_xattr old = *x;
    size_t len = rnd_one_in(w, 20) ? max : rnd_below(w, max);
    int flags = rnd_one_in(w, 3) ? XATTR_CREATE : rnd_one_in(w, 3) ? XATTR_REPLACE : 0;

    rnd_world_note(w, node, NULL, "xattr set %.20s, %zu bytes%s", name, len,
                   flags == XATTR_CREATE ? ", create"
                   : flags               ? ", replace"
                                         : "");
    rnd_fill(w, w->buf, len);
    if ((flags == XATTR_CREATE && x->there) || (flags == XATTR_REPLACE && !x->there)) {
        MUST_FAIL(node, x->there ? EEXIST : ENODATA, lsetxattr(path, name, w->buf, len, flags));
        return;
    }
    x->value = rnd_alloc(len);
    memcpy(x->value, w->buf, len);
    x->len = len;
    x->there = true;
    if (lsetxattr(path, name, x->value, len, flags) < 0) {
        /* ext4 has room for one block of them */
        bool small = errno == ENOSPC || errno == E2BIG;
        if (!small && !(errno == EOPNOTSUPP))
            MUST(node, -1);
        w->small_xattrs |= small;
        w->no_xattr |= !small;
        free(x->value);
        *x = old;
        return;
    }
    free(old.value);
    rnd_history_tree(w);
}

void rnd_meta_xattr(struct rnd_world *w)
{
    struct rnd_node *node = rnd_world_pick(w, 7);
    unsigned i = (unsigned)rnd_below(w, RND_XATTRS);
    char path[RND_PATH], name[256];

    if (!node || w->no_xattr || !rnd_meta_xattr_name(node, i, name))
        return;
    rnd_world_path(w, node, path);
    if (rnd_one_in(w, 4))
        remove_xattr(w, node, &node->xattrs[i], path, name);
    else
        set_xattr(w, node, &node->xattrs[i], path, name);
    if (rnd_one_in(w, 2))
        rnd_verify_xattrs(w, node, path);
}
