// SPDX-License-Identifier: Apache-2.0
#include "wire/message.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka.h needs the three above */
#include <cmocka.h>

/* What a decoder of messages must refuse; what it must take is in wire_message.c. */

enum { BAD = SL_STATUS_MALFORMED };

static int open_head(uint32_t magic, uint8_t version, uint8_t type, uint8_t status, uint8_t reserved,
                     struct sl_message_head *ret)
{
    uint8_t room[16];
    struct sl_writer w = sl_writer(room, sizeof room);
    sl_write_u32(&w, magic);
    sl_write_u8(&w, version);
    sl_write_u8(&w, type);
    sl_write_u8(&w, status);
    sl_write_u8(&w, reserved);
    sl_write_u64(&w, 42);
    struct sl_reader r = sl_reader(sl_slice(room, w.bytes));
    return sl_message_open(&r, ret);
}

static void a_newer_version_or_type_is_told_apart_from_rubbish_and_can_be_answered(void **state)
{
    (void)state;
    struct sl_message_head head = {0};
    assert_int_equal(open_head(SL_MESSAGE_MAGIC, 1, SL_HELLO, 0, 0, &head), SL_STATUS_OK);
    assert_int_equal(open_head(SL_MESSAGE_MAGIC, 0, SL_HELLO, 0, 0, &head), SL_STATUS_MALFORMED);
    assert_int_equal(open_head(0x12345678, 1, SL_HELLO, 0, 0, &head), SL_STATUS_MALFORMED);
    assert_int_equal(open_head(SL_MESSAGE_MAGIC, 1, 0, 0, 0, &head), SL_STATUS_MALFORMED);
    assert_int_equal(open_head(SL_MESSAGE_MAGIC, 1, SL_HELLO, SL_STATUS_BAD_CHECKPOINT + 1, 0, &head),
                     SL_STATUS_MALFORMED);
    assert_int_equal(open_head(SL_MESSAGE_MAGIC, 1, SL_HELLO, 0, 1, &head), SL_STATUS_MALFORMED);
    assert_int_equal(open_head(SL_MESSAGE_MAGIC, 1, SL_BEGIN + 1, 0, 0, &head), SL_STATUS_NEWER);
    assert_true(head.type == SL_BEGIN + 1 && head.id == 42);
    /* The answer to a type of 0 in a version to come must not stop the broker. */
    assert_int_equal(open_head(SL_MESSAGE_MAGIC, 2, 0, 0, 0, &head), SL_STATUS_NEWER);
    uint8_t room[16];
    struct sl_writer w = sl_writer(room, sizeof room);
    head.status = SL_STATUS_NEWER;
    sl_message_begin(&w, &head);
    assert_false(w.failed);
}

static int hello_answer(struct sl_hello h)
{
    uint8_t room[1024];
    struct sl_writer w = sl_writer(room, sizeof room);
    sl_hello_encode(&w, &h);
    struct sl_reader r = sl_reader(sl_slice(room, w.bytes));
    return sl_hello_decode(&r, &h);
}

static void hellos_of_unknown_roles_and_odd_hosts_are_refused(void **state)
{
    (void)state;
    assert_int_equal(hello_answer((struct sl_hello){.role = SL_ROLE_GATEWAY}), 0);
    assert_int_equal(hello_answer((struct sl_hello){.role = 0}), BAD);
    assert_int_equal(hello_answer((struct sl_hello){.role = 4}), BAD);
    assert_int_equal(hello_answer((struct sl_hello){.role = SL_ROLE_COLLECTOR}), BAD);
    assert_int_equal(hello_answer((struct sl_hello){.role = SL_ROLE_GATEWAY, .host = sl_slice_of("h")}), BAD);
    assert_int_equal(hello_answer((struct sl_hello){.role = SL_ROLE_COLLECTOR, .host = sl_slice("a\0b", 3)}),
                     BAD);
    assert_int_equal(hello_answer((struct sl_hello){.role = SL_ROLE_COLLECTOR, .host = sl_slice_of("a b")}),
                     BAD);
    assert_int_equal(hello_answer((struct sl_hello){.role = SL_ROLE_TOOL, .proof = sl_slice_of("short")}),
                     BAD);
}

/* A change whose bytes are `fields, state, exit, id, host` and no labels, as an attacker may send it. */
static int change_answer(uint8_t fields, uint8_t state, int32_t exit_code, const char *id, const char *host)
{
    uint8_t room[1024];
    struct sl_writer w = sl_writer(room, sizeof room);
    sl_write_u8(&w, fields);
    sl_write_u8(&w, state);
    sl_write_u32(&w, (uint32_t)exit_code);
    sl_write_slice8(&w, sl_slice_of(id));
    sl_write_slice8(&w, sl_slice_of(host));
    sl_write_u16(&w, 0);
    struct sl_reader r = sl_reader(sl_slice(room, w.bytes));
    struct sl_change c;
    return sl_change_decode(&r, &c);
}

