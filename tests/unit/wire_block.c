// SPDX-License-Identifier: Apache-2.0
#include "wire/block.h"
#include "wire/crc32c.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

enum { SOUP_LINES = 400, AT_CRC = 24, AT_FLAGS = 28 };

struct soup {
    struct sl_line lines[SOUP_LINES];
    const char *containers[SOUP_LINES];
    uint8_t *text;
    uint32_t count;
};

static const char *const names[] = {"main", "", "side.car-2"};

/* Lines of any bytes, empty ones, both streams, partials, times that jump over all of 64 bits. */
static struct soup soup_make(unsigned seed, unsigned containers, size_t line_max_bytes)
{
    srandom(seed);
    struct soup s = {.count = (uint32_t)random() % (SOUP_LINES + 1)};
    s.text = malloc(SOUP_LINES * line_max_bytes + 1);
    assert_non_null(s.text);
    uint8_t *at = s.text;
    for (uint32_t i = 0; i < s.count; i++) {
        size_t bytes = (size_t)random() % 4 == 0 ? 0 : (size_t)random() % (line_max_bytes + 1);
        bool repeats = random() % 2;
        for (size_t k = 0; k < bytes; k++)
            at[k] = repeats ? (uint8_t)("INFO request "[k % 13]) : (uint8_t)random();
        int64_t time = INT64_C(1795207324000000000) + i * INT64_C(1000003);
        if (random() % 16 == 0)
            time = random() % 2 ? INT64_MIN + random() : INT64_MAX - random();
        s.lines[i] = (struct sl_line){.time_ns = time,
                                      .text = sl_slice(at, bytes),
                                      .stream = random() % 3 == 0 ? SL_STDERR : SL_STDOUT,
                                      .partial = random() % 5 == 0};
        s.containers[i] = names[(unsigned)random() % containers];
        at += bytes;
    }
    return s;
}

static struct sl_block_builder *builder(const char *sandbox)
{
    struct sl_block_builder *b;
    assert_int_equal(sl_block_builder_new(&b), 0);
    sl_block_builder_reset(b, sl_slice_of(sandbox));
    return b;
}

static void add(struct sl_block_builder *b, const char *text, int64_t time_ns, const char *container)
{
    struct sl_line line = {.text = sl_slice_of(text), .time_ns = time_ns};
    assert_int_equal(sl_block_builder_add(b, &line, sl_slice_of(container)), 0);
}

/* In memory of exactly its size, so that Asan sees a byte read too many. To be freed. */
static struct sl_slice encode(struct sl_block_builder *b, const struct sl_block_header *facts, int level)
{
    size_t bound = sl_block_builder_bound(b);
    assert_true(bound <= SL_BLOCK_MAX_BYTES);
    uint8_t *room = malloc(bound);
    assert_non_null(room);
    size_t bytes = sl_block_builder_encode(b, facts, level, room, bound);
    assert_true(bytes <= bound);
    uint8_t *exact = realloc(room, bytes);
    assert_non_null(exact);
    return sl_slice(exact, bytes);
}

static int open_lines(struct sl_block_lines *it, struct sl_slice block, const struct sl_block_header *h,
                      uint8_t **ret_scratch)
{
    *ret_scratch = malloc(h->raw_bytes > 0 ? h->raw_bytes : 1);
    assert_non_null(*ret_scratch);
    return sl_block_lines_open(it, block, h, *ret_scratch, h->raw_bytes);
}

static void assert_soup_in(struct sl_slice block, const struct soup *s)
{
    struct sl_block_header h;
    assert_int_equal(sl_block_check(block, &h), SL_BLOCK_OK);
    assert_int_equal(sl_block_bytes(&h), block.bytes);
    assert_int_equal(h.lines, s->count);
    struct sl_block_lines it;
    uint8_t *scratch;
    assert_int_equal(open_lines(&it, block, &h, &scratch), SL_BLOCK_OK);
    struct sl_line line;
    uint32_t i = 0;
    uint64_t text_bytes = 0;
    for (; sl_block_lines_next(&it, &line); i++) {
        assert_true(i < s->count);
        assert_true(line.time_ns == s->lines[i].time_ns);
        assert_true(sl_slice_equal(line.text, s->lines[i].text));
        assert_int_equal(line.stream, s->lines[i].stream);
        assert_int_equal(line.partial, s->lines[i].partial);
        assert_true(sl_slice_equal(sl_block_container(&h, line.container), sl_slice_of(s->containers[i])));
        assert_true(line.time_ns >= h.time_min_ns && line.time_ns <= h.time_max_ns);
        text_bytes += line.text.bytes + !line.partial;
    }
    assert_int_equal(i, s->count);
    assert_int_equal(text_bytes, h.text_bytes);
    assert_false(sl_block_lines_next(&it, &line));
    free(scratch);
}

