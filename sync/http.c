#include "sync/http.h"

#include "crypto/err.h"
#include "crypto/secret.h"

#include <curl/curl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define CONNECT_TIMEOUT_S 20L
#define BUFFER_BYTES      (128L * 1024)
#define SLOWEST_RATE      2048u /* bytes per second: an answer that drips is given up */
#define RETRY_AFTER_MAX   3600u

/* How we log in. Digest is not tried before a server asks for it; Basic is, where nobody can
 * listen. */
enum auth { AUTH_NONE, AUTH_BASIC, AUTH_DIGEST };

/* One transfer. The easy handle is kept and not reset, since it remembers the server's Digest
 * nonce. */
struct slot {
    CURL *easy;
    struct http *http;
    struct http_request *request; /* NULL: free */
    struct curl_slist headers[HTTP_HEADERS_MAX + 2];
    size_t body_done;
    enum auth auth; /* that this transfer uses */
    bool fresh;     /* on a new connection */
    int sink_result;
    char detail[CURL_ERROR_SIZE];
};

struct http {
    CURLM *multi;
    struct slot slots[HTTP_PARALLEL];
    struct http_options options; /* ca_file is ours; user and secret point into ${login} */
    enum auth auth;
    char *login; /* guarded: user, NUL, secret, NUL, "Authorization: Basic ...", NUL */
    char *basic; /* in ${login} */
};

void http_request_init(struct http_request *request)
{
    *request = (struct http_request){0};
    bytes_out_init(&request->text);
}

void http_request_release(struct http_request *request)
{
    bytes_out_release(&request->text);
}

/* libcurl: the body to be sent. */
static size_t on_read(char *p, size_t size, size_t n, void *ctx)
{
    struct slot *slot = ctx;
    size_t len = size * n, left = slot->request->body_len - slot->body_done;
    len = len < left ? len : left;
    if (len)
        memcpy(p, (const uint8_t *)slot->request->body + slot->body_done, len);
    slot->body_done += len;
    atomic_fetch_add(slot->http->options.sent, len);
    return len;
}

/* libcurl: send it again, from ${off} on. */
static int on_seek(void *ctx, curl_off_t off, int origin)
{
    struct slot *slot = ctx;
    if (origin != SEEK_SET || off < 0 || (uint64_t)off > slot->request->body_len)
        return CURL_SEEKFUNC_FAIL;
    slot->body_done = (size_t)off;
    return CURL_SEEKFUNC_OK;
}

/* libcurl: a piece of the answer's body. */
static size_t on_write(char *p, size_t size, size_t n, void *ctx)
{
    struct slot *slot = ctx;
    struct http_request *r = slot->request;
    size_t len = size * n;
    curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &r->status);
    if (r->sink && r->status >= 200 && r->status <= 299) {
        atomic_fetch_add(slot->http->options.received, len);
        slot->sink_result = r->sink(r, p, len);
        return slot->sink_result ? CURL_WRITEFUNC_ERROR : len;
    }
    size_t room = HTTP_TEXT_MAX - r->text.len;
    bytes_put(&r->text, p, len < room ? len : room);
    if (len <= room && !r->text.bad)
        return len;
    /* what says no more than "no" in so many bytes is not read to its end */
    slot->sink_result = r->text.bad ? ERR_NOMEM : HTTP_STOP;
    return CURL_WRITEFUNC_ERROR;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Copies the login into guarded memory, with the Basic header made from it. */
static int take_login(struct http *h, const char *user, const char *secret)
{
    static const char start[] = "Authorization: Basic ";
    size_t user_len = strlen(user), secret_len = strlen(secret),
           pair_len = user_len + 1 + secret_len;
    size_t base64_len = sodium_base64_encoded_len(pair_len, sodium_base64_VARIANT_ORIGINAL);
    h->login = secret_alloc(pair_len + 1 + sizeof(start) + base64_len);
    if (!h->login)
        return ERR_NOMEM;
    memcpy(h->login, user, user_len);
    h->login[user_len] = ':';
    memcpy(h->login + user_len + 1, secret, secret_len + 1);
    h->basic = h->login + pair_len + 1;
    memcpy(h->basic, start, sizeof(start));
    sodium_bin2base64(h->basic + sizeof(start) - 1, base64_len, (const uint8_t *)h->login, pair_len,
                      sodium_base64_VARIANT_ORIGINAL);
    h->login[user_len] = '\0';
    h->options.user = h->login;
    h->options.secret = h->login + user_len + 1;
    h->auth = h->options.basic_at_once ? AUTH_BASIC : AUTH_NONE;
    return 0;
}

