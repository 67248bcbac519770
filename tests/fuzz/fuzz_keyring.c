/* Any bytes as what a keyring file holds once it is opened: no crash, and what is accepted is written again as it was. */
#include "fuzz.h"

#include "crypto/err.h"
#include "crypto/kdf.h"
#include "crypto/object.h"
#include "fs/keyring.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const uint8_t vault_id[32] = {1};
static char dir[] = "/tmp/fuzz_keyring_XXXXXX";
static int dirfd_;
static uint8_t key[SECRET_KEY_LEN];

static void clean(void)
{
    unlinkat(dirfd_, "keyring", 0);
    rmdir(dir);
}

static void put(const struct bytes_out *sealed)
{
    int fd = openat(dirfd_, "keyring", O_WRONLY | O_CREAT, 0600);
    FUZZ_CHECK(fd >= 0 && write(fd, sealed->p, sealed->len) == (ssize_t)sealed->len);
    FUZZ_CHECK(ftruncate(fd, (off_t)sealed->len) == 0);
    close(fd);
}

static void same_again(const struct keyring *k, const uint8_t *data, size_t size)
{
    uint8_t sealed[65536];
    struct bytes_out plain;
    bytes_out_init(&plain);
    FUZZ_CHECK(keyring_save(k, dirfd_, vault_id) == ERR_OK);
    int fd = openat(dirfd_, "keyring", O_RDONLY);
    ssize_t n = read(fd, sealed, sizeof(sealed));
    close(fd);
    FUZZ_CHECK(n > 0);
    FUZZ_CHECK(object_open(&plain, OBJECT_KEYRING, key, vault_id, "keyring", sealed, (size_t)n) ==
               ERR_OK);
    FUZZ_CHECK(plain.len == size && memcmp(plain.p, data, size) == 0);
    bytes_out_release(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct keyring *k;
    if (!k) {
        FUZZ_CHECK(secret_init() == ERR_OK && mkdtemp(dir));
        dirfd_ = open(dir, O_RDONLY | O_DIRECTORY);
        atexit(clean);
        k = keyring_new();
        kdf_derive(key, k->device_key, KDF_KEYRING);
    }
    if (size > 60000)
        return 0;
    struct bytes_out sealed;
    bytes_out_init(&sealed);
    FUZZ_CHECK(object_seal(&sealed, OBJECT_KEYRING, 0, key, vault_id, "keyring", data, size) ==
               ERR_OK);
    put(&sealed);
    bytes_out_release(&sealed);
    int err = keyring_load(k, dirfd_, vault_id);
    FUZZ_CHECK(err == ERR_OK || err == ERR_FORMAT || err == ERR_VERSION);
    if (err == ERR_OK)
        same_again(k, data, size);
    return 0;
}
