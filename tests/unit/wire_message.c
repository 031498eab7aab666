// SPDX-License-Identifier: Apache-2.0
#include "wire/message.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

/*
 * One sample of each body. `write` makes it, `decode` reads all of it, claims every field, and answers as the
 * decoders do. A list may end after any element, so a cut one decodes if it was cut there: `decode` then says
 * how many elements came (negative).
 */
struct sample {
    const char *name;
    void (*write)(struct sl_writer *w);
    int (*decode)(struct sl_reader *r);
    bool list;
    const char *golden;
};

enum { BAD = SL_STATUS_MALFORMED };

static bool is(struct sl_slice a, const char *text)
{
    return sl_slice_equal(a, sl_slice_of(text));
}

static struct sl_slice two_labels(void)
{
    static uint8_t room[64];
    struct sl_writer w = sl_writer(room, sizeof room);
    sl_label_write(&w, sl_slice_of("app"), sl_slice_of("web"));
    sl_label_write(&w, sl_slice_of("zone"), sl_slice_of(""));
    assert_false(w.failed);
    return sl_slice(room, w.bytes);
}

static void assert_two_labels(uint16_t count, struct sl_slice pairs)
{
    struct sl_reader r = sl_reader(pairs);
    struct sl_slice key;
    struct sl_slice value;
    assert_int_equal(count, 2);
    assert_true(sl_label_next(&r, &key, &value) && is(key, "app") && is(value, "web"));
    assert_true(sl_label_next(&r, &key, &value) && is(key, "zone") && value.bytes == 0);
    assert_false(sl_label_next(&r, &key, &value));
    assert_false(r.failed);
}

static const struct sl_place place = {.birth = 1,
                                      .oldest_seq = 2,
                                      .last_seq = 3,
                                      .lost = 4,
                                      .version = 5,
                                      .state = SL_STOPPED,
                                      .has_exit = true,
                                      .exit_code = -6};

static void assert_place(const struct sl_place *p)
{
    assert_true(p->birth == 1 && p->oldest_seq == 2 && p->last_seq == 3 && p->lost == 4);
    assert_true(p->version == 5 && p->state == SL_STOPPED && p->has_exit && p->exit_code == -6);
}

static void head_write(struct sl_writer *w)
{
    sl_message_begin(w, &(struct sl_message_head){.type = SL_READ, .status = SL_STATUS_NOT_FOUND, .id = 77});
}
static int head_decode(struct sl_reader *r)
{
    struct sl_message_head head;
    int status = sl_message_open(r, &head);
    if (status == 0)
        assert_true(head.type == SL_READ && head.status == SL_STATUS_NOT_FOUND && head.id == 77);
    return status == 0 && sl_reader_left(r) > 0 ? BAD : status; /* a head has a body behind it */
}

static void hello_write(struct sl_writer *w)
{
    sl_hello_encode(w, &(struct sl_hello){.role = SL_ROLE_COLLECTOR,
                                          .host = sl_slice_of("node-7"),
                                          .version = sl_slice_of("0.1.0"),
                                          .proof = sl_slice_of("0123456789abcdef0123456789abcdef")});
}
static int hello_decode(struct sl_reader *r)
{
    struct sl_hello h;
    int status = sl_hello_decode(r, &h);
    if (status == 0) {
        assert_true(h.role == SL_ROLE_COLLECTOR && is(h.host, "node-7") && is(h.version, "0.1.0"));
        assert_true(is(h.proof, "0123456789abcdef0123456789abcdef"));
    }
    return status;
}

static void welcome_write(struct sl_writer *w)
{
    sl_welcome_encode(w, &(struct sl_welcome){.epoch = 9, .nonce = "nonce", .version = sl_slice_of("0.1.0")});
}
static int welcome_decode(struct sl_reader *r)
{
    struct sl_welcome v;
    int status = sl_welcome_decode(r, &v);
    if (status == 0)
        assert_true(v.epoch == 9 && memcmp(v.nonce, "nonce", 6) == 0 && is(v.version, "0.1.0"));
    return status;
}

