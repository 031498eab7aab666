// SPDX-License-Identifier: Apache-2.0
/* What a sandbox is (host, labels) and when it is over: exit_code, config.v2.json, a stop, files removed. */
#include "collector.h"
#include "wire/diagnostics.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <xxhash.h>

/* Before it is believed that a sandbox has no files; and between two questions. */
static const int64_t LEFT_NS = INT64_C(2) * SL_NS_PER_S;

enum { EXIT_FILE_MAX_BYTES = 64, CONFIG_MAX_BYTES = 4 << 20, LABELS_MAX_BYTES = 64 << 10 };

/* ---- labels ---- */

static void add_label(struct sandbox *s, struct sl_slice key, struct sl_slice value)
{
    if (key.bytes == 0 || key.bytes > SL_LABEL_KEY_MAX_BYTES || value.bytes > SL_LABEL_VALUE_MAX_BYTES ||
        s->label_count >= SL_LABELS_MAX || s->labels_bytes + key.bytes + value.bytes + 3 > LABELS_MAX_BYTES)
        return;
    struct sl_reader have = sl_reader(sl_slice(s->labels, s->labels_bytes));
    struct sl_slice k, v;
    for (uint16_t i = 0; i < s->label_count && sl_label_next(&have, &k, &v); i++)
        if (sl_slice_equal(k, key))
            return;
    size_t more = 1 + key.bytes + 2 + value.bytes;
    uint8_t *labels = realloc(s->labels, s->labels_bytes + more);
    if (!labels)
        return;
    s->labels = labels;
    struct sl_writer w = sl_writer(labels + s->labels_bytes, more);
    sl_label_write(&w, key, value);
    s->labels_bytes += w.bytes;
    s->label_count++;
    s->announced = 0;
    s->labels_new = true;
}

void ends_attrs(void *arg, struct log *log, struct sl_slice attrs)
{
    uint8_t *scratch = malloc(attrs.bytes + 1);
    log->attrs_known = true;
    if (!scratch)
        return;
    struct collector *c = arg;
    size_t at = 0;
    struct sl_slice key, value;
    while (docker_attrs_next(attrs, &at, scratch, &key, &value))
        add_label(log->sandbox, key, value);
    free(scratch);
    /* now, before the line that had them: there may not come another */
    if (log->sandbox->labels_new)
        ends_announce(c, log->sandbox);
}

static void add_captures(struct sandbox *s)
{
    for (struct log *log = s->logs; log; log = log->sandbox_next) {
        struct captures captures;
        folder_captures(log->folder, &captures);
        const struct pattern *p = log->folder->root->pattern;
        if (log->base_bytes > 0 && !pattern_match(p->components[log->folder->depth],
                                                  sl_slice(log->base, log->base_bytes), &captures))
            continue;
        for (unsigned i = 0; i < captures.count; i++)
            if (!sl_slice_equal(captures.items[i].name, sl_slice_of("sandbox")) &&
                !sl_slice_equal(captures.items[i].name, sl_slice_of("container")))
                add_label(s, captures.items[i].name, captures.items[i].value);
    }
}

int ends_announce(struct collector *c, struct sandbox *s)
{
    uint32_t connection = ship_connection(c->ship);
    if (s->announced == connection)
        return 0;
    add_captures(s);
    struct sl_change change = {.fields = SL_CHANGE_HOST,
                               .sandbox = sl_slice(s->id, s->id_bytes),
                               .host = sl_slice_of(c->options->host),
                               .labels = s->label_count,
                               .label_pairs = sl_slice(s->labels, s->labels_bytes)};
    if (s->label_count > 0)
        change.fields |= SL_CHANGE_LABELS;
    if (s->resumed) {
        change.fields |= SL_CHANGE_STATE;
        change.state = SL_RUNNING;
    }
    int r = ship_change(c->ship, s, &change, false);
    if (r == 0) {
        s->announced = connection;
        s->labels_new = false;
        s->resumed = false;
    }
    return r;
}

/* ---- files beside the logs ---- */

static void drain(struct collector *c, struct sandbox *s)
{
    s->end = END_DRAIN;
    for (struct log *log = s->logs; log; log = log->sandbox_next)
        for (struct file *f = log->files; f; f = f->next)
            turns_touch(c, f);
    fleet_ready(&c->fleet, s);
}

static void ended(struct collector *c, struct sandbox *s, uint64_t mark, int32_t exit_code)
{
    if (s->end_mark == mark && (s->end != END_NONE || s->has_exit))
        return;
    s->end_mark = mark;
    s->has_exit = true;
    s->exit_code = exit_code;
    drain(c, s);
}

static void runs_again(struct sandbox *s)
{
    if (s->end == END_NONE && !s->has_exit)
        return;
    s->end = END_NONE;
    s->has_exit = false;
    s->end_mark = 0;
    s->resumed = true;
    s->announced = 0;
}

static struct sandbox *sandbox_of(struct collector *c, const struct folder *folder)
{
    struct captures captures;
    folder_captures(folder, &captures);
    struct sl_slice id = captures_get(&captures, "sandbox");
    return id.data && sl_sandbox_id_valid(id) ? fleet_sandbox(&c->fleet, id) : NULL;
}

