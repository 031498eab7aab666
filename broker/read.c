// SPDX-License-Identifier: Apache-2.0
#include "read.h"

#include "parked.h"
#include "wire/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SWEEP_NS (1 * SL_NS_PER_S) /* requests whose asker is gone are looked for that often */

enum {
    ANSWER_HEAD_BYTES = 8 + 8,
    SCRATCH_BYTES = ANSWER_HEAD_BYTES + SL_READ_ENTRIES_MAX * SL_READ_PART_HEAD_BYTES + SL_PAGE_MAX_BYTES +
                    SL_RECORD_MAX_BYTES,
};
static_assert(SCRATCH_BYTES + SL_MESSAGE_HEAD_BYTES <= SL_MESSAGE_MAX_BYTES,
              "a full page, all heads and one more record fit into a message");

struct reads {
    struct store *store;
    struct counts *counts;
    struct parked *parked;
    int64_t next_ns; /* no deadline is before */
    int64_t sweep_ns;
    unsigned turn;    /* which entry is served first */
    uint8_t *scratch; /* SCRATCH_BYTES: answers are written here, then copied into a message of their size */
};

/* An entry in the answer being made. */
struct selected {
    uint16_t index;
    bool found;
    bool has_records; /* lines at or behind `from`, for sure */
    int fault;        /* met while looking: passed up when the answer is made */
    uint64_t from;    /* unused with BEFORE */
    struct sl_place place;
};

int reads_new(struct store *store, struct counts *counts, struct reads **ret)
{
    struct reads *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->store = store;
    r->counts = counts;
    r->scratch = malloc(SCRATCH_BYTES);
    if (!r->scratch || parked_new(&r->parked) != 0) {
        free(r->scratch);
        free(r);
        return -ENOMEM;
    }
    *ret = r;
    return 0;
}

void reads_free(struct reads *r)
{
    if (!r)
        return;
    parked_free(r->parked);
    free(r->scratch);
    free(r);
}

static void refuse(struct reads *r, struct sl_request *request, uint8_t status, const char *sentence)
{
    sl_count(&r->counts->refused, 1);
    sl_request_refuse(request, status, sentence);
}

/* ---- what an entry asks for ---- */

/* The number that an entry (not BEFORE) begins at. */
static int begin_at(struct reads *r, const struct parked_entry *entry, const struct sl_place *place,
                    uint64_t *ret_from)
{
    switch (entry->how) {
    case SL_READ_TAIL:
        *ret_from = entry->value >= place->last_seq ? 1 : place->last_seq - entry->value + 1;
        if (entry->value == 0)
            *ret_from = place->last_seq + 1;
        return 0;
    case SL_READ_TIME: {
        int64_t time_ns;
        memcpy(&time_ns, &entry->value, sizeof time_ns);
        return store_seek_time(r->store, entry->sandbox, time_ns, ret_from);
    }
    default:
        *ret_from = entry->value;
        return 0;
    }
}

/* Fills *ret; false when the entry has no news. A fault is news. */
static bool look(struct reads *r, struct parked_entry *entry, uint16_t index, struct selected *ret)
{
    *ret = (struct selected){.index = index};
    int known = store_place(r->store, entry->sandbox, &ret->place);
    if (known < 0) {
        ret->fault = known;
        return true;
    }
    if (known != 0)
        return entry->version != 0;
    ret->found = true;
    if (entry->how == SL_READ_BEFORE) {
        ret->has_records = entry->value > ret->place.oldest_seq && ret->place.last_seq > 0;
        return true;
    }
    ret->fault = begin_at(r, entry, &ret->place, &ret->from);
    if (ret->fault != 0)
        return true;
    ret->has_records = ret->from <= ret->place.last_seq;
    return ret->has_records || entry->version != ret->place.version;
}

/* A place that moves with the sandbox is a number once the entry waits. */
static void settle(struct parked_entry *entry, const struct selected *selected)
{
    if (!selected->found || entry->how == SL_READ_BEFORE)
        return;
    entry->how = SL_READ_FROM;
    entry->value = selected->from;
}

/* ---- answers ---- */

struct part {
    struct sl_writer *w;
    uint64_t end_seq; /* records from this number on do not belong here */
    uint64_t last_seq;
    bool cut;
};

/* Lines that were added after the place was looked at, as another thread or broker does on a shared store: a
 * part holds none beyond its place. A gap behind the last line has that number too. */
static bool is_later(const struct part *part, struct sl_slice record, const struct sl_record *prefix)
{
    struct sl_block_header header;
    return prefix->first_seq > part->last_seq &&
           sl_block_decode_header(sl_slice(record.data + SL_RECORD_PREFIX_BYTES, prefix->payload_bytes),
                                  &header) == SL_BLOCK_OK &&
           header.lines > 0;
}

