#include "tests/fs/posix/posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OWNER = 1234, GROUP = 2345, OTHER = 3456, OTHER_GROUP = 4567 };

/* Each class of user has exactly the bits of its own class. */
static void try_modes(int shift)
{
    static const struct {
        const char *name;
        int bits;
    } files[] = {{"m0", 0}, {"m1", 1}, {"m2", 2}, {"m3", 3},
                 {"m4", 4}, {"m5", 5}, {"m6", 6}, {"m7", 7}};

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[32];
        snprintf(path, sizeof(path), "class%d/%s", shift, files[i].name);
        int r = open(path, O_RDONLY), w = open(path, O_WRONLY), rw = open(path, O_RDWR);
        EQ(r >= 0, (files[i].bits & 4) != 0);
        EQ(w >= 0, (files[i].bits & 2) != 0);
        EQ(rw >= 0, (files[i].bits & 6) == 6);
        EQ(access(path, X_OK) == 0, (files[i].bits & 1) != 0);
        EQ(truncate(path, 0) == 0, (files[i].bits & 2) != 0);
        close(r);
        close(w);
        close(rw);
    }
}

static void as_owner_class(void)
{
    try_modes(6);
}

static void as_group_class(void)
{
    try_modes(3);
}

static void as_other_class(void)
{
    try_modes(0);
}

static void classes(void)
{
    for (int shift = 0; shift <= 6; shift += 3) {
        char path[32];
        snprintf(path, sizeof(path), "class%d", shift);
        OK(mkdir(path, 0755));
        for (unsigned bits = 0; bits < 8; bits++) {
            /* The other classes get the opposite, so that only the right one gives the right answer. */
            unsigned mode = ((~bits & 7) * 0111) & ~(7u << shift);
            snprintf(path, sizeof(path), "class%d/m%u", shift, bits);
            posix_make(path, 0600, "");
            OK(chmod(path, mode | bits << shift));
            OK(chown(path, OWNER, GROUP));
        }
    }
    posix_as(OWNER, OTHER_GROUP, as_owner_class);
    posix_as(OTHER, GROUP, as_group_class);
    posix_as_groups(OTHER, OTHER_GROUP, GROUP, as_group_class);
    posix_as(OTHER, OTHER_GROUP, as_other_class);
}

static void in_directories(void)
{
    struct stat st;

    FAILS(open("nowrite/new", O_CREAT | O_WRONLY, 0644), EACCES);
    FAILS(mkdir("nowrite/new", 0755), EACCES);
    FAILS(symlink("x", "nowrite/new"), EACCES);
    FAILS(mkfifo("nowrite/new", 0644), EACCES);
    FAILS(unlink("nowrite/f"), EACCES);
    FAILS(rmdir("nowrite/d"), EACCES);
    FAILS(rename("nowrite/f", "open/f"), EACCES);
    FAILS(rename("open/g", "nowrite/g"), EACCES);
    FAILS(link("open/mine", "nowrite/l"), EACCES);
    OK(stat("nowrite/f", &st));
    FAILS(stat("nosearch/f", &st), EACCES);
    FAILS(open("nosearch/f", O_RDONLY), EACCES);
    FAILS(open("nosearch/new", O_CREAT | O_WRONLY, 0644), EACCES);
    FAILS(chdir("nosearch"), EACCES);
    DIR *d = opendir("nosearch"); /* but it may be listed */
    CHECK(d != NULL);
    if (d)
        closedir(d);
    CHECK(opendir("noread") == NULL);
    EQ(errno, EACCES);
    OK(stat("noread/f", &st));
    OK(chdir("noread"));
    OK(stat("f", &st));
    OK(chdir(".."));
    posix_make("open/created", 0640, "");
    EQ(posix_stat("open/created").st_uid, OTHER);
    EQ(posix_stat("open/created").st_gid, OTHER_GROUP);
    OK(unlink("open/g"));
}

static void directories(void)
{
    OK(mkdir("nowrite", 0755));
    posix_make("nowrite/f", 0644, "");
    OK(mkdir("nowrite/d", 0755));
    OK(mkdir("nosearch", 0755));
    posix_make("nosearch/f", 0644, "");
    OK(chmod("nosearch", 0746));
    OK(mkdir("noread", 0711));
    posix_make("noread/f", 0644, "");
    OK(mkdir("open", 0777));
    OK(chmod("open", 0777));
    posix_make("open/g", 0644, "");
    posix_make("open/mine", 0644, "");
    OK(chown("open/mine", OTHER, OTHER_GROUP));
    posix_as(OTHER, OTHER_GROUP, in_directories);
}

