// SPDX-License-Identifier: Apache-2.0
/* The Redis engine on a Redis Cluster of three masters with a replica each: conformance, moved slots, a
 * failover. */
#include "store_redis_worlds.h"

enum { NODES = 6, MASTERS = 3 };
static struct server servers[NODES];

static bool is_master(const struct server *s)
{
    return server_says(s, "INFO replication", "role:master");
}

static void engine_make(struct world *w)
{
    for (int i = 0; i < NODES; i++)
        if (is_master(&servers[i]))
            server_command(&servers[i], "FLUSHALL");
    snprintf(w->location, sizeof w->location, "redis://127.0.0.1:%d,127.0.0.1:%d", servers[0].port,
             servers[1].port);
}

static void engine_destroy(struct world *w)
{
    *w->location = 0;
}

static const char sandboxes[][4] = {"a", "b", "c", "d", "e", "f", "g", "h"};
enum { SANDBOXES = sizeof sandboxes / sizeof *sandboxes };

/* One more line to each sandbox, again and again until all have it; returns at the first fault if `once`. */
static void append_everywhere(struct world *w, uint64_t at)
{
    uint64_t from[SANDBOXES];
    bool has[SANDBOXES] = {false};
    for (int i = 0; i < SANDBOXES; i++)
        from[i] = at;
    int left = SANDBOXES;
    for (int64_t end_ns = sl_monotonic_ns() + 60 * SL_NS_PER_S; left > 0;) {
        assert_true(sl_monotonic_ns() < end_ns);
        for (int i = 0; i < SANDBOXES; i++) {
            if (has[i])
                continue;
            struct store_item item = block_item(
                w, &(struct block_spec){
                       .sandbox = sandboxes[i], .source = 1, .from = from[i], .to = from[i] + 1, .lines = 1});
            append_items(w, &item, 1);
            uint8_t v = item.verdict.verdict;
            item_free(&item);
            if (v == SL_REFUSED) {
                poll(NULL, 0, 20);
                continue;
            }
            if (v == SL_ELSEWHERE) { /* fallen back: from there on again, as a collector does */
                from[i] = item.verdict.offset;
                continue;
            }
            assert_true(v == SL_TAKEN || v == SL_ALREADY);
            has[i] = ++from[i] > at;
            left -= has[i];
        }
    }
}

static void assert_everywhere(struct world *w, uint64_t lines)
{
    for (int i = 0; i < SANDBOXES; i++)
        assert_lines(w, sandboxes[i], 1, lines);
}

/* redis-cli asks first whether all servers agree, which takes a moment after each change. */
static void rebalance(const char *weight)
{
    char command[256];
    snprintf(command, sizeof command,
             "redis-cli --cluster rebalance 127.0.0.1:%d --cluster-threshold 1 %s >/dev/null 2>&1",
             servers[1].port, weight);
    for (int64_t end_ns = sl_monotonic_ns() + 60 * SL_NS_PER_S; system(command) != 0;) {
        assert_true(sl_monotonic_ns() < end_ns);
        poll(NULL, 0, 50);
    }
}

static void slots_that_move_are_followed(void **state)
{
    struct world *w = *state;
    append_everywhere(w, 0);
    char id[64] = "", weight[128];
    redisReply *reply = server_try(&servers[1], "CLUSTER MYID");
    assert_non_null(reply);
    snprintf(id, sizeof id, "%s", reply->str);
    freeReplyObject(reply);
    snprintf(weight, sizeof weight, "--cluster-weight %s=0.1", id);
    rebalance(weight);
    append_everywhere(w, 1);
    assert_everywhere(w, 2);
    rebalance("");
    append_everywhere(w, 2);
    assert_everywhere(w, 3);
}

static void a_failover_loses_and_doubles_nothing(void **state)
{
    struct world *w = *state;
    for (uint64_t at = 0; at < 20; at++)
        append_everywhere(w, at);
    /* The master of the first server's slots dies with -9; its replica takes over by itself. */
    assert_true(is_master(&servers[0]));
    server_kill(&servers[0]);
    for (uint64_t at = 20; at < 40; at++)
        append_everywhere(w, at);
    struct sl_place p;
    for (int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S;
         store_trouble(w->store) || store_place(w->store, sl_slice_of("a"), &p) != 0;) {
        assert_true(sl_monotonic_ns() < end_ns);
        poll(NULL, 0, 20);
        store_run(w->store);
    }
    assert_everywhere(w, 40);
    server_run(&servers[0]);
    server_await(&servers[0], "INFO replication", "role:slave");
}

static struct server *master_of(const char *key)
{
    char command[128];
    snprintf(command, sizeof command, "EXISTS %s", key);
    for (int i = 0; i < NODES; i++) {
        redisReply *reply = server_try(&servers[i], command);
        bool here = reply && reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
        freeReplyObject(reply);
        if (here)
            return &servers[i];
    }
    server_fail("nobody has the key");
    return NULL;
}

/* The replica is cut off by a password that it does not have; connections that are there stay. */
static void a_replica_that_lacks_the_newest_lines_takes_over(void **state)
{
    struct world *w = *state, *reader = second(w);
    append_lines(w, "a", 0, 5);
    struct server *master = master_of("sandlog:{a}:h");
    redisContext *c = redisConnect("127.0.0.1", master->port);
    assert_non_null(c);
    freeReplyObject(redisCommand(c, "WAIT 1 20000"));
    freeReplyObject(redisCommand(c, "CONFIG SET requirepass secret"));
    freeReplyObject(redisCommand(c, "CLIENT KILL TYPE replica"));
    append_lines(w, "a", 5, 5);
    assert_lines(reader, "a", 1, 10);
    uint64_t birth = place(reader, "a").birth;
    redisFree(c);
    server_kill(master);
    assert_healed(w, reader, birth, 5, 10, 0);
    second_end(reader);
    server_run(master);
    server_await(master, "INFO replication", "role:slave");
}

static const struct CMUnitTest tests[] = {
    CLAIM(a_failover_loses_and_doubles_nothing),
    CLAIM(slots_that_move_are_followed),
    CLAIM(a_replica_that_lacks_the_newest_lines_takes_over),
};

static void cluster_start(void)
{
    char command[512] = "redis-cli --cluster create";
    for (int i = 0; i < NODES; i++) {
        server_option(&servers[i], "--cluster-enabled", "yes");
        server_option(&servers[i], "--cluster-node-timeout", "1500");
        server_option(&servers[i], "--repl-diskless-sync-delay", "0");
        server_start(&servers[i]);
        char node[32];
        snprintf(node, sizeof node, " 127.0.0.1:%d", servers[i].port);
        strcat(command, node);
    }
    strcat(command, " --cluster-replicas 1 --cluster-yes >/dev/null 2>&1");
    if (system(command) != 0)
        server_fail(command);
    for (int i = 0; i < NODES; i++) {
        server_await(&servers[i], "CLUSTER INFO", "cluster_state:ok");
        if (!is_master(&servers[i]))
            server_await(&servers[i], "INFO replication", "master_link_status:up");
    }
}

int main(void)
{
    if (system("command -v redis-cli >/dev/null") != 0) {
        fprintf(stderr, "SKIPPED: no redis-cli on this machine\n");
        return SKIPPED;
    }
    cluster_start();
    int failed = cmocka_run_group_tests(conformance_tests, NULL, NULL);
    failed += cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < NODES; i++)
        server_end(&servers[i]);
    return failed;
}
