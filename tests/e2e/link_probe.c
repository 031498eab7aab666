// SPDX-License-Identifier: Apache-2.0
/*
 * link_probe INGEST QUERY claims            what a broker answers to each request, once
 * link_probe INGEST QUERY soak              writes and follows until stdin ends, then checks that all is
 * there link_probe INGEST QUERY load SECONDS      how fast it takes blocks link_probe INGEST QUERY put ID
 * STATE      sets running or stopped link_probe INGEST QUERY await ID STATE S  waits that long for a state
 */
#include "link_probe.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>

/* ---- made-up sandboxes ---- */

struct box box_make(const char *id)
{
    struct box box = {.source.incarnation = 1};
    snprintf(box.id, sizeof box.id, "%s", id);
    snprintf((char *)box.source.key, sizeof box.source.key, "%.15s", id);
    return box;
}

void box_line(const struct box *box, uint64_t n, char out[LINE_BYTES])
{
    uint64_t check = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    int bytes = snprintf(out, LINE_BYTES, "%.24s %" PRIu64 " %" PRIx64 " ", box->id, n, check);
    memset(out + bytes, 'a' + (int)(check >> 32) % 26, (size_t)(LINE_BYTES - 1 - bytes));
}

void box_block(const struct box *box, uint64_t from, uint64_t count, struct sl_writer *w)
{
    static struct sl_block_builder *builder;
    if (!builder)
        CHECK(sl_block_builder_new(&builder) == 0);
    sl_block_builder_reset(builder, sl_slice_of(box->id));
    for (uint64_t n = from; n < from + count; n++) {
        char text[LINE_BYTES];
        box_line(box, n, text);
        struct sl_line line = {.time_ns = (int64_t)(n + 1) * SL_NS_PER_MS,
                               .text = sl_slice(text, LINE_BYTES - 1)};
        CHECK(sl_block_builder_add(builder, &line, sl_slice_of("main")) == 0);
    }
    struct sl_block_header facts = {
        .codec = SL_CODEC_LZ4,
        .range = {.source = box->source, .from = from * LINE_BYTES, .to = (from + count) * LINE_BYTES},
        .open_from = (from + count) * LINE_BYTES,
    };
    size_t bound = sl_block_builder_bound(builder);
    uint8_t *room = w->data + w->bytes + SL_APPEND_ITEM_HEAD_BYTES;
    CHECK(w->capacity - w->bytes >= SL_APPEND_ITEM_HEAD_BYTES + bound);
    size_t bytes = sl_block_builder_encode(builder, &facts, 0, room, bound);
    sl_write_u8(w, SL_RECORD_BLOCK);
    sl_write_u32(w, (uint32_t)bytes);
    w->bytes += bytes;
}

void box_records(const struct box *box, struct sl_slice records, uint64_t *next)
{
    static uint8_t scratch[SL_BLOCK_RAW_MAX_BYTES];
    while (records.bytes > 0) {
        struct sl_record record;
        struct sl_slice payload;
        struct sl_block_header header;
        CHECK(sl_record_check(records, &record, &payload, &header) == SL_RECORD_OK);
        CHECK(sl_slice_equal(header.sandbox, sl_slice_of(box->id)));
        CHECK(record.first_seq <= *next);
        struct sl_block_lines it;
        CHECK(sl_block_lines_open(&it, payload, &header, scratch, sizeof scratch) == 0);
        struct sl_line line;
        uint64_t seq = record.first_seq;
        for (; sl_block_lines_next(&it, &line); seq++) {
            char text[LINE_BYTES];
            box_line(box, seq - 1, text);
            CHECK(sl_slice_equal(line.text, sl_slice(text, LINE_BYTES - 1)));
        }
        if (seq > *next)
            *next = seq;
        size_t taken = SL_RECORD_PREFIX_BYTES + record.payload_bytes;
        records = sl_slice(records.data + taken, records.bytes - taken);
    }
}

/* ---- asking ---- */

struct sl_client *probe_dial(const char *url, uint8_t role, const char *host)
{
    struct sl_client_options options = {.urls = &url, .url_count = 1, .role = role, .host = host};
    struct sl_client *client;
    CHECK(sl_client_new(&options, &client) == 0);
    return client;
}

nng_msg *probe_request(uint8_t type, size_t capacity, struct sl_writer *ret_w)
{
    nng_msg *msg;
    CHECK(sl_client_message_new(type, capacity, &msg, ret_w) == 0);
    return msg;
}

