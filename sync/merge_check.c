/*
 * What a batch may not say, given what is here. Forms, names and ranges were checked when it was read (batch_rules.c); this is
 * what depends on other things: an inode keeps its type for ever, entries tell the type of their inode, folders are folders,
 * only files have content, and an extent is the same wherever it is named.
 */
#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/merge_impl.h"

#include <stdlib.h>
#include <string.h>

struct typed {
    uint64_t ino;
    uint32_t type;
};

/* Types that the batch itself tells, by inode. */
struct types {
    struct typed *list;
    size_t n;
};

static int by_ino(const void *a, const void *b)
{
    uint64_t x = ((const struct typed *)a)->ino, y = ((const struct typed *)b)->ino;
    return x < y ? -1 : x > y;
}

static int collect(const struct merge_batch *batch, struct types *t)
{
    t->n = 0;
    t->list = calloc(batch->count + 1, sizeof(*t->list));
    if (!t->list)
        return ERR_NOMEM;
    for (size_t i = 0; i < batch->count; i++)
        if (batch->records[i].kind == BATCH_ATTR)
            t->list[t->n++] = (struct typed){batch->records[i].u.attr.inode.ino,
                                             batch->records[i].u.attr.inode.mode & S_IFMT};
    qsort(t->list, t->n, sizeof(*t->list), by_ino);
    return 0;
}

/* 0 where neither we nor the batch know it; what is here counts more. */
static int type_of(struct merge *m, const struct types *t, uint64_t ino, uint32_t *type)
{
    struct inode inode;
    int err = index_inode_get(m->ix, ino, &inode);
    if (!err) {
        *type = inode.mode & S_IFMT;
        return 0;
    }
    const struct typed key = {ino, 0};
    const struct typed *found = bsearch(&key, t->list, t->n, sizeof(*t->list), by_ino);
    *type = found ? found->type : 0;
    return err == ERR_NOENT ? 0 : err;
}

static int want(struct merge *m, const struct types *t, uint64_t ino, uint32_t type)
{
    uint32_t is;
    int err = type_of(m, t, ino, &is);
    return err ? err : is == 0 || is == type ? 0 : ERR_FORMAT;
}

static int check_extents(struct merge *m, const struct batch_record *r)
{
    for (size_t i = 0; i < r->u.content.range_count; i++) {
        const struct batch_range *range = &r->u.content.ranges[i];
        struct extent e;
        if (range->hole)
            continue;
        int err = index_extent_by_id(m->ix, range->id, &e);
        if (!err && (e.len != range->extent_len || e.epoch != range->epoch))
            err = ERR_FORMAT;
        if (err && err != ERR_NOENT)
            return err;
    }
    return 0;
}

static int check_record(struct merge *m, const struct types *t, const struct batch_record *r)
{
    int err;
    switch (r->kind) {
    case BATCH_ATTR:
        return want(m, t, r->u.attr.inode.ino, r->u.attr.inode.mode & S_IFMT);
    case BATCH_CONTENT:
        err = want(m, t, r->u.content.ino, S_IFREG);
        return err ? err : check_extents(m, r);
    case BATCH_ENTRY:
        err = want(m, t, r->u.entry.parent, S_IFDIR);
        return err || r->u.entry.ino == 0 ? err : want(m, t, r->u.entry.ino, r->u.entry.type);
    default:
        return 0;
    }
}

int merge_check(struct merge *m)
{
    struct types types;
    int err = collect(m->batch, &types);
    for (size_t i = 0; i < m->batch->count && !err; i++)
        err = check_record(m, &types, &m->batch->records[i]);
    /* two records of one inode with two types, before it is here */
    for (size_t i = 1; i < types.n && !err; i++)
        if (types.list[i].ino == types.list[i - 1].ino &&
            types.list[i].type != types.list[i - 1].type)
            err = ERR_FORMAT;
    free(types.list);
    if (err == ERR_FORMAT)
        log_warn("merge: batch %llu of device %u contradicts what is known of its inodes: refused",
                 (unsigned long long)m->params->head->seq, m->params->tag);
    return err;
}