/* Exactly its size, so that Asan sees a byte written too many. */
static void assert_text_at_once(struct sl_slice block, const struct soup *s)
{
    struct sl_block_header h;
    struct sl_block_lines it;
    uint8_t *scratch;
    bool whole = true;
    assert_int_equal(sl_block_check(block, &h), SL_BLOCK_OK);
    assert_int_equal(open_lines(&it, block, &h, &scratch), SL_BLOCK_OK);
    uint8_t *text = malloc(h.text_bytes + 1), *at = text;
    for (uint32_t i = 0; i < s->count; i++)
        whole = whole && !s->lines[i].partial;
    assert_int_equal(sl_block_lines_text(&it, &h, text), whole);
    for (uint32_t i = 0; i < s->count && whole; i++) {
        assert_memory_equal(at, s->lines[i].text.data, s->lines[i].text.bytes);
        at += s->lines[i].text.bytes;
        assert_int_equal(*at++, '\n');
    }
    struct sl_line line;
    assert_int_equal(sl_block_lines_next(&it, &line), !whole); /* at its end, or where it was */
    assert_int_equal(at - text, whole ? h.text_bytes : 0);
    free(text);
    free(scratch);
}

static void what_goes_in_comes_out_byte_for_byte(void **state)
{
    (void)state;
    struct sl_block_builder *b = builder("first");
    for (unsigned seed = 0; seed < 120; seed++) {
        struct soup s = soup_make(seed, 1 + seed % 3, seed % 7 == 0 ? 3000 : 150);
        for (uint32_t i = 0; i < s.count && seed % 3 == 1; i++)
            s.lines[i].partial = false;
        sl_block_builder_reset(b, sl_slice_of("a-sandbox"));
        for (uint32_t i = 0; i < s.count; i++)
            assert_int_equal(sl_block_builder_add(b, &s.lines[i], sl_slice_of(s.containers[i])), 0);
        assert_int_equal(sl_block_builder_lines(b), s.count);
        const struct sl_block_header facts = {
            .codec = seed % 4 == 0 ? SL_CODEC_NONE : SL_CODEC_LZ4, .time_min_ns = 5, .time_max_ns = 6};
        struct sl_slice block = encode(b, &facts, (int)(seed % 5) * 3);
        assert_soup_in(block, &s);
        assert_text_at_once(block, &s);
        struct sl_block_header h;
        assert_int_equal(sl_block_decode_header(block, &h), SL_BLOCK_OK);
        assert_int_equal(h.raw_bytes, sl_block_builder_raw_bytes(b));
        assert_true(sl_slice_equal(h.sandbox, sl_slice_of("a-sandbox")));
        free((void *)block.data);
        free(s.text);
    }
    sl_block_builder_free(b);
}

