// SPDX-License-Identifier: Apache-2.0
/* What consumers read, and who they are: home's part. What they still owe: the watcher's. */
#include "export.h"
#include "read.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A commit is noted well within that time. */
#define NOTED_WITHIN_NS (60 * SL_NS_PER_S)
/* A consumer that was never finished being made holds nothing any more. */
enum { MAKING_S = 600, NOTES_PAGE = 64, NOTES_MOST = 1024, TEXT_BYTES = 32 };

/* KEYS: state, lease. ARGV: consumer, holder, ms (0: gives it back). 0, 1: no such consumer, 2: another
 * holder. */
struct script lease_script = {
    .text = "if redis.call('HEXISTS', KEYS[1], 'p' .. ARGV[1]) == 0 then return 1 end\n"
            "local holder = redis.call('GET', KEYS[2])\n"
            "if holder and holder ~= ARGV[2] then return 2 end\n"
            "if ARGV[3] == '0' then redis.call('DEL', KEYS[2])\n"
            "else redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end\n"
            "return 0\n",
};

/* ---- notes ---- */

static bool two_numbers(const char *text, uint64_t *ret_first, uint64_t *ret_second)
{
    char *end;
    *ret_first = strtoull(text, &end, 10);
    if (end == text || *end != '-')
        return false;
    *ret_second = strtoull(end + 1, &end, 10);
    return *end == 0;
}

static bool spot_parse(const char *text, struct spot *ret)
{
    uint64_t sub = 0;
    bool good = two_numbers(text, &ret->seq, &sub);
    ret->sub = (uint32_t)sub;
    return good;
}

bool note_parse(const redisReply *entry, struct note *ret)
{
    *ret = (struct note){0};
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 ||
        entry->element[1]->type != REDIS_REPLY_ARRAY ||
        !two_numbers(entry->element[0]->str, &ret->ms, &ret->number))
        return false;
    bool good = true;
    const redisReply *fields = entry->element[1];
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *value = fields->element[i + 1];
        uint64_t n = strtoull(value->str, NULL, 10);
        switch (*fields->element[i]->str) {
        case 'i':
            ret->sandbox = sl_slice(value->str, value->len);
            break;
        case 'o':
            ret->only = sl_slice(value->str, value->len);
            break;
        case 'b':
            ret->birth = n;
            break;
        case 'f':
            good = good && spot_parse(value->str, &ret->from);
            break;
        case 't':
            good = good && spot_parse(value->str, &ret->to);
            break;
        case 'l':
            ret->lines = n;
            break;
        case 'x':
            ret->bytes = n;
            break;
        case 'L':
            ret->all_lines = n;
            break;
        case 'X':
            ret->all_bytes = n;
            break;
        case 'c':
            ret->commit_ns = (int64_t)n;
            break;
        default:
            break;
        }
    }
    return good && sl_sandbox_id_valid(ret->sandbox);
}

int want_notes(struct call *c, const char *from, const char *to, const char *count)
{
    static const char log[] = EXPORT_KEY("log");
    const char *words[] = {"XRANGE", log, from, to, "COUNT", count};
    *c = (struct call){.slot = export_slot()};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (call_add_text(c, words[i]))
            return -ENOMEM;
    return 0;
}

static void note_id(char out[TEXT_BYTES * 2], const char *before, const struct export_place *p)
{
    snprintf(out, TEXT_BYTES * 2, "%s%" PRIu64 "-%" PRIu64, before, p->ms, p->number);
}

static bool is_before(const struct export_place *a, const struct export_place *b)
{
    return a->ms != b->ms ? a->ms < b->ms : a->number < b->number;
}

static bool spot_any(const struct spot *s)
{
    return s->seq || s->sub;
}

/* ---- scans ---- */

struct scanning {
    struct giving giving;
    struct export_place at;
    store_scan_each *each;
    void *arg;
    bool refused;
    bool thinned; /* there may be lines behind the consumer's place whose notes are gone */
};

static bool on_record(void *arg, struct sl_slice bytes, const struct sl_record *record)
{
    struct scanning *s = arg;
    struct giving *g = &s->giving;
    struct store_scanned scanned = {
        .record = bytes, .prefix = record, .birth = g->at_first.birth, .version = g->at_first.version};
    if (!s->each(s->arg, &scanned)) {
        s->refused = true;
        return false;
    }
    bool line = g->entry_seq == 0 || g->next > g->entry_seq;
    s->at.spot = line ? (struct spot){g->next, 0} : (struct spot){g->entry_seq, g->entry_sub + 1};
    return true;
}

