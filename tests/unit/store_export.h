// SPDX-License-Identifier: Apache-2.0
/*
 * What every engine of store.h must do for export, as claims. Behind store_conformance.h, which it builds
 * upon; runs as export_tests.
 */
#pragma once
#include "store_conformance.h"

struct changing {
    struct store_consumer_change change;
    bool done;
    int answer;
};

static void change_done(struct store_consumer_change *change, int answer)
{
    struct changing *c = (struct changing *)change;
    assert_false(c->done);
    c->done = true;
    c->answer = answer;
}

static int change(struct world *w, uint8_t what, const char *consumer, const char *checkpoint,
                  struct sl_checkpoint *ret_place)
{
    struct changing c = {.change = {.what = what,
                                    .consumer = sl_slice_of(consumer),
                                    .checkpoint = sl_slice_of(checkpoint),
                                    .done = change_done}};
    store_consumer_change(w->store, &c.change);
    while (!c.done) {
        struct pollfd fd = {.fd = w->wake[0], .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 30000), 1);
        char bytes[64];
        assert_true(read(w->wake[0], bytes, sizeof bytes) > 0);
        store_run(w->store);
    }
    if (c.answer == 0 && ret_place)
        *ret_place = c.change.place;
    return c.answer;
}

static void open_consumer(struct world *w, const char *consumer)
{
    assert_int_equal(change(w, STORE_CONSUMER_OPEN, consumer, "", NULL), 0);
}

static int ack(struct world *w, const char *consumer, const struct sl_checkpoint *checkpoint)
{
    char text[SL_CHECKPOINT_MAX_BYTES + 1] = "";
    memcpy(text, checkpoint->text, checkpoint->bytes);
    return change(w, STORE_CONSUMER_ACK, consumer, text, NULL);
}

/* What a scan gave, by sandbox: numbers ascend, and nothing is left out but what gaps tell. */
enum { SEEN_MAX = 8 };
struct seen {
    struct seen_box {
        char id[SL_ID_MAX_BYTES + 1];
        uint64_t birth;
        uint64_t next; /* 0: none seen */
        uint64_t lines, repeated;
        unsigned gaps;
        uint32_t version;
    } boxes[SEEN_MAX];
    unsigned count;
    unsigned records;
    unsigned stop_after;     /* records of one scan; 0: never */
    unsigned given;          /* of this scan */
    struct sl_checkpoint at; /* empty: the consumer's place */
    bool more;
};

static struct seen_box *seen_box(struct seen *s, struct sl_slice id)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (sl_slice_equal(sl_slice_of(s->boxes[i].id), id))
            return &s->boxes[i];
    }
    assert_true(s->count < SEEN_MAX);
    struct seen_box *b = &s->boxes[s->count++];
    memcpy(b->id, id.data, id.bytes);
    return b;
}

static bool seen_record(void *arg, const struct store_scanned *scanned)
{
    struct seen *s = arg;
    struct sl_record record;
    struct sl_slice payload;
    struct sl_block_header header;
    if (s->stop_after && s->given == s->stop_after)
        return false;
    assert_int_equal(sl_record_check(scanned->record, &record, &payload, &header), SL_RECORD_OK);
    assert_int_equal(record.kind, SL_RECORD_BLOCK);
    assert_int_equal(record.first_seq, scanned->prefix->first_seq);
    struct seen_box *b = seen_box(s, header.sandbox);
    s->records++;
    s->given++;
    assert_true(scanned->birth >= b->birth);
    if (scanned->birth > b->birth) {
        b->birth = scanned->birth;
        b->next = 0;
    }
    b->version = scanned->version;
    if (header.flags & SL_BLOCK_GAP) {
        b->gaps++;
        if (header.gap_reason == SL_GAP_RETENTION || header.gap_reason == SL_GAP_DAMAGED)
            b->next = record.first_seq > b->next ? record.first_seq : b->next;
        return true;
    }
    assert_true(header.lines > 0);
    if (b->next)
        assert_true(record.first_seq <= b->next);
    for (uint64_t seq = record.first_seq; seq < record.first_seq + header.lines; seq++) {
        b->lines++;
        b->repeated += seq < b->next;
        b->next = seq >= b->next ? seq + 1 : b->next;
    }
    return true;
}

