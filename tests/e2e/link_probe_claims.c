// SPDX-License-Identifier: Apache-2.0
/* What a broker answers to each request. */
#include "link_probe.h"

#include <poll.h>

static struct sl_client *ingest_link, *query_link;

/* ---- helpers: one request, its answer ---- */

enum { APPEND_CAPACITY = 512 << 10 };

struct appended {
    uint32_t retry_ms;
    struct sl_append_verdict verdict[8];
    unsigned count;
};

static struct appended append_end(nng_msg *msg, const struct sl_writer *w)
{
    struct answer answer;
    probe_send(ingest_link, msg, w, &answer);
    probe_wait(ingest_link, &answer);
    CHECK(answer.fault == 0 && answer.head.status == SL_STATUS_OK);
    struct appended a = {.retry_ms = sl_append_answer_open(&answer.body)};
    while (a.count < 8 && sl_append_verdict_next(&answer.body, &a.verdict[a.count]))
        a.count++;
    CHECK(!answer.body.failed && sl_reader_left(&answer.body) == 0);
    answer_free(&answer);
    return a;
}

static struct appended append(const struct box *box, uint64_t from, uint64_t count)
{
    struct sl_writer w;
    nng_msg *msg = probe_request(SL_APPEND, APPEND_CAPACITY, &w);
    box_block(box, from, count, &w);
    return append_end(msg, &w);
}

static void change(const struct box *box, uint8_t state)
{
    struct sl_change c = {
        .fields = SL_CHANGE_HOST, .sandbox = sl_slice_of(box->id), .host = sl_slice_of("probe-host")};
    if (state != 0) {
        c.fields |= SL_CHANGE_STATE;
        c.state = state;
    }
    uint8_t bytes[512];
    struct sl_writer cw = sl_writer(bytes, sizeof bytes), w;
    sl_change_encode(&cw, &c);
    nng_msg *msg = probe_request(SL_APPEND, 1024, &w);
    sl_append_item_write(&w, SL_RECORD_CHANGE, sl_slice(bytes, cw.bytes));
    struct appended a = append_end(msg, &w);
    CHECK(a.count == 1 && a.verdict[0].verdict == SL_TAKEN);
}

static void read_send(struct answer *answer, uint32_t max_bytes, uint32_t wait_ms,
                      const struct sl_read_entry *entries, uint16_t count)
{
    struct sl_writer w;
    struct sl_read read = {.max_bytes = max_bytes, .wait_ms = wait_ms, .entries = count};
    nng_msg *msg = probe_request(SL_READ, 64 << 10, &w);
    sl_read_begin(&w, &read);
    for (uint16_t i = 0; i < count; i++)
        sl_read_entry_write(&w, &entries[i]);
    probe_send(query_link, msg, &w, answer);
}

static void read_open(struct answer *answer)
{
    uint64_t epoch;
    int64_t now_ns;
    CHECK(answer->fault == 0 && answer->head.status == SL_STATUS_OK);
    CHECK(sl_read_answer_open(&answer->body, &epoch, &now_ns) == 0 && epoch != 0 && now_ns > 0);
}

/* One entry read at once: checks its lines, and says where they begin and end. */
static struct sl_read_part read_one(const struct box *box, uint8_t how, uint64_t value, uint32_t max_bytes,
                                    uint64_t *ret_first, uint64_t *ret_next)
{
    struct sl_read_entry entry = {.sandbox = sl_slice_of(box->id), .how = how, .value = value};
    struct answer answer;
    read_send(&answer, max_bytes, 0, &entry, 1);
    probe_wait(query_link, &answer);
    read_open(&answer);
    struct sl_read_part part;
    CHECK(sl_read_part_next(&answer.body, &part) && part.entry == 0);
    *ret_first = 0;
    struct sl_record record;
    if (part.records.bytes > 0 && sl_record_decode_prefix(part.records, &record) == 0)
        *ret_first = record.first_seq;
    *ret_next = *ret_first;
    box_records(box, part.records, ret_next);
    part.records.data = NULL;
    CHECK(sl_reader_left(&answer.body) == 0);
    answer_free(&answer);
    return part;
}

