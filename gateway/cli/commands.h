// SPDX-License-Identifier: Apache-2.0
/*
 * The subcommands of `sandlog`. Each gets its own name as argv[0] ("logs") and its arguments, prints what it
 * has to say and returns the exit status; bad usage ends the program with 2 before anything was done. One
 * thread.
 */
#pragma once

int command_up(int argc, char **argv);
int command_run(int argc, char **argv);
int command_logs(int argc, char **argv);
int command_ps(int argc, char **argv);
int command_canary(int argc, char **argv);
int command_export(int argc, char **argv);
int command_token(int argc, char **argv);
