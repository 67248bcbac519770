#include "sync/xml_list.h"

#include "crypto/err.h"

#include <errno.h>
#include <libxml/parser.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_TEXT_MAX 64u
#define FEED_MAX       (1u << 16) /* libxml2 takes an int */

/* What the text of the element being read is kept for. */
enum field { F_NONE, F_NAME, F_SIZE, F_STATUS, F_MORE, F_TOKEN, F_CODE, F_REGION };

struct xml_list {
    enum xml_list_kind kind;
    int (*each)(void *ctx, const struct xml_list_entry *entry);
    void *ctx;
    xmlSAXHandler sax;
    xmlParserCtxtPtr parser;
    int err; /* sticky */
    unsigned depth, entries;
    bool complete; /* the root element has ended */

    enum field field;
    unsigned field_depth;
    size_t text_len;
    char text[XML_LIST_TEXT_MAX + 1];

    /* the entry being read */
    bool has_name, prop_size_seen, prop_collection, prop_refused;
    uint64_t
        prop_size; /* of the propstat being read; counts unless its status says that it failed */
    struct xml_list_entry entry;
    char name[XML_LIST_TEXT_MAX + 1];

    bool more;
    char token[XML_LIST_TEXT_MAX + 1];
    char code[SMALL_TEXT_MAX + 1], region[SMALL_TEXT_MAX + 1];
};

static void stop(struct xml_list *l, int err)
{
    if (!l->err)
        l->err = err;
    xmlStopParser(l->parser);
}

static bool is(const xmlChar *name, const char *expect)
{
    return strcmp((const char *)name, expect) == 0;
}

/* The document's root must be that of its kind: a web page or another answer is not a listing. */
static bool root_fits(const struct xml_list *l, const xmlChar *name, const xmlChar *uri)
{
    switch (l->kind) {
    case XML_LIST_DAV:
        return is(name, "multistatus") && uri && is(uri, "DAV:");
    case XML_LIST_S3:
        return is(name, "ListBucketResult");
    default:
        return is(name, "Error");
    }
}

static void begin_entry(struct xml_list *l)
{
    if (++l->entries > XML_LIST_ENTRIES_MAX)
        stop(l, ERR_FORMAT);
    l->entry = (struct xml_list_entry){.name = l->name};
    l->name[0] = '\0';
    l->has_name = false;
}

/* multistatus(1)/response(2)/href(3), /propstat(3)/status(4), /prop(4)/getcontentlength,
 * resourcetype(5)/collection(6) */
static enum field start_dav(struct xml_list *l, const xmlChar *name, const xmlChar *uri)
{
    if (!uri || !is(uri, "DAV:"))
        return F_NONE;
    if (l->depth == 2 && is(name, "response"))
        begin_entry(l);
    else if (l->depth == 3 && is(name, "propstat"))
        l->prop_size_seen = l->prop_collection = l->prop_refused = false;
    else if (l->depth == 3 && is(name, "href"))
        return F_NAME;
    else if (l->depth == 4 && is(name, "status"))
        return F_STATUS;
    else if (l->depth == 5 && is(name, "getcontentlength"))
        return F_SIZE;
    else if (l->depth == 6 && is(name, "collection"))
        l->prop_collection = true;
    return F_NONE;
}

/* ListBucketResult(1)/Contents(2)/Key, Size(3) */
static enum field start_s3(struct xml_list *l, const xmlChar *name)
{
    if (l->depth == 2 && is(name, "Contents"))
        begin_entry(l);
    else if (l->depth == 2 && is(name, "IsTruncated"))
        return F_MORE;
    else if (l->depth == 2 && is(name, "NextContinuationToken"))
        return F_TOKEN;
    else if (l->depth == 3 && is(name, "Key"))
        return F_NAME;
    else if (l->depth == 3 && is(name, "Size"))
        return F_SIZE;
    return F_NONE;
}

static enum field start_s3_error(const struct xml_list *l, const xmlChar *name)
{
    if (l->depth != 2)
        return F_NONE;
    return is(name, "Code") ? F_CODE : is(name, "Region") ? F_REGION : F_NONE;
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int namespace_count, const xmlChar **namespaces, int attribute_count,
                     int default_count, const xmlChar **attributes)
{
    (void)prefix, (void)namespace_count, (void)namespaces, (void)attribute_count,
        (void)default_count;
    (void)attributes;
    struct xml_list *l = ctx;
    if (l->err)
        return;
    if (++l->depth > XML_LIST_DEPTH_MAX || (l->depth == 1 && !root_fits(l, name, uri))) {
        stop(l, ERR_FORMAT);
        return;
    }
    enum field field = F_NONE;
    if (l->kind == XML_LIST_DAV)
        field = start_dav(l, name, uri);
    else if (l->kind == XML_LIST_S3)
        field = start_s3(l, name);
    else
        field = start_s3_error(l, name);
    if (field) {
        l->field = field;
        l->field_depth = l->depth;
        l->text_len = 0;
    }
}

static void on_text(void *ctx, const xmlChar *p, int len)
{
    struct xml_list *l = ctx;
    if (l->err || !l->field || len < 0 || l->depth != l->field_depth)
        return;
    if ((size_t)len > XML_LIST_TEXT_MAX - l->text_len) {
        stop(l, ERR_FORMAT);
        return;
    }
    memcpy(l->text + l->text_len, p, (size_t)len);
    l->text_len += (size_t)len;
}

/* Spaces around a text are the server's indentation. */
static const char *trimmed(struct xml_list *l)
{
    const char *p = l->text;
    while (l->text_len && strchr(" \t\r\n", l->text[l->text_len - 1]))
        l->text_len--;
    l->text[l->text_len] = '\0';
    return p + strspn(p, " \t\r\n");
}

