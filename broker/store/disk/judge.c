// SPDX-License-Identifier: Apache-2.0
#include "judge.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Sources that came since begin as what is durable of them: nothing. */
static int pending_reserve(struct pending *p, uint16_t count)
{
    if (count <= p->capacity)
        return 0;
    struct pending_source *wider = realloc(p->sources, count * sizeof *wider);
    if (!wider)
        return -ENOMEM;
    memset(&wider[p->capacity], 0, (size_t)(count - p->capacity) * sizeof *wider);
    p->sources = wider;
    p->capacity = count;
    return 0;
}

static struct pending_source *pending_source(const struct sandbox *b, const struct source *s)
{
    return &b->pending->sources[s - b->sources];
}

static int pending_get(struct judge *j, struct sandbox *b, struct pending **ret)
{
    if (!b->pending) {
        struct pending *p = calloc(1, sizeof *p);
        if (!p || pending_reserve(p, b->source_count)) {
            free(p);
            return -ENOMEM;
        }
        p->sandbox = b;
        p->alive = b->alive;
        p->last_seq = b->alive ? b->last_seq : 0;
        p->floor_ns = b->alive ? b->floor_ns : INT64_MIN;
        for (uint16_t i = 0; i < b->source_count; i++) {
            const struct source *s = &b->sources[i];
            p->sources[i] = (struct pending_source){s->offset, s->incarnation, s->bits};
        }
        p->next = j->first;
        p->link = &j->first;
        if (p->next)
            p->next->link = &p->next;
        j->first = p;
        b->pending = p;
    }
    *ret = b->pending;
    return 0;
}

/* Frees the pending state, and what nothing durable has ever been said of. */
static void pending_end(struct judge *j, struct pending *p)
{
    struct sandbox *b = p->sandbox;
    *p->link = p->next;
    if (p->next)
        p->next->link = p->link;
    b->pending = NULL;
    free(p->sources);
    free(p);
    uint16_t kept = 0;
    for (uint16_t i = 0; i < b->source_count; i++) {
        if (b->sources[i].bits & SOURCE_DURABLE)
            b->sources[kept++] = b->sources[i];
    }
    b->source_count = kept;
    if (!b->durable)
        table_remove(j->table, b);
}

void judge_settle(struct judge *j, struct sandbox *b)
{
    struct pending *p = b->pending;
    assert(p && p->in_flight);
    if (--p->in_flight == 0)
        pending_end(j, p);
}

void judge_rollback(struct judge *j)
{
    while (j->first)
        pending_end(j, j->first);
}

/* ---- blocks ---- */

struct standing {
    bool known;
    bool buried;
    bool closed;
    uint32_t incarnation;
    uint64_t offset;
};

static struct standing standing_of(const struct sandbox *b, const uint8_t key[16])
{
    const struct source *s = b ? sandbox_source(b, key) : NULL;
    if (!s)
        return (struct standing){0};
    struct pending_source at = {s->offset, s->incarnation, s->bits};
    if (b->pending)
        at = *pending_source(b, s);
    uint8_t bits = at.bits;
    if (!(bits & SOURCE_DURABLE))
        return (struct standing){0};
    return (struct standing){
        .known = true,
        .buried = bits & SOURCE_BURIED,
        .closed = bits & SOURCE_CLOSED,
        .incarnation = at.incarnation,
        .offset = at.offset,
    };
}

static uint8_t judge_range(const struct standing *at, const struct sl_source_range *range, bool close)
{
    if (at->buried)
        return SL_BURIED;
    if (!at->known || range->source.incarnation > at->incarnation)
        return range->from == 0 && range->source.incarnation > 0 ? SL_TAKEN : SL_ELSEWHERE;
    if (range->source.incarnation < at->incarnation)
        return SL_ELSEWHERE;
    if (range->from == at->offset && (range->to > range->from || (close && !at->closed)))
        return SL_TAKEN;
    return range->to <= at->offset ? SL_ALREADY : SL_ELSEWHERE;
}

static void source_take(struct sandbox *b, const struct sl_source_range *range, bool close)
{
    struct pending_source *s = pending_source(b, sandbox_source(b, range->source.key));
    s->incarnation = range->source.incarnation;
    s->offset = range->to;
    s->bits = (uint8_t)(((s->bits | SOURCE_DURABLE) & ~SOURCE_CLOSED) | (close ? SOURCE_CLOSED : 0));
}

