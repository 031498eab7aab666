// SPDX-License-Identifier: Apache-2.0
/*
 * The Redis engine's own format, the state of a sandbox: one of version 1, which had no time of the newest
 * line, is read and written on; one of a version to come is refused in a sentence and left as it is.
 */
#include "store_conformance.h"
#include "store_redis_server.h"

static struct server server;

enum { VERSION_NOW = 2, LINE_COMMIT_AT = 106 }; /* where version 2 has the 8 bytes that version 1 lacks */

static void engine_make(struct world *w)
{
    server_command(&server, "FLUSHALL");
    snprintf(w->location, sizeof w->location, "redis://127.0.0.1:%d", server.port);
}

static void engine_destroy(struct world *w)
{
    *w->location = 0;
}

static redisReply *state_of(redisContext *c)
{
    redisReply *reply = redisCommand(c, "HGET sandlog:{a}:h s");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    assert_true(reply->len > LINE_COMMIT_AT + 8);
    return reply;
}

static void set_state(redisContext *c, const void *bytes, size_t count)
{
    redisReply *reply = redisCommand(c, "HSET sandlog:{a}:h s %b", bytes, count);
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    freeReplyObject(reply);
}

static void a_state_of_version_1_is_read_and_written_on(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    uint64_t birth = place(w, "a").birth;
    redisContext *c = redisConnect("127.0.0.1", server.port);
    redisReply *now = state_of(c);
    assert_int_equal(now->str[0], VERSION_NOW);
    now->str[0] = 1;
    memmove(now->str + LINE_COMMIT_AT, now->str + LINE_COMMIT_AT + 8, now->len - LINE_COMMIT_AT - 8);
    set_state(c, now->str, now->len - 8);
    freeReplyObject(now);

    world_reopen(w);
    assert_lines(w, "a", 1, 3);
    append_lines(w, "a", 3, 2);
    assert_lines(w, "a", 1,
                 5); /* found all lines taken for lost, because the third is known by nothing there */
    assert_int_equal(place(w, "a").birth, birth);
    now = state_of(c);
    assert_int_equal(now->str[0], VERSION_NOW);
    freeReplyObject(now);
    redisFree(c);
}

static void one_of_a_newer_version_is_refused_in_a_sentence_and_left_as_it_is(void **state)
{
    struct world *w = *state;
    append_lines(w, "a", 0, 3);
    redisContext *c = redisConnect("127.0.0.1", server.port);
    redisReply *before = state_of(c);
    before->str[0] = VERSION_NOW + 1;
    set_state(c, before->str, before->len);

    world_reopen(w);
    struct store_item item =
        block_item(w, &(struct block_spec){.sandbox = "a", .source = 1, .from = 3, .to = 4, .lines = 1});
    assert_true(append_items(w, &item, 1) < 0);
    item_free(&item);
    assert_non_null(store_trouble(w->store));
    assert_non_null(strstr(store_trouble(w->store), "a newer version's"));
    struct got g = {0};
    assert_int_equal(read_page(w, "a", 1, 4096, &g), -EPROTO);
    assert_int_equal(g.lines, 0);
    free(g.text);

    redisReply *after = state_of(c);
    assert_int_equal(after->len, before->len);
    assert_memory_equal(after->str, before->str, before->len);
    freeReplyObject(after);
    freeReplyObject(before);
    redisFree(c);
    append_lines(w, "b", 0, 1); /* others are none the worse */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CLAIM(a_state_of_version_1_is_read_and_written_on),
        CLAIM(one_of_a_newer_version_is_refused_in_a_sentence_and_left_as_it_is),
    };
    (void)conformance_tests;
    server_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_end(&server);
    return failed;
}
