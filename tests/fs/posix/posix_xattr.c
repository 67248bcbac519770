#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

static bool lists(const char *path, const char *name)
{
    char buf[8192];
    ssize_t n = llistxattr(path, buf, sizeof(buf));

    for (ssize_t i = 0; i < n; i += (ssize_t)strlen(buf + i) + 1)
        if (strcmp(buf + i, name) == 0)
            return true;
    return false;
}

static void basics(void)
{
    char buf[256];

    FAILS(getxattr("f", "user.none", buf, sizeof(buf)), ENODATA);
    FAILS(removexattr("f", "user.none"), ENODATA);
    FAILS(setxattr("f", "user.a", "1", 1, XATTR_REPLACE), ENODATA);
    OK(setxattr("f", "user.a", "one", 3, XATTR_CREATE));
    FAILS(setxattr("f", "user.a", "1", 1, XATTR_CREATE), EEXIST);
    EQ(getxattr("f", "user.a", NULL, 0), 3);
    EQ(getxattr("f", "user.a", buf, sizeof(buf)), 3);
    CHECK(memcmp(buf, "one", 3) == 0);
    FAILS(getxattr("f", "user.a", buf, 2), ERANGE);
    EQ(getxattr("f", "user.a", buf, 3), 3);
    OK(setxattr("f", "user.a", "second", 6, XATTR_REPLACE));
    EQ(getxattr("f", "user.a", buf, sizeof(buf)), 6);
    OK(setxattr("f", "user.a", "", 0, 0));
    EQ(getxattr("f", "user.a", buf, sizeof(buf)), 0);
    OK(setxattr("f", "user.b", "\0\xff\n", 3, 0));
    EQ(getxattr("f", "user.b", buf, sizeof(buf)), 3);
    CHECK(memcmp(buf, "\0\xff\n", 3) == 0);
    CHECK(lists("f", "user.a"));
    CHECK(lists("f", "user.b"));
    OK(removexattr("f", "user.a"));
    CHECK(!lists("f", "user.a"));
    FAILS(getxattr("f", "user.a", buf, sizeof(buf)), ENODATA);
    FAILS(getxattr("none", "user.a", buf, sizeof(buf)), ENOENT);
    FAILS(setxattr("none", "user.a", "", 0, 0), ENOENT);
    FAILS(setxattr("f", "user.b", "", 0, 0x77), EINVAL);
    ssize_t n = listxattr("f", NULL, 0);
    CHECK(n >= 7);
    FAILS(listxattr("f", buf, (size_t)n - 1), ERANGE);
    EQ(listxattr("f", buf, (size_t)n), n);
}

static void names_and_sizes(void)
{
    char name[300], *big = malloc(70000), *back = malloc(70000);

    memset(name, 'x', sizeof(name));
    memcpy(name, "user.", 5);
    name[255] = 0;
    OK(setxattr("f", name, "v", 1, 0));
    EQ(getxattr("f", name, back, 10), 1);
    OK(removexattr("f", name));
    name[255] = 'x';
    name[256] = 0;
    FAILS(setxattr("f", name, "v", 1, 0), ERANGE);
    FAILS(getxattr("f", name, back, 10), ERANGE);
    FAILS(setxattr("f", "", "v", 1, 0), ERANGE);
    FAILS(setxattr("f", "nospace", "v", 1, 0), EOPNOTSUPP);
    FAILS(setxattr("f", "other.space", "v", 1, 0), EOPNOTSUPP);
    FAILS(getxattr("f", "other.space", back, 10), EOPNOTSUPP);

    for (size_t i = 0; i < 70000; i++)
        big[i] = (char)(i * 31 + i / 256);
    OK(setxattr("f", "user.k", big, 2000, 0));
    EQ(getxattr("f", "user.k", back, 70000), 2000);
    CHECK(memcmp(big, back, 2000) == 0);
    FAILS(setxattr("f", "user.huge", big, 65537, 0), E2BIG);
    if (setxattr("f", "user.large", big, 65536, 0) == 0) { /* ext4 has room for one block only */
        EQ(getxattr("f", "user.large", back, 70000), 65536);
        CHECK(memcmp(big, back, 65536) == 0);
        OK(setxattr("f", "user.large", big, 30000, 0));
        EQ(getxattr("f", "user.large", back, 70000), 30000);
        OK(removexattr("f", "user.large"));
    } else {
        CHECK(errno == ENOSPC || errno == E2BIG);
    }
    free(big);
    free(back);
}

