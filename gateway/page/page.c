// SPDX-License-Identifier: Apache-2.0
#include "page/page.h"
#include <assert.h>

/* .incbin: the assembler reads the file; PAGE_FOLDER comes from the build, which also knows that this depends
 * on them. */
#define FILE_BYTES(name, file)                                                                               \
    __asm__(".section .rodata\n.global page_" #name "_begin\n.global page_" #name "_end\npage_" #name        \
            "_begin:\n.incbin \"" PAGE_FOLDER "/" file "\"\npage_" #name "_end:\n.byte 0\n.previous\n");     \
    extern const uint8_t page_##name##_begin[] __attribute__((visibility("hidden")));                        \
    extern const uint8_t page_##name##_end[] __attribute__((visibility("hidden")))

FILE_BYTES(index, "index.html");
FILE_BYTES(style, "page.css");
FILE_BYTES(app, "app.js");
FILE_BYTES(log, "log.js");
FILE_BYTES(stream, "stream.js");
FILE_BYTES(text, "text.js");
FILE_BYTES(icon, "icon.svg");
FILE_BYTES(anser, "vendor/anser.js");
FILE_BYTES(parser, "vendor/eventsource-parser.js");

const char page_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'";

#define SCRIPT "text/javascript; charset=utf-8"
static struct {
    struct page_file file;
    const uint8_t *end;
} files[] = {
    {{"/", "text/html; charset=utf-8", {page_index_begin, 0}}, page_index_end},
    {{"/page/page.css", "text/css; charset=utf-8", {page_style_begin, 0}}, page_style_end},
    {{"/page/app.js", SCRIPT, {page_app_begin, 0}}, page_app_end},
    {{"/page/log.js", SCRIPT, {page_log_begin, 0}}, page_log_end},
    {{"/page/stream.js", SCRIPT, {page_stream_begin, 0}}, page_stream_end},
    {{"/page/text.js", SCRIPT, {page_text_begin, 0}}, page_text_end},
    {{"/page/icon.svg", "image/svg+xml", {page_icon_begin, 0}}, page_icon_end},
    {{"/page/vendor/anser.js", SCRIPT, {page_anser_begin, 0}}, page_anser_end},
    {{"/page/vendor/eventsource-parser.js", SCRIPT, {page_parser_begin, 0}}, page_parser_end},
};

/* Lengths are differences of two linker symbols: no constant expression in C, so they are filled in before
 * main(). */
__attribute__((constructor)) static void measure(void)
{
    for (size_t i = 0; i < page_count(); i++)
        files[i].file.bytes.bytes = (size_t)(files[i].end - files[i].file.bytes.data);
}

size_t page_count(void)
{
    return sizeof files / sizeof *files;
}

const struct page_file *page_at(size_t index)
{
    assert(index < page_count());
    return &files[index].file;
}

const struct page_file *page_find(struct sl_slice path)
{
    for (size_t i = 0; i < page_count(); i++)
        if (sl_slice_equal(path, sl_slice_of(files[i].file.path)))
            return &files[i].file;
    return NULL;
}
