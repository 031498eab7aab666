// SPDX-License-Identifier: Apache-2.0
#include "state.h"
#include "segment.h"
#include "wire/crc32c.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static uint16_t durable_sources(const struct sandbox *b)
{
    uint16_t count = 0;
    for (uint16_t i = 0; i < b->source_count; i++)
        count = (uint16_t)(count + ((b->sources[i].bits & SOURCE_DURABLE) != 0));
    return count;
}

size_t state_record_bytes(const struct sandbox *b)
{
    const struct details *d = b->details;
    return SL_RECORD_PREFIX_BYTES + STATE_FIXED_BYTES + b->id_bytes +
           (d ? (size_t)d->host_bytes + d->pairs_bytes + d->names_bytes : 0) +
           durable_sources(b) * (size_t)STATE_SOURCE_BYTES;
}

enum { FLAG_ALIVE = 1, FLAG_EXIT = 2 };

size_t state_encode(const struct sandbox *b, const struct part *part, int64_t now_ns, uint8_t *out)
{
    static const struct details none;
    const struct details *d = b->details ? b->details : &none;
    size_t payload_bytes = state_record_bytes(b) - SL_RECORD_PREFIX_BYTES;
    uint8_t *payload = out + SL_RECORD_PREFIX_BYTES;
    struct sl_writer w = sl_writer(payload, payload_bytes);
    sl_write_u32(&w, FORMAT_STATE);
    sl_write_u32(&w, FORMAT_VERSION);
    sl_write_u64(&w, b->birth);
    sl_write_u64(&w, b->last_seq);
    sl_write_u64(&w, b->kept_from);
    sl_write_u64(&w, b->lost);
    sl_write_i64(&w, b->first_time_ns);
    sl_write_i64(&w, b->last_time_ns);
    sl_write_i64(&w, b->created_ns);
    sl_write_i64(&w, b->floor_ns);
    sl_write_u64(&w, b->text_bytes);
    sl_write_u32(&w, b->version);
    sl_write_u32(&w, (uint32_t)b->exit_code);
    sl_write_u64(&w, part->offset);
    sl_write_u64(&w, part->first_seq);
    sl_write_i64(&w, part->ceiling_ns);
    sl_write_u64(&w, part->stored_bytes);
    sl_write_u32(&w, part->count);
    sl_write_u32(&w, part->text_bytes);
    sl_write_u32(&w, part->crc);
    sl_write_u8(&w, b->state);
    sl_write_u8(&w, (uint8_t)((b->alive ? FLAG_ALIVE : 0) | (b->has_exit ? FLAG_EXIT : 0)));
    sl_write_u8(&w, b->id_bytes);
    sl_write_u8(&w, d->names);
    sl_write_u16(&w, durable_sources(b));
    sl_write_u16(&w, d->labels);
    sl_write_u16(&w, d->host_bytes);
    sl_write_u16(&w, 0);
    sl_write_u32(&w, d->pairs_bytes);
    static_assert(STATE_FIXED_BYTES == 8 + 9 * 8 + 8 + 4 * 8 + 3 * 4 + 4 + 4 * 2 + 4, "README: state");
    assert(w.bytes == STATE_FIXED_BYTES);
    sl_write_slice(&w, sandbox_id(b));
    sl_write_slice(&w, sl_slice(d->data, (size_t)d->host_bytes + d->pairs_bytes + d->names_bytes));
    for (uint16_t i = 0; i < b->source_count; i++) {
        const struct source *s = &b->sources[i];
        if (!(s->bits & SOURCE_DURABLE))
            continue;
        sl_write_slice(&w, sl_slice(s->key, sizeof s->key));
        sl_write_u64(&w, s->offset);
        sl_write_u64(&w, s->open_from);
        sl_write_u64(&w, s->fingerprint);
        sl_write_u32(&w, s->incarnation);
        sl_write_u16(&w, s->fingerprint_bytes);
        sl_write_u8(&w, s->bits);
        sl_write_u8(&w, 0);
    }
    assert(!w.failed && w.bytes == payload_bytes);
    struct sl_record record = {
        .kind = SL_RECORD_ENGINE,
        .payload_bytes = (uint32_t)payload_bytes,
        .floor_ns = INT64_MIN,
        .commit_ns = now_ns,
        .payload_crc = sl_crc32c(0, sl_slice(payload, payload_bytes)),
    };
    sl_record_encode_prefix(&record, out);
    return SL_RECORD_PREFIX_BYTES + payload_bytes;
}

