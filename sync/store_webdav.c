/* A WebDAV collection as a store. Of WebDAV only PUT, GET, HEAD, DELETE, MKCOL and PROPFIND with
 * Depth 1 are used: locks, conditions, ETags and MOVE differ from server to server. */
#include "sync/store_http.h"

#include "crypto/err.h"
#include "sync/store_clutter.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN_MAX    4096u
#define COSTLY_BODY  65536u /* not sent on the mere hope that its collection is there */
#define LIST_DEPTH   4
#define LIST_DIRS    4096u /* collections of one listing; packs has 256, journal one a device */
#define LIST_AT_ONCE 16u   /* answers in memory */

static const char list_request[] =
    "<?xml version=\"1.0\" encoding=\"utf-8\"?>"
    "<propfind xmlns=\"DAV:\"><prop><resourcetype/><getcontentlength/></prop></propfind>";

struct store_webdav {
    struct store_http http;
    char **
        known; /* collections under the base that are there, as "packs/ab"; "" is the base itself */
    size_t known_count;
};

static struct store_webdav *from_http(struct store_http *s)
{
    return (struct store_webdav *)s; /* its first member */
}

/* The length of the collection in ${name}: "packs/ab" of "packs/ab/x". */
static size_t collection_len(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? (size_t)(slash - name) : 0;
}

static size_t find_known(const struct store_webdav *w, const char *name)
{
    size_t len = collection_len(name), i = 0;
    while (i < w->known_count &&
           (strlen(w->known[i]) != len || memcmp(w->known[i], name, len) != 0))
        i++;
    return i;
}

static void remember(struct store_webdav *w, const char *name)
{
    if (find_known(w, name) < w->known_count || w->known_count == KNOWN_MAX)
        return;
    char *copy = strndup(name, collection_len(name));
    char **grown = copy ? realloc(w->known, (w->known_count + 1) * sizeof(*grown)) : NULL;
    if (!grown) {
        free(copy); /* then it is only asked for again */
        return;
    }
    w->known = grown;
    w->known[w->known_count++] = copy;
}

static void forget(struct store_webdav *w, const char *name)
{
    size_t i = find_known(w, name);
    if (i == w->known_count)
        return;
    free(w->known[i]);
    w->known[i] = w->known[--w->known_count];
}

static unsigned count_slashes(const char *p, size_t len)
{
    unsigned n = 0;
    for (size_t i = 0; i < len; i++)
        n += p[i] == '/';
    return n;
}

/* Levels of collections down to the one that holds ${name}; each is the path up to that many
 * '/'. */
static unsigned levels(const struct store_webdav *w, const char *name)
{
    const char *path = w->http.base.place.path;
    return count_slashes(path, strlen(path)) + count_slashes(name, strlen(name));
}

static int build_collection(struct store_webdav *w, struct store_call *call)
{
    const struct store_place *place = &w->http.base.place;
    char *path;
    if (asprintf(&path, "%s/%s", place->path, call->name) < 0)
        return ERR_NOMEM;
    size_t len = 1; /* after the slash that starts it */
    for (unsigned level = 0; level < call->level && path[len]; level++)
        len += strcspn(path + len, "/") + 1;
    call->request.method = "MKCOL";
    int err = store_http_url(call, "%s%.*s", place->origin, (int)len, path);
    free(path);
    return err;
}

static int build_list(struct store_http *s, struct store_call *call)
{
    struct http_request *r = &call->request;
    r->method = "PROPFIND";
    r->body = list_request;
    r->body_len = sizeof(list_request) - 1;
    int err = store_http_url(call, "%s%s/%s", s->base.place.origin, s->base.place.path, call->name);
    if (!err)
        err = store_http_header(call, "Depth: 1");
    return err ? err : store_http_header(call, "Content-Type: application/xml");
}

static int webdav_build(struct store_http *s, struct store_call *call)
{
    static const char *const methods[] = {
        [STORE_PUT] = "PUT", [STORE_GET] = "GET", [STORE_HEAD] = "HEAD", [STORE_DELETE] = "DELETE"};
    char range[64];
    if (call->step == STORE_STEP_COLLECTION)
        return build_collection(from_http(s), call);
    if (call->verb == STORE_LIST)
        return build_list(s, call);
    call->request.method = methods[call->verb];
    if (call->step == STORE_STEP_CHECK_HEAD)
        call->request.method = "HEAD";
    else if (call->step == STORE_STEP_CHECK_GET)
        call->request.method = "GET";
    int err = store_http_url(call, "%s%s/%s", s->base.place.origin, s->base.place.path, call->name);
    if (!err && store_http_range(call, range, sizeof(range)))
        err = store_http_header(call, "Range: %s", range);
    if (!err && call->request.body)
        err = store_http_header(call, "Content-Type: application/octet-stream");
    return err;
}

