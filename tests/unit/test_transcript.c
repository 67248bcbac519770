/*
 * What a store can see: the requests that it gets, with names and sizes, are the same whatever is in the files (no compression, A21; no
 * deduplication, A22; no cuts that content decides, A23), whatever their names are (A24), and whichever check an object of the store fails
 * (A25), so that neither answers a question about a plaintext or a key.
 */
#include "merge_fixture.h"
#include "store_watch.h"

#include "sync/keybox.h"
#include "sync/ledger.h"

#include <sys/inotify.h>

/* ---- what is in the files ---- */

#define LEN 300000u

typedef void filler(uint8_t *p, size_t len, unsigned file);

struct look {
    const char *what, *names[3];
    filler *fill;
};

static void fill_noise(uint8_t *p, size_t len, unsigned file)
{
    secret_random(p, len);
}

static void fill_zeroes(uint8_t *p, size_t len, unsigned file)
{
    memset(p, 0, len);
}

static void fill_text(uint8_t *p, size_t len, unsigned file)
{
    static const char text[] = "the quick brown fox jumps over the lazy dog; ";
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)text[i % (sizeof(text) - 1)];
}

/* A secret, and beside it what somebody who wants to know it had sent: right, or wrong. */
static void fill_guess(uint8_t *p, size_t len, const char *guess)
{
    fill_text(p, len, 0);
    for (size_t i = 0; i + 64 < len; i += 64)
        memcpy(p + i, guess, strlen(guess));
}

static void fill_right(uint8_t *p, size_t len, unsigned file)
{
    fill_guess(p, len, "password=correct-horse-battery");
}

static void fill_wrong(uint8_t *p, size_t len, unsigned file)
{
    fill_guess(p, len, file ? "password=something-elsewhere!!" : "password=correct-horse-battery");
}

static uint8_t known[LEN + 3];

/* The same file three times; the same moved by a byte each time, which a chunker that looks at content would find again. */
static void fill_known(uint8_t *p, size_t len, unsigned file)
{
    memcpy(p, known, len);
}

static void fill_shifted(uint8_t *p, size_t len, unsigned file)
{
    memcpy(p, known + file, len);
}

static void edit(struct vault *v, uint64_t ino, const uint8_t *p)
{
    CHECK_EQ(data_write(v, ino, 100000, p + 100000, 4096, true, false), 0);
}

/* What the store sees of three files, of an edit that changes nothing or everything, and of a look for news. */
static void record_upload(const struct look *l, bool same_again, struct bytes_out *record)
{
    struct group g;
    struct watch_world world;
    struct watch_store watch;
    uint64_t ino[3];
    uint8_t *p = malloc(LEN), *q = malloc(LEN);
    CHECK(p && q);
    group_make(&g, 1, "upload");
    watch_world_init(&world, 1);
    bytes_out_init(record);
    watch_init(&watch, g.m[0].store, &world, record);
    g.m[0].handle.store = &watch.s;
    g.m[0].limits.workers = 1;
    struct vault *v = g.m[0].d.v;
    uint64_t dirs[3] = {make_dir(v, INODE_ROOT, "d"), make_dir(v, INODE_ROOT, "e"), INODE_ROOT};
    for (unsigned i = 0; i < 3; i++) {
        l->fill(p, LEN, i);
        ino[i] = make_file(v, dirs[i], l->names[i], p, LEN);
        CHECK_EQ(member_push(&g.m[0], NULL), 0);
        if (i == 0)
            memcpy(q, p, LEN);
    }
    if (!same_again)
        fill_noise(q, LEN, 0);
    edit(v, ino[0], q);
    CHECK_EQ(member_push(&g.m[0], NULL), 0);
    CHECK_EQ(member_pull(&g.m[0], NULL, NULL), 0);
    g.m[0].handle.store = g.m[0].store;
    watch_world_free(&world);
    group_free(&g);
    free(p);
    free(q);
}

static bool alike(const struct bytes_out *a, const struct bytes_out *b)
{
    return a->len == b->len && memcmp(a->p, b->p, a->len) == 0;
}

static void compare(const char *what, const struct bytes_out *want, const struct bytes_out *got)
{
    if (!alike(want, got))
        fprintf(stderr, "%s:\n%.*s---- instead of\n%.*s----\n", what, (int)got->len,
                (const char *)got->p, (int)want->len, (const char *)want->p);
    CHECK(alike(want, got));
}

