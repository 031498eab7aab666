// SPDX-License-Identifier: Apache-2.0
#include "privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By system calls: libcap would be one more library for three of them. */
int sl_privileges_keep(unsigned privileges)
{
    uint64_t keep = (privileges & SL_MAY_BIND_ANY_PORT ? UINT64_C(1) << CAP_NET_BIND_SERVICE : 0) |
                    (privileges & SL_MAY_READ_ANY_FILE ? UINT64_C(1) << CAP_DAC_READ_SEARCH : 0) |
                    (privileges & SL_MAY_CHANGE_ANY_FILE ? UINT64_C(1) << CAP_DAC_OVERRIDE : 0);
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3] = {0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    /* What the kernel does not know ends the list; without CAP_SETPCAP there is no bounding set to leave. */
    for (unsigned long cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!(keep >> cap & 1))
            (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    if (syscall(SYS_capget, &head, now) < 0)
        return -errno;
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        uint32_t word = (uint32_t)(keep >> 32 * i);
        now[i].permitted &= word;
        now[i].effective &= word;
        now[i].inheritable = 0;
    }
    if (syscall(SYS_capset, &head, now) < 0)
        return -errno;
    /* Taken out of the permitted set they left the ambient one too; the rest is not for children either. */
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL ? -errno : 0;
}
