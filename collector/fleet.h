// SPDX-License-Identifier: Apache-2.0
/*
 * The fleet: what is being collected. A sandbox has logs, a log is one name in one folder, and a log has
 * files, oldest first: the rotated ones that are not finished, and the one that has the log's name now. Plain
 * data, kept consistent by the functions below; who changes what is said at the fields. Home thread.
 */
#pragma once
#include "watch.h"
#include "wire/message.h"

struct gunzip;

/* What tells a file from every other one that has or had its name or its inode. */
struct identity {
    uint64_t device;
    uint64_t inode;
    int64_t birth_ns;
    uint32_t generation; /* 0 where the file system has none */
};

/* A line whose newline has not come yet: its pieces so far. */
struct open_line {
    uint8_t *data;
    size_t bytes;
    size_t capacity;
    int64_t time_ns;
    uint64_t from; /* where its first piece in this file begins; UINT64_MAX: it has none here yet */
    bool open;
    bool carried; /* it began in the file before (joins.origin) */
};

struct joins {
    struct open_line lines[2]; /* by stream */
    struct file *origin;       /* where carried lines began */
};

/* A record longer than the read buffer: its pieces are lines before its end is known. */
struct long_record {
    uint64_t from; /* where the record begins */
    int64_t time_ns;
    uint8_t stream;
    bool whole;
    bool on;
};

enum file_state {
    FILE_UNPLACED, /* where to begin is not known yet (the broker has to say, or the first bytes have to come)
                    */
    FILE_READING,
    FILE_DONE, /* read to its end, everything acknowledged, and a newer file is there; watched for late writes
                */
    FILE_COPY, /* a copy of another file of the log, which is read instead */
    FILE_BURIED, /* its sandbox was deleted: it does not come again */
};

struct file {
    struct table_node by_name;  /* log and name, while it has one */
    struct table_node by_inode; /* log and inode, once known */
    struct file *next;
    struct log *log;
    struct file *copy_of;      /* FILE_COPY */
    struct file *plain_behind; /* order.c, while it sorts */
    struct file *lru_next;
    struct file *lru_previous;
    struct identity identity;
    struct sl_source source;
    struct head *head; /* alike.c */
    char *name;        /* in the log's folder; NULL: it has none any more (fleet_file_rename()) */
    char *met_as;      /* the name it was met by, until events have told which arrival it is (arrivals.c) */
    struct gunzip *gunzip;
    struct joins *joins; /* NULL: nothing is open */
    struct long_record *longer;
    uint64_t at;         /* next byte to parse */
    uint64_t sent;       /* `to` of the last block that was handed to ship */
    uint64_t acked;      /* durable at the broker */
    uint64_t drop_until; /* lines that end at or before it are stored already and are not sent again */
    uint64_t searched;   /* up to here there is no newline behind `at` */
    uint64_t size;       /* as last seen */
    uint64_t fingerprint;
    int64_t grown_ns;    /* monotonic: when it was last seen to have grown */
    int64_t behind_ns;   /* monotonic: since when it is not read to its end; 0: it is */
    int64_t nameless_ns; /* monotonic: when it lost its name */
    uint32_t in_flight;  /* blocks */
    uint32_t life;       /* grows at every rewind: answers of an earlier life say nothing */
    uint64_t order;      /* where it stands among its log's files (order.c); 0: not known by events */
    uint64_t met_from;   /* where inotify's queue ended before that */
    uint16_t fingerprint_bytes;
    uint8_t state;
    int fd;
    bool gz;
    bool dirty;    /* there may be something to read */
    bool newcomer; /* met_as: it came while its folder was watched */
    bool early;    /* ... and was met before the event of that was in the queue */
    bool sure;     /* the name was looked at when all events were told, or no event has come since */
    bool had_base; /* the log's name is its own, or was last; until that is counted as a rotation */
    bool seen;     /* order.c, while it compares names */
    bool known;    /* the broker has a place of the source */
    bool borrowed; /* a copy that goes on under the source of what it is a copy of */
    bool changed; /* it does not begin any more as it did; its next turn comes before its log's other files */
    bool truncated; /* seen to be: a new incarnation begins when nothing of the old one is in flight */
    bool
        phantom; /* stands for a file that was gone before it could be opened: it is a gap and nothing else */
    bool wrapped; /* its end as an older file has been packed */
    bool closing; /* its CLOSE is in flight */
    bool closed;
    bool heir;          /* the gap of its log's chain_lost is its to tell, and not acknowledged yet */
    uint8_t gap_reason; /* its incarnation begins with a gap; SL_GAP_NONE: it does not */
};

