#include "crypto/file.h"

#include "crypto/err.h"
#include "crypto/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_retry(int dirfd, const char *name, int flags, mode_t mode)
{
    int fd;
    do
        fd = openat(dirfd, name, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int file_write_all(int fd, const void *p, size_t len, uint64_t off)
{
    const uint8_t *from = p;
    if (off > INT64_MAX || len > INT64_MAX - off)
        return ERR_MISUSE;
    while (len) {
        ssize_t n = pwrite(fd, from, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_from_errno(errno) : ERR_IO;
        from += n;
        len -= (size_t)n;
        off += (uint64_t)n;
    }
    return ERR_OK;
}

int file_read_all(int fd, void *p, size_t len, uint64_t off, size_t *got)
{
    uint8_t *to = p;
    size_t done = 0;
    if (off > INT64_MAX || len > INT64_MAX - off)
        return ERR_MISUSE;
    while (done < len) {
        ssize_t n = pread(fd, to + done, len - done, (off_t)(off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    if (got)
        *got = done;
    else if (done < len)
        return ERR_FORMAT;
    return ERR_OK;
}

/* The file may grow meanwhile, so its size is no promise: one byte more than ${max} is asked for. */
static int read_whole(int fd, size_t max, struct bytes_out *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_from_errno(errno);
    if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size > max)
        return ERR_FORMAT;
    size_t start = out->len, done = 0, step = (size_t)st.st_size + 1;
    int err = ERR_OK;
    while (!err) {
        uint8_t *at = bytes_put_space(out, step);
        size_t got = 0;
        err = at ? file_read_all(fd, at, step, done, &got) : ERR_NOMEM;
        done += got;
        if (!err && done > max)
            err = ERR_FORMAT;
        if (!err && at)
            out->len = start + done;
        if (got < step)
            break;
        step = 4096;
    }
    if (err)
        out->len = start;
    return err;
}

int file_read(int dirfd, const char *name, size_t max, struct bytes_out *out)
{
    if (out->bad)
        return ERR_NOMEM;
    /* O_NONBLOCK: a FIFO put in place of the file must not hang us. */
    int fd = open_retry(dirfd, name, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
    if (fd < 0)
        return err_from_errno(errno);
    int err = read_whole(fd, max, out);
    close(fd);
    return err;
}

int file_sync_dir(int dirfd, const char *name)
{
    int fd = open_retry(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return err_from_errno(errno);
    int err = fsync(fd) == 0 ? ERR_OK : err_from_errno(errno);
    close(fd);
    return err;
}

/* Writes and syncs the temporary file ${temp}, which must not exist; removes it after an error. */
static int write_temp(int dirfd, const char *temp, const void *p, size_t len, unsigned mode)
{
    int fd = open_retry(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    int err = fchmod(fd, (mode_t)mode) == 0 ? ERR_OK : err_from_errno(errno);
    if (!err)
        err = file_write_all(fd, p, len, 0);
    /* Without it the rename may reach the disk before the bytes: after a crash the name shows an empty file, and the
     * old content is gone. */
    if (!err && fsync(fd) != 0)
        err = err_from_errno(errno);
    if (close(fd) != 0 && !err)
        err = err_from_errno(errno);
    if (err)
        unlinkat(dirfd, temp, 0);
    return err;
}

int file_replace(int dirfd, const char *name, const void *p, size_t len, unsigned mode)
{
    const char *slash = strrchr(name, '/');
    int dir_len = slash ? (int)(slash - name) : 0;
    uint64_t unique;
    char dir[PATH_MAX], temp[PATH_MAX + 32];

    if (strlen(name) > PATH_MAX - 64)
        return ERR_NAMETOOLONG;
    secret_random(&unique, sizeof(unique));
    snprintf(dir, sizeof(dir), "%.*s", slash ? (dir_len ? dir_len : 1) : 1, slash ? name : ".");
    snprintf(temp, sizeof(temp), "%s/" FILE_TEMP_PREFIX "%016llx", dir, (unsigned long long)unique);

    int err = write_temp(dirfd, temp, p, len, mode);
    if (err)
        return err;
    if (renameat(dirfd, temp, dirfd, name) != 0) {
        err = err_from_errno(errno);
        unlinkat(dirfd, temp, 0);
        return err;
    }
    /* Without it the new name may be lost in a crash although we said that it is there. */
    return file_sync_dir(dirfd, dir);
}
