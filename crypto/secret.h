/*
 * secret.h - memory for keys and passphrases, and a process that does not leak them.
 *
 * One arena of 48 KiB of guarded pages (sodium_malloc) that is locked into RAM, never dumped and not inherited
 * across fork. All keys live in it. Thread-safe.
 *
 * In a forked child the arena is not mapped: its pointers must not be touched there, and a child that goes on
 * (instead of calling exec) calls secret_init again and gets an empty arena. A program that goes to the
 * background forks first and unlocks in the child.
 */
#ifndef CRYPTO_SECRET_H
#define CRYPTO_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECRET_KEY_LEN 32

/* Starts libsodium and makes the arena; call once before anything else in crypto/ (calling again in the same
 * process is a no-op). Warns once in the log when the memory cannot be locked. ERR_NOMEM, ERR_IO (no randomness). */
int secret_init(void);

/* No core dumps, no ptrace, no /proc/PID/mem for others: PR_SET_DUMPABLE 0, RLIMIT_CORE 0. */
void secret_harden_process(void);

/* ${len} zeroed bytes, aligned to 16; NULL when the arena is full or secret_init was not called. Freed (and wiped)
 * with secret_free; secret_free(NULL) is a no-op, freeing anything else that was not allocated aborts. */
void *secret_alloc(size_t len);
void secret_free(void *p);

/* True if the arena is locked into RAM. */
bool secret_is_locked(void);

/* Wipes ${len} bytes in a way that the compiler keeps. */
void secret_wipe(void *p, size_t len);

/* ${len} random bytes. */
void secret_random(void *p, size_t len);

#endif
