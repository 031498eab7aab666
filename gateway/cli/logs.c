// SPDX-License-Identifier: Apache-2.0
/* sandlog logs: prints and follows logs, exactly, of one sandbox or of several together. */
#include "catalog.h"
#include "commands.h"
#include "printer.h"
#include "say.h"
#include "stream.h"
#include "term.h"
#include "text.h"
#include "wire/sandbox_id.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define JOIN_NS     (2 * SL_NS_PER_S) /* how often sandboxes that came to match a label are looked for */
#define PROGRESS_NS SL_NS_PER_S

static struct {
    struct server_options server;
    struct stream_query query;
    bool timestamps, raw, reconnect;
    struct sl_option_list labels; /* all of them */
    const char *output;
} options;

static const char *tail_check(const char *text)
{
    if (strcmp(text, "all") == 0)
        return NULL;
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits <= 18 && !text[digits] ? NULL : "is neither a number of lines nor all";
}

static const char *time_check(const char *text)
{
    int64_t ignored;
    return sl_time_parse_user(sl_slice_of(text), sl_now_ns(), &ignored) == 0
               ? NULL
               : "is not a time (try 10m, 2026-02-20T14:30:00Z or Unix seconds)";
}

static const char *wait_check(const char *text)
{
    int64_t ignored;
    return sl_duration_parse(sl_slice_of(text), &ignored) == 0 ? NULL : "is not a length of time (try 30s)";
}

static const char *stream_check(const char *text)
{
    return strcmp(text, "stdout") == 0 || strcmp(text, "stderr") == 0 || strcmp(text, "both") == 0
               ? NULL
               : "is neither stdout, stderr nor both";
}

static const char *label_check(const char *text)
{
    const char *equals = strchr(text, '=');
    return equals && equals != text ? NULL : "is not KEY=VALUE";
}

static const char *output_check(const char *text)
{
    return strcmp(text, "text") == 0 || strcmp(text, "json") == 0 ? NULL : "is neither text nor json";
}

static const char *container_check(const char *text)
{
    return sl_container_valid(sl_slice_of(text)) ? NULL : "is not a container's name";
}

static const struct sl_option table[] = {
    {.name = "follow",
     .letter = 'f',
     .type = SL_OPTION_FLAG,
     .value = &options.query.follow,
     .sentence = "stay, and print lines as they come, until the sandbox stops"},
    {.name = "wait",
     .type = SL_OPTION_TEXT,
     .value = &options.query.wait,
     .unit = "TIME",
     .fallback = "",
     .check = wait_check,
     .sentence = "with -f: wait this long for a sandbox that is not known yet"},
    {.name = "timestamps",
     .letter = 't',
     .type = SL_OPTION_FLAG,
     .value = &options.timestamps,
     .sentence = "begin each line with its time (UTC)"},
    {.name = "tail",
     .letter = 'n',
     .type = SL_OPTION_TEXT,
     .value = &options.query.tail,
     .unit = "N",
     .fallback = "",
     .check = tail_check,
     .sentence = "begin with the last N lines, 0: none, all: from the start (default all)"},
    {.name = "since",
     .type = SL_OPTION_TEXT,
     .value = &options.query.since,
     .unit = "TIME",
     .fallback = "",
     .check = time_check,
     .sentence = "lines at or after TIME: an age (10m, 1h30m), RFC 3339, or Unix seconds"},
    {.name = "until",
     .type = SL_OPTION_TEXT,
     .value = &options.query.until,
     .unit = "TIME",
     .fallback = "",
     .check = time_check,
     .sentence = "lines before TIME"},
    {.name = "stream",
     .type = SL_OPTION_TEXT,
     .value = &options.query.stream,
     .unit = "stdout|stderr|both",
     .fallback = "",
     .check = stream_check,
     .sentence = "only this stream's lines (default both)"},
    {.name = "container",
     .letter = 'c',
     .type = SL_OPTION_TEXT,
     .value = &options.query.container,
     .unit = "NAME",
     .fallback = "",
     .check = container_check,
     .sentence = "only this container's lines"},
    {.name = "grep",
     .letter = 'g',
     .type = SL_OPTION_TEXT,
     .value = &options.query.regex,
     .unit = "RE",
     .fallback = "",
     .sentence = "only lines that match this regular expression"},
    {.name = "ignore-case",
     .letter = 'i',
     .type = SL_OPTION_FLAG,
     .value = &options.query.ignore_case,
     .sentence = "--grep takes upper and lower case as equal"},
    {.name = "label",
     .letter = 'l',
     .type = SL_OPTION_LIST,
     .value = &options.labels,
     .unit = "KEY=VALUE",
     .check = label_check,
     .sentence =
         "the sandboxes with this label, and with all others given; with -f those that come later join"},
    {.name = "output",
     .letter = 'o',
     .type = SL_OPTION_TEXT,
     .value = &options.output,
     .unit = "text|json",
     .fallback = "text",
     .check = output_check,
     .sentence = "text, or one JSON object a line"},
    {.name = "raw",
     .type = SL_OPTION_FLAG,
     .value = &options.raw,
     .sentence =
         "on a terminal too, print the bytes as they are: escape sequences in a log then do what they like"},
    {.name = "reconnect",
     .type = SL_OPTION_FLAG,
     .value = &options.reconnect,
     .fallback = "true",
     .sentence = "resume after a lost connection, where it was"},
    SERVER_OPTIONS(options.server),
};

