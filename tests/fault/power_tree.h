/*
 * power_tree.h - what the workloads of the tests of power cuts and their judge share: what a vault shows, as text, and how things are made.
 */
#ifndef TESTS_FAULT_POWER_TREE_H
#define TESTS_FAULT_POWER_TREE_H

#include "fs/vault.h"
#include "sync/stores.h"

#define POWER_TREE_THREADS 3u

extern const struct slot_cost power_tree_cost;

/* With an engine of its own (the caller has none): what is only on the store is fetched. All names below the root with everything that a program can see of them but the times of access and change; "!" and the error of what
 * cannot be read. NUL-terminated, the caller frees it. */
char *power_tree_dump(struct vault *v);
/* The passphrase after ${number} changes of it. */
void power_tree_secret(char secret[32], unsigned number);
/* A path in the tree: the directory and the last part of it. */
int power_tree_parent(struct vault *v, const char *path, uint64_t *parent, const char **leaf);
int power_tree_ino(struct vault *v, const char *path, uint64_t *ino);
/* What the file of a thread holds at a number; returns the length. */
size_t power_tree_fill(uint8_t buf[16384], unsigned thread, unsigned number);
/* The number that the file of a thread is at; -1: it holds something else. 0: it is empty or not there. */
int power_tree_number(struct vault *v, unsigned thread);

#endif
