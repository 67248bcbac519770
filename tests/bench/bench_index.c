/*
 * bench_index - microseconds of the index's primitives. Run by hand: bench_index [FILES]
 */
#include "../unit/index_env.h"

#include <time.h>

#define DIRS 100u

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what, int err)
{
    fprintf(stderr, "bench_index: %s: %s\n", what, err_text(err));
    exit(1);
}

static void must(const char *what, int err)
{
    if (err)
        die(what, err);
}

static double start;

static void begin_row(void)
{
    start = now_us();
}

static void end_row(const char *what, unsigned n)
{
    printf("%-44s %9.2f us\n", what, (now_us() - start) / n);
}

static uint64_t *inos, dirs[DIRS];

static struct inode file_inode(uint64_t ino, uint32_t mode)
{
    return (struct inode){.ino = ino,
                          .mode = mode,
                          .nlink = 1,
                          .uid = 1000,
                          .gid = 1000,
                          .atime = 1790000000000000001,
                          .mtime = 1790000000000000002,
                          .ctime = 1790000000000000003,
                          .btime = 1790000000000000004};
}

static size_t file_name(unsigned i, char name[64])
{
    return (size_t)snprintf(name, 64, "some-file-name-%08x.jpg", i * 2654435761u);
}

static void create_one(struct index *ix, uint64_t parent, unsigned i, uint32_t mode, uint64_t *ino)
{
    struct inode dir, inode;
    struct entry entry = {.parent = parent, .type = mode & S_IFMT};
    entry.name_len = (uint8_t)file_name(i, entry.name);
    index_lock(ix);
    if (index_entry_get(ix, parent, entry.name, entry.name_len, &(struct entry){0}) != ERR_NOENT)
        die("exists", ERR_EXIST);
    must("begin", index_begin(ix, INDEX_LOCAL, 0));
    must("new", index_inode_new(ix, ino));
    inode = file_inode(*ino, mode);
    must("inode_put", index_inode_put(ix, &inode));
    entry.ino = *ino;
    must("entry_put", index_entry_put(ix, &entry));
    must("parent", index_inode_get(ix, parent, &dir));
    dir.mtime++;
    must("parent", index_inode_put(ix, &dir));
    index_end(ix);
    index_unlock(ix);
}

static void append_one(struct index *ix, uint64_t ino, uint64_t off, uint64_t where)
{
    struct inode inode;
    struct extent e = {.len = 4096, .epoch = 1, .at = {1, where}};
    secret_random(e.id, sizeof(e.id));
    index_lock(ix);
    must("begin", index_begin(ix, INDEX_LOCAL, 0));
    must("extent_put", index_extent_put(ix, &e));
    must("map_set", index_map_set(ix, ino, off, 4096, e.eid, 0));
    must("get", index_inode_get(ix, ino, &inode));
    inode.size = inode.size > off + 4096 ? inode.size : off + 4096;
    inode.dirty = DIRTY_CONTENT;
    must("put", index_inode_put(ix, &inode));
    index_end(ix);
    index_unlock(ix);
}

static void unlink_one(struct index *ix, uint64_t parent, unsigned i, uint64_t ino)
{
    struct inode dir;
    char name[64];
    size_t len = file_name(i, name);
    index_lock(ix);
    must("begin", index_begin(ix, INDEX_LOCAL | INDEX_FREES, 0));
    must("entry_del", index_entry_del(ix, parent, name, len));
    must("inode_del", index_inode_del(ix, ino));
    must("parent", index_inode_get(ix, parent, &dir));
    dir.mtime++;
    must("parent", index_inode_put(ix, &dir));
    index_end(ix);
    index_unlock(ix);
}

static int count_entry(void *ctx, const struct entry *entry, const struct inode *inode)
{
    (void)entry, (void)inode;
    ++*(unsigned *)ctx;
    return 0;
}

