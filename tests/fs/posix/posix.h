/*
 * posix.h - the assertions of the POSIX battery.
 *
 * Each topic is one file posix_TOPIC.c with one function, which is run in an empty directory of its own. A check counts as
 * passed or failed and the topic goes on. Children made by posix_as count into the same numbers.
 */
#ifndef TESTS_FS_POSIX_H
#define TESTS_FS_POSIX_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

void posix_result(bool ok, const char *file, int line, const char *what, int error);
void posix_equal(long long a, long long b, const char *file, int line, const char *what);
void posix_error(bool failed, int error, int want, const char *file, int line, const char *what);
/* What this kernel, file system or user cannot do is counted apart. */
void posix_skip(const char *why);

/* The condition holds. */
#define CHECK(x) posix_result(!!(x), __FILE__, __LINE__, #x, 0)
/* The call does not return -1. */
#define OK(x)                                                                                      \
    do {                                                                                           \
        errno = 0;                                                                                 \
        bool posix_ok = (x) != -1;                                                                 \
        posix_result(posix_ok, __FILE__, __LINE__, #x, errno);                                     \
    } while (0)
/* The call returns -1 with this error. */
#define FAILS(x, error)                                                                            \
    do {                                                                                           \
        errno = 0;                                                                                 \
        bool posix_failed = (x) == -1;                                                             \
        posix_error(posix_failed, errno, error, __FILE__, __LINE__, #x);                           \
    } while (0)
#define EQ(a, b) posix_equal((long long)(a), (long long)(b), __FILE__, __LINE__, #a " == " #b)

/* Runs ${run} in a child as that user (with that one group) and waits. False, and skipped, if we are not root. */
bool posix_as(uid_t uid, gid_t gid, void (*run)(void));
/* The same with one supplementary group. */
bool posix_as_groups(uid_t uid, gid_t gid, gid_t extra, void (*run)(void));

/* Makes a file with this content. */
void posix_make(const char *path, mode_t mode, const char *content);
/* The content of a small file equals. */
bool posix_holds(const char *path, const char *content);
/* lstat, zeroes on failure. */
struct stat posix_stat(const char *path);
bool posix_exists(const char *path);
/* Waits until the clock that file times are taken from has moved. */
void posix_tick(void);
/* Nanoseconds of a time. */
int64_t posix_ns(struct timespec t);
/* ${len} times the character, in a static buffer. */
const char *posix_long_name(size_t len, char c);

void posix_names(void);
void posix_open(void);
void posix_links(void);
void posix_rename(void);
void posix_attr(void);
void posix_times(void);
void posix_xattr(void);
void posix_data(void);
void posix_aio(void);
void posix_mmap(void);
void posix_space(void);
void posix_dirs(void);
void posix_locks(void);
void posix_unlinked(void);
void posix_perms(void);
void posix_setid(void);

#endif
