// SPDX-License-Identifier: Apache-2.0
#include "ledger.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition, ...)                                                                                \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                  \
            fprintf(stderr, __VA_ARGS__);                                                                    \
            fprintf(stderr, "\n");                                                                           \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

void (*ledger_around)(bool inside);

enum { ITEMS_MOST = 4, LINE_MOST = 8192 };

struct ledger_batch {
    struct store_batch batch;
    struct ledger *ledger;
    struct store_item items[ITEMS_MOST];
    unsigned sandbox[ITEMS_MOST], life[ITEMS_MOST], source[ITEMS_MOST];
    uint8_t *payload[ITEMS_MOST];
};

static void id_of(unsigned sandbox, char out[16])
{
    snprintf(out, 16, "box-%u", sandbox);
}

static size_t line_of(const struct ledger *l, unsigned sandbox, unsigned life, unsigned source, uint64_t n,
                      char out[LINE_MOST])
{
    int head = snprintf(out, LINE_MOST, "%u %u %u %" PRIu64 " ", sandbox, life, source, n);
    struct sim_random r = {.state = n * 1315423911u + life * 31 + source * 7 + sandbox};
    size_t size = (size_t)head + sim_random(&r) % (l->most_line_bytes + 1);
    for (size_t i = (size_t)head; i < size; i++)
        out[i] = (char)('a' + (n * 7 + i * (1 + i % 3)) % 26);
    return size;
}

bool ledger_line_parse(struct sl_slice text, uint64_t ret_numbers[4])
{
    size_t at = 0;
    for (int i = 0; i < 4; i++, at++) {
        size_t begin = at;
        ret_numbers[i] = 0;
        for (; at < text.bytes && text.data[at] >= '0' && text.data[at] <= '9'; at++)
            ret_numbers[i] = ret_numbers[i] * 10 + (uint64_t)(text.data[at] - '0');
        if (at == begin || at == text.bytes || text.data[at] != ' ')
            return false;
    }
    return true;
}

static void key_of(unsigned sandbox, unsigned life, unsigned source, uint8_t key[16])
{
    memset(key, 0, 16);
    key[0] = (uint8_t)(sandbox + 1);
    key[1] = (uint8_t)life;
    key[2] = (uint8_t)source;
}

static struct store_item block_of(struct ledger *l, unsigned sandbox, unsigned life, unsigned source,
                                  uint64_t from, unsigned lines, uint8_t **ret_bytes)
{
    static char text[LINE_MOST];
    char id[16];
    id_of(sandbox, id);
    sl_block_builder_reset(l->builder, sl_slice_of(id));
    for (unsigned i = 0; i < lines; i++) {
        struct sl_line line = {.time_ns = (int64_t)(from + i) * 1000};
        line.text = sl_slice(text, line_of(l, sandbox, life, source, from + i, text));
        CHECK(sl_block_builder_add(l->builder, &line, sl_slice_of("main")) == 0, "line");
    }
    struct sl_block_header facts = {
        .codec = SL_CODEC_LZ4,
        .range = {.source.incarnation = 1, .from = from, .to = from + lines},
        .open_from = from + lines,
    };
    key_of(sandbox, life, source, facts.range.source.key);
    size_t room = sl_block_builder_bound(l->builder);
    *ret_bytes = malloc(room);
    CHECK(*ret_bytes, "memory");
    struct store_item item = {.kind = STORE_BLOCK};
    item.payload = sl_slice(*ret_bytes, sl_block_builder_encode(l->builder, &facts, 0, *ret_bytes, room));
    CHECK(sl_block_check(item.payload, &item.header) == SL_BLOCK_OK, "block");
    return item;
}

static void batch_free(struct ledger_batch *b)
{
    for (size_t i = 0; i < ITEMS_MOST; i++)
        free(b->payload[i]);
    free(b);
}

