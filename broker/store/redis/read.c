// SPDX-License-Identifier: Apache-2.0
/*
 * Reads: asked of Redis each time, on the home thread, with a second's patience; nothing is cached, so what
 * is read is what is there. While the watcher gets no answer nothing is asked.
 */
#include "read.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { ENTRIES_FIRST = 8, ENTRIES_MOST = 512, AGAIN_MAX = 3 };

/* ---- asking ---- */

void home_ask(struct redis *r, struct call *calls, size_t count)
{
    if (atomic_load(&r->down)) {
        for (size_t i = 0; i < count; i++)
            calls[i].fault = -EIO;
        return;
    }
    link_round(r->link, calls, count);
    /* A connection may have been dead for long, or a master gone: reading can be tried again at once. */
    for (size_t i = 0; i < count; i++) {
        if (calls[i].fault != -EIO && calls[i].fault != -ENOTCONN)
            continue;
        link_round(r->link, &calls[i], 1);
        if (calls[i].fault)
            break;
    }
}

int home_answered(const struct call *c, int type)
{
    if (c->fault)
        return c->fault;
    return c->reply->type == type ? 0 : -EIO;
}

int home_want_pair(struct call *c, const char *key, size_t key_bytes)
{
    c->slot = link_slot(sl_slice(key, key_bytes));
    return call_add_text(c, "HMGET") || call_add(c, key, key_bytes) || call_add_text(c, "v") ||
                   call_add_text(c, "s")
               ? -ENOMEM
               : 0;
}

int home_take_pair(const struct call *c, struct life *l)
{
    int fault = home_answered(c, REDIS_REPLY_ARRAY);
    if (fault == 0)
        fault = life_from_pair(l, c->reply);
    return fault > 0 ? -EPROTO : fault;
}

int home_show(struct redis *r, struct sl_slice id)
{
    char key[KEY_BYTES];
    struct call c = {0};
    life_clear(&r->shown);
    life_init(&r->shown, id);
    int fault = home_want_pair(&c, key, key_of(key, id, 'h'));
    if (fault == 0) {
        home_ask(r, &c, 1);
        fault = home_take_pair(&c, &r->shown);
    }
    call_end(&c);
    if (fault)
        return fault;
    fault = watched_see(r, &r->shown);
    if (fault)
        return fault;
    return r->shown.alive ? 0 : STORE_UNKNOWN;
}

int redis_place(struct store *s, struct sl_slice sandbox, struct sl_place *ret)
{
    struct redis *r = (struct redis *)s;
    int fault = home_show(r, sandbox);
    if (fault == 0)
        life_place(&r->shown, ret);
    return fault;
}

int redis_info(struct store *s, struct sl_slice sandbox, struct sl_info *ret)
{
    struct redis *r = (struct redis *)s;
    int fault = home_show(r, sandbox);
    if (fault == 0)
        life_info(&r->shown, ret);
    return fault;
}

int redis_sources(struct store *s, struct sl_slice sandbox,
                  void (*each)(void *arg, const struct sl_source_place *place), void *arg)
{
    struct redis *r = (struct redis *)s;
    char key[KEY_BYTES];
    size_t key_bytes = key_of(key, sandbox, 'h');
    struct call c = {.slot = link_slot(sl_slice(key, key_bytes))};
    struct life l;
    life_init(&l, sandbox);
    int fault = call_add_text(&c, "HGETALL") || call_add(&c, key, key_bytes) ? -ENOMEM : 0;
    if (fault == 0) {
        home_ask(r, &c, 1);
        fault = home_answered(&c, REDIS_REPLY_ARRAY);
    }
    if (fault == 0)
        fault = life_from_fields(&l, c.reply) ? -EPROTO : 0;
    call_end(&c);
    if (fault == 0 && !l.known)
        fault = STORE_UNKNOWN;
    for (size_t i = 0; fault == 0 && i < l.source_count; i++) {
        const struct life_source *source = &l.sources[i];
        struct sl_source_place place = {
            .source.incarnation = source->incarnation,
            .offset = source->offset,
            .open_from = source->open_from,
            .fingerprint = source->fingerprint,
            .fingerprint_bytes = source->fingerprint_bytes,
            .flags = source->bits,
        };
        memcpy(place.source.key, source->key, sizeof place.source.key);
        each(arg, &place);
    }
    life_clear(&l);
    return fault;
}

/* ---- records ---- */

static bool room_for(struct giving *g, size_t bytes)
{
    if (g->any && g->bytes + bytes > g->max_bytes)
        g->stopped = g->more = true;
    return !g->stopped;
}

static void give(struct giving *g, struct sl_slice bytes, const struct sl_record *record, uint64_t next)
{
    g->any = true;
    g->bytes += bytes.bytes;
    if (next > g->next)
        g->next = next;
    if (!g->each(g->arg, bytes, record))
        g->stopped = true;
    g->entry_seq = 0;
}

