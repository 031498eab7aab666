// SPDX-License-Identifier: Apache-2.0
/* The Redis engine where the disk engine has no counterpart: several brokers, a Redis that fails, a cluster.
 */
#include "store_conformance.h"
#include "store_redis_server.h"

static struct server server;

static void engine_make(struct world *w)
{
    server_command(&server, "FLUSHALL");
    server_command(&server, "CONFIG SET maxmemory 0");
    snprintf(w->location, sizeof w->location, "redis://127.0.0.1:%d", server.port);
}

static void engine_destroy(struct world *w)
{
    *w->location = 0;
}

/* One more engine at the same place, as another broker has it. */
static struct world *second(const struct world *first)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    assert_int_equal(pipe(w->wake), 0);
    assert_int_equal(sl_block_builder_new(&w->builder), 0);
    w->options = first->options;
    w->options.arg = w;
    memcpy(w->location, first->location, sizeof w->location);
    world_open(w);
    return w;
}

static void second_end(struct world *w)
{
    void *state = w;
    world_teardown(&state);
}

/* Runs the store until `done(w)`. */
static void await_that(struct world *w, bool (*done)(struct world *w))
{
    for (int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S; !done(w);) {
        struct pollfd fd = {.fd = w->wake[0], .events = POLLIN};
        assert_true(sl_monotonic_ns() < end_ns);
        if (poll(&fd, 1, 100) == 1) {
            char bytes[64];
            assert_true(read(w->wake[0], bytes, sizeof bytes) > 0);
        }
        store_run(w->store);
    }
}

static void two_brokers_with_the_same_file_make_one_order_without_doubles(void **state)
{
    struct world *both[2] = {*state, second(*state)};
    enum { BLOCKS = 200, LINES = 5 };
    uint64_t at[2] = {0};
    unsigned taken = 0;
    while (at[0] < BLOCKS * LINES || at[1] < BLOCKS * LINES) {
        /* Both are in flight at the same time; who comes second is told where the source stands. */
        struct store_item items[2];
        struct waiting waiting[2];
        for (int i = 0; i < 2; i++) {
            uint64_t from = at[i] < BLOCKS * LINES ? at[i] : (BLOCKS - 1) * LINES;
            items[i] = block_item(
                both[i], &(struct block_spec){
                             .sandbox = "a", .source = 1, .from = from, .to = from + LINES, .lines = LINES});
            submit(both[i], &waiting[i], &items[i], 1);
        }
        for (int i = 0; i < 2; i++) {
            await(both[i], &waiting[i]);
            assert_int_equal(waiting[i].fault, 0);
            const struct sl_append_verdict *v = &items[i].verdict;
            taken += v->verdict == SL_TAKEN;
            assert_true(v->verdict == SL_TAKEN || v->verdict == SL_ALREADY || v->verdict == SL_ELSEWHERE);
            at[i] = v->offset;
            item_free(&items[i]);
        }
    }
    assert_int_equal(taken, BLOCKS);
    struct got got[2];
    for (int i = 0; i < 2; i++) {
        got[i] = read_all(both[i], "a", 1, 64 << 10);
        assert_int_equal(got[i].lines, BLOCKS * LINES);
        assert_int_equal(got[i].gaps, 0);
    }
    assert_string_equal(got[0].text, got[1].text);
    free(got[0].text);
    free(got[1].text);
    second_end(both[1]);
}

static void brokers_with_files_of_their_own_share_a_sandbox(void **state)
{
    struct world *both[2] = {*state, second(*state)};
    enum { ROUNDS = 200 };
    for (unsigned n = 0; n < ROUNDS; n++) {
        struct store_item items[2];
        struct waiting waiting[2];
        for (int i = 0; i < 2; i++) {
            items[i] = block_item(
                both[i], &(struct block_spec){
                             .sandbox = "a", .source = (uint8_t)(1 + i), .from = n, .to = n + 1, .lines = 1});
            submit(both[i], &waiting[i], &items[i], 1);
        }
        for (int i = 0; i < 2; i++) {
            await(both[i], &waiting[i]);
            assert_int_equal(items[i].verdict.verdict, SL_TAKEN);
            item_free(&items[i]);
        }
    }
    assert_lines(both[0], "a", 1, 2 * ROUNDS);
    assert_lines(both[1], "a", 1, 2 * ROUNDS);
    second_end(both[1]);
}

