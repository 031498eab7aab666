// SPDX-License-Identifier: Apache-2.0
/* sandlog-collector: reads the log files of one host and ships their lines. */
#include "collector.h"
#include "wire/diagnostics.h"
#include "wire/privileges.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum sl_level level(const char *name)
{
    switch (*name) {
    case 'e':
        return SL_ERROR;
    case 'w':
        return SL_WARNING;
    case 'd':
        return SL_DEBUG;
    default:
        return SL_INFORM;
    }
}

int main(int argc, char **argv)
{
    struct collector_options options = *collector_options_read(argc, argv);
    static char host[256];
    sl_log_init("collector", level(options.log_level));
    if (!options.host) {
        if (gethostname(host, sizeof host - 1) < 0 || host[0] == 0)
            strcpy(host, "localhost");
        if (!sl_host_valid(sl_slice_of(host)))
            sl_usage_error(&collector_program,
                           "--host: this machine's own name can't be used, it is not printable ASCII without "
                           "blanks; name it");
        options.host = host;
    }
    int kept = sl_privileges_keep(SL_MAY_BIND_ANY_PORT | SL_MAY_READ_ANY_FILE);
    if (kept < 0) {
        fprintf(stderr, "sandlog-collector: cannot give up privileges: %s\n", strerror(-kept));
        return 1;
    }
    return collector_run(&options);
}
