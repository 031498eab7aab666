// SPDX-License-Identifier: Apache-2.0
#include "link_pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct parked {
    struct sl_request **requests;
    size_t count;
};

static void park(struct pair *p, struct sl_request *request)
{
    struct parked *parked = p->user;
    parked->requests[parked->count++] = request;
}

static void two_thousand_parked_requests_are_answered(void **state)
{
    struct pair *p = *state;
    enum { REQUESTS = 2000 };
    struct parked parked = {.requests = calloc(REQUESTS, sizeof(struct sl_request *))};
    assert_non_null(parked.requests);
    p->user = &parked;
    p->on_request = park;
    pair_serve(p);
    pair_dial(p);
    for (uint64_t i = 0; i < REQUESTS; i++)
        pair_ask(p, i, 0, 60000);
    PAIR_UNTIL(p, parked.count == REQUESTS);
    for (size_t i = REQUESTS; i-- > 0;)
        pair_answer(parked.requests[i], i);
    PAIR_UNTIL(p, p->answered == REQUESTS);
    assert_int_equal(p->faults, 0);
    free(parked.requests);
}

static void no_more_than_max_waiting_are_taken(void **state)
{
    struct pair *p = *state;
    struct sl_request *requests[20];
    struct parked parked = {.requests = requests};
    p->user = &parked;
    p->on_request = park;
    assert_int_equal(pair_serve_at(p, p->url[0], "", 4), 0);
    pair_dial(p);
    for (uint64_t i = 0; i < 20; i++)
        pair_ask(p, i, 0, 60000);
    for (size_t answered = 0; answered < 20; answered++) {
        size_t expected = answered + 4 < 20 ? answered + 4 : 20;
        PAIR_UNTIL(p, parked.count >= expected);
        for (int i = 0; i < (answered == 0 ? 20 : 1); i++)
            pair_turn(p); /* one too many would come now */
        assert_int_equal(parked.count, expected);
        pair_answer(requests[answered], answered);
    }
    PAIR_UNTIL(p, p->answered == 20);
    assert_int_equal(p->faults, 0);
}

static void no_more_than_max_bytes_are_held(void **state)
{
    struct pair *p = *state;
    struct sl_request *requests[10];
    struct parked parked = {.requests = requests};
    p->user = &parked;
    p->on_request = park;
    assert_int_equal(
        sl_server_new(&(struct sl_server_options){.url = p->url[0], .max_waiting = 100, .max_bytes = 250000},
                      &p->server),
        0);
    pair_dial(p);
    for (uint64_t i = 0; i < 10; i++)
        pair_ask(p, i, 100000, 60000);
    PAIR_UNTIL(p, parked.count == 3);
    for (int i = 0; i < 10; i++)
        pair_turn(p);
    assert_int_equal(parked.count, 3);
    for (size_t i = 0; i < 10; i++) {
        PAIR_UNTIL(p, parked.count > i);
        pair_answer(requests[i], i);
    }
    PAIR_UNTIL(p, p->answered == 10);
}

static void peers_are_counted_while_they_are_there_and_their_requests_die_with_them(void **state)
{
    struct pair *p = *state;
    struct sl_request *requests[4];
    struct parked parked = {.requests = requests};
    p->user = &parked;
    p->on_request = park;
    pair_serve(p);
    pair_dial(p);
    pair_ask(p, 1, 0, 60000);
    PAIR_UNTIL(p, parked.count == 1);
    assert_int_equal(sl_server_peers(p->server, SL_ROLE_COLLECTOR), 1);
    assert_int_equal(sl_server_peers(p->server, SL_ROLE_GATEWAY), 0);
    assert_true(sl_request_alive(requests[0]));
    assert_int_equal(requests[0]->role, SL_ROLE_COLLECTOR);
    assert_string_equal(requests[0]->host, "host-1");
    sl_client_free(p->client);
    p->client = NULL;
    PAIR_UNTIL(p, !sl_request_alive(requests[0]));
    assert_int_equal(sl_server_peers(p->server, SL_ROLE_COLLECTOR), 0);
    assert_string_equal(requests[0]->host, "host-1"); /* until it is answered */
    pair_answer(requests[0], 1);
    for (int i = 0; i < 5; i++)
        pair_turn(p);
}

