// SPDX-License-Identifier: Apache-2.0
/* Where values come from: defaults, the file of --config, the environment, the command line; in this order.
 */
#include "options_inner.h"

#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    INI_LINE_BYTES = 4096, /* inih's own limit is 200, and it cuts longer lines silently */
    QUOTED_BYTES = 120,
};

_Noreturn void sl_usage_error(const struct sl_program *program, const char *format, ...)
{
    char text[2 * OPTION_COMPLAINT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", program->name, text);
    exit(2);
}

static bool is_list(const struct sl_option *option)
{
    return option->type == SL_OPTION_LIST || option->type == SL_OPTION_URLS;
}

static const struct sl_option *find(const struct sl_program *program, const char *name, size_t bytes)
{
    for (size_t i = 0; i < program->option_count; i++)
        if (strlen(program->options[i].name) == bytes && memcmp(program->options[i].name, name, bytes) == 0)
            return &program->options[i];
    return NULL;
}

static const struct sl_option *find_letter(const struct sl_program *program, char letter)
{
    for (size_t i = 0; i < program->option_count; i++)
        if (program->options[i].letter == letter)
            return &program->options[i];
    return NULL;
}

static const char *const builtin[] = {"config", "print-config", "help", "version"};
enum { BUILTINS = sizeof builtin / sizeof *builtin };

static bool is_builtin(const char *name)
{
    for (size_t i = 0; i < BUILTINS; i++)
        if (strcmp(builtin[i], name) == 0)
            return true;
    return false;
}

/* Edits (insert, delete, replace) that make b of a; more than 31 characters are not looked at. */
static size_t distance(const char *a, size_t a_bytes, const char *b)
{
    size_t row[33];
    size_t b_bytes = strnlen(b, 31);
    if (a_bytes > 31)
        a_bytes = 31;
    for (size_t j = 0; j <= b_bytes; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_bytes; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b_bytes];
}

/* The option's name that the user may have meant, or NULL. `builtins`: those that every program has, too. */
static const char *nearest(const struct sl_program *program, const char *name, size_t bytes, bool builtins)
{
    const char *best = NULL;
    size_t least = bytes < 4 ? 2 : 3; /* at most one edit in a short name, two in others */
    for (size_t i = 0; i < program->option_count + (builtins ? BUILTINS : 0); i++) {
        const char *candidate =
            i < program->option_count ? program->options[i].name : builtin[i - program->option_count];
        size_t d = distance(name, bytes, candidate);
        if (d < least) {
            least = d;
            best = candidate;
        }
    }
    return best;
}

static void apply(const struct sl_program *program, const struct sl_option *option, const char *text,
                  bool blanks, const char *where)
{
    char complaint[OPTION_COMPLAINT_BYTES];
    if (option_set(option, text, blanks, complaint) != 0)
        sl_usage_error(program, "%s: %s", where, complaint);
}

/* ---- the file ---- */

struct ini_reading {
    const struct sl_program *program;
    const char *path;
    FILE *file;
    int line;
    bool *seen; /* per option: its list was begun anew by this file */
};

/* Stands for a `;` within quotes, which inih would take for a comment. */
#define QUOTED_SEMICOLON '\x01'

/* Of `name = "value"` and nothing behind it: the first quote, *ret_last the other one. NULL: it is not that.
 */
static char *quoted_value(char *line, char **ret_last)
{
    char *first = line + strcspn(line, "=:");
    first += *first != 0;
    first += strspn(first, " \t");
    char *last = first + strlen(first);
    while (last > first && strchr(" \t\r\n", last[-1]))
        last--;
    if (last - first < 2 || *first != '"' || last[-1] != '"')
        return NULL;
    *ret_last = last - 1;
    return first;
}

static char *ini_line(char *out, int capacity, void *arg)
{
    struct ini_reading *reading = arg;
    int bytes = 0, c = 0;
    while (bytes < capacity - 1 && c != '\n' && (c = getc(reading->file)) != EOF) {
        if (c == 0 || c == QUOTED_SEMICOLON)
            sl_usage_error(reading->program, "%s:%d: holds a %s byte", reading->path, reading->line + 1,
                           c == 0 ? "NUL" : "SOH (0x01)");
        out[bytes++] = (char)c;
    }
    out[bytes] = 0;
    if (bytes == 0)
        return NULL;
    reading->line++;
    if (c != '\n' && !feof(reading->file))
        sl_usage_error(reading->program, "%s:%d: line is longer than %d bytes", reading->path, reading->line,
                       capacity - 2);
    /* A line that begins with a blank would go on with the value of the one before. */
    memmove(out, out + strspn(out, " \t"), strlen(out) - strspn(out, " \t") + 1);
    char *last, *first = quoted_value(out, &last);
    for (char *at = first; first && at < last; at++)
        if (*at == ';')
            *at = QUOTED_SEMICOLON;
    return out;
}

static int ini_value(void *arg, const char *section, const char *name, const char *value)
{
    struct ini_reading *reading = arg;
    const struct sl_program *program = reading->program;
    char quoted[QUOTED_BYTES];
    if (*section && strcmp(section, program->name) != 0) {
        /* One file may serve all programs, but a misspelt section must not go unseen. */
        if (strncmp(section, "sandlog", 7) != 0)
            sl_usage_error(program, "%s:%d: no such section: [%s] (try [%s])", reading->path, reading->line,
                           option_quote(section, quoted, sizeof quoted), program->name);
        return 1;
    }
    const struct sl_option *option = find(program, name, strlen(name));
    if (!option && is_builtin(name))
        sl_usage_error(program, "%s:%d: %s: is for the command line alone", reading->path, reading->line,
                       name);
    if (!option) {
        const char *meant = nearest(program, name, strlen(name), false);
        sl_usage_error(program, "%s:%d: no such option: %s%s%s%s", reading->path, reading->line,
                       option_quote(name, quoted, sizeof quoted), meant ? " (did you mean " : "",
                       meant ? meant : "", meant ? "?)" : "");
    }
    bool *seen = &reading->seen[option - program->options];
    if (is_list(option) && !*seen)
        option_clear(option);
    *seen = true;
    char where[2 * QUOTED_BYTES];
    snprintf(where, sizeof where, "%s:%d: %s", reading->path, reading->line, option->name);
    char text[INI_LINE_BYTES];
    size_t bytes = strlen(value), quotes = bytes > 1 && value[0] == '"' && value[bytes - 1] == '"';
    snprintf(text, sizeof text, "%.*s", (int)(bytes - 2 * quotes), value + quotes);
    for (char *at = text; quotes && *at; at++)
        if (*at == QUOTED_SEMICOLON)
            *at = ';';
    apply(program, option, text, false, where);
    return 1;
}

static void read_file(const struct sl_program *program, const char *path)
{
    char quoted[QUOTED_BYTES];
    struct ini_reading reading = {.program = program, .path = option_quote(path, quoted, sizeof quoted)};
    reading.file = fopen(path, "re");
    if (!reading.file)
        sl_usage_error(program, "--config: %s: %s", reading.path, strerror(errno));
    reading.seen = calloc(program->option_count + 1, sizeof *reading.seen);
    if (!reading.seen)
        sl_usage_error(program, "--config: %s", strerror(ENOMEM));
    ini_max_line = INI_LINE_BYTES;
    int r = ini_parse_stream(ini_line, &reading, ini_value, &reading);
    int fault = ferror(reading.file) ? errno : 0;
    fclose(reading.file);
    free(reading.seen);
    if (fault)
        sl_usage_error(program, "--config: %s: %s", reading.path, strerror(fault));
    if (r != 0)
        sl_usage_error(program, "%s:%d: is not a line of the form \"name = value\"", reading.path, r);
}

/* ---- the environment ---- */

static const char *environment_name(const char *option, char *out, size_t capacity)
{
    size_t n = (size_t)snprintf(out, capacity, "SANDLOG_%s", option);
    assert(n < capacity);
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] == '-' ? '_' : out[i] >= 'a' && out[i] <= 'z' ? (char)(out[i] - 'a' + 'A') : out[i];
    return out;
}

