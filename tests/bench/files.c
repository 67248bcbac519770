/*
 * files: what the scale benchmark does with many small files, timed from inside.
 *
 *   files create DIR FROM TO     makes the files FROM to TO-1, 100 in a directory, 200 bytes each; prints files/s
 *   files stat DIR TO COUNT      looks at all files of directories scattered over those of the files 0 to TO-1, none twice before all
 *                                were, until COUNT have been seen;          prints files/s
 *   files read DIR TO COUNT      reads as many;                             prints files/s
 *   files list DIR TO COUNT      lists directories with attributes instead; prints names/s
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IN_ONE 100u
#define SIZE   200u

static const char *root;

static void die(const char *what)
{
    fprintf(stderr, "files: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *dir_of(uint64_t i)
{
    static char path[4200];
    uint64_t d = i / IN_ONE;
    snprintf(path, sizeof(path), "%s/%03u/%03u", root, (unsigned)(d / 1000), (unsigned)(d % 1000));
    return path;
}

static const char *path_of(uint64_t i)
{
    static char path[4300];
    snprintf(path, sizeof(path), "%s/IMG_%07llu.jpg", dir_of(i), (unsigned long long)i);
    return path;
}

static void make_dir(uint64_t i)
{
    char upper[4200];
    snprintf(upper, sizeof(upper), "%s/%03u", root, (unsigned)(i / IN_ONE / 1000));
    if (mkdir(upper, 0755) != 0 && errno != EEXIST)
        die(upper);
    if (mkdir(dir_of(i), 0755) != 0 && errno != EEXIST)
        die(dir_of(i));
}

static void create(uint64_t i)
{
    char data[SIZE] = {0};
    if (i % IN_ONE == 0)
        make_dir(i);
    int fd = open(path_of(i), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        die(path_of(i));
    memcpy(data, &i, sizeof(i));
    if (write(fd, data, SIZE) != (ssize_t)SIZE || close(fd) != 0)
        die(path_of(i));
}

static void look(uint64_t i)
{
    struct stat st;
    if (stat(path_of(i), &st) != 0)
        die(path_of(i));
}

static void read_one(uint64_t i)
{
    char data[SIZE];
    uint64_t held;
    int fd = open(path_of(i), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, data, SIZE) != (ssize_t)SIZE)
        die(path_of(i));
    close(fd);
    memcpy(&held, data, sizeof(held));
    if (held != i)
        die("a file holds what was not written");
}

static uint64_t list(uint64_t i)
{
    uint64_t n = 0;
    DIR *d = opendir(dir_of(i));
    struct dirent *e;
    struct stat st;
    if (!d)
        die(dir_of(i));
    while ((e = readdir(d)))
        if (e->d_name[0] != '.') {
            if (fstatat(dirfd(d), e->d_name, &st, 0) != 0)
                die(e->d_name);
            n++;
        }
    closedir(d);
    return n;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: files create DIR FROM TO | files stat|read|list DIR TO COUNT\n");
        return 2;
    }
    root = argv[2];
    uint64_t a = strtoull(argv[3], NULL, 10), b = strtoull(argv[4], NULL, 10), done = 0;
    double start = now();
    if (strcmp(argv[1], "create") == 0) {
        for (uint64_t i = a; i < b; i++, done++)
            create(i);
    } else {
        for (uint64_t k = 0; done < b;) {
            uint64_t first = k++ * 7919 % ((a + IN_ONE - 1) / IN_ONE) * IN_ONE;
            if (strcmp(argv[1], "list") == 0) {
                done += list(first);
                continue;
            }
            for (uint64_t i = first; i < first + IN_ONE && i < a; i++, done++)
                strcmp(argv[1], "stat") == 0 ? look(i) : read_one(i);
        }
    }
    printf("%.0f\n", (double)done / (now() - start));
    return 0;
}
