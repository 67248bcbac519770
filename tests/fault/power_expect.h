/*
 * power_expect.h - what must be there after a power cut at some record, from the marks that the workload left in the log.
 */
#ifndef TESTS_FAULT_POWER_EXPECT_H
#define TESTS_FAULT_POWER_EXPECT_H

#include "crypto/code.h"
#include "tests/fault/power_disk.h"
#include "tests/fault/power_tree.h"

struct power_expect {
    /* Each state of the tree from the last that was made durable to the last that was begun. */
    const char **trees;
    unsigned *numbers;
    size_t count, floor; /* those from floor on are allowed */
    bool made;           /* the vault is promised to be there */
    bool threads;        /* threads write: not the trees count but the numbers of their files */
    unsigned tried[POWER_TREE_THREADS], done[POWER_TREE_THREADS];
    unsigned secret_tried, secret_done; /* the passphrase is one of these */
    uint8_t code[CODE_LEN];
    bool store;         /* the vault is promised to know its store */
    bool cloned;        /* the second device is promised to be there */
    unsigned second[8]; /* it gave the files of these numbers to the store */
    size_t second_count;
};

/* After a cut behind ${records}. ${before}: what was to be expected of the directory before the log began; NULL: nothing. */
void power_expect_at(struct power_expect *x, const struct power_expect *before,
                     const struct power_disk *d, size_t records);
void power_expect_release(struct power_expect *x);
bool power_expect_tree(const struct power_expect *x, const char *tree);
/* The first record behind the mark from which on the power is cut. */
size_t power_expect_start(const struct power_disk *d);
/* The vault code, if the log has it, in hexadecimal. */
void power_expect_code(const struct power_disk *d, char code[2 * CODE_LEN + 1]);
/* The number of the last state in the log. */
unsigned power_expect_last(const struct power_disk *d);

#endif
