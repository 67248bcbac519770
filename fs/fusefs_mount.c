#include "fs/fusefs_mount.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/fusefs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_AHEAD_KIB "512" /* two reads of FUSEFS_READ_MAX */

extern char **environ;

/* The last line that libfuse said while it mounts; it comes in pieces. Only fusefs_mount_on's thread uses it. */
static _Thread_local char *heard;
static _Thread_local bool heard_all; /* the line has ended: the next piece starts another */

static void hear(const char *piece)
{
    size_t len = heard_all ? 0 : strlen(heard);
    bool start = len == 0 && strncmp(piece, "fuse: ", 6) == 0;

    snprintf(heard + len, FUSEFS_MOUNT_WHY - len, "%s", start ? piece + 6 : piece);
    len = strlen(heard);
    heard_all = len > 0 && heard[len - 1] == '\n';
    if (heard_all)
        heard[len - 1] = 0;
}

static void listen_to_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
    char piece[FUSEFS_MOUNT_WHY];

    vsnprintf(piece, sizeof(piece), fmt, ap);
    if (heard) {
        hear(piece);
        return;
    }
    piece[strcspn(piece, "\n")] = 0;
    if (level <= FUSE_LOG_ERR)
        log_error("libfuse: %s", piece);
    else
        log_debug("libfuse: %s", piece);
}

static int refuse(int err, char *why, const char *path, const char *what)
{
    snprintf(why, FUSEFS_MOUNT_WHY, "%s: %s", path, what);
    return err;
}

