// SPDX-License-Identifier: Apache-2.0
/* sandlog up: broker, gateway and collector on this machine, over one folder, supervised. */
#include "children.h"
#include "commands.h"
#include "say.h"
#include "server.h"
#include "term.h"
#include "up_place.h"
#include "wire/diagnostics.h"
#include "wire/options.h"
#include "wire/timestamp.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_NS     (10 * SL_NS_PER_S) /* a daemon that has not stopped by then is killed */
#define SLOW_NS     (5 * SL_NS_PER_S)  /* a start that takes longer is explained */
#define PROBE_MS    20
#define PROBE_LIMIT 500L

static struct {
    const char *data, *listen;
    struct sl_option_list watch;
} options;

static const struct sl_option table[] = {
    {.name = "data",
     .type = SL_OPTION_TEXT,
     .value = &options.data,
     .unit = "DIR",
     .fallback = "./sandlog-data",
     .sentence = "where everything is kept"},
    {.name = "listen",
     .type = SL_OPTION_ADDRESS,
     .value = &options.listen,
     .unit = "HOST:PORT",
     .fallback = "127.0.0.1:8470",
     .sentence = "where the gateway answers; port 0 takes a free one"},
    {.name = "watch",
     .type = SL_OPTION_LIST,
     .value = &options.watch,
     .unit = "SPEC",
     .sentence =
         "watch these files too, e.g. cri:/var/log/pods/{namespace}_{sandbox}_{uid}/{container}/*.log"},
};

static const struct sl_program program = {
    .name = "sandlog up",
    .usage = "[--data DIR] [--listen HOST:PORT] [--watch SPEC]...",
    .sentence = "Run broker, gateway and collector on this machine, and keep them running.",
    .epilogue =
        "Examples:\n"
        "  sandlog up\n"
        "  sandlog up --data /srv/logs --watch 'docker:/var/lib/docker/containers/{sandbox}/*-json.log'\n"
        "\n"
        "The daemons take their other options from the environment, e.g. SANDLOG_RETENTION_AGE=7d.\n",
    .options = table,
    .option_count = sizeof table / sizeof *table,
};

enum { BROKER, GATEWAY, COLLECTOR, CHILDREN };

struct up {
    struct up_place place;
    struct child child[CHILDREN];
    int signals;
    bool ready, stopping, impatient;
};

static void describe(struct up *up)
{
    struct up_place *place = &up->place;
    struct child *broker = &up->child[BROKER], *gateway = &up->child[GATEWAY],
                 *collector = &up->child[COLLECTOR];
    broker->name = "broker";
    gateway->name = "gateway";
    collector->name = "collector";
    const char *const broker_arguments[] = {place->broker,    "--data",          place->store,
                                            "--ingest",       place->ingest_url, "--query",
                                            place->query_url, "--http",          "127.0.0.1:0"};
    const char *const gateway_arguments[] = {place->gateway, "--listen", place->listen, "--broker",
                                             place->query_url};
    const char *const collector_arguments[] = {place->collector, "--broker", place->ingest_url, "--http",
                                               "127.0.0.1:0",    "--watch",  place->watch};
    for (size_t i = 0; i < sizeof broker_arguments / sizeof *broker_arguments; i++)
        child_argument(broker, broker_arguments[i]);
    for (size_t i = 0; i < sizeof gateway_arguments / sizeof *gateway_arguments; i++)
        child_argument(gateway, gateway_arguments[i]);
    for (size_t i = 0; i < sizeof collector_arguments / sizeof *collector_arguments; i++)
        child_argument(collector, collector_arguments[i]);
    for (size_t i = 0; i < options.watch.count; i++) {
        if (collector->argc + 3 > CHILD_ARGUMENTS_MAX)
            sl_usage_error(&program, "--watch: too many; run a sandlog-collector of your own");
        child_argument(collector, "--watch");
        child_argument(collector, options.watch.items[i]);
    }
}

static int start(struct child *child)
{
    int r = child_start(child);
    if (r < 0)
        say("cannot start the %s: %s", child->name, say_errno(-r));
    return r;
}

static void reap(struct up *up)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (int i = 0; i < CHILDREN; i++)
            if (up->child[i].pid == pid) {
                /* What cannot start says why itself; one that was killed meanwhile may have better luck. */
                bool restart = !up->stopping && (up->ready || WIFSIGNALED(status));
                child_ended(&up->child[i], status, restart);
                if (!restart)
                    up->stopping = true;
            }
}

/* Waits for a signal, at most timeout_ms (-1: for ever). */
static void take_signals(struct up *up, int timeout_ms)
{
    poll(&(struct pollfd){.fd = up->signals, .events = POLLIN}, 1, timeout_ms);
    struct signalfd_siginfo info;
    while (read(up->signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            reap(up);
        } else if (info.ssi_signo == SIGHUP && info.ssi_code != SI_KERNEL) {
            for (int i = 0; i < CHILDREN;
                 i++) /* "reload", to us and so to them; the terminal's own means stop */
                if (up->child[i].pid > 0)
                    kill(up->child[i].pid, SIGHUP);
        } else {
            up->impatient = up->stopping;
            up->stopping = true;
        }
    }
}

static int restart_what_is_due(struct up *up)
{
    int64_t now = sl_monotonic_ns(), next = INT64_MAX;
    for (int i = 0; i < CHILDREN && !up->stopping; i++) {
        struct child *child = &up->child[i];
        if (child->pid > 0)
            continue;
        if (child->due_ns <= now && start(child) < 0)
            child->due_ns = now + SL_NS_PER_S;
        if (child->pid == 0 && child->due_ns < next)
            next = child->due_ns;
    }
    return next == INT64_MAX ? -1 : next <= now ? 0 : (int)((next - now) / SL_NS_PER_MS) + 1;
}

