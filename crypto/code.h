/*
 * code.h - the vault code: 160 random bits, printed once, that recover the vault from the store alone.
 *
 * Text form: eight groups of five characters in Crockford's base 32 (no I, L, O, U), separated by '-'. Each group
 * is four characters of content (20 bits) and one check character that covers the group and its number, so that a
 * mistyped, missing or swapped group is named. [vault-code]
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
 * Accepts lower case, spaces or dashes between groups or none at all, O for 0, I and L for 1. ERR_FORMAT: *group is the
 * first wrong group, counted from 1 (0: the whole has the wrong length).
 */
int code_parse(const char *text, uint8_t raw[CODE_LEN], int *group);
/* The 32-byte key of the recovery slot on the store, bound to the vault. No slow KDF: the code has 160 bits. */
void code_key(const uint8_t raw[CODE_LEN], const uint8_t vault_id[32], uint8_t key[SECRET_KEY_LEN]);

#endif