static void change_write(struct sl_writer *w)
{
    sl_change_encode(
        w, &(struct sl_change){.fields = SL_CHANGE_STATE | SL_CHANGE_EXIT | SL_CHANGE_HOST | SL_CHANGE_LABELS,
                               .state = SL_STOPPED,
                               .exit_code = -1,
                               .sandbox = sl_slice_of("box"),
                               .host = sl_slice_of("node-7"),
                               .labels = 2,
                               .label_pairs = two_labels()});
}
static int change_decode(struct sl_reader *r)
{
    struct sl_change c;
    int status = sl_change_decode(r, &c);
    if (status == 0) {
        assert_true(c.fields == 15 && c.state == SL_STOPPED && c.exit_code == -1 && is(c.sandbox, "box"));
        assert_true(is(c.host, "node-7"));
        assert_two_labels(c.labels, c.label_pairs);
    }
    return status;
}

static void append_write(struct sl_writer *w)
{
    sl_append_item_write(w, SL_RECORD_BLOCK, sl_slice_of("block"));
    sl_append_item_write(w, SL_RECORD_CHANGE, sl_slice_of("change"));
}
static int append_decode(struct sl_reader *r)
{
    uint8_t kind;
    struct sl_slice payload;
    int items = 0;
    for (; sl_append_item_next(r, &kind, &payload); items++) {
        assert_int_equal(kind, items == 0 ? SL_RECORD_BLOCK : SL_RECORD_CHANGE);
        assert_true(is(payload, items == 0 ? "block" : "change"));
    }
    return r->failed ? BAD : items == 2 ? 0 : -1 - items;
}

static void verdicts_write(struct sl_writer *w)
{
    sl_append_answer_begin(w, 250);
    sl_append_verdict_write(w, &(struct sl_append_verdict){SL_TAKEN, 1, 100});
    sl_append_verdict_write(w, &(struct sl_append_verdict){SL_ELSEWHERE, 2, UINT64_MAX});
}
static int verdicts_decode(struct sl_reader *r)
{
    struct sl_append_verdict v;
    int items = 0;
    if (sl_append_answer_open(r) != 250)
        return BAD;
    for (; sl_append_verdict_next(r, &v); items++) {
        assert_int_equal(v.verdict, items == 0 ? SL_TAKEN : SL_ELSEWHERE);
        assert_true(v.incarnation == (items == 0 ? 1 : 2) && v.offset == (items == 0 ? 100 : UINT64_MAX));
    }
    return r->failed ? BAD : items == 2 ? 0 : -1 - items;
}

static void ids_write(struct sl_writer *w)
{
    sl_id_write(w, sl_slice_of("box"));
    sl_id_write(w, sl_slice_of("a:b"));
}
static int ids_decode(struct sl_reader *r)
{
    struct sl_slice id;
    int items = 0;
    for (; sl_id_next(r, &id); items++)
        assert_true(is(id, items == 0 ? "box" : "a:b"));
    return r->failed ? BAD : items == 2 ? 0 : -1 - items;
}

static void sources_write(struct sl_writer *w)
{
    sl_sources_write(w, sl_slice_of("empty"), 0);
    sl_sources_write(w, sl_slice_of("box"), 1);
    sl_source_place_write(w, &(struct sl_source_place){.source = {.key = "0123456789abcde", .incarnation = 3},
                                                       .offset = 1000,
                                                       .open_from = 900,
                                                       .fingerprint = 0xabcdef,
                                                       .fingerprint_bytes = 1024,
                                                       .flags = SL_SOURCE_BURIED | SL_SOURCE_CLOSED});
}
static int sources_decode(struct sl_reader *r)
{
    struct sl_slice id;
    uint32_t count;
    int items = 0;
    for (; sl_sources_next(r, &id, &count); items++) {
        assert_true(is(id, items == 0 ? "empty" : "box"));
        assert_int_equal(count, items);
        struct sl_source_place p;
        for (uint32_t i = 0; i < count; i++) {
            assert_true(sl_source_place_next(r, &p)); /* the count was checked */
            assert_memory_equal(p.source.key, "0123456789abcde", 16);
            assert_true(p.source.incarnation == 3 && p.offset == 1000 && p.open_from == 900);
            assert_true(p.fingerprint == 0xabcdef && p.fingerprint_bytes == 1024 && p.flags == 3);
        }
    }
    return r->failed ? BAD : items == 2 ? 0 : -1 - items;
}

