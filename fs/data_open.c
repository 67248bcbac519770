#include "fs/data_open.h"

#include "crypto/err.h"
#include "crypto/log.h"

#include <stdio.h>
#include <string.h>

/* Opens the blocks that cover [from, end); ${sealed} starts at block from / SEAL_BLOCK. Whole blocks go straight to where they are
 * wanted, all in one call; the first and the last are decrypted as far as they are wanted. */
static int open_blocks(const struct seal_key *key, struct data_scratch *s, const struct extent *e,
                       size_t from, size_t end, const uint8_t *sealed, uint8_t *out)
{
    size_t first = from / SEAL_BLOCK;
    for (size_t i = first, at = from; at < end;) {
        size_t start = i * SEAL_BLOCK;
        size_t stop = start + SEAL_BLOCK < e->len ? start + SEAL_BLOCK : e->len;
        const uint8_t *block = sealed + seal_block_offset(i - first);
        if (at == start && end >= stop) {
            size_t n = end == e->len ? (e->len - start + SEAL_BLOCK - 1) / SEAL_BLOCK
                                     : (end - start) / SEAL_BLOCK;
            int err = seal_open(key, e->id, e->len, i, n, block, out + (at - from));
            if (err)
                return err;
            i += n;
            at = i * SEAL_BLOCK;
            continue;
        }
        size_t n = (end < stop ? end : stop) - at;
        size_t in_block = at - start, part = in_block / SEAL_PART * SEAL_PART;
        uint8_t *plain = part == in_block ? out + (at - from) : s->block;
        int err = seal_open_part(key, e->id, e->len, i, part, in_block + n, block, plain);
        if (err)
            return err;
        if (plain == s->block)
            memcpy(out + (at - from), s->block + (in_block - part), n);
        at += n;
        i++;
    }
    return ERR_OK;
}

static int open_extent(struct vault *v, struct data_scratch *s, const struct extent *e, size_t from,
                       size_t len, const uint8_t *sealed, uint8_t *out)
{
    const struct seal_key *key = vault_seal_key(v, e->epoch);
    if (e->len > SEAL_EXTENT_MAX || from > e->len || len == 0 || len > e->len - from)
        return ERR_FORMAT;
    if (!key)
        return ERR_AUTH;
    size_t first = seal_block_offset(from / SEAL_BLOCK);
    if (sealed)
        return open_blocks(key, s, e, from, from + len, sealed + first, out);

    size_t last = seal_block_offset((from + len - 1) / SEAL_BLOCK + 1);
    size_t end = last < seal_size(e->len) ? last : seal_size(e->len);
    int err = segment_read(vault_segments(v), e->at, first, s->sealed, end - first);
    return err ? err : open_blocks(key, s, e, from, from + len, s->sealed, out);
}

int data_open(struct vault *v, struct data_scratch *s, uint64_t ino, const struct extent *e,
              uint32_t from, size_t len, const uint8_t *sealed, uint8_t *out)
{
    int err = open_extent(v, s, e, from, len, sealed, out);
    if (err) {
        char id[2 * SEAL_ID_LEN + 1];
        for (size_t i = 0; i < SEAL_ID_LEN; i++)
            snprintf(id + 2 * i, 3, "%02x", e->id[i]);
        log_error("inode %llu, extent %s: %s", (unsigned long long)ino, id, err_text(err));
    }
    return err;
}

int data_open_verify(struct vault *v, struct data_scratch *s, const struct extent *e,
                     const uint8_t *sealed)
{
    const struct seal_key *key = vault_seal_key(v, e->epoch);
    int err = ERR_OK;

    if (e->len == 0 || e->len > SEAL_EXTENT_MAX)
        return ERR_FORMAT;
    if (!key)
        return ERR_AUTH;
    if (!sealed) {
        err = segment_read(vault_segments(v), e->at, 0, s->sealed, seal_size(e->len));
        sealed = s->sealed;
    }
    size_t blocks = (e->len + SEAL_BLOCK - 1) / SEAL_BLOCK;
    for (size_t i = 0; !err && i < blocks; i++)
        err = seal_open(key, e->id, e->len, i, 1, sealed + seal_block_offset(i), s->block);
    return err;
}
