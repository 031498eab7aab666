// SPDX-License-Identifier: Apache-2.0
#include "head.h"
#include <strings.h>

enum { SKIP_LINES_MAX_BYTES = 4 };

/* Fields that mean something else when they stand twice. */
enum { HOST, LENGTH, ENCODING, AUTHORIZATION, LAST_EVENT_ID, WEBSOCKET_KEY, WEBSOCKET_VERSION, ONCE };
static const char *const once[ONCE] = {
    [HOST] = "Host",
    [LENGTH] = "Content-Length",
    [ENCODING] = "Transfer-Encoding",
    [AUTHORIZATION] = "Authorization",
    [LAST_EVENT_ID] = "Last-Event-ID",
    [WEBSOCKET_KEY] = "Sec-WebSocket-Key",
    [WEBSOCKET_VERSION] = "Sec-WebSocket-Version",
};

static const char *const served[] = {"GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS", "PATCH"};

/* What request.h, guard.h and lws' upgrade read. */
static const char *const read_fields[] = {
    "Host",
    "Origin",
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Last-Event-ID",
    "Content-Length",
    "Content-Type",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
};

static int refuse(struct head *h, enum problem_code code, const char *field, const char *why)
{
    problem_set(&h->problem, code, field, "%s", why);
    return HEAD_REFUSED;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* RFC 9110 5.6.2 */
static bool is_token(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is(struct sl_slice s, const char *text)
{
    return s.bytes == strlen(text) && memcmp(s.data, text, s.bytes) == 0;
}

static bool is_named(struct sl_slice s, const char *name)
{
    return s.bytes == strlen(name) && strncasecmp((const char *)s.data, name, s.bytes) == 0;
}

static struct sl_slice trimmed(struct sl_slice s)
{
    while (s.bytes && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = sl_slice(s.data + 1, s.bytes - 1);
    while (s.bytes && strchr(" \t\r\n", s.data[s.bytes - 1]))
        s.bytes--;
    return s;
}

/*
 * Every other upgrade is left alone, as RFC 9110 7.8 allows: Java's client and curl --http2 offer h2c with
 * each request, and take HTTP/1.1. lws 4.1.6 refuses them with a page of its own, or uses what it has freed
 * (CVE-2025-11677).
 */
static bool is_websocket(struct sl_slice value)
{
    return is_named(trimmed(value), "websocket");
}

static bool is_read(struct sl_slice line)
{
    const uint8_t *colon = memchr(line.data, ':', line.bytes);
    if (!colon)
        return true; /* the empty line at the end */
    if (is_named(sl_slice(line.data, (size_t)(colon - line.data)), "Upgrade"))
        return is_websocket(sl_slice(colon + 1, line.bytes - (size_t)(colon + 1 - line.data)));
    for (size_t i = 0; i < sizeof read_fields / sizeof *read_fields; i++)
        if (is_named(sl_slice(line.data, (size_t)(colon - line.data)), read_fields[i]))
            return true;
    return false;
}

/* ---- the request line ---- */

static int method(struct head *h, struct sl_slice s)
{
    for (size_t i = 0; i < sizeof served / sizeof *served; i++)
        if (is(s, served[i]))
            return 0;
    for (size_t i = 0; i < s.bytes; i++)
        if (!is_token(s.data[i]))
            return refuse(h, PROBLEM_BAD_REQUEST, NULL, "this is no HTTP request");
    if (is(s, "CONNECT") || is(s, "TRACE"))
        return refuse(h, PROBLEM_METHOD_NOT_ALLOWED, NULL, "CONNECT and TRACE are not served here");
    return refuse(h, PROBLEM_NOT_IMPLEMENTED, NULL, "this method is not known here");
}

static int target(struct head *h, struct sl_slice s)
{
    if (s.bytes == 0 || s.data[0] != '/')
        return refuse(h, PROBLEM_BAD_REQUEST, NULL, "the request's target has to be a path");
    for (size_t i = 0; i < s.bytes; i++) {
        uint8_t c = s.data[i];
        if (c <= ' ' || c > '~' || c == '#')
            return refuse(h, PROBLEM_BAD_REQUEST, NULL,
                          "path and query hold a character that has to be percent-encoded");
        if (c != '%')
            continue;
        if (s.bytes - i < 3 || !is_hex(s.data[i + 1]) || !is_hex(s.data[i + 2]))
            return refuse(h, PROBLEM_BAD_REQUEST, NULL,
                          "a percent sign has to be followed by two hexadecimal digits");
        /* lws 4.1.6 drops a query from an encoded line end on: a whole log for `after=CURSOR%0A` */
        if (s.data[i + 1] == '0' && strchr("0AaDd", s.data[i + 2]))
            return refuse(h, PROBLEM_BAD_REQUEST, NULL,
                          "path and query can't hold NUL (%00) or a line's end (%0A, %0D)");
    }
    unsigned parameters = 1;
    for (size_t i = 0; i < s.bytes; i++)
        if (s.data[i] == '&' && ++parameters > HEAD_PARAMETERS_MAX)
            return refuse(h, PROBLEM_URI_TOO_LONG, NULL, "a query may have 500 parameters");
    return 0;
}

static int request_line(struct head *h, struct sl_slice line)
{
    const uint8_t *end = line.data + line.bytes;
    const uint8_t *first = memchr(line.data, ' ', line.bytes);
    const uint8_t *last = first ? memrchr(line.data, ' ', line.bytes) : NULL;
    if (!first || first == line.data || first == last)
        return refuse(h, PROBLEM_BAD_REQUEST, NULL, "a request line has a method, a path and a version");
    struct sl_slice version = sl_slice(last + 1, (size_t)(end - last - 1));
    struct sl_slice where = sl_slice(first + 1, (size_t)(last - first - 1));
    int answer = method(h, sl_slice(line.data, (size_t)(first - line.data)));
    if (answer)
        return answer;
    if (version.bytes != 8 || memcmp(version.data, "HTTP/", 5) != 0 || !is_digit(version.data[5]) ||
        version.data[6] != '.' || !is_digit(version.data[7]))
        return refuse(h, PROBLEM_BAD_REQUEST, NULL, "a request line ends with HTTP/1.1");
    h->http10 = is(version, "HTTP/1.0");
    if (!h->http10 && !is(version, "HTTP/1.1"))
        return refuse(h, PROBLEM_VERSION_NOT_SUPPORTED, NULL, "HTTP/1.1 is spoken here");
    if (where.bytes > HEAD_TARGET_MAX_BYTES)
        return refuse(h, PROBLEM_URI_TOO_LONG, NULL, "path and query may have 8 KiB");
    return target(h, where);
}

/* ---- fields ---- */

static int length(struct head *h, struct sl_slice value)
{
    if (value.bytes == 0 || value.bytes > 18)
        return refuse(h, PROBLEM_BAD_REQUEST, once[LENGTH], "Content-Length must be one whole number");
    h->body_bytes = 0;
    for (size_t i = 0; i < value.bytes; i++) {
        if (!is_digit(value.data[i]))
            return refuse(h, PROBLEM_BAD_REQUEST, once[LENGTH], "Content-Length must be one whole number");
        h->body_bytes = h->body_bytes * 10 + (value.data[i] - '0');
    }
    return 0;
}

static int host(struct head *h, struct sl_slice value)
{
    if (value.bytes == 0)
        return refuse(h, PROBLEM_BAD_REQUEST, once[HOST], "a request needs one Host header");
    for (size_t i = 0; i < value.bytes; i++)
        if (value.data[i] <= ' ' || value.data[i] > '~' || strchr("@/\\?#,\"<>", value.data[i]))
            return refuse(h, PROBLEM_BAD_REQUEST, once[HOST], "Host is a name and perhaps a port");
    return 0;
}

static int field(struct head *h, struct sl_slice line)
{
    const uint8_t *colon = memchr(line.data, ':', line.bytes);
    struct sl_slice name = sl_slice(line.data, colon ? (size_t)(colon - line.data) : 0), value;
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return refuse(h, PROBLEM_BAD_REQUEST, NULL, "a header line may not be folded");
    for (size_t i = 0; i < name.bytes; i++)
        if (!is_token(name.data[i]))
            return refuse(h, PROBLEM_BAD_REQUEST, NULL,
                          "a header's name ends with its colon and holds no space");
    if (name.bytes == 0)
        return refuse(h, PROBLEM_BAD_REQUEST, NULL, "a header line is a name, a colon and a value");
    if (++h->fields > HEAD_FIELDS_MAX || (h->read += is_read(line)) > HEAD_READ_MAX)
        return refuse(h, PROBLEM_HEADERS_TOO_LARGE, NULL, "a request may have 100 headers");
    value = trimmed(sl_slice(colon + 1, line.bytes - name.bytes - 1));
    /* RFC 9110 10.1.1: of others nobody has heard, and HTTP/1.0 knows none */
    if (is_named(name, "Expect"))
        h->expects = !h->http10 && is_named(value, "100-continue");
    for (unsigned i = 0; i < ONCE; i++) {
        if (!is_named(name, once[i]))
            continue;
        if (h->once >> i & 1)
            return refuse(h, PROBLEM_BAD_REQUEST, once[i], "this header may stand once");
        h->once |= 1u << i;
        return i == HOST ? host(h, value) : i == LENGTH ? length(h, value) : 0;
    }
    return 0;
}

/* ---- lines ---- */

/* What may stand nowhere in a head; a CR is one of them, but for the line's last. */
static bool has_control(struct sl_slice line)
{
    for (size_t i = 0; i < line.bytes; i++)
        if ((line.data[i] < ' ' && line.data[i] != '\t') || line.data[i] == 0x7f)
            return true;
    return false;
}

static int whole(struct head *h)
{
    if (h->once >> ENCODING & 1)
        return refuse(h, PROBLEM_BAD_REQUEST, once[ENCODING], "bodies are taken with Content-Length only");
    if (!(h->once >> HOST & 1))
        return refuse(h, PROBLEM_BAD_REQUEST, once[HOST], "a request needs one Host header");
    return 0;
}

/* One line, without its end. 0: go on; HEAD_REFUSED. */
static int take_line(struct head *h, struct sl_slice line)
{
    if (has_control(line))
        return refuse(h, PROBLEM_BAD_REQUEST, NULL,
                      "a request's head holds a control character, or a line that does not end with CR LF");
    return h->first_line_end == 0 ? request_line(h, line) : field(h, line);
}

static int too_long(struct head *h, size_t bytes)
{
    if (h->first_line_end == 0 && bytes - h->skip > HEAD_TARGET_MAX_BYTES + 512)
        return refuse(h, PROBLEM_URI_TOO_LONG, NULL, "path and query may have 8 KiB");
    if (h->first_line_end && bytes - h->first_line_end > HEAD_FIELDS_MAX_BYTES)
        return refuse(h, PROBLEM_HEADERS_TOO_LARGE, NULL, "a request's headers may have 16 KiB");
    return 0;
}

void head_begin(struct head *h)
{
    *h = (struct head){0};
}

int head_scan(struct head *h, struct sl_slice bytes, size_t *ret_bytes)
{
    for (;;) {
        const uint8_t *feed =
            bytes.bytes > h->seen ? memchr(bytes.data + h->seen, '\n', bytes.bytes - h->seen) : NULL;
        int answer;
        if (!feed) {
            h->seen = bytes.bytes;
            answer = too_long(h, bytes.bytes);
            /* another protocol sends no line feed at all: not to be waited for */
            if (!answer && h->first_line_end == 0 && bytes.bytes > h->skip &&
                !is_token(bytes.data[h->skip]) && bytes.data[h->skip] != '\r')
                answer = refuse(h, PROBLEM_BAD_REQUEST, NULL, "this is no HTTP request");
            return answer ? answer : HEAD_MORE;
        }
        size_t at = (size_t)(feed - bytes.data);
        if (at == h->line || feed[-1] != '\r')
            return refuse(h, PROBLEM_BAD_REQUEST, NULL, "a line of a request's head ends with CR LF");
        struct sl_slice line = sl_slice(bytes.data + h->line, at - h->line - 1);
        h->line = h->seen = at + 1;
        if (line.bytes == 0 && h->first_line_end == 0) {
            h->skip = h->line;
            if (h->skip > SKIP_LINES_MAX_BYTES)
                return refuse(h, PROBLEM_BAD_REQUEST, NULL, "a request begins with its request line");
            continue;
        }
        if ((answer = too_long(h, h->line)) != 0)
            return answer;
        if (line.bytes == 0) {
            *ret_bytes = h->line;
            return whole(h);
        }
        if ((answer = take_line(h, line)) != 0)
            return answer;
        if (h->first_line_end == 0)
            h->first_line_end = h->line;
    }
}

struct sl_slice head_query(struct sl_slice head)
{
    const uint8_t *end = memchr(head.data, '\r', head.bytes);
    const uint8_t *mark = memchr(head.data, '?', (size_t)(end - head.data));
    const uint8_t *last = mark ? memchr(mark, ' ', (size_t)(end - mark)) : NULL;
    return last ? sl_slice(mark + 1, (size_t)(last - mark) - 1) : sl_slice(head.data, 0);
}

size_t head_copy(struct sl_slice head, uint8_t *out)
{
    struct sl_slice query = head_query(head);
    size_t at = 0, written = 0;
    if (query.data > head.data) {
        written = (size_t)(query.data - head.data) - 1; /* the `?` too */
        memcpy(out, head.data, written);
        at = written + 1 + query.bytes;
    }
    while (at < head.bytes) {
        const uint8_t *feed = memchr(head.data + at, '\n', head.bytes - at);
        size_t bytes = feed ? (size_t)(feed - head.data) + 1 - at : head.bytes - at;
        if (written == 0 || out[written - 1] != '\n' || is_read(sl_slice(head.data + at, bytes))) {
            memcpy(out + written, head.data + at, bytes);
            written += bytes;
        }
        at += bytes;
    }
    return written;
}
