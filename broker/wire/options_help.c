// SPDX-License-Identifier: Apache-2.0
/* The text of --help and of --print-config. */
#include "options_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMNS = 80, HELP_INDENT_MAX = 30 };

/* Writes `text` word by word from column `column` on, going on at column `indent` in the next line. */
static void wrap(FILE *out, const char *text, size_t column, size_t indent)
{
    bool first = true;
    while (*text) {
        size_t bytes = strcspn(text, " ");
        if (!first && column + 1 + bytes > HELP_COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        column += (size_t)fprintf(out, "%s%.*s", first ? "" : " ", (int)bytes, text);
        first = false;
        text += bytes;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void left_side(const struct sl_option *option, char *out, size_t capacity)
{
    char letter[8] = "    ";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    /* A flag that is on by default is shown as the user would type it. */
    bool negated = option->type == SL_OPTION_FLAG && option->fallback &&
                   (strcmp(option->fallback, "true") == 0 || strcmp(option->fallback, "1") == 0 ||
                    strcmp(option->fallback, "yes") == 0 || strcmp(option->fallback, "on") == 0);
    snprintf(out, capacity, "  %s--%s%s%s%s", letter, negated ? "[no-]" : "", option->name,
             option->type == SL_OPTION_FLAG ? "" : " ",
             option->type == SL_OPTION_FLAG ? ""
             : option->unit                 ? option->unit
                                            : "VALUE");
}

static void describe(FILE *out, const struct sl_option *option, size_t indent)
{
    char left[128], text[1024];
    left_side(option, left, sizeof left);
    int n = snprintf(text, sizeof text, "%s", option->sentence);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (option->type == SL_OPTION_LIST || option->type == SL_OPTION_URLS)
        used += (size_t)snprintf(text + used, sizeof text - used, "; may be repeated");
    if (option->fallback && *option->fallback && option->type != SL_OPTION_FLAG && used < sizeof text)
        snprintf(text + used, sizeof text - used, " (default %s)", option->fallback);
    size_t column = strlen(left);
    fputs(left, out);
    if (column + 2 > indent) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", (int)(indent - column), "");
    wrap(out, text, indent, indent);
}

char *option_help(const struct sl_program *program)
{
    static bool ignored;
    static const struct sl_option builtin[] = {
        {.name = "config",
         .type = SL_OPTION_TEXT,
         .value = &ignored,
         .unit = "FILE",
         .sentence = "read options from this INI file: long option names without dashes"},
        {.name = "print-config", .value = &ignored, .sentence = "print the options that result, and exit"},
        {.name = "help", .value = &ignored, .sentence = "print this, and exit"},
        {.name = "version", .value = &ignored, .sentence = "print the version, and exit"},
    };
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    size_t indent = 0;
    for (size_t i = 0; i < program->option_count + sizeof builtin / sizeof *builtin; i++) {
        char left[128];
        left_side(i < program->option_count ? &program->options[i] : &builtin[i - program->option_count],
                  left, sizeof left);
        size_t wanted = strlen(left) + 2;
        if (wanted > indent && wanted <= HELP_INDENT_MAX)
            indent = wanted;
    }
    fprintf(out, "Usage: %s %s\n\n", program->name, program->usage);
    wrap(out, program->sentence, 0, 0);
    fputc('\n', out);
    for (size_t i = 0; i < program->option_count; i++)
        describe(out, &program->options[i], indent);
    if (program->option_count > 0)
        fputc('\n', out);
    for (size_t i = 0; i < sizeof builtin / sizeof *builtin; i++)
        describe(out, &builtin[i], indent);
    fputc('\n', out);
    wrap(out,
         "An option is taken from the command line, else from the environment (SANDLOG_, then its name in "
         "capitals with _ for -), else from the file of --config.",
         0, 0);
    if (program->epilogue)
        fprintf(out, "\n%s%s", program->epilogue,
                *program->epilogue && program->epilogue[strlen(program->epilogue) - 1] == '\n' ? "" : "\n");
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* scheme://USER:PASSWORD@HOST, also without the user. */
static bool has_password(const char *text)
{
    const char *host = strstr(text, "://");
    const char *at = host ? strrchr(host + 3, '@') : NULL;
    return at && memchr(host + 3, ':', (size_t)(at - host - 3));
}

/* A `;` behind a blank would begin a comment. */
static void render_value(FILE *out, const char *name, const char *text)
{
    bool quoted = *text == '"' || *text == ';';
    for (const char *at = text; *at && !quoted; at++)
        quoted = (at[0] == ' ' || at[0] == '\t') && (at[1] == ';' || !at[1]);
    fprintf(out, quoted ? "%s = \"%s\"\n" : "%s = %s\n", name, text);
}

static void render_option(FILE *out, const struct sl_option *option)
{
    switch (option->type) {
    case SL_OPTION_FLAG:
        fprintf(out, "%s = %s\n", option->name, *(const bool *)option->value ? "true" : "false");
        break;
    case SL_OPTION_NUMBER:
    case SL_OPTION_BYTES:
    case SL_OPTION_DURATION: {
        char number[40];
        option_number_render(option->type, *(const int64_t *)option->value, number, sizeof number);
        fprintf(out, "%s = %s\n", option->name, number);
        break;
    }
    case SL_OPTION_TEXT:
    case SL_OPTION_ADDRESS:
    case SL_OPTION_URL: {
        const char *text = *(const char *const *)option->value;
        /* A token is the one secret that is given by its content and not by a file's name. */
        if (text && *text && strcmp(option->name, "token") == 0)
            fprintf(out, "; %s is set and not shown\n", option->name);
        else if (text && has_password(text))
            fprintf(out, "; %s is set, holds a password and is not shown\n", option->name);
        else if (text && *text)
            render_value(out, option->name, text);
        else
            fprintf(out, "; %s =\n", option->name);
        break;
    }
    case SL_OPTION_LIST:
    case SL_OPTION_URLS: {
        const struct sl_option_list *list = option->value;
        for (size_t i = 0; i < list->count; i++)
            render_value(out, option->name, list->items[i]);
        if (list->count == 0) /* a default that was taken away has to be taken away again */
            fprintf(out, option->fallback ? "%s =\n" : "; %s =\n", option->name);
        break;
    }
    }
}

char *sl_options_render(const struct sl_program *program)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    for (size_t i = 0; i < program->option_count; i++)
        render_option(out, &program->options[i]);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
