/*
 * What a batch says of a file's content: the whole map while it is short or was never published, else the ranges that changed.
 */
#include "crypto/err.h"
#include "sync/merge.h"
#include "sync/push_draft.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_AT_ONCE 64u

struct span {
    uint64_t off, len;
};

struct spans {
    struct span *list;
    size_t count, cap;
    uint64_t
        limit; /* what reaches past this is cut: the size of the file, or where ${rest} begins */
};

static int add_span(struct spans *s, uint64_t off, uint64_t len)
{
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 16;
        struct span *list = realloc(s->list, cap * sizeof(*list));
        if (!list)
            return ERR_NOMEM;
        s->list = list;
        s->cap = cap;
    }
    s->list[s->count++] = (struct span){off, len};
    return 0;
}

static int span_each(void *ctx, uint64_t off, uint64_t len)
{
    struct spans *s = ctx;
    if (off >= s->limit)
        return 0;
    return add_span(s, off, len < s->limit - off ? len : s->limit - off);
}

/* The pack's number in this batch. */
static int pack_order(struct draft *d, uint64_t pid, uint32_t *order)
{
    struct ledger_pack pack;
    if (pid != d->last_pid) {
        int err = ledger_pack_get(d->p->ix, pid, &pack);
        if (!err)
            err = batch_write_pack(d->writer, pack.hash, pack.size, &d->last_order);
        if (err)
            return err == ERR_NOENT ? ERR_FORMAT : err;
        d->last_pid = pid;
    }
    *order = d->last_order;
    return 0;
}

static int add_hole(struct draft *d, uint64_t off, uint64_t end)
{
    if (off < end)
        d->ranges[d->range_count++] =
            (struct batch_range){.off = off, .len = end - off, .hole = true};
    return 0;
}

static int add_row(struct draft *d, const struct map_row *row, const struct extent *e, uint64_t off,
                   uint64_t end)
{
    struct batch_range *range = &d->ranges[d->range_count++];
    uint64_t from = row->off > off ? row->off : off;
    uint64_t to = row->off + row->len < end ? row->off + row->len : end;
    memset(range, 0, sizeof(*range));
    range->off = from;
    range->len = to - from;
    memcpy(range->id, e->id, sizeof(range->id));
    range->extent_len = e->len;
    range->epoch = e->epoch;
    range->eoff = row->eoff + (uint32_t)(from - row->off);
    range->pack_off = e->pack_off;
    return pack_order(d, e->pack, &range->pack);
}

/* *rest: where it stopped for want of room, if it did. Holes are said only where something was (${holes}). */
static int add_rows(struct draft *d, const struct inode *inode, struct span span, bool holes,
                    bool *held, uint64_t *rest)
{
    struct map_row rows[ROWS_AT_ONCE];
    struct extent extents[ROWS_AT_ONCE];
    uint64_t at = span.off, end = span.off + span.len;
    size_t n = ROWS_AT_ONCE;
    while (at < end && n == ROWS_AT_ONCE) {
        int err =
            index_map_get(d->p->ix, inode->ino, at, end - at, rows, extents, ROWS_AT_ONCE, &n);
        if (err)
            return err;
        for (size_t i = 0; i < n; i++) {
            if (d->range_count + 2 > PUSH_RANGES_MAX) {
                *rest = at;
                return 0;
            }
            if (extents[i].pack == 0) {
                *held = true;
                return 0;
            }
            if (holes && rows[i].off > at)
                add_hole(d, at, rows[i].off);
            err = add_row(d, &rows[i], &extents[i], at, end);
            if (err)
                return err;
            at = rows[i].off + rows[i].len;
        }
    }
    if (holes && at < end) {
        if (d->range_count + 1 > PUSH_RANGES_MAX)
            *rest = at;
        else
            add_hole(d, at, end);
    }
    return 0;
}

/* Short maps are said whole: that is less than their changes would be, and heals what went wrong before. */
static int is_short(struct draft *d, const struct inode *inode, bool *whole)
{
    size_t n, seen = 0;
    struct map_row rows[ROWS_AT_ONCE];
    struct extent extents[ROWS_AT_ONCE];
    uint64_t at = 0;
    *whole = true;
    while (at < inode->size && *whole) {
        int err = index_map_get(d->p->ix, inode->ino, at, inode->size - at, rows, extents,
                                ROWS_AT_ONCE, &n);
        if (err)
            return err;
        seen += n;
        *whole = seen <= BATCH_MAP_FULL;
        if (n < ROWS_AT_ONCE)
            break;
        at = rows[n - 1].off + rows[n - 1].len;
    }
    return 0;
}

static int changed_spans(struct draft *d, const struct inode *inode, struct spans *spans)
{
    uint64_t rest;
    int err = ledger_rest_get(d->p->ix, inode->ino, &rest);
    if (err)
        return err;
    spans->limit = rest < inode->size ? rest : inode->size;
    err = index_dirty_ranges(d->p->ix, inode->ino, span_each, spans);
    if (!err && rest < inode->size)
        err = add_span(spans, rest, inode->size - rest);
    return err;
}

static int write_record(struct draft *d, const struct inode *inode, bool whole)
{
    struct batch_record r = {.kind = BATCH_CONTENT, .base = inode->content_version};
    r.u.content.ino = inode->ino;
    r.u.content.size = inode->size;
    r.u.content.mtime = inode->mtime;
    r.u.content.whole = whole;
    r.u.content.name = "";
    r.u.content.ranges = d->ranges;
    r.u.content.range_count = d->range_count;
    return batch_write(d->writer, &r);
}

int push_content(struct draft *d, const struct inode *inode, bool *held, uint64_t *rest)
{
    struct spans spans = {0};
    bool whole = inode->content_version.lamport == 0;
    int err = whole ? 0 : merge_wants_whole(d->p->ix, inode->ino, &whole);
    if (!err && !whole)
        err = is_short(d, inode, &whole);
    *held = false;
    *rest = UINT64_MAX;
    d->range_count = 0;
    if (!d->ranges && !(d->ranges = malloc(PUSH_RANGES_MAX * sizeof(*d->ranges))))
        err = ERR_NOMEM;
    if (!err)
        err = whole ? (inode->size ? add_span(&spans, 0, inode->size) : 0)
                    : changed_spans(d, inode, &spans);
    for (size_t i = 0; i < spans.count && !err && !*held && *rest == UINT64_MAX; i++)
        err = add_rows(d, inode, spans.list[i], !whole, held, rest);
    free(spans.list);
    if (!err && !*held)
        err = write_record(d, inode, whole);
    return err;
}
