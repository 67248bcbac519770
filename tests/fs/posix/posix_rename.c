#include "tests/fs/posix/posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void plain(void)
{
    posix_make("a", 0644, "content");
    struct stat before = posix_stat("a");
    OK(rename("a", "b"));
    CHECK(!posix_exists("a"));
    CHECK(posix_holds("b", "content"));
    EQ(posix_stat("b").st_ino, before.st_ino);
    OK(rename("b", "b")); /* to itself: nothing */
    CHECK(posix_holds("b", "content"));
    OK(link("b", "same"));
    OK(rename("b", "same")); /* two names of one file: both stay */
    CHECK(posix_exists("b"));
    CHECK(posix_exists("same"));
    EQ(posix_stat("b").st_nlink, 2);
    OK(unlink("same"));
    OK(mkdir("d", 0755));
    OK(rename("b", "d/c"));
    CHECK(posix_holds("d/c", "content"));
    OK(rename("d/c", "b"));
    FAILS(rename("b", "none/x"), ENOENT);
    FAILS(rename("none", "b"), ENOENT);
    FAILS(rename("b", "b/x"), ENOTDIR);
    FAILS(rename("b", "new/"), ENOTDIR);
    FAILS(rename(".", "x"), EBUSY);
    FAILS(rename("..", "x"), EBUSY);
    FAILS(rename("d/.", "x"), EBUSY);
    FAILS(rename("d", "."), EBUSY);
    CHECK(posix_holds("b", "content"));
}

static void replacing(void)
{
    posix_make("from", 0644, "new");
    posix_make("to", 0600, "old");
    int fd = open("to", O_RDONLY);
    char buf[8] = "";
    OK(rename("from", "to"));
    CHECK(posix_holds("to", "new"));
    CHECK(!posix_exists("from"));
    EQ(posix_stat("to").st_mode & 07777, 0644);
    EQ(read(fd, buf, sizeof(buf)), 3); /* what was replaced lives while open */
    CHECK(memcmp(buf, "old", 3) == 0);
    struct stat st;
    OK(fstat(fd, &st));
    EQ(st.st_nlink, 0);
    close(fd);
    posix_make("keep1", 0644, "k");
    OK(link("keep1", "keep2"));
    posix_make("over", 0644, "o");
    OK(rename("over", "keep1"));
    EQ(posix_stat("keep2").st_nlink, 1);
    CHECK(posix_holds("keep2", "k"));
    CHECK(posix_holds("keep1", "o"));
    OK(symlink("to", "sl"));
    OK(rename("keep1", "sl")); /* replaces the link, not what it points to */
    CHECK(S_ISREG(posix_stat("sl").st_mode));
    CHECK(posix_holds("to", "new"));
}

static void directories(void)
{
    OK(mkdir("dir", 0755));
    posix_make("dir/f", 0644, "f");
    OK(mkdir("dir/sub", 0755));
    OK(rename("dir", "moved"));
    CHECK(posix_holds("moved/f", "f"));
    CHECK(!posix_exists("dir"));
    FAILS(rename("moved", "moved/sub/x"), EINVAL);
    FAILS(rename("moved", "moved/x"), EINVAL);
    FAILS(rename("moved/sub", "moved"), ENOTEMPTY);
    OK(mkdir("empty", 0755));
    OK(mkdir("full", 0755));
    posix_make("full/x", 0644, "");
    FAILS(rename("moved", "full"), ENOTEMPTY);
    OK(rename("moved", "empty"));
    CHECK(posix_holds("empty/f", "f"));
    posix_make("file", 0644, "");
    FAILS(rename("file", "empty"), EISDIR);
    FAILS(rename("empty", "file"), ENOTDIR);
    OK(rename("empty/", "again/"));
    CHECK(posix_holds("again/f", "f"));
}

/* Link counts of parents and ".." follow a directory that moves. */
static void parents(void)
{
    struct stat st;

    OK(mkdir("p1", 0755));
    OK(mkdir("p2", 0755));
    nlink_t one = posix_stat("p1").st_nlink, two = posix_stat("p2").st_nlink;
    OK(mkdir("p1/child", 0755));
    bool counted = posix_stat("p1").st_nlink == one + 1; /* btrfs and others always show 1 */
    OK(rename("p1/child", "p2/child"));
    EQ(posix_stat("p1").st_nlink, one);
    EQ(posix_stat("p2").st_nlink, two + counted);
    OK(stat("p2/child/..", &st));
    EQ(st.st_ino, posix_stat("p2").st_ino);
    OK(mkdir("p1/other", 0755));
    OK(rename("p2/child", "p1/other"));
    EQ(posix_stat("p1").st_nlink, one + counted);
    EQ(posix_stat("p2").st_nlink, two);
    OK(rmdir("p1/other"));
    OK(rmdir("p2"));
    OK(rmdir("p1"));
}

