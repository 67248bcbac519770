/*
 * What lost its last name, or never got one, though somebody needs it.
 */
#include "crypto/err.h"
#include "crypto/pagevfs.h"
#include "sync/members.h"
#include "sync/merge_impl.h"

#include <stdlib.h>
#include <string.h>

#define AT_ONCE 64u

/* Was it changed by somebody whose change the author of this batch had not seen? */
static int changed_unseen(struct merge *m, const struct inode *inode, uint32_t *device,
                          bool *changed)
{
    uint32_t bits;
    int err = merge_edited(m, inode, &bits);
    if (err)
        return err;
    *changed = true;
    *device = m->self;
    if (bits)
        return 0;
    const struct version *v[] = {&inode->content_version, &inode->attr_version,
                                 &inode->xattr_version};
    for (size_t i = 0; i < 3; i++)
        if (!merge_seen(m, *v[i])) {
            *device = v[i]->device;
            return 0;
        }
    *changed = false;
    return 0;
}

int merge_name_again(struct merge *m, const struct merge_lost *l, uint32_t device)
{
    struct inode inode;
    struct entry there;
    int err = index_inode_get(m->ix, l->ino, &inode);
    if (err)
        return err;
    const uint32_t type = inode.mode & S_IFMT;
    bool folders = false;
    err = index_entry_get(m->ix, l->parent, l->name, l->len, &there);
    if (!err)
        err = merge_folders_are(m, &there, l->ino, type, &folders);
    if (folders)
        return err ? err : merge_folders(m, &there, l->ino, there.version, false);
    if (err == ERR_NOENT)
        err = merge_name_set(m, l->parent, l->name, l->len, l->ino, type, (struct version){0, 0},
                             true);
    else if (!err)
        err = merge_name_conflict(m, l->parent, l->name, l->len, l->ino, type, device, inode.mtime);
    if (!err)
        err = index_inode_get(m->ix, l->ino, &inode);
    return err ? err : merge_republish(m, &inode);
}

static int mend_one(struct merge *m, const struct merge_lost *l)
{
    struct inode inode;
    uint32_t device = m->self;
    bool changed = false, empty;
    int err = index_inode_get(m->ix, l->ino, &inode);
    if (err || inode.nlink)
        return err == ERR_NOENT ? 0 : err;
    if (S_ISDIR(inode.mode))
        err = merge_dir_alive(m, l->ino, &changed, &empty);
    else
        err = changed_unseen(m, &inode, &device, &changed);
    if (err || !changed)
        return err;
    return merge_name_again(m, l, device);
}

/* A folder whose name was refused, or went to another, and in which there is something. */
static int mend_dir(struct merge *m, uint64_t ino)
{
    struct inode dir;
    bool any;
    int err = index_inode_get(m->ix, ino, &dir);
    if (err || dir.nlink)
        return err == ERR_NOENT ? 0 : err;
    err = index_entry_any(m->ix, ino, &any);
    return err || !any ? err : merge_name_stand_in(m, &dir);
}

int merge_lost_mend(struct merge *m)
{
    int err = 0;
    for (size_t i = 0; i < m->lost_count && !err; i++) {
        struct merge_lost l = m->lost[i]; /* the list may grow and move */
        err = mend_one(m, &l);
    }
    for (size_t i = 0; i < m->batch->count && !err; i++) {
        const struct batch_record *r = &m->batch->records[i];
        if (r->kind == BATCH_ENTRY && r->u.entry.type == S_IFDIR)
            err = mend_dir(m, r->u.entry.ino);
    }
    return err;
}

/* ---- written to after its deletion ---- */

static int rescue(struct merge *m, uint64_t ino)
{
    struct inode inode;
    struct merge_lost lost;
    int err = index_inode_get(m->ix, ino, &inode);
    if (!err && inode.nlink == 0)
        err = merge_nameless_get(m, ino, &lost);
    if (err || inode.nlink)
        return err == ERR_NOENT ? 0 : err;
    err = index_begin(m->ix, INDEX_REMOTE, 0);
    if (err)
        return err;
    err = merge_name_again(m, &lost, m->self);
    if (!err)
        merge_tell(m, ino, NULL, VAULT_DATA);
    index_end(m->ix);
    return err;
}

