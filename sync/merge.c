#include "sync/merge.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "sync/chain.h"
#include "sync/ledger.h"
#include "sync/merge_impl.h"

#include <stdlib.h>
#include <string.h>

#define GROUP_NOTES (1u << 20) /* bytes of notes after which another group is begun */
#define GROUP_ROOM  (GROUP_NOTES + (256u << 10))

/* ---- the records, copied ---- */

struct merge_batch *merge_batch_new(void)
{
    return calloc(1, sizeof(struct merge_batch));
}

void merge_batch_free(struct merge_batch *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->block_count; i++)
        free(b->blocks[i]);
    free(b->blocks);
    free(b->records);
    free(b);
}

static int grow(void **array, size_t *cap, size_t count, size_t size)
{
    if (count < *cap)
        return 0;
    size_t more = *cap ? *cap * 2 : 64;
    void *p = reallocarray(*array, more, size);
    if (!p)
        return ERR_NOMEM;
    *array = p;
    *cap = more;
    return 0;
}

/* Copies what *p points at and makes *p point at the copy. */
static int keep(struct merge_batch *b, const void **p, size_t len)
{
    if (len == 0)
        return 0;
    int err = grow((void **)&b->blocks, &b->block_cap, b->block_count, sizeof(*b->blocks));
    void *copy = err ? NULL : malloc(len);
    if (!copy)
        return ERR_NOMEM;
    memcpy(copy, *p, len);
    b->blocks[b->block_count++] = copy;
    *p = copy;
    return 0;
}

int merge_batch_add(void *ctx, const struct batch_record *record)
{
    struct merge_batch *b = ctx;
    int err = grow((void **)&b->records, &b->cap, b->count, sizeof(*b->records));
    if (err)
        return err;
    struct batch_record *r = &b->records[b->count];
    *r = *record;
    switch (r->kind) {
    case BATCH_ATTR:
        err = keep(b, (const void **)&r->u.attr.target, r->u.attr.target_len);
        break;
    case BATCH_CONTENT:
        err = keep(b, (const void **)&r->u.content.name, r->u.content.name_len);
        if (!err)
            err = keep(b, (const void **)&r->u.content.ranges,
                       r->u.content.range_count * sizeof(*r->u.content.ranges));
        break;
    case BATCH_XATTRS:
        err = keep(b, (const void **)&r->u.xattrs.pairs, r->u.xattrs.pairs_len);
        break;
    case BATCH_ENTRY:
        err = keep(b, (const void **)&r->u.entry.name, r->u.entry.name_len);
        break;
    default:
        break;
    }
    if (!err)
        b->count++;
    return err;
}

/* ---- what the parts share ---- */

int merge_step(struct merge *m, size_t bytes)
{
    m->notes += bytes;
    if (m->notes < GROUP_NOTES)
        return 0;
    index_end(m->ix);
    m->notes = 0;
    return index_begin(m->ix, INDEX_REMOTE, GROUP_ROOM);
}

void merge_tell(struct merge *m, uint64_t ino, const char *name, size_t len)
{
    bytes_put_u64(&m->told, ino);
    bytes_put_var16(&m->told, name ? name : "", len);
}

bool merge_seen(struct merge *m, struct version version)
{
    return chain_seen(m->ix, m->params->head, m->params->tag, version);
}

/* ---- applying ---- */

static int apply_pack(struct merge *m, const struct batch_record *r)
{
    struct ledger_pack pack = {.size = r->u.pack.size};
    memcpy(pack.hash, r->u.pack.name, sizeof(pack.hash));
    int err = ledger_pack_add(m->ix, &pack, NULL);
    if (!err)
        m->pids[m->pid_count++] = pack.pid;
    return err;
}

static int apply_record(struct merge *m, const struct batch_record *r)
{
    switch (r->kind) {
    case BATCH_PACK:
        return apply_pack(m, r);
    case BATCH_ATTR:
        return merge_attr(m, r);
    case BATCH_CONTENT:
        return merge_content(m, r);
    case BATCH_XATTRS:
        return merge_xattrs(m, r);
    case BATCH_ENTRY:
        return merge_entry(m, r);
    case BATCH_GONE:
        return merge_gone(m, r);
    default:
        return 0;
    }
}

static int apply_head(struct merge *m)
{
    const struct batch_head *h = m->params->head;
    struct ledger_head head = {.seq = h->seq};
    memcpy(head.hash, m->params->hash, sizeof(head.hash));
    int err = ledger_head_put(m->ix, m->params->tag, &head);
    if (!err)
        err = chain_put(m->ix, m->params->tag, h->seq, h->lamport, m->params->hash);
    return err ? err : ledger_clock_raise(m->ix, h->lamport);
}

