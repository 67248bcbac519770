/*
 * Several devices make the same folders at the same time: in the end each path is one folder, with what all of them put into it, the same on
 * all devices and whatever the order in which they met.
 *
 * OBSCURAFS_TEST_SEEDS=n runs n seeds instead of a few, OBSCURAFS_TEST_SEED=k only that one.
 */
#include "merge_fixture.h"

#define SEEDS     6u
#define ORDERS    3u
#define FILES_MAX 400u
#define DEPTH     3u

static uint64_t rng;

static uint32_t rnd(uint32_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)((rng >> 16) % n);
}

/* What was written: where, and by nobody else. */
struct written {
    char path[DEPTH * 2 + 2]; /* of the folder: "/a/b" */
    uint32_t device;
};
static struct written files[FILES_MAX];
static uint32_t file_count;

/* The folder of that name, made if it is not there. */
static uint64_t enter(struct vault *v, uint64_t dir, const char *name)
{
    struct inode in;
    if (tree_lookup(v, dir, name, strlen(name), &in) == 0)
        return in.ino;
    return tree_mkdir(v, dir, name, strlen(name), 0755, fixture_cred, &in) == 0 ? in.ino : 0;
}

/* A path of one to three folders, and perhaps a file in it: one with a name of its own, or one that others may make, too. */
static void make_path(struct group *g, uint32_t device)
{
    static const char *const names[] = {"a", "b", "c"};
    struct vault *v = g->m[device].d.v;
    struct written *w = &files[file_count];
    uint64_t dir = INODE_ROOT;
    char name[16], text[16];
    w->path[0] = '\0';
    for (uint32_t depth = 1 + rnd(DEPTH); depth > 0 && dir; depth--) {
        const char *part = names[rnd(3)];
        strcat(strcat(w->path, "/"), part);
        dir = enter(v, dir, part);
    }
    CHECK(dir != 0);
    if (!dir || rnd(3) == 0 || file_count == FILES_MAX)
        return;
    snprintf(text, sizeof(text), "F%u", file_count);
    if (rnd(2))
        strcpy(name, "same.txt");
    else
        strcpy(name, text);
    struct inode in;
    if (tree_lookup(v, dir, name, strlen(name), &in) == 0)
        return; /* seen: not concurrent */
    w->device = device;
    file_count += make_file(v, dir, name, text, strlen(text)) != 0;
}

/* ---- what is there in the end ---- */

struct seen {
    struct vault *v;
    bool found[FILES_MAX]; /* where it was written */
    unsigned odd_folders, odd_files;
    struct bytes_out paths;
};

static void look(struct seen *s, const char *path, const struct child *c)
{
    char text[16] = "";
    size_t got = 0;
    unsigned n;
    if (data_read(s->v, c->in.ino, 0, (uint8_t *)text, sizeof(text) - 1, &got, NULL) ||
        sscanf(text, "F%u", &n) != 1 || n >= file_count)
        return;
    s->found[n] |= strcmp(path, files[n].path) == 0;
    s->odd_files += c->in.nlink != 1;
}

static void walk(struct seen *s, uint64_t dir, const char *path)
{
    struct children c = {0};
    (void)tree_readdir(s->v, dir, 0, dump_collect, &c);
    if (c.n)
        qsort(c.list, c.n, sizeof(*c.list), dump_order);
    for (size_t i = 0; i < c.n; i++) {
        char below[600];
        snprintf(below, sizeof(below), "%s/%s", path, c.list[i].name);
        if (!S_ISDIR(c.list[i].in.mode)) {
            look(s, path, &c.list[i]);
            continue;
        }
        bytes_put(&s->paths, below, strlen(below));
        bytes_put_u64(&s->paths, c.list[i].in.ino);
        s->odd_folders += c.list[i].len != 1;
        walk(s, c.list[i].in.ino, below);
    }
    free(c.list);
}

/* Checks one device's tree; ${paths} gets its folders with their inode numbers. ${one_name}: files shall have one name only; those who decide
 * about a name at different times can leave a file with both. */
static bool complete(struct vault *v, struct bytes_out *paths, bool one_name)
{
    static struct seen s;
    unsigned lost = 0;
    memset(&s, 0, sizeof(s));
    s.v = v;
    bytes_out_init(&s.paths);
    walk(&s, INODE_ROOT, "");
    for (uint32_t i = 0; i < file_count; i++)
        if (!s.found[i]) {
            fprintf(stderr, "F%u of device %u is not in %s\n", i, files[i].device, files[i].path);
            lost++;
        }
    if (s.odd_folders)
        fprintf(stderr, "%u folders beside each other\n", s.odd_folders);
    if (s.odd_files && one_name)
        fprintf(stderr, "%u names of files with several names\n", s.odd_files);
    *paths = s.paths;
    return lost == 0 && s.odd_folders == 0 && !(one_name && s.odd_files);
}