static void bench_reads(struct index *ix, unsigned n)
{
    struct inode inode;
    struct entry entry;
    char name[64];
    begin_row();
    for (unsigned i = 0; i < n; i++) {
        index_lock(ix);
        must("inode_get", index_inode_get(ix, inos[(i * 7919u) % n], &inode));
        index_unlock(ix);
    }
    end_row("inode_get, scattered", n);
    begin_row();
    for (unsigned i = 0; i < n; i++) {
        index_lock(ix);
        must("inode_get", index_inode_get(ix, inos[i % 512], &inode));
        index_unlock(ix);
    }
    end_row("inode_get, hot", n);
    begin_row();
    for (unsigned i = 0; i < n; i++) {
        unsigned k = (i * 7919u) % n;
        size_t len = file_name(k, name);
        index_lock(ix);
        must("entry_get", index_entry_get(ix, dirs[k % DIRS], name, len, &entry));
        index_unlock(ix);
    }
    end_row("entry_get, scattered", n);
    begin_row();
    unsigned seen = 0;
    for (unsigned d = 0; d < DIRS; d++) {
        index_lock(ix);
        must("scan", index_entry_scan(ix, dirs[d], 0, true, count_entry, &seen));
        index_unlock(ix);
    }
    end_row("entry_scan with inodes, an entry", seen ? seen : 1);
}

static void bench_one_file(struct env *env, uint64_t ino, unsigned n)
{
    struct map_row row;
    struct extent e;
    size_t got;
    begin_row();
    for (unsigned i = 0; i < n; i++)
        append_one(env->ix, ino, 4096ull * i, 64 + 8192ull * i);
    end_row("append 4 KiB to one file (extent, map, inode)", n);
    begin_row();
    for (unsigned i = 0; i < n; i++) {
        index_lock(env->ix);
        must("map_get",
             index_map_get(env->ix, ino, 4096ull * ((i * 7919u) % n), 4096, &row, &e, 1, &got));
        index_unlock(env->ix);
    }
    end_row("map_get of 4 KiB, scattered", n);
    begin_row();
    for (unsigned i = 0; i < n; i++)
        append_one(env->ix, ino, 4096ull * ((i * 7919u) % n), 64 + 8192ull * (n + i));
    end_row("overwrite 4 KiB, scattered", n);
    begin_row();
    for (unsigned i = 0; i < 2000; i++) {
        append_one(env->ix, ino, 0, 64 + 8192ull * (2 * n + i));
        must("flush", index_flush(env->ix));
    }
    end_row("overwrite 4 KiB and flush", 2000);
}

int main(int argc, char **argv)
{
    unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 20000;
    struct env env;
    env_dir(&env);
    inos = calloc(n, sizeof(*inos));
    must("open", env_open(&env, true, false));
    struct inode root = file_inode(INODE_ROOT, S_IFDIR | 0755);
    must("root", ENV_GROUP(env.ix, INDEX_LOCAL, index_inode_put(env.ix, &root)));
    for (unsigned d = 0; d < DIRS; d++)
        create_one(env.ix, INODE_ROOT, d, S_IFDIR | 0755, &dirs[d]);

    begin_row();
    for (unsigned i = 0; i < n; i++)
        create_one(env.ix, dirs[i % DIRS], i, S_IFREG | 0644, &inos[i]);
    end_row("create (lookup, inode, entry, parent)", n);
    begin_row();
    for (unsigned i = 0; i < n; i++)
        append_one(env.ix, inos[i], 0, 64 + 8192ull * i);
    end_row("write 4 KiB into each", n);
    begin_row();
    must("flush", index_flush(env.ix));
    end_row("flush, a file", n);
    begin_row();
    must("commit", index_commit(env.ix));
    end_row("commit, a file", n);
    begin_row();
    must("checkpoint", index_checkpoint(env.ix, NULL, NULL, NULL));
    end_row("checkpoint, a file", n);
    bench_reads(env.ix, n);
    bench_one_file(&env, inos[0], n);
    begin_row();
    for (unsigned i = 1; i < n; i++)
        unlink_one(env.ix, dirs[i % DIRS], i, inos[i]);
    end_row("unlink (entry, inode, map, extent, parent)", n - 1);
    begin_row();
    must("commit", index_commit(env.ix));
    end_row("commit, a file", n);
    must("close", env_close(&env));
    env_remove(&env);
    free(inos);
    return 0;
}
