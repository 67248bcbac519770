#include "crypto/err.h"
#include "sync/engine_impl.h"
#include "sync/ledger.h"

#include <string.h>

static int count_row(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    ++*(uint64_t *)ctx;
    return 0;
}

static uint64_t count_entries(struct index *ix)
{
    sqlite3_stmt *stmt;
    uint64_t n = 0;
    if (index_prepare(ix, "SELECT count(*) FROM entry WHERE dirty <> 0", &stmt))
        return 0;
    if (sqlite3_step(stmt) == SQLITE_ROW)
        n = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

/* Batches of ours that a store does not have yet. Needs the index lock. */
static uint64_t count_outbox(struct engine *e, struct index *ix, const uint32_t *stores, size_t n)
{
    struct ledger_head head;
    const uint32_t self = vault_keyring(e->vault)->device_tag;
    uint64_t most = 0;
    if (ledger_head_get(ix, self, &head))
        return 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t acked;
        if (!ledger_acked_get(ix, stores[i], self, &acked) && head.seq > acked &&
            head.seq - acked > most)
            most = head.seq - acked;
    }
    return most;
}

void engine_count(struct engine *e, struct engine_status *status)
{
    struct index *ix = vault_index(e->vault);
    struct index_stats stats = {0};
    struct stores_item *items = NULL;
    uint32_t ids[STORES_MAX];
    size_t n = 0;
    uint64_t gone = 0;
    if (stores_load(e->vault, &items, &n))
        n = 0;
    status->store_url[0] = '\0';
    status->store_count = n;
    for (size_t i = 0; i < n && i < STORES_MAX; i++)
        ids[i] = items[i].id;
    if (n)
        memcpy(status->store_url, items[0].url, sizeof(status->store_url));
    stores_free(items, n);
    index_lock(ix);
    (void)index_stats(ix, &stats);
    (void)index_kv_scan(ix, "gone-entry", NULL, 0, count_row, &gone);
    (void)index_kv_scan(ix, "gone-inode", NULL, 0, count_row, &gone);
    status->pending_bytes = stats.unpacked_bytes;
    status->pending_changes = stats.dirty_inodes + gone + count_entries(ix) +
                              count_outbox(e, ix, ids, n < STORES_MAX ? n : STORES_MAX);
    index_unlock(ix);
}

void engine_load_last_sync(struct engine *e)
{
    struct index *ix = vault_index(e->vault);
    struct bytes_out value;
    bytes_out_init(&value);
    index_lock(ix);
    if (index_kv_get(ix, "engine", "last-sync", 9, &value) == 0 && value.len == 8)
        e->status.last_sync = (int64_t)bytes_from_le64(value.p);
    index_unlock(ix);
    bytes_out_release(&value);
}

/* For people only: nothing rests on it. */
void engine_save_last_sync(struct engine *e, int64_t when)
{
    struct index *ix = vault_index(e->vault);
    uint8_t value[8];
    bytes_le64(value, (uint64_t)when);
    index_lock(ix);
    if (index_begin(ix, INDEX_REMOTE, 256) == 0) {
        (void)index_kv_put(ix, "engine", "last-sync", 9, value, sizeof(value));
        index_end(ix);
    }
    index_unlock(ix);
}
