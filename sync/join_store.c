/* What a store gets to know of a vault before any file. */
#include "sync/join_store.h"

#include "crypto/err.h"
#include "sync/join.h"
#include "sync/keybox.h"
#include "sync/ledger.h"
#include "sync/members.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_NAME   "vault"
#define HEADER_MAGIC  "OBSSTORE"
#define HEADER_FORMAT 1u
#define HEADER_SUITE  1u
#define HEADER_LEN    48u

/* ---- the header ---- [store-header] */

int join_store_header(struct store *store, uint8_t vault_id[32])
{
    struct bytes_out bytes;
    struct bytes_in in;
    bytes_out_init(&bytes);
    int err = store_get(store, HEADER_NAME, 0, 0, HEADER_LEN, &bytes);
    if (err == ERR_FORMAT)
        err = ERR_NOTOURS; /* longer than any header of ours */
    if (!err) {
        bytes_in_init(&in, bytes.p, bytes.len);
        const uint8_t *magic = bytes_get_ref(&in, 8);
        uint32_t format = bytes_get_u32(&in), suite = bytes_get_u32(&in);
        bytes_get(&in, vault_id, 32);
        if (!magic || memcmp(magic, HEADER_MAGIC, 8) != 0)
            err = ERR_NOTOURS;
        else if (format != HEADER_FORMAT || suite != HEADER_SUITE)
            err = format && suite ? ERR_VERSION : ERR_NOTOURS;
        else if (bytes_in_done(&in))
            err = ERR_NOTOURS;
    }
    bytes_out_release(&bytes);
    return err;
}

static int put_header(struct store *store, const uint8_t vault_id[32])
{
    uint8_t bytes[HEADER_LEN];
    memcpy(bytes, HEADER_MAGIC, 8);
    bytes_le32(bytes + 8, HEADER_FORMAT);
    bytes_le32(bytes + 12, HEADER_SUITE);
    memcpy(bytes + 16, vault_id, 32);
    return store_put(store, HEADER_NAME, bytes, sizeof(bytes));
}

/* ---- keys ---- */

static int put_missing(struct store *store, const char *name, const void *p, size_t len)
{
    uint64_t size;
    int err = store_head(store, name, &size);
    if (err == ERR_NOENT || (!err && size != len))
        err = store_put(store, name, p, len);
    return err;
}

static int save_box(struct index *ix, const struct bytes_out *box)
{
    int err = index_begin(ix, INDEX_REMOTE, KEYBOX_MAX + LEDGER_ROOM);
    if (err)
        return err;
    err = index_kv_put(ix, "keybox", "own", 3, box->p, box->len);
    index_end(ix);
    return err;
}

/* A box is different each time it is made, and no name is written twice with different bytes: so it is made once. */
static int own_box(struct vault *vault, const struct roster *roster, struct bytes_out *box)
{
    struct index *ix = vault_index(vault);
    const struct keyring *keyring = vault_keyring(vault);
    index_lock(ix);
    int err = index_kv_get(ix, "keybox", "own", 3, box);
    index_unlock(ix);
    if (err != ERR_NOENT)
        return err;
    struct sign_keys *keys = sign_keys_new(keyring->sign_seed, keyring->box_seed);
    const struct roster_device *self = keys ? roster_by_key(roster, sign_keys_public(keys)) : NULL;
    err = !keys ? ERR_NOMEM : !self ? ERR_FORMAT : 0;
    if (!err)
        err = keybox_make(keyring, vault_id(vault), keys, self, box);
    sign_keys_free(keys);
    if (err)
        return err;
    index_lock(ix);
    err = save_box(ix, box);
    index_unlock(ix);
    /* Durable before it is on the store, or a crash would make another box for the same name. */
    return err ? err : index_flush(ix);
}

int join_store_self(struct vault *vault, struct store *store, const struct roster *roster,
                    bool fresh)
{
    struct bytes_out box;
    char name[STORE_NAME_MAX + 1];
    bytes_out_init(&box);
    const struct roster_device *self = roster_by_tag(roster, vault_keyring(vault)->device_tag);
    int err = self ? own_box(vault, roster, &box) : ERR_FORMAT;
    if (!err) {
        keybox_name(self, name);
        err = fresh ? store_put(store, name, box.p, box.len)
                    : put_missing(store, name, box.p, box.len);
    }
    /* The record last: it is what makes the others believe that the device is there. */
    if (!err && fresh)
        err = roster_object_name(self->record, self->record_len, name);
    if (!err)
        err = fresh ? store_put(store, name, self->record, self->record_len)
                    : members_put_one(store, self);
    bytes_out_release(&box);
    return err;
}

