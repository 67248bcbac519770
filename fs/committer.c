#include "fs/committer.h"

#include "crypto/err.h"
#include "crypto/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

/* Asking the index how much waits costs nothing; being woken does, for a laptop that does nothing. */
#define IDLE_MS       500u
#define BUSY_MS       50u
#define FULL_MS       1000u
#define OPS_MAX       2000u
#define NOTES_MAX     (1u << 20)
#define CHECKPOINT_MS 30000u
#define LOG_MAX       (8u << 20)
#define LOW_MS        1000u         /* between checkpoints while the disk is nearly full */
#define LOW_BYTES     (64ull << 20) /* free, below which it is */

struct committer {
    struct vault *vault;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop, nudged; /* guarded by lock */
    int error;         /* of the last commit; the thread's until it has ended */

    /* the thread's own, in ms of the monotonic clock; 0: never */
    uint64_t waiting_since, tried_full, checkpointed;
    bool committed; /* since the last checkpoint */
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool disk_failed(const struct committer *c)
{
    return index_failed(vault_index(c->vault)) || segment_failed(vault_segments(c->vault));
}

/* A full disk is no failure: the log has what was promised, and the next try may do better. */
static int judge(struct committer *c, int err)
{
    if (disk_failed(c))
        vault_fail(c->vault, VAULT_DISK_FAILED);
    else if (err && err != ERR_NOSPACE)
        log_warn("committer: %s", err_text(err));
    c->error = err;
    return err;
}

static void commit(struct committer *c)
{
    c->waiting_since = 0;
    if (judge(c, index_commit(vault_index(c->vault))) == ERR_OK)
        c->committed = true;
}

static void checkpoint(struct committer *c)
{
    c->checkpointed = now_ms();
    if (judge(c, vault_checkpoint(c->vault)) == ERR_OK)
        c->committed = false;
}

static uint64_t log_size(const struct committer *c)
{
    char path[4096];
    struct stat st;
    int n = snprintf(path, sizeof(path), "%s/index-wal", vault_path(c->vault));
    return n > 0 && (size_t)n < sizeof(path) && stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Only a checkpoint gives the space of what was deleted back to the disk. */
static bool disk_is_low(const struct committer *c)
{
    struct statvfs st;
    return statvfs(vault_path(c->vault), &st) == 0 &&
           (uint64_t)st.f_bavail * st.f_frsize < LOW_BYTES;
}

static bool checkpoint_due(const struct committer *c, uint64_t now)
{
    if (!c->committed)
        return false;
    uint64_t age = now - c->checkpointed;
    return age >= CHECKPOINT_MS || log_size(c) > LOG_MAX || (age >= LOW_MS && disk_is_low(c));
}

/* Looks, and does what is due. Returns for how long to sleep. */
static unsigned step(struct committer *c, bool nudged)
{
    struct index *ix = vault_index(c->vault);
    uint64_t ops, notes, now = now_ms();
    if (disk_failed(c)) {
        vault_fail(c->vault, VAULT_DISK_FAILED);
        return FULL_MS; /* for good */
    }
    index_waiting(ix, &ops, &notes);
    if (!c->waiting_since && (ops || notes))
        c->waiting_since = now;
    if (index_full(ix)) {
        if (now - c->tried_full >= FULL_MS) {
            c->waiting_since = 0;
            if (ops || c->error == ERR_NOSPACE)
                checkpoint(c);
            else
                (void)judge(c, index_commit(ix)); /* looks whether there is room */
            c->tried_full = now_ms();
        }
    } else if (c->waiting_since && (nudged || ops > OPS_MAX || notes > NOTES_MAX ||
                                    now - c->waiting_since >= COMMITTER_INTERVAL_MS)) {
        commit(c);
    }
    if (checkpoint_due(c, now))
        checkpoint(c);
    return index_full(ix) ? FULL_MS : c->waiting_since ? BUSY_MS : IDLE_MS;
}

/* Lock held. */
static void sleep_ms(struct committer *c, unsigned ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (!c->stop && !c->nudged && pthread_cond_timedwait(&c->wake, &c->lock, &until) == 0)
        ;
}

static void *run(void *arg)
{
    struct committer *c = arg;
    unsigned ms = IDLE_MS;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        sleep_ms(c, ms);
        bool nudged = c->nudged, stop = c->stop;
        c->nudged = false;
        pthread_mutex_unlock(&c->lock);
        if (stop)
            break;
        ms = step(c, nudged);
        pthread_mutex_lock(&c->lock);
    }
    if (disk_failed(c))
        c->error = ERR_IO;
    else
        checkpoint(c); /* commits first */
    return NULL;
}

static int start_thread(struct committer *c)
{
    sigset_t all, old;
    sigfillset(&all); /* signals are for the threads that know of them */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int e = pthread_create(&c->thread, NULL, run, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return e ? ERR_NOMEM : ERR_OK;
}

static void free_committer(struct committer *c)
{
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int committer_start(struct committer **out, struct vault *vault)
{
    pthread_condattr_t attr;
    *out = NULL;
    struct committer *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->vault = vault;
    c->checkpointed = now_ms();
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* somebody may set the other one */
    pthread_cond_init(&c->wake, &attr);
    pthread_condattr_destroy(&attr);
    int err = start_thread(c);
    if (err)
        free_committer(c);
    else
        *out = c;
    return err;
}

void committer_nudge(struct committer *c)
{
    pthread_mutex_lock(&c->lock);
    c->nudged = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

int committer_stop(struct committer *c)
{
    if (!c)
        return ERR_OK;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    int err = c->error;
    free_committer(c);
    return err;
}
