/*
 * rnd_main.c - options, processes and rounds of the random-operation tester.
 *
 *   random_ops [options] DIRECTORY
 *     --seed N          what is done follows from it (default: drawn, and printed)
 *     --processes N     each in a directory of its own (default 2); two more work on files that they share
 *     --seconds S, --ops N      how long each works; with --ops the operations of each process are the same every time
 *     --max-size BYTES  of a file (default: by the seed)
 *     --between CMD     every --between-ops N (2000) operations everything is closed, CMD is run (unmount and mount, say, or caches are
 *                       dropped), and all that is there is compared
 *     --kill CMD        CMD kills the server after up to --kill-after MS (1500); --between brings the mount back; what is there must be a state
 *                       that was not older than the last sync. --rounds N (10) times
 *     --verbose         prints operations
 *
 * Needs an existing directory, of any file system, and leaves nothing in it if all is well. The last line is "N passed, N failed".
 */
#include "tests/fs/random/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES_MAX = 16, SHARED_BURST = 400, ARRIVAL_MAX = 300 /* s */ };

/* Between the parent and its children. */
struct meeting {
    sem_t arrived, go;
    _Atomic bool stop, killing;
    _Atomic uint64_t ops, syncs;
};

static struct meeting *meeting;
static struct rnd_world *this_world; /* for the handler of SIGBUS */

static const struct {
    unsigned weight;
    void (*run)(struct rnd_world *w);
} operations[] = {
    {14, rnd_content_read},  {16, rnd_content_write},   {4, rnd_content_append},
    {4, rnd_content_direct}, {6, rnd_content_truncate}, {2, rnd_content_sync},
    {4, rnd_content_open},   {4, rnd_content_close},    {8, rnd_range_allocate},
    {4, rnd_range_seek},     {5, rnd_range_copy},       {7, rnd_range_map_write},
    {7, rnd_range_map_read}, {6, rnd_names_create},     {3, rnd_names_mkdir},
    {3, rnd_names_symlink},  {3, rnd_names_link},       {6, rnd_names_unlink},
    {2, rnd_names_rmdir},    {8, rnd_names_rename},     {1, rnd_names_tmpfile},
    {2, rnd_meta_chmod},     {2, rnd_meta_chown},       {2, rnd_meta_times},
    {4, rnd_meta_xattr},     {5, rnd_verify_one},
};

