#include "crypto/err.h"

#include <errno.h>
#include <stddef.h>

static const struct {
    int code;
    const char *text;
} texts[] = {
    {ERR_OK, "success"},
    {ERR_NOMEM, "out of memory"},
    {ERR_IO, "the local disk failed"},
    {ERR_NOSPACE, "the local disk is full"},
    {ERR_FORMAT, "damaged or foreign data"},
    {ERR_AUTH, "data that does not verify"},
    {ERR_STALE, "older than what was seen before"},
    {ERR_VERSION, "made by a newer version of obscurafs"},
    {ERR_MISUSE, "internal misuse"},
    {ERR_INTR, "interrupted"},
    {ERR_LOCKED, "in use by another process"},
    {ERR_NOTVAULT, "no vault there"},
    {ERR_WRONGKEY, "wrong passphrase"},
    {ERR_DENIED, "permission denied"},
    {ERR_NET, "the store cannot be reached"},
    {ERR_NETPERM, "the store refuses"},
    {ERR_LOGIN, "the store refused the login"},
    {ERR_STOREFULL, "the store is full"},
    {ERR_CONTRADICTION, "the store contradicts what it showed before"},
    {ERR_BEHIND, "the store does not show everything yet"},
    {ERR_NOTOURS, "the store holds something that is not this vault"},
    {ERR_NOENT, "no such file or directory"},
    {ERR_EXIST, "exists already"},
    {ERR_NOTDIR, "not a directory"},
    {ERR_ISDIR, "is a directory"},
    {ERR_NOTEMPTY, "directory not empty"},
    {ERR_NAMETOOLONG, "name too long"},
    {ERR_INVAL, "invalid argument"},
    {ERR_MLINK, "too many links"},
    {ERR_FBIG, "file too large"},
    {ERR_NODATA, "no such attribute"},
    {ERR_RANGE, "buffer too small"},
    {ERR_TOOBIG, "too long"},
    {ERR_PERM, "not permitted"},
    {ERR_ROFS, "read-only"},
    {ERR_NOTSUP, "not supported"},
    {ERR_LOOP, "too many symbolic links"},
    {ERR_NXIO, "past the end"},
};

const char *err_text(int err)
{
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i].code == err)
            return texts[i].text;
    return "unknown error";
}

int err_from_errno(int e)
{
    switch (e) {
    case 0:
        return ERR_OK;
    case ENOMEM:
        return ERR_NOMEM;
    case ENOSPC:
    case EDQUOT:
        return ERR_NOSPACE;
    case EINTR:
        return ERR_INTR;
    case ENOENT:
        return ERR_NOENT;
    case EEXIST:
        return ERR_EXIST;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case EROFS:
        return ERR_ROFS;
    default:
        return ERR_IO;
    }
}
