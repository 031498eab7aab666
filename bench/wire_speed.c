// SPDX-License-Identifier: Apache-2.0
/*
 * How fast the codecs are, on one core, against plain LZ4 of the same text in 64 KiB blocks in the same run
 * (TARGETS: absolute numbers swing, ratios do not). Prints a table; always exits with 0 unless a round trip
 * is wrong.
 *
 *   bench_wire_speed [MiB of text, default 64]
 *
 * Each figure is the best of several rounds, in CPU time of the process.
 */
#include "wire/block.h"
#include "wire/crc32c.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 5, BLOCK_TEXT_BYTES = 64 << 10, TIME_BYTES = 30 };

struct corpus {
    uint8_t *text; /* lines with their newlines */
    size_t text_bytes;
    struct sl_slice *lines; /* without */
    char *times;            /* TIME_BYTES each */
    size_t count;
};

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

/* Lines as services write them, about 100 bytes: words that repeat, numbers that do not. */
static struct corpus corpus_make(size_t bytes)
{
    static const char *const levels[] = {"INFO", "INFO", "INFO", "WARN", "DEBUG"};
    static const char *const paths[] = {"/v1/users", "/v1/orders/items", "/healthz", "/static/app.js",
                                        "/v2/search"};
    struct corpus c = {.text = must(malloc(bytes + 256)),
                       .lines = must(malloc(sizeof(struct sl_slice) * (bytes / 64 + 1))),
                       .times = must(malloc(TIME_BYTES * (bytes / 64 + 1)))};
    int64_t time_ns = INT64_C(1795207324000000000);
    srandom(1);
    while (c.text_bytes < bytes) {
        char *at = (char *)c.text + c.text_bytes;
        int n = snprintf(
            at, 256, "%s server request id=%08lx method=GET path=%s status=%d duration_us=%ld user=u%ld\n",
            levels[random() % 5], (unsigned long)random(), paths[random() % 5], random() % 20 ? 200 : 500,
            random() % 90000, random() % 5000);
        assert(n >= 64 && n < 256);
        c.lines[c.count] = sl_slice(at, (size_t)n - 1);
        sl_time_render(time_ns, c.times + c.count * TIME_BYTES);
        time_ns += random() % 200000;
        c.text_bytes += (size_t)n;
        c.count++;
    }
    return c;
}

struct store {
    uint8_t *bytes;
    size_t used;
    size_t blocks;
};

/* Parses the times too when `parse`: what a collector does per line behind the newline scan. */
static void encode_all(const struct corpus *c, struct sl_block_builder *b, struct store *s, bool parse)
{
    const struct sl_slice container = sl_slice_of("main");
    const struct sl_block_header facts = {.codec = SL_CODEC_LZ4};
    s->used = 0;
    s->blocks = 0;
    for (size_t i = 0; i < c->count;) {
        sl_block_builder_reset(b, sl_slice_of("sandbox-0001"));
        for (size_t text = 0; text < BLOCK_TEXT_BYTES && i < c->count; i++) {
            struct sl_line line = {.text = c->lines[i], .time_ns = (int64_t)i * 100000};
            size_t used;
            if (parse && sl_time_parse_rfc3339(sl_slice(c->times + i * TIME_BYTES, TIME_BYTES), &line.time_ns,
                                               &used) != 0)
                abort();
            if (sl_block_builder_add(b, &line, container) != 0)
                abort();
            text += line.text.bytes + 1;
        }
        s->used += sl_block_builder_encode(b, &facts, 0, s->bytes + s->used, sl_block_builder_bound(b));
        s->blocks++;
    }
}

static size_t decode_all(const struct store *s, uint8_t *scratch, bool check, bool walk)
{
    size_t lines = 0;
    for (size_t at = 0; at < s->used;) {
        struct sl_slice block = sl_slice(s->bytes + at, s->used - at);
        struct sl_block_header h;
        struct sl_block_lines it;
        struct sl_line line;
        if ((check ? sl_block_check(block, &h) : sl_block_decode_header(block, &h)) != 0 ||
            sl_block_lines_open(&it, block, &h, scratch, SL_BLOCK_RAW_MAX_BYTES) != 0)
            abort();
        if (walk) {
            while (sl_block_lines_next(&it, &line))
                lines += line.text.bytes > 0;
        } else {
            lines += h.lines;
        }
        at += sl_block_bytes(&h);
    }
    return lines;
}

static size_t plain_compress(const struct corpus *c, uint8_t *out, uint32_t *sizes)
{
    size_t used = 0;
    size_t block = 0;
    for (size_t at = 0; at < c->text_bytes; at += BLOCK_TEXT_BYTES) {
        size_t bytes = c->text_bytes - at < BLOCK_TEXT_BYTES ? c->text_bytes - at : BLOCK_TEXT_BYTES;
        int n = LZ4_compress_default((const char *)c->text + at, (char *)out + used, (int)bytes,
                                     LZ4_COMPRESSBOUND(BLOCK_TEXT_BYTES));
        sizes[block++] = (uint32_t)n;
        used += (size_t)n;
    }
    return used;
}

