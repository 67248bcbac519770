#include "sync/store_url.h"

#include "crypto/err.h"
#include "sync/store.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define S3_PAGE_MAX   1000u
#define S3_BUCKET_MAX 255u
#define S3_REGION_MAX 64u

static int refuse(char *why, const char *text)
{
    snprintf(why, STORE_URL_WHY, "%s", text);
    return ERR_INVAL;
}

/* Decodes %XX in ${len} bytes; other text, a lone % included, stays. NULL: out of memory, or a NUL
 * or control character came out (*bad). */
static char *decode(const char *p, size_t len, bool *bad)
{
    char *out = malloc(len + 1);
    size_t n = 0;
    *bad = false;
    if (!out)
        return NULL;
    for (size_t i = 0; i < len; i++) {
        char hex[3] = {0}, *end = NULL;
        int c = (unsigned char)p[i];
        if (c == '%' && i + 2 < len) {
            memcpy(hex, p + i + 1, 2);
            long v = strtol(hex, &end, 16);
            if (end == hex + 2 && hex[0] != '+' && hex[0] != '-' && hex[0] != ' ') {
                c = (int)v;
                i += 2;
            }
        }
        if (c < 0x20 || c == 0x7f)
            *bad = true;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    if (*bad) {
        free(out);
        return NULL;
    }
    return out;
}

static void strip_slashes(char *path)
{
    size_t len = strlen(path);
    while (len && path[len - 1] == '/')
        path[--len] = '\0';
}

static int parse_folder(struct store_place *place, const char *rest, char *why)
{
    if (strncasecmp(rest, "localhost/", 10) == 0)
        rest += 9;
    if (rest[0] != '/')
        return refuse(
            why, "a folder is named with three slashes and its full path: file:///home/you/folder");
    bool bad;
    place->dir = decode(rest, strlen(rest), &bad);
    if (!place->dir)
        return bad ? refuse(why, "there is a control character in the folder's name") : ERR_NOMEM;
    strip_slashes(place->dir);
    if (!place->dir[0])
        return refuse(why, "the root directory cannot be a store: name a folder in it");
    place->scheme = STORE_SCHEME_FOLDER;
    return 0;
}

/* Only what cannot leave the machine: the name localhost (libcurl never asks DNS for it) and
 * loopback numbers. */
static bool is_loopback(const char *host)
{
    unsigned a, b, c, d;
    char rest;
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (sscanf(host, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &rest) == 4 && a == 127);
}

static char *url_part(CURLU *u, CURLUPart part)
{
    char *p = NULL;
    return curl_url_get(u, part, &p, 0) == CURLUE_OK ? p : NULL;
}

static int take_server(struct store_place *place, CURLU *u, bool allow_http, char *why)
{
    char *scheme = url_part(u, CURLUPART_SCHEME), *host = url_part(u, CURLUPART_HOST);
    char *port = url_part(u, CURLUPART_PORT), *path = url_part(u, CURLUPART_PATH);
    char *user = url_part(u, CURLUPART_USER), *password = url_part(u, CURLUPART_PASSWORD);
    char *query = url_part(u, CURLUPART_QUERY), *fragment = url_part(u, CURLUPART_FRAGMENT);
    int err = 0;
    if (!scheme || !host || !path)
        err = refuse(why, "this is not the URL of a server");
    else if (user || password)
        err = refuse(
            why, "leave the login out of the URL: it is asked for and kept sealed, a URL is shown");
    else if (query || fragment)
        err = refuse(
            why, "the URL of a WebDAV folder has no '?' and no '#' (write them as %3F and %23)");
    else {
        place->tls = strcasecmp(scheme, "https") == 0;
        place->loopback = is_loopback(host);
        if (!place->tls && !place->loopback && !allow_http)
            err = refuse(
                why,
                "http:// would send the login in the clear; use https:// (or allow http expressly)");
    }
    bool standard = !port || strcmp(port, place->tls ? "443" : "80") == 0;
    if (!err &&
        (asprintf(&place->host, "%s%s%s", host, standard ? "" : ":", standard ? "" : port) < 0 ||
         asprintf(&place->origin, "%s://%s", place->tls ? "https" : "http", place->host) < 0 ||
         !(place->path = strdup(path))))
        err = ERR_NOMEM;
    if (place->path)
        strip_slashes(place->path);
    curl_free(scheme), curl_free(host), curl_free(port), curl_free(path);
    curl_free(user), curl_free(password), curl_free(query), curl_free(fragment);
    return err;
}

static int parse_server(struct store_place *place, const char *url, bool allow_http, char *why)
{
    CURLU *u = curl_url();
    if (!u)
        return ERR_NOMEM;
    int err;
    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        err = refuse(why, "a server's URL starts with https://");
    else if (curl_url_set(u, CURLUPART_URL, url, CURLU_URLENCODE) != CURLUE_OK)
        err = refuse(why, "this is not a valid URL");
    else
        err = take_server(place, u, allow_http, why);
    curl_url_cleanup(u);
    return err;
}

/* One "name=value" of an S3 URL's query. */
static int take_s3_option(struct store_place *place, char **endpoint, const char *p, size_t len,
                          char *why)
{
    const char *equals = memchr(p, '=', len);
    bool bad;
    size_t name = equals ? (size_t)(equals - p) : len;
    char *value = equals ? decode(equals + 1, len - name - 1, &bad) : NULL;
    char **where = NULL;
    int err = 0;
    if (!value || !value[0])
        err = refuse(why, "an s3 URL's options are endpoint=URL, region=NAME and pagesize=N");
    else if (name == 8 && memcmp(p, "endpoint", name) == 0)
        where = endpoint;
    else if (name == 6 && memcmp(p, "region", name) == 0)
        where = &place->region;
    else if (name == 8 && memcmp(p, "pagesize", name) == 0) {
        char *end;
        unsigned long v = strtoul(value, &end, 10);
        if (*end || v < 1 || v > S3_PAGE_MAX)
            err = refuse(why, "pagesize is a number from 1 to 1000");
        else
            place->page = (unsigned)v;
    } else
        err = refuse(why, "an s3 URL's options are endpoint=URL, region=NAME and pagesize=N");
    if (!where) {
        free(value);
        return err;
    }
    free(*where);
    *where = value;
    return 0;
}

static int take_s3_options(struct store_place *place, char **endpoint, const char *query, char *why)
{
    while (*query) {
        size_t len = strcspn(query, "&");
        int err = len ? take_s3_option(place, endpoint, query, len, why) : 0;
        if (err)
            return err;
        query += len + (query[len] == '&');
    }
    if (!place->region && !(place->region = strdup("us-east-1")))
        return ERR_NOMEM;
    if (strlen(place->region) > S3_REGION_MAX ||
        strspn(place->region,
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
            strlen(place->region))
        return refuse(why, "the region's name holds characters that no region has");
    return 0;
}

/* The server that holds ${bucket}, and the path up to it. */
static int take_s3_server(struct store_place *place, const char *endpoint, const char *bucket,
                          bool allow_http, char *why)
{
    char *url = NULL;
    int n;
    if (endpoint)
        n = asprintf(&url, "%s%s%s", endpoint, endpoint[strlen(endpoint) - 1] == '/' ? "" : "/",
                     bucket);
    else if (strchr(bucket, '.')) /* AWS's certificate covers one label before s3.REGION only */
        n = asprintf(&url, "https://s3.%s.amazonaws.com/%s", place->region, bucket);
    else
        n = asprintf(&url, "https://%s.s3.%s.amazonaws.com/", bucket, place->region);
    if (n < 0)
        return ERR_NOMEM;
    int err = parse_server(place, url, allow_http, why);
    free(url);
    return err;
}

static int parse_s3(struct store_place *place, const char *rest, bool allow_http, char *why)
{
    size_t bucket_len = strcspn(rest, "/?"), prefix_len = strcspn(rest + bucket_len, "?");
    const char *prefix = rest + bucket_len, *query = prefix + prefix_len;
    while (prefix_len && *prefix == '/')
        prefix++, prefix_len--;
    if (!bucket_len || bucket_len > S3_BUCKET_MAX ||
        strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") <
            bucket_len ||
        rest[0] == '.')
        return refuse(
            why,
            "s3:// is followed by the bucket's name: s3://bucket/prefix?endpoint=URL&region=R");
    char *bucket = strndup(rest, bucket_len), *endpoint = NULL, *decoded = NULL;
    bool bad = false;
    int err = ERR_NOMEM;
    if (bucket && (decoded = decode(prefix, prefix_len, &bad))) {
        strip_slashes(decoded);
        if (asprintf(&place->prefix, "%s%s", decoded, decoded[0] ? "/" : "") >= 0)
            err = take_s3_options(place, &endpoint, query + (*query == '?'), why);
        else
            place->prefix = NULL;
    } else if (bad)
        err = refuse(why, "there is a control character in the prefix");
    if (!err)
        err = take_s3_server(place, endpoint, bucket, allow_http, why);
    place->scheme = STORE_SCHEME_S3;
    free(bucket), free(endpoint), free(decoded);
    return err;
}

int store_url_parse(struct store_place *place, const char *url, bool allow_http, char *why)
{
    char unused[STORE_URL_WHY];
    int err;
    *place = (struct store_place){.page = S3_PAGE_MAX};
    why = why ? why : unused;
    why[0] = '\0';
    if (strlen(url) > STORE_URL_MAX)
        return refuse(why, "the URL is too long");
    place->url = strdup(url);
    if (!place->url)
        return ERR_NOMEM;
    if (strncasecmp(url, "file://", 7) == 0)
        err = parse_folder(place, url + 7, why);
    else if (strncasecmp(url, "s3://", 5) == 0)
        err = parse_s3(place, url + 5, allow_http, why);
    else if (strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0) {
        place->scheme = STORE_SCHEME_WEBDAV;
        err = parse_server(place, url, allow_http, why);
    } else
        err = refuse(why, "a store's URL starts with file:///, https:// (WebDAV) or s3://");
    if (err)
        store_url_clear(place);
    return err;
}

void store_url_clear(struct store_place *place)
{
    free(place->url), free(place->dir), free(place->host), free(place->origin);
    free(place->path), free(place->prefix), free(place->region);
    *place = (struct store_place){0};
}
