// SPDX-License-Identifier: Apache-2.0
/* Export from the Redis engine: several brokers, what one of them could not note, and what retention leaves.
 */
#include "store_redis_worlds.h"

static struct server server;

static void engine_make(struct world *w)
{
    server_command(&server, "FLUSHALL");
    snprintf(w->location, sizeof w->location, "redis://127.0.0.1:%d", server.port);
}

static void engine_destroy(struct world *w)
{
    *w->location = 0;
}

struct asked {
    bool done;
    int answer;
};

static void on_changed(struct store_consumer_change *change, int answer)
{
    *(struct asked *)change->owner = (struct asked){true, answer};
}

static int change(struct world *w, uint8_t what, const char *checkpoint, struct sl_checkpoint *ret)
{
    struct asked asked = {0};
    struct store_consumer_change c = {.what = what,
                                      .consumer = sl_slice_of("arch"),
                                      .checkpoint = sl_slice_of(checkpoint),
                                      .done = on_changed,
                                      .owner = &asked};
    store_consumer_change(w->store, &c);
    for (int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S; !asked.done;) {
        assert_true(sl_monotonic_ns() < end_ns);
        poll(NULL, 0, 5);
        store_run(w->store);
    }
    *ret = c.place;
    return asked.answer;
}

/* The lines that a consumer was given, by sandbox ("a" to "h"): in order, none twice, but for gaps. */
struct drained {
    uint64_t next[8], lines, gap_lines, unknown_gaps;
};

static bool take(void *arg, const struct store_scanned *scanned)
{
    struct drained *d = arg;
    struct sl_record record;
    struct sl_block_header header;
    struct sl_slice block;
    assert_int_equal(sl_record_check(scanned->record, &record, &block, &header), SL_RECORD_OK);
    unsigned at = (unsigned)(*header.sandbox.data - 'a');
    assert_true(at < 8);
    if (header.flags & SL_BLOCK_GAP) {
        if (header.gap_lines == SL_GAP_LINES_UNKNOWN)
            d->unknown_gaps++;
        else
            d->gap_lines += header.gap_lines;
        d->next[at] = record.first_seq;
        return true;
    }
    assert_int_equal(record.first_seq, d->next[at] ? d->next[at] : 1);
    d->next[at] = record.first_seq + header.lines;
    d->lines += header.lines;
    return true;
}

/* On from *place, until so many lines have come. */
static void drain(struct world *w, struct drained *d, struct sl_checkpoint *place, uint64_t lines)
{
    for (int64_t end_ns = sl_monotonic_ns() + 40 * SL_NS_PER_S; d->lines < lines;) {
        struct sl_checkpoint from, next;
        bool more;
        assert_true(sl_monotonic_ns() < end_ns);
        store_run(w->store);
        int fault = store_scan(w->store, sl_slice_of("arch"), sl_checkpoint_slice(place), 1000, take, d,
                               &from, &next, &more);
        assert_int_equal(fault, 0);
        *place = next;
        if (!more)
            poll(NULL, 0, 20);
    }
    assert_int_equal(d->lines, lines);
}

static void lines_of_two_brokers_come_once_and_in_order(void **state)
{
    struct world *both[2] = {*state, second(*state)};
    struct sl_checkpoint place;
    struct drained d = {0};
    append_lines(both[1], "c", 0, 7); /* before there is a consumer */
    assert_int_equal(change(both[0], STORE_CONSUMER_OPEN, "", &place), 0);
    drain(both[0], &d, &place, 7);
    for (unsigned n = 0; n < 100; n++) {
        struct store_item items[4];
        struct waiting waiting[4];
        for (unsigned i = 0; i < 4; i++) {
            struct block_spec spec = {.sandbox = i < 2 ? "a" : "b",
                                      .source = (uint8_t)(1 + i),
                                      .from = n * 3,
                                      .to = n * 3 + 3,
                                      .lines = 3};
            items[i] = block_item(both[i % 2], &spec);
            submit(both[i % 2], &waiting[i], &items[i], 1);
        }
        for (unsigned i = 0; i < 4; i++) {
            await(both[i % 2], &waiting[i]);
            assert_int_equal(items[i].verdict.verdict, SL_TAKEN);
            item_free(&items[i]);
        }
    }
    drain(both[0], &d, &place, 7 + 1200);
    struct sl_checkpoint acked;
    char text[SL_CHECKPOINT_MAX_BYTES + 1] = "";
    memcpy(text, place.text, place.bytes);
    assert_int_equal(change(both[1], STORE_CONSUMER_ACK, text, &acked), 0);
    assert_true(sl_slice_equal(sl_checkpoint_slice(&acked), sl_checkpoint_slice(&place)));
    second_end(both[1]);
}

/* A broker that is killed between its append and its note leaves what this one leaves that has not heard yet.
 */
static void what_was_not_noted_is_found(void **state)
{
    struct world *w = *state, *other = second(w);
    struct sl_checkpoint place;
    struct drained d = {0};
    assert_int_equal(change(w, STORE_CONSUMER_OPEN, "", &place), 0);
    append_lines(other, "a", 0, 5);
    append_lines(other, "b", 0, 5);
    second_end(other);
    server_command(&server, "DEL sandlog:{export}:marks sandlog:{export}:log");
    drain(w, &d, &place, 10);
}

static bool compacted;
static void on_compacted(void *arg, int fault)
{
    (void)arg;
    assert_int_equal(fault, 0);
    compacted = true;
}

