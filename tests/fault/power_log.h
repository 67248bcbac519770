/*
 * power_log.h - what the recorder writes and the model of the disk reads.
 *
 * The log is a row of records, each a struct power_head, the first name, the second name and the data. A record of a call that changes
 * something is written when the call has returned, under the lock under which the call was made, so their order is one in which they can
 * have happened. A sync is two records: what was recorded before the first is durable once the second is there.
 */
#ifndef TESTS_FAULT_POWER_LOG_H
#define TESTS_FAULT_POWER_LOG_H

#include <stdint.h>

#define POWER_LOG_MAGIC 0x50574c47u

/* The environment of a program that is recorded: the log, and the directory in which it counts. */
#define POWER_LOG_ENV  "OBSCURAFS_POWER_LOG"
#define POWER_ROOT_ENV "OBSCURAFS_POWER_ROOT"

enum power_kind {
    POWER_CREATE = 1, /* dir, name -> ino, a new file */
    POWER_MKDIR,      /* dir, name -> ino, a new directory */
    POWER_LINK,       /* dir, name -> ino, one that there is */
    POWER_UNLINK,     /* dir, name; also of directories */
    POWER_RENAME,     /* dir, name -> dir2, name2 */
    POWER_EXCHANGE,   /* the same with RENAME_EXCHANGE */
    POWER_WRITE,      /* ino, off, data */
    POWER_TRUNCATE,   /* ino, off: the new size */
    POWER_ALLOCATE,   /* ino, off, len: grows the file */
    POWER_PUNCH,      /* ino, off, len */
    POWER_SYNC_BEGIN, /* ino (0: everything), off: a number that no other sync has */
    POWER_SYNC_END,   /* the same two */
    POWER_MARK        /* data: a line of the workload */
};

struct power_head {
    uint32_t magic;
    uint32_t kind;
    uint64_t ino, dir, dir2;
    uint64_t off, len;
    uint32_t name_len, name2_len;
    uint64_t data_len;
};

#endif