static void notices_write(struct sl_writer *w)
{
    sl_notices_encode(w, 11, 30000);
}
static int notices_decode(struct sl_reader *r)
{
    uint64_t seen = 0;
    uint32_t wait_ms = 0;
    int status = sl_notices_decode(r, &seen, &wait_ms);
    if (status == 0)
        assert_true(seen == 11 && wait_ms == 30000);
    return status;
}

static void notices_answer_write(struct sl_writer *w)
{
    sl_notices_answer_begin(w, 12);
    ids_write(w);
}
static int notices_answer_decode(struct sl_reader *r)
{
    uint64_t version = 0;
    if (sl_notices_answer_open(r, &version) != 0)
        return BAD;
    assert_int_equal(version, 12);
    return ids_decode(r);
}

static void mine_write(struct sl_writer *w)
{
    sl_mine_encode(w, 13);
}
static int mine_decode(struct sl_reader *r)
{
    uint64_t page = 0;
    int status = sl_mine_decode(r, &page);
    assert_true(status != SL_STATUS_OK || page == 13);
    return status;
}
static void begin_write(struct sl_writer *w)
{
    sl_begin_encode(w, 15);
}
static int begin_decode(struct sl_reader *r)
{
    uint64_t instance = 0;
    int status = sl_begin_decode(r, &instance);
    assert_true(status != SL_STATUS_OK || instance == 15);
    return status;
}
static void mine_answer_write(struct sl_writer *w)
{
    sl_mine_answer_begin(w, 14);
    ids_write(w);
}
static int mine_answer_decode(struct sl_reader *r)
{
    uint64_t next_page = 0;
    if (sl_mine_answer_open(r, &next_page) != 0)
        return BAD;
    assert_int_equal(next_page, 14);
    return ids_decode(r);
}

static void read_write(struct sl_writer *w)
{
    sl_read_begin(w, &(struct sl_read){.max_bytes = 256 << 10, .wait_ms = 60000, .entries = 2});
    sl_read_entry_write(w, &(struct sl_read_entry){sl_slice_of("box"), SL_READ_FROM, 1, 5});
    sl_read_entry_write(w, &(struct sl_read_entry){sl_slice_of("b"), SL_READ_TIME, (uint64_t)-1, 0});
}
static int read_decode(struct sl_reader *r)
{
    struct sl_read read;
    int status = sl_read_open(r, &read);
    if (status != 0)
        return status;
    assert_true(read.max_bytes == 256 << 10 && read.wait_ms == 60000 && read.entries == 2);
    struct sl_read_entry e;
    assert_true(sl_read_entry_next(r, &e));
    assert_true(is(e.sandbox, "box") && e.how == SL_READ_FROM && e.value == 1 && e.version == 5);
    assert_true(sl_read_entry_next(r, &e));
    assert_true(is(e.sandbox, "b") && e.how == SL_READ_TIME && (int64_t)e.value == -1 && e.version == 0);
    assert_false(sl_read_entry_next(r, &e));
    return r->failed ? BAD : 0;
}

static void part_write(struct sl_writer *w, const struct sl_read_part *part)
{
    uint8_t head[SL_READ_PART_HEAD_BYTES];
    sl_read_part_head(head, part);
    sl_write_slice(w, sl_slice(head, sizeof head));
    sl_write_slice(w, part->records);
}
static void parts_write(struct sl_writer *w)
{
    sl_read_answer_begin(w, 9, -10);
    part_write(
        w, &(struct sl_read_part){
               .entry = 1, .found = true, .more = true, .place = place, .records = sl_slice_of("records")});
    part_write(w, &(struct sl_read_part){.entry = 0});
}
static int parts_decode(struct sl_reader *r)
{
    uint64_t epoch;
    int64_t now_ns;
    if (sl_read_answer_open(r, &epoch, &now_ns) != 0)
        return BAD;
    assert_true(epoch == 9 && now_ns == -10);
    struct sl_read_part part;
    int items = 0;
    for (; sl_read_part_next(r, &part); items++) {
        assert_int_equal(part.entry, items == 0 ? 1 : 0);
        assert_true(part.found == (items == 0) && part.more == (items == 0));
        assert_true(is(part.records, items == 0 ? "records" : ""));
        if (items == 0)
            assert_place(&part.place);
    }
    return r->failed ? BAD : items == 2 ? 0 : -1 - items;
}

