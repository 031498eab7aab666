// SPDX-License-Identifier: Apache-2.0
/* What the disk engine makes of files that are damaged, cut, lost or somebody else's, and what `check` says
 * of them. */
#include "store_conformance.h"
#include "store_files.h"
#include <sys/wait.h>

struct flipping {
    uint64_t at;
    uint64_t size;
};

static bool flip(void *arg, const char *path)
{
    struct flipping *f = arg;
    if (!strstr(path, ".seg"))
        return true;
    int fd = open(path, O_RDWR);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    f->size = (uint64_t)st.st_size;
    uint8_t byte;
    if (f->at < f->size) {
        assert_int_equal(pread(fd, &byte, 1, (off_t)f->at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)f->at), 1);
    }
    close(fd);
    return false;
}

static bool unlink_file(void *arg, const char *path)
{
    (void)arg;
    unlink(path);
    return true;
}

static bool unlink_segment(void *arg, const char *path)
{
    (void)arg;
    if (strstr(path, ".seg"))
        unlink(path);
    return true;
}

struct kept_file {
    char path[600];
    uint8_t bytes[16 << 10];
    size_t size;
};

static bool keep_file(void *arg, const char *path)
{
    struct kept_file *k = arg;
    if (!strstr(path, ".seg"))
        return true;
    snprintf(k->path, sizeof k->path, "%s", path);
    int fd = open(path, O_RDONLY);
    ssize_t bytes = read(fd, k->bytes, sizeof k->bytes);
    close(fd);
    assert_true(bytes > 0 && bytes < (ssize_t)sizeof k->bytes);
    k->size = (size_t)bytes;
    return false;
}

/* Only what was kept is there afterwards. */
static void put_back_as_it_was(struct world *w, const struct kept_file *k)
{
    each_file(w, unlink_segment, NULL);
    int fd = open(k->path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, k->bytes, k->size), k->size);
    close(fd);
}

/* ... with one bit turned. */
static void put_back(struct world *w, struct kept_file *k, size_t at)
{
    k->bytes[at] ^= (uint8_t)(1 << at % 8);
    put_back_as_it_was(w, k);
    k->bytes[at] ^= (uint8_t)(1 << at % 8);
}

/* In records, in the index and in the trailer: every third byte of all. */
static void a_bit_flipped_in_a_sealed_segment_costs_at_most_its_block(void **state)
{
    struct world *w = *state;
    fill(w, "a", 0, 6);
    store_close(w->store);
    static struct kept_file k;
    each_file(w, keep_file, &k);
    unsigned whole = 0, damaged = 0;
    for (size_t at = 0; at < k.size; at += 3) {
        put_back(w, &k, at);
        world_open(w);
        assert_int_equal(place(w, "a").last_seq, 60);
        struct got g = read_all(w, "a", 1, 4096);
        assert_int_equal(g.lines + g.gap_lines, 60);
        assert_true(g.gap_lines == 0 || (g.gap_lines == 10 && g.gaps == 1));
        damaged += g.gaps;
        whole += !g.gaps;
        free(g.text);
        store_close(w->store);
    }
    assert_true(damaged > 100);
    assert_true(whole > 50);
    put_back(w, &k, 0);
    world_open(w);
}

enum { TAIL_BLOCKS = 6, TAIL_LOOKED_AT = 3, TAIL_LINES = 10 };

/* Opens a store whose one segment was not sealed, and finds the first `blocks` of it, which goes on behind
 * them. */
static void assert_begins(struct world *w, unsigned blocks)
{
    world_open(w);
    struct got g = read_all(w, "a", 1, 4096);
    assert_int_equal(g.lines, TAIL_LINES * blocks);
    assert_int_equal(g.gaps, 0);
    free(g.text);
    store_close(w->store);
}

