// SPDX-License-Identifier: Apache-2.0
/* What the disk engine does with what is stored: compaction, deletion from disk, retention, damage. */
#include "store_conformance.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void engine_make(struct world *w)
{
    const char *base = getenv("TMPDIR");
    snprintf(w->location, sizeof w->location, "%s/sandlog-upkeep-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(w->location));
    w->options.segment_bytes = 16 << 10;
    w->options.memory_bytes = 0; /* every read goes to the disk */
}

/* Calls `each` with the path of every file, until it returns false. */
static void each_file(struct world *w, bool (*each)(void *arg, const char *path), void *arg)
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

static bool unlink_file(void *arg, const char *path)
{
    (void)arg;
    unlink(path);
    return true;
}

static void engine_destroy(struct world *w)
{
    each_file(w, unlink_file, NULL);
    assert_int_equal(rmdir(w->location), 0);
}

struct find {
    const char *needle;
    bool found;
};

static bool find_in_file(void *arg, const char *path)
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

static bool on_disk(struct world *w, const char *needle)
{
    struct find f = {.needle = needle};
    each_file(w, find_in_file, &f);
    return f.found;
}

static struct store_stats stats(struct world *w)
{
    struct store_stats s;
    store_stats(w->store, &s);
    return s;
}

static void fill(struct world *w, const char *sandbox, unsigned from, unsigned blocks)
{
    for (unsigned i = from; i < from + blocks; i++)
        append_lines(w, sandbox, i * 10, 10);
}

static void assert_same(struct world *w, const char *sandbox, const char *text)
{
    struct got g = read_all(w, sandbox, 1, 4096);
    assert_int_equal(g.gaps, 0);
    assert_string_equal(g.text, text);
    free(g.text);
}

static void compaction_changes_nothing_that_is_read(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < 60; i++) {
        fill(w, "a", i, 1);
        fill(w, "b", i * 2, 2);
        if (i == 30)
            append_block(w, &(struct block_spec){.sandbox = "c",
                                                 .source = 1,
                                                 .to = 9,
                                                 .flags = SL_BLOCK_GAP,
                                                 .gap_reason = SL_GAP_SOURCE_VANISHED,
                                                 .gap_lines = 9});
    }
    struct got a = read_all(w, "a", 1, 4096), b = read_all(w, "b", 1, 4096);
    uint64_t seqs[130];
    for (unsigned i = 0; i < 130; i++)
        assert_int_equal(
            store_seek_time(w->store, sl_slice_of("a"), (990 + 5 * (int64_t)i) * SL_NS_PER_S, &seqs[i]), 0);
    struct sl_place place_a = place(w, "a");
    uint64_t before = stats(w).bytes;
    compact(w);
    assert_true(stats(w).bytes < before / 2);
    for (int k = 0; k < 2; k++) {
        assert_same(w, "a", a.text);
        assert_same(w, "b", b.text);
        struct got c = read_all(w, "c", 1, 4096);
        assert_int_equal(c.gaps, 1);
        assert_int_equal(c.gap_lines, 9);
        for (unsigned i = 0; i < 130; i++) {
            /* Blocks are larger now: found is the same line or one before it, never one behind it. */
            uint64_t seq;
            assert_int_equal(
                store_seek_time(w->store, sl_slice_of("a"), (990 + 5 * (int64_t)i) * SL_NS_PER_S, &seq), 0);
            assert_true(seq <= seqs[i]);
            assert_int_equal(seq == 601, seqs[i] == 601);
        }
        assert_int_equal(place(w, "a").birth, place_a.birth);
        assert_int_equal(place(w, "a").last_seq, 600);
        world_reopen(w);
    }
    fill(w, "a", 60, 2);
    assert_lines(w, "a", 1, 620);
    compact(w);
    assert_lines(w, "a", 1, 620);
    assert_lines(w, "a", 599, 22);
    free(a.text);
    free(b.text);
}

