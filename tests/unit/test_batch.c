/* Batches: what goes in comes out; a cut, a changed bit or another place is refused; records that no writer of ours makes are refused. */
#include "check.h"
#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/object.h"
#include "sync/batch.h"
#include "sync/batch_format.h"
#include "sync/pack.h"

#include <stdlib.h>
#include <string.h>

#define INO(n) ((7ull << INODE_TAG_SHIFT) + (n))

static uint8_t epoch_key[32], vault_id[32];
static struct sign_keys *keys;
static char name[BATCH_NAME_LEN];

static struct batch_head head_of(uint64_t seq)
{
    struct batch_head h = {.seq = seq, .epoch = 1, .lamport = 40 + seq};
    memcpy(h.vault_id, vault_id, 32);
    memcpy(h.device_key, sign_keys_public(keys), 32);
    if (seq > 1)
        memset(h.prev, 0x5a, 32);
    memset(h.roster, 3, 32);
    return h;
}

static struct batch_record attr_record(void)
{
    struct batch_record r = {.kind = BATCH_ATTR, .base = {9, 7}};
    r.u.attr.inode = (struct inode){.ino = INO(1),
                                    .mode = S_IFREG | 0640,
                                    .uid = 1000,
                                    .gid = 100,
                                    .atime = -5,
                                    .mtime = 1700000000123456789,
                                    .ctime = 3,
                                    .btime = 4};
    return r;
}

static struct batch_record entry_record(const char *n, size_t len)
{
    struct batch_record r = {.kind = BATCH_ENTRY};
    r.u.entry.parent = INODE_ROOT;
    r.u.entry.ino = INO(1);
    r.u.entry.type = S_IFREG;
    r.u.entry.name = n;
    r.u.entry.name_len = len;
    return r;
}

static struct batch_range range_of(uint64_t off, uint32_t len, uint32_t pack)
{
    struct batch_range r = {.off = off,
                            .len = len,
                            .extent_len = len + 10,
                            .epoch = 1,
                            .eoff = 10,
                            .pack = pack,
                            .pack_off = PACK_HEAD};
    memset(r.id, (int)(off + 1), sizeof(r.id));
    return r;
}

static struct batch_record content_record(struct batch_range *ranges, size_t n)
{
    struct batch_record r = {.kind = BATCH_CONTENT, .base = {1, 2}};
    r.u.content.ino = INO(1);
    r.u.content.size = 1 << 20;
    r.u.content.mtime = 77;
    r.u.content.whole = true;
    r.u.content.parent = INODE_ROOT;
    r.u.content.name = "photo.jpg";
    r.u.content.name_len = 9;
    r.u.content.ranges = ranges;
    r.u.content.range_count = n;
    return r;
}

static const uint8_t pairs[] = {2,   0, 6, 0,   'u', 's', 'e', 'r', '.', 'a', 1, 0, 0, 0,
                                'x', 6, 0, 'u', 's', 'e', 'r', '.', 'b', 0,   0, 0, 0};

static int write_sample(struct batch_writer *w)
{
    uint8_t pack[32];
    uint32_t order, again;
    memset(pack, 8, 32);
    int err = batch_write_pack(w, pack, PACK_SIZE, &order);
    CHECK(!err && order == 0);
    err = batch_write_pack(w, pack, PACK_SIZE, &again);
    CHECK(!err && again == 0);
    memset(pack, 9, 32);
    CHECK(batch_write_pack(w, pack, 8192, &again) == 0 && again == 1);
    CHECK_EQ(batch_write_pack(w, pack, 4096, &again), ERR_MISUSE);

    struct batch_record r = attr_record();
    CHECK_EQ(batch_write(w, &r), 0);
    r.u.attr.inode.mode = S_IFLNK | 0777;
    r.u.attr.target = "../there";
    r.u.attr.target_len = 8;
    CHECK_EQ(batch_write(w, &r), 0);
    struct batch_range ranges[3] = {
        range_of(0, 4096, 0), {.off = 4096, .len = 4096, .hole = true}, range_of(16384, 4096, 1)};
    r = content_record(ranges, 3);
    CHECK_EQ(batch_write(w, &r), 0);
    r = (struct batch_record){.kind = BATCH_XATTRS};
    r.u.xattrs.ino = INO(1);
    r.u.xattrs.pairs = pairs;
    r.u.xattrs.pairs_len = sizeof(pairs);
    CHECK_EQ(batch_write(w, &r), 0);
    r = entry_record("\xff\n name", 7);
    CHECK_EQ(batch_write(w, &r), 0);
    r = entry_record("old", 3);
    r.u.entry.ino = r.u.entry.type = 0;
    CHECK_EQ(batch_write(w, &r), 0);
    r = (struct batch_record){.kind = BATCH_GONE, .base = {3, 4}};
    r.u.gone.ino = INO(5);
    CHECK_EQ(batch_write(w, &r), 0);
    return 0;
}

