/*
 * Any bytes as the records of a batch: what is accepted is what our writer accepts, and it writes as many bytes for it; what is
 * refused hands nothing out. And any bytes as a whole batch: refused, for nobody signed them.
 */
#include "fuzz.h"

#include "crypto/err.h"
#include "sync/batch_format.h"

#include <string.h>

struct again {
    struct batch_writer *writer;
    size_t records, bytes;
    uint8_t packs[64][32];
    size_t pack_count;
    bool
        repeats; /* a pack is named twice, or there are more than fit here: the writer numbers them otherwise */
};

static void see_pack(struct again *a, const struct batch_record *r)
{
    for (size_t i = 0; i < a->pack_count; i++)
        a->repeats |= memcmp(a->packs[i], r->u.pack.name, 32) == 0;
    if (a->pack_count == 64)
        a->repeats = true;
    else
        memcpy(a->packs[a->pack_count++], r->u.pack.name, 32);
}

static int each(void *ctx, const struct batch_record *r)
{
    struct again *a = ctx;
    a->records++;
    FUZZ_CHECK(batch_record_valid(r));
    if (r->kind == BATCH_PACK)
        see_pack(a, r);
    if (!a->repeats)
        FUZZ_CHECK(batch_write(a->writer, r) == 0);
    return 0;
}

/* Bytes of the records that are no padding. */
static size_t content_bytes(const uint8_t *p, size_t len)
{
    size_t sum = 0;
    for (size_t at = 0; at < len;) {
        size_t n = bytes_from_le32(p + at + 1) + (size_t)BATCH_RECORD_HEAD;
        sum += p[at] == BATCH_PAD ? 0 : n;
        at += n;
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready)
        FUZZ_CHECK(secret_init() == 0);
    ready = true;
    struct again a = {.writer = batch_writer_new()};
    int err = batch_parse_records(data, size, each, &a);
    FUZZ_CHECK(err == 0 || (err == ERR_FORMAT && a.records == 0));
    if (!err && !a.repeats)
        FUZZ_CHECK(batch_writer_size(a.writer) == content_bytes(data, size));
    batch_writer_free(a.writer);

    struct batch_head head;
    uint8_t hash[32], key[32];
    err = batch_open_head(data, size, &head, hash);
    FUZZ_CHECK(err == ERR_FORMAT || err == ERR_VERSION || err == ERR_AUTH);
    if (err == ERR_AUTH)
        FUZZ_CHECK(batch_peek(data, size, key) == 0);
    return 0;
}
