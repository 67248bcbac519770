/*
 * Everything that is on the stores, verified: what a clone needs (header, recovery slot, key box, roster), packs whole (their hash, and
 * every live extent in them opened), batches along their chains.
 */
#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/log.h"
#include "fs/tree.h"
#include "sync/batch.h"
#include "sync/chain.h"
#include "sync/engine_impl.h"
#include "sync/engine_live.h"
#include "sync/join_store.h"
#include "sync/keybox.h"
#include "sync/ledger.h"
#include "sync/members.h"
#include "sync/pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct checking {
    struct engine *e;
    struct vault *vault;
    struct index *ix;
    struct engine_watch *watch;
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void (*problem)(void *ctx, const char *path, const char *what);
    void *ctx;
    struct engine_check_result *result;
    uint64_t done, total;
    struct roster *roster;
};

static bool cancelled(const struct checking *c)
{
    return atomic_load(&c->watch->stop);
}

static void report(struct checking *c, const char *path, const char *what)
{
    c->result->problems++;
    c->problem(c->ctx, path, what);
}

static void step(struct checking *c, uint64_t bytes)
{
    c->done += bytes;
    if (c->progress)
        c->progress(c->ctx, c->done, c->total);
}

/* ---- which files ---- */

/* Names every file that uses the extent. */
static void report_extent(struct checking *c, uint64_t eid, const char *what)
{
    uint64_t inos[16];
    size_t n = 0;
    sqlite3_stmt *stmt;
    index_lock(c->ix);
    if (!index_prepare(c->ix, "SELECT DISTINCT ino FROM map WHERE eid = ?1 LIMIT 16", &stmt)) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)eid);
        while (n < 16 && sqlite3_step(stmt) == SQLITE_ROW)
            inos[n++] = (uint64_t)sqlite3_column_int64(stmt, 0);
        sqlite3_finalize(stmt);
    }
    index_unlock(c->ix);
    for (size_t i = 0; i < n; i++) {
        struct bytes_out path;
        bytes_out_init(&path);
        int err = tree_path(c->vault, inos[i], &path);
        bytes_put_u8(&path, 0);
        report(c, err || path.bad ? NULL : (const char *)path.p, what);
        bytes_out_release(&path);
    }
}

/* ---- packs ---- */

static bool opens(struct checking *c, const struct engine_extent *l, const struct bytes_out *pack,
                  uint8_t *plain)
{
    const struct seal_key *key = vault_seal_key(c->vault, l->epoch);
    if (!key || l->len < 1 || l->len > SEAL_EXTENT_MAX || l->off > pack->len ||
        seal_size(l->len) > pack->len - l->off)
        return false;
    return seal_open(key, l->id, l->len, 0, (l->len + SEAL_BLOCK - 1) / SEAL_BLOCK,
                     pack->p + l->off, plain) == 0;
}

static int check_pack_on(struct checking *c, const struct stores_handle *h,
                         const struct ledger_pack *pack, const struct engine_extent *live, size_t n,
                         uint8_t *plain)
{
    char name[PACK_NAME_LEN], what[160];
    struct bytes_out bytes;
    bytes_out_init(&bytes);
    pack_name(pack->hash, name);
    int err = store_get(h->store, name, 0, 0, PACK_SIZE, &bytes);
    const char *wrong = NULL;
    if (err == ERR_NOENT)
        wrong = "is missing on the store";
    else if (err == ERR_FORMAT || (!err && pack_check_hash(bytes.p, bytes.len, pack->hash)))
        wrong = "is damaged on the store";
    else if (err) {
        bytes_out_release(&bytes);
        return err;
    }
    c->result->packs++;
    c->result->bytes += bytes.len;
    for (size_t i = 0; i < n; i++) {
        c->result->extents++;
        const bool good = err != ERR_NOENT && opens(c, &live[i], &bytes, plain);
        if (good)
            continue;
        snprintf(what, sizeof(what), "%u bytes of it: pack %.12s... %s", live[i].len, name + 9,
                 wrong ? wrong : "does not hold them");
        report_extent(c, live[i].eid, what);
    }
    if (wrong && n) {
        snprintf(what, sizeof(what), "%s %s (%s)", name, wrong, store_url(h->store));
        report(c, NULL, what);
    }
    bytes_out_release(&bytes);
    return 0;
}

static int pack_size(struct checking *c, uint64_t pid, uint64_t *size)
{
    struct ledger_pack pack;
    index_lock(c->ix);
    int err = ledger_pack_get(c->ix, pid, &pack);
    index_unlock(c->ix);
    *size = err ? 0 : pack.size;
    return err;
}

