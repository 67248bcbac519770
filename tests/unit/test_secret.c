/* secret: memory is zeroed, aligned, apart, wiped when freed; the arena runs full and recovers; a child has none of it. */
#include "check.h"

#include "crypto/err.h"
#include "crypto/secret.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static bool all_is(const uint8_t *p, size_t len, uint8_t v)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != v)
            return false;
    return true;
}

static void alloc_and_free(void)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 32, 100, 4096};
    uint8_t *p[8];
    for (size_t i = 0; i < 8; i++) {
        p[i] = secret_alloc(sizes[i]);
        CHECK(p[i] && (uintptr_t)p[i] % 16 == 0 && all_is(p[i], sizes[i], 0));
        if (p[i])
            memset(p[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < 8; i++)
        CHECK(all_is(p[i], sizes[i], (uint8_t)(i + 1))); /* nobody wrote on another's */
    const uint8_t *freed = p[6];
    secret_free(p[6]);
    CHECK(all_is(freed, sizes[6], 0)); /* still mapped: the arena stays */
    secret_free(NULL);
    for (size_t i = 0; i < 8; i++)
        if (i != 6)
            secret_free(p[i]);
}

static void full(void)
{
    void *p[4096];
    size_t n = 0;
    while (n < 4096 && (p[n] = secret_alloc(100)))
        n++;
    CHECK(n > 300 && n < 4096);
    CHECK(!secret_alloc(100));
    CHECK(!secret_alloc(SIZE_MAX) && !secret_alloc(1u << 20));
    if (n)
        secret_free(p[n / 2]);
    void *again = secret_alloc(100);
    CHECK(again == p[n / 2]);
    for (size_t i = 0; i < n; i++)
        secret_free(p[i]);
    void *most = secret_alloc(40000); /* no fragments left */
    CHECK(most);
    secret_free(most);
}

/* How a child that runs ${fn} ends. */
static int child(void (*fn)(void *), void *arg)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        fn(arg);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

static void touch(void *p)
{
    volatile uint8_t *v = p;
    _exit(v[0] == 0x77 ? 1 : 2);
}

static void new_arena(void *p)
{
    if (secret_init() != ERR_OK)
        _exit(3);
    uint8_t *mine = secret_alloc(40000);
    if (!mine || !all_is(mine, 40000, 0))
        _exit(4);
    secret_free(mine);
}

static void free_twice(void *p)
{
    secret_init();
    void *mine = secret_alloc(8);
    secret_free(mine);
    secret_free(mine);
}

static void free_inside(void *p)
{
    secret_init();
    uint8_t *mine = secret_alloc(64);
    secret_free(mine + 16);
}

static void harden(void *p)
{
    secret_harden_process();
    struct rlimit now;
    getrlimit(RLIMIT_CORE, &now);
    _exit(prctl(PR_GET_DUMPABLE) == 0 && now.rlim_cur == 0 && now.rlim_max == 0 ? 0 : 5);
}

static void children(void)
{
    uint8_t *p = secret_alloc(32);
    memset(p, 0x77, 32);
    int status = child(touch, p);
    CHECK(!WIFEXITED(status) ||
          (WEXITSTATUS(status) != 1 && WEXITSTATUS(status) != 2)); /* not mapped */
    CHECK_EQ(child(new_arena, NULL), 0);
    status = child(free_twice, NULL);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = child(free_inside, NULL);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK_EQ(child(harden, NULL), 0);
    CHECK(all_is(p, 32, 0x77));
    secret_free(p);
}

static void *hammer(void *arg)
{
    uint8_t mark = *(uint8_t *)arg;
    bool good = true;
    for (int i = 0; i < 20000; i++) {
        size_t len = (size_t)(i % 200 + 1);
        uint8_t *p = secret_alloc(len);
        good = good && p && all_is(p, len, 0);
        if (p)
            memset(p, mark, len);
        good = good && p && all_is(p, len, mark);
        secret_free(p);
    }
    return good ? arg : NULL;
}

static void threads(void)
{
    pthread_t t[4];
    uint8_t mark[4] = {1, 2, 3, 4};
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, hammer, &mark[i]);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(t[i], &result);
        CHECK(result == &mark[i]);
    }
}

int main(void)
{
    CHECK(!secret_alloc(1)); /* before secret_init */
    CHECK(!secret_is_locked());
    CHECK_EQ(secret_init(), ERR_OK);
    CHECK_EQ(secret_init(), ERR_OK);
    uint8_t a[32] = {0}, b[32] = {0};
    secret_random(a, 32);
    secret_random(b, 32);
    CHECK(memcmp(a, b, 32) != 0 && !all_is(a, 32, 0));
    secret_wipe(a, 32);
    secret_wipe(NULL, 0);
    CHECK(all_is(a, 32, 0));
    alloc_and_free();
    full();
    children();
    threads();
    return check_done();
}
