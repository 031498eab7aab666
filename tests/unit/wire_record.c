// SPDX-License-Identifier: Apache-2.0
#include "wire/crc32c.h"
#include "wire/record.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

enum { AT_PREFIX_CRC = 44 };

/* Prefix and payload, to be freed. */
static struct sl_slice record_of(struct sl_record r, struct sl_slice payload)
{
    r.payload_bytes = (uint32_t)payload.bytes;
    if (r.kind != SL_RECORD_BLOCK)
        r.payload_crc = sl_crc32c(0, payload);
    uint8_t *bytes = malloc(SL_RECORD_PREFIX_BYTES + payload.bytes);
    assert_non_null(bytes);
    sl_record_encode_prefix(&r, bytes);
    if (payload.bytes > 0)
        memcpy(bytes + SL_RECORD_PREFIX_BYTES, payload.data, payload.bytes);
    return sl_slice(bytes, SL_RECORD_PREFIX_BYTES + payload.bytes);
}

static size_t block_into(uint8_t *room, size_t capacity)
{
    struct sl_block_builder *b;
    assert_int_equal(sl_block_builder_new(&b), 0);
    sl_block_builder_reset(b, sl_slice_of("box"));
    struct sl_line line = {.text = sl_slice_of("hello"), .time_ns = 1000};
    assert_int_equal(sl_block_builder_add(b, &line, sl_slice_of("")), 0);
    size_t bytes =
        sl_block_builder_encode(b, &(struct sl_block_header){.range = {.to = 6}}, 0, room, capacity);
    sl_block_builder_free(b);
    return bytes;
}

static struct sl_slice block_record(void)
{
    uint8_t room[512];
    size_t bytes = block_into(room, sizeof room);
    const struct sl_record r = {
        .kind = SL_RECORD_BLOCK, .first_seq = 17, .floor_ns = INT64_MIN, .commit_ns = 2000};
    return record_of(r, sl_slice(room, bytes));
}

static int check(struct sl_slice bytes, struct sl_record *r, struct sl_slice *payload)
{
    struct sl_block_header h;
    return sl_record_check(bytes, r, payload, &h);
}

static void a_block_comes_back_behind_its_prefix(void **state)
{
    (void)state;
    struct sl_slice bytes = block_record();
    struct sl_record r;
    struct sl_slice payload;
    struct sl_block_header h;
    assert_int_equal(sl_record_check(bytes, &r, &payload, &h), SL_RECORD_OK);
    assert_int_equal(r.kind, SL_RECORD_BLOCK);
    assert_true(r.first_seq == 17 && r.floor_ns == INT64_MIN && r.commit_ns == 2000);
    assert_ptr_equal(payload.data, bytes.data + SL_RECORD_PREFIX_BYTES);
    assert_int_equal(payload.bytes, bytes.bytes - SL_RECORD_PREFIX_BYTES);
    assert_int_equal(h.lines, 1);
    assert_int_equal(h.text_bytes, 6);
    free((void *)bytes.data);
}

static void small_records_carry_any_bytes(void **state)
{
    (void)state;
    for (uint8_t kind = SL_RECORD_CHANGE; kind <= SL_RECORD_ENGINE; kind++) {
        struct sl_slice bytes =
            record_of((struct sl_record){.kind = kind, .commit_ns = -1}, sl_slice("\0\xff", 2));
        struct sl_record r;
        struct sl_slice payload;
        assert_int_equal(check(bytes, &r, &payload), SL_RECORD_OK);
        assert_int_equal(r.kind, kind);
        assert_true(r.commit_ns == -1 && sl_slice_equal(payload, sl_slice("\0\xff", 2)));
        free((void *)bytes.data);
    }
}

static void a_record_cut_anywhere_is_truncated(void **state)
{
    (void)state;
    struct sl_slice bytes = block_record();
    for (size_t left = 0; left < bytes.bytes; left++) {
        uint8_t *exact = malloc(left > 0 ? left : 1);
        assert_non_null(exact);
        memcpy(exact, bytes.data, left);
        struct sl_record r;
        struct sl_slice payload;
        assert_int_equal(check(sl_slice(exact, left), &r, &payload), SL_RECORD_TRUNCATED);
        free(exact);
    }
    free((void *)bytes.data);
}

