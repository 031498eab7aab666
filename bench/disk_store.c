// SPDX-License-Identifier: Apache-2.0
/*
 * The disk engine at scale, through store.h with its own threads, acknowledgement after fdatasync as shipped.
 *
 *   bench_disk_store known DIR SANDBOXES ACTIVE
 *       SANDBOXES sandboxes with a host, a source and a few lines, stopped; the store opened anew; then
 * ACTIVE of them get 4 KiB more. Prints: ms to open, bytes of resident memory a sandbox once open, MB of the
 *       process then and with the active ones.
 *   bench_disk_store open DIR SANDBOXES TIMES
 *       Opens what `known` has left, TIMES times in one process. Prints: ms and ms of CPU time to open,
 * medians. bench_disk_store restart DIR MEGABYTES SANDBOXES MEGABYTES of blocks that don't compress. Prints:
 * ms to open after a close, ms to open after a kill in the middle of appends, MB stored, segments.
 *   bench_disk_store commits DIR MEGABYTES PERCENT BYTES_PER_S
 *       MEGABYTES of text like cri_files', then 64 KiB appended every 5 ms, first alone, then beside a
 * compaction of it all with that share. Prints: p50 and p99 ms of a commit alone, the same beside it, MB/s of
 * text compacted, percent of a core that the process took more than before.
 */
#include "store/store.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ITEMS = 256, LINE_BYTES = 100 };

struct bench {
    struct store *store;
    struct store_options options;
    int wake;
    bool flying;
    struct sl_block_builder *builder;
    struct store_item items[ITEMS];
    uint8_t *data[ITEMS];
    size_t capacity[ITEMS];
    size_t count;
    uint64_t *at; /* per sandbox: where its source stands */
    unsigned sandboxes;
};

static uint64_t seed = 88172645463325252u;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_disk_store: %s\n", what);
    exit(1);
}

static void wake(void *arg)
{
    uint64_t one = 1;
    if (write(((struct bench *)arg)->wake, &one, sizeof one) != sizeof one)
        abort();
}

static void wait_some(struct bench *b)
{
    uint64_t count;
    struct pollfd fd = {.fd = b->wake, .events = POLLIN};
    poll(&fd, 1, 1000);
    if (fd.revents && read(b->wake, &count, sizeof count) != sizeof count)
        abort();
    store_run(b->store);
}

static double open_store(struct bench *b)
{
    const char *why = "";
    int64_t start_ns = sl_monotonic_ns();
    if (store_open(&b->options, &b->store, &why))
        die(why);
    return (double)(sl_monotonic_ns() - start_ns) / 1e6;
}

static double resident_mb(void)
{
    long pages = 0, ignored;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &ignored, &pages) != 2)
        die("no /proc/self/statm");
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

/* ---- appending ---- */

static void done(struct store_batch *batch, int fault)
{
    struct bench *b = batch->owner;
    for (size_t i = 0; i < batch->count; i++) {
        if (fault || batch->items[i].verdict.verdict != SL_TAKEN)
            die("a block was not taken");
    }
    b->flying = false;
}

static void commit(struct bench *b)
{
    struct store_batch batch = {.items = b->items, .count = b->count, .done = done, .owner = b};
    if (b->count == 0)
        return;
    b->flying = true;
    store_append(b->store, &batch);
    while (b->flying)
        wait_some(b);
    b->count = 0;
}

static struct sl_slice name(unsigned sandbox, char text[32])
{
    snprintf(text, 32, "box-%07u", sandbox);
    return sl_slice_of(text);
}

static uint8_t *room(struct bench *b, size_t bytes)
{
    if (b->capacity[b->count] < bytes) {
        free(b->data[b->count]);
        b->data[b->count] = malloc(bytes);
        b->capacity[b->count] = bytes;
    }
    return b->data[b->count];
}

static void add_change(struct bench *b, unsigned sandbox, uint8_t state)
{
    char id[32];
    struct sl_change change = {.fields = SL_CHANGE_STATE | SL_CHANGE_HOST,
                               .state = state,
                               .sandbox = name(sandbox, id),
                               .host = sl_slice_of("host-1.example")};
    struct sl_writer w = sl_writer(room(b, 256), 256);
    sl_change_encode(&w, &change);
    struct store_item *item = &b->items[b->count];
    *item = (struct store_item){.kind = STORE_CHANGE, .payload = sl_slice(b->data[b->count], w.bytes)};
    struct sl_reader r = sl_reader(item->payload);
    if (sl_change_decode(&r, &item->change))
        abort();
    if (++b->count == ITEMS)
        commit(b);
}

