/*
 * Batches of the outbox go to each store in order. One is put after all packs that it speaks of: a store that misses any pack gets none.
 */
#include "crypto/err.h"
#include "sync/push_impl.h"

static int note_acked(struct push *p, const struct push_store *s, uint64_t seq)
{
    index_lock(p->ix);
    int err = index_begin(p->ix, INDEX_REMOTE, LEDGER_ROOM);
    if (!err) {
        err = ledger_acked_put(p->ix, s->id, p->self->tag, seq);
        index_end(p->ix);
    }
    index_unlock(p->ix);
    return err;
}

static int put_to(struct push *p, struct push_store *s)
{
    struct ledger_head own;
    uint64_t acked;
    struct bytes_out batch;
    char name[BATCH_NAME_LEN];
    index_lock(p->ix);
    int err = ledger_acked_get(p->ix, s->id, p->self->tag, &acked);
    if (!err)
        err = ledger_head_get(p->ix, p->self->tag, &own);
    index_unlock(p->ix);
    bytes_out_init(&batch);
    for (uint64_t seq = acked + 1; !err && seq <= own.seq && !push_store_err(p, s); seq++) {
        bytes_out_reset(&batch);
        index_lock(p->ix);
        err = ledger_outbox_get(p->ix, seq, &batch);
        index_unlock(p->ix);
        if (err)
            break;
        batch_name(p->self->store_name, seq, name);
        int got = store_put(s->store, name, batch.p, batch.len);
        if (got) {
            push_store_note(p, s, s->store, got);
            break;
        }
        push_sent(p, batch.len);
        p->result->batches++;
        err = note_acked(p, s, seq);
    }
    bytes_out_release(&batch);
    return err == ERR_NOENT ? ERR_FORMAT : err;
}

int push_outbox(struct push *p)
{
    int err = 0;
    for (size_t i = 0; i < p->store_count && !err; i++)
        if (!push_store_err(p, &p->stores[i]) && !p->stores[i].incomplete)
            err = put_to(p, &p->stores[i]);
    return err;
}
