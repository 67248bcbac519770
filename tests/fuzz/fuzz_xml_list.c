/*
 * Any bytes as each kind of listing: names are within their cap and end, an error is one of those
 * promised and sticky, and what is read does not depend on how the bytes were split. The first byte
 * chooses kind and split.
 */
#include "fuzz.h"

#include "crypto/err.h"
#include "sync/xml_list.h"

#include <string.h>

struct seen {
    unsigned entries;
    uint64_t hash;
};

static void mix(struct seen *seen, uint64_t v)
{
    seen->hash = (seen->hash ^ v) * 0x100000001b3u;
}

static int each(void *ctx, const struct xml_list_entry *entry)
{
    struct seen *seen = ctx;
    size_t len = strlen(entry->name);
    FUZZ_CHECK(len <= XML_LIST_TEXT_MAX);
    FUZZ_CHECK(entry->has_size || entry->size == 0);
    seen->entries++;
    for (size_t i = 0; i < len; i++)
        mix(seen, (uint8_t)entry->name[i]);
    mix(seen, entry->size);
    mix(seen, (uint64_t)entry->collection << 1 | entry->has_size);
    return 0;
}

static int read_all(enum xml_list_kind kind, const uint8_t *data, size_t size, size_t piece,
                    struct seen *seen)
{
    struct xml_list *l = xml_list_new(kind, each, seen);
    FUZZ_CHECK(l);
    *seen = (struct seen){0};
    int err = 0;
    for (size_t i = 0; i < size; i += piece) {
        int now = xml_list_feed(l, data + i, size - i < piece ? size - i : piece);
        FUZZ_CHECK(!err || now == err);
        err = now;
    }
    int end = xml_list_end(l);
    FUZZ_CHECK(!err || end == err);
    FUZZ_CHECK(end == 0 || end == ERR_FORMAT);
    const char *texts[] = {xml_list_token(l), xml_list_code(l), xml_list_region(l)};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        FUZZ_CHECK(strlen(texts[i]) <= XML_LIST_TEXT_MAX);
        for (const char *p = texts[i]; *p; p++)
            mix(seen, (uint8_t)*p);
    }
    mix(seen, xml_list_more(l));
    xml_list_free(l);
    return end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    enum xml_list_kind kind = (enum xml_list_kind)(data[0] % 3);
    size_t piece = 1 + data[0] / 3;
    struct seen whole, pieces;
    int a = read_all(kind, data + 1, size - 1, size, &whole);
    int b = read_all(kind, data + 1, size - 1, piece, &pieces);
    FUZZ_CHECK(a == b);
    /* of a document that is refused, more or less may have been seen before that */
    FUZZ_CHECK(a != 0 || (whole.entries == pieces.entries && whole.hash == pieces.hash));
    return 0;
}
