// SPDX-License-Identifier: Apache-2.0
#include "consumers.h"
#include "disk.h"
#include "wire/crc32c.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONSUMERS_VERSION = 1, LOOK_RECORDS_MAX = 64 };

/* ---- places ---- */

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

int place_compare(const struct place *a, const struct place *b)
{
    int o = order(a->number, b->number);
    if (o == 0)
        o = order(a->generation, b->generation);
    if (o == 0)
        o = order(a->offset, b->offset);
    return o ? o : order(a->gaps_from, b->gaps_from);
}

static uint32_t epoch_mix(uint64_t epoch)
{
    return (uint32_t)(epoch ^ (epoch >> 32));
}

void place_render(uint64_t epoch, const struct place *place, struct sl_checkpoint *ret)
{
    char text[SL_CHECKPOINT_MAX_BYTES + 32];
    int bytes;
    if (place->gaps_from != GAPS_NONE)
        bytes = snprintf(text, sizeof text, "%08" PRIx32 "-%08" PRIx32 ".%" PRIx32 ".g%" PRIx64,
                         epoch_mix(epoch), place->number, place->generation, place->gaps_from);
    else
        bytes = snprintf(text, sizeof text,
                         "%08" PRIx32 "-%08" PRIx32 ".%" PRIx32 ".%08" PRIx64 ".%" PRIx64 ".%" PRIx64,
                         epoch_mix(epoch), place->number, place->generation, place->offset, place->lines,
                         place->text_bytes);
    assert(bytes > 0 && bytes <= SL_CHECKPOINT_MAX_BYTES);
    ret->bytes = (uint8_t)bytes;
    memcpy(ret->text, text, (size_t)bytes);
}

