// SPDX-License-Identifier: Apache-2.0
/* The loop, and what the outside sees of it. */
#include "collector.h"
#include "wire/diagnostics.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILES_KEPT_FREE = 64, TURNS_A_ROUND = 4096 };
static const int64_t TICK_NS = INT64_C(100) * SL_NS_PER_MS;
static const int64_t PUBLISH_NS = SL_NS_PER_S;
static const int64_t GOODBYE_NS = INT64_C(3) * SL_NS_PER_S;

static void connected(void *arg, bool now, uint64_t epoch, const char *why)
{
    struct collector *c = arg;
    sl_gauge_set(&c->counts.connected, now);
    if (!now) {
        char shown[256];
        sl_log(SL_WARNING, "broker.lost", "why=%s",
               sl_log_value(sl_slice_of(why ? why : ""), shown, sizeof shown));
        return;
    }
    sl_log(SL_INFORM, "broker.connected", "epoch=%016llx", (unsigned long long)epoch);
    places_wanted(c, epoch);
}

static int take_block(void *arg, struct file *f, struct file *also, struct sl_block_builder *lines,
                      const struct sl_block_header *facts)
{
    struct collector *c = arg;
    return ship_block(c->ship, f, also, lines, facts);
}

/* ---- metrics ---- */

static void register_counts(struct collector *c, struct sl_metrics *m)
{
    struct counts *n = &c->counts;
    sl_metrics_counter(m, "lines_total", NULL, "Lines handed to the broker.", &n->lines);
    sl_metrics_counter(m, "read_bytes_total", NULL, "Bytes of log files read.", &n->bytes);
    sl_metrics_counter(m, "blocks_total", NULL, "Blocks made.", &n->blocks);
    sl_metrics_counter(m, "malformed_records_total", NULL,
                       "Records that were not of their format, kept whole as lines.", &n->malformed);
    sl_metrics_counter(m, "rotations_total", NULL, "Files that lost their log's name to a newer one.",
                       &n->rotations);
    sl_metrics_counter(m, "truncations_total", NULL, "Files found shorter or begun anew.", &n->truncations);
    sl_metrics_counter(m, "requests_total", NULL, "Requests to the broker.", &n->requests);
    sl_metrics_counter(m, "sent_bytes_total", NULL, "Bytes of these requests.", &n->sent_bytes);
    sl_metrics_counter(m, "resends_total", NULL, "Times a file was read again from where the broker stands.",
                       &n->resends);
    sl_metrics_counter(m, "refused_blocks_total", NULL, "Blocks that the broker did not take.", &n->refused);
    sl_metrics_counter(m, "refused_files_total", NULL,
                       "Files not opened: symlinks, no regular files, more than one link.",
                       &n->files_refused);
    sl_metrics_counter(m, "invalid_ids_total", NULL, "Files skipped because their sandbox id is not valid.",
                       &n->ids_invalid);
    static const char *const labels[] = {[SL_GAP_RETENTION] = "reason=\"retention\"",
                                         [SL_GAP_SOURCE_VANISHED] = "reason=\"source-vanished\"",
                                         [SL_GAP_SOURCE_TRUNCATED] = "reason=\"source-truncated\"",
                                         [SL_GAP_DAMAGED] = "reason=\"damaged\""};
    for (int i = SL_GAP_SOURCE_VANISHED; i <= SL_GAP_DAMAGED; i++)
        sl_metrics_counter(m, "gaps_total", labels[i], "Gap records by reason.", &n->gaps[i]);
    sl_metrics_counter(m, "watch_overflows_total", NULL, "Overflows of the inotify queue.", &n->overflows);
    sl_metrics_counter(m, "swept_folders_total", NULL, "Folders looked at by the sweep.", &n->swept);
    sl_metrics_gauge(m, "open_files", NULL, "Log files held open.", &n->open_files);
    sl_metrics_gauge(m, "files", NULL, "Log files known.", &n->files);
    sl_metrics_gauge(m, "sandboxes", NULL, "Sandboxes known.", &n->sandboxes);
    sl_metrics_gauge(m, "folders", NULL, "Folders looked after.", &n->folders);
    sl_metrics_gauge(m, "unwatched_folders", NULL, "Of them without an inotify watch: swept only.",
                     &n->folders_unwatched);
    sl_metrics_gauge(m, "lag_bytes", NULL, "Bytes of log files seen and not yet acknowledged.",
                     &n->lag_bytes);
    sl_metrics_gauge(m, "lag_seconds", NULL,
                     "Longest time that a file has been waiting to be read to its end.", &n->lag_seconds);
    sl_metrics_gauge(m, "held_bytes", NULL, "Memory of lines whose end has not come.", &n->held_bytes);
    sl_metrics_gauge(m, "in_flight_requests", NULL, "Requests without answer.", &n->in_flight);
    sl_metrics_gauge(m, "connected", NULL, "1 while a broker answers.", &n->connected);
    sl_metrics_histogram(m, "append_latency_seconds", NULL, "From a request to its answer, durable.",
                         &ship_counts(c->ship)->latency);
}

