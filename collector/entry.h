// SPDX-License-Identifier: Apache-2.0
/*
 * An entry: what one record of a log file says. The parsers of the formats (cri.c, docker.c) are pure: a
 * record without its newline in, an entry out, no allocation, nothing kept. Answers > 0 mean that the record
 * is not of the format; the caller then keeps it whole as a line (API.md 1).
 */
#pragma once
#include "wire/block.h"

enum { ENTRY_MALFORMED = 1 };

struct entry {
    int64_t time_ns;
    struct sl_slice text; /* borrowed from the record, or from the scratch memory */
    uint8_t stream;       /* enum sl_stream */
    bool whole;           /* the text ends a line; else the next entry of its stream goes on with it */
};

/*
 * `TIME stdout|stderr TAGS TEXT`, TAGS `F` or `P` and further ones behind `:`, which are ignored. TEXT may be
 * missing together with its blank. Any byte may stand in TEXT.
 */
int cri_parse(struct sl_slice record, struct entry *ret);

/*
 * Docker's json-file: one JSON object with the strings `log`, `stream` and `time` in any order; other members
 * are skipped whatever they are. *ret_attrs is the text of the object `attrs`, empty when there is none.
 * Escapes are decoded into `scratch`, which holds record.bytes (decoding never grows); a text without escapes
 * is borrowed from the record. A lone surrogate becomes U+FFFD, as Go writes it. The newline at the end of
 * `log` makes the entry whole and is not part of its text.
 */
int docker_parse(struct sl_slice record, uint8_t *scratch, struct entry *ret, struct sl_slice *ret_attrs);
/*
 * Maps between places in the record and in the decoded text, for a text that is cut into several lines:
 * how many text bytes are decoded from the record's first `record_bytes` bytes, and where in the record the
 * text has come to `text_bytes`. Only for records that docker_parse() took.
 */
size_t docker_text_before(struct sl_slice record, size_t record_bytes);
size_t docker_record_before(struct sl_slice record, size_t text_bytes);
/*
 * Next string member of an `attrs` object, decoded into scratch (holds the slice's size); *at is where to go
 * on, 0 at first. False: no more. Members that are no strings are skipped.
 */
bool docker_attrs_next(struct sl_slice attrs, size_t *at, uint8_t *scratch, struct sl_slice *ret_key,
                       struct sl_slice *ret_value);
