#include "fs/data.h"

#include "crypto/err.h"
#include "fs/data_fetch.h"
#include "fs/data_open.h"
#include "fs/tree_op.h"

#include <string.h>

#define ROWS 64u /* of the map, for one hold of the lock */

/* What the map said about [off, end) at one moment. */
struct view {
    uint64_t off, end; /* end: cut to the file's size and to what the rows tell about */
    size_t n;
    struct map_row rows[ROWS];
    struct extent extents[ROWS];
};

static int load_view(struct vault *v, uint64_t ino, uint64_t off, size_t len, struct view *view)
{
    struct index *ix = vault_index(v);
    struct inode inode;

    view->off = view->end = off;
    view->n = 0;
    index_lock(ix);
    int err = tree_op_file(ix, ino, &inode);
    if (!err && off < inode.size) {
        view->end = len < inode.size - off ? off + len : inode.size;
        err =
            index_map_get(ix, ino, off, view->end - off, view->rows, view->extents, ROWS, &view->n);
    }
    index_unlock(ix);
    if (!err && view->n == ROWS) { /* there may be more: this view ends where they end */
        const struct map_row *last = &view->rows[ROWS - 1];
        if (last->off + last->len < view->end)
            view->end = last->off + last->len;
    }
    return err;
}

/* A row's part of what is wanted, from ${pos} on. */
static size_t part_len(const struct map_row *row, uint64_t pos, uint64_t end)
{
    uint64_t stop = row->off + row->len;
    return (size_t)((stop < end ? stop : end) - pos);
}

static uint32_t part_from(const struct map_row *row, uint64_t pos)
{
    return row->eoff + (uint32_t)(pos - row->off);
}

/*
 * Fills ${buf} from the view. *done: how far it came; *missing: the row it stopped at because its bytes are not here.
 * Needs the reclaim lock, held since the view was loaded.
 */
static int serve_view(struct vault *v, struct data_scratch *s, uint64_t ino,
                      const struct view *view, uint8_t *buf, size_t *done,
                      const struct map_row **missing)
{
    uint64_t pos = view->off;
    int err = ERR_OK;

    *missing = NULL;
    for (size_t i = 0; !err && i < view->n && pos < view->end; i++) {
        const struct map_row *row = &view->rows[i];
        if (row->off > pos) {
            uint64_t hole = (row->off < view->end ? row->off : view->end) - pos;
            memset(buf + (pos - view->off), 0, hole);
            pos += hole;
        }
        if (pos >= view->end)
            break;
        if (view->extents[i].at.seg == 0) {
            *missing = row;
            break;
        }
        size_t len = part_len(row, pos, view->end);
        err = data_open(v, s, ino, &view->extents[i], part_from(row, pos), len, NULL,
                        buf + (pos - view->off));
        pos += len;
    }
    if (!*missing && pos < view->end) {
        memset(buf + (pos - view->off), 0, view->end - pos);
        pos = view->end;
    }
    *done = (size_t)(pos - view->off);
    return err;
}

/* The part of a row whose extent is not here. No lock is held. */
static int serve_missing(struct vault *v, struct data_scratch *s, uint64_t ino,
                         const struct view *view, const struct map_row *row, uint64_t pos,
                         uint8_t *buf, size_t *done, const _Atomic bool *cancelled)
{
    const struct extent *e = &view->extents[row - view->rows];
    struct data_fetch *fetch;

    *done = 0;
    int err = data_fetch_get(v, e, cancelled, &fetch);
    if (err == ERR_STALE)
        return ERR_OK; /* the next view shows what became of it */
    if (err)
        return err;
    *done = part_len(row, pos, view->end);
    err = data_open(v, s, ino, e, part_from(row, pos), *done, data_fetch_sealed(fetch), buf);
    data_fetch_release(fetch);
    return err;
}

int data_read(struct vault *v, uint64_t ino, uint64_t off, uint8_t *buf, size_t len, size_t *got,
              const _Atomic bool *cancelled)
{
    struct data_scratch *s = data_scratch_get();
    if (!s)
        return ERR_NOMEM;

    *got = 0;
    int err = ERR_OK;
    while (!err && *got < len) {
        struct view view;
        const struct map_row *missing = NULL;
        size_t n = 0;
        vault_reclaim_rdlock(v);
        err = load_view(v, ino, off + *got, len - *got, &view);
        bool end = !err && view.end == view.off;
        if (!err && !end)
            err = serve_view(v, s, ino, &view, buf + *got, &n, &missing);
        vault_reclaim_unlock(v);
        if (end)
            break;
        *got += n;
        if (!err && missing) {
            err = serve_missing(v, s, ino, &view, missing, off + *got, buf + *got, &n, cancelled);
            *got += n;
        }
    }
    return err;
}
