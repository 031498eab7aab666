// SPDX-License-Identifier: Apache-2.0
/*
 * Packing against a made-up broker that keeps places as the real one does, while the collector "crashes"
 * again and again: whatever is written, however it is cut, every line comes out once, whole and in its
 * stream's order.
 */
#include "pack.h"
#include "tail.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_MAX = 16 << 20, FILES = 2 };

struct text {
    char *data;
    size_t bytes;
};

static void add(struct text *t, const void *data, size_t bytes)
{
    assert_true(t->bytes + bytes < TEXT_MAX);
    memcpy(t->data + t->bytes, data, bytes);
    t->bytes += bytes;
}

struct place {
    uint64_t offset;
    uint64_t open_from;
};

/* The broker, and what a reader would get from it: each stream as text/plain. */
static struct {
    struct place places[FILES];
    struct text out[2];
    size_t max_line;
    unsigned blocks;
    unsigned crash_in; /* the block that does not arrive any more */
    bool crashed;
} world;

static struct {
    char folder_path[64];
    struct pattern pattern;
    struct root root;
    struct folder *folder;
    struct fleet fleet;
    struct pack pack;
    struct log *log;
    struct file *files[FILES];
    unsigned seed;
} me;

static unsigned dice(unsigned sides)
{
    me.seed = me.seed * 1103515245u + 12345u;
    return (me.seed >> 8) % sides;
}

static int take_block(void *arg, struct file *f, struct file *also, struct sl_block_builder *b,
                      const struct sl_block_header *facts)
{
    (void)arg;
    unsigned which = f->source.key[0];
    size_t capacity = sl_block_builder_bound(b);
    uint8_t *bytes = malloc(capacity), *scratch;
    size_t n = sl_block_builder_encode(b, facts, 0, bytes, capacity);
    struct sl_block_header h;
    struct sl_block_lines it;
    struct sl_line line;
    if (world.crashed || ++world.blocks >= world.crash_in) {
        world.crashed = true;
        free(bytes);
        return 0;
    }
    assert_int_equal(sl_block_check(sl_slice(bytes, n), &h), SL_BLOCK_OK);
    assert_int_equal(h.range.from, world.places[which].offset);
    assert_true(h.range.to > h.range.from && h.open_from <= h.range.to);
    world.places[which] = (struct place){h.range.to, h.open_from};
    if (h.flags & SL_BLOCK_ALSO) {
        unsigned other = h.also.source.key[0];
        assert_ptr_equal(also, me.files[other]);
        assert_int_equal(h.also.from, world.places[other].offset);
        world.places[other] = (struct place){h.also.to, h.also.to};
    }
    scratch = malloc(h.raw_bytes + 1);
    assert_int_equal(sl_block_lines_open(&it, sl_slice(bytes, n), &h, scratch, h.raw_bytes), 0);
    while (sl_block_lines_next(&it, &line)) {
        assert_true(line.text.bytes <= world.max_line);
        add(&world.out[line.stream], line.text.data, line.text.bytes);
        if (!line.partial)
            add(&world.out[line.stream], "\n", 1);
    }
    free(scratch);
    free(bytes);
    return 0;
}

static void no_attrs(void *arg, struct log *log, struct sl_slice attrs)
{
    (void)arg, (void)log, (void)attrs;
}

/* A collector that starts: reading begins where the broker says. */
static void start(size_t held_max)
{
    struct pack_sink sink = {.block = take_block, .attrs = no_attrs};
    static const char *const names[] = {"main.log.1", "main.log"};
    assert_int_equal(fleet_init(&me.fleet, 100), 0);
    assert_int_equal(pack_init(&me.pack, &me.fleet, &sink, world.max_line, held_max), 0);
    struct sandbox *s = fleet_sandbox(&me.fleet, sl_slice_of("box"));
    me.folder->logs = NULL;
    me.log = fleet_log_new(&me.fleet, s, me.folder, "main.log", 8, sl_slice_of("main"));
    for (unsigned i = 0; i < FILES; i++) {
        struct file *f = me.files[i] = fleet_file_new(&me.fleet, me.log, NULL, names[i]);
        f->source = (struct sl_source){.key = {(uint8_t)i, 7}, .incarnation = 1};
        f->at = f->searched = world.places[i].open_from;
        f->sent = f->acked = f->drop_until = world.places[i].offset;
        f->state = FILE_READING;
        assert_int_equal(tail_open(&me.fleet, f), 0);
    }
    world.crashed = false;
}

static void stop(void)
{
    pack_fini(&me.pack);
    fleet_fini(&me.fleet);
}

static void write_file(const char *name, const struct text *text, size_t from, size_t to)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", me.folder_path, name);
    int fd = open(path, O_WRONLY | O_CREAT | (from == 0 ? O_TRUNC : O_APPEND), 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text->data + from, to - from), (ssize_t)(to - from));
    close(fd);
}