static void exit_file(struct collector *c, const struct folder *folder, const char *name)
{
    char text[EXIT_FILE_MAX_BYTES];
    struct identity identity;
    ssize_t n = tail_read_beside(folder, name, text, sizeof text - 1, &identity);
    if (n < 0)
        return;
    text[n] = 0;
    char *end;
    long code = strtol(text, &end, 10);
    while (*end == '\n' || *end == '\r' || *end == ' ')
        end++;
    if (end == text || *end != 0 || code < INT32_MIN || code > INT32_MAX)
        return;
    struct sandbox *s = sandbox_of(c, folder);
    if (s)
        ended(c, s, XXH3_64bits(&identity, sizeof identity) | 1, (int32_t)code);
}

static void docker_config(struct collector *c, const struct folder *folder, const char *name)
{
    char *text = malloc(CONFIG_MAX_BYTES);
    struct identity identity;
    if (!text)
        return;
    ssize_t n = tail_read_beside(folder, name, text, CONFIG_MAX_BYTES, &identity);
    json_t *config = n > 0 ? json_loadb(text, (size_t)n, JSON_ALLOW_NUL, NULL) : NULL;
    free(text);
    json_t *state = json_object_get(config, "State");
    struct sandbox *s = json_is_object(state) ? sandbox_of(c, folder) : NULL;
    if (s) {
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(json_object_get(config, "Config"), "Labels"), key, value)
        {
            if (json_is_string(value))
                add_label(s, sl_slice_of(key), sl_slice(json_string_value(value), json_string_length(value)));
        }
        /* last: a label of this name that somebody gave it is the one that counts */
        json_t *called = json_object_get(config, "Name");
        size_t skip = json_string_length(called) > 0 && json_string_value(called)[0] == '/';
        if (json_string_length(called) > skip)
            add_label(s, sl_slice_of("name"),
                      sl_slice(json_string_value(called) + skip, json_string_length(called) - skip));
        const char *finished = json_string_value(json_object_get(state, "FinishedAt"));
        bool running = json_is_true(json_object_get(state, "Running")) ||
                       json_is_true(json_object_get(state, "Restarting"));
        fleet_ready(&c->fleet, s); /* labels that are new are told (ends_check) */
        if (running)
            runs_again(s);
        else if (finished && strncmp(finished, "0001-", 5) != 0)
            ended(c, s, XXH3_64bits(finished, strlen(finished)) | 1,
                  (int32_t)json_integer_value(json_object_get(state, "ExitCode")));
    }
    json_decref(config);
}

bool ends_beside(struct collector *c, struct folder *folder, const char *name, enum news news)
{
    bool docker = folder->root->pattern->format == FORMAT_DOCKER && strcmp(name, "config.v2.json") == 0;
    bool code = strcmp(name, "exit_code") == 0;
    if (!folder->holds_sandbox || (!docker && !code))
        return false;
    if (news == NEWS_WENT) {
        struct sandbox *s = code ? sandbox_of(c, folder) : NULL;
        if (s && s->logs)
            runs_again(s);
        return true;
    }
    if (code)
        exit_file(c, folder, name);
    else
        docker_config(c, folder, name);
    return true;
}

/* ---- saying so ---- */

void ends_stop(void *arg, struct sl_slice sandbox)
{
    struct collector *c = arg;
    struct sandbox *s = fleet_find(&c->fleet, sandbox);
    if (s && s->logs && s->end != END_SAYING)
        drain(c, s);
}

void ends_said(void *arg, struct sandbox *s, bool ok)
{
    struct collector *c = arg;
    if (s->end == END_SAYING)
        s->end = ok ? END_SAID : END_DRAIN;
    fleet_ready(&c->fleet, s);
}

/* ---- sandboxes whose files were removed while no collector was here ---- */

void ends_left(struct collector *c, int64_t now_ns)
{
    if (c->left_done || c->left_asked || !ship_connected(c->ship) || !watch_complete(c->watch)) {
        c->left_ns = now_ns + LEFT_NS;
        return;
    }
    if (now_ns >= c->left_ns)
        c->left_asked = ship_mine(c->ship, c->left_page) == 0;
}

void ends_mine(void *arg, struct sl_reader *ids, uint64_t next_page)
{
    struct collector *c = arg;
    struct sl_slice id;
    c->left_asked = false;
    c->left_ns = sl_monotonic_ns() + (ids ? 0 : LEFT_NS);
    while (ids && sl_id_next(ids, &id)) {
        struct sandbox *s = fleet_sandbox(&c->fleet, id);
        if (!s || s->logs)
            continue;
        s->left = s->unmet = s->told = true;
        fleet_want_sync(&c->fleet, s);
    }
    c->left_page = ids ? next_page : c->left_page;
    c->left_done = ids && next_page == 0;
}

/* What was unread of them nobody knows: one gap; nor what came behind them, when all of them were read to
 * their ends. */
