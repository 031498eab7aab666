// SPDX-License-Identifier: Apache-2.0
#include "message.h"
#include "message_parts.h"
#include <assert.h>

/* ---- APPEND ---- */

void sl_append_item_write(struct sl_writer *w, uint8_t kind, struct sl_slice payload)
{
    sl_write_u8(w, kind);
    sl_write_slice32(w, payload);
}

bool sl_append_item_next(struct sl_reader *r, uint8_t *ret_kind, struct sl_slice *ret_payload)
{
    if (r->failed || sl_reader_left(r) == 0)
        return false;
    uint8_t kind = sl_read_u8(r);
    struct sl_slice payload = sl_read_slice32(r);
    if (r->failed || (kind != SL_RECORD_BLOCK && kind != SL_RECORD_CHANGE))
        return message_fail(r);
    *ret_kind = kind;
    *ret_payload = payload;
    return true;
}

void sl_append_answer_begin(struct sl_writer *w, uint32_t retry_ms)
{
    sl_write_u32(w, retry_ms);
}

void sl_append_verdict_write(struct sl_writer *w, const struct sl_append_verdict *verdict)
{
    assert(verdict->verdict <= SL_REFUSED);
    sl_write_u8(w, verdict->verdict);
    sl_write_u32(w, verdict->incarnation);
    sl_write_u64(w, verdict->offset);
}

uint32_t sl_append_answer_open(struct sl_reader *r)
{
    return sl_read_u32(r);
}

bool sl_append_verdict_next(struct sl_reader *r, struct sl_append_verdict *ret)
{
    if (r->failed || sl_reader_left(r) == 0)
        return false;
    struct sl_append_verdict v = {.verdict = sl_read_u8(r)};
    v.incarnation = sl_read_u32(r);
    v.offset = sl_read_u64(r);
    if (r->failed || v.verdict > SL_REFUSED)
        return message_fail(r);
    *ret = v;
    return true;
}

/* ---- SOURCES ---- */

void sl_id_write(struct sl_writer *w, struct sl_slice sandbox)
{
    sl_write_slice8(w, sandbox);
}

bool sl_id_next(struct sl_reader *r, struct sl_slice *ret_sandbox)
{
    if (r->failed || sl_reader_left(r) == 0)
        return false;
    struct sl_slice sandbox = sl_read_slice8(r);
    if (r->failed || !sl_sandbox_id_valid(sandbox))
        return message_fail(r);
    *ret_sandbox = sandbox;
    return true;
}

void sl_sources_write(struct sl_writer *w, struct sl_slice sandbox, uint32_t count)
{
    sl_id_write(w, sandbox);
    sl_write_u32(w, count);
}

/* The places are all there, so that `count` can be trusted for memory and loops. */
bool sl_sources_next(struct sl_reader *r, struct sl_slice *ret_sandbox, uint32_t *ret_count)
{
    struct sl_slice sandbox;
    if (!sl_id_next(r, &sandbox))
        return false;
    uint32_t count = sl_read_u32(r);
    if (r->failed || count > sl_reader_left(r) / SL_SOURCE_PLACE_BYTES)
        return message_fail(r);
    *ret_sandbox = sandbox;
    *ret_count = count;
    return true;
}

void sl_source_place_write(struct sl_writer *w, const struct sl_source_place *place)
{
    sl_write_slice(w, sl_slice(place->source.key, sizeof place->source.key));
    sl_write_u32(w, place->source.incarnation);
    sl_write_u64(w, place->offset);
    sl_write_u64(w, place->open_from);
    sl_write_u64(w, place->fingerprint);
    sl_write_u16(w, place->fingerprint_bytes);
    sl_write_u8(w, place->flags);
}

bool sl_source_place_next(struct sl_reader *r, struct sl_source_place *ret)
{
    if (r->failed || sl_reader_left(r) == 0)
        return false;
    struct sl_source_place place = {0};
    struct sl_slice key = sl_read_slice(r, sizeof place.source.key);
    place.source.incarnation = sl_read_u32(r);
    place.offset = sl_read_u64(r);
    place.open_from = sl_read_u64(r);
    place.fingerprint = sl_read_u64(r);
    place.fingerprint_bytes = sl_read_u16(r);
    place.flags = sl_read_u8(r);
    if (r->failed || place.open_from > place.offset || place.fingerprint_bytes > SL_FINGERPRINT_MAX_BYTES ||
        (place.flags & ~(SL_SOURCE_BURIED | SL_SOURCE_CLOSED)) != 0)
        return message_fail(r);
    memcpy(place.source.key, key.data, sizeof place.source.key);
    *ret = place;
    return true;
}

/* ---- NOTICES ---- */

void sl_notices_encode(struct sl_writer *w, uint64_t seen, uint32_t wait_ms)
{
    sl_write_u64(w, seen);
    sl_write_u32(w, wait_ms);
}

int sl_notices_decode(struct sl_reader *r, uint64_t *ret_seen, uint32_t *ret_wait_ms)
{
    uint64_t seen = sl_read_u64(r);
    uint32_t wait_ms = sl_read_u32(r);
    int status = message_end(r, true);
    if (status == SL_STATUS_OK) {
        *ret_seen = seen;
        *ret_wait_ms = wait_ms;
    }
    return status;
}

void sl_notices_answer_begin(struct sl_writer *w, uint64_t version)
{
    sl_write_u64(w, version);
}

int sl_notices_answer_open(struct sl_reader *r, uint64_t *ret_version)
{
    uint64_t version = sl_read_u64(r);
    if (r->failed)
        return SL_STATUS_MALFORMED;
    *ret_version = version;
    return SL_STATUS_OK;
}

/* ---- MINE ---- */

void sl_mine_encode(struct sl_writer *w, uint64_t page)
{
    sl_write_u64(w, page);
}

int sl_mine_decode(struct sl_reader *r, uint64_t *ret_page)
{
    uint64_t page = sl_read_u64(r);
    int status = message_end(r, true);
    if (status == SL_STATUS_OK)
        *ret_page = page;
    return status;
}

void sl_mine_answer_begin(struct sl_writer *w, uint64_t next_page)
{
    sl_write_u64(w, next_page);
}

int sl_mine_answer_open(struct sl_reader *r, uint64_t *ret_next_page)
{
    uint64_t next_page = sl_read_u64(r);
    if (r->failed)
        return SL_STATUS_MALFORMED;
    *ret_next_page = next_page;
    return SL_STATUS_OK;
}

/* ---- BEGIN ---- */

void sl_begin_encode(struct sl_writer *w, uint64_t instance)
{
    sl_write_u64(w, instance);
}

int sl_begin_decode(struct sl_reader *r, uint64_t *ret_instance)
{
    uint64_t instance = sl_read_u64(r);
    int status = message_end(r, instance != 0);
    if (status == SL_STATUS_OK)
        *ret_instance = instance;
    return status;
}
