// SPDX-License-Identifier: Apache-2.0
/* What every engine of store.h must do, as claims about a world (store_world.h); the includer runs
 * conformance_tests. */
#pragma once
#include "store_world.h"

/* ---- claims ---- */

static void an_unknown_sandbox_is_said_to_be_unknown(void **state)
{
    struct world *w = *state;
    struct sl_slice id = sl_slice_of("nobody");
    struct sl_place p;
    struct sl_info info;
    struct got g = {0};
    uint64_t seq;
    assert_int_equal(store_place(w->store, id, &p), STORE_UNKNOWN);
    assert_int_equal(store_info(w->store, id, &info), STORE_UNKNOWN);
    assert_int_equal(read_page(w, "nobody", 1, 1000, &g), STORE_UNKNOWN);
    assert_int_equal(store_seek_time(w->store, id, 0, &seq), STORE_UNKNOWN);
    assert_int_equal(store_seek_back(w->store, id, 1, 1000, &seq), STORE_UNKNOWN);
}

static void lines_are_numbered_from_one_without_a_hole(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    append_lines(w, "b", 0, 5);
    append_lines(w, "a", 3, 4);
    struct sl_place p = place(w, "a");
    assert_int_equal(p.oldest_seq, 1);
    assert_int_equal(p.last_seq, 7);
    assert_int_equal(p.state, SL_RUNNING);
    assert_int_equal(place(w, "b").last_seq, 5);
    assert_lines(w, "a", 1, 7);
    assert_lines(w, "a", 4, 4);
    assert_lines(w, "a", 6, 2);
    assert_lines(w, "a", 8, 0);
    assert_lines(w, "a", 100, 0);
    assert_lines(w, "b", 1, 5);
    assert_string_equal(w->last_grown, "a");
}

static void what_was_appended_is_there_after_reopening(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    append_lines(w, "a", 3, 4);
    struct got before = read_all(w, "a", 1, 1 << 20);
    struct sl_place p = place(w, "a");
    uint64_t epoch = store_epoch(w->store);
    for (int i = 0; i < 3; i++) {
        world_reopen(w);
        struct got after = read_all(w, "a", 1, 1 << 20);
        assert_string_equal(before.text, after.text);
        free(after.text);
        assert_int_equal(store_epoch(w->store), epoch);
        assert_int_equal(place(w, "a").birth, p.birth);
        append_lines(w, "c", (uint64_t)i * 2, 2);
    }
    append_lines(w, "a", 7, 1);
    assert_lines(w, "a", 1, 8);
    assert_lines(w, "c", 1, 6);
    free(before.text);
}

static void a_resent_block_is_stored_once(void **state)
{
    struct world *w = *state;
    struct block_spec spec = {.sandbox = "a", .source = 1, .from = 0, .to = 10, .lines = 2, .time_ns = 5};
    assert_int_equal(append_block(w, &spec), SL_TAKEN);
    assert_int_equal(append_block(w, &spec), SL_ALREADY);
    spec.to = 5;
    assert_int_equal(append_block(w, &spec), SL_ALREADY);
    world_reopen(w);
    spec.to = 10;
    struct sl_append_verdict v = append(w, block_item(w, &spec));
    assert_int_equal(v.verdict, SL_ALREADY);
    assert_int_equal(v.incarnation, 1);
    assert_int_equal(v.offset, 10);
    assert_int_equal(place(w, "a").last_seq, 2);
}

static void a_block_that_does_not_stand_at_its_source_is_sent_there(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 10);
    struct block_spec spec = {.sandbox = "a", .source = 1, .from = 12, .to = 14, .lines = 2, .time_ns = 5};
    struct sl_append_verdict v = append(w, block_item(w, &spec));
    assert_int_equal(v.verdict, SL_ELSEWHERE);
    assert_int_equal(v.incarnation, 1);
    assert_int_equal(v.offset, 10);
    spec.from = 8;
    assert_int_equal(append_block(w, &spec), SL_ELSEWHERE);
    spec.source = 2;
    v = append(w, block_item(w, &spec));
    assert_int_equal(v.verdict, SL_ELSEWHERE);
    assert_int_equal(v.incarnation, 0);
    assert_int_equal(v.offset, 0);
    assert_int_equal(place(w, "a").last_seq, 10);
}

