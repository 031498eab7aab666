// SPDX-License-Identifier: Apache-2.0
/* sandlog-broker: comes up, runs the home thread, goes down. */
#include "check.h"
#include "hold.h"
#include "home.h"
#include "options.h"
#include "wire/diagnostics.h"
#include "wire/privileges.h"
#include "wire/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    WAITING_MAX = 8192,           /* unanswered requests of a link, parked ones included */
    WAITING_MAX_BYTES = 64 << 20, /* of requests and answers of a link */
    CLOSE_WITHIN_S = 5,
};

/* What the program's user wrote is wrong, or the machine is; main()'s exit status. */
enum whose { MACHINES = 1, USERS = 2 };

_Noreturn static void fail(enum whose fault, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(enum whose fault, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "sandlog-broker: %s\n", text);
    /* nng and the store may have threads; nothing has been promised to anybody yet. */
    fflush(stderr);
    _exit((int)fault);
}

static const char *fault_text(int fault)
{
    switch (fault) {
    case -EADDRINUSE:
        return "the address is in use";
    case -EACCES:
        return "permission denied";
    case -EINVAL:
        return "this is not an address to listen on";
    default:
        return strerror(-fault);
    }
}

static enum sl_level level(const char *name)
{
    switch (*name) {
    case 'e':
        return SL_ERROR;
    case 'w':
        return SL_WARNING;
    case 'd':
        return SL_DEBUG;
    default:
        return SL_INFORM;
    }
}

static const char *location(const struct broker_options *o)
{
    return o->store ? o->store : o->data;
}

/* In a text that holds redis://USER:PASSWORD@HOST. */
static void hide_password(const char *text)
{
    char *host = text ? strstr(text, "redis://") : NULL;
    char *end = host ? strrchr(host, '@') : NULL;
    char *colon = end ? memchr(host + 8, ':', (size_t)(end - host - 8)) : NULL;
    if (colon)
        memset(colon + 1, '*', (size_t)(end - colon - 1));
}

/* The store has it; from now on it is not in messages, and not to be seen by who lists processes. */
static void hide_passwords(const struct broker_options *o, char **argv)
{
    hide_password(o->store);
    for (char **at = argv; *at; at++)
        hide_password(*at);
    for (char **at = environ; *at; at++)
        if (strncmp(*at, "SANDLOG_STORE=", 14) == 0)
            hide_password(*at);
}

static void open_store(struct home *h, const struct broker_options *o, char **argv)
{
    struct hold hold;
    int unread = hold_parse(o->export_hold, &hold);
    assert(unread == 0); /* the option's check */
    struct store_options options = {
        .location = location(o),
        .memory_bytes = (uint64_t)o->memory_bytes,
        .segment_bytes = (uint64_t)o->segment_bytes,
        .retention_age_ns = o->retention_age_ns,
        .retention_bytes = (uint64_t)o->retention_bytes,
        .sandbox_bytes = (uint64_t)o->sandbox_bytes,
        .export_hold_bytes = hold.bytes,
        .export_hold_ns = hold.age_ns,
        .export_holds = hold.holds,
        .compact_cpu_percent = (unsigned)o->compact_cpu,
        .compact_bytes_per_s = (uint64_t)o->compact_io,
        .wake = home_wake,
        .grown = home_grown,
        .told = home_told,
        .arg = h,
    };
    const char *why = NULL;
    int fault = store_open(&options, &h->store, &why);
    hide_passwords(o, argv);
    if (fault != 0)
        fail(fault == -EINVAL && o->store ? USERS : MACHINES, "%s: %s", location(o),
             why ? why : strerror(-fault));
}

static struct sl_server *listen_at(const char *flag, const char *url, struct sl_link_keys *keys,
                                   uint64_t epoch)
{
    struct sl_server_options options = {
        .url = url, .keys = keys, .epoch = epoch, .max_waiting = WAITING_MAX, .max_bytes = WAITING_MAX_BYTES};
    struct sl_server *server;
    int fault = sl_server_new(&options, &server);
    if (fault != 0)
        fail(fault == -EINVAL ? USERS : MACHINES, "--%s %s: %s", flag, url, fault_text(fault));
    return server;
}

static struct sl_link_keys *read_keys(void)
{
    struct sl_link_keys *keys;
    char why[SL_LINK_WHY_BYTES];
    int answer = broker_keys_read(&keys, why);
    if (answer != 0)
        fail(answer < 0 ? MACHINES : USERS, "%s", answer < 0 ? strerror(-answer) : why);
    return keys;
}

