/*
 * Power cuts. A workload runs on a vault, and a layer below it records all that it writes and syncs (power_record.c); then the disk is made
 * what it can be after a power cut at some point (power_disk.h), and the vault on it must open, check, and keep each promise of an fsync
 * (power_judge.h). Some are mounted, written to and cut again.
 *
 *   power_cut [--seed N] [--workloads N] [--states N]     so many workloads of all kinds, each with so many power cuts
 *   power_cut --bounded LENGTH [--states N]               all rows of up to LENGTH operations with syncs anywhere (power_spec.h)
 *   power_cut --spec WORDS [--seed N] [--states N]        one workload
 *
 * --keep leaves what was recorded and the state that failed.
 */
#include "tests/fault/power_judge.h"
#include "tests/fault/power_spec.h"

#include "crypto/log.h"

#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAILURES_SHOWN 8u
#define NESTED_STATES  4u

static struct {
    char bin[PATH_MAX - 64], base[64], disk[80], log[80], log2[80];
    unsigned states;
    bool keep;
    unsigned passed, failed, skipped;
    unsigned long counts[POWER_CHOICES];
    char now[2 * POWER_SPEC_MAX]; /* what is being looked at, for messages */
} run;

extern char **environ;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void clear_disk(void)
{
    nftw(run.disk, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (mkdir(run.disk, 0700) != 0) {
        perror(run.disk);
        exit(2);
    }
}

/* What crashes us is a failure, too; which state it was must be known. */
static void on_crash(int sig)
{
    (void)!write(2, "crashed at: ", 12);
    (void)!write(2, run.now, strlen(run.now));
    (void)!write(2, "\n0 passed, 1 failed\n", 20);
    signal(sig, SIG_DFL);
    raise(sig);
}

static void count(bool good, const char *why)
{
    run.passed += good;
    run.failed += !good;
    if (good || run.failed > FAILURES_SHOWN)
        return;
    fprintf(stderr, "failed: %s\n%s\n", run.now, why);
    if (run.keep) {
        fprintf(stderr, "kept in %s\n", run.base);
        exit(1);
    }
}

/* ---- recording ---- */

static bool spawn_part(const char *log, unsigned first, const char *part, const char *code)
{
    char program[PATH_MAX], number[16], env[3][PATH_MAX + 64];
    size_t n = 0;
    pid_t pid;
    int status;
    /* By name: a path with a space in it cannot be preloaded. */
    if (setenv("LD_LIBRARY_PATH", run.bin, 1) != 0)
        return false;
    while (environ[n])
        n++;
    char **all = calloc(n + 4, sizeof(*all));
    if (!all)
        return false;
    memcpy(all, environ, n * sizeof(*all));
    snprintf(program, sizeof(program), "%s/power_work", run.bin);
    snprintf(env[0], sizeof(env[0]), "LD_PRELOAD=libpower_record.so");
    snprintf(env[1], sizeof(env[1]), "%s=%s", POWER_LOG_ENV, log);
    snprintf(env[2], sizeof(env[2]), "%s=%s", POWER_ROOT_ENV, run.disk);
    for (size_t i = 0; i < 3; i++)
        all[n + i] = env[i];
    snprintf(number, sizeof(number), "%u", first);
    char *args[] = {program, run.disk, number, (char *)(uintptr_t)part, (char *)(uintptr_t)code,
                    NULL};
    bool good = posix_spawn(&pid, program, NULL, NULL, args, all) == 0 &&
                waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    free(all);
    return good;
}

/* Runs the workload on what is on the disk, part after part with a kill between them. NULL: it failed. */
static struct power_disk *record(const char *spec, const char *log)
{
    char copy[POWER_SPEC_MAX], *rest = copy, *part;
    bool good = true;
    unsigned first = 0;
    char code[2 * CODE_LEN + 1] = "";
    unlink(log);
    struct power_disk *d = power_disk_new(run.disk);
    snprintf(copy, sizeof(copy), "%s", spec);
    while (good && (part = strsep(&rest, "X")) != NULL) {
        part += strspn(part, " ");
        good = spawn_part(log, first, part, *code ? code : NULL);
        if (!good)
            break;
        power_disk_read(d, log);
        first = power_expect_last(d) + 1;
        power_expect_code(d, code);
    }
    count(good, "the workload itself fails");
    if (good)
        count(good = power_disk_compare(d, run.disk), "the log does not explain the directory");
    if (good)
        return d;
    power_disk_free(d);
    return NULL;
}

/* ---- cutting ---- */

static enum power_choice choose(uint64_t *seed)
{
    static const uint8_t weights[POWER_CHOICES] = {1, 1, 3, 4, 6, 1, 1, 1, 2, 2, 2, 2};
    unsigned all = 0;
    for (size_t i = 0; i < POWER_CHOICES; i++)
        all += weights[i];
    unsigned at = (unsigned)(power_disk_random(seed) % all), i = 0;
    while (at >= weights[i])
        at -= weights[i++];
    return (enum power_choice)i;
}

struct cut {
    size_t records;
    enum power_choice choice;
    uint64_t seed;
};

/* Anywhere; one time in two when the next sync would just have been over: then most is at stake. */
static size_t choose_cut(const struct power_disk *d, size_t start, uint64_t *seed)
{
    const size_t all = power_disk_count(d);
    size_t at = start + (size_t)(power_disk_random(seed) % (all - start + 1));
    if (power_disk_random(seed) & 1)
        for (size_t i = at; i < all; i++)
            if (power_disk_record(d, i)->head.kind == POWER_SYNC_END)
                return i;
    return at;
}

static void cut_power(const struct power_disk *d, struct cut *c, size_t start, uint64_t *seed)
{
    c->records = choose_cut(d, start, seed);
    c->choice = choose(seed);
    c->seed = power_disk_random(seed);
    clear_disk();
    power_disk_build(d, c->records, c->choice, c->seed, run.disk);
    run.counts[c->choice]++;
}

static void judge(const struct power_expect *x, uint64_t random)
{
    char why[POWER_JUDGE_WHY];
    unsigned flags = POWER_JUDGE_STORE;
    flags |= random % 4 == 0 ? POWER_JUDGE_READ_ONLY : 0;
    flags |= random / 4 % 4 == 0 ? POWER_JUDGE_AGAIN : 0;
    count(power_judge(run.disk, x, flags, why), why);
}

/* The vault is mounted, recorded again, and cut again: coming back to life must be safe, too. */
static void cut_twice(const struct power_expect *before, uint64_t seed)
{
    char spec[POWER_SPEC_MAX];
    const size_t said = strlen(run.now);
    power_spec_after(power_disk_random(&seed), spec);
    snprintf(run.now + said, sizeof(run.now) - said, "; then \"%.200s\"", spec);
    struct power_disk *d = record(spec, run.log2);
    const size_t said2 = strlen(run.now);
    for (unsigned i = 0; d && i < NESTED_STATES; i++) {
        struct power_expect x;
        struct cut c;
        cut_power(d, &c, power_disk_first(d), &seed);
        snprintf(run.now + said2, sizeof(run.now) - said2, " cut behind %zu of %zu, %s, seed %llu",
                 c.records, power_disk_count(d), power_disk_choice_name(c.choice),
                 (unsigned long long)c.seed);
        power_expect_at(&x, before, d, c.records);
        judge(&x, power_disk_random(&seed));
        power_expect_release(&x);
    }
    power_disk_free(d);
}

/* The same on a disk that has only so much room; false: such a disk cannot be had here. */
static bool record_small(const char *spec, struct power_disk **d)
{
    char options[32];
    const unsigned size = (unsigned)strtoul(spec + 2, NULL, 10);
    snprintf(options, sizeof(options), "size=%um", size);
    if (mount("none", run.disk, "tmpfs", 0, options) != 0) {
        run.skipped++;
        return false;
    }
    *d = record(spec + strcspn(spec, " "), run.log);
    if (umount2(run.disk, MNT_DETACH) != 0)
        perror(run.disk);
    return true;
}

static void run_workload(const char *spec, uint64_t seed)
{
    const uint64_t given = seed;
    struct power_disk *d = NULL;
    snprintf(run.now, sizeof(run.now), "--spec \"%s\" --seed %llu", spec,
             (unsigned long long)given);
    clear_disk();
    if (*spec != 'S')
        d = record(spec, run.log);
    else if (!record_small(spec, &d))
        return;
    const size_t said = strlen(run.now), start = d ? power_expect_start(d) : 0;
    for (unsigned i = 0; d && i < run.states; i++) {
        struct power_expect x;
        struct cut c;
        cut_power(d, &c, start, &seed);
        snprintf(run.now + said, sizeof(run.now) - said, " cut behind %zu of %zu, %s, seed %llu",
                 c.records, power_disk_count(d), power_disk_choice_name(c.choice),
                 (unsigned long long)c.seed);
        power_expect_at(&x, NULL, d, c.records);
        const uint64_t random = power_disk_random(&seed);
        /* A lost write in the middle is what recovery has most to do with. */
        if (random % (c.choice == POWER_DROP_ONE ? 2 : 6) == 0 && x.made && !x.threads)
            cut_twice(&x, random);
        else
            judge(&x, random / 6);
        power_expect_release(&x);
        run.now[said] = '\0';
    }
    power_disk_free(d);
}

/* ---- the whole ---- */

static void run_all_kinds(uint64_t seed, unsigned workloads)
{
    char spec[POWER_SPEC_MAX];
    const uint64_t bounded = power_spec_bounded_count(3);
    for (unsigned i = 0; power_spec_known(i); i++)
        run_workload(power_spec_known(i), power_disk_random(&seed));
    for (unsigned i = 0; i < workloads; i++) {
        uint64_t random = power_disk_random(&seed);
        /* half of them bounded; of the others each kind in turn */
        if (i % 2 == 0)
            power_spec_bounded(power_disk_random(&seed) % bounded, spec);
        else
            power_spec_random((enum power_spec_kind)(i / 2 % POWER_SPEC_KINDS), random, spec);
        run_workload(spec, random);
    }
}

static void run_bounded(uint64_t seed, unsigned length)
{
    char spec[POWER_SPEC_MAX];
    const uint64_t all = power_spec_bounded_count(length);
    for (uint64_t i = 0; i < all; i++) {
        power_spec_bounded(i, spec);
        run_workload(spec, power_disk_random(&seed));
    }
}

static void start(void)
{
    const char *tmp = getenv("TMPDIR");
    ssize_t n = readlink("/proc/self/exe", run.bin, sizeof(run.bin) - 1);
    char *slash = n > 0 ? strrchr(run.bin, '/') : NULL;
    /* States are written in full again and again: memory is the place for that, where there is some. */
    if (!tmp || !*tmp)
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(run.base, sizeof(run.base), "%.40s/power-XXXXXX", tmp);
    if (!slash || !mkdtemp(run.base) || secret_init() != 0) {
        fprintf(stderr, "power_cut: cannot begin\n");
        exit(2);
    }
    *slash = '\0';
    snprintf(run.disk, sizeof(run.disk), "%s/disk", run.base);
    snprintf(run.log, sizeof(run.log), "%s/log", run.base);
    snprintf(run.log2, sizeof(run.log2), "%s/log2", run.base);
    log_set_level(LOG_LEVEL_ERROR);
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    signal(SIGBUS, on_crash);
}

static int finish(void)
{
    printf("power cuts:");
    for (size_t i = 0; i < POWER_CHOICES; i++)
        printf(" %s %lu%s", power_disk_choice_name((enum power_choice)i), run.counts[i],
               i + 1 < POWER_CHOICES ? "," : "\n");
    nftw(run.base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    printf("%u passed, %u failed", run.passed, run.failed);
    if (run.skipped)
        printf(", %u skipped", run.skipped);
    printf("\n");
    return run.failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"seed", required_argument, NULL, 's'},
                                          {"workloads", required_argument, NULL, 'w'},
                                          {"states", required_argument, NULL, 'n'},
                                          {"spec", required_argument, NULL, 'p'},
                                          {"bounded", required_argument, NULL, 'b'},
                                          {"keep", no_argument, NULL, 'k'},
                                          {NULL, 0, NULL, 0}};
    uint64_t seed = (uint64_t)time(NULL) % 1000000;
    unsigned workloads = 60, bounded = 0;
    const char *spec = NULL;
    int c;
    run.states = 20;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (c == 'w')
            workloads = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'n')
            run.states = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'p')
            spec = optarg;
        else if (c == 'b')
            bounded = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'k')
            run.keep = true;
        else
            return 2;
    }
    start();
    printf("power_cut: seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    if (spec)
        run_workload(spec, seed);
    else if (bounded)
        run_bounded(seed, bounded);
    else
        run_all_kinds(seed, workloads);
    return finish();
}
