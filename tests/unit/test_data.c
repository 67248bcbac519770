/* data: what is written, cut, punched, cloned and reopened reads back as on a flat array of bytes. */
#include "data_fixture.h"

#include <linux/falloc.h>

/* ---- against a model ---- */

#define MODEL_MAX (3u * MiB)

struct model {
    uint64_t ino;
    size_t size;
    uint8_t bytes[MODEL_MAX];
};

static uint8_t work[MODEL_MAX + 100];

static bool same(const struct model *m)
{
    size_t got = 0;
    memset(work, 0xee, sizeof(work));
    int err = read_at(m->ino, 0, work, m->size + 100, &got);
    return !err && got == m->size && memcmp(work, m->bytes, got) == 0 &&
           get(m->ino).size == m->size;
}

static void model_write(struct model *m, size_t off, size_t len, unsigned seed)
{
    fill(work, len, seed);
    CHECK_EQ(write_at(m->ino, off, work, len), 0);
    if (off > m->size)
        memset(m->bytes + m->size, 0, off - m->size);
    memcpy(m->bytes + off, work, len);
    if (off + len > m->size)
        m->size = off + len;
}

static void model_truncate(struct model *m, size_t size)
{
    CHECK_EQ(set_size(m->ino, size), 0);
    if (size > m->size)
        memset(m->bytes + m->size, 0, size - m->size);
    m->size = size;
}

