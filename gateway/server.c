// SPDX-License-Identifier: Apache-2.0
#include "server.h"
#include "access.h"
#include "admission.h"
#include "auth.h"
#include "door.h"
#include "feed.h"
#include "guard.h"
#include "linger.h"
#include "options.h"
#include "outlet.h"
#include "pollset.h"
#include "reader.h"
#include "tls.h"
#include "watch.h"
#include "wire/diagnostics.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    TICK_MS = 100,
    FREED_BYTES = 1 << 20,   /* worth a walk through the heap */
    HEADER_BYTES = 32 << 10, /* what lws keeps of a request's head; guard.h refuses earlier, and in words */
    SLOW_REQUEST_S = 10,
    KEEP_ALIVE_IDLE_S = 60,
    PING_S = 15,
    HANGUP_S = UINT16_MAX, /* lws has no "never": who does not read sends no pong either; see lost() */
};

/* ---- the loop's own descriptors, adopted as files ---- */

static void tick(struct server *s)
{
    int64_t now_ns = sl_monotonic_ns();
    upstream_run(s->upstream);
    s->asks = true;
    linger_tick(now_ns);
    access_turn(s, now_ns);
    if (now_ns - s->second_ns < SL_NS_PER_S)
        return;
    s->second_ns = now_ns;
    if (s->freed_bytes >= FREED_BYTES) {
        malloc_trim(0);
        s->freed_bytes = 0;
    }
    connections_tick(s, now_ns);
    door_tick(now_ns);
    admission_tick(s->admission, now_ns);
}

static void begin_stop(struct server *s)
{
    if (s->stop_ns)
        return;
    sl_notify("STOPPING=1");
    sl_log(SL_INFORM, "stopping", "connections=%zu followers=%zu", s->connection_count, s->follower_count);
    s->stop_ns = sl_monotonic_ns() + options.shutdown_grace_ns;
    connections_stop(s);
}

static int read_link_keys(struct sl_link_keys **ret, char why[SL_LINK_WHY_BYTES])
{
    int answer =
        sl_link_keys_read(&options.files, false, options.brokers.items, options.brokers.count, ret, why);
    if (answer < 0)
        snprintf(why, SL_LINK_WHY_BYTES, "%s", strerror(-answer));
    return answer;
}

/* why: NULL when it was taken. */
static void reloaded(const char *what, const char *why)
{
    char quoted[2 * TLS_WHY_BYTES];
    if (why)
        sl_log(SL_ERROR, "reload.failed", "what=%s why=%s", what,
               sl_log_value(sl_slice_of(why), quoted, sizeof quoted));
    else
        sl_log(SL_INFORM, "reload", "what=%s", what);
}

/* Keys and certificates anew; what can't be read leaves the old ones in force. */
static void reload(struct server *s)
{
    struct auth *auth;
    const char *why = NULL;
    sl_notify("RELOADING=1");
    struct sl_link_keys *keys;
    char link_why[SL_LINK_WHY_BYTES];
    int read = read_link_keys(&keys, link_why);
    if (read == 0) {
        upstream_set_keys(s->upstream, keys);
        sl_link_keys_unref(keys);
    }
    reloaded("link-keys", read ? link_why : NULL);
    if (options.token_key_file) {
        int answer = auth_open(options.token_key_file, &auth, &why);
        if (answer == 0) {
            auth_close(s->auth);
            s->auth = auth;
        }
        reloaded("token-key", answer < 0 ? strerror(-answer) : answer ? why : NULL);
    }
    if (options.tls_cert_file) {
        char tls_why[TLS_WHY_BYTES] = "the library does not take it";
        int answer =
            tls_check(options.tls_cert_file, options.tls_key_file, tls_why) ||
            lws_tls_cert_updated(s->lws, options.tls_cert_file, options.tls_key_file, NULL, 0, NULL, 0);
        reloaded("tls", answer ? tls_why : NULL);
    }
    sl_notify("READY=1");
}

static void take_signals(struct server *s)
{
    int signal;
    while ((signal = sl_signals_next(s->signal_fd)) != 0)
        if (signal == SIGTERM || signal == SIGINT)
            begin_stop(s);
        else if (signal == SIGHUP)
            reload(s);
}

