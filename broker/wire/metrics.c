// SPDX-License-Identifier: Apache-2.0
#include "metrics.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum series_kind { SERIES_COUNTER, SERIES_GAUGE, SERIES_HISTOGRAM };

struct series {
    struct series *next;
    enum series_kind kind;
    const char *name;
    const char *labels;
    const char *help;
    union {
        struct sl_counter *counter;
        struct sl_gauge *gauge;
        struct sl_histogram *histogram;
    };
    char text[]; /* name, labels, help */
};

struct sl_metrics {
    char *prefix;
    struct series *first;
    struct series **last;
    bool incomplete; /* a registration found no memory: render says so by having no text */
};

#define FIRST_BOUND_NS INT64_C(62500)

int sl_metrics_new(const char *prefix, struct sl_metrics **ret)
{
    struct sl_metrics *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    m->prefix = strdup(prefix);
    if (!m->prefix) {
        free(m);
        return -ENOMEM;
    }
    m->last = &m->first;
    *ret = m;
    return 0;
}

void sl_metrics_free(struct sl_metrics *m)
{
    if (!m)
        return;
    while (m->first) {
        struct series *s = m->first;
        m->first = s->next;
        free(s);
    }
    free(m->prefix);
    free(m);
}

static struct series *series_add(struct sl_metrics *m, enum series_kind kind, const char *name,
                                 const char *labels, const char *help)
{
    size_t name_bytes = strlen(name) + 1, labels_bytes = labels ? strlen(labels) + 1 : 1,
           help_bytes = strlen(help) + 1;
    struct series *s = calloc(1, sizeof *s + name_bytes + labels_bytes + help_bytes);
    if (!s) {
        m->incomplete = true;
        return NULL;
    }
    s->kind = kind;
    s->name = memcpy(s->text, name, name_bytes);
    s->labels = memcpy(s->text + name_bytes, labels ? labels : "", labels_bytes);
    s->help = memcpy(s->text + name_bytes + labels_bytes, help, help_bytes);
    *m->last = s;
    m->last = &s->next;
    return s;
}

void sl_metrics_counter(struct sl_metrics *m, const char *name, const char *labels, const char *help,
                        struct sl_counter *c)
{
    struct series *s = series_add(m, SERIES_COUNTER, name, labels, help);
    if (s)
        s->counter = c;
}

void sl_metrics_gauge(struct sl_metrics *m, const char *name, const char *labels, const char *help,
                      struct sl_gauge *g)
{
    struct series *s = series_add(m, SERIES_GAUGE, name, labels, help);
    if (s)
        s->gauge = g;
}

void sl_metrics_histogram(struct sl_metrics *m, const char *name, const char *labels, const char *help,
                          struct sl_histogram *h)
{
    struct series *s = series_add(m, SERIES_HISTOGRAM, name, labels, help);
    if (s)
        s->histogram = h;
}

void sl_observe(struct sl_histogram *h, int64_t ns)
{
    if (ns < 0)
        ns = 0;
    size_t i = 0;
    for (int64_t bound = FIRST_BOUND_NS; i < SL_HISTOGRAM_BUCKETS && ns > bound; bound *= 2)
        i++;
    if (i < SL_HISTOGRAM_BUCKETS)
        atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ns, (uint64_t)ns, memory_order_relaxed);
}

static void render_histogram(FILE *out, const char *prefix, const struct series *s)
{
    const struct sl_histogram *h = s->histogram;
    const char *comma = *s->labels ? "," : "";
    uint64_t below = 0;
    int64_t bound = FIRST_BOUND_NS;
    for (size_t i = 0; i < SL_HISTOGRAM_BUCKETS; i++, bound *= 2) {
        below += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        fprintf(out, "%s_%s_bucket{%s%sle=\"%.10g\"} %llu\n", prefix, s->name, s->labels, comma,
                (double)bound / 1e9, (unsigned long long)below);
    }
    /* Buckets and count are read one after another while others add: the count must not fall behind. */
    uint64_t count = atomic_load_explicit(&h->count, memory_order_relaxed);
    if (count < below)
        count = below;
    fprintf(out, "%s_%s_bucket{%s%sle=\"+Inf\"} %llu\n", prefix, s->name, s->labels, comma,
            (unsigned long long)count);
    const char *open = *s->labels ? "{" : "", *close = *s->labels ? "}" : "";
    fprintf(out, "%s_%s_sum%s%s%s %.9f\n", prefix, s->name, open, s->labels, close,
            (double)atomic_load_explicit(&h->sum_ns, memory_order_relaxed) / 1e9);
    fprintf(out, "%s_%s_count%s%s%s %llu\n", prefix, s->name, open, s->labels, close,
            (unsigned long long)count);
}