/* One page from where s stands. */
static int scan_page(struct world *w, const char *consumer, size_t max_bytes, struct seen *s)
{
    struct sl_checkpoint from, next;
    s->given = 0;
    int answer = store_scan(w->store, sl_slice_of(consumer), sl_checkpoint_slice(&s->at), max_bytes,
                            seen_record, s, &from, &next, &s->more);
    if (answer == 0) {
        assert_true(sl_checkpoint_valid(sl_checkpoint_slice(&from)));
        assert_true(sl_checkpoint_valid(sl_checkpoint_slice(&next)));
        s->at = next;
    }
    return answer;
}

/* To the end. */
static void scan_on(struct world *w, const char *consumer, size_t max_bytes, struct seen *s)
{
    do
        assert_int_equal(scan_page(w, consumer, max_bytes, s), 0);
    while (s->more || s->given);
}

static void assert_seen(struct seen *s, const char *sandbox, uint64_t next, uint64_t lines)
{
    const struct seen_box *b = seen_box(s, sl_slice_of(sandbox));
    assert_int_equal(b->next, next);
    assert_int_equal(b->lines, lines);
}

struct listed {
    const char *name;
    struct sl_consumer consumer;
    struct sl_checkpoint checkpoint;
    unsigned count;
};

static void list_consumer(void *arg, const struct sl_consumer *consumer)
{
    struct listed *l = arg;
    l->count++;
    if (!sl_slice_equal(consumer->name, sl_slice_of(l->name)))
        return;
    l->consumer = *consumer;
    l->checkpoint.bytes = (uint8_t)consumer->checkpoint.bytes;
    memcpy(l->checkpoint.text, consumer->checkpoint.data, consumer->checkpoint.bytes);
}

static struct listed listed(struct world *w, const char *consumer)
{
    struct listed l = {.name = consumer};
    assert_int_equal(store_consumers(w->store, list_consumer, &l), 0);
    return l;
}

/* ---- claims ---- */

static void a_consumer_meets_every_line_once_in_order(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < 20; i++) {
        append_lines(w, "a", i * 3, 3);
        append_lines(w, i % 2 ? "b" : "c", i / 2 * 5, 5);
    }
    static const size_t pages[] = {1, 700, 4096, 1 << 18};
    open_consumer(w, "arch");
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        struct seen s = {0};
        scan_on(w, "arch", pages[i], &s);
        assert_seen(&s, "a", 61, 60);
        assert_seen(&s, "b", 51, 50);
        assert_seen(&s, "c", 51, 50);
        assert_int_equal(s.records, 40);
        assert_int_equal(seen_box(&s, sl_slice_of("a"))->version, place(w, "a").version);
        assert_int_equal(seen_box(&s, sl_slice_of("a"))->birth, place(w, "a").birth);
    }
}

static void a_record_that_is_refused_comes_first_next_time(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < 10; i++)
        append_lines(w, "a", i * 3, 3);
    open_consumer(w, "arch");
    struct seen s = {.stop_after = 3};
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(scan_page(w, "arch", 1 << 18, &s), 0);
        assert_true(s.more);
        assert_seen(&s, "a", i * 9 + 1, i * 9);
    }
    assert_int_equal(scan_page(w, "arch", 1 << 18, &s), 0);
    assert_seen(&s, "a", 31, 30);
}

static void what_comes_later_is_behind_the_checkpoint(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    open_consumer(w, "arch");
    struct seen s = {0};
    scan_on(w, "arch", 4096, &s);
    assert_int_equal(scan_page(w, "arch", 4096, &s), 0);
    assert_int_equal(s.given, 0);
    assert_false(s.more);
    append_lines(w, "a", 3, 4);
    append_lines(w, "b", 0, 1);
    scan_on(w, "arch", 4096, &s);
    assert_seen(&s, "a", 8, 7);
    assert_seen(&s, "b", 2, 1);
    assert_int_equal(s.records, 3);
}

