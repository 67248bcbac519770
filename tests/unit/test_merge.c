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
        if (c.n)
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

/* ---- one by one ---- */

static struct group two;

static struct vault *dev(size_t i)
{
    return two.m[i].d.v;
}

static uint64_t ino_of(struct vault *v, uint64_t parent, const char *name)
{
    struct inode in;
    return tree_lookup(v, parent, name, strlen(name), &in) ? 0 : in.ino;
}

/* Neither has seen the other's changes; each publishes its own, then they meet. */
static void meet(void)
{
    CHECK_EQ(member_push(&two.m[0], NULL), 0);
    CHECK_EQ(member_push(&two.m[1], NULL), 0);
    CHECK(group_settle(&two));
    CHECK(group_same(&two));
}

struct counting {
    const char *part;
    unsigned n;
    char name[256];
};

static int count_name(void *ctx, const char *name, size_t len, uint64_t cookie,
                      const struct inode *in)
{
    struct counting *c = ctx;
    if (len >= strlen(c->part) && memmem(name, len, c->part, strlen(c->part))) {
        c->n++;
        memcpy(c->name, name, len);
        c->name[len] = '\0';
    }
    return 0;
}

static struct counting named(uint64_t dir, const char *part)
{
    struct counting c = {.part = part};
    CHECK_EQ(tree_readdir(dev(0), dir, 0, count_name, &c), 0);
    return c;
}

static void put(size_t i, uint64_t ino, const char *text)
{
    CHECK_EQ(data_write(dev(i), ino, 0, (const uint8_t *)text, strlen(text), true, false), 0);
}

static bool holds(uint64_t ino, const char *text)
{
    char have[64];
    size_t got;
    return data_read(dev(0), ino, 0, (uint8_t *)have, sizeof(have), &got, NULL) == 0 &&
           got == strlen(text) && memcmp(have, text, got) == 0;
}

/* Two edits of one file: one keeps the name, the other is beside it, named after its device. */
static void test_both_edited(void)
{
    uint64_t ino = make_file(dev(0), INODE_ROOT, "letter.txt", "old!", 4);
    CHECK(group_settle(&two));
    put(0, ino, "mine");
    put(1, ino, "your");
    meet();
    struct counting c = named(INODE_ROOT, "letter (conflict, dev0, ");
    CHECK_EQ(c.n, 1); /* of the same Lamport time: the higher device number is later */
    CHECK(strcmp(c.name + strlen(c.name) - 5, ").txt") == 0);
    CHECK(holds(ino, "your"));
    CHECK(holds(ino_of(dev(0), INODE_ROOT, c.name), "mine"));
}

/* A file that one deletes and the other changes stays, changed. */
static void test_edit_beats_delete(void)
{
    struct inode gone;
    uint64_t ino = make_file(dev(0), INODE_ROOT, "kept", "old", 3);
    CHECK(group_settle(&two));
    CHECK_EQ(tree_unlink(dev(0), INODE_ROOT, "kept", 4, &gone), 0);
    CHECK_EQ(tree_reap(dev(0), ino), 0);
    put(1, ino, "new");
    meet();
    CHECK_EQ(ino_of(dev(0), INODE_ROOT, "kept"), ino);
    CHECK(holds(ino, "new"));
}

/* What is to be published again is written to, and no time tells it (the kernel sends times later): a change all the same. */
static void test_write_to_republished(void)
{
    struct inode gone, in;
    uint64_t ino = make_file(dev(0), INODE_ROOT, "again", "old", 3);
    CHECK(group_settle(&two));
    CHECK_EQ(tree_unlink(dev(0), INODE_ROOT, "again", 5, &gone), 0);
    CHECK_EQ(tree_reap(dev(0), ino), 0);
    put(1, ino, "one");
    CHECK_EQ(member_push(&two.m[1], NULL), 0);
    CHECK_EQ(member_push(&two.m[0], NULL), 0);
    CHECK_EQ(member_pull(&two.m[1], NULL, NULL), 0); /* it stays, and is to be published again */
    CHECK_EQ(tree_getattr(dev(1), ino, &in), 0);
    CHECK(in.dirty & DIRTY_AGAIN);
    CHECK_EQ(data_write(dev(1), ino, 0, (const uint8_t *)"two", 3, false, false), 0);
    CHECK_EQ(tree_getattr(dev(1), ino, &in), 0);
    CHECK(!(in.dirty & DIRTY_AGAIN));
    CHECK_EQ(member_pull(&two.m[0], NULL, NULL), 0);
    make_file(dev(0), INODE_ROOT, "unrelated", "x", 1);
    meet();
    CHECK(holds(ino, "two"));
}