static void all_header_fields_come_out(void **state)
{
    (void)state;
    struct sl_block_builder *b = builder("s");
    const struct sl_block_header facts = {
        .flags = SL_BLOCK_GAP | SL_BLOCK_CLOSE | SL_BLOCK_ALSO,
        .gap_reason = SL_GAP_SOURCE_TRUNCATED,
        .gap_lines = SL_GAP_LINES_UNKNOWN,
        .time_min_ns = -9,
        .time_max_ns = INT64_MAX,
        .range = {.source = {.key = "0123456789abcde", .incarnation = 7}, .from = 1, .to = UINT64_MAX},
        .open_from = 77,
        .fingerprint = 0xfedcba9876543210,
        .fingerprint_bytes = SL_FINGERPRINT_MAX_BYTES,
        .also = {.source = {.key = "edcba9876543210", .incarnation = 6}, .from = 2, .to = 3},
    };
    struct sl_slice block = encode(b, &facts, 0);
    struct sl_block_header h;
    assert_int_equal(sl_block_check(block, &h), SL_BLOCK_OK);
    assert_int_equal(h.flags, facts.flags);
    assert_int_equal(h.gap_reason, facts.gap_reason);
    assert_true(h.gap_lines == facts.gap_lines && h.fingerprint == facts.fingerprint);
    assert_int_equal(h.fingerprint_bytes, facts.fingerprint_bytes);
    assert_true(h.time_min_ns == -9 && h.time_max_ns == INT64_MAX && h.open_from == 77);
    assert_memory_equal(h.range.source.key, facts.range.source.key, 16);
    assert_memory_equal(h.also.source.key, facts.also.source.key, 16);
    assert_true(h.range.from == 1 && h.range.to == UINT64_MAX && h.also.from == 2 && h.also.to == 3);
    assert_int_equal(h.range.source.incarnation, 7);
    assert_int_equal(h.also.source.incarnation, 6);
    assert_int_equal(h.lines, 0);
    assert_int_equal(h.containers, 1);
    assert_int_equal(sl_block_container(&h, 0).bytes, 0);
    struct sl_block_lines it;
    struct sl_line line;
    assert_int_equal(sl_block_lines_open(&it, block, &h, NULL, 0), 0);
    assert_false(sl_block_lines_next(&it, &line));
    free((void *)block.data);
    sl_block_builder_free(b);
}

static void a_line_of_1_mib_fits_and_what_does_not_is_refused_whole(void **state)
{
    (void)state;
    struct sl_block_builder *b = builder("s");
    uint8_t *text = malloc(SL_LINE_MAX_BYTES);
    assert_non_null(text);
    srandom(3);
    for (size_t i = 0; i < SL_LINE_MAX_BYTES; i++)
        text[i] = (uint8_t)random();
    struct sl_line line = {.text = sl_slice(text, SL_LINE_MAX_BYTES), .partial = true, .time_ns = INT64_MIN};
    assert_int_equal(sl_block_builder_add(b, &line, sl_slice_of("c")), 0);
    assert_int_equal(sl_block_builder_add(b, &line, sl_slice_of("d")), SL_BUILDER_FULL);
    assert_int_equal(sl_block_builder_lines(b), 1);
    struct sl_slice block = encode(b, &(struct sl_block_header){.codec = SL_CODEC_LZ4}, 0);
    struct sl_block_header h;
    assert_int_equal(sl_block_check(block, &h), SL_BLOCK_OK);
    assert_int_equal(h.codec, SL_CODEC_NONE); /* random bytes do not shrink */
    assert_int_equal(h.containers, 1);
    struct sl_block_lines it;
    struct sl_line out;
    assert_int_equal(sl_block_lines_open(&it, block, &h, NULL, 0), 0);
    assert_true(sl_block_lines_next(&it, &out));
    assert_true(out.partial && out.time_ns == INT64_MIN && sl_slice_equal(out.text, line.text));
    free((void *)block.data);
    free(text);
    sl_block_builder_free(b);
}

static void a_builder_takes_65536_lines_and_255_names_and_no_more(void **state)
{
    (void)state;
    struct sl_block_builder *b = builder("s");
    struct sl_line empty = {.time_ns = 1};
    char name[16];
    for (unsigned i = 0; i < SL_BLOCK_CONTAINERS_MAX; i++) {
        snprintf(name, sizeof name, "c%u", i);
        assert_int_equal(sl_block_builder_add(b, &empty, sl_slice_of(name)), 0);
    }
    assert_int_equal(sl_block_builder_add(b, &empty, sl_slice_of("one-more")), SL_BUILDER_FULL);
    for (unsigned i = SL_BLOCK_CONTAINERS_MAX; i < SL_BLOCK_LINES_MAX; i++) {
        snprintf(name, sizeof name, "c%u", i % SL_BLOCK_CONTAINERS_MAX);
        assert_int_equal(sl_block_builder_add(b, &empty, sl_slice_of(name)), 0);
    }
    assert_int_equal(sl_block_builder_add(b, &empty, sl_slice_of("c0")), SL_BUILDER_FULL);
    struct sl_slice block = encode(b, &(struct sl_block_header){.codec = SL_CODEC_LZ4}, 0);
    struct sl_block_header h;
    assert_int_equal(sl_block_check(block, &h), SL_BLOCK_OK);
    struct sl_block_lines it;
    uint8_t *scratch;
    assert_int_equal(open_lines(&it, block, &h, &scratch), 0);
    struct sl_line line;
    for (unsigned i = 0; i < SL_BLOCK_LINES_MAX; i++) {
        assert_true(sl_block_lines_next(&it, &line));
        assert_int_equal(line.container, i % SL_BLOCK_CONTAINERS_MAX);
    }
    free(scratch);
    free((void *)block.data);
    sl_block_builder_free(b);
}