static void take_size(struct xml_list *l, const char *text)
{
    char *end;
    if (!text[0]) /* a collection's, on some servers */
        return;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || *end || text[0] < '0' || text[0] > '9') {
        stop(l, ERR_FORMAT);
        return;
    }
    l->prop_size = v;
    l->prop_size_seen = true;
}

static void copy_capped(struct xml_list *l, char *to, size_t max, const char *text)
{
    size_t len = strlen(text);
    if (len > max)
        stop(l, ERR_FORMAT);
    else
        memcpy(to, text, len + 1);
}

static void end_field(struct xml_list *l)
{
    const char *text = trimmed(l);
    switch (l->field) {
    case F_NAME: {
        /* the first href of a response is its subject */
        if (!l->has_name)
            copy_capped(l, l->name, XML_LIST_TEXT_MAX, text);
        l->has_name = true;
        break;
    }
    case F_SIZE:
        take_size(l, text);
        break;
    case F_STATUS: /* "HTTP/1.1 404 Not Found" */
        text += strcspn(text, " ");
        text += strspn(text, " ");
        l->prop_refused = text[0] != '2';
        break;
    case F_MORE:
        l->more = strcmp(text, "true") == 0;
        break;
    case F_TOKEN:
        copy_capped(l, l->token, XML_LIST_TEXT_MAX, text);
        break;
    case F_CODE:
        copy_capped(l, l->code, SMALL_TEXT_MAX, text);
        break;
    case F_REGION:
        copy_capped(l, l->region, SMALL_TEXT_MAX, text);
        break;
    default:
        break;
    }
    l->field = F_NONE;
}

static void take_props(struct xml_list *l)
{
    if (l->prop_size_seen) {
        l->entry.has_size = true;
        l->entry.size = l->prop_size;
    }
    l->entry.collection |= l->prop_collection;
    l->prop_size_seen = l->prop_collection = false;
}

static void end_entry(struct xml_list *l)
{
    if (l->kind == XML_LIST_S3)
        take_props(l);
    int err = l->has_name ? l->each(l->ctx, &l->entry) : ERR_FORMAT;
    if (err)
        stop(l, err);
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    (void)prefix;
    struct xml_list *l = ctx;
    if (l->err)
        return;
    bool dav = l->kind == XML_LIST_DAV && uri && is(uri, "DAV:");
    if (l->field && l->depth == l->field_depth)
        end_field(l);
    else if (dav && l->depth == 3 && is(name, "propstat") && !l->prop_refused)
        take_props(l);
    else if (l->depth == 2 &&
             ((dav && is(name, "response")) || (l->kind == XML_LIST_S3 && is(name, "Contents"))))
        end_entry(l);
    if (--l->depth == 0)
        l->complete = true;
}

/* Entities need a DOCTYPE, and no server sends one in a listing. */
static void on_doctype(void *ctx, const xmlChar *name, const xmlChar *external,
                       const xmlChar *system)
{
    (void)name, (void)external, (void)system;
    stop(ctx, ERR_FORMAT);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

struct xml_list *xml_list_new(enum xml_list_kind kind,
                              int (*each)(void *ctx, const struct xml_list_entry *entry), void *ctx)
{
    pthread_once(&once, xmlInitParser); /* not safe in two threads at once */
    struct xml_list *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->kind = kind;
    l->each = each;
    l->ctx = ctx;
    l->sax.initialized = XML_SAX2_MAGIC;
    l->sax.startElementNs = on_start;
    l->sax.endElementNs = on_end;
    l->sax.characters = on_text;
    l->sax.cdataBlock = on_text;
    l->sax.internalSubset = on_doctype;
    l->parser = xmlCreatePushParserCtxt(&l->sax, l, NULL, 0, NULL);
    if (!l->parser) {
        free(l);
        return NULL;
    }
    /* without XML_PARSE_HUGE libxml2's own caps stand, without XML_PARSE_NOENT nothing is
     * expanded */
    xmlCtxtUseOptions(l->parser, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    return l;
}

void xml_list_free(struct xml_list *list)
{
    if (!list)
        return;
    xmlFreeParserCtxt(list->parser);
    free(list);
}

static void on_error(void *ctx, xmlErrorPtr error)
{
    (void)ctx, (void)error;
}

static void on_message(void *ctx, const char *fmt, ...)
{
    (void)ctx, (void)fmt;
}

static int parse(struct xml_list *l, const char *p, int len, int last)
{
    /* of this thread; some of libxml2's errors know of no parser and would go to standard error */
    xmlSetStructuredErrorFunc(NULL, on_error);
    xmlSetGenericErrorFunc(NULL, on_message);
    int rc = xmlParseChunk(l->parser, p, len, last);
    if (rc && !l->err)
        l->err = rc == XML_ERR_NO_MEMORY ? ERR_NOMEM : ERR_FORMAT;
    return l->err;
}

int xml_list_feed(struct xml_list *list, const void *p, size_t len)
{
    const char *next = p;
    while (len && !list->err) {
        size_t n = len < FEED_MAX ? len : FEED_MAX;
        parse(list, next, (int)n, 0);
        next += n;
        len -= n;
    }
    return list->err;
}

int xml_list_end(struct xml_list *list)
{
    if (!list->err && (parse(list, NULL, 0, 1), !list->err) && !list->complete)
        list->err = ERR_FORMAT;
    return list->err;
}

bool xml_list_more(const struct xml_list *list)
{
    return list->more;
}

const char *xml_list_token(const struct xml_list *list)
{
    return list->token;
}

const char *xml_list_code(const struct xml_list *list)
{
    return list->code;
}

const char *xml_list_region(const struct xml_list *list)
{
    return list->region;
}
