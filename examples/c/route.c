/* Three servers in three regions, one system prompt, a few questions: who answers which, and why.
 *
 *     cc route.c $(pkg-config --cflags --libs gotoni) -o route && ./route
 */
#include <gotoni.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MILLISECOND UINT64_C(1000000)

/* Every call says how it went. A real gateway would answer its client; an example just stops. */
static void check(gotoni_status status) {
    if (status == GOTONI_OK) return;
    fprintf(stderr, "gotoni: %s\n", gotoni_status_text(status));
    exit(1);
}

enum { SERVERS = 3, SYSTEM_TOKENS = 1600, QUESTION_TOKENS = 160 };
static const char *const regions[SERVERS] = { "tokyo", "frankfurt", "oregon" };
static const uint64_t round_trip_ms[SERVERS] = { 150, 20, 90 };

static double ms(int64_t nanoseconds) { return (double)nanoseconds / (double)MILLISECOND; }

/* The whole table behind the next decision. */
static void explain(gotoni_router *router, const gotoni_request *request, uint64_t now) {
    gotoni_candidate rows[SERVERS] = { { .struct_size = sizeof rows[0] } };
    size_t count = 0;
    check(gotoni_explain(router, request, now, rows, SERVERS, &count, NULL));
    printf("  %-10s %9s = %9s + %9s + %9s + %9s   %s\n", "server", "cost ms", "rtt", "prefill", "queued", "running",
           "cached");
    for (size_t i = 0; i < count; i += 1)
        printf("%c %-10s %9.1f = %9.1f + %9.1f + %9.1f + %9.1f   %4" PRIu64 " of %zu tokens\n",
               rows[i].chosen ? '>' : ' ', regions[rows[i].server], ms(rows[i].cost_ns), ms(rows[i].rtt_cost_ns),
               ms(rows[i].prefill_cost_ns), ms(rows[i].queued_cost_ns), ms(rows[i].running_cost_ns),
               rows[i].matched_tokens, request->token_count);
}

int main(void) {
    if (gotoni_abi_version() != GOTONI_ABI_VERSION) {
        fprintf(stderr, "this program needs another version of libgotoni than %s\n", gotoni_version());
        return 1;
    }
    gotoni_router *router = NULL;
    check(gotoni_router_create(NULL, &router)); /* NULL: all defaults */

    /* The library never reads a clock: time is an argument. A program would pass CLOCK_MONOTONIC. */
    uint64_t now = 0;

    for (uint64_t id = 0; id < SERVERS; id += 1) { /* ids are ours: here the index into `regions` */
        gotoni_server server = { .struct_size = sizeof server, .id = id };
        check(gotoni_server_add(router, &server, now));
        check(gotoni_observe_rtt(router, id, round_trip_ms[id] * MILLISECOND, now));
    }

    /* A prompt is the system prompt, the same for all, and a question. Real tokens come from a tokenizer. */
    uint32_t prompt[SYSTEM_TOKENS + QUESTION_TOKENS];
    for (uint32_t i = 0; i < SYSTEM_TOKENS; i += 1) prompt[i] = i;

    enum { QUESTIONS = 4 };
    uint64_t tickets[QUESTIONS];
    for (uint32_t question = 0; question < QUESTIONS; question += 1) {
        for (uint32_t i = 0; i < QUESTION_TOKENS; i += 1) prompt[SYSTEM_TOKENS + i] = 100000 * (question + 1) + i;
        gotoni_request request = { .struct_size = sizeof request };
        request.tokens = prompt;
        request.token_count = SYSTEM_TOKENS + QUESTION_TOKENS;
        explain(router, &request, now);

        gotoni_decision decision = { .struct_size = sizeof decision };
        check(gotoni_route(router, &request, now, &decision));
        printf("question %" PRIu32 " goes to %s, which has %" PRIu64 " of its %" PRIu64 " tokens cached\n\n",
               question + 1, regions[decision.server], decision.matched_tokens, decision.prompt_tokens);

        /* Tell the router how it goes on: sent now, the first token some time later. */
        tickets[question] = decision.ticket;
        check(gotoni_commit(router, decision.ticket, now));
        now += 200 * MILLISECOND;
        check(gotoni_first_token(router, decision.ticket, now));
    }

    /* Every ticket is finished exactly once. (Twice would be harmless, never would be noticed.) */
    for (size_t i = 0; i < QUESTIONS; i += 1) check(gotoni_finish(router, tickets[i], GOTONI_FINISH_OK, now));
    gotoni_router_destroy(router);
    return 0;
}
