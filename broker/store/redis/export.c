// SPDX-License-Identifier: Apache-2.0
/* Noting what has come, and the places of consumers. Writer's thread. */
#include "export.h"
#include "read.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SWEEP_PAUSE_NS (10 * SL_NS_PER_S)

enum { NOTES_MAX = 256, PAGE = 128, NUMBER_BYTES = 24 };

/*
 * KEYS: log, marks, state. ARGV: 1 a new consumer that also gets what was noted before, or "", 2 "1": notes
 * may be of older lines than those before them; then eight of each sandbox: id, birth, first number kept, the
 * spot it has come to (number, sub), text bytes to there, and to the first kept, commit time. Gives the
 * number of notes.
 */
struct script note_script = {
    .text = "local state = redis.call('HMGET', KEYS[3], 'lines', 'bytes')\n"
            "local lines, bytes, n, last = tonumber(state[1] or '0'), tonumber(state[2] or '0'), 0, nil\n"
            "local function put(i, only, f, t, l, x)\n"
            "  lines, bytes, n = lines + l, bytes + x, n + 1\n"
            "  last = redis.call('XADD', KEYS[1], '*', 'i', ARGV[i], 'b', ARGV[i + 1], 'f', f, 't', t,\n"
            "    'l', string.format('%.0f', l), 'x', string.format('%.0f', x), 'L', string.format('%.0f', "
            "lines),\n"
            "    'X', string.format('%.0f', bytes), 'c', ARGV[i + 7], 'o', only)\n"
            "end\n"
            "for i = 3, #ARGV, 8 do\n"
            "  local seq, sub, text = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])\n"
            "  local f, fs, ft = ARGV[i + 2], '0', tonumber(ARGV[i + 6])\n"
            "  local b, s, u, x = string.match(redis.call('HGET', KEYS[2], ARGV[i]) or '', "
            "'^(%d+) (%d+) (%d+) (%d+)$')\n"
            "  if b == ARGV[i + 1] then\n"
            "    if ARGV[1] ~= '' and (tonumber(s) > tonumber(f) or (s == f and u ~= '0')) then\n"
            "      put(i, ARGV[1], f .. '-0', s .. '-' .. u, math.max(0, tonumber(s) - tonumber(f)), "
            "math.max(0, tonumber(x) - ft))\n"
            "    end\n"
            "    f, fs, ft = s, u, tonumber(x)\n"
            "  end\n"
            "  if seq > tonumber(f) or (seq == tonumber(f) and sub > tonumber(fs)) then\n"
            "    put(i, '', f .. '-' .. fs, ARGV[i + 3] .. '-' .. ARGV[i + 4], seq - tonumber(f), "
            "math.max(0, text - ft))\n"
            "    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 3] .. ' ' .. ARGV[i + "
            "4] .. ' ' "
            ".. ARGV[i + 5])\n"
            "  end\n"
            "end\n"
            "if n > 0 then\n"
            "  redis.call('HSET', KEYS[3], 'lines', string.format('%.0f', lines), 'bytes', "
            "string.format('%.0f', bytes))\n"
            "  if ARGV[2] == '1' then redis.call('HSET', KEYS[3], 'late', last) end\n"
            "end\n"
            "return n\n",
};

/*
 * KEYS: state, log, marks. ARGV: what ("clean": forgets all when there is nobody), consumer, then of "begin":
 * most consumers, the time; of "ack": ms, number, seq, sub. Gives 0 and the place (of "begin" of a new one:
 * the log's end), 1: there is none, 5: too many, 9: it was there already, and the place. A consumer that is
 * being made ("q") holds the log like one that is there ("p").
 */
