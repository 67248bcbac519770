/*
 * engine.h - the background thread that pushes and pulls, and the same once, in the foreground.
 *
 * A push: after a quiet time, extents that are alive and in no pack are packed and put (several at once), then one or more batches are written to
 * the outbox (in the index, in the same operation that clears the dirty marks) and put on each store in order. A batch is the only commit
 * point on the store; it is put after all packs it speaks of. Interrupted anywhere, the next push goes on: a batch's bytes never
 * change once they are in the outbox; at most the packs in flight are sent again.
 * A pull: for every device in the roster the next batches are asked for by number, verified and applied in causal order (pull.h, merge.h).
 *
 * Threads: engine_start makes one thread (plus what the store uses); every function is thread-safe.
 */
#ifndef SYNC_ENGINE_H
#define SYNC_ENGINE_H

#include "fs/vault.h"
#include "sync/stores.h"

struct engine;

enum engine_state {
    ENGINE_IDLE,    /* everything is on the store */
    ENGINE_PENDING, /* waits for quiet or for the next try */
    ENGINE_BUSY,
    ENGINE_OFFLINE, /* the store cannot be reached; tries again */
    ENGINE_PAUSED,  /* a login was refused or the store is full: waits for people */
    ENGINE_BEHIND,  /* the store does not show everything yet */
    ENGINE_ALARM    /* contradiction: see last_error */
};

struct engine_status {
    enum engine_state state;
    size_t store_count;
    uint64_t pending_bytes;            /* sealed bytes in no pack yet */
    uint64_t pending_changes;          /* dirty inodes and names, batches in the outbox */
    uint64_t sent, received;           /* bytes in this run of the process */
    uint64_t done_bytes, total_bytes;  /* of the push or pull under way */
    int64_t last_sync;                 /* seconds since 1970; 0: never */
    int last_error;                    /* err.h */
    char last_error_text[200];         /* for people, with the remedy */
    char store_url[STORE_URL_MAX + 1]; /* of the first store; "" if none */
};

struct engine_options {
    unsigned quiet_ms; /* push after so long without a change; 0: 5000 */
    unsigned max_ms;   /* at the latest after so long; 0: 60000 */
    unsigned pull_s;   /* ask for news so often; 0: 60 */
};

/* Makes the engine and sets the vault's fetcher (hydration works from here on); loads the stores. No thread yet. */
int engine_new(struct engine **e, struct vault *vault, const struct engine_options *options);
/* Stops, clears the fetcher. */
void engine_free(struct engine *e);
int engine_start(struct engine *e);
/* Tries to push what is pending within ${wait_ms}, then stops the thread. Returns what is still pending (bytes + changes), 0: nothing. */
uint64_t engine_stop(struct engine *e, unsigned wait_ms);
/* Push and pull now, in this thread (waits for a run under way); ${progress} is called now and then. First error. No stores: ERR_NOENT. */
int engine_sync(struct engine *e, void (*progress)(void *ctx, const struct engine_status *status),
                void *ctx);
/* Interrupts a running engine_sync soon. Async-signal-safe. */
void engine_cancel(struct engine *e);
void engine_status(struct engine *e, struct engine_status *status);
/* The list of stores changed (store add/remove while mounted). */
int engine_reload(struct engine *e);

/* Verifies everything on the stores: every live extent of every file is there and opens, every batch is there and verifies. ${problem} names files. */
struct engine_check_result {
    uint64_t packs, extents, bytes, batches, problems;
};
int engine_check(struct engine *e, void (*progress)(void *ctx, uint64_t done, uint64_t total),
                 void (*problem)(void *ctx, const char *path, const char *what), void *ctx,
                 struct engine_check_result *result);

#endif