/* ---- peers that are not ours ---- */

struct stranger {
    nng_socket socket;
    nng_aio *aio;
    atomic_bool arrived;
};

static void stranger_arrived(void *arg)
{
    struct stranger *s = arg;
    atomic_store(&s->arrived, true);
}

static void stranger_dial(struct stranger *s, const char *url)
{
    assert_int_equal(nng_req0_open(&s->socket), 0);
    nng_socket_set_ms(s->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    assert_int_equal(nng_dial(s->socket, url, NULL, 0), 0);
    assert_int_equal(nng_aio_alloc(&s->aio, stranger_arrived, s), 0);
}

static void stranger_close(struct stranger *s)
{
    nng_aio_free(s->aio);
    nng_close(s->socket);
}

/* Sends raw bytes and returns the answer, which must be freed. */
static nng_msg *stranger_ask(struct pair *p, struct stranger *s, const void *bytes, size_t size)
{
    nng_msg *message;
    assert_int_equal(nng_msg_alloc(&message, 0), 0);
    assert_int_equal(nng_msg_append(message, bytes, size), 0);
    assert_int_equal(nng_sendmsg(s->socket, message, 0), 0);
    atomic_store(&s->arrived, false);
    nng_recv_aio(s->socket, s->aio);
    PAIR_UNTIL(p, atomic_load(&s->arrived));
    assert_int_equal(nng_aio_result(s->aio), 0);
    return nng_aio_get_msg(s->aio);
}

static void assert_answer(nng_msg *answer, uint8_t type, uint8_t status, uint64_t id, const char *sentence)
{
    struct sl_reader r = sl_reader(sl_slice(nng_msg_body(answer), nng_msg_len(answer)));
    struct sl_message_head head;
    assert_int_equal(sl_message_open(&r, &head), 0);
    assert_int_equal(head.type, type);
    assert_int_equal(head.status, status);
    assert_int_equal(head.id, id);
    struct sl_slice said = sl_read_slice8(&r);
    assert_false(r.failed);
    assert_int_equal(sl_reader_left(&r), 0);
    assert_int_equal(said.bytes, strlen(sentence));
    assert_memory_equal(said.data, sentence, said.bytes);
    nng_msg_free(answer);
}

static void never(struct pair *p, struct sl_request *request)
{
    (void)p;
    fail_msg("the daemon saw a request of type %u", request->head.type);
}

static size_t plain_head(uint8_t out[SL_MESSAGE_HEAD_BYTES], uint8_t type, uint64_t id)
{
    struct sl_writer w = sl_writer(out, SL_MESSAGE_HEAD_BYTES);
    sl_message_begin(&w, &(struct sl_message_head){.type = type, .id = id});
    return w.bytes;
}

static void what_is_not_a_request_is_refused_with_a_sentence(void **state)
{
    struct pair *p = *state;
    struct stranger s;
    uint8_t head[SL_MESSAGE_HEAD_BYTES];
    p->on_request = never;
    pair_serve(p);
    stranger_dial(&s, p->url[0]);
    assert_answer(stranger_ask(p, &s, "GET / HTTP/1.1\r\n\r\n", 18), SL_HELLO, SL_STATUS_MALFORMED, 0,
                  "this is not a request of sandlog");
    assert_answer(stranger_ask(p, &s, "", 0), SL_HELLO, SL_STATUS_MALFORMED, 0,
                  "this is not a request of sandlog");
    size_t bytes = plain_head(head, SL_INFO, 77);
    head[7] = 1; /* reserved */
    assert_answer(stranger_ask(p, &s, head, bytes), SL_INFO, SL_STATUS_MALFORMED, 77,
                  "this is not a request of sandlog");
    plain_head(head, SL_INFO, 78);
    head[4] = SL_MESSAGE_VERSION + 1;
    assert_answer(stranger_ask(p, &s, head, bytes), SL_INFO, SL_STATUS_NEWER, 78,
                  "this broker is " SL_VERSION " and does not know this request");
    plain_head(head, SL_HELLO, 79);
    assert_answer(stranger_ask(p, &s, head, bytes), SL_HELLO, SL_STATUS_MALFORMED, 79,
                  "HELLO could not be read");
    stranger_close(&s);
}

static void without_proof_nothing_reaches_the_daemon(void **state)
{
    struct pair *p = *state;
    struct stranger s;
    uint8_t head[SL_MESSAGE_HEAD_BYTES];
    p->on_request = never;
    assert_int_equal(pair_serve_at(p, p->url[0], "sesame", 10), 0);
    stranger_dial(&s, p->url[0]);
    for (unsigned type = SL_APPEND; type <= SL_DELETE; type++) {
        size_t bytes = plain_head(head, (uint8_t)type, type);
        assert_answer(stranger_ask(p, &s, head, bytes), (uint8_t)type, SL_STATUS_UNAUTHENTICATED, type,
                      "HELLO with a proof of the secret comes first");
    }

    /* A proof that was right on another connection, here: any 32 bytes. */
    uint8_t room[256], proof[32] = {1};
    struct sl_writer w = sl_writer(room, sizeof room);
    sl_message_begin(&w, &(struct sl_message_head){.type = SL_HELLO, .id = 5});
    sl_hello_encode(&w, &(struct sl_hello){.role = SL_ROLE_GATEWAY,
                                           .version = sl_slice_of("1"),
                                           .proof = sl_slice(proof, sizeof proof)});
    nng_msg *answer = stranger_ask(p, &s, room, w.bytes);
    struct sl_reader r = sl_reader(sl_slice(nng_msg_body(answer), nng_msg_len(answer)));
    struct sl_message_head got;
    struct sl_welcome welcome;
    assert_int_equal(sl_message_open(&r, &got), 0);
    assert_int_equal(got.status, SL_STATUS_UNAUTHENTICATED);
    assert_int_equal(sl_welcome_decode(&r, &welcome), 0); /* with the challenge */
    nng_msg_free(answer);
    assert_int_equal(sl_server_peers(p->server, SL_ROLE_GATEWAY), 0);
    assert_answer(stranger_ask(p, &s, head, plain_head(head, SL_READ, 9)), SL_READ, SL_STATUS_UNAUTHENTICATED,
                  9, "HELLO with a proof of the secret comes first");
    stranger_close(&s);
}

static long resident_pages(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    fclose(file);
    return resident;
}

/* nng 1.5.2 allocates what the sender announces, unless RECVMAXSZ says otherwise. */
static void an_oversize_message_closes_its_connection_and_takes_no_memory(void **state)
{
    struct pair *p = *state;
    p->on_request = never;
    assert_int_equal(pair_serve_at(p, "tcp://127.0.0.1:0", "", 10), 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(sl_server_port(p->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const uint64_t sizes[] = {SL_MESSAGE_MAX_BYTES + 5, UINT64_C(1) << 30, UINT64_C(1) << 40,
                                     UINT64_MAX};
    long before = resident_pages();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0}; /* SP, as a REQ */
        uint8_t got[8], announced[8];
        assert_int_equal(send(fd, hello, sizeof hello, MSG_NOSIGNAL), 8);
        assert_int_equal(recv(fd, got, sizeof got, MSG_WAITALL), 8);
        for (int b = 0; b < 8; b++)
            announced[b] = (uint8_t)(sizes[i] >> (56 - 8 * b));
        assert_int_equal(send(fd, announced, sizeof announced, MSG_NOSIGNAL), 8);
        struct pollfd end = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&end, 1, 20000), 1);
        assert_true(recv(fd, got, sizeof got, 0) <= 0);
        close(fd);
    }
    assert_true((resident_pages() - before) * sysconf(_SC_PAGESIZE) < 16 << 20);

    /* And the others are served as before. */
    struct stranger s;
    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", sl_server_port(p->server));
    stranger_dial(&s, url);
    nng_msg_free(stranger_ask(p, &s, "x", 1));
    stranger_close(&s);
}