struct script consumer_script = {
    .text = "if ARGV[1] == 'clean' then\n"
            "  for _, k in ipairs(redis.call('HKEYS', KEYS[1])) do\n"
            "    if string.match(k, '^[pq]') then return {1, ''} end\n"
            "  end\n"
            "  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])\n"
            "  return {1, ''}\n"
            "end\n"
            "local p = redis.call('HGET', KEYS[1], 'p' .. ARGV[2])\n"
            "if ARGV[1] == 'begin' then\n"
            "  if p then return {9, p} end\n"
            "  local n = 0\n"
            "  for _, k in ipairs(redis.call('HKEYS', KEYS[1])) do if string.sub(k, 1, 1) == 'p' then n = n "
            "+ 1 end end\n"
            "  if n >= tonumber(ARGV[3]) then return {5, ''} end\n"
            "  local e = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)\n"
            "  local at = e[1] and e[1][1] or '0-0'\n"
            "  redis.call('HSET', KEYS[1], 'q' .. ARGV[2], at .. ' ' .. ARGV[4])\n"
            "  return {0, at .. '-0-0'}\n"
            "end\n"
            "if ARGV[1] == 'end' then\n"
            "  redis.call('HSETNX', KEYS[1], 'p' .. ARGV[2], ARGV[3])\n"
            "  redis.call('HDEL', KEYS[1], 'q' .. ARGV[2])\n"
            "  return {0, redis.call('HGET', KEYS[1], 'p' .. ARGV[2])}\n"
            "end\n"
            "if not p then return {1, ''} end\n"
            "if ARGV[1] == 'drop' then redis.call('HDEL', KEYS[1], 'p' .. ARGV[2]) return {0, p} end\n"
            "local old = {string.match(p, '^(%d+)-(%d+)-(%d+)-(%d+)$')}\n"
            "local new = {ARGV[3], ARGV[4], ARGV[5], ARGV[6]}\n"
            "local function at(v, i)\n"
            "  if i == 3 and v[3] == '0' and v[4] == '0' then return math.huge end\n"
            "  return tonumber(v[i])\n"
            "end\n"
            "for i = 1, 4 do\n"
            "  if at(new, i) < at(old, i) then return {0, p} end\n"
            "  if at(new, i) > at(old, i) then break end\n"
            "end\n"
            "p = table.concat(new, '-')\n"
            /* A failover may have lost notes before that place, and the new master's clock be behind: what
             * is noted from here on stands behind it. Refused, which is well, when the log is further. */
            "local id = new[1] .. '-' .. new[2]\n"
            "if not redis.pcall('XADD', KEYS[2], id, 'i', '').err then redis.call('XDEL', KEYS[2], id) end\n"
            "redis.call('HSET', KEYS[1], 'p' .. ARGV[2], p)\n"
            "return {0, p}\n",
};

unsigned export_slot(void)
{
    return link_slot(sl_slice_of(EXPORT_KEY("log")));
}

/* ---- places ---- */

bool export_place_parse(struct sl_slice text, struct export_place *ret)
{
    uint64_t numbers[4];
    size_t at = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t n = 0;
        size_t began = at;
        while (at < text.bytes && text.data[at] >= '0' && text.data[at] <= '9') {
            unsigned digit = (unsigned)(text.data[at++] - '0');
            if (n > (UINT64_MAX - digit) / 10)
                return false;
            n = n * 10 + digit;
        }
        if (at == began || (i < 3 && (at == text.bytes || text.data[at++] != '-')))
            return false;
        numbers[i] = n;
    }
    *ret = (struct export_place){numbers[0], numbers[1], {numbers[2], (uint32_t)numbers[3]}};
    return at == text.bytes && numbers[3] <= UINT32_MAX;
}

size_t export_place_text(const struct export_place *p, char out[PLACE_BYTES])
{
    return (size_t)snprintf(out, PLACE_BYTES, "%" PRIu64 "-%" PRIu64 "-%" PRIu64 "-%" PRIu32, p->ms,
                            p->number, p->spot.seq, p->spot.sub);
}

int export_place_read(struct sl_slice text, uint64_t epoch, struct export_place *ret)
{
    char mine[12];
    snprintf(mine, sizeof mine, "%08x-", (unsigned)(epoch ^ epoch >> 32));
    if (text.bytes < 10 || text.data[8] != '-' ||
        !export_place_parse(sl_slice(text.data + 9, text.bytes - 9), ret))
        return STORE_BAD;
    for (int i = 0; i < 8; i++)
        if (!strchr("0123456789abcdef", text.data[i]) || !text.data[i])
            return STORE_BAD;
    return memcmp(text.data, mine, 9) == 0 ? 0 : STORE_FOREIGN;
}

