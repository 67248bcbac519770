/*
 * A new device, from the store and the vault code alone. It is made in a directory beside the wanted one, with all that the journals say,
 * and gets its name at the very end. The store hears of it just before that.
 */
#include "crypto/err.h"
#include "crypto/file.h"
#include "sync/join.h"
#include "sync/join_store.h"
#include "sync/keybox.h"
#include "sync/members.h"
#include "sync/pull.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NFTW_FDS      16
#define TEMP_MARK     ".clone-" /* PATH.clone-, and digits: the directory beside PATH */
#define TEMP_DIGITS   12u
#define TEMP_ATTEMPTS 5

struct cloning {
    const char *path, *url, *device_name;
    struct store *store;
    const struct store_login *login;
    const struct store_options *options;
    const void *secret;
    size_t secret_len;
    const struct slot_cost *cost;
    void (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total);
    void *ctx;
    char *why;

    char *temp;  /* the directory beside */
    int temp_fd; /* it, locked; -1: not made */
    uint8_t vault_id[32];
    struct keyring *keyring;
    uint8_t *recovery_seed; /* secret_alloc */
    struct sign_keys *recovery_keys;
    struct bytes_out recovery;
    struct roster *roster;
    struct vault *vault;
};

static int explain(struct cloning *c, int err, const char *text)
{
    if (c->why)
        snprintf(c->why, JOIN_WHY, "%s", text);
    return err;
}

static void report(struct cloning *c, const char *what, uint64_t done, uint64_t total)
{
    if (c->progress)
        c->progress(c->ctx, what, done, total);
}

/* ---- places ---- */