static bool has_grown(struct world *w)
{
    return w->grown > 0;
}

static void what_another_broker_wrote_wakes_readers_here(void **state)
{
    struct world *w = *state, *other = second(w);
    append_lines(other, "a", 0, 1);
    w->grown = 0;
    assert_int_equal(place(w, "a").last_seq, 1);
    append_lines(other, "a", 1, 1);
    await_that(w, has_grown);
    assert_string_equal(w->last_grown, "a");
    assert_int_equal(place(w, "a").last_seq, 2);
    second_end(other);
}

static bool in_trouble(struct world *w)
{
    return store_trouble(w->store) != NULL;
}

static bool well(struct world *w)
{
    return store_trouble(w->store) == NULL;
}

static void a_full_redis_refuses_and_says_so_until_there_is_room(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    server_command(&server, "CONFIG SET maxmemory 1");
    struct store_item item =
        block_item(w, &(struct block_spec){.sandbox = "a", .source = 1, .from = 3, .to = 4, .lines = 1});
    assert_int_equal(append_items(w, &item, 1), -EIO);
    assert_int_equal(item.verdict.verdict, SL_REFUSED);
    assert_int_equal(item.verdict.offset, 3);
    assert_true(in_trouble(w));
    assert_non_null(strstr(store_trouble(w->store), "full"));
    assert_lines(w, "a", 1, 3);
    server_command(&server, "CONFIG SET maxmemory 0");
    assert_int_equal(append_items(w, &item, 1), 0);
    assert_int_equal(item.verdict.verdict, SL_TAKEN);
    assert_true(well(w));
    item_free(&item);
    assert_lines(w, "a", 1, 4);
}

static void a_redis_that_is_gone_refuses_and_comes_back_by_itself(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    server_kill(&server);
    struct store_item item =
        block_item(w, &(struct block_spec){.sandbox = "a", .source = 1, .from = 3, .to = 4, .lines = 1});
    assert_int_equal(append_items(w, &item, 1), -EIO);
    assert_int_equal(item.verdict.verdict, SL_REFUSED);
    assert_int_equal(item.verdict.offset, 3);
    await_that(w, in_trouble);
    struct sl_place p;
    assert_true(store_place(w->store, sl_slice_of("a"), &p) < 0);
    server_run(&server);
    await_that(w, well);
    item_free(&item);
    assert_lines(w, "a", 1, 3);
    append_lines(w, "a", 3, 2);
    assert_lines(w, "a", 1, 5);
}

static void an_emptied_redis_is_another_store(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    uint64_t epoch = store_epoch(w->store);
    server_command(&server, "FLUSHALL");
    struct block_spec spec = {.sandbox = "a", .source = 1, .from = 3, .to = 4, .lines = 1};
    assert_int_equal(append_block(w, &spec), SL_ELSEWHERE);
    append_lines(w, "a", 0, 2);
    assert_lines(w, "a", 1, 2);
    for (int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S; store_epoch(w->store) == epoch;) {
        assert_true(sl_monotonic_ns() < end_ns);
        poll(NULL, 0, 10);
        store_run(w->store);
    }
}

/* An older state that comes back is what a failover to a replica without the newest writes does. */
static redisReply *dump(redisContext *c, const char *key)
{
    redisReply *reply = redisCommand(c, "DUMP %s", key);
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    return reply;
}

static void restore(redisContext *c, const char *key, const redisReply *bytes)
{
    redisReply *reply = redisCommand(c, "RESTORE %s 0 %b REPLACE", key, bytes->str, bytes->len);
    assert_non_null(reply);
    assert_string_equal(reply->str, "OK");
    freeReplyObject(reply);
}