/* A file that came under its log's name or was made under a rotated one, as events tell of it (arrivals.c).
 */
struct arrival {
    struct arrival *next;
    char *name;     /* NULL: none */
    uint64_t order; /* of the file */
    bool met;       /* ... which is known, or its .gz */
    bool met_plain;
    bool packed;     /* its .gz is there, which is it when it goes itself */
    uint32_t cookie; /* its name was taken from it, and the event of the next one may come; 0: not */
};

struct log {
    struct table_node by_name; /* folder and base name */
    struct log *sandbox_next;
    struct log *folder_next;
    struct sandbox *sandbox;
    struct folder *folder;
    struct file *files;
    int64_t wait_until_ns; /* monotonic: nothing to do before; 0: none */
    uint8_t format;
    uint8_t container_bytes;
    uint8_t base_bytes;
    bool attrs_known;
    bool stirred;    /* names came or went since the order of its files was settled (order.c) */
    bool unlisted;   /* names came or went since all of them were looked at */
    bool ordered;    /* the order was settled once */
    bool unclaimed;  /* a file may be there whose place was not looked for (places.c) */
    bool chain_lost; /* it is from before, and none of its files is known to the broker: what was unread is a
                        gap */
    uint8_t owed;    /* sl_gap_reason that is told before the first file that is begun */
    bool refused_said;        /* a file of it was refused and the log says so */
    uint8_t unsettled;        /* looks in a row at which the order could not be settled */
    int64_t unsettled_ns;     /* monotonic: when the first of them was */
    struct arrival *arrivals; /* files that came, and those that are not read yet; while it is arriving */
    struct log *arriving_next;
    struct log **arriving_at; /* what points to it there */
    int64_t stirred_ns;       /* monotonic: when an event last told of them */
    int64_t arriving_ns;      /* monotonic: ... or they were looked at */
    uint64_t looked_at;  /* names were looked at; valid when inotify's queue is seen empty as often; 0: not */
    uint64_t base_order; /* of the file that has the log's name, or had it last */
    uint64_t copies;     /* that were made */
    uint32_t meeting;    /* files that are tied to none yet */
    uint64_t lost_behind; /* events were lost when the file of this order was the youngest; 0: not */
    uint64_t lost_copies; /* ... and this one is kept for copies that were made meanwhile */
    bool arriving;        /* names move: events and what was met are brought together */
    char container[SL_ID_MAX_BYTES];
    char base[]; /* NUL-terminated */
};

enum sync { SYNC_WANTED, SYNC_ASKED, SYNC_DONE };
enum end {
    END_NONE,
    END_DRAIN, /* its end is known: read everything, then say so */
    END_SAYING,
    END_SAID,
};

