/* segment: whatever is done to the files, the log ends there or earlier, and no note is taken that was not written so. */
#include "segment_fixture.h"

static const struct segment_pos start = {0, 0};
static struct seen truth, seen;

/* True if ${seen} is the beginning of the truth, notes and all. */
static bool is_prefix(void)
{
    if (seen.count > truth.count)
        return false;
    for (size_t i = 0; i < seen.count; i++)
        if (seen.at[i].kind != truth.at[i].kind || seen.at[i].pos.seg != truth.at[i].pos.seg ||
            seen.at[i].pos.off != truth.at[i].pos.off || seen.at[i].len != truth.at[i].len ||
            seen.at[i].mark != truth.at[i].mark)
            return false;
    return true;
}

/* Records in file 1; the truth is what a scan of them says. */
static void make_log(struct fixture *fx)
{
    struct segment_pos pos;
    fixture_make(fx);
    fixture_open(fx, false);
    CHECK_EQ(append_extent(fx, 1, 40, &pos), ERR_OK);
    CHECK_EQ(append_mark(fx, 101, &pos), ERR_OK);
    CHECK_EQ(append_mark(fx, 102, &pos), ERR_OK);
    CHECK_EQ(append_extent(fx, 2, 40, &pos), ERR_OK);
    CHECK_EQ(append_mark(fx, 103, &pos), ERR_OK);
    fixture_close(fx);
    fixture_open(fx, true);
    CHECK_EQ(fixture_scan(fx, start, &truth), ERR_OK);
    CHECK_EQ(truth.count, 5);
    fixture_close(fx);
}

static int scan_damaged(struct fixture *fx, bool read_only)
{
    fixture_open(fx, read_only);
    int err = fixture_scan(fx, start, &seen);
    fixture_close(fx);
    return err;
}

/* The number of the record that byte ${at} belongs to, and whether it is in the payload of an extent. */
static size_t record_of(size_t at, bool *extent)
{
    size_t i = 0;
    while (i + 1 < truth.count && at >= truth.at[i + 1].pos.off - SEGMENT_HEAD)
        i++;
    *extent = truth.at[i].kind == SEGMENT_EXTENT && at >= truth.at[i].pos.off;
    return i;
}

static void bit_flips(void)
{
    struct fixture fx;
    uint8_t *bytes;
    unsigned bad = 0;
    make_log(&fx);
    size_t size = fixture_get(&fx, 1, &bytes);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        fixture_put(&fx, 1, bytes, size);
        int err = scan_damaged(&fx, true);
        bool extent;
        size_t record = record_of(bit / 8, &extent);
        /* Bytes of extents are not the log's to judge: their own seal does. */
        bad += err != ERR_OK || !is_prefix() || seen.count != (extent ? truth.count : record);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    CHECK_EQ(bad, 0);
    free(bytes);
    fixture_remove(&fx);
}

static void cuts(void)
{
    struct fixture fx;
    uint8_t *bytes;
    unsigned bad = 0;
    make_log(&fx);
    size_t size = fixture_get(&fx, 1, &bytes);
    for (size_t cut = 0; cut < size; cut++) {
        bool extent;
        fixture_put(&fx, 1, bytes, cut);
        bad += scan_damaged(&fx, true) != ERR_OK || !is_prefix() ||
               seen.count != record_of(cut, &extent);
    }
    CHECK_EQ(bad, 0);
    free(bytes);
    fixture_remove(&fx);
}

/* The reserve that a crash leaves behind a torn record is given back, what is not zero stays, and the log goes on. */
static void torn_tail(void)
{
    struct fixture fx;
    uint8_t *bytes;
    struct segment_pos pos;
    make_log(&fx);
    size_t size = fixture_get(&fx, 1, &bytes), torn = size - 10;
    bytes[torn - 1] = 5;
    fixture_put(&fx, 1, bytes, torn);
    CHECK(fixture_truncate(&fx, 1, 3000000) == 0);
    CHECK_EQ(scan_damaged(&fx, false), ERR_OK);
    CHECK(is_prefix() && seen.count == 4);
    CHECK_EQ(fixture_size(&fx, 1), torn);
    fixture_open(&fx, false);
    CHECK_EQ(fixture_scan(&fx, start, &seen), ERR_OK);
    CHECK_EQ(append_mark(&fx, 201, &pos), ERR_OK);
    CHECK_EQ(pos.seg, 2);
    fixture_close(&fx);
    CHECK_EQ(scan_damaged(&fx, true), ERR_OK);
    CHECK(seen.count == 5 && seen.at[4].mark == 201 && seen.at[4].pos.seg == 2);
    free(bytes);
    fixture_remove(&fx);
}

