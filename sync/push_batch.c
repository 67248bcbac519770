/*
 * From what is dirty in the index to batches in the outbox.
 *
 * One batch is written under one hold of the lock and put into the outbox in one operation that also clears the marks of what is in
 * it. Each batch starts over: first inodes, then names, and only when nothing of those is left that could go, what is gone. So
 * nothing is said to be gone before its new place has been said.
 *
 * Held back: a file whose content names an extent in no pack yet; a new inode with that, the names that point at it; names in a
 * directory that is not published. While a name of something known is held back, no old name is said to be gone; while any name is,
 * no inode is. A file without a name (open and unlinked) is not published at all.
 */
#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/log.h"
#include "crypto/pagevfs.h"
#include "sync/merge.h"
#include "sync/push_draft.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK      256u
#define ITEM_ROOM  640u /* notes of one item: its inode or name again, marks, a ${rest} */
#define XATTRS_MAX (1u << 20)
#define GONE_VALUE 12u

/* ---- the draft ---- */

static int draft_new(struct push *p, struct draft *d)
{
    memset(d, 0, sizeof(*d));
    d->p = p;
    d->writer = batch_writer_new();
    d->ino_places = 2 * p->batch_items + 1;
    d->inos = calloc(d->ino_places, sizeof(*d->inos));
    return d->writer && d->inos ? 0 : ERR_NOMEM;
}

static void draft_free(struct draft *d)
{
    for (size_t i = 0; i < d->count; i++)
        free(d->items[i].name);
    free(d->items);
    free(d->inos);
    free(d->ranges);
    batch_writer_free(d->writer);
}

static bool draft_full(const struct draft *d)
{
    return d->count >= d->p->batch_items || batch_writer_size(d->writer) >= BATCH_BODY_GOAL;
}

static int add_item(struct draft *d, const struct draft_item *item)
{
    if (d->count == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 64;
        struct draft_item *items = realloc(d->items, cap * sizeof(*items));
        if (!items)
            return ERR_NOMEM;
        d->items = items;
        d->cap = cap;
    }
    d->items[d->count++] = *item;
    return 0;
}

static int add_name(struct draft *d, enum draft_kind kind, uint64_t parent, const void *name,
                    size_t len)
{
    struct draft_item item = {
        .kind = kind, .ino = parent, .name = malloc(len + 1), .name_len = len};
    if (!item.name)
        return ERR_NOMEM;
    memcpy(item.name, name, len);
    item.name[len] = '\0';
    int err = add_item(d, &item);
    if (err)
        free(item.name);
    return err;
}

static uint64_t *ino_place(const struct draft *d, uint64_t ino)
{
    size_t i = (size_t)(ino * 0x9e3779b97f4a7c15ull >> 20) % d->ino_places;
    while (d->inos[i] && d->inos[i] != ino)
        i = (i + 1) % d->ino_places;
    return &d->inos[i];
}

/* ---- inodes ---- */

static int write_attr(struct draft *d, const struct inode *inode)
{
    char target[TARGET_LEN_MAX + 1];
    struct batch_record r = {.kind = BATCH_ATTR, .base = inode->attr_version};
    uint32_t type = inode->mode & S_IFMT;
    r.u.attr.inode = *inode;
    if (type != S_IFCHR && type != S_IFBLK)
        r.u.attr.inode.rdev = 0;
    if (type == S_IFLNK) {
        int err =
            index_target_get(d->p->ix, inode->ino, target, sizeof(target), &r.u.attr.target_len);
        if (err)
            return err == ERR_NOENT ? ERR_FORMAT : err;
        r.u.attr.target = target;
    }
    return batch_write(d->writer, &r);
}

struct pairs {
    struct bytes_out out;
    uint16_t count;
};

static int pair_each(void *ctx, const char *name, const void *value, size_t len)
{
    struct pairs *pairs = ctx;
    if (pairs->count == BATCH_XATTRS_MAX || pairs->out.len + len > XATTRS_MAX)
        return ERR_TOOBIG;
    pairs->count++;
    bytes_put_var16(&pairs->out, name, strlen(name));
    bytes_put_var32(&pairs->out, value, len);
    return 0;
}

static int write_xattrs(struct draft *d, const struct inode *inode)
{
    struct pairs pairs = {.count = 0};
    bytes_out_init(&pairs.out);
    pairs.out.secret = true;
    bytes_put_u16(&pairs.out, 0);
    int err = index_xattr_scan(d->p->ix, inode->ino, pair_each, &pairs);
    if (!err && pairs.out.bad)
        err = ERR_NOMEM;
    if (!err) {
        struct batch_record r = {.kind = BATCH_XATTRS, .base = inode->xattr_version};
        bytes_le16(pairs.out.p, pairs.count);
        r.u.xattrs.ino = inode->ino;
        r.u.xattrs.pairs = pairs.out.p;
        r.u.xattrs.pairs_len = pairs.out.len;
        err = batch_write(d->writer, &r);
    }
    bytes_out_release(&pairs.out);
    return err;
}

