/* note: each kind reads back as it was written, every cut is refused, and so is what no writer makes. */
#include "check.h"

#include "crypto/err.h"
#include "crypto/seal.h"
#include "fs/index.h"
#include "fs/note.h"

#include <string.h>

static struct inode full_inode(void)
{
    return (struct inode){.ino = 77,
                          .mode = S_IFREG | 0644,
                          .nlink = 2,
                          .uid = 3,
                          .gid = 4,
                          .rdev = 5,
                          .size = 1ull << 40,
                          .atime = -6,
                          .mtime = INT64_MAX,
                          .ctime = INT64_MIN,
                          .btime = 9,
                          .parent = 10,
                          .attr_version = {11, 12},
                          .content_version = {13, 14},
                          .xattr_version = {15, 16},
                          .dirty = DIRTY_ATTR | DIRTY_XATTR};
}

static struct extent some_extent(void)
{
    struct extent e = {
        .eid = 5, .len = SEAL_EXTENT_MAX, .epoch = 2, .at = {3, 128}, .pack = 4, .pack_off = 99};
    memset(e.id, 0xab, sizeof(e.id));
    return e;
}

static struct entry some_entry(size_t len)
{
    struct entry e = {.parent = 1, .ino = 77, .type = S_IFREG, .version = {8, 9}, .dirty = true};
    e.name_len = (uint8_t)len;
    memset(e.name, 0xfe, len);
    return e;
}

/* One group with one note of each kind. */
static void write_all(struct bytes_out *out)
{
    const struct inode inode = full_inode(), bare = {.ino = 78};
    const struct extent extent = some_extent();
    const struct entry entry = some_entry(NAME_LEN_MAX);
    const struct map_row row = {4096, 8192, 5, 16};
    size_t mark = note_group_begin(out, INDEX_LOCAL);
    note_inode_put(out, &inode);
    note_inode_put(out, &bare);
    note_inode_del(out, 79);
    note_target_put(out, 80, "to", 2);
    note_entry_put(out, &entry);
    note_entry_del(out, 1, "gone", 4);
    note_xattr_put(out, 81, "user.a", "value", 5);
    note_xattr_del(out, 81, "user.b");
    note_extent_put(out, &extent);
    note_extent_move(out, &extent);
    note_map_set(out, 82, &row);
    note_map_punch(out, 83, 4096, UINT64_MAX);
    note_ranges_clear(out, 84);
    note_kv_put(out, "heads", "k\0ey", 4, "", 0);
    note_kv_del(out, "heads", "", 0);
    note_group_end(out, mark);
}

static bool same_inode(const struct inode *a, const struct inode *b)
{
    return a->ino == b->ino && a->mode == b->mode && a->nlink == b->nlink && a->uid == b->uid &&
           a->gid == b->gid && a->rdev == b->rdev && a->size == b->size && a->atime == b->atime &&
           a->mtime == b->mtime && a->ctime == b->ctime && a->btime == b->btime &&
           a->parent == b->parent && a->dirty == b->dirty &&
           a->attr_version.lamport == b->attr_version.lamport &&
           a->attr_version.device == b->attr_version.device &&
           a->content_version.lamport == b->content_version.lamport &&
           a->content_version.device == b->content_version.device &&
           a->xattr_version.lamport == b->xattr_version.lamport &&
           a->xattr_version.device == b->xattr_version.device;
}

static struct note *next(struct bytes_in *in, enum note_kind kind)
{
    static struct note note;
    CHECK_EQ(note_next(in, &note), 1);
    CHECK_EQ(note.kind, kind);
    return &note;
}

static void read_names(struct bytes_in *in)
{
    const struct entry entry = some_entry(NAME_LEN_MAX);
    struct note *n = next(in, NOTE_TARGET_PUT);
    CHECK(n->ino == 80 && n->value_len == 2 && memcmp(n->value, "to", 2) == 0);
    n = next(in, NOTE_ENTRY_PUT);
    CHECK(n->entry.parent == 1 && n->entry.ino == 77 && n->entry.type == S_IFREG && n->entry.dirty);
    CHECK(n->entry.version.lamport == 8 && n->entry.version.device == 9);
    CHECK(n->entry.name_len == entry.name_len &&
          memcmp(n->entry.name, entry.name, sizeof(entry.name)) == 0);
    n = next(in, NOTE_ENTRY_DEL);
    CHECK(n->ino == 1 && n->name_len == 4 && memcmp(n->name, "gone", 4) == 0);
    n = next(in, NOTE_XATTR_PUT);
    CHECK(n->ino == 81 && n->name_len == 6 && n->value_len == 5 &&
          memcmp(n->value, "value", 5) == 0);
    n = next(in, NOTE_XATTR_DEL);
    CHECK(n->ino == 81 && n->name_len == 6 && memcmp(n->name, "user.b", 6) == 0);
}

static void read_content(struct bytes_in *in)
{
    const struct extent e = some_extent();
    struct note *n = next(in, NOTE_EXTENT_PUT);
    CHECK(n->extent.eid == 5 && n->extent.len == e.len && n->extent.epoch == 2 &&
          n->extent.at.seg == 3);
    CHECK(n->extent.at.off == 128 && n->extent.pack == 4 && n->extent.pack_off == 99);
    CHECK(memcmp(n->extent.id, e.id, sizeof(e.id)) == 0);
    n = next(in, NOTE_EXTENT_MOVE);
    CHECK(n->extent.eid == 5 && n->extent.at.seg == 3 && n->extent.at.off == 128 &&
          n->extent.pack == 4);
    n = next(in, NOTE_MAP_SET);
    CHECK(n->ino == 82 && n->map.off == 4096 && n->map.len == 8192 && n->map.eid == 5 &&
          n->map.eoff == 16);
    n = next(in, NOTE_MAP_PUNCH);
    CHECK(n->ino == 83 && n->map.off == 4096 && n->map.len == UINT64_MAX);
    CHECK_EQ(next(in, NOTE_RANGES_CLEAR)->ino, 84);
}