static void make(struct bytes_out *out, uint64_t seq)
{
    struct batch_head h = head_of(seq);
    struct batch_head_ref refs[2] = {{.device = 3, .seq = 9}, {.device = 4, .seq = 1}};
    h.refs = refs;
    h.ref_count = 2;
    struct batch_writer *w = batch_writer_new();
    write_sample(w);
    bytes_out_reset(out);
    CHECK_EQ(batch_finish(w, &h, epoch_key, name, keys, out), 0);
    batch_writer_free(w);
}

static int seen;

static int sample_each(void *ctx, const struct batch_record *r)
{
    static const enum batch_kind kinds[] = {BATCH_PACK,  BATCH_PACK,    BATCH_ATTR,
                                            BATCH_ATTR,  BATCH_CONTENT, BATCH_XATTRS,
                                            BATCH_ENTRY, BATCH_ENTRY,   BATCH_GONE};
    CHECK(seen < 9 && r->kind == kinds[seen]);
    switch (seen) {
    case 1:
        CHECK(r->u.pack.size == 8192 && r->u.pack.name[31] == 9);
        break;
    case 2:
        CHECK(r->base.lamport == 9 && r->base.device == 7);
        CHECK(r->u.attr.inode.mtime == 1700000000123456789 && r->u.attr.inode.atime == -5);
        CHECK(r->u.attr.inode.uid == 1000 && r->u.attr.inode.gid == 100);
        break;
    case 3:
        CHECK(r->u.attr.target_len == 8 && !memcmp(r->u.attr.target, "../there", 8));
        break;
    case 4:
        CHECK(r->u.content.range_count == 3 && r->u.content.ranges[1].hole && r->u.content.whole);
        CHECK(r->u.content.ranges[2].off == 16384 && r->u.content.ranges[2].pack == 1);
        CHECK(r->u.content.ranges[2].id[0] == 1 && r->u.content.ranges[2].eoff == 10);
        CHECK(r->u.content.name_len == 9 && r->u.content.mtime == 77);
        break;
    case 5: {
        struct bytes_in in;
        uint16_t count;
        const char *n;
        const void *v;
        size_t len, vlen;
        batch_xattrs_begin(&in, r, &count);
        CHECK_EQ(count, 2);
        CHECK(batch_xattrs_next(&in, &n, &len, &v, &vlen) && len == 6 && vlen == 1);
        CHECK(batch_xattrs_next(&in, &n, &len, &v, &vlen) && !memcmp(n, "user.b", 6) && vlen == 0);
        CHECK(!batch_xattrs_next(&in, &n, &len, &v, &vlen));
        break;
    }
    case 6:
        CHECK(r->u.entry.name_len == 7 && !memcmp(r->u.entry.name, "\xff\n name", 7));
        break;
    case 7:
        CHECK(r->u.entry.ino == 0 && r->u.entry.type == 0);
        break;
    default:
        break;
    }
    seen++;
    return 0;
}

static int count_each(void *ctx, const struct batch_record *r)
{
    ++*(int *)ctx;
    return 0;
}

static int open_all(const uint8_t *p, size_t len)
{
    struct batch_head head;
    uint8_t hash[32];
    int n = 0;
    int err = batch_open_head(p, len, &head, hash);
    if (err)
        return err;
    err = memcmp(head.device_key, sign_keys_public(keys), 32) == 0 ? 0 : ERR_AUTH;
    batch_head_release(&head);
    return err ? err : batch_open_body(p, len, epoch_key, vault_id, name, count_each, &n);
}

