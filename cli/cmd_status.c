/* obscurafs status: is it mounted, what is pending, how was the last sync. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/progress.h"
#include "crypto/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *text_of(const cJSON *json, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, key));
    return text ? text : "";
}

static double number_of(const cJSON *json, const char *key)
{
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(json, key);
    return cJSON_IsNumber(n) ? n->valuedouble : 0;
}

static const char *explain(const char *state)
{
    static const struct {
        const char *state, *text;
    } texts[] = {{"idle", "everything is on the store"},
                 {"pending", "waits for a quiet moment"},
                 {"busy", "syncing"},
                 {"offline", "the store cannot be reached; tries again by itself"},
                 {"paused", "waits for you"},
                 {"behind", "the store does not show everything yet"},
                 {"alarm", "ALARM: the store contradicts what it showed before"},
                 {"no-store", "no store; add one with: obscurafs store add VAULT URL"}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strcmp(state, texts[i].state) == 0)
            return texts[i].text;
    return state;
}

static void print_mounted(const cJSON *s)
{
    char bytes[16], when[64] = "never";
    time_t last = (time_t)number_of(s, "last_sync");
    struct tm tm;
    if (last && localtime_r(&last, &tm))
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
    printf("vault       %s\n", text_of(s, "vault"));
    printf("mounted at  %s%s\n", text_of(s, "mountpoint"),
           cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(s, "read_only")) ? " (read only)" : "");
    if (*text_of(s, "failure"))
        printf("failure     %s\n", text_of(s, "failure"));
    if (control_silent(s)) {
        printf("state       the process that serves it ");
        if (cJSON_HasObjectItem(s, "pid"))
            printf("(%.0f) ", number_of(s, "pid"));
        puts("does not answer");
        return;
    }
    printf("store       %s\n", *text_of(s, "store") ? text_of(s, "store") : "none");
    printf("sync        %s\n", explain(text_of(s, "state")));
    printf("pending     %s, %.0f changes\n",
           progress_bytes((uint64_t)number_of(s, "pending_bytes"), bytes),
           number_of(s, "pending_changes"));
    printf("last sync   %s\n", when);
    if (*text_of(s, "last_error"))
        printf("last error  %s\n", text_of(s, "last_error"));
}

static void print_json(const cJSON *s)
{
    char *text = cJSON_PrintUnformatted(s);
    puts(text ? text : "{}");
    cJSON_free(text);
}

static cJSON *locked_json(const char *path, const char *id)
{
    cJSON *s = cJSON_CreateObject();
    cJSON_AddStringToObject(s, "vault", path);
    cJSON_AddStringToObject(s, "id", id);
    cJSON_AddStringToObject(s, "state", vault_in_use(path) ? "in-use" : "locked");
    return s;
}

static int show_one(const char *what, bool json)
{
    cJSON *status;
    char *sock = control_find(what, &status);
    if (sock) {
        cJSON_DeleteItemFromObject(status, "code");
        cJSON_AddBoolToObject(status, "mounted", true);
        if (json)
            print_json(status);
        else
            print_mounted(status);
        cJSON_Delete(status);
        free(sock);
        return EXIT_OK;
    }
    uint8_t id[32];
    uint32_t tag;
    char hex[17];
    int rc = common_peek(what, id, &tag);
    if (rc != 0)
        return rc;
    for (int i = 0; i < 8; i++)
        snprintf(hex + 2 * i, 3, "%02x", id[i]);
    cJSON *s = locked_json(what, hex);
    cJSON_AddBoolToObject(s, "mounted", false);
    if (json)
        print_json(s);
    else
        printf("vault       %s\n%s\n", what,
               strcmp(text_of(s, "state"), "locked") == 0 ? "locked"
                                                          : "in use by another obscurafs process");
    cJSON_Delete(s);
    return EXIT_OK;
}

struct show_all {
    bool json;
    int n;
};

static void show_each(void *ctx, const char *path, const cJSON *status)
{
    struct show_all *all = ctx;
    if (all->json)
        print_json(status);
    else {
        if (all->n)
            putchar('\n');
        print_mounted(status);
    }
    all->n++;
}

static int show(const char *what, bool json)
{
    if (what)
        return show_one(what, json);
    struct show_all all = {.json = json};
    control_each(show_each, &all);
    if (!all.n && !json)
        puts("no vault of yours is mounted");
    return EXIT_OK;
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
                                          {"watch", no_argument, NULL, 'w'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    bool json = false, watch = false;
    int c;
    while ((c = cmd_getopt(&cmd_status, argc, argv, "wh", longs)) != -1) {
        if (c == 'j')
            json = true;
        else if (c == 'w')
            watch = true;
    }
    cmd_operands(&cmd_status, argc, 0, 1);
    control_init();
    const char *what = optind < argc ? argv[optind] : NULL;
    for (;;) {
        if (watch && !json && isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        int rc = show(what, json);
        fflush(stdout);
        if (!watch || rc != 0)
            return rc;
        sleep(1);
    }
}

const struct cmd cmd_status = {
    "status", run, "[OPTIONS] [VAULT|MOUNTPOINT]",
    "Show whether a vault is mounted, what is pending and how the last sync went",
    "      --json             one JSON object a line\n"
    "  -w, --watch            again every second\n"};