static void raise_to(struct sl_counter *counter, uint64_t value)
{
    atomic_store_explicit(&counter->value, value, memory_order_relaxed);
}

/* Not with all quiet: a walk over 100,000 files takes 5 ms. Whatever makes a file grow makes its sandbox
 * ready and has its turn. */
static void measure_lag(struct collector *c, int64_t now_ns)
{
    bool quiet = !c->turned && !c->fleet.ready_first && ship_in_flight(c->ship) == 0;
    if (quiet && atomic_load(&c->counts.lag_bytes.value) == 0)
        return;
    c->turned = false;
    uint64_t bytes = 0;
    int64_t oldest_ns = now_ns;
    for (size_t i = 0; i <= c->fleet.logs.mask; i++) {
        for (struct table_node *n = c->fleet.logs.buckets[i]; n; n = n->next) {
            for (struct file *f = table_owner(n, struct log, by_name)->files; f; f = f->next) {
                if (f->state == FILE_COPY || f->state == FILE_BURIED)
                    continue;
                if (f->size > f->acked)
                    bytes += f->size - f->acked;
                if (f->behind_ns && f->size > f->acked && f->behind_ns < oldest_ns)
                    oldest_ns = f->behind_ns;
            }
        }
    }
    sl_gauge_set(&c->counts.lag_bytes, (int64_t)bytes);
    sl_gauge_set(&c->counts.lag_seconds, (now_ns - oldest_ns) / SL_NS_PER_S);
}

/* Once, when the kernel has no watches left; a folder that is just going may have none for a moment. */
static void tell_unwatched(struct collector *c, uint64_t folders)
{
    c->unwatched_rounds = folders ? c->unwatched_rounds + 1 : 0;
    if (c->unwatched_rounds == 2)
        sl_log(
            SL_WARNING, "watch.none_left", "folders=%llu why=%s", (unsigned long long)folders,
            "\"no inotify watch for them (fs.inotify.max_user_watches): they are swept, which is slower\"");
}

static void publish(struct collector *c, struct sl_ops *ops, int64_t now_ns)
{
    struct counts *n = &c->counts;
    struct watch_counts watched;
    const struct ship_counts *shipped = ship_counts(c->ship);
    watch_counts(c->watch, &watched);
    raise_to(&n->lines, c->pack.lines);
    raise_to(&n->bytes, c->pack.bytes);
    raise_to(&n->blocks, c->pack.blocks);
    raise_to(&n->malformed, c->pack.malformed);
    raise_to(&n->requests, shipped->requests);
    raise_to(&n->sent_bytes, shipped->bytes);
    raise_to(&n->resends, shipped->resends);
    raise_to(&n->refused, shipped->refused);
    raise_to(&n->overflows, watched.overflows);
    raise_to(&n->swept, watched.sweeps);
    sl_gauge_set(&n->open_files, (int64_t)c->fleet.open_files);
    sl_gauge_set(&n->files, (int64_t)c->fleet.file_count);
    sl_gauge_set(&n->sandboxes, (int64_t)c->fleet.sandboxes.count);
    sl_gauge_set(&n->folders, (int64_t)watched.folders);
    sl_gauge_set(&n->folders_unwatched, (int64_t)watched.unwatched);
    tell_unwatched(c, watched.unwatched);
    sl_gauge_set(&n->held_bytes, (int64_t)c->fleet.held_bytes);
    sl_gauge_set(&n->in_flight, ship_in_flight(c->ship));
    measure_lag(c, now_ns);
    char *configuration = sl_options_json(&collector_program), *status = NULL;
    if (asprintf(&status,
                 "{\"daemon\":\"collector\",\"version\":\"" SL_VERSION
                 "\",\"connected\":%s,\"sandboxes\":%zu,\"files\":%llu,\"open_files\":%zu,"
                 "\"lines\":%llu,\"lag_bytes\":%lld,\"unwatched_folders\":%llu,\"configuration\":%s}\n",
                 ship_connected(c->ship) ? "true" : "false", c->fleet.sandboxes.count,
                 (unsigned long long)c->fleet.file_count, c->fleet.open_files,
                 (unsigned long long)c->pack.lines, (long long)atomic_load(&n->lag_bytes.value),
                 (unsigned long long)watched.unwatched, configuration ? configuration : "{}") < 0)
        status = NULL;
    free(configuration);
    if (status)
        sl_ops_set_status(ops, status);
    free(status);
}

