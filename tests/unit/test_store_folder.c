/* store_folder: the contract of a store on a directory; foreign things in it are neither followed
 * nor shown; nothing half-made is left; failures of the disk become the right errors. */
#include "check.h"

#include "crypto/err.h"
#include "sync/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[200], url[300];

static int write_file(const char *name, const char *text)
{
    char path[500];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    FILE *f = fopen(path, "w");
    return f && fputs(text, f) >= 0 && fclose(f) == 0 ? 0 : -1;
}

static int count_each(void *ctx, const char *name, uint64_t size)
{
    (void)name, (void)size;
    return ++*(int *)ctx, 0;
}

static int count(struct store *s, const char *prefix)
{
    int n = 0;
    int err = store_list(s, prefix, count_each, &n);
    return err ? err : n;
}

static int stop_each(void *ctx, const char *name, uint64_t size)
{
    (void)name, (void)size;
    return ++*(int *)ctx == 2 ? 77 : 0;
}

static void contract(struct store *s)
{
    struct bytes_out out;
    uint64_t size;
    bytes_out_init(&out);
    CHECK_EQ(store_head(s, "packs/ab/x", &size), ERR_NOENT);
    CHECK_EQ(store_get(s, "packs/ab/x", 0, 0, 100, &out), ERR_NOENT);
    CHECK_EQ(store_delete(s, "packs/ab/x"), 0);
    CHECK_EQ(count(s, "packs/"), 0);
    CHECK_EQ(store_put(s, "packs/ab/x", "0123456789", 10), 0);
    CHECK_EQ(store_put(s, "packs/ab/x", "0123456789", 10), 0);
    CHECK_EQ(store_put(s, "vault", "", 0), 0);
    CHECK_EQ(store_head(s, "packs/ab/x", &size), 0);
    CHECK_EQ(size, 10);
    CHECK_EQ(store_get(s, "packs/ab/x", 0, 0, 10, &out), 0);
    CHECK(out.len == 10 && memcmp(out.p, "0123456789", 10) == 0);
    CHECK_EQ(store_get(s, "packs/ab/x", 2, 3, 0, &out), 0); /* appended */
    CHECK(out.len == 13 && memcmp(out.p + 10, "234", 3) == 0);
    bytes_out_reset(&out);
    CHECK_EQ(store_get(s, "packs/ab/x", 8, 100, 0, &out), 0);
    CHECK_EQ(out.len, 2);
    CHECK_EQ(store_get(s, "packs/ab/x", 10, 5, 0, &out), 0);
    CHECK_EQ(store_get(s, "packs/ab/x", 1u << 30, 5, 0, &out), 0);
    CHECK_EQ(out.len, 2);
    CHECK_EQ(store_get(s, "packs/ab/x", 0, 0, 9, &out), ERR_FORMAT);
    CHECK_EQ(out.len, 2);
    CHECK_EQ(count(s, ""), 2);
    CHECK_EQ(count(s, "packs/"), 1);
    CHECK_EQ(count(s, "packs/ab/"), 1);
    CHECK_EQ(store_put(s, "packs/cd/y", "y", 1), 0);
    int seen = 0;
    CHECK_EQ(store_list(s, "", stop_each, &seen), 77);
    CHECK_EQ(seen, 2);
    CHECK_EQ(store_delete(s, "packs/cd/y"), 0);
    CHECK_EQ(store_head(s, "packs/cd/y", &size), ERR_NOENT);
    char why[200];
    CHECK_EQ(store_try(s, why), 0);
    uint64_t sent, received;
    store_counters(s, &sent, &received);
    CHECK(sent == 10 + 10 + 1 + 64 && received > 10);
    bytes_out_release(&out);
}

static void names(struct store *s)
{
    static const char *const bad[] = {"",       "/a",     "a/",        "a//b",     "..",
                                      "a/../b", ".tmp-1", "a/.b",      "A",        "a b",
                                      "a%b",    "a\\b",   "a/b/c/d/e", "\xc3\xa4", "a\nb"};
    char longest[STORE_NAME_MAX + 2];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_EQ(store_put(s, bad[i], "x", 1), ERR_MISUSE);
    memset(longest, 'a', sizeof(longest));
    longest[STORE_NAME_MAX + 1] = '\0';
    CHECK_EQ(store_put(s, longest, "x", 1), ERR_MISUSE);
    longest[STORE_NAME_MAX] = '\0';
    CHECK_EQ(store_put(s, longest, "x", 1), 0);
    CHECK_EQ(store_delete(s, longest), 0);
    CHECK_EQ(store_put(s, "a/b/c/d", "x", 1), 0);
    CHECK_EQ(count(s, "a/"), 1);
    CHECK_EQ(store_delete(s, "a/b/c/d"), 0);
    CHECK_EQ(store_list(s, "a", stop_each, NULL), ERR_MISUSE);
    CHECK_EQ(store_list(s, "../", stop_each, NULL), ERR_MISUSE);
}

