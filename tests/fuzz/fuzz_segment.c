/*
 * Any bytes laid over a segment file (XOR, so that zeroes leave it as it was): the scan ends well, and hands on only
 * what was written, in order, from the start.
 */
#include "fuzz.h"

#include "crypto/err.h"
#include "fs/segment.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define NAME    "seg/0000000000000001"
#define RECORDS 12u

static const uint8_t key[32] = {1}, vault_id[32] = {2};
static char dir[] = "/tmp/fuzz_segment_XXXXXX";
static int dirfd_;
static uint8_t file[4096];
static size_t file_len;
static uint64_t offs[RECORDS];

static void clean(void)
{
    unlinkat(dirfd_, NAME, 0);
    unlinkat(dirfd_, "seg", AT_REMOVEDIR);
    rmdir(dir);
}

static void fill(uint8_t *bytes, unsigned i)
{
    memset(bytes, (int)(i + 1), 20 + i);
}

static enum segment_kind kind_of(unsigned i)
{
    return i % 2 ? SEGMENT_NOTE : SEGMENT_EXTENT;
}

static void make(void)
{
    struct segment_store *store;
    FUZZ_CHECK(secret_init() == ERR_OK && mkdtemp(dir));
    dirfd_ = open(dir, O_RDONLY | O_DIRECTORY);
    atexit(clean);
    FUZZ_CHECK(segment_store_open(&store, dirfd_, key, vault_id, 3, false) == ERR_OK);
    for (unsigned i = 0; i < RECORDS; i++) {
        uint8_t bytes[64];
        struct segment_pos pos;
        fill(bytes, i);
        FUZZ_CHECK(segment_append(store, kind_of(i), bytes, 20 + i, &pos) == ERR_OK);
        offs[i] = pos.off;
    }
    segment_store_close(store);
    int fd = openat(dirfd_, NAME, O_RDONLY);
    ssize_t n = read(fd, file, sizeof(file));
    FUZZ_CHECK(n > 0 && n < (ssize_t)sizeof(file));
    file_len = (size_t)n;
    close(fd);
}

static int each(void *ctx, enum segment_kind kind, struct segment_pos pos, const uint8_t *payload,
                size_t len)
{
    unsigned *seen = ctx, i = (*seen)++;
    uint8_t bytes[64];
    fill(bytes, i);
    FUZZ_CHECK(i < RECORDS && kind == kind_of(i) && pos.seg == 1 && pos.off == offs[i]);
    FUZZ_CHECK(len == 20 + i && (payload != NULL) == (kind == SEGMENT_NOTE));
    FUZZ_CHECK(!payload || memcmp(payload, bytes, len) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready)
        make();
    ready = true;
    uint8_t changed[sizeof(file)];
    size_t first = file_len;
    memcpy(changed, file, file_len);
    for (size_t i = size < file_len ? size : file_len; i-- > 0;) {
        changed[i] ^= data[i];
        if (data[i])
            first = i;
    }
    int fd = openat(dirfd_, NAME, O_WRONLY);
    FUZZ_CHECK(fd >= 0 && write(fd, changed, file_len) == (ssize_t)file_len);
    close(fd);

    struct segment_store *store;
    struct segment_pos end;
    unsigned seen = 0;
    FUZZ_CHECK(segment_store_open(&store, dirfd_, key, vault_id, 3, true) == ERR_OK);
    FUZZ_CHECK(segment_scan(store, (struct segment_pos){0, 0}, each, &seen, &end) == ERR_OK);
    segment_store_close(store);
    /* Everything that lies wholly before the first change is still there. */
    unsigned whole = 0;
    while (whole < RECORDS &&
           (whole + 1 < RECORDS ? offs[whole + 1] - SEGMENT_HEAD : file_len) <= first)
        whole++;
    FUZZ_CHECK(seen >= whole);
    return 0;
}
