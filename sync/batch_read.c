#include "crypto/err.h"
#include "crypto/kdf.h"
#include "sync/batch_format.h"

#include <stdlib.h>
#include <string.h>

/* ---- head ---- */

static int check_magic(struct bytes_in *in)
{
    const uint8_t *magic = bytes_get_ref(in, 4);
    uint8_t version = bytes_get_u8(in), suite = bytes_get_u8(in);
    uint16_t zero = bytes_get_u16(in);
    if (in->bad || memcmp(magic, BATCH_MAGIC, 4) != 0 || version == 0 || suite == 0)
        return ERR_FORMAT;
    if (version != BATCH_VERSION || suite != BATCH_SUITE)
        return ERR_VERSION;
    return zero ? ERR_FORMAT : 0;
}

int batch_peek(const uint8_t *p, size_t len, uint8_t device_key[SIGN_PUBLIC_LEN])
{
    struct bytes_in in;
    bytes_in_init(&in, p, len);
    int err = len > BATCH_MAX ? ERR_FORMAT : check_magic(&in);
    bytes_get_ref(&in, 32);
    bytes_get(&in, device_key, SIGN_PUBLIC_LEN);
    return err ? err : in.bad ? ERR_FORMAT : 0;
}

static int get_refs(struct bytes_in *in, struct batch_head *head)
{
    uint16_t n = bytes_get_u16(in);
    if (in->bad || n > BATCH_HEADS_MAX || n > in->left / BATCH_REF_LEN)
        return ERR_FORMAT;
    if (n == 0)
        return 0;
    head->refs = calloc(n, sizeof(*head->refs));
    if (!head->refs)
        return ERR_NOMEM;
    head->ref_count = n;
    uint32_t before = 0;
    for (size_t i = 0; i < n; i++) {
        struct batch_head_ref *ref = &head->refs[i];
        ref->device = bytes_get_u32(in);
        ref->seq = bytes_get_u64(in);
        bytes_get(in, ref->hash, 32);
        if (ref->device <= before || ref->device > BATCH_TAG_MAX || ref->seq == 0)
            return ERR_FORMAT;
        before = ref->device;
    }
    return 0;
}

/* [batch-head]; leaves *in after it. */
static int get_head(struct bytes_in *in, struct batch_head *head)
{
    static const uint8_t none[32];
    memset(head, 0, sizeof(*head));
    int err = check_magic(in);
    if (err)
        return err;
    bytes_get(in, head->vault_id, 32);
    bytes_get(in, head->device_key, SIGN_PUBLIC_LEN);
    head->seq = bytes_get_u64(in);
    bytes_get(in, head->prev, 32);
    bytes_get(in, head->roster, 32);
    head->epoch = bytes_get_u32(in);
    head->lamport = bytes_get_u64(in);
    err = get_refs(in, head);
    if (!err && (in->bad || head->seq == 0 || head->epoch == 0 || head->lamport == 0 ||
                 head->lamport > BATCH_LAMPORT_MAX))
        err = ERR_FORMAT;
    if (!err && (head->seq == 1) != (memcmp(head->prev, none, sizeof(none)) == 0))
        err = ERR_FORMAT;
    if (err)
        batch_head_release(head);
    return err;
}

void batch_head_release(struct batch_head *head)
{
    free(head->refs);
    head->refs = NULL;
    head->ref_count = 0;
}

/* The frame: head, sealed body, signature, nothing else. */
static int open_frame(const uint8_t *p, size_t len, struct batch_head *head, const uint8_t **body,
                      size_t *body_len)
{
    struct bytes_in in;
    bytes_in_init(&in, p, len);
    memset(head, 0, sizeof(*head));
    int err = len > BATCH_MAX ? ERR_FORMAT : get_head(&in, head);
    if (err)
        return err;
    *body = bytes_get_var32(&in, BATCH_MAX, body_len);
    bytes_get_ref(&in, SIGN_LEN);
    if (bytes_in_done(&in)) {
        batch_head_release(head);
        return ERR_FORMAT;
    }
    return 0;
}

int batch_open_head(const uint8_t *p, size_t len, struct batch_head *head, uint8_t hash[32])
{
    const uint8_t *body;
    size_t body_len;
    int err = open_frame(p, len, head, &body, &body_len);
    if (err)
        return err;
    err = sign_verify(head->device_key, BATCH_DOMAIN, p, len - SIGN_LEN, p + len - SIGN_LEN);
    if (err) {
        batch_head_release(head);
        return err;
    }
    kdf_hash(hash, BATCH_DOMAIN, p, len);
    return 0;
}