static void changes_of_unknown_states_fields_and_ids_are_refused(void **state)
{
    (void)state;
    assert_int_equal(change_answer(0, 0, 0, "box", ""), 0);
    assert_int_equal(change_answer(SL_CHANGE_STATE, SL_STOPPING, 0, "box", ""), 0);
    assert_int_equal(change_answer(SL_CHANGE_LABELS, 0, 0, "box", ""), 0);
    assert_int_equal(change_answer(SL_CHANGE_STATE, 0, 0, "box", ""), BAD);
    assert_int_equal(change_answer(SL_CHANGE_STATE, 4, 0, "box", ""), BAD);
    assert_int_equal(change_answer(0, SL_STOPPED, 0, "box", ""), BAD);
    assert_int_equal(change_answer(16, 0, 0, "box", ""), BAD);
    assert_int_equal(change_answer(0, 0, 1, "box", ""), BAD);
    assert_int_equal(change_answer(0, 0, 0, "..", ""), BAD);
    assert_int_equal(change_answer(0, 0, 0, "", ""), BAD);
    assert_int_equal(change_answer(0, 0, 0, "a/b", ""), BAD);
    assert_int_equal(change_answer(SL_CHANGE_HOST, 0, 0, "box", ""), BAD);
    assert_int_equal(change_answer(0, 0, 0, "box", "host"), BAD);
    assert_int_equal(change_answer(SL_CHANGE_HOST, 0, 0, "box", "ho\nst"), BAD);
}

/* Answer to a change with `count` labels said and `pairs` there, each with a value of that length. */
static int labels_answer(uint16_t count, unsigned pairs, size_t key_bytes, size_t value_bytes)
{
    uint8_t *room = calloc(1, 512 << 10);
    assert_non_null(room);
    struct sl_writer w = sl_writer(room, 512 << 10);
    static const uint8_t text[SL_LABEL_VALUE_MAX_BYTES + 1];
    sl_write_u8(&w, SL_CHANGE_LABELS);
    sl_write_u8(&w, 0);
    sl_write_u32(&w, 0);
    sl_write_slice8(&w, sl_slice_of("box"));
    sl_write_u8(&w, 0);
    sl_write_u16(&w, count);
    for (unsigned i = 0; i < pairs; i++) {
        sl_write_slice8(&w, sl_slice(text, key_bytes));
        sl_write_u16(&w, (uint16_t)value_bytes);
        sl_write_slice(&w, sl_slice(text, value_bytes));
    }
    assert_false(w.failed);
    struct sl_reader r = sl_reader(sl_slice(room, w.bytes));
    struct sl_change c;
    int answer = sl_change_decode(&r, &c);
    free(room);
    return answer;
}

static void labels_over_their_limits_are_refused(void **state)
{
    (void)state;
    assert_int_equal(labels_answer(SL_LABELS_MAX, SL_LABELS_MAX, 255, SL_LABEL_VALUE_MAX_BYTES), 0);
    assert_int_equal(labels_answer(SL_LABELS_MAX + 1, SL_LABELS_MAX + 1, 1, 1), BAD);
    assert_int_equal(labels_answer(1, 1, 0, 1), BAD);
    assert_int_equal(labels_answer(1, 1, 1, SL_LABEL_VALUE_MAX_BYTES + 1), BAD);
    assert_int_equal(labels_answer(2, 1, 1, 1), BAD);
    assert_int_equal(labels_answer(1, 2, 1, 1), BAD);
    assert_int_equal(labels_answer(0, 1, 1, 1), BAD);
    uint8_t room[8192];
    struct sl_writer w = sl_writer(room, sizeof room);
    sl_label_write(&w, sl_slice(room, 0), sl_slice_of("v"));
    assert_true(w.failed);
    w = sl_writer(room, sizeof room);
    sl_label_write(&w, sl_slice_of("k"), sl_slice(room, SL_LABEL_VALUE_MAX_BYTES + 1));
    assert_true(w.failed);
}

static int read_answer(struct sl_read read, struct sl_read_entry entry)
{
    uint8_t room[1024];
    struct sl_writer w = sl_writer(room, sizeof room);
    sl_read_begin(&w, &read);
    sl_read_entry_write(&w, &entry);
    struct sl_reader r = sl_reader(sl_slice(room, w.bytes));
    return sl_read_open(&r, &read);
}