static void many(void)
{
    char name[32], buf[64];
    bool good = true;

    posix_make("many", 0644, "");
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "user.attr.%02d", i);
        good = good && setxattr("many", name, name, strlen(name), 0) == 0;
    }
    CHECK(good);
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "user.attr.%02d", i);
        good = good && lists("many", name) &&
               getxattr("many", name, buf, sizeof(buf)) == (ssize_t)strlen(name) &&
               memcmp(name, buf, strlen(name)) == 0;
    }
    CHECK(good);
    for (int i = 0; i < 60; i += 2) {
        snprintf(name, sizeof(name), "user.attr.%02d", i);
        good = good && removexattr("many", name) == 0;
    }
    CHECK(good);
    CHECK(!lists("many", "user.attr.00"));
    CHECK(lists("many", "user.attr.59"));
}

static void of_what(void)
{
    char buf[64];

    OK(mkdir("d", 0755));
    OK(setxattr("d", "user.dir", "yes", 3, 0));
    EQ(getxattr("d", "user.dir", buf, sizeof(buf)), 3);
    OK(symlink("f", "l"));
    OK(setxattr("l", "user.through", "link", 4, 0));
    EQ(getxattr("f", "user.through", buf, sizeof(buf)), 4);
    FAILS(lsetxattr("l", "user.on-link", "v", 1, 0), EPERM);
    OK(mkfifo("p", 0644));
    FAILS(setxattr("p", "user.on-fifo", "v", 1, 0), EPERM);
    int fd = open("f", O_RDWR);
    OK(fsetxattr(fd, "user.fd", "fd", 2, 0));
    EQ(fgetxattr(fd, "user.fd", buf, sizeof(buf)), 2);
    CHECK(flistxattr(fd, NULL, 0) > 0);
    OK(fremovexattr(fd, "user.fd"));
    FAILS(fgetxattr(fd, "user.fd", buf, sizeof(buf)), ENODATA);
    close(fd);
    OK(rename("f", "renamed"));
    EQ(getxattr("renamed", "user.through", buf, sizeof(buf)), 4);
    OK(link("renamed", "f"));
    OK(setxattr("f", "user.linked", "v", 1, 0));
    EQ(getxattr("renamed", "user.linked", buf, sizeof(buf)), 1);
    OK(unlink("renamed"));
    int64_t c = posix_ns(posix_stat("f").st_ctim), m = posix_ns(posix_stat("f").st_mtim);
    posix_tick();
    OK(setxattr("f", "user.time", "v", 1, 0));
    CHECK(posix_ns(posix_stat("f").st_ctim) > c);
    EQ(posix_ns(posix_stat("f").st_mtim), m);
}

static void as_other(void)
{
    char buf[64];

    FAILS(setxattr("priv", "user.x", "v", 1, 0), EACCES);
    FAILS(getxattr("priv", "user.x", buf, sizeof(buf)), EACCES);
    FAILS(setxattr("world", "trusted.x", "v", 1, 0), EPERM);
    FAILS(getxattr("world", "trusted.x", buf, sizeof(buf)), ENODATA);
    CHECK(!lists("world", "trusted.x"));
    CHECK(lists("world", "user.seen"));
}

static void privileged(void)
{
    char buf[64];

    if (geteuid() != 0) {
        FAILS(setxattr("f", "trusted.x", "v", 1, 0), EPERM);
        return;
    }
    posix_make("priv", 0600, "");
    posix_make("world", 0666, "");
    OK(setxattr("priv", "user.x", "v", 1, 0));
    OK(setxattr("world", "user.seen", "v", 1, 0));
    OK(setxattr("world", "trusted.x", "root", 4, 0));
    EQ(getxattr("world", "trusted.x", buf, sizeof(buf)), 4);
    CHECK(lists("world", "trusted.x"));
    OK(setxattr("world", "security.test", "s", 1, 0));
    EQ(getxattr("world", "security.test", buf, sizeof(buf)), 1);
    posix_as(1234, 1234, as_other);
    OK(removexattr("world", "trusted.x"));
    FAILS(getxattr("world", "trusted.x", buf, sizeof(buf)), ENODATA);
}

void posix_xattr(void)
{
    posix_make("f", 0644, "");
    if (setxattr("f", "user.probe", "p", 1, 0) < 0 && errno == EOPNOTSUPP) {
        posix_skip("no user.* attributes here");
        return;
    }
    OK(removexattr("f", "user.probe"));
    basics();
    names_and_sizes();
    many();
    of_what();
    privileged();
}
