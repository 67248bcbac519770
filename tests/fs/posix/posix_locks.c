#include "tests/fs/posix/posix.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static int lock(int fd, int cmd, short type, off_t start, off_t len)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

    return fcntl(fd, cmd, &l);
}

/* What another process gets when it asks for the lock: 0 or an errno value. */
static int elsewhere(const char *path, short type, off_t start, off_t len)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        int fd = open(path, O_RDWR);
        _exit(lock(fd, F_SETLK, type, start, len) == 0 ? 0 : errno);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int flock_elsewhere(const char *path, int op)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        int fd = open(path, O_RDWR);
        _exit(flock(fd, op | LOCK_NB) == 0 ? 0 : errno);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void whole_file(void)
{
    int a = open("f", O_CREAT | O_RDWR, 0644), b = open("f", O_RDWR);

    OK(flock(a, LOCK_SH));
    OK(flock(b, LOCK_SH | LOCK_NB));
    FAILS(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    OK(flock(b, LOCK_UN));
    OK(flock(a, LOCK_EX));
    FAILS(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    EQ(flock_elsewhere("f", LOCK_SH), EWOULDBLOCK);
    int copy = dup(a);
    close(a); /* the duplicate still holds it */
    EQ(flock_elsewhere("f", LOCK_EX), EWOULDBLOCK);
    close(copy);
    EQ(flock_elsewhere("f", LOCK_EX), 0);
    OK(flock(b, LOCK_EX | LOCK_NB));
    OK(flock(b, LOCK_UN));
    close(b);
    FAILS(flock(b, LOCK_SH), EBADF);
}

static void records(void)
{
    int fd = open("r", O_CREAT | O_RDWR, 0644);

    OK(lock(fd, F_SETLK, F_WRLCK, 100, 50));
    EQ(elsewhere("r", F_WRLCK, 100, 1), EAGAIN);
    EQ(elsewhere("r", F_RDLCK, 149, 1), EAGAIN);
    EQ(elsewhere("r", F_WRLCK, 150, 10), 0);
    EQ(elsewhere("r", F_WRLCK, 0, 100), 0);
    EQ(elsewhere("r", F_WRLCK, 0, 0), EAGAIN);
    OK(lock(fd, F_SETLK, F_UNLCK, 120, 10)); /* splits it */
    EQ(elsewhere("r", F_WRLCK, 120, 10), 0);
    EQ(elsewhere("r", F_WRLCK, 119, 1), EAGAIN);
    EQ(elsewhere("r", F_WRLCK, 130, 1), EAGAIN);
    OK(lock(fd, F_SETLK, F_RDLCK, 100, 50)); /* turns into a shared one */
    EQ(elsewhere("r", F_RDLCK, 100, 50), 0);
    EQ(elsewhere("r", F_WRLCK, 100, 50), EAGAIN);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
    OK(fcntl(fd, F_GETLK, &l));
    EQ(l.l_type, F_UNLCK); /* own locks do not stand in the way */
    int other = open("r", O_RDWR);
    close(other); /* closing any descriptor of the file drops them all */
    EQ(elsewhere("r", F_WRLCK, 100, 50), 0);
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
    EQ(elsewhere("r", F_RDLCK, 1LL << 40, 1), EAGAIN);
    close(fd);
    OK(fd = open("r", O_RDONLY));
    FAILS(lock(fd, F_SETLK, F_WRLCK, 0, 1), EBADF);
    OK(lock(fd, F_SETLK, F_RDLCK, 0, 1));
    close(fd);
    FAILS(lock(fd, F_SETLK, F_RDLCK, 0, 1), EBADF);
}

static void who_holds(void)
{
    int fd = open("w", O_CREAT | O_RDWR, 0644), up[2], down[2];
    char c;

    OK(pipe(up));
    OK(pipe(down));
    pid_t pid = fork();
    if (pid == 0) {
        int own = open("w", O_RDWR);
        lock(own, F_SETLK, F_WRLCK, 10, 5);
        (void)!write(up[1], "x", 1);
        (void)!read(down[0], &c, 1);
        _exit(0);
    }
    EQ(read(up[0], &c, 1), 1);
    struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 100};
    OK(fcntl(fd, F_GETLK, &l));
    EQ(l.l_type, F_WRLCK);
    EQ(l.l_start, 10);
    EQ(l.l_len, 5);
    EQ(l.l_pid, pid);
    FAILS(lock(fd, F_SETLK, F_WRLCK, 0, 100), EAGAIN);
    EQ(write(down[1], "x", 1), 1);
    OK(lock(fd, F_SETLKW, F_WRLCK, 0, 100)); /* waits for the child to end */
    waitpid(pid, NULL, 0);
    close(fd);
    for (int i = 0; i < 2; i++) {
        close(up[i]);
        close(down[i]);
    }
}

static void open_file_locks(void)
{
    int a = open("o", O_CREAT | O_RDWR, 0644), b = open("o", O_RDWR);

    OK(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
    FAILS(lock(b, F_OFD_SETLK, F_WRLCK, 5, 10), EAGAIN); /* even inside one process */
    OK(lock(b, F_OFD_SETLK, F_WRLCK, 10, 10));
    FAILS(lock(b, F_SETLK, F_RDLCK, 0, 1), EAGAIN);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 5};
    OK(fcntl(b, F_OFD_GETLK, &l));
    EQ(l.l_type, F_WRLCK);
    EQ(l.l_pid, -1);
    int c = open("o", O_RDWR);
    close(c); /* does not drop it */
    FAILS(lock(b, F_OFD_SETLK, F_WRLCK, 0, 1), EAGAIN);
    close(a);
    OK(lock(b, F_OFD_SETLK, F_WRLCK, 0, 10));
    close(b);
}

/* A waiting lock can be interrupted. */
static void on_alarm(int sig)
{
    (void)sig;
}

static void interrupted(void)
{
    struct sigaction act = {.sa_handler = on_alarm}, old;
    int fd = open("i", O_CREAT | O_RDWR, 0644), up[2], status;
    char c;

    OK(pipe(up));
    pid_t pid = fork();
    if (pid == 0) {
        int own = open("i", O_RDWR);
        lock(own, F_SETLK, F_WRLCK, 0, 0);
        (void)!write(up[1], "x", 1);
        pause();
        _exit(0);
    }
    EQ(read(up[0], &c, 1), 1);
    sigaction(SIGALRM, &act, &old);
    alarm(1);
    FAILS(lock(fd, F_SETLKW, F_WRLCK, 0, 0), EINTR);
    alarm(0);
    sigaction(SIGALRM, &old, NULL);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 0)); /* went with its holder */
    close(fd);
    close(up[0]);
    close(up[1]);
}

void posix_locks(void)
{
    whole_file();
    records();
    who_holds();
    open_file_locks();
    interrupted();
}
