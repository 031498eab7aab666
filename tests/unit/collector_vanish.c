// SPDX-License-Identifier: Apache-2.0
/*
 * What vanishes before it was stored is told: files that are deleted or replaced by rotation, and a folder
 * that is removed, while the collector stands still or dies, while blocks are refused, and while answers are
 * late or lost. Each line comes once and in order, or a gap stands in its place.
 */
#include "collector_world.h"

enum { LIVES = 40 };

/* Lines first..end-1 did not come. A whole file of which nothing was stored may be known to nobody when the
 * collector died after it came, or was not there then. */
static bool unknowable(unsigned first, unsigned end)
{
    for (unsigned i = 0; i < w.mark_count; i++) {
        const struct mark *m = &w.marks[i];
        unsigned next = i + 1 < w.mark_count ? m[1].line : w.written;
        if (m->line >= end || next <= first || next == m->line)
            continue;
        if (m->line < first || next > end || (!m->unseen && m->deaths == w.deaths))
            return false;
    }
    return true;
}

static bool gap_at(uint32_t place)
{
    for (uint32_t i = 0; i < w.gaps; i++)
        if (w.gap_places[i] == place)
            return true;
    return false;
}

static void all_is_told(const char *what)
{
    unsigned due = 0;
    for (uint32_t i = 0; i <= w.line_count; i++) {
        unsigned line = i < w.line_count ? w.lines[i] : w.written;
        if (line < due)
            fail_msg("%s: place %u has line %u, %u was due", what, i, line, due);
        if (line > due && !gap_at(i) && !unknowable(due, line)) {
            tell();
            fail_msg("%s: lines %u to %u of %u are missing before place %u of %u, no gap tells it", what, due,
                     line - 1, w.written, i, w.line_count);
        }
        due = line + 1;
    }
    if (w.place_count == 0)
        return;
    if (!w.ended) {
        tell();
        fail_msg("%s: its end was not said", what);
    }
    if (w.ended_lines != w.line_count || w.ended_gaps != w.gaps)
        fail_msg("%s: its end was said after %u lines and %u gaps of %u and %u", what, w.ended_lines,
                 w.ended_gaps, w.line_count, w.gaps);
}

/* The collector does not look for so long; what is written meanwhile. */
static void a_pause(void)
{
    trace("pause");
    w.inside = true;
    for (unsigned n = dice(12); n > 0; n--) {
        w.now_ns += (int64_t)dice(1000) * SL_NS_PER_MS;
        if (dice(3))
            writer_write(1 + dice(10));
        else
            writer_rotate();
        if (dice(30) == 0)
            writer_remove();
    }
    w.inside = false;
    trace("pause over");
}

static void a_life(unsigned seed, enum kind kind)
{
    char what[64];
    world_begin(seed, kind);
    w.removes = true;
    w.kept = 1 + dice(3);
    collector_start();
    for (int i = 0; i < 6; i++)
        world_turn(100);
    w.restless = true;
    for (int i = 0; i < 60 && !(w.removed && dice(4) == 0); i++) {
        unsigned number = dice(16);
        switch (number) {
        case 0:
            if (dice(2))
                collector_dies(dice(3));
            break;
        case 9:
            a_pause();
            break;
        case 10:
            w.stalled = dice(2);
            break;
        case 11:
            w.refuses = dice(3) ? 0 : 1 + dice(3);
            break;
        default:
            world_step(number);
        }
    }
    w.inside = true;
    writer_remove();
    w.inside = false;
    w.refuses = 0;
    world_rest();
    snprintf(what, sizeof what, "%s, seed %u, %u turns", kind_names[kind], seed, w.turned);
    all_is_told(what);
    world_end();
}

