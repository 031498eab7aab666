// SPDX-License-Identifier: Apache-2.0
/*
 * Runs a fuzz target over every file of the folders named on the command line: a kept corpus as a plain test.
 * Each input stands in a piece of memory of just its size, so that a sanitizer sees a read beyond it.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    static uint8_t room[4u << 20];
    size_t bytes = fread(room, 1, sizeof room, file);
    fclose(file);
    uint8_t *data = malloc(bytes);
    if (!data)
        return -1;
    memcpy(data, room, bytes);
    LLVMFuzzerTestOneInput(data, bytes);
    free(data);
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
