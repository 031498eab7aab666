// SPDX-License-Identifier: Apache-2.0
/*
 * Data directories of each format version, kept in tests/golden/, as a store wrote them: they are read for
 * ever. And those of a newer version are refused, unchanged.
 *
 *   unit_store_golden --make FOLDER     writes the one of the present version anew (when the version changes)
 */
#include "store/disk/format.h"
#include "store_conformance.h"
#include "wire/crc32c.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { FILE_MOST = 64 << 10 };
static const char golden[] = SL_SAMPLES "/../golden/store-1";

static size_t read_file(const char *folder, const char *name, uint8_t *into)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t bytes = read(fd, into, FILE_MOST);
    assert_true(bytes >= 0 && bytes < FILE_MOST);
    close(fd);
    return (size_t)bytes;
}

static void write_file(const char *folder, const char *name, const uint8_t *data, size_t bytes)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    assert_int_equal(close(fd), 0);
}

/* Calls `each` with every file but the lock; how many. */
static unsigned each_file(const char *folder, void (*each)(void *arg, const char *name), void *arg)
{
    DIR *d = opendir(folder);
    assert_non_null(d);
    struct dirent *entry;
    unsigned files = 0;
    while ((entry = readdir(d))) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0)
            continue;
        each(arg, entry->d_name);
        files++;
    }
    closedir(d);
    return files;
}

struct copying {
    const char *from, *to;
};

static void copy_file(void *arg, const char *name)
{
    const struct copying *c = arg;
    uint8_t bytes[FILE_MOST];
    write_file(c->to, name, bytes, read_file(c->from, name, bytes));
}

static void unlink_file(void *arg, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
    unlink(path);
}

static void same_file(void *arg, const char *name)
{
    const struct copying *c = arg;
    uint8_t a[FILE_MOST], b[FILE_MOST];
    size_t bytes = read_file(c->from, name, a);
    assert_int_equal(read_file(c->to, name, b), bytes);
    assert_memory_equal(a, b, bytes);
}

