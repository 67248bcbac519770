/*
 * Entries of directories. [index-cookie]
 *
 * The cookie of a name is (the low 48 bits of SipHash(name) << 14) + k, with the first k that is free; 0, 1 and 2 are never
 * used. So a name is found by looking at the few rows of its window of 2^14 cookies (nearly always none or one), its place
 * in readdir never changes while it exists, and nothing can be aimed at one window without the key.
 */
#include "fs/index_private.h"

#include "crypto/err.h"

#include <sodium.h>
#include <string.h>

#define WINDOW_BITS 14
#define WINDOW_MASK ((UINT64_C(1) << WINDOW_BITS) - 1)
#define COOKIE_MIN  UINT64_C(3)

static void window_of(const struct index *ix, const char *name, size_t len, uint64_t *low,
                      uint64_t *high)
{
    uint8_t hash[crypto_shorthash_BYTES];
    crypto_shorthash(hash, (const uint8_t *)name, len, ix->hash_key);
    *low = (bytes_from_le64(hash) & ((UINT64_C(1) << 48) - 1)) << WINDOW_BITS;
    *high = *low | WINDOW_MASK;
    if (*low < COOKIE_MIN)
        *low = COOKIE_MIN;
}

static void get_entry(sqlite3_stmt *stmt, uint64_t parent, struct entry *entry)
{
    const void *name = sqlite3_column_blob(stmt, 1);
    size_t len = (size_t)sqlite3_column_bytes(stmt, 1);
    if (len > NAME_LEN_MAX)
        len = NAME_LEN_MAX;
    entry->parent = parent;
    entry->cookie = index_column(stmt, 0);
    if (len)
        memcpy(entry->name, name, len);
    entry->name[len] = '\0';
    entry->name_len = (uint8_t)len;
    entry->ino = index_column(stmt, 2);
    entry->type = (uint32_t)index_column(stmt, 3);
    entry->version = (struct version){index_column(stmt, 4), (uint32_t)index_column(stmt, 5)};
    entry->dirty = index_column(stmt, 6) != 0;
}

/* 1: found in *entry. 0: not there, and entry->cookie is the place for it. */
static int find(struct index *ix, uint64_t parent, const char *name, size_t len,
                struct entry *entry)
{
    uint64_t low, high;
    window_of(ix, name, len, &low, &high);
    sqlite3_stmt *stmt = ix->stmt[STMT_ENTRY_WINDOW];
    index_bind(stmt, 1, parent);
    index_bind(stmt, 2, low);
    index_bind(stmt, 3, high);

    uint64_t place = low;
    int got;
    while ((got = index_read(stmt)) == 1) {
        if ((size_t)sqlite3_column_bytes(stmt, 1) == len &&
            memcmp(sqlite3_column_blob(stmt, 1), name, len) == 0) {
            get_entry(stmt, parent, entry);
            sqlite3_reset(stmt);
            return 1;
        }
        if (index_column(stmt, 0) == place)
            place++;
    }
    entry->cookie = place;
    return got < 0 ? got : place > high ? ERR_NOSPACE : 0;
}

int index_entry_get(struct index *ix, uint64_t parent, const char *name, size_t len,
                    struct entry *entry)
{
    if (len == 0 || len > NAME_LEN_MAX)
        return len ? ERR_NAMETOOLONG : ERR_NOENT;
    int got = find(ix, parent, name, len, entry);
    return got == 1 ? 0 : got == 0 ? ERR_NOENT : got;
}

static void gone_key(uint8_t key[8 + NAME_LEN_MAX], uint64_t parent, const char *name, size_t len)
{
    index_key_be64(key, parent);
    memcpy(key + 8, name, len);
}

/* A name that comes back before its deletion was published goes on from the published version. */
static int take_tombstone(struct index *ix, const struct entry *entry, struct version *version)
{
    uint8_t key[8 + NAME_LEN_MAX];
    gone_key(key, entry->parent, entry->name, entry->name_len);
    struct bytes_out value;
    bytes_out_init(&value);
    int err = index_kv_get(ix, INDEX_GONE_ENTRY, key, 8u + entry->name_len, &value);
    if (!err && value.len == INDEX_GONE_VALUE) {
        version->lamport = bytes_from_le64(value.p);
        version->device = bytes_from_le32(value.p + 8);
        err = index_kv_drop(ix, INDEX_GONE_ENTRY, key, 8u + entry->name_len);
    }
    bytes_out_release(&value);
    return err == ERR_NOENT ? 0 : err;
}

