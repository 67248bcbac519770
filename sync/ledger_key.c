#include "sync/ledger_key.h"

#include "crypto/err.h"

size_t ledger_key_put(uint8_t *key, size_t at, uint64_t v, size_t len)
{
    for (size_t i = 0; i < len; i++)
        key[at + i] = (uint8_t)(v >> (8 * (len - 1 - i)));
    return at + len;
}

uint64_t ledger_key_number(const uint8_t *p, size_t len)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++)
        v = v << 8 | p[i];
    return v;
}

int ledger_u64_get(struct index *ix, const char *space, const void *key, size_t len, uint64_t *v)
{
    struct bytes_out value;
    bytes_out_init(&value);
    *v = 0;
    int err = index_kv_get(ix, space, key, len, &value);
    if (!err && value.len != 8)
        err = ERR_FORMAT;
    if (!err)
        *v = bytes_from_le64(value.p);
    bytes_out_release(&value);
    return err;
}

int ledger_u64_put(struct index *ix, const char *space, const void *key, size_t len, uint64_t v)
{
    uint8_t value[8];
    bytes_le64(value, v);
    return index_kv_put(ix, space, key, len, value, sizeof(value));
}