static int line(char *out, size_t bytes, bool text)
{
    uint64_t r = next_random();
    if (!text) {
        for (size_t i = 0; i + 8 <= LINE_BYTES; i += 8, r = next_random())
            memcpy(out + i, &r, 8);
        return LINE_BYTES;
    }
    static const char *const what[] = {"request served", "cache miss", "user login", "job queued"};
    return snprintf(out, bytes, "INFO %s path=/api/v1/items status=%d id=%014" PRIx64 " ms=%d", what[r % 4],
                    r % 31 ? 200 : 500, r >> 8, (int)(r / 512 % 900));
}

static void add_block(struct bench *b, unsigned sandbox, unsigned lines, bool text, bool compress)
{
    char id[32], bytes[160];
    sl_block_builder_reset(b->builder, name(sandbox, id));
    int64_t now_ns = sl_now_ns();
    for (unsigned i = 0; i < lines; i++) {
        size_t length = (size_t)line(bytes, sizeof bytes, text);
        struct sl_line l = {.time_ns = now_ns + (int64_t)(next_random() % 200000),
                            .text = sl_slice(bytes, length)};
        if (sl_block_builder_add(b->builder, &l, sl_slice_of("main")))
            abort();
    }
    struct sl_block_header facts = {
        .codec = compress ? SL_CODEC_LZ4 : SL_CODEC_NONE,
        .range = {.source = {.incarnation = 1}, .from = b->at[sandbox], .to = b->at[sandbox] + lines},
        .open_from = b->at[sandbox] + lines};
    memcpy(facts.range.source.key, &sandbox, sizeof sandbox);
    b->at[sandbox] += lines;
    size_t bound = sl_block_builder_bound(b->builder);
    uint8_t *data = room(b, bound);
    struct store_item *item = &b->items[b->count];
    *item = (struct store_item){.kind = STORE_BLOCK};
    item->payload = sl_slice(data, sl_block_builder_encode(b->builder, &facts, 0, data, bound));
    if (sl_block_check(item->payload, &item->header) != SL_BLOCK_OK)
        abort();
    if (++b->count == ITEMS)
        commit(b);
}

/* ---- known, active ---- */

static void fill_known(struct bench *b)
{
    open_store(b);
    for (unsigned i = 0; i < b->sandboxes; i++) {
        add_change(b, i, SL_RUNNING);
        add_block(b, i, 3, true, false);
        add_change(b, i, SL_STOPPED);
    }
    commit(b);
    store_close(b->store);
}

static void known(struct bench *b, unsigned active)
{
    /* Filled by another process, so that memory is what an open store takes and nothing else. */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        fill_known(b);
        exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status)
        die("the process that fills failed");
    for (unsigned i = 0; i < b->sandboxes; i++)
        b->at[i] = 3;
    double before = resident_mb();
    double took = open_store(b);
    malloc_trim(0);
    double open = resident_mb();
    for (unsigned i = 0; i < active; i++)
        add_block(b, (unsigned)((uint64_t)i * b->sandboxes / active), 40, false, false);
    commit(b);
    printf("%.0f %.0f %.0f %.0f\n", took, (open - before) * 1e6 / b->sandboxes, open, resident_mb());
    store_close(b->store);
}

/* ---- open ---- */

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void opens(struct bench *b, unsigned times)
{
    double took[100], cpu[100];
    unsigned n = 0;
    for (; n < times && n < 100; n++) {
        double before = cpu_s();
        took[n] = open_store(b);
        cpu[n] = (cpu_s() - before) * 1e3;
        store_close(b->store);
    }
    qsort(took, n, sizeof *took, compare);
    qsort(cpu, n, sizeof *cpu, compare);
    printf("%.0f %.0f\n", n ? took[n / 2] : 0, n ? cpu[n / 2] : 0);
}

/* ---- restart ---- */

static void restart(struct bench *b, uint64_t megabytes)
{
    enum { LINES = 2048 };
    uint64_t blocks = megabytes * 1000000 / (LINES * (LINE_BYTES + 4));
    open_store(b);
    for (uint64_t i = 0; i < blocks; i++) {
        add_block(b, (unsigned)(i % b->sandboxes), LINES, false, false);
        if (b->count == 16)
            commit(b);
    }
    commit(b);
    store_close(b->store);
    double closed = open_store(b);
    store_close(b->store);
    int ready[2];
    if (pipe(ready))
        abort();
    pid_t child = fork();
    if (child == 0) {
        open_store(b);
        for (uint64_t i = 0;; i++) {
            add_block(b, (unsigned)(i % b->sandboxes), LINES, false, false);
            if (b->count == 16)
                commit(b);
            /* Most of a segment that is not sealed: the most that a start has to read. */
            if (i * LINES * (LINE_BYTES + 4) > b->options.segment_bytes * 9 / 10)
                if (write(ready[1], "", 1) != 1)
                    abort();
        }
    }
    char byte;
    if (read(ready[0], &byte, 1) != 1)
        abort();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    double killed = open_store(b);
    struct store_stats s;
    store_stats(b->store, &s);
    printf("%.0f %.0f %.0f %.0f\n", closed, killed, (double)s.bytes / 1e6, (double)s.segments);
    store_close(b->store);
}

