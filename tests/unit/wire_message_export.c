// SPDX-License-Identifier: Apache-2.0
/* Messages of the export: round trips, bounds, cuts; and what is pinned of version 1. */
#include "wire/message.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* behind setjmp.h, stdarg.h */
#include <cmocka.h>

static uint8_t memory[4096];

static void names_are_plain_text_of_64_bytes(void **state)
{
    (void)state;
    char text[66];
    memset(text, 'a', sizeof text);
    assert_true(sl_consumer_valid(sl_slice(text, 64)) && sl_checkpoint_valid(sl_slice(text, 64)));
    assert_false(sl_consumer_valid(sl_slice(text, 65)) || sl_checkpoint_valid(sl_slice(text, 65)));
    assert_false(sl_consumer_valid(sl_slice(text, 0)) || sl_checkpoint_valid(sl_slice(text, 0)));
    assert_true(sl_consumer_valid(sl_slice_of("Az09._-")));
    static const char *const bad[] = {".", "..", "a/b", "a b", "a:b", "\xc3\xa4", "a\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(sl_consumer_valid(sl_slice_of(bad[i])));
}

static const struct sl_scan scan = {
    .holder = 0x0102030405060708, .ttl_ms = 4000, .max_bytes = 256 << 10, .wait_ms = 5000};

static size_t encode_scan(const struct sl_scan *change)
{
    struct sl_writer w = sl_writer(memory, sizeof memory);
    sl_scan_encode(&w, change);
    assert_false(w.failed);
    return w.bytes;
}

static void a_scan_is_read_as_it_was_written_and_never_when_cut(void **state)
{
    (void)state;
    struct sl_scan wanted = scan, got;
    wanted.consumer = sl_slice_of("arch");
    wanted.checkpoint = sl_slice_of("12-ab");
    size_t bytes = encode_scan(&wanted);
    struct sl_reader r = sl_reader(sl_slice(memory, bytes));
    assert_int_equal(sl_scan_decode(&r, &got), SL_STATUS_OK);
    assert_true(sl_slice_equal(got.consumer, wanted.consumer));
    assert_true(sl_slice_equal(got.checkpoint, wanted.checkpoint));
    assert_int_equal(got.holder, wanted.holder);
    assert_int_equal(got.ttl_ms, wanted.ttl_ms);
    assert_int_equal(got.max_bytes, wanted.max_bytes);
    assert_int_equal(got.wait_ms, wanted.wait_ms);
    for (size_t cut = 0; cut < bytes; cut++) {
        r = sl_reader(sl_slice(memory, cut));
        assert_int_equal(sl_scan_decode(&r, &got), SL_STATUS_MALFORMED);
    }
    r = sl_reader(sl_slice(memory, bytes + 1));
    assert_int_equal(sl_scan_decode(&r, &got), SL_STATUS_MALFORMED);
}

static void scans_beyond_their_bounds_are_refused(void **state)
{
    (void)state;
    struct sl_scan bad[] = {scan, scan, scan, scan, scan, scan, scan, scan}, got;
    bad[0].holder = 0;
    bad[1].ttl_ms = 0;
    bad[2].ttl_ms = 60001;
    bad[3].max_bytes = 0;
    bad[4].max_bytes = SL_PAGE_MAX_BYTES + 1;
    bad[5].wait_ms = 60001;
    bad[6].checkpoint = sl_slice_of("a/b");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bad[i].consumer = sl_slice_of(i == 7 ? ".." : "arch");
        struct sl_reader r = sl_reader(sl_slice(memory, encode_scan(&bad[i])));
        assert_int_equal(sl_scan_decode(&r, &got), SL_STATUS_MALFORMED);
    }
}

static void the_answer_of_a_scan_is_read_item_by_item(void **state)
{
    (void)state;
    uint8_t record[SL_RECORD_PREFIX_BYTES] = {1, 2, 3};
    struct sl_scan_answer wanted = {.epoch = 7,
                                    .now_ns = -5,
                                    .more = true,
                                    .from = sl_slice_of("from"),
                                    .next = sl_slice_of("next")},
                          got;
    struct sl_writer w = sl_writer(memory, sizeof memory);
    sl_scan_answer_begin(&w, &wanted);
    size_t head = w.bytes;
    for (unsigned i = 0; i < 3; i++)
        sl_scan_item_write(&w, &(struct sl_scan_item){
                                   .birth = i, .version = i + 1, .record = sl_slice(record, sizeof record)});
    assert_int_equal(w.bytes, head + 3 * (SL_SCAN_ITEM_HEAD_BYTES + sizeof record));
    struct sl_reader r = sl_reader(sl_slice(memory, w.bytes));
    assert_int_equal(sl_scan_answer_open(&r, &got), SL_STATUS_OK);
    assert_true(got.more && got.epoch == 7 && got.now_ns == -5);
    assert_true(sl_slice_equal(got.from, wanted.from) && sl_slice_equal(got.next, wanted.next));
    struct sl_scan_item item;
    for (unsigned i = 0; i < 3; i++) {
        assert_true(sl_scan_item_next(&r, &item));
        assert_int_equal(item.birth, i);
        assert_int_equal(item.version, i + 1);
        assert_memory_equal(item.record.data, record, sizeof record);
    }
    assert_false(sl_scan_item_next(&r, &item));
    assert_false(r.failed);
    /* Cut anywhere behind the head: what was whole is given, then it is known to be malformed. */
    for (size_t cut = head + 1; cut < w.bytes; cut++) {
        unsigned given = 0;
        r = sl_reader(sl_slice(memory, cut));
        assert_int_equal(sl_scan_answer_open(&r, &got), SL_STATUS_OK);
        while (sl_scan_item_next(&r, &item))
            given++;
        size_t one = SL_SCAN_ITEM_HEAD_BYTES + sizeof record;
        assert_int_equal(given, (cut - head) / one);
        assert_int_equal(r.failed, (cut - head) % one != 0);
    }
    memory[16] = 2; /* flags */
    r = sl_reader(sl_slice(memory, w.bytes));
    assert_int_equal(sl_scan_answer_open(&r, &got), SL_STATUS_MALFORMED);
}

