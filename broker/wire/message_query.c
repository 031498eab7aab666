// SPDX-License-Identifier: Apache-2.0
#include "message.h"
#include "message_parts.h"
#include <assert.h>

enum {
    READ_WAIT_MAX_MS = 60000,
    PART_FOUND = 1 << 0,
    PART_MORE = 1 << 1,
    PLACE_BYTES = 8 * 4 + 4 + 1 + 1 + 4,
};
static_assert(SL_READ_PART_HEAD_BYTES == 2 + 1 + PLACE_BYTES + 4,
              "a part's head: entry, flags, place, length");

/* ---- places ---- */

static void write_place(struct sl_writer *w, const struct sl_place *place)
{
    sl_write_u64(w, place->birth);
    sl_write_u64(w, place->oldest_seq);
    sl_write_u64(w, place->last_seq);
    sl_write_u64(w, place->lost);
    sl_write_u32(w, place->version);
    sl_write_u8(w, place->state);
    sl_write_u8(w, place->has_exit ? 1 : 0);
    sl_write_u32(w, place->has_exit ? (uint32_t)place->exit_code : 0);
}

/* Of a sandbox that is there, or (nothing known of it) all zeros. */
static struct sl_place read_place(struct sl_reader *r, bool there)
{
    struct sl_place p = {.birth = sl_read_u64(r)};
    p.oldest_seq = sl_read_u64(r);
    p.last_seq = sl_read_u64(r);
    p.lost = sl_read_u64(r);
    p.version = sl_read_u32(r);
    p.state = sl_read_u8(r);
    uint8_t has_exit = sl_read_u8(r);
    p.has_exit = has_exit != 0;
    p.exit_code = (int32_t)sl_read_u32(r);
    bool sound = has_exit <= 1 && (p.has_exit || p.exit_code == 0);
    if (there)
        sound = sound && p.state >= SL_RUNNING && p.state <= SL_STOPPED;
    else
        sound = sound && (p.birth | p.oldest_seq | p.last_seq | p.lost | p.version | p.state | has_exit) == 0;
    if (!sound)
        message_fail(r);
    return p;
}

/* ---- READ ---- */

void sl_read_begin(struct sl_writer *w, const struct sl_read *read)
{
    sl_write_u32(w, read->max_bytes);
    sl_write_u32(w, read->wait_ms);
    sl_write_u16(w, read->entries);
}

void sl_read_entry_write(struct sl_writer *w, const struct sl_read_entry *entry)
{
    sl_write_slice8(w, entry->sandbox);
    sl_write_u8(w, entry->how);
    sl_write_u64(w, entry->value);
    sl_write_u32(w, entry->version);
}

bool sl_read_entry_next(struct sl_reader *r, struct sl_read_entry *ret)
{
    struct sl_read_entry e = {0};
    if (!sl_id_next(r, &e.sandbox))
        return false;
    e.how = sl_read_u8(r);
    e.value = sl_read_u64(r);
    e.version = sl_read_u32(r);
    if (r->failed || e.how < SL_READ_FROM || e.how > SL_READ_BEFORE ||
        (e.how == SL_READ_FROM && e.value == 0))
        return message_fail(r);
    *ret = e;
    return true;
}

/* Walks all entries once, so that sl_read_entry_next() yields exactly `entries` of them afterwards. */
int sl_read_open(struct sl_reader *r, struct sl_read *ret)
{
    struct sl_read read = {.max_bytes = sl_read_u32(r)};
    read.wait_ms = sl_read_u32(r);
    read.entries = sl_read_u16(r);
    bool sound = read.max_bytes >= 1 && read.max_bytes <= SL_PAGE_MAX_BYTES &&
                 read.wait_ms <= READ_WAIT_MAX_MS && read.entries >= 1 && read.entries <= SL_READ_ENTRIES_MAX;
    struct sl_reader walk = *r;
    struct sl_read_entry entry;
    unsigned entries = 0;
    while (sound && entries <= read.entries && sl_read_entry_next(&walk, &entry))
        entries++;
    int status = message_end(&walk, sound && entries == read.entries);
    if (status == SL_STATUS_OK)
        *ret = read;
    return status;
}

void sl_read_answer_begin(struct sl_writer *w, uint64_t epoch, int64_t now_ns)
{
    sl_write_u64(w, epoch);
    sl_write_i64(w, now_ns);
}

int sl_read_answer_open(struct sl_reader *r, uint64_t *ret_epoch, int64_t *ret_now_ns)
{
    uint64_t epoch = sl_read_u64(r);
    int64_t now_ns = sl_read_i64(r);
    if (r->failed)
        return SL_STATUS_MALFORMED;
    *ret_epoch = epoch;
    *ret_now_ns = now_ns;
    return SL_STATUS_OK;
}

