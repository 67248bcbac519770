/* xml_list: what Apache, lighttpd and S3 servers send is read; every cut of it, entities, deep
 * nesting, overlong texts and foreign documents are refused, however the bytes are split. [xml-list] */
#include "check.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "sync/xml_list.h"

#include <string.h>
#include <sys/resource.h>

static const char dav[] =
    "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
    "<D:multistatus xmlns:D=\"DAV:\" xmlns:ns0=\"DAV:\">\n"
    "<D:response xmlns:lp1=\"DAV:\">\n<D:href>/base/packs/</D:href>\n<D:propstat>\n<D:prop>\n"
    "<lp1:resourcetype><D:collection/></lp1:resourcetype>\n</D:prop>\n<D:status>HTTP/1.1 200 OK</D:status>\n"
    "</D:propstat>\n<D:propstat><D:prop><D:getcontentlength/></D:prop>"
    "<D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response>\n"
    "<D:response><D:href> /base/packs/a%20b&amp;c </D:href><D:propstat><D:prop>"
    "<D:getcontentlength>12345</D:getcontentlength><D:resourcetype/><x:getcontentlength xmlns:x=\"urn:x\">7"
    "</x:getcontentlength></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
    "<D:response><D:href>/base/packs/refused</D:href><D:propstat><D:prop><D:getcontentlength>9</D:getcontentlength>"
    "</D:prop><D:status>HTTP/1.1 403 Forbidden</D:status></D:propstat></D:response>"
    "</D:multistatus>\n";

static const char s3[] =
    "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
    "<Name>b</Name><Prefix/><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>"
    "<NextContinuationToken>tok/+=</NextContinuationToken>"
    "<Contents><Key>p/one</Key><Size>18446744073709551615</Size><Owner><ID>Key</ID></Owner></Contents>"
    "<Contents><Key><![CDATA[p/two]]></Key><Size>0</Size></Contents></ListBucketResult>";

struct seen {
    int n, stop_at;
    struct xml_list_entry e[4];
    char name[4][64];
};

static int each(void *ctx, const struct xml_list_entry *entry)
{
    struct seen *seen = ctx;
    if (seen->n < 4) {
        seen->e[seen->n] = *entry;
        snprintf(seen->name[seen->n], sizeof(seen->name[0]), "%s", entry->name);
    }
    return ++seen->n == seen->stop_at ? ERR_INTR : 0;
}

/* Reads ${len} bytes in pieces of ${piece}. */
static int read_all(enum xml_list_kind kind, const void *p, size_t len, size_t piece,
                    struct seen *seen)
{
    *seen = (struct seen){.stop_at = seen->stop_at};
    struct xml_list *l = xml_list_new(kind, each, seen);
    for (size_t i = 0; i < len; i += piece)
        xml_list_feed(l, (const char *)p + i, len - i < piece ? len - i : piece);
    int err = xml_list_end(l);
    xml_list_free(l);
    return err;
}

static int read_text(enum xml_list_kind kind, const char *text)
{
    struct seen seen = {0};
    return read_all(kind, text, strlen(text), 1000, &seen);
}

static void good(void)
{
    static const size_t pieces[] = {1, 2, 3, 7, 64, 100000};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct seen seen = {0};
        CHECK_EQ(read_all(XML_LIST_DAV, dav, sizeof(dav) - 1, pieces[i], &seen), 0);
        CHECK_EQ(seen.n, 3);
        CHECK(seen.e[0].collection && !seen.e[0].has_size &&
              strcmp(seen.name[0], "/base/packs/") == 0);
        CHECK(!seen.e[1].collection && seen.e[1].has_size && seen.e[1].size == 12345);
        CHECK(strcmp(seen.name[1], "/base/packs/a%20b&c") == 0);
        CHECK(!seen.e[2].has_size);
        CHECK_EQ(read_all(XML_LIST_S3, s3, sizeof(s3) - 1, pieces[i], &seen), 0);
        CHECK_EQ(seen.n, 2);
        CHECK(strcmp(seen.name[0], "p/one") == 0 && seen.e[0].size == UINT64_MAX);
        CHECK(strcmp(seen.name[1], "p/two") == 0 && seen.e[1].has_size && seen.e[1].size == 0);
    }
    struct seen seen = {.stop_at = 1};
    CHECK_EQ(read_all(XML_LIST_S3, s3, sizeof(s3) - 1, 5, &seen), ERR_INTR);
    CHECK_EQ(seen.n, 1);

    struct xml_list *l = xml_list_new(XML_LIST_S3, each, &seen);
    seen = (struct seen){0};
    CHECK_EQ(xml_list_feed(l, s3, sizeof(s3) - 1), 0);
    CHECK_EQ(xml_list_end(l), 0);
    CHECK(xml_list_more(l) && strcmp(xml_list_token(l), "tok/+=") == 0);
    xml_list_free(l);

    static const char error[] =
        "<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>m</Message>"
        "<Region>eu-west-3</Region></Error>";
    l = xml_list_new(XML_LIST_S3_ERROR, each, &seen);
    CHECK_EQ(xml_list_feed(l, error, sizeof(error) - 1), 0);
    CHECK_EQ(xml_list_end(l), 0);
    CHECK(strcmp(xml_list_code(l), "SignatureDoesNotMatch") == 0 &&
          strcmp(xml_list_region(l), "eu-west-3") == 0);
    xml_list_free(l);
}

