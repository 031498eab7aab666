// SPDX-License-Identifier: Apache-2.0
/*
 * Diagnostics of a daemon: one logfmt line an event on stderr, and what ties it to its supervisor.
 * Only daemons log, never library rooms; never a token, a query string or the text of a log line (API.md 1).
 * Any thread. A line is one write(2).
 */
#pragma once
#include "wire/slice.h"

enum sl_level { SL_ERROR, SL_WARNING, SL_INFORM, SL_DEBUG };

/* `daemon` stands in every line. Lines above `most` are dropped. */
void sl_log_init(const char *daemon, enum sl_level most);
/*
 * sl_log(SL_INFORM, "segment.sealed", "segment=%u bytes=%llu", ...). `format` is logfmt text; use SL_Q(...)
 * slices through sl_log_value() for anything foreign. time, level, daemon and event come first.
 */
void sl_log(enum sl_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Quotes and escapes a foreign value for logfmt into out (cut to fit); returns out. */
const char *sl_log_value(struct sl_slice value, char *out, size_t capacity);

/* sd_notify(3): "READY=1", "STOPPING=1", "RELOADING=1"... to $NOTIFY_SOCKET; nothing when it is not set. */
void sl_notify(const char *state);
/*
 * Blocks SIGTERM, SIGINT, SIGHUP (and ignores SIGPIPE) in this and all later threads: call before any thread
 * starts. Returns a signalfd to poll, or -errno.
 */
int sl_signals_open(void);
/*
 * For a process that has nothing left to do but to free what it has: ends it with status 0 after so many
 * seconds, whatever it hangs in. Closing a socket of nng 1.5.2 whose connection has just begun can wait for
 * ever.
 */
void sl_end_within(unsigned seconds);
/* Next pending signal number, 0 when none. */
int sl_signals_next(int fd);
/* Raises RLIMIT_NOFILE to its hard limit; returns what it is now. */
size_t sl_raise_open_files(void);