static int write_inode(struct draft *d, uint64_t ino)
{
    struct inode inode;
    struct draft_item item = {.kind = DRAFT_INODE, .ino = ino, .rest = UINT64_MAX};
    bool held = false;
    int err = index_inode_get(d->p->ix, ino, &inode);
    if (err || inode.nlink == 0)
        return err == ERR_NOENT ? 0 : err;
    if (inode.attr_version.lamport == 0)
        inode.dirty |= DIRTY_ATTR; /* also of a stand-in that was changed (merge.h) */
    /* Content first: it is what may hold the rest back. */
    if (inode.dirty & DIRTY_CONTENT)
        err = push_content(d, &inode, &held, &item.rest);
    if (err || held) {
        d->held_inodes += held;
        return err;
    }
    if (inode.dirty & (DIRTY_ATTR | DIRTY_TIMES))
        err = write_attr(d, &inode);
    if (!err && inode.dirty & DIRTY_XATTR)
        err = write_xattrs(d, &inode);
    if (err == ERR_TOOBIG || err == ERR_MISUSE) {
        /* Cannot happen to what the file system lets in; if it does, one inode must not stop all others. */
        log_error("inode %llu cannot be published: %s", (unsigned long long)ino, err_text(err));
        push_note(d->p, err, "a file's attributes are too large to be sent");
        d->held_inodes++;
        return 0;
    }
    if (!err)
        err = add_item(d, &item);
    if (!err)
        *ino_place(d, ino) = ino;
    return err;
}

struct ino_chunk {
    uint64_t ino[CHUNK];
    size_t n;
    int64_t dirty, last; /* where the next one begins */
};

static int next_inodes(struct push *p, struct ino_chunk *c)
{
    sqlite3_stmt *stmt;
    int rc, err = index_prepare(p->ix,
                                "SELECT dirty, ino FROM inode WHERE dirty <> 0 AND dirty >= ?1"
                                " AND (dirty > ?1 OR ino > ?2) ORDER BY dirty, ino LIMIT ?3",
                                &stmt);
    c->n = 0;
    if (err)
        return err;
    sqlite3_bind_int64(stmt, 1, c->dirty);
    sqlite3_bind_int64(stmt, 2, c->last);
    sqlite3_bind_int64(stmt, 3, CHUNK);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        c->dirty = sqlite3_column_int64(stmt, 0);
        c->last = sqlite3_column_int64(stmt, 1);
        c->ino[c->n++] = (uint64_t)c->last;
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : pagevfs_err(rc);
}

static int write_inodes(struct draft *d)
{
    struct ino_chunk c = {0};
    int err;
    do {
        err = next_inodes(d->p, &c);
        for (size_t i = 0; i < c.n && !err && !draft_full(d); i++)
            err = write_inode(d, c.ino[i]);
    } while (!err && c.n == CHUNK && !draft_full(d));
    return err;
}

/* ---- names ---- */

static int is_published(struct draft *d, uint64_t ino, bool *published)
{
    struct inode inode;
    *published = true;
    if (ino == INODE_ROOT || *ino_place(d, ino) == ino)
        return 0;
    int err = index_inode_get(d->p->ix, ino, &inode);
    *published = !err && inode.attr_version.lamport != 0;
    if (!err && !*published)
        err = merge_is_stand_in(d->p->ix, ino, published); /* another device has published it */
    return err == ERR_NOENT ? 0 : err;
}

static int write_entry(struct draft *d, const struct entry *e)
{
    bool inode_there, parent_there;
    int err = is_published(d, e->ino, &inode_there);
    if (!err)
        err = is_published(d, e->parent, &parent_there);
    if (err)
        return err;
    if (!inode_there || !parent_there) {
        d->held_entries++;
        d->held_move |= inode_there;
        return 0;
    }
    struct batch_record r = {.kind = BATCH_ENTRY, .base = e->version};
    r.u.entry.parent = e->parent;
    r.u.entry.ino = e->ino;
    r.u.entry.type = e->type;
    r.u.entry.name = e->name;
    r.u.entry.name_len = e->name_len;
    err = batch_write(d->writer, &r);
    return err ? err : add_name(d, DRAFT_ENTRY, e->parent, e->name, e->name_len);
}

struct entry_chunk {
    struct entry *entries; /* CHUNK */
    size_t n;
    uint64_t parent, cookie;
};

