/*
 * What a member that went bad may sign, and what histories may not be: batches that break a rule are refused whole and change nothing,
 * and those that contradict are an alarm with a proof that is kept. [merge] [chain]
 */
#include "merge_fixture.h"

#include "sync/ledger.h"

struct scene {
    struct group g;
    struct member *good, *bad;
    struct inode file, dir, below; /* what all have; below is in dir */
    struct extent extent;          /* of the file */
    struct bytes_out before;       /* the tree of the good one */
};

/* A batch of the bad one, as it would come next. */
struct forged {
    struct batch_writer *w;
    struct batch_head head;
    char name[BATCH_NAME_LEN];
};

static void lookup(struct vault *v, uint64_t parent, const char *name, struct inode *out)
{
    CHECK_EQ(tree_lookup(v, parent, name, strlen(name), out), 0);
}

static void scene_make(struct scene *s, const char *name)
{
    struct map_row row;
    size_t n;
    memset(s, 0, sizeof(*s));
    group_make(&s->g, 2, name);
    s->good = &s->g.m[0];
    s->bad = &s->g.m[1];
    struct vault *v = s->good->d.v;
    make_file(v, INODE_ROOT, "file", "what it holds", 13);
    make_dir(v, make_dir(v, INODE_ROOT, "dir"), "below");
    CHECK(group_settle(&s->g));
    make_file(s->bad->d.v, INODE_ROOT, "of the other", "x", 1);
    CHECK(group_settle(&s->g) && group_same(&s->g));
    lookup(v, INODE_ROOT, "file", &s->file);
    lookup(v, INODE_ROOT, "dir", &s->dir);
    lookup(v, s->dir.ino, "below", &s->below);
    index_lock(vault_index(v));
    CHECK_EQ(index_map_get(vault_index(v), s->file.ino, 0, 13, &row, &s->extent, 1, &n), 0);
    index_unlock(vault_index(v));
    dump_tree(v, &s->before);
}

static void scene_free(struct scene *s)
{
    bytes_out_release(&s->before);
    group_free(&s->g);
}

static void forge_begin(struct scene *s, struct forged *f)
{
    struct vault *v = s->good->d.v;
    struct ledger_head head;
    uint64_t clock;
    memset(f, 0, sizeof(*f));
    f->w = batch_writer_new();
    index_lock(vault_index(v));
    CHECK_EQ(ledger_head_get(vault_index(v), s->bad->tag, &head), 0);
    CHECK_EQ(ledger_clock_get(vault_index(v), &clock), 0);
    index_unlock(vault_index(v));
    memcpy(f->head.vault_id, s->g.vault_id, 32);
    memcpy(f->head.device_key, sign_keys_public(s->bad->keys), 32);
    memcpy(f->head.prev, head.hash, 32);
    roster_hash(s->g.roster, f->head.roster);
    f->head.seq = head.seq + 1;
    f->head.epoch = 1;
    f->head.lamport = clock + 1;
    batch_name(roster_by_tag(s->g.roster, s->bad->tag)->store_name, f->head.seq, f->name);
}

/* Puts it on the store; the good one pulls; it is taken away again. What the pull returns. */
static int forge_end(struct scene *s, struct forged *f, char *why)
{
    struct bytes_out out;
    bytes_out_init(&out);
    CHECK_EQ(batch_finish(f->w, &f->head, s->g.epoch_key, f->name, s->bad->keys, &out), 0);
    CHECK_EQ(store_put(s->good->store, f->name, out.p, out.len), 0);
    int err = member_pull(s->good, NULL, why);
    CHECK_EQ(store_delete(s->good->store, f->name), 0);
    bytes_out_release(&out);
    batch_writer_free(f->w);
    return err;
}

static bool unchanged(struct scene *s)
{
    struct bytes_out now;
    dump_tree(s->good->d.v, &now);
    bool same = now.len == s->before.len && memcmp(now.p, s->before.p, now.len) == 0;
    bytes_out_release(&now);
    return same;
}

