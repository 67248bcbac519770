#include "fs/keyring.h"

#include "crypto/err.h"
#include "crypto/file.h"
#include "crypto/kdf.h"
#include "crypto/object.h"
#include "fs/inode.h"

#include <string.h>

#define FILE_NAME "keyring"
#define PLACE     "keyring"
#define VERSION   1u
#define TAG_MAX                                                                                    \
    ((1u << (63 - INODE_TAG_SHIFT)) - 1) /* inode numbers hold the tag and stay positive */
#define FILE_MAX                                                                                   \
    (OBJECT_OVERHEAD + 2 + 64 + 4 + 2 + KEYRING_EPOCHS_MAX * (4 + SECRET_KEY_LEN) + 4 +            \
     KEYRING_RECOVERY_MAX + 4 + KEYRING_GENESIS_MAX + 2 + KEYRING_NAME_MAX)

struct keyring *keyring_new(void)
{
    return secret_alloc(sizeof(struct keyring));
}

void keyring_free(struct keyring *keyring)
{
    secret_free(keyring);
}

/* The length of the UTF-8 character at ${p}, 0 when there is none. Overlong forms and surrogates are none. */
static size_t utf8_char(const uint8_t *p, size_t left)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80             ? 1
               : (p[0] & 0xe0) == 0xc0 ? 2
               : (p[0] & 0xf0) == 0xe0 ? 3
               : (p[0] & 0xf8) == 0xf0 ? 4
                                       : 0;
    if (!n || n > left)
        return 0;
    if (n == 1)
        return 1;
    uint32_t c = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

/* The name is shown on terminals: no control characters. */
static bool name_ok(const uint8_t *name, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = utf8_char(name + i, len - i);
        if (!n || (n == 1 && (name[i] < 0x20 || name[i] == 0x7f)) ||
            (n == 2 && name[i] == 0xc2 && name[i + 1] < 0xa0))
            return false;
        i += n;
    }
    return true;
}

/* What keyring.h promises of a complete ring; the same for those that are saved and loaded. */
static bool is_complete(const struct keyring *k)
{
    if (!k->device_tag || k->device_tag > TAG_MAX || !k->epoch_count ||
        k->epoch_count > KEYRING_EPOCHS_MAX)
        return false;
    for (uint32_t i = 0; i < k->epoch_count; i++)
        if (k->epochs[i].epoch <= (i ? k->epochs[i - 1].epoch : 0))
            return false;
    size_t name_len = strnlen(k->device_name, sizeof(k->device_name));
    return k->recovery_len <= KEYRING_RECOVERY_MAX && k->genesis_len <= KEYRING_GENESIS_MAX &&
           name_len <= KEYRING_NAME_MAX && name_ok((const uint8_t *)k->device_name, name_len);
}

/* [keyring] */
static void write_plain(const struct keyring *k, struct bytes_out *out)
{
    bytes_put_u16(out, VERSION);
    bytes_put(out, k->sign_seed, sizeof(k->sign_seed));
    bytes_put(out, k->box_seed, sizeof(k->box_seed));
    bytes_put_u32(out, k->device_tag);
    bytes_put_u16(out, (uint16_t)k->epoch_count);
    for (uint32_t i = 0; i < k->epoch_count; i++) {
        bytes_put_u32(out, k->epochs[i].epoch);
        bytes_put(out, k->epochs[i].key, SECRET_KEY_LEN);
    }
    bytes_put_var32(out, k->recovery, k->recovery_len);
    bytes_put_var32(out, k->genesis, k->genesis_len);
    bytes_put_var16(out, k->device_name, strlen(k->device_name));
}

/* A copy of a variable part; the reader has checked that it fits. */
static uint32_t get_part(struct bytes_in *in, uint8_t *to, size_t max)
{
    size_t len;
    const uint8_t *p = bytes_get_var32(in, max, &len);
    if (p)
        memcpy(to, p, len);
    return p ? (uint32_t)len : 0;
}

static int read_plain(struct keyring *k, const struct bytes_out *plain)
{
    struct bytes_in in;
    bytes_in_init(&in, plain->p, plain->len);
    if (bytes_get_u16(&in) != VERSION)
        return in.bad ? ERR_FORMAT : ERR_VERSION;
    bytes_get(&in, k->sign_seed, sizeof(k->sign_seed));
    bytes_get(&in, k->box_seed, sizeof(k->box_seed));
    k->device_tag = bytes_get_u32(&in);
    k->epoch_count = bytes_get_u16(&in);
    if (k->epoch_count > KEYRING_EPOCHS_MAX)
        return ERR_FORMAT;
    for (uint32_t i = 0; i < k->epoch_count; i++) {
        k->epochs[i].epoch = bytes_get_u32(&in);
        bytes_get(&in, k->epochs[i].key, SECRET_KEY_LEN);
    }
    k->recovery_len = get_part(&in, k->recovery, KEYRING_RECOVERY_MAX);
    k->genesis_len = get_part(&in, k->genesis, KEYRING_GENESIS_MAX);
    size_t len;
    const uint8_t *name = bytes_get_var16(&in, KEYRING_NAME_MAX, &len);
    if (bytes_in_done(&in) || !name || memchr(name, 0, len))
        return ERR_FORMAT;
    memcpy(k->device_name, name, len);
    k->device_name[len] = '\0';
    return is_complete(k) ? ERR_OK : ERR_FORMAT;
}

int keyring_save(const struct keyring *keyring, int vault_fd, const uint8_t vault_id[32])
{
    if (!is_complete(keyring))
        return ERR_MISUSE;
    uint8_t *key = secret_alloc(SECRET_KEY_LEN);
    if (!key)
        return ERR_NOMEM;
    kdf_derive(key, keyring->device_key, KDF_KEYRING);
    struct bytes_out plain, sealed;
    bytes_out_init(&plain);
    bytes_out_init(&sealed);
    plain.secret = true;
    write_plain(keyring, &plain);
    int err = plain.bad ? ERR_NOMEM : ERR_OK;
    if (!err)
        err = object_seal(&sealed, OBJECT_KEYRING, 0, key, vault_id, PLACE, plain.p, plain.len);
    if (!err)
        err = file_replace(vault_fd, FILE_NAME, sealed.p, sealed.len, 0600);
    bytes_out_release(&plain);
    bytes_out_release(&sealed);
    secret_free(key);
    return err;
}

/* After an error nothing of a half-read ring stays but the key that was given. */
static void forget(struct keyring *k)
{
    size_t keep = sizeof(k->device_key);
    secret_wipe((uint8_t *)k + keep, sizeof(*k) - keep);
}

int keyring_load(struct keyring *keyring, int vault_fd, const uint8_t vault_id[32])
{
    uint8_t *key = secret_alloc(SECRET_KEY_LEN);
    if (!key)
        return ERR_NOMEM;
    kdf_derive(key, keyring->device_key, KDF_KEYRING);
    struct bytes_out plain, sealed;
    bytes_out_init(&plain);
    bytes_out_init(&sealed);
    plain.secret = true;
    forget(keyring);
    int err = file_read(vault_fd, FILE_NAME, FILE_MAX, &sealed);
    if (!err)
        err = object_open(&plain, OBJECT_KEYRING, key, vault_id, PLACE, sealed.p, sealed.len);
    if (!err)
        err = read_plain(keyring, &plain);
    if (err)
        forget(keyring);
    if (err == ERR_NOENT) /* a vault has one, always */
        err = ERR_FORMAT;
    bytes_out_release(&plain);
    bytes_out_release(&sealed);
    secret_free(key);
    return err;
}
