// SPDX-License-Identifier: Apache-2.0
#include "home.h"

#include "options.h"
#include "status.h"
#include "wire/diagnostics.h"
#include "wire/timestamp.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define IDLE_NS    (100 * SL_NS_PER_MS) /* the links want to be looked at that often */
#define PUBLISH_NS (500 * SL_NS_PER_MS)
#define REFUSED_NS (60 * SL_NS_PER_S)
#define DRAIN_NS   (10 * SL_NS_PER_S)
/* nng says that an answer was sent when it has it, not when it is on its way; nothing is lost when it is cut
 * off, but its asker would ask again. */
#define LINGER_NS (100 * SL_NS_PER_MS)

enum { TURN_REQUESTS_MAX = 64 }; /* of one link, until the others have their turn */

/* What brokers say to each other: stops.c's words begin with 0 or 1; this one goes on with instance and host.
 */
enum { NOTE_BEGIN = 2, NOTE_BEGIN_BYTES = 1 + 8 };

void home_wake(void *arg)
{
    const struct home *h = arg;
    uint64_t one = 1;
    while (write(h->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void home_grown(void *arg, struct sl_slice sandbox)
{
    struct home *h = arg;
    /* While the store opens there is nobody to tell. */
    if (!h->reads)
        return;
    int64_t now_ns = sl_monotonic_ns();
    reads_grown(h->reads, sandbox, now_ns);
    stops_grown(h->stops, sandbox, now_ns);
    exports_grown(h->exports);
}

/*
 * A collector's process has begun, here or at another broker on the same store: nothing of one of its host
 * that was before it is taken any more. The others hear of it a moment later than its first lines may come.
 */
static void begin(struct home *h, struct sl_request *request)
{
    uint64_t instance;
    if (sl_begin_decode(&request->body, &instance) != SL_STATUS_OK || request->role != SL_ROLE_COLLECTOR) {
        sl_count(&h->counts.refused, 1);
        sl_request_refuse(request, SL_STATUS_MALFORMED, "not the word of a collector that named its host");
        return;
    }
    if (sl_server_begin(h->ingest_link, request, instance)) {
        uint8_t note[STORE_NOTE_MAX_BYTES] = {NOTE_BEGIN};
        size_t bytes = strlen(request->host);
        if (NOTE_BEGIN_BYTES + bytes <= sizeof note) {
            sl_store64(note + 1, instance);
            memcpy(note + NOTE_BEGIN_BYTES, request->host, bytes);
            store_tell(h->store, sl_slice(note, NOTE_BEGIN_BYTES + bytes));
        }
    }
    nng_msg *answer;
    struct sl_writer w;
    if (sl_answer_new(request, SL_STATUS_OK, 0, &answer, &w) == 0)
        sl_request_answer(request, answer, &w);
    else
        sl_request_refuse(request, SL_STATUS_UNAVAILABLE, "out of memory");
}

void home_told(void *arg, struct sl_slice note)
{
    struct home *h = arg;
    if (note.bytes > NOTE_BEGIN_BYTES && note.data[0] == NOTE_BEGIN) {
        if (h->ingest_link)
            sl_server_fence(h->ingest_link,
                            sl_slice(note.data + NOTE_BEGIN_BYTES, note.bytes - NOTE_BEGIN_BYTES),
                            sl_load64(note.data + 1));
        return;
    }
    if (h->stops)
        stops_told(h->stops, note, sl_monotonic_ns());
}

static void unknown(struct home *h, struct sl_request *request)
{
    sl_count(&h->counts.refused, 1);
    sl_request_refuse(request, SL_STATUS_NEWER, "this address does not answer such requests");
}

/* True: there may be more. */
static bool take_ingest(struct home *h, int64_t now_ns)
{
    for (unsigned i = 0; i < TURN_REQUESTS_MAX; i++) {
        if (!ingest_has_room(h->ingest))
            return false; /* goes on when something has become durable */
        struct sl_request *request = sl_server_next(h->ingest_link);
        if (!request)
            return false;
        switch (request->head.type) {
        case SL_APPEND:
            ingest_append(h->ingest, request);
            break;
        case SL_SOURCES:
            ingest_sources(h->ingest, request);
            break;
        case SL_NOTICES:
            stops_notices(h->stops, request, now_ns);
            break;
        case SL_MINE:
            ingest_mine(h->ingest, request, stops_collectors(h->stops, sl_slice_of(request->host)));
            break;
        case SL_BEGIN:
            begin(h, request);
            break;
        default:
            unknown(h, request);
        }
    }
    return true;
}

static bool take_query(struct home *h, int64_t now_ns)
{
    for (unsigned i = 0; i < TURN_REQUESTS_MAX; i++) {
        struct sl_request *request = sl_server_next(h->query_link);
        if (!request)
            return false;
        switch (request->head.type) {
        case SL_READ:
            reads_take(h->reads, request, now_ns);
            break;
        case SL_INFO:
            catalog_info(h->catalog, request);
            break;
        case SL_LIST:
            catalog_list(h->catalog, request);
            break;
        case SL_PUT:
            catalog_put(h->catalog, request);
            break;
        case SL_DELETE:
            catalog_delete(h->catalog, request);
            break;
        case SL_SCAN:
            exports_scan(h->exports, request, now_ns);
            break;
        case SL_LEASE:
            exports_lease(h->exports, request);
            break;
        case SL_ACK:
            exports_ack(h->exports, request);
            break;
        case SL_CONSUMERS:
            exports_list(h->exports, request);
            break;
        case SL_FORGET:
            exports_forget(h->exports, request);
            break;
        default:
            unknown(h, request);
        }
    }
    return true;
}

static void on_compacted(void *arg, int fault)
{
    sl_ops_answer(arg, fault == 0 ? 200 : 503, fault == 0 ? "compacted\n" : "the store could not compact\n");
}

static void take_calls(struct home *h)
{
    struct sl_letter *letter = sl_mailbox_take(&h->mailbox);
    while (letter) {
        struct sl_ops_call *call = (struct sl_ops_call *)letter; /* its first member */
        letter = letter->next;
        store_compact(h->store, on_compacted, call);
    }
}

void home_end_calls(struct home *h)
{
    struct sl_letter *letter = sl_mailbox_take(&h->mailbox);
    while (letter) {
        struct sl_ops_call *call = (struct sl_ops_call *)letter;
        letter = letter->next;
        sl_ops_answer(call, 503, "shutting down\n");
    }
}

/* Who is not let in comes again and again: one line a minute. */
static void publish_refused(struct home *h, int64_t now_ns)
{
    uint64_t refused = sl_server_refused(h->ingest_link) + sl_server_refused(h->query_link);
    uint64_t counted = atomic_load_explicit(&h->counts.refused_peers.value, memory_order_relaxed);
    sl_count(&h->counts.refused_peers, refused - counted);
    if (refused == h->refused_told || (h->refused_told_ns && now_ns - h->refused_told_ns < REFUSED_NS))
        return;
    sl_log(SL_WARNING, "link.refused", "count=%llu why=\"wrong secret, or no certificate of --link-ca\"",
           (unsigned long long)(refused - h->refused_told));
    h->refused_told = refused;
    h->refused_told_ns = now_ns;
}

static void publish(struct home *h, int64_t now_ns)
{
    const char *trouble = store_trouble(h->store);
    if (strcmp(trouble ? trouble : "", h->trouble) != 0) {
        char quoted[256];
        if (trouble)
            sl_log(SL_ERROR, "store.trouble", "why=%s",
                   sl_log_value(sl_slice_of(trouble), quoted, sizeof quoted));
        else
            sl_log(SL_INFORM, "store.healed", NULL);
        sl_ops_set_missing(h->ops, trouble);
        snprintf(h->trouble, sizeof h->trouble, "%s", trouble ? trouble : "");
    } else if (now_ns - h->published_ns < PUBLISH_NS) {
        return;
    }
    h->published_ns = now_ns;
    publish_refused(h, now_ns);
    counts_refresh(&h->counts, h->store, h->ingest_link, h->query_link);
    char *json = status_render(h, now_ns);
    if (json)
        sl_ops_set_status(h->ops, json);
    free(json);
    char *lags = exports_metrics(h->exports);
    if (lags)
        sl_ops_set_more(h->ops, lags);
    free(lags);
}

static void wait_for_work(struct home *h, int64_t until_ns)
{
    /* poll() with nanoseconds: a deadline less than a millisecond away must not spin. */
    int64_t left_ns = until_ns - sl_monotonic_ns();
    if (left_ns < 0)
        left_ns = 0;
    if (left_ns > IDLE_NS)
        left_ns = IDLE_NS;
    struct timespec left = {.tv_sec = left_ns / SL_NS_PER_S, .tv_nsec = left_ns % SL_NS_PER_S};
    struct pollfd fds[] = {
        {.fd = ingest_has_room(h->ingest) ? sl_server_fd(h->ingest_link) : -1, .events = POLLIN},
        {.fd = sl_server_fd(h->query_link), .events = POLLIN},
        {.fd = h->wake_fd, .events = POLLIN},
        {.fd = h->signals_fd, .events = POLLIN},
        {.fd = h->mailbox.fd, .events = POLLIN},
    };
    ppoll(fds, sizeof fds / sizeof *fds, &left, NULL);
    uint64_t woken;
    if (fds[2].revents & POLLIN)
        while (read(h->wake_fd, &woken, sizeof woken) < 0 && errno == EINTR)
            ;
}

/* Another store, or one that may have lost something: collectors come anew and ask where they stand. */
static void tell_collectors(struct home *h)
{
    uint64_t epoch = store_epoch(h->store), setbacks = store_setbacks(h->store);
    if (epoch == h->epoch && setbacks == h->setbacks)
        return;
    sl_log(SL_WARNING, epoch == h->epoch ? "store.setback" : "store.emptied", "epoch=%016llx",
           (unsigned long long)epoch);
    h->epoch = epoch;
    h->setbacks = setbacks;
    sl_server_renew(h->ingest_link, epoch, true);
    sl_server_renew(h->query_link, epoch, false);
}

/* What is durable is answered first, then who waited for it, then what is new. */
static void run_store(struct home *h)
{
    store_run(h->store);
    reads_wake(h->reads);
    exports_wake(h->exports, sl_monotonic_ns());
}

/* Secret and certificates anew; what can't be read leaves the old ones in force. */
static void reload(struct home *h)
{
    struct sl_link_keys *keys;
    char why[SL_LINK_WHY_BYTES], quoted[2 * SL_LINK_WHY_BYTES];
    sl_notify("RELOADING=1");
    int answer = broker_keys_read(&keys, why);
    if (answer == 0) {
        sl_server_set_keys(h->ingest_link, keys);
        sl_server_set_keys(h->query_link, keys);
        sl_link_keys_unref(keys);
        sl_log(SL_INFORM, "reload", "what=link-keys");
    } else {
        sl_log(SL_ERROR, "reload.failed", "what=link-keys why=%s",
               sl_log_value(sl_slice_of(answer < 0 ? strerror(-answer) : why), quoted, sizeof quoted));
    }
    sl_notify("READY=1");
}

static bool asked_to_end(struct home *h)
{
    bool end = false;
    for (int signal; (signal = sl_signals_next(h->signals_fd)) != 0;) {
        if (signal == SIGHUP)
            reload(h);
        else
            end = true;
    }
    return end;
}

/* Nothing is taken any more; what was taken is brought to its end. */
static void drain(struct home *h)
{
    int64_t began_ns = sl_monotonic_ns(), now_ns = began_ns, quiet_ns = began_ns;
    reads_end(h->reads);
    exports_end(h->exports);
    while (now_ns - quiet_ns < LINGER_NS && now_ns - began_ns < DRAIN_NS) {
        run_store(h);
        if (ingest_pending(h->ingest) + catalog_pending(h->catalog) + exports_pending(h->exports) > 0)
            quiet_ns = now_ns;
        struct timespec left = {.tv_nsec = LINGER_NS / 10};
        struct pollfd woken = {.fd = h->wake_fd, .events = POLLIN};
        ppoll(&woken, 1, &left, NULL);
        uint64_t count;
        if (woken.revents & POLLIN)
            while (read(h->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
                ;
        now_ns = sl_monotonic_ns();
    }
}

void home_run(struct home *h)
{
    while (!asked_to_end(h)) {
        run_store(h);
        tell_collectors(h);
        take_calls(h);
        int64_t now_ns = sl_monotonic_ns();
        bool more = take_ingest(h, now_ns);
        more = take_query(h, now_ns) || more;
        int64_t stops_ns = stops_run(h->stops, now_ns);
        int64_t reads_ns = reads_run(h->reads, now_ns);
        int64_t exports_ns = exports_run(h->exports, now_ns);
        publish(h, now_ns);
        int64_t until_ns = stops_ns < reads_ns ? stops_ns : reads_ns;
        wait_for_work(h, more ? now_ns : exports_ns < until_ns ? exports_ns : until_ns);
    }
    sl_notify("STOPPING=1");
    drain(h);
}