static void reads_beyond_their_bounds_are_refused(void **state)
{
    (void)state;
    const struct sl_read_entry entry = {sl_slice_of("box"), SL_READ_TAIL, 0, 0};
    const struct sl_read read = {.max_bytes = 1, .entries = 1};
    assert_int_equal(read_answer(read, entry), 0);
    assert_int_equal(read_answer((struct sl_read){.max_bytes = 0, .entries = 1}, entry), BAD);
    assert_int_equal(read_answer((struct sl_read){.max_bytes = SL_PAGE_MAX_BYTES + 1, .entries = 1}, entry),
                     BAD);
    assert_int_equal(read_answer((struct sl_read){.max_bytes = 1, .wait_ms = 60001, .entries = 1}, entry),
                     BAD);
    assert_int_equal(read_answer((struct sl_read){.max_bytes = 1, .entries = 0}, entry), BAD);
    assert_int_equal(read_answer((struct sl_read){.max_bytes = 1, .entries = 2}, entry), BAD);
    assert_int_equal(read_answer((struct sl_read){.max_bytes = 1, .entries = 257}, entry), BAD);
    assert_int_equal(read_answer(read, (struct sl_read_entry){sl_slice_of("box"), 0, 1, 0}), BAD);
    assert_int_equal(read_answer(read, (struct sl_read_entry){sl_slice_of("box"), 5, 1, 0}), BAD);
    assert_int_equal(read_answer(read, (struct sl_read_entry){sl_slice_of("box"), SL_READ_FROM, 0, 0}), BAD);
    assert_int_equal(read_answer(read, (struct sl_read_entry){sl_slice_of("."), SL_READ_TAIL, 1, 0}), BAD);
}

static void lists_beyond_their_bounds_are_refused(void **state)
{
    (void)state;
    static const struct sl_list lists[] = {{.limit = 0},
                                           {.limit = SL_LIST_MAX + 1},
                                           {.limit = 1, .state = SL_STOPPING},
                                           {.limit = 1, .state = 4}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        uint8_t room[64];
        struct sl_writer w = sl_writer(room, sizeof room);
        sl_list_encode(&w, &lists[i]);
        struct sl_reader r = sl_reader(sl_slice(room, w.bytes));
        struct sl_list list;
        assert_int_equal(sl_list_decode(&r, &list), BAD);
    }
}

/* A count of four thousand million places in forty bytes must not become a loop or an allocation. */
static void a_lying_count_of_sources_is_refused_before_it_is_believed(void **state)
{
    (void)state;
    uint8_t room[64];
    struct sl_writer w = sl_writer(room, sizeof room);
    sl_sources_write(&w, sl_slice_of("box"), UINT32_MAX);
    static const uint8_t rest[30];
    sl_write_slice(&w, sl_slice(rest, sizeof rest));
    struct sl_reader r = sl_reader(sl_slice(room, w.bytes));
    struct sl_slice id;
    uint32_t count = 7;
    assert_false(sl_sources_next(&r, &id, &count));
    assert_true(r.failed);
    assert_int_equal(count, 7);
}

static void unknown_kinds_and_verdicts_and_part_flags_are_refused(void **state)
{
    (void)state;
    uint8_t room[256];
    struct sl_slice payload;
    uint8_t kind;
    static const uint8_t kinds[] = {0, SL_RECORD_DELETE, SL_RECORD_CONSUMER, SL_RECORD_ENGINE, 6};
    for (size_t i = 0; i < sizeof kinds; i++) {
        struct sl_writer w = sl_writer(room, sizeof room);
        sl_append_item_write(&w, kinds[i], sl_slice_of("x"));
        struct sl_reader r = sl_reader(sl_slice(room, w.bytes));
        assert_false(sl_append_item_next(&r, &kind, &payload));
        assert_true(r.failed);
    }
    memset(room, 0, sizeof room);
    room[0] = SL_REFUSED + 1;
    struct sl_reader r = sl_reader(sl_slice(room, 13));
    struct sl_append_verdict verdict;
    assert_false(sl_append_verdict_next(&r, &verdict));
    assert_true(r.failed);

    struct sl_read_part part = {.found = true, .place = {.state = SL_RUNNING}};
    static const struct {
        size_t at;
        uint8_t value;
    } lies[] = {{2, 0}, {2, 2}, {2, 5}, {1, 1}, {39, 0}, {39, 4}, {40, 2}, {41, 1}, {45, 1}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        sl_read_part_head(room, &part);
        r = sl_reader(sl_slice(room, SL_READ_PART_HEAD_BYTES));
        struct sl_read_part out;
        assert_true(sl_read_part_next(&r, &out));
        room[lies[i].at] = lies[i].value;
        r = sl_reader(sl_slice(room, SL_READ_PART_HEAD_BYTES));
        if (sl_read_part_next(&r, &out) || !r.failed)
            fail_msg("byte %zu = %u", lies[i].at, lies[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_newer_version_or_type_is_told_apart_from_rubbish_and_can_be_answered),
        cmocka_unit_test(hellos_of_unknown_roles_and_odd_hosts_are_refused),
        cmocka_unit_test(changes_of_unknown_states_fields_and_ids_are_refused),
        cmocka_unit_test(labels_over_their_limits_are_refused),
        cmocka_unit_test(reads_beyond_their_bounds_are_refused),
        cmocka_unit_test(lists_beyond_their_bounds_are_refused),
        cmocka_unit_test(a_lying_count_of_sources_is_refused_before_it_is_believed),
        cmocka_unit_test(unknown_kinds_and_verdicts_and_part_flags_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
