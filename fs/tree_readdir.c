#include "fs/tree.h"

#include "crypto/err.h"
#include "fs/tree_op.h"

#include <stdlib.h>

/* The kernel's usual buffer takes about 25 entries with attributes: a first batch near that wastes little. */
#define BATCH_FIRST 32u
#define BATCH_MAX   128u

struct batch {
    size_t n, max;
    struct {
        struct entry entry;
        struct inode inode;
    } at[BATCH_MAX];
};

static int take(void *ctx, const struct entry *entry, const struct inode *inode)
{
    struct batch *b = ctx;
    b->at[b->n].entry = *entry;
    b->at[b->n].inode = *inode;
    return ++b->n == b->max;
}

/* "." and ".." with the inodes they stand for. A removed directory (*removed) has not even these. */
static int load_dots(struct index *ix, uint64_t dir, struct inode dots[2], bool *removed)
{
    index_lock(ix);
    int err = tree_op_dir(ix, dir, false, &dots[0]);
    *removed = !err && dots[0].nlink == 0;
    if (!err && !*removed)
        err = index_inode_get(ix, dots[0].parent, &dots[1]);
    index_unlock(ix);
    return err;
}

static int load_batch(struct index *ix, uint64_t dir, uint64_t after, struct batch *b)
{
    b->n = 0;
    index_lock(ix);
    int err = index_entry_scan(ix, dir, after, true, take, b);
    index_unlock(ix);
    return err < 0 ? err : ERR_OK;
}

int tree_readdir(struct vault *v, uint64_t dir, uint64_t cookie,
                 int (*each)(void *ctx, const char *name, size_t len, uint64_t cookie,
                             const struct inode *inode),
                 void *ctx)
{
    struct index *ix = vault_index(v);
    struct inode dots[2];
    bool removed;

    int err = load_dots(ix, dir, dots, &removed);
    if (err || removed)
        return err;
    for (; cookie < 2; cookie++)
        if (each(ctx, cookie ? ".." : ".", (size_t)cookie + 1, cookie + 1, &dots[cookie]))
            return ERR_OK;

    struct batch *b = malloc(sizeof(*b));
    if (!b)
        return ERR_NOMEM;
    b->max = BATCH_FIRST;
    bool stop = false;
    do {
        err = load_batch(ix, dir, cookie, b);
        for (size_t i = 0; !err && !stop && i < b->n; i++) {
            cookie = b->at[i].entry.cookie;
            stop = each(ctx, b->at[i].entry.name, b->at[i].entry.name_len, cookie,
                        &b->at[i].inode) != 0;
        }
        stop = stop || b->n < b->max;
        b->max = BATCH_MAX;
    } while (!err && !stop);
    free(b);
    return err;
}