/* ---- commits ---- */

/* Commits at a steady pace until `until` is 0 or `most` are done; how long it took. */
static double pace(struct bench *b, const int *until, unsigned most, double *ret_p50, double *ret_p99,
                   double *ret_cpu)
{
    static double took[20000];
    unsigned n = 0;
    int64_t start_ns = sl_monotonic_ns(), due_ns = start_ns;
    double cpu = cpu_s();
    while (*until && n < most && n < 20000) {
        add_block(b, n % b->sandboxes, 600, true, true);
        int64_t at_ns = sl_monotonic_ns();
        commit(b);
        took[n++] = (double)(sl_monotonic_ns() - at_ns) / 1e6;
        due_ns += 5 * SL_NS_PER_MS;
        for (int64_t left; (left = due_ns - sl_monotonic_ns()) > 0;) {
            struct pollfd fd = {.fd = b->wake, .events = POLLIN};
            struct timespec t = {.tv_nsec = left < SL_NS_PER_S ? left : 1};
            if (ppoll(&fd, 1, &t, NULL) > 0)
                wait_some(b);
        }
    }
    double s = (double)(sl_monotonic_ns() - start_ns) / 1e9;
    *ret_cpu = (cpu_s() - cpu) / s;
    qsort(took, n, sizeof *took, compare);
    *ret_p50 = n ? took[n / 2] : 0;
    *ret_p99 = n ? took[n * 99 / 100] : 0;
    return s;
}

static void compacted(void *arg, int fault)
{
    *(int *)arg = 0;
    if (fault && fault != -ECANCELED) /* by the end of the measurement */
        die("the compaction failed");
}

static void commits(struct bench *b, uint64_t megabytes)
{
    open_store(b);
    for (uint64_t i = 0; i < megabytes * 1000000 / (600 * 78); i++) {
        add_block(b, (unsigned)(i % b->sandboxes), 600, true, true);
        if (b->count == 16)
            commit(b);
    }
    commit(b);
    double p50[2], p99[2], cpu[2];
    int running = 1;
    pace(b, &running, 1000, &p50[0], &p99[0], &cpu[0]);
    store_compact(b->store, compacted, &running);
    double s = pace(b, &running, 20000, &p50[1], &p99[1], &cpu[1]);
    printf("%.2f %.2f %.2f %.2f %.1f %.0f\n", p50[0], p99[0], p50[1], p99[1], (double)megabytes / s,
           (cpu[1] - cpu[0]) * 100);
    store_close(b->store);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: bench_disk_store known|open|restart|commits DIR NUMBER NUMBER [NUMBER]\n");
        return 2;
    }
    uint64_t first = strtoull(argv[3], NULL, 10), second = strtoull(argv[4], NULL, 10);
    static struct bench b;
    b.wake = eventfd(0, EFD_CLOEXEC);
    b.options = (struct store_options){.location = argv[2],
                                       .memory_bytes = 64 << 20,
                                       .segment_bytes = 128 << 20,
                                       .compact_cpu_percent = 50,
                                       .compact_bytes_per_s = 64 << 20,
                                       .wake = wake,
                                       .arg = &b};
    bool restarts = strcmp(argv[1], "restart") == 0, paces = strcmp(argv[1], "commits") == 0;
    b.sandboxes = (unsigned)(paces ? 100 : restarts ? second : first);
    b.at = calloc(b.sandboxes, sizeof *b.at);
    if (b.wake < 0 || !b.at || sl_block_builder_new(&b.builder))
        die("no memory");
    if (restarts) {
        b.options.compact_cpu_percent = 1; /* what is measured is what was written */
        restart(&b, first);
    } else if (paces) {
        b.options.compact_cpu_percent = (unsigned)second;
        b.options.compact_bytes_per_s = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
        commits(&b, first);
    } else if (strcmp(argv[1], "open") == 0) {
        opens(&b, (unsigned)second);
    } else {
        known(&b, (unsigned)second);
    }
    return 0;
}
