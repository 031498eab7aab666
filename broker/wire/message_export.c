// SPDX-License-Identifier: Apache-2.0
#include "message.h"
#include "message_parts.h"
#include <assert.h>

enum { SCAN_WAIT_MAX_MS = 60000, LEASE_MAX_MS = 60000, SCAN_MORE = 1 << 0, CONSUMER_LEASED = 1 << 0 };

/* ---- names ---- */

static bool plain(struct sl_slice text, size_t most)
{
    for (size_t i = 0; i < text.bytes; i++) {
        uint8_t c = text.data[i];
        bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '_' || c == '-';
        if (!good)
            return false;
    }
    return text.bytes >= 1 && text.bytes <= most;
}

bool sl_checkpoint_valid(struct sl_slice text)
{
    return plain(text, SL_CHECKPOINT_MAX_BYTES);
}

bool sl_consumer_valid(struct sl_slice name)
{
    return plain(name, SL_CONSUMER_MAX_BYTES) && !sl_slice_equal(name, sl_slice_of(".")) &&
           !sl_slice_equal(name, sl_slice_of(".."));
}

/* ---- SCAN ---- */

void sl_scan_encode(struct sl_writer *w, const struct sl_scan *scan)
{
    sl_write_slice8(w, scan->consumer);
    sl_write_slice8(w, scan->checkpoint);
    sl_write_u64(w, scan->holder);
    sl_write_u32(w, scan->ttl_ms);
    sl_write_u32(w, scan->max_bytes);
    sl_write_u32(w, scan->wait_ms);
}

int sl_scan_decode(struct sl_reader *r, struct sl_scan *ret)
{
    struct sl_scan s = {.consumer = sl_read_slice8(r)};
    s.checkpoint = sl_read_slice8(r);
    s.holder = sl_read_u64(r);
    s.ttl_ms = sl_read_u32(r);
    s.max_bytes = sl_read_u32(r);
    s.wait_ms = sl_read_u32(r);
    bool sound = sl_consumer_valid(s.consumer) &&
                 (s.checkpoint.bytes == 0 || sl_checkpoint_valid(s.checkpoint)) && s.holder != 0 &&
                 s.ttl_ms >= 1 && s.ttl_ms <= LEASE_MAX_MS && s.max_bytes >= 1 &&
                 s.max_bytes <= SL_PAGE_MAX_BYTES && s.wait_ms <= SCAN_WAIT_MAX_MS;
    int status = message_end(r, sound);
    if (status == SL_STATUS_OK)
        *ret = s;
    return status;
}

void sl_scan_answer_begin(struct sl_writer *w, const struct sl_scan_answer *answer)
{
    sl_write_u64(w, answer->epoch);
    sl_write_i64(w, answer->now_ns);
    sl_write_u8(w, answer->more ? SCAN_MORE : 0);
    sl_write_slice8(w, answer->from);
    sl_write_slice8(w, answer->next);
}

int sl_scan_answer_open(struct sl_reader *r, struct sl_scan_answer *ret)
{
    struct sl_scan_answer a = {.epoch = sl_read_u64(r)};
    a.now_ns = sl_read_i64(r);
    uint8_t flags = sl_read_u8(r);
    a.more = flags & SCAN_MORE;
    a.from = sl_read_slice8(r);
    a.next = sl_read_slice8(r);
    if (r->failed || (flags & ~SCAN_MORE) != 0 || !sl_checkpoint_valid(a.from) ||
        !sl_checkpoint_valid(a.next)) {
        message_fail(r);
        return SL_STATUS_MALFORMED;
    }
    *ret = a;
    return SL_STATUS_OK;
}

void sl_scan_item_write(struct sl_writer *w, const struct sl_scan_item *item)
{
    sl_write_u64(w, item->birth);
    sl_write_u32(w, item->version);
    sl_write_slice32(w, item->record);
}

bool sl_scan_item_next(struct sl_reader *r, struct sl_scan_item *ret)
{
    if (r->failed || sl_reader_left(r) == 0)
        return false;
    struct sl_scan_item item = {.birth = sl_read_u64(r)};
    item.version = sl_read_u32(r);
    item.record = sl_read_slice32(r);
    if (r->failed || item.record.bytes < SL_RECORD_PREFIX_BYTES)
        return message_fail(r);
    *ret = item;
    return true;
}

