// SPDX-License-Identifier: Apache-2.0
/*
 * A whole collector in one thread, without a program: the real finder, order, places, turns and ship, a real
 * folder, a clock that is played, and a made-up broker that judges blocks as the real one does. A writer
 * writes numbered lines and turns its file in one of the ways that runtimes have; what happens between two
 * calls of the kernel, on either side, is the dice's (`restless`). The linker puts __wrap_ in the place of
 * the clocks and of what opens and reads files; see CMakeLists.txt.
 */
#pragma once
#include "collector.h"
#include "wire/timestamp.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

enum {
    LINES_MAX = 200000,
    PLACES_MAX = 4096,
    ASKED_MAX = 256,
    PATH_ROOM = 320,
    MARKS_MAX = 4096,
    BIRTHS_MAX = 65536,
    TURNS_MOST = 40
};

enum kind { STAMPED, NUMBERED, PACKED, COPIED, COPIED_PACKED, DELETED, REPLACED };
static const char *const kind_names[] = {"stamped",           "numbered", "packed",  "copied",
                                         "copied and packed", "deleted",  "replaced"};

/* Lines from here on stand in another file than those before. */
struct mark {
    unsigned line;
    unsigned deaths; /* of the collector, before */
    bool unseen;     /* no collector was there, or only just */
};

/* tmpfs tells births by a clock that stands still for milliseconds, in which much happens here. */
struct birth {
    uint64_t inode;
    int64_t at_ns;
};

struct asked {
    nng_msg *message;
    sl_client_answered *answered;
    void *arg;
    bool judged; /* the broker has had it */
};

struct sl_client {
    struct sl_client_options options;
};

static struct {
    char root[64];
    char spec[PATH_ROOM];
    unsigned seed;
    bool restless;  /* the other side may act between any two calls */
    bool same_tick; /* the folder is watched in the tick of the kernel's clock in which its last file was made
                     */
    bool inside;    /* it does */
    int64_t now_ns;
    /* the writer */
    enum kind kind;
    unsigned written, turned, kept, lines_most;
    int fd;
    bool removes; /* the folder may be removed at any moment */
    bool removed;
    struct mark marks[MARKS_MAX];
    unsigned mark_count;
    struct birth births[BIRTHS_MAX];
    unsigned birth_count;
    /* the broker */
    struct sl_source_place places[PLACES_MAX];
    size_t place_count;
    uint32_t lines[LINES_MAX];
    uint32_t line_count, gaps;
    uint32_t gap_places[LINES_MAX];   /* how many lines came before it */
    uint32_t ended_lines, ended_gaps; /* what had come when the end was said */
    unsigned refuses;                 /* one of so many blocks; 0: none */
    bool ended;
    bool stalled; /* it does not answer */
    struct asked asked[ASKED_MAX];
    size_t asked_count;
    struct sl_client client;
    /* the collector */
    struct collector_options options;
    struct collector c;
    unsigned deaths;
    int64_t started_ns;
    bool up, connected;
    bool ran; /* since it was started */
    struct {
        unsigned opens, reads, stats, listings;
    } calls;
} w;

static inline unsigned dice(unsigned sides)
{
    w.seed = w.seed * 1664525u + 1013904223u;
    return (w.seed >> 8) % sides;
}

/* ---- the clock ---- */

int64_t __wrap_sl_now_ns(void);
int64_t __wrap_sl_monotonic_ns(void);
int64_t __wrap_sl_now_ns(void)
{
    return w.now_ns + INT64_C(4000000000) * SL_NS_PER_S; /* no file is as young as to be distrusted */
}
int64_t __wrap_sl_monotonic_ns(void)
{
    return w.now_ns;
}

/* ---- the writer ---- */

static inline void world_turn(unsigned ms);

/* Between two calls of the writer: the collector may act. */
static inline void trace(const char *format, ...)
{
    va_list list;
    if (!getenv("TRACE"))
        return;
    va_start(list, format);
    printf("%9.3f ", (double)(w.now_ns - 1000 * SL_NS_PER_S) / 1e9);
    vprintf(format, list);
    va_end(list);
    puts("");
}