static void engine_make(struct world *w)
{
    const char *base = getenv("TMPDIR");
    snprintf(w->location, sizeof w->location, "%s/sandlog-golden-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(w->location));
    w->options.segment_bytes = 1 << 20;
}

static void engine_destroy(struct world *w)
{
    each_file(w->location, unlink_file, w->location);
    unlink_file(w->location, "lock");
    assert_int_equal(rmdir(w->location), 0);
}

/* ---- writing it ---- */

static struct sl_change labelled(struct sl_writer *pairs)
{
    sl_label_write(pairs, sl_slice_of("team"), sl_slice_of("blue"));
    sl_label_write(pairs, sl_slice_of("tier"), sl_slice_of("front"));
    return (struct sl_change){.fields = SL_CHANGE_STATE | SL_CHANGE_HOST | SL_CHANGE_LABELS,
                              .state = SL_RUNNING,
                              .host = sl_slice_of("host-1"),
                              .labels = 2,
                              .label_pairs = sl_slice(pairs->data, pairs->bytes)};
}

static void make(const char *folder)
{
    void *state;
    assert_int_equal(world_setup(&state), 0);
    struct world *w = state;
    uint8_t bytes[256];
    struct sl_writer pairs = sl_writer(bytes, sizeof bytes);
    struct sl_change change = labelled(&pairs);
    /* Segments 1 and 2, which become one. */
    append(w, change_item("web", &change));
    append_lines(w, "web", 0, 10);
    append_block(w, &(struct block_spec){.sandbox = "gone", .source = 3, .to = 4, .lines = 4});
    world_reopen(w);
    append_lines(w, "web", 10, 10);
    append(w, delete_item("gone"));
    append_lines(w, "job", 0, 3);
    world_reopen(w);
    compact(w);
    /* Segment 3, or the next: sealed. */
    append_block(w, &(struct block_spec){.sandbox = "web",
                                         .source = 1,
                                         .from = 20,
                                         .to = 25,
                                         .flags = SL_BLOCK_GAP,
                                         .gap_reason = SL_GAP_SOURCE_VANISHED,
                                         .gap_lines = 5});
    append_lines(w, "web", 25, 5);
    append(w, change_item("job", &(struct sl_change){.fields = SL_CHANGE_STATE | SL_CHANGE_EXIT,
                                                     .state = SL_STOPPED,
                                                     .exit_code = 3}));
    world_reopen(w);
    /* The last: copied as a crash would leave it. */
    append_lines(w, "web", 30, 2);
    append_lines(w, "late", 0, 1);
    struct copying c = {w->location, folder};
    assert_true(each_file(w->location, copy_file, &c) >= 4);
    world_teardown(&state);
}

/* ---- reading it ---- */

static void copy_golden(struct world *w)
{
    store_close(w->store);
    each_file(w->location, unlink_file, w->location);
    struct copying c = {golden, w->location};
    assert_int_equal(each_file(golden, copy_file, &c), 4);
}

static void ignore_report(void *arg, const char *sentence)
{
    (void)arg;
    (void)sentence;
}

static void note_labels(const struct sl_info *info, char text[128])
{
    struct sl_reader r = sl_reader(info->label_pairs);
    struct sl_slice key, value;
    size_t at = 0;
    text[0] = 0;
    while (sl_label_next(&r, &key, &value))
        at += (size_t)snprintf(text + at, 128 - at, "%.*s=%.*s,", (int)key.bytes, (const char *)key.data,
                               (int)value.bytes, (const char *)value.data);
}

static void assert_is_what_was_written(struct world *w)
{
    char wanted[4096] = "";
    for (unsigned i = 0; i < 32; i++) {
        if (i < 20 || i >= 25)
            snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "web/1/0 line at %u\n", i);
    }
    struct got g = read_all(w, "web", 1, 4096);
    assert_string_equal(g.text, wanted);
    assert_int_equal(g.lines, 27);
    assert_int_equal(g.gaps, 1);
    assert_int_equal(g.gap_lines, 5);
    assert_int_equal(g.reason, SL_GAP_SOURCE_VANISHED);
    free(g.text);
    assert_lines(w, "job", 1, 3);
    assert_lines(w, "late", 1, 1);

    struct sl_info info;
    char labels[128];
    assert_int_equal(store_info(w->store, sl_slice_of("web"), &info), 0);
    assert_true(sl_slice_equal(info.host, sl_slice_of("host-1")));
    note_labels(&info, labels);
    assert_string_equal(labels, "team=blue,tier=front,");
    assert_int_equal(info.first_time_ns, 1000 * SL_NS_PER_S);
    assert_int_equal(info.last_time_ns, 1030 * SL_NS_PER_S + SL_NS_PER_MS);
    assert_int_equal(place(w, "web").state, SL_RUNNING);
    assert_int_equal(place(w, "job").state, SL_STOPPED);
    assert_int_equal(store_info(w->store, sl_slice_of("job"), &info), 0);
    assert_int_equal(info.place.exit_code, 3);

    struct sl_place p;
    assert_int_equal(store_place(w->store, sl_slice_of("gone"), &p), STORE_UNKNOWN);
    assert_int_equal(
        append_block(w, &(struct block_spec){.sandbox = "gone", .source = 3, .from = 4, .to = 5, .lines = 1}),
        SL_BURIED);
    uint64_t seq;
    assert_int_equal(store_seek_time(w->store, sl_slice_of("web"), 1025 * SL_NS_PER_S, &seq), 0);
    assert_int_equal(seq, 21);
}

static void a_directory_of_version_1_is_read_whole(void **state)
{
    struct world *w = *state;
    copy_golden(w);
    struct store_check_result r;
    assert_int_equal(store_check(w->location, false, ignore_report, NULL, &r), 0);
    assert_int_equal(r.segments, 3);
    assert_int_equal(r.lines, 31);
    assert_int_equal(r.damaged_blocks + r.damaged_indexes + r.torn_bytes, 0);
    for (int memory = 0; memory < 2; memory++) {
        w->options.memory_bytes = memory ? 1 << 20 : 0;
        world_open(w);
        struct store_stats s;
        store_stats(w->store, &s);
        assert_int_equal(s.cut_records, 0);
        assert_is_what_was_written(w);
        if (memory == 0)
            store_close(w->store);
    }
}