static void read_environment(const struct sl_program *program)
{
    for (size_t i = 0; i < program->option_count; i++) {
        char name[80];
        const struct sl_option *option = &program->options[i];
        const char *text = getenv(environment_name(option->name, name, sizeof name));
        if (!text)
            continue;
        if (is_list(option))
            option_clear(option);
        apply(program, option, text, true, name);
    }
}

/* ---- the command line ---- */

struct given {
    const struct sl_option *option;
    const char *text;
    char as[QUOTED_BYTES]; /* how the user wrote it */
};

struct command_line {
    const struct sl_program *program;
    struct given *given;
    size_t count;
    const char *config;
    bool print_config;
};

static _Noreturn void print_and_exit(const char *text)
{
    if (!text || fputs(text, stdout) < 0 || fflush(stdout) != 0)
        exit(1);
    exit(0);
}

static void give(struct command_line *line, const struct sl_option *option, const char *text, const char *as)
{
    struct given *given = &line->given[line->count++];
    given->option = option;
    given->text = text;
    option_quote(as, given->as, sizeof given->as);
}

/* One argument that begins with `--`; returns how many further arguments it took. */
static int read_long(struct command_line *line, const char *argument, const char *next)
{
    const struct sl_program *program = line->program;
    char as[QUOTED_BYTES], quoted[QUOTED_BYTES];
    const char *name = argument + 2;
    size_t bytes = strcspn(name, "=");
    const char *value = name[bytes] == '=' ? name + bytes + 1 : NULL;
    snprintf(as, sizeof as, "--%.*s", (int)bytes, name);
    const struct sl_option *option = find(program, name, bytes);
    bool no = false;
    if (!option && bytes > 3 && memcmp(name, "no-", 3) == 0) {
        option = find(program, name + 3, bytes - 3);
        no = option && option->type == SL_OPTION_FLAG;
        if (!no)
            option = NULL;
    }
    if (option && option->type == SL_OPTION_FLAG) {
        if (no && value)
            sl_usage_error(program, "%s: takes no value", as);
        give(line, option, no ? "false" : value ? value : "true", as);
        return 0;
    }
    if (!option && !value) {
        if (strcmp(as, "--help") == 0)
            print_and_exit(option_help(program));
        if (strcmp(as, "--version") == 0) {
            printf("%s " SL_VERSION "\n", program->name);
            print_and_exit("");
        }
        if (strcmp(as, "--print-config") == 0) {
            line->print_config = true;
            return 0;
        }
    }
    bool config = !option && strcmp(as, "--config") == 0;
    if (!option && !config) {
        const char *meant = nearest(program, name, bytes, true);
        sl_usage_error(program, "%s: no such option%s%s%s", option_quote(as, quoted, sizeof quoted),
                       meant ? " (did you mean --" : "", meant ? meant : "", meant ? "?)" : "");
    }
    int taken = 0;
    if (!value) {
        if (!next)
            sl_usage_error(program, "%s: needs a value (%s)", as,
                           config || !option->unit ? "FILE" : option->unit);
        value = next;
        taken = 1;
    }
    if (config)
        line->config = value;
    else
        give(line, option, value, as);
    return taken;
}