static void a_place_is_kept_and_never_goes_back(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    open_consumer(w, "arch");
    struct seen s = {.stop_after = 1};
    assert_int_equal(scan_page(w, "arch", 4096, &s), 0);
    struct sl_checkpoint first = s.at;
    append_lines(w, "a", 3, 3);
    s.stop_after = 0;
    scan_on(w, "arch", 4096, &s);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    struct sl_checkpoint held;
    char text[SL_CHECKPOINT_MAX_BYTES + 1] = "";
    memcpy(text, first.text, first.bytes);
    assert_int_equal(change(w, STORE_CONSUMER_ACK, "arch", text, &held), 0);
    assert_true(sl_slice_equal(sl_checkpoint_slice(&held), sl_checkpoint_slice(&s.at)));
    for (int i = 0; i < 2; i++) {
        struct listed l = listed(w, "arch");
        assert_int_equal(l.count, 1);
        assert_true(sl_slice_equal(sl_checkpoint_slice(&l.checkpoint), sl_checkpoint_slice(&s.at)));
        struct seen again = {0};
        scan_on(w, "arch", 4096, &again);
        assert_int_equal(again.records, 0);
        world_reopen(w);
    }
    append_lines(w, "a", 6, 1);
    struct seen again = {0};
    scan_on(w, "arch", 4096, &again);
    assert_seen(&again, "a", 8, 1);
}

static void what_was_not_acknowledged_comes_again(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < 6; i++)
        append_lines(w, "a", i * 3, 3);
    open_consumer(w, "arch");
    struct seen s = {.stop_after = 2};
    assert_int_equal(scan_page(w, "arch", 1 << 18, &s), 0);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    assert_int_equal(scan_page(w, "arch", 1 << 18, &s), 0);
    world_reopen(w);
    struct seen again = {0};
    scan_on(w, "arch", 4096, &again);
    assert_seen(&again, "a", 19, 12);
}

static void consumers_are_independent_and_can_be_dropped(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    open_consumer(w, "one");
    open_consumer(w, "two");
    open_consumer(w, "two");
    struct seen s = {0};
    scan_on(w, "one", 4096, &s);
    assert_int_equal(ack(w, "one", &s.at), 0);
    assert_int_equal(listed(w, "one").count, 2);
    assert_int_equal(listed(w, "one").consumer.lag_lines, 0);
    assert_int_equal(listed(w, "two").consumer.lag_lines, 3);
    assert_int_equal(change(w, STORE_CONSUMER_DROP, "one", "", NULL), 0);
    assert_int_equal(change(w, STORE_CONSUMER_DROP, "one", "", NULL), STORE_UNKNOWN);
    assert_int_equal(ack(w, "one", &s.at), STORE_UNKNOWN);
    assert_int_equal(scan_page(w, "one", 4096, &(struct seen){0}), STORE_UNKNOWN);
    world_reopen(w);
    assert_int_equal(listed(w, "two").count, 1);
    open_consumer(w, "one");
    struct seen again = {0};
    scan_on(w, "one", 4096, &again);
    assert_seen(&again, "a", 4, 3);
}

static void lag_is_what_is_behind_the_place(void **state)
{
    struct world *w = *state;
    open_consumer(w, "arch");
    assert_int_equal(listed(w, "arch").consumer.lag_lines, 0);
    assert_int_equal(listed(w, "arch").consumer.oldest_ns, 0);
    int64_t before_ns = sl_now_ns();
    for (unsigned i = 0; i < 10; i++)
        append_lines(w, "a", i * 3, 3);
    struct sl_info info;
    assert_int_equal(store_info(w->store, sl_slice_of("a"), &info), 0);
    struct sl_consumer c = listed(w, "arch").consumer;
    assert_int_equal(c.lag_lines, 30);
    assert_int_equal(c.lag_bytes, info.bytes);
    assert_true(c.oldest_ns >= before_ns && c.oldest_ns <= sl_now_ns());
    struct seen s = {.stop_after = 4};
    assert_int_equal(scan_page(w, "arch", 1 << 18, &s), 0);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    world_reopen(w);
    c = listed(w, "arch").consumer;
    assert_int_equal(c.lag_lines, 18);
    assert_true(c.lag_bytes < info.bytes && c.lag_bytes > 0);
    assert_true(c.oldest_ns >= before_ns);
    s.stop_after = 0;
    scan_on(w, "arch", 1 << 18, &s);
    assert_int_equal(ack(w, "arch", &s.at), 0);
    c = listed(w, "arch").consumer;
    assert_int_equal(c.lag_lines, 0);
    assert_int_equal(c.lag_bytes, 0);
    assert_int_equal(c.oldest_ns, 0);
}

