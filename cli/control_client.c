#include "cli/control.h"

#include "crypto/err.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int dial(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path))
        return -1;
    strcpy(addr.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct ucred cred;
    socklen_t len = sizeof(cred);
    if (fd >= 0 &&
        (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
         getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 || cred.uid != geteuid())) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Passes on complete lines; the one that has "code" is handed out as the last. */
static cJSON *read_answer(int fd, void (*each)(void *, const cJSON *), void *ctx, bool wait_close)
{
    char buf[CONTROL_LINE_MAX];
    size_t len = 0;
    cJSON *last = NULL;
    for (;;) {
        ssize_t n = recv(fd, buf + len, sizeof(buf) - len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return last;
        len += (size_t)n;
        char *end;
        while ((end = memchr(buf, '\n', len))) {
            cJSON *line = control_parse(buf, (size_t)(end - buf));
            size_t used = (size_t)(end - buf) + 1;
            memmove(buf, buf + used, len - used);
            len -= used;
            if (!line)
                return last;
            if (!last && cJSON_HasObjectItem(line, "code")) {
                last = line;
                if (!wait_close)
                    return last;
                continue;
            }
            if (each)
                each(ctx, line);
            cJSON_Delete(line);
        }
        if (len == sizeof(buf))
            return last;
    }
}

cJSON *control_call(const char *path, const cJSON *request, void (*each)(void *, const cJSON *),
                    void *ctx, bool wait_close)
{
    int fd = dial(path);
    if (fd < 0)
        return NULL;
    char *text = cJSON_PrintUnformatted(request);
    cJSON *last = NULL;
    if (text && send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text) &&
        send(fd, "\n", 1, MSG_NOSIGNAL) == 1)
        last = read_answer(fd, each, ctx, wait_close);
    cJSON_free(text);
    close(fd);
    return last;
}

void control_each(void (*each)(void *, const char *, const cJSON *), void *ctx)
{
    static const uint8_t none[32];
    char dir[PATH_MAX];
    if (control_path(none, 0, dir, sizeof(dir)) != 0)
        return;
    *strrchr(dir, '/') = '\0';
    DIR *d = opendir(dir);
    struct dirent *e;
    cJSON *request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "do", "status");
    while (d && (e = readdir(d))) {
        char path[PATH_MAX];
        size_t len = strlen(e->d_name);
        if (len < 6 || strcmp(e->d_name + len - 5, ".sock") != 0 ||
            snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path))
            continue;
        cJSON *status = control_call(path, request, NULL, NULL, false);
        if (status)
            each(ctx, path, status);
        cJSON_Delete(status);
    }
    cJSON_Delete(request);
    if (d)
        closedir(d);
}

struct find {
    char want[PATH_MAX];
    char *path;
    cJSON *status;
};

static void match(void *ctx, const char *path, const cJSON *status)
{
    struct find *f = ctx;
    const char *vault = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "vault"));
    const char *mountpoint =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "mountpoint"));
    if (f->path || !((vault && strcmp(vault, f->want) == 0) ||
                     (mountpoint && strcmp(mountpoint, f->want) == 0)))
        return;
    f->path = strdup(path);
    f->status = cJSON_Duplicate(status, true);
}

char *control_find(const char *vault_or_mountpoint, cJSON **status)
{
    struct find f = {.path = NULL};
    if (status)
        *status = NULL;
    /* the mount point of a hung or dead mount cannot be resolved; then the name as given must do */
    if (!realpath(vault_or_mountpoint, f.want)) {
        if (strlen(vault_or_mountpoint) >= sizeof(f.want))
            return NULL;
        strcpy(f.want, vault_or_mountpoint);
    }
    control_each(match, &f);
    if (status)
        *status = f.status;
    else
        cJSON_Delete(f.status);
    return f.path;
}
