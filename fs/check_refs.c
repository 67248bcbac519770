/*
 * The rules that a sound index keeps, each as a query for what breaks it. A query gives: the inode concerned (or, for
 * rules about entries, the parent), a line about it, and for entries the name.
 */
#include "fs/check_impl.h"

#include "crypto/err.h"

#include <stdio.h>
#include <string.h>

#define IS_DIR  "(i.mode & 61440) = 16384"
#define IS_FILE "(i.mode & 61440) = 32768"
#define IS_LINK "(i.mode & 61440) = 40960"
#define SEALED  "(len + 16 * ((len + 16383) / 16384))" /* seal_size */

#define REPORT_MAX                                                                                 \
    10000 /* problems of one rule that are named; after that it is the index that is lost */

static const char *const rules[] = {
    /* ---- names and inodes ---- */
    "SELECT 1, 'there is no root directory' WHERE NOT EXISTS"
    " (SELECT 1 FROM inode i WHERE i.ino = 1 AND " IS_DIR " AND i.parent = 1)",

    "SELECT e.parent, printf('names inode %d, which does not exist', e.ino), e.name"
    " FROM entry e LEFT JOIN inode i ON i.ino = e.ino WHERE i.ino IS NULL",

    "SELECT e.parent, printf('is in inode %d, which is no directory', e.parent), e.name"
    " FROM entry e LEFT JOIN inode i ON i.ino = e.parent"
    " WHERE i.ino IS NULL OR NOT " IS_DIR " OR i.nlink = 0",

    "SELECT e.parent, 'is of another type than its entry says', e.name"
    " FROM entry e JOIN inode i ON i.ino = e.ino WHERE e.type <> (i.mode & 61440)",

    "SELECT e.parent, 'has a name that no file can have', e.name FROM entry e"
    " WHERE length(e.name) NOT BETWEEN 1 AND 255 OR instr(e.name, x'00') OR instr(e.name, x'2f')"
    " OR e.name IN (x'2e', x'2e2e')",

    "SELECT min(e.parent), 'is there twice in its directory', e.name FROM entry e"
    " GROUP BY e.parent, e.name HAVING count(*) > 1",

    "SELECT i.ino, printf('inode %d has %d names, but its link count is %d', i.ino, coalesce(c.n, 0), i.nlink)"
    " FROM inode i LEFT JOIN (SELECT ino, count(*) AS n FROM entry GROUP BY ino) c ON c.ino = i.ino"
    " WHERE NOT " IS_DIR " AND i.nlink <> coalesce(c.n, 0)",

    "SELECT i.ino, printf('directory %d has %d names', i.ino, coalesce(c.n, 0))"
    " FROM inode i LEFT JOIN (SELECT ino, count(*) AS n FROM entry GROUP BY ino) c ON c.ino = i.ino"
    " WHERE " IS_DIR " AND i.ino <> 1 AND coalesce(c.n, 0) <> (i.nlink > 0)",

    "SELECT i.ino, printf('directory %d has %d subdirectories, but its link count is %d', i.ino,"
    " coalesce(c.n, 0), i.nlink)"
    " FROM inode i LEFT JOIN (SELECT parent, count(*) AS n FROM entry WHERE type = 16384 GROUP BY parent) c"
    " ON c.parent = i.ino WHERE " IS_DIR " AND i.nlink > 0 AND i.nlink <> 2 + coalesce(c.n, 0)",

    "SELECT e.parent, printf('says that it is in directory %d', i.parent), e.name"
    " FROM entry e JOIN inode i ON i.ino = e.ino WHERE " IS_DIR " AND i.parent <> e.parent",

    "WITH RECURSIVE reached(ino) AS (SELECT 1 UNION SELECT e.ino FROM reached r JOIN entry e"
    " ON e.parent = r.ino WHERE e.type = 16384)"
    " SELECT i.ino, printf('directory %d cannot be reached from the root', i.ino)"
    " FROM inode i WHERE " IS_DIR " AND i.nlink > 0 AND i.ino NOT IN (SELECT ino FROM reached)",

    "SELECT i.ino, 'is a symbolic link without its target' FROM inode i LEFT JOIN target t ON t.ino = i.ino"
    " WHERE " IS_LINK " AND (t.ino IS NULL OR length(t.target) <> i.size)",

    "SELECT 0, printf('a link target belongs to inode %d, which is no symbolic link', t.ino)"
    " FROM target t LEFT JOIN inode i ON i.ino = t.ino WHERE i.ino IS NULL OR NOT " IS_LINK,

    "SELECT DISTINCT 0, printf('extended attributes belong to inode %d, which does not exist', x.ino)"
    " FROM xattr x LEFT JOIN inode i ON i.ino = x.ino WHERE i.ino IS NULL",

    /* ---- maps and extents ---- */
    "SELECT i.ino, 'has an impossible size' FROM inode i WHERE i.size < 0",

    "SELECT m.ino, printf('bytes from %d on are mapped to no extent', m.off)"
    " FROM map m LEFT JOIN extent e ON e.eid = m.eid WHERE e.eid IS NULL",

    "SELECT m.ino, printf('bytes from %d on are mapped outside their extent', m.off)"
    " FROM map m JOIN extent e ON e.eid = m.eid WHERE m.off < 0 OR m.len < 1 OR m.eoff < 0 OR m.eoff + m.len > e.len",

    "SELECT o.ino, printf('bytes from %d on are mapped twice', o.off) FROM"
    " (SELECT ino, off, lag(off + len) OVER (PARTITION BY ino ORDER BY off) AS before FROM map) o"
    " WHERE o.before > o.off",

    "SELECT m.ino, printf('inode %d has data, but is no file', m.ino) FROM map m LEFT JOIN inode i ON i.ino = m.ino"
    " WHERE i.ino IS NULL OR NOT " IS_FILE " GROUP BY m.ino",

    "SELECT i.ino, printf('data reaches up to byte %d, but the size is %d', max(m.off + m.len), i.size)"
    " FROM map m JOIN inode i ON i.ino = m.ino GROUP BY m.ino HAVING max(m.off + m.len) > i.size",

    "SELECT i.ino, printf('%d bytes are mapped, but %d are counted', coalesce(c.n, 0), i.stored)"
    " FROM inode i LEFT JOIN (SELECT ino, sum(len) AS n FROM map GROUP BY ino) c ON c.ino = i.ino"
    " WHERE i.stored <> coalesce(c.n, 0)",

    "SELECT coalesce(c.ino, 0), printf('extent %d is used %d times, but %d are counted', e.eid, coalesce(c.n, 0), e.refs)"
    " FROM extent e LEFT JOIN (SELECT eid, min(ino) AS ino, count(*) AS n FROM map GROUP BY eid) c ON c.eid = e.eid"
    " WHERE e.refs <> coalesce(c.n, 0) OR e.refs < 1",

    "SELECT coalesce(c.ino, 0), printf('extent %d has an impossible length or id', e.eid) FROM extent e"
    " LEFT JOIN (SELECT eid, min(ino) AS ino FROM map GROUP BY eid) c ON c.eid = e.eid"
    " WHERE e.len NOT BETWEEN 1 AND 1048576 OR length(e.id) <> 16",

    "SELECT coalesce(c.ino, 0), printf('the bytes of extent %d are neither here nor on the store', e.eid)"
    " FROM extent e LEFT JOIN (SELECT eid, min(ino) AS ino FROM map GROUP BY eid) c ON c.eid = e.eid"
    " WHERE e.seg = 0 AND e.pack = 0",

    "SELECT coalesce(c.ino, 0), printf('extent %d lies in the same place as another', o.eid) FROM (SELECT eid, off,"
    " lag(off + " SEALED
    ") OVER (PARTITION BY seg ORDER BY off) AS before FROM extent WHERE seg <> 0) o"
    " LEFT JOIN (SELECT eid, min(ino) AS ino FROM map GROUP BY eid) c ON c.eid = o.eid WHERE o.before > o.off",
};

