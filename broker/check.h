// SPDX-License-Identifier: Apache-2.0
/*
 * `sandlog-broker check DIR [--repair]`: verifies a store that no broker has open, and says what it found.
 */
#pragma once

/* Returns the exit status: 0 all is well or repaired, 1 something is damaged, or it can't be checked. */
int check_run(int argc, char **argv);
