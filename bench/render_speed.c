// SPDX-License-Identifier: Apache-2.0
/*
 * How fast lines are rendered in each format, and searched: bytes of text a second on one core, beside a
 * memcpy of the same lines one by one. The buffer is used again and again, as the gateway does.
 */
#include "filter.h"
#include "pattern.h"
#include "render.h"
#include <stdio.h>
#include <stdlib.h>

enum { LINES = 2000, TEXT_BYTES = LINES * 100, ROUNDS_NS = 300000000 };

static uint8_t text[TEXT_BYTES];
static struct render_line lines[LINES];

static void fill(const char *pattern)
{
    size_t bytes = strlen(pattern);
    for (size_t i = 0; i < TEXT_BYTES; i++)
        text[i] = (uint8_t)pattern[i % bytes];
    for (size_t i = 0; i < LINES; i++)
        lines[i] = (struct render_line){.seq = 1000000 + i,
                                        .time_ns = INT64_C(1771597800000000000) + (int64_t)i * 1000003,
                                        .text = sl_slice(text + i * 100, 100),
                                        .container = sl_slice_of("main")};
}

static void report(const char *what, double rounds, int64_t ns)
{
    printf("%-34s %8.0f MB/s of text %7.1f ns/line\n", what, rounds * TEXT_BYTES / (double)ns * 1e3,
           (double)ns / rounds / LINES);
}

static void render_speed(const char *what, struct render_style style, struct buffer *out)
{
    struct render r;
    double rounds = 0;
    int64_t from = sl_monotonic_ns(), ns = 0;
    for (; ns < ROUNDS_NS; ns = sl_monotonic_ns() - from, rounds++) {
        buffer_cut(out, 0);
        render_begin(&r, &style, sl_slice_of("sandbox-0123456789"), 1, 2);
        for (size_t i = 0; i < LINES; i++)
            render_line(&r, out, &lines[i]);
    }
    if (out->fault)
        exit(1);
    report(what, rounds, ns);
}

static void copy_speed(struct buffer *out)
{
    double rounds = 0;
    int64_t from = sl_monotonic_ns(), ns = 0;
    for (; ns < ROUNDS_NS; ns = sl_monotonic_ns() - from, rounds++) {
        buffer_cut(out, 0);
        for (size_t i = 0; i < LINES; i++) {
            buffer_append_slice(out, lines[i].text);
            buffer_append(out, "\n", 1);
        }
    }
    report("limit: memcpy, line by line", rounds, ns);
}

static void filter_speed(const char *what, const char *grep, const char *regex, bool ignore_case)
{
    struct query q = {.streams = QUERY_BOTH,
                      .grep = sl_slice_of(grep),
                      .regex = sl_slice_of(regex),
                      .ignore_case = ignore_case};
    struct filter *f;
    struct problem p;
    if (filter_new(&q, &f, &p) != 0)
        exit(1);
    double rounds = 0;
    size_t found = 0;
    int64_t from = sl_monotonic_ns(), ns = 0;
    for (; ns < ROUNDS_NS; ns = sl_monotonic_ns() - from, rounds++)
        for (size_t i = 0; i < LINES; i++)
            found += filter_line(f, 0, 0, sl_slice(NULL, 0), lines[i].text);
    if (found)
        exit(1);
    report(what, rounds, ns);
    filter_free(f);
}

/* One line of 1 MiB, the largest there is, against patterns made to be slow: milliseconds each. */
static void evil(const char *source)
{
    enum { BYTES = 1 << 20 };
    uint8_t *line = malloc(BYTES);
    struct pattern *p;
    const char *why;
    if (!line || pattern_new(sl_slice_of(source), false, &p, &why) != 0)
        exit(1);
    double worst = 0;
    for (int kind = 0; kind < 2; kind++) {
        uint64_t seed = 1;
        for (size_t i = 0; i < BYTES; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            line[i] = (uint8_t)(kind ? 'a' + (seed >> 63) : 'a');
        }
        int64_t from = sl_monotonic_ns();
        pattern_match(p, sl_slice(line, BYTES));
        double ms = (double)(sl_monotonic_ns() - from) / 1e6;
        worst = ms > worst ? ms : worst;
    }
    printf("1 MiB against /%s/%*s %8.1f ms, %llu steps in all\n", source, (int)(40 - strlen(source)), "",
           worst, (unsigned long long)pattern_work(p));
    pattern_free(p);
    free(line);
}

int main(void)
{
    struct buffer out;
    buffer_init(&out, 16, 64 << 20);
    static const char *const kinds[][2] = {
        {"ASCII", "2026-02-20 14:30:00 INFO http: GET /v1/items?id=4711 took 12 ms status=200 bytes=5321 "},
        {"JSON lines", "{\"level\":\"info\",\"path\":\"/v1/items\",\"ms\":12,\"status\":200} "},
        {"Cyrillic", "\xd0\x97\xd0\xb0\xd0\xbf\xd1\x80\xd0\xbe\xd1\x81 "},
    };
    for (size_t i = 0; i < 3; i++) {
        fill(kinds[i][1]);
        printf("-- %s, lines of 100 bytes\n", kinds[i][0]);
        copy_speed(&out);
        render_speed("text", (struct render_style){.format = QUERY_TEXT}, &out);
        render_speed("text, timestamps", (struct render_style){.format = QUERY_TEXT, .timestamps = true},
                     &out);
        render_speed("ndjson", (struct render_style){.format = QUERY_NDJSON}, &out);
        render_speed("sse", (struct render_style){.format = QUERY_SSE}, &out);
        render_speed("sse, data=json", (struct render_style){.format = QUERY_SSE, .data_json = true}, &out);
    }
    fill(kinds[0][1]);
    printf("-- search, nothing found\n");
    filter_speed("grep", "needle", "", false);
    filter_speed("grep, ignore_case", "needle", "", true);
    filter_speed("regex status=5\\d\\d", "", "status=5\\d\\d", false);
    filter_speed("regex (GET|PUT) .* took [0-9]{4,} ms", "", "(GET|PUT) .* took [0-9]{4,} ms", false);
    printf("-- patterns made to be slow\n");
    static const char *const patterns[] = {
        "(a*)*c",
        "(a|aa)+$",
        "(a|b)*a(a|b){400}c",
        "a[ab]{450}c",
        "([ab]{1,15}){1,14}c",
        "(ab|ba)*a(ab|ba){90}c",
        "(ab|ba|aab|bba)*a(ab|ba|[ab]{3}){45}c",
        "a{0,240}c",
    };
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        evil(patterns[i]);
    buffer_fini(&out);
    return 0;
}
