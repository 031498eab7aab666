// SPDX-License-Identifier: Apache-2.0
/* Export and what the disk engine does with what is stored: compaction, retention, damage, restarts. */
#include "store/disk/consumers.h"
#include "store/disk/format.h"
#include "store_export.h"
#include "store_folder.h"
#include <dirent.h>
#include <fcntl.h>

static void engine_make(struct world *w)
{
    folder_make(w, "export");
    w->options.segment_bytes = 16 << 10;
    w->options.memory_bytes = 0;
    w->options.export_holds = true;
}

static struct store_stats stats(struct world *w)
{
    struct store_stats s;
    store_stats(w->store, &s);
    return s;
}

/* Blocks of 10 lines, about 1.1 KiB each, of two sandboxes in turn. */
static void fill(struct world *w, unsigned from, unsigned blocks)
{
    for (unsigned i = from; i < from + blocks; i++) {
        for (unsigned k = 0; k < 2; k++)
            assert_int_equal(append_block(w, &(struct block_spec){.sandbox = k ? "a" : "b",
                                                                  .source = 1,
                                                                  .from = i * 10,
                                                                  .to = i * 10 + 10,
                                                                  .lines = 10,
                                                                  .time_ns = (1000 + i) * SL_NS_PER_S,
                                                                  .line_bytes = 100}),
                             SL_TAKEN);
    }
}

static void options(struct world *w, const struct store_options *o)
{
    w->options.retention_bytes = o->retention_bytes;
    w->options.sandbox_bytes = o->sandbox_bytes;
    w->options.export_hold_bytes = o->export_hold_bytes;
    w->options.export_holds = o->export_holds;
    world_reopen(w);
}

/* Appends and lets the engine look until `segments` are left at most. */
static void let_retention_work(struct world *w, uint64_t bytes)
{
    int64_t until_ns = sl_monotonic_ns() + 20 * SL_NS_PER_S;
    while (stats(w).bytes > bytes && sl_monotonic_ns() < until_ns) {
        struct pollfd fd = {.fd = w->wake[0], .events = POLLIN};
        if (poll(&fd, 1, 20) == 1) {
            char text[64];
            assert_true(read(w->wake[0], text, sizeof text) > 0);
        }
        store_run(w->store);
    }
}

static void compaction_leaves_alone_what_is_owed(void **state)
{
    struct world *w = *state;
    open_consumer(w, "arch"); /* first: a compaction of its own accord makes few blocks of many */
    fill(w, 0, 160);
    struct seen s = {.stop_after = 220};
    assert_int_equal(scan_page(w, "arch", 1 << 18, &s), 0);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    uint64_t segments = stats(w).segments;
    compact(w);
    assert_true(stats(w).segments < segments && stats(w).segments > 2);
    for (int i = 0; i < 2; i++) {
        struct seen rest = {0};
        scan_on(w, "arch", 2000, &rest);
        assert_seen(&rest, "a", 1601, 500);
        assert_seen(&rest, "b", 1601, 500);
        world_reopen(w);
    }
    s.stop_after = 0;
    scan_on(w, "arch", 1 << 18, &s);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    compact(w);
    struct seen none = {0};
    scan_on(w, "arch", 2000, &none);
    assert_int_equal(none.records, 0);
    fill(w, 160, 1);
    scan_on(w, "arch", 2000, &none);
    assert_int_equal(none.records, 2);
    assert_int_equal(stats(w).export_overruns, 0);
}

static void what_was_compacted_before_a_consumer_came_is_given_whole(void **state)
{
    struct world *w = *state;
    fill(w, 0, 40);
    compact(w);
    fill(w, 40, 5);
    open_consumer(w, "arch");
    for (int i = 0; i < 2; i++) {
        struct seen s = {0};
        scan_on(w, "arch", 4096, &s);
        assert_seen(&s, "a", 451, 450);
        assert_seen(&s, "b", 451, 450);
        assert_int_equal(seen_box(&s, sl_slice_of("a"))->gaps, 0);
        struct sl_consumer c = listed(w, "arch").consumer;
        assert_int_equal(c.lag_lines, 900);
        world_reopen(w);
    }
}

