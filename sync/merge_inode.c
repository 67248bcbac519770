/* Attributes and xattrs: the later one stays, a change made here and not published is later than all. */
#include "crypto/err.h"
#include "sync/merge_impl.h"

#include <string.h>

static void take_attr(struct inode *inode, const struct inode *from, struct version version)
{
    inode->mode = from->mode;
    inode->uid = from->uid;
    inode->gid = from->gid;
    inode->rdev = from->rdev;
    inode->atime = from->atime;
    inode->mtime = from->mtime;
    inode->ctime = from->ctime;
    inode->btime = from->btime;
    inode->attr_version = version;
}

static int store_attr(struct merge *m, struct inode *inode, const struct batch_record *r)
{
    if (S_ISLNK(inode->mode))
        inode->size = r->u.attr.target_len;
    int err = index_inode_put(m->ix, inode);
    if (!err && S_ISLNK(inode->mode))
        err = index_target_put(m->ix, inode->ino, r->u.attr.target, r->u.attr.target_len);
    merge_tell(m, inode->ino, NULL, 0);
    return err;
}

/* An inode that is new here, without a name so far; or one that was deleted here and comes back. */
static int make(struct merge *m, const struct batch_record *r)
{
    struct inode inode = {.ino = r->u.attr.inode.ino};
    bool pending;
    int err = merge_gone_pending(m, inode.ino, &pending);
    if (err || pending)
        return err; /* who still has it publishes it whole when our deletion gets there */
    take_attr(&inode, &r->u.attr.inode, m->version);
    err = store_attr(m, &inode, r);
    return err ? err : merge_stand_in_mark(m, inode.ino, false); /* one that was unlinked here */
}

/* Somebody changed a stand-in of what is here: it stays as it is, and they get it. */
static int keep_real(struct merge *m, struct inode *inode)
{
    inode->attr_version = m->version;
    int err = merge_republish(m, inode);
    return err ? err : merge_again_put(m, inode->ino, true);
}

int merge_attr(struct merge *m, const struct batch_record *r)
{
    struct inode inode;
    uint32_t edited;
    int err = index_inode_get(m->ix, r->u.attr.inode.ino, &inode);
    if (err)
        return err == ERR_NOENT ? make(m, r) : err;
    if (!merge_before(inode.attr_version, m->version))
        return 0;
    bool stand_in;
    err = merge_is_stand_in(m->ix, inode.ino, &stand_in);
    if (!err && stand_in)
        err = merge_stand_in_mark(m, inode.ino, false); /* it is here now */
    if (err)
        return err;
    if (r->base.lamport == 0 && inode.attr_version.lamport && inode.ino != INODE_ROOT &&
        inode.ino >> INODE_TAG_SHIFT != MERGE_TAG)
        return keep_real(m, &inode);
    err = merge_edited(m, &inode, &edited);
    if (err)
        return err;
    if (stand_in)
        edited &= ~(uint32_t)(DIRTY_ATTR | DIRTY_TIMES); /* not its attributes were changed */
    if (edited & DIRTY_ATTR) {
        inode.attr_version = m->version; /* ours is published on top of it */
        return index_inode_put(m->ix, &inode);
    }
    const bool follow = inode.dirty && !edited;
    if (stand_in || merge_done_by_other(inode.ino, inode.attr_version))
        inode.dirty &= ~(uint32_t)(DIRTY_ATTR | (edited & DIRTY_TIMES ? 0 : DIRTY_TIMES));
    const struct inode ours = inode;
    take_attr(&inode, &r->u.attr.inode, m->version);
    if (edited & DIRTY_TIMES) { /* here something was written: that does not undo a chmod */
        inode.atime = ours.atime;
        inode.mtime = ours.mtime;
        inode.ctime = ours.ctime;
    }
    err = store_attr(m, &inode, r);
    return err || !follow ? err : merge_again_follow(m, &inode, true);
}

/* ---- xattrs ---- */

static int collect_name(void *ctx, const char *name, const void *value, size_t len)
{
    bytes_put(ctx, name, strlen(name) + 1);
    return 0;
}

static int clear_xattrs(struct merge *m, uint64_t ino)
{
    struct bytes_out names;
    bytes_out_init(&names);
    int err = index_xattr_scan(m->ix, ino, collect_name, &names);
    if (!err && names.bad)
        err = ERR_NOMEM;
    for (size_t at = 0; !err && at < names.len; at += strlen((const char *)names.p + at) + 1)
        err = index_xattr_del(m->ix, ino, (const char *)names.p + at);
    bytes_out_release(&names);
    return err;
}

static int set_xattrs(struct merge *m, const struct batch_record *r)
{
    struct bytes_in in;
    uint16_t count;
    const char *name;
    const void *value;
    size_t name_len, value_len;
    int err = clear_xattrs(m, r->u.xattrs.ino);
    batch_xattrs_begin(&in, r, &count);
    while (!err && count-- && batch_xattrs_next(&in, &name, &name_len, &value, &value_len)) {
        char text[NAME_LEN_MAX + 1];
        memcpy(text, name, name_len);
        text[name_len] = '\0';
        err = merge_step(m, name_len + value_len + 64);
        if (!err)
            err = index_xattr_put(m->ix, r->u.xattrs.ino, text, value, value_len);
    }
    return err;
}

int merge_xattrs(struct merge *m, const struct batch_record *r)
{
    struct inode inode;
    uint32_t edited;
    int err = index_inode_get(m->ix, r->u.xattrs.ino, &inode);
    if (err)
        return err == ERR_NOENT ? 0 : err; /* deleted here; comes back whole if somebody keeps it */
    if (!merge_before(inode.xattr_version, m->version))
        return 0;
    err = merge_edited(m, &inode, &edited);
    if (!err && !(edited & DIRTY_XATTR))
        err = set_xattrs(m, r);
    if (!err)
        err = index_inode_get(m->ix, inode.ino, &inode);
    if (err)
        return err;
    const bool follow = inode.dirty && !edited;
    if (!(edited & DIRTY_XATTR) && merge_done_by_other(inode.ino, inode.xattr_version))
        inode.dirty &= ~(uint32_t)DIRTY_XATTR;
    inode.xattr_version = m->version;
    err = index_inode_put(m->ix, &inode);
    merge_tell(m, inode.ino, NULL, 0);
    return err || !follow ? err : merge_again_follow(m, &inode, true);
}
