// SPDX-License-Identifier: Apache-2.0
/*
 * A crowd: FOLLOWERS SSE connections to PATH (its %d is the follower's number modulo MODULO), dialled at
 * once, each again with its last event's id when it is cut or told to come later, as browsers do, until
 * standard input ends. Then prints for each event seen what bench_follow's lines carry, in short:
 *
 *   at once when all follow:  followers, seconds until then
 *   after each line on standard input: how many follow now, seconds since the last one of them had to dial
 * again, dials in all, answers that refused for good (4xx but 429) at the end: events in all, followers that
 * saw a line twice or missed one (by their `id:`, whose last part is the number of the line)
 *
 *   bench_crowd PORT PATH MODULO FOLLOWERS [JOIN_SECONDS]
 *
 * With JOIN_SECONDS they are dialled at random moments within so long, not at once. One thread, one epoll.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ID_BYTES = 64, KEEP_BYTES = 512 };

struct follower {
    int fd; /* -1: not dialled */
    int64_t dial_ns;
    bool follows, ends, over;
    char id[ID_BYTES]; /* of the last complete event */
    uint64_t seq, first;
    char *kept; /* of a line that is cut, KEEP_BYTES */
    size_t kept_bytes;
};

static int port, modulo, followers, poller;
static const char *path;
static struct follower *all;
static uint64_t events, dials, refused, following, wrong, again_ms = 100;
static int64_t settled_ns;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "bench_crowd: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Cut, or refused: again after a moment, that differs. */
static void drop(struct follower *f)
{
    if (f->follows)
        following--;
    f->follows = false;
    close(f->fd);
    f->fd = -1;
    f->kept_bytes = 0;
    f->dial_ns = now_ns() + (int64_t)(again_ms / 2 + (uint64_t)rand() % again_ms) * 1000000;
}

static void dial(struct follower *f, int number)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (f->fd < 0)
        die("socket");
    dials++;
    if (connect(f->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        drop(f);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = (uint32_t)number};
    epoll_ctl(poller, EPOLL_CTL_ADD, f->fd, &event);
}

static void ask(struct follower *f, int number)
{
    char request[1600], last[ID_BYTES + 32] = "";
    const char *hole = strstr(path, "%d");
    if (f->id[0])
        snprintf(last, sizeof last, "Last-Event-ID: %s\r\n", f->id);
    int n =
        snprintf(request, sizeof request, "GET %.*s", hole ? (int)(hole - path) : (int)strlen(path), path);
    if (hole)
        n += snprintf(request + n, sizeof request - (size_t)n, "%04d%s", number % modulo, hole + 2);
    n += snprintf(request + n, sizeof request - (size_t)n,
                  " HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n%s\r\n", port, last);
    if (send(f->fd, request, (size_t)n, MSG_NOSIGNAL) != n)
        drop(f);
}

/* One line of the stream, without its end. */
static void take(struct follower *f, const char *line, size_t bytes)
{
    if (bytes > 4 && bytes - 4 < ID_BYTES && memcmp(line, "id: ", 4) == 0) {
        memcpy(f->id, line + 4, bytes - 4);
        f->id[bytes - 4] = 0;
        const char *dash = strrchr(f->id, '-');
        uint64_t seq = dash ? strtoull(dash + 1, NULL, 10) : 0;
        if (f->seq && seq != f->seq + 1)
            wrong++;
        if (!f->first)
            f->first = seq;
        f->seq = seq;
        events++;
    } else if (bytes > 7 && memcmp(line, "event: ", 7) == 0) {
        f->ends = bytes == 10 && memcmp(line + 7, "end", 3) == 0;
    } else if (f->ends && bytes > 6 && memcmp(line, "data: ", 6) == 0) {
        f->over = !memmem(line, bytes, "shutdown", 8); /* after that one goes on elsewhere, or here */
    }
}

