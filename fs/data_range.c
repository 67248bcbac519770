#include "fs/data.h"

#include "crypto/err.h"
#include "crypto/seal.h"
#include "fs/tree_op.h"

#include <linux/falloc.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ROWS         64u
#define ROOM_MARGIN  (4ull << 20) /* for the index and the log of what is going to be written */
#define NOTES_SHARED 128u         /* bytes of notes for one row that is shared, at most */

/* Room is looked at, not set aside: bytes are sealed when they are written, to a place that nobody knows before. */
static int check_room(struct vault *v, uint64_t len)
{
    struct statvfs fs;
    if (statvfs(vault_path(v), &fs) != 0)
        return ERR_IO;
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    return room < ROOM_MARGIN || len + len / 512 > room - ROOM_MARGIN ? ERR_NOSPACE : ERR_OK;
}

static int change_range(struct index *ix, struct inode *inode, bool punch, bool grow, uint64_t off,
                        uint64_t len)
{
    if (grow && off + len > inode->size)
        inode->size = off + len;
    inode->mtime = inode->ctime = tree_op_now();
    inode->dirty |= DIRTY_TIMES | DIRTY_CONTENT;
    int err = index_inode_put(ix, inode);
    return !err && punch ? index_map_punch(ix, inode->ino, off, len) : err;
}

static int try_range(struct vault *v, uint64_t ino, bool punch, bool grow, uint64_t off,
                     uint64_t len)
{
    struct index *ix = vault_index(v);
    struct inode inode;

    index_lock(ix);
    int err = tree_op_file(ix, ino, &inode);
    bool changes = !err && (punch || (grow && off + len > inode.size));
    if (changes)
        err = tree_op_begin(v, !grow, 0);
    if (err || !changes) {
        index_unlock(ix);
        return err;
    }
    return tree_op_end(v, change_range(ix, &inode, punch, grow, off, len));
}

int data_fallocate(struct vault *v, uint64_t ino, int mode, uint64_t off, uint64_t len)
{
    unsigned tries = 0;
    bool punch = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
    bool grow = !(mode & FALLOC_FL_KEEP_SIZE);

    switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
    case FALLOC_FL_ZERO_RANGE:
        break;
    case FALLOC_FL_PUNCH_HOLE:
        if (grow)
            return ERR_NOTSUP;
        break;
    default:
        return ERR_NOTSUP;
    }
    if (len == 0)
        return ERR_INVAL;
    if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
        return ERR_FBIG;
    if (vault_read_only(v))
        return ERR_ROFS;
    int err = punch ? ERR_OK : check_room(v, len);
    if (err)
        return err;
    do
        err = try_range(v, ino, punch, grow, off, len);
    while (tree_op_more_room(v, err, !grow, &tries));
    return err;
}

/* The rows from *off on; *size is the file's. */
static int load_rows(struct vault *v, uint64_t ino, uint64_t off, uint64_t *size,
                     struct map_row *rows, size_t *n)
{
    struct index *ix = vault_index(v);
    struct extent extents[ROWS];
    struct inode inode;

    *n = 0;
    index_lock(ix);
    int err = tree_op_file(ix, ino, &inode);
    *size = err ? 0 : inode.size;
    if (!err && off < inode.size)
        err = index_map_get(ix, ino, off, inode.size - off, rows, extents, ROWS, n);
    index_unlock(ix);
    return err;
}

int data_seek(struct vault *v, uint64_t ino, uint64_t off, int whence, uint64_t *found)
{
    struct map_row rows[ROWS];
    uint64_t size;
    size_t n;

    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return ERR_INVAL;
    *found = off;
    do {
        int err = load_rows(v, ino, *found, &size, rows, &n);
        if (err)
            return err;
        if (off >= size || (whence == SEEK_DATA && n == 0))
            return ERR_NXIO;
        if (whence == SEEK_DATA) {
            if (rows[0].off > *found)
                *found = rows[0].off;
            return ERR_OK;
        }
        for (size_t i = 0; i < n; i++) {
            if (rows[i].off > *found)
                return ERR_OK;
            *found = rows[i].off + rows[i].len;
        }
    } while (n == ROWS && *found < size);
    if (*found > size)
        *found = size; /* the end of the file counts as a hole */
    return ERR_OK;
}

