// SPDX-License-Identifier: Apache-2.0
/* A pattern, a newline, a name: parsing and matching stay inside both, and captures inside the name. */
#include "pattern.h"
#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const uint8_t *newline = memchr(data, '\n', bytes);
    size_t spec_bytes = newline ? (size_t)(newline - data) : bytes;
    size_t name_bytes = newline ? bytes - spec_bytes - 1 : 0;
    char *spec = malloc(spec_bytes + 1);
    uint8_t *name = malloc(name_bytes + 1);
    struct pattern p;
    const char *why;
    if (!spec || !name)
        abort();
    memcpy(spec, data, spec_bytes);
    spec[spec_bytes] = 0;
    if (name_bytes > 0)
        memcpy(name, newline + 1, name_bytes);
    if (pattern_parse(spec, &p, &why) == 0) {
        struct captures c = {0};
        for (unsigned i = 0; i < p.depth; i++) {
            struct captures before = c;
            if (!pattern_match(p.components[i], sl_slice(name, name_bytes), &c))
                c = before;
            for (unsigned k = 0; k < c.count; k++)
                assert(c.items[k].value.data >= name &&
                       c.items[k].value.data + c.items[k].value.bytes <= name + name_bytes);
        }
        pattern_fini(&p);
    }
    free(spec);
    free(name);
    return 0;
}
