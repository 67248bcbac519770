/*
 * power_disk.h - a model of a disk: what a directory can look like after a power cut.
 *
 * A log (power_log.h) says what was done to the directory. At any record of it the power can be cut. Then
 *   - what a completed sync of a file or directory covers is there;
 *   - a name that was made, removed or renamed since the sync of its directory is so or not, each call as a whole;
 *   - of a file's other calls, those that change its shape (size, holes) are there up to one of them, in order; a write that makes the
 *     file longer may have made it so in part;
 *   - each sector has what it had at any time since the sync of the file, but nothing from before a cut or a hole that is there, and
 *     nothing from after one that is not: a file system does not give away blocks before it has durably taken them away.
 * That is what POSIX leaves open and the journalling file systems of Linux do, and some more: there the journal keeps the order of names
 * and sizes of different files, here only some of the ways to choose do. A file's fsync does not make its name durable.
 *
 * Files at the top of the directory are not on the disk: they belong to somebody who watches, and are as they were at the cut.
 */
#ifndef TESTS_FAULT_POWER_DISK_H
#define TESTS_FAULT_POWER_DISK_H

#include "tests/fault/power_log.h"

#include <stdbool.h>
#include <stddef.h>

struct power_record {
    struct power_head head;
    const char *name, *name2; /* not NUL-terminated */
    const uint8_t *data;
};

struct power_disk;

/* A directory as it is, all of it durable; then records are added. NULL: it is empty, and the first record is of it. Ends the program on an
 * error, as all of these. */
struct power_disk *power_disk_new(const char *dir);
void power_disk_free(struct power_disk *d);
/* Takes over what is in the log ${path} beyond what was read before. */
void power_disk_read(struct power_disk *d, const char *path);
/* Records in all; those from power_disk_first on are from the log. */
size_t power_disk_count(const struct power_disk *d);
size_t power_disk_first(const struct power_disk *d);
/* The inode number of the directory itself. */
uint64_t power_disk_root(const struct power_disk *d);
const struct power_record *power_disk_record(const struct power_disk *d, size_t i);

/* How what is not synced is chosen. */
enum power_choice {
    POWER_ALL,         /* all is there: as after a kill */
    POWER_NOTHING,     /* nothing is */
    POWER_PREFIX,      /* all up to some record */
    POWER_JOURNAL,     /* names and shapes up to some record, sectors at random */
    POWER_INDEPENDENT, /* everything at random */
    POWER_NO_DATA,     /* names and shapes, no bytes */
    POWER_NO_NAMES,    /* bytes and shapes, no names */
    POWER_ONLY_NAMES,  /* names, of files nothing */
    POWER_ONE_LATE,    /* all but of one file or directory */
    POWER_ONE_EARLY,   /* only of one file or directory */
    POWER_DROP_ONE,    /* all but one write, or a part of it */
    POWER_TORN_LAST,   /* all but a part of the last write */
    POWER_CHOICES
};

/* Makes the empty directory ${to} what ${d} can be after a power cut behind ${count} records. The same ${seed}: the same. */
void power_disk_build(const struct power_disk *d, size_t count, enum power_choice choice,
                      uint64_t seed, const char *to);
const char *power_disk_choice_name(enum power_choice choice);
/* What is in the directory against what all records together make of it: false, with a line on stderr, if anything differs. */
bool power_disk_compare(const struct power_disk *d, const char *dir);

/* Numbers that follow from the seed alone. */
uint64_t power_disk_random(uint64_t *state);

#endif