static void step(struct rnd_world *w)
{
    unsigned total = 0, i, at;

    for (i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        total += operations[i].weight;
    at = (unsigned)rnd_below(w, total);
    for (i = 0; at >= operations[i].weight; i++)
        at -= operations[i].weight;
    operations[i].run(w);
    w->ops++;
    w->busy[0] = w->busy[1] = NULL;
    if (w->node_count > RND_NODES / 2 && rnd_history_settled(w))
        rnd_world_sweep(w);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Waits for the others, the command between, and the parent's word. False: it is over. */
static bool meet(void)
{
    sem_post(&meeting->arrived);
    while (sem_wait(&meeting->go) < 0)
        ;
    return !meeting->stop;
}

static void bad_page(int sig)
{
    struct rnd_world *w = this_world;

    if (w->dying)
        siglongjmp(w->gone, 1);
    rnd_world_fail(w, w->busy[0], "a mapping gives signal %d", sig);
}

static struct rnd_world *new_world(const struct rnd_options *opt, unsigned number)
{
    struct rnd_world *w = rnd_alloc(sizeof(*w));
    struct stat st;

    w->opt = opt;
    w->number = number;
    w->rng = opt->seed * 1000003 + number;
    snprintf(w->top, sizeof(w->top), "%s/world%u", opt->base, number);
    w->buf = aligned_alloc(4096, opt->max_size + 65536);
    if (!w->buf)
        abort();
    for (unsigned i = 0; i < RND_HANDLES; i++)
        w->handles[i].fd = -1;
    w->root = rnd_world_new_node(w, S_IFDIR | 0700);
    w->root->links = 1;
    if (stat(w->top, &st) < 0)
        rnd_world_fail(w, NULL, "%s: %s", w->top, strerror(errno));
    w->root->ino = st.st_ino;
    w->root->gid = st.st_gid;
    w->dying = opt->kill;
    rnd_history_begin(w);
    this_world = w;
    signal(SIGBUS, bad_page);
    signal(SIGSEGV, bad_page);
    return w;
}

/* Everything is closed, so that the mount can be taken off; files without a name end. */
static bool pause_world(struct rnd_world *w)
{
    bool more;

    rnd_world_note(w, NULL, NULL, "closing everything");
    rnd_content_close_all(w);
    rnd_world_sweep(w);
    more = meet();
    rnd_world_note(w, NULL, NULL, "comparing everything");
    rnd_verify_all(w);
    w->ops++;
    return more;
}

static void run_world(struct rnd_world *w)
{
    const struct rnd_options *opt = w->opt;
    double end = now() + opt->seconds;
    bool more = true;

    while (more) {
        step(w);
        if (opt->between)
            more = w->ops % opt->between_ops != 0 || pause_world(w);
        else if (opt->ops > 0)
            more = w->ops < opt->ops;
        else
            more = w->ops % 64 != 0 || now() < end;
    }
    rnd_world_note(w, NULL, NULL, "the end: comparing everything");
    rnd_verify_all(w);
    rnd_content_close_all(w);
}

/* After the server was killed: lets go of all that was open. */
static void let_go(struct rnd_world *w)
{
    for (unsigned i = 0; i < RND_HANDLES; i++) {
        if (w->handles[i].fd < 0)
            continue;
        if (w->handles[i].map)
            munmap(w->handles[i].map, w->opt->max_size);
        w->handles[i].node->handles--;
        w->handles[i].fd = -1;
        w->handles[i].map = NULL;
    }
    if (w->view)
        munmap(w->view, w->view_len);
    w->view = NULL;
    close_range(3, ~0u, 0);
}

static void run_killed(struct rnd_world *w)
{
    if (sigsetjmp(w->gone, 1) != 0) {
        if (!meeting->killing)
            rnd_world_fail(w, w->busy[0], "the server is gone, and nobody killed it");
        rnd_history_cut(w);
        let_go(w);
        bool more = meet();
        w->dying = false; /* nobody kills while the rest looks */
        w->ops++;
        rnd_world_note(w, NULL, NULL, "comparing everything after a kill");
        rnd_history_verify(w);
        w->dying = true;
        sem_post(&meeting->arrived);
        while (sem_wait(&meeting->go) < 0)
            ;
        if (!more)
            return;
    }
    for (;;)
        step(w);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

_Noreturn static void child(const struct rnd_options *opt, unsigned number)
{
    struct rnd_world *w = new_world(opt, number);

    if (opt->kill)
        run_killed(w);
    else
        run_world(w);
    if (nftw(w->top, remove_one, 20, FTW_DEPTH | FTW_PHYS) != 0)
        rnd_world_fail(w, NULL, "removing everything: %s", strerror(errno));
    meeting->ops += w->ops;
    meeting->syncs += w->syncs;
    exit(0);
}

_Noreturn static void shared_child(const struct rnd_options *opt, unsigned number)
{
    uint64_t rng = opt->seed * 77 + number, ops = 0;
    double end = now() + opt->seconds;
    bool more = true;

    while (more) {
        rnd_shared_run(opt, number, &rng, SHARED_BURST);
        ops += SHARED_BURST;
        if (opt->between)
            more = ops % (opt->between_ops + SHARED_BURST) >= SHARED_BURST || meet();
        else
            more = opt->ops > 0 ? ops < opt->ops : now() < end;
    }
    meeting->ops += ops;
    exit(0);
}

/* The children; those that ended are 0. */
static pid_t children[PROCESSES_MAX + 2];
static unsigned child_count;

static void end_children(void)
{
    for (unsigned i = 0; i < child_count; i++)
        if (children[i] > 0)
            kill(children[i], SIGKILL);
}

/* Takes in those that have ended. False if one of them failed. */
static bool reap(bool wait_for_one)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, wait_for_one ? 0 : WNOHANG)) > 0) {
        for (unsigned i = 0; i < child_count; i++)
            if (children[i] == pid)
                children[i] = 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            if (WIFSIGNALED(status))
                fprintf(stderr, "FAILED: a process of the test ended by signal %d\n",
                        WTERMSIG(status));
            return false;
        }
    }
    return true;
}

/* Every child waits for us. */
static bool all_arrived(void)
{
    double end = now() + ARRIVAL_MAX;

    for (unsigned i = 0; i < child_count;) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec++;
        if (sem_timedwait(&meeting->arrived, &t) == 0)
            i++;
        else if (!reap(false))
            return false;
        else if (now() > end) {
            fprintf(stderr, "FAILED: a process does not end its operations\n");
            return false;
        }
    }
    return true;
}

static void all_go(void)
{
    for (unsigned i = 0; i < child_count; i++)
        sem_post(&meeting->go);
}

static bool run_command(const char *command)
{
    if (system(command) == 0)
        return true;
    fprintf(stderr, "FAILED: %s\n", command);
    return false;
}

static bool lead_between(const struct rnd_options *opt)
{
    double end = now() + opt->seconds;

    for (uint64_t done = opt->between_ops; !meeting->stop; done += opt->between_ops) {
        if (!all_arrived() || !rnd_shared_check(opt) || !run_command(opt->between) ||
            !rnd_shared_check(opt))
            return false;
        meeting->stop = opt->ops > 0 ? done >= opt->ops : now() > end;
        all_go();
    }
    return true;
}

