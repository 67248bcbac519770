#include "sync/store_clutter.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* Those that end in '*' stand for all that begin so. */
static const char *const names[] = {
    /* macOS */
    ".DS_Store", "._*", ".localized", "Icon\r", ".AppleDouble", ".Spotlight-V100", ".fseventsd",
    ".Trashes", ".TemporaryItems", ".DocumentRevisions-V100",
    /* Windows */
    "desktop.ini", "Thumbs.db", "ehthumbs.db", "$RECYCLE.BIN", "System Volume Information",
    /* Linux */
    ".directory", ".Trash-*", "lost+found", ".nfs*", ".fuse_hidden*",
    /* Dropbox, Nextcloud and ownCloud, Syncthing, Google Drive, Synology */
    ".dropbox", ".dropbox.*", ".nextcloudsync.log", ".owncloudsync.log", ".sync_*",
    ".sync-exclude.lst", ".stfolder*", ".stignore", ".syncthing.*", ".tmp.drivedownload",
    ".tmp.driveupload", "@eaDir",
    /* Apache's WebDAV */
    ".DAV"};

static bool fits(const char *part, size_t len, const char *name)
{
    size_t n = strlen(name);
    if (name[n - 1] == '*')
        return len >= n - 1 && strncasecmp(part, name, n - 1) == 0;
    return len == n && strncasecmp(part, name, n) == 0;
}

static bool is_clutter(const char *part, size_t len)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (fits(part, len, names[i]))
            return true;
    return false;
}

bool store_clutter(const char *leaf)
{
    return is_clutter(leaf, strlen(leaf));
}

bool store_clutter_path(const char *path)
{
    for (;;) {
        size_t len = strcspn(path, "/");
        if (is_clutter(path, len))
            return true;
        if (!path[len])
            return false;
        path += len + 1;
    }
}
