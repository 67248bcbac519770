#include "crypto/err.h"
#include "sync/merge_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEPTH_MAX 100000u
#define TRIES     1000u

/* ---- links ---- */

static int count_one(void *ctx, const struct entry *entry, const struct inode *inode)
{
    uint32_t *n = ctx;
    *n += entry->type == S_IFDIR;
    return 0;
}

/* The inode at a name, or a stand-in of that type without a name. */
static int get_or_make(struct merge *m, uint64_t ino, uint32_t type, struct inode *inode)
{
    int err = index_inode_get(m->ix, ino, inode);
    if (err != ERR_NOENT)
        return err;
    *inode = (struct inode){.ino = ino, .mode = type | (type == S_IFDIR ? 0700 : 0)};
    if (type == S_IFLNK)
        inode->size = 1;
    err = index_inode_put(m->ix, inode);
    if (!err && type == S_IFLNK)
        err = index_target_put(m->ix, ino, "?", 1);
    return err ? err : merge_stand_in_mark(m, ino, true);
}

static int parent_links(struct merge *m, uint64_t parent, bool up)
{
    struct inode dir;
    int err = index_inode_get(m->ix, parent, &dir);
    if (err || dir.nlink == 0)
        return err == ERR_NOENT ? 0 : err;
    if (!up && dir.nlink <= 2)
        return 0;
    dir.nlink += up ? 1u : -1u;
    return index_inode_put(m->ix, &dir);
}

static int link_inode(struct merge *m, struct inode *inode, uint64_t parent)
{
    if (!S_ISDIR(inode->mode)) {
        const bool first = inode->nlink++ == 0;
        inode->parent = 0;
        int err = index_inode_put(m->ix, inode);
        return err || !first ? err : merge_nameless_del(m, inode->ino);
    }
    uint32_t subdirs = 0;
    int err = index_entry_scan(m->ix, inode->ino, 0, false, count_one, &subdirs);
    inode->nlink = 2 + subdirs;
    inode->parent = parent;
    if (!err)
        err = index_inode_put(m->ix, inode);
    return err ? err : parent_links(m, parent, true);
}

static int note_lost(struct merge *m, const struct entry *entry)
{
    if (m->lost_count == m->lost_cap) {
        size_t cap = m->lost_cap ? m->lost_cap * 2 : 64;
        struct merge_lost *lost = reallocarray(m->lost, cap, sizeof(*lost));
        if (!lost)
            return ERR_NOMEM;
        m->lost = lost;
        m->lost_cap = cap;
    }
    struct merge_lost *l = &m->lost[m->lost_count++];
    l->ino = entry->ino;
    l->parent = entry->parent;
    l->len = entry->name_len;
    memcpy(l->name, entry->name, l->len);
    return entry->type == S_IFDIR ? 0 : merge_nameless_put(m, l);
}

static int unlink_inode(struct merge *m, const struct entry *entry)
{
    struct inode inode;
    int err = index_inode_get(m->ix, entry->ino, &inode);
    if (err)
        return err == ERR_NOENT ? 0 : err;
    if (S_ISDIR(inode.mode)) {
        inode.nlink = 0;
        err = parent_links(m, entry->parent, false);
    } else if (inode.nlink > 0) {
        inode.nlink--;
    }
    if (!err)
        err = index_inode_put(m->ix, &inode);
    merge_tell(m, entry->ino, NULL, 0);
    return err || inode.nlink ? err : note_lost(m, entry);
}

/* ---- entries ---- */

/* A name for a folder whose real one is not known here: of this device only. */
int merge_name_stand_in(struct merge *m, struct inode *dir)
{
    struct entry entry = {.parent = INODE_ROOT, .ino = dir->ino, .type = S_IFDIR};
    entry.name_len = (uint8_t)snprintf(entry.name, sizeof(entry.name), "recovered-%llx",
                                       (unsigned long long)dir->ino);
    int err = index_entry_put(m->ix, &entry);
    merge_tell(m, INODE_ROOT, entry.name, entry.name_len);
    return err ? err : link_inode(m, dir, INODE_ROOT);
}