static const struct sl_program program = {
    .name = "sandlog logs",
    .usage = "[OPTION]... ID...",
    .sentence = "Print the log of a sandbox, or of several together.",
    .epilogue =
        "Examples:\n"
        "  sandlog logs -f web-1                  from the start, then live, until it stops\n"
        "  sandlog logs -f -n 20 web-1 web-2      two together, each from its last 20 lines\n"
        "  sandlog logs -f -l team=blue -l tier=1 all that have both labels, also those that come later\n"
        "  sandlog logs -t --since 10m --stream stderr web-1\n"
        "  sandlog logs --grep 'time ?out' -i -o json web-1 | jq -r .time\n"
        "\n"
        "Exit status: 0 all was printed, 1 an error, 2 bad usage, 130 Ctrl-C.\n",
    .options = table,
    .option_count = sizeof table / sizeof *table,
};

/* The sandboxes that were named, or found by their label, in the order in which they came. */
struct member {
    char *id;
    bool whole; /* it began while others were followed: what -n was about was before that */
};

struct members {
    struct member *all;
    size_t count, started;
};

static bool members_have(const struct members *members, const char *id)
{
    for (size_t i = 0; i < members->count; i++)
        if (strcmp(members->all[i].id, id) == 0)
            return true;
    return false;
}

