// SPDX-License-Identifier: Apache-2.0
#include "say.h"
#include "term.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SAY_BYTES = 1024 };

static bool status_shown;

static void write_all(const void *text, size_t bytes)
{
    ssize_t written = write(STDERR_FILENO, text, bytes);
    (void)written; /* nobody is left to be told */
}

void say_status(const char *format, ...)
{
    static const char clear[] = "\r\033[K";
    if (!say_to_terminal() || (!format && !status_shown))
        return;
    char text[SAY_BYTES] = "";
    int n = 0;
    if (format) {
        va_list args;
        va_start(args, format);
        n = vsnprintf(text, sizeof text, format, args);
        va_end(args);
    }
    size_t bytes = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    uint8_t line[sizeof clear + TERM_CLEAN_FACTOR * SAY_BYTES + TERM_CLEAN_EXTRA];
    memcpy(line, clear, sizeof clear);
    size_t used = sizeof clear - 1;
    used += term_clean(sl_slice(text, bytes), TERM_PLAIN, line + used);
    status_shown = format != NULL;
    write_all(line, used);
}

void say(const char *format, ...)
{
    char text[SAY_BYTES];
    say_status(NULL);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t bytes = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    static const uint8_t who[] = {'s', 'a', 'n', 'd', 'l', 'o', 'g', ':', ' '};
    uint8_t line[sizeof who + TERM_CLEAN_FACTOR * SAY_BYTES + TERM_CLEAN_EXTRA];
    memcpy(line, who, sizeof who);
    size_t used = sizeof who + term_clean(sl_slice(text, bytes), TERM_PLAIN, line + sizeof who);
    line[used++] = '\n';
    write_all(line, used);
}

const char *say_errno(int error)
{
    static char text[128];
    snprintf(text, sizeof text, "%s", strerror(error));
    /* "No such file", but not "RPC version wrong" */
    if (text[0] >= 'A' && text[0] <= 'Z' && text[1] >= 'a' && text[1] <= 'z')
        text[0] = (char)(text[0] - 'A' + 'a');
    return text;
}

bool say_to_terminal(void)
{
    static int answer = -1;
    if (answer < 0)
        answer = isatty(STDERR_FILENO);
    return answer == 1;
}
