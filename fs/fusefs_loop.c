#include "fs/fusefs_loop.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/fusefs_errno.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE  (FUSEFS_RAW_HEAD + FUSEFS_RAW_WRITE)
#define SPIN_NS      50000  /* how long the leader polls before it sleeps, at most */
#define SPIN_GAP_NS  150000 /* a sleep shorter than this would have been better spent polling */
#define LARGE_IO     65536u /* reads and writes of this size are worth a second thread */
#define SLOW_SYNC_NS 2000000
#define IDLE_THREADS 2 /* that stay beside the leader */
#define IDLE_SECONDS 5

struct worker {
    struct fusefs_loop *loop;
    pthread_t thread;
    uint8_t *buf;            /* BUFFER_SIZE; of the thread while it runs */
    struct fusefs_raw raw;   /* of the thread */
    long spin_ns;            /* of the thread: how long polling pays off at present */
    _Atomic uint64_t serial; /* odd while it serves a request */
    _Atomic bool cancelled;  /* the request it serves shall end early */
    bool running, joinable;  /* guarded by loop->lock */
};

struct fusefs_loop {
    struct fusefs *fs;
    int fd;                          /* the device, non-blocking; owned by the session */
    int quit;                        /* eventfd: readable once stopping */
    unsigned parallel;               /* how many threads may do large work at a time */
    _Atomic(struct worker *) leader; /* NULL: whoever sees it first takes it */
    _Atomic bool dozing;             /* the leader sleeps in poll */
    _Atomic bool watch_asleep; /* the watcher sleeps without a time limit, as the leader did */
    _Atomic bool stopping, ended;
    _Atomic bool slow_sync; /* the last fsync took long */
    _Atomic unsigned busy;  /* threads that work without leading */
    /* Reading the device, or serving what it gave, reads of files excepted: from before a request leaves the kernel's queue until it is
     * answered. */
    _Atomic unsigned holding;
    _Atomic uint64_t answered; /* requests */
    _Atomic uint64_t counts[64];

    pthread_mutex_t lock; /* guards the rest and is what the conditions go with */
    pthread_cond_t idle, watch;
    unsigned threads, idlers;
    bool watched; /* somebody is the watcher */
    struct worker workers[FUSEFS_LOOP_THREADS];
};

static _Thread_local struct worker *self;

uint8_t *fusefs_loop_scratch(void)
{
    return self->buf + FUSEFS_RAW_HEAD;
}

const struct fusefs_raw *fusefs_loop_raw(void)
{
    return &self->raw;
}

_Atomic bool *fusefs_loop_cancelled(void)
{
    return &self->cancelled;
}

bool fusefs_loop_serves(void)
{
    return self != NULL;
}

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- reading the device ---- */

/* > 0: bytes; 0: nothing there; < 0: the connection is gone. */
static ssize_t take(struct fusefs_loop *loop, struct worker *w)
{
    for (;;) {
        atomic_fetch_add(&loop->holding, 1);
        ssize_t n = read(loop->fd, w->buf, BUFFER_SIZE);

        if (n > 0)
            return n; /* reign lets go of it */
        atomic_fetch_sub(&loop->holding, 1);
        if (n == 0 || errno == ENODEV || errno == ECONNABORTED)
            return -1;
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR && errno != ENOENT) { /* ENOENT: interrupted while being read */
            log_error("reading requests of the kernel failed: %s", strerror(errno));
            return -1;
        }
    }
}

static ssize_t spin(struct fusefs_loop *loop, struct worker *w)
{
    int64_t end = now_ns() + w->spin_ns;
    ssize_t n;

    do {
        sched_yield(); /* whoever makes the next request may need this processor */
        n = take(loop, w);
    } while (n == 0 && now_ns() < end && !loop->stopping);
    /* Polling in vain costs power: less of it each time, until requests come quickly again (doze). */
    w->spin_ns = n != 0 ? SPIN_NS : w->spin_ns / 2;
    return n;
}

static void doze(struct fusefs_loop *loop, struct worker *w)
{
    struct pollfd fds[2] = {{.fd = loop->fd, .events = POLLIN},
                            {.fd = loop->quit, .events = POLLIN}};
    int64_t start = now_ns();

    atomic_store(&loop->dozing, true);
    (void)poll(fds, 2, -1);
    atomic_store(&loop->dozing, false);
    /* Sequentially consistent with watch(): either it sees that we are awake, or we see that it sleeps. */
    if (atomic_load(&loop->watch_asleep)) {
        pthread_mutex_lock(&loop->lock);
        pthread_cond_signal(&loop->watch);
        pthread_mutex_unlock(&loop->lock);
    }
    if (now_ns() - start < SPIN_GAP_NS)
        w->spin_ns = SPIN_NS;
}