static uint8_t ask_id(uint8_t type, const char *id, struct answer *answer)
{
    struct sl_writer w;
    nng_msg *msg = probe_request(type, 512, &w);
    sl_id_write(&w, sl_slice_of(id));
    probe_send(query_link, msg, &w, answer);
    probe_wait(query_link, answer);
    CHECK(answer->fault == 0);
    return answer->head.status;
}

static uint8_t state_now(const char *id)
{
    struct answer answer;
    uint64_t epoch, page;
    struct sl_info info;
    CHECK(ask_id(SL_INFO, id, &answer) == SL_STATUS_OK);
    CHECK(sl_list_answer_open(&answer.body, &epoch, &page) == 0 && sl_info_next(&answer.body, &info));
    answer_free(&answer);
    return info.place.state;
}

/* ---- claims ---- */

static void a_block_is_taken_once_and_only_where_its_source_stands(void)
{
    struct box box = box_make("claim-append");
    struct appended a = append(&box, 0, 10);
    CHECK(a.count == 1 && a.verdict[0].verdict == SL_TAKEN && a.verdict[0].offset == 10 * LINE_BYTES);
    a = append(&box, 0, 10);
    CHECK(a.verdict[0].verdict == SL_ALREADY && a.verdict[0].offset == 10 * LINE_BYTES);
    a = append(&box, 20, 10);
    CHECK(a.verdict[0].verdict == SL_ELSEWHERE && a.verdict[0].offset == 10 * LINE_BYTES &&
          a.verdict[0].incarnation == 1);
}

static void a_damaged_item_is_refused_alone(void)
{
    struct box box = box_make("claim-damage"), other = box_make("claim-well");
    CHECK(append(&box, 0, 5).verdict[0].verdict == SL_TAKEN);
    struct sl_writer w;
    nng_msg *msg = probe_request(SL_APPEND, APPEND_CAPACITY, &w);
    box_block(&box, 5, 5, &w);
    w.data[w.bytes - 3] ^= 0x10;
    box_block(&other, 0, 5, &w);
    sl_append_item_write(&w, SL_RECORD_CHANGE, sl_slice_of("nonsense"));
    struct appended a = append_end(msg, &w);
    CHECK(a.count == 3 && a.retry_ms > 0);
    CHECK(a.verdict[0].verdict == SL_REFUSED && a.verdict[0].offset == 5 * LINE_BYTES);
    CHECK(a.verdict[1].verdict == SL_TAKEN && a.verdict[2].verdict == SL_REFUSED);
    uint64_t first, next;
    read_one(&box, SL_READ_FROM, 1, SL_PAGE_MAX_BYTES, &first, &next);
    CHECK(next == 6);
}