static void only_one_holder_reads_at_a_time(void **state)
{
    struct world *w = *state;
    struct sl_slice name = sl_slice_of("arch");
    assert_int_equal(store_lease(w->store, name, 1, 60000), STORE_UNKNOWN);
    open_consumer(w, "arch");
    assert_false(listed(w, "arch").consumer.leased);
    assert_int_equal(store_lease(w->store, name, 1, 60000), 0);
    assert_int_equal(store_lease(w->store, name, 1, 60000), 0);
    assert_int_equal(store_lease(w->store, name, 2, 60000), STORE_BUSY);
    assert_int_equal(store_lease(w->store, name, 2, 0), STORE_BUSY);
    assert_true(listed(w, "arch").consumer.leased);
    assert_int_equal(store_lease(w->store, name, 1, 0), 0);
    assert_int_equal(store_lease(w->store, name, 2, 1), 0);
    /* A lease that nobody keeps is over by itself. */
    int64_t until_ns = sl_monotonic_ns() + 20 * SL_NS_PER_S;
    while (store_lease(w->store, name, 3, 60000) == STORE_BUSY)
        assert_true(sl_monotonic_ns() < until_ns);
    assert_int_equal(store_lease(w->store, name, 2, 60000), STORE_BUSY);
}

static void what_is_no_checkpoint_of_this_store_is_refused(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    open_consumer(w, "arch");
    struct seen s = {0};
    scan_on(w, "arch", 4096, &s);
    static const char *const bad[] = {"x", "-", "..", "0", "zzzzzzzz-00000001.0.00000000.0.0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(change(w, STORE_CONSUMER_ACK, "arch", bad[i], NULL), STORE_BAD);
        struct seen from = {.at.bytes = (uint8_t)strlen(bad[i])};
        memcpy(from.at.text, bad[i], strlen(bad[i]));
        assert_int_equal(scan_page(w, "arch", 4096, &from), STORE_BAD);
    }
}

static void a_deleted_sandbox_is_not_exported(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    append_lines(w, "b", 0, 2);
    open_consumer(w, "arch");
    append(w, delete_item("a"));
    struct seen s = {0};
    scan_on(w, "arch", 4096, &s);
    assert_int_equal(s.count, 1);
    assert_seen(&s, "b", 3, 2);
    append_block(w, &(struct block_spec){.sandbox = "a", .source = 7, .to = 4, .lines = 4});
    scan_on(w, "arch", 4096, &s);
    assert_seen(&s, "a", 5, 4);
    struct seen all = {0};
    scan_on(w, "arch", 4096, &all);
    assert_seen(&all, "a", 5, 4);
    assert_seen(&all, "b", 3, 2);
}

static void gaps_are_exported(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    append_block(w, &(struct block_spec){.sandbox = "a",
                                         .source = 1,
                                         .from = 3,
                                         .to = 9,
                                         .flags = SL_BLOCK_GAP,
                                         .gap_reason = SL_GAP_SOURCE_VANISHED,
                                         .gap_lines = 6});
    append_lines(w, "a", 9, 3);
    open_consumer(w, "arch");
    struct seen s = {0};
    scan_on(w, "arch", 4096, &s);
    assert_seen(&s, "a", 7, 6);
    assert_int_equal(seen_box(&s, sl_slice_of("a"))->gaps, 1);
    assert_int_equal(s.records, 3);
}

static void there_is_a_most_of_consumers(void **state)
{
    struct world *w = *state;
    char name[20];
    for (unsigned i = 0; i < SL_CONSUMERS_MAX; i++) {
        snprintf(name, sizeof name, "c%u", i);
        open_consumer(w, name);
    }
    assert_int_equal(change(w, STORE_CONSUMER_OPEN, "more", "", NULL), STORE_TOO_MANY);
    open_consumer(w, "c5");
    assert_int_equal(listed(w, "c5").count, SL_CONSUMERS_MAX);
    world_reopen(w);
    assert_int_equal(listed(w, "c63").count, SL_CONSUMERS_MAX);
}

static const struct CMUnitTest export_tests[] = {
    CLAIM(a_consumer_meets_every_line_once_in_order),
    CLAIM(a_record_that_is_refused_comes_first_next_time),
    CLAIM(what_comes_later_is_behind_the_checkpoint),
    CLAIM(a_place_is_kept_and_never_goes_back),
    CLAIM(what_was_not_acknowledged_comes_again),
    CLAIM(consumers_are_independent_and_can_be_dropped),
    CLAIM(lag_is_what_is_behind_the_place),
    CLAIM(only_one_holder_reads_at_a_time),
    CLAIM(what_is_no_checkpoint_of_this_store_is_refused),
    CLAIM(a_deleted_sandbox_is_not_exported),
    CLAIM(gaps_are_exported),
    CLAIM(there_is_a_most_of_consumers),
};