/* ---- LEASE, ACK, FORGET ---- */

void sl_lease_encode(struct sl_writer *w, struct sl_slice consumer, uint64_t holder, uint32_t ttl_ms)
{
    sl_write_slice8(w, consumer);
    sl_write_u64(w, holder);
    sl_write_u32(w, ttl_ms);
}

int sl_lease_decode(struct sl_reader *r, struct sl_slice *ret_consumer, uint64_t *ret_holder,
                    uint32_t *ret_ttl_ms)
{
    struct sl_slice consumer = sl_read_slice8(r);
    uint64_t holder = sl_read_u64(r);
    uint32_t ttl_ms = sl_read_u32(r);
    int status = message_end(r, sl_consumer_valid(consumer) && holder != 0 && ttl_ms <= LEASE_MAX_MS);
    if (status == SL_STATUS_OK) {
        *ret_consumer = consumer;
        *ret_holder = holder;
        *ret_ttl_ms = ttl_ms;
    }
    return status;
}

void sl_ack_encode(struct sl_writer *w, struct sl_slice consumer, struct sl_slice checkpoint)
{
    sl_write_slice8(w, consumer);
    sl_write_slice8(w, checkpoint);
}

int sl_ack_decode(struct sl_reader *r, struct sl_slice *ret_consumer, struct sl_slice *ret_checkpoint)
{
    struct sl_slice consumer = sl_read_slice8(r);
    struct sl_slice checkpoint = sl_read_slice8(r);
    int status = message_end(r, sl_consumer_valid(consumer) && sl_checkpoint_valid(checkpoint));
    if (status == SL_STATUS_OK) {
        *ret_consumer = consumer;
        *ret_checkpoint = checkpoint;
    }
    return status;
}

void sl_ack_answer_encode(struct sl_writer *w, struct sl_slice place)
{
    sl_write_slice8(w, place);
}

int sl_ack_answer_decode(struct sl_reader *r, struct sl_slice *ret_place)
{
    struct sl_slice place = sl_read_slice8(r);
    int status = message_end(r, sl_checkpoint_valid(place));
    if (status == SL_STATUS_OK)
        *ret_place = place;
    return status;
}

void sl_consumer_name_encode(struct sl_writer *w, struct sl_slice consumer)
{
    sl_write_slice8(w, consumer);
}

int sl_consumer_name_decode(struct sl_reader *r, struct sl_slice *ret_consumer)
{
    struct sl_slice consumer = sl_read_slice8(r);
    int status = message_end(r, sl_consumer_valid(consumer));
    if (status == SL_STATUS_OK)
        *ret_consumer = consumer;
    return status;
}

/* ---- CONSUMERS ---- */

void sl_consumers_begin(struct sl_writer *w, uint64_t epoch, int64_t now_ns)
{
    sl_write_u64(w, epoch);
    sl_write_i64(w, now_ns);
}

int sl_consumers_open(struct sl_reader *r, uint64_t *ret_epoch, int64_t *ret_now_ns)
{
    return sl_read_answer_open(r, ret_epoch, ret_now_ns);
}

void sl_consumer_write(struct sl_writer *w, const struct sl_consumer *c)
{
    sl_write_slice8(w, c->name);
    sl_write_slice8(w, c->checkpoint);
    sl_write_u64(w, c->lag_lines);
    sl_write_u64(w, c->lag_bytes);
    sl_write_i64(w, c->oldest_ns);
    sl_write_u64(w, c->overruns);
    sl_write_u8(w, c->leased ? CONSUMER_LEASED : 0);
}

bool sl_consumer_next(struct sl_reader *r, struct sl_consumer *ret)
{
    if (r->failed || sl_reader_left(r) == 0)
        return false;
    struct sl_consumer c = {.name = sl_read_slice8(r)};
    c.checkpoint = sl_read_slice8(r);
    c.lag_lines = sl_read_u64(r);
    c.lag_bytes = sl_read_u64(r);
    c.oldest_ns = sl_read_i64(r);
    c.overruns = sl_read_u64(r);
    uint8_t flags = sl_read_u8(r);
    c.leased = flags & CONSUMER_LEASED;
    if (r->failed || (flags & ~CONSUMER_LEASED) != 0 || !sl_consumer_valid(c.name) ||
        !sl_checkpoint_valid(c.checkpoint))
        return message_fail(r);
    *ret = c;
    return true;
}
