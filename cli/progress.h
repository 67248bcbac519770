/*
 * progress.h - progress on standard error: a bar that redraws itself on a terminal, a line now and then elsewhere.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct progress {
    bool tty, quiet, drawn;
    int last_percent;
    struct timespec last;
};

void progress_init(struct progress *p, bool quiet);
/* ${total} 0: unknown. Cheap to call often: draws at most ten times a second. */
void progress_show(struct progress *p, const char *what, uint64_t done, uint64_t total, bool bytes);
/* Ends the line if one was drawn. */
void progress_end(struct progress *p);
/* "12.3 MiB" into ${out} (at least 16 bytes). */
const char *progress_bytes(uint64_t bytes, char out[16]);

#endif
