#include "sync/chain.h"

#include "crypto/err.h"
#include "sync/ledger.h"
#include "sync/ledger_key.h"

#include <string.h>

#define KEY_LEN 12u

static void make_key(uint8_t key[KEY_LEN], uint32_t tag, uint64_t v)
{
    ledger_key_put(key, ledger_key_put(key, 0, tag, 4), v, 8);
}

int chain_put(struct index *ix, uint32_t tag, uint64_t seq, uint64_t lamport,
              const uint8_t hash[32])
{
    uint8_t key[KEY_LEN];
    make_key(key, tag, seq);
    int err = index_kv_put(ix, "chain", key, sizeof(key), hash, 32);
    if (err)
        return err;
    make_key(key, tag, lamport);
    return ledger_u64_put(ix, "when", key, sizeof(key), seq);
}

int chain_hash(struct index *ix, uint32_t tag, uint64_t seq, uint8_t hash[32])
{
    uint8_t key[KEY_LEN];
    struct bytes_out value;
    bytes_out_init(&value);
    make_key(key, tag, seq);
    int err = index_kv_get(ix, "chain", key, sizeof(key), &value);
    if (!err && value.len != 32)
        err = ERR_FORMAT;
    if (!err)
        memcpy(hash, value.p, 32);
    bytes_out_release(&value);
    return err;
}

static int note_one(struct index *ix, uint32_t tag, uint64_t seq)
{
    struct bytes_out batch;
    struct batch_head head;
    uint8_t hash[32];
    bytes_out_init(&batch);
    int err = ledger_outbox_get(ix, seq, &batch);
    if (!err)
        err = batch_open_head(batch.p, batch.len, &head, hash);
    bytes_out_release(&batch);
    if (err)
        return err;
    err = chain_put(ix, tag, seq, head.lamport, hash);
    batch_head_release(&head);
    return err;
}

int chain_note_own(struct index *ix, uint32_t tag, unsigned max, bool *more)
{
    uint64_t seq = 0;
    struct ledger_head head;
    int err = ledger_u64_get(ix, "chain-own", "seq", 3, &seq);
    if (!err || err == ERR_NOENT)
        err = ledger_head_get(ix, tag, &head);
    if (err)
        return err;
    const uint64_t before = seq;
    while (!err && seq < head.seq && max--)
        err = note_one(ix, tag, ++seq);
    *more = seq < head.seq;
    if (err || seq == before)
        return err;
    uint8_t value[8];
    bytes_le64(value, seq);
    return index_kv_put(ix, "chain-own", "seq", 3, value, sizeof(value));
}

bool chain_seen(struct index *ix, const struct batch_head *head, uint32_t author,
                struct version version)
{
    if (version.lamport == 0)
        return true;
    if (version.lamport >= head->lamport)
        return version.device == author && version.lamport == head->lamport;
    if (version.device == author)
        return true;
    uint8_t key[KEY_LEN];
    uint64_t seq;
    make_key(key, version.device, version.lamport);
    if (ledger_u64_get(ix, "when", key, sizeof(key), &seq))
        return false;
    for (size_t i = 0; i < head->ref_count; i++)
        if (head->refs[i].device == version.device)
            return head->refs[i].seq >= seq;
    return false;
}
