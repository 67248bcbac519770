/* Changing the passphrase: only the slot changes, so a mounted vault is not disturbed. */
#include "crypto/err.h"
#include "fs/vault.h"
#include "fs/vault_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

/* The slots directory, so that no two change slots at once. Not the vault's own lock: that one a mount holds. */
static int lock_slots(int fd, int *slots_fd)
{
    *slots_fd = openat(fd, VAULT_DIR_SLOTS, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (*slots_fd < 0)
        return errno == ENOENT ? ERR_FORMAT : err_from_errno(errno);
    int r;
    do
        r = flock(*slots_fd, LOCK_EX);
    while (r != 0 && errno == EINTR);
    if (r == 0)
        return ERR_OK;
    int err = err_from_errno(errno);
    close(*slots_fd);
    return err;
}

static int change(int fd, const void *old_secret, size_t old_len, const void *new_secret,
                  size_t new_len)
{
    uint8_t id[VAULT_DIR_ID], slot[SLOT_LEN];
    uint32_t tag;
    unsigned number;
    struct slot_cost cost;
    int err = vault_dir_read_header(fd, id, &tag);
    if (err)
        return err;
    uint8_t *device_key = secret_alloc(SECRET_KEY_LEN);
    if (!device_key)
        return ERR_NOMEM;
    err = vault_dir_open_slot(fd, id, old_secret, old_len, device_key, &number);
    if (!err) {
        /* Today's policy, whatever the old slot had: else a weak slot would stay weak for ever. [slot-policy] */
        slot_calibrate(&cost);
        err = slot_make(slot, (uint16_t)number, id, &cost, new_secret, new_len, device_key);
    }
    secret_free(device_key);
    if (!err) {
        vault_dir_clean(fd, VAULT_DIR_SLOTS);
        /* In one step: a crash leaves the old passphrase or the new one, never none. */
        err = vault_dir_write_slot(fd, number, slot);
    }
    return err;
}

int vault_passwd(const char *path, const void *old_secret, size_t old_len, const void *new_secret,
                 size_t new_len)
{
    int fd, slots_fd;
    int err = vault_dir_open(path, &fd);
    if (err)
        return err;
    uint8_t id[VAULT_DIR_ID];
    uint32_t tag;
    err = vault_dir_read_header(fd, id, &tag);
    if (!err)
        err = lock_slots(fd, &slots_fd);
    if (!err) {
        err = change(fd, old_secret, old_len, new_secret, new_len);
        close(slots_fd);
    }
    close(fd);
    return err;
}
