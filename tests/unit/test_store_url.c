/* store_url: what each form of URL means, and that a login never travels in the clear or in a
 * URL. [store-url] */
#include "check.h"

#include "crypto/err.h"
#include "sync/store_url.h"

#include <string.h>

static char why[STORE_URL_WHY];

static int parse(struct store_place *place, const char *url)
{
    return store_url_parse(place, url, false, why);
}

static bool refused(const char *url)
{
    struct store_place place;
    return parse(&place, url) == ERR_INVAL && why[0];
}

static void folders(void)
{
    struct store_place p;
    CHECK_EQ(parse(&p, "file:///home/me/My%20Cloud/"), 0);
    CHECK(p.scheme == STORE_SCHEME_FOLDER && strcmp(p.dir, "/home/me/My Cloud") == 0);
    store_url_clear(&p);
    CHECK_EQ(parse(&p, "file:///a/100%/b%2"), 0);
    CHECK(strcmp(p.dir, "/a/100%/b%2") == 0);
    store_url_clear(&p);
    CHECK(refused("file://relative/dir"));
    CHECK(refused("file:///"));
    CHECK(refused("file:///a%00b"));
    CHECK(refused("file:///a%0ab"));
    CHECK(refused("/just/a/path"));
    CHECK(refused("ftp://host/dir"));
    CHECK(refused(""));
}

static void webdav(void)
{
    struct store_place p;
    CHECK_EQ(parse(&p, "https://dav.example.org/remote.php/dav/My%20Files//"), 0);
    CHECK(p.scheme == STORE_SCHEME_WEBDAV && p.tls && !p.loopback);
    CHECK(strcmp(p.origin, "https://dav.example.org") == 0);
    CHECK(strcmp(p.path, "/remote.php/dav/My%20Files") == 0);
    store_url_clear(&p);
    CHECK_EQ(parse(&p, "https://h:443/a b"), 0);
    CHECK(strcmp(p.host, "h") == 0 && strcmp(p.path, "/a%20b") == 0);
    store_url_clear(&p);
    CHECK_EQ(parse(&p, "https://h:8443"), 0);
    CHECK(strcmp(p.host, "h:8443") == 0 && strcmp(p.path, "") == 0);
    store_url_clear(&p);

    static const char *const local[] = {"http://localhost:8080/x", "http://127.0.0.1:1/x",
                                        "http://127.9.9.9/x", "http://[::1]:8080/x"};
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
        CHECK_EQ(parse(&p, local[i]), 0);
        CHECK(p.loopback && !p.tls);
        store_url_clear(&p);
    }
    CHECK(refused("http://dav.example.org/x") && strstr(why, "clear"));
    CHECK(refused("http://localhost.example.org/x"));
    CHECK(refused("http://127.0.0.1.example.org/x"));
    CHECK(refused("http://128.0.0.1/x"));
    CHECK_EQ(store_url_parse(&p, "http://dav.example.org/x", true, why), 0);
    store_url_clear(&p);
    CHECK(refused("https://me:secret@host/x") && !strstr(why, "secret"));
    CHECK(refused("https://me@host/x"));
    CHECK(refused("https://host/x?y=1"));
    CHECK(refused("https://host/x#y"));
    CHECK(refused("https://"));
}

static void s3(void)
{
    struct store_place p;
    CHECK_EQ(
        parse(
            &p,
            "s3://bucket/some/prefix/?endpoint=http://127.0.0.1:8080&region=eu-west-3&pagesize=100"),
        0);
    CHECK(p.scheme == STORE_SCHEME_S3 && p.loopback && p.page == 100);
    CHECK(strcmp(p.origin, "http://127.0.0.1:8080") == 0 && strcmp(p.path, "/bucket") == 0);
    CHECK(strcmp(p.prefix, "some/prefix/") == 0 && strcmp(p.region, "eu-west-3") == 0);
    store_url_clear(&p);
    CHECK_EQ(parse(&p, "s3://bucket?endpoint=https%3A%2F%2Fs3.example.org%2Fbase%2F"), 0);
    CHECK(strcmp(p.path, "/base/bucket") == 0 && strcmp(p.prefix, "") == 0 && p.page == 1000);
    store_url_clear(&p);
    CHECK_EQ(parse(&p, "s3://bucket/a%20b?region=eu-central-1"), 0);
    CHECK(strcmp(p.origin, "https://bucket.s3.eu-central-1.amazonaws.com") == 0 &&
          strcmp(p.path, "") == 0);
    CHECK(strcmp(p.prefix, "a b/") == 0);
    store_url_clear(&p);
    CHECK_EQ(parse(&p, "s3://my.bucket"), 0);
    CHECK(strcmp(p.origin, "https://s3.us-east-1.amazonaws.com") == 0 &&
          strcmp(p.path, "/my.bucket") == 0);
    store_url_clear(&p);
    CHECK(refused("s3://"));
    CHECK(refused("s3:///prefix"));
    CHECK(refused("s3://../x"));
    CHECK(refused("s3://b?endpoint=http://s3.example.org") && strstr(why, "clear"));
    CHECK(refused("s3://b?endpoint=ftp://s3.example.org"));
    CHECK(refused("s3://b?endpoint=https://k:s@s3.example.org"));
    CHECK(refused("s3://b?colour=red"));
    CHECK(refused("s3://b?region="));
    CHECK(refused("s3://b?region=a/b"));
    CHECK(refused("s3://b?pagesize=0"));
    CHECK(refused("s3://b?pagesize=1001"));
}

int main(void)
{
    folders();
    webdav();
    s3();
    return check_done();
}
