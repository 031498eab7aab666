// SPDX-License-Identifier: Apache-2.0
#include "link_threads.h"
#include <nng/nng.h>
#ifdef LINK_THREADS_NNG_PARAMETERS
#include <pthread.h>

static void start(void)
{
    nng_init_set_parameter(NNG_INIT_NUM_TASK_THREADS, 2);
    nng_init_set_parameter(NNG_INIT_MAX_EXPIRE_THREADS, 1);
}

void link_threads_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
}
#else
#include <nng/supplemental/util/platform.h>
#include <stdbool.h>
#include <unistd.h>

/* libc's, under its other name. */
long __sysconf(int name);

static _Thread_local bool starting;

/* Before 1.8 nng has no parameter: it asks how many CPUs there are, once, and is told that there is one. Seen
 * by libraries, unlike all else of this program; whoever else asks gets libc's answer, the sanitizer's
 * runtime before it has begun. */
__attribute__((visibility("default"), no_sanitize_thread)) long sysconf(int name)
{
    return starting && name == _SC_NPROCESSORS_ONLN ? 1 : __sysconf(name);
}

void link_threads_start(void)
{
    starting = true;
    nng_clock(); /* the least that starts them */
    starting = false;
}
#endif