static struct text want[2], content[FILES];

/* Records of both streams; `want` is what the process wrote. */
static void make_cri(struct text *file, unsigned records)
{
    for (unsigned i = 0; i < records; i++) {
        char record[4096], text[2048];
        unsigned stream = dice(2);
        bool whole = dice(3) > 0;
        size_t bytes = dice(20) == 0 ? dice(2000) : dice(40);
        for (size_t k = 0; k < bytes; k++)
            text[k] = (char)('a' + (int)dice(26));
        int head = snprintf(record, sizeof record, "2026-11-20T20:42:04.%09uZ %s %s ", i,
                            stream ? "stderr" : "stdout", whole ? "F" : "P");
        add(file, record, (size_t)head);
        add(file, text, bytes);
        add(file, "\n", 1);
        add(&want[stream], text, bytes);
        if (whole)
            add(&want[stream], "\n", 1);
    }
}

static void make_docker(struct text *file, unsigned records)
{
    for (unsigned i = 0; i < records; i++) {
        static const char *const units[][2] = {
            {"x", "x"},    {"\\\"", "\""},   {"\\u00e4", "\xc3\xa4"}, {"\\\\", "\\"},
            {"\\t", "\t"}, {"yyyy", "yyyy"}, {"\\u0000\\n", NULL},    {"\\ud83d\\ude00", "\xf0\x9f\x98\x80"}};
        char head[128];
        unsigned stream = dice(2), count = dice(20) == 0 ? dice(900) : dice(20);
        bool whole = dice(3) > 0;
        add(file, "{\"log\":\"", 8);
        for (unsigned k = 0; k < count; k++) {
            const char *const *u = units[dice(8)];
            if (!u[1])
                continue;
            add(file, u[0], strlen(u[0]));
            add(&want[stream], u[1], strlen(u[1]));
        }
        if (whole) {
            add(file, "\\n", 2);
            add(&want[stream], "\n", 1);
        }
        int n = snprintf(head, sizeof head, "\",\"stream\":\"%s\",\"time\":\"2026-11-20T20:42:04.%uZ\"}\n",
                         stream ? "stderr" : "stdout", i);
        add(file, head, (size_t)n);
    }
}

static void make_plain(struct text *file, unsigned records)
{
    for (unsigned i = 0; i < records; i++) {
        size_t bytes = dice(20) == 0 ? dice(5000) : dice(40);
        for (size_t k = 0; k < bytes; k++) {
            char c = (char)dice(256);
            c = c == '\n' ? 'n' : c;
            add(file, &c, 1);
            add(&want[0], &c, 1);
        }
        add(file, "\n", 1);
        add(&want[0], "\n", 1);
    }
}

/* Lines of both streams in pieces, and now and then a record that no buffer holds. */
static void make_cri_huge(struct text *file, unsigned records)
{
    static char text[1200 << 10];
    for (unsigned i = 0; i < records / 3; i++) {
        char head[64];
        unsigned stream = dice(2);
        bool whole = dice(6) == 0;
        unsigned kind = dice(10);
        size_t bytes = kind == 0   ? (1100 << 10) + dice(100 << 10)
                       : kind == 1 ? (500 << 10) + dice(500 << 10)
                       : kind < 6  ? dice(300 << 10)
                                   : dice(40);
        memset(text, 'a' + (int)dice(26), bytes);
        int n = snprintf(head, sizeof head, "2026-11-20T20:42:04.%09uZ %s %s ", i,
                         stream ? "stderr" : "stdout", whole ? "F" : "P");
        add(file, head, (size_t)n);
        add(file, text, bytes);
        add(file, "\n", 1);
        add(&want[stream], text, bytes);
        if (whole)
            add(&want[stream], "\n", 1);
    }
}

/*
 * `max_line` 0: every start has another one, and other memory for what is open. Both once made lines come
 * twice or not at all: what a start took for sent was judged by its own limits, and a piece of one stream
 * was sent while the other stayed open from an earlier place.
 */