static void test_content(void)
{
    static const struct look looks[] = {
        {"noise", {"x", "y", "z"}, fill_noise},
        {"zeroes", {"x", "y", "z"}, fill_zeroes},
        {"text", {"x", "y", "z"}, fill_text},
        {"a right guess beside a secret", {"x", "y", "z"}, fill_right},
        {"a wrong guess beside a secret", {"x", "y", "z"}, fill_wrong},
        {"one file three times", {"x", "y", "z"}, fill_known},
        {"one file, moved by a byte", {"x", "y", "z"}, fill_shifted},
        {"equal names", {"same name", "same name", "same name"}, fill_noise},
        {"longer names",
         {"a rather long name of a photo taken in the evening.jpg", "y", "z"},
         fill_noise},
    };
    struct bytes_out want, got;
    secret_random(known, sizeof(known));
    record_upload(&looks[0], false, &want);
    CHECK(memmem(want.p, want.len, "put packs/*/*", 13) &&
          memmem(want.p, want.len, "put journal/*/", 14));
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        record_upload(&looks[i], i & 1, &got);
        compare(looks[i].what, &want, &got);
        bytes_out_release(&got);
    }
    bytes_out_release(&want);
}

/* ---- batches that fail a check ---- */

struct scene {
    struct group g;
    struct watch_world world;
    struct watch_store watch;
    struct bytes_out record;
    struct member *good, *bad;
    struct ledger_head last; /* of the bad one, as the good one knows it */
    uint64_t clock;
    char name[BATCH_NAME_LEN];
};

static void scene_make(struct scene *s)
{
    memset(s, 0, sizeof(*s));
    group_make(&s->g, 2, "checks");
    s->good = &s->g.m[0];
    s->bad = &s->g.m[1];
    struct vault *v = s->good->d.v;
    make_file(v, INODE_ROOT, "a", "x", 1);
    CHECK(group_settle(&s->g));
    make_file(s->bad->d.v, INODE_ROOT, "b", "x", 1);
    CHECK(group_settle(&s->g) && group_same(&s->g));
    watch_world_init(&s->world, 1);
    bytes_out_init(&s->record);
    watch_init(&s->watch, s->good->store, &s->world, &s->record);
    s->good->handle.store = &s->watch.s;
    index_lock(vault_index(v));
    CHECK_EQ(ledger_head_get(vault_index(v), s->bad->tag, &s->last), 0);
    CHECK_EQ(ledger_clock_get(vault_index(v), &s->clock), 0);
    index_unlock(vault_index(v));
    batch_name(roster_by_tag(s->g.roster, s->bad->tag)->store_name, s->last.seq + 1, s->name);
}

static void scene_free(struct scene *s)
{
    s->good->handle.store = s->good->store;
    watch_world_free(&s->world);
    bytes_out_release(&s->record);
    group_free(&s->g);
}

struct forging {
    uint64_t seq, jump;
    const struct sign_keys *keys;
    const char *place;
    bool other_vault, other_key, folder;
};

/* The next batch of the bad one, but for what ${f} says. */
static void forge(struct scene *s, const struct forging *f, struct bytes_out *out)
{
    struct batch_head head = {
        .seq = f->seq ? f->seq : s->last.seq + 1, .epoch = 1, .lamport = s->clock + 1 + f->jump};
    struct batch_writer *w = batch_writer_new();
    struct batch_record r = {.kind = BATCH_ATTR};
    uint8_t key[SECRET_KEY_LEN];
    const struct sign_keys *keys = f->keys ? f->keys : s->bad->keys;
    memcpy(key, s->g.epoch_key, sizeof(key));
    key[0] ^= f->other_key;
    memcpy(head.vault_id, s->g.vault_id, 32);
    head.vault_id[0] ^= f->other_vault;
    memcpy(head.device_key, sign_keys_public(keys), 32);
    if (head.seq > 1)
        memcpy(head.prev, s->last.hash, 32);
    roster_hash(s->g.roster, head.roster);
    CHECK_EQ(tree_lookup(s->good->d.v, INODE_ROOT, "b", 1, &r.u.attr.inode), 0);
    r.base = r.u.attr.inode.attr_version;
    if (f->folder)
        r.u.attr.inode.mode = S_IFDIR | 0755;
    CHECK_EQ(batch_write(w, &r), 0);
    bytes_out_init(out);
    CHECK_EQ(batch_finish(w, &head, key, f->place ? f->place : s->name, keys, out), 0);
    batch_writer_free(w);
}

/* What the good one asks for, and puts, while this is shown as the next batch. */
static int record_sync(struct scene *s, const void *p, size_t len, struct bytes_out *record)
{
    CHECK_EQ(store_put(s->good->store, s->name, p, len), 0);
    bytes_out_reset(&s->record);
    int err = member_pull(s->good, NULL, NULL);
    CHECK_EQ(member_push(s->good, NULL), 0);
    bytes_out_init(record);
    bytes_put(record, s->record.p, s->record.len);
    CHECK_EQ(store_delete(s->good->store, s->name), 0);
    return err;
}

