/*
 * Living with a full disk. [index-full]
 *
 * While all is well some space is ours in advance: in the log for notes of deletions, in the database for its pages, in
 * SQLite's log for a small commit (index_room.c), and the ballast. On a full disk the first three go on being used
 * again and again: changes come out of the log into the database in steps that fit, and each step's room serves the next.
 * The ballast is given back then, for where one of the others is missing: a new mount's segment, or a file system that
 * cannot reserve.
 */
#include "fs/index_private.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/pagevfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BALLAST      "ballast"
#define BALLAST_SIZE (1 << 20)

/* ERR_NOSPACE, or 0 also when there can be no ballast for another reason. */
static int take_ballast(struct index *ix)
{
    int fd = openat(ix->vault_fd, BALLAST, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int e = errno;
    if (fd >= 0) {
        do
            e = posix_fallocate(fd, 0, BALLAST_SIZE);
        while (e == EINTR);
        close(fd);
    }
    if (e == ENOSPC || e == EDQUOT) {
        (void)unlinkat(ix->vault_fd, BALLAST, 0);
        return ERR_NOSPACE;
    }
    if (e)
        log_debug("index: no ballast: %s", strerror(e));
    return 0;
}

void index_full_leave(struct index *ix)
{
    int err = index_room_least(ix);
    if (!err)
        err = take_ballast(ix);
    else if (err == ERR_NOSPACE && unlinkat(ix->vault_fd, BALLAST, 0) == 0)
        (void)index_room_least(ix); /* still full; but deleting comes before the ballast */
    const bool full = err == ERR_NOSPACE;
    const bool was = atomic_exchange(&ix->full, full);
    if (full != was)
        log_warn("%s",
                 full ? "the disk is full: only deleting is possible" : "the disk has room again");
}

bool index_full_room(const struct index *ix)
{
    struct statvfs st;
    return fstatvfs(ix->vault_fd, &st) == 0 && st.f_bavail >= (2 * BALLAST_SIZE) / st.f_frsize;
}

bool index_full_retry(struct index *ix)
{
    return !ix->tried_full || index_full_room(ix);
}

int index_full_enter(struct index *ix, uint64_t records, bool refused)
{
    if (!atomic_exchange(&ix->full, true))
        log_warn("the disk is full: only deleting is possible");
    (void)unlinkat(ix->vault_fd, BALLAST, 0);
    /* What was committed so far moves from SQLite's log into the database, where its pages have room. */
    int err = pagevfs_checkpoint(ix->db);
    if (err && err != ERR_NOSPACE && err != ERR_LOCKED)
        return index_fail(ix, err, "the database cannot be made durable");
    (void)index_room_database(ix); /* the log waits: what comes now needs no room in it */
    bool stuck;
    err = index_replay_again(ix, records, refused, &stuck);
    if (err)
        return err < 0 && !index_failed(ix) ? index_fail(ix, err, "the log cannot be replayed")
                                            : err;
    ix->tried_full = stuck;
    if (!stuck)
        index_full_leave(ix);
    return 0;
}
