#include "crypto/err.h"
#include "crypto/kdf.h"
#include "sync/batch_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pack_ref {
    uint8_t name[32];
    uint32_t size;
};

struct batch_writer {
    struct bytes_out records; /* plaintext: wiped when freed */
    struct pack_ref *packs;
    uint32_t *pack_size; /* the same sizes, as batch_range_valid wants them */
    size_t pack_count, pack_cap;
};

struct batch_writer *batch_writer_new(void)
{
    struct batch_writer *w = calloc(1, sizeof(*w));
    if (w) {
        bytes_out_init(&w->records);
        w->records.secret = true;
    }
    return w;
}

void batch_writer_free(struct batch_writer *w)
{
    if (!w)
        return;
    bytes_out_release(&w->records);
    free(w->packs);
    free(w->pack_size);
    free(w);
}

size_t batch_writer_size(const struct batch_writer *w)
{
    return w->records.len;
}

static void put_base(struct bytes_out *out, const struct version *base)
{
    bytes_put_u64(out, base->lamport);
    bytes_put_u32(out, base->device);
}

static void put_attr(struct bytes_out *out, const struct batch_record *r)
{
    const struct inode *i = &r->u.attr.inode;
    bytes_put_u64(out, i->ino);
    bytes_put_u32(out, i->mode);
    bytes_put_u32(out, i->uid);
    bytes_put_u32(out, i->gid);
    bytes_put_u32(out, i->rdev);
    bytes_put_i64(out, i->atime);
    bytes_put_i64(out, i->mtime);
    bytes_put_i64(out, i->ctime);
    bytes_put_i64(out, i->btime);
    bytes_put_var16(out, r->u.attr.target, r->u.attr.target_len);
}

static void put_range(struct bytes_out *out, const struct batch_range *range)
{
    bytes_put_u64(out, range->off);
    bytes_put_u64(out, range->len);
    bytes_put_u8(out, range->hole);
    if (range->hole)
        return;
    bytes_put(out, range->id, sizeof(range->id));
    bytes_put_u32(out, range->extent_len);
    bytes_put_u32(out, range->epoch);
    bytes_put_u32(out, range->eoff);
    bytes_put_u32(out, range->pack);
    bytes_put_u32(out, (uint32_t)range->pack_off);
}

static int put_content(struct batch_writer *w, const struct batch_record *r)
{
    struct bytes_out *out = &w->records;
    bytes_put_u64(out, r->u.content.ino);
    bytes_put_u64(out, r->u.content.size);
    bytes_put_i64(out, r->u.content.mtime);
    bytes_put_u8(out, r->u.content.whole);
    bytes_put_u64(out, r->u.content.parent);
    bytes_put_var16(out, r->u.content.name, r->u.content.name_len);
    bytes_put_u32(out, (uint32_t)r->u.content.range_count);
    uint64_t not_before = 0;
    for (size_t i = 0; i < r->u.content.range_count; i++) {
        const struct batch_range *range = &r->u.content.ranges[i];
        if (!batch_range_valid(range, not_before, r->u.content.size, w->pack_size, w->pack_count))
            return ERR_MISUSE;
        put_range(out, range);
        not_before = range->off + range->len;
    }
    return 0;
}

static int put_fields(struct batch_writer *w, const struct batch_record *r)
{
    struct bytes_out *out = &w->records;
    if (r->kind != BATCH_PACK)
        put_base(out, &r->base);
    switch (r->kind) {
    case BATCH_PACK:
        bytes_put(out, r->u.pack.name, sizeof(r->u.pack.name));
        bytes_put_u64(out, r->u.pack.size);
        break;
    case BATCH_ATTR:
        put_attr(out, r);
        break;
    case BATCH_CONTENT:
        return put_content(w, r);
    case BATCH_XATTRS:
        bytes_put_u64(out, r->u.xattrs.ino);
        bytes_put(out, r->u.xattrs.pairs, r->u.xattrs.pairs_len);
        break;
    case BATCH_ENTRY:
        bytes_put_u64(out, r->u.entry.parent);
        bytes_put_u64(out, r->u.entry.ino);
        bytes_put_u32(out, r->u.entry.type);
        bytes_put_var16(out, r->u.entry.name, r->u.entry.name_len);
        break;
    default:
        bytes_put_u64(out, r->u.gone.ino);
        break;
    }
    return 0;
}

/* [batch-record] */
static int put_record(struct batch_writer *w, const struct batch_record *r)
{
    struct bytes_out *out = &w->records;
    size_t start = out->len;
    bytes_put_u8(out, (uint8_t)r->kind);
    bytes_put_u32(out, 0);
    int err = put_fields(w, r);
    if (!err && out->bad)
        err = ERR_NOMEM;
    if (err) {
        out->len = start;
        out->bad = false;
        return err;
    }
    bytes_le32(out->p + start + 1, (uint32_t)(out->len - start - BATCH_RECORD_HEAD));
    return 0;
}

int batch_write(struct batch_writer *w, const struct batch_record *record)
{
    if (!batch_record_valid(record))
        return ERR_MISUSE;
    if (record->kind == BATCH_PACK) {
        uint32_t order;
        return batch_write_pack(w, record->u.pack.name, record->u.pack.size, &order);
    }
    return put_record(w, record);
}