/* What holds for every transfer of the handle. */
static bool set_up_handle(struct slot *slot)
{
    CURL *e = slot->easy = curl_easy_init();
    const struct http_options *o = &slot->http->options;
    if (!e)
        return false;
    bool bad = false;
#define SET(option, value) bad = curl_easy_setopt(e, option, value) != CURLE_OK || bad
    SET(CURLOPT_PRIVATE, slot);
    SET(CURLOPT_ERRORBUFFER, slot->detail);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (o->ca_file)
        SET(CURLOPT_CAINFO, o->ca_file);
    if (o->direct)
        SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_USERAGENT, "obscurafs/" OBSCURAFS_VERSION);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_CONNECTTIMEOUT,
        CONNECT_TIMEOUT_S < (long)o->timeout_s ? CONNECT_TIMEOUT_S : (long)o->timeout_s);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, (long)o->timeout_s);
    SET(CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    SET(CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_BYTES);
    SET(CURLOPT_READFUNCTION, on_read);
    SET(CURLOPT_READDATA, slot);
    SET(CURLOPT_SEEKFUNCTION, on_seek);
    SET(CURLOPT_SEEKDATA, slot);
    SET(CURLOPT_WRITEFUNCTION, on_write);
    SET(CURLOPT_WRITEDATA, slot);
#undef SET
    return !bad;
}

int http_new(struct http **http, const struct http_options *options)
{
    pthread_once(&once, init_curl);
    struct http *h = calloc(1, sizeof(*h));
    int err = h ? 0 : ERR_NOMEM;
    if (err)
        return err;
    h->options = *options;
    h->options.ca_file = options->ca_file ? strdup(options->ca_file) : NULL;
    h->multi = curl_multi_init();
    if (!h->multi || (options->ca_file && !h->options.ca_file))
        err = ERR_NOMEM;
    if (!err && options->user)
        err = take_login(h, options->user, options->secret ? options->secret : "");
    for (size_t i = 0; i < HTTP_PARALLEL && !err; i++) {
        h->slots[i].http = h;
        if (!set_up_handle(&h->slots[i]))
            err = ERR_NOMEM;
    }
    if (!err) {
        curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_PARALLEL);
        *http = h;
    } else {
        http_free(h);
    }
    return err;
}

void http_free(struct http *http)
{
    if (!http)
        return;
    for (size_t i = 0; i < HTTP_PARALLEL; i++)
        curl_easy_cleanup(http->slots[i].easy);
    curl_multi_cleanup(http->multi);
    secret_free(http->login);
    free((char *)http->options.ca_file);
    free(http);
}

static void add_header(struct slot *slot, size_t *n, const char *line)
{
    /* libcurl does not change the nodes it is given, so they need not be copies in ordinary
     * memory */
    slot->headers[*n] = (struct curl_slist){.data = (char *)line};
    if (*n)
        slot->headers[*n - 1].next = &slot->headers[*n];
    ++*n;
}

/* Forgets what an earlier answer said. */
static void clear_answer(struct http_request *r)
{
    r->err = 0;
    r->reached = false;
    r->status = 0;
    r->length = -1;
    r->type[0] = r->range[0] = r->location[0] = r->server_date[0] = r->why[0] = '\0';
    r->etag = false;
    r->retry_after_s = 0;
    bytes_out_reset(&r->text);
}