static void test_round_trip(void)
{
    struct bytes_out out;
    struct batch_head head;
    uint8_t hash[32], hash2[32], key[32];
    bytes_out_init(&out);
    make(&out, 2);
    CHECK(batch_peek(out.p, out.len, key) == 0 && !memcmp(key, sign_keys_public(keys), 32));
    CHECK_EQ(batch_open_head(out.p, out.len, &head, hash), 0);
    CHECK(head.seq == 2 && head.lamport == 42 && head.epoch == 1 && head.ref_count == 2);
    CHECK(head.refs[0].device == 3 && head.refs[0].seq == 9 && head.refs[1].device == 4);
    CHECK(!memcmp(head.vault_id, vault_id, 32) && head.prev[0] == 0x5a && head.roster[0] == 3);
    batch_head_release(&head);
    kdf_hash(hash2, "obs-batch", out.p, out.len);
    CHECK(!memcmp(hash, hash2, 32));
    seen = 0;
    CHECK_EQ(batch_open_body(out.p, out.len, epoch_key, vault_id, name, sample_each, NULL), 0);
    CHECK_EQ(seen, 9);

    /* Another place, vault or key does not open. */
    int n = 0;
    uint8_t other[32];
    memset(other, 0x77, 32);
    CHECK_EQ(batch_open_body(out.p, out.len, other, vault_id, name, count_each, &n), ERR_AUTH);
    CHECK_EQ(batch_open_body(out.p, out.len, epoch_key, other, name, count_each, &n), ERR_AUTH);
    CHECK_EQ(batch_open_body(out.p, out.len, epoch_key, vault_id, "journal/x/1", count_each, &n),
             ERR_AUTH);
    CHECK_EQ(n, 0);
    bytes_out_release(&out);
}

