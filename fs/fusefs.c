#include "fs/fusefs.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/fusefs_loop.h"
#include "fs/fusefs_mount.h"
#include "fs/fusefs_notify.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SETTLE_MS 10000

void fusefs_session_post(struct fusefs *fs, unsigned events)
{
    const uint64_t one = 1;
    int saved = errno;

    atomic_fetch_or(&fs->events, events);
    /* Fails only when the counter is full, and then it is readable. */
    if (write(fs->wake, &one, sizeof(one)) < 0)
        errno = saved;
}

void fusefs_stop(struct fusefs *fs)
{
    fusefs_session_post(fs, FUSEFS_EVENT_STOP);
}

/* What a full disk leaves to the next mount is harmless: nobody can reach it. */
static int reap_all(struct vault *vault)
{
    int err = tree_reap_all(vault);
    if (err == ERR_NOSPACE)
        log_warn("unlinked files stay until the disk has room");
    return err == ERR_NOSPACE ? 0 : err;
}

int fusefs_mount(struct fusefs **out, struct vault *vault, const struct fusefs_options *options,
                 char *why)
{
    struct fusefs *fs = calloc(1, sizeof(*fs));
    int err;

    *out = NULL;
    why[0] = 0;
    if (!fs)
        return ERR_NOMEM;
    fs->vault = vault;
    fs->read_only = options->read_only || vault_read_only(vault);
    fs->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fs->lookup = fusefs_lookup_new();
    err = fs->wake < 0 || !fs->lookup ? ERR_NOMEM : 0;
    /* Before the mount: afterwards a file may be open without a name and must stay. */
    if (err == 0 && !fs->read_only)
        err = reap_all(vault);
    if (err == 0)
        err = fusefs_mount_on(fs, options, why);
    if (err == 0) {
        err = fusefs_loop_new(&fs->loop, fs);
        if (err < 0)
            fusefs_mount_off(fs);
    }
    if (err < 0) {
        if (why[0] == 0)
            strcpy(why, err_text(err));
        fusefs_free(fs);
        return err;
    }
    *out = fs;
    return 0;
}

/* Waits for events that are not in ${seen}. */
static unsigned wait_event(struct fusefs *fs, unsigned seen)
{
    struct pollfd p = {.fd = fs->wake, .events = POLLIN};
    uint64_t n;
    unsigned events;

    while (((events = atomic_load(&fs->events)) & ~seen) == 0) {
        (void)poll(&p, 1, -1);
        if (read(fs->wake, &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR)
            log_error("waiting for the mount failed: %s", strerror(errno));
    }
    return events & ~seen;
}

static void control(struct fusefs *fs, void (*ready)(void *ctx), void *ctx)
{
    unsigned seen = 0;

    for (;;) {
        unsigned events = wait_event(fs, seen);

        seen |= events;
        if (events & FUSEFS_EVENT_ENDED)
            return;
        if (events & FUSEFS_EVENT_READY)
            fusefs_mount_tune(fs);
        if ((events & FUSEFS_EVENT_READY) && ready)
            ready(ctx);
        if (events & FUSEFS_EVENT_STOP) {
            fusefs_mount_off(fs);
            return;
        }
    }
}

void fusefs_settle(struct fusefs *fs)
{
    if (!fusefs_loop_settle(fs->loop, SETTLE_MS))
        log_warn("requests of the kernel did not end in time");
}

int fusefs_run(struct fusefs *fs, void (*ready)(void *ctx), void *ctx)
{
    int err = 0, last;

    /* Few arenas, and large blocks go back to the system at once: many threads seal now and then. */
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    if (!fs->read_only)
        err = committer_start(&fs->committer, fs->vault);
    if (err == 0)
        err = fusefs_notify_start(&fs->notify, fs);
    if (err == 0)
        err = fusefs_loop_start(fs->loop);
    if (err == 0)
        control(fs, ready, ctx);
    else
        fusefs_mount_off(fs);
    /* While requests are still served: dropping what the kernel has cached makes it write. */
    fusefs_notify_stop(fs->notify);
    fs->notify = NULL;
    fusefs_loop_stop(fs->loop);
    /* The kernel gives no references back when a mount ends: nothing is open any more. */
    if (!fs->read_only && !vault_read_only(fs->vault)) {
        last = reap_all(fs->vault);
        err = err < 0 ? err : last;
    }
    if (fs->committer) {
        last = committer_stop(fs->committer);
        fs->committer = NULL;
        err = err < 0 ? err : last;
    }
    return err;
}

void fusefs_free(struct fusefs *fs)
{
    if (!fs)
        return;
    fusefs_mount_close(fs);
    fusefs_loop_free(fs->loop);
    fusefs_lookup_free(fs->lookup);
    if (fs->wake >= 0)
        close(fs->wake);
    free(fs);
}