/* ---- the runs ---- */

/* Nobody hears of the others until all have made theirs. Then they meet in the given order. */
static bool meet_in_order(unsigned seed, size_t devices, unsigned order, struct bytes_out *paths)
{
    struct group g;
    char name[32];
    bool ok = true;
    rng = 0x9e3779b97f4a7c15ull * (seed + 1);
    file_count = 0;
    snprintf(name, sizeof(name), "o%u-%u", seed, order);
    group_make(&g, devices, name);
    ok = group_settle(&g);
    for (unsigned i = 0; i < 25 * devices; i++)
        make_path(&g, rnd((uint32_t)devices));
    for (size_t i = 0; i < devices && ok; i++)
        ok = member_push(&g.m[(i + order) % devices], NULL) == 0;
    rng += order;
    for (unsigned i = 0; i < 2 * devices && ok;
         i++) { /* some hear of all, some go on for a while */
        const uint32_t who = rnd((uint32_t)devices);
        ok = member_pull(&g.m[who], NULL, NULL) == 0 &&
             (rnd(2) || member_push(&g.m[who], NULL) == 0);
    }
    ok = ok && group_settle(&g);
    ok = group_same(&g) && ok;
    ok = complete(g.m[0].d.v, paths, true) && ok;
    group_free(&g);
    return ok;
}

static void test_orders(unsigned seed, size_t devices)
{
    struct bytes_out first, other;
    bool ok = meet_in_order(seed, devices, 0, &first);
    for (unsigned order = 1; order < ORDERS && ok; order++) {
        ok = meet_in_order(seed, devices, order, &other);
        /* the same folders; the files were looked for in them. Which of two of one name keeps it may differ. */
        ok = ok && first.len == other.len && memcmp(first.p, other.p, first.len) == 0;
        bytes_out_release(&other);
    }
    bytes_out_release(&first);
    CHECK(ok);
    if (!ok)
        fprintf(stderr, "seed %u failed (%zu devices): OBSCURAFS_TEST_SEED=%u\n", seed, devices,
                seed);
}

/* They push and pull all the time, with parts of what they did, also while others merge. */
static void test_mixed(unsigned seed, size_t devices)
{
    struct group g;
    struct bytes_out paths;
    char name[32];
    rng = 0xd1342543de82ef95ull * (seed + 1);
    file_count = 0;
    snprintf(name, sizeof(name), "m%u", seed);
    group_make(&g, devices, name);
    bool ok = group_settle(&g);
    for (size_t i = 0; i < devices; i++)
        g.m[i].limits.batch_items = rnd(2) ? 0 : 1 + rnd(6);
    for (unsigned i = 0; i < 60 * devices && ok; i++) {
        const uint32_t who = rnd((uint32_t)devices);
        make_path(&g, rnd((uint32_t)devices));
        if (rnd(6) == 0)
            ok = member_push(&g.m[who], NULL) == 0;
        if (rnd(9) == 0 && ok)
            ok = member_pull(&g.m[who], NULL, NULL) == 0;
    }
    ok = ok && group_settle(&g);
    ok = group_same(&g) && ok;
    ok = complete(g.m[0].d.v, &paths, false) && ok;
    bytes_out_release(&paths);
    group_free(&g);
    CHECK(ok);
    if (!ok)
        fprintf(stderr, "seed %u failed (%zu devices): OBSCURAFS_TEST_SEED=%u\n", seed, devices,
                seed);
}

int main(void)
{
    const char *only = getenv("OBSCURAFS_TEST_SEED"), *many = getenv("OBSCURAFS_TEST_SEEDS");
    const unsigned first = only ? (unsigned)atoi(only) : 0;
    const unsigned end = only ? first + 1 : many ? (unsigned)atoi(many) : SEEDS;
    log_set_level(LOG_LEVEL_ERROR);
    fixture_start();
    for (unsigned seed = first; seed < end; seed++) {
        test_orders(seed, 2 + seed % 3);
        test_mixed(seed, 2 + seed % 3);
    }
    fixture_rm(fixture_base);
    return check_done();
}