static void a_directory_of_version_1_is_written_on(void **state)
{
    struct world *w = *state;
    copy_golden(w);
    world_open(w);
    uint64_t epoch = store_epoch(w->store), birth = place(w, "web").birth;
    append_lines(w, "web", 32, 8);
    world_reopen(w);
    assert_int_equal(place(w, "web").last_seq, 35);
    assert_int_equal(place(w, "web").birth, birth);
    assert_int_equal(store_epoch(w->store), epoch);
    struct got g = read_all(w, "web", 1, 4096);
    assert_int_equal(g.lines, 35);
    assert_int_equal(g.gap_lines, 5);
    free(g.text);
}

/* ---- a newer one ---- */

static void make_header_newer(uint8_t *file)
{
    struct sl_record record;
    assert_int_equal(sl_record_decode_prefix(sl_slice(file, FILE_MOST), &record), SL_RECORD_OK);
    uint8_t *payload = file + SL_RECORD_PREFIX_BYTES;
    assert_int_equal(payload[0], FORMAT_HEADER);
    assert_int_equal(payload[4], FORMAT_VERSION);
    payload[4] = FORMAT_VERSION + 1;
    record.payload_crc = sl_crc32c(0, sl_slice(payload, record.payload_bytes));
    sl_record_encode_prefix(&record, file);
}

static void make_trailer_newer(uint8_t *file, size_t bytes)
{
    uint8_t *trailer = file + bytes - 64;
    assert_memory_equal(trailer, "SLT1", 4);
    assert_int_equal(trailer[4], FORMAT_VERSION);
    trailer[4] = FORMAT_VERSION + 1;
    uint32_t crc = sl_crc32c(0, sl_slice(trailer, 60));
    for (int i = 0; i < 4; i++)
        trailer[60 + i] = (uint8_t)(crc >> (8 * i));
}

static void assert_refused(struct world *w)
{
    char before[] = "/tmp/sandlog-golden-XXXXXX";
    assert_non_null(mkdtemp(before));
    struct copying c = {w->location, before};
    unsigned files = each_file(w->location, copy_file, &c);
    const char *why = NULL;
    w->options.location = w->location;
    int fault = store_open(&w->options, &w->store, &why);
    assert_int_equal(fault, -EPROTONOSUPPORT);
    assert_non_null(why);
    assert_string_equal(why, "the data directory was written by a newer version of sandlog");
    /* Nothing was cut, sealed, renamed or unlinked. */
    assert_int_equal(each_file(w->location, same_file, &c), files);
    each_file(before, unlink_file, before);
    rmdir(before);
}

struct newer {
    struct world *w;
    bool trailer;
    unsigned refused;
};

static void refuse_with_this_newer(void *arg, const char *name)
{
    struct newer *n = arg;
    uint8_t kept[FILE_MOST], bytes[FILE_MOST];
    size_t size = read_file(golden, name, kept);
    memcpy(bytes, kept, size);
    if (!strstr(name, ".seg") || (n->trailer && memcmp(kept + size - 64, "SLT1", 4) != 0))
        return;
    if (n->trailer)
        make_trailer_newer(bytes, size);
    else
        make_header_newer(bytes);
    write_file(n->w->location, name, bytes, size);
    assert_refused(n->w);
    write_file(n->w->location, name, kept, size);
    n->refused++;
}

static void a_newer_version_is_refused_in_words_and_left_as_it_is(void **state)
{
    struct world *w = *state;
    copy_golden(w);
    struct newer n = {.w = w};
    each_file(golden, refuse_with_this_newer, &n);
    assert_int_equal(n.refused, 3);
    n = (struct newer){.w = w, .trailer = true};
    each_file(golden, refuse_with_this_newer, &n);
    assert_int_equal(n.refused, 2);

    uint8_t text[FILE_MOST];
    size_t bytes = read_file(golden, "store", text);
    assert_memory_equal(text, "sandlog store 1\n", 16);
    text[14] = '2';
    write_file(w->location, "store", text, bytes);
    assert_refused(w);
    text[14] = '1';
    write_file(w->location, "store", text, bytes);
    world_open(w);
    assert_is_what_was_written(w);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--make") == 0) {
        make(argv[2]);
        return 0;
    }
    static const struct CMUnitTest tests[] = {
        CLAIM(a_directory_of_version_1_is_read_whole),
        CLAIM(a_directory_of_version_1_is_written_on),
        CLAIM(a_newer_version_is_refused_in_words_and_left_as_it_is),
    };
    (void)conformance_tests;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
