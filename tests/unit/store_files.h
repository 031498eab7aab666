// SPDX-License-Identifier: Apache-2.0
/* A world on the disk engine (store_folder.h) with small segments and no memory, whose files are looked into
 * and worked on. */
#pragma once
#include "store_folder.h"
#include <fcntl.h>
#include <sys/stat.h>

static void engine_make(struct world *w)
{
    folder_make(w, "files");
    w->options.segment_bytes = 16 << 10;
    w->options.memory_bytes = 0; /* every read goes to the disk */
}

/* Calls `each` with the path of every file, until it returns false. */
static inline void each_file(struct world *w, bool (*each)(void *arg, const char *path), void *arg)
{
    DIR *folder = opendir(w->location);
    assert_non_null(folder);
    struct dirent *entry;
    bool more = true;
    while (more && (entry = readdir(folder))) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", w->location, entry->d_name);
        if (entry->d_name[0] != '.')
            more = each(arg, path);
    }
    closedir(folder);
}

struct find {
    const char *needle;
    bool found;
};

static inline bool find_in_file(void *arg, const char *path)
{
    struct find *f = arg;
    int fd = open(path, O_RDONLY);
    struct stat st;
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    char *bytes = malloc((size_t)st.st_size + 1);
    assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
    close(fd);
    f->found = memmem(bytes, (size_t)st.st_size, f->needle, strlen(f->needle));
    free(bytes);
    return !f->found;
}

static inline bool on_disk(struct world *w, const char *needle)
{
    struct find f = {.needle = needle};
    each_file(w, find_in_file, &f);
    return f.found;
}

static inline struct store_stats stats(struct world *w)
{
    struct store_stats s;
    store_stats(w->store, &s);
    return s;
}

static inline void fill(struct world *w, const char *sandbox, unsigned from, unsigned blocks)
{
    for (unsigned i = from; i < from + blocks; i++)
        append_lines(w, sandbox, i * 10, 10);
}

static inline void assert_same(struct world *w, const char *sandbox, const char *text)
{
    struct got g = read_all(w, sandbox, 1, 4096);
    assert_int_equal(g.gaps, 0);
    assert_string_equal(g.text, text);
    free(g.text);
}
