/* What servers answer, turned into bytes and our error codes. */
#include "sync/store_http.h"

#include "crypto/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

void store_http_entry_put(struct bytes_out *out, const struct xml_list_entry *entry)
{
    size_t len = strlen(entry->name) + 1; /* with its NUL */
    bytes_put_u8(out, entry->collection);
    bytes_put_u8(out, entry->has_size);
    bytes_put_u64(out, entry->size);
    bytes_put_var16(out, entry->name, len);
}

bool store_http_entry_get(struct bytes_in *in, struct xml_list_entry *entry)
{
    size_t len;
    entry->collection = bytes_get_u8(in);
    entry->has_size = bytes_get_u8(in);
    entry->size = bytes_get_u64(in);
    entry->name = (const char *)bytes_get_var16(in, UINT16_MAX, &len);
    return entry->name != NULL;
}

bool store_http_range(const struct store_call *call, char *range, size_t size)
{
    if (call->verb != STORE_GET || (!call->off && !call->len))
        return false;
    if (call->len)
        snprintf(range, size, "bytes=%" PRIu64 "-%" PRIu64, call->off, call->off + call->len - 1);
    else
        snprintf(range, size, "bytes=%" PRIu64 "-", call->off);
    return true;
}

static int sink_get(struct http_request *r, const void *p, size_t len)
{
    struct store_call *call = r->user;
    const uint8_t *from = p;
    bool whole = r->status != 206; /* the server ignored our Range: we cut it out */
    if (whole && call->skip) {
        size_t n = call->skip < len ? (size_t)call->skip : len;
        call->skip -= n;
        from += n;
        len -= n;
    }
    size_t room = call->max - (call->out->len - call->out_start);
    bool over = len > room;
    if (over && !(whole && call->len))
        return ERR_FORMAT;
    bytes_put(call->out, from, over ? room : len);
    if (call->out->bad)
        return ERR_NOMEM;
    return over ? HTTP_STOP : 0;
}

/* Settling a put: equal bytes so far? */
static int sink_compare(struct http_request *r, const void *p, size_t len)
{
    struct store_call *call = r->user;
    if (len > call->len - call->compared ||
        memcmp((const uint8_t *)call->p + call->compared, p, len) != 0) {
        call->differs = true;
        return HTTP_STOP;
    }
    call->compared += len;
    return 0;
}

static int sink_list(struct http_request *r, const void *p, size_t len)
{
    struct store_call *call = r->user;
    return xml_list_feed(call->xml, p, len);
}

static int keep_entry(void *ctx, const struct xml_list_entry *entry)
{
    struct store_call *call = ctx;
    if (call->out->len - call->out_start > STORE_HTTP_LIST_MAX)
        return ERR_FORMAT;
    store_http_entry_put(call->out, entry);
    return call->out->bad ? ERR_NOMEM : 0;
}

int store_answer_begin(struct store_call *call)
{
    struct http_request *r = &call->request;
    r->user = call;
    r->sink = NULL;
    r->body = NULL;
    r->body_len = 0;
    r->expected = 0;
    if (call->step == STORE_STEP_CHECK_GET) {
        r->sink = sink_compare;
        r->expected = call->len;
        call->compared = 0;
        call->differs = false;
    } else if (call->step == STORE_STEP_MAIN && call->verb == STORE_PUT) {
        r->body = call->p ? call->p : "";
        r->body_len = call->len;
    } else if (call->verb == STORE_GET) {
        r->sink = sink_get;
        r->expected = call->max;
        call->skip = call->off;
        call->out->len = call->out_start; /* what an earlier try left */
    } else if (call->verb == STORE_LIST) {
        r->sink = sink_list;
        r->expected = 1u << 20;
        call->out->len = call->out_start;
        xml_list_free(call->xml);
        call->xml = xml_list_new(call->list_kind, keep_entry, call);
        return call->xml ? 0 : ERR_NOMEM;
    }
    return 0;
}

static bool is_web_page(const struct http_request *r)
{
    return strncasecmp(r->type, "text/html", 9) == 0 ||
           strncasecmp(r->type, "application/xhtml", 17) == 0;
}

static int fail_web_page(struct store_http *s)
{
    return store_fail(
        &s->base, ERR_NETPERM,
        "%s answered with a web page: does this network want a login in the browser first, "
        "or is the URL not that of a store?",
        s->base.place.host);
}