/* A working directory that is moved stays usable. */
static void working_directory(void)
{
    OK(mkdir("wd", 0755));
    int back = open(".", O_RDONLY | O_DIRECTORY);
    OK(chdir("wd"));
    OK(rename("../wd", "../wd2"));
    posix_make("made", 0644, "m");
    OK(fchdir(back));
    close(back);
    CHECK(posix_holds("wd2/made", "m"));
}

static void no_replace(void)
{
    posix_make("n1", 0644, "1");
    posix_make("n2", 0644, "2");
    if (renameat2(AT_FDCWD, "n1", AT_FDCWD, "n2", RENAME_NOREPLACE) < 0 && errno == EINVAL) {
        posix_skip("no RENAME_NOREPLACE here");
        return;
    }
    FAILS(renameat2(AT_FDCWD, "n1", AT_FDCWD, "n2", RENAME_NOREPLACE), EEXIST);
    CHECK(posix_holds("n1", "1"));
    CHECK(posix_holds("n2", "2"));
    OK(renameat2(AT_FDCWD, "n1", AT_FDCWD, "n3", RENAME_NOREPLACE));
    CHECK(posix_holds("n3", "1"));
    FAILS(renameat2(AT_FDCWD, "n1", AT_FDCWD, "n4", RENAME_NOREPLACE), ENOENT);
    FAILS(renameat2(AT_FDCWD, "n2", AT_FDCWD, "n3", RENAME_NOREPLACE | RENAME_EXCHANGE), EINVAL);
    FAILS(renameat2(AT_FDCWD, "n2", AT_FDCWD, "n3", 0x8000), EINVAL);
}

static void exchange(void)
{
    struct stat st;

    posix_make("x1", 0644, "1");
    posix_make("x2", 0600, "2");
    if (renameat2(AT_FDCWD, "x1", AT_FDCWD, "x2", RENAME_EXCHANGE) < 0 && errno == EINVAL) {
        posix_skip("no RENAME_EXCHANGE here");
        return;
    }
    CHECK(posix_holds("x1", "2"));
    CHECK(posix_holds("x2", "1"));
    EQ(posix_stat("x1").st_mode & 07777, 0600);
    FAILS(renameat2(AT_FDCWD, "x1", AT_FDCWD, "none", RENAME_EXCHANGE), ENOENT);
    OK(mkdir("xd", 0755));
    OK(mkdir("xd/sub", 0755));
    posix_make("xd/sub/in", 0644, "in");
    OK(renameat2(AT_FDCWD, "x1", AT_FDCWD, "xd/sub", RENAME_EXCHANGE)); /* a file for a directory */
    CHECK(posix_holds("xd/sub", "2"));
    CHECK(posix_holds("x1/in", "in"));
    OK(stat("x1/..", &st));
    EQ(st.st_ino, posix_stat(".").st_ino);
    OK(mkdir("x1/deep", 0755));
    FAILS(renameat2(AT_FDCWD, "x1", AT_FDCWD, "x1/deep", RENAME_EXCHANGE), EINVAL);
    FAILS(renameat2(AT_FDCWD, "x1/deep", AT_FDCWD, "x1", RENAME_EXCHANGE), EINVAL);
    OK(mkdir("xe", 0755));
    OK(mkdir("xe/s", 0755));
    nlink_t d = posix_stat("xd").st_nlink, e = posix_stat("xe").st_nlink;
    OK(renameat2(AT_FDCWD, "xd/sub", AT_FDCWD, "xe/s", RENAME_EXCHANGE));
    bool counted = posix_stat("xd").st_nlink == d + 1;
    EQ(posix_stat("xe").st_nlink, e - counted);
    CHECK(posix_holds("xe/s", "2"));
}

/* Replacing a file again and again never shows a moment without it. */
static void atomic(void)
{
    bool always = true;

    posix_make("target", 0644, "0");
    for (int i = 0; i < 200; i++) {
        posix_make("tmp", 0644, "next");
        always = always && rename("tmp", "target") == 0 && posix_holds("target", "next");
    }
    CHECK(always);
    CHECK(!posix_exists("tmp"));
}

void posix_rename(void)
{
    plain();
    replacing();
    directories();
    parents();
    working_directory();
    no_replace();
    exchange();
    atomic();
}
