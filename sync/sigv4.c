#include "sync/sigv4.h"

#include "crypto/err.h"
#include "crypto/secret.h"

#ifdef HAVE_LIBCRYPTO
#include <openssl/evp.h>
#endif
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define DAY_LEN   8u
#define MAC_LEN   crypto_auth_hmacsha256_BYTES

struct sigv4_signer {
    char *key_id, *region, *service; /* in this block, after the secret */
    char day[DAY_LEN + 1];           /* that day_key is for; empty: none */
    uint8_t day_key[MAC_LEN];
    size_t secret_len;
    char secret[]; /* "AWS4" || secret, as the derivation wants it */
};

struct sigv4_signer *sigv4_signer_new(const char *key_id, const char *secret, const char *region,
                                      const char *service)
{
    size_t secret_len = 4 + strlen(secret), id_len = strlen(key_id) + 1;
    size_t region_len = strlen(region) + 1, service_len = strlen(service) + 1;
    struct sigv4_signer *s =
        secret_alloc(sizeof(*s) + secret_len + 1 + id_len + region_len + service_len);
    if (!s)
        return NULL;
    s->secret_len = secret_len;
    memcpy(s->secret, "AWS4", 4);
    memcpy(s->secret + 4, secret, secret_len - 4 + 1);
    s->key_id = s->secret + secret_len + 1;
    memcpy(s->key_id, key_id, id_len);
    s->region = s->key_id + id_len;
    memcpy(s->region, region, region_len);
    s->service = s->region + region_len;
    memcpy(s->service, service, service_len);
    return s;
}

void sigv4_signer_free(struct sigv4_signer *signer)
{
    secret_free(signer);
}

static void mac(uint8_t out[MAC_LEN], const void *key, size_t key_len, const void *p, size_t len)
{
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, key, key_len);
    crypto_auth_hmacsha256_update(&state, p, len);
    crypto_auth_hmacsha256_final(&state, out);
    secret_wipe(&state, sizeof(state));
}

/* The key of a day, region and service; kept, since a push signs many requests on one day. */
static void derive_day_key(struct sigv4_signer *s, const char *date)
{
    if (memcmp(s->day, date, DAY_LEN) == 0)
        return;
    memcpy(s->day, date, DAY_LEN);
    mac(s->day_key, s->secret, s->secret_len, s->day, DAY_LEN);
    mac(s->day_key, s->day_key, MAC_LEN, s->region, strlen(s->region));
    mac(s->day_key, s->day_key, MAC_LEN, s->service, strlen(s->service));
    mac(s->day_key, s->day_key, MAC_LEN, "aws4_request", 12);
}

void sigv4_date(char date[SIGV4_DATE_LEN + 1], time_t t)
{
    struct tm tm;
    if (!gmtime_r(&t, &tm) ||
        strftime(date, SIGV4_DATE_LEN + 1, "%Y%m%dT%H%M%SZ", &tm) != SIGV4_DATE_LEN)
        memcpy(date, "19700101T000000Z", SIGV4_DATE_LEN + 1);
}

void sigv4_hash(char hex[SIGV4_HASH_LEN + 1], const void *p, size_t len)
{
    uint8_t hash[crypto_hash_sha256_BYTES];
#ifdef HAVE_LIBCRYPTO /* uses the processor's SHA instructions: matters for packs of 16 MiB */
    if (EVP_Digest(p, len, hash, NULL, EVP_sha256(), NULL) != 1)
#endif
        crypto_hash_sha256(hash, p, len);
    sodium_bin2hex(hex, SIGV4_HASH_LEN + 1, hash, sizeof(hash));
}

void sigv4_encode(struct bytes_out *out, const char *p, bool keep_slash)
{
    static const char digits[] = "0123456789ABCDEF";
    for (; *p; p++) {
        uint8_t c = (uint8_t)*p;
        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash)) {
            bytes_put_u8(out, c);
        } else {
            const char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
            bytes_put(out, escape, sizeof(escape));
        }
    }
}

