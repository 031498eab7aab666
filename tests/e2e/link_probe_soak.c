// SPDX-License-Identifier: Apache-2.0
/*
 * The soak: many sandboxes written with a window of requests, as a collector does, and followed with standing
 * reads, as a gateway does, while the broker comes and goes. Every line is checked against what it must be;
 * what was acknowledged must be there at every later look. Ends when stdin does.
 */
#include "link_probe.h"

#include <inttypes.h>
#include <poll.h>

enum {
    BOXES = 16,
    WINDOW = 8,
    BLOCKS = 4, /* of a request */
    LINES_MAX = 300,
    READS = 2,
};

struct writer {
    struct box box;
    uint64_t next;     /* line to be sent */
    uint64_t acked;    /* lines known to be durable */
    unsigned flying;   /* blocks in flight */
    bool rewind;       /* goes back to `next` when nothing of it is in flight */
    uint64_t read_seq; /* next number to be read */
    uint32_t version;
};

struct request {
    struct soak *soak;
    bool busy;
    unsigned count;
    struct writer *writers[BLOCKS];
};

struct standing {
    struct soak *soak;
    bool busy;
    uint64_t acked[BOXES]; /* when it was asked */
    uint64_t next[BOXES];  /* what was asked for */
};

struct soak {
    struct sl_client *ingest, *query;
    struct writer writers[BOXES];
    struct request requests[WINDOW];
    struct standing reads[READS];
    unsigned turn;
    uint64_t random;
    uint64_t faults;
    bool ending;
};

static uint64_t dice(struct soak *s, uint64_t most)
{
    s->random = s->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (s->random >> 33) % most;
}

/* ---- writing ---- */

static void on_appended(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct request *request = arg;
    struct soak *s = request->soak;
    request->busy = false;
    bool ok = fault == 0 && head->status == SL_STATUS_OK;
    s->faults += !ok;
    if (ok)
        sl_append_answer_open(body);
    for (unsigned i = 0; i < request->count; i++) {
        struct writer *writer = request->writers[i];
        struct sl_append_verdict verdict = {.verdict = SL_REFUSED, .offset = writer->acked * LINE_BYTES};
        CHECK(!ok || sl_append_verdict_next(body, &verdict));
        CHECK(verdict.verdict != SL_BURIED);
        writer->flying--;
        if (verdict.verdict <= SL_ALREADY) {
            if (verdict.offset / LINE_BYTES > writer->acked)
                writer->acked = verdict.offset / LINE_BYTES;
            continue;
        }
        /* The broker must not stand before what it acknowledged. */
        CHECK(verdict.offset / LINE_BYTES >= writer->acked || verdict.verdict == SL_REFUSED);
        writer->next = verdict.offset / LINE_BYTES;
        if (verdict.verdict == SL_ELSEWHERE && writer->next > writer->acked)
            writer->acked = writer->next;
        writer->rewind = true;
    }
}

static void fill(struct soak *s, struct request *request)
{
    struct sl_writer w;
    nng_msg *msg = NULL;
    request->count = 0;
    for (unsigned i = 0; i < BOXES && request->count < BLOCKS; i++) {
        struct writer *writer = &s->writers[s->turn++ % BOXES];
        if (writer->rewind && writer->flying > 0)
            continue;
        writer->rewind = false;
        if (s->ending && writer->flying > 0)
            continue;
        /* Lines whose acknowledgement was cut off are followed all the same: their source asks where it
         * stands. */
        if (s->ending && writer->next == writer->acked && writer->read_seq <= writer->acked + 1)
            continue;
        uint64_t count = 1 + dice(s, LINES_MAX);
        if (!msg)
            msg = probe_request(SL_APPEND, SL_APPEND_TARGET_BYTES, &w);
        box_block(&writer->box, writer->next, count, &w);
        writer->next += count;
        writer->flying++;
        request->writers[request->count++] = writer;
    }
    if (!msg)
        return;
    request->busy = true;
    sl_client_ask(s->ingest, msg, &w, 10000, on_appended, request);
}

/* ---- following ---- */

static void on_read(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct standing *standing = arg;
    struct soak *s = standing->soak;
    standing->busy = false;
    if (fault != 0 || head->status != SL_STATUS_OK) {
        s->faults++;
        return;
    }
    uint64_t epoch;
    int64_t now_ns;
    struct sl_read_part part;
    CHECK(sl_read_answer_open(body, &epoch, &now_ns) == 0);
    while (sl_read_part_next(body, &part)) {
        CHECK(part.entry < BOXES);
        struct writer *writer = &s->writers[part.entry];
        CHECK(part.found || standing->acked[part.entry] == 0);
        if (!part.found)
            continue;
        CHECK(part.place.last_seq >= standing->acked[part.entry]);
        writer->version = part.place.version;
        /* Two reads are in flight, and nng may bring their answers in either order. */
        uint64_t next = standing->next[part.entry];
        box_records(&writer->box, part.records, &next);
        CHECK(next <= part.place.last_seq + 1);
        if (next > writer->read_seq)
            writer->read_seq = next;
    }
    CHECK(!body->failed);
}

