// SPDX-License-Identifier: Apache-2.0
/*
 * Messages: what collectors and gateways ask a broker, and what it answers, over nng REQ/REP (DESIGN 6).
 *
 * Every message is a 16-byte head (magic, version, type, status, the asker's id) and a body by type. An
 * answer has its request's type and id. Encoding goes through sl_writer, decoding through sl_reader: lists
 * are read element by element with the *_next functions (true: one more; false: end or malformed, see
 * reader.failed), nothing is allocated, text is borrowed from the message. Every length is checked against
 * the message before it is believed. Pure, any thread. FORMAT.md is the byte-exact description.
 */
#pragma once
#include "wire/record.h"

enum {
    SL_MESSAGE_MAGIC = 0x314d4c53, /* "SLM1" */
    SL_MESSAGE_VERSION = 1,
    SL_MESSAGE_HEAD_BYTES = 16,
    SL_MESSAGE_MAX_BYTES = 2 << 20,     /* RECVMAXSZ of both links: one largest block and its envelope fit */
    SL_APPEND_TARGET_BYTES = 256 << 10, /* what a collector fills a request up to */
    SL_PAGE_MAX_BYTES = 768 << 10,      /* what a read answers at most, but always at least one record */
    SL_LABELS_MAX = 64,
    SL_LABEL_KEY_MAX_BYTES = 255,
    SL_LABEL_VALUE_MAX_BYTES = 4096,
    SL_HOST_MAX_BYTES = 255,
    SL_READ_ENTRIES_MAX = 256,
    SL_LIST_MAX = 1000,
    SL_CONSUMER_MAX_BYTES = 64, /* name of an export consumer */
    SL_CONSUMERS_MAX = 64,      /* of one store */
    SL_CHECKPOINT_MAX_BYTES = 64,
};

enum sl_message_type {
    SL_HELLO = 1,      /* both links: who asks, with what version, and the proof of --secret */
    SL_APPEND = 2,     /* ingest: blocks and changes; answered after the commit */
    SL_SOURCES = 3,    /* ingest: where do the sources of these sandboxes stand? */
    SL_NOTICES = 4,    /* ingest, waits: which sandboxes shall be read to their end? */
    SL_READ = 5,       /* query, may wait: records of some sandboxes */
    SL_INFO = 6,       /* query: everything about one sandbox */
    SL_LIST = 7,       /* query: sandboxes, newest first */
    SL_PUT = 8,        /* query: the control plane's word about a sandbox */
    SL_DELETE = 9,     /* query: its lines are unreadable from now on */
    SL_SCAN = 10,      /* query, may wait: records behind an export consumer's place, in commit order */
    SL_LEASE = 11,     /* query: who reads a consumer says that it still does, or no more */
    SL_ACK = 12,       /* query: moves a consumer's place; answered when that is durable */
    SL_CONSUMERS = 13, /* query: all consumers */
    SL_FORGET = 14,    /* query: forgets a consumer */
    SL_MINE = 15,      /* ingest: which running sandboxes are of the asker's host? */
    SL_BEGIN = 16,     /* ingest: which process of its host the asker is */
};

enum sl_status {
    SL_STATUS_OK = 0,
    SL_STATUS_MALFORMED = 1,       /* the request could not be decoded; body: a sentence (slice8) */
    SL_STATUS_NEWER = 2,           /* a version or type this broker does not know */
    SL_STATUS_UNAUTHENTICATED = 3, /* HELLO first, or another proof */
    SL_STATUS_NOT_FOUND = 4,       /* no such sandbox */
    SL_STATUS_UNAVAILABLE =
        5,              /* the store can't take or give it now; body: a sentence (slice8); ask again later */
    SL_STATUS_BUSY = 6, /* another holder reads this consumer */
    SL_STATUS_FOREIGN = 7,        /* a checkpoint of another store */
    SL_STATUS_TOO_MANY = 8,       /* SL_CONSUMERS_MAX consumers are there */
    SL_STATUS_BAD_CHECKPOINT = 9, /* names no place of this store */
};

struct sl_message_head {
    uint8_t type;
    uint8_t status;
    uint64_t id;
};

