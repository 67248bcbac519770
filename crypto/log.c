#include "crypto/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <syslog.h>

static _Atomic int max_level = LOG_LEVEL_WARN;
static _Atomic bool to_syslog;

void log_set_level(enum log_level level)
{
    max_level = (int)level;
}

void log_set_syslog(bool on)
{
    if (on)
        openlog("obscurafs", LOG_PID, LOG_USER);
    to_syslog = on;
}

__attribute__((format(printf, 2, 0))) static void emit(enum log_level level, const char *fmt,
                                                       va_list ap)
{
    static const int priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

    if ((int)level > max_level)
        return;
    if (to_syslog) {
        vsyslog(priority[level], fmt, ap);
        return;
    }
    char line[1024];
    vsnprintf(line, sizeof(line), fmt, ap);
    fprintf(stderr, "obscurafs: %s\n",
            line); /* one call, so that lines of two threads do not mix */
}

#define LOG_FUNCTION(name, level)                                                                  \
    void name(const char *fmt, ...)                                                                \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        emit(level, fmt, ap);                                                                      \
        va_end(ap);                                                                                \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)