static int webdav_judge(struct store_http *s, struct store_call *call)
{
    const struct http_request *r = &call->request;
    bool page = strncmp(r->type, "text/html", 9) == 0;
    if (call->step != STORE_STEP_MAIN || r->status != 200)
        return STORE_HTTP_UNDECIDED;
    /* to these a WebDAV server says 200 never, or without a page; what stands in between says it to
     * everything */
    if (call->verb == STORE_LIST || (call->verb == STORE_DELETE && page))
        return store_fail(
            &s->base, ERR_NETPERM, "%s did not answer as a WebDAV server does%s",
            s->base.place.host,
            page ? ", but with a web page: does this network want a login in the browser first?"
                 : "");
    if (call->verb == STORE_PUT && page)
        return store_fail(&s->base, ERR_NET, "%s answered a transfer with a web page",
                          s->base.place.host);
    return STORE_HTTP_UNDECIDED;
}

static enum store_step webdav_first_step(struct store_http *s, struct store_call *call)
{
    struct store_webdav *w = from_http(s);
    bool known = find_known(w, call->name) < w->known_count;
    call->level =
        levels(w, call->name); /* from the deepest up: those above are there nearly always */
    if (call->place)
        return STORE_STEP_COLLECTION;
    return known || call->len < COSTLY_BODY || !levels(w, call->name) ? STORE_STEP_MAIN
                                                                      : STORE_STEP_COLLECTION;
}

/* After a put: is its collection missing? RFC 4918 says 409 then; nginx says 500, others 404. */
static int after_put(struct store_webdav *w, struct store_call *call, int err)
{
    long status = call->request.err ? 0 : call->request.status;
    if (!err)
        remember(w, call->name);
    if (status != 404 && status != 409 && status != 500)
        return err;
    if (call->made_collections && call->collection_refused)
        return store_fail(&w->http.base, ERR_LOGIN, "%s does not let us make a folder (403)",
                          w->http.base.place.host);
    if (call->made_collections)
        return err == ERR_NOENT
                   ? store_fail(&w->http.base, ERR_NETPERM, "%s has no such place for objects",
                                w->http.base.place.host)
                   : err;
    forget(w, call->name);
    call->level = levels(w, call->name);
    if (!call->level)
        return err == ERR_NOENT ? ERR_NETPERM : err;
    call->descending = false;
    call->step = STORE_STEP_COLLECTION;
    return STORE_HTTP_UNDECIDED;
}

/* Collections are made from the deepest up until one can be made or is there, and then down
 * again. */
static int webdav_collections(struct store_http *s, struct store_call *call, int err)
{
    struct store_webdav *w = from_http(s);
    long status = call->request.err ? 0 : call->request.status;
    unsigned deepest = levels(w, call->name);
    if (call->step == STORE_STEP_MAIN)
        return after_put(w, call, err);
    /* 405: it is there. 403: Apache's answer when somebody, perhaps another call of ours, makes it
     * at the same moment; if it is meant, the put will fail */
    call->collection_refused = status == 403;
    if ((status >= 200 && status <= 299) || status == 405 || status == 403) {
        call->tries = 0; /* it goes forward */
        if (call->level == deepest) {
            remember(w, call->name);
            if (call->place)
                return 0;
            call->made_collections = true;
            call->step = STORE_STEP_MAIN;
        } else {
            call->level++;
            call->descending = true;
        }
        return STORE_HTTP_UNDECIDED;
    }
    if ((status == 404 || status == 409 || status == 500) && !call->descending && call->level > 1) {
        call->level--;
        return STORE_HTTP_UNDECIDED;
    }
    if (err == ERR_NOENT || err == ERR_NETPERM)
        return store_fail(&s->base, ERR_NETPERM, "%s does not let us make a folder (%ld)",
                          s->base.place.host, status);
    return err;
}

/* What a listing found below the prefix. */
struct walk {
    struct store_webdav *w;
    bool all;
    char **dirs; /* collections still to be listed, with '/' at their end */
    size_t dir_count;
    size_t dirs_seen;
    int (*each)(void *ctx, const char *name, uint64_t size);
    void *ctx;
};