static bool part_each(void *arg, struct sl_slice record, const struct sl_record *prefix)
{
    struct part *part = arg;
    if (prefix->first_seq >= part->end_seq || is_later(part, record, prefix))
        return false;
    if (record.bytes > part->w->capacity - part->w->bytes) {
        part->cut = true;
        return false;
    }
    sl_write_slice(part->w, record);
    return true;
}

static int read_before(struct reads *r, const struct parked_entry *entry, const struct selected *selected,
                       size_t quota, struct part *part, bool *ret_more)
{
    uint64_t from, before = entry->value;
    if (before > selected->place.last_seq + 1)
        before = selected->place.last_seq + 1;
    int fault = store_seek_back(r->store, entry->sandbox, before, quota, &from);
    if (fault != 0)
        return fault;
    *ret_more = from > selected->place.oldest_seq;
    part->end_seq = before;
    bool higher;
    /* What lies below `before` fits by seek_back's promise; made-up gap records must not push out its end. */
    return store_read(r->store, entry->sandbox, from, SL_PAGE_MAX_BYTES, part_each, part, &higher);
}

/* Writes one part, with at most `quota` bytes of records (0: none) or one record. */
static int write_part(struct reads *r, const struct parked_entry *entry, const struct selected *selected,
                      size_t quota, struct sl_writer *w)
{
    size_t head_at = w->bytes;
    w->bytes += SL_READ_PART_HEAD_BYTES;
    struct sl_read_part head = {.entry = selected->index, .found = selected->found, .place = selected->place};
    struct part part = {.w = w, .end_seq = UINT64_MAX, .last_seq = selected->place.last_seq};
    int fault = selected->fault;
    if (fault != 0)
        return fault;
    if (selected->found && quota == 0)
        head.more = selected->has_records;
    else if (selected->found && entry->how == SL_READ_BEFORE)
        fault = selected->has_records ? read_before(r, entry, selected, quota, &part, &head.more) : 0;
    else if (selected->found && selected->from <= selected->place.last_seq + 1)
        fault = store_read(r->store, entry->sandbox, selected->from, quota, part_each, &part, &head.more);
    if (fault != 0)
        return fault;
    head.more = head.more || part.cut;
    size_t records_at = head_at + SL_READ_PART_HEAD_BYTES;
    head.records = sl_slice(w->data + records_at, w->bytes - records_at);
    sl_read_part_head(w->data + head_at, &head);
    return 0;
}

/* Room for the heads of parts still to come is kept. */
static int write_parts(struct reads *r, const struct parked_read *read, const struct selected *selected,
                       unsigned count, unsigned first, struct sl_writer *w)
{
    size_t left = read->max_bytes;
    unsigned hungry = 0;
    for (unsigned i = 0; i < count; i++)
        hungry += selected[i].has_records;
    for (unsigned i = 0; i < count; i++) {
        const struct selected *one = &selected[(first + i) % count];
        size_t quota = left;
        if (one->has_records && hungry > 0) {
            quota = left / hungry;
            if (quota == 0 && left > 0)
                quota = 1;
            hungry--;
        }
        size_t before = w->bytes + SL_READ_PART_HEAD_BYTES;
        w->capacity = SCRATCH_BYTES - (count - 1 - i) * SL_READ_PART_HEAD_BYTES;
        int fault = write_part(r, &read->entries[one->index], one, quota, w);
        if (fault != 0)
            return fault;
        size_t used = w->bytes - before;
        sl_count(&r->counts->read_bytes, used);
        left -= used < left ? used : left;
    }
    return 0;
}

/* Ends the request. `first`: which of the selected entries is served first. */
static void answer(struct reads *r, const struct parked_read *read, const struct selected *selected,
                   unsigned count, unsigned first, int64_t since_ns)
{
    struct sl_writer w = sl_writer(r->scratch, SCRATCH_BYTES);
    sl_read_answer_begin(&w, store_epoch(r->store), sl_now_ns());
    assert(w.bytes == ANSWER_HEAD_BYTES);
    if (write_parts(r, read, selected, count, first, &w) != 0) {
        refuse(r, read->request, SL_STATUS_UNAVAILABLE, "the store can't be read now");
        return;
    }
    nng_msg *msg;
    struct sl_writer out;
    if (sl_answer_new(read->request, SL_STATUS_OK, w.bytes, &msg, &out) != 0) {
        refuse(r, read->request, SL_STATUS_UNAVAILABLE, "out of memory");
        return;
    }
    sl_write_slice(&out, sl_slice(w.data, w.bytes));
    sl_request_answer(read->request, msg, &out);
    sl_count(&r->counts->reads, 1);
    if (count > 0)
        sl_observe(&r->counts->read_latency, sl_monotonic_ns() - since_ns);
}

