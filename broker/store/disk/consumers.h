// SPDX-License-Identifier: Apache-2.0
/*
 * The places of export consumers. All of them stand in one small table; every change writes it whole as one
 * CONSUMER record, so that the newest such record of the log is the truth. A new segment begins with it and
 * an index holds it, so no older segment is needed for it (README, invariant 10).
 *
 * consumers.c keeps the table, what it holds back and how far behind it is; scan.c reads. Home thread.
 */
#pragma once
#include "../store.h"

struct disk;
struct segment;
struct sl_checkpoint;

/*
 * Between two records: of the segment whose name ends with `number`, at `offset`. With gaps_from < GAPS_NONE
 * the gaps of all that was lost are still to be told, of sandboxes from this birth on, and then comes offset
 * 0.
 */
#define GAPS_NONE UINT64_MAX
struct place {
    uint32_t number;
    uint32_t generation;
    uint64_t offset;
    uint64_t gaps_from;
    uint64_t lines; /* of the segment's, before it; not part of the order */
    uint64_t text_bytes;
};

struct consumer {
    char name[SL_CONSUMER_MAX_BYTES];
    uint8_t name_bytes;
    uint32_t lost_number; /* segments up to this one were rewritten or dropped while they were owed */
    struct place place;
    /* not written: */
    uint64_t overruns;
    uint64_t holder;
    int64_t lease_until_ns; /* monotonic */
    struct place looked;    /* where oldest_ns is the commit time of the next block */
    int64_t oldest_ns;
};

struct consumer_table {
    struct consumer items[SL_CONSUMERS_MAX]; /* by name */
    unsigned count;
};

struct consumers {
    struct consumer_table durable, pending; /* pending: with what is in flight */
    bool recorded;                          /* some CONSUMER record is in the log, or was */
};

/* Pure. */
int place_compare(const struct place *a, const struct place *b);
void place_render(uint64_t epoch, const struct place *place, struct sl_checkpoint *ret);
/* > 0: STORE_BAD, STORE_FOREIGN. */
int place_parse(uint64_t epoch, struct sl_slice text, struct place *ret);

/* A whole CONSUMER record of the table; CONSUMERS_RECORD_MAX_BYTES are enough. */
enum {
    CONSUMERS_ITEM_BYTES = 1 + 4 + 4 + 4 + 5 * 8, /* and the name */
    CONSUMERS_RECORD_MAX_BYTES =
        SL_RECORD_PREFIX_BYTES + 8 + SL_CONSUMERS_MAX * (CONSUMERS_ITEM_BYTES + SL_CONSUMER_MAX_BYTES),
};
size_t consumers_encode(const struct consumer_table *table, int64_t now_ns, uint8_t *out);
/* > 0: FORMAT_MALFORMED, FORMAT_NEWER. */
int consumers_decode(struct sl_slice payload, struct consumer_table *ret);

/* Recovery came upon this table. */
void consumers_recovered(struct consumers *c, const struct consumer_table *table);
/* A table that was submitted is durable. */
void consumers_settle(struct consumers *c, const struct consumer_table *table);
void consumers_rollback(struct consumers *c);
struct consumer *consumers_find(struct consumer_table *table, struct sl_slice name);

/* Segments from this index on are owed and within the hold: not to be dropped, not to be rewritten. */
size_t consumers_held_from(const struct disk *d, int64_t now_ns);
/* Segments up to `number` were dropped, or rewritten without all their lines: who owed them is told. */
void consumers_overrun(struct disk *d, uint32_t number);

/* What disk_append_table() submitted is durable and settled, or failed. `change` may be NULL. */
void consumers_changed(struct disk *d, struct store_consumer_change *change, int fault);

void disk_consumer_change(struct store *s, struct store_consumer_change *change);
int disk_lease(struct store *s, struct sl_slice consumer, uint64_t holder, uint32_t ttl_ms);
int disk_consumers(struct store *s, void (*each)(void *arg, const struct sl_consumer *consumer), void *arg);
/* scan.c */
int disk_scan(struct store *s, struct sl_slice consumer, struct sl_slice checkpoint, size_t max_bytes,
              store_scan_each *each, void *arg, struct sl_checkpoint *ret_from,
              struct sl_checkpoint *ret_next, bool *ret_more);
