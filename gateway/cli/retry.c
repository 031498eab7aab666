// SPDX-License-Identifier: Apache-2.0
#include "retry.h"
#include "say.h"
#include "wire/timestamp.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SAY_AGAIN_NS (60 * SL_NS_PER_S)

int64_t retry_wait_ns(struct retry *retry)
{
    if (retry->since_ns == 0)
        retry->since_ns = sl_monotonic_ns();
    int64_t next_ns = retry->wait_ns == 0 ? retry->first_ns : retry->wait_ns * 2;
    retry->wait_ns = next_ns < retry->most_ns ? next_ns : retry->most_ns;
    int64_t half_ns = retry->wait_ns / 2;
    return half_ns + (int64_t)((double)half_ns * drand48());
}

void retry_say(struct retry *retry, const char *format, ...)
{
    char text[sizeof retry->said];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    int64_t now_ns = sl_monotonic_ns();
    if (strcmp(text, retry->said) == 0 && now_ns - retry->said_ns < SAY_AGAIN_NS)
        return;
    memcpy(retry->said, text, sizeof text);
    retry->said_ns = now_ns;
    say("%s", text);
}

void retry_well(struct retry *retry, const char *sentence)
{
    if (retry->said[0])
        say("%s", sentence);
    retry->wait_ns = retry->since_ns = 0;
    retry->said[0] = '\0';
}