static inline void breathe(void)
{
    if (!w.restless || w.inside || dice(8) != 0)
        return;
    w.inside = true;
    world_turn(dice(3));
    w.inside = false;
}

static inline const char *path_of(const char *suffix)
{
    static char paths[4][PATH_ROOM];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, PATH_ROOM, "%s/box/main.log%s", w.root, suffix);
    return path;
}

static inline const char *suffix_of_number(unsigned n, const char *ending)
{
    static char texts[4][32];
    static unsigned next;
    char *text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], w.kind == STAMPED ? ".20261120-%06u%s" : ".%u%s", n, ending);
    return text;
}

static inline int64_t birth_ns(unsigned number)
{
    return (INT64_C(4000001000) + number) * SL_NS_PER_S;
}

static inline void born(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(w.birth_count < BIRTHS_MAX);
    w.births[w.birth_count] = (struct birth){.inode = st.st_ino, .at_ns = birth_ns(w.birth_count + 1)};
    w.birth_count++;
}

/* What is written from here on is in another file. */
static inline void mark(void)
{
    assert_true(w.mark_count < MARKS_MAX);
    w.marks[w.mark_count++] =
        (struct mark){.line = w.written,
                      .deaths = w.deaths,
                      .unseen = !w.up || !w.ran || w.now_ns - w.started_ns < 400 * SL_NS_PER_MS};
}