/* A harmless record first: it must not be taken over either. */
static void put_harmless(struct scene *s, struct forged *f)
{
    struct batch_record r = {.kind = BATCH_ATTR, .base = s->file.attr_version};
    r.u.attr.inode = s->file;
    r.u.attr.inode.mode = S_IFREG | 0777;
    CHECK_EQ(batch_write(f->w, &r), 0);
}

static void refused(struct scene *s, const struct batch_record *r, const char *what)
{
    struct forged f;
    char why[200] = "";
    forge_begin(s, &f);
    put_harmless(s, &f);
    CHECK_EQ(batch_write(f.w, r), 0);
    int err = forge_end(s, &f, why);
    if (err != ERR_FORMAT || !unchanged(s)) {
        fprintf(stderr, "%s: %s (%s)\n", what, err_text(err), why);
        CHECK(false);
    }
    CHECK(strstr(why, "no honest device") != NULL);
}

static void test_types(struct scene *s)
{
    struct batch_record r = {.kind = BATCH_ATTR, .base = s->file.attr_version};
    r.u.attr.inode = s->file;
    r.u.attr.inode.mode = S_IFDIR | 0755;
    refused(s, &r, "a file becomes a folder");

    r = (struct batch_record){.kind = BATCH_CONTENT};
    r.u.content.ino = s->dir.ino;
    r.u.content.whole = true;
    r.u.content.name = "";
    refused(s, &r, "a folder with content");

    r = (struct batch_record){.kind = BATCH_ENTRY};
    r.u.entry.parent = s->file.ino;
    r.u.entry.ino = s->below.ino;
    r.u.entry.type = S_IFDIR;
    r.u.entry.name = "x";
    r.u.entry.name_len = 1;
    refused(s, &r, "a name in a file");

    r.u.entry.parent = INODE_ROOT;
    r.u.entry.ino = s->file.ino;
    refused(s, &r, "an entry of another type than its inode");
}

/* An extent that is known is the same wherever it is named. */
static void test_extent(struct scene *s)
{
    for (int i = 0; i < 2; i++) {
        struct forged f;
        struct batch_range range = {.len = 13, .extent_len = 13, .epoch = 1, .pack_off = 40};
        struct batch_record r = {.kind = BATCH_CONTENT, .base = s->file.content_version};
        const uint8_t pack[32] = {1};
        memcpy(range.id, s->extent.id, sizeof(range.id));
        *(i ? &range.epoch : &range.extent_len) += 1;
        r.u.content.ino = s->file.ino;
        r.u.content.size = 13;
        r.u.content.whole = true;
        r.u.content.name = "";
        r.u.content.ranges = &range;
        r.u.content.range_count = 1;
        forge_begin(s, &f);
        CHECK_EQ(batch_write_pack(f.w, pack, 4096, &range.pack), 0);
        CHECK_EQ(batch_write(f.w, &r), 0);
        CHECK_EQ(forge_end(s, &f, NULL), ERR_FORMAT);
        CHECK(unchanged(s));
    }
}

/* A clock of the far future would win every conflict from now on (A35). */
static void test_clock(struct scene *s)
{
    static const uint64_t jumps[] = {(UINT64_C(1) << 32) + 1, INT64_MAX / 2};
    for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
        struct forged f;
        forge_begin(s, &f);
        put_harmless(s, &f);
        f.head.lamport += jumps[i];
        CHECK_EQ(forge_end(s, &f, NULL), ERR_FORMAT);
        CHECK(unchanged(s));
    }
}

/* It names what nobody has shown us: not yet, and no alarm. */
static void test_waits(struct scene *s)
{
    struct forged f;
    struct batch_head_ref ref = {.device = 77, .seq = 5, .hash = {9}};
    forge_begin(s, &f);
    put_harmless(s, &f);
    f.head.refs = &ref;
    f.head.ref_count = 1;
    CHECK_EQ(forge_end(s, &f, NULL), ERR_BEHIND);
    CHECK(unchanged(s));
}

static int count_each(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    *(size_t *)ctx += len > 32;
    return 0;
}