static void what_is_rewritten_without_a_hold_comes_again_and_nothing_is_left_out(void **state)
{
    struct world *w = *state;
    options(w, &(struct store_options){.export_holds = false});
    fill(w, 0, 40);
    open_consumer(w, "arch");
    struct seen s = {.stop_after = 1};
    assert_int_equal(scan_page(w, "arch", 1 << 18, &s), 0);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    compact(w);
    assert_true(stats(w).segments <= 2);
    s.stop_after = 0;
    scan_on(w, "arch", 2000, &s);
    assert_int_equal(seen_box(&s, sl_slice_of("a"))->next, 401);
    assert_int_equal(seen_box(&s, sl_slice_of("b"))->next, 401);
    assert_true(seen_box(&s, sl_slice_of("a"))->repeated + seen_box(&s, sl_slice_of("b"))->repeated > 0);
    assert_int_equal(seen_box(&s, sl_slice_of("a"))->gaps, 0);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    assert_int_equal(listed(w, "arch").consumer.lag_lines, 0);
    assert_int_equal(stats(w).export_overruns, 0);
}

static void places_survive_when_every_segment_was_rewritten_or_dropped(void **state)
{
    struct world *w = *state;
    fill(w, 0, 30);
    open_consumer(w, "arch");
    struct seen s = {0};
    scan_on(w, "arch", 1 << 18, &s);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    for (int i = 0; i < 3; i++) {
        compact(w);
        world_reopen(w);
        struct listed l = listed(w, "arch");
        assert_int_equal(l.count, 1);
        assert_int_equal(l.consumer.lag_lines, 0);
    }
    options(w, &(struct store_options){.retention_bytes = 1, .export_holds = true});
    fill(w, 30, 2);
    scan_on(w, "arch", 1 << 18, &s);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    for (int i = 0; i < 3; i++) {
        world_reopen(w);
        let_retention_work(w, 8 << 10);
        assert_int_equal(listed(w, "arch").count, 1);
    }
    assert_seen(&s, "a", 321, 320);
    assert_int_equal(change(w, STORE_CONSUMER_DROP, "arch", "", NULL), 0);
    for (int i = 0; i < 3; i++) {
        world_reopen(w);
        assert_int_equal(listed(w, "arch").count, 0);
    }
}

static void retention_waits_for_what_is_owed(void **state)
{
    struct world *w = *state;
    open_consumer(w, "arch");
    options(w, &(struct store_options){
                   .retention_bytes = 20 << 10, .sandbox_bytes = 4 << 10, .export_holds = true});
    fill(w, 0, 60);
    world_reopen(w);
    store_run(w->store);
    assert_true(place(w, "a").oldest_seq > 1); /* readers see what retention leaves */
    struct seen s = {0};
    scan_on(w, "arch", 4096, &s);
    assert_seen(&s, "a", 601, 600);
    assert_seen(&s, "b", 601, 600);
    assert_int_equal(seen_box(&s, sl_slice_of("a"))->gaps, 0);
    uint64_t before = stats(w).bytes;
    assert_int_equal(ack(w, "arch", &s.at), 0);
    let_retention_work(w, 48 << 10);
    assert_true(stats(w).bytes < before && stats(w).bytes <= 48 << 10);
    assert_int_equal(stats(w).export_overruns, 0);
}

