/*
 * store_url.h - the URL of a store, taken apart. [store-url]
 *
 *   file:///dir                      a directory; %XX is decoded
 *   http(s)://host[:port]/path       a WebDAV collection, which need not exist yet
 *   s3://bucket[/prefix][?endpoint=URL&region=R&pagesize=N]
 *        without endpoint: AWS, bucket in the host name unless it has a dot; with one: bucket in
 *        the path. region: us-east-1. pagesize: keys asked for in one listing
 *
 * A URL never carries a login: it is shown and logged. Not thread-safe; one owner each.
 */
#ifndef SYNC_STORE_URL_H
#define SYNC_STORE_URL_H

#include <stdbool.h>

#define STORE_URL_WHY 200u /* bytes of a line for people */

enum store_scheme { STORE_SCHEME_FOLDER, STORE_SCHEME_WEBDAV, STORE_SCHEME_S3 };

struct store_place {
    enum store_scheme scheme;
    char *url; /* as given */
    char *dir; /* folder: absolute path */
    char *
        host; /* for messages and for the Host header: with the port unless it is the default one */
    char *origin; /* scheme://host[:port] */
    /* percent-encoded, starts with '/' or is empty, no '/' at its end; S3: up to the bucket */
    char *path;
    char *prefix;  /* S3: as it stands in keys, not encoded; empty, or '/' at its end */
    char *region;  /* S3 */
    unsigned page; /* S3: keys of one listing */
    bool tls;
    bool loopback; /* the host is this machine, by its name or number */
};

/*
 * Fills ${place}. Refuses what would send the login in the clear: http to another machine without
 * ${allow_http}. ERR_INVAL with a line in ${why} (STORE_URL_WHY bytes), ERR_NOMEM. On failure
 * nothing is left to free.
 */
int store_url_parse(struct store_place *place, const char *url, bool allow_http, char *why);
void store_url_clear(struct store_place *place);

#endif
