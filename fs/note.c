#include "fs/note.h"

#include "crypto/err.h"
#include "crypto/seal.h"
#include "fs/index.h"

#include <string.h>

#define XATTR_NAME_MAX 255u

/* [note-inode-mask] */
enum {
    HAS_MODE = 1 << 0,
    HAS_NLINK = 1 << 1,
    HAS_UID = 1 << 2,
    HAS_GID = 1 << 3,
    HAS_RDEV = 1 << 4,
    HAS_SIZE = 1 << 5,
    HAS_ATIME = 1 << 6,
    HAS_MTIME = 1 << 7,
    HAS_CTIME = 1 << 8,
    HAS_BTIME = 1 << 9,
    HAS_PARENT = 1 << 10,
    HAS_ATTR_VERSION = 1 << 11,
    HAS_CONTENT_VERSION = 1 << 12,
    HAS_XATTR_VERSION = 1 << 13,
    HAS_DIRTY = 1 << 14,
    HAS_ALL = (1 << 15) - 1
};

/* ---- writing ---- */

size_t note_group_begin(struct bytes_out *out, unsigned origin)
{
    size_t mark = out->len;
    bytes_put_u8(out, (uint8_t)origin);
    bytes_put_u32(out, 0);
    return mark;
}

void note_group_end(struct bytes_out *out, size_t mark)
{
    if (out->bad)
        return;
    size_t len = out->len - mark - NOTE_GROUP_HEAD;
    if (len == 0)
        out->len = mark;
    else if (len > UINT32_MAX)
        out->bad = true;
    else
        bytes_le32(out->p + mark + 1, (uint32_t)len);
}

static void put_head(struct bytes_out *out, enum note_kind kind, uint64_t ino)
{
    bytes_put_u8(out, (uint8_t)kind);
    bytes_put_u64(out, ino);
}

static void put_version(struct bytes_out *out, struct version v)
{
    bytes_put_u64(out, v.lamport);
    bytes_put_u32(out, v.device);
}

static bool version_set(struct version v)
{
    return v.lamport != 0 || v.device != 0;
}

static uint16_t inode_mask(const struct inode *in)
{
    unsigned mask = 0;
    mask |= in->mode ? HAS_MODE : 0u;
    mask |= in->nlink ? HAS_NLINK : 0u;
    mask |= in->uid ? HAS_UID : 0u;
    mask |= in->gid ? HAS_GID : 0u;
    mask |= in->rdev ? HAS_RDEV : 0u;
    mask |= in->size ? HAS_SIZE : 0u;
    mask |= in->atime ? HAS_ATIME : 0u;
    mask |= in->mtime ? HAS_MTIME : 0u;
    mask |= in->ctime ? HAS_CTIME : 0u;
    mask |= in->btime ? HAS_BTIME : 0u;
    mask |= in->parent ? HAS_PARENT : 0u;
    mask |= version_set(in->attr_version) ? HAS_ATTR_VERSION : 0u;
    mask |= version_set(in->content_version) ? HAS_CONTENT_VERSION : 0u;
    mask |= version_set(in->xattr_version) ? HAS_XATTR_VERSION : 0u;
    mask |= in->dirty ? HAS_DIRTY : 0u;
    return (uint16_t)mask;
}

void note_inode_put(struct bytes_out *out, const struct inode *in)
{
    const uint16_t mask = inode_mask(in);
    const uint32_t small[] = {in->mode, in->nlink, in->uid, in->gid, in->rdev};
    const uint64_t large[] = {in->size,
                              (uint64_t)in->atime,
                              (uint64_t)in->mtime,
                              (uint64_t)in->ctime,
                              (uint64_t)in->btime,
                              in->parent};

    put_head(out, NOTE_INODE_PUT, in->ino);
    bytes_put_u16(out, mask);
    for (unsigned i = 0; i < 5; i++)
        if (mask & (HAS_MODE << i))
            bytes_put_u32(out, small[i]);
    for (unsigned i = 0; i < 6; i++)
        if (mask & (HAS_SIZE << i))
            bytes_put_u64(out, large[i]);
    if (mask & HAS_ATTR_VERSION)
        put_version(out, in->attr_version);
    if (mask & HAS_CONTENT_VERSION)
        put_version(out, in->content_version);
    if (mask & HAS_XATTR_VERSION)
        put_version(out, in->xattr_version);
    if (mask & HAS_DIRTY)
        bytes_put_u8(out, (uint8_t)in->dirty);
}

