/* engine_live: every pack gets its extents and no others, in as few walks over all of them as memory allows. */
#include "check.h"
#include "sync_fixture.h"

#include "sync/engine_live.h"
#include "sync/ledger.h"

#define PACKS 300u
#define EACH  10u

/* Extents in packs, in another order than that of the packs, and every seventh pack without any. */
static void fill(struct index *ix)
{
    index_lock(ix);
    CHECK_EQ(index_begin(ix, INDEX_REMOTE, PACKS * (EACH + 2) * 200), 0);
    for (unsigned p = 1; p <= PACKS; p++) {
        struct ledger_pack pack = {.size = 1000 + p};
        memset(pack.hash, (int)p, 16);
        memcpy(pack.hash + 16, &p, sizeof(p));
        CHECK_EQ(ledger_pack_add(ix, &pack, NULL), 0);
        CHECK_EQ(pack.pid, p);
    }
    for (unsigned k = 0; k < EACH; k++)
        for (unsigned p = PACKS; p >= 1; p--) {
            struct extent e = {.len = 100 + k, .epoch = 1, .pack = p, .pack_off = k * 1000 + p};
            memcpy(e.id, &p, sizeof(p));
            memcpy(e.id + 4, &k, sizeof(k));
            if (p % 7)
                CHECK_EQ(index_extent_put(ix, &e), 0);
        }
    index_end(ix);
    index_unlock(ix);
}

static void check_all(struct index *ix, size_t max, unsigned walks)
{
    struct engine_live *live;
    CHECK_EQ(engine_live_new(&live, ix, max, NULL), 0);
    CHECK_EQ(engine_live_count(live), PACKS);
    for (size_t i = 0; i < PACKS; i++) {
        const struct engine_extent *list;
        size_t n;
        unsigned p = (unsigned)engine_live_pid(live, i), seen = 0;
        CHECK_EQ(p, i + 1);
        CHECK_EQ(engine_live_get(live, i, &list, &n), 0);
        CHECK_EQ(n, p % 7 ? EACH : 0);
        for (size_t k = 0; k < n; k++) {
            CHECK(memcmp(list[k].id, &p, sizeof(p)) == 0 && list[k].epoch == 1);
            CHECK_EQ(list[k].off, (list[k].len - 100) * 1000 + p);
            seen |= 1u << (list[k].len - 100);
        }
        CHECK_EQ(seen, n ? (1u << EACH) - 1 : 0);
    }
    CHECK_EQ(engine_live_walks(live), walks);
    engine_live_free(live);
}

int main(void)
{
    struct device d = {0};
    uint8_t code[CODE_LEN];
    fixture_start();
    device_init(&d, "vault", code);
    struct index *ix = vault_index(d.v);
    fill(ix);
    check_all(ix, ENGINE_LIVE_MAX, 2);
    check_all(ix, 1000, 4); /* 2580 extents, 1000 at a time, after they were counted */
    check_all(ix, 1, 1 + PACKS - PACKS / 7);
    atomic_bool stop = true;
    struct engine_live *live;
    CHECK_EQ(engine_live_new(&live, ix, ENGINE_LIVE_MAX, &stop), ERR_INTR);
    engine_live_free(live);
    device_close(&d);
    fixture_rm(fixture_base);
    return check_done();
}
