/*
 * store.h - the remote end: immutable objects under names. [store]
 *
 * All we ask of a store is put, ranged get, head, delete and list. No name is ever written twice
 * with different bytes, so put is idempotent; correctness never rests on conditional requests,
 * ETags, locks, server clocks or fresh listings. An ambiguous result of a put (time-out, 5xx) is
 * settled by asking (head + get), inside put.
 *
 * Names are ours: [a-z0-9._-]+ in at most four parts separated by '/', none of which starts with a
 * dot, at most STORE_NAME_MAX bytes. Names that a server shows in a listing and that are not of
 * this form are left out.
 *
 * A store object is used by one thread at a time; several may be open on one URL (store_open is
 * cheap; each has its own connections). store_cancel may be called from any thread. A store does
 * not survive a fork.
 */
#ifndef SYNC_STORE_H
#define SYNC_STORE_H

#include "crypto/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_NAME_MAX 200u
#define STORE_URL_MAX  2000u
/* No vault has more objects: a listing that goes on and on comes from a server that lies. With full
 * packs this is 16 TB. */
#define STORE_LIST_MAX 2000000u

/* Login for a store; both NULL when it needs none. In guarded memory of the caller; copied by
 * store_open. */
struct store_login {
    const char *user;   /* WebDAV user, S3 access key id */
    const char *secret; /* WebDAV password, S3 secret key */
    const char *token;  /* S3 session token or NULL */
};

struct store_options {
    const char *ca_file; /* PEM file instead of the system's certificates, or NULL */
    bool allow_http;     /* accept http:// to hosts other than loopback */
    unsigned timeout_s;  /* no byte for so long: ERR_NET. 0: 60 */
};

struct store;

/*
 * file:///dir, http(s)://host/path (WebDAV), s3://bucket/prefix?endpoint=URL&region=R (no endpoint:
 * AWS); more in store_url.h. Does no network; file:// must exist. ERR_INVAL (URL not understood;
 * ${why} gets a line for people), ERR_NOENT (no such directory), ERR_NOMEM. ${why} may be NULL,
 * else 200 bytes.
 */
int store_open(struct store **store, const char *url, const struct store_login *login,
               const struct store_options *options, char *why);
void store_close(struct store *store);

/* Stores the bytes durably (folder: fsync of file and directory). Makes collections as needed.
 * ERR_NET, ERR_NETPERM, ERR_LOGIN, ERR_STOREFULL, ERR_INTR. */
int store_put(struct store *store, const char *name, const void *p, size_t len);

/* Several puts at once over parallel connections; returns when all have ended. *err of each is set
 * as store_put would return it. Returns the first error, by order of the array, or 0. */
struct store_put_item {
    const char *name;
    const void *p;
    size_t len;
    bool place; /* nothing is put: only the folder for it is made, on stores that have folders */
    int err;
};
int store_put_many(struct store *store, struct store_put_item *items, size_t n);

/*
 * Appends to ${out} ${len} bytes from ${off} on (${len} 0: all of it, at most ${max}). Fewer bytes
 * than asked for mean that the object ends there. ERR_NOENT; ERR_FORMAT when the server sends more
 * than ${max} or a wrong range; the rest as put.
 */
int store_get(struct store *store, const char *name, uint64_t off, size_t len, size_t max,
              struct bytes_out *out);

/* Several ranged gets in parallel, as store_put_many. ${len} must not be 0. */
struct store_get_item {
    const char *name;
    uint64_t off;
    size_t len;
    struct bytes_out *out;
    int err;
};
int store_get_many(struct store *store, struct store_get_item *items, size_t n);

/* *size of the object. What is there is durable (folder), whoever put it. ERR_NOENT. */
int store_head(struct store *store, const char *name, uint64_t *size);

/* 0 also when it was not there. */
int store_delete(struct store *store, const char *name);

/* Calls ${each} for every object whose name starts with ${prefix} ("" or "packs/": whole parts), in
 * no order, until it returns non-zero (which is returned). A missing prefix is an empty list.
 * ERR_FORMAT: the server shows more than STORE_LIST_MAX objects, more folders than any vault has, or
 * pages without end. */
int store_list(struct store *store, const char *prefix,
               int (*each)(void *ctx, const char *name, uint64_t size), void *ctx);

/*
 * The same for everything that is there, by whatever name: to find out whether a place is empty.
 * Folders of the form of our names do not count, but what is in them; any other one counts itself,
 * with '/' at its end. Left out is what other programs put into every folder by themselves
 * (store_clutter.h). Names are the server's: any bytes but NUL, of any length; the size may be 0.
 */
int store_list_all(struct store *store, int (*each)(void *ctx, const char *name, uint64_t size),
                   void *ctx);

/* Removes the folder ${name} if there is nothing in it, on stores that have folders. It does not
 * matter when this fails. */
void store_prune(struct store *store, const char *name);

/* Writes, reads back, lists and deletes a small object of a random name; a line for people in
 * ${why} (200 bytes) on failure. Leaves nothing there, unless the store cannot be reached any more. */
int store_try(struct store *store, char *why);

/* Makes the running call, and all later ones, end with ERR_INTR soon. */
void store_cancel(struct store *store);
/* Undoes it. */
void store_resume(struct store *store);

/* The line for people about the last failure: what the server said, host and status, never a
 * secret. */
const char *store_last_error(const struct store *store);

/* Bytes sent and received so far (object bytes; for progress and rates). Readable from any
 * thread. */
void store_counters(const struct store *store, uint64_t *sent, uint64_t *received);

/* The URL without login, for showing. */
const char *store_url(const struct store *store);

#endif
