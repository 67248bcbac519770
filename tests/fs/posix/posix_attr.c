#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

static void chmods(void)
{
    struct stat st;

    posix_make("f", 0644, "x");
    for (mode_t m = 0; m <= 0777; m += 073) {
        OK(chmod("f", m));
        EQ(posix_stat("f").st_mode, S_IFREG | m);
    }
    OK(chmod("f", 01644));
    if (geteuid() == 0)
        EQ(posix_stat("f").st_mode & 07777, 01644);
    OK(chmod("f", 04711));
    EQ(posix_stat("f").st_mode & 07777, 04711);
    OK(chmod("f", 0100644 | 0xf0000)); /* bits that are no mode are left out */
    EQ(posix_stat("f").st_mode, S_IFREG | 0644);
    int fd = open("f", O_RDONLY);
    OK(fchmod(fd, 0600));
    OK(fstat(fd, &st));
    EQ(st.st_mode & 07777, 0600);
    close(fd);
    OK(mkdir("d", 0755));
    for (mode_t m = 0700; m <= 07777; m += 01111) {
        OK(chmod("d", m));
        EQ(posix_stat("d").st_mode, S_IFDIR | m);
    }
    OK(symlink("f", "l"));
    OK(chmod("l", 0640)); /* follows */
    EQ(posix_stat("f").st_mode & 07777, 0640);
    EQ(posix_stat("l").st_mode, S_IFLNK | 0777);
    OK(fchmodat(AT_FDCWD, "f", 0611, 0));
    EQ(posix_stat("f").st_mode & 07777, 0611);
}

static void chowns(void)
{
    struct stat st;

    posix_make("c", 0644, "");
    OK(chown("c", (uid_t)-1, (gid_t)-1));
    EQ(posix_stat("c").st_uid, geteuid());
    OK(chown("c", geteuid(), getegid()));
    if (geteuid() != 0) {
        FAILS(chown("c", 0, (gid_t)-1), EPERM);
        FAILS(chown("c", (uid_t)-1, 0), EPERM);
        return;
    }
    OK(chown("c", 1234, 5678));
    EQ(posix_stat("c").st_uid, 1234);
    EQ(posix_stat("c").st_gid, 5678);
    OK(chown("c", (uid_t)-1, 99));
    EQ(posix_stat("c").st_uid, 1234);
    EQ(posix_stat("c").st_gid, 99);
    OK(chown("c", 4294967294u - 1, 65536));
    EQ(posix_stat("c").st_uid, 4294967293u);
    EQ(posix_stat("c").st_gid, 65536);
    int fd = open("c", O_RDONLY);
    OK(fchown(fd, 1, 2));
    OK(fstat(fd, &st));
    EQ(st.st_uid, 1);
    EQ(st.st_gid, 2);
    close(fd);
    OK(symlink("c", "cl"));
    OK(lchown("cl", 7, 8));
    EQ(posix_stat("cl").st_uid, 7);
    EQ(posix_stat("c").st_uid, 1);
    OK(chown("cl", 9, 10));
    EQ(posix_stat("c").st_uid, 9);
    EQ(posix_stat("cl").st_uid, 7);
    OK(mkdir("cd", 0755));
    OK(chown("cd", 3, 4));
    EQ(posix_stat("cd").st_gid, 4);
}

