/*
 * power_spec.h - the workloads, as text. A word is a letter and what it needs, with ':' between them.
 *
 *   c:NAME file  m:NAME directory  s:NAME symlink  u:NAME unlink  d:NAME rmdir  r:FROM:TO rename  x:A:B exchange  l:FROM:TO link
 *   w:NAME:OFF:LEN write  t:NAME:SIZE truncate  p:NAME:OFF:LEN punch  z:... zero  f:... allocate  k:FROM:TO:OFF:LEN copy a range
 *   a:NAME set an xattr  b:NAME remove it
 *   F fsync  C commit of the index  K checkpoint of it, which gives space back  O close and open  H:N threads that write and sync N times
 *   Z a store is added  Y sync with it  V a second device of it makes a file  W the passphrase is changed  G:N killed at the N-th sync  X killed and begun again  ! the power is cut only after this
 *   S:N at the beginning: the disk has N MiB  . at the end: closed, else killed
 */
#ifndef TESTS_FAULT_POWER_SPEC_H
#define TESTS_FAULT_POWER_SPEC_H

#include <stddef.h>
#include <stdint.h>

#define POWER_SPEC_MAX 2048u

/* How many bounded workloads there are: all rows of up to ${length} operations with each kind of sync, or none, behind each. */
uint64_t power_spec_bounded_count(unsigned length);
void power_spec_bounded(uint64_t number, char spec[POWER_SPEC_MAX]);
/* A workload of one of the other kinds. */
enum power_spec_kind {
    POWER_SPEC_LONG,
    POWER_SPEC_KILL,
    POWER_SPEC_STORE,
    POWER_SPEC_STORE_KILL,
    POWER_SPEC_THREADS,
    POWER_SPEC_MAKE,
    POWER_SPEC_FULL,
    POWER_SPEC_KINDS
};
void power_spec_random(enum power_spec_kind kind, uint64_t seed, char spec[POWER_SPEC_MAX]);
/* Workloads that find what others find rarely; NULL behind the last. */
const char *power_spec_known(unsigned number);
/* What the next mount does after a power cut, before the next one. */
void power_spec_after(uint64_t seed, char spec[POWER_SPEC_MAX]);

#endif
