#include "fs/vault_dir.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "crypto/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define HEADER_NAME "vault"
#define MAGIC       "OBSVAULT"
#define MAGIC_LEN   8u
#define FORMAT      1u
#define SUITE       1u
#define HEADER_LEN  (MAGIC_LEN + 4 + 4 + VAULT_DIR_ID + 4)
#define HEADER_MAX  4096u /* a later format may be longer, and is told apart from damage */
#define SLOTS_MAX   8u

int vault_dir_open(const char *path, int *fd)
{
    do
        *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (*fd < 0 && errno == EINTR);
    if (*fd >= 0)
        return ERR_OK;
    return errno == ENOENT || errno == ENOTDIR ? ERR_NOTVAULT : err_from_errno(errno);
}

/* ---- header ---- */

static int parse_header(const struct bytes_out *file, uint8_t vault_id[VAULT_DIR_ID],
                        uint32_t *device_tag)
{
    struct bytes_in in;
    bytes_in_init(&in, file->p, file->len);
    const uint8_t *magic = bytes_get_ref(&in, MAGIC_LEN);
    uint32_t format = bytes_get_u32(&in), suite = bytes_get_u32(&in);
    if (!magic || in.bad || memcmp(magic, MAGIC, MAGIC_LEN) != 0 || !format || !suite)
        return ERR_FORMAT;
    if (format > FORMAT || suite > SUITE)
        return ERR_VERSION;
    bytes_get(&in, vault_id, VAULT_DIR_ID);
    *device_tag = bytes_get_u32(&in);
    return bytes_in_done(&in);
}

int vault_dir_read_header(int fd, uint8_t vault_id[VAULT_DIR_ID], uint32_t *device_tag)
{
    struct bytes_out file;
    bytes_out_init(&file);
    int err = file_read(fd, HEADER_NAME, HEADER_MAX, &file);
    if (err == ERR_NOENT)
        err = ERR_NOTVAULT;
    if (!err)
        err = parse_header(&file, vault_id, device_tag);
    bytes_out_release(&file);
    return err;
}

int vault_dir_write_header(int fd, const uint8_t vault_id[VAULT_DIR_ID], uint32_t device_tag)
{
    struct bytes_out file;
    bytes_out_init(&file);
    bytes_put(&file, MAGIC, MAGIC_LEN);
    bytes_put_u32(&file, FORMAT);
    bytes_put_u32(&file, SUITE);
    bytes_put(&file, vault_id, VAULT_DIR_ID);
    bytes_put_u32(&file, device_tag);
    int err = file.bad ? ERR_NOMEM : file_replace(fd, HEADER_NAME, file.p, HEADER_LEN, 0600);
    bytes_out_release(&file);
    return err;
}

/* ---- lock ---- */

static int try_lock(int fd, int how)
{
    int r;
    do
        r = flock(fd, how | LOCK_NB);
    while (r != 0 && errno == EINTR);
    if (r == 0)
        return ERR_OK;
    return errno == EWOULDBLOCK ? ERR_LOCKED : err_from_errno(errno);
}

int vault_dir_lock(int fd, bool read_only, int *lock_fd)
{
    const int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    *lock_fd = openat(fd, VAULT_DIR_LOCK, O_RDWR | O_CREAT | flags, 0600);
    if (*lock_fd < 0 && read_only) {
        *lock_fd = openat(fd, VAULT_DIR_LOCK, O_RDONLY | flags);
        if (*lock_fd < 0 && errno == ENOENT)
            return ERR_OK;
    }
    if (*lock_fd < 0)
        return err_from_errno(errno);
    int err = try_lock(*lock_fd, LOCK_EX);
    /* vault_dir_is_locked holds it for a moment. */
    for (int i = 0; err == ERR_LOCKED && i < 5; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        err = try_lock(*lock_fd, LOCK_EX);
    }
    if (err) {
        close(*lock_fd);
        *lock_fd = -1;
    }
    return err;
}

bool vault_dir_is_locked(int fd)
{
    int lock_fd = openat(fd, VAULT_DIR_LOCK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (lock_fd < 0)
        return false;
    bool locked = try_lock(lock_fd, LOCK_SH) == ERR_LOCKED;
    close(lock_fd);
    return locked;
}

/* ---- slots ---- */

static void slot_name(char name[32], unsigned number)
{
    snprintf(name, 32, VAULT_DIR_SLOTS "/%u", number);
}

int vault_dir_write_slot(int fd, unsigned number, const uint8_t slot[SLOT_LEN])
{
    char name[32];
    slot_name(name, number);
    return file_replace(fd, name, slot, SLOT_LEN, 0600);
}

/* What is missing of a cut slot reads as zeroes, and what is too much is left out: it opens like any damaged slot. */
static int read_slot(int fd, unsigned number, uint8_t slot[SLOT_LEN])
{
    char name[32];
    struct bytes_out file;
    slot_name(name, number);
    bytes_out_init(&file);
    int err = file_read(fd, name, HEADER_MAX, &file);
    memset(slot, 0, SLOT_LEN);
    if (!err && file.len)
        memcpy(slot, file.p, file.len < SLOT_LEN ? file.len : SLOT_LEN);
    bytes_out_release(&file);
    return err == ERR_FORMAT ? ERR_OK : err;
}

/* The error that says most, of several slots: one that could not be tried may have been the right one. */
static int worse(int a, int b)
{
    if (a == ERR_FORMAT || b == ERR_NOMEM || (b == ERR_VERSION && a == ERR_WRONGKEY))
        return b;
    return a;
}

int vault_dir_open_slot(int fd, const uint8_t vault_id[VAULT_DIR_ID], const void *secret,
                        size_t len, uint8_t device_key[SECRET_KEY_LEN], unsigned *number)
{
    int result = ERR_FORMAT;
    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        uint8_t slot[SLOT_LEN];
        int err = read_slot(fd, i, slot);
        if (err == ERR_NOENT)
            continue;
        if (!err)
            err = slot_open(slot, (uint16_t)i, vault_id, secret, len, device_key);
        if (!err) {
            *number = i;
            return ERR_OK;
        }
        result = worse(result, err);
    }
    return result;
}

/* ---- the rest ---- */

void vault_dir_clean(int fd, const char *name)
{
    int dirfd = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = dirfd < 0 ? NULL : fdopendir(dirfd);
    if (!dir) {
        if (dirfd >= 0)
            close(dirfd);
        return;
    }
    for (struct dirent *d; (d = readdir(dir));)
        if (strncmp(d->d_name, FILE_TEMP_PREFIX, strlen(FILE_TEMP_PREFIX)) == 0)
            (void)unlinkat(dirfd, d->d_name, 0);
    closedir(dir);
}

void vault_dir_why(char *why, const char *path, const char *name, const char *what)
{
    if (!why)
        return;
    size_t rest = strlen(name) + strlen(what) + 8, len = strlen(path);
    size_t room = rest < VAULT_DIR_WHY ? VAULT_DIR_WHY - rest : 0;
    bool cut = len > room;
    snprintf(why, VAULT_DIR_WHY, "%s%.*s/%s %s", cut ? "..." : "", (int)(cut ? room : len),
             cut ? path + len - room : path, name, what);
}
