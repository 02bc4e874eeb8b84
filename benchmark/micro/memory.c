/* Bytes per token held: what the process grew by, and what the router says of itself. Prompts come in through
 * route, commit and finish, with one open ticket per server on average, so that load spreads them. */
#include "micro.h"

#include <stdio.h>
#include <unistd.h>

static uint64_t resident_bytes(void) {
    unsigned long long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%llu %llu", &total, &resident) != 2) fail("cannot read /proc/self/statm");
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void finish(gotoni_router *router, uint64_t ticket) {
    must(gotoni_finish(router, ticket, GOTONI_FINISH_OK, clock_ns()), "finish");
}

void measure_memory(size_t tokens, uint64_t held_tokens) {
    prompts set = prompts_make(tokens, 0);
    size_t count = held_tokens / (tokens - set.shared);
    uint64_t open[SERVERS] = {0};
    uint64_t before = resident_bytes();
    gotoni_router *router = make_router(SERVERS, UINT64_MAX, 1u << 30);
    for (size_t i = 0; i < count; i++) {
        uint64_t *slot = &open[i % SERVERS];
        gotoni_request request = prompts_next(&set);
        if (*slot) finish(router, *slot);
        time_route_commit(router, &request, slot);
    }
    for (size_t i = 0; i < SERVERS && open[i]; i++) finish(router, open[i]);
    uint64_t grown = resident_bytes() - before;

    gotoni_prefix_stats stats = {.struct_size = sizeof stats};
    must(gotoni_prefix_stats_get(router, &stats), "prefix_stats_get");
    must(gotoni_router_check(router), "router_check");
    double held = (double)stats.held_tokens;
    printf("{\"tokens\": %zu, \"prompts\": %zu, \"held_tokens\": %llu, \"rss_bytes_per_token\": %.4f, "
           "\"stats_bytes_per_token\": %.4f, \"server_refs_per_node\": %.2f}\n", tokens, count,
           (unsigned long long)stats.held_tokens, (double)grown / held, (double)stats.bytes / held,
           (double)stats.total_server_refs / (double)stats.nodes);
    gotoni_router_destroy(router);
    prompts_free(&set);
}
