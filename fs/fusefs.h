/*
 * fusefs.h - the vault as a mounted file system: the adapter between libfuse's low-level API and tree/data.
 */
#ifndef FS_FUSEFS_H
#define FS_FUSEFS_H

#include "fs/vault.h"

struct fusefs;

struct fusefs_options {
    const char *mountpoint;
    bool read_only, allow_other;
    const char *extra; /* further -o options, comma separated, or NULL */
};

/* Mounts. On return the kernel waits for answers: call fusefs_run. ERR_DENIED and others; ${why} (200 bytes) gets a line for people. */
int fusefs_mount(struct fusefs **fs, struct vault *vault, const struct fusefs_options *options,
                 char *why);
/* Serves until unmounted or fusefs_stop, with its own threads and committer; then everything is durable. ${ready} is called once the mount
 * answers (the first INIT was served). The first error of the final commit. */
int fusefs_run(struct fusefs *fs, void (*ready)(void *ctx), void *ctx);
/* Asks fusefs_run to return (from a signal handler or another thread); the mount is taken off, lazily if busy. */
void fusefs_stop(struct fusefs *fs);
void fusefs_free(struct fusefs *fs);
/* Waits, 10 s at the most, until what the kernel had sent before is served: syncfs(2) on a FUSE mount returns before that. Not from the
 * threads that serve the mount. */
void fusefs_settle(struct fusefs *fs);

#endif
