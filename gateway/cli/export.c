// SPDX-License-Identifier: Apache-2.0
/* sandlog export: drains everything stored into files or into ClickHouse, as a consumer that keeps its place.
 */
#include "commands.h"
#include "export_clickhouse.h"
#include "export_feed.h"
#include "export_files.h"
#include "export_table.h"
#include "say.h"
#include "text.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* --once gives up after so long without success. */
#define GIVE_UP_NS (60 * SL_NS_PER_S)
/* After SIGTERM: to finish the batch. */
#define FINISH_NS (20 * SL_NS_PER_S)
#define SHOW_NS   (500 * SL_NS_PER_MS)
#define LAG_NS    (2 * SL_NS_PER_S)

enum { LOOK_MS = 250 }; /* how often signals, the batch's age and the progress line are looked at */

static struct {
    struct server_options server;
    const char *to;
    bool once, quiet;
    int64_t batch_bytes, batch_ns;
} options;

static const struct sl_option table[] = {
    {.name = "to",
     .type = SL_OPTION_TEXT,
     .value = &options.to,
     .unit = "DIR|URL",
     .sentence = "a folder, or http://HOST:8123/DATABASE.TABLE of a ClickHouse"},
    {.name = "once",
     .type = SL_OPTION_FLAG,
     .value = &options.once,
     .sentence = "end when everything is exported that there is, instead of following"},
    {.name = "quiet",
     .letter = 'q',
     .type = SL_OPTION_FLAG,
     .value = &options.quiet,
     .sentence = "say nothing unless something is wrong"},
    {.name = "batch-bytes",
     .type = SL_OPTION_BYTES,
     .value = &options.batch_bytes,
     .unit = "BYTES",
     .max = INT64_C(1) << 30,
     .sentence =
         "finish a file or an INSERT at so much text (default 64MiB for files, 16MiB for ClickHouse)"},
    {.name = "batch-age",
     .type = SL_OPTION_DURATION,
     .value = &options.batch_ns,
     .unit = "TIME",
     .max = 3600 * SL_NS_PER_S,
     .sentence = "and after so long (default 1m for files, 1s for ClickHouse)"},
    SERVER_OPTIONS(options.server),
};

static const struct sl_program program = {
    .name = "sandlog export",
    .usage = "CONSUMER --to DIR|URL [--once]",
    .sentence = "Drain everything stored into files or into ClickHouse, and keep the place.",
    .epilogue =
        "Examples:\n"
        "  sandlog export archive --to /srv/logs            follow, a file a minute and hour of the lines\n"
        "  sandlog export nightly --to /srv/logs2 --once    what is new since the last time\n"
        "  sandlog export ch --to http://127.0.0.1:8123/default.logs\n"
        "  lz4 -dc /srv/logs/date=2026-02-20/hour=14/*.lz4 | jq -r 'select(.line) | .line'\n"
        "\n"
        "User and password of ClickHouse: in the URL (http://USER:PASSWORD@HOST...), or in\n"
        "CLICKHOUSE_USER and CLICKHOUSE_PASSWORD.\n"
        "Exit status: 0 all was exported, or SIGTERM; 1 an error, 2 bad usage, 130 Ctrl-C.\n",
    .options = table,
    .option_count = sizeof table / sizeof *table,
};

static volatile sig_atomic_t interrupted, terminated; /* SIGINT: drop the batch; SIGTERM: finish it */
static int64_t finish_ns;                             /* monotonic; until when */

static void on_signal(int number)
{
    if (interrupted || (terminated && number == SIGTERM))
        _exit(number == SIGINT ? 130 : 1);
    if (number == SIGINT)
        interrupted = 1;
    else
        terminated = 1;
}

static bool cancelled(void)
{
    return interrupted || (terminated && finish_ns != 0 && sl_monotonic_ns() > finish_ns);
}

struct export
{
    struct server server;
    struct retry feed_retry, sink_retry;
    struct feed *feed;
    struct sink *sink;
    struct sink_limits limits;
    struct export_lives *lives;
    char place[EXPORT_CHECKPOINT_MAX_BYTES]; /* behind what is in the batch; the consumer's, when that is
                                                empty */
    size_t place_bytes;
    bool open;  /* a batch is */
    bool again; /* the next one may have been begun before */
    bool moved; /* the server was told where the sink ends */
    int64_t opened_ns, batch_bytes;
    uint64_t batch_lines, batch_gaps;
    uint64_t lines, bytes, gaps, missing; /* acknowledged */
    int64_t batch_missing;
    struct {
        int64_t begun_ns, shown_ns, asked_ns, lag;
        uint64_t lines; /* when shown */
        double rate;
        bool lag_known;
    } progress;
    int status;
};

