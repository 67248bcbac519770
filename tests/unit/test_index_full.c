/*
 * index on a full disk (a small tmpfs of its own): what was answered stays, deleting goes on, and it recovers by itself
 * when there is room, be it from outside or from what was deleted; also when it is killed or opened while full. [index-full]
 */
#include "full_fixture.h"

/* Files until there is no room, with a commit now and then. */
static void fill(struct env *env, uint32_t len, unsigned every)
{
    for (unsigned i = 1; i < 100000; i++) {
        int err = make_file(env, len);
        CHILD_CHECK(err == 0 || err == ERR_NOSPACE);
        if (err)
            return;
        int commit_err = i % every == 0 ? index_commit(env->ix) : 0;
        CHILD_CHECK(commit_err == 0 || commit_err == ERR_NOSPACE);
        CHILD_CHECK(!index_failed(env->ix) && !segment_failed(env->segments));
        if (shared->failed)
            return;
    }
    fprintf(stderr, "the disk never got full\n");
    shared->failed++;
}

/* ---- what happens ---- */

static void fill_with_names(struct env *env)
{
    start(env, true);
    for (unsigned i = 0; i < 12000; i++)
        CHILD_CHECK(make_file(env, 0) == 0);
    CHILD_CHECK(index_flush(env->ix) == 0);
    take_all(env, 0);
    int err = index_commit(env->ix); /* needs much more than the disk has: done in steps */
    CHILD_CHECK(err == 0 && !index_failed(env->ix));
    take_all(env, 0);
    while (!err && shared->files < 100000)
        err = make_file(env, 0);
    CHILD_CHECK(err == ERR_NOSPACE);
    check_files(env);
    for (unsigned i = 0; i < 50; i++)
        CHILD_CHECK(delete_file(env) == 0); /* always possible */
    CHILD_CHECK(index_flush(env->ix) == 0);
    take_all(env, 0);
    CHILD_CHECK(index_commit(env->ix) == 0);
    take_all(env, 0);
    CHILD_CHECK(index_checkpoint(env->ix, NULL, NULL, NULL) == 0);
    check_files(env);
    take_all(env, 0);
}

static void room_from_outside(struct env *env)
{
    start(env, false); /* killed while full, opened while full */
    check_files(env);
    take_all(env, 0);
    (void)index_commit(env->ix);
    CHILD_CHECK(delete_file(env) == 0);
    give_back(env);
    CHILD_CHECK(index_checkpoint(env->ix, NULL, NULL, NULL) == 0);
    CHILD_CHECK(!index_full(env->ix));
    CHILD_CHECK(make_file(env, 0) == 0 && make_file(env, EXTENT) == 0);
    check_files(env);
    CHILD_CHECK(env_close(env) == 0);
}

static void fill_with_data(struct env *env)
{
    start(env, false);
    check_files(env);
    fill(env, EXTENT, 50);
    take_all(env, 0);
    int err = 0;
    while (err == 0 && shared->files < 100000)
        err = make_file(env, 0);
    CHILD_CHECK(err == ERR_NOSPACE); /* no room in the log, and no commit has noticed */
    for (unsigned i = 0; i < 500; i++)
        CHILD_CHECK(delete_file(env) == 0); /* but for this */
    CHILD_CHECK(index_flush(env->ix) == 0); /* what was answered can always be made durable */
    check_files(env);
}

static void room_from_deleting(struct env *env)
{
    start(env, false);
    check_files(env);
    fill(env, EXTENT, 20);
    take_all(env, 0);
    (void)index_commit(env->ix);
    for (unsigned round = 0; round < 40 && (shared->deleted < 12000 || index_full(env->ix));
         round++) {
        for (unsigned i = 0; i < 400; i++)
            CHILD_CHECK(delete_file(env) == 0);
        int err = index_checkpoint(env->ix, NULL, NULL, NULL);
        CHILD_CHECK(err == 0 || err == ERR_NOSPACE);
    }
    CHILD_CHECK(!index_full(env->ix) && !index_failed(env->ix));
    CHILD_CHECK(make_file(env, EXTENT) == 0);
    check_files(env);
    CHILD_CHECK(index_flush(env->ix) == 0);
}

static void at_last(struct env *env)
{
    start(env, false);
    check_files(env);
    CHILD_CHECK(env_close(env) == 0);
    start(env, false);
    check_files(env);
    CHILD_CHECK(env_close(env) == 0);
}

int main(void)
{
    struct env env;
    if (!full_begin(&env))
        return check_done();
    in_child(fill_with_names, &env);
    in_child(room_from_outside, &env);
    in_child(fill_with_data, &env);
    in_child(room_from_deleting, &env);
    in_child(at_last, &env);
    return full_end(&env);
}