static void a_new_incarnation_begins_at_zero_and_the_old_one_is_over(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 10);
    struct block_spec spec = {
        .sandbox = "a", .source = 1, .incarnation = 2, .from = 4, .to = 6, .lines = 1, .time_ns = 5};
    assert_int_equal(append_block(w, &spec), SL_ELSEWHERE);
    spec.from = 0;
    assert_int_equal(append_block(w, &spec), SL_TAKEN);
    spec.incarnation = 1;
    spec.from = 10;
    spec.to = 12;
    struct sl_append_verdict v = append(w, block_item(w, &spec));
    assert_int_equal(v.verdict, SL_ELSEWHERE);
    assert_int_equal(v.incarnation, 2);
    assert_int_equal(v.offset, 6);
}

static void blocks_in_flight_are_judged_by_those_before_them(void **state)
{
    struct world *w = *state;
    enum { BLOCKS = 20 };
    struct store_item items[BLOCKS];
    struct waiting batches[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        items[i] =
            block_item(w, &(struct block_spec){
                              .sandbox = "a", .source = 1, .from = i, .to = i + 1, .lines = 1, .time_ns = i});
        submit(w, &batches[i], &items[i], 1);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        await(w, &batches[i]);
        assert_int_equal(batches[i].fault, 0);
        assert_int_equal(items[i].verdict.verdict, SL_TAKEN);
        assert_int_equal(items[i].first_seq, i + 1);
        item_free(&items[i]);
    }
    assert_lines(w, "a", 1, BLOCKS);
}

static void one_bad_item_does_not_spoil_its_batch(void **state)
{
    struct world *w = *state;
    struct store_item items[3] = {
        block_item(w, &(struct block_spec){.sandbox = "a", .source = 1, .from = 0, .to = 1, .lines = 1}),
        block_item(w, &(struct block_spec){.sandbox = "a", .source = 1, .from = 5, .to = 6, .lines = 1}),
        block_item(w, &(struct block_spec){.sandbox = "b", .source = 1, .from = 0, .to = 1, .lines = 1}),
    };
    assert_int_equal(append_items(w, items, 3), 0);
    assert_int_equal(items[0].verdict.verdict, SL_TAKEN);
    assert_int_equal(items[1].verdict.verdict, SL_ELSEWHERE);
    assert_int_equal(items[1].verdict.offset, 1);
    assert_int_equal(items[2].verdict.verdict, SL_TAKEN);
    for (int i = 0; i < 3; i++)
        item_free(&items[i]);
}

static void closing_ends_the_store_with_what_was_in_flight(void **state)
{
    struct world *w = *state;
    struct store_item item =
        block_item(w, &(struct block_spec){.sandbox = "a", .source = 1, .from = 0, .to = 1, .lines = 1});
    struct waiting b;
    submit(w, &b, &item, 1);
    store_close(w->store);
    assert_true(b.done);
    assert_int_equal(b.fault, 0);
    item_free(&item);
    world_open(w);
    assert_lines(w, "a", 1, 1);
}

static void source_count(void *arg, const struct sl_source_place *p)
{
    struct sl_source_place *last = arg;
    *last = *p;
}

static void a_source_is_known_with_all_the_collector_needs(void **state)
{
    struct world *w = *state;
    struct block_spec spec = {
        .sandbox = "a", .source = 7, .from = 0, .to = 100, .lines = 2, .time_ns = 5, .open_from = 90};
    assert_int_equal(append_block(w, &spec), SL_TAKEN);
    for (int i = 0; i < 2; i++) {
        struct sl_source_place p = {0};
        assert_int_equal(store_sources(w->store, sl_slice_of("a"), source_count, &p), 0);
        assert_int_equal(p.source.key[0], 7);
        assert_int_equal(p.source.incarnation, 1);
        assert_int_equal(p.offset, 100);
        assert_int_equal(p.open_from, 90);
        assert_int_equal(p.fingerprint, 0x1234);
        assert_int_equal(p.fingerprint_bytes, 17);
        assert_int_equal(p.flags, 0);
        world_reopen(w);
    }
    struct block_spec close_spec = {
        .sandbox = "a", .source = 7, .from = 100, .to = 100, .flags = SL_BLOCK_CLOSE};
    assert_int_equal(append_block(w, &close_spec), SL_TAKEN);
    assert_int_equal(append_block(w, &close_spec), SL_ALREADY);
    struct sl_source_place p = {0};
    assert_int_equal(store_sources(w->store, sl_slice_of("a"), source_count, &p), 0);
    assert_int_equal(p.flags, SL_SOURCE_CLOSED);
    assert_lines(w, "a", 1, 2);
}

