#include "crypto/err.h"
#include "sync/merge_impl.h"

#include <string.h>

#define VERSION_LEN 12u
#define NAME_KEY    (8u + NAME_LEN_MAX)

static void be64(uint8_t key[8], uint64_t v)
{
    for (int i = 0; i < 8; i++)
        key[i] = (uint8_t)(v >> (56 - 8 * i));
}

static size_t name_key(uint8_t key[NAME_KEY], uint64_t parent, const char *name, size_t len)
{
    be64(key, parent);
    memcpy(key + 8, name, len);
    return 8 + len;
}

static int get_version(struct index *ix, const char *space, const void *key, size_t len,
                       struct version *v, bool *any)
{
    struct bytes_out value;
    bytes_out_init(&value);
    *v = (struct version){0, 0};
    int err = index_kv_get(ix, space, key, len, &value);
    *any = !err;
    if (!err && value.len < VERSION_LEN)
        err = ERR_FORMAT;
    if (!err)
        *v = (struct version){bytes_from_le64(value.p), bytes_from_le32(value.p + 8)};
    bytes_out_release(&value);
    return err == ERR_NOENT ? 0 : err;
}

static int put_version(struct index *ix, const char *space, const void *key, size_t len,
                       struct version v)
{
    uint8_t value[VERSION_LEN];
    bytes_le64(value, v.lamport);
    bytes_le32(value + 8, v.device);
    return index_kv_put(ix, space, key, len, value, sizeof(value));
}

static int del(struct index *ix, const char *space, const void *key, size_t len)
{
    int err = index_kv_del(ix, space, key, len);
    return err == ERR_NOENT ? 0 : err;
}

static int has(struct index *ix, const char *space, uint64_t ino, bool *yes)
{
    uint8_t key[8];
    struct bytes_out value;
    be64(key, ino);
    bytes_out_init(&value);
    int err = index_kv_get(ix, space, key, sizeof(key), &value);
    *yes = !err;
    bytes_out_release(&value);
    return err == ERR_NOENT ? 0 : err;
}

int merge_absent_get(struct merge *m, uint64_t parent, const char *name, size_t len,
                     struct version *v)
{
    uint8_t key[NAME_KEY];
    bool any;
    return get_version(m->ix, "absent", key, name_key(key, parent, name, len), v, &any);
}

int merge_absent_put(struct merge *m, uint64_t parent, const char *name, size_t len,
                     struct version v)
{
    uint8_t key[NAME_KEY];
    size_t key_len = name_key(key, parent, name, len);
    return v.lamport ? put_version(m->ix, "absent", key, key_len, v)
                     : del(m->ix, "absent", key, key_len);
}

int merge_pending_get(struct merge *m, uint64_t parent, const char *name, size_t len,
                      struct version *v, bool *any)
{
    uint8_t key[NAME_KEY];
    return get_version(m->ix, "gone-entry", key, name_key(key, parent, name, len), v, any);
}

int merge_pending_put(struct merge *m, uint64_t parent, const char *name, size_t len,
                      struct version v)
{
    uint8_t key[NAME_KEY];
    m->local = true;
    return put_version(m->ix, "gone-entry", key, name_key(key, parent, name, len), v);
}

int merge_pending_del(struct merge *m, uint64_t parent, const char *name, size_t len)
{
    uint8_t key[NAME_KEY];
    return del(m->ix, "gone-entry", key, name_key(key, parent, name, len));
}

int merge_folded_get(struct merge *m, uint64_t ino, uint64_t *into)
{
    uint8_t key[8];
    struct bytes_out value;
    be64(key, ino);
    bytes_out_init(&value);
    int err = index_kv_get(m->ix, "folded", key, sizeof(key), &value);
    if (!err && value.len != 8)
        err = ERR_FORMAT;
    *into = err ? 0 : bytes_from_le64(value.p);
    bytes_out_release(&value);
    return err == ERR_NOENT ? 0 : err;
}

int merge_folded_put(struct merge *m, uint64_t ino, uint64_t into)
{
    uint8_t key[8], value[8];
    be64(key, ino);
    bytes_le64(value, into);
    return index_kv_put(m->ix, "folded", key, sizeof(key), value, sizeof(value));
}

int merge_doomed_get(struct merge *m, uint64_t ino, struct version *v, bool *any)
{
    uint8_t key[8];
    be64(key, ino);
    return get_version(m->ix, "doomed", key, sizeof(key), v, any);
}

int merge_doomed_put(struct merge *m, uint64_t ino, struct version v)
{
    uint8_t key[8];
    be64(key, ino);
    return put_version(m->ix, "doomed", key, sizeof(key), v);
}

int merge_doomed_del(struct merge *m, uint64_t ino)
{
    uint8_t key[8];
    be64(key, ino);
    return del(m->ix, "doomed", key, sizeof(key));
}

int merge_gone_pending(struct merge *m, uint64_t ino, bool *any)
{
    uint8_t key[8];
    struct version v;
    be64(key, ino);
    return get_version(m->ix, "gone-inode", key, sizeof(key), &v, any);
}

int merge_gone_put(struct merge *m, uint64_t ino, struct version version)
{
    uint8_t key[8];
    be64(key, ino);
    m->local = true;
    return put_version(m->ix, "gone-inode", key, sizeof(key), version);
}

