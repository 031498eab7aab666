// SPDX-License-Identifier: Apache-2.0
#include "load.h"
#include "disk.h"
#include "wire/crc32c.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int load_consumers(struct disk *d, struct sl_slice payload)
{
    struct consumer_table table;
    int answer = consumers_decode(payload, &table);
    if (answer == 0)
        consumers_recovered(&d->consumers, &table);
    return answer;
}

/* The next record of an index, checked; `rest` moves behind it. > 0: malformed. */
static int index_next(struct sl_slice *rest, struct sl_record *ret, struct sl_slice *ret_payload)
{
    struct sl_block_header ignored;
    if (sl_record_check(*rest, ret, ret_payload, &ignored) != SL_RECORD_OK)
        return FORMAT_MALFORMED;
    size_t whole = SL_RECORD_PREFIX_BYTES + ret_payload->bytes;
    *rest = sl_slice(rest->data + whole, rest->bytes - whole);
    return 0;
}

static int index_check(struct sl_slice rest, uint32_t states)
{
    uint32_t count = 0;
    int answer = 0;
    for (; !answer && rest.bytes; count++) {
        struct sl_record record;
        struct sl_slice payload;
        struct state state;
        struct consumer_table table;
        answer = index_next(&rest, &record, &payload);
        if (!answer)
            answer = record.kind == SL_RECORD_CONSUMER ? consumers_decode(payload, &table)
                     : record.kind == SL_RECORD_ENGINE ? state_decode(payload, &state)
                                                       : FORMAT_MALFORMED;
    }
    return !answer && count != states ? FORMAT_MALFORMED : answer;
}

static int take_state(struct disk *d, struct segment *s, const struct state *state)
{
    struct applied applied;
    int fault = table_apply_state(&d->table, state, s, &applied);
    if (fault)
        return fault;
    applied.sandbox->state_segment = s->name.last;
    /* What a segment before it left hot would no longer join what comes after it. */
    hot_drop(&d->hot, applied.sandbox);
    return 0;
}

/* Of an index that is whole. */
static int index_take(struct disk *d, struct segment *s, struct sl_slice rest)
{
    struct state states[TABLE_FETCH_MOST];
    struct sl_slice ids[TABLE_FETCH_MOST];
    int answer = 0;
    while (!answer && rest.bytes) {
        size_t count = 0;
        while (!answer && rest.bytes && count < TABLE_FETCH_MOST) {
            struct sl_record record;
            int good = sl_record_decode_prefix(rest, &record);
            assert(good == SL_RECORD_OK);
            size_t whole = SL_RECORD_PREFIX_BYTES + (size_t)record.payload_bytes;
            struct sl_slice payload = sl_slice(rest.data + SL_RECORD_PREFIX_BYTES, record.payload_bytes);
            rest = sl_slice(rest.data + whole, rest.bytes - whole);
            if (record.kind == SL_RECORD_CONSUMER) {
                answer = load_consumers(d, payload);
            } else if (!(answer = state_decode(payload, &states[count]))) {
                ids[count] = states[count].id;
                count++;
            }
        }
        table_fetch(&d->table, ids, count);
        for (size_t i = 0; i < count && !answer; i++)
            answer = take_state(d, s, &states[i]);
    }
    return answer;
}

int load_index(struct disk *d, struct segment *s, uint64_t size)
{
    uint8_t last[TRAILER_BYTES];
    struct trailer trailer;
    if (size < TRAILER_BYTES)
        return FORMAT_MALFORMED;
    int64_t got = io_read(d->io, s->file, size - TRAILER_BYTES, last, TRAILER_BYTES);
    if (got < 0)
        return (int)got;
    int answer = got == TRAILER_BYTES ? trailer_decode(last, size, &trailer) : FORMAT_MALFORMED;
    if (answer)
        return answer;
    uint8_t *states = malloc(trailer.states_bytes + 1);
    if (!states)
        return -ENOMEM;
    got = io_read(d->io, s->file, trailer.states_offset, states, trailer.states_bytes);
    struct sl_slice bytes = sl_slice(states, trailer.states_bytes);
    if (got != (int64_t)trailer.states_bytes)
        answer = got < 0 ? (int)got : FORMAT_MALFORMED;
    if (!answer)
        answer = index_check(bytes, trailer.states);
    if (!answer)
        answer = index_take(d, s, bytes);
    free(states);
    if (answer)
        return answer;
    s->sealed = true;
    s->tail = s->durable = s->written = trailer.states_offset;
    s->file_bytes = size;
    s->before = trailer.before;
    s->dropped = trailer.dropped;
    s->oldest_commit_ns = trailer.oldest_commit_ns;
    s->newest_commit_ns = trailer.newest_commit_ns;
    return 0;
}

int load_salvage(struct disk *d, struct segment *s, uint64_t size)
{
    uint8_t *bytes = malloc(SL_RECORD_PREFIX_BYTES + STATE_MOST_BYTES);
    if (!bytes)
        return -ENOMEM;
    uint64_t at = 0, records_end = 0;
    int fault = 0;
    while (!fault) {
        struct sl_record record;
        int64_t got = io_read(d->io, s->file, at, bytes, SL_RECORD_PREFIX_BYTES);
        if (got < 0)
            fault = (int)got;
        if (got != SL_RECORD_PREFIX_BYTES ||
            sl_record_decode_prefix(sl_slice(bytes, (size_t)got), &record) != SL_RECORD_OK)
            break;
        size_t whole = SL_RECORD_PREFIX_BYTES + (size_t)record.payload_bytes;
        if (record.kind == SL_RECORD_ENGINE && whole <= SL_RECORD_PREFIX_BYTES + STATE_MOST_BYTES && at > 0) {
            struct sl_slice payload;
            struct sl_block_header ignored;
            struct state state;
            got = io_read(d->io, s->file, at, bytes, whole);
            if (got == (int64_t)whole &&
                sl_record_check(sl_slice(bytes, whole), &record, &payload, &ignored) == SL_RECORD_OK &&
                state_decode(payload, &state) == 0) {
                fault = take_state(d, s, &state);
            } else {
                d->cut_records++;
            }
        } else {
            struct sl_slice payload = sl_slice(bytes + SL_RECORD_PREFIX_BYTES, record.payload_bytes);
            if (record.kind == SL_RECORD_CONSUMER && whole <= CONSUMERS_RECORD_MAX_BYTES &&
                io_read(d->io, s->file, at, bytes, whole) == (int64_t)whole &&
                sl_crc32c(0, payload) == record.payload_crc && load_consumers(d, payload))
                d->cut_records++;
            records_end = at + whole;
        }
        at += whole;
    }
    free(bytes);
    d->cut_records++; /* its index */
    d->cut_bytes += size - records_end;
    s->sealed = s->uncompactable = s->salvaged = true;
    s->tail = s->durable = s->written = records_end;
    s->file_bytes = size;
    return fault;
}