static void a_line_that_spans_two_sources_moves_both(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 10);
    struct block_spec spec = {.sandbox = "a",
                              .source = 2,
                              .from = 0,
                              .to = 5,
                              .lines = 1,
                              .also = 1,
                              .also_from = 9,
                              .also_to = 12};
    assert_int_equal(append_block(w, &spec), SL_ELSEWHERE);
    spec.also_from = 10;
    assert_int_equal(append_block(w, &spec), SL_TAKEN);
    struct block_spec next = {.sandbox = "a", .source = 1, .from = 12, .to = 13, .lines = 1};
    assert_int_equal(append_block(w, &next), SL_TAKEN);
    world_reopen(w);
    assert_int_equal(append_block(w, &next), SL_ALREADY);
    assert_int_equal(append_block(w, &spec), SL_ALREADY);
}

static void a_gap_stands_between_lines_and_takes_no_number(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    uint32_t version = place(w, "a").version;
    assert_int_equal(append_block(w, &(struct block_spec){.sandbox = "a",
                                                          .source = 1,
                                                          .from = 3,
                                                          .to = 50,
                                                          .flags = SL_BLOCK_GAP,
                                                          .gap_reason = SL_GAP_SOURCE_TRUNCATED,
                                                          .gap_lines = 12}),
                     SL_TAKEN);
    assert_true(place(w, "a").version > version);
    assert_int_equal(place(w, "a").lost, 12);
    assert_int_equal(place(w, "a").last_seq, 3);
    struct got g = read_all(w, "a", 4, 1000);
    assert_int_equal(g.gaps, 1);
    assert_int_equal(g.lines, 0);
    append_lines(w, "a", 50, 2);
    for (int i = 0; i < 2; i++) {
        g = read_all(w, "a", 1, 1000);
        assert_int_equal(g.lines, 5);
        assert_int_equal(g.gaps, 1);
        assert_int_equal(g.gap_lines, 12);
        assert_int_equal(g.reason, SL_GAP_SOURCE_TRUNCATED);
        free(g.text);
        g = read_all(w, "a", 5, 1000);
        assert_int_equal(g.gaps, 0);
        assert_int_equal(g.lines, 1);
        free(g.text);
        world_reopen(w);
    }
}

static void pages_hold_at_most_what_was_asked_but_at_least_one_record(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < 20; i++)
        append_lines(w, "a", i * 10, 10);
    struct got g = {0};
    assert_int_equal(read_page(w, "a", 1, 1, &g), 0);
    assert_int_equal(g.records, 1);
    assert_true(g.more);
    size_t one = g.bytes;
    free(g.text);
    assert_int_equal(read_page(w, "a", 1, 3 * one + one / 2, &g), 0);
    assert_int_equal(g.records, 3);
    assert_true(g.more);
    free(g.text);
    g.stop_after = 2;
    assert_int_equal(read_page(w, "a", 11, 1 << 20, &g), 0);
    assert_int_equal(g.records, 2);
    assert_int_equal(g.lines, 20);
    assert_true(g.more);
    free(g.text);
    assert_lines(w, "a", 1, 200);
    assert_lines(w, "a", 101, 100);
}

static void paging_up_meets_every_line(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < 20; i++)
        append_lines(w, "a", i * 10, 10);
    uint64_t before = 201, seq, lines = 0;
    while (before > 1) {
        assert_int_equal(store_seek_back(w->store, sl_slice_of("a"), before, 1000, &seq), 0);
        assert_true(seq < before);
        struct got g = {0};
        assert_int_equal(read_page(w, "a", seq, 1 << 20, &g), 0);
        assert_true(g.next >= before);
        free(g.text);
        lines += before - seq;
        before = seq;
    }
    assert_int_equal(lines, 200);
    assert_int_equal(store_seek_back(w->store, sl_slice_of("a"), 1, 1000, &seq), 0);
    assert_int_equal(seq, 1);
}

static void time_finds_the_first_record_that_reaches_it(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < 20; i++)
        append_lines(w, "a", i * 10, 10); /* at 1000 + 10 i s, 10 lines 1 ms apart */
    struct sl_slice id = sl_slice_of("a");
    uint64_t seq;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_seek_time(w->store, id, 0, &seq), 0);
        assert_int_equal(seq, 1);
        assert_int_equal(store_seek_time(w->store, id, 1020 * SL_NS_PER_S, &seq), 0);
        assert_int_equal(seq, 21);
        assert_int_equal(store_seek_time(w->store, id, 1020 * SL_NS_PER_S + 9 * SL_NS_PER_MS, &seq), 0);
        assert_int_equal(seq, 21);
        assert_int_equal(store_seek_time(w->store, id, 1020 * SL_NS_PER_S + 10 * SL_NS_PER_MS, &seq), 0);
        assert_int_equal(seq, 31);
        assert_int_equal(store_seek_time(w->store, id, 9999 * SL_NS_PER_S, &seq), 0);
        assert_int_equal(seq, 201);
        world_reopen(w);
    }
}

