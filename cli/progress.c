#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH 30

void progress_init(struct progress *p, bool quiet)
{
    memset(p, 0, sizeof(*p));
    p->quiet = quiet;
    p->tty = isatty(STDERR_FILENO);
    p->last_percent = -1;
}

const char *progress_bytes(uint64_t bytes, char out[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    int u = 0;
    while (v >= 1024 && u < 6) {
        v /= 1024;
        u++;
    }
    snprintf(out, 16, u ? "%.1f %s" : "%.0f %s", v, units[u]);
    return out;
}

void progress_show(struct progress *p, const char *what, uint64_t done, uint64_t total, bool bytes)
{
    if (p->quiet)
        return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t since =
        (now.tv_sec - p->last.tv_sec) * 1000 + (now.tv_nsec - p->last.tv_nsec) / 1000000;
    int percent = total ? (int)(done >= total ? 100 : (double)done * 100 / (double)total) : 0;
    if (p->drawn && since < (p->tty ? 100 : 2000) && !(percent == 100 && p->last_percent != 100))
        return;
    if (p->drawn && percent == p->last_percent && !p->tty)
        return;
    char a[16], b[16];
    if (bytes) {
        progress_bytes(done, a);
        progress_bytes(total, b);
    } else {
        snprintf(a, sizeof(a), "%llu", (unsigned long long)done);
        snprintf(b, sizeof(b), "%llu", (unsigned long long)total);
    }
    if (!p->tty) {
        fprintf(stderr, total ? "%s: %s of %s\n" : "%s: %s\n", what, a, b);
    } else if (total) {
        char bar[BAR_WIDTH + 1];
        int full = percent * BAR_WIDTH / 100;
        memset(bar, '.', BAR_WIDTH);
        memset(bar, '#', (size_t)full);
        bar[BAR_WIDTH] = '\0';
        fprintf(stderr, "\r\033[K%s [%s] %3d%%  %s of %s", what, bar, percent, a, b);
    } else {
        fprintf(stderr, "\r\033[K%s %s", what, a);
    }
    p->drawn = true;
    p->last = now;
    p->last_percent = percent;
}

void progress_end(struct progress *p)
{
    if (p->drawn && p->tty)
        fputc('\n', stderr);
    p->drawn = false;
}
