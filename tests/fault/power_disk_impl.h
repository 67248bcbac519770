/*
 * power_disk_impl.h - what power_disk.c (reading the log) and power_disk_build.c (choosing what a power cut leaves) share.
 */
#ifndef TESTS_FAULT_POWER_DISK_IMPL_H
#define TESTS_FAULT_POWER_DISK_IMPL_H

#include "tests/fault/power_disk.h"

struct power_disk {
    struct power_record *records;
    size_t count, first, log_read;
    uint64_t root;
    uint8_t **kept; /* what the records point into */
    size_t kept_count;
};

struct power_node;

struct power_name {
    const char *name;
    size_t len;
    struct power_node *to;
};

/* A file or directory; also one that has no name any more. */
struct power_node {
    uint64_t ino;
    bool dir;
    bool watcher; /* a file of somebody who watches from elsewhere */
    size_t *ops;  /* the records that change it; of a directory: its names */
    size_t op_count;
    size_t synced;            /* records before this one are durable */
    struct power_name *names; /* of a directory: while the log is walked, those at that point */
    size_t name_count;
};

/* The nodes that a record about names means, and the directories that it changes (mostly one, twice). */
struct power_names {
    struct power_node *a, *b, *dir, *dir2;
};

/* The log up to a record. */
struct power_view {
    const struct power_disk *disk;
    struct power_node **nodes, *root;
    size_t count, end;
    struct power_names *who; /* by record */
};

/* One choice out of those that a power cut has. */
struct power_pick {
    enum power_choice choice;
    uint64_t random;
    size_t until;            /* PREFIX, JOURNAL: that record */
    struct power_node *node; /* ONE_LATE, ONE_EARLY */
    size_t write;            /* DROP_ONE, TORN_LAST: that record */
    unsigned sector;
};

void power_disk_die(const char *what);
struct power_view *power_disk_view(const struct power_disk *d, size_t count);
void power_disk_view_free(struct power_view *v);
/* ${to} NULL: the name goes. */
void power_disk_name_set(struct power_node *dir, const char *name, size_t len,
                         struct power_node *to);
/* The first *len bytes of a file of *size bytes, of which the others are zeroes; the caller frees them. */
uint8_t *power_disk_content(const struct power_view *v, const struct power_node *n,
                            const struct power_pick *pick, size_t *len, size_t *size);

#endif
