// SPDX-License-Identifier: Apache-2.0
/*
 * The Redis store beside its limit, on one server: BLOCKS blocks of about 64 KiB, appended through the engine
 * in batches of 4 with 8 in flight (what one collector keeps), over SANDBOXES sandboxes; and the same bytes
 * as bare pipelined XADDs, 32 in flight. In turns, three times each. Prints: MB/s of the engine, of XADD
 * (medians), ms of a tail read of the engine (p50, p99).
 *
 *   bench_redis_speed URL HOST PORT BLOCKS SANDBOXES
 */
#include "store/store.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BATCH = 4, IN_FLIGHT = 8, WINDOW = 32, TURNS = 3, READS = 500, LINE_BYTES = 100 };

struct bench {
    struct store *store;
    int wake;
    struct sl_block_builder *builder;
    unsigned flying;
    unsigned blocks, sandboxes;
    uint64_t *at; /* per sandbox: bytes of its file so far */
    uint64_t bytes;
    struct flight {
        struct store_batch batch;
        struct store_item items[BATCH];
        uint8_t *data[BATCH];
        struct bench *bench;
        bool flying;
    } flights[IN_FLIGHT];
};

static void wake(void *arg)
{
    struct bench *b = arg;
    uint64_t one = 1;
    if (write(b->wake, &one, sizeof one) != sizeof one)
        abort();
}

static void grown(void *arg, struct sl_slice sandbox)
{
    (void)arg;
    (void)sandbox;
}

static void done(struct store_batch *batch, int fault)
{
    struct flight *f = (struct flight *)batch;
    for (size_t i = 0; i < batch->count; i++) {
        if (fault != 0 || batch->items[i].verdict.verdict != SL_TAKEN) {
            fprintf(stderr, "bench_redis_speed: not taken: fault %d\n", fault);
            exit(1);
        }
        f->bench->bytes += batch->items[i].payload.bytes;
    }
    f->flying = false;
    f->bench->flying--;
}

static void wait_some(struct bench *b)
{
    uint64_t count;
    struct pollfd fd = {.fd = b->wake, .events = POLLIN};
    poll(&fd, 1, 10000);
    if (read(b->wake, &count, sizeof count) == sizeof count)
        store_run(b->store);
}

/* A block that does not compress, so that its size is what it says. */
static void fill(struct bench *b, struct flight *f, size_t index, unsigned box, unsigned turn)
{
    char id[32], text[LINE_BYTES];
    static uint64_t seed = 1;
    snprintf(id, sizeof id, "box-%u-%u", turn, box);
    sl_block_builder_reset(b->builder, sl_slice_of(id));
    for (int line = 0; line < 64 * 1024 / (LINE_BYTES + 2); line++) {
        for (size_t i = 0; i < sizeof text; i += 8) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            memcpy(text + i, &seed, sizeof text - i < 8 ? sizeof text - i : 8);
        }
        struct sl_line l = {.time_ns = sl_now_ns(), .text = sl_slice(text, sizeof text)};
        sl_block_builder_add(b->builder, &l, sl_slice_of("main"));
    }
    struct sl_block_header facts = {
        .codec = SL_CODEC_NONE,
        .range = {.source = {.key = {1}, .incarnation = 1}, .from = b->at[box], .to = b->at[box] + 65536},
        .open_from = b->at[box] + 65536};
    b->at[box] += 65536;
    size_t room = sl_block_builder_bound(b->builder);
    free(f->data[index]);
    f->data[index] = malloc(room);
    struct store_item *item = &f->items[index];
    *item = (struct store_item){.kind = STORE_BLOCK};
    item->payload =
        sl_slice(f->data[index], sl_block_builder_encode(b->builder, &facts, 0, f->data[index], room));
    if (sl_block_check(item->payload, &item->header) != SL_BLOCK_OK)
        abort();
}

/* MB/s; the time to make blocks is taken out. */
static double engine_turn(struct bench *b, unsigned turn)
{
    memset(b->at, 0, b->sandboxes * sizeof *b->at);
    b->bytes = 0;
    int64_t took_ns = 0;
    for (unsigned next = 0; next < b->blocks;) {
        for (int i = 0; i < IN_FLIGHT && next < b->blocks; i++) {
            struct flight *f = &b->flights[i];
            f->batch = (struct store_batch){.items = f->items, .done = done};
            f->bench = b;
            f->flying = true;
            for (; f->batch.count < BATCH && next < b->blocks; f->batch.count++, next++)
                fill(b, f, f->batch.count, next % b->sandboxes, turn);
        }
        int64_t start_ns = sl_monotonic_ns();
        for (int i = 0; i < IN_FLIGHT; i++) {
            if (!b->flights[i].flying)
                continue;
            b->flying++;
            store_append(b->store, &b->flights[i].batch);
        }
        while (b->flying)
            wait_some(b);
        took_ns += sl_monotonic_ns() - start_ns;
    }
    return (double)b->bytes / 1e6 / ((double)took_ns / 1e9);
}

static void answer(redisContext *c)
{
    void *reply = NULL;
    if (redisGetReply(c, &reply) != REDIS_OK || ((redisReply *)reply)->type == REDIS_REPLY_ERROR) {
        fprintf(stderr, "bench_redis_speed: %s\n", reply ? ((redisReply *)reply)->str : c->errstr);
        exit(1);
    }
    freeReplyObject(reply);
}

