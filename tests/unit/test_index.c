/*
 * index: random operations on the index and on a model of it, with flushes, commits, checkpoints, orderly ends and kills
 * in between. After each start the index holds what the model held at the last flush (or a little later, when a
 * kill came in the middle), and its counts agree with its tables.
 */
#include "check.h"
#include "index_model.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#define GROUPS_MAX 400u

/* Shared with the children. */
struct shared {
    unsigned durable; /* groups that a flush has promised, since the child started */
    unsigned done;    /* groups ended */
    unsigned failed;  /* checks of the child */
    size_t dump_len;
    char dump[1 << 20];
};

static struct shared *shared;

#define CHILD_CHECK(x)                                                                             \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x);                        \
            shared->failed++;                                                                      \
        }                                                                                          \
    } while (0)

/* ---- two texts of the same thing ---- */

struct text {
    char *p;
    size_t len, cap;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->p + t->len, t->cap - t->len, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= t->cap - t->len)
        abort();
    t->len += (size_t)n;
}

static void put_inode(struct text *t, const struct inode *in, const char *target)
{
    put(t,
        "inode %llx mode %o nlink %u size %llu stored %llu mtime %lld parent %llu av %llu cv %llu dirty %u to %s\n",
        (unsigned long long)in->ino, in->mode, in->nlink, (unsigned long long)in->size,
        (unsigned long long)in->stored, (long long)in->mtime, (unsigned long long)in->parent,
        (unsigned long long)in->attr_version.lamport,
        (unsigned long long)in->content_version.lamport, in->dirty, target);
}

static void put_extent(struct text *t, const struct extent *e)
{
    put(t, "extent %llu %.15s len %u refs %u at %llu:%llu pack %llu:%llu\n",
        (unsigned long long)e->eid, (const char *)e->id, e->len, e->refs,
        (unsigned long long)e->at.seg, (unsigned long long)e->at.off, (unsigned long long)e->pack,
        (unsigned long long)e->pack_off);
}

