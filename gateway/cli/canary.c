// SPDX-License-Identifier: Apache-2.0
/* sandlog canary: writes lines as a container runtime does, follows them, and counts what came. */
#include "canary_count.h"
#include "commands.h"
#include "cri_log.h"
#include "output.h"
#include "run_id.h"
#include "say.h"
#include "stream.h"
#include "text.h"
#include "wire/options.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
    struct server_options server;
    const char *log_dir;
    int64_t seconds, rate, late_ns, patience_ns;
    bool json;
} options;

static const struct sl_option table[] = {
    {.name = "seconds",
     .type = SL_OPTION_NUMBER,
     .value = &options.seconds,
     .unit = "N",
     .min = 1,
     .max = 86400,
     .fallback = "10",
     .sentence = "write this long"},
    {.name = "rate",
     .type = SL_OPTION_NUMBER,
     .value = &options.rate,
     .unit = "N",
     .min = 1,
     .max = 100000,
     .fallback = "100",
     .sentence = "lines a second"},
    {.name = "late",
     .type = SL_OPTION_DURATION,
     .value = &options.late_ns,
     .unit = "TIME",
     .min = 1,
     .max = INT64_MAX,
     .fallback = "1s",
     .sentence = "a line that takes longer counts as late"},
    {.name = "patience",
     .type = SL_OPTION_DURATION,
     .value = &options.patience_ns,
     .unit = "TIME",
     .min = 1,
     .max = INT64_MAX,
     .fallback = "30s",
     .sentence = "wait this long for the rest, at the end"},
    {.name = "log-dir",
     .type = SL_OPTION_TEXT,
     .value = &options.log_dir,
     .unit = "DIR",
     .fallback = "./sandlog-data/sandboxes",
     .sentence = "where a collector looks: DIR/ID/main.log is written"},
    {.name = "json", .type = SL_OPTION_FLAG, .value = &options.json, .sentence = "print the result as JSON"},
    SERVER_OPTIONS(options.server),
};

static const struct sl_program program = {
    .name = "sandlog canary",
    .usage = "[--seconds N] [--rate N] [--json]",
    .sentence = "Write lines, follow them, and count what is missing, doubled or late.",
    .epilogue = "Examples:\n"
                "  sandlog canary\n"
                "  sandlog canary --seconds 60 --rate 1000 --json\n"
                "\n"
                "Exit status: 0 all is well, 1 it is not.\n",
    .options = table,
    .option_count = sizeof table / sizeof *table,
};

