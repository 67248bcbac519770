/*
 * segment.h - the local append-only files: sealed extents, and the notes that say what they mean. [segment]
 *
 * A segment file seg/<16 hex digits> is a row of records, each a sealed head of SEGMENT_HEAD bytes and a payload.
 *   head:  nonce (24) || AEAD of { u8 kind, u8 flags, u16 0, u32 payload length, u64 segment number, u64 offset of
 *          the head } || tag (16), key KDF_SEGMENT; AAD: vault id (32) || device tag (u32)     [segment-head]
 *   EXTENT (1) payload: the sealed extent as seal.h makes it; the store gets the very same bytes   [segment-extent]
 *   NOTE (2) payload: nonce (24) || AEAD of a group of note records (note.h) || tag (16), key KDF_SEGMENT;
 *          AAD: vault id (32) || device tag (u32) || the 64 bytes of the sealed head            [segment-note]
 *   END (3): no payload; the file ends here and the log goes on in the file with the next number [segment-end]
 * flags: 1 in the first head of the first file that a mount writes, else 0. No length, kind or id shows on the disk.
 *
 * Nothing is ever overwritten. After a crash the log ends at the first record that does not verify; a new mount
 * starts a new segment, so what a crash left behind is never mistaken for something newer. A file that a mount
 * begins (flag 1) follows whatever came before it; another one follows only an END. One fdatasync makes a
 * write and the note about it durable together.
 *
 * Room is reserved (posix_fallocate) before a record is placed, so a full disk is met before anything is promised,
 * and room for notes can be set aside (segment_hold).
 * A failed write or sync is final: every later call fails with ERR_IO (segment_failed).
 *
 * Threads: every function is thread-safe unless it says otherwise.
 */
#ifndef FS_SEGMENT_H
#define FS_SEGMENT_H

#include "crypto/secret.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_HEAD 64u
#ifndef SEGMENT_FILE_MAX               /* tests build with a smaller one */
#define SEGMENT_FILE_MAX (64ull << 20) /* a new segment is started past this */
#endif
#define SEGMENT_NOTE_MAX (8u << 20) /* plaintext bytes of a note */
/* What a note takes in the file beyond its own bytes. */
#define SEGMENT_NOTE_OVERHEAD (SEGMENT_HEAD + 24u + 16u)

enum segment_kind { SEGMENT_EXTENT = 1, SEGMENT_NOTE = 2 };

/* Where a payload is (for positions in the log: the end of a record, i.e. where the next head goes). Segment numbers start at 1; 0 is none. */
struct segment_pos {
    uint64_t seg;
    uint64_t off;
};

struct segment_store;

/* Opens (creates) the directory "seg" below ${vault_fd}. ${key}: the KDF_SEGMENT subkey of the device key (copied into
 * guarded memory). ERR_IO, ERR_NOMEM, ERR_DENIED. */
int segment_store_open(struct segment_store **store, int vault_fd,
                       const uint8_t key[SECRET_KEY_LEN], const uint8_t vault_id[32],
                       uint32_t device_tag, bool read_only);
/* Cuts the unused reserve off the last file, if it is not to be kept, and closes. Does not sync. */
void segment_store_close(struct segment_store *store);

/*
 * Calls ${each} for every record from ${from} on, in order, until one does not verify or the files end (then *end is
 * the end of the log, 0 is returned) or ${each} returns non-zero (returned). ${payload} is non-NULL for notes only
 * (opened). Files of missing numbers are skipped (they were dropped). What an earlier mount wrote and is scanned is durable
 * afterwards (unless read-only): new records build on it. ERR_IO, ERR_NOMEM; damage only ends the log.
 * Once before the first append; later only to read again what is there, right after segment_sync and while no note is
 * appended: a record that is under way would end the log.
 */
int segment_scan(struct segment_store *store, struct segment_pos from,
                 int (*each)(void *ctx, enum segment_kind kind, struct segment_pos pos,
                             const uint8_t *payload, size_t len),
                 void *ctx, struct segment_pos *end);

/* Appends; *pos is where the payload (of ${len} bytes as given; for notes: the sealed payload) went. The bytes are in the
 * page cache on return, not yet durable. ERR_NOSPACE (nothing changed), ERR_IO (final), ERR_ROFS. */
int segment_append(struct segment_store *store, enum segment_kind kind, const uint8_t *payload,
                   size_t len, struct segment_pos *pos);

/*
 * Sets room aside for notes: from now on at least ${bytes} in all (all notes that are promised and not appended yet, each with
 * SEGMENT_NOTE_OVERHEAD) fit even when the disk is full, because extents never use that room. Not added to what was set
 * aside before; each note that is appended uses it up. Cheap when enough is set aside already. ERR_NOSPACE, ERR_IO, ERR_ROFS.
 */
int segment_hold(struct segment_store *store, size_t bytes);

/* From now on closing leaves the reserve. The scan of the next who opens gives it back. */
void segment_keep_room(struct segment_store *store);

/* Reads ${len} bytes at ${off} inside an extent's payload. ERR_IO; ERR_FORMAT when the file is shorter or missing. */
int segment_read(struct segment_store *store, struct segment_pos pos, uint64_t off, uint8_t *buf,
                 size_t len);

/* Every record whose append returned before this call is durable when it returns; so are all records before those
 * (it waits for appends that are under way at lower offsets: otherwise the log would end in their hole). */
int segment_sync(struct segment_store *store);

/* The end of the log: where the next head goes. */
struct segment_pos segment_tail(struct segment_store *store);

/* Gives the whole pages inside [pos, pos+len) back to the file system. Only for extents that nothing refers to, and
 * that no reader may be in the middle of. Best effort. */
void segment_punch(struct segment_store *store, struct segment_pos pos, size_t len);
/* Deletes a whole segment file; not the one being written, and none at or after the position that a scan will start from. */
int segment_drop(struct segment_store *store, uint64_t seg);
/* Calls ${each} for every segment file. */
int segment_each(struct segment_store *store, int (*each)(void *ctx, uint64_t seg, uint64_t bytes),
                 void *ctx);

/* True (sticky) once a write or sync has failed for another reason than a full disk. */
bool segment_failed(struct segment_store *store);

#endif