struct answer {
    char text[400];
    size_t bytes;
};

static size_t answer_add(char *data, size_t size, size_t count, void *arg)
{
    struct answer *answer = arg;
    size_t room = sizeof answer->text - answer->bytes, bytes = size * count;
    memcpy(answer->text + answer->bytes, data, bytes < room ? bytes : room);
    answer->bytes += bytes < room ? bytes : room;
    return bytes;
}

/* Does the gateway say that all is well? If not, ret_why tells what it says instead. */
static bool probe(CURL *curl, const char *url, struct answer *ret_why)
{
    long status = 0;
    ret_why->bytes = 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, PROBE_LIMIT);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, answer_add);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, ret_why);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    /* it is our own child on this machine, whatever name its certificate holds */
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    if (curl_easy_perform(curl) != CURLE_OK)
        return false;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status == 200;
}

/* Until /readyz says so, or a daemon gave up, or a signal came. */
static int wait_until_ready(struct up *up)
{
    CURL *curl = curl_easy_init();
    char *url = NULL;
    if (!curl || asprintf(&url, "%s/readyz", up->place.url) < 0) {
        curl_easy_cleanup(curl);
        return -ENOMEM;
    }
    int64_t begun = sl_monotonic_ns();
    bool explained = false;
    struct answer why;
    while (!up->stopping && !(up->ready = probe(curl, url, &why))) {
        if (!explained && sl_monotonic_ns() - begun > SLOW_NS) {
            explained = true;
            if (why.bytes > 0)
                say("still starting: %.*s", (int)why.bytes, why.text);
            else
                say("still starting: no answer from %s", up->place.url);
        }
        restart_what_is_due(up);
        take_signals(up, PROBE_MS);
    }
    free(url);
    curl_easy_cleanup(curl);
    return 0;
}

static void print_banner(const struct up *up)
{
    bool colours = term_colours_wanted(STDOUT_FILENO);
    const char *bold = colours ? "\033[1m" : "", *dim = colours ? "\033[2m" : "",
               *end = colours ? TERM_RESET : "";
    const struct up_place *place = &up->place;
    char *export_server = NULL, *run = NULL;
    bool usual = strcmp(options.data, "./sandlog-data") == 0;
    if (asprintf(&export_server, "export SANDLOG_SERVER=%s", place->url) < 0 ||
        asprintf(&run, "sandlog run %s%s%s-- CMD", usual ? "" : "--log-dir ", usual ? "" : place->sandboxes,
                 usual ? "" : " ") < 0)
        abort(); /* at start-up, with nothing to lose */
    const struct {
        const char *command, *purpose;
        bool shown;
    } rows[] = {
        {export_server, "where the commands below find it", strcmp(place->url, "http://127.0.0.1:8470") != 0},
        {run, "run a command as a sandbox", true},
        {"sandlog logs -f ID", "follow its log", true},
        {"sandlog ps -a", "list the sandboxes", true},
    };
    size_t width = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].shown && strlen(rows[i].command) > width)
            width = strlen(rows[i].command);
    printf("sandlog is up: %s%s/%s\n\n", bold, place->url, end);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].shown)
            printf("  %-*s  %s# %s%s\n", (int)width, rows[i].command, dim, rows[i].purpose, end);
    printf("\n%sThe data is in %s. Ctrl-C stops it all.%s\n", dim, options.data, end);
    fflush(stdout);
    free(export_server);
    free(run);
}

static void stop(struct up *up, struct child *child)
{
    if (child->pid == 0)
        return;
    kill(child->pid, SIGTERM);
    int64_t deadline = sl_monotonic_ns() + STOP_NS;
    bool killed = false;
    while (child->pid > 0) {
        int64_t left = deadline - sl_monotonic_ns();
        if (!killed && (left <= 0 || up->impatient)) {
            killed = true;
            if (!up->impatient)
                say("the %s does not stop; killing it", child->name);
            kill(child->pid, SIGKILL);
        }
        take_signals(up, killed ? -1 : (int)(left / SL_NS_PER_MS) + 1);
    }
}

int command_up(int argc, char **argv)
{
    sl_options_read(&program, argc, argv, false, NULL);
    struct up up = {.signals = -1};
    int status = up_place_open(&up.place, options.data, options.listen);
    if (status != 0)
        return status;
    describe(&up);
    setenv("SANDLOG_LOG_LEVEL", "warning",
           0); /* what a person wants to see of daemons that are well: nothing */
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGHUP);
    sigprocmask(SIG_BLOCK, &ours, NULL);
    up.signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    status = up.signals < 0 ? 1 : 0;
    for (int i = 0; i < CHILDREN && status == 0; i++)
        status = start(&up.child[i]) < 0;
    if (status == 0)
        status = wait_until_ready(&up) < 0;
    if (up.ready && !up.stopping) {
        print_banner(&up);
        sl_notify("READY=1");
        while (!up.stopping)
            take_signals(&up, restart_what_is_due(&up));
    } else if (status == 0) {
        /* one of them could not start, and said why */
        for (int i = 0; i < CHILDREN; i++)
            if (up.child[i].pid == 0 && up.child[i].status != 0) {
                int how = up.child[i].status;
                char text[64];
                child_status_text(how, text, sizeof text);
                if (WIFEXITED(how) && WEXITSTATUS(how) == 2) { /* what it was given was given to us */
                    status = 2;
                    break;
                }
                say("the %s %s", up.child[i].name, text);
                status = 1;
            }
    }
    up.stopping = true;
    sl_notify("STOPPING=1");
    stop(&up, &up.child[COLLECTOR]);
    stop(&up, &up.child[GATEWAY]);
    stop(&up, &up.child[BROKER]);
    close(up.signals);
    up_place_close(&up.place);
    return status;
}
