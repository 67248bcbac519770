#include "fs/check_impl.h"

#include "crypto/err.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 100000u /* longer is a cycle */

static int by_ino(const void *a, const void *b)
{
    const struct check_name *x = a, *y = b;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int add_name(struct check *c, size_t *cap, sqlite3_stmt *stmt)
{
    if (c->name_count == *cap) {
        *cap = *cap ? *cap * 2 : 1024;
        struct check_name *more = realloc(c->names, *cap * sizeof(*more));
        if (!more)
            return ERR_NOMEM;
        c->names = more;
    }
    c->names[c->name_count++] =
        (struct check_name){.ino = (uint64_t)sqlite3_column_int64(stmt, 0),
                            .parent = (uint64_t)sqlite3_column_int64(stmt, 1),
                            .at = c->text.len,
                            .len = (uint32_t)sqlite3_column_bytes(stmt, 2)};
    bytes_put(&c->text, sqlite3_column_blob(stmt, 2), (size_t)sqlite3_column_bytes(stmt, 2));
    return c->text.bad ? ERR_NOMEM : ERR_OK;
}

static int load_names(struct check *c)
{
    sqlite3_stmt *stmt;
    size_t cap = 0;
    int rc = SQLITE_DONE;

    index_lock(c->ix);
    int err = index_prepare(c->ix, "SELECT ino, parent, name FROM entry", &stmt);
    if (!err) {
        while (!err && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
            err = add_name(c, &cap, stmt);
        sqlite3_finalize(stmt);
    }
    index_unlock(c->ix);
    /* a damaged index may end the scan early: what was read still names most files */
    if (c->name_count)
        qsort(c->names, c->name_count, sizeof(*c->names), by_ino);
    c->names_loaded = !err;
    return err;
}

/* The first name of ${ino}, or NULL. */
static const struct check_name *find(const struct check *c, uint64_t ino)
{
    struct check_name key = {.ino = ino};
    const struct check_name *n =
        c->name_count ? bsearch(&key, c->names, c->name_count, sizeof(*c->names), by_ino) : NULL;
    while (n && n > c->names && n[-1].ino == ino)
        n--;
    return n;
}

static void put_backwards(struct bytes_out *out, const uint8_t *p, size_t len)
{
    if (out->len)
        bytes_put_u8(out, '/');
    while (len > 0)
        bytes_put_u8(out, p[--len]);
}

/* The way from ${dir} up to the root, put behind ${backwards}; false when it does not lead there. */
static bool climb(const struct check *c, uint64_t dir, struct bytes_out *backwards)
{
    for (unsigned depth = 0; dir != INODE_ROOT; depth++) {
        const struct check_name *n = find(c, dir);
        if (!n || depth > DEPTH_MAX)
            return false;
        put_backwards(backwards, c->text.p + n->at, n->len);
        dir = n->parent;
    }
    return true;
}

int check_report_entry(struct check *c, uint64_t parent, const void *name, size_t len,
                       const char *what)
{
    struct bytes_out b;
    int err = c->names_loaded ? ERR_OK : load_names(c);
    if (err)
        return err;
    bytes_out_init(&b);
    put_backwards(&b, name, len);
    size_t own = b.len;
    if (!climb(c, parent, &b)) {
        b.len = own; /* it hangs in the air, or in a cycle */
        put_backwards(&b, (const uint8_t *)"...", 3);
    }
    for (size_t i = 0; !b.bad && i < b.len / 2; i++) {
        uint8_t t = b.p[i];
        b.p[i] = b.p[b.len - 1 - i];
        b.p[b.len - 1 - i] = t;
    }
    bytes_put_u8(&b, 0);
    if (b.bad) {
        err = ERR_NOMEM;
    } else {
        c->result->problems++;
        if (c->options->problem)
            c->options->problem(c->options->ctx, (const char *)b.p, what);
    }
    bytes_out_release(&b);
    return err;
}

int check_report(struct check *c, uint64_t ino, const char *what)
{
    int err = c->names_loaded || !ino ? ERR_OK : load_names(c);
    if (err)
        return err;
    const struct check_name *n = ino ? find(c, ino) : NULL;
    if (!n) {
        c->result->problems++;
        if (c->options->problem)
            c->options->problem(c->options->ctx, ino == INODE_ROOT ? "" : NULL, what);
        return ERR_OK;
    }
    for (; !err && n < c->names + c->name_count && n->ino == ino; n++)
        err = check_report_entry(c, n->parent, c->text.p + n->at, n->len, what);
    return err;
}

void check_report_free(struct check *c)
{
    free(c->names);
    bytes_out_release(&c->text);
}
