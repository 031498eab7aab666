// SPDX-License-Identifier: Apache-2.0
/*
 * Where an `up` lives: its folder, which it holds locked; the sockets in it; the gateway's address; the
 * programs. What is wrong is said on stderr. One thread.
 */
#pragma once

struct up_place {
    int lock_fd, folder_fd;
    char *store, *sandboxes;            /* DIR/store, DIR/sandboxes */
    char *watch;                        /* cri:DIR/sandboxes/{sandbox}/{container}.log */
    char *ingest_url, *query_url;       /* ipc://DIR/... */
    char *listen;                       /* HOST:PORT, the port never 0 */
    char *url;                          /* of the log page, as a person on this machine opens it */
    char *broker, *gateway, *collector; /* paths */
};

/* Not 0: the exit status; why was said. */
int up_place_open(struct up_place *place, const char *data, const char *listen);
void up_place_close(struct up_place *place);
