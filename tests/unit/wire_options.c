// SPDX-License-Identifier: Apache-2.0
#include "wire/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h needs setjmp, stdarg and stdlib */
#include <cmocka.h>

static bool follow, stamps, colour;
static int64_t lines, memory, age, level;
static const char *listen_at, *secret, *data, *token;
static const char *since;
static struct sl_option_list watch, brokers, skip;
static int first_operand;

static const char *check_data(const char *text)
{
    return text[0] == '/' ? NULL : "must be an absolute path";
}

static const struct sl_option options[] = {
    {.name = "follow", .letter = 'f', .type = SL_OPTION_FLAG, .value = &follow, .sentence = "stay"},
    {.name = "timestamps", .letter = 't', .type = SL_OPTION_FLAG, .value = &stamps, .sentence = "times"},
    {.name = "colour",
     .type = SL_OPTION_FLAG,
     .value = &colour,
     .fallback = "true",
     .sentence =
         "paint the prefixes, which are the ids of the sandboxes in brackets, in colours that are easy "
         "to tell from one another"},
    {.name = "tail",
     .letter = 'n',
     .type = SL_OPTION_NUMBER,
     .value = &lines,
     .unit = "N",
     .sentence = "how many"},
    {.name = "level",
     .type = SL_OPTION_NUMBER,
     .value = &level,
     .unit = "N",
     .min = -5,
     .max = 12,
     .fallback = "-1",
     .sentence = "level"},
    {.name = "memory",
     .type = SL_OPTION_BYTES,
     .value = &memory,
     .unit = "BYTES",
     .min = 1 << 20,
     .max = INT64_C(1) << 40,
     .fallback = "64MiB",
     .sentence = "memory"},
    {.name = "retention-age",
     .type = SL_OPTION_DURATION,
     .value = &age,
     .unit = "AGE",
     .fallback = "none",
     .sentence = "age"},
    {.name = "listen",
     .type = SL_OPTION_ADDRESS,
     .value = &listen_at,
     .unit = "HOST:PORT",
     .fallback = "127.0.0.1:8470",
     .sentence = "where"},
    {.name = "secret", .type = SL_OPTION_TEXT, .value = &secret, .unit = "FILE", .sentence = "secret"},
    {.name = "token", .type = SL_OPTION_TEXT, .value = &token, .unit = "TOKEN", .sentence = "token"},
    {.name = "data",
     .type = SL_OPTION_TEXT,
     .value = &data,
     .unit = "DIR",
     .fallback = "/var/lib/sandlog",
     .check = check_data,
     .sentence = "data"},
    {.name = "watch", .type = SL_OPTION_LIST, .value = &watch, .unit = "SPEC", .sentence = "what to watch"},
    {.name = "broker",
     .type = SL_OPTION_URLS,
     .value = &brokers,
     .unit = "URL",
     .fallback = "tcp://127.0.0.1:8471",
     .sentence = "brokers"},
    {.name = "skip",
     .type = SL_OPTION_LIST,
     .value = &skip,
     .unit = "GLOB",
     .fallback = "*.gz *.tmp",
     .sentence = "what not to watch"},
    {.name = "since",
     .type = SL_OPTION_TEXT,
     .value = &since,
     .unit = "TIME",
     .fallback = "",
     .sentence = "when"},
};
static const struct sl_program program = {
    .name = "sandlog-test",
    .usage = "[OPTION]... [ID]...",
    .sentence = "Does what it is told.",
    .epilogue = "Examples:\n  sandlog-test -f\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
};

enum { ARGUMENTS_MAX = 16 };
static char *arguments[ARGUMENTS_MAX + 1];
static int argument_count;

/* Splits at '|', since values hold blanks. */
static void read_line(const char *line, bool stop_early)
{
    static char copy[1024];
    snprintf(copy, sizeof copy, "%s", line);
    argument_count = 0;
    static char name[] = "sandlog-test";
    arguments[argument_count++] = name;
    for (char *at = copy; *line && at; argument_count++) {
        assert_true(argument_count < ARGUMENTS_MAX);
        arguments[argument_count] = strsep(&at, "|");
    }
    arguments[argument_count] = NULL;
    sl_options_read(&program, argument_count, arguments, stop_early, &first_operand);
}

static void read_plain(const char *line)
{
    read_line(line, false);
}

struct outcome {
    int status;
    char out[8192];
    char err[1024];
};