void sl_message_begin(struct sl_writer *w, const struct sl_message_head *head);
/*
 * 0: the reader then stands at the body. Or enum sl_status MALFORMED / NEWER; with NEWER *ret is filled too
 * (type, id: every version keeps the head's layout), so that the asker can be told.
 */
int sl_message_open(struct sl_reader *r, struct sl_message_head *ret);

/* ---- HELLO
 * ------------------------------------------------------------------------------------------------- */
enum sl_role { SL_ROLE_COLLECTOR = 1, SL_ROLE_GATEWAY = 2, SL_ROLE_TOOL = 3 };

struct sl_hello {
    uint8_t role;
    struct sl_slice host;    /* a collector's host name, 1 to 255 bytes; else empty */
    struct sl_slice version; /* the program's */
    struct sl_slice proof;   /* empty, or HMAC-SHA256(secret, nonce . role . host), 32 bytes */
};
struct sl_welcome {
    uint64_t epoch;    /* names the store; another epoch: cursors and places are void */
    uint8_t nonce[16]; /* of this connection, for the proof */
    struct sl_slice version;
};
/* A host's name: printable ASCII without blanks, at most SL_HOST_MAX_BYTES; empty passes. */
bool sl_host_valid(struct sl_slice host);
void sl_hello_encode(struct sl_writer *w, const struct sl_hello *hello);
int sl_hello_decode(struct sl_reader *r, struct sl_hello *ret);
void sl_welcome_encode(struct sl_writer *w, const struct sl_welcome *welcome);
int sl_welcome_decode(struct sl_reader *r, struct sl_welcome *ret);

/* ---- changes of a sandbox
 * ---------------------------------------------------------------------------------- */
enum sl_state {
    SL_RUNNING = 1,
    SL_STOPPING =
        2,          /* said to be stopped; its files are being read to their end. Shown to users as running */
    SL_STOPPED = 3, /* all that was written is here */
};
enum sl_change_fields {
    SL_CHANGE_STATE = 1 << 0,
    SL_CHANGE_EXIT = 1 << 1,
    SL_CHANGE_HOST = 1 << 2,
    SL_CHANGE_LABELS = 1 << 3, /* merged into those that are there, key by key */
};
struct sl_change {
    uint8_t fields;
    uint8_t state;
    int32_t exit_code;
    struct sl_slice sandbox;
    struct sl_slice host;
    uint16_t labels;             /* number of pairs */
    struct sl_slice label_pairs; /* encoded: slice8 key, u16 length + value; read with sl_label_next() */
};
void sl_change_encode(struct sl_writer *w, const struct sl_change *change);
/* 0 or SL_STATUS_MALFORMED (also: invalid id, unknown state or field, label over its limit). Takes the whole
 * reader. */
int sl_change_decode(struct sl_reader *r, struct sl_change *ret);
void sl_label_write(struct sl_writer *pairs, struct sl_slice key, struct sl_slice value);
bool sl_label_next(struct sl_reader *pairs, struct sl_slice *ret_key, struct sl_slice *ret_value);

/* ---- APPEND: body is items to the end of the message; the answer: retry_ms, then a verdict per item, in
 * order --- */
/* An item is the payload of a record-to-be: kind SL_RECORD_BLOCK (a block) or SL_RECORD_CHANGE (a change). */
void sl_append_item_write(struct sl_writer *w, uint8_t kind, struct sl_slice payload);
enum { SL_APPEND_ITEM_HEAD_BYTES = 5 }; /* kind, u32 length: for who compresses straight into the message */
bool sl_append_item_next(struct sl_reader *r, uint8_t *ret_kind, struct sl_slice *ret_payload);

enum sl_verdict {
    SL_TAKEN = 0,     /* durable */
    SL_ALREADY = 1,   /* was durable before; nothing stored again */
    SL_ELSEWHERE = 2, /* the source stands at {incarnation, offset}: go there */
    SL_BURIED = 3,    /* the sandbox was deleted; this source does not come again */
    SL_REFUSED =
        4, /* malformed, or the store can't take it now: from the durable offset, after retry_ms, again */
};
struct sl_append_verdict {
    uint8_t verdict;
    uint32_t incarnation; /* the source's place, durable now; 0, 0 for a source not known, and for a change */
    uint64_t offset;
};
void sl_append_answer_begin(struct sl_writer *w, uint32_t retry_ms);
void sl_append_verdict_write(struct sl_writer *w, const struct sl_append_verdict *verdict);
uint32_t sl_append_answer_open(struct sl_reader *r);
bool sl_append_verdict_next(struct sl_reader *r, struct sl_append_verdict *ret);