static void model_zero(struct model *m, int mode, size_t off, size_t len)
{
    CHECK_EQ(data_fallocate(f.v, m->ino, mode, off, len), 0);
    if (!(mode & FALLOC_FL_KEEP_SIZE) && off + len > m->size) {
        memset(m->bytes + m->size, 0, off + len - m->size);
        m->size = off + len;
    }
    if (off < m->size && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        memset(m->bytes + off, 0, off + len < m->size ? len : m->size - off);
}

static void model_copy(struct model *from, size_t from_off, struct model *to, size_t to_off,
                       size_t len)
{
    uint64_t copied = 0;
    size_t want = from_off < from->size ? from->size - from_off : 0;
    if (want > len)
        want = len;
    bool overlap = from == to && want && from_off < to_off + want && to_off < from_off + want;
    int err = data_copy_range(f.v, from->ino, from_off, to->ino, to_off, len, &copied);
    if (overlap) {
        CHECK_EQ(err, ERR_INVAL);
        return;
    }
    CHECK_EQ(err, 0);
    CHECK_EQ(copied, want);
    if (!want)
        return;
    if (to_off > to->size)
        memset(to->bytes + to->size, 0, to_off - to->size);
    memmove(to->bytes + to_off, from->bytes + from_off, want);
    if (to_off + want > to->size)
        to->size = to_off + want;
}

static void model_read(const struct model *m, size_t off, size_t len)
{
    size_t got = 0, want = off < m->size ? m->size - off : 0;
    if (want > len)
        want = len;
    CHECK_EQ(read_at(m->ino, off, work, len, &got), 0);
    CHECK_EQ(got, want);
    CHECK(memcmp(work, m->bytes + off, want) == 0);
}

static size_t pick(size_t max)
{
    /* often near block edges, which is where mistakes live */
    size_t n = (size_t)rand() % max;
    if (rand() % 3 == 0)
        n = n / SEAL_BLOCK * SEAL_BLOCK;
    if (rand() % 4 == 0)
        n += (size_t)rand() % 3;
    return n < max ? n : max - 1;
}

static size_t pick_len(size_t off)
{
    size_t max = MODEL_MAX - off, len;
    switch (rand() % 4) {
    case 0:
        len = 1 + (size_t)rand() % 100;
        break;
    case 1:
        len = 4096;
        break;
    case 2:
        len = 1 + (size_t)rand() % 100000;
        break;
    default:
        len = 1 + (size_t)rand() % (2 * MiB);
    }
    return len < max ? len : max;
}

static void model_step(struct model *m, struct model *other, unsigned seed)
{
    size_t off = pick(MODEL_MAX - 1), len = pick_len(off);
    switch (rand() % 12) {
    case 0:
        model_truncate(m, off);
        break;
    case 1:
        model_zero(m, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
        break;
    case 2:
        model_zero(m, FALLOC_FL_ZERO_RANGE | (rand() % 2 ? FALLOC_FL_KEEP_SIZE : 0), off, len);
        break;
    case 3:
        model_zero(m, rand() % 2 ? FALLOC_FL_KEEP_SIZE : 0, off, len % 5000 + 1);
        break;
    case 4:
    case 5: {
        size_t to = pick(MODEL_MAX - len);
        model_copy(m, off, rand() % 2 ? other : m, to, len);
        break;
    }
    case 6:
    case 7:
        model_read(m, off, len);
        break;
    default:
        model_write(m, off, len, seed);
    }
}

static void random_operations(void)
{
    static struct model a, b;
    a.ino = new_file("model-a");
    b.ino = new_file("model-b");
    srand(20);
    for (unsigned i = 0; i < 3000; i++) {
        model_step(i % 2 ? &a : &b, i % 2 ? &b : &a, i);
        if (i % 37 == 0)
            CHECK_EQ(index_commit(f.ix), 0);
        if (i % 100 == 99) {
            CHECK(same(&a));
            CHECK(same(&b));
        }
        if (i % 1000 == 999) {
            fixture_reopen(&f);
            CHECK(same(&a));
            CHECK(same(&b));
        }
    }
}

/* ---- edges ---- */

static void edges(void)
{
    uint64_t ino = new_file("edges");
    uint8_t b[64] = {0};
    size_t got = 1;
    struct inode dir = {0};
    CHECK_EQ(read_at(ino, 0, b, sizeof(b), &got), 0);
    CHECK_EQ(got, 0);
    CHECK_EQ(write_at(ino, 0, "hello", 5), 0);
    CHECK_EQ(read_at(ino, 3, b, sizeof(b), &got), 0);
    CHECK(got == 2 && memcmp(b, "lo", 2) == 0);
    CHECK_EQ(read_at(ino, 5, b, sizeof(b), &got), 0);
    CHECK_EQ(got, 0);
    CHECK_EQ(read_at(ino, UINT64_MAX - 10, b, sizeof(b), &got), 0);
    CHECK_EQ(got, 0);
    CHECK_EQ(write_at(ino, 100, b, 0), 0);
    CHECK_EQ(get(ino).size, 5); /* writing nothing does not grow */

    CHECK_EQ(write_at(ino, INT64_MAX, "x", 1), ERR_FBIG);
    CHECK_EQ(write_at(ino, (uint64_t)INT64_MAX + 1, "x", 1), ERR_FBIG);
    CHECK_EQ(write_at(ino, UINT64_MAX, "x", 1), ERR_FBIG);
    CHECK_EQ(write_at(ino, INT64_MAX - 1, "x", 1), 0);
    CHECK_EQ(get(ino).size, INT64_MAX);
    CHECK_EQ(read_at(ino, INT64_MAX - 1, b, sizeof(b), &got), 0);
    CHECK(got == 1 && b[0] == 'x');

    CHECK_EQ(tree_mkdir(f.v, INODE_ROOT, "edir", 4, 0700, me, &dir), 0);
    CHECK_EQ(read_at(dir.ino, 0, b, 1, &got), ERR_ISDIR);
    CHECK_EQ(write_at(dir.ino, 0, b, 1), ERR_ISDIR);
    CHECK_EQ(data_fallocate(f.v, dir.ino, 0, 0, 1), ERR_ISDIR);
    CHECK_EQ(read_at(999999999, 0, b, 1, &got), ERR_NOENT);
    CHECK_EQ(write_at(999999999, 0, b, 1), ERR_NOENT);
    CHECK_EQ(tree_mknod(f.v, INODE_ROOT, "efifo", 5, S_IFIFO | 0600, 0, me, &dir), 0);
    CHECK_EQ(write_at(dir.ino, 0, b, 1), ERR_INVAL);
}

static void writes_touch(void)
{
    uint64_t ino = new_file("touch");
    struct inode in = {.atime = 1, .mtime = 1, .ctime = 1, .mode = 06755}, out;
    unsigned old = TREE_ATIME | TREE_MTIME | TREE_CTIME | TREE_MODE;
    CHECK_EQ(tree_setattr(f.v, ino, old, &in, &out), 0);
    CHECK_EQ(data_write(f.v, ino, 0, (const uint8_t *)"a", 1, false, false), 0);
    out = get(ino);
    CHECK(out.atime == 1 && out.mtime == 1 && out.ctime == 1 && out.mode == (S_IFREG | 06755));
    CHECK_EQ(data_write(f.v, ino, 0, (const uint8_t *)"b", 1, true, true), 0);
    out = get(ino);
    CHECK(out.atime == 1 && out.mtime > 1 && out.ctime == out.mtime &&
          out.mode == (S_IFREG | 0755));
    CHECK(out.dirty & DIRTY_CONTENT);
    /* an unlinked file that is open can still be written and read */
    CHECK_EQ(tree_unlink(f.v, INODE_ROOT, "touch", 5, &out), 0);
    CHECK_EQ(write_at(ino, 0, "c", 1), 0);
    size_t got = 0;
    char c = 0;
    CHECK_EQ(read_at(ino, 0, &c, 1, &got), 0);
    CHECK(got == 1 && c == 'c');
    CHECK_EQ(tree_reap(f.v, ino), 0);
    CHECK_EQ(read_at(ino, 0, &c, 1, &got), ERR_NOENT);
}

/* What was cut off by a shrinking truncate must not come back when the file grows again, not even inside a block. */
static void cut_reads_zero(void)
{
    uint64_t ino = new_file("cut");
    static uint8_t b[50000], got_bytes[50000];
    size_t got = 0;
    fill(b, sizeof(b), 1);
    CHECK_EQ(write_at(ino, 0, b, sizeof(b)), 0);
    CHECK_EQ(set_size(ino, 20001), 0);
    CHECK_EQ(set_size(ino, sizeof(b)), 0);
    memset(b + 20001, 0, sizeof(b) - 20001);
    CHECK_EQ(read_at(ino, 0, got_bytes, sizeof(got_bytes), &got), 0);
    CHECK(got == sizeof(b) && memcmp(got_bytes, b, got) == 0);
    CHECK_EQ(get(ino).stored, 20001);
}

static void sparse(void)
{
    uint64_t ino = new_file("sparse"), five = 5ull << 30, found = 0;
    uint8_t b[4096];
    size_t got = 0;
    CHECK_EQ(write_at(ino, five - 3, "end", 3), 0);
    CHECK_EQ(write_at(ino, 1ull << 32, "mid", 3), 0);
    CHECK_EQ(get(ino).size, five);
    CHECK_EQ(get(ino).stored, 6);
    CHECK_EQ(read_at(ino, five - 4096, b, sizeof(b), &got), 0);
    CHECK(got == 4096 && b[0] == 0 && b[4092] == 0 && memcmp(b + 4093, "end", 3) == 0);

    CHECK_EQ(data_seek(f.v, ino, 0, SEEK_HOLE, &found), 0);
    CHECK_EQ(found, 0);
    CHECK_EQ(data_seek(f.v, ino, 0, SEEK_DATA, &found), 0);
    CHECK_EQ(found, 1ull << 32);
    CHECK_EQ(data_seek(f.v, ino, (1ull << 32) + 1, SEEK_DATA, &found), 0);
    CHECK_EQ(found, (1ull << 32) + 1);
    CHECK_EQ(data_seek(f.v, ino, 1ull << 32, SEEK_HOLE, &found), 0);
    CHECK_EQ(found, (1ull << 32) + 3);
    CHECK_EQ(data_seek(f.v, ino, five - 1, SEEK_HOLE, &found), 0);
    CHECK_EQ(found, five);
    CHECK_EQ(data_seek(f.v, ino, five, SEEK_DATA, &found), ERR_NXIO);
    CHECK_EQ(data_seek(f.v, ino, five, SEEK_HOLE, &found), ERR_NXIO);
    CHECK_EQ(data_seek(f.v, ino, UINT64_MAX, SEEK_DATA, &found), ERR_NXIO);
    CHECK_EQ(data_seek(f.v, ino, 0, SEEK_SET, &found), ERR_INVAL);
    CHECK_EQ(set_size(ino, five + 10), 0);
    CHECK_EQ(data_seek(f.v, ino, five, SEEK_DATA, &found), ERR_NXIO); /* only a hole is left */
    CHECK_EQ(data_seek(f.v, ino, five, SEEK_HOLE, &found), 0);
    CHECK_EQ(found, five);

    /* more rows than one look at the map takes */
    uint64_t many = new_file("many");
    for (unsigned i = 0; i < 300; i++)
        CHECK_EQ(write_at(many, i * 10ull, "0123456789", 10), 0);
    CHECK_EQ(data_seek(f.v, many, 5, SEEK_HOLE, &found), 0);
    CHECK_EQ(found, 3000);
    CHECK_EQ(read_at(many, 1, b, sizeof(b), &got), 0);
    CHECK_EQ(got, 2999);
    CHECK(memcmp(b + 2989, "0123456789", 10) == 0);
    uint64_t clone = new_file("clone"), copied = 0;
    CHECK_EQ(data_copy_range(f.v, many, 0, clone, 0, 1 << 30, &copied), 0);
    CHECK_EQ(copied, 3000);
    CHECK_EQ(read_at(clone, 0, b, sizeof(b), &got), 0);
    CHECK(got == 3000 && memcmp(b + 2990, "0123456789", 10) == 0);
}

static void fallocate_errors(void)
{
    uint64_t ino = new_file("falloc");
    CHECK_EQ(data_fallocate(f.v, ino, 0, 0, 0), ERR_INVAL);
    CHECK_EQ(data_fallocate(f.v, ino, 0, INT64_MAX, 1), ERR_FBIG);
    CHECK_EQ(data_fallocate(f.v, ino, 0, 0, INT64_MAX), ERR_NOSPACE); /* no disk has that */
    CHECK_EQ(get(ino).size, 0);
    CHECK_EQ(data_fallocate(f.v, ino, FALLOC_FL_PUNCH_HOLE, 0, 1), ERR_NOTSUP);
    CHECK_EQ(data_fallocate(f.v, ino, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), ERR_NOTSUP);
    CHECK_EQ(data_fallocate(f.v, ino, FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
    CHECK_EQ(get(ino).size, 0);
    CHECK_EQ(data_fallocate(f.v, ino, 0, 10, 4096), 0);
    CHECK_EQ(get(ino).size, 4106);
}

/* A clone shares bytes, not fate. */
static void clones(void)
{
    uint64_t a = new_file("ca"), b = new_file("cb"), copied = 0;
    static uint8_t one[200000], two[200000];
    struct index_stats before, after;
    struct inode gone;
    size_t got = 0;
    fill(one, sizeof(one), 7);
    CHECK_EQ(write_at(a, 0, one, sizeof(one)), 0);
    index_lock(f.ix);
    CHECK_EQ(index_stats(f.ix, &before), 0);
    index_unlock(f.ix);
    CHECK_EQ(data_copy_range(f.v, a, 0, b, 0, sizeof(one), &copied), 0);
    CHECK_EQ(copied, sizeof(one));
    index_lock(f.ix);
    CHECK_EQ(index_stats(f.ix, &after), 0);
    index_unlock(f.ix);
    CHECK_EQ(after.local_bytes, before.local_bytes);
    CHECK_EQ(write_at(a, 1000, "changed", 7), 0);
    CHECK_EQ(read_at(b, 0, two, sizeof(two), &got), 0);
    CHECK(got == sizeof(two) && memcmp(one, two, got) == 0);
    CHECK_EQ(tree_unlink(f.v, INODE_ROOT, "ca", 2, &gone), 0);
    CHECK_EQ(tree_reap(f.v, a), 0);
    CHECK_EQ(read_at(b, 0, two, sizeof(two), &got), 0);
    CHECK(got == sizeof(two) && memcmp(one, two, got) == 0);
    CHECK_EQ(data_copy_range(f.v, b, 0, b, 10, 100, &copied), ERR_INVAL);
    CHECK_EQ(data_copy_range(f.v, b, 200000, b, 0, 100, &copied), 0);
    CHECK_EQ(copied, 0);
}

int main(void)
{
    fixture_make(&f);
    edges();
    writes_touch();
    cut_reads_zero();
    sparse();
    fallocate_errors();
    clones();
    random_operations();
    sound();
    fixture_remove(&f);
    return check_done();
}
