/*
 * code.h - the vault code: 160 random bits, printed once, that recover the vault from the store alone.
 *
 * Text form: eight groups of five characters in Crockford's base 32 (0-9 A-Z without I, L, O, U), separated by '-'.
 * Each group is four characters of content (20 bits; the 160 bits in order, the most significant first) and one check
 * character that covers the group and its number, so that a mistyped, missing or swapped group is named. [vault-code]
 * With c0 to c3 the values of the four characters and g the number of the group, from 0, the check character is
 *     (g + 1) + 2*c0 + 4*c1 + 8*c2 + 16*c3    in GF(32) modulo x^5 + x^2 + 1 (+ is XOR).
 * One wrong character, two exchanged ones in a group, and exchanged groups are always found; other errors are found
 * with 31/32 for each wrong group.
 *
 * The text form is as secret as the code: callers keep it in secret_alloc memory and wipe it.
 */
#ifndef CRYPTO_CODE_H
#define CRYPTO_CODE_H

#include "crypto/secret.h"

#define CODE_LEN      20u /* raw bytes */
#define CODE_TEXT_MAX 80u /* characters of the text form with its NUL, at most */

void code_generate(uint8_t raw[CODE_LEN]);
/* Groups separated by '-'. */
void code_format(const uint8_t raw[CODE_LEN], char text[CODE_TEXT_MAX]);
/*
 * Accepts lower case, white space or dashes around and between groups (anywhere, also several, or none at all), O for 0,
 * I and L for 1. ERR_FORMAT: *group is the first group that is wrong or missing, counted from 1 (0: the whole has the
 * wrong length, or there are more than eight groups), and ${raw} is zero.
 */
int code_parse(const char *text, uint8_t raw[CODE_LEN], int *group);
/*
 * The 32-byte key of the recovery slot on the store, bound to the vault. No slow KDF: the code has 160 bits. [code-key]
 *     parent = BLAKE2b, output 32 bytes, key = the code (20 bytes), message = vault id, salt zero,
 *              personalisation = "obscura.code" || 4 zero bytes
 *     key    = kdf_derive(parent, KDF_CODE_SLOT)
 */
void code_key(const uint8_t raw[CODE_LEN], const uint8_t vault_id[32], uint8_t key[SECRET_KEY_LEN]);

#endif