static void open_links(struct home *h, const struct broker_options *o, struct sl_link_keys *keys)
{
    h->epoch = store_epoch(h->store);
    h->setbacks = store_setbacks(h->store);
    h->ingest_link = listen_at("ingest", o->ingest, keys, store_epoch(h->store));
    h->query_link = listen_at("query", o->query, keys, store_epoch(h->store));
}

static void open_ops(struct home *h, const struct broker_options *o)
{
    if (sl_metrics_new("sandlog_broker", &h->metrics) != 0)
        fail(MACHINES, "%s", strerror(ENOMEM));
    counts_register(&h->counts, h->metrics);
    int fault = sl_ops_new(o->http, h->metrics, &h->ops);
    if (fault == 0)
        fault = sl_ops_post(h->ops, "/compact", &h->mailbox);
    if (fault != 0)
        fail(MACHINES, "--http %s: %s", o->http, fault_text(fault));
}

static void open_home(struct home *h, const struct broker_options *o, char **argv)
{
    h->started_ns = sl_monotonic_ns();
    h->published_ns = h->started_ns - SL_NS_PER_S;
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int fault = h->wake_fd < 0 ? -errno : sl_mailbox_init(&h->mailbox, NULL, NULL);
    if (fault != 0)
        fail(MACHINES, "%s", strerror(-fault));
    struct sl_link_keys *keys = read_keys(); /* before a store is made that nobody will use */
    open_store(h, o, argv);
    if (stops_new(h->store, &h->counts, sl_monotonic_ns(), &h->stops) != 0 ||
        ingest_new(h->store, &h->counts, &h->ingest) != 0 ||
        catalog_new(h->store, h->stops, &h->counts, &h->catalog) != 0 ||
        exports_new(h->store, &h->counts, &h->exports) != 0 ||
        reads_new(h->store, &h->counts, &h->reads) != 0)
        fail(MACHINES, "%s", strerror(ENOMEM));
    open_ops(h, o);
    struct store_stats stats;
    store_stats(h->store, &stats);
    if (stats.cut_records || stats.lost_segments)
        sl_log(SL_WARNING, "store.damaged",
               "cut_records=%" PRIu64 " cut_bytes=%" PRIu64 " lost_segments=%" PRIu64, stats.cut_records,
               stats.cut_bytes, stats.lost_segments);
    open_links(h, o, keys);
    sl_link_keys_unref(keys);
}

static void close_home(struct home *h)
{
    store_close(h->store);
    sl_log(SL_INFORM, "broker.stopped", NULL);
    sl_end_within(CLOSE_WITHIN_S); /* there is nothing to lose any more, and nng is known to hang at times */
    sl_ops_free(h->ops);
    home_end_calls(h);
    sl_server_free(h->ingest_link);
    sl_server_free(h->query_link);
    reads_free(h->reads);
    exports_free(h->exports);
    catalog_free(h->catalog);
    ingest_free(h->ingest);
    stops_free(h->stops);
    sl_metrics_free(h->metrics);
    sl_mailbox_fini(&h->mailbox);
    close(h->wake_fd);
    close(h->signals_fd);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "check") == 0)
        return check_run(argc - 1, argv + 1);
    const struct broker_options *o = broker_options_read(argc, argv);
    sl_log_init("broker", level(o->log_level));
    static struct home home;
    home.signals_fd = sl_signals_open();
    if (home.signals_fd < 0)
        fail(MACHINES, "%s", strerror(-home.signals_fd));
    sl_raise_open_files();
    /* its directory, and its ipc sockets, may be somebody else's */
    int kept = sl_privileges_keep(SL_MAY_BIND_ANY_PORT | SL_MAY_READ_ANY_FILE | SL_MAY_CHANGE_ANY_FILE);
    if (kept < 0)
        fail(MACHINES, "cannot give up privileges: %s", strerror(-kept));
    open_home(&home, o, argv);

    char data[512], ingest[512], query[512];
    sl_log(SL_INFORM, "broker.started",
           "version=" SL_VERSION " data=%s ingest=%s query=%s ingest_port=%u query_port=%u http_port=%u",
           sl_log_value(sl_slice_of(location(o)), data, sizeof data),
           sl_log_value(sl_slice_of(o->ingest), ingest, sizeof ingest),
           sl_log_value(sl_slice_of(o->query), query, sizeof query),
           (unsigned)sl_server_port(home.ingest_link), (unsigned)sl_server_port(home.query_link),
           (unsigned)sl_ops_port(home.ops));
    sl_notify("READY=1");
    home_run(&home);
    close_home(&home);
    return 0;
}
