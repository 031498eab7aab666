// SPDX-License-Identifier: Apache-2.0
#include "text.h"
#include "wire/timestamp.h"

#include <stdio.h>

void text_bytes(int64_t bytes, char *out, size_t capacity)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1023.95 && unit < 5) {
        value /= 1024;
        unit++;
    }
    snprintf(out, capacity, unit > 0 && value < 9.95 ? "%.1f%s" : "%.0f%s", value, units[unit]);
}

void text_age(int64_t ns, char *out, size_t capacity)
{
    long long s = ns < 0 ? 0 : ns / SL_NS_PER_S;
    if (s < 120)
        snprintf(out, capacity, "%llds", s);
    else if (s < 120 * 60)
        snprintf(out, capacity, "%lldm", s / 60);
    else if (s < 48 * 3600)
        snprintf(out, capacity, "%lldh", s / 3600);
    else
        snprintf(out, capacity, "%lldd", s / 86400);
}

void text_latency(int64_t ns, char *out, size_t capacity)
{
    if (ns < SL_NS_PER_MS)
        snprintf(out, capacity, "%.0fus", (double)ns / 1e3);
    else if (ns < SL_NS_PER_S)
        snprintf(out, capacity, "%.1fms", (double)ns / 1e6);
    else
        snprintf(out, capacity, "%.2fs", (double)ns / 1e9);
}
