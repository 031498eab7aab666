// SPDX-License-Identifier: Apache-2.0
#include "life.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    STATE_VERSION = 2,
    STATE_VERSION_OLDEST = 1,
    /* without line_commit_ns */ FLAG_ALIVE = 1,
    FLAG_EXIT = 2
};

void life_init(struct life *l, struct sl_slice id)
{
    assert(id.bytes <= SL_ID_MAX_BYTES);
    *l = (struct life){.id_bytes = (uint8_t)id.bytes};
    memcpy(l->id, id.data, id.bytes);
}

struct sl_slice life_id(const struct life *l)
{
    return sl_slice(l->id, l->id_bytes);
}

static void details_free(struct life *l)
{
    free(l->host.data);
    free(l->pairs.data);
    free(l->container_names.data);
    l->host = l->pairs = l->container_names = (struct text){0};
    l->labels = 0;
    l->names = 0;
}

void life_clear(struct life *l)
{
    char id[SL_ID_MAX_BYTES];
    uint8_t bytes = l->id_bytes;
    memcpy(id, l->id, bytes);
    details_free(l);
    free(l->sources);
    life_init(l, sl_slice(id, bytes));
}

static struct sl_slice text_slice(const struct text *t)
{
    return sl_slice(t->data, t->bytes);
}

static int text_set(struct text *t, struct sl_slice s)
{
    uint8_t *data = malloc(s.bytes + 1);
    if (!data)
        return -ENOMEM;
    if (s.bytes)
        memcpy(data, s.data, s.bytes);
    free(t->data);
    *t = (struct text){data, s.bytes};
    return 0;
}

/* ---- bytes ---- */

size_t life_bytes(const struct life *l)
{
    return 4 + 2 + 3 * 4 + 7 * 8 + 5 * 8 + 3 * 4 + l->host.bytes + l->pairs.bytes + l->container_names.bytes;
}

