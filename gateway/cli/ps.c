// SPDX-License-Identifier: Apache-2.0
/* sandlog ps: the sandboxes, newest first. */
#include "catalog.h"
#include "commands.h"
#include "output.h"
#include "say.h"
#include "term.h"
#include "text.h"
#include "wire/timestamp.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
    struct server_options server;
    bool all;
    const char *output;
} options;

static const char *output_check(const char *text)
{
    return strcmp(text, "table") == 0 || strcmp(text, "json") == 0 ? NULL : "is neither table nor json";
}

static const struct sl_option table[] = {
    {.name = "all",
     .letter = 'a',
     .type = SL_OPTION_FLAG,
     .value = &options.all,
     .sentence = "also those that are stopped"},
    {.name = "output",
     .letter = 'o',
     .type = SL_OPTION_TEXT,
     .value = &options.output,
     .unit = "table|json",
     .fallback = "table",
     .check = output_check,
     .sentence = "a table, or the server's objects as one JSON array"},
    SERVER_OPTIONS(options.server),
};

static const struct sl_program program = {
    .name = "sandlog ps",
    .usage = "[-a] [-o table|json]",
    .sentence = "List the sandboxes that run, newest first.",
    .epilogue = "Examples:\n"
                "  sandlog ps\n"
                "  sandlog ps -a\n"
                "  sandlog ps -a -o json | jq -r '.[] | select(.exit_code > 0) | .id'\n",
    .options = table,
    .option_count = sizeof table / sizeof *table,
};

enum { ID, STATE, AGE, LINES, SIZE, LAST, EXIT, HOST, COLUMNS };
enum { CELL_BYTES = 160 };
static const char *const heads[COLUMNS] = {"ID",   "STATE",     "AGE",  "LINES",
                                           "SIZE", "LAST LINE", "EXIT", "HOST"};
static const bool to_the_right[COLUMNS] = {
    [AGE] = true, [LINES] = true, [SIZE] = true, [LAST] = true, [EXIT] = true};

struct row {
    char cell[COLUMNS][CELL_BYTES];
};

static void foreign(const json_t *value, char *out)
{
    uint8_t clean[TERM_CLEAN_FACTOR * CELL_BYTES + TERM_CLEAN_EXTRA];
    const char *text = json_is_string(value) ? json_string_value(value) : "-";
    size_t bytes = json_is_string(value) ? json_string_length(value) : 1;
    bytes = term_clean(sl_slice(text, bytes < CELL_BYTES ? bytes : CELL_BYTES), TERM_PLAIN, clean);
    snprintf(out, CELL_BYTES, "%.*s", (int)bytes, (const char *)clean);
}

static void since(const json_t *value, int64_t now_ns, char *out)
{
    int64_t at_ns;
    size_t used;
    snprintf(out, CELL_BYTES, "-");
    if (json_is_string(value) &&
        sl_time_parse_rfc3339(sl_slice(json_string_value(value), json_string_length(value)), &at_ns, &used) ==
            0)
        text_age(now_ns - at_ns, out, CELL_BYTES);
}

static void fill(struct row *row, const json_t *box, int64_t now_ns)
{
    foreign(json_object_get(box, "id"), row->cell[ID]);
    foreign(json_object_get(box, "state"), row->cell[STATE]);
    const json_t *created = json_object_get(box, "created_time"), *first = json_object_get(box, "first_time");
    since(json_is_string(first) ? first : created, now_ns, row->cell[AGE]);
    since(json_object_get(box, "last_time"), now_ns, row->cell[LAST]);
    snprintf(row->cell[LINES], CELL_BYTES, "%lld",
             (long long)json_integer_value(json_object_get(box, "lines")));
    text_bytes(json_integer_value(json_object_get(box, "bytes")), row->cell[SIZE], CELL_BYTES);
    const json_t *code = json_object_get(box, "exit_code");
    if (json_is_integer(code))
        snprintf(row->cell[EXIT], CELL_BYTES, "%lld", (long long)json_integer_value(code));
    else
        snprintf(row->cell[EXIT], CELL_BYTES, "-");
    foreign(json_object_get(box, "host"), row->cell[HOST]);
}

