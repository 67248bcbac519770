/* check: a sound vault has no problems; each kind of damage is named, with the file it concerns. */
#include "check.h"
#include "vault_fixture.h"

#include "crypto/seal.h"
#include "fs/check.h"
#include "fs/data.h"

#include <fcntl.h>

static struct fixture f;
static const struct tree_cred me = {1000, 100};
static struct inode tmp;

#define N(s) s, strlen(s)

static char report[20000]; /* "path: what\n" of every problem */
static uint64_t last_done, last_total;

static void note_problem(void *ctx, const char *path, const char *what)
{
    size_t n = strlen(report);
    snprintf(report + n, sizeof(report) - n, "%s: %s\n", path ? path : "(none)", what);
}

static void note_progress(void *ctx, uint64_t done, uint64_t total)
{
    CHECK(done >= last_done && done <= total);
    last_done = done;
    last_total = total;
}

static struct check_result check_now(void)
{
    struct check_options o = {.progress = note_progress, .problem = note_problem};
    struct check_result r;
    report[0] = 0;
    last_done = last_total = 0;
    CHECK_EQ(check_vault(f.v, &o, &r), 0);
    return r;
}

static uint64_t new_dir(uint64_t parent, const char *name)
{
    CHECK_EQ(tree_mkdir(f.v, parent, N(name), 0755, me, &tmp), 0);
    return tmp.ino;
}

static uint64_t new_file(uint64_t parent, const char *name, size_t len)
{
    static uint8_t bytes[3u << 20];
    memset(bytes, 'x', sizeof(bytes));
    CHECK_EQ(tree_mknod(f.v, parent, N(name), S_IFREG | 0644, 0, me, &tmp), 0);
    uint64_t ino = tmp.ino;
    CHECK_EQ(data_write(f.v, ino, 0, bytes, len, true, false), 0);
    return ino;
}

/* Changes the index behind its own back, as damage or a fault would. */
static void sql(const char *format, unsigned long long a, unsigned long long b)
{
    char text[400];
    sqlite3_stmt *stmt;
    snprintf(text, sizeof(text), format, a, b);
    CHECK_EQ(index_commit(f.ix), 0);
    index_lock(f.ix);
    CHECK_EQ(index_prepare(f.ix, "SELECT 1", &stmt), 0);
    char *why = NULL;
    if (sqlite3_exec(sqlite3_db_handle(stmt), text, NULL, NULL, &why) != SQLITE_OK)
        fprintf(stderr, "%s: %s\n", text, why);
    CHECK(!why);
    sqlite3_finalize(stmt);
    index_unlock(f.ix);
}

static bool reported(const char *line)
{
    bool found = strstr(report, line) != NULL;
    if (!found)
        fprintf(stderr, "missing: %s\nreport:\n%s", line, report);
    return found;
}

#define CHECK_ONE(line)                                                                            \
    do {                                                                                           \
        CHECK_EQ(check_now().problems, 1);                                                         \
        CHECK(reported(line));                                                                     \
    } while (0)

static void sound(void)
{
    uint64_t d = new_dir(new_dir(INODE_ROOT, "photos"), "2024");
    new_file(d, "a.jpg", 100000);
    new_file(d, "b.jpg", 2500000);
    new_file(d, "empty", 0);
    uint64_t hard = new_file(d, "hard", 10);
    uint64_t copied;
    CHECK_EQ(tree_link(f.v, hard, INODE_ROOT, N("hard2"), &tmp), 0);
    CHECK_EQ(tree_symlink(f.v, d, N("link"), "target", me, &tmp), 0);
    CHECK_EQ(tree_setxattr(f.v, hard, "user.x", "y", 1, 0), 0);
    uint64_t clone = new_file(d, "clone", 5);
    CHECK_EQ(data_copy_range(f.v, hard, 0, clone, 3, 10, &copied), 0);
    CHECK_EQ(tree_tmpfile(f.v, d, 0600, me, &tmp), 0);
    uint64_t open_file = new_file(d, "open", 50000);
    CHECK_EQ(tree_unlink(f.v, d, N("open"), &tmp), 0);
    struct inode in = {.size = 1000};
    CHECK_EQ(tree_setattr(f.v, open_file, TREE_SIZE, &in, &tmp), 0);
    struct check_result r = check_now();
    CHECK_EQ(r.problems, 0);
    CHECK(strcmp(report, "") == 0);
    CHECK_EQ(r.remote_extents, 0);
    CHECK(r.inodes >= 11 && r.entries >= 9 && r.extents >= 6);
    CHECK(r.bytes > 2600000 && last_done == last_total);
    struct check_options quick = {.references_only = true, .problem = note_problem};
    CHECK_EQ(check_vault(f.v, &quick, &r), 0);
    CHECK_EQ(r.bytes, 0);
    static const _Atomic bool cancelled = true;
    struct check_options stop = {.cancelled = &cancelled};
    CHECK_EQ(check_vault(f.v, &stop, &r), ERR_INTR);
}

