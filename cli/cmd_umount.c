/* obscurafs umount (lock): makes everything durable, pushes for a bounded time, takes the mount off, forgets the keys. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/progress.h"
#include "crypto/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>

struct waiting {
    uint64_t pending;
    int closed; /* an err.h code */
};

static void last_words(void *ctx, const cJSON *line)
{
    struct waiting *w = ctx;
    const cJSON *pending = cJSON_GetObjectItemCaseSensitive(line, "pending"),
                *closed = cJSON_GetObjectItemCaseSensitive(line, "closed");
    if (cJSON_IsNumber(pending))
        w->pending = (uint64_t)pending->valuedouble;
    if (cJSON_IsNumber(closed))
        w->closed = closed->valueint;
}

/* Is ${path} a mount whose process is gone? Not asked by stat, which the kernel may answer from what it remembers. */
static bool dead_mount(const char *path)
{
    struct statfs st;
    return statfs(path, &st) != 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

static int clean_up(const char *path)
{
    char command[64] = "fusermount3 -u -q -z -- \"$OBSCURAFS_MOUNT\"";
    if (umount2(path, MNT_DETACH) == 0)
        return EXIT_OK;
    setenv("OBSCURAFS_MOUNT", path, 1);
    if (system(command) == 0)
        return EXIT_OK;
    cmd_error(
        "%s: the process that served it is gone, and the mount cannot be taken off; try: fusermount3 -uz '%s'",
        path, path);
    return EXIT_MOUNT_POINT;
}

static int stop(const char *what, bool no_wait, unsigned wait_s)
{
    cJSON *status;
    char *sock;
    int rc = common_find(what, &sock, &status);
    if (rc != 0)
        return rc;
    if (!sock) {
        if (dead_mount(what))
            return clean_up(what);
        cmd_error("%s: no vault of yours is mounted there", what);
        return EXIT_MOUNT_POINT;
    }
    const char *mountpoint =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "mountpoint"));
    if (mountpoint)
        common_flush_mount(mountpoint);
    struct waiting w = {0};
    cJSON *request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "do", "stop");
    cJSON_AddNumberToObject(request, "wait_ms", no_wait ? 0 : wait_s * 1000.0);
    cJSON *last = control_call(sock, request, last_words, &w, true);
    if (!last || control_code(last) != 0) {
        cmd_error("%s: the process that serves it does not answer", what);
        rc = EXIT_OTHER;
    } else if (w.closed) {
        cmd_error("%s: locked, but the last changes may be lost: %s", what, err_text(w.closed));
        rc = cmd_exit_code(w.closed);
    } else if (w.pending) {
        char size[16];
        fprintf(
            stderr,
            "obscurafs: locked; about %s are not on the store yet and are pushed after the next mount\n",
            progress_bytes(w.pending, size));
    }
    cJSON_Delete(last);
    cJSON_Delete(request);
    cJSON_Delete(status);
    free(sock);
    return rc;
}

static int run_as(const struct cmd *cmd, int argc, char **argv)
{
    static const struct option longs[] = {{"no-wait", no_argument, NULL, 'n'},
                                          {"wait", required_argument, NULL, 'w'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    bool no_wait = false;
    unsigned long wait_s = 10;
    char *end;
    int c;
    while ((c = cmd_getopt(cmd, argc, argv, "h", longs)) != -1) {
        if (c == 'n')
            no_wait = true;
        if (c == 'w') {
            wait_s = strtoul(optarg, &end, 10);
            if (*end || !*optarg || wait_s > 3600) {
                cmd_error("%s: --wait takes seconds, 0 to 3600", cmd->name);
                return EXIT_USAGE;
            }
        }
    }
    cmd_operands(cmd, argc, 1, 1);
    control_init();
    return stop(argv[optind], no_wait, (unsigned)wait_s);
}

static int run_umount(int argc, char **argv)
{
    return run_as(&cmd_umount, argc, argv);
}

static int run_lock(int argc, char **argv)
{
    return run_as(&cmd_lock, argc, argv);
}

#define UMOUNT_HELP                                                                                \
    "      --wait SECONDS     go on pushing for so long (10)\n"                                    \
    "      --no-wait          do not push what is pending\n"

const struct cmd cmd_umount = {"umount", run_umount, "[OPTIONS] MOUNTPOINT|VAULT",
                               "Unmount: make all durable, push what is pending, forget the keys",
                               UMOUNT_HELP};
const struct cmd cmd_lock = {"lock", run_lock, "[OPTIONS] MOUNTPOINT|VAULT", "The same as umount",
                             UMOUNT_HELP};