static void alarmed(struct scene *s, struct forged *f, const char *what)
{
    struct index *ix = vault_index(s->good->d.v);
    char why[200] = "";
    size_t proofs = 0;
    put_harmless(s, f);
    int err = forge_end(s, f, why);
    if (err != ERR_CONTRADICTION || !unchanged(s)) {
        fprintf(stderr, "%s: %s (%s)\n", what, err_text(err), why);
        CHECK(false);
    }
    index_lock(ix);
    CHECK_EQ(index_kv_scan(ix, "proof", NULL, 0, count_each, &proofs), 0);
    index_unlock(ix);
    CHECK(proofs >= 1 && strstr(why, "proof kept") != NULL);
}

static void test_contradictions(struct scene *s)
{
    struct ledger_head mine;
    struct batch_head_ref ref = {.device = s->good->tag};
    struct forged f;
    index_lock(vault_index(s->good->d.v));
    CHECK_EQ(ledger_head_get(vault_index(s->good->d.v), s->good->tag, &mine), 0);
    index_unlock(vault_index(s->good->d.v));

    forge_begin(s, &f);
    f.head.prev[0] ^= 1;
    alarmed(s, &f, "two histories of one device");

    /* What the store showed the other one of us is not what we wrote. */
    ref.seq = mine.seq;
    memcpy(ref.hash, mine.hash, 32);
    ref.hash[31] ^= 1;
    forge_begin(s, &f);
    f.head.refs = &ref;
    f.head.ref_count = 1;
    alarmed(s, &f, "another batch of ours than ours");

    ref.seq = mine.seq + 1;
    forge_begin(s, &f);
    f.head.refs = &ref;
    f.head.ref_count = 1;
    alarmed(s, &f, "more of ours than we know");

    /* The same vector, told right, is fine. */
    ref.seq = mine.seq;
    memcpy(ref.hash, mine.hash, 32);
    forge_begin(s, &f);
    f.head.refs = &ref;
    f.head.ref_count = 1;
    put_harmless(s, &f);
    CHECK_EQ(forge_end(s, &f, NULL), 0);
    CHECK(!unchanged(s));
}

/* A folder into itself: the tree stays one. */
static void test_cycle(void)
{
    struct scene s;
    struct forged f;
    struct inode at;
    struct batch_record r = {.kind = BATCH_ENTRY};
    scene_make(&s, "cycle");
    forge_begin(&s, &f);
    r.u.entry.parent = s.below.ino;
    r.u.entry.ino = s.dir.ino;
    r.u.entry.type = S_IFDIR;
    r.u.entry.name = "dir";
    r.u.entry.name_len = 3;
    CHECK_EQ(batch_write(f.w, &r), 0);
    struct index *ix = vault_index(s.good->d.v);
    struct entry e;
    index_lock(ix);
    CHECK_EQ(index_entry_get(ix, INODE_ROOT, "dir", 3, &e), 0);
    index_unlock(ix);
    r.base = e.version;
    r.u.entry.parent = INODE_ROOT;
    r.u.entry.ino = 0;
    r.u.entry.type = 0;
    CHECK_EQ(batch_write(f.w, &r), 0);
    CHECK_EQ(forge_end(&s, &f, NULL), 0);
    lookup(s.good->d.v, INODE_ROOT, "dir", &at);
    CHECK_EQ(at.ino, s.dir.ino);
    lookup(s.good->d.v, s.dir.ino, "below", &at);
    CHECK_EQ(at.ino, s.below.ino);
    const struct check_options o = {.references_only = true};
    struct check_result result;
    CHECK(check_vault(s.good->d.v, &o, &result) == 0 && result.problems == 0);
    scene_free(&s);
}

int main(void)
{
    struct scene s;
    log_set_level(LOG_LEVEL_ERROR);
    fixture_start();
    scene_make(&s, "hostile");
    test_types(&s);
    test_extent(&s);
    test_clock(&s);
    test_waits(&s);
    test_contradictions(&s);
    scene_free(&s);
    test_cycle();
    fixture_rm(fixture_base);
    return check_done();
}