/* ---- SOURCES: body is sandbox ids (slice8) to the end; the answer: per id, in order, its sources
 * --------------- */
enum sl_source_flags { SL_SOURCE_BURIED = 1 << 0, SL_SOURCE_CLOSED = 1 << 1 };
struct sl_source_place {
    struct sl_source source;
    uint64_t offset;
    uint64_t open_from; /* <= offset: reading starts here again, lines that end before `offset` are dropped */
    uint64_t fingerprint;
    uint16_t fingerprint_bytes;
    uint8_t flags;
};
void sl_id_write(struct sl_writer *w, struct sl_slice sandbox);
bool sl_id_next(struct sl_reader *r, struct sl_slice *ret_sandbox); /* fails on an invalid id */
void sl_sources_write(struct sl_writer *w, struct sl_slice sandbox, uint32_t count); /* then `count` places */
bool sl_sources_next(struct sl_reader *r, struct sl_slice *ret_sandbox, uint32_t *ret_count);
void sl_source_place_write(struct sl_writer *w, const struct sl_source_place *place);
bool sl_source_place_next(struct sl_reader *r, struct sl_source_place *ret);
enum { SL_SOURCE_PLACE_BYTES = 16 + 4 + 8 + 8 + 8 + 2 + 1 };

/* ---- NOTICES: body u64 seen, u32 wait_ms; the answer: u64 version, then sandbox ids (sl_id_next) to be
 * drained ---- */
void sl_notices_encode(struct sl_writer *w, uint64_t seen, uint32_t wait_ms);
int sl_notices_decode(struct sl_reader *r, uint64_t *ret_seen, uint32_t *ret_wait_ms);
void sl_notices_answer_begin(struct sl_writer *w, uint64_t version);
int sl_notices_answer_open(struct sl_reader *r, uint64_t *ret_version);

/* ---- MINE: body u64 page (0: the first); the answer: u64 next_page (0: no more), then sandbox ids
 * (sl_id_next)
 * ---- */
void sl_mine_encode(struct sl_writer *w, uint64_t page);
int sl_mine_decode(struct sl_reader *r, uint64_t *ret_page);
void sl_mine_answer_begin(struct sl_writer *w, uint64_t next_page);
int sl_mine_answer_open(struct sl_reader *r, uint64_t *ret_next_page);

/* ---- BEGIN: body u64 instance, not 0; the answer: nothing
 * ---------------------------------------------- */
void sl_begin_encode(struct sl_writer *w, uint64_t instance);
int sl_begin_decode(struct sl_reader *r, uint64_t *ret_instance);

/* ---- READ
 * ---------------------------------------------------------------------------------------------------- */
enum sl_read_how {
    SL_READ_FROM = 1, /* value: the first sequence number wanted (>= 1); past the end: nothing, or wait */
    SL_READ_TAIL =
        2, /* value: how many lines, counted back from the end; the first block may begin earlier */
    SL_READ_TIME = 3,   /* value: ns; from the first block whose last query time is >= it */
    SL_READ_BEFORE = 4, /* value: a sequence number; the last records that hold lines below it, in order */
};
struct sl_read_entry {
    struct sl_slice sandbox;
    uint8_t how;
    uint64_t value;   /* of SL_READ_TIME: the int64_t's bits */
    uint32_t version; /* the sandbox's version that the asker knows (0: none); a newer one is news too */
};
struct sl_read {
    uint32_t max_bytes; /* of records in the whole answer; 1 to SL_PAGE_MAX_BYTES */
    uint32_t wait_ms;   /* 0: answer at once; else when there is news of any entry, or then; at most 60,000 */
    uint16_t entries;   /* 1 to SL_READ_ENTRIES_MAX, follow */
};
void sl_read_begin(struct sl_writer *w, const struct sl_read *read);
void sl_read_entry_write(struct sl_writer *w, const struct sl_read_entry *entry);
int sl_read_open(struct sl_reader *r, struct sl_read *ret);
bool sl_read_entry_next(struct sl_reader *r, struct sl_read_entry *ret);

