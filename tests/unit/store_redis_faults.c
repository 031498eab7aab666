// SPDX-License-Identifier: Apache-2.0
/* The Redis engine where the disk engine has no counterpart: several brokers, a Redis that fails, a cluster.
 */
#include "store_conformance.h"
#include "store_redis_worlds.h"

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

static void every_write_a_transaction(struct world *w)
{
    store_close(w->store);
    snprintf(w->location, sizeof w->location, "redis://127.0.0.1:%d?transaction_bytes=1", server.port);
    world_open(w);
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

static void transactions_of_two_brokers_do_not_meet(void **state)
{
    every_write_a_transaction(*state);
    two_brokers_with_the_same_file_make_one_order_without_doubles(state);
    server_command(&server, "FLUSHALL");
    brokers_with_files_of_their_own_share_a_sandbox(state);
    assert_false(server_says(&server, "GET sandlog:{a}:a", ""));
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
    await_other_birth(reader, "a", birth);
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
        assert_true(!strstr(urls[i], "rediss:") || (strstr(why, "rediss://") && strstr(why, "stunnel")));
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

/*
 * A real failover: the replica is cut off, the master acknowledges lines that it never gets, and dies. A
 * broker that knows nothing of those lines writes its own under their numbers before the others look.
 */
static void a_replica_that_lacks_the_newest_lines_takes_over(void **state)
{
    struct world *w = *state;
    struct server replica = {0};
    server_option(&replica, "--repl-diskless-sync-delay", "0");
    server_start(&replica);
    store_close(w->store);
    snprintf(w->location, sizeof w->location, "redis://127.0.0.1:%d,127.0.0.1:%d", server.port, replica.port);
    world_open(w);
    char command[64];
    snprintf(command, sizeof command, "REPLICAOF 127.0.0.1 %d", server.port);
    server_command(&replica, command);
    append_lines(w, "a", 0, 5);
    server_await(&replica, "INFO replication", "master_link_status:up");
    server_await(&replica, "HGET sandlog:{a}:h v", "");
    server_command(&server, "WAIT 1 20000");
    server_command(&replica, "REPLICAOF NO ONE");
    struct world *reader = second(w);
    append_lines(w, "a", 5, 5);
    assert_lines(reader, "a", 1, 10);
    uint64_t birth = place(reader, "a").birth, setbacks = store_setbacks(w->store);
    server_kill(&server);

    struct world *other = second(w);
    for (unsigned n = 0; n < 8; n++) {
        struct block_spec spec = {.sandbox = "a", .source = 2, .from = n, .to = n + 1, .lines = 1};
        assert_int_equal(append_block(other, &spec), SL_TAKEN);
    }
    assert_healed(w, reader, birth, 5, 10, 8);
    for (int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S; store_setbacks(w->store) == setbacks;) {
        assert_true(sl_monotonic_ns() < end_ns);
        poll(NULL, 0, 10);
        store_run(w->store);
    }
    second_end(other);
    second_end(reader);
    server_run(&server);
    server_end(&replica);
}

static struct sl_slice heard;
static char heard_text[STORE_NOTE_MAX_BYTES];
static void on_told(void *arg, struct sl_slice note)
{
    (void)arg;
    memcpy(heard_text, note.data, note.bytes);
    heard = sl_slice(heard_text, note.bytes);
}

static bool has_heard(struct world *w)
{
    (void)w;
    return heard.bytes > 0;
}

static void brokers_hear_each_others_words_and_not_their_own(void **state)
{
    struct world *w = *state, *other = second(w);
    store_close(w->store);
    w->options.told = on_told;
    world_open(w);
    heard.bytes = 0;
    for (int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S; !has_heard(w);) {
        assert_true(sl_monotonic_ns() < end_ns);
        /* Nobody hears before it listens. */
        store_tell(w->store, sl_slice_of("own"));
        store_tell(other->store, sl_slice_of("hello"));
        poll(NULL, 0, 10);
        store_run(w->store);
    }
    assert_true(sl_slice_equal(heard, sl_slice_of("hello")));
    second_end(other);
}

/* The script cache does not outlive a server. */
static void scripts_that_were_forgotten_are_given_again(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    server_command(&server, "SCRIPT FLUSH");
    append_lines(w, "a", 3, 3);
    server_command(&server, "SCRIPT FLUSH");
    uint64_t seq;
    assert_int_equal(store_seek_time(w->store, sl_slice_of("a"), 0, &seq), 0);
    assert_int_equal(seq, 1);
    assert_lines(w, "a", 1, 6);
}

static const char *wanted_trouble;
static bool says_it(struct world *w)
{
    const char *trouble = store_trouble(w->store);
    return trouble && strstr(trouble, wanted_trouble);
}

/* Nothing is written meanwhile: /readyz says it before a line has to wait. */
static void what_keeps_redis_from_writing_is_said_in_a_sentence(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 1);
    static const struct {
        const char *on, *off, *sentence;
    } cases[] = {
        {"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "is full (maxmemory)"},
        {"CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "min-replicas-to-write"},
        {"REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read-only replica"},
        {"ACL SETUSER default on nopass ~* &* +@all -lpushx", "ACL SETUSER default on nopass ~* &* +@all",
         "does not let this user"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        server_command(&server, cases[i].on);
        wanted_trouble = cases[i].sentence;
        await_that(w, says_it);
        server_command(&server, cases[i].off);
        await_that(w, well);
    }
    server_command(&server, "CONFIG SET maxmemory-policy allkeys-lru");
    server_command(&server, "CONFIG SET maxmemory 1gb");
    wanted_trouble = "noeviction";
    await_that(w, says_it);
    server_command(&server, "CONFIG SET maxmemory-policy noeviction");
    server_command(&server, "CONFIG SET maxmemory 0");
    await_that(w, well);
    append_lines(w, "a", 1, 1);
}

static void a_login_is_taken_from_the_url_or_a_file_and_a_wrong_one_is_refused(void **state)
{
    struct world *w = *state;
    server_command(&server, "ACL SETUSER ann on >p@ss:w/rd ~sandlog:* &sandlog:* +@all");
    server_command(&server, "ACL SETUSER default off");
    char path[] = "/tmp/sandlog-password-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "p@ss:w/rd\n", 10) == 10);
    close(fd);
    static const struct {
        const char *before, *behind, *sentence;
    } cases[] = {
        {"ann:p%40ss%3Aw%2Frd@", "", NULL},
        {"", "?user=ann&password_file=", NULL},
        {"ann:p%40ss@", "", "refuses the user or the password"},
        {"", "", "wants a password"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct store_options options = w->options;
        struct store *s;
        char location[256];
        const char *why = NULL;
        snprintf(location, sizeof location, "redis://%s127.0.0.1:%d%s%s", cases[i].before, server.port,
                 cases[i].behind, *cases[i].behind ? path : "");
        options.location = location;
        int fault = store_open(&options, &s, &why);
        if (cases[i].sentence) {
            assert_true(fault < 0);
            assert_non_null(strstr(why, cases[i].sentence));
            assert_null(strstr(why, "p@ss"));
        } else {
            assert_int_equal(fault, 0);
            store_close(s);
        }
    }
    unlink(path);
    redisContext *c = redisConnect("127.0.0.1", server.port);
    freeReplyObject(redisCommand(c, "AUTH ann p@ss:w/rd"));
    freeReplyObject(redisCommand(c, "ACL SETUSER default on"));
    redisFree(c);
}

static const struct CMUnitTest tests[] = {
    CLAIM(what_keeps_redis_from_writing_is_said_in_a_sentence),
    CLAIM(a_login_is_taken_from_the_url_or_a_file_and_a_wrong_one_is_refused),
    CLAIM(scripts_that_were_forgotten_are_given_again),
    CLAIM(brokers_hear_each_others_words_and_not_their_own),
    CLAIM(a_replica_that_lacks_the_newest_lines_takes_over),
    CLAIM(two_brokers_with_the_same_file_make_one_order_without_doubles),
    CLAIM(brokers_with_files_of_their_own_share_a_sandbox),
    CLAIM(transactions_of_two_brokers_do_not_meet),
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
