/*
 * power_judge.h - looks at a state of the disk: does the vault open, is all in order, is everything there that was promised?
 */
#ifndef TESTS_FAULT_POWER_JUDGE_H
#define TESTS_FAULT_POWER_JUDGE_H

#include "tests/fault/power_expect.h"

#define POWER_JUDGE_WHY 4096u

enum {
    POWER_JUDGE_READ_ONLY = 1, /* opened for reading first: it must show the same */
    POWER_JUDGE_AGAIN = 2,     /* written to, closed, and opened again */
    POWER_JUDGE_STORE =
        4 /* synced with its store, if there is one, and a new device made from that */
};

/* ${root} has what is left of the vault and its store. ${why} gets what is wrong. The directory changes. */
bool power_judge(const char *root, const struct power_expect *x, unsigned flags,
                 char why[POWER_JUDGE_WHY]);

#endif