/* What a store of ours has first. */
struct first {
    struct store_put_item *items;
    char (*names)[STORE_NAME_MAX + 1];
    size_t n;
};

/* Where the name of the next item goes. */
static char *first_name(struct first *f)
{
    return f->names[f->n];
}

/* With the name that is there. ${p} NULL: only its folder. */
static void first_add(struct first *f, const void *p, size_t len)
{
    f->items[f->n] =
        (struct store_put_item){.name = f->names[f->n], .p = p, .len = len, .place = !p};
    f->n++;
}

static int fill_first(struct first *f, struct vault *vault, const struct roster *roster,
                      const struct bytes_out *box)
{
    const struct keyring *keyring = vault_keyring(vault);
    const struct roster_device *self = roster_by_tag(roster, keyring->device_tag);
    int err = self ? 0 : ERR_FORMAT;
    if (err)
        return err;
    strcpy(first_name(f), KEYBOX_RECOVERY);
    first_add(f, keyring->recovery, keyring->recovery_len);
    keybox_name(self, first_name(f));
    first_add(f, box->p, box->len);
    for (size_t i = 0; i < roster_count(roster) && !err; i++) {
        const struct roster_device *d = roster_at(roster, i);
        err = roster_object_name(d->record, d->record_len, first_name(f));
        first_add(f, d->record, d->record_len);
    }
    /* these save round trips before the first pack and the first batch */
    strcpy(first_name(f), "packs/x");
    first_add(f, NULL, 0);
    batch_name(self->store_name, 1, first_name(f));
    first_add(f, NULL, 0);
    return err;
}

/* All at once: nobody looks at any of it before the header is there, and nothing needs to be asked for on a store that has nothing. */
static int put_first(struct vault *vault, struct store *store, const struct roster *roster)
{
    const size_t cap = roster_count(roster) + 4;
    struct bytes_out box;
    struct first f = {.items = calloc(cap, sizeof(*f.items)),
                      .names = calloc(cap, sizeof(*f.names))};
    bytes_out_init(&box);
    int err = f.items && f.names ? own_box(vault, roster, &box) : ERR_NOMEM;
    if (!err)
        err = fill_first(&f, vault, roster, &box);
    if (!err)
        err = store_put_many(store, f.items, f.n);
    bytes_out_release(&box);
    free(f.names);
    free(f.items);
    return err;
}

static int put_keys(struct vault *vault, struct store *store, const struct roster *roster)
{
    const struct keyring *keyring = vault_keyring(vault);
    int err = put_missing(store, KEYBOX_RECOVERY, keyring->recovery, keyring->recovery_len);
    if (!err)
        err = join_store_self(vault, store, roster, false);
    return err ? err : members_put(store, roster);
}

/* ---- is it ours? ---- */

struct strangers {
    const struct roster *roster;
    bool own;       /* objects of an interrupted join_prepare_store are there */
    char first[61]; /* for people */
};

/* What an interrupted join_prepare_store leaves is not foreign. */
static bool is_own(const struct strangers *s, const char *name)
{
    char own[64];
    if (strcmp(name, KEYBOX_RECOVERY) == 0)
        return true;
    for (size_t i = 0; i < roster_count(s->roster); i++) {
        const struct roster_device *d = roster_at(s->roster, i);
        if (!roster_object_name(d->record, d->record_len, own) && strcmp(own, name) == 0)
            return true;
        keybox_name(d, own);
        if (strcmp(own, name) == 0)
            return true;
    }
    return false;
}

static int stranger_each(void *ctx, const char *name, uint64_t size)
{
    struct strangers *s = ctx;
    if (is_own(s, name)) {
        s->own = true;
        return 0;
    }
    size_t len = strlen(name), shown = len < sizeof(s->first) - 1 ? len : sizeof(s->first) - 1;
    /* whoever made the name must not write on the terminal what he likes */
    for (size_t i = 0; i < shown; i++)
        s->first[i] = name[i] < ' ' || name[i] > '~' ? '?' : name[i];
    s->first[shown] = '\0';
    return 1;
}

