/*
 * store_clutter.h - what other programs put into every folder by themselves. [store-clutter]
 *
 * A folder in which nothing else is counts as empty: it may become a store. The list is short on
 * purpose: a name belongs in it only if no person makes such a thing.
 */
#ifndef SYNC_STORE_CLUTTER_H
#define SYNC_STORE_CLUTTER_H

#include <stdbool.h>

/* ${leaf}: one part of a name, as the store shows it. Upper and lower case are the same. */
bool store_clutter(const char *leaf);
/* Is any part of ${path} such a name? */
bool store_clutter_path(const char *path);

#endif