static void past_the_hold_a_consumer_gets_a_gap_and_goes_on(void **state)
{
    struct world *w = *state;
    fill(w, 0, 10);
    open_consumer(w, "arch");
    struct seen s = {.stop_after = 8};
    assert_int_equal(scan_page(w, "arch", 1 << 18, &s), 0);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    s.stop_after = 0;
    options(w, &(struct store_options){
                   .retention_bytes = 20 << 10, .export_hold_bytes = 30 << 10, .export_holds = true});
    /* On a slow machine compaction may come first, and then there is room for more. */
    unsigned blocks = 10;
    while (stats(w).export_overruns == 0) {
        assert_true(blocks < 1000);
        fill(w, blocks, 60);
        blocks += 60;
        let_retention_work(w, 64 << 10);
    }
    assert_true(listed(w, "arch").consumer.overruns > 0);
    for (int i = 0; i < 2; i++) {
        struct seen rest = s;
        scan_on(w, "arch", 2000, &rest); /* a hole without a gap fails there */
        struct seen_box *a = seen_box(&rest, sl_slice_of("a"));
        assert_int_equal(a->next, 10 * blocks + 1);
        assert_true(a->gaps > 0);
        assert_true(a->lines < 10 * blocks);
        /* From its place, as after a kill. */
        struct seen again = {0};
        scan_on(w, "arch", 2000, &again);
        assert_int_equal(seen_box(&again, sl_slice_of("a"))->next, 10 * blocks + 1);
        assert_true(seen_box(&again, sl_slice_of("b"))->gaps > 0);
        world_reopen(w);
    }
}

static void lines_given_up_by_one_sandbox_are_told_when_they_are_gone(void **state)
{
    struct world *w = *state;
    options(w, &(struct store_options){.sandbox_bytes = 6 << 10, .export_holds = false});
    fill(w, 0, 20);
    open_consumer(w, "arch");
    struct seen s = {.stop_after = 6};
    assert_int_equal(scan_page(w, "arch", 1 << 18, &s), 0);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    fill(w, 20, 40);
    compact(w);
    s.stop_after = 0;
    scan_on(w, "arch", 2000, &s);
    assert_int_equal(seen_box(&s, sl_slice_of("a"))->next, 601);
    assert_true(seen_box(&s, sl_slice_of("a"))->gaps > 0);
    assert_true(stats(w).export_overruns > 0);
}

/* Inverts a byte inside the payload of the block with this text. */
static void damage(struct world *w, uint64_t at)
{
    char path[600];
    snprintf(path, sizeof path, "%s/0000000001-0000000001.0.seg", w->location);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x55;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static void a_damaged_block_costs_that_block_and_is_told(void **state)
{
    struct world *w = *state;
    fill(w, 0, 20);
    open_consumer(w, "arch");
    struct seen s = {0};
    scan_on(w, "arch", 4096, &s);
    assert_seen(&s, "a", 201, 200);
    store_close(w->store);
    world_open(w); /* sealed now */
    /* In the prefix and in the payload of records in the first segment. */
    for (uint64_t at = 3000; at < 9000; at += 1500)
        damage(w, at);
    struct seen after = {0};
    scan_on(w, "arch", 4096, &after);
    const struct seen_box *a = seen_box(&after, sl_slice_of("a")), *b = seen_box(&after, sl_slice_of("b"));
    assert_int_equal(a->next, 201);
    assert_int_equal(b->next, 201);
    assert_true(a->gaps + b->gaps >= 2);
    assert_true(a->lines + b->lines <= 380 && a->lines + b->lines >= 320);
}

static void one_place_has_one_text(void **state)
{
    (void)state;
    static const struct place places[] = {
        {.number = 1, .gaps_from = GAPS_NONE},
        {.number = UINT32_MAX,
         .generation = UINT32_MAX,
         .offset = UINT32_MAX,
         .gaps_from = GAPS_NONE,
         .lines = UINT32_MAX,
         .text_bytes = UINT64_MAX >> 16},
        {.number = 7, .generation = 2, .gaps_from = 0},
        {.number = UINT32_MAX, .generation = UINT32_MAX, .gaps_from = GAPS_NONE - 1},
        {.number = 3, .offset = 4711, .lines = 12, .text_bytes = 999, .gaps_from = GAPS_NONE},
    };
    static const uint64_t epoch = 0x123456789abcdef0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct sl_checkpoint text;
        struct place got;
        place_render(epoch, &places[i], &text);
        assert_true(sl_checkpoint_valid(sl_checkpoint_slice(&text)));
        assert_int_equal(place_parse(epoch, sl_checkpoint_slice(&text), &got), 0);
        assert_memory_equal(&got, &places[i], sizeof got);
        assert_int_equal(place_parse(epoch + 1, sl_checkpoint_slice(&text), &got), STORE_FOREIGN);
        for (uint8_t bytes = 0; bytes < text.bytes; bytes++) {
            int answer = place_parse(epoch, sl_slice(text.text, bytes), &got);
            /* A shorter number is another place, but only where that is how it would be written. */
            if (answer == 0) {
                struct sl_checkpoint again;
                place_render(epoch, &got, &again);
                assert_int_equal(again.bytes, bytes);
            }
        }
    }
    static const char *const bad[] = {
        "",
        "88888888-00000001.0.00000000.0",
        "88888888-1.0.00000000.0.0",
        "88888888-00000001.00.00000000.0.0",
        "88888888-00000001.0.0000000G.0.0",
        "88888888-00000001.0.00000000.0.0.",
        "88888888-00000001.0.00000000.0.0 ",
        "88888888-00000001.0.g",
        "88888888-00000001.0.gffffffffffffffff",
        "88888888-00000001.0.100000000.0.0",
        "888888880-00000001.0.00000000.0.0",
        "88888888-00000001.0.00000000.0.1000000000000",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct place got;
        assert_int_equal(place_parse(0x88888888, sl_slice_of(bad[i]), &got), STORE_BAD);
    }
}

