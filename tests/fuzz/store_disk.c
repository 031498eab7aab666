// SPDX-License-Identifier: Apache-2.0
/* The disk engine's own bytes: names, the file `store`, headers, states, trailers. The first byte chooses. */
#include "store/disk/state.h"
#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void fuzz_name(struct sl_slice in)
{
    char text[128], again[SEGMENT_NAME_BYTES];
    struct segment_name name;
    size_t size = in.bytes < sizeof text - 1 ? in.bytes : sizeof text - 1;
    memcpy(text, in.data, size);
    text[size] = 0;
    if (segment_name_parse(text, &name)) {
        struct segment_name same;
        segment_name_render(&name, again);
        assert(segment_name_parse(again, &same) && same.first == name.first && same.last == name.last);
    }
}

static void fuzz_header(struct sl_slice in)
{
    struct segment_header header;
    if (segment_header_decode(in, &header) == 0) {
        struct sl_reader r = sl_reader(header.limit_pairs);
        uint32_t number, count = 0;
        uint64_t limit;
        while (segment_limit_next(&r, &number, &limit))
            count++;
        assert(count == header.limits);
    }
}

static void fuzz_state(struct sl_slice in)
{
    struct state state;
    if (state_decode(in, &state) == 0) {
        struct sl_reader r = sl_reader(state.sources);
        struct source source;
        uint32_t count = 0;
        while (state_source_next(&r, &source))
            count++;
        assert(count == state.source_count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    struct sl_slice in = sl_slice(data + 1, bytes - 1);
    uint64_t epoch;
    struct trailer trailer;
    switch (data[0] % 5) {
    case 0:
        fuzz_name(in);
        break;
    case 1:
        (void)store_file_parse(in, &epoch);
        break;
    case 2:
        fuzz_header(in);
        break;
    case 3:
        fuzz_state(in);
        break;
    default:
        if (in.bytes >= TRAILER_BYTES && trailer_decode(in.data, in.bytes, &trailer) == 0)
            assert(trailer.states_offset + trailer.states_bytes + trailer.parts_bytes + TRAILER_BYTES ==
                   in.bytes);
        break;
    }
    return 0;
}
