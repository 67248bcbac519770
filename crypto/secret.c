#include "crypto/secret.h"

#include "crypto/err.h"
#include "crypto/log.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Small enough for the 64 KiB that systems with a strict RLIMIT_MEMLOCK allow a user to lock. The 16 bytes are
 * libsodium's own canary: with them the arena fills whole pages. */
#define ARENA_SIZE  (12u * 4096u - 16u)
#define GRAIN       16u
#define GRAIN_COUNT (ARENA_SIZE / GRAIN)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* All below: guarded by lock. */
static uint8_t *arena;
static pid_t arena_owner;
static bool arena_locked;
/* Bookkeeping lies outside the arena: runs[i] is the number of grains of the allocation that starts at grain i,
 * used[i] says that grain i belongs to one. */
static uint16_t runs[GRAIN_COUNT];
static bool used[GRAIN_COUNT];

/* libsodium ignores it when it cannot lock, so ask again; and keep the pages out of forked children. */
static bool pin(uint8_t *p, size_t len)
{
    bool locked = sodium_mlock(p, len) == 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = (uintptr_t)p / page * page;
    uintptr_t end = ((uintptr_t)p + len + page - 1) / page * page;
    if (madvise((void *)start, end - start, MADV_DONTFORK) != 0)
        log_warn("keys in memory are not kept out of child processes");
    return locked;
}

static int make_arena(void)
{
    if (arena && arena_owner == getpid())
        return ERR_OK;
    if (sodium_init() < 0) {
        log_error("no source of randomness");
        return ERR_IO;
    }
    /* In a child the parent's arena is not mapped: there is nothing to wipe or to free. */
    memset(runs, 0, sizeof(runs));
    memset(used, 0, sizeof(used));
    arena = sodium_malloc(ARENA_SIZE);
    if (!arena)
        return ERR_NOMEM;
    arena_owner = getpid();
    arena_locked = pin(arena, ARENA_SIZE);
    memset(arena, 0, ARENA_SIZE);
    if (!arena_locked)
        log_warn(
            "keys in memory cannot be locked and may reach the swap space (raise the limit: ulimit -l)");
    return ERR_OK;
}

int secret_init(void)
{
    pthread_mutex_lock(&lock);
    int err = make_arena();
    pthread_mutex_unlock(&lock);
    return err;
}

void secret_harden_process(void)
{
    const struct rlimit none = {0, 0};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
        log_warn("core dumps cannot be switched off");
}

/* The first of ${n} free grains in a row, or GRAIN_COUNT. */
static size_t find_room(size_t n)
{
    size_t free_run = 0;
    for (size_t i = 0; i < GRAIN_COUNT; i++) {
        free_run = used[i] ? 0 : free_run + 1;
        if (free_run == n)
            return i + 1 - n;
    }
    return GRAIN_COUNT;
}

void *secret_alloc(size_t len)
{
    if (len > ARENA_SIZE)
        return NULL;
    size_t n = len ? (len + GRAIN - 1) / GRAIN : 1;
    void *p = NULL;

    pthread_mutex_lock(&lock);
    size_t at = arena ? find_room(n) : GRAIN_COUNT;
    if (at < GRAIN_COUNT) {
        runs[at] = (uint16_t)n;
        memset(used + at, true, n);
        p = arena + at * GRAIN;
    }
    pthread_mutex_unlock(&lock);
    return p; /* zeroed: the arena starts so, and secret_free wipes */
}

void secret_free(void *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&lock);
    size_t off = (size_t)((uintptr_t)p - (uintptr_t)arena);
    size_t at = off / GRAIN;
    if (!arena || off >= ARENA_SIZE || off % GRAIN || !runs[at])
        abort(); /* freed twice or never allocated: the caller's books are wrong, and keys are at stake */
    size_t n = runs[at];
    sodium_memzero(p, n * GRAIN);
    runs[at] = 0;
    memset(used + at, false, n);
    pthread_mutex_unlock(&lock);
}

bool secret_is_locked(void)
{
    pthread_mutex_lock(&lock);
    bool locked = arena && arena_locked;
    pthread_mutex_unlock(&lock);
    return locked;
}

void secret_wipe(void *p, size_t len)
{
    if (len)
        sodium_memzero(p, len);
}

void secret_random(void *p, size_t len)
{
    randombytes_buf(p, len);
}