static inline void writer_reopen(void)
{
    mark();
    if (w.fd >= 0)
        close(w.fd);
    w.fd = open(path_of(""), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(w.fd >= 0);
    born(w.fd);
    breathe();
}

static inline void writer_write(unsigned count)
{
    char text[512];
    if (w.removed)
        return;
    for (unsigned i = 0; i < count; i++) {
        int pad = (int)dice(w.lines_most);
        int n = snprintf(text, sizeof text, "%08u %.*s\n", w.written, pad,
                         "as programs have it: the quick brown fox jumps over the lazy dog, again and again, "
                         "until it is told to stop; which is not to be had for a song, nor for a dance");
        w.written++;
        assert_int_equal(write(w.fd, text, (size_t)n), n);
    }
    breathe();
}

static inline void writer_copy(const char *from, const char *to, bool pack)
{
    char data[4096];
    ssize_t n;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    born(out);
    gzFile gz = pack ? gzdopen(dup(out), "w") : NULL;
    breathe();
    while ((n = read(in, data, dice(2) ? 100 : sizeof data)) > 0) {
        if (gz)
            assert_int_equal(gzwrite(gz, data, (unsigned)n), n);
        else
            assert_int_equal(write(out, data, (size_t)n), n);
        breathe();
    }
    if (gz)
        assert_int_equal(gzclose(gz), Z_OK);
    close(in);
    close(out);
    breathe();
}

static inline bool writer_move(const char *from, const char *to)
{
    if (rename(from, to) != 0)
        return false;
    breathe();
    return true;
}

static inline void writer_rotate(void)
{
    struct stat st;
    if (w.removed)
        return;
    w.turned++;
    trace("rotate %u at line %u", w.turned, w.written);
    if (w.kind == DELETED) {
        unlink(path_of(""));
        breathe();
        writer_reopen();
        return;
    }
    if (w.kind == REPLACED) {
        mark();
        close(w.fd);
        w.fd = open(path_of(".new"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        assert_true(w.fd >= 0);
        born(w.fd);
        breathe();
        assert_true(writer_move(path_of(".new"), path_of("")));
        return;
    }
    if (w.kind == STAMPED) {
        writer_move(path_of(""), path_of(suffix_of_number(w.turned, "")));
        if (w.turned > w.kept)
            unlink(path_of(suffix_of_number(w.turned - w.kept, "")));
        writer_reopen();
        return;
    }
    for (unsigned n = w.turned < w.kept ? w.turned : w.kept; n > 0; n--) {
        if (!writer_move(path_of(suffix_of_number(n, "")), path_of(suffix_of_number(n + 1, ""))))
            writer_move(path_of(suffix_of_number(n, ".gz")), path_of(suffix_of_number(n + 1, ".gz")));
    }
    if (w.kind == PACKED && stat(path_of(".2"), &st) == 0) {
        unlink(path_of(".2.gz")); /* it was not moved where only one is kept */
        breathe();
        writer_copy(path_of(".2"), path_of(".2.gz"), true);
        unlink(path_of(".2"));
        breathe();
    }
    if (w.kind == COPIED || w.kind == COPIED_PACKED) {
        writer_copy(path_of(""), path_of(".1"), false);
        trace("truncate at line %u", w.written);
        assert_int_equal(ftruncate(w.fd, 0), 0);
        mark();
        breathe();
        if (w.kind == COPIED_PACKED) {
            writer_copy(path_of(".1"), path_of(".1.gz"), true);
            unlink(path_of(".1"));
            breathe();
        }
    } else {
        writer_move(path_of(""), path_of(".1"));
        writer_reopen();
    }
}

/* The sandbox's folder, file by file. */
static inline void writer_remove(void)
{
    char folder[PATH_ROOM];
    struct dirent *e;
    if (w.removed)
        return;
    w.removed = true;
    trace("remove at line %u", w.written);
    snprintf(folder, sizeof folder, "%s/box", w.root);
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.')
            continue;
        assert_int_equal(unlinkat(dirfd(dir), e->d_name, 0), 0);
        breathe();
    }
    closedir(dir);
    assert_int_equal(rmdir(folder), 0);
    breathe();
}

/* ---- what is counted, and where the other side may act ---- */

static inline void between(void)
{
    if (!w.restless || w.inside || dice(40) != 0)
        return;
    w.inside = true;
    if (w.removes && dice(200) == 0)
        writer_remove();
    else if (dice(3) ||
             w.turned > TURNS_MOST) /* a chain makes as many looks as it has names, each a chance */
        writer_write(1 + dice(3));
    else
        writer_rotate();
    w.inside = false;
}

ssize_t __real_pread(int fd, void *out, size_t bytes, off_t at);
ssize_t __wrap_pread(int fd, void *out, size_t bytes, off_t at);
ssize_t __wrap_pread(int fd, void *out, size_t bytes, off_t at)
{
    w.calls.reads++;
    between();
    return __real_pread(fd, out, bytes, at);
}
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    bool proc = strncmp(path, "/proc/", 6) == 0;
    w.calls.opens += proc;
    if (proc)
        between();
    return __real_open(path, flags, 0600);
}

int __real_statx(int fd, const char *path, int flags, unsigned mask, struct statx *ret);
int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *ret);
int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *ret)
{
    w.calls.stats++;
    between();
    int r = __real_statx(fd, path, flags, mask, ret);
    if (r == 0 && S_ISDIR(ret->stx_mode))
        ret->stx_ctime = (struct statx_timestamp){.tv_sec = birth_ns(w.birth_count) / SL_NS_PER_S,
                                                  .tv_nsec = !w.same_tick};
    for (unsigned i = w.birth_count; r == 0 && i > 0; i--) {
        if (w.births[i - 1].inode != ret->stx_ino)
            continue;
        ret->stx_btime = (struct statx_timestamp){.tv_sec = w.births[i - 1].at_ns / SL_NS_PER_S};
        break;
    }
    return r;
}
void *__real_fdopendir(int fd);
void *__wrap_fdopendir(int fd);
void *__wrap_fdopendir(int fd)
{
    w.calls.listings++;
    between();
    return __real_fdopendir(fd);
}

/* ---- the broker ---- */

static inline struct sl_source_place *place_of(const uint8_t key[16])
{
    for (size_t i = 0; i < w.place_count; i++)
        if (memcmp(w.places[i].source.key, key, 16) == 0)
            return &w.places[i];
    return NULL;
}