/* The records of a note, from the scan's spot if it is within. *ret_whole: all of them were taken. */
static int scan_note(struct scanning *s, const struct note *note, bool *ret_whole)
{
    struct redis *r = s->giving.redis;
    bool within = s->at.ms == note->ms && s->at.number == note->number && spot_any(&s->at.spot);
    struct spot from = within ? s->at.spot : note->from;
    *ret_whole = true;
    int fault = home_show(r, note->sandbox);
    if (fault == STORE_UNKNOWN || (fault == 0 && r->shown.birth != note->birth))
        return 0; /* deleted */
    if (fault)
        return fault;
    char low[ENTRY_ID_BYTES], end[ENTRY_ID_BYTES];
    entry_id(low, "", from.seq, from.sub);
    entry_id(end, "(", note->to.seq, note->to.sub);
    struct giving *g = &s->giving;
    struct export_place before = s->at;
    s->at = (struct export_place){note->ms, note->number, from};
    g->id = note->sandbox;
    g->at_first = g->now = r->shown;
    life_init(&g->now, note->sandbox);
    g->now.kept_from = r->shown.kept_from;
    g->end = end;
    g->next = from.seq;
    g->entry_seq = 0;
    /* Only notes of lines that retention took are gone: one before this may be. */
    if (s->thinned && !within && from.seq > 1 && from.seq <= r->shown.kept_from) {
        records_give_lost(g);
        if (g->stopped) { /* not taken: it comes first next time */
            s->at = before;
            life_clear(&g->now);
            *ret_whole = false;
            return 0;
        }
        s->at.spot = from;
    }
    fault = records_give(g, low, false, note->to.seq);
    life_clear(&g->now);
    if (fault == -EAGAIN)
        return g->any ? (*ret_whole = false, 0) : fault;
    *ret_whole = fault == 0 && !g->stopped;
    return fault;
}

/* A page of the log; *ret_end: there is no more of it. */
static int scan_page(struct scanning *s, struct sl_slice consumer, size_t *notes, bool *ret_end)
{
    struct call c;
    char from[TEXT_BYTES * 2], count[TEXT_BYTES];
    note_id(from, spot_any(&s->at.spot) ? "" : "(", &s->at);
    snprintf(count, sizeof count, "%d", NOTES_PAGE);
    int fault = want_notes(&c, from, "+", count);
    if (fault == 0) {
        home_ask(s->giving.redis, &c, 1);
        fault = home_answered(&c, REDIS_REPLY_ARRAY);
    }
    size_t got = fault ? 0 : c.reply->elements;
    for (size_t i = 0; i < got && fault == 0 && !s->giving.stopped; i++) {
        struct note note;
        bool whole = true;
        bool ours = note_parse(c.reply->element[i], &note);
        if (ours && (note.only.bytes == 0 || sl_slice_equal(note.only, consumer)))
            fault = scan_note(s, &note, &whole);
        if (fault == 0 && !whole) {
            s->giving.stopped = true;
        } else if (fault == 0) {
            s->at = (struct export_place){note.ms, note.number, {0, 0}};
            ++*notes;
        }
    }
    *ret_end = got < NOTES_PAGE;
    call_end(&c);
    return fault;
}

/* The consumer's place, and whether notes behind it were removed. > 0: STORE_UNKNOWN. */
static int place_of(struct redis *r, struct sl_slice consumer, struct export_place *ret, bool *ret_thinned)
{
    char field[1 + SL_CONSUMER_MAX_BYTES + 1];
    int bytes = snprintf(field, sizeof field, "p%.*s", (int)consumer.bytes, (const char *)consumer.data);
    struct call c = {.slot = export_slot()};
    int fault = call_add_text(&c, "HMGET") || call_add_text(&c, EXPORT_KEY("state")) ||
                        call_add(&c, field, (size_t)bytes) || call_add_text(&c, "gone")
                    ? -ENOMEM
                    : 0;
    if (fault == 0) {
        home_ask(r, &c, 1);
        fault = home_answered(&c, REDIS_REPLY_ARRAY);
    }
    if (fault == 0 && c.reply->elements != 2)
        fault = -EPROTO;
    const redisReply *place = fault ? NULL : c.reply->element[0], *gone = fault ? NULL : c.reply->element[1];
    if (fault == 0 && place->type != REDIS_REPLY_STRING)
        fault = STORE_UNKNOWN;
    if (fault == 0 && !export_place_parse(sl_slice(place->str, place->len), ret))
        fault = -EPROTO;
    struct export_place newest = {0};
    *ret_thinned = fault == 0 && gone->type == REDIS_REPLY_STRING &&
                   two_numbers(gone->str, &newest.ms, &newest.number) && is_before(ret, &newest);
    call_end(&c);
    return fault;
}