static const struct sl_info info = {
    .first_time_ns = -7, .last_time_ns = 8, .created_ns = 9, .lines = 10, .bytes = 11};

static void info_write(struct sl_writer *w)
{
    struct sl_info i = info;
    i.sandbox = sl_slice_of("box");
    i.place = place;
    i.host = sl_slice_of("node-7");
    i.containers = 2;
    i.container_names = sl_slice("\4main\0", 6);
    i.labels = 2;
    i.label_pairs = two_labels();
    sl_list_answer_begin(w, 9, 50);
    sl_info_encode(w, &i);
    sl_info_encode(w, &i);
}
static int info_decode(struct sl_reader *r)
{
    uint64_t epoch;
    uint64_t next_page;
    if (sl_list_answer_open(r, &epoch, &next_page) != 0)
        return BAD;
    assert_true(epoch == 9 && next_page == 50);
    struct sl_info i;
    int items = 0;
    for (; sl_info_next(r, &i); items++) {
        assert_true(is(i.sandbox, "box") && is(i.host, "node-7") && i.containers == 2);
        assert_true(sl_slice_equal(i.container_names, sl_slice("\4main\0", 6)));
        assert_true(i.first_time_ns == -7 && i.last_time_ns == 8 && i.created_ns == 9);
        assert_true(i.lines == 10 && i.bytes == 11);
        assert_place(&i.place);
        assert_two_labels(i.labels, i.label_pairs);
    }
    return r->failed ? BAD : items == 2 ? 0 : -1 - items;
}

static void list_write(struct sl_writer *w)
{
    sl_list_encode(w, &(struct sl_list){.state = SL_RUNNING,
                                        .limit = 100,
                                        .page = 51,
                                        .prefix = sl_slice_of("bo"),
                                        .labels = 2,
                                        .label_pairs = two_labels()});
}
static int list_decode(struct sl_reader *r)
{
    struct sl_list l;
    int status = sl_list_decode(r, &l);
    if (status == 0) {
        assert_true(l.state == SL_RUNNING && l.limit == 100 && l.page == 51 && is(l.prefix, "bo"));
        assert_two_labels(l.labels, l.label_pairs);
    }
    return status;
}

/* If a golden value changes, daemons of different versions do not understand each other: a new version then.
 */
static const struct sample samples[] = {
    {"head", head_write, head_decode, false, "534c4d31010504004d00000000000000"},
    {"hello", hello_write, hello_decode, false,
     "01066e6f64652d3705302e312e30203031323334353637383961626364656630313233343536373839616263"
     "646566"},
    {"welcome", welcome_write, welcome_decode, false,
     "09000000000000006e6f6e6365000000000000000000000005302e312e30"},
    {"change", change_write, change_decode, false,
     "0f03ffffffff03626f78066e6f64652d370200036170700300776562047a6f6e650000"},
    {"append", append_write, append_decode, true, "0105000000626c6f636b02060000006368616e6765"},
    {"verdicts", verdicts_write, verdicts_decode, true,
     "fa000000000100000064000000000000000202000000ffffffffffffffff"},
    {"ids", ids_write, ids_decode, true, "03626f7803613a62"},
    {"sources", sources_write, sources_decode, true,
     "05656d7074790000000003626f78010000003031323334353637383961626364650003000000e80300000000"
     "00008403000000000000efcdab0000000000000403"},
    {"notices", notices_write, notices_decode, false, "0b0000000000000030750000"},
    {"notices_answer", notices_answer_write, notices_answer_decode, true, "0c0000000000000003626f7803613a62"},
    {"mine", mine_write, mine_decode, false, "0d00000000000000"},
    {"mine_answer", mine_answer_write, mine_answer_decode, true, "0e0000000000000003626f7803613a62"},
    {"begin", begin_write, begin_decode, false, "0f00000000000000"},
    {"read", read_write, read_decode, false,
     "0000040060ea0000020003626f7801010000000000000005000000016203ffffffffffffffff00000000"},
    {"parts", parts_write, parts_decode, true,
     "0900000000000000f6ffffffffffffff01000301000000000000000200000000000000030000000000000004"
     "00000000000000050000000301faffffff070000007265636f72647300000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000"},
    {"info", info_write, info_decode, true,
     "0900000000000000320000000000000003626f78010000000000000002000000000000000300000000000000"
     "0400000000000000050000000301fafffffff9ffffffffffffff080000000000000009000000000000000a00"
     "0000000000000b00000000000000066e6f64652d3702046d61696e000200036170700300776562047a6f6e65"
     "000003626f780100000000000000020000000000000003000000000000000400000000000000050000000301"
     "fafffffff9ffffffffffffff080000000000000009000000000000000a000000000000000b00000000000000"
     "066e6f64652d3702046d61696e000200036170700300776562047a6f6e650000"},
    {"list", list_write, list_decode, false,
     "016400330000000000000002626f0200036170700300776562047a6f6e650000"},
};
enum { SAMPLES = sizeof samples / sizeof samples[0] };

