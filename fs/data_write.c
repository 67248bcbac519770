#include "fs/data.h"

#include "crypto/err.h"
#include "fs/data_scratch.h"
#include "fs/tree_op.h"

#include <stdlib.h>

#define FEW          8u   /* extents that need no allocation */
#define NOTES_EXTENT 256u /* bytes of notes for one extent and its place in the map, at most */

struct writing {
    struct vault *v;
    uint64_t ino, off;
    size_t len;
    bool touch, kill_priv;
    struct extent *extents; /* in the order of the file */
    size_t n;
};

/* Seals the bytes and appends them to the segment: nothing refers to them yet. */
static int append(struct writing *w, const uint8_t *buf)
{
    struct data_scratch *s = data_scratch_get();
    const struct seal_key *key = vault_seal_key(w->v, 0);
    if (!s)
        return ERR_NOMEM;
    if (!key)
        return ERR_MISUSE;
    for (size_t i = 0, at = 0; i < w->n; i++) {
        struct extent *e = &w->extents[i];
        e->len = (uint32_t)(w->len - at < SEAL_EXTENT_MAX ? w->len - at : SEAL_EXTENT_MAX);
        e->epoch = seal_key_epoch(key);
        data_scratch_id(e->id);
        int err = seal_extent(key, e->id, s->sealed, buf + at, e->len);
        if (!err)
            err = segment_append(vault_segments(w->v), SEGMENT_EXTENT, s->sealed, seal_size(e->len),
                                 &e->at);
        if (err)
            return err;
        at += e->len;
    }
    return ERR_OK;
}

static int map(struct writing *w, struct inode *inode)
{
    struct index *ix = vault_index(w->v);
    int err = w->kill_priv ? tree_op_kill_priv(ix, inode) : ERR_OK;

    if (w->off + w->len > inode->size)
        inode->size = w->off + w->len;
    if (w->touch) {
        inode->mtime = inode->ctime = tree_op_now();
        inode->dirty |= DIRTY_TIMES;
    }
    inode->dirty |= DIRTY_CONTENT;
    /* before the map, which counts `stored` in the stored inode */
    if (!err)
        err = index_inode_put(ix, inode);
    uint64_t at = w->off;
    for (size_t i = 0; !err && i < w->n; i++) {
        struct extent *e = &w->extents[i];
        err = index_extent_put(ix, e);
        if (!err)
            err = index_map_set(ix, w->ino, at, e->len, e->eid, 0);
        at += e->len;
    }
    return err;
}

/* Extents that nothing will refer to give their room back at once; their heads stay, for the log is read past them. */
static int abandon(struct writing *w, int err)
{
    for (size_t i = 0; i < w->n; i++) {
        struct extent *e = &w->extents[i];
        if (e->at.seg != 0)
            segment_punch(vault_segments(w->v), e->at, seal_size(e->len));
        *e = (struct extent){0};
    }
    return err;
}

static int write_extents(struct writing *w, const uint8_t *buf)
{
    struct index *ix = vault_index(w->v);
    struct inode inode;

    int err = append(w, buf);
    if (err)
        return abandon(w, err);
    index_lock(ix);
    err = tree_op_file(ix, w->ino, &inode);
    if (!err)
        err = tree_op_begin(w->v, false, w->n > FEW ? w->n * NOTES_EXTENT : 0);
    if (err) {
        index_unlock(ix);
        return abandon(w, err);
    }
    return tree_op_end(w->v, map(w, &inode));
}

int data_write(struct vault *v, uint64_t ino, uint64_t off, const uint8_t *buf, size_t len,
               bool touch, bool kill_priv)
{
    struct extent few[FEW] = {0};
    struct writing w = {v,     ino,       off, len,
                        touch, kill_priv, few, (len + SEAL_EXTENT_MAX - 1) / SEAL_EXTENT_MAX};

    if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
        return ERR_FBIG;
    if (vault_read_only(v))
        return ERR_ROFS;
    if (len == 0)
        return ERR_OK;
    if (index_full(vault_index(v)))
        return ERR_NOSPACE;
    if (w.n > FEW) {
        w.extents = calloc(w.n, sizeof(*w.extents));
        if (!w.extents)
            return ERR_NOMEM;
    }
    unsigned tries = 0;
    int err;
    do {
        /* Shared with other writers and with readers; but reclaiming, which drops segments that the index says nothing
         * of, must not run between the append and the map. */
        vault_reclaim_rdlock(v);
        err = write_extents(&w, buf);
        vault_reclaim_unlock(v);
    } while (tree_op_more_room(v, err, false, &tries));
    if (w.extents != few)
        free(w.extents);
    return err;
}
