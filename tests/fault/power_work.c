/*
 * A workload on a vault, run under the recorder: power_work ROOT FIRST SPEC [CODE]. The vault is ROOT/vault and is made if there is none; its
 * store, if a workload wants one, is ROOT/store, and a second device of it ROOT/second. SPEC is a row of words, of which power_spec.h says what they mean. FIRST is the number of the
 * first state.
 *
 * What was promised when is marked in the log: "begin N" before operation N; "state N" and the tree behind it; "floor N" when a sync has
 * returned that makes everything up to N durable.
 */
#include "tests/fault/power_tree.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/data.h"
#include "fs/tree.h"
#include "sync/engine.h"
#include "sync/join.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITE_MAX (1u << 20)

/* The recorder's; without it there is nothing to run for. */
void power_mark(const char *text) __attribute__((weak));
void power_die(unsigned count) __attribute__((weak));

struct work {
    char root[PATH_MAX - 16], vault[PATH_MAX], store[PATH_MAX], second[PATH_MAX];
    char store_url[STORE_URL_MAX + 1];
    uint8_t code[CODE_LEN]; /* of the vault, if it was made here or somebody says it */
    bool has_code;
    struct vault *v;
    unsigned state;   /* the number of the last operation */
    unsigned secrets; /* how often the passphrase was changed */
};

static const struct tree_cred cred = {1000, 1000};

static void fatal(const char *what, int err)
{
    fprintf(stderr, "power_work: %s: %s\n", what, err_text(err));
    exit(1);
}

static void mark(const char *word, unsigned number, const char *text)
{
    char *line = malloc(64 + strlen(text));
    if (!line)
        fatal(word, ERR_NOMEM);
    sprintf(line, "%s %u\n%s", word, number, text);
    power_mark(line);
    free(line);
}

static void mark_state(struct work *w)
{
    char *text = power_tree_dump(w->v);
    if (!text)
        fatal("dump", ERR_NOMEM);
    mark("state", w->state, text);
    free(text);
}

/* ---- the vault ---- */

static void open_vault(struct work *w)
{
    char secret[32], why[200] = "";
    power_tree_secret(secret, w->secrets);
    int err = vault_open(&w->v, w->vault, secret, strlen(secret), VAULT_READ_WRITE, why);
    /* An earlier part of the workload may have changed it. */
    for (unsigned i = 1; err == ERR_WRONGKEY && i < 10; i++) {
        power_tree_secret(secret, w->secrets = i);
        err = vault_open(&w->v, w->vault, secret, strlen(secret), VAULT_READ_WRITE, why);
    }
    if (!err)
        err = tree_reap_all(w->v);
    if (err)
        fatal(why[0] ? why : "vault_open", err);
}

static void close_vault(struct work *w)
{
    int err = vault_close(w->v);
    if (err)
        fatal("vault_close", err);
    w->v = NULL;
}

static void make_vault(struct work *w)
{
    char hex[2 * CODE_LEN + 1], secret[32], why[200] = "";
    power_tree_secret(secret, 0);
    int err = join_init(w->vault, secret, strlen(secret), &power_tree_cost, "first", w->code, why);
    if (err)
        fatal(why[0] ? why : "join_init", err);
    sodium_bin2hex(hex, sizeof(hex), w->code, CODE_LEN);
    w->has_code = true;
    mark("made", 0, hex);
}

/* ---- words ---- */

/* Up to three names or numbers behind the letter of a word. */
struct word {
    char letter;
    const char *name, *name2;
    uint64_t a, b;
};

static void parse(char *text, struct word *word)
{
    char *rest = text + 1, *part;
    *word = (struct word){.letter = text[0]};
    while ((part = strsep(&rest, ":")) != NULL) {
        if (*part >= '0' && *part <= '9' && word->b == 0 && word->a == 0)
            word->a = strtoull(part, NULL, 10) + 1; /* so that a nought counts as given */
        else if (*part >= '0' && *part <= '9')
            word->b = strtoull(part, NULL, 10);
        else if (*part && !word->name)
            word->name = part;
        else if (*part)
            word->name2 = part;
    }
    word->a -= word->a > 0;
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(x >> 56);
    }
}

static void write_file(struct work *w, uint64_t ino, uint64_t off, uint64_t len)
{
    static uint8_t buf[WRITE_MAX];
    len = len < sizeof(buf) ? len : sizeof(buf);
    fill(buf, len, w->state);
    (void)data_write(w->v, ino, off, buf, len, true, false);
}

