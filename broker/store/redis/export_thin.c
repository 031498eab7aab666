// SPDX-License-Identifier: Apache-2.0
/*
 * What keeps the log of notes bounded behind a consumer that does not come back: notes whose lines retention
 * or a deletion took are of no use, but for the last one of each sandbox, which tells of the gap. Writer's
 * thread; one broker at a time.
 */
#include "export.h"
#include "read.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define THIN_PAUSE_NS (10 * SL_NS_PER_S)
#define THIN_PAUSE_MS "10000"

enum { THIN_PAGE = 128, THIN_FROM = 4096, TEXT_BYTES = 64 };

/*
 * KEYS: log, marks, state. ARGV: of each note its id, sandbox, birth, the spot that it ends at, and "1" if
 * that life of the sandbox is over. "gone" of the state: behind it, lines may be missing without a note.
 */
struct script thin_script = {
    .text = "local gone\n"
            "for i = 1, #ARGV, 5 do\n"
            "  local mark = redis.call('HGET', KEYS[2], ARGV[i + 1]) or ''\n"
            "  local b, s, u = string.match(mark, '^(%d+) (%d+) (%d+) ')\n"
            "  if ARGV[i + 4] == '1' then\n"
            "    if b == ARGV[i + 2] then redis.call('HDEL', KEYS[2], ARGV[i + 1]) end\n"
            "    redis.call('XDEL', KEYS[1], ARGV[i])\n"
            "  elseif b ~= ARGV[i + 2] or s .. '-' .. u ~= ARGV[i + 3] then\n"
            "    redis.call('XDEL', KEYS[1], ARGV[i])\n"
            "    gone = ARGV[i]\n"
            "  end\n"
            "end\n"
            "if gone then\n"
            "  local function parts(id) return string.match(id or '', '^(%d+)-(%d+)$') end\n"
            "  local a, x = parts(redis.call('HGET', KEYS[3], 'gone'))\n"
            "  local c, y = parts(gone)\n"
            "  a, x, c, y = tonumber(a or 0), tonumber(x or 0), tonumber(c), tonumber(y)\n"
            "  if c > a or (c == a and y > x) then redis.call('HSET', KEYS[3], 'gone', gone) end\n"
            "end\n"
            "return 0\n",
};

bool export_thin_due(const struct writer *w)
{
    return atomic_load(&w->redis->exporting) && (w->thinning || sl_monotonic_ns() >= w->thin_ns);
}

/* One number of one command; < 0: not now. */
static int64_t ask(struct writer *w, const char *const *words, size_t count)
{
    struct call c = {.slot = export_slot()};
    int64_t answer = -1;
    bool good = true;
    for (size_t i = 0; i < count; i++)
        good = good && call_add_text(&c, words[i]) == 0;
    if (good) {
        link_round(w->link, &c, 1);
        if (c.fault == 0 && c.reply->type == REDIS_REPLY_INTEGER)
            answer = c.reply->integer;
        else if (c.fault == 0 && c.reply->type == REDIS_REPLY_STATUS)
            answer = 0;
    }
    call_end(&c);
    return answer;
}

/* Whether this broker is to look now: the log is long, and no other one has just looked. */
static bool begins(struct writer *w)
{
    if (ask(w, (const char *[]){"XLEN", EXPORT_KEY("log")}, 2) < THIN_FROM)
        return false;
    static const char key[] = EXPORT_KEY("thin");
    const char *turn[] = {"SET", key, "1", "NX", "PX", THIN_PAUSE_MS};
    return ask(w, turn, sizeof turn / sizeof *turn) == 0;
}