/* As a power failure leaves it: cut at every byte of its last records, and with a bit turned in every one. */
static void a_tail_ends_at_its_last_good_record_and_a_start_succeeds(void **state)
{
    struct world *w = *state;
    fill(w, "a", 0, TAIL_BLOCKS);
    static struct kept_file k;
    each_file(w, keep_file, &k); /* while it is open: no index yet */
    store_close(w->store);
    size_t ends[TAIL_BLOCKS], count = 0, whole = 0;
    struct sl_record record;
    while (sl_record_decode_prefix(sl_slice(k.bytes + whole, k.size - whole), &record) == SL_RECORD_OK) {
        whole += SL_RECORD_PREFIX_BYTES + record.payload_bytes;
        if (record.kind == SL_RECORD_BLOCK) {
            assert_true(count < TAIL_BLOCKS);
            ends[count++] = whole;
        }
    }
    assert_int_equal(count, TAIL_BLOCKS);
    size_t from = ends[TAIL_BLOCKS - TAIL_LOOKED_AT - 1];
    unsigned good = TAIL_BLOCKS - TAIL_LOOKED_AT;
    for (size_t at = from; at < whole; at++) {
        good += at == ends[good];
        put_back(w, &k, at);
        assert_begins(w, good);
        size_t size = k.size;
        k.size = at;
        put_back_as_it_was(w, &k);
        assert_begins(w, good);
        k.size = size;
    }
    assert_int_equal(good, TAIL_BLOCKS - 1);
    world_open(w);
    fill(w, "a", good, 1); /* and it goes on behind them */
    assert_lines(w, "a", 1, TAIL_LINES * (good + 1));
}

static void note_report(void *arg, const char *sentence)
{
    char *all = arg;
    strncat(all, sentence, 4095 - strlen(all));
    strncat(all, "\n", 4095 - strlen(all));
}

static struct store_check_result check(struct world *w, bool repair, char text[4096])
{
    struct store_check_result result;
    text[0] = 0;
    assert_int_equal(store_check(w->location, repair, note_report, text, &result), 0);
    return result;
}

static void check_finds_what_is_damaged_and_repair_cuts(void **state)
{
    struct world *w = *state;
    char text[4096];
    struct store_check_result r;
    assert_int_equal(store_check(w->location, false, note_report, text, &r), -EBUSY);
    fill(w, "a", 0, 6);
    store_close(w->store);
    r = check(w, false, text);
    assert_int_equal(r.segments, 1);
    assert_int_equal(r.lines, 60);
    assert_int_equal(r.damaged_blocks + r.damaged_indexes + r.torn_bytes + r.repaired, 0);

    struct flipping f = {.at = UINT64_MAX};
    each_file(w, flip, &f);
    f.at = 104 + 48 + 130; /* segment header, prefix, in the first block */
    each_file(w, flip, &f);
    r = check(w, false, text);
    assert_int_equal(r.damaged_blocks, 1);
    assert_non_null(strstr(text, "1 damaged record"));

    f.at = f.size - 20; /* in the trailer */
    each_file(w, flip, &f);
    r = check(w, false, text);
    assert_true(r.torn_bytes > 0);
    r = check(w, true, text);
    assert_int_equal(r.repaired, 1);
    r = check(w, false, text);
    assert_int_equal(r.torn_bytes, 0);
    world_open(w);
    assert_int_equal(store_check("/nonexistent/store", false, note_report, text, &r), -ENOENT);
}

struct cutting {
    off_t off_bytes;
};

static bool cut(void *arg, const char *path)
{
    const struct cutting *c = arg;
    struct stat st;
    if (!strstr(path, ".1.seg"))
        return true;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - c->off_bytes), 0);
    return false;
}

/* It was called repairable, repaired by --repair with 0 repaired, and again repairable. */
static void check_says_that_a_lost_index_of_a_compacted_segment_stays_lost(void **state)
{
    struct world *w = *state;
    char text[4096];
    fill(w, "a", 0, 6);
    compact(w);
    store_close(w->store);
    assert_int_equal(check(w, false, text).damaged_blocks, 0);
    /* the trailer whole; then a state is torn too */
    struct cutting cuts[] = {{64}, {10}};
    for (size_t i = 0; i < 2; i++) {
        each_file(w, cut, &cuts[i]);
        for (int repair = 0; repair < 2; repair++) {
            struct store_check_result r = check(w, repair, text);
            assert_int_equal(r.damaged_blocks, 1);
            assert_int_equal(r.damaged_indexes + r.torn_bytes + r.repaired, 0);
            assert_non_null(strstr(text, "its index is damaged or cut off"));
        }
    }
    world_open(w);
}

/*
 * A bit flipped in the first 48 bytes of a record ended the check of its segment, which said that all was
 * well: the header's too, so that a segment of which not one record was read passed.
 */
