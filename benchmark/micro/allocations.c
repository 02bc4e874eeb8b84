/* Heap allocations in steady state, 8,000-token prompts, 128 servers: once while the trie grows, once while
 * every commit evicts. */
#include "micro.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 8000 };

static uint64_t in_route_commit_finish(gotoni_router *router, prompts *set, size_t calls) {
    heap_count_begin();
    for (size_t i = 0; i < calls; i++) {
        gotoni_request request = prompts_next(set);
        route_commit_finish(router, &request);
    }
    return heap_count_end();
}

static uint64_t in_route(gotoni_router *router, prompts *set, size_t calls) {
    uint64_t counted = 0;
    for (size_t i = 0; i < calls; i++) {
        gotoni_request request = prompts_next(set);
        gotoni_decision decision = {.struct_size = sizeof decision};
        heap_count_begin();
        must(gotoni_route(router, &request, clock_ns(), &decision), "route");
        counted += heap_count_end();
        must(gotoni_finish(router, decision.ticket, GOTONI_FINISH_NOT_SENT, clock_ns()), "finish");
    }
    return counted;
}

static uint64_t in_match(gotoni_router *router, prompts *set, size_t calls) {
    uint64_t servers[SERVERS], matched[SERVERS];
    size_t count;
    heap_count_begin();
    for (size_t i = 0; i < calls; i++) {
        gotoni_request request = prompts_next(set);
        must(gotoni_match(router, &request, servers, matched, SERVERS, &count), "match");
    }
    return heap_count_end();
}

static uint64_t in_explain(gotoni_router *router, prompts *set, size_t calls) {
    static gotoni_candidate candidates[SERVERS];
    size_t count;
    candidates[0].struct_size = sizeof candidates[0];
    heap_count_begin();
    for (size_t i = 0; i < calls; i++) {
        gotoni_request request = prompts_next(set);
        must(gotoni_explain(router, &request, clock_ns(), candidates, SERVERS, &count, NULL), "explain");
    }
    return heap_count_end();
}

/* Counts in a router whose servers hold at most `kv_capacity_tokens` each. */
static void measure(const char *key, uint64_t kv_capacity_tokens, int evicts, size_t calls) {
    prompts set = prompts_make(TOKENS, 0);
    gotoni_router *router = make_router(SERVERS, kv_capacity_tokens, 0);
    warm(router, &set, SERVERS);
    /* One call of each before counting: scratch memory may grow once. */
    in_match(router, &set, 1);
    in_explain(router, &set, 1);
    uint64_t all = in_route_commit_finish(router, &set, calls);
    uint64_t route = in_route(router, &set, calls);
    uint64_t match = in_match(router, &set, calls);
    uint64_t explain = in_explain(router, &set, calls);
    gotoni_stats stats = {.struct_size = sizeof stats};
    must(gotoni_stats_get(router, &stats), "stats_get");
    if ((stats.evicted_tokens_capacity > 0) != evicts) fail("the router evicted when it should not, or did not");
    printf("\"%s\": {\"route_commit_finish\": %llu, \"route\": %llu, \"match\": %llu, \"explain\": %llu}",
           key, (unsigned long long)all, (unsigned long long)route, (unsigned long long)match,
           (unsigned long long)explain);
    gotoni_router_destroy(router);
    prompts_free(&set);
}

void measure_allocations(size_t calls) {
    /* The control: making a router allocates, so a counter that sees nothing here sees nothing at all. */
    gotoni_router *router = NULL;
    heap_count_begin();
    must(gotoni_router_create(NULL, &router), "router_create");
    uint64_t control = heap_count_end();
    gotoni_router_destroy(router);
    if (control == 0) fail("the counter does not see the library's allocations");

    printf("{\"calls\": %zu, \"control_router_create\": %llu, ", calls, (unsigned long long)control);
    measure("growing", UINT64_MAX, 0, calls);
    printf(", ");
    measure("evicting", 2 * TOKENS, 1, calls);
    printf("}\n");
}
