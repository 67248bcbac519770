/* Any text as a vault code: a right one reads the same in its own form, a wrong one names a group and leaves nothing. */
#include "fuzz.h"

#include "crypto/code.h"
#include "crypto/err.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t zero[CODE_LEN];
    uint8_t raw[CODE_LEN], again[CODE_LEN];
    char text[CODE_TEXT_MAX];
    int group = -1;
    char *input = malloc(size + 1);
    FUZZ_CHECK(secret_init() == ERR_OK && input);
    if (size)
        memcpy(input, data, size);
    input[size] = 0;
    int err = code_parse(input, raw, &group);
    if (err) {
        FUZZ_CHECK(err == ERR_FORMAT && group >= 0 && group <= 8);
        FUZZ_CHECK(memcmp(raw, zero, CODE_LEN) == 0);
    } else {
        code_format(raw, text);
        FUZZ_CHECK(strlen(text) == 47);
        FUZZ_CHECK(code_parse(text, again, &group) == ERR_OK);
        FUZZ_CHECK(memcmp(raw, again, CODE_LEN) == 0);
    }
    free(input);
    return 0;
}