static void unlink_name(struct work *w, uint64_t dir, const char *leaf, size_t len)
{
    struct inode gone;
    if (tree_unlink(w->v, dir, leaf, len, &gone) == 0 && gone.nlink == 0)
        (void)tree_reap(w->v, gone.ino);
}

/* What needs no second name. What cannot be done (a name that is not there) is a state like any other. */
static void do_one(struct work *w, const struct word *p, uint64_t dir, const char *leaf,
                   uint64_t ino)
{
    struct inode in, out;
    const size_t len = strlen(leaf);
    switch (p->letter) {
    case 'c':
        (void)tree_mknod(w->v, dir, leaf, len, S_IFREG | 0644, 0, cred, &out);
        break;
    case 'm':
        (void)tree_mkdir(w->v, dir, leaf, len, 0755, cred, &out);
        break;
    case 's':
        (void)tree_symlink(w->v, dir, leaf, len, "some/where", cred, &out);
        break;
    case 'u':
        unlink_name(w, dir, leaf, len);
        break;
    case 'd':
        if (tree_rmdir(w->v, dir, leaf, len, &out) == 0)
            (void)tree_reap(w->v, out.ino);
        break;
    case 'w':
        write_file(w, ino, p->a, p->b);
        break;
    case 't':
        in = (struct inode){.size = p->a};
        (void)tree_setattr(w->v, ino, TREE_SIZE, &in, &out);
        break;
    case 'p':
        (void)data_fallocate(w->v, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, p->a, p->b);
        break;
    case 'z':
        (void)data_fallocate(w->v, ino, FALLOC_FL_ZERO_RANGE, p->a, p->b);
        break;
    case 'f':
        (void)data_fallocate(w->v, ino, 0, p->a, p->b);
        break;
    case 'a':
        (void)tree_setxattr(w->v, ino, "user.note", &w->state, sizeof(w->state), 0);
        break;
    case 'b':
        (void)tree_removexattr(w->v, ino, "user.note");
        break;
    default:
        fatal("no such word", ERR_INVAL);
    }
}

static void do_two(struct work *w, const struct word *p, uint64_t dir, const char *leaf,
                   uint64_t ino)
{
    struct inode out;
    const char *leaf2;
    uint64_t dir2, ino2, copied;
    if (power_tree_parent(w->v, p->name2, &dir2, &leaf2) != 0)
        return;
    switch (p->letter) {
    case 'r':
    case 'x':
        if (tree_rename(w->v, dir, leaf, strlen(leaf), dir2, leaf2, strlen(leaf2),
                        p->letter == 'x' ? RENAME_EXCHANGE : 0, &out) == 0 &&
            out.ino != 0 && p->letter == 'r')
            (void)tree_reap(w->v, out.ino);
        break;
    case 'l':
        (void)tree_link(w->v, ino, dir2, leaf2, strlen(leaf2), &out);
        break;
    case 'k':
        if (power_tree_ino(w->v, p->name2, &ino2) == 0)
            (void)data_copy_range(w->v, ino, p->a, ino2, p->a, p->b, &copied);
        break;
    default:
        fatal("no such word", ERR_INVAL);
    }
}

static void do_operation(struct work *w, const struct word *p)
{
    const char *leaf;
    uint64_t dir, ino = 0;
    if (!p->name || power_tree_parent(w->v, p->name, &dir, &leaf) != 0)
        return;
    if (power_tree_ino(w->v, p->name, &ino) != 0 && !strchr("cmsudrx", p->letter))
        return;
    if (p->name2)
        do_two(w, p, dir, leaf, ino);
    else
        do_one(w, p, dir, leaf, ino);
}

/* ---- words about durability ---- */

static void reclaim_lock(void *ctx)
{
    vault_reclaim_wrlock(ctx);
}

static void reclaim_unlock(void *ctx)
{
    vault_reclaim_unlock(ctx);
}