/* The wanted place is missing or an empty directory. */
static int check_place(struct cloning *c)
{
    DIR *dir = opendir(c->path);
    if (!dir && errno == ENOENT)
        return 0;
    if (!dir)
        return explain(c, errno == ENOTDIR ? ERR_EXIST : err_from_errno(errno),
                       "there is something already; choose an empty or new directory");
    int err = 0;
    for (struct dirent *d; !err && (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            err = explain(c, ERR_EXIST, "the directory is not empty");
    closedir(dir);
    return err;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, NFTW_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* The path without '/' at its end; NULL: out of memory. */
static char *plain_path(const char *path)
{
    char *copy = strdup(path);
    for (size_t len = copy ? strlen(copy) : 0; len > 1 && copy[len - 1] == '/'; len--)
        copy[len - 1] = '\0';
    return copy;
}

/* Is ${name} that of a directory beside ${base}? */
static bool is_temp_name(const char *name, const char *base)
{
    size_t len = strlen(base), mark = strlen(TEMP_MARK);
    return strncmp(name, base, len) == 0 && strncmp(name + len, TEMP_MARK, mark) == 0 &&
           strlen(name + len + mark) == TEMP_DIGITS &&
           strspn(name + len + mark, "0123456789abcdef") == TEMP_DIGITS;
}

/* A clone holds the lock of its directory as long as it works in it: without one it was killed. */
static void remove_stale(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    /* what is somebody else's could be turned into a link to elsewhere while we, as root, remove it */
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
        remove_tree(path);
    close(fd);
}

/* What earlier clones to the same place left when they were killed. */
static int sweep(struct cloning *c)
{
    char *copy = plain_path(c->path), *place = copy ? strdup(copy) : NULL, *stale;
    if (!place) {
        free(copy);
        return ERR_NOMEM;
    }
    const char *base = basename(copy), *parent = dirname(place);
    DIR *dir = opendir(parent);
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (is_temp_name(d->d_name, base) && asprintf(&stale, "%s/%s", parent, d->d_name) >= 0) {
            remove_stale(stale);
            free(stale);
        }
    if (dir)
        closedir(dir);
    free(place);
    free(copy);
    return 0;
}

static int make_temp_name(struct cloning *c)
{
    uint8_t random[TEMP_DIGITS / 2];
    char hex[TEMP_DIGITS + 1];
    char *path = plain_path(c->path);
    if (!path)
        return ERR_NOMEM;
    secret_random(random, sizeof(random));
    sodium_bin2hex(hex, sizeof(hex), random, sizeof(random));
    free(c->temp);
    if (asprintf(&c->temp, "%s" TEMP_MARK "%s", path, hex) < 0)
        c->temp = NULL;
    free(path);
    return c->temp ? 0 : ERR_NOMEM;
}

/* Makes the directory beside and locks it. Another clone that takes it for a left one in between has the lock or has removed it:
 * then it is done again under another name. */
static int make_temp(struct cloning *c)
{
    struct stat by_name, by_fd;
    for (int attempt = 0; attempt < TEMP_ATTEMPTS; attempt++) {
        int err = make_temp_name(c);
        if (err)
            return err;
        if (mkdir(c->temp, 0700) != 0)
            return explain(c, err_from_errno(errno), "the directory for it cannot be made");
        c->temp_fd = open(c->temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (c->temp_fd >= 0 && flock(c->temp_fd, LOCK_EX | LOCK_NB) == 0 &&
            fstat(c->temp_fd, &by_fd) == 0 && lstat(c->temp, &by_name) == 0 &&
            by_fd.st_ino == by_name.st_ino && by_fd.st_dev == by_name.st_dev)
            return 0;
        if (c->temp_fd >= 0)
            close(c->temp_fd);
        c->temp_fd = -1;
    }
    return ERR_IO;
}

static int rename_into_place(struct cloning *c)
{
    char *copy = strdup(c->temp);
    if (!copy)
        return ERR_NOMEM;
    int err = rename(c->temp, c->path) == 0 ? 0 : err_from_errno(errno);
    if (err)
        explain(c, err, "the new vault could not be put in its place");
    else
        /* Without this a crash could take the whole vault away again, whose device the store knows already. */
        err = file_sync_dir(AT_FDCWD, dirname(copy));
    free(copy);
    return err;
}

/* ---- from the store ---- */

static int read_header(struct cloning *c)
{
    report(c, "looking for the vault", 0, 0);
    int err = join_store_header(c->store, c->vault_id);
    if (err == ERR_NOENT || err == ERR_NOTOURS)
        return explain(c, ERR_NOTOURS, "there is no vault on this store");
    if (err == ERR_VERSION)
        return explain(c, err, "the store was made by a newer version of this program");
    return err;
}

static int read_keys(struct cloning *c, const uint8_t code[CODE_LEN])
{
    c->keyring = keyring_new();
    c->recovery_seed = secret_alloc(SIGN_SEED_LEN);
    if (!c->keyring || !c->recovery_seed)
        return ERR_NOMEM;
    int err = store_get(c->store, KEYBOX_RECOVERY, 0, 0, KEYRING_RECOVERY_MAX, &c->recovery);
    if (err == ERR_NOENT)
        return explain(c, ERR_FORMAT, "the store is damaged: keys/recovery is missing");
    if (!err)
        err = keybox_open_recovery(c->recovery.p, c->recovery.len, c->vault_id, code, c->keyring,
                                   c->recovery_seed);
    if (err == ERR_WRONGKEY)
        return explain(c, err, "this is not the vault code of the vault on this store");
    if (err)
        return err;
    c->recovery_keys = keybox_recovery_keys(c->recovery_seed);
    return c->recovery_keys ? 0 : ERR_NOMEM;
}

/* The vault id, which the code is bound to, is the hash of the genesis: what hangs on it is this vault's and no other's. */
static int read_roster(struct cloning *c)
{
    size_t fresh;
    c->roster = roster_new(c->vault_id, c->keyring->epochs[0].key);
    if (!c->roster)
        return ERR_NOMEM;
    int err = members_fetch(c->store, c->roster, &fresh);
    if (err == ERR_VERSION)
        return explain(c, err, "a newer program changed which devices belong; update this one");
    if (!err && roster_count(c->roster) == 0)
        return explain(c, ERR_FORMAT,
                       "the store is damaged: the vault's first roster record is missing");
    return err;
}

static int join_roster(struct cloning *c)
{
    struct bytes_out record;
    bytes_out_init(&record);
    const struct roster_device *genesis = roster_at(c->roster, 0);
    int err = join_device_keys(c->keyring, c->roster, c->device_name);
    if (!err)
        err = join_keyring_bytes(c->keyring, genesis->record, genesis->record_len, &c->recovery);
    struct sign_keys *keys =
        err ? NULL : sign_keys_new(c->keyring->sign_seed, c->keyring->box_seed);
    if (!err && !keys)
        err = ERR_NOMEM;
    if (!err)
        err = roster_make_add(c->roster, keys, c->keyring->device_tag, c->recovery_keys,
                              c->device_name, &record);
    if (!err)
        err = roster_add(c->roster, record.p, record.len);
    sign_keys_free(keys);
    bytes_out_release(&record);
    return err;
}

/* ---- the new vault ---- */

static int make_vault(struct cloning *c)
{
    struct vault_new params = {.vault_id = c->vault_id,
                               .keyring = c->keyring,
                               .secret = c->secret,
                               .secret_len = c->secret_len,
                               .cost = c->cost};
    report(c, "making the vault", 0, 0);
    uint8_t *device_key = secret_alloc(SECRET_KEY_LEN);
    int err = device_key ? make_temp(c) : ERR_NOMEM;
    params.path = c->temp;
    if (!err)
        memcpy(device_key, c->keyring->device_key, SECRET_KEY_LEN);
    if (!err)
        err = vault_create(&params);
    keyring_free(c->keyring); /* the vault brings its own, and guarded memory is scarce */
    c->keyring = NULL;
    if (!err)
        err = vault_open_key(&c->vault, c->temp, device_key, VAULT_READ_WRITE, c->why);
    secret_free(device_key);
    return err ? err : members_save(c->vault, c->roster);
}

static void fill_item(const struct cloning *c, struct stores_item *item)
{
    memset(item, 0, sizeof(*item));
    snprintf(item->url, sizeof(item->url), "%s", c->url);
    if (c->login) {
        /* Borrowed: stores_add only reads them. */
        item->user = (char *)c->login->user;
        item->secret = (char *)c->login->secret;
        item->token = (char *)c->login->token;
    }
    if (c->options) {
        snprintf(item->ca_file, sizeof(item->ca_file), "%s",
                 c->options->ca_file ? c->options->ca_file : "");
        item->allow_http = c->options->allow_http;
    }
}

static void pulled(void *ctx, uint64_t done, uint64_t total)
{
    report(ctx, "reading what the other devices did", done, total);
}

/* What the store does not show yet will be there at the next pull: no reason to refuse what there is. */
static int replay(struct cloning *c)
{
    struct stores_item item;
    struct pull_result result;
    fill_item(c, &item);
    struct stores_handle handle = {.store = c->store, .item = &item};
    int err = stores_add(c->vault, &item, &handle.id);
    if (err)
        return err;
    item.id = handle.id;
    struct pull_params params = {.vault = c->vault,
                                 .stores = &handle,
                                 .count = 1,
                                 .joining = true,
                                 .progress = pulled,
                                 .ctx = c};
    memset(&result, 0, sizeof(result));
    err = pull_run(&params, &result);
    if (err)
        explain(c, err, result.why[0] ? result.why : err_text(err));
    return err == ERR_BEHIND ? 0 : err;
}

static int close_vault(struct cloning *c)
{
    int err = vault_close(c->vault);
    c->vault = NULL;
    return err;
}

static int run(struct cloning *c, const uint8_t code[CODE_LEN])
{
    int err = check_place(c);
    if (!err)
        err = sweep(c);
    if (!err)
        err = read_header(c);
    if (!err)
        err = read_keys(c, code);
    if (!err)
        err = read_roster(c);
    if (!err)
        err = join_roster(c);
    if (!err)
        err = make_vault(c);
    if (!err)
        err = replay(c);
    if (!err)
        err = join_store_self(c->vault, c->store, c->roster, true);
    if (!err)
        err = close_vault(c);
    return err ? err : rename_into_place(c);
}

static void finish(struct cloning *c, int err)
{
    if (c->vault)
        (void)close_vault(c);
    if (err && c->temp_fd >= 0)
        remove_tree(c->temp);
    if (c->temp_fd >= 0)
        close(c->temp_fd);
    free(c->temp);
    roster_free(c->roster);
    sign_keys_free(c->recovery_keys);
    secret_free(c->recovery_seed);
    keyring_free(c->keyring);
    bytes_out_release(&c->recovery);
}

int join_clone(const char *path, struct store *store, const char *url,
               const struct store_login *login, const struct store_options *options,
               const uint8_t code[CODE_LEN], const void *secret, size_t secret_len,
               const struct slot_cost *cost, const char *device_name,
               void (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total),
               void *ctx, char *why)
{
    struct cloning c = {.path = path,
                        .url = url,
                        .device_name = device_name,
                        .store = store,
                        .login = login,
                        .options = options,
                        .secret = secret,
                        .secret_len = secret_len,
                        .cost = cost,
                        .progress = progress,
                        .ctx = ctx,
                        .why = why,
                        .temp_fd = -1};
    bytes_out_init(&c.recovery);
    if (why)
        why[0] = '\0';
    int err = run(&c, code);
    if (err && why && !why[0]) {
        const char *said = store_last_error(store);
        snprintf(why, JOIN_WHY, "%s", said && said[0] ? said : err_text(err));
    }
    finish(&c, err);
    return err;
}
