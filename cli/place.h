/*
 * place.h - absolute paths without links.
 */
#ifndef CLI_PLACE_H
#define CLI_PLACE_H

#include <stdbool.h>

#define PLACE_MAX 4096u

/* The last part need not be there. False: too long, or its directory is missing. */
bool place_real(const char *path, char out[PLACE_MAX]);
/* The same, and the last part is not looked at: it may be a mount that does not answer. */
bool place_beside(const char *path, char out[PLACE_MAX]);

#endif
