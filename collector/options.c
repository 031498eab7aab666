// SPDX-License-Identifier: Apache-2.0
#include "options.h"
#include "pattern.h"
#include "wire/block.h"
#include "wire/message.h"
#include <string.h>

static struct collector_options values;

static const char *check_watch(const char *text)
{
    struct pattern pattern;
    const char *why = "there is no memory for it";
    if (pattern_parse(text, &pattern, &why) != 0)
        return why;
    pattern_fini(&pattern);
    return NULL;
}

static const char *check_level(const char *text)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(text, levels[i]) == 0)
            return NULL;
    return "must be error, warning, info or debug";
}

static const char *check_host(const char *text)
{
    return sl_host_valid(sl_slice_of(text)) ? NULL
                                            : "must be at most 255 printable ASCII characters, no blanks";
}

static const struct sl_option table[] = {
    {.name = "watch",
     .letter = 'w',
     .type = SL_OPTION_LIST,
     .value = &values.watch,
     .unit = "FORMAT:PATH",
     .sentence = "collect these files; FORMAT is cri, docker or plain, PATH a glob with {sandbox}",
     .check = check_watch},
    {.name = "broker",
     .type = SL_OPTION_URLS,
     .value = &values.brokers,
     .unit = "URL",
     .fallback = "tcp://127.0.0.1:8471",
     .sentence = "ship to this broker; of several, to any that answers"},
    {.name = "http",
     .type = SL_OPTION_ADDRESS,
     .value = &values.http,
     .unit = "HOST:PORT",
     .fallback = "127.0.0.1:8474",
     .sentence = "serve /healthz, /readyz, /metrics and /status here"},
    {.name = "host",
     .type = SL_OPTION_TEXT,
     .value = &values.host,
     .unit = "NAME",
     .sentence = "this machine's name among all collectors; its own host name by default",
     .check = check_host},
    {.name = "secret",
     .type = SL_OPTION_TEXT,
     .value = &values.files.secret,
     .unit = "FILE",
     .sentence = "prove to the broker that the content of this file is known"},
    {.name = "link-ca",
     .type = SL_OPTION_TEXT,
     .value = &values.files.ca,
     .unit = "FILE",
     .sentence = "over tls+tcp://, the broker's certificate must be of this authority (PEM)"},
    {.name = "link-cert",
     .type = SL_OPTION_TEXT,
     .value = &values.files.cert,
     .unit = "FILE",
     .sentence = "certificate chain (PEM) that this collector proves itself with, over tls+tcp://"},
    {.name = "link-key",
     .type = SL_OPTION_TEXT,
     .value = &values.files.key,
     .unit = "FILE",
     .sentence = "private key of --link-cert (PEM)"},
    {.name = "memory",
     .type = SL_OPTION_BYTES,
     .value = &values.memory_bytes,
     .unit = "BYTES",
     .min = 8 << 20,
     .max = INT64_C(1) << 40,
     .fallback = "64MiB",
     .sentence = "stay within this for lines that are not finished and requests in flight"},
    {.name = "max-line-bytes",
     .type = SL_OPTION_BYTES,
     .value = &values.max_line_bytes,
     .unit = "BYTES",
     .min = 256,
     .max = SL_LINE_MAX_BYTES,
     .fallback = "1MiB",
     .sentence = "a longer line is stored as consecutive pieces"},
    {.name = "open-files",
     .type = SL_OPTION_NUMBER,
     .value = &values.open_files,
     .unit = "COUNT",
     .min = 0,
     .max = 1 << 30,
     .fallback = "0",
     .sentence = "hold at most this many log files open; 0: what the process may have"},
    {.name = "log-level",
     .type = SL_OPTION_TEXT,
     .value = &values.log_level,
     .unit = "LEVEL",
     .fallback = "info",
     .sentence = "error, warning, info or debug",
     .check = check_level},
};

const struct sl_program collector_program = {
    .name = "sandlog-collector",
    .usage = "--watch FORMAT:PATH [OPTION]...",
    .sentence = "Reads the log files of this host's sandboxes and ships their lines to a broker.",
    .epilogue =
        "Examples:\n"
        "  sandlog-collector --watch 'cri:/var/log/pods/{namespace}_{sandbox}_{uid}/{container}/*.log'\n"
        "  sandlog-collector --watch 'docker:/var/lib/docker/containers/{sandbox}/*-json.log'\n"
        "  sandlog-collector --watch 'plain:/srv/vms/{sandbox}/console.log' --broker tcp://logs:8471\n",
    .options = table,
    .option_count = sizeof table / sizeof *table,
};

const struct collector_options *collector_options_read(int argc, char **argv)
{
    sl_options_read(&collector_program, argc, argv, false, NULL);
    if (values.watch.count == 0)
        sl_usage_error(&collector_program, "--watch: nothing to collect; try --help");
    return &values;
}
