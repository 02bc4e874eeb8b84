/* What cannot be avoided: one XXH3-64 per block of 16 tokens, joined to a chain. Without xxhash.h it prints null. */
#include "micro.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(__has_include)
#if __has_include(<xxhash.h>)
#define XXH_INLINE_ALL
#include <xxhash.h>
#define HAVE_XXHASH
#endif
#endif

#ifdef HAVE_XXHASH
enum { BLOCK = 16, CALLS = 2000 };

static uint64_t chain(const gotoni_request *request) {
    uint64_t digest = 0;
    for (size_t i = 0; i + BLOCK <= request->token_count; i += BLOCK) {
        uint64_t hash = XXH3_64bits(request->tokens + i, BLOCK * sizeof *request->tokens);
        digest = XXH3_mul128_fold64(digest ^ hash, 0x9E3779B97F4A7C15);
    }
    return digest;
}

void measure_floor(size_t tokens) {
    static volatile uint64_t sink;   /* keeps the compiler from leaving the work out */
    uint64_t samples[CALLS];
    prompts set = prompts_make(tokens, 0);
    for (size_t i = 0; i < CALLS; i++) {
        gotoni_request request = prompts_next(&set);
        uint64_t begin = clock_ns();
        sink = chain(&request);
        samples[i] = clock_ns() - begin;
    }
    (void)sink;
    printf("{\"tokens\": %zu, \"median_us\": %.3f}\n", tokens, summarize(samples, CALLS).median_us);
    prompts_free(&set);
}
#else
void measure_floor(size_t tokens) {
    printf("{\"tokens\": %zu, \"median_us\": null}\n", tokens);
}
#endif
