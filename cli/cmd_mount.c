/* obscurafs mount: unlocks a vault and serves it, by default in the background. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/daemon.h"
#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/secret.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

struct mount_options {
    struct pass_source source;
    struct daemon_options daemon;
    char extra[1024];
    bool foreground, verbose;
    int ready_fd; /* the parent waits for one byte here: the mount answers */
};

static bool inside(const char *dir, const char *path)
{
    size_t len = strlen(dir);
    return strncmp(dir, path, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static int check_mountpoint(const char *vault, const char *mountpoint, char real[PATH_MAX])
{
    char real_vault[PATH_MAX];
    struct stat st;
    struct statfs fs;

    /* not asked by stat alone, which the kernel may answer from what it remembers of a mount whose process died */
    if (statfs(mountpoint, &fs) != 0 && (errno == ENOTCONN || errno == ECONNABORTED)) {
        cmd_error(
            "%s: a mount whose process is gone is still there; take it off: obscurafs umount '%s'",
            mountpoint, mountpoint);
        return EXIT_MOUNT_POINT;
    }
    if (!realpath(mountpoint, real)) {
        cmd_error("%s: %s; make the mount point first: mkdir '%s'", mountpoint, strerror(errno),
                  mountpoint);
        return EXIT_MOUNT_POINT;
    }
    if (stat(real, &st) != 0 || !S_ISDIR(st.st_mode)) {
        cmd_error("%s: is not a directory", mountpoint);
        return EXIT_MOUNT_POINT;
    }
    if (realpath(vault, real_vault) && inside(real_vault, real)) {
        cmd_error("%s: lies inside the vault; take a directory elsewhere", mountpoint);
        return EXIT_MOUNT_POINT;
    }
    if (realpath(vault, real_vault) && inside(real, real_vault)) {
        cmd_error("%s: the vault lies inside this mount point and would be hidden by it",
                  mountpoint);
        return EXIT_MOUNT_POINT;
    }
    DIR *d = opendir(real);
    struct dirent *e;
    bool empty = true;
    while (d && (e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            empty = false;
    if (d)
        closedir(d);
    if (!empty) {
        cmd_error("%s: is not empty; what is in it would be hidden by the mount", mountpoint);
        return EXIT_MOUNT_POINT;
    }
    return 0;
}

/* -o words that are ours; the rest is handed to FUSE. */
static int take_options(struct mount_options *o, const char *list)
{
    char copy[sizeof(o->extra)];
    if (strlen(list) + strlen(o->extra) + 2 > sizeof(o->extra)) {
        cmd_error("mount: the -o options are too long");
        return EXIT_USAGE;
    }
    strcpy(copy, list);
    char *save = NULL;
    for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        if (strcmp(word, "allow_other") == 0) {
            o->daemon.fuse.allow_other = true;
        } else if (strcmp(word, "ro") == 0) {
            o->daemon.fuse.read_only = true;
        } else if (strcmp(word, "rw") != 0) {
            if (o->extra[0])
                strcat(o->extra, ",");
            strcat(o->extra, word);
        }
    }
    return 0;
}

static void tell_ready(void *ctx)
{
    struct mount_options *o = ctx;
    if (o->foreground)
        return;
    log_set_syslog(true);
    log_set_level(LOG_LEVEL_INFO);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
    if (chdir("/") != 0)
        log_warn("the root directory cannot be entered");
    char ok = 0;
    if (write(o->ready_fd, &ok, 1) != 1)
        log_warn("nobody waited for the mount");
    close(o->ready_fd);
}

/* Runs to the end of the mount in this process; the exit code. */
static int serve(const char *path, const char *mountpoint, struct mount_options *o)
{
    struct vault *vault;
    char why[200] = "";
    int rc = common_open(path, &o->source,
                         o->daemon.fuse.read_only ? VAULT_READ_ONLY : VAULT_READ_WRITE, &vault);
    if (rc != 0)
        return rc;
    if (!o->foreground)
        setsid(); /* after the prompt, which needs the terminal */
    int err = daemon_run(vault, &o->daemon, tell_ready, o, why);
    if (!err)
        return EXIT_OK;
    cmd_error("%s: %s", mountpoint, why[0] ? why : err_text(err));
    return why[0] ? EXIT_MOUNT_POINT : cmd_exit_code(err);
}

/*
 * The child does everything, also the asking: no secret and no database is carried over a fork. The parent waits until the mount
 * answers or the child ends.
 */
static int serve_in_background(const char *path, const char *mountpoint, struct mount_options *o)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) != 0) {
        cmd_error("pipe: %s", strerror(errno));
        return EXIT_OTHER;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(p[0]);
        o->ready_fd = p[1];
        if (secret_init() !=
            0) /* the parent's arena is not carried over; this makes the child's own */
            _exit(EXIT_OTHER);
        _exit(serve(path, mountpoint, o));
    }
    close(p[1]);
    if (pid < 0) {
        cmd_error("fork: %s", strerror(errno));
        return EXIT_OTHER;
    }
    char ok;
    ssize_t n;
    while ((n = read(p[0], &ok, 1)) < 0 && errno == EINTR)
        ;
    close(p[0]);
    if (n == 1)
        return EXIT_OK;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status))
        return WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_OTHER;
    return EXIT_INTERRUPTED;
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {PASS_OPTIONS,
                                          {"foreground", no_argument, NULL, 'f'},
                                          {"ro", no_argument, NULL, 'r'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    struct mount_options o = {.daemon.stop_wait_ms = 10000};
    char real[PATH_MAX], real_vault[PATH_MAX];
    int c, rc;
    while ((c = cmd_getopt(&cmd_mount, argc, argv, "fo:vh", longs)) != -1) {
        if (pass_option(c, optarg, &o.source))
            continue;
        switch (c) {
        case 'f':
            o.foreground = true;
            break;
        case 'r':
            o.daemon.fuse.read_only = true;
            break;
        case 'v':
            o.verbose = true;
            break;
        case 'o':
            if ((rc = take_options(&o, optarg)) != 0)
                return rc;
            break;
        }
    }
    cmd_operands(&cmd_mount, argc, 2, 2);
    const char *vault = argv[optind], *mountpoint = argv[optind + 1];
    control_init();
    log_set_level(o.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN);
    uint8_t id[32];
    uint32_t tag;
    rc = common_peek(vault, id, &tag);
    if (rc == 0)
        rc = common_wait_free(vault);
    if (rc == 0)
        rc = check_mountpoint(vault, mountpoint, real);
    if (rc != 0)
        return rc;
    /* the background process leaves this directory */
    if (!realpath(vault, real_vault))
        return cmd_fail(ERR_NOTVAULT, vault, NULL);
    o.daemon.fuse.mountpoint = real;
    o.daemon.fuse.extra = o.extra[0] ? o.extra : NULL;
    return o.foreground ? serve(real_vault, real, &o) : serve_in_background(real_vault, real, &o);
}

const struct cmd cmd_mount = {
    "mount", run, "[OPTIONS] VAULT MOUNTPOINT", "Unlock VAULT and show it at MOUNTPOINT",
    PASS_HELP "  -f, --foreground       stay in the foreground\n"
              "      --ro               read only\n"
              "  -o OPTION[,OPTION]     allow_other, ro, and what FUSE knows\n"
              "  -v, --verbose          say more\n"};
