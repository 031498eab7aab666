// SPDX-License-Identifier: Apache-2.0
#include "check.h"

#include "options.h"
#include "store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void report(void *arg, const char *sentence)
{
    (void)arg;
    puts(sentence);
}

static const char *fault_text(int fault)
{
    switch (fault) {
    case -EBUSY:
        return "a broker has it open";
    case -EPROTONOSUPPORT:
        return "it was written by a newer version";
    case -ENOTSUP:
        return "this store can't be checked";
    case -EACCES:
        return "permission denied; run it as the broker's user";
    default:
        return strerror(-fault);
    }
}

int check_run(int argc, char **argv)
{
    const struct check_options *o = check_options_read(argc, argv);
    struct store_check_result result;
    int fault = store_check(o->directory, o->repair, report, NULL, &result);
    if (fault != 0) {
        fflush(stdout);
        const char *why = fault_text(fault);
        if (fault == -ENOENT && access(o->directory, F_OK) == 0)
            why = "there is no store in it; that of `sandlog up` is the folder store in its own";
        fprintf(stderr, "sandlog-broker: %s: %s\n", o->directory, why);
        return 1;
    }
    printf("%" PRIu64 " segments, %" PRIu64 " records, %" PRIu64 " lines\n", result.segments, result.records,
           result.lines);
    uint64_t repairable = result.damaged_indexes + (result.torn_bytes > 0);
    if (repairable + result.damaged_blocks + result.lost_segments == 0) {
        puts("all is well");
        return 0;
    }
    printf("%" PRIu64 " torn bytes, %" PRIu64 " damaged indexes, %" PRIu64 " damaged blocks, %" PRIu64
           " lost segments, %" PRIu64 " repaired\n",
           result.torn_bytes, result.damaged_indexes, result.damaged_blocks, result.lost_segments,
           result.repaired);
    if (!o->repair && repairable > 0)
        puts("torn tails and indexes are repaired by --repair, or by the next start of a broker");
    return result.damaged_blocks + result.lost_segments > 0 || (!o->repair && repairable > 0);
}
