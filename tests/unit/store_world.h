// SPDX-License-Identifier: Apache-2.0
/*
 * A store under test and what is done with it: items, appending, reading, compacting. The file that includes
 * it defines static void engine_make(struct world *w);     an empty store, w->location set static void
 * engine_destroy(struct world *w);  and everything of it
 */
#pragma once
#include "store/store.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* behind setjmp.h, stdarg.h */
#include <cmocka.h>

struct world {
    char location[256];
    struct store *store;
    struct store_options options;
    struct sl_block_builder *builder;
    int wake[2]; /* pipe */
    unsigned grown;
    char last_grown[SL_ID_MAX_BYTES + 1];
};

static void engine_make(struct world *w);
static void engine_destroy(struct world *w);

static void world_wake(void *arg)
{
    struct world *w = arg;
    assert_int_equal(write(w->wake[1], "w", 1), 1);
}

static void world_grown(void *arg, struct sl_slice sandbox)
{
    struct world *w = arg;
    w->grown++;
    memcpy(w->last_grown, sandbox.data, sandbox.bytes);
    w->last_grown[sandbox.bytes] = 0;
}

static void world_open(struct world *w)
{
    const char *why = NULL;
    w->options.location = w->location;
    int fault = store_open(&w->options, &w->store, &why);
    if (fault)
        fail_msg("open: %d %s", fault, why);
}

static void world_reopen(struct world *w)
{
    store_close(w->store);
    world_open(w);
}

static int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    assert_int_equal(pipe(w->wake), 0);
    assert_int_equal(sl_block_builder_new(&w->builder), 0);
    w->options = (struct store_options){.memory_bytes = 8 << 20,
                                        .segment_bytes = 1 << 20,
                                        .wake = world_wake,
                                        .grown = world_grown,
                                        .arg = w};
    engine_make(w);
    world_open(w);
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *w = *state;
    store_close(w->store);
    engine_destroy(w);
    sl_block_builder_free(w->builder);
    close(w->wake[0]);
    close(w->wake[1]);
    free(w);
    return 0;
}

/* ---- items ---- */

struct block_spec {
    const char *sandbox;
    const char *container;
    uint8_t source; /* first byte of the key */
    uint32_t incarnation;
    uint64_t from, to;
    unsigned lines;
    int64_t time_ns;   /* of the first line; each further one 1 ms later */
    size_t line_bytes; /* at least what the line's own name takes */
    uint16_t flags;
    uint8_t gap_reason;
    uint64_t gap_lines;
    uint8_t also; /* first byte of the second source's key */
    uint64_t also_from, also_to;
    uint64_t open_from; /* 0: = to */
};

/* Line number n of a source, told from every other one. */
static size_t line_text(char *out, size_t capacity, const struct block_spec *b, uint64_t n)
{
    int bytes = snprintf(out, capacity, "%s/%u/%u line at %llu", b->sandbox, b->source, b->incarnation,
                         (unsigned long long)n);
    size_t most = b->line_bytes < capacity ? b->line_bytes : capacity;
    for (; (size_t)bytes < most; bytes++)
        out[bytes] = (char)('a' + (n + (uint64_t)bytes * 7) % 26);
    return (size_t)bytes;
}

