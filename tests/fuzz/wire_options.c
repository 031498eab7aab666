// SPDX-License-Identifier: Apache-2.0
/* A config file: read or refused with one line and exit status 2, and what is read comes out of
 * --print-config so that reading that gives the same again. sl_options_read() ends the process when it
 * refuses, so exit(), fopen() and fclose() are wrapped here (--wrap). */
#include "wire/options.h"
#include <assert.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct values {
    bool flag;
    int64_t number, bytes, duration;
    const char *text, *address, *url;
    struct sl_option_list list, urls;
} values;

static const struct sl_option table[] = {
    {.name = "flag", .type = SL_OPTION_FLAG, .value = &values.flag, .sentence = "a flag"},
    {.name = "number",
     .type = SL_OPTION_NUMBER,
     .value = &values.number,
     .unit = "N",
     .min = -5,
     .max = 70000,
     .fallback = "7",
     .sentence = "a number"},
    {.name = "bytes",
     .type = SL_OPTION_BYTES,
     .value = &values.bytes,
     .unit = "BYTES",
     .fallback = "64MiB",
     .sentence = "bytes"},
    {.name = "duration",
     .type = SL_OPTION_DURATION,
     .value = &values.duration,
     .unit = "AGE",
     .fallback = "none",
     .sentence = "a time"},
    {.name = "text", .type = SL_OPTION_TEXT, .value = &values.text, .unit = "TEXT", .sentence = "a text"},
    {.name = "listen",
     .type = SL_OPTION_ADDRESS,
     .value = &values.address,
     .unit = "HOST:PORT",
     .fallback = "127.0.0.1:1",
     .sentence = "an address"},
    {.name = "url",
     .type = SL_OPTION_URL,
     .value = &values.url,
     .unit = "URL",
     .fallback = "tcp://127.0.0.1:1",
     .sentence = "a url"},
    {.name = "watch", .type = SL_OPTION_LIST, .value = &values.list, .unit = "SPEC", .sentence = "a list"},
    {.name = "broker",
     .type = SL_OPTION_URLS,
     .value = &values.urls,
     .unit = "URL",
     .fallback = "tcp://127.0.0.1:2",
     .sentence = "urls"},
};
static const struct sl_program program = {.name = "sandlog-fuzz",
                                          .usage = "",
                                          .sentence = "is fuzzed",
                                          .options = table,
                                          .option_count = sizeof table / sizeof *table};

static jmp_buf refused;
static bool inside;
static FILE *opened;

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0"; /* values live as long as the process, and a refusal ends it */
}

_Noreturn void __real_exit(int status);
_Noreturn void __wrap_exit(int status);
_Noreturn void __wrap_exit(int status)
{
    if (!inside)
        __real_exit(status);
    assert(status == 2);
    longjmp(refused, 1);
}

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode)
{
    FILE *file = __real_fopen(path, mode);
    if (inside)
        opened = file;
    return file;
}

int __real_fclose(FILE *file);
int __wrap_fclose(FILE *file);
int __wrap_fclose(FILE *file)
{
    if (file == opened)
        opened = NULL;
    return __real_fclose(file);
}

/* The options that result, as --print-config would say them; NULL: refused. */
static char *read_config(const void *data, size_t bytes)
{
    static int file = -1;
    static char path[64];
    static FILE *silence;
    if (file < 0) {
        file = memfd_create("config", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
        silence = fopen("/dev/null", "we");
        assert(file >= 0 && silence);
    }
    if (ftruncate(file, 0) != 0 || pwrite(file, data, bytes, 0) != (ssize_t)bytes)
        abort();
    char *argv[] = {"sandlog-fuzz", "--config", path, NULL};
    FILE *loud = stderr;
    char *volatile rendered = NULL;
    values = (struct values){0};
    opened = NULL;
    stderr = silence;
    inside = true;
    if (setjmp(refused) == 0) {
        sl_options_read(&program, 3, argv, false, NULL);
        opened = NULL;
        rendered = sl_options_render(&program);
        assert(rendered);
    } else if (opened) {
        fclose(opened);
    }
    inside = false;
    stderr = loud;
    return rendered;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes > 16384)
        return 0;
    char *once = read_config(data, bytes);
    /* An emptied list is not said, and has its default again; a value that begins with ; would be a comment.
     */
    if (once && values.urls.count > 0 && !strchr(once, ';')) {
        char *twice = read_config(once, strlen(once));
        assert(twice && strcmp(once, twice) == 0);
        free(twice);
    }
    free(once);
    return 0;
}