static void a_redis_that_fell_back_gets_the_lines_again_and_old_cursors_end(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    redisContext *c = redisConnect("127.0.0.1", server.port);
    assert_non_null(c);
    redisReply *hash = dump(c, "sandlog:{a}:h"), *stream = dump(c, "sandlog:{a}:s");
    append_lines(w, "a", 3, 4);
    uint64_t birth = place(w, "a").birth;
    restore(c, "sandlog:{a}:h", hash);
    restore(c, "sandlog:{a}:s", stream);
    struct block_spec spec = {.sandbox = "a", .source = 1, .from = 7, .to = 8, .lines = 1};
    struct store_item item = block_item(w, &spec);
    assert_int_equal(append_items(w, &item, 1), 0);
    assert_int_equal(item.verdict.verdict, SL_ELSEWHERE);
    assert_int_equal(item.verdict.offset, 3);
    item_free(&item);
    append_lines(w, "a", 3, 5);
    assert_lines(w, "a", 1, 8);
    assert_true(place(w, "a").birth != birth);

    /* The same, seen by who only reads. */
    birth = place(w, "a").birth;
    struct world *reader = second(w);
    assert_int_equal(place(reader, "a").last_seq, 8);
    freeReplyObject(hash);
    freeReplyObject(stream);
    hash = dump(c, "sandlog:{a}:h");
    stream = dump(c, "sandlog:{a}:s");
    append_lines(w, "a", 8, 1);
    assert_int_equal(place(reader, "a").last_seq, 9);
    restore(c, "sandlog:{a}:h", hash);
    restore(c, "sandlog:{a}:s", stream);
    for (int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S; place(reader, "a").birth == birth;) {
        assert_true(sl_monotonic_ns() < end_ns);
        poll(NULL, 0, 10);
        store_run(reader->store);
    }
    assert_lines(reader, "a", 1, 8);
    second_end(reader);
    freeReplyObject(hash);
    freeReplyObject(stream);
    redisFree(c);
}

static bool compacted;
static void on_compacted(void *arg, int fault)
{
    (void)arg;
    assert_int_equal(fault, 0);
    compacted = true;
}

static bool is_compacted(struct world *w)
{
    (void)w;
    return compacted;
}

static void a_sandbox_that_grows_too_large_loses_its_oldest_lines_as_a_gap(void **state)
{
    struct world *w = *state;
    store_close(w->store);
    w->options.sandbox_bytes = 20000;
    world_open(w);
    for (unsigned i = 0; i < 100; i++)
        append_lines(w, "a", i * 100, 100);
    compacted = false;
    store_compact(w->store, on_compacted, NULL);
    await_that(w, is_compacted);
    struct sl_place p = place(w, "a");
    assert_true(p.oldest_seq > 5000);
    struct got g = read_all(w, "a", 1, 64 << 10);
    assert_int_equal(g.gaps, 1);
    assert_int_equal(g.reason, SL_GAP_RETENTION);
    assert_int_equal(g.gap_lines, p.oldest_seq - 1);
    assert_int_equal(g.lines, 10000 - (p.oldest_seq - 1));
    assert_true(g.text_bytes >= 20000);
    free(g.text);
    uint64_t seq;
    assert_int_equal(store_seek_time(w->store, sl_slice_of("a"), 0, &seq), 0);
    assert_int_equal(seq, p.oldest_seq);
    append_lines(w, "a", 10000, 5);
    assert_int_equal(place(w, "a").last_seq, 10005);
}

static void lines_past_their_age_go(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 10);
    append_lines(w, "a", 10, 10);
    store_close(w->store);
    w->options.retention_age_ns = 1;
    world_open(w);
    compacted = false;
    store_compact(w->store, on_compacted, NULL);
    await_that(w, is_compacted);
    assert_int_equal(place(w, "a").oldest_seq, 21);
    assert_int_equal(place(w, "a").last_seq, 20);
    struct got g = read_all(w, "a", 1, 64 << 10);
    assert_int_equal(g.gaps, 1);
    assert_int_equal(g.gap_lines, 20);
    free(g.text);
}

