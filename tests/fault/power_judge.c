#include "tests/fault/power_judge.h"

#include "crypto/err.h"
#include "fs/check.h"
#include "fs/data.h"
#include "fs/tree.h"
#include "sync/engine.h"
#include "sync/join.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct judge {
    const struct power_expect *x;
    char vault[PATH_MAX], clone[PATH_MAX], store_url[PATH_MAX];
    struct vault *v;
    char *why;
};

static bool wrong(struct judge *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(struct judge *j, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(j->why, POWER_JUDGE_WHY, format, args);
    va_end(args);
    return false;
}

/* With the passphrase that it must have, or either while it was being changed. */
static int open_vault(struct judge *j, enum vault_mode mode, char what[200])
{
    int err = ERR_WRONGKEY;
    for (unsigned n = j->x->secret_done; err == ERR_WRONGKEY && n <= j->x->secret_tried; n++) {
        char secret[32];
        power_tree_secret(secret, n);
        err = vault_open(&j->v, j->vault, secret, strlen(secret), mode, what);
    }
    return err;
}

/* A vault that was being made: there is a whole one, or one can be made in its place. */
static bool judge_unmade(struct judge *j)
{
    uint8_t code[CODE_LEN];
    char secret[32], what[200] = "";
    int err = open_vault(j, VAULT_READ_WRITE, what);
    if (err == 0 || (err != ERR_NOTVAULT && err != ERR_NOENT)) {
        int closed = err ? err : vault_close(j->v);
        return closed == 0 || wrong(j, "half made: %s: %s", err_text(closed), what);
    }
    power_tree_secret(secret, 0);
    err = join_init(j->vault, secret, strlen(secret), &power_tree_cost, "again", code, what);
    return err == 0 || wrong(j, "cannot be made again: %s: %s", err_text(err), what);
}

static bool judge_threads(struct judge *j)
{
    for (unsigned i = 0; i < POWER_TREE_THREADS; i++) {
        const int number = power_tree_number(j->v, i);
        if (number < 0 || (unsigned)number < j->x->done[i] || (unsigned)number > j->x->tried[i])
            return wrong(j, "the file of thread %u is at %d, was synced at %u, tried %u", i, number,
                         j->x->done[i], j->x->tried[i]);
    }
    return true;
}

static bool judge_tree(struct judge *j, char **tree)
{
    *tree = power_tree_dump(j->v);
    if (!*tree)
        return wrong(j, "out of memory");
    if (strchr(*tree, '!'))
        return wrong(j, "something cannot be read:\n%s", *tree);
    if (j->x->threads)
        return judge_threads(j);
    if (power_expect_tree(j->x, *tree))
        return true;
    const size_t floor = j->x->floor, last = j->x->count - 1;
    return wrong(
        j, "the tree is none of %zu that are possible:\n%s--- promised (%u):\n%s--- last (%u):\n%s",
        j->x->count - floor, *tree, j->x->numbers[floor], j->x->trees[floor], j->x->numbers[last],
        j->x->trees[last]);
}

static void problem(void *ctx, const char *path, const char *what)
{
    struct judge *j = ctx;
    wrong(j, "check: %s: %s", path ? path : "(no name)", what);
}

static bool judge_check(struct judge *j)
{
    struct check_options options = {.problem = problem, .ctx = j};
    struct check_result result;
    int err = check_vault(j->v, &options, &result);
    if (err)
        return wrong(j, "check: %s", err_text(err));
    return result.problems == 0;
}

static bool judge_read_only(struct judge *j)
{
    char what[200] = "", *tree;
    int err = open_vault(j, VAULT_READ_ONLY, what);
    if (err)
        return wrong(j, "does not open for reading: %s: %s", err_text(err), what);
    bool good = judge_tree(j, &tree);
    free(tree);
    vault_close(j->v);
    return good;
}

/* ---- what it is good for afterwards ---- */

static bool write_more(struct judge *j)
{
    static const uint8_t bytes[5000] = "written after the power cut";
    struct inode in;
    int err =
        tree_mknod(j->v, INODE_ROOT, "after", 5, S_IFREG | 0600, 0, (struct tree_cred){0}, &in);
    if (!err)
        err = data_write(j->v, in.ino, 0, bytes, sizeof(bytes), true, false);
    if (!err)
        err = index_flush(vault_index(j->v));
    return err == 0 || wrong(j, "cannot be written to: %s", err_text(err));
}

/* It goes on, and has all of it when it is opened the next time. */
static bool judge_again(struct judge *j)
{
    char what[200] = "";
    if (!write_more(j))
        return false;
    char *before = power_tree_dump(j->v);
    int err = vault_close(j->v);
    if (!err)
        err = open_vault(j, VAULT_READ_WRITE, what);
    if (err) {
        free(before);
        j->v = NULL;
        return wrong(j, "does not open again: %s: %s", err_text(err), what);
    }
    char *after = power_tree_dump(j->v);
    bool good = before && after && strcmp(before, after) == 0;
    if (!good)
        wrong(j, "is another when it is opened again:\n%s---\n%s", before ? before : "",
              after ? after : "");
    free(before);
    free(after);
    return good && judge_check(j);
}

/* Is there a store? One that was just being added is added again. *has: there is one now. */
static bool find_store(struct judge *j, const char *root, bool *has)
{
    struct stores_item *items = NULL, item = {0};
    struct store *store;
    char folder[PATH_MAX - 8], what[200] = "";
    uint32_t id;
    size_t n = 0;
    int err = stores_load(j->v, &items, &n);
    if (!err && n)
        snprintf(j->store_url, sizeof(j->store_url), "%s", items[0].url);
    stores_free(items, n);
    if (!err && n == 0 && j->x->store)
        return wrong(j, "the store that was added is not known any more");
    snprintf(folder, sizeof(folder), "%s/store", root);
    *has = n > 0 || access(folder, F_OK) == 0;
    if (err || n || !*has)
        return err == 0 || wrong(j, "the list of stores: %s", err_text(err));
    snprintf(j->store_url, sizeof(j->store_url), "file://%s", folder);
    snprintf(item.url, sizeof(item.url), "%.1999s", j->store_url);
    err = store_open(&store, item.url, NULL, NULL, what);
    if (!err) {
        err = join_prepare_store(j->v, store, what);
        store_close(store);
    }
    if (!err)
        err = stores_add(j->v, &item, &id);
    return err == 0 || wrong(j, "the store cannot be added again: %s: %s", err_text(err), what);
}

/* ${behind}: what another device has put and not counted as put, because it was killed, may be gone from the store again; that device
 * puts it again. */
static bool judge_sync(struct judge *j, bool behind)
{
    struct engine *e = NULL;
    struct engine_status status = {0};
    struct engine_check_result result = {0};
    int err = engine_new(&e, j->v, NULL);
    if (!err)
        err = engine_sync(e, NULL, NULL);
    if (e)
        engine_status(e, &status);
    bool good = err == 0 || (behind && err == ERR_BEHIND) ||
                wrong(j, "does not sync: %s: %s", err_text(err), status.last_error_text);
    if (good && !behind) {
        err = engine_check(e, NULL, problem, j, &result);
        good = err ? wrong(j, "check of the store: %s", err_text(err)) : result.problems == 0;
    }
    engine_free(e);
    return good;
}

/* Another device has the same tree. */
static bool judge_same(struct judge *j, const char *tree)
{
    char *there = power_tree_dump(j->v);
    bool good = there && strcmp(tree, there) == 0;
    if (!good)
        wrong(j, "the second device is another:\n%s--- here:\n%s", there ? there : "", tree);
    free(there);
    return good;
}

/* What the store has is enough for a second device to be the same. */
static bool judge_clone(struct judge *j, const char *tree)
{
    struct store *store;
    struct judge second = {.x = j->x, .why = j->why};
    char secret[32], what[200] = "";
    power_tree_secret(secret, j->x->secret_done);
    snprintf(second.vault, sizeof(second.vault), "%s", j->clone);
    int err = store_open(&store, j->store_url, NULL, NULL, what);
    if (err)
        return wrong(j, "the store does not open: %s: %s", err_text(err), what);
    err = join_clone(j->clone, store, j->store_url, NULL, NULL, j->x->code, secret, strlen(secret),
                     &power_tree_cost, "second", NULL, NULL, what);
    store_close(store);
    if (!err)
        err = open_vault(&second, VAULT_READ_WRITE, what);
    if (err)
        return wrong(j, "a second device cannot be made: %s: %s", err_text(err), what);
    bool good = judge_same(&second, tree);
    vault_close(second.v);
    return good;
}

/* The second device came through it, too; both are the same in the end, with all that was given to the store. */
static bool judge_second(struct judge *j, const char *root)
{
    struct judge second = {.x = j->x, .why = j->why};
    char what[200] = "";
    snprintf(second.vault, sizeof(second.vault), "%s/second", root);
    if (access(second.vault, F_OK) != 0 && !j->x->cloned)
        return judge_sync(j, false);
    int err = open_vault(&second, VAULT_READ_WRITE, what);
    if (err)
        return wrong(j, "the second device does not open: %s: %s", err_text(err), what);
    bool good = judge_check(&second) && judge_sync(j, true) && judge_sync(&second, true) &&
                judge_sync(j, false) && judge_sync(&second, false);
    char *tree = good ? power_tree_dump(j->v) : NULL;
    good = tree && judge_same(&second, tree);
    for (size_t i = 0; good && i < j->x->second_count; i++) {
        char name[16];
        snprintf(name, sizeof(name), "/n%u ", j->x->second[i]);
        if (!strstr(tree, name))
            good = wrong(j, "what the second device gave to the store is gone: %s", name);
    }
    free(tree);
    vault_close(second.v);
    return good;
}

static bool judge_store(struct judge *j, const char *root)
{
    bool has = false;
    if (!find_store(j, root, &has) || !has)
        return !has && j->why[0] == '\0';
    if (!judge_second(j, root))
        return false;
    char *tree = power_tree_dump(j->v);
    bool good = tree && judge_clone(j, tree);
    free(tree);
    return good;
}

static bool judge_open(struct judge *j, const char *root, unsigned flags)
{
    char *tree = NULL;
    bool good = judge_tree(j, &tree) && judge_check(j);
    free(tree);
    if (good && (flags & POWER_JUDGE_STORE))
        good = judge_store(j, root);
    return good && (!(flags & POWER_JUDGE_AGAIN) || judge_again(j));
}

bool power_judge(const char *root, const struct power_expect *x, unsigned flags,
                 char why[POWER_JUDGE_WHY])
{
    struct judge j = {.x = x, .why = why};
    char what[200] = "";
    why[0] = '\0';
    snprintf(j.vault, sizeof(j.vault), "%s/vault", root);
    snprintf(j.clone, sizeof(j.clone), "%s/clone", root);
    if (!x->made)
        return judge_unmade(&j);
    if ((flags & POWER_JUDGE_READ_ONLY) && !judge_read_only(&j))
        return false;
    int err = open_vault(&j, VAULT_READ_WRITE, what);
    if (!err)
        err = tree_reap_all(j.v);
    if (err)
        return wrong(&j, "does not open: %s: %s", err_text(err), what);
    bool good = judge_open(&j, root, flags);
    if (!j.v)
        return good;
    err = vault_close(j.v);
    return good && (err == 0 || wrong(&j, "does not close: %s", err_text(err)));
}
