// SPDX-License-Identifier: Apache-2.0
/*
 * A full disk, for real: a small tmpfs (needs root; skipped otherwise). Nothing is acknowledged, reads go on,
 * the trouble is said, and it ends by itself when there is room.
 */
#include "../unit/store_conformance.h"
#include <fcntl.h>
#include <sys/mount.h>

static void engine_make(struct world *w)
{
    snprintf(w->location, sizeof w->location, "/tmp/sandlog-full-XXXXXX");
    assert_non_null(mkdtemp(w->location));
    assert_int_equal(mount("sandlog-test", w->location, "tmpfs", 0, "size=4m"), 0);
    w->options.memory_bytes = 0;
    w->options.segment_bytes = 64 << 10;
}

static void engine_destroy(struct world *w)
{
    assert_int_equal(umount(w->location), 0);
    assert_int_equal(rmdir(w->location), 0);
}

static bool can_mount(void)
{
    char at[] = "/tmp/sandlog-full-XXXXXX";
    if (!mkdtemp(at))
        return false;
    bool can = mount("sandlog-test", at, "tmpfs", 0, "size=1m") == 0;
    if (can)
        umount(at);
    rmdir(at);
    return can;
}

static int append_one(struct world *w, uint64_t from, uint8_t *ret_verdict)
{
    struct block_spec spec = {
        .sandbox = "a", .source = 1, .from = from, .to = from + 50, .lines = 50, .line_bytes = 200};
    struct store_item item = block_item(w, &spec);
    int fault = append_items(w, &item, 1);
    *ret_verdict = item.verdict.verdict;
    item_free(&item);
    return fault;
}

static void a_full_disk_stops_acknowledgements_not_reads_and_heals(void **state)
{
    struct world *w = *state;
    char filler[300];
    snprintf(filler, sizeof filler, "%s/filler", w->location);
    int fd = open(filler, O_CREAT | O_WRONLY, 0600);
    static const char zeros[3 << 20];
    assert_int_equal(write(fd, zeros, sizeof zeros), sizeof zeros);
    close(fd);

    uint64_t from = 0;
    uint8_t verdict;
    int fault = 0;
    while ((fault = append_one(w, from, &verdict)) == 0) {
        assert_int_equal(verdict, SL_TAKEN);
        from += 50;
        assert_true(from < 1000000);
    }
    assert_int_equal(fault, -ENOSPC);
    assert_int_equal(verdict, SL_REFUSED);
    assert_string_equal(store_trouble(w->store), "the disk is full");
    for (int i = 0; i < 5; i++)
        assert_int_equal(append_one(w, from, &verdict), -ENOSPC);
    assert_lines(w, "a", 1, from);

    assert_int_equal(unlink(filler), 0);
    for (int i = 0; i < 20; i++, from += 50) {
        assert_int_equal(append_one(w, from, &verdict), 0);
        assert_int_equal(verdict, SL_TAKEN);
    }
    assert_null(store_trouble(w->store));
    assert_lines(w, "a", 1, from);
    world_reopen(w);
    assert_lines(w, "a", 1, from);
}

int main(void)
{
    if (!can_mount())
        return 77;
    static const struct CMUnitTest tests[] = {CLAIM(a_full_disk_stops_acknowledgements_not_reads_and_heals)};
    (void)conformance_tests;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
