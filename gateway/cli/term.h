// SPDX-License-Identifier: Apache-2.0
/*
 * Foreign text on a terminal. What a log line holds was written by a program nobody trusts; a terminal obeys
 * escape sequences (title, clipboard, answers typed into the shell) and lets CR and backspace overwrite what
 * was shown before. term_clean() leaves printable text, TAB and colours (SGR sequences) and shows everything
 * else as text: `^[` for ESC and other C0 controls, `\r` for CR, `\x9b` for C1 controls and for bytes that
 * are not UTF-8, `\u202e` for controls of the writing direction. The one colour attribute that hides text
 * (8, conceal) is shown as text too.
 *
 * Pure, any thread, total: every input has an output.
 */
#pragma once
#include "wire/slice.h"

enum {
    TERM_CLEAN_FACTOR = 6,   /* bytes out per byte in, at most */
    TERM_CLEAN_EXTRA = 8,    /* and once: the reset of colours */
    TERM_SGR_MAX_BYTES = 48, /* a longer colour sequence is shown as text */
};

enum term_mode {
    TERM_COLOURS, /* SGR sequences stay; if colours may still be set at the end, a reset follows */
    TERM_PLAIN,   /* ESC is a control like the others */
    TERM_JSON,    /* the text is JSON: C1 and direction controls become \uXXXX, so that it stays JSON */
};

/* Writes at most TERM_CLEAN_FACTOR * text.bytes + TERM_CLEAN_EXTRA bytes to out; returns how many. */
size_t term_clean(struct sl_slice text, enum term_mode mode, uint8_t *out);

/* The colour of a name: always the same of a dozen, as SGR sequence. */
const char *term_colour(struct sl_slice name);
#define TERM_RESET "\033[0m"

/* fd is a terminal on which sandlog may use colours of its own (NO_COLOR, TERM=dumb). */
bool term_colours_wanted(int fd);