static void every_single_flipped_bit_is_seen(void **state)
{
    (void)state;
    struct sl_slice records[] = {block_record(),
                                 record_of((struct sl_record){.kind = SL_RECORD_DELETE}, sl_slice_of("box"))};
    for (size_t i = 0; i < 2; i++) {
        uint8_t *p = (uint8_t *)records[i].data;
        for (size_t bit = 0; bit < records[i].bytes * 8; bit++) {
            struct sl_record r;
            struct sl_slice payload;
            p[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_not_equal(check(records[i], &r, &payload), SL_RECORD_OK);
            p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        free(p);
    }
}

static void fields_beyond_their_bounds_are_malformed(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        size_t width;
        uint64_t value;
    } lies[] = {
        {4, 1, 0}, /* version */
        {5, 1, 0}, /* kind */
        {5, 1, 6},
        {6, 2, 1}, /* reserved */
        {8, 4, 0}, /* payload_bytes */
        {8, 4, (uint64_t)SL_BLOCK_MAX_BYTES + 1},
        {12, 4, 1},          /* a block's payload_crc */
        {16, 8, 0},          /* numbers begin at 1 */
        {16, 8, UINT64_MAX}, /* and do not overflow */
        {40, 4, 1},          /* reserved */
    };
    struct sl_slice bytes = block_record();
    uint8_t *copy = malloc(bytes.bytes);
    assert_non_null(copy);
    struct sl_record r;
    struct sl_slice payload;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        memcpy(copy, bytes.data, bytes.bytes);
        memcpy(copy + lies[i].at, &lies[i].value, lies[i].width);
        sl_store32(copy + AT_PREFIX_CRC, sl_crc32c(0, sl_slice(copy, AT_PREFIX_CRC)));
        int answer = check(sl_slice(copy, bytes.bytes), &r, &payload);
        if (answer != SL_RECORD_MALFORMED)
            fail_msg("field at %zu = %llu: answer %d", lies[i].at, (unsigned long long)lies[i].value, answer);
    }
    memcpy(copy, bytes.data, bytes.bytes);
    sl_store32(copy + 8, sl_load32(copy + 8) - 1); /* shorter than its block */
    sl_store32(copy + AT_PREFIX_CRC, sl_crc32c(0, sl_slice(copy, AT_PREFIX_CRC)));
    assert_int_equal(check(sl_slice(copy, bytes.bytes), &r, &payload), SL_RECORD_MALFORMED);
    copy[4] = 2;
    assert_int_equal(check(sl_slice(copy, bytes.bytes), &r, &payload), SL_RECORD_NEWER);
    free(copy);
    free((void *)bytes.data);
}

static void query_time_never_goes_back_and_never_runs_ahead_of_the_commit(void **state)
{
    (void)state;
    assert_true(sl_query_time(INT64_MIN, 100, 50) == 100);
    assert_true(sl_query_time(200, 100, 50) == 200);
    assert_true(sl_query_time(0, INT64_MAX, 50) == 50 + SL_QUERY_SLACK_NS);
    assert_true(sl_query_time(INT64_MIN, INT64_MAX, INT64_MAX) == INT64_MAX);
    assert_true(sl_query_time(INT64_MIN, INT64_MIN, INT64_MIN) == INT64_MIN);
}

static void the_ceiling_is_the_query_time_of_the_last_line(void **state)
{
    (void)state;
    srandom(5);
    for (int round = 0; round < 2000; round++) {
        int64_t commit = random();
        const struct sl_record r = {.floor_ns = random() * 4 - SL_QUERY_SLACK_NS, .commit_ns = commit};
        struct sl_block_header h = {.lines = (uint32_t)random() % 5, .time_max_ns = INT64_MIN};
        int64_t before = r.floor_ns;
        for (uint32_t i = 0; i < h.lines; i++) {
            int64_t time = random() * (random() % 8);
            h.time_max_ns = time > h.time_max_ns ? time : h.time_max_ns;
            int64_t now = sl_query_time(before, time, commit);
            assert_true(now >= before);
            before = now;
        }
        assert_true(sl_query_ceiling(&r, &h) == before);
    }
}

/* If this fails, the format has changed: stores in the field would not be read. A new version is needed. */
static void the_bytes_of_version_1_are_these(void **state)
{
    (void)state;
    static const char golden[] =
        "534c523101010000910000000000000011000000000000000000000000000080d00700000000000000000000"
        "451e697b534c4231010085000c0000000c00000001000000060000008091f3a600000001e803000000000000"
        "e803000000000000000000000000000000000000000000000000000000000000060000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "03626f78000201010001000568656c6c6f";
    struct sl_slice bytes = block_record();
    char text[1024];
    assert_true(bytes.bytes < sizeof text / 2);
    for (size_t i = 0; i < bytes.bytes; i++)
        sprintf(text + 2 * i, "%02x", bytes.data[i]);
    assert_string_equal(text, golden);
    free((void *)bytes.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_comes_back_behind_its_prefix),
        cmocka_unit_test(small_records_carry_any_bytes),
        cmocka_unit_test(a_record_cut_anywhere_is_truncated),
        cmocka_unit_test(every_single_flipped_bit_is_seen),
        cmocka_unit_test(fields_beyond_their_bounds_are_malformed),
        cmocka_unit_test(query_time_never_goes_back_and_never_runs_ahead_of_the_commit),
        cmocka_unit_test(the_ceiling_is_the_query_time_of_the_last_line),
        cmocka_unit_test(the_bytes_of_version_1_are_these),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
