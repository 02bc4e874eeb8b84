/* Tests of the header's section "Statistics". */
#include "check.h"
#include <stddef.h>

static uint32_t tokens[64];

static void a_new_router_has_counted_nothing(void) {
    gotoni_router *router = router_with(2);
    gotoni_stats stats = stats_of(router);
    EQUAL(stats.servers, 2);
    EQUAL(stats.open_tickets + stats.routed + stats.refused + stats.committed, 0);
    EQUAL(stats.finished_ok + stats.finished_failed + stats.finished_cancelled + stats.finished_not_sent, 0);
    EQUAL(stats.expired + stats.orphaned + stats.prompt_tokens + stats.matched_tokens, 0);
    EQUAL(stats.evicted_tokens_capacity + stats.evicted_tokens_budget + stats.truncated_inserts, 0);
    EQUAL(stats.random_draws, 0);
    EQUAL(stats.budget_bytes, 256 << 20);
    CHECK(stats.bytes <= stats.budget_bytes);
    end(router);
}

static void every_outcome_is_counted(void) {
    gotoni_router *router = router_with(1);
    for (uint32_t outcome = GOTONI_FINISH_OK; outcome <= GOTONI_FINISH_NOT_SENT; outcome += 1) {
        for (uint32_t i = 0; i <= outcome; i += 1) {
            uint64_t ticket = route(router, tokens, 64, 0).ticket;
            if (i == 0) OK(gotoni_commit(router, ticket, 0));
            OK(gotoni_finish(router, ticket, outcome, 0));
        }
    }
    gotoni_stats stats = stats_of(router);
    EQUAL(stats.routed, 10);
    EQUAL(stats.committed, 4);
    EQUAL(stats.finished_ok, 1);
    EQUAL(stats.finished_failed, 2);
    EQUAL(stats.finished_cancelled, 3);
    EQUAL(stats.finished_not_sent, 4);
    EQUAL(stats.open_tickets, 0);
    end(router);
}

static void prompt_and_matched_tokens_are_summed_over_decisions(void) {
    gotoni_router *router = router_with(1);
    insert(router, 1, tokens, 32);
    route(router, tokens, 64, 0);
    route(router, tokens, 20, 0);
    gotoni_stats stats = stats_of(router);
    EQUAL(stats.open_tickets, 2);
    EQUAL(stats.prompt_tokens, 84);
    EQUAL(stats.matched_tokens, 48);
    end(router);
}

static void refusals_are_counted_when_a_server_was_missing(void) {
    gotoni_config config = { .struct_size = sizeof config, .max_tickets = 1 };
    gotoni_router *router = NULL;
    OK(gotoni_router_create(&config, &router));
    gotoni_request request = request_of(tokens, 64), wrong = request_of(NULL, 64);
    gotoni_decision decision = { .struct_size = sizeof decision };
    STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_NO_SERVER);
    EQUAL(stats_of(router).refused, 1);
    gotoni_server server = { .struct_size = sizeof server, .id = 1 };
    OK(gotoni_server_add(router, &server, 0));
    OK(gotoni_route(router, &request, 0, &decision));
    STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_CAPACITY);
    EQUAL(stats_of(router).refused, 2);
    STATUS(gotoni_route(router, &wrong, 0, &decision), GOTONI_E_ARGUMENT); /* the caller's mistake is no refusal */
    EQUAL(stats_of(router).refused, 2);
    EQUAL(stats_of(router).routed, 1);
    end(router);
}

static void draws_of_chance_are_counted(void) {
    gotoni_router *router = router_with(4);
    OK(gotoni_policy_set(router, GOTONI_POLICY_RANDOM));
    for (int i = 0; i < 5; i += 1) route(router, tokens, 16, 0);
    EQUAL(stats_of(router).random_draws, 5);
    end(router);
}

static void statistics_structs_of_other_versions_are_respected(void) {
    gotoni_router *router = router_with(1);
    struct { gotoni_stats known; unsigned char newer[24]; } stats;
    const size_t old = offsetof(gotoni_stats, refused);
    memset(&stats, CANARY, sizeof stats);
    stats.known.struct_size = (uint32_t)old;
    OK(gotoni_stats_get(router, &stats.known));
    EQUAL(stats.known.servers, 1);
    EQUAL(stats.known.struct_size, old);
    CHECK(untouched((char *)&stats + old, sizeof stats - old));
    stats.known.struct_size = sizeof stats;
    OK(gotoni_stats_get(router, &stats.known));
    EQUAL(stats.known.random_draws, 0);
    CHECK(untouched(stats.newer, sizeof stats.newer));
    end(router);
}

static void wrong_arguments_are_refused(void) {
    gotoni_router *router = router_with(1);
    gotoni_stats stats = { .struct_size = sizeof stats };
    STATUS(gotoni_stats_get(NULL, &stats), GOTONI_E_ARGUMENT);
    STATUS(gotoni_stats_get(router, NULL), GOTONI_E_ARGUMENT);
    for (stats.struct_size = 0; stats.struct_size < sizeof(uint32_t); stats.struct_size += 1)
        STATUS(gotoni_stats_get(router, &stats), GOTONI_E_ARGUMENT);
    end(router);
}

int main(void) {
    fill(tokens, 64, 0);
    TEST(a_new_router_has_counted_nothing);
    TEST(every_outcome_is_counted);
    TEST(prompt_and_matched_tokens_are_summed_over_decisions);
    TEST(refusals_are_counted_when_a_server_was_missing);
    TEST(draws_of_chance_are_counted);
    TEST(statistics_structs_of_other_versions_are_respected);
    TEST(wrong_arguments_are_refused);
    return check_result();
}