void state_patch(uint8_t *record, size_t bytes, uint64_t kept_from, const struct part *part)
{
    enum { KEPT_FROM = 24, PART = 88 };
    uint8_t *payload = record + SL_RECORD_PREFIX_BYTES;
    struct sl_record prefix;
    int answer = sl_record_decode_prefix(sl_slice(record, bytes), &prefix);
    assert(answer == SL_RECORD_OK && prefix.payload_bytes == bytes - SL_RECORD_PREFIX_BYTES);
    sl_store64(payload + KEPT_FROM, kept_from);
    sl_store64(payload + PART, part->offset);
    sl_store64(payload + PART + 8, part->first_seq);
    sl_store64(payload + PART + 16, (uint64_t)part->ceiling_ns);
    sl_store64(payload + PART + 24, part->stored_bytes);
    sl_store32(payload + PART + 32, part->count);
    sl_store32(payload + PART + 36, part->text_bytes);
    sl_store32(payload + PART + 40, part->crc);
    prefix.payload_crc = sl_crc32c(0, sl_slice(payload, prefix.payload_bytes));
    sl_record_encode_prefix(&prefix, record);
}

static bool pairs_good(struct sl_slice pairs, uint16_t labels)
{
    struct sl_reader r = sl_reader(pairs);
    struct sl_slice key, value;
    uint16_t count = 0;
    while (sl_label_next(&r, &key, &value))
        count++;
    return !r.failed && sl_reader_left(&r) == 0 && count == labels && labels <= SL_LABELS_MAX;
}

static bool names_good(struct sl_slice names, uint8_t count)
{
    struct sl_reader r = sl_reader(names);
    for (unsigned i = 0; i < count; i++)
        sl_read_slice8(&r);
    return !r.failed && sl_reader_left(&r) == 0;
}

int state_decode(struct sl_slice payload, struct state *ret)
{
    struct sl_reader r = sl_reader(payload);
    uint32_t what = sl_read_u32(&r);
    uint32_t version = sl_read_u32(&r);
    if (r.failed || what != FORMAT_STATE)
        return FORMAT_MALFORMED;
    if (version != FORMAT_VERSION)
        return version > FORMAT_VERSION ? FORMAT_NEWER : FORMAT_MALFORMED;
    struct state s = {.birth = sl_read_u64(&r)};
    s.last_seq = sl_read_u64(&r);
    s.kept_from = sl_read_u64(&r);
    s.lost = sl_read_u64(&r);
    s.first_time_ns = sl_read_i64(&r);
    s.last_time_ns = sl_read_i64(&r);
    s.created_ns = sl_read_i64(&r);
    s.floor_ns = sl_read_i64(&r);
    s.text_bytes = sl_read_u64(&r);
    s.version = sl_read_u32(&r);
    s.exit_code = (int32_t)sl_read_u32(&r);
    s.part.offset = sl_read_u64(&r);
    s.part.first_seq = sl_read_u64(&r);
    s.part.ceiling_ns = sl_read_i64(&r);
    s.part.stored_bytes = sl_read_u64(&r);
    s.part.count = sl_read_u32(&r);
    s.part.text_bytes = sl_read_u32(&r);
    s.part.crc = sl_read_u32(&r);
    s.state = sl_read_u8(&r);
    uint8_t flags = sl_read_u8(&r);
    uint8_t id_bytes = sl_read_u8(&r);
    s.name_count = sl_read_u8(&r);
    s.source_count = sl_read_u16(&r);
    s.labels = sl_read_u16(&r);
    uint16_t host_bytes = sl_read_u16(&r);
    sl_read_u16(&r);
    uint32_t pairs_bytes = sl_read_u32(&r);
    s.alive = flags & FLAG_ALIVE;
    s.has_exit = flags & FLAG_EXIT;
    s.id = sl_read_slice(&r, id_bytes);
    s.host = sl_read_slice(&r, host_bytes);
    s.pairs = sl_read_slice(&r, pairs_bytes);
    size_t sources_bytes = s.source_count * (size_t)STATE_SOURCE_BYTES;
    if (r.failed || sl_reader_left(&r) < sources_bytes)
        return FORMAT_MALFORMED;
    s.names = sl_read_slice(&r, sl_reader_left(&r) - sources_bytes);
    s.sources = sl_read_slice(&r, sources_bytes);
    if (!sl_sandbox_id_valid(s.id) || !pairs_good(s.pairs, s.labels) || !names_good(s.names, s.name_count) ||
        s.state < SL_RUNNING || s.state > SL_STOPPED || s.kept_from == 0 ||
        s.part.count > UINT32_MAX / sizeof(struct entry))
        return FORMAT_MALFORMED;
    *ret = s;
    return 0;
}

bool state_source_next(struct sl_reader *r, struct source *ret)
{
    if (sl_reader_left(r) < STATE_SOURCE_BYTES)
        return false;
    *ret = (struct source){0};
    memcpy(ret->key, sl_read_slice(r, sizeof ret->key).data, sizeof ret->key);
    ret->offset = sl_read_u64(r);
    ret->open_from = sl_read_u64(r);
    ret->fingerprint = sl_read_u64(r);
    ret->incarnation = sl_read_u32(r);
    ret->fingerprint_bytes = sl_read_u16(r);
    ret->bits = (uint8_t)((sl_read_u8(r) & (SOURCE_BURIED | SOURCE_CLOSED)) | SOURCE_DURABLE);
    sl_read_u8(r);
    return true;
}