static bool lead_kills(const struct rnd_options *opt)
{
    struct rnd_world w = {.rng = opt->seed};

    for (unsigned round = 1; round <= opt->rounds; round++) {
        usleep((useconds_t)rnd_below(&w, opt->kill_after * 1000u));
        meeting->killing = true;
        if (!run_command(opt->kill) || !all_arrived() || !run_command(opt->between))
            return false;
        meeting->stop = round == opt->rounds;
        all_go();
        if (!all_arrived())
            return false;
        meeting->killing = false;
        all_go();
        if (round % 50 == 0)
            fprintf(stderr, "%u kills\n", round);
    }
    return true;
}

static bool sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    return good;
}

static void start(const struct rnd_options *opt)
{
    char path[RND_PATH];

    for (unsigned i = 0; i < opt->processes; i++) {
        snprintf(path, sizeof(path), "%s/world%u", opt->base, i);
        if (mkdir(path, 0700) < 0) {
            fprintf(stderr, "%s: %s\n", path, strerror(errno));
            exit(2);
        }
    }
    if (opt->kill && !sync_dir(opt->base))
        exit(2);
    if (!opt->kill)
        rnd_shared_prepare(opt);
    for (unsigned i = 0; i < opt->processes + (opt->kill ? 0 : 2); i++) {
        children[i] = fork();
        if (children[i] < 0)
            abort();
        if (children[i] > 0) {
            child_count++;
            continue;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (i < opt->processes)
            child(opt, i);
        shared_child(opt, i - opt->processes);
    }
}

static uint64_t number_of(const char *s)
{
    char *end;
    uint64_t n = strtoull(s, &end, 10);

    if (*s == '\0' || *end != '\0') {
        fprintf(stderr, "not a number: %s\n", s);
        exit(2);
    }
    return n;
}

static void parse(int argc, char **argv, struct rnd_options *opt)
{
    static const struct option longs[] = {
        {"seed", 1, 0, 's'},        {"processes", 1, 0, 'p'}, {"seconds", 1, 0, 't'},
        {"ops", 1, 0, 'o'},         {"max-size", 1, 0, 'm'},  {"between", 1, 0, 'b'},
        {"between-ops", 1, 0, 'B'}, {"kill", 1, 0, 'k'},      {"kill-after", 1, 0, 'K'},
        {"rounds", 1, 0, 'r'},      {"verbose", 0, 0, 'v'},   {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 's':
            opt->seed = number_of(optarg);
            break;
        case 'p':
            opt->processes = (unsigned)number_of(optarg);
            break;
        case 't':
            opt->seconds = (double)number_of(optarg);
            break;
        case 'o':
            opt->ops = number_of(optarg);
            break;
        case 'm':
            opt->max_size = number_of(optarg);
            break;
        case 'b':
            opt->between = optarg;
            break;
        case 'B':
            opt->between_ops = number_of(optarg);
            break;
        case 'k':
            opt->kill = optarg;
            break;
        case 'K':
            opt->kill_after = (unsigned)number_of(optarg);
            break;
        case 'r':
            opt->rounds = (unsigned)number_of(optarg);
            break;
        case 'v':
            opt->verbose = true;
            break;
        default:
            exit(2);
        }
    }
    if (optind + 1 != argc || opt->processes > PROCESSES_MAX || (opt->kill && !opt->between)) {
        fprintf(stderr, "usage: random_ops [options, see rnd_main.c] DIRECTORY\n");
        exit(2);
    }
    opt->base = argv[optind];
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {65536, 200000, 300000, 1 << 20, 3 << 20};
    struct rnd_options opt = {
        .processes = 2, .between_ops = 2000, .kill_after = 1500, .rounds = 10};
    bool good = true;
    unsigned total;

    parse(argc, argv, &opt);
    if (opt.seed == 0)
        opt.seed = (uint64_t)(now() * 1e6) % 1000000007u + 1;
    if (opt.max_size < 65536)
        opt.max_size = opt.kill ? 65536 : sizes[opt.seed % 5];
    if (opt.seconds <= 0 && opt.ops == 0)
        opt.seconds = 10;
    printf("seed %llu, files of up to %zu bytes\n", (unsigned long long)opt.seed, opt.max_size);
    fflush(stdout);
    umask(0);
    meeting =
        mmap(NULL, sizeof(*meeting), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (meeting == MAP_FAILED || sem_init(&meeting->arrived, 1, 0) < 0 ||
        sem_init(&meeting->go, 1, 0) < 0)
        abort();
    start(&opt);
    total = child_count;
    if (opt.kill)
        good = lead_kills(&opt);
    else if (opt.between)
        good = lead_between(&opt);
    good = good && reap(true);
    end_children();
    while (!good && waitpid(-1, NULL, 0) > 0)
        ;
    good = good && (opt.kill || (rnd_shared_check(&opt) && rnd_shared_remove(&opt)));
    printf("%llu operations", (unsigned long long)meeting->ops);
    if (opt.kill)
        printf(", %llu syncs between %u kills", (unsigned long long)meeting->syncs, opt.rounds);
    printf("\n%u passed, %d failed\n", good ? total : 0, good ? 0 : 1);
    return good ? 0 : 1;
}
