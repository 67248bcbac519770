#include "cli/place.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

bool place_beside(const char *path, char out[PLACE_MAX])
{
    char dir[PATH_MAX], real[PATH_MAX];
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len == 0 || len >= sizeof(dir))
        return false;
    memcpy(dir, path, len);
    dir[len] = '\0';
    char *slash = strrchr(dir, '/');
    const char *base = slash ? slash + 1 : dir;
    if (slash)
        *slash = '\0';
    if (!realpath(slash ? (slash == dir ? "/" : dir) : ".", real))
        return false;
    size_t real_len = strlen(real), base_len = strlen(base);
    if (real_len + 1 + base_len >= PLACE_MAX)
        return false;
    memcpy(out, real, real_len);
    if (real_len > 1)
        out[real_len++] = '/';
    memcpy(out + real_len, base, base_len + 1);
    return true;
}

bool place_real(const char *path, char out[PLACE_MAX])
{
    return realpath(path, out) || place_beside(path, out);
}
