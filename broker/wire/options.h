// SPDX-License-Identifier: Apache-2.0
/*
 * Options: one table per program; from it come the command line, `SANDLOG_<FLAG>`, the INI file of --config,
 * --help,
 * --print-config and /status (HOUSE 9). Precedence: flag > environment > file > default. A key of the file is
 * a long flag's name without dashes, in no section or in a section named like the program; a repeated key of
 * a list adds to it. An empty value is refused, where what it would turn off may be what protects: only a
 * flag (false), a LIST, and an option whose default is "" (which is NULL, or 0) have one.
 *
 * --help, --version and --print-config are handled in here (printed on stdout, exit 0), and so are errors:
 * one line on stderr naming what is wrong, exit 2. So only main() calls this.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sl_option_type {
    SL_OPTION_FLAG,   /* bool *: --name, --no-name; in files and environment 1/true/yes/on, 0/false/no/off, ""
                       */
    SL_OPTION_NUMBER, /* int64_t *: decimal, within min..max */
    SL_OPTION_BYTES,  /* int64_t *: number or KiB, MiB, GiB, TiB (also K, M, G, T), within min..max */
    SL_OPTION_DURATION, /* int64_t * nanoseconds: 90s, 10m, 7d, bare seconds; `none` and 0 are 0; within
                           min..max */
    SL_OPTION_TEXT,     /* const char ** */
    SL_OPTION_ADDRESS,  /* const char **: HOST:PORT, port 0 to 65535, [v6]:PORT */
    SL_OPTION_URL,      /* const char **: tcp://HOST:PORT, ipc://PATH, tls+tcp://HOST:PORT */
    SL_OPTION_LIST, /* struct sl_option_list *: repeated; also comma-free lines of the environment, split at
                       blanks */
    SL_OPTION_URLS, /* struct sl_option_list * of urls; commas separate too; never emptied */
};

struct sl_option_list {
    const char **items;
    size_t count;
};

struct sl_option {
    const char *name; /* long name without dashes */
    char letter;      /* short name, 0: none */
    enum sl_option_type type;
    void *value;
    const char *unit;     /* as shown in --help: BYTES, HOST:PORT, SPEC ...; NULL for flags */
    int64_t min, max;     /* NUMBER, BYTES, DURATION; both 0: not negative */
    const char *fallback; /* default as the user would type it; NULL, "": none (NULL, 0) */
    const char *sentence; /* what it does */
    /* NULL, or checks one value further: returns NULL or what is wrong ("must be ..."). */
    const char *(*check)(const char *text);
};

struct sl_program {
    const char *name;     /* "sandlog-broker" */
    const char *usage;    /* "[OPTION]..." */
    const char *sentence; /* what it is for */
    const char *epilogue; /* examples, shown at the end of --help; may be NULL */
    const struct sl_option *options;
    size_t option_count;
};

/*
 * Reads everything. Values are filled; text lives as long as the process. Operands: *ret_first is the index
 * in argv of the first one (argc when there is none); with ret_first NULL an operand is an error. Stops at
 * `--`. Options may stand after operands unless `stop_early`.
 */
void sl_options_read(const struct sl_program *program, int argc, char **argv, bool stop_early,
                     int *ret_first);
/* All values as INI lines, in table order (secrets are named by file, never by content). malloc'd; NULL
 * without memory. */
char *sl_options_render(const struct sl_program *program);
/* The same as a JSON object of texts, lists as arrays, for /status. malloc'd; NULL without memory. */
char *sl_options_json(const struct sl_program *program);
/* Prints "program: message" on stderr and exits with 2. */
_Noreturn void sl_usage_error(const struct sl_program *program, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