static double raw_turn(struct bench *b, const char *host, int port, unsigned turn)
{
    redisContext *c = redisConnect(host, port);
    if (!c || c->err)
        exit(1);
    memset(b->at, 0, b->sandboxes * sizeof *b->at);
    int64_t took_ns = 0;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < WINDOW / BATCH; i++)
        for (unsigned k = 0; k < BATCH; k++)
            fill(b, &b->flights[i], k, k, turn);
    for (unsigned next = 0; next < b->blocks; next += WINDOW) {
        int64_t start_ns = sl_monotonic_ns();
        for (unsigned k = 0; k < WINDOW; k++) {
            char key[32];
            const struct flight *f = &b->flights[k / BATCH];
            struct sl_slice payload = f->items[k % BATCH].payload;
            int key_bytes = snprintf(key, sizeof key, "raw-%u-%u", turn, (next + k) % b->sandboxes);
            redisAppendCommand(c, "XADD %b * b %b", key, (size_t)key_bytes, payload.data, payload.bytes);
            bytes += payload.bytes;
        }
        for (unsigned k = 0; k < WINDOW; k++)
            answer(c);
        took_ns += sl_monotonic_ns() - start_ns;
    }
    redisFree(c);
    return (double)bytes / 1e6 / ((double)took_ns / 1e9);
}

static bool each(void *arg, struct sl_slice record, const struct sl_record *prefix)
{
    (void)prefix;
    *(size_t *)arg += record.bytes;
    return true;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* As the broker tails 100 lines: the place, then the records from there. */
static void tails(struct bench *b, unsigned turn, double ret[READS])
{
    for (unsigned i = 0; i < READS; i++) {
        char id[32];
        snprintf(id, sizeof id, "box-%u-%u", turn, i % b->sandboxes);
        struct sl_place place;
        size_t bytes = 0;
        bool more;
        int64_t start_ns = sl_monotonic_ns();
        if (store_place(b->store, sl_slice_of(id), &place) != 0 ||
            store_read(b->store, sl_slice_of(id), place.last_seq - 99, 256 << 10, each, &bytes, &more) != 0 ||
            bytes == 0)
            abort();
        ret[i] = (double)(sl_monotonic_ns() - start_ns) / 1e6;
    }
    qsort(ret, READS, sizeof *ret, by_value);
}

/* CPU seconds that the server has used: what stays the same on a machine that others use as well. */
static double server_cpu(redisContext *c)
{
    redisReply *reply = redisCommand(c, "INFO cpu");
    double sys = 0, user = 0;
    const char *at;
    if (reply && reply->str && (at = strstr(reply->str, "used_cpu_sys:")))
        sys = atof(at + 13);
    if (reply && reply->str && (at = strstr(reply->str, "used_cpu_user:")))
        user = atof(at + 14);
    freeReplyObject(reply);
    return sys + user;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: bench_redis_speed URL HOST PORT BLOCKS SANDBOXES\n");
        return 2;
    }
    static struct bench b;
    b.blocks = (unsigned)atoi(argv[4]);
    b.sandboxes = (unsigned)atoi(argv[5]);
    b.at = calloc(b.sandboxes, sizeof *b.at);
    b.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct store_options options = {.location = argv[1], .wake = wake, .grown = grown, .arg = &b};
    const char *why = NULL;
    if (!b.at || sl_block_builder_new(&b.builder) != 0 || store_open(&options, &b.store, &why) != 0) {
        fprintf(stderr, "bench_redis_speed: %s\n", why ? why : "out of memory");
        return 1;
    }
    double our_cpu = 0, raw_cpu = 0, ours[TURNS], raw[TURNS], ms[READS] = {0};
    for (unsigned turn = 0; turn < TURNS; turn++) {
        redisContext *c = redisConnect(argv[2], atoi(argv[3]));
        if (!c || c->err)
            return 1;
        freeReplyObject(redisCommand(c, "FLUSHDB"));
        double before = server_cpu(c);
        raw[turn] = raw_turn(&b, argv[2], atoi(argv[3]), turn);
        raw_cpu += server_cpu(c) - before;
        freeReplyObject(redisCommand(c, "FLUSHDB"));
        before = server_cpu(c);
        ours[turn] = engine_turn(&b, turn);
        our_cpu += server_cpu(c) - before;
        redisFree(c);
        if (turn == TURNS - 1)
            tails(&b, turn, ms);
    }
    store_close(b.store);
    qsort(ours, TURNS, sizeof *ours, by_value);
    qsort(raw, TURNS, sizeof *raw, by_value);
    double gigabytes = (double)TURNS * b.blocks * 65536 / 1e9;
    fprintf(stderr, "server: %.2f CPU-s per GB of the engine, %.2f of bare XADDs\n", our_cpu / gigabytes,
            raw_cpu / gigabytes);
    printf("%.1f %.1f %.3f %.3f\n", ours[TURNS / 2], raw[TURNS / 2], ms[READS / 2], ms[READS * 99 / 100]);
    return 0;
}