static inline uint8_t judge_range(const struct sl_source_range *range, bool close)
{
    const struct sl_source_place *at = place_of(range->source.key);
    if (!at || range->source.incarnation > at->source.incarnation)
        return range->from == 0 ? SL_TAKEN : SL_ELSEWHERE;
    if (range->source.incarnation < at->source.incarnation)
        return SL_ELSEWHERE;
    if (range->from == at->offset && (range->to > range->from || (close && !(at->flags & SL_SOURCE_CLOSED))))
        return SL_TAKEN;
    return range->to <= at->offset ? SL_ALREADY : SL_ELSEWHERE;
}

static inline void take_range(const struct sl_source_range *range, uint64_t open_from, bool close)
{
    struct sl_source_place *at = place_of(range->source.key);
    if (!at) {
        assert_true(w.place_count < PLACES_MAX);
        at = &w.places[w.place_count++];
        *at = (struct sl_source_place){0};
    }
    at->source = range->source;
    at->offset = range->to;
    at->open_from = open_from;
    at->flags = close ? SL_SOURCE_CLOSED : 0;
}

static inline void take_lines(struct sl_slice block, const struct sl_block_header *h)
{
    struct sl_block_lines it;
    struct sl_line line;
    uint8_t *scratch = malloc(h->raw_bytes + 1);
    assert_int_equal(sl_block_lines_open(&it, block, h, scratch, h->raw_bytes), 0);
    while (sl_block_lines_next(&it, &line)) {
        char number[9] = {0};
        assert_true(line.text.bytes >= 9 && !line.partial && w.line_count < LINES_MAX);
        memcpy(number, line.text.data, 8);
        w.lines[w.line_count++] = (uint32_t)atol(number);
    }
    free(scratch);
}

static inline struct sl_append_verdict judge(uint8_t kind, struct sl_slice item)
{
    struct sl_append_verdict v = {.verdict = SL_TAKEN};
    struct sl_block_header h;
    struct sl_change change;
    if (kind == SL_RECORD_CHANGE) {
        struct sl_reader r = sl_reader(item);
        assert_int_equal(sl_change_decode(&r, &change), 0);
        if (change.fields & SL_CHANGE_STATE && change.state == SL_STOPPED) {
            trace("stopped");
            w.ended = true;
            w.ended_lines = w.line_count;
            w.ended_gaps = w.gaps;
        }
        return v;
    }
    assert_int_equal(sl_block_check(item, &h), SL_BLOCK_OK);
    bool close = h.flags & SL_BLOCK_CLOSE;
    if (w.refuses && dice(w.refuses) == 0) {
        v.verdict = SL_REFUSED;
        return v;
    }
    v.verdict = judge_range(&h.range, close);
    if (v.verdict == SL_TAKEN && h.flags & SL_BLOCK_ALSO) {
        uint8_t also = judge_range(&h.also, true);
        const struct sl_source_place *at = place_of(h.also.source.key);
        if (also != SL_TAKEN && !(at && at->offset == h.also.from && h.also.to == h.also.from))
            v.verdict = SL_ELSEWHERE;
    }
    if (v.verdict != SL_TAKEN)
        return v;
    take_range(&h.range, h.open_from, close);
    place_of(h.range.source.key)->fingerprint = h.fingerprint;
    place_of(h.range.source.key)->fingerprint_bytes = h.fingerprint_bytes;
    if (h.flags & SL_BLOCK_ALSO)
        take_range(&h.also, h.also.to, false);
    if (h.flags & SL_BLOCK_GAP)
        w.gap_places[w.gaps++] = w.line_count;
    trace(
        "taken: source %02x%02x/%u %llu..%llu open_from %llu lines %u first %u flags %u fp %u also %02x%02x",
        h.range.source.key[0], h.range.source.key[1], h.range.source.incarnation,
        (unsigned long long)h.range.from, (unsigned long long)h.range.to, (unsigned long long)h.open_from,
        h.lines, w.line_count, h.flags, h.fingerprint_bytes, h.also.source.key[0], h.also.source.key[1]);
    if (h.lines > 0)
        take_lines(item, &h);
    if (h.lines > 0)
        trace("   %u..%u", w.lines[w.line_count - h.lines], w.lines[w.line_count - 1]);
    return v;
}