static int end_sources(struct collector *c, struct sandbox *s)
{
    struct sl_source_place none = {.source.incarnation = 1};
    int64_t now_ns = sl_now_ns();
    bool gap = true;
    for (uint32_t i = 0; i < s->place_count; i++) {
        const struct sl_source_place *p = &s->places[i];
        if (p->flags & (SL_SOURCE_BURIED | SL_SOURCE_CLOSED))
            continue;
        if (ship_gone(c->ship, s, p, gap) < 0)
            return -ENOMEM;
        if (gap)
            sl_count(&c->counts.gaps[SL_GAP_SOURCE_VANISHED], 1);
        gap = false;
    }
    XXH128_canonical_t key;
    XXH128_canonicalFromHash(&key, XXH3_128bits_withSeed(s->id, s->id_bytes, (uint64_t)now_ns));
    memcpy(none.source.key, key.digest, sizeof none.source.key);
    if (gap && s->unmet && ship_gone(c->ship, s, &none, true) < 0)
        return -ENOMEM;
    s->left = false;
    for (struct log *log = s->logs; log; log = log->sandbox_next)
        log->chain_lost = false;
    return 0;
}

/* The files that were here have not told of those of before that are gone: none of them had the log's own
 * name. */
static bool chain_lost(const struct sandbox *s)
{
    for (const struct log *log = s->logs; log; log = log->sandbox_next)
        if (log->chain_lost)
            return true;
    return false;
}

/* 0: everything was read and is acknowledged; 1: not yet. */
static int drained(struct collector *c, struct sandbox *s)
{
    for (struct log *log = s->logs; log; log = log->sandbox_next) {
        if (log->arrivals)
            return 1;
        for (struct file *f = log->files; f; f = f->next) {
            if (f->state == FILE_COPY || f->state == FILE_BURIED)
                continue;
            if (f->state == FILE_UNPLACED || f->dirty || f->truncated || f->phantom || f->in_flight > 0)
                return 1;
            if (f->state == FILE_READING && f->fd >= 0 && (f->sent < f->at || f->searched > f->at)) {
                if (pack_wrap(&c->pack, f, false) < 0)
                    s->broken = true;
                f->searched = f->at;
                return 1;
            }
            if (f->acked != f->sent || f->joins)
                return 1;
        }
    }
    return s->in_flight > 0;
}

static bool has_files(const struct sandbox *s)
{
    for (struct log *log = s->logs; log; log = log->sandbox_next)
        if (log->files)
            return true;
    return false;
}

/* Something came of which it is not known yet whether it was met. */
static bool is_arriving(const struct sandbox *s)
{
    for (struct log *log = s->logs; log; log = log->sandbox_next)
        if (log->arriving)
            return true;
    return false;
}

/* The sandbox was deleted, and no file has come since. */
static bool all_buried(const struct sandbox *s)
{
    for (struct log *log = s->logs; log; log = log->sandbox_next)
        for (struct file *f = log->files; f; f = f->next)
            if (f->state != FILE_BURIED && f->state != FILE_COPY)
                return false;
    return true;
}

/* All files are gone, and what they held is stored. */
static void forget(struct collector *c, struct sandbox *s)
{
    while (s->logs) {
        struct folder *folder = s->logs->folder;
        fleet_log_free(&c->fleet, s->logs);
        watch_release(c->watch, folder);
    }
    if (!s->ready && !s->in_sync_queue && !s->in_timers && s->in_flight == 0)
        fleet_sandbox_free(&c->fleet, s);
    else
        turns_later(c, s, SL_NS_PER_S);
}

static int say_stopped(struct collector *c, struct sandbox *s)
{
    int r = ends_announce(c, s);
    struct sl_change change = {
        .fields = SL_CHANGE_STATE, .state = SL_STOPPED, .sandbox = sl_slice(s->id, s->id_bytes)};
    if (s->has_exit) {
        change.fields |= SL_CHANGE_EXIT;
        change.exit_code = s->exit_code;
    }
    if (r == 0)
        r = ship_change(c->ship, s, &change, true);
    if (r == 0)
        s->end = END_SAYING;
    return r;
}

void ends_check(struct collector *c, struct sandbox *s)
{
    bool files = has_files(s), arriving = is_arriving(s);
    if (files)
        s->end_quiet = all_buried(s);
    if (files || arriving)
        s->left = false;
    if (!files && !arriving && s->end != END_SAYING && s->in_flight == 0) {
        bool known = s->told && !s->end_quiet;
        if (s->end == END_SAID || !known) {
            forget(c, s);
            return;
        }
        if ((s->left || chain_lost(s)) && end_sources(c, s) < 0) {
            turns_later(c, s, SL_NS_PER_S);
            return;
        }
        s->end = END_DRAIN;
    }
    if (s->labels_new && s->told)
        ends_announce(c, s);
    if (s->end != END_DRAIN || drained(c, s) != 0)
        return;
    if (s->end_quiet)
        s->end = END_SAID;
    else if (say_stopped(c, s) < 0)
        turns_later(c, s, SL_NS_PER_S);
    else
        fleet_ready(&c->fleet, s);
}