static int next_entries(struct push *p, struct entry_chunk *c)
{
    sqlite3_stmt *stmt;
    int rc,
        err = index_prepare(p->ix,
                            "SELECT parent, cookie, ino, type, v_l, v_d, name FROM entry"
                            " WHERE dirty <> 0 AND dirty = 1 AND parent >= ?1"
                            " AND (parent > ?1 OR cookie > ?2) ORDER BY parent, cookie LIMIT ?3",
                            &stmt);
    c->n = 0;
    if (err)
        return err;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)c->parent);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)c->cookie);
    sqlite3_bind_int64(stmt, 3, CHUNK);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct entry *e = &c->entries[c->n++];
        int len = sqlite3_column_bytes(stmt, 6);
        memset(e, 0, sizeof(*e));
        c->parent = e->parent = (uint64_t)sqlite3_column_int64(stmt, 0);
        c->cookie = e->cookie = (uint64_t)sqlite3_column_int64(stmt, 1);
        e->ino = (uint64_t)sqlite3_column_int64(stmt, 2);
        e->type = (uint32_t)sqlite3_column_int64(stmt, 3);
        e->version.lamport = (uint64_t)sqlite3_column_int64(stmt, 4);
        e->version.device = (uint32_t)sqlite3_column_int64(stmt, 5);
        if (len < 1 || len > (int)NAME_LEN_MAX)
            err = ERR_FORMAT;
        else
            memcpy(e->name, sqlite3_column_blob(stmt, 6), (size_t)len);
        e->name_len = (uint8_t)len;
    }
    sqlite3_finalize(stmt);
    return err ? err : rc == SQLITE_DONE ? 0 : pagevfs_err(rc);
}

static int write_entries(struct draft *d)
{
    struct entry_chunk c = {.entries = malloc(CHUNK * sizeof(*c.entries))};
    int err = c.entries ? 0 : ERR_NOMEM;
    do {
        if (!err)
            err = next_entries(d->p, &c);
        for (size_t i = 0; i < c.n && !err && !draft_full(d); i++)
            err = write_entry(d, &c.entries[i]);
    } while (!err && c.n == CHUNK && !draft_full(d));
    free(c.entries);
    return err;
}

/* ---- what is gone ---- */

static uint64_t from_be64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static int get_version(const void *value, size_t len, struct version *v)
{
    const uint8_t *p = value;
    if (len != GONE_VALUE)
        return ERR_FORMAT;
    v->lamport = bytes_from_le64(p);
    v->device = bytes_from_le32(p + 8);
    return 0;
}

/* [tombstone] */
static int gone_entry_each(void *ctx, const void *key, size_t key_len, const void *value,
                           size_t len)
{
    struct draft *d = ctx;
    struct batch_record r = {.kind = BATCH_ENTRY};
    if (key_len < 9 || key_len > 8 + NAME_LEN_MAX || get_version(value, len, &r.base))
        return ERR_FORMAT;
    r.u.entry.parent = from_be64(key);
    r.u.entry.name = (const char *)key + 8;
    r.u.entry.name_len = key_len - 8;
    int err = batch_write(d->writer, &r);
    if (!err)
        err = add_name(d, DRAFT_GONE_ENTRY, r.u.entry.parent, r.u.entry.name, r.u.entry.name_len);
    return err ? err : draft_full(d);
}

static int gone_inode_each(void *ctx, const void *key, size_t key_len, const void *value,
                           size_t len)
{
    struct draft *d = ctx;
    struct batch_record r = {.kind = BATCH_GONE};
    struct draft_item item = {.kind = DRAFT_GONE_INODE};
    if (key_len != 8 || get_version(value, len, &r.base))
        return ERR_FORMAT;
    r.u.gone.ino = item.ino = from_be64(key);
    int err = batch_write(d->writer, &r);
    if (!err)
        err = add_item(d, &item);
    return err ? err : draft_full(d);
}

static int write_gone(struct draft *d)
{
    int err = 0;
    if (!d->held_move)
        err = index_kv_scan(d->p->ix, "gone-entry", NULL, 0, gone_entry_each, d);
    if (err >= 0 && !draft_full(d) && !d->held_entries)
        err = index_kv_scan(d->p->ix, "gone-inode", NULL, 0, gone_inode_each, d);
    return err < 0 ? err : 0;
}

/* ---- into the outbox ---- */