static void check_goes_on_behind_a_damaged_prefix(void **state)
{
    struct world *w = *state;
    char text[4096];
    fill(w, "a", 0, 6);
    store_close(w->store);
    for (int k = 0; k < 2; k++) {
        struct flipping f = {.at = k ? 104 + 20 : 20}; /* in the first block's prefix; in the header's */
        each_file(w, flip, &f);
        struct store_check_result r = check(w, false, text);
        assert_int_equal(r.damaged_blocks, 1);
        assert_int_equal(r.lines, k ? 50 : 60);
        assert_non_null(strstr(text, "1 damaged record"));
        each_file(w, flip, &f);
        assert_int_equal(check(w, false, text).damaged_blocks, 0);
    }
    world_open(w);
}

static void make_empty(struct world *w, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", w->location, name);
    FILE *made = fopen(path, "wx");
    assert_non_null(made);
    fclose(made);
}

/* A process that was killed right behind creat() left an empty file, which starts set aside as a damaged one.
 */
static void an_empty_segment_is_no_damage_at_a_start_and_is_named_by_check(void **state)
{
    struct world *w = *state;
    char text[4096];
    fill(w, "a", 0, 6);
    store_close(w->store);
    make_empty(w, "0000000002-0000000002.0.seg");
    struct store_check_result r = check(w, false, text);
    assert_int_equal(r.damaged_blocks, 0); /* the newest */
    make_empty(w, "0000000004-0000000004.0.seg");
    r = check(w, false, text);
    assert_int_equal(r.damaged_blocks, 1);
    assert_non_null(strstr(text, "2.0.seg: is empty"));
    assert_non_null(strstr(text, "3 to 3 are not there"));
    world_open(w);
    assert_lines(w, "a", 1, 60);
    store_close(w->store);
    r = check(w, false, text);
    assert_int_equal(r.damaged_blocks, 0);
    assert_null(strstr(text, "set aside"));
    world_open(w);
}

/* ---- whole files lost ---- */

static void lose(struct world *w, uint32_t number)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%010u-%010u.0.seg", w->location, number, number);
    assert_int_equal(unlink(path), 0);
}

/* They were taken for dropped by retention: check said that all is well. */
static void a_lost_segment_is_damage_and_not_retention(void **state)
{
    struct world *w = *state;
    char text[4096];
    for (uint32_t number = 1; number <= 2; number++) {
        store_close(w->store);
        each_file(w, unlink_file, NULL);
        world_open(w);
        fill(w, "a", 0, 1);
        for (unsigned blocks = 1; stats(w).segments < 3; blocks++)
            fill(w, "a", blocks, 1);
        uint64_t last = place(w, "a").last_seq;
        store_close(w->store);
        assert_int_equal(check(w, false, text).lost_segments, 0);
        lose(w, number);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(check(w, false, text).lost_segments, 1);
            assert_non_null(strstr(text, "are lost"));
            world_open(w);
            assert_int_equal(stats(w).lost_segments, 1);
            struct got g = read_all(w, "a", 1, 4096);
            assert_int_equal(g.gaps, 1);
            assert_int_equal(g.reason, SL_GAP_DAMAGED);
            assert_true(g.gap_lines >= 10);
            assert_int_equal(g.gap_lines + g.lines, last);
            free(g.text);
            if (k == 1)
                compact(w); /* what is there is made one; what is not stays told */
            store_close(w->store);
        }
        world_open(w);
    }
}

static void a_segment_that_retention_took_is_not_lost(void **state)
{
    struct world *w = *state;
    char text[4096];
    store_close(w->store);
    w->options.retention_bytes = 64 << 10;
    world_open(w);
    fill(w, "a", 0, 1);
    for (unsigned blocks = 1; place(w, "a").oldest_seq == 1; blocks++)
        fill(w, "a", blocks, 1);
    for (int k = 0; k < 2; k++) {
        store_close(w->store);
        assert_int_equal(check(w, false, text).lost_segments, 0);
        assert_non_null(strstr(text, "seg"));
        world_open(w);
        assert_int_equal(stats(w).lost_segments, 0);
        compact(w);
    }
}