/* Where a sandbox stands. */
struct sl_place {
    uint64_t
        birth; /* tells a sandbox from an earlier, deleted one of the same id; part of a cursor's epoch */
    uint64_t oldest_seq; /* the first line kept; last_seq + 1 when none is */
    uint64_t last_seq;   /* 0: no line yet */
    uint64_t lost;       /* lines in gaps of known size */
    uint32_t version;    /* grows with every change of state, labels or retention, never with a line */
    uint8_t state;       /* enum sl_state */
    bool has_exit;
    int32_t exit_code;
};
/*
 * The answer: epoch, the broker's clock, then parts to the end. Of a request that did not wait, one part per
 * entry, in order; of one that waited, only entries with news. Records are whole (prefix and payload, kind
 * BLOCK), ascending.
 */
struct sl_read_part {
    uint16_t entry; /* index in the request */
    bool found;     /* false: no such sandbox; the rest is zeros */
    bool more;      /* there are more records right now (BEFORE: lower ones) */
    struct sl_place place;
    struct sl_slice records;
};
void sl_read_answer_begin(struct sl_writer *w, uint64_t epoch, int64_t now_ns);
int sl_read_answer_open(struct sl_reader *r, uint64_t *ret_epoch, int64_t *ret_now_ns);
/* Writes the part's head; the caller then appends part->records.bytes bytes itself (or patches them in
 * place). */
enum { SL_READ_PART_HEAD_BYTES = 2 + 1 + (8 * 4 + 4 + 1 + 1 + 4) + 4 };
void sl_read_part_head(uint8_t out[SL_READ_PART_HEAD_BYTES], const struct sl_read_part *part);
bool sl_read_part_next(struct sl_reader *r, struct sl_read_part *ret);

/* ---- INFO (body: slice8 id), LIST, PUT (body: a change; the answer an info), DELETE (body: slice8 id)
 * ---------- */
struct sl_info {
    struct sl_slice sandbox;
    struct sl_place place;
    int64_t first_time_ns; /* of the first and last line ever; 0 while there is none */
    int64_t last_time_ns;
    int64_t created_ns; /* broker's clock */
    uint64_t lines;     /* from the beginning, retention or not */
    uint64_t bytes;     /* text with newlines, likewise */
    struct sl_slice host;
    uint8_t containers;
    struct sl_slice container_names; /* length byte, bytes, `containers` times */
    uint16_t labels;
    struct sl_slice label_pairs;
};
void sl_info_encode(struct sl_writer *w, const struct sl_info *info);
bool sl_info_next(struct sl_reader *r, struct sl_info *ret);

struct sl_list {
    uint8_t state;          /* 0: any; else SL_RUNNING or SL_STOPPED (STOPPING counts as running) */
    uint16_t limit;         /* 1 to SL_LIST_MAX */
    uint64_t page;          /* 0: from the newest; else next_page of the answer before */
    struct sl_slice prefix; /* of the id; may be empty */
    uint16_t labels;        /* all of these pairs */
    struct sl_slice label_pairs;
};
void sl_list_encode(struct sl_writer *w, const struct sl_list *list);
int sl_list_decode(struct sl_reader *r, struct sl_list *ret);
/* The answer: epoch, next_page (0: none), then infos to the end (INFO and PUT: one info behind the epoch and
 * 0). */
void sl_list_answer_begin(struct sl_writer *w, uint64_t epoch, uint64_t next_page);
int sl_list_answer_open(struct sl_reader *r, uint64_t *ret_epoch, uint64_t *ret_next_page);

/* ---- export: SCAN, LEASE, ACK, CONSUMERS, FORGET
 * ---------------------------------------------------------------------- */
