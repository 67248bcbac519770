/*
 * Stands in for libsodium's Argon2 in the tests of power cuts, which open a vault for each of thousands of states: that costs a tenth of a
 * second and has no part in what they show. Everything that opens those vaults has it: the tests by linking this file, the commands
 * because it is in what is preloaded into them.
 */
#include <sodium.h>

__attribute__((visibility("default"))) int
crypto_pwhash(unsigned char *const out, unsigned long long out_len, const char *const pass,
              unsigned long long pass_len, const unsigned char *const salt,
              unsigned long long passes, size_t memory, int algorithm)
{
    return crypto_generichash(out, (size_t)out_len, (const unsigned char *)pass, pass_len, salt,
                              crypto_pwhash_SALTBYTES);
}
