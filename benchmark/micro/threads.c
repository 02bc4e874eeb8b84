/* Several threads on one router, 8,000-token prompts, 128 servers. All start at one barrier. */
#include "micro.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 8000 };

typedef struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    gotoni_router *router;
    prompts set;
    size_t calls;
    uint64_t *samples;   /* this worker's part of a common array */
} worker;

static void *match_loop(void *argument) {
    worker *w = argument;
    uint64_t servers[SERVERS], matched[SERVERS];
    pthread_barrier_wait(w->start);
    for (size_t i = 0; i < w->calls; i++) {
        gotoni_request request = prompts_next(&w->set);
        size_t count = 0;
        uint64_t begin = clock_ns();
        gotoni_status status = gotoni_match(w->router, &request, servers, matched, SERVERS, &count);
        w->samples[i] = clock_ns() - begin;
        must(status, "match");
        if (count == 0) fail("match found nothing");
    }
    return NULL;
}

static void *route_loop(void *argument) {
    worker *w = argument;
    pthread_barrier_wait(w->start);
    for (size_t i = 0; i < w->calls; i++) {
        gotoni_request request = prompts_next(&w->set);
        uint64_t begin = clock_ns();
        route_commit_finish(w->router, &request);
        w->samples[i] = clock_ns() - begin;
    }
    return NULL;
}

/* Runs `calls` calls on each thread; fills `samples` (threads x calls) and returns the wall time in ns. */
static uint64_t run(unsigned threads, void *(*loop)(void *), gotoni_router *router, size_t calls,
                    uint64_t *samples) {
    static uint32_t serial = 1u << 24;   /* a range of its own for every worker of every run */
    worker workers[THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++, serial += 1u << 24) {
        worker w = {.start = &start, .router = router, .set = prompts_make(TOKENS, serial), .calls = calls,
                    .samples = samples + i * calls};
        workers[i] = w;
        if (pthread_create(&workers[i].thread, NULL, loop, &workers[i])) fail("no thread");
    }
    pthread_barrier_wait(&start);
    uint64_t begin = clock_ns();
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        prompts_free(&workers[i].set);
    }
    uint64_t wall = clock_ns() - begin;
    pthread_barrier_destroy(&start);
    return wall;
}

static gotoni_router *warm_router(void) {
    gotoni_router *router = make_router(SERVERS, 0, 0);
    prompts set = prompts_make(TOKENS, 0);
    warm(router, &set, SERVERS);
    prompts_free(&set);
    return router;
}

void measure_match(size_t calls) {
    uint64_t *samples = checked_alloc(THREADS * calls * sizeof *samples);
    gotoni_router *router = warm_router();
    run(1, match_loop, router, calls, samples);
    summary alone = summarize(samples, calls);
    run(THREADS, match_loop, router, calls, samples);
    summary together = summarize(samples, THREADS * calls);
    printf("{\"alone_median_us\": %.3f, \"alone_p99_us\": %.3f, \"median_us\": %.3f, \"p99_us\": %.3f, "
           "\"p99_over_median\": %.3f}\n", alone.median_us, alone.p99_us, together.median_us, together.p99_us,
           together.p99_us / together.median_us);
    gotoni_router_destroy(router);
    free(samples);
}

void measure_contention(size_t calls) {
    uint64_t *samples = checked_alloc(THREADS * calls * sizeof *samples);
    gotoni_router *router = warm_router();
    run(THREADS, route_loop, router, calls, samples);   /* until the nearest servers are full and evict */
    double alone = (double)calls * 1e9 / (double)run(1, route_loop, router, calls, samples);
    double together = (double)(THREADS * calls) * 1e9 / (double)run(THREADS, route_loop, router, calls, samples);
    summary s = summarize(samples, THREADS * calls);
    printf("{\"alone_per_second\": %.0f, \"per_second\": %.0f, \"median_us\": %.3f, \"p99_us\": %.3f}\n", alone,
           together, s.median_us, s.p99_us);
    must(gotoni_router_check(router), "router_check");
    gotoni_router_destroy(router);
    free(samples);
}
