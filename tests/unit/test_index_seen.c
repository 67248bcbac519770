/*
 * index, the rows looked up lately: whatever changes in between, a look into a map finds what a map that was never looked at
 * before would show. Random changes of a few files against a model, with looks at single cells after each.
 */
#include "check.h"
#include "index_env.h"

#define CELL  4096u
#define CELLS 600u /* of a file: more than two granules of what is remembered */
#define FILES 3u
#define STEPS 30000u

/* What a cell shows: 0 a hole, else the extent's place in its segment, which names the extent and how often it was moved. */
static uint64_t model[FILES][CELLS];
static uint64_t inos[FILES];
static uint64_t eids[FILES][CELLS]; /* of the same cells */
static uint64_t state = 88172645463325252u;

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 33) % n;
}

static void make_files(struct env *env)
{
    for (unsigned f = 0; f < FILES; f++) {
        struct inode in = {.mode = S_IFREG | 0600, .nlink = 1};
        index_lock(env->ix);
        CHECK_EQ(index_begin(env->ix, INDEX_LOCAL, 0), 0);
        CHECK_EQ(index_inode_new(env->ix, &in.ino), 0);
        CHECK_EQ(index_inode_put(env->ix, &in), 0);
        index_end(env->ix);
        index_unlock(env->ix);
        inos[f] = in.ino;
    }
}

static int map_new(struct env *env, unsigned f, unsigned from, unsigned n, uint64_t *place)
{
    static uint64_t next = 64;
    struct extent e = {.len = n * CELL, .epoch = 1, .at = {1, next}};
    for (size_t i = 0; i < sizeof(e.id); i++)
        e.id[i] = (uint8_t)below(256);
    *place = next;
    next += 8192;
    int err = index_extent_put(env->ix, &e);
    if (!err)
        err = index_map_set(env->ix, inos[f], (uint64_t)from * CELL, (uint64_t)n * CELL, e.eid, 0);
    for (unsigned c = from; c < from + n; c++)
        eids[f][c] = e.eid;
    return err;
}

/* The extent behind a cell goes elsewhere: every cell that shows it follows. */
static int move(struct env *env, uint64_t eid, uint64_t *place)
{
    struct extent e;
    int err = index_extent_get(env->ix, eid, &e);
    e.at.off += 4096;
    *place = e.at.off;
    return err ? err : index_extent_move(env->ix, &e);
}

static void change(struct env *env)
{
    unsigned f = below(FILES), from = below(CELLS),
             n = 1 + below(CELLS - from > 128 ? 128 : CELLS - from);
    unsigned what = below(3);
    uint64_t eid = eids[f][from], place = 0;
    int err;

    if (what == 2 && !model[f][from])
        what = 0;
    index_lock(env->ix);
    CHECK_EQ(index_begin(env->ix, INDEX_LOCAL, 0), 0);
    if (what == 0)
        err = map_new(env, f, from, n, &place);
    else if (what == 1)
        err = index_map_punch(env->ix, inos[f], (uint64_t)from * CELL, (uint64_t)n * CELL);
    else
        err = move(env, eid, &place);
    index_end(env->ix);
    index_unlock(env->ix);
    CHECK_EQ(err, 0);
    if (what == 2) {
        for (f = 0; f < FILES; f++)
            for (unsigned c = 0; c < CELLS; c++)
                if (model[f][c] && eids[f][c] == eid)
                    model[f][c] = place;
        return;
    }
    for (unsigned c = from; c < from + n; c++)
        model[f][c] = place;
}

static void look(struct env *env)
{
    struct map_row row = {0};
    struct extent e = {0};
    size_t n = 0;
    unsigned f = below(FILES), c = below(CELLS);

    index_lock(env->ix);
    CHECK_EQ(index_map_get(env->ix, inos[f], (uint64_t)c * CELL, CELL, &row, &e, 1, &n), 0);
    index_unlock(env->ix);
    if (!model[f][c]) {
        CHECK_EQ(n, 0);
        return;
    }
    CHECK_EQ(n, 1);
    CHECK_EQ(e.at.off, model[f][c]);
    CHECK_EQ(e.eid, eids[f][c]);
    CHECK(row.off <= (uint64_t)c * CELL && row.off + row.len >= (uint64_t)(c + 1) * CELL);
}

int main(void)
{
    struct env env;

    env_dir(&env);
    CHECK_EQ(env_open(&env, true, false), 0);
    make_files(&env);
    for (unsigned i = 0; i < STEPS; i++) {
        if (below(8) == 0)
            change(&env);
        look(&env);
        if (below(4000) == 0)
            CHECK_EQ(index_commit(env.ix), 0);
    }
    CHECK_EQ(env_close(&env), 0);
    env_remove(&env);
    return check_done();
}
