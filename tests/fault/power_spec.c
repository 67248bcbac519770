#include "tests/fault/power_spec.h"

#include "tests/fault/power_disk.h"

#include <stdio.h>
#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* What there is at first: so that each operation finds something to work on. */
#define SETUP "m:d c:a w:a:0:9000 a:a c:d/b w:d/b:0:700 m:e K ! "

static const char *const operations[] = {
    "c:c",
    "w:a:100:300",
    "w:a:4000:9000",
    "w:a:9000:30000",
    "w:d/b:0:700",
    "t:a:5000",
    "t:a:0",
    "t:d/b:20000",
    "r:a:c",
    "r:a:d/b",
    "r:d/b:a",
    "r:d:e",
    "x:a:d/b",
    "l:a:d/c",
    "l:d/b:c",
    "u:a",
    "u:d/b",
    "m:e/f",
    "d:e",
    "s:c",
    "a:a",
    "b:a",
    "p:a:0:5000",
    "z:a:3000:3000",
    "k:a:d/b:0:8192",
    "f:d/b:0:9000",
};

static const char *const syncs[] = {"", "F", "C", "K", "O"};

#define STEPS (COUNT(operations) * COUNT(syncs))

static void add(char spec[POWER_SPEC_MAX], const char *word)
{
    const size_t len = strlen(spec);
    snprintf(spec + len, POWER_SPEC_MAX - len, "%s%s", word, *word ? " " : "");
}

uint64_t power_spec_bounded_count(unsigned length)
{
    uint64_t all = 0, rows = 1;
    for (unsigned i = 0; i < length; i++)
        all += rows *= STEPS;
    return all;
}

void power_spec_bounded(uint64_t number, char spec[POWER_SPEC_MAX])
{
    uint64_t rows = STEPS;
    unsigned length = 1;
    while (number >= rows) {
        number -= rows;
        rows *= STEPS;
        length++;
    }
    strcpy(spec, SETUP);
    for (; length > 0; length--, number /= STEPS) {
        add(spec, operations[number % STEPS % COUNT(operations)]);
        add(spec, syncs[number % STEPS / COUNT(operations)]);
    }
}

/* ---- longer ones ---- */

static const char *pick(const char *const *list, size_t count, uint64_t *seed)
{
    return list[power_disk_random(seed) % count];
}

/* Operations that fill segments and leave dead extents behind, too. */
static void add_operation(char spec[POWER_SPEC_MAX], uint64_t *seed)
{
    static const char *const names[] = {"a", "c", "d/b", "d/c", "g"};
    char word[64];
    const char *name = pick(names, COUNT(names), seed);
    const unsigned random = (unsigned)power_disk_random(seed);
    if (random % 3) {
        add(spec, pick(operations, COUNT(operations), seed));
        return;
    }
    snprintf(word, sizeof(word), "c:%s", name);
    add(spec, word);
    snprintf(word, sizeof(word), "w:%s:%u:%u", name, random / 8 % 20000, 1 + random / 64 % 60000);
    add(spec, word);
}

static void add_operations(char spec[POWER_SPEC_MAX], uint64_t *seed, unsigned count,
                           unsigned every)
{
    for (unsigned i = 0; i < count; i++) {
        add_operation(spec, seed);
        if (power_disk_random(seed) % every == 0)
            add(spec, pick(syncs, COUNT(syncs), seed));
    }
}

static void add_end(char spec[POWER_SPEC_MAX], uint64_t *seed)
{
    if (power_disk_random(seed) & 1)
        add(spec, ".");
}

/* Until nothing fits any more, and on from there. */
static void add_full_disk(char spec[POWER_SPEC_MAX], uint64_t *seed)
{
    char word[64];
    add(spec, "S:12 m:d c:a w:a:0:9000 c:d/b c:big w:big:0:1000000 K !");
    for (unsigned i = 0; i < 20; i++) {
        const unsigned random = (unsigned)(power_disk_random(seed) >> 8);
        snprintf(word, sizeof(word), "c:f%u w:f%u:0:%u", i % 9, i % 9,
                 random % 4 ? 700000 + random % 300000 : random % 30000);
        add(spec, word);
        if (random / 16 % 3 == 0) {
            snprintf(word, sizeof(word), "u:f%u", random / 64 % 9);
            add(spec, word);
        }
        if (random / 1024 % 2)
            add(spec, pick((const char *const[]){"F", "F", "C", "K"}, 4, seed));
    }
    add(spec, "u:big F K c:g w:g:0:5000 F");
}

