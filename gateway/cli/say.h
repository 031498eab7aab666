// SPDX-License-Identifier: Apache-2.0
/*
 * What the command tells a person: one line on stderr, `sandlog: MESSAGE`, one write(2). Foreign text in it
 * (an error from a server, a file's name) can't do anything to a terminal: control characters are made
 * visible.
 */
#pragma once
#include <stdbool.h>

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/*
 * A line that comes and goes, for a person who waits: shown in place of the one before, taken away by NULL
 * and by say(). Nothing when stderr is no terminal.
 */
void say_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* strerror(3) with a small first letter, as it stands behind a colon. Valid until the next call. */
const char *say_errno(int error);
/* A person is likely to read stderr. */
bool say_to_terminal(void);