int redis_scan(struct store *store, struct sl_slice consumer, struct sl_slice checkpoint, size_t max_bytes,
               store_scan_each *each, void *arg, struct sl_checkpoint *ret_from,
               struct sl_checkpoint *ret_next, bool *ret_more)
{
    struct redis *r = (struct redis *)store;
    struct scanning s = {.giving = {.redis = r, .max_bytes = max_bytes, .each = on_record, .arg = &s},
                         .each = each,
                         .arg = arg};
    int fault = place_of(r, consumer, &s.at, &s.thinned);
    if (fault == 0 && checkpoint.bytes)
        fault = export_place_read(checkpoint, r->epoch, &s.at);
    if (fault)
        return fault;
    export_place_write(&s.at, r->epoch, ret_from);
    bool end = false;
    for (size_t notes = 0; fault == 0 && !end && !s.giving.stopped && notes < NOTES_MOST;)
        fault = scan_page(&s, consumer, &notes, &end);
    /* What was given stands; the next call meets what keeps from the rest. */
    if (fault && !s.giving.any)
        return fault;
    export_place_write(&s.at, r->epoch, ret_next);
    *ret_more = fault || !end || s.giving.stopped;
    return 0;
}

int redis_lease(struct store *s, struct sl_slice consumer, uint64_t holder, uint32_t ttl_ms)
{
    struct redis *r = (struct redis *)s;
    char key[LEASE_KEY_BYTES], who[TEXT_BYTES], ms[TEXT_BYTES];
    lease_key(key, consumer);
    snprintf(who, sizeof who, "%" PRIx64, holder);
    snprintf(ms, sizeof ms, "%" PRIu32, ttl_ms);
    struct call c = {.script = &lease_script, .slot = export_slot()};
    int fault = call_add_text(&c, "EVALSHA") || call_add_text(&c, lease_script.sha) ||
                        call_add_text(&c, "2") || call_add_text(&c, EXPORT_KEY("state")) ||
                        call_add_text(&c, key) || call_add(&c, consumer.data, consumer.bytes) ||
                        call_add_text(&c, who) || call_add_text(&c, ms)
                    ? -ENOMEM
                    : 0;
    if (fault == 0) {
        home_ask(r, &c, 1);
        fault = home_answered(&c, REDIS_REPLY_INTEGER);
    }
    int answer = fault ? fault : (int)c.reply->integer; /* 1 and 2 are STORE_UNKNOWN and STORE_BUSY */
    call_end(&c);
    return answer;
}

void redis_consumer_change(struct store *s, struct store_consumer_change *change)
{
    struct redis *r = (struct redis *)s;
    struct changing *c = malloc(sizeof *c);
    if (!c) {
        change->done(change, -ENOMEM);
        return;
    }
    pthread_mutex_lock(&r->mutex);
    *c = (struct changing){.next = r->changes, .change = change};
    r->changes = c;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->mutex);
}

/* ---- who there is ---- */

struct state {
    uint64_t lines, bytes;    /* of all that was noted */
    struct export_place late; /* the newest note of older lines */
    struct owing {
        struct sl_slice name;
        struct export_place at;
        bool making;
    } consumers[2 * SL_CONSUMERS_MAX];
    size_t count;
};

