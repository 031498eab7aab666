// SPDX-License-Identifier: Apache-2.0
#include "linger.h"
#include "wire/timestamp.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_NS (INT64_C(2) * 1000000000)
enum { DROPPED_MAX_BYTES = 4 << 20 };

static struct one {
    int fd;
    int64_t until_ns;
    size_t dropped;
} list[LINGER_MAX];
static size_t count;

void linger_begin(int fd)
{
    int copy = count < LINGER_MAX ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy >= 0)
        list[count++] = (struct one){.fd = copy, .until_ns = sl_monotonic_ns() + LINGER_NS};
}

void linger_tick(int64_t now_ns)
{
    static char scratch[64 << 10];
    for (size_t i = 0; i < count;) {
        ssize_t bytes;
        while ((bytes = recv(list[i].fd, scratch, sizeof scratch, MSG_DONTWAIT)) > 0 &&
               (list[i].dropped += (size_t)bytes) < DROPPED_MAX_BYTES)
            ;
        if (bytes < 0 && now_ns < list[i].until_ns) {
            i++;
            continue;
        }
        close(list[i].fd);
        list[i] = list[--count];
    }
}
