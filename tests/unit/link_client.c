// SPDX-License-Identifier: Apache-2.0
#include "link_pair.h"

#include <errno.h>

struct order {
    uint64_t next;
    int wrong;
    int strangers; /* requests of a connection that has not said HELLO */
};

static void answer_in_order(struct pair *p, struct sl_request *request)
{
    struct order *order = p->user;
    uint64_t number = sl_read_u64(&request->body);
    order->wrong += number != order->next;
    order->next = number + 1;
    order->strangers += request->role != SL_ROLE_COLLECTOR || strcmp(request->host, "host-1") != 0;
    pair_answer(request, number);
}

static void assert_ten_thousand_in_order(struct pair *p, int window)
{
    enum { REQUESTS = 10000 };
    struct order order = {0};
    p->user = &order;
    p->on_request = answer_in_order;
    int asked = 0;
    while (p->answered < REQUESTS) {
        int before = p->answered;
        while (asked < REQUESTS && asked - p->answered < window)
            pair_ask(p, (uint64_t)asked++, 0, 60000);
        PAIR_UNTIL(p, p->answered > before);
    }
    assert_int_equal(p->faults, 0);
    assert_int_equal(order.wrong, 0);
    assert_int_equal(order.strangers, 0);
}

static void ten_thousand_requests_eight_in_flight_arrive_in_order(void **state)
{
    struct pair *p = *state;
    pair_serve(p);
    pair_dial(p);
    assert_ten_thousand_in_order(p, 8);
}

static void ten_thousand_requests_at_once_over_tcp_arrive_in_order(void **state)
{
    struct pair *p = *state;
    char url[64];
    assert_int_equal(pair_serve_at(p, "tcp://127.0.0.1:0", "", 30000), 0);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", sl_server_port(p->server));
    pair_dial_at(p, &(const char *){url}, 1, "");
    assert_ten_thousand_in_order(p, 10000);
}

enum { HELD_MAX = 64 };
struct held {
    struct sl_request *requests[HELD_MAX];
    int count;
};

static void hold(struct pair *p, struct sl_request *request)
{
    struct held *held = p->user;
    assert_true(held->count < HELD_MAX);
    held->requests[held->count++] = request;
}

struct numbered_ask {
    struct pair *pair;
    uint64_t number;
};

static void check_number(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct numbered_ask *ask = arg;
    assert_int_equal(fault, 0);
    assert_int_equal(head->type, SL_INFO);
    assert_int_equal(sl_read_u64(body), ask->number);
    ask->pair->answered++;
}

static void answers_may_come_in_any_order(void **state)
{
    struct pair *p = *state;
    struct held held = {0};
    struct numbered_ask asks[HELD_MAX];
    p->user = &held;
    p->on_request = hold;
    pair_serve(p);
    pair_dial(p);
    for (uint64_t i = 0; i < HELD_MAX; i++) {
        nng_msg *message;
        struct sl_writer w;
        asks[i] = (struct numbered_ask){.pair = p, .number = i};
        assert_int_equal(sl_client_message_new(SL_INFO, 8, &message, &w), 0);
        sl_write_u64(&w, i);
        sl_client_ask(p->client, message, &w, 30000, check_number, &asks[i]);
    }
    PAIR_UNTIL(p, held.count == HELD_MAX);
    for (int i = HELD_MAX - 1; i >= 0; i--)
        pair_answer(held.requests[i], sl_read_u64(&held.requests[i]->body));
    PAIR_UNTIL(p, p->answered == HELD_MAX);
    assert_int_equal(p->epoch, 4711);
}

static void a_restarted_broker_fails_what_was_in_flight_and_takes_what_comes_later(void **state)
{
    struct pair *p = *state;
    for (int round = 0; round < 3; round++) {
        struct held held = {0};
        p->user = &held;
        p->on_request = hold;
        p->answered = p->faults = 0;
        pair_serve(p);
        if (!p->client)
            pair_dial(p);
        PAIR_UNTIL(p, p->connected);
        for (uint64_t i = 0; i < 8; i++)
            pair_ask(p, i, 1000, 60000);
        PAIR_UNTIL(p, held.count == 8);
        pair_unserve(p);
        PAIR_UNTIL(p, p->answered == 8);
        assert_int_equal(p->faults, 8);
        assert_int_equal(p->last_fault, -ECONNRESET);
        PAIR_UNTIL(p, !p->connected);
        assert_non_null(strstr(p->why, "was lost"));

        /* Asked while nobody is there: waits, and goes out in order behind the new HELLO. */
        struct order order = {0};
        p->user = &order;
        p->on_request = answer_in_order;
        p->answered = p->faults = 0;
        for (uint64_t i = 0; i < 100; i++)
            pair_ask(p, i, 0, 60000);
        pair_turn(p);
        assert_int_equal(p->answered, 0);
        pair_serve(p);
        PAIR_UNTIL(p, p->answered == 100);
        assert_int_equal(p->faults, 0);
        assert_int_equal(order.wrong, 0);
        assert_int_equal(order.strangers, 0);
        pair_unserve(p);
        PAIR_UNTIL(p, !p->connected);
    }
}