static void follow(struct soak *s, struct standing *standing)
{
    struct sl_writer w;
    nng_msg *msg = probe_request(SL_READ, 4096, &w);
    struct sl_read read = {.max_bytes = SL_PAGE_MAX_BYTES, .wait_ms = 500, .entries = BOXES};
    sl_read_begin(&w, &read);
    for (unsigned i = 0; i < BOXES; i++) {
        struct sl_read_entry entry = {.sandbox = sl_slice_of(s->writers[i].box.id),
                                      .how = SL_READ_FROM,
                                      .value = s->writers[i].read_seq,
                                      .version = s->writers[i].version};
        sl_read_entry_write(&w, &entry);
        standing->acked[i] = s->writers[i].acked;
        standing->next[i] = s->writers[i].read_seq;
    }
    standing->busy = true;
    sl_client_ask(s->query, msg, &w, 5000, on_read, standing);
}

/* ---- the end ---- */

static bool done(const struct soak *s)
{
    for (unsigned i = 0; i < BOXES; i++) {
        const struct writer *w = &s->writers[i];
        if (w->flying > 0 || w->next != w->acked || w->read_seq != w->acked + 1)
            return false;
    }
    return s->ending;
}

/* What is still missing when it takes too long. */
static void complain(const struct soak *s)
{
    for (unsigned i = 0; i < BOXES; i++) {
        const struct writer *w = &s->writers[i];
        fprintf(stderr, "%s: sent %" PRIu64 ", acknowledged %" PRIu64 ", read to %" PRIu64 ", %u in flight\n",
                w->box.id, w->next, w->acked, w->read_seq - 1, w->flying);
    }
    fprintf(stderr, "connected: ingest %d, query %d; reads in flight: %d %d\n",
            sl_client_connected(s->ingest), sl_client_connected(s->query), s->reads[0].busy,
            s->reads[1].busy);
    fputs("not done in time\n", stderr);
    exit(1);
}

/* Everything once more, page by page, as a reader of the whole log. */
static void read_all(struct soak *s)
{
    uint64_t lines = 0;
    for (unsigned i = 0; i < BOXES; i++) {
        struct writer *writer = &s->writers[i];
        uint64_t next = 1;
        for (bool more = true; more;) {
            struct sl_writer w;
            struct answer answer;
            nng_msg *msg = probe_request(SL_READ, 512, &w);
            struct sl_read read = {.max_bytes = SL_PAGE_MAX_BYTES, .entries = 1};
            struct sl_read_entry entry = {
                .sandbox = sl_slice_of(writer->box.id), .how = SL_READ_FROM, .value = next};
            sl_read_begin(&w, &read);
            sl_read_entry_write(&w, &entry);
            probe_send(s->query, msg, &w, &answer);
            probe_wait(s->query, &answer);
            CHECK(answer.fault == 0 && answer.head.status == SL_STATUS_OK);
            uint64_t epoch;
            int64_t now_ns;
            struct sl_read_part part;
            CHECK(sl_read_answer_open(&answer.body, &epoch, &now_ns) == 0);
            CHECK(sl_read_part_next(&answer.body, &part) && part.found);
            CHECK(part.place.last_seq == writer->acked && part.place.oldest_seq == 1);
            uint64_t before = next;
            box_records(&writer->box, part.records, &next);
            more = part.more;
            CHECK(!more || next > before);
            answer_free(&answer);
        }
        CHECK(next == writer->acked + 1);
        lines += writer->acked;
    }
    printf("%" PRIu64 " lines written, followed and read, %" PRIu64 " requests cut off\n", lines, s->faults);
}