/* What another program, or somebody hostile, puts into the folder. */
static void foreign(struct store *s)
{
    char path[500], outside[300];
    struct bytes_out out;
    struct stat st;
    bytes_out_init(&out);
    int before = count(s, "");
    snprintf(outside, sizeof(outside), "%s-outside", root);
    CHECK_EQ(mkdir(outside, 0700), 0);
    CHECK_EQ(write_file("vault (conflicted copy)", "x"), 0);
    CHECK_EQ(write_file(".hidden", "x"), 0);
    CHECK_EQ(write_file(".tmp-00112233445566778899aabbccddeeff", "young"), 0);
    CHECK_EQ(write_file(".tmp-ffeeddccbbaa99887766554433221100", "old"), 0);
    snprintf(path, sizeof(path), "%s/.tmp-ffeeddccbbaa99887766554433221100", root);
    struct timespec old[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    CHECK_EQ(utimensat(AT_FDCWD, path, old, 0), 0);
    snprintf(path, sizeof(path), "%s/link", root);
    CHECK_EQ(symlink(outside, path), 0);
    snprintf(path, sizeof(path), "%s/fifo", root);
    CHECK_EQ(mkfifo(path, 0600), 0);
    CHECK_EQ(count(s, ""), before);
    snprintf(path, sizeof(path), "%s/.tmp-ffeeddccbbaa99887766554433221100", root);
    CHECK(stat(path, &st) < 0); /* left by a crash long ago: swept */
    snprintf(path, sizeof(path), "%s/.tmp-00112233445566778899aabbccddeeff", root);
    CHECK(stat(path, &st) == 0); /* perhaps being written */
    unlink(path);

    CHECK_EQ(store_put(s, "link/x", "x", 1), ERR_NETPERM);
    CHECK_EQ(store_get(s, "link/x", 0, 1, 1, &out), ERR_NETPERM);
    CHECK_EQ(store_get(s, "link", 0, 1, 1, &out), ERR_NETPERM);
    CHECK_EQ(store_get(s, "fifo", 0, 1, 1, &out), ERR_NETPERM);
    CHECK_EQ(store_put(s, "packs", "x", 1), ERR_NETPERM); /* a directory stands there */
    CHECK_EQ(store_put(s, "vault/x", "x", 1), ERR_NETPERM);
    CHECK_EQ(rmdir(outside), 0); /* nothing was written through the link */
    snprintf(path, sizeof(path), "%s/link", root);
    unlink(path);
    snprintf(path, sizeof(path), "%s/fifo", root);
    unlink(path);
    bytes_out_release(&out);
}

static int temp_files(void)
{
    DIR *dir = opendir(root);
    struct dirent *d;
    int n = 0;
    while (dir && (d = readdir(dir)))
        n += strncmp(d->d_name, ".tmp-", 5) == 0;
    if (dir)
        closedir(dir);
    return n;
}

static int all_each(void *ctx, const char *name, uint64_t size)
{
    (void)size;
    char *seen = ctx;
    strcat(strcat(seen, name), "|");
    return 0;
}

/* What counts when a place is asked to be empty. [store-clutter] */
static void everything(void)
{
    static const char *const clutter[] = {
        ".DS_Store",   "desktop.ini", "Desktop.ini", ".dropbox",      ".dropbox.attr",
        "._Photo.jpg", "Thumbs.db",   ".stfolder",   "lost+found",    ".sync_a1.db",
        "thumbs.db",   ".Trash-1000", "@eaDir",      ".fuse_hidden3", ".nextcloudsync.log"};
    char seen[2000] = "", path[500];
    struct store *s;
    snprintf(path, sizeof(path), "rm -rf '%s'/* '%s'/.[a-z]*", root, root);
    CHECK_EQ(system(path), 0);
    CHECK_EQ(store_open(&s, url, NULL, NULL, NULL), 0);
    for (size_t i = 0; i < sizeof(clutter) / sizeof(clutter[0]); i++)
        CHECK_EQ(write_file(clutter[i], "x"), 0);
    CHECK_EQ(write_file(".tmp-00112233445566778899aabbccddeeff", "ours"), 0);
    snprintf(path, sizeof(path), "%s/packs", root);
    CHECK_EQ(mkdir(path, 0700), 0);
    CHECK_EQ(write_file("packs/.DS_Store", "x"), 0);
    CHECK_EQ(store_list_all(s, all_each, seen), 0);
    CHECK(seen[0] == '\0');

    static const char *const dirs[] = {
        "Photos", "Photos/deeper", "packs/New Folder", "a",
        "a/b",    "a/b/c",         "a/b/c/d",          "System Volume Information"};
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", root, dirs[i]);
        CHECK_EQ(mkdir(path, 0700), 0);
    }
    static const char *const files[] = {"Photos/IMG 1.JPG", "packs/Letter.odt", "letter.txt",
                                        ".hidden",          ".dropboxes",       "a/b/c/d/e"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        CHECK_EQ(write_file(files[i], "x"), 0);
    snprintf(path, sizeof(path), "%s/link", root);
    CHECK_EQ(symlink("/", path), 0);
    CHECK_EQ(store_list_all(s, all_each, seen), 0);
    static const char *const expected[] = {"Photos/", "packs/New Folder/", "packs/Letter.odt",
                                           ".hidden", ".dropboxes",        "a/b/c/d/",
                                           "link",    "letter.txt"};
    size_t len = 0;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        CHECK(strstr(seen, expected[i]));
        len += strlen(expected[i]) + 1;
    }
    CHECK_EQ(strlen(seen), len); /* and nothing else */
    CHECK_EQ(count(s, ""), 3);   /* letter.txt, and two of the others have the form of our names */
    store_close(s);
}

