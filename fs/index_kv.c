/*
 * Small things by space and key, and extended attributes.
 */
#include "fs/index_private.h"

#include "crypto/err.h"

#include <string.h>

#define XATTR_NAME_MAX 255u

void index_key_be64(uint8_t key[8], uint64_t v)
{
    for (int i = 0; i < 8; i++)
        key[i] = (uint8_t)(v >> (56 - 8 * i));
}

/* [tombstone] */
void index_gone_value(uint8_t value[INDEX_GONE_VALUE], struct version v)
{
    bytes_le64(value, v.lamport);
    bytes_le32(value + 8, v.device);
}

static bool key_valid(const char *space, size_t key_len)
{
    size_t len = strlen(space);
    return len > 0 && len <= NOTE_SPACE_MAX && key_len <= NOTE_KEY_MAX;
}

static void bind_key(sqlite3_stmt *stmt, const char *space, const void *key, size_t key_len)
{
    sqlite3_bind_text(stmt, 1, space, -1, SQLITE_STATIC);
    index_bind_blob(stmt, 2, key, key_len);
}

/* ---- kv ---- */

int index_kv_get(struct index *ix, const char *space, const void *key, size_t key_len,
                 struct bytes_out *value)
{
    if (!key_valid(space, key_len))
        return ERR_INVAL;
    sqlite3_stmt *stmt = ix->stmt[STMT_KV_GET];
    bind_key(stmt, space, key, key_len);
    int got = index_read(stmt);
    if (got <= 0)
        return got < 0 ? got : ERR_NOENT;
    bytes_put(value, sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));
    sqlite3_reset(stmt);
    return value->bad ? ERR_NOMEM : 0;
}

int index_kv_store(struct index *ix, const char *space, const void *key, size_t key_len,
                   const void *value, size_t len)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_KV_PUT];
    bind_key(stmt, space, key, key_len);
    index_bind_blob(stmt, 3, value, len);
    int err = index_run(ix, stmt);
    if (!err && strcmp(space, INDEX_GONE_ENTRY) == 0)
        ix->gone_entries = true;
    return err;
}

int index_kv_drop(struct index *ix, const char *space, const void *key, size_t key_len)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_KV_DEL];
    bind_key(stmt, space, key, key_len);
    return index_run(ix, stmt);
}

int index_kv_put(struct index *ix, const char *space, const void *key, size_t key_len,
                 const void *value, size_t len)
{
    int err = index_change(ix);
    if (!err && (!key_valid(space, key_len) || len > NOTE_VALUE_MAX))
        err = ERR_INVAL;
    if (!err)
        err = index_kv_store(ix, space, key, key_len, value, len);
    if (!err && index_log(ix))
        note_kv_put(index_log(ix), space, key, key_len, value, len);
    return err;
}

int index_kv_del(struct index *ix, const char *space, const void *key, size_t key_len)
{
    int err = index_change(ix);
    if (!err && !key_valid(space, key_len))
        err = ERR_INVAL;
    if (!err)
        err = index_kv_drop(ix, space, key, key_len);
    if (err)
        return err;
    if (sqlite3_changes(ix->db) == 0)
        return ERR_NOENT;
    if (index_log(ix))
        note_kv_del(index_log(ix), space, key, key_len);
    return 0;
}

int index_kv_scan(struct index *ix, const char *space, const void *from, size_t from_len,
                  int (*each)(void *ctx, const void *key, size_t key_len, const void *value,
                              size_t len),
                  void *ctx)
{
    if (!key_valid(space, from_len))
        return ERR_INVAL;
    sqlite3_stmt *stmt = index_scan_begin(ix, STMT_KV_SCAN);
    if (!stmt)
        return ERR_NOMEM;
    bind_key(stmt, space, from, from_len);
    int err = 0, got;
    while (!err && (got = index_read(stmt)) != 0)
        err = got < 0
                  ? got
                  : each(ctx, sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0),
                         sqlite3_column_blob(stmt, 1), (size_t)sqlite3_column_bytes(stmt, 1));
    index_scan_end(ix, STMT_KV_SCAN, stmt);
    return err;
}

static int stop_at_first(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    (void)key, (void)key_len, (void)value, (void)len;
    *(bool *)ctx = true;
    return 1;
}

