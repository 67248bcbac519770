/*
 * store_http.h - what the stores that are servers share: many calls at once, retries, and the
 * settling of puts whose outcome is unknown. [store-http]
 *
 * A call is one operation on one object. It goes through steps, each an HTTP request; a dialect
 * (WebDAV, S3) builds the requests and says what its servers' answers mean. A put that ended
 * without a clear answer is settled by asking: head, and if the size is right get and compare; only
 * then is it sent again. Everything is bounded: STORE_HTTP_TRIES, and within http.h the time of
 * each request.
 *
 * An error that concerns the server and not one object (ERR_NET after all tries, ERR_LOGIN,
 * ERR_STOREFULL) also ends the calls of the same run that were not begun: a wrong password is not
 * tried a hundred times.
 */
#ifndef SYNC_STORE_HTTP_H
#define SYNC_STORE_HTTP_H

#include "sync/http.h"
#include "sync/store_impl.h"
#include "sync/xml_list.h"

#define STORE_HTTP_TRIES        3u
#define STORE_HTTP_SIZE_UNKNOWN UINT64_MAX
#define STORE_HTTP_LIST_MAX     (16u << 20) /* bytes of one answer to a list that are kept */
#define STORE_HTTP_STRINGS_MAX  (HTTP_HEADERS_MAX + 1)

enum store_verb { STORE_PUT, STORE_GET, STORE_HEAD, STORE_DELETE, STORE_LIST };

/* STORE_STEP_COLLECTION is of WebDAV: making the collection that an object goes into. */
enum store_step {
    STORE_STEP_MAIN,
    STORE_STEP_CHECK_HEAD,
    STORE_STEP_CHECK_GET,
    STORE_STEP_COLLECTION
};

struct store_call {
    /* set by the caller; the rest is zero */
    enum store_verb verb;
    const char *name; /* list: the prefix ("" or with '/' at its end) */
    const void *p;    /* put */
    size_t len;       /* put; get: bytes wanted, 0: all */
    uint64_t off;     /* get */
    size_t max;       /* get: bytes at most */
    bool place;       /* put: ends when its collection is there; dialects with collections only */
    struct bytes_out *out; /* get: bytes appended; list: entries (store_http_entry) */
    const char *token;     /* list: where to go on, or NULL */
    enum xml_list_kind list_kind;
    int *result; /* NULL, or gets ${err} */

    /* results */
    int err;
    uint64_t size;        /* head */
    struct xml_list *xml; /* list: for xml_list_more; owned */

    /* the machine's */
    enum store_step step;
    unsigned tries;
    int64_t not_before; /* ms */
    bool running;
    size_t out_start; /* get, list: where our bytes begin in ${out} */
    uint64_t skip;    /* get from a server that ignores Range: bytes still to drop */
    size_t compared;  /* settling: bytes found equal */
    bool differs;
    unsigned level; /* WebDAV: parts of the path of the collection that is being made */
    bool descending, made_collections, collection_refused;
    struct http_request request;
    char *strings[STORE_HTTP_STRINGS_MAX]; /* the URL and header lines of ${request} */
    size_t string_count;
};

struct store_http;

#define STORE_HTTP_UNDECIDED 1

struct store_dialect {
    /* Sets method, URL and headers of ${call->request} for ${call->step}. ERR_NOMEM. */
    int (*build)(struct store_http *s, struct store_call *call);
    /* What an answer means where this dialect knows better than store_answer.c: 0, an error (with
     * store_fail), or STORE_HTTP_UNDECIDED. ERR_NET: transient. */
    int (*judge)(struct store_http *s, struct store_call *call);
    /* NULL, or: where a put begins. */
    enum store_step (*first_step)(struct store_http *s, struct store_call *call);
    /* NULL, or: called with the verdict ${err} after a put (STORE_STEP_MAIN) and each
     * STORE_STEP_COLLECTION. Changes ${call->step} and returns STORE_HTTP_UNDECIDED to go on there;
     * else returns the verdict. */
    int (*collections)(struct store_http *s, struct store_call *call, int err);
    void (*close)(struct store_http *s); /* frees what the dialect added */
};

struct store_http {
    struct store base;
    struct http *http;
    const struct store_dialect *dialect;
};

/* Of size ${size} (struct store_http is its first member), taking over ${place}. ERR_NOMEM. */
int store_http_new(struct store_http **s, size_t size, const struct store_dialect *dialect,
                   struct store_place *place, const struct store_options *options,
                   const struct http_options *login);
void store_http_close(struct store *store);

/* Runs the calls, several at once. The first error, by order of the array, or 0. */
int store_http_run(struct store_http *s, struct store_call *calls, size_t n);

/* The parts of struct store_ops that do not depend on the dialect. */
int store_http_put_many(struct store *store, struct store_put_item *items, size_t n);
int store_http_get(struct store *store, const char *name, uint64_t off, size_t len, size_t max,
                   struct bytes_out *out);
int store_http_get_many(struct store *store, struct store_get_item *items, size_t n);
int store_http_head(struct store *store, const char *name, uint64_t *size);
int store_http_delete(struct store *store, const char *name);
void store_http_wake(struct store *store);

/* For build: the URL, and a header line. Out of memory shows in their result only. */
int store_http_url(struct store_call *call, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int store_http_header(struct store_call *call, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* "bytes=a-b" for a get of a part; false when all is wanted. */
bool store_http_range(const struct store_call *call, char *range, size_t size);

/* The entries that a list call has put into ${out}. */
void store_http_entry_put(struct bytes_out *out, const struct xml_list_entry *entry);
/* False at the end. ${entry->name} points into ${in}. */
bool store_http_entry_get(struct bytes_in *in, struct xml_list_entry *entry);

/* store_answer.c: makes ${call} ready to receive, and judges what came. 0, ERR_NET (transient), or
 * another error. */
int store_answer_begin(struct store_call *call);
int store_answer_judge(struct store_http *s, struct store_call *call);

#endif
