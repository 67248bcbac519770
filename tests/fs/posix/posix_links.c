#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void hard_links(void)
{
    struct stat a, b;

    posix_make("a", 0644, "shared");
    EQ(posix_stat("a").st_nlink, 1);
    OK(link("a", "b"));
    a = posix_stat("a");
    b = posix_stat("b");
    EQ(a.st_ino, b.st_ino);
    EQ(a.st_nlink, 2);
    EQ(b.st_nlink, 2);
    OK(chmod("b", 0600));
    EQ(posix_stat("a").st_mode & 07777, 0600);
    int fd = open("b", O_WRONLY | O_APPEND);
    EQ(write(fd, "!", 1), 1);
    close(fd);
    CHECK(posix_holds("a", "shared!"));
    OK(mkdir("d", 0755));
    OK(link("a", "d/c"));
    EQ(posix_stat("d/c").st_nlink, 3);
    OK(unlink("a"));
    EQ(posix_stat("b").st_nlink, 2);
    CHECK(posix_holds("d/c", "shared!"));
    OK(link("b", "a"));
    OK(unlink("b"));
    OK(unlink("d/c"));
    EQ(posix_stat("a").st_nlink, 1);
    CHECK(posix_holds("a", "shared!"));
    FAILS(link("a", "a"), EEXIST);
    FAILS(link("a", "d"), EEXIST);
    FAILS(link("d", "e"), EPERM);
    FAILS(link("a", "none/x"), ENOENT);
    FAILS(link("a", "d/"), EEXIST);
    FAILS(link("a", "new/"), ENOENT);
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "d/n%d", i);
        if (link("a", name) < 0)
            OK(-1);
    }
    EQ(posix_stat("a").st_nlink, 101);
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "d/n%d", i);
        if (unlink(name) < 0)
            OK(-1);
    }
    EQ(posix_stat("a").st_nlink, 1);
    OK(mkfifo("p", 0644));
    OK(link("p", "q"));
    EQ(posix_stat("q").st_nlink, 2);
}

static void links_of_links(void)
{
    OK(symlink("a", "sym"));
    OK(link("sym", "sym2")); /* the link itself */
    CHECK(S_ISLNK(posix_stat("sym2").st_mode));
    EQ(posix_stat("sym").st_ino, posix_stat("sym2").st_ino);
    OK(linkat(AT_FDCWD, "sym", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
    CHECK(S_ISREG(posix_stat("followed").st_mode));
    EQ(posix_stat("followed").st_ino, posix_stat("a").st_ino);
    FAILS(linkat(AT_FDCWD, "a", AT_FDCWD, "z", 0x4000000), EINVAL);
}

static void symlinks(void)
{
    char buf[5000], target[4096];
    static const char *const targets[] = {"x",  "/absolute/path", "../up",    ".",
                                          "..", "a//b/",          "\xff\xfe", " "};

    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        OK(symlink(targets[i], "l"));
        memset(buf, 0, sizeof(buf));
        EQ(readlink("l", buf, sizeof(buf)), strlen(targets[i]));
        CHECK(strcmp(buf, targets[i]) == 0);
        EQ(posix_stat("l").st_size, strlen(targets[i]));
        CHECK(S_ISLNK(posix_stat("l").st_mode));
        OK(unlink("l"));
    }
    for (size_t len = 100; len <= 4000; len += 650) {
        memset(target, 't', len);
        target[len] = 0;
        OK(symlink(target, "l"));
        memset(buf, 0, sizeof(buf));
        EQ(readlink("l", buf, sizeof(buf)), len);
        CHECK(strcmp(buf, target) == 0);
        OK(unlink("l"));
    }
    memset(target, 't', 4095);
    target[4095] = 0;
    if (symlink(target, "l") == 0) { /* ext4 takes one less than a block */
        EQ(readlink("l", buf, sizeof(buf)), 4095);
        OK(unlink("l"));
    } else {
        EQ(errno, ENAMETOOLONG);
    }
    OK(symlink("abcdef", "l"));
    EQ(readlink("l", buf, 3), 3); /* cut to the buffer */
    CHECK(memcmp(buf, "abc", 3) == 0);
    FAILS(symlink("x", "l"), EEXIST);
    posix_make("file", 0644, "");
    FAILS(readlink("file", buf, sizeof(buf)), EINVAL);
    FAILS(readlink(".", buf, sizeof(buf)), EINVAL);
    OK(unlink("l"));
}

static void following(void)
{
    struct stat st;
    char buf[8];

    OK(mkdir("real", 0755));
    posix_make("real/f", 0644, "inside");
    OK(symlink("real", "dirlink"));
    CHECK(posix_holds("dirlink/f", "inside"));
    OK(stat("dirlink", &st));
    CHECK(S_ISDIR(st.st_mode));
    OK(lstat("dirlink", &st));
    CHECK(S_ISLNK(st.st_mode));
    OK(lstat("dirlink/", &st));
    CHECK(S_ISDIR(st.st_mode));
    FAILS(rmdir("dirlink"), ENOTDIR);
    FAILS(unlink("dirlink/"), ENOTDIR);
    OK(unlink("dirlink"));
    CHECK(posix_exists("real/f"));
    OK(symlink("loop2", "loop1"));
    OK(symlink("loop1", "loop2"));
    FAILS(stat("loop1", &st), ELOOP);
    FAILS(open("loop1", O_RDONLY), ELOOP);
    FAILS(open("loop1", O_CREAT | O_WRONLY, 0644), ELOOP);
    FAILS(chmod("loop1", 0644), ELOOP);
    FAILS(mkdir("loop1/x", 0755), ELOOP);
    FAILS(truncate("loop1", 0), ELOOP);
    OK(lstat("loop1", &st));
    OK(readlink("loop1", buf, sizeof(buf)));
    OK(symlink("self", "self"));
    FAILS(stat("self", &st), ELOOP);
    OK(symlink("gone", "dangling"));
    FAILS(stat("dangling", &st), ENOENT);
    FAILS(mkdir("dangling", 0755), EEXIST);
    FAILS(chdir("dangling"), ENOENT);
    OK(rename("dangling", "dangling2"));
    CHECK(S_ISLNK(posix_stat("dangling2").st_mode));
    /* A link that is replaced points elsewhere at once. */
    OK(mkdir("real2", 0755));
    posix_make("real2/f", 0644, "second");
    OK(symlink("real", "current"));
    CHECK(posix_holds("current/f", "inside"));
    OK(symlink("real2", "next"));
    OK(rename("next", "current"));
    CHECK(posix_holds("current/f", "second"));
    EQ(readlink("current", buf, sizeof(buf)), 5);
}

void posix_links(void)
{
    hard_links();
    links_of_links();
    symlinks();
    following();
}
