#include "crypto/err.h"
#include "sync/merge_impl.h"

#include <string.h>

#define DEPTH_MAX 1000000u

/* ---- where folders may go ---- */

static int is_below(struct merge *m, uint64_t dir, uint64_t top, bool *below)
{
    *below = false;
    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        struct inode inode;
        *below = dir == top;
        if (*below || dir == INODE_ROOT)
            return 0;
        int err = index_inode_get(m->ix, dir, &inode);
        if (err || inode.nlink == 0)
            return err == ERR_NOENT ? 0 : err; /* a stand-in to be, or without a name so far */
        dir = inode.parent;
    }
    return ERR_FORMAT;
}

enum admit { ADMIT_YES, ADMIT_MOVE, ADMIT_NO };

/* May the folder take the name of the record? Yes; yes, and it loses the name *old; or no: it stays where it is. */
static int admit(struct merge *m, const struct batch_record *r, enum admit *answer,
                 struct entry *old)
{
    struct inode dir;
    bool below;
    *answer = ADMIT_YES;
    if (r->u.entry.type != S_IFDIR)
        return 0;
    int err = index_inode_get(m->ix, r->u.entry.ino, &dir);
    if (err)
        return err == ERR_NOENT ? 0 : err;
    err = is_below(m, r->u.entry.parent, dir.ino, &below);
    if (err)
        return err;
    int named = merge_name_of_dir(m, &dir, old);
    if (named && named != ERR_NOENT)
        return named;
    if (below) {
        *answer = ADMIT_NO;
        /* Its author says next that the old name is gone: it is not. */
        return named ? 0 : merge_name_assert(m, old, old->version);
    }
    if (named || (old->parent == r->u.entry.parent && old->name_len == r->u.entry.name_len &&
                  memcmp(old->name, r->u.entry.name, old->name_len) == 0))
        return 0;
    bool stays = old->dirty || merge_before(m->version, old->version);
    *answer = stays ? ADMIT_NO : ADMIT_MOVE;
    return 0;
}

/* The name that the record gives stays without the folder: everybody is told. */
static int refuse(struct merge *m, const struct batch_record *r)
{
    struct entry there;
    const char *name = r->u.entry.name;
    const size_t len = r->u.entry.name_len;
    int err = index_entry_get(m->ix, r->u.entry.parent, name, len, &there);
    if (!err)
        return merge_before(there.version, m->version) ? merge_name_assert(m, &there, m->version)
                                                       : 0;
    struct version absent, pending;
    bool any = false;
    if (err == ERR_NOENT)
        err = merge_absent_get(m, r->u.entry.parent, name, len, &absent);
    if (!err)
        err = merge_pending_get(m, r->u.entry.parent, name, len, &pending, &any);
    if (err || merge_before(m->version, absent) || (any && merge_before(m->version, pending)))
        return err;
    if (absent.lamport)
        err = merge_absent_put(m, r->u.entry.parent, name, len, (struct version){0, 0});
    return err ? err : merge_pending_put(m, r->u.entry.parent, name, len, m->version);
}

/* What is at the name. One that was never published builds on the deletion before it, if there was one. */
static int get_current(struct merge *m, const struct batch_record *r, struct entry *cur)
{
    const char *name = r->u.entry.name;
    const size_t len = r->u.entry.name_len;
    int err = index_entry_get(m->ix, r->u.entry.parent, name, len, cur);
    if (err || cur->version.lamport)
        return err;
    return merge_absent_get(m, r->u.entry.parent, name, len, &cur->version);
}

/* ---- a name points at an inode ---- */

/* The folder leaves its old name. The author's own deletion of it comes next, usually; else everybody is told. */
static int leave(struct merge *m, enum admit answer, const struct entry *old)
{
    struct version doomed;
    bool any;
    if (answer != ADMIT_MOVE)
        return 0;
    int err = merge_doomed_get(m, old->ino, &doomed, &any);
    if (err)
        return err;
    if (!any)
        return merge_name_clear(m, old, old->version, old->version.lamport != 0);
    err = merge_doomed_del(m, old->ino);
    return err ? err : merge_name_clear(m, old, doomed, false);
}

static int set(struct merge *m, const struct batch_record *r, struct version v, bool dirty,
               enum admit answer, const struct entry *old)
{
    int err = leave(m, answer, old);
    if (err)
        return err;
    return merge_name_set(m, r->u.entry.parent, r->u.entry.name, r->u.entry.name_len,
                          r->u.entry.ino, r->u.entry.type, v, dirty);
}

