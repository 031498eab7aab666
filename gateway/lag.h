// SPDX-License-Identifier: Apache-2.0
/*
 * How far a reader is behind its log: in lines, and for how long. The age is that of the oldest newest line,
 * looked at about once a second, that it was not given yet. Pure.
 */
#pragma once
#include <stdint.h>

struct lag {
    uint64_t seq; /* the newest line at since_ns, that was not given by then; 0: it had all */
    int64_t since_ns;
};

static inline uint64_t lag_lines(uint64_t newest, uint64_t given)
{
    return newest > given ? newest - given : 0;
}

static inline void lag_note(struct lag *lag, uint64_t newest, uint64_t given, int64_t now_ns)
{
    if (lag->seq && given >= lag->seq)
        lag->seq = 0;
    if (!lag->seq && newest > given)
        *lag = (struct lag){.seq = newest, .since_ns = now_ns};
}

static inline int64_t lag_lasts_ns(const struct lag *lag, uint64_t given, int64_t now_ns)
{
    return lag->seq > given ? now_ns - lag->since_ns : 0;
}