/* The next request; < 0: there will be none. */
static ssize_t receive(struct fusefs_loop *loop, struct worker *w)
{
    while (!loop->stopping) {
        ssize_t n = take(loop, w);

        if (n == 0 && w->spin_ns > 1000)
            n = spin(loop, w);
        if (n != 0)
            return n;
        doze(loop, w);
    }
    return -1;
}

/* ---- serving ---- */

static void serve_tmpfile(struct fusefs *fs, const struct fusefs_raw *raw, int fd)
{
    struct tree_cred cred = {.uid = raw->uid, .gid = raw->gid};
    struct inode inode;
    int err = tree_tmpfile(fs->vault, raw->parent, raw->mode, cred, &inode);

    if (err == 0) {
        err = fusefs_lookup_add(fs->lookup, inode.ino, 0);
        if (err == 0)
            (void)fusefs_lookup_mark_gone(fs->lookup, inode.ino, false);
        else
            (void)tree_reap(fs->vault, inode.ino);
    }
    if (fusefs_raw_reply_tmpfile(fd, raw, fusefs_errno(err), &inode, (uint64_t)FUSEFS_TIMEOUT) <
            0 &&
        err == 0)
        fusefs_ops_forget(fs, inode.ino, 1);
}

static void serve(struct fusefs_loop *loop, struct worker *w, size_t len)
{
    struct fusefs *fs = loop->fs;
    struct fuse_buf buf = {.size = len, .mem = w->buf};
    int64_t start = 0;

    atomic_fetch_add_explicit(&loop->counts[w->raw.opcode & 63], 1, memory_order_relaxed);
    atomic_store(&w->cancelled, loop->stopping);
    if (w->raw.kind == FUSEFS_RAW_TMPFILE) {
        serve_tmpfile(fs, &w->raw, loop->fd);
        return;
    }
    if (w->raw.kind == FUSEFS_RAW_SYNC)
        start = now_ns();
    fuse_session_process_buf(fs->session, &buf);
    if (w->raw.kind == FUSEFS_RAW_SYNC)
        atomic_store(&loop->slow_sync, now_ns() - start > SLOW_SYNC_NS);
    if (w->raw.kind == FUSEFS_RAW_INIT && !fuse_session_exited(fs->session))
        fusefs_session_post(fs, FUSEFS_EVENT_READY);
}

/* ---- who leads ---- */

static void *work(void *arg);

/* With the lock. Failing is no error while there are other threads. */
static int add_thread(struct fusefs_loop *loop)
{
    struct worker *w = NULL;

    for (size_t i = 0; i < FUSEFS_LOOP_THREADS && !w; i++)
        if (!loop->workers[i].running)
            w = &loop->workers[i];
    if (!w || loop->stopping)
        return ERR_NOMEM;
    if (w->joinable) { /* a thread that went: it ends without taking the lock again */
        pthread_join(w->thread, NULL);
        w->joinable = false;
    }
    w->loop = loop;
    w->spin_ns = SPIN_NS;
    w->buf = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (w->buf == MAP_FAILED)
        return ERR_NOMEM;
    if (pthread_create(&w->thread, NULL, work, w) != 0) {
        munmap(w->buf, BUFFER_SIZE);
        return ERR_NOMEM;
    }
    w->running = w->joinable = true;
    loop->threads++;
    return 0;
}

static void wait_for(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ns)
{
    int64_t end = now_ns() + ns;
    struct timespec ts = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};

    pthread_cond_timedwait(cond, lock, &ts);
}

/* With the lock: waits as the watcher until something may have changed, and takes the lead of a stuck leader. */
static void watch(struct fusefs_loop *loop, struct worker *w)
{
    struct worker *leader = loop->leader;
    uint64_t serial = leader ? leader->serial : 0;

    atomic_store(&loop->watch_asleep, true);
    if (atomic_load(&loop->dozing)) {
        pthread_cond_wait(&loop->watch, &loop->lock);
        atomic_store(&loop->watch_asleep, false);
        return;
    }
    atomic_store(&loop->watch_asleep, false);
    wait_for(&loop->watch, &loop->lock, FUSEFS_LOOP_STUCK_MS * 1000000);
    if (leader && (serial & 1) && leader->serial == serial &&
        atomic_compare_exchange_strong(&loop->leader, &leader, w))
        atomic_fetch_add(&loop->busy, 1); /* what it was doing now counts as work beside the lead */
}

