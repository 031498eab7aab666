// SPDX-License-Identifier: Apache-2.0
/* A builder whose memory fails at each place in turn. The module is compiled in here with an allocator that
 * can. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka.h needs the three above */
#include <cmocka.h>

static unsigned allocations_left;

static void *failing_malloc(size_t bytes)
{
    return allocations_left-- > 0 ? malloc(bytes) : (allocations_left = 0, NULL);
}
static void *failing_realloc(void *old, size_t bytes)
{
    return allocations_left-- > 0 ? realloc(old, bytes) : (allocations_left = 0, NULL);
}
static void *failing_calloc(size_t count, size_t bytes)
{
    return allocations_left-- > 0 ? calloc(count, bytes) : (allocations_left = 0, NULL);
}
#define malloc  failing_malloc
#define realloc failing_realloc
#define calloc  failing_calloc
#include "wire/block_builder.c"
#undef malloc
#undef realloc
#undef calloc

enum { LINES = 300 };

static struct sl_line line_number(unsigned i)
{
    static const char text[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    return (struct sl_line){
        .text = sl_slice(text, i % sizeof text), .time_ns = i * 1000, .partial = i % 7 == 0};
}

static struct sl_slice name_number(unsigned i)
{
    static const char *const names[] = {"main", "side", ""};
    return sl_slice_of(names[i / 10 % 3]);
}

static void assert_lines(struct sl_slice block, unsigned lines)
{
    struct sl_block_header h;
    struct sl_block_lines it;
    struct sl_line line;
    static uint8_t scratch[SL_BLOCK_RAW_MAX_BYTES];
    assert_int_equal(sl_block_check(block, &h), SL_BLOCK_OK);
    assert_int_equal(h.lines, lines);
    assert_int_equal(sl_block_lines_open(&it, block, &h, scratch, sizeof scratch), SL_BLOCK_OK);
    for (unsigned i = 0; i < lines; i++) {
        struct sl_line wanted = line_number(i);
        assert_true(sl_block_lines_next(&it, &line));
        assert_true(sl_slice_equal(line.text, wanted.text) && line.time_ns == wanted.time_ns);
        assert_int_equal(line.partial, wanted.partial);
        assert_true(sl_slice_equal(sl_block_container(&h, line.container), name_number(i)));
    }
}

/* Encodes what it has after each failure, then adds the same line again: nothing is lost, nothing doubled. */
static void a_line_that_finds_no_memory_leaves_the_builder_as_it_was(void **state)
{
    (void)state;
    static uint8_t out[128 << 10];
    unsigned failures = 0;
    for (unsigned allowed = 0; allowed < 60; allowed++) {
        struct sl_block_builder *b = NULL;
        allocations_left = 1;
        assert_int_equal(sl_block_builder_new(&b), 0);
        sl_block_builder_reset(b, sl_slice_of("box"));
        allocations_left = allowed;
        for (unsigned i = 0; i < LINES; i++) {
            struct sl_line line = line_number(i);
            int answer = sl_block_builder_add(b, &line, name_number(i));
            if (answer == 0)
                continue;
            assert_int_equal(answer, -ENOMEM);
            failures++;
            const struct sl_block_header facts = {.codec = SL_CODEC_LZ4};
            size_t bytes =
                sl_block_builder_encode(b, &facts, 4, out, sizeof out); /* no memory for HC either */
            assert_lines(sl_slice(out, bytes), i);
            allocations_left = 1000;
            assert_int_equal(sl_block_builder_add(b, &line, name_number(i)), 0);
        }
        size_t bytes = sl_block_builder_encode(b, &(struct sl_block_header){0}, 0, out, sizeof out);
        assert_lines(sl_slice(out, bytes), LINES);
        sl_block_builder_free(b);
    }
    assert_true(failures > 10);
}

static void a_builder_without_memory_is_not_made(void **state)
{
    (void)state;
    struct sl_block_builder *b = NULL;
    allocations_left = 0;
    assert_int_equal(sl_block_builder_new(&b), -ENOMEM);
    assert_null(b);
    sl_block_builder_free(NULL);
}

/* One builder serves all sandboxes in turn: small blocks, and turns in which nothing came, made it give back
   what the next large one asked for again, 16 times a block. */
static void a_builder_that_was_used_asks_for_no_more(void **state)
{
    (void)state;
    enum { ENOUGH = 1000 };
    static uint8_t out[128 << 10];
    struct sl_block_builder *b = NULL;
    allocations_left = ENOUGH;
    assert_int_equal(sl_block_builder_new(&b), 0);
    for (unsigned n = 0; n < 40; n++) {
        static const unsigned lines[] = {1000, 1, 0, 0};
        sl_block_builder_reset(b, sl_slice_of("box"));
        for (unsigned i = 0; i < lines[n % 4]; i++) {
            struct sl_line line = line_number(i);
            line.text.bytes = i % 65;
            assert_int_equal(sl_block_builder_add(b, &line, name_number(i)), 0);
        }
        sl_block_builder_encode(b, &(struct sl_block_header){.codec = SL_CODEC_LZ4}, 0, out, sizeof out);
        if (n == 0)
            allocations_left = ENOUGH;
    }
    assert_int_equal(allocations_left, ENOUGH);
    sl_block_builder_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_that_finds_no_memory_leaves_the_builder_as_it_was),
        cmocka_unit_test(a_builder_without_memory_is_not_made),
        cmocka_unit_test(a_builder_that_was_used_asks_for_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