static inline void judge_message(struct sl_reader *body, struct sl_writer *answer)
{
    uint8_t kind;
    struct sl_slice item;
    sl_append_answer_begin(answer, 0);
    while (sl_append_item_next(body, &kind, &item)) {
        struct sl_append_verdict v = judge(kind, item);
        sl_append_verdict_write(answer, &v);
    }
}

static inline void tell_places(struct sl_reader *body, struct sl_writer *answer)
{
    struct sl_slice id;
    while (sl_id_next(body, &id)) {
        sl_sources_write(answer, id, (uint32_t)w.place_count);
        for (size_t i = 0; i < w.place_count; i++)
            sl_source_place_write(answer, &w.places[i]);
    }
}

/* Answers the first that was asked; `fault`: it is lost, done or not. */
static inline void broker_answer(int fault, bool done)
{
    static uint8_t room[1 << 20];
    struct asked a = w.asked[0];
    struct sl_writer answer = sl_writer(room, sizeof room);
    struct sl_reader body = sl_reader(sl_slice(nng_msg_body(a.message), nng_msg_len(a.message)));
    struct sl_message_head head;
    assert_int_equal(sl_message_open(&body, &head), 0);
    memmove(w.asked, w.asked + 1, --w.asked_count * sizeof *w.asked);
    if (head.type == SL_APPEND && done)
        judge_message(&body, &answer);
    else if (head.type == SL_SOURCES && !fault)
        tell_places(&body, &answer);
    else if (head.type == SL_MINE && !fault) {
        sl_mine_answer_begin(&answer, 0);
        if (w.place_count > 0 && !w.ended)
            sl_id_write(&answer, sl_slice_of("box"));
    }
    assert_false(answer.failed);
    nng_msg_free(a.message);
    if (head.type == SL_NOTICES && !fault)
        return; /* it never has any */
    head.status = SL_STATUS_OK;
    struct sl_reader reader = sl_reader(sl_slice(room, answer.bytes));
    a.answered(a.arg, fault, fault ? NULL : &head, fault ? NULL : &reader);
}

int sl_client_new(const struct sl_client_options *options, struct sl_client **ret)
{
    w.client.options = *options;
    *ret = &w.client;
    return 0;
}
void sl_client_free(struct sl_client *client)
{
    (void)client;
    for (size_t i = 0; i < w.asked_count; i++)
        nng_msg_free(w.asked[i].message);
    w.asked_count = 0;
}
void sl_client_set_keys(struct sl_client *client, struct sl_link_keys *keys)
{
    (void)client, (void)keys;
}
int sl_client_fd(const struct sl_client *client)
{
    (void)client;
    return -1;
}
void sl_client_run(struct sl_client *client)
{
    (void)client;
}
int sl_client_message_new(uint8_t type, size_t capacity, nng_msg **ret, struct sl_writer *ret_w)
{
    assert_int_equal(nng_msg_alloc(ret, SL_MESSAGE_HEAD_BYTES + capacity), 0);
    const struct sl_message_head head = {.type = type, .id = 1};
    *ret_w = sl_writer(nng_msg_body(*ret), nng_msg_len(*ret));
    sl_message_begin(ret_w, &head);
    return 0;
}
void sl_client_ask(struct sl_client *client, nng_msg *request, const struct sl_writer *writer,
                   int64_t timeout_ms, sl_client_answered *answered, void *arg)
{
    (void)client, (void)timeout_ms;
    nng_msg_chop(request, nng_msg_len(request) - writer->bytes);
    assert_true(w.asked_count < ASKED_MAX);
    w.asked[w.asked_count++] = (struct asked){.message = request, .answered = answered, .arg = arg};
}