/* Lines before `next` are not there. */
static void give_gap(struct giving *g, uint64_t next, uint64_t lines, uint8_t reason)
{
    uint8_t bytes[GAP_BYTES];
    int64_t now_ns = sl_now_ns();
    struct sl_block_header facts = {.flags = SL_BLOCK_GAP,
                                    .gap_reason = reason,
                                    .gap_lines = lines,
                                    .time_min_ns = now_ns,
                                    .time_max_ns = now_ns};
    sl_block_builder_reset(g->redis->gap, g->id);
    assert(sl_block_builder_bound(g->redis->gap) <= GAP_BYTES - SL_RECORD_PREFIX_BYTES);
    size_t block = sl_block_builder_encode(g->redis->gap, &facts, 0, bytes + SL_RECORD_PREFIX_BYTES,
                                           GAP_BYTES - SL_RECORD_PREFIX_BYTES);
    struct sl_record record = {.kind = SL_RECORD_BLOCK,
                               .payload_bytes = (uint32_t)block,
                               .first_seq = next,
                               .floor_ns = INT64_MIN,
                               .commit_ns = now_ns};
    sl_record_encode_prefix(&record, bytes);
    if (room_for(g, SL_RECORD_PREFIX_BYTES + block))
        give(g, sl_slice(bytes, SL_RECORD_PREFIX_BYTES + block), &record, next);
}

static void give_known_gap(struct giving *g, uint64_t next, uint8_t reason)
{
    give_gap(g, next, next - g->next, reason);
}

/* What is missing between what is due and `next`: first what retention took, then damage. */
static void give_hole(struct giving *g, uint64_t next)
{
    uint64_t kept = g->now.kept_from;
    if (!g->stopped && g->next < kept && g->next < next)
        give_known_gap(g, kept < next ? kept : next, SL_GAP_RETENTION);
    if (!g->stopped && g->next < next) {
        g->redis->damaged++;
        give_known_gap(g, next, SL_GAP_DAMAGED);
    }
}

void records_give_lost(struct giving *g)
{
    give_gap(g, g->next, SL_GAP_LINES_UNKNOWN, SL_GAP_RETENTION);
}

static bool entry_parts(const redisReply *entry, uint64_t *ret_seq, struct head *ret_head,
                        struct sl_slice *ret_block)
{
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 ||
        !entry_id_parse(entry->element[0], ret_seq))
        return false;
    const redisReply *fields = entry->element[1];
    if (fields->type != REDIS_REPLY_ARRAY || fields->elements != 4 ||
        !head_decode(fields->element[1], ret_head) || fields->element[3]->type != REDIS_REPLY_STRING)
        return false;
    *ret_block = sl_slice(fields->element[3]->str, fields->element[3]->len);
    return true;
}

static void give_entry(struct giving *g, const redisReply *entry)
{
    uint64_t seq;
    struct head h;
    struct sl_slice block, payload;
    struct sl_record record;
    struct sl_block_header header;
    if (!entry_parts(entry, &seq, &h, &block)) {
        g->redis->damaged++;
        return; /* its lines are missed by the next one */
    }
    if (seq > g->at_first.last_seq + 1 || (h.lines > 0 && seq > g->at_first.last_seq)) {
        g->stopped = true; /* newer than what this read began with */
        return;
    }
    give_hole(g, seq);
    const char *sub = strchr(entry->element[0]->str, '-') + 1;
    size_t bytes = SL_RECORD_PREFIX_BYTES + block.bytes;
    if (!room_for(g, bytes))
        return;
    bool good = bytes <= SL_RECORD_MAX_BYTES;
    if (good) {
        memcpy(g->redis->record, entry->element[1]->element[1]->str + HEAD_BYTES, SL_RECORD_PREFIX_BYTES);
        memcpy(g->redis->record + SL_RECORD_PREFIX_BYTES, block.data, block.bytes);
        good =
            sl_record_check(sl_slice(g->redis->record, bytes), &record, &payload, &header) == SL_RECORD_OK &&
            record.kind == SL_RECORD_BLOCK && record.first_seq == seq && header.lines == h.lines &&
            sl_slice_equal(header.sandbox, g->id);
    }
    if (good) {
        g->entry_seq = seq;
        g->entry_sub = (uint32_t)strtoul(sub, NULL, 10);
        give(g, sl_slice(g->redis->record, bytes), &record, seq + h.lines);
        return;
    }
    g->redis->damaged++;
    if (g->next < seq + h.lines)
        give_known_gap(g, seq + h.lines, SL_GAP_DAMAGED);
}

