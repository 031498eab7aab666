// SPDX-License-Identifier: Apache-2.0
/* Messages: the head says the type as on the link, its status which side reads it (0: request, else answer).
 */
#include "wire/message.h"
#include <assert.h>
#include <stdlib.h>

static void walk_labels(uint16_t count, struct sl_slice pairs)
{
    struct sl_reader r = sl_reader(pairs);
    struct sl_slice key;
    struct sl_slice value;
    unsigned labels = 0;
    while (sl_label_next(&r, &key, &value))
        labels++;
    assert(labels == count && !r.failed);
}

static void read_export_request(struct sl_reader *r, uint8_t type)
{
    struct sl_scan scan;
    struct sl_slice consumer, checkpoint;
    uint64_t holder;
    uint32_t ttl_ms;
    if (type == SL_SCAN && sl_scan_decode(r, &scan) == 0)
        assert(sl_consumer_valid(scan.consumer) && scan.holder != 0 && scan.max_bytes <= SL_PAGE_MAX_BYTES);
    if (type == SL_LEASE && sl_lease_decode(r, &consumer, &holder, &ttl_ms) == 0)
        assert(sl_consumer_valid(consumer) && holder != 0);
    if (type == SL_ACK && sl_ack_decode(r, &consumer, &checkpoint) == 0)
        assert(sl_consumer_valid(consumer) && sl_checkpoint_valid(checkpoint));
    if (type == SL_FORGET && sl_consumer_name_decode(r, &consumer) == 0)
        assert(sl_consumer_valid(consumer));
}

static void read_export_answer(struct sl_reader *r, uint8_t type)
{
    struct sl_scan_answer answer;
    struct sl_scan_item item;
    struct sl_consumer consumer;
    struct sl_slice place;
    uint64_t epoch;
    int64_t now_ns;
    if (type == SL_SCAN && sl_scan_answer_open(r, &answer) == 0) {
        while (sl_scan_item_next(r, &item))
            assert(item.record.bytes >= SL_RECORD_PREFIX_BYTES);
    }
    if (type == SL_ACK && sl_ack_answer_decode(r, &place) == 0)
        assert(sl_checkpoint_valid(place));
    if (type == SL_CONSUMERS && sl_consumers_open(r, &epoch, &now_ns) == 0) {
        while (sl_consumer_next(r, &consumer))
            assert(sl_consumer_valid(consumer.name) && sl_checkpoint_valid(consumer.checkpoint));
    }
}

static void read_request(struct sl_reader *r, uint8_t type)
{
    struct sl_hello hello;
    struct sl_change change;
    struct sl_read read;
    struct sl_read_entry entry;
    struct sl_list list;
    struct sl_slice slice;
    uint64_t seen;
    uint32_t wait_ms;
    uint8_t kind;
    switch (type) {
    case SL_HELLO:
        if (sl_hello_decode(r, &hello) == 0)
            assert(hello.host.bytes <= SL_HOST_MAX_BYTES);
        break;
    case SL_APPEND:
        while (sl_append_item_next(r, &kind, &slice)) {
            struct sl_reader inner = sl_reader(slice);
            struct sl_block_header header;
            if (kind == SL_RECORD_BLOCK)
                (void)sl_block_check(slice, &header);
            else if (sl_change_decode(&inner, &change) == 0)
                walk_labels(change.labels, change.label_pairs);
        }
        break;
    case SL_SOURCES:
    case SL_INFO:
    case SL_DELETE:
        while (sl_id_next(r, &slice))
            assert(sl_sandbox_id_valid(slice));
        break;
    case SL_NOTICES:
        (void)sl_notices_decode(r, &seen, &wait_ms);
        break;
    case SL_MINE:
        (void)sl_mine_decode(r, &seen);
        break;
    case SL_BEGIN:
        if (sl_begin_decode(r, &seen) == 0)
            assert(seen != 0);
        break;
    case SL_READ:
        if (sl_read_open(r, &read) != 0)
            break;
        for (unsigned i = 0; i < read.entries; i++) {
            bool there = sl_read_entry_next(r, &entry);
            assert(there && sl_sandbox_id_valid(entry.sandbox));
        }
        assert(sl_reader_left(r) == 0);
        break;
    case SL_LIST:
        if (sl_list_decode(r, &list) == 0)
            walk_labels(list.labels, list.label_pairs);
        break;
    default:
        if (sl_change_decode(r, &change) == 0)
            walk_labels(change.labels, change.label_pairs);
    }
}

static void read_answer(struct sl_reader *r, uint8_t type)
{
    struct sl_welcome welcome;
    struct sl_append_verdict verdict;
    struct sl_source_place place;
    struct sl_read_part part;
    struct sl_info info;
    struct sl_slice slice;
    uint64_t a;
    uint64_t b;
    int64_t now_ns;
    uint32_t count;
    switch (type) {
    case SL_HELLO:
        (void)sl_welcome_decode(r, &welcome);
        break;
    case SL_APPEND:
        (void)sl_append_answer_open(r);
        while (sl_append_verdict_next(r, &verdict))
            assert(verdict.verdict <= SL_REFUSED);
        break;
    case SL_SOURCES:
        while (sl_sources_next(r, &slice, &count)) {
            assert(count <= sl_reader_left(r) / SL_SOURCE_PLACE_BYTES);
            while (count > 0 && sl_source_place_next(r, &place))
                count--;
        }
        break;
    case SL_NOTICES:
    case SL_MINE:
        if (type == SL_MINE ? sl_mine_answer_open(r, &a) == 0 : sl_notices_answer_open(r, &a) == 0) {
            while (sl_id_next(r, &slice))
                assert(sl_sandbox_id_valid(slice));
        }
        break;
    case SL_READ:
        if (sl_read_answer_open(r, &a, &now_ns) != 0)
            break;
        while (sl_read_part_next(r, &part)) {
            uint8_t head[SL_READ_PART_HEAD_BYTES];
            sl_read_part_head(head, &part);
            assert(memcmp(head, part.records.data - sizeof head, sizeof head) == 0);
        }
        break;
    default:
        if (sl_list_answer_open(r, &a, &b) != 0)
            break;
        while (sl_info_next(r, &info))
            walk_labels(info.labels, info.label_pairs);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    assert(copy != NULL);
    memcpy(copy, data, bytes);
    struct sl_reader r = sl_reader(sl_slice(copy, bytes));
    struct sl_message_head head;
    if (sl_message_open(&r, &head) == SL_STATUS_OK) {
        if (head.type >= SL_SCAN && head.status == 0)
            read_export_request(&r, head.type);
        else if (head.type >= SL_SCAN)
            read_export_answer(&r, head.type);
        else if (head.status == 0)
            read_request(&r, head.type);
        else
            read_answer(&r, head.type);
    }
    free(copy);
    return 0;
}