static void in_sticky(void)
{
    FAILS(unlink("sticky/roots"), EPERM);
    FAILS(rename("sticky/roots", "sticky/x"), EPERM);
    FAILS(rename("sticky/mine", "sticky/roots"), EPERM);
    FAILS(rmdir("sticky/rootdir"), EPERM);
    posix_make("sticky/new", 0644, "");
    OK(rename("sticky/new", "sticky/new2"));
    OK(unlink("sticky/new2"));
    OK(unlink("sticky/mine"));
    OK(unlink("ownsticky/roots")); /* the owner of the directory may */
}

static void sticky(void)
{
    OK(mkdir("sticky", 0777));
    OK(chmod("sticky", 01777));
    posix_make("sticky/roots", 0666, "");
    OK(mkdir("sticky/rootdir", 0777));
    posix_make("sticky/mine", 0644, "");
    OK(chown("sticky/mine", OTHER, OTHER_GROUP));
    OK(mkdir("ownsticky", 0777));
    OK(chmod("ownsticky", 01777));
    OK(chown("ownsticky", OTHER, OTHER_GROUP));
    posix_make("ownsticky/roots", 0600, "");
    posix_as(OTHER, OTHER_GROUP, in_sticky);
}

static void attributes_as_other(void)
{
    struct timespec t[2] = {{1, 2}, {3, 4}};

    FAILS(chmod("attr", 0777), EPERM);
    FAILS(chown("attr", OTHER, (gid_t)-1), EPERM);
    FAILS(chown("attr", (uid_t)-1, OTHER_GROUP), EPERM);
    FAILS(utimensat(AT_FDCWD, "attr", t, 0), EPERM);
    OK(utimensat(AT_FDCWD, "attr", NULL, 0)); /* "now": whoever may write */
    FAILS(utimensat(AT_FDCWD, "attr-ro", NULL, 0), EACCES);
    OK(chmod("own", 0604));
    EQ(posix_stat("own").st_mode & 07777, 0604);
    OK(chown("own", OTHER, OTHER_GROUP));
    FAILS(chown("own", OWNER, (gid_t)-1), EPERM); /* nobody gives files away */
    FAILS(chown("own", (uid_t)-1, GROUP), EPERM);
    OK(utimensat(AT_FDCWD, "own", t, 0));
}

static void as_member(void)
{
    OK(chown("own", (uid_t)-1, GROUP)); /* to a group one is in */
    EQ(posix_stat("own").st_gid, GROUP);
    OK(chown("own", OTHER, OTHER_GROUP));
}

static void ownership(void)
{
    posix_make("attr", 0666, "");
    OK(chmod("attr", 0666));
    posix_make("attr-ro", 0644, "");
    posix_make("own", 0644, "");
    OK(chown("own", OTHER, OTHER_GROUP));
    posix_as(OTHER, OTHER_GROUP, attributes_as_other);
    posix_as_groups(OTHER, OTHER_GROUP, GROUP, as_member);
}

static void inherit(void)
{
    posix_make("sgid/file", 0644, "");
    EQ(posix_stat("sgid/file").st_gid, GROUP);
    OK(mkdir("sgid/dir", 0755));
    EQ(posix_stat("sgid/dir").st_gid, GROUP);
    EQ(posix_stat("sgid/dir").st_mode & 07777, 02755);
    OK(symlink("x", "sgid/link"));
    EQ(posix_stat("sgid/link").st_gid, GROUP);
    OK(mkdir("sgid/dir/deeper", 0700));
    EQ(posix_stat("sgid/dir/deeper").st_gid, GROUP);
    EQ(posix_stat("sgid/dir/deeper").st_mode & 07777, 02700);
    OK(mkfifo("sgid/fifo", 0600));
    EQ(posix_stat("sgid/fifo").st_gid, GROUP);
    EQ(posix_stat("sgid/fifo").st_uid, OTHER);
}

static void group_directories(void)
{
    OK(mkdir("sgid", 0777));
    OK(chown("sgid", 0, GROUP));
    OK(chmod("sgid", 02777));
    posix_as(OTHER, OTHER_GROUP, inherit);
}

void posix_perms(void)
{
    if (geteuid() != 0) {
        posix_skip("permissions of other users need root");
        return;
    }
    OK(chmod(".", 0755));
    classes();
    directories();
    sticky();
    ownership();
    group_directories();
}
