// SPDX-License-Identifier: Apache-2.0
/* Export consumers of the ledger's world: what they were given, where they stand, and that nothing is left
 * out. */
#include "ledger.h"
#include "store/disk/consumers.h"
#include <errno.h>
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

enum { PAGE_BYTES = 3000 };
static const char *const names[LEDGER_CONSUMERS] = {"arch", "copy"};

/* ---- scanning ---- */

struct scanning {
    struct ledger_cover *cover;
    bool gaps; /* something could not be read */
};

static bool scan_record(void *arg, const struct store_scanned *scanned)
{
    struct scanning *g = arg;
    struct sl_record record;
    struct sl_slice payload;
    struct sl_block_header header;
    CHECK(sl_record_check(scanned->record, &record, &payload, &header) == SL_RECORD_OK, "a bad record");
    if (header.flags & SL_BLOCK_GAP) {
        CHECK(header.gap_reason == SL_GAP_DAMAGED, "a gap before %" PRIu64, record.first_seq);
        g->gaps = true;
    }
    if (g->gaps)
        return true;
    struct sl_block_lines it;
    struct sl_line line;
    void *scratch = malloc(header.raw_bytes + 1);
    CHECK(scratch && sl_block_lines_open(&it, payload, &header, scratch, header.raw_bytes) == 0, "lines");
    while (sl_block_lines_next(&it, &line)) {
        uint64_t numbers[4];
        CHECK(ledger_line_parse(line.text, numbers), "a line nobody wrote");
        unsigned sandbox = (unsigned)numbers[0], life = (unsigned)numbers[1], source = (unsigned)numbers[2];
        uint64_t n = numbers[3];
        CHECK(sandbox < LEDGER_SANDBOXES && source < LEDGER_SOURCES, "another world's line");
        struct ledger_covered *c = &g->cover->of[sandbox];
        CHECK(life >= c->life, "a line of life %u, which is deleted", life);
        if (life > c->life)
            *c = (struct ledger_covered){.life = life};
        /* Again is fine, left out is not. */
        CHECK(n <= c->lines[source], "%s %u: line %" PRIu64 " of source %u where %" PRIu64 " is due", "box",
              sandbox, n, source, c->lines[source]);
        if (n == c->lines[source])
            c->lines[source]++;
    }
    free(scratch);
    return true;
}

static int scan(struct store *s, const char *name, const struct sl_checkpoint *from,
                struct ledger_cover *cover, struct sl_checkpoint *ret_next, bool *ret_more)
{
    struct scanning g = {.cover = cover};
    struct sl_checkpoint began;
    int answer = store_scan(s, sl_slice_of(name), sl_checkpoint_slice(from), PAGE_BYTES, scan_record, &g,
                            &began, ret_next, ret_more);
    return answer == 0 && g.gaps ? -EIO : answer;
}

/* ---- what they do ---- */

struct ledger_change {
    struct store_consumer_change change;
    struct ledger *ledger;
    unsigned consumer;
    struct ledger_mark mark;
};

static bool same(const struct sl_checkpoint *a, struct sl_slice b)
{
    return sl_slice_equal(sl_checkpoint_slice(a), b);
}

static void changed(struct store_consumer_change *change, int answer)
{
    struct ledger_change *c = (struct ledger_change *)change;
    struct ledger_consumer *one = &c->ledger->consumers[c->consumer];
    one->busy = false;
    CHECK(answer <= 0, "answer %d to %d of %.*s, acked %.*s", answer, change->what, c->mark.at.bytes,
          c->mark.at.text, one->acked.at.bytes, one->acked.at.text);
    if (answer == 0) {
        one->opened = true;
        one->unsure = 0;
        if (c->change.what == STORE_CONSUMER_ACK) {
            one->acked = c->mark;
            /* A place beyond it is one whose acknowledgement was not told. */
            CHECK(same(&c->mark.at, sl_checkpoint_slice(&change->place)), "another place holds");
        } else {
            one->acked = (struct ledger_mark){.at = change->place};
            one->read = one->acked;
        }
    } else if (c->change.what == STORE_CONSUMER_ACK && one->unsure < LEDGER_UNSURE) {
        one->maybe[one->unsure++] = c->mark;
    }
    free(c);
}