static int members_add(struct members *members, const char *id, bool whole)
{
    if (members_have(members, id))
        return 0;
    struct member *grown = realloc(members->all, (members->count + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    members->all = grown;
    grown[members->count] = (struct member){.id = strdup(id), .whole = whole};
    if (!grown[members->count].id)
        return -ENOMEM;
    members->count++;
    return 0;
}

static void members_fini(struct members *members)
{
    for (size_t i = 0; i < members->count; i++)
        free(members->all[i].id);
    free(members->all);
}

struct reading {
    struct server server;
    struct streams *streams;
    struct members members;
    struct printer printer;
    int status;
    bool progress, terminal; /* stdout is one */
    int64_t begun_ns, looked_ns, shown_ns, printed_ns;
    int64_t begun_at_ns; /* on the clock that dates sandboxes, or near it */
};

/* Not 0: exit status. */
static int look_for_label(struct reading *r, bool quiet)
{
    json_t *boxes = NULL;
    struct catalog_query query = {.labels = &options.labels};
    int status = catalog_read(&r->server, &query, quiet, &boxes);
    if (status != 0)
        return status;
    /* the oldest first, as they would have joined */
    for (size_t i = json_array_size(boxes); status == 0 && i-- > 0;) {
        const json_t *box = json_array_get(boxes, i);
        const char *id = json_string_value(json_object_get(box, "id"));
        const char *created = json_string_value(json_object_get(box, "created_time"));
        int64_t created_ns;
        bool whole = created && sl_time_parse_user(sl_slice_of(created), 0, &created_ns) == 0 &&
                     created_ns >= r->begun_at_ns;
        if (id && sl_sandbox_id_valid(sl_slice_of(id)) && members_add(&r->members, id, whole) < 0)
            status = 1;
    }
    json_decref(boxes);
    r->looked_ns = sl_monotonic_ns();
    return status;
}

/*
 * A person at a terminal sees that it goes on: where the lines go elsewhere, or where none comes for a while
 * (a search through a long log). An unfinished line on the terminal is not written over.
 */
static void show_progress(struct reading *r)
{
    int64_t now = sl_monotonic_ns();
    int64_t quiet_since_ns = r->terminal && r->printed_ns > r->begun_ns ? r->printed_ns : r->begun_ns;
    if (!r->progress || now - quiet_since_ns < PROGRESS_NS || now - r->shown_ns < PROGRESS_NS / 4 ||
        (r->terminal && r->printer.open))
        return;
    r->shown_ns = now;
    char bytes[32];
    text_bytes((int64_t)r->printer.bytes, bytes, sizeof bytes);
    if (r->printer.lines == 0)
        say_status("waiting for %s ...", r->server.url);
    else
        say_status("%llu lines, %s ...", (unsigned long long)r->printer.lines, bytes);
}

static void on_line(struct stream *stream, void *arg, const struct line *line, struct sl_slice json)
{
    struct reading *r = arg;
    if (r->terminal) {
        say_status(NULL);
        r->printed_ns = sl_monotonic_ns();
    }
    printer_line(&r->printer, stream_id(stream), line, json);
}

static void on_gap(struct stream *stream, void *arg, const struct gap *gap, struct sl_slice json)
{
    struct reading *r = arg;
    printer_gap(&r->printer, stream_id(stream), gap, json);
}

static void on_pause(void *arg)
{
    struct reading *r = arg;
    printer_flush(&r->printer);
}

static void on_end(struct stream *stream, void *arg, const struct end *end)
{
    struct reading *r = arg;
    if (!end) {
        r->status = 1;
        return;
    }
    if (!options.query.follow || !say_to_terminal())
        return;
    if (strcmp(end->reason, "deleted") == 0)
        say("%s was deleted", stream_id(stream));
    else if (strcmp(end->reason, "stopped") == 0 && end->exit_code >= 0)
        say("%s stopped with exit code %lld", stream_id(stream), (long long)end->exit_code);
}

/* Following, all at a time; else one after the other, each whole. */
static int start_members(struct reading *r)
{
    while (r->members.started < r->members.count &&
           (options.query.follow || streams_count(r->streams) == 0)) {
        const struct member *m = &r->members.all[r->members.started++];
        int e = streams_add(r->streams, m->id, m->whole);
        if (e < 0)
            return e;
    }
    return 0;
}

static int read_all(struct reading *r)
{
    bool joins = options.labels.count > 0 && options.query.follow;
    for (;;) {
        if (joins && sl_monotonic_ns() - r->looked_ns >= JOIN_NS) {
            look_for_label(r, true);
            r->looked_ns = sl_monotonic_ns();
        }
        int e = start_members(r);
        if (e < 0)
            return e;
        if (streams_count(r->streams) == 0 && !joins)
            return 0;
        /* a second at most, so that progress, joining and a reader that has gone are seen */
        e = streams_run(r->streams, r->progress ? 250 : 1000);
        output_check_reader();
        show_progress(r);
        if (e < 0)
            return e;
    }
}

static void on_interrupt(int number)
{
    (void)number;
    _exit(130);
}

static void on_interrupt_terminal(int number)
{
    ssize_t n = write(STDOUT_FILENO, TERM_RESET, sizeof TERM_RESET - 1);
    (void)n;
    on_interrupt(number);
}

/* Each sandbox that is followed has a connection: as many as the system lets us have. */
static void allow_many_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int command_logs(int argc, char **argv)
{
    int first;
    sl_options_read(&program, argc, argv, false, &first);
    struct reading r = {.begun_ns = sl_monotonic_ns(), .begun_at_ns = sl_now_ns()};
    bool terminal = isatty(STDOUT_FILENO);
    for (int i = first; i < argc; i++) {
        if (!sl_sandbox_id_valid(sl_slice_of(argv[i])))
            sl_usage_error(&program, "\"%s\" is not a sandbox id (letters, digits and . _ : -)", argv[i]);
        if (members_add(&r.members, argv[i], false) < 0)
            abort(); /* at start-up, with nothing to lose */
    }
    if (r.members.count == 0 && options.labels.count == 0)
        sl_usage_error(&program, "name a sandbox, or a label with -l; \"sandlog ps\" lists them");
    allow_many_files();
    signal(SIGINT, terminal ? on_interrupt_terminal : on_interrupt);
    r.status = server_init(&r.server, &options.server);
    if (r.status != 0)
        goto out;
    r.terminal = terminal;
    r.progress = say_to_terminal() && !options.query.follow;
    r.printer = (struct printer){
        .json = strcmp(options.output, "json") == 0,
        .timestamps = options.timestamps,
        .prefix = r.members.count > 1 || options.labels.count > 0,
        .clean = terminal && !options.raw,
        .colours = term_colours_wanted(STDOUT_FILENO),
    };
    if (options.labels.count > 0) {
        r.status = look_for_label(&r, false);
        if (r.status != 0)
            goto out;
        if (r.members.count == 0 && say_to_terminal())
            say("no sandbox has the label%s %s%s%s", options.labels.count > 1 ? "s" : "",
                options.labels.items[0], options.labels.count > 1 ? " ..." : "",
                options.query.follow ? " yet" : "");
    }
    static const struct stream_events events = {
        .line = on_line, .gap = on_gap, .pause = on_pause, .end = on_end};
    r.streams = streams_new(&r.server, &options.query, &events, &r, options.reconnect);
    int e = r.streams ? read_all(&r) : -ENOMEM;
    say_status(NULL);
    printer_finish(&r.printer);
    if (e < 0) {
        say("%s", say_errno(-e));
        r.status = 1;
    }
out:
    streams_free(r.streams);
    printer_fini(&r.printer);
    server_fini(&r.server);
    members_fini(&r.members);
    return r.status;
}
