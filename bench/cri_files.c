// SPDX-License-Identifier: Apache-2.0
/*
 * Writes CRI log files of the field's shape: 118 bytes a line with the CRI prefix, SANDBOXES folders, LINES
 * in all, lines of one sandbox in bursts. The text is made of words, numbers and ids in the mix of a web
 * service's log: it compresses like one (LZ4 in 64 KiB blocks: about 0.36). Same arguments, same bytes.
 *
 *   bench_cri_files DIR SANDBOXES LINES
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static uint64_t state = 88172645463325252u;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static int text(char *out, size_t capacity)
{
    static const char *const level[] = {"INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR"};
    static const char *const what[] = {"request served", "cache miss",       "user login",
                                       "job queued",     "connection reset", "retrying"};
    static const char *const path[] = {"/api/v1/items", "/api/v1/users/me", "/healthz", "/static/app.js",
                                       "/api/v2/search"};
    uint64_t r = next();
    return snprintf(out, capacity, "%s %s path=%s status=%d id=%014" PRIx64 " ms=%d", level[r % 6],
                    what[r / 7 % 6], path[r / 64 % 5], r % 31 ? 200 : 500, r >> 8, (int)(r / 512 % 900));
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bench_cri_files DIR SANDBOXES LINES\n");
        return 2;
    }
    long sandboxes = strtol(argv[2], NULL, 10), lines = strtol(argv[3], NULL, 10);
    int64_t ns = INT64_C(1790000000) * 1000000000;
    uint64_t total = 0;
    mkdir(argv[1], 0777);
    for (long s = 0; s < sandboxes; s++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/box-%04ld", argv[1], s);
        mkdir(name, 0777);
        strcat(name, "/main.log");
        FILE *file = fopen(name, "w");
        if (!file) {
            perror(name);
            return 1;
        }
        int64_t at = ns + s * 1000;
        for (long i = 0, n = lines / sandboxes + (s < lines % sandboxes); i < n; i++) {
            char stamp[32], body[256];
            at += (int64_t)(next() % 8 ? next() % 200000 : next() % 50000000);
            time_t seconds = (time_t)(at / 1000000000);
            struct tm tm;
            gmtime_r(&seconds, &tm);
            strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
            text(body, sizeof body);
            total += (uint64_t)fprintf(file, "%s.%09" PRId64 "Z %s F %-77.77s\n", stamp, at % 1000000000,
                                       next() % 10 ? "stdout" : "stderr", body);
        }
        fclose(file);
    }
    printf("%" PRIu64 "\n", total);
    return 0;
}
