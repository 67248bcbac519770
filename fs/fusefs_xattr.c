#include "fs/fusefs_refresh.h"
#include "fs/fusefs_session.h"

#include "crypto/err.h"

#include <string.h>

/*
 * user.* for whoever may read or write the file, trusted.* and security.* as the kernel allows before it asks us. The rest
 * (system.*: POSIX ACLs) is not supported, and saying so makes ls and cp stop asking.
 */
static bool supported(const char *name)
{
    static const char *const spaces[] = {"user.", "trusted.", "security."};

    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++)
        if (strncmp(name, spaces[i], strlen(spaces[i])) == 0 && name[strlen(spaces[i])] != 0)
            return true;
    return false;
}

/* Answers getxattr and listxattr: size 0 asks for the length. Releases ${out}. */
static void reply_bytes(fuse_req_t req, int err, struct bytes_out *out, size_t size)
{
    if (err == 0 && out->bad)
        err = ERR_NOMEM;
    if (err == 0 && size != 0 && out->len > size)
        err = ERR_RANGE;
    if (err < 0)
        fusefs_ops_reply_err_inode(req, err);
    else if (size == 0)
        fuse_reply_xattr(req, out->len);
    else
        fuse_reply_buf(req, (const char *)out->p, out->len);
    bytes_out_release(out);
}

void fusefs_xattr_set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                      size_t size, int flags)
{
    struct fusefs *fs = fusefs_session_of(req);
    int err = ERR_NOTSUP;

    if (supported(name))
        err = size > XATTR_SIZE_LIMIT ? ERR_TOOBIG
                                      : tree_setxattr(fs->vault, ino, name, value, size, flags);
    fusefs_ops_reply_err_inode(req, err);
}

void fusefs_xattr_get(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct bytes_out value;
    int err = ERR_NOTSUP;

    bytes_out_init(&value);
    if (supported(name))
        err = tree_getxattr(fs->vault, ino, name, &value);
    /* ls -l asks for it on every file until it hears that there is none here. Where SELinux is on, the kernel answers
     * by itself. */
    if (err == ERR_NODATA && strcmp(name, "security.selinux") == 0)
        err = ERR_NOTSUP;
    reply_bytes(req, err, &value, size);
}

/* Takes the names of trusted.* out: they are root's own. */
static void drop_trusted(struct bytes_out *names)
{
    size_t kept = 0;

    for (size_t i = 0; i < names->len;) {
        const char *name = (const char *)names->p + i;
        size_t len = strnlen(name, names->len - i) + 1;
        if (len > names->len - i)
            break;
        if (strncmp(name, "trusted.", strlen("trusted.")) != 0) {
            memmove(names->p + kept, name, len);
            kept += len;
        }
        i += len;
    }
    names->len = kept;
}

void fusefs_xattr_list(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct fusefs *fs = fusefs_session_of(req);
    struct bytes_out names;
    int err;

    bytes_out_init(&names);
    err = tree_listxattr(fs->vault, ino, &names);
    if (err == 0 && fuse_req_ctx(req)->uid != 0)
        drop_trusted(&names);
    reply_bytes(req, err, &names, size);
}

void fusefs_xattr_remove(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct fusefs *fs = fusefs_session_of(req);

    /* Its truncations are none, so capabilities of the file stay. */
    if (fusefs_refresh_asks(req)) {
        fusefs_ops_reply_err_inode(req, 0);
        return;
    }
    fusefs_ops_reply_err_inode(req, supported(name) ? tree_removexattr(fs->vault, ino, name)
                                                    : ERR_NOTSUP);
}
