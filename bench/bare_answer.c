// SPDX-License-Identifier: Apache-2.0
/*
 * The limit of large answers: a bare server that writes a FILE's bytes from memory to COUNT requests, one
 * after another, in writes of PIECE_BYTES. Prints "listening" when it does, and its CPU seconds for all of
 * them when it ends.
 *
 *   bench_bare_answer PORT FILE PIECE_BYTES COUNT
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int die(const char *what)
{
    perror(what);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: bench_bare_answer PORT FILE PIECE_BYTES COUNT\n");
        return 2;
    }
    size_t piece = strtoul(argv[3], NULL, 10);
    struct stat st;
    int file = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &st) != 0)
        return die(argv[2]);
    size_t bytes = (size_t)st.st_size;
    char *text = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (text == MAP_FAILED)
        return die(argv[2]);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(argv[1])),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(door, (struct sockaddr *)&at, sizeof at) != 0 || listen(door, 16) != 0)
        return die("bench_bare_answer");
    puts("listening");
    fflush(stdout);
    double before = cpu_s();
    for (int left = atoi(argv[4]); left > 0; left--) {
        char request[4096], head[128];
        int fd = accept(door, NULL, NULL);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        int n = snprintf(head, sizeof head,
                         "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", bytes);
        if (fd < 0 || read(fd, request, sizeof request) <= 0 || write(fd, head, (size_t)n) != n)
            return die("bench_bare_answer");
        for (size_t done = 0; done < bytes;) {
            size_t most = bytes - done < piece ? bytes - done : piece;
            ssize_t wrote = write(fd, text + done, most);
            if (wrote < 0)
                return die("bench_bare_answer");
            done += (size_t)wrote;
        }
        close(fd);
    }
    printf("%.4f\n", cpu_s() - before);
    return 0;
}