int index_gone_refresh(struct index *ix)
{
    bool any = false;
    int err = index_kv_scan(ix, INDEX_GONE_ENTRY, NULL, 0, stop_at_first, &any);
    ix->gone_entries = any;
    return err < 0 ? err : 0;
}

/* ---- xattrs ---- */

static int xattr_name(const char *name, size_t *len)
{
    *len = strlen(name);
    return *len > 0 && *len <= XATTR_NAME_MAX ? 0 : ERR_RANGE;
}

int index_xattr_get(struct index *ix, uint64_t ino, const char *name, struct bytes_out *value)
{
    size_t name_len;
    int err = xattr_name(name, &name_len);
    if (err)
        return err;
    sqlite3_stmt *stmt = ix->stmt[STMT_XATTR_GET];
    index_bind(stmt, 1, ino);
    index_bind_blob(stmt, 2, name, name_len);
    int got = index_read(stmt);
    if (got <= 0)
        return got < 0 ? got : ERR_NODATA;
    bytes_put(value, sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));
    sqlite3_reset(stmt);
    return value->bad ? ERR_NOMEM : 0;
}

int index_xattr_put(struct index *ix, uint64_t ino, const char *name, const void *value, size_t len)
{
    size_t name_len;
    struct index_row *row;
    int err = index_change(ix);
    if (!err)
        err = xattr_name(name, &name_len);
    if (!err && len > XATTR_SIZE_LIMIT)
        err = ERR_TOOBIG;
    if (!err)
        err = index_row_get(ix, ino, &row);
    if (err)
        return err;
    sqlite3_stmt *stmt = ix->stmt[STMT_XATTR_PUT];
    index_bind(stmt, 1, ino);
    index_bind_blob(stmt, 2, name, name_len);
    index_bind_blob(stmt, 3, value, len);
    if ((err = index_run(ix, stmt)))
        return err;
    index_row_touch(ix, row, DIRTY_XATTR);
    if (index_log(ix))
        note_xattr_put(index_log(ix), ino, name, value, len);
    return 0;
}

int index_xattr_del(struct index *ix, uint64_t ino, const char *name)
{
    size_t name_len;
    struct index_row *row;
    int err = index_change(ix);
    if (!err)
        err = xattr_name(name, &name_len);
    if (!err)
        err = index_row_get(ix, ino, &row);
    if (err)
        return err;
    sqlite3_stmt *stmt = ix->stmt[STMT_XATTR_DEL];
    index_bind(stmt, 1, ino);
    index_bind_blob(stmt, 2, name, name_len);
    if ((err = index_run(ix, stmt)))
        return err;
    if (sqlite3_changes(ix->db) == 0)
        return ERR_NODATA;
    index_row_touch(ix, row, DIRTY_XATTR);
    if (index_log(ix))
        note_xattr_del(index_log(ix), ino, name);
    return 0;
}

int index_xattr_scan(struct index *ix, uint64_t ino,
                     int (*each)(void *ctx, const char *name, const void *value, size_t len),
                     void *ctx)
{
    sqlite3_stmt *stmt = index_scan_begin(ix, STMT_XATTR_SCAN);
    if (!stmt)
        return ERR_NOMEM;
    index_bind(stmt, 1, ino);
    int err = 0, got;
    while (!err && (got = index_read(stmt)) != 0) {
        if (got < 0) {
            err = got;
            break;
        }
        char name[XATTR_NAME_MAX + 1];
        size_t len = (size_t)sqlite3_column_bytes(stmt, 0);
        if (len > XATTR_NAME_MAX)
            len = XATTR_NAME_MAX;
        memcpy(name, sqlite3_column_blob(stmt, 0), len);
        name[len] = '\0';
        err = each(ctx, name, sqlite3_column_blob(stmt, 1), (size_t)sqlite3_column_bytes(stmt, 1));
    }
    index_scan_end(ix, STMT_XATTR_SCAN, stmt);
    return err;
}

int index_xattr_clear(struct index *ix, uint64_t ino)
{
    index_bind(ix->stmt[STMT_XATTR_CLEAR], 1, ino);
    return index_run(ix, ix->stmt[STMT_XATTR_CLEAR]);
}
