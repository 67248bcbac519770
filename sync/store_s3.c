/* A bucket of an S3 server as a store. */
#include "sync/store_http.h"

#include "crypto/err.h"
#include "crypto/secret.h"
#include "sync/sigv4.h"
#include "sync/store_clutter.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARE_PAGES 1000u

struct store_s3 {
    struct store_http http;
    struct sigv4_signer *signer;
    char *token; /* session token, in guarded memory; NULL: none */
};

static struct store_s3 *from_http(struct store_http *s)
{
    return (struct store_s3 *)s; /* its first member */
}

/* Path and query as they stand in the URL; each gets its NUL. */
static int put_target(const struct store_http *s, const struct store_call *call,
                      struct bytes_out *path, struct bytes_out *query)
{
    const struct store_place *place = &s->base.place;
    char page[16], *prefix;
    bytes_put(path, place->path, strlen(place->path));
    if (call->verb != STORE_LIST) {
        bytes_put_u8(path, '/');
        sigv4_encode(path, place->prefix, true);
        sigv4_encode(path, call->name, true);
    } else {
        if (!place->path[0])
            bytes_put_u8(path, '/');
        if (asprintf(&prefix, "%s%s", place->prefix, call->name) < 0)
            return ERR_NOMEM;
        snprintf(page, sizeof(page), "%u", place->page);
        struct sigv4_field params[] = {{"list-type", "2"},
                                       {"encoding-type", "url"},
                                       {"max-keys", page},
                                       {"prefix", prefix},
                                       {"continuation-token", call->token}};
        sigv4_query(query, params, call->token ? 5 : 4);
        free(prefix);
    }
    bytes_put_u8(path, 0);
    bytes_put_u8(query, 0);
    return path->bad || query->bad ? ERR_NOMEM : 0;
}

/* Signs, and sets the URL and the headers that are signed (all but Host, which libcurl makes from
 * the URL). */
static int sign(struct store_s3 *s3, struct store_call *call, const char *path, const char *query)
{
    const struct store_place *place = &s3->http.base.place;
    char hash[SIGV4_HASH_LEN + 1], date[SIGV4_DATE_LEN + 1], range[64];
    struct http_request *r = &call->request;
    sigv4_hash(hash, r->body ? r->body : "", r->body_len);
    sigv4_date(date, time(NULL));
    struct sigv4_request to_sign = {
        .method = r->method, .path = path, .query = query, .payload_hash = hash, .date = date};
    struct sigv4_field *fields = to_sign.headers; /* in the order of their names */
    size_t n = 0;
    fields[n++] = (struct sigv4_field){"host", place->host};
    if (store_http_range(call, range, sizeof(range)))
        fields[n++] = (struct sigv4_field){"range", range};
    fields[n++] = (struct sigv4_field){"x-amz-content-sha256", hash};
    fields[n++] = (struct sigv4_field){"x-amz-date", date};
    if (s3->token)
        fields[n++] = (struct sigv4_field){"x-amz-security-token", s3->token};
    to_sign.header_count = n;

    struct bytes_out authorization;
    bytes_out_init(&authorization);
    int err = sigv4_authorization(s3->signer, &to_sign, &authorization);
    if (!err)
        err = store_http_url(call, "%s%s%s%s", place->origin, path, query[0] ? "?" : "", query);
    for (size_t i = 1; i < n && !err; i++)
        err = store_http_header(call, "%s: %s", fields[i].name, fields[i].value);
    if (!err)
        err = store_http_header(call, "Authorization: %.*s", (int)authorization.len,
                                (const char *)authorization.p);
    bytes_out_release(&authorization);
    return err;
}

static int s3_build(struct store_http *s, struct store_call *call)
{
    static const char *const methods[] = {[STORE_PUT] = "PUT",
                                          [STORE_GET] = "GET",
                                          [STORE_HEAD] = "HEAD",
                                          [STORE_DELETE] = "DELETE",
                                          [STORE_LIST] = "GET"};
    struct bytes_out path, query;
    bytes_out_init(&path);
    bytes_out_init(&query);
    call->request.method = methods[call->verb];
    if (call->step == STORE_STEP_CHECK_HEAD)
        call->request.method = "HEAD";
    else if (call->step == STORE_STEP_CHECK_GET)
        call->request.method = "GET";
    int err = put_target(s, call, &path, &query);
    if (!err)
        err = sign(from_http(s), call, (const char *)path.p, (const char *)query.p);
    if (!err && call->request.body)
        err = store_http_header(call, "Content-Type: application/octet-stream");
    bytes_out_release(&path);
    bytes_out_release(&query);
    return err;
}