static struct sl_slice place_of(const struct export *x)
{
    return sl_slice(x->place, x->place_bytes);
}

static void set_place(struct export *x, struct sl_slice place)
{
    memcpy(x->place, place.data, place.bytes);
    x->place_bytes = place.bytes;
}

static void show_progress(struct export *x)
{
    int64_t now_ns = sl_monotonic_ns();
    if (options.quiet || !say_to_terminal() || now_ns - x->progress.shown_ns < SHOW_NS)
        return;
    uint64_t lines = x->lines + x->batch_lines;
    double rate = (double)(lines - x->progress.lines) / ((double)(now_ns - x->progress.shown_ns) / 1e9);
    x->progress.rate = x->progress.rate * 0.7 + rate * 0.3;
    x->progress.lines = lines;
    x->progress.shown_ns = now_ns;
    if (now_ns - x->progress.asked_ns > LAG_NS) {
        x->progress.asked_ns = now_ns;
        x->progress.lag_known = feed_lag(x->feed, &x->progress.lag);
    }
    char bytes[32], lag[48] = "";
    text_bytes((int64_t)x->bytes + x->batch_bytes, bytes, sizeof bytes);
    if (x->progress.lag_known) { /* what is in the batch has been read, and is not acknowledged yet */
        int64_t left = x->progress.lag - (int64_t)x->batch_lines;
        snprintf(lag, sizeof lag, ", %lld lines behind", (long long)(left > 0 ? left : 0));
    }
    say_status("%llu lines, %s, %.0f lines/s%s", (unsigned long long)lines, bytes, x->progress.rate, lag);
}

/* Waits, unless a signal comes. False: enough was waited. */
static bool wait_for(struct export *x, struct retry *retry)
{
    int64_t end_ns = sl_monotonic_ns() + retry_wait_ns(retry);
    if (options.once && sl_monotonic_ns() - retry->since_ns > GIVE_UP_NS) {
        say("given up");
        x->status = 1;
        return false;
    }
    for (int64_t left_ns; !interrupted && !terminated && (left_ns = end_ns - sl_monotonic_ns()) > 0;) {
        int64_t ns = left_ns < LOOK_MS * SL_NS_PER_MS ? left_ns : LOOK_MS * SL_NS_PER_MS;
        nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
    }
    return true;
}

static void forget_batch(struct export *x)
{
    x->open = false;
    x->batch_bytes = 0;
    x->batch_lines = x->batch_gaps = 0;
    x->batch_missing = 0;
}

/* The sink could not take it: all of the batch comes again. False: it is over. */
static bool sink_failed(struct export *x, int answer)
{
    x->sink->kind->drop(x->sink);
    forget_batch(x);
    feed_cut(x->feed);
    if (answer == SINK_NEVER) {
        x->status = 1;
        return false;
    }
    return !interrupted && !terminated && wait_for(x, &x->sink_retry);
}

/* What the sink has is acknowledged, however long it takes. False: it is over. */
static bool acknowledge(struct export *x)
{
    for (;;) {
        int r = feed_ack(x->feed, place_of(x));
        if (r == 0)
            break;
        if (r == FEED_NEVER)
            x->status = 1;
        if (r == FEED_NEVER || cancelled() || !wait_for(x, &x->feed_retry))
            return false;
        if (interrupted || terminated) { /* once more, at once; after that the repeat will take its place */
            finish_ns = finish_ns ? finish_ns : sl_monotonic_ns() + FINISH_NS;
            if (feed_ack(x->feed, place_of(x)) == 0)
                break;
            return false;
        }
    }
    retry_well(&x->feed_retry, "going on");
    x->lines += x->batch_lines;
    x->bytes += (uint64_t)x->batch_bytes;
    x->gaps += x->batch_gaps;
    x->missing += (uint64_t)x->batch_missing;
    forget_batch(x);
    x->again = false;
    return true;
}

/* False: it is over. */
static bool commit(struct export *x)
{
    if (!x->open)
        return true;
    if (terminated && finish_ns == 0)
        finish_ns = sl_monotonic_ns() + FINISH_NS;
    int64_t before_ns = sl_monotonic_ns();
    int r = x->sink->kind->commit(x->sink);
    if (r == SINK_OK && x->sink->kind->note)
        r = x->sink->kind->note(x->sink, place_of(x));
    if (r != SINK_OK)
        return sink_failed(x, r);
    retry_well(&x->sink_retry, "going on");
    bool ok = acknowledge(x);
    feed_held(x->feed, sl_monotonic_ns() - before_ns);
    return ok;
}

