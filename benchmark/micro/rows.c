/* Route + commit on prompts read from a file. Each prompt is read into the same buffer just before its call,
 * so it lies in the processor's cache as if a tokenizer had just written it. */
#include "micro.h"

#include <stdio.h>
#include <stdlib.h>

static void read_prompt(FILE *file, uint32_t *buffer, size_t tokens) {
    if (fread(buffer, sizeof *buffer, tokens, file) != tokens) fail("the prompt file is too short");
}

void measure_rows(const char *path, size_t tokens, uint32_t servers, size_t warmed, size_t timed) {
    FILE *file = fopen(path, "rb");
    if (!file) fail("cannot read the prompt file");
    uint32_t *buffer = checked_alloc(tokens * sizeof *buffer);
    uint64_t *samples = checked_alloc(timed * sizeof *samples);
    gotoni_request request = {.struct_size = sizeof request, .tokens = buffer, .token_count = tokens};
    /* No eviction, for the other side has none: both tries hold the same prompts. */
    gotoni_router *router = make_router(servers, UINT64_MAX, 0);

    for (uint32_t i = 0; i < warmed; i++) {
        read_prompt(file, buffer, tokens);
        must(gotoni_prefix_insert(router, placement(i, servers), &request, clock_ns()), "prefix_insert");
    }
    for (size_t i = 0; i < timed; i++) {
        uint64_t ticket;
        read_prompt(file, buffer, tokens);
        samples[i] = time_route_commit(router, &request, &ticket);
        must(gotoni_finish(router, ticket, GOTONI_FINISH_OK, clock_ns()), "finish");
    }

    gotoni_stats stats = {.struct_size = sizeof stats};
    must(gotoni_stats_get(router, &stats), "stats_get");
    double matched = (double)stats.matched_tokens / (double)stats.prompt_tokens;
    summary s = summarize(samples, timed);
    printf("{\"median_us\": %.3f, \"p99_us\": %.3f, \"matched\": %.3f}\n", s.median_us, s.p99_us, matched);
    gotoni_router_destroy(router);
    free(samples);
    free(buffer);
    fclose(file);
}