/* The bound is a lower one: nothing hangs on the machine's speed. */
static void compaction_moves_no_more_bytes_a_second_than_it_may(void **state)
{
    struct world *w = *state;
    store_close(w->store);
    w->options.compact_bytes_per_s = 100000;
    w->options.segment_bytes = 1 << 20; /* one, or some would be compacted before it is asked for */
    world_open(w);
    fill(w, "a", 0, 400);
    uint64_t bytes = stats(w).bytes; /* are read; what is written comes on top */
    int64_t began_ns = sl_monotonic_ns();
    compact(w);
    int64_t took_ns = sl_monotonic_ns() - began_ns;
    assert_true(stats(w).compactions > 0);
    assert_true(bytes > 60000);
    assert_true(took_ns >= (int64_t)(bytes / 2) * 10000);
    struct got g = read_all(w, "a", 1, 4096);
    assert_int_equal(g.lines, 4000);
    free(g.text);
}

static void a_deleted_sandbox_is_gone_from_disk_after_compaction(void **state)
{
    struct world *w = *state;
    static const char canary[] = "zqxjkvbwpygfmucdlhrsnioate-canary-7391";
    struct store_item item =
        block_item(w, &(struct block_spec){.sandbox = canary, .source = 1, .to = 3, .lines = 3});
    assert_int_equal(append(w, item).verdict, SL_TAKEN);
    fill(w, "other", 0, 30);
    assert_true(on_disk(w, canary));
    append(w, delete_item(canary));
    struct got g = {0};
    assert_int_equal(read_page(w, canary, 1, 1000, &g), STORE_UNKNOWN);
    compact(w);
    char line[80];
    snprintf(line, sizeof line, "%s/1/1 line", canary);
    assert_false(on_disk(w, line));
    world_reopen(w);
    assert_int_equal(
        append_block(w, &(struct block_spec){.sandbox = canary, .source = 1, .from = 3, .to = 4, .lines = 1}),
        SL_BURIED);
    assert_lines(w, "other", 1, 300);
}

static void retention_by_bytes_leaves_a_gap_then_the_rest(void **state)
{
    struct world *w = *state;
    store_close(w->store);
    w->options.retention_bytes = 64 << 10;
    world_open(w);
    unsigned blocks = 0;
    for (; place(w, (fill(w, "a", blocks, 1), "a")).oldest_seq == 1; blocks++)
        assert_true(blocks < 5000);
    for (unsigned i = 0; i < 40; i++)
        fill(w, "a", ++blocks, 1);
    for (int k = 0; k < 2; k++) {
        struct sl_place p = place(w, "a");
        assert_true(p.oldest_seq > 1);
        struct got g = read_all(w, "a", 1, 64 << 10);
        assert_int_equal(g.gaps, 1);
        assert_int_equal(g.reason, SL_GAP_RETENTION);
        assert_int_equal(g.gap_lines, p.oldest_seq - 1);
        assert_int_equal(g.lines, p.last_seq - p.oldest_seq + 1);
        free(g.text);
        uint64_t bytes = stats(w).bytes;
        assert_true(bytes >= 64 << 10);
        assert_true(bytes <= 128 << 10);
        world_reopen(w);
    }
}

static void retention_keeps_the_states_of_quiet_sandboxes(void **state)
{
    struct world *w = *state;
    store_close(w->store);
    w->options.retention_bytes = 64 << 10;
    world_open(w);
    fill(w, "quiet", 0, 2);
    struct sl_place before = place(w, "quiet");
    for (unsigned blocks = 0; place(w, "quiet").oldest_seq <= 20; blocks++) {
        fill(w, "loud", blocks, 1);
        assert_true(blocks < 5000);
    }
    for (int k = 0; k < 2; k++) {
        struct sl_place p = place(w, "quiet");
        assert_int_equal(p.birth, before.birth);
        assert_int_equal(p.last_seq, 20);
        assert_int_equal(p.oldest_seq, 21);
        assert_int_equal(
            append_block(
                w, &(struct block_spec){.sandbox = "quiet", .source = 1, .from = 10, .to = 20, .lines = 10}),
            SL_ALREADY);
        world_reopen(w);
    }
    append_lines(w, "quiet", 20, 1);
    struct got g = read_all(w, "quiet", 1, 4096);
    assert_int_equal(g.gap_lines, 20);
    assert_int_equal(g.lines, 1);
    free(g.text);
}