static struct store_item block_item(struct world *w, const struct block_spec *spec)
{
    static char text[SL_LINE_MAX_BYTES];
    sl_block_builder_reset(w->builder, sl_slice_of(spec->sandbox));
    for (unsigned i = 0; i < spec->lines; i++) {
        struct sl_line line = {
            .time_ns = spec->time_ns + i * SL_NS_PER_MS,
            .text = sl_slice(text, line_text(text, sizeof text, spec, spec->from + i)),
        };
        struct sl_slice container = sl_slice_of(spec->container ? spec->container : "main");
        assert_int_equal(sl_block_builder_add(w->builder, &line, container), 0);
    }
    struct sl_block_header facts = {
        .codec = SL_CODEC_LZ4,
        .flags = spec->flags,
        .gap_reason = spec->gap_reason,
        .gap_lines = spec->gap_lines,
        .time_min_ns = spec->time_ns,
        .time_max_ns = spec->time_ns,
        .range = {.source = {.key = {spec->source}, .incarnation = spec->incarnation ? spec->incarnation : 1},
                  .from = spec->from,
                  .to = spec->to},
        .open_from = spec->open_from ? spec->open_from : spec->to,
        .fingerprint = 0x1234,
        .fingerprint_bytes = 17,
    };
    if (spec->also) {
        facts.flags |= SL_BLOCK_ALSO;
        facts.also = (struct sl_source_range){
            .source = {.key = {spec->also}, .incarnation = 1}, .from = spec->also_from, .to = spec->also_to};
    }
    size_t room = sl_block_builder_bound(w->builder);
    uint8_t *bytes = malloc(room);
    assert_non_null(bytes);
    struct store_item item = {.kind = STORE_BLOCK};
    item.payload = sl_slice(bytes, sl_block_builder_encode(w->builder, &facts, 0, bytes, room));
    assert_int_equal(sl_block_check(item.payload, &item.header), SL_BLOCK_OK);
    return item;
}

static struct store_item change_item(const char *sandbox, const struct sl_change *change)
{
    struct sl_change c = *change;
    c.sandbox = sl_slice_of(sandbox);
    uint8_t *bytes = malloc(8192);
    assert_non_null(bytes);
    struct sl_writer writer = sl_writer(bytes, 8192);
    sl_change_encode(&writer, &c);
    assert_false(writer.failed);
    struct store_item item = {.kind = STORE_CHANGE, .payload = sl_slice(bytes, writer.bytes)};
    struct sl_reader r = sl_reader(item.payload);
    assert_int_equal(sl_change_decode(&r, &item.change), 0);
    return item;
}

static struct store_item delete_item(const char *sandbox)
{
    return (struct store_item){.kind = STORE_DELETE, .sandbox = sl_slice_of(sandbox)};
}

static void item_free(struct store_item *item)
{
    free((void *)(uintptr_t)item->payload.data);
}

/* ---- appending ---- */

struct waiting {
    struct store_batch batch;
    bool done;
    int fault;
};

static void waiting_done(struct store_batch *batch, int fault)
{
    struct waiting *b = (struct waiting *)batch;
    assert_false(b->done);
    b->done = true;
    b->fault = fault;
}

static void submit(struct world *w, struct waiting *b, struct store_item *items, size_t count)
{
    *b = (struct waiting){.batch = {.items = items, .count = count, .done = waiting_done}};
    store_append(w->store, &b->batch);
}

static void await(struct world *w, const struct waiting *b)
{
    while (!b->done) {
        struct pollfd fd = {.fd = w->wake[0], .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 120000), 1); /* a sanitizer beside other work takes its time */
        char bytes[64];
        assert_true(read(w->wake[0], bytes, sizeof bytes) > 0);
        store_run(w->store);
    }
}

static int append_items(struct world *w, struct store_item *items, size_t count)
{
    struct waiting b;
    submit(w, &b, items, count);
    await(w, &b);
    return b.fault;
}

/* One item; its verdict. */
static struct sl_append_verdict append(struct world *w, struct store_item item)
{
    assert_int_equal(append_items(w, &item, 1), 0);
    item_free(&item);
    return item.verdict;
}

static uint8_t append_block(struct world *w, const struct block_spec *spec)
{
    return append(w, block_item(w, spec)).verdict;
}

/* `lines` lines of one byte of the file each, at where the source stands. */
static void append_lines(struct world *w, const char *sandbox, uint64_t from, unsigned lines)
{
    assert_int_equal(append_block(w, &(struct block_spec){.sandbox = sandbox,
                                                          .source = 1,
                                                          .from = from,
                                                          .to = from + lines,
                                                          .lines = lines,
                                                          .time_ns = (int64_t)(1000 + from) * SL_NS_PER_S}),
                     SL_TAKEN);
}

/* ---- reading ---- */

struct got {
    uint64_t next;  /* number of the next line expected */
    uint64_t lines; /* given at or behind the number asked for */
    unsigned records;
    unsigned gaps;
    uint64_t gap_lines; /* of known size */
    uint8_t reason;     /* of the last gap */
    size_t bytes;
    unsigned stop_after; /* records; 0: never */
    bool more;
    char *text; /* all lines, a newline behind each */
    size_t text_bytes;
    size_t text_capacity;
};

