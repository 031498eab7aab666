// SPDX-License-Identifier: Apache-2.0
#include "age.h"
#include "wire/timestamp.h"
#include <stdio.h>

enum { MINUTE = 60, HOUR = 3600, DAY = 24 * 3600, WEEK = 7 * DAY, MONTH = 30 * DAY, YEAR = 365 * DAY };

void age_docker(int64_t ns, char out[AGE_TEXT_BYTES])
{
    int64_t s = ns > 0 ? ns / SL_NS_PER_S : 0;
    int64_t hours = (s + HOUR / 2) / HOUR;
    if (s < 1)
        snprintf(out, AGE_TEXT_BYTES, "Less than a second");
    else if (s == 1)
        snprintf(out, AGE_TEXT_BYTES, "1 second");
    else if (s < MINUTE)
        snprintf(out, AGE_TEXT_BYTES, "%lld seconds", (long long)s);
    else if (s < 2 * MINUTE)
        snprintf(out, AGE_TEXT_BYTES, "About a minute");
    else if (s < HOUR)
        snprintf(out, AGE_TEXT_BYTES, "%lld minutes", (long long)(s / MINUTE));
    else if (hours == 1)
        snprintf(out, AGE_TEXT_BYTES, "About an hour");
    else if (hours < 48)
        snprintf(out, AGE_TEXT_BYTES, "%lld hours", (long long)hours);
    else if (hours < 2 * WEEK / HOUR)
        snprintf(out, AGE_TEXT_BYTES, "%lld days", (long long)(hours / 24));
    else if (hours < 2 * MONTH / HOUR)
        snprintf(out, AGE_TEXT_BYTES, "%lld weeks", (long long)(hours / 24 / 7));
    else if (hours < 2 * YEAR / HOUR)
        snprintf(out, AGE_TEXT_BYTES, "%lld months", (long long)(hours / 24 / 30));
    else
        snprintf(out, AGE_TEXT_BYTES, "%lld years", (long long)(s / YEAR));
}

/* Two units, the smaller one left out when it is zero. */
static void two(char out[AGE_TEXT_BYTES], int64_t s, int64_t large, char large_name, int64_t small,
                char small_name)
{
    int64_t rest = s % large / small;
    if (rest)
        snprintf(out, AGE_TEXT_BYTES, "%lld%c%lld%c", (long long)(s / large), large_name, (long long)rest,
                 small_name);
    else
        snprintf(out, AGE_TEXT_BYTES, "%lld%c", (long long)(s / large), large_name);
}

void age_kube(int64_t ns, char out[AGE_TEXT_BYTES])
{
    int64_t s = ns > 0 ? ns / SL_NS_PER_S : 0;
    if (s < 2 * MINUTE)
        snprintf(out, AGE_TEXT_BYTES, "%llds", (long long)s);
    else if (s < 10 * MINUTE)
        two(out, s, MINUTE, 'm', 1, 's');
    else if (s < 3 * HOUR)
        snprintf(out, AGE_TEXT_BYTES, "%lldm", (long long)(s / MINUTE));
    else if (s < 8 * HOUR)
        two(out, s, HOUR, 'h', MINUTE, 'm');
    else if (s < 2 * DAY)
        snprintf(out, AGE_TEXT_BYTES, "%lldh", (long long)(s / HOUR));
    else if (s < 8 * DAY)
        two(out, s, DAY, 'd', HOUR, 'h');
    else if (s < 2 * YEAR)
        snprintf(out, AGE_TEXT_BYTES, "%lldd", (long long)(s / DAY));
    else if (s < 8 * (int64_t)YEAR)
        two(out, s, YEAR, 'y', DAY, 'd');
    else
        snprintf(out, AGE_TEXT_BYTES, "%lldy", (long long)(s / YEAR));
}
