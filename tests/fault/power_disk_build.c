/* What a power cut leaves: one of the many states that are possible, chosen by a seed. */
#include "tests/fault/power_disk_impl.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const choice_names[POWER_CHOICES] = {
    "all",      "nothing",    "prefix",   "journal",   "independent", "no data",
    "no names", "only names", "one late", "one early", "drop one",    "torn last"};

const char *power_disk_choice_name(enum power_choice choice)
{
    return choice_names[choice];
}

/* A number for one thing, whatever was asked before. */
static uint64_t random_for(const struct power_pick *pick, uint64_t what)
{
    uint64_t state = pick->random ^ (what * 0xd6e8feb86659fd93u);
    return power_disk_random(&state);
}

/* ---- names ---- */

static bool keep_name(const struct power_view *v, size_t i, const struct power_pick *pick)
{
    const struct power_names *who = &v->who[i];
    if (i < who->dir->synced || i < who->dir2->synced || (who->a && who->a->watcher))
        return true;
    switch (pick->choice) {
    case POWER_NOTHING:
    case POWER_NO_NAMES:
        return false;
    case POWER_PREFIX:
    case POWER_JOURNAL:
        return i < pick->until;
    case POWER_INDEPENDENT:
        return random_for(pick, i) % 4 < 1 + random_for(pick, UINT64_MAX) % 3;
    case POWER_ONE_LATE:
        return who->dir != pick->node;
    case POWER_ONE_EARLY:
        return who->dir == pick->node;
    default:
        return true;
    }
}

static void choose_names(const struct power_view *v, struct power_node *n,
                         const struct power_pick *pick)
{
    n->name_count = 0;
    for (size_t k = 0; k < n->op_count; k++) {
        const size_t i = n->ops[k];
        const struct power_record *r = &v->disk->records[i];
        const struct power_names *who = &v->who[i];
        if (!keep_name(v, i, pick))
            continue;
        if (n == who->dir2 && (r->head.kind == POWER_RENAME || r->head.kind == POWER_EXCHANGE))
            power_disk_name_set(n, r->name2, r->head.name2_len, who->a);
        if (n != who->dir)
            continue;
        const bool moved = r->head.kind == POWER_RENAME || r->head.kind == POWER_EXCHANGE;
        power_disk_name_set(n, r->name, r->head.name_len, moved ? who->b : who->a);
    }
}

/* ---- bytes ---- */

/* A file while its state is chosen. */
struct content {
    const struct power_record *records;
    const size_t *ops; /* those that are not synced */
    size_t op_count;
    size_t shape;    /* so many of them have their effect on size and holes */
    uint32_t *limit; /* of each sector: so many have their effect on its bytes */
    size_t sectors, sector;
    uint8_t *bytes;
    size_t size, max; /* max: the highest byte that was ever written, and one */
};

static uint64_t end_of(const struct power_head *h)
{
    switch (h->kind) {
    case POWER_WRITE:
        return h->off + h->data_len;
    case POWER_TRUNCATE:
        return h->off;
    case POWER_ALLOCATE:
        return h->off + h->len;
    default:
        return 0;
    }
}

static void apply_size(struct content *c, const struct power_head *h)
{
    if (h->kind == POWER_TRUNCATE || end_of(h) > c->size)
        c->size = h->kind == POWER_PUNCH ? c->size : end_of(h);
}

/* Puts ${data} (NULL: zeroes) at [from, to) in the sectors whose limit is above ${j}. */
static void put(struct content *c, size_t j, size_t from, size_t to, const uint8_t *data)
{
    while (from < to) {
        size_t s = from / c->sector, stop = (s + 1) * c->sector;
        size_t len = (stop < to ? stop : to) - from;
        if (j < c->limit[s] && data)
            memcpy(c->bytes + from, data, len);
        else if (j < c->limit[s])
            memset(c->bytes + from, 0, len);
        data = data ? data + len : NULL;
        from += len;
    }
}

static void apply_bytes(struct content *c, size_t j, const struct power_record *r)
{
    const struct power_head *h = &r->head;
    if (h->kind == POWER_WRITE)
        put(c, j, h->off, h->off + h->data_len, r->data);
    else if (h->kind == POWER_TRUNCATE)
        put(c, j, h->off, c->max, NULL);
    else if (h->kind == POWER_PUNCH)
        put(c, j, h->off, h->off + h->len < c->max ? h->off + h->len : c->max, NULL);
}

/* Blocks are not given to new bytes before it is durable that they were taken from the old ones. */
static void bound_limits(struct content *c)
{
    for (size_t j = 0; j < c->op_count; j++) {
        const struct power_head *h = &c->records[c->ops[j]].head;
        size_t from = (h->off + c->sector - 1) / c->sector, to = c->sectors;
        if (h->kind == POWER_PUNCH)
            to = (h->off + h->len) / c->sector < to ? (h->off + h->len) / c->sector : to;
        else if (h->kind != POWER_TRUNCATE)
            continue;
        for (size_t s = from; s < to; s++) {
            if (j < c->shape && c->limit[s] < j + 1)
                c->limit[s] = (uint32_t)j + 1;
            else if (j >= c->shape && c->limit[s] > j)
                c->limit[s] = (uint32_t)j;
        }
    }
}