static int readable(struct server *s, int fd)
{
    uint64_t expirations;
    if (fd == s->signal_fd) {
        take_signals(s);
        return 0;
    }
    if (fd == s->watch_fd) {
        watch_run(fd);
        return 0;
    }
    if (read(fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        return -1;
    if (fd == s->tick_fd)
        tick(s);
    else
        s->asks = true;
    return 0;
}

static int dispatch(struct server *s, struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t bytes)
{
    switch (reason) {
    case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
        /* it comes once per protocol */
        if (s->upstream && s->feeds &&
            lws_get_protocol(wsi) == lws_vhost_name_to_protocol(s->vhost, "sandlog")) {
            upstream_run(s->upstream);
            s->asks = true;
            readers_resume(s);
        }
        return 0;
    case LWS_CALLBACK_RAW_RX_FILE:
        return readable(s, lws_get_socket_fd(wsi));
    default:
        return connection_callback(wsi, reason, user, in, bytes);
    }
}

/*
 * lws' callbacks nest; what they left to be written is written at the end of the outermost. Then more is
 * asked for: beside thousands of followers writing takes 50 ms and longer, and an answer holds what was there
 * when it was asked for.
 */
static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t bytes)
{
    struct server *s = lws_context_user(lws_get_context(wsi));
    if (s->depth++ == 0)
        s->turn_work = READER_TURN_WORK;
    int answer = dispatch(s, wsi, reason, user, in, bytes);
    if (s->depth == 1) {
        outlet_flush(s);
        if (s->asks)
            feeds_turn(s->feeds);
        s->asks = false;
    }
    s->depth--;
    return answer;
}

/* The first is HTTP's and a WebSocket's that names none; one write of 64 KiB is one send. */
static const struct lws_protocols protocols[] = {
    {"sandlog", callback, sizeof(struct connection *), 4096, 0, NULL, CONNECTION_PIECE_BYTES},
    {"sandlog.ndjson.v1", callback, sizeof(struct connection *), 4096, 0, NULL, CONNECTION_PIECE_BYTES},
    {"sandlog.text.v1", callback, sizeof(struct connection *), 4096, 0, NULL, CONNECTION_PIECE_BYTES},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

static bool adopt(struct server *s, int fd)
{
    lws_sock_file_fd_type d = {.filefd = fd};
    return lws_adopt_descriptor_vhost(s->vhost, LWS_ADOPT_RAW_FILE_DESC, d, "sandlog", NULL) != NULL;
}

static int timer(int64_t every_ms)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct itimerspec when = {.it_interval.tv_nsec = every_ms * 1000000,
                              .it_value.tv_nsec = every_ms * 1000000};
    if (fd >= 0 && every_ms)
        timerfd_settime(fd, 0, &when, NULL);
    return fd;
}

/* ---- start ---- */

static void wake(void *arg)
{
    struct server *s = arg;
    lws_cancel_service(s->lws); /* the one call of lws that other threads may make */
}

static void broker_changed(void *arg, bool connected)
{
    struct server *s = arg;
    const char *missing = upstream_missing(s->upstream);
    char value[200];
    if (connected)
        sl_log(SL_INFORM, "broker.connected", "%s", "");
    else
        sl_log(SL_WARNING, "broker.away", "why=%s",
               sl_log_value(sl_slice_of(missing ? missing : ""), value, sizeof value));
}

static int refuse(const char *format, const char *a, const char *b)
{
    fprintf(stderr, "sandlog-gateway: ");
    fprintf(stderr, format, a, b);
    fprintf(stderr, "\n");
    return SERVER_REFUSED;
}

static int misuse(const char *format, const char *a, const char *b)
{
    refuse(format, a, b);
    return SERVER_MISUSED;
}

struct listener {
    char host[256];
    int port;
    int family;
    bool loopback;
};

/* Resolves --listen, and tries the address, because lws does not say why it could not listen. */
static int probe(struct listener *l)
{
    const char *colon = strrchr(options.listen, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    struct sl_slice host = sl_slice(options.listen, (size_t)(colon - options.listen));
    if (host.bytes > 1 && host.data[0] == '[')
        host = sl_slice(host.data + 1, host.bytes - 2);
    if (host.bytes >= sizeof l->host)
        return misuse("cannot listen on %s%s", options.listen, ": the name is too long");
    memcpy(l->host, host.data, host.bytes);
    l->host[host.bytes] = 0;
    int answer = getaddrinfo(l->host[0] ? l->host : NULL, colon + 1, &hints, &found);
    if (answer != 0)
        return refuse("cannot listen on %s: %s", options.listen, gai_strerror(answer));
    l->family = found->ai_family;
    char numeric[256] = "";
    getnameinfo(found->ai_addr, found->ai_addrlen, numeric, sizeof numeric, NULL, 0, NI_NUMERICHOST);
    l->loopback = guard_loopback_name(sl_slice_of(l->host[0] ? numeric : "")) || strcmp(numeric, "::1") == 0;
    snprintf(l->host, sizeof l->host, "%s", numeric);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_storage bound;
    socklen_t bytes = sizeof bound;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int fault = bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 1) < 0 ? errno : 0;
    if (!fault && getsockname(fd, (struct sockaddr *)&bound, &bytes) == 0)
        l->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                    : ((struct sockaddr_in *)&bound)->sin_port);
    close(fd);
    freeaddrinfo(found);
    return fault ? refuse("cannot listen on %s: %s", options.listen, strerror(fault)) : 0;
}