static void every_way_of_reading_finds_its_lines(void)
{
    struct box box = box_make("claim-read");
    for (uint64_t n = 0; n < 100; n += 10)
        CHECK(append(&box, n, 10).verdict[0].verdict == SL_TAKEN);
    uint64_t first, next;
    struct sl_read_part p = read_one(&box, SL_READ_FROM, 1, SL_PAGE_MAX_BYTES, &first, &next);
    CHECK(p.found && !p.more && first == 1 && next == 101 && p.place.last_seq == 100);
    CHECK(p.place.oldest_seq == 1 && p.place.state == SL_RUNNING && p.place.birth != 0);
    read_one(&box, SL_READ_FROM, 15, SL_PAGE_MAX_BYTES, &first, &next);
    CHECK(first == 11 && next == 101);
    read_one(&box, SL_READ_TAIL, 5, SL_PAGE_MAX_BYTES, &first, &next);
    CHECK(first == 91 && next == 101);
    read_one(&box, SL_READ_TAIL, 1000, SL_PAGE_MAX_BYTES, &first, &next);
    CHECK(first == 1 && next == 101);
    p = read_one(&box, SL_READ_TAIL, 0, SL_PAGE_MAX_BYTES, &first, &next);
    CHECK(p.found && first == 0 && p.place.last_seq == 100);
    read_one(&box, SL_READ_TIME, 45 * SL_NS_PER_MS, SL_PAGE_MAX_BYTES, &first, &next);
    CHECK(first == 41 && next == 101);
    p = read_one(&box, SL_READ_TIME, 4500 * SL_NS_PER_MS, SL_PAGE_MAX_BYTES, &first, &next);
    CHECK(p.found && first == 0);
    p = read_one(&box, SL_READ_BEFORE, 15, SL_PAGE_MAX_BYTES, &first, &next);
    CHECK(first == 1 && next == 21 && !p.more);
    p = read_one(&box, SL_READ_BEFORE, 41, 1, &first, &next);
    CHECK(first == 31 && next == 41 && p.more);
    p = read_one(&box, SL_READ_BEFORE, 1000, 1, &first, &next);
    CHECK(first == 91 && next == 101 && p.more);
    p = read_one(&box, SL_READ_BEFORE, 1, 1000, &first, &next);
    CHECK(first == 0 && !p.more);
    p = read_one(&box, SL_READ_FROM, 1, 1, &first, &next);
    CHECK(first == 1 && next == 11 && p.more);
    p = read_one(&box, SL_READ_FROM, 101, 1000, &first, &next);
    CHECK(p.found && first == 0 && !p.more);
    struct box nobody = box_make("claim-nobody");
    CHECK(!read_one(&nobody, SL_READ_FROM, 1, 1000, &first, &next).found);
}

static void a_page_is_shared_by_all_that_have_something(void)
{
    enum { MANY = 40 };
    struct box boxes[MANY];
    struct sl_read_entry entries[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        char id[32];
        snprintf(id, sizeof id, "claim-share-%u", i);
        boxes[i] = box_make(id);
        for (uint64_t n = 0; n < 40; n += 10)
            append(&boxes[i], n, 10);
        entries[i] =
            (struct sl_read_entry){.sandbox = sl_slice_of(boxes[i].id), .how = SL_READ_FROM, .value = 1};
    }
    struct answer answer;
    read_send(&answer, 16000, 0, entries, MANY);
    probe_wait(query_link, &answer);
    read_open(&answer);
    struct sl_read_part part;
    unsigned parts = 0, fed = 0;
    size_t bytes = 0;
    while (sl_read_part_next(&answer.body, &part)) {
        CHECK(part.entry == parts && part.found && part.more);
        uint64_t next = 1;
        box_records(&boxes[parts++], part.records, &next);
        fed += next > 1;
        bytes += part.records.bytes;
    }
    CHECK(parts == MANY && fed > MANY / 2 && bytes <= 16000 + 2000);
    answer_free(&answer);
}