/* False: it was there, and nothing is durable by this. */
static bool add_store(struct work *w)
{
    struct stores_item item = {0};
    struct store *store;
    char why[200] = "";
    uint32_t id;
    /* The folder is somebody else's, who has seen to it that it lasts. */
    int fd = open(w->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if ((mkdir(w->store, 0700) != 0 && errno != EEXIST) || fd < 0 || fsync(fd) != 0)
        fatal(w->store, ERR_IO);
    close(fd);
    snprintf(item.url, sizeof(item.url), "%s", w->store_url);
    int err = store_open(&store, item.url, NULL, NULL, why);
    if (!err) {
        err = join_prepare_store(w->v, store, why);
        store_close(store);
    }
    if (!err)
        err = stores_add(w->v, &item, &id);
    if (err && err != ERR_EXIST)
        fatal(why[0] ? why : "store", err);
    if (!err)
        mark("store", 0, "");
    return !err;
}

static void sync_with_store(struct vault *v)
{
    struct engine *e;
    int err = engine_new(&e, v, NULL);
    if (!err) {
        err = engine_sync(e, NULL, NULL);
        engine_free(e);
    }
    if (err)
        fatal("engine_sync", err);
}

static void clone_second(struct work *w, const char *secret)
{
    struct store *store;
    char why[200] = "";
    if (!w->has_code)
        return;
    int err = store_open(&store, w->store_url, NULL, NULL, why);
    if (!err) {
        err = join_clone(w->second, store, w->store_url, NULL, NULL, w->code, secret,
                         strlen(secret), &power_tree_cost, "second", NULL, NULL, why);
        store_close(store);
    }
    if (err)
        fatal(why[0] ? why : "join_clone", err);
    mark("cloned", 0, "");
}

/* Another device, made if there is none yet, makes a file and gives it to the store. */
static void use_second(struct work *w)
{
    char secret[32], name[16], why[200] = "";
    struct vault *v;
    struct inode in;
    power_tree_secret(secret, 0);
    if (access(w->second, F_OK) != 0)
        clone_second(w, secret);
    if (access(w->second, F_OK) != 0)
        return;
    int err = vault_open(&v, w->second, secret, strlen(secret), VAULT_READ_WRITE, why);
    if (err)
        fatal(why[0] ? why : "vault_open", err);
    snprintf(name, sizeof(name), "n%u", w->state);
    err = tree_mknod(v, INODE_ROOT, name, strlen(name), S_IFREG | 0644, 0, cred, &in);
    if (!err)
        err = data_write(v, in.ino, 0, (const uint8_t *)why, sizeof(why), true, false);
    if (err)
        fatal(name, err);
    sync_with_store(v);
    mark("second", w->state, "");
    err = vault_close(v);
    if (err)
        fatal("vault_close", err);
}

static void change_secret(struct work *w)
{
    char old[32], new[32];
    power_tree_secret(old, w->secrets++);
    power_tree_secret(new, w->secrets);
    mark("secret try", w->secrets, "");
    int err = vault_passwd(w->vault, old, strlen(old), new, strlen(new));
    if (err)
        fatal("vault_passwd", err);
    mark("secret done", w->secrets, "");
}

struct thread {
    pthread_t id;
    struct work *w;
    unsigned number, rounds;
    uint64_t ino;
};

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    uint8_t buf[16384];
    char word[32];
    for (unsigned i = 1; i <= t->rounds; i++) {
        const size_t len = power_tree_fill(buf, t->number, i);
        snprintf(word, sizeof(word), "try %u", t->number);
        mark(word, i, "");
        int err = data_write(t->w->v, t->ino, 0, buf, len, true, false);
        if (!err)
            err = index_flush(vault_index(t->w->v));
        if (err)
            fatal("a thread", err);
        snprintf(word, sizeof(word), "done %u", t->number);
        mark(word, i, "");
    }
    return NULL;
}

struct committing {
    struct work *w;
    atomic_bool stop;
};

/* What the committer of a mount does, and more often. */
static void *run_committer(void *arg)
{
    struct committing *c = arg;
    struct index *ix = vault_index(c->w->v);
    int err = 0;
    for (unsigned i = 1; !err && !atomic_load(&c->stop); i++) {
        err =
            i % 4 ? index_commit(ix) : index_checkpoint(ix, reclaim_lock, reclaim_unlock, c->w->v);
        sched_yield();
    }
    if (err)
        fatal("committing", err);
    return NULL;
}

