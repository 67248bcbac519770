/*
 * The tables of the index and the statements on them. [index-schema]
 *
 * Integers are SQLite's signed 64 bits; everything of ours fits (inode numbers, offsets and cookies are below 2^63). Versions
 * are two columns, lamport and device tag.
 */
#include "fs/index_private.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/pagevfs.h"

#include <string.h>

#define SCHEMA_VERSION 1

/*
 * entry: the primary key is the cookie, so that one b-tree serves lookup (a range of 2^14 cookies), insertion and
 * readdir. map, dirty_range: file ranges in order. extent.pack 0: not on the store yet. dead: id orders what a checkpoint has
 * seen. The partial indexes are small: they hold only what is waiting for sync or for deletion.
 */
static const char schema[] =
    "CREATE TABLE state(id INTEGER PRIMARY KEY, seg INTEGER, off INTEGER, ino_next INTEGER, eid_next INTEGER,"
    " inodes INTEGER, extents INTEGER, mapped INTEGER, local INTEGER, unpacked INTEGER, dirty INTEGER);"
    "CREATE TABLE inode(ino INTEGER PRIMARY KEY, mode INTEGER, nlink INTEGER, uid INTEGER, gid INTEGER,"
    " rdev INTEGER, size INTEGER, stored INTEGER, atime INTEGER, mtime INTEGER, ctime INTEGER, btime INTEGER,"
    " parent INTEGER, av_l INTEGER, av_d INTEGER, cv_l INTEGER, cv_d INTEGER, xv_l INTEGER, xv_d INTEGER,"
    " dirty INTEGER);"
    "CREATE INDEX inode_dirty ON inode(dirty) WHERE dirty <> 0;"
    "CREATE INDEX inode_orphan ON inode(nlink) WHERE nlink = 0;"
    "CREATE TABLE target(ino INTEGER PRIMARY KEY, target BLOB);"
    "CREATE TABLE entry(parent INTEGER, cookie INTEGER, name BLOB, ino INTEGER, type INTEGER, v_l INTEGER,"
    " v_d INTEGER, dirty INTEGER, PRIMARY KEY(parent, cookie)) WITHOUT ROWID;"
    "CREATE INDEX entry_dirty ON entry(dirty) WHERE dirty <> 0;"
    "CREATE TABLE xattr(ino INTEGER, name BLOB, value BLOB, PRIMARY KEY(ino, name)) WITHOUT ROWID;"
    "CREATE TABLE extent(eid INTEGER PRIMARY KEY, id BLOB UNIQUE, len INTEGER, epoch INTEGER, refs INTEGER,"
    " seg INTEGER, off INTEGER, pack INTEGER, pack_off INTEGER);"
    "CREATE INDEX extent_unpacked ON extent(pack) WHERE pack = 0;"
    "CREATE TABLE map(ino INTEGER, off INTEGER, len INTEGER, eid INTEGER, eoff INTEGER,"
    " PRIMARY KEY(ino, off)) WITHOUT ROWID;"
    "CREATE TABLE dirty_range(ino INTEGER, off INTEGER, len INTEGER, PRIMARY KEY(ino, off)) WITHOUT ROWID;"
    "CREATE TABLE kv(space TEXT, key BLOB, value BLOB, PRIMARY KEY(space, key)) WITHOUT ROWID;"
    "CREATE TABLE seg(seg INTEGER PRIMARY KEY, live INTEGER);"
    "CREATE TABLE dead(id INTEGER PRIMARY KEY, seg INTEGER, off INTEGER, len INTEGER);"
    "INSERT INTO state VALUES(1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0);"
    "PRAGMA user_version = 1";

#define EXTENT_COLUMNS "eid, id, len, epoch, refs, seg, off, pack, pack_off"

