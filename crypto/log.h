/*
 * log.h - messages of the program: to standard error while in the foreground, to syslog in the background.
 *
 * Never a name, a passphrase or a key in them; an object is named by its id. Thread-safe.
 */
#ifndef CRYPTO_LOG_H
#define CRYPTO_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Messages above ${level} are dropped (default: LOG_LEVEL_WARN). */
void log_set_level(enum log_level level);
/* From now on to syslog (${on}) or to standard error. */
void log_set_syslog(bool on);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