/* lws does not name it; nothing else here listens. */
static int listening_fd(void)
{
    for (int fd = 0; fd < 1024; fd++) {
        int listens = 0;
        socklen_t bytes = sizeof listens;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) == 0 && listens)
            return fd;
    }
    return -1;
}

static int open_lws(struct server *s, const struct listener *l)
{
    static const lws_retry_bo_t alive = {.secs_since_valid_ping = PING_S,
                                         .secs_since_valid_hangup = HANGUP_S};
    struct lws_context_creation_info info = {
        .port = l->port,
        .iface = l->host,
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_VALIDATE_UTF8 |
                   (l->family == AF_INET6 ? 0 : LWS_SERVER_OPTION_DISABLE_IPV6),
        .gid = -1,
        .uid = -1,
        .user = s,
        .max_http_header_data = HEADER_BYTES,
        .pt_serv_buf_size = HEADER_BYTES, /* a whole head in one read: door.h */
        .timeout_secs = SLOW_REQUEST_S,
        .timeout_secs_ah_idle = SLOW_REQUEST_S,
        .keepalive_timeout = KEEP_ALIVE_IDLE_S,
        .ka_time = 10, /* a reader that is gone without a word and that nothing is sent to */
        .ka_interval = 5,
        .ka_probes = 3,
        .alpn = "http/1.1",
        .retry_and_idle_policy = &alive,
        .vhost_name = "sandlog",
        .ssl_cert_filepath = options.tls_cert_file,
        .ssl_private_key_filepath = options.tls_key_file,
        /* what was forward secret before TLS 1.3 */
        .ssl_cipher_list = "ECDHE+AESGCM:ECDHE+CHACHA20",
    };
    if (options.tls_cert_file)
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    lws_set_log_level(0, NULL); /* its texts may hold parts of requests */
    s->lws = lws_create_context(&info);
    if (s->lws)
        s->vhost = lws_create_vhost(s->lws, &info);
    s->listen_fd = listening_fd();
    if (!s->vhost || s->listen_fd < 0)
        return refuse("cannot listen on %s%s", options.listen, "");
    return 0;
}

static int read_key(struct server *s)
{
    const char *why;
    if (!options.token_key_file)
        return 0;
    int answer = auth_open(options.token_key_file, &s->auth, &why);
    if (answer < 0)
        return misuse("cannot read --token-key %s: %s", options.token_key_file, strerror(-answer));
    return answer ? misuse("--token-key %s: %s", options.token_key_file, why) : 0;
}

static int check_tls(void)
{
    char why[TLS_WHY_BYTES];
    if (!options.tls_cert_file != !options.tls_key_file)
        return misuse("%s%s", "--tls-cert and --tls-key come together", "");
    return options.tls_cert_file && tls_check(options.tls_cert_file, options.tls_key_file, why)
               ? misuse("%s%s", why, "")
               : 0;
}

