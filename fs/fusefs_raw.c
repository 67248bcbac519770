#include "fs/fusefs_raw.h"

#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

/* In kernels from 6.2 on; the number is part of the kernel's ABI. */
#define OP_TMPFILE 51u

static void look_init(const uint8_t *body, size_t len, struct fusefs_raw *raw)
{
    struct fuse_init_in in = {0};

    raw->kind = FUSEFS_RAW_INIT;
    memcpy(&in, body, len < sizeof(in) ? len : sizeof(in));
    raw->offers_killpriv =
        in.major == FUSE_KERNEL_VERSION && (in.flags & FUSE_HANDLE_KILLPRIV_V2) != 0;
}

bool fusefs_raw_look(const void *request, size_t len, struct fusefs_raw *raw)
{
    const struct fuse_in_header *head = request;
    const uint8_t *body = (const uint8_t *)request + sizeof(*head);

    *raw = (struct fusefs_raw){0};
    if (len < sizeof(*head))
        return false;
    len -= sizeof(*head);
    raw->opcode = head->opcode;
    if (head->opcode == FUSE_INIT) {
        look_init(body, len, raw);
    } else if (head->opcode == FUSE_READ && len >= sizeof(struct fuse_read_in)) {
        raw->kind = FUSEFS_RAW_IO;
        raw->reads = true;
        raw->io_size = ((const struct fuse_read_in *)(const void *)body)->size;
    } else if (head->opcode == FUSE_WRITE && len >= sizeof(struct fuse_write_in)) {
        const struct fuse_write_in *in = (const void *)body;
        raw->kind = FUSEFS_RAW_IO;
        raw->io_size = in->size;
        raw->kill_priv = (in->write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
    } else if (head->opcode == FUSE_FSYNC || head->opcode == FUSE_FSYNCDIR) {
        raw->kind = FUSEFS_RAW_SYNC;
    } else if (head->opcode == OP_TMPFILE && len >= sizeof(struct fuse_create_in)) {
        raw->kind = FUSEFS_RAW_TMPFILE;
        raw->unique = head->unique;
        raw->parent = head->nodeid;
        raw->uid = head->uid;
        raw->gid = head->gid;
        raw->mode = ((const struct fuse_create_in *)(const void *)body)->mode;
    }
    return true;
}

void fusefs_raw_patch_init(const struct fusefs_raw *raw, const struct iovec *iov, int count)
{
    struct fuse_init_out *out;

    if (!raw->offers_killpriv || count < 2 || iov[1].iov_len < sizeof(*out))
        return;
    out = iov[1].iov_base;
    out->flags |= FUSE_HANDLE_KILLPRIV_V2;
}

static void split_time(int64_t ns, uint64_t *sec, uint32_t *nsec)
{
    int64_t s = ns / 1000000000, rest = ns % 1000000000;

    if (rest < 0) {
        s--;
        rest += 1000000000;
    }
    *sec = (uint64_t)s;
    *nsec = (uint32_t)rest;
}

int fusefs_raw_reply_tmpfile(int fd, const struct fusefs_raw *raw, int number,
                             const struct inode *inode, uint64_t timeout)
{
    struct fuse_out_header head = {.len = sizeof(head), .error = -number, .unique = raw->unique};
    struct fuse_entry_out entry = {0};
    struct fuse_open_out open = {.open_flags = FOPEN_KEEP_CACHE};
    struct iovec iov[3] = {{&head, sizeof(head)}, {&entry, sizeof(entry)}, {&open, sizeof(open)}};

    if (number == 0) {
        head.len += (uint32_t)(sizeof(entry) + sizeof(open));
        entry.nodeid = inode->ino;
        entry.entry_valid = entry.attr_valid = timeout;
        entry.attr.ino = inode->ino;
        entry.attr.size = inode->size;
        entry.attr.mode = inode->mode;
        entry.attr.nlink = inode->nlink;
        entry.attr.uid = inode->uid;
        entry.attr.gid = inode->gid;
        split_time(inode->atime, &entry.attr.atime, &entry.attr.atimensec);
        split_time(inode->mtime, &entry.attr.mtime, &entry.attr.mtimensec);
        split_time(inode->ctime, &entry.attr.ctime, &entry.attr.ctimensec);
    }
    return writev(fd, iov, number == 0 ? 3 : 1) < 0 ? -1 : 0;
}