void life_encode(const struct life *l, uint8_t *out)
{
    struct sl_writer w = sl_writer(out, life_bytes(l));
    sl_write_u8(&w, STATE_VERSION);
    sl_write_u8(&w, (uint8_t)((l->alive ? FLAG_ALIVE : 0) | (l->has_exit ? FLAG_EXIT : 0)));
    sl_write_u8(&w, l->state);
    sl_write_u8(&w, l->names);
    sl_write_u16(&w, l->labels);
    sl_write_u32(&w, (uint32_t)l->exit_code);
    sl_write_u32(&w, l->version);
    sl_write_u32(&w, l->sub);
    const uint64_t numbers[] = {l->change, l->birth,      l->last_seq,  l->kept_from,
                                l->lost,   l->text_bytes, l->kept_bytes};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sl_write_u64(&w, numbers[i]);
    sl_write_i64(&w, l->first_time_ns);
    sl_write_i64(&w, l->last_time_ns);
    sl_write_i64(&w, l->created_ns);
    sl_write_i64(&w, l->floor_ns);
    sl_write_i64(&w, l->line_commit_ns);
    sl_write_slice32(&w, text_slice(&l->host));
    sl_write_slice32(&w, text_slice(&l->pairs));
    sl_write_slice32(&w, text_slice(&l->container_names));
    assert(!w.failed && w.bytes == w.capacity);
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

int life_decode(struct life *l, struct sl_slice state, struct sl_slice token)
{
    struct sl_reader r = sl_reader(state);
    uint8_t version = sl_read_u8(&r);
    if (version < STATE_VERSION_OLDEST || version > STATE_VERSION || token.bytes != TOKEN_BYTES)
        return LIFE_MALFORMED;
    uint8_t flags = sl_read_u8(&r);
    l->known = true;
    l->alive = flags & FLAG_ALIVE;
    l->has_exit = flags & FLAG_EXIT;
    l->state = sl_read_u8(&r);
    l->names = sl_read_u8(&r);
    l->labels = sl_read_u16(&r);
    l->exit_code = (int32_t)sl_read_u32(&r);
    l->version = sl_read_u32(&r);
    l->sub = sl_read_u32(&r);
    uint64_t *numbers[] = {&l->change, &l->birth,      &l->last_seq,  &l->kept_from,
                           &l->lost,   &l->text_bytes, &l->kept_bytes};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        *numbers[i] = sl_read_u64(&r);
    l->first_time_ns = sl_read_i64(&r);
    l->last_time_ns = sl_read_i64(&r);
    l->created_ns = sl_read_i64(&r);
    l->floor_ns = sl_read_i64(&r);
    l->line_commit_ns = version == STATE_VERSION_OLDEST ? 0 : sl_read_i64(&r);
    struct sl_slice host = sl_read_slice32(&r);
    struct sl_slice pairs = sl_read_slice32(&r);
    struct sl_slice names = sl_read_slice32(&r);
    if (r.failed || sl_reader_left(&r) != 0 || host.bytes > SL_HOST_MAX_BYTES ||
        !pairs_good(pairs, l->labels) || !names_good(names, l->names) ||
        (l->alive && (l->state < SL_RUNNING || l->state > SL_STOPPED || l->kept_from == 0 || l->birth == 0)))
        return LIFE_MALFORMED;
    memcpy(l->token, token.data, TOKEN_BYTES);
    if (text_set(&l->host, host) || text_set(&l->pairs, pairs) || text_set(&l->container_names, names))
        return -ENOMEM;
    return 0;
}

void life_source_field(const struct life_source *s, uint8_t out[SOURCE_FIELD_BYTES])
{
    out[0] = 'k';
    memcpy(out + 1, s->key, sizeof s->key);
}

void life_source_encode(const struct life_source *s, uint8_t out[SOURCE_VALUE_BYTES])
{
    struct sl_writer w = sl_writer(out, SOURCE_VALUE_BYTES);
    sl_write_u64(&w, s->offset);
    sl_write_u64(&w, s->open_from);
    sl_write_u64(&w, s->fingerprint);
    sl_write_u32(&w, s->incarnation);
    sl_write_u16(&w, s->fingerprint_bytes);
    sl_write_u8(&w, s->bits);
    assert(!w.failed && w.bytes == SOURCE_VALUE_BYTES);
}

static struct life_source *source_find(const struct life *l, const uint8_t key[16])
{
    for (size_t i = l->source_count; i-- > 0;)
        if (memcmp(l->sources[i].key, key, 16) == 0)
            return &l->sources[i];
    return NULL;
}

/* Pointers to sources are void after. */
static struct life_source *source_add(struct life *l, const uint8_t key[16])
{
    if ((l->source_count & (l->source_count - 1)) == 0) {
        size_t capacity = l->source_count ? 2 * l->source_count : 1;
        struct life_source *wider = realloc(l->sources, capacity * sizeof *wider);
        if (!wider)
            return NULL;
        l->sources = wider;
    }
    struct life_source *s = &l->sources[l->source_count++];
    *s = (struct life_source){0};
    memcpy(s->key, key, sizeof s->key);
    return s;
}

int life_decode_source(struct life *l, struct sl_slice field, struct sl_slice value)
{
    if (field.bytes != SOURCE_FIELD_BYTES || value.bytes != SOURCE_VALUE_BYTES)
        return LIFE_MALFORMED;
    struct life_source *s = source_add(l, field.data + 1);
    if (!s)
        return -ENOMEM;
    struct sl_reader r = sl_reader(value);
    s->offset = sl_read_u64(&r);
    s->open_from = sl_read_u64(&r);
    s->fingerprint = sl_read_u64(&r);
    s->incarnation = sl_read_u32(&r);
    s->fingerprint_bytes = sl_read_u16(&r);
    s->bits = sl_read_u8(&r) & (SL_SOURCE_BURIED | SL_SOURCE_CLOSED);
    s->durable_incarnation = s->incarnation;
    s->durable_offset = s->offset;
    return 0;
}

/* ---- host, labels, names ---- */

static bool pairs_find(struct sl_slice pairs, struct sl_slice key, struct sl_slice *ret_value)
{
    struct sl_reader r = sl_reader(pairs);
    struct sl_slice k;
    while (sl_label_next(&r, &k, ret_value))
        if (sl_slice_equal(k, key))
            return true;
    return false;
}

static bool names_have(const struct life *l, struct sl_slice name)
{
    struct sl_reader r = sl_reader(text_slice(&l->container_names));
    for (unsigned i = 0; i < l->names; i++)
        if (sl_slice_equal(sl_read_slice8(&r), name))
            return true;
    return false;
}

/* More than 255 containers are not noted, only stored. */
static int names_note(struct life *l, const struct sl_block_header *header)
{
    for (unsigned i = 0; i < header->containers; i++) {
        struct sl_slice name = sl_block_container(header, i);
        if (l->names == 255 || names_have(l, name))
            continue;
        struct text *t = &l->container_names;
        uint8_t *wider = realloc(t->data, t->bytes + 1 + name.bytes);
        if (!wider)
            return -ENOMEM;
        t->data = wider;
        wider[t->bytes] = (uint8_t)name.bytes;
        if (name.bytes)
            memcpy(wider + t->bytes + 1, name.data, name.bytes);
        t->bytes += 1 + name.bytes;
        l->names++;
    }
    return 0;
}

/* Those of the change over those that are there; labels past SL_LABELS_MAX are left out. */
static int labels_merge(struct life *l, struct sl_slice changed)
{
    struct sl_slice had = text_slice(&l->pairs);
    uint8_t *pairs = malloc(had.bytes + changed.bytes + 1);
    if (!pairs)
        return -ENOMEM;
    struct sl_writer w = sl_writer(pairs, had.bytes + changed.bytes);
    uint16_t count = 0;
    struct sl_reader r = sl_reader(had);
    struct sl_slice key, value, newer;
    while (sl_label_next(&r, &key, &value)) {
        sl_label_write(&w, key, pairs_find(changed, key, &newer) ? newer : value);
        count++;
    }
    r = sl_reader(changed);
    while (sl_label_next(&r, &key, &value) && count < SL_LABELS_MAX) {
        if (pairs_find(sl_slice(pairs, w.bytes), key, &newer))
            continue;
        sl_label_write(&w, key, value);
        count++;
    }
    assert(!w.failed);
    free(l->pairs.data);
    l->pairs = (struct text){pairs, w.bytes};
    l->labels = count;
    return 0;
}

/* ---- lives ---- */

static void life_begin(struct life *l, int64_t commit_ns, uint64_t birth)
{
    l->alive = l->known = true;
    l->birth = birth;
    l->created_ns = commit_ns;
    l->last_seq = l->lost = l->text_bytes = l->kept_bytes = 0;
    l->kept_from = 1;
    l->sub = 0;
    l->first_time_ns = l->last_time_ns = l->line_commit_ns = 0;
    l->floor_ns = INT64_MIN;
    l->version++;
    l->state = SL_RUNNING;
    l->has_exit = false;
    l->exit_code = 0;
}

static uint8_t judge(const struct life_source *at, const struct sl_source_range *range, bool close)
{
    if (at && at->bits & SL_SOURCE_BURIED)
        return SL_BURIED;
    if (!at || range->source.incarnation > at->incarnation)
        return range->from == 0 && range->source.incarnation > 0 ? SL_TAKEN : SL_ELSEWHERE;
    if (range->source.incarnation < at->incarnation)
        return SL_ELSEWHERE;
    bool closed = at->bits & SL_SOURCE_CLOSED;
    if (range->from == at->offset && (range->to > range->from || (close && !closed)))
        return SL_TAKEN;
    return range->to <= at->offset ? SL_ALREADY : SL_ELSEWHERE;
}

static uint8_t judge_also(const struct life *l, const struct sl_block_header *h)
{
    const struct life_source *at = source_find(l, h->also.source.key);
    if (memcmp(h->also.source.key, h->range.source.key, 16) == 0 || h->also.to < h->also.from)
        return SL_REFUSED;
    if (judge(at, &h->also, true) == SL_TAKEN)
        return SL_TAKEN;
    if (at && at->bits & SL_SOURCE_BURIED)
        return SL_BURIED;
    bool stays = at && at->incarnation == h->also.source.incarnation && at->offset == h->also.from &&
                 h->also.to == h->also.from;
    return stays ? SL_TAKEN : SL_ELSEWHERE;
}

static int source_move(struct life *l, const struct sl_source_range *range, uint64_t open_from, bool close,
                       const struct sl_block_header *fingerprint)
{
    struct life_source *s = source_find(l, range->source.key);
    if (!s)
        s = source_add(l, range->source.key);
    if (!s)
        return -ENOMEM;
    s->incarnation = range->source.incarnation;
    s->offset = range->to;
    s->open_from = open_from;
    s->bits = close ? SL_SOURCE_CLOSED : 0;
    if (fingerprint && fingerprint->fingerprint_bytes) {
        s->fingerprint = fingerprint->fingerprint;
        s->fingerprint_bytes = fingerprint->fingerprint_bytes;
    }
    s->dirty = true;
    return 0;
}

static void count_lines(struct life *l, const struct sl_block_header *h, const struct sl_record *record,
                        bool unseen)
{
    if (l->last_seq == 0)
        l->first_time_ns = h->time_min_ns;
    l->last_time_ns = h->time_max_ns;
    l->last_seq += h->lines;
    l->text_bytes += h->text_bytes;
    l->kept_bytes += h->text_bytes;
    l->floor_ns = sl_query_ceiling(record, h);
    l->line_commit_ns = record->commit_ns;
    l->sub = 0;
    if (unseen && l->state == SL_STOPPED) {
        l->state = SL_RUNNING;
        l->has_exit = false;
        l->exit_code = 0;
        l->version++;
    }
}

int life_take_block(struct life *l, struct store_item *item, int64_t commit_ns, uint64_t birth,
                    struct sl_record *ret_record, bool *ret_stored, uint32_t *ret_sub)
{
    const struct sl_block_header *h = &item->header;
    bool close = h->flags & SL_BLOCK_CLOSE;
    const struct life_source *at = source_find(l, h->range.source.key);
    bool unseen = !at;
    uint8_t verdict = h->range.to < h->range.from ? SL_REFUSED : judge(at, &h->range, close);
    if (verdict == SL_TAKEN && h->flags & SL_BLOCK_ALSO)
        verdict = judge_also(l, h);
    item->first_seq = 0;
    item->verdict = (struct sl_append_verdict){verdict, at ? at->incarnation : 0, at ? at->offset : 0};
    if (verdict != SL_TAKEN)
        return LIFE_NOTHING;
    if (!l->alive)
        life_begin(l, commit_ns, birth);
    if ((h->flags & SL_BLOCK_ALSO && source_move(l, &h->also, h->also.to, false, NULL)) ||
        source_move(l, &h->range, h->open_from, close, h) || (h->lines > 0 && names_note(l, h)))
        return -ENOMEM;
    *ret_record = (struct sl_record){
        .kind = SL_RECORD_BLOCK,
        .payload_bytes = (uint32_t)item->payload.bytes,
        .first_seq = l->last_seq + 1,
        .floor_ns = l->floor_ns,
        .commit_ns = commit_ns,
    };
    item->first_seq = ret_record->first_seq;
    item->verdict = (struct sl_append_verdict){SL_TAKEN, h->range.source.incarnation, h->range.to};
    *ret_stored = h->lines > 0 || h->flags & SL_BLOCK_GAP;
    if (*ret_stored)
        *ret_sub = l->sub++;
    if (h->lines > 0)
        count_lines(l, h, ret_record, unseen);
    if (h->flags & SL_BLOCK_GAP) {
        if (h->gap_lines != SL_GAP_LINES_UNKNOWN)
            l->lost += h->gap_lines;
        l->version++;
    }
    return 0;
}

static bool change_is_known(const struct life *l, const struct sl_change *c)
{
    if (!l->alive)
        return false;
    if (c->fields & SL_CHANGE_STATE && c->state != l->state)
        return false;
    if (c->fields & SL_CHANGE_EXIT && (!l->has_exit || l->exit_code != c->exit_code))
        return false;
    if (c->fields & SL_CHANGE_HOST && !sl_slice_equal(c->host, text_slice(&l->host)))
        return false;
    struct sl_reader r = sl_reader(c->fields & SL_CHANGE_LABELS ? c->label_pairs : sl_slice(NULL, 0));
    struct sl_slice key, value, had;
    while (sl_label_next(&r, &key, &value))
        if (!pairs_find(text_slice(&l->pairs), key, &had) || !sl_slice_equal(had, value))
            return false;
    return true;
}

/* What a collector says again on every connection does not bring back what was deleted. */
static bool revives(const struct sl_change *c)
{
    return !(c->fields & SL_CHANGE_HOST) && (!(c->fields & SL_CHANGE_STATE) || c->state == SL_RUNNING);
}

int life_take_change(struct life *l, const struct sl_change *c, int64_t commit_ns, uint64_t birth)
{
    if (change_is_known(l, c))
        return LIFE_NOTHING;
    bool begins = !l->alive && (!l->known || revives(c));
    if ((c->fields & SL_CHANGE_HOST && text_set(&l->host, c->host)) ||
        (c->fields & SL_CHANGE_LABELS && labels_merge(l, c->label_pairs)))
        return -ENOMEM;
    l->known = true;
    if (begins)
        life_begin(l, commit_ns, birth);
    if (!l->alive)
        return 0;
    if (c->fields & SL_CHANGE_STATE) {
        l->state = c->state;
        if (c->state == SL_RUNNING) {
            l->has_exit = false;
            l->exit_code = 0;
        }
    }
    if (c->fields & SL_CHANGE_EXIT) {
        l->has_exit = true;
        l->exit_code = c->exit_code;
    }
    l->version++;
    return 0;
}

int life_take_delete(struct life *l)
{
    if (!l->alive)
        return LIFE_NOTHING;
    l->alive = false;
    details_free(l);
    for (size_t i = 0; i < l->source_count; i++) {
        l->sources[i].bits |= SL_SOURCE_BURIED;
        l->sources[i].dirty = true;
    }
    l->version++;
    return 0;
}

void life_refuse(const struct life *l, struct store_item *item)
{
    item->verdict = (struct sl_append_verdict){.verdict = SL_REFUSED};
    item->first_seq = 0;
    const struct life_source *at =
        item->kind == STORE_BLOCK ? source_find(l, item->header.range.source.key) : NULL;
    if (at) {
        item->verdict.incarnation = at->durable_incarnation;
        item->verdict.offset = at->durable_offset;
    }
}

void life_settle(struct life *l)
{
    for (size_t i = 0; i < l->source_count; i++) {
        struct life_source *s = &l->sources[i];
        if (!s->dirty)
            continue;
        s->dirty = false;
        s->durable_incarnation = s->incarnation;
        s->durable_offset = s->offset;
    }
}

/* ---- what is shown ---- */

void life_place(const struct life *l, struct sl_place *ret)
{
    *ret = (struct sl_place){
        .birth = l->birth,
        .oldest_seq = l->kept_from,
        .last_seq = l->last_seq,
        .lost = l->lost,
        .version = l->version,
        .state = l->state,
        .has_exit = l->has_exit,
        .exit_code = l->exit_code,
    };
}

void life_info(const struct life *l, struct sl_info *ret)
{
    *ret = (struct sl_info){
        .sandbox = life_id(l),
        .first_time_ns = l->first_time_ns,
        .last_time_ns = l->last_time_ns,
        .created_ns = l->created_ns,
        .lines = l->last_seq,
        .bytes = l->text_bytes,
        .host = text_slice(&l->host),
        .containers = l->names,
        .container_names = text_slice(&l->container_names),
        .labels = l->labels,
        .label_pairs = text_slice(&l->pairs),
    };
    life_place(l, &ret->place);
}
