#include "fs/fusefs_lookup.h"

#include "crypto/err.h"
#include "fs/inode.h"

#include <pthread.h>
#include <stdlib.h>

/*
 * Open addressing with linear probing: 24 bytes an inode and one cache line a look, as millions of inodes may be
 * cached. Deleting moves later slots back, so there are no tombstones to scan.
 */
struct slot {
    uint64_t ino;  /* 0: free */
    uint64_t refs; /* and four bits on top */
    uint64_t parent;
};

#define GONE     (1ull << 63) /* it has no name */
#define FOR_GOOD (1ull << 62) /* and will not get one */
#define DELETED  (1ull << 61) /* by another device */
#define MANY     (1ull << 60) /* more parents are among the others */
#define MARKS    (GONE | FOR_GOOD | DELETED)
#define REFS     (MANY - 1)
#define CAP_MIN  1024u

/* Of a file with several names: directories besides the last one. Few have that. */
struct other {
    uint64_t ino; /* 0: free; equal ones follow each other, perhaps with others in between */
    uint64_t parent;
};

struct fusefs_lookup {
    pthread_mutex_t lock; /* guards all below */
    struct slot *slots;
    size_t cap, used; /* cap is a power of two; at most 3/4 used */
    struct other *others;
    size_t others_cap, others_used; /* the same; 0 at first */
};

static size_t home(uint64_t ino, size_t cap)
{
    return (size_t)((ino * 0x9e3779b97f4a7c15ull) >> 20) & (cap - 1);
}

/* The slot of ${ino}, or the free one where it belongs. */
static struct slot *find(struct slot *slots, size_t cap, uint64_t ino)
{
    size_t i = home(ino, cap);

    while (slots[i].ino != 0 && slots[i].ino != ino)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

static int resize(struct fusefs_lookup *table, size_t cap)
{
    struct slot *slots = calloc(cap, sizeof(*slots));

    if (!slots)
        return ERR_NOMEM;
    for (size_t i = 0; i < table->cap; i++)
        if (table->slots[i].ino != 0)
            *find(slots, cap, table->slots[i].ino) = table->slots[i];
    free(table->slots);
    table->slots = slots;
    table->cap = cap;
    return 0;
}

static void erase(struct fusefs_lookup *table, struct slot *slot)
{
    size_t mask = table->cap - 1;
    size_t hole = (size_t)(slot - table->slots);

    for (size_t i = (hole + 1) & mask; table->slots[i].ino != 0; i = (i + 1) & mask) {
        size_t want = home(table->slots[i].ino, table->cap);
        /* It may fill the hole if its home is not between the hole and itself. */
        if (((i - want) & mask) >= ((i - hole) & mask)) {
            table->slots[hole] = table->slots[i];
            hole = i;
        }
    }
    table->slots[hole] = (struct slot){0};
    table->used--;
    if (table->cap > CAP_MIN && table->used < table->cap / 8)
        (void)resize(table, table->cap / 2); /* staying large is no error */
}

/* ---- other parents ---- */

static void other_insert(struct other *others, size_t cap, struct other o)
{
    size_t i = home(o.ino, cap);

    while (others[i].ino != 0)
        i = (i + 1) & (cap - 1);
    others[i] = o;
}

static int others_grow(struct fusefs_lookup *table)
{
    size_t cap = table->others_cap ? table->others_cap * 2 : 64;
    struct other *others = calloc(cap, sizeof(*others));

    if (!others)
        return ERR_NOMEM;
    for (size_t i = 0; i < table->others_cap; i++)
        if (table->others[i].ino != 0)
            other_insert(others, cap, table->others[i]);
    free(table->others);
    table->others = others;
    table->others_cap = cap;
    return 0;
}

/* How many there are of it; at most ${max} are copied. */
static size_t others_of(const struct fusefs_lookup *table, uint64_t ino, uint64_t *parents,
                        size_t max)
{
    size_t mask = table->others_cap - 1, n = 0;

    if (table->others_cap == 0)
        return 0;
    for (size_t i = home(ino, table->others_cap); table->others[i].ino != 0; i = (i + 1) & mask)
        if (table->others[i].ino == ino && n++ < max)
            parents[n - 1] = table->others[i].parent;
    return n;
}

static void other_add(struct fusefs_lookup *table, struct slot *slot, uint64_t parent)
{
    uint64_t known[FUSEFS_LOOKUP_PARENTS];
    size_t n = slot->refs & MANY ? others_of(table, slot->ino, known, FUSEFS_LOOKUP_PARENTS) : 0;

    for (size_t i = 0; i < n && i < FUSEFS_LOOKUP_PARENTS; i++)
        if (known[i] == parent)
            return;
    /* A cache that stays as it was is no reason to refuse the answer. */
    if (n >= FUSEFS_LOOKUP_PARENTS ||
        (table->others_used >= table->others_cap / 4 * 3 && others_grow(table) < 0))
        return;
    other_insert(table->others, table->others_cap, (struct other){slot->ino, parent});
    table->others_used++;
    slot->refs |= MANY;
}

static void others_erase(struct fusefs_lookup *table, uint64_t ino)
{
    size_t mask = table->others_cap - 1, i = home(ino, table->others_cap);

    while (table->others[i].ino != 0) {
        if (table->others[i].ino != ino) {
            i = (i + 1) & mask;
            continue;
        }
        size_t hole = i;
        for (size_t k = (i + 1) & mask; table->others[k].ino != 0; k = (k + 1) & mask) {
            size_t want = home(table->others[k].ino, table->others_cap);
            if (((k - want) & mask) >= ((k - hole) & mask)) {
                table->others[hole] = table->others[k];
                hole = k;
            }
        }
        table->others[hole] = (struct other){0};
        table->others_used--; /* what moved into the hole is looked at next */
    }
}

/* ---- the table ---- */

struct fusefs_lookup *fusefs_lookup_new(void)
{
    struct fusefs_lookup *table = calloc(1, sizeof(*table));