/* One hexadecimal number that ends with `end` (0: with the text). */
static bool hex_next(const char **at, char end, uint64_t most, uint64_t *ret)
{
    uint64_t value = 0;
    const char *p = *at;
    for (; *p && *p != end; p++) {
        int digit = *p >= '0' && *p <= '9' ? *p - '0' : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10 : -1;
        if (digit < 0 || value >> 60)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    if (p == *at || *p != end || value > most)
        return false;
    *at = end ? p + 1 : p;
    *ret = value;
    return true;
}

int place_parse(uint64_t epoch, struct sl_slice text, struct place *ret)
{
    char copy[SL_CHECKPOINT_MAX_BYTES + 1];
    if (text.bytes == 0 || text.bytes > SL_CHECKPOINT_MAX_BYTES)
        return STORE_BAD;
    memcpy(copy, text.data, text.bytes);
    copy[text.bytes] = 0;
    const char *at = copy;
    uint64_t mix, number, generation;
    struct place p = {.gaps_from = GAPS_NONE};
    if (!hex_next(&at, '-', UINT32_MAX, &mix) || !hex_next(&at, '.', UINT32_MAX, &number) ||
        !hex_next(&at, '.', UINT32_MAX, &generation))
        return STORE_BAD;
    p.number = (uint32_t)number;
    p.generation = (uint32_t)generation;
    if (*at == 'g') {
        at++;
        if (!hex_next(&at, 0, GAPS_NONE - 1, &p.gaps_from))
            return STORE_BAD;
    } else if (!hex_next(&at, '.', UINT32_MAX, &p.offset) || !hex_next(&at, '.', UINT32_MAX, &p.lines) ||
               !hex_next(&at, 0, UINT64_MAX >> 16, &p.text_bytes)) {
        return STORE_BAD;
    }
    /* One place has one text. */
    struct sl_checkpoint again;
    place_render(epoch, &p, &again);
    size_t own = sizeof "12345678-" - 1;
    if (again.bytes != text.bytes || memcmp(again.text + own, copy + own, again.bytes - own) != 0)
        return STORE_BAD;
    if (mix != epoch_mix(epoch))
        return STORE_FOREIGN;
    *ret = p;
    return 0;
}

/* ---- the table ---- */

static struct sl_slice name_of(const struct consumer *c)
{
    return sl_slice(c->name, c->name_bytes);
}

struct consumer *consumers_find(struct consumer_table *table, struct sl_slice name)
{
    for (unsigned i = 0; i < table->count; i++) {
        if (sl_slice_equal(name_of(&table->items[i]), name))
            return &table->items[i];
    }
    return NULL;
}

static struct consumer *table_add(struct consumer_table *table, struct sl_slice name)
{
    if (table->count == SL_CONSUMERS_MAX)
        return NULL;
    unsigned at = table->count++;
    for (; at > 0; at--) {
        struct sl_slice other = name_of(&table->items[at - 1]);
        size_t bytes = other.bytes < name.bytes ? other.bytes : name.bytes;
        int o = memcmp(other.data, name.data, bytes);
        if (o < 0 || (o == 0 && other.bytes < name.bytes))
            break;
        table->items[at] = table->items[at - 1];
    }
    struct consumer *c = &table->items[at];
    *c = (struct consumer){.name_bytes = (uint8_t)name.bytes};
    memcpy(c->name, name.data, name.bytes);
    return c;
}

static void table_drop(struct consumer_table *table, struct consumer *c)
{
    size_t after = (size_t)(&table->items[table->count] - (c + 1));
    memmove(c, c + 1, after * sizeof *c);
    table->count--;
}

size_t consumers_encode(const struct consumer_table *table, int64_t now_ns, uint8_t *out)
{
    struct sl_writer w =
        sl_writer(out + SL_RECORD_PREFIX_BYTES, CONSUMERS_RECORD_MAX_BYTES - SL_RECORD_PREFIX_BYTES);
    sl_write_u32(&w, CONSUMERS_VERSION);
    sl_write_u32(&w, table->count);
    for (unsigned i = 0; i < table->count; i++) {
        const struct consumer *c = &table->items[i];
        sl_write_slice8(&w, name_of(c));
        sl_write_u32(&w, c->lost_number);
        sl_write_u32(&w, c->place.number);
        sl_write_u32(&w, c->place.generation);
        sl_write_u64(&w, c->place.offset);
        sl_write_u64(&w, c->place.gaps_from);
        sl_write_u64(&w, c->place.lines);
        sl_write_u64(&w, c->place.text_bytes);
        sl_write_u64(&w, 0);
    }
    assert(!w.failed);
    struct sl_record record = {
        .kind = SL_RECORD_CONSUMER,
        .payload_bytes = (uint32_t)w.bytes,
        .floor_ns = INT64_MIN,
        .commit_ns = now_ns,
        .payload_crc = sl_crc32c(0, sl_slice(w.data, w.bytes)),
    };
    sl_record_encode_prefix(&record, out);
    return SL_RECORD_PREFIX_BYTES + w.bytes;
}

int consumers_decode(struct sl_slice payload, struct consumer_table *ret)
{
    struct sl_reader r = sl_reader(payload);
    uint32_t version = sl_read_u32(&r);
    uint32_t count = sl_read_u32(&r);
    if (r.failed || version == 0)
        return FORMAT_MALFORMED;
    if (version > CONSUMERS_VERSION)
        return FORMAT_NEWER;
    ret->count = 0;
    for (uint32_t i = 0; i < count && !r.failed; i++) {
        struct sl_slice name = sl_read_slice8(&r);
        if (r.failed || !sl_consumer_valid(name) || consumers_find(ret, name))
            return FORMAT_MALFORMED;
        struct consumer *c = table_add(ret, name);
        if (!c)
            return FORMAT_MALFORMED;
        c->lost_number = sl_read_u32(&r);
        c->place.number = sl_read_u32(&r);
        c->place.generation = sl_read_u32(&r);
        c->place.offset = sl_read_u64(&r);
        c->place.gaps_from = sl_read_u64(&r);
        c->place.lines = sl_read_u64(&r);
        c->place.text_bytes = sl_read_u64(&r);
        sl_read_u64(&r);
        if (c->place.offset > UINT32_MAX || c->place.lines > UINT32_MAX ||
            c->place.text_bytes > UINT64_MAX >> 16)
            return FORMAT_MALFORMED;
    }
    return r.failed || sl_reader_left(&r) ? FORMAT_MALFORMED : 0;
}

void consumers_recovered(struct consumers *c, const struct consumer_table *table)
{
    c->durable = c->pending = *table;
    c->recorded = true;
}

void consumers_settle(struct consumers *c, const struct consumer_table *table)
{
    struct consumer_table before = c->durable;
    c->durable = *table;
    for (unsigned i = 0; i < c->durable.count; i++) {
        struct consumer *now = &c->durable.items[i];
        const struct consumer *was = consumers_find(&before, name_of(now));
        if (!was)
            continue;
        now->overruns = was->overruns;
        now->holder = was->holder;
        now->lease_until_ns = was->lease_until_ns;
        now->looked = was->looked;
        now->oldest_ns = was->oldest_ns;
    }
}

void consumers_rollback(struct consumers *c)
{
    c->pending = c->durable;
}

/* ---- changes ---- */

/* Behind everything that is durable. */
static struct place end_place(const struct disk *d)
{
    struct place end = {.number = d->next_number, .gaps_from = GAPS_NONE};
    for (size_t i = d->segment_count; i-- > 0;) {
        const struct segment *s = d->segments[i];
        if (s->durable == 0)
            continue;
        end.number = s->name.last;
        end.generation = s->name.generation;
        end.offset = s->durable;
        break;
    }
    return end;
}

static struct place first_place(const struct disk *d)
{
    struct place first = {.number = d->next_number, .gaps_from = GAPS_NONE};
    if (d->segment_count) {
        first.number = d->segments[0]->name.last;
        first.generation = d->segments[0]->name.generation;
    }
    return first;
}

/* Makes the change in the table. 0 with *ret_written: it has to be written; or a documented answer. */
static int change_table(const struct disk *d, struct consumer_table *table,
                        const struct store_consumer_change *change, bool *ret_written)
{
    struct consumer *c = consumers_find(table, change->consumer);
    struct place place;
    int answer;
    *ret_written = true;
    switch (change->what) {
    case STORE_CONSUMER_OPEN:
        if (c) {
            *ret_written = false;
            return 0;
        }
        c = table_add(table, change->consumer);
        if (!c)
            return STORE_TOO_MANY;
        c->place = first_place(d);
        return 0;
    case STORE_CONSUMER_ACK: {
        if (!c)
            return STORE_UNKNOWN;
        answer = place_parse(d->epoch, change->checkpoint, &place);
        if (answer)
            return answer;
        struct place end = end_place(d);
        if (place_compare(&place, &end) > 0)
            return STORE_BAD;
        *ret_written = place_compare(&place, &c->place) > 0;
        if (*ret_written)
            c->place = place;
        return 0;
    }
    default:
        if (!c)
            return STORE_UNKNOWN;
        table_drop(table, c);
        return 0;
    }
}

/* Where it stands, for who changed it. */
static void tell_place(const struct disk *d, struct store_consumer_change *change)
{
    struct consumer *c =
        consumers_find((struct consumer_table *)(uintptr_t)&d->consumers.durable, change->consumer);
    if (c)
        place_render(d->epoch, &c->place, &change->place);
}

void disk_consumer_change(struct store *s, struct store_consumer_change *change)
{
    struct disk *d = (struct disk *)s;
    struct consumer_table *table = malloc(sizeof *table);
    if (!table) {
        change->done(change, -ENOMEM);
        return;
    }
    *table = d->consumers.pending;
    bool written;
    int answer = change_table(d, table, change, &written);
    /* What it builds upon may be in flight: then it waits behind that. */
    bool settled = !written && consumers_find(&d->consumers.durable, change->consumer) &&
                   place_compare(&consumers_find(&d->consumers.durable, change->consumer)->place,
                                 &consumers_find(table, change->consumer)->place) == 0;
    if (answer || settled) {
        free(table);
        if (!answer)
            tell_place(d, change);
        change->done(change, answer);
        return;
    }
    /* A new segment that this begins takes it from there. */
    struct consumer_table before = d->consumers.pending;
    d->consumers.pending = *table;
    d->consumers.recorded = true;
    answer = disk_append_table(d, table, change);
    if (answer) {
        d->consumers.pending = before;
        change->done(change, answer);
    }
}

void consumers_changed(struct disk *d, struct store_consumer_change *change, int fault)
{
    if (!change)
        return;
    if (!fault) {
        tell_place(d, change);
        /* What it held may go now: without this, not before the next line comes. */
        d->looked_ns = 0;
    }
    change->done(change, fault);
}

/* ---- leases ---- */

int disk_lease(struct store *s, struct sl_slice consumer, uint64_t holder, uint32_t ttl_ms)
{
    struct disk *d = (struct disk *)s;
    struct consumer *c = consumers_find(&d->consumers.durable, consumer);
    if (!c)
        return STORE_UNKNOWN;
    int64_t now_ns = sl_monotonic_ns();
    bool taken = c->holder && c->lease_until_ns > now_ns;
    if (taken && c->holder != holder)
        return STORE_BUSY;
    c->holder = ttl_ms ? holder : 0;
    c->lease_until_ns = now_ns + ttl_ms * SL_NS_PER_MS;
    return 0;
}

/* ---- what is held ---- */

static uint64_t segment_bytes(const struct segment *s)
{
    return s->sealed ? s->file_bytes : s->durable;
}

size_t consumers_held_from(const struct disk *d, int64_t now_ns)
{
    size_t held = d->segment_count;
    const struct consumer_table *t = &d->consumers.durable;
    if (t->count == 0 || !d->options.export_holds)
        return held;
    uint32_t owed = UINT32_MAX;
    for (unsigned i = 0; i < t->count; i++)
        owed = t->items[i].place.number < owed ? t->items[i].place.number : owed;
    uint64_t bytes = 0;
    while (held > 0) {
        const struct segment *s = d->segments[held - 1];
        bytes += segment_bytes(s);
        bool old = d->options.export_hold_ns && s->newest_commit_ns &&
                   s->newest_commit_ns < now_ns - d->options.export_hold_ns;
        bool much = d->options.export_hold_bytes && bytes > d->options.export_hold_bytes;
        if (s->name.last < owed || old || much)
            break;
        held--;
    }
    return held;
}

void consumers_overrun(struct disk *d, uint32_t number)
{
    bool any = false;
    struct consumer_table *tables[] = {&d->consumers.durable, &d->consumers.pending};
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 0; i < tables[k]->count; i++) {
            struct consumer *c = &tables[k]->items[i];
            if (c->place.number > number || c->lost_number >= number)
                continue;
            c->lost_number = number;
            c->overruns++;
            any = true;
        }
    }
    if (!any)
        return;
    d->export_overruns++;
    struct consumer_table *table = malloc(sizeof *table);
    if (!table)
        return;
    /* So that a restart knows it too; if that fails, the next change of any place says it. */
    *table = d->consumers.pending;
    (void)disk_append_table(d, table, NULL);
}