static int ignore_entry(void *ctx, const struct xml_list_entry *entry)
{
    (void)ctx, (void)entry;
    return 0;
}

static bool among(const char *code, const char *const *codes)
{
    while (*codes && strcmp(code, *codes) != 0)
        codes++;
    return *codes != NULL;
}

/* An error that S3 names in its body. */
static int judge_code(struct store_http *s, const char *code, const char *region)
{
    static const char *const login[] = {
        "SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied",
        "InvalidToken",          "ExpiredToken",       "AccountProblem",
        "AllAccessDisabled",     "InvalidSecurity",    NULL};
    static const char *const clock[] = {"RequestTimeTooSkewed", "RequestExpired", NULL};
    static const char *const full[] = {"QuotaExceeded",     "ServiceQuotaExceeded",
                                       "XMinioStorageFull", "EntityTooLarge",
                                       "TooManyObjects",    NULL};
    static const char *const busy[] = {"RequestTimeout",
                                       "SlowDown",
                                       "InternalError",
                                       "ServiceUnavailable",
                                       "OperationAborted",
                                       "BadDigest",
                                       "IncompleteBody",
                                       "TooManyRequests",
                                       "XAmzContentSHA256Mismatch",
                                       NULL};
    static const char *const place[] = {"AuthorizationHeaderMalformed", "PermanentRedirect",
                                        "IllegalLocationConstraintException", NULL};
    const char *host = s->base.place.host;
    if (among(code, login))
        return store_fail(&s->base, ERR_LOGIN, "%s refused the login (%s)", host, code);
    if (among(code, clock))
        return store_fail(&s->base, ERR_LOGIN,
                          "%s refused the login: the clock of this machine is wrong (%s)", host,
                          code);
    if (among(code, full))
        return store_fail(&s->base, ERR_STOREFULL, "%s has no room left (%s)", host, code);
    if (among(code, busy))
        return store_fail(&s->base, ERR_NET, "%s asks to try again (%s)", host, code);
    if (among(code, place))
        return store_fail(&s->base, ERR_NETPERM, "%s: wrong region in the store's URL%s%s (%s)",
                          host, region[0] ? "; it should be region=" : "", region, code);
    if (strcmp(code, "NoSuchBucket") == 0)
        return store_fail(&s->base, ERR_NETPERM, "%s has no bucket of this name: make it first",
                          host);
    return STORE_HTTP_UNDECIDED;
}

static int s3_judge(struct store_http *s, struct store_call *call)
{
    const struct http_request *r = &call->request;
    /* every S3 server gives the ETag of what it has stored; what stands in between does not */
    if (r->status == 200 && call->verb == STORE_PUT && call->step == STORE_STEP_MAIN && !r->etag)
        return store_fail(&s->base, ERR_NET, "%s did not answer as an S3 server does",
                          s->base.place.host);
    if (r->status < 300 || !r->text.len)
        return STORE_HTTP_UNDECIDED;
    struct xml_list *xml = xml_list_new(XML_LIST_S3_ERROR, ignore_entry, NULL);
    if (!xml)
        return ERR_NOMEM;
    int err = STORE_HTTP_UNDECIDED;
    if (xml_list_feed(xml, r->text.p, r->text.len) == 0 && xml_list_end(xml) == 0)
        err = judge_code(s, xml_list_code(xml), xml_list_region(xml));
    xml_list_free(xml);
    return err;
}

/* Keys that end in '/' stand for folders: for the store's place itself, or for one in it. */
static bool stands_for_folder(char *name)
{
    size_t len = strlen(name);
    if (len && name[len - 1] != '/')
        return false;
    if (!len)
        return true;
    name[len - 1] = '\0';
    bool ours = store_name_valid(name);
    name[len - 1] = '/';
    return ours;
}

