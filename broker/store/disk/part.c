// SPDX-License-Identifier: Apache-2.0
/*
 * The entries of an extent: in memory, or read from the index of a sealed segment and kept for a while. A
 * part whose checksum is wrong is made anew from the segment's records.
 */
#include "disk.h"
#include "wire/crc32c.h"
#include <errno.h>
#include <stdlib.h>

void part_forget(struct disk *d, const struct segment *s)
{
    for (int i = 0; i < PARTS_KEPT; i++) {
        if (s && d->parts[i].segment != s)
            continue;
        free(d->parts[i].entries);
        d->parts[i] = (struct kept_part){0};
    }
}

/* The run of entries being gathered takes this one, begins anew with it, or is not the one looked for. */
static void part_take(const struct extent *x, struct entry *entries, uint32_t *count, const struct entry *e)
{
    bool goes_on = *count > 0 && *count < x->count &&
                   e->first_seq == entries[*count - 1].first_seq + entries[*count - 1].lines;
    if (!goes_on && e->first_seq != x->first_seq) {
        *count = 0;
        return;
    }
    if (!goes_on)
        *count = 0;
    entries[(*count)++] = *e;
}

/*
 * Reads prefix after prefix; of blocks of this sandbox, the header too. A life of it that was deleted may
 * stand before the one looked for: what counts is the last run that begins with its first number.
 */
static int part_rebuild(struct disk *d, const struct sandbox *b, const struct extent *x,
                        struct entry *entries)
{
    const struct segment *s = x->segment;
    uint64_t at = 0;
    uint32_t count = 0;
    while (at < s->durable && x->count) {
        int64_t got = io_read(d->io, s->file, at, d->scratch, SL_RECORD_MAX_BYTES);
        struct sl_slice bytes = sl_slice(d->scratch, got > 0 ? (size_t)got : 0);
        uint64_t before = at;
        struct sl_record record;
        while (at < s->durable && sl_record_decode_prefix(bytes, &record) == SL_RECORD_OK) {
            size_t size = SL_RECORD_PREFIX_BYTES + (size_t)record.payload_bytes;
            struct sl_block_header header;
            if (size > bytes.bytes)
                break;
            struct sl_slice payload = sl_slice(bytes.data + SL_RECORD_PREFIX_BYTES, record.payload_bytes);
            if (record.kind == SL_RECORD_BLOCK && sl_block_decode_header(payload, &header) == SL_BLOCK_OK &&
                sl_slice_equal(header.sandbox, sandbox_id(b)) &&
                (header.lines || header.flags & SL_BLOCK_GAP)) {
                struct entry e = {
                    .first_seq = record.first_seq,
                    .ceiling_ns = header.lines ? sl_query_ceiling(&record, &header) : record.floor_ns,
                    .offset = (uint32_t)at,
                    .bytes = (uint32_t)size,
                    .lines = header.lines,
                    .text_bytes = header.text_bytes,
                };
                part_take(x, entries, &count, &e);
            }
            bytes = sl_slice(bytes.data + size, bytes.bytes - size);
            at += size;
        }
        if (at == before)
            break;
    }
    return count == x->count ? 0 : -EIO;
}

const struct entry *part_entries(struct disk *d, const struct sandbox *b, const struct extent *x)
{
    if (x->capacity)
        return x->entries;
    struct kept_part *oldest = &d->parts[0];
    for (int i = 0; i < PARTS_KEPT; i++) {
        struct kept_part *p = &d->parts[i];
        if (p->segment == x->segment && p->offset == x->part_offset) {
            p->used = ++d->parts_used;
            return p->entries;
        }
        if (p->used < oldest->used)
            oldest = p;
    }
    size_t bytes = x->count * sizeof(struct entry);
    struct entry *entries = malloc(bytes ? bytes : 1);
    if (!entries)
        return NULL;
    if ((io_read(d->io, x->segment->file, x->part_offset, entries, bytes) != (int64_t)bytes ||
         sl_crc32c(0, sl_slice(entries, bytes)) != x->part_crc) &&
        part_rebuild(d, b, x, entries)) {
        free(entries);
        return NULL;
    }
    free(oldest->entries);
    *oldest = (struct kept_part){
        .segment = x->segment, .offset = x->part_offset, .used = ++d->parts_used, .entries = entries};
    return entries;
}