/* ---- how far behind ---- */

/* Commit time of the first block at or behind the place. */
static int64_t oldest_at(struct disk *d, const struct segment *s, uint64_t offset)
{
    for (unsigned i = 0; i < LOOK_RECORDS_MAX && offset < s->durable; i++) {
        uint8_t bytes[SL_RECORD_PREFIX_BYTES];
        struct sl_record record;
        if (io_read(d->io, s->file, offset, bytes, sizeof bytes) != (int64_t)sizeof bytes ||
            sl_record_decode_prefix(sl_slice(bytes, sizeof bytes), &record) != SL_RECORD_OK)
            break;
        if (record.kind == SL_RECORD_BLOCK)
            return record.commit_ns;
        offset += SL_RECORD_PREFIX_BYTES + record.payload_bytes;
    }
    return s->oldest_commit_ns;
}

static void consumer_lag(struct disk *d, struct consumer *c, struct sl_consumer *ret)
{
    for (size_t i = d->segment_count; i-- > 0;) {
        const struct segment *s = d->segments[i];
        if (s->name.last < c->place.number)
            break;
        uint64_t lines = s->lines, bytes = s->text_bytes, offset = 0;
        bool inside = false;
        if (s->name.last == c->place.number && s->name.generation == c->place.generation) {
            lines -= c->place.lines < lines ? c->place.lines : lines;
            bytes -= c->place.text_bytes < bytes ? c->place.text_bytes : bytes;
            offset = c->place.offset;
            inside = true;
            if (offset >= s->durable)
                lines = bytes = 0;
        }
        if (lines == 0)
            continue;
        ret->lag_lines += lines;
        ret->lag_bytes += bytes;
        if (!inside) {
            ret->oldest_ns = s->oldest_commit_ns;
            continue;
        }
        if (c->oldest_ns == 0 || place_compare(&c->looked, &c->place) != 0) {
            c->looked = c->place;
            c->oldest_ns = oldest_at(d, s, offset);
        }
        ret->oldest_ns = c->oldest_ns;
    }
}

int disk_consumers(struct store *s, void (*each)(void *arg, const struct sl_consumer *consumer), void *arg)
{
    struct disk *d = (struct disk *)s;
    int64_t now_ns = sl_monotonic_ns();
    for (unsigned i = 0; i < d->consumers.durable.count; i++) {
        struct consumer *c = &d->consumers.durable.items[i];
        struct sl_checkpoint text;
        place_render(d->epoch, &c->place, &text);
        struct sl_consumer told = {
            .name = name_of(c),
            .checkpoint = sl_checkpoint_slice(&text),
            .overruns = c->overruns,
            .leased = c->holder && c->lease_until_ns > now_ns,
        };
        consumer_lag(d, c, &told);
        each(arg, &told);
    }
    return 0;
}