/* ---- the collector ---- */

static inline void told_of_connection(void *arg, bool now, uint64_t epoch, const char *why)
{
    (void)why;
    struct collector *c = arg;
    if (now)
        places_wanted(c, epoch);
}

static inline int block_taken(void *arg, struct file *f, struct file *also, struct sl_block_builder *lines,
                              const struct sl_block_header *facts)
{
    struct collector *c = arg;
    return ship_block(c->ship, f, also, lines, facts);
}

static inline void broker_connects(void)
{
    trace("broker connects");
    w.connected = true;
    if (w.up)
        w.client.options.changed(w.client.options.arg, true, 1, NULL);
}

/* What is under way is lost: the first `done` of it were done all the same. */
static inline void broker_goes(unsigned done)
{
    w.connected = false;
    trace("broker goes, %u of %zu done", done, w.asked_count);
    if (!w.up)
        return;
    w.client.options.changed(w.client.options.arg, false, 0, "test");
    for (size_t n = w.asked_count; n > 0; n--, done -= done > 0)
        broker_answer(-ECONNRESET, done > 0);
}

static inline void collector_start(void)
{
    trace("start");
    const char *why;
    struct collector *c = &w.c;
    *c = (struct collector){.options = &w.options};
    const struct pack_sink sink = {.block = block_taken, .attrs = ends_attrs, .arg = c};
    assert_int_equal(fleet_init(&c->fleet, 4000), 0);
    assert_int_equal(pack_init(&c->pack, &c->fleet, &sink, 1 << 20, 1 << 20), 0);
    const struct watch_events seen = {.name = finder_name,
                                      .look = finder_look,
                                      .missed = finder_missed,
                                      .lost = arrivals_lost,
                                      .told = finder_told,
                                      .arg = c};
    c->patterns = calloc(1, sizeof *c->patterns);
    assert_int_equal(pattern_parse(w.spec, c->patterns, &why), 0);
    c->pattern_count = 1;
    assert_int_equal(watch_new(c->patterns, 1, &seen, &c->watch), 0);
    const struct ship_options options = {.host = "here"};
    const struct ship_events events = {.connected = told_of_connection,
                                       .places = places_known,
                                       .answered = turns_answered,
                                       .ended = ends_said,
                                       .stop = ends_stop,
                                       .mine = ends_mine,
                                       .buried = turns_buried,
                                       .arg = c};
    assert_int_equal(ship_new(&options, &c->fleet, &events, &c->ship), 0);
    w.up = true;
    w.ran = false;
    if (w.connected)
        broker_connects();
}

/* As a kill does: of what is under way the first `done` requests arrive. */
static inline void collector_dies(unsigned done)
{
    struct collector *c = &w.c;
    if (!w.up)
        return;
    trace("dies, %u of %zu done", done, w.asked_count);
    w.up = false;
    w.deaths++;
    for (; done > 0 && w.asked_count > 0; done--)
        broker_answer(-ECONNRESET, true);
    while (w.asked_count > 0) /* gives back what a killed process would not have to */
        broker_answer(-ECONNRESET, false);
    ship_free(c->ship);
    fleet_fini(&c->fleet);
    watch_free(c->watch);
    pack_fini(&c->pack);
    pattern_fini(c->patterns);
    free(c->patterns);
}