/* ---- copy_file_range ---- */

struct copying {
    struct vault *v;
    uint64_t from, from_off, to, to_off;
    uint64_t whole; /* what is to be copied from here on, cut to the source's size */
    uint64_t len;   /* of that, what the rows tell about: this step */
    size_t n;
    struct map_row rows[ROWS];
    struct inode target;
};

static int copy_check(struct copying *c)
{
    struct index *ix = vault_index(c->v);
    struct extent extents[ROWS];
    struct inode source;

    int err = tree_op_file(ix, c->from, &source);
    if (!err)
        err = tree_op_file(ix, c->to, &c->target);
    if (err)
        return err;
    uint64_t there = c->from_off < source.size ? source.size - c->from_off : 0;
    if (c->whole > there)
        c->whole = there;
    c->len = c->whole;
    if (c->from == c->to && c->from_off < c->to_off + c->len && c->to_off < c->from_off + c->len)
        return ERR_INVAL; /* overlapping */
    if (c->len == 0)
        return ERR_OK;
    err = index_map_get(ix, c->from, c->from_off, c->len, c->rows, extents, ROWS, &c->n);
    if (err || c->n < ROWS)
        return err;
    uint64_t told = c->rows[ROWS - 1].off + c->rows[ROWS - 1].len - c->from_off;
    if (c->len > told)
        c->len = told;
    return ERR_OK;
}

/* Holes become holes, rows become references to the same extents. */
static int copy_map(struct copying *c)
{
    struct index *ix = vault_index(c->v);
    if (c->to_off + c->len > c->target.size)
        c->target.size = c->to_off + c->len;
    c->target.mtime = c->target.ctime = tree_op_now();
    c->target.dirty |= DIRTY_TIMES | DIRTY_CONTENT;
    int err = index_inode_put(ix, &c->target);

    uint64_t end = c->from_off + c->len, pos = c->from_off;
    for (size_t i = 0; !err && i < c->n && pos < end; i++) {
        const struct map_row *row = &c->rows[i];
        if (row->off > pos) {
            err = index_map_punch(ix, c->to, c->to_off + (pos - c->from_off), row->off - pos);
            pos = row->off;
        }
        uint64_t stop = row->off + row->len < end ? row->off + row->len : end;
        if (!err)
            err = index_map_set(ix, c->to, c->to_off + (pos - c->from_off), stop - pos, row->eid,
                                row->eoff + (uint32_t)(pos - row->off));
        pos = stop;
    }
    if (!err && pos < end)
        err = index_map_punch(ix, c->to, c->to_off + (pos - c->from_off), end - pos);
    return err;
}

static int copy_step(struct copying *c)
{
    struct index *ix = vault_index(c->v);

    c->n = 0;
    index_lock(ix);
    int err = copy_check(c);
    if (!err && c->len)
        err = tree_op_begin(c->v, false, 4096 + c->n * NOTES_SHARED * 2);
    if (err || c->len == 0) {
        index_unlock(ix);
        return err;
    }
    return tree_op_end(c->v, copy_map(c));
}

int data_copy_range(struct vault *v, uint64_t from, uint64_t from_off, uint64_t to, uint64_t to_off,
                    uint64_t len, uint64_t *copied)
{
    *copied = 0;
    if (from_off > FILE_SIZE_MAX || to_off > FILE_SIZE_MAX)
        return ERR_INVAL;
    if (len > FILE_SIZE_MAX - from_off)
        len = FILE_SIZE_MAX - from_off;
    if (len > FILE_SIZE_MAX - to_off)
        return ERR_FBIG;
    while (*copied < len) {
        struct copying c = {
            v, from, from_off + *copied, to, to_off + *copied, .whole = len - *copied};
        int err = copy_step(&c);
        if (err)
            return *copied
                       ? ERR_OK
                       : err; /* a short copy is an answer; the next call meets the error again */
        if (c.len == 0)
            break;
        *copied += c.len;
        len = *copied + c.whole -
              c.len; /* a file copied into itself may have grown: that is not part of it */
    }
    return ERR_OK;
}