/* Of no use: it is to be handed to the script. */
static int judge(struct writer *w, struct call *script, const struct note *note, const struct call *pair)
{
    struct life life;
    if (pair->fault || reply_error(pair->reply))
        return pair->fault ? pair->fault : -EIO;
    life_init(&life, note->sandbox);
    int fault = life_from_pair(&life, pair->reply);
    bool over = !life.alive || life.birth != note->birth;
    bool gone = over || note->to.seq <= life.kept_from;
    life_clear(&life);
    if (fault || !gone)
        return fault < 0 ? fault : 0;
    char id[TEXT_BYTES], to[TEXT_BYTES];
    int id_bytes = snprintf(id, sizeof id, "%" PRIu64 "-%" PRIu64, note->ms, note->number);
    int to_bytes = snprintf(to, sizeof to, "%" PRIu64 "-%" PRIu32, note->to.seq, note->to.sub);
    return writer_copy(w, script, id, (size_t)id_bytes) ||
                   writer_copy(w, script, note->sandbox.data, note->sandbox.bytes) ||
                   writer_number(w, script, note->birth) || writer_copy(w, script, to, (size_t)to_bytes) ||
                   call_add_text(script, over ? "1" : "0")
               ? -ENOMEM
               : 0;
}

/* The sandboxes of these notes are looked at, then the notes go that are of no use. */
static int thin(struct writer *w, const redisReply *entries)
{
    struct call pairs[THIN_PAGE] = {0}, script = {.script = &thin_script, .slot = export_slot()};
    struct note notes[THIN_PAGE];
    char keys[THIN_PAGE][KEY_BYTES];
    size_t count = 0;
    int fault = 0;
    for (size_t i = 0; i < entries->elements && i < THIN_PAGE && fault == 0; i++) {
        if (!note_parse(entries->element[i], &notes[count]))
            continue;
        fault = home_want_pair(&pairs[count], keys[count], key_of(keys[count], notes[count].sandbox, 'h'));
        count++;
    }
    if (fault == 0 && count)
        link_round(w->link, pairs, count);
    const char *words[] = {"EVALSHA",         thin_script.sha,     "3",
                           EXPORT_KEY("log"), EXPORT_KEY("marks"), EXPORT_KEY("state")};
    for (size_t i = 0; i < sizeof words / sizeof *words && fault == 0; i++)
        fault = call_add_text(&script, words[i]);
    int before = script.argc;
    for (size_t i = 0; i < count && fault == 0; i++) {
        fault = judge(w, &script, &notes[i], &pairs[i]);
        w->thin_at.ms = notes[i].ms;
        w->thin_at.number = notes[i].number;
    }
    if (fault == 0 && script.argc > before) {
        link_round(w->link, &script, 1);
        fault = script.fault ? script.fault : reply_error(script.reply) ? -EIO : 0;
    }
    for (size_t i = 0; i < count; i++)
        call_end(&pairs[i]);
    call_end(&script);
    arena_free(&w->arena);
    return fault;
}

/* THIN_PAGE notes from w->thin_at on. False: that was the last page, or it can't be done now. */
static bool page(struct writer *w)
{
    struct call c;
    char from[TEXT_BYTES], count[TEXT_BYTES];
    snprintf(from, sizeof from, "(%" PRIu64 "-%" PRIu64, w->thin_at.ms, w->thin_at.number);
    snprintf(count, sizeof count, "%d", THIN_PAGE);
    bool more = false;
    if (want_notes(&c, from, "+", count) == 0) {
        link_round(w->link, &c, 1);
        if (c.fault == 0 && c.reply->type == REDIS_REPLY_ARRAY)
            more = thin(w, c.reply) == 0 && c.reply->elements == THIN_PAGE;
    }
    call_end(&c);
    return more;
}

void export_thin_step(struct writer *w)
{
    if (!w->thinning)
        w->thin_at.ms = w->thin_at.number = 0;
    w->thinning = w->thinning ? page(w) : begins(w);
    if (!w->thinning)
        w->thin_ns = sl_monotonic_ns() + THIN_PAUSE_NS;
}

void export_thin_all(struct writer *w)
{
    w->thin_at.ms = w->thin_at.number = 0;
    while (atomic_load(&w->redis->exporting) && !atomic_load(&w->redis->closing) && page(w))
        ;
    w->thinning = false;
}
