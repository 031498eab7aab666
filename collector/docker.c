// SPDX-License-Identifier: Apache-2.0
#include "entry.h"
#include "wire/timestamp.h"

enum { DEPTH_MAX = 64 };

static size_t skip_blank(struct sl_slice s, size_t at)
{
    while (at < s.bytes &&
           (s.data[at] == ' ' || s.data[at] == '\t' || s.data[at] == '\r' || s.data[at] == '\n'))
        at++;
    return at;
}

/*
 * s.data[at] is the opening quote; returns where the closing one stands, or SIZE_MAX. Every byte is looked at
 * twice: the next quote is sought again only where an escape has taken it.
 */
static size_t string_end(struct sl_slice s, size_t at, bool *ret_escapes)
{
    const uint8_t *from = s.data + at + 1, *end = s.data + s.bytes, *quote = NULL;
    bool escapes = false;
    for (;;) {
        if (!quote || quote < from)
            quote = memchr(from, '"', (size_t)(end - from));
        if (!quote)
            return SIZE_MAX;
        const uint8_t *backslash = memchr(from, '\\', (size_t)(quote - from));
        if (!backslash) {
            *ret_escapes = escapes;
            return (size_t)(quote - s.data);
        }
        escapes = true;
        from = backslash + 2; /* the quote stands behind the backslash: at most one byte before this */
    }
}

static int hex4(const uint8_t *p)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit;
        if (p[i] >= '0' && p[i] <= '9')
            digit = p[i] - '0';
        else if (p[i] >= 'a' && p[i] <= 'f')
            digit = p[i] - 'a' + 10;
        else if (p[i] >= 'A' && p[i] <= 'F')
            digit = p[i] - 'A' + 10;
        else
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static size_t put_utf8(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

/* The escape at in[0] == '\\'; returns bytes taken, 0 when it is none. out has room for 4. */
static size_t decode_escape(struct sl_slice in, uint8_t *out, size_t *ret_bytes)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (in.bytes < 2)
        return 0;
    const char *known = in.data[1] ? strchr(from, in.data[1]) : NULL;
    if (known) {
        out[0] = (uint8_t)to[known - from];
        *ret_bytes = 1;
        return 2;
    }
    if (in.data[1] != 'u' || in.bytes < 6)
        return 0;
    int unit = hex4(in.data + 2);
    if (unit < 0)
        return 0;
    size_t taken = 6;
    uint32_t c = (uint32_t)unit;
    if (c >= 0xd800 && c < 0xdc00 && in.bytes >= 12 && in.data[6] == '\\' && in.data[7] == 'u') {
        int low = hex4(in.data + 8);
        if (low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
            taken = 12;
        }
    }
    if (c >= 0xd800 && c < 0xe000)
        c = 0xfffd;
    *ret_bytes = put_utf8(out, c);
    return taken;
}

/*
 * Decodes the inside of a string until `in` ends, or the next unit would pass `text_max`. Returns the text's
 * bytes, SIZE_MAX for a bad escape; *ret_taken is how much of `in` that was. `out` may be NULL.
 */
static size_t decode(struct sl_slice in, uint8_t *out, size_t text_max, size_t *ret_taken)
{
    size_t at = 0, text = 0;
    while (at < in.bytes) {
        const uint8_t *backslash = memchr(in.data + at, '\\', in.bytes - at);
        size_t run = backslash ? (size_t)(backslash - in.data) - at : in.bytes - at;
        if (run > text_max - text)
            run = text_max - text;
        if (out && run > 0)
            memcpy(out + text, in.data + at, run);
        at += run;
        text += run;
        if (at == in.bytes || in.data + at != backslash)
            break;
        uint8_t unit[4];
        size_t bytes;
        size_t taken = decode_escape(sl_slice(in.data + at, in.bytes - at), unit, &bytes);
        if (taken == 0)
            return SIZE_MAX;
        if (bytes > text_max - text)
            break;
        if (out)
            memcpy(out + text, unit, bytes);
        at += taken;
        text += bytes;
    }
    *ret_taken = at;
    return text;
}

/* Behind the value that begins at `at`, or SIZE_MAX. Brackets are counted, not matched by kind. */
static size_t skip_value(struct sl_slice s, size_t at)
{
    int depth = 0;
    bool ignored;
    while (at < s.bytes) {
        uint8_t b = s.data[at];
        if (b == '"') {
            at = string_end(s, at, &ignored);
            if (at == SIZE_MAX)
                return SIZE_MAX;
            at++;
            if (depth == 0)
                return at;
        } else if (b == '{' || b == '[') {
            if (++depth > DEPTH_MAX)
                return SIZE_MAX;
            at++;
        } else if (b == '}' || b == ']') {
            if (depth == 0)
                return at;
            at++;
            if (--depth == 0)
                return at;
        } else if (b == ',' && depth == 0) {
            return at;
        } else {
            at++;
        }
    }
    return SIZE_MAX;
}

struct member {
    struct sl_slice key;   /* as it stands, between the quotes */
    struct sl_slice value; /* of a string: between the quotes */
    bool string;
    bool escapes;
};