static void print_row(struct output *out, const struct row *row, const size_t *width, bool colours)
{
    for (size_t c = 0; c < COLUMNS; c++) {
        const char *text = row->cell[c], *colour = NULL;
        int pad = (int)(width[c] - strlen(text));
        if (colours && c == STATE && strcmp(text, "running") == 0)
            colour = "\033[32m";
        if (colours && c == EXIT && strcmp(text, "0") != 0 && strcmp(text, "-") != 0)
            colour = "\033[31m";
        if (c > 0)
            output_add_text(out, "  ");
        if (to_the_right[c])
            output_printf(out, "%*s", pad, "");
        output_printf(out, "%s%s%s", colour ? colour : "", text, colour ? TERM_RESET : "");
        if (!to_the_right[c] && c + 1 < COLUMNS)
            output_printf(out, "%*s", pad, "");
    }
    output_add_text(out, "\n");
}

static int print_table(const json_t *boxes)
{
    size_t count = json_array_size(boxes), width[COLUMNS];
    struct row *rows = calloc(count + 1, sizeof *rows);
    if (!rows) {
        say("out of memory");
        return 1;
    }
    int64_t now_ns = sl_now_ns();
    for (size_t c = 0; c < COLUMNS; c++)
        snprintf(rows[0].cell[c], CELL_BYTES, "%s", heads[c]);
    for (size_t i = 0; i < count; i++)
        fill(&rows[i + 1], json_array_get(boxes, i), now_ns);
    for (size_t c = 0; c < COLUMNS; c++) {
        width[c] = 0;
        for (size_t i = 0; i <= count; i++)
            if (strlen(rows[i].cell[c]) > width[c])
                width[c] = strlen(rows[i].cell[c]);
    }
    struct output out = {0};
    bool colours = term_colours_wanted(STDOUT_FILENO);
    for (size_t i = 0; i <= count; i++)
        print_row(&out, &rows[i], width, colours && i > 0);
    output_flush(&out);
    output_fini(&out);
    free(rows);
    return 0;
}

/* One object a line: as good for eyes and grep as for a parser. */
static int print_json(const json_t *boxes)
{
    struct output out = {0};
    bool terminal = isatty(STDOUT_FILENO);
    size_t count = json_array_size(boxes);
    output_add_text(&out, "[");
    for (size_t i = 0; i < count; i++) {
        char *text = json_dumps(json_array_get(boxes, i), JSON_COMPACT | JSON_PRESERVE_ORDER);
        if (!text) {
            say("out of memory");
            return 1;
        }
        output_add_text(&out, i > 0 ? ",\n " : "\n ");
        if (terminal)
            out.bytes += term_clean(sl_slice_of(text), TERM_JSON,
                                    output_room(&out, TERM_CLEAN_FACTOR * strlen(text) + TERM_CLEAN_EXTRA));
        else
            output_add_text(&out, text);
        free(text);
    }
    output_add_text(&out, count > 0 ? "\n]\n" : "]\n");
    output_flush(&out);
    output_fini(&out);
    return 0;
}

int command_ps(int argc, char **argv)
{
    sl_options_read(&program, argc, argv, false, NULL);
    struct server server;
    int status = server_init(&server, &options.server);
    json_t *boxes = NULL;
    struct catalog_query query = {.state = options.all ? NULL : "running"};
    if (status == 0)
        status = catalog_read(&server, &query, false, &boxes);
    if (status == 0) {
        status = strcmp(options.output, "json") == 0 ? print_json(boxes) : print_table(boxes);
        json_decref(boxes);
    }
    server_fini(&server);
    return status;
}
