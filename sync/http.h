/*
 * http.h - HTTP requests for the stores, several at once over kept connections, by libcurl. [http]
 *
 * Redirects are not followed, only http and https are spoken, certificates are always verified.
 * HTTP/1.1: one connection per transfer, since over a lossy or long link eight TCP windows carry
 * more than the one of HTTP/2. Bodies are in memory. No retries here, except that libcurl sends a
 * request again which met a kept connection that the server had closed.
 *
 * A struct http has one user at a time; http_cancel may be called from any thread.
 */
#ifndef SYNC_HTTP_H
#define SYNC_HTTP_H

#include "crypto/bytes.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HTTP_PARALLEL    8u /* requests under way at once */
#define HTTP_HEADERS_MAX 8u
#define HTTP_TEXT_MAX    16384u /* bytes kept of the body of an answer that is not a success */
#define HTTP_STOP        1      /* a sink has all that it wants */

struct http_options {
    const char *ca_file; /* or NULL */
    unsigned timeout_s;  /* no byte for so long: ERR_NET */
    const char *user,
        *secret;            /* Basic or Digest; NULL: none. In guarded memory; copied into such */
    bool basic_at_once;     /* Basic without being asked: the connection is safe from listeners */
    bool direct;            /* through no proxy */
    atomic_bool *cancelled; /* owned by the caller, outlives the struct http */
    atomic_uint_fast64_t *sent, *received; /* likewise; bytes of bodies */
};

/* Filled by the caller, who keeps it and all it points to until http_wait has given it back. */
struct http_request {
    const char *method;
    const char *url;
    const char *headers[HTTP_HEADERS_MAX]; /* "Name: value"; NULL after the last */
    const void *body;                      /* NULL: none */
    size_t body_len;
    uint64_t expected; /* bytes of the answer, about: bounds the time that it may take */
    /* Gets the body of an answer with a 2xx status, piece by piece. 0, HTTP_STOP, or an error,
     * which becomes ${err}. NULL: it is kept in ${text}. */
    int (*sink)(struct http_request *request, const void *p, size_t len);
    void *user;

    /* The answer. ${err}: 0 when there was one, whatever its status; else ERR_NET, ERR_NETPERM
     * (certificate, not HTTP), ERR_INTR, ERR_NOMEM or what the sink returned, with a line for
     * people in ${why}. */
    int err;
    bool reached; /* the server may have seen (a part of) the request */
    long status;
    int64_t length;       /* Content-Length, -1: not said */
    char type[64];        /* Content-Type */
    char range[80];       /* Content-Range */
    char location[200];   /* of a redirect; printable */
    char server_date[40]; /* Date */
    bool etag;            /* there is one */
    unsigned retry_after_s;
    struct bytes_out text; /* ${HTTP_TEXT_MAX} bytes at most; released by http_request_release */
    char why[200];
};

void http_request_init(struct http_request *request);
void http_request_release(struct http_request *request);

struct http;

/* ERR_NOMEM. */
int http_new(struct http **http, const struct http_options *options);
/* Nothing may be under way. */
void http_free(struct http *http);

/* Begins; at most HTTP_PARALLEL at once (ERR_MISUSE). ERR_NOMEM. On an error it will not come back
 * from http_wait. */
int http_start(struct http *http, struct http_request *request);
/* The next request that has ended, or NULL after ${timeout_ms} (also when nothing is under way).
 * When cancelled, gives back at once all that is under way, with ERR_INTR, and then NULL. */
struct http_request *http_wait(struct http *http, unsigned timeout_ms);
/* Wakes http_wait to look at ${cancelled}. */
void http_cancel(struct http *http);

#endif