/* Files that several threads write and sync at once while another commits. */
static void run_threads(struct work *w, unsigned rounds)
{
    struct thread t[POWER_TREE_THREADS] = {0};
    struct committing c = {.w = w};
    pthread_t committer;
    struct inode out;
    mark("threads", 1, "");
    for (unsigned i = 0; i < POWER_TREE_THREADS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%u", i);
        int err = tree_mknod(w->v, INODE_ROOT, name, strlen(name), S_IFREG | 0644, 0, cred, &out);
        t[i] = (struct thread){.w = w, .number = i, .rounds = rounds, .ino = out.ino};
        if (err || pthread_create(&t[i].id, NULL, run_thread, &t[i]) != 0)
            fatal("threads", err);
    }
    if (pthread_create(&committer, NULL, run_committer, &c) != 0)
        fatal("threads", ERR_NOMEM);
    for (unsigned i = 0; i < POWER_TREE_THREADS; i++)
        pthread_join(t[i].id, NULL);
    atomic_store(&c.stop, true);
    pthread_join(committer, NULL);
}

/* Returns true if all operations before it are durable now. */
static bool do_control(struct work *w, const struct word *p)
{
    struct index *ix = vault_index(w->v);
    int err = 0;
    switch (p->letter) {
    case 'F':
        err = index_flush(ix);
        break;
    case 'C':
        err = index_commit(ix);
        break;
    case 'K':
        err = index_checkpoint(ix, reclaim_lock, reclaim_unlock, w->v);
        break;
    case 'O':
        close_vault(w);
        open_vault(w);
        break;
    case 'Z':
        return add_store(w);
    case 'Y':
        sync_with_store(w->v);
        break;
    case 'V':
        use_second(w);
        return false;
    case 'G':
        power_die(p->a ? (unsigned)p->a : 1);
        return false;
    case 'W':
        change_secret(w);
        return false;
    case 'H':
        run_threads(w, (unsigned)p->a);
        break;
    default:
        fatal("no such word", ERR_INVAL);
    }
    if (err && err != ERR_NOSPACE) /* on a full disk nothing is promised by it */
        fatal("making durable", err);
    return !err;
}

static void run_word(struct work *w, char *text)
{
    struct word p;
    bool durable = false;
    parse(text, &p);
    w->state++;
    mark("begin", w->state, text);
    if (p.letter >= 'A' && p.letter <= 'Z')
        durable = do_control(w, &p);
    else
        do_operation(w, &p);
    mark_state(w);
    if (p.letter == 'H')
        mark("threads", 0, "");
    if (durable)
        mark("floor", w->state, "");
}

int main(int argc, char **argv)
{
    struct work w = {0};
    uint8_t id[32];
    uint32_t tag;
    size_t len;
    if ((argc != 4 && argc != 5) || !power_mark || !power_die) {
        fprintf(stderr, "usage: power_work ROOT FIRST SPEC [CODE], with the recorder preloaded\n");
        return 1;
    }
    snprintf(w.root, sizeof(w.root), "%s", argv[1]);
    snprintf(w.vault, sizeof(w.vault), "%s/vault", w.root);
    snprintf(w.store, sizeof(w.store), "%s/store", w.root);
    snprintf(w.second, sizeof(w.second), "%s/second", w.root);
    snprintf(w.store_url, sizeof(w.store_url), "file://%.1900s", w.store);
    w.state = (unsigned)strtoul(argv[2], NULL, 10);
    log_set_level(LOG_LEVEL_ERROR);
    int err = secret_init();
    if (err)
        fatal("secret_init", err);
    w.has_code = argc == 5 &&
                 sodium_hex2bin(w.code, CODE_LEN, argv[4], strlen(argv[4]), NULL, &len, NULL) == 0;
    if (*argv[3] == 'G')
        power_die((unsigned)strtoul(argv[3] + 2, NULL, 10));
    err = vault_peek(w.vault, id, &tag);
    if (err == ERR_NOTVAULT || err == ERR_NOENT)
        make_vault(&w);
    open_vault(&w);
    mark_state(&w);
    char *rest = argv[3], *text;
    bool closes = false;
    while ((text = strsep(&rest, " ")) != NULL) {
        closes = strcmp(text, ".") == 0;
        if (closes)
            break;
        if (*text == '!')
            power_mark("start 0\n");
        else if (*text)
            run_word(&w, text);
    }
    if (closes) {
        mark("begin", w.state, "close");
        close_vault(&w);
        mark("floor", w.state, "");
    }
    /* Without a close: as if it was killed. */
    fflush(NULL);
    _exit(0);
}
