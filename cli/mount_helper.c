#include "cli/mount_helper.h"

#include "cli/cmd.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 64 /* arguments for the command */

/* What mount(8), systemd and fstab keep for themselves in the list of options: see mount(8) and systemd.mount(5). A word that ends in '=' or '-'
 * stands for all that begin with it. */
static const char *const not_ours[] = {"defaults", "auto",     "noauto", "nofail", "user",
                                       "users",    "nouser",   "owner",  "group",  "_netdev",
                                       "user=",    "comment=", "x-",     "X-"};

struct words {
    char *argv[WORDS_MAX];
    int argc;
};

static bool is_for_others(const char *word)
{
    for (size_t i = 0; i < sizeof(not_ours) / sizeof(not_ours[0]); i++) {
        size_t len = strlen(not_ours[i]);
        char last = not_ours[i][len - 1];
        if (last == '=' || last == '-' ? strncmp(word, not_ours[i], len) == 0
                                       : strcmp(word, not_ours[i]) == 0)
            return true;
    }
    return false;
}

static int add(struct words *words, const char *flag, char *value)
{
    if (words->argc + 3 > WORDS_MAX) {
        cmd_error("mount: too many options");
        return EXIT_USAGE;
    }
    if (flag)
        words->argv[words->argc++] = (char *)(uintptr_t)flag;
    words->argv[words->argc++] = value;
    return 0;
}

/* ${list} is cut up, and its words go on being used. */
static int add_options(struct words *words, char *list)
{
    char *save = NULL;
    int rc = 0;
    for (char *word = strtok_r(list, ",", &save); word && rc == 0;
         word = strtok_r(NULL, ",", &save)) {
        if (strncmp(word, "passfile=", 9) == 0)
            rc = add(words, "--passfile", word + 9);
        else if (strncmp(word, "extpass=", 8) == 0)
            rc = add(words, "--extpass", word + 8);
        else if (!is_for_others(word))
            rc = add(words, "-o", word);
    }
    return rc;
}

bool mount_helper_is_called(const char *argv0)
{
    const char *name = strrchr(argv0, '/');
    name = name ? name + 1 : argv0;
    return strcmp(name, "mount.fuse.obscurafs") == 0 || strcmp(name, "mount.obscurafs") == 0;
}

int mount_helper_run(int argc, char **argv)
{
    /* "-" in the list: mount(8) gives the two operands first, and then its options; people may do it the other way round. */
    struct words words = {.argv = {"mount"}, .argc = 1};
    char *operands[2];
    int count = 0, c, rc = 0;

    while (rc == 0 && (c = getopt(argc, argv, "-sfnvN:o:t:")) != -1) {
        switch (c) {
        case 1:
            if (count == 2)
                rc = EXIT_USAGE;
            else
                operands[count++] = optarg;
            break;
        case 'o':
            rc = add_options(&words, optarg);
            break;
        case 'f':
            return EXIT_OK; /* mount --fake: as if it had been done */
        case 'v':
            rc = add(&words, NULL, "--verbose");
            break;
        case 'N':
            cmd_error("mount: another namespace cannot be mounted into; use nsenter(1)");
            return EXIT_USAGE;
        case 's': /* sloppy: words that we do not know are FUSE's to refuse */
        case 'n': /* no /etc/mtab: there is none */
        case 't':
            break;
        default:
            rc = EXIT_USAGE;
        }
    }
    if (rc == 0 && count == 2)
        rc = add(&words, operands[0], operands[1]);
    else if (rc == 0)
        rc = EXIT_USAGE;
    if (rc != 0) {
        cmd_error("usage: %s VAULT MOUNTPOINT [-sfnv] [-o OPTION[,OPTION]] [-t TYPE]", argv[0]);
        return rc;
    }
    optind = 0; /* getopt starts afresh, with what the command reads */
    return cmd_mount.run(words.argc, words.argv);
}