static int pack_room(struct batch_writer *w)
{
    if (w->pack_count < w->pack_cap)
        return 0;
    size_t cap = w->pack_cap ? w->pack_cap * 2 : 16;
    struct pack_ref *packs = realloc(w->packs, cap * sizeof(*packs));
    if (packs)
        w->packs = packs;
    uint32_t *sizes = realloc(w->pack_size, cap * sizeof(*sizes));
    if (sizes)
        w->pack_size = sizes;
    if (!packs || !sizes)
        return ERR_NOMEM;
    w->pack_cap = cap;
    return 0;
}

int batch_write_pack(struct batch_writer *w, const uint8_t name[32], uint64_t size, uint32_t *order)
{
    /* Files that lie beside each other are in few packs: the last ones are the likely ones. */
    for (size_t i = w->pack_count; i-- > 0;)
        if (memcmp(w->packs[i].name, name, 32) == 0) {
            *order = (uint32_t)i;
            return w->packs[i].size == size ? 0 : ERR_MISUSE;
        }
    struct batch_record r = {.kind = BATCH_PACK, .u.pack.size = size};
    memcpy(r.u.pack.name, name, 32);
    if (!batch_record_valid(&r))
        return ERR_MISUSE;
    int err = pack_room(w);
    if (!err)
        err = put_record(w, &r);
    if (err)
        return err;
    memcpy(w->packs[w->pack_count].name, name, 32);
    w->packs[w->pack_count].size = (uint32_t)size;
    w->pack_size[w->pack_count] = (uint32_t)size;
    *order = (uint32_t)w->pack_count++;
    return 0;
}

/* The size of the sealed body says little about its content. [batch-body] */
static int pad(struct batch_writer *w)
{
    size_t least = w->records.len + BATCH_RECORD_HEAD + OBJECT_OVERHEAD;
    size_t zeroes = object_padme(least, BATCH_BODY_MIN) - least;
    bytes_put_u8(&w->records, BATCH_PAD);
    bytes_put_u32(&w->records, (uint32_t)zeroes);
    uint8_t *at = bytes_put_space(&w->records, zeroes);
    if (at && zeroes)
        memset(at, 0, zeroes);
    return w->records.bad ? ERR_NOMEM : 0;
}

/* [batch-head] */
static int put_head(struct bytes_out *out, const struct batch_head *head)
{
    static const uint8_t none[32];
    bool first = memcmp(head->prev, none, sizeof(none)) == 0;
    if (head->seq == 0 || (head->seq == 1) != first || head->epoch == 0 || head->lamport == 0 ||
        head->lamport > BATCH_LAMPORT_MAX || head->ref_count > BATCH_HEADS_MAX)
        return ERR_MISUSE;
    bytes_put(out, BATCH_MAGIC, 4);
    bytes_put_u8(out, BATCH_VERSION);
    bytes_put_u8(out, BATCH_SUITE);
    bytes_put_u16(out, 0);
    bytes_put(out, head->vault_id, 32);
    bytes_put(out, head->device_key, SIGN_PUBLIC_LEN);
    bytes_put_u64(out, head->seq);
    bytes_put(out, head->prev, 32);
    bytes_put(out, head->roster, 32);
    bytes_put_u32(out, head->epoch);
    bytes_put_u64(out, head->lamport);
    bytes_put_u16(out, head->ref_count);
    uint32_t before = 0;
    for (size_t i = 0; i < head->ref_count; i++) {
        const struct batch_head_ref *ref = &head->refs[i];
        if (ref->device <= before || ref->device > BATCH_TAG_MAX || ref->seq == 0)
            return ERR_MISUSE;
        before = ref->device;
        bytes_put_u32(out, ref->device);
        bytes_put_u64(out, ref->seq);
        bytes_put(out, ref->hash, 32);
    }
    return 0;
}

int batch_finish(struct batch_writer *w, const struct batch_head *head,
                 const uint8_t epoch_key[SECRET_KEY_LEN], const char *name,
                 const struct sign_keys *keys, struct bytes_out *out)
{
    size_t start = out->len;
    uint8_t *key = secret_alloc(SECRET_KEY_LEN);
    int err = key ? pad(w) : ERR_NOMEM;
    if (!err)
        err = put_head(out, head);
    if (!err) {
        kdf_derive(key, epoch_key, KDF_JOURNAL);
        bytes_put_u32(out, (uint32_t)(w->records.len + OBJECT_OVERHEAD));
        err = object_seal(out, OBJECT_BATCH, head->epoch, key, head->vault_id, name, w->records.p,
                          w->records.len);
    }
    if (!err) {
        uint8_t sig[SIGN_LEN]; /* [batch-signature] */
        if (!out->bad)
            sign_make(keys, BATCH_DOMAIN, out->p + start, out->len - start, sig);
        bytes_put(out, sig, out->bad ? 0 : sizeof(sig));
        if (!out->bad && out->len - start > BATCH_MAX)
            err = ERR_MISUSE;
    }
    if (!err && out->bad)
        err = ERR_NOMEM;
    if (err)
        out->len = start;
    secret_free(key);
    return err;
}

void batch_name(const char *device, uint64_t seq, char name[BATCH_NAME_LEN])
{
    snprintf(name, BATCH_NAME_LEN, "journal/%.32s/%016llx", device, (unsigned long long)seq);
}
