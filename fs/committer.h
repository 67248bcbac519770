/*
 * committer.h - the thread that makes changes durable in the background.
 *
 * Every COMMITTER_INTERVAL_MS with something waiting, or sooner when much waits (bounds the memory of the open
 * transaction), it commits the index; it checkpoints when the log has grown or some time has passed, which also frees the
 * space of dead extents; it tries to leave the full state.
 */
#ifndef FS_COMMITTER_H
#define FS_COMMITTER_H

#include "fs/vault.h"

#define COMMITTER_INTERVAL_MS 2000

struct committer;
int committer_start(struct committer **c, struct vault *vault);
/* Makes it commit now. Cheap, callable under locks. */
void committer_nudge(struct committer *c);
/* Stops the thread after a last commit and checkpoint. Its error (ERR_NOSPACE: all is in the log, the index could not take it yet).
 * NULL is a no-op. */
int committer_stop(struct committer *c);

#endif
