// SPDX-License-Identifier: Apache-2.0
/*
 * A whole collector in one thread, without a program: the real finder, order, places, turns and ship, a real
 * folder, a clock that is played, and a made-up broker that judges blocks as the real one does. A writer
 * writes numbered lines and turns its file in one of the ways that runtimes have; what happens between two
 * calls of the kernel, on either side, is the dice's (`restless`). The linker puts __wrap_ in the place of
 * the clocks and of what opens and reads files; see CMakeLists.txt.
 */
#pragma once
#include "collector_broker.h"
#include "collector_writer.h"

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
                                      .unchanged = tail_unchanged,
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

/* One of the steps that every life has, by the dice. */
static inline void world_step(unsigned number)
{
    switch (number) {
    case 1:
    case 2:
        if (!w.up)
            collector_start();
        break;
    case 3:
        if (w.connected)
            broker_goes(dice(3));
        break;
    case 4:
    case 5:
        if (!w.connected)
            broker_connects();
        break;
    case 6:
    case 7:
        writer_rotate();
        break;
    case 8:
        world_turn(dice(2) ? dice(30) : dice(8000));
        break;
    default:
        writer_write(1 + dice(10));
        world_turn(dice(10));
    }
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
