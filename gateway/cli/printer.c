// SPDX-License-Identifier: Apache-2.0
#include "printer.h"
#include "say.h"
#include "term.h"

#include <stdio.h>

enum { FLUSH_BYTES = 64 << 10 };

static void add_text(struct printer *p, struct sl_slice text, enum term_mode mode)
{
    if (!p->clean) {
        output_add(&p->out, text.data, text.bytes);
        return;
    }
    uint8_t *room = output_room(&p->out, TERM_CLEAN_FACTOR * text.bytes + TERM_CLEAN_EXTRA);
    p->out.bytes += term_clean(text, mode, room);
}

static void printed(struct printer *p, size_t bytes)
{
    p->lines++;
    p->bytes += bytes;
    if (p->out.bytes >= FLUSH_BYTES)
        output_flush(&p->out);
}

/* `json` is an object; members written before its own. */
static void print_object(struct printer *p, const char *id, const char *kind, struct sl_slice json)
{
    output_add_text(&p->out, "{");
    if (kind)
        output_printf(&p->out, "\"event\":\"%s\",", kind);
    if (p->prefix)
        output_printf(&p->out, "\"sandbox\":\"%s\",", id);
    add_text(p, sl_slice(json.data + 1, json.bytes - 1), TERM_JSON);
    output_add_text(&p->out, "\n");
}

/* What stands before the first member, `{` apart: the server's text is taken over as it is. */
static struct sl_slice from_brace(struct sl_slice json)
{
    const uint8_t *brace = memchr(json.data, '{', json.bytes);
    return brace ? sl_slice(brace, json.bytes - (size_t)(brace - json.data)) : json;
}

static void begin_line(struct printer *p, const char *id, const struct line *line)
{
    if (p->prefix) {
        const char *colour = p->colours ? term_colour(sl_slice_of(id)) : "";
        output_printf(&p->out, "%s[%s]%s ", colour, id, p->colours ? TERM_RESET : "");
    }
    if (p->timestamps) {
        add_text(p, line->time, TERM_PLAIN);
        output_add_text(&p->out, " ");
    }
}

void printer_line(struct printer *p, const char *id, const struct line *line, struct sl_slice json)
{
    if (p->json) {
        print_object(p, id, NULL, from_brace(json));
        printed(p, json.bytes);
        return;
    }
    bool goes_on = p->open && (!p->prefix || strcmp(p->open_id, id) == 0);
    if (p->open && !goes_on)
        output_add_text(&p->out, "\n");
    if (!goes_on)
        begin_line(p, id, line);
    struct sl_slice text = line->text;
    /* CR before the newline moves nothing; shown, it would stand at each line's end of programs that write it
     */
    if (p->clean && !line->partial && text.bytes > 0 && text.data[text.bytes - 1] == '\r')
        text.bytes--;
    add_text(p, text, TERM_COLOURS);
    if (!line->partial)
        output_add_text(&p->out, "\n");
    p->open = line->partial;
    if (p->open && p->prefix)
        snprintf(p->open_id, sizeof p->open_id, "%s", id);
    printed(p, text.bytes + !line->partial);
}

void printer_gap(struct printer *p, const char *id, const struct gap *gap, struct sl_slice json)
{
    if (p->json) {
        print_object(p, id, "gap", from_brace(json));
        return;
    }
    output_flush(&p->out); /* it stands between two lines */
    char count[40] = "lines";
    if (gap->lines >= 0)
        snprintf(count, sizeof count, "%lld %s", (long long)gap->lines, gap->lines == 1 ? "line" : "lines");
    say("%s%s%sgap: %s lost (%s)", p->prefix ? "[" : "", p->prefix ? id : "", p->prefix ? "] " : "", count,
        gap->reason[0] ? gap->reason : "unknown");
}

void printer_flush(struct printer *p)
{
    output_flush(&p->out);
}

void printer_finish(struct printer *p)
{
    if (p->open && p->prefix)
        output_add_text(&p->out, "\n");
    p->open = false;
    output_flush(&p->out);
}

void printer_fini(struct printer *p)
{
    output_fini(&p->out);
}
