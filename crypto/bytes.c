#include "crypto/bytes.h"

#include "crypto/err.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

void bytes_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void bytes_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void bytes_le64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

uint16_t bytes_from_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

uint32_t bytes_from_le32(const uint8_t *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v |= (uint32_t)p[i] << (8 * i);
    return v;
}

uint64_t bytes_from_le64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

void bytes_in_init(struct bytes_in *in, const void *p, size_t len)
{
    in->p = p;
    in->left = len;
    in->bad = false;
}

const uint8_t *bytes_get_ref(struct bytes_in *in, size_t len)
{
    if (in->bad || len > in->left) {
        in->bad = true;
        return NULL;
    }
    const uint8_t *p = in->p;
    in->p += len;
    in->left -= len;
    return p;
}

uint8_t bytes_get_u8(struct bytes_in *in)
{
    const uint8_t *p = bytes_get_ref(in, 1);
    return p ? *p : 0;
}

uint16_t bytes_get_u16(struct bytes_in *in)
{
    const uint8_t *p = bytes_get_ref(in, 2);
    return p ? bytes_from_le16(p) : 0;
}

uint32_t bytes_get_u32(struct bytes_in *in)
{
    const uint8_t *p = bytes_get_ref(in, 4);
    return p ? bytes_from_le32(p) : 0;
}

uint64_t bytes_get_u64(struct bytes_in *in)
{
    const uint8_t *p = bytes_get_ref(in, 8);
    return p ? bytes_from_le64(p) : 0;
}

int64_t bytes_get_i64(struct bytes_in *in)
{
    return (int64_t)bytes_get_u64(in);
}

void bytes_get(struct bytes_in *in, void *out, size_t len)
{
    const uint8_t *p = bytes_get_ref(in, len);
    if (p && len)
        memcpy(out, p, len);
    else if (len)
        memset(out, 0, len);
}

static const uint8_t *get_capped(struct bytes_in *in, size_t n, size_t max, size_t *len)
{
    *len = 0;
    if (n > max)
        in->bad = true;
    const uint8_t *p = bytes_get_ref(in, n);
    if (p)
        *len = n;
    return p;
}

const uint8_t *bytes_get_var16(struct bytes_in *in, size_t max, size_t *len)
{
    size_t n = bytes_get_u16(in);
    return get_capped(in, n, max, len);
}

const uint8_t *bytes_get_var32(struct bytes_in *in, size_t max, size_t *len)
{
    size_t n = bytes_get_u32(in);
    return get_capped(in, n, max, len);
}

int bytes_in_done(const struct bytes_in *in)
{
    return in->bad || in->left ? ERR_FORMAT : ERR_OK;
}

void bytes_out_init(struct bytes_out *out)
{
    memset(out, 0, sizeof(*out));
}

void bytes_out_release(struct bytes_out *out)
{
    if (out->secret && out->p)
        sodium_memzero(out->p, out->cap);
    free(out->p);
    bool secret = out->secret;
    bytes_out_init(out);
    out->secret = secret;
}

void bytes_out_reset(struct bytes_out *out)
{
    if (out->secret && out->p)
        sodium_memzero(out->p, out->len);
    out->len = 0;
    out->bad = false;
}

uint8_t *bytes_put_space(struct bytes_out *out, size_t len)
{
    if (out->bad || len > SIZE_MAX / 2 - out->len) {
        out->bad = true;
        return NULL;
    }
    if (!out->p || out->len + len > out->cap) { /* no bytes at all still have an address */
        size_t cap = out->cap ? out->cap : 256;
        while (cap < out->len + len)
            cap *= 2;
        uint8_t *p = malloc(cap);
        if (!p) {
            out->bad = true;
            return NULL;
        }
        if (out->len)
            memcpy(p, out->p, out->len);
        if (out->secret && out->p)
            sodium_memzero(out->p, out->cap);
        free(out->p);
        out->p = p;
        out->cap = cap;
    }
    uint8_t *at = out->p + out->len;
    out->len += len;
    return at;
}

void bytes_put(struct bytes_out *out, const void *p, size_t len)
{
    uint8_t *at = bytes_put_space(out, len);
    if (at && len)
        memcpy(at, p, len);
}

void bytes_put_u8(struct bytes_out *out, uint8_t v)
{
    bytes_put(out, &v, 1);
}

void bytes_put_u16(struct bytes_out *out, uint16_t v)
{
    uint8_t *at = bytes_put_space(out, 2);
    if (at)
        bytes_le16(at, v);
}

void bytes_put_u32(struct bytes_out *out, uint32_t v)
{
    uint8_t *at = bytes_put_space(out, 4);
    if (at)
        bytes_le32(at, v);
}

void bytes_put_u64(struct bytes_out *out, uint64_t v)
{
    uint8_t *at = bytes_put_space(out, 8);
    if (at)
        bytes_le64(at, v);
}

void bytes_put_i64(struct bytes_out *out, int64_t v)
{
    bytes_put_u64(out, (uint64_t)v);
}

void bytes_put_var16(struct bytes_out *out, const void *p, size_t len)
{
    if (len > UINT16_MAX)
        out->bad = true;
    bytes_put_u16(out, (uint16_t)len);
    bytes_put(out, p, len);
}

void bytes_put_var32(struct bytes_out *out, const void *p, size_t len)
{
    if (len > UINT32_MAX)
        out->bad = true;
    bytes_put_u32(out, (uint32_t)len);
    bytes_put(out, p, len);
}
