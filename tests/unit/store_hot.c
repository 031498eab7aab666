// SPDX-License-Identifier: Apache-2.0
/*
 * The newest 64 KiB of text of every sandbox answer without the disk, and readers whose segments vanish under
 * them. The disk is the real one behind an io that counts what the home thread reads.
 */
#include "store/disk/disk.h"
#include "store_conformance.h"
#include "store_folder.h"
#include <dirent.h>

enum { READERS = 100, SANDBOXES = 12 };

struct counting {
    struct io io;
    struct io *real;
    pthread_t home;
    unsigned reads; /* by the home thread; others seal and compact */
};
static struct counting *counting;

static struct io *real_of(struct io *io)
{
    return ((struct counting *)io)->real;
}
static int count_open(struct io *io, const char *name, int flags)
{
    return io_open(real_of(io), name, flags);
}
static void count_close(struct io *io, int file)
{
    io_close(real_of(io), file);
}
static int count_write(struct io *io, int file, uint64_t at, struct iovec *vectors, int count)
{
    return io_write(real_of(io), file, at, vectors, count);
}
static int64_t count_read(struct io *io, int file, uint64_t at, void *into, size_t bytes)
{
    struct counting *c = (struct counting *)io;
    if (pthread_equal(c->home, pthread_self()))
        c->reads++;
    return io_read(c->real, file, at, into, bytes);
}
static int count_sync(struct io *io, int file)
{
    return io_sync(real_of(io), file);
}
static int count_sync_names(struct io *io)
{
    return io_sync_names(real_of(io));
}
static int64_t count_size(struct io *io, int file)
{
    return io_size(real_of(io), file);
}
static int count_truncate(struct io *io, int file, uint64_t bytes)
{
    return io_truncate(real_of(io), file, bytes);
}
static int count_reserve(struct io *io, int file, uint64_t from, uint64_t bytes)
{
    return io_reserve(real_of(io), file, from, bytes);
}
static void count_forget(struct io *io, int file)
{
    io_forget(real_of(io), file);
}
static int count_rename(struct io *io, const char *from, const char *to)
{
    return io_rename(real_of(io), from, to);
}
static int count_unlink(struct io *io, const char *name)
{
    return io_unlink(real_of(io), name);
}
static int count_list(struct io *io, void (*each)(void *arg, const char *name), void *arg)
{
    return io_list(real_of(io), each, arg);
}
static int count_room(struct io *io, uint64_t *ret_bytes)
{
    return io_room(real_of(io), ret_bytes);
}
static void count_free(struct io *io)
{
    io_free(real_of(io));
    free(io);
    counting = NULL;
}

static void open_counting(struct world *w)
{
    static const struct io_calls calls = {
        .open = count_open,
        .close = count_close,
        .write = count_write,
        .read = count_read,
        .sync = count_sync,
        .sync_names = count_sync_names,
        .size = count_size,
        .truncate = count_truncate,
        .reserve = count_reserve,
        .forget = count_forget,
        .rename = count_rename,
        .unlink = count_unlink,
        .list = count_list,
        .room = count_room,
        .free = count_free,
    };
    counting = calloc(1, sizeof *counting);
    assert_non_null(counting);
    counting->io.calls = &calls;
    counting->home = pthread_self();
    const char *why;
    assert_int_equal(io_posix_new(w->location, true, &counting->real), 0);
    assert_int_equal(disk_open_io(&w->options, &counting->io, true, &w->store, &why), 0);
}

static void engine_make(struct world *w)
{
    folder_make(w, "hot");
}

/* ---- the newest 64 KiB ---- */

enum { HOT_BLOCK_LINES = 20, HOT_LINE_BYTES = 100 };

static void append_long(struct world *w, const char *sandbox, uint64_t from)
{
    assert_int_equal(append_block(w, &(struct block_spec){.sandbox = sandbox,
                                                          .source = 1,
                                                          .from = from,
                                                          .to = from + HOT_BLOCK_LINES,
                                                          .lines = HOT_BLOCK_LINES,
                                                          .line_bytes = HOT_LINE_BYTES}),
                     SL_TAKEN);
}