/* By whoever has no key of a member: whatever he changes in it, wherever the check that finds it. */
static void test_unsigned(struct scene *s)
{
    struct bytes_out batch, want, got;
    size_t at[] = {0,   4,   5,   6,   8,   40,  72,   80,   112, 144,
                   148, 156, 162, 166, 178, 202, 3000, 4000, 1};
    char what[64];
    forge(s, &(struct forging){0}, &batch);
    CHECK(batch.len > 4100);
    at[sizeof(at) / sizeof(at[0]) - 1] = batch.len - 1;
    CHECK_EQ(record_sync(s, "", 0, &want), ERR_BEHIND);
    CHECK(memmem(want.p, want.len, "get journal/*/", 14) != NULL);
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        batch.p[at[i]] ^= 0x21;
        int err = record_sync(s, batch.p, batch.len, &got);
        batch.p[at[i]] ^= 0x21;
        CHECK(err == ERR_BEHIND || err == ERR_VERSION);
        snprintf(what, sizeof(what), "byte %zu changed", at[i]);
        compare(what, &want, &got);
        bytes_out_release(&got);
    }
    for (size_t cut = 1; cut < batch.len; cut += 617) {
        CHECK_EQ(record_sync(s, batch.p, cut, &got), ERR_BEHIND);
        snprintf(what, sizeof(what), "cut to %zu", cut);
        compare(what, &want, &got);
        bytes_out_release(&got);
    }
    bytes_out_release(&batch);

    const struct forging others[] = {{.other_vault = true},
                                     {.seq = s->last.seq},
                                     {.seq = s->last.seq + 2},
                                     {.keys = s->good->keys},
                                     {.other_vault = true, .other_key = true}};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        forge(s, &others[i], &batch);
        CHECK_EQ(record_sync(s, batch.p, batch.len, &got), ERR_BEHIND);
        snprintf(what, sizeof(what), "foreign batch %zu", i);
        compare(what, &want, &got);
        bytes_out_release(&got);
        bytes_out_release(&batch);
    }
    bytes_out_release(&want);
}

/* By a member: what is signed and wrong inside. Whether it is the seal that fails, or a rule, cannot be seen. */
static void test_signed(struct scene *s)
{
    struct bytes_out batch, want, got;
    const struct forging bad[] = {{.other_key = true},
                                  {.place = "journal/elsewhere/1"},
                                  {.folder = true},
                                  {.jump = UINT64_C(1) << 33}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char what[64];
        forge(s, &bad[i], &batch);
        CHECK_EQ(record_sync(s, batch.p, batch.len, i ? &got : &want), ERR_FORMAT);
        bytes_out_release(&batch);
        if (i == 0)
            continue;
        snprintf(what, sizeof(what), "signed batch %zu", i);
        compare(what, &want, &got);
        bytes_out_release(&got);
    }
    bytes_out_release(&want);
}

/* ---- the vault code ---- */

static int record_clone(struct store *store, const uint8_t code[CODE_LEN], struct bytes_out *record)
{
    struct watch_world world;
    struct watch_store watch;
    char path[120], why[200];
    watch_world_init(&world, 1);
    bytes_out_init(record);
    watch_init(&watch, store, &world, record);
    snprintf(path, sizeof(path), "%s/clone", fixture_base);
    int err = join_clone(path, &watch.s, "file:///nowhere", NULL, NULL, code, DEVICE_SECRET,
                         strlen(DEVICE_SECRET), &fixture_cost, "c", NULL, NULL, why);
    watch_world_free(&world);
    return err;
}