static const char *const sql[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_STATE_GET] =
        "SELECT seg, off, ino_next, eid_next, inodes, extents, mapped, local, unpacked, dirty"
        " FROM state WHERE id = 1",
    [STMT_STATE_PUT] =
        "UPDATE state SET seg = ?1, off = ?2, ino_next = ?3, eid_next = ?4, inodes = ?5,"
        " extents = ?6, mapped = ?7, local = ?8, unpacked = ?9, dirty = ?10 WHERE id = 1",
    [STMT_INODE_GET] =
        "SELECT mode, nlink, uid, gid, rdev, size, stored, atime, mtime, ctime, btime, parent,"
        " av_l, av_d, cv_l, cv_d, xv_l, xv_d, dirty FROM inode WHERE ino = ?1",
    [STMT_INODE_INSERT] =
        "INSERT INTO inode(ino, mode, uid, gid, rdev, size, stored, atime, mtime, ctime, btime,"
        " parent, av_l, av_d, cv_l, cv_d, xv_l, xv_d, nlink, dirty) VALUES(?1, ?2, ?3, ?4,"
        " ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
    [STMT_INODE_UPDATE] =
        "UPDATE inode SET mode = ?2, uid = ?3, gid = ?4, rdev = ?5, size = ?6, stored = ?7,"
        " atime = ?8, mtime = ?9, ctime = ?10, btime = ?11, parent = ?12, av_l = ?13,"
        " av_d = ?14, cv_l = ?15, cv_d = ?16, xv_l = ?17, xv_d = ?18, nlink = ?19,"
        " dirty = ?20 WHERE ino = ?1",
    /* the same without the columns that the partial indexes look at */
    [STMT_INODE_TOUCH] =
        "UPDATE inode SET mode = ?2, uid = ?3, gid = ?4, rdev = ?5, size = ?6, stored = ?7,"
        " atime = ?8, mtime = ?9, ctime = ?10, btime = ?11, parent = ?12, av_l = ?13,"
        " av_d = ?14, cv_l = ?15, cv_d = ?16, xv_l = ?17, xv_d = ?18 WHERE ino = ?1",
    [STMT_INODE_DEL] = "DELETE FROM inode WHERE ino = ?1",
    [STMT_ORPHANS] = "SELECT ino FROM inode WHERE nlink = 0",
    [STMT_TARGET_GET] = "SELECT target FROM target WHERE ino = ?1",
    [STMT_TARGET_PUT] = "INSERT OR REPLACE INTO target(ino, target) VALUES(?1, ?2)",
    [STMT_TARGET_DEL] = "DELETE FROM target WHERE ino = ?1",
    [STMT_ENTRY_WINDOW] = "SELECT cookie, name, ino, type, v_l, v_d, dirty FROM entry"
                          " WHERE parent = ?1 AND cookie BETWEEN ?2 AND ?3 ORDER BY cookie",
    [STMT_ENTRY_INSERT] = "INSERT INTO entry(parent, cookie, name, ino, type, v_l, v_d, dirty)"
                          " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [STMT_ENTRY_UPDATE] = "UPDATE entry SET ino = ?3, type = ?4, v_l = ?5, v_d = ?6, dirty = ?7"
                          " WHERE parent = ?1 AND cookie = ?2",
    [STMT_ENTRY_DEL] = "DELETE FROM entry WHERE parent = ?1 AND cookie = ?2",
    [STMT_ENTRY_SCAN] = "SELECT cookie, name, ino, type, v_l, v_d, dirty FROM entry"
                        " WHERE parent = ?1 AND cookie > ?2 ORDER BY cookie",
    [STMT_ENTRY_ANY] = "SELECT 1 FROM entry WHERE parent = ?1 LIMIT 1",
    [STMT_XATTR_GET] = "SELECT value FROM xattr WHERE ino = ?1 AND name = ?2",
    [STMT_XATTR_PUT] = "INSERT OR REPLACE INTO xattr(ino, name, value) VALUES(?1, ?2, ?3)",
    [STMT_XATTR_DEL] = "DELETE FROM xattr WHERE ino = ?1 AND name = ?2",
    [STMT_XATTR_SCAN] = "SELECT name, value FROM xattr WHERE ino = ?1 ORDER BY name",
    [STMT_XATTR_CLEAR] = "DELETE FROM xattr WHERE ino = ?1",
    [STMT_EXTENT_INSERT] =
        "INSERT INTO extent(" EXTENT_COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [STMT_EXTENT_GET] = "SELECT " EXTENT_COLUMNS " FROM extent WHERE eid = ?1",
    [STMT_EXTENT_BY_ID] = "SELECT " EXTENT_COLUMNS " FROM extent WHERE id = ?1",
    [STMT_EXTENT_REF] = "UPDATE extent SET refs = refs + 1 WHERE eid = ?1 AND len >= ?2",
    [STMT_EXTENT_UNREF] = "UPDATE extent SET refs = refs - 1 WHERE eid = ?1",
    [STMT_EXTENT_DEL] = "DELETE FROM extent WHERE eid = ?1",
    [STMT_EXTENT_MOVE] =
        "UPDATE extent SET seg = ?2, off = ?3, pack = ?4, pack_off = ?5 WHERE eid = ?1",
    [STMT_MAP_BELOW] =
        "SELECT off, len, eid, eoff FROM map WHERE ino = ?1 AND off < ?2 ORDER BY off DESC",
    [STMT_MAP_PUT] =
        "INSERT OR REPLACE INTO map(ino, off, len, eid, eoff) VALUES(?1, ?2, ?3, ?4, ?5)",
    [STMT_MAP_CUT] = "UPDATE map SET len = ?3 WHERE ino = ?1 AND off = ?2",
    [STMT_MAP_DEL] = "DELETE FROM map WHERE ino = ?1 AND off = ?2",
    /* ?4: where to start when no row begins at or before ?2 */
    [STMT_MAP_GET] =
        "SELECT m.off, m.len, m.eid, m.eoff, e.id, e.len, e.epoch, e.refs, e.seg, e.off, e.pack,"
        " e.pack_off FROM map m JOIN extent e ON e.eid = m.eid WHERE m.ino = ?1 AND m.off < ?3"
        " AND m.off >= coalesce((SELECT max(off) FROM map WHERE ino = ?1 AND off <= ?2), ?2)"
        " ORDER BY m.off",
    [STMT_RANGE_BELOW] =
        "SELECT off, len FROM dirty_range WHERE ino = ?1 AND off <= ?2 ORDER BY off DESC",
    [STMT_RANGE_PUT] = "INSERT OR REPLACE INTO dirty_range(ino, off, len) VALUES(?1, ?2, ?3)",
    [STMT_RANGE_DEL] = "DELETE FROM dirty_range WHERE ino = ?1 AND off = ?2",
    [STMT_RANGE_SCAN] = "SELECT off, len FROM dirty_range WHERE ino = ?1 ORDER BY off",
    [STMT_RANGE_CLEAR] = "DELETE FROM dirty_range WHERE ino = ?1",
    [STMT_KV_GET] = "SELECT value FROM kv WHERE space = ?1 AND key = ?2",
    [STMT_KV_PUT] = "INSERT OR REPLACE INTO kv(space, key, value) VALUES(?1, ?2, ?3)",
    [STMT_KV_DEL] = "DELETE FROM kv WHERE space = ?1 AND key = ?2",
    [STMT_KV_SCAN] = "SELECT key, value FROM kv WHERE space = ?1 AND key >= ?2 ORDER BY key",
    [STMT_SEG_SCAN] = "SELECT seg, live FROM seg ORDER BY seg",
    [STMT_SEG_PUT] = "INSERT OR REPLACE INTO seg(seg, live) VALUES(?1, ?2)",
    [STMT_SEG_DEL] = "DELETE FROM seg WHERE seg = ?1",
    [STMT_DEAD_PUT] = "INSERT INTO dead(seg, off, len) VALUES(?1, ?2, ?3)",
    [STMT_DEAD_SCAN] = "SELECT id, seg, off, len FROM dead ORDER BY seg, off",
    [STMT_DEAD_DEL] = "DELETE FROM dead WHERE id <= ?1",
};

