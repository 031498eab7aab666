// SPDX-License-Identifier: Apache-2.0
/* What the disk engine does with what is stored: compaction, deletion from disk, retention. */
#include "store_conformance.h"
#include "store_files.h"

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
    };
    (void)conformance_tests;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
