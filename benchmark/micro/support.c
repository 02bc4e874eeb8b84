#include "micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void fail(const char *what) {
    fprintf(stderr, "micro: %s\n", what);
    exit(2);
}

void must(gotoni_status status, const char *what) {
    if (status == GOTONI_OK) return;
    fprintf(stderr, "micro: %s: %s\n", what, gotoni_status_text(status));
    exit(2);
}

void *checked_alloc(size_t size) {
    void *memory = malloc(size);
    if (!memory) fail("no memory");
    return memory;
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

summary summarize(uint64_t *samples, size_t count) {
    qsort(samples, count, sizeof *samples, by_size);
    summary s = {(double)samples[count / 2] / 1000, (double)samples[count * 99 / 100] / 1000};
    return s;
}

/* Distances of 1 to 100 ms and foreign queues of 0 to 4,900 tokens; gorgo_lb.py uses the same formulas. */
static void observe(gotoni_router *router, uint32_t index, uint64_t id) {
    uint64_t now = clock_ns();
    must(gotoni_observe_rtt(router, id, (1 + index * 37u % 100) * 1000000u, now), "observe_rtt");
    gotoni_metrics metrics = {
        .struct_size = sizeof metrics,
        .known = GOTONI_METRIC_QUEUED_REQUESTS | GOTONI_METRIC_QUEUED_TOKENS,
        .queued_requests = 1,
        .queued_tokens = index * 7919u % 50 * 100,
    };
    must(gotoni_observe_metrics(router, id, &metrics, now), "observe_metrics");
}

gotoni_router *make_router(uint32_t servers, uint64_t kv_capacity_tokens, uint64_t budget_bytes) {
    gotoni_config config = {
        .struct_size = sizeof config,
        .block_tokens = 16,
        .seed = 1,
        .memory_budget_bytes = budget_bytes,
        .default_kv_capacity_tokens = kv_capacity_tokens,
    };
    gotoni_router *router = NULL;
    must(gotoni_router_create(&config, &router), "router_create");
    must(gotoni_policy_set(router, GOTONI_POLICY_GORGO), "policy_set");
    for (uint32_t i = 0; i < servers; i++) {
        gotoni_server server = {.struct_size = sizeof server, .id = i + 1};
        must(gotoni_server_add(router, &server, clock_ns()), "server_add");
        observe(router, i, server.id);
    }
    return router;
}

uint64_t placement(uint32_t index, uint32_t servers) {
    return (index * 2654435761u >> 7) % servers + 1;
}

void warm(gotoni_router *router, prompts *set, uint32_t servers) {
    for (uint32_t i = 0; i < WARM_PROMPTS; i++) {
        gotoni_request request = prompts_next(set);
        must(gotoni_prefix_insert(router, placement(i, servers), &request, clock_ns()), "prefix_insert");
    }
    for (uint32_t i = 0; i < GROUPS; i++) {
        gotoni_request request = prompts_next(set);
        route_commit_finish(router, &request);
    }
}

uint64_t time_route_commit(gotoni_router *router, const gotoni_request *request, uint64_t *ticket) {
    gotoni_decision decision = {.struct_size = sizeof decision};
    uint64_t begin = clock_ns();
    gotoni_status routed = gotoni_route(router, request, begin, &decision);
    gotoni_status committed = gotoni_commit(router, decision.ticket, begin);
    uint64_t end = clock_ns();
    must(routed, "route");
    must(committed, "commit");
    *ticket = decision.ticket;
    return end - begin;
}

void route_commit_finish(gotoni_router *router, const gotoni_request *request) {
    uint64_t ticket, now = clock_ns();
    time_route_commit(router, request, &ticket);
    must(gotoni_finish(router, ticket, GOTONI_FINISH_OK, now), "finish");
}
