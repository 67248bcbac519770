/*
 * pack.h - a pack: sealed extents of many files in one object of a size that says nothing. [pack]
 *
 *   0   head: magic "OBSP", u8 version 1, u8 suite 1, u16 0, salt (32, random)                              [pack-head]
 *   40  sealed extents, end to end from here to the table, just as the segment has them
 *       sealed object (OBJECT_PACK_TABLE, key KDF_PACK, place "pack"): u32 n, n x { id 16, u32 plaintext length, u32 epoch,
 *       u32 offset in the pack }                                                                            [pack-table]
 *       random bytes: padding up to a Padmé size, at least 4 KiB; full packs: PACK_SIZE exactly              [pack-padding]
 *   -56 trailer: nonce (24) || AEAD(u32 epoch, u32 table offset, u32 table length, u32 0) || tag, key KDF_PACK of the newest
 *       epoch, AAD: the 40 bytes of the head || vault id                                                    [pack-trailer]
 *
 * Name: packs/<first two hex digits>/<64 hex digits of kdf_hash("obs-pack", all bytes)>.
 */
#ifndef SYNC_PACK_H
#define SYNC_PACK_H

#include "crypto/object.h"
#include "fs/inode.h"

#define PACK_SIZE        (8u << 20)
#define PACK_MIN         4096u
#define PACK_HEAD        40u
#define PACK_TRAILER     56u
#define PACK_EXTENTS_MAX 65536u

/* "packs/aa/<64 hex>" with its NUL: 74 bytes. */
#define PACK_NAME_LEN 74u
void pack_name(const uint8_t hash[32], char name[PACK_NAME_LEN]);

struct pack_builder;
/* ${epoch_key} of ${epoch} seals table and trailer. */
struct pack_builder *pack_builder_new(const uint8_t epoch_key[SECRET_KEY_LEN], uint32_t epoch,
                                      const uint8_t vault_id[32]);
void pack_builder_free(struct pack_builder *b);
/* Room for one more extent of ${len} plaintext bytes? */
bool pack_builder_fits(const struct pack_builder *b, uint32_t len);
/* A place for the sealed bytes (seal_size(e->len)), to be filled by the caller; *off is where in the pack. NULL: does not fit or no memory. */
uint8_t *pack_builder_add(struct pack_builder *b, const struct extent *e, uint64_t *off);
/* Takes back the last extent (its bytes could not be read). */
void pack_builder_undo(struct pack_builder *b);
/* An empty builder again, with another salt. */
void pack_builder_reset(struct pack_builder *b);
size_t pack_builder_count(const struct pack_builder *b);
/* Pads and seals (to PACK_SIZE if pack_builder_add has refused an extent for want of room); *bytes (owned by the builder) of *len is the object, hash its name. */
int pack_builder_finish(struct pack_builder *b, const uint8_t **bytes, size_t *len,
                        uint8_t hash[32]);

/* ERR_AUTH: these are not the bytes of that name. */
int pack_check_hash(const uint8_t *p, size_t len, const uint8_t hash[32]);

/* Verifies a whole pack (hash, head, trailer, table) and calls ${each} for each extent with its sealed bytes; for check --store.
 * ${epoch_key}(ctx, epoch) gives the key or NULL; epochs are numbered from 1 without gaps. */
int pack_read(const uint8_t *p, size_t len, const uint8_t hash[32], const uint8_t vault_id[32],
              const uint8_t *(*epoch_key)(void *ctx, uint32_t epoch),
              int (*each)(void *ctx, const struct extent *e, const uint8_t *sealed), void *ctx);

#endif
