/*
 * A mount without the command line program: makes the vault if there is none (a fixed passphrase and fixed keys), mounts it in the
 * foreground, prints "ready", and ends with the mount or at SIGTERM. For tests under sanitizers, and with --counts for
 * measuring how many requests of each kind the kernel sent.
 *
 *   mini_mount [--counts] [--ro] [-o OPTIONS] VAULT MOUNTPOINT
 */
#include "tests/unit/keyring_fixture.h"

#include "crypto/err.h"
#include "crypto/log.h"
#include "crypto/secret.h"
#include "fs/fusefs_loop.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECRET "correct horse battery staple"

static struct fusefs *mounted;

static void on_signal(int sig)
{
    fusefs_stop(mounted);
}

static void ready(void *ctx)
{
    puts("ready");
    fflush(stdout);
}

static int make(const char *path)
{
    struct slot_cost cost = {SLOT_OPS_MIN, SLOT_MEM_MIN};
    struct keyring *keyring = keyring_fixture(1);
    uint8_t id[32];
    struct vault_new params = {.path = path,
                               .vault_id = id,
                               .keyring = keyring,
                               .secret = SECRET,
                               .secret_len = strlen(SECRET),
                               .cost = &cost,
                               .with_root = true};
    int err = ERR_NOMEM;

    if (keyring) {
        secret_random(id, sizeof(id));
        err = vault_create(&params);
    }
    keyring_free(keyring);
    return err;
}

static void print_counts(void)
{
    static const char *const names[64] = {
        [1] = "LOOKUP",      [2] = "FORGET",       [3] = "GETATTR",    [4] = "SETATTR",
        [5] = "READLINK",    [6] = "SYMLINK",      [8] = "MKNOD",      [9] = "MKDIR",
        [10] = "UNLINK",     [11] = "RMDIR",       [12] = "RENAME",    [13] = "LINK",
        [14] = "OPEN",       [15] = "READ",        [16] = "WRITE",     [17] = "STATFS",
        [20] = "FSYNC",      [21] = "SETXATTR",    [22] = "GETXATTR",  [23] = "LISTXATTR",
        [25] = "FLUSH",      [26] = "INIT",        [27] = "OPENDIR",   [28] = "READDIR",
        [30] = "FSYNCDIR",   [35] = "CREATE",      [36] = "INTERRUPT", [42] = "BATCH_FORGET",
        [43] = "FALLOCATE",  [44] = "READDIRPLUS", [45] = "RENAME2",   [46] = "LSEEK",
        [47] = "COPY_RANGE", [51] = "TMPFILE"};
    uint64_t counts[64], total = 0;

    fusefs_loop_counts(mounted->loop, counts);
    for (unsigned i = 0; i < 64; i++) {
        total += counts[i];
        if (counts[i] > 0 && names[i])
            printf("%s %" PRIu64 "\n", names[i], counts[i]);
        else if (counts[i] > 0)
            printf("operation %u %" PRIu64 "\n", i, counts[i]);
    }
    printf("total %" PRIu64 ", inodes still held %zu\n", total,
           fusefs_lookup_count(mounted->lookup));
}

static int serve(struct vault *vault, const struct fusefs_options *options, bool counts)
{
    struct sigaction act = {.sa_handler = on_signal};
    char why[200];
    int err = fusefs_mount(&mounted, vault, options, why);

    if (err < 0) {
        fprintf(stderr, "mini_mount: %s\n", why);
        return err;
    }
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    err = fusefs_run(mounted, ready, NULL);
    if (counts)
        print_counts();
    fusefs_free(mounted);
    return err;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"counts", no_argument, NULL, 'c'},
                                          {"ro", no_argument, NULL, 'r'},
                                          {"debug", no_argument, NULL, 'd'},
                                          {NULL, 0, NULL, 0}};
    struct fusefs_options options = {0};
    struct vault *vault = NULL;
    char why[200] = "";
    bool counts = false;
    int c, err, closed;

    while ((c = getopt_long(argc, argv, "o:", longs, NULL)) != -1) {
        if (c == 'o')
            options.extra = optarg;
        else if (c == 'c')
            counts = true;
        else if (c == 'r')
            options.read_only = true;
        else if (c == 'd')
            log_set_level(LOG_LEVEL_DEBUG);
        else
            return 1;
    }
    if (argc - optind != 2) {
        fprintf(stderr,
                "usage: mini_mount [--counts] [--ro] [--debug] [-o OPTIONS] VAULT MOUNTPOINT\n");
        return 1;
    }
    options.mountpoint = argv[optind + 1];
    err = secret_init();
    if (err == 0 && access(argv[optind], F_OK) < 0)
        err = make(argv[optind]);
    if (err == 0)
        err = vault_open(&vault, argv[optind], SECRET, strlen(SECRET),
                         options.read_only ? VAULT_READ_ONLY : VAULT_READ_WRITE, why);
    if (err == 0)
        err = serve(vault, &options, counts);
    closed = vault_close(vault);
    if (err == 0)
        err = closed;
    if (err < 0)
        fprintf(stderr, "mini_mount: %s%s%s\n", err_text(err), why[0] ? ": " : "", why);
    return err < 0 ? 1 : 0;
}