static void round_trip(void)
{
    struct bytes_out out;
    bytes_out_init(&out);
    write_all(&out);
    CHECK(!out.bad);
    CHECK_EQ(note_group_size(out.p, out.len), out.len);
    CHECK_EQ(note_group_size(out.p, out.len - 1), 0);

    struct bytes_in in, notes;
    struct note last;
    unsigned origin = 0;
    const struct inode inode = full_inode(), bare = {.ino = 78};
    bytes_in_init(&in, out.p, out.len);
    CHECK_EQ(note_group_next(&in, &origin, &notes), 1);
    CHECK_EQ(origin, INDEX_LOCAL);
    CHECK(same_inode(&next(&notes, NOTE_INODE_PUT)->inode, &inode));
    CHECK(same_inode(&next(&notes, NOTE_INODE_PUT)->inode, &bare));
    CHECK_EQ(next(&notes, NOTE_INODE_DEL)->ino, 79);
    read_names(&notes);
    read_content(&notes);
    struct note *n = next(&notes, NOTE_KV_PUT);
    CHECK(n->name_len == 5 && n->key_len == 4 && memcmp(n->key, "k\0ey", 4) == 0 &&
          n->value_len == 0);
    n = next(&notes, NOTE_KV_DEL);
    CHECK(n->name_len == 5 && n->key_len == 0);
    CHECK_EQ(note_next(&notes, &last), 0);
    CHECK_EQ(note_group_next(&in, &origin, &notes), 0);
    bytes_out_release(&out);
}

/* How reading ${len} bytes ends: 0 all read, or an error. */
static int read_all(const uint8_t *p, size_t len)
{
    struct bytes_in in, notes;
    struct note note;
    unsigned origin;
    int got, got_note = 0;
    bytes_in_init(&in, p, len);
    while ((got = note_group_next(&in, &origin, &notes)) == 1)
        while ((got_note = note_next(&notes, &note)) != 0)
            if (got_note < 0)
                return got_note;
    return got;
}

static void cuts(void)
{
    struct bytes_out out;
    bytes_out_init(&out);
    write_all(&out);
    CHECK_EQ(read_all(out.p, out.len), 0);
    for (size_t cut = 1; cut < out.len; cut++)
        CHECK_EQ(read_all(out.p, cut), ERR_FORMAT);
    bytes_out_release(&out);

    /* every cut of each single note, in a group whose length fits the cut */
    bytes_out_init(&out);
    write_all(&out);
    struct bytes_in in, notes;
    struct note note;
    unsigned origin;
    bytes_in_init(&in, out.p, out.len);
    CHECK_EQ(note_group_next(&in, &origin, &notes), 1);
    while (notes.left) {
        struct bytes_in start = notes;
        CHECK_EQ(note_next(&notes, &note), 1);
        for (size_t cut = 1; cut < start.left - notes.left; cut++) {
            struct bytes_in part;
            bytes_in_init(&part, start.p, cut);
            CHECK_EQ(note_next(&part, &note), ERR_FORMAT);
        }
    }
    bytes_out_release(&out);
}

static int read_one(struct bytes_out *out)
{
    struct bytes_in in;
    struct note note;
    bytes_in_init(&in, out->p, out->len);
    int got = note_next(&in, &note);
    bytes_out_release(out);
    return got;
}

static void refused(void)
{
    struct bytes_out out;
    bytes_out_init(&out);
    struct entry entry = some_entry(3);
    memcpy(entry.name, "a/b", 4);
    note_entry_put(&out, &entry);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    note_entry_del(&out, 1, "a\0b", 3);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    note_entry_del(&out, 1, "", 0);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    note_inode_del(&out, 0);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    note_inode_del(&out, 1ull << 63);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    struct extent e = some_extent();
    e.len++;
    note_extent_put(&out, &e);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    e.len = 0;
    note_extent_put(&out, &e);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    struct map_row row = {INT64_MAX, 1, 5, 0};
    note_map_set(&out, 1, &row);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    row = (struct map_row){0, UINT64_MAX, 5, 0};
    note_map_set(&out, 1, &row);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    struct inode inode = full_inode();
    inode.size = 1ull << 63;
    note_inode_put(&out, &inode);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    note_kv_put(&out, "a space name that is far too long", "k", 1, "v", 1);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
    bytes_put_u8(&out, 99);
    bytes_put_u64(&out, 1);
    CHECK_EQ(read_one(&out), ERR_FORMAT);
}

static void groups(void)
{
    struct bytes_out out;
    bytes_out_init(&out);
    size_t mark = note_group_begin(&out, INDEX_REMOTE);
    note_group_end(&out, mark);
    CHECK_EQ(out.len, 0); /* nothing in it: no group */

    mark = note_group_begin(&out, INDEX_REMOTE);
    note_inode_del(&out, 1);
    note_group_end(&out, mark);
    CHECK_EQ(read_all(out.p, out.len), 0);
    out.p[0] = 3;
    CHECK_EQ(read_all(out.p, out.len), ERR_FORMAT); /* unknown origin */
    out.p[0] = INDEX_LOCAL;
    bytes_le32(out.p + 1, 0);
    CHECK_EQ(read_all(out.p, NOTE_GROUP_HEAD), ERR_FORMAT); /* an empty group */
    bytes_out_release(&out);
}

int main(void)
{
    round_trip();
    cuts();
    refused();
    groups();
    return check_done();
}