static void slurp(int fd, char *out, size_t capacity)
{
    size_t used = 0;
    ssize_t n;
    while (used + 1 < capacity && (n = read(fd, out + used, capacity - 1 - used)) > 0)
        used += (size_t)n;
    out[used] = 0;
    close(fd);
}

/* Reads `line` in a child, because the reader of options ends the process. */
static struct outcome in_child(const char *line, bool operands)
{
    static struct outcome o;
    int out[2], err[2];
    assert_int_equal(pipe(out), 0);
    assert_int_equal(pipe(err), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        close(out[0]);
        close(err[0]);
        if (operands) {
            read_plain(line);
        } else {
            static char name[] = "sandlog-test", text[100];
            snprintf(text, sizeof text, "%s", line);
            char *argv[] = {name, text, NULL};
            sl_options_read(&program, 2, argv, false, NULL);
        }
        _exit(99);
    }
    close(out[1]);
    close(err[1]);
    slurp(err[0], o.err, sizeof o.err);
    slurp(out[0], o.out, sizeof o.out);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    o.status = WEXITSTATUS(status);
    return o;
}

static void assert_refused(const char *line, const char *sentence)
{
    struct outcome o = in_child(line, true);
    char wanted[1024];
    snprintf(wanted, sizeof wanted, "sandlog-test: %s\n", sentence);
    assert_string_equal(o.err, wanted);
    assert_int_equal(o.status, 2);
    assert_string_equal(o.out, "");
}

static int clear_environment(void **state)
{
    (void)state;
    static const char *const names[] = {"TAIL",   "WATCH",         "BROKER", "FOLLOW", "CONFIG",
                                        "SECRET", "RETENTION_AGE", "SKIP",   "SINCE",  "LISTEN"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        snprintf(name, sizeof name, "SANDLOG_%s", names[i]);
        unsetenv(name);
    }
    return 0;
}

static char config[64];
static void write_config_bytes(const char *text, size_t bytes)
{
    snprintf(config, sizeof config, "/tmp/sandlog-options-XXXXXX");
    int fd = mkstemp(config);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), (ssize_t)bytes);
    close(fd);
    setenv("SANDLOG_CONFIG", config, 1);
}

static void write_config(const char *text)
{
    write_config_bytes(text, strlen(text));
}

static void defaults_fill_every_value(void **state)
{
    (void)state;
    read_plain("");
    assert_false(follow);
    assert_true(colour);
    assert_int_equal(lines, 0);
    assert_int_equal(level, -1);
    assert_int_equal(memory, 64 << 20);
    assert_int_equal(age, 0);
    assert_string_equal(listen_at, "127.0.0.1:8470");
    assert_null(secret);
    assert_int_equal(watch.count, 0);
    assert_int_equal(brokers.count, 1);
    assert_string_equal(brokers.items[0], "tcp://127.0.0.1:8471");
    assert_int_equal(first_operand, 1);
}

static void flags_are_read_in_all_their_spellings(void **state)
{
    (void)state;
    read_plain("-ft|-n10|--memory=3GiB|--retention-age|7d|--no-colour|--listen|[::1]:0");
    assert_true(follow && stamps && !colour);
    assert_int_equal(lines, 10);
    assert_int_equal(memory, INT64_C(3) << 30);
    assert_int_equal(age, INT64_C(7) * 86400 * 1000000000);
    assert_string_equal(listen_at, "[::1]:0");
    read_plain("-tfn|11|--follow=off|--memory|1048576|--retention-age|90");
    assert_true(!follow && stamps && colour);
    assert_int_equal(lines, 11);
    assert_int_equal(memory, 1 << 20);
    assert_int_equal(age, INT64_C(90) * 1000000000);
    read_plain("--level|-5|--memory=2m");
    assert_int_equal(level, -5);
    assert_int_equal(memory, 2 << 20);
}

static void operands_are_gathered_behind_the_options(void **state)
{
    (void)state;
    read_plain("a|-f|b|-n|3|--|-t|c");
    assert_true(follow && !stamps);
    assert_int_equal(lines, 3);
    assert_int_equal(argument_count - first_operand, 4);
    assert_string_equal(arguments[first_operand], "a");
    assert_string_equal(arguments[first_operand + 1], "b");
    assert_string_equal(arguments[first_operand + 2], "-t");
    assert_string_equal(arguments[first_operand + 3], "c");
    read_line("-f|cmd|-t", true);
    assert_true(follow && !stamps);
    assert_int_equal(argument_count - first_operand, 2);
    assert_string_equal(arguments[first_operand], "cmd");
    read_line("--|cmd|-t", true);
    assert_string_equal(arguments[first_operand], "cmd");
}