/* ---- body ---- */

struct reader {
    struct bytes_in in;
    struct batch_range *ranges; /* scratch of one CONTENT record */
    size_t range_cap;
    uint32_t *pack_size;
    size_t packs, pack_cap;
};

static int pack_add(struct reader *r, uint64_t size)
{
    if (r->packs == r->pack_cap) {
        size_t cap = r->pack_cap ? r->pack_cap * 2 : 16;
        uint32_t *sizes = realloc(r->pack_size, cap * sizeof(*sizes));
        if (!sizes)
            return ERR_NOMEM;
        r->pack_size = sizes;
        r->pack_cap = cap;
    }
    r->pack_size[r->packs++] = (uint32_t)size;
    return 0;
}

static void get_range(struct bytes_in *in, struct batch_range *range)
{
    memset(range, 0, sizeof(*range));
    range->off = bytes_get_u64(in);
    range->len = bytes_get_u64(in);
    uint8_t hole = bytes_get_u8(in);
    range->hole = hole != 0;
    if (hole > 1)
        in->bad = true;
    if (hole)
        return;
    bytes_get(in, range->id, sizeof(range->id));
    range->extent_len = bytes_get_u32(in);
    range->epoch = bytes_get_u32(in);
    range->eoff = bytes_get_u32(in);
    range->pack = bytes_get_u32(in);
    range->pack_off = bytes_get_u32(in);
}

static int get_ranges(struct reader *r, struct bytes_in *in, struct batch_record *rec)
{
    uint32_t n = bytes_get_u32(in);
    if (in->bad || n > BATCH_RANGES_MAX || n > in->left / BATCH_RANGE_HOLE)
        return ERR_FORMAT;
    if (n > r->range_cap) {
        struct batch_range *ranges = realloc(r->ranges, n * sizeof(*ranges));
        if (!ranges)
            return ERR_NOMEM;
        r->ranges = ranges;
        r->range_cap = n;
    }
    uint64_t not_before = 0;
    for (size_t i = 0; i < n; i++) {
        struct batch_range *range = &r->ranges[i];
        get_range(in, range);
        if (in->bad ||
            !batch_range_valid(range, not_before, rec->u.content.size, r->pack_size, r->packs))
            return ERR_FORMAT;
        not_before = range->off + range->len;
    }
    rec->u.content.ranges = r->ranges;
    rec->u.content.range_count = n;
    return 0;
}

static int get_content(struct reader *r, struct bytes_in *in, struct batch_record *rec)
{
    rec->u.content.ino = bytes_get_u64(in);
    rec->u.content.size = bytes_get_u64(in);
    rec->u.content.mtime = bytes_get_i64(in);
    uint8_t whole = bytes_get_u8(in);
    rec->u.content.whole = whole != 0;
    rec->u.content.parent = bytes_get_u64(in);
    rec->u.content.name = (const char *)bytes_get_var16(in, NAME_LEN_MAX, &rec->u.content.name_len);
    if (in->bad || whole > 1 || rec->u.content.size > (uint64_t)FILE_SIZE_MAX)
        return ERR_FORMAT;
    return get_ranges(r, in, rec);
}

static void get_attr(struct bytes_in *in, struct batch_record *rec)
{
    struct inode *i = &rec->u.attr.inode;
    i->ino = bytes_get_u64(in);
    i->mode = bytes_get_u32(in);
    i->uid = bytes_get_u32(in);
    i->gid = bytes_get_u32(in);
    i->rdev = bytes_get_u32(in);
    i->atime = bytes_get_i64(in);
    i->mtime = bytes_get_i64(in);
    i->ctime = bytes_get_i64(in);
    i->btime = bytes_get_i64(in);
    rec->u.attr.target = (const char *)bytes_get_var16(in, TARGET_LEN_MAX, &rec->u.attr.target_len);
}