/* A chmod there and a write here: both stay. */
static void test_chmod_and_write(void)
{
    struct inode in = {.mode = 0600}, out;
    uint64_t ino = make_file(dev(0), INODE_ROOT, "modes", "old", 3);
    CHECK(group_settle(&two));
    CHECK_EQ(tree_setattr(dev(0), ino, TREE_MODE, &in, &out), 0);
    put(1, ino, "new");
    CHECK_EQ(member_push(&two.m[0], NULL), 0);
    CHECK_EQ(member_pull(&two.m[1], NULL, NULL), 0);
    meet();
    CHECK_EQ(tree_getattr(dev(0), ino, &out), 0);
    CHECK_EQ(out.mode & 07777, 0600);
    CHECK(holds(ino, "new"));
}

/* What is made in a folder that the other deletes brings the folder back. */
static void test_child_brings_back(void)
{
    uint64_t dir = make_dir(dev(0), INODE_ROOT, "folder");
    uint64_t sub = make_dir(dev(0), dir, "sub");
    CHECK(group_settle(&two));
    remove_tree(dev(0), INODE_ROOT, "folder", 6, dir, S_IFDIR);
    uint64_t ino = make_file(dev(1), sub, "child", "here", 4);
    meet();
    CHECK_EQ(ino_of(dev(0), INODE_ROOT, "folder"), dir);
    CHECK_EQ(ino_of(dev(0), dir, "sub"), sub);
    CHECK_EQ(ino_of(dev(0), sub, "child"), ino);
    CHECK(holds(ino, "here"));
}

/* Each moves the other's folder into its own: no cycle, nothing is unreachable. */
static void test_cycle(void)
{
    struct inode gone;
    uint64_t x = make_dir(dev(0), INODE_ROOT, "x"), y = make_dir(dev(0), INODE_ROOT, "y");
    make_file(dev(0), x, "in x", "x", 1);
    CHECK(group_settle(&two));
    CHECK_EQ(tree_rename(dev(0), INODE_ROOT, "x", 1, y, "x", 1, 0, &gone), 0);
    CHECK_EQ(tree_rename(dev(1), INODE_ROOT, "y", 1, x, "y", 1, 0, &gone), 0);
    meet();
    struct inode in;
    CHECK_EQ(tree_getattr(dev(0), x, &in), 0);
    CHECK(in.nlink >= 2);
    CHECK_EQ(tree_getattr(dev(0), y, &in), 0);
    CHECK(in.nlink >= 2);
    CHECK(ino_of(dev(0), x, "in x") != 0);
}

/* Two new files of one name, and two new folders. */
static void test_same_name(void)
{
    uint64_t a = make_file(dev(0), INODE_ROOT, "same", "aa", 2),
             b = make_file(dev(1), INODE_ROOT, "same", "bb", 2);
    uint64_t c = make_dir(dev(0), INODE_ROOT, "dirs"), d = make_dir(dev(1), INODE_ROOT, "dirs");
    make_file(dev(0), c, "1", "1", 1);
    make_file(dev(1), d, "2", "2", 1);
    meet();
    CHECK(holds(a, "aa") && holds(b, "bb"));
    CHECK_EQ(named(INODE_ROOT, "same").n, 2);
    CHECK_EQ(named(INODE_ROOT, "dirs").n, 1);
    const uint64_t both = c < d ? c : d;
    struct inode in;
    CHECK_EQ(ino_of(dev(0), INODE_ROOT, "dirs"), both);
    CHECK(ino_of(dev(0), both, "1") && ino_of(dev(0), both, "2"));
    CHECK_EQ(tree_getattr(dev(0), c < d ? d : c, &in), ERR_NOENT);
    CHECK_EQ(tree_getattr(dev(1), c < d ? d : c, &in), ERR_NOENT);
}

