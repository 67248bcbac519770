/* sigv4: the signatures of Amazon's published examples (their test suite's keys, and those of the
 * S3 manual), and the encoding and sorting that they rest on. [sigv4] */
#include "check.h"

#include "crypto/secret.h"
#include "sync/sigv4.h"

#include <string.h>

#define SUITE_DATE "20150830T123600Z"
#define S3_DATE    "20130524T000000Z"

static char empty_hash[SIGV4_HASH_LEN + 1];

static bool ends_with(const struct bytes_out *out, const char *signature)
{
    size_t len = strlen(signature);
    return out->len > len && memcmp(out->p + out->len - len, signature, len) == 0;
}

static bool gives(struct sigv4_signer *signer, const struct sigv4_request *r, const char *signature)
{
    struct bytes_out out;
    bytes_out_init(&out);
    bool ok = sigv4_authorization(signer, r, &out) == 0 && ends_with(&out, signature);
    if (!ok)
        fprintf(stderr, "%.*s\n", (int)out.len, (const char *)out.p);
    bytes_out_release(&out);
    return ok;
}

static void suite(void)
{
    struct sigv4_signer *s = sigv4_signer_new(
        "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service");
    struct sigv4_request r = {
        .method = "GET",
        .path = "/",
        .query = "",
        .headers = {{"host", "example.amazonaws.com"}, {"x-amz-date", SUITE_DATE}},
        .header_count = 2,
        .payload_hash = empty_hash,
        .date = SUITE_DATE,
    };
    CHECK(
        gives(s, &r, "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"));
    r.query = "Param1=value1&Param2=value2";
    CHECK(
        gives(s, &r, "Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"));
    r.query = "";
    r.method = "POST";
    CHECK(
        gives(s, &r, "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"));

    struct bytes_out out;
    bytes_out_init(&out);
    CHECK_EQ(sigv4_authorization(s, &r, &out), 0);
    static const char start[] =
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=";
    CHECK(out.len == sizeof(start) - 1 + 64 && memcmp(out.p, start, sizeof(start) - 1) == 0);
    bytes_out_release(&out);
    sigv4_signer_free(s);

    /* the example of the general reference, another service */
    s = sigv4_signer_new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1",
                         "iam");
    struct sigv4_request iam = {
        .method = "GET",
        .path = "/",
        .query = "Action=ListUsers&Version=2010-05-08",
        .headers = {{"content-type", "application/x-www-form-urlencoded; charset=utf-8"},
                    {"host", "iam.amazonaws.com"},
                    {"x-amz-date", SUITE_DATE}},
        .header_count = 3,
        .payload_hash = empty_hash,
        .date = SUITE_DATE,
    };
    CHECK(gives(s, &iam,
                "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"));
    /* spaces around and inside a value count as the reference says */
    iam.headers[0].value = "  application/x-www-form-urlencoded;   charset=utf-8 ";
    CHECK(gives(s, &iam,
                "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"));
    sigv4_signer_free(s);
}

static void s3(void)
{
    struct sigv4_signer *s = sigv4_signer_new(
        "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1", "s3");
    struct sigv4_request get = {
        .method = "GET",
        .path = "/test.txt",
        .query = "",
        .headers = {{"host", "examplebucket.s3.amazonaws.com"},
                    {"range", "bytes=0-9"},
                    {"x-amz-content-sha256", empty_hash},
                    {"x-amz-date", S3_DATE}},
        .header_count = 4,
        .payload_hash = empty_hash,
        .date = S3_DATE,
    };
    CHECK(gives(s, &get,
                "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));

    char hash[SIGV4_HASH_LEN + 1];
    sigv4_hash(hash, "Welcome to Amazon S3.", 21);
    CHECK(strcmp(hash, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072") == 0);
    struct bytes_out path;
    bytes_out_init(&path);
    sigv4_encode(&path, "/test$file.text", true);
    bytes_put_u8(&path, 0);
    struct sigv4_request put = {
        .method = "PUT",
        .path = (const char *)path.p,
        .query = "",
        .headers = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                    {"host", "examplebucket.s3.amazonaws.com"},
                    {"x-amz-content-sha256", hash},
                    {"x-amz-date", S3_DATE},
                    {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
        .header_count = 5,
        .payload_hash = hash,
        .date = S3_DATE,
    };
    CHECK(gives(s, &put,
                "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
    bytes_out_release(&path);

    /* a parameter without value, and two out of order */
    struct sigv4_field lifecycle[] = {{"lifecycle", ""}},
                       list[] = {{"prefix", "J"}, {"max-keys", "2"}};
    static const char *const signatures[] = {
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"};
    for (size_t i = 0; i < 2; i++) {
        struct bytes_out query;
        bytes_out_init(&query);
        sigv4_query(&query, i ? list : lifecycle, i ? 2 : 1);
        bytes_put_u8(&query, 0);
        struct sigv4_request r = {
            .method = "GET",
            .path = "/",
            .query = (const char *)query.p,
            .headers = {{"host", "examplebucket.s3.amazonaws.com"},
                        {"x-amz-content-sha256", empty_hash},
                        {"x-amz-date", S3_DATE}},
            .header_count = 3,
            .payload_hash = empty_hash,
            .date = S3_DATE,
        };
        CHECK(gives(s, &r, signatures[i]));
        /* the key of a day is not used for another */
        r.date = "20130525T000000Z";
        CHECK_EQ(sigv4_authorization(s, &r, &query), 0);
        r.date = S3_DATE;
        CHECK(gives(s, &r, signatures[i]));
        bytes_out_release(&query);
    }
    sigv4_signer_free(s);
}

static bool encodes(const char *in, bool keep_slash, const char *expect)
{
    struct bytes_out out;
    bytes_out_init(&out);
    sigv4_encode(&out, in, keep_slash);
    bool ok = out.len == strlen(expect) && (!out.len || memcmp(out.p, expect, out.len) == 0);
    bytes_out_release(&out);
    return ok;
}

static void encoding(void)
{
    CHECK(encodes("", false, ""));
    CHECK(encodes("azAZ09-._~", false, "azAZ09-._~"));
    CHECK(encodes("a/b c", true, "a/b%20c"));
    CHECK(encodes("a/b+c", false, "a%2Fb%2Bc"));
    CHECK(encodes("\xc3\xa4\x7f*'()!&=?#%", false, "%C3%A4%7F%2A%27%28%29%21%26%3D%3F%23%25"));

    /* sorted by the encoded name, then by the encoded value; "a" before "a-b"; upper case before
     * lower */
    struct sigv4_field params[] = {{"a-b", "1"}, {"b", "2"},        {"a", "z"},
                                   {"B", "3"},   {"a", "\xc3\xa4"}, {"\xc3\xa4", ""}};
    struct bytes_out out;
    bytes_out_init(&out);
    sigv4_query(&out, params, sizeof(params) / sizeof(params[0]));
    static const char expect[] = "%C3%A4=&B=3&a=%C3%A4&a=z&a-b=1&b=2";
    CHECK(out.len == sizeof(expect) - 1 && memcmp(out.p, expect, out.len) == 0);
    bytes_out_release(&out);

    char date[SIGV4_DATE_LEN + 1];
    sigv4_date(date, 1369353600);
    CHECK(strcmp(date, S3_DATE) == 0);
}

int main(void)
{
    if (secret_init() < 0)
        return 1;
    sigv4_hash(empty_hash, "", 0);
    suite();
    s3();
    encoding();
    return check_done();
}
