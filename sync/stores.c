#include "sync/stores.h"

#include "crypto/err.h"
#include "sync/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACE          "store"
#define ITEM_VERSION   1u
#define LOGIN_MAX      4096u /* bytes of a user, secret or token */
#define ITEM_ROOM      (STORE_URL_MAX + 1024u + 3 * LOGIN_MAX + 4 * LEDGER_ROOM)
#define FORGET_AT_ONCE 256u

enum { HAS_HTTP = 1, HAS_USER = 2, HAS_SECRET = 4, HAS_TOKEN = 8 };

static void id_key(uint8_t key[4], uint32_t id)
{
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(id >> (24 - 8 * i));
}

static uint32_t key_id(const uint8_t *key)
{
    return (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
}

static void item_clear(struct stores_item *item)
{
    secret_free(item->user);
    secret_free(item->secret);
    secret_free(item->token);
    memset(item, 0, sizeof(*item));
}

void stores_free(struct stores_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        item_clear(&items[i]);
    free(items);
}

static void put_text(struct bytes_out *out, const char *text)
{
    bytes_put_var16(out, text ? text : "", text ? strlen(text) : 0);
}

/* [stores-item] u16 version 1; u8 flags; var16 url, ca file, user, secret, token; empty where the flags do not name one. */
static int put_item(struct bytes_out *out, const struct stores_item *item)
{
    const char *login[3] = {item->user, item->secret, item->token};
    for (int i = 0; i < 3; i++)
        if (login[i] && strlen(login[i]) > LOGIN_MAX)
            return ERR_INVAL;
    bytes_put_u16(out, ITEM_VERSION);
    bytes_put_u8(out, (uint8_t)((item->allow_http ? HAS_HTTP : 0) | (item->user ? HAS_USER : 0) |
                                (item->secret ? HAS_SECRET : 0) | (item->token ? HAS_TOKEN : 0)));
    put_text(out, item->url);
    put_text(out, item->ca_file);
    for (int i = 0; i < 3; i++)
        put_text(out, login[i]);
    return out->bad ? ERR_NOMEM : 0;
}

static int get_text(struct bytes_in *in, char *text, size_t size)
{
    size_t len;
    const uint8_t *p = bytes_get_var16(in, size - 1, &len);
    if (!p || memchr(p, '\0', len))
        return ERR_FORMAT;
    memcpy(text, p, len);
    text[len] = '\0';
    return 0;
}

static int get_login(struct bytes_in *in, bool has, char **text)
{
    size_t len;
    const uint8_t *p = bytes_get_var16(in, LOGIN_MAX, &len);
    if (!p || memchr(p, '\0', len) || (!has && len))
        return ERR_FORMAT;
    if (!has)
        return 0;
    *text = secret_alloc(len + 1);
    if (!*text)
        return ERR_NOMEM;
    memcpy(*text, p, len);
    return 0;
}

static int get_item(const void *value, size_t len, struct stores_item *item)
{
    struct bytes_in in;
    bytes_in_init(&in, value, len);
    uint16_t version = bytes_get_u16(&in);
    uint8_t flags = bytes_get_u8(&in);
    if (in.bad || version == 0)
        return ERR_FORMAT;
    if (version != ITEM_VERSION)
        return ERR_VERSION;
    item->allow_http = flags & HAS_HTTP;
    int err = get_text(&in, item->url, sizeof(item->url));
    if (!err)
        err = get_text(&in, item->ca_file, sizeof(item->ca_file));
    if (!err)
        err = get_login(&in, flags & HAS_USER, &item->user);
    if (!err)
        err = get_login(&in, flags & HAS_SECRET, &item->secret);
    if (!err)
        err = get_login(&in, flags & HAS_TOKEN, &item->token);
    return err ? err : bytes_in_done(&in);
}

struct list {
    struct stores_item *items;
    size_t n;
};

static int load_each(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    struct list *list = ctx;
    if (key_len != 4 || list->n >= STORES_MAX)
        return ERR_FORMAT;
    struct stores_item *item = &list->items[list->n++];
    item->id = key_id(key);
    return get_item(value, len, item);
}

/* Needs the index lock. */
static int load(struct index *ix, struct list *list)
{
    list->n = 0;
    list->items = calloc(STORES_MAX, sizeof(*list->items));
    if (!list->items)
        return ERR_NOMEM;
    int err = index_kv_scan(ix, SPACE, NULL, 0, load_each, list);
    if (err) {
        stores_free(list->items, list->n);
        list->items = NULL;
        list->n = 0;
    }
    return err;
}

int stores_load(struct vault *vault, struct stores_item **items, size_t *n)
{
    struct list list;
    index_lock(vault_index(vault));
    int err = load(vault_index(vault), &list);
    index_unlock(vault_index(vault));
    *items = list.items;
    *n = list.n;
    return err;
}

/* Needs the index lock. Everything that can be refused is checked before the operation begins. */
static int add(struct index *ix, const struct stores_item *item, uint32_t *id)
{
    struct list list;
    struct bytes_out value;
    uint64_t number, packs;
    int err = load(ix, &list);
    if (err)
        return err;
    for (size_t i = 0; i < list.n && !err; i++)
        if (strcmp(list.items[i].url, item->url) == 0)
            err = ERR_EXIST;
    if (!err && list.n >= STORES_MAX)
        err = ERR_TOOBIG;
    stores_free(list.items, list.n);
    bytes_out_init(&value);
    value.secret = true;
    if (!err)
        err = put_item(&value, item);
    if (!err)
        err = ledger_last(ix, "pack", &packs);
    if (!err)
        err = index_begin(ix, INDEX_REMOTE, ITEM_ROOM);
    if (!err) {
        err = ledger_next(ix, "store", &number);
        if (!err) {
            uint8_t key[4];
            *id = (uint32_t)number;
            id_key(key, *id);
            err = index_kv_put(ix, SPACE, key, sizeof(key), value.p, value.len);
        }
        /* The packs so far may not be there. */
        struct ledger_fill fill = {.next = 1, .last = packs};
        if (!err && packs)
            err = ledger_fill_put(ix, *id, &fill);
        index_end(ix);
    }
    bytes_out_release(&value);
    return err;
}

int stores_add(struct vault *vault, const struct stores_item *item, uint32_t *id)
{
    struct index *ix = vault_index(vault);
    index_lock(ix);
    int err = add(ix, item, id);
    index_unlock(ix);
    return err ? err : index_flush(ix);
}

static int find(struct index *ix, const char *url_or_id, uint32_t *id)
{
    struct list list;
    char number[16];
    int err = load(ix, &list);
    if (err)
        return err;
    err = ERR_NOENT;
    for (size_t i = 0; i < list.n && err; i++) {
        snprintf(number, sizeof(number), "%u", list.items[i].id);
        if (!strcmp(list.items[i].url, url_or_id) || !strcmp(number, url_or_id)) {
            *id = list.items[i].id;
            err = 0;
        }
    }
    stores_free(list.items, list.n);
    return err;
}

/* In steps, for a store may miss many packs; the item goes last, so that an interrupted removal is seen and can be repeated. */
static int forget_step(struct index *ix, uint32_t id, bool *more)
{
    uint8_t key[4];
    id_key(key, id);
    int err = index_begin(ix, INDEX_REMOTE | INDEX_FREES, (FORGET_AT_ONCE + 8) * 64);
    if (err)
        return err;
    err = ledger_store_forget(ix, id, FORGET_AT_ONCE, more);
    if (!err && !*more)
        err = index_kv_del(ix, SPACE, key, sizeof(key));
    index_end(ix);
    return err;
}

int stores_remove(struct vault *vault, const char *url_or_id)
{
    struct index *ix = vault_index(vault);
    uint32_t id = 0;
    bool more = true;
    index_lock(ix);
    int err = find(ix, url_or_id, &id);
    index_unlock(ix);
    while (!err && more) {
        index_lock(ix);
        err = forget_step(ix, id, &more);
        index_unlock(ix);
    }
    return err ? err : index_flush(ix);
}

int stores_open(const struct stores_item *item, struct store **store, char *why)
{
    struct store_login login = {.user = item->user, .secret = item->secret, .token = item->token};
    struct store_options options = {.ca_file = item->ca_file[0] ? item->ca_file : NULL,
                                    .allow_http = item->allow_http};
    return store_open(store, item->url, &login, &options, why);
}