void export_place_write(const struct export_place *p, uint64_t epoch, struct sl_checkpoint *ret)
{
    char text[PLACE_BYTES + 16], place[PLACE_BYTES];
    export_place_text(p, place);
    int bytes = snprintf(text, sizeof text, "%08x-%s", (unsigned)(epoch ^ epoch >> 32), place);
    ret->bytes = (uint8_t)(bytes < SL_CHECKPOINT_MAX_BYTES ? bytes : SL_CHECKPOINT_MAX_BYTES);
    memcpy(ret->text, text, ret->bytes);
}

size_t lease_key(char out[LEASE_KEY_BYTES], struct sl_slice consumer)
{
    return (size_t)snprintf(out, LEASE_KEY_BYTES, EXPORT_KEY("lease:") "%.*s", (int)consumer.bytes,
                            (const char *)consumer.data);
}

/* ---- notes ---- */

static int begin_notes(struct call *c, struct sl_slice only, bool late)
{
    *c = (struct call){.script = &note_script, .slot = export_slot()};
    return call_add_text(c, "EVALSHA") || call_add_text(c, note_script.sha) || call_add_text(c, "3") ||
                   call_add_text(c, EXPORT_KEY("log")) || call_add_text(c, EXPORT_KEY("marks")) ||
                   call_add_text(c, EXPORT_KEY("state")) ||
                   call_add(c, only.bytes ? (const void *)only.data : "", only.bytes) ||
                   call_add_text(c, late ? "1" : "0")
               ? -ENOMEM
               : 0;
}

static int add_note(struct writer *w, struct call *c, const struct life *l, int64_t commit_ns)
{
    return writer_copy(w, c, l->id, l->id_bytes) || writer_number(w, c, l->birth) ||
                   writer_number(w, c, l->kept_from) || writer_number(w, c, l->last_seq + 1) ||
                   writer_number(w, c, l->sub) || writer_number(w, c, l->text_bytes) ||
                   writer_number(w, c, l->text_bytes - l->kept_bytes) ||
                   writer_number(w, c, (uint64_t)commit_ns)
               ? -ENOMEM
               : 0;
}

/* How many notes that made; < 0. */
static int send_notes(struct writer *w, struct call *c, int fault)
{
    int notes = 0;
    if (fault == 0) {
        link_round(w->link, c, 1);
        fault = c->fault ? c->fault : c->reply->type == REDIS_REPLY_INTEGER ? 0 : -EIO;
    }
    if (fault == 0)
        notes = (int)c->reply->integer;
    call_end(c);
    return fault ? fault : notes;
}

static void tell_readers(struct redis *r)
{
    pthread_mutex_lock(&r->mutex);
    ids_push(&r->grown, sl_slice_of(""));
    pthread_mutex_unlock(&r->mutex);
    r->options.wake(r->options.arg);
}

void export_note(struct writer *w)
{
    bool any = false;
    if (!atomic_load(&w->redis->exporting))
        return;
    for (size_t i = 0; i < w->box_count;) {
        struct call c;
        unsigned count = 0;
        int fault = begin_notes(&c, sl_slice(NULL, 0), false);
        for (; i < w->box_count && count < NOTES_MAX; i++) {
            const struct box *b = w->boxes[i];
            if (!b->written || !b->life.alive)
                continue;
            count++;
            if (fault == 0)
                fault = add_note(w, &c, &b->life, w->now_ns);
        }
        if (count == 0) {
            call_end(&c);
            break;
        }
        int notes = send_notes(w, &c, fault);
        any = any || notes > 0;
        if (notes < 0)
            w->export_sweep_ns = 0;
    }
    arena_free(&w->arena);
    if (any)
        tell_readers(w->redis);
}

