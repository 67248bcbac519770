/*
 * Merging: several devices make random changes, push and pull in random order, and in the end have the same tree, with nothing lost.
 *
 * OBSCURAFS_TEST_SEEDS=n runs n seeds instead of a few, OBSCURAFS_TEST_SEED=k only that one.
 */
#include "merge_fixture.h"

#define SEEDS           40u
#define SEEDS_PER_GROUP 8u
#define TOKENS_MAX      4096u
#define TOKEN_LEN       8u
#define PLACES          600u
#define DIRS            200u

static uint64_t rng;

static uint32_t rnd(uint32_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)((rng >> 16) % n);
}

/* OBSCURAFS_TEST_VERBOSE: what is done, step by step. */
static bool verbose;
static size_t acting;
#define TRACE(...)                                                                                 \
    do {                                                                                           \
        if (verbose) {                                                                             \
            fprintf(stderr, "[%zu] ", acting);                                                     \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
        }                                                                                          \
    } while (0)

/* ---- what was written, and what nobody needs any more ---- */

static bool superseded[TOKENS_MAX];
static uint32_t tokens;

static int token_of(struct vault *v, uint64_t ino)
{
    char text[TOKEN_LEN + 1] = "";
    size_t got;
    if (data_read(v, ino, 0, (uint8_t *)text, TOKEN_LEN, &got, NULL) || got != TOKEN_LEN ||
        text[0] != 'T')
        return -1;
    return atoi(text + 1);
}

static void supersede(struct vault *v, uint64_t ino)
{
    int t = token_of(v, ino);
    if (t >= 0 && t < (int)TOKENS_MAX)
        superseded[t] = true;
    TRACE("  superseded T%07d", t);
}

static void write_token(struct vault *v, uint64_t ino)
{
    char text[TOKEN_LEN + 1];
    uint8_t rest[5000];
    struct inode in = {.size = 0}, out;
    if (tokens == TOKENS_MAX)
        return;
    supersede(v, ino);
    snprintf(text, sizeof(text), "T%07u", tokens++);
    TRACE("write %s to %llx", text, (unsigned long long)ino);
    memset(rest, (int)tokens, sizeof(rest));
    if (rnd(2))
        CHECK_EQ(tree_setattr(v, ino, TREE_SIZE, &in, &out), 0);
    CHECK_EQ(data_write(v, ino, 0, (const uint8_t *)text, TOKEN_LEN, true, false), 0);
    if (rnd(2))
        CHECK_EQ(data_write(v, ino, TOKEN_LEN, rest, rnd(sizeof(rest)) + 1, true, false), 0);
}

/* ---- random places ---- */

struct place {
    uint64_t parent, ino;
    uint32_t mode, nlink;
    char name[256];
    size_t len;
};

struct places {
    struct place list[PLACES];
    size_t n;
    uint64_t dirs[DIRS];
    size_t dir_count;
};

static struct places all;

/* In the order of names, not of cookies, which differ from run to run. */
static void look_around(struct vault *v, uint64_t top)
{
    all.n = 0;
    all.dirs[0] = top;
    all.dir_count = 1;
    for (size_t i = 0; i < all.dir_count; i++) {
        struct children c = {0};
        (void)tree_readdir(v, all.dirs[i], 0, dump_collect, &c);
        qsort(c.list, c.n, sizeof(*c.list), dump_order);
        for (size_t k = 0; k < c.n && all.n < PLACES; k++) {
            struct place *p = &all.list[all.n++];
            const struct inode *in = &c.list[k].in;
            *p = (struct place){all.dirs[i], in->ino, in->mode, in->nlink, .len = c.list[k].len};
            memcpy(p->name, c.list[k].name, c.list[k].len);
            if (S_ISDIR(in->mode) && all.dir_count < DIRS)
                all.dirs[all.dir_count++] = in->ino;
        }
        free(c.list);
    }
}

static const struct place *any(bool (*fits)(const struct place *p))
{
    size_t start = all.n ? rnd((uint32_t)all.n) : 0;
    for (size_t i = 0; i < all.n; i++) {
        const struct place *p = &all.list[(start + i) % all.n];
        if (fits(p))
            return p;
    }
    return NULL;
}

static bool is_file(const struct place *p)
{
    return S_ISREG(p->mode);
}
static bool is_dir(const struct place *p)
{
    return S_ISDIR(p->mode);
}
static bool is_any(const struct place *p)
{
    return p != NULL;
}

/* Few names, so that they meet. */
static void random_name(char name[8])
{
    static const char *const names[] = {"a", "b", "c.txt", "d", "e.jpg"};
    strcpy(name, names[rnd(5)]);
}

static uint64_t random_dir(void)
{
    return all.dirs[rnd((uint32_t)all.dir_count)];
}

/* ---- random changes ---- */

static void op_create(struct vault *v)
{
    char name[8];
    struct inode in;
    random_name(name);
    uint64_t dir = random_dir();
    if (tree_mknod(v, dir, name, strlen(name), S_IFREG | 0644, 0, fixture_cred, &in))
        return;
    TRACE("create %llx/%s: %llx", (unsigned long long)dir, name, (unsigned long long)in.ino);
    write_token(v, in.ino);
}