static int check_pack(struct checking *c, struct engine_live *live, size_t i, uint8_t *plain)
{
    struct ledger_pack pack;
    const struct engine_extent *list;
    size_t n;
    index_lock(c->ix);
    int err = ledger_pack_get(c->ix, engine_live_pid(live, i), &pack);
    index_unlock(c->ix);
    if (!err)
        err = engine_live_get(live, i, &list, &n);
    /* One that holds nothing alive may be gone. */
    for (size_t k = 0; k < c->e->count && !err && n; k++) {
        err = check_pack_on(c, &c->e->handles[k], &pack, list, n, plain);
        step(c, pack.size);
    }
    return err;
}

static int check_packs(struct checking *c)
{
    struct engine_live *live = NULL;
    uint8_t *plain = malloc(SEAL_EXTENT_MAX);
    int err = plain ? engine_live_new(&live, c->ix, ENGINE_LIVE_MAX, &c->watch->stop) : ERR_NOMEM;
    const size_t n = err ? 0 : engine_live_count(live);
    for (size_t i = 0; i < n && !err; i++) {
        uint64_t size;
        err = pack_size(c, engine_live_pid(live, i), &size);
        c->total += size * c->e->count;
    }
    for (size_t i = 0; i < n && !err; i++)
        err = cancelled(c) ? ERR_INTR : check_pack(c, live, i, plain);
    engine_live_free(live);
    if (plain)
        secret_wipe(plain, SEAL_EXTENT_MAX);
    free(plain);
    return err;
}

/* ---- what a clone needs ---- */

/* What is under that name must be these bytes: we have made or verified them. */
static int check_bytes(struct checking *c, const struct stores_handle *h, const char *name,
                       const void *p, size_t len)
{
    char what[300];
    struct bytes_out bytes;
    bytes_out_init(&bytes);
    int err = store_get(h->store, name, 0, 0, len, &bytes);
    const bool same = !err && bytes.len == len && memcmp(bytes.p, p, len) == 0;
    c->result->bytes += bytes.len;
    bytes_out_release(&bytes);
    if (same || (err && err != ERR_NOENT && err != ERR_FORMAT))
        return err;
    snprintf(what, sizeof(what), "%s is %s on the store (%.120s)", name,
             err == ERR_NOENT ? "missing" : "damaged", store_url(h->store));
    report(c, NULL, what);
    return 0;
}

static int check_header(struct checking *c, const struct stores_handle *h)
{
    uint8_t id[32];
    char what[300];
    int err = join_store_header(h->store, id);
    if (!err && memcmp(id, vault_id(c->vault), sizeof(id)) == 0)
        return 0;
    if (err && err != ERR_NOENT && err != ERR_NOTOURS && err != ERR_VERSION)
        return err;
    snprintf(what, sizeof(what), "the header is %s on the store (%.120s)",
             err == ERR_NOENT ? "missing" : "damaged", store_url(h->store));
    report(c, NULL, what);
    return 0;
}

static int check_own_box(struct checking *c, const struct stores_handle *h,
                         const struct roster_device *self)
{
    char name[KEYBOX_NAME_LEN];
    struct bytes_out box;
    bytes_out_init(&box);
    index_lock(c->ix);
    int err = index_kv_get(c->ix, "keybox", "own", 3, &box);
    index_unlock(c->ix);
    if (!err) {
        keybox_name(self, name);
        err = check_bytes(c, h, name, box.p, box.len);
    }
    bytes_out_release(&box);
    return err == ERR_NOENT ? 0 : err; /* none was made yet: no store was ever prepared */
}

static int check_members(struct checking *c, const struct stores_handle *h)
{
    const struct keyring *keyring = vault_keyring(c->vault);
    const struct roster_device *self = roster_by_tag(c->roster, keyring->device_tag);
    int err = check_header(c, h);
    if (!err)
        err = check_bytes(c, h, KEYBOX_RECOVERY, keyring->recovery, keyring->recovery_len);
    if (!err && self)
        err = check_own_box(c, h, self);
    for (size_t i = 0; i < roster_count(c->roster) && !err; i++) {
        const struct roster_device *d = roster_at(c->roster, i);
        struct ledger_head head;
        char name[64];
        index_lock(c->ix);
        err = ledger_head_get(c->ix, d->tag, &head);
        index_unlock(c->ix);
        if (d != self && d->n && !head.seq)
            continue; /* it has written nothing: nobody mirrors it yet */
        if (!err)
            err = cancelled(c) ? ERR_INTR : roster_object_name(d->record, d->record_len, name);
        if (!err)
            err = check_bytes(c, h, name, d->record, d->record_len);
    }
    return err;
}