void sl_read_part_head(uint8_t out[SL_READ_PART_HEAD_BYTES], const struct sl_read_part *part)
{
    static const struct sl_place nothing;
    assert(part->records.bytes <= UINT32_MAX && (part->found || (!part->more && part->records.bytes == 0)));
    struct sl_writer w = sl_writer(out, SL_READ_PART_HEAD_BYTES);
    sl_write_u16(&w, part->entry);
    sl_write_u8(&w, (uint8_t)((part->found ? PART_FOUND : 0) | (part->more ? PART_MORE : 0)));
    write_place(&w, part->found ? &part->place : &nothing);
    sl_write_u32(&w, (uint32_t)part->records.bytes);
    assert(!w.failed && w.bytes == SL_READ_PART_HEAD_BYTES);
}

bool sl_read_part_next(struct sl_reader *r, struct sl_read_part *ret)
{
    if (r->failed || sl_reader_left(r) == 0)
        return false;
    struct sl_read_part part = {.entry = sl_read_u16(r)};
    uint8_t flags = sl_read_u8(r);
    part.found = flags & PART_FOUND;
    part.more = flags & PART_MORE;
    part.place = read_place(r, part.found);
    part.records = sl_read_slice32(r);
    if (r->failed || part.entry >= SL_READ_ENTRIES_MAX || (flags & ~(PART_FOUND | PART_MORE)) != 0 ||
        (!part.found && (part.more || part.records.bytes > 0)))
        return message_fail(r);
    *ret = part;
    return true;
}

/* ---- INFO, LIST, PUT ---- */

void sl_info_encode(struct sl_writer *w, const struct sl_info *info)
{
    sl_write_slice8(w, info->sandbox);
    write_place(w, &info->place);
    sl_write_i64(w, info->first_time_ns);
    sl_write_i64(w, info->last_time_ns);
    sl_write_i64(w, info->created_ns);
    sl_write_u64(w, info->lines);
    sl_write_u64(w, info->bytes);
    sl_write_slice8(w, info->host);
    sl_write_u8(w, info->containers);
    sl_write_slice(w, info->container_names);
    message_write_labels(w, info->labels, info->label_pairs);
}

static struct sl_slice read_names(struct sl_reader *r, uint8_t count)
{
    const uint8_t *begin = r->at;
    for (unsigned i = 0; i < count; i++) {
        if (!sl_container_valid(sl_read_slice8(r)))
            message_fail(r);
    }
    return sl_slice(begin, r->failed ? 0 : (size_t)(r->at - begin));
}

bool sl_info_next(struct sl_reader *r, struct sl_info *ret)
{
    struct sl_info info = {0};
    if (!sl_id_next(r, &info.sandbox))
        return false;
    info.place = read_place(r, true);
    info.first_time_ns = sl_read_i64(r);
    info.last_time_ns = sl_read_i64(r);
    info.created_ns = sl_read_i64(r);
    info.lines = sl_read_u64(r);
    info.bytes = sl_read_u64(r);
    info.host = sl_read_slice8(r);
    info.containers = sl_read_u8(r);
    info.container_names = read_names(r, info.containers);
    message_read_labels(r, &info.labels, &info.label_pairs);
    if (r->failed || !sl_host_valid(info.host))
        return message_fail(r);
    *ret = info;
    return true;
}

void sl_list_encode(struct sl_writer *w, const struct sl_list *list)
{
    sl_write_u8(w, list->state);
    sl_write_u16(w, list->limit);
    sl_write_u64(w, list->page);
    sl_write_slice8(w, list->prefix);
    message_write_labels(w, list->labels, list->label_pairs);
}

int sl_list_decode(struct sl_reader *r, struct sl_list *ret)
{
    struct sl_list list = {.state = sl_read_u8(r)};
    list.limit = sl_read_u16(r);
    list.page = sl_read_u64(r);
    list.prefix = sl_read_slice8(r);
    message_read_labels(r, &list.labels, &list.label_pairs);
    bool sound = (list.state == 0 || list.state == SL_RUNNING || list.state == SL_STOPPED) &&
                 list.limit >= 1 && list.limit <= SL_LIST_MAX && list.prefix.bytes <= SL_ID_MAX_BYTES;
    int status = message_end(r, sound);
    if (status == SL_STATUS_OK)
        *ret = list;
    return status;
}

void sl_list_answer_begin(struct sl_writer *w, uint64_t epoch, uint64_t next_page)
{
    sl_write_u64(w, epoch);
    sl_write_u64(w, next_page);
}

int sl_list_answer_open(struct sl_reader *r, uint64_t *ret_epoch, uint64_t *ret_next_page)
{
    uint64_t epoch = sl_read_u64(r);
    uint64_t next_page = sl_read_u64(r);
    if (r->failed)
        return SL_STATUS_MALFORMED;
    *ret_epoch = epoch;
    *ret_next_page = next_page;
    return SL_STATUS_OK;
}