/* ---- the loop ---- */

/* Turns until a request is full and gone, or nobody has more. */
static void round_of_turns(struct collector *c)
{
    struct sandbox *last = c->fleet.ready_last;
    bool deep = false;
    c->deep = false;
    for (int i = 0; i < TURNS_A_ROUND && c->fleet.ready_first; i++) {
        unsigned before = ship_in_flight(c->ship);
        struct sandbox *s = fleet_next_ready(&c->fleet);
        c->turned = true;
        bool was_last = s == last;
        if (turns_take(c, s))
            fleet_ready(&c->fleet, s);
        deep = deep || c->deep;
        if (ship_in_flight(c->ship) > before)
            break; /* look at the outside between two requests */
        if (was_last) {
            if (!deep)
                break;
            last = c->fleet.ready_last;
            deep = false;
        }
    }
    ship_flush(c->ship);
    c->deep = c->fleet.ready_first && deep;
}

static bool settled(const struct collector *c)
{
    return ship_in_flight(c->ship) == 0;
}

static int read_keys(const struct collector_options *o, struct sl_link_keys **ret,
                     char why[SL_LINK_WHY_BYTES])
{
    int answer = sl_link_keys_read(&o->files, false, o->brokers.items, o->brokers.count, ret, why);
    if (answer < 0)
        snprintf(why, SL_LINK_WHY_BYTES, "%s", strerror(-answer));
    return answer;
}

/* Secret and certificates anew; what can't be read leaves the old ones in force. */
static void reload(struct collector *c)
{
    struct sl_link_keys *keys;
    char why[SL_LINK_WHY_BYTES], shown[2 * SL_LINK_WHY_BYTES];
    sl_notify("RELOADING=1");
    if (read_keys(c->options, &keys, why) == 0) {
        ship_set_keys(c->ship, keys);
        sl_link_keys_unref(keys);
        sl_log(SL_INFORM, "reload", "what=link-keys");
    } else {
        sl_log(SL_ERROR, "reload.failed", "what=link-keys why=%s",
               sl_log_value(sl_slice_of(why), shown, sizeof shown));
    }
    sl_notify("READY=1");
}

static void loop(struct collector *c, struct sl_ops *ops, int signals_fd)
{
    struct pollfd fds[] = {{.fd = signals_fd, .events = POLLIN},
                           {.fd = watch_fd(c->watch), .events = POLLIN},
                           {.fd = ship_fd(c->ship), .events = POLLIN}};
    int64_t tick_ns = 0, publish_ns = 0, goodbye_ns = 0;
    bool more_events = false, was_connected = true;
    for (;;) {
        int64_t now_ns = sl_monotonic_ns();
        bool work = !goodbye_ns && c->fleet.ready_first && ship_wants(c->ship, c->deep);
        int64_t wait_ns = tick_ns - now_ns;
        int timeout_ms = work || more_events || wait_ns <= 0 ? 0 : (int)(wait_ns / SL_NS_PER_MS) + 1;
        int n = poll(fds, 3, timeout_ms);
        if (n < 0 && errno != EINTR)
            return;
        int signal;
        while ((signal = sl_signals_next(signals_fd)) != 0) {
            if (signal == SIGHUP) {
                reload(c);
            } else if (!goodbye_ns) {
                sl_notify("STOPPING=1");
                goodbye_ns = now_ns + GOODBYE_NS;
            }
        }
        more_events = (tick_ns <= now_ns || (n > 0 && fds[1].revents)) && watch_run(c->watch);
        if (tick_ns <= now_ns) {
            int64_t due_ns = watch_tick(c->watch, now_ns);
            turns_timers(c, now_ns);
            ends_left(c, now_ns);
            tick_ns = due_ns < now_ns + TICK_NS ? due_ns : now_ns + TICK_NS;
            ship_run(c->ship);
        } else if (n > 0 && fds[2].revents) {
            ship_run(c->ship);
        }
        ship_sync(c->ship);
        if (!goodbye_ns && c->fleet.ready_first && ship_wants(c->ship, c->deep)) {
            /* What a look at names has shown is told by events that are in the queue already: only when it is
               empty is it known which files lie between two others. */
            more_events = watch_run(c->watch);
            round_of_turns(c);
        }
        if (was_connected != ship_connected(c->ship)) {
            was_connected = !was_connected;
            sl_ops_set_missing(ops, was_connected ? NULL : "no broker answers");
        }
        if (publish_ns <= now_ns) {
            publish(c, ops, now_ns);
            publish_ns = now_ns + PUBLISH_NS;
        }
        if (goodbye_ns && (settled(c) || now_ns >= goodbye_ns))
            return;
    }
}

