// SPDX-License-Identifier: Apache-2.0
/* The broker of the played world: it judges blocks as the real one does, and answers when it is told to. */
#pragma once
#include "collector_stage.h"

static inline struct sl_source_place *place_of(const uint8_t key[16])
{
    for (size_t i = 0; i < w.place_count; i++)
        if (memcmp(w.places[i].source.key, key, 16) == 0)
            return &w.places[i];
    return NULL;
}

static inline uint8_t judge_range(const struct sl_source_range *range, bool close)
{
    const struct sl_source_place *at = place_of(range->source.key);
    if (!at || range->source.incarnation > at->source.incarnation)
        return range->from == 0 ? SL_TAKEN : SL_ELSEWHERE;
    if (range->source.incarnation < at->source.incarnation)
        return SL_ELSEWHERE;
    if (range->from == at->offset && (range->to > range->from || (close && !(at->flags & SL_SOURCE_CLOSED))))
        return SL_TAKEN;
    return range->to <= at->offset ? SL_ALREADY : SL_ELSEWHERE;
}

static inline void take_range(const struct sl_source_range *range, uint64_t open_from, bool close)
{
    struct sl_source_place *at = place_of(range->source.key);
    if (!at) {
        assert_true(w.place_count < PLACES_MAX);
        at = &w.places[w.place_count++];
        *at = (struct sl_source_place){0};
    }
    at->source = range->source;
    at->offset = range->to;
    at->open_from = open_from;
    at->flags = close ? SL_SOURCE_CLOSED : 0;
}

static inline void take_lines(struct sl_slice block, const struct sl_block_header *h)
{
    struct sl_block_lines it;
    struct sl_line line;
    uint8_t *scratch = malloc(h->raw_bytes + 1);
    assert_int_equal(sl_block_lines_open(&it, block, h, scratch, h->raw_bytes), 0);
    while (sl_block_lines_next(&it, &line)) {
        char number[9] = {0};
        assert_true(line.text.bytes >= 9 && !line.partial && w.line_count < LINES_MAX);
        memcpy(number, line.text.data, 8);
        w.lines[w.line_count++] = (uint32_t)atol(number);
    }
    free(scratch);
}

static inline struct sl_append_verdict judge(uint8_t kind, struct sl_slice item)
{
    struct sl_append_verdict v = {.verdict = SL_TAKEN};
    struct sl_block_header h;
    struct sl_change change;
    if (kind == SL_RECORD_CHANGE) {
        struct sl_reader r = sl_reader(item);
        assert_int_equal(sl_change_decode(&r, &change), 0);
        if (change.fields & SL_CHANGE_STATE && change.state == SL_STOPPED) {
            trace("stopped");
            w.ended = true;
            w.ended_lines = w.line_count;
            w.ended_gaps = w.gaps;
        }
        return v;
    }
    assert_int_equal(sl_block_check(item, &h), SL_BLOCK_OK);
    bool close = h.flags & SL_BLOCK_CLOSE;
    if (w.refuses && dice(w.refuses) == 0) {
        v.verdict = SL_REFUSED;
        return v;
    }
    v.verdict = judge_range(&h.range, close);
    if (v.verdict == SL_TAKEN && h.flags & SL_BLOCK_ALSO) {
        uint8_t also = judge_range(&h.also, true);
        const struct sl_source_place *at = place_of(h.also.source.key);
        if (also != SL_TAKEN && !(at && at->offset == h.also.from && h.also.to == h.also.from))
            v.verdict = SL_ELSEWHERE;
    }
    if (v.verdict != SL_TAKEN)
        return v;
    take_range(&h.range, h.open_from, close);
    place_of(h.range.source.key)->fingerprint = h.fingerprint;
    place_of(h.range.source.key)->fingerprint_bytes = h.fingerprint_bytes;
    if (h.flags & SL_BLOCK_ALSO)
        take_range(&h.also, h.also.to, false);
    if (h.flags & SL_BLOCK_GAP)
        w.gap_places[w.gaps++] = w.line_count;
    trace(
        "taken: source %02x%02x/%u %llu..%llu open_from %llu lines %u first %u flags %u fp %u also %02x%02x",
        h.range.source.key[0], h.range.source.key[1], h.range.source.incarnation,
        (unsigned long long)h.range.from, (unsigned long long)h.range.to, (unsigned long long)h.open_from,
        h.lines, w.line_count, h.flags, h.fingerprint_bytes, h.also.source.key[0], h.also.source.key[1]);
    if (h.lines > 0)
        take_lines(item, &h);
    if (h.lines > 0)
        trace("   %u..%u", w.lines[w.line_count - h.lines], w.lines[w.line_count - 1]);
    return v;
}

