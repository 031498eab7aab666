// SPDX-License-Identifier: Apache-2.0
#include "options.h"
#include "server.h"
#include "wire/diagnostics.h"
#include "wire/privileges.h"
#include <malloc.h>
#include <stdio.h>
#include <string.h>

static enum sl_level level(void)
{
    switch (*options.log_level) {
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
    static struct server server;
    sl_options_read(&options_program, argc, argv, false, NULL);
    sl_log_init("gateway", level());
    sl_raise_open_files();
    /* Pages come and go by the thousand a second, each 64 page faults if it came from the kernel and went
     * back to it. What readers that do not read, or are gone, had goes back at the next second (server.c). */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
    int kept = sl_privileges_keep(SL_MAY_BIND_ANY_PORT | SL_MAY_READ_ANY_FILE);
    if (kept < 0) {
        fprintf(stderr, "sandlog-gateway: cannot give up privileges: %s\n", strerror(-kept));
        return 1;
    }
    int signals = sl_signals_open();
    if (signals < 0) {
        fprintf(stderr, "sandlog-gateway: cannot take signals: %s\n", strerror(-signals));
        return 1;
    }
    int status = server_open(&server, signals);
    if (status != 0)
        return status;
    server_run(&server);
    sl_end_within(3);
    server_close(&server);
    sl_log(SL_INFORM, "stopped", "%s", "");
    return 0;
}