void note_inode_del(struct bytes_out *out, uint64_t ino)
{
    put_head(out, NOTE_INODE_DEL, ino);
}

void note_target_put(struct bytes_out *out, uint64_t ino, const void *target, size_t len)
{
    put_head(out, NOTE_TARGET_PUT, ino);
    bytes_put_var16(out, target, len);
}

void note_entry_put(struct bytes_out *out, const struct entry *entry)
{
    put_head(out, NOTE_ENTRY_PUT, entry->parent);
    bytes_put_u64(out, entry->ino);
    bytes_put_u32(out, entry->type);
    put_version(out, entry->version);
    bytes_put_u8(out, entry->dirty);
    bytes_put_var16(out, entry->name, entry->name_len);
}

void note_entry_del(struct bytes_out *out, uint64_t parent, const void *name, size_t len)
{
    put_head(out, NOTE_ENTRY_DEL, parent);
    bytes_put_var16(out, name, len);
}

void note_xattr_put(struct bytes_out *out, uint64_t ino, const char *name, const void *value,
                    size_t len)
{
    put_head(out, NOTE_XATTR_PUT, ino);
    bytes_put_var16(out, name, strlen(name));
    bytes_put_var32(out, value, len);
}

void note_xattr_del(struct bytes_out *out, uint64_t ino, const char *name)
{
    put_head(out, NOTE_XATTR_DEL, ino);
    bytes_put_var16(out, name, strlen(name));
}

static void put_places(struct bytes_out *out, const struct extent *e)
{
    bytes_put_u64(out, e->at.seg);
    bytes_put_u64(out, e->at.off);
    bytes_put_u64(out, e->pack);
    bytes_put_u64(out, e->pack_off);
}

void note_extent_put(struct bytes_out *out, const struct extent *e)
{
    put_head(out, NOTE_EXTENT_PUT, e->eid);
    bytes_put(out, e->id, sizeof(e->id));
    bytes_put_u32(out, e->len);
    bytes_put_u32(out, e->epoch);
    put_places(out, e);
}

void note_extent_move(struct bytes_out *out, const struct extent *e)
{
    put_head(out, NOTE_EXTENT_MOVE, e->eid);
    put_places(out, e);
}

void note_map_set(struct bytes_out *out, uint64_t ino, const struct map_row *row)
{
    put_head(out, NOTE_MAP_SET, ino);
    bytes_put_u64(out, row->off);
    bytes_put_u64(out, row->len);
    bytes_put_u64(out, row->eid);
    bytes_put_u32(out, row->eoff);
}

void note_map_punch(struct bytes_out *out, uint64_t ino, uint64_t off, uint64_t len)
{
    put_head(out, NOTE_MAP_PUNCH, ino);
    bytes_put_u64(out, off);
    bytes_put_u64(out, len);
}

void note_ranges_clear(struct bytes_out *out, uint64_t ino)
{
    put_head(out, NOTE_RANGES_CLEAR, ino);
}

void note_kv_put(struct bytes_out *out, const char *space, const void *key, size_t key_len,
                 const void *value, size_t len)
{
    bytes_put_u8(out, NOTE_KV_PUT);
    bytes_put_var16(out, space, strlen(space));
    bytes_put_var16(out, key, key_len);
    bytes_put_var32(out, value, len);
}

