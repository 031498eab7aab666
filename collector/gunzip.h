// SPDX-License-Identifier: Apache-2.0
/*
 * Reading inside a .gz file at increasing offsets. Going back starts from the beginning; going forward
 * inflates what lies between. Several members one behind another are one content (RFC 1952). Memory: about 48
 * KiB while it exists, whatever the file says.
 */
#pragma once
#include <stdint.h>
#include <sys/types.h>

struct gunzip;

/* -ENOMEM. */
int gunzip_new(struct gunzip **ret);
void gunzip_free(struct gunzip *g);
/*
 * Like pread() of the content. Short only where the content ends. -EBADMSG: the file is damaged, or not whole
 * yet; bytes before that place are given first.
 */
ssize_t gunzip_read(struct gunzip *g, int fd, uint64_t at, void *out, size_t bytes);