int merge_rescue(struct vault *vault, uint64_t ino, bool *local)
{
    const struct merge_batch none = {0};
    struct merge_params params = {.vault = vault};
    struct roster *roster;
    *local = false;
    int err = members_load(vault, &roster);
    if (err)
        return err;
    params.roster = roster;
    struct merge m = {.params = &params,
                      .batch = &none,
                      .vault = vault,
                      .ix = vault_index(vault),
                      .self = vault_keyring(vault)->device_tag};
    bytes_out_init(&m.told);
    index_lock(m.ix);
    err = rescue(&m, ino);
    index_unlock(m.ix);
    merge_tell_watcher(&m);
    bytes_out_release(&m.told);
    free(m.lost);
    roster_free(roster);
    *local = m.local;
    return err;
}

/* ---- at the end of a pull ---- */

static int find(struct index *ix, const char *sql, uint64_t inos[AT_ONCE], size_t *n)
{
    sqlite3_stmt *stmt;
    int rc, err = index_prepare(ix, sql, &stmt);
    *n = 0;
    if (err)
        return err;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && *n < AT_ONCE)
        inos[(*n)++] = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : pagevfs_err(rc);
}

static int settle_dir(struct merge *m, uint64_t ino)
{
    bool any;
    int err = index_entry_any(m->ix, ino, &any);
    return err || !any ? err : merge_name_settle(m, ino);
}

struct doomed {
    uint64_t inos[AT_ONCE];
    size_t n;
};

static int collect_doomed(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    struct doomed *d = ctx;
    uint64_t ino = 0;
    for (size_t i = 0; i < key_len && i < 8; i++)
        ino = ino << 8 | ((const uint8_t *)key)[i];
    d->inos[d->n++] = ino;
    return d->n == AT_ONCE;
}

/* Folders that wait for the deletion of their entries, which does not come: two devices took each a name of it away. They stay. */
static int settle_doomed(struct merge *m)
{
    struct doomed d = {.n = 0};
    int err = index_kv_scan(m->ix, "doomed", NULL, 0, collect_doomed, &d);
    if (err < 0 || d.n == 0)
        return err < 0 ? err : 0;
    err = index_begin(m->ix, INDEX_REMOTE, AT_ONCE * 2048);
    for (size_t i = 0; i < d.n && !err; i++)
        err = merge_undoom(m, d.inos[i]);
    index_end(m->ix);
    return err;
}

int merge_settle(struct vault *vault, bool quiet, bool *local)
{
    static const char nameless[] =
        "SELECT i.ino FROM inode i WHERE i.nlink = 0 AND (i.mode & 61440) = 16384"
        " AND EXISTS (SELECT 1 FROM entry e WHERE e.parent = i.ino)";
    static const char stand_ins[] =
        "SELECT ino FROM entry WHERE parent = 1 AND v_l = 0 AND dirty = 0 AND type = 16384";
    const struct merge_batch none = {0};
    struct merge m = {.batch = &none,
                      .vault = vault,
                      .ix = vault_index(vault),
                      .self = vault_keyring(vault)->device_tag};
    uint64_t inos[AT_ONCE];
    size_t n;
    *local = false;
    bytes_out_init(&m.told);
    index_lock(m.ix);
    int err = find(m.ix, quiet ? stand_ins : nameless, inos, &n);
    if (!err && n) {
        err = index_begin(m.ix, INDEX_REMOTE, AT_ONCE * 2048);
        for (size_t i = 0; i < n && !err; i++)
            err = quiet ? settle_dir(&m, inos[i]) : mend_dir(&m, inos[i]);
        index_end(m.ix);
    }
    if (!err && quiet)
        err = settle_doomed(&m);
    index_unlock(m.ix);
    merge_tell_watcher(&m);
    bytes_out_release(&m.told);
    *local = m.local;
    return err;
}