/* `fields` is borrowed. */
static void state_parse(const redisReply *fields, struct state *ret)
{
    *ret = (struct state){0};
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *name = fields->element[i], *value = fields->element[i + 1];
        struct owing *o = &ret->consumers[ret->count];
        bool room = ret->count < sizeof ret->consumers / sizeof *ret->consumers;
        if (strcmp(name->str, "lines") == 0) {
            ret->lines = strtoull(value->str, NULL, 10);
        } else if (strcmp(name->str, "bytes") == 0) {
            ret->bytes = strtoull(value->str, NULL, 10);
        } else if (strcmp(name->str, "late") == 0) {
            two_numbers(value->str, &ret->late.ms, &ret->late.number);
        } else if (*name->str == 'p' && room) {
            *o = (struct owing){.name = sl_slice(name->str + 1, name->len - 1)};
            ret->count += export_place_parse(sl_slice(value->str, value->len), &o->at);
        } else if (*name->str == 'q' && room) {
            *o = (struct owing){.name = sl_slice(name->str + 1, name->len - 1), .making = true};
            char *end;
            o->at.ms = strtoull(value->str, &end, 10);
            o->at.number = *end ? strtoull(end + 1, &end, 10) : 0;
            ret->count += sl_now_ns() / SL_NS_PER_S - strtoll(end, NULL, 10) < MAKING_S;
        }
    }
}

static int want_state(struct call *c)
{
    *c = (struct call){.slot = export_slot()};
    return call_add_text(c, "HGETALL") || call_add_text(c, EXPORT_KEY("state")) ? -ENOMEM : 0;
}

static int by_name(const void *a, const void *b)
{
    const struct owing *x = a, *y = b;
    size_t bytes = x->name.bytes < y->name.bytes ? x->name.bytes : y->name.bytes;
    int order = memcmp(x->name.data, y->name.data, bytes);
    return order ? order : (x->name.bytes > y->name.bytes) - (x->name.bytes < y->name.bytes);
}

/* How much lies behind a place: `at`, the note that it is in or behind, and the first one behind that. */
static void lag_of(const struct state *state, const struct owing *o, const redisReply *at,
                   const redisReply *behind, struct sl_consumer *ret)
{
    struct note here, next;
    bool has_here = at->elements == 1 && note_parse(at->element[0], &here);
    bool has_next = behind->elements == 1 && note_parse(behind->element[0], &next);
    uint64_t lines = state->lines, bytes = state->bytes; /* of all to the place */
    if (has_here) {
        lines = here.all_lines;
        bytes = here.all_bytes;
        if (spot_any(&o->at.spot) && here.to.seq > o->at.spot.seq) {
            uint64_t left = here.to.seq - o->at.spot.seq;
            lines -= left < lines ? left : lines;
            uint64_t share =
                here.lines ? (uint64_t)((double)here.bytes * (double)left / (double)here.lines) : 0;
            bytes -= share < bytes ? share : bytes;
            ret->oldest_ns = here.commit_ns;
        }
    } else if (has_next) {
        lines = next.all_lines - next.lines;
        bytes = next.all_bytes - next.bytes;
    }
    if (has_next && !ret->oldest_ns)
        ret->oldest_ns = next.commit_ns;
    ret->lag_lines = state->lines > lines ? state->lines - lines : 0;
    ret->lag_bytes = state->bytes > bytes ? state->bytes - bytes : 0;
}

static int tell_consumer(struct redis *r, const struct state *state, const struct owing *o,
                         void (*each)(void *arg, const struct sl_consumer *consumer), void *arg)
{
    struct call calls[3];
    char at[TEXT_BYTES * 2], behind[TEXT_BYTES * 2], key[LEASE_KEY_BYTES];
    note_id(at, "", &o->at);
    note_id(behind, "(", &o->at);
    lease_key(key, o->name);
    int fault = want_notes(&calls[0], at, at, "1");
    int second = want_notes(&calls[1], behind, "+", "1");
    calls[2] = (struct call){.slot = export_slot()};
    int third = call_add_text(&calls[2], "EXISTS") || call_add_text(&calls[2], key) ? -ENOMEM : 0;
    fault = fault ? fault : second ? second : third;
    if (fault == 0)
        home_ask(r, calls, 3);
    for (int i = 0; i < 3 && fault == 0; i++)
        fault = home_answered(&calls[i], i < 2 ? REDIS_REPLY_ARRAY : REDIS_REPLY_INTEGER);
    if (fault == 0) {
        struct sl_checkpoint checkpoint;
        export_place_write(&o->at, r->epoch, &checkpoint);
        struct sl_consumer c = {.name = o->name,
                                .checkpoint = sl_checkpoint_slice(&checkpoint),
                                .overruns = atomic_load(&r->overruns),
                                .leased = calls[2].reply->integer == 1};
        lag_of(state, o, calls[0].reply, calls[1].reply, &c);
        each(arg, &c);
    }
    for (int i = 0; i < 3; i++)
        call_end(&calls[i]);
    return fault;
}

