/*
 * The control socket: nothing is answered any more once the server is drained, and what is under way is waited for; peers that
 * say nothing or do not listen hold nobody; what is too long is refused.
 */
#include "check.h"
#include "cli/control.h"
#include "crypto/err.h"
#include "crypto/secret.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/obscurafs-control-XXXXXX", path[80];

static atomic_bool hurried, entered, left, kept;
static atomic_int sends_failed_at_once;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void hurry(void *ctx)
{
    atomic_store(&hurried, true);
}

static void say(struct control_peer *peer, const char *key, double value)
{
    cJSON *line = cJSON_CreateObject();
    cJSON_AddNumberToObject(line, key, value);
    control_send(peer, line);
    cJSON_Delete(line);
}

static void handle(void *ctx, const cJSON *request, struct control_peer *peer)
{
    const char *what = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "do"));
    if (what && !strcmp(what, "keep"))
        control_keep(peer), atomic_store(&kept, true);
    if (what && !strcmp(what, "long")) { /* as a sync: until somebody is in a hurry */
        atomic_store(&entered, true);
        while (!atomic_load(&hurried))
            nap();
        say(peer, "done", 1);
        atomic_store(&left, true);
    }
    if (what && !strcmp(what, "flood")) { /* more than the socket takes; the peer does not read */
        char text[4096];
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        cJSON *line = cJSON_CreateObject();
        cJSON_AddStringToObject(line, "text", text);
        while (control_send(peer, line))
            ;
        const int64_t start = now_ms();
        for (int i = 0; i < 100; i++)
            control_send(peer, line);
        atomic_store(&sends_failed_at_once, now_ms() - start < 1000 ? 1 : -1);
        cJSON_Delete(line);
        return;
    }
    say(peer, "code", 0);
}

static int dial(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    strcpy(addr.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    close(fd);
    return -1;
}

static cJSON *ask(const char *what, void (*each)(void *, const cJSON *), bool wait_close)
{
    cJSON *request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "do", what);
    cJSON *last = control_call(path, request, each, NULL, wait_close);
    cJSON_Delete(request);
    return last;
}

static atomic_int last_words;

static void count_pending(void *ctx, const cJSON *line)
{
    if (cJSON_HasObjectItem(line, "pending"))
        atomic_fetch_add(&last_words, 1);
}

static void *ask_keep(void *arg)
{
    cJSON *last = ask("keep", count_pending, true);
    cJSON_Delete(last);
    return NULL;
}

static atomic_bool long_answered;

static void *ask_long(void *arg)
{
    cJSON *last = ask("long", NULL, false);
    atomic_store(&long_answered, last && control_code(last) == 0);
    cJSON_Delete(last);
    return NULL;
}

static void test_drain(void)
{
    struct control_server *server;
    pthread_t keep, lasting;
    CHECK_EQ(control_server_start(&server, path, handle, NULL), 0);
    pthread_create(&keep, NULL, ask_keep, NULL);
    pthread_create(&lasting, NULL, ask_long, NULL);
    while (!atomic_load(&entered) || !atomic_load(&kept))
        nap();
    cJSON *last = ask("other", NULL, false);
    CHECK(last && control_code(last) == 0);
    cJSON_Delete(last);
    CHECK(!atomic_load(&left));
    control_server_drain(server, hurry, NULL);
    CHECK(atomic_load(&left)); /* whoever frees what it uses may do so now */
    CHECK(dial() < 0);
    cJSON *line = cJSON_CreateObject();
    cJSON_AddNumberToObject(line, "pending", 0);
    control_server_broadcast(server, line);
    cJSON_Delete(line);
    control_server_free(server);
    pthread_join(keep, NULL);
    pthread_join(lasting, NULL);
    CHECK_EQ(atomic_load(&last_words), 1);
    CHECK(atomic_load(&long_answered));
}

