// SPDX-License-Identifier: Apache-2.0
/*
 * Runs a fuzz target over every file of the folders named on the command line: a kept corpus as a plain test.
 * Small inputs are cut at every byte, too, and have each byte turned into 0x00, 0xff and its neighbour. Each
 * input stands in a piece of memory of just its size, so that a sanitizer sees a read beyond it.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    INPUT_MAX_BYTES = 4 << 20,
    SMALL_BYTES = 600,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void run(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes);
    if (!copy)
        abort();
    memcpy(copy, data, bytes);
    LLVMFuzzerTestOneInput(copy, bytes);
    free(copy);
}

static void run_variants(uint8_t *data, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++) {
        const uint8_t was = data[at], other[] = {0x00, 0xff, (uint8_t)(was + 1), (uint8_t)(was - 1)};
        run(data, at);
        for (size_t i = 0; i < sizeof other; i++) {
            data[at] = other[i];
            run(data, bytes);
        }
        data[at] = was;
    }
}

static int replay(const char *path)
{
    static uint8_t data[INPUT_MAX_BYTES];
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    size_t bytes = fread(data, 1, sizeof data, file);
    fclose(file);
    run(data, bytes);
    if (bytes <= SMALL_BYTES)
        run_variants(data, bytes);
    return 0;
}

int main(int argc, char **argv)
{
    int runs = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (!folder) {
            fprintf(stderr, "no corpus: %s\n", argv[i]);
            return 1;
        }
        struct dirent *entry;
        while ((entry = readdir(folder))) {
            char path[4096];
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            if (replay(path) == 0)
                runs++;
        }
        closedir(folder);
    }
    printf("%d inputs\n", runs);
    return runs == 0;
}