/* As a tail does it: back from the end, then read on to it. */
static void assert_tail_without_disk(struct world *w, const char *sandbox, uint64_t last)
{
    uint64_t lines = (64 << 10) / HOT_LINE_BYTES, from = last + 1, back;
    unsigned before = counting->reads;
    while (from > last - lines + 1) {
        assert_int_equal(store_seek_back(w->store, sl_slice_of(sandbox), from, 4 << 10, &back), 0);
        assert_true(back < from);
        from = back;
    }
    assert_int_equal(counting->reads, before);
    for (from = last - lines + 1; from <= last; from += 97) {
        struct got g = read_all(w, sandbox, from, 8 << 10);
        assert_int_equal(g.lines, last - from + 1);
        assert_int_equal(g.gaps, 0);
        free(g.text);
    }
    struct got g = read_all(w, sandbox, last + 1, 8 << 10);
    assert_int_equal(g.records, 0);
    assert_int_equal(counting->reads, before);
}

static void the_newest_64_kib_of_each_sandbox_are_read_without_the_disk(void **state)
{
    struct world *w = *state;
    store_close(w->store);
    w->options.segment_bytes = 64 << 10;              /* many are sealed beneath the newest 64 KiB */
    w->options.memory_bytes = SANDBOXES * (24 << 10); /* of 64 KiB, compressed; not of all */
    open_counting(w);
    char ids[SANDBOXES][16];
    const uint64_t last = 100 * HOT_BLOCK_LINES; /* about 200 kB of text each */
    for (unsigned s = 0; s < SANDBOXES; s++)
        snprintf(ids[s], sizeof ids[s], "sandbox-%u", s);
    for (uint64_t from = 0; from < last; from += HOT_BLOCK_LINES) {
        for (unsigned s = 0; s < SANDBOXES; s++)
            append_long(w, ids[s], from);
    }
    for (unsigned s = 0; s < SANDBOXES; s += 2)
        append(w, change_item(ids[s], &(struct sl_change){.fields = SL_CHANGE_STATE, .state = SL_STOPPED}));
    for (int round = 0; round < 2; round++) {
        for (unsigned s = 0; s < SANDBOXES; s++)
            assert_tail_without_disk(w, ids[s], last);
        compact(w); /* and with all of it sealed and written anew */
    }
    assert_int_equal(
        append_block(w, &(struct block_spec){.sandbox = "new", .source = 1, .to = 9, .lines = 9}), SL_TAKEN);
    compact(w);
    unsigned reads = counting->reads;
    assert_lines(w, "new", 1, 9);
    assert_int_equal(counting->reads, reads);
    /* The count does count. */
    unsigned before = counting->reads;
    assert_lines(w, ids[0], 1, last);
    assert_true(counting->reads > before);
}

struct up {
    uint64_t before, next;
};

static bool up_record(void *arg, struct sl_slice bytes, const struct sl_record *prefix)
{
    struct up *u = arg;
    struct sl_record record;
    struct sl_slice payload;
    struct sl_block_header header;
    assert_int_equal(sl_record_check(bytes, &record, &payload, &header), SL_RECORD_OK);
    assert_false(header.flags & SL_BLOCK_GAP);
    assert_true(prefix->first_seq <= u->next);
    if (prefix->first_seq + header.lines > u->next)
        u->next = prefix->first_seq + header.lines;
    return u->next < u->before;
}

static void a_page_above_any_line_is_whole_where_memory_meets_the_disk(void **state)
{
    struct world *w = *state;
    const uint64_t last = 100 * HOT_BLOCK_LINES;
    for (uint64_t from = 0; from < last; from += HOT_BLOCK_LINES)
        append_long(w, "a", from);
    store_close(w->store);
    w->options.memory_bytes = 60 << 10;
    open_counting(w);
    for (uint64_t from = last; from < last + 1500; from += HOT_BLOCK_LINES)
        append_long(w, "a", from);
    compact(w); /* blocks on disk are cut otherwise than those in memory now */
    for (uint64_t before = last + 1500; before > 1; before -= 7) {
        struct up u = {.before = before};
        bool more;
        assert_int_equal(store_seek_back(w->store, sl_slice_of("a"), before, 3000, &u.next), 0);
        assert_true(u.next < before);
        assert_int_equal(
            store_read(w->store, sl_slice_of("a"), u.next, SL_PAGE_MAX_BYTES, up_record, &u, &more), 0);
        assert_true(u.next >= before);
        if (before <= 7)
            break;
    }
}

