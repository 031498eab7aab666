// SPDX-License-Identifier: Apache-2.0
/* What export promises on every engine, on the Redis engine. */
#include "store_export.h"
#include "store_redis_server.h"

static struct server server;

static void engine_make(struct world *w)
{
    server_command(&server, "FLUSHALL");
    snprintf(w->location, sizeof w->location, "redis://127.0.0.1:%d", server.port);
}

static void engine_destroy(struct world *w)
{
    *w->location = 0;
}

int main(void)
{
    server_start(&server);
    int failed = cmocka_run_group_tests(export_tests, NULL, NULL);
    server_end(&server);
    return failed;
}
