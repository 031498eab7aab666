// SPDX-License-Identifier: Apache-2.0
/* The writer of the played world: numbered lines, and the ways in which its file is turned and removed. */
#pragma once
#include "collector_stage.h"

static inline void world_turn(unsigned ms);

/* Between two calls of the writer: the collector may act. */
static inline void breathe(void)
{
    if (!w.restless || w.inside || dice(8) != 0)
        return;
    w.inside = true;
    world_turn(dice(3));
    w.inside = false;
}

static inline const char *path_of(const char *suffix)
{
    static char paths[4][PATH_ROOM];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, PATH_ROOM, "%s/box/main.log%s", w.root, suffix);
    return path;
}

static inline const char *suffix_of_number(unsigned n, const char *ending)
{
    static char texts[4][32];
    static unsigned next;
    char *text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], w.kind == STAMPED ? ".20261120-%06u%s" : ".%u%s", n, ending);
    return text;
}

static inline int64_t birth_ns(unsigned number)
{
    return (INT64_C(4000001000) + number) * SL_NS_PER_S;
}

static inline void born(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(w.birth_count < BIRTHS_MAX);
    w.births[w.birth_count] = (struct birth){.inode = st.st_ino, .at_ns = birth_ns(w.birth_count + 1)};
    w.birth_count++;
}

/* What is written from here on is in another file. */
static inline void mark(void)
{
    assert_true(w.mark_count < MARKS_MAX);
    w.marks[w.mark_count++] =
        (struct mark){.line = w.written,
                      .deaths = w.deaths,
                      .unseen = !w.up || !w.ran || w.now_ns - w.started_ns < 400 * SL_NS_PER_MS};
}

static inline void writer_reopen(void)
{
    mark();
    if (w.fd >= 0)
        close(w.fd);
    w.fd = open(path_of(""), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(w.fd >= 0);
    born(w.fd);
    breathe();
}

static inline void writer_write(unsigned count)
{
    char text[512];
    if (w.removed)
        return;
    for (unsigned i = 0; i < count; i++) {
        int pad = (int)dice(w.lines_most);
        int n = snprintf(text, sizeof text, "%08u %.*s\n", w.written, pad,
                         "as programs have it: the quick brown fox jumps over the lazy dog, again and again, "
                         "until it is told to stop; which is not to be had for a song, nor for a dance");
        w.written++;
        assert_int_equal(write(w.fd, text, (size_t)n), n);
    }
    breathe();
}

static inline void writer_copy(const char *from, const char *to, bool pack)
{
    char data[4096];
    ssize_t n;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    born(out);
    gzFile gz = pack ? gzdopen(dup(out), "w") : NULL;
    breathe();
    while ((n = read(in, data, dice(2) ? 100 : sizeof data)) > 0) {
        if (gz)
            assert_int_equal(gzwrite(gz, data, (unsigned)n), n);
        else
            assert_int_equal(write(out, data, (size_t)n), n);
        breathe();
    }
    if (gz)
        assert_int_equal(gzclose(gz), Z_OK);
    close(in);
    close(out);
    breathe();
}

static inline bool writer_move(const char *from, const char *to)
{
    if (rename(from, to) != 0)
        return false;
    breathe();
    return true;
}

static inline void writer_rotate(void)
{
    struct stat st;
    if (w.removed)
        return;
    w.turned++;
    trace("rotate %u at line %u", w.turned, w.written);
    if (w.kind == DELETED) {
        unlink(path_of(""));
        breathe();
        writer_reopen();
        return;
    }
    if (w.kind == REPLACED) {
        mark();
        close(w.fd);
        w.fd = open(path_of(".new"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        assert_true(w.fd >= 0);
        born(w.fd);
        breathe();
        assert_true(writer_move(path_of(".new"), path_of("")));
        return;
    }
    if (w.kind == STAMPED) {
        writer_move(path_of(""), path_of(suffix_of_number(w.turned, "")));
        if (w.turned > w.kept)
            unlink(path_of(suffix_of_number(w.turned - w.kept, "")));
        writer_reopen();
        return;
    }
    for (unsigned n = w.turned < w.kept ? w.turned : w.kept; n > 0; n--) {
        if (!writer_move(path_of(suffix_of_number(n, "")), path_of(suffix_of_number(n + 1, ""))))
            writer_move(path_of(suffix_of_number(n, ".gz")), path_of(suffix_of_number(n + 1, ".gz")));
    }
    if (w.kind == PACKED && stat(path_of(".2"), &st) == 0) {
        unlink(path_of(".2.gz")); /* it was not moved where only one is kept */
        breathe();
        writer_copy(path_of(".2"), path_of(".2.gz"), true);
        unlink(path_of(".2"));
        breathe();
    }
    if (w.kind == COPIED || w.kind == COPIED_PACKED) {
        writer_copy(path_of(""), path_of(".1"), false);
        trace("truncate at line %u", w.written);
        assert_int_equal(ftruncate(w.fd, 0), 0);
        mark();
        breathe();
        if (w.kind == COPIED_PACKED) {
            writer_copy(path_of(".1"), path_of(".1.gz"), true);
            unlink(path_of(".1"));
            breathe();
        }
    } else {
        writer_move(path_of(""), path_of(".1"));
        writer_reopen();
    }
}

/* The sandbox's folder, file by file. */
static inline void writer_remove(void)
{
    char folder[PATH_ROOM];
    struct dirent *e;
    if (w.removed)
        return;
    w.removed = true;
    trace("remove at line %u", w.written);
    snprintf(folder, sizeof folder, "%s/box", w.root);
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.')
            continue;
        assert_int_equal(unlinkat(dirfd(dir), e->d_name, 0), 0);
        breathe();
    }
    closedir(dir);
    assert_int_equal(rmdir(folder), 0);
    breathe();
}