static void op_write(struct vault *v)
{
    const struct place *p = any(is_file);
    if (p)
        write_token(v, p->ino);
}

static void op_mkdir(struct vault *v)
{
    char name[8];
    struct inode in;
    random_name(name);
    uint64_t dir = random_dir();
    if (tree_mkdir(v, dir, name, strlen(name), 0755, fixture_cred, &in) == 0)
        TRACE("mkdir %llx/%s: %llx", (unsigned long long)dir, name, (unsigned long long)in.ino);
}

static void op_unlink(struct vault *v)
{
    const struct place *p = any(is_file);
    struct inode gone;
    if (!p)
        return;
    if (p->nlink == 1)
        supersede(v, p->ino);
    TRACE("unlink %llx/%s: %llx", (unsigned long long)p->parent, p->name,
          (unsigned long long)p->ino);
    CHECK_EQ(tree_unlink(v, p->parent, p->name, p->len, &gone), 0);
    if (gone.nlink == 0)
        CHECK_EQ(tree_reap(v, gone.ino), 0);
}

static void op_rmdir(struct vault *v)
{
    const struct place *p = any(is_dir);
    struct inode gone;
    if (p && tree_rmdir(v, p->parent, p->name, p->len, &gone) == 0) {
        TRACE("rmdir %llx/%s: %llx", (unsigned long long)p->parent, p->name,
              (unsigned long long)p->ino);
        CHECK_EQ(tree_reap(v, gone.ino), 0);
    }
}

static void remove_tree(struct vault *v, uint64_t parent, const char *name, size_t len,
                        uint64_t ino, uint32_t mode)
{
    struct inode gone;
    TRACE("remove %llx/%s: %llx", (unsigned long long)parent, name, (unsigned long long)ino);
    if (!S_ISDIR(mode)) {
        struct inode in;
        if (tree_getattr(v, ino, &in) == 0 && in.nlink == 1 && S_ISREG(mode))
            supersede(v, ino);
        if (tree_unlink(v, parent, name, len, &gone) == 0 && gone.nlink == 0)
            (void)tree_reap(v, gone.ino);
        return;
    }
    struct children c = {0};
    (void)tree_readdir(v, ino, 0, dump_collect, &c);
    for (size_t i = 0; i < c.n; i++)
        remove_tree(v, ino, c.list[i].name, c.list[i].len, c.list[i].in.ino, c.list[i].in.mode);
    free(c.list);
    if (tree_rmdir(v, parent, name, len, &gone) == 0)
        (void)tree_reap(v, gone.ino);
}

static void op_rm_r(struct vault *v)
{
    const struct place *p = any(is_dir);
    if (p)
        remove_tree(v, p->parent, p->name, p->len, p->ino, p->mode);
}

static void op_rename(struct vault *v)
{
    const struct place *p = any(is_any);
    char name[8];
    struct inode gone, there;
    if (!p)
        return;
    random_name(name);
    uint64_t dir = random_dir();
    bool over = tree_lookup(v, dir, name, strlen(name), &there) == 0;
    int token = over && S_ISREG(there.mode) && there.nlink == 1 ? token_of(v, there.ino) : -1;
    unsigned flags = over && rnd(4) == 0 ? RENAME_EXCHANGE : 0;
    if (tree_rename(v, p->parent, p->name, p->len, dir, name, strlen(name), flags, &gone))
        return;
    TRACE("rename %llx/%s: %llx to %llx/%s, flags %u, over %llx", (unsigned long long)p->parent,
          p->name, (unsigned long long)p->ino, (unsigned long long)dir, name, flags,
          over ? (unsigned long long)there.ino : 0ull);
    if (gone.ino && gone.nlink == 0) {
        if (token >= 0)
            superseded[token] = true;
        CHECK_EQ(tree_reap(v, gone.ino), 0);
    }
}

static void op_link(struct vault *v)
{
    const struct place *p = any(is_file);
    char name[8];
    struct inode in;
    random_name(name);
    if (!p)
        return;
    uint64_t dir = random_dir();
    if (tree_link(v, p->ino, dir, name, strlen(name), &in) == 0)
        TRACE("link %llx to %llx/%s", (unsigned long long)p->ino, (unsigned long long)dir, name);
}

static void op_symlink(struct vault *v)
{
    char name[8];
    struct inode in;
    random_name(name);
    (void)tree_symlink(v, random_dir(), name, strlen(name), "some/where", fixture_cred, &in);
}

static void op_chmod(struct vault *v)
{
    const struct place *p = any(is_any);
    struct inode in = {.mode = 0600 + rnd(64)}, out;
    if (p && !S_ISLNK(p->mode))
        CHECK_EQ(tree_setattr(v, p->ino, TREE_MODE, &in, &out), 0);
}

static void op_xattr(struct vault *v)
{
    const struct place *p = any(is_any);
    char value[16];
    snprintf(value, sizeof(value), "%u", rnd(1000));
    if (p)
        (void)tree_setxattr(v, p->ino, rnd(2) ? "user.a" : "user.b", value, strlen(value), 0);
}