static int launch(struct slot *slot)
{
    struct http *h = slot->http;
    struct http_request *r = slot->request;
    CURL *e = slot->easy;
    size_t n = 0;
    bool bad = false;
    clear_answer(r);
    slot->body_done = 0;
    slot->sink_result = 0;
    slot->detail[0] = '\0';
    slot->auth = h->auth;
    add_header(slot, &n, "Expect:"); /* else a large body waits for a server that never says 100 */
    for (size_t i = 0; i < HTTP_HEADERS_MAX && r->headers[i]; i++)
        add_header(slot, &n, r->headers[i]);
    if (h->auth == AUTH_BASIC)
        add_header(slot, &n, h->basic);
#define SET(option, value) bad = curl_easy_setopt(e, option, value) != CURLE_OK || bad
    SET(CURLOPT_URL, r->url);
    SET(CURLOPT_HTTPHEADER, slot->headers);
    SET(CURLOPT_HTTPGET, 1L); /* undoes NOBODY and UPLOAD of the last one */
    if (strcmp(r->method, "HEAD") == 0)
        SET(CURLOPT_NOBODY, 1L);
    if (r->body) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->body_len);
    }
    SET(CURLOPT_CUSTOMREQUEST, r->method);
    SET(CURLOPT_HTTPAUTH, h->auth == AUTH_DIGEST ? (long)CURLAUTH_DIGEST : (long)CURLAUTH_NONE);
    /* only here does libcurl keep a copy of the login in ordinary memory: it computes the digest
     * itself */
    SET(CURLOPT_USERNAME, h->auth == AUTH_DIGEST ? h->options.user : NULL);
    SET(CURLOPT_PASSWORD, h->auth == AUTH_DIGEST ? h->options.secret : NULL);
    SET(CURLOPT_FRESH_CONNECT, slot->fresh ? 1L : 0L);
    uint64_t bytes = r->body_len + r->expected;
    SET(CURLOPT_TIMEOUT, (long)(4 * h->options.timeout_s + bytes / SLOWEST_RATE));
#undef SET
    return !bad && curl_multi_add_handle(h->multi, e) == CURLM_OK ? 0 : ERR_NOMEM;
}

int http_start(struct http *http, struct http_request *request)
{
    for (size_t i = 0; i < HTTP_PARALLEL; i++) {
        struct slot *slot = &http->slots[i];
        if (slot->request)
            continue;
        slot->request = request;
        slot->fresh = false;
        int err = launch(slot);
        if (err)
            slot->request = NULL;
        return err;
    }
    return ERR_MISUSE;
}

/* A header of the last answer, or NULL. */
static const char *header(struct slot *slot, const char *name, size_t index)
{
    struct curl_header *h;
    return curl_easy_header(slot->easy, name, index, CURLH_HEADER, -1, &h) == CURLHE_OK ? h->value
                                                                                        : NULL;
}

/* Copies what the server sent for a message: printable, cut to fit. */
static void copy_header(struct slot *slot, const char *name, char *to, size_t size)
{
    const char *value = header(slot, name, 0);
    size_t n = 0;
    for (; value && *value && n + 1 < size; value++)
        to[n++] = *value >= 0x20 && *value < 0x7f ? *value : '?';
    to[n] = '\0';
}

static bool offers(struct slot *slot, const char *scheme)
{
    const char *value;
    for (size_t i = 0; (value = header(slot, "WWW-Authenticate", i)); i++)
        if (strcasestr(value, scheme))
            return true;
    return false;
}

/* After a 401: another way to log in that the server offers, and that this transfer has not
 * used. */
static bool find_auth(struct slot *slot)
{
    struct http *h = slot->http;
    if (!h->login || slot->auth == AUTH_DIGEST)
        return false;
    if (offers(slot, "Digest"))
        h->auth = AUTH_DIGEST;
    else if (slot->auth == AUTH_NONE && offers(slot, "Basic"))
        h->auth = AUTH_BASIC;
    else
        return false;
    return true;
}

static void read_answer(struct slot *slot)
{
    struct http_request *r = slot->request;
    curl_off_t length = -1;
    curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &r->status);
    curl_easy_getinfo(slot->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    r->length = length;
    copy_header(slot, "Content-Type", r->type, sizeof(r->type));
    copy_header(slot, "Content-Range", r->range, sizeof(r->range));
    copy_header(slot, "Location", r->location, sizeof(r->location));
    copy_header(slot, "Date", r->server_date, sizeof(r->server_date));
    r->etag = header(slot, "ETag", 0) != NULL;
    const char *after = header(slot, "Retry-After", 0);
    unsigned long seconds = after ? strtoul(after, NULL, 10) : 0; /* a date counts as 0: no wish */
    r->retry_after_s = seconds > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (unsigned)seconds;
}

