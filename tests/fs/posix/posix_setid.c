#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { USER = 1234, GROUP = 2345 };

static mode_t mode(const char *path)
{
    return posix_stat(path).st_mode & 07777;
}

static void writes(void)
{
    int fd = open("write", O_WRONLY);

    EQ(mode("write"), 06777);
    EQ(write(fd, "x", 1), 1);
    EQ(mode("write"), 0777);
    close(fd);
    EQ(mode("write"), 0777);
    OK(fd = open("append", O_WRONLY | O_APPEND));
    EQ(write(fd, "x", 1), 1);
    close(fd);
    EQ(mode("append"), 0777);
    OK(fd = open("pwrite", O_RDWR));
    EQ(pwrite(fd, "0123456789", 10, 5000), 10);
    EQ(mode("pwrite"), 0777);
    EQ(pwrite(fd, "again", 5, 0), 5);
    close(fd);
    EQ(mode("pwrite"), 0777);
    OK(truncate("truncate", 1));
    EQ(mode("truncate"), 0777);
    OK(fd = open("ftruncate", O_WRONLY));
    OK(ftruncate(fd, 1));
    close(fd);
    EQ(mode("ftruncate"), 0777);
    OK(fd = open("otrunc", O_WRONLY | O_TRUNC));
    close(fd);
    EQ(mode("otrunc"), 0777);
    OK(fd = open("fallocate", O_WRONLY));
    OK(fallocate(fd, 0, 0, 10000));
    close(fd);
    EQ(mode("fallocate"), 0777);
    /* Without group execute the bit means nothing; kernels differ in clearing it. */
    OK(fd = open("mandatory", O_WRONLY));
    EQ(write(fd, "x", 1), 1);
    close(fd);
    EQ(mode("mandatory") & 05777, 0666);
    /* Reading clears nothing. */
    OK(fd = open("read", O_RDONLY));
    char c;
    EQ(read(fd, &c, 1), 1);
    close(fd);
    EQ(mode("read"), 06777);
}

static void copies(void)
{
    int in = open("read", O_RDONLY), out = open("copy", O_WRONLY);

    EQ(copy_file_range(in, NULL, out, NULL, 4, 0), 4);
    EQ(mode("copy"), 0777);
    close(in);
    close(out);
}

static void make_all(void)
{
    static const char *const names[] = {"write",     "append", "pwrite",    "truncate",
                                        "ftruncate", "otrunc", "fallocate", "read",
                                        "copy",      "byroot", "chown",     "chown2"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        posix_make(names[i], 0600, "content");
        OK(chmod(names[i], 06777));
    }
    posix_make("mandatory", 0600, "content");
    OK(chmod("mandatory", 02666));
}

static void by_owner(void)
{
    gid_t group = geteuid() == USER ? GROUP : getegid(); /* one that we are in */

    posix_make("mine", 0755, "x");
    OK(chmod("mine", 06755));
    EQ(mode("mine"), 06755);
    int fd = open("mine", O_WRONLY);
    EQ(write(fd, "y", 1), 1); /* the owner's own write clears them too */
    close(fd);
    EQ(mode("mine"), 0755);
    OK(chmod("mine", 06755));
    OK(chown("mine", (uid_t)-1, group));
    EQ(mode("mine"), 0755);
    OK(mkdir("minedir", 0755));
    OK(chmod("minedir", 02755));
    OK(chown("minedir", (uid_t)-1, group));
    EQ(mode("minedir"), 02755); /* directories keep it */
}

static void foreign_group(void)
{
    posix_make("foreign/f", 0644, "x"); /* gets a group that we are not in */
    EQ(posix_stat("foreign/f").st_gid, 9999);
    OK(chmod("foreign/f", 02755));
    EQ(mode("foreign/f"), 0755);
}

static void capability_gone(void)
{
    int fd = open("capable", O_WRONLY);

    EQ(write(fd, "x", 1), 1);
    close(fd);
    FAILS(getxattr("capable", "security.capability", NULL, 0), ENODATA);
}

static void capabilities(void)
{
    /* Version 2, effective, CAP_NET_BIND_SERVICE. */
    static const unsigned char cap[20] = {1, 0, 0, 2, 0, 4};

    posix_make("capable", 0777, "x");
    OK(chmod("capable", 0777));
    if (setxattr("capable", "security.capability", cap, sizeof(cap), 0) < 0) {
        posix_skip("no file capabilities here");
        return;
    }
    unsigned char back[64];
    EQ(getxattr("capable", "security.capability", back, sizeof(back)), 20);
    posix_as(USER, USER, capability_gone);
}

void posix_setid(void)
{
    if (geteuid() != 0) {
        by_owner();
        posix_skip("set-ID bits of other users' files need root");
        return;
    }
    umask(0);
    OK(chmod(".", 0777));
    make_all();
    posix_as(USER, USER, writes);
    posix_as(USER, USER, copies);
    int fd = open("byroot", O_WRONLY);
    EQ(write(fd, "x", 1), 1);
    close(fd);
    EQ(mode("byroot"), 06777); /* root's writes keep them */
    OK(chown("chown", USER, GROUP));
    EQ(mode("chown"), 0777);
    OK(chown("chown2", (uid_t)-1, GROUP));
    EQ(mode("chown2"), 0777);
    posix_as_groups(USER, USER, GROUP, by_owner);
    OK(mkdir("foreign", 0777));
    OK(chown("foreign", 0, 9999));
    OK(chmod("foreign", 02777));
    posix_as(USER, USER, foreign_group);
    capabilities();
}