/* A trial leaves nothing, whatever becomes of it; what others have in a folder stays. */
static void trial(void)
{
    char path[500], why[200];
    struct stat st;
    struct store *s;
    CHECK_EQ(store_open(&s, url, NULL, NULL, NULL), 0);
    snprintf(path, sizeof(path), "%s/try", root);
    CHECK_EQ(store_try(s, why), 0);
    CHECK(stat(path, &st) < 0);
    CHECK_EQ(mkdir(path, 0700), 0);
    CHECK_EQ(write_file("try/mine", "x"), 0);
    CHECK_EQ(store_try(s, why), 0);
    store_prune(s, "try");
    CHECK(stat(path, &st) == 0);
    store_close(s);
}

/* A file size limit stands for a full disk: the write stops in the middle. */
static void full(struct store *s)
{
    static uint8_t big[1 << 20];
    struct rlimit limit = {.rlim_cur = 1000, .rlim_max = RLIM_INFINITY}, was;
    uint64_t size;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    limit.rlim_max = was.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int err = store_put(s, "big", big, sizeof(big));
    struct store_put_item items[] = {{.name = "small", .p = "1", .len = 1},
                                     {.name = "big", .p = big, .len = sizeof(big)},
                                     {.name = "small2", .p = "1", .len = 1}};
    int many = store_put_many(s, items, 3);
    setrlimit(RLIMIT_FSIZE, &was);
    CHECK_EQ(err, ERR_STOREFULL);
    CHECK(store_last_error(s)[0]);
    CHECK_EQ(many, ERR_STOREFULL);
    CHECK(items[0].err == 0 && items[1].err == ERR_STOREFULL && items[2].err == 0);
    CHECK_EQ(store_head(s, "big", &size), ERR_NOENT);
    CHECK_EQ(temp_files(), 0);
    CHECK_EQ(store_put(s, "big", big, sizeof(big)), 0);
}

static void cancel_and_absence(struct store *s)
{
    char moved[300];
    store_cancel(s);
    CHECK_EQ(store_put(s, "c", "x", 1), ERR_INTR);
    CHECK_EQ(count(s, ""), ERR_INTR);
    store_resume(s);
    CHECK_EQ(store_put(s, "c", "x", 1), 0);
    snprintf(moved, sizeof(moved), "%s-moved", root);
    CHECK_EQ(rename(root, moved), 0);
    CHECK_EQ(store_put(s, "d", "x", 1),
             ERR_NET); /* the drive is not connected: not "no such object" */
    uint64_t size;
    CHECK_EQ(store_head(s, "c", &size), ERR_NET);
    CHECK_EQ(count(s, ""), ERR_NET);
    CHECK_EQ(rename(moved, root), 0);
    CHECK_EQ(store_head(s, "c", &size), 0);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    char command[300], why[200];
    struct store *s;
    snprintf(root, sizeof(root), "%s/obs store %%20.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(root))
        return 1;
    snprintf(url, sizeof(url), "file://%s-none", root);
    CHECK_EQ(store_open(&s, url, NULL, NULL, why), ERR_NOENT);
    CHECK(why[0]);
    char *percent = strchr(root, '%');
    snprintf(url, sizeof(url), "file://%.*s%%25%s", (int)(percent - root), root, percent + 1);
    CHECK_EQ(store_open(&s, url, NULL, NULL, why), 0);
    if (s) {
        CHECK(strcmp(store_url(s), url) == 0);
        contract(s);
        names(s);
        foreign(s);
        full(s);
        cancel_and_absence(s);
        store_close(s);
        everything();
        trial();
    }
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    CHECK_EQ(system(command), 0);
    return check_done();
}