static void survives_crashes(const char *spec, void (*make)(struct text *, unsigned), unsigned seed,
                             size_t max_line)
{
    static const size_t limits[] = {300, 700, 4096, 20000, 1 << 20};
    static const size_t memories[] = {0, 500, 5000, 1 << 20};
    const char *why;
    strcpy(me.folder_path, "/tmp/collector-pack-XXXXXX");
    assert_non_null(mkdtemp(me.folder_path));
    assert_int_equal(pattern_parse(spec, &me.pattern, &why), 0);
    me.root = (struct root){.pattern = &me.pattern, .fd = open(me.folder_path, O_RDONLY | O_DIRECTORY)};
    me.folder = calloc(1, sizeof *me.folder + 1);
    me.folder->root = &me.root;
    me.seed = seed;
    memset(world.places, 0, sizeof world.places);
    for (int i = 0; i < 2; i++)
        want[i].bytes = world.out[i].bytes = content[i].bytes = 0;
    make(&content[0], 60);
    bool torn = strncmp(spec, "plain", 5) == 0 && dice(2);
    if (torn) { /* a line that the rotation cuts in two */
        content[0].bytes--;
        want[0].bytes--;
    }
    make(&content[1], 60);

    size_t written = dice((unsigned)content[0].bytes);
    unsigned file = 0;
    bool over = false;
    write_file("main.log.1", &content[0], 0, written);
    write_file("main.log", &content[1], 0, 0);
    while (!over) {
        world.blocks = 0;
        world.crash_in = 1 + dice(8);
        world.max_line = max_line ? max_line : limits[dice(5)];
        start(max_line ? 1 << 20 : memories[dice(4)]);
        for (unsigned at = 0; at < FILES && !over && !world.crashed;) {
            struct file *f = me.files[at];
            int r = pack_turn(&me.pack, f);
            assert_true(r == PACK_MORE || r == PACK_END);
            if (r == PACK_MORE || world.crashed)
                continue;
            if (at < file) { /* an older one, read to its end */
                assert_int_equal(pack_wrap(&me.pack, f, true), 0);
                if (!world.crashed)
                    pack_carry(&me.pack, f, me.files[++at]);
                continue;
            }
            if (written < content[file].bytes) {
                size_t more = written + 1 + dice(700 + (unsigned)content[file].bytes / 100);
                more = more < content[file].bytes ? more : content[file].bytes;
                write_file(file ? "main.log" : "main.log.1", &content[file], written, more);
                written = more;
            } else if (file == 0) {
                file = 1;
                written = 0;
            } else {
                assert_int_equal(pack_wrap(&me.pack, f, false), 0);
                over = !world.crashed;
            }
        }
        stop();
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(world.out[i].bytes, want[i].bytes);
        assert_memory_equal(world.out[i].data, want[i].data, want[i].bytes);
    }
    assert_int_equal(world.places[1].offset, content[1].bytes);

    char path[128];
    snprintf(path, sizeof path, "%s/main.log.1", me.folder_path);
    unlink(path);
    snprintf(path, sizeof path, "%s/main.log", me.folder_path);
    unlink(path);
    rmdir(me.folder_path);
    close(me.root.fd);
    free(me.folder);
    pattern_fini(&me.pattern);
}

static void cri_lines_survive_crashes(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 200; seed++)
        survives_crashes("cri:/x/{sandbox}.log", make_cri, seed, seed % 2 ? 64 << 10 : 4096);
}

static void docker_lines_survive_crashes(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 100; seed++)
        survives_crashes("docker:/x/{sandbox}.log", make_docker, seed, seed % 2 ? 64 << 10 : 8192);
}

static void plain_lines_survive_crashes(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 100; seed++)
        survives_crashes("plain:/x/{sandbox}.log", make_plain, seed, seed % 2 ? 64 << 10 : 256);
}

static void pieces_of_overlong_lines_survive_crashes(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 200; seed++)
        survives_crashes("cri:/x/{sandbox}.log", make_cri, seed + 1000, 300);
    for (unsigned seed = 0; seed < 100; seed++)
        survives_crashes("docker:/x/{sandbox}.log", make_docker, seed + 1000, 300);
}

static void other_limits_at_every_start_lose_and_double_nothing(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 300; seed++)
        survives_crashes("cri:/x/{sandbox}.log", make_cri, seed + 2000, 0);
    for (unsigned seed = 0; seed < 200; seed++)
        survives_crashes("docker:/x/{sandbox}.log", make_docker, seed + 2000, 0);
    for (unsigned seed = 0; seed < 100; seed++)
        survives_crashes("plain:/x/{sandbox}.log", make_plain, seed + 2000, 0);
}

static void records_longer_than_the_buffer_survive_crashes(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 40; seed++)
        survives_crashes("cri:/x/{sandbox}.log", make_cri_huge, seed + 3000, seed % 2 ? 0 : 1 << 20);
}

static int prepare(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        want[i].data = malloc(TEXT_MAX);
        content[i].data = malloc(TEXT_MAX);
        world.out[i].data = malloc(TEXT_MAX);
    }
    return 0;
}

static int clean(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        free(want[i].data);
        free(content[i].data);
        free(world.out[i].data);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cri_lines_survive_crashes),
                                       cmocka_unit_test(docker_lines_survive_crashes),
                                       cmocka_unit_test(plain_lines_survive_crashes),
                                       cmocka_unit_test(pieces_of_overlong_lines_survive_crashes),
                                       cmocka_unit_test(other_limits_at_every_start_lose_and_double_nothing),
                                       cmocka_unit_test(records_longer_than_the_buffer_survive_crashes)};
    return cmocka_run_group_tests(tests, prepare, clean);
}