static void state_labels_and_host_are_kept_and_raise_the_version(void **state)
{
    struct world *w = *state;
    uint8_t pairs[256];
    struct sl_writer p = sl_writer(pairs, sizeof pairs);
    sl_label_write(&p, sl_slice_of("app"), sl_slice_of("web"));
    sl_label_write(&p, sl_slice_of("tier"), sl_slice_of("1"));
    struct sl_change c = {.fields = SL_CHANGE_LABELS | SL_CHANGE_HOST,
                          .host = sl_slice_of("node-1"),
                          .labels = 2,
                          .label_pairs = sl_slice(pairs, p.bytes)};
    assert_int_equal(append(w, change_item("a", &c)).verdict, SL_TAKEN);
    append_lines(w, "a", 0, 3);
    uint32_t version = place(w, "a").version;
    assert_int_equal(append(w, change_item("a", &c)).verdict, SL_TAKEN);
    assert_int_equal(place(w, "a").version, version); /* nothing new was said */
    p = sl_writer(pairs, sizeof pairs);
    sl_label_write(&p, sl_slice_of("tier"), sl_slice_of("2"));
    c = (struct sl_change){.fields = SL_CHANGE_LABELS | SL_CHANGE_STATE | SL_CHANGE_EXIT,
                           .state = SL_STOPPED,
                           .exit_code = 137,
                           .labels = 1,
                           .label_pairs = sl_slice(pairs, p.bytes)};
    assert_int_equal(append(w, change_item("a", &c)).verdict, SL_TAKEN);
    assert_true(place(w, "a").version > version);
    for (int i = 0; i < 2; i++) {
        struct sl_info info;
        assert_int_equal(store_info(w->store, sl_slice_of("a"), &info), 0);
        assert_int_equal(info.place.state, SL_STOPPED);
        assert_true(info.place.has_exit);
        assert_int_equal(info.place.exit_code, 137);
        assert_true(sl_slice_equal(info.host, sl_slice_of("node-1")));
        assert_int_equal(info.labels, 2);
        struct sl_reader r = sl_reader(info.label_pairs);
        struct sl_slice key, value;
        assert_true(sl_label_next(&r, &key, &value));
        assert_true(sl_slice_equal(value, sl_slice_of("web")));
        assert_true(sl_label_next(&r, &key, &value));
        assert_true(sl_slice_equal(value, sl_slice_of("2")));
        assert_false(sl_label_next(&r, &key, &value));
        assert_int_equal(info.containers, 1);
        assert_int_equal(info.lines, 3);
        assert_int_equal(info.first_time_ns, 1000 * SL_NS_PER_S);
        assert_int_equal(info.last_time_ns, 1000 * SL_NS_PER_S + 2 * SL_NS_PER_MS);
        struct got g = read_all(w, "a", 1, 1000);
        assert_int_equal(info.bytes, g.text_bytes);
        free(g.text);
        world_reopen(w);
    }
}

static void a_line_from_a_new_file_makes_a_stopped_sandbox_running(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    struct sl_change c = {.fields = SL_CHANGE_STATE, .state = SL_STOPPED};
    assert_int_equal(append(w, change_item("a", &c)).verdict, SL_TAKEN);
    append_lines(w, "a", 3, 1);
    assert_int_equal(place(w, "a").state, SL_STOPPED);
    assert_int_equal(
        append_block(w, &(struct block_spec){.sandbox = "a", .source = 2, .from = 0, .to = 4, .lines = 1}),
        SL_TAKEN);
    assert_int_equal(place(w, "a").state, SL_RUNNING);
}

static void a_deleted_sandbox_is_gone_and_its_files_do_not_come_again(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    uint64_t birth = place(w, "a").birth;
    assert_int_equal(append(w, delete_item("a")).verdict, SL_TAKEN);
    struct block_spec spec = {.sandbox = "a", .source = 1, .from = 3, .to = 4, .lines = 1};
    for (int i = 0; i < 2; i++) {
        struct sl_place p;
        struct got g = {0};
        assert_int_equal(store_place(w->store, sl_slice_of("a"), &p), STORE_UNKNOWN);
        assert_int_equal(read_page(w, "a", 1, 1000, &g), STORE_UNKNOWN);
        assert_int_equal(append_block(w, &spec), SL_BURIED);
        struct sl_source_place source = {0};
        assert_int_equal(store_sources(w->store, sl_slice_of("a"), source_count, &source), 0);
        assert_int_equal(source.flags & SL_SOURCE_BURIED, SL_SOURCE_BURIED);
        world_reopen(w);
    }
    spec.source = 2;
    spec.from = 0;
    assert_int_equal(append_block(w, &spec), SL_TAKEN);
    spec.source = 1;
    assert_int_equal(append_block(w, &spec), SL_BURIED);
    for (int i = 0; i < 2; i++) {
        struct sl_place p = place(w, "a");
        assert_true(p.birth != birth);
        assert_int_equal(p.last_seq, 1);
        assert_lines(w, "a", 1, 1);
        world_reopen(w);
    }
}

