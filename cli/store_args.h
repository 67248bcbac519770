/*
 * store_args.h - a store as it is named on the command line: its URL and the options that go with it.
 */
#ifndef CLI_STORE_ARGS_H
#define CLI_STORE_ARGS_H

#include "sync/stores.h"

struct store_args {
    const char *login_file, *ca_file;
    bool allow_http;
};

/* Options for a command's table, and the help text. */
#define STORE_ARGS_OPTIONS                                                                         \
    {"login-file", required_argument, NULL, 'L'}, {"ca-file", required_argument, NULL, 'A'},       \
    {                                                                                              \
        "allow-http", no_argument, NULL, 'H'                                                       \
    }
#define STORE_ARGS_HELP                                                                            \
    "      --login-file FILE  login and secret for the store, on two lines\n"                      \
    "      --ca-file FILE     certificates to trust instead of the system's\n"                     \
    "      --allow-http       send a login unencrypted (never over the internet)\n"

/* Takes one of STORE_ARGS_OPTIONS; false: ${c} is another. */
bool store_args_option(int c, const char *arg, struct store_args *args);

/*
 * Understands the URL, asks for the login, and gives a store as it is kept. A folder's path is made absolute: from here, not from where
 * a background process is. 0 or an exit code after saying why; *item is to be released in any case.
 */
int store_args_item(const char *url, const struct store_args *args, struct stores_item **item);
/* Wipes. NULL is a no-op. */
void store_args_release(struct stores_item *item);

#endif
