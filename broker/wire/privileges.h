// SPDX-License-Identifier: Apache-2.0
/*
 * What a daemon that was started with more gives up: every capability but those it names, for itself, its
 * threads and whatever it might execute, and the way to get any back (no_new_privs). Before the first thread;
 * a process without privileges only loses that way back.
 */
#pragma once

enum sl_privilege {
    SL_MAY_BIND_ANY_PORT = 1 << 0,   /* CAP_NET_BIND_SERVICE */
    SL_MAY_READ_ANY_FILE = 1 << 1,   /* CAP_DAC_READ_SEARCH */
    SL_MAY_CHANGE_ANY_FILE = 1 << 2, /* CAP_DAC_OVERRIDE: a directory that is somebody else's */
};

/* Faults: -errno of the kernel. */
int sl_privileges_keep(unsigned privileges);