/* Some entries, and how the sandbox stands behind them. `back`: XREVRANGE from `low` down. */
static int entries_get(struct giving *g, bool back, const char *low, size_t count, struct call *ret)
{
    char hash[KEY_BYTES], stream[KEY_BYTES], number[24];
    size_t hash_bytes = key_of(hash, g->id, 'h'), stream_bytes = key_of(stream, g->id, 's');
    snprintf(number, sizeof number, "%zu", count);
    struct call calls[2] = {{.slot = link_slot(sl_slice(stream, stream_bytes))}};
    struct life now;
    life_init(&now, g->id);
    int fault = call_add_text(&calls[0], back ? "XREVRANGE" : "XRANGE") ||
                        call_add(&calls[0], stream, stream_bytes) || call_add_text(&calls[0], low) ||
                        call_add_text(&calls[0], back ? "-" : g->end) || call_add_text(&calls[0], "COUNT") ||
                        call_add_text(&calls[0], number) || home_want_pair(&calls[1], hash, hash_bytes)
                    ? -ENOMEM
                    : 0;
    if (fault == 0) {
        home_ask(g->redis, calls, 2);
        fault = home_answered(&calls[0], REDIS_REPLY_ARRAY);
    }
    if (fault == 0)
        fault = home_take_pair(&calls[1], &now);
    /* Deleted meanwhile, or fallen back, and perhaps another one: not what was asked for. */
    if (fault == 0 &&
        (!now.alive || now.birth != g->at_first.birth || now.last_seq < g->at_first.last_seq ||
         (now.last_seq == g->at_first.last_seq && now.line_commit_ns != g->at_first.line_commit_ns)))
        fault = -EAGAIN;
    life_clear(&g->now);
    g->now = now;
    call_end(&calls[1]);
    *ret = calls[0];
    if (fault)
        call_end(ret);
    return fault;
}

/* The record that began before the number asked for and reaches behind it. */
static int give_begun(struct giving *g)
{
    char low[ENTRY_ID_BYTES];
    struct call c;
    entry_id(low, "(", g->next, 0);
    int fault = entries_get(g, true, low, 1, &c);
    if (fault)
        return fault;
    uint64_t seq;
    struct head h;
    struct sl_slice block;
    if (c.reply->elements == 1 && entry_parts(c.reply->element[0], &seq, &h, &block) &&
        seq + h.lines > g->next)
        give_entry(g, c.reply->element[0]);
    call_end(&c);
    return 0;
}

int records_give(struct giving *g, const char *begin, bool begun, uint64_t until)
{
    char low[ENTRY_ID_BYTES];
    size_t count = ENTRIES_FIRST;
    snprintf(low, sizeof low, "%s", begin);
    while (!g->stopped) {
        struct call c;
        uint64_t seq = 0;
        int fault = entries_get(g, false, low, count, &c);
        if (fault)
            return fault;
        size_t got = c.reply->elements;
        /* Nothing begins exactly there: the line lies within the one before. */
        bool within = got == 0 || c.reply->element[0]->type != REDIS_REPLY_ARRAY ||
                      c.reply->element[0]->elements != 2 ||
                      !entry_id_parse(c.reply->element[0]->element[0], &seq) || seq > g->next;
        if (begun && within)
            fault = give_begun(g);
        begun = false;
        for (size_t i = 0; fault == 0 && i < got && !g->stopped; i++)
            give_entry(g, c.reply->element[i]);
        if (fault == 0 && got == count) {
            const redisReply *last = c.reply->element[got - 1];
            snprintf(low, sizeof low, "(%.40s", last->element[0]->str);
        }
        call_end(&c);
        if (fault)
            return fault;
        if (got < count)
            break;
        size_t each = g->bytes / (got ? got : 1) + 1;
        size_t left = g->max_bytes > g->bytes ? g->max_bytes - g->bytes : 0;
        count = left / each + 1 < ENTRIES_MOST ? left / each + 1 : ENTRIES_MOST;
    }
    if (!g->stopped && g->next < until)
        give_hole(g, until);
    return 0;
}

static int give_all(struct giving *g)
{
    char low[ENTRY_ID_BYTES];
    uint64_t from = g->next > g->at_first.kept_from ? g->next : g->at_first.kept_from;
    entry_id(low, "", from, 0);
    return records_give(g, low, g->next == from, g->at_first.last_seq + 1);
}

int redis_read(struct store *s, struct sl_slice sandbox, uint64_t from_seq, size_t max_bytes,
               store_each *each, void *arg, bool *ret_more)
{
    struct redis *r = (struct redis *)s;
    int fault = -EAGAIN;
    struct giving g = {0};
    for (int try = 0; fault == -EAGAIN && !g.any && try < AGAIN_MAX; try++) {
        fault = home_show(r, sandbox);
        if (fault)
            return fault;
        g = (struct giving){.redis = r,
                            .id = sandbox,
                            .at_first = r->shown,
                            .end = "+",
                            .next = from_seq ? from_seq : 1,
                            .max_bytes = max_bytes,
                            .each = each,
                            .arg = arg};
        life_init(&g.now, sandbox);
        fault = g.next > g.at_first.last_seq + 1 ? 0 : give_all(&g);
        life_clear(&g.now);
    }
    if (fault && g.any) {
        /* What was given stands; the next page says what became of the rest. */
        *ret_more = true;
        return 0;
    }
    *ret_more = g.more || (g.stopped && g.next <= g.at_first.last_seq);
    return fault;
}
