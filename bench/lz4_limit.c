// SPDX-License-Identifier: Apache-2.0
/*
 * The limit of ingest and of reading: LZ4 over the files' bytes in 64 KiB blocks, one thread, from the page
 * cache. Prints: bytes, compressed bytes, CPU seconds to compress, CPU seconds to decompress.
 *
 *   bench_lz4_limit FILE...
 */
#include <fcntl.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BLOCK = 65536 };

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    static char raw[BLOCK], packed[LZ4_COMPRESSBOUND(BLOCK)];
    void *lz4 = malloc((size_t)LZ4_sizeofState());
    double in_s = 0, out_s = 0;
    size_t bytes = 0, stored = 0;
    for (int i = 1; i < argc; i++) {
        int fd = open(argv[i], O_RDONLY | O_CLOEXEC);
        ssize_t got;
        if (fd < 0) {
            perror(argv[i]);
            return 1;
        }
        while ((got = read(fd, raw, BLOCK)) > 0) {
            double start = cpu_s();
            int size = LZ4_compress_fast_extState(lz4, raw, packed, (int)got, (int)sizeof packed, 1);
            double middle = cpu_s();
            LZ4_decompress_safe(packed, raw, size, BLOCK);
            in_s += middle - start;
            out_s += cpu_s() - middle;
            bytes += (size_t)got;
            stored += (size_t)size;
        }
        close(fd);
    }
    free(lz4);
    printf("%zu %zu %.4f %.4f\n", bytes, stored, in_s, out_s);
    return 0;
}