static void a_full_builder_still_encodes_into_the_largest_block(void **state)
{
    (void)state;
    struct sl_block_builder *b = builder("s");
    uint8_t text[61];
    struct sl_line line = {.text = sl_slice(text, sizeof text)};
    int answer = 0;
    for (unsigned i = 0; answer == 0; i++) {
        memset(text, (int)i, sizeof text);
        line.time_ns = i % 2 ? INT64_MAX : INT64_MIN + i;
        answer = sl_block_builder_add(b, &line, sl_slice_of(i % 3 ? "a" : "b"));
    }
    assert_int_equal(answer, SL_BUILDER_FULL);
    assert_true(sl_block_builder_raw_bytes(b) <= SL_BLOCK_RAW_MAX_BYTES);
    struct sl_slice block = encode(b, &(struct sl_block_header){.codec = SL_CODEC_NONE}, 0);
    struct sl_block_header h;
    assert_int_equal(sl_block_check(block, &h), SL_BLOCK_OK);
    assert_int_equal(h.lines, sl_block_builder_lines(b));
    free((void *)block.data);
    sl_block_builder_free(b);
}

static void what_follows_a_block_is_ignored(void **state)
{
    (void)state;
    struct sl_block_builder *b = builder("s");
    add(b, "text", 1, "");
    struct sl_slice block = encode(b, &(struct sl_block_header){0}, 0);
    uint8_t *more = calloc(1, block.bytes + 40);
    assert_non_null(more);
    memcpy(more, block.data, block.bytes);
    struct sl_block_header h;
    assert_int_equal(sl_block_check(sl_slice(more, block.bytes + 40), &h), SL_BLOCK_OK);
    assert_int_equal(sl_block_bytes(&h), block.bytes);
    free(more);
    free((void *)block.data);
    sl_block_builder_free(b);
}

/* A small block with everything in it: second range, two containers, both streams, a partial. */
static struct sl_slice small_block(uint8_t codec)
{
    struct sl_block_builder *b = builder("box");
    add(b, "one line of text, one line of text, one line of text", 100, "main");
    add(b, "", 90, "side");
    struct sl_line line = {
        .text = sl_slice_of("one line"), .time_ns = 120, .stream = SL_STDERR, .partial = true};
    assert_int_equal(sl_block_builder_add(b, &line, sl_slice_of("main")), 0);
    const struct sl_block_header facts = {.codec = codec, .flags = SL_BLOCK_ALSO, .range = {.to = 70}};
    struct sl_slice block = encode(b, &facts, 0);
    sl_block_builder_free(b);
    return block;
}

static void a_block_cut_anywhere_is_truncated(void **state)
{
    (void)state;
    struct sl_slice block = small_block(SL_CODEC_LZ4);
    struct sl_block_header h;
    assert_int_equal(sl_block_check(block, &h), SL_BLOCK_OK);
    assert_int_equal(h.codec, SL_CODEC_LZ4);
    for (size_t bytes = 0; bytes < block.bytes; bytes++) {
        uint8_t *cut = malloc(bytes + 1);
        assert_non_null(cut);
        memcpy(cut, block.data, bytes);
        uint8_t *exact = realloc(cut, bytes > 0 ? bytes : 1);
        assert_non_null(exact);
        assert_int_equal(sl_block_check(sl_slice(exact, bytes), &h), SL_BLOCK_TRUNCATED);
        free(exact);
    }
    free((void *)block.data);
}