static void tables_are_read_as_they_were_written(void **state)
{
    (void)state;
    struct consumer_table table = {.count = SL_CONSUMERS_MAX}, got;
    for (unsigned i = 0; i < table.count; i++) {
        struct consumer *c = &table.items[i];
        c->name_bytes = SL_CONSUMER_MAX_BYTES;
        memset(c->name, 'x', sizeof c->name);
        c->name[0] = (char)('0' + i / 10);
        c->name[1] = (char)('0' + i % 10);
        c->lost_number = i;
        c->place =
            (struct place){.number = i + 1, .generation = i % 3, .offset = i * 100, .gaps_from = GAPS_NONE};
    }
    uint8_t bytes[CONSUMERS_RECORD_MAX_BYTES];
    size_t size = consumers_encode(&table, 5, bytes);
    assert_true(size <= sizeof bytes);
    struct sl_slice payload = sl_slice(bytes + SL_RECORD_PREFIX_BYTES, size - SL_RECORD_PREFIX_BYTES);
    assert_int_equal(consumers_decode(payload, &got), 0);
    assert_int_equal(got.count, table.count);
    for (unsigned i = 0; i < got.count; i++) {
        assert_memory_equal(got.items[i].name, table.items[i].name, SL_CONSUMER_MAX_BYTES);
        assert_int_equal(place_compare(&got.items[i].place, &table.items[i].place), 0);
        assert_int_equal(got.items[i].lost_number, i);
    }
    for (size_t cut = 0; cut < payload.bytes; cut++)
        assert_true(consumers_decode(sl_slice(payload.data, cut), &got) > 0);
    bytes[SL_RECORD_PREFIX_BYTES] = 2;
    assert_int_equal(consumers_decode(payload, &got), FORMAT_NEWER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(compaction_leaves_alone_what_is_owed),
        CLAIM(what_was_compacted_before_a_consumer_came_is_given_whole),
        CLAIM(what_is_rewritten_without_a_hold_comes_again_and_nothing_is_left_out),
        CLAIM(places_survive_when_every_segment_was_rewritten_or_dropped),
        CLAIM(retention_waits_for_what_is_owed),
        CLAIM(past_the_hold_a_consumer_gets_a_gap_and_goes_on),
        CLAIM(lines_given_up_by_one_sandbox_are_told_when_they_are_gone),
        CLAIM(a_damaged_block_costs_that_block_and_is_told),
        cmocka_unit_test(one_place_has_one_text),
        cmocka_unit_test(tables_are_read_as_they_were_written),
    };
    (void)conformance_tests;
    (void)export_tests;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