static int run_text(struct index *ix, const char *text)
{
    int rc = sqlite3_exec(ix->db, text, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return 0;
    rc = sqlite3_extended_errcode(ix->db);
    log_error("index: %s", sqlite3_errstr(rc));
    return pagevfs_err(rc);
}

static int schema_version(struct index *ix, int *version)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(ix->db, "PRAGMA user_version", -1, &stmt, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        *version = sqlite3_column_int(stmt, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_OK ? 0 : pagevfs_err(rc);
}

int index_schema_open(struct index *ix, bool create)
{
    /* Pages are sealed, so what is deleted need not be overwritten. The cache is what keeps a large tree quick. */
    int err = run_text(ix, "PRAGMA secure_delete = OFF; PRAGMA cache_size = -12288");
    int version = 0;
    if (!err)
        err = schema_version(ix, &version);
    if (!err && version == 0 && create) {
        err = run_text(ix, "BEGIN IMMEDIATE");
        if (!err)
            err = run_text(ix, schema);
        if (!err)
            err = run_text(ix, "COMMIT");
        version = SCHEMA_VERSION;
    }
    if (err)
        return err;
    if (version > SCHEMA_VERSION)
        return ERR_VERSION;
    return version == SCHEMA_VERSION ? 0 : ERR_FORMAT;
}

int index_schema_prepare(struct index *ix)
{
    for (int i = 0; i < STMT_COUNT; i++) {
        int rc =
            sqlite3_prepare_v3(ix->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &ix->stmt[i], NULL);
        if (rc != SQLITE_OK) {
            log_error("index: statement %d: %s", i,
                      sqlite3_errstr(sqlite3_extended_errcode(ix->db)));
            return pagevfs_err(rc);
        }
    }
    return 0;
}

void index_schema_finalize(struct index *ix)
{
    for (int i = 0; i < STMT_COUNT; i++) {
        sqlite3_finalize(ix->stmt[i]);
        ix->stmt[i] = NULL;
    }
}

int index_read(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE) {
        rc = sqlite3_extended_errcode(sqlite3_db_handle(stmt));
        log_error("index: cannot read: %s", sqlite3_errstr(rc));
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? 0 : pagevfs_err(rc);
}

int index_run(struct index *ix, sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_DONE) {
        sqlite3_reset(stmt);
        return 0;
    }
    rc = sqlite3_extended_errcode(ix->db);
    sqlite3_reset(stmt);
    return index_fail_sql(ix, rc);
}

sqlite3_stmt *index_scan_begin(struct index *ix, enum index_stmt id)
{
    sqlite3_stmt *stmt = ix->stmt[id];
    if (!sqlite3_stmt_busy(stmt))
        return stmt;
    return sqlite3_prepare_v2(ix->db, sql[id], -1, &stmt, NULL) == SQLITE_OK ? stmt : NULL;
}

void index_scan_end(struct index *ix, enum index_stmt id, sqlite3_stmt *stmt)
{
    if (stmt == ix->stmt[id])
        sqlite3_reset(stmt);
    else
        sqlite3_finalize(stmt);
}

/* [index-replay] While a record of the log is in the database in part. A row of its own, for it is rare. */
#define GROUPS_SPACE "replay"
#define GROUPS_KEY   "groups"

static int load_groups(struct index *ix)
{
    struct bytes_out value;
    bytes_out_init(&value);
    int err = index_kv_get(ix, GROUPS_SPACE, GROUPS_KEY, strlen(GROUPS_KEY), &value);
    ix->state.groups_stored = !err;
    ix->state.groups = 0;
    if (!err && value.len != 8)
        err = ERR_FORMAT;
    if (!err)
        ix->state.groups = bytes_from_le64(value.p);
    bytes_out_release(&value);
    return err == ERR_NOENT ? 0 : err;
}

static int store_groups(struct index *ix)
{
    uint8_t value[8];
    int err = 0;
    bytes_le64(value, ix->state.groups);
    if (ix->state.groups)
        err = index_kv_store(ix, GROUPS_SPACE, GROUPS_KEY, strlen(GROUPS_KEY), value, 8);
    else if (ix->state.groups_stored)
        err = index_kv_drop(ix, GROUPS_SPACE, GROUPS_KEY, strlen(GROUPS_KEY));
    ix->state.groups_stored = ix->state.groups != 0;
    return err;
}

int index_state_load(struct index *ix)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_STATE_GET];
    struct index_state *s = &ix->state;
    int got = index_read(stmt);
    if (got <= 0)
        return got < 0 ? got : ERR_FORMAT;
    s->log.seg = index_column(stmt, 0);
    s->log.off = index_column(stmt, 1);
    s->ino_next = index_column(stmt, 2);
    s->eid_next = index_column(stmt, 3);
    s->stats.inodes = index_column(stmt, 4);
    s->stats.extents = index_column(stmt, 5);
    s->stats.mapped_bytes = index_column(stmt, 6);
    s->stats.local_bytes = index_column(stmt, 7);
    s->stats.unpacked_bytes = index_column(stmt, 8);
    s->stats.dirty_inodes = index_column(stmt, 9);
    sqlite3_reset(stmt);
    return load_groups(ix);
}

int index_state_store(struct index *ix)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_STATE_PUT];
    const struct index_state *s = &ix->state;
    index_bind(stmt, 1, s->log.seg);
    index_bind(stmt, 2, s->log.off);
    index_bind(stmt, 3, s->ino_next);
    index_bind(stmt, 4, s->eid_next);
    index_bind(stmt, 5, s->stats.inodes);
    index_bind(stmt, 6, s->stats.extents);
    index_bind(stmt, 7, s->stats.mapped_bytes);
    index_bind(stmt, 8, s->stats.local_bytes);
    index_bind(stmt, 9, s->stats.unpacked_bytes);
    index_bind(stmt, 10, s->stats.dirty_inodes);
    int err = index_run(ix, stmt);
    return err ? err : store_groups(ix);
}
