#include "cli/control.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PEERS_MAX      16
#define REQUEST_WAIT_S 5
#define HURRY_MS       50

struct control_peer {
    struct control_server *server; /* immutable */
    int fd;                        /* immutable */
    bool keep;                     /* by its own thread, then under the server's lock */
    bool gone;                     /* likewise: a send failed, nothing more is sent */
    struct control_peer *next;     /* under the server's lock: the kept ones */
};

struct control_server {
    int fd, wake[2];                                        /* immutable */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* immutable */
    void (*handle)(void *, const cJSON *, struct control_peer *);
    void *ctx;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t idle;       /* running fell */
    unsigned running;          /* under lock: handlers under way */
    struct control_peer *kept; /* under lock */
};

static bool send_all(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

bool control_send(struct control_peer *peer, const cJSON *line)
{
    if (peer->gone)
        return false;
    char *text = cJSON_PrintUnformatted(line);
    bool ok = text && send_all(peer->fd, text, strlen(text)) && send_all(peer->fd, "\n", 1);
    cJSON_free(text);
    /* One that was stopped would hold us for REQUEST_WAIT_S at every line of progress; and half a line was sent. */
    peer->gone = !ok;
    return ok;
}

void control_keep(struct control_peer *peer)
{
    peer->keep = true;
}

void control_server_broadcast(struct control_server *server, const cJSON *line)
{
    if (!server)
        return;
    pthread_mutex_lock(&server->lock);
    for (struct control_peer *p = server->kept; p; p = p->next)
        control_send(p, line);
    pthread_mutex_unlock(&server->lock);
}

/* The request line; NULL if the peer sends none in time, too much, or no JSON. It may hold a store's secret, but guarded memory is
 * too scarce for a few peers that say nothing; like cJSON's copy of it, it is wiped. */
static cJSON *read_request(int fd)
{
    char *buf = malloc(CONTROL_LINE_MAX);
    cJSON *json = NULL;
    size_t len = 0;
    while (buf && len < CONTROL_LINE_MAX) {
        ssize_t n = recv(fd, buf + len, CONTROL_LINE_MAX - len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        char *end = memchr(buf + len, '\n', (size_t)n);
        len += (size_t)n;
        if (end) {
            json = control_parse(buf, (size_t)(end - buf));
            break;
        }
    }
    if (buf)
        secret_wipe(buf, CONTROL_LINE_MAX);
    free(buf);
    return json;
}

static void *serve(void *arg)
{
    struct control_peer *peer = arg;
    struct control_server *server = peer->server;
    cJSON *request = read_request(peer->fd);
    if (request)
        server->handle(server->ctx, request, peer);
    cJSON_Delete(request);

    pthread_mutex_lock(&server->lock);
    if (peer->keep) {
        peer->next = server->kept;
        server->kept = peer;
    } else {
        close(peer->fd);
        free(peer);
    }
    server->running--;
    pthread_cond_broadcast(&server->idle);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

static void accept_one(struct control_server *server)
{
    int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct ucred cred;
    socklen_t len = sizeof(cred);
    struct timeval wait = {.tv_sec = REQUEST_WAIT_S};
    struct control_peer *peer = calloc(1, sizeof(*peer));
    bool ok =
        peer && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.uid == geteuid();
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait,
               sizeof(wait)); /* a peer that does not read must not hold us */

    pthread_mutex_lock(&server->lock);
    if (ok && server->running < PEERS_MAX)
        server->running++;
    else
        ok = false;
    pthread_mutex_unlock(&server->lock);
    if (ok) {
        pthread_t t;
        peer->server = server;
        peer->fd = fd;
        if (pthread_create(&t, NULL, serve, peer) == 0) {
            pthread_detach(t);
            return;
        }
        pthread_mutex_lock(&server->lock);
        server->running--;
        pthread_mutex_unlock(&server->lock);
    }
    close(fd);
    free(peer);
}

static void *listen_loop(void *arg)
{
    struct control_server *server = arg;
    struct pollfd fds[2] = {{.fd = server->fd, .events = POLLIN},
                            {.fd = server->wake[0], .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (fds[1].revents)
            return NULL;
        if (fds[0].revents)
            accept_one(server);
    }
}

static int bind_socket(struct control_server *server)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    strcpy(addr.sun_path, server->path); /* same size */
    unlink(
        server->path); /* of a process that was killed: the vault's lock says that none is alive */
    server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->fd < 0 || bind(server->fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
        listen(server->fd, 8) != 0 || pipe2(server->wake, O_CLOEXEC) != 0)
        return err_from_errno(errno);
    return 0;
}

static void server_free(struct control_server *server)
{
    if (server->fd >= 0)
        close(server->fd);
    for (int i = 0; i < 2; i++)
        if (server->wake[i] >= 0)
            close(server->wake[i]);
    while (server->kept) {
        struct control_peer *p = server->kept;
        server->kept = p->next;
        close(p->fd);
        free(p);
    }
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->idle);
    free(server);
}

int control_server_start(struct control_server **out, const char *path,
                         void (*handle)(void *, const cJSON *, struct control_peer *), void *ctx)
{
    *out = NULL;
    struct control_server *server = calloc(1, sizeof(*server));
    if (!server)
        return ERR_NOMEM;
    server->fd = server->wake[0] = server->wake[1] = -1;
    server->handle = handle;
    server->ctx = ctx;
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->idle, NULL);
    int err = ERR_NAMETOOLONG;
    if (strlen(path) < sizeof(server->path)) {
        strcpy(server->path, path);
        err = bind_socket(server);
    }
    if (!err && pthread_create(&server->thread, NULL, listen_loop, server) != 0)
        err = ERR_NOMEM;
    if (err) {
        log_error("control socket: %s", err_text(err));
        server_free(server);
        return err;
    }
    *out = server;
    return 0;
}

void control_server_drain(struct control_server *server, void (*hurry)(void *), void *ctx)
{
    if (!server)
        return;
    unlink(server->path);
    if (write(server->wake[1], "x", 1) == 1)
        pthread_join(server->thread, NULL);
    pthread_mutex_lock(&server->lock);
    while (server->running > 0) {
        struct timespec until;
        pthread_mutex_unlock(&server->lock);
        hurry(ctx);
        pthread_mutex_lock(&server->lock);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += HURRY_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (server->running > 0)
            pthread_cond_clockwait(&server->idle, &server->lock, CLOCK_MONOTONIC, &until);
    }
    pthread_mutex_unlock(&server->lock);
}

void control_server_free(struct control_server *server)
{
    if (server)
        server_free(server);
}