/* SEED and SEEDS: these lives instead; KIND: of one kind. */
static void lives(enum kind kind)
{
    const char *first = getenv("SEED"), *most = getenv("SEEDS"), *only = getenv("KIND");
    if (only && strcmp(only, kind_names[kind]) != 0)
        return;
    if (!first) {
        for (unsigned i = 0; i < LIVES; i++)
            a_life(i + 1, kind);
        return;
    }
    unsigned seed = (unsigned)atol(first), left = most ? (unsigned)atol(most) : 1;
    for (; left > 0; left--)
        a_life(seed++, kind);
}

static void deleted_files_are_told(void **state)
{
    (void)state;
    lives(DELETED);
}

static void stamped_files_are_told(void **state)
{
    (void)state;
    lives(STAMPED);
}

static void numbered_files_are_told(void **state)
{
    (void)state;
    lives(NUMBERED);
}

static void copied_files_are_told(void **state)
{
    (void)state;
    lives(COPIED);
}

static void packed_copies_are_told(void **state)
{
    (void)state;
    lives(COPIED_PACKED);
}

static void packed_files_are_told(void **state)
{
    (void)state;
    lives(PACKED);
}

static void replaced_files_are_told(void **state)
{
    (void)state;
    lives(REPLACED);
}

/* inotify's queue is full, and what happens then is told by nobody. */
static void lose_events(void)
{
    char junk[PATH_ROOM];
    unsigned most = 0;
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    assert_true(f && fscanf(f, "%u", &most) == 1);
    fclose(f);
    snprintf(junk, sizeof junk, "%s/box/junk", w.root);
    for (unsigned i = 0; i <= most / 2; i++) {
        close(open(junk, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        unlink(junk);
    }
}

static void turned_unseen(enum kind kind, unsigned turns, unsigned kept)
{
    world_begin(1, kind);
    w.kept = kept;
    collector_start();
    for (int i = 0; i < 6; i++)
        world_turn(100);
    writer_write(10);
    for (int i = 0; i < 6; i++)
        world_turn(100);
    assert_int_equal(w.line_count, 10);
    lose_events();
    for (unsigned i = 0; i < turns; i++) {
        writer_rotate();
        writer_write(10);
    }
    world_rest();
    struct watch_counts counts;
    watch_counts(w.c.watch, &counts);
    assert_int_equal(counts.overflows, 1);
}

/* Of what came and went then there is no trace, but that the file from before is gone. */
static void what_may_have_gone_when_events_were_lost_is_told(void **state)
{
    (void)state;
    if (getenv("KIND"))
        return;
    for (enum kind kind = DELETED; kind <= REPLACED; kind++) {
        turned_unseen(kind, 3, 1);
        assert_int_equal(w.line_count, 20);
        assert_int_equal(w.lines[10], 30);
        assert_int_equal(w.gaps, 1);
        assert_int_equal(w.gap_places[0], 10);
        world_end();
    }
    turned_unseen(COPIED, 5, 1);
    assert_int_equal(w.line_count, 40);
    assert_int_equal(w.lines[10], 30);
    assert_int_equal(w.gaps, 1);
    assert_int_equal(w.gap_places[0], 10);
    world_end();
}

static void nothing_is_told_as_lost_when_the_file_from_before_is_there(void **state)
{
    (void)state;
    if (getenv("KIND"))
        return;
    for (enum kind kind = STAMPED; kind <= COPIED_PACKED; kind++) {
        for (unsigned turns = 0; turns < 3; turns++) {
            turned_unseen(kind, turns, 10);
            if (kind != PACKED || turns < 2) /* then it is packed */
                all_lines_came(kind_names[kind]);
            world_end();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_have_gone_when_events_were_lost_is_told),
        cmocka_unit_test(nothing_is_told_as_lost_when_the_file_from_before_is_there),
        cmocka_unit_test(deleted_files_are_told),
        cmocka_unit_test(stamped_files_are_told),
        cmocka_unit_test(numbered_files_are_told),
        cmocka_unit_test(copied_files_are_told),
        cmocka_unit_test(packed_copies_are_told),
        cmocka_unit_test(packed_files_are_told),
        cmocka_unit_test(replaced_files_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