static void submit(struct ledger *l, struct store *s, unsigned consumer, uint8_t what)
{
    struct ledger_consumer *one = &l->consumers[consumer];
    struct ledger_change *c = calloc(1, sizeof *c);
    CHECK(c, "memory");
    c->ledger = l;
    c->consumer = consumer;
    c->mark = one->read;
    c->change = (struct store_consumer_change){
        .what = what, .consumer = sl_slice_of(names[consumer]), .done = changed};
    if (what == STORE_CONSUMER_ACK)
        c->change.checkpoint = sl_checkpoint_slice(&c->mark.at);
    one->busy = true;
    one->sent = c->mark;
    store_consumer_change(s, &c->change);
}

void ledger_consume(struct ledger *l, struct store *s)
{
    unsigned consumer = (unsigned)(sim_random(&l->random) % LEDGER_CONSUMERS);
    struct ledger_consumer *one = &l->consumers[consumer];
    if (one->busy)
        return;
    if (!one->opened) {
        submit(l, s, consumer, STORE_CONSUMER_OPEN);
        return;
    }
    if (sim_random(&l->random) % 3 == 0 && one->read.at.bytes &&
        !same(&one->acked.at, sl_checkpoint_slice(&one->read.at)) && one->unsure < LEDGER_UNSURE) {
        submit(l, s, consumer, STORE_CONSUMER_ACK);
        return;
    }
    struct sl_checkpoint next;
    bool more;
    struct ledger_mark before = one->read;
    int answer = scan(s, names[consumer], &one->read.at, &one->read.cover, &next, &more);
    if (answer < 0)
        one->read = before;
    CHECK(answer <= 0, "scan: %d", answer);
    if (answer == 0)
        one->read.at = next;
}

/* ---- checking ---- */

struct finding {
    const char *name;
    bool found;
    struct sl_checkpoint at;
};

static void find_consumer(void *arg, const struct sl_consumer *consumer)
{
    struct finding *f = arg;
    if (!sl_slice_equal(consumer->name, sl_slice_of(f->name)))
        return;
    f->found = true;
    f->at.bytes = (uint8_t)consumer->checkpoint.bytes;
    memcpy(f->at.text, consumer->checkpoint.data, consumer->checkpoint.bytes);
}

struct ends {
    struct ledger_covered covered;
    bool any;
};

static void check_end(void *arg, const struct sl_source_place *place)
{
    struct ends *e = arg;
    if (place->flags & SL_SOURCE_BURIED)
        return;
    e->any = true;
    unsigned source = place->source.key[2], life = place->source.key[1];
    uint64_t have = life == e->covered.life ? e->covered.lines[source] : 0;
    CHECK(have == place->offset, "source %u of life %u: %" PRIu64 " lines exported, %" PRIu64 " are there",
          source, life, have, place->offset);
}

static const struct ledger_mark *mark_of(const struct ledger_consumer *one, const struct sl_checkpoint *at)
{
    if (same(&one->acked.at, sl_checkpoint_slice(at)))
        return &one->acked;
    for (unsigned i = 0; i < one->unsure; i++) {
        if (same(&one->maybe[i].at, sl_checkpoint_slice(at)))
            return &one->maybe[i];
    }
    return one->busy && same(&one->sent.at, sl_checkpoint_slice(at)) ? &one->sent : NULL;
}

void ledger_check_consumers(const struct ledger *l, struct store *s)
{
    for (unsigned i = 0; i < LEDGER_CONSUMERS; i++) {
        const struct ledger_consumer *one = &l->consumers[i];
        struct finding f = {.name = names[i]};
        CHECK(store_consumers(s, find_consumer, &f) == 0, "list");
        if (!one->opened) /* it may be there all the same */
            continue;
        CHECK(f.found, "%s is not there", names[i]);
        const struct ledger_mark *mark = mark_of(one, &f.at);
        CHECK(mark, "%s stands where it was never told to: %.*s, acknowledged %.*s", names[i], f.at.bytes,
              f.at.text, one->acked.at.bytes, one->acked.at.text);
        struct ledger_cover cover = mark->cover;
        struct sl_checkpoint at = {0}, next;
        for (bool more = true; more; at = next)
            CHECK(scan(s, names[i], &at, &cover, &next, &more) == 0, "scan");
        for (unsigned k = 0; k < LEDGER_SANDBOXES; k++) {
            char id[16];
            snprintf(id, sizeof id, "box-%u", k);
            struct sl_place place;
            struct ends e = {.covered = cover.of[k]};
            if (store_place(s, sl_slice_of(id), &place) == 0)
                CHECK(store_sources(s, sl_slice_of(id), check_end, &e) == 0, "sources");
        }
    }
}
