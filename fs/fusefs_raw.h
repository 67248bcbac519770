/*
 * fusefs_raw.h - the parts of the kernel's protocol that libfuse 3.14 does not show.
 *
 * The only file that knows the wire format (linux/fuse.h): what the session loop wants to know of a request before
 * libfuse gets it, the kernel's bit for handling set-user-ID ourselves, and O_TMPFILE, which libfuse has no callback for.
 */
#ifndef FS_FUSEFS_RAW_H
#define FS_FUSEFS_RAW_H

#include "fs/inode.h"

#include <stddef.h>
#include <sys/uio.h>

/* Bytes of a request before the data of a write, rounded up to a page: libfuse's FUSE_BUFFER_HEADER_SIZE. */
#define FUSEFS_RAW_HEAD  4096u
#define FUSEFS_RAW_WRITE (1u << 20) /* bytes of one read or write at most */

enum fusefs_raw_kind {
    FUSEFS_RAW_OTHER,
    FUSEFS_RAW_INIT,
    FUSEFS_RAW_TMPFILE,
    FUSEFS_RAW_IO,
    FUSEFS_RAW_SYNC
};

struct fusefs_raw {
    enum fusefs_raw_kind kind;
    uint32_t opcode;
    uint32_t io_size;     /* of FUSEFS_RAW_IO: bytes to read or write */
    bool reads;           /* a read of a file: changes nothing, and may take long */
    bool kill_priv;       /* a write that must clear set-user-ID and set-group-ID */
    bool offers_killpriv; /* INIT: the kernel lets us do that, and then asks less often */
    /* tmpfile */
    uint64_t unique, parent;
    uint32_t uid, gid, mode;
};

/* ${request} is aligned to 8. False: too short to be a request. */
bool fusefs_raw_look(const void *request, size_t len, struct fusefs_raw *raw);

/* Sets in an answer to INIT (iov[0]: header, iov[1]: body) the flag for raw->offers_killpriv. */
void fusefs_raw_patch_init(const struct fusefs_raw *raw, const struct iovec *iov, int count);

/* Answers a tmpfile request: with ${inode}, or with ${number} (an errno value) when that is not 0. -1 and errno if
 * nobody takes the answer. */
int fusefs_raw_reply_tmpfile(int fd, const struct fusefs_raw *raw, int number,
                             const struct inode *inode, uint64_t timeout);

#endif
