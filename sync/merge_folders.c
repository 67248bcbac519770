/*
 * Folders that came to have one name on several devices become one folder.
 *
 * Of two, the one with the lower number stays, on every device and whatever the order, so what goes into it never goes back. Entries of the
 * other are put into it as ordinary local changes: all devices that do it say the same, and those that hear of it just follow.
 */
#include "crypto/err.h"
#include "sync/merge_impl.h"

#include <string.h>

#define ENTRY_NOTES 4096u
#define FOLDED_MAX  64u /* in a row; rows may lead back to where they began */

static int is_real(struct merge *m, uint64_t ino, bool *real)
{
    struct inode inode;
    bool stand_in;
    int err = index_inode_get(m->ix, ino, &inode);
    *real = !err && S_ISDIR(inode.mode);
    if (err == ERR_NOENT)
        return 0;
    if (!err)
        err = merge_is_stand_in(m->ix, ino, &stand_in);
    *real = *real && !stand_in;
    return err;
}

int merge_folders_are(struct merge *m, const struct entry *there, uint64_t ino, uint32_t type,
                      bool *are)
{
    *are = false;
    if (type != S_IFDIR || there->type != S_IFDIR || there->ino == ino)
        return 0;
    int err = is_real(m, there->ino, are);
    return err || !*are ? err : is_real(m, ino, are);
}

/* ---- what was in one goes into the other ---- */

static int first_entry(void *ctx, const struct entry *entry, const struct inode *inode)
{
    *(struct entry *)ctx = *entry;
    return 1;
}

static int64_t mtime_of(struct merge *m, uint64_t ino)
{
    struct inode inode;
    return index_inode_get(m->ix, ino, &inode) ? 0 : inode.mtime;
}

int merge_folders_gone(struct merge *m, uint64_t ino, uint32_t type, bool *gone)
{
    uint64_t into = ino;
    int err = type == S_IFDIR ? merge_folders_follow(m, &into) : 0;
    *gone = into != ino;
    return err;
}

static int move_in(struct merge *m, uint64_t into, const struct entry *e)
{
    struct entry there;
    bool folders;
    int err = merge_folders_gone(m, e->ino, e->type, &folders);
    if (err || folders)
        return err; /* what was in it has gone on already */
    err = index_entry_get(m->ix, into, e->name, e->name_len, &there);
    if (err == ERR_NOENT)
        return merge_name_set(m, into, e->name, e->name_len, e->ino, e->type,
                              (struct version){0, 0}, true);
    if (err || there.ino == e->ino)
        return err;
    err = merge_folders_are(m, &there, e->ino, e->type, &folders);
    if (err)
        return err;
    return folders ? merge_folders(m, &there, e->ino, there.version, false)
                   : merge_name_conflict(m, into, e->name, e->name_len, e->ino, e->type,
                                         merge_name_device(m, e), mtime_of(m, e->ino));
}

static int empty_into(struct merge *m, uint64_t from, uint64_t into)
{
    for (;;) {
        struct entry e;
        int err = merge_step(m, ENTRY_NOTES);
        if (err)
            return err;
        int got = index_entry_scan(m->ix, from, 0, false, first_entry, &e);
        if (got != 1)
            return got;
        /* No step between these: what has no name after a crash is deleted. The old name first: a folder has one. */
        err = merge_name_clear(m, &e, e.version, e.version.lamport != 0);
        if (!err)
            err = move_in(m, into, &e);
        if (err)
            return err;
    }
}

static int remove_empty(struct merge *m, uint64_t ino)
{
    struct inode inode;
    int err = merge_doomed_del(m, ino);
    if (!err)
        err = index_inode_get(m->ix, ino, &inode);
    if (!err && inode.attr_version.lamport)
        err = merge_gone_put(m, ino, inode.attr_version);
    inode.dirty = 0;
    if (!err)
        err = merge_again_follow(m, &inode, false);
    return err ? err : merge_inode_drop(m, ino);
}

/* ---- the name ---- */

/* Points the name at the folder that stays. ${agreed}: the records say so already. */
static int give_name(struct merge *m, struct entry *there, uint64_t stays, struct version version,
                     bool agreed)
{
    const struct version later = merge_later(there->version, version);
    if (there->ino != stays)
        return merge_name_set(m, there->parent, there->name, there->name_len, stays, S_IFDIR,
                              agreed ? version : later, !agreed);
    return agreed ? 0 : merge_name_assert(m, there, later);
}

int merge_folders(struct merge *m, struct entry *there, uint64_t ino, struct version version,
                  bool recorded)
{
    const uint64_t stays = there->ino < ino ? there->ino : ino;
    const uint64_t goes = there->ino < ino ? ino : there->ino;
    /* The record wins the name if it is the later one; without a record, what is there has it. */
    const bool wins = recorded && merge_before(there->version, version);
    int err = give_name(m, there, stays, version, (wins ? ino : there->ino) == stays);
    if (!err)
        err = merge_folded_put(m, goes, stays);
    if (!err)
        err = empty_into(m, goes, stays);
    return err ? err : remove_empty(m, goes);
}

/* ---- what comes into one that is gone ---- */

int merge_folders_follow(struct merge *m, uint64_t *dir)
{
    uint64_t at = *dir;
    for (unsigned i = 0; i < FOLDED_MAX && at != 0; i++) {
        struct inode inode;
        int err = index_inode_get(m->ix, at, &inode);
        if (err && err != ERR_NOENT)
            return err;
        if (!err && inode.nlink) {
            *dir = at;
            return 0;
        }
        err = merge_folded_get(m, at, &at);
        if (err)
            return err;
    }
    return 0;
}

int merge_folders_put(struct merge *m, const struct batch_record *r, uint64_t into)
{
    struct version absent, pending;
    bool any;
    const char *name = r->u.entry.name;
    const size_t len = r->u.entry.name_len;
    struct entry e = {.parent = r->u.entry.parent,
                      .ino = r->u.entry.ino,
                      .type = r->u.entry.type,
                      .version = m->version,
                      .name_len = (uint8_t)len};
    memcpy(e.name, name, len);
    int err = merge_absent_get(m, e.parent, name, len, &absent);
    if (!err)
        err = merge_pending_get(m, e.parent, name, len, &pending, &any);
    if (err || (any && !merge_before(pending, m->version)))
        return err; /* done before */
    const struct version base = merge_later(absent, m->version);
    if (absent.lamport)
        err = merge_absent_put(m, e.parent, name, len, (struct version){0, 0});
    if (!err)
        err = merge_pending_put(m, e.parent, name, len, base);
    return err ? err : move_in(m, into, &e);
}
