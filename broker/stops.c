// SPDX-License-Identifier: Apache-2.0
#include "stops.h"

#include "single.h"
#include "wire/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Without memory an entry is not added, which the caller sees by looking. */
#define HASH_NONFATAL_OOM        1
#define uthash_nonfatal_oom(elt) ((elt)->hashed = false)
#include <uthash.h>
#include <utlist.h>

#define LIVE_NS (5 * SL_NS_PER_S) /* a host counts as live that long after its last request */
#define QUIET_NS                                                                                             \
    (30 * SL_NS_PER_S) /* a live collector that sends nothing of the sandbox that long has nothing */
#define RETRY_NS (1 * SL_NS_PER_S)
#define TICK_NS  (100 * SL_NS_PER_MS)
#define TELL_NS  (1 * SL_NS_PER_S) /* other brokers hear of each that often; a word may get lost */
/* After a restart collectors come back with a back-off of up to 5 s. */
#define COMEBACK_NS (5 * SL_NS_PER_S)

enum {
    NOTICES_MAX = 4096, /* ids in one answer; the rest with the next */
    WAIT_MAX_MS = 60000,
};

struct waiting {
    struct sl_request *request;
    uint64_t seen;
    int64_t deadline_ns;
    struct waiting *prev, *next;
};

struct host {
    struct waiting *waiting;
    struct stopping *stopping; /* by version, ascending */
    int64_t live_ns;           /* when it was last live */
    bool hashed;
    UT_hash_handle hh;
    size_t bytes;
    char name[SL_HOST_MAX_BYTES];
};

struct stopping {
    struct host *host;
    uint64_t version;
    int64_t since_ns;
    int64_t moved_ns;     /* last sign of its collector */
    int64_t retry_ns;     /* not before: set it STOPPED */
    int64_t elsewhere_ns; /* when another broker last said that it has a live collector of it */
    int64_t told_ns;      /* when the other brokers were last told */
    bool ending;          /* STOPPED is on its way to the disk; `single` holds a pointer to this */
    bool hashed;
    struct stopping *prev, *next;
    UT_hash_handle hh;
    struct stops *stops;
    size_t bytes;
    char id[SL_ID_MAX_BYTES];
};

struct stops {
    struct store *store;
    struct counts *counts;
    struct host *hosts;
    struct stopping *sandboxes;
    uint64_t version; /* of the newest notice; begins with the clock, so that it grows over restarts */
    int64_t tick_ns;
    int64_t rescan_ns; /* 0: no need */
};

/* ---- notices ---- */

static void answer(struct stops *s, struct host *host, struct waiting *waiting, int64_t now_ns)
{
    struct stopping *first = NULL;
    size_t count = 0, bytes = sizeof(uint64_t);
    if (host->stopping)
        for (struct stopping *e = host->stopping->prev; e->version > waiting->seen; e = e->prev) {
            first = e;
            count++;
            if (e == host->stopping)
                break;
        }
    uint64_t version = s->version;
    if (count > NOTICES_MAX) {
        count = NOTICES_MAX;
        struct stopping *last = first;
        for (size_t i = 1; i < count; i++)
            last = last->next;
        version = last->version;
    }
    bytes += count * (1 + SL_ID_MAX_BYTES);
    nng_msg *msg;
    struct sl_writer w;
    if (sl_answer_new(waiting->request, SL_STATUS_OK, bytes, &msg, &w) == 0) {
        sl_notices_answer_begin(&w, version);
        for (struct stopping *e = first; count > 0; e = e->next, count--)
            sl_id_write(&w, sl_slice(e->id, e->bytes));
        sl_request_answer(waiting->request, msg, &w);
    } else {
        sl_request_refuse(waiting->request, SL_STATUS_UNAVAILABLE, "out of memory");
    }
    DL_DELETE(host->waiting, waiting);
    free(waiting);
    host->live_ns = now_ns;
    sl_gauge_set(&s->counts->parked_notices, s->counts->parked_notices.value - 1);
}

