#include "fs/fusefs_session.h"

#include "crypto/err.h"
#include "fs/fusefs_loop.h"

#include <errno.h>
#include <string.h>

void fusefs_dir_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    /* ENOSYS: open directories without us from now on, and cache what they hold. Kernels before 5.1 cannot. */
    if (fusefs_session_of(req)->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) {
        fuse_reply_err(req, ENOSYS);
        return;
    }
    fi->cache_readdir = fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

/* A page of entries under way. It and the numbers counted share the thread's scratch memory. */
struct page {
    fuse_req_t req;
    uint64_t dir;
    bool plus;
    char *buf;
    size_t used, cap;
    uint64_t *counted; /* inodes that got a reference */
    size_t count;
    int err;
};

#define PAGE_MAX                                                                                   \
    (FUSEFS_RAW_WRITE / 2) /* the other half holds ${counted}: an entry takes more than 8 bytes */

static int add_entry(void *ctx, const char *name, size_t len, uint64_t cookie,
                     const struct inode *inode)
{
    struct page *page = ctx;
    struct fusefs *fs = fusefs_session_of(page->req);
    char copy[NAME_LEN_MAX + 1];
    struct fuse_entry_param entry;
    /* The kernel takes "." and ".." for names only and does not count them. */
    bool dots = (len == 1 && name[0] == '.') || (len == 2 && memcmp(name, "..", 2) == 0);
    size_t room = page->cap - page->used, size;
    char *at = page->buf + page->used;

    if (len > NAME_LEN_MAX)
        return 1;
    memcpy(copy, name, len);
    copy[len] = 0;
    fusefs_ops_entry(inode, &entry);
    if (dots)
        entry.ino = 0;
    size = page->plus ? fuse_add_direntry_plus(page->req, at, room, copy, &entry, (off_t)cookie)
                      : fuse_add_direntry(page->req, at, room, copy, &entry.attr, (off_t)cookie);
    if (size > room)
        return 1; /* it starts the next page */
    if (page->plus && !dots) {
        page->err = fusefs_lookup_add(fs->lookup, inode->ino, page->dir);
        if (page->err < 0)
            return 1;
        page->counted[page->count++] = inode->ino;
    }
    page->used += size;
    return 0;
}

static void read_page(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
    struct fusefs *fs = fusefs_session_of(req);
    uint8_t *scratch = fusefs_loop_scratch();
    struct page page = {.req = req,
                        .dir = ino,
                        .plus = plus,
                        .buf = (char *)scratch,
                        .cap = size < PAGE_MAX ? size : PAGE_MAX,
                        .counted = (uint64_t *)(void *)(scratch + PAGE_MAX)};
    int err = tree_readdir(fs->vault, ino, (uint64_t)off, add_entry, &page);

    if (err == 0)
        err = page.err;
    /* Entries that are already in the page have been counted: they must reach the kernel, the error comes next time. */
    if (err < 0 && page.used == 0) {
        fusefs_ops_reply_err_inode(req, err);
        return;
    }
    if (off == 0)
        fusefs_ops_accessed(fs, ino);
    if (fuse_reply_buf(req, page.buf, page.used) != 0)
        for (size_t i = 0; i < page.count; i++)
            fusefs_ops_forget(fs, page.counted[i], 1);
}

void fusefs_dir_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    read_page(req, ino, size, off, false);
}

void fusefs_dir_readplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                         struct fuse_file_info *fi)
{
    read_page(req, ino, size, off, true);
}
