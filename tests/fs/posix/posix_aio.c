#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LEN = 655360, READERS = 2, ROUNDS = 60 };

/* Reads the file through the page cache, again and again, until it is killed. */
static pid_t start_reader(const char *path, char *buf)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(path, O_RDONLY);
    while (pread(fd, buf, LEN, 0) >= 0)
        ;
    _exit(1);
}

/* One write that was sent without waiting for it, then waited for. */
static bool write_async(aio_context_t ctx, int fd, char *buf)
{
    struct iocb cb = {.aio_fildes = (uint32_t)fd,
                      .aio_lio_opcode = IOCB_CMD_PWRITE,
                      .aio_buf = (uint64_t)(uintptr_t)buf,
                      .aio_nbytes = LEN};
    struct iocb *list[] = {&cb};
    struct io_event event = {0};

    return syscall(SYS_io_submit, ctx, 1L, list) == 1 &&
           syscall(SYS_io_getevents, ctx, 1L, 1L, &event, NULL) == 1 && event.res == LEN;
}

/* What was written past the page cache is what others read from it when the write is over, also if they were reading meanwhile. */
static void direct_beside_readers(void)
{
    char *buf = aligned_alloc(4096, LEN), *seen = malloc(LEN);
    int fd = open("direct", O_RDWR | O_CREAT | O_DIRECT, 0644), plain = open("direct", O_RDONLY);
    aio_context_t ctx = 0;
    pid_t readers[READERS];
    unsigned written = 0, stale = 0;

    if (fd < 0 || syscall(SYS_io_setup, 4L, &ctx) < 0) {
        posix_skip("no direct or asynchronous writes here");
        goto out;
    }
    memset(buf, 1, LEN);
    CHECK(write_async(ctx, fd, buf));
    for (unsigned i = 0; i < READERS; i++)
        readers[i] = start_reader("direct", seen);
    for (unsigned round = 0; round < ROUNDS; round++) {
        memset(buf, (int)(round % 200 + 2), LEN);
        written += write_async(ctx, fd, buf);
        stale += pread(plain, seen, LEN, 0) != LEN || memcmp(seen, buf, LEN) != 0;
    }
    for (unsigned i = 0; i < READERS; i++) {
        kill(readers[i], SIGKILL);
        waitpid(readers[i], NULL, 0);
    }
    EQ(written, ROUNDS);
    EQ(stale, 0);
    syscall(SYS_io_destroy, ctx);
out:
    close(fd);
    close(plain);
    unlink("direct");
    free(buf);
    free(seen);
}

void posix_aio(void)
{
    direct_beside_readers();
}