static void a_flag_beats_the_environment_which_beats_the_file(void **state)
{
    (void)state;
    write_config("# a comment\ntail = 1\nlevel = 1\nfollow = yes\n[sandlog-test]\nmemory = 2MiB\n"
                 "[sandlog-other]\nno-such-thing = 1\n");
    setenv("SANDLOG_TAIL", "2", 1);
    setenv("SANDLOG_FOLLOW", "", 1);
    setenv("SANDLOG_RETENTION_AGE", "1h30m", 1);
    read_plain("--tail|3");
    assert_int_equal(lines, 3);
    assert_int_equal(level, 1);
    assert_int_equal(memory, 2 << 20);
    assert_int_equal(age, INT64_C(5400) * 1000000000);
    assert_false(follow);
    read_plain("");
    assert_int_equal(lines, 2);
    unsetenv("SANDLOG_TAIL");
    read_plain("");
    assert_int_equal(lines, 1);
    unlink(config);
}

static void a_list_replaces_that_of_a_lower_source(void **state)
{
    (void)state;
    char text[700] =
        "watch = cri:/a b/{sandbox}.log\n  watch = plain:/c\nbroker = tcp://h:1, ipc:///x\nwatch = ";
    size_t used = strlen(text);
    memset(text + used, 'p', 400); /* longer than inih's own limit of a line */
    text[used + 400] = '\n';
    write_config(text);
    read_plain("");
    assert_int_equal(watch.count, 3);
    assert_string_equal(watch.items[0], "cri:/a b/{sandbox}.log");
    assert_string_equal(watch.items[1], "plain:/c");
    assert_int_equal(strlen(watch.items[2]), 400);
    assert_int_equal(brokers.count, 2);
    assert_string_equal(brokers.items[1], "ipc:///x");
    setenv("SANDLOG_WATCH", "x  y", 1);
    read_plain("");
    assert_int_equal(watch.count, 2);
    assert_string_equal(watch.items[1], "y");
    read_plain("--watch|one two|--watch=three|--broker|tls+tcp://h:2,tcp://*:3");
    assert_int_equal(watch.count, 2);
    assert_string_equal(watch.items[0], "one two");
    assert_string_equal(watch.items[1], "three");
    assert_int_equal(brokers.count, 2);
    assert_string_equal(brokers.items[0], "tls+tcp://h:2");
    unlink(config);
}

/* `--secret "$UNSET"`, and SANDLOG_SECRET= over a file that named one, turned authentication off. */
static void an_empty_value_turns_nothing_off(void **state)
{
    (void)state;
    assert_refused("--secret=", "--secret: \"\" must not be empty");
    assert_refused("--secret|", "--secret: \"\" must not be empty");
    assert_refused("--data=", "--data: \"\" must not be empty");
    assert_refused("--listen=", "--listen: \"\" must not be empty");
    assert_refused("--broker=", "--broker: \"\" must not be empty");
    assert_refused("--broker=tcp://h:1|--broker|, ", "--broker: \", \" must not be empty");
    assert_refused("--tail=", "--tail: \"\" must not be empty");
    assert_refused("--config=", "--config: \"\" must not be empty");
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"secret = \n", ":1: secret: \"\" must not be empty"},
        {"secret = \"\"\n", ":1: secret: \"\" must not be empty"},
        {"tail = 1\nbroker = \n", ":2: broker: \"\" must not be empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_config(cases[i].text);
        char sentence[200];
        snprintf(sentence, sizeof sentence, "%s%s", config, cases[i].sentence);
        assert_refused("", sentence);
        unlink(config);
    }
    write_config("secret = /etc/s\nsince = 5m\nskip = *.old\n");
    static const char *const variables[] = {"SECRET", "LISTEN", "BROKER"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        char name[64], sentence[128];
        snprintf(name, sizeof name, "SANDLOG_%s", variables[i]);
        snprintf(sentence, sizeof sentence, "%s: \"\" must not be empty", name);
        setenv(name, "", 1);
        assert_refused("", sentence);
        unsetenv(name);
    }
    setenv("SANDLOG_SINCE", "", 1); /* whose default is "" */
    setenv("SANDLOG_SKIP", "", 1);
    read_plain("");
    assert_null(since);
    assert_int_equal(skip.count, 0);
    assert_string_equal(secret, "/etc/s");
    unlink(config);
    setenv("SANDLOG_CONFIG", "", 1);
    assert_refused("", "SANDLOG_CONFIG: \"\" must not be empty");
}