static void add_kill(char spec[POWER_SPEC_MAX], uint64_t *seed, unsigned most)
{
    char word[32];
    snprintf(word, sizeof(word), "G:%u", (unsigned)(1 + power_disk_random(seed) % most));
    add(spec, word);
}

/* Syncing with a store is killed somewhere, and goes on. */
static void add_killed_store(char spec[POWER_SPEC_MAX], uint64_t *seed)
{
    for (unsigned i = 0; i < 3; i++) {
        add_operations(spec, seed, 1, 4);
        if (power_disk_random(seed) % 4 == 0)
            add(spec, "Z Y");
        add_kill(spec, seed, 30);
        add(spec, pick((const char *const[]){"Z Y", "Z V Y", "Z Y V", "Z Y K"}, 4, seed));
        add(spec, "X");
    }
    add(spec, "Z Y");
}

void power_spec_random(enum power_spec_kind kind, uint64_t seed, char spec[POWER_SPEC_MAX])
{
    char word[32];
    strcpy(spec, kind == POWER_SPEC_MAKE ? "" : SETUP);
    switch (kind) {
    case POWER_SPEC_LONG:
        add_operations(spec, &seed, 14, 3);
        break;
    case POWER_SPEC_KILL:
        for (unsigned i = 0; i < 3; i++) {
            add_operations(spec, &seed, 2, 4);
            if (power_disk_random(&seed) & 1)
                add_kill(spec, &seed, 3);
            add(spec, pick((const char *const[]){"", "F", "C", "K", "O"}, 5, &seed));
            add(spec, "X");
        }
        if (power_disk_random(&seed) % 3)
            add_operations(spec, &seed, 2, 2);
        add(spec, pick((const char *const[]){"F", "C", "O"}, 3, &seed));
        break;
    case POWER_SPEC_STORE:
        add(spec, "Z");
        for (unsigned i = 0; i < 3; i++) {
            add_operations(spec, &seed, 1 + (unsigned)(power_disk_random(&seed) % 3), 4);
            add(spec, pick((const char *const[]){"Y", "Y K", "Y O", "Y V", "Y V Y"}, 5, &seed));
        }
        break;
    case POWER_SPEC_STORE_KILL:
        add_killed_store(spec, &seed);
        break;
    case POWER_SPEC_FULL:
        *spec = '\0';
        add_full_disk(spec, &seed);
        break;
    case POWER_SPEC_THREADS:
        snprintf(word, sizeof(word), "H:%u", (unsigned)(3 + power_disk_random(&seed) % 6));
        add(spec, word);
        break;
    default:
        if (power_disk_random(&seed) & 1) {
            add_kill(spec, &seed, 16);
            add(spec, "c:a X");
        }
        add(spec, "c:a W w:a:0:3000 F W");
        break;
    }
    add_end(spec, &seed);
}

const char *power_spec_known(unsigned number)
{
    static const char *const known[] = {
        /* the name of the index's log was never synced when the one who made it was killed: an old log came back */
        SETUP "m:e/f b:a O X c:d/c w:d/c:14475:51810 w:a:9000:30000 K X d:e c:d/e K",
        /* an object of the store, put by one who was killed, was taken for stored before its name was durable */
        SETUP "c:c w:c:8274:48535 G:20 Z Y X r:d:e Z Y G:9 Z Y X Z Y",
        /* a write whose middle is lost ends the log; what is promised later must not come behind it */
        "c:c c:a w:a:0:900 K ! w:c:0:60000 w:a:0:50 F",
        /* other names in the place of a new vault, but not the lock that says whose they are */
        "c:a W w:a:0:3000 F W",
    };
    return number < COUNT(known) ? known[number] : NULL;
}

void power_spec_after(uint64_t seed, char spec[POWER_SPEC_MAX])
{
    static const char *const rows[] = {"F",
                                       "c:n w:n:0:3000 F",
                                       "w:a:100:200 F K .",
                                       "u:a C w:d/b:0:9000 F",
                                       ".",
                                       "c:n w:n:0:50000 K w:n:0:60000 F"};
    strcpy(spec, pick(rows, COUNT(rows), &seed));
}
