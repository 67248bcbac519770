/*
 * mount_helper.h - obscurafs under the name mount.fuse.obscurafs: what mount(8) and systemd call for a line in fstab.
 *
 *   VAULT MOUNTPOINT [-sfnv] [-o OPTION[,OPTION]] [-t TYPE]
 *
 * as mount(8) says in EXTERNAL HELPERS. Options beside those of obscurafs mount: passfile=FILE, extpass=COMMAND (without a
 * comma); those of mount(8) and systemd themselves are passed over.
 */
#ifndef CLI_MOUNT_HELPER_H
#define CLI_MOUNT_HELPER_H

#include <stdbool.h>

/* True if the program was started under that name. */
bool mount_helper_is_called(const char *argv0);
/* The exit code; to mount(8), 0 is success and all else a failure of which we have told. */
int mount_helper_run(int argc, char **argv);

#endif