static int settle_inode(struct draft *d, const struct draft_item *item, struct version now)
{
    struct index *ix = d->p->ix;
    struct inode inode;
    int err = index_inode_get(ix, item->ino, &inode);
    if (err)
        return err;
    if (inode.dirty & (DIRTY_ATTR | DIRTY_TIMES) || inode.attr_version.lamport == 0)
        inode.attr_version = now;
    if (inode.dirty & DIRTY_XATTR)
        inode.xattr_version = now;
    if (inode.dirty & DIRTY_CONTENT) {
        inode.content_version = now;
        err = index_dirty_ranges_clear(ix, item->ino);
        if (!err)
            err = ledger_rest_put(ix, item->ino, item->rest);
    }
    inode.dirty = item->rest == UINT64_MAX ? 0 : DIRTY_CONTENT;
    if (!err)
        err = merge_published_inode(ix, item->ino);
    return err ? err : index_inode_put(ix, &inode);
}

static int settle_name(struct draft *d, const struct draft_item *item, struct version now)
{
    struct index *ix = d->p->ix;
    struct entry e;
    if (item->kind == DRAFT_ENTRY) {
        int err = index_entry_get(ix, item->ino, item->name, item->name_len, &e);
        if (err)
            return err;
        e.version = now;
        e.dirty = false;
        return index_entry_put(ix, &e);
    }
    uint8_t key[8 + NAME_LEN_MAX];
    for (int i = 0; i < 8; i++)
        key[i] = (uint8_t)(item->ino >> (56 - 8 * i));
    if (item->kind == DRAFT_GONE_INODE)
        return index_kv_del(ix, "gone-inode", key, 8);
    memcpy(key + 8, item->name, item->name_len);
    int err = index_kv_del(ix, "gone-entry", key, 8 + item->name_len);
    return err ? err : merge_published_deletion(ix, item->ino, item->name, item->name_len, now);
}

static int settle(struct draft *d, const struct batch_head *head, const struct bytes_out *batch)
{
    struct push *p = d->p;
    struct version now = {head->lamport, p->self->tag};
    struct ledger_head own = {.seq = head->seq};
    kdf_hash(own.hash, "obs-batch", batch->p, batch->len);
    int err = index_begin(p->ix, INDEX_REMOTE, batch->len + d->count * ITEM_ROOM + 8 * LEDGER_ROOM);
    if (err)
        return err;
    err = ledger_outbox_put(p->ix, head->seq, batch);
    if (!err)
        err = ledger_head_put(p->ix, p->self->tag, &own);
    if (!err)
        err = ledger_clock_raise(p->ix, head->lamport);
    for (size_t i = 0; i < d->count && !err; i++)
        err = d->items[i].kind == DRAFT_INODE ? settle_inode(d, &d->items[i], now)
                                              : settle_name(d, &d->items[i], now);
    index_end(p->ix);
    return err;
}

static int make_head(struct push *p, struct batch_head *head)
{
    struct ledger_head own;
    uint64_t clock;
    memset(head, 0, sizeof(*head));
    int err = ledger_head_get(p->ix, p->self->tag, &own);
    if (!err)
        err = ledger_clock_get(p->ix, &clock);
    if (!err)
        err = ledger_heads(p->ix, p->self->tag, &head->refs, &head->ref_count);
    if (err)
        return err;
    memcpy(head->vault_id, vault_id(p->params->vault), 32);
    memcpy(head->device_key, p->self->sign_key, SIGN_PUBLIC_LEN);
    head->seq = own.seq + 1;
    memcpy(head->prev, own.hash, 32);
    roster_hash(p->roster, head->roster);
    head->epoch = p->epoch;
    head->lamport = clock + 1;
    return 0;
}

static int to_outbox(struct draft *d)
{
    struct push *p = d->p;
    struct batch_head head;
    struct bytes_out batch;
    char name[BATCH_NAME_LEN];
    int err = make_head(p, &head);
    if (err)
        return err;
    bytes_out_init(&batch);
    batch_name(p->self->store_name, head.seq, name);
    err = batch_finish(d->writer, &head, p->epoch_key, name, p->keys, &batch);
    if (!err)
        err = settle(d, &head, &batch);
    bytes_out_release(&batch);
    batch_head_release(&head);
    return err;
}

/* One batch. *more: it was full, or something went: look again. */
static int write_one(struct push *p, uint64_t *held, bool *more)
{
    struct draft d;
    int err = draft_new(p, &d);
    index_lock(p->ix);
    if (!err)
        err = write_inodes(&d);
    if (!err && !draft_full(&d))
        err = write_entries(&d);
    if (!err && !draft_full(&d))
        err = write_gone(&d);
    if (!err && d.count)
        err = to_outbox(&d);
    index_unlock(p->ix);
    *more = d.count != 0;
    *held = d.held_inodes + d.held_entries;
    draft_free(&d);
    return err;
}

int push_write_batches(struct push *p, uint64_t *held)
{
    bool more = true;
    int err = 0;
    while (!err && more && !push_cancelled(p))
        err = write_one(p, held, &more);
    return err;
}
