/* obscurafs info: what can be said of a vault without unlocking it. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/progress.h"
#include "crypto/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct slots {
    unsigned count;
    struct slot_cost cost[16];
};

static void read_slots(const char *path, struct slots *slots)
{
    char dir[4096];
    slots->count = 0;
    if (snprintf(dir, sizeof(dir), "%s/slots", path) >= (int)sizeof(dir))
        return;
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d)) && slots->count < 16) {
        uint8_t slot[SLOT_LEN];
        int fd = e->d_name[0] == '.'
                     ? -1
                     : openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            continue;
        if (read(fd, slot, sizeof(slot)) == (ssize_t)sizeof(slot) &&
            slot_describe(slot, &slots->cost[slots->count]) == 0)
            slots->count++;
        close(fd);
    }
    if (d)
        closedir(d);
}

static uint64_t dir_bytes(int at, const char *name)
{
    uint64_t sum = 0;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    if (!d) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    while ((e = readdir(d))) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        sum += S_ISDIR(st.st_mode) ? dir_bytes(fd, e->d_name) : (uint64_t)st.st_blocks * 512;
    }
    closedir(d);
    return sum;
}

static void print_json(const char *path, const char *id, uint32_t tag, const struct slots *slots,
                       uint64_t bytes)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "vault", path);
    cJSON_AddStringToObject(json, "id", id);
    cJSON_AddNumberToObject(json, "device", tag);
    cJSON_AddNumberToObject(json, "format", 1);
    cJSON_AddNumberToObject(json, "suite", 1);
    cJSON_AddNumberToObject(json, "disk_bytes", (double)bytes);
    cJSON *list = cJSON_AddArrayToObject(json, "slots");
    for (unsigned i = 0; i < slots->count; i++) {
        cJSON *slot = cJSON_CreateObject();
        cJSON_AddStringToObject(slot, "type", "passphrase");
        cJSON_AddNumberToObject(slot, "argon2id_passes", slots->cost[i].ops);
        cJSON_AddNumberToObject(slot, "argon2id_bytes", (double)slots->cost[i].mem);
        cJSON_AddItemToArray(list, slot);
    }
    char *text = cJSON_Print(json);
    puts(text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(json);
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    bool json = false;
    uint8_t id[32];
    uint32_t tag;
    char hex[65], size[16];
    struct slots slots;
    int c;
    while ((c = cmd_getopt(&cmd_info, argc, argv, "h", longs)) != -1)
        if (c == 'j')
            json = true;
    cmd_operands(&cmd_info, argc, 1, 1);
    const char *path = argv[optind];
    int rc = common_peek(path, id, &tag);
    if (rc != 0)
        return rc;
    sodium_bin2hex(hex, sizeof(hex), id, 32);
    read_slots(path, &slots);
    uint64_t bytes = dir_bytes(AT_FDCWD, path);
    if (json) {
        print_json(path, hex, tag, &slots, bytes);
        return EXIT_OK;
    }
    printf(
        "vault       %s\nid          %s\ndevice      %06x\nformat      1 (suite 1: XChaCha20-Poly1305, BLAKE2b, Ed25519, X25519, "
        "Argon2id)\non disk     %s\n",
        path, hex, tag, progress_bytes(bytes, size));
    for (unsigned i = 0; i < slots.count; i++)
        printf("slot        passphrase, Argon2id t=%u, %s\n", slots.cost[i].ops,
               progress_bytes(slots.cost[i].mem, size));
    if (!slots.count)
        printf(
            "slot        none can be read: this device cannot unlock the vault; clone it again from a store\n");
    printf("state       %s\n", vault_in_use(path) ? "in use (see obscurafs status)" : "locked");
    return EXIT_OK;
}

const struct cmd cmd_info = {"info", run, "[OPTIONS] VAULT",
                             "Show ids, format, slots and size, without unlocking",
                             "      --json             as JSON\n"};
