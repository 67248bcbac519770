#include "tests/fault/power_disk_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void power_disk_die(const char *what)
{
    fprintf(stderr, "power_disk: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void *grow(void *p, size_t count, size_t size)
{
    if (count & (count - 1))
        return p;
    p = reallocarray(p, count ? count * 2 : 1, size);
    if (!p)
        power_disk_die("out of memory");
    return p;
}

uint64_t power_disk_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* ---- reading ---- */

static void add(struct power_disk *d, const struct power_record *r)
{
    d->records = grow(d->records, d->count, sizeof(*d->records));
    d->records[d->count++] = *r;
}

static uint8_t *keep(struct power_disk *d, size_t len)
{
    d->kept = grow(d->kept, d->kept_count, sizeof(*d->kept));
    uint8_t *p = malloc(len ? len : 1);
    if (!p)
        power_disk_die("out of memory");
    d->kept[d->kept_count++] = p;
    return p;
}

static uint8_t *read_fd(struct power_disk *d, int fd, off_t from, size_t len)
{
    uint8_t *p = keep(d, len);
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, p + done, len - done, from + (off_t)done);
        if (n <= 0)
            power_disk_die("cannot read");
        done += (size_t)n;
    }
    return p;
}

static void add_dir(struct power_disk *d, int fd, uint64_t ino);

static void add_entry(struct power_disk *d, int dirfd, uint64_t dir, const char *name)
{
    struct stat st;
    size_t len = strlen(name);
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        power_disk_die(name);
    struct power_record r = {.head = {.kind = S_ISDIR(st.st_mode) ? POWER_MKDIR : POWER_CREATE,
                                      .ino = st.st_ino,
                                      .dir = dir,
                                      .name_len = (uint32_t)len}};
    r.name = memcpy(keep(d, len), name, len);
    add(d, &r);
    if (S_ISDIR(st.st_mode)) {
        add_dir(d, fd, st.st_ino);
        return;
    }
    struct power_record w = {
        .head = {.kind = POWER_WRITE, .ino = st.st_ino, .data_len = (uint64_t)st.st_size}};
    w.data = read_fd(d, fd, 0, (size_t)st.st_size);
    add(d, &w);
    close(fd);
}

/* Closes ${fd}. */
static void add_dir(struct power_disk *d, int fd, uint64_t ino)
{
    struct dirent *e;
    DIR *dir = fdopendir(fd);
    if (!dir)
        power_disk_die("fdopendir");
    while ((e = readdir(dir)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            add_entry(d, fd, ino, e->d_name);
    closedir(dir);
}

struct power_disk *power_disk_new(const char *dir)
{
    struct power_disk *d = calloc(1, sizeof(*d));
    struct stat st;
    if (d && !dir)
        return d;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!d || fd < 0 || fstat(fd, &st) != 0)
        power_disk_die(dir);
    d->root = st.st_ino;
    add_dir(d, fd, d->root);
    d->first = d->count;
    return d;
}

void power_disk_free(struct power_disk *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->kept_count; i++)
        free(d->kept[i]);
    free(d->kept);
    free(d->records);
    free(d);
}

void power_disk_read(struct power_disk *d, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        power_disk_die(path);
    size_t len = (size_t)st.st_size - d->log_read;
    const uint8_t *p = read_fd(d, fd, (off_t)d->log_read, len), *end = p + len;
    close(fd);
    d->log_read += len;
    while (p < end) {
        struct power_record r;
        memcpy(&r.head, p, sizeof(r.head));
        if (r.head.magic != POWER_LOG_MAGIC)
            power_disk_die("the log has something else in it");
        p += sizeof(r.head);
        r.name = (const char *)p;
        r.name2 = r.name + r.head.name_len;
        r.data = p + r.head.name_len + r.head.name2_len;
        p = r.data + r.head.data_len;
        if (d->root == 0)
            d->root = r.head.kind <= POWER_EXCHANGE ? r.head.dir : r.head.ino;
        add(d, &r);
    }
}

size_t power_disk_count(const struct power_disk *d)
{
    return d->count;
}

size_t power_disk_first(const struct power_disk *d)
{
    return d->first;
}

uint64_t power_disk_root(const struct power_disk *d)
{
    return d->root;
}

const struct power_record *power_disk_record(const struct power_disk *d, size_t i)
{
    return &d->records[i];
}

/* ---- what happened to which file ---- */

static struct power_node *new_node(struct power_view *v, uint64_t ino, bool dir)
{
    v->nodes = grow(v->nodes, v->count, sizeof(*v->nodes));
    struct power_node *n = calloc(1, sizeof(*n));
    if (!n)
        power_disk_die("out of memory");
    n->ino = ino;
    n->dir = dir;
    v->nodes[v->count++] = n;
    return n;
}

/* The newest of that number: one that is gone may have had it before. */
static struct power_node *find(struct power_view *v, uint64_t ino)
{
    for (size_t i = v->count; i-- > 0;)
        if (v->nodes[i]->ino == ino)
            return v->nodes[i];
    power_disk_die("a record of a file that nothing made");
    return NULL;
}

static void add_op(struct power_node *n, size_t i)
{
    n->ops = grow(n->ops, n->op_count, sizeof(*n->ops));
    n->ops[n->op_count++] = i;
}

static struct power_name *find_name(struct power_node *dir, const char *name, size_t len)
{
    for (size_t i = 0; i < dir->name_count; i++)
        if (dir->names[i].len == len && memcmp(dir->names[i].name, name, len) == 0)
            return &dir->names[i];
    return NULL;
}