static void one_sandbox_keeps_between_once_and_twice_its_limit(void **state)
{
    struct world *w = *state;
    store_close(w->store);
    w->options.sandbox_bytes = 20000;
    world_open(w);
    fill(w, "small", 0, 3);
    fill(w, "a", 0, 400);
    for (int k = 0; k < 3; k++) {
        struct sl_place p = place(w, "a");
        struct got g = read_all(w, "a", p.oldest_seq, 4096);
        assert_int_equal(g.gaps, 0);
        assert_true(g.text_bytes >= 20000);
        assert_true(g.text_bytes <= 40000);
        free(g.text);
        assert_lines(w, "small", 1, 30);
        if (k == 0)
            compact(w);
        else
            world_reopen(w);
    }
    assert_true(stats(w).bytes < 40000);
}

/* What was cut off within one segment counted as kept: the segment stayed for good. */
static void what_a_sandbox_may_not_keep_any_more_goes_from_its_segment(void **state)
{
    struct world *w = *state;
    enum { LINES = 4000, BLOCKS = 100 }; /* more than compaction makes one block of */
    store_close(w->store);
    w->options.segment_bytes = 64 << 20; /* all in one */
    world_open(w);
    for (unsigned i = 0; i < BLOCKS; i++)
        append_lines(w, "a", i * LINES, LINES);
    compact(w);
    uint64_t before = stats(w).bytes;
    store_close(w->store);
    w->options.sandbox_bytes = 500000;
    world_open(w);
    append_lines(w, "a", LINES * BLOCKS, 10);
    uint64_t oldest = place(w, "a").oldest_seq;
    assert_true(oldest > LINES * BLOCKS / 2);
    compact(w);
    assert_true(stats(w).bytes < before / 2);
    assert_int_equal(place(w, "a").last_seq, LINES * BLOCKS + 10);
    assert_lines(w, "a", oldest, LINES * BLOCKS + 11 - oldest);
}

struct flipping {
    uint64_t at;
    uint64_t size;
};

static bool flip(void *arg, const char *path)
{
    struct flipping *f = arg;
    if (!strstr(path, ".seg"))
        return true;
    int fd = open(path, O_RDWR);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    f->size = (uint64_t)st.st_size;
    uint8_t byte;
    if (f->at < f->size) {
        assert_int_equal(pread(fd, &byte, 1, (off_t)f->at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)f->at), 1);
    }
    close(fd);
    return false;
}

static bool unlink_segment(void *arg, const char *path)
{
    (void)arg;
    if (strstr(path, ".seg"))
        unlink(path);
    return true;
}

struct kept_file {
    char path[600];
    uint8_t bytes[16 << 10];
    size_t size;
};

static bool keep_file(void *arg, const char *path)
{
    struct kept_file *k = arg;
    if (!strstr(path, ".seg"))
        return true;
    snprintf(k->path, sizeof k->path, "%s", path);
    int fd = open(path, O_RDONLY);
    ssize_t bytes = read(fd, k->bytes, sizeof k->bytes);
    close(fd);
    assert_true(bytes > 0 && bytes < (ssize_t)sizeof k->bytes);
    k->size = (size_t)bytes;
    return false;
}

/* Only what was kept is there afterwards, with one bit turned. */
static void put_back(struct world *w, struct kept_file *k, size_t at)
{
    each_file(w, unlink_segment, NULL);
    k->bytes[at] ^= (uint8_t)(1 << at % 8);
    int fd = open(k->path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, k->bytes, k->size), k->size);
    close(fd);
    k->bytes[at] ^= (uint8_t)(1 << at % 8);
}

/* In records, in the index and in the trailer: every third byte of all. */
static void a_bit_flipped_in_a_sealed_segment_costs_at_most_its_block(void **state)
{
    struct world *w = *state;
    fill(w, "a", 0, 6);
    store_close(w->store);
    static struct kept_file k;
    each_file(w, keep_file, &k);
    unsigned whole = 0, damaged = 0;
    for (size_t at = 0; at < k.size; at += 3) {
        put_back(w, &k, at);
        world_open(w);
        assert_int_equal(place(w, "a").last_seq, 60);
        struct got g = read_all(w, "a", 1, 4096);
        assert_int_equal(g.lines + g.gap_lines, 60);
        assert_true(g.gap_lines == 0 || (g.gap_lines == 10 && g.gaps == 1));
        damaged += g.gaps;
        whole += !g.gaps;
        free(g.text);
        store_close(w->store);
    }
    assert_true(damaged > 100);
    assert_true(whole > 50);
    put_back(w, &k, 0);
    world_open(w);
}

