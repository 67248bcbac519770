#include "crypto/err.h"
#include "fs/inode.h"
#include "sync/batch_format.h"
#include "sync/pack.h"

#include <string.h>

static bool tag_valid(uint32_t tag)
{
    return tag >= 1 && tag <= BATCH_TAG_MAX;
}

static bool ino_valid(uint64_t ino)
{
    uint64_t tag = ino >> INODE_TAG_SHIFT;
    return ino == INODE_ROOT || (tag >= 1 && tag <= BATCH_TAG_MAX);
}

static bool version_valid(const struct version *v)
{
    if (v->lamport == 0)
        return v->device == 0;
    return v->lamport <= BATCH_LAMPORT_MAX && tag_valid(v->device);
}

static bool type_valid(uint32_t type)
{
    switch (type) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
        return true;
    default:
        return false;
    }
}

static bool name_valid(const char *name, size_t len)
{
    if (len < 1 || len > NAME_LEN_MAX || memchr(name, '/', len) || memchr(name, '\0', len))
        return false;
    return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

static bool attr_valid(const struct batch_record *r)
{
    const struct inode *i = &r->u.attr.inode;
    uint32_t type = i->mode & S_IFMT;
    bool device = type == S_IFCHR || type == S_IFBLK;
    if (!ino_valid(i->ino) || i->mode > 0177777 || !type_valid(type) || (i->rdev && !device))
        return false;
    if (i->ino == INODE_ROOT && type != S_IFDIR)
        return false;
    size_t len = r->u.attr.target_len;
    if (type != S_IFLNK)
        return len == 0;
    return len >= 1 && len <= TARGET_LEN_MAX && !memchr(r->u.attr.target, '\0', len);
}

static bool content_valid(const struct batch_record *r)
{
    uint64_t parent = r->u.content.parent;
    size_t len = r->u.content.name_len;
    if (!ino_valid(r->u.content.ino) || r->u.content.ino == INODE_ROOT)
        return false;
    if (r->u.content.size > (uint64_t)FILE_SIZE_MAX || r->u.content.range_count > BATCH_RANGES_MAX)
        return false;
    if (parent == 0 && len == 0)
        return true;
    return ino_valid(parent) && name_valid(r->u.content.name, len);
}

/* By ascending name, so that there are no two of one name and all devices write the same bytes. */
static bool xattrs_valid(const struct batch_record *r)
{
    struct bytes_in in;
    uint16_t count, seen = 0;
    const char *name, *before = NULL;
    size_t len, before_len = 0, value_len;
    const void *value;
    batch_xattrs_begin(&in, r, &count);
    if (!ino_valid(r->u.xattrs.ino) || count > BATCH_XATTRS_MAX)
        return false;
    for (; seen < count && batch_xattrs_next(&in, &name, &len, &value, &value_len); seen++) {
        if (len < 1 || len > NAME_LEN_MAX || memchr(name, '\0', len))
            return false;
        if (before) {
            int order = memcmp(before, name, before_len < len ? before_len : len);
            if (order > 0 || (order == 0 && before_len >= len))
                return false;
        }
        before = name;
        before_len = len;
    }
    return seen == count && bytes_in_done(&in) == 0;
}

static bool entry_valid(const struct batch_record *r)
{
    uint64_t ino = r->u.entry.ino, parent = r->u.entry.parent;
    if (!ino_valid(parent) || !name_valid(r->u.entry.name, r->u.entry.name_len))
        return false;
    if (ino == 0)
        return r->u.entry.type == 0;
    return ino_valid(ino) && ino != INODE_ROOT && ino != parent && type_valid(r->u.entry.type);
}

bool batch_record_valid(const struct batch_record *r)
{
    if (r->kind == BATCH_PACK)
        return r->u.pack.size >= PACK_MIN && r->u.pack.size <= PACK_SIZE;
    if (!version_valid(&r->base))
        return false;
    switch (r->kind) {
    case BATCH_ATTR:
        return attr_valid(r);
    case BATCH_CONTENT:
        return content_valid(r);
    case BATCH_XATTRS:
        return xattrs_valid(r);
    case BATCH_ENTRY:
        return entry_valid(r);
    case BATCH_GONE:
        return ino_valid(r->u.gone.ino) && r->u.gone.ino != INODE_ROOT;
    default:
        return false;
    }
}

bool batch_range_valid(const struct batch_range *range, uint64_t not_before, uint64_t size,
                       const uint32_t *pack_size, size_t packs)
{
    if (range->len == 0 || range->off < not_before || range->off > size ||
        range->len > size - range->off)
        return false;
    if (range->hole)
        return true;
    if (range->extent_len < 1 || range->extent_len > SEAL_EXTENT_MAX || range->epoch == 0)
        return false;
    if (range->eoff > range->extent_len || range->len > range->extent_len - range->eoff)
        return false;
    if (range->pack >= packs)
        return false;
    uint64_t room = pack_size[range->pack] - PACK_TRAILER, sealed = seal_size(range->extent_len);
    return range->pack_off >= PACK_HEAD && range->pack_off <= room &&
           sealed <= room - range->pack_off;
}