int merge_gone_doubt(struct merge *m, uint64_t ino)
{
    uint8_t key[8];
    bool any;
    be64(key, ino);
    int err = merge_gone_pending(m, ino, &any);
    return err || !any ? err
                       : put_version(m->ix, "gone-inode", key, sizeof(key), (struct version){0, 0});
}

/* ---- published again ---- */

int merge_again_put(struct merge *m, uint64_t ino, bool edited)
{
    uint8_t key[8];
    struct inode inode;
    be64(key, ino);
    m->local = true;
    int err = index_inode_get(m->ix, ino, &inode);
    if (err)
        return err;
    const uint32_t dirty = inode.dirty & ~(uint32_t)DIRTY_AGAIN;
    inode.dirty = edited ? dirty : dirty | DIRTY_AGAIN;
    err = index_inode_put(m->ix, &inode);
    return err ? err : index_kv_put(m->ix, "again", key, sizeof(key), "", 0);
}

int merge_edited(struct merge *m, const struct inode *inode, uint32_t *bits)
{
    *bits = inode->dirty & DIRTY_AGAIN ? 0 : inode->dirty;
    return 0;
}

int merge_again_follow(struct merge *m, const struct inode *inode, bool same)
{
    uint8_t key[8];
    struct inode stored;
    be64(key, inode->ino);
    if (inode->dirty & ~(uint32_t)DIRTY_AGAIN)
        return same ? merge_again_put(m, inode->ino, false) : 0;
    int err = index_inode_get(m->ix, inode->ino, &stored);
    if (!err && stored.dirty & DIRTY_AGAIN) {
        stored.dirty = 0;
        err = index_inode_put(m->ix, &stored);
    }
    if (err && err != ERR_NOENT)
        return err;
    return del(m->ix, "again", key, sizeof(key));
}

int merge_republish(struct merge *m, struct inode *inode)
{
    uint32_t bits;
    bool stand_in;
    int err = merge_is_stand_in(m->ix, inode->ino, &stand_in);
    if (err || stand_in)
        return err;
    err = merge_edited(m, inode, &bits);
    if (err)
        return err;
    inode->dirty |= DIRTY_ATTR | DIRTY_XATTR;
    if (S_ISREG(inode->mode))
        inode->dirty |= DIRTY_CONTENT;
    m->local = true;
    err = index_inode_put(m->ix, inode);
    if (!err)
        err = merge_again_put(m, inode->ino, bits != 0);
    return err ? err : index_inode_get(m->ix, inode->ino, inode);
}

/* ---- stand-ins, and files without a name ---- */

int merge_stand_in_mark(struct merge *m, uint64_t ino, bool stand_in)
{
    uint8_t key[8];
    be64(key, ino);
    return stand_in ? index_kv_put(m->ix, "stand-in", key, sizeof(key), "", 0)
                    : del(m->ix, "stand-in", key, sizeof(key));
}

int merge_is_stand_in(struct index *ix, uint64_t ino, bool *stand_in)
{
    return has(ix, "stand-in", ino, stand_in);
}

int merge_nameless_put(struct merge *m, const struct merge_lost *name)
{
    uint8_t key[8], value[NAME_KEY];
    be64(key, name->ino);
    return index_kv_put(m->ix, "nameless", key, sizeof(key), value,
                        name_key(value, name->parent, name->name, name->len));
}

int merge_nameless_get(struct merge *m, uint64_t ino, struct merge_lost *name)
{
    uint8_t key[8];
    struct bytes_out value;
    be64(key, ino);
    bytes_out_init(&value);
    int err = index_kv_get(m->ix, "nameless", key, sizeof(key), &value);
    if (!err && (value.len < 9 || value.len > NAME_KEY))
        err = ERR_FORMAT;
    if (!err) {
        name->ino = ino;
        name->parent = 0;
        for (size_t i = 0; i < 8; i++)
            name->parent = name->parent << 8 | value.p[i];
        name->len = value.len - 8;
        memcpy(name->name, value.p + 8, name->len);
    }
    bytes_out_release(&value);
    return err;
}

int merge_nameless_del(struct merge *m, uint64_t ino)
{
    uint8_t key[8];
    be64(key, ino);
    return del(m->ix, "nameless", key, sizeof(key));
}

/* ---- what push tells and asks ---- */

int merge_published_deletion(struct index *ix, uint64_t parent, const char *name, size_t len,
                             struct version version)
{
    uint8_t key[NAME_KEY];
    return put_version(ix, "absent", key, name_key(key, parent, name, len), version);
}

int merge_published_inode(struct index *ix, uint64_t ino)
{
    uint8_t key[8];
    be64(key, ino);
    int err = del(ix, "again", key, sizeof(key));
    return err ? err
               : del(ix, "stand-in", key, sizeof(key)); /* it is one no more: others know it so */
}

int merge_wants_whole(struct index *ix, uint64_t ino, bool *whole)
{
    return has(ix, "again", ino, whole);
}

int merge_publish_whole(struct index *ix, struct inode *inode)
{
    uint8_t key[8];
    bool already;
    int err = merge_wants_whole(ix, inode->ino, &already);
    if (err || (already && inode->dirty & DIRTY_CONTENT))
        return err;
    if (!inode->dirty)
        inode->dirty = DIRTY_AGAIN;
    inode->dirty |= DIRTY_CONTENT;
    err = index_inode_put(ix, inode);
    be64(key, inode->ino);
    return err || already ? err : index_kv_put(ix, "again", key, sizeof(key), "", 0);
}
