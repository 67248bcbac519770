#include "fs/tree.h"

#include "crypto/err.h"
#include "fs/tree_op.h"

#include <string.h>

#define DEPTH_MAX 1000000u

/* One name of ${ino} and the directory it is in. The parent of a directory is known; for a file all entries are looked
 * through. Appends '/' and the name, backwards. */
static int one_up(struct index *ix, uint64_t ino, uint64_t parent, uint64_t *up,
                  struct bytes_out *backwards)
{
    static const char by_parent[] =
        "SELECT parent, name FROM entry WHERE ino = ?1 AND parent = ?2 LIMIT 1";
    static const char by_ino[] = "SELECT parent, name FROM entry WHERE ino = ?1 LIMIT 1";
    sqlite3_stmt *stmt;

    int err = index_prepare(ix, parent ? by_parent : by_ino, &stmt);
    if (err)
        return err;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)ino);
    if (parent)
        sqlite3_bind_int64(stmt, 2, (sqlite3_int64)parent);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *up = (uint64_t)sqlite3_column_int64(stmt, 0);
        const uint8_t *name = sqlite3_column_blob(stmt, 1);
        size_t len = (size_t)sqlite3_column_bytes(stmt, 1);
        if (backwards->len)
            bytes_put_u8(backwards, '/');
        while (len > 0)
            bytes_put_u8(backwards, name[--len]);
    } else {
        err = rc == SQLITE_DONE ? ERR_NOENT : ERR_IO;
    }
    sqlite3_finalize(stmt);
    return err;
}

static int path_locked(struct index *ix, uint64_t ino, struct bytes_out *backwards)
{
    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        struct inode inode;
        int err = index_inode_get(ix, ino, &inode);
        if (err || ino == INODE_ROOT)
            return err;
        err = one_up(ix, ino, S_ISDIR(inode.mode) ? inode.parent : 0, &ino, backwards);
        if (err)
            return err;
    }
    return ERR_FORMAT;
}

int tree_path(struct vault *v, uint64_t ino, struct bytes_out *path)
{
    struct index *ix = vault_index(v);
    struct bytes_out backwards;

    bytes_out_init(&backwards);
    index_lock(ix);
    int err = path_locked(ix, ino, &backwards);
    index_unlock(ix);
    if (!err) {
        for (size_t i = backwards.len; i > 0; i--)
            bytes_put_u8(path, backwards.p[i - 1]);
        if (backwards.bad || path->bad)
            err = ERR_NOMEM;
    }
    bytes_out_release(&backwards);
    return err;
}
