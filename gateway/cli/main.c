// SPDX-License-Identifier: Apache-2.0
/* sandlog: the command people type. */
#include "commands.h"
#include "say.h"
#include "wire/timestamp.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *example, *sentence;
} commands[] = {
    {"up", command_up, "sandlog up", "start it all on this machine, and keep it running"},
    {"run", command_run, "sandlog run -- make test", "run a command as a sandbox: its output is its log"},
    {"logs", command_logs, "sandlog logs -f ID", "print or follow the log of one or more sandboxes"},
    {"ps", command_ps, "sandlog ps -a", "list the sandboxes"},
    {"export", command_export, "sandlog export NAME --to DIR",
     "drain everything into files or into ClickHouse"},
    {"canary", command_canary, "sandlog canary", "write, follow and count: missing, doubled, late"},
    {"token", command_token, "sandlog token --key FILE", "make a token for readers"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static int print_help(void)
{
    printf("Usage: sandlog COMMAND [OPTION]...\n"
           "Collect, keep and read the logs of sandboxes.\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-28s  %s\n", commands[i].example, commands[i].sentence);
    printf("\n\"sandlog COMMAND --help\" tells the rest; so does man sandlog.\n"
           "The server is $SANDLOG_SERVER (default http://127.0.0.1:8470), the token $SANDLOG_TOKEN.\n");
    if (fflush(stdout) != 0 && errno != EPIPE) {
        say("cannot write: %s", say_errno(errno));
        return 1;
    }
    return 0;
}

/* Whatever is opened next must not become stdin, stdout or stderr. */
static void open_standard_files(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static int usage_error(const char *what, const char *name)
{
    char names[200] = "";
    for (size_t i = 0; i < COMMANDS; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i == 0 ? "" : ", ",
                 commands[i].name);
    say("%s%s%s%s (try %s)", what, name ? " \"" : "", name ? name : "", name ? "\"" : "", names);
    return 2;
}

/* sandlog --config FILE COMMAND: as if it stood behind the command. */
static void config_behind_command(int argc, char **argv)
{
    int words = strcmp(argv[1], "--config") == 0 ? 2 : strncmp(argv[1], "--config=", 9) == 0 ? 1 : 0;
    if (words == 0 || argc <= 1 + words)
        return;
    char *command = argv[1 + words];
    memmove(argv + 2, argv + 1, (size_t)words * sizeof *argv);
    argv[1] = command;
}

int main(int argc, char **argv)
{
    open_standard_files();
    signal(SIGPIPE, SIG_IGN);
    /* waits before trying again hold chance, another one in each process */
    srand48((long)(sl_monotonic_ns() ^ (int64_t)getpid() << 32));
    if (argc < 2)
        return usage_error("name a command", NULL);
    config_behind_command(argc, argv);
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (strcmp(name, "help") == 0 && argc == 2))
        return print_help();
    if (strcmp(name, "--version") == 0) {
        printf("sandlog " SL_VERSION "\n");
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (strcmp(name, "help") == 0) { /* sandlog help logs */
        static char help[] = "--help";
        argv[1] = argv[2];
        argv[2] = help;
        argc = 3;
        name = argv[1];
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(name, "--config") == 0 || strncmp(name, "--config=", 9) == 0)
        return usage_error("name a command", NULL);
    return usage_error(name[0] == '-' ? "no such option" : "no such command", name);
}