static int insert(struct index *ix, struct entry *entry)
{
    struct version version = entry->version;
    bool dirty = entry->dirty;
    if (index_local(ix)) {
        version = (struct version){0, 0};
        dirty = true;
        int err = ix->gone_entries ? take_tombstone(ix, entry, &version) : 0;
        if (err)
            return err;
    }
    sqlite3_stmt *stmt = ix->stmt[STMT_ENTRY_INSERT];
    index_bind(stmt, 1, entry->parent);
    index_bind(stmt, 2, entry->cookie);
    index_bind_blob(stmt, 3, entry->name, entry->name_len);
    index_bind(stmt, 4, entry->ino);
    index_bind(stmt, 5, entry->type);
    index_bind(stmt, 6, version.lamport);
    index_bind(stmt, 7, version.device);
    index_bind(stmt, 8, dirty);
    return index_run(ix, stmt);
}

static int point(struct index *ix, const struct entry *entry, const struct entry *old)
{
    const bool local = index_local(ix);
    const struct version version = local ? old->version : entry->version;
    sqlite3_stmt *stmt = ix->stmt[STMT_ENTRY_UPDATE];
    index_bind(stmt, 1, entry->parent);
    index_bind(stmt, 2, entry->cookie);
    index_bind(stmt, 3, entry->ino);
    index_bind(stmt, 4, entry->type);
    index_bind(stmt, 5, version.lamport);
    index_bind(stmt, 6, version.device);
    index_bind(stmt, 7, local || entry->dirty);
    return index_run(ix, stmt);
}

int index_entry_put(struct index *ix, struct entry *entry)
{
    int err = index_change(ix);
    if (err)
        return err;
    if (entry->name_len == 0 || memchr(entry->name, '/', entry->name_len) ||
        memchr(entry->name, 0, entry->name_len) || entry->parent == 0 ||
        entry->parent > INT64_MAX || entry->ino == 0 || entry->ino > INT64_MAX)
        return ERR_INVAL;
    struct entry old;
    int got = find(ix, entry->parent, entry->name, entry->name_len, &old);
    if (got < 0)
        return got;
    entry->cookie = old.cookie;
    err = got ? point(ix, entry, &old) : insert(ix, entry);
    if (!err && index_log(ix))
        note_entry_put(index_log(ix), entry);
    return err;
}

int index_entry_del(struct index *ix, uint64_t parent, const char *name, size_t len)
{
    struct entry old;
    int err = index_change(ix);
    if (!err)
        err = index_entry_get(ix, parent, name, len, &old);
    if (err)
        return err;
    sqlite3_stmt *stmt = ix->stmt[STMT_ENTRY_DEL];
    index_bind(stmt, 1, parent);
    index_bind(stmt, 2, old.cookie);
    if ((err = index_run(ix, stmt)))
        return err;
    if (index_log(ix))
        note_entry_del(index_log(ix), parent, name, len);
    if (!index_local(ix) || old.version.lamport == 0)
        return 0;
    /* [tombstone] */
    uint8_t key[8 + NAME_LEN_MAX], value[INDEX_GONE_VALUE];
    gone_key(key, parent, name, len);
    index_gone_value(value, old.version);
    return index_kv_store(ix, INDEX_GONE_ENTRY, key, 8 + len, value, sizeof(value));
}

int index_entry_scan(struct index *ix, uint64_t parent, uint64_t after, bool with_inodes,
                     int (*each)(void *ctx, const struct entry *entry, const struct inode *inode),
                     void *ctx)
{
    if (after > INT64_MAX)
        return 0;
    sqlite3_stmt *stmt = index_scan_begin(ix, STMT_ENTRY_SCAN);
    if (!stmt)
        return ERR_NOMEM;
    index_bind(stmt, 1, parent);
    index_bind(stmt, 2, after);
    struct entry entry;
    struct inode inode;
    int err = 0, got;
    while (!err && (got = index_read(stmt)) != 0) {
        if (got < 0) {
            err = got;
            break;
        }
        get_entry(stmt, parent, &entry);
        if (with_inodes)
            err = index_row_peek(ix, entry.ino, &inode);
        if (err == ERR_NOENT)
            err = ERR_FORMAT; /* a name of nothing: damage */
        if (!err)
            err = each(ctx, &entry, with_inodes ? &inode : NULL);
    }
    index_scan_end(ix, STMT_ENTRY_SCAN, stmt);
    return err;
}

int index_entry_any(struct index *ix, uint64_t parent, bool *any)
{
    sqlite3_stmt *stmt = ix->stmt[STMT_ENTRY_ANY];
    index_bind(stmt, 1, parent);
    int got = index_read(stmt);
    if (got < 0)
        return got;
    *any = got == 1;
    sqlite3_reset(stmt);
    return 0;
}
