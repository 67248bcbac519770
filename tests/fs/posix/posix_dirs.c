#include "tests/fs/posix/posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int count(const char *path)
{
    DIR *d = opendir(path);
    int n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return d ? n : -1;
}

static void fill(const char *dir, int n)
{
    char name[64];

    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%s/entry-%05d", dir, i);
        int fd = open(name, O_CREAT | O_WRONLY, 0644);
        if (fd < 0)
            OK(-1);
        close(fd);
    }
}

/* Each entry once, and no other. */
static void all_once(const char *path, int n)
{
    char *seen = calloc(1, (size_t)n);
    DIR *d = opendir(path);
    struct dirent *e;
    int dots = 0, i;
    bool good = true;

    CHECK(d != NULL);
    while (d && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            dots++;
        else if (sscanf(e->d_name, "entry-%d", &i) == 1 && i >= 0 && i < n && !seen[i])
            seen[i] = 1;
        else
            good = false;
    }
    for (i = 0; i < n; i++)
        good = good && seen[i];
    CHECK(good);
    EQ(dots, 2);
    if (d)
        closedir(d);
    free(seen);
}

static void reading(void)
{
    OK(mkdir("empty", 0755));
    EQ(count("empty"), 2);
    OK(mkdir("d", 0755));
    static const int sizes[] = {1, 25, 300, 3000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        fill("d", sizes[i]);
        all_once("d", sizes[i]);
        all_once("d", sizes[i]); /* a second time, from caches */
    }
    OK(unlink("d/entry-00000"));
    EQ(count("d"), 3001);
    OK(mkdir("d/new", 0755));
    EQ(count("d"), 3002);
    OK(rmdir("d/new"));
    fill("d", 1);
    all_once("d", 3000);
}

static void types(void)
{
    struct dirent *e;
    int checked = 0;
    bool good = true;

    OK(mkdir("t", 0755));
    posix_make("t/reg", 0644, "");
    OK(mkdir("t/dir", 0755));
    OK(symlink("x", "t/lnk"));
    OK(mkfifo("t/fifo", 0644));
    DIR *d = opendir("t");
    while (d && (e = readdir(d)) != NULL) {
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        good = good && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               st.st_ino == e->d_ino &&
               (e->d_type == DT_UNKNOWN || (unsigned)e->d_type == (st.st_mode & S_IFMT) >> 12);
        checked++;
    }
    closedir(d);
    CHECK(good);
    EQ(checked, 4);
}

static void positions(void)
{
    struct dirent *e;
    long where[400];
    char names[400][256];
    int n = 0;
    bool good = true;

    OK(mkdir("pos", 0755));
    fill("pos", 300);
    DIR *d = opendir("pos");
    for (where[0] = telldir(d); n < 399 && (e = readdir(d)) != NULL; where[n] = telldir(d))
        snprintf(names[n++], sizeof(names[0]), "%s", e->d_name);
    EQ(n, 302);
    for (int i = n - 1; i >= 0; i -= 7) {
        seekdir(d, where[i]);
        e = readdir(d);
        good = good && e && strcmp(e->d_name, names[i]) == 0;
    }
    CHECK(good);
    rewinddir(d);
    e = readdir(d);
    CHECK(e && strcmp(e->d_name, names[0]) == 0);
    /* Positions hold when other entries go. */
    for (int i = 0; i < n; i += 2)
        if (names[i][0] != '.' && unlinkat(dirfd(d), names[i], 0) < 0)
            OK(-1);
    for (int i = 1; i < n; i += 2) {
        if (names[i][0] == '.')
            continue;
        seekdir(d, where[i]);
        e = readdir(d);
        good = good && e && strcmp(e->d_name, names[i]) == 0;
    }
    CHECK(good);
    rewinddir(d); /* shows what is there now */
    posix_make("pos/fresh", 0644, "");
    rewinddir(d);
    bool fresh = false;
    while ((e = readdir(d)) != NULL)
        fresh = fresh || strcmp(e->d_name, "fresh") == 0;
    CHECK(fresh);
    closedir(d);
}