void note_kv_del(struct bytes_out *out, const char *space, const void *key, size_t key_len)
{
    bytes_put_u8(out, NOTE_KV_DEL);
    bytes_put_var16(out, space, strlen(space));
    bytes_put_var16(out, key, key_len);
}

/* ---- reading ---- */

size_t note_group_size(const uint8_t *p, size_t left)
{
    if (left < NOTE_GROUP_HEAD)
        return 0;
    size_t size = NOTE_GROUP_HEAD + (size_t)bytes_from_le32(p + 1);
    return size <= left ? size : 0;
}

int note_group_next(struct bytes_in *in, unsigned *origin, struct bytes_in *notes)
{
    if (in->left == 0)
        return in->bad ? ERR_FORMAT : 0;
    *origin = bytes_get_u8(in);
    size_t len = bytes_get_u32(in);
    const uint8_t *p = bytes_get_ref(in, len);
    if (!p || len == 0 || (*origin != INDEX_LOCAL && *origin != INDEX_REMOTE))
        return ERR_FORMAT;
    bytes_in_init(notes, p, len);
    return 1;
}

static struct version get_version(struct bytes_in *in)
{
    struct version v;
    v.lamport = bytes_get_u64(in);
    v.device = bytes_get_u32(in);
    return v;
}

/* Names of entries and xattrs and kv spaces: at least a byte, no NUL. */
static void get_name(struct bytes_in *in, struct note *note, size_t max)
{
    note->name = bytes_get_var16(in, max, &note->name_len);
    if (!note->name || note->name_len == 0 || memchr(note->name, 0, note->name_len))
        in->bad = true;
}

static void get_entry_name(struct bytes_in *in, struct note *note)
{
    get_name(in, note, NAME_LEN_MAX);
    if (!in->bad && memchr(note->name, '/', note->name_len))
        in->bad = true;
}

static void get_inode(struct bytes_in *in, struct note *note)
{
    struct inode *inode = &note->inode;
    memset(inode, 0, sizeof(*inode));
    inode->ino = note->ino;
    const unsigned mask = bytes_get_u16(in);
    uint32_t *const small[] = {&inode->mode, &inode->nlink, &inode->uid, &inode->gid, &inode->rdev};
    int64_t *const times[] = {&inode->atime, &inode->mtime, &inode->ctime, &inode->btime};

    for (unsigned i = 0; i < 5; i++)
        if (mask & ((unsigned)HAS_MODE << i))
            *small[i] = bytes_get_u32(in);
    if (mask & HAS_SIZE)
        inode->size = bytes_get_u64(in);
    for (unsigned i = 0; i < 4; i++)
        if (mask & ((unsigned)HAS_ATIME << i))
            *times[i] = bytes_get_i64(in);
    if (mask & HAS_PARENT)
        inode->parent = bytes_get_u64(in);
    if (mask & HAS_ATTR_VERSION)
        inode->attr_version = get_version(in);
    if (mask & HAS_CONTENT_VERSION)
        inode->content_version = get_version(in);
    if (mask & HAS_XATTR_VERSION)
        inode->xattr_version = get_version(in);
    if (mask & HAS_DIRTY)
        inode->dirty = bytes_get_u8(in);
    if ((mask & ~(unsigned)HAS_ALL) || inode->size > FILE_SIZE_MAX || inode->parent > INT64_MAX)
        in->bad = true;
}

static void get_entry(struct bytes_in *in, struct note *note)
{
    struct entry *entry = &note->entry;
    memset(entry, 0, sizeof(*entry));
    entry->parent = note->ino;
    entry->ino = bytes_get_u64(in);
    entry->type = bytes_get_u32(in);
    entry->version = get_version(in);
    uint8_t dirty = bytes_get_u8(in);
    entry->dirty = dirty != 0;
    get_entry_name(in, note);
    if (dirty > 1 || entry->ino == 0 || entry->ino > INT64_MAX)
        in->bad = true;
    if (in->bad)
        return;
    memcpy(entry->name, note->name, note->name_len);
    entry->name_len = (uint8_t)note->name_len;
}

