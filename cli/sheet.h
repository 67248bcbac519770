/*
 * sheet.h - the vault code on paper: text and QR code.
 */
#ifndef CLI_SHEET_H
#define CLI_SHEET_H

#include "crypto/code.h"

/* Prints the sheet on standard output. ${vault_id}: 32 bytes. */
void sheet_print(const uint8_t code[CODE_LEN], const uint8_t vault_id[32]);
/* Writes the code and a newline to a new file of mode 0600, durably. 0 or an exit code after saying why. */
int sheet_write_file(const uint8_t code[CODE_LEN], const char *path);

#endif