/* One argument of short flags, `-f`, `-ft`, `-n10`; returns how many further arguments it took. */
static int read_short(struct command_line *line, const char *argument, const char *next)
{
    const struct sl_program *program = line->program;
    for (const char *at = argument + 1; *at; at++) {
        char as[3] = {'-', *at, 0};
        char quoted[8];
        const struct sl_option *option = find_letter(program, *at);
        if (!option && *at == 'h')
            print_and_exit(option_help(program));
        if (!option)
            sl_usage_error(program, "%s: no such option", option_quote(as, quoted, sizeof quoted));
        if (option->type == SL_OPTION_FLAG) {
            give(line, option, "true", as);
            continue;
        }
        if (at[1]) {
            give(line, option, at[1] == '=' ? at + 2 : at + 1, as);
            return 0;
        }
        if (!next)
            sl_usage_error(program, "%s: needs a value (%s)", as, option->unit ? option->unit : "VALUE");
        give(line, option, next, as);
        return 1;
    }
    return 0;
}

/* Takes the options out and moves the operands to the end of argv; returns the first one's index. */
static int read_arguments(struct command_line *line, int argc, char **argv, bool stop_early)
{
    char **operands = calloc((size_t)argc + 1, sizeof *operands);
    char **taken = calloc((size_t)argc + 1, sizeof *taken);
    if (!operands || !taken)
        sl_usage_error(line->program, "%s", strerror(ENOMEM));
    int operand_count = 0, taken_count = 0;
    int i = 1;
    while (i < argc) {
        char *argument = argv[i];
        if (strcmp(argument, "--") == 0) {
            taken[taken_count++] = argv[i++];
            break;
        }
        if (argument[0] != '-' || !argument[1]) {
            if (stop_early)
                break;
            operands[operand_count++] = argv[i++];
            continue;
        }
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        int more = argument[1] == '-' ? read_long(line, argument, next) : read_short(line, argument, next);
        for (int k = 0; k <= more; k++)
            taken[taken_count++] = argv[i++];
    }
    while (i < argc)
        operands[operand_count++] = argv[i++];
    if (taken_count > 0)
        memcpy(argv + 1, taken, (size_t)taken_count * sizeof *taken);
    if (operand_count > 0)
        memcpy(argv + 1 + taken_count, operands, (size_t)operand_count * sizeof *operands);
    free(operands);
    free(taken);
    return 1 + taken_count;
}

