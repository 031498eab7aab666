// SPDX-License-Identifier: Apache-2.0
/*
 * The engine's inside. Three threads, each with a link of its own: home reads (read.c), the writer commits
 * rounds (writer.c), the watcher hears what other brokers wrote and whether Redis is there (watch.c). What
 * passes between them is under `mutex`; everything else belongs to the thread it is listed at.
 */
#pragma once
#include "../engine.h"
#include "life.h"
#include "link.h"
#include "wire/metrics.h"
#include <pthread.h>
#include <stdatomic.h>

enum {
    INSTANCE_BYTES = 8,
    KEY_BYTES = 10 + SL_ID_MAX_BYTES + 3,
    WATCHED_MAX = 1 << 16,
    TROUBLE_BYTES = 320,
    MANY = 512, /* commands that home sends in one round */
};

/* What stands in the stream beside a block: 28 bytes to find and count by, then the record's prefix. */
enum { HEAD_BYTES = 28, ENTRY_PREFIX_BYTES = HEAD_BYTES + SL_RECORD_PREFIX_BYTES, ENTRY_ID_BYTES = 44 };
struct head {
    uint32_t lines, text_bytes;
    int64_t ceiling_ns, commit_ns;
    uint32_t bytes; /* prefix and block */
};
void head_encode(const struct head *h, uint8_t out[HEAD_BYTES]);
/* False: not an entry of ours. */
bool head_decode(const redisReply *prefix, struct head *ret);
/* "SEQ-SUB" */
bool entry_id_parse(const redisReply *id, uint64_t *ret_seq);
size_t entry_id(char out[ENTRY_ID_BYTES], const char *before, uint64_t seq, uint32_t sub);

/* The last line of a sandbox that was seen for sure: Redis must still have it, as it was. */
struct seen {
    bool any;
    uint8_t token[TOKEN_BYTES];
    uint64_t birth, last_seq;
    int64_t line_commit_ns;
};
/*
 * SEEN_LOST: that line has been taken back (a failover, a restart), its number is free or is another line's:
 * cursors name the wrong thing. SEEN_OPEN: there is more now; whether it follows that line, only the stream
 * can tell: seen_ask() and seen_hear().
 */
enum seen_verdict { SEEN_THERE, SEEN_LOST, SEEN_OPEN };
void seen_set(struct seen *seen, const struct life *l);
enum seen_verdict seen_judge(const struct seen *seen, const struct life *l);
/* Asks for the record that holds the last line seen; `key` is the call's. -ENOMEM. */
int seen_ask(const struct seen *seen, struct sl_slice id, struct call *ret, char key[KEY_BYTES],
             char from[ENTRY_ID_BYTES]);
enum seen_verdict seen_hear(const struct seen *seen, const redisReply *heads);

/* A list of ids, for what the other threads tell home. */
struct ids {
    struct ids *next;
    uint8_t bytes;
    char id[];
};

struct compaction {
    struct compaction *next;
    void (*done)(void *arg, int fault);
    void *arg;
    int fault;
};

/* A change of an export consumer, on its way. */
struct changing {
    struct changing *next;
    struct store_consumer_change *change;
    int answer;
};

struct redis {
    struct store store;
    struct store_options options;
    struct location location;
    uint8_t instance[INSTANCE_BYTES]; /* of this broker, in tokens and messages */
    uint64_t epoch, setbacks;         /* home's copies */
    atomic_uint topology;             /* moved by the watcher when servers changed */
    atomic_bool down;                 /* the watcher gets no answer: home does not ask */
    atomic_bool closing;
    atomic_bool exporting; /* there are consumers: what comes is noted for them */
    _Atomic int64_t
        hold_ns; /* what was committed then or later is still owed to one; INT64_MAX: nothing is */
    atomic_uint_fast64_t overruns; /* how often more was owed than the options let it hold */

    pthread_mutex_t mutex;
    pthread_cond_t work; /* for the writer */
    struct store_batch *queue, **queue_end;
    struct store_batch *good, **good_end; /* to be told: fault 0 */
    struct store_batch *bad, **bad_end;   /* to be told: -EIO */
    struct ids *grown;
    struct ids *notes_out, *notes_in;
    struct ids *fallen; /* for the writer: birth and id of what lost lines that home has seen */
    struct changing *changes, *changed; /* newest first */
    struct compaction *compactions, *compacted;
    bool tick; /* a second has passed */
    uint64_t epoch_found, setbacks_found;
    uint64_t sandboxes;
    int64_t write_trouble_ns; /* when it was met */
    char write_trouble[TROUBLE_BYTES];
    char watch_trouble[TROUBLE_BYTES];
    uint64_t commits, commit_faults;
    struct sl_histogram latency;

    pthread_t writer, watcher;
    uint64_t identity;   /* of the servers, as link_look() says; then the watcher's */
    int watcher_pipe[2]; /* ends the watcher's sleep */

    /* home: */
    struct link *link;
    struct life shown;
    struct sl_block_builder *gap;
    uint8_t *record; /* SL_RECORD_MAX_BYTES */
    uint64_t damaged;
    char trouble[TROUBLE_BYTES];
    struct call calls[MANY]; /* of one round, with their keys */
    char keys[MANY][KEY_BYTES];
    struct watched *watched[4096];
    unsigned watched_count;
};

extern struct script append_script, guard_script, finish_script, heads_script;
extern const char channel[], notes_channel[], epoch_key[], list_key[];

/* Keys of a sandbox: "sandlog:{ID}:h" and ":s". Returns the bytes. */
size_t key_of(char out[KEY_BYTES], struct sl_slice id, char kind);
int ids_push(struct ids **list, struct sl_slice id);
void ids_free(struct ids *list);
/* Fills from HMGET (v, s) or HGETALL. 0, LIFE_MALFORMED or -ENOMEM; an empty answer leaves it unknown. */
int life_from_fields(struct life *l, const redisReply *fields);
int life_from_pair(struct life *l, const redisReply *pair);
/* Finds the store's name, making one if Redis has none. Fault: -errno, `why` is a sentence. */
int epoch_get(struct link *link, uint64_t *ret, char why[TROUBLE_BYTES]);

void *writer_main(void *arg);
void *watch_main(void *arg);

/* Home: looks after watched sandboxes, once a second. */
void watched_tick(struct redis *r);
void watched_free(struct redis *r);

int redis_place(struct store *s, struct sl_slice sandbox, struct sl_place *ret);
int redis_info(struct store *s, struct sl_slice sandbox, struct sl_info *ret);
int redis_list(struct store *s, const struct sl_list *list,
               bool (*each)(void *arg, const struct sl_info *info), void *arg, uint64_t *ret_next_page);
int redis_sources(struct store *s, struct sl_slice sandbox,
                  void (*each)(void *arg, const struct sl_source_place *place), void *arg);
int redis_read(struct store *s, struct sl_slice sandbox, uint64_t from_seq, size_t max_bytes,
               store_each *each, void *arg, bool *ret_more);
int redis_seek_time(struct store *s, struct sl_slice sandbox, int64_t time_ns, uint64_t *ret_seq);
int redis_seek_back(struct store *s, struct sl_slice sandbox, uint64_t before_seq, size_t max_bytes,
                    uint64_t *ret_seq);
