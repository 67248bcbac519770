#include "crypto/code.h"

#include "crypto/err.h"
#include "crypto/kdf.h"

#include <sodium.h>
#include <string.h>

#define GROUPS     8u
#define GROUP_DATA 4u /* characters of content in a group; one check character follows */
#define GROUP_LEN  5u

_Static_assert(GROUPS *GROUP_DATA * 5 == CODE_LEN * 8, "the groups hold the code");
_Static_assert(GROUPS *(GROUP_LEN + 1) <= CODE_TEXT_MAX, "the text form fits");

static const char alphabet[33] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* The value of a character, or -1. Not toupper: the code is the same in every locale. */
static int value_of(char c)
{
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (c == 'O')
        c = '0';
    if (c == 'I' || c == 'L')
        c = '1';
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

/* [vault-code] With different factors, none of them 0 or 1, one wrong character and two exchanged ones always show;
 * adding the group's number shows groups that changed places. */
static uint8_t check_of(const uint8_t data[GROUP_DATA], unsigned group)
{
    uint8_t sum = (uint8_t)(group + 1);
    for (unsigned i = 0; i < GROUP_DATA; i++) {
        unsigned v = (unsigned)data[i] << (i + 1);
        for (unsigned bit = 8; bit >= 5; bit--) /* modulo x^5 + x^2 + 1 */
            if (v >> bit & 1)
                v ^= 0x25u << (bit - 5);
        sum ^= (uint8_t)v;
    }
    return sum;
}

/* Five bits, number ${i} of the code's 32, the most significant first. */
static uint8_t get_five(const uint8_t raw[CODE_LEN], unsigned i)
{
    unsigned bit = i * 5, v = (unsigned)raw[bit / 8] << 8;
    if (bit / 8 + 1 < CODE_LEN)
        v |= raw[bit / 8 + 1];
    return v >> (11 - bit % 8) & 31;
}

static void set_five(uint8_t raw[CODE_LEN], unsigned i, uint8_t value)
{
    unsigned bit = i * 5, v = (unsigned)value << (11 - bit % 8);
    raw[bit / 8] |= (uint8_t)(v >> 8);
    if (bit / 8 + 1 < CODE_LEN)
        raw[bit / 8 + 1] |= (uint8_t)v;
}

void code_generate(uint8_t raw[CODE_LEN])
{
    secret_random(raw, CODE_LEN);
}

void code_format(const uint8_t raw[CODE_LEN], char text[CODE_TEXT_MAX])
{
    char *at = text;
    for (unsigned g = 0; g < GROUPS; g++) {
        uint8_t data[GROUP_DATA];
        if (g)
            *at++ = '-';
        for (unsigned i = 0; i < GROUP_DATA; i++) {
            data[i] = get_five(raw, g * GROUP_DATA + i);
            *at++ = alphabet[data[i]];
        }
        *at++ = alphabet[check_of(data, g)];
        secret_wipe(data, sizeof(data));
    }
    *at = 0;
}

static bool is_separator(char c)
{
    return c == '-' || c == ' ' || (c >= '\t' && c <= '\r');
}

/* Reads group ${g} at ${text}; false if it is wrong. */
static bool parse_group(const char *text, unsigned g, uint8_t raw[CODE_LEN])
{
    uint8_t v[GROUP_LEN];
    bool good = true;
    for (unsigned i = 0; i < GROUP_LEN; i++) {
        int value = value_of(text[i]);
        good = good && value >= 0;
        v[i] = (uint8_t)(value & 31);
    }
    good = good && check_of(v, g) == v[GROUP_DATA];
    for (unsigned i = 0; good && i < GROUP_DATA; i++)
        set_five(raw, g * GROUP_DATA + i, v[i]);
    secret_wipe(v, sizeof(v));
    return good;
}

/* Where the run of characters without a separator ends. */
static const char *run_end(const char *text, const char *end)
{
    while (text < end && !is_separator(*text))
        text++;
    return text;
}

/*
 * One run: usually one group; more when separators were left out. A run that is a little too long or too short is one
 * group with a slip in it. Returns the number of groups that are right.
 */
static unsigned parse_run(const char *text, const char *end, unsigned group, uint8_t raw[CODE_LEN])
{
    unsigned good = 0;
    if (end - text != GROUP_LEN && end - text < 2 * (ptrdiff_t)GROUP_LEN)
        return 0;
    while (end - text >= (ptrdiff_t)GROUP_LEN && group + good < GROUPS &&
           parse_group(text, group + good, raw)) {
        text += GROUP_LEN;
        good++;
    }
    return good;
}

static int parse(const char *text, uint8_t raw[CODE_LEN], int *group)
{
    const char *end = text + strlen(text);
    unsigned done = 0;
    *group = 0;
    while (text < end && is_separator(*text))
        text++;
    while (text < end && is_separator(end[-1]))
        end--;
    /* Without separators nobody can tell where a character is missing. */
    if (run_end(text, end) == end && end - text != GROUPS * GROUP_LEN)
        return ERR_FORMAT;
    while (text < end && done < GROUPS) {
        const char *stop = run_end(text, end);
        unsigned good = parse_run(text, stop, done, raw);
        done += good;
        if ((ptrdiff_t)(good * GROUP_LEN) != stop - text && done < GROUPS) {
            *group = (int)done + 1;
            return ERR_FORMAT;
        }
        text += good * GROUP_LEN;
        while (text < end && is_separator(*text))
            text++;
    }
    if (done < GROUPS)
        *group = (int)done + 1;
    return done == GROUPS && text == end ? ERR_OK : ERR_FORMAT;
}

int code_parse(const char *text, uint8_t raw[CODE_LEN], int *group)
{
    memset(raw, 0, CODE_LEN);
    int err = parse(text, raw, group);
    if (err)
        secret_wipe(raw, CODE_LEN);
    return err;
}

/* [code-key] */
void code_key(const uint8_t raw[CODE_LEN], const uint8_t vault_id[32], uint8_t key[SECRET_KEY_LEN])
{
    static const uint8_t personal[crypto_generichash_blake2b_PERSONALBYTES] = "obscura.code";
    uint8_t parent[SECRET_KEY_LEN];
    crypto_generichash_blake2b_salt_personal(parent, sizeof(parent), vault_id, 32, raw, CODE_LEN,
                                             NULL, personal);
    kdf_derive(key, parent, KDF_CODE_SLOT);
    secret_wipe(parent, sizeof(parent));
}
