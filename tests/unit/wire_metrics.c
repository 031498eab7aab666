// SPDX-License-Identifier: Apache-2.0
#include "wire/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* cmocka.h needs setjmp, stdarg and stdlib */
#include <cmocka.h>

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void series_of_one_name_share_help_and_type(void **state)
{
    (void)state;
    struct sl_metrics *m;
    struct sl_counter a = {0}, b = {0};
    struct sl_gauge g = {0};
    assert_int_equal(sl_metrics_new("sandlog_test", &m), 0);
    sl_metrics_counter(m, "gaps_total", "reason=\"retention\"", "Gaps.", &a);
    sl_metrics_counter(m, "gaps_total", "reason=\"damaged\"", "Gaps.", &b);
    sl_metrics_gauge(m, "room_bytes", NULL, "Room.", &g);
    sl_count(&a, 3);
    sl_count(&a, 4);
    sl_gauge_set(&g, -5);
    char *text = sl_metrics_render(m);
    assert_non_null(text);
    assert_ptr_equal(strstr(text, "# HELP sandlog_test_gaps_total Gaps.\n"
                                  "# TYPE sandlog_test_gaps_total counter\n"
                                  "sandlog_test_gaps_total{reason=\"retention\"} 7\n"
                                  "sandlog_test_gaps_total{reason=\"damaged\"} 0\n"
                                  "# HELP sandlog_test_room_bytes Room.\n"
                                  "# TYPE sandlog_test_room_bytes gauge\n"
                                  "sandlog_test_room_bytes -5\n"),
                     text);
    free(text);
    sl_metrics_free(m);
}

static void a_time_counts_in_the_first_bucket_that_holds_it(void **state)
{
    (void)state;
    struct sl_metrics *m;
    struct sl_histogram h = {0};
    assert_int_equal(sl_metrics_new("x", &m), 0);
    sl_metrics_histogram(m, "wait_seconds", "kind=\"a\"", "Wait.", &h);
    sl_observe(&h, 0);
    sl_observe(&h, 62500);       /* on the first bound */
    sl_observe(&h, 62501);       /* above it */
    sl_observe(&h, 65536000000); /* on the last bound */
    sl_observe(&h, 65536000001); /* above all */
    sl_observe(&h, INT64_MAX / 1000);
    char *text = sl_metrics_render(m);
    assert_non_null(text);
    assert_has(text, "x_wait_seconds_bucket{kind=\"a\",le=\"6.25e-05\"} 2\n");
    assert_has(text, "x_wait_seconds_bucket{kind=\"a\",le=\"0.000125\"} 3\n");
    assert_has(text, "x_wait_seconds_bucket{kind=\"a\",le=\"32.768\"} 3\n");
    assert_has(text, "x_wait_seconds_bucket{kind=\"a\",le=\"65.536\"} 4\n");
    assert_has(text, "x_wait_seconds_bucket{kind=\"a\",le=\"+Inf\"} 6\n");
    assert_has(text, "x_wait_seconds_count{kind=\"a\"} 6\n");
    free(text);
    sl_metrics_free(m);
}

static double value_of(const char *text, const char *name)
{
    char start[80];
    snprintf(start, sizeof start, "\n%s ", name);
    const char *at = strstr(text, start);
    assert_non_null(at);
    return strtod(at + strlen(start), NULL);
}

static void the_process_shows_itself(void **state)
{
    (void)state;
    struct sl_metrics *m;
    assert_int_equal(sl_metrics_new("x", &m), 0);
    char *text = sl_metrics_render(m);
    assert_non_null(text);
    assert_true(value_of(text, "process_cpu_seconds_total") >= 0);
    assert_true(value_of(text, "process_resident_memory_bytes") > 100000);
    assert_true(value_of(text, "process_open_fds") >= 3);
    assert_true(value_of(text, "process_max_fds") >= value_of(text, "process_open_fds"));
    double started = value_of(text, "process_start_time_seconds");
    double now = (double)time(NULL);
    assert_true(started <= now + 2 && started > now - 86400);
    free(text);
    sl_metrics_free(m);
}

static struct sl_counter shared;
static struct sl_histogram shared_times;

static void *add(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++) {
        sl_count(&shared, 1);
        sl_observe(&shared_times, i * 1000);
    }
    return NULL;
}

static void threads_add_while_another_renders(void **state)
{
    (void)state;
    struct sl_metrics *m;
    assert_int_equal(sl_metrics_new("x", &m), 0);
    sl_metrics_counter(m, "n_total", NULL, "N.", &shared);
    sl_metrics_histogram(m, "t_seconds", NULL, "T.", &shared_times);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add, NULL), 0);
    for (int i = 0; i < 20; i++) {
        char *text = sl_metrics_render(m);
        assert_non_null(text);
        assert_true(value_of(text, "x_t_seconds_count") >=
                    value_of(text, "x_t_seconds_bucket{le=\"65.536\"}"));
        free(text);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    char *text = sl_metrics_render(m);
    assert_non_null(text);
    assert_true(value_of(text, "x_n_total") == 40000);
    assert_true(value_of(text, "x_t_seconds_count") == 40000);
    free(text);
    sl_metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(series_of_one_name_share_help_and_type),
        cmocka_unit_test(a_time_counts_in_the_first_bucket_that_holds_it),
        cmocka_unit_test(the_process_shows_itself),
        cmocka_unit_test(threads_add_while_another_renders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
