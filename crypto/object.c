#include "crypto/object.h"

#include "crypto/err.h"

#include <limits.h>
#include <string.h>

#define FORMAT_VERSION 1
#define SUITE          1
#define NONCE_AT       12u
#define OBJECT_MAX     (1u << 30)

static const char magic[4] = {'O', 'B', 'S', '1'};

/* [object-aad] */
static int make_aad(struct bytes_out *aad, const uint8_t head[OBJECT_HEAD],
                    const uint8_t vault_id[SEAL_VAULT_ID], const char *place)
{
    bytes_out_init(aad);
    bytes_put(aad, head, OBJECT_HEAD);
    bytes_put(aad, vault_id, SEAL_VAULT_ID);
    bytes_put(aad, place, strlen(place));
    return aad->bad ? ERR_NOMEM : ERR_OK;
}

int object_seal(struct bytes_out *out, enum object_type type, uint32_t epoch,
                const uint8_t key[SECRET_KEY_LEN], const uint8_t vault_id[SEAL_VAULT_ID],
                const char *place, const void *plain, size_t len)
{
    if (len > OBJECT_MAX)
        return ERR_MISUSE;
    uint8_t head[OBJECT_HEAD] = {0}; /* [object] */
    memcpy(head, magic, sizeof(magic));
    head[4] = FORMAT_VERSION;
    head[5] = SUITE;
    head[6] = (uint8_t)type;
    bytes_le32(head + 8, epoch);
    secret_random(head + NONCE_AT, SEAL_NONCE);

    struct bytes_out aad;
    size_t start = out->len;
    int err = make_aad(&aad, head, vault_id, place);
    if (!err) {
        bytes_put(out, head, sizeof(head));
        uint8_t *at = bytes_put_space(out, len + SEAL_TAG);
        err = at ? seal_box(key, head + NONCE_AT, aad.p, aad.len, plain, len, at) : ERR_NOMEM;
        if (err)
            out->len = start;
    }
    bytes_out_release(&aad);
    return err;
}

int object_peek(const void *sealed, size_t len, enum object_type type, uint32_t *epoch)
{
    struct bytes_in in;
    bytes_in_init(&in, sealed, len);
    const uint8_t *m = bytes_get_ref(&in, sizeof(magic));
    uint8_t version = bytes_get_u8(&in), suite = bytes_get_u8(&in);
    uint8_t got_type = bytes_get_u8(&in), zero = bytes_get_u8(&in);
    *epoch = bytes_get_u32(&in);
    bytes_get_ref(&in, SEAL_NONCE + SEAL_TAG);
    if (in.bad || memcmp(m, magic, sizeof(magic)) != 0 || version == 0 || suite == 0)
        return ERR_FORMAT;
    if (version != FORMAT_VERSION || suite != SUITE)
        return ERR_VERSION;
    return got_type == (uint8_t)type && zero == 0 && len <= OBJECT_MAX + OBJECT_OVERHEAD
               ? ERR_OK
               : ERR_FORMAT;
}

int object_open(struct bytes_out *plain, enum object_type type, const uint8_t key[SECRET_KEY_LEN],
                const uint8_t vault_id[SEAL_VAULT_ID], const char *place, const void *sealed,
                size_t len)
{
    uint32_t epoch;
    int err = object_peek(sealed, len, type, &epoch);
    if (err)
        return err;
    const uint8_t *head = sealed;
    struct bytes_out aad;
    size_t start = plain->len;
    err = make_aad(&aad, head, vault_id, place);
    if (!err) {
        uint8_t *at = bytes_put_space(plain, len - OBJECT_OVERHEAD);
        err = at ? seal_box_open(key, head + NONCE_AT, aad.p, aad.len, head + OBJECT_HEAD,
                                 len - OBJECT_HEAD, at)
                 : ERR_NOMEM;
        if (err)
            plain->len = start;
    }
    bytes_out_release(&aad);
    return err;
}

static unsigned log2_floor(size_t v)
{
    return (unsigned)(sizeof(unsigned long long) * CHAR_BIT - 1) - (unsigned)__builtin_clzll(v);
}

/* [padme] A length keeps only as many significant bits as its own exponent has, so there are few lengths of each order
 * of magnitude; the waste is below 12 %, and falls with the length. */
size_t object_padme(size_t len, size_t min)
{
    if (len < min)
        len = min;
    if (len < 2)
        return len;
    unsigned exponent = log2_floor(len);
    unsigned kept = log2_floor(exponent ? exponent : 1) + 1;
    size_t mask = ((size_t)1 << (exponent - kept)) - 1;
    return len > SIZE_MAX - mask ? len : (len + mask) & ~mask;
}