/* What a rule found, copied so that it is reported without the lock. */
struct finding {
    uint64_t ino;
    uint32_t what_len, name_len; /* the bytes follow; the line with its NUL */
    bool entry;
};

static void put_finding(struct bytes_out *found, sqlite3_stmt *stmt)
{
    struct finding f = {.ino = (uint64_t)sqlite3_column_int64(stmt, 0),
                        .entry = sqlite3_column_count(stmt) > 2};
    const void *what = sqlite3_column_text(stmt, 1);
    f.what_len = (uint32_t)sqlite3_column_bytes(stmt, 1);
    const void *name = f.entry ? sqlite3_column_blob(stmt, 2) : NULL;
    f.name_len = name ? (uint32_t)sqlite3_column_bytes(stmt, 2) : 0;
    bytes_put(found, &f, sizeof(f));
    bytes_put(found, what, f.what_len);
    bytes_put_u8(found, 0);
    bytes_put(found, name, f.name_len);
}

static int report_findings(struct check *c, const struct bytes_out *found)
{
    int err = found->bad ? ERR_NOMEM : ERR_OK;
    for (size_t at = 0; !err && at < found->len;) {
        struct finding f;
        memcpy(&f, found->p + at, sizeof(f));
        const char *what = (const char *)found->p + at + sizeof(f);
        const char *name = what + f.what_len + 1;
        err = f.entry ? check_report_entry(c, f.ino, name, f.name_len, what)
                      : check_report(c, f.ino, what);
        at += sizeof(f) + f.what_len + 1 + f.name_len;
    }
    return err;
}