static void take_bytes(struct follower *f, char *data, size_t bytes)
{
    while (bytes) {
        char *end = memchr(data, '\n', bytes);
        size_t step = end ? (size_t)(end - data) : bytes;
        if (f->kept_bytes || !end) {
            size_t room = KEEP_BYTES - f->kept_bytes, put = step < room ? step : room;
            memcpy(f->kept + f->kept_bytes, data, put);
            f->kept_bytes += put;
        }
        if (end && f->kept_bytes) {
            take(f, f->kept, f->kept_bytes);
            f->kept_bytes = 0;
        } else if (end) {
            take(f, data, step);
        }
        step += end != NULL;
        data += step;
        bytes -= step;
    }
}

static void readable(struct follower *f)
{
    static char buffer[1 << 16];
    while (f->fd >= 0) {
        ssize_t got = recv(f->fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            drop(f);
            return;
        }
        char *body = buffer;
        if (!f->follows) { /* heads come in one piece here */
            body = memmem(buffer, (size_t)got, "\r\n\r\n", 4);
            int status = got > 12 ? atoi(buffer + 9) : 0;
            bool error = memmem(buffer, (size_t)got, "event: error", 12) != NULL;
            if (!body || status != 200 || error) {
                refused += status >= 400 && status < 500 && status != 429;
                drop(f);
                return;
            }
            body += 4;
            f->follows = true;
            following++;
            settled_ns = now_ns();
        }
        take_bytes(f, body, (size_t)(buffer + got - body));
    }
}

static void run(int64_t until_ns)
{
    int64_t looked_ns = 0;
    bool asked = false;
    do {
        struct epoll_event event[256];
        int64_t now = now_ns();
        bool look = now - looked_ns > 5000000;
        looked_ns = look ? now : looked_ns;
        for (int i = 0; look && i < followers; i++)
            if (all[i].fd < 0 && !all[i].over && now >= all[i].dial_ns)
                dial(&all[i], i);
        int n = epoll_wait(poller, event, 256, 20);
        for (int k = 0; k < n; k++) {
            asked = asked || event[k].data.u32 == UINT32_MAX;
            if (event[k].data.u32 == UINT32_MAX)
                continue; /* the others are told once: they are looked at first */
            struct follower *f = &all[event[k].data.u32];
            if (f->fd >= 0 && event[k].events & EPOLLOUT && !f->follows && f->dial_ns >= 0) {
                f->dial_ns = -1;
                ask(f, (int)event[k].data.u32);
            }
            if (f->fd >= 0 && event[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                readable(f);
        }
    } while (!asked && (until_ns == 0 || (following < (uint64_t)followers && now_ns() < until_ns)));
}

int main(int argc, char **argv)
{
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: bench_crowd PORT PATH MODULO FOLLOWERS [JOIN_SECONDS]\n");
        return 2;
    }
    port = atoi(argv[1]);
    path = argv[2];
    modulo = atoi(argv[3]);
    followers = atoi(argv[4]);
    double join = argc == 6 ? atof(argv[5]) : 0;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    setvbuf(stdout, NULL, _IOLBF, 0);
    poller = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)followers, sizeof *all);
    int64_t begun = now_ns();
    for (int i = 0; i < followers; i++) {
        all[i].fd = -1;
        all[i].kept = malloc(KEEP_BYTES);
        all[i].dial_ns = begun + (int64_t)(join * 1e9 * rand() / RAND_MAX);
    }
    run(begun + (int64_t)((join + 120) * 1e9));
    printf("%" PRIu64 " %.3f\n", following, (double)(settled_ns - begun) / 1e9);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0)
        die("standard input has to be a pipe");
    for (;;) {
        char line[64];
        run(0);
        ssize_t got = read(STDIN_FILENO, line, sizeof line);
        if (got <= 0)
            break;
        uint64_t least = UINT64_MAX, most = 0;
        for (int i = 0; i < followers; i++) {
            least = all[i].seq < least ? all[i].seq : least;
            most = all[i].seq > most ? all[i].seq : most;
        }
        printf("%" PRIu64 " %.3f %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
               following, (double)(now_ns() - settled_ns) / 1e9, dials, refused, events, least, most, wrong);
    }
    return 0;
}