/* > 0: one more; 0: the object ended, *at is behind it; < 0: malformed. *at is 0 at first. */
static int next_member(struct sl_slice s, size_t *at, struct member *ret)
{
    size_t i = skip_blank(s, *at);
    bool ignored;
    if (i >= s.bytes)
        return -1;
    bool first = *at == 0;
    if (first && s.data[i++] != '{')
        return -1;
    i = skip_blank(s, i);
    if (i < s.bytes && s.data[i] == '}') {
        *at = i + 1;
        return 0;
    }
    if (!first) {
        if (i >= s.bytes || s.data[i] != ',')
            return -1;
        i = skip_blank(s, i + 1);
    }
    if (i >= s.bytes || s.data[i] != '"')
        return -1;
    size_t end = string_end(s, i, &ignored);
    if (end == SIZE_MAX)
        return -1;
    ret->key = sl_slice(s.data + i + 1, end - i - 1);
    i = skip_blank(s, end + 1);
    if (i >= s.bytes || s.data[i] != ':')
        return -1;
    i = skip_blank(s, i + 1);
    if (i >= s.bytes)
        return -1;
    ret->string = s.data[i] == '"';
    ret->escapes = false;
    if (ret->string) {
        end = string_end(s, i, &ret->escapes);
        if (end == SIZE_MAX)
            return -1;
        ret->value = sl_slice(s.data + i + 1, end - i - 1);
        *at = end + 1;
        return 1;
    }
    end = skip_value(s, i);
    if (end == SIZE_MAX || end == i)
        return -1;
    ret->value = sl_slice(s.data + i, end - i);
    *at = end;
    return 1;
}

static bool is(struct sl_slice key, const char *name)
{
    return sl_slice_equal(key, sl_slice_of(name));
}

/* Go writes the newline as \n; anything else that decodes to one is taken as well. */
static bool ends_in_plain_newline(struct sl_slice value)
{
    return value.bytes >= 2 && value.data[value.bytes - 2] == '\\' && value.data[value.bytes - 1] == 'n' &&
           !memchr(value.data, '\\', value.bytes - 2);
}

int docker_parse(struct sl_slice record, uint8_t *scratch, struct entry *ret, struct sl_slice *ret_attrs)
{
    struct member m, log = {0};
    struct sl_slice attrs = {0};
    struct entry e = {0};
    bool stream = false, time = false;
    size_t at = 0, used;
    int more;
    while ((more = next_member(record, &at, &m)) > 0) {
        if (is(m.key, "log") && m.string) {
            log = m;
        } else if (is(m.key, "stream") && m.string) {
            e.stream = is(m.value, "stderr") ? SL_STDERR : SL_STDOUT;
            stream = is(m.value, "stderr") || is(m.value, "stdout");
        } else if (is(m.key, "time") && m.string) {
            time = sl_time_parse_rfc3339(m.value, &e.time_ns, &used) == 0 && used == m.value.bytes;
        } else if (is(m.key, "attrs") && m.value.bytes > 0 && m.value.data[0] == '{') {
            attrs = m.value;
        }
    }
    if (more < 0 || skip_blank(record, at) != record.bytes || !log.string || !stream || !time)
        return ENTRY_MALFORMED;
    if (!log.escapes) {
        e.text = log.value;
    } else if (ends_in_plain_newline(log.value)) {
        e.text = sl_slice(log.value.data, log.value.bytes - 2);
        e.whole = true;
    } else {
        size_t bytes = decode(log.value, scratch, SIZE_MAX, &used);
        if (bytes == SIZE_MAX)
            return ENTRY_MALFORMED;
        e.whole = bytes > 0 && scratch[bytes - 1] == '\n';
        e.text = sl_slice(scratch, bytes - e.whole);
    }
    *ret = e;
    *ret_attrs = attrs;
    return 0;
}

/* The member `log` of a record that was taken: the last one of that name, as docker_parse() has it. */
static struct sl_slice log_of(struct sl_slice record)
{
    struct member m;
    struct sl_slice log = {0};
    size_t at = 0;
    while (next_member(record, &at, &m) > 0)
        if (is(m.key, "log") && m.string)
            log = m.value;
    return log;
}

size_t docker_text_before(struct sl_slice record, size_t record_bytes)
{
    struct sl_slice log = log_of(record);
    size_t start = (size_t)(log.data - record.data), used;
    if (!log.data || record_bytes <= start)
        return 0;
    size_t inside = record_bytes - start < log.bytes ? record_bytes - start : log.bytes;
    size_t bytes = decode(sl_slice(log.data, inside), NULL, SIZE_MAX, &used);
    return bytes == SIZE_MAX ? 0 : bytes;
}

size_t docker_record_before(struct sl_slice record, size_t text_bytes)
{
    struct sl_slice log = log_of(record);
    size_t used = 0;
    if (!log.data || decode(log, NULL, text_bytes, &used) == SIZE_MAX)
        return 0;
    return (size_t)(log.data - record.data) + used;
}

bool docker_attrs_next(struct sl_slice attrs, size_t *at, uint8_t *scratch, struct sl_slice *ret_key,
                       struct sl_slice *ret_value)
{
    struct member m;
    size_t used;
    while (next_member(attrs, at, &m) > 0) {
        if (!m.string)
            continue;
        size_t key = decode(m.key, scratch, SIZE_MAX, &used);
        if (key == SIZE_MAX)
            continue;
        size_t value = decode(m.value, scratch + key, SIZE_MAX, &used);
        if (value == SIZE_MAX)
            continue;
        *ret_key = sl_slice(scratch, key);
        *ret_value = sl_slice(scratch + key, value);
        return true;
    }
    return false;
}
