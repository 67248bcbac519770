#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

static void lengths(void)
{
    const char *max = posix_long_name(255, 'n');

    OK(mkdir(max, 0755));
    CHECK(posix_exists(max));
    FAILS(mkdir(max, 0755), EEXIST);
    OK(rmdir(max));
    CHECK(!posix_exists(max));
    posix_make(max, 0644, "x");
    CHECK(posix_holds(max, "x"));
    OK(link(max, "short"));
    OK(unlink(max));
    OK(rename("short", max));
    OK(rename(max, "short"));
    OK(symlink("target", posix_long_name(255, 's')));
    OK(unlink(posix_long_name(255, 's')));
    EQ(pathconf(".", _PC_NAME_MAX), 255);

    const char *over = posix_long_name(256, 'n');
    struct stat st;
    FAILS(open(over, O_CREAT | O_WRONLY, 0644), ENAMETOOLONG);
    FAILS(open(over, O_RDONLY), ENAMETOOLONG);
    FAILS(mkdir(over, 0755), ENAMETOOLONG);
    FAILS(rmdir(over), ENAMETOOLONG);
    FAILS(unlink(over), ENAMETOOLONG);
    FAILS(stat(over, &st), ENAMETOOLONG);
    FAILS(lstat(over, &st), ENAMETOOLONG);
    FAILS(symlink("t", over), ENAMETOOLONG);
    FAILS(link("short", over), ENAMETOOLONG);
    FAILS(link(over, "other"), ENAMETOOLONG);
    FAILS(rename("short", over), ENAMETOOLONG);
    FAILS(rename(over, "other"), ENAMETOOLONG);
    FAILS(mkfifo(over, 0644), ENAMETOOLONG);
    FAILS(chmod(over, 0644), ENAMETOOLONG);
    FAILS(truncate(over, 0), ENAMETOOLONG);
    FAILS(chdir(over), ENAMETOOLONG);
    FAILS(access(over, F_OK), ENAMETOOLONG);
    OK(unlink("short"));
}

static void path_max(void)
{
    char path[PATH_MAX + 64];
    struct stat st;

    memset(path, 0, sizeof(path));
    for (size_t i = 0; i < PATH_MAX + 10; i++)
        path[i] = i % 2 ? '/' : '.';
    FAILS(stat(path, &st), ENAMETOOLONG);
    FAILS(mkdir(path, 0755), ENAMETOOLONG);
    path[PATH_MAX - 1] = 0;
    OK(stat(path, &st));
    FAILS(open("", O_RDONLY), ENOENT);
    FAILS(mkdir("", 0755), ENOENT);
    FAILS(unlink(""), ENOENT);
    FAILS(rmdir(""), ENOENT);
    FAILS(rename("", "x"), ENOENT);
    FAILS(symlink("", "x"), ENOENT);
}

/* Every byte but NUL and '/' may stand in a name; nothing is folded or normalised. */
static void bytes(void)
{
    static const char *const odd[] = {
        " ",         "  ",        "a b",
        "tab\there", "new\nline", "\x01",
        "\x7f",      "\xff",      "\xfe\xff",
        "\xc3",      "\xc3\xa4",  "a\xcc\x88",
        "\xe2\x82",  "-rf",       "*",
        "?",         "\\",        "\"",
        "'",         "$HOME",     ".hidden",
        "...",       "..a",       "a..",
        "COM1",      "aux.txt",   "a:b",
        "a|b",       "trailing.", "trailing ",
        "UPPER",     "upper",     "\xf0\x9f\x93\xb7.jpg",
        "%00",       "%2f",       "a%s%n",
    };
    const size_t n = sizeof(odd) / sizeof(odd[0]);

    for (size_t i = 0; i < n; i++)
        posix_make(odd[i], 0644, odd[i]);
    for (size_t i = 0; i < n; i++)
        CHECK(posix_holds(odd[i], odd[i]));
    CHECK(!posix_exists("Upper"));
    CHECK(!posix_exists("COM1 "));
    for (size_t i = 0; i < n; i++)
        OK(unlink(odd[i]));
}