/* The order is that of the encoded names (and values, among equal names). */
static int compare_params(const void *a, const void *b)
{
    const struct sigv4_field *const f[2] = {a, b};
    struct bytes_out encoded[2];
    for (int i = 0; i < 2; i++) {
        bytes_out_init(&encoded[i]);
        sigv4_encode(&encoded[i], f[i]->name, false);
        bytes_put_u8(&encoded[i], 0); /* sorts before all that an encoding holds */
        sigv4_encode(&encoded[i], f[i]->value, false);
        bytes_put_u8(&encoded[i], 0);
    }
    int order = 0;
    if (!encoded[0].bad && !encoded[1].bad) {
        size_t len = encoded[0].len < encoded[1].len ? encoded[0].len : encoded[1].len;
        order = memcmp(encoded[0].p, encoded[1].p, len);
    }
    bytes_out_release(&encoded[0]);
    bytes_out_release(&encoded[1]);
    return order;
}

void sigv4_query(struct bytes_out *out, struct sigv4_field *params, size_t n)
{
    qsort(params, n, sizeof(*params), compare_params);
    for (size_t i = 0; i < n; i++) {
        if (i)
            bytes_put_u8(out, '&');
        sigv4_encode(out, params[i].name, false);
        bytes_put_u8(out, '=');
        sigv4_encode(out, params[i].value, false);
    }
}

static void put_text(struct bytes_out *out, const char *text)
{
    bytes_put(out, text, strlen(text));
}

/* A header's value with outer spaces taken off and inner runs of them made one. */
static void put_trimmed(struct bytes_out *out, const char *value)
{
    bool any = false, space = false;
    for (; *value; value++) {
        if (*value == ' ' || *value == '\t') {
            space = any;
            continue;
        }
        if (space)
            bytes_put_u8(out, ' ');
        bytes_put_u8(out, (uint8_t)*value);
        any = true;
        space = false;
    }
}

static void put_signed_names(struct bytes_out *out, const struct sigv4_request *r)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (i)
            bytes_put_u8(out, ';');
        put_text(out, r->headers[i].name);
    }
}

static int hash_canonical_request(char hex[SIGV4_HASH_LEN + 1], const struct sigv4_request *r)
{
    struct bytes_out c;
    bytes_out_init(&c);
    put_text(&c, r->method);
    bytes_put_u8(&c, '\n');
    put_text(&c, r->path);
    bytes_put_u8(&c, '\n');
    put_text(&c, r->query);
    bytes_put_u8(&c, '\n');
    for (size_t i = 0; i < r->header_count; i++) {
        put_text(&c, r->headers[i].name);
        bytes_put_u8(&c, ':');
        put_trimmed(&c, r->headers[i].value);
        bytes_put_u8(&c, '\n');
    }
    bytes_put_u8(&c, '\n');
    put_signed_names(&c, r);
    bytes_put_u8(&c, '\n');
    put_text(&c, r->payload_hash);
    int err = c.bad ? ERR_NOMEM : 0;
    if (!err)
        sigv4_hash(hex, c.p, c.len);
    bytes_out_release(&c);
    return err;
}

int sigv4_authorization(struct sigv4_signer *signer, const struct sigv4_request *r,
                        struct bytes_out *out)
{
    char canonical[SIGV4_HASH_LEN + 1], signature[2 * MAC_LEN + 1], scope[300];
    uint8_t raw[MAC_LEN];
    struct bytes_out text;
    int err = hash_canonical_request(canonical, r);
    if (err)
        return err;
    snprintf(scope, sizeof(scope), "%.8s/%s/%s/aws4_request", r->date, signer->region,
             signer->service);
    bytes_out_init(&text);
    put_text(&text, ALGORITHM "\n");
    put_text(&text, r->date);
    bytes_put_u8(&text, '\n');
    put_text(&text, scope);
    bytes_put_u8(&text, '\n');
    put_text(&text, canonical);
    if (!text.bad) {
        derive_day_key(signer, r->date);
        mac(raw, signer->day_key, MAC_LEN, text.p, text.len);
        sodium_bin2hex(signature, sizeof(signature), raw, sizeof(raw));
        put_text(out, ALGORITHM " Credential=");
        put_text(out, signer->key_id);
        bytes_put_u8(out, '/');
        put_text(out, scope);
        put_text(out, ", SignedHeaders=");
        put_signed_names(out, r);
        put_text(out, ", Signature=");
        put_text(out, signature);
    }
    err = text.bad || out->bad ? ERR_NOMEM : 0;
    bytes_out_release(&text);
    return err;
}
