/*
 * power_state LOG SEED DIR: makes the empty directory DIR what the recorded one can be after a power cut, at a point and in a way that
 * follow from SEED; not before the watcher (power_disk.h) had written something. Says which it was. The recorded one was empty at first.
 * power_state --compare LOG DIR: is DIR what the log says?
 */
#include "tests/fault/power_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The first write to a file at the top. */
static size_t first_cut(const struct power_disk *d, uint64_t root)
{
    uint64_t watcher = 0;
    for (size_t i = 0; i < power_disk_count(d); i++) {
        const struct power_head *h = &power_disk_record(d, i)->head;
        if (h->kind == POWER_CREATE && h->dir == root)
            watcher = h->ino;
        if (h->kind == POWER_WRITE && h->ino == watcher)
            return i + 1;
    }
    return 1;
}

int main(int argc, char **argv)
{
    const bool compare = argc == 4 && strcmp(argv[1], "--compare") == 0;
    if (argc != 4) {
        fprintf(stderr, "usage: power_state LOG SEED DIR | power_state --compare LOG DIR\n");
        return 2;
    }
    struct power_disk *d = power_disk_new(NULL);
    power_disk_read(d, argv[compare ? 2 : 1]);
    if (compare) {
        bool same = power_disk_compare(d, argv[3]);
        power_disk_free(d);
        return same ? 0 : 1;
    }
    uint64_t seed = strtoull(argv[2], NULL, 10);
    const size_t first = first_cut(d, power_disk_root(d)), all = power_disk_count(d);
    const size_t count = first + (size_t)(power_disk_random(&seed) % (all - first + 1));
    const enum power_choice choice = (enum power_choice)(power_disk_random(&seed) % POWER_CHOICES);
    power_disk_build(d, count, choice, power_disk_random(&seed), argv[3]);
    printf("cut behind %zu of %zu, %s\n", count, all, power_disk_choice_name(choice));
    power_disk_free(d);
    return 0;
}