static void answer_all(struct stops *s, struct host *host, int64_t now_ns)
{
    while (host->waiting)
        answer(s, host, host->waiting, now_ns);
}

static struct host *host_get(struct stops *s, struct sl_slice name)
{
    if (!name.data)
        name = sl_slice_of("");
    struct host *host;
    HASH_FIND(hh, s->hosts, name.data, name.bytes, host);
    if (host || name.bytes > SL_HOST_MAX_BYTES)
        return host;
    host = calloc(1, sizeof *host);
    if (!host)
        return NULL;
    memcpy(host->name, name.data, name.bytes);
    host->bytes = name.bytes;
    host->live_ns = INT64_MIN;
    host->hashed = true;
    HASH_ADD_KEYPTR(hh, s->hosts, host->name, host->bytes, host);
    if (!host->hashed) {
        free(host);
        return NULL;
    }
    return host;
}

void stops_notices(struct stops *s, struct sl_request *request, int64_t now_ns)
{
    uint64_t seen;
    uint32_t wait_ms;
    if (sl_notices_decode(&request->body, &seen, &wait_ms) != SL_STATUS_OK) {
        sl_request_refuse(request, SL_STATUS_MALFORMED, "not a notices request");
        return;
    }
    if (!*request->host) {
        sl_request_refuse(request, SL_STATUS_MALFORMED, "only a collector that named its host gets notices");
        return;
    }
    struct host *host = host_get(s, sl_slice_of(request->host));
    struct waiting *waiting = host ? calloc(1, sizeof *waiting) : NULL;
    if (!waiting) {
        sl_request_refuse(request, SL_STATUS_UNAVAILABLE, "out of memory");
        return;
    }
    /* One request of a connection waits; an earlier one is answered, so that nobody can fill the room. */
    struct waiting *w, *next;
    DL_FOREACH_SAFE(host->waiting, w, next)
    if (w->request->peer == request->peer)
        answer(s, host, w, now_ns);
    if (wait_ms > WAIT_MAX_MS)
        wait_ms = WAIT_MAX_MS;
    waiting->request = request;
    waiting->seen = seen > s->version ? 0 : seen; /* a version of another life says nothing */
    waiting->deadline_ns = now_ns + (int64_t)wait_ms * SL_NS_PER_MS;
    DL_APPEND(host->waiting, waiting);
    host->live_ns = now_ns;
    sl_gauge_set(&s->counts->parked_notices, s->counts->parked_notices.value + 1);
    bool news = host->stopping && host->stopping->prev->version > waiting->seen;
    if (news || wait_ms == 0)
        answer(s, host, waiting, now_ns);
    else if (waiting->deadline_ns < s->tick_ns)
        s->tick_ns = waiting->deadline_ns;
}

size_t stops_collectors(const struct stops *s, struct sl_slice host)
{
    struct host *h;
    struct waiting *w;
    size_t count = 0;
    HASH_FIND(hh, s->hosts, host.data, host.bytes, h);
    if (h)
        DL_COUNT(h->waiting, w, count);
    return count;
}

/* ---- sandboxes ---- */

static void count(struct stops *s)
{
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the analyzer does not know that HASH_DEL took it out
    sl_gauge_set(&s->counts->stopping, HASH_COUNT(s->sandboxes));
}

static void untrack(struct stops *s, struct stopping *e)
{
    HASH_DEL(s->sandboxes, e);
    DL_DELETE(e->host->stopping, e);
    e->hashed = false;
    if (!e->ending)
        free(e);
    count(s);
}

static bool is_live(const struct host *host, int64_t now_ns)
{
    return host->live_ns != INT64_MIN && now_ns - host->live_ns < LIVE_NS;
}

/* What brokers say to each other: whether a live collector of it is here, and its id. */
static void tell(struct stops *s, struct stopping *e, int64_t now_ns)
{
    uint8_t note[1 + SL_ID_MAX_BYTES];
    static_assert((int)sizeof note <= (int)STORE_NOTE_MAX_BYTES, "a word");
    note[0] = is_live(e->host, now_ns);
    memcpy(note + 1, e->id, e->bytes);
    store_tell(s->store, sl_slice(note, 1 + e->bytes));
    e->told_ns = now_ns;
}