/* Waits until this thread leads. False: it shall end. */
static bool lead(struct fusefs_loop *loop, struct worker *w)
{
    struct worker *nobody;
    bool waited = false;

    pthread_mutex_lock(&loop->lock);
    for (;;) {
        nobody = NULL;
        if (loop->stopping || loop->ended || atomic_load(&loop->leader) == w ||
            atomic_compare_exchange_strong(&loop->leader, &nobody, w))
            break;
        if (!loop->watched) {
            loop->watched = true;
            watch(loop, w);
            loop->watched = false;
            waited = false;
            continue;
        }
        if (waited && loop->idlers >= IDLE_THREADS - 1)
            break; /* nobody needed it for long */
        loop->idlers++;
        int64_t start = now_ns();
        wait_for(&loop->idle, &loop->lock, IDLE_SECONDS * 1000000000ll);
        waited = now_ns() - start >= IDLE_SECONDS * 1000000000ll;
        loop->idlers--;
    }
    bool leads = atomic_load(&loop->leader) == w && !loop->stopping && !loop->ended;
    /* The lead is not to be lost in a stuck request: somebody must watch. */
    if (leads && !loop->watched) {
        if (loop->idlers > 0)
            pthread_cond_signal(&loop->idle);
        else
            (void)add_thread(loop);
    }
    pthread_mutex_unlock(&loop->lock);
    return leads;
}

bool fusefs_loop_pass_lead(void)
{
    struct fusefs_loop *loop = self->loop;
    struct worker *leader = self;
    bool served = true;

    pthread_mutex_lock(&loop->lock);
    /* Otherwise the watcher has taken it already. */
    if (atomic_compare_exchange_strong(&loop->leader, &leader, NULL)) {
        atomic_fetch_add(&loop->busy, 1);
        if (loop->idlers > 0)
            pthread_cond_signal(&loop->idle);
        else if (loop->watched)
            pthread_cond_signal(&loop->watch);
        else
            served = add_thread(loop) == 0;
    }
    pthread_mutex_unlock(&loop->lock);
    return served;
}

static bool is_long(const struct fusefs_loop *loop, const struct fusefs_raw *raw)
{
    if (atomic_load_explicit(&loop->busy, memory_order_relaxed) + 1 >= loop->parallel)
        return false;
    return (raw->kind == FUSEFS_RAW_IO && raw->io_size >= LARGE_IO) ||
           (raw->kind == FUSEFS_RAW_SYNC && loop->slow_sync);
}

static void end_loop(struct fusefs_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    atomic_store(&loop->ended, true);
    pthread_cond_broadcast(&loop->idle);
    pthread_cond_broadcast(&loop->watch);
    pthread_mutex_unlock(&loop->lock);
    fusefs_session_post(loop->fs, FUSEFS_EVENT_ENDED);
}

/* Serves as the leader until this thread is not it any more. */
static void reign(struct fusefs_loop *loop, struct worker *w)
{
    do {
        ssize_t n = receive(loop, w);

        if (n < 0 || fuse_session_exited(loop->fs->session)) {
            end_loop(loop);
            return;
        }
        if (!fusefs_raw_look(w->buf, (size_t)n, &w->raw)) {
            atomic_fetch_sub(&loop->holding, 1);
            continue;
        }
        /* A read changes nothing, and one that must fetch from the store takes long. */
        const bool changes = !w->raw.reads, init = w->raw.kind == FUSEFS_RAW_INIT;
        if (!changes)
            atomic_fetch_sub(&loop->holding, 1);
        if (is_long(loop, &w->raw))
            (void)fusefs_loop_pass_lead();
        else
            atomic_fetch_add(&w->serial, 1);
        serve(loop, w, (size_t)n);
        atomic_fetch_add(&loop->answered, 1);
        if (changes)
            atomic_fetch_sub(&loop->holding, 1);
        if (w->serial & 1)
            atomic_fetch_add(&w->serial, 1);
        if (init && fuse_session_exited(loop->fs->session)) {
            end_loop(
                loop); /* libfuse refused what the kernel offered: no further request will come */
            return;
        }
    } while (atomic_load(&loop->leader) == w);
    atomic_fetch_sub(&loop->busy, 1);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct fusefs_loop *loop = w->loop;

    self = w;
    while (lead(loop, w))
        reign(loop, w);
    munmap(w->buf, BUFFER_SIZE);
    pthread_mutex_lock(&loop->lock);
    w->running = false;
    loop->threads--;
    pthread_mutex_unlock(&loop->lock);
    return NULL;
}

