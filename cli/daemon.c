#include "cli/daemon.h"

#include "cli/common.h"
#include "cli/control.h"
#include "cli/daemon_requests.h"
#include "crypto/err.h"
#include "crypto/log.h"

#include <limits.h>
#include <stdlib.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* SIGTERM, SIGINT and SIGHUP (logout) end the mount as umount does; a thread waits for them, so no handler has to be safe. */
static void *signal_loop(void *arg)
{
    struct daemon_state *d = arg;
    sigset_t set;
    int sig;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR2); /* our own: the mount has ended, so does this thread */
    for (;;) {
        if (sigwait(&set, &sig) != 0)
            continue;
        if (sig == SIGUSR2)
            return NULL;
        log_info("signal %d: unmounting", sig);
        fusefs_stop(d->fs);
    }
}

static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void say_last(struct daemon_state *d, uint64_t pending, int closed)
{
    cJSON *line = cJSON_CreateObject();
    cJSON_AddNumberToObject(line, "pending", (double)pending);
    cJSON_AddNumberToObject(line, "closed", closed);
    control_server_broadcast(d->control, line);
    cJSON_Delete(line);
}

/* Requests under way give up. */
static void hurry(void *ctx)
{
    struct daemon_state *d = ctx;
    atomic_store(&d->ending, true);
    engine_cancel(d->engine);
}

int daemon_run(struct vault *vault, const struct daemon_options *options, void (*ready)(void *),
               void *ctx, char *why)
{
    struct daemon_state d = {.vault = vault,
                             .stop_wait_ms = options->stop_wait_ms,
                             .mountpoint = options->fuse.mountpoint};
    pthread_t signals;
    char sock[256], real[PATH_MAX];

    block_signals(); /* before any thread: all of them inherit it */
    int err = engine_new(&d.engine, vault, NULL);
    if (!err)
        err = fusefs_mount(&d.fs, vault, &options->fuse, why);
    if (err) {
        engine_free(d.engine);
        vault_close(vault);
        return err;
    }
    bool have_signals = pthread_create(&signals, NULL, signal_loop, &d) == 0;
    /* without it the mount still works */
    bool listens =
        control_path(vault_id(vault), vault_keyring(vault)->device_tag, sock, sizeof(sock)) == 0 &&
        control_server_start(&d.control, sock, daemon_request, &d) == 0;
    if (listens)
        control_where_put(sock, realpath(vault_path(vault), real) ? real : vault_path(vault),
                          d.mountpoint);
    err = vault_read_only(vault) ? 0 : engine_start(d.engine);
    if (err)
        log_error("the sync thread cannot be started: %s", err_text(err));

    err = fusefs_run(d.fs, ready, ctx);
    struct engine_status status;
    uint64_t pending = engine_stop(d.engine, d.stop_wait_ms);
    engine_status(d.engine, &status);
    if (!status.store_count)
        pending = 0; /* nothing waits for a store where there is none */
    if (have_signals) {
        pthread_kill(signals, SIGUSR2);
        pthread_join(signals, NULL);
    }
    /* before engine and vault go: requests are answered on threads of their own, which use both */
    control_server_drain(d.control, hurry, &d);
    if (listens)
        control_where_remove(sock);
    engine_free(d.engine);
    int closed = vault_close(vault);
    say_last(&d, pending, closed);
    control_server_free(d.control);
    fusefs_free(d.fs);
    return err ? err : closed;
}