static size_t count_before(const struct content *c, size_t record)
{
    size_t n = 0;
    while (n < c->op_count && c->ops[n] < record)
        n++;
    return n;
}

enum way { WAY_ALL, WAY_NONE, WAY_HALF, WAY_TIMES, WAY_FRONT, WAY_BACK, WAYS };

static void random_limits(struct content *c, uint64_t random)
{
    const enum way way = random % WAYS;
    const size_t at = c->sectors ? (size_t)power_disk_random(&random) % c->sectors : 0;
    for (size_t s = 0; s < c->sectors; s++) {
        bool all = way == WAY_ALL || (way == WAY_FRONT && s < at) || (way == WAY_BACK && s >= at);
        if (way == WAY_HALF)
            all = power_disk_random(&random) & 1;
        c->limit[s] = all ? (uint32_t)c->op_count : 0;
        if (way == WAY_TIMES)
            c->limit[s] = (uint32_t)(power_disk_random(&random) % (c->op_count + 1));
    }
}

/* Of one write: nothing, or only some sectors, are there. */
static void tear(struct content *c, const struct power_pick *pick)
{
    const struct power_head *h = &c->records[pick->write].head;
    const size_t j = count_before(c, pick->write);
    uint64_t random = random_for(pick, 1);
    const unsigned way = (unsigned)(random % 5);
    const size_t from = h->off / c->sector, to = (h->off + h->data_len - 1) / c->sector + 1;
    const size_t at = from + (size_t)power_disk_random(&random) % (to - from + 1);
    for (size_t s = from; s < to; s++) {
        bool gone = way == 0 || (way == 1 && s >= at) || (way == 2 && s < at) ||
                    (way == 3 && (power_disk_random(&random) & 1)) ||
                    (way == 4 && s > from && s + 1 < to); /* its ends share sectors with others */
        if (gone && c->limit[s] > j)
            c->limit[s] = (uint32_t)j;
    }
}

static void choose(struct content *c, const struct power_node *n, const struct power_pick *pick)
{
    uint64_t random = random_for(pick, n->ino);
    size_t limit = c->op_count;
    c->shape = c->op_count;
    switch (n->watcher ? POWER_ALL : pick->choice) {
    case POWER_NOTHING:
    case POWER_ONLY_NAMES:
        c->shape = limit = 0;
        break;
    case POWER_PREFIX:
        c->shape = limit = count_before(c, pick->until);
        break;
    case POWER_JOURNAL:
        c->shape = count_before(c, pick->until);
        break;
    case POWER_INDEPENDENT:
        c->shape =
            random % 3 == 0 ? c->op_count : (size_t)power_disk_random(&random) % (c->op_count + 1);
        break;
    case POWER_NO_DATA:
        limit = 0;
        break;
    case POWER_ONE_LATE:
    case POWER_ONE_EARLY:
        if ((n == pick->node) == (pick->choice == POWER_ONE_LATE))
            c->shape = limit = 0;
        break;
    default:
        break;
    }
    for (size_t s = 0; s < c->sectors; s++)
        c->limit[s] = (uint32_t)limit;
    if (!n->watcher && (pick->choice == POWER_JOURNAL || pick->choice == POWER_INDEPENDENT))
        random_limits(c, power_disk_random(&random));
}

/* A write that makes the file longer can have made it so in part. */
static void choose_growth(struct content *c, const struct power_node *n,
                          const struct power_pick *pick)
{
    if ((pick->choice != POWER_JOURNAL && pick->choice != POWER_INDEPENDENT) ||
        c->shape == c->op_count)
        return;
    const struct power_head *h = &c->records[c->ops[c->shape]].head;
    uint64_t random = random_for(pick, n->ino ^ 0x5555);
    if (h->kind != POWER_WRITE || end_of(h) <= c->size || random & 1)
        return;
    size_t size = c->size + (size_t)(power_disk_random(&random) % (end_of(h) - c->size));
    size = size / c->sector * c->sector;
    c->size = size > c->size ? size : c->size;
}