static void got_text(struct got *g, struct sl_slice text)
{
    size_t wanted = g->text_bytes + text.bytes + 2;
    if (wanted >
        g->text_capacity) { /* by doubling: a sanitizer's realloc of megabytes for each line takes minutes */
        g->text_capacity = 2 * wanted;
        g->text = realloc(g->text, g->text_capacity);
        assert_non_null(g->text);
    }
    memcpy(g->text + g->text_bytes, text.data, text.bytes);
    g->text_bytes += text.bytes;
    g->text[g->text_bytes++] = '\n';
    g->text[g->text_bytes] = 0;
}

static bool got_record(void *arg, struct sl_slice bytes, const struct sl_record *prefix)
{
    struct got *g = arg;
    struct sl_record record;
    struct sl_slice payload;
    struct sl_block_header header;
    assert_int_equal(sl_record_check(bytes, &record, &payload, &header), SL_RECORD_OK);
    assert_int_equal(record.first_seq, prefix->first_seq);
    assert_int_equal(bytes.bytes, SL_RECORD_PREFIX_BYTES + record.payload_bytes);
    g->records++;
    g->bytes += bytes.bytes;
    if (header.flags & SL_BLOCK_GAP) {
        assert_true(record.first_seq >= g->next);
        g->gaps++;
        g->reason = header.gap_reason;
        if (header.gap_lines != SL_GAP_LINES_UNKNOWN)
            g->gap_lines += header.gap_lines;
        g->next = record.first_seq;
    } else {
        assert_true(header.lines > 0);
        assert_true(record.first_seq <= g->next);
        assert_true(record.first_seq + header.lines > g->next);
        void *scratch = malloc(header.raw_bytes + 1);
        struct sl_block_lines it;
        struct sl_line line;
        assert_int_equal(sl_block_lines_open(&it, payload, &header, scratch, header.raw_bytes), 0);
        for (uint64_t seq = record.first_seq; sl_block_lines_next(&it, &line); seq++) {
            if (seq < g->next)
                continue;
            assert_int_equal(seq, g->next);
            g->next++;
            g->lines++;
            got_text(g, line.text);
        }
        free(scratch);
    }
    return g->stop_after == 0 || g->records < g->stop_after;
}

/* One page. */
static int read_page(struct world *w, const char *sandbox, uint64_t from, size_t max_bytes, struct got *g)
{
    unsigned stop_after = g->stop_after;
    *g = (struct got){.next = from, .stop_after = stop_after};
    return store_read(w->store, sl_slice_of(sandbox), from, max_bytes, got_record, g, &g->more);
}

/* Everything from `from`, page by page. */
static struct got read_all(struct world *w, const char *sandbox, uint64_t from, size_t max_bytes)
{
    struct got g = {.next = from};
    do {
        unsigned before = g.records;
        assert_int_equal(
            store_read(w->store, sl_slice_of(sandbox), g.next, max_bytes, got_record, &g, &g.more), 0);
        assert_true(!g.more || g.records > before);
    } while (g.more);
    return g;
}

static void assert_lines(struct world *w, const char *sandbox, uint64_t from, uint64_t lines)
{
    struct got g = read_all(w, sandbox, from, 64 << 10);
    assert_int_equal(g.lines, lines);
    assert_int_equal(g.gaps, 0);
    free(g.text);
}

static struct sl_place place(struct world *w, const char *sandbox)
{
    struct sl_place p;
    assert_int_equal(store_place(w->store, sl_slice_of(sandbox), &p), 0);
    return p;
}

static inline void world_compacted(void *arg, int fault)
{
    *(int *)arg = fault;
}

static inline void compact(struct world *w)
{
    int fault = 1;
    store_compact(w->store, world_compacted, &fault);
    while (fault == 1) {
        struct pollfd fd = {.fd = w->wake[0], .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 120000), 1); /* a sanitizer beside other work takes its time */
        char bytes[64];
        assert_true(read(w->wake[0], bytes, sizeof bytes) > 0);
        store_run(w->store);
    }
    assert_int_equal(fault, 0);
}