static void note_report(void *arg, const char *sentence)
{
    char *all = arg;
    strncat(all, sentence, 4095 - strlen(all));
    strncat(all, "\n", 4095 - strlen(all));
}

static struct store_check_result check(struct world *w, bool repair, char text[4096])
{
    struct store_check_result result;
    text[0] = 0;
    assert_int_equal(store_check(w->location, repair, note_report, text, &result), 0);
    return result;
}

static void check_finds_what_is_damaged_and_repair_cuts(void **state)
{
    struct world *w = *state;
    char text[4096];
    struct store_check_result r;
    assert_int_equal(store_check(w->location, false, note_report, text, &r), -EBUSY);
    fill(w, "a", 0, 6);
    store_close(w->store);
    r = check(w, false, text);
    assert_int_equal(r.segments, 1);
    assert_int_equal(r.lines, 60);
    assert_int_equal(r.damaged_blocks + r.damaged_indexes + r.torn_bytes + r.repaired, 0);

    struct flipping f = {.at = UINT64_MAX};
    each_file(w, flip, &f);
    f.at = 104 + 48 + 130; /* segment header, prefix, in the first block */
    each_file(w, flip, &f);
    r = check(w, false, text);
    assert_int_equal(r.damaged_blocks, 1);
    assert_non_null(strstr(text, "1 damaged record"));

    f.at = f.size - 20; /* in the trailer */
    each_file(w, flip, &f);
    r = check(w, false, text);
    assert_true(r.torn_bytes > 0);
    r = check(w, true, text);
    assert_int_equal(r.repaired, 1);
    r = check(w, false, text);
    assert_int_equal(r.torn_bytes, 0);
    world_open(w);
    assert_int_equal(store_check("/nonexistent/store", false, note_report, text, &r), -ENOENT);
}

struct cutting {
    off_t off_bytes;
};

static bool cut(void *arg, const char *path)
{
    const struct cutting *c = arg;
    struct stat st;
    if (!strstr(path, ".1.seg"))
        return true;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - c->off_bytes), 0);
    return false;
}

/* It was called repairable, repaired by --repair with 0 repaired, and again repairable. */
static void check_says_that_a_lost_index_of_a_compacted_segment_stays_lost(void **state)
{
    struct world *w = *state;
    char text[4096];
    fill(w, "a", 0, 6);
    compact(w);
    store_close(w->store);
    assert_int_equal(check(w, false, text).damaged_blocks, 0);
    /* the trailer whole; then a state is torn too */
    struct cutting cuts[] = {{64}, {10}};
    for (size_t i = 0; i < 2; i++) {
        each_file(w, cut, &cuts[i]);
        for (int repair = 0; repair < 2; repair++) {
            struct store_check_result r = check(w, repair, text);
            assert_int_equal(r.damaged_blocks, 1);
            assert_int_equal(r.damaged_indexes + r.torn_bytes + r.repaired, 0);
            assert_non_null(strstr(text, "its index is damaged or cut off"));
        }
    }
    world_open(w);
}

/*
 * A bit flipped in the first 48 bytes of a record ended the check of its segment, which said that all was
 * well: the header's too, so that a segment of which not one record was read passed.
 */
static void check_goes_on_behind_a_damaged_prefix(void **state)
{
    struct world *w = *state;
    char text[4096];
    fill(w, "a", 0, 6);
    store_close(w->store);
    for (int k = 0; k < 2; k++) {
        struct flipping f = {.at = k ? 104 + 20 : 20}; /* in the first block's prefix; in the header's */
        each_file(w, flip, &f);
        struct store_check_result r = check(w, false, text);
        assert_int_equal(r.damaged_blocks, 1);
        assert_int_equal(r.lines, k ? 50 : 60);
        assert_non_null(strstr(text, "1 damaged record"));
        each_file(w, flip, &f);
        assert_int_equal(check(w, false, text).damaged_blocks, 0);
    }
    world_open(w);
}

