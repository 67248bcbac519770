/* obscurafs check: verifies every sealed byte and every reference. */
#include "cli/cmd.h"
#include "cli/common.h"
#include "cli/control.h"
#include "cli/progress.h"
#include "crypto/err.h"
#include "fs/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct counts {
    double files, bytes, packs, batches, problems;
};

static struct progress bar;
static bool as_json;

static void show(void *ctx, uint64_t done, uint64_t total)
{
    progress_show(&bar, ctx ? ctx : "checking", done, total, true);
}

/* A name may hold anything, also what a terminal would obey. */
static void print_name(const char *name)
{
    for (const char *p = name; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < ' ' || c == 0x7f || c == '\\')
            printf("\\%03o", c);
        else
            putchar(c);
    }
}

static void problem(void *ctx, const char *path, const char *what)
{
    progress_end(&bar);
    if (!as_json) {
        print_name(path);
        printf(": %s\n", what);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "path", path);
    cJSON_AddStringToObject(json, "what", what);
    char *text = cJSON_PrintUnformatted(json);
    puts(text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(json);
}

/* Checks say NULL for what has no name, and "" for the root. */
static void named_problem(void *ctx, const char *path, const char *what)
{
    problem(ctx, !path ? "(no name)" : *path ? path : "/", what);
}

static void show_line(void *ctx, const cJSON *line)
{
    const cJSON *p = cJSON_GetObjectItemCaseSensitive(line, "problem");
    const cJSON *done = cJSON_GetObjectItemCaseSensitive(line, "done"),
                *total = cJSON_GetObjectItemCaseSensitive(line, "total");
    if (p) {
        const char *path = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(p, "path"));
        const char *what = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(p, "what"));
        problem(NULL, path ? path : "?", what ? what : "?");
    } else if (cJSON_IsNumber(done) && cJSON_IsNumber(total)) {
        show(NULL, (uint64_t)done->valuedouble, (uint64_t)total->valuedouble);
    }
}

static int report(int err, const char *what, const char *why, const struct counts *n)
{
    char bytes[16];
    progress_end(&bar);
    if (err)
        return cmd_fail(err, what, why);
    if (as_json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddNumberToObject(json, "files", n->files);
        cJSON_AddNumberToObject(json, "bytes", n->bytes);
        cJSON_AddNumberToObject(json, "packs", n->packs);
        cJSON_AddNumberToObject(json, "batches", n->batches);
        cJSON_AddNumberToObject(json, "problems", n->problems);
        char *text = cJSON_PrintUnformatted(json);
        puts(text ? text : "{}");
        cJSON_free(text);
        cJSON_Delete(json);
    } else {
        printf("%.0f files and folders, %s checked here", n->files,
               progress_bytes((uint64_t)n->bytes, bytes));
        if (n->packs > 0 || n->batches > 0)
            printf("; %.0f packs and %.0f batches on the store", n->packs, n->batches);
        printf(": %s\n", n->problems > 0 ? "DAMAGE FOUND" : "all is well");
    }
    return n->problems > 0 ? EXIT_CHECK_FAILED : EXIT_OK;
}

static int check_mounted(const char *what, const char *sock, const cJSON *status, bool store)
{
    const char *mountpoint =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "mountpoint"));
    if (mountpoint)
        common_flush_mount(mountpoint);
    cJSON *request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "do", "check");
    cJSON_AddBoolToObject(request, "store", store);
    cJSON *last = control_call(sock, request, show_line, NULL, false);
    struct counts n = {0};
    static const char *const keys[] = {"files", "bytes", "packs", "batches", "problems"};
    double *fields[] = {&n.files, &n.bytes, &n.packs, &n.batches, &n.problems};
    for (int i = 0; i < 5; i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(last, keys[i]);
        if (cJSON_IsNumber(v))
            *fields[i] = v->valuedouble;
    }
    int rc = last ? report(control_code(last), what, control_why(last), &n)
                  : report(ERR_IO, what, "the process that serves it does not answer", &n);
    cJSON_Delete(last);
    cJSON_Delete(request);
    return rc;
}

static int check_here(const char *path, const struct pass_source *source, bool store)
{
    struct vault *vault;
    struct check_result local = {0};
    struct engine_check_result remote = {0};
    struct engine_status status = {0};
    char why[200] = "";
    int rc = common_open(path, source, VAULT_READ_ONLY, &vault);
    if (rc == EXIT_DAMAGED)
        return EXIT_CHECK_FAILED; /* said already */
    if (rc != 0)
        return rc;
    struct check_options options = {.progress = show, .problem = named_problem};
    int err = check_vault(vault, &options, &local);
    if (!err && store) {
        struct engine *engine = NULL;
        err = engine_new(&engine, vault, NULL);
        if (!err) {
            err = engine_check(engine, show, named_problem, NULL, &remote);
            engine_status(engine, &status);
            if (err == ERR_NOENT)
                snprintf(why, sizeof(why), "has no store to check");
            else
                snprintf(why, sizeof(why), "%s", status.last_error_text);
        }
        engine_free(engine);
    }
    vault_close(vault);
    struct counts n = {(double)local.inodes, (double)local.bytes, (double)remote.packs,
                       (double)remote.batches, (double)(local.problems + remote.problems)};
    return report(err, path, why, &n);
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {PASS_OPTIONS,
                                          {"store", no_argument, NULL, 's'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    struct pass_source source = {0};
    bool store = false, quiet = false;
    int c;
    while ((c = cmd_getopt(&cmd_check, argc, argv, "qh", longs)) != -1) {
        if (pass_option(c, optarg, &source))
            continue;
        switch (c) {
        case 's':
            store = true;
            break;
        case 'j':
            as_json = true;
            break;
        case 'q':
            quiet = true;
            break;
        }
    }
    cmd_operands(&cmd_check, argc, 1, 1);
    control_init();
    progress_init(&bar, quiet);
    cJSON *status;
    char *sock;
    int rc = common_find(argv[optind], &sock, &status);
    if (rc == 0)
        rc = sock ? check_mounted(argv[optind], sock, status, store)
                  : check_here(argv[optind], &source, store);
    cJSON_Delete(status);
    free(sock);
    return rc;
}

const struct cmd cmd_check = {
    "check", run, "[OPTIONS] VAULT|MOUNTPOINT", "Verify every sealed byte and every reference",
    PASS_HELP "      --store            also everything on the stores (reads all of it)\n"
              "      --json             one JSON object a line\n"
              "  -q, --quiet            no progress\n"};