/*
 * nng keeps a request that it could not send for the next connection and would send it there before HELLO.
 * Many large requests towards a broker that takes only two leave most of them in nng's hands when the broker
 * goes.
 */
static void what_was_not_sent_when_the_broker_went_follows_hello_on_the_next_connection(void **state)
{
    struct pair *p = *state;
    enum { REQUESTS = 60 };
    struct held held = {0};
    p->user = &held;
    p->on_request = hold;
    assert_int_equal(pair_serve_at(p, p->url[0], "", 2), 0);
    pair_dial(p);
    PAIR_UNTIL(p, p->connected);
    for (uint64_t i = 0; i < REQUESTS; i++)
        pair_ask(p, i, 1 << 20, 60000);
    PAIR_UNTIL(p, held.count == 2);
    for (int i = 0; i < 20; i++)
        pair_turn(p); /* what fits into the sockets goes there */
    assert_int_equal(held.count, 2);
    pair_unserve(p);
    PAIR_UNTIL(p, p->answered > 0 && !p->connected);
    int lost = p->answered;
    assert_int_equal(p->faults, lost);
    assert_true(lost >= 2 && lost < REQUESTS);

    struct order order = {.next = (uint64_t)lost};
    p->user = &order;
    p->on_request = answer_in_order;
    p->answered = p->faults = 0;
    assert_int_equal(pair_serve_at(p, p->url[0], "sesame", 100), 0);
    /* The new one wants a proof, so that a request before HELLO would be refused. */
    PAIR_UNTIL(p, strstr(p->why, "wants a secret"));
    pair_unserve(p);
    pair_serve(p);
    PAIR_UNTIL(p, p->answered + lost >= REQUESTS);
    assert_int_equal(p->answered + lost, REQUESTS);
    assert_int_equal(p->faults, 0);
    assert_int_equal(order.wrong, 0);
    assert_int_equal(order.next, REQUESTS);
    assert_int_equal(order.strangers, 0);
}

static void the_right_secret_connects(void **state)
{
    struct pair *p = *state;
    struct order order = {0};
    p->user = &order;
    p->on_request = answer_in_order;
    assert_int_equal(pair_serve_at(p, p->url[0], "sesame", 100), 0);
    pair_dial_at(p, &(const char *){p->url[0]}, 1, "sesame");
    pair_ask(p, 0, 0, 30000);
    PAIR_UNTIL(p, p->answered == 1);
    assert_int_equal(p->faults, 0);
    assert_true(sl_client_connected(p->client));
    assert_int_equal(p->changes, 1);
}

static void a_wrong_or_missing_secret_is_refused_in_plain_words(void **state)
{
    struct pair *p = *state;
    assert_int_equal(pair_serve_at(p, p->url[0], "sesame", 100), 0);
    pair_dial_at(p, &(const char *){p->url[0]}, 1, "simsim");
    PAIR_UNTIL(p, p->changes > 0);
    assert_false(p->connected);
    assert_non_null(strstr(p->why, "has another secret than this program"));
    assert_int_equal(sl_server_peers(p->server, SL_ROLE_COLLECTOR), 0);
    sl_client_free(p->client);
    p->changes = 0;
    pair_dial_at(p, &(const char *){p->url[0]}, 1, "");
    PAIR_UNTIL(p, p->changes > 0);
    assert_false(p->connected);
    assert_non_null(strstr(p->why, "wants a secret, and none is set"));
}

static void it_moves_to_the_second_address_when_the_first_dies(void **state)
{
    struct pair *p = *state;
    struct order order = {0};
    p->user = &order;
    p->on_request = answer_in_order;
    pair_serve(p);
    pair_dial_at(p, (const char *const[]){p->url[0], p->url[1]}, 2, "");
    pair_ask(p, 0, 0, 30000);
    PAIR_UNTIL(p, p->answered == 1);
    pair_unserve(p);
    PAIR_UNTIL(p, !p->connected);
    assert_int_equal(pair_serve_at(p, p->url[1], "", 100), 0);
    pair_ask(p, 1, 0, 30000);
    PAIR_UNTIL(p, p->answered == 2);
    assert_int_equal(p->faults, 0);
    assert_int_equal(order.wrong, 0);
    assert_true(p->connected);
    /* And back, round the list. */
    pair_unserve(p);
    PAIR_UNTIL(p, !p->connected);
    pair_serve(p);
    pair_ask(p, 2, 0, 30000);
    PAIR_UNTIL(p, p->answered == 3);
    assert_int_equal(p->faults, 0);
}

