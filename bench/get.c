// SPDX-License-Identifier: Apache-2.0
/*
 * Latency of HTTP GETs: CLIENTS connections, kept alive where the server does, COUNT requests in all, the
 * path's %d replaced by a number below MODULO (pseudo-random). Prints: requests/s, then p50, p90, p99, max in
 * ms, and bytes per answer. Answers may be of any size: only their heads and their last bytes are looked at.
 *
 *   bench_get PORT PATH MODULO CLIENTS COUNT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    size_t have;
    double sent;
    size_t seen;     /* of the answer, so far */
    size_t expected; /* of it, with its head; 0: chunked, or the head has not come whole */
    bool headed;
    bool closes;
    char answer[512 << 10]; /* the part that came last, behind what is kept of the one before */
};
enum { KEPT = 8, END = 7 /* of a chunked answer: the last chunk's CRLF, and an empty one */ };

static int port;
static const char *path;
static int modulo;
static unsigned seed = 12345;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void die(const char *what)
{
    fprintf(stderr, "bench_get: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void ask(struct client *c)
{
    char line[1024], request[1200];
    if (c->fd < 0) {
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
            die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    /* one %d of the path is the number; a library's format check can't know the path */
    const char *hole = strstr(path, "%d");
    if (hole)
        snprintf(line, sizeof line, "%.*s%04d%s", (int)(hole - path), path,
                 (int)((unsigned)rand_r(&seed) % (unsigned)modulo), hole + 2);
    else
        snprintf(line, sizeof line, "%s", path);
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/plain\r\n\r\n", line, port);
    c->have = c->seen = c->expected = 0;
    c->headed = c->closes = false;
    c->sent = now_ms();
    if (write(c->fd, request, (size_t)n) != n)
        die("write");
}

/* Once, when the head has come whole. */
static void read_head(struct client *c)
{
    const char *end = memmem(c->answer, c->have, "\r\n\r\n", 4);
    if (!end)
        return;
    size_t head = (size_t)(end + 4 - c->answer);
    if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "bench_get: %.*s\n", (int)(strcspn(c->answer, "\r")), c->answer);
        exit(1);
    }
    const char *length = memmem(c->answer, head, "ontent-length:", 14);
    if (!length)
        length = memmem(c->answer, head, "ontent-Length:", 14);
    c->expected = length ? head + strtoul(length + 14, NULL, 10) : 0;
    c->closes = memmem(c->answer, head, "onnection: close", 16) != NULL;
    c->headed = true;
}

/* Whole answer there? */
static bool complete(struct client *c)
{
    if (!c->headed)
        read_head(c);
    if (!c->headed)
        return false;
    if (c->expected)
        return c->seen >= c->expected;
    return c->have >= END && memcmp(c->answer + c->have - END, "\r\n0\r\n\r\n", END) == 0;
}

/* Of what came so far only the end matters, when there is no room for more. */
static void make_room(struct client *c)
{
    if (!c->headed || c->have < KEPT)
        return;
    memmove(c->answer, c->answer + c->have - KEPT, KEPT);
    c->have = KEPT;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: bench_get PORT PATH MODULO CLIENTS COUNT\n");
        return 2;
    }
    port = atoi(argv[1]);
    path = argv[2];
    modulo = atoi(argv[3]);
    int clients = atoi(argv[4]), count = atoi(argv[5]), asked = 0, done = 0;
    struct client *client = calloc((size_t)clients, sizeof *client);
    struct pollfd *fds = calloc((size_t)clients, sizeof *fds);
    double *took = calloc((size_t)count, sizeof *took);
    size_t bytes = 0;
    double start = now_ms();
    for (int i = 0; i < clients; i++) {
        client[i].fd = -1;
        if (asked < count) {
            ask(&client[i]);
            asked++;
        }
    }
    while (done < count) {
        for (int i = 0; i < clients; i++)
            fds[i] = (struct pollfd){.fd = client[i].fd, .events = POLLIN};
        if (poll(fds, (nfds_t)clients, 10000) <= 0)
            die("no answer for 10 s");
        for (int i = 0; i < clients; i++) {
            struct client *c = &client[i];
            if (!fds[i].revents)
                continue;
            make_room(c);
            ssize_t got = read(c->fd, c->answer + c->have, sizeof c->answer - c->have);
            if (got <= 0)
                die("connection closed inside an answer");
            c->have += (size_t)got;
            c->seen += (size_t)got;
            if (!complete(c))
                continue;
            took[done++] = now_ms() - c->sent;
            bytes += c->seen;
            if (c->closes) {
                close(c->fd);
                c->fd = -1;
            }
            if (asked < count) {
                ask(c);
                asked++;
            } else if (c->fd >= 0) {
                close(c->fd);
                c->fd = -1;
            }
        }
    }
    double all = now_ms() - start;
    qsort(took, (size_t)count, sizeof *took, by_size);
    printf("%.0f %.3f %.3f %.3f %.3f %zu\n", count / all * 1e3, took[count / 2], took[count * 9 / 10],
           took[count * 99 / 100], took[count - 1], bytes / (size_t)count);
    free(client);
    free(fds);
    free(took);
    return 0;
}
