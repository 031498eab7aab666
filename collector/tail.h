// SPDX-License-Identifier: Apache-2.0
/*
 * The tail of a file: opening it safely, knowing it again, reading it at an offset.
 *
 * Only regular files with one link, beneath the watched root and reached without a symlink, are opened for
 * reading; a device or FIFO is not even opened (it is looked at through O_PATH first). A file that stays open
 * can be read to its end whatever happens to its name. The number of open files is bounded by the fleet: the
 * least recently read one that is read to its end is closed, and opened again by name and identity when it is
 * wanted.
 *
 * A `.gz` file is read as what is inside it; all offsets are of the inside. Home thread.
 */
#pragma once
#include "fleet.h"

enum tail_answer {
    TAIL_GONE = 1,    /* no such name, or another file has it now */
    TAIL_REFUSED = 2, /* a symlink, not a regular file, or more than one link */
};

/*
 * Opens f->name and fills f->identity (or, if it is filled, makes sure that it is the same file) and f->size.
 * 0, TAIL_*, or a fault (-EACCES, -EMFILE, ...). Nothing to do when it is open.
 */
int tail_open(struct fleet *fleet, struct file *f);
void tail_close(struct fleet *fleet, struct file *f);
/* For the watch: the folder has one log, that one file, which has its name and the size that was last seen
 * (statx(2) by name). False is no proof of the contrary. */
bool tail_unchanged(void *arg, const struct folder *folder);
/* Key of the file's source: hash over host and identity. */
void tail_key(struct sl_slice host, const struct identity *identity, uint8_t ret_key[16]);

/* fstat: *ret_size and whether it still has a name. f is open. */
int tail_stat(const struct file *f, uint64_t *ret_size, bool *ret_linked);
/*
 * Bytes of `at`: as many as there are, up to `bytes`; less only at the end. -errno; -EBADMSG: not (or not
 * yet) a whole .gz at this place. f is open.
 */
ssize_t tail_read(struct fleet *fleet, struct file *f, uint64_t at, void *out, size_t bytes);
/* XXH3-64 of the first `bytes` bytes; TAIL_GONE when there are fewer. */
int tail_fingerprint(struct fleet *fleet, struct file *f, size_t bytes, uint64_t *ret);
/* Opens a small file beside a log (exit_code, config.v2.json) as safely and reads it; -EFBIG over `capacity`.
 */
ssize_t tail_read_beside(const struct folder *folder, const char *name, void *out, size_t capacity,
                         struct identity *ret_identity);