struct canary {
    struct cri_log log;
    struct canary_count count;
    bool over, faulty;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static void on_line(struct stream *stream, void *arg, const struct line *line, struct sl_slice json)
{
    (void)stream, (void)json;
    struct canary *canary = arg;
    canary_count_read(&canary->count, line->text, sl_monotonic_ns());
}

static void on_gap(struct stream *stream, void *arg, const struct gap *gap, struct sl_slice json)
{
    (void)stream, (void)arg, (void)gap, (void)json; /* what it stands for is missing, and counted so */
}

static void on_pause(void *arg)
{
    (void)arg;
}

static void on_end(struct stream *stream, void *arg, const struct end *end)
{
    (void)stream;
    struct canary *canary = arg;
    canary->over = true;
    canary->faulty = !end;
}

/* Writes the lines that are due at `now`. Not 0: -errno. */
static int write_due(struct canary *canary, int64_t begun_ns, int64_t now_ns)
{
    int64_t due = (int64_t)((double)(now_ns - begun_ns) / 1e9 * (double)options.rate) + 1;
    char text[CANARY_LINE_BYTES];
    while ((int64_t)canary->count.written < due) {
        size_t bytes = canary_count_write(&canary->count, sl_monotonic_ns(), text);
        if (bytes == 0)
            return -ENOMEM;
        cri_log_add(&canary->log, CRI_STDOUT, sl_slice(text, bytes), sl_now_ns());
        if (canary->log.fault < 0)
            return canary->log.fault;
    }
    return 0;
}

static void show_progress(const struct canary *canary, int64_t begun_ns, int64_t *shown_ns)
{
    int64_t now_ns = sl_monotonic_ns();
    if (now_ns - *shown_ns < SL_NS_PER_S)
        return;
    *shown_ns = now_ns;
    say_status("%lld s: %zu written, %zu read", (long long)((now_ns - begun_ns) / SL_NS_PER_S),
               canary->count.written, canary->count.read);
}

/* Not 0: exit status; why was said. */
static int exercise(struct canary *canary, struct streams *streams, const char *id)
{
    int64_t begun_ns = sl_monotonic_ns(), shown_ns = begun_ns, now_ns;
    int64_t end_ns = begun_ns + options.seconds * SL_NS_PER_S;
    int r = write_due(canary, begun_ns, begun_ns); /* a sandbox appears with its first line */
    if (r == 0)
        r = streams_add(streams, id, false);
    while (r == 0 && !canary->over && !interrupted && (now_ns = sl_monotonic_ns()) < end_ns) {
        r = write_due(canary, begun_ns, now_ns);
        int64_t next_ns = begun_ns + (int64_t)((double)canary->count.written / (double)options.rate * 1e9);
        int64_t wait_ns = (next_ns < end_ns ? next_ns : end_ns) - sl_monotonic_ns();
        if (r == 0)
            r = streams_run(streams, wait_ns > 0 ? (int)(wait_ns / SL_NS_PER_MS) + 1 : 0);
        show_progress(canary, begun_ns, &shown_ns);
    }
    if (r == 0)
        r = cri_log_exit(&canary->log, 0);
    int64_t last_ns = sl_monotonic_ns() + options.patience_ns;
    while (r == 0 && !canary->over && sl_monotonic_ns() < last_ns) {
        r = streams_run(streams, 100);
        show_progress(canary, begun_ns, &shown_ns);
    }
    say_status(NULL);
    if (r < 0)
        say("%s/%s: %s", options.log_dir, id, say_errno(-r));
    else if (!canary->over)
        say("%s did not end", id);
    return r < 0 || canary->faulty || !canary->over;
}

static int report(struct canary_count *count, int status)
{
    struct canary_result result;
    canary_count_result(count, options.late_ns, &result);
    bool well = canary_count_well(count, &result) && status == 0;
    struct output out = {0};
    char p50[32], p99[32];
    text_latency(result.p50_ns, p50, sizeof p50);
    text_latency(result.p99_ns, p99, sizeof p99);
    if (options.json) {
        output_printf(
            &out,
            "{\"ok\":%s,\"written\":%zu,\"read\":%zu,\"missing\":%zu,\"doubled\":%zu,\"out_of_order\":%zu,"
            "\"foreign\":%zu,\"late\":%zu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n",
            well ? "true" : "false", count->written, count->read, result.missing, count->doubled,
            count->out_of_order, count->foreign, result.late, (double)result.p50_ns / 1e6,
            (double)result.p99_ns / 1e6, (double)result.max_ns / 1e6);
    } else {
        if (count->out_of_order > 0 || count->foreign > 0)
            output_printf(&out, "out of order %zu, foreign %zu\n", count->out_of_order, count->foreign);
        output_printf(&out, "missing %zu, doubled %zu, late %zu, p50 %s, p99 %s\n", result.missing,
                      count->doubled, result.late, p50, p99);
    }
    output_flush(&out);
    output_fini(&out);
    return well ? 0 : 1;
}

int command_canary(int argc, char **argv)
{
    sl_options_read(&program, argc, argv, false, NULL);
    struct server server;
    int status = server_init(&server, &options.server);
    if (status != 0)
        return status;
    struct canary canary = {.log = {.fd = -1, .folder_fd = -1}};
    char *id = run_id("canary");
    static const struct stream_query query = {.follow = true, .wait = "30s"};
    static const struct stream_events events = {
        .line = on_line, .gap = on_gap, .pause = on_pause, .end = on_end};
    struct streams *streams = streams_new(&server, &query, &events, &canary, true);
    int r = id && streams ? cri_log_open(&canary.log, options.log_dir, id) : -ENOMEM;
    if (r != 0) {
        say("cannot write to %s: %s", options.log_dir, say_errno(-r));
        status = 1;
    } else {
        signal(SIGINT, on_interrupt);
        status = exercise(&canary, streams, id);
        /* Nothing was read: why has been said, and figures would say no more. */
        if (status == 0 || canary.count.read > 0)
            status = report(&canary.count, status);
        if (status == 0 || canary.count.read == 0)
            cri_log_remove(&canary.log, options.log_dir, id);
        else
            say("what was written is kept in %s/%s", options.log_dir, id);
    }
    streams_free(streams);
    cri_log_close(&canary.log);
    canary_count_fini(&canary.count);
    free(id);
    server_fini(&server);
    return status;
}
