// SPDX-License-Identifier: Apache-2.0
/*
 * How many threads nng runs. Left alone it starts two task threads and one for timeouts a CPU, at most 16 and
 * 256, and all task threads wait at one queue: on two CPUs the four of them cost a sixth of what a query
 * costs (README.md), on 64 CPUs a daemon has 87 threads. What they do is to carry a message from a socket to
 * one home thread, for which the two that nng starts at least are enough.
 */
#pragma once

/* Starts nng's threads; before anything of nng is opened. Again it does nothing. Any thread. */
void link_threads_start(void);
