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
    uint64_t size;     /* of the file */
    size_t n;
    struct map_row rows[ROWS];
    struct extent extents[ROWS];
};

static int load_view(struct vault *v, uint64_t ino, uint64_t off, size_t len, struct view *view)
{
    struct index *ix = vault_index(v);
    struct inode inode;

    view->off = view->end = off;
    view->size = 0;
    view->n = 0;
    index_lock(ix);
    int err = tree_op_file(ix, ino, &inode);
    if (!err && off < inode.size) {
        view->size = inode.size;
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

/* Where filling a buffer from a view came to, and what stopped it. */
struct served {
    size_t done;
    const struct map_row
        *missing; /* its bytes are not here, or not good here and on the store: to be fetched */
    int damage;   /* what was wrong with them here */
};

static bool is_damage(int err)
{
    return err == ERR_AUTH || err == ERR_FORMAT || err == ERR_IO;
}

/* One row's part of the view. */
static int serve_row(struct vault *v, struct data_scratch *s, uint64_t ino, const struct view *view,
                     const struct map_row *row, uint64_t pos, uint8_t *buf, struct served *served)
{
    const struct extent *e = &view->extents[row - view->rows];
    if (e->at.seg == 0) {
        served->missing = row;
        return ERR_OK;
    }
    const struct vault_fetcher *sync = vault_fetcher(v);
    size_t len = part_len(row, pos, view->end);
    int err = data_open(v, s, ino, e, part_from(row, pos), len, NULL, buf + served->done);
    if (!err && e->pack && sync && sync->reading)
        sync->reading(sync->ctx, e);
    if (is_damage(err) && e->pack) {
        served->missing = row;
        served->damage = err;
        return ERR_OK;
    }
    if (!err)
        served->done += len;
    return err;
}

static void serve_hole(uint8_t *buf, uint64_t len, struct served *served)
{
    memset(buf + served->done, 0, len);
    served->done += len;
}

/* Fills ${buf} from the view. Needs the reclaim lock, held since the view was loaded. */
static int serve_view(struct vault *v, struct data_scratch *s, uint64_t ino,
                      const struct view *view, uint8_t *buf, struct served *served)
{
    int err = ERR_OK;

    *served = (struct served){0};
    for (size_t i = 0; !err && !served->missing && i < view->n; i++) {
        const struct map_row *row = &view->rows[i];
        uint64_t start = row->off < view->end ? row->off : view->end;
        if (start > view->off + served->done)
            serve_hole(buf, start - view->off - served->done, served);
        if (view->off + served->done < view->end)
            err = serve_row(v, s, ino, view, row, view->off + served->done, buf, served);
    }
    if (!err && !served->missing)
        serve_hole(buf, view->end - view->off - served->done, served);
    return err;
}

/* The part of the row that serving stopped at. No lock is held. */
static int serve_missing(struct vault *v, struct data_scratch *s, uint64_t ino,
                         const struct view *view, uint8_t *buf, struct served *served,
                         const _Atomic bool *cancelled)
{
    const struct map_row *row = served->missing;
    const struct extent *e = &view->extents[row - view->rows];
    uint64_t pos = view->off + served->done;
    size_t len = part_len(row, pos, view->end);
    uint64_t behind = row->off + row->len;
    struct data_want want = {.e = e,
                             .from = part_from(row, pos),
                             .len = len,
                             .ino = ino,
                             .left = behind < view->size ? view->size - behind : 0};
    struct data_fetch *fetch;

    int err = data_fetch_get(v, &want, cancelled, &fetch);
    if (err == ERR_STALE)
        return ERR_OK; /* the next view shows what became of it */
    if (err)
        return served->damage && err != ERR_INTR ? served->damage : err;
    err = data_open(v, s, ino, e, part_from(row, pos), len, data_fetch_sealed(fetch),
                    buf + served->done);
    data_fetch_release(fetch);
    if (!err)
        served->done += len;
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
        struct served served = {0};
        vault_reclaim_rdlock(v);
        err = load_view(v, ino, off + *got, len - *got, &view);
        bool end = !err && view.end == view.off;
        if (!err && !end)
            err = serve_view(v, s, ino, &view, buf + *got, &served);
        vault_reclaim_unlock(v);
        if (end)
            break;
        if (!err && served.missing)
            err = serve_missing(v, s, ino, &view, buf + *got, &served, cancelled);
        *got += served.done;
    }
    return err;
}