struct sandbox {
    struct table_node by_id;
    struct sandbox *ready_next;
    struct sandbox *sync_next;
    struct sandbox *timer_next;
    struct log *logs;
    struct log *turn;               /* whose turn it is */
    struct sl_source_place *places; /* of the broker that no file here has taken */
    uint8_t *labels; /* sl_label_write() pairs beside the captured ones: attrs, Docker's labels */
    size_t labels_bytes;
    int64_t timer_ns;
    uint64_t end_mark; /* which exit_code file or FinishedAt was the last end: the same is not a new one */
    uint32_t place_count;
    uint32_t in_flight;  /* blocks and changes */
    uint32_t announced;  /* connection on which host and labels were told */
    uint32_t asked_life; /* of ship: which question about its places is the valid one */
    uint16_t label_count;
    int32_t exit_code;
    uint8_t sync;
    uint8_t end;
    bool has_exit;
    bool ready;
    bool in_sync_queue;
    bool in_timers;
    bool broken;    /* places have to be asked for again once nothing is in flight */
    bool end_quiet; /* its files are all of before it was deleted: its end is not to be said */
    bool resumed;   /* it runs again after an end that was said: the broker is to be told */
    bool synced_once;
    bool left;  /* files are gone that nobody here has read: their sources are to be ended, behind a gap */
    bool unmet; /* ... all of them, while no collector was here: a gap also when all sources are ended */
    bool labels_new; /* labels came since they were told */
    bool told;       /* a block or change of it was ever sent, or the broker had places of it */
    uint8_t id_bytes;
    char id[];
};

struct fleet {
    struct table sandboxes;
    struct table logs;
    struct table names;
    struct table inodes;
    struct sandbox *ready_first;
    struct sandbox *ready_last;
    struct sandbox *sync_first;
    struct sandbox *sync_last;
    struct file *lru_first; /* open files, least recently read first */
    struct file *lru_last;
    size_t open_files;
    size_t open_files_max;
    size_t held_bytes; /* of open lines */
    uint64_t file_count;
    uint64_t meeting; /* files of which it is not known yet which arrival they are */
};

int fleet_init(struct fleet *fleet, size_t open_files_max);
void fleet_fini(struct fleet *fleet);

/* Valid id. Finds or makes; NULL without memory. */
struct sandbox *fleet_sandbox(struct fleet *fleet, struct sl_slice id);
struct sandbox *fleet_find(const struct fleet *fleet, struct sl_slice id);
/* The log of a base name; NULL when there is none. */
struct log *fleet_find_log(const struct fleet *fleet, const struct folder *folder, const char *base,
                           size_t bytes);
struct log *fleet_log_new(struct fleet *fleet, struct sandbox *sandbox, struct folder *folder,
                          const char *base, size_t bytes, struct sl_slice container);
/* The next one takes its place. */
void arrival_free(struct arrival **at);
/* Without files, not arriving. Takes it out of its folder and sandbox. */
void fleet_log_free(struct fleet *fleet, struct log *log);
/* Without logs, in no queue. */
void fleet_sandbox_free(struct fleet *fleet, struct sandbox *sandbox);

/* At the end when `before` is NULL. NULL without memory. `name` is copied. */
struct file *fleet_file_new(struct fleet *fleet, struct log *log, struct file *before, const char *name);
/* Nothing of it is in flight. */
void fleet_file_free(struct fleet *fleet, struct file *f);
/* NULL: it has none any more. False without memory: it keeps the one it has. */
bool fleet_file_rename(struct fleet *fleet, struct file *f, const char *name);
/* Which arrival it is that was met by this name is not known yet; NULL: it is. False without memory. */
bool fleet_file_met(struct fleet *fleet, struct file *f, const char *name);
void fleet_file_identify(struct fleet *fleet, struct file *f, const struct identity *identity);
/* The file that has this name in the log, as far as is known; NULL: none. */
struct file *fleet_file_named(const struct fleet *fleet, const struct log *log, const char *name);
/* The log's files of an inode: the first, and the next; NULL at the end. */
struct file *fleet_file_of(const struct fleet *fleet, const struct log *log, uint64_t inode);
struct file *fleet_file_again(const struct file *f);
void file_forget_joins(struct fleet *fleet, struct file *f);
struct file *log_newest(const struct log *log);

/* The sandbox has work; at the end of the queue unless it is in it. */
void fleet_ready(struct fleet *fleet, struct sandbox *sandbox);
struct sandbox *fleet_next_ready(struct fleet *fleet);
void fleet_want_sync(struct fleet *fleet, struct sandbox *sandbox);
struct sandbox *fleet_next_sync(struct fleet *fleet);