/* ---- readers while segments vanish ---- */

struct reader {
    uint64_t next;
    uint64_t lines, gap_lines;
};

static void step_reader(struct world *w, struct reader *r, size_t max_bytes)
{
    /* got_record() fails the test at a number that comes twice, or is passed over without a gap. */
    struct got g = {.next = r->next};
    assert_int_equal(store_read(w->store, sl_slice_of("a"), r->next, max_bytes, got_record, &g, &g.more), 0);
    assert_int_equal(g.next - r->next, g.lines + g.gap_lines);
    if (g.gap_lines)
        assert_int_equal(g.reason, SL_GAP_RETENTION);
    /* Every line is the one its number says: the source's offset is the number less one. */
    char *text = g.text;
    uint64_t seq = g.next - g.lines;
    for (char *end; text && (end = strchr(text, '\n')); text = end + 1, seq++) {
        const char *at = strstr(text, "line at ");
        assert_non_null(at);
        assert_int_equal(strtoull(at + 8, NULL, 10), seq - 1);
    }
    assert_int_equal(seq, g.next);
    free(g.text);
    r->next = g.next;
    r->lines += g.lines;
    r->gap_lines += g.gap_lines;
}

static void vanish_under_readers(struct world *w, uint64_t memory_bytes)
{
    store_close(w->store);
    w->options.segment_bytes = 8 << 10;
    w->options.retention_bytes = 96 << 10;
    w->options.memory_bytes = memory_bytes;
    world_open(w);
    static struct reader readers[READERS];
    memset(readers, 0, sizeof readers);
    uint64_t last = 0, random = 7;
    for (unsigned i = 0; i < READERS; i++)
        readers[i].next = 1;
    for (unsigned round = 0; round < 600; round++) {
        append_long(w, "a", last);
        last += HOT_BLOCK_LINES;
        append_long(w, "other", last - HOT_BLOCK_LINES);
        for (unsigned k = 0; k < 12; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            unsigned i = (unsigned)(random >> 33) % READERS;
            /* The first ones are quick; the last ones read seldom and little, and lose. */
            if (i < 30 || (random >> 20) % READERS > i)
                step_reader(w, &readers[i], i < 30 ? 64 << 10 : 100 + i * 20);
        }
        if (round % 150 == 149)
            compact(w);
    }
    assert_true(place(w, "a").oldest_seq > last / 4);
    unsigned lost = 0, whole = 0;
    for (unsigned i = 0; i < READERS; i++) {
        for (unsigned steps = 0; readers[i].next <= last; steps++) {
            assert_true(steps < 100000);
            step_reader(w, &readers[i], 2000);
        }
        assert_int_equal(readers[i].next, last + 1);
        assert_int_equal(readers[i].lines + readers[i].gap_lines, last);
        lost += readers[i].gap_lines > 0;
        whole += readers[i].gap_lines == 0;
    }
    assert_true(lost > 10);
    assert_true(whole > 10);
}

static void a_reader_gets_each_line_or_its_gap_while_segments_vanish(void **state)
{
    vanish_under_readers(*state, 0);
}

static void a_reader_gets_each_line_or_its_gap_with_the_newest_in_memory(void **state)
{
    vanish_under_readers(*state, 48 << 10);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CLAIM(the_newest_64_kib_of_each_sandbox_are_read_without_the_disk),
        CLAIM(a_page_above_any_line_is_whole_where_memory_meets_the_disk),
        CLAIM(a_reader_gets_each_line_or_its_gap_while_segments_vanish),
        CLAIM(a_reader_gets_each_line_or_its_gap_with_the_newest_in_memory),
    };
    (void)conformance_tests;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