static void random_op(struct vault *v, uint64_t top)
{
    static void (*const ops[])(struct vault *) = {
        op_create, op_create, op_create, op_write,   op_write,  op_write,
        op_mkdir,  op_mkdir,  op_unlink, op_rename,  op_rename, op_rename,
        op_rmdir,  op_rm_r,   op_link,   op_symlink, op_chmod,  op_xattr};
    look_around(v, top);
    ops[rnd(sizeof(ops) / sizeof(ops[0]))](v);
}

/* ---- the simulation ---- */

struct searching {
    struct vault *v;
    bool found[TOKENS_MAX];
};

static void find_in(struct searching *s, uint64_t ino)
{
    struct children c = {0};
    (void)tree_readdir(s->v, ino, 0, dump_collect, &c);
    for (size_t i = 0; i < c.n; i++) {
        if (S_ISDIR(c.list[i].in.mode))
            find_in(s, c.list[i].in.ino);
        int t = S_ISREG(c.list[i].in.mode) ? token_of(s->v, c.list[i].in.ino) : -1;
        if (t >= 0 && t < (int)TOKENS_MAX)
            s->found[t] = true;
    }
    free(c.list);
}

static unsigned count_lost(struct vault *v)
{
    static struct searching s;
    unsigned lost = 0;
    memset(&s, 0, sizeof(s));
    s.v = v;
    find_in(&s, INODE_ROOT);
    for (uint32_t t = 0; t < tokens; t++)
        if (!superseded[t] && !s.found[t]) {
            fprintf(stderr, "lost: T%07u\n", t);
            lost++;
        }
    return lost;
}

static bool simulate(struct group *g, unsigned seed)
{
    char name[16];
    struct inode top;
    int err = 0;
    rng = 0x9e3779b97f4a7c15ull * (seed + 1);
    tokens = 0;
    memset(superseded, 0, sizeof(superseded));
    snprintf(name, sizeof(name), "s%u", seed);
    CHECK_EQ(tree_mkdir(g->m[0].d.v, INODE_ROOT, name, strlen(name), 0755, fixture_cred, &top), 0);
    bool ok = group_settle(g);
    unsigned steps = 20 + rnd(120), sync_every = 2 + rnd(12);
    for (size_t i = 0; i < g->n; i++)
        g->m[i].limits.batch_items =
            rnd(3) ? 0 : 1 + rnd(6); /* small batches: half a push is seen, too */
    for (unsigned i = 0; i < steps && ok && !err; i++) {
        acting = rnd((uint32_t)g->n);
        random_op(g->m[acting].d.v, top.ino);
        acting = rnd((uint32_t)g->n);
        if (rnd(sync_every) == 0) {
            TRACE("push");
            err = member_push(&g->m[acting], NULL);
        }
        acting = rnd((uint32_t)g->n);
        if (!err && rnd(sync_every) == 0) {
            TRACE("pull");
            err = member_pull(&g->m[acting], NULL, NULL);
        }
    }
    TRACE("the end");
    ok = ok && !err && group_settle(g);
    if (err)
        fprintf(stderr, "%s\n", err_text(err));
    ok = group_same(g) && ok;
    for (size_t i = 0; i < g->n && ok; i++)
        ok = count_lost(g->m[i].d.v) == 0;
    /* the next one begins with an empty tree */
    remove_tree(g->m[0].d.v, INODE_ROOT, name, strlen(name), top.ino, S_IFDIR);
    struct children c = {0};
    (void)tree_readdir(g->m[0].d.v, INODE_ROOT, 0, dump_collect, &c);
    for (size_t i = 0; i < c.n; i++)
        remove_tree(g->m[0].d.v, INODE_ROOT, c.list[i].name, c.list[i].len, c.list[i].in.ino,
                    c.list[i].in.mode);
    free(c.list);
    if (!ok)
        fprintf(stderr, "seed %u failed (%zu devices): OBSCURAFS_TEST_SEED=%u\n", seed, g->n, seed);
    return ok;
}

static void test_random(void)
{
    const char *only = getenv("OBSCURAFS_TEST_SEED"), *many = getenv("OBSCURAFS_TEST_SEEDS");
    const unsigned first = only ? (unsigned)atoi(only) : 0;
    const unsigned end = only ? first + 1 : many ? (unsigned)atoi(many) : SEEDS;
    struct group g;
    bool open = false;
    for (unsigned seed = first; seed < end; seed++) {
        char name[16];
        if (!open) {
            snprintf(name, sizeof(name), "g%u", seed);
            group_make(&g, (seed / SEEDS_PER_GROUP) % 2 ? 3 : 2, name);
            open = true;
        }
        bool ok = simulate(&g, seed);
        CHECK(ok);
        if (!ok || (seed + 1) % SEEDS_PER_GROUP == 0 || seed + 1 == end) {
            group_free(&g);
            open = false;
        }
    }
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    verbose = getenv("OBSCURAFS_TEST_VERBOSE") != NULL;
    fixture_start();
    test_random();
    fixture_rm(fixture_base);
    return check_done();
}