static void a_deletion_in_flight_is_seen_by_what_comes_after_it(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    struct store_item items[3] = {
        delete_item("a"),
        block_item(w, &(struct block_spec){.sandbox = "a", .source = 1, .from = 3, .to = 4, .lines = 1}),
        block_item(w, &(struct block_spec){.sandbox = "a", .source = 3, .from = 0, .to = 4, .lines = 2}),
    };
    assert_int_equal(append_items(w, items, 3), 0);
    assert_int_equal(items[1].verdict.verdict, SL_BURIED);
    assert_int_equal(items[2].verdict.verdict, SL_TAKEN);
    assert_int_equal(items[2].first_seq, 1);
    item_free(&items[1]);
    item_free(&items[2]);
    assert_lines(w, "a", 1, 2);
    world_reopen(w);
    assert_lines(w, "a", 1, 2);
}

static bool list_note(void *arg, const struct sl_info *info)
{
    char *text = arg;
    size_t had = strlen(text);
    memcpy(text + had, info->sandbox.data, info->sandbox.bytes);
    memcpy(text + had + info->sandbox.bytes, " ", 2);
    return true;
}

static void the_list_is_newest_first_and_pages_join(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 9; i++) {
        char id[20];
        snprintf(id, sizeof id, "%s%d", i % 2 ? "odd" : "ev", i);
        append_lines(w, id, 0, 1);
    }
    struct sl_change c = {.fields = SL_CHANGE_STATE, .state = SL_STOPPED};
    append(w, change_item("odd3", &c));
    for (int i = 0; i < 2; i++) {
        char text[256] = "";
        struct sl_list list = {.limit = 4};
        int pages = 0;
        do {
            assert_int_equal(store_list(w->store, &list, list_note, text, &list.page), 0);
            pages++;
        } while (list.page);
        assert_int_equal(pages, 3);
        assert_string_equal(text, "ev8 odd7 ev6 odd5 ev4 odd3 ev2 odd1 ev0 ");
        list = (struct sl_list){.limit = 100, .prefix = sl_slice_of("odd"), .state = SL_RUNNING};
        text[0] = 0;
        assert_int_equal(store_list(w->store, &list, list_note, text, &list.page), 0);
        assert_string_equal(text, "odd7 odd5 odd1 ");
        assert_int_equal(list.page, 0);
        list = (struct sl_list){.limit = 100, .state = SL_STOPPED};
        text[0] = 0;
        assert_int_equal(store_list(w->store, &list, list_note, text, &list.page), 0);
        assert_string_equal(text, "odd3 ");
        world_reopen(w);
    }
}

static const struct CMUnitTest conformance_tests[] = {
#define CLAIM(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    CLAIM(an_unknown_sandbox_is_said_to_be_unknown),
    CLAIM(lines_are_numbered_from_one_without_a_hole),
    CLAIM(what_was_appended_is_there_after_reopening),
    CLAIM(a_resent_block_is_stored_once),
    CLAIM(a_block_that_does_not_stand_at_its_source_is_sent_there),
    CLAIM(a_new_incarnation_begins_at_zero_and_the_old_one_is_over),
    CLAIM(blocks_in_flight_are_judged_by_those_before_them),
    CLAIM(one_bad_item_does_not_spoil_its_batch),
    CLAIM(closing_ends_the_store_with_what_was_in_flight),
    CLAIM(a_source_is_known_with_all_the_collector_needs),
    CLAIM(a_line_that_spans_two_sources_moves_both),
    CLAIM(a_gap_stands_between_lines_and_takes_no_number),
    CLAIM(pages_hold_at_most_what_was_asked_but_at_least_one_record),
    CLAIM(paging_up_meets_every_line),
    CLAIM(time_finds_the_first_record_that_reaches_it),
    CLAIM(state_labels_and_host_are_kept_and_raise_the_version),
    CLAIM(a_line_from_a_new_file_makes_a_stopped_sandbox_running),
    CLAIM(a_deleted_sandbox_is_gone_and_its_files_do_not_come_again),
    CLAIM(a_deletion_in_flight_is_seen_by_what_comes_after_it),
    CLAIM(the_list_is_newest_first_and_pages_join),
};
