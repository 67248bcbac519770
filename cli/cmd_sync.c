/* obscurafs sync: push and pull now, and wait. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/progress.h"
#include "crypto/err.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct progress bar;

static void show_line(void *ctx, const cJSON *line)
{
    const cJSON *done = cJSON_GetObjectItemCaseSensitive(line, "done"),
                *total = cJSON_GetObjectItemCaseSensitive(line, "total");
    if (cJSON_IsNumber(done) && cJSON_IsNumber(total) && total->valuedouble > 0)
        progress_show(&bar, "syncing", (uint64_t)done->valuedouble, (uint64_t)total->valuedouble,
                      true);
}

static void show_status(void *ctx, const struct engine_status *s)
{
    if (s->total_bytes)
        progress_show(&bar, "syncing", s->done_bytes, s->total_bytes, true);
}

static int report(int err, const char *what, const char *why)
{
    progress_end(&bar);
    if (!err) {
        if (!bar.quiet)
            printf("everything is on the store\n");
        return EXIT_OK;
    }
    if (err == ERR_NOENT)
        why = "has no store yet; add one with: obscurafs store add VAULT URL";
    return cmd_fail(err, what, why);
}

static int sync_mounted(const char *what, const char *sock, const cJSON *status)
{
    const char *mountpoint =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "mountpoint"));
    if (mountpoint)
        common_flush_mount(mountpoint);
    cJSON *request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "do", "sync");
    cJSON *last = control_call(sock, request, show_line, NULL, false);
    int rc = last ? report(control_code(last), what, control_why(last))
                  : report(ERR_IO, what, "the process that serves it does not answer");
    cJSON_Delete(last);
    cJSON_Delete(request);
    return rc;
}

static struct engine *running; /* for the handler; set before it is installed */

static void interrupted(int sig)
{
    engine_cancel(running);
}

static int sync_here(const char *path, const struct pass_source *source)
{
    struct vault *vault;
    struct engine_status status = {0};
    int rc = common_open(path, source, VAULT_READ_WRITE, &vault);
    if (rc != 0)
        return rc;
    int err = engine_new(&running, vault, NULL);
    if (!err) {
        struct sigaction sa = {.sa_handler = interrupted};
        sigaction(SIGINT, &sa, NULL);
        sigaction(SIGTERM, &sa, NULL);
        err = engine_sync(running, show_status, NULL);
        engine_status(running, &status);
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
    }
    engine_free(running);
    int closed = vault_close(vault);
    return report(err ? err : closed, path, err ? status.last_error_text : NULL);
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {PASS_OPTIONS,
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    struct pass_source source = {0};
    bool quiet = false;
    int c;
    while ((c = cmd_getopt(&cmd_sync, argc, argv, "qh", longs)) != -1) {
        if (!pass_option(c, optarg, &source) && c == 'q')
            quiet = true;
    }
    cmd_operands(&cmd_sync, argc, 1, 1);
    control_init();
    progress_init(&bar, quiet);
    cJSON *status;
    char *sock;
    int rc = common_find(argv[optind], &sock, &status);
    if (rc == 0)
        rc = sock ? sync_mounted(argv[optind], sock, status) : sync_here(argv[optind], &source);
    cJSON_Delete(status);
    free(sock);
    return rc;
}

const struct cmd cmd_sync = {"sync", run, "[OPTIONS] VAULT|MOUNTPOINT",
                             "Push and pull now and wait",
                             PASS_HELP "  -q, --quiet            no progress\n"};
