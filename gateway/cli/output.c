// SPDX-License-Identifier: Apache-2.0
#include "output.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

uint8_t *output_room(struct output *output, size_t bytes)
{
    if (bytes > output->capacity - output->bytes) {
        size_t capacity = output->capacity ? output->capacity : 1 << 16;
        while (capacity - output->bytes < bytes)
            capacity *= 2;
        uint8_t *grown = realloc(output->data, capacity);
        if (!grown) {
            say("%s", say_errno(ENOMEM));
            exit(1);
        }
        output->data = grown;
        output->capacity = capacity;
    }
    return output->data + output->bytes;
}

void output_add(struct output *output, const void *data, size_t bytes)
{
    if (bytes > 0)
        memcpy(output_room(output, bytes), data, bytes);
    output->bytes += bytes;
}

void output_add_text(struct output *output, const char *text)
{
    output_add(output, text, strlen(text));
}

void output_printf(struct output *output, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n > 0) {
        vsnprintf((char *)output_room(output, (size_t)n + 1), (size_t)n + 1, format, again);
        output->bytes += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void output_flush(struct output *output)
{
    for (size_t done = 0; done < output->bytes;) {
        ssize_t n = write(STDOUT_FILENO, output->data + done, output->bytes - done);
        if (n >= 0) {
            done += (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN) { /* somebody made the open file non-blocking */
            poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
            continue;
        }
        if (errno == EPIPE)
            exit(0);
        say("cannot write: %s", say_errno(errno));
        exit(1);
    }
    output->bytes = 0;
}

void output_check_reader(void)
{
    struct pollfd reader = {.fd = STDOUT_FILENO};
    if (poll(&reader, 1, 0) == 1 && (reader.revents & POLLERR))
        exit(0);
}

void output_fini(struct output *output)
{
    free(output->data);
    *output = (struct output){0};
}