static void note_acked(struct ledger *l, const struct ledger_batch *b, size_t i)
{
    const struct store_item *item = &b->items[i];
    struct ledger_sandbox *box = &l->sandboxes[b->sandbox[i]];
    CHECK(item->verdict.verdict != SL_REFUSED, "refused without a fault");
    if (item->kind == STORE_DELETE) {
        if (b->life[i] >= box->acked_life) {
            box->acked_life = b->life[i];
            box->gone = true;
        }
    } else if (item->kind == STORE_BLOCK && item->verdict.verdict == SL_TAKEN) {
        struct ledger_source *s = &box->sources[b->life[i]][b->source[i]];
        CHECK(item->header.range.from == s->acked, "taken out of order");
        s->acked = item->header.range.to;
        for (unsigned k = 0; k < LEDGER_SANDBOXES; k++)
            l->sandboxes[k].unsure = false;
        if (b->life[i] > box->acked_life || !box->gone) {
            box->acked_life = b->life[i];
            box->gone = false;
        }
    }
}

static void batch_done(struct store_batch *batch, int fault)
{
    struct ledger_batch *b = (struct ledger_batch *)batch;
    struct ledger *l = b->ledger;
    l->in_flight--;
    if (fault)
        l->failed++;
    else
        l->acknowledged++;
    for (size_t i = 0; i < batch->count; i++) {
        struct store_item *item = &b->items[i];
        if (!fault)
            note_acked(l, b, i);
        else
            CHECK(item->verdict.verdict == SL_REFUSED, "a failed batch with a verdict");
        if (fault && item->kind == STORE_DELETE) {
            struct ledger_sandbox *box = &l->sandboxes[b->sandbox[i]];
            box->unsure = true;
            if (b->life[i] < box->life)
                box->life = b->life[i];
        }
        if (item->kind == STORE_BLOCK && item->verdict.verdict != SL_TAKEN &&
            item->verdict.verdict != SL_BURIED) {
            struct ledger_source *s = &l->sandboxes[b->sandbox[i]].sources[b->life[i]][b->source[i]];
            CHECK(item->verdict.offset >= s->acked, "a place before what was acknowledged");
            if (fault || item->verdict.offset > s->sent)
                s->sent = item->verdict.offset;
            /* A place that is named is durable, though its blocks may have failed before a restart. */
            if (item->verdict.offset > s->acked)
                s->acked = item->verdict.offset;
        }
    }
    batch_free(b);
}

void ledger_init(struct ledger *l, uint64_t seed)
{
    *l = (struct ledger){.random.state = seed, .most_line_bytes = 40};
    CHECK(sl_block_builder_new(&l->builder) == 0, "memory");
}

void ledger_fini(struct ledger *l)
{
    CHECK(l->in_flight == 0, "batches without done");
    sl_block_builder_free(l->builder);
}

void ledger_send(struct ledger *l, struct store *s)
{
    struct ledger_batch *b = calloc(1, sizeof *b);
    CHECK(b, "memory");
    b->ledger = l;
    b->batch = (struct store_batch){
        .items = b->items, .count = 1 + sim_random(&l->random) % ITEMS_MOST, .done = batch_done};
    for (size_t i = 0; i < b->batch.count; i++) {
        unsigned sandbox = (unsigned)(sim_random(&l->random) % LEDGER_SANDBOXES);
        struct ledger_sandbox *box = &l->sandboxes[sandbox];
        b->sandbox[i] = sandbox;
        b->life[i] = box->life;
        uint64_t dice = sim_random(&l->random) % 15;
        if (dice == 0 && !l->no_deletions && box->life + 1 < LEDGER_LIVES) {
            char *id = malloc(16);
            CHECK(id, "memory");
            id_of(sandbox, id);
            b->payload[i] = (uint8_t *)id;
            b->items[i] = (struct store_item){.kind = STORE_DELETE, .sandbox = sl_slice_of(id)};
            box->life++;
            continue;
        }
        if (dice == 1) {
            char id[16];
            id_of(sandbox, id);
            struct sl_change change = {.fields = SL_CHANGE_STATE | SL_CHANGE_HOST,
                                       .state = SL_RUNNING,
                                       .host = sl_slice_of("here"),
                                       .sandbox = sl_slice_of(id)};
            b->payload[i] = malloc(256);
            CHECK(b->payload[i], "memory");
            struct sl_writer w = sl_writer(b->payload[i], 256);
            sl_change_encode(&w, &change);
            struct store_item *item = &b->items[i];
            *item = (struct store_item){.kind = STORE_CHANGE, .payload = sl_slice(w.data, w.bytes)};
            struct sl_reader r = sl_reader(item->payload);
            CHECK(sl_change_decode(&r, &item->change) == 0, "change");
            continue;
        }
        b->source[i] = (unsigned)(sim_random(&l->random) % LEDGER_SOURCES);
        struct ledger_source *source = &box->sources[box->life][b->source[i]];
        unsigned lines = 1 + (unsigned)(sim_random(&l->random) % 20);
        b->items[i] = block_of(l, sandbox, box->life, b->source[i], source->sent, lines, &b->payload[i]);
        source->sent += lines;
    }
    l->in_flight++;
    if (ledger_around)
        ledger_around(true);
    store_append(s, &b->batch);
    if (ledger_around)
        ledger_around(false);
}