static int judge_block(struct judge *j, struct store_item *item, struct sl_record *record)
{
    const struct sl_block_header *h = &item->header;
    struct sandbox *b = table_find(j->table, h->sandbox);
    bool close = h->flags & SL_BLOCK_CLOSE;
    struct standing at = standing_of(b, h->range.source.key);
    uint8_t verdict = h->range.to < h->range.from ? SL_REFUSED : judge_range(&at, &h->range, close);
    if (verdict == SL_TAKEN && h->flags & SL_BLOCK_ALSO) {
        struct standing also = standing_of(b, h->also.source.key);
        if (memcmp(h->also.source.key, h->range.source.key, 16) == 0 || h->also.to < h->also.from)
            verdict = SL_REFUSED;
        else if (judge_range(&also, &h->also, true) != SL_TAKEN &&
                 !(also.known && !also.buried && also.incarnation == h->also.source.incarnation &&
                   also.offset == h->also.from && h->also.to == h->also.from))
            verdict = also.buried ? SL_BURIED : SL_ELSEWHERE;
    }
    item->verdict = (struct sl_append_verdict){verdict, at.incarnation, at.offset};
    if (verdict != SL_TAKEN)
        return JUDGE_NOTHING;

    item->verdict.verdict = SL_REFUSED;
    struct pending *p;
    struct source *ignored;
    int fault = table_get(j->table, h->sandbox, &b);
    if (fault)
        return fault;
    if ((fault = pending_get(j, b, &p)) || (fault = sandbox_source_get(b, h->range.source.key, &ignored)) ||
        (h->flags & SL_BLOCK_ALSO && (fault = sandbox_source_get(b, h->also.source.key, &ignored))) ||
        (fault = pending_reserve(p, b->source_count))) {
        if (b->pending && !b->pending->in_flight)
            pending_end(j, b->pending);
        else if (!b->durable && !b->pending)
            table_remove(j->table, b);
        return fault;
    }
    if (h->flags & SL_BLOCK_ALSO)
        source_take(b, &h->also, false);
    source_take(b, &h->range, close);
    if (!p->alive) {
        p->alive = true;
        p->last_seq = 0;
        p->floor_ns = INT64_MIN;
    }
    record->first_seq = p->last_seq + 1;
    record->floor_ns = p->floor_ns;
    item->first_seq = record->first_seq;
    if (h->lines > 0) {
        p->last_seq += h->lines;
        p->floor_ns = sl_query_ceiling(record, h);
    }
    p->in_flight++;
    item->verdict = (struct sl_append_verdict){SL_TAKEN, h->range.source.incarnation, h->range.to};
    return 0;
}

/* ---- changes, deletions ---- */

static int judge_change(struct judge *j, struct store_item *item)
{
    const struct sl_change *c = &item->change;
    struct sandbox *b = table_find(j->table, c->sandbox);
    item->verdict.verdict = SL_TAKEN;
    if (b && !b->pending && sandbox_change_is_known(b, c))
        return JUDGE_NOTHING;
    item->verdict.verdict = SL_REFUSED;
    struct pending *p;
    int fault = table_get(j->table, c->sandbox, &b);
    if (fault)
        return fault;
    if ((fault = pending_get(j, b, &p))) {
        if (!b->durable)
            table_remove(j->table, b);
        return fault;
    }
    if (!p->alive && ((!b->durable && !p->in_flight) || sandbox_change_revives(c))) {
        p->alive = true;
        p->last_seq = 0;
        p->floor_ns = INT64_MIN;
    }
    p->in_flight++;
    item->verdict.verdict = SL_TAKEN;
    return 0;
}

static int judge_delete(struct judge *j, struct store_item *item)
{
    struct sandbox *b = table_find(j->table, item->sandbox);
    item->verdict.verdict = SL_TAKEN;
    if (!b || !(b->pending ? b->pending->alive : b->alive))
        return JUDGE_NOTHING;
    struct pending *p;
    int fault = pending_get(j, b, &p);
    if (fault) {
        item->verdict.verdict = SL_REFUSED;
        return fault;
    }
    p->alive = false;
    for (uint16_t i = 0; i < b->source_count; i++) {
        if (p->sources[i].bits & SOURCE_DURABLE)
            p->sources[i].bits |= SOURCE_BURIED;
    }
    p->in_flight++;
    return 0;
}

int judge_item(struct judge *j, struct store_item *item, int64_t commit_ns, struct sl_record *ret_record)
{
    item->verdict = (struct sl_append_verdict){0};
    item->first_seq = 0;
    *ret_record = (struct sl_record){.kind = item->kind, .commit_ns = commit_ns, .floor_ns = INT64_MIN};
    switch (item->kind) {
    case STORE_BLOCK:
        return judge_block(j, item, ret_record);
    case STORE_CHANGE:
        return judge_change(j, item);
    default:
        assert(item->kind == STORE_DELETE);
        return judge_delete(j, item);
    }
}

void judge_refuse(struct judge *j, struct store_item *item)
{
    item->verdict = (struct sl_append_verdict){.verdict = SL_REFUSED};
    item->first_seq = 0;
    if (item->kind != STORE_BLOCK)
        return;
    const struct sandbox *b = table_find(j->table, item->header.sandbox);
    const struct source *s = b ? sandbox_source(b, item->header.range.source.key) : NULL;
    if (s && s->bits & SOURCE_DURABLE) {
        item->verdict.incarnation = s->incarnation;
        item->verdict.offset = s->offset;
    }
}
