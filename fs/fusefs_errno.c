#include "fs/fusefs_errno.h"

#include "crypto/err.h"

#include <errno.h>
#include <stddef.h>

static const struct {
    int err, number;
} numbers[] = {
    {ERR_OK, 0},
    {ERR_NOMEM, ENOMEM},
    {ERR_NOSPACE, ENOSPC},
    {ERR_INTR, EINTR},
    {ERR_LOCKED, EBUSY},
    {ERR_DENIED, EACCES},
    /* The store: told apart from a local EIO, so that "Network is unreachable" is what people read. */
    {ERR_NET, ENETUNREACH},
    {ERR_NETPERM, EREMOTEIO},
    {ERR_LOGIN, EREMOTEIO},
    {ERR_STOREFULL, EREMOTEIO},
    {ERR_BEHIND, EREMOTEIO},
    {ERR_NOENT, ENOENT},
    {ERR_EXIST, EEXIST},
    {ERR_NOTDIR, ENOTDIR},
    {ERR_ISDIR, EISDIR},
    {ERR_NOTEMPTY, ENOTEMPTY},
    {ERR_NAMETOOLONG, ENAMETOOLONG},
    {ERR_INVAL, EINVAL},
    {ERR_MLINK, EMLINK},
    {ERR_FBIG, EFBIG},
    {ERR_NODATA, ENODATA},
    {ERR_RANGE, ERANGE},
    {ERR_TOOBIG, E2BIG},
    {ERR_PERM, EPERM},
    {ERR_ROFS, EROFS},
    {ERR_NOTSUP, EOPNOTSUPP},
    {ERR_LOOP, ELOOP},
    {ERR_NXIO, ENXIO},
};

int fusefs_errno(int err)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (numbers[i].err == err)
            return numbers[i].number;
    return EIO;
}

int fusefs_errno_inode(int err)
{
    return err == ERR_NOENT ? ESTALE : fusefs_errno(err);
}