void probe_soak(struct sl_client *ingest, struct sl_client *query)
{
    static struct soak s;
    s = (struct soak){.ingest = ingest, .query = query, .random = 20261121};
    for (unsigned i = 0; i < BOXES; i++) {
        char id[32];
        snprintf(id, sizeof id, "soak-%02u", i);
        s.writers[i] = (struct writer){.box = box_make(id), .read_seq = 1};
    }
    for (unsigned i = 0; i < WINDOW; i++)
        s.requests[i].soak = &s;
    for (unsigned i = 0; i < READS; i++)
        s.reads[i].soak = &s;
    int64_t until_ns = INT64_MAX;
    while (!done(&s)) {
        for (unsigned i = 0; i < WINDOW; i++)
            if (!s.requests[i].busy)
                fill(&s, &s.requests[i]);
        for (unsigned i = 0; i < READS; i++)
            if (!s.reads[i].busy)
                follow(&s, &s.reads[i]);
        struct pollfd fds[] = {{.fd = sl_client_fd(ingest), .events = POLLIN},
                               {.fd = sl_client_fd(query), .events = POLLIN},
                               {.fd = s.ending ? -1 : 0, .events = POLLIN}};
        poll(fds, 3, 50);
        if (fds[2].revents != 0 && !s.ending) {
            s.ending = true;
            until_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S;
        }
        if (sl_monotonic_ns() > until_ns)
            complain(&s);
        sl_client_run(ingest);
        sl_client_run(query);
    }
    read_all(&s);
}

/* ---- load ---- */

struct load {
    struct sl_client *ingest;
    unsigned flying;
    uint64_t bytes;
};

static void on_loaded(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct load *load = arg;
    CHECK(fault == 0 && head->status == SL_STATUS_OK);
    sl_append_answer_open(body);
    struct sl_append_verdict verdict;
    while (sl_append_verdict_next(body, &verdict))
        CHECK(verdict.verdict == SL_TAKEN);
    load->flying--;
}

/* Blocks of 64 KiB that LZ4 can't shrink, four to a request, eight requests in flight. */
void probe_load(struct sl_client *ingest, unsigned seconds)
{
    enum { TEXT_BYTES = 1000, LINES = 64, MANY = 64 };
    struct sl_block_builder *builder;
    CHECK(sl_block_builder_new(&builder) == 0);
    struct load load = {.ingest = ingest};
    struct box boxes[MANY];
    uint64_t at[MANY] = {0};
    char text[TEXT_BYTES + LINES];
    uint64_t random = (uint64_t)sl_now_ns();
    for (size_t i = 0; i < sizeof text; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        text[i] = (char)(random >> 56);
    }
    for (unsigned i = 0; i < MANY; i++) {
        char id[64];
        snprintf(id, sizeof id, "%02u-%" PRIx64, i, (uint64_t)sl_now_ns());
        boxes[i] = box_make(id);
    }
    int64_t began_ns = sl_monotonic_ns(), until_ns = began_ns + (int64_t)seconds * SL_NS_PER_S;
    for (unsigned turn = 0; load.flying > 0 || sl_monotonic_ns() < until_ns;) {
        while (load.flying < WINDOW && sl_monotonic_ns() < until_ns) {
            struct sl_writer w;
            nng_msg *msg = probe_request(SL_APPEND, SL_APPEND_TARGET_BYTES + 65536, &w);
            for (unsigned i = 0; i < 4; i++, turn++) {
                const struct box *box = &boxes[turn % MANY];
                sl_block_builder_reset(builder, sl_slice_of(box->id));
                for (unsigned n = 0; n < LINES; n++) {
                    struct sl_line line = {.time_ns = sl_now_ns(), .text = sl_slice(text + n, TEXT_BYTES)};
                    sl_block_builder_add(builder, &line, sl_slice_of("main"));
                }
                struct sl_block_header facts = {.codec = SL_CODEC_NONE,
                                                .range = {box->source, at[turn % MANY], at[turn % MANY] + 1},
                                                .open_from = ++at[turn % MANY]};
                uint8_t *room = w.data + w.bytes + SL_APPEND_ITEM_HEAD_BYTES;
                size_t bytes = sl_block_builder_encode(builder, &facts, 0, room,
                                                       w.capacity - w.bytes - SL_APPEND_ITEM_HEAD_BYTES);
                sl_write_u8(&w, SL_RECORD_BLOCK);
                sl_write_u32(&w, (uint32_t)bytes);
                w.bytes += bytes;
                load.bytes += bytes;
            }
            load.flying++;
            sl_client_ask(ingest, msg, &w, 10000, on_loaded, &load);
        }
        struct pollfd fd = {.fd = sl_client_fd(ingest), .events = POLLIN};
        poll(&fd, 1, 50);
        sl_client_run(ingest);
    }
    double took = (double)(sl_monotonic_ns() - began_ns) / 1e9;
    printf("%.0f MB/s of blocks acknowledged (%.0f MB in %.1f s)\n", (double)load.bytes / 1e6 / took,
           (double)load.bytes / 1e6, took);
    sl_block_builder_free(builder);
}
