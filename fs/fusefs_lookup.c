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
    uint64_t refs; /* and two bits on top */
    uint64_t parent;
};

#define GONE     (1ull << 63) /* it has no name */
#define FOR_GOOD (1ull << 62) /* and will not get one */
#define MARKS    (GONE | FOR_GOOD)
#define CAP_MIN  1024u

struct fusefs_lookup {
    pthread_mutex_t lock; /* guards all below */
    struct slot *slots;
    size_t cap, used; /* cap is a power of two; at most 3/4 used */
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
        slot->refs -= n < (slot->refs & ~MARKS) ? n : (slot->refs & ~MARKS);
        if ((slot->refs & ~MARKS) == 0) {
            reap = slot->refs != 0;
            erase(table, slot);
        }
    }
    pthread_mutex_unlock(&table->lock);
    return reap;
}

bool fusefs_lookup_mark_gone(struct fusefs_lookup *table, uint64_t ino, bool for_good)
{
    struct slot *slot;
    bool held;

    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    held = slot->ino != 0;
    if (held)
        slot->refs |= for_good ? MARKS : GONE;
    pthread_mutex_unlock(&table->lock);
    return held;
}

bool fusefs_lookup_gone_for_good(struct fusefs_lookup *table, uint64_t ino)
{
    struct slot *slot;
    bool gone;

    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    gone = slot->ino != 0 && (slot->refs & FOR_GOOD) != 0;
    pthread_mutex_unlock(&table->lock);
    return gone;
}

void fusefs_lookup_moved(struct fusefs_lookup *table, uint64_t ino, uint64_t parent)
{
    struct slot *slot;

    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    if (slot->ino != 0)
        slot->parent = parent;
    pthread_mutex_unlock(&table->lock);
}

bool fusefs_lookup_parent(struct fusefs_lookup *table, uint64_t ino, uint64_t *parent)
{
    struct slot *slot;
    bool held;

    pthread_mutex_lock(&table->lock);
    slot = find(table->slots, table->cap, ino);
    held = slot->ino != 0;
    *parent = slot->parent;
    pthread_mutex_unlock(&table->lock);
    return held;
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
