/*
 * fusefs_notify.h - tells the kernel what sync changed behind its back.
 *
 * Dropping cached data may wait for pages that are being read, so it must never be done by a thread that serves requests:
 * a queue and a thread of its own.
 */
#ifndef FS_FUSEFS_NOTIFY_H
#define FS_FUSEFS_NOTIFY_H

#include "fs/fusefs_session.h"

/* Starts the thread and becomes the vault's watcher. ERR_NOMEM. */
int fusefs_notify_start(struct fusefs_notify **notify, struct fusefs *fs);
/* Stops being the watcher, drops what is queued, ends the thread. NULL is a no-op. */
void fusefs_notify_stop(struct fusefs_notify *notify);

#endif
