// SPDX-License-Identifier: Apache-2.0
#include "wire/ops.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka.h needs setjmp, stdarg and stdlib */
#include <cmocka.h>

struct site {
    struct sl_metrics *metrics;
    struct sl_ops *ops;
    struct sl_mailbox home;
    struct sl_counter lines;
    char answer[16384];
};

static int setup(void **state)
{
    struct site *s = calloc(1, sizeof *s);
    assert_non_null(s);
    assert_int_equal(sl_metrics_new("sandlog_test", &s->metrics), 0);
    sl_metrics_counter(s->metrics, "lines_total", NULL, "Lines.", &s->lines);
    assert_int_equal(sl_mailbox_init(&s->home, NULL, NULL), 0);
    assert_int_equal(sl_ops_new("127.0.0.1:0", s->metrics, &s->ops), 0);
    assert_int_equal(sl_ops_post(s->ops, "/compact", &s->home), 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct site *s = *state;
    sl_ops_free(s->ops);
    sl_metrics_free(s->metrics);
    sl_mailbox_fini(&s->home);
    free(s);
    return 0;
}

static int ask(const struct site *s, const char *method, const char *path, const char *headers)
{
    char text[1024];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(sl_ops_port(s->ops)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    int n = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%s\r\n",
                     method, path, headers);
    assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
    return fd;
}

/* Reads to the end of the connection; returns the HTTP status. */
static int answer(struct site *s, int fd)
{
    struct timeval within = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &within, sizeof within);
    size_t used = 0;
    ssize_t n;
    while ((n = recv(fd, s->answer + used, sizeof s->answer - 1 - used, 0)) > 0)
        used += (size_t)n;
    assert_int_equal(n, 0);
    s->answer[used] = 0;
    close(fd);
    int status = 0;
    assert_int_equal(sscanf(s->answer, "HTTP/1.1 %d", &status), 1);
    return status;
}

static const char *body(const struct site *s)
{
    const char *at = strstr(s->answer, "\r\n\r\n");
    assert_non_null(at);
    return at + 4;
}

static int get(struct site *s, const char *path)
{
    return answer(s, ask(s, "GET", path, ""));
}

static void the_pages_say_what_was_published(void **state)
{
    struct site *s = *state;
    assert_int_equal(get(s, "/healthz"), 200);
    assert_string_equal(body(s), "ok\n");
    assert_int_equal(get(s, "/readyz"), 200);
    sl_ops_set_missing(s->ops, "the store is being read");
    assert_int_equal(get(s, "/readyz?verbose"), 503);
    assert_string_equal(body(s), "the store is being read\n");
    sl_ops_set_missing(s->ops, NULL);
    assert_int_equal(get(s, "/readyz"), 200);
    assert_int_equal(get(s, "/status"), 200);
    assert_string_equal(body(s), "{}");
    sl_ops_set_status(s->ops, "{\"a\":1}");
    assert_int_equal(get(s, "/status"), 200);
    assert_string_equal(body(s), "{\"a\":1}");
    assert_non_null(strstr(s->answer, "Content-Type: application/json\r\n"));
    sl_count(&s->lines, 9);
    assert_int_equal(get(s, "/metrics"), 200);
    assert_non_null(strstr(body(s), "sandlog_test_lines_total 9\n"));
    assert_non_null(strstr(s->answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
}

static void head_has_the_length_and_no_body(void **state)
{
    struct site *s = *state;
    assert_int_equal(answer(s, ask(s, "HEAD", "/healthz", "")), 200);
    assert_non_null(strstr(s->answer, "Content-Length: 3\r\n"));
    assert_string_equal(body(s), "");
}

static void other_paths_and_methods_are_refused(void **state)
{
    struct site *s = *state;
    assert_int_equal(get(s, "/"), 404);
    assert_int_equal(get(s, "/healthz/x"), 404);
    assert_int_equal(get(s, "/health"), 404);
    assert_int_equal(get(s, "/compact"), 405);
    assert_non_null(strstr(s->answer, "Allow: POST\r\n"));
    assert_int_equal(answer(s, ask(s, "POST", "/metrics", "Content-Length: 0\r\n")), 405);
    assert_non_null(strstr(s->answer, "Allow: GET, HEAD\r\n"));
    assert_int_equal(answer(s, ask(s, "DELETE", "/healthz", "")), 405);
    assert_int_equal(answer(s, ask(s, "POST", "/compact", "Origin: http://evil\r\nContent-Length: 0\r\n")),
                     403);
    assert_null(sl_mailbox_take(&s->home));
}

static struct sl_ops_call *next_call(struct site *s)
{
    struct pollfd p = {.fd = s->home.fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 20000), 1);
    struct sl_letter *letter = sl_mailbox_take(&s->home);
    assert_non_null(letter);
    assert_null(letter->next);
    return (struct sl_ops_call *)letter;
}

static void a_post_waits_for_the_home_thread(void **state)
{
    struct site *s = *state;
    int one = ask(s, "POST", "/compact", "Content-Length: 0\r\n");
    struct sl_ops_call *first = next_call(s);
    assert_string_equal(first->path, "/compact");
    int two = ask(s, "POST", "/compact?x=1", "Content-Length: 3\r\n\r\nabc");
    struct sl_ops_call *second = next_call(s);
    assert_int_equal(get(s, "/healthz"), 200); /* nobody else waits for it */
    sl_ops_answer(second, 200, "compacted\n");
    assert_int_equal(answer(s, two), 200);
    sl_ops_answer(first, 503, "busy\n");
    assert_int_equal(answer(s, one), 503);
    assert_string_equal(body(s), "busy\n");
}

static void the_end_answers_those_who_wait(void **state)
{
    struct site *s = *state;
    int fd = ask(s, "POST", "/compact", "Content-Length: 0\r\n");
    struct sl_ops_call *call = next_call(s);
    sl_ops_free(s->ops);
    s->ops = NULL;
    sl_ops_answer(call, 200, "too late\n");
    /* 503 if it still got out, else the connection just ends; but it ends. */
    char got[200];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 20000), 1);
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    if (n > 0) {
        got[n] = 0;
        assert_non_null(strstr(got, " 503 "));
    }
    close(fd);
}

static void an_address_that_can_not_be_had_is_told(void **state)
{
    struct site *s = *state;
    struct sl_ops *other = NULL;
    char address[40];
    snprintf(address, sizeof address, "127.0.0.1:%u", sl_ops_port(s->ops));
    assert_int_equal(sl_ops_new(address, s->metrics, &other), -EADDRINUSE);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in taken = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof taken;
    assert_int_equal(bind(fd, (struct sockaddr *)&taken, sizeof taken), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&taken, &bytes), 0);
    snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(taken.sin_port));
    assert_int_equal(sl_ops_new(address, s->metrics, &other), -EADDRINUSE);
    close(fd);
    assert_int_equal(sl_ops_new("nowhere", s->metrics, &other), -EINVAL);
    assert_null(other);
    assert_int_equal(sl_ops_new("127.0.0.1:0", s->metrics, &other), 0);
    assert_int_not_equal(sl_ops_port(other), sl_ops_port(s->ops));
    sl_ops_free(other);
    assert_int_equal(get(s, "/healthz"), 200);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_pages_say_what_was_published),    TEST(head_has_the_length_and_no_body),
        TEST(other_paths_and_methods_are_refused), TEST(a_post_waits_for_the_home_thread),
        TEST(the_end_answers_those_who_wait),      TEST(an_address_that_can_not_be_had_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