/* ---- answers ---- */

static void refuse(struct pair *p, struct sl_request *request)
{
    (void)p;
    sl_request_refuse(request, SL_STATUS_UNAVAILABLE, "the disk is full");
}

static void check_refused(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct pair *p = arg;
    assert_int_equal(fault, 0);
    assert_int_equal(head->status, SL_STATUS_UNAVAILABLE);
    assert_true(sl_slice_equal(sl_read_slice8(body), sl_slice_of(p->user)));
    p->answered++;
}

static void ask_to_be_refused(struct pair *p)
{
    nng_msg *message;
    struct sl_writer w;
    assert_int_equal(sl_client_message_new(SL_APPEND, 0, &message, &w), 0);
    sl_client_ask(p->client, message, &w, 30000, check_refused, p);
}

static void a_refusal_carries_its_sentence(void **state)
{
    struct pair *p = *state;
    p->on_request = refuse;
    p->user = (char[]){"the disk is full"};
    pair_serve(p);
    pair_dial(p);
    ask_to_be_refused(p);
    PAIR_UNTIL(p, p->answered == 1);
}

static void answer_too_much(struct pair *p, struct sl_request *request)
{
    (void)p;
    nng_msg *answer;
    struct sl_writer w;
    assert_int_equal(sl_answer_new(request, SL_STATUS_OK, 4, &answer, &w), 0);
    sl_write_u64(&w, 1);
    assert_true(w.failed);
    sl_request_answer(request, answer, &w);
}