/* SQLite calls it every few thousand steps of a query. */
static int is_cancelled(void *ctx)
{
    const struct check *c = ctx;
    return c->options->cancelled && *c->options->cancelled;
}

static int run_rule(struct check *c, const char *sql,
                    void (*row)(struct bytes_out *, sqlite3_stmt *))
{
    struct bytes_out found;
    sqlite3_stmt *stmt;
    int rc = SQLITE_DONE;

    bytes_out_init(&found);
    index_lock(c->ix);
    int err = index_prepare(c->ix, sql, &stmt);
    if (!err) {
        sqlite3 *db = sqlite3_db_handle(stmt);
        sqlite3_progress_handler(db, 10000, is_cancelled, c);
        for (int n = 0; n < REPORT_MAX && (rc = sqlite3_step(stmt)) == SQLITE_ROW; n++)
            row(&found, stmt);
        sqlite3_progress_handler(db, 0, NULL, NULL);
        sqlite3_finalize(stmt);
    }
    index_unlock(c->ix);
    if (!err && rc == SQLITE_INTERRUPT)
        err = ERR_INTR;
    if (!err)
        err = report_findings(c, &found);
    if (!err && rc != SQLITE_DONE && rc != SQLITE_ROW)
        err = check_report(c, 0, "the index cannot be read: it is damaged");
    bytes_out_release(&found);
    return err;
}

/* A row of PRAGMA integrity_check: "ok", or what is wrong. */
static void put_integrity(struct bytes_out *found, sqlite3_stmt *stmt)
{
    const char *text = (const char *)sqlite3_column_text(stmt, 0);
    if (text && strcmp(text, "ok") == 0)
        return;
    char what[400];
    snprintf(what, sizeof(what), "index: %s", text ? text : "damaged");
    for (char *p = what; *p; p++)
        if (*p == '\n')
            *p = ' ';
    struct finding f = {.what_len = (uint32_t)strlen(what)};
    bytes_put(found, &f, sizeof(f));
    bytes_put(found, what, f.what_len + 1);
}

int check_refs(struct check *c)
{
    int err = run_rule(c, "PRAGMA integrity_check", put_integrity);
    for (size_t i = 0; !err && i < sizeof(rules) / sizeof(rules[0]); i++)
        err = run_rule(c, rules[i], put_finding);
    return err;
}
