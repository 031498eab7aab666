// SPDX-License-Identifier: Apache-2.0
/* Several engines on one Redis, as several brokers have them, and what they see when Redis has lost lines. */
#pragma once
#include "store_conformance.h"
#include "store_redis_server.h"

/* One more engine at the same place, as another broker has it. */
static inline struct world *second(const struct world *first)
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

static inline void second_end(struct world *w)
{
    void *state = w;
    world_teardown(&state);
}

/* While it is found out, nothing is shown; what is shown never is of the life that lost lines. */
static inline void await_other_birth(struct world *w, const char *sandbox, uint64_t birth)
{
    struct sl_place p;
    int fault = -EAGAIN;
    for (int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S; fault != 0;) {
        assert_true(sl_monotonic_ns() < end_ns);
        fault = store_place(w->store, sl_slice_of(sandbox), &p);
        assert_true(fault == 0 || fault == -EAGAIN || fault == -EIO || fault == -ENOTCONN);
        if (fault != 0)
            poll(NULL, 0, 10);
        store_run(w->store);
    }
    assert_true(p.birth != birth);
}

/*
 * The store has lost what came behind the first `kept` bytes of the one file of "a", another broker has
 * written `others` lines of its own over it: both engines have to find out, then the file's lines are sent
 * again.
 */
static inline void assert_healed(struct world *writer, struct world *reader, uint64_t birth, uint64_t kept,
                                 uint64_t sent, uint64_t others)
{
    await_other_birth(reader, "a", birth);
    struct sl_append_verdict v = {.verdict = SL_REFUSED};
    for (int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S; v.verdict == SL_REFUSED;) {
        assert_true(sl_monotonic_ns() < end_ns);
        struct store_item item = block_item(
            writer,
            &(struct block_spec){.sandbox = "a", .source = 1, .from = sent, .to = sent + 1, .lines = 1});
        append_items(writer, &item, 1);
        v = item.verdict;
        item_free(&item);
    }
    assert_int_equal(v.verdict, SL_ELSEWHERE);
    assert_int_equal(v.offset, kept);
    /* Reading is refused until the watchers have found the new master. */
    struct world *both[2] = {writer, reader};
    for (int i = 0; i < 2; i++) {
        int64_t end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S;
        while (store_setbacks(both[i]->store) == 0 || store_trouble(both[i]->store)) {
            assert_true(sl_monotonic_ns() < end_ns);
            poll(NULL, 0, 10);
            store_run(both[i]->store);
        }
    }
    append_lines(writer, "a", kept, (unsigned)(sent - kept) + 1);
    struct got got = read_all(writer, "a", 1, 64 << 10);
    assert_int_equal(got.lines, sent + 1 + others);
    assert_int_equal(got.gaps, 0);
    free(got.text);
    got = read_all(reader, "a", 1, 64 << 10);
    assert_int_equal(got.lines, sent + 1 + others);
    free(got.text);
}