int table_apply_state(struct table *t, const struct state *state, struct segment *segment,
                      struct applied *ret)
{
    *ret = (struct applied){0};
    struct sandbox *b;
    int fault = table_get(t, state->id, &b);
    if (fault)
        return fault;
    bool holds = segment && state->alive && state->part.count;
    bool goes_on = b->alive && state->alive && b->birth == state->birth;
    struct details *details;
    /* In place: a failure leaves it a little larger, nothing else. */
    uint16_t sources = b->source_count > state->source_count ? b->source_count : state->source_count;
    if ((fault = sandbox_sources_reserve(b, sources)) ||
        (holds && goes_on && (fault = sandbox_extents_reserve(b, b->extent_count + 1))) ||
        (fault = table_reserve_birth(t)) ||
        (fault = details_get(&t->details, state->host, state->pairs, state->labels, state->names,
                             state->name_count, &details)))
        return fault;
    if (b->alive && !goes_on) {
        table_remove_birth(t, b);
        sandbox_drop_extents(b);
        ret->ended = true;
    }
    details_put(&t->details, b->details);
    b->details = details;
    b->source_count = 0;
    struct sl_reader r = sl_reader(state->sources);
    while (b->source_count < state->source_count && state_source_next(&r, &b->sources[b->source_count]))
        b->source_count++;
    b->last_seq = state->last_seq;
    b->kept_from = state->kept_from;
    b->lost = state->lost;
    b->first_time_ns = state->first_time_ns;
    b->last_time_ns = state->last_time_ns;
    b->created_ns = state->created_ns;
    b->floor_ns = state->floor_ns;
    b->text_bytes = state->text_bytes;
    b->version = state->version;
    b->exit_code = state->exit_code;
    b->has_exit = state->has_exit;
    b->state = state->state;
    b->durable = true;
    if (!b->alive) {
        b->birth = state->birth;
        if (state->birth > t->last_birth)
            t->last_birth = state->birth;
        if (state->alive)
            table_insert_birth(t, b);
    }
    if (holds) {
        b->extents[b->extent_count++] = (struct extent){
            .segment = segment,
            .first_seq = state->part.first_seq,
            .ceiling_ns = state->part.ceiling_ns,
            .part_offset = state->part.offset,
            .count = state->part.count,
            .part_crc = state->part.crc,
            .text_bytes = state->part.text_bytes,
        };
        b->kept_text_bytes += state->part.text_bytes;
    }
    if (segment) {
        segment->text_bytes += state->part.text_bytes;
        if (state->part.count && state->last_seq >= state->part.first_seq)
            segment->lines += state->last_seq + 1 - state->part.first_seq;
        segment->dead_text_bytes += holds ? 0 : state->part.text_bytes;
    }
    ret->sandbox = b;
    return 0;
}

void trailer_encode(const struct trailer *trailer, uint8_t out[TRAILER_BYTES])
{
    struct sl_writer w = sl_writer(out, TRAILER_BYTES);
    sl_write_u32(&w, TRAILER_MAGIC);
    sl_write_u32(&w, FORMAT_VERSION);
    sl_write_u64(&w, trailer->states_offset);
    sl_write_u64(&w, trailer->states_bytes);
    sl_write_u64(&w, trailer->parts_bytes);
    sl_write_u32(&w, trailer->states);
    sl_write_u32(&w, trailer->dropped);
    sl_write_i64(&w, trailer->oldest_commit_ns);
    sl_write_i64(&w, trailer->newest_commit_ns);
    sl_write_u32(&w, trailer->before);
    sl_write_u32(&w, sl_crc32c(0, sl_slice(out, TRAILER_BYTES - 4)));
    assert(!w.failed && w.bytes == TRAILER_BYTES);
}

int trailer_decode(const uint8_t in[TRAILER_BYTES], uint64_t file_bytes, struct trailer *ret)
{
    struct sl_reader r = sl_reader(sl_slice(in, TRAILER_BYTES));
    if (sl_read_u32(&r) != TRAILER_MAGIC ||
        sl_load32(in + TRAILER_BYTES - 4) != sl_crc32c(0, sl_slice(in, TRAILER_BYTES - 4)))
        return FORMAT_MALFORMED;
    uint32_t version = sl_read_u32(&r);
    if (version != FORMAT_VERSION)
        return version > FORMAT_VERSION ? FORMAT_NEWER : FORMAT_MALFORMED;
    struct trailer t = {.states_offset = sl_read_u64(&r)};
    t.states_bytes = sl_read_u64(&r);
    t.parts_bytes = sl_read_u64(&r);
    t.states = sl_read_u32(&r);
    t.dropped = sl_read_u32(&r);
    t.oldest_commit_ns = sl_read_i64(&r);
    t.newest_commit_ns = sl_read_i64(&r);
    t.before = sl_read_u32(&r);
    uint64_t left = file_bytes - TRAILER_BYTES;
    if (t.states_offset > left || t.states_bytes > left - t.states_offset ||
        t.parts_bytes != left - t.states_offset - t.states_bytes)
        return FORMAT_MALFORMED;
    *ret = t;
    return 0;
}