static int transfer_error(CURLcode rc)
{
    switch (rc) {
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_URL_MALFORMAT:
        return ERR_NETPERM;
    default:
        return ERR_NET;
    }
}

static bool before_sending(CURLcode rc)
{
    return rc == CURLE_COULDNT_CONNECT || rc == CURLE_COULDNT_RESOLVE_HOST ||
           rc == CURLE_COULDNT_RESOLVE_PROXY || rc == CURLE_SSL_CONNECT_ERROR ||
           rc == CURLE_PEER_FAILED_VERIFICATION;
}

/* Swift sometimes sends, on a kept connection, the end of an answer that had ended: what came then
 * for this request is not its answer. */
static bool met_stray_bytes(struct slot *slot, CURLcode rc)
{
    long new_connections = 1;
    curl_easy_getinfo(slot->easy, CURLINFO_NUM_CONNECTS, &new_connections);
    return (rc == CURLE_UNSUPPORTED_PROTOCOL || rc == CURLE_WEIRD_SERVER_REPLY) &&
           !new_connections && !slot->fresh;
}

/* Ends the transfer. True: it is to be done once more, with another login or on another
 * connection. */
static bool finish(struct slot *slot, CURLcode rc)
{
    struct http_request *r = slot->request;
    if (met_stray_bytes(slot, rc))
        return slot->fresh = true;
    read_answer(slot);
    r->reached = !before_sending(rc);
    if (rc == CURLE_WRITE_ERROR && slot->sink_result) {
        r->err = slot->sink_result == HTTP_STOP ? 0 : slot->sink_result;
        snprintf(r->why, sizeof(r->why), "the answer could not be used");
    } else if (rc != CURLE_OK) {
        r->err = transfer_error(rc);
        snprintf(r->why, sizeof(r->why), "%.*s", (int)sizeof(r->why) - 1,
                 slot->detail[0] ? slot->detail : curl_easy_strerror(rc));
    }
    return r->status == 401 && (r->err == 0 || r->err == ERR_NET) && find_auth(slot);
}

/* All that is under way ends as cancelled; one is given back, the others at the next calls. */
static struct http_request *take_cancelled(struct http *http)
{
    for (size_t i = 0; i < HTTP_PARALLEL; i++) {
        struct slot *slot = &http->slots[i];
        struct http_request *r = slot->request;
        if (!r)
            continue;
        /* not waiting for a name to be looked up, which can take long */
        curl_easy_setopt(slot->easy, CURLOPT_QUICK_EXIT, 1L);
        curl_multi_remove_handle(http->multi, slot->easy);
        curl_easy_setopt(slot->easy, CURLOPT_QUICK_EXIT, 0L);
        slot->request = NULL;
        r->err = ERR_INTR;
        r->reached = true;
        snprintf(r->why, sizeof(r->why), "cancelled");
        return r;
    }
    return NULL;
}

/* A request that has ended by itself. */
static struct http_request *take_finished(struct http *http)
{
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(http->multi, &left))) {
        struct slot *slot = NULL;
        CURLcode rc = msg->data.result;
        if (msg->msg != CURLMSG_DONE ||
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&slot))
            continue;
        struct http_request *r = slot->request;
        bool again = finish(slot, rc);
        curl_multi_remove_handle(http->multi, slot->easy);
        if (again && launch(slot) == 0)
            continue;
        slot->request = NULL;
        return r;
    }
    return NULL;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct http_request *http_wait(struct http *http, unsigned timeout_ms)
{
    int64_t end = now_ms() + timeout_ms;
    for (;;) {
        int running;
        if (atomic_load(http->options.cancelled))
            return take_cancelled(http);
        curl_multi_perform(http->multi, &running);
        struct http_request *r = take_finished(http);
        int64_t left = end - now_ms();
        if (r || left <= 0)
            return r;
        curl_multi_poll(http->multi, NULL, 0, (int)left, NULL);
    }
}

void http_cancel(struct http *http)
{
    curl_multi_wakeup(http->multi);
}
