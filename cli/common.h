/*
 * common.h - what several commands do: open a vault with its passphrase, describe an engine's status.
 */
#ifndef CLI_COMMON_H
#define CLI_COMMON_H

#include "cli/pass.h"
#include "fs/vault.h"
#include "sync/engine.h"

#include <cjson/cJSON.h>

/* vault_peek; 0 or an exit code after saying why. */
int common_peek(const char *path, uint8_t id[32], uint32_t *tag);
/* Says that the vault is in use, and where it is mounted if we know; the exit code. */
int common_say_in_use(const char *path);

/* 0 once nobody uses the vault: a mount that was just taken off still makes its last changes durable and waits for its store,
 * which is waited for. EXIT_IN_USE at once, after saying where, when it is mounted. */
int common_wait_free(const char *path);

/* Asks for the passphrase and opens. 0 or an exit code after saying why. Knows the vault's mount point when it is in use. */
int common_open(const char *path, const struct pass_source *source, enum vault_mode mode,
                struct vault **vault);

/* Adds the fields of status --json that an engine knows. */
void common_status_json(cJSON *json, const struct engine_status *status);
/* "idle", "busy", ... */
const char *common_state_name(enum engine_state state);

/* A store's login for ${url}: --login-file, the environment (AWS_..., OBSCURAFS_STORE_USER and _PASSWORD), or the terminal. Fills item->user, secret,
 * token. 0 or an exit code after saying why. */
int common_login(const char *url, const char *login_file, struct stores_item *item);

/* Tries the store, puts the vault's header and keys on it (or checks that it is this vault's) and adds it to the list. An err.h code, ${why} (200 bytes) for people. */
int common_add_store(struct vault *vault, const struct stores_item *item, char *why);

/* Writes what programs have written to a mount out of the kernel's cache to the process that serves it. */
void common_flush_mount(const char *mountpoint);

/* This machine's name for the roster: the host's name, cut. ${out}: KEYRING_NAME_MAX + 1 bytes. */
void common_device_name(char *out);

/* control_find for commands that want more of the process than its status: 0, and *sock is NULL when nobody has it mounted; an exit code
 * after saying that the process does not answer. ${status} may be NULL. */
int common_find(const char *what, char **sock, cJSON **status);

#endif