static inline void judge_message(struct sl_reader *body, struct sl_writer *answer)
{
    uint8_t kind;
    struct sl_slice item;
    sl_append_answer_begin(answer, 0);
    while (sl_append_item_next(body, &kind, &item)) {
        struct sl_append_verdict v = judge(kind, item);
        sl_append_verdict_write(answer, &v);
    }
}

static inline void tell_places(struct sl_reader *body, struct sl_writer *answer)
{
    struct sl_slice id;
    while (sl_id_next(body, &id)) {
        sl_sources_write(answer, id, (uint32_t)w.place_count);
        for (size_t i = 0; i < w.place_count; i++)
            sl_source_place_write(answer, &w.places[i]);
    }
}

/* Answers the first that was asked; `fault`: it is lost, done or not. */
static inline void broker_answer(int fault, bool done)
{
    static uint8_t room[1 << 20];
    struct asked a = w.asked[0];
    struct sl_writer answer = sl_writer(room, sizeof room);
    struct sl_reader body = sl_reader(sl_slice(nng_msg_body(a.message), nng_msg_len(a.message)));
    struct sl_message_head head;
    assert_int_equal(sl_message_open(&body, &head), 0);
    memmove(w.asked, w.asked + 1, --w.asked_count * sizeof *w.asked);
    if (head.type == SL_APPEND && done)
        judge_message(&body, &answer);
    else if (head.type == SL_SOURCES && !fault)
        tell_places(&body, &answer);
    else if (head.type == SL_MINE && !fault) {
        sl_mine_answer_begin(&answer, 0);
        if (w.place_count > 0 && !w.ended)
            sl_id_write(&answer, sl_slice_of("box"));
    }
    assert_false(answer.failed);
    nng_msg_free(a.message);
    if (head.type == SL_NOTICES && !fault)
        return; /* it never has any */
    head.status = SL_STATUS_OK;
    struct sl_reader reader = sl_reader(sl_slice(room, answer.bytes));
    a.answered(a.arg, fault, fault ? NULL : &head, fault ? NULL : &reader);
}

int sl_client_new(const struct sl_client_options *options, struct sl_client **ret)
{
    w.client.options = *options;
    *ret = &w.client;
    return 0;
}
void sl_client_free(struct sl_client *client)
{
    (void)client;
    for (size_t i = 0; i < w.asked_count; i++)
        nng_msg_free(w.asked[i].message);
    w.asked_count = 0;
}
void sl_client_set_keys(struct sl_client *client, struct sl_link_keys *keys)
{
    (void)client, (void)keys;
}
int sl_client_fd(const struct sl_client *client)
{
    (void)client;
    return -1;
}
void sl_client_run(struct sl_client *client)
{
    (void)client;
}
int sl_client_message_new(uint8_t type, size_t capacity, nng_msg **ret, struct sl_writer *ret_w)
{
    assert_int_equal(nng_msg_alloc(ret, SL_MESSAGE_HEAD_BYTES + capacity), 0);
    const struct sl_message_head head = {.type = type, .id = 1};
    *ret_w = sl_writer(nng_msg_body(*ret), nng_msg_len(*ret));
    sl_message_begin(ret_w, &head);
    return 0;
}
void sl_client_ask(struct sl_client *client, nng_msg *request, const struct sl_writer *writer,
                   int64_t timeout_ms, sl_client_answered *answered, void *arg)
{
    (void)client, (void)timeout_ms;
    nng_msg_chop(request, nng_msg_len(request) - writer->bytes);
    assert_true(w.asked_count < ASKED_MAX);
    w.asked[w.asked_count++] = (struct asked){.message = request, .answered = answered, .arg = arg};
}
