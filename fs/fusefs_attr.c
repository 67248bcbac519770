#include "fs/fusefs_refresh.h"
#include "fs/fusefs_session.h"

#include "crypto/err.h"
#include "fs/tree_op.h"

/* Space that statfs does not offer: the index and its log must be able to grow after the last byte of data. */
#define SPACE_MARGIN (32ull << 20)
/* What sealing adds to data is less than one part in so many; statfs does not offer it either. */
#define OVERHEAD_PART 512u
/* A guess of what a new inode with its name takes, for the number of free inodes. */
#define INODE_COST 512u

static int64_t join_time(const struct timespec *ts)
{
    int64_t ns;

    /* Years beyond 2262 do not fit 64 bits of nanoseconds; they become the last moment that does. */
    if (__builtin_mul_overflow((int64_t)ts->tv_sec, 1000000000, &ns) ||
        __builtin_add_overflow(ns, (int64_t)ts->tv_nsec, &ns))
        return ts->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

void fusefs_attr_get(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode inode;
    struct stat st;
    int err = tree_getattr(fs->vault, ino, &inode);

    if (err < 0) {
        fusefs_ops_reply_err_inode(req, err);
        return;
    }
    fusefs_ops_stat(&inode, &st);
    if (atomic_load(&fs->refresher_writes) && fusefs_refresh_asks(req)) {
        st.st_mode |= S_IWUSR;
        fuse_reply_attr(req, &st, 0);
        return;
    }
    fuse_reply_attr(req, &st, FUSEFS_TIMEOUT);
}

/* libfuse's bits to tree's, with the values. */
static unsigned translate(const struct stat *attr, int to_set, struct inode *in)
{
    unsigned what = 0;

    if (to_set & FUSE_SET_ATTR_MODE) {
        what |= TREE_MODE;
        in->mode = attr->st_mode;
    }
    if (to_set & FUSE_SET_ATTR_UID) {
        what |= TREE_UID;
        in->uid = attr->st_uid;
    }
    if (to_set & FUSE_SET_ATTR_GID) {
        what |= TREE_GID;
        in->gid = attr->st_gid;
    }
    if (to_set & FUSE_SET_ATTR_SIZE) {
        what |= TREE_SIZE;
        in->size = (uint64_t)attr->st_size;
    }
    if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) {
        what |= TREE_ATIME;
        in->atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? tree_op_now() : join_time(&attr->st_atim);
    }
    if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) {
        what |= TREE_MTIME;
        in->mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? tree_op_now() : join_time(&attr->st_mtim);
    }
    if (to_set & FUSE_SET_ATTR_CTIME) {
        what |= TREE_CTIME;
        in->ctime = join_time(&attr->st_ctim);
    }
    return what;
}

/* Answers as if the times had been set. */
static void reply_times(fuse_req_t req, fuse_ino_t ino, unsigned what, const struct inode *in)
{
    struct inode inode;
    struct stat st;
    int err = tree_getattr(fusefs_session_of(req)->vault, ino, &inode);

    if (err < 0) {
        fusefs_ops_reply_err_inode(req, err);
        return;
    }
    inode.mtime = what & TREE_MTIME ? in->mtime : inode.mtime;
    inode.ctime = what & TREE_CTIME ? in->ctime : inode.ctime;
    fusefs_ops_stat(&inode, &st);
    fuse_reply_attr(req, &st, FUSEFS_TIMEOUT);
}

void fusefs_attr_set(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                     struct fuse_file_info *fi)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct inode in = {.ino = ino}, out;
    struct stat st;
    unsigned what = translate(attr, to_set, &in);
    int err;

    if (fusefs_refresh_asks(req) && fusefs_refresh_setattr(req, ino, to_set))
        return;
    /* After each unlink the kernel sends the ctime it gave the file, also when that was its last name and nothing is
     * left to keep it for; its own copy is what an open descriptor shows. */
    if ((what & ~(unsigned)(TREE_MTIME | TREE_CTIME)) == 0 &&
        fusefs_lookup_gone_for_good(fs->lookup, ino)) {
        reply_times(req, ino, what, &in);
        return;
    }
    /* A change of owner clears set-user-ID whoever does it; a truncation when the kernel says so. */
    if ((to_set & FUSE_SET_ATTR_KILL_SUID) ||
        ((what & (TREE_UID | TREE_GID)) && !(what & TREE_MODE)))
        what |= TREE_KILL_PRIV;
    err = tree_setattr(fs->vault, ino, what, &in, &out);
    if (err < 0) {
        fusefs_ops_reply_err_inode(req, err);
        return;
    }
    if (what & TREE_SIZE)
        fusefs_ops_changed(fs, ino);
    fusefs_ops_stat(&out, &st);
    fuse_reply_attr(req, &st, FUSEFS_TIMEOUT);
}

/* How many of the free blocks of the disk can be filled with data. */
static fsblkcnt_t offered(fsblkcnt_t blocks, const struct statvfs *st)
{
    fsblkcnt_t margin = SPACE_MARGIN / st->f_frsize;

    blocks = blocks > margin ? blocks - margin : 0;
    return blocks - (blocks + OVERHEAD_PART - 1) / OVERHEAD_PART;
}

void fusefs_attr_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct index *ix = vault_index(fs->vault);
    struct index_stats stats = {0};
    struct statvfs st;

    if (statvfs(vault_path(fs->vault), &st) < 0) {
        fusefs_ops_reply_err(req, ERR_IO);
        return;
    }
    index_lock(ix);
    (void)index_stats(ix, &stats); /* zeroes are a poor answer, but better than none */
    index_unlock(ix);
    st.f_bavail = offered(st.f_bavail, &st);
    st.f_bfree = offered(st.f_bfree, &st);
    st.f_bsize =
        st.f_frsize; /* st_blocks and df count in f_frsize; a larger preferred size is in st_blksize */
    st.f_ffree = st.f_favail = st.f_bavail * st.f_frsize / INODE_COST;
    st.f_files = stats.inodes + st.f_ffree;
    st.f_namemax = NAME_LEN_MAX;
    fuse_reply_statfs(req, &st);
}