static void make_empty(struct world *w, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", w->location, name);
    FILE *made = fopen(path, "wx");
    assert_non_null(made);
    fclose(made);
}

/* A process that was killed right behind creat() left an empty file, which starts set aside as a damaged one.
 */
static void an_empty_segment_is_no_damage_at_a_start_and_is_named_by_check(void **state)
{
    struct world *w = *state;
    char text[4096];
    fill(w, "a", 0, 6);
    store_close(w->store);
    make_empty(w, "0000000002-0000000002.0.seg");
    struct store_check_result r = check(w, false, text);
    assert_int_equal(r.damaged_blocks, 0); /* the newest */
    make_empty(w, "0000000004-0000000004.0.seg");
    r = check(w, false, text);
    assert_int_equal(r.damaged_blocks, 1);
    assert_non_null(strstr(text, "2.0.seg: is empty"));
    assert_non_null(strstr(text, "3 to 3 are not there"));
    world_open(w);
    assert_lines(w, "a", 1, 60);
    store_close(w->store);
    r = check(w, false, text);
    assert_int_equal(r.damaged_blocks, 0);
    assert_null(strstr(text, "set aside"));
    world_open(w);
}

/* ---- whole files lost ---- */

static void lose(struct world *w, uint32_t number)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%010u-%010u.0.seg", w->location, number, number);
    assert_int_equal(unlink(path), 0);
}

/* They were taken for dropped by retention: check said that all is well. */
static void a_lost_segment_is_damage_and_not_retention(void **state)
{
    struct world *w = *state;
    char text[4096];
    for (uint32_t number = 1; number <= 2; number++) {
        store_close(w->store);
        each_file(w, unlink_file, NULL);
        world_open(w);
        fill(w, "a", 0, 1);
        for (unsigned blocks = 1; stats(w).segments < 3; blocks++)
            fill(w, "a", blocks, 1);
        uint64_t last = place(w, "a").last_seq;
        store_close(w->store);
        assert_int_equal(check(w, false, text).lost_segments, 0);
        lose(w, number);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(check(w, false, text).lost_segments, 1);
            assert_non_null(strstr(text, "are lost"));
            world_open(w);
            assert_int_equal(stats(w).lost_segments, 1);
            struct got g = read_all(w, "a", 1, 4096);
            assert_int_equal(g.gaps, 1);
            assert_int_equal(g.reason, SL_GAP_DAMAGED);
            assert_true(g.gap_lines >= 10);
            assert_int_equal(g.gap_lines + g.lines, last);
            free(g.text);
            if (k == 1)
                compact(w); /* what is there is made one; what is not stays told */
            store_close(w->store);
        }
        world_open(w);
    }
}

static void a_segment_that_retention_took_is_not_lost(void **state)
{
    struct world *w = *state;
    char text[4096];
    store_close(w->store);
    w->options.retention_bytes = 64 << 10;
    world_open(w);
    fill(w, "a", 0, 1);
    for (unsigned blocks = 1; place(w, "a").oldest_seq == 1; blocks++)
        fill(w, "a", blocks, 1);
    for (int k = 0; k < 2; k++) {
        store_close(w->store);
        assert_int_equal(check(w, false, text).lost_segments, 0);
        assert_non_null(strstr(text, "seg"));
        world_open(w);
        assert_int_equal(stats(w).lost_segments, 0);
        compact(w);
    }
}

static void a_compacted_segment_is_read_without_its_trailer(void **state)
{
    struct world *w = *state;
    fill(w, "a", 0, 6);
    fill(w, "b", 0, 6);
    compact(w);
    store_close(w->store);
    struct flipping f = {.at = UINT64_MAX};
    each_file(w, flip, &f);
    f.at = f.size - 20;
    each_file(w, flip, &f);
    for (int k = 0; k < 2; k++) {
        world_open(w);
        assert_lines(w, "a", 1, 60);
        assert_lines(w, "b", 1, 60);
        compact(w);
        store_close(w->store);
    }
    world_open(w);
    append_lines(w, "a", 60, 1);
    assert_lines(w, "a", 1, 61);
}

