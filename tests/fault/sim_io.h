// SPDX-License-Identifier: Apache-2.0
/*
 * A disk in memory for the store's io.h. It keeps what was synced apart from what was not, so that a crash
 * can be played at any moment: sim_crash() makes the disk that a machine would find after it, with any subset
 * of the unsynced writes, torn at sectors, and of the unsynced names. It fails calls on request. A sync that
 * failed loses what it should have written and says nothing about it ever after, as Linux does.
 *
 * One thread. Random numbers are the caller's, so that a run can be repeated by its seed.
 */
#pragma once
#include "store/disk/io.h"

struct sim;

struct sim_random {
    uint64_t state;
};
uint64_t sim_random(struct sim_random *r);

/* True while the disk allocates for itself. */
extern volatile bool sim_inside;

int sim_new(struct sim **ret);
/* The disk as an io, which the engine frees; the disk lives on until sim_free(). */
struct io *sim_io(struct sim *s);
void sim_free(struct sim *s);

/* Called before each call that changes something, and after it. */
void sim_hook(struct sim *s, void (*hook)(void *arg), void *arg);
struct sim *sim_crash(const struct sim *s, struct sim_random *r);

enum sim_call {
    SIM_OPEN = 1,
    SIM_WRITE = 2,
    SIM_READ = 4,
    SIM_SYNC = 8,
    SIM_NAMES = 16,
    SIM_TRUNCATE = 32,
    SIM_ANY = 63
};
/* The `countdown`-th call (1: the next) among `calls` fails with `fault`, and all after it when `forever`. */
void sim_fail(struct sim *s, unsigned calls, uint64_t countdown, int fault, bool forever);
/* True when a call has failed since sim_fail(). */
bool sim_failed(const struct sim *s);
/* Room left; writes past it are -ENOSPC, partly done. UINT64_MAX: no end. */
void sim_set_room(struct sim *s, uint64_t bytes);
/* Reads of these bytes of a file fail from now on (-EIO). False: no such file. */
bool sim_hurt(struct sim *s, const char *name, uint64_t from, uint64_t to);
/* Flips a bit of a file's durable content; false: no such byte. */
bool sim_flip(struct sim *s, const char *name, uint64_t at, uint8_t mask);
void sim_each(const struct sim *s, void (*each)(void *arg, const char *name, uint64_t bytes), void *arg);