/* 0, a sink's answer, or -EBADMSG: what came makes no sense. */
static int add_line(struct export *x, struct sl_slice json)
{
    struct export_item item;
    int r = export_item_decode(json, &item);
    if (r != 0)
        return r == LINE_MALFORMED ? -EBADMSG : r;
    switch (item.kind) {
    case EXPORT_SANDBOX:
        r = export_lives_learn(x->lives, &item);
        break;
    case EXPORT_LINE:
        x->batch_lines++;
        x->batch_bytes += (int64_t)item.line.text.bytes + !item.line.partial;
        r = x->sink->kind->add(x->sink, &item, export_lives_find(x->lives, item.sandbox));
        break;
    case EXPORT_GAP:
        x->batch_gaps++;
        x->batch_missing += item.missing > 0 ? item.missing : 0;
        r = x->sink->kind->add(x->sink, &item, export_lives_find(x->lives, item.sandbox));
        break;
    case EXPORT_CHECKPOINT:
    case EXPORT_NOTHING:
        break;
    }
    export_item_fini(&item);
    return r;
}

/*
 * A connection begins at x->place. If the sink ends elsewhere, an acknowledgement was lost, or the server has
 * forgotten some (Redis after a failover): it is told, and asked anew. False: it is over.
 */
static bool catch_up(struct export *x)
{
    bool moved = x->moved;
    x->moved = false;
    struct sl_slice noted = x->sink->kind->noted ? x->sink->kind->noted(x->sink) : sl_slice(NULL, 0);
    if (moved || noted.bytes == 0 || sl_slice_equal(noted, place_of(x)))
        return true;
    int r = feed_move(x->feed, noted);
    if (r == FEED_NEVER) {
        say("the server does not know the place where %s ends: lines may come again", options.to);
        return true;
    }
    feed_cut(x->feed);
    x->moved = r == 0;
    return r == 0 || terminated || wait_for(x, &x->feed_retry);
}

/* False: it is over. */
static bool take_page(struct export *x, const struct feed_page *page)
{
    if (page->first) { /* it says everything anew that there is to know */
        export_lives_forget(x->lives);
        set_place(x, page->checkpoint);
        x->again = true;
        return catch_up(x);
    }
    if (page->text.bytes == 0 && sl_slice_equal(page->checkpoint, place_of(x)))
        return true;
    int r = 0;
    if (!x->open) {
        r = x->sink->kind->begin(x->sink, place_of(x), x->again);
        x->open = true;
        x->opened_ns = sl_monotonic_ns();
    }
    for (const uint8_t *at = page->text.data, *end = at + page->text.bytes; r == 0 && at < end;) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        r = add_line(x, sl_slice(at, (size_t)(newline - at)));
        at = newline + 1;
    }
    if (r < 0) {
        say("%s", r == -ENOMEM ? say_errno(ENOMEM) : "the server sent a line that makes no sense");
        r = SINK_NEVER;
    }
    if (r != SINK_OK)
        return sink_failed(x, r);
    set_place(x, page->checkpoint);
    return true;
}

static bool batch_is_due(const struct export *x)
{
    return x->open && (x->batch_bytes >= x->limits.batch_bytes || terminated ||
                       sl_monotonic_ns() - x->opened_ns >= x->limits.batch_ns);
}

/* False: it is over. */
static bool open_sink(struct export *x)
{
    if (!x->sink->kind->open)
        return true;
    for (int r; (r = x->sink->kind->open(x->sink)) != SINK_OK;)
        if (!sink_failed(x, r))
            return false;
    retry_well(&x->sink_retry, "going on");
    return true;
}

static void drain(struct export *x)
{
    if (!open_sink(x))
        return;
    for (bool goes_on = true; goes_on && !interrupted;) {
        struct feed_page page;
        int r = feed_next(x->feed, LOOK_MS, &page);
        switch (r) {
        case FEED_PAGE:
            retry_well(&x->feed_retry, "going on");
            goes_on = take_page(x, &page);
            break;
        case FEED_QUIET:
            break;
        case FEED_END:
            commit(x);
            return;
        case FEED_NEVER:
            commit(x);
            x->status = 1;
            return;
        default: /* FEED_CUT: what is whole of the batch is as good as ever, and moves the place */
            goes_on = commit(x) && (terminated || wait_for(x, &x->feed_retry));
            break;
        }
        if (goes_on && !interrupted && batch_is_due(x))
            goes_on = commit(x);
        if (terminated && !x->open)
            return;
        show_progress(x);
    }
    x->sink->kind->drop(x->sink);
}