/* What makes inodes goes first; who lost a name is looked at before what nobody names is deleted. */
static unsigned pass_of(const struct batch_record *r)
{
    switch (r->kind) {
    case BATCH_PACK:
    case BATCH_ATTR:
        return 0;
    case BATCH_GONE:
        return 2;
    default:
        return 1;
    }
}

static int apply_pass(struct merge *m, unsigned pass)
{
    int err = 0;
    for (size_t i = 0; i < m->batch->count && !err; i++) {
        const struct batch_record *r = &m->batch->records[i];
        if (pass_of(r) != pass)
            continue;
        err = merge_step(m, 2048);
        if (!err)
            err = apply_record(m, r);
    }
    return err;
}

static int apply_all(struct merge *m)
{
    int err = apply_pass(m, 0);
    if (!err)
        err = apply_pass(m, 1);
    if (!err)
        err = merge_lost_mend(m);
    if (!err)
        err = apply_pass(m, 2);
    return err ? err : apply_head(m);
}

void merge_tell_watcher(struct merge *m)
{
    struct bytes_in in;
    bytes_in_init(&in, m->told.p, m->told.len);
    while (in.left && !in.bad) {
        uint64_t ino = bytes_get_u64(&in);
        size_t len;
        const char *name = (const char *)bytes_get_var16(&in, NAME_LEN_MAX, &len);
        if (!in.bad)
            vault_invalidate(m->vault, ino, len && name[0] ? name : NULL, len);
    }
}

/* The inodes whose content the batch changes, or that it takes a name of. */
static int find_touched(const struct merge *m, struct bytes_out *inos)
{
    int err = 0;
    index_lock(m->ix);
    for (size_t i = 0; i < m->batch->count && !err; i++) {
        const struct batch_record *r = &m->batch->records[i];
        struct entry there;
        if (r->kind == BATCH_CONTENT)
            bytes_put_u64(inos, r->u.content.ino);
        if (r->kind == BATCH_GONE)
            bytes_put_u64(inos, r->u.gone.ino);
        if (r->kind != BATCH_ENTRY)
            continue;
        err =
            index_entry_get(m->ix, r->u.entry.parent, r->u.entry.name, r->u.entry.name_len, &there);
        if (!err && there.ino != r->u.entry.ino && there.type == S_IFREG)
            bytes_put_u64(inos, there.ino);
        err = err == ERR_NOENT ? 0 : err;
    }
    index_unlock(m->ix);
    return err ? err : inos->bad ? ERR_NOMEM : 0;
}

/* What programs wrote here to files that are going to change must count as written before. */
static int settle(const struct merge *m)
{
    struct bytes_out inos;
    struct bytes_in in;
    bytes_out_init(&inos);
    int err = find_touched(m, &inos);
    bytes_in_init(&in, inos.p, inos.len);
    while (!err && in.left)
        vault_settle(m->vault, bytes_get_u64(&in));
    bytes_out_release(&inos);
    return err;
}

/* Refused: what is here is too far behind its clock. */
static int check_clock(struct merge *m)
{
    uint64_t now;
    int err = ledger_clock_get(m->ix, &now);
    if (err || m->version.lamport <= now || m->version.lamport - now <= MERGE_LAMPORT_JUMP)
        return err;
    log_warn("merge: a batch is %llu ahead of the clock: refused",
             (unsigned long long)(m->version.lamport - now));
    return ERR_FORMAT;
}

static int apply_locked(struct merge *m)
{
    int err = check_clock(m);
    if (!err)
        err = merge_check(m);
    if (!err)
        err = index_begin(m->ix, INDEX_REMOTE, GROUP_ROOM);
    if (err)
        return err;
    err = apply_all(m);
    index_end(m->ix);
    return err;
}

int merge_apply(const struct merge_params *params, const struct merge_batch *batch, bool *local)
{
    struct merge m = {.params = params,
                      .batch = batch,
                      .vault = params->vault,
                      .ix = vault_index(params->vault),
                      .self = vault_keyring(params->vault)->device_tag,
                      .version = {params->head->lamport, params->tag}};
    m.pids = calloc(batch->count + 1, sizeof(*m.pids));
    if (!m.pids)
        return ERR_NOMEM;
    bytes_out_init(&m.told);
    int err = settle(&m);
    if (!err) {
        index_lock(m.ix);
        err = apply_locked(&m);
        index_unlock(m.ix);
    }
    merge_tell_watcher(&m);
    *local = m.local;
    bytes_out_release(&m.told);
    free(m.lost);
    free(m.pids);
    return err;
}