static void an_unusable_address_is_passed_over(void **state)
{
    struct pair *p = *state;
    struct order order = {0};
    p->user = &order;
    p->on_request = answer_in_order;
    pair_serve(p);
    pair_dial_at(p, (const char *const[]){"nonsense://x", p->url[0]}, 2, "");
    pair_ask(p, 0, 0, 30000);
    PAIR_UNTIL(p, p->answered == 1);
    assert_int_equal(p->faults, 0);
}

static void a_deadline_passes_with_and_without_a_connection(void **state)
{
    struct pair *p = *state;
    struct held held = {0};
    p->user = &held;
    p->on_request = hold;
    pair_dial(p);
    pair_ask(p, 0, 0, 50);
    PAIR_UNTIL(p, p->answered == 1);
    assert_int_equal(p->last_fault, -ETIMEDOUT);
    pair_serve(p);
    PAIR_UNTIL(p, p->connected);
    pair_ask(p, 1, 0, 100);
    PAIR_UNTIL(p, p->answered == 2);
    assert_int_equal(p->last_fault, -ETIMEDOUT);
}

/* A peer that takes requests and never says a word is not kept for the sake of its open socket. */
static void a_mute_broker_is_left(void **state)
{
    struct pair *p = *state;
    struct held held = {0};
    p->user = &held;
    p->on_request = hold;
    pair_serve(p);
    pair_dial(p);
    PAIR_UNTIL(p, p->connected);
    pair_ask(p, 1, 0, 100);
    PAIR_UNTIL(p, p->answered == 1);
    assert_int_equal(p->last_fault, -ETIMEDOUT);
    PAIR_UNTIL(p, p->changes >= 2);
    PAIR_UNTIL(p, p->connected); /* it comes again */
    assert_int_equal(p->changes, 3);
}

static void an_oversize_request_never_leaves(void **state)
{
    struct pair *p = *state;
    struct order order = {0};
    p->user = &order;
    p->on_request = answer_in_order;
    pair_serve(p);
    pair_dial(p);
    PAIR_UNTIL(p, p->connected);
    pair_ask(p, 0, SL_MESSAGE_MAX_BYTES, 30000);
    assert_int_equal(p->answered, 0); /* only from sl_client_run() */
    PAIR_UNTIL(p, p->answered == 1);
    assert_int_equal(p->last_fault, -EMSGSIZE);
    pair_ask(p, 0, SL_MESSAGE_MAX_BYTES - SL_MESSAGE_HEAD_BYTES - 8, 30000);
    PAIR_UNTIL(p, p->answered == 2);
    assert_int_equal(p->faults, 1);
    assert_true(p->connected);
}

static void freeing_calls_nobody_back(void **state)
{
    struct pair *p = *state;
    struct held held = {0};
    p->user = &held;
    p->on_request = hold;
    pair_serve(p);
    pair_dial(p);
    PAIR_UNTIL(p, p->connected);
    for (uint64_t i = 0; i < 20; i++)
        pair_ask(p, i, 0, 30000);
    PAIR_UNTIL(p, held.count == 20);
    for (uint64_t i = 0; i < 20; i++)
        pair_ask(p, i, 1 << 20, 30000);
    sl_client_free(p->client);
    p->client = NULL;
    assert_int_equal(p->answered, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)
        TEST(ten_thousand_requests_eight_in_flight_arrive_in_order),
        TEST(ten_thousand_requests_at_once_over_tcp_arrive_in_order),
        TEST(answers_may_come_in_any_order),
        TEST(a_restarted_broker_fails_what_was_in_flight_and_takes_what_comes_later),
        TEST(what_was_not_sent_when_the_broker_went_follows_hello_on_the_next_connection),
        TEST(the_right_secret_connects),
        TEST(a_wrong_or_missing_secret_is_refused_in_plain_words),
        TEST(it_moves_to_the_second_address_when_the_first_dies),
        TEST(an_unusable_address_is_passed_over),
        TEST(a_deadline_passes_with_and_without_a_connection),
        TEST(a_mute_broker_is_left),
        TEST(an_oversize_request_never_leaves),
        TEST(freeing_calls_nobody_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