static uint64_t find(uint64_t parent, const char *name)
{
    CHECK_EQ(tree_lookup(f.v, parent, N(name), &tmp), 0);
    return tmp.ino;
}

static void damaged_data(void)
{
    uint64_t d = find(find(INODE_ROOT, "photos"), "2024");
    struct extent a = fixture_extent(&f, find(d, "a.jpg"), 0),
                  b = fixture_extent(&f, find(d, "b.jpg"), 1500000);
    fixture_flip(&f, a.at, seal_size(a.len) - 1); /* the very last byte of the tag */
    CHECK_ONE("photos/2024/a.jpg: bytes 0 to 99999: ");
    fixture_flip(&f, b.at, 7);
    CHECK_EQ(check_now().problems, 2);
    CHECK(reported("photos/2024/a.jpg: bytes 0 to 99999: "));
    CHECK(reported("photos/2024/b.jpg: bytes 1048576 to 2097151: "));
    fixture_flip(&f, a.at, seal_size(a.len) - 1);
    fixture_flip(&f, b.at, 7);

    /* shared bytes concern every file, and every name of it */
    struct extent h = fixture_extent(&f, find(INODE_ROOT, "hard2"), 0);
    fixture_flip(&f, h.at, 0);
    CHECK_EQ(check_now().problems, 3);
    CHECK(reported("hard2: bytes 0 to 9: "));
    CHECK(reported("photos/2024/hard: bytes 0 to 9: "));
    CHECK(reported("photos/2024/clone: bytes 3 to 12: "));
    fixture_flip(&f, h.at, 0);
    CHECK_EQ(check_now().problems, 0);
}

static void damaged_names(void)
{
    uint64_t photos = find(INODE_ROOT, "photos"), d = find(photos, "2024"), a = find(d, "a.jpg");
    uint64_t empty = find(d, "empty"), link = find(d, "link");

    sql("UPDATE entry SET ino = 4242424242 WHERE ino = %llu", a, 0);
    CHECK_EQ(check_now().problems, 2);
    CHECK(reported("photos/2024/a.jpg: names inode 4242424242, which does not exist"));
    CHECK(reported("(none): inode"));
    sql("UPDATE entry SET ino = %llu WHERE ino = 4242424242", a, 0);

    sql("UPDATE inode SET nlink = 3 WHERE ino = %llu", a, 0);
    CHECK_ONE("has 1 names, but its link count is 3");
    sql("UPDATE inode SET nlink = 1 WHERE ino = %llu", a, 0);

    sql("UPDATE inode SET nlink = 5 WHERE ino = %llu", photos, 0);
    CHECK_ONE("has 1 subdirectories, but its link count is 5");
    CHECK(strncmp(report, "photos: ", 8) == 0);
    sql("UPDATE inode SET nlink = 3 WHERE ino = %llu", photos, 0);

    sql("UPDATE inode SET parent = 1 WHERE ino = %llu", d, 0);
    CHECK_ONE("photos/2024: says that it is in directory 1");
    sql("UPDATE inode SET parent = %llu WHERE ino = %llu", photos, d);

    sql("UPDATE entry SET type = 16384 WHERE ino = %llu", empty, 0);
    CHECK(check_now().problems >= 1);
    CHECK(reported("photos/2024/empty: is of another type than its entry says"));
    sql("UPDATE entry SET type = 32768 WHERE ino = %llu", empty, 0);

    sql("UPDATE entry SET name = x'612f62' WHERE ino = %llu", empty, 0);
    CHECK_ONE("has a name that no file can have");
    sql("UPDATE entry SET name = x'612e6a7067' WHERE ino = %llu", empty, 0);
    CHECK_ONE("photos/2024/a.jpg: is there twice in its directory");
    sql("UPDATE entry SET name = x'656d707479' WHERE ino = %llu", empty, 0);

    sql("DELETE FROM target WHERE ino = %llu", link, 0);
    CHECK_ONE("photos/2024/link: is a symbolic link without its target");
    sql("INSERT INTO target VALUES(%llu, x'746172676574')", link, 0);

    sql("UPDATE xattr SET ino = 77", 0, 0);
    CHECK_ONE("extended attributes belong to inode 77");
    sql("UPDATE xattr SET ino = %llu", find(d, "hard"), 0);

    /* a cycle: photos is taken off the root and put below its own subdirectory */
    sql("UPDATE entry SET parent = %llu WHERE ino = %llu", d, photos);
    sql("UPDATE inode SET parent = %llu WHERE ino = %llu", d, photos);
    sql("UPDATE inode SET nlink = 3 WHERE ino = %llu", d, 0);
    sql("UPDATE inode SET nlink = nlink - 1 WHERE ino = 1", 0, 0);
    CHECK_EQ(check_now().problems, 2);
    CHECK(reported(".../photos: directory"));
    CHECK(reported(".../2024: directory"));
    CHECK(reported("cannot be reached from the root"));
    sql("UPDATE entry SET parent = 1 WHERE ino = %llu", photos, 0);
    sql("UPDATE inode SET parent = 1 WHERE ino = %llu", photos, 0);
    sql("UPDATE inode SET nlink = 2 WHERE ino = %llu", d, 0);
    sql("UPDATE inode SET nlink = nlink + 1 WHERE ino = 1", 0, 0);
    CHECK_EQ(check_now().problems, 0);
}