void sl_options_read(const struct sl_program *program, int argc, char **argv, bool stop_early, int *ret_first)
{
    struct command_line line = {.program = program};
    /* A group of short flags gives several values at once: at most one per character. */
    size_t most = 1;
    for (int i = 1; i < argc; i++)
        most += strlen(argv[i]) + 1;
    line.given = calloc(most, sizeof *line.given);
    bool *seen = calloc(program->option_count + 1, sizeof *seen);
    if (!line.given || !seen)
        sl_usage_error(program, "%s", strerror(ENOMEM));

    int first = argc > 0 ? read_arguments(&line, argc, argv, stop_early) : 0;
    if (first < argc && !ret_first) {
        char quoted[QUOTED_BYTES];
        sl_usage_error(program, "\"%s\": no such argument; try --help",
                       option_quote(argv[first], quoted, sizeof quoted));
    }

    for (size_t i = 0; i < program->option_count; i++) {
        const struct sl_option *option = &program->options[i];
        option_clear(option);
        if (option->fallback)
            apply(program, option, option->fallback, true, option->name);
    }
    const char *config = line.config ? line.config : getenv("SANDLOG_CONFIG");
    if (config && !*config)
        sl_usage_error(program, "%s: \"\" must not be empty", line.config ? "--config" : "SANDLOG_CONFIG");
    if (config)
        read_file(program, config);
    read_environment(program);
    for (size_t i = 0; i < line.count; i++) {
        const struct given *given = &line.given[i];
        bool *again = &seen[given->option - program->options];
        if (is_list(given->option) && !*again)
            option_clear(given->option);
        *again = true;
        apply(program, given->option, given->text, false, given->as);
    }
    free(line.given);
    free(seen);

    if (line.print_config)
        print_and_exit(sl_options_render(program));
    if (ret_first)
        *ret_first = first;
}
