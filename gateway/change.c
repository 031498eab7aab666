// SPDX-License-Identifier: Apache-2.0
#include "change.h"
#include <assert.h>
#include <jansson.h>

static_assert(SL_LABELS_MAX == 64 && SL_LABEL_KEY_MAX_BYTES == 255 && SL_LABEL_VALUE_MAX_BYTES == 4096,
              "the sentence about labels");

static const char *take_state(json_t *value, struct sl_change *change)
{
    const char *state = json_is_string(value) ? json_string_value(value) : "";
    change->fields |= SL_CHANGE_STATE;
    if (strcmp(state, "stopped") == 0)
        change->state = SL_STOPPED;
    else if (strcmp(state, "running") == 0)
        change->state = SL_RUNNING;
    else
        return "state must be \"running\" or \"stopped\"";
    return NULL;
}

/* null: it is not known, as in what GET answers. */
static const char *take_exit(json_t *value, struct sl_change *change)
{
    if (json_is_null(value))
        return NULL;
    json_int_t code = json_is_integer(value) ? json_integer_value(value) : INT64_MAX;
    if (code < INT32_MIN || code > INT32_MAX)
        return "exit_code must be a whole number of 32 bits, or null";
    change->fields |= SL_CHANGE_EXIT;
    change->exit_code = (int32_t)code;
    return NULL;
}

static const char *take_labels(json_t *labels, struct sl_change *change, struct sl_writer *pairs)
{
    static const char why[] =
        "labels must be an object of at most 64 texts, with keys of 1 to 255 and values of up to 4096 bytes";
    const char *key;
    json_t *value;
    if (!json_is_object(labels))
        return why;
    json_object_foreach(labels, key, value)
    {
        size_t bytes = strlen(key);
        if (!json_is_string(value) || bytes == 0 || bytes > SL_LABEL_KEY_MAX_BYTES ||
            json_string_length(value) > SL_LABEL_VALUE_MAX_BYTES || change->labels == SL_LABELS_MAX)
            return why;
        sl_label_write(pairs, sl_slice(key, bytes),
                       sl_slice(json_string_value(value), json_string_length(value)));
        change->labels++;
    }
    change->fields |= SL_CHANGE_LABELS;
    change->label_pairs = sl_slice(pairs->data, pairs->bytes);
    return NULL;
}

int change_parse(struct sl_slice body, struct sl_writer *pairs, struct sl_change *ret,
                 const char **ret_member, const char **ret_why)
{
    struct sl_change change = {.sandbox = ret->sandbox};
    const char *key, *why = NULL;
    json_t *value, *root = json_loadb((const char *)body.data, body.bytes, JSON_REJECT_DUPLICATES, NULL);
    *ret_member = NULL;
    if (!root)
        why = "the body is not JSON";
    else if (!json_is_object(root))
        why = "the body must be a JSON object";
    else
        json_object_foreach(root, key, value)
        {
            if (strcmp(key, "state") == 0) {
                why = take_state(value, &change);
                *ret_member = "state";
            } else if (strcmp(key, "exit_code") == 0) {
                why = take_exit(value, &change);
                *ret_member = "exit_code";
            } else if (strcmp(key, "labels") == 0) {
                why = take_labels(value, &change, pairs);
                *ret_member = "labels";
            }
            if (why)
                break;
        }
    json_decref(root);
    if (why) {
        *ret_why = why;
        return CHANGE_INVALID;
    }
    *ret = change;
    return 0;
}