static int put_absent(struct merge *m, const struct batch_record *r, enum admit answer,
                      const struct entry *old)
{
    struct version absent, pending;
    bool any;
    const char *name = r->u.entry.name;
    const size_t len = r->u.entry.name_len;
    int err = merge_absent_get(m, r->u.entry.parent, name, len, &absent);
    if (!err)
        err = merge_pending_get(m, r->u.entry.parent, name, len, &pending, &any);
    if (err)
        return err;
    /* The deletion is later but did not know of this: the name comes back, and everybody is told. */
    bool again = merge_before(m->version, merge_later(absent, pending));
    struct inode inode;
    if (again && index_inode_get(m->ix, r->u.entry.ino, &inode))
        return 0; /* who still has the inode does that */
    err = set(m, r, again ? merge_later(absent, pending) : m->version, again, answer, old);
    if (err || !again)
        return err;
    /* Those who obeyed the deletion have the inode no more. */
    err = index_inode_get(m->ix, r->u.entry.ino, &inode);
    return err ? err : merge_republish(m, &inode);
}

static int64_t mtime_of(struct merge *m, uint64_t ino)
{
    struct inode inode;
    return index_inode_get(m->ix, ino, &inode) ? 0 : inode.mtime;
}

/* Neither knew of the other: the later one has the name, the other the conflict name. */
static int put_conflict(struct merge *m, const struct batch_record *r, const struct entry *cur,
                        enum admit answer, const struct entry *old)
{
    struct entry theirs = *cur;
    theirs.ino = r->u.entry.ino;
    theirs.type = r->u.entry.type;
    theirs.version = m->version;
    theirs.dirty = false;
    const bool later = merge_before(cur->version, m->version);
    const struct entry *loser = later ? cur : &theirs;
    int err = later ? set(m, r, m->version, false, answer, old) : leave(m, answer, old);
    if (!err)
        err = merge_name_conflict(m, cur->parent, cur->name, cur->name_len, loser->ino, loser->type,
                                  merge_name_device(m, loser), mtime_of(m, loser->ino));
    return err || !later ? err : merge_name_resolved(m, &theirs, mtime_of(m, theirs.ino));
}

static int put_other(struct merge *m, const struct batch_record *r, struct entry *cur,
                     enum admit answer, const struct entry *old)
{
    bool folders;
    int err;
    if (!cur->dirty && merge_same(cur->version, r->base)) {
        err = set(m, r, m->version, false, answer, old);
        cur->ino = r->u.entry.ino;
        cur->type = r->u.entry.type;
        return err ? err : merge_name_resolved(m, cur, mtime_of(m, cur->ino));
    }
    err = merge_folders_gone(m, r->u.entry.ino, r->u.entry.type, &folders);
    if (!err && folders && cur->type == S_IFDIR) /* its author does not know yet */
        return merge_before(cur->version, m->version) ? merge_name_assert(m, cur, m->version) : 0;
    if (!err)
        err = merge_folders_are(m, cur, r->u.entry.ino, r->u.entry.type, &folders);
    if (err || !folders)
        return err ? err : put_conflict(m, r, cur, answer, old);
    err = leave(m, answer, old);
    return err ? err : merge_folders(m, cur, r->u.entry.ino, m->version, true);
}

/* Its folder was folded into another: it goes there. */
static int put_folded(struct merge *m, const struct batch_record *r, uint64_t into)
{
    struct batch_record there = *r;
    struct entry old;
    enum admit answer;
    there.u.entry.parent = into;
    int err = admit(m, &there, &answer, &old);
    if (!err)
        err = leave(m, answer, &old);
    if (err || answer != ADMIT_NO)
        return err ? err : merge_folders_put(m, r, into);
    return refuse(m, r);
}

static int put(struct merge *m, const struct batch_record *r)
{
    struct entry cur, old;
    enum admit answer;
    uint64_t into = r->u.entry.parent;
    int err = merge_folders_follow(m, &into);
    if (!err && into != r->u.entry.parent)
        return put_folded(m, r, into);
    if (!err)
        err = get_current(m, r, &cur);
    if (err && err != ERR_NOENT)
        return err;
    const bool there = !err;
    if (there && merge_same(cur.version, m->version))
        return 0; /* applied before */
    if (there && cur.ino == r->u.entry.ino) {
        if (merge_before(m->version, cur.version))
            return 0;
        cur.version = m->version;
        cur.dirty = false; /* the same is published */
        return index_entry_put(m->ix, &cur);
    }
    err = admit(m, r, &answer, &old);
    if (err)
        return err;
    if (answer == ADMIT_NO)
        return refuse(m, r);
    return there ? put_other(m, r, &cur, answer, &old) : put_absent(m, r, answer, &old);
}

/* ---- a name is deleted ---- */

