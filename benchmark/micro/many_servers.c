/* gotoni_route alone among 10,000 servers, 8,000-token prompts. Commit and finish are not timed. */
#include "micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 8000, MANY = 10000, COMMON = 1600 };

/* Each server gets the shared part of one group, so 500 servers hold each. */
static void place_groups(gotoni_router *router, prompts *set) {
    for (uint32_t i = 0; i < MANY; i++) {
        gotoni_request request = prompts_next(set);
        request.token_count = set->shared;
        must(gotoni_prefix_insert(router, i + 1, &request, clock_ns()), "prefix_insert");
    }
}

static summary time_route(gotoni_router *router, prompts *set, uint64_t *samples, size_t calls) {
    for (size_t i = 0; i < calls; i++) {
        gotoni_request request = prompts_next(set);
        gotoni_decision decision = {.struct_size = sizeof decision};
        uint64_t begin = clock_ns();
        gotoni_status status = gotoni_route(router, &request, begin, &decision);
        samples[i] = clock_ns() - begin;
        must(status, "route");
        if (decision.eligible != MANY || decision.matched_tokens == 0) fail("route did not see what was placed");
        must(gotoni_commit(router, decision.ticket, begin), "commit");
        must(gotoni_finish(router, decision.ticket, GOTONI_FINISH_OK, begin), "finish");
    }
    return summarize(samples, calls);
}

static summary measure(size_t common, uint64_t *samples, size_t calls) {
    prompts set = prompts_make(TOKENS, 0);
    for (size_t group = 1; group < GROUPS; group++)
        memcpy(set.text + group * TOKENS, set.text, common * sizeof *set.text);
    gotoni_router *router = make_router(MANY, 0, 0);
    place_groups(router, &set);
    time_route(router, &set, samples, GROUPS);
    summary s = time_route(router, &set, samples, calls);
    gotoni_router_destroy(router);
    prompts_free(&set);
    return s;
}

void measure_many_servers(size_t calls) {
    uint64_t *samples = checked_alloc((calls + GROUPS) * sizeof *samples);
    summary groups = measure(0, samples, calls);
    summary common = measure(COMMON, samples, calls);
    printf("{\"servers\": %d, \"median_us\": %.3f, \"p99_us\": %.3f, \"common_tokens\": %d, "
           "\"common_median_us\": %.3f, \"common_p99_us\": %.3f}\n", MANY, groups.median_us, groups.p99_us, COMMON,
           common.median_us, common.p99_us);
    free(samples);
}
