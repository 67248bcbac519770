/* keyring: what is saved is loaded, and nothing else is: no damage, no other key or vault, no ring that is not complete. */
#include "check.h"
#include "keyring_fixture.h"

#include "crypto/err.h"
#include "crypto/file.h"
#include "crypto/kdf.h"
#include "crypto/object.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/test_keyring_XXXXXX";
static int dirfd_;
static const uint8_t vault[32] = {8}, other_vault[32] = {9};

static int load(struct keyring *k, const uint8_t *vault_id)
{
    return keyring_load(k, dirfd_, vault_id);
}

static void round_trip(uint32_t epochs)
{
    struct keyring *k = keyring_fixture(epochs), *got = keyring_new();
    CHECK_EQ(keyring_save(k, dirfd_, vault), ERR_OK);
    memcpy(got->device_key, k->device_key, sizeof(k->device_key));
    CHECK_EQ(load(got, vault), ERR_OK);
    CHECK(memcmp(k, got, sizeof(*k)) == 0);
    struct stat st;
    CHECK(fstatat(dirfd_, "keyring", &st, 0) == 0 && (st.st_mode & 07777) == 0600);

    CHECK_EQ(load(got, other_vault), ERR_AUTH);
    CHECK(got->epoch_count == 0 && got->sign_seed[0] == 0); /* and nothing stays of it */
    got->device_key[5] ^= 1;
    CHECK_EQ(load(got, vault), ERR_AUTH);
    keyring_free(k);
    keyring_free(got);
}

static bool zeroed(const struct keyring *k)
{
    const uint8_t *p = (const uint8_t *)k + sizeof(k->device_key);
    for (size_t i = 0; i < sizeof(*k) - sizeof(k->device_key); i++)
        if (p[i])
            return false;
    return true;
}

/* Every flipped bit and every cut is refused. */
static void damage(void)
{
    struct keyring *k = keyring_fixture(2);
    struct bytes_out file;
    bytes_out_init(&file);
    CHECK_EQ(keyring_save(k, dirfd_, vault), ERR_OK);
    CHECK_EQ(file_read(dirfd_, "keyring", 1 << 20, &file), ERR_OK);
    int fd = openat(dirfd_, "keyring", O_RDWR);
    unsigned bad = 0;
    for (size_t bit = 0; bit < file.len * 8; bit++) {
        file.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (pwrite(fd, file.p, file.len, 0) != (ssize_t)file.len)
            abort();
        int err = load(k, vault);
        bad += (err != ERR_AUTH && err != ERR_FORMAT && err != ERR_VERSION) || !zeroed(k);
        file.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    CHECK_EQ(bad, 0);
    if (pwrite(fd, file.p, file.len, 0) != (ssize_t)file.len)
        abort();
    CHECK_EQ(load(k, vault), ERR_OK);
    for (size_t cut = file.len; cut-- > 0;) {
        if (ftruncate(fd, (off_t)cut) != 0)
            abort();
        int err = load(k, vault);
        bad += err != ERR_AUTH && err != ERR_FORMAT;
    }
    CHECK_EQ(bad, 0);
    CHECK(ftruncate(fd, 1 << 20) == 0); /* over what any ring has: not even read */
    CHECK_EQ(load(k, vault), ERR_FORMAT);
    close(fd);
    CHECK(unlinkat(dirfd_, "keyring", 0) == 0);
    CHECK_EQ(load(k, vault), ERR_FORMAT);
    CHECK(mkdirat(dirfd_, "keyring", 0700) == 0);
    CHECK(load(k, vault) != ERR_OK);
    CHECK(unlinkat(dirfd_, "keyring", AT_REMOVEDIR) == 0);
    bytes_out_release(&file);
    keyring_free(k);
}

static void refuses_to_save(struct keyring *k)
{
    CHECK_EQ(keyring_save(k, dirfd_, vault), ERR_MISUSE);
    CHECK(faccessat(dirfd_, "keyring", F_OK, 0) != 0);
    keyring_free(k);
}

static struct keyring *named(const char *name)
{
    struct keyring *k = keyring_fixture(1);
    memset(k->device_name, 0, sizeof(k->device_name));
    strcpy(k->device_name, name);
    return k;
}

static void incomplete(void)
{
    refuses_to_save(keyring_fixture(0));
    refuses_to_save(keyring_fixture(KEYRING_EPOCHS_MAX + 1));
    struct keyring *k = keyring_fixture(3);
    k->epochs[2].epoch = k->epochs[1].epoch;
    refuses_to_save(k);
    k = keyring_fixture(1);
    k->epochs[0].epoch = 0;
    refuses_to_save(k);
    k = keyring_fixture(1);
    k->device_tag = 0;
    refuses_to_save(k);
    k = keyring_fixture(1);
    k->device_tag = 1u << 23;
    refuses_to_save(k);
    k = keyring_fixture(1);
    k->recovery_len = KEYRING_RECOVERY_MAX + 1;
    refuses_to_save(k);
    k = keyring_fixture(1);
    memset(k->device_name, 'x', sizeof(k->device_name)); /* no NUL */
    refuses_to_save(k);
    refuses_to_save(named("bad \xff"));
    refuses_to_save(named("overlong \xc0\xaf"));
    refuses_to_save(named("surrogate \xed\xa0\x80"));
    refuses_to_save(named("cut \xe2\x82"));
    refuses_to_save(named("bell \a"));
    refuses_to_save(named("next line \xc2\x85"));
    k = named("\xe2\x82\xac \xf0\x9f\x93\xb7");
    CHECK_EQ(keyring_save(k, dirfd_, vault), ERR_OK);
    CHECK_EQ(load(k, vault), ERR_OK);
    keyring_free(k);
}

/* An authentic object that is not what this version writes. */
static int load_plain(const void *plain, size_t len)
{
    struct keyring *k = keyring_fixture(1);
    uint8_t key[32];
    struct bytes_out sealed;
    bytes_out_init(&sealed);
    kdf_derive(key, k->device_key, KDF_KEYRING);
    CHECK_EQ(object_seal(&sealed, OBJECT_KEYRING, 0, key, vault, "keyring", plain, len), ERR_OK);
    CHECK_EQ(file_replace(dirfd_, "keyring", sealed.p, sealed.len, 0600), ERR_OK);
    bytes_out_release(&sealed);
    int err = load(k, vault);
    keyring_free(k);
    return err;
}

static void other_versions(void)
{
    uint8_t plain[200] = {2, 0};
    CHECK_EQ(load_plain(plain, sizeof(plain)), ERR_VERSION);
    plain[0] = 1;
    CHECK_EQ(load_plain(plain, sizeof(plain)), ERR_FORMAT);
    CHECK_EQ(load_plain(plain, 1), ERR_FORMAT);
}

int main(void)
{
    if (secret_init() != ERR_OK || !mkdtemp(dir))
        return 1;
    dirfd_ = open(dir, O_RDONLY | O_DIRECTORY);
    round_trip(1);
    round_trip(KEYRING_EPOCHS_MAX);
    damage();
    incomplete();
    other_versions();
    unlinkat(dirfd_, "keyring", 0);
    close(dirfd_);
    CHECK(rmdir(dir) == 0);
    return check_done();
}