static void announce(struct stops *s, struct stopping *e, struct host *host, int64_t now_ns)
{
    if (e->host)
        DL_DELETE(e->host->stopping, e);
    e->host = host;
    e->version = ++s->version;
    DL_APPEND(host->stopping, e);
    tell(s, e, now_ns);
    answer_all(s, host, now_ns);
}

/* The sandbox is STOPPING and belongs to the host. */
static void track(struct stops *s, struct sl_slice id, struct sl_slice host_name, int64_t now_ns)
{
    struct stopping *e;
    HASH_FIND(hh, s->sandboxes, id.data, id.bytes, e);
    struct host *host = host_get(s, host_name);
    if (host && e) {
        e->moved_ns = now_ns;
        if (e->host != host)
            announce(s, e, host, now_ns);
        return;
    }
    e = host ? calloc(1, sizeof *e) : NULL;
    if (e) {
        memcpy(e->id, id.data, id.bytes);
        e->bytes = id.bytes;
        e->stops = s;
        e->since_ns = e->moved_ns = now_ns;
        e->elsewhere_ns = INT64_MIN;
        e->hashed = true;
        HASH_ADD_KEYPTR(hh, s->sandboxes, e->id, e->bytes, e);
    }
    if (!e || !e->hashed) {
        free(e);
        s->rescan_ns = now_ns + RETRY_NS;
        return;
    }
    announce(s, e, host, now_ns);
    count(s);
}

void stops_look(struct stops *s, struct sl_slice sandbox, int64_t now_ns)
{
    struct sl_info info;
    bool stopping = store_info(s->store, sandbox, &info) == 0 && info.place.state == SL_STOPPING;
    if (stopping) {
        track(s, sandbox, info.host, now_ns);
        return;
    }
    struct stopping *e;
    HASH_FIND(hh, s->sandboxes, sandbox.data, sandbox.bytes, e);
    if (e)
        untrack(s, e);
}

void stops_grown(struct stops *s, struct sl_slice sandbox, int64_t now_ns)
{
    if (!s->sandboxes)
        return;
    struct stopping *e;
    HASH_FIND(hh, s->sandboxes, sandbox.data, sandbox.bytes, e);
    if (e)
        stops_look(s, sandbox, now_ns);
}

void stops_told(struct stops *s, struct sl_slice note, int64_t now_ns)
{
    struct sl_slice id = sl_slice(note.data + 1, note.bytes - 1);
    if (note.bytes < 2 || !sl_sandbox_id_valid(id))
        return;
    struct stopping *e;
    HASH_FIND(hh, s->sandboxes, id.data, id.bytes, e);
    if (!e) {
        stops_look(s, id, now_ns);
        HASH_FIND(hh, s->sandboxes, id.data, id.bytes, e);
    }
    if (e && note.data[0])
        e->elsewhere_ns = now_ns;
}

static void on_ended(void *arg, bool taken)
{
    struct stopping *e = arg;
    e->ending = false;
    if (!e->hashed)
        free(e);
    else if (taken)
        stops_look(e->stops, sl_slice(e->id, e->bytes), sl_monotonic_ns());
}

static void end(struct stops *s, struct stopping *e, int64_t now_ns)
{
    struct sl_change change = {
        .fields = SL_CHANGE_STATE, .state = SL_STOPPED, .sandbox = sl_slice(e->id, e->bytes)};
    e->retry_ns = now_ns + RETRY_NS;
    e->ending = true;
    if (single_change(s->store, &change, on_ended, e) != 0)
        e->ending = false;
}

static bool is_elsewhere(const struct stopping *e, int64_t now_ns)
{
    return e->elsewhere_ns != INT64_MIN && now_ns - e->elsewhere_ns < LIVE_NS;
}