uint8_t *power_disk_content(const struct power_view *v, const struct power_node *n,
                            const struct power_pick *pick, size_t *len, size_t *size)
{
    struct content c = {.records = v->disk->records, .sector = pick->sector ? pick->sector : 4096};
    size_t durable = 0;
    while (durable < n->op_count && n->ops[durable] < n->synced)
        durable++;
    for (size_t i = 0; i < n->op_count; i++) {
        const struct power_head *h = &c.records[n->ops[i]].head;
        if (h->kind == POWER_WRITE && end_of(h) > c.max)
            c.max = end_of(h);
    }
    c.sectors = (c.max + c.sector - 1) / c.sector;
    c.bytes = calloc(1, c.max + 1);
    c.limit = calloc(c.sectors + 1, sizeof(*c.limit));
    if (!c.bytes || !c.limit)
        power_disk_die("out of memory");

    for (size_t s = 0; s < c.sectors; s++)
        c.limit[s] = 1;
    for (size_t i = 0; i < durable; i++) {
        apply_bytes(&c, 0, &c.records[n->ops[i]]);
        apply_size(&c, &c.records[n->ops[i]].head);
    }
    c.ops = n->ops + durable;
    c.op_count = n->op_count - durable;
    choose(&c, n, pick);
    if (pick->write && n == pick->node && count_before(&c, pick->write) < c.op_count)
        tear(&c, pick);
    bound_limits(&c);
    for (size_t j = 0; j < c.op_count; j++)
        apply_bytes(&c, j, &c.records[c.ops[j]]);
    for (size_t j = 0; j < c.shape; j++)
        apply_size(&c, &c.records[c.ops[j]].head);
    choose_growth(&c, n, pick);
    free(c.limit);
    *size = c.size;
    *len = c.size < c.max ? c.size : c.max;
    return c.bytes;
}

/* ---- the directory ---- */

static void write_file(const struct power_view *v, struct power_node *n,
                       const struct power_pick *pick, int dirfd, const char *name)
{
    size_t bytes_len, size, at = 0;
    uint8_t *bytes = power_disk_content(v, n, pick, &bytes_len, &size);
    static const uint8_t zeroes[4096];
    int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        power_disk_die(name);
    while (at < bytes_len) {
        size_t len = bytes_len - at < sizeof(zeroes) ? bytes_len - at : sizeof(zeroes);
        if (memcmp(bytes + at, zeroes, len) != 0 &&
            pwrite(fd, bytes + at, len, (off_t)at) != (ssize_t)len)
            power_disk_die(name);
        at += len;
    }
    close(fd);
    free(bytes);
}

static void write_dir(const struct power_view *v, struct power_node *n,
                      const struct power_pick *pick, int dirfd)
{
    choose_names(v, n, pick);
    for (size_t i = 0; i < n->name_count; i++) {
        char name[NAME_MAX + 1];
        snprintf(name, sizeof(name), "%.*s", (int)n->names[i].len, n->names[i].name);
        if (!n->names[i].to->dir) {
            write_file(v, n->names[i].to, pick, dirfd, name);
            continue;
        }
        int fd = mkdirat(dirfd, name, 0700) == 0
                     ? openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                     : -1;
        if (fd < 0)
            power_disk_die(name);
        write_dir(v, n->names[i].to, pick, fd);
        close(fd);
    }
}

/* The write that DROP_ONE and TORN_LAST are about, and its file; 0: none is pending. */
static size_t choose_write(const struct power_view *v, struct power_pick *pick)
{
    size_t seen = 0, chosen = 0;
    for (size_t i = 0; i < v->count; i++) {
        struct power_node *n = v->nodes[i];
        for (size_t k = 0; !n->dir && !n->watcher && k < n->op_count; k++) {
            const struct power_head *h = &v->disk->records[n->ops[k]].head;
            if (n->ops[k] < n->synced || h->kind != POWER_WRITE || h->data_len == 0)
                continue;
            seen++;
            bool take = pick->choice == POWER_TORN_LAST ? n->ops[k] > chosen
                                                        : random_for(pick, n->ops[k]) % seen == 0;
            if (take) {
                chosen = n->ops[k];
                pick->node = n;
            }
        }
    }
    return chosen;
}

static struct power_node *choose_node(const struct power_view *v, uint64_t random)
{
    struct power_node *chosen = v->root;
    size_t seen = 0;
    for (size_t i = 0; i < v->count; i++) {
        const struct power_node *n = v->nodes[i];
        bool pending = n->op_count && n->ops[n->op_count - 1] >= n->synced;
        if (pending && power_disk_random(&random) % ++seen == 0)
            chosen = v->nodes[i];
    }
    return chosen;
}

void power_disk_build(const struct power_disk *d, size_t count, enum power_choice choice,
                      uint64_t seed, const char *to)
{
    struct power_view *v = power_disk_view(d, count);
    struct power_pick pick = {.choice = choice, .random = power_disk_random(&seed)};
    pick.sector = power_disk_random(&seed) & 1 ? 512 : 4096;
    /* The newest records are those that are not synced. */
    const size_t back = (size_t)(power_disk_random(&seed) % 4 ? 24 : count);
    pick.until = count - (size_t)(power_disk_random(&seed) % ((back < count ? back : count) + 1));
    if (choice == POWER_ONE_LATE || choice == POWER_ONE_EARLY)
        pick.node = choose_node(v, power_disk_random(&seed));
    if (choice == POWER_DROP_ONE || choice == POWER_TORN_LAST)
        pick.write = choose_write(v, &pick);
    int fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        power_disk_die(to);
    write_dir(v, v->root, &pick, fd);
    close(fd);
    power_disk_view_free(v);
}
