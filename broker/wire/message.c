// SPDX-License-Identifier: Apache-2.0
#include "message.h"
#include "message_parts.h"
#include <assert.h>

enum { HELLO_PROOF_BYTES = 32 };

bool message_fail(struct sl_reader *r)
{
    r->failed = true;
    r->at = r->end;
    return false;
}

int message_end(const struct sl_reader *r, bool sound)
{
    return sound && !r->failed && sl_reader_left(r) == 0 ? SL_STATUS_OK : SL_STATUS_MALFORMED;
}

bool sl_host_valid(struct sl_slice host)
{
    for (size_t i = 0; i < host.bytes; i++) {
        if (host.data[i] <= ' ' || host.data[i] > '~')
            return false;
    }
    return host.bytes <= SL_HOST_MAX_BYTES;
}

/* ---- head ---- */

void sl_message_begin(struct sl_writer *w, const struct sl_message_head *head)
{
    assert(head->status <=
           SL_STATUS_BAD_CHECKPOINT); /* any type: an unknown one is refused by its own name */
    sl_write_u32(w, SL_MESSAGE_MAGIC);
    sl_write_u8(w, SL_MESSAGE_VERSION);
    sl_write_u8(w, head->type);
    sl_write_u8(w, head->status);
    sl_write_u8(w, 0);
    sl_write_u64(w, head->id);
}

int sl_message_open(struct sl_reader *r, struct sl_message_head *ret)
{
    struct sl_reader at = *r;
    uint32_t magic = sl_read_u32(&at);
    uint8_t version = sl_read_u8(&at);
    struct sl_message_head head = {.type = sl_read_u8(&at)};
    head.status = sl_read_u8(&at);
    uint8_t reserved = sl_read_u8(&at);
    head.id = sl_read_u64(&at);
    if (at.failed || magic != SL_MESSAGE_MAGIC || version == 0)
        return SL_STATUS_MALFORMED;
    if (version > SL_MESSAGE_VERSION || head.type > SL_BEGIN) {
        *ret = head;
        return SL_STATUS_NEWER;
    }
    if (head.type < SL_HELLO || head.status > SL_STATUS_BAD_CHECKPOINT || reserved != 0)
        return SL_STATUS_MALFORMED;
    *r = at;
    *ret = head;
    return SL_STATUS_OK;
}

/* ---- HELLO ---- */

static bool hello_sound(const struct sl_hello *h)
{
    if (h->role < SL_ROLE_COLLECTOR || h->role > SL_ROLE_TOOL || !sl_host_valid(h->host))
        return false;
    return (h->host.bytes > 0) == (h->role == SL_ROLE_COLLECTOR) &&
           (h->proof.bytes == 0 || h->proof.bytes == HELLO_PROOF_BYTES);
}

void sl_hello_encode(struct sl_writer *w, const struct sl_hello *hello)
{
    sl_write_u8(w, hello->role);
    sl_write_slice8(w, hello->host);
    sl_write_slice8(w, hello->version);
    sl_write_slice8(w, hello->proof);
}

int sl_hello_decode(struct sl_reader *r, struct sl_hello *ret)
{
    struct sl_hello h = {.role = sl_read_u8(r)};
    h.host = sl_read_slice8(r);
    h.version = sl_read_slice8(r);
    h.proof = sl_read_slice8(r);
    int status = message_end(r, hello_sound(&h));
    if (status == SL_STATUS_OK)
        *ret = h;
    return status;
}

void sl_welcome_encode(struct sl_writer *w, const struct sl_welcome *welcome)
{
    sl_write_u64(w, welcome->epoch);
    sl_write_slice(w, sl_slice(welcome->nonce, sizeof welcome->nonce));
    sl_write_slice8(w, welcome->version);
}

int sl_welcome_decode(struct sl_reader *r, struct sl_welcome *ret)
{
    struct sl_welcome welcome = {.epoch = sl_read_u64(r)};
    struct sl_slice nonce = sl_read_slice(r, sizeof welcome.nonce);
    welcome.version = sl_read_slice8(r);
    int status = message_end(r, true);
    if (status == SL_STATUS_OK) {
        memcpy(welcome.nonce, nonce.data, sizeof welcome.nonce);
        *ret = welcome;
    }
    return status;
}

