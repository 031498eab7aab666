// SPDX-License-Identifier: Apache-2.0
/* What the played world of collector_world.h is made of: its state, its dice and its clock. */
#pragma once
#include "collector.h"
#include "wire/timestamp.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

enum {
    LINES_MAX = 200000,
    PLACES_MAX = 4096,
    ASKED_MAX = 256,
    PATH_ROOM = 320,
    MARKS_MAX = 4096,
    BIRTHS_MAX = 65536,
    TURNS_MOST = 40
};

enum kind { STAMPED, NUMBERED, PACKED, COPIED, COPIED_PACKED, DELETED, REPLACED };
static const char *const kind_names[] = {"stamped",           "numbered", "packed",  "copied",
                                         "copied and packed", "deleted",  "replaced"};

/* Lines from here on stand in another file than those before. */
struct mark {
    unsigned line;
    unsigned deaths; /* of the collector, before */
    bool unseen;     /* no collector was there, or only just */
};

/* tmpfs tells births by a clock that stands still for milliseconds, in which much happens here. */
struct birth {
    uint64_t inode;
    int64_t at_ns;
};

struct asked {
    nng_msg *message;
    sl_client_answered *answered;
    void *arg;
    bool judged; /* the broker has had it */
};

struct sl_client {
    struct sl_client_options options;
};

static struct {
    char root[64];
    char spec[PATH_ROOM];
    unsigned seed;
    bool restless;  /* the other side may act between any two calls */
    bool same_tick; /* the folder is watched in the tick of the kernel's clock in which its last file was made
                     */
    bool inside;    /* it does */
    int64_t now_ns;
    /* the writer */
    enum kind kind;
    unsigned written, turned, kept, lines_most;
    int fd;
    bool removes; /* the folder may be removed at any moment */
    bool removed;
    struct mark marks[MARKS_MAX];
    unsigned mark_count;
    struct birth births[BIRTHS_MAX];
    unsigned birth_count;
    /* the broker */
    struct sl_source_place places[PLACES_MAX];
    size_t place_count;
    uint32_t lines[LINES_MAX];
    uint32_t line_count, gaps;
    uint32_t gap_places[LINES_MAX];   /* how many lines came before it */
    uint32_t ended_lines, ended_gaps; /* what had come when the end was said */
    unsigned refuses;                 /* one of so many blocks; 0: none */
    bool ended;
    bool stalled; /* it does not answer */
    struct asked asked[ASKED_MAX];
    size_t asked_count;
    struct sl_client client;
    /* the collector */
    struct collector_options options;
    struct collector c;
    unsigned deaths;
    int64_t started_ns;
    bool up, connected;
    bool ran; /* since it was started */
    struct {
        unsigned opens, reads, stats, listings;
    } calls;
} w;

static inline unsigned dice(unsigned sides)
{
    w.seed = w.seed * 1664525u + 1013904223u;
    return (w.seed >> 8) % sides;
}

/* ---- the clock ---- */

int64_t __wrap_sl_now_ns(void);
int64_t __wrap_sl_monotonic_ns(void);
int64_t __wrap_sl_now_ns(void)
{
    return w.now_ns + INT64_C(4000000000) * SL_NS_PER_S; /* no file is as young as to be distrusted */
}
int64_t __wrap_sl_monotonic_ns(void)
{
    return w.now_ns;
}

static inline void trace(const char *format, ...)
{
    va_list list;
    if (!getenv("TRACE"))
        return;
    va_start(list, format);
    printf("%9.3f ", (double)(w.now_ns - 1000 * SL_NS_PER_S) / 1e9);
    vprintf(format, list);
    va_end(list);
    puts("");
}