static void errors_are_one_line_that_names_the_culprit(void **state)
{
    (void)state;
    assert_refused("--memory=12 apples", "--memory: \"12 apples\" is not a number of bytes (try 64MiB)");
    assert_refused("--memory=9999999999TiB",
                   "--memory: \"9999999999TiB\" is not a number of bytes (try 64MiB)");
    assert_refused("--memory=5", "--memory: \"5\" is out of range (1MiB to 1TiB)");
    assert_refused("--memroy=5", "--memroy: no such option (did you mean --memory?)");
    assert_refused("--gibberish", "--gibberish: no such option");
    assert_refused("--verison", "--verison: no such option (did you mean --version?)");
    assert_refused("-x", "-x: no such option");
    assert_refused("-fx", "-x: no such option");
    assert_refused("-n", "-n: needs a value (N)");
    assert_refused("-n|ten", "-n: \"ten\" is not a number");
    assert_refused("--tail|-1", "--tail: \"-1\" must not be negative");
    assert_refused("--no-tail", "--no-tail: no such option");
    assert_refused("--no-follow=1", "--no-follow: takes no value");
    assert_refused("--follow=maybe", "--follow: \"maybe\" is neither true nor false");
    assert_refused("--data=here", "--data: \"here\" must be an absolute path");
    assert_refused("--retention-age=soon",
                   "--retention-age: \"soon\" is not a length of time (try 90s, 10m or 7d)");
    assert_refused("--listen=9", "--listen: \"9\" is not an address (try 127.0.0.1:8470 or [::1]:8470)");
    assert_refused("--listen=::1:9",
                   "--listen: \"::1:9\" is not an address (try 127.0.0.1:8470 or [::1]:8470)");
    assert_refused("--listen=h:65536",
                   "--listen: \"h:65536\" is not an address (try 127.0.0.1:8470 or [::1]:8470)");
    assert_refused("--broker=http://x", "--broker: \"http://x\" is not an address (try tcp://127.0.0.1:8471, "
                                        "ipc://PATH or tls+tcp://HOST:PORT)");
    assert_refused("--tail=a\nb\033[2J", "--tail: \"a?b?[2J\" is not a number");
    assert_refused("--config=/nowhere", "--config: /nowhere: No such file or directory");
    setenv("SANDLOG_TAIL", "z", 1);
    assert_refused("", "SANDLOG_TAIL: \"z\" is not a number");
    struct outcome o = in_child("operand", false);
    assert_int_equal(o.status, 2);
    assert_non_null(strstr(o.err, "\"operand\""));
}

static void errors_of_the_file_name_file_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"\nmemroy = 1\n", ":2: no such option: memroy (did you mean memory?)"},
        {"tail=1\n\nmemory = much\n", ":3: memory: \"much\" is not a number of bytes (try 64MiB)"},
        {"tail=1\nnonsense\n", ":2: is not a line of the form \"name = value\""},
        {"[elsewhere]\ntail=1\n", ":2: no such section: [elsewhere] (try [sandlog-test])"},
        {"config = /x\n", ":1: config: is for the command line alone"},
        {"print-config = 1\n", ":1: print-config: is for the command line alone"},
        {"confik = 1\n", ":1: no such option: confik"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_config(cases[i].text);
        char sentence[200];
        snprintf(sentence, sizeof sentence, "%s%s", config, cases[i].sentence);
        assert_refused("", sentence);
        unlink(config);
    }
    char endless[6000];
    memset(endless, 'x', sizeof endless);
    endless[sizeof endless - 1] = 0;
    write_config(endless);
    struct outcome o = in_child("", true);
    assert_int_equal(o.status, 2);
    assert_non_null(strstr(o.err, ":1: line is longer than"));
    unlink(config);
    write_config_bytes("tail=1\nmem\0ory=5\n", 17);
    o = in_child("", true);
    assert_int_equal(o.status, 2);
    assert_non_null(strstr(o.err, ":2: holds a NUL byte\n"));
    unlink(config);
}

