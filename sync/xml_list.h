/*
 * xml_list.h - listings as WebDAV (multistatus, RFC 4918) and S3 (ListObjectsV2) send them, and
 * S3's errors, read by libxml2 piece by piece. [xml-list]
 *
 * The bytes come from whoever runs the server or sits in between: a document with a DOCTYPE (so
 * with entities) is refused at once, nothing is loaded from anywhere, and depth, texts and the
 * number of entries are capped. Memory does not grow with the document. Not thread-safe; one owner
 * each.
 */
#ifndef SYNC_XML_LIST_H
#define SYNC_XML_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XML_LIST_TEXT_MAX    4096u /* bytes of a name or token */
#define XML_LIST_DEPTH_MAX   32u
#define XML_LIST_ENTRIES_MAX 1000000u

enum xml_list_kind { XML_LIST_DAV, XML_LIST_S3, XML_LIST_S3_ERROR };

struct xml_list_entry {
    /* WebDAV: href as sent, still encoded; S3: key as sent (encoded if that was asked for) */
    const char *name;
    bool collection; /* WebDAV */
    bool has_size;
    uint64_t size;
};

struct xml_list;

/* ${each}: 0, or an error that ends the reading. NULL: out of memory. */
struct xml_list *xml_list_new(enum xml_list_kind kind,
                              int (*each)(void *ctx, const struct xml_list_entry *entry),
                              void *ctx);
void xml_list_free(struct xml_list *list);

/* The next bytes. ERR_FORMAT (not well-formed, not a listing, over a cap), ERR_NOMEM, or what
 * ${each} returned; sticky. */
int xml_list_feed(struct xml_list *list, const void *p, size_t len);
/* After the last byte. ERR_FORMAT also when the document is not complete. */
int xml_list_end(struct xml_list *list);

/* S3: there are more keys, and the token to ask for them with ("" if none was sent). */
bool xml_list_more(const struct xml_list *list);
const char *xml_list_token(const struct xml_list *list);
/* S3 errors: <Code>, and <Region> where the server names the right one; "" otherwise. */
const char *xml_list_code(const struct xml_list *list);
const char *xml_list_region(const struct xml_list *list);

#endif