static bool cut_compacted(void *arg, const char *path)
{
    (void)arg;
    struct stat st;
    if (!strstr(path, ".seg") || strstr(path, ".0.seg"))
        return true;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size * 7 / 10), 0);
    return false;
}

/* Its states stand at its end: cut off, lines that were lost were called retention's, and nothing was
 * counted. */
static void what_a_cut_compacted_segment_lost_is_damage_and_not_retention(void **state)
{
    struct world *w = *state;
    char text[4096];
    fill(w, "a", 0, 6);
    fill(w, "b", 0, 6);
    compact(w);
    append_lines(w, "a", 60, 3);
    append_lines(w, "b", 60, 3);
    store_close(w->store);
    each_file(w, cut_compacted, NULL);
    for (int k = 0; k < 3; k++) {
        assert_true(check(w, false, text).damaged_blocks > 0);
        world_open(w);
        assert_true(stats(w).cut_records > 0 && stats(w).cut_bytes > 0);
        for (const char *id = "a"; *id <= 'b'; id = *id == 'a' ? "b" : "c") {
            struct got g = read_all(w, id, 1, 4096);
            assert_int_equal(g.gaps, 1);
            assert_int_equal(g.gap_lines + g.lines, 63);
            assert_int_equal(g.reason, SL_GAP_DAMAGED);
            free(g.text);
        }
        if (k == 1)
            compact(w);
        store_close(w->store);
    }
    world_open(w);
}

static void a_second_process_is_told_that_the_store_is_taken(void **state)
{
    struct world *w = *state;
    struct store *second;
    const char *why = NULL;
    assert_int_equal(store_open(&w->options, &second, &why), -EBUSY);
    assert_non_null(strstr(why, "in use"));
}

static bool open_to_all(void *arg, const char *path)
{
    (void)arg;
    assert_int_equal(chmod(path, 0666), 0);
    return true;
}

/* Files that are writable in a directory that is not: the broker came up, and stopped with its first new
 * segment. */
static void a_directory_that_takes_no_new_file_is_refused_at_a_start(void **state)
{
    struct world *w = *state;
    fill(w, "a", 0, 2);
    store_close(w->store);
    each_file(w, open_to_all, NULL);
    assert_int_equal(chmod(w->location, 0555), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store *s;
        const char *why = "";
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(2);
        int fault = store_open(&w->options, &s, &why);
        _exit(fault == -EACCES && strstr(why, "permission") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(chmod(w->location, 0750), 0);
    world_open(w);
    assert_lines(w, "a", 1, 20);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CLAIM(compaction_changes_nothing_that_is_read),
        CLAIM(compaction_moves_no_more_bytes_a_second_than_it_may),
        CLAIM(a_deleted_sandbox_is_gone_from_disk_after_compaction),
        CLAIM(retention_by_bytes_leaves_a_gap_then_the_rest),
        CLAIM(retention_keeps_the_states_of_quiet_sandboxes),
        CLAIM(one_sandbox_keeps_between_once_and_twice_its_limit),
        CLAIM(what_a_sandbox_may_not_keep_any_more_goes_from_its_segment),
        CLAIM(a_bit_flipped_in_a_sealed_segment_costs_at_most_its_block),
        CLAIM(check_finds_what_is_damaged_and_repair_cuts),
        CLAIM(check_says_that_a_lost_index_of_a_compacted_segment_stays_lost),
        CLAIM(check_goes_on_behind_a_damaged_prefix),
        CLAIM(an_empty_segment_is_no_damage_at_a_start_and_is_named_by_check),
        CLAIM(a_lost_segment_is_damage_and_not_retention),
        CLAIM(a_segment_that_retention_took_is_not_lost),
        CLAIM(a_compacted_segment_is_read_without_its_trailer),
        CLAIM(what_a_cut_compacted_segment_lost_is_damage_and_not_retention),
        CLAIM(a_second_process_is_told_that_the_store_is_taken),
        CLAIM(a_directory_that_takes_no_new_file_is_refused_at_a_start),
    };
    (void)conformance_tests;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
