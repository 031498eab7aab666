// SPDX-License-Identifier: Apache-2.0
#include "lines.h"
#include <errno.h>
#include <stdlib.h>

int lines_new(const struct sl_record *record, struct sl_slice block, struct lines **ret)
{
    struct sl_block_header header;
    if (sl_block_decode_header(block, &header) != SL_BLOCK_OK)
        return -EBADMSG;
    size_t raw = header.codec == SL_CODEC_NONE ? 0 : header.raw_bytes;
    struct lines *l = malloc(sizeof *l + block.bytes + raw);
    if (!l)
        return -ENOMEM;
    memcpy(l->bytes, block.data, block.bytes);
    l->refs = 1;
    l->memory_bytes = sizeof *l + block.bytes + raw;
    l->record = *record;
    l->block = sl_slice(l->bytes, block.bytes);
    sl_block_decode_header(l->block, &l->header); /* again, to borrow from our copy */
    if (sl_block_lines_open(&l->first, l->block, &l->header, l->bytes + block.bytes, raw) != 0) {
        free(l);
        return -EBADMSG;
    }
    *ret = l;
    return 0;
}

struct lines *lines_ref(struct lines *l)
{
    l->refs++;
    return l;
}

void lines_unref(struct lines *l)
{
    if (l && --l->refs == 0)
        free(l);
}

int lines_walk(struct lines_walk *w, const struct sl_record *record, struct sl_slice block,
               const struct sl_block_header *header, void *scratch, size_t capacity)
{
    if (sl_block_lines_open(&w->it, block, header, scratch, capacity) != 0)
        return -EBADMSG;
    w->seq = record->first_seq - 1;
    w->query_ns = record->floor_ns;
    w->commit_ns = record->commit_ns;
    return 0;
}

void lines_walk_again(struct lines_walk *w, const struct lines *l)
{
    *w = (struct lines_walk){.it = l->first,
                             .seq = l->record.first_seq - 1,
                             .query_ns = l->record.floor_ns,
                             .commit_ns = l->record.commit_ns};
}

bool partials_step(struct partials *p, const struct sl_line *line, struct sl_slice container)
{
    if (p->count == 0 && !line->partial)
        return false;
    uint64_t key = 0xcbf29ce484222325; /* FNV-1a: few, short and ours to bound */
    for (size_t i = 0; i < container.bytes; i++)
        key = (key ^ container.data[i]) * 0x100000001b3;
    key = key << 1 | line->stream;
    unsigned at = 0;
    while (at < p->count && p->open[at] != key)
        at++;
    bool continues = at < p->count;
    if (line->partial && !continues && p->count < PARTIALS_MAX)
        p->open[p->count++] = key;
    else if (!line->partial && continues)
        p->open[at] = p->open[--p->count];
    return continues;
}
