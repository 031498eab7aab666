// SPDX-License-Identifier: Apache-2.0
/*
 * Prints what a broker holds of a sandbox, past every gateway: `dump QUERY_URL SANDBOX`. One JSON object a
 * line, text in hexadecimal: lines and gaps in order, last the sandbox's state. Exit status 3: no such
 * sandbox.
 */
#include "wire/link_client.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    bool came;
    int fault;
    uint8_t status;
    uint8_t *body;
    size_t bytes;
} answer;

static void changed(void *arg, bool connected, uint64_t epoch, const char *why)
{
    (void)arg, (void)connected, (void)epoch, (void)why;
}

static void answered(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    (void)arg;
    free(answer.body);
    answer.came = true;
    answer.fault = fault;
    answer.body = NULL;
    answer.bytes = 0;
    if (fault != 0)
        return;
    answer.status = head->status;
    answer.bytes = sl_reader_left(body);
    answer.body = malloc(answer.bytes + 1);
    if (!answer.body)
        exit(1);
    memcpy(answer.body, body->at, answer.bytes);
}

static struct sl_reader ask(struct sl_client *c, nng_msg *message, const struct sl_writer *w)
{
    do { /* the connection may go: a broker that replaces its listener lets go all of its peers */
        nng_msg *copy;
        if (nng_msg_dup(&copy, message) != 0)
            exit(1);
        struct sl_writer end = *w;
        end.data = nng_msg_body(copy);
        answer.came = false;
        sl_client_ask(c, copy, &end, 20000, answered, NULL);
        while (!answer.came) {
            struct pollfd fd = {.fd = sl_client_fd(c), .events = POLLIN};
            poll(&fd, 1, 20);
            sl_client_run(c);
        }
    } while (answer.fault == -ECONNRESET);
    nng_msg_free(message);
    if (answer.fault != 0) {
        fprintf(stderr, "dump: %s\n", strerror(-answer.fault));
        exit(1);
    }
    if (answer.status == SL_STATUS_NOT_FOUND)
        exit(3);
    return sl_reader(sl_slice(answer.body, answer.bytes));
}

static void print_record(struct sl_slice record, uint64_t *next)
{
    static uint8_t scratch[SL_BLOCK_RAW_MAX_BYTES];
    struct sl_record prefix;
    struct sl_slice block;
    struct sl_block_header h;
    struct sl_block_lines it;
    struct sl_line line;
    if (sl_record_check(record, &prefix, &block, &h) != 0) {
        fprintf(stderr, "dump: a record that is none\n");
        exit(1);
    }
    if (h.flags & SL_BLOCK_GAP) {
        if (prefix.first_seq >= *next)
            printf("{\"event\":\"gap\",\"reason\":\"%s\",\"next\":%llu}\n", sl_gap_reason_name(h.gap_reason),
                   (unsigned long long)prefix.first_seq);
        return;
    }
    if (sl_block_lines_open(&it, block, &h, scratch, sizeof scratch) != 0) {
        fprintf(stderr, "dump: a damaged block\n");
        exit(1);
    }
    uint64_t seq = prefix.first_seq;
    for (; sl_block_lines_next(&it, &line); seq++) {
        if (seq < *next)
            continue;
        char time[SL_TIME_TEXT_BYTES];
        struct sl_slice container = sl_block_container(&h, line.container);
        sl_time_render(line.time_ns, time);
        printf("{\"seq\":%llu,\"time\":\"%.*s\",\"stream\":\"%s\",\"container\":\"%.*s\",\"partial\":%s,"
               "\"hex\":\"",
               (unsigned long long)seq, SL_TIME_TEXT_BYTES, time,
               line.stream == SL_STDERR ? "stderr" : "stdout", (int)container.bytes,
               (const char *)container.data, line.partial ? "true" : "false");
        static const char hex[] = "0123456789abcdef";
        for (size_t i = 0; i < line.text.bytes; i++) {
            putchar_unlocked(hex[line.text.data[i] >> 4]);
            putchar_unlocked(hex[line.text.data[i] & 15]);
        }
        printf("\"}\n");
    }
    if (seq > *next)
        *next = seq;
}

static void print_lines(struct sl_client *c, struct sl_slice id)
{
    uint64_t next = 1;
    bool more = true;
    while (more) {
        nng_msg *message;
        struct sl_writer w;
        if (sl_client_message_new(SL_READ, 512, &message, &w) != 0)
            exit(1);
        sl_read_begin(&w, &(struct sl_read){.max_bytes = SL_PAGE_MAX_BYTES, .entries = 1});
        sl_read_entry_write(&w, &(struct sl_read_entry){.sandbox = id, .how = SL_READ_FROM, .value = next});
        struct sl_reader r = ask(c, message, &w);
        uint64_t epoch, before = next;
        int64_t now_ns;
        struct sl_read_part part;
        if (sl_read_answer_open(&r, &epoch, &now_ns) != 0 || !sl_read_part_next(&r, &part))
            return;
        if (!part.found)
            exit(3);
        while (part.records.bytes > 0) {
            struct sl_record prefix;
            if (sl_record_decode_prefix(part.records, &prefix) != 0)
                exit(1);
            size_t bytes = SL_RECORD_PREFIX_BYTES + prefix.payload_bytes;
            print_record(sl_slice(part.records.data, bytes), &next);
            part.records = sl_slice(part.records.data + bytes, part.records.bytes - bytes);
        }
        more = part.more && next > before;
    }
}

static void print_state(struct sl_client *c, struct sl_slice id)
{
    nng_msg *message;
    struct sl_writer w;
    if (sl_client_message_new(SL_INFO, 256, &message, &w) != 0)
        exit(1);
    sl_write_slice8(&w, id);
    struct sl_reader r = ask(c, message, &w);
    uint64_t epoch, page;
    struct sl_info info;
    if (sl_list_answer_open(&r, &epoch, &page) != 0 || !sl_info_next(&r, &info))
        exit(3);
    printf(
        "{\"event\":\"state\",\"state\":%u,\"last_seq\":%llu,\"has_exit\":%s,\"exit_code\":%d,\"labels\":{",
        info.place.state, (unsigned long long)info.place.last_seq, info.place.has_exit ? "true" : "false",
        info.place.exit_code);
    struct sl_reader pairs = sl_reader(info.label_pairs);
    struct sl_slice key, value;
    for (unsigned i = 0; i < info.labels && sl_label_next(&pairs, &key, &value); i++)
        printf("%s\"%.*s\":\"%.*s\"", i ? "," : "", (int)key.bytes, (const char *)key.data, (int)value.bytes,
               (const char *)value.data);
    printf("}}\n");
}

int main(int argc, char **argv)
{
    if (argc != 3 && !(argc == 4 && strcmp(argv[3], "state") == 0)) {
        fprintf(stderr, "usage: dump QUERY_URL SANDBOX [state]\n");
        return 2;
    }
    const char *url = argv[1];
    struct sl_client_options options = {
        .urls = &url, .url_count = 1, .role = SL_ROLE_TOOL, .host = "", .changed = changed};
    struct sl_client *c;
    if (sl_client_new(&options, &c) != 0)
        return 1;
    struct sl_slice id = sl_slice_of(argv[2]);
    if (argc == 3)
        print_lines(c, id);
    print_state(c, id);
    fflush(stdout);
    _Exit(0);
}
