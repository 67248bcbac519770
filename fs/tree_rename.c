#include "fs/tree.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/tree_op.h"

#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 1000000u /* a longer way up is a cycle: damage */

/* One of the two names of a rename. */
struct side {
    uint64_t parent;
    const char *name;
    size_t len;
    struct inode *dir;
    struct inode inode; /* what the name points at; ino 0: nothing */
};

static int load_side(struct index *ix, struct side *s)
{
    struct entry entry;
    int err = tree_op_name(s->name, s->len);
    if (!err)
        err = index_entry_get(ix, s->parent, s->name, s->len, &entry);
    if (!err)
        err = index_inode_get(ix, entry.ino, &s->inode);
    return err;
}

/* Is ${dir} the same as ${top}, or somewhere below it? */
static int is_below(struct index *ix, uint64_t dir, uint64_t top, bool *below)
{
    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        *below = dir == top;
        if (*below || dir == INODE_ROOT)
            return ERR_OK;
        struct inode inode;
        int err = index_inode_get(ix, dir, &inode);
        if (err)
            return err;
        dir = inode.parent;
    }
    log_error("directory %llu is in a cycle", (unsigned long long)dir);
    return ERR_FORMAT;
}

/* ERR_INVAL when moving ${what} into ${dir} would put a directory below itself. */
static int check_cycle(struct index *ix, const struct inode *what, uint64_t dir)
{
    bool below = false;
    if (!S_ISDIR(what->mode))
        return ERR_OK;
    int err = is_below(ix, dir, what->ino, &below);
    if (err)
        return err;
    return below ? ERR_INVAL : ERR_OK;
}

static int check_replace(struct index *ix, const struct side *from, const struct side *to)
{
    if (S_ISDIR(from->inode.mode) && !S_ISDIR(to->inode.mode))
        return ERR_NOTDIR;
    if (!S_ISDIR(to->inode.mode))
        return ERR_OK;
    if (!S_ISDIR(from->inode.mode))
        return ERR_ISDIR;
    bool any;
    int err = index_entry_any(ix, to->inode.ino, &any);
    if (err)
        return err;
    return any ? ERR_NOTEMPTY : ERR_OK;
}

static int check(struct index *ix, struct side *from, struct side *to, unsigned flags)
{
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
        return ERR_INVAL;
    int err = tree_op_dir(ix, from->parent, false, from->dir);
    if (!err && to->dir != from->dir)
        err = tree_op_dir(ix, to->parent, true, to->dir);
    if (!err)
        err = load_side(ix, from);
    if (err)
        return err;
    err = load_side(ix, to);
    if (err && (err != ERR_NOENT || flags & RENAME_EXCHANGE || to->len == 0))
        return err;
    bool exists = !err;
    if (exists && flags & RENAME_NOREPLACE)
        return ERR_EXIST;
    if (exists && to->inode.ino == from->inode.ino)
        return ERR_OK;
    if (from->parent != to->parent) {
        err = check_cycle(ix, &from->inode, to->parent);
        if (!err && flags & RENAME_EXCHANGE)
            err = check_cycle(ix, &to->inode, from->parent);
        if (err)
            return err;
        if (S_ISDIR(from->inode.mode) && to->dir->nlink >= TREE_OP_DIR_LINKS_MAX)
            return ERR_MLINK;
    }
    return exists && !(flags & RENAME_EXCHANGE) ? check_replace(ix, from, to) : ERR_OK;
}

/* Points the name of ${to} at what ${from} names; the inode moves along if it is a directory. */
static int point(struct index *ix, const struct side *to, struct side *from, int64_t now)
{
    struct entry entry = {.parent = to->parent,
                          .ino = from->inode.ino,
                          .type = from->inode.mode & S_IFMT,
                          .dirty = true,
                          .name_len = (uint8_t)to->len};
    memcpy(entry.name, to->name, to->len);
    int err = index_entry_put(ix, &entry);
    if (err)
        return err;
    if (S_ISDIR(from->inode.mode) && from->parent != to->parent) {
        from->inode.parent = to->parent;
        from->dir->nlink--;
        to->dir->nlink++;
    }
    from->inode.ctime = now;
    from->inode.dirty |= DIRTY_TIMES;
    return index_inode_put(ix, &from->inode);
}

/* The inode that the new name pointed at loses that name. */
static int drop_replaced(struct index *ix, struct side *to, int64_t now)
{
    if (S_ISDIR(to->inode.mode)) {
        to->inode.nlink = 0;
        to->dir->nlink--;
    } else {
        to->inode.nlink--;
    }
    to->inode.ctime = now;
    to->inode.dirty |= DIRTY_TIMES;
    return index_inode_put(ix, &to->inode);
}

static int change(struct index *ix, struct side *from, struct side *to, bool exchange)
{
    int64_t now = tree_op_now();
    int err = ERR_OK;

    if (!exchange && to->inode.ino)
        err = drop_replaced(ix, to, now);
    if (!err)
        err = point(ix, to, from, now);
    if (!err)
        err = exchange ? point(ix, from, to, now)
                       : index_entry_del(ix, from->parent, from->name, from->len);
    if (!err)
        err = tree_op_dir_changed(ix, from->dir, now);
    if (!err && to->dir != from->dir)
        err = tree_op_dir_changed(ix, to->dir, now);
    return err;
}

static int try_rename(struct vault *v, uint64_t parent, const char *name, size_t len,
                      uint64_t new_parent, const char *new_name, size_t new_len, unsigned flags,
                      struct inode *gone)
{
    struct index *ix = vault_index(v);
    struct inode dir, new_dir;
    struct side from = {.parent = parent, .name = name, .len = len, .dir = &dir};
    struct side to = {.parent = new_parent,
                      .name = new_name,
                      .len = new_len,
                      .dir = new_parent == parent ? &dir : &new_dir};

    *gone = (struct inode){0};
    index_lock(ix);
    int err = check(ix, &from, &to, flags);
    bool nothing =
        !err && to.inode.ino == from.inode.ino; /* two names of one file: POSIX says no change */
    if (!err && !nothing)
        err = tree_op_begin(v, false, 0);
    if (err || nothing) {
        index_unlock(ix);
        return err;
    }
    err = change(ix, &from, &to, flags & RENAME_EXCHANGE);
    if (!err && !(flags & RENAME_EXCHANGE))
        *gone = to.inode;
    return tree_op_end(v, err);
}

int tree_rename(struct vault *v, uint64_t parent, const char *name, size_t len, uint64_t new_parent,
                const char *new_name, size_t new_len, unsigned flags, struct inode *gone)
{
    unsigned tries = 0;
    int err;
    do
        err = try_rename(v, parent, name, len, new_parent, new_name, new_len, flags, gone);
    while (tree_op_more_room(v, err, false, &tries));
    return err;
}