/* Sends one line and says how long after its acknowledgement a parked read had it. */
static int64_t one_line_later(const struct box *box, uint64_t n, uint32_t version)
{
    struct sl_read_entry entry = {
        .sandbox = sl_slice_of(box->id), .how = SL_READ_FROM, .value = n + 1, .version = version};
    struct answer reading, writing;
    read_send(&reading, 1000, 5000, &entry, 1);
    struct sl_writer w;
    nng_msg *msg = probe_request(SL_APPEND, APPEND_CAPACITY, &w);
    box_block(box, n, 1, &w);
    /* The read is parked when a later request of the same link has been answered. */
    CHECK(state_now(box->id) == SL_RUNNING && !reading.came);
    probe_send(ingest_link, msg, &w, &writing);
    while (!reading.came || !writing.came) {
        struct pollfd fds[] = {{.fd = sl_client_fd(ingest_link), .events = POLLIN},
                               {.fd = sl_client_fd(query_link), .events = POLLIN}};
        poll(fds, 2, 50);
        sl_client_run(ingest_link);
        sl_client_run(query_link);
    }
    read_open(&reading);
    struct sl_read_part part;
    CHECK(sl_read_part_next(&reading.body, &part) && part.place.last_seq == n + 1);
    uint64_t next = n + 1;
    box_records(box, part.records, &next);
    CHECK(next == n + 2);
    answer_free(&reading);
    answer_free(&writing);
    return reading.at_ns - writing.at_ns;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void a_read_that_waits_is_answered_by_the_next_line(void)
{
    enum { TIMES = 50 };
    struct box box = box_make("claim-follow");
    append(&box, 0, 1);
    uint64_t first, next;
    uint32_t version = read_one(&box, SL_READ_FROM, 1, 1000, &first, &next).place.version;
    int64_t later[TIMES];
    for (unsigned i = 0; i < TIMES; i++)
        later[i] = one_line_later(&box, i + 1, version);
    qsort(later, TIMES, sizeof *later, ascending);
    int64_t median = later[TIMES / 2];
    printf("a standing read has a line %.3f ms after its acknowledgement (median of %d; worst %.3f)\n",
           (double)median / 1e6, TIMES, (double)later[TIMES - 1] / 1e6);
}

static void a_read_that_waits_is_answered_with_nothing_when_its_time_is_up(void)
{
    struct box box = box_make("claim-patience");
    struct sl_read_entry entry = {.sandbox = sl_slice_of(box.id), .how = SL_READ_FROM, .value = 1};
    struct answer answer;
    int64_t began_ns = sl_monotonic_ns();
    read_send(&answer, 1000, 150, &entry, 1);
    probe_wait(query_link, &answer);
    read_open(&answer);
    CHECK(sl_reader_left(&answer.body) == 0 && answer.at_ns - began_ns >= 150 * SL_NS_PER_MS);
    answer_free(&answer);
    /* An unknown sandbox wakes who waits for it when it appears. */
    read_send(&answer, 1000, 10000, &entry, 1);
    CHECK(append(&box, 0, 1).verdict[0].verdict == SL_TAKEN);
    probe_wait(query_link, &answer);
    read_open(&answer);
    struct sl_read_part part;
    uint64_t next = 1;
    CHECK(sl_read_part_next(&answer.body, &part) && part.found);
    box_records(&box, part.records, &next);
    CHECK(next == 2);
    answer_free(&answer);
}

static void sources_stand_where_they_were_acknowledged(void)
{
    struct box box = box_make("claim-sources");
    append(&box, 0, 7);
    struct sl_writer w;
    struct answer answer;
    nng_msg *msg = probe_request(SL_SOURCES, 512, &w);
    sl_id_write(&w, sl_slice_of("claim-nobody"));
    sl_id_write(&w, sl_slice_of(box.id));
    probe_send(ingest_link, msg, &w, &answer);
    probe_wait(ingest_link, &answer);
    CHECK(answer.fault == 0 && answer.head.status == SL_STATUS_OK);
    struct sl_slice id;
    uint32_t count;
    struct sl_source_place place;
    CHECK(sl_sources_next(&answer.body, &id, &count) && count == 0);
    CHECK(sl_sources_next(&answer.body, &id, &count) && count == 1);
    CHECK(sl_source_place_next(&answer.body, &place) && place.offset == 7 * LINE_BYTES);
    CHECK(memcmp(place.source.key, box.source.key, sizeof place.source.key) == 0);
    CHECK(sl_reader_left(&answer.body) == 0);
    answer_free(&answer);
}

static struct answer notices_send(struct answer *answer, uint64_t seen)
{
    struct sl_writer w;
    nng_msg *msg = probe_request(SL_NOTICES, 64, &w);
    sl_notices_encode(&w, seen, 10000);
    probe_send(ingest_link, msg, &w, answer);
    return *answer;
}

static void a_stop_is_told_to_the_collector_and_ends_with_its_word(void)
{
    struct box box = box_make("claim-stop");
    append(&box, 0, 3);
    change(&box, 0);
    struct answer notices, answer;
    notices_send(&notices, 0);
    struct sl_change put = {.fields = SL_CHANGE_STATE | SL_CHANGE_EXIT,
                            .state = SL_STOPPED,
                            .exit_code = 137,
                            .sandbox = sl_slice_of(box.id)};
    struct sl_writer w;
    nng_msg *msg = probe_request(SL_PUT, 512, &w);
    sl_change_encode(&w, &put);
    probe_send(query_link, msg, &w, &answer);
    probe_wait(query_link, &answer);
    uint64_t epoch, page, version;
    struct sl_info info;
    CHECK(answer.head.status == SL_STATUS_OK && sl_list_answer_open(&answer.body, &epoch, &page) == 0);
    CHECK(sl_info_next(&answer.body, &info) && info.place.state == SL_STOPPING);
    CHECK(info.place.has_exit && info.place.exit_code == 137 && info.lines == 3);
    answer_free(&answer);
    probe_wait(ingest_link, &notices);
    struct sl_slice id;
    CHECK(notices.head.status == SL_STATUS_OK && sl_notices_answer_open(&notices.body, &version) == 0);
    CHECK(sl_id_next(&notices.body, &id) && sl_slice_equal(id, sl_slice_of(box.id)));
    CHECK(sl_reader_left(&notices.body) == 0);
    answer_free(&notices);
    notices_send(&notices, version);
    append(&box, 3, 2);
    CHECK(state_now(box.id) == SL_STOPPING && !notices.came);
    change(&box, SL_STOPPED);
    CHECK(state_now(box.id) == SL_STOPPED);
    uint64_t first, next;
    struct sl_read_part p = read_one(&box, SL_READ_FROM, 1, 10000, &first, &next);
    CHECK(p.place.state == SL_STOPPED && p.place.exit_code == 137 && next == 6);
}

static void a_deleted_sandbox_is_gone_and_its_source_buried(void)
{
    struct box box = box_make("claim-delete");
    append(&box, 0, 3);
    uint64_t first, next;
    uint32_t version = read_one(&box, SL_READ_FROM, 1, 1000, &first, &next).place.version;
    struct sl_read_entry entry = {
        .sandbox = sl_slice_of(box.id), .how = SL_READ_FROM, .value = 4, .version = version};
    struct answer waiting, answer;
    read_send(&waiting, 1000, 10000, &entry, 1);
    CHECK(ask_id(SL_DELETE, box.id, &answer) == SL_STATUS_OK);
    answer_free(&answer);
    probe_wait(query_link, &waiting);
    read_open(&waiting);
    struct sl_read_part part;
    CHECK(sl_read_part_next(&waiting.body, &part) && !part.found);
    answer_free(&waiting);
    CHECK(ask_id(SL_INFO, box.id, &answer) == SL_STATUS_NOT_FOUND);
    answer_free(&answer);
    CHECK(ask_id(SL_DELETE, box.id, &answer) == SL_STATUS_NOT_FOUND);
    answer_free(&answer);
    CHECK(append(&box, 3, 1).verdict[0].verdict == SL_BURIED);
}

/* How many sandboxes of this prefix all pages name, and how many pages they are. */
static unsigned list_all(const char *prefix, uint16_t limit, unsigned *ret_pages)
{
    uint64_t page = 0;
    unsigned seen = 0, pages = 0;
    do {
        struct sl_list list = {.limit = limit, .page = page, .prefix = sl_slice_of(prefix)};
        struct sl_writer w;
        struct answer answer;
        nng_msg *msg = probe_request(SL_LIST, 512, &w);
        sl_list_encode(&w, &list);
        probe_send(query_link, msg, &w, &answer);
        probe_wait(query_link, &answer);
        uint64_t epoch;
        struct sl_info info;
        CHECK(answer.fault == 0 && answer.head.status == SL_STATUS_OK);
        CHECK(sl_list_answer_open(&answer.body, &epoch, &page) == 0);
        while (sl_info_next(&answer.body, &info))
            seen++;
        CHECK(!answer.body.failed);
        answer_free(&answer);
        pages++;
    } while (page != 0);
    *ret_pages = pages;
    return seen;
}

static void a_list_goes_page_by_page_and_names_each_once(void)
{
    unsigned pages;
    CHECK(list_all("claim-share-", 7, &pages) == 40 && pages >= 6);
}

/* Each sandbox carries all the labels there may be, 272 KiB, so that a list of them does not fit into an
 * answer. */
static void a_list_too_large_for_a_message_is_cut_into_pages(void)
{
    enum { MANY = 12, PAIRS_BYTES = SL_LABELS_MAX * (SL_LABEL_VALUE_MAX_BYTES + 16) };
    uint8_t *pairs = malloc(PAIRS_BYTES);
    char *value = malloc(SL_LABEL_VALUE_MAX_BYTES);
    CHECK(pairs && value);
    memset(value, 'v', SL_LABEL_VALUE_MAX_BYTES);
    struct sl_writer pw = sl_writer(pairs, PAIRS_BYTES);
    for (unsigned i = 0; i < SL_LABELS_MAX; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%u", i);
        sl_label_write(&pw, sl_slice_of(key), sl_slice(value, SL_LABEL_VALUE_MAX_BYTES));
    }
    CHECK(!pw.failed);
    for (unsigned i = 0; i < MANY; i++) {
        char id[32];
        snprintf(id, sizeof id, "claim-large-%u", i);
        struct sl_change put = {.fields = SL_CHANGE_LABELS,
                                .sandbox = sl_slice_of(id),
                                .labels = SL_LABELS_MAX,
                                .label_pairs = sl_slice(pairs, pw.bytes)};
        struct sl_writer w;
        struct answer answer;
        nng_msg *msg = probe_request(SL_PUT, PAIRS_BYTES + 512, &w);
        sl_change_encode(&w, &put);
        probe_send(query_link, msg, &w, &answer);
        probe_wait(query_link, &answer);
        CHECK(answer.fault == 0 && answer.head.status == SL_STATUS_OK);
        answer_free(&answer);
    }
    free(pairs);
    free(value);
    unsigned pages;
    CHECK(list_all("claim-large-", SL_LIST_MAX, &pages) == MANY && pages >= 2);
}

static void nonsense_is_called_so(void)
{
    static const struct {
        const char *body;
        uint8_t type;
        uint8_t status;
    } cases[] = {
        {"nonsense", SL_READ, SL_STATUS_MALFORMED},  {"nonsense", SL_INFO, SL_STATUS_MALFORMED},
        {"nonsense", SL_LIST, SL_STATUS_MALFORMED},  {"nonsense", SL_PUT, SL_STATUS_MALFORMED},
        {"\003../", SL_DELETE, SL_STATUS_MALFORMED}, {"nonsense", SL_APPEND, SL_STATUS_NEWER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sl_writer w;
        struct answer answer;
        nng_msg *msg = probe_request(cases[i].type, 64, &w);
        sl_write_slice(&w, sl_slice_of(cases[i].body));
        probe_send(query_link, msg, &w, &answer);
        probe_wait(query_link, &answer);
        CHECK(answer.fault == 0 && answer.head.status == cases[i].status);
        answer_free(&answer);
    }
}

void probe_claims(struct sl_client *ingest, struct sl_client *query)
{
    ingest_link = ingest;
    query_link = query;
    a_block_is_taken_once_and_only_where_its_source_stands();
    a_damaged_item_is_refused_alone();
    every_way_of_reading_finds_its_lines();
    a_page_is_shared_by_all_that_have_something();
    a_read_that_waits_is_answered_by_the_next_line();
    a_read_that_waits_is_answered_with_nothing_when_its_time_is_up();
    sources_stand_where_they_were_acknowledged();
    a_list_goes_page_by_page_and_names_each_once();
    a_list_too_large_for_a_message_is_cut_into_pages();
    a_deleted_sandbox_is_gone_and_its_source_buried();
    nonsense_is_called_so();
    a_stop_is_told_to_the_collector_and_ends_with_its_word();
    puts("all claims hold");
}