static void get_extent(struct bytes_in *in, struct note *note)
{
    struct extent *e = &note->extent;
    memset(e, 0, sizeof(*e));
    e->eid = note->ino;
    if (note->kind == NOTE_EXTENT_PUT) {
        bytes_get(in, e->id, sizeof(e->id));
        e->len = bytes_get_u32(in);
        e->epoch = bytes_get_u32(in);
        if (e->len == 0 || e->len > SEAL_EXTENT_MAX)
            in->bad = true;
    }
    e->at.seg = bytes_get_u64(in);
    e->at.off = bytes_get_u64(in);
    e->pack = bytes_get_u64(in);
    e->pack_off = bytes_get_u64(in);
    if (e->at.seg > INT64_MAX || e->at.off > INT64_MAX || e->pack > INT64_MAX ||
        e->pack_off > INT64_MAX)
        in->bad = true;
}

static void get_map(struct bytes_in *in, struct note *note)
{
    struct map_row *row = &note->map;
    memset(row, 0, sizeof(*row));
    row->off = bytes_get_u64(in);
    row->len = bytes_get_u64(in);
    bool to_end = note->kind == NOTE_MAP_PUNCH && row->len == UINT64_MAX;
    if (note->kind == NOTE_MAP_SET) {
        row->eid = bytes_get_u64(in);
        row->eoff = bytes_get_u32(in);
    }
    if (row->off > FILE_SIZE_MAX || row->len == 0 || row->eid > INT64_MAX ||
        (!to_end && row->len > FILE_SIZE_MAX - row->off))
        in->bad = true;
}

static void get_fields(struct bytes_in *in, struct note *note)
{
    switch (note->kind) {
    case NOTE_INODE_PUT:
        get_inode(in, note);
        break;
    case NOTE_INODE_DEL:
    case NOTE_RANGES_CLEAR:
        break;
    case NOTE_TARGET_PUT:
        note->value = bytes_get_var16(in, TARGET_LEN_MAX, &note->value_len);
        break;
    case NOTE_ENTRY_PUT:
        get_entry(in, note);
        break;
    case NOTE_ENTRY_DEL:
        get_entry_name(in, note);
        break;
    case NOTE_XATTR_PUT:
        get_name(in, note, XATTR_NAME_MAX);
        note->value = bytes_get_var32(in, XATTR_SIZE_LIMIT, &note->value_len);
        break;
    case NOTE_XATTR_DEL:
        get_name(in, note, XATTR_NAME_MAX);
        break;
    case NOTE_EXTENT_PUT:
    case NOTE_EXTENT_MOVE:
        get_extent(in, note);
        break;
    case NOTE_MAP_SET:
    case NOTE_MAP_PUNCH:
        get_map(in, note);
        break;
    case NOTE_KV_PUT:
    case NOTE_KV_DEL:
        get_name(in, note, NOTE_SPACE_MAX);
        note->key = bytes_get_var16(in, NOTE_KEY_MAX, &note->key_len);
        if (note->kind == NOTE_KV_PUT)
            note->value = bytes_get_var32(in, NOTE_VALUE_MAX, &note->value_len);
        break;
    default:
        in->bad = true;
    }
}

int note_next(struct bytes_in *notes, struct note *note)
{
    if (notes->left == 0)
        return notes->bad ? ERR_FORMAT : 0;
    note->kind = bytes_get_u8(notes);
    note->ino = 0;
    note->name = note->key = note->value = NULL;
    note->name_len = note->key_len = note->value_len = 0;
    if (note->kind != NOTE_KV_PUT && note->kind != NOTE_KV_DEL) {
        note->ino = bytes_get_u64(notes);
        if (note->ino == 0 || note->ino > INT64_MAX)
            notes->bad = true;
    }
    get_fields(notes, note);
    return notes->bad ? ERR_FORMAT : 1;
}