static void help_fits_into_eighty_columns_and_shows_defaults(void **state)
{
    (void)state;
    struct outcome o = in_child("--help", true);
    assert_int_equal(o.status, 0);
    assert_string_equal(o.err, "");
    assert_non_null(strstr(o.out, "Usage: sandlog-test [OPTION]... [ID]...\n"));
    assert_non_null(strstr(o.out, "  -n, --tail N "));
    assert_non_null(strstr(o.out, "      --memory BYTES "));
    assert_non_null(strstr(o.out, "(default 64MiB)"));
    assert_non_null(strstr(o.out, "--[no-]colour"));
    assert_non_null(strstr(o.out, "--print-config"));
    assert_non_null(strstr(o.out, "Examples:\n"));
    for (const char *line = o.out; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
}

static void version_names_program_and_version(void **state)
{
    (void)state;
    struct outcome o = in_child("--version", true);
    assert_int_equal(o.status, 0);
    assert_string_equal(o.out, "sandlog-test " SL_VERSION "\n");
}

static void what_print_config_says_reads_back_the_same(void **state)
{
    (void)state;
    struct outcome o = in_child("-f|--print-config|--memory=3GiB|--watch|a b|--watch|c|--retention-age=36h|"
                                "--token=hush|--secret=/etc/s",
                                true);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out, "follow = true\n"));
    assert_non_null(strstr(o.out, "memory = 3GiB\n"));
    assert_non_null(strstr(o.out, "retention-age = 36h\n"));
    assert_non_null(strstr(o.out, "secret = /etc/s\n"));
    assert_null(strstr(o.out, "hush"));
    static char first[8192];
    snprintf(first, sizeof first, "%s", o.out);
    write_config(first);
    o = in_child("--print-config|--token=hush", true);
    assert_string_equal(o.out, first);
    /* an inline comment took what stood behind a `;`, and an emptied list had its default again */
    setenv("SANDLOG_SKIP", "", 1);
    o = in_child("--print-config|--watch=;a|--watch=b ;c|--watch=\"d\"|--watch=e;f|--watch=\"", true);
    unsetenv("SANDLOG_SKIP");
    assert_int_equal(o.status, 0);
    assert_non_null(
        strstr(o.out, "watch = \";a\"\nwatch = \"b ;c\"\nwatch = \"\"d\"\"\nwatch = e;f\nwatch = \"\"\"\n"));
    assert_non_null(strstr(o.out, "\nskip =\n"));
    snprintf(first, sizeof first, "%s", o.out);
    write_config(first);
    o = in_child("--print-config", true);
    assert_string_equal(o.out, first);
    unlink(config);
}

static void options_as_json_show_what_print_config_shows(void **state)
{
    (void)state;
    struct sl_option_list list = {.items = (const char *[]){"a", "b \"quoted\""}, .count = 2}, empty = {0};
    const char *name = "x", *hush = "a secret", *none = NULL;
    const struct sl_option table[] = {
        {.name = "name", .type = SL_OPTION_TEXT, .value = &name},
        {.name = "watch", .type = SL_OPTION_LIST, .value = &list},
        {.name = "token", .type = SL_OPTION_TEXT, .value = &hush},
        {.name = "none", .type = SL_OPTION_TEXT, .value = &none},
        {.name = "empty", .type = SL_OPTION_LIST, .value = &empty},
        {.name = "last", .type = SL_OPTION_LIST, .value = &list},
    };
    struct sl_program small = {.name = "x", .options = table, .option_count = sizeof table / sizeof *table};
    char *json = sl_options_json(&small);
    assert_string_equal(json, "{\"name\":\"x\",\"watch\":[\"a\",\"b \\\"quoted\\\"\"],"
                              "\"last\":[\"a\",\"b \\\"quoted\\\"\"]}");
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_fill_every_value, clear_environment),
        cmocka_unit_test_setup(flags_are_read_in_all_their_spellings, clear_environment),
        cmocka_unit_test_setup(operands_are_gathered_behind_the_options, clear_environment),
        cmocka_unit_test_setup(a_flag_beats_the_environment_which_beats_the_file, clear_environment),
        cmocka_unit_test_setup(a_list_replaces_that_of_a_lower_source, clear_environment),
        cmocka_unit_test_setup(an_empty_value_turns_nothing_off, clear_environment),
        cmocka_unit_test_setup(errors_are_one_line_that_names_the_culprit, clear_environment),
        cmocka_unit_test_setup(errors_of_the_file_name_file_and_line, clear_environment),
        cmocka_unit_test_setup(help_fits_into_eighty_columns_and_shows_defaults, clear_environment),
        cmocka_unit_test_setup(version_names_program_and_version, clear_environment),
        cmocka_unit_test_setup(what_print_config_says_reads_back_the_same, clear_environment),
        cmocka_unit_test(options_as_json_show_what_print_config_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