/* ---- the sweep ---- */

static int note_lives(struct writer *w, struct sl_slice only, const struct call *calls, struct sl_slice *ids,
                      size_t count)
{
    struct call c;
    int fault = begin_notes(&c, only, true);
    size_t alive = 0;
    for (size_t i = 0; i < count && fault == 0; i++) {
        struct life life;
        life_init(&life, ids[i]);
        if (calls[i].fault || reply_error(calls[i].reply))
            fault = calls[i].fault ? calls[i].fault : -EIO;
        else
            fault = life_from_pair(&life, calls[i].reply);
        if (fault == 0 && life.alive && (life.last_seq > 0 || life.sub > 0)) {
            fault = add_note(w, &c, &life, life.last_time_ns);
            alive++;
        }
        fault = fault > 0 ? 0 : fault; /* not ours: nothing to export */
        life_clear(&life);
    }
    if (alive == 0) {
        call_end(&c);
        return fault;
    }
    return send_notes(w, &c, fault);
}

/* The sandboxes born at *at or later, PAGE of them; *ret_end: there are no more. Gives how many notes it
 * made. */
static int sweep_page(struct writer *w, struct sl_slice only, uint64_t *at, bool *ret_end)
{
    char from[NUMBER_BYTES], count_text[NUMBER_BYTES];
    snprintf(from, sizeof from, "%" PRIu64, *at);
    snprintf(count_text, sizeof count_text, "%d", PAGE);
    const char *words[] = {"ZRANGEBYSCORE", list_key, from, "+inf", "WITHSCORES", "LIMIT", "0", count_text};
    struct call c = {.slot = link_slot(sl_slice_of(list_key))}, calls[PAGE] = {0};
    struct sl_slice ids[PAGE];
    char keys[PAGE][KEY_BYTES];
    int fault = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        fault = fault ? fault : call_add_text(&c, words[i]);
    if (fault == 0) {
        link_round(w->link, &c, 1);
        fault = c.fault ? c.fault : c.reply->type == REDIS_REPLY_ARRAY ? 0 : -EIO;
    }
    size_t count = 0, got = fault ? 0 : c.reply->elements / 2;
    for (size_t i = 0; i < got && fault == 0; i++) {
        const redisReply *name = c.reply->element[2 * i];
        ids[count] = sl_slice(name->str, name->len);
        *at = strtoull(c.reply->element[2 * i + 1]->str, NULL, 10);
        if (!sl_sandbox_id_valid(ids[count]))
            continue;
        fault = home_want_pair(&calls[count], keys[count], key_of(keys[count], ids[count], 'h'));
        count++;
    }
    if (fault == 0 && count) {
        link_round(w->link, calls, count);
        fault = note_lives(w, only, calls, ids, count);
    }
    for (size_t i = 0; i < count; i++)
        call_end(&calls[i]);
    call_end(&c);
    arena_free(&w->arena);
    *ret_end = got < PAGE;
    return fault;
}

bool export_due(const struct writer *w)
{
    return atomic_load(&w->redis->exporting) && sl_monotonic_ns() >= w->export_sweep_ns;
}

void export_step(struct writer *w)
{
    bool end = true;
    int notes = sweep_page(w, sl_slice(NULL, 0), &w->export_at, &end);
    if (notes > 0)
        tell_readers(w->redis);
    if (notes < 0 || end) {
        w->export_at = 0;
        w->export_sweep_ns = sl_monotonic_ns() + (notes < 0 ? SL_NS_PER_S : SWEEP_PAUSE_NS);
    }
}

/* ---- consumers ---- */