static int delete_absent(struct merge *m, const struct batch_record *r)
{
    struct version absent, pending;
    bool any;
    const char *name = r->u.entry.name;
    const size_t len = r->u.entry.name_len;
    int err = merge_absent_get(m, r->u.entry.parent, name, len, &absent);
    if (!err)
        err = merge_pending_get(m, r->u.entry.parent, name, len, &pending, &any);
    if (err || !merge_before(absent, m->version) || (any && merge_before(m->version, pending)))
        return err;
    if (any)
        err = merge_pending_del(m, r->u.entry.parent, name, len); /* the same is published */
    return err ? err : merge_absent_put(m, r->u.entry.parent, name, len, m->version);
}

static int delete_dir(struct merge *m, struct entry *cur)
{
    bool alive, empty;
    int err = merge_dir_alive(m, cur->ino, &alive, &empty);
    if (err)
        return err;
    if (empty)
        return merge_name_clear(m, cur, m->version, false);
    if (alive)
        return merge_name_assert(m, cur, m->version);
    return merge_doomed_put(m, cur->ino, m->version); /* its entries go in what comes next */
}

static int delete (struct merge *m, const struct batch_record *r)
{
    struct entry cur;
    int err = get_current(m, r, &cur);
    if (err)
        return err == ERR_NOENT ? delete_absent(m, r) : err;
    if (!merge_before(cur.version, m->version))
        return 0;
    if (cur.dirty || !merge_same(cur.version, r->base))
        return merge_name_assert(m, &cur, m->version); /* it did not know of ours */
    return cur.type == S_IFDIR ? delete_dir(m, &cur) : merge_name_clear(m, &cur, m->version, false);
}

int merge_entry(struct merge *m, const struct batch_record *r)
{
    return r->u.entry.ino ? put(m, r) : delete (m, r);
}

/* ---- an inode is deleted ---- */

/* Somebody names it, or something is in it: it stays, and is published for those who have deleted it. */
static int gone_named(struct merge *m, struct inode *inode)
{
    struct entry entry;
    bool alive, empty;
    if (!S_ISDIR(inode->mode))
        return merge_republish(m, inode);
    int err = merge_name_of_dir(m, inode, &entry);
    if (err)
        return err == ERR_NOENT ? 0 : err;
    if (entry.version.lamport || entry.dirty)
        return merge_republish(m, inode);
    /* only a stand-in's name */
    err = merge_dir_alive(m, inode->ino, &alive, &empty);
    if (err || empty)
        return err ? err : merge_dir_emptied(m, inode->ino);
    return alive ? merge_name_settle(m, inode->ino) : 0;
}

/* A program may have it open: it stays as long, without a name. That nobody is told when it goes, its version says. */
static int let_go(struct merge *m, uint64_t ino)
{
    struct inode inode;
    int err = index_inode_get(m->ix, ino, &inode);
    if (err)
        return err;
    inode.attr_version = (struct version){0, 0};
    return index_inode_put(m->ix, &inode);
}

int merge_inode_drop(struct merge *m, uint64_t ino)
{
    merge_tell(m, ino, NULL, 0);
    if (vault_held(m->vault, ino))
        return let_go(m, ino);
    int err = index_inode_del(m->ix, ino);
    if (!err)
        err = merge_nameless_del(m, ino);
    return err ? err : merge_stand_in_mark(m, ino, false);
}

/* It lost its last name. Was it changed by somebody of whose change its deleter did not know when it deleted it? */
static int gone_nameless(struct merge *m, const struct inode *inode, const struct batch_record *r)
{
    struct merge_lost lost;
    uint32_t edited;
    int err = merge_edited(m, inode, &edited);
    if (err)
        return err;
    if (!edited && !merge_before(r->base, inode->attr_version))
        return merge_inode_drop(m, inode->ino);
    err = merge_nameless_get(m, inode->ino, &lost);
    if (err == ERR_NOENT) /* unlinked here, too */
        return merge_inode_drop(m, inode->ino);
    return err ? err : merge_name_again(m, &lost, edited ? m->self : inode->attr_version.device);
}

int merge_gone(struct merge *m, const struct batch_record *r)
{
    struct inode inode;
    struct version doomed;
    bool any, alive, empty;
    const uint64_t ino = r->u.gone.ino;
    int err = index_inode_get(m->ix, ino, &inode);
    /* Ours, if it waits, is published all the same: what was skipped because of it comes back by that (merge_inode.c). */
    if (err == ERR_NOENT)
        return 0;
    if (!err)
        err = merge_doomed_get(m, ino, &doomed, &any);
    if (err)
        return err;
    if (any) /* all of its entries that were deleted were named before: what it still holds is new */
        return merge_undoom(m, ino);
    if (inode.nlink)
        return gone_named(m, &inode);
    if (!S_ISDIR(inode.mode))
        return gone_nameless(m, &inode, r);
    err = merge_dir_alive(m, ino, &alive, &empty);
    return err || !empty ? err : merge_inode_drop(m, ino);
}