static void not_found(void)
{
    struct stat st;
    char buf[16];

    FAILS(open("none", O_RDONLY), ENOENT);
    FAILS(open("none/x", O_CREAT | O_WRONLY, 0644), ENOENT);
    FAILS(mkdir("none/x", 0755), ENOENT);
    FAILS(rmdir("none"), ENOENT);
    FAILS(unlink("none"), ENOENT);
    FAILS(unlink("none/x"), ENOENT);
    FAILS(stat("none", &st), ENOENT);
    FAILS(lstat("none/x", &st), ENOENT);
    FAILS(chmod("none", 0644), ENOENT);
    FAILS(chown("none", (uid_t)-1, (gid_t)-1), ENOENT);
    FAILS(lchown("none", (uid_t)-1, (gid_t)-1), ENOENT);
    FAILS(truncate("none", 0), ENOENT);
    FAILS(link("none", "x"), ENOENT);
    FAILS(rename("none", "x"), ENOENT);
    FAILS(symlink("t", "none/x"), ENOENT);
    FAILS(readlink("none", buf, sizeof(buf)), ENOENT);
    FAILS(mkfifo("none/x", 0644), ENOENT);
    FAILS(chdir("none"), ENOENT);
    FAILS(access("none", F_OK), ENOENT);
    FAILS(utimensat(AT_FDCWD, "none", NULL, 0), ENOENT);
    /* A name that was not there and then is: no stale negative entry. */
    posix_make("none", 0644, "");
    CHECK(posix_exists("none"));
    OK(unlink("none"));
    FAILS(stat("none", &st), ENOENT);
    OK(mkdir("none", 0755));
    OK(stat("none", &st));
    OK(rmdir("none"));
    FAILS(stat("none", &st), ENOENT);
}