/* In memory of exactly its size, to be freed. */
static struct sl_slice sample_bytes(const struct sample *s, size_t cut, size_t more)
{
    uint8_t room[1024] = {0};
    struct sl_writer w = sl_writer(room, sizeof room - more);
    s->write(&w);
    assert_false(w.failed);
    size_t bytes = (cut < w.bytes ? cut : w.bytes) + more;
    uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(exact);
    memcpy(exact, room, bytes);
    return sl_slice(exact, bytes);
}

static void every_message_comes_back_field_by_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sl_slice bytes = sample_bytes(&samples[i], SIZE_MAX, 0);
        struct sl_reader r = sl_reader(bytes);
        if (samples[i].decode(&r) != 0)
            fail_msg("%s", samples[i].name);
        free((void *)bytes.data);
    }
}

static void a_message_cut_anywhere_is_never_taken_for_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sl_slice whole = sample_bytes(&samples[i], SIZE_MAX, 0);
        for (size_t cut = 0; cut < whole.bytes; cut++) {
            struct sl_slice bytes = sample_bytes(&samples[i], cut, 0);
            struct sl_reader r = sl_reader(bytes);
            int answer = samples[i].decode(&r);
            if (answer == 0 || (answer < 0 && !samples[i].list))
                fail_msg("%s cut at %zu: %d", samples[i].name, cut, answer);
            free((void *)bytes.data);
        }
        free((void *)whole.data);
    }
}

static void a_message_with_a_zero_byte_behind_it_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sl_slice bytes = sample_bytes(&samples[i], SIZE_MAX, 1);
        struct sl_reader r = sl_reader(bytes);
        if (samples[i].decode(&r) != BAD)
            fail_msg("%s", samples[i].name);
        free((void *)bytes.data);
    }
}

static void a_writer_without_room_fails_and_never_overruns(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sl_slice whole = sample_bytes(&samples[i], SIZE_MAX, 0);
        for (size_t room = 0; room < whole.bytes; room++) {
            uint8_t *exact = malloc(room > 0 ? room : 1);
            assert_non_null(exact);
            struct sl_writer w = sl_writer(exact, room);
            samples[i].write(&w);
            assert_true(w.failed && w.bytes <= room);
            free(exact);
        }
        free((void *)whole.data);
    }
}

static void the_bytes_of_version_1_are_these(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sl_slice bytes = sample_bytes(&samples[i], SIZE_MAX, 0);
        char text[2048];
        for (size_t k = 0; k < bytes.bytes; k++)
            sprintf(text + 2 * k, "%02x", bytes.data[k]);
        free((void *)bytes.data);
        assert_string_equal(text, samples[i].golden);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_comes_back_field_by_field),
        cmocka_unit_test(a_message_cut_anywhere_is_never_taken_for_whole),
        cmocka_unit_test(a_message_with_a_zero_byte_behind_it_is_refused),
        cmocka_unit_test(a_writer_without_room_fails_and_never_overruns),
        cmocka_unit_test(the_bytes_of_version_1_are_these),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