/* ---- libfuse's side ---- */

static ssize_t reply(int fd, struct iovec *iov, int count, void *userdata)
{
    ssize_t n;

    /* Notifications come from threads that serve nothing. */
    if (self && self->raw.kind == FUSEFS_RAW_INIT)
        fusefs_raw_patch_init(&self->raw, iov, count);
    n = writev(fd, iov, count);
    /* The mount is gone and nobody waits for the answer, like for one that was interrupted. */
    if (n < 0 && errno == ENODEV)
        errno = ENOENT;
    return n;
}

/* Never called, as we read the device ourselves; libfuse wants one. */
static ssize_t no_read(int fd, void *buf, size_t len, void *userdata)
{
    errno = ENOSYS;
    return -1;
}

int fusefs_loop_new(struct fusefs_loop **out, struct fusefs *fs)
{
    const struct fuse_custom_io io = {.writev = reply, .read = no_read};
    struct fusefs_loop *loop = calloc(1, sizeof(*loop));
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_condattr_t attr;
    int flags;

    if (!loop)
        return ERR_NOMEM;
    loop->fs = fs;
    loop->fd = fuse_session_fd(fs->session);
    loop->parallel = cpus < 2 ? 2 : cpus > 4 ? 4 : (unsigned)cpus;
    loop->quit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    flags = fcntl(loop->fd, F_GETFL);
    if (loop->quit < 0 || flags < 0 || fcntl(loop->fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fuse_session_custom_io(fs->session, &io, loop->fd) < 0) {
        if (loop->quit >= 0)
            close(loop->quit);
        free(loop);
        return ERR_IO;
    }
    pthread_mutex_init(&loop->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&loop->idle, &attr);
    pthread_cond_init(&loop->watch, &attr);
    pthread_condattr_destroy(&attr);
    *out = loop;
    return 0;
}

int fusefs_loop_start(struct fusefs_loop *loop)
{
    sigset_t all, old;
    int err;

    /* Signals are for the program's own threads; ours must not be cut off in the middle of a write. Threads that
     * these make inherit it. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_mutex_lock(&loop->lock);
    err = add_thread(loop); /* it makes its watcher */
    pthread_mutex_unlock(&loop->lock);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err;
}

static bool has_input(const struct fusefs_loop *loop)
{
    struct pollfd p = {.fd = loop->fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

/* An answer may let the kernel send what it held back; so nothing is said to be done while answers are given. */
static bool is_settled(struct fusefs_loop *loop)
{
    uint64_t before = atomic_load(&loop->answered);

    return !has_input(loop) && atomic_load(&loop->holding) == 0 && !has_input(loop) &&
           atomic_load(&loop->answered) == before;
}

bool fusefs_loop_settle(struct fusefs_loop *loop, unsigned ms)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t end = now_ns() + (int64_t)ms * 1000000;

    while (!is_settled(loop)) {
        if (loop->ended || now_ns() >= end)
            return loop->ended;
        nanosleep(&pause, NULL);
    }
    return true;
}

void fusefs_loop_stop(struct fusefs_loop *loop)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&loop->lock);
    atomic_store(&loop->stopping, true);
    for (size_t i = 0; i < FUSEFS_LOOP_THREADS; i++)
        atomic_store(&loop->workers[i].cancelled, true);
    if (write(loop->quit, &one, sizeof(one)) < 0)
        log_error("waking the threads of the mount failed: %s", strerror(errno));
    pthread_cond_broadcast(&loop->idle);
    pthread_cond_broadcast(&loop->watch);
    pthread_mutex_unlock(&loop->lock);
    /* No thread is made any more, so the table does not change but for ${running}. */
    for (size_t i = 0; i < FUSEFS_LOOP_THREADS; i++)
        if (loop->workers[i].joinable) {
            pthread_join(loop->workers[i].thread, NULL);
            loop->workers[i].joinable = false;
        }
}

void fusefs_loop_free(struct fusefs_loop *loop)
{
    if (!loop)
        return;
    pthread_cond_destroy(&loop->idle);
    pthread_cond_destroy(&loop->watch);
    pthread_mutex_destroy(&loop->lock);
    close(loop->quit);
    free(loop);
}

void fusefs_loop_counts(const struct fusefs_loop *loop, uint64_t counts[64])
{
    for (size_t i = 0; i < 64; i++)
        counts[i] = atomic_load_explicit(&loop->counts[i], memory_order_relaxed);
}