static void stats(void)
{
    struct stat st, dir = posix_stat(".");
    int fd;

    posix_make("s", 0644, "12345");
    st = posix_stat("s");
    EQ(st.st_size, 5);
    EQ(st.st_nlink, 1);
    EQ(st.st_dev, dir.st_dev);
    EQ(st.st_uid, geteuid());
    CHECK(st.st_ino != 0);
    CHECK(st.st_blksize >= 512);
    OK(fd = open("s", O_RDWR));
    OK(ftruncate(fd, 1 << 20));
    OK(fstat(fd, &st));
    EQ(st.st_size, 1 << 20);
    CHECK(st.st_blocks < 2048); /* a hole takes no room */
    static char block[65536];
    memset(block, 'b', sizeof(block));
    for (int i = 0; i < 16; i++)
        EQ(pwrite(fd, block, sizeof(block), i * 65536), 65536);
    OK(fsync(fd));
    close(fd); /* what is open need not be counted yet */
    OK(fd = open("s", O_RDWR));
    OK(fstat(fd, &st));
    CHECK(st.st_blocks >= 2048 && st.st_blocks < 2048 + 512);
    OK(ftruncate(fd, 0));
    OK(fsync(fd));
    OK(fstat(fd, &st));
    CHECK(st.st_blocks <= 8);
    close(fd);
    struct statx sx;
    OK(statx(AT_FDCWD, "s", 0, STATX_BASIC_STATS, &sx));
    EQ(sx.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
    EQ(sx.stx_ino, st.st_ino);
    OK(statx(AT_FDCWD, "s", AT_STATX_FORCE_SYNC, STATX_SIZE, &sx));
    EQ(sx.stx_size, 0);
    FAILS(fstat(fd, &st), EBADF);
}

/* Inode numbers stay, and tell files apart. */
static void inodes(void)
{
    ino_t numbers[64];
    bool distinct = true, same = true;
    char name[16];

    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "i%d", i);
        posix_make(name, 0644, "");
        numbers[i] = posix_stat(name).st_ino;
        for (int k = 0; k < i; k++)
            distinct = distinct && numbers[k] != numbers[i];
    }
    CHECK(distinct);
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "i%d", i);
        same = same && posix_stat(name).st_ino == numbers[i];
    }
    CHECK(same);
}

static void access_calls(void)
{
    posix_make("acc", 0400, "");
    OK(access("acc", F_OK));
    OK(access("acc", R_OK));
    FAILS(access("acc", X_OK), EACCES);
    if (geteuid() == 0)
        OK(access("acc", W_OK));
    else
        FAILS(access("acc", W_OK), EACCES);
    OK(chmod("acc", 0100));
    OK(access("acc", X_OK));
    OK(access(".", R_OK | W_OK | X_OK));
    FAILS(access("acc", 077), EINVAL);
}

static void filesystem(void)
{
    struct statvfs v;
    struct statfs s;

    OK(statvfs(".", &v));
    CHECK(v.f_bsize > 0);
    CHECK(v.f_frsize > 0);
    CHECK(v.f_blocks > 0);
    CHECK(v.f_bfree <= v.f_blocks);
    CHECK(v.f_bavail <= v.f_bfree);
    CHECK(v.f_ffree <= v.f_files);
    EQ(v.f_namemax, 255);
    OK(statfs(".", &s));
    EQ(s.f_namelen, 255);
    int fd = open(".", O_RDONLY);
    struct statvfs w;
    OK(fstatvfs(fd, &w));
    EQ(w.f_blocks, v.f_blocks);
    OK(syncfs(fd));
    close(fd);
    CHECK(pathconf(".", _PC_LINK_MAX) >= 8);
    EQ(pathconf(".", _PC_NO_TRUNC), 1);
}

/*
 * What statfs offers holds a file of that length: what sealing adds is taken off before. Here room is only looked at; a file system
 * that sets it aside would be full for others. Some is left for what they write meanwhile.
 */
static void offered_space(void)
{
    const uint64_t others = 64 << 20;
    struct statvfs v;
    struct statfs s;
    int fd;

    OK(statfs(".", &s));
    if (s.f_type != FUSE_SUPER_MAGIC)
        return;
    OK(fd = open("offered", O_CREAT | O_RDWR, 0644));
    OK(statvfs(".", &v));
    uint64_t room = v.f_bavail * v.f_frsize;
    OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)(room > 2 * others ? room - others : 4096)));
    FAILS(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)(room * 2 + others)), ENOSPC);
    close(fd);
    OK(unlink("offered"));
}

void posix_attr(void)
{
    chmods();
    chowns();
    stats();
    inodes();
    access_calls();
    filesystem();
    offered_space();
}