/* ---- requests ---- */

static unsigned turn(struct reads *r, unsigned count)
{
    return count > 1 ? r->turn++ % count : 0;
}

static void park(struct reads *r, struct parked_read *read, int64_t now_ns)
{
    int answer_now = parked_add(r->parked, read);
    if (answer_now != 0) {
        answer(r, read, NULL, 0, 0, now_ns);
        free(read);
        return;
    }
    if (read->deadline_ns < r->next_ns)
        r->next_ns = read->deadline_ns;
    sl_gauge_set(&r->counts->parked_reads, (int64_t)parked_count(r->parked));
}

void reads_take(struct reads *r, struct sl_request *request, int64_t now_ns)
{
    struct sl_read asked;
    if (sl_read_open(&request->body, &asked) != SL_STATUS_OK) {
        refuse(r, request, SL_STATUS_MALFORMED, "not a read request");
        return;
    }
    struct parked_read *read = parked_read_new(asked.entries);
    if (!read) {
        refuse(r, request, SL_STATUS_UNAVAILABLE, "out of memory");
        return;
    }
    read->request = request;
    read->max_bytes = asked.max_bytes;
    read->deadline_ns = now_ns + (int64_t)asked.wait_ms * SL_NS_PER_MS;
    struct selected selected[SL_READ_ENTRIES_MAX];
    unsigned count = 0;
    struct sl_read_entry entry;
    for (uint16_t i = 0; sl_read_entry_next(&request->body, &entry); i++) {
        struct parked_entry *mine = &read->entries[i];
        mine->sandbox = entry.sandbox;
        mine->how = entry.how;
        mine->value = entry.value;
        mine->version = entry.version;
        bool news = look(r, mine, i, &selected[count]);
        if (news || asked.wait_ms == 0)
            count++;
        else
            settle(mine, &selected[count]);
    }
    if (count == 0) {
        park(r, read, now_ns);
        return;
    }
    answer(r, read, selected, count, asked.wait_ms == 0 ? 0 : turn(r, count), now_ns);
    free(read);
}

static void leave(struct reads *r, struct parked_read *read)
{
    parked_remove(r->parked, read);
    free(read);
    sl_gauge_set(&r->counts->parked_reads, (int64_t)parked_count(r->parked));
}

void reads_grown(struct reads *r, struct sl_slice sandbox, int64_t now_ns)
{
    parked_grown(r->parked, sandbox, now_ns);
}

void reads_wake(struct reads *r)
{
    struct selected selected[SL_READ_ENTRIES_MAX];
    struct parked_read *read;
    int64_t news_ns;
    while ((read = parked_woken(r->parked, &news_ns)) != NULL) {
        unsigned count = 0;
        for (uint16_t i = 0; i < read->count; i++) {
            struct parked_entry *entry = &read->entries[i];
            if (!entry->news)
                continue;
            entry->news = false;
            if (look(r, entry, i, &selected[count]))
                count++;
        }
        if (count == 0)
            continue;
        answer(r, read, selected, count, turn(r, count), news_ns);
        leave(r, read);
    }
}

static void sweep(struct reads *r)
{
    struct parked_read *next;
    for (struct parked_read *read = parked_next(r->parked, NULL); read; read = next) {
        next = parked_next(r->parked, read);
        if (sl_request_alive(read->request))
            continue;
        sl_request_refuse(read->request, SL_STATUS_UNAVAILABLE, NULL);
        leave(r, read);
    }
}

int64_t reads_run(struct reads *r, int64_t now_ns)
{
    if (now_ns >= r->sweep_ns) {
        sweep(r);
        r->sweep_ns = now_ns + SWEEP_NS;
    }
    if (now_ns >= r->next_ns) {
        r->next_ns = INT64_MAX;
        struct parked_read *next;
        for (struct parked_read *read = parked_next(r->parked, NULL); read; read = next) {
            next = parked_next(r->parked, read);
            if (read->deadline_ns <= now_ns) {
                answer(r, read, NULL, 0, 0, now_ns);
                leave(r, read);
            } else if (read->deadline_ns < r->next_ns) {
                r->next_ns = read->deadline_ns;
            }
        }
    }
    return r->next_ns < r->sweep_ns ? r->next_ns : r->sweep_ns;
}

void reads_end(struct reads *r)
{
    struct parked_read *read;
    while ((read = parked_next(r->parked, NULL)) != NULL) {
        answer(r, read, NULL, 0, 0, 0);
        leave(r, read);
    }
}