/* rm -r deletes while it reads: none may be left out. */
static void deleting_while_reading(void)
{
    struct dirent *e;
    int gone = 0;

    OK(mkdir("rm", 0755));
    fill("rm", 1500);
    DIR *d = opendir("rm");
    while ((e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) == 0)
            gone++;
    closedir(d);
    EQ(gone, 1500);
    EQ(count("rm"), 2);
    OK(rmdir("rm"));
}

/* Entries that were there all the time appear once, whatever comes and goes meanwhile. */
static void changing_while_reading(void)
{
    struct dirent *e;
    int old = 0, i, made = 0;
    char name[64];

    OK(mkdir("ch", 0755));
    fill("ch", 800);
    DIR *d = opendir("ch");
    while ((e = readdir(d)) != NULL) {
        if (sscanf(e->d_name, "entry-%d", &i) == 1)
            old++;
        if (made < 200) {
            snprintf(name, sizeof(name), "ch/added-%d", made++);
            posix_make(name, 0644, "");
        }
    }
    closedir(d);
    EQ(old, 800);
    EQ(count("ch"), 1002);
}

static void removed(void)
{
    struct stat st;

    OK(mkdir("gone", 0755));
    int fd = open("gone", O_RDONLY | O_DIRECTORY);
    DIR *d = opendir("gone");
    OK(rmdir("gone"));
    OK(fstat(fd, &st));
    EQ(st.st_nlink, 0);
    FAILS(openat(fd, "x", O_CREAT | O_WRONLY, 0644), ENOENT);
    FAILS(mkdirat(fd, "x", 0755), ENOENT);
    FAILS(symlinkat("t", fd, "x"), ENOENT);
    FAILS(openat(fd, "x", O_RDONLY), ENOENT);
    int n = 0;
    struct dirent *e;
    while ((e = readdir(d)) != NULL)
        n += e->d_name[0] != '.';
    EQ(n, 0);
    closedir(d);
    OK(mkdir("gone", 0755)); /* another directory of that name */
    posix_make("gone/y", 0644, "");
    FAILS(fstatat(fd, "y", &st, 0), ENOENT);
    close(fd);
    EQ(count("gone"), 3);
    int back = open(".", O_RDONLY | O_DIRECTORY);
    OK(mkdir("cwd", 0755));
    OK(chdir("cwd"));
    OK(rmdir("../cwd"));
    char buf[4096];
    FAILS(syscall(SYS_getcwd, buf, sizeof(buf)), ENOENT);
    FAILS(open("x", O_CREAT | O_WRONLY, 0644), ENOENT);
    OK(fchdir(back));
    close(back);
}

static void link_counts(void)
{
    OK(mkdir("n", 0755));
    nlink_t base = posix_stat("n").st_nlink;
    OK(mkdir("n/a", 0755));
    bool counted = posix_stat("n").st_nlink == base + 1;
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n/s%d", i);
        if (mkdir(name, 0755) < 0)
            OK(-1);
    }
    EQ(posix_stat("n").st_nlink, base + (counted ? 21 : 0));
    posix_make("n/file", 0644, "");
    EQ(posix_stat("n").st_nlink, base + (counted ? 21 : 0));
    OK(rmdir("n/a"));
    EQ(posix_stat("n").st_nlink, base + (counted ? 20 : 0));
}

static void long_names(void)
{
    char name[300];
    struct dirent *e;
    int n = 0;

    OK(mkdir("long", 0755));
    for (int i = 0; i < 100; i++) {
        memset(name, 'a' + i % 26, sizeof(name));
        memcpy(name, "long/", 5);
        snprintf(name + 5, 8, "%03d", i);
        name[8] = '-';
        name[5 + 255 - i % 3] = 0;
        if (mkdir(name, 0755) < 0)
            OK(-1);
    }
    DIR *d = opendir("long");
    while ((e = readdir(d)) != NULL)
        n += strlen(e->d_name) >= 253 && strlen(e->d_name) <= 255;
    closedir(d);
    EQ(n, 100);
}

void posix_dirs(void)
{
    reading();
    types();
    positions();
    deleting_while_reading();
    changing_while_reading();
    removed();
    link_counts();
    long_names();
}
