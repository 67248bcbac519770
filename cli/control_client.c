#include "cli/control.h"

#include "cli/place.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ${patience_s}: for each step, 0 for ever. *pid of who listens. */
static int dial(const char *path, int patience_s, pid_t *pid)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path))
        return -1;
    strcpy(addr.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct ucred cred = {0};
    struct timeval limit = {.tv_sec = patience_s};
    socklen_t len = sizeof(cred);
    /* the one for sending also limits a connect to a process whose queue is full */
    if (fd >= 0 &&
        (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
         setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0 ||
         connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
         getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 || cred.uid != geteuid())) {
        const int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    *pid = cred.pid;
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

static cJSON *ask(const char *path, const cJSON *request, void (*each)(void *, const cJSON *),
                  void *ctx, bool wait_close, int patience_s, pid_t *silent)
{
    pid_t pid = 0;
    int fd = dial(path, patience_s, &pid);
    if (fd < 0) {
        *silent = errno == EAGAIN ? -1 : 0;
        return NULL;
    }
    char *text = cJSON_PrintUnformatted(request);
    cJSON *last = NULL;
    errno = 0;
    if (text && send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text) &&
        send(fd, "\n", 1, MSG_NOSIGNAL) == 1)
        last = read_answer(fd, each, ctx, wait_close);
    *silent = !last && errno == EAGAIN ? pid : 0;
    cJSON_free(text);
    close(fd);
    return last;
}

cJSON *control_call(const char *path, const cJSON *request, void (*each)(void *, const cJSON *),
                    void *ctx, bool wait_close)
{
    pid_t silent;
    return ask(path, request, each, ctx, wait_close, 0, &silent);
}

bool control_silent(const cJSON *status)
{
    const char *state = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "state"));
    return state && strcmp(state, "silent") == 0;
}

static cJSON *ask_status(const char *path, const cJSON *request)
{
    pid_t silent;
    cJSON *status = ask(path, request, NULL, NULL, false, CONTROL_PATIENCE_S, &silent);
    if (status || !silent)
        return status;
    status = control_where_get(path);
    if (!status) {
        status = cJSON_CreateObject();
        cJSON_AddStringToObject(status, "vault", "(unknown)");
    }
    if (silent > 0) {
        cJSON_DeleteItemFromObject(status, "pid");
        cJSON_AddNumberToObject(status, "pid", silent);
    }
    cJSON_AddStringToObject(status, "state", "silent");
    return status;
}

static void each_in(const char *dir, const cJSON *request,
                    void (*each)(void *, const char *, const cJSON *), void *ctx)
{
    DIR *d = control_dir_is_ours(dir) ? opendir(dir) : NULL;
    struct dirent *e;

    while (d && (e = readdir(d))) {
        char path[PATH_MAX];
        size_t len = strlen(e->d_name);
        if (len < 6 || strcmp(e->d_name + len - 5, ".sock") != 0 ||
            snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path))
            continue;
        cJSON *status = ask_status(path, request);
        if (status)
            each(ctx, path, status);
        cJSON_Delete(status);
    }
    if (d)
        closedir(d);
}

void control_each(void (*each)(void *, const char *, const cJSON *), void *ctx)
{
    char dirs[CONTROL_DIRS][CONTROL_DIR_MAX];
    size_t n = control_dirs(dirs);
    cJSON *request = cJSON_CreateObject();

    cJSON_AddStringToObject(request, "do", "status");
    for (size_t i = 0; i < n; i++)
        each_in(dirs[i], request, each, ctx);
    cJSON_Delete(request);
}

/* All that there are, each with its "sock". */
static void collect(void *ctx, const char *path, const cJSON *status)
{
    cJSON *copy = cJSON_Duplicate(status, true);
    cJSON_AddStringToObject(copy, "sock", path);
    cJSON_AddItemToArray(ctx, copy);
}

static bool is_text(const cJSON *json, const char *key, const char *text)
{
    const char *has = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, key));
    return has && strcmp(has, text) == 0;
}

static cJSON *match(cJSON *all, const char *place)
{
    cJSON *one;
    cJSON_ArrayForEach(one, all)
    {
        if (is_text(one, "vault", place) || is_text(one, "mountpoint", place))
            return one;
    }
    return NULL;
}

char *control_find(const char *vault_or_mountpoint, cJSON **status)
{
    char place[PLACE_MAX];
    char *path = NULL;
    cJSON *all = cJSON_CreateArray(), *found = NULL;
    if (status)
        *status = NULL;
    control_each(collect, all);
    /* The mount point of a process that does not answer is not to be touched, and that of one that died cannot be resolved: so first the
     * place as it is named. */
    if (place_beside(vault_or_mountpoint, place))
        found = match(all, place);
    if (!found && cJSON_GetArraySize(all) && realpath(vault_or_mountpoint, place))
        found = match(all, place);
    if (found) {
        path = strdup(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(found, "sock")));
        cJSON_DetachItemViaPointer(all, found);
        cJSON_DeleteItemFromObject(found, "sock");
        if (status && path)
            *status = found;
        else
            cJSON_Delete(found);
    }
    cJSON_Delete(all);
    return path;
}
