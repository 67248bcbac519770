/*
 * index, times of access: they follow as with relatime, come to the database without being in the log, and those of many
 * inodes ask for a commit, so that a mount that only reads does not keep all of them in memory.
 */
#include "check.h"
#include "index_env.h"

#define SECOND INT64_C(1000000000)
#define NOW    (INT64_C(1764000000) * SECOND)
#define DAY    (86400 * SECOND)
#define MANY   8000u

static uint64_t make(struct env *env, int64_t atime, int64_t mtime, int64_t ctime)
{
    struct inode in = {
        .mode = S_IFREG | 0600, .nlink = 1, .atime = atime, .mtime = mtime, .ctime = ctime};
    index_lock(env->ix);
    CHECK_EQ(index_begin(env->ix, INDEX_LOCAL, 0), 0);
    CHECK_EQ(index_inode_new(env->ix, &in.ino), 0);
    CHECK_EQ(index_inode_put(env->ix, &in), 0);
    index_end(env->ix);
    index_unlock(env->ix);
    return in.ino;
}

static int64_t atime_of(struct env *env, uint64_t ino)
{
    struct inode in = {0};
    index_lock(env->ix);
    CHECK_EQ(index_inode_get(env->ix, ino, &in), 0);
    index_unlock(env->ix);
    return in.atime;
}

static void read_it(struct env *env, uint64_t ino, int64_t now)
{
    index_lock(env->ix);
    index_accessed(env->ix, ino, now);
    index_unlock(env->ix);
}

static uint64_t waiting_ops(struct env *env)
{
    uint64_t ops, bytes;
    index_waiting(env->ix, &ops, &bytes);
    CHECK_EQ(bytes, 0);
    return ops;
}

static void relatime(struct env *env)
{
    const struct {
        int64_t atime, mtime, ctime;
        bool follows;
    } cases[] = {
        {NOW - 10, NOW - 20, NOW - 20, false},
        {NOW - 20, NOW - 10, NOW - 20, true},
        {NOW - 20, NOW - 20, NOW - 10, true},
        {NOW - 20, NOW - 20, NOW - 20, true},
        {NOW - DAY, NOW - 2 * DAY, NOW - 2 * DAY, true},
        {NOW - DAY + 1, NOW - 2 * DAY, NOW - 2 * DAY, false},
        {NOW + DAY, NOW, NOW, false}, /* a clock that went back */
        {INT64_MIN, INT64_MIN, INT64_MIN, true},
        {INT64_MIN + 1, INT64_MIN, INT64_MIN, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ino = make(env, cases[i].atime, cases[i].mtime, cases[i].ctime);
        read_it(env, ino, NOW);
        CHECK_EQ(atime_of(env, ino), cases[i].follows ? NOW : cases[i].atime);
    }
    read_it(env, 12345, NOW); /* none there: no matter */
}

static void not_inside_a_group(struct env *env)
{
    uint64_t ino = make(env, 0, NOW, NOW);
    index_lock(env->ix);
    CHECK_EQ(index_begin(env->ix, INDEX_LOCAL, 0), 0);
    index_accessed(env->ix, ino, NOW);
    index_end(env->ix);
    index_unlock(env->ix);
    CHECK_EQ(atime_of(env, ino), 0);
}

/* Who asks how much waits, as the committer does, hears of them before they fill the memory. */
static void many(struct env *env, uint64_t inos[MANY])
{
    for (unsigned i = 0; i < MANY; i++)
        inos[i] = make(env, 0, NOW, NOW);
    CHECK_EQ(index_commit(env->ix), 0);
    CHECK_EQ(waiting_ops(env), 0);
    for (unsigned i = 0; i < MANY; i++)
        read_it(env, inos[i], NOW + 1);
    CHECK(waiting_ops(env) >= MANY / 2);
    CHECK_EQ(index_commit(env->ix), 0);
    CHECK_EQ(waiting_ops(env), 0);
}

int main(void)
{
    static uint64_t inos[MANY];
    struct env env;

    env_dir(&env);
    CHECK_EQ(env_open(&env, true, false), 0);
    relatime(&env);
    not_inside_a_group(&env);
    many(&env, inos);
    uint64_t last = make(&env, 0, NOW, NOW);
    CHECK_EQ(index_commit(env.ix), 0);
    read_it(&env, last, NOW + 2);
    CHECK_EQ(env_close(&env), 0);

    CHECK_EQ(env_open(&env, false, true), 0);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(atime_of(&env, inos[i]), NOW + 1);
    CHECK_EQ(atime_of(&env, last), NOW + 2); /* also one that nothing else waited with */
    read_it(&env, last, NOW + 3 * DAY);
    CHECK_EQ(atime_of(&env, last), NOW + 2); /* read-only */
    CHECK_EQ(env_close(&env), 0);
    env_remove(&env);
    return check_done();
}