static void every_single_flipped_bit_is_seen(void **state)
{
    (void)state;
    for (uint8_t codec = SL_CODEC_NONE; codec <= SL_CODEC_LZ4; codec++) {
        struct sl_slice block = small_block(codec);
        uint8_t *bytes = (uint8_t *)block.data;
        for (size_t bit = 0; bit < block.bytes * 8; bit++) {
            struct sl_block_header h;
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_not_equal(sl_block_check(block, &h), SL_BLOCK_OK);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        free(bytes);
    }
}

static void sign(uint8_t *block, size_t bytes)
{
    sl_store32(block + AT_CRC, 0);
    sl_store32(block + AT_CRC, sl_crc32c(0, sl_slice(block, bytes)));
}

/* An attacker's CRC is right. Then nothing but the bounds stands between his bytes and ours. */
static void lies_with_a_right_checksum_are_malformed_or_harmless(void **state)
{
    (void)state;
    unsigned harmless = 0;
    for (uint8_t codec = SL_CODEC_NONE; codec <= SL_CODEC_LZ4; codec++) {
        struct sl_slice block = small_block(codec);
        uint8_t *copy = malloc(block.bytes);
        assert_non_null(copy);
        static const uint8_t lies[] = {0x00, 0x01, 0x02, 0x7f, 0x80, 0x81, 0xfe, 0xff};
        for (size_t at = 0; at < block.bytes; at++) {
            for (size_t i = 0; i < sizeof lies + 8; i++) {
                memcpy(copy, block.data, block.bytes);
                uint8_t flipped = (uint8_t)(copy[at] ^ 1u << (i % 8));
                copy[at] = (uint8_t)(i < sizeof lies ? lies[i] : flipped);
                sign(copy, block.bytes);
                struct sl_block_header h;
                if (sl_block_check(sl_slice(copy, block.bytes), &h) != SL_BLOCK_OK)
                    continue;
                struct sl_block_lines it;
                uint8_t *scratch;
                struct sl_line line;
                uint64_t text_bytes = 0;
                uint32_t lines = 0;
                uint8_t sum = 0;
                if (open_lines(&it, sl_slice(copy, block.bytes), &h, &scratch) == 0) {
                    for (; sl_block_lines_next(&it, &line); lines++) {
                        text_bytes += line.text.bytes + !line.partial;
                        assert_true(line.container < h.containers);
                        assert_true(line.time_ns >= h.time_min_ns && line.time_ns <= h.time_max_ns);
                        for (size_t k = 0; k < line.text.bytes; k++)
                            sum ^= line.text.data[k];
                    }
                    assert_int_equal(lines, h.lines);
                    assert_int_equal(text_bytes, h.text_bytes);
                    harmless += 1 + (sum & 0);
                }
                free(scratch);
            }
        }
        free(copy);
        free((void *)block.data);
    }
    assert_true(harmless > 0); /* flipped text, keys, offsets */
}

static void fields_beyond_their_bounds_are_malformed(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        size_t width;
        uint64_t value;
    } lies[] = {
        {4, 1, 0},     /* version */
        {5, 1, 2},     /* codec */
        {6, 2, 130},   /* header_bytes, too small */
        {6, 2, 65535}, /* too large */
        {8, 4, 0},     /* stored_bytes */
        {8, 4, 0xffffffff},
        {12, 4, SL_BLOCK_RAW_MAX_BYTES + 1},
        {12, 4, 1},
        {16, 4, 0},
        {16, 4, SL_BLOCK_LINES_MAX + 1},
        {20, 4, 0xffffffff},
        {28, 2, 8}, /* flags */
        {28, 2, 5}, /* a gap with lines */
        {30, 1, 1}, /* a reason without a gap */
        {31, 1, 0}, /* containers */
        {31, 1, 3},
        {32, 8, 121},
        {64, 8, 71}, /* from > to */
        {80, 8, 71}, /* open_from > to */
        {96, 8, 1},  /* gap_lines without a gap */
        {108, 2, SL_FINGERPRINT_MAX_BYTES + 1},
        {110, 1, 1}, /* reserved */
        {127, 1, 1},
        {128 + 16, 8, 1}, /* also.from > also.to */
        {128 + 36, 4, 1}, /* reserved in the second range */
        {168, 1, 0},      /* the id's length */
        {169, 1, '/'},
    };
    struct sl_slice block = small_block(SL_CODEC_NONE);
    uint8_t *copy = malloc(block.bytes);
    assert_non_null(copy);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        memcpy(copy, block.data, block.bytes);
        memcpy(copy + lies[i].at, &lies[i].value, lies[i].width);
        sign(copy, block.bytes);
        struct sl_block_header h;
        int answer = sl_block_check(sl_slice(copy, block.bytes), &h);
        if (answer != SL_BLOCK_MALFORMED)
            fail_msg("field at %zu = %llu: answer %d", lies[i].at, (unsigned long long)lies[i].value, answer);
    }
    memcpy(copy, block.data, block.bytes);
    copy[4] = 2;
    struct sl_block_header h;
    assert_int_equal(sl_block_check(sl_slice(copy, block.bytes), &h), SL_BLOCK_NEWER);
    free(copy);
    free((void *)block.data);
}

