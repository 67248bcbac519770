/*
 * vault.h - a vault directory on this device, opened.
 *
 *   VAULT/vault      public header: "OBSVAULT", format u32 = 1, suite u32 = 1, vault id (32), device tag (u32)  [vault-header]
 *   VAULT/slots/<n>  local slots (crypto/slot.h)
 *   VAULT/keyring    the device's keys, sealed under the device key (keyring.h)
 *   VAULT/index, index-wal    the index
 *   VAULT/seg/       segments
 *   VAULT/ballast    1 MiB that a full disk gives back
 *   VAULT/lock       flock'ed while in use
 *
 * Opening: header -> slot -> device key -> keyring -> segments -> index (replay). One process at a time.
 */
#ifndef FS_VAULT_H
#define FS_VAULT_H

#include "crypto/seal.h"
#include "crypto/sign.h"
#include "crypto/slot.h"
#include "fs/index.h"
#include "fs/keyring.h"

struct vault;

/* The slot that `init` makes: number 0, a passphrase. */
struct vault_new {
    /* made if missing (0700); must be empty otherwise, or left half-made by a call that was
     * killed */
    const char *path;
    const uint8_t *vault_id;
    const struct keyring *keyring; /* complete */
    const void *secret;
    size_t secret_len;
    const struct slot_cost *cost; /* NULL: calibrate */
    /* the root inode is a change to be published (init), or a bare one that batches will
     * replace (clone) */
    bool with_root;
};
/* Makes the vault; leaves nothing behind on failure (after a kill the next call with the same path clears up). ERR_LOCKED: another
 * process is at it. ERR_EXIST (not an empty directory), ERR_NOENT (no place for
 * it), ERR_NOSPACE, ERR_IO, ERR_DENIED. */
int vault_create(const struct vault_new *params);

enum vault_mode { VAULT_READ_WRITE, VAULT_READ_ONLY };
/* ERR_NOTVAULT, ERR_VERSION, ERR_LOCKED, ERR_WRONGKEY, ERR_FORMAT/ERR_AUTH (damaged: ${why}, 200 bytes, names the file and the remedy), ERR_NOMEM, ERR_IO.
 * ${why} may be NULL. */
int vault_open(struct vault **vault, const char *path, const void *secret, size_t len,
               enum vault_mode mode, char *why);
/* The same for who has the device key, having just made the vault: deriving it from a passphrase once more takes a second. */
int vault_open_key(struct vault **vault, const char *path, const uint8_t device_key[SECRET_KEY_LEN],
                   enum vault_mode mode, char *why);
/* Everything durable, then keys wiped. The first error. NULL is a no-op. */
int vault_close(struct vault *vault);

/* Reads the public header without unlocking: vault id, device tag. ERR_NOTVAULT, ERR_VERSION, ERR_FORMAT. */
int vault_peek(const char *path, uint8_t vault_id[32], uint32_t *device_tag);
/* True if another process has it open. */
bool vault_in_use(const char *path);
/* Changes the passphrase of slot 0: opens with the old, makes a new slot with today's policy, replaces it durably. Works
 * while the vault is mounted. ERR_WRONGKEY. */
int vault_passwd(const char *path, const void *old_secret, size_t old_len, const void *new_secret,
                 size_t new_len);

const char *vault_path(const struct vault *vault);
const uint8_t *vault_id(const struct vault *vault); /* 32 bytes */
struct index *vault_index(struct vault *vault);
struct segment_store *vault_segments(struct vault *vault);
const struct keyring *vault_keyring(const struct vault *vault);
bool vault_read_only(const struct vault *vault); /* opened so, or turned so by a failure */
/* What vault_failure says when the disk failed. */
#define VAULT_DISK_FAILED                                                                          \
    "the local disk failed while syncing; the vault is read-only until it is mounted again"
/* Why it turned read-only by itself: a line for people, or NULL. Valid until vault_close. */
const char *vault_failure(const struct vault *vault);
/* Turns the vault read-only from now on with a reason (copied): contradiction on the store, failed disk. */
void vault_fail(struct vault *vault, const char *why);