/* ---- checking ---- */

struct reading {
    const struct ledger *ledger;
    unsigned sandbox;
    int life; /* -1: none seen yet */
    uint64_t next;
    uint64_t lines[LEDGER_SOURCES];
};

static bool read_record(void *arg, struct sl_slice bytes, const struct sl_record *prefix)
{
    struct reading *g = arg;
    struct sl_record record;
    struct sl_slice payload;
    struct sl_block_header header;
    CHECK(sl_record_check(bytes, &record, &payload, &header) == SL_RECORD_OK, "a bad record is given");
    CHECK(!(header.flags & SL_BLOCK_GAP), "a gap of %" PRIu64 " before %" PRIu64, header.gap_lines,
          record.first_seq);
    CHECK(prefix->first_seq <= g->next && prefix->first_seq + header.lines > g->next, "hole");
    struct sl_block_lines it;
    struct sl_line line;
    void *scratch = malloc(header.raw_bytes + 1);
    CHECK(sl_block_lines_open(&it, payload, &header, scratch, header.raw_bytes) == 0, "lines");
    for (uint64_t seq = record.first_seq; sl_block_lines_next(&it, &line); seq++) {
        if (seq < g->next)
            continue;
        uint64_t numbers[4];
        char wanted[LINE_MOST];
        CHECK(ledger_line_parse(line.text, numbers), "a line nobody wrote");
        unsigned sandbox = (unsigned)numbers[0], life = (unsigned)numbers[1], source = (unsigned)numbers[2];
        uint64_t n = numbers[3];
        CHECK(sandbox == g->sandbox && source < LEDGER_SOURCES, "another sandbox's line");
        CHECK(g->life < 0 || life == (unsigned)g->life, "lines of two lives");
        CHECK(n == g->lines[source], "line %" PRIu64 " of source %u where %" PRIu64 " is due", n, source,
              g->lines[source]);
        size_t size = line_of(g->ledger, sandbox, life, source, n, wanted);
        CHECK(size == line.text.bytes && memcmp(wanted, line.text.data, size) == 0, "other bytes");
        g->life = (int)life;
        g->lines[source]++;
        g->next++;
    }
    free(scratch);
    return true;
}

static void check_source(void *arg, const struct sl_source_place *place)
{
    const struct reading *g = arg;
    if (place->flags & SL_SOURCE_BURIED)
        return;
    unsigned source = place->source.key[2];
    CHECK(g->life < 0 || place->source.key[1] == g->life, "a live source of a dead life");
    CHECK(place->offset == g->lines[source], "the place is %" PRIu64 ", there are %" PRIu64 " lines",
          place->offset, g->lines[source]);
}

