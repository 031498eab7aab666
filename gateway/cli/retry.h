// SPDX-License-Identifier: Apache-2.0
/*
 * Trying again until it goes: how long to wait, and what is said meanwhile. The wait doubles from `first` to
 * `most`, and half of it is chance, so that those who wait for a server that comes back do not all come at
 * once. The same trouble is said once, and again every minute; that it is over is said when the trouble was.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct retry {
    int64_t first_ns, most_ns;
    int64_t wait_ns;  /* the last one, without chance; 0: all is well */
    int64_t since_ns; /* monotonic, of the first fault in a row; 0: none */
    int64_t said_ns;
    char said[512];
};

/* After a fault: how long to wait. */
int64_t retry_wait_ns(struct retry *retry);
/* Says it, unless it was said within the last minute. Before say_errno() is called again. */
void retry_say(struct retry *retry, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* It went well; says `sentence` when trouble had been said. */
void retry_well(struct retry *retry, const char *sentence);
