// SPDX-License-Identifier: Apache-2.0
/*
 * Followers: FOLLOWERS SSE connections to PATH (its %d is replaced by the follower's number modulo MODULO),
 * while this program writes RATE lines/s in CRI format, for SECONDS, into the log files FILE (its %d
 * likewise, MODULO files in turn), each with the time of its write(2) in its text. Latency is write(2) ->
 * read(2) of the event, sampled on every event of up to 64 followers; every follower's events are counted
 * (they must be all). Prints: delivered, expected, p50, p99, max in ms, and seconds from the last write to
 * the last delivery, and, with PID, the CPU seconds, all and within the kernel, of that process from when all
 * followed to the last delivery (what it took to let them in is another matter). Then p50, p99 and max in ms
 * of write(2) -> the event's last byte in this program's socket, as the kernel stamped it: what is beyond
 * them is this program's own, which reads for all followers in one thread. With FILE `-` nothing is written
 * here and the lines come from elsewhere (bench_bare): they carry CLOCK_MONOTONIC ns behind "t=".
 *
 *   bench_follow PORT PATH MODULO FOLLOWERS RATE SECONDS FILE [PID]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
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

enum {
    SAMPLED = 64,
    SAMPLED_READ_BYTES = 4 << 10, /* what came at one time, so that its stamp is that of few lines */
    MARK = 8
};

struct follower {
    int fd;
    uint64_t events;
    char tail[64]; /* what may be the start of a mark at the end of the last read */
    size_t tail_bytes;
    bool ready;
};