/* Does the name of the folder come in this batch, or, since the folder is new, in the next ones of the same push? */
static bool name_to_come(const struct merge *m, uint64_t ino)
{
    for (size_t i = 0; i < m->batch->count; i++) {
        const struct batch_record *r = &m->batch->records[i];
        if (r->kind == BATCH_ENTRY && r->u.entry.ino == ino)
            return true;
        if (r->kind == BATCH_ATTR && r->u.attr.inode.ino == ino && r->base.lamport == 0)
            return true;
    }
    return false;
}

/* The folder that a name is to be put in: made as a stand-in, with a stand-in's name in the root, if it is not here. */
static int need_dir(struct merge *m, uint64_t ino)
{
    struct inode dir;
    int err = get_or_make(m, ino, S_IFDIR, &dir);
    if (err || dir.nlink || ino == INODE_ROOT || name_to_come(m, ino))
        return err;
    return merge_name_stand_in(m, &dir);
}

/* The version that a local change of a name which is not there builds on; its traces of deletion go. */
static int take_base(struct merge *m, const struct entry *entry, struct version *base)
{
    struct version absent = {0, 0}, pending = {0, 0};
    bool any = false;
    int err = merge_absent_get(m, entry->parent, entry->name, entry->name_len, &absent);
    if (!err)
        err = merge_pending_get(m, entry->parent, entry->name, entry->name_len, &pending, &any);
    if (!err && absent.lamport)
        err = merge_absent_put(m, entry->parent, entry->name, entry->name_len,
                               (struct version){0, 0});
    if (!err && any)
        err = merge_pending_del(m, entry->parent, entry->name, entry->name_len);
    *base = merge_later(absent, pending);
    return err;
}

int merge_name_set(struct merge *m, uint64_t parent, const char *name, size_t len, uint64_t ino,
                   uint32_t type, struct version version, bool dirty)
{
    struct entry old,
        entry = {
            .parent = parent, .ino = ino, .type = type, .name_len = (uint8_t)len, .dirty = dirty};
    struct inode inode;
    memcpy(entry.name, name, len);
    int err = dirty ? merge_folders_follow(m, &parent) : 0;
    entry.parent = parent;
    if (!err)
        err = need_dir(m, parent);
    if (!err)
        err = get_or_make(m, ino, type, &inode);
    if (err)
        return err;
    int there = index_entry_get(m->ix, parent, name, len, &old);
    struct version base = {0, 0};
    if (there == ERR_NOENT)
        err = take_base(m, &entry, &base);
    else if (!there && dirty)
        base = old.version;
    else
        err = there;
    entry.version = dirty ? merge_later(base, version) : version;
    m->local |= dirty;
    if (!err)
        err = index_entry_put(m->ix, &entry);
    if (!err && !there && old.ino != ino)
        err = unlink_inode(m, &old);
    if (!err && !there && old.ino != ino && old.type == S_IFDIR && type == S_IFDIR)
        err = merge_folded_put(m, old.ino, ino);
    if (!err && (there || old.ino != ino)) {
        err =
            index_inode_get(m->ix, ino, &inode); /* may have changed: it may be the folder itself */
        if (!err)
            err = link_inode(m, &inode, parent);
    }
    merge_tell(m, parent, name, len);
    merge_tell(m, parent, NULL, 0);
    if (!err && dirty)
        err = merge_name_settle(m, parent);
    return err ? err : merge_undoom(m, parent);
}

int merge_name_settle(struct merge *m, uint64_t dir)
{
    struct inode inode;
    struct entry entry;
    for (unsigned depth = 0; depth < DEPTH_MAX && dir != INODE_ROOT; depth++) {
        int err = index_inode_get(m->ix, dir, &inode);
        if (!err)
            err = merge_name_of_dir(m, &inode, &entry);
        if (err)
            return err == ERR_NOENT ? 0 : err;
        if (entry.version.lamport == 0 && !entry.dirty) {
            entry.dirty = true;
            m->local = true;
            err = index_entry_put(m->ix, &entry);
            if (!err)
                err = merge_republish(m, &inode);
            /* a stand-in, too: who has the real one answers with that */
            inode.dirty |= DIRTY_ATTR;
            if (!err)
                err = index_inode_put(m->ix, &inode);
            if (err)
                return err;
        }
        dir = inode.parent;
    }
    return 0;
}