/* One round of the loop, `ms` later. */
static inline void world_turn(unsigned ms)
{
    struct collector *c = &w.c;
    w.now_ns += (int64_t)ms * SL_NS_PER_MS;
    if (!w.up)
        return;
    bool outer = w.inside;
    if (!w.ran)
        w.started_ns = w.now_ns;
    w.ran = true;
    while (watch_run(c->watch))
        ;
    watch_tick(c->watch, w.now_ns);
    turns_timers(c, w.now_ns);
    if (w.removes)
        ends_left(c, w.now_ns);
    ship_run(c->ship);
    ship_sync(c->ship);
    for (int i = 0; i < 64 && c->fleet.ready_first && ship_wants(c->ship, c->deep); i++) {
        while (watch_run(c->watch))
            ;
        struct sandbox *s = fleet_next_ready(&c->fleet);
        c->deep = false;
        if (turns_take(c, s))
            fleet_ready(&c->fleet, s);
        ship_flush(c->ship);
    }
    /* answers come in order, and now and then later */
    while (w.connected && !w.stalled && w.asked_count > 0 && (!w.restless || dice(6)))
        broker_answer(0, true);
    w.inside = outer;
}

static inline void world_begin(unsigned seed, enum kind kind)
{
    memset(&w, 0, sizeof w);
    strcpy(w.root,
           access("/dev/shm", W_OK) == 0 ? "/dev/shm/collector-world-XXXXXX" : "/tmp/collector-world-XXXXXX");
    assert_non_null(mkdtemp(w.root));
    trace("in %s", w.root);
    snprintf(w.spec, sizeof w.spec, "plain:%s/{sandbox}/*.log", w.root);
    w.options = (struct collector_options){.host = "here"};
    char folder[PATH_ROOM];
    snprintf(folder, sizeof folder, "%s/box", w.root);
    assert_int_equal(mkdir(folder, 0700), 0);
    w.seed = seed;
    w.kind = kind;
    w.kept = 1000;
    w.lines_most = 150;
    w.fd = -1;
    w.now_ns = INT64_C(1000) * SL_NS_PER_S;
    w.connected = true;
    writer_reopen();
}

static inline void world_end(void)
{
    char command[PATH_ROOM];
    collector_dies(0);
    close(w.fd);
    snprintf(command, sizeof command, "rm -rf %s", w.root);
    assert_int_equal(system(command), 0);
}

/* Everything that can happen by itself has happened. */
static inline void world_rest(void)
{
    w.restless = w.stalled = false;
    if (!w.up)
        collector_start();
    if (!w.connected)
        broker_connects();
    for (int i = 0; i < 400; i++)
        world_turn(100);
}

/* What the collector knows, for who looks into a failure. */
static inline void tell(void)
{
    static const char *const states[] = {"unplaced", "reading", "done", "copy", "buried"};
    for (struct sandbox *s = fleet_find(&w.c.fleet, sl_slice_of("box")); s; s = NULL) {
        printf("sync %u broken %d in flight %u end %u\n", s->sync, s->broken, s->in_flight, s->end);
        for (const struct log *log = s->logs; log; log = log->sandbox_next)
            for (const struct file *f = log->files; f; f = f->next)
                printf("%-20s %s inode %llu at %llu sent %llu acked %llu size %llu fd %d%s%s%s%s\n",
                       f->name ? f->name : "-", states[f->state], (unsigned long long)f->identity.inode,
                       (unsigned long long)f->at, (unsigned long long)f->sent, (unsigned long long)f->acked,
                       (unsigned long long)f->size, f->fd, f->dirty ? " dirty" : "",
                       f->borrowed ? " borrowed" : "", f->known ? " known" : "", f->closed ? " closed" : "");
    }
}

static inline void all_lines_came(const char *what)
{
    bool same = w.line_count == w.written && w.gaps == 0;
    for (uint32_t i = 0; same && i < w.line_count; i++)
        same = w.lines[i] == i;
    if (!same)
        tell();
    for (uint32_t i = 0; i < w.line_count && i < w.written; i++)
        if (w.lines[i] != i)
            fail_msg("%s: place %u of %u has line %u (then %u, %u)", what, i, w.written, w.lines[i],
                     i + 1 < w.line_count ? w.lines[i + 1] : 0, i + 2 < w.line_count ? w.lines[i + 2] : 0);
    if (w.line_count != w.written || w.gaps != 0)
        fail_msg("%s: %u lines and %u gaps of %u", what, w.line_count, w.gaps, w.written);
}
