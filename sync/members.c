#include "sync/members.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/ledger.h"

#include <stdlib.h>
#include <string.h>

/* Records read from somewhere, added to the roster in whatever order works. */
struct pending {
    struct bytes_out *records;
    size_t count, cap;
    int err;
};

static void pending_free(struct pending *p)
{
    for (size_t i = 0; i < p->count; i++)
        bytes_out_release(&p->records[i]);
    free(p->records);
}

/* An empty record, to be filled. NULL: no memory, or far more than there can be devices. */
static struct bytes_out *pending_new(struct pending *p)
{
    if (p->count >= 4 * ROSTER_DEVICES_MAX)
        return NULL;
    if (p->count == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 16;
        struct bytes_out *records = realloc(p->records, cap * sizeof(*records));
        if (!records)
            return NULL;
        p->records = records;
        p->cap = cap;
    }
    bytes_out_init(&p->records[p->count]);
    return &p->records[p->count++];
}

/* A record follows another one: go over them until none can be added any more. Returns the first error that is not "not yet". */
static int add_all(struct pending *p, struct roster *roster, size_t *left)
{
    int first = 0;
    bool again = true;
    *left = p->count;
    while (again) {
        again = false;
        for (size_t i = 0; i < p->count; i++) {
            if (!p->records[i].len)
                continue;
            int err = roster_add(roster, p->records[i].p, p->records[i].len);
            if (err == ERR_NOENT)
                continue;
            if (err && (!first || err == ERR_CONTRADICTION || err == ERR_NOMEM))
                first = err;
            bytes_out_reset(&p->records[i]);
            if (!err) {
                again = true;
                --*left;
            }
        }
    }
    return first;
}

static int record_each(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    struct pending *p = ctx;
    struct bytes_out *record = pending_new(p);
    if (!record)
        return ERR_NOMEM;
    bytes_put(record, value, len);
    return record->bad ? ERR_NOMEM : 0;
}

int members_load(struct vault *vault, struct roster **roster)
{
    const struct keyring *keyring = vault_keyring(vault);
    struct pending p = {0};
    size_t left = 0;
    *roster = NULL;
    if (keyring->epoch_count == 0)
        return ERR_FORMAT;
    struct roster *r = roster_new(vault_id(vault), keyring->epochs[0].key);
    if (!r)
        return ERR_NOMEM;
    int err = roster_add(r, keyring->genesis, keyring->genesis_len);
    if (!err) {
        index_lock(vault_index(vault));
        err = index_kv_scan(vault_index(vault), "roster", NULL, 0, record_each, &p);
        index_unlock(vault_index(vault));
    }
    if (!err)
        err = add_all(&p, r, &left);
    if (!err && left)
        err = ERR_FORMAT;
    pending_free(&p);
    if (err) {
        log_error("the roster of this device cannot be read: %s", err_text(err));
        roster_free(r);
        return err;
    }
    *roster = r;
    return 0;
}

struct names {
    char (*list)[STORE_NAME_MAX + 1];
    size_t count, cap;
};

static int name_each(void *ctx, const char *name, uint64_t size)
{
    struct names *names = ctx;
    if (size > ROSTER_RECORD_MAX || names->count >= 4 * ROSTER_DEVICES_MAX)
        return 0;
    if (names->count == names->cap) {
        size_t cap = names->cap ? names->cap * 2 : 16;
        void *list = realloc(names->list, cap * sizeof(*names->list));
        if (!list)
            return ERR_NOMEM;
        names->list = list;
        names->cap = cap;
    }
    strcpy(names->list[names->count++], name); /* store_list keeps names to STORE_NAME_MAX */
    return 0;
}

static bool known(const struct roster *roster, const char *name)
{
    char have[64];
    for (size_t i = 0; i < roster_count(roster); i++) {
        const struct roster_device *device = roster_at(roster, i);
        if (!roster_object_name(device->record, device->record_len, have) && !strcmp(have, name))
            return true;
    }
    return false;
}

/* A record that is gone again or half there is not there yet. */
static int fetch_records(struct store *store, const struct roster *roster,
                         const struct names *names, struct pending *p)
{
    for (size_t i = 0; i < names->count; i++) {
        if (known(roster, names->list[i]))
            continue;
        struct bytes_out *record = pending_new(p);
        if (!record)
            return ERR_NOMEM;
        int err = store_get(store, names->list[i], 0, 0, ROSTER_RECORD_MAX, record);
        if (err && err != ERR_NOENT && err != ERR_FORMAT)
            return err;
        if (err)
            bytes_out_reset(record);
    }
    return 0;
}

int members_fetch(struct store *store, struct roster *roster, size_t *fresh)
{
    struct names names = {0};
    struct pending p = {0};
    size_t left = 0, before = roster_count(roster);
    int err = store_list(store, "roster/", name_each, &names);
    if (!err)
        err = fetch_records(store, roster, &names, &p);
    if (!err) {
        int worst = add_all(&p, roster, &left);
        if (left)
            log_warn("%zu records of the roster on the store do not verify (yet): %s", left,
                     worst ? err_text(worst) : "they follow others that are not there");
        size_t len;
        uint8_t hash[32];
        if (worst == ERR_CONTRADICTION || worst == ERR_NOMEM)
            err = worst;
        else if (roster_newer(roster, &len, hash))
            err = ERR_VERSION;
    }
    if (fresh)
        *fresh = roster_count(roster) - before;
    pending_free(&p);
    free(names.list);
    return err;
}

static int save_one(struct vault *vault, const uint8_t hash[32], const void *record, size_t len)
{
    struct index *ix = vault_index(vault);
    struct bytes_out have;
    bytes_out_init(&have);
    index_lock(ix);
    int err = index_kv_get(ix, "roster", hash, 32, &have);
    if (err == ERR_NOENT) {
        err = index_begin(ix, INDEX_REMOTE, ROSTER_RECORD_MAX + LEDGER_ROOM);
        if (!err) {
            err = index_kv_put(ix, "roster", hash, 32, record, len);
            index_end(ix);
        }
    }
    index_unlock(ix);
    bytes_out_release(&have);
    return err;
}

int members_save(struct vault *vault, const struct roster *roster)
{
    int err = 0;
    for (size_t i = 0; i < roster_count(roster) && !err; i++) {
        const struct roster_device *device = roster_at(roster, i);
        if (device->n) /* the genesis is in the keyring */
            err = save_one(vault, device->hash, device->record, device->record_len);
    }
    size_t len;
    uint8_t hash[32];
    const void *newer = roster_newer(roster, &len, hash);
    return newer && !err ? save_one(vault, hash, newer, len) : err;
}

int members_put_one(struct store *store, const struct roster_device *device)
{
    char name[64];
    uint64_t size;
    int err = roster_object_name(device->record, device->record_len, name);
    if (!err)
        err = store_head(store, name, &size);
    if (err == ERR_NOENT || (!err && size != device->record_len))
        err = store_put(store, name, device->record, device->record_len);
    return err;
}

int members_put(struct store *store, const struct roster *roster)
{
    int err = 0;
    for (size_t i = 0; i < roster_count(roster) && !err; i++)
        err = members_put_one(store, roster_at(roster, i));
    return err;
}