static void test_bad_peers(void)
{
    struct control_server *server;
    int idle[8];
    CHECK_EQ(control_server_start(&server, path, handle, NULL), 0);
    for (size_t i = 0; i < 8; i++)
        idle[i] = dial();
    cJSON *last = ask("other", NULL, false); /* connected after them: they have their threads */
    CHECK(last && control_code(last) == 0);
    cJSON_Delete(last);
    void *room = secret_alloc(40000); /* keys go on finding place */
    CHECK(room != NULL);
    secret_free(room);
    for (size_t i = 0; i < 8; i++)
        close(idle[i]);

    /* A line that does not end, and one of nested brackets. */
    static char big[CONTROL_LINE_MAX + 10];
    char answer[16];
    memset(big, ' ', sizeof(big));
    int fd = dial();
    CHECK(send(fd, big, CONTROL_LINE_MAX, MSG_NOSIGNAL) == CONTROL_LINE_MAX);
    CHECK(recv(fd, answer, sizeof(answer), 0) <= 0);
    close(fd);
    memset(big, '[', 2000);
    big[2000] = '\n';
    fd = dial();
    CHECK(send(fd, big, 2001, MSG_NOSIGNAL) == 2001);
    CHECK(recv(fd, answer, sizeof(answer), 0) <= 0);
    close(fd);

    /* One that does not listen costs one wait, not one for each line. */
    fd = dial();
    CHECK(send(fd, "{\"do\":\"flood\"}\n", 15, MSG_NOSIGNAL) == 15);
    while (!atomic_load(&sends_failed_at_once))
        nap();
    CHECK_EQ(atomic_load(&sends_failed_at_once), 1);
    close(fd);
    control_server_drain(server, hurry, NULL);
    control_server_free(server);
}

static void count_each(void *ctx, const char *sock, const cJSON *status)
{
    (void)sock, (void)status;
    ++*(int *)ctx;
}

/* In a place that others can enter, anybody can have put the sockets and what lies beside them: nobody looks there. */
static void test_place(void)
{
    struct control_server *server;
    char place[sizeof(dir) + 16];
    int found = 0;
    snprintf(place, sizeof(place), "%s/obscurafs", dir);
    snprintf(path, sizeof(path), "%s/0.sock", place);
    CHECK(setenv("XDG_RUNTIME_DIR", dir, 1) == 0 && mkdir(place, 0700) == 0);
    CHECK_EQ(control_server_start(&server, path, handle, NULL), 0);
    control_each(count_each, &found);
    CHECK_EQ(found, 1);
    CHECK_EQ(chmod(place, 0777), 0);
    control_each(count_each, &found);
    CHECK_EQ(found, 1);
    control_server_drain(server, hurry, NULL);
    control_server_free(server);
    CHECK_EQ(rmdir(place), 0);
}

static void take_pid(void *ctx, const char *sock, const cJSON *status)
{
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(status, "pid");
    CHECK(control_silent(status));
    *(pid_t *)ctx = cJSON_IsNumber(number) ? number->valueint : 0;
}

/* One that hangs so long that nobody can connect any more is named all the same. */
static void test_full_queue(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char place[sizeof(dir) + 16];
    int queue[8];
    pid_t found = 0;
    snprintf(place, sizeof(place), "%s/obscurafs", dir);
    snprintf(path, sizeof(path), "%s/1.sock", place);
    strcpy(addr.sun_path, path);
    CHECK_EQ(mkdir(place, 0700), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 0) == 0);
    for (size_t i = 0; i < 8; i++) {
        queue[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(queue[i], (struct sockaddr *)&addr, sizeof(addr));
    }
    control_where_put(path, "/vault", "/mountpoint");
    control_each(take_pid, &found);
    CHECK_EQ(found, getpid());
    control_where_remove(path);
    for (size_t i = 0; i < 8; i++)
        close(queue[i]);
    close(fd);
    CHECK(unlink(path) == 0 && rmdir(place) == 0);
}

int main(void)
{
    if (secret_init() || !mkdtemp(dir))
        return 1;
    control_init();
    snprintf(path, sizeof(path), "%s/s", dir);
    test_drain();
    test_bad_peers();
    test_place();
    test_full_queue();
    rmdir(dir);
    return check_done();
}