static int add_dir(struct walk *walk, const char *name)
{
    char **grown = realloc(walk->dirs, (walk->dir_count + 1) * sizeof(*grown));
    if (!grown)
        return ERR_NOMEM;
    walk->dirs = grown;
    char *dir;
    if (asprintf(&dir, "%s/", name) < 0)
        return ERR_NOMEM;
    walk->dirs[walk->dir_count++] = dir;
    return 0;
}

/* The decoded path of an href, which may be a path or a whole URL; '/' taken off its end. NULL:
 * none. */
static char *href_path(const char *href)
{
    const char *scheme = strstr(href, "://");
    if (scheme && strcspn(href, "/") > (size_t)(scheme - href))
        href = scheme + 3 + strcspn(scheme + 3, "/");
    int len;
    char *plain = curl_easy_unescape(NULL, href, 0, &len);
    if (!plain)
        return NULL;
    char *copy = (size_t)len == strlen(plain) ? strdup(plain) : NULL; /* no NUL inside */
    curl_free(plain);
    for (size_t n = copy ? strlen(copy) : 0; n && copy[n - 1] == '/';)
        copy[--n] = '\0';
    return copy;
}

/* A member whose name is not of our form, or a collection where we have none. */
static int take_foreign(struct walk *walk, const char *dir, const char *leaf, bool collection)
{
    char *name;
    if (!walk->all || store_clutter(leaf) || strcmp(leaf, ".") == 0 || strcmp(leaf, "..") == 0)
        return 0;
    if (asprintf(&name, "%s%s%s", dir, leaf, collection ? "/" : "") < 0)
        return ERR_NOMEM;
    int err = walk->each(walk->ctx, name, 0);
    free(name);
    return err;
}

static int take_collection(struct walk *walk, const char *dir, const char *leaf, const char *name)
{
    if (count_slashes(name, strlen(name)) + 1 >= LIST_DEPTH)
        return take_foreign(walk, dir, leaf, true);
    if (++walk->dirs_seen <= LIST_DIRS)
        return add_dir(walk, name);
    if (walk->all)
        return take_foreign(walk, dir, leaf, true);
    return store_fail(&walk->w->http.base, ERR_FORMAT, "%s lists more folders than a vault has",
                      walk->w->http.base.place.host);
}

/* One member of the collection ${dir}: to the caller, or to be listed in turn, or nothing of
 * ours. */
static int take_member(struct walk *walk, const char *dir, const char *leaf,
                       const struct xml_list_entry *entry)
{
    char name[STORE_NAME_MAX + 1];
    uint64_t size = entry->size;
    int n = snprintf(name, sizeof(name), "%s%s", dir, leaf);
    if (strchr(leaf, '/'))
        return 0; /* of a server that says more than it was asked: comes with its collection */
    if (n < 0 || (size_t)n >= sizeof(name) || !store_name_valid(name) ||
        (walk->all && store_clutter(leaf)))
        return take_foreign(walk, dir, leaf, entry->collection);
    if (entry->collection)
        return take_collection(walk, dir, leaf, name);
    if (!entry->has_size) {
        int err = store_http_head(&walk->w->http.base, name, &size);
        if (err)
            return err == ERR_NOENT ? 0 : err;
    }
    return walk->each(walk->ctx, name, size);
}

/* The members in one answer. A server names the collection itself too, by a path that may differ
 * from the one that we asked for (behind a proxy that rewrites it): the first entry, if ours is not
 * among them. */
static int take_members(struct walk *walk, const char *dir, const struct bytes_out *listed)
{
    struct xml_list_entry entry;
    struct bytes_in in;
    char *expected = NULL, *self = NULL;
    int err = asprintf(&expected, "%s/%s", walk->w->http.base.place.path, dir) < 0 ? ERR_NOMEM : 0;
    char *ours = err ? NULL : href_path(expected);
    bytes_in_init(&in, listed->p, listed->len);
    while (!err && in.left && store_http_entry_get(&in, &entry)) {
        char *path = href_path(entry.name);
        if (path && ours && strcmp(path, ours) == 0) {
            free(self);
            self = path;
            break;
        }
        if (!self && entry.collection)
            self = path;
        else
            free(path);
    }
    size_t len = self ? strlen(self) : 0;
    bytes_in_init(&in, listed->p, listed->len);
    while (!err && self && in.left && store_http_entry_get(&in, &entry)) {
        char *path = href_path(entry.name);
        if (path && strncmp(path, self, len) == 0 && path[len] == '/')
            err = take_member(walk, dir, path + len + 1, &entry);
        free(path);
    }
    free(expected), free(ours), free(self);
    return err;
}

