#include "crypto/slot.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MIB         (UINT64_C(1) << 20)
#define MEM_POLICY  (UINT64_C(1) << 30)
#define MEM_STEP    (16 * MIB)
#define TARGET_NSEC UINT64_C(1000000000)

/* What this process may use in memory: the machine's, less where a control group or a limit says so. */
static uint64_t usable_memory(void)
{
    uint64_t mem = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), v;
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < mem)
        mem = limit.rlim_cur;
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");
    if (f) {
        if (fscanf(f, "%" SCNu64, &v) == 1 && v < mem) /* "max" is no number */
            mem = v;
        fclose(f);
    }
    return mem;
}

/* Nanoseconds that ${cost} takes here, or 0 if it does not fit. */
static uint64_t measure(const struct slot_cost *cost)
{
    static const uint8_t salt[crypto_pwhash_SALTBYTES];
    uint8_t out[SECRET_KEY_LEN];
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (crypto_pwhash(out, sizeof(out), "measure", 7, salt, cost->ops, (size_t)cost->mem,
                      crypto_pwhash_ALG_ARGON2ID13) != 0)
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &b);
    return (uint64_t)(b.tv_sec - a.tv_sec) * UINT64_C(1000000000) + (uint64_t)b.tv_nsec -
           (uint64_t)a.tv_nsec;
}

/* Argon2's time grows as memory times passes. Memory first, since it is what costs an attacker most. */
void slot_calibrate(struct slot_cost *cost)
{
    const char *fast = getenv("OBSCURAFS_TEST_FAST_KDF");
    cost->ops = SLOT_OPS_MIN;
    cost->mem = SLOT_MEM_MIN;
    if (fast && strcmp(fast, "1") == 0)
        return;
    uint64_t nsec = measure(cost), most = usable_memory() / 4;
    if (nsec == 0)
        return;
    if (most > MEM_POLICY)
        most = MEM_POLICY;
    uint64_t wanted = (uint64_t)((double)SLOT_MEM_MIN * (double)TARGET_NSEC / (double)nsec);
    uint64_t mem = (wanted < most ? wanted : most) / MEM_STEP * MEM_STEP;
    if (mem > cost->mem)
        cost->mem = mem;
    double passes = SLOT_OPS_MIN * (double)wanted / (double)cost->mem;
    if (passes > SLOT_OPS_MIN)
        cost->ops = passes < SLOT_OPS_MAX ? (uint32_t)passes : SLOT_OPS_MAX;
}