static void damaged_maps(void)
{
    uint64_t d = find(find(INODE_ROOT, "photos"), "2024"), a = find(d, "a.jpg"),
             b = find(d, "b.jpg");
    struct extent e = fixture_extent(&f, a, 0);

    sql("UPDATE extent SET refs = 9 WHERE eid = %llu", e.eid, 0);
    CHECK_ONE("is used 1 times, but 9 are counted");
    CHECK(strncmp(report, "photos/2024/a.jpg: ", 19) == 0);
    sql("UPDATE extent SET refs = 1 WHERE eid = %llu", e.eid, 0);

    sql("UPDATE map SET len = len + 1 WHERE ino = %llu", a, 0);
    CHECK_EQ(check_now().problems, 3);
    CHECK(reported("photos/2024/a.jpg: bytes from 0 on are mapped outside their extent"));
    CHECK(reported("photos/2024/a.jpg: data reaches up to byte 100001, but the size is 100000"));
    CHECK(reported("photos/2024/a.jpg: 100001 bytes are mapped, but 100000 are counted"));
    sql("UPDATE map SET len = len - 1 WHERE ino = %llu", a, 0);

    sql("UPDATE map SET off = off - 10 WHERE ino = %llu AND off > 0", b, 0);
    CHECK_ONE("photos/2024/b.jpg: bytes from 1048566 on are mapped twice");
    sql("UPDATE map SET off = off + 10 WHERE ino = %llu AND off > 0", b, 0);

    sql("UPDATE map SET eid = 987654 WHERE ino = %llu", a, 0);
    CHECK_EQ(check_now().problems, 2);
    CHECK(reported("photos/2024/a.jpg: bytes from 0 on are mapped to no extent"));
    sql("UPDATE map SET eid = %llu WHERE ino = %llu", e.eid, a);

    sql("UPDATE extent SET seg = 0, off = 0 WHERE eid = %llu", e.eid, 0);
    CHECK_ONE("are neither here nor on the store");
    CHECK(strncmp(report, "photos/2024/a.jpg: ", 19) == 0);
    sql("UPDATE extent SET seg = 0, off = 0, pack = 3 WHERE eid = %llu", e.eid, 0);
    struct check_result r = check_now();
    CHECK_EQ(r.problems, 0);
    CHECK_EQ(r.remote_extents, 1);

    /* at the place of another extent: both the overlap and the bytes are wrong */
    struct extent other = fixture_extent(&f, b, 0);
    sql("UPDATE extent SET seg = %llu, off = %llu", other.at.seg, other.at.off);
    CHECK(check_now().problems >= 3);
    CHECK(reported("lies in the same place as another"));
    CHECK(reported("photos/2024/a.jpg: bytes 0 to 99999: "));
}

int main(void)
{
    fixture_make(&f);
    sound();
    damaged_data();
    damaged_names();
    damaged_maps();
    (void)vault_close(f.v); /* its index is damaged on purpose, so whatever it says */
    f.v = NULL;
    fixture_remove(&f);
    return check_done();
}