/* ---- journals ---- */

/* ERR_NOENT: not known here. */
static int known_hash(struct checking *c, const struct roster_device *d, uint64_t seq,
                      uint8_t hash[32])
{
    struct bytes_out own;
    bytes_out_init(&own);
    index_lock(c->ix);
    int err = chain_hash(c->ix, d->tag, seq, hash);
    if (err == ERR_NOENT && d->tag == vault_keyring(c->vault)->device_tag) {
        err = ledger_outbox_get(c->ix, seq, &own); /* written since the last pull */
        if (!err)
            kdf_hash(hash, "obs-batch", own.p, own.len);
    }
    index_unlock(c->ix);
    bytes_out_release(&own);
    return err;
}

static int check_batch(struct checking *c, const struct stores_handle *h,
                       const struct roster_device *d, uint64_t seq, const uint8_t known[32])
{
    char name[BATCH_NAME_LEN], what[300];
    uint8_t hash[32];
    struct batch_head head;
    struct bytes_out bytes;
    bytes_out_init(&bytes);
    batch_name(d->store_name, seq, name);
    int err = store_get(h->store, name, 0, 0, BATCH_MAX, &bytes);
    const char *wrong = err == ERR_NOENT ? "is missing on the store" : "is damaged on the store";
    if (err && err != ERR_NOENT && err != ERR_FORMAT) {
        bytes_out_release(&bytes);
        return err;
    }
    bool bad = err || batch_open_head(bytes.p, bytes.len, &head, hash);
    if (!bad) {
        bad = memcmp(hash, known, 32) != 0 || head.seq != seq;
        batch_head_release(&head);
    }
    c->result->batches++;
    c->result->bytes += bytes.len;
    if (bad) {
        snprintf(what, sizeof(what), "%s %s (%.120s)", name, wrong, store_url(h->store));
        report(c, NULL, what);
    }
    bytes_out_release(&bytes);
    return 0;
}

static int check_journal(struct checking *c, const struct roster_device *d)
{
    struct ledger_head head;
    const uint32_t self = vault_keyring(c->vault)->device_tag;
    int err = 0;
    index_lock(c->ix);
    err = ledger_head_get(c->ix, d->tag, &head);
    index_unlock(c->ix);
    for (size_t i = 0; i < c->e->count && !err; i++) {
        uint64_t last = head.seq;
        if (d->tag == self) { /* the rest has not been sent */
            index_lock(c->ix);
            err = ledger_acked_get(c->ix, c->e->handles[i].id, self, &last);
            index_unlock(c->ix);
        }
        for (uint64_t seq = 1; seq <= last && !err; seq++) {
            uint8_t hash[32];
            if (cancelled(c))
                return ERR_INTR;
            err = known_hash(c, d, seq, hash);
            err = err == ERR_NOENT ? ERR_FORMAT : err;
            if (!err)
                err = check_batch(c, &c->e->handles[i], d, seq, hash);
        }
    }
    return err;
}

static int check_journals(struct checking *c)
{
    int err = members_load(c->vault, &c->roster);
    for (size_t i = 0; !err && i < c->e->count; i++)
        err = check_members(c, &c->e->handles[i]);
    for (size_t i = 0; !err && i < roster_count(c->roster); i++)
        err = check_journal(c, roster_at(c->roster, i));
    roster_free(c->roster);
    return err;
}

int engine_check(struct engine *e, void (*progress)(void *ctx, uint64_t done, uint64_t total),
                 void (*problem)(void *ctx, const char *path, const char *what), void *ctx,
                 struct engine_check_result *result)
{
    struct engine_watch watch;
    struct checking c = {.e = e,
                         .vault = e->vault,
                         .ix = vault_index(e->vault),
                         .watch = &watch,
                         .progress = progress,
                         .problem = problem,
                         .ctx = ctx,
                         .result = result};
    memset(result, 0, sizeof(*result));
    atomic_store(&e->cancel, false);
    int err = engine_lock_run(e, &e->cancel);
    if (err)
        return err;
    err = engine_open_stores(e);
    if (!err && e->open_err)
        err = e->open_err;
    if (!err)
        err = engine_watch_begin(&watch, e, &e->cancel);
    if (!err) {
        err = check_packs(&c);
        if (!err)
            err = check_journals(&c);
        if (atomic_load(&watch.stop))
            err = ERR_INTR;
        engine_watch_end(&watch);
    }
    pthread_mutex_unlock(&e->run);
    return err;
}
