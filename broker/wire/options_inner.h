// SPDX-License-Identifier: Apache-2.0
/*
 * What the files of the options module share: values from and to text, and the text of --help. Nothing
 * outside options*.c includes this.
 */
#pragma once
#include "options.h"

enum { OPTION_COMPLAINT_BYTES = 512 };

/* Remembers memory that lives as long as the process, so that leak checkers see it in use. */
void *option_keep(void *memory);
char *option_keep_copy(const char *text, size_t bytes);

/*
 * Sets the option's value from text. `blanks`: a list is split at blanks (environment, defaults), else the
 * text is one item. Lists are added to. > 0: refused, and `complaint` says what is wrong, ready to stand
 * behind the option's name.
 */
int option_set(const struct sl_option *option, const char *text, bool blanks,
               char complaint[OPTION_COMPLAINT_BYTES]);
/* No value: NULL, 0, empty. */
void option_clear(const struct sl_option *option);
/* A number in the option's unit, as the user would type it, into out. */
void option_number_render(enum sl_option_type type, int64_t value, char *out, size_t capacity);
/* Copies foreign text for an error sentence: control characters become `?`, and it is cut to fit. */
const char *option_quote(const char *text, char *out, size_t capacity);

/* The whole text of --help; malloc'd, NULL without memory. */
char *option_help(const struct sl_program *program);