/* ---- labels ---- */

void sl_label_write(struct sl_writer *pairs, struct sl_slice key, struct sl_slice value)
{
    if (key.bytes == 0 || value.bytes > SL_LABEL_VALUE_MAX_BYTES) {
        pairs->failed = true;
        return;
    }
    sl_write_slice8(pairs, key);
    sl_write_u16(pairs, (uint16_t)value.bytes);
    sl_write_slice(pairs, value);
}

bool sl_label_next(struct sl_reader *pairs, struct sl_slice *ret_key, struct sl_slice *ret_value)
{
    if (pairs->failed || sl_reader_left(pairs) == 0)
        return false;
    struct sl_slice key = sl_read_slice8(pairs);
    struct sl_slice value = sl_read_slice(pairs, sl_read_u16(pairs));
    if (pairs->failed || key.bytes == 0 || value.bytes > SL_LABEL_VALUE_MAX_BYTES)
        return message_fail(pairs);
    *ret_key = key;
    *ret_value = value;
    return true;
}

void message_write_labels(struct sl_writer *w, uint16_t count, struct sl_slice pairs)
{
    sl_write_u16(w, count);
    sl_write_slice(w, pairs);
}

void message_read_labels(struct sl_reader *r, uint16_t *ret_count, struct sl_slice *ret_pairs)
{
    uint16_t count = sl_read_u16(r);
    const uint8_t *begin = r->at;
    if (count > SL_LABELS_MAX)
        message_fail(r);
    for (uint16_t i = 0; i < count && !r->failed; i++) {
        struct sl_slice key;
        struct sl_slice value;
        if (!sl_label_next(r, &key, &value))
            message_fail(r);
    }
    if (r->failed)
        return;
    *ret_count = count;
    *ret_pairs = sl_slice(begin, (size_t)(r->at - begin));
}

/* ---- changes ---- */

/* What `fields` does not name is zero. */
static bool change_sound(const struct sl_change *c)
{
    bool has_state = c->fields & SL_CHANGE_STATE;
    bool has_host = c->fields & SL_CHANGE_HOST;
    uint8_t known = SL_CHANGE_STATE | SL_CHANGE_EXIT | SL_CHANGE_HOST | SL_CHANGE_LABELS;
    return (c->fields & ~known) == 0 && (has_state ? c->state >= SL_RUNNING : c->state == 0) &&
           c->state <= SL_STOPPED && (c->exit_code == 0 || (c->fields & SL_CHANGE_EXIT)) &&
           sl_sandbox_id_valid(c->sandbox) && sl_host_valid(c->host) && (c->host.bytes > 0) == has_host &&
           (c->labels == 0 || (c->fields & SL_CHANGE_LABELS));
}

void sl_change_encode(struct sl_writer *w, const struct sl_change *change)
{
    bool has_labels = change->fields & SL_CHANGE_LABELS;
    sl_write_u8(w, change->fields);
    sl_write_u8(w, change->fields & SL_CHANGE_STATE ? change->state : 0);
    sl_write_u32(w, change->fields & SL_CHANGE_EXIT ? (uint32_t)change->exit_code : 0);
    sl_write_slice8(w, change->sandbox);
    sl_write_slice8(w, change->fields & SL_CHANGE_HOST ? change->host : sl_slice(NULL, 0));
    message_write_labels(w, has_labels ? change->labels : 0,
                         has_labels ? change->label_pairs : sl_slice(NULL, 0));
}

int sl_change_decode(struct sl_reader *r, struct sl_change *ret)
{
    struct sl_change c = {.fields = sl_read_u8(r)};
    c.state = sl_read_u8(r);
    c.exit_code = (int32_t)sl_read_u32(r);
    c.sandbox = sl_read_slice8(r);
    c.host = sl_read_slice8(r);
    message_read_labels(r, &c.labels, &c.label_pairs);
    int status = message_end(r, change_sound(&c));
    if (status == SL_STATUS_OK)
        *ret = c;
    return status;
}