static void plain_decompress(const struct corpus *c, const uint8_t *in, const uint32_t *sizes,
                             uint8_t *scratch)
{
    size_t block = 0;
    for (size_t at = 0; at < c->text_bytes; at += BLOCK_TEXT_BYTES) {
        if (LZ4_decompress_safe((const char *)in, (char *)scratch, (int)sizes[block], BLOCK_TEXT_BYTES) <= 0)
            abort();
        in += sizes[block++];
    }
}

enum what {
    PLAIN_COMPRESS,
    ENCODE,
    PARSE_ENCODE,
    PLAIN_DECOMPRESS,
    OPEN,
    WALK,
    CHECK_WALK,
    CRC,
    PARSE,
    RENDER,
    WHATS
};
static const char *const what_names[WHATS] = {"plain LZ4, 64 KiB",    "encode",     "parse time + encode",
                                              "plain LZ4 decompress", "lines_open", "open + next",
                                              "check + open + next",  "crc32c",     "parse rfc3339",
                                              "render time"};

int main(int argc, char **argv)
{
    size_t mib = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 64;
    if (mib < 1 || mib > 4096) {
        fprintf(stderr, "usage: bench_wire_speed [MiB of text, 1 to 4096]\n");
        return 2;
    }
    struct corpus c = corpus_make(mib << 20);
    struct store s = {.bytes = must(malloc(c.text_bytes * 2 + SL_BLOCK_MAX_BYTES))};
    uint8_t *plain = must(malloc(c.text_bytes * 2));
    uint32_t *sizes = must(malloc(sizeof *sizes * (c.text_bytes / BLOCK_TEXT_BYTES + 1)));
    uint8_t *scratch = must(malloc(SL_BLOCK_RAW_MAX_BYTES));
    struct sl_block_builder *b;
    if (sl_block_builder_new(&b) != 0)
        abort();
    double best[WHATS];
    size_t plain_bytes = 0;
    volatile uint32_t sink = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int what = 0; what < WHATS; what++) {
            double start = cpu_s();
            char text[SL_TIME_TEXT_BYTES];
            switch ((enum what)what) {
            case PLAIN_COMPRESS:
                plain_bytes = plain_compress(&c, plain, sizes);
                break;
            case ENCODE:
            case PARSE_ENCODE:
                encode_all(&c, b, &s, what == PARSE_ENCODE);
                break;
            case PLAIN_DECOMPRESS:
                plain_decompress(&c, plain, sizes, scratch);
                break;
            case OPEN:
            case WALK:
            case CHECK_WALK:
                if (decode_all(&s, scratch, what == CHECK_WALK, what != OPEN) != c.count) {
                    fprintf(stderr, "bench_wire_speed: lines are missing\n");
                    return 1;
                }
                break;
            case CRC:
                sink = sl_crc32c(sink, sl_slice(c.text, c.text_bytes));
                break;
            case PARSE:
                for (size_t i = 0; i < c.count; i++) {
                    int64_t ns = 0;
                    size_t used;
                    (void)sl_time_parse_rfc3339(sl_slice(c.times + i * TIME_BYTES, TIME_BYTES), &ns, &used);
                    sink = sink + (uint32_t)ns;
                }
                break;
            case RENDER:
                for (size_t i = 0; i < c.count; i++) {
                    sl_time_render(INT64_C(1795207324000000000) + (int64_t)i * 12345, text);
                    sink = sink + (uint8_t)text[28];
                }
                break;
            case WHATS:
                break;
            }
            double took = cpu_s() - start;
            best[what] = round == 0 || took < best[what] ? took : best[what];
        }
    }
    printf("%zu lines, %.1f bytes each; plain LZ4 %.3f, blocks %.3f of the text (%zu blocks of %.0f bytes)\n",
           c.count, (double)c.text_bytes / (double)c.count, (double)plain_bytes / (double)c.text_bytes,
           (double)s.used / (double)c.text_bytes, s.blocks, (double)s.used / (double)s.blocks);
    printf("%-22s %12s %10s %10s %12s\n", "", "M lines/s", "ns/line", "GB/s text", "x plain LZ4");
    for (int what = 0; what < WHATS; what++) {
        double base = what <= PARSE_ENCODE ? best[PLAIN_COMPRESS] : best[PLAIN_DECOMPRESS];
        printf("%-22s %12.2f %10.1f %10.2f", what_names[what], (double)c.count / best[what] / 1e6,
               best[what] / (double)c.count * 1e9, (double)c.text_bytes / best[what] / 1e9);
        if (what <= CHECK_WALK)
            printf(" %12.2f", best[what] / base);
        printf("\n");
    }
    sl_block_builder_free(b);
    free(scratch);
    free(sizes);
    free(plain);
    free(s.bytes);
    free(c.times);
    free(c.lines);
    free(c.text);
    return 0;
}