static void truncated(void)
{
    struct seen seen = {0};
    size_t end = strlen(dav);
    while (dav[end - 1] == '\n')
        end--; /* what follows the root element does not matter */
    for (size_t cut = 0; cut < end; cut++)
        CHECK_EQ(read_all(XML_LIST_DAV, dav, cut, 50, &seen), ERR_FORMAT);
    for (size_t cut = 0; cut < sizeof(s3) - 1; cut++)
        CHECK_EQ(read_all(XML_LIST_S3, s3, cut, 50, &seen), ERR_FORMAT);
}

static void foreign(void)
{
    CHECK_EQ(read_text(XML_LIST_DAV, "<html><body>Please log in</body></html>"), ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_DAV, "<!DOCTYPE html><html></html>"), ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_DAV, "<multistatus/>"), ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_S3, "<Error><Code>x</Code></Error>"), ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_S3, "{\"json\": true}"), ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_S3, ""), ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_S3, "<ListBucketResult/>"), 0);
    CHECK_EQ(read_text(XML_LIST_S3, "<ListBucketResult/>rest"), ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_S3, "<ListBucketResult/><ListBucketResult/>"), ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_S3,
                       "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>"),
             ERR_FORMAT); /* an entry without name */
    static const char *const sizes[] = {"-1", "1x", "18446744073709551616", "0x10", "+1"};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char text[200];
        snprintf(
            text, sizeof(text),
            "<ListBucketResult><Contents><Key>k</Key><Size>%s</Size></Contents></ListBucketResult>",
            sizes[i]);
        CHECK_EQ(read_text(XML_LIST_S3, text), ERR_FORMAT);
    }
    CHECK_EQ(
        read_text(XML_LIST_S3,
                  "<ListBucketResult><Contents><Key>\xff\xfe</Key></Contents></ListBucketResult>"),
        ERR_FORMAT);
}

static void entities(void)
{
    CHECK_EQ(
        read_text(XML_LIST_S3,
                  "<?xml version='1.0'?><!DOCTYPE b [<!ENTITY a 'aaaaaaaaaaaaaaaa'>"
                  "<!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'><!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]>"
                  "<ListBucketResult><Contents><Key>&c;&c;</Key></Contents></ListBucketResult>"),
        ERR_FORMAT);
    CHECK_EQ(
        read_text(XML_LIST_S3, "<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><ListBucketResult/>"),
        ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_S3,
                       "<!DOCTYPE x [<!ENTITY f SYSTEM \"file:///etc/passwd\">]><ListBucketResult>"
                       "<Contents><Key>&f;</Key></Contents></ListBucketResult>"),
             ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_S3, "<!DOCTYPE x [<!ENTITY % p SYSTEM \"http://127.0.0.1:1/\">%p;]>"
                                    "<ListBucketResult/>"),
             ERR_FORMAT);
    CHECK_EQ(read_text(XML_LIST_S3, "<ListBucketResult>&undefined;</ListBucketResult>"),
             ERR_FORMAT);
}

static void caps(void)
{
    struct bytes_out out;
    struct seen seen = {0};
    bytes_out_init(&out);
    bytes_put(&out, "<ListBucketResult>", 18);
    for (int i = 0; i < 100000; i++)
        bytes_put(&out, "<a>", 3);
    CHECK_EQ(read_all(XML_LIST_S3, out.p, out.len, 10000, &seen), ERR_FORMAT);

    bytes_out_reset(&out);
    bytes_put(&out, "<ListBucketResult><Contents><Key>", 33);
    memset(bytes_put_space(&out, XML_LIST_TEXT_MAX + 1), 'k', XML_LIST_TEXT_MAX + 1);
    bytes_put(&out, "</Key></Contents></ListBucketResult>", 36);
    CHECK_EQ(read_all(XML_LIST_S3, out.p, out.len, 100, &seen), ERR_FORMAT);
    CHECK_EQ(seen.n, 0);

    /* many entries: refused at the cap, and memory has not grown with the document (40 MB of it) */
    static const char entry[] = "<Contents><Key>k</Key><Size>1</Size></Contents>";
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    seen = (struct seen){0};
    struct xml_list *l = xml_list_new(XML_LIST_S3, each, &seen);
    int err = xml_list_feed(l, "<ListBucketResult>", 18);
    for (unsigned i = 0; i < XML_LIST_ENTRIES_MAX && !err; i++)
        err = xml_list_feed(l, entry, sizeof(entry) - 1);
    CHECK_EQ(err, 0);
    CHECK_EQ(seen.n, XML_LIST_ENTRIES_MAX);
    CHECK_EQ(xml_list_feed(l, entry, sizeof(entry) - 1), ERR_FORMAT);
    xml_list_free(l);
    getrusage(RUSAGE_SELF, &after);
    CHECK(after.ru_maxrss - before.ru_maxrss < 8192);
    bytes_out_release(&out);
}

int main(void)
{
    good();
    truncated();
    foreign();
    entities();
    caps();
    return check_done();
}
