// SPDX-License-Identifier: Apache-2.0
/* Options as JSON, for /status: what sl_options_render() shows, and no more. */
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A path may hold any byte; what is not UTF-8 is the reader's to see as it is. */
static void put_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static bool is_list(const struct sl_program *program, const char *name)
{
    for (size_t i = 0; i < program->option_count; i++)
        if (strcmp(program->options[i].name, name) == 0)
            return program->options[i].type == SL_OPTION_LIST || program->options[i].type == SL_OPTION_URLS;
    return false;
}

char *sl_options_json(const struct sl_program *program)
{
    char *text = sl_options_render(program), *rest = text, *json = NULL;
    size_t bytes = 0;
    FILE *out = text ? open_memstream(&json, &bytes) : NULL;
    if (!out) {
        free(text);
        return NULL;
    }
    const char *before = NULL; /* the list that is open */
    const char *comma = "";
    fputc('{', out);
    for (char *line; rest && (line = strsep(&rest, "\n")) != NULL;) {
        char *value = strstr(line, " = ");
        if (*line == ';' || !value)
            continue;
        *value = 0;
        value += 3;
        if (before && strcmp(before, line) == 0) {
            fputc(',', out);
            put_text(out, value);
            continue;
        }
        fprintf(out, "%s%s", before ? "]" : "", comma);
        put_text(out, line);
        fputs(is_list(program, line) ? ":[" : ":", out);
        put_text(out, value);
        before = is_list(program, line) ? line : NULL;
        comma = ",";
    }
    fputs(before ? "]}" : "}", out);
    bool failed = fclose(out) != 0;
    free(text);
    if (failed) {
        free(json);
        return NULL;
    }
    return json;
}