static void check_sandbox(const struct ledger *l, struct store *s, unsigned sandbox)
{
    const struct ledger_sandbox *box = &l->sandboxes[sandbox];
    char id[16];
    id_of(sandbox, id);
    struct sl_place place;
    struct reading g = {.ledger = l, .sandbox = sandbox, .life = -1, .next = 1};
    uint64_t acked = 0;
    for (unsigned k = 0; k < LEDGER_SOURCES; k++)
        acked += box->sources[box->acked_life][k].acked;
    if (store_place(s, sl_slice_of(id), &place) == STORE_UNKNOWN) {
        CHECK(acked == 0 || box->gone || box->unsure || box->life > box->acked_life, "%s is not there", id);
        return;
    }
    for (bool more = true; more;)
        CHECK(store_read(s, sl_slice_of(id), g.next, 4096, read_record, &g, &more) == 0, "read");
    CHECK(g.next == place.last_seq + 1, "%s: %" PRIu64 " lines of %" PRIu64, id, g.next - 1, place.last_seq);
    CHECK(store_sources(s, sl_slice_of(id), check_source, &g) == 0, "sources");
    if (g.life < 0) {
        /* It is there by a change alone, or nothing of it was acknowledged. */
        CHECK(acked == 0 || box->gone || box->unsure || box->life > box->acked_life, "%s is empty", id);
        return;
    }
    unsigned life = (unsigned)g.life;
    CHECK(life >= box->acked_life && (life <= box->life || box->unsure), "life %u", life);
    CHECK(life > box->acked_life || !box->gone, "deleted, and there");
    for (unsigned k = 0; k < LEDGER_SOURCES; k++) {
        CHECK(g.lines[k] >= box->sources[life][k].acked,
              "%s: %" PRIu64 " lines of source %u, %" PRIu64 " were acknowledged", id, g.lines[k], k,
              box->sources[life][k].acked);
        CHECK(g.lines[k] <= box->sources[life][k].sent || l->failed || l->went_on, "more than was sent");
    }
}

void ledger_check(const struct ledger *l, struct store *s)
{
    for (unsigned i = 0; i < LEDGER_SANDBOXES; i++)
        check_sandbox(l, s, i);
    ledger_check_consumers(l, s);
}

/* ---- going on ---- */

struct place_of {
    unsigned life; /* of any live source */
    uint8_t key[16];
    struct sl_source_place place;
};

static void find_place(void *arg, const struct sl_source_place *place)
{
    struct place_of *f = arg;
    if (!(place->flags & SL_SOURCE_BURIED))
        f->life = place->source.key[1];
    if (memcmp(place->source.key, f->key, 16) == 0)
        f->place = *place;
}

static void went_on(struct store_batch *batch, int fault)
{
    CHECK(fault == 0, "fault %d", fault);
    CHECK(batch->items[0].verdict.verdict == SL_TAKEN, "verdict %u", batch->items[0].verdict.verdict);
    *(bool *)batch->owner = true;
}

void ledger_go_on(struct ledger *l, struct store *s)
{
    l->went_on = true;
    for (unsigned sandbox = 0; sandbox < LEDGER_SANDBOXES; sandbox++) {
        char id[16];
        id_of(sandbox, id);
        struct place_of any = {.life = l->sandboxes[sandbox].life};
        (void)store_sources(s, sl_slice_of(id), find_place, &any);
        unsigned life = any.life;
        for (unsigned source = 0; source < LEDGER_SOURCES; source++) {
            struct place_of f = {0};
            key_of(sandbox, life, source, f.key);
            (void)store_sources(s, sl_slice_of(id), find_place, &f);
            if (f.place.flags & SL_SOURCE_BURIED)
                continue;
            uint8_t *bytes;
            bool done = false;
            struct store_item item = block_of(l, sandbox, life, source, f.place.offset, 3, &bytes);
            struct store_batch batch = {.items = &item, .count = 1, .done = went_on, .owner = &done};
            store_append(s, &batch);
            store_run(s);
            CHECK(done, "not done");
            free(bytes);
        }
    }
}

void ledger_reopened(struct ledger *l, struct store *s)
{
    for (unsigned sandbox = 0; sandbox < LEDGER_SANDBOXES; sandbox++) {
        struct ledger_sandbox *box = &l->sandboxes[sandbox];
        if (!box->unsure)
            continue;
        char id[16];
        id_of(sandbox, id);
        struct sl_place place;
        struct place_of any = {.life = LEDGER_LIVES};
        (void)store_sources(s, sl_slice_of(id), find_place, &any);
        if (any.life < LEDGER_LIVES && any.life >= box->acked_life) {
            box->gone = box->gone && any.life == box->acked_life;
            box->acked_life = box->life = any.life;
        } else if (store_place(s, sl_slice_of(id), &place) == STORE_UNKNOWN) {
            box->gone = true;
            if (box->life == box->acked_life && box->life + 1 < LEDGER_LIVES)
                box->life++;
        }
        box->unsure = false;
    }
}