static int get_fields(struct reader *r, struct bytes_in *in, struct batch_record *rec)
{
    if (rec->kind != BATCH_PACK) {
        rec->base.lamport = bytes_get_u64(in);
        rec->base.device = bytes_get_u32(in);
    }
    switch (rec->kind) {
    case BATCH_PACK:
        bytes_get(in, rec->u.pack.name, sizeof(rec->u.pack.name));
        rec->u.pack.size = bytes_get_u64(in);
        return 0;
    case BATCH_ATTR:
        get_attr(in, rec);
        return 0;
    case BATCH_CONTENT:
        return get_content(r, in, rec);
    case BATCH_XATTRS:
        rec->u.xattrs.ino = bytes_get_u64(in);
        rec->u.xattrs.pairs_len = in->left;
        rec->u.xattrs.pairs = bytes_get_ref(in, in->left);
        return 0;
    case BATCH_ENTRY:
        rec->u.entry.parent = bytes_get_u64(in);
        rec->u.entry.ino = bytes_get_u64(in);
        rec->u.entry.type = bytes_get_u32(in);
        rec->u.entry.name = (const char *)bytes_get_var16(in, NAME_LEN_MAX, &rec->u.entry.name_len);
        return 0;
    case BATCH_GONE:
        rec->u.gone.ino = bytes_get_u64(in);
        return 0;
    default:
        return ERR_FORMAT;
    }
}

static bool all_zero(const uint8_t *p, size_t len)
{
    uint8_t any = 0;
    for (size_t i = 0; i < len; i++)
        any |= p[i];
    return any == 0;
}

/* The next record but PAD: 1; the end: 0; or an error. [batch-record] */
static int next_record(struct reader *r, struct batch_record *rec)
{
    while (r->in.left) {
        uint8_t kind = bytes_get_u8(&r->in);
        size_t len = bytes_get_u32(&r->in);
        const uint8_t *p = bytes_get_ref(&r->in, len);
        if (!p)
            return ERR_FORMAT;
        if (kind == BATCH_PAD) {
            if (!all_zero(p, len))
                return ERR_FORMAT;
            continue;
        }
        struct bytes_in in;
        bytes_in_init(&in, p, len);
        memset(rec, 0, sizeof(*rec));
        rec->kind = (enum batch_kind)kind;
        int err = get_fields(r, &in, rec);
        if (!err && (bytes_in_done(&in) || !batch_record_valid(rec)))
            err = ERR_FORMAT;
        if (!err && rec->kind == BATCH_PACK)
            err = pack_add(r, rec->u.pack.size);
        return err ? err : 1;
    }
    return 0;
}

int batch_parse_records(const uint8_t *p, size_t len,
                        int (*each)(void *ctx, const struct batch_record *record), void *ctx)
{
    struct reader r = {0};
    struct batch_record rec;
    int got = 0;
    /* Twice: nothing is handed out before all of it is known to be right. */
    for (int pass = 0; pass < 2 && got >= 0; pass++) {
        bytes_in_init(&r.in, p, len);
        r.packs = 0;
        int stop = 0;
        while (!stop && (got = next_record(&r, &rec)) == 1)
            if (pass == 1)
                stop = each(ctx, &rec);
        if (stop)
            got = stop;
        if (stop > 0)
            break;
    }
    free(r.ranges);
    free(r.pack_size);
    return got;
}

int batch_open_body(const uint8_t *p, size_t len, const uint8_t epoch_key[SECRET_KEY_LEN],
                    const uint8_t vault_id[32], const char *name,
                    int (*each)(void *ctx, const struct batch_record *record), void *ctx)
{
    struct batch_head head;
    const uint8_t *body;
    size_t body_len;
    uint32_t epoch;
    int err = open_frame(p, len, &head, &body, &body_len);
    if (err)
        return err;
    err = object_peek(body, body_len, OBJECT_BATCH, &epoch);
    if (!err && epoch != head.epoch)
        err = ERR_FORMAT;
    batch_head_release(&head);
    if (err)
        return err;

    struct bytes_out plain;
    bytes_out_init(&plain);
    plain.secret = true;
    uint8_t *key = secret_alloc(SECRET_KEY_LEN);
    if (!key)
        return ERR_NOMEM;
    kdf_derive(key, epoch_key, KDF_JOURNAL);
    err = object_open(&plain, OBJECT_BATCH, key, vault_id, name, body, body_len);
    secret_free(key);
    if (!err)
        err = batch_parse_records(plain.p, plain.len, each, ctx);
    bytes_out_release(&plain);
    return err;
}

/* ---- xattrs ---- */

void batch_xattrs_begin(struct bytes_in *in, const struct batch_record *record, uint16_t *count)
{
    bytes_in_init(in, record->u.xattrs.pairs, record->u.xattrs.pairs_len);
    *count = bytes_get_u16(in);
}

bool batch_xattrs_next(struct bytes_in *in, const char **name, size_t *name_len, const void **value,
                       size_t *value_len)
{
    if (!in->left)
        return false;
    *name = (const char *)bytes_get_var16(in, NAME_LEN_MAX, name_len);
    *value = bytes_get_var32(in, XATTR_SIZE_LIMIT, value_len);
    return !in->bad;
}