/* A part must be the part that was asked for: from its first byte on, and to its end or the
 * object's. */
static int check_part(struct store_http *s, const struct store_call *call)
{
    uint64_t first, last, total;
    size_t got = call->out->len - call->out_start;
    int n = sscanf(call->request.range, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, &first, &last,
                   &total);
    bool right = n >= 2 && first == call->off && last >= first && last - first + 1 == got;
    if (right && got < call->len)
        right = n == 3 && last + 1 == total;
    return right ? 0
                 : store_fail(&s->base, ERR_FORMAT,
                              "%s sent another part of an object than was asked for",
                              s->base.place.host);
}

static int check_get(struct store_http *s, struct store_call *call)
{
    const struct http_request *r = &call->request;
    int err = 0;
    if (r->status == 206)
        err = check_part(s, call);
    else if (is_web_page(r) && call->out->len > call->out_start &&
             call->out->p[call->out_start] == '<')
        err = fail_web_page(s);
    return err;
}

/* The answer said yes: is it the answer to our question? */
static int judge_success(struct store_http *s, struct store_call *call)
{
    struct http_request *r = &call->request;
    if (call->step == STORE_STEP_CHECK_HEAD && is_web_page(r))
        return fail_web_page(s);
    if (call->step != STORE_STEP_MAIN)
        return 0;
    switch (call->verb) {
    case STORE_GET:
        return check_get(s, call);
    case STORE_HEAD:
        if (is_web_page(r))
            return fail_web_page(s);
        call->size = r->length < 0 ? STORE_HTTP_SIZE_UNKNOWN : (uint64_t)r->length;
        return 0;
    case STORE_LIST: {
        int err = xml_list_end(call->xml);
        if (err == ERR_FORMAT)
            store_fail(&s->base, err, "%s sent a listing that cannot be read", s->base.place.host);
        return err;
    }
    default:
        return 0;
    }
}

static int judge_status(struct store_http *s, const struct http_request *r)
{
    const char *host = s->base.place.host;
    long status = r->status;
    if (status >= 300 && status <= 399)
        return store_fail(&s->base, ERR_NETPERM,
                          "%s sends us elsewhere (%ld): use that address as the store's: %s", host,
                          status, r->location[0] ? r->location : "(it does not say which)");
    switch (status) {
    case 401:
    case 403:
        return store_fail(&s->base, ERR_LOGIN, "%s refused the login (%ld)", host, status);
    case 404:
    case 410:
        return ERR_NOENT;
    case 407:
        return store_fail(&s->base, ERR_NETPERM, "the proxy wants a login (407)");
    case 413:
    case 507:
        return store_fail(&s->base, ERR_STOREFULL, "%s has no room left (%ld)", host, status);
    case 408:
    case 423:
    case 425:
    case 429:
        return store_fail(&s->base, ERR_NET, "%s is busy (%ld)", host, status);
    case 501:
    case 505:
        break;
    default:
        if (status >= 500)
            return store_fail(&s->base, ERR_NET, "%s has a fault (%ld)", host, status);
    }
    return store_fail(&s->base, ERR_NETPERM, "%s answered %ld to %s", host, status, r->method);
}

int store_answer_judge(struct store_http *s, struct store_call *call)
{
    struct http_request *r = &call->request;
    if (r->err == ERR_FORMAT && call->verb == STORE_LIST)
        return is_web_page(r)
                   ? fail_web_page(s)
                   : store_fail(&s->base, ERR_FORMAT, "%s sent a listing that cannot be read",
                                s->base.place.host);
    if (r->err == ERR_FORMAT)
        return store_fail(&s->base, r->err, "%s sent more than was asked for", s->base.place.host);
    if (r->err == ERR_INTR)
        return store_fail(&s->base, r->err, "the transfer was cancelled");
    if (r->err)
        return store_fail(&s->base, r->err, "%s: %s", s->base.place.host, r->why);
    int err = s->dialect->judge(s, call);
    if (err != STORE_HTTP_UNDECIDED)
        return err;
    if (r->status >= 200 && r->status <= 299)
        return judge_success(s, call);
    if (r->status == 416 && call->verb == STORE_GET)
        return 0; /* the object ends before the part begins */
    err = judge_status(s, r);
    return err == ERR_NOENT && call->verb == STORE_DELETE ? 0 : err;
}
