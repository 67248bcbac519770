/*
 * bytes.h - the one bounds-checked way to read and to write binary formats.
 *
 * All integers are little-endian. A reader (struct bytes_in) never reads past its end: a get that does not
 * fit returns zeroes and sets the sticky ${bad}; check it once, after the last get, with bytes_in_done(),
 * which also refuses trailing bytes. A writer (struct bytes_out) grows as needed and has a sticky ${bad}
 * for out of memory. Not thread-safe; one owner each.
 */
#ifndef CRYPTO_BYTES_H
#define CRYPTO_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes_in {
    const uint8_t *p; /* borrowed */
    size_t left;
    bool bad;
};

void bytes_in_init(struct bytes_in *in, const void *p, size_t len);
uint8_t bytes_get_u8(struct bytes_in *in);
uint16_t bytes_get_u16(struct bytes_in *in);
uint32_t bytes_get_u32(struct bytes_in *in);
uint64_t bytes_get_u64(struct bytes_in *in);
int64_t bytes_get_i64(struct bytes_in *in);
/* Copies ${len} bytes to ${out}; zeroes on failure. */
void bytes_get(struct bytes_in *in, void *out, size_t len);
/* A pointer to the next ${len} bytes inside the input, or NULL (and bad). */
const uint8_t *bytes_get_ref(struct bytes_in *in, size_t len);
/* A u16 (u32) length, at most ${max}, and that many bytes; pointer into the input, NULL (and bad) otherwise. */
const uint8_t *bytes_get_var16(struct bytes_in *in, size_t max, size_t *len);
const uint8_t *bytes_get_var32(struct bytes_in *in, size_t max, size_t *len);
/* 0 if everything fitted and nothing is left over, else ERR_FORMAT. */
int bytes_in_done(const struct bytes_in *in);

struct bytes_out {
    uint8_t *p; /* owned; free with bytes_out_release */
    size_t len, cap;
    bool bad;
    bool secret; /* wipe on growth and release */
};

void bytes_out_init(struct bytes_out *out);
/* Frees (wipes if secret) and makes it empty again. */
void bytes_out_release(struct bytes_out *out);
/* Forgets the content, keeps the memory. */
void bytes_out_reset(struct bytes_out *out);
/* Room for ${len} more bytes at the end, counted as written; NULL (and bad) when out of memory. */
uint8_t *bytes_put_space(struct bytes_out *out, size_t len);
void bytes_put_u8(struct bytes_out *out, uint8_t v);
void bytes_put_u16(struct bytes_out *out, uint16_t v);
void bytes_put_u32(struct bytes_out *out, uint32_t v);
void bytes_put_u64(struct bytes_out *out, uint64_t v);
void bytes_put_i64(struct bytes_out *out, int64_t v);
void bytes_put(struct bytes_out *out, const void *p, size_t len);
void bytes_put_var16(struct bytes_out *out, const void *p, size_t len); /* len <= 65535, else bad */
void bytes_put_var32(struct bytes_out *out, const void *p, size_t len);

/* Little-endian integers at a fixed place. */
void bytes_le16(uint8_t *p, uint16_t v);
void bytes_le32(uint8_t *p, uint32_t v);
void bytes_le64(uint8_t *p, uint64_t v);
uint16_t bytes_from_le16(const uint8_t *p);
uint32_t bytes_from_le32(const uint8_t *p);
uint64_t bytes_from_le64(const uint8_t *p);

#endif