static void leases_acks_and_names_are_read_as_they_were_written(void **state)
{
    (void)state;
    struct sl_slice consumer, checkpoint;
    uint64_t holder;
    uint32_t ttl_ms;
    struct sl_writer w = sl_writer(memory, sizeof memory);
    sl_lease_encode(&w, sl_slice_of("arch"), 9, 0);
    for (size_t cut = 0; cut <= w.bytes; cut++) {
        struct sl_reader r = sl_reader(sl_slice(memory, cut));
        assert_int_equal(sl_lease_decode(&r, &consumer, &holder, &ttl_ms) == SL_STATUS_OK, cut == w.bytes);
    }
    assert_true(holder == 9 && ttl_ms == 0 && sl_slice_equal(consumer, sl_slice_of("arch")));
    w = sl_writer(memory, sizeof memory);
    sl_ack_encode(&w, sl_slice_of("arch"), sl_slice_of("1-2"));
    for (size_t cut = 0; cut <= w.bytes; cut++) {
        struct sl_reader r = sl_reader(sl_slice(memory, cut));
        assert_int_equal(sl_ack_decode(&r, &consumer, &checkpoint) == SL_STATUS_OK, cut == w.bytes);
    }
    assert_true(sl_slice_equal(checkpoint, sl_slice_of("1-2")));
    w = sl_writer(memory, sizeof memory);
    sl_ack_answer_encode(&w, sl_slice_of("3-4"));
    struct sl_reader r = sl_reader(sl_slice(memory, w.bytes));
    assert_int_equal(sl_ack_answer_decode(&r, &checkpoint), SL_STATUS_OK);
    assert_true(sl_slice_equal(checkpoint, sl_slice_of("3-4")));
    w = sl_writer(memory, sizeof memory);
    sl_consumer_name_encode(&w, sl_slice_of(".."));
    r = sl_reader(sl_slice(memory, w.bytes));
    assert_int_equal(sl_consumer_name_decode(&r, &consumer), SL_STATUS_MALFORMED);
}

static void the_list_of_consumers_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct sl_consumer wanted = {.name = sl_slice_of("arch"),
                                 .checkpoint = sl_slice_of("1-2"),
                                 .lag_lines = 3,
                                 .lag_bytes = 400,
                                 .oldest_ns = 5,
                                 .overruns = 6,
                                 .leased = true},
                       got;
    struct sl_writer w = sl_writer(memory, sizeof memory);
    sl_consumers_begin(&w, 8, 9);
    sl_consumer_write(&w, &wanted);
    wanted.leased = false;
    sl_consumer_write(&w, &wanted);
    struct sl_reader r = sl_reader(sl_slice(memory, w.bytes));
    uint64_t epoch;
    int64_t now_ns;
    assert_int_equal(sl_consumers_open(&r, &epoch, &now_ns), SL_STATUS_OK);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(sl_consumer_next(&r, &got));
        assert_true(sl_slice_equal(got.name, wanted.name) &&
                    sl_slice_equal(got.checkpoint, wanted.checkpoint));
        assert_true(got.lag_lines == 3 && got.lag_bytes == 400 && got.oldest_ns == 5 && got.overruns == 6);
        assert_int_equal(got.leased, i == 0);
    }
    assert_false(sl_consumer_next(&r, &got));
    assert_false(r.failed);
    memory[w.bytes - 1] = 2; /* flags */
    r = sl_reader(sl_slice(memory, w.bytes));
    assert_int_equal(sl_consumers_open(&r, &epoch, &now_ns), SL_STATUS_OK);
    assert_true(sl_consumer_next(&r, &got));
    assert_false(sl_consumer_next(&r, &got));
    assert_true(r.failed);
}

static void the_bytes_of_version_1_are_these(void **state)
{
    (void)state;
    static const uint8_t wanted[] = {1,    'c', 0, 8, 7, 6, 5, 4,    3,    2, 1, 0xa0,
                                     0x0f, 0,   0, 0, 0, 4, 0, 0x88, 0x13, 0, 0};
    struct sl_scan one = scan;
    one.consumer = sl_slice_of("c");
    assert_int_equal(encode_scan(&one), sizeof wanted);
    assert_memory_equal(memory, wanted, sizeof wanted);
    assert_int_equal(SL_SCAN, 10);
    assert_int_equal(SL_LEASE, 11);
    assert_int_equal(SL_ACK, 12);
    assert_int_equal(SL_CONSUMERS, 13);
    assert_int_equal(SL_FORGET, 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_plain_text_of_64_bytes),
        cmocka_unit_test(a_scan_is_read_as_it_was_written_and_never_when_cut),
        cmocka_unit_test(scans_beyond_their_bounds_are_refused),
        cmocka_unit_test(the_answer_of_a_scan_is_read_item_by_item),
        cmocka_unit_test(leases_acks_and_names_are_read_as_they_were_written),
        cmocka_unit_test(the_list_of_consumers_is_read_as_it_was_written),
        cmocka_unit_test(the_bytes_of_version_1_are_these),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