static void a_compacted_segment_is_read_without_its_trailer(void **state)
{
    struct world *w = *state;
    fill(w, "a", 0, 6);
    fill(w, "b", 0, 6);
    compact(w);
    store_close(w->store);
    struct flipping f = {.at = UINT64_MAX};
    each_file(w, flip, &f);
    f.at = f.size - 20;
    each_file(w, flip, &f);
    for (int k = 0; k < 2; k++) {
        world_open(w);
        assert_lines(w, "a", 1, 60);
        assert_lines(w, "b", 1, 60);
        compact(w);
        store_close(w->store);
    }
    world_open(w);
    append_lines(w, "a", 60, 1);
    assert_lines(w, "a", 1, 61);
}

static bool cut_compacted(void *arg, const char *path)
{
    (void)arg;
    struct stat st;
    if (!strstr(path, ".seg") || strstr(path, ".0.seg"))
        return true;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size * 7 / 10), 0);
    return false;
}

/* Its states stand at its end: cut off, lines that were lost were called retention's, and nothing was
 * counted. */
static void what_a_cut_compacted_segment_lost_is_damage_and_not_retention(void **state)
{
    struct world *w = *state;
    char text[4096];
    fill(w, "a", 0, 6);
    fill(w, "b", 0, 6);
    compact(w);
    append_lines(w, "a", 60, 3);
    append_lines(w, "b", 60, 3);
    store_close(w->store);
    each_file(w, cut_compacted, NULL);
    for (int k = 0; k < 3; k++) {
        assert_true(check(w, false, text).damaged_blocks > 0);
        world_open(w);
        assert_true(stats(w).cut_records > 0 && stats(w).cut_bytes > 0);
        for (const char *id = "a"; *id <= 'b'; id = *id == 'a' ? "b" : "c") {
            struct got g = read_all(w, id, 1, 4096);
            assert_int_equal(g.gaps, 1);
            assert_int_equal(g.gap_lines + g.lines, 63);
            assert_int_equal(g.reason, SL_GAP_DAMAGED);
            free(g.text);
        }
        if (k == 1)
            compact(w);
        store_close(w->store);
    }
    world_open(w);
}

static void a_second_process_is_told_that_the_store_is_taken(void **state)
{
    struct world *w = *state;
    struct store *second;
    const char *why = NULL;
    assert_int_equal(store_open(&w->options, &second, &why), -EBUSY);
    assert_non_null(strstr(why, "in use"));
}

static bool open_to_all(void *arg, const char *path)
{
    (void)arg;
    assert_int_equal(chmod(path, 0666), 0);
    return true;
}

/* Files that are writable in a directory that is not: the broker came up, and stopped with its first new
 * segment. */
static void a_directory_that_takes_no_new_file_is_refused_at_a_start(void **state)
{
    struct world *w = *state;
    fill(w, "a", 0, 2);
    store_close(w->store);
    each_file(w, open_to_all, NULL);
    assert_int_equal(chmod(w->location, 0555), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store *s;
        const char *why = "";
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(2);
        int fault = store_open(&w->options, &s, &why);
        _exit(fault == -EACCES && strstr(why, "permission") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(chmod(w->location, 0750), 0);
    world_open(w);
    assert_lines(w, "a", 1, 20);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CLAIM(a_bit_flipped_in_a_sealed_segment_costs_at_most_its_block),
        CLAIM(a_tail_ends_at_its_last_good_record_and_a_start_succeeds),
        CLAIM(check_finds_what_is_damaged_and_repair_cuts),
        CLAIM(check_says_that_a_lost_index_of_a_compacted_segment_stays_lost),
        CLAIM(check_goes_on_behind_a_damaged_prefix),
        CLAIM(an_empty_segment_is_no_damage_at_a_start_and_is_named_by_check),
        CLAIM(a_lost_segment_is_damage_and_not_retention),
        CLAIM(a_segment_that_retention_took_is_not_lost),
        CLAIM(a_compacted_segment_is_read_without_its_trailer),
        CLAIM(what_a_cut_compacted_segment_lost_is_damage_and_not_retention),
        CLAIM(a_second_process_is_told_that_the_store_is_taken),
        CLAIM(a_directory_that_takes_no_new_file_is_refused_at_a_start),
    };
    (void)conformance_tests;
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0); /* thousands of starts, each of which syncs */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