struct sl_checkpoint {
    uint8_t bytes;
    char text[SL_CHECKPOINT_MAX_BYTES];
};
static inline struct sl_slice sl_checkpoint_slice(const struct sl_checkpoint *c)
{
    return sl_slice(c->text, c->bytes);
}
/* 1 to SL_CHECKPOINT_MAX_BYTES of A-Z a-z 0-9 . _ - ; whether it names a place is the store's to say. */
bool sl_checkpoint_valid(struct sl_slice text);
/* 1 to SL_CONSUMER_MAX_BYTES of A-Z a-z 0-9 . _ - and not . or .. */
bool sl_consumer_valid(struct sl_slice name);

struct sl_scan {
    struct sl_slice consumer;   /* made if it is not there and `checkpoint` is empty */
    struct sl_slice checkpoint; /* records behind it; empty: behind the consumer's place */
    uint64_t holder;            /* of the lease, which this takes or keeps; not 0 */
    uint32_t ttl_ms;            /* the lease is the holder's for so long after the answer; 1 to 60,000 */
    uint32_t max_bytes;         /* as in sl_read */
    uint32_t wait_ms;
};
void sl_scan_encode(struct sl_writer *w, const struct sl_scan *scan);
int sl_scan_decode(struct sl_reader *r, struct sl_scan *ret);
/* The answer: this head, then items to the end. */
struct sl_scan_answer {
    uint64_t epoch;
    int64_t now_ns;
    bool more;            /* there may be more right now */
    struct sl_slice from; /* the checkpoint it began at */
    struct sl_slice next; /* behind the last item; = from when there is none */
};
void sl_scan_answer_begin(struct sl_writer *w, const struct sl_scan_answer *answer);
int sl_scan_answer_open(struct sl_reader *r, struct sl_scan_answer *ret);
struct sl_scan_item {
    uint64_t birth;         /* of the record's sandbox */
    uint32_t version;       /* of its place: another one, and labels or host may have changed */
    struct sl_slice record; /* whole, of kind BLOCK */
};
enum { SL_SCAN_ITEM_HEAD_BYTES = 8 + 4 + 4 };
void sl_scan_item_write(struct sl_writer *w, const struct sl_scan_item *item);
bool sl_scan_item_next(struct sl_reader *r, struct sl_scan_item *ret);

/* LEASE: body slice8 consumer, u64 holder, u32 ttl_ms (0: given back); the answer is empty. */
void sl_lease_encode(struct sl_writer *w, struct sl_slice consumer, uint64_t holder, uint32_t ttl_ms);
int sl_lease_decode(struct sl_reader *r, struct sl_slice *ret_consumer, uint64_t *ret_holder,
                    uint32_t *ret_ttl_ms);
/* ACK: body slice8 consumer, slice8 checkpoint; the answer: slice8, the place that holds. */
void sl_ack_encode(struct sl_writer *w, struct sl_slice consumer, struct sl_slice checkpoint);
int sl_ack_decode(struct sl_reader *r, struct sl_slice *ret_consumer, struct sl_slice *ret_checkpoint);
void sl_ack_answer_encode(struct sl_writer *w, struct sl_slice place);
int sl_ack_answer_decode(struct sl_reader *r, struct sl_slice *ret_place);
/* CONSUMERS: empty body; the answer: u64 epoch, i64 now, then consumers to the end. FORGET: slice8 consumer.
 */
struct sl_consumer {
    struct sl_slice name;
    struct sl_slice checkpoint;
    uint64_t lag_lines; /* behind its place; of deleted sandboxes too until they are passed */
    uint64_t lag_bytes; /* of their text with newlines */
    int64_t oldest_ns;  /* commit time of the oldest of them; 0 when there are none */
    uint64_t
        overruns; /* how often the hold was over and owed records were dropped, since the broker's start */
    bool leased;  /* somebody reads it */
};
void sl_consumers_begin(struct sl_writer *w, uint64_t epoch, int64_t now_ns);
int sl_consumers_open(struct sl_reader *r, uint64_t *ret_epoch, int64_t *ret_now_ns);
void sl_consumer_write(struct sl_writer *w, const struct sl_consumer *consumer);
bool sl_consumer_next(struct sl_reader *r, struct sl_consumer *ret);
void sl_consumer_name_encode(struct sl_writer *w, struct sl_slice consumer);
int sl_consumer_name_decode(struct sl_reader *r, struct sl_slice *ret_consumer);