static void not_a_directory(void)
{
    struct stat st;
    char buf[16];

    posix_make("file", 0644, "");
    FAILS(open("file/x", O_RDONLY), ENOTDIR);
    FAILS(open("file/x", O_CREAT | O_WRONLY, 0644), ENOTDIR);
    FAILS(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
    FAILS(mkdir("file/x", 0755), ENOTDIR);
    FAILS(rmdir("file"), ENOTDIR);
    FAILS(rmdir("file/x"), ENOTDIR);
    FAILS(unlink("file/x"), ENOTDIR);
    FAILS(stat("file/x", &st), ENOTDIR);
    FAILS(stat("file/", &st), ENOTDIR);
    FAILS(stat("file/.", &st), ENOTDIR);
    FAILS(chmod("file/x", 0644), ENOTDIR);
    FAILS(truncate("file/x", 0), ENOTDIR);
    FAILS(link("file/x", "y"), ENOTDIR);
    FAILS(link("file", "file/y"), ENOTDIR);
    FAILS(rename("file/x", "y"), ENOTDIR);
    FAILS(rename("file", "file/y"), ENOTDIR);
    FAILS(symlink("t", "file/x"), ENOTDIR);
    FAILS(readlink("file/x", buf, sizeof(buf)), ENOTDIR);
    FAILS(mkfifo("file/x", 0644), ENOTDIR);
    FAILS(chdir("file"), ENOTDIR);
    OK(unlink("file"));
}

static void directories(void)
{
    struct stat st;

    OK(mkdir("d", 0755));
    FAILS(mkdir("d", 0755), EEXIST);
    FAILS(mkdir("d/.", 0755), EEXIST);
    FAILS(mkdir("d/..", 0755), EEXIST);
    FAILS(rmdir("d/."), EINVAL);
    FAILS(rmdir("d/.."), ENOTEMPTY);
    FAILS(unlink("d"), EISDIR);
    FAILS(unlink("d/."), EISDIR);
    FAILS(open("d", O_WRONLY), EISDIR);
    FAILS(open("d", O_RDWR), EISDIR);
    FAILS(truncate("d", 0), EISDIR);
    OK(mkdir("d/e/", 0755));
    EQ(posix_stat("d").st_nlink >= 2, 1);
    FAILS(rmdir("d"), ENOTEMPTY);
    posix_make("d/e/f", 0644, "");
    FAILS(rmdir("d/e"), ENOTEMPTY);
    OK(unlink("d/e/f"));
    OK(stat("d/e/..", &st));
    EQ(st.st_ino, posix_stat("d").st_ino);
    OK(stat("d/./e/../e/.", &st));
    EQ(st.st_ino, posix_stat("d/e").st_ino);
    OK(rmdir("d/e/"));
    OK(rmdir("d"));
    posix_make("f", 0644, "");
    FAILS(mkdir("f", 0755), EEXIST);
    FAILS(mkfifo("f", 0644), EEXIST);
    FAILS(symlink("t", "f"), EEXIST);
    OK(unlink("f"));
}

static void special_files(void)
{
    OK(mkfifo("fifo", 0640));
    struct stat st = posix_stat("fifo");
    CHECK(S_ISFIFO(st.st_mode));
    EQ(st.st_mode & 07777, 0640);
    int r = open("fifo", O_RDONLY | O_NONBLOCK), w = open("fifo", O_WRONLY | O_NONBLOCK);
    char c = 0;
    OK(r);
    OK(w);
    EQ(write(w, "q", 1), 1);
    EQ(read(r, &c, 1), 1);
    EQ(c, 'q');
    close(w);
    EQ(read(r, &c, 1), 0);
    close(r);
    FAILS(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
    OK(unlink("fifo"));

    struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "sock"};
    int s = socket(AF_UNIX, SOCK_STREAM, 0), t = socket(AF_UNIX, SOCK_STREAM, 0);
    OK(bind(s, (struct sockaddr *)&addr, sizeof(addr)));
    CHECK(S_ISSOCK(posix_stat("sock").st_mode));
    FAILS(open("sock", O_RDWR), ENXIO);
    OK(listen(s, 1));
    OK(connect(t, (struct sockaddr *)&addr, sizeof(addr)));
    FAILS(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&addr, sizeof(addr)),
          EADDRINUSE);
    close(t);
    close(s);
    OK(unlink("sock"));

    OK(mknod("plain", S_IFREG | 0604, 0));
    CHECK(S_ISREG(posix_stat("plain").st_mode));
    EQ(posix_stat("plain").st_size, 0);
    OK(unlink("plain"));
    if (geteuid() != 0) {
        FAILS(mknod("null", S_IFCHR | 0666, makedev(1, 3)), EPERM);
        return;
    }
    OK(mknod("chr", S_IFCHR | 0660, makedev(1, 3)));
    st = posix_stat("chr");
    CHECK(S_ISCHR(st.st_mode));
    EQ(st.st_rdev, makedev(1, 3));
    OK(mknod("blk", S_IFBLK | 0600, makedev(259, 70000)));
    st = posix_stat("blk");
    CHECK(S_ISBLK(st.st_mode));
    EQ(st.st_rdev, makedev(259, 70000));
    OK(unlink("chr"));
    OK(unlink("blk"));
}

/* What one process makes, another sees at once. */
static void deep(void)
{
    char path[4000] = ".";
    size_t depth = 0;

    while (strlen(path) < 3900) {
        strcat(path, "/deeper");
        if (mkdir(path, 0755) < 0)
            break;
        depth++;
    }
    CHECK(depth > 500);
    strcat(path, "/f");
    posix_make(path, 0644, "down here");
    CHECK(posix_holds(path, "down here"));
}

void posix_names(void)
{
    lengths();
    path_max();
    bytes();
    not_found();
    not_a_directory();
    directories();
    special_files();
    deep();
}
