/*
 * fusefs_mount.h - putting the mount on and taking it off, with messages for people.
 */
#ifndef FS_FUSEFS_MOUNT_H
#define FS_FUSEFS_MOUNT_H

#include "fs/fusefs_session.h"

#define FUSEFS_MOUNT_WHY 200u /* bytes of a message */

/* Makes fs->session and fs->mountpoint and mounts. ERR_NOENT, ERR_NOTDIR, ERR_NOTEMPTY, ERR_DENIED, ERR_INVAL (options),
 * ERR_NOTSUP (no FUSE here), ERR_NOMEM; ${why} gets a line. On failure both are NULL. */
int fusefs_mount_on(struct fusefs *fs, const struct fusefs_options *options,
                    char why[FUSEFS_MOUNT_WHY]);
/* Once INIT was answered: lets the kernel read further ahead in streams than its usual 128 KiB, where the system allows
 * it (root). Best effort. */
void fusefs_mount_tune(const struct fusefs *fs);
/* Asks the kernel to take the mount off, while it is being served: what is cached is written first. If somebody uses
 * it, it disappears from the tree at once, and open files end when this process does. */
void fusefs_mount_off(struct fusefs *fs);
/* Closes the device and frees the session; the mount must be off or the process about to end. */
void fusefs_mount_close(struct fusefs *fs);

#endif
