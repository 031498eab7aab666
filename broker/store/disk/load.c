// SPDX-License-Identifier: Apache-2.0
#include "load.h"
#include "disk.h"
#include "wire/crc32c.h"
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

static int table_look(struct disk *d, struct sl_slice payload, bool taking)
{
    struct consumer_table table;
    return taking ? load_consumers(d, payload) : consumers_decode(payload, &table);
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
    /* First all is checked, then all is taken. */
    for (int taking = 0; taking < 2 && !answer; taking++) {
        struct sl_slice rest = bytes;
        uint32_t count = 0;
        for (; !answer && rest.bytes; count++) {
            struct sl_record record;
            struct sl_slice payload;
            struct sl_block_header ignored;
            struct state state;
            answer = taking ? sl_record_decode_prefix(rest, &record)
                            : sl_record_check(rest, &record, &payload, &ignored);
            if (answer == SL_RECORD_OK) {
                payload = sl_slice(rest.data + SL_RECORD_PREFIX_BYTES, record.payload_bytes);
                answer = record.kind == SL_RECORD_CONSUMER ? table_look(d, payload, taking)
                         : record.kind == SL_RECORD_ENGINE ? state_decode(payload, &state)
                                                           : FORMAT_MALFORMED;
            } else {
                answer = FORMAT_MALFORMED;
            }
            if (!answer && taking && record.kind == SL_RECORD_ENGINE) {
                struct applied applied;
                answer = table_apply_state(&d->table, &state, s, &applied);
                if (!answer) {
                    applied.sandbox->state_segment = s->name.last;
                    /* What a segment before it left hot would no longer join what comes after it. */
                    hot_drop(&d->hot, applied.sandbox);
                }
            }
            if (!answer)
                rest = sl_slice(rest.data + SL_RECORD_PREFIX_BYTES + record.payload_bytes,
                                rest.bytes - SL_RECORD_PREFIX_BYTES - record.payload_bytes);
        }
        if (!answer && count != trailer.states)
            answer = FORMAT_MALFORMED;
    }
    free(states);
    if (answer)
        return answer;
    s->sealed = true;
    s->tail = s->durable = s->written = trailer.states_offset;
    s->file_bytes = size;
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
            struct applied applied;
            got = io_read(d->io, s->file, at, bytes, whole);
            if (got == (int64_t)whole &&
                sl_record_check(sl_slice(bytes, whole), &record, &payload, &ignored) == SL_RECORD_OK &&
                state_decode(payload, &state) == 0) {
                fault = table_apply_state(&d->table, &state, s, &applied);
                if (!fault) {
                    applied.sandbox->state_segment = s->name.last;
                    hot_drop(&d->hot, applied.sandbox);
                }
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
    s->sealed = s->uncompactable = true;
    s->tail = s->durable = s->written = records_end;
    s->file_bytes = size;
    return fault;
}
