#include "cli/control.h"

#include "crypto/bytes.h"
#include "crypto/err.h"
#include "crypto/kdf.h"

#include <errno.h>
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8

static void wiping_free(void *p)
{
    if (p)
        sodium_memzero(p, malloc_usable_size(p));
    free(p);
}

void control_init(void)
{
    cJSON_Hooks hooks = {.malloc_fn = malloc, .free_fn = wiping_free};
    cJSON_InitHooks(&hooks);
}

bool control_dir_is_ours(const char *dir)
{
    struct stat st;
    return lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & 077) == 0;
}

size_t control_dirs(char dirs[CONTROL_DIRS][CONTROL_DIR_MAX])
{
    const char *set = getenv("XDG_RUNTIME_DIR");
    char usual[32];
    size_t n = 0;

    snprintf(usual, sizeof(usual), "/run/user/%u", (unsigned)geteuid());
    bool own_place = set && *set == '/' && strcmp(set, usual) != 0 &&
                     strlen(set) + sizeof("/obscurafs") <= CONTROL_DIR_MAX &&
                     control_dir_is_ours(set);
    if (own_place) {
        snprintf(dirs[n++], CONTROL_DIR_MAX, "%s/obscurafs", set);
        return n;
    }
    if (control_dir_is_ours(usual))
        snprintf(dirs[n++], CONTROL_DIR_MAX, "%s/obscurafs", usual);
    if (geteuid() == 0) /* mounts of fstab are made before anybody has logged in */
        snprintf(dirs[n++], CONTROL_DIR_MAX, "/run/obscurafs");
    snprintf(dirs[n++], CONTROL_DIR_MAX, "/tmp/obscurafs-%u", (unsigned)geteuid());
    return n;
}

static int make_dir(char dir[CONTROL_DIR_MAX])
{
    char dirs[CONTROL_DIRS][CONTROL_DIR_MAX];
    size_t n = control_dirs(dirs);
    int err = ERR_DENIED;

    for (size_t i = 0; i < n; i++) {
        if (mkdir(dirs[i], 0700) != 0 && errno != EEXIST)
            err = err_from_errno(errno);
        else if (control_dir_is_ours(
                     dirs[i])) { /* else somebody made it first in /tmp, to listen in our place */
            memcpy(dir, dirs[i], CONTROL_DIR_MAX);
            return 0;
        }
    }
    return err;
}

int control_path(const uint8_t vault_id[32], uint32_t device_tag, char *path, size_t size)
{
    char dir[CONTROL_DIR_MAX], hex[17];
    uint8_t hash[KDF_HASH_LEN];
    struct kdf_hasher h;
    uint8_t tag[4];

    int err = make_dir(dir);
    if (err)
        return err;
    bytes_le32(tag, device_tag);
    kdf_hash_init(&h, "obs-control");
    kdf_hash_update(&h, vault_id, 32);
    kdf_hash_update(&h, tag, sizeof(tag));
    kdf_hash_final(&h, hash);
    sodium_bin2hex(hex, sizeof(hex), hash, 8);
    int n = snprintf(path, size, "%s/%s.sock", dir, hex);
    return n < 0 || (size_t)n >= size ? ERR_NAMETOOLONG : 0;
}

/* "X.where" of "X.sock". */
static bool where_path(const char *sock, char path[256])
{
    size_t len = strlen(sock);
    if (len < 5 || strcmp(sock + len - 5, ".sock") != 0)
        return false;
    return snprintf(path, 256, "%.*s.where", (int)(len - 5), sock) < 256;
}

void control_where_put(const char *sock, const char *vault, const char *mountpoint)
{
    char path[256];
    cJSON *where = cJSON_CreateObject();
    cJSON_AddStringToObject(where, "vault", vault);
    cJSON_AddStringToObject(where, "mountpoint", mountpoint);
    cJSON_AddNumberToObject(where, "pid", getpid()); /* one whose queue is full does not tell it */
    char *text = cJSON_PrintUnformatted(where);
    FILE *f = text && where_path(sock, path) ? fopen(path, "we") : NULL;
    if (f) {
        fputs(text, f);
        fclose(f);
    }
    cJSON_free(text);
    cJSON_Delete(where);
}

void control_where_remove(const char *sock)
{
    char path[256];
    if (where_path(sock, path))
        unlink(path);
}

cJSON *control_where_get(const char *sock)
{
    char path[256], text[CONTROL_LINE_MAX];
    FILE *f = where_path(sock, path) ? fopen(path, "re") : NULL;
    if (!f)
        return NULL;
    size_t len = fread(text, 1, sizeof(text), f);
    fclose(f);
    return control_parse(text, len);
}

/* cJSON parses recursively up to a limit of its own (1000); ours refuses what no peer of ours sends. */
static bool shallow(const char *line, size_t len)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        char c = line[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > DEPTH_MAX)
                return false;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return true;
}

cJSON *control_parse(const char *line, size_t len)
{
    if (len > CONTROL_LINE_MAX || memchr(line, '\0', len) || !shallow(line, len))
        return NULL;
    cJSON *json = cJSON_ParseWithLength(line, len);
    if (json && !cJSON_IsObject(json)) {
        cJSON_Delete(json);
        json = NULL;
    }
    return json;
}

int control_code(const cJSON *last)
{
    const cJSON *code = cJSON_GetObjectItemCaseSensitive(last, "code");
    return cJSON_IsNumber(code) ? code->valueint : ERR_FORMAT;
}

const char *control_why(const cJSON *last)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(last, "why"));
}