static void hex(struct sl_slice bytes, char *out)
{
    for (size_t i = 0; i < bytes.bytes; i++)
        sprintf(out + 2 * i, "%02x", bytes.data[i]);
}

/* If this fails, the format has changed: files in the field would not be read. A new version is needed. */
static void the_bytes_of_version_1_are_these(void **state)
{
    (void)state;
    static const char golden[] =
        "534c42310100b6004b0000004b000000030000003e0000005fa6a983040000025a0000000000000078000000"
        "0000000000000000000000000000000000000000000000000000000046000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000000000000000000003626f78046d6169"
        "6e047369646506030300010401030114133c3400086f6e65206c696e65206f6620746578742c206f6e65206c"
        "696e65206f6620746578742c206f6e65206c696e65206f6620746578746f6e65206c696e65";
    struct sl_slice block = small_block(SL_CODEC_NONE);
    char text[1024];
    assert_true(block.bytes < sizeof text / 2);
    hex(block, text);
    assert_string_equal(text, golden);
    free((void *)block.data);
}

/* As liblz4 1.9.4 made it; other versions may compress otherwise, all read it. */
static void a_compressed_block_of_version_1_is_read(void **state)
{
    (void)state;
    static const char golden[] =
        "534c42310101b6002f0000004b000000030000003e00000014f1b170040000025a0000000000000078000000"
        "0000000000000000000000000000000000000000000000000000000046000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000000000000000000003626f78046d6169"
        "6e0473696465ff1206030300010401030114133c3400086f6e65206c696e65206f6620746578742c2012000f"
        "806f6e65206c696e65";
    uint8_t block[sizeof golden / 2];
    for (size_t i = 0; i < sizeof block; i++) {
        unsigned byte;
        assert_int_equal(sscanf(golden + 2 * i, "%2x", &byte), 1);
        block[i] = (uint8_t)byte;
    }
    struct sl_block_header h;
    assert_int_equal(sl_block_check(sl_slice(block, sizeof block), &h), SL_BLOCK_OK);
    assert_int_equal(h.codec, SL_CODEC_LZ4);
    struct sl_block_lines it;
    uint8_t *scratch;
    struct sl_line line;
    assert_int_equal(open_lines(&it, sl_slice(block, sizeof block), &h, &scratch), 0);
    assert_true(sl_block_lines_next(&it, &line));
    assert_true(line.time_ns == 100 && line.text.bytes == 52 &&
                memcmp(line.text.data, "one line of", 11) == 0);
    free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out_byte_for_byte),
        cmocka_unit_test(all_header_fields_come_out),
        cmocka_unit_test(a_line_of_1_mib_fits_and_what_does_not_is_refused_whole),
        cmocka_unit_test(a_builder_takes_65536_lines_and_255_names_and_no_more),
        cmocka_unit_test(a_full_builder_still_encodes_into_the_largest_block),
        cmocka_unit_test(what_follows_a_block_is_ignored),
        cmocka_unit_test(a_block_cut_anywhere_is_truncated),
        cmocka_unit_test(every_single_flipped_bit_is_seen),
        cmocka_unit_test(lies_with_a_right_checksum_are_malformed_or_harmless),
        cmocka_unit_test(fields_beyond_their_bounds_are_malformed),
        cmocka_unit_test(the_bytes_of_version_1_are_these),
        cmocka_unit_test(a_compressed_block_of_version_1_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