int merge_name_clear(struct merge *m, const struct entry *entry, struct version version,
                     bool pending)
{
    int err = index_entry_del(m->ix, entry->parent, entry->name, entry->name_len);
    if (!err && pending)
        err = merge_pending_put(m, entry->parent, entry->name, entry->name_len, version);
    else if (!err && version.lamport)
        err = merge_absent_put(m, entry->parent, entry->name, entry->name_len, version);
    if (!err)
        err = unlink_inode(m, entry);
    merge_tell(m, entry->parent, entry->name, entry->name_len);
    merge_tell(m, entry->parent, NULL, 0);
    if (err)
        return err;
    return merge_dir_emptied(m, entry->parent);
}

/* A folder that waits to be empty goes, and a stand-in's name that nothing is below any more. */
int merge_dir_emptied(struct merge *m, uint64_t ino)
{
    struct version doomed;
    bool any, full, stand_in;
    struct inode dir;
    struct entry up;
    int err = index_entry_any(m->ix, ino, &full);
    if (err || full)
        return err;
    err = index_inode_get(m->ix, ino, &dir);
    if (!err)
        err = merge_name_of_dir(m, &dir, &up);
    if (!err)
        err = merge_doomed_get(m, ino, &doomed, &any);
    if (!err)
        err = merge_is_stand_in(m->ix, ino, &stand_in);
    if (err)
        return err == ERR_NOENT ? 0 : err;
    if (!any && (up.version.lamport || up.dirty))
        return 0;
    if (any)
        err = merge_doomed_del(m, ino);
    if (!err)
        err = merge_name_clear(m, &up, doomed, false);
    if (err || !stand_in)
        return err;
    err = index_inode_del(m->ix, ino);
    return err ? err : merge_stand_in_mark(m, ino, false);
}

int merge_name_assert(struct merge *m, struct entry *entry, struct version version)
{
    struct inode inode;
    entry->version = version;
    entry->dirty = true;
    m->local = true;
    int err = index_entry_put(m->ix, entry);
    if (!err)
        err = merge_name_settle(m, entry->parent);
    if (!err)
        err = index_inode_get(m->ix, entry->ino, &inode);
    return err ? err : merge_republish(m, &inode);
}

/* ---- folders ---- */

struct name_of {
    uint64_t ino;
    struct entry *entry;
};

static int match_ino(void *ctx, const struct entry *entry, const struct inode *inode)
{
    struct name_of *n = ctx;
    if (entry->ino != n->ino)
        return 0;
    *n->entry = *entry;
    return 1;
}

int merge_name_of_dir(struct merge *m, const struct inode *dir, struct entry *entry)
{
    struct name_of n = {dir->ino, entry};
    if (dir->nlink == 0 || dir->ino == INODE_ROOT)
        return ERR_NOENT;
    int got = index_entry_scan(m->ix, dir->parent, 0, false, match_ino, &n);
    return got == 1 ? 0 : got ? got : ERR_NOENT;
}

struct looking {
    struct merge *m;
    bool alive, empty;
};

static int look(void *ctx, const struct entry *entry, const struct inode *inode)
{
    struct looking *l = ctx;
    l->empty = false;
    l->alive = entry->dirty || !merge_seen(l->m, entry->version);
    return l->alive;
}

int merge_dir_alive(struct merge *m, uint64_t ino, bool *alive, bool *empty)
{
    struct looking l = {.m = m, .empty = true};
    int err = index_entry_scan(m->ix, ino, 0, false, look, &l);
    *alive = l.alive;
    *empty = l.empty;
    return err < 0 ? err : 0;
}

