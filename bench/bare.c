// SPDX-License-Identifier: Apache-2.0
/*
 * The limit of fan-out: a bare epoll + write server. Answers every GET with an SSE head; when FOLLOWERS are
 * there it sends RATE lines/s for SECONDS to all of them, one write(2) of the shared bytes per follower per
 * TICK_MS. Ends by itself and prints its CPU seconds, how often it wrote, and those within the kernel: where
 * readers hold it up it writes more at once.
 *
 *   bench_bare PORT FOLLOWERS RATE SECONDS TICK_MS
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double cpu_s(double *ret_system)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    *ret_system = (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec / 1e6;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: bench_bare PORT FOLLOWERS RATE SECONDS TICK_MS\n");
        return 2;
    }
    int port = atoi(argv[1]), followers = atoi(argv[2]);
    double rate = atof(argv[3]), seconds = atof(argv[4]), tick = atof(argv[5]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(door, (struct sockaddr *)&at, sizeof at) != 0 || listen(door, 4096) != 0) {
        perror("bench_bare");
        return 1;
    }
    int *fd = calloc((size_t)followers, sizeof *fd);
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    for (int i = 0; i < followers; i++) {
        char request[2048];
        fd[i] = accept(door, NULL, NULL);
        if (fd[i] < 0 || read(fd[i], request, sizeof request) <= 0 ||
            write(fd[i], head, sizeof head - 1) < 0) {
            perror("bench_bare");
            return 1;
        }
    }
    double system_before, system, before = cpu_s(&system_before);
    int64_t start = now_ns();
    uint64_t sent = 0, writes = 0, total = (uint64_t)(rate * seconds);
    static char batch[1 << 20];
    while (sent < total) {
        struct timespec wait = {0, (long)(tick * 1e6)};
        nanosleep(&wait, NULL);
        uint64_t due = (uint64_t)((double)(now_ns() - start) / 1e9 * rate);
        if (due > total)
            due = total;
        size_t bytes = 0;
        for (; sent < due && bytes < sizeof batch - 256; sent++)
            bytes += (size_t)snprintf(batch + bytes, 256,
                                      "id: 1f0c9a2b-7d3e11aa-%" PRIu64 "\nevent: log\ndata: t=%019" PRId64
                                      " line %010" PRIu64 " %-40s\n\n",
                                      sent, now_ns(), sent, "of a steady stream, as services write it");
        for (int i = 0; i < followers && bytes; i++) {
            size_t done = 0;
            while (done < bytes) {
                ssize_t n = write(fd[i], batch + done, bytes - done);
                if (n < 0)
                    break;
                done += (size_t)n;
                writes++;
            }
        }
    }
    double cpu = cpu_s(&system) - before;
    printf("%.3f %" PRIu64 " %.3f\n", cpu, writes, system - system_before);
    fflush(stdout);
    sleep(1);
    free(fd);
    return 0;
}