    if (!table || resize(table, CAP_MIN) < 0) {
        free(table);
        return NULL;
    }
    pthread_mutex_init(&table->lock, NULL);
    return table;
}

void fusefs_lookup_free(struct fusefs_lookup *table)
{
    if (!table)
        return;
    pthread_mutex_destroy(&table->lock);
    free(table->slots);
    free(table->others);
    free(table);
}

int fusefs_lookup_add(struct fusefs_lookup *table, uint64_t ino, uint64_t parent)
{
    struct slot *slot;
    int err = 0;

    if (ino == INODE_ROOT)
        return 0;
    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    if (slot->ino == 0) {
        if (table->used >= table->cap / 4 * 3) {
            err = resize(table, table->cap * 2);
            slot = err < 0 ? NULL : find(table->slots, table->cap, ino);
        }
        if (slot) {
            *slot = (struct slot){.ino = ino};
            table->used++;
        }
    }
    if (slot) {
        slot->refs++;
        if (slot->parent != 0 && parent != 0 && slot->parent != parent)
            other_add(table, slot, slot->parent);
        slot->parent = parent;
    }
    pthread_mutex_unlock(&table->lock);
    return err;
}

bool fusefs_lookup_forget(struct fusefs_lookup *table, uint64_t ino, uint64_t n)
{
    struct slot *slot;
    bool reap = false;

    if (ino == INODE_ROOT || ino == 0)
        return false;
    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    if (slot->ino != 0) {
        slot->refs -= n < (slot->refs & REFS) ? n : (slot->refs & REFS);
        if ((slot->refs & REFS) == 0) {
            reap = (slot->refs & MARKS) != 0;
            if (slot->refs & MANY)
                others_erase(table, ino);
            erase(table, slot);
        }
    }
    pthread_mutex_unlock(&table->lock);
    return reap;
}

/* Sets marks. */
static bool mark(struct fusefs_lookup *table, uint64_t ino, uint64_t marks)
{
    struct slot *slot;
    bool held;

    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    held = slot->ino != 0;
    if (held)
        slot->refs |= marks;
    pthread_mutex_unlock(&table->lock);
    return held;
}

/* Is it here, with these marks? */
static bool has(struct fusefs_lookup *table, uint64_t ino, uint64_t marks)
{
    struct slot *slot;
    bool yes;

    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    yes = slot->ino != 0 && (slot->refs & marks) == marks;
    pthread_mutex_unlock(&table->lock);
    return yes;
}

bool fusefs_lookup_mark_gone(struct fusefs_lookup *table, uint64_t ino, bool for_good)
{
    return mark(table, ino, for_good ? GONE | FOR_GOOD : GONE);
}

bool fusefs_lookup_mark_deleted(struct fusefs_lookup *table, uint64_t ino)
{
    return mark(table, ino, GONE | DELETED);
}

bool fusefs_lookup_is_deleted(struct fusefs_lookup *table, uint64_t ino)
{
    return has(table, ino, DELETED);
}

bool fusefs_lookup_gone_for_good(struct fusefs_lookup *table, uint64_t ino)
{
    return has(table, ino, FOR_GOOD);
}

bool fusefs_lookup_held(struct fusefs_lookup *table, uint64_t ino)
{
    return has(table, ino, 0);
}

void fusefs_lookup_moved(struct fusefs_lookup *table, uint64_t ino, uint64_t parent, bool links)
{
    struct slot *slot;

    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    if (slot->ino != 0) {
        if (links && slot->parent != 0 && slot->parent != parent)
            other_add(table, slot, slot->parent);
        slot->parent = parent;
    }
    pthread_mutex_unlock(&table->lock);
}

size_t fusefs_lookup_parents(struct fusefs_lookup *table, uint64_t ino, uint64_t *parents,
                             size_t max)
{
    struct slot *slot;
    size_t n = 0;

    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    if (slot->ino != 0 && slot->parent != 0 && max > 0)
        parents[n++] = slot->parent;
    if (slot->ino != 0 && slot->refs & MANY)
        n += others_of(table, ino, parents + n, max - n);
    pthread_mutex_unlock(&table->lock);
    return n < max ? n : max;
}

void fusefs_lookup_unmark(struct fusefs_lookup *table, uint64_t ino)
{
    struct slot *slot;

    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    if (slot->ino != 0)
        slot->refs &= ~MARKS;
    pthread_mutex_unlock(&table->lock);
}

size_t fusefs_lookup_count(struct fusefs_lookup *table)
{
    size_t n;

    pthread_mutex_lock(&table->lock);
    n = table->used;
    pthread_mutex_unlock(&table->lock);
    return n;
}