/* The objects of one page. */
static int take_page(struct store_s3 *s3, const struct bytes_out *listed, bool all,
                     int (*each)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    const char *prefix = s3->http.base.place.prefix;
    size_t prefix_len = strlen(prefix);
    struct xml_list_entry entry;
    struct bytes_in in;
    int err = 0;
    bytes_in_init(&in, listed->p, listed->len);
    while (!err && in.left && store_http_entry_get(&in, &entry)) {
        int len;
        char *key = curl_easy_unescape(NULL, entry.name, 0, &len);
        if (!key)
            return ERR_NOMEM;
        char *name = key + prefix_len;
        bool inside = (size_t)len == strlen(key) && strncmp(key, prefix, prefix_len) == 0;
        if (inside &&
            (all ? !stands_for_folder(name) && !store_clutter_path(name) : store_name_valid(name)))
            err = each(ctx, name, entry.size);
        curl_free(key);
    }
    return err;
}

static int s3_list(struct store *store, const char *prefix, bool all,
                   int (*each)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    struct store_s3 *s3 = (struct store_s3 *)store;
    struct bytes_out out;
    char *token = NULL;
    bool more = true;
    /* a server may send less than it is asked for, but not for ever */
    unsigned pages_left = STORE_LIST_MAX / store->place.page + SPARE_PAGES;
    int err = 0;
    bytes_out_init(&out);
    while (more && !err) {
        struct store_call call = {.verb = STORE_LIST,
                                  .name = prefix,
                                  .token = token,
                                  .out = &out,
                                  .list_kind = XML_LIST_S3};
        bytes_out_reset(&out);
        err = store_http_run(&s3->http, &call, 1);
        if (!err)
            err = take_page(s3, &out, all, each, ctx);
        more = !err && xml_list_more(call.xml);
        const char *next = more ? xml_list_token(call.xml) : "";
        /* a server that says "more" and does not say where, or says the same again, would keep us
         * here for ever */
        if (more && (!next[0] || (token && strcmp(token, next) == 0) || --pages_left == 0))
            err = store_fail(store, ERR_FORMAT, "%s sent a listing that does not end",
                             s3->http.base.place.host);
        free(token);
        token = more && !err ? strdup(next) : NULL;
        if (more && !err && !token)
            err = ERR_NOMEM;
        xml_list_free(call.xml);
    }
    free(token);
    bytes_out_release(&out);
    return err == ERR_NOENT
               ? store_fail(store, ERR_NETPERM, "%s has no such bucket", s3->http.base.place.host)
               : err;
}

static void s3_close(struct store_http *s)
{
    struct store_s3 *s3 = from_http(s);
    sigv4_signer_free(s3->signer);
    secret_free(s3->token);
}

int store_s3_open(struct store **store, struct store_place *place, const struct store_login *login,
                  const struct store_options *options)
{
    static const struct store_ops ops = {
        .close = store_http_close,
        .put_many = store_http_put_many,
        .get = store_http_get,
        .get_many = store_http_get_many,
        .head = store_http_head,
        .delete = store_http_delete,
        .list = s3_list,
        .wake = store_http_wake,
    };
    static const struct store_dialect dialect = {
        .build = s3_build, .judge = s3_judge, .close = s3_close};
    static const struct http_options no_login; /* signatures instead */
    struct store_http *s;
    if (!login->user || !login->secret)
        return ERR_INVAL;
    int err = store_http_new(&s, sizeof(struct store_s3), &dialect, place, options, &no_login);
    if (err)
        return err;
    struct store_s3 *s3 = from_http(s);
    s->base.ops = &ops;
    s3->signer = sigv4_signer_new(login->user, login->secret, s->base.place.region, "s3");
    if (login->token && login->token[0]) {
        s3->token = secret_alloc(strlen(login->token) + 1);
        if (s3->token)
            memcpy(s3->token, login->token, strlen(login->token) + 1);
    }
    if (!s3->signer || (login->token && login->token[0] && !s3->token)) {
        *place = s->base.place; /* back to the caller */
        s->base.place = (struct store_place){0};
        store_http_close(&s->base);
        return ERR_NOMEM;
    }
    *store = &s->base;
    return 0;
}