static void an_answer_that_did_not_fit_becomes_a_refusal(void **state)
{
    struct pair *p = *state;
    p->on_request = answer_too_much;
    p->user = (char[]){"the answer does not fit into a message"};
    pair_serve(p);
    pair_dial(p);
    ask_to_be_refused(p);
    PAIR_UNTIL(p, p->answered == 1);
}

/* ---- processes of one host ---- */

struct two {
    struct sl_client *other; /* the second process */
    bool connected;          /* it is */
    int changes;             /* of its connection */
    int begun;               /* BEGINs heard */
    int first;               /* of those, the first of their instance */
    int taken;               /* other requests */
    bool late;               /* the first process asks something while the second one's word is at the door */
};

static void two_changed(void *arg, bool connected, uint64_t epoch, const char *why)
{
    struct two *two = arg;
    (void)epoch, (void)why;
    two->connected = connected;
    two->changes++;
}

static void two_request(struct pair *p, struct sl_request *request)
{
    struct two *two = p->user;
    if (request->head.type != SL_BEGIN) {
        two->taken++;
        pair_answer(request, 0);
        return;
    }
    uint64_t instance;
    assert_int_equal(sl_begin_decode(&request->body, &instance), 0);
    if (two->late && instance == 2) {
        pair_ask(p, 7, 0, 30000);
        sl_client_run(p->client);
        struct pollfd arrived = {.fd = sl_server_fd(p->server), .events = POLLIN};
        assert_int_equal(poll(&arrived, 1, 30000), 1);
    }
    two->begun++;
    two->first += sl_server_begin(p->server, request, instance);
    pair_answer(request, 0);
}

static struct sl_client *two_dial(struct pair *p, uint64_t instance,
                                  void (*changed)(void *arg, bool connected, uint64_t epoch, const char *why),
                                  void *arg)
{
    struct sl_client *client;
    assert_int_equal(sl_client_new(&(struct sl_client_options){.urls = &(const char *){p->url[0]},
                                                               .url_count = 1,
                                                               .role = SL_ROLE_COLLECTOR,
                                                               .host = "host-1",
                                                               .instance = instance,
                                                               .changed = changed,
                                                               .arg = arg},
                                   &client),
                     0);
    return client;
}

/*
 * A collector was killed in a cut network. Its successor had the newer file's lines stored when the network
 * was mended, and then came, retransmitted, a block of the older file, and stood behind them.
 */