int redis_consumers(struct store *s, void (*each)(void *arg, const struct sl_consumer *consumer), void *arg)
{
    struct redis *r = (struct redis *)s;
    struct call c;
    int fault = want_state(&c);
    if (fault == 0) {
        home_ask(r, &c, 1);
        fault = home_answered(&c, REDIS_REPLY_ARRAY);
    }
    if (fault == 0) {
        struct state state;
        state_parse(c.reply, &state);
        qsort(state.consumers, state.count, sizeof *state.consumers, by_name);
        for (size_t i = 0; i < state.count && fault == 0; i++)
            if (!state.consumers[i].making)
                fault = tell_consumer(r, &state, &state.consumers[i], each, arg);
    }
    call_end(&c);
    return fault;
}

/* ---- what is owed ---- */

/* Commit time from which on everything is owed to a consumer; `lowest` is the place of the slowest. */
static int64_t hold_of(struct redis *r, struct link *l, const struct state *state,
                       const struct export_place *lowest)
{
    const struct store_options *o = &r->options;
    struct call c;
    char behind[TEXT_BYTES * 2];
    note_id(behind, spot_any(&lowest->spot) ? "" : "(", lowest);
    int64_t hold_ns = sl_now_ns() - NOTED_WITHIN_NS;
    struct note next = {0};
    int fault = want_notes(&c, behind, "+", "1");
    if (fault == 0)
        link_round(l, &c, 1);
    bool answered = fault == 0 && c.fault == 0 && c.reply->type == REDIS_REPLY_ARRAY;
    bool owes = answered && c.reply->elements == 1 && note_parse(c.reply->element[0], &next);
    call_end(&c);
    if (!answered)
        return 0; /* not known: all */
    if (owes && is_before(lowest, &state->late))
        hold_ns = 0;
    else if (owes && next.commit_ns - NOTED_WITHIN_NS < hold_ns)
        hold_ns = next.commit_ns - NOTED_WITHIN_NS;
    uint64_t lag = owes ? state->bytes - (next.all_bytes - next.bytes) : 0;
    if (o->export_hold_ns > 0 && owes && sl_now_ns() - o->export_hold_ns > hold_ns)
        hold_ns = sl_now_ns() - o->export_hold_ns;
    if (o->export_hold_bytes > 0 && lag > o->export_hold_bytes)
        hold_ns = INT64_MAX;
    return hold_ns;
}

void export_look(struct redis *r, struct link *l)
{
    struct call c;
    if (want_state(&c) == 0)
        link_round(l, &c, 1);
    bool answered = c.fault == 0 && c.reply && c.reply->type == REDIS_REPLY_ARRAY;
    struct state state = {0};
    if (answered)
        state_parse(c.reply, &state);
    if (!answered) {
        call_end(&c);
        return;
    }
    struct export_place lowest = {.ms = UINT64_MAX};
    for (size_t i = 0; i < state.count; i++)
        if (is_before(&state.consumers[i].at, &lowest))
            lowest = state.consumers[i].at;
    int64_t hold_ns = state.count && r->options.export_holds ? hold_of(r, l, &state, &lowest) : INT64_MAX;
    if (state.count && hold_ns == INT64_MAX && atomic_load(&r->hold_ns) != INT64_MAX &&
        r->options.export_holds)
        atomic_fetch_add(&r->overruns, 1);
    atomic_store(&r->hold_ns, hold_ns);
    atomic_store(&r->exporting, state.count > 0);
    call_end(&c);
    /* What everybody has passed is of no use; the note that a place names stays. */
    char from[TEXT_BYTES * 2];
    note_id(from, "", &lowest);
    struct call trim = {.slot = export_slot()};
    bool good;
    if (state.count) {
        good = !call_add_text(&trim, "XTRIM") && !call_add_text(&trim, EXPORT_KEY("log")) &&
               !call_add_text(&trim, "MINID") && !call_add_text(&trim, from);
    } else {
        trim.script = &consumer_script;
        good = state.lines && !call_add_text(&trim, "EVALSHA") &&
               !call_add_text(&trim, consumer_script.sha) && !call_add_text(&trim, "3") &&
               !call_add_text(&trim, EXPORT_KEY("state")) && !call_add_text(&trim, EXPORT_KEY("log")) &&
               !call_add_text(&trim, EXPORT_KEY("marks")) && !call_add_text(&trim, "clean");
    }
    if (good)
        link_round(l, &trim, 1);
    call_end(&trim);
}
