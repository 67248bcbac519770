/*
 * range_server.h - a web server on loopback that gives parts of the files of a folder, and counts, holds back or spoils them.
 */
#ifndef TESTS_UNIT_RANGE_SERVER_H
#define TESTS_UNIT_RANGE_SERVER_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct range_server {
    char root[160], url[60];
    int fd;
    pthread_t thread;
    atomic_uint gets, connections;
    atomic_ullong largest; /* bytes that were asked for at once */
    atomic_bool hold;      /* no answer for now */
    atomic_uint spoil;     /* so many answers get a wrong byte */
    atomic_bool ending;
};

struct range_connection {
    struct range_server *server;
    int fd;
};

/* Reads to the empty line. False: the other side has gone. */
static inline bool range_request(int fd, char *text, size_t size)
{
    size_t len = 0;
    while (len + 1 < size) {
        ssize_t n = recv(fd, text + len, 1, 0);
        if (n <= 0)
            return false;
        text[++len] = '\0';
        if (len >= 4 && memcmp(text + len - 4, "\r\n\r\n", 4) == 0)
            return true;
    }
    return false;
}

static inline bool range_send(int fd, const void *p, size_t len)
{
    for (const char *at = p; len;) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* One part of one file: [from, to]. */
static inline bool range_answer(struct range_server *s, int fd, const char *path,
                                unsigned long long from, unsigned long long to)
{
    char file[400], head[200];
    uint8_t *body = malloc(to - from + 1);
    snprintf(file, sizeof(file), "%s/%.200s", s->root, path);
    int in = open(file, O_RDONLY);
    ssize_t n = in < 0 || !body ? -1 : pread(in, body, to - from + 1, (off_t)from);
    if (in >= 0)
        close(in);
    if (n > 0 && atomic_load(&s->spoil)) {
        atomic_fetch_sub(&s->spoil, 1);
        body[n / 2] ^= 1;
    }
    int len = n <= 0 ? snprintf(head, sizeof(head), "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
                     : snprintf(head, sizeof(head),
                                "HTTP/1.1 206 Part\r\nContent-Length: %zd\r\n"
                                "Content-Range: bytes %llu-%llu/*\r\n\r\n",
                                n, from, from + (unsigned long long)n - 1);
    bool sent = range_send(fd, head, (size_t)len) && (n <= 0 || range_send(fd, body, (size_t)n));
    free(body);
    return sent;
}

static inline void *range_serve(void *arg)
{
    struct range_connection *c = arg;
    struct range_server *s = c->server;
    char text[4096], path[300];
    while (range_request(c->fd, text, sizeof(text))) {
        unsigned long long from, to;
        const char *range = strcasestr(text, "\r\nrange: bytes=");
        if (sscanf(text, "GET /s/%299s ", path) != 1 || !range ||
            sscanf(range + 15, "%llu-%llu", &from, &to) != 2 || strstr(path, ".."))
            break;
        atomic_fetch_add(&s->gets, 1);
        if (to - from + 1 > atomic_load(&s->largest))
            atomic_store(&s->largest, to - from + 1);
        while (atomic_load(&s->hold) && !atomic_load(&s->ending))
            usleep(1000);
        if (atomic_load(&s->ending) || !range_answer(s, c->fd, path, from, to))
            break;
    }
    close(c->fd);
    atomic_fetch_sub(&s->connections, 1);
    free(c);
    return NULL;
}

static inline void *range_accept(void *arg)
{
    struct range_server *s = arg;
    int fd;
    while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
        struct range_connection *c = malloc(sizeof(*c));
        pthread_t thread;
        *c = (struct range_connection){s, fd};
        atomic_fetch_add(&s->connections, 1);
        if (pthread_create(&thread, NULL, range_serve, c) == 0)
            pthread_detach(thread);
    }
    return NULL;
}

/* ${root} appears as url, without a '/' at its end. */
static inline bool range_start(struct range_server *s, const char *root)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    memset(s, 0, sizeof(*s));
    snprintf(s->root, sizeof(s->root), "%s", root);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&at, len) || listen(s->fd, 16) ||
        getsockname(s->fd, (struct sockaddr *)&at, &len))
        return false;
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u/s", ntohs(at.sin_port));
    return pthread_create(&s->thread, NULL, range_accept, s) == 0;
}

/* After its clients have closed their connections. */
static inline void range_stop(struct range_server *s)
{
    atomic_store(&s->ending, true);
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    while (atomic_load(&s->connections))
        usleep(1000);
}

#endif