int server_open(struct server *s, int signal_fd)
{
    struct listener listener = {0};
    struct sl_link_keys *keys;
    char why[SL_LINK_WHY_BYTES];
    int answer = probe(&listener);
    if (answer)
        return answer;
    if ((answer = read_key(s)) != 0 || (answer = check_tls()) != 0)
        return answer;
    if (!listener.loopback && !options.insecure_no_auth && !s->auth)
        return misuse(
            "--listen %s%s", options.listen,
            ": without --token-key only loopback addresses are served (or give --insecure-no-auth)");
    s->loopback = !options.insecure_no_auth && !s->auth;
    s->started_ns = sl_monotonic_ns();
    LIST_INIT(&s->connections);
    TAILQ_INIT(&s->ready);
    TAILQ_INIT(&s->resting);
    TAILQ_INIT(&s->line);
    door_open();
    pollset_open();
    if ((answer = read_link_keys(&keys, why)) != 0)
        return answer < 0 ? refuse("%s%s", why, "") : misuse("%s%s", why, "");
    if (counts_init(&s->counts) < 0 || (answer = open_lws(s, &listener)) != 0)
        return answer ? answer : refuse("%s%s", "out of memory", "");
    int pace_fd = timer(0);
    s->tick_fd = timer(TICK_MS);
    s->watch_fd = watch_open();
    s->signal_fd = signal_fd;
    if (!adopt(s, s->tick_fd) || !adopt(s, pace_fd) || !adopt(s, s->watch_fd) || !adopt(s, signal_fd))
        return refuse("%s%s", "out of file descriptors", "");
    struct upstream_options upstream = {.urls = options.brokers.items,
                                        .url_count = options.brokers.count,
                                        .keys = keys,
                                        .wake = wake,
                                        .changed = broker_changed,
                                        .arg = s};
    struct admission_limits limits = {.followers = (size_t)options.max_followers,
                                      .followers_of_one = (size_t)options.max_followers_per_token,
                                      .requests_per_s_of_one = (size_t)options.max_requests_per_token,
                                      .bytes_per_s_of_one = (size_t)options.max_bytes_per_token};
    if (admission_new(&limits, &s->admission) < 0)
        return refuse("%s%s", "out of memory", "");
    if (feeds_new(s, pace_fd, &s->feeds) < 0)
        return refuse("%s%s", "out of memory", "");
    int fault = upstream_new(&upstream, &s->upstream);
    sl_link_keys_unref(keys);
    if (fault < 0)
        return refuse("cannot use --broker: %s%s", strerror(-fault), "");
    sl_log(SL_INFORM, "listening", "address=%s%s%s port=%d", listener.family == AF_INET6 ? "[" : "",
           listener.host, listener.family == AF_INET6 ? "]" : "", listener.port);
    sl_notify("READY=1");
    return 0;
}

/* ---- run, and end ---- */

/*
 * Whom the kernel has let in is answered: closing the socket resets those that lws did not accept yet, so it
 * is closed in a moment in which there are none. lws 4.1.6 closes it with everything else only, so something
 * that never becomes readable takes its place.
 */
static void stop_listening(struct server *s)
{
    struct pollfd waiting = {.fd = s->listen_fd, .events = POLLIN};
    if (poll(&waiting, 1, 0) > 0)
        return;
    int silent = eventfd(0, EFD_CLOEXEC);
    if (silent < 0 || dup3(silent, s->listen_fd, O_CLOEXEC) < 0)
        sl_log(SL_WARNING, "listening.goes.on", "%s", "");
    close(silent);
    s->listen_fd = -1;
}

static bool over(struct server *s)
{
    if (!s->stop_ns)
        return false;
    int64_t now_ns = sl_monotonic_ns();
    if (now_ns >= s->stop_ns)
        return true;
    if (s->listen_fd >= 0)
        stop_listening(s);
    return s->listen_fd < 0 && !s->connection_count && !door_awaits(now_ns);
}

void server_run(struct server *s)
{
    while (!over(s))
        if (lws_service(s->lws, 0) < 0)
            break;
}

void server_close(struct server *s)
{
    /* Its threads wake lws, so they end first; readers and feeds still hold calls of it, so those go last. */
    struct upstream *upstream = s->upstream;
    if (upstream)
        upstream_stop(upstream);
    s->upstream = NULL;
    if (s->lws)
        lws_context_destroy(s->lws);
    feeds_free(s->feeds);
    upstream_free(upstream);
    admission_free(s->admission);
    auth_close(s->auth);
    counts_fini(&s->counts);
}
