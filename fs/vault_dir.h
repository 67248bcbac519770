/*
 * vault_dir.h - the small files of a vault directory: public header, lock, slots. [vault-header]
 *
 * Internal to vault.h's files. Thread-safe; ${fd} is the open vault directory.
 */
#ifndef FS_VAULT_DIR_H
#define FS_VAULT_DIR_H

#include "crypto/secret.h"
#include "crypto/slot.h"

#include <stdbool.h>

#define VAULT_DIR_ID    32u
#define VAULT_DIR_LOCK  "lock"
#define VAULT_DIR_SLOTS "slots"
#define VAULT_DIR_WHY   200u

/* Opens the directory. ERR_NOTVAULT: there is none. ERR_DENIED, ERR_IO. */
int vault_dir_open(const char *path, int *fd);

/* ERR_NOTVAULT (no header), ERR_FORMAT (damaged), ERR_VERSION. */
int vault_dir_read_header(int fd, uint8_t vault_id[VAULT_DIR_ID], uint32_t *device_tag);
int vault_dir_write_header(int fd, const uint8_t vault_id[VAULT_DIR_ID], uint32_t device_tag);

/* Takes the lock that says the vault is in use; it is held until the last copy of *lock_fd is closed, so also across fork.
 * *lock_fd is -1 when the directory cannot be written to and has no lock file. ERR_LOCKED. */
int vault_dir_lock(int fd, bool read_only, int *lock_fd);
bool vault_dir_is_locked(int fd);

/* Puts slot ${number} in place, durably. */
int vault_dir_write_slot(int fd, unsigned number, const uint8_t slot[SLOT_LEN]);
/* Tries ${secret} on every slot; *number is the one that opened. ERR_WRONGKEY, ERR_VERSION, ERR_NOMEM, ERR_FORMAT (no slot at all). */
int vault_dir_open_slot(int fd, const uint8_t vault_id[VAULT_DIR_ID], const void *secret,
                        size_t len, uint8_t device_key[SECRET_KEY_LEN], unsigned *number);

/* Removes temporary files that a crash left in the directory ${name}. Nobody else may be writing there. */
void vault_dir_clean(int fd, const char *name);

/* "PATH/${name} ${what}" in 200 bytes, the path cut at its start if need be. ${why} may be NULL. */
void vault_dir_why(char *why, const char *path, const char *name, const char *what);

#endif