#define ROWS  400u /* more than are sent whole each time */
#define ROW   64u
#define PATCH 100u

static uint64_t make_rows(const char *name)
{
    uint8_t block[ROW];
    uint64_t ino = make_file(dev(0), INODE_ROOT, name, "", 0);
    for (unsigned i = 0; i < ROWS; i++) {
        memset(block, 'a' + (int)(i % 20), sizeof(block));
        CHECK_EQ(data_write(dev(0), ino, (uint64_t)i * 2 * ROW, block, ROW, true, false), 0);
    }
    return ino;
}

/* How many files of that name's kind have ${text} at ${off}. */
static unsigned patched(const char *part, uint64_t off, const char *text, uint64_t other_off,
                        const char *other)
{
    struct children c = {0};
    unsigned n = 0;
    (void)tree_readdir(dev(0), INODE_ROOT, 0, dump_collect, &c);
    for (size_t i = 0; i < c.n; i++) {
        uint8_t have[8], there[8];
        size_t got;
        if (!strstr(c.list[i].name, part))
            continue;
        CHECK_EQ(data_read(dev(0), c.list[i].in.ino, off, have, strlen(text), &got, NULL), 0);
        CHECK_EQ(data_read(dev(0), c.list[i].in.ino, other_off, there, strlen(other), &got, NULL),
                 0);
        const bool one = memcmp(have, text, strlen(text)) == 0,
                   two_of = memcmp(there, other, strlen(other)) == 0;
        CHECK(!(one && two_of)); /* no mixtures */
        n += one;
    }
    free(c.list);
    return n;
}

/* Of a long map only changes are sent. Two that do not fit are never mixed; both files are there in the end. */
static void test_deltas(void)
{
    uint64_t ino = make_rows("long.bin");
    CHECK(group_settle(&two));
    CHECK_EQ(data_write(dev(0), ino, 0, (const uint8_t *)"ONE", 3, true, false), 0);
    CHECK_EQ(data_write(dev(1), ino, PATCH * 2 * ROW, (const uint8_t *)"TWO", 3, true, false), 0);
    meet();
    CHECK_EQ(patched("long", 0, "ONE", PATCH * 2 * ROW, "TWO"), 1);
    CHECK_EQ(patched("long", PATCH * 2 * ROW, "TWO", 0, "ONE"), 1);
    /* one that is not published yet meets one that is */
    ino = make_rows("later.bin");
    CHECK(group_settle(&two));
    CHECK_EQ(data_write(dev(0), ino, 0, (const uint8_t *)"ONE", 3, true, false), 0);
    CHECK_EQ(data_write(dev(1), ino, PATCH * 2 * ROW, (const uint8_t *)"TWO", 3, true, false), 0);
    CHECK_EQ(member_push(&two.m[0], NULL), 0);
    CHECK_EQ(member_pull(&two.m[1], NULL, NULL), 0);
    CHECK(group_settle(&two));
    CHECK(group_same(&two));
    CHECK_EQ(patched("later", 0, "ONE", PATCH * 2 * ROW, "TWO"), 1);
    CHECK_EQ(patched("later", PATCH * 2 * ROW, "TWO", 0, "ONE"), 1);
    /* and when nobody is in the way a delta is applied as it is */
    ino = make_rows("plain.bin");
    CHECK(group_settle(&two));
    CHECK_EQ(data_write(dev(1), ino, PATCH * 2 * ROW, (const uint8_t *)"TWO", 3, true, false), 0);
    meet();
    CHECK_EQ(patched("plain", PATCH * 2 * ROW, "TWO", 0, "ONE"), 1);
    CHECK_EQ(named(INODE_ROOT, "plain").n, 1);
}

static void test_cases(void)
{
    group_make(&two, 2, "two");
    CHECK(group_settle(&two));
    test_both_edited();
    test_edit_beats_delete();
    test_write_to_republished();
    test_chmod_and_write();
    test_child_brings_back();
    test_cycle();
    test_same_name();
    test_deltas();
    group_free(&two);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    verbose = getenv("OBSCURAFS_TEST_VERBOSE") != NULL;
    fixture_start();
    test_cases();
    test_random();
    fixture_rm(fixture_base);
    return check_done();
}
