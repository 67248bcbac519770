/* file: whole content or none, exact modes, caps, nothing left behind; reads and writes at an offset finish. */
#include "check.h"

#include "crypto/err.h"
#include "crypto/file.h"
#include "crypto/secret.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int dir;

static unsigned entries(void)
{
    unsigned n = 0;
    DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void expect(const char *name, const char *want, unsigned mode)
{
    struct bytes_out out;
    struct stat st;
    bytes_out_init(&out);
    CHECK_EQ(file_read(dir, name, 100, &out), ERR_OK);
    CHECK(out.len == strlen(want) && (out.len == 0 || memcmp(out.p, want, out.len) == 0));
    CHECK(fstatat(dir, name, &st, 0) == 0 && (st.st_mode & 07777) == mode);
    bytes_out_release(&out);
}

static void replace(void)
{
    umask(077);
    CHECK_EQ(file_replace(dir, "f", "first", 5, 0644), ERR_OK);
    expect("f", "first", 0644);
    CHECK_EQ(file_replace(dir, "f", "2", 1, 0600), ERR_OK);
    expect("f", "2", 0600);
    CHECK_EQ(file_replace(dir, "f", "", 0, 0400), ERR_OK);
    expect("f", "", 0400);
    CHECK_EQ(entries(), 1); /* no temporary file stays */

    CHECK(mkdirat(dir, "sub", 0700) == 0);
    CHECK_EQ(file_replace(dir, "sub/f", "below", 5, 0600), ERR_OK);
    expect("sub/f", "below", 0600);
    CHECK_EQ(file_replace(dir, "none/f", "x", 1, 0600), ERR_NOENT);
    CHECK(file_replace(dir, "sub", "x", 1, 0600) != ERR_OK); /* a directory is in the way */
    CHECK_EQ(entries(), 2);

    CHECK(symlinkat("f", dir, "link") == 0); /* the link is replaced, not what it points at */
    CHECK_EQ(file_replace(dir, "link", "new", 3, 0600), ERR_OK);
    expect("link", "new", 0600);
    expect("f", "", 0400);

    char name[256];
    memset(name, 'n', 255);
    name[255] = 0;
    CHECK_EQ(file_replace(dir, name, "long", 4, 0600), ERR_OK);
    expect(name, "long", 0600);
}

static void read_caps(void)
{
    struct bytes_out out;
    bytes_out_init(&out);
    CHECK_EQ(file_replace(dir, "ten", "0123456789", 10, 0600), ERR_OK);
    bytes_put(&out, "a", 1);
    CHECK_EQ(file_read(dir, "ten", 9, &out), ERR_FORMAT);
    CHECK_EQ(out.len, 1);
    CHECK_EQ(file_read(dir, "ten", 10, &out), ERR_OK);
    CHECK(out.len == 11 && memcmp(out.p, "a0123456789", 11) == 0);
    CHECK_EQ(file_read(dir, "missing", 10, &out), ERR_NOENT);
    CHECK_EQ(file_read(dir, ".", 10, &out), ERR_FORMAT);
    CHECK(mkfifoat(dir, "fifo", 0600) == 0);
    CHECK_EQ(file_read(dir, "fifo", 10, &out), ERR_FORMAT); /* and does not hang */
    CHECK_EQ(out.len, 11);
    bytes_out_release(&out);
}

static void at_offsets(void)
{
    int fd = openat(dir, "big", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    uint8_t *p = malloc(1 << 20), *q = malloc(1 << 20);
    size_t got = 0;
    secret_random(p, 1 << 20);
    CHECK_EQ(file_write_all(fd, p, 1 << 20, 5000000000), ERR_OK);
    CHECK_EQ(file_read_all(fd, q, 1 << 20, 5000000000, &got), ERR_OK);
    CHECK(got == 1 << 20 && memcmp(p, q, got) == 0);
    CHECK_EQ(file_read_all(fd, q, 1 << 20, 5000000000 + 1000, &got), ERR_OK);
    CHECK(got == (1 << 20) - 1000 && memcmp(p + 1000, q, got) == 0);
    CHECK_EQ(file_read_all(fd, q, 1 << 20, 5000000000, NULL), ERR_OK);
    CHECK_EQ(file_read_all(fd, q, 1 << 20, 5000000001, NULL), ERR_FORMAT);
    CHECK_EQ(file_read_all(fd, q, 10, UINT64_MAX - 3, &got), ERR_MISUSE);
    CHECK_EQ(file_write_all(fd, q, 10, UINT64_MAX - 3), ERR_MISUSE);
    CHECK_EQ(file_write_all(fd, q, 0, 0), ERR_OK);
    int ro = openat(dir, "big", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(file_write_all(ro, q, 10, 0), ERR_IO);
    close(ro);
    close(fd);
    free(p);
    free(q);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (full >= 0) {
        CHECK_EQ(file_write_all(full, "x", 1, 0), ERR_NOSPACE);
        close(full);
    }
    CHECK_EQ(file_sync_dir(dir, "sub"), ERR_OK);
    CHECK_EQ(file_sync_dir(dir, "missing"), ERR_NOENT);
}

int main(void)
{
    char path[] = "/tmp/obscurafs-test-file-XXXXXX";
    CHECK_EQ(secret_init(), ERR_OK);
    CHECK(mkdtemp(path));
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    replace();
    read_caps();
    at_offsets();
    close(dir);
    char command[100];
    snprintf(command, sizeof(command), "rm -rf '%s'", path);
    CHECK(system(command) == 0);
    return check_done();
}