static void swap_bytes(uint8_t *a, uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t t = a[i];
        a[i] = b[i];
        b[i] = t;
    }
}

/* Authentic bytes in another place of the same vault. */
static void swaps(void)
{
    struct fixture fx;
    uint8_t *bytes;
    make_log(&fx);
    size_t size = fixture_get(&fx, 1, &bytes);
    uint8_t *first = bytes + truth.at[1].pos.off, *second = bytes + truth.at[2].pos.off;
    size_t note = 8 + SEGMENT_NOTE_OVERHEAD - SEGMENT_HEAD;

    swap_bytes(first - SEGMENT_HEAD, second - SEGMENT_HEAD,
               SEGMENT_HEAD + note); /* whole records */
    fixture_put(&fx, 1, bytes, size);
    CHECK_EQ(scan_damaged(&fx, true), ERR_OK);
    CHECK_EQ(seen.count, 1);
    swap_bytes(first - SEGMENT_HEAD, second - SEGMENT_HEAD, SEGMENT_HEAD + note);

    swap_bytes(first, second, note); /* notes under each other's head */
    fixture_put(&fx, 1, bytes, size);
    CHECK_EQ(scan_damaged(&fx, true), ERR_OK);
    CHECK_EQ(seen.count, 1);
    swap_bytes(first, second, note);

    /* a record left out */
    uint8_t *less = malloc(size);
    size_t gone = (size_t)(first - bytes) - SEGMENT_HEAD, len = SEGMENT_HEAD + note;
    memcpy(less, bytes, gone);
    memcpy(less + gone, bytes + gone + len, size - gone - len);
    fixture_put(&fx, 1, less, size - len);
    CHECK_EQ(scan_damaged(&fx, true), ERR_OK);
    CHECK_EQ(seen.count, 1);
    free(less);

    /* the file under another number, alone and behind itself */
    fixture_put(&fx, 1, bytes, size);
    fixture_put(&fx, 2, bytes, size);
    CHECK_EQ(scan_damaged(&fx, true), ERR_OK);
    CHECK(seen.count == 5 && is_prefix());
    CHECK(fixture_truncate(&fx, 1, 0) == 0);
    CHECK_EQ(scan_damaged(&fx, true), ERR_OK);
    CHECK_EQ(seen.count, 0);
    free(bytes);
    fixture_remove(&fx);
}

/* Another key, vault or device: nothing of it is taken. */
static void strangers(void)
{
    struct fixture fx;
    const uint8_t other[32] = {9};
    make_log(&fx);
    fixture_open_as(&fx, other, fixture_vault, FIXTURE_DEVICE, true);
    CHECK(fixture_scan(&fx, start, &seen) == ERR_OK && seen.count == 0);
    fixture_close(&fx);
    fixture_open_as(&fx, fixture_key, other, FIXTURE_DEVICE, true);
    CHECK(fixture_scan(&fx, start, &seen) == ERR_OK && seen.count == 0);
    fixture_close(&fx);
    fixture_open_as(&fx, fixture_key, fixture_vault, FIXTURE_DEVICE + 1, true);
    CHECK(fixture_scan(&fx, start, &seen) == ERR_OK && seen.count == 0);
    fixture_close(&fx);
    fixture_open(&fx, true);
    CHECK(fixture_scan(&fx, start, &seen) == ERR_OK && seen.count == 5);
    fixture_close(&fx);
    fixture_remove(&fx);
}

/* Names that are no segment's, a directory, a link and a FIFO in place of a file: passed over, nothing hangs. */
static void odd_files(void)
{
    struct fixture fx;
    struct segment_pos pos;
    make_log(&fx);
    int dir = openat(fx.fd, "seg", O_RDONLY | O_DIRECTORY);
    CHECK(symlinkat("/etc/passwd", dir, "0000000000000002") == 0);
    CHECK(mkfifoat(dir, "0000000000000003", 0600) == 0);
    CHECK(mkdirat(dir, "0000000000000004", 0700) == 0);
    fixture_put(&fx, UINT64_MAX, (const uint8_t *)"x", 1);
    CHECK_EQ(scan_damaged(&fx, false), ERR_OK);
    CHECK(seen.count == 5 && is_prefix());
    fixture_open(&fx, false);
    CHECK_EQ(append_mark(&fx, 9, &pos), ERR_OK);
    CHECK_EQ(pos.seg, 5);
    fixture_close(&fx);
    CHECK(unlinkat(dir, "0000000000000004", AT_REMOVEDIR) == 0);
    close(dir);
    fixture_remove(&fx);
}

int main(void)
{
    if (secret_init() != ERR_OK)
        return 1;
    bit_flips();
    cuts();
    torn_tail();
    swaps();
    strangers();
    odd_files();
    return check_done();
}