void power_disk_name_set(struct power_node *dir, const char *name, size_t len,
                         struct power_node *to)
{
    struct power_name *e = find_name(dir, name, len);
    if (!e && to) {
        dir->names = grow(dir->names, dir->name_count, sizeof(*dir->names));
        dir->names[dir->name_count++] = (struct power_name){name, len, to};
    } else if (e && to) {
        e->to = to;
    } else if (e) {
        for (size_t at = (size_t)(e - dir->names); at + 1 < dir->name_count; at++)
            dir->names[at] = dir->names[at + 1];
        dir->name_count--;
    }
}

static struct power_node *named(struct power_node *dir, const char *name, size_t len)
{
    struct power_name *e = find_name(dir, name, len);
    if (!e)
        power_disk_die("a record of a name that nothing made");
    return e->to;
}

/* A record that changes names: notes which nodes it is about, and keeps ${dir} up to date for the next. */
static void walk_names(struct power_view *v, size_t i, const struct power_record *r)
{
    const struct power_head *h = &r->head;
    struct power_node *dir = find(v, h->dir), *dir2 = dir;
    struct power_names *who = &v->who[i];
    who->dir = who->dir2 = dir;
    add_op(dir, i);
    switch (h->kind) {
    case POWER_CREATE:
    case POWER_MKDIR:
        who->a = new_node(v, h->ino, h->kind == POWER_MKDIR);
        who->a->watcher = dir == v->root && h->kind == POWER_CREATE;
        break;
    case POWER_LINK:
        who->a = find(v, h->ino);
        break;
    case POWER_UNLINK:
        break;
    default:
        who->dir2 = dir2 = find(v, h->dir2);
        if (dir2 != dir)
            add_op(dir2, i);
        who->a = named(dir, r->name, h->name_len);
        who->b = h->kind == POWER_EXCHANGE ? named(dir2, r->name2, h->name2_len) : NULL;
        power_disk_name_set(dir2, r->name2, h->name2_len, who->a);
        power_disk_name_set(dir, r->name, h->name_len, who->b);
        return;
    }
    power_disk_name_set(dir, r->name, h->name_len, who->a);
}

static void walk_sync(struct power_view *v, const struct power_disk *d, size_t end)
{
    const struct power_head *h = &d->records[end].head;
    size_t begin = end;
    while (begin-- > 0)
        if (d->records[begin].head.kind == POWER_SYNC_BEGIN && d->records[begin].head.off == h->off)
            break;
    const struct power_node *which = h->ino ? find(v, h->ino) : NULL;
    for (size_t i = 0; i < v->count; i++)
        if ((!which || v->nodes[i] == which) && v->nodes[i]->synced < begin)
            v->nodes[i]->synced = begin;
}

struct power_view *power_disk_view(const struct power_disk *d, size_t count)
{
    struct power_view *v = calloc(1, sizeof(*v));
    if (!v || !(v->who = calloc(count + 1, sizeof(*v->who))))
        power_disk_die("out of memory");
    v->disk = d;
    v->root = new_node(v, d->root, true);
    v->end = count;
    for (size_t i = 0; i < count; i++) {
        const struct power_record *r = &d->records[i];
        if (r->head.kind <= POWER_EXCHANGE)
            walk_names(v, i, r);
        else if (r->head.kind <= POWER_PUNCH)
            add_op(find(v, r->head.ino), i);
        else if (r->head.kind == POWER_SYNC_END)
            walk_sync(v, d, i);
    }
    for (size_t i = 0; i < v->count; i++)
        if (v->nodes[i]->synced < d->first)
            v->nodes[i]->synced = d->first;
    return v;
}

void power_disk_view_free(struct power_view *v)
{
    for (size_t i = 0; i < v->count; i++) {
        free(v->nodes[i]->ops);
        free(v->nodes[i]->names);
        free(v->nodes[i]);
    }
    free(v->nodes);
    free(v->who);
    free(v);
}

/* ---- comparing ---- */

static bool differs(const char *path, const char *what)
{
    fprintf(stderr, "%s: %s: the recorder missed something\n", path, what);
    return false;
}

static bool compare_file(struct power_view *v, struct power_node *n, const char *path)
{
    size_t len, size, at = 0;
    const struct power_pick all = {.choice = POWER_ALL};
    uint8_t *want = power_disk_content(v, n, &all, &len, &size), buf[65536];
    static const uint8_t zeroes[sizeof(buf)];
    ssize_t r = 0;
    bool same = true;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (same && fd >= 0 &&
           (r = read(fd, buf,
                     at < len ? (len - at < sizeof(buf) ? len - at : sizeof(buf)) : sizeof(buf))) >
               0) {
        same = memcmp(buf, at < len ? want + at : zeroes, (size_t)r) == 0;
        at += (size_t)r;
    }
    if (fd >= 0)
        close(fd);
    free(want);
    return (same && fd >= 0 && at == size) || differs(path, "has another content");
}

static bool compare_dir(struct power_view *v, struct power_node *n, const char *path)
{
    size_t count = 0;
    struct dirent *e;
    DIR *dir = opendir(path);
    if (!dir)
        return differs(path, "is no directory");
    while ((e = readdir(dir)) != NULL)
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    bool same = count == n->name_count || differs(path, "has other names");
    for (size_t i = 0; same && i < n->name_count; i++) {
        char sub[PATH_MAX];
        struct power_node *to = n->names[i].to;
        snprintf(sub, sizeof(sub), "%s/%.*s", path, (int)n->names[i].len, n->names[i].name);
        same = to->dir ? compare_dir(v, to, sub) : compare_file(v, to, sub);
    }
    return same;
}

bool power_disk_compare(const struct power_disk *d, const char *dir)
{
    struct power_view *v = power_disk_view(d, d->count);
    bool same = compare_dir(v, v->root, dir);
    power_disk_view_free(v);
    return same;
}