static int check_mountpoint(const char *path, char *why)
{
    struct dirent *entry;
    struct stat st;
    DIR *dir;
    bool empty = true;

    if (stat(path, &st) < 0) {
        if (errno == ENOENT)
            return refuse(ERR_NOENT, why, path, "no such directory; make it first");
        if (errno == ENOTCONN)
            return refuse(ERR_LOCKED, why, path,
                          "a mount that has lost its program is still there; umount it first");
        return refuse(ERR_DENIED, why, path, strerror(errno));
    }
    if (!S_ISDIR(st.st_mode))
        return refuse(ERR_NOTDIR, why, path, "not a directory");
    dir = opendir(path);
    if (!dir)
        return refuse(ERR_DENIED, why, path, strerror(errno));
    while (empty && (entry = readdir(dir)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(dir);
    if (!empty)
        return refuse(ERR_NOTEMPTY, why, path, "not empty");
    /* What fusermount3 demands, said clearly. */
    if (geteuid() != 0 &&
        (access(path, W_OK) < 0 || ((st.st_mode & S_ISVTX) && st.st_uid != geteuid())))
        return refuse(ERR_DENIED, why, path,
                      "to mount there you must own it and be allowed to write to it");
    return 0;
}

/* Others may use a mount of an ordinary user only where the administrator allows it. */
static bool user_allow_other(void)
{
    FILE *conf = fopen("/etc/fuse.conf", "re");
    char line[256], word[32], rest[2];
    bool found = false;

    if (!conf)
        return false;
    while (!found && fgets(line, sizeof(line), conf))
        found = sscanf(line, " %31s %1s", word, rest) == 1 && strcmp(word, "user_allow_other") == 0;
    fclose(conf);
    return found;
}

static bool has_option(const char *list, const char *option)
{
    size_t len = strlen(option);

    for (const char *p = list; p && *p; p += *p == ',') {
        size_t n = strcspn(p, ",");
        if (n == len && strncmp(p, option, len) == 0)
            return true;
        p += n;
    }
    return false;
}

/* The kernel and libfuse must be told the same, at the mount and at INIT. */
static unsigned choose_max_read(const char *extra)
{
    for (const char *p = extra; p && *p; p += *p == ',') {
        unsigned n;

        if (sscanf(p, "max_read=%u", &n) == 1)
            return n;
        p += strcspn(p, ",");
    }
    return FUSEFS_READ_MAX;
}

static int make_session(struct fusefs *fs, const struct fusefs_options *options)
{
    char base[192];
    char *argv[] = {"obscurafs", "-o", base, "-o", (char *)(uintptr_t)options->extra, NULL};
    bool extra = options->extra && *options->extra;
    struct fuse_args args = FUSE_ARGS_INIT(extra ? 5 : 3, argv);

    fs->noatime = options->extra && has_option(options->extra, "noatime");
    fs->max_read = choose_max_read(options->extra);
    snprintf(base, sizeof(base),
             "fsname=obscurafs,subtype=obscurafs,default_permissions,max_read=%u%s%s", fs->max_read,
             options->allow_other ? ",allow_other" : "", fs->read_only ? ",ro" : "");
    fs->session = fuse_session_new(&args, &fusefs_ops, sizeof(fusefs_ops), fs);
    fuse_opt_free_args(&args);
    return fs->session ? 0 : ERR_INVAL;
}

int fusefs_mount_on(struct fusefs *fs, const struct fusefs_options *options,
                    char why[FUSEFS_MOUNT_WHY])
{
    bool others = options->allow_other || has_option(options->extra, "allow_other");
    int err = check_mountpoint(options->mountpoint, why);

    if (err < 0)
        return err;
    if (access("/dev/fuse", F_OK) < 0)
        return refuse(ERR_NOTSUP, why, "/dev/fuse",
                      "missing; FUSE is not available here (try: modprobe fuse)");
    if (others && geteuid() != 0 && !user_allow_other())
        return refuse(
            ERR_DENIED, why, "allow_other",
            "the administrator must first put the line user_allow_other into /etc/fuse.conf");
    fs->mountpoint = realpath(options->mountpoint, NULL);
    if (!fs->mountpoint)
        return refuse(ERR_NOMEM, why, options->mountpoint, strerror(errno));
    why[0] = 0;
    heard = why;
    heard_all = false;
    fuse_set_log_func(listen_to_libfuse);
    err = make_session(fs, options);
    if (err == 0 && fuse_session_mount(fs->session, fs->mountpoint) != 0) {
        fuse_session_destroy(fs->session);
        fs->session = NULL;
        err = ERR_DENIED;
    }
    heard = NULL;
    if (err == 0)
        return 0;
    if (why[0] == 0)
        refuse(err, why, fs->mountpoint,
               "the system refused the mount (fusermount3 may have said why)");
    free(fs->mountpoint);
    fs->mountpoint = NULL;
    return err;
}

void fusefs_mount_tune(const struct fusefs *fs)
{
    char path[80];
    struct statx st;

    /* Answered from the kernel's cache: nobody may be serving yet, and this thread must not wait for those who do. */
    if (statx(AT_FDCWD, fs->mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &st) < 0)
        return;
    snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", st.stx_dev_major,
             st.stx_dev_minor);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* an ordinary user */
    if (write(fd, READ_AHEAD_KIB, strlen(READ_AHEAD_KIB)) < 0)
        log_debug("the kernel keeps its read-ahead: %s", strerror(errno));
    close(fd);
}

/* An ordinary user's way to unmount. 0 if it is off. */
static int fusermount(const char *mountpoint, bool lazy)
{
    char *argv[] = {"fusermount3",
                    "-u",
                    "-q",
                    lazy ? "-z" : "--",
                    lazy ? "--" : (char *)(uintptr_t)mountpoint,
                    lazy ? (char *)(uintptr_t)mountpoint : NULL,
                    NULL};
    int status;
    pid_t pid;

    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static int take_off(const char *mountpoint, bool lazy)
{
    if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
        return 0;
    return errno == EPERM ? fusermount(mountpoint, lazy) : -1;
}

/* True if the kernel has already ended the connection. */
static bool disconnected(struct fusefs *fs)
{
    struct pollfd p = {.fd = fuse_session_fd(fs->session)};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

void fusefs_mount_off(struct fusefs *fs)
{
    int root;

    if (disconnected(fs) || take_off(fs->mountpoint, false) == 0)
        return;
    root = open(fs->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (take_off(fs->mountpoint, true) < 0 && !disconnected(fs))
        log_warn("the mount could not be taken off; use: fusermount3 -uz MOUNTPOINT");
    /* What programs have written but not closed is still in the kernel's cache; it goes lost when the device is
     * closed. Now nobody new can come in, and we still serve. */
    if (root >= 0) {
        if (syncfs(root) < 0)
            log_warn("writing what was cached failed: %s", strerror(errno));
        /* syncfs has only sent the writes: it does not wait on FUSE. Stopping now would drop them. */
        fusefs_settle(fs);
        close(root);
    }
}

void fusefs_mount_close(struct fusefs *fs)
{
    int ends[2];

    if (!fs->session)
        return;
    /* libfuse would unmount whatever is at the path now, unless it sees an error on the device. Where the mount lives on
     * without a name, the write end of a pipe without reader gives it one, and the device is closed. */
    if (!disconnected(fs) && pipe2(ends, O_CLOEXEC) == 0) {
        close(ends[0]);
        (void)dup3(ends[1], fuse_session_fd(fs->session), O_CLOEXEC);
        close(ends[1]);
    }
    fuse_session_unmount(fs->session);
    fuse_session_destroy(fs->session);
    fs->session = NULL;
    free(fs->mountpoint);
    fs->mountpoint = NULL;
}