static void run_for(struct world *w, int64_t ns)
{
    for (int64_t end_ns = sl_monotonic_ns() + ns; sl_monotonic_ns() < end_ns;) {
        poll(NULL, 0, 20);
        store_run(w->store);
    }
}

static void compact_now(struct world *w)
{
    compacted = false;
    store_compact(w->store, on_compacted, NULL);
    for (int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S; !compacted;) {
        assert_true(sl_monotonic_ns() < end_ns);
        poll(NULL, 0, 5);
        store_run(w->store);
    }
}

static long long count_of(const char *command)
{
    redisReply *reply = server_try(&server, command);
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    long long n = reply->integer;
    freeReplyObject(reply);
    return n;
}

static void what_a_consumer_owes_stays_up_to_the_hold(void **state)
{
    struct world *w = *state;
    struct sl_checkpoint at;
    for (int held = 1; held >= 0; held--) {
        struct drained d = {0};
        server_command(&server, "FLUSHALL");
        store_close(w->store);
        w->options.sandbox_bytes = 20000;
        w->options.export_holds = true;
        w->options.export_hold_bytes = held ? UINT64_C(1) << 40 : 1000;
        world_open(w);
        assert_int_equal(change(w, STORE_CONSUMER_OPEN, "", &at), 0);
        for (unsigned i = 0; i < 100; i++)
            append_lines(w, "a", i * 100, 100);
        /* Each second it is found out what is owed. */
        run_for(w, 3 * SL_NS_PER_S);
        append_lines(w, "a", 10000, 1);
        compact_now(w);
        uint64_t kept = place(w, "a").oldest_seq;
        drain(w, &d, &at, 10001 - (kept - 1));
        if (held) {
            assert_int_equal(kept, 1);
            assert_int_equal(d.gap_lines, 0);
        } else {
            assert_true(kept > 5000);
            assert_true(d.gap_lines + d.unknown_gaps > 0);
            assert_true(d.gap_lines <= kept - 1);
        }
    }
}

/*
 * A consumer that is away for good: retention goes on beyond the hold, and the log of notes, which is trimmed
 * only behind the slowest, grew with every write for ever. What is left is what has lines, and one note for
 * each sandbox. When it comes back after all, it is told what it missed.
 */
static void a_consumer_that_stays_away_does_not_grow_the_log(void **state)
{
    struct world *w = *state;
    struct sl_checkpoint at, acked;
    struct drained d = {0};
    char text[SL_CHECKPOINT_MAX_BYTES + 1] = "";
    store_close(w->store);
    w->options.sandbox_bytes = 20000;
    w->options.export_holds = true;
    w->options.export_hold_bytes = 1000;
    world_open(w);
    assert_int_equal(change(w, STORE_CONSUMER_OPEN, "", &at), 0);
    append_lines(w, "b", 0, 7);
    append_lines(w, "a", 0, 50);
    drain(w, &d, &at, 57);
    memcpy(text, at.text, at.bytes);
    assert_int_equal(change(w, STORE_CONSUMER_ACK, text, &acked), 0);
    append_lines(w, "b", 7, 1);
    for (unsigned i = 0; i < 400; i++) {
        append_lines(w, "a", 50 + i * 50, 50);
        append_lines(w, "c", i, 1);
    }
    struct store_item gone = delete_item("c");
    append_items(w, &gone, 1);
    run_for(w, 3 * SL_NS_PER_S);
    append_lines(w, "a", 20050, 1);
    compact_now(w);
    uint64_t kept = place(w, "a").oldest_seq;
    assert_true(kept > 10000);
    uint64_t entries = (uint64_t)count_of("XLEN sandlog:{a}:s") + (uint64_t)count_of("XLEN sandlog:{b}:s");
    assert_true((uint64_t)count_of("XLEN sandlog:{export}:log") <= entries + 2);
    assert_int_equal(count_of("HLEN sandlog:{export}:marks"), 2);
    drain(w, &d, &at, 57 + 1 + 20051 - (kept - 1));
    assert_true(d.unknown_gaps > 0);
    assert_int_equal(d.next[1], 9);
    assert_int_equal(d.next[0], 20052);
}

/*
 * A place that the log has not come to: notes were lost in a failover, and the new master's clock is behind.
 * What it noted then had smaller numbers than the place, and was never given.
 */
static void what_is_noted_after_a_place_stands_behind_it(void **state)
{
    struct world *w = *state;
    struct sl_checkpoint at;
    struct drained d = {0};
    char epoch[9] = "", later[SL_CHECKPOINT_MAX_BYTES + 1];
    assert_int_equal(change(w, STORE_CONSUMER_OPEN, "", &at), 0);
    append_lines(w, "a", 0, 5);
    drain(w, &d, &at, 5);
    memcpy(epoch, at.text, 8);
    snprintf(later, sizeof later, "%s-%lld-3-0-0", epoch,
             (long long)(sl_now_ns() / SL_NS_PER_MS + 3600 * 1000));
    assert_int_equal(change(w, STORE_CONSUMER_ACK, later, &at), 0);
    append_lines(w, "a", 5, 5);
    at.bytes = 0; /* the consumer's place */
    drain(w, &d, &at, 10);
}

static const struct CMUnitTest tests[] = {
    CLAIM(what_is_noted_after_a_place_stands_behind_it),
    CLAIM(a_consumer_that_stays_away_does_not_grow_the_log),
    CLAIM(lines_of_two_brokers_come_once_and_in_order),
    CLAIM(what_was_not_noted_is_found),
    CLAIM(what_a_consumer_owes_stays_up_to_the_hold),
};

int main(void)
{
    server_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_end(&server);
    return failed;
}
