#include "fs/check.h"

#include "crypto/err.h"
#include "fs/check_impl.h"

#include <string.h>

static int count(struct check *c)
{
    static const char sql[] =
        "SELECT (SELECT count(*) FROM inode), (SELECT count(*) FROM entry),"
        " (SELECT count(*) FROM extent), (SELECT count(*) FROM extent WHERE seg = 0)";
    sqlite3_stmt *stmt;

    index_lock(c->ix);
    int err = index_prepare(c->ix, sql, &stmt);
    if (!err) {
        if (sqlite3_step(stmt) == SQLITE_ROW) {
            c->result->inodes = (uint64_t)sqlite3_column_int64(stmt, 0);
            c->result->entries = (uint64_t)sqlite3_column_int64(stmt, 1);
            c->result->extents = (uint64_t)sqlite3_column_int64(stmt, 2);
            c->result->remote_extents = (uint64_t)sqlite3_column_int64(stmt, 3);
        } else {
            err = ERR_IO;
        }
        sqlite3_finalize(stmt);
    }
    index_unlock(c->ix);
    return err;
}

int check_vault(struct vault *v, const struct check_options *options, struct check_result *result)
{
    struct check c = {.v = v, .ix = vault_index(v), .options = options, .result = result};

    memset(result, 0, sizeof(*result));
    bytes_out_init(&c.text);
    int err = count(&c);
    if (!err)
        err = check_refs(&c);
    if (!err && !options->references_only)
        err = check_data(&c);
    check_report_free(&c);
    return err;
}