static void render_series(FILE *out, const char *prefix, const struct series *s)
{
    const char *open = *s->labels ? "{" : "", *close = *s->labels ? "}" : "";
    switch (s->kind) {
    case SERIES_COUNTER:
        fprintf(out, "%s_%s%s%s%s %llu\n", prefix, s->name, open, s->labels, close,
                (unsigned long long)atomic_load_explicit(&s->counter->value, memory_order_relaxed));
        break;
    case SERIES_GAUGE:
        fprintf(out, "%s_%s%s%s%s %lld\n", prefix, s->name, open, s->labels, close,
                (long long)atomic_load_explicit(&s->gauge->value, memory_order_relaxed));
        break;
    case SERIES_HISTOGRAM:
        render_histogram(out, prefix, s);
        break;
    }
}

/* ---- the process ---- */

static void render_value(FILE *out, const char *name, const char *type, const char *help, double value)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, value);
}

/* Entries of /proc/self/fd without the one that this look takes. */
static long open_fds(void)
{
    struct stat st;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) /* since Linux 6.2; 20,000 names take 8 ms */
        return (long)st.st_size;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return -1;
    long count = -1;
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir))
        count += e->d_name[0] != '.';
    closedir(dir);
    return count;
}

/* Seconds since 1970 at which this process began: its start in ticks since boot, and the time of boot. */
static double start_seconds(void)
{
    char text[1024];
    unsigned long long ticks = 0, boot = 0;
    FILE *file = fopen("/proc/self/stat", "re");
    if (file) {
        /* Field 22; the second one, the name, may hold blanks and brackets. */
        const char *at = fgets(text, sizeof text, file) ? strrchr(text, ')') : NULL;
        for (int field = 2; at && field < 22; field++)
            at = strchr(at + 1, ' ');
        if (at)
            ticks = strtoull(at, NULL, 10);
        fclose(file);
    }
    file = fopen("/proc/stat", "re");
    if (file) {
        while (fgets(text, sizeof text, file))
            if (sscanf(text, "btime %llu", &boot) == 1)
                break;
        fclose(file);
    }
    return (double)boot + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void render_process(FILE *out)
{
    struct rusage usage;
    struct rlimit limit;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        render_value(out, "process_cpu_seconds_total", "counter", "CPU time used, user and system.",
                     (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        unsigned long pages, resident;
        if (fscanf(file, "%lu %lu", &pages, &resident) == 2) {
            double page = (double)sysconf(_SC_PAGESIZE);
            render_value(out, "process_resident_memory_bytes", "gauge", "Memory in use.",
                         (double)resident * page);
            render_value(out, "process_virtual_memory_bytes", "gauge", "Address space in use.",
                         (double)pages * page);
        }
        fclose(file);
    }
    render_value(out, "process_open_fds", "gauge", "Open file descriptors.", (double)open_fds());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        render_value(out, "process_max_fds", "gauge", "Limit of open file descriptors.",
                     (double)limit.rlim_cur);
    render_value(out, "process_start_time_seconds", "gauge", "Start of the process, Unix time.",
                 start_seconds());
}

char *sl_metrics_render(const struct sl_metrics *m)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    if (m->incomplete)
        return NULL;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    const struct series *before = NULL;
    for (const struct series *s = m->first; s; before = s, s = s->next) {
        if (!before || strcmp(before->name, s->name) != 0)
            fprintf(out, "# HELP %s_%s %s\n# TYPE %s_%s %s\n", m->prefix, s->name, s->help, m->prefix,
                    s->name, types[s->kind]);
        render_series(out, m->prefix, s);
    }
    render_process(out);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