static void a_damaged_block_is_a_gap(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < 3; i++)
        append_lines(w, "a", i * 10, 10);
    server_command(&server, "XDEL sandlog:{a}:s 11-0");
    struct got g = read_all(w, "a", 1, 64 << 10);
    assert_int_equal(g.lines, 20);
    assert_int_equal(g.gaps, 1);
    assert_int_equal(g.reason, SL_GAP_DAMAGED);
    assert_int_equal(g.gap_lines, 10);
    free(g.text);
}

static void wrong_places_are_refused_in_a_sentence(void **state)
{
    struct world *w = *state;
    static const char *const urls[] = {
        "redis://",    "redis://h:0",          "redis://h:99999", "redis://a,,b",       "redis://h?what=1",
        "redis://u@h", "redis://h?replicas=x", "rediss://h",      "redis://h?wait_ms=", "redis://[::1",
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct store_options options = w->options;
        struct store *s;
        const char *why = NULL;
        options.location = urls[i];
        assert_int_equal(store_open(&options, &s, &why), -EINVAL);
        assert_non_null(why);
    }
    struct store_options options = w->options;
    struct store *s;
    char location[64];
    const char *why = NULL;
    snprintf(location, sizeof location, "redis://127.0.0.1:%d", server_free_port());
    options.location = location;
    assert_true(store_open(&options, &s, &why) < 0);
    assert_non_null(strstr(why, "no connection"));
}

/* Acknowledged means: a replica has it. */
static void without_its_replica_nothing_is_acknowledged(void **state)
{
    struct world *w = *state;
    store_close(w->store);
    snprintf(w->location, sizeof w->location, "redis://127.0.0.1:%d?replicas=1&wait_ms=300", server.port);
    world_open(w);
    struct store_item item =
        block_item(w, &(struct block_spec){.sandbox = "a", .source = 1, .from = 0, .to = 4, .lines = 4});
    for (int i = 0; i < 2; i++) {
        /* The second time it is there already, and still on no replica. */
        assert_int_equal(append_items(w, &item, 1), -EIO);
        assert_int_equal(item.verdict.verdict, SL_REFUSED);
    }
    struct server replica = {0};
    char port[16];
    snprintf(port, sizeof port, "%d", server.port);
    server_option(&replica, "--repl-diskless-sync-delay", "0");
    server_start(&replica);
    char command[64];
    snprintf(command, sizeof command, "REPLICAOF 127.0.0.1 %s", port);
    server_command(&replica, command);
    server_await(&replica, "INFO replication", "master_link_status:up");
    /* The master counts it only from its first acknowledgement on, up to a second later. */
    server_await(&server, "INFO replication", "state=online");
    /* A replica that has just come may still be late for one WAIT. */
    int fault = -EIO;
    for (int i = 0; i < 20 && fault != 0; i++)
        fault = append_items(w, &item, 1);
    assert_int_equal(fault, 0);
    assert_int_equal(item.verdict.verdict, SL_ALREADY);
    item_free(&item);
    append_lines(w, "a", 4, 1);
    assert_lines(w, "a", 1, 5);
    server_end(&replica);
}

static const struct CMUnitTest tests[] = {
    CLAIM(two_brokers_with_the_same_file_make_one_order_without_doubles),
    CLAIM(brokers_with_files_of_their_own_share_a_sandbox),
    CLAIM(what_another_broker_wrote_wakes_readers_here),
    CLAIM(a_full_redis_refuses_and_says_so_until_there_is_room),
    CLAIM(a_redis_that_is_gone_refuses_and_comes_back_by_itself),
    CLAIM(an_emptied_redis_is_another_store),
    CLAIM(a_redis_that_fell_back_gets_the_lines_again_and_old_cursors_end),
    CLAIM(a_sandbox_that_grows_too_large_loses_its_oldest_lines_as_a_gap),
    CLAIM(lines_past_their_age_go),
    CLAIM(a_damaged_block_is_a_gap),
    CLAIM(wrong_places_are_refused_in_a_sentence),
    CLAIM(without_its_replica_nothing_is_acknowledged),
};

int main(void)
{
    server_option(&server, "--appendonly", "yes");
    server_option(&server, "--appendfsync", "always");
    server_option(&server, "--repl-diskless-sync-delay", "0");
    server_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_end(&server);
    return failed;
}