/* Lists collections of one level, in parallel; adds those of the next one to ${walk}. */
static int walk_some(struct walk *walk, char **dirs, size_t n)
{
    struct store_call *calls = calloc(n, sizeof(*calls));
    struct bytes_out *outs = calloc(n, sizeof(*outs));
    int err = calls && outs ? 0 : ERR_NOMEM;
    for (size_t i = 0; i < n && !err; i++) {
        bytes_out_init(&outs[i]);
        calls[i] = (struct store_call){
            .verb = STORE_LIST, .name = dirs[i], .out = &outs[i], .list_kind = XML_LIST_DAV};
    }
    if (!err)
        store_http_run(&walk->w->http, calls, n);
    for (size_t i = 0; i < n && calls && outs; i++) {
        if (!err && calls[i].err != ERR_NOENT) /* missing: nothing there */
            err = calls[i].err ? calls[i].err : take_members(walk, dirs[i], &outs[i]);
        xml_list_free(calls[i].xml);
        bytes_out_release(&outs[i]);
    }
    free(calls), free(outs);
    return err;
}

static int walk_level(struct walk *walk, char **dirs, size_t n)
{
    int err = 0;
    for (size_t i = 0; i < n && !err; i += LIST_AT_ONCE)
        err = walk_some(walk, dirs + i, n - i < LIST_AT_ONCE ? n - i : LIST_AT_ONCE);
    return err;
}

static int webdav_list(struct store *store, const char *prefix, bool all,
                       int (*each)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    struct walk walk = {.w = (struct store_webdav *)store, .all = all, .each = each, .ctx = ctx};
    char *first = strdup(prefix);
    int err = first ? 0 : ERR_NOMEM;
    char **dirs = malloc(sizeof(*dirs));
    size_t n = 1;
    if (dirs)
        dirs[0] = first;
    else
        free(first), err = ERR_NOMEM, n = 0;
    while (n) {
        if (!err)
            err = walk_level(&walk, dirs, n);
        for (size_t i = 0; i < n; i++)
            free(dirs[i]);
        free(dirs);
        dirs = walk.dirs;
        n = walk.dir_count;
        walk.dirs = NULL;
        walk.dir_count = 0;
    }
    free(dirs);
    return err;
}

static int any_each(void *ctx, const char *name, uint64_t size)
{
    (void)ctx, (void)name, (void)size;
    return 1;
}

/* DELETE takes a collection with all that is in it, so it is looked into first. */
static void webdav_prune(struct store *store, const char *name)
{
    char dir[STORE_NAME_MAX + 2];
    snprintf(dir, sizeof(dir), "%s/", name);
    if (webdav_list(store, dir, true, any_each, NULL))
        return;
    struct store_call call = {.verb = STORE_DELETE, .name = dir};
    (void)store_http_run((struct store_http *)store, &call, 1);
    forget((struct store_webdav *)store, dir);
}

static void webdav_close(struct store_http *s)
{
    struct store_webdav *w = from_http(s);
    for (size_t i = 0; i < w->known_count; i++)
        free(w->known[i]);
    free(w->known);
}

int store_webdav_open(struct store **store, struct store_place *place,
                      const struct store_login *login, const struct store_options *options)
{
    static const struct store_ops ops = {
        .close = store_http_close,
        .put_many = store_http_put_many,
        .get = store_http_get,
        .get_many = store_http_get_many,
        .head = store_http_head,
        .delete = store_http_delete,
        .list = webdav_list,
        .prune = webdav_prune,
        .wake = store_http_wake,
    };
    static const struct store_dialect dialect = {
        .build = webdav_build,
        .judge = webdav_judge,
        .first_step = webdav_first_step,
        .collections = webdav_collections,
        .close = webdav_close,
    };
    struct http_options http = {.user = login->user, .secret = login->secret};
    struct store_http *s;
    int err = store_http_new(&s, sizeof(struct store_webdav), &dialect, place, options, &http);
    if (err)
        return err;
    s->base.ops = &ops;
    *store = &s->base;
    return 0;
}