static void summarise(const struct export *x)
{
    char bytes[32], gaps[100] = "";
    text_bytes((int64_t)x->bytes, bytes, sizeof bytes);
    if (x->missing > 0)
        snprintf(gaps, sizeof gaps, "; %llu gap%s, where at least %llu are missing",
                 (unsigned long long)x->gaps, x->gaps == 1 ? "" : "s", (unsigned long long)x->missing);
    else if (x->gaps > 0)
        snprintf(gaps, sizeof gaps, "; %llu gap%s, where some are missing", (unsigned long long)x->gaps,
                 x->gaps == 1 ? "" : "s");
    say("exported %llu line%s, %s%s", (unsigned long long)x->lines, x->lines == 1 ? "" : "s", bytes, gaps);
}

/* Not 0: exit status; why was said. */
static int set_up(struct export *x, const char *consumer)
{
    int status = server_init(&x->server, &options.server);
    if (status != 0)
        return status;
    x->feed_retry = (struct retry){.first_ns = 200 * SL_NS_PER_MS, .most_ns = 5 * SL_NS_PER_S};
    x->sink_retry = (struct retry){.first_ns = 500 * SL_NS_PER_MS, .most_ns = 30 * SL_NS_PER_S};
    int r = table_is_url(options.to)
                ? export_clickhouse_new(options.to, options.server.ca_file, &x->sink_retry, &x->sink)
                : export_files_new(options.to, consumer, &x->sink_retry, &x->sink);
    if (r != SINK_OK)
        return 1;
    x->sink->cancelled = cancelled;
    x->limits = x->sink->kind->limits;
    if (options.batch_bytes > 0)
        x->limits.batch_bytes = options.batch_bytes;
    if (options.batch_ns > 0)
        x->limits.batch_ns = options.batch_ns;
    x->lives = export_lives_new();
    x->feed = feed_new(&x->server, consumer, !options.once, &x->feed_retry, cancelled);
    if (!x->lives || !x->feed) {
        say("%s", say_errno(ENOMEM));
        return 1;
    }
    return 0;
}

/* In a text that holds http://USER:PASSWORD@HOST. */
static void hide_password(char *text)
{
    char *user = strstr(text, "://");
    user = user ? user + 3 : text;
    char *end = memrchr(user, '@', strcspn(user, "/"));
    char *colon = end ? memchr(user, ':', (size_t)(end - user)) : NULL;
    if (colon)
        memset(colon + 1, '*', (size_t)(end - colon - 1));
}

/* Not to be seen by who lists processes. */
static void hide_passwords(char **argv)
{
    for (char **at = argv; *at; at++)
        if (table_is_url(*at) || strncmp(*at, "--to=", 5) == 0)
            hide_password(*at);
    for (char **at = environ; *at; at++)
        if (strncmp(*at, "SANDLOG_TO=", 11) == 0)
            hide_password(*at);
}

int command_export(int argc, char **argv)
{
    int first;
    sl_options_read(&program, argc, argv, false, &first);
    if (argc - first != 1)
        sl_usage_error(&program,
                       first == argc ? "name a consumer: it keeps the place"
                                     : "one consumer, not several (\"%s\")",
                       argv[argc - 1]);
    if (!export_name_valid(sl_slice_of(argv[first])))
        sl_usage_error(&program, "\"%s\" is not a consumer's name (1 to 64 letters, digits and . _ -)",
                       argv[first]);
    if (!options.to)
        sl_usage_error(&program, "say where to with --to: a folder, or http://HOST:8123/DATABASE.TABLE");
    if (table_is_url(options.to)) { /* not in the option table: what it says would hold the password */
        struct table_address address;
        const char *wrong = table_address_parse(options.to, &address);
        if (wrong)
            sl_usage_error(&program, "--to %s", wrong);
        table_address_fini(&address);
    } else if (strstr(options.to, "://")) {
        sl_usage_error(&program, "--to is neither a folder nor http://HOST:8123/DATABASE.TABLE");
    }
    char *to = strdup(options.to);
    if (!to) {
        say("%s", say_errno(ENOMEM));
        return 1;
    }
    options.to = to;
    hide_passwords(argv);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    struct export x = {.progress = {.shown_ns = sl_monotonic_ns()}};
    x.status = set_up(&x, argv[first]);
    bool ready = x.status == 0;
    if (ready)
        drain(&x);
    say_status(NULL);
    if (ready && !options.quiet && (x.status == 0 || x.lines > 0))
        summarise(&x);
    feed_free(x.feed);
    export_lives_free(x.lives);
    if (x.sink)
        x.sink->kind->free(x.sink);
    server_fini(&x.server);
    free(to);
    return interrupted ? 130 : x.status;
}