static int check_empty(struct store *store, const struct roster *roster, bool *untouched, char *why)
{
    struct strangers s = {.roster = roster};
    int err = store_list_all(store, stranger_each, &s);
    *untouched = !err && !s.own;
    if (err <= 0)
        return err;
    if (why)
        snprintf(why, JOIN_WHY,
                 "is not empty (\"%s\" is there) and not this vault; choose an empty folder",
                 s.first);
    return ERR_NOTOURS;
}

static int foreign(const uint8_t theirs[32], char *why)
{
    char hex[65];
    sodium_bin2hex(hex, sizeof(hex), theirs, 32);
    if (why)
        snprintf(why, JOIN_WHY,
                 "the store holds another vault (%s); clone that one, or choose an empty place",
                 hex);
    return ERR_NOTOURS;
}

/* What there is before anything is written. */
struct standing {
    bool fresh;     /* no header: it has to be made a store of this vault */
    bool untouched; /* nothing of this vault either */
};

static int check_store(struct vault *vault, struct store *store, const struct roster *roster,
                       struct standing *is, char *why)
{
    uint8_t theirs[32];
    int err = join_store_header(store, theirs);
    *is = (struct standing){.fresh = err == ERR_NOENT};
    if (is->fresh)
        err = check_empty(store, roster, &is->untouched, why);
    else if (!err && memcmp(theirs, vault_id(vault), 32) != 0)
        err = foreign(theirs, why);
    else if (err == ERR_NOTOURS && why)
        snprintf(why, JOIN_WHY, "is not empty and not this vault; choose an empty folder");
    else if (err == ERR_VERSION && why)
        snprintf(why, JOIN_WHY, "the store was made by a newer version of this program");
    return err;
}

static void say(const struct store *store, int err, char *why)
{
    if (!err || !why || why[0])
        return;
    const char *said = store_last_error(store);
    snprintf(why, JOIN_WHY, "%s", said && said[0] ? said : err_text(err));
}

int join_check_store(struct vault *vault, struct store *store, char *why)
{
    struct roster *roster;
    struct standing is;
    if (why)
        why[0] = '\0';
    int err = members_load(vault, &roster);
    if (!err)
        err = check_store(vault, store, roster, &is, why);
    say(store, err, why);
    roster_free(roster);
    return err;
}

/* ---- making it ours ---- */

/* Takes away what prepare has put on a store that had nothing and that then refused the rest. With a header it is a store of the
 * vault, perhaps by another device meanwhile, and stays. */
static void sweep(struct store *store, const struct roster *roster, uint32_t tag)
{
    uint8_t id[32];
    char name[64], batch[BATCH_NAME_LEN];
    if (join_store_header(store, id) != ERR_NOENT)
        return;
    (void)store_delete(store, KEYBOX_RECOVERY);
    for (size_t i = 0; i < roster_count(roster); i++) {
        const struct roster_device *d = roster_at(roster, i);
        if (!roster_object_name(d->record, d->record_len, name))
            (void)store_delete(store, name);
        keybox_name(d, name);
        (void)store_delete(store, name);
    }
    const struct roster_device *self = roster_by_tag(roster, tag);
    if (self) {
        batch_name(self->store_name, 1, batch);
        *strrchr(batch, '/') = '\0';
        store_prune(store, batch);
    }
    store_prune(store, "journal");
    store_prune(store, "packs");
    store_prune(store, "keys");
    store_prune(store, "roster");
}

static int prepare(struct vault *vault, struct store *store, const struct roster *roster, char *why)
{
    struct standing is;
    int err = check_store(vault, store, roster, &is, why);
    if (err)
        return err;
    err =
        is.fresh && is.untouched ? put_first(vault, store, roster) : put_keys(vault, store, roster);
    /* The header goes last: a store that has it has what is needed to clone from it. */
    if (!err && is.fresh)
        err = put_header(store, vault_id(vault));
    say(store, err, why);
    /* One that is away cannot be asked; what is there is used by the next attempt. */
    if (err && err != ERR_NET && err != ERR_INTR && is.untouched)
        sweep(store, roster, vault_keyring(vault)->device_tag);
    return err;
}

int join_prepare_store(struct vault *vault, struct store *store, char *why)
{
    struct roster *roster;
    if (why)
        why[0] = '\0';
    int err = members_load(vault, &roster);
    if (!err)
        err = prepare(vault, store, roster, why);
    say(store, err, why);
    roster_free(roster);
    return err;
}