static void what_a_process_left_on_its_way_is_dropped_when_its_successor_begins(void **state)
{
    struct pair *p = *state;
    struct two two = {.late = true};
    p->user = &two;
    p->on_request = two_request;
    pair_serve(p);
    p->client = two_dial(p, 1, pair_changed, p);
    PAIR_UNTIL(p, two.begun == 1);
    pair_ask(p, 6, 0, 30000);
    PAIR_UNTIL(p, p->answered == 1);
    assert_int_equal(two.taken, 1);
    two.other = two_dial(p, 2, two_changed, &two);
    PAIR_UNTIL(p, (sl_client_run(two.other), p->answered == 2));
    assert_int_equal(p->last_fault, -ECONNRESET);
    assert_int_equal(two.taken, 1);
    sl_client_free(two.other);
}

static void processes_of_one_host_that_live_are_connected_side_by_side(void **state)
{
    struct pair *p = *state;
    struct two two = {0};
    p->user = &two;
    p->on_request = two_request;
    pair_serve(p);
    p->client = two_dial(p, 1, pair_changed, p);
    PAIR_UNTIL(p, p->connected && two.begun == 1);
    two.other = two_dial(p, 2, two_changed, &two);
    /* It is let go once, and when it has come again the other one is not. */
    PAIR_UNTIL(p, (sl_client_run(two.other), two.begun == 3));
    PAIR_UNTIL(p, (sl_client_run(two.other), p->connected && p->changes == 3));
    pair_ask(p, 1, 0, 30000);
    PAIR_UNTIL(p, (sl_client_run(two.other), p->answered == 1));
    assert_true(two.connected && two.changes == 1 && two.first == 2 && p->changes == 3);
    /* The word of another broker, where a third one is. */
    sl_server_fence(p->server, sl_slice_of("host-2"), 3);
    sl_server_fence(p->server, sl_slice_of("host-1"), 2);
    PAIR_UNTIL(p, (sl_client_run(two.other), two.begun == 4 && p->connected));
    assert_true(two.connected && two.changes == 1 && two.first == 2 && p->changes == 5);
    sl_client_free(two.other);
}

/* ---- listening ---- */

static int listen_fault(const char *url)
{
    struct sl_server *server = NULL;
    int r = sl_server_new(&(struct sl_server_options){.url = url, .max_waiting = 1, .max_bytes = 1}, &server);
    assert_null(server);
    return r;
}

static void an_address_that_can_not_be_had_is_told(void **state)
{
    struct pair *p = *state;
    char url[64];
    assert_int_equal(pair_serve_at(p, "tcp://127.0.0.1:0", "", 10), 0);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", sl_server_port(p->server));
    assert_int_equal(listen_fault(url), -EADDRINUSE);
    pair_unserve(p);
    pair_serve(p);
    assert_int_equal(listen_fault(p->url[0]), -EADDRINUSE);
    assert_int_equal(listen_fault("nonsense"), -EINVAL);
    assert_int_equal(listen_fault("http://127.0.0.1:1"), -EINVAL);
}

/* The socket file of a broker that was killed stays behind and must not stop the next one. */
static void a_dead_brokers_socket_file_is_taken_over(void **state)
{
    struct pair *p = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", p->url[0] + 6);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    assert_int_equal(access(address.sun_path, F_OK), 0);
    pair_serve(p);
    pair_dial(p);
    PAIR_UNTIL(p, p->connected);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)
        TEST(two_thousand_parked_requests_are_answered),
        TEST(no_more_than_max_waiting_are_taken),
        TEST(no_more_than_max_bytes_are_held),
        TEST(peers_are_counted_while_they_are_there_and_their_requests_die_with_them),
        TEST(what_is_not_a_request_is_refused_with_a_sentence),
        TEST(without_proof_nothing_reaches_the_daemon),
        TEST(an_oversize_message_closes_its_connection_and_takes_no_memory),
        TEST(a_refusal_carries_its_sentence),
        TEST(an_answer_that_did_not_fit_becomes_a_refusal),
        TEST(what_a_process_left_on_its_way_is_dropped_when_its_successor_begins),
        TEST(processes_of_one_host_that_live_are_connected_side_by_side),
        TEST(an_address_that_can_not_be_had_is_told),
        TEST(a_dead_brokers_socket_file_is_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