static void on_answered(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct answer *answer = arg;
    answer->came = true;
    answer->at_ns = sl_monotonic_ns();
    answer->fault = fault;
    if (fault != 0)
        return;
    answer->head = *head;
    size_t bytes = sl_reader_left(body);
    answer->bytes = malloc(bytes + 1);
    CHECK(answer->bytes);
    memcpy(answer->bytes, body->at, bytes);
    answer->body = sl_reader(sl_slice(answer->bytes, bytes));
}

void probe_send(struct sl_client *c, nng_msg *msg, const struct sl_writer *w, struct answer *answer)
{
    *answer = (struct answer){0};
    CHECK(!w->failed);
    sl_client_ask(c, msg, w, 14000, on_answered, answer);
}

void probe_wait(struct sl_client *c, struct answer *answer)
{
    int64_t until_ns = sl_monotonic_ns() + 15 * SL_NS_PER_S;
    sl_client_run(c);
    while (!answer->came) {
        CHECK(sl_monotonic_ns() < until_ns);
        struct pollfd fd = {.fd = sl_client_fd(c), .events = POLLIN};
        poll(&fd, 1, 50);
        sl_client_run(c);
    }
}

void answer_free(struct answer *answer)
{
    free(answer->bytes);
    answer->bytes = NULL;
}

/* ---- put and await ---- */

static uint8_t state_of(const char *name)
{
    return strcmp(name, "stopped") == 0    ? SL_STOPPED
           : strcmp(name, "stopping") == 0 ? SL_STOPPING
                                           : SL_RUNNING;
}

static void put(struct sl_client *query, const char *id, const char *state)
{
    struct sl_change change = {
        .fields = SL_CHANGE_STATE, .state = state_of(state), .sandbox = sl_slice_of(id)};
    struct sl_writer w;
    struct answer answer;
    nng_msg *msg = probe_request(SL_PUT, 512, &w);
    sl_change_encode(&w, &change);
    probe_send(query, msg, &w, &answer);
    probe_wait(query, &answer);
    CHECK(answer.fault == 0 && answer.head.status == SL_STATUS_OK);
    answer_free(&answer);
}

static void await(struct sl_client *query, const char *id, const char *state, int64_t seconds)
{
    int64_t until_ns = sl_monotonic_ns() + seconds * SL_NS_PER_S;
    uint32_t version = 0;
    for (;;) {
        struct sl_read read = {.max_bytes = 1, .wait_ms = 1000, .entries = 1};
        struct sl_read_entry entry = {
            .sandbox = sl_slice_of(id), .how = SL_READ_FROM, .value = UINT64_MAX / 2, .version = version};
        struct sl_writer w;
        struct answer answer;
        nng_msg *msg = probe_request(SL_READ, 512, &w);
        sl_read_begin(&w, &read);
        sl_read_entry_write(&w, &entry);
        probe_send(query, msg, &w, &answer);
        probe_wait(query, &answer);
        CHECK(answer.fault == 0 && answer.head.status == SL_STATUS_OK);
        uint64_t epoch;
        int64_t now_ns;
        struct sl_read_part part;
        CHECK(sl_read_answer_open(&answer.body, &epoch, &now_ns) == 0);
        while (sl_read_part_next(&answer.body, &part)) {
            version = part.place.version;
            if (part.found && part.place.state == state_of(state)) {
                answer_free(&answer);
                return;
            }
        }
        answer_free(&answer);
        CHECK(sl_monotonic_ns() < until_ns);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc >= 4);
    struct sl_client *ingest = probe_dial(argv[1], SL_ROLE_COLLECTOR, "probe-host");
    struct sl_client *query = probe_dial(argv[2], SL_ROLE_GATEWAY, "");
    if (strcmp(argv[3], "claims") == 0)
        probe_claims(ingest, query);
    else if (strcmp(argv[3], "soak") == 0)
        probe_soak(ingest, query);
    else if (strcmp(argv[3], "load") == 0 && argc == 5)
        probe_load(ingest, (unsigned)atoi(argv[4]));
    else if (strcmp(argv[3], "put") == 0 && argc == 6)
        put(query, argv[4], argv[5]);
    else if (strcmp(argv[3], "await") == 0 && argc == 7)
        await(query, argv[4], argv[5], atoi(argv[6]));
    else {
        fprintf(stderr, "link_probe: %s: no such command\n", argv[3]);
        return 2;
    }
    sl_client_free(ingest);
    sl_client_free(query);
    return 0;
}
