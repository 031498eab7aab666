// SPDX-License-Identifier: Apache-2.0
/* Retention: the oldest entries of a stream go, with the number that the sandbox begins at. */
#include "export.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { HEADS_FIRST = 16, HEADS_MOST = 256, STEP = 64, PASSES_MAX = 1 << 16 };

static uint64_t slack(uint64_t bytes)
{
    return bytes / 8;
}

void upkeep_look(struct writer *w, const struct box *b)
{
    uint64_t most = w->redis->options.sandbox_bytes;
    if (most && b->life.alive && atomic_load(&w->redis->hold_ns) != 0 &&
        b->life.kept_bytes > most + slack(most))
        ids_push(&w->overfull, life_id(&b->life));
}

/* The oldest `count` entries; NULL: not now. Freed by the caller. */
static redisReply *heads(struct writer *w, struct sl_slice id, int count)
{
    char key[KEY_BYTES], number[16];
    size_t key_bytes = key_of(key, id, 's');
    snprintf(number, sizeof number, "%d", count);
    struct call c = {.script = &heads_script, .slot = link_slot(sl_slice(key, key_bytes))};
    redisReply *reply = NULL;
    if (!call_add_text(&c, "EVALSHA") && !call_add_text(&c, heads_script.sha) && !call_add_text(&c, "1") &&
        !call_add(&c, key, key_bytes) && !call_add_text(&c, "XRANGE") && !call_add_text(&c, "-") &&
        !call_add_text(&c, "+") && !call_add_text(&c, number)) {
        link_round(w->link, &c, 1);
        if (c.fault == 0 && c.reply->type == REDIS_REPLY_ARRAY) {
            reply = c.reply;
            c.reply = NULL;
        }
    }
    call_end(&c);
    return reply;
}

/* How far the entries may go; true when there is something to do. */
static bool decide(struct writer *w, struct box *b, const redisReply *entries)
{
    const struct store_options *o = &w->redis->options;
    int64_t cutoff_ns = o->retention_age_ns ? sl_now_ns() - o->retention_age_ns : INT64_MIN;
    int64_t hold_ns = atomic_load(&w->redis->hold_ns);
    b->trim_from = b->life.kept_from;
    b->trim_to = b->trim_bytes = 0;
    for (size_t i = 0; i + 1 < entries->elements; i += 2) {
        struct head h;
        uint64_t seq;
        if (!head_decode(entries->element[i + 1], &h) || !entry_id_parse(entries->element[i], &seq))
            break;
        uint64_t kept = b->life.kept_bytes > b->trim_bytes ? b->life.kept_bytes - b->trim_bytes : 0;
        bool too_old = h.commit_ns < cutoff_ns;
        bool too_much = o->sandbox_bytes && kept >= o->sandbox_bytes + h.text_bytes && h.text_bytes > 0;
        bool gap_before_gone = h.lines == 0 && b->trim_to && seq == b->trim_to;
        if ((!too_old && !too_much && !gap_before_gone) || h.commit_ns >= hold_ns)
            break;
        b->trim_bytes += h.text_bytes;
        b->trim_to = seq + h.lines;
        const char *sub = strchr(entries->element[i]->str, '-') + 1;
        entry_id(b->trim_keep, "", seq, (uint32_t)strtoul(sub, NULL, 10) + 1);
    }
    return b->trim_to != 0;
}

static void trim(struct writer *w, struct sl_slice id)
{
    int count = HEADS_FIRST;
    for (int pass = 0; pass < PASSES_MAX && !atomic_load(&w->redis->closing); pass++) {
        struct box *b;
        if (writer_join(w, id, &b))
            break;
        if (!b->loaded)
            writer_round(w); /* loads, writes nothing */
        redisReply *entries = b->loaded && b->life.alive ? heads(w, id, count) : NULL;
        b->settled = false;
        b->fault = 0;
        bool wanted = entries && decide(w, b, entries);
        bool all = entries && entries->elements == (size_t)count * 2;
        if (entries)
            freeReplyObject(entries);
        if (wanted) {
            writer_round(w);
            if (b->written)
                writer_tell(w, NULL, sl_monotonic_ns());
        }
        bool again = wanted && b->written && all;
        writer_leave(w);
        if (!again)
            break;
        count = HEADS_MOST;
    }
    writer_leave(w);
}

void upkeep_trim(struct writer *w)
{
    struct ids *list = w->overfull;
    w->overfull = NULL;
    for (struct ids *i = list; i; i = i->next)
        trim(w, sl_slice(i->id, i->bytes));
    ids_free(list);
}

/* ---- sweeps ---- */

bool upkeep_due(const struct writer *w)
{
    return w->redis->options.retention_age_ns > 0 && sl_monotonic_ns() >= w->sweep_ns;
}

static void sweep_ended(struct writer *w)
{
    int64_t pause_ns = w->redis->options.retention_age_ns / 16;
    if (pause_ns < SL_NS_PER_S)
        pause_ns = SL_NS_PER_S;
    if (pause_ns > 60 * SL_NS_PER_S)
        pause_ns = 60 * SL_NS_PER_S;
    w->sweep_at = 0;
    w->sweep_ns = sl_monotonic_ns() + pause_ns;
}

/* False: the end of the list, or Redis gives none. */
static bool step(struct writer *w)
{
    char from[24], to[24];
    snprintf(from, sizeof from, "%" PRIu64, w->sweep_at);
    snprintf(to, sizeof to, "%" PRIu64, w->sweep_at + STEP - 1);
    struct call c = {.slot = link_slot(sl_slice_of(list_key))};
    struct ids *ids = NULL;
    size_t count = 0;
    if (!call_add_text(&c, "ZRANGE") && !call_add_text(&c, list_key) && !call_add_text(&c, from) &&
        !call_add_text(&c, to)) {
        link_round(w->link, &c, 1);
        if (c.fault == 0 && c.reply->type == REDIS_REPLY_ARRAY)
            count = c.reply->elements;
        for (size_t i = 0; i < count; i++) {
            struct sl_slice id = sl_slice(c.reply->element[i]->str, c.reply->element[i]->len);
            if (c.reply->element[i]->type == REDIS_REPLY_STRING && sl_sandbox_id_valid(id))
                ids_push(&ids, id);
        }
    }
    call_end(&c);
    for (struct ids *i = ids; i; i = i->next)
        trim(w, sl_slice(i->id, i->bytes));
    ids_free(ids);
    w->sweep_at += STEP;
    return count == STEP;
}

void upkeep_step(struct writer *w)
{
    if (!step(w))
        sweep_ended(w);
}

void upkeep_all(struct writer *w, struct compaction *compactions)
{
    struct redis *r = w->redis;
    w->sweep_at = 0;
    while (!atomic_load(&r->closing) && step(w))
        ;
    sweep_ended(w);
    export_thin_all(w);
    pthread_mutex_lock(&r->mutex);
    while (compactions) {
        struct compaction *next = compactions->next;
        compactions->fault = atomic_load(&r->closing) ? -ECANCELED : 0;
        compactions->next = r->compacted;
        r->compacted = compactions;
        compactions = next;
    }
    pthread_mutex_unlock(&r->mutex);
    r->options.wake(r->options.arg);
}