static void run_host(struct stops *s, struct host *host, int64_t now_ns)
{
    struct waiting *w, *next;
    DL_FOREACH_SAFE(host->waiting, w, next)
    {
        if (!sl_request_alive(w->request)) {
            sl_request_refuse(w->request, SL_STATUS_UNAVAILABLE, NULL);
            DL_DELETE(host->waiting, w);
            free(w);
            sl_gauge_set(&s->counts->parked_notices, s->counts->parked_notices.value - 1);
            continue;
        }
        host->live_ns = now_ns;
        if (w->deadline_ns <= now_ns)
            answer(s, host, w, now_ns);
        else if (w->deadline_ns < s->tick_ns)
            s->tick_ns = w->deadline_ns;
    }
    struct stopping *e, *after;
    DL_FOREACH_SAFE(host->stopping, e, after)
    {
        int64_t hoped_ns = host->live_ns > e->since_ns ? host->live_ns : e->since_ns;
        if (e->elsewhere_ns > hoped_ns)
            hoped_ns = e->elsewhere_ns;
        /* Who has the collector judges its silence. */
        bool quiet = now_ns - e->moved_ns >= QUIET_NS && (is_live(host, now_ns) || !is_elsewhere(e, now_ns));
        bool nobody = now_ns - hoped_ns >= LIVE_NS || quiet;
        if (now_ns - e->told_ns >= TELL_NS)
            tell(s, e, now_ns);
        if (nobody && !e->ending && now_ns >= e->retry_ns)
            end(s, e, now_ns);
    }
}

struct scan {
    struct stops *stops;
    int64_t now_ns;
};

static bool scan_each(void *arg, const struct sl_info *info)
{
    const struct scan *scan = arg;
    if (info->place.state == SL_STOPPING)
        track(scan->stops, info->sandbox, info->host, scan->now_ns);
    return true;
}

static void scan(struct stops *s, int64_t now_ns)
{
    s->rescan_ns = 0;
    struct scan all = {s, now_ns};
    struct sl_list list = {.state = SL_RUNNING, .limit = SL_LIST_MAX};
    do {
        uint64_t next_page = 0;
        if (store_list(s->store, &list, scan_each, &all, &next_page) != 0)
            return;
        list.page = next_page;
    } while (list.page != 0);
}

int64_t stops_run(struct stops *s, int64_t now_ns)
{
    if (now_ns < s->tick_ns)
        return s->tick_ns;
    if (s->rescan_ns != 0 && now_ns >= s->rescan_ns)
        scan(s, now_ns);
    s->tick_ns = now_ns + TICK_NS;
    struct host *host, *next;
    HASH_ITER(hh, s->hosts, host, next)
    {
        run_host(s, host, now_ns);
        if (!host->waiting && !host->stopping &&
            (host->live_ns == INT64_MIN || now_ns - host->live_ns >= LIVE_NS)) {
            HASH_DEL(s->hosts, host);
            free(host);
        }
    }
    return s->tick_ns;
}

int stops_new(struct store *store, struct counts *counts, int64_t now_ns, struct stops **ret)
{
    struct stops *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->store = store;
    s->counts = counts;
    s->version = (uint64_t)sl_now_ns();
    scan(s, now_ns);
    for (struct stopping *e = s->sandboxes; e; e = e->hh.next)
        e->since_ns = e->moved_ns = now_ns + COMEBACK_NS;
    s->tick_ns = now_ns;
    *ret = s;
    return 0;
}

void stops_free(struct stops *s)
{
    if (!s)
        return;
    struct stopping *e, *e_next;
    HASH_ITER(hh, s->sandboxes, e, e_next)
    {
        assert(!e->ending);
        untrack(s, e);
    }
    struct host *host, *host_next;
    HASH_ITER(hh, s->hosts, host, host_next)
    {
        struct waiting *w, *w_next;
        DL_FOREACH_SAFE(host->waiting, w, w_next)
        free(w);
        HASH_DEL(s->hosts, host); // NOLINT(clang-analyzer-unix.Malloc): as above
        free(host);
    }
    free(s);
}
