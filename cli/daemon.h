/*
 * daemon.h - the process that has a vault mounted: FUSE, engine, control socket, signals.
 */
#ifndef CLI_DAEMON_H
#define CLI_DAEMON_H

#include "fs/fusefs.h"

struct daemon_options {
    struct fusefs_options fuse;
    unsigned stop_wait_ms; /* how long an unmount may go on pushing */
};

/*
 * Mounts ${vault} (whose ownership it takes) and serves until unmounted, stopped or signalled; then pushes for a bounded
 * time and closes the vault. ${ready} is called once the mount answers. ERR_MISUSE and others before that with a line in ${why}.
 */
int daemon_run(struct vault *vault, const struct daemon_options *options, void (*ready)(void *ctx),
               void *ctx, char *why);

#endif
