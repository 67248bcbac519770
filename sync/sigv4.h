/*
 * sigv4.h - signatures of requests to S3 (AWS Signature Version 4). [sigv4]
 *
 * The caller sends exactly what it signs: the path and the query as they stand in the URL, and
 * every header given here. Thread-safe apart from struct sigv4_signer, which has one owner.
 */
#ifndef SYNC_SIGV4_H
#define SYNC_SIGV4_H

#include "crypto/bytes.h"

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define SIGV4_DATE_LEN    16u /* 20130524T000000Z */
#define SIGV4_HASH_LEN    64u /* hexadecimal SHA-256 */
#define SIGV4_HEADERS_MAX 8u

/* Key and scope. The signer is made in guarded memory: it holds the secret and the key of the
 * day. */
struct sigv4_signer;
/* Copies all. NULL: out of memory. */
struct sigv4_signer *sigv4_signer_new(const char *key_id, const char *secret, const char *region,
                                      const char *service);
void sigv4_signer_free(struct sigv4_signer *signer);

struct sigv4_field {
    const char *name;  /* header: lower case */
    const char *value; /* header: as sent */
};

struct sigv4_request {
    const char *method;
    const char *path;  /* encoded, starts with '/' */
    const char *query; /* as sigv4_query makes it; "" for none */
    struct sigv4_field
        headers[SIGV4_HEADERS_MAX]; /* sorted by name; host and x-amz-date among them */
    size_t header_count;
    const char *payload_hash; /* SIGV4_HASH_LEN characters */
    const char *date;         /* SIGV4_DATE_LEN characters */
};

/* Appends the value of the Authorization header (not NUL-terminated). ERR_NOMEM. */
int sigv4_authorization(struct sigv4_signer *signer, const struct sigv4_request *request,
                        struct bytes_out *out);

/* Appends ${p} with all but A-Z a-z 0-9 - . _ ~ (and '/' if ${keep_slash}) as %XX. */
void sigv4_encode(struct bytes_out *out, const char *p, bool keep_slash);
/* Appends ${n} parameters (not encoded), encoded, each with '=', sorted as the signature needs it.
 * Sorts ${params} in place. */
void sigv4_query(struct bytes_out *out, struct sigv4_field *params, size_t n);

void sigv4_date(char date[SIGV4_DATE_LEN + 1], time_t t);
void sigv4_hash(char hex[SIGV4_HASH_LEN + 1], const void *p, size_t len);

#endif