/* ---- coming up and going down ---- */

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "sandlog-collector: %s: %s\n", what, why);
    return 1;
}

static int open_ship(struct collector *c)
{
    struct sl_link_keys *keys;
    char why[SL_LINK_WHY_BYTES];
    const struct collector_options *o = c->options;
    int answer = read_keys(o, &keys, why);
    if (answer != 0) {
        fail("links", why);
        return answer < 0 ? 1 : 2; /* files that the options name */
    }
    struct ship_options options = {
        .urls = o->brokers.items, .url_count = o->brokers.count, .host = o->host, .keys = keys};
    struct ship_events events = {.connected = connected,
                                 .places = places_known,
                                 .answered = turns_answered,
                                 .ended = ends_said,
                                 .stop = ends_stop,
                                 .mine = ends_mine,
                                 .buried = turns_buried,
                                 .arg = c};
    int r = ship_new(&options, &c->fleet, &events, &c->ship);
    sl_link_keys_unref(keys);
    return r < 0 ? fail("--broker", strerror(-r)) : 0;
}

static int open_watch(struct collector *c)
{
    const struct sl_option_list *list = &c->options->watch;
    struct watch_events events = {.name = finder_name,
                                  .look = finder_look,
                                  .unchanged = tail_unchanged,
                                  .missed = finder_missed,
                                  .lost = arrivals_lost,
                                  .told = finder_told,
                                  .arg = c};
    c->patterns = calloc(list->count, sizeof *c->patterns);
    for (size_t i = 0; c->patterns && i < list->count; i++) {
        const char *why;
        if (pattern_parse(list->items[i], &c->patterns[i], &why) != 0)
            return fail("--watch", strerror(ENOMEM));
        c->pattern_count++;
    }
    int r = c->patterns ? watch_new(c->patterns, c->pattern_count, &events, &c->watch) : -ENOMEM;
    if (r == -EMFILE)
        return fail("inotify", "no instance is left for this user (fs.inotify.max_user_instances)");
    return r < 0 ? fail("inotify", strerror(-r)) : 0;
}

static int open_all(struct collector *c)
{
    const struct collector_options *o = c->options;
    size_t limit = sl_raise_open_files();
    size_t most = limit > 2 * FILES_KEPT_FREE ? limit - FILES_KEPT_FREE : limit / 2;
    if (o->open_files > 0 && (size_t)o->open_files < most)
        most = (size_t)o->open_files;
    struct pack_sink sink = {.block = take_block, .attrs = ends_attrs, .arg = c};
    if (fleet_init(&c->fleet, most) < 0 ||
        pack_init(&c->pack, &c->fleet, &sink, (size_t)o->max_line_bytes, (size_t)o->memory_bytes / 2) < 0)
        return fail("start", strerror(ENOMEM));
    int r = open_watch(c);
    return r ? r : open_ship(c);
}

static void close_all(struct collector *c)
{
    ship_free(c->ship);
    fleet_fini(&c->fleet);
    watch_free(c->watch);
    pack_fini(&c->pack);
    for (size_t i = 0; i < c->pattern_count; i++)
        pattern_fini(&c->patterns[i]);
    free(c->patterns);
}

int collector_run(const struct collector_options *options)
{
    static struct collector c;
    struct sl_metrics *metrics = NULL;
    struct sl_ops *ops = NULL;
    c = (struct collector){.options = options};
    int signals_fd = sl_signals_open();
    if (signals_fd < 0)
        return fail("signals", strerror(-signals_fd));
    int status = open_all(&c);
    if (status == 0 && sl_metrics_new("sandlog_collector", &metrics) < 0)
        status = fail("start", strerror(ENOMEM));
    if (status == 0) {
        register_counts(&c, metrics);
        int r = sl_ops_new(options->http, metrics, &ops);
        if (r < 0) {
            char what[300];
            snprintf(what, sizeof what, "--http %s", options->http);
            status = fail(what, r == -EADDRINUSE ? "the address is in use" : strerror(-r));
        }
    }
    if (status != 0)
        _exit(status); /* nng may have threads, and its close is known to hang; there is nothing to lose */
    sl_ops_set_missing(ops, "no broker answers");
    sl_log(SL_INFORM, "collector.started", "version=" SL_VERSION " http_port=%u", (unsigned)sl_ops_port(ops));
    sl_notify("READY=1");
    loop(&c, ops, signals_fd);
    sl_log(SL_INFORM, "collector.stopped", NULL);
    sl_end_within(5); /* nng is known to hang in its close at times */
    sl_ops_free(ops);
    sl_metrics_free(metrics);
    close_all(&c);
    close(signals_fd);
    return 0;
}