/* A wrong code, and every kind of damage of the slot that it opens, ask for the same and say the same (A5, A25). */
static void test_code(void)
{
    struct device d = {0}, other = {0};
    uint8_t code[CODE_LEN], wrong[CODE_LEN], other_code[CODE_LEN];
    struct bytes_out slot, foreign, want, got;
    char why[200], what[64];
    device_init(&d, "of-code", code);
    device_init(&other, "of-other", other_code);
    struct store *s = folder_open("code-store"), *o = folder_open("other-store");
    CHECK_EQ(join_prepare_store(d.v, s, why), 0);
    CHECK_EQ(join_prepare_store(other.v, o, why), 0);
    bytes_out_init(&slot);
    bytes_out_init(&foreign);
    CHECK_EQ(store_get(s, KEYBOX_RECOVERY, 0, 0, 1 << 20, &slot), 0);
    CHECK_EQ(store_get(o, KEYBOX_RECOVERY, 0, 0, 1 << 20, &foreign), 0);
    memcpy(wrong, code, sizeof(wrong));
    wrong[3] ^= 4;
    CHECK_EQ(record_clone(s, wrong, &want), ERR_WRONGKEY);
    for (size_t at = 0; at < slot.len; at++) {
        slot.p[at] ^= 0x10;
        CHECK_EQ(store_put(s, KEYBOX_RECOVERY, slot.p, slot.len), 0);
        slot.p[at] ^= 0x10;
        int err = record_clone(s, code, &got);
        CHECK(err == ERR_WRONGKEY || err == ERR_FORMAT || err == ERR_VERSION);
        snprintf(what, sizeof(what), "byte %zu of the slot: %s", at, err_text(err));
        compare(what, &want, &got);
        bytes_out_release(&got);
    }
    CHECK_EQ(store_put(s, KEYBOX_RECOVERY, foreign.p, foreign.len), 0);
    CHECK_EQ(record_clone(s, code, &got), ERR_WRONGKEY);
    compare("the slot of another vault", &want, &got);
    bytes_out_release(&got);
    CHECK_EQ(record_clone(s, other_code, &got), ERR_WRONGKEY); /* its code, but not its vault */
    compare("the slot of another vault with its code", &want, &got);
    bytes_out_release(&got);
    bytes_out_release(&want);
    bytes_out_release(&slot);
    bytes_out_release(&foreign);
    store_close(s);
    store_close(o);
    device_close(&d);
    device_close(&other);
}

/* ---- packs ---- */

/* How often a file was opened: what the owner of a store sees of a read. */
static unsigned opened(int watch)
{
    union {
        struct inotify_event e;
        char room[4096];
    } u;
    unsigned n = 0;
    ssize_t got;
    while ((got = read(watch, u.room, sizeof(u.room))) > 0)
        for (ssize_t at = 0; at < got;) {
            struct inotify_event e;
            memcpy(&e, u.room + at, sizeof(e));
            n += (e.mask & IN_OPEN) != 0;
            at += (ssize_t)(sizeof(e) + e.len);
        }
    return n;
}

static char pack_path[300];

static int find_pack(void *ctx, const char *name, uint64_t size)
{
    snprintf(pack_path, sizeof(pack_path), "%s/%s", (const char *)ctx, name);
    return 1;
}

/* Whatever is wrong with the bytes of a pack, and whether it is in the text or in the tag, is asked for as often. */
static void test_pack(void)
{
    enum { SIZE = 40000 };
    struct group g;
    uint8_t *p = malloc(SIZE), old;
    size_t got;
    unsigned first = 0, tried = 0;
    static const off_t at[] = {40, 41, 16423, 16424, 16440, 39000, 40087, 40040};
    CHECK(p != NULL);
    memset(p, 7, SIZE);
    group_make(&g, 2, "packs");
    uint64_t ino = make_file(g.m[0].d.v, INODE_ROOT, "f", p, SIZE);
    CHECK(member_push(&g.m[0], NULL) == 0 && member_pull(&g.m[1], NULL, NULL) == 0);
    CHECK_EQ(store_list(g.m[0].store, "packs/", find_pack, g.url + 7), 1);
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), fd = open(pack_path, O_RDWR);
    CHECK(watch >= 0 && fd >= 0 && inotify_add_watch(watch, pack_path, IN_OPEN) >= 0);
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        CHECK(pread(fd, &old, 1, at[i]) == 1);
        old ^= 0x80;
        CHECK(pwrite(fd, &old, 1, at[i]) == 1);
        int err = data_read(g.m[1].d.v, ino, 0, p, SIZE, &got, NULL);
        old ^= 0x80;
        CHECK(pwrite(fd, &old, 1, at[i]) == 1);
        unsigned n = opened(watch);
        if (at[i] >= 40 + SIZE + 3 * 16)
            continue; /* behind the extent: it is not wrong */
        CHECK_EQ(err, ERR_AUTH);
        CHECK(n > 0);
        first = tried ? first : n;
        CHECK_EQ(n, first);
        tried++;
    }
    CHECK(tried >= 7);
    CHECK(data_read(g.m[1].d.v, ino, 0, p, SIZE, &got, NULL) == 0 && got == SIZE);
    close(fd);
    close(watch);
    group_free(&g);
    free(p);
}

int main(void)
{
    struct scene s;
    log_set_level(LOG_LEVEL_ERROR);
    fixture_start();
    test_content();
    scene_make(&s);
    test_unsigned(&s);
    test_signed(&s);
    scene_free(&s);
    test_code();
    test_pack();
    fixture_rm(fixture_base);
    return check_done();
}