static void test_damage(void)
{
    struct bytes_out out;
    bytes_out_init(&out);
    make(&out, 1);
    CHECK_EQ(open_all(out.p, out.len), 0);
    bool refused = true;
    for (size_t i = 0; i < out.len; i++) {
        uint8_t *cut = malloc(
            i ? i : 1); /* its own allocation, so that a sanitizer sees a read past the end */
        memcpy(cut, out.p, i);
        refused &= open_all(cut, i) != 0;
        free(cut);
    }
    CHECK(refused);
    for (size_t bit = 0; bit < out.len * 8; bit += bit < 2400 ? 1 : 13) {
        out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused &= open_all(out.p, out.len) != 0;
        out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(refused);
    bytes_put_u8(&out, 0);
    CHECK_EQ(open_all(out.p, out.len), ERR_FORMAT);
    out.p[4] = 2;
    CHECK_EQ(open_all(out.p, out.len), ERR_VERSION);
    bytes_out_release(&out);
}

/* The size of an object is one of few, whatever is in it. */
static void test_sizes(void)
{
    struct batch_head h = head_of(1);
    size_t last = 0;
    unsigned sizes = 0;
    for (unsigned n = 1; n < 400; n++) {
        struct batch_writer *w = batch_writer_new();
        struct bytes_out out;
        bytes_out_init(&out);
        struct batch_record r = entry_record("abcdefghij", 10);
        for (unsigned i = 0; i < n; i++)
            CHECK_EQ(batch_write(w, &r), 0);
        CHECK_EQ(batch_finish(w, &h, epoch_key, name, keys, &out), 0);
        size_t body = out.len - (158 + 4 + SIGN_LEN);
        CHECK(body >= 4096 && object_padme(body, 1) == body);
        sizes += out.len != last;
        last = out.len;
        bytes_out_release(&out);
        batch_writer_free(w);
    }
    CHECK(sizes < 40);
}

static void refuse(const struct batch_record *r)
{
    struct batch_writer *w = batch_writer_new();
    uint8_t pack[32] = {1};
    uint32_t order;
    CHECK_EQ(batch_write_pack(w, pack, 8192, &order), 0);
    size_t before = batch_writer_size(w);
    CHECK_EQ(batch_write(w, r), ERR_MISUSE);
    CHECK_EQ(batch_writer_size(w), before);
    batch_writer_free(w);
}

static void test_bad_names(void)
{
    char longest[256];
    memset(longest, 'x', sizeof(longest));
    static const struct {
        const char *n;
        size_t len;
    } bad[] = {{"", 0}, {".", 1}, {"..", 2}, {"a/b", 3}, {"/", 1}, {"a\0b", 3}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct batch_record r = entry_record(bad[i].n, bad[i].len);
        refuse(&r);
        CHECK(!batch_record_valid(&r));
        struct batch_record c = content_record(NULL, 0);
        c.u.content.name = bad[i].n;
        c.u.content.name_len = bad[i].len;
        refuse(&c);
    }
    struct batch_record r = entry_record(longest, 256);
    refuse(&r);
    r = entry_record(longest, 255);
    CHECK(batch_record_valid(&r));
    r = entry_record("...", 3);
    CHECK(batch_record_valid(&r));
}

static void test_bad_records(void)
{
    struct batch_record r = entry_record("a", 1);
    r.u.entry.ino = INODE_ROOT; /* the root is nowhere but at the root */
    refuse(&r);
    r = entry_record("a", 1);
    r.u.entry.parent = r.u.entry.ino;
    refuse(&r);
    r = entry_record("a", 1);
    r.u.entry.type = 0;
    refuse(&r);
    r = entry_record("a", 1);
    r.u.entry.ino = 5; /* no device has tag 0 */
    refuse(&r);
    r = entry_record("a", 1);
    r.base = (struct version){0, 3};
    refuse(&r);
    r = (struct batch_record){.kind = BATCH_GONE};
    r.u.gone.ino = INODE_ROOT;
    refuse(&r);
    r = (struct batch_record){.kind = (enum batch_kind)9};
    refuse(&r);
    r = attr_record();
    r.u.attr.inode.mode = 0644;
    refuse(&r);
    r = attr_record();
    r.u.attr.inode.mode = S_IFLNK | 0777;
    refuse(&r);
    r = attr_record();
    r.u.attr.target = "x";
    r.u.attr.target_len = 1;
    refuse(&r);
    r = attr_record();
    r.u.attr.inode.rdev = 3;
    refuse(&r);
    r = attr_record();
    r.u.attr.inode.ino = INODE_ROOT;
    refuse(&r);
    static const uint8_t unsorted[] = {2, 0, 1, 0, 'b', 0, 0, 0, 0, 1, 0, 'a', 0, 0, 0, 0};
    static const uint8_t twice[] = {2, 0, 1, 0, 'a', 0, 0, 0, 0, 1, 0, 'a', 0, 0, 0, 0};
    r = (struct batch_record){.kind = BATCH_XATTRS};
    r.u.xattrs.ino = INO(1);
    r.u.xattrs.pairs = unsorted;
    r.u.xattrs.pairs_len = sizeof(unsorted);
    refuse(&r);
    r.u.xattrs.pairs = twice;
    refuse(&r);
    r.u.xattrs.pairs = pairs;
    r.u.xattrs.pairs_len = sizeof(pairs) - 1;
    refuse(&r);
}

static void refuse_range(const struct batch_range *a, const struct batch_range *b)
{
    struct batch_range both[2] = {*a, *b};
    struct batch_record r = content_record(both, 2);
    refuse(&r);
}

static void test_bad_ranges(void)
{
    struct batch_range a = range_of(0, 4096, 0), b = range_of(4096, 1000, 0), x;
    struct batch_range good[2] = {a, b};
    struct batch_record r = content_record(good, 2);
    struct batch_writer *w = batch_writer_new();
    uint8_t pack[32] = {1};
    uint32_t order;
    CHECK_EQ(batch_write(w, &r), ERR_MISUSE); /* the pack is not named before */
    CHECK_EQ(batch_write_pack(w, pack, 8192, &order), 0);
    CHECK_EQ(batch_write(w, &r), 0);
    batch_writer_free(w);

    x = b, x.off = 4095;
    refuse_range(&a, &x); /* overlap */
    refuse_range(&b, &a); /* order */
    x = b, x.len = 0;
    refuse_range(&a, &x);
    x = b, x.off = UINT64_MAX - 10;
    refuse_range(&a, &x);
    x = b, x.off = (1 << 20) - 999; /* past the size */
    refuse_range(&a, &x);
    x = b, x.eoff = 11; /* past the extent */
    refuse_range(&a, &x);
    x = b, x.extent_len = SEAL_EXTENT_MAX + 1;
    refuse_range(&a, &x);
    x = b, x.epoch = 0;
    refuse_range(&a, &x);
    x = b, x.pack = 1;
    refuse_range(&a, &x);
    x = b, x.pack_off = PACK_HEAD - 1;
    refuse_range(&a, &x);
    x = b, x.pack_off = 8192 - PACK_TRAILER - seal_size(x.extent_len) + 1;
    refuse_range(&a, &x);
    x.pack_off--;
    CHECK(batch_range_valid(&x, 0, 1 << 20, (uint32_t[]){8192}, 1));
}

static void test_bad_heads(void)
{
    struct bytes_out out;
    bytes_out_init(&out);
    struct batch_head_ref refs[2] = {{.device = 4, .seq = 9}, {.device = 3, .seq = 1}};
    struct batch_head bad[7];
    for (int i = 0; i < 7; i++)
        bad[i] = head_of(i < 4 ? 2 : 1);
    bad[0].refs = refs; /* order */
    bad[0].ref_count = 2;
    memset(bad[1].prev, 0, 32);
    bad[2].epoch = 0;
    bad[3].lamport = (uint64_t)INT64_MAX + 1;
    bad[4].prev[0] = 1;
    bad[5].seq = 0;
    bad[6].lamport = 0;
    for (int i = 0; i < 7; i++) {
        struct batch_writer *w = batch_writer_new();
        CHECK_EQ(batch_finish(w, &bad[i], epoch_key, name, keys, &out), ERR_MISUSE);
        CHECK_EQ(out.len, 0);
        batch_writer_free(w);
    }
    refs[0].device = 3; /* twice the same: as a reader sees it */
    struct batch_head h = head_of(2);
    refs[1].device = 5;
    h.refs = refs;
    h.ref_count = 2;
    struct batch_writer *w = batch_writer_new();
    CHECK_EQ(batch_finish(w, &h, epoch_key, name, keys, &out), 0);
    batch_writer_free(w);
    uint8_t hash[32];
    out.p[158 + 44] = 3;
    CHECK_EQ(batch_open_head(out.p, out.len, &h, hash), ERR_FORMAT);
    bytes_out_release(&out);
}

/* Bytes that our writer never makes, in a body that authenticates. */
static void test_bad_bodies(void)
{
    int n = 0;
    struct bytes_out b;
    bytes_out_init(&b);
    bytes_put_u8(&b, BATCH_GONE);
    bytes_put_u32(&b, 20);
    bytes_put_u64(&b, 0);
    bytes_put_u32(&b, 0);
    bytes_put_u64(&b, INO(4));
    size_t good = b.len;
    CHECK(batch_parse_records(b.p, b.len, count_each, &n) == 0 && n == 1);
    bytes_put_u8(&b, BATCH_PAD);
    bytes_put_u32(&b, 3);
    bytes_put(&b, "\0\0\0", 3);
    CHECK(batch_parse_records(b.p, b.len, count_each, &n) == 0 && n == 2);
    b.p[b.len - 1] = 1; /* padding that is not zero */
    CHECK_EQ(batch_parse_records(b.p, b.len, count_each, &n), ERR_FORMAT);
    b.p[good + 1] = 200; /* longer than there is */
    CHECK_EQ(batch_parse_records(b.p, b.len, count_each, &n), ERR_FORMAT);
    b.len = good;
    b.p[1] = 19; /* shorter than its fields */
    CHECK_EQ(batch_parse_records(b.p, b.len, count_each, &n), ERR_FORMAT);
    b.p[1] = 20;
    b.p[0] = 200; /* a kind from nowhere */
    CHECK_EQ(batch_parse_records(b.p, b.len, count_each, &n), ERR_FORMAT);
    CHECK_EQ(n, 2); /* nothing is handed out of a body that has one fault */

    /* A count of ranges that would need far more memory than there are bytes. */
    bytes_out_reset(&b);
    bytes_put_u8(&b, BATCH_CONTENT);
    bytes_put_u32(&b, 12 + 8 + 8 + 8 + 1 + 8 + 2 + 4);
    for (int i = 0; i < 12; i++)
        bytes_put_u8(&b, 0);
    bytes_put_u64(&b, INO(4));
    bytes_put_u64(&b, 0);
    bytes_put_u64(&b, 0);
    bytes_put_u8(&b, 1);
    bytes_put_u64(&b, 0);
    bytes_put_u16(&b, 0);
    bytes_put_u32(&b, 0);
    CHECK_EQ(batch_parse_records(b.p, b.len, count_each, &n), 0);
    bytes_le32(b.p + b.len - 4, 0x10000);
    CHECK_EQ(batch_parse_records(b.p, b.len, count_each, &n), ERR_FORMAT);
    bytes_out_release(&b);
}

int main(void)
{
    if (secret_init())
        return 1;
    uint8_t seed[32] = {1}, box[32] = {2};
    keys = sign_keys_new(seed, box);
    memset(epoch_key, 0x11, 32);
    memset(vault_id, 0x22, 32);
    batch_name("0123456789abcdef0123456789abcdef", 0x1f, name);
    CHECK(!strcmp(name, "journal/0123456789abcdef0123456789abcdef/000000000000001f"));
    test_round_trip();
    test_damage();
    test_sizes();
    test_bad_names();
    test_bad_records();
    test_bad_ranges();
    test_bad_heads();
    test_bad_bodies();
    sign_keys_free(keys);
    return check_done();
}
