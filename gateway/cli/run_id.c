// SPDX-License-Identifier: Apache-2.0
#include "run_id.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

char *run_id(const char *kind)
{
    uint16_t chance = (uint16_t)getpid();
    ssize_t n = getrandom(&chance, sizeof chance, GRND_NONBLOCK);
    (void)n; /* without it, the process id has to do */
    time_t now = time(NULL);
    struct tm tm;
    char stamp[32];
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm);
    char *id = NULL;
    return asprintf(&id, "%s-%s-%04x", kind, stamp, chance) < 0 ? NULL : id;
}