int merge_undoom(struct merge *m, uint64_t ino)
{
    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        struct version doomed;
        struct inode dir;
        struct entry entry;
        bool any;
        int err = merge_doomed_get(m, ino, &doomed, &any);
        if (err || !any)
            return err;
        err = merge_doomed_del(m, ino);
        if (!err)
            err = index_inode_get(m->ix, ino, &dir);
        if (!err)
            err = merge_name_of_dir(m, &dir, &entry);
        if (!err)
            err = merge_name_assert(m, &entry, merge_later(entry.version, doomed));
        if (err)
            return err == ERR_NOENT ? 0 : err;
        ino = dir.parent; /* which must not go either, now */
    }
    return ERR_FORMAT;
}

/* ---- conflict names ---- */

static const char *device_name(struct merge *m, uint32_t tag)
{
    const struct roster_device *d = roster_by_tag(m->params->roster, tag);
    return d && d->name[0] ? d->name : "unknown device";
}

/* At most ${len} bytes of ${s} without cutting a UTF-8 character in two. */
static size_t cut(const char *s, size_t have, size_t len)
{
    if (have <= len)
        return have;
    while (len > 0 && ((unsigned char)s[len] & 0xC0) == 0x80)
        len--;
    return len;
}

/* "stem (conflict, device, date).ext"; ${try} > 1 is added. [conflict-name] */
static size_t conflict_name(const char *name, size_t len, const char *device, int64_t mtime,
                            unsigned try, char *out)
{
    char mark[160], clean[65], date[16], count[16] = "";
    struct tm tm;
    time_t t = (time_t)(mtime / 1000000000);
    size_t dot = len, d = 0;
    if (!gmtime_r(&t, &tm) || strftime(date, sizeof(date), "%Y-%m-%d", &tm) == 0)
        snprintf(date, sizeof(date), "undated");
    for (; d < sizeof(clean) - 1 && device[d]; d++)
        clean[d] = device[d] == '/' || (unsigned char)device[d] < 32 ? '-' : device[d];
    clean[d] = '\0';
    if (try > 1)
        snprintf(count, sizeof(count), ", %u", try);
    size_t mark_len =
        (size_t)snprintf(mark, sizeof(mark), " (conflict, %s, %s%s)", clean, date, count);
    for (size_t i = len; i > 1; i--)
        if (name[i - 1] == '.') {
            dot = i - 1;
            break;
        }
    size_t ext = len - dot;
    if (ext > 32)
        ext = 0, dot = len;
    size_t stem = cut(name, dot, NAME_LEN_MAX - mark_len - ext);
    memcpy(out, name, stem);
    memcpy(out + stem, mark, mark_len);
    memcpy(out + stem + mark_len, name + dot, ext);
    return stem + mark_len + ext;
}

uint32_t merge_name_device(struct merge *m, const struct entry *entry)
{
    const uint32_t tag = (uint32_t)(entry->ino >> INODE_TAG_SHIFT);
    if (tag != MERGE_TAG && roster_by_tag(m->params->roster, tag))
        return tag;
    return entry->dirty || entry->version.lamport == 0 ? m->self : entry->version.device;
}

int merge_name_resolved(struct merge *m, const struct entry *entry, int64_t mtime)
{
    struct entry there;
    if (entry->type == S_IFDIR)
        return 0;
    size_t len = conflict_name(entry->name, entry->name_len,
                               device_name(m, merge_name_device(m, entry)), mtime, 1, there.name);
    int err = index_entry_get(m->ix, entry->parent, there.name, len, &there);
    if (err || there.ino != entry->ino)
        return err == ERR_NOENT ? 0 : err;
    return merge_name_clear(m, &there, there.version, there.version.lamport != 0);
}

int merge_name_conflict(struct merge *m, uint64_t parent, const char *name, size_t len,
                        uint64_t ino, uint32_t type, uint32_t device, int64_t mtime)
{
    for (unsigned try = 1; try < TRIES; try++) {
        char other[NAME_LEN_MAX + 1];
        struct entry there;
        size_t other_len = conflict_name(name, len, device_name(m, device), mtime, try, other);
        int err = index_entry_get(m->ix, parent, other, other_len, &there);
        if (!err && there.ino == ino)
            return 0;
        if (err == ERR_NOENT)
            return merge_name_set(m, parent, other, other_len, ino, type, (struct version){0, 0},
                                  true);
        if (err)
            return err;
    }
    return ERR_EXIST;
}
