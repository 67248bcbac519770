#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void creating(void)
{
    int fd;
    char c;

    fd = open("f", O_CREAT | O_EXCL | O_RDWR, 0644);
    OK(fd);
    EQ(write(fd, "abc", 3), 3);
    close(fd);
    FAILS(open("f", O_CREAT | O_EXCL | O_RDWR, 0644), EEXIST);
    OK(symlink("nowhere", "dangling"));
    FAILS(open("dangling", O_CREAT | O_EXCL | O_RDWR, 0644), EEXIST);
    FAILS(open("dangling", O_RDONLY), ENOENT);
    OK(fd = open("dangling", O_CREAT | O_RDWR, 0644)); /* makes the target */
    close(fd);
    CHECK(posix_exists("nowhere"));
    OK(fd = open("f", O_CREAT | O_RDONLY, 0)); /* exists: the mode means nothing */
    EQ(read(fd, &c, 1), 1);
    EQ(c, 'a');
    FAILS(write(fd, "x", 1), EBADF);
    close(fd);
    EQ(posix_stat("f").st_mode & 07777, 0644);
    FAILS(open("missing", O_RDWR), ENOENT);
    FAILS(open(".", O_CREAT | O_RDWR, 0644), EISDIR);
    FAILS(open("newdir/", O_CREAT | O_RDWR, 0644), EISDIR);
}

/* git, tar and cp make files that nobody may write, and write them through the descriptor that made them. */
static void read_only_creation(void)
{
    static const mode_t modes[] = {0444, 0400, 0, 0111, 04};

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        int fd = open("ro", O_CREAT | O_EXCL | O_RDWR, modes[i]);
        char buf[8] = "";
        OK(fd);
        EQ(write(fd, "content", 7), 7);
        EQ(pread(fd, buf, 7, 0), 7);
        CHECK(memcmp(buf, "content", 7) == 0);
        OK(ftruncate(fd, 3));
        OK(fsync(fd));
        OK(close(fd));
        EQ(posix_stat("ro").st_mode & 07777, modes[i]);
        EQ(posix_stat("ro").st_size, 3);
        if (geteuid() != 0) {
            FAILS(open("ro", O_WRONLY), EACCES);
            FAILS(open("ro", O_CREAT | O_WRONLY, 0644), EACCES);
            FAILS(truncate("ro", 0), EACCES);
        }
        OK(unlink("ro"));
    }
}

static void read_only_as_user(void)
{
    OK(mkdir("home", 0700));
    OK(chdir("home"));
    read_only_creation();
}

static void truncating(void)
{
    int fd;

    posix_make("t", 0644, "0123456789");
    OK(fd = open("t", O_WRONLY | O_TRUNC));
    EQ(posix_stat("t").st_size, 0);
    EQ(write(fd, "ab", 2), 2);
    close(fd);
    CHECK(posix_holds("t", "ab"));
    OK(fd = open("t", O_RDWR | O_CREAT | O_TRUNC, 0600));
    EQ(posix_stat("t").st_size, 0);
    EQ(posix_stat("t").st_mode & 07777, 0644);
    close(fd);
    FAILS(open("t", O_CREAT | O_EXCL | O_TRUNC | O_WRONLY, 0644), EEXIST);
    posix_make("t", 0644, "kept");
    FAILS(open("t", O_CREAT | O_EXCL | O_TRUNC | O_WRONLY, 0644), EEXIST);
    CHECK(posix_holds("t", "kept"));
    int other = open("t", O_RDONLY);
    char buf[8];
    OK(fd = open("t", O_WRONLY | O_TRUNC));
    EQ(read(other, buf, sizeof(buf)), 0); /* seen through a descriptor opened before */
    close(fd);
    close(other);
}

