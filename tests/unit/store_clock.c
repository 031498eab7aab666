// SPDX-License-Identifier: Apache-2.0
/*
 * The disk engine under clocks that jump: lines' stamps, and the broker's own clock, which is played in here
 * (the linker puts __wrap_ in the place of the clocks of wire/timestamp.h).
 */
#include "store_conformance.h"
#include <dirent.h>
#include <stdatomic.h>

/* Read by the engine's threads too. */
static _Atomic int64_t clock_ns, steady_ns;
int64_t __wrap_sl_now_ns(void);
int64_t __wrap_sl_monotonic_ns(void);
int64_t __wrap_sl_now_ns(void)
{
    return atomic_load(&clock_ns);
}
int64_t __wrap_sl_monotonic_ns(void)
{
    return atomic_load(&steady_ns);
}

static const int64_t NOON_NS = 1771588800 * SL_NS_PER_S, HOUR_NS = 3600 * SL_NS_PER_S;

static void engine_make(struct world *w)
{
    const char *base = getenv("TMPDIR");
    snprintf(w->location, sizeof w->location, "%s/sandlog-clock-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(w->location));
    w->options.segment_bytes = 4 << 10;
    w->options.memory_bytes = 0;
    clock_ns = NOON_NS;
    steady_ns = HOUR_NS;
}

static unsigned remove_segments(struct world *w, bool unlink_all)
{
    DIR *folder = opendir(w->location);
    assert_non_null(folder);
    struct dirent *entry;
    unsigned segments = 0;
    while ((entry = readdir(folder))) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", w->location, entry->d_name);
        segments += strstr(entry->d_name, ".seg") != NULL;
        if (unlink_all && entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(folder);
    return segments;
}

static void engine_destroy(struct world *w)
{
    remove_segments(w, true);
    assert_int_equal(rmdir(w->location), 0);
}

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* From INT64_C(-span) to span. */
static int64_t around(uint64_t *random, int64_t span)
{
    return (int64_t)(next_random(random) % (2 * (uint64_t)span + 1)) - span;
}

/* ---- the oracle: every line's stamp and query time, by the words of the definition ---- */

enum { LINES_MOST = 4000, RECORDS_MOST = 1000 };
struct oracle {
    uint64_t random;
    uint64_t lines;
    int64_t time_ns[LINES_MOST];
    int64_t query_ns[LINES_MOST];
    /* as the store gave them, the last time it was asked: */
    uint64_t next;
    unsigned records;
    uint64_t first_seq[RECORDS_MOST];
};

static void step_clock(struct oracle *o)
{
    int64_t now_ns = clock_ns;
    switch (next_random(&o->random) % 8) {
    case 0:
        now_ns += (int64_t)(1 + next_random(&o->random) % 5) * HOUR_NS;
        break;
    case 1:
        now_ns -= (int64_t)(1 + next_random(&o->random) % 5) * HOUR_NS;
        break;
    case 2:
        break;
    case 3:
        now_ns += 1;
        break;
    case 4:
        now_ns -= 1;
        break;
    default:
        now_ns += (int64_t)(next_random(&o->random) % (7 * (uint64_t)SL_NS_PER_S));
    }
    clock_ns = now_ns;
}

static int64_t stamp(struct oracle *o)
{
    int64_t last_ns = o->lines ? o->time_ns[o->lines - 1] : clock_ns;
    switch (next_random(&o->random) % 10) {
    case 0:
        return last_ns;
    case 1:
        return last_ns + 1;
    case 2:
        return last_ns - 1;
    case 3:
        return clock_ns + SL_QUERY_SLACK_NS + around(&o->random, 1);
    case 4:
        return clock_ns + around(&o->random, 6 * HOUR_NS);
    case 5:
        return o->query_ns[o->lines ? o->lines - 1 : 0] + around(&o->random, 1);
    default:
        return clock_ns - (int64_t)(next_random(&o->random) % (2 * (uint64_t)SL_NS_PER_S));
    }
}

static void append_stamped(struct world *w, struct oracle *o, uint64_t n)
{
    sl_block_builder_reset(w->builder, sl_slice_of("a"));
    uint64_t from = o->lines;
    for (; o->lines < from + n; o->lines++) {
        char text[40];
        int bytes = snprintf(text, sizeof text, "line %llu", (unsigned long long)o->lines + 1);
        struct sl_line line = {.time_ns = stamp(o), .text = sl_slice(text, (size_t)bytes)};
        assert_int_equal(sl_block_builder_add(w->builder, &line, sl_slice_of("main")), 0);
        int64_t limit_ns = clock_ns + 5 * SL_NS_PER_S;
        int64_t query_ns = line.time_ns < limit_ns ? line.time_ns : limit_ns;
        if (o->lines && query_ns < o->query_ns[o->lines - 1])
            query_ns = o->query_ns[o->lines - 1];
        o->time_ns[o->lines] = line.time_ns;
        o->query_ns[o->lines] = query_ns;
    }
    struct sl_block_header facts = {
        .codec = SL_CODEC_LZ4,
        .range = {.source = {.key = {1}, .incarnation = 1}, .from = from, .to = o->lines},
        .open_from = o->lines,
    };
    size_t room = sl_block_builder_bound(w->builder);
    uint8_t *bytes = malloc(room);
    assert_non_null(bytes);
    struct store_item item = {.kind = STORE_BLOCK};
    item.payload = sl_slice(bytes, sl_block_builder_encode(w->builder, &facts, 0, bytes, room));
    assert_int_equal(sl_block_check(item.payload, &item.header), SL_BLOCK_OK);
    assert_int_equal(append(w, item).verdict, SL_TAKEN);
}

static bool stamped_record(void *arg, struct sl_slice bytes, const struct sl_record *prefix)
{
    struct oracle *o = arg;
    struct sl_record record;
    struct sl_slice payload;
    struct sl_block_header header;
    assert_int_equal(sl_record_check(bytes, &record, &payload, &header), SL_RECORD_OK);
    assert_int_equal(prefix->first_seq, o->next);
    assert_true(header.lines > 0);
    assert_true(o->records < RECORDS_MOST);
    o->first_seq[o->records++] = o->next;
    void *scratch = malloc(header.raw_bytes + 1);
    struct sl_block_lines it;
    struct sl_line line;
    assert_int_equal(sl_block_lines_open(&it, payload, &header, scratch, header.raw_bytes), 0);
    int64_t query_ns = record.floor_ns;
    for (; sl_block_lines_next(&it, &line); o->next++) {
        assert_true(o->next <= o->lines);
        assert_int_equal(line.time_ns, o->time_ns[o->next - 1]);
        query_ns = sl_query_time(query_ns, line.time_ns, record.commit_ns);
        assert_int_equal(query_ns, o->query_ns[o->next - 1]);
    }
    free(scratch);
    assert_int_equal(sl_query_ceiling(&record, &header), query_ns);
    return true;
}

static void assert_seeks(struct world *w, const struct oracle *o, int64_t time_ns)
{
    uint64_t line = 1, seq;
    while (line <= o->lines && o->query_ns[line - 1] < time_ns)
        line++;
    uint64_t wanted = o->lines + 1;
    for (unsigned i = 0; i < o->records && line <= o->lines; i++) {
        if (o->first_seq[i] <= line)
            wanted = o->first_seq[i];
    }
    assert_int_equal(store_seek_time(w->store, sl_slice_of("a"), time_ns, &seq), 0);
    assert_int_equal(seq, wanted);
}

static void assert_as_the_oracle_says(struct world *w, struct oracle *o)
{
    bool more = true;
    for (o->next = 1, o->records = 0; more;)
        assert_int_equal(store_read(w->store, sl_slice_of("a"), o->next, 2000, stamped_record, o, &more), 0);
    assert_int_equal(o->next, o->lines + 1);
    for (uint64_t i = 0; i < o->lines; i += 1 + next_random(&o->random) % 5) {
        assert_seeks(w, o, o->query_ns[i] - 1);
        assert_seeks(w, o, o->query_ns[i]);
        assert_seeks(w, o, o->query_ns[i] + 1);
        assert_seeks(w, o, o->time_ns[i]);
    }
    assert_seeks(w, o, INT64_MAX);
}

/* One round of poll() and store_run(), with the engine's steady clock moved on so that it looks around. */
static void run_once(struct world *w, int patience_ms)
{
    struct pollfd fd = {.fd = w->wake[0], .events = POLLIN};
    char bytes[64];
    if (poll(&fd, 1, patience_ms) == 1)
        assert_true(read(w->wake[0], bytes, sizeof bytes) > 0);
    steady_ns += 2 * SL_NS_PER_S;
    store_run(w->store);
}

static void compact_as_time_passes(struct world *w)
{
    int fault = 1;
    store_compact(w->store, world_compacted, &fault);
    for (int i = 0; fault == 1 && i < 10000; i++)
        run_once(w, 1000);
    assert_int_equal(fault, 0);
}

static void query_times_and_seeks_match_brute_force_whatever_the_clocks_do(void **state)
{
    struct world *w = *state;
    static struct oracle o;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        o = (struct oracle){.random = seed};
        w->options.memory_bytes = seed % 2 ? 0 : 1 << 20;
        world_reopen(w);
        for (int i = 0; i < 150; i++) {
            if (next_random(&o.random) % 2)
                step_clock(&o);
            append_stamped(w, &o, 1 + next_random(&o.random) % 12);
            if (next_random(&o.random) % 50 == 0)
                world_reopen(w);
            if (next_random(&o.random) % 60 == 0)
                compact_as_time_passes(w);
        }
        assert_as_the_oracle_says(w, &o);
        world_reopen(w);
        assert_as_the_oracle_says(w, &o);
        compact_as_time_passes(w);
        assert_as_the_oracle_says(w, &o);
        world_reopen(w);
        assert_as_the_oracle_says(w, &o);
        store_close(w->store);
        remove_segments(w, true);
        world_open(w);
    }
}

/* ---- retention by age ---- */

static void run_until_oldest(struct world *w, const char *sandbox, uint64_t seq)
{
    for (int i = 0; place(w, sandbox).oldest_seq != seq; i++) {
        assert_true(i < 300);
        run_once(w, 100);
    }
}

/* So that what retention would do, it has done. */
static void look_around(struct world *w)
{
    for (int i = 0; i < 10; i++)
        run_once(w, 10);
}

static void open_with_age(struct world *w, int64_t age_ns)
{
    store_close(w->store);
    w->options.retention_age_ns = age_ns;
    w->options.segment_bytes = 1 << 20;
    world_open(w);
}

static void assert_retained(struct world *w, uint64_t oldest, uint64_t last)
{
    struct sl_place p = place(w, "a");
    assert_int_equal(p.oldest_seq, oldest);
    assert_int_equal(p.last_seq, last);
    struct got g = read_all(w, "a", 1, 4096);
    assert_int_equal(g.gaps, oldest > 1);
    assert_int_equal(g.gap_lines, oldest - 1);
    if (g.gaps)
        assert_int_equal(g.reason, SL_GAP_RETENTION);
    assert_int_equal(g.lines, last + 1 - oldest);
    free(g.text);
}

static void what_is_older_than_the_age_goes_and_the_rest_stays(void **state)
{
    struct world *w = *state;
    open_with_age(w, HOUR_NS);
    append_lines(w, "a", 0, 10);
    clock_ns = NOON_NS + 31 * 60 * SL_NS_PER_S; /* half the age: the segment is closed */
    look_around(w);
    assert_retained(w, 1, 10);
    append_lines(w, "a", 10, 10);
    clock_ns = NOON_NS + HOUR_NS; /* not older than the age: it stays */
    look_around(w);
    assert_retained(w, 1, 20);
    clock_ns = NOON_NS + HOUR_NS + 1;
    run_until_oldest(w, "a", 11);
    assert_retained(w, 11, 20);
    world_reopen(w);
    look_around(w);
    assert_retained(w, 11, 20);
    clock_ns = NOON_NS + 2 * HOUR_NS;
    run_until_oldest(w, "a", 21);
    assert_retained(w, 21, 20);
    assert_int_equal(
        append_block(w, &(struct block_spec){.sandbox = "a", .source = 1, .from = 10, .to = 20, .lines = 10}),
        SL_ALREADY);
    append_lines(w, "a", 20, 3);
    world_reopen(w);
    assert_retained(w, 21, 23);
}

static void age_counts_from_the_commit_not_from_the_stamps(void **state)
{
    struct world *w = *state;
    open_with_age(w, HOUR_NS);
    append_lines(w, "a", 0, 10); /* stamps of 1970 */
    look_around(w);
    world_reopen(w);
    look_around(w);
    assert_retained(w, 1, 10);
}

static void a_clock_that_went_back_takes_nothing(void **state)
{
    struct world *w = *state;
    open_with_age(w, HOUR_NS);
    append_lines(w, "a", 0, 10);
    clock_ns = NOON_NS - 48 * HOUR_NS;
    append_lines(w, "a", 10, 10);
    look_around(w);
    world_reopen(w);
    append_lines(w, "a", 20, 10);
    look_around(w);
    assert_retained(w, 1, 30);
}

static void a_stopped_sandbox_that_aged_away_is_forgotten(void **state)
{
    struct world *w = *state;
    open_with_age(w, HOUR_NS);
    append_lines(w, "a", 0, 10);
    append_block(w, &(struct block_spec){.sandbox = "gone", .source = 2, .to = 5, .lines = 5});
    append_block(
        w, &(struct block_spec){.sandbox = "gone", .source = 2, .from = 5, .to = 5, .flags = SL_BLOCK_CLOSE});
    append(w, change_item("gone", &(struct sl_change){.fields = SL_CHANGE_STATE, .state = SL_STOPPED}));
    assert_int_equal(place(w, "gone").last_seq, 5);
    clock_ns += 3 * HOUR_NS;
    run_until_oldest(w, "a", 11);
    struct sl_place p;
    assert_int_equal(store_place(w->store, sl_slice_of("gone"), &p), STORE_UNKNOWN);
    world_reopen(w);
    assert_int_equal(store_place(w->store, sl_slice_of("gone"), &p), STORE_UNKNOWN);
    assert_retained(w, 11, 10);
    assert_true(remove_segments(w, false) <= 2);
}

/* Who asks for news says which version it has seen: were that of the next life the same, it would hear
 * nothing of it. */
static void a_life_begins_with_a_version_that_none_before_it_had(void **state)
{
    struct world *w = *state;
    open_with_age(w, HOUR_NS);
    uint32_t last = 0;
    for (uint8_t life = 0; life < 4; life++) {
        uint8_t source = (uint8_t)(2 + life);
        append_block(w, &(struct block_spec){.sandbox = "gone", .source = source, .to = 5, .lines = 5});
        uint32_t first = place(w, "gone").version;
        assert_true(first > last);
        for (unsigned k = 0; k < life; k++)
            append(w, change_item("gone", &(struct sl_change){.fields = SL_CHANGE_STATE | SL_CHANGE_EXIT,
                                                              .state = SL_STOPPED,
                                                              .exit_code = (int32_t)k}));
        append_block(w,
                     &(struct block_spec){
                         .sandbox = "gone", .source = source, .from = 5, .to = 5, .flags = SL_BLOCK_CLOSE});
        append(w, change_item("gone", &(struct sl_change){.fields = SL_CHANGE_STATE, .state = SL_STOPPED}));
        last = place(w, "gone").version;
        assert_true(last > first);
        if (life == 2) {
            /* Deleted and still known, instead of forgotten. */
            append(w, delete_item("gone"));
            continue;
        }
        clock_ns += 3 * HOUR_NS;
        struct sl_place p;
        for (int i = 0; store_place(w->store, sl_slice_of("gone"), &p) != STORE_UNKNOWN; i++) {
            assert_true(i < 300);
            run_once(w, 100);
        }
        world_reopen(w);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CLAIM(query_times_and_seeks_match_brute_force_whatever_the_clocks_do),
        CLAIM(what_is_older_than_the_age_goes_and_the_rest_stays),
        CLAIM(age_counts_from_the_commit_not_from_the_stamps),
        CLAIM(a_clock_that_went_back_takes_nothing),
        CLAIM(a_stopped_sandbox_that_aged_away_is_forgotten),
        CLAIM(a_life_begins_with_a_version_that_none_before_it_had),
    };
    (void)conformance_tests;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
