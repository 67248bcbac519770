#include "fs/fusefs_session.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "fs/fusefs_errno.h"
#include "fs/fusefs_raw.h"

/* Programs size their buffers by it: stdio reads a small file in one go, and copies go in large pieces. */
#define BLOCK_SIZE 65536

/* Reads ahead and writes back that may be under way at a time: enough to keep the sealing threads busy. */
#define BACKGROUND_MAX 32

static void split_time(int64_t ns, struct timespec *ts)
{
    ts->tv_sec = ns / 1000000000;
    ts->tv_nsec = ns % 1000000000;
    if (ts->tv_nsec < 0) {
        ts->tv_sec--;
        ts->tv_nsec += 1000000000;
    }
}

void fusefs_ops_stat(const struct inode *inode, struct stat *st)
{
    *st = (struct stat){.st_ino = inode->ino,
                        .st_mode = inode->mode,
                        .st_nlink = inode->nlink,
                        .st_uid = inode->uid,
                        .st_gid = inode->gid,
                        .st_rdev = inode->rdev,
                        .st_size = (off_t)inode->size,
                        .st_blksize = BLOCK_SIZE,
                        .st_blocks = (blkcnt_t)((inode->stored + 511) / 512)};
    split_time(inode->atime, &st->st_atim);
    split_time(inode->mtime, &st->st_mtim);
    split_time(inode->ctime, &st->st_ctim);
}

void fusefs_ops_entry(const struct inode *inode, struct fuse_entry_param *entry)
{
    *entry = (struct fuse_entry_param){
        .ino = inode->ino, .attr_timeout = FUSEFS_TIMEOUT, .entry_timeout = FUSEFS_TIMEOUT};
    fusefs_ops_stat(inode, &entry->attr);
}

void fusefs_ops_reply_entry(fuse_req_t req, uint64_t parent, const struct inode *inode)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct fuse_entry_param entry;
    int err = fusefs_lookup_add(fs->lookup, inode->ino, parent);

    if (err < 0) {
        fusefs_ops_reply_err(req, err);
        return;
    }
    fusefs_ops_entry(inode, &entry);
    if (fuse_reply_entry(req, &entry) != 0)
        fusefs_ops_forget(fs, inode->ino, 1); /* interrupted: the kernel did not count it */
}

void fusefs_ops_reply_err(fuse_req_t req, int err)
{
    fuse_reply_err(req, fusefs_errno(err));
}

void fusefs_ops_reply_err_inode(fuse_req_t req, int err)
{
    fuse_reply_err(req, fusefs_errno_inode(err));
}

static void reap(struct fusefs *fs, uint64_t ino)
{
    int err = tree_reap(fs->vault, ino);

    /* What stays behind is reaped at the next mount. */
    if (err < 0 && err != ERR_NOENT && err != ERR_ROFS)
        log_warn("an unlinked file could not be freed yet: %s", err_text(err));
}

void fusefs_ops_forget(struct fusefs *fs, uint64_t ino, uint64_t n)
{
    if (fusefs_lookup_forget(fs->lookup, ino, n))
        reap(fs, ino);
}

void fusefs_ops_gone(struct fusefs *fs, const struct inode *gone)
{
    if (gone->ino == 0 || gone->nlink != 0)
        return;
    if (!fusefs_lookup_mark_gone(fs->lookup, gone->ino, true))
        reap(fs, gone->ino);
}

void fusefs_ops_changed(struct fusefs *fs, uint64_t ino)
{
    if (fusefs_lookup_is_deleted(fs->lookup, ino))
        vault_rescue(fs->vault, ino);
}

void fusefs_ops_accessed(struct fusefs *fs, uint64_t ino)
{
    if (!fs->noatime)
        tree_accessed(fs->vault, ino);
}

static void forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    fusefs_ops_forget(fusefs_session_of(req), ino, n);
    fuse_reply_none(req);
}

static void forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        fusefs_ops_forget(fusefs_session_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

static void init(void *userdata, struct fuse_conn_info *conn)
{
    struct fusefs *fs = userdata;
    /* EXPLICIT_INVAL_DATA instead of AUTO: data in the page cache stays valid until fusefs_notify says otherwise; a
     * change of mtime alone must not throw it away. */
    const unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
                          FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_READDIRPLUS |
                          FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA;
    /* HANDLE_KILLPRIV would have us clear set-user-ID at writes that come from the page cache, without knowing whose
     * they are; its second version (fusefs_raw.h) tells us. ASYNC_DIO: an asynchronous direct write then ends without taking out what a reader has put into the page
     * cache meanwhile, and the old bytes stay there. Splicing costs more than it saves, as the data is sealed. */
    const unsigned refuse = FUSE_CAP_ASYNC_DIO | FUSE_CAP_HANDLE_KILLPRIV |
                            FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC |
                            FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_SPLICE_READ |
                            FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_POSIX_ACL;

    fs->capable = conn->capable;
    conn->want = (conn->want | (want & conn->capable)) & ~refuse;
    conn->max_read = fs->max_read;
    conn->max_write = FUSEFS_RAW_WRITE;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
}

/*
 * What is not here is answered with ENOSYS by libfuse, once; the kernel then does without: flush, release, releasedir,
 * access, create (it does lookup and mknod, and opens by itself), locks (they are the kernel's own), bmap, ioctl, poll.
 */
const struct fuse_lowlevel_ops fusefs_ops = {
    .init = init,
    .lookup = fusefs_names_lookup,
    .forget = forget,
    .forget_multi = forget_multi,
    .getattr = fusefs_attr_get,
    .setattr = fusefs_attr_set,
    .readlink = fusefs_names_readlink,
    .mknod = fusefs_names_mknod,
    .mkdir = fusefs_names_mkdir,
    .unlink = fusefs_names_unlink,
    .rmdir = fusefs_names_rmdir,
    .symlink = fusefs_names_symlink,
    .rename = fusefs_names_rename,
    .link = fusefs_names_link,
    .open = fusefs_file_open,
    .read = fusefs_file_read,
    .write = fusefs_file_write,
    .fsync = fusefs_file_fsync,
    .opendir = fusefs_dir_open,
    .readdir = fusefs_dir_read,
    .readdirplus = fusefs_dir_readplus,
    .fsyncdir = fusefs_file_fsync,
    .statfs = fusefs_attr_statfs,
    .setxattr = fusefs_xattr_set,
    .getxattr = fusefs_xattr_get,
    .listxattr = fusefs_xattr_list,
    .removexattr = fusefs_xattr_remove,
    .fallocate = fusefs_file_fallocate,
    .lseek = fusefs_file_lseek,
    .copy_file_range = fusefs_file_copy_range,
};