static int port, modulo, followers;
static double rate, seconds;
static const char *path, *file_pattern;
static uint64_t written;
static int64_t last_write_ns;
static bool written_all;

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* User and system time of a process so far; 0 without one. */
static double cpu_s(int pid, double *ret_system)
{
    char name[64], text[1024];
    unsigned long user = 0, kernel = 0;
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    FILE *f = pid ? fopen(name, "r") : NULL;
    if (!f)
        return 0;
    size_t bytes = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[bytes] = 0;
    const char *at = strrchr(text, ')');
    if (!at || sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        return 0;
    *ret_system = (double)kernel / (double)sysconf(_SC_CLK_TCK);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static void die(const char *what)
{
    fprintf(stderr, "bench_follow: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void fill(char *out, size_t capacity, const char *pattern, int number)
{
    const char *hole = strstr(pattern, "%d");
    if (hole)
        snprintf(out, capacity, "%.*s%04d%s", (int)(hole - pattern), pattern, number, hole + 2);
    else
        snprintf(out, capacity, "%s", pattern);
}

static void *writer(void *arg)
{
    (void)arg;
    int *fds = calloc((size_t)modulo, sizeof *fds);
    for (int i = 0; i < modulo; i++) {
        char name[4096];
        fill(name, sizeof name, file_pattern, i);
        fds[i] = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (fds[i] < 0)
            die(name);
    }
    int64_t start = now_ns(CLOCK_MONOTONIC);
    uint64_t total = (uint64_t)(rate * seconds);
    for (uint64_t i = 0; i < total; i++) {
        int64_t due = start + (int64_t)((double)i / rate * 1e9), now = now_ns(CLOCK_MONOTONIC);
        if (due > now) {
            struct timespec wait = {(due - now) / 1000000000, (due - now) % 1000000000};
            nanosleep(&wait, NULL);
        }
        char line[256], stamp[32];
        int64_t wall = now_ns(CLOCK_REALTIME);
        time_t s = (time_t)(wall / 1000000000);
        struct tm tm;
        gmtime_r(&s, &tm);
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
        int64_t mono = now_ns(CLOCK_MONOTONIC);
        int n = snprintf(line, sizeof line,
                         "%s.%09" PRId64 "Z stdout F t=%019" PRId64 " line %010" PRIu64 " %-40s\n", stamp,
                         wall % 1000000000, mono, i, "of a steady stream, as services write it");
        if (write(fds[i % (uint64_t)modulo], line, (size_t)n) != n)
            die("write");
        __atomic_store_n(&last_write_ns, mono, __ATOMIC_RELAXED);
        __atomic_add_fetch(&written, 1, __ATOMIC_RELAXED);
    }
    for (int i = 0; i < modulo; i++)
        close(fds[i]);
    free(fds);
    __atomic_store_n(&written_all, true, __ATOMIC_RELEASE);
    return NULL;
}

static void dial(struct follower *f, int number)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char where[1024], request[1400];
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->fd < 0 || connect(f->fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    fill(where, sizeof where, path, number % modulo);
    int n =
        snprintf(request, sizeof request,
                 "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n\r\n", where, port);
    if (write(f->fd, request, (size_t)n) != n)
        die("write");
    fcntl(f->fd, F_SETFL, O_NONBLOCK);
}

static float *sample, *arrival;
static size_t samples, samples_max;

/* Counts events by their mark "data: t=" and, for sampled followers, reads the time behind it. */
static void scan(struct follower *f, const char *data, size_t bytes, bool sampled, int64_t now, int64_t came)
{
    const char *at = data, *end = data + bytes;
    while ((at = memmem(at, (size_t)(end - at), "data: t=", MARK))) {
        if (end - at < MARK + 19)
            break;
        f->events++;
        if (sampled && samples < samples_max) {
            int64_t wrote = strtoll(at + MARK, NULL, 10);
            sample[samples] = (float)((double)(now - wrote) / 1e6);
            arrival[samples++] = (float)((double)(came - wrote) / 1e6);
        }
        at += MARK + 19;
    }
    /* keep what may be cut */
    size_t keep = at ? (size_t)(end - at) : bytes < MARK - 1 ? bytes : MARK - 1;
    if (keep > sizeof f->tail)
        keep = sizeof f->tail;
    memcpy(f->tail, end - keep, keep);
    f->tail_bytes = keep;
}

/* As read(2); *ret_came: when the last of it came to the socket (CLOCK_MONOTONIC), now if nobody knows. */
static ssize_t read_stamped(int fd, void *out, size_t bytes, int64_t *ret_came)
{
    _Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec part = {out, bytes};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    ssize_t got = recvmsg(fd, &message, 0);
    *ret_came = now_ns(CLOCK_MONOTONIC);
    const struct cmsghdr *stamp = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (stamp && stamp->cmsg_type == SCM_TIMESTAMPNS) {
        struct timespec at;
        memcpy(&at, CMSG_DATA(stamp), sizeof at);
        *ret_came -= now_ns(CLOCK_REALTIME) - ((int64_t)at.tv_sec * 1000000000 + at.tv_nsec);
    }
    return got;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 8 && argc != 9) {
        fprintf(stderr, "usage: bench_follow PORT PATH MODULO FOLLOWERS RATE SECONDS FILE [PID]\n");
        return 2;
    }
    port = atoi(argv[1]);
    path = argv[2];
    modulo = atoi(argv[3]);
    followers = atoi(argv[4]);
    rate = atof(argv[5]);
    seconds = atof(argv[6]);
    file_pattern = argv[7];
    int pid = argc == 9 ? atoi(argv[8]) : 0;
    double cpu_before = 0, system_before = 0;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct follower *f = calloc((size_t)followers, sizeof *f);
    samples_max = 4u << 20;
    sample = calloc(samples_max, sizeof *sample);
    arrival = calloc(samples_max, sizeof *arrival);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < followers; i++) {
        dial(&f[i], i);
        if (i < SAMPLED)
            setsockopt(f[i].fd, SOL_SOCKET, SO_TIMESTAMPNS, &(int){1}, sizeof(int));
        epoll_ctl(poller, EPOLL_CTL_ADD, f[i].fd,
                  &(struct epoll_event){.events = EPOLLIN, .data.u32 = (uint32_t)i});
    }
    uint64_t expected = 0, delivered = 0, lines = (uint64_t)(rate * seconds);
    for (int i = 0; i < followers; i++)
        expected += lines / (uint64_t)modulo + ((uint64_t)(i % modulo) < lines % (uint64_t)modulo);
    static char buffer[(1 << 18) + 64];
    int ready = 0;
    pthread_t thread;
    bool started = false;
    int64_t last_delivery = now_ns(CLOCK_MONOTONIC), begun = last_delivery;
    while (delivered < expected) {
        struct epoll_event event[256];
        int n = epoll_wait(poller, event, 256, 100);
        int64_t now = now_ns(CLOCK_MONOTONIC);
        for (int k = 0; k < n; k++) {
            struct follower *one = &f[event[k].data.u32];
            memcpy(buffer, one->tail, one->tail_bytes);
            int64_t came = now;
            bool sampled = event[k].data.u32 < SAMPLED;
            ssize_t got = sampled ? read_stamped(one->fd, buffer + one->tail_bytes, SAMPLED_READ_BYTES, &came)
                                  : read(one->fd, buffer + one->tail_bytes, sizeof buffer - one->tail_bytes);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN)
                    continue;
                die("a follower was cut off");
            }
            now = now_ns(CLOCK_MONOTONIC);
            if (!one->ready) {
                if (!memmem(buffer, one->tail_bytes + (size_t)got, "200", 3)) {
                    fprintf(stderr, "bench_follow: %.100s\n", buffer);
                    return 1;
                }
                one->ready = true;
                ready++;
            }
            uint64_t before = one->events;
            size_t bytes = one->tail_bytes + (size_t)got;
            one->tail_bytes = 0;
            scan(one, buffer, bytes, sampled, now, came);
            delivered += one->events - before;
            if (one->events != before)
                last_delivery = now;
        }
        if (!started && ready == followers) {
            started = true;
            begun = now;
            cpu_before = cpu_s(pid, &system_before);
            if (strcmp(file_pattern, "-") == 0)
                written_all = true;
            else if (pthread_create(&thread, NULL, writer, NULL) != 0)
                die("thread");
        }
        if (!started && now - begun > INT64_C(20000000000))
            die("not all followers were answered within 20 s");
        if (__atomic_load_n(&written_all, __ATOMIC_ACQUIRE) && now - last_delivery > INT64_C(10000000000) &&
            now - begun > (int64_t)(seconds * 1e9))
            break;
    }
    if (started && strcmp(file_pattern, "-") != 0)
        pthread_join(thread, NULL);
    double system = 0, cpu = cpu_s(pid, &system) - cpu_before;
    qsort(sample, samples, sizeof *sample, by_size);
    qsort(arrival, samples, sizeof *arrival, by_size);
    printf("%" PRIu64 " %" PRIu64 " %.3f %.3f %.3f %.3f %.2f %.2f %.3f %.3f %.3f\n", delivered, expected,
           samples ? sample[samples / 2] : 0, samples ? sample[samples * 99 / 100] : 0,
           samples ? sample[samples - 1] : 0,
           (double)(last_delivery - __atomic_load_n(&last_write_ns, __ATOMIC_RELAXED)) / 1e9, cpu,
           system - system_before, samples ? arrival[samples / 2] : 0,
           samples ? arrival[samples * 99 / 100] : 0, samples ? arrival[samples - 1] : 0);
    free(f);
    free(sample);
    free(arrival);
    return 0;
}