/* 0, 1, 5 or 9 as the script says, with the place; < 0. */
static int ask_consumer(struct writer *w, const char *what, struct sl_slice name, const char *const *more,
                        size_t more_count, struct export_place *ret)
{
    struct call c = {.script = &consumer_script, .slot = export_slot(), .waits = true};
    int fault = call_add_text(&c, "EVALSHA") || call_add_text(&c, consumer_script.sha) ||
                        call_add_text(&c, "3") || call_add_text(&c, EXPORT_KEY("state")) ||
                        call_add_text(&c, EXPORT_KEY("log")) || call_add_text(&c, EXPORT_KEY("marks")) ||
                        call_add_text(&c, what) || call_add(&c, name.data, name.bytes)
                    ? -ENOMEM
                    : 0;
    for (size_t i = 0; i < more_count && fault == 0; i++)
        fault = call_add_text(&c, more[i]);
    if (fault == 0) {
        link_round(w->link, &c, 1);
        fault = c.fault ? c.fault : 0;
    }
    if (fault == 0 && (c.reply->type != REDIS_REPLY_ARRAY || c.reply->elements != 2))
        fault = -EIO;
    int answer = fault ? fault : (int)c.reply->element[0]->integer;
    if ((answer == 0 || answer == 9) &&
        !export_place_parse(sl_slice(c.reply->element[1]->str, c.reply->element[1]->len), ret))
        answer = -EPROTO;
    call_end(&c);
    return answer;
}

/* All that is kept is noted for it before it is there: a broker that dies meanwhile leaves no half of one. */
static int open_consumer(struct writer *w, struct sl_slice name, struct export_place *ret)
{
    char most[NUMBER_BYTES], now[NUMBER_BYTES], text[PLACE_BYTES];
    snprintf(most, sizeof most, "%d", SL_CONSUMERS_MAX);
    snprintf(now, sizeof now, "%lld", (long long)(sl_now_ns() / SL_NS_PER_S));
    int answer = ask_consumer(w, "begin", name, (const char *[]){most, now}, 2, ret);
    if (answer == 9)
        return 0;
    if (answer)
        return answer == 5 ? STORE_TOO_MANY : answer;
    atomic_store(&w->redis->exporting, true);
    if (w->redis->options.export_holds)
        atomic_store(&w->redis->hold_ns, 0);
    uint64_t at = 0;
    for (bool end = false; !end;) {
        int notes = sweep_page(w, name, &at, &end);
        if (notes < 0)
            return notes;
    }
    export_place_text(ret, text);
    return ask_consumer(w, "end", name, (const char *[]){text}, 1, ret);
}

static int change_consumer(struct writer *w, struct store_consumer_change *change)
{
    struct redis *r = w->redis;
    struct export_place place = {0};
    char numbers[4][NUMBER_BYTES];
    int answer;
    pthread_mutex_lock(&r->mutex);
    uint64_t epoch = r->epoch_found;
    pthread_mutex_unlock(&r->mutex);
    switch (change->what) {
    case STORE_CONSUMER_OPEN:
        answer = open_consumer(w, change->consumer, &place);
        break;
    case STORE_CONSUMER_ACK:
        answer = export_place_read(change->checkpoint, epoch, &place);
        if (answer)
            return answer;
        snprintf(numbers[0], NUMBER_BYTES, "%" PRIu64, place.ms);
        snprintf(numbers[1], NUMBER_BYTES, "%" PRIu64, place.number);
        snprintf(numbers[2], NUMBER_BYTES, "%" PRIu64, place.spot.seq);
        snprintf(numbers[3], NUMBER_BYTES, "%" PRIu32, place.spot.sub);
        answer = ask_consumer(w, "ack", change->consumer,
                              (const char *[]){numbers[0], numbers[1], numbers[2], numbers[3]}, 4, &place);
        break;
    default:
        answer = ask_consumer(w, "drop", change->consumer, NULL, 0, &place);
    }
    if (answer == 0)
        export_place_write(&place, epoch, &change->place);
    return answer;
}

void export_changes(struct writer *w, struct changing *changes)
{
    struct redis *r = w->redis;
    while (changes) {
        struct changing *next = changes->next;
        changes->answer = change_consumer(w, changes->change);
        pthread_mutex_lock(&r->mutex);
        changes->next = r->changed;
        r->changed = changes;
        pthread_mutex_unlock(&r->mutex);
        changes = next;
    }
    r->options.wake(r->options.arg);
}