static void put_entry(struct text *t, uint64_t parent, const char *name, uint64_t ino,
                      struct version v, bool dirty)
{
    put(t, "entry %llu/%s -> %llu v %llu,%u dirty %d\n", (unsigned long long)parent, name,
        (unsigned long long)ino, (unsigned long long)v.lamport, v.device, dirty);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Order does not matter: sorts the lines. */
static void sort_lines(struct text *t)
{
    char **lines = calloc(t->len + 1, sizeof(*lines)), *copy = malloc(t->len + 1);
    size_t n = 0;
    memcpy(copy, t->p, t->len);
    copy[t->len] = '\0';
    for (char *save, *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        lines[n++] = line;
    qsort(lines, n, sizeof(*lines), compare_lines);
    t->len = 0;
    for (size_t i = 0; i < n; i++)
        put(t, "%s\n", lines[i]);
    free(lines);
    free(copy);
}

static void dump_model_file(const struct m_file *f, struct text *t)
{
    put_inode(t, &f->in, f->target);
    for (unsigned i = 0; i < M_XATTRS; i++)
        if (f->xattr[i][0])
            put(t, "xattr %llx user.%u %s\n", (unsigned long long)f->in.ino, i, f->xattr[i]);
    for (unsigned c = 0; c < M_CELLS; c++)
        if (f->map[c].row)
            put(t, "cell %llx %u = %u.%u%s\n", (unsigned long long)f->in.ino, c, f->map[c].extent,
                f->map[c].cell, c == 0 || f->map[c - 1].row != f->map[c].row ? " first" : "");
    for (unsigned c = 0; c <= M_CELLS; c++)
        if (f->dirty[c])
            put(t, "changed %llx %u\n", (unsigned long long)f->in.ino, c);
}

static void dump_model(const struct model *m, struct text *t)
{
    uint64_t inodes = 0, extents = 0, dirty = 0, mapped = 0, local = 0, unpacked = 0;
    t->len = 0;
    for (unsigned i = 0; i < M_FILES; i++) {
        if (!m->files[i].used)
            continue;
        dump_model_file(&m->files[i], t);
        inodes++;
        mapped += m->files[i].in.stored;
        dirty += m->files[i].in.dirty != 0;
    }
    for (unsigned i = 0; i < M_EXTENTS; i++) {
        const struct extent *e = &m->extents[i].e;
        if (!m->extents[i].used)
            continue;
        put_extent(t, e);
        extents++;
        local += e->at.seg ? seal_size(e->len) : 0;
        unpacked += e->pack ? 0 : seal_size(e->len);
    }
    for (unsigned i = 0; i < M_ENTRIES; i++) {
        const struct m_entry *e = &m->entries[i];
        if (e->used)
            put_entry(t, e->parent, e->name, e->ino, e->version, e->dirty);
    }
    for (unsigned i = 0; i < M_KV; i++) {
        const struct m_kv *kv = &m->kv[i];
        if (!kv->used)
            continue;
        put(t, "kv %s ", kv->space);
        for (size_t k = 0; k < kv->key_len; k++)
            put(t, "%02x", kv->key[k]);
        put(t, " = ");
        for (size_t k = 0; k < kv->len; k++)
            put(t, "%02x", (uint8_t)kv->value[k]);
        put(t, "\n");
    }
    put(t, "stats %llu %llu %llu %llu %llu %llu\n", (unsigned long long)inodes,
        (unsigned long long)extents, (unsigned long long)mapped, (unsigned long long)local,
        (unsigned long long)unpacked, (unsigned long long)dirty);
    sort_lines(t);
}

struct dump {
    struct index *ix;
    struct text *t;
    uint64_t ino;
    const char *space;
};

static int dump_xattr(void *ctx, const char *name, const void *value, size_t len)
{
    struct dump *d = ctx;
    put(d->t, "xattr %llx %s %.*s\n", (unsigned long long)d->ino, name, (int)len,
        (const char *)value);
    return 0;
}

static int dump_range(void *ctx, uint64_t off, uint64_t len)
{
    struct dump *d = ctx;
    for (uint64_t c = off / M_CELL; c <= M_CELLS && c * M_CELL < off + len; c++)
        put(d->t, "changed %llx %llu\n", (unsigned long long)d->ino, (unsigned long long)c);
    return 0;
}

static int dump_kv(void *ctx, const void *key, size_t key_len, const void *value, size_t len)
{
    struct dump *d = ctx;
    put(d->t, "kv %s ", d->space);
    for (size_t k = 0; k < key_len; k++)
        put(d->t, "%02x", ((const uint8_t *)key)[k]);
    put(d->t, " = ");
    for (size_t k = 0; k < len; k++)
        put(d->t, "%02x", ((const uint8_t *)value)[k]);
    put(d->t, "\n");
    return 0;
}

static int dump_entry(void *ctx, const struct entry *e, const struct inode *inode)
{
    struct dump *d = ctx;
    struct entry again;
    (void)inode;
    put_entry(d->t, e->parent, e->name, e->ino, e->version, e->dirty);
    CHILD_CHECK(index_entry_get(d->ix, e->parent, e->name, e->name_len, &again) == 0);
    CHILD_CHECK(again.cookie == e->cookie && again.ino == e->ino && e->cookie > 2);
    return 0;
}

static void dump_map(struct dump *d)
{
    struct map_row rows[M_CELLS];
    struct extent extents[M_CELLS];
    size_t n = 0;
    CHILD_CHECK(index_map_get(d->ix, d->ino, 0, UINT64_MAX, rows, extents, M_CELLS, &n) == 0);
    for (size_t i = 0; i < n; i++)
        for (uint64_t c = 0; c < rows[i].len / M_CELL; c++)
            put(d->t, "cell %llx %llu = %llu.%llu%s\n", (unsigned long long)d->ino,
                (unsigned long long)(rows[i].off / M_CELL + c), (unsigned long long)extents[i].eid,
                (unsigned long long)(rows[i].eoff / M_CELL + c), c == 0 ? " first" : "");
}

/* Numbers from a query of one column. */
static size_t query(struct index *ix, const char *sql, uint64_t *out, size_t max)
{
    sqlite3_stmt *stmt;
    size_t n = 0;
    CHILD_CHECK(index_prepare(ix, sql, &stmt) == 0);
    while (n < max && sqlite3_step(stmt) == SQLITE_ROW)
        out[n++] = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

static void dump_index(struct index *ix, struct text *t)
{
    static const char *const spaces[] = {"heads", "packs", "gone-entry", "gone-inode"};
    uint64_t numbers[M_EXTENTS];
    struct dump d = {.ix = ix, .t = t};
    t->len = 0;
    size_t n = query(ix, "SELECT ino FROM inode", numbers, M_EXTENTS);
    for (size_t i = 0; i < n; i++) {
        struct inode in;
        char target[32] = "";
        size_t len;
        d.ino = numbers[i];
        CHILD_CHECK(index_inode_get(ix, d.ino, &in) == 0);
        if (S_ISLNK(in.mode))
            CHILD_CHECK(index_target_get(ix, d.ino, target, sizeof(target), &len) == 0);
        put_inode(t, &in, target);
        CHILD_CHECK(index_xattr_scan(ix, d.ino, dump_xattr, &d) == 0);
        CHILD_CHECK(index_dirty_ranges(ix, d.ino, dump_range, &d) == 0);
        dump_map(&d);
    }
    n = query(ix, "SELECT eid FROM extent", numbers, M_EXTENTS);
    for (size_t i = 0; i < n; i++) {
        struct extent e, by_id;
        CHILD_CHECK(index_extent_get(ix, numbers[i], &e) == 0);
        CHILD_CHECK(index_extent_by_id(ix, e.id, &by_id) == 0 && by_id.eid == e.eid);
        put_extent(t, &e);
    }
    for (uint64_t parent = 1; parent <= 2; parent++)
        CHILD_CHECK(index_entry_scan(ix, parent, 0, false, dump_entry, &d) == 0);
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        d.space = spaces[i];
        CHILD_CHECK(index_kv_scan(ix, d.space, NULL, 0, dump_kv, &d) == 0);
    }
    struct index_stats s;
    CHILD_CHECK(index_stats(ix, &s) == 0);
    put(t, "stats %llu %llu %llu %llu %llu %llu\n", (unsigned long long)s.inodes,
        (unsigned long long)s.extents, (unsigned long long)s.mapped_bytes,
        (unsigned long long)s.local_bytes, (unsigned long long)s.unpacked_bytes,
        (unsigned long long)s.dirty_inodes);
    sort_lines(t);
}

/* The tables against each other. Needs a commit for seg. */
static void self_check(struct index *ix)
{
    static const char *const wrong[] = {
        "SELECT eid FROM extent e WHERE refs <> (SELECT count(*) FROM map m WHERE m.eid = e.eid)",
        "SELECT eid FROM map WHERE eid NOT IN (SELECT eid FROM extent)",
        "SELECT ino FROM map WHERE ino NOT IN (SELECT ino FROM inode)",
        "SELECT ino FROM inode i WHERE stored <> coalesce((SELECT sum(len) FROM map m WHERE m.ino = i.ino), 0)",
        "SELECT seg FROM seg s WHERE live <> (SELECT sum(len + 16 * ((len + 16383) / 16384)) FROM extent e WHERE"
        " e.seg = s.seg)",
        "SELECT seg FROM extent WHERE seg <> 0 AND seg NOT IN (SELECT seg FROM seg)",
        "SELECT ino FROM target WHERE ino NOT IN (SELECT ino FROM inode)",
        "SELECT ino FROM xattr WHERE ino NOT IN (SELECT ino FROM inode)",
        "SELECT ino FROM dirty_range WHERE ino NOT IN (SELECT ino FROM inode)",
        "SELECT a.ino FROM dirty_range a JOIN dirty_range b ON a.ino = b.ino AND a.off < b.off"
        " AND a.off + a.len >= b.off",
    };
    uint64_t none;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (query(ix, wrong[i], &none, 1) != 0) {
            fprintf(stderr, "self-check %zu finds %llu\n", i, (unsigned long long)none);
            shared->failed++;
        }
    sqlite3_stmt *stmt;
    CHILD_CHECK(index_prepare(ix, "PRAGMA integrity_check", &stmt) == 0);
    CHILD_CHECK(sqlite3_step(stmt) == SQLITE_ROW &&
                strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0);
    sqlite3_finalize(stmt);
}

/* ---- the children ---- */

enum ending { CLOSE, KILL, KILL_ANYWHERE };

/* Lets the kernel kill this process at a moment that has nothing to do with what it does. */
static void kill_soon(unsigned us)
{
    struct itimerval when = {.it_value = {.tv_usec = (suseconds_t)us + 1}};
    signal(SIGALRM, SIG_DFL);
    setitimer(ITIMER_REAL, &when, NULL);
}

static void work(struct env *env, struct model *m, unsigned groups, uint64_t seed)
{
    struct model chance = {.rng = seed};
    for (unsigned i = 0; i < groups; i++) {
        CHILD_CHECK(m_group(m, env->ix) == 0);
        shared->done = i + 1;
        unsigned what = m_random(&chance, 60);
        int err = what == 0   ? index_checkpoint(env->ix, NULL, NULL, NULL)
                  : what < 3  ? index_commit(env->ix)
                  : what < 12 ? index_flush(env->ix)
                              : 1;
        CHILD_CHECK(err >= 0);
        if (err == 0)
            shared->durable = i + 1;
    }
}

static void child(struct env *env, struct model *m, unsigned groups, enum ending ending,
                  uint64_t seed)
{
    if (env_open(env, m->next_ino == 1, false) != 0) {
        shared->failed++;
        _exit(0);
    }
    if (ending == KILL_ANYWHERE)
        kill_soon((unsigned)(seed % 40000));
    work(env, m, groups, seed);
    if (ending == KILL_ANYWHERE)
        for (;;)
            pause();
    if (ending == KILL)
        _exit(0);
    CHILD_CHECK(index_commit(env->ix) == 0);
    self_check(env->ix);
    CHILD_CHECK(env_close(env) == 0);
    shared->durable = groups;
    _exit(0);
}

static void look(struct env *env, bool read_only)
{
    struct text t = {.p = shared->dump, .cap = sizeof(shared->dump)};
    int err = env_open(env, false, read_only);
    if (err) {
        fprintf(stderr, "opening gives %s\n", err_text(err));
        shared->failed++;
        _exit(0);
    }
    index_lock(env->ix);
    dump_index(env->ix, &t);
    index_unlock(env->ix);
    shared->dump_len = t.len;
    if (!read_only) {
        CHILD_CHECK(index_commit(env->ix) == 0);
        index_lock(env->ix);
        self_check(env->ix);
        index_unlock(env->ix);
    }
    CHILD_CHECK(env_close(env) == 0);
    _exit(0);
}

static int wait_for(pid_t pid)
{
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

/* ---- rounds ---- */

/* Brings the model to the state that the dump shows; false if it shows none that is allowed. */
static bool follow(struct model *m, struct text *t)
{
    for (unsigned n = 0; n < shared->durable; n++)
        m_group(m, NULL);
    for (unsigned n = shared->durable;; n++) {
        dump_model(m, t);
        if (t->len == shared->dump_len && memcmp(t->p, shared->dump, t->len) == 0)
            return true;
        if (n > shared->done) /* a kill can come after the group and before it is counted */
            return false;
        m_group(m, NULL);
    }
}

static void show_difference(const struct text *t)
{
    FILE *a = fopen("/tmp/test_index.model", "w"), *b = fopen("/tmp/test_index.found", "w");
    if (a && b) {
        fwrite(t->p, 1, t->len, a);
        fwrite(shared->dump, 1, shared->dump_len, b);
    }
    if (a)
        fclose(a);
    if (b)
        fclose(b);
}

static void run_look(struct env *env, bool read_only)
{
    pid_t pid = fork();
    if (pid == 0)
        look(env, read_only);
    CHECK_EQ(wait_for(pid), 0);
    CHECK_EQ(shared->failed, 0);
}

static bool one_round(struct env *env, struct model *m, struct text *t, enum ending ending,
                      uint64_t seed)
{
    unsigned groups = 1 + (unsigned)(seed >> 20) % GROUPS_MAX;
    shared->durable = shared->done = shared->failed = 0;
    pid_t pid = fork();
    if (pid == 0)
        child(env, m, groups, ending, seed);
    int status = wait_for(pid);
    CHECK(status == 0 ||
          (ending == KILL_ANYWHERE && WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM));
    CHECK_EQ(shared->failed, 0);
    if (m->next_ino == 1 && access(env->path, F_OK) == 0 && shared->done == 0)
        return true; /* killed before there was anything */

    const struct model before = *m;
    run_look(env, true); /* must change nothing, and show the same */
    bool good = follow(m, t);
    run_look(env, false);
    *m = before;
    good = follow(m, t) && good;
    CHECK(good);
    if (!good)
        show_difference(t);
    return good;
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 25;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    struct text t = {.p = malloc(1 << 20), .cap = 1 << 20};
    struct model *m = malloc(sizeof(*m));
    struct env env;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!t.p || !m || shared == MAP_FAILED)
        return 1;
    env_dir(&env);
    m_start(m, seed);
    struct model chance = {.rng = seed ^ 0x5bd1e995};
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t draw = (uint64_t)m_random(&chance, 1u << 31) << 16 ^ m_random(&chance, 1u << 31);
        enum ending ending = i == 0 ? CLOSE : (enum ending)m_random(&chance, 3);
        if (!one_round(&env, m, &t, ending, draw)) {
            fprintf(stderr, "round %u of seed %llu\n", i, (unsigned long long)seed);
            break;
        }
    }
    env_remove(&env);
    free(m);
    free(t.p);
    return check_done();
}