static void modes(void)
{
    int fd;
    char c;

    posix_make("m", 0644, "data");
    OK(fd = open("m", O_RDONLY));
    FAILS(write(fd, "x", 1), EBADF);
    FAILS(ftruncate(fd, 0), EINVAL);
    close(fd);
    OK(fd = open("m", O_WRONLY));
    FAILS(read(fd, &c, 1), EBADF);
    close(fd);
    OK(fd = open("m", O_PATH));
    FAILS(read(fd, &c, 1), EBADF);
    FAILS(fchmod(fd, 0600), EBADF);
    struct stat st;
    OK(fstat(fd, &st));
    EQ(st.st_size, 4);
    close(fd);
    OK(symlink("m", "link"));
    FAILS(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
    OK(fd = open("link", O_PATH | O_NOFOLLOW));
    OK(fstat(fd, &st));
    CHECK(S_ISLNK(st.st_mode));
    close(fd);
    OK(mkdir("dir", 0755));
    OK(symlink("dir", "dirlink"));
    OK(fd = open("dirlink/", O_RDONLY | O_DIRECTORY));
    FAILS(read(fd, &c, 1), EISDIR);
    FAILS(openat(fd, "none", O_RDONLY), ENOENT);
    int in = openat(fd, "inside", O_CREAT | O_WRONLY, 0644);
    OK(in);
    close(in);
    CHECK(posix_exists("dir/inside"));
    OK(fstatat(fd, "inside", &st, 0));
    OK(unlinkat(fd, "inside", 0));
    OK(mkdirat(fd, "sub", 0755));
    FAILS(unlinkat(fd, "sub", 0), EISDIR);
    OK(unlinkat(fd, "sub", AT_REMOVEDIR));
    OK(fsync(fd));
    close(fd);
    FAILS(open("dirlink", O_RDONLY | O_DIRECTORY | O_NOFOLLOW), ENOTDIR);
    OK(fd = open("m", O_RDWR | O_SYNC));
    EQ(pwrite(fd, "D", 1, 0), 1);
    OK(fdatasync(fd));
    close(fd);
    CHECK(posix_holds("m", "Data"));
    FAILS(fsync(fd), EBADF);
}

static void appending(void)
{
    int a, b;

    posix_make("log", 0644, "start ");
    OK(a = open("log", O_WRONLY | O_APPEND));
    OK(b = open("log", O_WRONLY | O_APPEND));
    for (int i = 0; i < 5; i++) {
        EQ(write(a, "a", 1), 1);
        EQ(write(b, "b", 1), 1);
    }
    EQ(lseek(a, 0, SEEK_SET), 0);
    EQ(write(a, "!", 1), 1); /* at the end all the same */
    EQ(lseek(a, 0, SEEK_CUR), 17);
    close(a);
    close(b);
    CHECK(posix_holds("log", "start ababababab!"));
}

static void offsets(void)
{
    int fd, copy;
    char c;

    posix_make("o", 0644, "0123456789");
    OK(fd = open("o", O_RDWR));
    copy = dup(fd);
    EQ(read(fd, &c, 1), 1);
    EQ(lseek(copy, 0, SEEK_CUR), 1); /* one open file */
    EQ(lseek(fd, -2, SEEK_END), 8);
    EQ(read(copy, &c, 1), 1);
    EQ(c, '8');
    EQ(lseek(fd, 100, SEEK_SET), 100);
    EQ(read(fd, &c, 1), 0);
    FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
    FAILS(lseek(fd, -11, SEEK_END), EINVAL);
    FAILS(lseek(fd, 0, 77), EINVAL);
    EQ(posix_stat("o").st_size, 10);
    close(copy);
    close(fd);
    FAILS(lseek(fd, 0, SEEK_SET), EBADF);
}

static void umasks(void)
{
    umask(027);
    posix_make("u", 0666, "");
    EQ(posix_stat("u").st_mode & 07777, 0640);
    OK(mkdir("ud", 0777));
    EQ(posix_stat("ud").st_mode & 07777, 0750);
    OK(mkfifo("uf", 0666));
    EQ(posix_stat("uf").st_mode & 07777, 0640);
    umask(0);
    OK(mkdir("ud2", 01777));
    EQ(posix_stat("ud2").st_mode & 07777, 01777);
    umask(022);
}

void posix_open(void)
{
    creating();
    read_only_creation();
    truncating();
    modes();
    appending();
    offsets();
    umasks();
    OK(chmod(".", 0777));
    posix_as(1234, 1234, read_only_as_user);
}