/* The key that extents of ${epoch} are sealed under; NULL if we do not have it. The newest: epoch 0. */
const struct seal_key *vault_seal_key(struct vault *vault, uint32_t epoch);

/* Blocks of an extent that a reader needs and that are not here. */
struct vault_fetch {
    const struct extent *e;
    uint64_t ino;  /* the file that is read, and how many bytes of it are behind the extent: */
    uint64_t left; /* hints for fetching ahead, nothing else */
    size_t first,
        end; /* the blocks [first, end); the fetcher sets ${end} to what it gave, at most ${limit} */
    size_t limit;
    uint8_t *
        sealed; /* of the whole extent: blocks from ${first} on go to their places, others are not touched */
    const _Atomic bool *cancelled;
};

/*
 * Missing extents: sync sets this. fetch gets sealed bytes, verified. Called without locks, from FUSE threads; may take as long as the
 * network; ends with ERR_INTR soon after *cancelled turns true. ERR_STALE: the extent has come here meanwhile. ERR_NET etc.
 */
struct vault_fetcher {
    int (*fetch)(void *ctx, struct vault_fetch *want);
    /* Bytes of an extent that is in a pack are read, and they are here: so whoever fetches ahead knows how far the reader is. Cheap;
     * called without the index lock. May be NULL. */
    void (*reading)(void *ctx, const struct extent *e);
    /* Something changed here that sync may want to push. Cheap; called with or without locks. */
    void (*changed)(void *ctx);
    void (*rescue)(void *ctx, uint64_t ino); /* see vault_rescue; may be NULL */
    void *ctx;
};
/* Copied; NULL takes it away: then nobody may be using it any more. */
void vault_set_fetcher(struct vault *vault, const struct vault_fetcher *fetcher);
const struct vault_fetcher *vault_fetcher(const struct vault *vault);
/* A file without a name was written to. If another device deleted it, sync gives it its name again: a change beats a deletion.
 * Called without locks. */
void vault_rescue(struct vault *vault, uint64_t ino);

/*
 * Sync tells whoever shows the tree (the FUSE adapter) what it changed, so that caches are dropped. ${name} NULL: the inode itself
 * (${len} VAULT_DATA: its size or data, 0: only attributes); else the entry. Called without locks.
 */
#define VAULT_DATA 1u
struct vault_watcher {
    void (*invalidate)(void *ctx, uint64_t ino, const char *name, size_t len);
    void *ctx;
    void (*settle)(void *ctx, uint64_t ino); /* see vault_settle; may be NULL */
    bool (*held)(void *ctx, uint64_t ino);   /* see vault_held; may be NULL */
};
/* Copied; NULL takes it away, and it is not running any more when this returns. */
void vault_set_watcher(struct vault *vault, const struct vault_watcher *watcher);
void vault_invalidate(struct vault *vault, uint64_t ino, const char *name, size_t len);
/* Before sync changes or deletes an inode: what programs have written and the kernel still holds back comes in first, so that it
 * counts as a change of this device and is merged like one. ${ino} 0: of all. Called without locks; may wait for writes. */
void vault_settle(struct vault *vault, uint64_t ino);
/* Programs may have it open: sync takes its names away, and who shows the tree deletes it (tree_reap) when nobody has it any more.
 * Called with or without the index lock. */
bool vault_held(struct vault *vault, uint64_t ino);

/* Readers of segments hold it shared while they use positions taken from the index; reclaiming holds it alone. Not recursive: a
 * waiting reclaimer goes before new readers. */
void vault_reclaim_rdlock(struct vault *vault);
void vault_reclaim_unlock(struct vault *vault);
void vault_reclaim_wrlock(struct vault *vault);
/* Commits, and gives back what nothing needs (index_checkpoint), reclaiming alone. Nothing of the vault's locks may be held.
 * ERR_NOSPACE: all is in the log, the database could not take it. */
int vault_checkpoint(struct vault *vault);

#endif
